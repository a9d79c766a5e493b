"""Sums, means and variances of rows of any length: pieces in vectors of lanes, the sums of the pieces in float64.

Within a piece each lane adds up a few dozen elements, so that little is lost; and what is added to a large total is
added in float64. A value that is not finite may be true, or the lanes overflowed where float64 does not: then the row
is summed again, element by element.
"""

from __future__ import annotations

import math

from tinygrad_notes.kernels.cpu.compile import kernel
from tinygrad_notes.kernels.cpu.isa.memory import clear_bytes, rounded
from tinygrad_notes.kernels.cpu.isa.rows import row
from tinygrad_notes.kernels.cpu.isa.vector import get, itemsize, put

PIECE = 512  # elements of a row that are summed in its dtype: 16 in each of 4 vectors of 8 lanes
PIECE_ROWS = 64  # rows of a matrix that are, where sums run down its columns


def _value(v, x, scalars):
    return [], [x[0]]


def _square(v, x, scalars):
    return [], [v.builder.fmul(x[0], x[0])]


def _centered(v, x, scalars):
    """x - c and its square."""
    centered = v.builder.fsub(x[0], scalars[0])
    return [], [centered, v.builder.fmul(centered, centered)]


row_sum = row(1, 0, 0, _value, ("sum",))
row_squares = row(1, 0, 0, _square, ("sum",))
row_centered = row(1, 0, 1, _centered, ("sum", "sum"))


@kernel
def total(x, n, like):
    """Σ x."""
    value = 0.0
    for start in range(0, n, PIECE):
        value += row_sum((x + start * itemsize(like), min(PIECE, n - start)), (), like)
    return value


@kernel
def mean_of_squares(x, n, like):
    """Σ x² / n."""
    size, value = itemsize(like), 0.0
    for start in range(0, n, PIECE):
        value += row_squares((x + start * size, min(PIECE, n - start)), (), like)
    if not math.isfinite(value):
        value = 0.0
        for i in range(n):
            value += float(get(x + i * size, like)) ** 2
    return value / n


@kernel
def join(x, n, count, mean, squares, like):
    """Mean and Σ (x - mean)² of ``count`` elements with those, if any, and of ``n`` more, read once.

    A piece is summed about c, the mean of all before it: d = Σ (x - c) and q = Σ (x - c)². About its own mean its
    squares are q - d² / n, and joined to those before they grow by the squares between the two means. That is as
    accurate as a second pass: q cannot be larger than what is found, whatever the mean. The first piece is read twice.
    """
    for start in range(0, n, PIECE):
        place, more = x + start * itemsize(like), min(PIECE, n - start)
        if count == 0:
            mean = float(row_sum((place, more), (), like)) / more
        center = rounded(mean, like)
        d, q = row_centered((place, more), (center,), like)
        ahead = float(d) / more  # of the piece's mean to c
        apart = float(center) - mean + ahead
        share = more / (count + more)
        squares += float(q) - float(d) * ahead + apart * apart * (count * share)
        mean += apart * share
        count += more
    return mean, squares


@kernel
def one_by_one(x, runs, stride, n, like):
    """Mean and Σ (x - mean)² of ``runs`` runs of ``n`` elements, ``stride`` bytes apart, in float64."""
    size, mean, squares = itemsize(like), 0.0, 0.0
    for run in range(runs):
        for i in range(n):
            mean += get(x + run * stride + i * size, like)
    mean /= runs * n
    for run in range(runs):
        for i in range(n):
            squares += (get(x + run * stride + i * size, like) - mean) ** 2
    return mean, squares


@kernel
def moments(x, n, like):
    """Mean and variance of a row."""
    mean, squares = join(x, n, 0, 0.0, 0.0, like)
    if not math.isfinite(squares):
        mean, squares = one_by_one(x, 1, 0, n, like)
    return mean, 0.0 if squares < 0 else squares / n


@kernel
def add_piece(part, sums, n, like):
    """Add a row of ``n`` sums of a piece to a row of float64, and clear it for the next piece."""
    size = itemsize(like)
    for i in range(n):
        put(sums + 8 * i, get(sums + 8 * i, 0.0) + float(get(part + size * i, like)))
    clear_bytes(part, size * n)
