"""Softmax and its logarithm in three passes over a row, which the first cache holds after the first of them.

Along the last axis a row lies in one piece. Along another axis the elements of a row are far apart and those of its
neighbours lie between them: there a strip of columns is taken at once, and the passes run from row to row of it.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu.buffers import LIKE, address, scratch
from tinygrad_notes.kernels.cpu.common_rows import row_exponential, row_maximum, row_product, row_scaled
from tinygrad_notes.kernels.cpu.compile import kernel, parallel_kernel
from tinygrad_notes.kernels.cpu.isa import functions
from tinygrad_notes.kernels.cpu.isa.memory import rounded
from tinygrad_notes.kernels.cpu.isa.rows import row
from tinygrad_notes.kernels.cpu.isa.vector import itemsize
from tinygrad_notes.kernels.cpu.moments import PIECE, total
from tinygrad_notes.kernels.cpu.softmax_columns import WORK_BYTES, softmax_columns, softmax_grad_columns
from tinygrad_notes.kernels.cpu.streaming import streams
from tinygrad_notes.kernels.cpu.threads import threads_for

Array = np.ndarray
PER_THREAD = 1 << 14  # elements that repay waking a thread
FEW_COLUMNS = 8  # fewer do not fill a vector: the axis is moved to the end instead


def exponential_only_summed(v, x, scalars):
    return [], [functions.exp(v, v.builder.fsub(x[0], scalars[0]))]


def below(v, x, scalars):
    """(x - m) - l."""
    return [v.builder.fsub(v.builder.fsub(x[0], scalars[0]), scalars[1])], []


def softmax_slope(v, x, scalars):
    """y (g - s)."""
    return [v.builder.fmul(x[1], v.builder.fsub(x[0], scalars[0]))], []


def log_softmax_slope(v, x, scalars):
    """g - exp(y) s."""
    return [v.builder.fsub(x[0], v.builder.fmul(functions.exp(v, x[1]), scalars[0]))], []


row_exponential_sum = row(1, 0, 1, exponential_only_summed, ("sum",))
row_below = row(1, 1, 2, below)
row_softmax_slope = row(2, 1, 1, softmax_slope)
row_log_softmax_slope = row(2, 1, 1, log_softmax_slope)
stream_below = row(1, 1, 2, below, streams=True)
stream_softmax_slope = row(2, 1, 1, softmax_slope, streams=True)
stream_log_softmax_slope = row(2, 1, 1, log_softmax_slope, streams=True)


# ---------------------------------------------------------------------- along the last axis


@kernel
def exponentials(x, y, n, largest, like):
    """y = exp(x - largest), and its sum."""
    size, value = itemsize(like), 0.0
    for start in range(0, n, PIECE):
        more = min(PIECE, n - start)
        value += row_exponential((x + start * size, y + start * size, more), (largest,), like)
    return value


@kernel
def exponentials_sum(x, n, largest, like):
    """Σ exp(x - largest)."""
    value = 0.0
    for start in range(0, n, PIECE):
        value += row_exponential_sum((x + start * itemsize(like), min(PIECE, n - start)), (largest,), like)
    return value


@parallel_kernel
def softmax_rows(x, y, rows, n, like, thread, threads):
    line = n * itemsize(like)
    for i in range(thread * rows // threads, (thread + 1) * rows // threads):
        largest = row_maximum((x + i * line, n), (), like)
        value = exponentials(x + i * line, y + i * line, n, largest, like)
        row_scaled((y + i * line, y + i * line, n), (rounded(1.0 / value, like),), like)


@parallel_kernel
def log_softmax_rows(x, y, rows, n, streams, like, thread, threads):
    line = n * itemsize(like)
    for i in range(thread * rows // threads, (thread + 1) * rows // threads):
        largest = row_maximum((x + i * line, n), (), like)
        value = exponentials_sum(x + i * line, n, largest, like)
        places, scalars = (x + i * line, y + i * line, n), (largest, rounded(math.log(value), like))
        if streams:
            stream_below(places, scalars, like)
        else:
            row_below(places, scalars, like)


@parallel_kernel
def softmax_grad_rows(g, y, dx, rows, n, streams, like, thread, threads):
    size = itemsize(like)
    for i in range(thread * rows // threads, (thread + 1) * rows // threads):
        value, line = 0.0, i * n * size
        for start in range(line, line + n * size, PIECE * size):
            value += row_product((g + start, y + start, min(PIECE, n - (start - line) // size)), (), like)
        places, scalars = (g + line, y + line, dx + line, n), (rounded(value, like),)
        if streams:
            stream_softmax_slope(places, scalars, like)
        else:
            row_softmax_slope(places, scalars, like)


@parallel_kernel
def log_softmax_grad_rows(g, y, dx, rows, n, streams, like, thread, threads):
    line = n * itemsize(like)
    for i in range(thread * rows // threads, (thread + 1) * rows // threads):
        scalars = (rounded(total(g + i * line, n, like), like),)
        places = g + i * line, y + i * line, dx + i * line, n
        if streams:
            stream_log_softmax_slope(places, scalars, like)
        else:
            row_log_softmax_slope(places, scalars, like)


# ---------------------------------------------------------------------- the functions of the contract


def softmax(x: Array, axis: int) -> Array:
    """exp(x) / Σ exp(x) along ``axis``."""
    if not _fits(x, x, axis):
        return reference.softmax(x, axis)
    return _forward(x, axis, False)


def log_softmax(x: Array, axis: int) -> Array:
    """x - log Σ exp(x) along ``axis``."""
    if not _fits(x, x, axis):
        return reference.log_softmax(x, axis)
    return _forward(x, axis, True)


def softmax_grad(g: Array, y: Array, axis: int) -> Array:
    """Gradient of softmax's x from its value y: y (g - Σ g y)."""
    if not _fits(g, y, axis):
        return reference.softmax_grad(g, y, axis)
    return _backward(g, y, axis, False)


def log_softmax_grad(g: Array, y: Array, axis: int) -> Array:
    """Gradient of log_softmax's x from its value y: g - exp(y) Σ g."""
    if not _fits(g, y, axis):
        return reference.log_softmax_grad(g, y, axis)
    return _backward(g, y, axis, True)


def _fits(g: Array, y: Array, axis: int) -> bool:
    dtype = y.dtype
    return dtype in LIKE and g.dtype == dtype and y.size > 0 and -y.ndim <= axis < y.ndim and g.shape == y.shape


def _forward(x: Array, axis: int, logarithm: bool) -> Array:
    n, outer, inner = _axes(x, axis)
    if 1 < inner < FEW_COLUMNS:
        return np.ascontiguousarray(np.moveaxis(_forward(np.moveaxis(x, axis, -1), -1, logarithm), -1, axis))
    x, like, threads = np.ascontiguousarray(x), x.dtype.type(0), threads_for(x.size, PER_THREAD)
    y = np.empty(x.shape, x.dtype)
    if inner > 1:
        work = scratch("softmax", threads * WORK_BYTES)
        softmax_columns(address(x), address(y), outer, n, inner, logarithm, work, like, threads)
    elif logarithm:
        log_softmax_rows(address(x), address(y), outer, n, streams(y, n), like, threads)
    else:  # y is written, and read again, in the first cache
        softmax_rows(address(x), address(y), outer, n, like, threads)
    return y


def _backward(g: Array, y: Array, axis: int, logarithm: bool) -> Array:
    n, outer, inner = _axes(y, axis)
    if 1 < inner < FEW_COLUMNS:
        dx = _backward(np.moveaxis(g, axis, -1), np.moveaxis(y, axis, -1), -1, logarithm)
        return np.ascontiguousarray(np.moveaxis(dx, -1, axis))
    g, y = np.ascontiguousarray(g), np.ascontiguousarray(y)
    like, threads = y.dtype.type(0), threads_for(y.size, PER_THREAD)
    dx = np.empty(y.shape, y.dtype)
    if inner > 1:
        work = scratch("softmax", threads * WORK_BYTES)
        softmax_grad_columns(address(g), address(y), address(dx), outer, n, inner, logarithm, work, like, threads)
    else:
        run = log_softmax_grad_rows if logarithm else softmax_grad_rows
        run(address(g), address(y), address(dx), outer, n, streams(dx, n), like, threads)
    return dx


def _axes(x: Array, axis: int) -> tuple[int, int, int]:
    """Elements along ``axis``, before it and after it."""
    n = x.shape[axis]
    if axis == -1 or axis == x.ndim - 1:
        return n, x.size // n, 1
    inner = math.prod(x.shape[axis % x.ndim + 1 :])
    return n, x.size // (n * inner), inner
