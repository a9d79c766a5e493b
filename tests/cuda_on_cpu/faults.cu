// Kernels that are right, where one change of the text makes a fault; test_stand_in.py makes them all.
#include "prims.cuh"

DEVICE void mma_of(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], BFloat16) { mma_bf16(d, a, b); }
DEVICE void mma_of(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], Half) { mma_f16(d, a, b); }
DEVICE float of_pair(float value, BFloat16) {
    return high_bf16(pack_bf16(0, value)) / 2 + low_bf16(pack_bf16(value, 0)) / 2;
}
DEVICE float of_pair(float value, Half) {
    return high_f16(pack_f16(0, value)) / 2 + low_f16(pack_f16(value, 0)) / 2;
}

// y[i] = x[n - 1 - i] within each block, through static shared memory.
template <class T> __global__ void reverse(const T* x, T* y, int n) {
    __shared__ T tile[256];
    const int i = threadIdx.x;
    if (i < n) tile[i] = x[i];
    __syncthreads();  // the tile is whole
    if (i < n) y[i] = tile[n - 1 - i];
}

// A chain of copies through dynamic shared memory, two buffers deep: y = x, 4 floats for each thread and step.
template <int STAGES> __global__ void pipeline(const float* x, float* y, int steps) {
    DYNAMIC_SHARED(float, buffer);
    const int width = 4 * blockDim.x, place = 4 * threadIdx.x;
    for (int step = 0; step < STAGES - 1; ++step) {
        if (step < steps) copy_async_16(shared_address(buffer + step * width + place), x + step * width + place);
        copy_async_commit();
    }
    for (int step = 0; step < steps; ++step) {
        copy_async_wait<STAGES - 2>();
        __syncthreads();
        const int next = step + STAGES - 1;
        if (next < steps)
            copy_async_16(shared_address(buffer + next % STAGES * width + place), x + next * width + place);
        copy_async_commit();
        for (int i = 0; i < 4; ++i) {  // reads what its neighbours copied
            const int column = width - 1 - place - i;
            y[step * width + column] = buffer[step % STAGES * width + column];
        }
    }
}

// c = a b for a (16, 16) and b (8, 16) transposed, by one warp: fragments through ldmatrix.
template <class T> __global__ void tile_product(const T* a, const T* b, float* c) {
    __shared__ __align__(16) T tile_a[16 * 16];
    __shared__ __align__(16) T tile_b[8 * 16];
    const int lane = threadIdx.x;
    for (int i = lane; i < 256; i += 32) tile_a[i] = a[i];
    for (int i = lane; i < 128; i += 32) tile_b[i] = b[i];
    __syncwarp();
    unsigned of_a[4], of_b[2];
    load_matrices(of_a, shared_address(tile_a + lane % 16 * 16 + lane / 16 * 8));
    load_matrices(of_b, shared_address(tile_b + lane % 8 * 16 + lane / 8 % 2 * 8));
    float d[4] = {0, 0, 0, 0};
    mma_of(d, of_a, of_b, T());
    for (int i = 0; i < 4; ++i) c[(lane / 4 + 8 * (i / 2)) * 8 + 2 * (lane % 4) + i % 2] = d[i];
}

// The same for float32 (16, 8) by (8, 8), with three tf32 products.
template <class T> __global__ void exact_product(const T* a, const T* b, T* c) {
    const int lane = threadIdx.x, group = lane / 4, place = lane % 4;
    unsigned a_big[4], a_small[4], b_big[2], b_small[2];
    for (int i = 0; i < 4; ++i) split_tf32(a[(group + 8 * (i % 2)) * 8 + place + 4 * (i / 2)], a_big[i], a_small[i]);
    for (int i = 0; i < 2; ++i) split_tf32(b[group * 8 + place + 4 * i], b_big[i], b_small[i]);
    float d[4] = {0, 0, 0, 0};
    mma_3xtf32(d, a_big, a_small, b_big, b_small);
    for (int i = 0; i < 4; ++i) c[(group + 8 * (i / 2)) * 8 + 2 * place + i % 2] = d[i];
}

// To a 16-bit type and back, and to a register of two.
template <class T> __global__ void round_trip(const float* x, float* y, float* z, int n) {
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        y[i] = widen(narrow<T>(x[i]));
        z[i] = of_pair(x[i], T());
    }
}

// Sums of tables of arrays: y[k] = Σ x[k], with lengths by value.
template <class T> __global__ void sums(Pointers<const T, 4> x, T* y, Numbers<long long, 4> lengths) {
    T sum = 0;
    for (long long i = threadIdx.x; i < lengths.at[blockIdx.x]; i += blockDim.x) sum += x.at[blockIdx.x][i];
    sum = block_sum(sum);
    const T threads = block_sum(static_cast<T>(1));
    if (threadIdx.x == 0) y[blockIdx.x] = sum * (threads / blockDim.x);
}
