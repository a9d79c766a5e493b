"""Random changes of image batches (N, C, H, W): crop, flip, rotation, cutout, mixup, cutmix, colours.

Every function draws for each image of the batch anew (mixup and cutmix once for the batch, as published), from
``generator``: a seed, a NumPy generator, or None for the package's own. Training only: a test image stays as it is.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_notes.data.dataset import as_generator
from tinygrad_notes.data.pixels import (
    Generator,
    floating_batch,
    height_and_width,
    image_batch,
    inside_rectangles,
    read_at,
)
from tinygrad_notes.errors import ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.ops.arguments import at_least, count, probability
from tinygrad_notes.tensor import Tensor, to_array, to_numpy, wrap

GREY = np.array([0.299, 0.587, 0.114])  # the luma of ITU-R BT.601
# Luma and two axes of colour (NTSC); a turn of the two changes the hue alone.
YIQ = np.array([GREY, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


@named
def random_crop(
    images: Any, size: int | tuple[int, int], padding: int = 0, fill: float = 0.0, generator: Generator = None
) -> Tensor:
    """A random part of ``size`` (height, width) of each image, ``padding`` pixels of ``fill`` put around it first.

    >>> tn.data.random_crop(tn.ones((2, 3, 32, 32)), 32, padding=4).shape
    (2, 3, 32, 32)
    """
    array, padding = image_batch(images), count(padding, "padding", 0)
    height, width = height_and_width(size)
    if padding:
        array = np.pad(array, ((0, 0), (0, 0), (padding, padding), (padding, padding)), constant_values=fill)
    if height > array.shape[2] or width > array.shape[3]:
        raise ShapeError(f"size is {(height, width)}, the images with their padding are {tuple(array.shape[2:])}")
    parts = np.lib.stride_tricks.sliding_window_view(array, (height, width), axis=(2, 3))
    random, n = as_generator(generator, "random_crop"), len(array)
    top, left = random.integers(0, parts.shape[2], n), random.integers(0, parts.shape[3], n)
    return wrap(parts[np.arange(n), :, top, left])


@named
def random_horizontal_flip(images: Any, p: float = 0.5, generator: Generator = None) -> Tensor:
    """Each image mirrored left to right with probability ``p``. It makes other digits of 2, 5, 6 and 9.

    >>> tn.data.random_horizontal_flip(tn.tensor([[[[1.0, 2.0]]]]), p=1.0)
    Tensor([[[[2., 1.]]]])
    """
    return _flipped(images, 3, p, as_generator(generator, "random_horizontal_flip"))


@named
def random_vertical_flip(images: Any, p: float = 0.5, generator: Generator = None) -> Tensor:
    """Each image mirrored top to bottom with probability ``p``.

    >>> tn.data.random_vertical_flip(tn.tensor([[[[1.0], [2.0]]]]), p=1.0)
    Tensor([[[[2.],
              [1.]]]])
    """
    return _flipped(images, 2, p, as_generator(generator, "random_vertical_flip"))


def _flipped(images: Any, axis: int, p: float, random: np.random.Generator) -> Tensor:
    array = image_batch(images)
    chosen = random.random(len(array)) < probability(p, "p")
    return wrap(np.where(chosen[:, None, None, None], np.flip(array, axis), array))


@named
def rotate(images: Any, angles: Any, fill: float = 0.0) -> Tensor:
    """Image i turned counter-clockwise about its centre by ``angles[i]`` degrees (or all by one), bilinearly.

    The size stays; what comes in from outside is ``fill``. A turned rectangle w × h fits into one of
    w |cos| + h |sin| by h |cos| + w |sin|.

    >>> tn.data.rotate(tn.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), 90).numpy().round(4)
    array([[[[2., 4.],
             [1., 3.]]]], dtype=float32)
    """
    array = floating_batch(images)
    n, _, height, width = array.shape
    turned = np.asarray(angles, np.float64)
    if turned.shape not in ((), (n,)) or not np.isfinite(turned).all():
        raise ShapeError(f"angles have shape {turned.shape}, expected one finite number or {n}, one for an image")
    turn = np.deg2rad(np.broadcast_to(turned, (n,)))[:, None, None]
    y, x = np.arange(height)[:, None] - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    row = x * np.sin(turn) + y * np.cos(turn) + (height - 1) / 2  # where each target pixel comes from
    column = x * np.cos(turn) - y * np.sin(turn) + (width - 1) / 2
    return wrap(read_at(array, row, column, fill))


@named
def random_rotation(images: Any, degrees: float, fill: float = 0.0, generator: Generator = None) -> Tensor:
    """Each image turned about its centre by an angle between -``degrees`` and ``degrees``; see :func:`rotate`.

    >>> tn.data.random_rotation(tn.ones((2, 1, 28, 28)), degrees=15).shape
    (2, 1, 28, 28)
    """
    array, degrees = floating_batch(images), at_least(degrees, "degrees", 0)
    return rotate(array, as_generator(generator, "random_rotation").uniform(-degrees, degrees, len(array)), fill)


@named
def normalise(images: Any, mean: Any, std: Any) -> Tensor:
    """(images - ``mean``) / ``std``, each a number or one for each channel. ShapeError for a deviation not above 0.

    >>> tn.data.normalise(tn.tensor([[[[0.25, 0.75]]]]), mean=0.5, std=0.25)
    Tensor([[[[-1.,  1.]]]])
    """
    array = floating_batch(images)
    values = []
    for name, given in (("mean", mean), ("std", std)):
        value = np.asarray(to_numpy(to_array(given)), array.dtype)
        if value.shape not in ((), (1,), (array.shape[1],)):
            raise ShapeError(
                f"{name} has shape {value.shape}, expected a number or {array.shape[1]}, one for a channel"
            )
        values.append(value.reshape(-1, 1, 1))
    if not (values[1] > 0).all():
        raise ShapeError(f"std is {std!r}, expected above 0")
    return wrap((array - values[0]) / values[1])


@named
def cutout(images: Any, size: int | tuple[int, int], fill: float = 0.0, generator: Generator = None) -> Tensor:
    """A rectangle of ``size`` (height, width) at a random place of each image becomes ``fill`` in all channels.

    DeVries & Taylor 2017. It lies wholly inside, so the part that is lost is the same for all; in the paper its centre
    does, and it may be cut off.

    >>> tn.data.cutout(tn.ones((1, 1, 4, 4)), size=2).sum()
    Tensor(12.)
    """
    array, (height, width) = image_batch(images), height_and_width(size)
    n = len(array)
    if height > array.shape[2] or width > array.shape[3]:
        raise ShapeError(f"size is {(height, width)}, the images are {tuple(array.shape[2:])}")
    random = as_generator(generator, "cutout")
    top = random.integers(0, array.shape[2] - height + 1, n)
    left = random.integers(0, array.shape[3] - width + 1, n)
    inside = inside_rectangles(array.shape[2:], top, top + height, left, left + width)
    return wrap(np.where(inside[:, None], np.asarray(fill, array.dtype), array))


@named
def mixup(
    images: Any, targets: Any, alpha: float = 0.2, classes: int | None = None, generator: Generator = None
) -> tuple[Tensor, Tensor]:
    """λ x + (1 - λ) x' and λ y + (1 - λ) y', where x', y' are the batch in a random order and λ ~ Beta(α, α).

    ``targets``: class numbers, which ``classes`` turns into one-hot rows, or rows of probabilities (N, classes).
    Cross-entropy is linear in y, so the loss is that of the mixed input with y and y', weighted by λ and 1 - λ.

    Zhang, Cissé, Dauphin & Lopez-Paz 2018, "mixup: Beyond Empirical Risk Minimization".

    >>> images, targets = tn.data.mixup(np.ones((4, 1, 8, 8)), np.arange(4), classes=4)
    >>> images.shape, targets.shape
    ((4, 1, 8, 8), (4, 4))
    """
    array = floating_batch(images)
    rows, share, order = _mixed(array, targets, alpha, classes, as_generator(generator, "mixup"))
    kept = array.dtype.type(share)
    return wrap(kept * array + (1 - kept) * array[order]), wrap(_shared(rows, share, order))


@named
def cutmix(
    images: Any, targets: Any, alpha: float = 1.0, classes: int | None = None, generator: Generator = None
) -> tuple[Tensor, Tensor]:
    """A rectangle of each image taken from another image of the batch; targets are mixed by the areas.

    λ ~ Beta(α, α); the rectangle has the sides √(1 - λ) H and √(1 - λ) W about a random centre and is cut off at the
    border; λ is then what is left of the image exactly. ``targets`` as for :func:`mixup`.

    Yun et al. 2019, "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features".

    >>> images, targets = tn.data.cutmix(np.ones((4, 1, 8, 8)), np.arange(4), classes=4)
    >>> images.shape, targets.shape
    ((4, 1, 8, 8), (4, 4))
    """
    array, random = image_batch(images), as_generator(generator, "cutmix")
    rows, share, order = _mixed(array, targets, alpha, classes, random)
    height, width = array.shape[2:]
    half = math.sqrt(1 - share) / 2
    middle_y, middle_x = random.integers(0, height), random.integers(0, width)
    top, bottom = (int(np.clip(round(middle_y + s * half * height), 0, height)) for s in (-1, 1))
    left, right = (int(np.clip(round(middle_x + s * half * width), 0, width)) for s in (-1, 1))
    mixed = array.copy()
    mixed[:, :, top:bottom, left:right] = array[order, :, top:bottom, left:right]
    exact = 1 - (bottom - top) * (right - left) / (height * width)
    return wrap(mixed), wrap(_shared(rows, exact, order))


@named
def mosaic(
    images: Any, targets: Any, classes: int | None = None, least: float = 0.25, generator: Generator = None
) -> tuple[Tensor, Tensor]:
    """Four images in one: image i at the top left, three others of the batch in the other corners, up to a point.

    The point is random, the same for the whole batch, and at least the part ``least`` of a side away from every border.
    Each image keeps its size and lies with a corner at the point, so that its part next to that corner is seen. Targets
    are mixed by the areas. ``targets`` as for :func:`mixup`. Bochkovskiy, Wang and Liao 2020, arXiv:2004.10934.

    >>> images, targets = tn.data.mosaic(np.ones((4, 1, 8, 8)), np.arange(4), classes=4)
    >>> images.shape, targets.shape
    ((4, 1, 8, 8), (4, 4))
    """
    array, random = image_batch(images), as_generator(generator, "mosaic")
    rows, n, (height, width) = _target_rows(array, targets, classes), len(array), array.shape[2:]
    if probability(least, "least") > 0.5:
        raise ShapeError(f"least is {least}, expected at most 0.5")
    down, right = (round(side * random.uniform(least, 1 - least)) for side in (height, width))
    orders = [np.arange(n), *(random.permutation(n) for _ in range(3))]
    result, shares = np.empty_like(array), np.zeros_like(rows)
    for order, (bottom, east) in zip(orders, ((0, 0), (0, 1), (1, 0), (1, 1))):
        high, wide = (height - down if bottom else down), (width - right if east else right)
        part = array[order][:, :, :high, :] if bottom else array[order][:, :, height - high :, :]
        part = part[..., :wide] if east else part[..., width - wide :]
        result[:, :, down * bottom : down * bottom + high, right * east : right * east + wide] = part
        shares += rows[order] * (high * wide / (height * width))
    return wrap(result), wrap(shares)


def _mixed(
    array: Any, targets: Any, alpha: float, classes: int | None, random: np.random.Generator
) -> tuple[np.ndarray, float, np.ndarray]:
    """Targets as rows of probabilities, λ, and which image is mixed into which."""
    if at_least(alpha, "alpha", 0) == 0:
        raise ShapeError("alpha is 0, expected above 0")
    rows = _target_rows(array, targets, classes)
    return rows, float(random.beta(alpha, alpha)), random.permutation(len(array))


def _target_rows(array: Any, targets: Any, classes: int | None) -> np.ndarray:
    """Targets as rows of probabilities, one for each image."""
    rows = to_numpy(to_array(targets))
    if rows.ndim == 1 and rows.dtype.kind in "iu":
        if classes is None:
            raise ShapeError("targets are class numbers, so classes must say how many there are")
        if len(rows) and (rows.min() < 0 or rows.max() >= count(classes, "classes")):
            raise ShapeError(f"targets go from {rows.min()} to {rows.max()}, classes is {classes}")
        rows = np.eye(count(classes, "classes"), dtype=np.float32)[rows]
    if rows.ndim != 2 or rows.dtype.kind != "f" or len(rows) != len(array):
        raise ShapeError(
            f"targets are {rows.dtype} of shape {rows.shape}, expected {len(array)} class numbers or rows of shares"
        )
    return rows


def _shared(rows: np.ndarray, share: float, order: np.ndarray) -> np.ndarray:
    return rows.dtype.type(share) * rows + rows.dtype.type(1 - share) * rows[order]


@named
def colour_jitter(
    images: Any,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
    generator: Generator = None,
) -> Tensor:
    """Random colours of RGB images from 0 to 1: each by factors of its own, in this order, and cut off at 0 and 1.

    Brightness: times a factor of 1 ± ``brightness``. Contrast: away from or to the image's mean grey, by a factor of
    1 ± ``contrast``. Saturation: away from or to its grey picture, by 1 ± ``saturation``. Hue: the two axes of colour
    of YIQ turned by up to ``hue`` (at most 0.5) of a full turn either way. Images of one channel take brightness and
    contrast alone.

    >>> tn.data.colour_jitter(tn.full((2, 3, 8, 8), 0.5), brightness=0.4, hue=0.1).shape
    (2, 3, 8, 8)
    """
    array, random = floating_batch(images), as_generator(generator, "colour_jitter")
    n, channels = array.shape[:2]
    if channels != 3 and (channels != 1 or saturation or hue):
        raise ShapeError(f"images have {channels} channels, expected 3, or 1 without saturation and hue")
    if at_least(hue, "hue", 0) > 0.5:
        raise ShapeError(f"hue is {hue}, expected at most 0.5")
    spreads = [
        at_least(v, k, 0) for k, v in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation))
    ]
    by_brightness, by_contrast, by_saturation = (
        random.uniform(max(0, 1 - spread), 1 + spread, (n, 1, 1, 1)) for spread in spreads
    )
    turns = random.uniform(-hue, hue, n)
    weights = GREY if channels == 3 else np.ones(1)
    result = np.clip(array * by_brightness, 0, 1)
    grey = np.einsum("c,nchw->nhw", weights, result)[:, None]
    result = np.clip(grey.mean((2, 3), keepdims=True) * (1 - by_contrast) + result * by_contrast, 0, 1)
    if channels == 3:
        grey = np.einsum("c,nchw->nhw", weights, result)[:, None]
        result = np.clip(grey * (1 - by_saturation) + result * by_saturation, 0, 1)
        result = np.clip(np.einsum("nij,njhw->nihw", _hue_turns(turns), result), 0, 1)
    return wrap(result.astype(array.dtype))


def _hue_turns(turns: np.ndarray) -> np.ndarray:
    """(N, 3, 3): what turns the hue of RGB by parts of a full turn."""
    angle = 2 * math.pi * turns
    middle = np.zeros((len(turns), 3, 3))
    middle[:, 0, 0] = 1
    middle[:, 1, 1] = middle[:, 2, 2] = np.cos(angle)
    middle[:, 1, 2], middle[:, 2, 1] = -np.sin(angle), np.sin(angle)
    return np.linalg.inv(YIQ) @ middle @ YIQ
