"""Dropout with the contract's generator: a thread for each 16 bytes, which draws the numbers of its elements."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cuda.launch import TYPES, Kernels, blocks, contiguous

Array = np.ndarray
KINDS = dict.fromkeys(("dropout", "dropout_mask"), "kernel")

THREADS, BYTES = 256, 16  # of a block; that a thread reads at once
OF_MASK = 4  # elements of a mask that a thread writes

KERNELS = Kernels(
    "dropout.cu", [*(f"dropout<{type_name}>" for type_name in TYPES.values()), f"dropout_mask<{OF_MASK}>"]
)


def dropout_mask(x: Array, p: float, seed: int) -> Array:
    """Which elements of x are kept, a bool array of its shape: each with probability 1 - p."""
    mask = np.empty(x.shape, np.bool_, like=x)
    if mask.size:
        grid = blocks(mask.size, THREADS * OF_MASK)
        KERNELS.launch(f"dropout_mask<{OF_MASK}>", grid, (THREADS,), (mask, np.int64(mask.size), *_drawn(p, seed)))
    return mask


def dropout(x: Array, p: float, seed: int) -> Array:
    """x / (1 - p) where ``dropout_mask`` keeps it and 0 elsewhere, whatever x is there."""
    if x.dtype not in TYPES:
        return reference.dropout(x, p, seed)
    if p == 1:
        return np.zeros(x.shape, x.dtype, like=x)
    y = np.empty(x.shape, x.dtype, like=x)
    if y.size:
        arguments = (contiguous(x), y, np.int64(y.size), *_drawn(p, seed), x.dtype.type(1 - p))
        grid = blocks(y.size, THREADS * BYTES // y.itemsize)
        KERNELS.launch(f"dropout<{TYPES[x.dtype]}>", grid, (THREADS,), arguments)
    return y


def _drawn(p: float, seed: int) -> tuple[np.uint64, np.uint32]:
    """The seed as the kernel takes it, and the least number of 24 bits that keeps an element."""
    return np.uint64(seed % 2**64), np.uint32(math.ceil(p * 2**24))
