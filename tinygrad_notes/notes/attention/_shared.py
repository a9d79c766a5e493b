"""What the notes on attention share: random inputs in float64, and gradients by them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

import tinygrad_notes as tn


def normal(*shape: int, seed: int = 0) -> tn.Tensor:
    """Independent normal numbers in float64, the same ones for the same ``seed``."""
    return tn.asarray(np.random.default_rng(seed).standard_normal(shape))


def gradients(function: Callable[..., tn.Tensor], inputs: Iterable[tn.Tensor], seed: int = 1) -> list[tn.Tensor]:
    """The gradients of a random weighted sum of ``function``'s value, by each of ``inputs``."""
    leaves = [tn.tensor(x, requires_grad=True) for x in inputs]
    value = function(*leaves)
    weights = normal(*value.shape, seed=seed).astype(value.dtype)
    return list(tn.grad((value * weights).sum(), leaves))
