"""Rounding to whole numbers. Step functions: no gradient flows. Integers stay as they are."""

from __future__ import annotations

import numpy as np

from tinygrad_notes.ops.arguments import count
from tinygrad_notes.registry import Array, op


def _whole(a):
    return hasattr(a, "dtype") and a.dtype.kind in "iub"


@op(elementwise=True)
def floor(a: Array):
    """The largest whole number that is not above a. A step function: no gradient flows.

    >>> tn.floor([-1.5, 1.5])
    Tensor([-2.,  1.])
    """
    return a.copy() if _whole(a) else np.floor(a)


@op(elementwise=True)
def ceil(a: Array):
    """The smallest whole number that is not below a. A step function: no gradient flows.

    >>> tn.ceil([-1.5, 1.5])
    Tensor([-1.,  2.])
    """
    return a.copy() if _whole(a) else np.ceil(a)


@op(elementwise=True)
def trunc(a: Array):
    """a without its fraction, towards 0. A step function: no gradient flows.

    >>> tn.trunc([-1.5, 1.5])
    Tensor([-1.,  1.])
    """
    return a.copy() if _whole(a) else np.trunc(a)


@op(elementwise=True)
def round(a: Array, decimals=0):
    """a to ``decimals`` places after the point, halves to the even neighbour. A step function: no gradient flows.

    ``decimals`` < 0 rounds before the point, integers too (booleans stay).

    >>> tn.round([0.5, 1.5, 2.5])
    Tensor([0., 2., 2.])
    >>> tn.round([1234], -2), tn.round(0.125, 2)
    (Tensor([1200]), Tensor(0.12))
    """
    decimals = count(decimals, "decimals", -400)
    a = np.asarray(a) if isinstance(a, int) else a
    if _whole(a) and (decimals >= 0 or a.dtype.kind == "b"):
        return a.copy()
    return np.round(a, decimals)
