"""Order: sort, argsort, topk, median; places in sorted arrays; sets, counts and histograms.

Sorting is stable: equal elements keep their order, in descending order too, and get the gradients of their own places.
NaN counts as the largest number.
"""

from __future__ import annotations

import numpy as np

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.explain import describe, named
from tinygrad_notes.ops.arguments import count, number, one_of
from tinygrad_notes.ops.elementwise import where
from tinygrad_notes.ops.indexing import scatter_add, take_along_axis_
from tinygrad_notes.ops.reduction import kept_axes, mean
from tinygrad_notes.ops.shape import operand, reshape, single_axis
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import Tensor, as_floating, float32, float64, to_array, wrap


@op
def argsort(a: Array, axis=-1, descending=False, stable=True):
    """The indices, int64, that sort ``a`` along ``axis`` (None: flattened): ascending, or ``descending``.

    Always stable; ``stable=False`` permits any order of equal elements and gets the same one. No gradient flows.
    """
    _flag(descending, "descending")
    _flag(stable, "stable")
    a, axis = (a.reshape(-1), 0) if axis is None else (a, single_axis(axis, a.ndim, "argsort"))
    if not descending:
        return np.argsort(a, axis=axis, kind="stable")
    return a.shape[axis] - 1 - np.flip(np.argsort(np.flip(a, axis), axis=axis, kind="stable"), axis)


def _flag(value, name):
    if not isinstance(value, bool | np.bool_):
        raise DTypeError(f"{name} is {value!r}, expected True or False")


def _flattened(a, axis):
    """``a`` and the number of its axis; flattened where ``axis`` is None."""
    if axis is None:
        return reshape(a, (-1,)), 0
    return a, single_axis(axis, len(a.shape), "sort")


@named
def sort(a, axis=-1, descending=False, stable=True):
    """``a`` in ascending (or ``descending``) order along ``axis`` (None: flattened). See argsort for ties and NaN.

    The gradient goes back to where each element came from.
    """
    a, axis = _flattened(operand(a), axis)
    return take_along_axis_(a, _order(a, axis, descending, stable), axis)


def _order(a, axis, descending, stable=True):
    """The indices that sort ``a``, as an array."""
    order = argsort(a, axis, descending, stable)
    return order.data if type(order) is Tensor else order


@named
def topk(a, k, axis=-1, largest=True, sorted=True):
    """The ``k`` largest (or smallest) elements along ``axis`` and their indices: (values, indices).

    In order, the first first; of equal elements the earlier one comes first (PyTorch leaves their order open).
    ``sorted=False`` permits any order and gets the same one. Gradients flow to the chosen elements. ``k`` greater than
    the size of ``axis`` raises ShapeError.
    """
    _flag(largest, "largest")
    _flag(sorted, "sorted")
    a = operand(a)
    axis = single_axis(axis, len(a.shape), "topk")
    k = count(k, "k", 0)
    if k > a.shape[axis]:
        raise ShapeError(f"k is {k}, but axis {axis} has size {a.shape[axis]}")
    chosen = _order(a, axis, bool(largest))[(*(slice(None),) * axis, slice(0, k))]
    return take_along_axis_(a, chosen, axis), wrap(chosen)


@named
def median(a, axis=None, keepdims=False):
    """The middle element along ``axis`` (an int, or None for all), the mean of the two middle ones of an even number.

    NumPy's median; PyTorch's takes the lower of the two. NaN where there is one; no elements raise ShapeError. The
    gradient goes to the middle elements. Integers give float32.
    """
    a = operand(a)
    kept = kept_axes(a.shape, axis)
    a, axis = _flattened(a, axis)
    n = a.shape[axis]
    if n == 0:
        raise ShapeError(f"no elements, so no middle, in shape {tuple(a.shape)} over axis {axis}")
    before = (slice(None),) * axis
    ordered = sort(a, axis)
    middle = mean(ordered[(*before, slice((n - 1) // 2, n // 2 + 1))], axis)
    if a.dtype.kind == "f":
        last = ordered[(*before, n - 1)]
        middle = where(last == last, middle, last)
    return reshape(middle, kept) if keepdims else middle


@op
def searchsorted_(a: Array, v: Array, side):
    one_of(side, "side", ("left", "right"))
    if a.ndim != 1:
        raise ShapeError(f"a has shape {tuple(a.shape)}, expected (n,), sorted")
    return np.searchsorted(a, v, side=side)


@named
def searchsorted(a, v, side="left"):
    """Where each element of ``v`` would go into the sorted 1-D ``a``, int64. No gradient flows.

    "left": i with a[i-1] < v <= a[i]; "right": a[i-1] <= v < a[i]. An ``a`` that is not sorted gives no error, but
    no meaningful places.
    """
    a = operand(a)
    if isinstance(v, int | float):  # as exact as a, where a Python number would become float32
        v = np.asarray(v, a.dtype if a.dtype.kind == "f" or isinstance(v, int) else float64, like=a.data)
    return searchsorted_(a, v, side)


@op
def nonzero(a: Array):
    """The indices, int64, of the elements that are not zero: an array per axis, in the order of the elements.

    Their number depends on the data; no gradient flows. No axes raise ShapeError.
    """
    if a.ndim == 0:
        raise ShapeError("a has no axes, expected at least one")
    return tuple(np.nonzero(a))


@op
def unique_(a: Array):
    return tuple(np.unique(a, return_index=True, return_inverse=True, return_counts=True))


@named
def unique(a, return_index=False, return_inverse=False, return_counts=False):
    """The different elements of ``a``, flattened, in ascending order; NaNs count as one.

    Behind them, as asked for: ``index``, where each first stands in the flattened ``a``; ``inverse``, which of them
    each element is, in the shape of ``a``; ``counts``. Their number depends on the data; no gradient flows.
    """
    values, index, inverse, counts = unique_(a)
    wanted = ((return_index, index), (return_inverse, inverse), (return_counts, counts))
    for (flag, _), name in zip(wanted, ("return_index", "return_inverse", "return_counts")):
        _flag(flag, name)
    found = (values, *(part for flag, part in wanted if flag))
    return found[0] if len(found) == 1 else found


@named
def bincount(a, weights=None, minlength=0):
    """How often each of 0, 1, ... max(a) stands in the 1-D ``a`` of integers, int64; at least ``minlength`` counts.

    With ``weights``, of the shape of ``a``, the sum of the weights that stand there; it is differentiable in them.
    A negative element raises IndexError.
    """
    array, minlength = to_array(a), count(minlength, "minlength", 0)
    if array.dtype.kind not in "iu":
        raise DTypeError(f"a is {array.dtype}, expected integers")
    if array.ndim != 1:
        raise ShapeError(f"a has shape {tuple(array.shape)}, expected (n,)")
    if array.size and int(array.min()) < 0:
        raise IndexError(f"bincount: a has {int(array.min())}, expected no negative numbers")
    if weights is None:
        return wrap(np.bincount(array, minlength=minlength))
    weights = operand(weights)
    if tuple(weights.shape) != tuple(array.shape):
        raise ShapeError(f"weights have shape {tuple(weights.shape)}, a {tuple(array.shape)}")
    size = max(int(array.max()) + 1 if array.size else 0, minlength)
    return scatter_add(weights, (array,), (size,))


@named
def histogram(a, bins=10, range=None, density=False):
    """How many elements of ``a`` lie in each bin, and the edges of the bins: (counts, edges). No gradient flows.

    ``bins``: a number of equal ones between the two numbers ``range`` (None: least and largest element), or the 1-D
    increasing edges themselves. A bin has its left edge; the last one has both. What lies outside is not counted.
    ``density``: counts divided by their sum and the bin's width. Counts are int64; edges, and densities, of the dtype
    of ``a``, or float32.
    """
    _flag(density, "density")
    if range is not None:
        if not isinstance(range, list | tuple) or len(range) != 2:
            raise ShapeError(f"range is {describe(range)}, expected two numbers")
        range = (number(range[0], "range[0]"), number(range[1], "range[1]"))
    array = to_array(a)
    if isinstance(bins, int | np.integer):
        bins = count(bins, "bins")
        if range is None and not bool(np.isfinite(array).all()):
            raise ShapeError("a has elements that are not finite; give the range of the bins")
    else:
        bins = to_array(bins)
    counts, edges = np.histogram(as_floating(array), bins, range, density=density)
    dtype = array.dtype if array.dtype.kind == "f" else float32
    return wrap(counts.astype(dtype) if density else counts), wrap(edges.astype(dtype))
