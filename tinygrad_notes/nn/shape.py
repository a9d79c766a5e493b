"""Layers that only pass on or reshape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tinygrad_notes import ops
from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.nn.module import Module
from tinygrad_notes.ops.arguments import count
from tinygrad_notes.ops.shape import operand
from tinygrad_notes.tensor import Tensor


class Identity(Module):
    """x itself. Takes any arguments, so that it can stand in for any layer.

    >>> nn.Identity(64, "any")(tn.ones(2))
    Tensor([1., 1.])
    """

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__()

    def forward(self, x: Any) -> Any:
        return x


class Flatten(Module):
    """The axes from ``start_axis`` to ``end_axis`` joined into one; the batch axis stays by default.

    >>> nn.Flatten()(tn.ones((2, 3, 4))).shape
    (2, 12)
    """

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


class Unflatten(Module):
    """The axis ``axis`` split into axes of the sizes ``unflattened_size``, of which one may be -1: what is left.

    Sizes that do not multiply to that of the axis raise ShapeError.

    >>> nn.Unflatten(1, (3, -1))(tn.ones((2, 12))).shape
    (2, 3, 4)
    """

    def __init__(self, axis: int, unflattened_size: Sequence[int]):
        super().__init__()
        self.axis = count(axis, "Unflatten: axis", -64)
        if not isinstance(unflattened_size, list | tuple) or not unflattened_size:
            raise DTypeError(f"Unflatten: unflattened_size is {unflattened_size!r}, expected a tuple of sizes")
        self.unflattened_size = tuple(count(n, "Unflatten: unflattened_size", -1) for n in unflattened_size)
        if self.unflattened_size.count(-1) > 1:
            raise ShapeError(f"Unflatten: unflattened_size is {unflattened_size!r}, expected at most one -1")

    def forward(self, x: Any) -> Tensor:
        x = operand(x)
        if not -x.ndim <= self.axis < x.ndim:
            raise ShapeError(f"Unflatten: axis is {self.axis}, but x has shape {x.shape}")
        axis, sizes = self.axis % x.ndim, self.unflattened_size
        known = math.prod(n for n in sizes if n != -1)
        whole = x.shape[axis]
        if (known == 0 or whole % known) if -1 in sizes else known != whole:
            raise ShapeError(f"Unflatten: axis {axis} of x {x.shape} has size {whole}, which is not split into {sizes}")
        sizes = tuple(whole // known if n == -1 else n for n in sizes)
        return ops.reshape(x, (*x.shape[:axis], *sizes, *x.shape[axis + 1 :]))

    def extra_repr(self) -> str:
        return f"axis={self.axis}, unflattened_size={self.unflattened_size}"
