"""Reductions, sorting, arrangement, indexing and linear algebra."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_notes as tn
from tests.fuzz.arrays import as_axes, reduced, two
from tests.fuzz.draw import Draw, Entry, array, axes, integers, like, mostly, nonsense, shapes, some

numbers = st.one_of(st.sampled_from([0, 1, 2, 0.5, 3, -1, math.inf]), nonsense)


def whole(value: Any, least: int | None = None) -> int:
    if type(value) is not int:
        raise TypeError(value)
    if least is not None and value < least:
        raise ValueError(value)
    return value


def truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def axis_of(a: np.ndarray, axis: Any) -> int:
    if not -a.ndim <= whole(axis) < a.ndim:
        raise ValueError(axis)
    return axis % a.ndim


def whole_numbers(a: np.ndarray) -> np.ndarray:
    if a.dtype.kind not in "iu":
        raise TypeError(a.dtype)
    return a


# ---------------------------------------------------------------------- reductions


def over(function: Callable[..., Any]) -> Callable[..., Any]:
    def reference(a: Any, axis: Any, keepdims: Any) -> Any:
        return function(a, axis=as_axes(axis), keepdims=truth(keepdims))

    return reference


def np_var(a: Any, axis: Any, correction: Any, keepdims: Any) -> Any:
    if isinstance(correction, bool) or not isinstance(correction, int | float):
        raise TypeError(correction)
    a, axis = a.astype(np.float64), as_axes(axis)
    first = np.sum(a, axis=axis, keepdims=True)
    centred = np.asarray(a - first / max(a.size // max(first.size, 1), 1))
    total = np.sum(centred**2, axis=axis, keepdims=truth(keepdims))
    count = a.size // total.size if total.size else 1
    return total / (count - correction) if count > correction else total * np.nan


def np_logsumexp(a: Any, axis: Any, keepdims: Any) -> Any:
    if not a.ndim and axis is not None and as_axes(axis) != ():  # NumPy takes 0 and -1 for the axis of a number
        raise ValueError(axis)
    return np.log(np.sum(np.asarray(np.exp(a.astype(np.float64))), axis=as_axes(axis), keepdims=truth(keepdims)))


def np_norm(a: Any, order: Any, axis: Any, keepdims: Any) -> Any:
    if isinstance(order, bool) or not isinstance(order, int | float):
        raise TypeError(order)
    if math.isnan(order) or (order < 0 and order != -math.inf):
        raise ValueError(order)
    a, axis, keepdims = np.asarray(np.abs(a.astype(np.float64))), as_axes(axis), truth(keepdims)
    if math.isinf(order):
        return np.max(a, axis=axis, keepdims=keepdims) if order > 0 else np.min(a, axis=axis, keepdims=keepdims)
    if order == 0:
        return np.sum(np.asarray(a != 0), axis=axis, keepdims=keepdims).astype(np.float64)
    return np.sum(np.asarray(a**order), axis=axis, keepdims=keepdims) ** (1 / order)


def np_median(a: Any, axis: Any, keepdims: Any) -> Any:
    axis = None if axis is None else axis_of(a, axis)
    if (a.size if axis is None else a.shape[axis]) == 0:
        raise ValueError("empty")
    return np.median(a.astype(np.float64), axis=axis, keepdims=truth(keepdims))


def np_cumprod(a: Any, axis: Any) -> Any:
    return np.cumprod(a, axis if axis is None else whole(axis))


def np_logcumsumexp(a: Any, axis: Any) -> Any:
    return np.logaddexp.accumulate(a.astype(np.float64), axis=axis_of(a, axis))


# ---------------------------------------------------------------------- sorting and counting


def distinct(draw: Draw) -> np.ndarray:
    """Numbers of which few are equal."""
    a = array(draw)
    return (a * 3 + np.arange(a.size).reshape(a.shape) % 4).astype(a.dtype)


def np_sort(a: Any, axis: Any, descending: Any, stable: Any) -> Any:
    a, axis = (a.reshape(-1), 0) if axis is None else (a, axis_of(a, axis))
    truth(stable)
    ordered = np.sort(a, axis)
    return np.flip(ordered, axis) if truth(descending) else ordered


def np_argsort(a: Any, axis: Any, descending: Any, stable: Any) -> Any:
    a, axis = (a.reshape(-1), 0) if axis is None else (a, axis_of(a, axis))
    truth(stable)
    return np.argsort(-a if truth(descending) else a, axis, kind="stable")


def np_topk(a: Any, k: Any, axis: Any, largest: Any) -> Any:
    axis = axis_of(a, axis)
    if whole(k, 0) > a.shape[axis]:
        raise ValueError(k)
    ordered = np.argsort(-a if truth(largest) else a, axis, kind="stable")
    places = np.take(ordered, np.arange(k), axis)
    return np.take_along_axis(a, places, axis), places


def np_bincount(a: Any, weights: Any, least: Any) -> Any:
    whole(least, 0)
    if a.ndim != 1:
        raise ValueError(a.shape)
    if weights is not None and weights.shape != a.shape:
        raise ValueError(weights)
    return np.bincount(whole_numbers(a).reshape(-1), None if weights is None else weights.reshape(-1), least)


def np_searchsorted(a: Any, v: Any, side: Any) -> Any:
    return np.searchsorted(a, v, side)


def np_unique(a: Any, index: Any, inverse: Any, counts: Any, axis: Any) -> Any:
    for value in (index, inverse, counts):
        truth(value)
    if axis is not None:
        axis_of(a, axis)
    found = np.unique(a, index, inverse, counts, axis)
    if axis is not None and inverse:
        found = tuple(x.reshape(-1) if i == 1 + index else x for i, x in enumerate(found))
    return found


def np_histogram(a: Any, bins: Any, low: Any, high: Any) -> Any:
    if low > high:
        raise ValueError(low)
    return np.histogram(a.astype(np.float64), whole(bins, 1), (low, high))


# ---------------------------------------------------------------------- arrangement


def np_repeat(a: Any, repeats: Any, axis: Any) -> Any:
    if isinstance(repeats, list):
        if not repeats or any(type(n) is not int for n in repeats):
            raise TypeError(repeats)
    else:
        whole(repeats, 0)
    if axis is not None:
        axis_of(a, axis)
    return np.repeat(a, repeats, axis)


def np_tile(a: Any, repetitions: Any) -> Any:
    given = repetitions if isinstance(repetitions, list | tuple) else (repetitions,)
    for n in given:
        whole(n, 0)
    return np.tile(a, given)


def np_rot90(a: Any, k: Any, pair: Any) -> Any:
    return np.rot90(a, whole(k), [axis_of(a, axis) for axis in pair])


def np_diag(a: Any, k: Any) -> Any:
    return np.diag(a, whole(k))


def np_diagonal(a: Any, offset: Any, axis1: Any, axis2: Any) -> Any:
    return np.diagonal(a, whole(offset), axis_of(a, axis1), axis_of(a, axis2))


def np_trace(a: Any, offset: Any, axis1: Any, axis2: Any) -> Any:
    return np.trace(a, whole(offset), axis_of(a, axis1), axis_of(a, axis2), np.int64 if a.dtype.kind == "i" else None)


def triangle(function: Callable[..., Any]) -> Callable[..., Any]:
    def reference(a: Any, k: Any) -> Any:
        if a.ndim < 2:
            raise ValueError(a.shape)
        return function(a, whole(k))

    return reference


def np_unstack(a: Any, axis: Any) -> Any:
    return list(np.moveaxis(a, axis_of(a, axis), 0))


def np_sliding(a: Any, window: Any, axis: Any) -> Any:
    for n in window if isinstance(window, tuple | list) else (window,):
        whole(n, 1)
    for n in axis if isinstance(axis, tuple | list) else () if axis is None else (axis,):
        axis_of(a, n)
    return np.lib.stride_tricks.sliding_window_view(a, window, axis)


def np_flatten(a: Any, start: Any, end: Any) -> Any:
    if a.ndim == 0:
        axis_of(a.reshape(1), start), axis_of(a.reshape(1), end)
        return a.reshape(1)
    start, end = axis_of(a, start), axis_of(a, end)
    if start > end:
        raise ValueError(start)
    return a.reshape(*a.shape[:start], math.prod(a.shape[start : end + 1]), *a.shape[end + 1 :])


def np_meshgrid(*arrays: Any) -> Any:
    if any(a.ndim > 1 for a in arrays):
        raise ValueError(arrays)
    return list(np.meshgrid(*arrays))


# ---------------------------------------------------------------------- indexing


def rows(draw: Draw, a: np.ndarray, n: int) -> np.ndarray:
    """``n`` indices into axis 0, most of them valid."""
    count = a.shape[0] if a.ndim else 1
    valid = st.integers(-count, max(count - 1, 0)) if draw(st.integers(0, 3)) else st.integers(-5, 5)
    drawn = np.array(draw(st.lists(valid, min_size=n, max_size=n)), np.int64)
    return mostly(draw, st.just(drawn), st.just(drawn.astype(np.float64)))


def np_take(a: Any, indices: Any, axis: Any) -> Any:
    if axis is not None:
        axis_of(a, axis)
    return np.take(a, whole_numbers(indices), axis)


def np_index_select(a: Any, axis: Any, indices: Any) -> Any:
    if indices.ndim != 1:
        raise ValueError(indices.shape)
    return np_take(a, indices, axis_of(a, axis))


def np_segment_sum(values: Any, ids: Any, number: Any) -> Any:
    whole(number, 0)
    if values.ndim < 1 or ids.shape != values.shape[:1]:
        raise ValueError(ids.shape)
    if whole_numbers(ids).size and not 0 <= ids.min() <= ids.max() < number:
        raise IndexError(ids)
    total = np.zeros((number, *values.shape[1:]), values.dtype)
    for i, value in zip(ids, values):
        total[i] += value
    return total


def np_one_hot(indices: Any, classes: Any) -> Any:
    if classes is None:
        classes = max(int(whole_numbers(indices).max(initial=-1)) + 1, 0)
    whole(classes, 0)
    if whole_numbers(indices).size and not 0 <= indices.min() <= indices.max() < classes:
        raise IndexError(indices)
    return (indices[..., None] == np.arange(classes)).astype(np.float32)


def segments(draw: Draw) -> tuple:
    a = array(draw)
    n = mostly(draw, len(a) if a.ndim else 1, st.integers(0, 4))
    ids = np.array(draw(st.lists(mostly(draw, st.just(st.integers(0, 2)), st.just(st.integers(-1, 4))), min_size=n,
                                 max_size=n)), np.int64)  # fmt: skip
    return a, ids, mostly(draw, 3, some)


# ---------------------------------------------------------------------- linear algebra


def matrices(draw: Draw, square: bool = True) -> np.ndarray:
    """Well-conditioned ones, mostly of the right shape."""
    n, batch = draw(st.integers(0, 3)), draw(st.sampled_from([(), (), (2,), (0,), (1, 2)]))
    shape = (*batch, n, n if square else draw(st.integers(0, 3)))
    if not draw(st.integers(0, 7)):
        shape = like(draw, shape)
    a = (np.arange(math.prod(shape)) * 37 % 23 / 23.0).reshape(shape)
    if square and len(shape) > 1 and shape[-1] == shape[-2]:
        a = a + 3 * np.eye(shape[-1])
    return a.astype(draw(st.sampled_from([np.float64, np.float32])))


def of_square(function: Callable[..., Any]) -> Callable[..., Any]:
    def reference(a: Any, *others: Any) -> Any:
        if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
            raise ValueError(a.shape)
        return function(a.astype(np.float64), *others)

    return reference


def np_solve(a: np.ndarray, b: Any) -> Any:
    b = b.astype(np.float64)
    if b.ndim == 1:
        return np.linalg.solve(a, b[:, None])[..., 0] if b.shape[0] == a.shape[-1] else np.linalg.solve(a, b)
    return np.linalg.solve(a, b)


def np_bmm(a: Any, b: Any) -> Any:
    if a.ndim != 3 or b.ndim != 3 or a.shape[0] != b.shape[0]:
        raise ValueError(a.shape)
    return np.matmul(a, b)


def np_outer(a: Any, b: Any) -> Any:
    if a.ndim != 1 or b.ndim != 1:
        raise ValueError(a.shape)
    return np.multiply.outer(a, b)


def np_cdist(a: Any, b: Any, p: Any) -> Any:
    if isinstance(p, bool) or not isinstance(p, int | float):
        raise TypeError(p)
    if not p >= 0 or a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-1]:
        raise ValueError(p)
    d = np.abs(a.astype(np.float64)[..., :, None, :] - b[..., None, :, :])
    if p == 0:
        return (d != 0).sum(-1).astype(np.float64)
    if math.isinf(p):
        return d.max(-1, initial=0)
    return (d**p).sum(-1) ** (1 / p)


def from_svd(a: Any) -> Any:
    """The product of the factors, and the singular values: the factors themselves are unique but for signs."""
    u, s, vh = tn.svd(a, full_matrices=False)
    return tn.matmul(u * tn.expand_dims(s, -2), vh), s


def np_svd(a: Any) -> Any:
    if a.ndim < 2:
        raise ValueError(a.shape)
    return a.astype(np.float64), np.linalg.svd(a.astype(np.float64), compute_uv=False)


def batches(draw: Draw) -> tuple:
    b, n, k, m = (draw(st.integers(0, 3)) for _ in range(4))
    return array(draw, like(draw, (b, n, k))), array(draw, mostly(draw, (b, k, m), shapes))


def points(draw: Draw) -> tuple:
    a = array(draw, mostly(draw, (3, 2), shapes))
    return a, array(draw, like(draw, (*a.shape[:-2], 2, *a.shape[-1:]))), draw(numbers)


def with_some(draw: Draw) -> tuple:
    return array(draw), draw(some)


def flag(draw: Draw) -> Any:
    return mostly(draw, st.booleans(), nonsense)


def near(draw: Draw, a: np.ndarray) -> Any:
    """An axis, most often one that ``a`` has."""
    return mostly(draw, st.integers(-a.ndim, a.ndim - 1) if a.ndim else st.just(0), some)


FUNCTIONS: dict[str, Entry] = {
    "all": (tn.all, over(np.all), reduced),
    "any": (tn.any, over(np.any), reduced),
    "count_nonzero": (tn.count_nonzero, over(np.count_nonzero), reduced),
    "min": (tn.min, over(np.min), reduced),
    "prod": (tn.prod, over(np.prod), reduced),
    "var": (tn.var, np_var, lambda draw: (array(draw), draw(axes), draw(numbers), flag(draw))),
    "logsumexp": (tn.logsumexp, np_logsumexp, reduced),
    "norm": (tn.norm, np_norm, lambda draw: (array(draw), draw(numbers), draw(axes), flag(draw))),
    "median": (tn.median, np_median, lambda draw: (array(draw), draw(some), flag(draw))),
    "cumprod": (tn.cumprod, np_cumprod, with_some),
    "logcumsumexp": (tn.logcumsumexp, np_logcumsumexp, with_some),
    "sort": (tn.sort, np_sort, lambda draw: (a := distinct(draw), near(draw, a), flag(draw), flag(draw))),
    "argsort": (tn.argsort, np_argsort, lambda draw: (a := distinct(draw), near(draw, a), flag(draw), flag(draw))),
    "topk": (tn.topk, np_topk, lambda draw: (a := distinct(draw), draw(some), near(draw, a), flag(draw))),
    "bincount": (tn.bincount, np_bincount, lambda draw: (
        a := array(draw), draw(st.sampled_from([None, a * 0.5, array(draw)])), draw(some))),
    "searchsorted": (tn.searchsorted, np_searchsorted, lambda draw: (
        np.sort(array(draw, (draw(st.integers(0, 4)),))), array(draw), mostly(draw, st.sampled_from(["left", "right"]),
                                                                              nonsense))),
    "unique": (tn.unique, np_unique, lambda draw: (
        a := array(draw), flag(draw), flag(draw), flag(draw), draw(st.sampled_from([None, near(draw, a)])))),
    "histogram": (lambda a, bins, low, high: tn.histogram(a, bins, (low, high)), np_histogram, lambda draw: (
        array(draw), draw(some), draw(integers), draw(st.integers(0, 5)))),
    "nonzero": (tn.nonzero, lambda a: list(np.nonzero(a)) if a.ndim else [][0], lambda draw: (array(draw),)),
    "repeat": (tn.repeat, np_repeat, lambda draw: (
        a := array(draw), draw(st.one_of(integers, st.lists(st.integers(0, 2), max_size=3), nonsense)),
        draw(st.sampled_from([None, near(draw, a)])))),
    "tile": (tn.tile, np_tile, lambda draw: (
        array(draw), draw(st.one_of(integers, st.lists(st.integers(-1, 2), max_size=3).map(tuple))))),
    "rot90": (tn.rot90, np_rot90, lambda draw: (a := array(draw), draw(some), (near(draw, a), near(draw, a)))),
    "diag": (tn.diag, np_diag, with_some),
    "diagonal": (tn.diagonal, np_diagonal, lambda draw: (a := array(draw), draw(some), near(draw, a), near(draw, a))),
    "trace": (tn.trace, np_trace, lambda draw: (a := array(draw), draw(some), near(draw, a), near(draw, a))),
    "tril": (tn.tril, triangle(np.tril), with_some),
    "triu": (tn.triu, triangle(np.triu), with_some),
    "unstack": (tn.unstack, np_unstack, with_some),
    "sliding_window_view": (tn.sliding_window_view, np_sliding, lambda draw: (
        a := array(draw), draw(st.one_of(integers, st.lists(integers, max_size=3).map(tuple), nonsense)),
        draw(st.sampled_from([None, near(draw, a)])))),
    "flatten": (tn.flatten, np_flatten, lambda draw: (a := array(draw), near(draw, a), near(draw, a))),
    "meshgrid": (tn.meshgrid, np_meshgrid, lambda draw: tuple(
        array(draw, mostly(draw, (2,), shapes)) for _ in range(draw(st.integers(0, 3))))),
    "take": (tn.take, np_take, lambda draw: (a := array(draw), rows(draw, a, 2), draw(st.sampled_from([None, 0])))),
    "index_select": (tn.index_select, np_index_select, lambda draw: (
        a := array(draw), mostly(draw, 0, some), rows(draw, a, 2))),
    "segment_sum": (tn.segment_sum, np_segment_sum, segments),
    "one_hot": (tn.one_hot, np_one_hot, lambda draw: (array(draw), draw(some))),
    "bmm": (tn.bmm, np_bmm, batches),
    "outer": (tn.outer, np_outer, lambda draw: two(draw)),
    "det": (tn.det, of_square(np.linalg.det), lambda draw: (matrices(draw),)),
    "inv": (tn.inv, of_square(np.linalg.inv), lambda draw: (matrices(draw),)),
    "slogdet": (tn.slogdet, of_square(lambda a: tuple(np.linalg.slogdet(a))), lambda draw: (matrices(draw),)),
    "cholesky": (lambda a: tn.cholesky(tn.matmul(a, tn.swapaxes(a, -1, -2)) if a.ndim > 1 else a),
                 lambda a: np.linalg.cholesky(a.astype(np.float64) @ np.swapaxes(a, -1, -2)),
                 lambda draw: (matrices(draw),)),
    "svd": (from_svd, np_svd, lambda draw: (matrices(draw, square=False),)),
    "solve": (tn.solve, of_square(np_solve), lambda draw: (
        a := matrices(draw),
        array(draw, mostly(draw, st.sampled_from([a.shape[-1:], (*a.shape[:-1], 2)]), shapes)))),
    "cdist": (tn.cdist, np_cdist, points),
}  # fmt: skip
