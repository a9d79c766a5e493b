// Softmax and its logarithm: rows of a matrix (rows, n) in one piece, and columns of (outer, n, inner).
//
// A row of up to 32 PER_LANE elements belongs to a warp, which reads it once and keeps it in registers. A longer one
// belongs to a block, which reads it once for its largest element and its sum together, and once more, from the cache
// if it is not too long, for the result. A column belongs to one thread, and its neighbours to those next to it.
#include "prims.cuh"

// Σ exp(x - largest) of what was seen so far. -inf adds nothing; with +inf or NaN the sum is NaN.
template <class T> struct ExponentialSum {
    T largest;
    double sum;  // of many elements: in float64 it loses nothing

    __device__ ExponentialSum() : largest(-infinity<T>()), sum(0) {}

    __device__ void add(T x) {
        if (x > largest) {
            sum = sum * static_cast<double>(exp(largest - x)) + static_cast<double>(exp(x - x));
            largest = x;
        } else if (x != -infinity<T>()) {
            sum += static_cast<double>(exp(x - largest));
        }
    }
};

// The result for an element from the largest of its row and the row's sum or, with LOGARITHM, the sum's logarithm.
template <class T, bool LOGARITHM> DEVICE T softmax_value(T x, T largest, T sum) {
    return LOGARITHM ? (x - largest) - sum : exp(x - largest) / sum;
}

// What a row's gradient sums, and the gradient.
template <class T, bool LOGARITHM> DEVICE T summand(T g, T y) { return LOGARITHM ? g : g * y; }
template <class T, bool LOGARITHM> DEVICE T slope(T g, T y, T sum) {
    return LOGARITHM ? g - exp(y) * sum : g * y - y * sum;
}

// ---------------------------------------------------------------------- a warp for each row

template <class T, bool LOGARITHM, int PER_LANE>
__global__ void __launch_bounds__(128) softmax_warp(const T* x, T* y, long long rows, int n) {
    const long long row = static_cast<long long>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    if (row >= rows) return;  // a whole warp leaves
    T value[PER_LANE], largest = -infinity<T>(), sum = 0;
#pragma unroll
    for (int i = 0; i < PER_LANE; ++i) {
        const int column = lane + 32 * i;
        value[i] = column < n ? x[row * n + column] : -infinity<T>();
        largest = Largest()(largest, value[i]);
    }
    largest = warp_max(largest);
#pragma unroll
    for (int i = 0; i < PER_LANE; ++i) {
        const T e = exp(value[i] - largest);
        if (lane + 32 * i < n) sum += e;
        if (!LOGARITHM) value[i] = e;
    }
    sum = warp_sum(sum);
    if (LOGARITHM) sum = log(sum);
#pragma unroll
    for (int i = 0; i < PER_LANE; ++i) {
        const int column = lane + 32 * i;
        if (column < n) y[row * n + column] = LOGARITHM ? (value[i] - largest) - sum : value[i] / sum;
    }
}

template <class T, bool LOGARITHM, int PER_LANE>
__global__ void __launch_bounds__(128) softmax_grad_warp(const T* g, const T* y, T* dx, long long rows, int n) {
    const long long row = static_cast<long long>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    if (row >= rows) return;
    T of_g[PER_LANE], of_y[PER_LANE], sum = 0;
#pragma unroll
    for (int i = 0; i < PER_LANE; ++i) {
        const int column = lane + 32 * i;
        of_g[i] = column < n ? g[row * n + column] : 0;
        of_y[i] = column < n ? y[row * n + column] : 0;
        sum += summand<T, LOGARITHM>(of_g[i], of_y[i]);
    }
    sum = warp_sum(sum);
#pragma unroll
    for (int i = 0; i < PER_LANE; ++i) {
        const int column = lane + 32 * i;
        if (column < n) dx[row * n + column] = slope<T, LOGARITHM>(of_g[i], of_y[i], sum);
    }
}

// ---------------------------------------------------------------------- a block for each row

// PACK elements are read at once: where it is not 1, n is a multiple of it and the rows begin at whole packs.
template <class T, bool LOGARITHM, int PACK>
__global__ void __launch_bounds__(256) softmax_block(const T* x, T* y, long long n) {
    x += blockIdx.x * n;
    y += blockIdx.x * n;
    ExponentialSum<T> own;
    for (long long i = threadIdx.x * PACK; i < n; i += blockDim.x * PACK) {
        const Pack<T, PACK> pack = load_pack<PACK>(x + i);
#pragma unroll
        for (int j = 0; j < PACK; ++j) own.add(pack.at[j]);
    }
    const T largest = block_max(own.largest);
    // A thread that saw only -inf has sum 0, which stays 0 whatever the largest element is.
    const double share = own.sum == 0 ? 0 : own.sum * static_cast<double>(exp(own.largest - largest));
    const double total = block_sum(share);
    const T sum = static_cast<T>(LOGARITHM ? log(total) : total);
    for (long long i = threadIdx.x * PACK; i < n; i += blockDim.x * PACK) {
        Pack<T, PACK> pack = load_pack<PACK>(x + i);
#pragma unroll
        for (int j = 0; j < PACK; ++j) pack.at[j] = softmax_value<T, LOGARITHM>(pack.at[j], largest, sum);
        store_pack<PACK>(y + i, pack);
    }
}

template <class T, bool LOGARITHM, int PACK>
__global__ void __launch_bounds__(256) softmax_grad_block(const T* g, const T* y, T* dx, long long n) {
    g += blockIdx.x * n;
    y += blockIdx.x * n;
    dx += blockIdx.x * n;
    double own = 0;
    for (long long i = threadIdx.x * PACK; i < n; i += blockDim.x * PACK) {
        const Pack<T, PACK> of_g = load_pack<PACK>(g + i), of_y = load_pack<PACK>(y + i);
#pragma unroll
        for (int j = 0; j < PACK; ++j) own += static_cast<double>(summand<T, LOGARITHM>(of_g.at[j], of_y.at[j]));
    }
    const T sum = static_cast<T>(block_sum(own));
    for (long long i = threadIdx.x * PACK; i < n; i += blockDim.x * PACK) {
        const Pack<T, PACK> of_y = load_pack<PACK>(y + i);
        Pack<T, PACK> pack = load_pack<PACK>(g + i);
#pragma unroll
        for (int j = 0; j < PACK; ++j) pack.at[j] = slope<T, LOGARITHM>(pack.at[j], of_y.at[j], sum);
        store_pack<PACK>(dx + i, pack);
    }
}

// ---------------------------------------------------------------------- a thread for each column

template <class T, bool LOGARITHM>
__global__ void __launch_bounds__(128)
softmax_columns(const T* x, T* y, long long outer, long long n, long long inner) {
    const long long column = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (column >= outer * inner) return;
    const long long first = column / inner * n * inner + column % inner, end = first + n * inner;
    ExponentialSum<T> own;
    for (long long i = first; i < end; i += inner) own.add(x[i]);
    const T sum = static_cast<T>(LOGARITHM ? log(own.sum) : own.sum);
    for (long long i = first; i < end; i += inner) y[i] = softmax_value<T, LOGARITHM>(x[i], own.largest, sum);
}

template <class T, bool LOGARITHM>
__global__ void __launch_bounds__(128)
softmax_grad_columns(const T* g, const T* y, T* dx, long long outer, long long n, long long inner) {
    const long long column = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (column >= outer * inner) return;
    const long long first = column / inner * n * inner + column % inner, end = first + n * inner;
    double own = 0;
    for (long long i = first; i < end; i += inner) own += static_cast<double>(summand<T, LOGARITHM>(g[i], y[i]));
    const T sum = static_cast<T>(own);
    for (long long i = first; i < end; i += inner) dx[i] = slope<T, LOGARITHM>(g[i], y[i], sum);
}
