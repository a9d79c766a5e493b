"""Trigonometric and hyperbolic functions, angles and lengths, elementwise. tanh stands in exponential.py."""

from __future__ import annotations

import numpy as np

from tinygrad_notes.ops.arithmetic import sqrt
from tinygrad_notes.ops.comparison import where
from tinygrad_notes.ops.exponential import no_half
from tinygrad_notes.registry import Array, op


@op(elementwise=True, floating=True)
def sin(a: Array):
    """The sine of a, in radians. d sin = cos.

    >>> tn.value_and_grad(tn.sin)(0.0)
    (Tensor(0.), Tensor(1.))
    """
    return np.sin(a), lambda g, a: g * cos(a)


@op(elementwise=True, floating=True)
def cos(a: Array):
    """The cosine of a, in radians. d cos = -sin.

    >>> tn.cos([0.0, np.pi])
    Tensor([ 1., -1.])
    >>> tn.value_and_grad(tn.cos)(np.pi / 2)[1]
    Tensor(-1.)
    """
    return np.cos(a), lambda g, a: -g * sin(a)


@op(elementwise=True, floating=True)
def tan(a: Array):
    """sin a / cos a. d tan = 1 + tan².

    >>> tn.value_and_grad(tn.tan)(0.0)
    (Tensor(0.), Tensor(1.))
    """
    return np.tan(a), lambda g, y: g * (1.0 + y * y)


@op(elementwise=True, floating=True)
def asin(a: Array):
    """The angle in [-π/2, π/2] whose sine is a. d asin = 1 / √(1 - a²), inf at ±1; NaN outside [-1, 1].

    >>> tn.asin([0.0, 1.0, 0.5]).round(4)
    Tensor([0.    , 1.5708, 0.5236])
    """
    return np.arcsin(a), lambda g, a: g / sqrt((1.0 - a) * (1.0 + a))


@op(elementwise=True, floating=True)
def acos(a: Array):
    """The angle in [0, π] whose cosine is a. d acos = -1 / √(1 - a²), -inf at ±1; NaN outside [-1, 1].

    >>> tn.acos([0.0, 1.0, -1.0]).round(4)
    Tensor([1.5708, 0.    , 3.1416])
    """
    return np.arccos(a), lambda g, a: -g / sqrt((1.0 - a) * (1.0 + a))


@op(elementwise=True, floating=True)
def atan(a: Array):
    """The angle in (-π/2, π/2) whose tangent is a. d atan = 1 / (1 + a²).

    >>> tn.value_and_grad(tn.atan)(0.0)
    (Tensor(0.), Tensor(1.))
    """
    return np.arctan(a), lambda g, a: g / (1.0 + a * a)


@op(elementwise=True)
def atan2(a: Array, b: Array):
    """The angle in [-π, π] of the point (x = b, y = a). d = (b da - a db) / (a² + b²), 0 at the origin.

    >>> tn.atan2([1.0, 1.0, -1.0], [1.0, -1.0, 0.0]).round(4)
    Tensor([ 0.7854,  2.3562, -1.5708])
    """
    a, b = no_half(a), no_half(b)
    return np.arctan2(a, b), lambda g, a, b: g * _over_square(b, a, b), lambda g, a, b: -g * _over_square(a, a, b)


def _over_square(part, a, b):
    """part / (a² + b²), without squaring what is large or small; 0 at the origin."""
    length = hypot(a, b)
    length = where(length == 0, 1.0, length)
    return part / length / length


@op(elementwise=True)
def hypot(a: Array, b: Array):
    """√(a² + b²) without overflow. d = (a da + b db) / √(a² + b²), 0 at the origin.

    >>> tn.hypot(3.0, [4.0, 0.0])
    Tensor([5., 3.])
    >>> a = tn.tensor(3e30, requires_grad=True)
    >>> tn.grad(tn.hypot(a, 4e30), a).round(4)
    Tensor(0.6)
    """
    a, b = no_half(a), no_half(b)
    return (
        np.hypot(a, b),
        lambda g, a, y: g * (a / where(y == 0, 1.0, y)),
        lambda g, b, y: g * (b / where(y == 0, 1.0, y)),
    )


@op(elementwise=True, floating=True)
def sinh(a: Array):
    """(eᵃ - e⁻ᵃ) / 2. d sinh = cosh.

    >>> tn.value_and_grad(tn.sinh)(0.0)
    (Tensor(0.), Tensor(1.))
    """
    return np.sinh(a), lambda g, a: g * cosh(a)


@op(elementwise=True, floating=True)
def cosh(a: Array):
    """(eᵃ + e⁻ᵃ) / 2. d cosh = sinh.

    >>> tn.value_and_grad(tn.cosh)(0.0)
    (Tensor(1.), Tensor(0.))
    """
    return np.cosh(a), lambda g, a: g * sinh(a)


@op(elementwise=True, floating=True)
def asinh(a: Array):
    """The inverse of sinh, log(a + √(a² + 1)). d asinh = 1 / √(a² + 1).

    >>> tn.value_and_grad(tn.asinh)(0.0)
    (Tensor(0.), Tensor(1.))
    """
    return np.arcsinh(a), lambda g, a: g / hypot(a, 1.0)


@op(elementwise=True, floating=True)
def acosh(a: Array):
    """The inverse of cosh, log(a + √(a² - 1)); NaN below 1. d acosh = 1 / √(a² - 1), inf at 1.

    >>> tn.acosh([1.0, 2.0]).round(4)
    Tensor([0.   , 1.317])
    """
    return np.arccosh(a), lambda g, a: g / (sqrt(a - 1.0) * sqrt(a + 1.0))


@op(elementwise=True, floating=True)
def atanh(a: Array):
    """The inverse of tanh, log((1 + a) / (1 - a)) / 2; ±inf at ±1, NaN outside. d atanh = 1 / (1 - a²).

    >>> tn.value_and_grad(tn.atanh)(0.0)
    (Tensor(0.), Tensor(1.))
    """
    return np.arctanh(a), lambda g, a: g / ((1.0 - a) * (1.0 + a))
