// Convolution of images whose outputs see one channel each, by a square kernel without dilation: depthwise ones, and
// the first of a network for grey images. There is little to multiply as matrices; what counts is that x is read once
// and that few instructions stand beside the products.
//
// A block computes a tile of one plane of y, or whole planes where they are small: it copies what the windows see to
// shared memory, zeros where that is padding. A thread computes STRIP outputs next to each other: of each row of the
// kernel it loads what they see together, and the row's weights, into registers.
//
// A transposed convolution of stride 1 is the same with the kernel turned around and padding kernel - 1 - padding. It
// has no padding to multiply with: what is not finite is computed again without.
#include "convolution.cuh"

constexpr int STRIP = 4, THREADS = 128;

template <int KERNEL>
__device__ __noinline__ float depthwise_one(const float* plane, const float* weight, int rows, int columns, int row,
                                            int column) {
    float sum = 0;
    for (int i = 0; i < KERNEL * KERNEL; ++i) {
        const int y = row + i / KERNEL, x = column + i % KERNEL;
        const bool inside = y >= 0 && y < rows && x >= 0 && x < columns;
        if (inside) sum += weight[KERNEL * KERNEL - 1 - i] * plane[y * columns + x];
    }
    return sum;
}

// `planes` planes of `tile_rows` rows of `strips` strips, which are THREADS or fewer. Grid: planes times their tiles.
template <int KERNEL, int STRIDE>
__global__ void __launch_bounds__(THREADS)
depthwise_tile(const float* x, const float* weight, const float* bias, float* y, Geometry geometry, int planes,
               int tile_rows, int strips) {
    constexpr int SEEN = (STRIP - 1) * STRIDE + KERNEL;  // by a strip, of a row
    DYNAMIC_SHARED(float, tile);
    const int x_rows = geometry.x_size[1], x_columns = geometry.x_size[2];
    const int y_rows = geometry.y_size[1], y_columns = geometry.y_size[2];
    const int tile_columns = strips * STRIP, across = (y_columns + tile_columns - 1) / tile_columns;
    const int tiles = (y_rows + tile_rows - 1) / tile_rows * across, tile_number = blockIdx.x % tiles;
    const int first_row = tile_number / across * tile_rows, first_column = tile_number % across * tile_columns;
    const int seen_rows = (tile_rows - 1) * STRIDE + KERNEL, seen_columns = (tile_columns - 1) * STRIDE + KERNEL;
    const int all = geometry.groups * geometry.outputs, last_plane = geometry.images * all;
    const int first_plane = blockIdx.x / tiles * planes, thread = threadIdx.x;
    const int padding_rows = geometry.transposed ? KERNEL - 1 - geometry.padding[1] : geometry.padding[1];
    const int padding_columns = geometry.transposed ? KERNEL - 1 - geometry.padding[2] : geometry.padding[2];

    for (int row = thread / 32; row < planes * seen_rows; row += THREADS / 32) {
        const int plane = first_plane + row / seen_rows, at = first_row * STRIDE - padding_rows + row % seen_rows;
        const bool inside = plane < last_plane && at >= 0 && at < x_rows;
        // Planes of y are numbered over images, groups and the outputs of a group, which see the same plane of x.
        const float* source = x + (static_cast<long long>(plane / geometry.outputs) * x_rows + at) * x_columns;
        for (int i = thread % 32; i < seen_columns; i += 32) {
            const int column = first_column * STRIDE - padding_columns + i;
            const bool valid = inside && column >= 0 && column < x_columns;
            copy_async_4(shared_address(tile + row * seen_columns + i), source + column, valid);
        }
    }
    copy_async_commit();
    copy_async_wait<0>();
    __syncthreads();

    const int strip = thread % strips, row = thread / strips % tile_rows, plane = thread / strips / tile_rows;
    const int y_row = first_row + row, y_column = first_column + strip * STRIP;
    if (plane >= planes || first_plane + plane >= last_plane || y_row >= y_rows || y_column >= y_columns) return;
    const int output = (first_plane + plane) % all;
    weight += output * KERNEL * KERNEL;
    const float* seen = tile + (plane * seen_rows + row * STRIDE) * seen_columns + strip * STRIP * STRIDE;
    float sums[STRIP] = {};
#pragma unroll
    for (int i = 0; i < KERNEL; ++i) {
        float values[SEEN];
#pragma unroll
        for (int j = 0; j < SEEN; ++j) values[j] = seen[i * seen_columns + j];
#pragma unroll
        for (int j = 0; j < KERNEL; ++j) {
            const int tap = i * KERNEL + j;
            const float factor = weight[geometry.transposed ? KERNEL * KERNEL - 1 - tap : tap];
#pragma unroll
            for (int k = 0; k < STRIP; ++k) sums[k] += factor * values[k * STRIDE + j];
        }
    }
    const float added = geometry.biased ? bias[output] : 0;
    y += (static_cast<long long>(first_plane + plane) * y_rows + y_row) * y_columns + y_column;
#pragma unroll
    for (int k = 0; k < STRIP; ++k) {
        if (y_column + k >= y_columns) continue;
        if (geometry.transposed && !is_finite(sums[k])) {
            const long long x_plane = (first_plane + plane) / geometry.outputs;
            sums[k] = depthwise_one<KERNEL>(x + x_plane * x_rows * x_columns, weight, x_rows, x_columns,
                                            y_row - padding_rows, y_column + k - padding_columns);
        }
        y[k] = sums[k] + added;
    }
}

// The gradient of its weight: a block has one output and `share` images. A thread walks down a column of y, at most
// RUN rows of it, with what its window sees in registers: each row of x is loaded once, and the kernel's elements are
// summed side by side. Short runs are summed in float32, and those in float64. Grid: outputs, shares.
template <int KERNEL, int STRIDE>
__global__ void __launch_bounds__(THREADS)
depthwise_weight_grad(const float* x, const float* g, float* sums_of_shares, Geometry geometry, int share) {
    constexpr int RUN = 16, KEPT = KERNEL - STRIDE;  // rows that two windows, one below the other, share
    const int x_rows = geometry.x_size[1], x_columns = geometry.x_size[2];
    const int y_rows = geometry.y_size[1], y_columns = geometry.y_size[2];
    const int all = geometry.groups * geometry.outputs, output = blockIdx.x;
    const int first_image = blockIdx.y * share, images = min(share, geometry.images - first_image);
    const int runs = (y_rows + RUN - 1) / RUN, columns = images * runs * y_columns;

    double sums[KERNEL * KERNEL] = {};
    for (int number = threadIdx.x; number < columns; number += THREADS) {
        const int y_column = number % y_columns, first_row = number / y_columns % runs * RUN;
        const int rows = min(RUN, y_rows - first_row), x_column = y_column * STRIDE - geometry.padding[2];
        const long long image = first_image + number / y_columns / runs;
        const float* of_x = x + (image * geometry.groups + output / geometry.outputs) * x_rows * x_columns + x_column;
        const float* of_g = g + ((image * all + output) * y_rows + first_row) * y_columns + y_column;
        int x_row = first_row * STRIDE - geometry.padding[1];
        float seen[KERNEL][KERNEL], of_run[KERNEL * KERNEL] = {};
        auto load = [&](int i) {  // row i of the window
            const int row = x_row + i;
            const bool inside = row >= 0 && row < x_rows;
#pragma unroll
            for (int j = 0; j < KERNEL; ++j) {
                const bool valid = inside && x_column + j >= 0 && x_column + j < x_columns;
                seen[i][j] = valid ? of_x[row * x_columns + j] : 0;
            }
        };
#pragma unroll
        for (int i = 0; i < KEPT; ++i) load(i);
        for (int row = 0; row < rows; ++row) {
#pragma unroll
            for (int i = KEPT; i < KERNEL; ++i) load(i);
            const float factor = of_g[row * y_columns];
#pragma unroll
            for (int i = 0; i < KERNEL; ++i)
#pragma unroll
                for (int j = 0; j < KERNEL; ++j) of_run[i * KERNEL + j] += factor * seen[i][j];
#pragma unroll
            for (int i = 0; i < KEPT; ++i)
#pragma unroll
                for (int j = 0; j < KERNEL; ++j) seen[i][j] = seen[i + STRIDE][j];
            x_row += STRIDE;
        }
#pragma unroll
        for (int i = 0; i < KERNEL * KERNEL; ++i) sums[i] += static_cast<double>(of_run[i]);
    }
    float* target = sums_of_shares + (static_cast<long long>(blockIdx.y) * all + output) * KERNEL * KERNEL;
#pragma unroll
    for (int i = 0; i < KERNEL * KERNEL; ++i) {
        const double sum = block_sum(sums[i]);
        if (threadIdx.x == 0) target[i] = static_cast<float>(sum);
    }
}
