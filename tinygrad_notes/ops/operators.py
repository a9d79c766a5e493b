"""Operators and methods of Tensor: the ops themselves, bound to their names; NumPy's functions on Tensors."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_notes.errors import DTypeError, GradientError
from tinygrad_notes.kernels import DEVICES
from tinygrad_notes.ops import (
    activation,
    arithmetic,
    arrangement,
    comparison,
    counting,
    diagonals,
    exponential,
    indexing,
    linalg,
    matrix,
    products,
    reduction,
    rounding,
    selection,
    shape,
    sorting,
    trigonometry,
)
from tinygrad_notes.registry import REGISTRY
from tinygrad_notes.tensor import Tensor, as_dtype

# ---------------------------------------------------------------------- operators


def _reflected(op: Callable[..., Any]) -> Callable[[Tensor, Any], Tensor]:
    return lambda self, other: op(other, self)


BINARY = {
    "add": arithmetic.add,
    "sub": arithmetic.subtract,
    "mul": arithmetic.multiply,
    "truediv": arithmetic.divide,
    "floordiv": arithmetic.floor_divide,
    "mod": arithmetic.remainder,
    "pow": arithmetic.pow,
    "matmul": linalg.matmul,
    "and": comparison.bitwise_and,
    "or": comparison.bitwise_or,
    "xor": comparison.bitwise_xor,
}
UNARY = {
    "neg": arithmetic.negative,
    "pos": arithmetic.positive,
    "abs": arithmetic.abs,
    "invert": comparison.bitwise_invert,
}
COMPARISONS = {
    "lt": comparison.less,
    "le": comparison.less_equal,
    "gt": comparison.greater,
    "ge": comparison.greater_equal,
}

for _name, _op in BINARY.items():
    setattr(Tensor, f"__{_name}__", _op)
    setattr(Tensor, f"__r{_name}__", _reflected(_op))
for _name, _op in (UNARY | COMPARISONS).items():
    setattr(Tensor, f"__{_name}__", _op)


def _equality(op: Callable[..., Any]) -> Callable[[Tensor, Any], Any]:
    def compare(self: Tensor, other: Any) -> Any:
        if (
            type(other) is Tensor
            or type(other) in DEVICES
            or isinstance(other, int | float | np.generic | list | tuple)
        ):
            return op(self, other)
        return NotImplemented  # None, strings and the like are simply not equal

    return compare


def _contains(self: Tensor, value: Any) -> bool:
    return bool((self.data == (value.data if type(value) is Tensor else value)).any())


def _iterate(self: Tensor) -> Any:
    return (self[i] for i in range(len(self)))


for _name, _op in {
    "eq": _equality(comparison.equal),
    "ne": _equality(comparison.not_equal),
    "getitem": indexing.getitem,
    "setitem": indexing.setitem,
    "iter": _iterate,
    "contains": _contains,
}.items():
    setattr(Tensor, f"__{_name}__", _op)

# ---------------------------------------------------------------------- methods

METHODS: dict[str, Callable[..., Any]] = {
    function.__name__.rstrip("_"): function
    for module, names in (
        (arithmetic, "abs astype clone pow reciprocal sign sqrt square"),
        (comparison, "clip isfinite isinf isnan"),
        (exponential, "erf exp exp2 expm1 log log10 log1p log2 logaddexp sigmoid tanh"),
        (activation, "gelu leaky_relu relu silu softplus"),
        (reduction, "argmax argmin cumsum logsumexp max mean min norm std sum var"),
        (shape, "broadcast_to expand_dims flatten flip moveaxis roll split squeeze swapaxes unstack"),
        (linalg, "matmul"),
        (trigonometry, "acos acosh asin asinh atan atan2 atanh cos cosh hypot sin sinh tan"),
        (rounding, "ceil floor round trunc"),
        (products, "cumprod logcumsumexp prod"),
        (counting, "all any count_nonzero"),
        (sorting, "argsort bincount median nonzero searchsorted sort topk unique"),
        (arrangement, "repeat rot90 tile"),
        (diagonals, "diag diagonal trace tril triu"),
        (selection, "gather index_select masked_fill take"),
        (matrix, "bmm cholesky det inv outer slogdet svd"),
    )
    for function in (getattr(module, name) for name in names.split())
}  # fmt: skip

for _name, _op in METHODS.items():
    setattr(Tensor, _name, _op)


def _sizes(given: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(given[0]) if len(given) == 1 and isinstance(given[0], list | tuple) else given


def _reshape(self: Tensor, *shape_: Any) -> Tensor:
    """The same elements in another shape: ``t.reshape(2, -1)`` or ``t.reshape((2, -1))``.

    >>> tn.arange(4).reshape(2, -1)
    Tensor([[0, 1],
            [2, 3]])
    """
    return shape.reshape(self, _sizes(shape_))


def _permute_dims(self: Tensor, *axes: Any) -> Tensor:
    """The axes in the given order: ``t.permute_dims(1, 0)`` or ``t.permute_dims((1, 0))``.

    >>> tn.zeros((2, 3, 4)).permute_dims(2, 0, 1).shape
    (4, 2, 3)
    """
    return shape.permute_dims(self, _sizes(axes))


def _transpose(self: Tensor, *axes: Any) -> Tensor:
    """The axes in the given order, or all reversed (NumPy's transpose; see swapaxes for two of them).

    >>> tn.zeros((2, 3, 4)).transpose().shape
    (4, 3, 2)
    """
    return shape.transpose(self, _sizes(axes) or None)


def _copy(self: Tensor) -> Tensor:
    """A copy with memory of its own, on the tape (NumPy's name for clone).

    >>> x = tn.tensor([1.0, 2.0])
    >>> y = x.copy()
    >>> y[0] = 5.0
    >>> x
    Tensor([1., 2.])
    """
    return arithmetic.clone(self)


def _to(self: Tensor, *targets: Any) -> Tensor:
    """On another device and/or in another dtype: ``t.to("cuda")``, ``t.to(tn.float64)``, ``t.to("cuda", tn.float32)``.

    The gradient flows back to this Tensor. Nothing to change gives the Tensor itself.

    >>> x = tn.tensor([1.5], requires_grad=True)
    >>> x.to(tn.float64), x.to("cpu") is x
    (Tensor([1.5], dtype=float64, op=astype), True)
    """
    result = self
    for target in targets:
        if isinstance(target, str) and target in ("cpu", "cuda"):
            result = result if target == result.device else arithmetic.transfer(result, target)
        else:
            try:
                dtype = as_dtype(target)
            except DTypeError as error:
                raise DTypeError(f"to: {target!r} is no device ('cpu' or 'cuda'), and as a dtype: {error}") from None
            result = arithmetic.astype(result, dtype) if dtype != result.dtype else result
    return result


def _swapped(self: Tensor) -> Tensor:
    """The axes reversed.

    >>> tn.zeros((2, 3)).T.shape
    (3, 2)
    """
    return shape.transpose(self)


def _matrix_transposed(self: Tensor) -> Tensor:
    """The last two axes exchanged.

    >>> tn.zeros((5, 2, 3)).mT.shape
    (5, 3, 2)
    """
    return shape.matrix_transpose(self)


for _name, _function in {
    "reshape": _reshape,
    "permute_dims": _permute_dims,
    "transpose": _transpose,
    "copy": _copy,
    "to": _to,
}.items():
    _function.__name__ = _name
    setattr(Tensor, _name, _function)
    METHODS[_name] = _function
for _name, _function in {"T": _swapped, "mT": _matrix_transposed}.items():
    setattr(Tensor, _name, property(_function))

# ---------------------------------------------------------------------- NumPy's functions on Tensors

# NumPy's names that are not the op's own.
NUMPY_NAMES = {
    "true_divide": "divide",
    "power": "pow",
    "concatenate": "concat",
    "absolute": "abs",
    "mod": "remainder",
    "invert": "bitwise_invert",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arctan2": "atan2",
    "arcsinh": "asinh",
    "arccosh": "acosh",
    "arctanh": "atanh",
}
FUNCTIONS: dict[str, Callable[..., Any]] = {}  # the public functions by name, filled in by ops/__init__.py


# NumPy's arguments that are called otherwise here.
NUMPY_ARGUMENTS = {"ddof": "correction", "a_min": "min", "a_max": "max", "reps": "repetitions"}
# What has no gradient in any case.
QUESTIONS = frozenset(
    {"shape", "ndim", "size", "array_equal", "allclose", "isclose", "shares_memory", "may_share_memory", "result_type"}
)


def _function_for(name: str) -> Callable[..., Any] | None:
    name = NUMPY_NAMES.get(name, name)
    if name == "linspace":  # of plain numbers
        return None
    return FUNCTIONS.get(name) or (REGISTRY[name].call if name in REGISTRY else None)


def _array_ufunc(self: Tensor, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
    """``np.exp(t)`` and ``array @ t`` are the ops of those names, so no gradient is lost."""
    function = _function_for(ufunc.__name__)
    if method != "__call__" or options or function is None:
        return _without_gradient(
            ufunc if method == "__call__" else getattr(ufunc, method), inputs, options, ufunc.__name__
        )
    if ufunc.nout == 1 and ufunc.types[0].endswith("?"):  # comparing, a NumPy scalar on the left comes as an array
        inputs = tuple(i.item() if type(i) is np.ndarray and i.ndim == 0 else i for i in inputs)
    return function(*inputs)


def _array_function(self: Tensor, function: Callable[..., Any], types: Any, arguments: Any, options: Any) -> Any:
    """``np.sum(t)`` and the like are the ops of those names; what is no op works on Tensors without a gradient."""
    name = function.__name__
    ours = _function_for(name) if function.__module__ == "numpy" else None  # numpy.linalg.norm is another norm
    if ours is not None:
        arguments, options = _renamed(function, ours, arguments, options)
        return ours(*arguments, **options)
    return _without_gradient(function, arguments, options, f"{function.__module__}.{name}".removeprefix("numpy."))


def _renamed(function: Callable[..., Any], ours: Callable[..., Any], arguments: Any, options: Any) -> tuple[list, dict]:
    """NumPy's arguments under the names they have here. One without a counterpart is refused, unless it is None."""
    names = list(inspect.signature(ours).parameters)
    try:
        theirs = list(inspect.signature(function).parameters.values())
    except ValueError:  # written in C, without a signature
        theirs = []
    if not theirs or any(p.kind is p.VAR_POSITIONAL for p in theirs):
        theirs = list(inspect.signature(ours).parameters.values())
    given, positional = dict(options), []
    for i, value in enumerate(arguments):
        name = theirs[i].name if i < len(theirs) else ""
        name = NUMPY_ARGUMENTS.get(name, name)
        unnamed = i == 0 or i >= len(theirs) or theirs[i].kind is inspect.Parameter.POSITIONAL_ONLY
        if unnamed or name == names[min(i, len(names) - 1)]:
            positional.append(value)
        else:
            given[name] = value
    renamed = {NUMPY_ARGUMENTS.get(name, name): value for name, value in given.items() if value is not np._NoValue}
    for unknown in renamed.keys() - set(names):
        if renamed.pop(unknown) is not None:
            raise DTypeError(f"numpy.{function.__name__}: the argument {unknown} is not supported for Tensors")
    return positional, renamed


def _without_gradient(function: Callable[..., Any], arguments: Any, options: Any, name: str) -> Any:
    def plain(value: Any) -> Any:
        if type(value) is Tensor:
            if value.node is not None and name not in QUESTIONS:
                raise GradientError(
                    f"numpy.{name} would lose the gradient of its operand; use an op of tinygrad_notes, or t.detach()"
                )
            return value.data
        if type(value) in (list, tuple):
            return type(value)(map(plain, value))
        return value

    if "out" in options and any(type(o) is Tensor for o in options["out"]):
        raise DTypeError(f"numpy.{name}: out is a Tensor, expected an array")
    return function(*map(plain, arguments), **{key: plain(value) for key, value in options.items()})


for _name, _op in {"__array_ufunc__": _array_ufunc, "__array_function__": _array_function}.items():
    setattr(Tensor, _name, _op)
