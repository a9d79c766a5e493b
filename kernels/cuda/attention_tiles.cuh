// Tiles of rows in shared memory, and their products on tensor cores, for float32 and the 16-bit types alike.
//
// A block has 4 warps; each owns 16 rows of one operand (queries, or in the gradient of k and v, keys) and meets the
// rows of the others tile by tile. float32 has PARTS 2 or 1: an operand as two tf32 numbers, three products (as exact
// as float32), or one, rounded. A step of a product is 32 bytes of a row: 8 columns of float32, 16 of a 16-bit type.
//
// Tensor cores cut off what float32 cannot hold of a sum, so that errors of long sums add up. So the sums over a tile
// begin at 0 and are added to those of the tiles before by ordinary instructions, which round, and what the smaller
// parts give is summed apart.
#pragma once
#include "attention_problem.cuh"

constexpr int WARPS = 4, THREADS = 32 * WARPS, OWN_ROWS = 16 * WARPS;
constexpr float LOG2_E = 1.4426950408889634f;

// A row in shared memory has room for 16 bytes more, so that 8 rows begin at different banks.
template <class T, int SIZE> constexpr int ROW = SIZE * static_cast<int>(sizeof(T)) + 16;

// Begins to copy ROWS rows from `first` on, of `count` rows of `width`, into a tile; what lies beyond them is 0.
template <class T, int SIZE, int ROWS>
DEVICE void load_tile(char* tile, const T* rows, int first, int count, int width, bool packs) {
    constexpr int PACK = 16 / static_cast<int>(sizeof(T)), PACKS = SIZE / PACK;
    if (packs) {
#pragma unroll 1
        for (int i = threadIdx.x; i < ROWS * PACKS; i += THREADS) {
            const int row = i / PACKS, column = i % PACKS * PACK;
            const bool valid = first + row < count && column < width;
            const T* source = valid ? rows + static_cast<long long>(first + row) * width + column : rows;
            copy_async_16(shared_address(tile + row * ROW<T, SIZE> + column * sizeof(T)), source, valid);
        }
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

// A sum of products (16, 8), and apart from it what the smaller parts of the operands give.
struct Sums {
    float large[4], small[4];

    DEVICE Sums() : large{0, 0, 0, 0}, small{0, 0, 0, 0} {}
    DEVICE float total(int i) const { return large[i] + small[i]; }
};
template <class T, int PARTS>
DEVICE void add_product(Sums& sums, const Operand<PARTS, 4>& a, const Operand<PARTS, 2>& b) {
    if constexpr (PARTS == 2) {
        Multiply<T>::add(sums.small, a.part[1], b.part[0]);
        Multiply<T>::add(sums.small, a.part[0], b.part[1]);
    }
    Multiply<T>::add(sums.large, a.part[0], b.part[0]);
}

// ---------------------------------------------------------------------- products of tiles

// products[j][i]: the warp's 16 rows, which begin at `own`, times rows of the tile `met`, of which there are COUNT.
// Lane `lane` holds of row lane / 4 + 8 (i / 2) the product with row 8 j + 2 (lane % 4) + i % 2.
template <class T, int PARTS, int SIZE, int COUNT>
DEVICE void rows_product(float (&products)[COUNT / 8][4], const char* own, const char* met) {
    const int lane = threadIdx.x % 32;
    const SharedAddress of_own = shared_address(own + lane % 16 * ROW<T, SIZE> + lane / 16 * 16);
    const SharedAddress of_met = shared_address(met + (lane % 8 + lane / 16 * 8) * ROW<T, SIZE> + lane / 8 % 2 * 16);
    Sums sums[COUNT / 8];
#pragma unroll
    for (int step = 0; step < SIZE * static_cast<int>(sizeof(T)) / 32; ++step) {
        unsigned bits[4];
        load_matrices(bits, of_own + 32 * step);
        Operand<PARTS, 4> a;
#pragma unroll
        for (int i = 0; i < 4; ++i) set<T>(a, i, bits[i]);
#pragma unroll
        for (int j = 0; j < COUNT / 8; j += 2) {
            load_matrices(bits, of_met + 8 * j * ROW<T, SIZE> + 32 * step);
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                Operand<PARTS, 2> b;
                set<T>(b, 0, bits[2 * half]);
                set<T>(b, 1, bits[2 * half + 1]);
                add_product<T>(sums[j + half], a, b);
            }
        }
    }
#pragma unroll
    for (int j = 0; j < COUNT / 8; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) products[j][i] = sums[j].total(i);
}

// What rows_product gave, as the left operand of columns_product: COUNT columns are these many steps.
template <class T, int COUNT> constexpr int STEPS = COUNT * static_cast<int>(sizeof(T)) / 32;

// float32 needs no exchange between lanes: column 2 place + i of a product plays column place + 4 i of the operand, and
// columns_product takes the rows in this order too. 16-bit types have the neighbours in one register as it is.
template <class T, int PARTS, int COUNT>
DEVICE void as_operands(Operand<PARTS, 4> (&operands)[STEPS<T, COUNT>], const float (&products)[COUNT / 8][4]) {
#pragma unroll
    for (int step = 0; step < STEPS<T, COUNT>; ++step)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if constexpr (sizeof(T) == 4) {
                set<T>(operands[step], i, __float_as_uint(products[step][2 * (i % 2) + i / 2]));
            } else {
                const float(&pair)[4] = products[2 * step + i / 2];
                operands[step].part[0][i] = Multiply<T>::pack(pair[2 * (i % 2)], pair[2 * (i % 2) + 1]);
            }
        }
}

// results = results factor + operands times the tile `met`: (16, COUNT) by (COUNT, SIZE). The factor is one for rows
// lane / 4 and one for rows lane / 4 + 8.
template <class T, int PARTS, int SIZE, int COUNT>
DEVICE void columns_product(float (&results)[SIZE / 8][4], const Operand<PARTS, 4> (&operands)[STEPS<T, COUNT>],
                            const char* met, float factor_low, float factor_high) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int j = 0; j < SIZE / 8; j += 2) {
        Sums sums[2];
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
                add_product<T>(sums[half], operands[step], b);
            }
        }
#pragma unroll
        for (int half = 0; half < 2; ++half)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                float& result = results[j + half][i];
                result = result * (i < 2 ? factor_low : factor_high) + sums[half].total(i);
            }
    }
}

// ---------------------------------------------------------------------- rows of results

template <int COUNT> DEVICE void clear(float (&results)[COUNT][4]) {
#pragma unroll
    for (int j = 0; j < COUNT; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) results[j][i] = 0;
}

// One of this lane's two rows of results (which: 0 or 1), times `factor`, to memory: `width` elements of it.
template <class T, int COUNT>
DEVICE void store_results(T* row, const float (&results)[COUNT][4], int which, float factor, int width) {
#pragma unroll
    for (int j = 0; j < COUNT; ++j) {
        const int column = 8 * j + 2 * (threadIdx.x % 4);
        Pack<T, 2> pair;
        pair.at[0] = narrow<T>(results[j][2 * which] * factor);
        pair.at[1] = narrow<T>(results[j][2 * which + 1] * factor);
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
