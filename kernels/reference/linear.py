"""Matrix products."""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray


def matmul(a: Array, b: Array) -> Array:
    """Matrix product (..., n, k) @ (..., k, m) -> (..., n, m), as NumPy's: 1-D operands and broadcasting included."""
    if a.ndim == 2 and b.ndim == 2:
        return a.dot(b)  # half the cost of a call of matmul, which counts for small matrices
    return np.matmul(a, b)


def linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """x Wᵀ + b: (..., in), (out, in), (out,) or None -> (..., out)."""
    if x.ndim == 2:
        y = x.dot(weight.T)
    else:  # one matrix product over all leading axes, not one for each
        leading = x.shape[:-1]
        y = x.reshape(math.prod(leading), x.shape[-1]).dot(weight.T).reshape(*leading, weight.shape[0])
    return y if bias is None else y + bias
