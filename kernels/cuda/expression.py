"""What a function does with elements, written down as C++.

The function is called once with expressions for arrays. They stand for one element each, take the operators and
functions of NumPy and of this project that arrays take, and write a line of C++ for each. So of
``lambda g, y: g - g * y * y`` there are three lines::

    const T v0 = in_0 * in_1;
    const T v1 = v0 * in_1;
    const T v2 = in_0 - v1;

Whatever an element alone cannot answer (a shape, a truth value, a sum) raises :class:`NotElementwise`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

BOOL = np.dtype(bool)

# ufunc: its C++, in which numbers stand for operands of type T. Results are T, those of COMPARISONS and LOGICAL bool.
ARITHMETIC: dict[np.ufunc, str] = {
    np.add: "{0} + {1}",
    np.subtract: "{0} - {1}",
    np.multiply: "{0} * {1}",
    np.true_divide: "{0} / {1}",
    np.negative: "-{0}",
    np.positive: "{0}",
    np.reciprocal: "T(1) / {0}",
    np.square: "{0} * {0}",
    np.absolute: "fabs({0})",
    np.fabs: "fabs({0})",
    np.copysign: "copysign({0}, {1})",
    np.maximum: "{0} >= {1} || {0} != {0} ? {0} : {1}",  # NaN where one is NaN
    np.minimum: "{0} <= {1} || {0} != {0} ? {0} : {1}",
    np.fmax: "fmax({0}, {1})",
    np.fmin: "fmin({0}, {1})",
    np.sign: "{0} != {0} ? {0} : T(({0} > 0) - ({0} < 0))",
    np.power: "pow({0}, {1})",
    np.hypot: "hypot({0}, {1})",
    np.arctan2: "atan2({0}, {1})",
    np.tanh: "Tanh()({0})",
    np.arcsin: "asin({0})",
    np.arccos: "acos({0})",
    np.arctan: "atan({0})",
    np.arcsinh: "asinh({0})",
    np.arccosh: "acosh({0})",
    np.arctanh: "atanh({0})",
} | {
    getattr(np, name): f"{name}({{0}})"
    for name in ("sqrt", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sin", "cos", "tan", "sinh", "cosh",
                 "floor", "ceil", "trunc", "rint")
}  # fmt: skip
COMPARISONS: dict[np.ufunc, str] = {
    np.greater: "{0} > {1}",
    np.greater_equal: "{0} >= {1}",
    np.less: "{0} < {1}",
    np.less_equal: "{0} <= {1}",
    np.equal: "{0} == {1}",
    np.not_equal: "{0} != {1}",
    np.isnan: "{0} != {0}",
    np.isinf: "fabs({0}) == infinity<T>()",
    np.isfinite: "fabs({0}) < infinity<T>()",
}
LOGICAL: dict[np.ufunc, str] = {  # of operands of type bool
    np.logical_and: "{0} && {1}",
    np.logical_or: "{0} || {1}",
    np.logical_xor: "{0} != {1}",
    np.logical_not: "!{0}",
}
BITWISE = {
    np.bitwise_and: np.logical_and,
    np.bitwise_or: np.logical_or,
    np.bitwise_xor: np.logical_xor,
    np.invert: np.logical_not,
}
# Functions of the contract; the types stand in elementwise.cuh.
CONTRACT = {"exp": "Exp", "tanh": "Tanh", "sigmoid": "Sigmoid", "erf": "Erf", "silu": "Silu", "silu_grad": "SiluGrad"}
WAYS = {"none": "Exactly", "tanh": "ByTanh"}


class NotElementwise(Exception):
    """The function asks for more than elements, or for what has no C++ here."""


class Lines(list[str]):
    """What is written down; ``dtype`` is T."""

    def __init__(self, dtype: np.dtype[Any]):
        super().__init__()
        self.dtype = dtype


class Expression(np.lib.mixins.NDArrayOperatorsMixin):
    """An element of an array that a traced function computes with: ``text`` is its C++, of a float or of bool."""

    __slots__ = ("dtype", "lines", "text")

    def __init__(self, lines: Lines, text: str, dtype: np.dtype[Any]):
        self.lines, self.text, self.dtype = lines, text, dtype

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or options:
            raise NotElementwise(f"{ufunc.__name__}.{method} with {', '.join(options) or 'arrays'}")
        if ufunc in BITWISE and all(_dtype_of(x) == BOOL for x in inputs):
            ufunc = BITWISE[ufunc]
        if ufunc is np.power:
            return self._power(*inputs)
        if ufunc in LOGICAL:
            return self._line(LOGICAL[ufunc], [self._truth(x) for x in inputs], BOOL)
        if ufunc in COMPARISONS:
            return self._line(COMPARISONS[ufunc], [self._number(x) for x in inputs], BOOL)
        if ufunc not in ARITHMETIC:
            raise NotElementwise(ufunc.__name__)
        dtype = ufunc(*map(_empty, inputs)).dtype
        return self._line(ARITHMETIC[ufunc], [self._number(x) for x in inputs], dtype)

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        if options or function not in FUNCTIONS:
            raise NotElementwise(f"{function.__name__}({', '.join(options)})")
        return FUNCTIONS[function](*arguments)

    def __getattr__(self, name: str) -> Any:
        raise NotElementwise(name)

    def __bool__(self) -> bool:
        raise NotElementwise("a truth value")

    def astype(self, dtype: Any, copy: bool = True) -> Expression:
        """In another type: bool as numbers, or the same."""
        dtype = np.dtype(dtype)
        if dtype == self.dtype:
            return self
        if dtype == BOOL:
            return self._line("{0}", [self._truth(self)], BOOL)
        if self.dtype != BOOL:
            raise NotElementwise(f"{self.dtype} as {dtype}")
        return self._line("{0}", [self._number(self)], dtype)

    def _power(self, base: Any, exponent: Any) -> Any:
        """NumPy's operator has the same short cuts; of ``np.power``, which looks the same here, 0.5 differs at -inf."""
        short = {2: np.square, 1: np.positive, 0.5: np.sqrt, -1: np.reciprocal}
        if type(exponent) in (int, float) and exponent in short:
            return short[exponent](base)
        dtype = np.power(_empty(base), _empty(exponent)).dtype
        return self._line(ARITHMETIC[np.power], [self._number(base), self._number(exponent)], dtype)

    def _line(self, pattern: str, operands: list[str], dtype: Any) -> Expression:
        if dtype not in (BOOL, self.lines.dtype):
            raise NotElementwise(f"a result of {dtype}")
        name = f"v{len(self.lines)}"
        self.lines.append(f"const {'bool' if dtype == BOOL else 'T'} {name} = {pattern.format(*operands)};")
        return Expression(self.lines, name, dtype)

    def _number(self, x: Any) -> str:
        """``x`` as an operand of type T."""
        if type(x) is Expression:
            return f"T({x.text})" if x.dtype == BOOL else x.text
        if isinstance(x, np.generic) and x.dtype not in (BOOL, self.lines.dtype):
            raise NotElementwise(f"a number of {x.dtype}, which NumPy computes with in its own type")
        return literal(x)

    def _truth(self, x: Any) -> str:
        """``x`` as an operand of type bool: NaN is true."""
        if type(x) is Expression:
            return x.text if x.dtype == BOOL else f"({x.text} != 0)"
        return "true" if x else "false"


def literal(x: Any) -> str:
    """A number of Python or NumPy, exactly; C++ rounds it to T as NumPy does."""
    if not isinstance(x, bool | int | float | np.generic):
        raise NotElementwise(f"{type(x).__name__} among expressions")
    value = float(x)
    if math.isnan(value):
        return "not_a_number<T>()"
    if math.isinf(value):
        return "infinity<T>()" if value > 0 else "(-infinity<T>())"
    return f"T({value.hex()})"


def _dtype_of(x: Any) -> Any:
    return x.dtype if type(x) is Expression else np.dtype(type(x))


def _empty(x: Any) -> Any:
    """What gives a result its type: an array without elements."""
    return np.empty(0, x.dtype) if type(x) is Expression else x


def _first(*values: Any) -> Expression:
    return next(x for x in values if type(x) is Expression)


def _where(condition: Any, x: Any, y: Any) -> Expression:
    own = _first(condition, x, y)
    if type(x) is not Expression and type(y) is not Expression:
        raise NotElementwise("where of two numbers, whose type is not known")
    dtype = np.result_type(_empty(x), _empty(y))
    as_operand = own._truth if dtype == BOOL else own._number
    return own._line("{0} ? {1} : {2}", [own._truth(condition), as_operand(x), as_operand(y)], dtype)


def _clip(x: Any, low: Any = None, high: Any = None) -> Any:
    if low is not None:
        x = np.maximum(x, low)
    return x if high is None else np.minimum(x, high)


FUNCTIONS: dict[Any, Callable[..., Any]] = {np.where: _where, np.clip: _clip}


def _of_contract(functor: str, inputs: int) -> Callable[..., Expression]:
    def function(*given: Any) -> Expression:
        of_given = functor.format(*(WAYS[x] for x in given[inputs:]))
        own = _first(*given[:inputs])
        if own.dtype == BOOL:
            raise NotElementwise(f"{functor} of bool")
        operands = [own._number(x) for x in given[:inputs]]
        return own._line(of_given + ("()({0})" if inputs == 1 else "()({0}, {1})"), operands, own.dtype)

    return function


def _missing(name: str) -> Any:
    raise NotElementwise(f"kernels.{name}")


class _Backend(SimpleNamespace):
    """What functions of the contract do with expressions."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **options: _missing(name)


BACKEND = _Backend(
    **{name: _of_contract(functor, 2 if name.endswith("grad") else 1) for name, functor in CONTRACT.items()},
    gelu=_of_contract("Gelu<{}>", 1),
    gelu_grad=_of_contract("GeluGrad<{}>", 2),
    fused=lambda x, function, others: function(x, *others),
)
