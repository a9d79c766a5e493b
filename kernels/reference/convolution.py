"""Convolution as a matrix product over the windows of its input, along any number of spatial axes.

The windows are written out as columns of a matrix (im2col); then convolution is weight @ columns, the gradient of the
weight is gradient @ columnsᵀ, and the gradient of the input adds the columns weightᵀ @ gradient back where they were
read (col2im). Transposed convolution is that gradient of the input, taken as an op of its own.

``size`` stands for the spatial axes of an input, (L,), (H, W) or (D, H, W), and ``counts`` for the windows along them.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes.kernels.reference.windows import (
    Array,
    Size,
    add_windows,
    inside,
    pad,
    padded_size,
    read_windows,
    window_counts,
)


def im2col(x: Array, kernel_size: Size, stride: Size, padding: Size, dilation: Size) -> Array:
    """The windows of x (N, C, *size) as columns: (N, C·Πkernel_size, Πcounts).

    counts = ⌊(size + 2p - d(k - 1) - 1) / s⌋ + 1 along each axis. In two dimensions row (c·kh + i)·kw + j, column
    y·ow + x holds the padded input at (c, y·s + i·d, x·s + j·d). Linear; its derivative is ``col2im``.
    """
    images, channels = x.shape[:2]
    counts = window_counts(x.shape[2:], kernel_size, stride, padding, dilation)
    columns = np.empty_like(x, shape=(images, channels, *kernel_size, *counts))
    read_windows(_pad(x, counts, kernel_size, stride, padding, dilation), columns, stride, dilation)
    return columns.reshape(images, channels * math.prod(kernel_size), math.prod(counts))


def col2im(columns: Array, output_size: Size, kernel_size: Size, stride: Size, padding: Size, dilation: Size) -> Array:
    """Add columns (N, C·Πkernel_size, Πcounts) up where ``im2col`` read them: (N, C, *output_size).

    Linear; its derivative is ``im2col``.
    """
    counts = window_counts(output_size, kernel_size, stride, padding, dilation)
    images, channels = columns.shape[0], columns.shape[1] // math.prod(kernel_size)
    columns = columns.reshape(images, channels, *kernel_size, *counts)
    return _sum_windows(columns, output_size, kernel_size, stride, padding, dilation)


def conv(
    x: Array, weight: Array, bias: Array | None, stride: Size, padding: Size, dilation: Size, groups: int
) -> Array:
    """Cross-correlation of x (N, C, *size) with weight (O, C/groups, *kernel_size), plus bias (O,) or None.

    In two dimensions y[n, o, y, x] = b[o] + Σ_{c,i,j} w[o, c, i, j] · padded x[n, group(o)·C/groups + c, y·s + i·d,
    x·s + j·d], of shape (N, O, *counts); the others likewise. Derivatives: ``conv_transpose`` for x,
    ``conv_weight_grad`` for weight, the sum over all axes but O for bias.
    """
    outputs, kernel_size = weight.shape[0], weight.shape[2:]
    counts = window_counts(x.shape[2:], kernel_size, stride, padding, dilation)
    columns = _columns(x, counts, kernel_size, stride, padding, dilation, groups)
    y = np.matmul(weight.reshape(groups, outputs // groups, columns.shape[1]), columns)
    if bias is not None:
        y = y + bias.reshape(groups, outputs // groups, 1)
    return y.reshape(outputs, x.shape[0], *counts).swapaxes(0, 1).copy()


def conv_im2col(
    x: Array, weight: Array, bias: Array | None, stride: Size, padding: Size, dilation: Size, groups: int
) -> Array:
    """``conv`` spelled out: ``im2col``, then one matrix product for each group of channels."""
    kernel_size = weight.shape[2:]
    counts = window_counts(x.shape[2:], kernel_size, stride, padding, dilation)
    images, outputs, rows = x.shape[0], weight.shape[0], math.prod(weight.shape[1:])
    columns = im2col(x, kernel_size, stride, padding, dilation).reshape(images, groups, rows, math.prod(counts))
    y = np.matmul(weight.reshape(groups, outputs // groups, rows), columns)  # (N, groups, O/groups, Πcounts)
    y = y.reshape(images, outputs, *counts)
    return y if bias is None else y + _per_channel(bias, y)


def conv_transpose(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Size,
    padding: Size,
    dilation: Size,
    groups: int,
    output_size: Size,
) -> Array:
    """Transposed convolution of x (N, C, *counts) with weight (C, O/groups, *kernel_size): (N, O, *output_size).

    x at place y times w at offset i is added at y·s + i·d - p along each axis; what falls outside is dropped. It is the
    gradient of ``conv`` with respect to an input of size ``output_size``; elements of it that no window saw get 0. Then
    the bias (O,) is added. Derivatives: ``conv`` for x, ``conv_weight_grad`` with the roles of x and g exchanged for
    weight.
    """
    images, channels, *counts = x.shape
    outputs, kernel_size = weight.shape[1] * groups, weight.shape[2:]
    rows = math.prod(weight.shape[1:])
    matrix = weight.reshape(groups, channels // groups, rows).swapaxes(1, 2)
    columns = np.matmul(matrix, _channels_first(x, groups))  # (groups, O/groups·Πkernel_size, N·Πcounts)
    columns = columns.reshape(outputs, *kernel_size, images, *counts)
    y = _sum_windows(_images_first(columns), output_size, kernel_size, stride, padding, dilation)
    return y if bias is None else y + _per_channel(bias, y)


def conv_weight_grad(
    x: Array, g: Array, kernel_size: Size, stride: Size, padding: Size, dilation: Size, groups: int
) -> Array:
    """Gradient of ``conv``'s weight, (O, C/groups, *kernel_size), from x (N, C, *size) and g (N, O, *counts).

    In two dimensions gw[o, c, i, j] = Σ_{n,y,x} g[n, o, y, x] · padded x[n, group(o)·C/groups + c, y·s + i·d,
    x·s + j·d]. Bilinear.
    """
    columns = _columns(x, g.shape[2:], kernel_size, stride, padding, dilation, groups)
    gradient = np.matmul(_channels_first(g, groups), columns.swapaxes(1, 2))
    return gradient.reshape(g.shape[1], x.shape[1] // groups, *kernel_size)


def _columns(
    x: Array, counts: Size, kernel_size: Size, stride: Size, padding: Size, dilation: Size, groups: int
) -> Array:
    """The windows of all images side by side, (groups, C/groups·Πkernel_size, N·Πcounts): one product for the batch."""
    images, channels = x.shape[:2]
    columns = np.empty_like(x, shape=(channels, *kernel_size, images, *counts))
    padded = _pad(x, counts, kernel_size, stride, padding, dilation)
    read_windows(padded, _images_first(columns), stride, dilation)
    return columns.reshape(groups, channels // groups * math.prod(kernel_size), images * math.prod(counts))


def _sum_windows(columns: Array, size: Size, kernel_size: Size, stride: Size, padding: Size, dilation: Size) -> Array:
    """Columns (N, C, *kernel_size, *counts) added up to (N, C, *size)."""
    counts = columns.shape[2 + len(kernel_size) :]
    padded = padded_size(size, counts, kernel_size, stride, padding, dilation)
    total = np.zeros_like(columns, shape=columns.shape[:2] + padded)
    add_windows(columns, total, stride, dilation)
    return total if padded == size else total[inside(size, padding)].copy()


def _pad(x: Array, counts: Size, kernel_size: Size, stride: Size, padding: Size, dilation: Size) -> Array:
    return pad(x, padded_size(x.shape[2:], counts, kernel_size, stride, padding, dilation), padding)


def _images_first(columns: Array) -> Array:
    """(C, *kernel_size, N, *counts) seen as (N, C, *kernel_size, *counts)."""
    return np.moveaxis(columns, columns.ndim // 2, 0)


def _channels_first(x: Array, groups: int) -> Array:
    """(N, C, *size) as (groups, C/groups, N·size)."""
    images, channels = x.shape[:2]
    return x.swapaxes(0, 1).reshape(groups, channels // groups, images * math.prod(x.shape[2:]))


def _per_channel(bias: Array, y: Array) -> Array:
    return bias.reshape(-1, *(1,) * (y.ndim - 2))
