// Rows of a table by their numbers, and the sums that go back to them.
//
// For the sums the launching code has sorted the numbers, stably: `sorted`, and `readers`, which of the rows of g each
// came from. So the readers of a row of the table stand together, in the order of g, which is the order of the sum.
#include "prims.cuh"

constexpr int FEW = 64;  // readers that one thread adds up, a column; for more a block shares the work

// target[i] = table[rows[i]], `width` elements each; negative numbers count from the end, and a row that does not exist
// is NaN. A block is (columns, rows) threads; PACK elements are copied at once.
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

// target[r] = Σ g[readers[i]] over the readers of row r, in float64, where there are 1 to FEW of them. The others are
// not written, and numbers of rows that do not exist reach nothing.
template <class T>
__global__ void __launch_bounds__(256) add_rows(const T* g, const long long* sorted, const long long* readers,
                                                T* target, long long count, long long height, int width) {
    const long long begin = static_cast<long long>(blockIdx.x) * blockDim.y + threadIdx.y;
    if (begin >= count) return;
    const long long row = sorted[begin];
    if (row < 0 || row >= height || (begin > 0 && sorted[begin - 1] == row)) return;  // not the first of a row
    if (begin + FEW < count && sorted[begin + FEW] == row) return;
    long long end = begin + 1;
    while (end < count && sorted[end] == row) ++end;
    for (int j = threadIdx.x; j < width; j += blockDim.x) {
        double sum = 0;
#pragma unroll 4
        for (long long i = begin; i < end; ++i) sum += static_cast<double>(g[readers[i] * width + j]);
        target[row * width + j] = static_cast<T>(sum);
    }
}

// The first of the places from low on, below high, where `sorted` has reached `number`; high where it has not.
DEVICE long long place_of(const long long* sorted, long long low, long long high, long long number) {
    while (low < high) {
        const long long middle = (low + high) / 2;
        if (sorted[middle] < number) low = middle + 1;
        else high = middle;
    }
    return low;
}

// The rows of more than FEW readers: one of them stands at a multiple of FEW, and the block of the first such one adds
// up the row, for as many columns as it is wide: each line of its threads a part of the readers, then the parts.
template <class T>
__global__ void __launch_bounds__(256) add_long_rows(const T* g, const long long* sorted, const long long* readers,
                                                     T* target, long long count, long long height, int width) {
    __shared__ double of_parts[256];
    const long long at = static_cast<long long>(blockIdx.x) * FEW, row = sorted[at];
    if (row < 0 || row >= height || (at >= FEW && sorted[at - FEW] == row)) return;  // the whole block leaves
    const long long begin = place_of(sorted, at < FEW ? 0 : at - FEW, at, row);
    if (begin + FEW >= count || sorted[begin + FEW] != row) return;
    const long long readers_of_row = place_of(sorted, begin + FEW, count, row + 1) - begin;
    const int parts = blockDim.y, part = threadIdx.y, j = blockIdx.y * blockDim.x + threadIdx.x;
    const long long first = begin + readers_of_row * part / parts, last = begin + readers_of_row * (part + 1) / parts;
    double sum = 0;
    if (j < width) {
#pragma unroll 8
        for (long long i = first; i < last; ++i) sum += static_cast<double>(g[readers[i] * width + j]);
    }
    of_parts[part * blockDim.x + threadIdx.x] = sum;
    __syncthreads();  // all parts are there
    if (part > 0 || j >= width) return;
    for (int other = 1; other < parts; ++other) sum += of_parts[other * blockDim.x + threadIdx.x];
    target[row * width + j] = static_cast<T>(sum);
}
