"""One line per use of an op: operands, the call, and what its value must be. All checks walk this table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_notes.ops.operators import FUNCTIONS
from tinygrad_notes.registry import REGISTRY


@dataclass(frozen=True)
class Sample:
    """One use of an op.

    ``name``: the op or public function; ``label``: what is special about this use. ``operands``: arrays; those of
    float64 are differentiated, all others (indices, masks) are passed as they are. ``call(*operands)`` takes Tensors.
    ``reference(*operands)`` is the expected value from NumPy or SciPy, sharing no code with the op; None where the
    value has no such formula and another check stands for it. ``order``: how often the op can be differentiated.
    """

    name: str
    label: str
    operands: tuple[np.ndarray, ...]
    call: Callable[..., Any]
    reference: Callable[..., Any] | None
    order: int = 2

    @property
    def title(self) -> str:
        return f"{self.name} {self.label}".strip()

    @property
    def differentiable(self) -> tuple[int, ...]:
        """Positions of the operands that get gradients."""
        return tuple(i for i, a in enumerate(self.operands) if a.dtype == np.float64)


def sample(
    name: str,
    *operands: Any,
    label: str = "",
    call: Callable[..., Any] | None = None,
    reference: Callable[..., Any] | None = None,
    order: int = 2,
    **static: Any,
) -> Sample:
    """A :class:`Sample`. Without ``call`` it is the op or public function ``name`` with the arguments ``static``."""
    function = FUNCTIONS.get(name) or REGISTRY[name].call
    used = call if call is not None else lambda *tensors: function(*tensors, **static)
    return Sample(name, label, tuple(np.asarray(a) for a in operands), used, reference, order)


def normal(seed: int, *shape: int) -> np.ndarray:
    """Standard normal float64 numbers of ``shape``, the same for the same seed."""
    return np.random.default_rng(seed).standard_normal(shape)


def positive(seed: int, *shape: int) -> np.ndarray:
    """Numbers between 0.5 and 2.5, away from the edges of log, sqrt and division."""
    return np.random.default_rng(seed).uniform(0.5, 2.5, shape)


def distinct(seed: int, *shape: int) -> np.ndarray:
    """Numbers at least 0.1 apart and never within 0.04 of 0, so that no kink or tie lies within a difference's step."""
    count = int(np.prod(shape))
    values = (np.arange(count) - count / 2 + 0.5) * 0.1 + 0.004
    return np.random.default_rng(seed).permutation(values).reshape(shape)
