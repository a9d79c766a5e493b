"""Pooling over windows of a sequence, a plane or a volume: ``size`` is (L,), (H, W) or (D, H, W), ``counts`` the number
of windows along each axis.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes.kernels.reference.windows import (
    Array,
    Size,
    inside,
    offsets,
    pad,
    padded_size,
    planes,
    window_counts,
)


def max_pool(
    x: Array, kernel_size: Size, stride: Size, padding: Size, dilation: Size, ceil_mode: bool
) -> tuple[Array, Array]:
    """Largest element of each window of x (N, C, *size), and where it stands: (y, indices), both (N, C, *counts).

    ``indices`` (int32) count the elements of ``size`` in C order, row·W + column in two dimensions: the first maximum,
    or the first NaN, which counts as the largest. Padding never wins. Each window must see an element of x.
    """
    size = x.shape[2:]
    counts = window_counts(size, kernel_size, stride, padding, dilation, ceil_mode)
    padded = padded_size(size, counts, kernel_size, stride, padding, dilation)
    x = pad(x, padded, padding, -math.inf)
    places = pad(np.arange(math.prod(size), like=x, dtype=np.int32).reshape(size), padded, padding, -1)
    windows = [(x[seen], places[seen]) for _, seen in offsets(kernel_size, stride, dilation, counts)]

    y = windows[0][0].copy()
    for seen, _ in windows[1:]:
        y = np.maximum(y, seen)  # NaN wins
    indices = np.zeros_like(y, dtype=np.int32)
    for seen, place in reversed(windows):  # so that the first of equals is written last
        largest = (seen == y) | (seen != seen)
        indices = np.where(largest & (place >= 0), place, indices)
    return y, indices


def max_pool_grad(g: Array, indices: Array, input_size: Size) -> Array:
    """Gradient of max_pool's x (N, C, *input_size): each g (N, C, *counts) is added where its maximum stood.

    Linear in g; its derivative is ``max_pool_gather``.
    """
    images, channels = g.shape[:2]
    area = math.prod(input_size)
    first = np.arange(images * channels, like=g, dtype=np.int64) * area  # where each plane starts
    gradient = np.zeros_like(g, shape=(images * channels * area,))
    flat = first.reshape(images, channels, 1) + planes(indices, len(input_size))
    np.add.at(gradient, flat.reshape(-1), g.reshape(-1))
    return gradient.reshape(images, channels, *input_size)


def max_pool_gather(x: Array, indices: Array) -> Array:
    """The elements of x (N, C, *size) at ``indices`` (N, C, *counts), which count the elements of ``size``.

    Linear in x; its derivative is ``max_pool_grad``.
    """
    axes = x.ndim - 2
    return np.take_along_axis(planes(x, axes), planes(indices, axes), axis=-1).reshape(indices.shape)


def adaptive_max_pool(x: Array, output_size: Size) -> tuple[Array, Array]:
    """Largest element of each of output_size windows that cover x (N, C, *size), and where it stands, as in max_pool.

    The windows are those of ``adaptive_avg_pool``. One axis at a time, the last one first: the first row that holds
    the maximum of a window holds its first place.
    """
    size = x.shape[2:]
    places = np.broadcast_to(np.arange(math.prod(size), like=x, dtype=np.int32).reshape(size), x.shape)
    for axis in range(x.ndim - 1, 1, -1):
        values, found = [], []
        for cells in _cells(axis, x.shape, output_size[axis - 2]):
            best = np.expand_dims(np.argmax(x[cells], axis=axis), axis)
            values.append(np.take_along_axis(x[cells], best, axis=axis))
            found.append(np.take_along_axis(places[cells], best, axis=axis))
        x, places = np.concatenate(values, axis=axis), np.concatenate(found, axis=axis)
    return x, places


def avg_pool(
    x: Array, kernel_size: Size, stride: Size, padding: Size, ceil_mode: bool, count_include_pad: bool
) -> Array:
    """Mean of each window of x (N, C, *size): (N, C, *counts).

    The divisor counts the elements of padded x in the window, or with ``count_include_pad=False`` those of x; what a
    window of ``ceil_mode`` sees beyond the padding never counts.
    """
    size, dilation = x.shape[2:], (1,) * len(kernel_size)
    counts = window_counts(size, kernel_size, stride, padding, dilation, ceil_mode)
    total = pad(x, padded_size(size, counts, kernel_size, stride, padding, dilation), padding)
    # The sum over a box is a sum along each axis in turn: fewer additions, and smaller rounding errors.
    for axis, (kernel, step, count) in enumerate(zip(kernel_size, stride, counts), start=2):
        terms = [total[seen] for seen in _offsets_along(axis, total.ndim, kernel, step, count)]
        total = sum(terms[1:], start=terms[0])
    return total / _window_areas(x, size, counts, kernel_size, stride, padding, count_include_pad)


def avg_pool_grad(
    g: Array,
    input_size: Size,
    kernel_size: Size,
    stride: Size,
    padding: Size,
    ceil_mode: bool,
    count_include_pad: bool,
) -> Array:
    """Gradient of avg_pool's x, (N, C, *input_size), from g (N, C, *counts).

    Linear; its derivative is ``avg_pool``.
    """
    counts = g.shape[2:]
    padded = padded_size(input_size, counts, kernel_size, stride, padding, (1,) * len(counts))
    gradient = g / _window_areas(g, input_size, counts, kernel_size, stride, padding, count_include_pad)
    for axis, (kernel, step, count) in enumerate(zip(kernel_size, stride, counts), start=2):
        shape = (*gradient.shape[:axis], padded[axis - 2], *gradient.shape[axis + 1 :])
        wider = np.zeros_like(g, shape=shape)
        for seen in _offsets_along(axis, g.ndim, kernel, step, count):
            wider[seen] += gradient
        gradient = wider
    return gradient if padded == input_size else gradient[inside(input_size, padding)].copy()


def adaptive_avg_pool(x: Array, output_size: Size) -> Array:
    """Means of x (N, C, *size) over output_size windows that cover it: (N, C, *output_size).

    Window i of n along an axis of length L runs from ⌊iL/n⌋ to ⌈(i+1)L/n⌉.
    """
    for axis, count in enumerate(output_size, start=2):
        means = [x[cells].mean(axis=axis, keepdims=True) for cells in _cells(axis, x.shape, count)]
        x = np.concatenate(means, axis=axis)
    return x


def adaptive_avg_pool_grad(g: Array, input_size: Size) -> Array:
    """Gradient of adaptive_avg_pool's x (N, C, *input_size). Linear; its derivative is ``adaptive_avg_pool``."""
    for axis, size in enumerate(input_size, start=2):
        wider = np.zeros_like(g, shape=(*g.shape[:axis], size, *g.shape[axis + 1 :]))
        for i, cells in enumerate(_cells(axis, wider.shape, g.shape[axis])):
            one = (slice(None),) * axis + (slice(i, i + 1),)
            wider[cells] += g[one] / (cells[axis].stop - cells[axis].start)
        g = wider
    return g


def _offsets_along(axis: int, ndim: int, kernel: int, stride: int, count: int) -> list[tuple[slice, ...]]:
    """For each offset inside a window along one axis, the slice that all windows see there."""
    whole = (slice(None),)
    steps = [slice(i, i + (count - 1) * stride + 1, stride) for i in range(kernel)]
    return [whole * axis + (step,) + whole * (ndim - axis - 1) for step in steps]


def _window_areas(
    x: Array, size: Size, counts: Size, kernel_size: Size, stride: Size, padding: Size, count_include_pad: bool
) -> Array:
    """The divisor of each window, (*counts), in the dtype of x."""
    areas = np.ones_like(x, shape=(1,) * len(size))
    for axis, (n, count, k, s, p) in enumerate(zip(size, counts, kernel_size, stride, padding)):
        start = np.arange(count, like=x) * s - p
        end = np.minimum(start + k, n + p)
        if not count_include_pad:
            start, end = np.maximum(start, 0), np.minimum(end, n)
        lengths = (end - start).astype(x.dtype)
        areas = areas * lengths.reshape(count, *(1,) * (len(size) - axis - 1))
    return areas


def _cells(axis: int, shape: Size, count: int) -> list[tuple[slice, ...]]:
    """The slices of ``count`` windows that cover one axis of an array of ``shape``."""
    length = shape[axis]
    bounds = [(i * length // count, -(-(i + 1) * length // count)) for i in range(count)]
    return [(slice(None),) * axis + (slice(*bound),) for bound in bounds]
