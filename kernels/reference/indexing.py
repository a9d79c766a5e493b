"""Rows picked by indices, and the sums that go back to them."""

from __future__ import annotations

import math
from types import EllipsisType
from typing import Any

import numpy as np

Array = np.ndarray


def embedding(weight: Array, indices: Array) -> Array:
    """The rows of weight (V, D) at ``indices``, any integers of any shape: (*indices.shape, D)."""
    if 0 in weight.strides:  # a table that repeats its memory, which take would write out first
        return weight[indices]
    return np.take(weight, indices, axis=0)


def embedding_grad(g: Array, indices: Array, num_embeddings: int) -> Array:
    """Gradient of embedding's weight (num_embeddings, D) from g (*indices.shape, D): each row of g added at its index.

    Linear; its derivative is ``embedding``.
    """
    size = g.shape[-1]
    rows = indices.astype(np.int64)
    rows = np.where(rows < 0, rows + num_embeddings, rows)
    flat = rows.reshape(math.prod(rows.shape), 1) * size + np.arange(size, like=rows)
    gradient = np.zeros_like(g, shape=(num_embeddings * size,), dtype=_summing(g))
    # one flat index per element is what add.at does fastest
    np.add.at(gradient, flat.reshape(-1), g.reshape(-1).astype(gradient.dtype, copy=False))
    return gradient.reshape(num_embeddings, size).astype(g.dtype, copy=False)


def _summing(values: Array) -> Any:
    """The dtype to add up in: one number after the other, float32 would lose digits where many meet."""
    return np.float64 if values.dtype.kind == "f" and values.size >= 1024 else values.dtype


def scatter_add(values: Array, index: Any, shape: tuple[int, ...]) -> Array:
    """Zeros of ``shape`` with ``values`` added at ``index``, which is what stands between the brackets in ``x[index]``.

    Elements that ``index`` names more than once get the sum. It is the gradient of indexing, whose derivative is
    ``x[index]``.
    """
    parts = index if isinstance(index, tuple) else (index,)
    if all(part is None or type(part) in (int, slice, EllipsisType) for part in parts):
        total = np.zeros_like(values, shape=shape)
        total[index] = values  # slices name no element twice
        return total
    # The index applied to the numbers of all elements: CuPy's add.at takes one array of integers, no tuple and no mask.
    places = np.arange(math.prod(shape), like=values).reshape(shape)[index]
    # CuPy adds up int32 and numbers without sign, not int64; modulo 2^64 they are the same.
    summing = np.uint64 if values.dtype.kind in "iu" else np.int32 if values.dtype.kind == "b" else _summing(values)
    total = np.zeros_like(values, shape=(math.prod(shape),), dtype=summing)
    added = np.broadcast_to(values, places.shape).reshape(-1)
    np.add.at(total, places.reshape(-1), added.astype(summing, copy=False))
    return total.reshape(shape).astype(values.dtype, copy=False)
