"""Convolution layers over images."""

from __future__ import annotations

import math
from typing import Any

from tinygrad_notes.errors import ShapeError
from tinygrad_notes.nn import init
from tinygrad_notes.nn.module import Module
from tinygrad_notes.ops import conv2d, conv_transpose2d, pad
from tinygrad_notes.ops.arguments import count, one_of
from tinygrad_notes.ops.shape import as_shape
from tinygrad_notes.ops.windows import pair
from tinygrad_notes.tensor import Tensor

Pair = int | tuple[int, int]

PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}  # PyTorch's names and NumPy's


class _Convolution(Module):
    """What both directions share: arguments, and their check."""

    weight: Tensor
    bias: Tensor | None

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Pair, stride: Pair, dilation: Pair, groups: int
    ):
        super().__init__()
        name = type(self).__name__
        self.in_channels, self.out_channels = (
            count(in_channels, f"{name}: in_channels"),
            count(out_channels, f"{name}: out_channels"),
        )
        self.kernel_size, self.stride = pair(kernel_size, f"{name}: kernel_size", 1), pair(stride, f"{name}: stride", 1)
        self.dilation, self.groups = pair(dilation, f"{name}: dilation", 1), count(groups, f"{name}: groups")
        for what, channels in (("in_channels", self.in_channels), ("out_channels", self.out_channels)):
            if channels % self.groups:
                raise ShapeError(f"{name}: {what} is {channels}, expected a multiple of groups, {self.groups}")

    def _make_parameters(self, shape: tuple[int, ...], bias: bool, device: str | None, dtype: Any) -> None:
        self.weight = init.empty_parameter(shape, device, dtype)
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
            ("padding", (0, 0)),
            ("output_padding", (0, 0)),
            ("dilation", (1, 1)),
            ("groups", 1),
            ("padding_mode", "zeros"),
        ):
            value = getattr(self, name, default)
            text += "" if value == default else f", {name}={value!r}"
        return text + ("" if self.bias is not None else ", bias=False")


class Conv2d(_Convolution):
    """Cross-correlation of images (N, in_channels, H, W), or one image without N, with out_channels kernels.

    ``padding``: an int, two of them for rows and columns, "same" (stride 1) or "valid". ``padding_mode``: "zeros",
    "reflect", "replicate" or "circular". ``weight`` (out_channels, in_channels / groups, *kernel_size) and ``bias``
    (out_channels) start uniform on ±1/√(in_channels / groups · kh · kw).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, dilation, groups)
        self.padding_mode = one_of(padding_mode, "Conv2d: padding_mode", ("zeros", *PAD_MODES))
        if isinstance(padding, str):
            self.padding: Any = one_of(padding, "Conv2d: padding", ("same", "valid"))
            if padding == "same" and self.stride != (1, 1):
                raise ShapeError(f"Conv2d: padding 'same' needs stride 1, got {stride!r}")
        else:
            self.padding = pair(padding, "Conv2d: padding", 0)
        self._make_parameters(
            (self.out_channels, self.in_channels // self.groups, *self.kernel_size), bias, device, dtype
        )

    def forward(self, x: Any) -> Tensor:
        if self.padding_mode == "zeros":
            return conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
        x = pad(x, self._pad_width(len(as_shape(x))), PAD_MODES[self.padding_mode])
        return conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)

    def _pad_width(self, axes: int) -> list[tuple[int, int]]:
        if axes not in (3, 4):
            raise ShapeError(f"Conv2d: x has {axes} axes, expected (N, C, H, W) or (C, H, W)")
        if self.padding == "same":
            totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size)]
            widths = [(total // 2, total - total // 2) for total in totals]
        else:
            widths = [(0, 0)] * 2 if self.padding == "valid" else [(p, p) for p in self.padding]
        return [(0, 0)] * (axes - 2) + widths


class ConvTranspose2d(_Convolution):
    """Transposed convolution: (N, in_channels, h, w) to (N, out_channels, H, W).

    H = (h - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1. ``weight`` (in_channels,
    out_channels / groups, *kernel_size) and ``bias`` (out_channels) start uniform on
    ±1/√(out_channels / groups · kh · kw), as PyTorch counts its inputs.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair = 0,
        output_padding: Pair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Pair = 1,
        padding_mode: str = "zeros",
        device: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, dilation, groups)
        if padding_mode != "zeros":
            raise ShapeError(f"ConvTranspose2d: padding_mode is {padding_mode!r}, only 'zeros' exists for it")
        self.padding = pair(padding, "ConvTranspose2d: padding", 0)
        self.output_padding = pair(output_padding, "ConvTranspose2d: output_padding", 0)
        if any(extra >= step for extra, step in zip(self.output_padding, self.stride)):
            raise ShapeError(
                f"ConvTranspose2d: output_padding is {output_padding!r}, expected less than stride, {stride!r}"
            )
        self._make_parameters(
            (self.in_channels, self.out_channels // self.groups, *self.kernel_size), bias, device, dtype
        )

    def forward(self, x: Any) -> Tensor:
        return conv_transpose2d(
            x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        )
