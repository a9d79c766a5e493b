// Gradients of attention. The probabilities are computed again from logsumexp, tile by tile, and never stored.
//
// With P the probabilities, D what dropout multiplies them with, dP = D (g vᵀ) and delta = Σ g out of each query:
// dscores = P (dP - delta), dq = scale dscores k, dk = scale dscoresᵀ q, dv = (D P)ᵀ g. One kernel gives a block some
// queries and meets the keys; the next gives a block some keys and meets the queries. Nothing is added by two blocks.
#include "attention_rows.cuh"
#include "attention_tiles.cuh"

// dq, and the statistics of the queries. exp(score - logsumexp) are the probabilities but for a factor near 1, which a
// large logsumexp lost in rounding: the sum of the row, which is known at its end. T is the type of the operands, R of
// the results. A tile that is met has COUNT rows.
template <class T, class R, int PARTS, int SIZE, int BANDS, int COUNT, bool PLAIN>
__global__ void __launch_bounds__(THREADS, 2)
attention_grad_queries(const T* g, const T* q, const T* k, const T* v, const R* out, const float* logsumexp,
                       const unsigned char* k_not_finite, unsigned char* not_finite, float* delta, float* inverse,
                       R* dq, const void* mask, Sizes sizes, float scale, float factor) {
    constexpr int OWN_ROWS = BAND * BANDS * WARPS, TILE = COUNT * ROW<T, SIZE>, OWN = OWN_ROWS * ROW<T, SIZE>;
    const Scores<PLAIN> problem(mask, sizes, scale, factor);
    DYNAMIC_SHARED(char, memory);
    char *own_q = memory, *own_g = own_q + OWN, *of_keys = own_g + OWN, *of_values = of_keys + 2 * TILE;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, inner = problem.inner, width = problem.value_inner;

    const int blocks = (problem.queries + OWN_ROWS - 1) / OWN_ROWS, head = blockIdx.x / blocks;
    const int first_query = (blocks - 1 - static_cast<int>(blockIdx.x) % blocks) * OWN_ROWS;  // longest rows first
    const int warp_query = first_query + BAND * BANDS * warp, lane_query = warp_query + lane / 4;
    const long long first_row = static_cast<long long>(head) * problem.queries;
    const long long key_head = problem.key_head(head), first_key_row = key_head * problem.keys;
    const T *keys = k + first_key_row * inner, *values = v + first_key_row * width;
    // Values that are not finite make NaN of delta, and so of all that is visible.
    int end = problem.keys;
    if (problem.causal && first_query + OWN_ROWS < end)
        end = last_that_counts(k_not_finite + key_head * problem.bands(end), first_query + OWN_ROWS, end);

    auto load = [&](int first_key, int buffer) {
        load_tile<T, SIZE, COUNT>(of_keys + buffer * TILE, keys, first_key, problem.keys, inner, problem.packs);
        load_tile<T, SIZE, COUNT>(of_values + buffer * TILE, values, first_key, problem.keys, width, problem.packs);
    };
    load_tile<T, SIZE, OWN_ROWS>(own_q, q + first_row * inner, first_query, problem.queries, inner, problem.packs);
    load_tile<T, SIZE, OWN_ROWS>(own_g, g + first_row * width, first_query, problem.queries, width, problem.packs);
    load(0, 0);
    copy_async_commit();

    // Of this lane's rows; those beyond the last query count for nothing.
    float shift[BANDS][2], of_row[BANDS][2], total[BANDS][2];
#pragma unroll
    for (int band = 0; band < BANDS; ++band) {
#pragma unroll
        for (int which = 0; which < 2; ++which) shift[band][which] = of_row[band][which] = total[band][which] = 0;
#pragma unroll 1
        for (int row = 0; row < BAND; ++row) {
            const int query = warp_query + BAND * band + row;
            if (query >= problem.queries) break;
            const long long at = first_row + query;
            const float sum = warp_dot(g + at * width, out + at * width, width);
            const float of_log = problem.shift_of_log(finite_shift(logsumexp[at]));
            if (row == lane / 4) of_row[band][0] = sum, shift[band][0] = of_log;
            if (row == lane / 4 + 8) of_row[band][1] = sum, shift[band][1] = of_log;
        }
    }

    float results[BANDS][SIZE / 8][4];
    clear(results);
    for (int first_key = 0, buffer = 0; first_key < end; first_key += COUNT, buffer ^= 1) {
        copy_async_wait<0>();
        __syncthreads();  // the tile has come, and nobody reads the one before it any more
        if (first_key + COUNT < end) load(first_key + COUNT, buffer ^ 1);
        copy_async_commit();

        float scores[BANDS][COUNT / 8][4], slopes[BANDS][COUNT / 8][4];  // slopes: g vᵀ, then dscores
        rows_product<T, PARTS, SIZE, BANDS, COUNT>(scores, own_q + BAND * BANDS * warp * ROW<T, SIZE>,
                                                   of_keys + buffer * TILE);
        if (!problem.is_whole(first_query, first_key, COUNT))
#pragma unroll
            for (int band = 0; band < BANDS; ++band)
                mask_scores<true>(scores[band], problem, head, lane_query + BAND * band, first_key);
        rows_product<T, PARTS, SIZE, BANDS, COUNT>(slopes, own_g + BAND * BANDS * warp * ROW<T, SIZE>,
                                                   of_values + buffer * TILE);
        auto for_each = [&](auto change) {  // change(score, slope, band, which of its two rows, key)
#pragma unroll
            for (int band = 0; band < BANDS; ++band)
#pragma unroll
                for (int j = 0; j < COUNT / 8; ++j)
#pragma unroll
                    for (int i = 0; i < 4; ++i)
                        change(scores[band][j][i], slopes[band][j][i], band, i / 2,
                               first_key + 8 * j + 2 * (lane % 4) + i % 2);
        };
        if (problem.threshold)
            for_each([&](float, float& slope, int band, int which, int key) {
                slope *= problem.keep(head, lane_query + BAND * band + 8 * which, key);
            });
        for_each([&](float score, float& slope, int band, int which, int) {
            const float exponential = problem.exponential(score, shift[band][which]);
            total[band][which] += exponential;
            slope = exponential * (slope - of_row[band][which]);
        });
        if (first_key + COUNT > problem.keys)  // 0 times a delta that is not finite would be NaN
            for_each([&](float, float& slope, int, int, int key) { slope = key < problem.keys ? slope : 0; });
        Operand<PARTS, 4> dscores[BANDS][STEPS<T, COUNT>];
        as_operands<T, PARTS, BANDS, COUNT>(dscores, slopes);
        columns_product<T, PARTS, SIZE, BANDS, COUNT>(results, dscores, of_keys + buffer * TILE);
    }
    copy_async_wait<0>();

#pragma unroll
    for (int band = 0; band < BANDS; ++band) {
        bool wrong[2] = {false, false}, finite = true;
#pragma unroll
        for (int which = 0; which < 2; ++which) {
            float sum = total[band][which];
            sum += __shfl_xor_sync(ALL_LANES, sum, 1);
            sum += __shfl_xor_sync(ALL_LANES, sum, 2);
            const int query = lane_query + BAND * band + 8 * which;
            if (query >= problem.queries) continue;
            const float to_one = inverse_total(sum);
            store_results(dq + (first_row + query) * inner, results[band], which, to_one * problem.scale, inner);
            if (lane % 4 == 0) delta[first_row + query] = of_row[band][which], inverse[first_row + query] = to_one;
            wrong[which] = has_nan(results[band], which) || to_one != to_one;
            finite = finite && is_finite(to_one) && is_finite(of_row[band][which]);
        }
        if (problem.causal && warp_query + BAND * band < problem.queries) {
            // Keys that a query does not see need to know whether it is finite: g is, where delta is.
            const long long begin = (first_row + warp_query + BAND * band) * inner;
            const int count = min(BAND, problem.queries - warp_query - BAND * band) * inner;
            for (int i = lane; i < count; i += 32) finite = finite && is_finite(widen(q[begin + i]));
            finite = __all_sync(ALL_LANES, finite);
            const int number = warp_query / BAND + band;
            if (lane == 0)
                not_finite[static_cast<long long>(head) * problem.bands(problem.queries) + number] = !finite;
        }
        if constexpr (PARTS == 2)
            redo_rows(wrong[0], wrong[1], [&](int row) {
                query_row_grad(g, q, k, v, out, logsumexp, Statistics<float>{delta, inverse}, dq, mask, sizes, scale,
                               factor, head, warp_query + BAND * band + row);
            });
    }
}

// dk and dv, by the statistics of the queries. A tile of queries keeps what is known of each in the 16 bytes that its
// row has to spare: logsumexp as a shift, 1 / the sum of the row, delta.
template <class T, class R, int PARTS, int SIZE, int BANDS, int COUNT, bool PLAIN>
__global__ void __launch_bounds__(THREADS, 2)
attention_grad_keys(const T* g, const T* q, const T* k, const T* v, const float* logsumexp,
                    const unsigned char* not_finite, float* delta, float* inverse, R* dk, R* dv, const void* mask,
                    Sizes sizes, float scale, float factor) {
    constexpr int OWN_ROWS = BAND * BANDS * WARPS, TILE = COUNT * ROW<T, SIZE>, OWN = OWN_ROWS * ROW<T, SIZE>;
    constexpr int SPARE = SIZE * static_cast<int>(sizeof(T));
    const Scores<PLAIN> problem(mask, sizes, scale, factor);
    DYNAMIC_SHARED(char, memory);
    char *own_k = memory, *own_v = own_k + OWN, *of_q = own_v + OWN, *of_g = of_q + 2 * TILE;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, inner = problem.inner, width = problem.value_inner;

    const int blocks = (problem.keys + OWN_ROWS - 1) / OWN_ROWS, key_head = blockIdx.x / blocks;
    const int first_key = static_cast<int>(blockIdx.x) % blocks * OWN_ROWS;
    const int warp_key = first_key + BAND * BANDS * warp, lane_key = warp_key + lane / 4;
    const long long first_row = static_cast<long long>(key_head) * problem.keys;
    const int group = problem.heads / problem.key_heads, first_head = problem.first_head(key_head);
    // Causal: queries before the first key of the block attend to none of its keys.
    int begin = problem.causal ? min(first_key, problem.queries) : 0;
    for (int member = 0, hidden = begin; member < group && begin > 0; ++member) {
        const long long bands = problem.bands(problem.queries);
        begin = min(begin, first_that_counts(not_finite + (first_head + member) * bands, hidden));
    }
    begin = begin / COUNT * COUNT;

    auto load = [&](int head, int first_query, int buffer) {
        const long long first = static_cast<long long>(head) * problem.queries;
        char *to_q = of_q + buffer * TILE, *to_g = of_g + buffer * TILE;
        load_tile<T, SIZE, COUNT>(to_q, q + first * inner, first_query, problem.queries, inner, problem.packs);
        load_tile<T, SIZE, COUNT>(to_g, g + first * width, first_query, problem.queries, width, problem.packs);
        if (threadIdx.x < COUNT) {
            const int query = first_query + threadIdx.x;
            Pack<float, 4> known = {};
            if (query < problem.queries) {
                known.at[0] = problem.shift_of_log(finite_shift(logsumexp[first + query]));
                known.at[1] = inverse[first + query];
                known.at[2] = delta[first + query];
            }
            store_pack<4>(reinterpret_cast<float*>(to_q + threadIdx.x * ROW<T, SIZE> + SPARE), known);
        }
    };
    load_tile<T, SIZE, OWN_ROWS>(own_k, k + first_row * inner, first_key, problem.keys, inner, problem.packs);
    load_tile<T, SIZE, OWN_ROWS>(own_v, v + first_row * width, first_key, problem.keys, width, problem.packs);
    const int last_head = begin < problem.queries ? first_head + group : first_head;  // no query may see these keys
    if (first_head < last_head) load(first_head, begin, 0);
    copy_async_commit();

    float of_k[BANDS][SIZE / 8][4], of_v[BANDS][SIZE / 8][4];
    clear(of_k);
    clear(of_v);
    for (int head = first_head, first_query = begin, buffer = 0; head < last_head; buffer ^= 1) {
        const bool is_last = first_query + COUNT >= problem.queries;  // of the head
        const int next_head = head + is_last, next_query = is_last ? begin : first_query + COUNT;
        const char *tile_q = of_q + buffer * TILE, *tile_g = of_g + buffer * TILE;
        copy_async_wait<0>();
        __syncthreads();  // the tile has come, and nobody reads the one before it any more
        if (next_head < last_head) load(next_head, next_query, buffer ^ 1);
        copy_async_commit();

        float scores[BANDS][COUNT / 8][4], slopes[BANDS][COUNT / 8][4];  // transposed: a row for each key
        rows_product<T, PARTS, SIZE, BANDS, COUNT>(scores, own_k + BAND * BANDS * warp * ROW<T, SIZE>, tile_q);
        if (first_query + COUNT > problem.queries || !problem.is_whole(first_query, first_key, OWN_ROWS))
#pragma unroll
            for (int band = 0; band < BANDS; ++band)
                mask_scores<false>(scores[band], problem, head, lane_key + BAND * band, first_query);
        rows_product<T, PARTS, SIZE, BANDS, COUNT>(slopes, own_v + BAND * BANDS * warp * ROW<T, SIZE>, tile_g);
        auto differentiate = [&](auto drops) {
#pragma unroll
            for (int j = 0; j < COUNT / 8; ++j)
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    const int column = 8 * j + 2 * (lane % 4) + i;
                    const Pack<float, 4> known =
                        load_pack<4>(reinterpret_cast<const float*>(tile_q + column * ROW<T, SIZE> + SPARE));
#pragma unroll
                    for (int band = 0; band < BANDS; ++band)
#pragma unroll
                        for (int which = 0; which < 2; ++which) {
                            float &score = scores[band][j][2 * which + i], &slope = slopes[band][j][2 * which + i];
                            const float probability = problem.exponential(score, known.at[0]) * known.at[1];
                            float keep = 1;
                            if constexpr (drops.value)
                                keep = problem.keep(head, first_query + column, lane_key + BAND * band + 8 * which);
                            slope = probability * (slope * keep - known.at[2]);
                            score = probability * keep;
                        }
                }
        };
        if (problem.threshold) differentiate(Constant<true>());
        else differentiate(Constant<false>());
        Operand<PARTS, 4> weights[BANDS][STEPS<T, COUNT>], dscores[BANDS][STEPS<T, COUNT>];
        as_operands<T, PARTS, BANDS, COUNT>(weights, scores);
        columns_product<T, PARTS, SIZE, BANDS, COUNT>(of_v, weights, tile_g);
        as_operands<T, PARTS, BANDS, COUNT>(dscores, slopes);
        columns_product<T, PARTS, SIZE, BANDS, COUNT>(of_k, dscores, tile_q);
        head = next_head, first_query = next_query;
    }
    copy_async_wait<0>();

#pragma unroll
    for (int band = 0; band < BANDS; ++band) {
        bool wrong[2] = {false, false};
#pragma unroll
        for (int which = 0; which < 2; ++which) {
            const int key = lane_key + BAND * band + 8 * which;
            if (key >= problem.keys) continue;
            store_results(dk + (first_row + key) * inner, of_k[band], which, problem.scale, inner);
            store_results(dv + (first_row + key) * width, of_v[band], which, 1, width);
            wrong[which] = has_nan(of_k[band], which) || has_nan(of_v[band], which);
        }
        if constexpr (PARTS == 2)
            redo_rows(wrong[0], wrong[1], [&](int row) {
                key_row_grad(g, q, k, v, logsumexp, Statistics<float>{delta, inverse}, dk, dv, mask, sizes, scale,
                             factor, key_head, warp_key + BAND * band + row);
            });
    }
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
