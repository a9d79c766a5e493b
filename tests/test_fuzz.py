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
THEIRS = (ValueError, TypeError, IndexError, AttributeError, ZeroDivisionError)

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
    return (
        [as_tensors(v) for v in value]
        if isinstance(value, list) and any(isinstance(v, np.ndarray) for v in value)
        else value
    )


@pytest.mark.parametrize("name", TABLE)
@hypothesis.settings(max_examples=40)
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


# ---------------------------------------------------------------------- layers: the shape of the result

sizes = st.integers(-1, 3)
odd = st.one_of(sizes, st.tuples(sizes, sizes), nonsense.filter(lambda v: v is not None))


def pairs(draw: Draw, usual: int) -> Any:
    """Mostly the usual size, or two."""
    return draw(st.sampled_from([usual, (usual, usual + 1)]) if draw(st.integers(0, 5)) else odd)


def pair(value: Any, least: int) -> tuple[int, int]:
    """Two sizes, or a TypeError or ValueError."""
    two = tuple(value) if isinstance(value, list | tuple) else (value, value)
    if len(two) != 2 or any(type(n) is not int for n in two) or min(two) < least:
        raise ValueError(value)
    return two


def windows(size: tuple[int, int], kernel: Any, stride: Any, padding: Any, dilation: Any) -> tuple[int, int]:
    """How many windows stand on a plane, for rows and columns."""
    kernel, stride, padding, dilation = pair(kernel, 1), pair(stride, 1), pair(padding, 0), pair(dilation, 1)
    rooms = [n + 2 * p - d * (k - 1) - 1 for n, k, p, d in zip(size, kernel, padding, dilation)]
    if min(rooms) < 0:
        raise ValueError("a window is larger than the padded plane")
    return tuple(room // s + 1 for room, s in zip(rooms, stride))


def convolved(
    x: np.ndarray, weight: np.ndarray, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any
) -> tuple:
    if x.ndim not in (3, 4) or weight.ndim != 4 or type(groups) is not int or groups < 1 or weight.shape[0] % groups:
        raise ValueError("operands")
    if x.shape[-3] != weight.shape[1] * groups or (bias is not None and bias.shape != weight.shape[:1]):
        raise ValueError("channels")
    return (*x.shape[:-3], weight.shape[0], *windows(x.shape[-2:], weight.shape[2:], stride, padding, dilation))


def convolution(draw: Draw) -> tuple:
    x = array(draw, draw(st.sampled_from([(2, 2, 4, 5), (2, 4, 5), (0, 2, 4, 5), (1, 0, 4, 5), (4, 5), (1, 3, 4, 5)])))
    groups = draw(st.sampled_from([1, 2]) if draw(st.integers(0, 5)) else some)
    channels = 2 // groups if type(groups) is int and groups > 0 else 2
    weight = array(draw, like(draw, (4, channels, 2, 3)) if draw(st.booleans()) else (4, channels, 2, 3))
    bias = array(draw, like(draw, (4,))) if draw(st.booleans()) else None
    return x, weight, bias, pairs(draw, 1), pairs(draw, 0), pairs(draw, 1), groups


def pooled(x: np.ndarray, kernel: Any, stride: Any, padding: Any) -> tuple:
    if x.ndim not in (3, 4) or 0 in x.shape[-2:]:
        raise ValueError("operands")
    if any(2 * p > k for p, k in zip(pair(padding, 0), pair(kernel, 1))):
        raise ValueError("padding")
    stride = kernel if stride is None else stride
    return (*x.shape[:-2], *windows(x.shape[-2:], kernel, stride, padding, 1))


def pooling(draw: Draw) -> tuple:
    return array(draw, draw(st.sampled_from([(1, 2, 4, 5), (2, 4, 5), (0, 1, 3, 3), (2, 0, 3), (3, 3)]))), *(
        pairs(draw, n) for n in (2, 1, 0)
    )


def transformed(x: np.ndarray, weight: np.ndarray, bias: Any) -> tuple:
    if (
        x.ndim < 1
        or weight.ndim != 2
        or x.shape[-1] != weight.shape[1]
        or (bias is not None and bias.shape != weight.shape[:1])
    ):
        raise ValueError("operands")
    return (*x.shape[:-1], weight.shape[0])


def affine(draw: Draw) -> tuple:
    x = array(draw)
    bias = array(draw, like(draw, (2,))) if draw(st.booleans()) else None
    return x, array(draw, like(draw, (2, *x.shape[-1:]))), bias


def normalized(x: np.ndarray, sizes: Any) -> tuple:
    sizes = sizes if isinstance(sizes, list | tuple) else (sizes,)
    if not sizes or any(type(n) is not int for n in sizes) or x.shape[-len(sizes) :] != tuple(sizes):
        raise ValueError("sizes")
    return x.shape


def normalization(draw: Draw) -> tuple:
    x = array(draw)
    return x, draw(st.one_of(st.sampled_from([x.shape[i:] for i in range(x.ndim + 1)]), some))


def along_axis(x: np.ndarray, axis: Any) -> tuple:
    if type(axis) is not int or not -x.ndim <= axis < x.ndim:
        raise ValueError("axis")
    return x.shape


def looked_up_rows(indices: np.ndarray, weight: np.ndarray) -> tuple:
    if (
        weight.ndim != 2
        or indices.dtype.kind != "i"
        or (indices.size and not 0 <= indices.min() <= indices.max() < len(weight))
    ):
        raise ValueError("indices")
    return (*indices.shape, weight.shape[1])


def rows(draw: Draw) -> tuple:
    return array(draw), array(draw, draw(st.sampled_from([(5, 2), (4, 2), (0, 2), (5,)])))


def labelled(x: np.ndarray, labels: np.ndarray) -> tuple:
    if x.ndim == 0 or labels.shape != (x.shape[:1] + x.shape[2:] if x.ndim > 1 else ()):
        if x.ndim and labels.dtype.kind == "f" and labels.shape == x.shape:  # probabilities
            return ()
        raise ValueError("shapes")
    classes = x.shape[min(1, x.ndim - 1)]
    if labels.dtype.kind != "i" or (labels.size and not labels.max() < classes):
        raise ValueError("labels")
    return ()


def labels(draw: Draw) -> tuple:
    x = array(draw, draw(st.sampled_from([(3, 5), (5,), (2, 5, 2), (0, 5), (2, 3), (2, 0), (3, 5, 0), ()])))
    return x, array(draw, like(draw, x.shape[:1] + x.shape[2:] if x.ndim > 1 else ()))


def attended(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: Any) -> tuple:
    if min(q.ndim, k.ndim, v.ndim) < 2 or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ValueError("operands")
    leading = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    full = (*leading, q.shape[-2], k.shape[-2])
    if mask is not None and (mask.dtype.kind == "i" or np.broadcast_shapes(mask.shape, full) != full):
        raise ValueError("mask")
    return (*leading, q.shape[-2], v.shape[-1])


def attention(draw: Draw) -> tuple:
    q = array(draw)
    k = array(draw, like(draw, q.shape))
    mask = array(draw, like(draw, (*q.shape[:-1], *k.shape[-2:-1]))) if draw(st.booleans()) else None
    return q, k, array(draw, like(draw, k.shape)), mask


def same(a: np.ndarray, b: np.ndarray) -> tuple:
    if a.shape != b.shape or (a.dtype.kind == b.dtype.kind == "i"):
        raise ValueError("shapes")
    return ()


def written(a: np.ndarray, index: Any, values: np.ndarray) -> tuple:
    if a.dtype.kind == "i" and values.dtype.kind == "f":
        raise ValueError("fractions are not cut off")
    a = a.copy()
    a[index] = values
    return a.shape


def write(a: Tensor, index: Any, values: Tensor) -> Tensor:
    a = tn.clone(a)
    a[index] = values
    return a


LAYERS: dict[str, tuple[Callable, Callable, Callable[[Draw], tuple]]] = {
    "conv2d": (tn.conv2d, convolved, convolution),
    "max_pool2d": (tn.max_pool2d, pooled, pooling),
    "avg_pool2d": (tn.avg_pool2d, pooled, pooling),
    "linear": (tn.linear, transformed, affine),
    "layer_norm": (tn.layer_norm, normalized, normalization),
    "softmax": (tn.softmax, along_axis, lambda draw: (array(draw), draw(some))),
    "log_softmax": (tn.log_softmax, along_axis, lambda draw: (array(draw), draw(some))),
    "embedding": (tn.embedding, looked_up_rows, rows),
    "cross_entropy": (tn.cross_entropy, labelled, labels),
    "mse_loss": (tn.mse_loss, same, two),
    "scaled_dot_product_attention": (tn.scaled_dot_product_attention, attended, attention),
    "setitem": (write, written, lambda draw: (*looked_up(draw), array(draw))),
}


@pytest.mark.parametrize("name", LAYERS)
@hypothesis.settings(max_examples=40)
@hypothesis.given(data=st.data())
def test_shape_or_refused(name: str, data: st.DataObject):
    ours, shape_of, arguments = LAYERS[name]
    given = arguments(data.draw)
    wanted = outcome(shape_of, given, THEIRS)
    got = outcome(ours, tuple(map(as_tensors, given)), OURS)
    if isinstance(got, Exception):
        assert isinstance(wanted, Exception), f"{name}{given} is refused ({got}), expected shape {wanted}"
        assert str(got).startswith(f"{name}: "), str(got)
    else:
        assert type(got) is Tensor
        assert got.shape == wanted, f"{name}{given} gives shape {got.shape}, expected {wanted}"
