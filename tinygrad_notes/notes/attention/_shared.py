"""What the notes on attention share: real and random inputs in float64, and how far apart two results are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import tinygrad_notes as tn


def normal(*shape: int, seed: int = 0) -> tn.Tensor:
    """Independent normal numbers in float64, the same ones for the same ``seed``."""
    return tn.asarray(np.random.default_rng(seed).standard_normal(shape))


def apart(first: Any, second: Any) -> float:
    """The largest absolute difference of two results of one shape, or of two lists of results."""
    if isinstance(first, list | tuple):
        return max(apart(a, b) for a, b in zip(first, second, strict=True))
    a, b = (np.asarray(getattr(value, "data", value)) for value in (first, second))
    return float(np.abs(a - b).max()) if a.shape == b.shape else float("inf")


def gradients(function: Callable[..., tn.Tensor], inputs: Iterable[tn.Tensor], seed: int = 1) -> list[tn.Tensor]:
    """The gradients of a random weighted sum of ``function``'s value, by each of ``inputs``."""
    leaves = [tn.tensor(x, requires_grad=True) for x in inputs]
    value = function(*leaves)
    weights = normal(*value.shape, seed=seed).astype(value.dtype)
    return list(tn.grad((value * weights).sum(), leaves))
