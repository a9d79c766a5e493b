// Rows of a table by their numbers, and the sums that go back to them.
//
// For the sums the launching code has sorted the numbers, stably: `sorted`, and `readers`, which of the rows of g each
// came from; `starts` says where each row of the table begins in them. So a sum's order is that of g.
#include "prims.cuh"

constexpr int FEW = 64;  // readers that one thread adds up, a column; for more a block shares the work

// target[i] = table[rows[i]], `width` elements each; negative numbers count from the end, and a row that does not exist
// is NaN.
// A block is (columns, rows) threads; PACK elements are copied at once.
template <class T, class I, int PACK>
__global__ void __launch_bounds__(256)
take_rows(const T* table, const I* rows, T* target, long long count, long long height, int width) {
    const long long i = static_cast<long long>(blockIdx.x) * blockDim.y + threadIdx.y;
    if (i >= count) return;
    long long row = static_cast<long long>(rows[i]);
    if (row < 0) row += height;
    const bool exists = 0 <= row && row < height;
    for (int j = threadIdx.x * PACK; j < width; j += blockDim.x * PACK) {
        Pack<T, PACK> pack;
        if (exists) {
            pack = load_pack<PACK>(table + row * width + j);
        } else {
#pragma unroll
            for (int k = 0; k < PACK; ++k) pack.at[k] = not_a_number<T>();
        }
        store_pack<PACK>(target + i * width + j, pack);
    }
}

// target[r] = Σ g[readers[i]] for i from starts[r] to starts[r + 1], in float64; rows of more than FEW are left out.
template <class T>
__global__ void __launch_bounds__(256)
add_rows(const T* g, const long long* readers, const long long* starts, T* target, long long height, int width) {
    const long long row = static_cast<long long>(blockIdx.x) * blockDim.y + threadIdx.y;
    if (row >= height) return;
    const long long begin = starts[row], end = starts[row + 1];
    if (end - begin > FEW) return;
    for (int j = threadIdx.x; j < width; j += blockDim.x) {
        double sum = 0;
        for (long long i = begin; i < end; ++i) sum += static_cast<double>(g[readers[i] * width + j]);
        target[row * width + j] = static_cast<T>(sum);
    }
}

// The rows of more than FEW readers: one of them stands at a multiple of FEW, and the block of the first such one adds
// up the row, for as many columns as it is wide: each line of its threads a part of the readers, then the parts.
template <class T>
__global__ void __launch_bounds__(256) add_long_rows(const T* g, const long long* sorted, const long long* readers,
                                                     const long long* starts, T* target, long long height, int width) {
    __shared__ double of_parts[256];
    const long long at = static_cast<long long>(blockIdx.x) * FEW, row = sorted[at];
    if (row < 0 || row >= height) return;
    const long long begin = starts[row], end = starts[row + 1], readers_of_row = end - begin;
    if (readers_of_row <= FEW || at - begin >= FEW) return;  // the whole block leaves
    const int parts = blockDim.y, part = threadIdx.y, j = blockIdx.y * blockDim.x + threadIdx.x;
    const long long first = begin + readers_of_row * part / parts, last = begin + readers_of_row * (part + 1) / parts;
    double sum = 0;
    if (j < width)
        for (long long i = first; i < last; ++i) sum += static_cast<double>(g[readers[i] * width + j]);
    of_parts[part * blockDim.x + threadIdx.x] = sum;
    __syncthreads();  // all parts are there
    if (part > 0 || j >= width) return;
    for (int other = 1; other < parts; ++other) sum += of_parts[other * blockDim.x + threadIdx.x];
    target[row * width + j] = static_cast<T>(sum);
}
