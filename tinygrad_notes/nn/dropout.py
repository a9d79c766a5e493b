"""Dropout as a layer."""

from __future__ import annotations

from typing import Any

from tinygrad_notes import ops
from tinygrad_notes.nn.module import Module
from tinygrad_notes.ops.arguments import probability
from tinygrad_notes.tensor import Tensor


class Dropout(Module):
    """In training, zeros each element with probability ``p`` and divides the others by 1 - p; else nothing."""

    def __init__(self, p: float = 0.5):
        super().__init__()
        self.p = probability(p, "Dropout: p")

    def forward(self, x: Any) -> Tensor:
        return ops.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"
