"""What is drawn: shapes, axes, arrays, and nonsense."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy], Any]
# A function, its reference, which raises where there is no result, and the arguments of both.
Entry = tuple[Callable[..., Any], Callable[..., Any], Callable[[Draw], tuple]]

shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
integers = st.integers(-4, 4)
nonsense = st.sampled_from(["a", 1.5, math.nan, None, True, (), [], {}, object])
axes = st.one_of(integers, st.tuples(integers), st.tuples(integers, integers), nonsense)
some = st.one_of(integers, nonsense)


def array(draw: Draw, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Small whole numbers, so that every order of summation gives the same; of any layout."""
    shape = draw(shapes) if shape is None else shape
    dtype = draw(st.sampled_from([np.float64, np.float32, np.int64]))
    values = (np.arange(math.prod(shape)) * 7 % 5).reshape(shape).astype(dtype)
    return values.T.copy().T if draw(st.booleans()) else values


def like(draw: Draw, shape: tuple[int, ...]) -> tuple[int, ...]:
    """``shape``, or almost."""
    if not shape or draw(st.booleans()):
        return shape
    i = draw(st.integers(0, len(shape) - 1))
    change = draw(st.sampled_from(["one", "more", "drop", "add"]))
    changed = {"one": (1,), "more": (shape[i] + 1,), "drop": (), "add": (shape[i], shape[i])}[change]
    return (*shape[:i], *changed, *shape[i + 1 :])


def mostly(draw: Draw, usual: Any, other: st.SearchStrategy) -> Any:
    """``usual`` (a strategy or a value) five times of six, else something else."""
    if draw(st.integers(0, 5)):
        return draw(usual) if isinstance(usual, st.SearchStrategy) else usual
    return draw(other)
