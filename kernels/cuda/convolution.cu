// Convolution and transposed convolution as a product of matrices on tensor cores, without the matrix of windows.
//
//     y[output, pixel] = Σ over (channel, tap) of weight[output, (channel, tap)] · window[(channel, tap), pixel]
//
// x and y stay as they are, channels before pixels (N, C, H, W). The windows are gathered straight from x, by copies of
// 4 bytes: neighbouring threads copy neighbouring pixels, which lie next to each other along W (for stride 1), so each
// request of a warp is one piece of memory. Channels last would allow copies of 16 bytes, and loads of whole fragments,
// but x and y would have to be turned around in passes of their own: 2 (x + y) elements more to move, where a layer of
// few channels moves no more than x + y altogether. What the short copies cost instead is instructions: 16 to 32 copies
// for each thread and stage, about a sixth of all, which should hide behind the three products of float32; that is to
// be measured. Kernels of one element (COPY 4) need no gathering, and are copied by 16 bytes. The order (channel, tap)
// is that of the weight in memory, so the weight of a convolution needs no packing either, unless its rows do not begin
// at multiples of 16 bytes.
//
// float32 is taken as two parts of tf32, in three products. Tensor cores cut off digits when they add, so no sum stays
// there for longer than a stage of 32 summands: then it is added, rounded, to a sum outside. inf and NaN: a part of
// inf is NaN, so whatever meets one comes out as NaN. The kernel looks at what it has written, and what is not finite
// is computed again, one product after another, as IEEE arithmetic says.
#include "convolution.cuh"

// The rows of the weight for every phase, each with its taps in their order and then with zeros up to row_length.
__global__ void __launch_bounds__(256)
conv_pack(const float* weight, float* packed, Geometry geometry, int row_length) {
    const int outputs = geometry.groups * geometry.outputs, phase = blockIdx.y;
    const long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    __shared__ Windows windows;
    if (threadIdx.x == 0) windows = windows_of(geometry, phase);
    __syncthreads();
    if (i >= static_cast<long long>(outputs) * row_length) return;
    const int row = static_cast<int>(i / row_length), column = static_cast<int>(i % row_length);
    float value = 0;
    if (column < windows.rows) {
        const int channel = column / windows.taps;
        int tap = column % windows.taps, place = windows.taps, element = 0;
        for (int number = 0; number < 3; ++number) {
            const Axis& axis = windows.axis[number];
            place /= axis.taps;
            element = element * geometry.kernel[number] + axis.tap_first + axis.tap_step * (tap / place);
            tap %= place;
        }
        const int kernel = geometry.kernel[0] * geometry.kernel[1] * geometry.kernel[2];
        const int group = row / geometry.outputs, output = row % geometry.outputs;
        const long long of_weight = geometry.transposed  // (groups, channels, outputs) or (groups, outputs, channels)
            ? (static_cast<long long>(group) * geometry.channels + channel) * geometry.outputs + output
            : static_cast<long long>(row) * geometry.channels + channel;
        value = weight[of_weight * kernel + element];
    }
    packed[static_cast<long long>(phase) * outputs * row_length + i] = value;
}

// One output by one product after another: for what is not finite. `weight` is its row, `x` begins at its group. Where
// a window sees padding, inf in the weight meets 0; a transposed convolution has no padding, only fewer summands.
__device__ __noinline__ float conv_one(const float* x, const float* weight, const Windows* windows, Pixel pixel,
                                       bool transposed) {
    float sum = 0;
    for (int row = 0; row < windows->rows && sum == sum; ++row) {  // NaN stays NaN
        const int2 tap = find_tap(*windows, row % windows->taps);
        const bool inside = meet(pixel.bits, static_cast<unsigned>(tap.y));
        const float value = inside ? x[pixel.x + row / windows->taps * windows->x_plane + tap.x] : 0;
        if (inside || !transposed) sum += weight[row] * value;
    }
    return sum;
}

// A block computes ROWS outputs of COLUMNS pixels, a warp WARP_ROWS of WARP_COLUMNS. Grid: tiles of pixels times tiles
// of outputs, of which those with the same windows follow each other and find them in the cache; 1; phases times
// groups. COPY is how many pixels are copied at once: 4 only for kernels of one element, stride 1 and no padding, where
// each image has a multiple of 4 pixels and x begins at a multiple of 16 bytes.
template <int ROWS, int COLUMNS, int WARP_ROWS, int WARP_COLUMNS, int STAGES, int PRODUCTS, int COPY>
__global__ void __launch_bounds__(ROWS / WARP_ROWS * (COLUMNS / WARP_COLUMNS) * 32, 1)
conv_tile(const float* x, const float* weight, const float* bias, float* y, Geometry geometry, int row_length) {
    constexpr int THREADS = ROWS / WARP_ROWS * (COLUMNS / WARP_COLUMNS) * 32;
    constexpr int LENGTH = COLUMNS + 8;  // of a row of windows: the 4 rows that a warp reads at once lie in other banks
    constexpr int WEIGHTS = ROWS * DEPTH * 4, STAGE = WEIGHTS + DEPTH * LENGTH * 4;  // bytes
    constexpr int ACROSS = COLUMNS / COPY, PASS = THREADS / ACROSS;  // rows of windows that the block copies at once
    constexpr int FRAGMENT_ROWS = WARP_ROWS / 16, FRAGMENT_COLUMNS = WARP_COLUMNS / 8;
    static_assert(THREADS % ACROSS == 0 && THREADS % 64 == 0, "a thread copies one column, and pieces of one place");

    DYNAMIC_SHARED(float, tiles);
    __shared__ Windows windows;
    __shared__ int2 taps[MOST_TAPS];
    __shared__ int2 listed[STAGES][DEPTH];  // of each row of windows in a stage: its offset in x and the bits it needs
    __shared__ int places[COLUMNS];         // of each pixel: its offset in y, or -1
    const SharedAddress tile = shared_address(tiles);
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const int group = blockIdx.z % geometry.groups, phase = blockIdx.z / geometry.groups;
    const int tiles_of_rows = (geometry.outputs + ROWS - 1) / ROWS, number = blockIdx.x;
    const int first_row = number % tiles_of_rows * ROWS, first_column = number / tiles_of_rows * COLUMNS;

    if (thread == 0) windows = windows_of(geometry, phase);
    __syncthreads();
    if (first_column >= windows.pixels) return;  // phases have more pixels or less; the whole block leaves
    for (int tap = thread; tap < windows.taps; tap += THREADS) taps[tap] = find_tap(windows, tap);
    x += static_cast<long long>(group) * geometry.channels * windows.x_plane;
    weight += (static_cast<long long>(blockIdx.z) * geometry.outputs + first_row) * row_length;
    y += (static_cast<long long>(group) * geometry.outputs + first_row) * windows.y_plane;
    const int rows = geometry.outputs - first_row;  // that this block has
    const int stages = (windows.rows + DEPTH - 1) / DEPTH;

    const int column = thread % ACROSS * COPY, row = thread / ACROSS;
    const Pixel own = find_pixel(geometry, windows, first_column + column);
    int channel = lane / max(windows.taps, 1), tap = lane % max(windows.taps, 1);
    const int channels_on = DEPTH / max(windows.taps, 1), taps_on = DEPTH % max(windows.taps, 1);
    if (row == 0)
#pragma unroll
        for (int i = 0; i < COPY; ++i) places[column + i] = own.bits ? own.y + i : -1;
    __syncthreads();

    auto list = [&](int stage) {  // one warp looks up the rows of a stage, one stage after another
        if (warp != 0) return;
        const bool exists = channel < geometry.channels;
        const int2 found = exists ? taps[tap] : make_int2(0, static_cast<int>(NEVER));
        listed[stage % STAGES][lane] = make_int2(exists ? found.x + channel * windows.x_plane : 0, found.y);
        channel += channels_on, tap += taps_on;
        if (tap >= windows.taps) tap -= windows.taps, ++channel;
    };
    const int piece = thread % 8, weight_row = thread / 8;
    const float* source = weight + static_cast<long long>(weight_row) * row_length + piece * 4;
    auto copy = [&](int stage) {
        const SharedAddress weights = tile + stage % STAGES * STAGE + swizzled(weight_row, piece * 4);
        const bool inside = stage * DEPTH + piece * 4 < row_length;
#pragma unroll
        for (int i = 0; i < ROWS * 8 / THREADS; ++i) {
            const int down = i * (THREADS / 8);
            copy_async_16(weights + down * 128, source + static_cast<long long>(down) * row_length + stage * DEPTH,
                          inside && down < rows - weight_row);
        }
        const SharedAddress gathered = tile + stage % STAGES * STAGE + WEIGHTS + (row * LENGTH + column) * 4;
        gather<DEPTH / PASS, COPY, PASS>(x, own, &listed[stage % STAGES][row],
                                         [&](int i) { return gathered + i * PASS * LENGTH * 4; });
    };

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
        if (stage + STAGES < stages) list(stage + STAGES);
        const SharedAddress weights = tile + stage % STAGES * STAGE;
        const float* gathered = tiles + (stage % STAGES * STAGE + WEIGHTS) / 4 + warp_column + lane / 4;
        float of_stage[FRAGMENT_ROWS][FRAGMENT_COLUMNS][4];
        if (PRODUCTS == 3) clear(of_stage);
#pragma unroll
        for (int step = 0; step < DEPTH / 8; ++step) {
            unsigned a[FRAGMENT_ROWS][4], b[FRAGMENT_COLUMNS][2];
#pragma unroll
            for (int i = 0; i < FRAGMENT_ROWS; ++i) load_rows(a[i], weights, warp_row + 16 * i, step, lane);
#pragma unroll
            for (int j = 0; j < FRAGMENT_COLUMNS; ++j)
#pragma unroll
                for (int e = 0; e < 2; ++e)
                    b[j][e] = __float_as_uint(gathered[(8 * step + lane % 4 + 4 * e) * LENGTH + 8 * j]);
            multiply<PRODUCTS>(PRODUCTS == 3 ? of_stage : sums, a, b);
        }
        if (PRODUCTS == 3) add(sums, of_stage);
    }
    copy_async_wait<0>();

    // A thread has rows lane / 4 and + 8 of a fragment, and pixels 2 (lane % 4) and + 1, which lie next to each other
    // in y where every image has an even number of them.
    const bool in_pairs = !geometry.transposed && windows.image_pixels % 2 == 0;
    int not_finite = 0;
#pragma unroll
    for (int j = 0; j < FRAGMENT_COLUMNS; ++j) {
        const int at = warp_column + 8 * j + lane % 4 * 2, left = places[at], right = places[at + 1];
#pragma unroll
        for (int i = 0; i < 2 * FRAGMENT_ROWS; ++i) {
            const int below = warp_row + 8 * i + lane / 4;
            if (below >= rows) continue;
            const float added = geometry.biased ? bias[group * geometry.outputs + first_row + below] : 0;
            Pack<float, 2> pair{sums[i / 2][j][i % 2 * 2] + added, sums[i / 2][j][i % 2 * 2 + 1] + added};
            float* target = y + static_cast<long long>(below) * windows.y_plane;
            if (in_pairs && left >= 0) store_pack<2>(target + left, pair);
            else {
                if (left >= 0) target[left] = pair.at[0];
                if (right >= 0) target[right] = pair.at[1];
            }
            not_finite |= !is_finite(pair.at[0]) | !is_finite(pair.at[1]);
        }
    }
    if (!__syncthreads_or(not_finite)) return;
    for (int i = thread; i < ROWS * COLUMNS; i += THREADS) {
        const int below = i / COLUMNS;
        const Pixel pixel = find_pixel(geometry, windows, first_column + i % COLUMNS);
        if (below >= rows || !pixel.bits) continue;
        float& target = y[static_cast<long long>(below) * windows.y_plane + pixel.y];
        if (is_finite(target)) continue;
        target = conv_one(x, weight + static_cast<long long>(below) * row_length, &windows, pixel, geometry.transposed);
        if (geometry.biased) target += bias[group * geometry.outputs + first_row + below];
    }
}
