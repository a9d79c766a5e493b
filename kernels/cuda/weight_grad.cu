// The gradient of a convolution's weight as a product of matrices on tensor cores:
//
//     gradient[output, (channel, tap)] = Σ over pixels of g[output, pixel] · window[(channel, tap), pixel]
//
// Both operands run along the sum, as they lie in memory: a warp copies 32 pixels that follow each other, of g by 16
// bytes where each image has a multiple of 4 pixels, of a row of windows by 4 bytes where x must be gathered. What each
// pixel of a stage has in x, and which taps of it lie inside, one warp looks up beforehand; what each row of windows
// has, the block looks up once.
//
// The result is small and the sum is long, so the pixels are split: each block writes the sum over its share of them to
// a workspace, and another kernel adds the shares in their order. How many there are depends on the shape only.
// Precision and inf are as in convolution.cu.
#include "convolution.cuh"

// The sum over pixels [begin, end) by one product after another: for what is not finite.
__device__ __noinline__ float weight_grad_one(const float* x, const float* g, const Geometry* geometry,
                                              const Windows* windows, int row, int begin, int end) {
    const int2 tap = find_tap(*windows, row % windows->taps);
    x += row / windows->taps * windows->x_plane + tap.x;
    float sum = 0;
    for (int i = begin; i < end && sum == sum; ++i) {  // NaN stays NaN
        const Pixel pixel = find_pixel(*geometry, *windows, i);
        const float value = meet(pixel.bits, static_cast<unsigned>(tap.y)) ? x[pixel.x] : 0;
        sum += g[pixel.y] * value;
    }
    return sum;
}

// A block computes ROWS outputs of COLUMNS (channel, tap), a warp WARP_ROWS of WARP_COLUMNS. Grid: tiles of (channel,
// tap), tiles of outputs, groups times shares; a share is `share` pixels, a multiple of DEPTH. COPY_G and COPY_X are
// how many pixels are copied at once, 1 or 4; 4 as in convolution.cu, of g for any kernel.
template <int ROWS, int COLUMNS, int WARP_ROWS, int WARP_COLUMNS, int STAGES, int PRODUCTS, int COPY_G, int COPY_X>
__global__ void __launch_bounds__(ROWS / WARP_ROWS * (COLUMNS / WARP_COLUMNS) * 32, 1)
weight_grad_tile(const float* x, const float* g, float* sums_of_shares, Geometry geometry, int share) {
    constexpr int THREADS = ROWS / WARP_ROWS * (COLUMNS / WARP_COLUMNS) * 32, WARPS = THREADS / 32;
    constexpr int GRADIENTS = ROWS * DEPTH * 4, STAGE = GRADIENTS + COLUMNS * DEPTH * 4;  // bytes
    constexpr int FRAGMENT_ROWS = WARP_ROWS / 16, FRAGMENT_COLUMNS = WARP_COLUMNS / 8;
    constexpr int PASS_G = COPY_G == 4 ? THREADS / 8 : WARPS, PASS_X = COPY_X == 4 ? THREADS / 8 : WARPS;

    DYNAMIC_SHARED(float, tiles);
    __shared__ Windows windows;
    __shared__ int2 taps[COLUMNS];            // of each row of windows: its offset in x and the bits it needs
    __shared__ Pixel listed[STAGES][DEPTH];   // the pixels of a stage
    __shared__ Place next[DEPTH], on;         // where those of the next stage are, and how far that is from the last
    __shared__ int next_image[DEPTH], images_on;
    const SharedAddress tile = shared_address(tiles);
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const int group = blockIdx.z % geometry.groups, first_row = blockIdx.y * ROWS, first_column = blockIdx.x * COLUMNS;

    if (thread == 0) windows = windows_of(geometry, 0);
    __syncthreads();
    const int begin = blockIdx.z / geometry.groups * share, end = min(begin + share, windows.pixels);
    const int stages = (end - begin + DEPTH - 1) / DEPTH;
    const int rows = geometry.outputs - first_row, columns = windows.rows - first_column;  // that this block has
    const int y_plane = windows.y_plane, step_g = PASS_G * y_plane;
    x += static_cast<long long>(group) * geometry.channels * windows.x_plane;
    g += (static_cast<long long>(group) * geometry.outputs + first_row) * windows.y_plane;
    for (int i = thread; i < COLUMNS; i += THREADS) {
        const int row = first_column + i, channel = row / windows.taps;
        const int2 tap = find_tap(windows, row % windows.taps);
        const bool exists = i < columns;
        taps[i] = make_int2(exists ? tap.x + channel * windows.x_plane : 0, exists ? tap.y : static_cast<int>(NEVER));
    }
    if (thread < DEPTH && stages > 0) {
        const int plane = windows.image_pixels, pixel = begin + thread;
        next[thread] = place_of(pixel % plane, geometry.y_size), next_image[thread] = pixel / plane;
        if (thread == 0) on = place_of(DEPTH % plane, geometry.y_size), images_on = DEPTH / plane;
    }
    __syncthreads();
    auto list = [&](int stage) {  // by one warp, one stage after another
        Place place = next[lane];
        int image = next_image[lane];
        const bool exists = image < geometry.images;
        listed[stage % STAGES][lane] = exists ? pixel_at(geometry, windows, image, place) : Pixel{0, 0, 0};
        image += images_on + advance(place, on, geometry.y_size);
        next[lane] = place, next_image[lane] = image;
    };
    auto copy = [&](int stage) {
        const SharedAddress to = tile + stage % STAGES * STAGE;
        const int at_g = COPY_G == 4 ? thread % 8 * 4 : lane, row_g = COPY_G == 4 ? thread / 8 : warp;
        const Pixel of_g = listed[stage % STAGES][at_g];
        const float* source = g + (of_g.y + row_g * y_plane);
#pragma unroll
        for (int i = 0; i < ROWS / PASS_G; ++i) {
            const int row = row_g + i * PASS_G;
            const bool valid = i * PASS_G < rows - row_g && of_g.bits;
            if (COPY_G == 4) copy_async_16(to + swizzled(row, at_g), source, valid);
            else copy_async_4(to + swizzled(row, at_g), source, valid);
            source += step_g;
        }
        const int at_x = COPY_X == 4 ? thread % 8 * 4 : lane, row_x = COPY_X == 4 ? thread / 8 : warp;
        const Pixel of_x = listed[stage % STAGES][at_x];
        gather<COLUMNS / PASS_X, COPY_X, PASS_X>(
            x, of_x, &taps[row_x], [&](int i) { return to + GRADIENTS + swizzled(row_x + i * PASS_X, at_x); });
    };

    if (warp == 0)
        for (int stage = 0; stage < min(STAGES, stages); ++stage) list(stage);
    __syncthreads();
    for (int stage = 0; stage < STAGES - 1; ++stage) {
        if (stage < stages) copy(stage);
        copy_async_commit();
    }
    const int warp_row = warp % (ROWS / WARP_ROWS) * WARP_ROWS, warp_column = warp / (ROWS / WARP_ROWS) * WARP_COLUMNS;
    float sums[FRAGMENT_ROWS][FRAGMENT_COLUMNS][4];
    clear(sums);
    for (int stage = 0; stage < stages; ++stage) {
        copy_async_wait<STAGES - 2>();
        __syncthreads();  // the stage has arrived for all, and all have read what the next copies replace
        if (stage + STAGES - 1 < stages) copy(stage + STAGES - 1);
        copy_async_commit();
        if (stage + STAGES < stages && warp == stage % WARPS) list(stage + STAGES);  // another warp each time
        const SharedAddress gradients = tile + stage % STAGES * STAGE, gathered = gradients + GRADIENTS;
        float of_stage[FRAGMENT_ROWS][FRAGMENT_COLUMNS][4];
        if (PRODUCTS == 3) clear(of_stage);
#pragma unroll
        for (int step = 0; step < DEPTH / 8; ++step) {
            unsigned a[FRAGMENT_ROWS][4], b[FRAGMENT_COLUMNS][2];
#pragma unroll
            for (int i = 0; i < FRAGMENT_ROWS; ++i) load_rows(a[i], gradients, warp_row + 16 * i, step, lane);
#pragma unroll
            for (int j = 0; j < FRAGMENT_COLUMNS; j += 2)
                load_columns(b[j], b[j + 1], gathered, warp_column + 8 * j, step, lane);
            multiply<PRODUCTS>(PRODUCTS == 3 ? of_stage : sums, a, b);
        }
        if (PRODUCTS == 3) add(sums, of_stage);
    }
    copy_async_wait<0>();

    const long long result_row = static_cast<long long>(blockIdx.z) * geometry.outputs + first_row;
    float* target = sums_of_shares + result_row * windows.rows + first_column;
    int not_finite = 0;
#pragma unroll
    for (int i = 0; i < 2 * FRAGMENT_ROWS; ++i) {
        const int row = warp_row + 8 * i + lane / 4;
#pragma unroll
        for (int j = 0; j < FRAGMENT_COLUMNS; ++j)
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                const int column = warp_column + 8 * j + lane % 4 * 2 + e;
                const float sum = sums[i / 2][j][i % 2 * 2 + e];
                if (row < rows && column < columns) target[static_cast<long long>(row) * windows.rows + column] = sum;
                not_finite |= !is_finite(sum);
            }
    }
    if (!__syncthreads_or(not_finite)) return;
    for (int i = thread; i < ROWS * COLUMNS; i += THREADS) {
        const int row = i / COLUMNS, column = i % COLUMNS;
        if (row >= rows || column >= columns) continue;
        float& sum = target[static_cast<long long>(row) * windows.rows + column];
        if (is_finite(sum)) continue;
        const float* of_row = g + static_cast<long long>(row) * windows.y_plane;
        sum = weight_grad_one(x, of_row, &geometry, &windows, first_column + column, begin, end);
    }
}

// gradient[i] = Σ over shares of their sums, in order, in float64.
template <class T> __global__ void __launch_bounds__(256)
weight_grad_reduce(const T* sums_of_shares, T* gradient, int shares, long long count) {
    const long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= count) return;
    double sum = 0;
    for (int share = 0; share < shares; ++share) sum += static_cast<double>(sums_of_shares[share * count + i]);
    gradient[i] = static_cast<T>(sum);
}
