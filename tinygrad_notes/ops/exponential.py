"""Exponentials and logarithms, elementwise, and what is made of them: tanh, sigmoid, the error function."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes import kernels
from tinygrad_notes.ops.comparison import isinf, logical_and, where
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import float32


@op(elementwise=True, floating=True)
def exp(a: Array):
    """eᵃ. d eᵃ = eᵃ.

    >>> tn.value_and_grad(tn.exp)(0.0)
    (Tensor(1.), Tensor(1.))
    """
    return kernels.exp(a), lambda g, y: g * y


@op(elementwise=True, floating=True)
def exp2(a: Array):
    """2ᵃ. d 2ᵃ = log(2) 2ᵃ.

    >>> tn.exp2([0, 3, -1])
    Tensor([1. , 8. , 0.5])
    """
    return np.exp2(a), lambda g, y: g * y * math.log(2)


@op(elementwise=True, floating=True)
def expm1(a: Array):
    """eᵃ - 1, exact near 0. Its derivative is eᵃ.

    >>> bool(tn.expm1(1e-10) == 1e-10), bool(tn.exp(1e-10) - 1 == 0)
    (True, True)
    """
    return np.expm1(a), lambda g, y: g * (y + 1.0)


@op(elementwise=True, floating=True)
def log(a: Array):
    """The natural logarithm. d log a = 1/a.

    >>> tn.value_and_grad(tn.log)(1.0)
    (Tensor(0.), Tensor(1.))
    """
    return np.log(a), lambda g, a: g / a


@op(elementwise=True, floating=True)
def log2(a: Array):
    """The logarithm to base 2. d = 1 / (a log 2).

    >>> tn.log2([1, 8, 1024])
    Tensor([ 0.,  3., 10.])
    """
    return np.log2(a), lambda g, a: g / (a * math.log(2))


@op(elementwise=True, floating=True)
def log10(a: Array):
    """The logarithm to base 10. d = 1 / (a log 10).

    >>> tn.log10([1, 1000]).round(4)
    Tensor([0., 3.])
    """
    return np.log10(a), lambda g, a: g / (a * math.log(10))


@op(elementwise=True, floating=True)
def log1p(a: Array):
    """log(1 + a), exact near 0. Its derivative is 1 / (1 + a).

    >>> bool(tn.log1p(1e-10) == 1e-10), bool(tn.log(1 + 1e-10) == 0)
    (True, True)
    """
    return np.log1p(a), lambda g, a: g / (1.0 + a)


@op(elementwise=True, floating=True)
def tanh(a: Array):
    """Hyperbolic tangent. d tanh = 1 - tanh².

    >>> tn.tanh([0.0, 50.0])
    Tensor([0., 1.])
    >>> tn.value_and_grad(tn.tanh)(0.0)
    (Tensor(0.), Tensor(1.))
    """
    return kernels.tanh(a), lambda g, y: g - g * y * y


@op(elementwise=True, floating=True)
def sigmoid(a: Array):
    """σ(a) = 1 / (1 + e⁻ᵃ). dσ = σ(1 - σ), at most 1/4.

    >>> tn.sigmoid([-200.0, 0.0, 200.0])
    Tensor([0. , 0.5, 1. ])
    >>> tn.value_and_grad(tn.sigmoid)(0.0)
    (Tensor(0.5), Tensor(0.25))
    """
    return kernels.sigmoid(a), lambda g, y: g * (y * (1.0 - y))


@op(elementwise=True, floating=True)
def logsigmoid(a: Array):
    """log σ(a) = -log(1 + e⁻ᵃ), without overflow. d = σ(-a).

    >>> tn.logsigmoid([-200.0, 200.0])
    Tensor([-200.,    0.])
    >>> tn.value_and_grad(tn.logsigmoid)(0.0)[1]
    Tensor(0.5)
    """
    return (
        kernels.fused(a, lambda a: np.minimum(a, 0) - np.log1p(np.exp(-np.abs(a))), ()),
        lambda g, a: g * sigmoid(-a),
    )


@op(elementwise=True)
def logaddexp(a: Array, b: Array):
    """log(eᵃ + eᵇ), without overflow. d = σ(a - b) da + σ(b - a) db; of two equal infinities each gets one half.

    >>> tn.logaddexp(1000.0, [0.0, 1000.0]).round(3)
    Tensor([1000.   , 1000.693])
    """
    a, b = no_half(a), no_half(b)
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


def no_half(a):
    """NumPy makes float16 of one-byte integers, which is no dtype of ours on the CPU; here they count as float32."""
    if isinstance(a, bool):
        return int(a)
    return a.astype(float32) if hasattr(a, "dtype") and a.dtype.kind in "iub" and a.dtype.itemsize == 1 else a


@op(elementwise=True, floating=True)
def erf(a: Array):
    """The error function, 2/√π ∫₀ᵃ e⁻ᵗ² dt. Its derivative is 2/√π e⁻ᵃ².

    >>> tn.erf([0.0, 0.5, 9.0]).round(4)
    Tensor([0.    , 0.5205, 1.    ])
    """
    return kernels.erf(a), lambda g, a: g * (2.0 / math.sqrt(math.pi) * exp(-(a * a)))
