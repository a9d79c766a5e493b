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
    kinds = ["i" if type(part) is int else part.dtype.kind if hasattr(part, "dtype") else "" for part in parts]
    if kinds == ["b"]:  # names no element twice
        total = np.zeros(shape, values.dtype, like=values)
        total[index] = values
        return total
    if len(parts) <= len(shape) and all(kind in ("i", "u") for kind in kinds):
        lead = len(parts)
        places = _row_numbers(parts, shape[:lead])
    else:  # any other index: element by element, by the index applied to the numbers of all elements
        lead = len(shape)
        places = np.arange(math.prod(shape), like=values, dtype=np.int64).reshape(shape)[index]
    values = np.broadcast_to(values, (*places.shape, *shape[lead:]))
    return _add_rows(values, places, math.prod(shape[:lead]), math.prod(shape[lead:])).reshape(shape)


def _row_numbers(parts: tuple[Any, ...], sizes: tuple[int, ...]) -> Array:
    """The numbers, in C order, of the places at ``parts`` of an array of ``sizes``.

    Numbers out of range wrap around, as they do where CuPy reads by an index.
    """
    total: Any = 0
    for part, size in zip(parts, sizes):
        total = total * size + (part if type(part) is int else part.astype(np.int64)) % size
    return total


def _add_rows(g: Array, places: Array, height: int, width: int) -> Array:
    """(height, width): each row of g, ``width`` elements, added at its place, in the order of g."""
    count = math.prod(places.shape)
    total = np.zeros((height, width), g.dtype, like=g)
    if not count or not total.size:
        return total
    rows = places.reshape(-1).astype(np.int64, copy=False)
    rows = np.where(rows < 0, rows + height, rows)
    keys = rows.astype(np.int32) if height < 2**31 else rows  # which are sorted in half the time
    readers = np.argsort(keys, kind="stable").astype(np.int64, copy=False)
    arguments = contiguous(g), rows[readers], readers, total, np.int64(count), np.int64(height), np.int32(width)
    name, block = TYPES[g.dtype], _block(width, THREADS)
    KERNELS.launch(f"add_rows<{name}>", blocks(count, block[1]), block, arguments)
    if count > FEW:
        block = _block(width, 32)
        block = block[0], THREADS // block[0]
        KERNELS.launch(f"add_long_rows<{name}>", (-(-count // FEW), -(-width // block[0])), block, arguments)
    return total


def _block(width: int, most: int) -> tuple[int, int]:
    """Threads of a block along the columns, a power of two that covers them up to ``most``, and along the rows."""
    columns = min(1 << (width - 1).bit_length(), most)
    return columns, THREADS // columns
