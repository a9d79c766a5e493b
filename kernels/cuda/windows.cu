// The windows of an image as columns, and columns added up to an image: im2col and col2im along one to three axes.
//
// Images of fewer than three axes have leading axes of size 1. A plane is one channel of one image; blockDim.x threads
// share a plane, blockDim.y planes a block, and neighbouring threads neighbouring elements of the last axis. Numbers
// within a plane are int; only what counts planes needs 64 bits.
#include "prims.cuh"

// Of the three axes; blocks are those that share a plane.
struct Geometry {
    int size[3], kernel[3], stride[3], padding[3], dilation[3], counts[3], blocks;
};
constexpr int NUMBERS = 19;
DEVICE Geometry geometry_of(const Numbers<int, NUMBERS>& numbers) {
    Geometry g;
#pragma unroll
    for (int axis = 0; axis < 3; ++axis) {
        g.size[axis] = numbers.at[axis];
        g.kernel[axis] = numbers.at[3 + axis];
        g.stride[axis] = numbers.at[6 + axis];
        g.padding[axis] = numbers.at[9 + axis];
        g.dilation[axis] = numbers.at[12 + axis];
        g.counts[axis] = numbers.at[15 + axis];
    }
    g.blocks = numbers.at[18];
    return g;
}

DEVICE long long plane_of(const Geometry& g) {
    return static_cast<long long>(blockIdx.x / g.blocks) * blockDim.y + threadIdx.y;
}
DEVICE int place_of(const Geometry& g) { return static_cast<int>(blockIdx.x % g.blocks * blockDim.x + threadIdx.x); }

// A thread writes what one window sees, an element of each row of columns (planes, Πkernel, Πcounts).
template <class T>
__global__ void __launch_bounds__(256, 1)
im2col(const T* x, T* columns, long long planes, Numbers<int, NUMBERS> numbers) {
    const Geometry g = geometry_of(numbers);
    const long long plane = plane_of(g);
    const int window = place_of(g), windows = g.counts[0] * g.counts[1] * g.counts[2];
    if (plane >= planes || window >= windows) return;
    const int kernel = g.kernel[0] * g.kernel[1] * g.kernel[2];
    x += plane * g.size[0] * g.size[1] * g.size[2];
    columns += plane * kernel * windows + window;
    const int z_first = window / (g.counts[1] * g.counts[2]) * g.stride[0] - g.padding[0];
    const int y_first = window / g.counts[2] % g.counts[1] * g.stride[1] - g.padding[1];
    const int x_first = window % g.counts[2] * g.stride[2] - g.padding[2];
    for (int i = 0; i < g.kernel[0]; ++i) {
        const int z_at = z_first + i * g.dilation[0];
        const bool z_inside = z_at >= 0 && z_at < g.size[0];
        for (int j = 0; j < g.kernel[1]; ++j) {
            const int y_at = y_first + j * g.dilation[1];
            const bool y_inside = z_inside && y_at >= 0 && y_at < g.size[1];
            const int row = y_inside ? (z_at * g.size[1] + y_at) * g.size[2] : 0;
            for (int k = 0; k < g.kernel[2]; ++k) {
                const int x_at = x_first + k * g.dilation[2];
                *columns = y_inside && x_at >= 0 && x_at < g.size[2] ? x[row + x_at] : T(0);
                columns += windows;
            }
        }
    }
}

// The window that sees the element `at` (with padding) by offset i of the kernel, along one axis; negative if none.
DEVICE int window_that_sees(int at, int i, const Geometry& g, int axis) {
    const int begin = at - i * g.dilation[axis];
    const int window = g.stride[axis] == 1 ? begin : begin / g.stride[axis];
    return window < g.counts[axis] && window * g.stride[axis] == begin ? window : -1;
}

// A thread adds up what reaches one element of the image, in the order of the kernel's offsets.
template <class T>
__global__ void __launch_bounds__(256, 1)
col2im(const T* columns, T* x, long long planes, Numbers<int, NUMBERS> numbers) {
    const Geometry g = geometry_of(numbers);
    const long long plane = plane_of(g);
    const int place = place_of(g), places = g.size[0] * g.size[1] * g.size[2];
    if (plane >= planes || place >= places) return;
    const int windows = g.counts[0] * g.counts[1] * g.counts[2];
    columns += plane * (g.kernel[0] * g.kernel[1] * g.kernel[2]) * windows;
    const int z_at = place / (g.size[1] * g.size[2]) + g.padding[0];
    const int y_at = place / g.size[2] % g.size[1] + g.padding[1];
    const int x_at = place % g.size[2] + g.padding[2];
    T sum = 0;
    for (int i = 0; i < g.kernel[0]; ++i) {
        const int z = window_that_sees(z_at, i, g, 0);
        if (z < 0) continue;
        for (int j = 0; j < g.kernel[1]; ++j) {
            const int y = window_that_sees(y_at, j, g, 1);
            if (y < 0) continue;
            const int row = (z * g.counts[1] + y) * g.counts[2];
            const long long offset = static_cast<long long>((i * g.kernel[1] + j) * g.kernel[2]) * windows + row;
            for (int k = 0; k < g.kernel[2]; ++k) {
                const int window = window_that_sees(x_at, k, g, 2);
                if (window >= 0) sum += columns[offset + static_cast<long long>(k) * windows + window];
            }
        }
    }
    x[plane * places + place] = sum;
}
