"""The affine layer."""

from __future__ import annotations

import math
from typing import Any

from tinygrad_notes.nn import init
from tinygrad_notes.nn.module import Module
from tinygrad_notes.ops import linear
from tinygrad_notes.ops.arguments import count
from tinygrad_notes.tensor import Tensor


class Linear(Module):
    """x Wᵀ + b: x (..., in_features) to (..., out_features).

    ``weight`` (out_features, in_features) and ``bias`` (out_features) start uniform on ±1/√in_features.

    >>> layer = nn.Linear(3, 2)
    >>> layer(tn.ones((5, 3))).shape, layer.weight.shape
    ((5, 2), (2, 3))
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: str | None = None, dtype: Any = None
    ):
        super().__init__()
        self.in_features = count(in_features, "Linear: in_features", 0)
        self.out_features = count(out_features, "Linear: out_features", 0)
        self.weight = init.empty_parameter((self.out_features, self.in_features), device, dtype)
        self.bias = init.empty_parameter((self.out_features,), device, dtype) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features) if self.in_features else 0.0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Any) -> Tensor:
        return linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
