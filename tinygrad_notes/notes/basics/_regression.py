"""The linear regression that the notes on L1 and L2 penalties share: diabetes, scaled as scikit-learn ships it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinygrad_notes.data import diabetes


class Problem(NamedTuple):
    """Training features (n, d) and targets (n,), both centred, the test part moved by the same, and names."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    features: tuple[str, ...]


def diabetes_problem() -> Problem:
    """Diabetes in float64, the split of ``random_state=0``, centred by the training part."""
    table = diabetes(standardise=False, dtype="float64")
    (x, y), (x_test, y_test) = ([field.numpy() for field in part.tensors] for part in (table.train, table.test))
    return Problem(x - x.mean(axis=0), y - y.mean(), x_test - x.mean(axis=0), y_test - y.mean(), table.features)


def small_problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (3,), features (5, 3) and targets (5,), drawn at random, for checks of gradients."""
    rng = np.random.default_rng(0)
    return rng.standard_normal(3), rng.standard_normal((5, 3)), rng.standard_normal(5)


def determination(data: Problem, w: np.ndarray) -> float:
    """R² on the test part: 1 - Σ(y - x·w)² / Σ(y - ȳ)²."""
    left = ((data.y_test - data.x_test @ w) ** 2).sum()
    return float(1 - left / ((data.y_test - data.y_test.mean()) ** 2).sum())
