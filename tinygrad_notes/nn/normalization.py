"""Normalisation layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_notes.errors import ShapeError
from tinygrad_notes.nn import init
from tinygrad_notes.nn.module import Module
from tinygrad_notes.ops import batch_norm, layer_norm
from tinygrad_notes.ops.arguments import at_least, count, probability
from tinygrad_notes.ops.shape import as_shape
from tinygrad_notes.tensor import Tensor, wrap
from tinygrad_notes.writes import mark_written


class _BatchNorm(Module):
    """Batch normalisation (Ioffe and Szegedy 2015, arXiv:1502.03167) over all axes but the channels'.

    In training by the statistics of the batch, which move ``running_mean`` and ``running_var`` by ``momentum`` (None:
    their plain average over all batches); else by those two. ``track_running_stats=False``: always by the batch.
    ``affine``: ``weight``, at first 1, and ``bias``, at first 0, for each channel.
    """

    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    axes: tuple[int, ...]
    layout: str

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ):
        super().__init__()
        name = type(self).__name__
        self.num_features, self.eps = count(num_features, f"{name}: num_features"), at_least(eps, f"{name}: eps", 0)
        self.momentum = None if momentum is None else probability(momentum, f"{name}: momentum")
        self.affine, self.track_running_stats = affine, track_running_stats
        shape = (self.num_features,)
        self.weight = init.ones_(init.empty_parameter(shape, device, dtype)) if affine else None
        self.bias = init.zeros_(init.empty_parameter(shape, device, dtype)) if affine else None
        for buffer, value in (("running_mean", init.zeros_), ("running_var", init.ones_)):
            statistic = value(init.empty_parameter(shape, device, dtype)).detach()
            self.register_buffer(buffer, statistic if track_running_stats else None)
        self.register_buffer("num_batches_tracked", wrap(np.zeros((), np.int64)) if track_running_stats else None)

    def reset_running_stats(self) -> None:
        """Forget the batches seen so far."""
        if self.track_running_stats:
            init.zeros_(self.running_mean)  # type: ignore[arg-type]
            init.ones_(self.running_var)  # type: ignore[arg-type]
            init.copy_(self.num_batches_tracked, 0)  # type: ignore[arg-type]

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, and no batches seen."""
        self.reset_running_stats()
        if self.weight is not None and self.bias is not None:
            init.ones_(self.weight)
            init.zeros_(self.bias)

    def forward(self, x: Any) -> Tensor:
        shape = tuple(as_shape(x))
        if len(shape) not in self.axes or shape[1] != self.num_features:
            raise ShapeError(
                f"{type(self).__name__}: x has shape {shape}, expected {self.layout} with C = {self.num_features}"
            )
        by_batch = self.training or self.running_mean is None
        momentum = self.momentum
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.data[...] += 1
            mark_written(self.num_batches_tracked.data)
            if momentum is None:
                momentum = 1 / int(self.num_batches_tracked)
        return batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, by_batch, momentum or 0.0, self.eps
        )

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps:g}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    __doc__ = f"{_BatchNorm.__doc__}\n    x is (N, C) or (N, C, L)."
    axes, layout = (2, 3), "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    __doc__ = f"{_BatchNorm.__doc__}\n    x is (N, C, H, W)."
    axes, layout = (4,), "(N, C, H, W)"


class LayerNorm(Module):
    """Layer normalisation (Ba et al. 2016, arXiv:1607.06450) over the last axes, of sizes ``normalized_shape``.

    ``elementwise_affine``: ``weight``, at first 1, and ``bias`` (unless ``bias=False``), at first 0, of that shape.
    """

    weight: Tensor | None
    bias: Tensor | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ):
        super().__init__()
        sizes = normalized_shape if isinstance(normalized_shape, list | tuple) else (normalized_shape,)
        if not sizes:
            raise ShapeError("LayerNorm: normalized_shape is empty, expected the size of at least one axis")
        self.normalized_shape = tuple(count(n, "LayerNorm: normalized_shape") for n in sizes)
        self.eps, self.elementwise_affine = at_least(eps, "LayerNorm: eps", 0), elementwise_affine
        shape = self.normalized_shape
        self.weight = init.ones_(init.empty_parameter(shape, device, dtype)) if elementwise_affine else None
        self.bias = init.zeros_(init.empty_parameter(shape, device, dtype)) if elementwise_affine and bias else None

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, x: Any) -> Tensor:
        return layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps:g}, elementwise_affine={self.elementwise_affine}"
