// Elementwise functions: one kernel for those of x, one for gradients of g and x; what they compute is a type, F.
// A thread has one pack of 16 bytes of each array.
#include "prims.cuh"
#include "elementwise.cuh"
#include "packs.cuh"

template <class F, class T> __global__ void __launch_bounds__(256) map(const T* x, T* y, long long n) {
    const long long i = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * PACK<T>;
    const bool aligned = aligned_16(x) && aligned_16(y);
    if (i >= n) return;
    Pack<T, PACK<T>> pack = load_some(x + i, n - i, aligned);
#pragma unroll
    for (int j = 0; j < PACK<T>; ++j) pack.at[j] = F()(pack.at[j]);
    store_some(y + i, pack, n - i, aligned);
}

template <class F, class T>
__global__ void __launch_bounds__(256) map_grad(const T* g, const T* x, T* dx, long long n) {
    const long long i = (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x) * PACK<T>;
    const bool aligned = aligned_16(g) && aligned_16(x) && aligned_16(dx);
    if (i >= n) return;
    const Pack<T, PACK<T>> of_g = load_some(g + i, n - i, aligned);
    Pack<T, PACK<T>> pack = load_some(x + i, n - i, aligned);
#pragma unroll
    for (int j = 0; j < PACK<T>; ++j) pack.at[j] = F()(of_g.at[j], pack.at[j]);
    store_some(dx + i, pack, n - i, aligned);
}
