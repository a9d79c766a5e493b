"""The scan of a simple (Elman) RNN, h' = tanh or relu of (projected + W_hh h), forward and backward."""

from __future__ import annotations

from tinygrad_notes.kernels.cpu.compile import parallel_kernel
from tinygrad_notes.kernels.cpu.isa import functions
from tinygrad_notes.kernels.cpu.isa.memory import clear_bytes
from tinygrad_notes.kernels.cpu.isa.rows import row
from tinygrad_notes.kernels.cpu.isa.vector import itemsize, one, zero
from tinygrad_notes.kernels.cpu.packed_products import PRODUCT_BYTES, multiply_packed
from tinygrad_notes.kernels.cpu.recurrent.scan import take_valid, valid


def _tanh_cell(v, x, s):
    value = functions.tanh(v, x[0])
    return [value, value], []


def _relu_cell(v, x, s):
    value = v.at_least(v.constant(0.0), x[0])
    return [value, value], []


def _tanh_cell_grad(v, x, s):
    output, g_output, g_h = x
    b = v.builder
    derivative = v.multiply_add(b.fneg(output), output, v.constant(1.0))
    return [b.fmul(b.fadd(g_output, g_h), derivative)], []


def _relu_cell_grad(v, x, s):
    output, g_output, g_h = x
    b = v.builder
    derivative = b.select(b.fcmp_ordered(">", output, v.constant(0.0)), v.constant(1.0), v.constant(0.0))
    return [b.fmul(b.fadd(g_output, g_h), derivative)], []


row_tanh_cell = row(1, 2, 0, _tanh_cell, unroll=2)
row_relu_cell = row(1, 2, 0, _relu_cell, unroll=2)
row_tanh_cell_grad = row(3, 1, 0, _tanh_cell_grad, unroll=2)
row_relu_cell_grad = row(3, 1, 0, _relu_cell_grad, unroll=2)


@parallel_kernel
def rnn_forward(
    outputs, h, weight, lengths, steps, batch, hidden, relu, reverse, like, work, work_bytes, thread, threads
):
    """``outputs`` holds the input's part of the pre-activations, and then the outputs."""
    size = itemsize(like)
    line = hidden * size
    start, end = thread * batch // threads, (thread + 1) * batch // threads
    mine = work + thread * work_bytes
    for s in range(steps):
        t = steps - 1 - s if reverse else s
        now = outputs + t * batch * line
        multiply_packed(
            h + start * line, line, end - start, weight, hidden, hidden, now + start * line, line, one(like), mine
        )
        for i in range(start, end):
            place = now + i * line
            if not valid(lengths, i, t):
                clear_bytes(place, line)
            elif relu:
                row_relu_cell((place, place, h + i * line, hidden), (), like)
            else:
                row_tanh_cell((place, place, h + i * line, hidden), (), like)


@parallel_kernel
def rnn_backward(
    g_projected, g_h, g_outputs, outputs, weight, lengths, steps, batch, hidden, relu, reverse, like, work, work_bytes,
    thread, threads,
):  # fmt: skip
    """Writes g_projected (T, N, H) and turns g_h, that of h_n, into that of h0."""
    size = itemsize(like)
    line = hidden * size
    start, end = thread * batch // threads, (thread + 1) * batch // threads
    mine = work + thread * work_bytes
    fresh = mine + PRODUCT_BYTES
    for s in range(steps):
        t = s if reverse else steps - 1 - s
        now = t * batch * line
        for i in range(start, end):
            place = now + i * line
            if not valid(lengths, i, t):
                clear_bytes(g_projected + place, line)
            elif relu:
                row_relu_cell_grad(
                    (outputs + place, g_outputs + place, g_h + i * line, g_projected + place, hidden), (), like
                )
            else:
                row_tanh_cell_grad(
                    (outputs + place, g_outputs + place, g_h + i * line, g_projected + place, hidden), (), like
                )
        multiply_packed(
            g_projected + now + start * line, line, end - start, weight, hidden, hidden, fresh, line, zero(like),
            mine,
        )  # fmt: skip
        take_valid(fresh, g_h, lengths, t, start, end, line)
