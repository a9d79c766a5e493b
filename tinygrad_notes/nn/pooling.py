"""Pooling layers over sequences (N, C, L), images (N, C, H, W) and volumes (N, C, D, H, W), N left out or not.

The layers of one, two and three spatial axes are one class; a layer names its number of axes and the function that it
calls. A size is an int, or one for each spatial axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

from tinygrad_notes.errors import ShapeError
from tinygrad_notes.nn.module import Module
from tinygrad_notes.ops import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    lp_pool2d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_unpool2d,
)
from tinygrad_notes.ops.arguments import flag, number
from tinygrad_notes.ops.windows import adaptive_size, per_axis, pooling_window
from tinygrad_notes.tensor import Tensor

Size = int | tuple[int, ...]


class _Pooling(Module):
    """Kernel size, stride and padding, checked."""

    axes: ClassVar[int]
    function: ClassVar[Callable[..., Any]]

    def __init__(self, kernel_size: Size, stride: Size | None, padding: Size, ceil_mode: bool = False):
        super().__init__()
        window = pooling_window(kernel_size, stride, padding, self.axes, f"{type(self).__name__}: ")
        self.kernel_size, self.stride, self.padding = window
        self.ceil_mode = flag(ceil_mode, f"{type(self).__name__}: ceil_mode")

    def extra_repr(self) -> str:
        text = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        return text + (", ceil_mode=True" if self.ceil_mode else "")


class _MaxPool(_Pooling):
    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ):
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.dilation = per_axis(dilation, self.axes, f"{type(self).__name__}: dilation", 1)
        self.return_indices = flag(return_indices, f"{type(self).__name__}: return_indices")

    def forward(self, x: Any) -> Any:
        return type(self).function(
            x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )


class MaxPool1d(_MaxPool):
    """The largest element of each window of a sequence. See MaxPool2d.

    >>> nn.MaxPool1d(2)([[1.0, 3.0, 2.0, 0.0]])
    Tensor([[3., 2.]])
    """

    axes, function = 1, staticmethod(max_pool1d)


class MaxPool2d(_MaxPool):
    """The largest element of each window; ``stride`` None is ``kernel_size``. ``return_indices``: also where it was.

    >>> nn.MaxPool2d(3, stride=2, padding=1)(tn.ones((2, 8, 16, 16))).shape
    (2, 8, 8, 8)
    """

    axes, function = 2, staticmethod(max_pool2d)


class MaxPool3d(_MaxPool):
    """The largest element of each window of a volume. See MaxPool2d.

    >>> nn.MaxPool3d((1, 2, 2))(tn.ones((2, 8, 4, 6, 6))).shape
    (2, 8, 4, 3, 3)
    """

    axes, function = 3, staticmethod(max_pool3d)


class _AvgPool(_Pooling):
    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = flag(count_include_pad, f"{type(self).__name__}: count_include_pad")

    def forward(self, x: Any) -> Tensor:
        return type(self).function(
            x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )


class AvgPool1d(_AvgPool):
    """The mean of each window of a sequence. See AvgPool2d.

    >>> nn.AvgPool1d(2, stride=1)([[1.0, 3.0, 2.0, 0.0]])
    Tensor([[2. , 2.5, 1. ]])
    """

    axes, function = 1, staticmethod(avg_pool1d)


class AvgPool2d(_AvgPool):
    """The mean of each window; ``stride`` None is ``kernel_size``. Padding counts if ``count_include_pad``.

    PyTorch's ``divisor_override`` does not exist.

    >>> nn.AvgPool2d(2)(tn.ones((2, 8, 16, 16))).shape
    (2, 8, 8, 8)
    """

    axes, function = 2, staticmethod(avg_pool2d)


class AvgPool3d(_AvgPool):
    """The mean of each window of a volume. See AvgPool2d.

    >>> nn.AvgPool3d(2)(tn.ones((2, 8, 4, 6, 6))).shape
    (2, 8, 2, 3, 3)
    """

    axes, function = 3, staticmethod(avg_pool3d)


class LPPool2d(_Pooling):
    """(Σ xᵖ)^(1/p) of each window of an image, p = ``norm_type``; ``stride`` None is ``kernel_size``.

    >>> nn.LPPool2d(2, (1, 2))([[[3.0, 4.0]]])
    Tensor([[[5.]]])
    """

    axes, function = 2, staticmethod(lp_pool2d)

    def __init__(self, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False):
        super().__init__(kernel_size, stride, 0, ceil_mode)
        self.norm_type = number(norm_type, "LPPool2d: norm_type")
        if not 0 < self.norm_type < math.inf:
            raise ShapeError(f"LPPool2d: norm_type is {norm_type!r}, expected a finite number above 0")

    def forward(self, x: Any) -> Tensor:
        return lp_pool2d(x, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        return f"norm_type={self.norm_type}, {super().extra_repr()}"


class MaxUnpool2d(_Pooling):
    """Puts what MaxPool2d with ``return_indices`` found back where it was, among zeros.

    >>> y, indices = nn.MaxPool2d(2, return_indices=True)(tn.ones((1, 1, 4, 4)))
    >>> nn.MaxUnpool2d(2)(y, indices).sum()
    Tensor(4.)
    """

    axes, function = 2, staticmethod(max_unpool2d)

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0):
        super().__init__(kernel_size, stride, padding)

    def forward(self, x: Any, indices: Any, output_size: Size | None = None) -> Tensor:
        return max_unpool2d(x, indices, self.kernel_size, self.stride, self.padding, output_size)


class _Adaptive(Module):
    """A number of windows for each axis, checked."""

    axes: ClassVar[int]
    function: ClassVar[Callable[..., Any]]

    def __init__(self, output_size: Any):
        super().__init__()
        self.output_size = adaptive_size(output_size, self.axes, f"{type(self).__name__}: output_size")

    def forward(self, x: Any) -> Any:
        return type(self).function(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_Adaptive):
    """Means over ``output_size`` windows that cover the sequence. See AdaptiveAvgPool2d.

    >>> nn.AdaptiveAvgPool1d(2)([[1.0, 3.0, 2.0]])
    Tensor([[2. , 2.5]])
    """

    axes, function = 1, staticmethod(adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_Adaptive):
    """Means over ``output_size`` windows that cover the image; 1 is global average pooling, None keeps a size.

    >>> nn.AdaptiveAvgPool2d((1, None))(tn.ones((2, 8, 7, 5))).shape
    (2, 8, 1, 5)
    """

    axes, function = 2, staticmethod(adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_Adaptive):
    """Means over ``output_size`` windows that cover the volume. See AdaptiveAvgPool2d.

    >>> nn.AdaptiveAvgPool3d(1)(tn.ones((2, 8, 4, 7, 5))).shape
    (2, 8, 1, 1, 1)
    """

    axes, function = 3, staticmethod(adaptive_avg_pool3d)


class _AdaptiveMaxPool(_Adaptive):
    def __init__(self, output_size: Any, return_indices: bool = False):
        super().__init__(output_size)
        self.return_indices = flag(return_indices, f"{type(self).__name__}: return_indices")

    def forward(self, x: Any) -> Any:
        return type(self).function(x, self.output_size, self.return_indices)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest element of each of ``output_size`` windows that cover the sequence. See AdaptiveMaxPool2d.

    >>> nn.AdaptiveMaxPool1d(2)([[1.0, 3.0, 2.0]])
    Tensor([[3., 3.]])
    """

    axes, function = 1, staticmethod(adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest element of each of ``output_size`` windows that cover the image; None keeps a size.

    ``return_indices``: also where it was.

    >>> nn.AdaptiveMaxPool2d(2)(tn.ones((2, 8, 7, 5))).shape
    (2, 8, 2, 2)
    """

    axes, function = 2, staticmethod(adaptive_max_pool2d)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The largest element of each of ``output_size`` windows that cover the volume. See AdaptiveMaxPool2d.

    >>> nn.AdaptiveMaxPool3d((None, 1, 1))(tn.ones((2, 8, 4, 7, 5))).shape
    (2, 8, 4, 1, 1)
    """

    axes, function = 3, staticmethod(adaptive_max_pool3d)
