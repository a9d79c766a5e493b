"""Distances and similarities as layers."""

from __future__ import annotations

from typing import Any

from tinygrad_notes import ops
from tinygrad_notes.nn.module import Module
from tinygrad_notes.ops.arguments import at_least, count
from tinygrad_notes.tensor import Tensor


class CosineSimilarity(Module):
    """The cosine of the angle between two vectors along ``axis``; lengths below ``eps`` count as ``eps``.

    >>> nn.CosineSimilarity()([[3.0, 4.0]], [[4.0, 3.0]]).round(2)
    Tensor([0.96])
    """

    def __init__(self, axis: int = 1, eps: float = 1e-8):
        super().__init__()
        self.axis = count(axis, "CosineSimilarity: axis", -64)
        self.eps = at_least(eps, "CosineSimilarity: eps", 0)

    def forward(self, x1: Any, x2: Any) -> Tensor:
        return ops.cosine_similarity(x1, x2, self.axis, self.eps)

    def extra_repr(self) -> str:
        return f"axis={self.axis}, eps={self.eps}"
