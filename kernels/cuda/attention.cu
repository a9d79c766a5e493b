// Attention: a block for some queries, which meets the keys and values tile by tile and never holds the scores of more.
//
// The next tile of keys and values is copied while this one is multiplied. Exponentials are of scores less the largest
// score of the row so far; when a larger one comes, what was summed is scaled down to it (online softmax).
#include "attention_rows.cuh"
#include "attention_tiles.cuh"

// T is the type of the operands, R of the result. A tile that is met has COUNT rows.
template <class T, class R, int PARTS, int SIZE, int BANDS, int COUNT, bool PLAIN>
__global__ void __launch_bounds__(THREADS, 2)
attention_tiles(const T* q, const T* k, const T* v, const unsigned char* v_not_finite, R* out, float* logsumexp,
                const void* mask, Sizes sizes, float scale, float factor) {
    constexpr int OWN_ROWS = BAND * BANDS * WARPS, TILE = COUNT * ROW<T, SIZE>;
    const Scores<PLAIN> problem(mask, sizes, scale, factor);
    DYNAMIC_SHARED(char, memory);
    char *own = memory, *of_keys = own + OWN_ROWS * ROW<T, SIZE>, *of_values = of_keys + 2 * TILE;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;

    // Of causal rows the longest go first.
    const int blocks = (problem.queries + OWN_ROWS - 1) / OWN_ROWS, head = blockIdx.x / blocks;
    const int first_query = (blocks - 1 - static_cast<int>(blockIdx.x) % blocks) * OWN_ROWS;
    const int warp_query = first_query + BAND * BANDS * warp, lane_query = warp_query + lane / 4;
    const long long first_row = static_cast<long long>(head) * problem.queries;
    const long long key_head = problem.key_head(head), first_key_row = key_head * problem.keys;
    const T *keys = k + first_key_row * problem.inner, *values = v + first_key_row * problem.value_inner;
    int end = problem.keys;
    if (problem.causal && first_query + OWN_ROWS < end)
        end = last_that_counts(v_not_finite + key_head * problem.bands(end), first_query + OWN_ROWS, end);

    auto load = [&](int first_key, int buffer) {
        load_tile<T, SIZE, COUNT>(of_keys + buffer * TILE, keys, first_key, problem.keys, problem.inner, problem.packs);
        load_tile<T, SIZE, COUNT>(of_values + buffer * TILE, values, first_key, problem.keys, problem.value_inner,
                                  problem.packs);
    };
    load_tile<T, SIZE, OWN_ROWS>(own, q + first_row * problem.inner, first_query, problem.queries, problem.inner,
                                 problem.packs);
    load(0, 0);
    copy_async_commit();

    // largest: the shift of the row so far.
    float results[BANDS][SIZE / 8][4], largest[BANDS][2], total[BANDS][2];
    clear(results);
#pragma unroll
    for (int band = 0; band < BANDS; ++band)
#pragma unroll
        for (int which = 0; which < 2; ++which) largest[band][which] = -infinity<float>(), total[band][which] = 0;
    for (int first_key = 0, buffer = 0; first_key < end; first_key += COUNT, buffer ^= 1) {
        copy_async_wait<0>();
        __syncthreads();  // the tile has come, and nobody reads the one before it any more
        if (first_key + COUNT < end) load(first_key + COUNT, buffer ^ 1);
        copy_async_commit();

        float scores[BANDS][COUNT / 8][4];
        rows_product<T, PARTS, SIZE, BANDS, COUNT>(scores, own + BAND * BANDS * warp * ROW<T, SIZE>,
                                                   of_keys + buffer * TILE);
        if (!problem.is_whole(first_query, first_key, COUNT))
#pragma unroll
            for (int band = 0; band < BANDS; ++band)
                mask_scores<true>(scores[band], problem, head, lane_query + BAND * band, first_key);
#pragma unroll
        for (int band = 0; band < BANDS; ++band)
#pragma unroll
            for (int which = 0; which < 2; ++which) {
                float top = -infinity<float>();
#pragma unroll
                for (int j = 0; j < COUNT / 8; ++j)
                    top = fmaxf(top, fmaxf(scores[band][j][2 * which], scores[band][j][2 * which + 1]));
                top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 1));
                top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 2));
                const float before = largest[band][which];
                largest[band][which] = fmaxf(before, problem.as_shift(top));
                const float shift = finite_shift(largest[band][which]), rescale = problem.rescale(before, shift);
                float sum = 0;
#pragma unroll
                for (int j = 0; j < COUNT / 8; ++j)
#pragma unroll
                    for (int i = 2 * which; i < 2 * which + 2; ++i) {
                        scores[band][j][i] = problem.exponential(scores[band][j][i], shift);
                        sum += scores[band][j][i];
                    }
                total[band][which] = total[band][which] * rescale + sum;
#pragma unroll
                for (int j = 0; j < SIZE / 8; ++j)
#pragma unroll
                    for (int i = 2 * which; i < 2 * which + 2; ++i) results[band][j][i] *= rescale;
            }
        if (problem.threshold)
#pragma unroll
            for (int band = 0; band < BANDS; ++band)
#pragma unroll
                for (int j = 0; j < COUNT / 8; ++j)
#pragma unroll
                    for (int i = 0; i < 4; ++i)
                        scores[band][j][i] *= problem.keep(head, lane_query + BAND * band + 8 * (i / 2),
                                                           first_key + 8 * j + 2 * (lane % 4) + i % 2);

        Operand<PARTS, 4> weights[BANDS][STEPS<T, COUNT>];
        as_operands<T, PARTS, BANDS, COUNT>(weights, scores);
        columns_product<T, PARTS, SIZE, BANDS, COUNT>(results, weights, of_values + buffer * TILE);
    }
    copy_async_wait<0>();

#pragma unroll
    for (int band = 0; band < BANDS; ++band) {
        bool wrong[2] = {false, false};
#pragma unroll
        for (int which = 0; which < 2; ++which) {
            float sum = total[band][which];
            sum += __shfl_xor_sync(ALL_LANES, sum, 1);
            sum += __shfl_xor_sync(ALL_LANES, sum, 2);
            const int query = lane_query + BAND * band + 8 * which;
            if (query >= problem.queries) continue;
            store_results(out + (first_row + query) * problem.value_inner, results[band], which, inverse_total(sum),
                          problem.value_inner);
            if (lane % 4 == 0)
                logsumexp[first_row + query] = log_total(problem.log_of_shift(largest[band][which]), sum);
            wrong[which] = has_nan(results[band], which) || sum != sum;
        }
        if constexpr (PARTS == 2)
            redo_rows(wrong[0], wrong[1], [&](int row) {
                attend_row(q, k, v, out, logsumexp, mask, sizes, scale, factor, head, warp_query + BAND * band + row);
            });
    }
}

// A warp for each query.
template <class T>
__global__ void __launch_bounds__(THREADS)
attention_rows(const T* q, const T* k, const T* v, T* out, Wide<T>* logsumexp, const void* mask, Sizes sizes,
               Wide<T> scale, Wide<T> factor, long long rows) {
    const long long row = static_cast<long long>(blockIdx.x) * WARPS + threadIdx.x / 32, queries = sizes.at[2];
    if (row >= rows) return;  // a whole warp leaves
    attend_row(q, k, v, out, logsumexp, mask, sizes, scale, factor, static_cast<int>(row / queries),
               static_cast<int>(row % queries));
}

// Operands as the tiles take them: rounded to BFloat16 where To is that, else as they are (`to` is then not written);
// and of each band of rows whether it is not finite. A warp for each band, a row of blocks for each operand. `shapes`:
// heads, rows of each, and the size of a row, of the first operand, the second, ...
template <class T, class To>
__global__ void __launch_bounds__(THREADS)
attention_prepare(Pointers<const T, 4> from, Pointers<To, 4> to, Pointers<unsigned char, 4> not_finite,
                  Numbers<long long, 12> shapes, int packs) {
    const int operand = blockIdx.y, lane = threadIdx.x % 32;
    const long long rows = shapes.at[3 * operand + 1], width = shapes.at[3 * operand + 2];
    const long long bands = (rows + BAND - 1) / BAND;
    const long long number = static_cast<long long>(blockIdx.x) * WARPS + threadIdx.x / 32;
    if (number >= shapes.at[3 * operand] * bands) return;  // a whole warp leaves
    const long long first = number % bands * BAND, begin = (number / bands * rows + first) * width;
    const int count = static_cast<int>(min(static_cast<long long>(BAND), rows - first) * width);
    const T* source = from.at[operand] + begin;
    To* target = to.at[operand] + begin;
    bool wrong = false;
    auto take = [&](auto packed, int i) {  // as many elements as packed has
        constexpr int SIZE = sizeof(packed) / sizeof(T);
        const auto given = load_pack<SIZE>(source + i);
        Pack<To, SIZE> taken;
#pragma unroll
        for (int j = 0; j < SIZE; ++j) {
            taken.at[j] = narrow<To>(widen(given.at[j]));
            wrong = wrong || !is_finite(widen(taken.at[j]));
        }
        if constexpr (sizeof(T) != sizeof(To)) store_pack<SIZE>(target + i, taken);
    };
    if (packs) {
#pragma unroll 4
        for (int i = 4 * lane; i < count; i += 128) take(Pack<T, 4>(), i);
    } else {
        for (int i = lane; i < count; i += 32) take(Pack<T, 1>(), i);
    }
    wrong = __any_sync(ALL_LANES, wrong);
    if (lane == 0) not_finite.at[operand][number] = wrong;
}
