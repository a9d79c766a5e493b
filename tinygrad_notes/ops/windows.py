"""Arguments of convolution and pooling: sizes for two spatial axes, images with and without a batch axis."""

from __future__ import annotations

import operator

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.tensor import Tensor


def pair(value, name, least):
    """An int, or two of them, each at least ``least``, as a tuple of two."""
    sizes = value if isinstance(value, list | tuple) else (value, value)
    if len(sizes) != 2:
        raise ShapeError(f"{name} is {value!r}, expected an integer or two, for rows and columns")
    if any(isinstance(n, bool | Tensor) or not hasattr(n, "__index__") for n in sizes):
        raise DTypeError(f"{name} is {value!r}, expected an integer or two, for rows and columns")
    sizes = (operator.index(sizes[0]), operator.index(sizes[1]))
    if sizes[0] < least or sizes[1] < least:
        raise ShapeError(f"{name} is {value!r}, expected at least {least}")
    return sizes


def check_images(x, name="x"):
    """``x`` is (N, C, H, W), or one image (C, H, W)."""
    if x.ndim not in (3, 4):
        raise ShapeError(f"{name} has shape {tuple(x.shape)}, expected (N, C, H, W) or (C, H, W)")


def check_fits(size, kernel_size, padding, dilation):
    """A window is not larger than the padded plane."""
    spans = tuple(d * (k - 1) + 1 for k, d in zip(kernel_size, dilation))
    padded = tuple(n + 2 * p for n, p in zip(size, padding))
    if spans[0] > padded[0] or spans[1] > padded[1]:
        dilated = "" if spans == kernel_size else f", which spans {spans} with dilation {dilation},"
        raise ShapeError(f"a kernel of size {kernel_size}{dilated} is larger than the padded plane {padded}")


def batched(x):
    """One image as a batch of one."""
    return x if x.ndim == 4 else x.reshape((1, *x.shape))


def of_axes(y, ndim):
    """A batch of one as one image, when that is what came in: ``y`` loses its first axis where ``ndim`` is 3."""
    return y if ndim == 4 else y.reshape(y.shape[1:])
