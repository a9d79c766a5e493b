// Elementwise functions as types, F()(x) or F()(g, x): what map and map_grad of elementwise.cu compute, and what fused
// expressions call. Limits at the ends of the range are those of the reference. prims.cuh must stand before it.
#pragma once

// Beyond this the normal distribution has reached its limits in float64; clipping keeps squares and cubes finite.
constexpr int GELU_END = 40;

// Of NaN, NaN.
template <class T> DEVICE T clip(T x, T end) { return x < -end ? -end : x > end ? end : x; }

// The largest finite number: it stands for infinity where 0 times it must be 0.
template <class T> DEVICE T largest_finite();
template <> DEVICE float largest_finite<float>() { return __uint_as_float(0x7f7fffffu); }
template <> DEVICE double largest_finite<double>() { return __longlong_as_double(0x7fefffffffffffffll); }

// ---------------------------------------------------------------------- functions of x

struct Exp {
    template <class T> __device__ T operator()(T x) const { return exp(x); }
};
struct Tanh {
    template <class T> __device__ T operator()(T x) const { return tanh(x); }
};
struct Erf {
    template <class T> __device__ T operator()(T x) const { return erf(x); }
};
// sigmoid(x) and sigmoid(-x) by one exponential that never overflows.
template <class T> struct Sigmoids {
    T of, of_minus;

    __device__ Sigmoids(T x) {
        const T decay = exp(-fabs(x)), larger = 1 / (1 + decay), smaller = decay / (1 + decay);
        of = x < 0 ? smaller : larger;
        of_minus = x < 0 ? larger : smaller;
    }
};
struct Sigmoid {
    template <class T> __device__ T operator()(T x) const { return Sigmoids<T>(x).of; }
};

// The normal distribution function Φ, and the derivative of x Φ(x) for |x| up to GELU_END: exactly, or with
// (1 + tanh u) / 2 for Φ, which is sigmoid(2u), where no digits are lost when tanh is near -1.
struct Exactly {
    template <class T> static __device__ T distribution(T x) {
        return T(0.5) * (1 + erf(x * T(0.70710678118654752440)));
    }
    template <class T> static __device__ T derivative(T x) {
        return distribution(x) + x * (exp(T(-0.5) * x * x) * T(0.39894228040143267794));  // 1 / √(2π)
    }
};
struct ByTanh {
    template <class T> static __device__ Sigmoids<T> distributions(T x) {
        return Sigmoids<T>(T(1.59576912160573071176) * (x + T(0.044715) * x * x * x));  // √(8/π)
    }
    template <class T> static __device__ T distribution(T x) { return distributions(clip(x, T(GELU_END))).of; }
    template <class T> static __device__ T derivative(T x) {
        const Sigmoids<T> s = distributions(x);
        const T slope = T(1.59576912160573071176) * (1 + T(3 * 0.044715) * x * x);
        return s.of + x * (s.of * s.of_minus * slope);
    }
};
template <class Way> struct Gelu {
    template <class T> __device__ T operator()(T x) const {
        return (x < -GELU_END ? T(0) : x) * Way::distribution(x);
    }
};
struct Silu {
    template <class T> __device__ T operator()(T x) const {
        return (x < -largest_finite<T>() ? -largest_finite<T>() : x) * Sigmoid()(x);
    }
};

// ---------------------------------------------------------------------- gradients of g and x

template <class Way> struct GeluGrad {
    template <class T> __device__ T operator()(T g, T x) const { return g * Way::derivative(clip(x, T(GELU_END))); }
};
struct SiluGrad {
    template <class T> __device__ T operator()(T g, T x) const {
        const Sigmoids<T> s(x);
        return g * (s.of + clip(x, largest_finite<T>()) * (s.of * s.of_minus));
    }
};
