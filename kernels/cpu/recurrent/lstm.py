"""The scan of an LSTM: i, f, g, o = σ, σ, tanh, σ; c' = f c + i g; h' = o tanh(c'), forward and backward."""

from __future__ import annotations

from tinygrad_notes.kernels.cpu.compile import parallel_kernel
from tinygrad_notes.kernels.cpu.isa import functions
from tinygrad_notes.kernels.cpu.isa.memory import clear_bytes
from tinygrad_notes.kernels.cpu.isa.rows import row
from tinygrad_notes.kernels.cpu.isa.vector import itemsize, one, zero
from tinygrad_notes.kernels.cpu.packed_products import PRODUCT_BYTES, multiply_packed
from tinygrad_notes.kernels.cpu.recurrent.scan import previous_place, take_valid, valid


def _lstm_cell(v, x, s):
    b = v.builder
    i, f, o = functions.sigmoid(v, x[0]), functions.sigmoid(v, x[1]), functions.sigmoid(v, x[3])
    g = functions.tanh(v, x[2])
    c = v.multiply_add(f, x[4], b.fmul(i, g))
    h = b.fmul(o, functions.tanh(v, c))
    return [i, f, g, o, c, c, h, h], []


def _lstm_cell_grad(v, x, s):
    i, f, g, o, cell, previous_cell, g_output, g_h, g_c = x
    b, unit = v.builder, v.constant(1.0)
    tanh_c = functions.tanh(v, cell)
    dh = b.fadd(g_output, g_h)
    dc = v.multiply_add(b.fmul(dh, o), v.multiply_add(b.fneg(tanh_c), tanh_c, unit), g_c)
    g_i = b.fmul(b.fmul(dc, g), b.fmul(i, b.fsub(unit, i)))
    g_f = b.fmul(b.fmul(dc, previous_cell), b.fmul(f, b.fsub(unit, f)))
    g_g = b.fmul(b.fmul(dc, i), v.multiply_add(b.fneg(g), g, unit))
    g_o = b.fmul(b.fmul(dh, tanh_c), b.fmul(o, b.fsub(unit, o)))
    return [g_i, g_f, g_g, g_o, b.fmul(dc, f)], []


row_lstm_cell = row(5, 8, 0, _lstm_cell, unroll=1)
row_lstm_cell_grad = row(9, 5, 0, _lstm_cell_grad, unroll=1)


@parallel_kernel
def lstm_forward(
    gates, h, c, outputs, cells, weight, lengths, steps, batch, hidden, reverse, like, work, work_bytes, thread, threads
):
    """``gates`` holds the input's part of the pre-activations, and then the gates."""
    size = itemsize(like)
    line, wide = hidden * size, 4 * hidden * size
    start, end = thread * batch // threads, (thread + 1) * batch // threads
    mine = work + thread * work_bytes
    for s in range(steps):
        t = steps - 1 - s if reverse else s
        now = gates + t * batch * wide
        multiply_packed(
            h + start * line, line, end - start, weight, 4 * hidden, hidden, now + start * wide, wide, one(like),
            mine,
        )  # fmt: skip
        for i in range(start, end):
            g, place = now + i * wide, (t * batch + i) * line
            if not valid(lengths, i, t):
                clear_bytes(g, wide)
                clear_bytes(outputs + place, line)
                clear_bytes(cells + place, line)
                continue
            row_lstm_cell(
                (
                    g, g + line, g + 2 * line, g + 3 * line, c + i * line,
                    g, g + line, g + 2 * line, g + 3 * line, c + i * line, cells + place, h + i * line,
                    outputs + place, hidden,
                ),
                (), like,
            )  # fmt: skip


@parallel_kernel
def lstm_backward(
    g_projected, g_h, g_c, g_outputs, gates, cells, c0, weight, lengths, steps, batch, hidden, reverse, like, work,
    work_bytes, thread, threads,
):  # fmt: skip
    """Writes g_projected (T, N, 4H) and turns g_h and g_c, those of h_n and c_n, into those of h0 and c0."""
    size = itemsize(like)
    line, wide = hidden * size, 4 * hidden * size
    start, end = thread * batch // threads, (thread + 1) * batch // threads
    mine = work + thread * work_bytes
    fresh = mine + PRODUCT_BYTES
    for s in range(steps):
        t = s if reverse else steps - 1 - s
        now = t * batch
        for i in range(start, end):
            g, d, place = gates + (now + i) * wide, g_projected + (now + i) * wide, (now + i) * line
            if not valid(lengths, i, t):
                clear_bytes(d, wide)
                continue
            before = previous_place(cells, c0, lengths, i, t, reverse, batch * line, line)
            row_lstm_cell_grad(
                (
                    g, g + line, g + 2 * line, g + 3 * line, cells + place, before, g_outputs + place,
                    g_h + i * line, g_c + i * line, d, d + line, d + 2 * line, d + 3 * line, g_c + i * line, hidden,
                ),
                (), like,
            )  # fmt: skip
        multiply_packed(
            g_projected + (now + start) * wide, wide, end - start, weight, hidden, 4 * hidden, fresh, line,
            zero(like), mine,
        )  # fmt: skip
        take_valid(fresh, g_h, lengths, t, start, end, line)
