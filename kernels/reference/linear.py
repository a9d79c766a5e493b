"""Matrix products."""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray


def matmul(a: Array, b: Array) -> Array:
    """Matrix product (..., n, k) @ (..., k, m) -> (..., n, m), as NumPy's: 1-D operands and broadcasting included."""
    if a.ndim == 2 and b.ndim == 2:
        return _product(a, b)
    return np.matmul(a, b)


def linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """x Wᵀ + b: (..., in), (out, in), (out,) or None -> (..., out)."""
    if x.ndim == 2:
        y = _product(x, weight.T)
    else:  # one matrix product over all leading axes, not one for each
        leading = x.shape[:-1]
        y = _product(x.reshape(math.prod(leading), x.shape[-1]), weight.T).reshape(*leading, weight.shape[0])
    return y if bias is None else y + bias


def _product(a: Array, b: Array) -> Array:
    """Of two matrices. dot is half the cost of a call of matmul, but copies an operand that repeats its memory."""
    if 0 not in b.strides:
        return a.dot(b)
    if b.strides != (0, 0) or not b.size:
        return np.matmul(a, b)
    y = np.empty_like(a, shape=(a.shape[0], b.shape[1]), dtype=np.result_type(a, b))  # b is one number everywhere
    y[...] = np.sum(a * b[:1, :1], -1, keepdims=True, dtype=y.dtype)
    return y
