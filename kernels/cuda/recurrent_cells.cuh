// The cells of recurrent scans: what one unit of one sequence does at one step, forward and backward.
//
// recurrent.cu runs them with a launch for each step, recurrent_block.cu in a loop over all steps; here is what both
// share: which steps are a sequence's own, the formulas, and their derivatives.
#pragma once
#include "prims.cuh"

// With GRU r stands at W_hn h + b_hn, with GRU_BEFORE at h, before the product.
enum Kind { TANH, RELU, LSTM, GRU, GRU_BEFORE };
DEVICE constexpr int gates_of(int kind) { return kind == LSTM ? 4 : kind == GRU || kind == GRU_BEFORE ? 3 : 1; }

// T steps, N sequences, H units, and which of these hold: the scan runs from the last valid step to the first; lengths
// were given; b_hn was given.
typedef Numbers<int, 4> Sizes;
enum Flag { REVERSE = 1, PADDED = 2, BIASED = 4 };

struct Scan {
    int steps, batch, hidden;
    bool reverse, padded, biased;

    DEVICE Scan(const Sizes& sizes)
        : steps(sizes.at[0]),
          batch(sizes.at[1]),
          hidden(sizes.at[2]),
          reverse(sizes.at[3] & REVERSE),
          padded(sizes.at[3] & PADDED),
          biased(sizes.at[3] & BIASED) {}

    // How many steps of sequence n are valid.
    DEVICE int end(const long long* lengths, int n) const { return padded ? static_cast<int>(lengths[n]) : steps; }

    // Where the features of sequence n at step t begin, `width` for each.
    DEVICE long long row(int t, int n, int width) const { return (static_cast<long long>(t) * batch + n) * width; }

    // The state that step t of sequence n, which is valid, started from: `initial` is (N, H), `states` (T, N, H).
    template <class T> DEVICE const T* previous(const T* states, const T* initial, int t, int n, int end) const {
        const bool first = reverse ? t == end - 1 : t == 0;
        return first ? initial + row(0, n, hidden) : states + row(reverse ? t + 1 : t - 1, n, hidden);
    }
};

// ---------------------------------------------------------------------- forward

template <class T> DEVICE T sigmoid(T x) { return 1 / (1 + exp(-x)); }

// NaN stays NaN.
template <int KIND, class T> DEVICE T activation(T x) {
    if (KIND == TANH) return tanh(x);
    return x <= 0 ? 0 : x;
}

// Pre-activations to the gates i, f, g, o, in place; `c` to the next cell. Returns h.
template <class T> DEVICE T lstm_cell(T (&gate)[4], T& c) {
    gate[0] = sigmoid(gate[0]);
    gate[1] = sigmoid(gate[1]);
    gate[2] = tanh(gate[2]);
    gate[3] = sigmoid(gate[3]);
    c = gate[1] * c + gate[0] * gate[2];
    return gate[3] * tanh(c);
}

template <class T> DEVICE T gru_state(T z, T n, T h) { return (1 - z) * n + z * h; }

// ---------------------------------------------------------------------- backward

// dh times the derivative of the activation, by its value.
template <int KIND, class T> DEVICE T activation_slope(T dh, T value) {
    if (KIND == TANH) return dh * (1 - value * value);
    return dh * static_cast<T>(value > 0);  // a product: inf times 0 is NaN
}

// The gates i, f, g, o to the gradients of their pre-activations, in place; `dc` to that of the cell before.
template <class T> DEVICE void lstm_slopes(T (&gate)[4], T c, T previous_c, T dh, T& dc) {
    const T i = gate[0], f = gate[1], g = gate[2], o = gate[3], tanh_c = tanh(c);
    dc += dh * o * (1 - tanh_c * tanh_c);
    gate[0] = dc * g * i * (1 - i);
    gate[1] = dc * previous_c * f * (1 - f);
    gate[2] = dc * i * (1 - g * g);
    gate[3] = dh * tanh_c * o * (1 - o);
    dc *= f;
}

template <class T> DEVICE T gru_slope_n(T dh, T z, T n) { return dh * (1 - z) * (1 - n * n); }
template <class T> DEVICE T gru_slope_z(T dh, T z, T n, T h) { return dh * (h - n) * z * (1 - z); }
// `behind` is the gradient of what r stands at, times that.
template <class T> DEVICE T gru_slope_r(T behind, T r) { return behind * r * (1 - r); }
