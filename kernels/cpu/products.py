"""matmul and linear, by NumPy's rules for shapes, on the packed product."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu.buffers import scratch
from tinygrad_notes.kernels.cpu.gemm import BLOCK_ROWS, ROWS, WORK_BYTES, multiply_all
from tinygrad_notes.kernels.cpu.threads import threads_for

Array = np.ndarray
SMALL = 64**3  # multiplications below which NumPy, which then stays in this thread, is as fast
PER_THREAD = 48**3  # that repay waking a thread


def matmul(a: Array, b: Array) -> Array:
    """a @ b."""
    if a.ndim < 2 or b.ndim < 2 or not _fits(a, b):
        return reference.matmul(a, b)
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    m, k = a.shape[-2:]
    n = b.shape[-1]
    if b.shape[-2] != k or math.prod(batch) * m * n * k <= SMALL:
        return reference.matmul(a, b)
    value = np.empty((*batch, m, n), a.dtype)
    _product(a, b, value, 0.0)
    return value


def linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """x Wᵀ + b."""
    outputs, inputs = weight.shape
    if not _fits(x, weight) or x.size * outputs <= SMALL:
        return reference.linear(x, weight, bias)
    value = np.empty((*x.shape[:-1], outputs), x.dtype)
    if bias is not None:
        value[...] = bias
    _product(x.reshape(-1, inputs), weight.T, value.reshape(-1, outputs), 0.0 if bias is None else 1.0)
    return value


def _fits(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.dtype.char in "fd"


def _product(a: Array, b: Array, c: Array, beta: float) -> None:
    """c = a b + beta c, where c (..., m, n) is contiguous and the leading axes of a and b broadcast to its own."""
    if b.ndim == 2 and a.ndim > 2 and a.flags.c_contiguous:  # one product of many rows
        a, c = a.reshape(-1, a.shape[-1]), c.reshape(-1, c.shape[-1])
    if not c.size:
        return
    m, n, k = *c.shape[-2:], a.shape[-1]
    batch = c.shape[:-2]
    items = math.prod(batch)
    threads = threads_for(items * m * n * k, PER_THREAD)
    jobs = _cut(m, n, items, threads)
    offsets = [_offsets(operand, batch) for operand in (a, b, c)]
    item, i, j = jobs[:, 0], jobs[:, 1], jobs[:, 2]
    table = np.empty((len(jobs), 5), np.int64)
    table[:, 0] = offsets[0][item] + i * a.strides[-2]
    table[:, 1] = offsets[1][item] + j * b.strides[-1]
    table[:, 2] = offsets[2][item] + i * c.strides[-2] + j * c.itemsize
    table[:, 3:] = jobs[:, 3:]
    one = c.dtype.type
    multiply_all(
        table, a.strides[-2], a.strides[-1], b.strides[-2], b.strides[-1], c.strides[-2], k, one(1), one(beta),
        scratch("gemm", threads * WORK_BYTES), threads,
    )  # fmt: skip


def _offsets(x: Array, batch: tuple[int, ...]) -> Any:
    """The address of each matrix of ``x``, whose leading axes broadcast to ``batch``."""
    addresses = np.full(batch, x.ctypes.data, np.int64)
    lead = x.ndim - 2
    for axis in range(lead):
        if x.shape[axis] > 1:
            steps = np.arange(x.shape[axis], dtype=np.int64) * x.strides[axis]
            addresses += steps.reshape(-1, *(1,) * (lead - axis - 1))
    return addresses.reshape(-1)


def _cut(m: int, n: int, items: int, threads: int) -> Any:
    """Rectangles (item, row, column, rows, columns): whole products, or shares of them where there are few."""
    rows = columns = 1
    if items < threads or items % threads:
        rows, columns = (threads, 1) if m >= n or m >= threads * BLOCK_ROWS else (1, threads)
    row, column = _shares(m, rows, ROWS), _shares(n, columns, 64)
    return np.array(
        [(item, i, j, tall, wide) for item in range(items) for i, tall in row for j, wide in column], np.int64
    ).reshape(-1, 5)


def _shares(length: int, parts: int, multiple: int) -> list[tuple[int, int]]:
    """``length`` cut into at most ``parts`` shares, each but the last a multiple of ``multiple``: (start, length)."""
    share = -(-length // (parts * multiple)) * multiple
    return [(start, min(share, length - start)) for start in range(0, length, share)]
