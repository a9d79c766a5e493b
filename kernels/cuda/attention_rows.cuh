// Attention row by row: a warp for each row, sums in float64. For float64, for heads of any size, and again for rows
// of which tiles of float32 in two parts gave NaN: parts of inf make NaN where inf itself may not. All keys are met,
// hidden ones too: a probability of 0 makes NaN of what is not finite.
#pragma once
#include "attention_problem.cuh"

// A function that is called, not written out where it is used: the kernels of tiles have no registers to spare for it.
// It makes a Problem of its own, so that theirs need not be kept for it.
#define SEPARATE __device__ __noinline__

constexpr int PER_LANE = 8;             // columns of the result that a lane sums at once
constexpr int AT_ONCE = 32 * PER_LANE;  // columns that a warp sums at once

template <class T> DEVICE Wide<T> dot(const T* a, const T* b, int count) {
    double sum = 0;
    for (int e = 0; e < count; ++e) sum += static_cast<double>(widen(a[e])) * static_cast<double>(widen(b[e]));
    return static_cast<Wide<T>>(sum);
}

// sums[c] += Σ weight row[column + 32 c] over `count` rows, `width` apart; lane t holds the weight of row t.
template <class T>
DEVICE void add_rows(double (&sums)[PER_LANE], Wide<T> weight, const T* rows, int count, int width, int column) {
    for (int t = 0; t < count; ++t, rows += width) {
        const double shared = static_cast<double>(__shfl_sync(ALL_LANES, weight, t));
#pragma unroll
        for (int c = 0; c < PER_LANE; ++c)
            if (column + 32 * c < width)
                sums[c] += shared * static_cast<double>(widen(rows[column + 32 * c]));
    }
}
template <class T> DEVICE void store_row(T* row, const double (&sums)[PER_LANE], double factor, int width, int column) {
#pragma unroll
    for (int c = 0; c < PER_LANE; ++c)
        if (column + 32 * c < width) row[column + 32 * c] = narrow<T>(static_cast<Wide<T>>(factor * sums[c]));
}

// out and logsumexp of one query.
template <class T>
SEPARATE void attend_row(const T* q, const T* k, const T* v, T* out, Wide<T>* logsumexp, const void* mask,
                         Sizes sizes, Wide<T> scale, Wide<T> factor, int head, int query) {
    typedef Wide<T> W;
    const Problem<W> problem(mask, sizes, scale, factor);
    const int lane = threadIdx.x % 32, inner = problem.inner, width = problem.value_inner;
    const int end = problem.keys;
    const long long row = static_cast<long long>(head) * problem.queries + query;
    const long long first_key = static_cast<long long>(problem.key_head(head)) * problem.keys;
    const long long mask_row = problem.mask_row(head, query);
    q += row * inner, k += first_key * inner, v += first_key * width;
    auto score = [&](int key) {
        return problem.score(dot(q, k + static_cast<long long>(key) * inner, inner), mask_row, query, key);
    };
    W own = -infinity<W>();  // the largest score that this lane has seen
    double sum = 0;
    for (int key = lane; key < end; key += 32) {
        const W s = score(key);
        if (s > own) {
            sum = sum * static_cast<double>(exp(own - s)) + static_cast<double>(exp(s - s));
            own = s;
        } else if (s != -infinity<W>()) {
            sum += static_cast<double>(exp(s - own));
        }
    }
    const W largest = warp_max(own), shift = finite_shift(largest);
    const double total = warp_sum(sum == 0 ? 0 : sum * static_cast<double>(exp(own - shift)));
    for (int first = 0; first < width; first += AT_ONCE) {
        double sums[PER_LANE] = {};
        for (int key = 0; key < end; key += 32) {
            const int mine = key + lane;
            const W weight = mine < end ? exp(score(mine) - shift) * problem.keep(head, query, mine) : 0;
            add_rows(sums, weight, v + static_cast<long long>(key) * width, min(32, end - key), width, first + lane);
        }
        store_row(out + row * width, sums, inverse_total(total), width, first + lane);
    }
    if (lane == 0) logsumexp[row] = log_total(largest, static_cast<W>(total));
}

// What the gradient keeps of every query for the kernels that follow: delta = Σ g out, and 1 / Σ exp(score -
// logsumexp), which is 1 but for what rounding took from logsumexp.
template <class W> struct Statistics {
    W *delta, *inverse;
};

// The same as dot, by a whole warp.
template <class T, class R> DEVICE Wide<T> warp_dot(const T* a, const R* b, int count) {
    double sum = 0;
    for (int e = threadIdx.x % 32; e < count; e += 32)
        sum += static_cast<double>(widen(a[e])) * static_cast<double>(widen(b[e]));
    return static_cast<Wide<T>>(warp_sum(sum));
}

// dq of one query, and its statistics.
template <class T>
SEPARATE void query_row_grad(const T* g, const T* q, const T* k, const T* v, const T* out, const Wide<T>* logsumexp,
                             Statistics<Wide<T>> statistics, T* dq, const void* mask, Sizes sizes, Wide<T> scale,
                             Wide<T> factor, int head, int query) {
    typedef Wide<T> W;
    const Problem<W> problem(mask, sizes, scale, factor);
    const int lane = threadIdx.x % 32, inner = problem.inner, width = problem.value_inner;
    const int end = problem.keys;
    const long long row = static_cast<long long>(head) * problem.queries + query;
    const long long first_key = static_cast<long long>(problem.key_head(head)) * problem.keys;
    const long long mask_row = problem.mask_row(head, query);
    q += row * inner, k += first_key * inner, v += first_key * width, g += row * width;
    const W shift = finite_shift(logsumexp[row]), delta = warp_dot(g, out + row * width, width);
    auto exponential = [&](int key) {
        return exp(problem.score(dot(q, k + static_cast<long long>(key) * inner, inner), mask_row, query, key) - shift);
    };
    double sum = 0;
    for (int key = lane; key < end; key += 32) sum += static_cast<double>(exponential(key));
    const W inverse = static_cast<W>(inverse_total(warp_sum(sum)));
    for (int first = 0; first < inner; first += AT_ONCE) {
        double sums[PER_LANE] = {};
        for (int key = 0; key < end; key += 32) {
            const int mine = key + lane;
            W dscore = 0;
            if (mine < end) {
                const W slope = dot(g, v + static_cast<long long>(mine) * width, width);
                dscore = exponential(mine) * inverse * (slope * problem.keep(head, query, mine) - delta);
            }
            add_rows(sums, dscore, k + static_cast<long long>(key) * inner, min(32, end - key), inner, first + lane);
        }
        store_row(dq + row * inner, sums, static_cast<double>(problem.scale), inner, first + lane);
    }
    if (lane == 0) statistics.delta[row] = delta, statistics.inverse[row] = inverse;
}

// dk and dv of one key, whose head counts over images and key heads.
template <class T>
SEPARATE void key_row_grad(const T* g, const T* q, const T* k, const T* v, const Wide<T>* logsumexp,
                           Statistics<Wide<T>> statistics, T* dk, T* dv, const void* mask, Sizes sizes, Wide<T> scale,
                           Wide<T> factor, int key_head, int key) {
    typedef Wide<T> W;
    const Problem<W> problem(mask, sizes, scale, factor);
    const int lane = threadIdx.x % 32, inner = problem.inner, width = problem.value_inner;
    const int group = problem.heads / problem.key_heads;
    const long long row = static_cast<long long>(key_head) * problem.keys + key;
    k += row * inner, v += row * width;
    for (int first = 0; first < max(inner, width); first += AT_ONCE) {
        double of_k[PER_LANE] = {}, of_v[PER_LANE] = {};
        for (int member = 0; member < group; ++member) {
            const int head = problem.first_head(key_head) + member;
            const long long first_query = static_cast<long long>(head) * problem.queries;
            for (int query = 0; query < problem.queries; query += 32) {
                const int mine = query + lane, count = min(32, problem.queries - query);
                W weight = 0, dscore = 0;
                if (mine < problem.queries) {
                    const long long of = first_query + mine;
                    const W product = dot(q + of * inner, k, inner), slope = dot(g + of * width, v, width);
                    const W score = problem.score(product, problem.mask_row(head, mine), mine, key);
                    const W probability = exp(score - finite_shift(logsumexp[of])) * statistics.inverse[of];
                    const W keep = problem.keep(head, mine, key);
                    weight = probability * keep;
                    dscore = probability * (slope * keep - statistics.delta[of]);
                }
                add_rows(of_k, dscore, q + (first_query + query) * inner, count, inner, first + lane);
                add_rows(of_v, weight, g + (first_query + query) * width, count, width, first + lane);
            }
        }
        store_row(dk + row * inner, of_k, static_cast<double>(problem.scale), inner, first + lane);
        store_row(dv + row * width, of_v, 1.0, width, first + lane);
    }
}
