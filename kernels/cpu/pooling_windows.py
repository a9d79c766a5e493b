"""Which elements of x the windows of a pooling see. One and two spatial axes are three whose first have size 1."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from tinygrad_notes.kernels.cpu.compile import kernel

Size = tuple[int, ...]


def three(size: Sequence[int], missing: int = 1) -> tuple[int, int, int]:
    """One to three numbers, one for each axis, as three."""
    depth, height, width = (missing,) * (3 - len(size)) + tuple(size)
    return depth, height, width


def window_count(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """Windows along one axis: with ``ceil_mode`` the last may reach over the end, but must not start beyond x."""
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    if not ceil_mode:
        return room // stride + 1
    count = -(-room // stride) + 1
    return count - 1 if (count - 1) * stride >= size + padding else count


@kernel
def cover(window, stride, padding, kernel, dilation, size):
    """The first element of x that a window along an axis sees, and how many, ``dilation`` apart."""
    start = window * stride - padding
    if dilation == 1:  # no divisions, which are slow
        return max(start, 0), min(start + kernel, size) - max(start, 0)
    skipped = 0 if start >= 0 else (dilation - 1 - start) // dilation
    seen = min(kernel, (size - start + dilation - 1) // dilation)
    return start + skipped * dilation, seen - skipped


# Boxes, the general form: for each axis and window (first element, end, divisor, step), after the three sizes and the
# three counts, all int64 in one array. The divisor of a mean is the product of the three.


@functools.lru_cache(maxsize=256)
def sliding_boxes(
    size: Size, kernel_size: Size, stride: Size, padding: Size, dilation: Size, ceil_mode: bool, include_pad: bool
) -> tuple[np.ndarray, Size]:
    """The boxes of windows that slide, and how many along each axis. With ``include_pad`` padding counts as seen."""
    axes, counts = [], []
    for n, k, s, p, d in zip(size, kernel_size, stride, padding, dilation):
        count = window_count(n, k, s, p, d, ceil_mode)
        axis = []
        for start in range(-p, count * s - p, s):
            first = start if start >= 0 else start + -(start // d) * d
            end = min(start + d * (k - 1) + 1, n)
            padded_end = min(start + k, n + p)
            axis.append((first, end, padded_end - start if include_pad else end - first, d))
        axes.append(axis)
        counts.append(count)
    return _boxes(size, axes), tuple(counts)


@functools.lru_cache(maxsize=256)
def covering_boxes(size: Size, output_size: Size) -> np.ndarray:
    """The boxes of adaptive pooling: window i of n along length L runs from ⌊iL/n⌋ to ⌈(i+1)L/n⌉."""
    axes = []
    for length, count in zip(size, output_size):
        bounds = [(i * length // count, -(-(i + 1) * length // count)) for i in range(count)]
        axes.append([(first, end, end - first, 1) for first, end in bounds])
    return _boxes(size, axes)


def _boxes(size: Size, axes: list) -> np.ndarray:
    missing = [[(0, 1, 1, 1)]] * (3 - len(axes))
    axes = missing + axes
    numbers = [*three(size), *(len(axis) for axis in axes)]
    for axis in axes:
        for box in axis:
            numbers += box
    return np.array(numbers, np.int64)
