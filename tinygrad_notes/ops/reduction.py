"""Reductions: sums, means, extremes and norms over axes, and running sums."""

from __future__ import annotations

import numpy as np

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.ops.arguments import number
from tinygrad_notes.ops.arithmetic import abs, astype, floating_operand, square
from tinygrad_notes.ops.comparison import maximum, where
from tinygrad_notes.ops.exponential import exp
from tinygrad_notes.ops.shape import broadcast_to, flip, reshape
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import as_floating, float64, int64


def kept_axes(shape, axis):
    """``shape`` with the reduced axes of size one."""
    if axis is None:
        return (1,) * len(shape)
    try:
        axes = {a % len(shape) if shape else a for a in (axis if isinstance(axis, tuple) else (axis,))}
    except TypeError:
        raise DTypeError(f"axis is {axis!r}, expected an integer, a tuple of integers, or None") from None
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def _axis(axis):
    """A list of axes as a tuple, as NumPy wants it."""
    return tuple(axis) if isinstance(axis, list) else axis


def _count(shape, kept):
    """How many elements go into one."""
    count = 1
    for n, m in zip(shape, kept):
        count *= n if m == 1 else 1
    return count


LONG = 4096  # terms from which a float32 sum over some axes runs in float64


def _sum(x, axis, keepdims):
    """Σ x of floats. NumPy adds in pairs over the innermost axis only; over others a long float32 sum would drift."""
    if x.size < LONG or x.dtype == float64:
        return x.sum(axis=axis, keepdims=keepdims)
    terms = _count(x.shape, kept_axes(x.shape, axis))
    if terms < LONG or terms == x.size:
        return x.sum(axis=axis, keepdims=keepdims)
    return x.sum(axis=axis, keepdims=keepdims, dtype=float64).astype(x.dtype)


@op
def sum(a: Array, axis=None, keepdims=False):
    """Σ a over ``axis`` (an int, a tuple, or None for all). Every summand gets the gradient of its sum.

    Integers and booleans sum to int64.

    >>> tn.sum([[1.0, 2.0], [3.0, 4.0]], axis=0)
    Tensor([4., 6.])
    >>> tn.value_and_grad(tn.sum)([1.0, 2.0])[1]
    Tensor([1., 1.])
    """
    shape, axis = a.shape, _axis(axis)
    value = _sum(a, axis, keepdims) if a.dtype.kind == "f" else a.sum(axis=axis, dtype=int64, keepdims=keepdims)
    return value, lambda g: _spread(g, shape, axis)


def _spread(g, shape, axis):
    """A gradient of a reduced value at every element that went into it."""
    return broadcast_to(reshape(g, kept_axes(shape, axis)), shape)


@op
def mean(a: Array, axis=None, keepdims=False):
    """Σ a / n over ``axis``. Each of the n elements gets 1/n of the gradient. An empty mean is NaN.

    >>> tn.value_and_grad(tn.mean)([1.0, 2.0, 6.0, 7.0])
    (Tensor(4.), Tensor([0.25, 0.25, 0.25, 0.25]))
    """
    shape, axis = a.shape, _axis(axis)
    x = as_floating(a)
    count = _count(shape, kept_axes(shape, axis))
    total = _sum(x, axis, keepdims)
    value = total / count if count else total * np.nan
    return value, lambda g: _spread(g / count if count else g, shape, axis)


@op
def var(a: Array, axis=None, correction=0, keepdims=False):
    """Σ (a - mean)² / (n - ``correction``) over ``axis``, in two passes. d = 2 (a - mean) / (n - correction).

    ``correction=0`` is NumPy's default and the array standard's; 1 is the unbiased estimate, PyTorch's default.
    n <= correction gives NaN.

    >>> tn.var([1.0, 3.0]), tn.var([1.0, 3.0], correction=1)
    (Tensor(1.), Tensor(2.))
    """
    axis = _axis(axis)
    x = as_floating(a)
    kept = kept_axes(x.shape, axis)
    count = _count(x.shape, kept)
    divisor = count - number(correction, "correction")
    centred = x - _sum(x, axis, True) / (count or 1)
    total = _sum(np.square(centred), axis, keepdims)
    value = total / divisor if divisor > 0 else total * np.nan
    return (
        value,
        lambda g, a: reshape(g, kept) * ((a - mean(a, axis, True)) * (2.0 / divisor if divisor > 0 else np.nan)),
    )


@named
def std(a, axis=None, correction=0, keepdims=False):
    """√ :func:`var`. Its derivative at zero spread is 0.

    >>> tn.std([1.0, 5.0])
    Tensor(2.)
    >>> tn.value_and_grad(tn.std)([2.0, 2.0])[1]
    Tensor([0., 0.])
    """
    return _root(var(a, axis, correction, keepdims))


@op(elementwise=True)
def _root(a: Array):
    """√a whose derivative is 0 at 0, for norms and spreads: 0 is their subgradient of least length."""
    return np.sqrt(a), lambda g, y: where(y == 0, 0.0, g * 0.5 / where(y == 0, 1.0, y))


def _extreme(a, axis, keepdims, reduce):
    if _count(a.shape, kept_axes(a.shape, axis)) == 0:
        raise ShapeError(f"no elements, so no extreme, in shape {tuple(a.shape)} over axis {axis}")
    return reduce(a, axis=axis, keepdims=keepdims)


def _shared(g, a, y, axis):
    """The gradient of an extreme, in equal parts for the elements that attain it."""
    kept = kept_axes(a.shape, axis)
    attain = a == reshape(y, kept)
    ties = astype(maximum(sum(attain, axis, True), 1), g.dtype)
    return where(attain, reshape(g, kept) / ties, 0.0)


@op
def max(a: Array, axis=None, keepdims=False):
    """The largest element over ``axis``; NaN if there is one. Ties share the gradient equally.

    >>> tn.max([[1.0, 5.0], [3.0, 2.0]], axis=1)
    Tensor([5., 3.])
    >>> tn.value_and_grad(tn.max)([1.0, 5.0, 5.0])[1]
    Tensor([0. , 0.5, 0.5])
    """
    axis = _axis(axis)
    return _extreme(a, axis, keepdims, np.max), lambda g, a, y: _shared(g, a, y, axis)


@op
def min(a: Array, axis=None, keepdims=False):
    """The smallest element over ``axis``; NaN if there is one. Ties share the gradient equally.

    >>> tn.min([[1.0, 5.0], [3.0, 2.0]], axis=1, keepdims=True)
    Tensor([[1.],
            [2.]])
    """
    axis = _axis(axis)
    return _extreme(a, axis, keepdims, np.min), lambda g, a, y: _shared(g, a, y, axis)


@op
def argmax(a: Array, axis=None, keepdims=False):
    """The index of the first largest element over ``axis`` (None: of the flattened array), int64.

    >>> tn.argmax([[1.0, 5.0], [3.0, 2.0]], axis=1)
    Tensor([1, 0])
    """
    return _extreme(a, axis, keepdims, np.argmax)


@op
def argmin(a: Array, axis=None, keepdims=False):
    """The index of the first smallest element over ``axis`` (None: of the flattened array), int64.

    >>> tn.argmin([4.0, 1.0, 1.0])
    Tensor(1)
    """
    return _extreme(a, axis, keepdims, np.argmin)


@op
def logsumexp(a: Array, axis=None, keepdims=False):
    """log Σ eᵃ over ``axis``, without overflow. d = softmax(a); -inf, and gradient 0, where every a is -inf.

    >>> tn.logsumexp([1000.0, 1000.0]).round(3)
    Tensor(1000.693)
    >>> tn.value_and_grad(tn.logsumexp)([1000.0, 1000.0])[1]
    Tensor([0.5, 0.5])
    """
    axis = _axis(axis)
    x = as_floating(a)
    kept = kept_axes(x.shape, axis)
    if keepdims not in (False, True):
        raise DTypeError(f"keepdims is {keepdims!r}, expected True or False")
    if not x.ndim and axis is not None and axis != ():  # NumPy takes 0 and -1 for the axis of a number, at times
        raise ShapeError(f"axis {axis} is out of bounds for an array without axes")
    if _count(x.shape, kept) == 0:
        return x.sum(axis=axis, keepdims=keepdims) - np.inf, lambda g, a, y: a * 0.0
    top = np.max(x, axis=axis, keepdims=True)
    shift = np.where(np.isfinite(top), top, 0.0)
    total = _sum(np.exp(x - shift), axis, True)
    empty = total == 0
    value = np.where(empty, -np.inf, np.log(np.where(empty, 1.0, total)) + shift)
    return _unreduced(value, x, axis, keepdims), lambda g, a, y: _softmax_part(g, a, y, kept)


def _unreduced(value, x, axis, keepdims):
    """A result computed with kept axes, in the shape that was asked for."""
    if not keepdims:
        axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
        value = value.squeeze(tuple(axes))
    return value.astype(x.dtype, copy=False)


def _softmax_part(g, a, y, kept):
    y = reshape(y, kept)
    p = exp(a - where(y == -np.inf, 0.0, y))
    total = sum(p, tuple(i for i, n in enumerate(kept) if n == 1), True)  # 1, but for the rounding of a large y
    return reshape(g, kept) * (p / where(total == 0, 1.0, total))


@op
def cumsum(a: Array, axis=None):
    """Running sums along ``axis`` (None: of the flattened array). Its gradient is the running sum from the end.

    >>> tn.cumsum([1, 2, 3])
    Tensor([1, 3, 6])
    >>> tn.value_and_grad(lambda a: tn.cumsum(a, 0).sum())([1.0, 2.0, 3.0])[1]
    Tensor([3., 2., 1.])
    """
    shape = a.shape
    dtype = float64 if a.dtype.kind == "f" else int64  # a running sum is not added in pairs: it would drift in float32
    value = np.cumsum(a, axis=axis, dtype=dtype)
    value = value.astype(a.dtype, copy=False) if dtype is float64 else value
    return value, lambda g: reshape(flip(cumsum(flip(g, axis), axis), axis), shape)


@named
def norm(a, ord=2, axis=None, keepdims=False):
    """The vector norm (Σ |a|^ord)^(1/ord) over ``axis``: ord 1, 2, inf, -inf, 0 (non-zeros) or any positive number.

    Integers become float32. At 0 its subgradient is 0.

    >>> tn.value_and_grad(tn.norm)([3.0, 4.0])
    (Tensor(5.), Tensor([0.6, 0.8]))
    >>> tn.norm([3.0, -4.0], ord=1), tn.norm([3.0, -4.0], ord=np.inf)
    (Tensor(7.), Tensor(4.))
    """
    a = floating_operand(a)
    if ord == 2:
        return _root(sum(square(a), axis, keepdims))
    ord, size = number(ord, "ord"), abs(a)
    if ord == 1:
        return sum(size, axis, keepdims)
    if ord in (np.inf, -np.inf):
        return (max if ord > 0 else min)(size, axis, keepdims)
    if ord == 0:
        return astype(sum(size != 0, axis, keepdims), size.dtype)
    if not ord > 0:
        raise ShapeError(f"ord is {ord}, expected a number above 0, 0, inf or -inf")
    total = sum(where(size == 0, 0.0, where(size == 0, 1.0, size) ** ord), axis, keepdims)
    return where(total == 0, 0.0, where(total == 0, 1.0, total) ** (1.0 / ord))
