"""The scan of a GRU, r, z = σ, h' = (1 - z) n + z h, where r enters n in one of two ways; forward and backward."""

from __future__ import annotations

from tinygrad_notes.kernels.cpu.compile import parallel_kernel
from tinygrad_notes.kernels.cpu.isa import functions
from tinygrad_notes.kernels.cpu.isa.memory import clear_bytes, copy_bytes
from tinygrad_notes.kernels.cpu.isa.rows import row
from tinygrad_notes.kernels.cpu.isa.vector import itemsize, one, zero
from tinygrad_notes.kernels.cpu.packed_products import PRODUCT_BYTES, multiply_packed
from tinygrad_notes.kernels.cpu.recurrent.scan import previous_place, take_valid, valid


def _gru_gates(v, x, s):
    """r, z and r h, of the input's and the state's parts of r and z."""
    b = v.builder
    r, z = functions.sigmoid(v, b.fadd(x[0], x[2])), functions.sigmoid(v, b.fadd(x[1], x[3]))
    return [r, z, b.fmul(r, x[4])], []


def _mix(v, z, n, h):
    """(1 - z) n + z h."""
    b = v.builder
    return v.multiply_add(b.fsub(v.constant(1.0), z), n, b.fmul(z, h))


def _gru_state(v, x, s):
    """n = tanh(input + state), then the new state."""
    n = functions.tanh(v, v.builder.fadd(x[0], x[1]))
    h = _mix(v, x[2], n, x[3])
    return [n, h, h], []


def _gru_cell(v, x, s):
    """The whole cell with reset_after: n = tanh(input + r (state + bias))."""
    b = v.builder
    r, z = functions.sigmoid(v, b.fadd(x[0], x[3])), functions.sigmoid(v, b.fadd(x[1], x[4]))
    kept = b.fadd(x[5], x[6])
    n = functions.tanh(v, v.multiply_add(r, kept, x[2]))
    h = _mix(v, z, n, x[7])
    return [r, z, n, kept, h, h], []


def _gru_cell_grad(v, x, s):
    """g_z, g_n and the part of dh that goes on through z."""
    z, n, previous, g_output, g_h = x
    b, unit = v.builder, v.constant(1.0)
    dh, rest = b.fadd(g_output, g_h), b.fsub(unit, z)
    g_n = b.fmul(b.fmul(dh, rest), v.multiply_add(b.fneg(n), n, unit))
    g_z = b.fmul(b.fmul(dh, b.fsub(previous, n)), b.fmul(z, rest))
    return [g_z, g_n, b.fmul(dh, z)], []


def _gru_reset_after_grad(v, x, s):
    """g_r, and the gradient of what r is multiplied with."""
    r, kept, g_n = x
    b = v.builder
    return [b.fmul(b.fmul(g_n, kept), b.fmul(r, b.fsub(v.constant(1.0), r))), b.fmul(g_n, r)], []


def _gru_reset_before_grad(v, x, s):
    """g_r, and what goes on to the state, of the gradient of r h."""
    r, previous, g_reset_state, carried = x
    b = v.builder
    g_r = b.fmul(b.fmul(g_reset_state, previous), b.fmul(r, b.fsub(v.constant(1.0), r)))
    return [g_r, v.multiply_add(g_reset_state, r, carried)], []


row_gru_gates = row(5, 3, 0, _gru_gates, unroll=1)
row_gru_state = row(4, 3, 0, _gru_state, unroll=1)
row_gru_cell = row(8, 6, 0, _gru_cell, unroll=1)
row_gru_cell_grad = row(5, 3, 0, _gru_cell_grad, unroll=1)
row_gru_reset_after_grad = row(3, 2, 0, _gru_reset_after_grad, unroll=1)
row_gru_reset_before_grad = row(4, 2, 0, _gru_reset_before_grad, unroll=1)


@parallel_kernel
def gru_forward(
    projected, gates, h, outputs, weight_rz, weight_n, bias_n, lengths, steps, batch, hidden, reset_after, reverse,
    like, work, work_bytes, thread, threads,
):  # fmt: skip
    """From the input's part of r, z, n (T, N, 3H). ``bias_n`` (H,), with reset_after: of the state's part of n."""
    size = itemsize(like)
    line = hidden * size
    start, end = thread * batch // threads, (thread + 1) * batch // threads
    mine = work + thread * work_bytes
    for s in range(steps):
        t = steps - 1 - s if reverse else s
        now, tall = gates + (t * batch + start) * 4 * line, end - start
        state = h + start * line
        multiply_packed(state, line, tall, weight_rz, 2 * hidden, hidden, now, 4 * line, zero(like), mine)
        if reset_after:
            multiply_packed(state, line, tall, weight_n, hidden, hidden, now + 3 * line, 4 * line, zero(like), mine)
        for i in range(start, end):
            p, g, place = projected + (t * batch + i) * 3 * line, gates + (t * batch + i) * 4 * line, i * line
            if reset_after and valid(lengths, i, t):
                row_gru_cell(
                    (
                        p, p + line, p + 2 * line, g, g + line, g + 3 * line, bias_n, h + place,
                        g, g + line, g + 2 * line, g + 3 * line, outputs + t * batch * line + place, h + place,
                        hidden,
                    ),
                    (), like,
                )  # fmt: skip
            elif not reset_after:
                row_gru_gates((p, p + line, g, g + line, h + place, g, g + line, g + 3 * line, hidden), (), like)
        if not reset_after:  # n needs the product with r h
            multiply_packed(
                now + 3 * line, 4 * line, tall, weight_n, hidden, hidden, now + 2 * line, 4 * line, zero(like), mine
            )
        for i in range(start, end):
            p, g, place = projected + (t * batch + i) * 3 * line, gates + (t * batch + i) * 4 * line, i * line
            if not valid(lengths, i, t):
                clear_bytes(g, 4 * line)
                clear_bytes(outputs + t * batch * line + place, line)
            elif not reset_after:
                row_gru_state(
                    (
                        p + 2 * line, g + 2 * line, g + line, h + place,
                        g + 2 * line, outputs + t * batch * line + place, h + place, hidden,
                    ),
                    (), like,
                )  # fmt: skip


@parallel_kernel
def gru_backward(
    g_projected, g_hidden, g_h, g_outputs, gates, outputs, h0, weight, weight_n, lengths, steps, batch, hidden,
    reset_after, reverse, like, work, work_bytes, thread, threads,
):  # fmt: skip
    """Writes g_projected (T, N, 3H), turns g_h into the gradient of h0, and with reset_after writes g_hidden.

    ``g_hidden`` (T, N, 3H) is the gradient of the state's part of the pre-activations, without reset_after the same
    array as ``g_projected``. ``weight`` is the packed one of r, z and n with reset_after, else that of r and z, and
    ``weight_n`` that of n.
    """
    size = itemsize(like)
    line = hidden * size
    start, end = thread * batch // threads, (thread + 1) * batch // threads
    mine = work + thread * work_bytes
    fresh = mine + PRODUCT_BYTES
    reset = fresh + (end - start) * line  # without reset_after: the gradient of r h
    for s in range(steps):
        t = s if reverse else steps - 1 - s
        now, tall = t * batch, end - start
        for i in range(start, end):
            g, d, place = gates + (now + i) * 4 * line, g_projected + (now + i) * 3 * line, (now + i) * line
            e, carried = g_hidden + (now + i) * 3 * line, fresh + (i - start) * line
            if not valid(lengths, i, t):
                clear_bytes(d, 3 * line)
                clear_bytes(e, 3 * line)
                clear_bytes(carried, line)
                continue
            before = previous_place(outputs, h0, lengths, i, t, reverse, batch * line, line)
            row_gru_cell_grad(
                (
                    g + line, g + 2 * line, before, g_outputs + place, g_h + i * line,
                    d + line, d + 2 * line, carried, hidden,
                ),
                (), like,
            )  # fmt: skip
            if reset_after:
                row_gru_reset_after_grad((g, g + 3 * line, d + 2 * line, d, e + 2 * line, hidden), (), like)
                copy_bytes(e, d, 2 * line)
        first = (now + start) * 3 * line
        if reset_after:
            multiply_packed(g_hidden + first, 3 * line, tall, weight, hidden, 3 * hidden, fresh, line, one(like), mine)
        else:
            multiply_packed(
                g_projected + first + 2 * line, 3 * line, tall, weight_n, hidden, hidden, reset, line, zero(like),
                mine,
            )  # fmt: skip
            for i in range(start, end):
                g, d, share = gates + (now + i) * 4 * line, g_projected + (now + i) * 3 * line, (i - start) * line
                if valid(lengths, i, t):
                    before = previous_place(outputs, h0, lengths, i, t, reverse, batch * line, line)
                    row_gru_reset_before_grad(
                        (g, before, reset + share, fresh + share, d, fresh + share, hidden), (), like
                    )
            multiply_packed(
                g_projected + first, 3 * line, tall, weight, hidden, 2 * hidden, fresh, line, one(like), mine
            )
        take_valid(fresh, g_h, lengths, t, start, end, line)
