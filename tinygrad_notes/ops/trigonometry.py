"""Trigonometric and hyperbolic functions, lengths and angles, logarithms and powers of other bases."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes.ops.elementwise import isinf, logical_and, sigmoid, sqrt, where
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import float32


@op(elementwise=True, floating=True)
def tan(a: Array):
    """sin a / cos a. d tan = 1 + tan²."""
    return np.tan(a), lambda g, y: g * (1.0 + y * y)


@op(elementwise=True, floating=True)
def asin(a: Array):
    """The angle in [-π/2, π/2] whose sine is a. d asin = 1 / √(1 - a²), inf at ±1; NaN outside [-1, 1]."""
    return np.arcsin(a), lambda g, a: g / sqrt((1.0 - a) * (1.0 + a))


@op(elementwise=True, floating=True)
def acos(a: Array):
    """The angle in [0, π] whose cosine is a. d acos = -1 / √(1 - a²), -inf at ±1; NaN outside [-1, 1]."""
    return np.arccos(a), lambda g, a: -g / sqrt((1.0 - a) * (1.0 + a))


@op(elementwise=True, floating=True)
def atan(a: Array):
    """The angle in (-π/2, π/2) whose tangent is a. d atan = 1 / (1 + a²)."""
    return np.arctan(a), lambda g, a: g / (1.0 + a * a)


@op(elementwise=True)
def atan2(a: Array, b: Array):
    """The angle in [-π, π] of the point (x = b, y = a). d = (b da - a db) / (a² + b²), 0 at the origin."""
    a, b = _no_half(a), _no_half(b)
    return np.arctan2(a, b), lambda g, a, b: g * _over_square(b, a, b), lambda g, a, b: -g * _over_square(a, a, b)


def _over_square(part, a, b):
    """part / (a² + b²), without squaring what is large or small; 0 at the origin."""
    length = hypot(a, b)
    length = where(length == 0, 1.0, length)
    return part / length / length


@op(elementwise=True)
def hypot(a: Array, b: Array):
    """√(a² + b²) without overflow. d = (a da + b db) / √(a² + b²), 0 at the origin."""
    a, b = _no_half(a), _no_half(b)
    return (
        np.hypot(a, b),
        lambda g, a, y: g * (a / where(y == 0, 1.0, y)),
        lambda g, b, y: g * (b / where(y == 0, 1.0, y)),
    )


def _no_half(a):
    """NumPy makes float16 of one-byte integers, which is no dtype of ours on the CPU; here they count as float32."""
    if isinstance(a, bool):
        return int(a)
    return a.astype(float32) if hasattr(a, "dtype") and a.dtype.kind in "iub" and a.dtype.itemsize == 1 else a


@op(elementwise=True, floating=True)
def sinh(a: Array):
    """(eᵃ - e⁻ᵃ) / 2. d sinh = cosh."""
    return np.sinh(a), lambda g, a: g * cosh(a)


@op(elementwise=True, floating=True)
def cosh(a: Array):
    """(eᵃ + e⁻ᵃ) / 2. d cosh = sinh."""
    return np.cosh(a), lambda g, a: g * sinh(a)


@op(elementwise=True, floating=True)
def asinh(a: Array):
    """The inverse of sinh, log(a + √(a² + 1)). d asinh = 1 / √(a² + 1)."""
    return np.arcsinh(a), lambda g, a: g / hypot(a, 1.0)


@op(elementwise=True, floating=True)
def acosh(a: Array):
    """The inverse of cosh, log(a + √(a² - 1)); NaN below 1. d acosh = 1 / √(a² - 1), inf at 1."""
    return np.arccosh(a), lambda g, a: g / (sqrt(a - 1.0) * sqrt(a + 1.0))


@op(elementwise=True, floating=True)
def atanh(a: Array):
    """The inverse of tanh, log((1 + a) / (1 - a)) / 2; ±inf at ±1, NaN outside. d atanh = 1 / (1 - a²)."""
    return np.arctanh(a), lambda g, a: g / ((1.0 - a) * (1.0 + a))


# ---------------------------------------------------------------------- logarithms and powers


@op(elementwise=True, floating=True)
def reciprocal(a: Array):
    """1 / a. d(1/a) = -1/a². Integers become float32."""
    return np.reciprocal(a), lambda g, y: -g * y * y


@op(elementwise=True, floating=True)
def exp2(a: Array):
    """2ᵃ. d 2ᵃ = log(2) 2ᵃ."""
    return np.exp2(a), lambda g, y: g * y * math.log(2)


@op(elementwise=True, floating=True)
def log2(a: Array):
    """The logarithm to base 2. d = 1 / (a log 2)."""
    return np.log2(a), lambda g, a: g / (a * math.log(2))


@op(elementwise=True, floating=True)
def log10(a: Array):
    """The logarithm to base 10. d = 1 / (a log 10)."""
    return np.log10(a), lambda g, a: g / (a * math.log(10))


@op(elementwise=True)
def logaddexp(a: Array, b: Array):
    """log(eᵃ + eᵇ), without overflow. d = σ(a - b) da + σ(b - a) db; of two equal infinities each gets one half."""
    a, b = _no_half(a), _no_half(b)
    return (
        np.logaddexp(a, b),
        lambda g, a, b: g * sigmoid(_difference(a, b)),
        lambda g, a, b: g * sigmoid(_difference(b, a)),
    )


def _difference(a, b):
    """a - b, where equal infinities differ by 0."""
    if isinstance(a, int | float):
        return -_difference(b, a)
    both = logical_and(a == b, isinf(a))
    return where(both, 0.0, where(both, 0.0, a) - b)


@op(elementwise=True, floating=True)
def logsigmoid(a: Array):
    """log σ(a) = -log(1 + e⁻ᵃ), without overflow. d = σ(-a)."""
    return np.minimum(a, 0) - np.log1p(np.exp(-np.abs(a))), lambda g, a: g * sigmoid(-a)
