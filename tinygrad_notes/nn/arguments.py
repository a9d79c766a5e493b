"""Checks of what layers are built with, so that a wrong argument fails where it is written."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from tinygrad_notes.errors import DTypeError, ShapeError


def count(value: Any, name: str, least: int = 1) -> int:
    """An integer of at least ``least``."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise DTypeError(f"{name} is {value!r}, expected an integer")
    if operator.index(value) < least:
        raise ShapeError(f"{name} is {value!r}, expected at least {least}")
    return operator.index(value)


def number(value: Any, name: str) -> float:
    """A number."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise DTypeError(f"{name} is {value!r}, expected a number")
    return float(value)


def probability(value: Any, name: str) -> float:
    """A number from 0 to 1."""
    if not 0 <= number(value, name) <= 1:
        raise ShapeError(f"{name} is {value!r}, expected a number from 0 to 1")
    return float(value)


def one_of(value: Any, name: str, choices: tuple[str, ...]) -> str:
    """One of the words ``choices``."""
    if value not in choices:
        raise ShapeError(f"{name} is {value!r}, expected {', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}")
    return value
