"""Normalisation: batch_norm over the batch, layer_norm over each example.

Both are y = (x - mean) / √(variance + eps) · weight + bias, with the biased variance, over different axes. Their
kernels give first derivatives; the same formula in small ops is what higher ones come from.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes import kernels
from tinygrad_notes.errors import DTypeError, GradientError, ShapeError
from tinygrad_notes.explain import describe, named
from tinygrad_notes.kernels import DEVICES
from tinygrad_notes.ops.arguments import at_least, count, probability
from tinygrad_notes.ops.elementwise import sqrt, square
from tinygrad_notes.ops.reduction import mean
from tinygrad_notes.ops.shape import as_shape, operand, reshape
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import Tensor, as_floating, to_array
from tinygrad_notes.writes import mark_written


def _normalized(x, axes, eps):
    centred = x - mean(x, axes, True)
    return centred / sqrt(mean(square(centred), axes, True) + eps)


def _scaled(y, weight, bias, shape):
    """y · weight + bias, either of which may be missing, laid out as ``shape``."""
    if weight is not None:
        y = y * reshape(weight, shape)
    return y if bias is None else y + reshape(bias, shape)


def _channels(shape):
    """The shape in which a vector of channels lies along axis 1."""
    return (1, shape[1]) + (1,) * (len(shape) - 2)


# ---------------------------------------------------------------------- over the batch


def _batch_norm_in_small_ops(x, weight, bias, eps, observe):
    return _scaled(_normalized(x, (0, *range(2, x.ndim)), eps), weight, bias, _channels(x.shape))


@op(composite=_batch_norm_in_small_ops)
def batch_norm_(x: Array, weight: Array | None, bias: Array | None, eps, observe):
    """Batch normalisation by the statistics of the batch, of which ``observe(mean, biased variance)`` is told."""
    x, weight, bias = as_floating(x, weight, bias)
    y, mean, rstd = kernels.batch_norm(x, weight, bias, eps)
    if observe is not None:
        observe(mean, np.maximum(1 / (rstd * rstd) - eps, 0))

    def derivative(g, x, weight):
        return kernels.batch_norm_grad(*as_floating(g, x, weight), mean, rstd)

    return y, derivative


@named
def batch_norm(x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """(x - mean) / √(variance + eps) · weight + bias for each channel (Ioffe & Szegedy 2015, arXiv:1502.03167).

    x (N, C, ...); ``weight``, ``bias``, ``running_mean``, ``running_var`` (C,). In ``training``, mean and biased
    variance are those of the batch and all trailing axes, and the running buffers (arrays, or Tensors without a
    gradient; None: not kept) are moved towards them in place: buffer = (1 - momentum) buffer + momentum · statistic,
    with the unbiased variance. Else the buffers themselves are the statistics. A batch with fewer than two values for
    each channel has no variance to train on: ShapeError.
    """
    x = operand(x)
    shape, eps = x.shape, at_least(eps, "eps", 0)
    if len(shape) < 2:
        raise ShapeError(f"batch_norm: x has shape {shape}, expected (N, C, ...)")
    running_mean, running_var = (
        _buffer(b, n, training) for b, n in ((running_mean, "running_mean"), (running_var, "running_var"))
    )
    vectors = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    for name, vector in vectors.items():
        if vector is not None and tuple(as_shape(vector)) != (shape[1],):
            raise ShapeError(
                f"batch_norm: {name} has shape {tuple(as_shape(vector))}, expected ({shape[1]},) for x {shape}"
            )
    if not training:
        return _by_running_statistics(x, running_mean, running_var, weight, bias, eps)
    momentum = probability(momentum, "momentum")
    values = math.prod(shape) // shape[1] if shape[1] else 2
    if values < 2:
        raise ShapeError(
            f"batch_norm: x has shape {shape}, expected more than one value for each channel when training"
        )

    def observe(mean, variance):
        for buffer, statistic in ((running_mean, mean), (running_var, variance * (values / (values - 1)))):
            if buffer is not None:
                buffer *= 1 - momentum
                buffer += (momentum * statistic).astype(buffer.dtype)
                mark_written(buffer)

    return batch_norm_(x, weight, bias, eps, observe if running_mean is not None or running_var is not None else None)


def _buffer(buffer, name, written):
    """The array of a running statistic. A list would take what is ``written`` with it when the call ends."""
    if type(buffer) is Tensor:
        if buffer.node is not None:
            raise GradientError(f"batch_norm: {name} requires a gradient, expected a buffer that is written in place")
        buffer = buffer.data
    if buffer is None or (type(buffer) in DEVICES and buffer.dtype.kind == "f"):
        return buffer
    if written:
        raise DTypeError(f"batch_norm: {name} is {describe(buffer)}, expected an array or Tensor of floats to write to")
    return to_array(buffer)


def _by_running_statistics(x, running_mean, running_var, weight, bias, eps):
    if running_mean is None or running_var is None:
        raise ShapeError(
            "batch_norm: running_mean and running_var are the statistics when training is False, but one is None"
        )
    dtype = as_floating(x.data).dtype
    shape = _channels(x.shape)
    scale = (1 / np.sqrt(running_var + eps)).astype(dtype).reshape(shape)
    if weight is not None:
        scale = reshape(weight, shape) * scale
    return _scaled((x - running_mean.astype(dtype).reshape(shape)) * scale, None, bias, shape)


# ---------------------------------------------------------------------- over each example


def _layer_norm_in_small_ops(x, weight, bias, eps, axes_count):
    return _scaled(_normalized(x, tuple(range(-axes_count, 0)), eps), weight, bias, x.shape[x.ndim - axes_count :])


@op(composite=_layer_norm_in_small_ops)
def layer_norm_(x: Array, weight: Array | None, bias: Array | None, eps, axes_count):
    """Layer normalisation over the last ``axes_count`` axes."""
    x, weight, bias = as_floating(x, weight, bias)
    y, mean, rstd = kernels.layer_norm(x, weight, bias, eps, axes_count)

    def derivative(g, x, weight):
        return kernels.layer_norm_grad(*as_floating(g, x, weight), mean, rstd, axes_count)

    return y, derivative


@named
def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    """(x - mean) / √(variance + eps) · weight + bias over the last axes (Ba et al. 2016, arXiv:1607.06450).

    ``normalized_shape``: the sizes of those axes, an int for one; ``weight`` and ``bias`` have that shape.
    """
    sizes = normalized_shape if isinstance(normalized_shape, list | tuple) else (normalized_shape,)
    normalized_shape = tuple(count(n, "normalized_shape", 0) for n in sizes)
    shape, eps = tuple(as_shape(x)), at_least(eps, "eps", 0)
    if not normalized_shape or shape[-len(normalized_shape) :] != normalized_shape:
        raise ShapeError(
            f"layer_norm: normalized_shape is {normalized_shape}, x has shape {shape}, which must end with it"
        )
    for name, vector in (("weight", weight), ("bias", bias)):
        if vector is not None and tuple(as_shape(vector)) != normalized_shape:
            raise ShapeError(f"layer_norm: {name} has shape {tuple(as_shape(vector))}, expected {normalized_shape}")
    return layer_norm_(x, weight, bias, eps, len(normalized_shape))
