"""Questions about many elements at once: any, all, how many. No gradient flows."""

from __future__ import annotations

import numpy as np

from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import int64


def _axis(axis):
    return tuple(axis) if isinstance(axis, list) else axis


@op
def any(a: Array, axis=None, keepdims=False):
    """Whether any element over ``axis`` (an int, a tuple, or None for all) is true (not zero); False over nothing.

    >>> tn.any([[0, 1], [0, 0]]), tn.any([[0, 1], [0, 0]], axis=1)
    (Tensor(True), Tensor([ True, False]))
    """
    return np.any(a, axis=_axis(axis), keepdims=keepdims)


@op
def all(a: Array, axis=None, keepdims=False):
    """Whether all elements over ``axis`` (an int, a tuple, or None for all) are true (not zero); True over nothing.

    >>> tn.all([[1, 1], [0, 1]], axis=1), tn.all([])
    (Tensor([ True, False]), Tensor(True))
    """
    return np.all(a, axis=_axis(axis), keepdims=keepdims)


@op
def count_nonzero(a: Array, axis=None, keepdims=False):
    """How many elements over ``axis`` (an int, a tuple, or None for all) are not zero, int64. NaN counts.

    >>> tn.count_nonzero([[0, 1], [2, 3]], axis=0)
    Tensor([1, 2])
    """
    return np.not_equal(a, 0).sum(axis=_axis(axis), dtype=int64, keepdims=keepdims)
