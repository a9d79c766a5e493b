// What a .cu file sees when g++ compiles it for the CPU: CUDA's words, types and functions.
//
// A block's threads are fibres of one thread of the machine; stand_in.cpp switches between them where they wait for
// each other. Little is included, so that a file of kernels compiles quickly.
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define STAND_IN 1
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __constant__ static
// Variables of a thread of the machine lie in one piece of memory, which is filled with NaN before every block.
#define __shared__ static thread_local
#define threadIdx (*stand_in::thread_index)
#define blockIdx stand_in::block_index
#define blockDim stand_in::block_size
#define gridDim stand_in::grid_size

struct uint3 {
    unsigned x, y, z;
};
typedef uint3 dim3;
constexpr int warpSize = 32;

#define STAND_IN_VECTORS(T, name)                                             \
    struct alignas(2 * sizeof(T)) name##2 {                                   \
        T x, y;                                                               \
    };                                                                        \
    struct alignas(sizeof(T) < 8 ? 4 * sizeof(T) : 16) name##4 {              \
        T x, y, z, w;                                                         \
    };                                                                        \
    inline name##2 make_##name##2(T x, T y) { return {x, y}; }                \
    inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
STAND_IN_VECTORS(float, float)
STAND_IN_VECTORS(double, double)
STAND_IN_VECTORS(int, int)
STAND_IN_VECTORS(unsigned, uint)
#undef STAND_IN_VECTORS

// Where in a file something is called: the default arguments stand for the caller's place.
#define STAND_IN_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

namespace stand_in {
// Of the thread that runs now, and of the block.
extern const uint3* thread_index;
extern uint3 block_index, block_size, grid_size;
extern char* dynamic_shared;

[[noreturn]] void fail(const char* sentence);

// All threads of the block wait for each other; how many gave `vote`.
int barrier(const char* what, int vote, const char* file, int line);

// The lanes of `mask` wait for each other. Each gives `in` and receives `out`; the last to come does `work` for all.
struct Lane {
    const void* in;
    void* out;
    int number;    // of the work: a source lane, a size
    bool present;  // false for a lane outside the mask, or one that has left the kernel
};
typedef void (*Work)(Lane (&lanes)[32]);
void meet(unsigned mask, Work work, const void* in, void* out, int number, const char* what, const char* file,
          int line);
int lane();

void exchange_4(Lane (&lanes)[32]);
void exchange_8(Lane (&lanes)[32]);
void vote(Lane (&lanes)[32]);
void nothing(Lane (&lanes)[32]);

template <class T> T exchange(unsigned mask, T value, int source, const char* what, const char* file, int line) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
    T result;
    meet(mask, sizeof(T) == 4 ? exchange_4 : exchange_8, &value, &result, source, what, file, line);
    return result;
}

void copy_async(char* target, const void* source, bool valid, int bytes);
void copy_async_commit();
void copy_async_wait(int newest);

void load_matrices(unsigned* registers, int count, const char* row, bool transposed, STAND_IN_PLACE);
enum Format { TF32, BF16, F16 };
void mma(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], Format format, STAND_IN_PLACE);

float float_of_half(unsigned short bits);
unsigned short half_of_float(float value);
unsigned short bfloat16_of_float(float value);
unsigned tf32_of_float(float value);

// How a kernel's parameters are laid out, for the check of the arguments: "p" or "c" (T* or const T*), "f", "i", "u",
// "b" or "s" (a struct), and the size in bytes; of a pointer, the kind and the size of its element.
template <class T> struct Is {
    static constexpr char kind = 's';
};
#define STAND_IN_KIND(T, letter)               \
    template <> struct Is<T> {                 \
        static constexpr char kind = letter;   \
    };
STAND_IN_KIND(float, 'f')
STAND_IN_KIND(double, 'f')
STAND_IN_KIND(bool, 'b')
STAND_IN_KIND(signed char, 'i')
STAND_IN_KIND(short, 'i')
STAND_IN_KIND(int, 'i')
STAND_IN_KIND(long, 'i')
STAND_IN_KIND(long long, 'i')
STAND_IN_KIND(unsigned char, 'u')
STAND_IN_KIND(unsigned short, 'u')
STAND_IN_KIND(unsigned, 'u')
STAND_IN_KIND(unsigned long, 'u')
STAND_IN_KIND(unsigned long long, 'u')
STAND_IN_KIND(void, 'v')
#undef STAND_IN_KIND
template <class T> struct SizeOf {
    static constexpr int value = sizeof(T);
};
template <> struct SizeOf<void> {
    static constexpr int value = 1;
};
template <class T> struct Parameter {
    static int write(char* text) { return sprintf(text, "%c%d ", Is<T>::kind, SizeOf<T>::value); }
};
template <class T> struct Parameter<T*> {
    static int write(char* text) { return sprintf(text, "p%c%d ", Is<T>::kind, SizeOf<T>::value); }
};
template <class T> struct Parameter<const T*> {
    static int write(char* text) { return sprintf(text, "c%c%d ", Is<T>::kind, SizeOf<T>::value); }
};
template <class T> struct Plain {
    typedef T type;
};
template <class T> struct Plain<const T> {
    typedef T type;
};
template <class... P> const char* signature(void (*)(P...)) {
    static char text[1024];
    int length = 0;
    ((length += Parameter<typename Plain<P>::type>::write(text + length)), ...);
    text[length] = 0;
    return text;
}

template <int... I> struct Places {};
template <int N, int... I> struct PlacesTo : PlacesTo<N - 1, N - 1, I...> {};
template <int... I> struct PlacesTo<0, I...> {
    typedef Places<I...> type;
};
template <class... P, int... I> void spread(void (*kernel)(P...), void** arguments, Places<I...>) {
    kernel(*static_cast<typename Plain<P>::type*>(arguments[I])...);
}
template <class... P> void call(void (*kernel)(P...), void** arguments) {
    spread(kernel, arguments, typename PlacesTo<sizeof...(P)>::type());
}

// Where the variables of the thread of the machine lie that belong to the same shared object as `anchor`.
void* thread_variables(void* anchor, size_t* size);
}  // namespace stand_in

// ---------------------------------------------------------------------- waiting, and the lanes of a warp

inline void __syncthreads(STAND_IN_PLACE) { stand_in::barrier("__syncthreads", 0, file, line); }
inline int __syncthreads_count(int p, STAND_IN_PLACE) {
    return stand_in::barrier("__syncthreads_count", p != 0, file, line);
}
inline int __syncthreads_or(int p, STAND_IN_PLACE) {
    return stand_in::barrier("__syncthreads_or", p != 0, file, line) != 0;
}
inline int __syncthreads_and(int p, STAND_IN_PLACE) {
    return stand_in::barrier("__syncthreads_and", p == 0, file, line) == 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffu, STAND_IN_PLACE) {
    stand_in::meet(mask, stand_in::nothing, nullptr, nullptr, 0, "__syncwarp", file, line);
}
inline void __threadfence() {}
inline void __threadfence_block() {}

template <class T> T __shfl_sync(unsigned mask, T value, int source, int width = 32, STAND_IN_PLACE) {
    const int base = stand_in::lane() & ~(width - 1);
    return stand_in::exchange(mask, value, base + (source & (width - 1)), "__shfl_sync", file, line);
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, STAND_IN_PLACE) {
    const int lane = stand_in::lane(), source = lane ^ bits, end = (lane & ~(width - 1)) + width;
    return stand_in::exchange(mask, value, source < end ? source : lane, "__shfl_xor_sync", file, line);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, int distance, int width = 32, STAND_IN_PLACE) {
    const int lane = stand_in::lane(), source = lane + distance, end = (lane & ~(width - 1)) + width;
    return stand_in::exchange(mask, value, source < end ? source : lane, "__shfl_down_sync", file, line);
}
template <class T> T __shfl_up_sync(unsigned mask, T value, int distance, int width = 32, STAND_IN_PLACE) {
    const int lane = stand_in::lane(), source = lane - distance, base = lane & ~(width - 1);
    return stand_in::exchange(mask, value, source >= base ? source : lane, "__shfl_up_sync", file, line);
}
inline unsigned __ballot_sync(unsigned mask, int p, STAND_IN_PLACE) {
    unsigned result;
    const int given = p != 0;
    stand_in::meet(mask, stand_in::vote, &given, &result, 0, "a vote", file, line);
    return result;
}
inline int __any_sync(unsigned mask, int p, STAND_IN_PLACE) { return __ballot_sync(mask, p, file, line) != 0; }
inline int __all_sync(unsigned mask, int p, STAND_IN_PLACE) { return __ballot_sync(mask, !p, file, line) == 0; }

// ---------------------------------------------------------------------- atomics, of integers only

#define STAND_IN_ATOMIC(name, value)                                                          \
    template <class T> T name(T* address, decltype(T() + T()) given) {                        \
        static_assert(stand_in::Is<T>::kind != 'f', "atomics on floats add in any order");    \
        const T old = *address;                                                               \
        *address = value;                                                                     \
        return old;                                                                           \
    }
STAND_IN_ATOMIC(atomicAdd, static_cast<T>(old + static_cast<T>(given)))
STAND_IN_ATOMIC(atomicMax, old > static_cast<T>(given) ? old : static_cast<T>(given))
STAND_IN_ATOMIC(atomicMin, old < static_cast<T>(given) ? old : static_cast<T>(given))
STAND_IN_ATOMIC(atomicOr, static_cast<T>(old | static_cast<T>(given)))
STAND_IN_ATOMIC(atomicExch, static_cast<T>(given))
#undef STAND_IN_ATOMIC
template <class T> T atomicCAS(T* address, T expected, T value) {
    const T old = *address;
    if (old == expected) *address = value;
    return old;
}

// ---------------------------------------------------------------------- numbers

#define STAND_IN_BITS(name, To, From)          \
    inline To name(From value) {               \
        To result;                             \
        memcpy(&result, &value, sizeof(To));   \
        return result;                         \
    }
STAND_IN_BITS(__float_as_int, int, float)
STAND_IN_BITS(__float_as_uint, unsigned, float)
STAND_IN_BITS(__int_as_float, float, int)
STAND_IN_BITS(__uint_as_float, float, unsigned)
STAND_IN_BITS(__double_as_longlong, long long, double)
STAND_IN_BITS(__longlong_as_double, double, long long)
#undef STAND_IN_BITS

#define STAND_IN_ORDER(T)                                    \
    inline T max(T a, T b) { return a > b ? a : b; }         \
    inline T min(T a, T b) { return a < b ? a : b; }
STAND_IN_ORDER(int)
STAND_IN_ORDER(unsigned)
STAND_IN_ORDER(long)
STAND_IN_ORDER(long long)
STAND_IN_ORDER(unsigned long long)
#undef STAND_IN_ORDER
inline float max(float a, float b) { return fmaxf(a, b); }
inline float min(float a, float b) { return fminf(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
inline double min(double a, double b) { return fmin(a, b); }

inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline float rsqrt(float x) { return 1 / sqrtf(x); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>((uint64_t(a) * b) >> 32); }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return static_cast<unsigned long long>((static_cast<unsigned __int128>(a) * b) >> 64);
}
template <class T> T __ldg(const T* address) { return *address; }
