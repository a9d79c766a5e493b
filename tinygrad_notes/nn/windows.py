"""Windows of images as columns, and columns added up to images."""

from __future__ import annotations

from typing import Any

from tinygrad_notes import ops
from tinygrad_notes.nn.module import Module
from tinygrad_notes.ops.windows import per_axis
from tinygrad_notes.tensor import Tensor

Size = int | tuple[int, ...]


class Unfold(Module):
    """The windows of x (N, C, H, W) as columns, (N, C·kh·kw, windows): ``im2col`` as a layer.

    >>> nn.Unfold(3, padding=1)(tn.ones((2, 4, 5, 6))).shape
    (2, 36, 30)
    """

    def __init__(self, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1):
        super().__init__()
        name = type(self).__name__
        self.kernel_size = per_axis(kernel_size, 2, f"{name}: kernel_size", 1)
        self.dilation = per_axis(dilation, 2, f"{name}: dilation", 1)
        self.padding = per_axis(padding, 2, f"{name}: padding", 0)
        self.stride = per_axis(stride, 2, f"{name}: stride", 1)

    def forward(self, x: Any) -> Tensor:
        return ops.im2col(x, self.kernel_size, self.stride, self.padding, self.dilation)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, stride={self.stride}"


class Fold(Unfold):
    """Columns (N, C·kh·kw, windows) added up where ``Unfold`` read them, (N, C, *output_size): ``col2im`` as a layer.

    >>> nn.Fold((5, 6), 3, padding=1)(tn.ones((2, 36, 30))).shape
    (2, 4, 5, 6)
    """

    def __init__(self, output_size: Size, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1):
        super().__init__(kernel_size, dilation, padding, stride)
        self.output_size = per_axis(output_size, 2, "Fold: output_size", 1)

    def forward(self, x: Any) -> Tensor:
        return ops.col2im(x, self.output_size, self.kernel_size, self.stride, self.padding, self.dilation)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}, {super().extra_repr()}"
