"""What a case of ``bench ops`` is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

NORMAL, CHANNELS_LAST = "N", "C"  # the layouts of PyTorch that ours is compared with


@dataclass(frozen=True)
class Operand:
    """An array of normal numbers times ``scale`` plus ``mean``, or of integers below ``below``.

    ``changes``: two of them are made, and calls take them in turns, so that nothing that was kept of one counts.
    """

    shape: tuple[int, ...]
    changes: bool = False
    scale: float = 1.0
    mean: float = 0.0
    below: int | None = None

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        if self.below is not None:
            return rng.integers(0, self.below, self.shape)
        x = rng.standard_normal(self.shape, np.float32)
        x *= np.float32(self.scale)
        x += np.float32(self.mean)
        return x


@dataclass(frozen=True)
class Pass:
    """What is measured of a case: the value, or the gradients of the operands in ``gradients``.

    ``flops`` and ``bytes``: what every program has to do, each operand read once and each result written once.
    ``targets``: ours / theirs at most, by layout.
    """

    name: str
    gradients: tuple[str, ...] = ()
    flops: float = 0.0
    bytes: float = 0.0
    targets: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class OpCase:
    """The public op of both libraries on the same operands. ``theirs`` gets the module torch first.

    ``recorded``: the forward pass is on the tape (recurrent networks in training mode). ``channels_last``: also
    compare with PyTorch on that layout. ``beside``: other ways of ours to the same value, by name. ``check``: for
    values that differ by design (dropout): raises AssertionError when ours is wrong.
    """

    name: str
    family: str
    operands: dict[str, Operand]
    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    passes: tuple[Pass, ...]
    recorded: bool = False
    channels_last: bool = False
    beside: dict[str, Callable[..., Any]] = field(default_factory=dict)
    check: Callable[..., None] | None = None


@dataclass(frozen=True)
class StepCase:
    """Something that changes its arguments, such as the step of an optimiser.

    ``build(torch, library, device="cpu")`` gives a step and a function that returns the arrays it has changed;
    ``library`` is "tn", "torch", or "torch64" for the same in float64.
    """

    name: str
    family: str
    build: Callable[..., tuple[Callable[[], Any], Callable[[], list[np.ndarray]]]]
    passes: tuple[Pass, ...]


def size(*shapes: tuple[int, ...]) -> float:
    """Bytes of float32 arrays of these shapes."""
    return 4.0 * sum(float(np.prod(shape)) for shape in shapes)
