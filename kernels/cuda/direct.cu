// Convolutions without tensor cores: a thread, or a block, for each result. They are for what convolution.cu and
// weight_grad.cu do not take: float64, groups of few channels, and sizes beyond their limits.
#include "convolution.cuh"

// Where tap `tap` of an axis meets x at output `y`, or -1 where it does not.
DEVICE int x_place(const Geometry& geometry, int axis, int y, int tap) {
    const int on = tap * geometry.dilation[axis], stride = geometry.stride[axis];
    int at = y * stride - geometry.padding[axis] + on;
    if (geometry.transposed) {
        const int from = y + geometry.padding[axis] - on;
        at = from % stride ? -1 : from / stride;
    }
    return at < geometry.x_size[axis] ? max(at, -1) : -1;
}

// The element of a plane of x that tap `tap` meets at place `y`: its offset, or -1 where there is none.
DEVICE long long x_offset(const Geometry& geometry, const Place& y, const Place& tap) {
    long long offset = 0;
#pragma unroll
    for (int axis = 0; axis < 3; ++axis) {
        const int at = x_place(geometry, axis, y.at[axis], tap.at[axis]);
        if (at < 0) return -1;
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
        for (int i = 0; i < geometry.kernel[0]; ++i) {
            const int slice = x_place(geometry, 0, at.at[0], i);
            for (int j = 0; j < geometry.kernel[1]; ++j, w += geometry.kernel[2]) {
                const int row = slice < 0 ? -1 : x_place(geometry, 1, at.at[1], j);
                if (row < 0 && geometry.transposed) continue;
                const T* line = from + (static_cast<long long>(slice) * geometry.x_size[1] + row) * geometry.x_size[2];
                for (int k = 0; k < geometry.kernel[2]; ++k) {
                    const int place = row < 0 ? -1 : x_place(geometry, 2, at.at[2], k);
                    // Padding is 0, and 0 times inf is NaN; a transposed convolution has none.
                    if (place >= 0) of_channel += w[k] * line[place];
                    else if (!geometry.transposed) of_channel += w[k] * 0;
                }
            }
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
    const int images_on = static_cast<int>(blockDim.x / plane);
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
        image += images_on + advance(at, on, geometry.y_size);
    }
    sum = block_sum(sum + static_cast<double>(of_run));
    if (threadIdx.x == 0) sums_of_shares[static_cast<long long>(blockIdx.y) * gridDim.x + row] = static_cast<T>(sum);
}
