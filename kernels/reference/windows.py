"""The geometry that convolution and pooling share: windows that slide over the last axes of an array.

Every function takes any number of spatial axes. A window is read offset by offset: for one offset inside the kernel,
the elements that all windows see there are one strided slice, so a loop over the kernel's few offsets replaces a loop
over the many windows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

Array = np.ndarray
Size = tuple[int, ...]


def span(kernel: int, dilation: int) -> int:
    """Elements from the first to the last that a window sees."""
    return dilation * (kernel - 1) + 1


def window_count(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool = False) -> int:
    """How many windows fit along one axis.

    With ``ceil_mode`` a last window may reach over the right end, if it starts inside the input or the left padding.
    """
    room = size + 2 * padding - span(kernel, dilation)
    if not ceil_mode:
        return room // stride + 1
    count = -(-room // stride) + 1
    return count - 1 if (count - 1) * stride >= size + padding else count


def window_counts(
    size: Size, kernel_size: Size, stride: Size, padding: Size, dilation: Size, ceil_mode: bool = False
) -> Size:
    """``window_count`` of each axis."""
    return tuple(
        window_count(n, k, s, p, d, ceil_mode) for n, k, s, p, d in zip(size, kernel_size, stride, padding, dilation)
    )


def padded_size(size: Size, counts: Size, kernel_size: Size, stride: Size, padding: Size, dilation: Size) -> Size:
    """Size of the plane with its padding, on the right at least up to the end of the last window."""
    return tuple(
        max(n + 2 * p, (count - 1) * s + span(k, d))
        for n, count, k, s, p, d in zip(size, counts, kernel_size, stride, padding, dilation)
    )


def inside(size: Size, padding: Size) -> tuple:
    """Where the plane lies in its padded copy."""
    return (..., *(slice(p, p + n) for n, p in zip(size, padding)))


def pad(x: Array, size: Size, padding: Size, value: float = 0) -> Array:
    """x with its last axes padded by ``padding`` on the left, up to ``size`` on the right; x itself if they have it."""
    axes = len(size)
    if x.shape[x.ndim - axes :] == size:
        return x
    padded = np.full_like(x, value, shape=x.shape[: x.ndim - axes] + size)
    padded[inside(x.shape[x.ndim - axes :], padding)] = x
    return padded


def offsets(kernel_size: Size, stride: Size, dilation: Size, counts: Size) -> Iterator[tuple[tuple, tuple]]:
    """Each offset inside the kernel, in C order: its place in columns (N, C, *kernel_size, *counts), and the slice of
    the padded plane that all windows see there.
    """
    for offset in np.ndindex(*kernel_size):
        starts = tuple(i * d for i, d in zip(offset, dilation))
        yield (
            (slice(None), slice(None), *offset),
            (..., *(slice(a, a + (n - 1) * s + 1, s) for a, n, s in zip(starts, counts, stride))),
        )


def read_windows(padded: Array, columns: Array, stride: Size, dilation: Size) -> None:
    """Fill ``columns`` (N, C, *kernel_size, *counts) with what the windows over ``padded`` (N, C, *size) see."""
    axes = padded.ndim - 2
    kernel_size, counts = columns.shape[2 : 2 + axes], columns.shape[2 + axes :]
    for place, seen in offsets(kernel_size, stride, dilation, counts):
        columns[place] = padded[seen]


def add_windows(columns: Array, padded: Array, stride: Size, dilation: Size) -> None:
    """The adjoint of ``read_windows``: add ``columns`` to the elements of ``padded`` they were read from."""
    axes = padded.ndim - 2
    kernel_size, counts = columns.shape[2 : 2 + axes], columns.shape[2 + axes :]
    for place, seen in offsets(kernel_size, stride, dilation, counts):
        padded[seen] += columns[place]


def planes(x: Array, axes: int) -> Array:
    """(N, C, *size) with its last ``axes`` axes as one."""
    return x.reshape(*x.shape[: x.ndim - axes], math.prod(x.shape[x.ndim - axes :]))
