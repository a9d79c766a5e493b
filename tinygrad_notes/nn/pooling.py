"""Pooling layers over images (N, C, H, W), or one image (C, H, W)."""

from __future__ import annotations

from typing import Any

from tinygrad_notes.errors import ShapeError
from tinygrad_notes.nn.module import Module
from tinygrad_notes.ops import adaptive_avg_pool2d, avg_pool2d, max_pool2d
from tinygrad_notes.ops.windows import pair
from tinygrad_notes.tensor import Tensor

Pair = int | tuple[int, int]


class _Pooling(Module):
    """Kernel size, stride and padding, checked."""

    def __init__(self, kernel_size: Pair, stride: Pair | None, padding: Pair, ceil_mode: bool):
        super().__init__()
        name = type(self).__name__
        self.kernel_size = pair(kernel_size, f"{name}: kernel_size", 1)
        self.stride = self.kernel_size if stride is None else pair(stride, f"{name}: stride", 1)
        self.padding, self.ceil_mode = pair(padding, f"{name}: padding", 0), ceil_mode
        if any(2 * p > k for p, k in zip(self.padding, self.kernel_size)):
            raise ShapeError(f"{name}: padding is {padding!r}, expected at most half of kernel_size, {kernel_size!r}")

    def extra_repr(self) -> str:
        text = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        return text + (", ceil_mode=True" if self.ceil_mode else "")


class MaxPool2d(_Pooling):
    """The largest element of each window; ``stride`` None is ``kernel_size``. ``return_indices``: also where it was."""

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        dilation: Pair = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ):
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.dilation, self.return_indices = pair(dilation, "MaxPool2d: dilation", 1), return_indices

    def forward(self, x: Any) -> Any:
        return max_pool2d(
            x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )


class AvgPool2d(_Pooling):
    """The mean of each window; ``stride`` None is ``kernel_size``. Padding counts if ``count_include_pad``."""

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = count_include_pad

    def forward(self, x: Any) -> Tensor:
        return avg_pool2d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class AdaptiveAvgPool2d(Module):
    """Means over ``output_size`` windows that cover the image; 1 is global average pooling, None keeps a size."""

    def __init__(self, output_size: Any):
        super().__init__()
        sizes = output_size if isinstance(output_size, list | tuple) else (output_size, output_size)
        pair([1 if n is None else n for n in sizes], "AdaptiveAvgPool2d: output_size", 1)
        self.output_size = tuple(sizes)

    def forward(self, x: Any) -> Tensor:
        return adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"
