"""Elementwise functions of one and of two operands, activations among them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from scipy import special

import tinygrad_notes as tn
from tests.fuzz.draw import Draw, Entry, like, mostly, nonsense, shapes

DTYPES = [np.float64, np.float32, np.int64, np.int32, np.uint8, np.bool_]
wrong_operand = st.sampled_from(["a", None, {}, object, 2j, [[1], [1, 2]]])
numbers = st.sampled_from([0.0, 0.5, 1, -1.0, 2, math.nan, "a", None, True, (), [1.0, 2.0]])


def values(draw: Draw, shape: tuple[int, ...], dtypes: list = DTYPES) -> np.ndarray:
    """Fractions of both signs, zeros, and what is not finite; strides of both signs."""
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    size = math.prod(shape)
    a = (np.arange(size) * 37 % 23 - 9) / 4
    if dtype.kind == "f" and size and draw(st.integers(0, 3)) == 0:
        a[draw(st.integers(0, size - 1))] = draw(st.sampled_from([math.nan, math.inf, -math.inf, 1e30, 0.0, -0.0]))
    if dtype.kind == "u":
        a = np.abs(a)
    a = (a * 2 if dtype.kind in "iu" else a > 0 if dtype.kind == "b" else a).astype(dtype).reshape(shape)
    return a[::-1].copy()[::-1] if shape and draw(st.booleans()) else a


def one(draw: Draw) -> tuple:
    return (values(draw, draw(shapes)) if draw(st.integers(0, 9)) else draw(wrong_operand),)


def pair(draw: Draw) -> tuple:
    shape = draw(shapes)
    a, b = values(draw, shape), values(draw, like(draw, shape))
    if not draw(st.integers(0, 9)):
        b = draw(wrong_operand)
    return (b, a) if draw(st.booleans()) else (a, b)


def floating(a: Any) -> np.ndarray:
    """As float64, so that the reference is the more accurate one."""
    if not isinstance(a, np.ndarray):
        raise TypeError(a)
    return a.astype(np.float64)


def exact(function: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy's own function, in its own dtype."""

    def reference(*operands: Any) -> Any:
        if not all(isinstance(a, np.ndarray) for a in operands):
            raise TypeError(operands)
        return function(*operands)

    return reference


def smooth(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *operands: function(*map(floating, operands))


def sigmoid(a: np.ndarray) -> np.ndarray:
    return np.where(a >= 0, 1 / (1 + np.exp(-np.abs(a))), np.exp(-np.abs(a)) / (1 + np.exp(-np.abs(a))))


def times(a: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """``a`` · ``factor``, 0 where the factor has run to 0 faster than a to infinity."""
    return np.where(np.isneginf(a) & (factor == 0), 0.0, a * factor)


def softplus(a: np.ndarray) -> np.ndarray:
    return np.logaddexp(a, 0)


def clipped(a: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.minimum(np.maximum(a, low), high)


EXACT = [
    "abs",
    "ceil",
    "floor",
    "trunc",
    "sign",
    "square",
    "negative",
    "positive",
    "isfinite",
    "isinf",
    "isnan",
    "logical_not",
]
SMOOTH = ["cos", "cosh", "exp", "exp2", "expm1", "log", "log10", "log1p", "log2", "sin", "sinh", "sqrt", "tan", "tanh"]
INVERSE = {"acos": "arccos", "acosh": "arccosh", "asin": "arcsin", "asinh": "arcsinh", "atan": "arctan",
           "atanh": "arctanh"}  # fmt: skip
FORMULAS: dict[str, Callable[..., Any]] = {
    "erf": special.erf,
    "reciprocal": lambda a: 1 / a,
    "relu6": lambda a: clipped(a, 0, 6),
    "sigmoid": sigmoid,
    "silu": lambda a: times(a, sigmoid(a)),
    "softsign": lambda a: np.where(np.isinf(a), np.nan, a / (1 + np.abs(a))),
    "mish": lambda a: a * np.tanh(softplus(a)),
    "logsigmoid": lambda a: -softplus(-a),
    "hardsigmoid": lambda a: clipped(a / 6 + 0.5, 0, 1),
    "hardswish": lambda a: a * clipped(a / 6 + 0.5, 0, 1),  # NaN at -inf, as in PyTorch
    "selu": lambda a: 1.0507009873554805 * np.where(a > 0, a, 1.6732632423543772 * np.expm1(np.minimum(a, 0))),
}
BINARY = [
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "logical_and",
    "logical_or",
    "logical_xor",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "maximum",
    "minimum",
]
SMOOTH_BINARY = {"atan2": "arctan2", "hypot": "hypot", "logaddexp": "logaddexp", "divide": "divide"}


# ---------------------------------------------------------------------- with options


def number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(value)
    if not math.isfinite(value):
        raise ValueError(value)
    return value


def with_number(draw: Draw) -> tuple:
    return *one(draw), draw(numbers)


def np_leaky_relu(a: Any, slope: Any) -> Any:
    if isinstance(slope, bool) or not isinstance(slope, int | float):
        raise TypeError(slope)
    a = floating(a)
    return np.where(a > 0, a, a * slope)


def np_elu(a: Any, alpha: Any) -> Any:
    a, alpha = floating(a), number(alpha)
    return np.where(a > 0, a, alpha * np.expm1(np.minimum(a, 0)))


def np_celu(a: Any, alpha: Any) -> Any:
    a, alpha = floating(a), number(alpha)
    if not alpha > 0:
        raise ValueError(alpha)
    return np.where(a > 0, a, alpha * np.expm1(np.minimum(a, 0) / alpha))


def np_softplus(a: Any, beta: Any) -> Any:
    a, beta = floating(a), number(beta)
    if not beta > 0:
        raise ValueError(beta)
    return np.where(a * beta > 20, a, np.logaddexp(a * beta, 0) / beta)


def np_gelu(a: Any, approximate: Any) -> Any:
    a = floating(a)
    if approximate == "none":
        return times(a, (1 + special.erf(a / math.sqrt(2))) / 2)
    if approximate == "tanh":
        with np.errstate(all="ignore"):
            return times(a, (1 + np.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3))) / 2)
    raise ValueError(approximate)


def np_hardtanh(a: Any, low: Any, high: Any) -> Any:
    a, low, high = floating(a), number(low), number(high)
    if not low < high:
        raise ValueError(low)
    return clipped(a, low, high)


def np_glu(a: Any, axis: Any) -> Any:
    a = floating(a)
    if type(axis) is not int or a.shape[axis] % 2:
        raise ValueError(axis)
    first, second = np.split(a, 2, axis)
    with np.errstate(all="ignore"):
        return first * sigmoid(second)


def np_prelu(a: Any, weight: Any) -> Any:
    """One slope, or one for each element of axis 1; of axis 0 where there is no other."""
    a, weight = floating(a), floating(weight)
    if weight.ndim > 1:
        raise ValueError(weight)
    if weight.size != 1:
        axis = min(1, a.ndim - 1)
        if axis < 0 or len(weight) != a.shape[axis]:
            raise ValueError(weight)
        weight = weight.reshape(-1, *(1,) * (a.ndim - axis - 1))
    else:
        weight = weight.reshape(())
    return np.where(a > 0, a, a * weight)


def np_masked_fill(a: Any, mask: Any, value: Any) -> Any:
    if mask.dtype != bool or isinstance(value, str | tuple) or value is None or np.ndim(value):
        raise TypeError(mask)
    if a.dtype.kind in "iub" and isinstance(value, float):
        raise TypeError(value)
    if a.dtype.kind in "iu" and not np.iinfo(a.dtype).min <= value <= np.iinfo(a.dtype).max:
        raise TypeError(value)
    if a.dtype.kind == "b" and not isinstance(value, bool):
        raise TypeError(value)
    return np.where(mask, np.asarray(value, a.dtype), a)


def sloped(draw: Draw) -> tuple:
    a = values(draw, draw(shapes), [np.float64, np.float32])
    return a, values(draw, mostly(draw, a.shape[1:2], shapes), [np.float64, np.float32])


def masked(draw: Draw) -> tuple:
    a = values(draw, draw(shapes))
    mask = values(draw, like(draw, a.shape), [np.bool_] * 5 + [np.int64])
    return a, mask, draw(st.sampled_from([0, 1.5, -1, True, "a", None, (), 2.0, 300]))


ELEMENTWISE: dict[str, Entry] = {
    **{name: (getattr(tn, name), exact(getattr(np, name)), one) for name in EXACT},
    "relu": (
        tn.relu,
        exact(lambda a: np.maximum(a, np.zeros_like(a)) + (0 if a.dtype == bool else a.dtype.type(0))),
        one,
    ),
    **{name: (getattr(tn, name), smooth(getattr(np, name)), one) for name in SMOOTH},
    **{name: (getattr(tn, name), smooth(getattr(np, other)), one) for name, other in INVERSE.items()},
    **{name: (getattr(tn, name), smooth(formula), one) for name, formula in FORMULAS.items()},
    **{name: (getattr(tn, name), exact(getattr(np, name)), pair) for name in BINARY},
    **{name: (getattr(tn, name), smooth(getattr(np, other)), pair) for name, other in SMOOTH_BINARY.items()},
    "leaky_relu": (tn.leaky_relu, np_leaky_relu, with_number),
    "elu": (tn.elu, np_elu, with_number),
    "celu": (tn.celu, np_celu, with_number),
    "softplus": (tn.softplus, np_softplus, with_number),
    "gelu": (tn.gelu, np_gelu, lambda draw: (*one(draw), draw(st.sampled_from(["none", "tanh", "fast", None, 1])))),
    "hardtanh": (tn.hardtanh, np_hardtanh, lambda draw: (*with_number(draw), draw(numbers))),
    "glu": (tn.glu, np_glu, lambda draw: (*one(draw), draw(st.one_of(st.integers(-3, 3), nonsense)))),
    "prelu": (tn.prelu, np_prelu, sloped),
    "masked_fill": (tn.masked_fill, np_masked_fill, masked),
}
