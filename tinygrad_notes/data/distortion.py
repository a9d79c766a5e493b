"""More random changes of image batches (N, C, H, W): resized crops, deformation, blur, noise, blocks, erasing.

Like those of :mod:`tinygrad_notes.data.augmentation`, they draw for each image of the batch anew.
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
    interval,
    random_rectangles,
    read_at,
)
from tinygrad_notes.data.transforms import resize
from tinygrad_notes.errors import ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.ops.arguments import at_least, count, probability
from tinygrad_notes.tensor import Tensor, to_array, to_numpy, wrap


@named
def random_resized_crop(
    images: Any,
    size: int | tuple[int, int],
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    generator: Generator = None,
) -> Tensor:
    """A random rectangle of each image, enlarged or reduced to ``size`` (height, width) bilinearly.

    Its part of the area is drawn from ``scale`` and, evenly in its logarithm, its width / height from ``ratio``; where
    ten such rectangles do not fit, it is the largest one in the middle. Nothing is smoothed before, as in
    :func:`resize`. Szegedy et al. 2015, arXiv:1409.4842.

    >>> tn.data.random_resized_crop(tn.ones((4, 3, 32, 32)), 8).shape
    (4, 3, 8, 8)
    """
    array, (height, width) = floating_batch(images), height_and_width(size)
    if not all(array.shape[2:]):
        raise ShapeError(f"images have shape {tuple(array.shape)}, expected at least one pixel")
    scale, ratio = _scale_and_ratio(scale, ratio)
    random, n = as_generator(generator, "random_resized_crop"), len(array)
    result = np.empty_like(array, shape=(n, array.shape[1], height, width))
    for i, (top, left, high, wide) in enumerate(zip(*random_rectangles(array.shape[2:], n, scale, ratio, random))):
        result[i] = resize(array[i, :, top : top + high, left : left + wide], height, width)
    return wrap(result)


@named
def random_erasing(
    images: Any,
    p: float = 0.5,
    scale: tuple[float, float] = (0.02, 0.33),
    ratio: tuple[float, float] = (0.3, 3.3),
    fill: float = 0.0,
    generator: Generator = None,
) -> Tensor:
    """With probability ``p``, a random rectangle of the image becomes ``fill`` in all channels.

    ``scale`` and ``ratio`` as for :func:`random_resized_crop`. Zhong et al. 2020, "Random Erasing Data Augmentation".

    >>> tn.data.random_erasing(tn.ones((1, 1, 2, 2)), p=1.0, scale=(1, 1), ratio=(1, 1))
    Tensor([[[[0., 0.],
              [0., 0.]]]])
    """
    array = image_batch(images)
    n = len(array)
    scale, ratio = _scale_and_ratio(scale, ratio)
    random = as_generator(generator, "random_erasing")
    chosen = random.random(n) < probability(p, "p")
    top, left, high, wide = random_rectangles(array.shape[2:], n, scale, ratio, random)
    inside = inside_rectangles(array.shape[2:], top, top + high, left, left + wide) & chosen[:, None, None]
    return wrap(np.where(inside[:, None], np.asarray(fill, array.dtype), array))


def _scale_and_ratio(scale: Any, ratio: Any) -> tuple[tuple[float, float], tuple[float, float]]:
    scale, ratio = interval(scale, "scale", 0, 1), interval(ratio, "ratio")
    if not scale[1] or not ratio[0]:
        raise ShapeError(f"scale is {scale} and ratio {ratio}, expected a largest scale and a least ratio above 0")
    return scale, ratio


@named
def gaussian_blur(images: Any, sigma: Any, radius: int | None = None) -> Tensor:
    """Image i averaged over its neighbours with the weights of a Gaussian of ``sigma[i]`` pixels (or all by one).

    The weights reach ``radius`` pixels in each direction (None: 3 sigma, rounded up), add up to 1, and are those of
    one row times those of one column. Beyond its border the image goes on mirrored about the outermost pixels.
    ``sigma`` 0 leaves an image as it is.

    >>> tn.data.gaussian_blur(tn.eye(3)[None, None], sigma=0.5, radius=1).numpy().round(3)
    array([[[[0.665, 0.251, 0.045],
             [0.251, 0.642, 0.251],
             [0.045, 0.251, 0.665]]]], dtype=float32)
    """
    array = floating_batch(images)
    sigmas = np.broadcast_to(np.asarray(sigma, np.float64), (len(array),))
    if not (np.isfinite(sigmas).all() and (sigmas >= 0).all()):
        raise ShapeError(f"sigma is {sigma!r}, expected finite numbers of at least 0")
    reach = math.ceil(3 * float(np.max(sigmas, initial=0))) if radius is None else count(radius, "radius", 0)
    if not reach or not array.size:
        return wrap(array.copy())
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / np.where(sigmas > 0, sigmas, 1)[:, None]) ** 2)
    weights = np.where(sigmas[:, None] > 0, weights, offsets == 0)
    weights = (weights / weights.sum(1, keepdims=True)).astype(array.dtype)
    for axis in (2, 3):
        border = [(reach, reach) if i == axis else (0, 0) for i in range(4)]
        padded = np.pad(array, border, mode="reflect")
        parts = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=axis)
        array = np.einsum("nchwk,nk->nchw", parts, weights)
    return wrap(array)


@named
def random_gaussian_blur(
    images: Any, sigma: tuple[float, float] = (0.1, 2.0), p: float = 0.5, generator: Generator = None
) -> Tensor:
    """With probability ``p``, the image blurred by a Gaussian of between ``sigma[0]`` and ``sigma[1]`` pixels.

    The numbers are those of Chen et al. 2020, arXiv:2002.05709 (SimCLR). See :func:`gaussian_blur`.

    >>> tn.data.random_gaussian_blur(tn.ones((4, 3, 8, 8))).shape
    (4, 3, 8, 8)
    """
    array, (low, high) = floating_batch(images), interval(sigma, "sigma")
    random = as_generator(generator, "random_gaussian_blur")
    widths = random.uniform(low, high, len(array))
    return gaussian_blur(array, np.where(random.random(len(array)) < probability(p, "p"), widths, 0.0))


@named
def sharpen(images: Any, amount: float = 1.0, sigma: float = 1.0) -> Tensor:
    """I + amount (I - G * I), with G * I the image blurred by :func:`gaussian_blur`: an unsharp mask.

    >>> tn.data.sharpen(tn.eye(3)[None, None], amount=1.0, sigma=0.5).numpy().round(2)
    array([[[[ 1.34, -0.25, -0.05],
             [-0.25,  1.36, -0.25],
             [-0.05, -0.25,  1.34]]]], dtype=float32)
    """
    array, amount = floating_batch(images), at_least(amount, "amount", 0)
    return wrap(array + amount * (array - gaussian_blur(array, at_least(sigma, "sigma", 0)).data))


@named
def elastic_deformation(
    images: Any, alpha: float = 34.0, sigma: float = 4.0, fill: float = 0.0, generator: Generator = None
) -> Tensor:
    """Every pixel read from a place beside it, which moves smoothly over the image; bilinearly.

    The two displacements are random numbers between -1 and 1 for each pixel, blurred by a Gaussian of ``sigma`` pixels,
    times ``alpha``. What comes in from outside is ``fill``. The numbers are those of Simard, Steinkraus and Platt 2003
    for digits of 29 × 29 pixels.

    >>> tn.data.elastic_deformation(tn.ones((2, 1, 28, 28))).shape
    (2, 1, 28, 28)
    """
    array, alpha, sigma = floating_batch(images), at_least(alpha, "alpha", 0), at_least(sigma, "sigma", 0)
    n, _, height, width = array.shape
    noise = as_generator(generator, "elastic_deformation").uniform(-1, 1, (n, 2, height, width))
    moved = alpha * gaussian_blur(noise, sigma).data
    return wrap(read_at(array, np.arange(height)[:, None] + moved[:, 0], np.arange(width) + moved[:, 1], fill))


@named
def pixelate(images: Any, block: int) -> Tensor:
    """Squares of ``block`` × ``block`` pixels, each of the mean of its pixels; those at the end may be smaller.

    It hides what is small and leaves what is large, as a mosaic over a photograph does.

    >>> tn.data.pixelate(tn.arange(4.0).reshape(1, 1, 1, 4), 2)
    Tensor([[[[0.5, 0.5, 2.5, 2.5]]]])
    """
    array, block = floating_batch(images), count(block, "block")
    for axis in (2, 3):
        starts = np.arange(0, array.shape[axis], block)
        if len(starts):
            sizes = np.diff(starts, append=array.shape[axis])
            shape = [-1 if i == axis else 1 for i in range(4)]
            means = np.add.reduceat(array, starts, axis) / sizes.reshape(shape).astype(array.dtype)
            array = np.repeat(means, sizes, axis)
    return wrap(array)


@named
def gaussian_noise(images: Any, std: float = 0.1, generator: Generator = None) -> Tensor:
    """images + ``std`` · standard normal noise, of its own for every pixel and channel.

    >>> tn.data.gaussian_noise(tn.ones((2, 3, 8, 8)), std=0.05).shape
    (2, 3, 8, 8)
    """
    array, std = floating_batch(images), at_least(std, "std", 0)
    noise = as_generator(generator, "gaussian_noise").standard_normal(array.shape).astype(array.dtype)
    return wrap(array + std * noise)


@named
def salt_and_pepper_noise(
    images: Any, p: float = 0.05, salt: float = 1.0, pepper: float = 0.0, generator: Generator = None
) -> Tensor:
    """Each pixel, all channels together, with probability ``p`` / 2 becomes ``salt`` and with ``p`` / 2 ``pepper``.

    >>> noisy = tn.data.salt_and_pepper_noise(tn.full((1, 1, 50, 50), 0.5), p=1.0)
    >>> np.unique(noisy.numpy())
    array([0., 1.], dtype=float32)
    """
    array, p = image_batch(images), probability(p, "p")
    draws = as_generator(generator, "salt_and_pepper_noise").random((len(array), 1, *array.shape[2:]))
    salted = np.where(draws < p / 2, np.asarray(salt, array.dtype), array)
    return wrap(np.where((draws >= p / 2) & (draws < p), np.asarray(pepper, array.dtype), salted))


@named
def background_noise(signals: Any, noise: Any, snr: float) -> Tensor:
    """``signals`` + ``noise``, scaled so that the signal is ``snr`` decibels above it: 10 log₁₀(Pₛ / Pₙ) = snr.

    The powers are mean squares over the last axis, time. ShapeError where the noise is silent.

    >>> signal, noise = np.array([[1.0, -1.0]]), np.array([5.0, 5.0])
    >>> tn.data.background_noise(signal, noise, snr=20.0).numpy().round(3)
    array([[ 1.1, -0.9]])
    """
    arrays = [to_numpy(to_array(value)) for value in (signals, noise)]
    snr = at_least(snr, "snr", -np.inf)
    for name, array in zip(("signals", "noise"), arrays):
        if array.dtype.kind != "f" or not array.ndim:
            raise ShapeError(f"{name} is {array.dtype} of shape {array.shape}, expected floating numbers (..., time)")
    signal, noise = arrays
    if noise.shape[-1] != signal.shape[-1]:
        raise ShapeError(f"noise is {noise.shape[-1]} long, the signals are {signal.shape[-1]}")
    power, loud = (np.mean(array * array, axis=-1, keepdims=True) for array in arrays)
    if not (loud > 0).all():
        raise ShapeError("noise is silent, so no factor makes it heard")
    return wrap((signal + noise * np.sqrt(power / loud * 10 ** (-snr / 10))).astype(signal.dtype))
