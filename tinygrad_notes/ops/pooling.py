"""Pooling over images (N, C, H, W), or one image (C, H, W): largest element or mean of every window."""

from __future__ import annotations

import numpy as np

from tinygrad_notes import kernels
from tinygrad_notes.errors import ShapeError
from tinygrad_notes.ops.windows import batched, check_fits, check_images, of_axes, pair
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import as_floating

# ---------------------------------------------------------------------- largest


@op
def max_pool2d(x: Array, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The largest element of each window of x: (N, C, oh, ow). The first of equals, or first NaN, gets the gradient.

    oh = ⌊(H + 2 padding - dilation (kh - 1) - 1) / stride⌋ + 1, rounded up with ``ceil_mode``. Sizes are ints, or two
    for rows and columns; ``stride`` None is ``kernel_size``. Padding never wins and is at most half the kernel. With
    ``return_indices`` also where each maximum stands in its plane, row·W + column (int32).
    """
    kernel, step, pads = _window(x, kernel_size, stride, padding)
    dilated = pair(dilation, "dilation", 1)
    check_fits(x.shape[-2:], kernel, pads, dilated)
    if dilated != (1, 1) and pads != (0, 0):
        _check_seen(x.shape[-2:], (kernel, step, pads, dilated), ceil_mode)
    ndim, size = x.ndim, x.shape[-2:]
    value, indices = kernels.max_pool2d(batched(as_floating(x)), kernel, step, pads, dilated, bool(ceil_mode))
    value, indices = of_axes(value, ndim), of_axes(indices, ndim)
    if return_indices:
        return (value, indices), lambda g: max_pool2d_grad(g[0], indices, size)
    return value, lambda g: max_pool2d_grad(g, indices, size)


@op
def max_pool2d_grad(g_: Array, indices, input_size):
    """Zeros of ``input_size`` with the gradients added where the maxima stood. Its derivative is max_pool2d_gather."""
    value = kernels.max_pool2d_grad(batched(as_floating(g_)), batched(indices), input_size)
    return of_axes(value, g_.ndim), lambda g: max_pool2d_gather(g, indices)


@op
def max_pool2d_gather(x: Array, indices):
    """The elements of each plane at ``indices``. Its derivative is max_pool2d_grad."""
    size = x.shape[-2:]
    value = kernels.max_pool2d_gather(batched(as_floating(x)), batched(indices))
    return of_axes(value, x.ndim), lambda g: max_pool2d_grad(g, indices, size)


# ---------------------------------------------------------------------- mean


@op
def avg_pool2d(x: Array, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean of each window of x: (N, C, oh, ow), with oh as in max_pool2d.

    The zeros of ``padding`` count as elements, or not, with ``count_include_pad=False``; what a last window of
    ``ceil_mode`` sees beyond them never counts.
    """
    window = _window(x, kernel_size, stride, padding)
    check_fits(x.shape[-2:], window[0], window[2], (1, 1))
    modes = bool(ceil_mode), bool(count_include_pad)
    ndim, size = x.ndim, x.shape[-2:]
    value = kernels.avg_pool2d(batched(as_floating(x)), *window, *modes)
    return of_axes(value, ndim), lambda g: avg_pool2d_grad(g, size, *window, *modes)


@op
def avg_pool2d_grad(g_: Array, input_size, kernel_size, stride, padding, ceil_mode, count_include_pad):
    """Every element of a window gets its share of the window's gradient. Its derivative is avg_pool2d."""
    options = kernel_size, stride, padding, ceil_mode, count_include_pad
    value = kernels.avg_pool2d_grad(batched(as_floating(g_)), input_size, *options)
    return of_axes(value, g_.ndim), lambda g: avg_pool2d(g, *options)


@op
def adaptive_avg_pool2d(x: Array, output_size):
    """Means over ``output_size`` windows that cover x: (N, C, *output_size).

    Window i of n over a length L runs from ⌊iL/n⌋ to ⌈(i + 1)L/n⌉, so windows may overlap. ``output_size``: an int, or
    two, of which None keeps the size of x. 1 is global average pooling.
    """
    _check_planes(x)
    sizes = output_size if isinstance(output_size, list | tuple) else (output_size, output_size)
    size, ndim = x.shape[-2:], x.ndim
    if len(sizes) == 2:
        sizes = tuple(n if wanted is None else wanted for wanted, n in zip(sizes, size))
    value = kernels.adaptive_avg_pool2d(batched(as_floating(x)), pair(sizes, "output_size", 1))
    return of_axes(value, ndim), lambda g: adaptive_avg_pool2d_grad(g, size)


@op
def adaptive_avg_pool2d_grad(g_: Array, input_size):
    """Every element of a window gets its share of the window's gradient. Its derivative is adaptive_avg_pool2d."""
    output_size = g_.shape[-2:]
    value = kernels.adaptive_avg_pool2d_grad(batched(as_floating(g_)), input_size)
    return of_axes(value, g_.ndim), lambda g: adaptive_avg_pool2d(g, output_size)


# ---------------------------------------------------------------------- arguments


def _window(x, kernel_size, stride, padding):
    """Kernel size, stride and padding as pairs, checked."""
    _check_planes(x)
    kernel, pads = pair(kernel_size, "kernel_size", 1), pair(padding, "padding", 0)
    if any(2 * p > k for p, k in zip(pads, kernel)):
        raise ShapeError(f"padding is {padding!r}, expected at most half of kernel_size, {kernel_size!r}")
    return kernel, kernel if stride is None else pair(stride, "stride", 1), pads


def _check_planes(x):
    check_images(x)
    if 0 in x.shape[-2:]:
        raise ShapeError(f"x has shape {tuple(x.shape)}, expected at least one row and one column")


def _check_seen(size, window, ceil_mode):
    """With dilation, a window at the rim can step over the whole plane and see nothing but padding."""
    for n, k, s, p, d in zip(size, *window):
        last = n + 2 * p - d * (k - 1) - 1 + (s - 1 if ceil_mode else 0)
        starts = [start for start in range(-p, last - p + 1, s) if start < n]
        places = np.add.outer(starts, np.arange(k) * d)
        if not ((places >= 0) & (places < n)).any(axis=1).all():
            raise ShapeError(
                f"a window with kernel_size {window[0]}, dilation {window[3]} and padding {window[2]} sees nothing "
                f"but padding on a plane of size {tuple(size)}"
            )
