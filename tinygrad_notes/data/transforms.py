"""Transforms of image batches: random shifts, enlargement."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from tinygrad_notes.data.dataset import as_generator
from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.ops.arguments import count
from tinygrad_notes.tensor import Tensor, to_array, wrap


@named
def random_shift(
    images: Any, pixels: int, fill: float = 0.0, generator: np.random.Generator | int | None = None
) -> Tensor:
    """Each image of (batch, channels, height, width) moved at random by up to ``pixels`` in both directions.

    What moves in from outside is ``fill``. Every one of the (2 ``pixels`` + 1)² shifts is equally likely.

    >>> tn.data.random_shift(tn.ones((2, 1, 8, 8)), pixels=2).shape
    (2, 1, 8, 8)
    """
    array, pixels = to_array(images), count(pixels, "pixels", 0)
    if array.ndim != 4:
        raise ShapeError(
            f"random_shift: images have shape {tuple(array.shape)}, expected (batch, channels, height, width)"
        )
    n, _, height, width = array.shape
    padded = np.pad(array, ((0, 0), (0, 0), (pixels, pixels), (pixels, pixels)), constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    down, right = as_generator(generator, "random_shift").integers(0, 2 * pixels + 1, size=(2, n))
    return wrap(windows[np.arange(n), :, down, right])


@named
def enlarge(images: np.ndarray, factor: int) -> np.ndarray:
    """Bilinear enlargement of the last two axes by a whole ``factor``.

    Pixels are areas, so the centre of target pixel i lies at (i + ½) / ``factor`` - ½ in the source; beyond the outer
    centres the border value goes on. Rows and columns are interpolated one after the other, each by a matrix product.

    >>> tn.data.enlarge(np.array([[0.0, 1.0]]), 2)
    array([[0.  , 0.25, 0.75, 1.  ],
           [0.  , 0.25, 0.75, 1.  ]])
    """
    factor = count(factor, "factor")
    if len(images.shape) < 2:
        raise ShapeError(f"images have shape {tuple(images.shape)}, expected at least two axes")
    return resize(images, images.shape[-2] * factor, images.shape[-1] * factor)


@named
def resize(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear interpolation of the last two axes to ``height`` and ``width``, as :func:`enlarge`.

    Nothing is smoothed before, so an image that becomes much smaller loses what lies between the pixels it is read at.

    >>> tn.data.resize(np.array([[0.0, 1.0, 2.0, 3.0]]), 1, 2)
    array([[0.5, 2.5]])
    """
    height, width = count(height, "height"), count(width, "width")
    if len(images.shape) < 2 or not all(images.shape[-2:]):
        raise ShapeError(f"images have shape {tuple(images.shape)}, expected two last axes of at least one pixel")
    if images.dtype.kind != "f":
        raise DTypeError(f"images are {images.dtype}, expected a floating dtype")
    old_height, old_width = images.shape[-2:]
    rows, columns = _interpolation(old_height, height), _interpolation(old_width, width)
    return rows.astype(images.dtype) @ images @ columns.astype(images.dtype).T


@functools.lru_cache(maxsize=64)
def _interpolation(size: int, target_size: int) -> np.ndarray:
    """The (target_size, size) matrix whose rows hold the two weights of each target pixel."""
    target = np.arange(target_size)
    position = np.clip((target + 0.5) / (target_size / size) - 0.5, 0, size - 1)
    left = np.floor(position).astype(np.int64)
    right = np.minimum(left + 1, size - 1)
    matrix = np.zeros((target_size, size))
    matrix[target, left] += 1 - (position - left)
    matrix[target, right] += position - left
    return matrix
