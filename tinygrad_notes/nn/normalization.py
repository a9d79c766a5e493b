"""Normalisation layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_notes.errors import ShapeError
from tinygrad_notes.nn import init
from tinygrad_notes.nn.module import Module
from tinygrad_notes.ops import batch_norm, group_norm, instance_norm, layer_norm, local_response_norm, rms_norm
from tinygrad_notes.ops.arguments import at_least, count, number, probability
from tinygrad_notes.ops.shape import as_shape, expand_dims, squeeze
from tinygrad_notes.tensor import Tensor, wrap
from tinygrad_notes.writes import mark_written


class _Affine(Module):
    """``weight``, at first 1, and ``bias``, at first 0, of one shape; None where the layer has none."""

    weight: Tensor | None
    bias: Tensor | None

    def _make(self, shape: tuple[int, ...], affine: bool, bias: bool, device: str | None, dtype: Any) -> None:
        self.weight = init.ones_(init.empty_parameter(shape, device, dtype)) if affine else None
        self.bias = init.zeros_(init.empty_parameter(shape, device, dtype)) if affine and bias else None

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)


class _ChannelNorm(_Affine):
    """What batch and instance normalisation share: parameters and running statistics for each channel."""

    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        device: str | None,
        dtype: Any,
        bias: bool,
    ):
        super().__init__()
        name = type(self).__name__
        self.num_features, self.eps = count(num_features, f"{name}: num_features"), at_least(eps, f"{name}: eps", 0)
        self.momentum = None if momentum is None else probability(momentum, f"{name}: momentum")
        self.affine, self.track_running_stats = affine, track_running_stats
        shape = (self.num_features,)
        self._make(shape, affine, bias, device, dtype)
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
        super().reset_parameters()

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps:g}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_ChannelNorm):
    """Batch normalisation (Ioffe and Szegedy 2015, arXiv:1502.03167) over all axes but the channels'.

    In training by the statistics of the batch, which move ``running_mean`` and ``running_var`` by ``momentum`` (None:
    their plain average over all batches); else by those two. ``track_running_stats=False``: always by the batch.
    ``affine``: ``weight``, at first 1, and (unless ``bias=False``) ``bias``, at first 0, for each channel.
    """

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
        *,
        bias: bool = True,
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

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


class BatchNorm1d(_BatchNorm):
    __doc__ = f"""{_BatchNorm.__doc__}
    x is (N, C) or (N, C, L).

    >>> nn.BatchNorm1d(2)([[1.0, 5.0], [3.0, 5.0]]).round(3)
    Tensor([[-1.,  0.],
            [ 1.,  0.]])
    """
    axes, layout = (2, 3), "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    __doc__ = f"""{_BatchNorm.__doc__}
    x is (N, C, H, W).

    >>> norm = nn.BatchNorm2d(3)
    >>> norm(tn.ones((4, 3, 8, 8))).shape, norm.running_mean.round(3)
    ((4, 3, 8, 8), Tensor([0.1, 0.1, 0.1]))
    """
    axes, layout = (4,), "(N, C, H, W)"


class BatchNorm3d(_BatchNorm):
    __doc__ = f"""{_BatchNorm.__doc__}
    x is (N, C, D, H, W).

    >>> nn.BatchNorm3d(3)(tn.ones((4, 3, 2, 8, 8))).shape
    (4, 3, 2, 8, 8)
    """
    axes, layout = (5,), "(N, C, D, H, W)"


class _InstanceNorm(_ChannelNorm):
    """Instance normalisation (Ulyanov et al. 2016, arXiv:1607.08022) of each channel of each example.

    By the statistics of the example, in training and evaluation. ``track_running_stats``: in training their averages
    over the batch move ``running_mean`` and ``running_var`` by ``momentum`` (None: not at all), and evaluation is by
    those two. ``affine``: ``weight``, at first 1, and (unless ``bias=False``) ``bias``, at first 0, for each channel.
    As in PyTorch ``num_batches_tracked`` is there, but does not count.
    """

    axes: int
    layout: str

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: str | None = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, x: Any) -> Tensor:
        shape = tuple(as_shape(x))
        if len(shape) not in (self.axes, self.axes - 1) or shape[len(shape) - self.axes + 1] != self.num_features:
            raise ShapeError(
                f"{type(self).__name__}: x has shape {shape}, expected {self.layout} with C = {self.num_features}"
            )
        by_input = self.training or self.running_mean is None
        y = instance_norm(
            x if len(shape) == self.axes else expand_dims(x, 0),
            self.running_mean, self.running_var, self.weight, self.bias, by_input, self.momentum or 0.0, self.eps,
        )  # fmt: skip
        return y if len(shape) == self.axes else squeeze(y, 0)


class InstanceNorm1d(_InstanceNorm):
    __doc__ = f"""{_InstanceNorm.__doc__}
    x is (N, C, L) or (C, L).

    >>> nn.InstanceNorm1d(2)([[1.0, 3.0], [5.0, 5.0]]).round(3)
    Tensor([[-1.,  1.],
            [ 0.,  0.]])
    """
    axes, layout = 3, "(N, C, L) or (C, L)"


class InstanceNorm2d(_InstanceNorm):
    __doc__ = f"""{_InstanceNorm.__doc__}
    x is (N, C, H, W) or (C, H, W).

    >>> nn.InstanceNorm2d(3)(tn.ones((4, 3, 8, 8))).shape
    (4, 3, 8, 8)
    """
    axes, layout = 4, "(N, C, H, W) or (C, H, W)"


class InstanceNorm3d(_InstanceNorm):
    __doc__ = f"""{_InstanceNorm.__doc__}
    x is (N, C, D, H, W) or (C, D, H, W).

    >>> nn.InstanceNorm3d(3)(tn.ones((3, 2, 8, 8))).shape
    (3, 2, 8, 8)
    """
    axes, layout = 5, "(N, C, D, H, W) or (C, D, H, W)"


class GroupNorm(_Affine):
    """Group normalisation (Wu and He 2018, arXiv:1803.08494): ``num_groups`` groups of channels in each example.

    ``affine``: ``weight``, at first 1, and (unless ``bias=False``) ``bias``, at first 0, for each channel. x is
    (N, C, ...).

    >>> nn.GroupNorm(2, 4)([[1.0, 3.0, 5.0, 5.0]]).round(3)
    Tensor([[-1.,  1.,  0.,  0.]])
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: str | None = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ):
        super().__init__()
        self.num_groups = count(num_groups, "GroupNorm: num_groups")
        self.num_channels = count(num_channels, "GroupNorm: num_channels")
        if self.num_channels % self.num_groups:
            raise ShapeError(
                f"GroupNorm: num_groups is {self.num_groups}, which does not divide num_channels {self.num_channels}"
            )
        self.eps, self.affine = at_least(eps, "GroupNorm: eps", 0), affine
        self._make((self.num_channels,), affine, bias, device, dtype)

    def forward(self, x: Any) -> Tensor:
        shape = tuple(as_shape(x))
        if len(shape) < 2 or shape[1] != self.num_channels:
            raise ShapeError(f"GroupNorm: x has shape {shape}, expected (N, C, ...) with C = {self.num_channels}")
        return group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps:g}, affine={self.affine}"


def _sizes(normalized_shape: int | Sequence[int], name: str) -> tuple[int, ...]:
    """The sizes of the last axes that a layer normalises over."""
    sizes = normalized_shape if isinstance(normalized_shape, list | tuple) else (normalized_shape,)
    if not sizes:
        raise ShapeError(f"{name}: normalized_shape is empty, expected the size of at least one axis")
    return tuple(count(n, f"{name}: normalized_shape") for n in sizes)


class LayerNorm(_Affine):
    """Layer normalisation (Ba et al. 2016, arXiv:1607.06450) over the last axes, of sizes ``normalized_shape``.

    ``elementwise_affine``: ``weight``, at first 1, and ``bias`` (unless ``bias=False``), at first 0, of that shape.

    >>> nn.LayerNorm(2)([[1.0, 3.0], [5.0, 5.0]]).round(3)
    Tensor([[-1.,  1.],
            [ 0.,  0.]])
    """

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
        self.normalized_shape = _sizes(normalized_shape, "LayerNorm")
        self.eps, self.elementwise_affine = at_least(eps, "LayerNorm: eps", 0), elementwise_affine
        self._make(self.normalized_shape, elementwise_affine, bias, device, dtype)

    def forward(self, x: Any) -> Tensor:
        return layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps:g}, elementwise_affine={self.elementwise_affine}"


class RMSNorm(Module):
    """Root mean square normalisation (Zhang and Sennrich 2019, arXiv:1910.07467) over the last axes.

    ``normalized_shape``: the sizes of those axes; ``eps`` None: the spacing of x's dtype at 1.
    ``elementwise_affine``: ``weight``, at first 1, of that shape.

    >>> nn.RMSNorm(2)([[3.0, 4.0], [0.0, 0.0]]).round(4)
    Tensor([[0.8485, 1.1314],
            [0.    , 0.    ]])
    """

    weight: Tensor | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ):
        super().__init__()
        self.normalized_shape = _sizes(normalized_shape, "RMSNorm")
        self.eps = None if eps is None else at_least(eps, "RMSNorm: eps", 0)
        self.elementwise_affine = elementwise_affine
        shape = self.normalized_shape
        self.weight = init.ones_(init.empty_parameter(shape, device, dtype)) if elementwise_affine else None

    def reset_parameters(self) -> None:
        """Weight 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, x: Any) -> Tensor:
        return rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class LocalResponseNorm(Module):
    """x / (k + alpha · mean of x² over ``size`` neighbouring channels)^beta (Krizhevsky et al. 2012). x is (N, C, ...).

    >>> nn.LocalResponseNorm(2)(tn.ones((4, 3, 8, 8))).shape
    (4, 3, 8, 8)
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
        super().__init__()
        self.size = count(size, "LocalResponseNorm: size")
        self.alpha, self.beta, self.k = (
            number(value, f"LocalResponseNorm: {name}") for name, value in (("alpha", alpha), ("beta", beta), ("k", k))
        )

    def forward(self, x: Any) -> Tensor:
        return local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha:g}, beta={self.beta:g}, k={self.k:g}"
