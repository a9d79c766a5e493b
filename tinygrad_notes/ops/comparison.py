"""Comparison, logic and choice, elementwise: ==, <, and, isnan, where, maximum, minimum, clip. Operands broadcast."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_notes.errors import DTypeError
from tinygrad_notes.explain import named
from tinygrad_notes.registry import Array, op

# ---------------------------------------------------------------------- comparison and logic: no gradient flows


@op(elementwise=True)
def equal(a: Array, b: Array):
    """a == b, elementwise: booleans. NaN equals nothing, itself neither.

    >>> tn.equal([1, 2, 3], [1, 0, 3])
    Tensor([ True, False,  True])
    >>> tn.equal(np.nan, np.nan)
    Tensor(False)
    """
    return np.equal(a, b)


@op(elementwise=True)
def not_equal(a: Array, b: Array):
    """a != b, elementwise: booleans.

    >>> tn.not_equal([1, 2, 3], [1, 0, 3])
    Tensor([False,  True, False])
    """
    return np.not_equal(a, b)


@op(elementwise=True)
def less(a: Array, b: Array):
    """a < b, elementwise: booleans. False beside NaN.

    >>> tn.less([1, 2, 3], 2)
    Tensor([ True, False, False])
    """
    return np.less(a, b)


@op(elementwise=True)
def less_equal(a: Array, b: Array):
    """a <= b, elementwise: booleans. False beside NaN.

    >>> tn.less_equal([1, 2, 3], 2)
    Tensor([ True,  True, False])
    """
    return np.less_equal(a, b)


@op(elementwise=True)
def greater(a: Array, b: Array):
    """a > b, elementwise: booleans. False beside NaN.

    >>> tn.greater([1, 2, 3], 2)
    Tensor([False, False,  True])
    """
    return np.greater(a, b)


@op(elementwise=True)
def greater_equal(a: Array, b: Array):
    """a >= b, elementwise: booleans. False beside NaN.

    >>> tn.greater_equal([1, 2, 3], 2)
    Tensor([False,  True,  True])
    """
    return np.greater_equal(a, b)


@op(elementwise=True)
def logical_and(a: Array, b: Array):
    """Whether both are true (not zero), elementwise.

    >>> tn.logical_and([0, 1, 2], [1, 0, 3])
    Tensor([False, False,  True])
    """
    return np.logical_and(a, b)


@op(elementwise=True)
def logical_or(a: Array, b: Array):
    """Whether either is true (not zero), elementwise.

    >>> tn.logical_or([0, 1, 0], [1, 0, 0])
    Tensor([ True,  True, False])
    """
    return np.logical_or(a, b)


@op(elementwise=True)
def logical_xor(a: Array, b: Array):
    """Whether exactly one is true (not zero), elementwise.

    >>> tn.logical_xor([0, 1, 2], [1, 0, 3])
    Tensor([ True,  True, False])
    """
    return np.logical_xor(a, b)


@op(elementwise=True)
def logical_not(a: Array):
    """Whether a is zero, elementwise.

    >>> tn.logical_not([0.0, 0.5, -1.0])
    Tensor([ True, False, False])
    """
    return np.logical_not(a)


@op(elementwise=True)
def bitwise_and(a: Array, b: Array):
    """a & b of integers or booleans, bit by bit; floats raise DTypeError.

    >>> tn.bitwise_and(12, [10, 3])
    Tensor([8, 0])
    """
    return np.bitwise_and(a, b)


@op(elementwise=True)
def bitwise_or(a: Array, b: Array):
    """a | b of integers or booleans, bit by bit; floats raise DTypeError.

    >>> tn.bitwise_or(12, [10, 3])
    Tensor([14, 15])
    """
    return np.bitwise_or(a, b)


@op(elementwise=True)
def bitwise_xor(a: Array, b: Array):
    """a ^ b of integers or booleans, bit by bit; floats raise DTypeError.

    >>> tn.bitwise_xor(12, [10, 3])
    Tensor([ 6, 15])
    """
    return np.bitwise_xor(a, b)


@op(elementwise=True)
def bitwise_invert(a: Array):
    """~a of integers or booleans, bit by bit; floats raise DTypeError.

    >>> tn.bitwise_invert([0, 5]), tn.bitwise_invert([True, False])
    (Tensor([-1, -6]), Tensor([False,  True]))
    """
    return np.invert(a)


@op(elementwise=True)
def isnan(a: Array):
    """Whether a is NaN.

    >>> tn.isnan([1.0, np.nan, np.inf])
    Tensor([False,  True, False])
    """
    return np.isnan(a)


@op(elementwise=True)
def isinf(a: Array):
    """Whether a is inf or -inf.

    >>> tn.isinf([1.0, np.nan, -np.inf])
    Tensor([False, False,  True])
    """
    return np.isinf(a)


@op(elementwise=True)
def isfinite(a: Array):
    """Whether a is neither NaN nor infinite.

    >>> tn.isfinite([1.0, np.nan, np.inf])
    Tensor([ True, False, False])
    """
    return np.isfinite(a)


# ---------------------------------------------------------------------- choice


@op(elementwise=True)
def where(condition: Array, a: Array, b: Array):
    """a where ``condition``, else b. Only the chosen one gets the gradient.

    Both sides are computed before one is chosen: where the other one is inf or NaN, its own derivative may make
    0 * inf = NaN. Choose a harmless operand first: ``where(x > 0, log(where(x > 0, x, 1.0)), 0.0)``.

    >>> x = tn.tensor([-1.0, 0.0, 4.0], requires_grad=True)
    >>> y = tn.where(x > 0, tn.sqrt(tn.where(x > 0, x, 1.0)), 0.0)
    >>> y.sum().backward()
    >>> x.grad
    Tensor([0.  , 0.  , 0.25])
    """
    value: Any = np.where(condition, a, b)
    for number in (a, b):
        if type(number) is int and value.dtype.kind in "iu":
            value.dtype.type(number)  # OverflowError, where np.where cuts off what does not fit
    return (
        value,
        lambda g: None,
        lambda g, condition: where(condition, g, 0.0),
        lambda g, condition: where(condition, 0.0, g),
    )


@op(elementwise=True)
def maximum(a: Array, b: Array):
    """The larger of a and b; NaN if either is. The larger one gets the gradient, ties share it equally.

    >>> tn.maximum([1.0, 5.0], 3.0)
    Tensor([3., 5.])
    >>> tn.value_and_grad(lambda a: tn.maximum(a, 3.0).sum())([1.0, 3.0, 5.0])[1]
    Tensor([0. , 0.5, 1. ])
    """
    return np.maximum(a, b), lambda g, a, b: _share(g, a > b, a == b), lambda g, a, b: _share(g, b > a, a == b)


@op(elementwise=True)
def minimum(a: Array, b: Array):
    """The smaller of a and b; NaN if either is. The smaller one gets the gradient, ties share it equally.

    >>> tn.minimum([1.0, 5.0, np.nan], 3.0)
    Tensor([ 1.,  3., nan])
    """
    return np.minimum(a, b), lambda g, a, b: _share(g, a < b, a == b), lambda g, a, b: _share(g, b < a, a == b)


def _share(g, wins, ties):
    """The gradient where the operand wins, half of it where both are equal."""
    return where(ties, g * 0.5, where(wins, g, 0.0))


@op(elementwise=True)
def clip_(a: Array, min=None, max=None):
    return np.clip(a, min, max), lambda g, a: where(_outside(a, min, max), 0.0, g)


def _outside(a, low, high):
    outside = a != a if low is None else a < low
    return outside if high is None else logical_or(outside, a > high)


@named
def clip(a, min=None, max=None):
    """a held between ``min`` and ``max`` (None: no bound there). The gradient passes where min <= a <= max.

    Bounds that are Tensors or arrays get gradients too, as in ``minimum(maximum(a, min), max)``.

    >>> tn.clip([-2.0, 0.5, 3.0], -1.0, 1.0)
    Tensor([-1. ,  0.5,  1. ])
    >>> tn.value_and_grad(lambda a: tn.clip(a, max=1.0).sum())([-2.0, 0.5, 3.0])[1]
    Tensor([1., 1., 0.])
    """
    if isinstance(min, int | float | None) and isinstance(max, int | float | None):
        return clip_(a, min, max)
    if isinstance(min, str) or isinstance(max, str):
        raise DTypeError(f"min is {min!r} and max {max!r}, expected numbers, arrays or None")
    result = a if min is None else maximum(a, min)
    return result if max is None else minimum(result, max)
