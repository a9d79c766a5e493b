// Attention: a block for 64 queries, which meets the keys and values tile by tile and never holds the scores of more.
//
// The next tile of keys and values is copied while this one is multiplied. Exponentials are of scores less the largest
// score of the row so far; when a larger one comes, what was summed is scaled down to it (online softmax).
#include "attention_rows.cuh"
#include "attention_tiles.cuh"

// Keys in a tile: two tiles of k and of v beside the 64 queries fill at most 99 KiB, what every GPU since sm_80 has.
template <int SIZE> constexpr int KEYS = SIZE == 64 ? 64 : 32;

template <class T, int PARTS, int SIZE>
__global__ void __launch_bounds__(THREADS, 2)
attention_tiles(const T* q, const T* k, const T* v, T* out, float* logsumexp, const void* mask, Sizes sizes,
                float scale, float factor) {
    constexpr int COUNT = KEYS<SIZE>, TILE = COUNT * ROW<T, SIZE>;
    const Problem<float> problem(mask, sizes, scale, factor);
    DYNAMIC_SHARED(char, memory);
    char *own = memory, *of_keys = own + OWN_ROWS * ROW<T, SIZE>, *of_values = of_keys + 2 * TILE;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;

    // Of causal rows the longest go first.
    const int blocks = (problem.queries + OWN_ROWS - 1) / OWN_ROWS, head = blockIdx.x / blocks;
    const int first_query = (blocks - 1 - static_cast<int>(blockIdx.x) % blocks) * OWN_ROWS;
    const long long first_row = static_cast<long long>(head) * problem.queries;
    const long long first_key_row = static_cast<long long>(problem.key_head(head)) * problem.keys;
    const T *keys = k + first_key_row * problem.inner, *values = v + first_key_row * problem.value_inner;
    const int end = problem.keys_seen(first_query + OWN_ROWS);

    auto load = [&](int first_key, int buffer) {
        load_tile<T, SIZE, COUNT>(of_keys + buffer * TILE, keys, first_key, problem.keys, problem.inner, problem.packs);
        load_tile<T, SIZE, COUNT>(of_values + buffer * TILE, values, first_key, problem.keys, problem.value_inner,
                                  problem.packs);
    };
    load_tile<T, SIZE, OWN_ROWS>(own, q + first_row * problem.inner, first_query, problem.queries, problem.inner,
                                 problem.packs);
    load(0, 0);
    copy_async_commit();

    float results[SIZE / 8][4], largest[2] = {-infinity<float>(), -infinity<float>()}, total[2] = {0, 0};
    clear(results);
    for (int first_key = 0, buffer = 0; first_key < end; first_key += COUNT, buffer ^= 1) {
        copy_async_wait<0>();
        __syncthreads();  // the tile has come, and nobody reads the one before it any more
        if (first_key + COUNT < end) load(first_key + COUNT, buffer ^ 1);
        copy_async_commit();

        float scores[COUNT / 8][4];
        rows_product<T, PARTS, SIZE, COUNT>(scores, own + 16 * warp * ROW<T, SIZE>, of_keys + buffer * TILE);

        const bool whole = problem.mask_kind == NO_MASK && first_key + COUNT <= problem.keys &&
                           !(problem.causal && first_key + COUNT > first_query + 1);
        float rescale[2];
#pragma unroll
        for (int which = 0; which < 2; ++which) {
            const int query = min(first_query + 16 * warp + lane / 4 + 8 * which, problem.queries - 1);
            const long long mask_row = problem.mask_row(head, query);
            float top = largest[which];
#pragma unroll
            for (int j = 0; j < COUNT / 8; ++j)
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    float& score = scores[j][2 * which + i];
                    const int key = first_key + 8 * j + 2 * (lane % 4) + i;
                    if (whole) score *= problem.scale;
                    else score = key < problem.keys ? problem.score(score, mask_row, query, key) : -infinity<float>();
                    top = fmaxf(top, score);
                }
            top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 1));
            top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 2));
            const float shift = finite_shift(top);
            rescale[which] = exp2_fast((largest[which] - shift) * LOG2_E);
            largest[which] = top;
            float sum = 0;
#pragma unroll
            for (int j = 0; j < COUNT / 8; ++j)
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    float& score = scores[j][2 * which + i];
                    score = exp2_fast((score - shift) * LOG2_E);
                    sum += score;
                    if (problem.threshold)
                        score *= problem.keep(head, query, first_key + 8 * j + 2 * (lane % 4) + i);
                }
            total[which] = total[which] * rescale[which] + sum;
        }

        Operand<PARTS, 4> weights[STEPS<T, COUNT>];
        as_operands<T, PARTS, COUNT>(weights, scores);
        columns_product<T, PARTS, SIZE, COUNT>(results, weights, of_values + buffer * TILE, rescale[0], rescale[1]);
    }
    copy_async_wait<0>();

    bool wrong[2] = {false, false};
#pragma unroll
    for (int which = 0; which < 2; ++which) {
        total[which] += __shfl_xor_sync(ALL_LANES, total[which], 1);
        total[which] += __shfl_xor_sync(ALL_LANES, total[which], 2);
        const int query = first_query + 16 * warp + lane / 4 + 8 * which;
        if (query >= problem.queries) continue;
        store_results(out + (first_row + query) * problem.value_inner, results, which, inverse_total(total[which]),
                      problem.value_inner);
        if (lane % 4 == 0) logsumexp[first_row + query] = log_total(largest[which], total[which]);
        wrong[which] = has_nan(results, which) || total[which] != total[which];
    }
    redo_rows(wrong[0], wrong[1], [&](int row) {
        attend_row(q, k, v, out, logsumexp, mask, sizes, scale, factor, head, first_query + 16 * warp + row);
    });
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
