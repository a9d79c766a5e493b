"""Large results, written past the caches.

A store to memory that is not in a cache first reads its line. For a result that is too large to be in the cache when
it is next read, that traffic is for nothing. Stores past the caches take whole aligned registers, so the result, and
each row of it, must begin at a multiple of a register.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes.kernels.cpu.buffers import aligned
from tinygrad_notes.kernels.cpu.isa.machine import MACHINE

LARGE = 1 << 23  # bytes of a result


def empty(shape: tuple[int, ...], dtype: np.dtype, row: int) -> tuple[np.ndarray, bool]:
    """A new array, and whether its rows of ``row`` elements are to be written past the caches."""
    size = math.prod(shape) * dtype.itemsize
    if size < LARGE or row * dtype.itemsize % MACHINE.vector_bytes:
        return np.empty(shape, dtype), False
    return aligned(size).view(dtype).reshape(shape), True
