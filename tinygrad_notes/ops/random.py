"""Ops that draw random numbers. Each takes its seed as an argument, so a second look sees the same numbers."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes import kernels
from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.generator import draw_seed
from tinygrad_notes.modes import apart, recording
from tinygrad_notes.ops.arguments import at_least, flag, probability
from tinygrad_notes.ops.arithmetic import floating_operand
from tinygrad_notes.ops.comparison import where
from tinygrad_notes.ops.drawing import source
from tinygrad_notes.ops.shape import single_axis
from tinygrad_notes.ops.softmax import softmax
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import Tensor, as_floating, to_array, wrap


@op
def dropout_(x: Array, p, seed):
    return kernels.dropout(as_floating(x), p, seed), lambda g: dropout_(g, p, seed)


@named
def dropout(x, p=0.5, training=True, seed=None):
    """x / (1 - p) with probability 1 - p, else 0, each element by itself (Srivastava et al. 2014).

    Its mean is x. Without ``training``, or with p = 0, it is x itself. The same elements are dropped in the gradient.
    ``seed`` chooses them (None: drawn from the package's generator, see manual_seed), on every device alike.

    >>> tn.dropout([1.0, 2.0, 3.0, 4.0], 0.5, seed=3).tolist()
    [0.0, 4.0, 6.0, 0.0]
    """
    p = probability(p, "dropout: p")
    _check_seed(seed)
    if training and p > 0 and seed is None and recording():  # the mask has other numbers in every step
        x = floating_operand(x)
        return where(_kept(x, tuple(x.shape), p, None), x / (1 - p) if p < 1 else x, 0.0)
    if training and p > 0:
        return dropout_(x, p, _seed(seed))
    if type(x) is Tensor and x.dtype.kind == "f":
        return x
    return wrap(as_floating(to_array(x)))


def _check_seed(seed):
    if not isinstance(seed, int | np.integer | None):
        raise DTypeError(f"seed is {seed!r}, expected an integer or None")


def _seed(seed):
    return draw_seed() if seed is None else int(seed)


def _kept(x, shape, p, seed):
    """A mask of ``shape``, beside x: true with probability 1 - p. A captured step draws it anew, between its graphs."""
    kept, between_graphs = np.empty_like(x.data, shape=shape, dtype=np.bool_), apart.get()
    if seed is not None or between_graphs is None:
        return kernels.dropout_mask(kept, p, _seed(seed))

    def draw():
        kept[...] = kernels.dropout_mask(kept, p, draw_seed())

    between_graphs(draw, [])
    return kept


def _drop_channels(x, p, training, seed, axes):
    """Dropout of whole channels of x (N, C, ...) or (C, ...), with ``axes`` axes behind them."""
    x, p = floating_operand(x), probability(p, "p")
    _check_seed(seed)
    if len(x.shape) not in (axes + 1, axes + 2):
        places = ", ".join(("L", "H, W", "D, H, W")[axes - 1].split(", "))
        raise ShapeError(f"x has shape {tuple(x.shape)}, expected (N, C, {places}) or (C, {places})")
    if not training or p == 0:
        return x
    kept = _kept(x, (*x.shape[:-axes], *(1,) * axes), p, seed)
    return where(kept, x * (1 / (1 - p) if p < 1 else 0.0), 0.0)


@named
def dropout1d(x, p=0.5, training=True, seed=None):
    """Dropout of whole channels of x (N, C, L), or (C, L): each is 0 with probability p, else x / (1 - p).

    Neighbours in a channel say much the same, so one of them alone would not be missed (Tompson et al. 2015).

    >>> tn.dropout1d(np.ones((2, 2)), 0.5, seed=3).tolist()
    [[0.0, 0.0], [2.0, 2.0]]
    """
    return _drop_channels(x, p, training, seed, 1)


@named
def dropout2d(x, p=0.5, training=True, seed=None):
    """Dropout of whole channels of x (N, C, H, W), or one image (C, H, W): see :func:`dropout1d`.

    Three axes are one image, as everywhere here; PyTorch, with a warning, still takes them for (N, C, L).

    >>> tn.dropout2d(np.ones((2, 1, 2)), 0.5, seed=3).tolist()
    [[[0.0, 0.0]], [[2.0, 2.0]]]
    """
    return _drop_channels(x, p, training, seed, 2)


@named
def dropout3d(x, p=0.5, training=True, seed=None):
    """Dropout of whole channels of x (N, C, D, H, W), or (C, D, H, W): see :func:`dropout1d`.

    >>> tn.dropout3d(np.ones((2, 1, 1, 2)), 0.5, seed=3).tolist()
    [[[[0.0, 0.0]]], [[[2.0, 2.0]]]]
    """
    return _drop_channels(x, p, training, seed, 3)


# What SELU tends to far on the left, -λα (Klambauer et al. 2017).
SELU_FLOOR = -1.0507009873554805 * 1.6732632423543772


@named
def alpha_dropout(x, p=0.5, training=True, seed=None):
    """Dropout for networks of SELU: an element becomes -λα with probability p, and all are moved and scaled.

    a (x or -λα) + b with a = 1/√((1 - p)(1 + p λ²α²)) and b = a p λα: mean 0 and variance 1 stay what they are
    (Klambauer et al. 2017). With p = 1 all are 0. ``training`` is true by default, as for every dropout here;
    PyTorch's function alone says False.

    >>> tn.alpha_dropout([1.0, 2.0], 0.5, training=False).tolist()
    [1.0, 2.0]
    """
    x, p = floating_operand(x), probability(p, "p")
    _check_seed(seed)
    if not training or p == 0:
        return x
    if p == 1:
        return where(_kept(x, tuple(x.shape), p, seed), x, 0.0)
    scale = 1 / math.sqrt((1 - p) * (1 + p * SELU_FLOOR**2))
    return where(_kept(x, tuple(x.shape), p, seed), x * scale, SELU_FLOOR * scale) - scale * SELU_FLOOR * p


@named
def gumbel_softmax(logits, tau=1.0, hard=False, axis=-1, generator=None):
    """softmax((logits + G) / tau) along ``axis``, with G = -log(E), E exponential: a draw by the logits, made smooth.

    The place of the largest is distributed as softmax(logits). ``hard``: 1 at that place and 0 elsewhere, with the
    gradient of the smooth draw. ``generator``: a ``numpy.random.Generator`` or None for the package's own.
    Jang et al. 2017; Maddison et al. 2017.

    >>> tn.gumbel_softmax([[0.0, 100.0, 0.0]], hard=True).tolist()
    [[0.0, 1.0, 0.0]]
    """
    logits, tau = floating_operand(logits), at_least(tau, "tau", 0)
    if tau == 0:
        raise ShapeError("tau is 0, expected a number above 0")
    flag(hard, "hard")
    axis = single_axis(axis, len(logits.shape), "gumbel_softmax")
    drawn = source(generator).standard_exponential(tuple(logits.shape))
    noise = -np.log(np.maximum(drawn, np.finfo(np.float64).tiny))
    soft = softmax((logits + np.asarray(noise, logits.dtype, like=logits.data)) / tau, axis)
    if not hard:
        return soft
    if not logits.shape[axis]:
        return soft
    place = np.expand_dims(np.argmax(soft.data, axis), axis)
    along = np.arange(logits.shape[axis], like=soft.data).reshape([-1 if i == axis else 1 for i in range(soft.ndim)])
    # soft - its value is exactly 0, so the result is exactly 0 or 1
    return (place == along).astype(logits.dtype) + (soft - soft.detach())
