"""Softmax and its logarithm, with the largest element of each row subtracted first so that exp never overflows."""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def softmax(x: Array, axis: int) -> Array:
    """exp(x) / Σ exp(x) along ``axis``. A row whose elements are all -∞ becomes NaN."""
    e = np.exp(_below_largest(x, axis))
    return e / e.sum(axis=axis, keepdims=True)


def softmax_grad(g: Array, y: Array, axis: int) -> Array:
    """Gradient of softmax's x from its value y: y (g - Σ g y)."""
    weighted = g * y
    return weighted - y * weighted.sum(axis=axis, keepdims=True)


def log_softmax(x: Array, axis: int) -> Array:
    """x - log Σ exp(x) along ``axis``. A row whose elements are all -∞ becomes NaN."""
    if x.size == 0:
        return x.copy()
    shifted = _below_largest(x, axis)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def log_softmax_grad(g: Array, y: Array, axis: int) -> Array:
    """Gradient of log_softmax's x from its value y: g - exp(y) Σ g."""
    return g - np.exp(y) * g.sum(axis=axis, keepdims=True)


def _below_largest(x: Array, axis: int) -> Array:
    if x.size == 0:  # the largest of nothing does not exist
        return x
    with np.errstate(invalid="ignore"):  # ∞ - ∞ is NaN, as it should be
        return x - x.max(axis=axis, keepdims=True)
