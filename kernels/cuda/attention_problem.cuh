// What every attention kernel knows of its problem, and how a product q·k becomes a score.
#pragma once
#include "prims.cuh"

enum Mask { NO_MASK, BOOL_MASK, FLOAT_MASK };
// As attention.py fills it: H, Hkv, L, S, E, Ev, four strides and the kind of the mask, causal, and what dropout needs.
typedef Numbers<long long, 16> Sizes;

constexpr int BAND = 16;  // rows of a head that a warp's tensor cores take at once

// W is the type of the scores, the statistics and a float mask: float, or double for double.
template <class W> struct Problem {
    int heads, key_heads, queries, keys, inner, value_inner;  // H, Hkv, L, S, E, Ev
    long long mask_strides[4];                                // in elements, 0 along an axis that is broadcast
    Mask mask_kind;
    bool causal, packs;  // packs: rows of q, k, v and g may be copied 16 bytes at once
    unsigned threshold;  // dropout keeps an element whose 24 bits are not below it; 0: no dropout
    unsigned long long seed;
    const void* mask;
    W scale, factor;  // factor: 1 / (1 - p) of what dropout keeps

    DEVICE Problem(const void* mask, const Sizes& sizes, W scale, W factor)
        : heads(static_cast<int>(sizes.at[0])),
          key_heads(static_cast<int>(sizes.at[1])),
          queries(static_cast<int>(sizes.at[2])),
          keys(static_cast<int>(sizes.at[3])),
          inner(static_cast<int>(sizes.at[4])),
          value_inner(static_cast<int>(sizes.at[5])),
          mask_strides{sizes.at[6], sizes.at[7], sizes.at[8], sizes.at[9]},
          mask_kind(static_cast<Mask>(sizes.at[10])),
          causal(sizes.at[11] != 0),
          packs(sizes.at[14] != 0),
          threshold(static_cast<unsigned>(sizes.at[12])),
          seed(static_cast<unsigned long long>(sizes.at[13])),
          mask(mask),
          scale(scale),
          factor(factor) {}

    // `head` counts over images and their heads, b H + h; so does the key head that it reads, b Hkv + h // (H / Hkv).
    DEVICE int key_head(int head) const { return head / heads * key_heads + head % heads / (heads / key_heads); }

    // The first of the heads that read this key head.
    DEVICE int first_head(int key_head) const {
        return key_head / key_heads * heads + key_head % key_heads * (heads / key_heads);
    }

    // Where the mask's row of this query begins.
    DEVICE long long mask_row(int head, int query) const {
        return head / heads * mask_strides[0] + head % heads * mask_strides[1] + query * mask_strides[2];
    }

    // Bands of a head's rows; see BAND.
    DEVICE static int bands(int rows) { return (rows + BAND - 1) / BAND; }

    // A score that this mask, of bool or float, has been applied to.
    DEVICE W masked(W score, long long mask_row, int key) const {
        const long long at = mask_row + key * mask_strides[3];
        if (mask_kind == FLOAT_MASK) return score + static_cast<const W*>(mask)[at];
        return static_cast<const unsigned char*>(mask)[at] ? score : -infinity<W>();
    }

    // scale q·k + mask; -inf where the query may not attend to the key. Both lie within their sequences.
    DEVICE W score(W product, long long mask_row, int query, int key) const {
        if (causal && key > query) return -infinity<W>();
        return mask_kind == NO_MASK ? scale * product : masked(scale * product, mask_row, key);
    }

    // What dropout multiplies the probability with: the contract's hash of the element's number in (B, H, L, S).
    DEVICE W keep(int head, int query, int key) const {
        if (threshold == 0) return 1;
        const long long element = (static_cast<long long>(head) * queries + query) * keys + key;
        unsigned long long z = seed + static_cast<unsigned long long>(element + 1) * 0x9E3779B97F4A7C15ull;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
        z = (z ^ z >> 27) * 0x94D049BB133111EBull;
        z = z ^ z >> 31;
        return static_cast<unsigned>(z >> 40) >= threshold ? factor : 0;
    }
};

// What a row's scores are lessened by before the exponential: nothing where the row attends to nothing.
template <class W> DEVICE W finite_shift(W largest) { return largest == -infinity<W>() ? 0 : largest; }
// 1 / total, where a row that attends to nothing has the total 0 and stays 0.
template <class W> DEVICE W inverse_total(W total) { return 1 / (total == 0 ? 1 : total); }

// The logarithm of a row's sum of exponentials; -inf of a row that attends to nothing.
template <class W> DEVICE W log_total(W largest, W total) {
    return total == 0 ? -infinity<W>() : largest + static_cast<W>(log(total));
}

// ---------------------------------------------------------------------- tiles that causal hides

// A hidden key has the probability 0, and 0 times a number that is not finite is NaN. So tiles that are all hidden are
// left out only where they are finite. A byte for each band of 16 rows of a head tells: 1 where one is not.
DEVICE bool is_finite(float x) { return x - x == 0; }

// The end of the rows that must be met: `end`, or beyond it the end of the last band that is not finite. By a warp.
DEVICE int last_that_counts(const unsigned char* not_finite, int end, int rows) {
    int last = end;
    for (int band = end / BAND + threadIdx.x % 32; band * BAND < rows; band += 32)
        if (not_finite[band]) last = min((band + 1) * BAND, rows);
    return warp_max(last);
}

// The first row that must be met: `begin`, or before it the first of a band that is not finite. By a warp.
DEVICE int first_that_counts(const unsigned char* not_finite, int begin) {
    int hidden = 0;  // rows before `begin` that must be met
    for (int band = threadIdx.x % 32; band * BAND < begin; band += 32)
        if (not_finite[band]) hidden = max(hidden, begin - band * BAND);
    return begin - warp_max(hidden);
}
