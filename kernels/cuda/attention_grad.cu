// Gradients of attention. The probabilities are computed again from logsumexp, tile by tile, and never stored.
//
// With P the probabilities, D what dropout multiplies them with, dP = D (g vᵀ) and delta = Σ g out of each query:
// dscores = P (dP - delta), dq = scale dscores k, dk = scale dscoresᵀ q, dv = (D P)ᵀ g. One kernel gives a block 64
// queries and meets the keys; the next gives a block 64 keys and meets the queries. So nothing is added by two blocks.
#include "attention_rows.cuh"
#include "attention_tiles.cuh"

// Rows in a tile that is met: two tiles of two operands beside 64 rows of two others fill at most 99 KiB.
template <int SIZE> constexpr int MET = SIZE == 64 ? 32 : 16;

// dq, and the statistics of the queries. exp(score - logsumexp) are the probabilities but for a factor near 1, which a
// large logsumexp lost in rounding: the sum of the row, which is known at its end.
template <class T, int PARTS, int SIZE>
__global__ void __launch_bounds__(THREADS, 2)
attention_grad_queries(const T* g, const T* q, const T* k, const T* v, const T* out, const float* logsumexp,
                       float* delta, float* inverse, T* dq, const void* mask, Sizes sizes, float scale, float factor) {
    constexpr int COUNT = MET<SIZE>, TILE = COUNT * ROW<T, SIZE>, OWN = OWN_ROWS * ROW<T, SIZE>;
    const Problem<float> problem(mask, sizes, scale, factor);
    DYNAMIC_SHARED(char, memory);
    char *own_q = memory, *own_g = own_q + OWN, *of_keys = own_g + OWN, *of_values = of_keys + 2 * TILE;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, inner = problem.inner, width = problem.value_inner;

    const int blocks = (problem.queries + OWN_ROWS - 1) / OWN_ROWS, head = blockIdx.x / blocks;
    const int first_query = (blocks - 1 - static_cast<int>(blockIdx.x) % blocks) * OWN_ROWS;  // longest rows first
    const long long first_row = static_cast<long long>(head) * problem.queries;
    const long long first_key_row = static_cast<long long>(problem.key_head(head)) * problem.keys;
    const T *keys = k + first_key_row * inner, *values = v + first_key_row * width;
    const int end = problem.keys_seen(first_query + OWN_ROWS);

    auto load = [&](int first_key, int buffer) {
        load_tile<T, SIZE, COUNT>(of_keys + buffer * TILE, keys, first_key, problem.keys, inner, problem.packs);
        load_tile<T, SIZE, COUNT>(of_values + buffer * TILE, values, first_key, problem.keys, width, problem.packs);
    };
    load_tile<T, SIZE, OWN_ROWS>(own_q, q + first_row * inner, first_query, problem.queries, inner, problem.packs);
    load_tile<T, SIZE, OWN_ROWS>(own_g, g + first_row * width, first_query, problem.queries, width, problem.packs);
    load(0, 0);
    copy_async_commit();

    // Of this lane's two rows; those beyond the last query count for nothing.
    float shift[2] = {0, 0}, of_row[2] = {0, 0}, total[2] = {0, 0};
    for (int row = 0; row < 16; ++row) {
        const int query = first_query + 16 * warp + row;
        if (query >= problem.queries) break;
        const float sum = warp_dot(g + (first_row + query) * width, out + (first_row + query) * width, width);
        if (lane / 4 == row % 8) {
            of_row[row / 8] = sum;
            shift[row / 8] = finite_shift(logsumexp[first_row + query]);
        }
    }

    float results[SIZE / 8][4];
    clear(results);
    for (int first_key = 0, buffer = 0; first_key < end; first_key += COUNT, buffer ^= 1) {
        copy_async_wait<0>();
        __syncthreads();  // the tile has come, and nobody reads the one before it any more
        if (first_key + COUNT < end) load(first_key + COUNT, buffer ^ 1);
        copy_async_commit();

        float scores[COUNT / 8][4], slopes[COUNT / 8][4];  // slopes: g vᵀ, then dscores
        rows_product<T, PARTS, SIZE, COUNT>(scores, own_q + 16 * warp * ROW<T, SIZE>, of_keys + buffer * TILE);
        rows_product<T, PARTS, SIZE, COUNT>(slopes, own_g + 16 * warp * ROW<T, SIZE>, of_values + buffer * TILE);
        const bool whole = problem.mask_kind == NO_MASK && first_key + COUNT <= problem.keys &&
                           !(problem.causal && first_key + COUNT > first_query + 1);
#pragma unroll
        for (int which = 0; which < 2; ++which) {
            const int query = min(first_query + 16 * warp + lane / 4 + 8 * which, problem.queries - 1);
            const long long mask_row = problem.mask_row(head, query);
            float sum = 0;
#pragma unroll
            for (int j = 0; j < COUNT / 8; ++j)
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    float score = scores[j][2 * which + i], &slope = slopes[j][2 * which + i];
                    const int key = first_key + 8 * j + 2 * (lane % 4) + i;
                    const bool valid = whole || key < problem.keys;
                    if (whole) score *= problem.scale;
                    else score = valid ? problem.score(score, mask_row, query, key) : -infinity<float>();
                    const float exponential = exp2_fast((score - shift[which]) * LOG2_E);
                    sum += exponential;
                    if (problem.threshold) slope *= problem.keep(head, query, key);
                    slope = valid ? exponential * (slope - of_row[which]) : 0;
                }
            total[which] += sum;
        }
        Operand<PARTS, 4> dscores[STEPS<T, COUNT>];
        as_operands<T, PARTS, COUNT>(dscores, slopes);
        columns_product<T, PARTS, SIZE, COUNT>(results, dscores, of_keys + buffer * TILE, 1, 1);
    }
    copy_async_wait<0>();

    bool wrong[2] = {false, false};
#pragma unroll
    for (int which = 0; which < 2; ++which) {
        total[which] += __shfl_xor_sync(ALL_LANES, total[which], 1);
        total[which] += __shfl_xor_sync(ALL_LANES, total[which], 2);
        const int query = first_query + 16 * warp + lane / 4 + 8 * which;
        if (query >= problem.queries) continue;
        const float to_one = inverse_total(total[which]);
        store_results(dq + (first_row + query) * inner, results, which, to_one * problem.scale, inner);
        if (lane % 4 == 0) delta[first_row + query] = of_row[which], inverse[first_row + query] = to_one;
        wrong[which] = has_nan(results, which) || to_one != to_one;
    }
    redo_rows(wrong[0], wrong[1], [&](int row) {
        query_row_grad(g, q, k, v, out, logsumexp, Statistics<float>{delta, inverse}, dq, mask, sizes, scale,
                       factor, head, first_query + 16 * warp + row);
    });
}

// dk and dv, by the statistics of the queries. A tile of queries keeps what is known of each in the 16 bytes that its
// row has to spare: logsumexp, 1 / the sum of the row, delta.
template <class T, int PARTS, int SIZE>
__global__ void __launch_bounds__(THREADS, 2)
attention_grad_keys(const T* g, const T* q, const T* k, const T* v, const float* logsumexp, float* delta,
                    float* inverse, T* dk, T* dv, const void* mask, Sizes sizes, float scale, float factor) {
    constexpr int COUNT = MET<SIZE>, TILE = COUNT * ROW<T, SIZE>, OWN = OWN_ROWS * ROW<T, SIZE>;
    constexpr int SPARE = SIZE * static_cast<int>(sizeof(T));
    const Problem<float> problem(mask, sizes, scale, factor);
    DYNAMIC_SHARED(char, memory);
    char *own_k = memory, *own_v = own_k + OWN, *of_q = own_v + OWN, *of_g = of_q + 2 * TILE;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, inner = problem.inner, width = problem.value_inner;

    const int blocks = (problem.keys + OWN_ROWS - 1) / OWN_ROWS, key_head = blockIdx.x / blocks;
    const int first_key = static_cast<int>(blockIdx.x) % blocks * OWN_ROWS;
    const long long first_row = static_cast<long long>(key_head) * problem.keys;
    const int group = problem.heads / problem.key_heads, first_head = problem.first_head(key_head);
    // Causal: queries before the first key of the block attend to none of its keys.
    const int tiles = (problem.queries + COUNT - 1) / COUNT;
    const int skipped = problem.causal ? min(first_key / COUNT, tiles) : 0;
    const int turns = group * (tiles - skipped);

    auto load = [&](int turn, int buffer) {
        const int head = first_head + turn / (tiles - skipped);
        const int first_query = (skipped + turn % (tiles - skipped)) * COUNT;
        const long long first = static_cast<long long>(head) * problem.queries;
        char *to_q = of_q + buffer * TILE, *to_g = of_g + buffer * TILE;
        load_tile<T, SIZE, COUNT>(to_q, q + first * inner, first_query, problem.queries, inner, problem.packs);
        load_tile<T, SIZE, COUNT>(to_g, g + first * width, first_query, problem.queries, width, problem.packs);
        if (const int query = first_query + threadIdx.x; threadIdx.x < COUNT && query < problem.queries) {
            float* spare = reinterpret_cast<float*>(to_q + threadIdx.x * ROW<T, SIZE> + SPARE);
            spare[0] = finite_shift(logsumexp[first + query]);
            spare[1] = inverse[first + query];
            spare[2] = delta[first + query];
        }
    };
    load_tile<T, SIZE, OWN_ROWS>(own_k, k + first_row * inner, first_key, problem.keys, inner, problem.packs);
    load_tile<T, SIZE, OWN_ROWS>(own_v, v + first_row * width, first_key, problem.keys, width, problem.packs);
    if (turns > 0) load(0, 0);
    copy_async_commit();

    float of_k[SIZE / 8][4], of_v[SIZE / 8][4];
    clear(of_k);
    clear(of_v);
    for (int turn = 0; turn < turns; ++turn) {
        const int head = first_head + turn / (tiles - skipped), buffer = turn % 2;
        const int first_query = (skipped + turn % (tiles - skipped)) * COUNT;
        const char *tile_q = of_q + buffer * TILE, *tile_g = of_g + buffer * TILE;
        copy_async_wait<0>();
        __syncthreads();  // the tile has come, and nobody reads the one before it any more
        if (turn + 1 < turns) load(turn + 1, buffer ^ 1);
        copy_async_commit();

        float scores[COUNT / 8][4], slopes[COUNT / 8][4];  // transposed: a row for each key
        rows_product<T, PARTS, SIZE, COUNT>(scores, own_k + 16 * warp * ROW<T, SIZE>, tile_q);
        rows_product<T, PARTS, SIZE, COUNT>(slopes, own_v + 16 * warp * ROW<T, SIZE>, tile_g);
        const bool whole = problem.mask_kind == NO_MASK && first_query + COUNT <= problem.queries &&
                           !(problem.causal && first_key + OWN_ROWS > first_query + 1);
#pragma unroll
        for (int j = 0; j < COUNT / 8; ++j)
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const int column = 8 * j + 2 * (lane % 4) + i, query = first_query + column;
                const Pack<float, 4> known =
                    load_pack<4>(reinterpret_cast<const float*>(tile_q + column * ROW<T, SIZE> + SPARE));
                const bool valid = whole || query < problem.queries;
                const long long mask_row = problem.mask_row(head, query);
#pragma unroll
                for (int which = 0; which < 2; ++which) {
                    float &score = scores[j][2 * which + i], &slope = slopes[j][2 * which + i];
                    const int key = min(first_key + 16 * warp + lane / 4 + 8 * which, problem.keys - 1);
                    if (whole) score *= problem.scale;
                    else score = valid ? problem.score(score, mask_row, query, key) : 0;
                    const float probability = exp2_fast((score - known.at[0]) * LOG2_E) * known.at[1];
                    const float keep = problem.threshold ? problem.keep(head, query, key) : 1;
                    slope = valid ? probability * (slope * keep - known.at[2]) : 0;
                    score = valid ? probability * keep : 0;
                }
            }
        Operand<PARTS, 4> weights[STEPS<T, COUNT>], dscores[STEPS<T, COUNT>];
        as_operands<T, PARTS, COUNT>(weights, scores);
        columns_product<T, PARTS, SIZE, COUNT>(of_v, weights, tile_g, 1, 1);
        as_operands<T, PARTS, COUNT>(dscores, slopes);
        columns_product<T, PARTS, SIZE, COUNT>(of_k, dscores, tile_q, 1, 1);
    }
    copy_async_wait<0>();

    bool wrong[2] = {false, false};
#pragma unroll
    for (int which = 0; which < 2; ++which) {
        const int key = first_key + 16 * warp + lane / 4 + 8 * which;
        if (key >= problem.keys) continue;
        store_results(dk + (first_row + key) * inner, of_k, which, problem.scale, inner);
        store_results(dv + (first_row + key) * width, of_v, which, 1, width);
        wrong[which] = has_nan(of_k, which) || has_nan(of_v, which);
    }
    redo_rows(wrong[0], wrong[1], [&](int row) {
        key_row_grad(g, q, k, v, logsumexp, Statistics<float>{delta, inverse}, dk, dv, mask, sizes, scale,
                     factor, key_head, first_key + 16 * warp + row);
    });
}

// ---------------------------------------------------------------------- a warp for each row

template <class T>
__global__ void __launch_bounds__(THREADS)
attention_grad_query_rows(const T* g, const T* q, const T* k, const T* v, const T* out, const Wide<T>* logsumexp,
                          Wide<T>* delta, Wide<T>* inverse, T* dq, const void* mask, Sizes sizes, Wide<T> scale,
                          Wide<T> factor, long long rows) {
    const long long row = static_cast<long long>(blockIdx.x) * WARPS + threadIdx.x / 32, queries = sizes.at[2];
    if (row >= rows) return;  // a whole warp leaves
    query_row_grad(g, q, k, v, out, logsumexp, Statistics<Wide<T>>{delta, inverse}, dq, mask, sizes, scale, factor,
                   static_cast<int>(row / queries), static_cast<int>(row % queries));
}

template <class T>
__global__ void __launch_bounds__(THREADS)
attention_grad_key_rows(const T* g, const T* q, const T* k, const T* v, const Wide<T>* logsumexp, Wide<T>* delta,
                        Wide<T>* inverse, T* dk, T* dv, const void* mask, Sizes sizes, Wide<T> scale, Wide<T> factor,
                        long long rows) {
    const long long row = static_cast<long long>(blockIdx.x) * WARPS + threadIdx.x / 32, keys = sizes.at[3];
    if (row >= rows) return;
    key_row_grad(g, q, k, v, logsumexp, Statistics<Wide<T>>{delta, inverse}, dk, dv, mask, sizes, scale, factor,
                 static_cast<int>(row / keys), static_cast<int>(row % keys));
}

// ---------------------------------------------------------------------- the gradient of an added mask

// A block for each element of the mask: dscores summed over what the element was broadcast to, in float64. The warps
// share the sum; the lanes of a warp share the two products of an element.
template <class T>
__global__ void __launch_bounds__(1024)
attention_grad_mask(const T* g, const T* q, const T* k, const T* v, const Wide<T>* logsumexp, const Wide<T>* delta,
                    const Wide<T>* inverse, Wide<T>* dmask, const void* mask, Sizes sizes, Wide<T> scale,
                    Wide<T> factor, Numbers<long long, 4> shape) {
    typedef Wide<T> W;
    const Problem<W> problem(mask, sizes, scale, factor);
    const long long whole[4] = {sizes.at[15], problem.heads, problem.queries, problem.keys};
    long long at[4], spread[4];  // where the element stands, and over how much of each axis it is spread
    long long count = 1, rest = blockIdx.x;
    for (int axis = 3; axis >= 0; --axis) {
        at[axis] = rest % shape.at[axis];
        rest /= shape.at[axis];
        spread[axis] = shape.at[axis] == 1 ? whole[axis] : 1;
        count *= spread[axis];
    }
    const int lane = threadIdx.x % 32, inner = problem.inner, width = problem.value_inner;
    double sum = 0;
    for (long long number = threadIdx.x / 32; number < count; number += blockDim.x / 32) {
        long long left = number, place[4];
        for (int axis = 3; axis >= 0; --axis) {
            place[axis] = at[axis] + left % spread[axis];
            left /= spread[axis];
        }
        const int head = static_cast<int>(place[0] * problem.heads + place[1]);
        const int query = static_cast<int>(place[2]), key = static_cast<int>(place[3]);
        const long long row = static_cast<long long>(head) * problem.queries + query;
        const long long key_row = static_cast<long long>(problem.key_head(head)) * problem.keys + key;
        const W slope = warp_dot(g + row * width, v + key_row * width, width) * problem.keep(head, query, key);
        const W product = warp_dot(q + row * inner, k + key_row * inner, inner);
        const W score = problem.score(product, problem.mask_row(head, query), query, key);
        const W probability = exp(score - finite_shift(logsumexp[row])) * inverse[row];
        sum += static_cast<double>(probability * (slope - delta[row]));
    }
    sum = block_sum(lane == 0 ? sum : 0.0);
    if (threadIdx.x == 0) dmask[blockIdx.x] = static_cast<W>(sum);
}
