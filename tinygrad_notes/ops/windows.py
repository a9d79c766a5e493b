"""Arguments of convolution and pooling: sizes for one to three spatial axes, operands with and without a batch axis."""

from __future__ import annotations

import operator

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.tensor import Tensor

# By the number of spatial axes: the shapes of an operand, what sizes are for, what a kernel slides over, and the least.
SHAPES = {1: "(N, C, L) or (C, L)", 2: "(N, C, H, W) or (C, H, W)", 3: "(N, C, D, H, W) or (C, D, H, W)"}
SIZES = {
    1: "an integer",
    2: "an integer or two, for rows and columns",
    3: "an integer or three, for depth, rows and columns",
}
SPACES = {1: "sequence", 2: "plane", 3: "volume"}
LEAST = {1: "at least one element", 2: "at least one row and one column", 3: "at least one plane, row and column"}


def per_axis(value, axes, name, least):
    """An int, or one for each of the spatial axes, each at least ``least``, as a tuple."""
    if type(value) is int:
        if value < least:
            raise ShapeError(f"{name} is {value}, expected at least {least}")
        return (value,) * axes
    sizes = value if isinstance(value, list | tuple) else (value,) * axes
    if len(sizes) != axes:
        raise ShapeError(f"{name} is {value!r}, expected {SIZES[axes]}")
    if any(isinstance(n, bool | Tensor) or not hasattr(n, "__index__") for n in sizes):
        raise DTypeError(f"{name} is {value!r}, expected {SIZES[axes]}")
    sizes = tuple(map(operator.index, sizes))
    if min(sizes) < least:
        raise ShapeError(f"{name} is {value!r}, expected at least {least}")
    return sizes


def pooling_window(kernel_size, stride, padding, axes, name=""):
    """Kernel size, stride (None is the kernel size) and padding of a pooling, for each axis. ``name``: of whom."""
    kernel, pads = per_axis(kernel_size, axes, f"{name}kernel_size", 1), per_axis(padding, axes, f"{name}padding", 0)
    if any(2 * p > k for p, k in zip(pads, kernel)):
        raise ShapeError(f"{name}padding is {padding!r}, expected at most half of kernel_size, {kernel_size!r}")
    return kernel, kernel if stride is None else per_axis(stride, axes, f"{name}stride", 1), pads


def adaptive_size(output_size, axes, name="output_size"):
    """A number of windows for each axis; None stands for the size of the operand."""
    if type(output_size) is int and output_size > 0:
        return (output_size,) * axes
    sizes = tuple(output_size) if isinstance(output_size, list | tuple) else (output_size,) * axes
    per_axis(tuple(1 if n is None else n for n in sizes), axes, name, 1)
    return sizes


def check_axes(x, axes):
    """``x`` has ``axes`` spatial axes behind its channels, and perhaps a batch axis before them."""
    if x.ndim not in (axes + 1, axes + 2):
        raise ShapeError(f"x has shape {tuple(x.shape)}, expected {SHAPES[axes]}")


def check_not_empty(x, axes):
    """``x`` has an element along each spatial axis."""
    check_axes(x, axes)
    if 0 in x.shape[-axes:]:
        raise ShapeError(f"x has shape {tuple(x.shape)}, expected {LEAST[axes]}")


def check_fits(size, kernel_size, padding, dilation, beyond=None):
    """A window is not larger than the padded operand, or by less than its stride, ``beyond``, with ``ceil_mode``."""
    for n, k, p, d, b in zip(size, kernel_size, padding, dilation, beyond or (1,) * len(size)):
        if d * (k - 1) + 1 >= n + 2 * p + b:
            break
    else:
        return
    kernel_size, axes = tuple(kernel_size), len(size)
    spans = tuple(d * (k - 1) + 1 for k, d in zip(kernel_size, dilation))
    padded = tuple(n + 2 * p for n, p in zip(size, padding))
    dilated = "" if spans == kernel_size else f", which spans {spans} with dilation {dilation},"
    raise ShapeError(f"a kernel of size {kernel_size}{dilated} is larger than the padded {SPACES[axes]} {padded}")


def batched(x, axes):
    """An operand without a batch axis as a batch of one."""
    return x if x.ndim == axes + 2 else x.reshape((1, *x.shape))


def of_axes(y, ndim):
    """``y`` with the ``ndim`` axes of the operand: a batch of one loses its first where that had none."""
    return y if y.ndim == ndim else y.reshape(y.shape[1:])
