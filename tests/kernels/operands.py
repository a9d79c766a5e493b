"""Operands for tests of kernels: random numbers in any memory layout, and the comparison with float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

RNG = np.random.default_rng(0)
BOUND = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 2e-14}
LAYOUTS = st.sampled_from(["packed", "reversed", "every other", "first axis last", "repeated"])


def normal(*shape: int, dtype: Any = np.float32) -> Any:
    return RNG.standard_normal(shape).astype(dtype)


def layout(x: Any, draw: Callable[[Any], Any]) -> Any:
    """``x``, or numbers of its shape, with strides that are drawn."""
    chosen = draw(LAYOUTS)
    if chosen == "reversed":
        return x[..., ::-1]
    if chosen == "every other":
        return np.repeat(x, 2, axis=-1)[..., ::2]
    if chosen == "first axis last":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -1)), -1, 0)
    if chosen == "repeated" and x.shape[0] > 1:
        return np.broadcast_to(x[:1], x.shape)
    return x


def assert_close(got: Any, wanted: Any, like: Any, scale: float = 0.0) -> None:
    """Shape of ``wanted``, dtype of ``like``, and no further off than the dtype allows, of the largest number."""
    assert got.shape == wanted.shape
    assert got.dtype == like.dtype
    assert not np.shares_memory(got, like)
    scale = max(scale, np.max(np.abs(wanted), initial=1e-30))
    assert np.max(np.abs(got - wanted), initial=0.0) <= BOUND[like.dtype] * scale
