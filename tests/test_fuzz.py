"""Random shapes, axes and arguments: every call gives NumPy's result, or one of our errors where NumPy has none."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import tinygrad_notes as tn
from tinygrad_notes import Tensor

OURS = (tn.ShapeError, tn.DTypeError, tn.GradientError, tn.DeviceError, IndexError)
THEIRS = (ValueError, TypeError, IndexError, AttributeError)

Draw = Callable[[st.SearchStrategy], Any]

# ---------------------------------------------------------------------- what is drawn

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


def reduced(draw: Draw) -> tuple:
    return array(draw), draw(axes), draw(st.sampled_from([False, True, "yes"]))


def two(draw: Draw) -> tuple:
    a = array(draw)
    return a, array(draw, like(draw, a.shape))


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
    return array(draw), draw(st.one_of(some, st.lists(integers, max_size=3))), draw(some)


def padded(draw: Draw) -> tuple:
    mode = draw(st.sampled_from(["constant", "edge", "reflect", "symmetric", "wrap", "wild"]))
    width = st.integers(-1, 3)
    return array(draw), draw(st.one_of(width, st.tuples(width, width), st.lists(st.tuples(width, width)), nonsense)), mode


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
    a = array(draw)
    shape = like(draw, a.shape)
    return a, np.array(draw(st.lists(integers, min_size=math.prod(shape), max_size=math.prod(shape))), np.int64).reshape(shape), draw(some)


def summed(draw: Draw) -> tuple:
    a = array(draw)
    letters = st.text("ijk", max_size=3)
    return f"{draw(letters)},{draw(letters)}->{draw(letters)}", a, array(draw, like(draw, a.shape))


# ---------------------------------------------------------------------- what NumPy says


def np_sum(a: np.ndarray, axis: Any, keepdims: Any) -> Any:
    return np.sum(a, axis=axis, keepdims=keepdims, dtype=np.int64 if a.dtype.kind == "i" else None)


def np_mean(a: np.ndarray, axis: Any, keepdims: Any) -> Any:
    total = np_sum(a, axis, keepdims)
    with np.errstate(all="ignore"):
        count = a.size // total.size if total.size else 1
        return total / count if count else total * np.nan


def np_argmax(a: np.ndarray, axis: Any, keepdims: Any) -> Any:
    return np.argmax(a, axis=axis, keepdims=keepdims)


def np_max(a: np.ndarray, axis: Any, keepdims: Any) -> Any:
    return np.max(a, axis=axis, keepdims=keepdims)


def np_reshape(a: np.ndarray, shape: Any) -> Any:
    if any(n < -1 for n in (shape if isinstance(shape, tuple) else (shape,))):
        raise ValueError("NumPy takes any negative size for -1")
    return a.reshape(shape)


def np_split(a: np.ndarray, cuts: Any, axis: Any) -> Any:
    if isinstance(cuts, bool) or isinstance(axis, bool) or axis is None:
        raise TypeError("NumPy takes True for 1, and its own axis for None")
    return np.split(a, cuts, axis)


def np_roll(a: np.ndarray, shift: Any, axis: Any) -> Any:
    if not isinstance(shift, int):
        raise TypeError("NumPy cuts off the fraction of a shift")
    return np.roll(a, shift, axis)


def np_pad(a: np.ndarray, widths: Any, mode: str) -> Any:
    return np.pad(a, widths, mode=mode)


def np_einsum(text: str, a: np.ndarray, b: np.ndarray) -> Any:
    return np.einsum(text, a, b)


TABLE: dict[str, tuple[Callable, Callable, Callable[[Draw], tuple]]] = {
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
    "permute_dims": (tn.permute_dims, np.transpose, lambda draw: (array(draw), draw(axes.filter(lambda v: v is not None)))),
    "swapaxes": (tn.swapaxes, np.swapaxes, lambda draw: (array(draw), draw(some), draw(some))),
    "moveaxis": (tn.moveaxis, np.moveaxis, lambda draw: (array(draw), draw(integers), draw(integers))),
    "squeeze": (tn.squeeze, np.squeeze, lambda draw: (array(draw), draw(axes))),
    "expand_dims": (tn.expand_dims, np.expand_dims, lambda draw: (array(draw), draw(axes))),
    "broadcast_to": (tn.broadcast_to, np.broadcast_to, lambda draw: (a := array(draw), draw(st.one_of(st.just(like(draw, a.shape)), shapes, some)))),
    "flip": (tn.flip, np.flip, lambda draw: (array(draw), draw(axes))),
    "roll": (tn.roll, np_roll, lambda draw: (array(draw), draw(some), draw(some))),
    "concat": (tn.concat, np.concatenate, joined),
    "stack": (tn.stack, np.stack, joined),
    "split": (tn.split, np_split, cut),
    "pad": (tn.pad, np_pad, padded),
    "getitem": (tn.getitem, lambda a, index: a[index], looked_up),
    "take_along_axis": (tn.take_along_axis, np.take_along_axis, along),
}


def outcome(call: Callable, arguments: tuple, errors: tuple[type[Exception], ...]) -> Any:
    """The result, or the error where it is one of ``errors``."""
    try:
        return call(*arguments)
    except errors as error:
        return error


def compare(got: Any, wanted: Any) -> None:
    if isinstance(got, list | tuple):
        assert len(got) == len(wanted)
        for g, w in zip(got, wanted):
            compare(g, w)
        return
    assert type(got) is Tensor, f"{type(got).__name__} instead of a Tensor"
    wanted = np.asarray(wanted)
    assert got.shape == wanted.shape
    assert got.dtype.kind == wanted.dtype.kind or got.dtype == tn.float32
    np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-6)


def as_tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return tn.asarray(value)
    return [as_tensors(v) for v in value] if isinstance(value, list) and any(isinstance(v, np.ndarray) for v in value) else value


@pytest.mark.parametrize("name", TABLE)
@hypothesis.settings(max_examples=60)
@hypothesis.given(data=st.data())
def test_as_numpy_or_refused(name: str, data: st.DataObject):
    ours, theirs, arguments = TABLE[name]
    given = arguments(data.draw)
    wanted = outcome(theirs, given, THEIRS)
    got = outcome(ours, tuple(map(as_tensors, given)), OURS)
    if isinstance(got, Exception):
        assert isinstance(wanted, Exception), f"{name}{given} is refused ({got}), NumPy gives {wanted!r}"
        assert str(got).startswith(f"{name}: "), str(got)
    else:
        assert not isinstance(wanted, Exception), f"{name}{given} gives {got!r}, NumPy refuses ({wanted})"
        compare(got, wanted)
