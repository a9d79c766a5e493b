"""Layers that only pass on or reshape."""

from __future__ import annotations

from typing import Any

from tinygrad_notes import ops
from tinygrad_notes.nn.module import Module
from tinygrad_notes.ops.arguments import count
from tinygrad_notes.tensor import Tensor


class Identity(Module):
    """x itself. Takes any arguments, so that it can stand in for any layer."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__()

    def forward(self, x: Any) -> Any:
        return x


class Flatten(Module):
    """The axes from ``start_axis`` to ``end_axis`` joined into one; the batch axis stays by default."""

    def __init__(self, start_axis: int = 1, end_axis: int = -1):
        super().__init__()
        self.start_axis, self.end_axis = (
            count(start_axis, "Flatten: start_axis", -64),
            count(end_axis, "Flatten: end_axis", -64),
        )

    def forward(self, x: Any) -> Tensor:
        return ops.flatten(x, self.start_axis, self.end_axis)

    def extra_repr(self) -> str:
        return f"start_axis={self.start_axis}, end_axis={self.end_axis}"
