"""Dropout as layers: of elements, of whole channels, and for networks of SELU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_notes import ops
from tinygrad_notes.nn.module import Module
from tinygrad_notes.ops.arguments import probability
from tinygrad_notes.tensor import Tensor


class _Dropout(Module):
    """``drop(x, p, training)`` with a ``p`` that is checked."""

    drop: Callable[..., Tensor]

    def __init__(self, p: float = 0.5):
        super().__init__()
        self.p = probability(p, f"{type(self).__name__}: p")

    def forward(self, x: Any) -> Tensor:
        return type(self).drop(x, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout(_Dropout):
    """In training, zeros each element with probability ``p`` and divides the others by 1 - p; else nothing.

    >>> nn.Dropout(0.5).eval()(tn.ones(3)).tolist()
    [1.0, 1.0, 1.0]
    """

    drop = staticmethod(ops.dropout)


class Dropout1d(_Dropout):
    """Dropout of whole channels of x (N, C, L) or (C, L).

    >>> nn.Dropout1d(1.0)(tn.ones((1, 1, 2))).tolist()
    [[[0.0, 0.0]]]
    """

    drop = staticmethod(ops.dropout1d)


class Dropout2d(_Dropout):
    """Dropout of whole channels of x (N, C, H, W), or one image (C, H, W).

    >>> nn.Dropout2d(1.0)(tn.ones((1, 1, 1, 2))).tolist()
    [[[[0.0, 0.0]]]]
    """

    drop = staticmethod(ops.dropout2d)


class Dropout3d(_Dropout):
    """Dropout of whole channels of x (N, C, D, H, W) or (C, D, H, W).

    >>> nn.Dropout3d(1.0)(tn.ones((1, 1, 1, 2))).tolist()
    [[[[0.0, 0.0]]]]
    """

    drop = staticmethod(ops.dropout3d)


class AlphaDropout(_Dropout):
    """Dropout for networks of SELU, which keeps mean 0 and variance 1 (Klambauer et al. 2017).

    >>> nn.AlphaDropout(0.5).eval()(tn.ones(3)).tolist()
    [1.0, 1.0, 1.0]
    """

    drop = staticmethod(ops.alpha_dropout)
