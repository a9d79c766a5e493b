"""Elementwise functions that NumPy lacks, or that need care at the ends of their range."""

from __future__ import annotations

import math

import numpy as np

Array = np.ndarray

# Beyond these the functions below have reached their limits in float64; clipping keeps squares and cubes finite.
ERF_END, GELU_END = 6.0, 40.0

# W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics of Computation 23 (1969):
# numerator and denominator of erf(x) / x in x² for |x| < 0.46875, and of exp(x²) erfc(x) in x above it, each from the
# highest power down. The second is used up to 6, where erf is 1 to the last bit.
ERF_NUMERATOR = (
    1.85777706184603153e-1,
    3.16112374387056560e0,
    1.13864154151050156e2,
    3.77485237685302021e2,
    3.20937758913846947e3,
)
ERF_DENOMINATOR = (
    1.0,
    2.36012909523441209e1,
    2.44024637934444173e2,
    1.28261652607737228e3,
    2.84423683343917062e3,
)
ERFC_NUMERATOR = (
    2.15311535474403846e-8,
    5.64188496988670089e-1,
    8.88314979438837594e0,
    6.61191906371416295e1,
    2.98635138197400131e2,
    8.81952221241769090e2,
    1.71204761263407058e3,
    2.05107837782607147e3,
    1.23033935479799725e3,
)
ERFC_DENOMINATOR = (
    1.0,
    1.57449261107098347e1,
    1.17693950891312499e2,
    5.37181101862009858e2,
    1.62138957456669019e3,
    3.29079923573345963e3,
    4.36261909014324716e3,
    3.43936767414372164e3,
    1.23033935480374942e3,
)


def exp(x: Array) -> Array:
    """e to the power x."""
    return np.exp(x)


def tanh(x: Array) -> Array:
    """Hyperbolic tangent."""
    return np.tanh(x)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), as exp(x) / (1 + exp(x)) where x < 0: the exponential never overflows."""
    decay = np.exp(-abs(x))
    return np.where(x < 0, decay, 1) / (1 + decay)


def erf(x: Array) -> Array:
    """Error function, 2/√π ∫₀ˣ exp(-t²) dt, to 1e-15 relative in float64 (two pieces of Cody's rational form)."""
    size = np.minimum(abs(x), ERF_END)
    square = size * size
    near = size * (_polynomial(ERF_NUMERATOR, square) / _polynomial(ERF_DENOMINATOR, square))
    tail = np.exp(-square) * (_polynomial(ERFC_NUMERATOR, size) / _polynomial(ERFC_DENOMINATOR, size))
    return np.copysign(np.where(size < 0.46875, near, 1 - tail), x)


def gelu(x: Array, approximate: str) -> Array:
    """x Φ(x), Φ the normal distribution function: (1 + erf(x/√2)) / 2.

    With ``approximate="tanh"`` it is (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2. The limit at -∞ is 0.
    """
    distribution = _gelu_distribution(x, approximate)
    return np.where(x < -GELU_END, 0, x) * distribution


def gelu_grad(g: Array, x: Array, approximate: str) -> Array:
    """g d gelu(x)/dx = g (Φ(x) + x Φ'(x))."""
    near = np.clip(x, -GELU_END, GELU_END)
    distribution = _gelu_distribution(x, approximate)
    if approximate == "none":
        density = np.exp(-0.5 * near * near) / math.sqrt(2 * math.pi)
    else:
        slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * near * near)
        density = 2 * distribution * (1 - distribution) * slope
    return g * (distribution + near * density)


def silu(x: Array) -> Array:
    """x sigmoid(x). The limit at -∞ is 0."""
    return np.maximum(x, _lowest(x)) * sigmoid(x)


def silu_grad(g: Array, x: Array) -> Array:
    """g d silu(x)/dx = g s (1 + x (1 - s)) with s = sigmoid(x)."""
    s = sigmoid(x)
    near = np.clip(x, _lowest(x), -_lowest(x))
    return g * (s + near * (s * sigmoid(-x)))


def _gelu_distribution(x: Array, approximate: str) -> Array:
    if approximate == "none":
        return 0.5 * (1 + erf(x * math.sqrt(0.5)))
    near = np.clip(x, -GELU_END, GELU_END)
    # (1 + tanh u) / 2 is sigmoid(2u), which loses no digits where tanh is near -1.
    return sigmoid(math.sqrt(8 / math.pi) * (near + 0.044715 * near * near * near))


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    value = x * coefficients[0] + coefficients[1]
    for coefficient in coefficients[2:]:
        value = value * x + coefficient
    return value


def _lowest(x: Array) -> float:
    """The smallest finite number of x's dtype: it stands for -∞ where 0 times it must be 0."""
    return float(np.finfo(x.dtype).min)
