"""Order: sort, argsort, topk, median; places in sorted arrays; sets, counts and histograms.

Sorting is stable: equal elements keep their order, in descending order too, and get the gradients of their own places.
NaN counts as the largest number.
"""

from __future__ import annotations

import numpy as np

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.explain import describe, named
from tinygrad_notes.ops.arguments import count, flag, number, one_of
from tinygrad_notes.ops.comparison import where
from tinygrad_notes.ops.indexing import scatter_add, take_along_axis_
from tinygrad_notes.ops.reduction import kept_axes, mean, sum
from tinygrad_notes.ops.shape import operand, reshape, single_axis
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import Tensor, as_floating, beside, float32, float64, int64, to_array, wrap


@op
def argsort(a: Array, axis=-1, descending=False, stable=True):
    """The indices, int64, that sort ``a`` along ``axis`` (None: flattened): ascending, or ``descending``.

    Always stable; ``stable=False`` permits any order of equal elements and gets the same one. No gradient flows.

    >>> tn.argsort([3, 1, 2]), tn.argsort([3, 1, 2], descending=True)
    (Tensor([1, 2, 0]), Tensor([0, 2, 1]))
    """
    flag(descending, "descending")
    flag(stable, "stable")
    a, axis = (a.reshape(-1), 0) if axis is None else (a, single_axis(axis, a.ndim, "argsort"))
    if not descending:
        return np.argsort(a, axis=axis, kind="stable")
    return a.shape[axis] - 1 - np.flip(np.argsort(np.flip(a, axis), axis=axis, kind="stable"), axis)


def _flattened(a, axis):
    """``a`` and the number of its axis; flattened where ``axis`` is None."""
    if axis is None:
        return reshape(a, (-1,)), 0
    return a, single_axis(axis, len(a.shape), "sort")


@named
def sort(a, axis=-1, descending=False, stable=True):
    """``a`` in ascending (or ``descending``) order along ``axis`` (None: flattened). See argsort for ties and NaN.

    The gradient goes back to where each element came from.

    >>> tn.sort([3.0, 1.0, 2.0])
    Tensor([1., 2., 3.])
    >>> weights = tn.tensor([1.0, 10.0, 100.0])
    >>> tn.value_and_grad(lambda a: (tn.sort(a) * weights).sum())([3.0, 1.0, 2.0])[1]
    Tensor([100.,   1.,  10.])
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

    >>> values, indices = tn.topk([3.0, 1.0, 5.0, 2.0], 2)
    >>> values, indices
    (Tensor([5., 3.]), Tensor([2, 0]))
    """
    flag(largest, "largest")
    flag(sorted, "sorted")
    a = operand(a)
    axis = single_axis(axis, len(a.shape), "topk")
    k = count(k, "k", 0)
    if k > a.shape[axis]:
        raise ShapeError(f"k is {k}, but axis {axis} has size {a.shape[axis]}")
    if 0 < 8 * k <= a.shape[axis]:
        array = np.moveaxis(a.data if type(a) is Tensor else a, axis, -1)
        chosen = np.moveaxis(_leading(array, k, bool(largest)), -1, axis)
    else:
        chosen = _order(a, axis, bool(largest))[(*(slice(None),) * axis, slice(0, k))]
    return take_along_axis_(a, chosen, axis), wrap(chosen)


def _leading(a, k, largest):
    """The first ``k`` of the indices that sort ``a`` along its last axis, without sorting what is left."""
    place = a.shape[-1] - k if largest else k - 1
    last = np.partition(a, place, -1)[..., place, None]  # the last one that is chosen
    nan, ends_in_nan = a != a, last != last
    better = (a > last) | (nan & ~ends_in_nan) if largest else (a < last) | (~nan & ends_in_nan)
    equal = (a == last) | (nan & ends_in_nan)
    chosen = better | (equal & (np.cumsum(equal, -1) <= k - np.sum(better, -1, keepdims=True)))
    index = np.nonzero(chosen)[-1].reshape(*a.shape[:-1], k)
    return np.take_along_axis(index, _order(np.take_along_axis(a, index, -1), -1, largest), -1)


@named
def median(a, axis=None, keepdims=False):
    """The middle element along ``axis`` (an int, or None for all), the mean of the two middle ones of an even number.

    NumPy's median; PyTorch's takes the lower of the two. NaN where there is one; no elements raise ShapeError. The
    gradient goes to the middle elements. Integers give float32.

    >>> tn.median([5.0, 1.0, 3.0])
    Tensor(3.)
    >>> tn.value_and_grad(tn.median)([5.0, 1.0, 3.0, 4.0])
    (Tensor(3.5), Tensor([0. , 0. , 0.5, 0.5]))
    """
    flag(keepdims, "keepdims")
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
    if a.ndim == 1:
        return np.searchsorted(a, v, side=side)
    if a.ndim == 0 or v.ndim != a.ndim or v.shape[:-1] != a.shape[:-1]:
        raise ShapeError(
            f"a has shape {tuple(a.shape)}, expected (n,), sorted, or the leading axes of v, which has {tuple(v.shape)}"
        )
    return _searched(a, v, side)


def _searched(a, v, side):
    """Bisection of every row of ``a`` at once."""
    low = np.zeros_like(v, dtype=int64)
    high = np.full_like(low, a.shape[-1])
    for _ in range(a.shape[-1].bit_length()):
        middle = (low + high) // 2
        there = np.take_along_axis(a, np.minimum(middle, a.shape[-1] - 1), -1)
        before = there < v if side == "left" else there <= v
        before |= (v != v) & ((there == there) | (side == "right"))  # NaN is the largest number
        open_ = low < high
        low, high = np.where(open_ & before, middle + 1, low), np.where(open_ & ~before, middle, high)
    return low


@named
def searchsorted(a, v, side="left"):
    """Where each element of ``v`` would go into the sorted ``a``, int64, in the shape of ``v``. No gradient flows.

    "left": i with a[i-1] < v <= a[i]; "right": a[i-1] <= v < a[i]. ``a`` (n,) is for all of ``v``; ``a`` (..., n) and
    ``v`` (..., m) are searched row by row. An ``a`` that is not sorted gives no error, but no meaningful places.

    >>> tn.searchsorted(np.array([[1.0, 2.0], [5.0, 6.0]]), np.array([[1.5], [7.0]])).tolist()
    [[1], [2]]
    """
    a = operand(a)
    if isinstance(v, int | float):  # as exact as a, where a Python number would become float32
        v = np.asarray(v, a.dtype if a.dtype.kind == "f" or isinstance(v, int) else float64, like=a.data)
    return searchsorted_(a, v, side)


@op
def nonzero(a: Array):
    """The indices, int64, of the elements that are not zero: an array per axis, in the order of the elements.

    Their number depends on the data; no gradient flows. No axes raise ShapeError.

    >>> tn.nonzero([[0, 2], [3, 0]])
    (Tensor([0, 1]), Tensor([1, 0]))
    """
    if a.ndim == 0:
        raise ShapeError("a has no axes, expected at least one")
    return tuple(np.nonzero(a))


@op
def unique_(a: Array, axis):
    return tuple(np.unique(a, return_index=True, return_inverse=True, return_counts=True, axis=axis))


@named
def unique(a, return_index=False, return_inverse=False, return_counts=False, axis=None):
    """The different elements of ``a``, flattened, in ascending order; NaNs count as one.

    With ``axis`` the different slices along it, in the order of their first different elements; slices with NaN are
    all different. Behind them, as asked for: ``index``, where each first stands (in the flattened ``a``, or along
    ``axis``); ``inverse``, which of them each element or slice is, in the shape of ``a``, or one per slice; ``counts``.
    Their number depends on the data; no gradient flows.

    >>> tn.unique(np.array([[2, 1], [0, 1], [2, 1]]), axis=0).tolist()
    [[0, 1], [2, 1]]
    """
    if axis is not None:
        axis = single_axis(axis, operand(a).ndim, "unique")
    values, index, inverse, counts = unique_(a, axis)
    if axis is not None:
        inverse = reshape(inverse, (-1,))
    wanted = ((return_index, index), (return_inverse, inverse), (return_counts, counts))
    for (chosen, _), name in zip(wanted, ("return_index", "return_inverse", "return_counts")):
        flag(chosen, name)
    found = (values, *(part for chosen, part in wanted if chosen))
    return found[0] if len(found) == 1 else found


@named
def bincount(a, weights=None, minlength=0):
    """How often each of 0, 1, ... max(a) stands in the 1-D ``a`` of integers, int64; at least ``minlength`` counts.

    With ``weights``, of the shape of ``a``, the sum of the weights that stand there; it is differentiable in them.
    A negative element raises IndexError.

    >>> tn.bincount([0, 2, 2, 5])
    Tensor([1, 0, 2, 0, 0, 1])
    >>> tn.bincount([0, 2, 2], weights=[0.5, 1.0, 2.0], minlength=4)
    Tensor([0.5, 0. , 3. , 0. ])
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
def histogram(a, bins=10, range=None, density=False, weights=None):
    """How many elements of ``a`` lie in each bin, and the edges of the bins: (counts, edges).

    ``bins``: a number of equal ones between the two numbers ``range`` (None: least and largest element), or the 1-D
    increasing edges themselves. A bin has its left edge; the last one has both. What lies outside is not counted.
    ``weights``, of the shape of ``a``: their sums in place of counts, differentiable in them. ``density``: counts or
    sums divided by their sum and the bin's width. Counts are int64; edges, and densities of counts, of the dtype of
    ``a``, or float32. No gradient flows to ``a``.

    >>> tn.histogram([0.1, 0.2, 0.9], 2, (0, 1), weights=[1.0, 2.0, 4.0])[0].tolist()
    [3.0, 4.0]
    """
    flag(density, "density")
    if range is not None:
        if not isinstance(range, list | tuple) or len(range) != 2:
            raise ShapeError(f"range is {describe(range)}, expected two numbers")
        range = (number(range[0], "range[0]"), number(range[1], "range[1]"))
    array = to_array(a)
    if isinstance(bins, int | float | np.integer):
        bins = count(bins, "bins")
        if range is None and not bool(np.isfinite(array).all()):
            raise ShapeError("a has elements that are not finite; give the range of the bins")
    else:
        bins = beside(to_array(bins), array)
        if bins.ndim != 1 or not bins.size:
            raise ShapeError(f"bins have shape {tuple(bins.shape)}, expected one row of edges")
    counts, edges = np.histogram(as_floating(array), bins, range, density=density and weights is None)
    dtype = array.dtype if array.dtype.kind == "f" else float32
    if weights is None:
        return wrap(counts.astype(dtype) if density else counts), wrap(edges.astype(dtype))
    sums = _weighted(as_floating(array), edges, operand(weights), density)
    return sums, wrap(edges.astype(dtype))


def _weighted(array, edges, weights, density):
    """The sums of the weights in each bin."""
    if tuple(weights.shape) != tuple(array.shape):
        raise ShapeError(f"weights have shape {tuple(weights.shape)}, a {tuple(array.shape)}")
    array, size = array.reshape(-1), edges.shape[0] - 1
    place = np.where(array == edges[-1], size - 1, np.searchsorted(edges, array, side="right") - 1)
    inside = (array >= edges[0]) & (array <= edges[-1])
    sums = scatter_add(reshape(weights, (-1,))[inside], (place[inside],), (size,))
    if not density:
        return sums
    return sums / (sum(sums) * np.diff(edges).astype(sums.dtype if sums.dtype.kind == "f" else float32))
