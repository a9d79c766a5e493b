// Cross-entropy of rows of logits, with a class or a distribution as the target, and the gradients.
//
// A row of few classes belongs to a warp, a longer one to a block. The largest logit and the sum of exponentials are
// found together, so that the loss reads the logits once; what is read again comes from the cache, if it fits there.
// Sums are in float64, in an order that depends on the shape only.
#include "prims.cuh"
#include "sums.cuh"

// The row of this thread, and its place among the `lanes` threads of the row.
struct Row {
    long long number;
    int lane, lanes;
};
template <bool BY_WARP> DEVICE Row row_of_thread() {
    const int thread = threadIdx.x, threads = blockDim.x;
    if (!BY_WARP) return {blockIdx.x, thread, threads};
    return {static_cast<long long>(blockIdx.x) * (threads / 32) + thread / 32, thread % 32, 32};
}
template <bool BY_WARP> DEVICE double row_sum(double value) {
    if (BY_WARP) return warp_sum(value);
    return block_sum(value);
}
template <bool BY_WARP> DEVICE void row_sums(double& a, double& b) {
    if (BY_WARP) warp_sums(a, b);
    else block_sums(a, b);
}

// 0 · ±inf = 0: a class that the target does not ask for adds nothing.
template <class T> DEVICE T product(T factor, T x) { return factor == 0 ? 0 : factor * x; }

// log p = x - largest - log_total; p = exp(x - largest) / total.
template <class T> struct Softmax {
    T largest, total, log_total;
    DEVICE T log_probability(T x) const { return (x - largest) - log_total; }
    DEVICE T probability(T x) const { return exp(x - largest) / total; }
};

// Reads a row once, four elements of a thread on their way at a time. A row of -inf only, or with +inf or NaN, is NaN.
template <class T, bool BY_WARP> DEVICE Softmax<T> softmax_of_row(const T* x, long long n, Row row) {
    T own = -infinity<T>();
    double sum = 0;  // Σ exp(x - own)
    for (long long first = row.lane; first < n; first += 4 * row.lanes) {
        T value[4], most = own;
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const long long i = first + k * row.lanes;
            value[k] = i < n ? x[i] : -infinity<T>();
            most = Largest()(most, value[k]);
        }
        if (most > own) {
            sum *= static_cast<double>(exp(own - most));
            own = most;
        }
#pragma unroll
        for (int k = 0; k < 4; ++k)
            if (value[k] != -infinity<T>()) sum += static_cast<double>(exp(value[k] - own));
    }
    const T largest = BY_WARP ? warp_max(own) : block_max(own);
    // A thread that saw only -inf has sum 0, which stays 0 whatever the largest element is.
    const double total = row_sum<BY_WARP>(sum == 0 ? 0 : sum * static_cast<double>(exp(own - largest)));
    if (total == 0) return {largest, not_a_number<T>(), not_a_number<T>()};
    return {largest, static_cast<T>(total), static_cast<T>(log(total))};
}

// What -log p of each class is multiplied with: weight (keep t + spread), where keep = 1 - smoothing and
// spread = smoothing / classes. Without weights the pointer points anywhere.
template <class T> struct Distribution {
    const T* weight;
    T keep, spread;
    int weighted;
    DEVICE T share(T t, long long c) const {
        const T smooth = keep * t + spread;
        return weighted ? smooth * weight[c] : smooth;
    }
};

// ---------------------------------------------------------------------- the target is a class

template <class T, bool BY_WARP>
__global__ void __launch_bounds__(BY_WARP ? 128 : 1024)
cross_entropy(const T* logits, const long long* target, const T* weight, T* losses, T* normalizer, T* logsumexp,
              long long rows, long long classes, long long ignore_index, T keep, T spread, int weighted) {
    const Row row = row_of_thread<BY_WARP>();
    if (row.number >= rows) return;  // all threads of the row
    const T* x = logits + row.number * classes;
    const Distribution<T> distribution{weight, keep, spread, weighted};
    const Softmax<T> softmax = softmax_of_row<T, BY_WARP>(x, classes, row);
    const long long wanted = target[row.number];
    const bool counts = wanted != ignore_index, exists = counts && wanted >= 0 && wanted < classes;
    double loss = 0;
    if (counts && spread != 0) {
#pragma unroll 4
        for (long long c = row.lane; c < classes; c += row.lanes)
            loss += static_cast<double>(
                product(-distribution.share(c == wanted, c), softmax.log_probability(x[c])));
        loss = row_sum<BY_WARP>(loss);
    } else if (exists) {
        loss = static_cast<double>(product(-distribution.share(1, wanted), softmax.log_probability(x[wanted])));
    }
    if (row.lane != 0) return;
    losses[row.number] = static_cast<T>(loss);
    normalizer[row.number] = exists ? weighted ? weight[wanted] : static_cast<T>(1) : static_cast<T>(0);
    logsumexp[row.number] = softmax.largest + softmax.log_total;
}

// The exponentials are divided by their sum, which makes good what the logsumexp of a large row lost in rounding.
template <class T, bool BY_WARP>
__global__ void __launch_bounds__(BY_WARP ? 128 : 1024)
cross_entropy_grad(const T* g, const T* logits, const long long* target, const T* weight, const T* logsumexp,
                   T* dlogits, long long rows, long long classes, long long ignore_index, T keep, T spread,
                   int weighted) {
    const Row row = row_of_thread<BY_WARP>();
    if (row.number >= rows) return;
    const T* x = logits + row.number * classes;
    T* dx = dlogits + row.number * classes;
    const Distribution<T> distribution{weight, keep, spread, weighted};
    const long long wanted = target[row.number];
    if (wanted == ignore_index) {
        for (long long c = row.lane; c < classes; c += row.lanes) dx[c] = 0;
        return;
    }
    const T of_row = g[row.number], log_total = logsumexp[row.number];
    double total = 0, shares = 0;
#pragma unroll 4
    for (long long c = row.lane; c < classes; c += row.lanes) {
        total += static_cast<double>(exp(x[c] - log_total));
        if (spread != 0) shares += static_cast<double>(distribution.share(c == wanted, c));
    }
    row_sums<BY_WARP>(total, shares);
    if (spread == 0 && wanted >= 0 && wanted < classes) shares = static_cast<double>(distribution.share(1, wanted));
    const T sum = static_cast<T>(total), share = static_cast<T>(shares);
#pragma unroll 4
    for (long long c = row.lane; c < classes; c += row.lanes)
        dx[c] = of_row * (exp(x[c] - log_total) / sum * share - distribution.share(c == wanted, c));
}

// ---------------------------------------------------------------------- the target is a distribution

template <class T, bool BY_WARP>
__global__ void __launch_bounds__(BY_WARP ? 128 : 1024)
cross_entropy_probabilities(const T* logits, const T* target, const T* weight, T* losses, T* logsumexp, long long rows,
                            long long classes, T keep, T spread, int weighted) {
    const Row row = row_of_thread<BY_WARP>();
    if (row.number >= rows) return;
    const T *x = logits + row.number * classes, *t = target + row.number * classes;
    const Distribution<T> distribution{weight, keep, spread, weighted};
    const Softmax<T> softmax = softmax_of_row<T, BY_WARP>(x, classes, row);
    double loss = 0;
#pragma unroll 4
    for (long long c = row.lane; c < classes; c += row.lanes)
        loss += static_cast<double>(product(-distribution.share(t[c], c), softmax.log_probability(x[c])));
    loss = row_sum<BY_WARP>(loss);
    if (row.lane != 0) return;
    losses[row.number] = static_cast<T>(loss);
    logsumexp[row.number] = softmax.largest + softmax.log_total;
}

template <class T, bool BY_WARP>
__global__ void __launch_bounds__(BY_WARP ? 128 : 1024)
cross_entropy_probabilities_grad(const T* g, const T* logits, const T* target, const T* weight, T* dlogits, T* dtarget,
                                 long long rows, long long classes, T keep, T spread, int weighted) {
    const Row row = row_of_thread<BY_WARP>();
    if (row.number >= rows) return;
    const T *x = logits + row.number * classes, *t = target + row.number * classes;
    const Distribution<T> distribution{weight, keep, spread, weighted};
    const Softmax<T> softmax = softmax_of_row<T, BY_WARP>(x, classes, row);
    double shares = 0;
#pragma unroll 4
    for (long long c = row.lane; c < classes; c += row.lanes)
        shares += static_cast<double>(distribution.share(t[c], c));
    const T share = static_cast<T>(row_sum<BY_WARP>(shares)), of_row = g[row.number];
#pragma unroll 2
    for (long long c = row.lane; c < classes; c += row.lanes) {
        const T value = x[c], factor = -keep * (weighted ? of_row * weight[c] : of_row);
        dlogits[row.number * classes + c] =
            of_row * (softmax.probability(value) * share - distribution.share(t[c], c));
        dtarget[row.number * classes + c] = product(factor, softmax.log_probability(value));
    }
}
