"""Activations beside those of elementwise.py: elu and its kin, the piecewise linear ones, mish, prelu, glu.

Where a piece ends the derivative is PyTorch's: ``a > 0`` decides for elu, selu, celu and prelu, and the flat pieces of
hardtanh, relu6 and hardsigmoid own their ends.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes.errors import ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.ops.arguments import number
from tinygrad_notes.ops.elementwise import abs, exp, logical_and, multiply, negative, sigmoid, softplus, tanh, where
from tinygrad_notes.ops.shape import operand, reshape, single_axis
from tinygrad_notes.ops.softmax import softmax
from tinygrad_notes.registry import Array, op

# Klambauer et al. 2017: the two numbers that make mean 0 and variance 1 a fixed point.
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


def _finite(value, name):
    result = number(value, name)
    if not math.isfinite(result):
        raise ShapeError(f"{name} is {value!r}, expected a finite number")
    return result


def _below(a):
    """a where it is not above 0, else 0: an exponent that cannot overflow."""
    return where(a > 0, 0.0, a)


@op(elementwise=True, floating=True)
def elu(a: Array, alpha=1.0):
    """a where a > 0, else ``alpha`` (eᵃ - 1) (Clevert et al. 2015, arXiv:1511.07289). d = 1, or alpha eᵃ."""
    alpha = _finite(alpha, "alpha")
    return (
        np.where(a > 0, a, alpha * np.expm1(np.minimum(a, 0))),
        lambda g, a: where(a > 0, g, g * (alpha * exp(_below(a)))),
    )


@op(elementwise=True, floating=True)
def selu(a: Array):
    """λ elu(a, α), λ = 1.0507, α = 1.6733, which drives activations to mean 0, variance 1 (Klambauer et al. 2017,
    arXiv:1706.02515)."""
    return (
        SELU_SCALE * np.where(a > 0, a, SELU_ALPHA * np.expm1(np.minimum(a, 0))),
        lambda g, a: where(a > 0, g * SELU_SCALE, g * (SELU_SCALE * SELU_ALPHA * exp(_below(a)))),
    )


@op(elementwise=True, floating=True)
def celu(a: Array, alpha=1.0):
    """a where a > 0, else ``alpha`` (e^(a/alpha) - 1), smooth at 0 (Barron 2017, arXiv:1704.07483).

    d = 1, or e^(a/alpha). ``alpha`` <= 0 raises ShapeError.
    """
    alpha = _finite(alpha, "alpha")
    if not alpha > 0:
        raise ShapeError(f"alpha is {alpha}, expected a number above 0")
    return (
        np.where(a > 0, a, alpha * np.expm1(np.minimum(a, 0) / alpha)),
        lambda g, a: where(a > 0, g, g * exp(_below(a) / alpha)),
    )


@op(elementwise=True, floating=True)
def hardtanh(a: Array, min_val=-1.0, max_val=1.0):
    """a held between ``min_val`` and ``max_val``. d = 1 inside, 0 outside and at the two ends (clip has 1 there).

    ``min_val`` >= ``max_val`` raises ShapeError.
    """
    low, high = number(min_val, "min_val"), number(max_val, "max_val")
    if not low < high:
        raise ShapeError(f"min_val is {min_val!r} and max_val {max_val!r}, expected min_val < max_val")
    return np.clip(a, low, high), lambda g, a: where(logical_and(a > low, a < high), g, 0.0)


@op(elementwise=True, floating=True)
def relu6(a: Array):
    """min(max(a, 0), 6) (Howard et al. 2017, arXiv:1704.04861). d = 1 inside (0, 6), else 0."""
    return np.clip(a, 0, 6), lambda g, a: where(logical_and(a > 0, a < 6), g, 0.0)


@op(elementwise=True, floating=True)
def hardsigmoid(a: Array):
    """min(max(a/6 + 1/2, 0), 1). d = 1/6 inside (-3, 3), else 0."""
    return np.clip(a / 6 + 0.5, 0, 1), lambda g, a: where(logical_and(a > -3, a < 3), g / 6.0, 0.0)


@op(elementwise=True, floating=True)
def hardswish(a: Array):
    """a relu6(a + 3) / 6 (Howard et al. 2019, arXiv:1905.02244). d = a/3 + 1/2 inside (-3, 3), 0 below, 1 above."""
    return (
        a * np.clip(a + 3, 0, 6) / 6,
        lambda g, a: where(logical_and(a > -3, a < 3), g * (a / 3.0 + 0.5), where(a >= 3, g, 0.0)),
    )


@op(elementwise=True, floating=True)
def mish(a: Array):
    """a tanh(log(1 + eᵃ)) (Misra 2019, arXiv:1908.08681). d = t + a σ(a) (1 - t²), t the tanh."""
    # tanh(log(1 + e)) = ((1 + e)² - 1) / ((1 + e)² + 1), divided by e² where e = eᵃ is large
    e = np.exp(-np.abs(a))
    top = np.where(a > 0, 1 + 2 * e, e * (e + 2))
    return a * (top / (top + np.where(a > 0, 2 * e * e, 2))), lambda g, a: g * _mish_slope(a, tanh(softplus(a)))


def _mish_slope(a, t):
    return t + a * sigmoid(a) * (1.0 - t * t)


@op(elementwise=True, floating=True)
def softsign(a: Array):
    """a / (1 + |a|). d = 1 / (1 + |a|)²."""
    return a / (1 + np.abs(a)), lambda g, a: g / ((1.0 + abs(a)) * (1.0 + abs(a)))


@op(elementwise=True)
def _prelu(a: Array, slope: Array):
    return (
        np.where(np.greater(a, 0), a, np.multiply(a, slope)),
        lambda g, a, slope: where(a > 0, g, g * slope),
        lambda g, a: where(a > 0, 0.0, g * a),
    )


@named
def prelu(a, weight):
    """a where a > 0, else ``weight`` times a, with a slope that is learned (He et al. 2015, arXiv:1502.01852).

    ``weight``: one slope, of shape () or (1,), or one per channel, of shape (C,) with C the size of axis 1 of ``a``
    (axis 0 where ``a`` has one). Its gradient is the sum of g a over the elements that are not above 0.
    """
    a, weight = operand(a), operand(weight)
    shape, slopes = tuple(a.shape), tuple(weight.shape)
    if len(slopes) > 1:
        raise ShapeError(f"weight has shape {slopes}, expected () or (C,)")
    if slopes in ((), (1,)):
        return _prelu(a, reshape(weight, ()))
    axis = 0 if len(shape) == 1 else 1
    if not shape or shape[axis] != slopes[0]:
        raise ShapeError(f"weight has shape {slopes}, a {shape}, expected one slope, or one per channel of axis 1")
    return _prelu(a, reshape(weight, slopes + (1,) * (len(shape) - axis - 1)))


@named
def glu(a, axis=-1):
    """u σ(v), u and v the two halves of ``a`` along ``axis`` (Dauphin et al. 2017, arXiv:1612.08083).

    The size of ``axis`` is even (ShapeError), the result's is half of it.
    """
    a = operand(a)
    axis = single_axis(axis, len(a.shape), "glu")
    size = a.shape[axis]
    if size % 2:
        raise ShapeError(f"axis {axis} has size {size}, expected an even one, to be halved")
    before = (slice(None),) * axis
    return multiply(a[(*before, slice(0, size // 2))], sigmoid(a[(*before, slice(size // 2, size))]))


@named
def softmin(a, axis=-1):
    """e⁻ᵃ / Σ e⁻ᵃ along ``axis``: softmax of -a."""
    return softmax(negative(operand(a)), axis)
