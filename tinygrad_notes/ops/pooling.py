"""Pooling over sequences, images and volumes: largest element, mean or norm of every window.

Operands are (N, C, L), (N, C, H, W) or (N, C, D, H, W), or without the batch axis N. The ops take any number of spatial
axes, as many as their sizes have numbers; the public functions say how many.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes import kernels
from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.ops.arguments import flag, number
from tinygrad_notes.ops.comparison import where
from tinygrad_notes.ops.shape import operand, reshape
from tinygrad_notes.ops.windows import (
    SPACES,
    adaptive_size,
    batched,
    check_axes,
    check_fits,
    check_not_empty,
    of_axes,
    per_axis,
    pooling_window,
)
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import as_floating, to_array, wrap

# ---------------------------------------------------------------------- the largest


@op
def max_pool_(x: Array, kernel_size, stride, padding, dilation, ceil_mode, return_indices):
    axes, ndim = len(kernel_size), x.ndim
    check_not_empty(x, axes)
    size = x.shape[-axes:]
    check_fits(size, kernel_size, padding, dilation, stride if ceil_mode else None)
    if max(dilation) > 1 and max(padding) > 0:
        _check_seen(size, (kernel_size, stride, padding, dilation), ceil_mode)
    images = batched(as_floating(x), axes)
    value, indices = kernels.max_pool(images, kernel_size, stride, padding, dilation, ceil_mode)
    value, indices = of_axes(value, ndim), of_axes(indices, ndim)
    if return_indices:
        return (value, indices), lambda g: max_pool_grad(g[0], indices, size)
    return value, lambda g: max_pool_grad(g, indices, size)


@op
def max_pool_grad(g_: Array, indices, input_size):
    """Zeros of ``input_size`` with the gradients added where the maxima stood. Its derivative is max_pool_gather."""
    axes = len(input_size)
    value = kernels.max_pool_grad(batched(as_floating(g_), axes), batched(indices, axes), input_size)
    return of_axes(value, g_.ndim), lambda g: max_pool_gather(g, indices, axes)


@op
def max_pool_gather(x: Array, indices, axes):
    """The elements of x at ``indices``, which count its last ``axes`` axes. Its derivative is max_pool_grad."""
    size = x.shape[-axes:]
    value = kernels.max_pool_gather(batched(as_floating(x), axes), batched(indices, axes))
    return of_axes(value, x.ndim), lambda g: max_pool_grad(g, indices, size)


def _check_seen(size, window, ceil_mode):
    """With dilation, a window at the rim can step over all of x and see nothing but padding."""
    for n, k, s, p, d in zip(size, *window):
        last = n + 2 * p - d * (k - 1) - 1 + (s - 1 if ceil_mode else 0)
        starts = [start for start in range(-p, last - p + 1, s) if start < n]
        places = np.add.outer(starts, np.arange(k) * d)
        if not ((places >= 0) & (places < n)).any(axis=1).all():
            raise ShapeError(
                f"a window with kernel_size {window[0]}, dilation {window[3]} and padding {window[2]} sees nothing "
                f"but padding on a {SPACES[len(size)]} of size {tuple(size)}"
            )


def _max_pool(axes, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices):
    window = pooling_window(kernel_size, stride, padding, axes)
    options = flag(ceil_mode, "ceil_mode"), flag(return_indices, "return_indices")
    return max_pool_(x, *window, per_axis(dilation, axes, "dilation", 1), *options)


@named
def max_pool1d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The largest element of each window of x (N, C, L): (N, C, ol). See :func:`max_pool2d`.

    >>> tn.max_pool1d([[1.0, 3.0, 2.0, 0.0]], 2)
    Tensor([[3., 2.]])
    """
    return _max_pool(1, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@named
def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The largest element of each window of x: (N, C, oh, ow). The first of equals, or first NaN, gets the gradient.

    oh = ⌊(H + 2 padding - dilation (kh - 1) - 1) / stride⌋ + 1, rounded up with ``ceil_mode``. Sizes are an int, or one
    for each spatial axis; ``stride`` None is ``kernel_size``. Padding never wins and is at most half the kernel. With
    ``return_indices`` also where each maximum stands in its plane, row·W + column (int32; PyTorch's are int64).

    >>> tn.max_pool2d([[[1.0, 2.0, 0.0], [4.0, 3.0, 5.0]]], (2, 1))
    Tensor([[[4., 3., 5.]]])
    """
    return _max_pool(2, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@named
def max_pool3d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """The largest element of each window of x (N, C, D, H, W): (N, C, od, oh, ow). See :func:`max_pool2d`.

    >>> tn.max_pool3d(tn.ones((2, 3, 8, 6, 6)), (1, 2, 2)).shape
    (2, 3, 8, 3, 3)
    """
    return _max_pool(3, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@op
def adaptive_max_pool_(x: Array, output_size, return_indices):
    axes, ndim = len(output_size), x.ndim
    check_not_empty(x, axes)
    size = x.shape[-axes:]
    value, indices = kernels.adaptive_max_pool(batched(as_floating(x), axes), _counts(output_size, size))
    value, indices = of_axes(value, ndim), of_axes(indices, ndim)
    if return_indices:
        return (value, indices), lambda g: max_pool_grad(g[0], indices, size)
    return value, lambda g: max_pool_grad(g, indices, size)


@named
def adaptive_max_pool1d(x, output_size, return_indices=False):
    """The largest element of each of ``output_size`` windows that cover x (N, C, L): (N, C, output_size).

    >>> tn.adaptive_max_pool1d([[1.0, 3.0, 2.0, 0.0, 1.0]], 2)
    Tensor([[3., 2.]])
    """
    return adaptive_max_pool_(x, adaptive_size(output_size, 1), flag(return_indices, "return_indices"))


@named
def adaptive_max_pool2d(x, output_size, return_indices=False):
    """The largest element of each of ``output_size`` windows that cover x (N, C, H, W): (N, C, *output_size).

    The windows are those of :func:`adaptive_avg_pool2d`; ties and ``return_indices`` are as in :func:`max_pool2d`.

    >>> tn.adaptive_max_pool2d([[[1.0, 2.0, 0.0], [4.0, 3.0, 5.0]]], (None, 1))
    Tensor([[[2.],
             [5.]]])
    """
    return adaptive_max_pool_(x, adaptive_size(output_size, 2), flag(return_indices, "return_indices"))


@named
def adaptive_max_pool3d(x, output_size, return_indices=False):
    """The largest element of each of ``output_size`` windows that cover x (N, C, D, H, W): (N, C, *output_size).

    >>> tn.adaptive_max_pool3d(tn.ones((2, 3, 8, 6, 5)), (None, 2, 2)).shape
    (2, 3, 8, 2, 2)
    """
    return adaptive_max_pool_(x, adaptive_size(output_size, 3), flag(return_indices, "return_indices"))


@named
def max_unpool2d(x, indices, kernel_size, stride=None, padding=0, output_size=None):
    """The elements of x (N, C, h, w) put back where max_pool2d found them, 0 elsewhere: (N, C, H, W).

    ``indices`` are those of ``max_pool2d(..., return_indices=True)``. H = (h - 1) stride - 2 padding + kernel_size, or
    ``output_size`` (H, W), less than one stride from it. Where windows overlap a place may be named twice: the last
    element stands there and gets the gradient (PyTorch leaves open which one stands, and gives all of them a gradient).

    >>> y, indices = tn.max_pool2d([[[1.0, 2.0], [4.0, 3.0]]], 2, return_indices=True)
    >>> tn.max_unpool2d(y, indices, 2)
    Tensor([[[0., 0.],
             [4., 0.]]])
    """
    x, places = operand(x), to_array(indices)
    check_axes(x, 2)
    if places.dtype.kind not in "iu":
        raise DTypeError(f"indices has dtype {places.dtype}, expected integers")
    if places.shape != x.shape:
        raise ShapeError(f"indices has shape {tuple(places.shape)}, expected that of x, {tuple(x.shape)}")
    size = _unpooled_size(x.shape[-2:], pooling_window(kernel_size, stride, padding, 2), output_size)
    area, planes, windows = math.prod(size), math.prod(x.shape[:-2]), math.prod(x.shape[-2:])
    if places.size and not 0 <= int(places.min()) <= int(places.max()) < area:
        wrong = int(places.min()) if int(places.min()) < 0 else int(places.max())
        raise IndexError(f"index {wrong} is out of range for a plane of size {size}")
    value = wrap(np.zeros_like(as_floating(x.data), shape=(planes, area)))
    first = np.arange(planes, like=places).reshape(planes, 1)
    value[first, places.reshape(planes, windows)] = reshape(x, (planes, windows))
    return reshape(value, (*x.shape[:-2], *size))


def _unpooled_size(counts, window, output_size):
    size = tuple((n - 1) * s - 2 * p + k for n, k, s, p in zip(counts, *window))
    if output_size is None:
        wanted = size
    else:
        spatial = output_size[-2:] if isinstance(output_size, list | tuple) else output_size
        wanted = per_axis(spatial, 2, "output_size", 1)
        if any(abs(a - b) >= s for a, b, s in zip(wanted, size, window[1])):
            raise ShapeError(f"output_size is {output_size!r}, expected less than stride {window[1]} from {size}")
    if min(wanted) < 1:
        raise ShapeError(f"the value would have size {wanted}: padding {window[2]} cuts everything off")
    return wanted


# ---------------------------------------------------------------------- the mean


@op
def avg_pool_(x: Array, kernel_size, stride, padding, ceil_mode, count_include_pad):
    axes, ndim = len(kernel_size), x.ndim
    check_not_empty(x, axes)
    size, options = x.shape[-axes:], (kernel_size, stride, padding, ceil_mode, count_include_pad)
    check_fits(size, kernel_size, padding, (1,) * axes, stride if ceil_mode else None)
    value = kernels.avg_pool(batched(as_floating(x), axes), *options)
    return of_axes(value, ndim), lambda g: avg_pool_grad(g, size, *options)


@op
def avg_pool_grad(g_: Array, input_size, kernel_size, stride, padding, ceil_mode, count_include_pad):
    """Every element of a window gets its share of the window's gradient. Its derivative is avg_pool."""
    options = kernel_size, stride, padding, ceil_mode, count_include_pad
    value = kernels.avg_pool_grad(batched(as_floating(g_), len(input_size)), input_size, *options)
    return of_axes(value, g_.ndim), lambda g: avg_pool_(g, *options)


def _avg_pool(axes, x, kernel_size, stride, padding, ceil_mode, count_include_pad):
    window = pooling_window(kernel_size, stride, padding, axes)
    return avg_pool_(x, *window, flag(ceil_mode, "ceil_mode"), flag(count_include_pad, "count_include_pad"))


@named
def avg_pool1d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean of each window of x (N, C, L): (N, C, ol). See :func:`avg_pool2d`.

    >>> tn.avg_pool1d([[1.0, 3.0, 2.0, 0.0]], 2, stride=1)
    Tensor([[2. , 2.5, 1. ]])
    """
    return _avg_pool(1, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


@named
def avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean of each window of x (N, C, H, W): (N, C, oh, ow), with oh as in max_pool2d.

    The zeros of ``padding`` count as elements, or not, with ``count_include_pad=False``; what a last window of
    ``ceil_mode`` sees beyond them never counts.

    >>> tn.avg_pool2d([[[1.0, 2.0], [3.0, 4.0]]], 2)
    Tensor([[[2.5]]])
    """
    return _avg_pool(2, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


@named
def avg_pool3d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """The mean of each window of x (N, C, D, H, W): (N, C, od, oh, ow). See :func:`avg_pool2d`.

    >>> tn.avg_pool3d(tn.ones((2, 3, 8, 6, 6)), 2).shape
    (2, 3, 4, 3, 3)
    """
    return _avg_pool(3, x, kernel_size, stride, padding, ceil_mode, count_include_pad)


@op
def adaptive_avg_pool_(x: Array, output_size):
    axes, ndim = len(output_size), x.ndim
    check_not_empty(x, axes)
    size = x.shape[-axes:]
    value = kernels.adaptive_avg_pool(batched(as_floating(x), axes), _counts(output_size, size))
    return of_axes(value, ndim), lambda g: adaptive_avg_pool_grad(g, size)


@op
def adaptive_avg_pool_grad(g_: Array, input_size):
    """Every element of a window gets its share of the window's gradient. Its derivative is adaptive_avg_pool."""
    axes = len(input_size)
    output_size = g_.shape[-axes:]
    value = kernels.adaptive_avg_pool_grad(batched(as_floating(g_), axes), input_size)
    return of_axes(value, g_.ndim), lambda g: adaptive_avg_pool_(g, output_size)


def _counts(output_size, size):
    return tuple(n if wanted is None else wanted for wanted, n in zip(output_size, size))


@named
def adaptive_avg_pool1d(x, output_size):
    """Means over ``output_size`` windows that cover x (N, C, L): (N, C, output_size). See :func:`adaptive_avg_pool2d`.

    >>> tn.adaptive_avg_pool1d([[1.0, 3.0, 2.0]], 2)
    Tensor([[2. , 2.5]])
    """
    return adaptive_avg_pool_(x, adaptive_size(output_size, 1))


@named
def adaptive_avg_pool2d(x, output_size):
    """Means over ``output_size`` windows that cover x (N, C, H, W): (N, C, *output_size).

    Window i of n over a length L runs from ⌊iL/n⌋ to ⌈(i + 1)L/n⌉, so windows may overlap. ``output_size``: an int, or
    one for each spatial axis, of which None keeps the size of x. 1 is global average pooling.

    >>> tn.adaptive_avg_pool2d([[[1.0, 2.0], [3.0, 4.0]]], (None, 1))
    Tensor([[[1.5],
             [3.5]]])
    """
    return adaptive_avg_pool_(x, adaptive_size(output_size, 2))


@named
def adaptive_avg_pool3d(x, output_size):
    """Means over ``output_size`` windows that cover x (N, C, D, H, W). See :func:`adaptive_avg_pool2d`.

    >>> tn.adaptive_avg_pool3d(tn.ones((2, 3, 8, 6, 5)), 1).shape
    (2, 3, 1, 1, 1)
    """
    return adaptive_avg_pool_(x, adaptive_size(output_size, 3))


# ---------------------------------------------------------------------- the norm


@named
def lp_pool2d(x, norm_type, kernel_size, stride=None, ceil_mode=False):
    """(Σ xᵖ)^(1/p) of each window of x (N, C, H, W), p = ``norm_type``: the sum at 1, nearly the largest for a large p.

    xᵖ is not |x|ᵖ: an odd p may give NaN for negative x, as in PyTorch. Where the sum is 0 the gradient is 0. A last
    window of ``ceil_mode`` that reaches beyond x counts its elements as often as fills the window. An infinite p is
    refused: use max_pool2d.

    >>> tn.lp_pool2d([[[3.0, 4.0], [0.0, 0.0]]], 2, (1, 2))
    Tensor([[[5.],
             [0.]]])
    """
    p = number(norm_type, "norm_type")
    if not 0 < p < math.inf:
        raise ShapeError(f"norm_type is {norm_type!r}, expected a finite number above 0")
    x, window = operand(x), pooling_window(kernel_size, stride, 0, 2)
    check_not_empty(x, 2)
    beyond = window[1] if flag(ceil_mode, "ceil_mode") else None
    check_fits(x.shape[-2:], window[0], (0, 0), (1, 1), beyond)
    total = avg_pool_(x**p, *window, ceil_mode, True) * math.prod(window[0])
    empty = total.detach() == 0  # there 0^(1/p) has no derivative
    return where(empty, 0.0, where(empty, 1.0, total) ** (1.0 / p))
