"""Batch normalisation where a channel has few values in an image, one as a rule: (N, C) with vectors along C.

A strip of columns is taken at once. Sums run down the columns, in the dtype of x for some rows and then in float64,
and those of one channel are added at the end.
"""

from __future__ import annotations

import math

from tinygrad_notes.kernels.cpu.common_rows import row_add
from tinygrad_notes.kernels.cpu.compile import kernel, parallel_kernel
from tinygrad_notes.kernels.cpu.isa.memory import clear_bytes, rounded
from tinygrad_notes.kernels.cpu.isa.rows import row
from tinygrad_notes.kernels.cpu.isa.vector import get, itemsize, put
from tinygrad_notes.kernels.cpu.moments import PIECE_ROWS, add_piece, one_by_one

WIDEST = 128  # columns of a strip
ROW = WIDEST * 8
STRIP_WORK = 9 * ROW  # two rows of sums of pieces, two of float64, five of numbers of the columns


def _centered(v, x, scalars):
    """x - c and its square, added."""
    centered = v.builder.fsub(x[0], x[1])
    return [v.builder.fadd(x[2], centered), v.multiply_add(centered, centered, x[3])], []


def _scaled(v, x, scalars):
    """(x - c) a + b."""
    return [v.multiply_add(v.builder.fsub(x[0], x[1]), x[2], x[3])], []


def _products(v, x, scalars):
    """g and g (x - c), added."""
    return [v.builder.fadd(x[3], x[0]), v.multiply_add(x[0], v.builder.fsub(x[1], x[2]), x[4])], []


def _slope(v, x, scalars):
    """dx = a g - (n b + d), n = (x - c) r."""
    b = v.builder
    normalized = b.fmul(b.fsub(x[1], x[2]), x[3])
    return [b.fsub(b.fmul(x[0], x[4]), v.multiply_add(normalized, x[5], x[6]))], []


row_centered = row(4, 2, 0, _centered, unroll=2)
row_scaled = row(4, 1, 0, _scaled, unroll=2)
row_products = row(5, 2, 0, _products, unroll=2)
row_slope = row(7, 1, 0, _slope, unroll=2)


@kernel
def fill(row, column, n, value, like):
    """Give the ``n`` columns of a channel the same number."""
    for j in range(column, column + n):
        put(row + j * itemsize(like), value)


@kernel
def channel_sum(sums, column, n):
    value = 0.0
    for j in range(column, column + n):
        value += get(sums + 8 * j, 0.0)
    return value


@kernel
def normalize_strip(x, weight, bias, y, mean, rstd, variance, images, step, first, last, n, eps, work, like):
    """Channels ``first`` to ``last``, n columns each, whose rows are ``step`` bytes apart."""
    size, wide, count = itemsize(like), (last - first) * n, images * n
    x, y = x + first * n * size, y + first * n * size
    part, sums, centers, scales, offsets = work, work + 2 * ROW, work + 4 * ROW, work + 5 * ROW, work + 6 * ROW
    clear_bytes(work, 4 * ROW)
    for i in range(images):
        row_add((x + i * step, part, part, wide), (), like)
        if (i + 1) % PIECE_ROWS == 0 or i == images - 1:
            add_piece(part, sums, wide, like)
    for c in range(last - first):
        fill(centers, c * n, n, rounded(channel_sum(sums, c * n, n) / count, like), like)
    clear_bytes(work, 4 * ROW)
    squares, sums_of_squares = part + ROW, sums + ROW
    for i in range(images):
        row_centered((x + i * step, centers, part, squares, part, squares, wide), (), like)
        if (i + 1) % PIECE_ROWS == 0 or i == images - 1:
            add_piece(part, sums, wide, like)
            add_piece(squares, sums_of_squares, wide, like)
    for c in range(last - first):
        at, center = (first + c) * size, float(get(centers + c * n * size, like))
        ahead = channel_sum(sums, c * n, n) / count
        middle, spread = center + ahead, channel_sum(sums_of_squares, c * n, n) / count - ahead * ahead
        if not math.isfinite(spread):
            middle, spread = one_by_one(x + c * n * size, images, step, n, like)
            spread /= count
            fill(centers, c * n, n, rounded(middle, like), like)
            center = float(rounded(middle, like))
        spread = 0.0 if spread < 0 else spread
        inverse = 1 / math.sqrt(spread + eps)
        put(mean + at, rounded(middle, like))
        put(rstd + at, rounded(inverse, like))
        put(variance + at, rounded(spread, like))
        scale = inverse * get(weight + at, like) if weight else inverse
        offset = (center - middle) * scale if math.isfinite(scale) else 0.0  # as in ``scale_and_offset``
        fill(scales, c * n, n, rounded(scale, like), like)
        fill(offsets, c * n, n, rounded(offset + get(bias + at, like) if bias else offset, like), like)
    for i in range(images):
        row_scaled((x + i * step, centers, scales, offsets, y + i * step, wide), (), like)


@kernel
def normalize_grad_strip(g, x, weight, mean, rstd, dx, dweight, dbias, images, step, first, last, n, work, like):
    """Channels ``first`` to ``last``, n columns each, whose rows are ``step`` bytes apart."""
    size, wide, count = itemsize(like), (last - first) * n, images * n
    g, x, dx = g + first * n * size, x + first * n * size, dx + first * n * size
    part, sums, centers, inverses = work, work + 2 * ROW, work + 4 * ROW, work + 5 * ROW
    scales, bends, shifts = work + 6 * ROW, work + 7 * ROW, work + 8 * ROW
    clear_bytes(work, 4 * ROW)
    for c in range(last - first):
        fill(centers, c * n, n, get(mean + (first + c) * size, like), like)
    for i in range(images):
        row_products((g + i * step, x + i * step, centers, part, part + ROW, part, part + ROW, wide), (), like)
        if (i + 1) % PIECE_ROWS == 0 or i == images - 1:
            add_piece(part, sums, wide, like)
            add_piece(part + ROW, sums + ROW, wide, like)
    for c in range(last - first):
        at = (first + c) * size
        inverse = get(rstd + at, like)
        total, total_normalized = channel_sum(sums, c * n, n), channel_sum(sums + ROW, c * n, n) * inverse
        put(dweight + at, rounded(total_normalized, like))
        put(dbias + at, rounded(total, like))
        scale = float(inverse) * get(weight + at, like) if weight else float(inverse)
        fill(inverses, c * n, n, inverse, like)
        fill(scales, c * n, n, rounded(scale, like), like)
        fill(bends, c * n, n, rounded(scale * total_normalized / count, like), like)
        fill(shifts, c * n, n, rounded(scale * total / count, like), like)
    for i in range(images):
        line = i * step
        row_slope((g + line, x + line, centers, inverses, scales, bends, shifts, dx + line, wide), (), like)


@parallel_kernel
def normalize_columns(x, weight, bias, y, mean, rstd, variance, images, channels, n, eps, work, like, thread, threads):
    """x (images, channels, n), n small; weight and bias may be 0, no address; STRIP_WORK bytes a thread at ``work``."""
    width, step = WIDEST // n, channels * n * itemsize(like)
    strips = (channels + width - 1) // width
    for strip in range(thread * strips // threads, (thread + 1) * strips // threads):
        first, mine = strip * width, work + thread * STRIP_WORK
        last = min(channels, first + width)
        normalize_strip(x, weight, bias, y, mean, rstd, variance, images, step, first, last, n, eps, mine, like)


@parallel_kernel
def normalize_grad_columns(
    g, x, weight, mean, rstd, dx, dweight, dbias, images, channels, n, work, like, thread, threads
):
    """g, x (images, channels, n), n small; ``weight`` may be 0, no address. Each thread's scratch: STRIP_WORK."""
    width, step = WIDEST // n, channels * n * itemsize(like)
    strips = (channels + width - 1) // width
    for strip in range(thread * strips // threads, (thread + 1) * strips // threads):
        first, mine = strip * width, work + thread * STRIP_WORK
        last = min(channels, first + width)
        normalize_grad_strip(g, x, weight, mean, rstd, dx, dweight, dbias, images, step, first, last, n, mine, like)
