"""Activations: relu and its kin, gelu, silu, softplus, elu, the piecewise linear ones, mish, prelu, glu.

Where a piece ends the derivative is PyTorch's: ``a > 0`` decides for elu, selu, celu and prelu, and the flat pieces of
hardtanh, relu6 and hardsigmoid own their ends.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes import kernels
from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.ops.arguments import number
from tinygrad_notes.ops.arithmetic import abs, multiply, negative
from tinygrad_notes.ops.comparison import logical_and, where
from tinygrad_notes.ops.exponential import erf, exp, sigmoid, tanh
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


@op(elementwise=True)
def relu(a: Array):
    """max(a, 0). Its derivative is 1 where a > 0, else 0; 0 at 0.

    >>> tn.relu([-1.0, 2.0])
    Tensor([0., 2.])
    >>> tn.value_and_grad(lambda a: tn.relu(a).sum())([-1.0, 0.0, 2.0])[1]
    Tensor([0., 0., 1.])
    """
    return np.maximum(a, 0), lambda g, y: g * (y > 0)


@op(elementwise=True, floating=True)
def leaky_relu(a: Array, negative_slope=0.01):
    """a where a > 0, else ``negative_slope`` a. At 0 the derivative is the slope's.

    >>> tn.leaky_relu([-1.0, 2.0], 0.25)
    Tensor([-0.25,  2.  ])
    """
    negative_slope = number(negative_slope, "negative_slope")
    return kernels.fused(a, lambda a: np.where(a > 0, a, a * negative_slope), ()), lambda g, a: where(
        a > 0, g, g * negative_slope
    )


def _gelu_in_small_ops(a, approximate):
    if approximate == "tanh":
        return 0.5 * a * (1.0 + tanh(math.sqrt(2.0 / math.pi) * (a + 0.044715 * a * a * a)))
    return 0.5 * a * (1.0 + erf(a * math.sqrt(0.5)))


@op(elementwise=True, floating=True, composite=_gelu_in_small_ops)
def gelu(a: Array, approximate="none"):
    """aΦ(a), Φ the normal distribution (Hendrycks & Gimpel 2016, arXiv:1606.08415).

    ``approximate="tanh"``: a/2 (1 + tanh(√(2/π) (a + 0.044715 a³))). d = Φ(a) + a φ(a) for the exact one.

    >>> tn.gelu([-1.0, 0.0, 1.0]).round(4)
    Tensor([-0.1587,  0.    ,  0.8413])
    >>> tn.gelu([-1.0, 0.0, 1.0], approximate="tanh").round(4)
    Tensor([-0.1588,  0.    ,  0.8412])
    """
    if approximate not in ("none", "tanh"):
        raise DTypeError(f"approximate is {approximate!r}, expected 'none' or 'tanh'")
    return kernels.gelu(a, approximate), lambda g, a: kernels.gelu_grad(g, a, approximate)


def _silu_in_small_ops(a):
    return a * sigmoid(a)


@op(elementwise=True, floating=True, composite=_silu_in_small_ops)
def silu(a: Array):
    """a σ(a), also called swish (Elfwing et al. 2017, arXiv:1702.03118). d = σ + aσ(1 - σ).

    >>> tn.silu([-1.0, 0.0, 1.0]).round(4)
    Tensor([-0.2689,  0.    ,  0.7311])
    """
    return kernels.silu(a), lambda g, a: kernels.silu_grad(g, a)


@op(elementwise=True, floating=True)
def softplus(a: Array, beta=1.0, threshold=20.0):
    """log(1 + e^(βa)) / β, without overflow; a itself where βa > ``threshold``. d = σ(βa).

    >>> tn.softplus([-100.0, 0.0, 100.0]).round(4)
    Tensor([  0.    ,   0.6931, 100.    ])
    >>> tn.value_and_grad(tn.softplus)(0.0)[1]
    Tensor(0.5)
    """
    beta, threshold = number(beta, "beta"), number(threshold, "threshold")
    if not beta > 0:
        raise ShapeError(f"beta is {beta}, expected a number above 0")

    def value(a):
        z = np.multiply(a, beta)
        return np.where(z > threshold, a, (np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))) / beta)

    return kernels.fused(a, value, ()), lambda g, a: g * where(a * beta > threshold, 1.0, sigmoid(a * beta))


@op(elementwise=True, floating=True)
def elu(a: Array, alpha=1.0):
    """a where a > 0, else ``alpha`` (eᵃ - 1) (Clevert et al. 2015, arXiv:1511.07289). d = 1, or alpha eᵃ.

    >>> tn.elu([-1.0, 0.0, 2.0]).round(4)
    Tensor([-0.6321,  0.    ,  2.    ])
    """
    alpha = _finite(alpha, "alpha")
    return (
        kernels.fused(a, lambda a: np.where(a > 0, a, alpha * np.expm1(np.minimum(a, 0))), ()),
        lambda g, a: where(a > 0, g, g * (alpha * exp(_below(a)))),
    )


@op(elementwise=True, floating=True)
def selu(a: Array):
    """λ elu(a, α), λ = 1.0507, α = 1.6733, which drives activations to mean 0, variance 1 (Klambauer et al. 2017,
    arXiv:1706.02515).

    >>> tn.selu([-1.0, 0.0, 2.0]).round(4)
    Tensor([-1.1113,  0.    ,  2.1014])
    """
    return (
        kernels.fused(a, lambda a: SELU_SCALE * np.where(a > 0, a, SELU_ALPHA * np.expm1(np.minimum(a, 0))), ()),
        lambda g, a: where(a > 0, g * SELU_SCALE, g * (SELU_SCALE * SELU_ALPHA * exp(_below(a)))),
    )


@op(elementwise=True, floating=True)
def celu(a: Array, alpha=1.0):
    """a where a > 0, else ``alpha`` (e^(a/alpha) - 1), smooth at 0 (Barron 2017, arXiv:1704.07483).

    d = 1, or e^(a/alpha). ``alpha`` <= 0 raises ShapeError.

    >>> tn.celu([-1.0, 0.0, 2.0], alpha=2.0).round(4)
    Tensor([-0.7869,  0.    ,  2.    ])
    """
    alpha = _finite(alpha, "alpha")
    if not alpha > 0:
        raise ShapeError(f"alpha is {alpha}, expected a number above 0")
    return (
        kernels.fused(a, lambda a: np.where(a > 0, a, alpha * np.expm1(np.minimum(a, 0) / alpha)), ()),
        lambda g, a: where(a > 0, g, g * exp(_below(a) / alpha)),
    )


@op(elementwise=True, floating=True)
def hardtanh(a: Array, min_val=-1.0, max_val=1.0):
    """a held between ``min_val`` and ``max_val``. d = 1 inside, 0 outside and at the two ends (clip has 1 there).

    ``min_val`` >= ``max_val`` raises ShapeError.

    >>> tn.hardtanh([-3.0, 0.5, 3.0])
    Tensor([-1. ,  0.5,  1. ])
    """
    low, high = number(min_val, "min_val"), number(max_val, "max_val")
    if not low < high:
        raise ShapeError(f"min_val is {min_val!r} and max_val {max_val!r}, expected min_val < max_val")
    return np.clip(a, low, high), lambda g, a: where(logical_and(a > low, a < high), g, 0.0)


@op(elementwise=True, floating=True)
def relu6(a: Array):
    """min(max(a, 0), 6) (Howard et al. 2017, arXiv:1704.04861). d = 1 inside (0, 6), else 0.

    >>> tn.relu6([-3.0, 0.5, 9.0])
    Tensor([0. , 0.5, 6. ])
    """
    return np.clip(a, 0, 6), lambda g, a: where(logical_and(a > 0, a < 6), g, 0.0)


@op(elementwise=True, floating=True)
def hardsigmoid(a: Array):
    """min(max(a/6 + 1/2, 0), 1). d = 1/6 inside (-3, 3), else 0.

    >>> tn.hardsigmoid([-3.0, 0.0, 1.5, 3.0])
    Tensor([0.  , 0.5 , 0.75, 1.  ])
    """
    return (
        kernels.fused(a, lambda a: np.clip(a / 6 + 0.5, 0, 1), ()),
        lambda g, a: where(logical_and(a > -3, a < 3), g / 6.0, 0.0),
    )


@op(elementwise=True, floating=True)
def hardswish(a: Array):
    """a relu6(a + 3) / 6 (Howard et al. 2019, arXiv:1905.02244). d = a/3 + 1/2 inside (-3, 3), 0 below, 1 above.

    >>> tn.hardswish([-1.0, 0.0, 3.0, 5.0]).round(4)
    Tensor([-0.3333,  0.    ,  3.    ,  5.    ])
    """
    return (
        kernels.fused(a, lambda a: a * np.clip(a + 3, 0, 6) / 6, ()),
        lambda g, a: where(logical_and(a > -3, a < 3), g * (a / 3.0 + 0.5), where(a >= 3, g, 0.0)),
    )


@op(elementwise=True, floating=True)
def mish(a: Array):
    """a tanh(log(1 + eᵃ)) (Misra 2019, arXiv:1908.08681). d = t + a σ(a) (1 - t²), t the tanh.

    >>> tn.mish([-1.0, 0.0, 1.0]).round(4)
    Tensor([-0.3034,  0.    ,  0.8651])
    """
    return kernels.fused(a, _mish, ()), lambda g, a: g * _mish_slope(a, tanh(softplus(a)))


def _mish(a):
    # tanh(log(1 + e)) = ((1 + e)² - 1) / ((1 + e)² + 1), divided by e² where e = eᵃ is large
    e = np.exp(-np.abs(a))
    top = np.where(a > 0, 1 + 2 * e, e * (e + 2))
    return a * (top / (top + np.where(a > 0, 2 * e * e, 2)))


def _mish_slope(a, t):
    return t + a * sigmoid(a) * (1.0 - t * t)


@op(elementwise=True, floating=True)
def softsign(a: Array):
    """a / (1 + |a|). d = 1 / (1 + |a|)².

    >>> tn.softsign([-1.0, 0.0, 3.0])
    Tensor([-0.5 ,  0.  ,  0.75])
    """
    return kernels.fused(a, lambda a: a / (1 + np.abs(a)), ()), lambda g, a: g / ((1.0 + abs(a)) * (1.0 + abs(a)))


@op(elementwise=True)
def _prelu(a: Array, slope: Array):
    return (
        kernels.fused(a, lambda a, slope: np.where(a > 0, a, a * slope), (slope,)),
        lambda g, a, slope: where(a > 0, g, g * slope),
        lambda g, a: where(a > 0, 0.0, g * a),
    )


@named
def prelu(a, weight):
    """a where a > 0, else ``weight`` times a, with a slope that is learned (He et al. 2015, arXiv:1502.01852).

    ``weight``: one slope, of shape () or (1,), or one per channel, of shape (C,) with C the size of axis 1 of ``a``
    (axis 0 where ``a`` has one). Its gradient is the sum of g a over the elements that are not above 0.

    >>> slope = tn.tensor(0.25, requires_grad=True)
    >>> y = tn.prelu([-2.0, 3.0], slope)
    >>> y.sum().backward()
    >>> y.detach(), slope.grad
    (Tensor([-0.5,  3. ]), Tensor(-2.))
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

    >>> tn.glu([3.0, 5.0, 0.0, 100.0])
    Tensor([1.5, 5. ])
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
    """e⁻ᵃ / Σ e⁻ᵃ along ``axis``: softmax of -a.

    >>> tn.softmin([0.0, 0.0]), tn.softmin([1.0, 2.0, 3.0]).round(4)
    (Tensor([0.5, 0.5]), Tensor([0.6652, 0.2447, 0.09  ]))
    """
    return softmax(negative(operand(a)), axis)
