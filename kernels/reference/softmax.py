"""Softmax and its logarithm, with the largest element of each row subtracted first so that exp never overflows."""

from __future__ import annotations

import numpy as np

Array = np.ndarray
LONG = 1024  # elements of a row from which its sum runs in float64, so that it loses nothing


def softmax(x: Array, axis: int) -> Array:
    """exp(x) / Σ exp(x) along ``axis``. A row whose elements are all -∞ becomes NaN."""
    e = np.exp(_below_largest(x, axis))
    return e / _row_sum(e, axis)


def softmax_grad(g: Array, y: Array, axis: int) -> Array:
    """Gradient of softmax's x from its value y: y (g - Σ g y)."""
    weighted = g * y
    return weighted - y * _row_sum(weighted, axis)


def log_softmax(x: Array, axis: int) -> Array:
    """x - log Σ exp(x) along ``axis``. A row whose elements are all -∞ becomes NaN."""
    if x.size == 0:
        return x.copy()
    shifted = _below_largest(x, axis)
    return shifted - np.log(_row_sum(np.exp(shifted), axis))


def log_softmax_grad(g: Array, y: Array, axis: int) -> Array:
    """Gradient of log_softmax's x from its value y: g - exp(y) Σ g."""
    return g - np.exp(y) * _row_sum(g, axis)


def _row_sum(x: Array, axis: int) -> Array:
    if x.shape[axis] < LONG:
        return x.sum(axis=axis, keepdims=True)
    return x.sum(axis=axis, keepdims=True, dtype=np.float64).astype(x.dtype)


def _below_largest(x: Array, axis: int) -> Array:
    if x.size == 0:  # the largest of nothing does not exist
        return x
    with np.errstate(invalid="ignore"):  # ∞ - ∞ is NaN, as it should be
        return x - x.max(axis=axis, keepdims=True)
