"""Checks of arguments that are no operands, so that a wrong one fails where it is written.

``name`` says whose argument it is. Inside an op it is the argument's alone: the op's own name is put in front.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.tensor import to_numpy


def flag(value: Any, name: str) -> bool:
    """True or False: any other word, "no" say, would count as true."""
    if not isinstance(value, bool | np.bool_):
        raise DTypeError(f"{name} is {value!r}, expected True or False")
    return bool(value)


def count(value: Any, name: str, least: int = 1) -> int:
    """An integer of at least ``least``."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise DTypeError(f"{name} is {value!r}, expected an integer")
    if operator.index(value) < least:
        raise ShapeError(f"{name} is {value!r}, expected at least {least}")
    return operator.index(value)


def number(value: Any, name: str) -> float:
    """A number."""
    if type(value) is float:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise DTypeError(f"{name} is {value!r}, expected a number")
    return float(value)


def at_least(value: Any, name: str, least: float) -> float:
    """A finite number of at least ``least``."""
    result = number(value, name)
    if not least <= result < math.inf:
        bound = "" if least == -math.inf else f" of at least {least:g}"
        raise ShapeError(f"{name} is {value!r}, expected a finite number{bound}")
    return result


def probability(value: Any, name: str) -> float:
    """A number from 0 to 1."""
    if not 0 <= number(value, name) <= 1:
        raise ShapeError(f"{name} is {value!r}, expected a number from 0 to 1")
    return float(value)


def extremes(array: Any) -> tuple[Any, Any]:
    """The smallest and the largest element as Python numbers: of an array on a GPU the host waits once for both."""
    if isinstance(array, np.ndarray):
        return array.min().item(), array.max().item()
    low, high = to_numpy(np.stack([array.min(), array.max()])).tolist()
    return low, high


def one_of(value: Any, name: str, choices: tuple[str, ...]) -> str:
    """One of the words ``choices``."""
    if value not in choices:
        raise ShapeError(f"{name} is {value!r}, expected {', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}")
    return value
