// Dropout by the contract's generator, which counts: an element needs its number and the seed, nothing else.
#include "prims.cuh"
#include "packs.cuh"

constexpr unsigned long long GOLDEN_RATIO = 0x9E3779B97F4A7C15ull;

// Whether element `i` is kept: its number of 24 bits against `least`. The generator's last step, z ^ z≫31, does not
// reach these bits, so it is left out.
DEVICE bool kept(unsigned long long seed, long long i, unsigned least) {
    unsigned long long z = seed + (static_cast<unsigned long long>(i) + 1) * GOLDEN_RATIO;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z >> 40 >= least;
}

// y = x / keep where x is kept, else 0, whatever x is there.
template <class T>
__global__ void __launch_bounds__(256)
dropout(const T* x, T* y, long long n, unsigned long long seed, unsigned least, T keep) {
    const long long i = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * PACK<T>;
    const bool aligned = aligned_16(x) && aligned_16(y);
    if (i >= n) return;
    Pack<T, PACK<T>> pack = load_some(x + i, n - i, aligned);
#pragma unroll
    for (int j = 0; j < PACK<T>; ++j) pack.at[j] = kept(seed, i + j, least) ? pack.at[j] / keep : T(0);
    store_some(y + i, pack, n - i, aligned);
}

// A thread writes N elements of the mask, which begins at a multiple of N bytes.
template <int N>
__global__ void __launch_bounds__(256) dropout_mask(bool* mask, long long n, unsigned long long seed, unsigned least) {
    const long long i = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * N;
    Pack<bool, N> pack;
#pragma unroll
    for (int j = 0; j < N; ++j) pack.at[j] = kept(seed, i + j, least);
    if (i + N <= n) {
        store_pack<N>(mask + i, pack);
    } else {
#pragma unroll
        for (int j = 0; j < N; ++j)
            if (i + j < n) mask[i + j] = pack.at[j];
    }
}
