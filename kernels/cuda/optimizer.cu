// Steps of optimisers, and the norm for clipping, over lists of arrays: one launch for up to ARRAYS of them.
//
// The arrays are a table that is passed by value. A block has PIECE elements of one array; block_end says behind which
// block each array ends. Every element is read and written once, so memory bounds a step.
//
// The numbers that change from step to step are one small table of T, `scalars`: a kernel that is recorded in a graph
// may take them from memory instead, by a parameter that has `at` too.
#include "prims.cuh"
#include "packs.cuh"

constexpr int ARRAYS = 80;  // tables and numbers fit the 4 KB of a kernel's parameters
constexpr int PIECE = 4096;

// Which array this block works on, and from which element to which.
struct Piece {
    int array;
    long long begin, end;

    __device__ Piece(const Numbers<int, ARRAYS>& block_end, const Numbers<long long, ARRAYS>& counts) {
        const int block = blockIdx.x;
        int low = 0, high = ARRAYS - 1;  // behind the last array, block_end repeats the number of blocks
        while (low < high) {
            const int middle = (low + high) / 2;
            if (block < block_end.at[middle]) high = middle;
            else low = middle + 1;
        }
        array = low;
        begin = static_cast<long long>(block - (low ? block_end.at[low - 1] : 0)) * PIECE;
        end = min(begin + PIECE, counts.at[low]);
    }
};

// ±g + decay θ; without decay an infinite θ adds nothing.
template <class T> DEVICE T decayed(T g, T parameter, T sign, T decay) {
    return decay == 0 ? sign * g : sign * g + decay * parameter;
}

// θ - lr d with d = ±g + decay θ. scalars: sign, decay, lr.
template <class T>
__global__ void __launch_bounds__(256)
descend(Pointers<T, ARRAYS> parameters, Pointers<const T, ARRAYS> gradients, Numbers<long long, ARRAYS> counts,
        Numbers<int, ARRAYS> block_end, Numbers<T, 3> scalars) {
    const Piece piece(block_end, counts);
    T* parameter = parameters.at[piece.array];
    const T* gradient = gradients.at[piece.array];
    const bool aligned = aligned_16(parameter) && aligned_16(gradient);
    const T sign = scalars.at[0], decay = scalars.at[1], lr = scalars.at[2];
    for (long long i = piece.begin + threadIdx.x * PACK<T>; i < piece.end; i += blockDim.x * PACK<T>) {
        const long long left = piece.end - i;
        Pack<T, PACK<T>> p = load_some(parameter + i, left, aligned);
        const Pack<T, PACK<T>> g = load_some(gradient + i, left, aligned);
#pragma unroll
        for (int j = 0; j < PACK<T>; ++j) p.at[j] -= lr * decayed(g.at[j], p.at[j], sign, decay);
        store_some(parameter + i, p, left, aligned);
    }
}

// v = momentum v + take d, at the FIRST step v = d, whatever v holds; then θ - lr v, or with nesterov (not 0)
// θ - lr (d + momentum v). scalars: sign, decay, lr, momentum, take, nesterov.
template <class T, bool FIRST>
__global__ void __launch_bounds__(256)
descend_with_momentum(Pointers<T, ARRAYS> parameters, Pointers<const T, ARRAYS> gradients,
                      Pointers<T, ARRAYS> buffers, Numbers<long long, ARRAYS> counts, Numbers<int, ARRAYS> block_end,
                      Numbers<T, 6> scalars) {
    const Piece piece(block_end, counts);
    T *parameter = parameters.at[piece.array], *buffer = buffers.at[piece.array];
    const T* gradient = gradients.at[piece.array];
    const bool aligned = aligned_16(parameter) && aligned_16(gradient) && aligned_16(buffer);
    const T sign = scalars.at[0], decay = scalars.at[1], lr = scalars.at[2];
    const T momentum = scalars.at[3], take = scalars.at[4], nesterov = scalars.at[5];
    for (long long i = piece.begin + threadIdx.x * PACK<T>; i < piece.end; i += blockDim.x * PACK<T>) {
        const long long left = piece.end - i;
        Pack<T, PACK<T>> p = load_some(parameter + i, left, aligned), v;
        const Pack<T, PACK<T>> g = load_some(gradient + i, left, aligned);
        if (!FIRST) v = load_some(buffer + i, left, aligned);
#pragma unroll
        for (int j = 0; j < PACK<T>; ++j) {
            const T d = decayed(g.at[j], p.at[j], sign, decay);
            v.at[j] = FIRST ? d : momentum * v.at[j] + take * d;
            p.at[j] -= lr * (nesterov != 0 ? d + momentum * v.at[j] : v.at[j]);
        }
        store_some(parameter + i, p, left, aligned);
        store_some(buffer + i, v, left, aligned);
    }
}

// m = beta1 m + other1 d, v = beta2 v + other2 d², and shrink θ - step_size m / (√v / correction + eps).
// scalars: sign, decay, shrink, beta1, other1, beta2, other2, step_size, correction, eps.
template <class T>
__global__ void __launch_bounds__(256)
adapt(Pointers<T, ARRAYS> parameters, Pointers<const T, ARRAYS> gradients, Pointers<T, ARRAYS> first_moments,
      Pointers<T, ARRAYS> second_moments, Numbers<long long, ARRAYS> counts, Numbers<int, ARRAYS> block_end,
      Numbers<T, 10> scalars) {
    const Piece piece(block_end, counts);
    T *parameter = parameters.at[piece.array], *first = first_moments.at[piece.array];
    T* second = second_moments.at[piece.array];
    const T* gradient = gradients.at[piece.array];
    const bool aligned = aligned_16(parameter) && aligned_16(gradient) && aligned_16(first) && aligned_16(second);
    const T sign = scalars.at[0], decay = scalars.at[1], shrink = scalars.at[2], beta1 = scalars.at[3];
    const T other1 = scalars.at[4], beta2 = scalars.at[5], other2 = scalars.at[6], step_size = scalars.at[7];
    const T correction = scalars.at[8], eps = scalars.at[9];
    for (long long i = piece.begin + threadIdx.x * PACK<T>; i < piece.end; i += blockDim.x * PACK<T>) {
        const long long left = piece.end - i;
        Pack<T, PACK<T>> p = load_some(parameter + i, left, aligned), m = load_some(first + i, left, aligned);
        Pack<T, PACK<T>> v = load_some(second + i, left, aligned);
        const Pack<T, PACK<T>> g = load_some(gradient + i, left, aligned);
#pragma unroll
        for (int j = 0; j < PACK<T>; ++j) {
            const T d = decayed(g.at[j], p.at[j], sign, decay);
            m.at[j] = beta1 * m.at[j] + other1 * d;
            v.at[j] = beta2 * v.at[j] + other2 * (d * d);
            p.at[j] = shrink * p.at[j] - step_size * m.at[j] / (sqrt(v.at[j]) / correction + eps);
        }
        store_some(parameter + i, p, left, aligned);
        store_some(first + i, m, left, aligned);
        store_some(second + i, v, left, aligned);
    }
}

// ---------------------------------------------------------------------- norm

// sums[block] = Σ x² over the block's piece, in float64.
template <class T>
__global__ void __launch_bounds__(256) square_sums(Pointers<const T, ARRAYS> arrays, Numbers<long long, ARRAYS> counts,
                                                   Numbers<int, ARRAYS> block_end, double* sums) {
    const Piece piece(block_end, counts);
    const T* x = arrays.at[piece.array];
    const bool aligned = aligned_16(x);
    double own = 0;
    for (long long i = piece.begin + threadIdx.x * PACK<T>; i < piece.end; i += blockDim.x * PACK<T>) {
        const Pack<T, PACK<T>> pack = load_some(x + i, piece.end - i, aligned);
#pragma unroll
        for (int j = 0; j < PACK<T>; ++j) own += static_cast<double>(pack.at[j]) * static_cast<double>(pack.at[j]);
    }
    own = block_sum(own);
    if (threadIdx.x == 0) sums[blockIdx.x] = own;
}

// The root of the sum of all pieces' sums, by one block.
template <class T> __global__ void __launch_bounds__(256) root_of_sum(const double* sums, T* norm, int n) {
    double own = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x) own += sums[i];
    own = block_sum(own);
    if (threadIdx.x == 0) *norm = static_cast<T>(sqrt(own));
}
