"""Functions that NumPy has under the same name, by shape and axis."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_notes as tn
from tests.fuzz.draw import Draw, Entry, array, axes, integers, like, nonsense, shapes, some


def reduced(draw: Draw) -> tuple:
    return array(draw), draw(axes), draw(st.sampled_from([False, True, "yes"]))


def two(draw: Draw) -> tuple:
    a = array(draw)
    return a, array(draw, like(draw, a.shape))


def ordered(draw: Draw) -> tuple:
    a = array(draw)
    return a, draw(st.one_of(st.permutations(range(a.ndim)).map(tuple), axes.filter(lambda v: v is not None)))


def product(draw: Draw) -> tuple:
    a = array(draw)
    shape = (*like(draw, a.shape[:-2]), *a.shape[-1:], 2) if draw(st.booleans()) else draw(shapes)
    return a, array(draw, shape)


def sized(draw: Draw) -> tuple:
    a = array(draw)
    size = st.integers(-2, 12) if draw(st.booleans()) else st.sampled_from([a.size, -1, *a.shape])
    return a, draw(st.one_of(st.lists(size, max_size=3).map(tuple), size, nonsense.filter(lambda v: v is not None)))


def joined(draw: Draw) -> tuple:
    a = array(draw)
    return [array(draw, like(draw, a.shape)) for _ in range(draw(st.integers(0, 2)))] + [a], draw(some)


def cut(draw: Draw) -> tuple:
    cuts = st.one_of(st.sampled_from([1, 2]), st.lists(integers, max_size=3), some)
    return array(draw), draw(cuts), draw(st.one_of(st.sampled_from([0, -1]), some))


def padded(draw: Draw) -> tuple:
    mode = draw(st.sampled_from(["constant", "edge", "reflect", "symmetric", "wrap", "wild"]))
    width = st.integers(-1, 3)
    return (
        array(draw),
        draw(st.one_of(width, st.tuples(width, width), st.lists(st.tuples(width, width)), nonsense)),
        mode,
    )


def looked_up(draw: Draw) -> tuple:
    part = st.one_of(
        integers,
        st.none(),
        st.just(...),
        st.builds(slice, st.none() | integers, st.none() | integers, st.none() | integers),
        st.lists(integers, min_size=1, max_size=3),
        st.lists(st.booleans(), min_size=1, max_size=3),
        st.sampled_from(["a", 1.5]),
    )
    return array(draw), draw(st.one_of(part, st.lists(part, max_size=3).map(tuple)))


def along(draw: Draw) -> tuple:
    a = array(draw, tuple(n + 1 for n in draw(shapes)))
    shape = like(draw, a.shape)
    indices = draw(st.lists(st.sampled_from([0, 0, 0, -1, 1]), min_size=math.prod(shape), max_size=math.prod(shape)))
    return a, np.array(indices, np.int64).reshape(shape), draw(st.one_of(st.sampled_from([0, -1]), some))


def summed(draw: Draw) -> tuple:
    a, b = two(draw)
    terms = ["".join(draw(st.permutations("ijk"))[: x.ndim]) if draw(st.integers(0, 9)) else "ij" for x in (a, b)]
    used = sorted(set("".join(terms))) or ["i"]
    return f"{','.join(terms)}->{draw(st.text(used, max_size=2))}", a, b


# ---------------------------------------------------------------------- what NumPy says


def as_axes(axis: Any) -> Any:
    """A list of axes is a tuple of them here; True is no axis."""
    if isinstance(axis, bool):
        raise TypeError("NumPy takes True for 1")
    return tuple(axis) if isinstance(axis, list) else axis


def np_sum(a: np.ndarray, axis: Any, keepdims: Any) -> Any:
    return np.sum(a, axis=as_axes(axis), keepdims=keepdims, dtype=np.int64 if a.dtype.kind == "i" else None)


def np_mean(a: np.ndarray, axis: Any, keepdims: Any) -> Any:
    total = np_sum(a, axis, keepdims)
    with np.errstate(all="ignore"):
        count = a.size // total.size if total.size else 1
        return total / count if count else total * np.nan


def np_argmax(a: np.ndarray, axis: Any, keepdims: Any) -> Any:
    return np.argmax(a, axis=as_axes(axis), keepdims=keepdims)


def np_max(a: np.ndarray, axis: Any, keepdims: Any) -> Any:
    return np.max(a, axis=as_axes(axis), keepdims=keepdims)


def np_reshape(a: np.ndarray, shape: Any) -> Any:
    if any(n < -1 for n in (shape if isinstance(shape, tuple | list) else (shape,))):
        raise ValueError("NumPy takes any negative size for -1")
    return a.reshape(shape)


def np_split(a: np.ndarray, cuts: Any, axis: Any) -> Any:
    if isinstance(cuts, bool) or not isinstance(cuts, int | list | tuple) or axis is None:
        raise TypeError("NumPy takes True for 1, rounds a number of parts, and its own axis for None")
    return np.split(a, cuts, as_axes(axis))


def np_roll(a: np.ndarray, shift: Any, axis: Any) -> Any:
    if not isinstance(shift, int | list | tuple):
        raise TypeError("NumPy cuts off the fraction of a shift")
    return np.roll(a, shift, axis)


def np_stack(arrays: list[np.ndarray], axis: Any) -> Any:
    return np.stack(arrays, as_axes(axis))


def np_concat(arrays: list[np.ndarray], axis: Any) -> Any:
    return np.concatenate(arrays, as_axes(axis))


def np_permute(a: np.ndarray, order: Any) -> Any:
    if not isinstance(order, list | tuple):
        raise TypeError("NumPy takes one number for an order of one axis")
    return np.transpose(a, order)


def np_squeeze(a: np.ndarray, axis: Any) -> Any:
    return np.squeeze(a, as_axes(axis))


def np_pad(a: np.ndarray, widths: Any, mode: str) -> Any:
    if isinstance(widths, dict):
        raise TypeError("NumPy takes widths by axis")
    return np.pad(a, widths, mode=mode)


def np_take_along_axis(a: np.ndarray, indices: np.ndarray, axis: Any) -> Any:
    if axis is None:
        raise TypeError("NumPy flattens")
    return np.take_along_axis(a, indices, as_axes(axis))


def np_einsum(text: str, a: np.ndarray, b: np.ndarray) -> Any:
    return np.einsum(text, a, b)


TABLE: dict[str, Entry] = {
    "add": (tn.add, np.add, two),
    "multiply": (tn.multiply, np.multiply, two),
    "maximum": (tn.maximum, np.maximum, two),
    "equal": (tn.equal, np.equal, two),
    "where": (lambda a, b: tn.where(a > 1, a, b), lambda a, b: np.where(a > 1, a, b), two),
    "clip": (tn.clip, np.clip, lambda draw: (*two(draw), 3)),
    "matmul": (tn.matmul, np.matmul, product),
    "einsum": (tn.einsum, np_einsum, summed),
    "sum": (tn.sum, np_sum, reduced),
    "mean": (tn.mean, np_mean, reduced),
    "max": (tn.max, np_max, reduced),
    "argmax": (tn.argmax, np_argmax, reduced),
    "cumsum": (tn.cumsum, np.cumsum, lambda draw: (array(draw), draw(some))),
    "reshape": (tn.reshape, np_reshape, sized),
    "permute_dims": (tn.permute_dims, np_permute, ordered),
    "swapaxes": (tn.swapaxes, np.swapaxes, lambda draw: (array(draw), draw(some), draw(some))),
    "moveaxis": (tn.moveaxis, np.moveaxis, lambda draw: (array(draw), draw(integers), draw(integers))),
    "squeeze": (tn.squeeze, np_squeeze, lambda draw: (array(draw), draw(axes))),
    "expand_dims": (tn.expand_dims, np.expand_dims, lambda draw: (array(draw), draw(axes))),
    "broadcast_to": (
        tn.broadcast_to,
        np.broadcast_to,
        lambda draw: (a := array(draw), draw(st.one_of(st.just(like(draw, a.shape)), shapes, some))),
    ),
    "flip": (tn.flip, np.flip, lambda draw: (array(draw), draw(axes))),
    "roll": (tn.roll, np_roll, lambda draw: (array(draw), draw(some), draw(some))),
    "concat": (tn.concat, np_concat, joined),
    "stack": (tn.stack, np_stack, joined),
    "split": (tn.split, np_split, cut),
    "pad": (tn.pad, np_pad, padded),
    "getitem": (tn.getitem, lambda a, index: a[index], looked_up),
    "take_along_axis": (tn.take_along_axis, np_take_along_axis, along),
}
