"""Normalisation over the batch (batch_norm), each example (layer_norm) or its channels (group_norm, instance_norm).

All are y = (x - mean) / √(variance + eps) · weight + bias, with the biased variance, over different axes; rms_norm
leaves the mean out, local_response_norm divides by neighbouring channels. Their kernels give first derivatives; the
same formula in small ops is what higher ones come from.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes import kernels
from tinygrad_notes.errors import WITHOUT_MEMORY, DeviceError, DTypeError, GradientError, ShapeError
from tinygrad_notes.explain import check_device, describe, named
from tinygrad_notes.kernels import DEVICES
from tinygrad_notes.ops.arguments import at_least, count, number, probability
from tinygrad_notes.ops.arithmetic import sqrt, square
from tinygrad_notes.ops.reduction import mean
from tinygrad_notes.ops.shape import as_shape, operand, pad, reshape
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import Tensor, as_floating, beside, has_memory, to_array
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
    y, mean, rstd, variance = kernels.batch_norm(x, weight, bias, eps)
    if observe is not None:
        observe(mean, variance)

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

    >>> tn.batch_norm([[1.0, 5.0], [3.0, 5.0]], None, None, training=True, eps=0.1).round(2)
    Tensor([[-0.95,  0.  ],
            [ 0.95,  0.  ]])
    """
    x, running_mean, running_var, eps = _checked(x, running_mean, running_var, weight, bias, training, eps)
    if not training:
        return _by_running_statistics(x, running_mean, running_var, weight, bias, eps)
    values = math.prod(x.shape) // x.shape[1] if x.shape[1] else 2
    if values < 2:
        raise ShapeError(f"x has shape {x.shape}, expected more than one value for each channel when training")
    return batch_norm_(x, weight, bias, eps, _observer(running_mean, running_var, momentum, values))


def _checked(x, running_mean, running_var, weight, bias, written, eps):
    """The operand, the arrays of its running statistics, which are ``written`` to, and eps."""
    x = operand(x)
    shape = x.shape
    if len(shape) < 2:
        raise ShapeError(f"x has shape {shape}, expected (N, C, ...)")
    running_mean, running_var = (
        _buffer(b, n, written, x) for b, n in ((running_mean, "running_mean"), (running_var, "running_var"))
    )
    vectors = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    for name, vector in vectors.items():
        if vector is not None and tuple(as_shape(vector)) != (shape[1],):
            raise ShapeError(f"{name} has shape {tuple(as_shape(vector))}, expected ({shape[1]},) for x {shape}")
    return x, running_mean, running_var, at_least(eps, "eps", 0)


def _observer(running_mean, running_var, momentum, values):
    """What moves the buffers towards the mean and the variance of so many ``values``; None where there is no buffer."""
    momentum = probability(momentum, "momentum")
    if running_mean is None and running_var is None:
        return None

    def observe(mean, variance):
        for buffer, statistic in ((running_mean, mean), (running_var, variance * (values / (values - 1)))):
            if buffer is not None:
                buffer *= 1 - momentum
                buffer += (momentum * statistic).astype(buffer.dtype)
                mark_written(buffer)

    return observe


def _buffer(buffer, name, written, x):
    """The array of a running statistic. A list would take what is ``written`` with it when the call ends."""
    if type(buffer) is Tensor:
        if buffer.node is not None:
            raise GradientError(f"{name} requires a gradient, expected a buffer that is written in place")
        buffer = buffer.data
    if written and not has_memory(buffer):
        raise DeviceError(f"{name} {WITHOUT_MEMORY}; call eval() on the network")
    like = x.data if type(x) is Tensor else x
    if buffer is None or (type(buffer) in DEVICES and buffer.dtype.kind == "f"):
        check_device(name, buffer, like)
        return buffer
    if written:
        raise DTypeError(f"{name} is {describe(buffer)}, expected an array or Tensor of floats to write to")
    return beside(to_array(buffer), like)


def _by_running_statistics(x, running_mean, running_var, weight, bias, eps, flag="training"):
    if running_mean is None or running_var is None:
        raise ShapeError(f"running_mean and running_var are the statistics when {flag} is False, but one is None")
    dtype = as_floating(x.data).dtype
    shape = _channels(x.shape)
    scale = (1 / np.sqrt(running_var + eps)).astype(dtype).reshape(shape)
    if weight is not None:
        scale = reshape(weight, shape) * scale
    return _scaled((x - running_mean.astype(dtype).reshape(shape)) * scale, None, bias, shape)


# ---------------------------------------------------------------------- over the channels of each example


def _group_norm_in_small_ops(x, weight, bias, eps, num_groups, observe):
    groups = reshape(x, (x.shape[0], num_groups, math.prod(x.shape[1:]) // num_groups))
    return _scaled(reshape(_normalized(groups, 2, eps), x.shape), weight, bias, _channels(x.shape))


@op(composite=_group_norm_in_small_ops)
def group_norm_(x: Array, weight: Array | None, bias: Array | None, eps, num_groups, observe):
    """Normalisation of groups of channels, of whose statistics ``observe(mean, biased variance)`` is told."""
    x, weight, bias = as_floating(x, weight, bias)
    y, mean, rstd, variance = kernels.group_norm(x, weight, bias, eps, num_groups)
    if observe is not None:
        observe(mean, variance)

    def derivative(g, x, weight):
        return kernels.group_norm_grad(*as_floating(g, x, weight), mean, rstd, num_groups)

    return y, derivative


@named
def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5):
    """(x - mean) / √(variance + eps) · weight + bias for each group of channels of each example.

    x (N, C, ...); the statistics are those of C / ``num_groups`` adjacent channels with all trailing axes, so no
    example depends on another (Wu & He 2018, arXiv:1803.08494). ``weight``, ``bias`` (C,). One group is layer_norm over
    all axes but the first, C groups are :func:`instance_norm`. A group of a single value becomes 0.

    >>> tn.group_norm([[1.0, 3.0, 5.0, 5.0]], 2, eps=0.1).round(2)
    Tensor([[-0.95,  0.95,  0.  ,  0.  ]])
    """
    x, _, _, eps = _checked(x, None, None, weight, bias, False, eps)
    if x.shape[1] % count(num_groups, "num_groups"):
        raise ShapeError(f"num_groups is {num_groups}, which does not divide the {x.shape[1]} channels of x {x.shape}")
    return group_norm_(x, weight, bias, eps, num_groups, None)


@named
def instance_norm(
    x, running_mean=None, running_var=None, weight=None, bias=None, use_input_stats=True, momentum=0.1, eps=1e-5
):
    """(x - mean) / √(variance + eps) · weight + bias for each channel of each example (Ulyanov et al. 2016).

    x (N, C, ...); ``weight``, ``bias``, ``running_mean``, ``running_var`` (C,). arXiv:1607.08022. With
    ``use_input_stats`` the statistics are those of the trailing axes, which must hold more than one value, and the
    running buffers, if any, are moved towards their averages over the batch, as in :func:`batch_norm`. Else the buffers
    are the statistics.

    >>> tn.instance_norm([[[1.0, 3.0], [0.0, 0.0]]], eps=0.1).round(2)
    Tensor([[[-0.95,  0.95],
             [ 0.  ,  0.  ]]])
    """
    x, running_mean, running_var, eps = _checked(x, running_mean, running_var, weight, bias, use_input_stats, eps)
    if not use_input_stats:
        return _by_running_statistics(x, running_mean, running_var, weight, bias, eps, "use_input_stats")
    values = math.prod(x.shape[2:])
    if values == 1:
        raise ShapeError(f"x has shape {x.shape}, expected more than one value for each channel of an example")
    observe = _observer(running_mean, running_var, momentum, values)

    def observe_batch(mean, variance):
        observe(mean.mean(axis=0), variance.mean(axis=0))

    return group_norm_(x, weight, bias, eps, max(x.shape[1], 1), observe_batch if observe and x.size else None)


@named
def local_response_norm(x, size, alpha=1e-4, beta=0.75, k=1.0):
    """x / (k + alpha · mean of x² over ``size`` channels)^beta (Krizhevsky et al. 2012, section 3.3).

    x (N, C, ...) with at least one trailing axis; the window of channel c is c - ⌊size / 2⌋ to c + ⌊(size - 1) / 2⌋,
    and channels beyond the first and last count as 0. The paper multiplies the sum of the squares with its alpha, not
    their mean: its 1e-4 with size 5 is 5e-4 here, as in PyTorch.

    >>> tn.local_response_norm([[[3.0], [4.0]]], 2, alpha=2.0, beta=0.5).round(4)
    Tensor([[[0.9487],
             [0.7845]]])
    """
    x = operand(x)
    if len(x.shape) < 3:
        raise ShapeError(f"x has shape {x.shape}, expected (N, C, ...) with at least one trailing axis")
    size = count(size, "size")
    alpha, beta, k = number(alpha, "alpha"), number(beta, "beta"), number(k, "k")
    channels = x.shape[1]
    squares = pad(square(x), [(0, 0), (size // 2, (size - 1) // 2), *[(0, 0)] * (len(x.shape) - 2)])
    total = squares[:, :channels]
    for start in range(1, size):
        total = total + squares[:, start : start + channels]
    return x / (total * (alpha / size) + k) ** beta


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

    >>> tn.layer_norm([[1.0, 3.0], [5.0, 5.0]], 2, eps=0.1).round(2)
    Tensor([[-0.95,  0.95],
            [ 0.  ,  0.  ]])
    """
    eps = at_least(eps, "eps", 0)
    return layer_norm_(x, weight, bias, eps, _last_axes(as_shape(x), normalized_shape, weight=weight, bias=bias))


def _last_axes(shape, normalized_shape, **vectors):
    """The number of last axes, whose sizes are ``normalized_shape``; ``vectors`` have that shape or are None."""
    sizes = normalized_shape if isinstance(normalized_shape, list | tuple) else (normalized_shape,)
    normalized_shape, shape = tuple(count(n, "normalized_shape", 0) for n in sizes), tuple(shape)
    if not normalized_shape or shape[-len(normalized_shape) :] != normalized_shape:
        raise ShapeError(f"normalized_shape is {normalized_shape}, x has shape {shape}, which must end with it")
    for name, vector in vectors.items():
        if vector is not None and tuple(as_shape(vector)) != normalized_shape:
            raise ShapeError(f"{name} has shape {tuple(as_shape(vector))}, expected {normalized_shape}")
    return len(normalized_shape)


def _rms_norm_in_small_ops(x, weight, eps, axes_count):
    y = x / sqrt(mean(square(x), tuple(range(-axes_count, 0)), True) + eps)
    return _scaled(y, weight, None, x.shape[x.ndim - axes_count :])


@op(composite=_rms_norm_in_small_ops)
def rms_norm_(x: Array, weight: Array | None, eps, axes_count):
    """Division by the root mean square of the last ``axes_count`` axes."""
    x, weight = as_floating(x, weight)
    y, rrms = kernels.rms_norm(x, weight, eps, axes_count)

    def derivative(g, x, weight):
        return kernels.rms_norm_grad(*as_floating(g, x, weight), rrms, axes_count)

    return y, derivative


@named
def rms_norm(x, normalized_shape, weight=None, eps=None):
    """x / √(mean of x² + eps) · weight over the last axes (Zhang & Sennrich 2019, arXiv:1910.07467).

    ``normalized_shape``: the sizes of those axes, an int for one; ``weight`` has that shape. ``eps`` None: the spacing
    of x's dtype at 1, 1.2e-7 for float32.

    >>> tn.rms_norm([3.0, 4.0], 2, eps=0.0).round(4)
    Tensor([0.8485, 1.1314])
    """
    x = operand(x)
    eps = float(np.finfo(as_floating(x.data).dtype).eps) if eps is None else at_least(eps, "eps", 0)
    return rms_norm_(x, weight, eps, _last_axes(x.shape, normalized_shape, weight=weight))
