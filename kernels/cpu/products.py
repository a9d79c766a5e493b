"""matmul and linear, by NumPy's rules for shapes, on the packed product."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu.buffers import address, scratch
from tinygrad_notes.kernels.cpu.gemm import SHARE_ROWS, WORK_BYTES, multiply_batch, parts_now
from tinygrad_notes.kernels.cpu.gemv import matrix_times_vector
from tinygrad_notes.kernels.cpu.threads import threads_for

Array = np.ndarray
SMALL = 64**3  # multiplications below which NumPy, which then stays in this thread, is as fast
SMALL_VECTOR = 9216  # the same, of a matrix and a vector
PER_THREAD = 96**3  # multiplications that repay waking a thread
COLUMNS = 32  # shares of columns are multiples of this
PACKING = 16  # the cost of copying an element into a panel, in multiplications
LIKE = {"f": np.float32(0), "d": np.float64(0)}  # of each dtype a number, for kernels


def matmul(a: Array, b: Array) -> Array:
    """a @ b."""
    if a.ndim == 2 == b.ndim:
        m, k = a.shape
        n = b.shape[1]
        work = m * n * k
        if (work <= SMALL and (work <= SMALL_VECTOR or (m > 1 < n))) or k != b.shape[0] or not _fits(a, b):
            return reference.matmul(a, b)
        if k and (m == 1 or n == 1):
            return (matrix_times_vector(a, b[:, 0]) if n == 1 else matrix_times_vector(b.T, a[0])).reshape(m, n)
        value = np.empty((m, n), a.dtype)
        a_row, a_column = a.strides
        b_row, b_column = b.strides
        _multiply(
            address(a), 0, 0, a_row, a_column, address(b), 0, 0, b_row, b_column, value, 0, 1, 1, m, n, k, work,
        )  # fmt: skip
        return value
    if not (a.ndim and b.ndim and a.size and b.size and _fits(a, b)):
        return reference.matmul(a, b)
    if a.ndim == 1 or b.ndim == 1:
        return _with_vector(a, b)
    if b.ndim == 2 and a.flags.c_contiguous:  # one product of many rows
        return matmul(a.reshape(-1, a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[1])
    m, k = a.shape[-2:]
    n = b.shape[-1]
    if b.shape[-2] != k:
        return reference.matmul(a, b)  # which raises
    try:
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        return reference.matmul(a, b)  # which says it better
    value = np.empty((*batch, m, n), a.dtype)
    if value.size * k <= SMALL:
        return reference.matmul(a, b)
    _batch(np.broadcast_to(a, (*batch, m, k)), np.broadcast_to(b, (*batch, k, n)), value)
    return value


def _with_vector(a: Array, b: Array) -> Array:
    """a @ b, of which one or both have one axis."""
    matrix, vector = (a, b) if b.ndim == 1 else (np.swapaxes(b, -1, -2), a)
    if matrix.ndim > 2 and matrix.flags.c_contiguous:
        lead, matrix = matrix.shape[:-1], matrix.reshape(-1, matrix.shape[-1])
    else:
        lead = matrix.shape[:-1]
    if matrix.ndim > 2 or matrix.shape[-1] != len(vector) or matrix.size <= SMALL_VECTOR:
        return reference.matmul(a, b)
    if matrix.ndim == 1:
        return matrix_times_vector(matrix[None], vector)[0]
    return matrix_times_vector(matrix, vector).reshape(lead)


def linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """x Wᵀ + b."""
    outputs, inputs = weight.shape
    work = x.size * outputs
    if not work or (work <= SMALL and (work <= SMALL_VECTOR or x.size > inputs)) or not _fits(x, weight):
        return reference.linear(x, weight, bias)
    # the reference raises, or knows what to do with a bias of another kind
    if x.shape[-1:] != (inputs,) or (bias is not None and (bias.shape != (outputs,) or not _fits(x, bias))):
        return reference.linear(x, weight, bias)
    lead = x.shape[:-1]
    if x.ndim != 2:
        x = x.reshape(-1, inputs)
    if len(x) == 1 or outputs == 1:
        value = matrix_times_vector(weight, x[0]) if len(x) == 1 else matrix_times_vector(x, weight[0])
        value = value.reshape(*lead, outputs)
        return value if bias is None else value + bias
    value = np.empty((*lead, outputs), x.dtype)
    if bias is not None and bias.strides[0] != bias.itemsize:
        bias = np.ascontiguousarray(bias)
    x_row, x_column = x.strides
    weight_row, weight_column = weight.strides
    _multiply(
        address(x), 0, 0, x_row, x_column, address(weight), 0, 0, weight_column, weight_row, value,
        0 if bias is None else address(bias), 1, 1, x.shape[0], outputs, inputs, work,
    )  # fmt: skip
    return value


def _fits(a: Array, b: Array) -> bool:
    """Whether the kernels take these operands. One number everywhere is a parameter without memory: tn.shape_only."""
    dtype = a.dtype
    return dtype.char in "fd" and b.dtype == dtype and dtype.isnative and b.strides != (0, 0)


def _batch(a: Array, b: Array, c: Array) -> None:
    """c = a b, with the same leading axes, of which the kernel takes two; others are a loop here."""
    if not c.size:
        return
    axes: list[tuple[int, int, int]] = []  # (length, step of a, step of b)
    for length, a_step, b_step in zip(c.shape[:-2], a.strides, b.strides):
        if axes and axes[-1][1:] == (a_step * length, b_step * length):
            axes[-1] = (axes[-1][0] * length, a_step, b_step)  # one walk over both axes
        elif length > 1:
            axes.append((length, a_step, b_step))
    if len(axes) > 2:
        for i in range(c.shape[0]):
            _batch(a[i], b[i], c[i])
        return
    (outer, a_outer, b_outer), (inner, a_inner, b_inner) = [(1, 0, 0)] * (2 - len(axes)) + axes
    (a_row, a_column), (b_row, b_column) = a.strides[-2:], b.strides[-2:]
    _multiply(
        address(a), a_outer, a_inner, a_row, a_column, address(b), b_outer, b_inner, b_row, b_column, c, 0, outer,
        inner, a.shape[-2], b.shape[-1], a.shape[-1], c.size * a.shape[-1],
    )  # fmt: skip


def _multiply(
    a: int, a_outer: int, a_inner: int, a_row: int, a_column: int, b: int, b_outer: int, b_inner: int, b_row: int,
    b_column: int, c: Array, bias: int, outer: int, inner: int, m: int, n: int, k: int, work: int,
) -> None:  # fmt: skip
    """Fill c, contiguous, by :func:`multiply_batch`. ``work``: multiplications."""
    if not c.size:
        return
    tall, wide, threads = m, n, 1
    if work >= 2 * PER_THREAD:
        threads = threads_for(work, PER_THREAD)
        if outer * inner % threads:
            tall, wide = _rectangle(m, n, threads)
    multiply_batch(
        a, a_outer, a_inner, a_row, a_column, b, b_outer, b_inner, b_row, b_column, address(c), bias, outer, inner, m,
        n, k, tall, wide, LIKE[c.dtype.char], parts_now(c.itemsize), scratch("gemm", threads * WORK_BYTES), threads,
    )  # fmt: skip


@lru_cache(1024)
def _rectangle(m: int, n: int, threads: int) -> tuple[int, int]:
    """Rows and columns of one thread's part of C: of all ways to cut it, the one that gives a thread least to do."""
    best, cost = (max(m, 1), max(n, 1)), float("inf")
    for rows in (rows for rows in range(1, threads + 1) if threads % rows == 0):
        columns = threads // rows
        tall = -(-m // (rows * SHARE_ROWS)) * SHARE_ROWS
        wide = -(-n // (columns * COLUMNS)) * COLUMNS
        if tall and wide and tall * wide + PACKING * (tall + wide) < cost:
            best, cost = (tall, wide), tall * wide + PACKING * (tall + wide)
    return best
