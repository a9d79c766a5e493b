// Convolutions without tensor cores: a thread, or a block, for each result. They are for what convolution.cu and
// weight_grad.cu do not take: float64, groups of few channels, and sizes beyond their limits.
#include "convolution.cuh"

// A place along three axes, from a number that counts them in C order.
struct Place {
    int at[3];
};
DEVICE Place place_of(long long number, const int (&size)[3]) {
    const long long row = number / size[2];
    return {{static_cast<int>(row / size[1]), static_cast<int>(row % size[1]), static_cast<int>(number % size[2])}};
}

// The element of a plane of x that tap `tap` meets at place `y`: its offset, or -1 where there is none.
DEVICE long long x_offset(const Geometry& geometry, const Place& y, const Place& tap) {
    long long offset = 0;
#pragma unroll
    for (int axis = 0; axis < 3; ++axis) {
        const int on = tap.at[axis] * geometry.dilation[axis], stride = geometry.stride[axis];
        int at = y.at[axis] * stride - geometry.padding[axis] + on;
        if (geometry.transposed) {
            const int from = y.at[axis] + geometry.padding[axis] - on;
            at = from % stride ? -1 : from / stride;
        }
        if (at < 0 || at >= geometry.x_size[axis]) return -1;
        offset = offset * geometry.x_size[axis] + at;
    }
    return offset;
}
DEVICE long long product(const int (&size)[3]) { return static_cast<long long>(size[0]) * size[1] * size[2]; }

// A thread for each element of y. The sums of the channels are added in their order, each found by itself.
template <class T> __global__ void __launch_bounds__(128, 4)
conv_direct(const T* x, const T* weight, const T* bias, T* y, Geometry geometry, long long count) {
    const long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const long long plane = product(geometry.y_size), x_plane = product(geometry.x_size);
    const int taps = static_cast<int>(product(geometry.kernel)), all = geometry.groups * geometry.outputs;
    const int output = static_cast<int>(i / plane % all), group = output / geometry.outputs;
    const Place at = place_of(i % plane, geometry.y_size);
    x += (i / plane / all * geometry.groups + group) * geometry.channels * x_plane;
    long long channel_step = taps;
    if (geometry.transposed) {  // (groups, channels, outputs)
        channel_step *= geometry.outputs;
        const long long first = static_cast<long long>(group) * geometry.channels * geometry.outputs;
        weight += (first + output % geometry.outputs) * taps;
    } else {
        weight += static_cast<long long>(output) * geometry.channels * taps;
    }
    T sum = 0;
    for (int channel = 0; channel < geometry.channels; ++channel) {
        const T *w = weight + channel * channel_step, *from = x + channel * x_plane;
        T of_channel = 0;
        Place tap;
        for (tap.at[0] = 0; tap.at[0] < geometry.kernel[0]; ++tap.at[0])
            for (tap.at[1] = 0; tap.at[1] < geometry.kernel[1]; ++tap.at[1])
                for (tap.at[2] = 0; tap.at[2] < geometry.kernel[2]; ++tap.at[2], ++w) {
                    const long long offset = x_offset(geometry, at, tap);
                    // Padding is 0, and 0 times inf is NaN; a transposed convolution has none.
                    if (offset >= 0) of_channel += *w * from[offset];
                    else if (!geometry.transposed) of_channel += *w * 0;
                }
        sum += of_channel;
    }
    y[i] = geometry.biased ? sum + bias[output] : sum;
}

// A block for each element of the gradient and each share of the images; its threads share the pixels. Short runs are
// summed in T, and those in float64. Grid: elements, shares of `share` images.
template <class T> __global__ void __launch_bounds__(128, 4)
weight_grad_direct(const T* x, const T* g, T* sums_of_shares, Geometry geometry, int share) {
    constexpr int RUN = 16;
    const long long plane = product(geometry.y_size), x_plane = product(geometry.x_size), row = blockIdx.x;
    const int taps = static_cast<int>(product(geometry.kernel)), all = geometry.groups * geometry.outputs;
    const int output = static_cast<int>(row / taps / geometry.channels);
    const int channel = static_cast<int>(row / taps % geometry.channels);
    const Place tap = place_of(row % taps, geometry.kernel);
    const long long x_image = geometry.groups * geometry.channels * x_plane, g_image = all * plane;
    x += (static_cast<long long>(output / geometry.outputs) * geometry.channels + channel) * x_plane;
    g += output * plane;

    const int last = min(geometry.images, (static_cast<int>(blockIdx.y) + 1) * share);
    int image = static_cast<int>(blockIdx.y) * share + static_cast<int>(threadIdx.x / plane);
    Place at = place_of(threadIdx.x % plane, geometry.y_size);
    const Place on = place_of(blockDim.x % plane, geometry.y_size);
    double sum = 0;
    T of_run = 0;
    int run = 0;
    while (image < last) {
        const long long offset = x_offset(geometry, at, tap);
        const T value = offset < 0 ? 0 : x[image * x_image + offset];
        long long pixel = 0;
#pragma unroll
        for (int axis = 0; axis < 3; ++axis) pixel = pixel * geometry.y_size[axis] + at.at[axis];
        of_run += g[image * g_image + pixel] * value;
        if (++run == RUN) sum += static_cast<double>(of_run), of_run = 0, run = 0;
        image += static_cast<int>(blockDim.x / plane);  // to the pixel blockDim.x further on, without a division
        int carry = 0;
#pragma unroll
        for (int axis = 2; axis >= 0; --axis) {
            at.at[axis] += on.at[axis] + carry;
            carry = at.at[axis] >= geometry.y_size[axis];
            if (carry) at.at[axis] -= geometry.y_size[axis];
        }
        image += carry;
    }
    sum = block_sum(sum + static_cast<double>(of_run));
    if (threadIdx.x == 0) sums_of_shares[static_cast<long long>(blockIdx.y) * gridDim.x + row] = static_cast<T>(sum);
}
