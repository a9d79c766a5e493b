"""Sums down the columns of a matrix, the gradient of whatever was added to every row."""

from __future__ import annotations

import numpy as np

from tinygrad_notes.kernels.cpu.buffers import address
from tinygrad_notes.kernels.cpu.common_rows import row_add
from tinygrad_notes.kernels.cpu.compile import parallel_kernel
from tinygrad_notes.kernels.cpu.isa.memory import clear_bytes
from tinygrad_notes.kernels.cpu.isa.vector import itemsize
from tinygrad_notes.kernels.cpu.threads import threads_for

PART = 128  # rows whose sum runs in the dtype of the matrix; the sums of the parts are added in float64
PER_THREAD = 1 << 15  # elements that repay waking a thread


@parallel_kernel
def sum_parts(x, stride, rows, columns, parts, like, thread, threads):
    """The sums (⌈rows / PART⌉, columns) of PART rows each, which are ``stride`` bytes apart."""
    line = columns * itemsize(like)
    count = (rows + PART - 1) // PART
    for part in range(thread * count // threads, (thread + 1) * count // threads):
        total = parts + part * line
        clear_bytes(total, line)
        for i in range(part * PART, min(rows, part * PART + PART)):
            row_add((total, x + i * stride, total, columns), (), like)


def column_sums(x: np.ndarray) -> np.ndarray:
    """Σ over the rows of x (rows, columns), whose rows are contiguous."""
    rows, columns = x.shape
    parts = np.empty((-(-rows // PART), columns), x.dtype)
    threads = threads_for(x.size, PER_THREAD)
    sum_parts(address(x), x.strides[0], rows, columns, address(parts), x.dtype.type(0), threads)
    return parts.sum(axis=0, dtype=np.float64).astype(x.dtype)
