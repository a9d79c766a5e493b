"""Batch, layer and group normalisation: y = (x - mean) / sqrt(variance + eps) * weight + bias, and their gradients.

They are one computation over different axes; RMS normalisation leaves the mean out of it. The variance is the biased
one, in two passes: the squares of a row with a large mean would cancel. Sums run in float64, so that a long row loses
nothing; results have the dtype of ``x``.
"""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray


def _mean(x: Array, axes: tuple[int, ...]) -> Array:
    """Mean over ``axes``, kept as size 1; 0 where there is nothing to average."""
    count = max(math.prod(x.shape[axis] for axis in axes), 1)
    return (np.sum(x, axis=axes, keepdims=True, dtype=np.float64) / count).astype(x.dtype)


def _sum(x: Array, axes: tuple[int, ...]) -> Array:
    return np.sum(x, axis=axes, dtype=np.float64).astype(x.dtype)


def _normalize(x: Array, axes: tuple[int, ...], eps: float) -> tuple[Array, Array, Array, Array]:
    """(x - mean) * rstd, the mean, rstd = 1 / sqrt(variance + eps) and the variance, with ``axes`` kept as size 1."""
    mean = _mean(x, axes)
    centered = x - mean
    variance = _mean(centered * centered, axes)
    rstd = 1 / np.sqrt(variance + eps)
    return centered * rstd, mean, rstd, variance


def _normalize_grad(g: Array, normalized: Array, rstd: Array, axes: tuple[int, ...]) -> Array:
    """Gradient of x, given that of the normalised x: what changes the mean or the variance of ``axes`` is taken out."""
    return rstd * (g - _mean(g, axes) - normalized * _mean(g * normalized, axes))


def _channel_shape(x: Array) -> tuple[int, ...]:
    """The shape in which a vector of C channels lies along axis 1 of ``x``."""
    return (1, x.shape[1]) + (1,) * (x.ndim - 2)


def _scale_channels(y: Array, weight: Array | None, bias: Array | None) -> Array:
    """y * weight + bias along axis 1."""
    if weight is not None:
        y = y * weight.reshape(_channel_shape(y))
    return y if bias is None else y + bias.reshape(_channel_shape(y))


@np.errstate(all="ignore")
def batch_norm(x: Array, weight: Array | None, bias: Array | None, eps: float) -> tuple[Array, Array, Array, Array]:
    """Batch normalisation in training mode: each channel is normalised over the batch and all trailing axes.

    y = (x - mean) * rstd * weight + bias, rstd = 1 / sqrt(variance + eps), with the biased variance.
    x (N, C, ...); weight, bias (C,) or None. Returns y, for backward mean (C,) and rstd (C,), and for running
    statistics the variance (C,), of which rstd no longer knows the digits below eps. An empty batch has mean 0 and
    variance 0.
    """
    y, *statistics = _normalize(x, (0, *range(2, x.ndim)), eps)
    mean, rstd, variance = (statistic.reshape(x.shape[1]) for statistic in statistics)
    return _scale_channels(y, weight, bias), mean, rstd, variance


@np.errstate(all="ignore")
def batch_norm_grad(g: Array, x: Array, weight: Array | None, mean: Array, rstd: Array) -> tuple[Array, Array, Array]:
    """Gradients of :func:`batch_norm` for g, the gradient of y: dx (N, C, ...), dweight (C,), dbias (C,).

    With n = (x - mean) * rstd: dweight = Σ g n, dbias = Σ g, and with h = g * weight
    dx = rstd * (h - mean(h) - n mean(h n)). dweight and dbias are computed even when weight is None.
    """
    axes = (0, *range(2, x.ndim))
    rstd = rstd.reshape(_channel_shape(x))
    normalized = (x - mean.reshape(_channel_shape(x))) * rstd
    g_normalized = g if weight is None else g * weight.reshape(_channel_shape(x))
    return _normalize_grad(g_normalized, normalized, rstd, axes), _sum(g * normalized, axes), _sum(g, axes)


@np.errstate(all="ignore")
def layer_norm(
    x: Array, weight: Array | None, bias: Array | None, eps: float, axes_count: int
) -> tuple[Array, Array, Array]:
    """Layer normalisation: each example is normalised over its last ``axes_count`` axes.

    y = (x - mean) * rstd * weight + bias, rstd = 1 / sqrt(variance + eps), with the biased variance.
    weight, bias: the shape of those axes, or None. Returns y, and for backward mean and rstd, of the shape of x with
    those axes kept as size 1. Over an empty axis the mean and the variance are 0.
    """
    y, mean, rstd, _ = _normalize(x, tuple(range(-axes_count, 0)), eps)
    if weight is not None:
        y = y * weight
    if bias is not None:
        y = y + bias
    return y, mean, rstd


@np.errstate(all="ignore")
def layer_norm_grad(
    g: Array, x: Array, weight: Array | None, mean: Array, rstd: Array, axes_count: int
) -> tuple[Array, Array, Array]:
    """Gradients of :func:`layer_norm` for g, the gradient of y: dx, dweight and dbias.

    With n = (x - mean) * rstd: dweight = Σ g n, dbias = Σ g over the leading axes, and with h = g * weight
    dx = rstd * (h - mean(h) - n mean(h n)). dweight and dbias are computed even when weight is None.
    """
    normalized = (x - mean) * rstd
    g_normalized = g if weight is None else g * weight
    dx = _normalize_grad(g_normalized, normalized, rstd, tuple(range(-axes_count, 0)))
    leading = tuple(range(x.ndim - axes_count))
    return dx, _sum(g * normalized, leading), _sum(g, leading)


def _groups(x: Array, num_groups: int) -> Array:
    """x (N, C, ...) as (N, num_groups, the values of a group)."""
    return x.reshape(x.shape[0], num_groups, math.prod(x.shape[1:]) // num_groups)


@np.errstate(all="ignore")
def group_norm(
    x: Array, weight: Array | None, bias: Array | None, eps: float, num_groups: int
) -> tuple[Array, Array, Array, Array]:
    """Group normalisation: in each example, each of ``num_groups`` groups of adjacent channels is normalised.

    y = (x - mean) * rstd * weight + bias, rstd = 1 / sqrt(variance + eps), with the biased variance.
    x (N, C, ...), C a multiple of num_groups; weight, bias (C,) or None. Returns y, for backward mean and rstd, both
    (N, num_groups), and for running statistics the variance (N, num_groups). Over nothing mean and variance are 0.
    """
    normalized, *statistics = _normalize(_groups(x, num_groups), (2,), eps)
    mean, rstd, variance = (statistic[:, :, 0].copy() for statistic in statistics)
    return _scale_channels(normalized.reshape(x.shape), weight, bias), mean, rstd, variance


@np.errstate(all="ignore")
def group_norm_grad(
    g: Array, x: Array, weight: Array | None, mean: Array, rstd: Array, num_groups: int
) -> tuple[Array, Array, Array]:
    """Gradients of :func:`group_norm` for g, the gradient of y: dx (N, C, ...), dweight (C,), dbias (C,).

    With n = (x - mean) * rstd: dweight = Σ g n, dbias = Σ g over the batch and all trailing axes, and with
    h = g * weight dx = rstd * (h - mean(h) - n mean(h n)), the means over a group. dweight and dbias are computed even
    when weight is None.
    """
    normalized = (_groups(x, num_groups) - mean[:, :, None]) * rstd[:, :, None]
    g_normalized = _groups(_scale_channels(g, weight, None), num_groups)
    dx = _normalize_grad(g_normalized, normalized, rstd[:, :, None], (2,)).reshape(x.shape)
    axes = (0, *range(2, x.ndim))
    return dx, _sum(g * normalized.reshape(x.shape), axes), _sum(g, axes)


@np.errstate(all="ignore")
def rms_norm(x: Array, weight: Array | None, eps: float, axes_count: int) -> tuple[Array, Array]:
    """Root mean square normalisation: each example is divided by the root mean square of its last ``axes_count`` axes.

    y = x * rrms * weight, rrms = 1 / sqrt(mean(x²) + eps). weight: the shape of those axes, or None. Returns y, and
    for backward rrms, of the shape of x with those axes kept as size 1. Over an empty axis the mean is 0.
    """
    rrms = 1 / np.sqrt(_mean(x * x, tuple(range(-axes_count, 0))) + eps)
    return x * rrms if weight is None else x * rrms * weight, rrms


@np.errstate(all="ignore")
def rms_norm_grad(g: Array, x: Array, weight: Array | None, rrms: Array, axes_count: int) -> tuple[Array, Array]:
    """Gradients of :func:`rms_norm` for g, the gradient of y: dx and dweight.

    With n = x * rrms: dweight = Σ g n over the leading axes, and with h = g * weight dx = rrms * (h - n mean(h n)).
    dweight is computed even when weight is None.
    """
    normalized = x * rrms
    h = g if weight is None else g * weight
    dx = rrms * (h - normalized * _mean(h * normalized, tuple(range(-axes_count, 0))))
    return dx, _sum(g * normalized, tuple(range(x.ndim - axes_count)))
