"""Elementwise ops: arithmetic, comparison, logic, functions of one variable, activations. Operands broadcast.

Inside an op the operands are bare arrays or numbers. A derivative receives the value's gradient ``g`` and, by name,
what it keeps: ``y`` the value, or operands. It is written with operators and ops, which work on arrays (first order)
and on Tensors (higher orders) alike.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes import kernels
from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.ops.arguments import number
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import Tensor, as_dtype, int64, wrap

# ---------------------------------------------------------------------- arithmetic


@op(elementwise=True)
def add(a: Array, b: Array):
    """a + b. d(a + b) = da + db."""
    return np.add(a, b), lambda g: g, lambda g: g


@op(elementwise=True)
def subtract(a: Array, b: Array):
    """a - b. d(a - b) = da - db. Booleans have no minus (DTypeError)."""
    return np.subtract(a, b), lambda g: g, lambda g: -g


@op(elementwise=True)
def multiply(a: Array, b: Array):
    """ab. d(ab) = b da + a db."""
    return np.multiply(a, b), lambda g, b: g * b, lambda g, a: g * a


@op(elementwise=True)
def divide(a: Array, b: Array):
    """a / b. d(a/b) = da/b - (a/b) db/b. Integers divide to float32."""
    return np.true_divide(a, b), lambda g, b: g / b, lambda g, b, y: -g * y / b


@op(elementwise=True)
def remainder(a: Array, b: Array):
    """a - b floor(a / b), with the sign of b. Derivatives 1 and -floor(a / b), where it does not jump."""
    return _counted(np.remainder(a, b)), lambda g: g, lambda g, a, b: -g * floor_divide(a, b)


@op(elementwise=True)
def floor_divide(a: Array, b: Array):
    """floor(a / b). A step function: no gradient flows."""
    return _counted(np.floor_divide(a, b))


def _counted(value):
    """Booleans make int8 in NumPy, which is no dtype of ours; here they count as int64."""
    return value.astype(int64) if value.dtype.char == "b" else value


@op(elementwise=True)
def negative(a: Array):
    """-a."""
    return np.negative(a), lambda g: -g


@op(elementwise=True)
def positive(a: Array):
    """A copy of a. d(+a) = da."""
    return np.positive(a), lambda g: g


@op(elementwise=True)
def pow(a: Array, b: Array):
    """a ** b. d(aᵇ) = b aᵇ⁻¹ da + aᵇ log(a) db.

    Where b = 0 the derivative for a is 0, at a = 0 too; the derivative for b is 0 where a <= 0 (there aᵇ is 0, or has
    no real neighbour). An integer to a negative integer power raises DTypeError.
    """
    if isinstance(b, int | float) and not isinstance(a, int | float):  # the usual case: a fixed exponent
        _refuse_reciprocal(a.dtype.kind, isinstance(b, int) and b < 0)
        return (
            a**b if a.dtype.kind != "b" else _counted(a**b),
            lambda g, a, b: g * (b * a ** (b - 1)) if b else g * 0.0,
            lambda g, a, y: g * y * _log_of_base(a),
        )
    if not isinstance(b, int | float) and b.dtype.kind in "iu":
        _refuse_reciprocal(
            "i" if isinstance(a, int) else "f" if isinstance(a, float) else a.dtype.kind, bool(np.any(b < 0))
        )
    return (
        _counted(np.power(a, b)),
        lambda g, a, b: g * b * where(b == 0, 1.0, a) ** (b - 1),
        lambda g, a, y: g * y * _log_of_base(a),
    )


def _log_of_base(a):
    if isinstance(a, int | float):
        return math.log(a) if a > 0 else 0.0
    return log(where(a > 0, a, 1.0))


def _refuse_reciprocal(kind: str, negative: bool) -> None:
    if negative and kind in "iub":
        raise DTypeError("an integer to a negative integer power is not an integer; make one operand floating")


@op(elementwise=True)
def maximum(a: Array, b: Array):
    """The larger of a and b; NaN if either is. The larger one gets the gradient, ties share it equally."""
    return np.maximum(a, b), lambda g, a, b: _share(g, a > b, a == b), lambda g, a, b: _share(g, b > a, a == b)


@op(elementwise=True)
def minimum(a: Array, b: Array):
    """The smaller of a and b; NaN if either is. The smaller one gets the gradient, ties share it equally."""
    return np.minimum(a, b), lambda g, a, b: _share(g, a < b, a == b), lambda g, a, b: _share(g, b < a, a == b)


def _share(g, wins, ties):
    """The gradient where the operand wins, half of it where both are equal."""
    return where(ties, g * 0.5, where(wins, g, 0.0))


@op(elementwise=True)
def clip_(a: Array, min=None, max=None):
    return np.clip(a, min, max), lambda g, a: where(_outside(a, min, max), 0.0, g)


def _outside(a, low, high):
    outside = a != a if low is None else a < low
    return outside if high is None else logical_or(outside, a > high)


@named
def clip(a, min=None, max=None):
    """a held between ``min`` and ``max`` (None: no bound there). The gradient passes where min <= a <= max.

    Bounds that are Tensors or arrays get gradients too, as in ``minimum(maximum(a, min), max)``.
    """
    if isinstance(min, int | float | None) and isinstance(max, int | float | None):
        return clip_(a, min, max)
    if isinstance(min, str) or isinstance(max, str):
        raise DTypeError(f"min is {min!r} and max {max!r}, expected numbers, arrays or None")
    result = a if min is None else maximum(a, min)
    return result if max is None else minimum(result, max)


@op(elementwise=True)
def where(condition: Array, a: Array, b: Array):
    """a where ``condition``, else b. Only the chosen one gets the gradient.

    Both sides are computed before one is chosen: where the other one is inf or NaN, its own derivative may make
    0 * inf = NaN. Choose a harmless operand first: ``where(x > 0, log(where(x > 0, x, 1.0)), 0.0)``.
    """
    return (
        np.where(condition, a, b),
        lambda g: None,
        lambda g, condition: where(condition, g, 0.0),
        lambda g, condition: where(condition, 0.0, g),
    )


# ---------------------------------------------------------------------- functions of one variable


@op(elementwise=True)
def abs(a: Array):
    """|a|. d|a| = sign(a), 0 at 0."""
    return np.abs(a), lambda g, a: g * sign(a)


@op(elementwise=True)
def sign(a: Array):
    """-1, 0 or 1. A step function: no gradient flows."""
    return np.sign(a)


@op(elementwise=True)
def square(a: Array):
    """a². d(a²) = 2a."""
    return _counted(np.square(a)), lambda g, a: g * (2.0 * a)


@op(elementwise=True, floating=True)
def sqrt(a: Array):
    """√a. d√a = 1 / (2√a), inf at 0."""
    return np.sqrt(a), lambda g, y: g * 0.5 / y


@op(elementwise=True, floating=True)
def exp(a: Array):
    """eᵃ. d eᵃ = eᵃ."""
    return kernels.exp(a), lambda g, y: g * y


@op(elementwise=True, floating=True)
def expm1(a: Array):
    """eᵃ - 1, exact near 0. Its derivative is eᵃ."""
    return np.expm1(a), lambda g, y: g * (y + 1.0)


@op(elementwise=True, floating=True)
def log(a: Array):
    """The natural logarithm. d log a = 1/a."""
    return np.log(a), lambda g, a: g / a


@op(elementwise=True, floating=True)
def log1p(a: Array):
    """log(1 + a), exact near 0. Its derivative is 1 / (1 + a)."""
    return np.log1p(a), lambda g, a: g / (1.0 + a)


@op(elementwise=True, floating=True)
def sin(a: Array):
    """d sin = cos."""
    return np.sin(a), lambda g, a: g * cos(a)


@op(elementwise=True, floating=True)
def cos(a: Array):
    """d cos = -sin."""
    return np.cos(a), lambda g, a: -g * sin(a)


@op(elementwise=True, floating=True)
def tanh(a: Array):
    """Hyperbolic tangent. d tanh = 1 - tanh²."""
    return kernels.tanh(a), lambda g, y: g - g * y * y


@op(elementwise=True, floating=True)
def sigmoid(a: Array):
    """σ(a) = 1 / (1 + e⁻ᵃ). dσ = σ(1 - σ), at most 1/4."""
    return kernels.sigmoid(a), lambda g, y: g * (y * (1.0 - y))


@op(elementwise=True, floating=True)
def erf(a: Array):
    """The error function, 2/√π ∫₀ᵃ e⁻ᵗ² dt. Its derivative is 2/√π e⁻ᵃ²."""
    return kernels.erf(a), lambda g, a: g * (2.0 / math.sqrt(math.pi) * exp(-(a * a)))


# ---------------------------------------------------------------------- activations


@op(elementwise=True)
def relu(a: Array):
    """max(a, 0). Its derivative is 1 where a > 0, else 0; 0 at 0."""
    return np.maximum(a, 0), lambda g, y: g * (y > 0)


@op(elementwise=True)
def leaky_relu(a: Array, negative_slope=0.01):
    """a where a > 0, else ``negative_slope`` a. At 0 the derivative is the slope's."""
    negative_slope = number(negative_slope, "negative_slope")
    return np.where(np.greater(a, 0), a, np.multiply(a, negative_slope)), lambda g, a: where(
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
    """
    if approximate not in ("none", "tanh"):
        raise DTypeError(f"approximate is {approximate!r}, expected 'none' or 'tanh'")
    return kernels.gelu(a, approximate), lambda g, a: kernels.gelu_grad(g, a, approximate)


def _silu_in_small_ops(a):
    return a * sigmoid(a)


@op(elementwise=True, floating=True, composite=_silu_in_small_ops)
def silu(a: Array):
    """a σ(a), also called swish (Elfwing et al. 2017, arXiv:1702.03118). d = σ + aσ(1 - σ)."""
    return kernels.silu(a), lambda g, a: kernels.silu_grad(g, a)


@op(elementwise=True, floating=True)
def softplus(a: Array, beta=1.0, threshold=20.0):
    """log(1 + e^(βa)) / β, without overflow; a itself where βa > ``threshold``. d = σ(βa)."""
    beta, threshold = number(beta, "beta"), number(threshold, "threshold")
    if not beta > 0:
        raise ShapeError(f"beta is {beta}, expected a number above 0")
    z = np.multiply(a, beta)
    value = (np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))) / beta
    return np.where(z > threshold, a, value), lambda g, a: g * where(a * beta > threshold, 1.0, sigmoid(a * beta))


# ---------------------------------------------------------------------- comparison and logic: no gradient flows


@op(elementwise=True)
def equal(a: Array, b: Array):
    """a == b, elementwise."""
    return np.equal(a, b)


@op(elementwise=True)
def not_equal(a: Array, b: Array):
    """a != b, elementwise."""
    return np.not_equal(a, b)


@op(elementwise=True)
def less(a: Array, b: Array):
    """a < b, elementwise."""
    return np.less(a, b)


@op(elementwise=True)
def less_equal(a: Array, b: Array):
    """a <= b, elementwise."""
    return np.less_equal(a, b)


@op(elementwise=True)
def greater(a: Array, b: Array):
    """a > b, elementwise."""
    return np.greater(a, b)


@op(elementwise=True)
def greater_equal(a: Array, b: Array):
    """a >= b, elementwise."""
    return np.greater_equal(a, b)


@op(elementwise=True)
def logical_and(a: Array, b: Array):
    """Whether both are true (not zero), elementwise."""
    return np.logical_and(a, b)


@op(elementwise=True)
def logical_or(a: Array, b: Array):
    """Whether either is true (not zero), elementwise."""
    return np.logical_or(a, b)


@op(elementwise=True)
def logical_xor(a: Array, b: Array):
    """Whether exactly one is true (not zero), elementwise."""
    return np.logical_xor(a, b)


@op(elementwise=True)
def logical_not(a: Array):
    """Whether a is zero, elementwise."""
    return np.logical_not(a)


@op(elementwise=True)
def bitwise_and(a: Array, b: Array):
    """a & b of integers or booleans."""
    return np.bitwise_and(a, b)


@op(elementwise=True)
def bitwise_or(a: Array, b: Array):
    """a | b of integers or booleans."""
    return np.bitwise_or(a, b)


@op(elementwise=True)
def bitwise_xor(a: Array, b: Array):
    """a ^ b of integers or booleans."""
    return np.bitwise_xor(a, b)


@op(elementwise=True)
def bitwise_invert(a: Array):
    """~a of integers or booleans."""
    return np.invert(a)


@op(elementwise=True)
def isnan(a: Array):
    """Whether a is NaN."""
    return np.isnan(a)


@op(elementwise=True)
def isinf(a: Array):
    """Whether a is inf or -inf."""
    return np.isinf(a)


@op(elementwise=True)
def isfinite(a: Array):
    """Whether a is neither NaN nor infinite."""
    return np.isfinite(a)


# ---------------------------------------------------------------------- dtype and copies


@op
def astype_(a: Array, dtype):
    before = a.dtype
    return a.astype(dtype), lambda g: astype_(g, before)


@named
def astype(a, dtype):
    """a in another dtype, always a copy. The gradient goes back in a's dtype; none flows through integers."""
    dtype = as_dtype(dtype)
    if dtype.kind != "f" and type(a) is Tensor:
        return wrap(a.data.astype(dtype))
    return astype_(a, dtype)


@op
def clone(a: Array):
    """A copy with memory of its own, on the tape: the gradient flows to ``a``."""
    return a.copy(), lambda g: g
