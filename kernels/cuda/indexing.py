"""Rows picked by their numbers, and the sums that go back to them: sorted first, so that their order is fixed."""

from __future__ import annotations

import math
from types import EllipsisType
from typing import Any

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cuda.launch import TYPES, Kernels, aligned, blocks, contiguous

Array = np.ndarray
KINDS = dict.fromkeys(("embedding", "embedding_grad", "scatter_add"), "kernel")

THREADS, FEW = 256, 64  # of a block; readers of a row that one thread adds up
PACKS = {"float": 4, "double": 2}  # elements in 16 bytes
INTEGERS = {np.dtype(np.int32): "int", np.dtype(np.int64): "long long"}

KERNELS = Kernels(
    "indexing.cu",
    [
        f"{kernel}>"
        for name, pack in PACKS.items()
        for kernel in (
            *(f"take_rows<{name}, {integer}, {size}" for integer in INTEGERS.values() for size in (1, pack)),
            f"add_rows<{name}",
            f"add_long_rows<{name}",
        )
    ],
)


def embedding(weight: Array, indices: Array) -> Array:
    """The rows of weight (V, D) at ``indices``, any integers of any shape: (*indices.shape, D).

    An index out of range gives a row of NaN: to raise an error, the GPU would have to be waited for.
    """
    if weight.dtype not in TYPES or indices.dtype.kind not in "iu" or weight.shape[1] >= 2**31:
        return reference.embedding(weight, indices)
    height, width = weight.shape
    value = np.empty((*indices.shape, width), weight.dtype, like=weight)
    if value.size:
        rows = indices if indices.dtype in INTEGERS else indices.astype(np.int64)
        table, rows = contiguous(weight), contiguous(rows)
        name = TYPES[weight.dtype]
        pack = PACKS[name] if width % PACKS[name] == 0 and aligned(16, table, value) else 1
        block = _block(width // pack, THREADS)
        arguments = table, rows, value, np.int64(rows.size), np.int64(height), np.int32(width)
        kernel = f"take_rows<{name}, {INTEGERS[rows.dtype]}, {pack}>"
        KERNELS.launch(kernel, blocks(rows.size, block[1]), block, arguments)
    return value


def embedding_grad(g: Array, indices: Array, num_embeddings: int) -> Array:
    """Gradient of embedding's weight (num_embeddings, D): each row of g (*indices.shape, D) added at its index."""
    if g.dtype not in TYPES or indices.dtype.kind not in "iu" or g.shape[-1] >= 2**31:
        return reference.embedding_grad(g, indices, num_embeddings)
    return _add_rows(g, indices, num_embeddings, g.shape[-1])


def scatter_add(values: Array, index: Any, shape: tuple[int, ...]) -> Array:
    """Zeros of ``shape`` with ``values`` added at ``index``, what stands between the brackets in ``x[index]``."""
    parts = index if isinstance(index, tuple) else (index,)
    if values.dtype not in TYPES or all(part is None or type(part) in (int, slice, EllipsisType) for part in parts):
        return reference.scatter_add(values, index, shape)
    kinds = [part.dtype.kind if hasattr(part, "dtype") else "" for part in parts]
    if kinds == ["b"]:  # names no element twice
        total = np.zeros(shape, values.dtype, like=values)
        total[index] = values
        return total
    lead = len(parts)
    if lead > len(shape) or any(kind not in ("i", "u") for kind in kinds):
        lead = len(shape)  # any other index: element by element
    rows, width = math.prod(shape[:lead]), math.prod(shape[lead:])
    # The index applied to the numbers of all elements: which row each of the values belongs to.
    places = np.arange(rows, like=values, dtype=np.int64).reshape(shape[:lead])[index]
    values = np.broadcast_to(values, (*places.shape, *shape[lead:]))
    return _add_rows(values, places, rows, width).reshape(shape)


def _add_rows(g: Array, places: Array, height: int, width: int) -> Array:
    """(height, width): each row of g, ``width`` elements, added at its place, in the order of g."""
    count = math.prod(places.shape)
    if not count or not height or not width:
        return np.zeros((height, width), g.dtype, like=g)
    total = np.empty((height, width), g.dtype, like=g)
    rows = places.reshape(-1).astype(np.int64)
    rows = np.where(rows < 0, rows + height, rows)
    keys = rows.astype(np.int32) if height < 2**31 else rows  # which are sorted in half the time
    readers = np.argsort(keys, kind="stable").astype(np.int64, copy=False)
    ordered = rows[readers]
    starts = np.searchsorted(ordered, np.arange(height + 1, like=rows, dtype=np.int64)).astype(np.int64, copy=False)
    g, name, sizes = contiguous(g), TYPES[g.dtype], (np.int64(height), np.int32(width))
    block = _block(width, THREADS)
    KERNELS.launch(f"add_rows<{name}>", blocks(height, block[1]), block, (g, readers, starts, total, *sizes))
    if count > FEW:
        block = _block(width, 32)
        block = block[0], THREADS // block[0]
        grid = (-(-count // FEW), -(-width // block[0]))
        KERNELS.launch(f"add_long_rows<{name}>", grid, block, (g, ordered, readers, starts, total, *sizes))
    return total


def _block(width: int, most: int) -> tuple[int, int]:
    """Threads of a block along the columns, a power of two that covers them up to ``most``, and along the rows."""
    columns = min(1 << (width - 1).bit_length(), most)
    return columns, THREADS // columns
