// Connectionist temporal classification: a block for each sequence, whose states lie along its threads. The recursion
// over frames, in float64, is a loop with barriers; neighbouring states are read from shared memory.
//
// States are blank, l1, blank, l2, ..., blank: label i is state 2 i + 1. Those beyond the target are not there.
//
// Nobody may have looked at lengths and labels (a recorded step's cannot be). So a length out of range is cut, and a
// label that is no class is NO_CLASS, whose probability is NaN, as then the sequence's loss and gradient are.
#include "prims.cuh"
#include "sums.cuh"

DEVICE double log_sum(double a, double b, double c) {
    const double none = -infinity<double>(), largest = fmax(fmax(a, b), c), shift = largest == none ? 0 : largest;
    return shift + log(exp(a - shift) + exp(b - shift) + exp(c - shift));
}

constexpr int NO_CLASS = -1;

DEVICE int label_of_state(int state, const long long* target, int blank, long long classes) {
    const long long label = state % 2 ? target[state / 2] : blank;
    return label >= 0 && label < classes ? static_cast<int>(label) : NO_CLASS;
}

// The log-probability of a label in a frame.
template <class T> DEVICE T emission_of(const T* frame, int label) {
    return label == NO_CLASS ? not_a_number<T>() : frame[label];
}

DEVICE long long cut(long long length, long long most) { return max(0ll, min(length, most)); }

// Whether a step may come to `state` from two states before it: from another label, past the blank between them.
DEVICE bool skips(const int* label, int state, int blank) {
    return state >= 2 && label[state] != blank && label[state] != label[state - 2];
}

// log_probs (frames, batch, classes), targets (batch, longest); log_alpha (frames, batch, 2 longest + 1).
template <class T>
__global__ void __launch_bounds__(512)
ctc_forward(const T* log_probs, const long long* targets, const long long* input_lengths,
            const long long* target_lengths, T* losses, T* log_alpha, long long frames, long long classes, int longest,
            int blank) {
    DYNAMIC_SHARED(double, alpha);  // of the frame before and of this one, in turn
    const double none = -infinity<double>();
    const long long sequence = blockIdx.x, batch = gridDim.x, length = cut(input_lengths[sequence], frames);
    const int states = 2 * longest + 1, used = 2 * static_cast<int>(cut(target_lengths[sequence], longest)) + 1;
    const int thread = threadIdx.x, threads = blockDim.x;
    int* label = reinterpret_cast<int*>(alpha + 2 * states);
    for (int state = thread; state < used; state += threads) {
        label[state] = label_of_state(state, targets + sequence * longest, blank, classes);
        alpha[state] = state == 0 ? 0 : none;  // before the first frame, so that it may be a blank or the first label
    }
    __syncthreads();
    const T* emissions = log_probs + sequence * classes;
    T next = 0;  // read one frame ahead
    if (thread < used && length > 0) next = emission_of(emissions, label[thread]);
    for (long long t = 0; t < length; ++t) {
        const double* before = alpha + t % 2 * states;
        double* after = alpha + (t + 1) % 2 * states;
        double own = none;
        for (int state = thread; state < used; state += threads) {
            const T emission = state == thread ? next : emission_of(emissions, label[state]);
            const double one = state >= 1 ? before[state - 1] : none;
            const double two = skips(label, state, blank) ? before[state - 2] : none;
            after[state] = log_sum(before[state], one, two) + static_cast<double>(emission);
            own = fmax(own, after[state]);
        }
        emissions += batch * classes;
        if (thread < used && t + 1 < length) next = emission_of(emissions, label[thread]);
        const double largest = block_max(own);  // whose barriers also lie between this frame and the next
        const double shift = largest - largest == 0 ? largest : 0;
        T* kept = log_alpha + (t * batch + sequence) * states;
        for (int state = thread; state < states; state += threads)
            kept[state] = static_cast<T>(state < used ? after[state] - shift : none);
    }
    for (long long t = length; t < frames; ++t)
        for (int state = thread; state < states; state += threads)
            log_alpha[(t * batch + sequence) * states + state] = static_cast<T>(none);
    if (thread != 0) return;
    const double* last = alpha + length % 2 * states + used - 1;  // the last blank, and the last label before it
    losses[sequence] = static_cast<T>(-log_sum(*last, used > 1 ? last[-1] : none, none));
}

// dlog_probs holds zeros: only classes of the target and the blank are written, within the input's length.
template <class T>
__global__ void __launch_bounds__(512)
ctc_backward(const T* g, const T* log_probs, const long long* targets, const long long* input_lengths,
             const long long* target_lengths, const T* log_alpha, T* dlog_probs, long long frames, long long classes,
             int longest, int blank) {
    DYNAMIC_SHARED(double, beta);
    const double none = -infinity<double>();
    const long long sequence = blockIdx.x, batch = gridDim.x, length = cut(input_lengths[sequence], frames);
    const int states = 2 * longest + 1, used = 2 * static_cast<int>(cut(target_lengths[sequence], longest)) + 1;
    const int thread = threadIdx.x, threads = blockDim.x;
    double *ahead = beta + states, *occupancy = ahead + states;
    int* label = reinterpret_cast<int*>(occupancy + states);
    // Of each label's state the next state of the same label, 0 where there is none, and whether none is before it.
    int *again = label + states, *first = again + states;
    for (int state = thread; state < used; state += threads) {
        label[state] = label_of_state(state, targets + sequence * longest, blank, classes);
        beta[state] = state >= used - 2 ? 0 : none;
    }
    __syncthreads();
    for (int state = thread; state < used; state += threads) {
        again[state] = first[state] = 0;
        if (label[state] == blank || label[state] == NO_CLASS) continue;
        first[state] = 1;
        for (int other = state - 2; other > 0; other -= 2)
            if (label[other] == label[state]) first[state] = 0;
        for (int other = state + 2; other < used && again[state] == 0; other += 2)
            if (label[other] == label[state]) again[state] = other;
    }
    for (long long t = length - 1; t >= 0; --t) {
        const long long row = t * batch + sequence;
        const T* alpha = log_alpha + row * states;
        double own = none;
        for (int state = thread; state < used; state += threads)
            own = fmax(own, static_cast<double>(alpha[state]) + beta[state]);
        const double largest = block_max(own), shift = largest == none ? 0 : largest;
        double total = 0, of_blank = 0;
        for (int state = thread; state < used; state += threads) {
            const double share = exp(static_cast<double>(alpha[state]) + beta[state] - shift);
            total += share;
            if (label[state] == blank) of_blank += share;
            occupancy[state] = share;
            ahead[state] = beta[state] + static_cast<double>(emission_of(log_probs + row * classes, label[state]));
        }
        block_sums(total, of_blank);  // whose barriers lie before the others' occupancy and ahead are read
        T* result = dlog_probs + row * classes;
        const double minus_g = -static_cast<double>(g[sequence]);
        if (total != total) {
            for (long long c = thread; c < classes; c += threads) result[c] = not_a_number<T>();
        } else if (total != 0) {
            if (thread == 0) result[blank] = static_cast<T>(minus_g * (of_blank / total));
            for (int state = thread; state < used; state += threads) {
                if (!first[state]) continue;
                double sum = 0;  // of all states of the label, in their order
                for (int other = state; other != 0; other = again[other]) sum += occupancy[other];
                result[label[state]] = static_cast<T>(minus_g * (sum / total));
            }
        }
        for (int state = thread; state < used; state += threads) {
            const double one = state + 1 < used ? ahead[state + 1] : none;
            const double two = state + 2 < used && skips(label, state + 2, blank) ? ahead[state + 2] : none;
            beta[state] = log_sum(ahead[state], one, two);
        }
    }
}
