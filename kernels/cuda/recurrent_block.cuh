// All steps of recurrent scans in one launch, float32: ROWS sequences belong to a block, or to a cluster of blocks that
// share out the units. The state stays in shared memory.
//
// At every step a block multiplies the state (ROWS, depth) with the weights (depth, columns) of its own units. A thread
// computes 4 columns of all ROWS rows, over every `slices`-th depth; the sums of the slices meet in shared memory. The
// weights lie there too where they fit (RESIDENT); else every block reads them from the L2 cache at every step. What a
// step needs from global memory is copied while the product before it runs.
//
// The blocks of a cluster tell each other what the next product needs: each writes what it computed into the shared
// memory of all. There it has two buffers, one for even and one for odd steps, because the others may still read.
//
// Matrices of weights begin at multiples of 16 bytes and their rows are padded to multiples of 4 columns. Beyond a
// sequence's end nothing is written: the arrays were zeros. Arguments that a kind of cell has no use for are not
// touched.
#pragma once
#include "recurrent_cells.cuh"

constexpr int ROWS = 4;
constexpr int PACK = 4;  // columns of a thread: 16 bytes of the weights

DEVICE constexpr int padded_to_packs(int columns) { return (columns + PACK - 1) / PACK * PACK; }

// A block's sequences and, of a cluster of CLUSTER blocks, its units.
template <int CLUSTER> struct Block {
    Scan scan;
    int first, longest;  // sequence; and the most steps that one of the block's has
    int own, unit;       // how many units are this block's, and the first of them
    int end[ROWS];       // 0 where there is no sequence

    DEVICE Block(const Sizes& sizes, const long long* lengths)
        : scan(sizes), first(blockIdx.x / CLUSTER * ROWS), longest(0), own(scan.hidden / CLUSTER), unit(0) {
        if (CLUSTER > 1) unit = cluster_rank<CLUSTER>() * own;
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            end[r] = first + r < scan.batch ? scan.end(lengths, first + r) : 0;
            longest = max(longest, end[r]);
        }
    }
    DEVICE int end_of(int row) const {  // end[row], without an array in memory that a changing index would need
        int found = end[0];
#pragma unroll
        for (int r = 1; r < ROWS; ++r) found = row == r ? end[r] : found;
        return found;
    }

    // Writes a value where all blocks of the cluster will read it.
    DEVICE void share(float* place, float value) const {
        if (CLUSTER == 1) *place = value;
        else
            for (int rank = 0; rank < CLUSTER; ++rank) cluster_store<CLUSTER>(shared_address(place), rank, value);
    }
    // All threads wait for each other, and see what was shared.
    DEVICE void barrier() const {
        if (CLUSTER == 1) __syncthreads();
        else cluster_barrier();
    }
};

// Copies the elements of one row of a step, whose address need not be a multiple of 16.
DEVICE void copy_row(float* target, const float* source, int count) {
    for (int i = threadIdx.x; i < count; i += blockDim.x) copy_async_4(shared_address(target + i), source + i);
}

// partial (slices, ROWS, columns): the sums of operand (depth, ROWS) times weights (depth, columns), by slices.
DEVICE void multiply(const float* weights, int depth, int columns, const float* operand, float* partial) {
    const int groups = columns / PACK, slices = blockDim.x / groups;
    const int group = threadIdx.x % groups, slice = threadIdx.x / groups;
    if (slice >= slices) return;
    float sum[ROWS][PACK] = {};
#pragma unroll 4
    for (int k = slice; k < depth; k += slices) {
        const Pack<float, PACK> w = load_pack<PACK>(weights + k * columns + PACK * group);
        const Pack<float, ROWS> x = load_pack<ROWS>(operand + k * ROWS);
#pragma unroll
        for (int r = 0; r < ROWS; ++r)
#pragma unroll
            for (int j = 0; j < PACK; ++j) sum[r][j] = fmaf(x.at[r], w.at[j], sum[r][j]);
    }
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        Pack<float, PACK> pack;
#pragma unroll
        for (int j = 0; j < PACK; ++j) pack.at[j] = sum[r][j];
        store_pack<PACK>(partial + (slice * ROWS + r) * columns + PACK * group, pack);
    }
}

// An element of the product: the slices' sums in their order.
DEVICE float total(const float* partial, int columns, int row, int column) {
    const int slices = blockDim.x / (columns / PACK);
    float sum = 0;
    for (int slice = 0; slice < slices; ++slice) sum += partial[(slice * ROWS + row) * columns + column];
    return sum;
}

// Weights in global memory, or a copy of them at the beginning of the block's shared memory.
template <bool RESIDENT> DEVICE const float* place_weights(const float* weights, float*& memory, int count) {
    if (!RESIDENT) return weights;
    float* const copy = memory;
    for (int i = PACK * threadIdx.x; i < count; i += PACK * blockDim.x)
        copy_async_16(shared_address(copy + i), weights + i);
    memory += count;
    return copy;
}

DEVICE float* take(float*& memory, int count) {
    float* const taken = memory;
    memory += count;
    return taken;
}

// ---------------------------------------------------------------------- forward

// weights: for each block of a cluster W_hhᵀ (H, G·own), with the columns of its units; of GRU_BEFORE W_rᵀ and W_zᵀ
// side by side, and behind them W_nᵀ. `c`: in place. `h`: the last state, which was a copy of h0.
template <int KIND, bool RESIDENT, int CLUSTER>
DEVICE void scan_in_blocks(const float* projected, const float* weights, const float* bias_n, const float* h0,
                           float* h, float* c, float* outputs, float* gates, float* cells, const long long* lengths,
                           Sizes sizes) {
    constexpr int GATES = gates_of(KIND), TOGETHER = KIND == GRU_BEFORE ? 2 : GATES;  // gates of the first product
    const Block<CLUSTER> block(sizes, lengths);
    const Scan& scan = block.scan;
    const int hidden = scan.hidden, own = block.own, units = ROWS * own;
    const int columns = padded_to_packs(TOGETHER * own), last_columns = padded_to_packs(own);
    const int count = hidden * (columns + (KIND == GRU_BEFORE ? last_columns : 0));
    if (block.longest == 0) return;  // h and c stay as they are
    DYNAMIC_SHARED(float, memory);
    weights = place_weights<RESIDENT>(weights + block.unit / own * count, memory, count);
    float* const buffers = take(memory, (CLUSTER > 1 ? 2 : 1) * ROWS * hidden);
    float* const kept = take(memory, KIND == GRU_BEFORE ? ROWS * hidden : 0);  // r h, (H, ROWS)
    float* const partial = take(memory, ROWS * PACK * blockDim.x);
    float* const staged = take(memory, GATES * units);           // `projected` of the step, (ROWS, G, own)
    float* const cell = take(memory, KIND == LSTM ? units : 0);  // (ROWS, own)

    for (int i = threadIdx.x; i < ROWS * hidden; i += blockDim.x) {
        const int row = i / hidden, u = i % hidden, n = block.first + row;
        buffers[u * ROWS + row] = n < scan.batch ? h0[scan.row(0, n, hidden) + u] : 0;
    }
    for (int i = threadIdx.x; i < units && KIND == LSTM; i += blockDim.x) {
        const int n = block.first + i / own;
        cell[i] = n < scan.batch ? c[scan.row(0, n, hidden) + block.unit + i % own] : 0;
    }
    float *state = buffers, *next = buffers;  // (H, ROWS)
    for (int step = 0; step < block.longest; ++step) {
        const int t = scan.reverse ? block.longest - 1 - step : step;
        for (int row = 0; row < ROWS; ++row)
            for (int gate = 0; gate < GATES && t < block.end_of(row); ++gate)
                copy_row(staged + (row * GATES + gate) * own,
                         projected + scan.row(t, block.first + row, GATES * hidden) + gate * hidden + block.unit, own);
        copy_async_commit();
        if (step == 0) {  // the state and the weights are there, and all blocks of the cluster
            copy_async_wait<0>();
            block.barrier();
        }
        if (CLUSTER > 1) next = buffers + (step + 1) % 2 * ROWS * hidden;
        multiply(weights, hidden, columns, state, partial);
        copy_async_wait<0>();
        __syncthreads();
        for (int i = threadIdx.x; i < units; i += blockDim.x) {
            const int row = i / own, u = i % own, at = block.unit + u, n = block.first + row;
            const float old = state[at * ROWS + row];
            float* const to = next + at * ROWS + row;
            if (t >= block.end_of(row)) {
                if (CLUSTER > 1) block.share(to, old);
                continue;
            }
            const long long place = scan.row(t, n, hidden) + at;
            float* const input = staged + row * GATES * own + u;
            float* const saved = gates + scan.row(t, n, 4 * hidden) + at;
            float value = old;
            if (KIND == TANH || KIND == RELU) {
                value = activation<KIND>(input[0] + total(partial, columns, row, u));
            } else if (KIND == LSTM) {
                float gate[4];
#pragma unroll
                for (int g = 0; g < 4; ++g)
                    gate[g] = input[g * own] + total(partial, columns, row, g * own + u);
                value = lstm_cell(gate, cell[i]);
                cells[place] = cell[i];
#pragma unroll
                for (int g = 0; g < 4; ++g) saved[g * hidden] = gate[g];
            } else {
                const float r = sigmoid(input[0] + total(partial, columns, row, u));
                const float z = sigmoid(input[own] + total(partial, columns, row, own + u));
                saved[0] = r;
                saved[hidden] = z;
                if (KIND == GRU) {
                    const float at_n = total(partial, columns, row, 2 * own + u) + (scan.biased ? bias_n[at] : 0);
                    const float candidate = tanh(input[2 * own] + r * at_n);
                    value = gru_state(z, candidate, old);
                    saved[2 * hidden] = candidate;
                    saved[3 * hidden] = at_n;
                } else {
                    saved[3 * hidden] = r * old;
                    block.share(kept + at * ROWS + row, r * old);
                    input[own] = z;  // for the second loop, where this thread has the same units
                }
            }
            if (KIND != GRU_BEFORE) {
                outputs[place] = value;
                block.share(to, value);
            }
        }
        if (KIND == GRU_BEFORE) {
            block.barrier();
            multiply(weights + hidden * columns, hidden, last_columns, kept, partial);
            __syncthreads();
            for (int i = threadIdx.x; i < units; i += blockDim.x) {
                const int row = i / own, u = i % own, at = block.unit + u, n = block.first + row;
                if (t >= block.end_of(row)) continue;
                const float* const input = staged + row * GATES * own + u;
                const float candidate = tanh(input[2 * own] + total(partial, last_columns, row, u));
                const float value = gru_state(input[own], candidate, state[at * ROWS + row]);
                gates[scan.row(t, n, 4 * hidden) + 2 * hidden + at] = candidate;
                outputs[scan.row(t, n, hidden) + at] = value;
                block.share(next + at * ROWS + row, value);
            }
        }
        block.barrier();  // the new state is there, and `partial` and `staged` have been read
        state = next;
    }
    for (int i = threadIdx.x; i < units; i += blockDim.x) {
        const int row = i / own, at = block.unit + i % own, n = block.first + row;
        if (n >= scan.batch) continue;
        h[scan.row(0, n, hidden) + at] = state[at * ROWS + row];
        if (KIND == LSTM) c[scan.row(0, n, hidden) + at] = cell[i];
    }
}

// ---------------------------------------------------------------------- backward

// weights: for each block of a cluster W_hh (G·H, own), with the columns of its units. `states` and `initial` are cells
// and c0 of an LSTM, else outputs and h0. `g_h` and `g_c`: in place. g_hidden differs from g_projected in n, with GRU:
// the gradient of what r stands at.
template <int KIND, bool RESIDENT, int CLUSTER>
DEVICE void scan_grad_in_blocks(const float* g_outputs, const float* weights, const float* gates,
                                const float* states, const float* initial, float* g_h, float* g_c,
                                float* g_projected, float* g_hidden, const long long* lengths, Sizes sizes) {
    constexpr int GATES = gates_of(KIND);
    constexpr bool SIMPLE = KIND == TANH || KIND == RELU;
    // What is staged of a row's own units: g_outputs, then the outputs of a simple RNN; else the state before, the four
    // gates and, of an LSTM, the cell.
    constexpr int BEFORE = 1, GATE = 2, CELL = 6, FIELDS = SIMPLE ? 2 : KIND == LSTM ? 7 : 6;
    const Block<CLUSTER> block(sizes, lengths);
    const Scan& scan = block.scan;
    const int hidden = scan.hidden, own = block.own, units = ROWS * own, columns = padded_to_packs(own);
    const int count = GATES * hidden * columns, all_units = ROWS * hidden;
    if (block.longest == 0) return;  // g_h and g_c stay as they are
    DYNAMIC_SHARED(float, memory);
    weights = place_weights<RESIDENT>(weights + block.unit / own * count, memory, count);
    float* const buffers = take(memory, (CLUSTER > 1 ? 2 : 1) * GATES * all_units);
    float* const partial = take(memory, ROWS * PACK * blockDim.x);
    float* const staged = take(memory, FIELDS * units);             // (ROWS, FIELDS, own)
    float* const direct = take(memory, units);                      // of dh, what goes straight on, (ROWS, own)
    float* const of_cell = take(memory, KIND == LSTM ? units : 0);  // dc, (ROWS, own)

    for (int i = threadIdx.x; i < units; i += blockDim.x) {
        const int n = block.first + i / own;
        const long long place = scan.row(0, n, hidden) + block.unit + i % own;
        direct[i] = n < scan.batch ? g_h[place] : 0;
        if (KIND == LSTM) of_cell[i] = n < scan.batch ? g_c[place] : 0;
    }
    float* slopes = buffers;  // gradients of W_hh h at the last step, (G·H, ROWS)
    int before = -1;          // which step that was
    for (int step = 0; step < block.longest; ++step) {
        const int t = scan.reverse ? step : block.longest - 1 - step;
        for (int row = 0; row < ROWS; ++row) {
            const int n = block.first + row, end = block.end_of(row);
            if (t >= end) continue;
            float* const fields = staged + row * FIELDS * own;
            const long long place = scan.row(t, n, hidden) + block.unit;
            copy_row(fields, g_outputs + place, own);
            if (SIMPLE) {
                copy_row(fields + BEFORE * own, states + place, own);
            } else {
                copy_row(fields + BEFORE * own, scan.previous(states, initial, t, n, end) + block.unit, own);
                for (int gate = 0; gate < 4; ++gate)
                    copy_row(fields + (GATE + gate) * own,
                             gates + scan.row(t, n, 4 * hidden) + gate * hidden + block.unit, own);
                if (KIND == LSTM) copy_row(fields + CELL * own, states + place, own);
            }
        }
        copy_async_commit();
        if (CLUSTER > 1 && before < 0) block.barrier();  // all blocks of the cluster are there
        if (before >= 0) {
            const int depth = KIND == GRU_BEFORE ? 2 * hidden : GATES * hidden;
            multiply(weights, depth, columns, slopes, partial);
        }
        copy_async_wait<0>();
        __syncthreads();
        if (CLUSTER > 1) slopes = buffers + step % 2 * GATES * all_units;
        for (int i = threadIdx.x; i < units; i += blockDim.x) {
            const int row = i / own, u = i % own, at = block.unit + u, n = block.first + row, end = block.end_of(row);
            const bool product = before >= 0 && before < end;
            const float carried = direct[i] + (product ? total(partial, columns, row, u) : 0);
            direct[i] = t < end ? 0 : carried;
            if (t >= end) continue;
            const float* const field = staged + row * FIELDS * own + u;
            float* const to = slopes + at * ROWS + row;  // of gate g: to + g * all_units
            float* const saved = g_projected + scan.row(t, n, GATES * hidden) + at;
            const float dh = field[0] + carried;
            if (SIMPLE) {
                saved[0] = activation_slope<KIND>(dh, field[BEFORE * own]);
                block.share(to, saved[0]);
            } else if (KIND == LSTM) {
                float gate[4];
#pragma unroll
                for (int g = 0; g < 4; ++g) gate[g] = field[(GATE + g) * own];
                lstm_slopes(gate, field[CELL * own], field[BEFORE * own], dh, of_cell[i]);
#pragma unroll
                for (int g = 0; g < 4; ++g) {
                    saved[g * hidden] = gate[g];
                    block.share(to + g * all_units, gate[g]);
                }
            } else {
                const float r = field[GATE * own], z = field[(GATE + 1) * own], c = field[(GATE + 2) * own];
                const float of_c = gru_slope_n(dh, z, c), of_z = gru_slope_z(dh, z, c, field[BEFORE * own]);
                direct[i] = dh * z;
                saved[hidden] = of_z;
                saved[2 * hidden] = of_c;
                block.share(to + all_units, of_z);
                block.share(to + 2 * all_units, KIND == GRU ? of_c * r : of_c);
                if (KIND == GRU) {
                    float* const saved_hidden = g_hidden + scan.row(t, n, GATES * hidden) + at;
                    const float of_r = gru_slope_r(of_c * field[(GATE + 3) * own], r);
                    saved[0] = saved_hidden[0] = of_r;
                    saved_hidden[hidden] = of_z;
                    saved_hidden[2 * hidden] = of_c * r;
                    block.share(to, of_r);
                }
            }
        }
        if (KIND == GRU_BEFORE) {
            block.barrier();
            multiply(weights + 2 * hidden * columns, hidden, columns, slopes + 2 * all_units, partial);
            __syncthreads();
            for (int i = threadIdx.x; i < units; i += blockDim.x) {
                const int row = i / own, u = i % own, at = block.unit + u, n = block.first + row;
                if (t >= block.end_of(row)) continue;
                const float* const field = staged + row * FIELDS * own + u;
                const float r = field[GATE * own], of_reset_state = total(partial, columns, row, u);
                const float of_r = gru_slope_r(of_reset_state * field[BEFORE * own], r);
                direct[i] += of_reset_state * r;
                g_projected[scan.row(t, n, GATES * hidden) + at] = of_r;
                block.share(slopes + at * ROWS + row, of_r);
            }
        }
        before = t;
        block.barrier();  // the slopes are there, and `partial` and `staged` have been read
    }
    multiply(weights, (KIND == GRU_BEFORE ? 2 : GATES) * hidden, columns, slopes, partial);
    __syncthreads();
    for (int i = threadIdx.x; i < units; i += blockDim.x) {
        const int row = i / own, u = i % own, n = block.first + row;
        if (n >= scan.batch) continue;
        const long long place = scan.row(0, n, hidden) + block.unit + u;
        g_h[place] = direct[i] + (before < block.end_of(row) ? total(partial, columns, row, u) : 0);
        if (KIND == LSTM) g_c[place] = of_cell[i];
    }
}
