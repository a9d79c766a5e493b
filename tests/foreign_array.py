"""An array type that is not NumPy's and refuses what CuPy refuses: an op that falls back to NumPy unseen raises here.

Like CuPy it does not mix with NumPy arrays, lacks what CuPy lacks (:mod:`tests.cupy_rules`), and its reductions stay
arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests import cupy_rules
from tests.cupy_rules import MAKERS, NAMES

DEVICE = "foreign"


class ForeignArray(np.lib.mixins.NDArrayOperatorsMixin):
    """Values in a NumPy array that only this class may touch."""

    __slots__ = ("__weakref__", "base", "values")

    def __init__(self, values: np.ndarray, base: Any = None):
        self.values, self.base = values, base

    # ------------------------------------------------------------------ what is done, and what makes the host wait

    def operate(self, function: Any, inputs: Any, options: Any, strict: bool = True) -> Any:
        """``function`` of the values beneath; views remember whose memory they look at."""
        given = [self, *arrays_in((inputs, options))]
        return wrapped(function(*unwrapped(inputs, strict), **unwrapped(options, strict)), given)

    def waits(self, what: str | None) -> None:
        """Called with what makes CuPy wait for the GPU, or copy from the host."""

    def computes(self, name: str) -> None:
        """Called with the name of each function."""

    # ------------------------------------------------------------------ what it refuses

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError("implicit conversion of a ForeignArray to a NumPy array")

    # ------------------------------------------------------------------ the two protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        cupy_rules.check_ufunc(ufunc, method, inputs, options, ForeignArray)
        out = options.get("out", (None,))[0]
        if out is not None:
            refuse_overlap(ufunc.__name__, out, inputs)
        if method == "at":
            self.waits(cupy_rules.why_index_waits(inputs[1]))
        self.computes(ufunc.__name__)
        dtypes = cupy_rules.dtypes_of(ufunc, inputs) if method == "__call__" and "dtype" not in options else None

        def call(*inputs: Any, **options: Any) -> Any:
            result = getattr(ufunc, method)(*inputs, **options)
            if dtypes is None or out is not None:
                return result
            if isinstance(result, tuple):
                return tuple(x.astype(dtype, copy=False) for x, dtype in zip(result, dtypes))
            return result.astype(dtypes[0], copy=False)

        result = self.operate(call, inputs, options, method != "at")
        return result if out is None else out

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        options.pop("like", None)
        name = cupy_rules.check_function(function, arguments, options, ForeignArray)
        self.waits(cupy_rules.why_function_waits(name, arguments, options))
        self.computes(name)
        return self.operate(function, arguments, options, function not in MAKERS)

    # ------------------------------------------------------------------ attributes and methods

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in NAMES["attributes"]:
            return self.operate(lambda x: getattr(x, name), (self,), {})
        if name not in NAMES["methods"]:
            raise AttributeError(f"CuPy's arrays have no {name}")

        def method(*arguments: Any, **options: Any) -> Any:
            cupy_rules.check_method(name, arguments, options)
            self.waits(cupy_rules.why_function_waits(name, (self, *arguments), options))
            if name in ("item", "tolist"):
                return getattr(self.values, name)()
            return self.operate(lambda x, *a, **o: getattr(x, name)(*a, **o), (self, *arguments), options)

        return method

    def __getitem__(self, index: Any) -> Any:
        self.waits(cupy_rules.why_index_waits(index))
        return self.operate(lambda x, i: x[i], (self, index), {}, False)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.waits(cupy_rules.why_index_waits(index))
        if not isinstance(value, ForeignArray) and np.ndim(value):
            raise TypeError(f"__setitem__: Unsupported type {type(value)}")
        if isinstance(value, ForeignArray) and np.may_share_memory(value.values, self.values):
            target = self.values[unwrapped(index, False)]
            same = target.strides == value.strides and target.shape == value.shape
            if np.shares_memory(target, value.values) and not (
                same and target.__array_interface__["data"] == value.values.__array_interface__["data"]
            ):
                raise AssertionError("CuPy copies element by element in any order, and these memories overlap")
        self.operate(lambda x, i, v: x.__setitem__(i, v), (self, index, value), {}, False)

    @property
    def flags(self) -> Any:
        flags = self.values.flags
        return SimpleNamespace(
            c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous, owndata=self.base is None
        )

    @property
    def data(self) -> Any:
        """Where the values lie: ``data.ptr``, as CuPy says it."""
        return SimpleNamespace(ptr=self.values.__array_interface__["data"][0])

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        self.waits("bool")
        return bool(self.values)

    def __int__(self) -> int:
        self.waits("int")
        return int(self.values)

    def __float__(self) -> float:
        self.waits("float")
        return float(self.values)

    def get(self) -> np.ndarray:
        """The values in host memory, as CuPy says it."""
        self.waits("get")
        return self.values.copy()

    def set(self, values: np.ndarray) -> None:
        self.waits("set")
        if type(values) is not np.ndarray or values.dtype != self.dtype or values.shape != self.shape:
            raise TypeError("set: Only numpy.ndarray of the same dtype and shape can be set to cupy.ndarray")
        self.values[...] = values


def _giving_way(operator: Any) -> Any:
    """CuPy's arrays leave it to what has a higher ``__array_priority__``, and no ``__array_ufunc__``: a Tensor."""

    def call(self: ForeignArray, other: Any) -> Any:
        if not hasattr(other, "__array_ufunc__") and getattr(other, "__array_priority__", 0) > 100:
            return NotImplemented
        return operator(self, other)

    return call


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor"):
    setattr(ForeignArray, f"__{_name}__", _giving_way(getattr(ForeignArray, f"__{_name}__")))
for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(ForeignArray, f"__{_name}__", _giving_way(getattr(ForeignArray, f"__{_name}__")))
ForeignArray.__hash__ = None  # type: ignore[assignment]


def refuse_overlap(name: str, out: Any, inputs: Any) -> None:
    """What is read and written by one operation must be the same memory, or another."""
    for x in inputs:
        if isinstance(x, ForeignArray) and np.may_share_memory(x.values, out.values):
            here, there = x.values.__array_interface__["data"], out.values.__array_interface__["data"]
            same = here == there and x.strides == out.strides and x.shape == out.shape
            if not same and np.shares_memory(x.values, out.values):
                raise AssertionError(f"{name}: out overlaps an operand, which CuPy does not see")


def unwrapped(value: Any, strict: bool) -> Any:
    """NumPy's view of ``value``; with ``strict`` a NumPy array beside ours is an error."""
    if isinstance(value, ForeignArray):
        return value.values
    if strict and isinstance(value, np.ndarray):
        raise TypeError("a NumPy array meets a ForeignArray")
    if isinstance(value, list | tuple):
        return type(value)(unwrapped(v, strict) for v in value)
    if isinstance(value, dict):
        return {key: unwrapped(v, strict) for key, v in value.items()}
    return value


def arrays_in(value: Any) -> Iterator[ForeignArray]:
    if isinstance(value, ForeignArray):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from arrays_in(one)
    elif isinstance(value, dict):
        yield from arrays_in(list(value.values()))


def wrapped(value: Any, given: Any = (), kind: Any = ForeignArray) -> Any:
    """``value`` with every array in our type; views of the arrays ``given`` remember whose memory they look at."""
    if isinstance(value, np.generic):
        return kind(np.asarray(value))
    if isinstance(value, np.ndarray):
        parent = next((x for x in given if np.may_share_memory(value, x.values)), None)
        return kind(value, None if parent is None else parent if parent.base is None else parent.base)
    if hasattr(value, "_make"):  # the named tuples of numpy.linalg
        return type(value)._make(wrapped(v, given, kind) for v in value)
    if isinstance(value, list | tuple):
        return type(value)(wrapped(v, given, kind) for v in value)
    return value
