"""What the transforms of image batches share: checks of their arguments, and how images are read between pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.ops.arguments import at_least, count
from tinygrad_notes.tensor import to_array

Generator = np.random.Generator | int | None


def image_batch(images: Any) -> Any:
    """The array of ``images``, which has the axes (batch, channels, height, width)."""
    array = to_array(images)
    if array.ndim != 4:
        raise ShapeError(f"images have shape {tuple(array.shape)}, expected (batch, channels, height, width)")
    return array


def floating_batch(images: Any) -> Any:
    """:func:`image_batch` of a floating dtype."""
    array = image_batch(images)
    if array.dtype.kind != "f":
        raise DTypeError(f"images are {array.dtype}, expected a floating dtype")
    return array


def height_and_width(size: int | tuple[int, int]) -> tuple[int, int]:
    """One number stands for both."""
    pair = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(pair) != 2:
        raise ShapeError(f"size is {size!r}, expected a number or (height, width)")
    return count(pair[0], "height"), count(pair[1], "width")


def interval(value: Any, name: str, least: float = 0.0, most: float = np.inf) -> tuple[float, float]:
    """Two numbers, from a lower to a higher one."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ShapeError(f"{name} is {value!r}, expected two numbers, from the lowest to the highest")
    low, high = (at_least(v, name, least) for v in value)
    if not low <= high <= most:
        raise ShapeError(f"{name} is {value!r}, expected two numbers, from the lowest to the highest, at most {most:g}")
    return low, high


def inside_rectangles(shape: Any, top: Any, bottom: Any, left: Any, right: Any) -> np.ndarray:
    """(N, H, W): True inside the i-th rectangle."""
    y, x = np.arange(shape[0])[:, None], np.arange(shape[1])
    top, bottom, left, right = (np.asarray(v)[:, None, None] for v in (top, bottom, left, right))
    return (y >= top) & (y < bottom) & (x >= left) & (x < right)


def random_rectangles(
    shape: tuple[int, int], n: int, scale: tuple[float, float], ratio: tuple[float, float], random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Top, left, height and width of ``n`` rectangles inside (height, width), at random places.

    Their part of the area is drawn from ``scale`` and, evenly in its logarithm, width / height from ``ratio``. Where
    ten of them do not fit, the rectangle is the largest one in the middle with a ratio that is allowed.
    """
    height, width = shape
    area = height * width * random.uniform(*scale, (10, n))
    aspect = np.exp(random.uniform(math.log(ratio[0]), math.log(ratio[1]), (10, n)))
    wide, high = np.rint(np.sqrt(area * aspect)).astype(np.int64), np.rint(np.sqrt(area / aspect)).astype(np.int64)
    fits = (wide >= 1) & (wide <= width) & (high >= 1) & (high <= height)
    chosen, column = fits.argmax(0), np.arange(n)
    wide, high, fitting = wide[chosen, column], high[chosen, column], fits.any(0)
    top = (random.random(n) * (height - high + 1)).astype(np.int64)
    left = (random.random(n) * (width - wide + 1)).astype(np.int64)
    whole = float(np.clip(width / height, *ratio))
    largest = max(round(min(height, width / whole)), 1), max(round(min(width, height * whole)), 1)
    high, wide = np.where(fitting, high, largest[0]), np.where(fitting, wide, largest[1])
    top = np.where(fitting, top, (height - largest[0]) // 2)
    left = np.where(fitting, left, (width - largest[1]) // 2)
    return top, left, high, wide


def read_at(array: Any, row: np.ndarray, column: np.ndarray, fill: float) -> Any:
    """Image i at (``row[i]``, ``column[i]``), each (N, h, w), between four pixels bilinearly; outside is ``fill``."""
    n, _, height, width = array.shape
    # beyond a border of one pixel of fill there is nothing but fill
    row, column = np.clip(row, -1, height) + 1, np.clip(column, -1, width) + 1
    padded = np.pad(array, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=fill)
    top, left = np.floor(row).astype(np.int64), np.floor(column).astype(np.int64)
    bottom, right = np.minimum(top + 1, height + 1), np.minimum(left + 1, width + 1)
    down, across = (row - top)[..., None], (column - left)[..., None]
    image, last = np.arange(n)[:, None, None], np.moveaxis(padded, 1, -1)
    upper = last[image, top, left] * (1 - across) + last[image, top, right] * across
    lower = last[image, bottom, left] * (1 - across) + last[image, bottom, right] * across
    return np.moveaxis(upper * (1 - down) + lower * down, -1, 1).astype(array.dtype)
