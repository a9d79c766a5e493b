"""An array type that is not NumPy's: it speaks ``__array_ufunc__`` and ``__array_function__`` and refuses conversion.

It stands in for CuPy: whatever op falls back to NumPy unseen raises here. Like CuPy it does not mix with NumPy arrays
(indices apart), and its reductions stay arrays.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

DEVICE = "foreign"
# What may take a NumPy array: making one of ours.
MAKERS = {np.asarray, np.array}


class ForeignArray(np.lib.mixins.NDArrayOperatorsMixin):
    """Values in a NumPy array that only this class may touch."""

    __slots__ = ("__weakref__", "base", "values")

    def __init__(self, values: np.ndarray, base: Any = None):
        self.values, self.base = values, base

    # ------------------------------------------------------------------ what it refuses

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise TypeError("implicit conversion of a ForeignArray to a NumPy array")

    # ------------------------------------------------------------------ the two protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        options = {key: unwrapped(value, True) for key, value in options.items()}
        return wrapped(getattr(ufunc, method)(*(unwrapped(i, method != "at") for i in inputs), **options))

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        strict = function not in MAKERS
        options.pop("like", None)
        return wrapped(function(*unwrapped(arguments, strict), **unwrapped(options, strict)))

    # ------------------------------------------------------------------ attributes and methods

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = getattr(self.values, name)
        if not callable(value):
            return wrapped(value, self)

        def method(*arguments: Any, **options: Any) -> Any:
            return wrapped(value(*unwrapped(arguments, True), **unwrapped(options, True)), self)

        return method

    def __getitem__(self, index: Any) -> Any:
        return wrapped(self.values[unwrapped(index, False)], self)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.values[unwrapped(index, False)] = unwrapped(value, True)

    @property
    def data(self) -> Any:
        """Where the values lie: ``data.ptr``, as CuPy says it."""
        return SimpleNamespace(ptr=self.values.__array_interface__["data"][0])

    def __len__(self) -> int:
        return len(self.values)

    def __bool__(self) -> bool:
        return bool(self.values)

    def __int__(self) -> int:
        return int(self.values)

    def __float__(self) -> float:
        return float(self.values)

    def get(self) -> np.ndarray:
        """The values in host memory, as CuPy says it."""
        return self.values.copy()


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


def wrapped(value: Any, parent: Any = None) -> Any:
    """``value`` with every array in our type; views remember their parent."""
    if isinstance(value, np.generic):
        return ForeignArray(np.asarray(value))
    if isinstance(value, np.ndarray):
        shares = parent is not None and np.may_share_memory(value, parent.values)
        return ForeignArray(value, parent if shares else None)
    if hasattr(value, "_make"):  # the named tuples of numpy.linalg
        return type(value)._make(wrapped(v, parent) for v in value)
    if isinstance(value, list | tuple):
        return type(value)(wrapped(v, parent) for v in value)
    return value
