// Tiles of rows in shared memory, and their products on tensor cores, for float32 and the 16-bit types alike.
//
// A block has 4 warps; each owns BANDS bands of 16 rows of one operand (queries, or in the gradient of k and v, keys)
// and meets the rows of the others tile by tile. float32 has PARTS 2 or 1: an operand as two tf32 numbers, three
// products (as exact as float32), or one, rounded. A step of a product is 32 bytes of a row: 8 columns of float32, 16
// of a 16-bit type.
//
// Tensor cores cut off what float32 cannot hold of a sum, so that errors of long sums add up. Where that counts, with
// two parts, the sums over a tile begin at 0 and are added to those of the tiles before by ordinary instructions, which
// round, and what the smaller parts give is summed apart.
#pragma once
#include "attention_problem.cuh"

constexpr int WARPS = 4, THREADS = 32 * WARPS;
constexpr float LOG2_E = 1.4426950408889634f, LN_2 = 0.6931471805599453f;

// A row in shared memory has room for 16 bytes more, so that 8 rows begin at different banks.
template <class T, int SIZE> constexpr int ROW = SIZE * static_cast<int>(sizeof(T)) + 16;

// Begins to copy ROWS rows from `first` on, of `count` rows of `width`, into a tile; what lies beyond them is 0.
template <class T, int SIZE, int ROWS>
DEVICE void load_tile(char* tile, const T* rows, int first, int count, int width, bool packs) {
    constexpr int PACK = 16 / static_cast<int>(sizeof(T)), PACKS = SIZE / PACK, STEP = THREADS / PACKS;
    if (packs) {
        const int row = threadIdx.x / PACKS, column = threadIdx.x % PACKS * PACK;
        const int left = column < width ? count - first - row : 0;  // rows that exist, from this one on
        const T* source = rows + static_cast<long long>(first + row) * width + column;
        const SharedAddress target = shared_address(tile + row * ROW<T, SIZE> + column * sizeof(T));
#pragma unroll
        for (int i = 0; i < ROWS / STEP; ++i, source += STEP * width)
            copy_async_16(target + i * STEP * ROW<T, SIZE>, source, i * STEP < left);
    } else if constexpr (sizeof(T) == 4) {
#pragma unroll 1  // the addresses of one copy at a time: registers are for the products
        for (int i = threadIdx.x; i < ROWS * SIZE; i += THREADS) {
            const int row = i / SIZE, column = i % SIZE;
            const bool valid = first + row < count && column < width;
            const T* source = valid ? rows + static_cast<long long>(first + row) * width + column : rows;
            copy_async_4(shared_address(tile + row * ROW<T, SIZE> + column * 4), source, valid);
        }
    }
}

// ---------------------------------------------------------------------- operands in registers

template <int PARTS, int COUNT> struct Operand {
    unsigned part[PARTS][COUNT];
};
template <class T, int PARTS, int COUNT> DEVICE void set(Operand<PARTS, COUNT>& operand, int i, unsigned bits) {
    if constexpr (sizeof(T) != 4) operand.part[0][i] = bits;
    else if constexpr (PARTS == 2) split_tf32(__uint_as_float(bits), operand.part[0][i], operand.part[1][i]);
    else operand.part[0][i] = round_tf32(__uint_as_float(bits));
}

template <class T> struct Multiply;
template <> struct Multiply<float> {
    DEVICE static void add(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { mma_tf32(d, a, b); }
};
template <> struct Multiply<BFloat16> {
    DEVICE static void add(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { mma_bf16(d, a, b); }
    DEVICE static unsigned pack(float low, float high) { return pack_bf16(low, high); }
};
template <> struct Multiply<Half> {
    DEVICE static void add(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) { mma_f16(d, a, b); }
    DEVICE static unsigned pack(float low, float high) { return pack_f16(low, high); }
};

// large += a b; what the smaller parts give goes to `small`.
template <class T, int PARTS>
DEVICE void add_product(float (&large)[4], float (&small)[4], const Operand<PARTS, 4>& a, const Operand<PARTS, 2>& b) {
    if constexpr (PARTS == 2) {
        Multiply<T>::add(small, a.part[1], b.part[0]);
        Multiply<T>::add(small, a.part[0], b.part[1]);
    }
    Multiply<T>::add(large, a.part[0], b.part[0]);
}
template <int COUNT> DEVICE void clear(float (&numbers)[COUNT][4]) {
#pragma unroll
    for (int j = 0; j < COUNT; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) numbers[j][i] = 0;
}
template <int BANDS, int COUNT> DEVICE void clear(float (&numbers)[BANDS][COUNT][4]) {
#pragma unroll
    for (int band = 0; band < BANDS; ++band) clear(numbers[band]);
}

// ---------------------------------------------------------------------- products of tiles

// products[band][j][i]: the warp's rows, which begin at `own`, times rows of the tile `met`, of which there are COUNT.
// Lane `lane` holds of row 16 band + lane / 4 + 8 (i / 2) the product with row 8 j + 2 (lane % 4) + i % 2.
template <class T, int PARTS, int SIZE, int BANDS, int COUNT>
DEVICE void rows_product(float (&products)[BANDS][COUNT / 8][4], const char* own, const char* met) {
    const int lane = threadIdx.x % 32;
    const SharedAddress of_own = shared_address(own + lane % 16 * ROW<T, SIZE> + lane / 16 * 16);
    const SharedAddress of_met = shared_address(met + (lane % 8 + lane / 16 * 8) * ROW<T, SIZE> + lane / 8 % 2 * 16);
    float small[BANDS][COUNT / 8][4];
    clear(products);
    clear(small);
#pragma unroll
    for (int step = 0; step < SIZE * static_cast<int>(sizeof(T)) / 32; ++step) {
        unsigned bits[4];
        Operand<PARTS, 4> a[BANDS];
#pragma unroll
        for (int band = 0; band < BANDS; ++band) {
            load_matrices(bits, of_own + 16 * band * ROW<T, SIZE> + 32 * step);
#pragma unroll
            for (int i = 0; i < 4; ++i) set<T>(a[band], i, bits[i]);
        }
#pragma unroll
        for (int j = 0; j < COUNT / 8; j += 2) {
            load_matrices(bits, of_met + 8 * j * ROW<T, SIZE> + 32 * step);
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                Operand<PARTS, 2> b;
                set<T>(b, 0, bits[2 * half]);
                set<T>(b, 1, bits[2 * half + 1]);
#pragma unroll
                for (int band = 0; band < BANDS; ++band)
                    add_product<T>(products[band][j + half], small[band][j + half], a[band], b);
            }
        }
    }
    if constexpr (PARTS == 2) {
#pragma unroll
        for (int band = 0; band < BANDS; ++band)
#pragma unroll
            for (int j = 0; j < COUNT / 8; ++j)
#pragma unroll
                for (int i = 0; i < 4; ++i) products[band][j][i] += small[band][j][i];
    }
}

// What rows_product gave, as the left operand of columns_product: COUNT columns are these many steps.
template <class T, int COUNT> constexpr int STEPS = COUNT * static_cast<int>(sizeof(T)) / 32;

// float32 needs no exchange between lanes: column 2 place + i of a product plays column place + 4 i of the operand, and
// columns_product takes the rows in this order too. 16-bit types have the neighbours in one register as it is.
template <class T, int PARTS, int BANDS, int COUNT>
DEVICE void as_operands(Operand<PARTS, 4> (&operands)[BANDS][STEPS<T, COUNT>],
                        const float (&products)[BANDS][COUNT / 8][4]) {
#pragma unroll
    for (int band = 0; band < BANDS; ++band)
#pragma unroll
        for (int step = 0; step < STEPS<T, COUNT>; ++step)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                if constexpr (sizeof(T) == 4) {
                    set<T>(operands[band][step], i, __float_as_uint(products[band][step][2 * (i % 2) + i / 2]));
                } else {
                    const float(&pair)[4] = products[band][2 * step + i / 2];
                    operands[band][step].part[0][i] = Multiply<T>::pack(pair[2 * (i % 2)], pair[2 * (i % 2) + 1]);
                }
            }
}

// results += operands times the tile `met`: (16 BANDS, COUNT) by (COUNT, SIZE).
template <class T, int PARTS, int SIZE, int BANDS, int COUNT>
DEVICE void columns_product(float (&results)[BANDS][SIZE / 8][4],
                            const Operand<PARTS, 4> (&operands)[BANDS][STEPS<T, COUNT>], const char* met) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int j = 0; j < SIZE / 8; j += 2) {
        float large[BANDS][2][4], small[BANDS][2][4];
        clear(large);
        clear(small);
#pragma unroll
        for (int step = 0; step < STEPS<T, COUNT>; ++step) {
            unsigned bits[4];
            if constexpr (sizeof(T) == 4) {
                const char* row = met + (8 * step + 2 * (lane % 4)) * ROW<T, SIZE> + (8 * j + lane / 4) * 4;
#pragma unroll
                for (int i = 0; i < 4; ++i)
                    bits[i] = *reinterpret_cast<const unsigned*>(row + i % 2 * ROW<T, SIZE> + i / 2 * 32);
            } else {
                load_matrices_transposed(
                    bits, shared_address(met + (16 * step + lane % 16) * ROW<T, SIZE> + (j + lane / 16) * 16));
            }
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                Operand<PARTS, 2> b;
                set<T>(b, 0, bits[2 * half]);
                set<T>(b, 1, bits[2 * half + 1]);
#pragma unroll
                for (int band = 0; band < BANDS; ++band) {
                    float(&sum)[4] = PARTS == 2 ? large[band][half] : results[band][j + half];
                    add_product<T>(sum, small[band][half], operands[band][step], b);
                }
            }
        }
        if constexpr (PARTS == 2) {
#pragma unroll
            for (int band = 0; band < BANDS; ++band)
#pragma unroll
                for (int half = 0; half < 2; ++half)
#pragma unroll
                    for (int i = 0; i < 4; ++i)
                        results[band][j + half][i] += large[band][half][i] + small[band][half][i];
        }
    }
}

// ---------------------------------------------------------------------- scores

// A value that a generic lambda knows when it is compiled.
template <bool VALUE> struct Constant {
    static constexpr bool value = VALUE;
};

// What a kernel knows of its problem. PLAIN: no mask and no dropout, and the scale is positive: then what they need
// takes no registers, and a score's exponent of 2 is one instruction.
template <bool PLAIN> struct Scores : Problem<float> {
    bool folded;     // scores are products, not multiplied with the scale yet
    float exponent;  // the exponent of 2 is `exponent` times the score, less the shift

    DEVICE Scores(const void* mask, const Sizes& sizes, float scale, float factor)
        : Problem<float>(mask, sizes, scale, factor) {
        if constexpr (PLAIN) mask_kind = NO_MASK, threshold = 0;
        // An added mask does not come with the product, and a scale that is not positive turns the order of scores.
        folded = PLAIN || (mask_kind != FLOAT_MASK && scale > 1e-30f);
        exponent = folded ? scale * LOG2_E : LOG2_E;
    }

    // Whether every query from `query` on may attend to all of the `count` keys from `key` on.
    DEVICE bool is_whole(int query, int key, int count) const {
        return mask_kind == NO_MASK && folded && key + count <= keys && !(causal && key + count > query + 1);
    }

    // A score as a shift, by which a row's scores are lessened: an exponent of 2, or where a mask may have made scores
    // so large that rounding the exponent would lose them, a score.
    DEVICE float as_shift(float score) const { return PLAIN ? score * exponent : score; }
    DEVICE float log_of_shift(float shift) const { return PLAIN ? shift * LN_2 : folded ? shift * scale : shift; }
    DEVICE float shift_of_log(float log) const { return PLAIN ? log * LOG2_E : folded ? log / scale : log; }
    DEVICE float exponential(float score, float shift) const {
        return exp2_fast(PLAIN ? fmaf(score, exponent, -shift) : (score - shift) * exponent);
    }
    // What sums of exponentials less `before` are multiplied with, so that they are of exponentials less `shift`.
    DEVICE float rescale(float before, float shift) const {
        return exp2_fast(PLAIN ? before - shift : (before - shift) * exponent);
    }
};

// Makes scores of products, in place: those of this lane's rows, of which the first is `own`, with the rows of a tile
// that begins at `met`. -inf where a query may not attend, and of what does not exist.
template <bool OWN_QUERIES, bool PLAIN, int COUNT>
DEVICE void mask_scores(float (&scores)[COUNT][4], const Scores<PLAIN>& problem, int head, int own, int met) {
    auto for_each = [&](auto change) {  // change(score, query, key)
#pragma unroll
        for (int j = 0; j < COUNT; ++j)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int mine = own + 8 * (i / 2), other = met + 8 * j + 2 * (threadIdx.x % 4) + i % 2;
                change(scores[j][i], OWN_QUERIES ? mine : other, OWN_QUERIES ? other : mine);
            }
    };
    if (!problem.folded) for_each([&](float& score, int, int) { score *= problem.scale; });
    if (problem.mask_kind != NO_MASK)
        for_each([&](float& score, int query, int key) {
            if (query < problem.queries && key < problem.keys)
                score = problem.masked(score, problem.mask_row(head, query), key);
        });
    for_each([&](float& score, int query, int key) {
        if (query >= problem.queries || key >= (problem.causal ? min(problem.keys, query + 1) : problem.keys))
            score = -infinity<float>();
    });
}

// ---------------------------------------------------------------------- rows of results

// One of this lane's two rows of a band of results (which: 0 or 1), times `factor`, to memory: `width` elements of it.
template <class R, int COUNT>
DEVICE void store_results(R* row, const float (&results)[COUNT][4], int which, float factor, int width) {
#pragma unroll
    for (int j = 0; j < COUNT; ++j) {
        const int column = 8 * j + 2 * (threadIdx.x % 4);
        Pack<R, 2> pair;
        pair.at[0] = narrow<R>(results[j][2 * which] * factor);
        pair.at[1] = narrow<R>(results[j][2 * which + 1] * factor);
        if (width % 2 == 0) {
            if (column < width) store_pack<2>(row + column, pair);
        } else {
            if (column < width) row[column] = pair.at[0];
            if (column + 1 < width) row[column + 1] = pair.at[1];
        }
    }
}

// Whether a number of one of this lane's two rows is NaN.
template <int COUNT> DEVICE bool has_nan(const float (&results)[COUNT][4], int which) {
    bool found = false;
#pragma unroll
    for (int j = 0; j < COUNT; ++j)
#pragma unroll
        for (int i = 2 * which; i < 2 * which + 2; ++i) found = found || results[j][i] != results[j][i];
    return found;
}

// Calls `again(row)`, by the whole warp, for those of its 16 rows of which some lane found that they are not right.
template <class Again> DEVICE void redo_rows(bool low, bool high, Again again) {
    const unsigned of_low = __ballot_sync(ALL_LANES, low), of_high = __ballot_sync(ALL_LANES, high);
    if ((of_low | of_high) == 0) return;
    __syncwarp();  // what other lanes have stored of the rows stands in memory
    for (int row = 0; row < 16; ++row)
        if ((row < 8 ? of_low : of_high) >> row % 8 * 4 & 15) again(row);
}
