"""Padding layers: elements put around the last axes of sequences, images and volumes, in PyTorch's order of arguments.

``padding`` is an int, or (left, right), (left, right, top, bottom), (left, right, top, bottom, front, back): the last
axis first. Axes before those stay as they are. PyTorch cuts elements off where a number is negative: slice instead. It
refuses to reflect or repeat more elements than there are: ``tn.pad`` goes on with the copies, as NumPy does.
"""

from __future__ import annotations

from typing import Any, ClassVar

from tinygrad_notes.errors import ShapeError
from tinygrad_notes.nn.module import Module
from tinygrad_notes.ops import pad
from tinygrad_notes.ops.arguments import count, number
from tinygrad_notes.ops.shape import as_shape
from tinygrad_notes.tensor import Tensor

Size = int | tuple[int, ...]


class _Padding(Module):
    axes: ClassVar[int]
    mode: ClassVar[str]  # of tn.pad
    value: float = 0

    def __init__(self, padding: Size):
        super().__init__()
        name = f"{type(self).__name__}: padding"
        widths = padding if isinstance(padding, list | tuple) else (padding,) * (2 * self.axes)
        if len(widths) != 2 * self.axes:
            raise ShapeError(f"{name} is {padding!r}, expected an integer or {2 * self.axes}, two for each axis")
        self.padding = tuple(count(n, name, 0) for n in widths)

    def forward(self, x: Any) -> Tensor:
        shape, name = tuple(as_shape(x)), type(self).__name__
        if len(shape) < self.axes:
            raise ShapeError(f"{name}: x has shape {shape}, expected at least {self.axes} axes")
        pairs = list(zip(self.padding[::2], self.padding[1::2]))[::-1]
        return pad(x, [(0, 0)] * (len(shape) - self.axes) + pairs, self.mode, self.value)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad1d(_Padding):
    """Zeros around a sequence: ``padding`` is an int or (left, right).

    >>> nn.ZeroPad1d((1, 2))([[1.0, 2.0]])
    Tensor([[0., 1., 2., 0., 0.]])
    """

    axes, mode = 1, "constant"


class ZeroPad2d(_Padding):
    """Zeros around an image: ``padding`` is an int or (left, right, top, bottom).

    >>> nn.ZeroPad2d((1, 0, 0, 1))([[[1.0, 2.0]]])
    Tensor([[[0., 1., 2.],
             [0., 0., 0.]]])
    """

    axes, mode = 2, "constant"


class ZeroPad3d(_Padding):
    """Zeros around a volume: ``padding`` is an int or (left, right, top, bottom, front, back).

    >>> nn.ZeroPad3d((0, 0, 0, 0, 2, 1))(tn.ones((3, 4, 5, 5))).shape
    (3, 7, 5, 5)
    """

    axes, mode = 3, "constant"


class _Constant(_Padding):
    def __init__(self, padding: Size, value: float):
        super().__init__(padding)
        number(value, f"{type(self).__name__}: value")
        self.value = value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_Constant):
    """``value`` around a sequence: ``padding`` is an int or (left, right).

    >>> nn.ConstantPad1d((1, 2), 9.0)([[1.0, 2.0]])
    Tensor([[9., 1., 2., 9., 9.]])
    """

    axes, mode = 1, "constant"


class ConstantPad2d(_Constant):
    """``value`` around an image: ``padding`` is an int or (left, right, top, bottom).

    >>> nn.ConstantPad2d((1, 0, 0, 1), 9.0)([[[1.0, 2.0]]])
    Tensor([[[9., 1., 2.],
             [9., 9., 9.]]])
    """

    axes, mode = 2, "constant"


class ConstantPad3d(_Constant):
    """``value`` around a volume: ``padding`` is an int or (left, right, top, bottom, front, back).

    >>> nn.ConstantPad3d(1, -1.0)(tn.ones((3, 4, 5, 5))).shape
    (3, 6, 7, 7)
    """

    axes, mode = 3, "constant"


class ReflectionPad1d(_Padding):
    """A sequence mirrored at its ends, which are not repeated: ``padding`` is an int or (left, right).

    >>> nn.ReflectionPad1d(2)([[1.0, 2.0, 3.0]])
    Tensor([[3., 2., 1., 2., 3., 2., 1.]])
    """

    axes, mode = 1, "reflect"


class ReflectionPad2d(_Padding):
    """An image mirrored at its ends, which are not repeated: ``padding`` is an int or (left, right, top, bottom).

    >>> nn.ReflectionPad2d((0, 1, 1, 0))([[[1.0, 2.0], [3.0, 4.0]]])
    Tensor([[[3., 4., 3.],
             [1., 2., 1.],
             [3., 4., 3.]]])
    """

    axes, mode = 2, "reflect"


class ReflectionPad3d(_Padding):
    """A volume mirrored at its ends, which are not repeated: an int or (left, right, top, bottom, front, back).

    >>> nn.ReflectionPad3d(1)(tn.ones((3, 4, 5, 5))).shape
    (3, 6, 7, 7)
    """

    axes, mode = 3, "reflect"


class ReplicationPad1d(_Padding):
    """A sequence with its ends repeated: ``padding`` is an int or (left, right).

    >>> nn.ReplicationPad1d(2)([[1.0, 2.0, 3.0]])
    Tensor([[1., 1., 1., 2., 3., 3., 3.]])
    """

    axes, mode = 1, "edge"


class ReplicationPad2d(_Padding):
    """An image with its ends repeated: ``padding`` is an int or (left, right, top, bottom).

    >>> nn.ReplicationPad2d((0, 1, 1, 0))([[[1.0, 2.0], [3.0, 4.0]]])
    Tensor([[[1., 2., 2.],
             [1., 2., 2.],
             [3., 4., 4.]]])
    """

    axes, mode = 2, "edge"


class ReplicationPad3d(_Padding):
    """A volume with its ends repeated: ``padding`` is an int or (left, right, top, bottom, front, back).

    >>> nn.ReplicationPad3d(1)(tn.ones((3, 4, 5, 5))).shape
    (3, 6, 7, 7)
    """

    axes, mode = 3, "edge"


class CircularPad1d(_Padding):
    """A sequence that goes on at its other end: ``padding`` is an int or (left, right).

    >>> nn.CircularPad1d(2)([[1.0, 2.0, 3.0]])
    Tensor([[2., 3., 1., 2., 3., 1., 2.]])
    """

    axes, mode = 1, "wrap"


class CircularPad2d(_Padding):
    """An image that goes on at its other end: ``padding`` is an int or (left, right, top, bottom).

    >>> nn.CircularPad2d((0, 1, 1, 0))([[[1.0, 2.0], [3.0, 4.0]]])
    Tensor([[[3., 4., 3.],
             [1., 2., 1.],
             [3., 4., 3.]]])
    """

    axes, mode = 2, "wrap"


class CircularPad3d(_Padding):
    """A volume that goes on at its other end: ``padding`` is an int or (left, right, top, bottom, front, back).

    >>> nn.CircularPad3d(1)(tn.ones((3, 4, 5, 5))).shape
    (3, 6, 7, 7)
    """

    axes, mode = 3, "wrap"
