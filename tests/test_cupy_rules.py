"""The array type that stands in for CuPy's refuses what CuPy 14.2 refuses."""

from __future__ import annotations

import numpy as np
import pytest

from tests.foreign_array import ForeignArray

WRONG = {
    "a NumPy array as an operand": lambda x: np.add(x, np.ones(4)),
    "a NumPy array in an operator": lambda x: x * np.ones(4),
    "a list as an operand": lambda x: np.add(x, [1, 2, 3, 4]),
    "a NumPy array that is written": lambda x: x.__setitem__(0, np.ones(4)),
    "a list that is written": lambda x: x.__setitem__(0, [1, 2, 3, 4]),
    "an argument that CuPy's max lacks": lambda x: np.max(x, initial=0),
    "an argument that CuPy's clip lacks": lambda x: np.clip(x, min=0, max=1),
    "an argument that NumPy's ones gives along": lambda x: np.ones(3, like=x),
    "an argument that NumPy's eye gives along": lambda x: np.eye(3, like=x),
    "another order of sorting": lambda x: np.argsort(x, kind="quicksort"),
    "add.at with a tuple": lambda x: np.add.at(x, (ForeignArray(np.arange(3)), 0), 1.0),
    "add.at of int64": lambda x: np.add.at(x.astype(np.int64), ForeignArray(np.arange(3)), 1),
    "maximum.reduce": lambda x: np.maximum.reduce(x),
    "conversion": lambda x: np.asarray(x),
    "an index of Python": lambda x: range(ForeignArray(np.asarray(3))),
    "whether it may be written": lambda x: x.flags.writeable,
    "an element by its place": lambda x: x.item(0),
    "memory that overlaps": lambda x: x.__setitem__(slice(1, None), x[:-1]),
    "a function that CuPy lacks": lambda x: np.block([x, x]),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cupy_refuses(name):
    with pytest.raises((TypeError, NotImplementedError, AttributeError, ValueError, AssertionError)):
        WRONG[name](ForeignArray(np.ones((4, 4))))


def test_what_cupy_takes():
    x = ForeignArray(np.arange(4, dtype=np.float32))
    for value in (
        x + np.float32(1),
        2.0 * x,
        np.add(x, x),
        np.zeros(3, like=x),
        np.where(x > 1, x, 0.0),
        x[np.int64(1)],
    ):
        assert type(value) is ForeignArray
    assert type(x.sum()) is ForeignArray
    assert (x + 1.0).dtype == np.float32
