"""Convolution layers over sequences, images and volumes.

The layers of one, two and three spatial axes are one class each way; a layer names its number of axes and the function
that it calls. A size is an int, or one for each spatial axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

from tinygrad_notes.errors import ShapeError
from tinygrad_notes.nn import init
from tinygrad_notes.nn.module import Module
from tinygrad_notes.ops import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    pad,
)
from tinygrad_notes.ops.arguments import count, one_of
from tinygrad_notes.ops.shape import as_shape
from tinygrad_notes.ops.windows import SHAPES, per_axis
from tinygrad_notes.tensor import Tensor

Size = int | tuple[int, ...]

PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}  # PyTorch's names and NumPy's


class _Convolution(Module):
    """What both directions share: arguments, and their check."""

    axes: ClassVar[int]
    function: ClassVar[Callable[..., Tensor]]
    weight: Tensor
    bias: Tensor | None

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Size, stride: Size, dilation: Size, groups: int
    ):
        super().__init__()
        self.in_channels = count(in_channels, f"{type(self).__name__}: in_channels")
        self.out_channels = count(out_channels, f"{type(self).__name__}: out_channels")
        self.kernel_size = self._per_axis(kernel_size, "kernel_size", 1)
        self.stride, self.dilation = self._per_axis(stride, "stride", 1), self._per_axis(dilation, "dilation", 1)
        self.groups = count(groups, f"{type(self).__name__}: groups")
        for what, channels in (("in_channels", self.in_channels), ("out_channels", self.out_channels)):
            if channels % self.groups:
                raise ShapeError(
                    f"{type(self).__name__}: {what} is {channels}, expected a multiple of groups, {self.groups}"
                )

    def _per_axis(self, value: Any, name: str, least: int) -> tuple[int, ...]:
        return per_axis(value, self.axes, f"{type(self).__name__}: {name}", least)

    def _make_parameters(self, channels: tuple[int, int], bias: bool, device: str | None, dtype: Any) -> None:
        self.weight = init.empty_parameter((*channels, *self.kernel_size), device, dtype)
        self.bias = init.empty_parameter((self.out_channels,), device, dtype) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew: uniform on ±1/√(fan in)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(init.fans(self.weight)[0])
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        for name, default in (
            ("padding", (0,) * self.axes),
            ("output_padding", (0,) * self.axes),
            ("dilation", (1,) * self.axes),
            ("groups", 1),
            ("padding_mode", "zeros"),
        ):
            value = getattr(self, name, default)
            text += "" if value == default else f", {name}={value!r}"
        return text + ("" if self.bias is not None else ", bias=False")


class _Forward(_Convolution):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, dilation, groups)
        name = type(self).__name__
        self.padding_mode = one_of(padding_mode, f"{name}: padding_mode", ("zeros", *PAD_MODES))
        if isinstance(padding, str):
            self.padding: Any = one_of(padding, f"{name}: padding", ("same", "valid"))
            if padding == "same" and set(self.stride) != {1}:
                raise ShapeError(f"{name}: padding 'same' needs stride 1, got {stride!r}")
        else:
            self.padding = self._per_axis(padding, "padding", 0)
        self._make_parameters((self.out_channels, self.in_channels // self.groups), bias, device, dtype)

    def forward(self, x: Any) -> Tensor:
        function, padding = type(self).function, self.padding
        if self.padding_mode != "zeros":
            x, padding = pad(x, self._pad_width(len(as_shape(x))), PAD_MODES[self.padding_mode]), 0
        return function(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def _pad_width(self, ndim: int) -> list[tuple[int, int]]:
        if ndim not in (self.axes + 1, self.axes + 2):
            raise ShapeError(f"{type(self).__name__}: x has {ndim} axes, expected {SHAPES[self.axes]}")
        if self.padding == "same":
            totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size)]
            widths = [(total // 2, total - total // 2) for total in totals]
        else:
            widths = [(0, 0)] * self.axes if self.padding == "valid" else [(p, p) for p in self.padding]
        return [(0, 0)] * (ndim - self.axes) + widths


class Conv1d(_Forward):
    """Cross-correlation of sequences (N, in_channels, L), or one without N, with out_channels kernels. See Conv2d.

    >>> nn.Conv1d(3, 8, 5, padding="same")(tn.ones((2, 3, 20))).shape
    (2, 8, 20)
    """

    axes, function = 1, staticmethod(conv1d)


class Conv2d(_Forward):
    """Cross-correlation of images (N, in_channels, H, W), or one image without N, with out_channels kernels.

    ``padding``: an int, one for each spatial axis, "same" (stride 1) or "valid". ``padding_mode``: "zeros", "reflect",
    "replicate" or "circular". ``weight`` (out_channels, in_channels / groups, *kernel_size) and ``bias`` (out_channels)
    start uniform on ±1/√(in_channels / groups · kh · kw).

    >>> nn.Conv2d(3, 8, 3, stride=2, padding=1)(tn.ones((2, 3, 32, 32))).shape
    (2, 8, 16, 16)
    """

    axes, function = 2, staticmethod(conv2d)


class Conv3d(_Forward):
    """Cross-correlation of volumes or clips (N, in_channels, D, H, W), or one without N. See Conv2d.

    >>> nn.Conv3d(3, 8, (3, 1, 1), padding=(1, 0, 0))(tn.ones((2, 3, 4, 6, 6))).shape
    (2, 8, 4, 6, 6)
    """

    axes, function = 3, staticmethod(conv3d)


class _Transposed(_Convolution):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
        padding_mode: str = "zeros",
        device: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, dilation, groups)
        name = type(self).__name__
        if padding_mode != "zeros":
            raise ShapeError(f"{name}: padding_mode is {padding_mode!r}, only 'zeros' exists for it")
        self.padding = self._per_axis(padding, "padding", 0)
        self.output_padding = self._per_axis(output_padding, "output_padding", 0)
        if any(extra >= step for extra, step in zip(self.output_padding, self.stride)):
            raise ShapeError(f"{name}: output_padding is {output_padding!r}, expected less than stride, {stride!r}")
        self._make_parameters((self.in_channels, self.out_channels // self.groups), bias, device, dtype)

    def forward(self, x: Any, output_size: Size | None = None) -> Tensor:
        extra = self.output_padding if output_size is None else self._extra(as_shape(x), output_size)
        return type(self).function(
            x, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation
        )

    def _extra(self, shape: tuple[int, ...], output_size: Size) -> tuple[int, ...]:
        """The output_padding that leads to ``output_size``, the spatial axes or the whole shape."""
        spatial = output_size[-self.axes :] if isinstance(output_size, list | tuple) else output_size
        wanted, name = self._per_axis(spatial, "output_size", 1), type(self).__name__
        if len(shape) not in (self.axes + 1, self.axes + 2):
            raise ShapeError(f"{name}: x has shape {tuple(shape)}, expected {SHAPES[self.axes]}")
        steps = zip(shape[-self.axes :], self.stride, self.padding, self.dilation, self.kernel_size)
        least = tuple((n - 1) * s - 2 * p + d * (k - 1) + 1 for n, s, p, d, k in steps)
        extra = tuple(a - b for a, b in zip(wanted, least))
        if not all(0 <= e < s for e, s in zip(extra, self.stride)):
            most = tuple(n + s - 1 for n, s in zip(least, self.stride))
            raise ShapeError(f"{name}: output_size is {output_size!r}, expected from {least} to {most}")
        return extra


class ConvTranspose1d(_Transposed):
    """Transposed convolution: (N, in_channels, l) to (N, out_channels, L). See ConvTranspose2d.

    >>> nn.ConvTranspose1d(8, 3, 4, stride=2, padding=1)(tn.ones((2, 8, 10))).shape
    (2, 3, 20)
    """

    axes, function = 1, staticmethod(conv_transpose1d)


class ConvTranspose2d(_Transposed):
    """Transposed convolution: (N, in_channels, h, w) to (N, out_channels, H, W).

    H = (h - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1; a call with ``output_size`` chooses
    output_padding, which is less than stride, by itself. ``weight`` (in_channels, out_channels / groups, *kernel_size)
    and ``bias`` (out_channels) start uniform on ±1/√(out_channels / groups · kh · kw), as PyTorch counts its inputs.

    >>> nn.ConvTranspose2d(8, 3, 3, stride=2, padding=1)(tn.ones((2, 8, 5, 5)), output_size=(10, 9)).shape
    (2, 3, 10, 9)
    """

    axes, function = 2, staticmethod(conv_transpose2d)


class ConvTranspose3d(_Transposed):
    """Transposed convolution: (N, in_channels, d, h, w) to (N, out_channels, D, H, W). See ConvTranspose2d.

    >>> nn.ConvTranspose3d(8, 3, 2, stride=2)(tn.ones((1, 8, 2, 3, 3))).shape
    (1, 3, 4, 6, 6)
    """

    axes, function = 3, staticmethod(conv_transpose3d)
