"""Central differences in float64, the judge of every gradient that the kernel tests compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def central_differences(f: Callable[[], float], x: Any, step: float = 1e-5) -> Any:
    """Gradient of f() with respect to every element of ``x``, which f reads and this function changes and restores."""
    gradient = np.zeros(x.shape)
    for index in np.ndindex(*x.shape):
        value = x[index]
        x[index] = value + step
        above = f()
        x[index] = value - step
        gradient[index] = (above - f()) / (2 * step)
        x[index] = value
    return gradient


def assert_gradients(f: Callable[[], float], operands: Sequence[Any], gradients: Sequence[Any]) -> None:
    """Each of ``gradients`` is the gradient of f() with respect to the operand (float64) at its place."""
    for place, (operand, gradient) in enumerate(zip(operands, gradients, strict=True)):
        assert gradient.shape == operand.shape, f"operand {place}"
        numeric = central_differences(f, operand)
        scale = np.maximum(np.abs(gradient), np.abs(numeric))
        error = np.abs(gradient - numeric) / np.maximum(scale, 1e-3 * np.linalg.norm(numeric.ravel()) + 1e-12)
        assert error.size == 0 or error.max() < 2e-6, f"operand {place}: {error.max():.1e}"
