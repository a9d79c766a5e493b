"""What the engine's tests share: leaves, and derivatives by central differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import Tensor


def leaf(*values: float) -> Tensor:
    """A float64 leaf of one axis."""
    return tn.tensor(np.array(values, np.float64), requires_grad=True)


def counting(*shape: int) -> Tensor:
    """A float64 leaf with the elements 1, 2, 3, ..."""
    return tn.tensor(1.0 + np.arange(np.prod(shape, dtype=int), dtype=np.float64).reshape(shape), requires_grad=True)


def numerical(function: Callable[..., float], arrays: Sequence[np.ndarray], step: float = 1e-5) -> list[np.ndarray]:
    """The gradients of a function of float64 arrays that returns one number, element by element."""
    gradients = []
    for k, array in enumerate(arrays):
        gradient = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            values = []
            for sign in (step, -step):
                moved = [a.copy() for a in arrays]
                moved[k][index] += sign
                values.append(function(*moved))
            gradient[index] = (values[0] - values[1]) / (2 * step)
        gradients.append(gradient)
    return gradients
