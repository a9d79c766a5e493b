"""Softmax and its logarithm down the columns of matrices, a strip of columns at a time.

What a row keeps in one number, its maximum and its sum, is here a row of numbers, one for each column of the strip.
"""

from __future__ import annotations

import math

from tinygrad_notes.kernels.cpu.common_rows import row_add
from tinygrad_notes.kernels.cpu.compile import kernel, parallel_kernel
from tinygrad_notes.kernels.cpu.isa import functions
from tinygrad_notes.kernels.cpu.isa.memory import clear_bytes, rounded
from tinygrad_notes.kernels.cpu.isa.rows import row
from tinygrad_notes.kernels.cpu.isa.vector import get, itemsize, put
from tinygrad_notes.kernels.cpu.moments import PIECE_ROWS, add_piece

STRIP_BYTES = 1 << 18  # of a strip of columns, which should stay in the second cache
NARROWEST, WIDEST = 16, 256  # columns of a strip; 16 float32 are a line of the cache
WORK_BYTES = WIDEST * 24  # a strip's maxima, sums of a piece, and sums in float64


def _larger(v, x, scalars):
    """max(x, m), which passes over NaN."""
    return [v.builder.select(v.builder.fcmp_ordered(">", x[0], x[1]), x[0], x[1])], []


def _exponential(v, x, scalars):
    """exp(x - m), and the sum s with it."""
    e = functions.exp(v, v.builder.fsub(x[0], x[1]))
    return [e, v.builder.fadd(x[2], e)], []


def _exponential_sum(v, x, scalars):
    return _exponential(v, x, scalars)[0][1:], []


def _scaled(v, x, scalars):
    return [v.builder.fmul(x[0], x[1])], []


def _below(v, x, scalars):
    """(x - m) - l."""
    return [v.builder.fsub(v.builder.fsub(x[0], x[1]), x[2])], []


def _sum_of_products(v, x, scalars):
    return [v.multiply_add(x[0], x[1], x[2])], []


def _softmax_slope(v, x, scalars):
    """y (g - s)."""
    return [v.builder.fmul(x[1], v.builder.fsub(x[0], x[2]))], []


def _log_softmax_slope(v, x, scalars):
    """g - exp(y) s."""
    return [v.builder.fsub(x[0], v.builder.fmul(functions.exp(v, x[1]), x[2]))], []


row_larger = row(2, 1, 0, _larger)
row_exponential = row(3, 2, 0, _exponential)
row_exponential_sum = row(3, 1, 0, _exponential_sum)
row_scaled = row(2, 1, 0, _scaled)
row_below = row(3, 1, 0, _below)
row_sum_of_products = row(3, 1, 0, _sum_of_products)
row_softmax_slope = row(3, 1, 0, _softmax_slope)
row_log_softmax_slope = row(3, 1, 0, _log_softmax_slope)


@kernel
def strip_width(n, inner, size):
    """Columns of a strip, from the shape alone."""
    fit = STRIP_BYTES // (n * size) // NARROWEST * NARROWEST
    return min(inner, max(NARROWEST, min(WIDEST, fit)))


@kernel
def softmax_strip(x, y, n, stride, wide, logarithm, work, like):
    """Rows of a strip are ``stride`` bytes apart."""
    size = itemsize(like)
    largest, part, sums = work, work + WIDEST * 8, work + WIDEST * 16
    clear_bytes(part, size * wide)
    clear_bytes(sums, 8 * wide)
    for j in range(wide):
        put(largest + j * size, rounded(-math.inf, like))
    for i in range(n):
        row_larger((x + i * stride, largest, largest, wide), (), like)
    for i in range(n):
        line = i * stride
        if logarithm:
            row_exponential_sum((x + line, largest, part, part, wide), (), like)
        else:
            row_exponential((x + line, largest, part, y + line, part, wide), (), like)
        if (i + 1) % PIECE_ROWS == 0 or i == n - 1:
            add_piece(part, sums, wide, like)
    for j in range(wide):
        value = get(sums + 8 * j, 0.0)
        put(part + j * size, rounded(math.log(value) if logarithm else 1.0 / value, like))
    for i in range(n):
        line = i * stride
        if logarithm:
            row_below((x + line, largest, part, y + line, wide), (), like)
        else:
            row_scaled((y + line, part, y + line, wide), (), like)


@kernel
def softmax_grad_strip(g, y, dx, n, stride, wide, logarithm, work, like):
    """Rows of a strip are ``stride`` bytes apart."""
    size = itemsize(like)
    part, sums = work, work + WIDEST * 8
    clear_bytes(part, size * wide)
    clear_bytes(sums, 8 * wide)
    for i in range(n):
        line = i * stride
        if logarithm:
            row_add((g + line, part, part, wide), (), like)
        else:
            row_sum_of_products((g + line, y + line, part, part, wide), (), like)
        if (i + 1) % PIECE_ROWS == 0 or i == n - 1:
            add_piece(part, sums, wide, like)
    for j in range(wide):
        put(part + j * size, rounded(get(sums + 8 * j, 0.0), like))
    for i in range(n):
        line = i * stride
        if logarithm:
            row_log_softmax_slope((g + line, y + line, part, dx + line, wide), (), like)
        else:
            row_softmax_slope((g + line, y + line, part, dx + line, wide), (), like)


@parallel_kernel
def softmax_columns(x, y, outer, n, inner, logarithm, work, like, thread, threads):
    """x (outer, n, inner): along its middle axis. WORK_BYTES of scratch for each thread at ``work``."""
    size, width = itemsize(like), strip_width(n, inner, itemsize(like))
    strips = (inner + width - 1) // width
    for item in range(thread * outer * strips // threads, (thread + 1) * outer * strips // threads):
        column = item % strips * width
        start = (item // strips * n * inner + column) * size
        wide, mine = min(width, inner - column), work + thread * WORK_BYTES
        softmax_strip(x + start, y + start, n, inner * size, wide, logarithm, mine, like)


@parallel_kernel
def softmax_grad_columns(g, y, dx, outer, n, inner, logarithm, work, like, thread, threads):
    """g, y (outer, n, inner): along their middle axis. WORK_BYTES of scratch for each thread at ``work``."""
    size, width = itemsize(like), strip_width(2 * n, inner, itemsize(like))
    strips = (inner + width - 1) // width
    for item in range(thread * outer * strips // threads, (thread + 1) * outer * strips // threads):
        column = item % strips * width
        start = (item // strips * n * inner + column) * size
        wide, mine = min(width, inner - column), work + thread * WORK_BYTES
        softmax_grad_strip(g + start, y + start, dx + start, n, inner * size, wide, logarithm, mine, like)
