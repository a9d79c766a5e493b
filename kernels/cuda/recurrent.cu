// Recurrent scans with a launch for each step, between matrix products, and what scans need before and after.
//
// Of every kernel of a step, each thread computes one unit of one sequence. `product` is (N, G·H): the state times
// W_hhᵀ. Beyond a sequence's end nothing is written: the arrays were zeros. Backward, `g_h` holds the part of h's
// gradient that goes straight to the step before; `product` of the step `before`, which was computed last (-1: none),
// is the other part, and counts where that step was valid.
#include "recurrent_cells.cuh"

struct Unit {
    int n, u, end;    // sequence, unit, and how many steps of the sequence are valid
    long long state;  // its place in (N, H)
};

// False for a thread beyond the last unit.
DEVICE bool find_unit(Unit& at, const Scan& scan, const long long* lengths) {
    at.state = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at.state >= static_cast<long long>(scan.batch) * scan.hidden) return false;
    at.n = static_cast<int>(at.state / scan.hidden);
    at.u = static_cast<int>(at.state % scan.hidden);
    at.end = scan.end(lengths, at.n);
    return true;
}

// ---------------------------------------------------------------------- forward

template <class T, int KIND>
__global__ void __launch_bounds__(256)
rnn_step(const T* projected, const T* product, T* h, T* outputs, const long long* lengths, int t, Sizes sizes) {
    const Scan scan(sizes);
    Unit at;
    if (!find_unit(at, scan, lengths) || t >= at.end) return;
    const long long place = scan.row(t, at.n, scan.hidden) + at.u;
    outputs[place] = h[at.state] = activation<KIND>(projected[place] + product[at.state]);
}

template <class T>
__global__ void __launch_bounds__(256)
lstm_step(const T* projected, const T* product, T* h, T* c, T* outputs, T* gates, T* cells, const long long* lengths,
          int t, Sizes sizes) {
    const Scan scan(sizes);
    Unit at;
    if (!find_unit(at, scan, lengths) || t >= at.end) return;
    const int hidden = scan.hidden;
    const long long of_gates = scan.row(t, at.n, 4 * hidden) + at.u, place = scan.row(t, at.n, hidden) + at.u;
    product += scan.row(0, at.n, 4 * hidden) + at.u;
    T gate[4], cell = c[at.state];
#pragma unroll
    for (int g = 0; g < 4; ++g) gate[g] = projected[of_gates + g * hidden] + product[g * hidden];
    outputs[place] = h[at.state] = lstm_cell(gate, cell);
    cells[place] = c[at.state] = cell;
#pragma unroll
    for (int g = 0; g < 4; ++g) gates[of_gates + g * hidden] = gate[g];
}

template <class T>
__global__ void __launch_bounds__(256)
gru_step(const T* projected, const T* product, const T* bias_n, T* h, T* outputs, T* gates, const long long* lengths,
         int t, Sizes sizes) {
    const Scan scan(sizes);
    Unit at;
    if (!find_unit(at, scan, lengths) || t >= at.end) return;
    const int hidden = scan.hidden;
    projected += scan.row(t, at.n, 3 * hidden) + at.u;
    product += scan.row(0, at.n, 3 * hidden) + at.u;
    gates += scan.row(t, at.n, 4 * hidden) + at.u;
    const T r = sigmoid(projected[0] + product[0]), z = sigmoid(projected[hidden] + product[hidden]);
    const T kept = product[2 * hidden] + (scan.biased ? bias_n[at.u] : 0);
    const T n = tanh(projected[2 * hidden] + r * kept);
    outputs[scan.row(t, at.n, hidden) + at.u] = h[at.state] = gru_state(z, n, h[at.state]);
    gates[0] = r;
    gates[hidden] = z;
    gates[2 * hidden] = n;
    gates[3 * hidden] = kept;
}

// The first half of a step in which r stands at h: r, z and r h, also as `kept` (N, H) for the product with W_hn.
template <class T>
__global__ void __launch_bounds__(256)
gru_reset(const T* projected, const T* product, const T* h, T* kept, T* gates, const long long* lengths, int t,
          Sizes sizes) {
    const Scan scan(sizes);
    Unit at;
    if (!find_unit(at, scan, lengths) || t >= at.end) return;
    const int hidden = scan.hidden;
    projected += scan.row(t, at.n, 3 * hidden) + at.u;
    product += scan.row(0, at.n, 2 * hidden) + at.u;
    gates += scan.row(t, at.n, 4 * hidden) + at.u;
    const T r = sigmoid(projected[0] + product[0]);
    gates[0] = r;
    gates[hidden] = sigmoid(projected[hidden] + product[hidden]);
    gates[3 * hidden] = kept[at.state] = r * h[at.state];
}

// The second half: `product` is (N, H), r h times W_hnᵀ.
template <class T>
__global__ void __launch_bounds__(256)
gru_candidate(const T* projected, const T* product, T* h, T* outputs, T* gates, const long long* lengths, int t,
              Sizes sizes) {
    const Scan scan(sizes);
    Unit at;
    if (!find_unit(at, scan, lengths) || t >= at.end) return;
    const int hidden = scan.hidden;
    gates += scan.row(t, at.n, 4 * hidden) + at.u;
    const T n = tanh(projected[scan.row(t, at.n, 3 * hidden) + 2 * hidden + at.u] + product[at.state]);
    outputs[scan.row(t, at.n, hidden) + at.u] = h[at.state] = gru_state(gates[hidden], n, h[at.state]);
    gates[2 * hidden] = n;
}

// ---------------------------------------------------------------------- backward

// Of the gradient of a step's h, what comes from the step `before`.
template <class T> DEVICE T carried(const T* product, const T* g_h, const Unit& at, int before) {
    return g_h[at.state] + (before >= 0 && before < at.end ? product[at.state] : 0);
}

template <class T, int KIND>
__global__ void __launch_bounds__(256)
rnn_step_grad(const T* g_outputs, const T* outputs, const T* product, T* g_h, T* g_projected,
              const long long* lengths, int t, int before, Sizes sizes) {
    const Scan scan(sizes);
    Unit at;
    if (!find_unit(at, scan, lengths)) return;
    const T from_before = carried(product, g_h, at, before);
    g_h[at.state] = t < at.end ? 0 : from_before;
    if (t >= at.end) return;
    const long long place = scan.row(t, at.n, scan.hidden) + at.u;
    g_projected[place] = activation_slope<KIND>(g_outputs[place] + from_before, outputs[place]);
}

template <class T>
__global__ void __launch_bounds__(256)
lstm_step_grad(const T* g_outputs, const T* gates, const T* cells, const T* c0, const T* product, T* g_h, T* g_c,
               T* g_projected, const long long* lengths, int t, int before, Sizes sizes) {
    const Scan scan(sizes);
    Unit at;
    if (!find_unit(at, scan, lengths)) return;
    const T from_before = carried(product, g_h, at, before);
    g_h[at.state] = t < at.end ? 0 : from_before;
    if (t >= at.end) return;
    const int hidden = scan.hidden;
    const long long of_gates = scan.row(t, at.n, 4 * hidden) + at.u, place = scan.row(t, at.n, hidden) + at.u;
    T gate[4], dc = g_c[at.state];
#pragma unroll
    for (int g = 0; g < 4; ++g) gate[g] = gates[of_gates + g * hidden];
    const T previous = scan.previous(cells, c0, t, at.n, at.end)[at.u];
    lstm_slopes(gate, cells[place], previous, g_outputs[place] + from_before, dc);
    g_c[at.state] = dc;
#pragma unroll
    for (int g = 0; g < 4; ++g) g_projected[of_gates + g * hidden] = gate[g];
}

// Where r stands at h, n and z come first; then, by the product of n's gradient with W_hn, r: gru_reset_grad.
template <class T, int KIND>
__global__ void __launch_bounds__(256)
gru_step_grad(const T* g_outputs, const T* gates, const T* outputs, const T* h0, const T* product, T* g_h,
              T* g_projected, T* g_hidden, const long long* lengths, int t, int before, Sizes sizes) {
    const Scan scan(sizes);
    Unit at;
    if (!find_unit(at, scan, lengths)) return;
    const T from_before = carried(product, g_h, at, before);
    g_h[at.state] = from_before;
    if (t >= at.end) return;
    const int hidden = scan.hidden;
    const T dh = g_outputs[scan.row(t, at.n, hidden) + at.u] + from_before;
    gates += scan.row(t, at.n, 4 * hidden) + at.u;
    g_projected += scan.row(t, at.n, 3 * hidden) + at.u;
    const T z = gates[hidden], n = gates[2 * hidden], g_n = gru_slope_n(dh, z, n);
    const T g_z = gru_slope_z(dh, z, n, scan.previous(outputs, h0, t, at.n, at.end)[at.u]);
    g_h[at.state] = dh * z;
    g_projected[hidden] = g_z;
    g_projected[2 * hidden] = g_n;
    if (KIND == GRU) {
        const T r = gates[0], kept = gates[3 * hidden];
        g_hidden += scan.row(t, at.n, 3 * hidden) + at.u;
        g_projected[0] = g_hidden[0] = gru_slope_r(g_n * kept, r);
        g_hidden[hidden] = g_z;
        g_hidden[2 * hidden] = g_n * r;
    }
}

template <class T>
__global__ void __launch_bounds__(256)
gru_reset_grad(const T* gates, const T* outputs, const T* h0, const T* product, T* g_h, T* g_projected,
               const long long* lengths, int t, Sizes sizes) {
    const Scan scan(sizes);
    Unit at;
    if (!find_unit(at, scan, lengths) || t >= at.end) return;
    const T r = gates[scan.row(t, at.n, 4 * scan.hidden) + at.u];
    const T g_reset_state = product[at.state];
    const T h = scan.previous(outputs, h0, t, at.n, at.end)[at.u];
    g_h[at.state] += g_reset_state * r;
    g_projected[scan.row(t, at.n, 3 * scan.hidden) + at.u] = gru_slope_r(g_reset_state * h, r);
}

// What the last step leaves to h0.
template <class T>
__global__ void __launch_bounds__(256)
last_product(const T* product, T* g_h, const long long* lengths, int before, Sizes sizes) {
    const Scan scan(sizes);
    Unit at;
    if (find_unit(at, scan, lengths)) g_h[at.state] = carried(product, g_h, at, before);
}

// ---------------------------------------------------------------------- before and after a scan

// The state that each valid step started from, (T, N, H); 0 beyond a sequence's end.
template <class T>
__global__ void __launch_bounds__(256)
previous_states(const T* states, const T* initial, T* previous, const long long* lengths, Sizes sizes) {
    const Scan scan(sizes);
    Unit at;
    if (!find_unit(at, scan, lengths)) return;
    for (int t = blockIdx.y; t < scan.steps; t += gridDim.y) {
        const T value = t < at.end ? scan.previous(states, initial, t, at.n, at.end)[at.u] : 0;
        previous[scan.row(t, at.n, scan.hidden) + at.u] = value;
    }
}

// x (T, N, H), and 0 beyond a sequence's end.
template <class T>
__global__ void __launch_bounds__(256)
valid_rows(const T* x, T* y, const long long* lengths, Sizes sizes) {
    const Scan scan(sizes);
    Unit at;
    if (!find_unit(at, scan, lengths)) return;
    for (int t = blockIdx.y; t < scan.steps; t += gridDim.y) {
        const long long place = scan.row(t, at.n, scan.hidden) + at.u;
        y[place] = t < at.end ? x[place] : 0;
    }
}

// Σ over the rows of x (rows, columns), `part` of them at a time, in float64: sums (parts, columns). A block for 32
// columns of a part, a warp for each 32nd of its rows.
template <class T, class S>
__global__ void __launch_bounds__(1024)
column_sums(const T* x, S* sums, long long rows, long long part, int columns) {
    __shared__ double of_warps[32][33];  // one more than 32: a column lies in 32 banks
    const int lane = threadIdx.x, warp = threadIdx.y, first = blockIdx.x * 32, column = first + lane;
    const long long begin = blockIdx.y * part, end = min(rows, begin + part);
    double sum = 0;
    if (column < columns) {
#pragma unroll 4
        for (long long row = begin + warp; row < end; row += 32) sum += static_cast<double>(x[row * columns + column]);
    }
    of_warps[warp][lane] = sum;
    __syncthreads();
    sum = warp_sum(of_warps[lane][warp]);
    if (lane == 0 && first + warp < columns)
        sums[static_cast<long long>(blockIdx.y) * columns + first + warp] = static_cast<S>(sum);
}
