"""Elementwise expressions of NumPy's functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray


def fused(x: Array, function: Callable[..., Any], others: tuple[Any, ...]) -> Array:
    """function(x, *others), an elementwise expression: arrays of one shape, or numbers, in; the shape of x out."""
    return function(x, *others)
