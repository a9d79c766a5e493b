// What kernels need from PTX and from the CUDA runtime: one small function each.
//
// Every function has two bodies: one for the GPU, and one for the stand-in that runs kernels on the CPU
// (tests/cuda_on_cpu), chosen by STAND_IN. So inline PTX stands in this file only, and the text of a kernel is the same
// in both. No header is included: NVRTC compiles this without any.
#pragma once

#define DEVICE __device__ __forceinline__

// ---------------------------------------------------------------------- numbers

constexpr unsigned ALL_LANES = 0xffffffffu;

template <class T> DEVICE T infinity();
template <> DEVICE float infinity<float>() { return __uint_as_float(0x7f800000u); }
template <> DEVICE double infinity<double>() { return __longlong_as_double(0x7ff0000000000000ll); }

template <class T> DEVICE T not_a_number();
template <> DEVICE float not_a_number<float>() { return __uint_as_float(0x7fc00000u); }
template <> DEVICE double not_a_number<double>() { return __longlong_as_double(0x7ff8000000000000ll); }

// 16-bit floats as they lie in memory; arithmetic is on what widen() makes of them.
struct BFloat16 {
    unsigned short bits;
};
struct Half {
    unsigned short bits;
};

// The type in which a kernel computes on elements of T: float, or double for double.
template <class T> struct WideOf {
    typedef float type;
};
template <> struct WideOf<double> {
    typedef double type;
};
template <class T> using Wide = typename WideOf<T>::type;

DEVICE float widen(float value) { return value; }
DEVICE double widen(double value) { return value; }
DEVICE float widen(BFloat16 value) { return __uint_as_float(static_cast<unsigned>(value.bits) << 16); }
DEVICE float widen(Half value) {
#ifdef STAND_IN
    return stand_in::float_of_half(value.bits);
#else
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(value.bits));
    return wide;
#endif
}

// Rounds to nearest, ties to even.
template <class T> DEVICE T narrow(Wide<T> value);
template <> DEVICE float narrow<float>(float value) { return value; }
template <> DEVICE double narrow<double>(double value) { return value; }
template <> DEVICE BFloat16 narrow<BFloat16>(float value) {
    BFloat16 result;
#ifdef STAND_IN
    result.bits = stand_in::bfloat16_of_float(value);
#else
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
#endif
    return result;
}
template <> DEVICE Half narrow<Half>(float value) {
    Half result;
#ifdef STAND_IN
    result.bits = stand_in::half_of_float(value);
#else
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
#endif
    return result;
}

// Two 16-bit floats in one register, as tensor cores take them: `low` is the element of the lower index.
DEVICE unsigned pack_bf16(float low, float high) {
#ifdef STAND_IN
    return stand_in::bfloat16_of_float(low) | static_cast<unsigned>(stand_in::bfloat16_of_float(high)) << 16;
#else
    unsigned packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
#endif
}
DEVICE unsigned pack_f16(float low, float high) {
#ifdef STAND_IN
    return stand_in::half_of_float(low) | static_cast<unsigned>(stand_in::half_of_float(high)) << 16;
#else
    unsigned packed;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
#endif
}
DEVICE float low_bf16(unsigned packed) { return __uint_as_float(packed << 16); }
DEVICE float high_bf16(unsigned packed) { return __uint_as_float(packed & 0xffff0000u); }
DEVICE float low_f16(unsigned packed) { return widen(Half{static_cast<unsigned short>(packed)}); }
DEVICE float high_f16(unsigned packed) { return widen(Half{static_cast<unsigned short>(packed >> 16)}); }

// 2^x within 2 units in the last place, in one instruction; a subnormal result is 0.
DEVICE float exp2_fast(float x) {
#ifdef STAND_IN
    return exp2f(x);
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

// Division by a number that the launching code knows, as divisor() of launch.py makes it: a GPU divides in some twenty
// instructions, by this in three. n / divisor is (high half of n magic, + n) >> shift, for n < 2^31.
struct Divisor {
    unsigned divisor, magic, shift;

    DEVICE unsigned operator()(unsigned n) const { return (__umulhi(n, magic) + n) >> shift; }
    // Of any n >= 0; a larger one is divided slowly.
    DEVICE long long quotient(long long n) const {
        return n >> 31 ? n / divisor : (*this)(static_cast<unsigned>(n));
    }
    DEVICE long long remainder(long long n) const { return n - quotient(n) * divisor; }
};

// ---------------------------------------------------------------------- global memory

// N elements that are loaded and stored at once (16 bytes are the most): `Pack<float, 4> p = load_pack<4>(x + i);`.
// The address must be a multiple of their size; a view need not begin at one, so the launching code asks aligned().
template <class T, int N> struct alignas(sizeof(T) * N) Pack {
    T at[N];
};
template <int N, class T> DEVICE Pack<T, N> load_pack(const T* address) {
    return *reinterpret_cast<const Pack<T, N>*>(address);
}
template <int N, class T> DEVICE void store_pack(T* address, const Pack<T, N>& pack) {
    *reinterpret_cast<Pack<T, N>*>(address) = pack;
}

// Small tables that are passed by value: what numbers() and pointers() of launch.py make.
template <class T, int N> struct Numbers {
    T at[N];
};
template <class T, int N> struct Pointers {
    T* at[N];
};

// ---------------------------------------------------------------------- shared memory

// The block's dynamic shared memory, whose size the launch gives: DYNAMIC_SHARED(float, tile); begins at 128 bytes.
#ifdef STAND_IN
#define DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(stand_in::dynamic_shared)
typedef char* SharedAddress;
#else
extern __shared__ __align__(128) unsigned char dynamic_shared_memory[];
#define DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(dynamic_shared_memory)
typedef unsigned SharedAddress;
#endif

// An address within shared memory, as the instructions below take it; add and subtract bytes.
DEVICE SharedAddress shared_address(const void* pointer) {
#ifdef STAND_IN
    return static_cast<char*>(const_cast<void*>(pointer));
#else
    return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
#endif
}

// Begins to copy 16 (or 4) bytes from global to shared memory, both at multiples of 16 (4); where not `valid`, zeros
// are written and `source` is not read. What was copied may be read by the thread itself after copy_async_wait, by
// others after a barrier beyond it.
DEVICE void copy_async_16(SharedAddress target, const void* source, bool valid = true) {
#ifdef STAND_IN
    stand_in::copy_async(target, source, valid, 16);
#else
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(source), "r"(valid ? 16 : 0)
                 : "memory");
#endif
}
DEVICE void copy_async_4(SharedAddress target, const void* source, bool valid = true) {
#ifdef STAND_IN
    stand_in::copy_async(target, source, valid, 4);
#else
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(target), "l"(source), "r"(valid ? 4 : 0)
                 : "memory");
#endif
}
// Closes a group of copies; an empty one counts too.
DEVICE void copy_async_commit() {
#ifdef STAND_IN
    stand_in::copy_async_commit();
#else
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// Waits until all of this thread's groups but the newest N have arrived.
template <int N> DEVICE void copy_async_wait() {
#ifdef STAND_IN
    stand_in::copy_async_wait(N);
#else
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}

// ---------------------------------------------------------------------- tensor cores

// A warp loads matrices of 8 rows of 16 bytes. Lane 8 m + r gives the address of row r of matrix m, at a multiple of
// 16; each lane receives in registers[m] the 4 bytes number lane % 4 of row lane / 4.
DEVICE void load_matrices(unsigned (&registers)[4], SharedAddress row) {
#ifdef STAND_IN
    stand_in::load_matrices(registers, 4, row, false);
#else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(row)
                 : "memory");
#endif
}
DEVICE void load_matrices(unsigned (&registers)[2], SharedAddress row) {
#ifdef STAND_IN
    stand_in::load_matrices(registers, 2, row, false);
#else
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(registers[0]), "=r"(registers[1])
                 : "r"(row)
                 : "memory");
#endif
}
// The same, with each matrix, of 16-bit elements, transposed.
DEVICE void load_matrices_transposed(unsigned (&registers)[4], SharedAddress row) {
#ifdef STAND_IN
    stand_in::load_matrices(registers, 4, row, true);
#else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(row)
                 : "memory");
#endif
}

// d += a b on fragments that lie across the lanes of a warp. With group = lane / 4 and place = lane % 4:
//   d, float (16, 8):     d[i] is row group + 8 (i / 2), column 2 place + i % 2
//   a, tf32 (16, 8):      a[i] is row group + 8 (i % 2), column place + 4 (i / 2)
//   b, tf32 (8, 8):       b[i] is row place + 4 i, column group
//   a, 16-bit (16, 16):   a[i] is row group + 8 (i % 2), columns 2 place + 8 (i / 2) and the next
//   b, 16-bit (16, 8):    b[i] is rows 2 place + 8 i and the next, column group
// Of a tf32 operand the 13 lowest bits do not count: round_tf32 first.
DEVICE void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef STAND_IN
    stand_in::mma(d, a, b, stand_in::TF32);
#else
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}
DEVICE void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef STAND_IN
    stand_in::mma(d, a, b, stand_in::BF16);
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}
DEVICE void mma_f16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#ifdef STAND_IN
    stand_in::mma(d, a, b, stand_in::F16);
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// To tf32 (11 digits), to nearest. Ties go to even from sm_90 on, where that is one instruction, away from 0 before.
DEVICE unsigned round_tf32(float value) {
#ifdef STAND_IN
    return stand_in::tf32_of_float(value);
#else
    unsigned rounded;
#if __CUDA_ARCH__ >= 900
    asm("cvt.rn.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(value));
#else
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(value));
#endif
    return rounded;
#endif
}
// value = big + small up to 2^-22 of it: three products of such parts make a product as exact as float32's.
// inf and NaN do not survive it (inf - inf is NaN, inf times a small part of 0 too): where a result may come of them,
// the kernel must see to it.
DEVICE void split_tf32(float value, unsigned& big, unsigned& small) {
    big = round_tf32(value);
    small = round_tf32(value - __uint_as_float(big));
}
// d += a b by three products, the smallest first.
DEVICE void mma_3xtf32(float (&d)[4], const unsigned (&a_big)[4], const unsigned (&a_small)[4],
                       const unsigned (&b_big)[2], const unsigned (&b_small)[2]) {
    mma_tf32(d, a_small, b_big);
    mma_tf32(d, a_big, b_small);
    mma_tf32(d, a_big, b_big);
}

// ---------------------------------------------------------------------- clusters of blocks, from sm_90 on

// `__global__ void CLUSTER_OF(8) kernel(...)`: blocks 8 c to 8 c + 7 of the grid are a cluster, which runs together.
// The stand-in runs the blocks of a cluster one after another: each sees only what it wrote itself.
#if !defined(STAND_IN) && __CUDA_ARCH__ >= 900
#define CLUSTER_OF(size) __cluster_dims__(size, 1, 1)
#else
#define CLUSTER_OF(size)
#endif

template <int SIZE> DEVICE int cluster_rank() { return blockIdx.x % SIZE; }

// Writes into the shared memory of the cluster's block `rank`, where `target` is an address in this block's own.
template <int SIZE> DEVICE void cluster_store(SharedAddress target, int rank, float value) {
#ifdef STAND_IN
    if (rank == cluster_rank<SIZE>()) *reinterpret_cast<float*>(target) = value;
#elif __CUDA_ARCH__ >= 900
    unsigned there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(target), "r"(rank));
    asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(there), "f"(value) : "memory");
#else
    asm volatile("trap;");
#endif
}
// All threads of a cluster wait for each other, and see what was written before.
DEVICE void cluster_barrier() {
#ifdef STAND_IN
    __syncthreads();
#elif __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.arrive.release;\n\tbarrier.cluster.wait.acquire;" ::: "memory");
#else
    asm volatile("trap;");
#endif
}

// ---------------------------------------------------------------------- reductions

struct Sum {
    template <class T> __device__ T operator()(T a, T b) const { return a + b; }
};
// The larger one; of a number and NaN, the number.
struct Largest {
    __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
    __device__ double operator()(double a, double b) const { return fmax(a, b); }
    __device__ int operator()(int a, int b) const { return a > b ? a : b; }
};

// The values of all lanes together, in every lane, with the same bits: a tree whose shape is fixed.
template <class T, class Operation> DEVICE T warp_reduce(T value, Operation operation) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2)
        value = operation(value, __shfl_xor_sync(ALL_LANES, value, distance));
    return value;
}
template <class T> DEVICE T warp_sum(T value) { return warp_reduce(value, Sum()); }
template <class T> DEVICE T warp_max(T value) { return warp_reduce(value, Largest()); }

// The same over a block of whole warps along x; every thread of the block must call it.
template <class T, class Operation> DEVICE T block_reduce(T value, Operation operation) {
    __shared__ T of_warps[32];
    value = warp_reduce(value, operation);
    __syncthreads();  // what an earlier call left there has been read
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = value;
    __syncthreads();
    value = of_warps[0];
    for (int warp = 1; warp < static_cast<int>(blockDim.x) / 32; ++warp) value = operation(value, of_warps[warp]);
    return value;
}
template <class T> DEVICE T block_sum(T value) { return block_reduce(value, Sum()); }
template <class T> DEVICE T block_max(T value) { return block_reduce(value, Largest()); }
