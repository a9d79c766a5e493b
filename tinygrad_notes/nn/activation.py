"""Activations as layers, for Sequential."""

from __future__ import annotations

from typing import Any

from tinygrad_notes import ops
from tinygrad_notes.errors import ShapeError
from tinygrad_notes.nn.module import Module
from tinygrad_notes.ops.arguments import count, number, one_of
from tinygrad_notes.tensor import Tensor


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Any) -> Tensor:
        return ops.relu(x)


class LeakyReLU(Module):
    """x where x > 0, else ``negative_slope`` x."""

    def __init__(self, negative_slope: float = 0.01):
        super().__init__()
        self.negative_slope = number(negative_slope, "LeakyReLU: negative_slope")

    def forward(self, x: Any) -> Tensor:
        return ops.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class GELU(Module):
    """x Φ(x), or its approximation by tanh with ``approximate="tanh"``."""

    def __init__(self, approximate: str = "none"):
        super().__init__()
        self.approximate = one_of(approximate, "GELU: approximate", ("none", "tanh"))

    def forward(self, x: Any) -> Tensor:
        return ops.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """x σ(x)."""

    def forward(self, x: Any) -> Tensor:
        return ops.silu(x)


class Softplus(Module):
    """log(1 + e^(βx)) / β, x itself where βx > ``threshold``."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0):
        super().__init__()
        self.beta, self.threshold = number(beta, "Softplus: beta"), number(threshold, "Softplus: threshold")
        if not self.beta > 0:
            raise ShapeError(f"Softplus: beta is {beta!r}, expected a number above 0")

    def forward(self, x: Any) -> Tensor:
        return ops.softplus(x, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Sigmoid(Module):
    """1 / (1 + e⁻ˣ)."""

    def forward(self, x: Any) -> Tensor:
        return ops.sigmoid(x)


class Tanh(Module):
    """The hyperbolic tangent."""

    def forward(self, x: Any) -> Tensor:
        return ops.tanh(x)


class Softmax(Module):
    """eˣ / Σ eˣ along ``axis``."""

    def __init__(self, axis: int = -1):
        super().__init__()
        self.axis = count(axis, f"{type(self).__name__}: axis", -64)

    def forward(self, x: Any) -> Tensor:
        return ops.softmax(x, self.axis)

    def extra_repr(self) -> str:
        return f"axis={self.axis}"


class LogSoftmax(Softmax):
    """x - log Σ eˣ along ``axis``."""

    def forward(self, x: Any) -> Tensor:
        return ops.log_softmax(x, self.axis)
