"""Convolution and pooling in one to three dimensions, against loops over the windows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_notes as tn
from tests.fuzz.draw import Draw, Entry, array, like, mostly, nonsense

size = st.integers(-1, 3)
odd = st.one_of(size, st.tuples(size, size), st.tuples(size), nonsense.filter(lambda v: v is not None))


def sizes(value: Any, axes: int, least: int) -> tuple[int, ...]:
    """A size for each axis."""
    given = tuple(value) if isinstance(value, list | tuple) else (value,) * axes
    if len(given) != axes or any(type(n) is not int for n in given) or min(given) < least:
        raise ValueError(value)
    return given


def truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def is_operand(x: np.ndarray, axes: int, empty: bool = False) -> None:
    if x.ndim not in (axes + 1, axes + 2) or (0 in x.shape[-axes:] and not empty):
        raise ValueError(x.shape)


def drawn_size(draw: Draw, axes: int, usual: int) -> Any:
    each = draw(st.sampled_from([usual, (usual,) * axes, (usual + 1, *(usual,) * (axes - 1))]))
    return mostly(draw, each, odd)


def operand(draw: Draw, axes: int, channels: int) -> np.ndarray:
    space = tuple(draw(st.integers(2, 5 if axes < 3 else 3)) for _ in range(axes))
    shape = draw(st.sampled_from([(2, channels, *space), (channels, *space), (0, channels, *space), space]))
    return array(draw, mostly(draw, shape, st.just(like(draw, shape))))


# ---------------------------------------------------------------------- convolution


def np_conv(axes: int) -> Callable[..., Any]:
    def reference(x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
        is_operand(x, axes, empty=True)
        if padding == "valid":
            padding = 0
        step, dilated = sizes(stride, axes, 1), sizes(dilation, axes, 1)
        if type(groups) is not int or groups < 1 or weight.ndim != axes + 2 or weight.shape[0] % groups:
            raise ValueError(groups)
        if 0 in weight.shape[2:] or x.shape[-axes - 1] != weight.shape[1] * groups:
            raise ValueError(weight.shape)
        if bias is not None and bias.shape != weight.shape[:1]:
            raise ValueError(bias.shape)
        spans = [d * (k - 1) + 1 for d, k in zip(dilated, weight.shape[2:])]
        if padding == "same":
            if set(step) != {1}:
                raise ValueError(stride)
            ends = [((s - 1) // 2, s // 2) for s in spans]
        else:
            ends = [(p, p) for p in sizes(padding, axes, 0)]
        images = x if x.ndim == axes + 2 else x[None]
        padded = np.pad(images.astype(np.float64), [(0, 0), (0, 0), *ends])
        places = [range(0, n - s + 1, t) for n, s, t in zip(padded.shape[2:], spans, step)]
        if any(n < s for n, s in zip(padded.shape[2:], spans)):
            raise ValueError("too large")
        outputs = weight.shape[0] // groups
        value = np.zeros((len(images), weight.shape[0], *map(len, places)))
        for group, place in itertools.product(range(groups), itertools.product(*map(enumerate, places))):
            window = (slice(at, at + s, d) for (_, at), s, d in zip(place, spans, dilated))
            seen = padded[(slice(None), slice(group * weight.shape[1], (group + 1) * weight.shape[1]), *window)]
            chosen = slice(group * outputs, (group + 1) * outputs)
            flat = seen.reshape(len(images), math.prod(weight.shape[1:])) @ (
                weight[chosen].astype(np.float64).reshape(outputs, math.prod(weight.shape[1:])).T
            )
            to: Any = (slice(None), chosen, *(i for i, _ in place))
            value[to] = flat
        if bias is not None:
            value += bias.reshape(-1, *(1,) * axes)
        return value if x.ndim == axes + 2 else value[0]

    return reference


def np_conv_transpose(axes: int) -> Callable[..., Any]:
    def reference(x: Any, weight: Any, bias: Any, stride: Any, padding: Any, more: Any, groups: Any, by: Any) -> Any:
        is_operand(x, axes, empty=True)
        step, pads, extra = sizes(stride, axes, 1), sizes(padding, axes, 0), sizes(more, axes, 0)
        dilated = sizes(by, axes, 1)
        if type(groups) is not int or groups < 1 or weight.ndim != axes + 2 or x.shape[-axes - 1] % groups:
            raise ValueError(groups)
        if 0 in weight.shape[2:] or x.shape[-axes - 1] != weight.shape[0] or 0 in x.shape[-axes:]:
            raise ValueError(weight.shape)
        outputs = weight.shape[1] * groups
        if bias is not None and bias.shape != (outputs,):
            raise ValueError(bias.shape)
        if any(e >= max(s, d) or e >= s for e, s, d in zip(extra, step, dilated)):
            raise ValueError(more)
        images = (x if x.ndim == axes + 2 else x[None]).astype(np.float64)
        spans = [d * (k - 1) + 1 for d, k in zip(dilated, weight.shape[2:])]
        room = [(n - 1) * s + span + e for n, s, span, e in zip(images.shape[2:], step, spans, extra)]
        if any(r - 2 * p < 1 for r, p in zip(room, pads)):
            raise ValueError(padding)
        value = np.zeros((len(images), outputs, *room))
        inputs = weight.shape[0] // groups
        for group, place in itertools.product(range(groups), np.ndindex(*images.shape[2:])):
            chosen = slice(group * inputs, (group + 1) * inputs)
            spread = np.tensordot(images[(slice(None), chosen, *place)], weight[chosen].astype(np.float64), 1)
            window = (slice(i * s, i * s + span, d) for i, s, span, d in zip(place, step, spans, dilated))
            value[(slice(None), slice(group * weight.shape[1], (group + 1) * weight.shape[1]), *window)] += spread
        value = value[(slice(None), slice(None), *(slice(p, r - p) for p, r in zip(pads, room)))]
        if bias is not None:
            value = value + bias.reshape(-1, *(1,) * axes)
        return value if x.ndim == axes + 2 else value[0]

    return reference


def convolution(axes: int, transposed: bool) -> Callable[[Draw], tuple]:
    def arguments(draw: Draw) -> tuple:
        groups = mostly(draw, st.sampled_from([1, 2]), odd)
        channels = 2
        per = channels // groups if type(groups) is int and groups > 0 else channels
        shape = (4, per) if not transposed else (channels, 2)
        kernel = tuple(draw(st.integers(1, 3 if axes < 3 else 2)) for _ in range(axes))
        weight = array(draw, mostly(draw, (*shape, *kernel), st.just(like(draw, (*shape, *kernel)))))
        outputs = shape[0] if not transposed else shape[1] * (groups if type(groups) is int and groups > 0 else 1)
        bias = array(draw, like(draw, (outputs,))) if draw(st.integers(0, 3)) == 0 else None
        x, step, pads = operand(draw, axes, channels), drawn_size(draw, axes, 1), drawn_size(draw, axes, 0)
        if transposed:
            return x, weight, bias, step, pads, drawn_size(draw, axes, 0), groups, drawn_size(draw, axes, 1)
        pads = mostly(draw, pads, st.sampled_from(["same", "valid", "full"]))
        return x, weight, bias, step, pads, drawn_size(draw, axes, 1), groups

    return arguments


# ---------------------------------------------------------------------- pooling


def pooled(
    x: np.ndarray, axes: int, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: Any
) -> Iterator[tuple[tuple[int, ...], list[range]]]:
    """The shape of the windows first, then for each window its place and the elements that it spans, padding too."""
    is_operand(x, axes)
    kernel, pads, dilated = sizes(kernel, axes, 1), sizes(padding, axes, 0), sizes(dilation, axes, 1)
    step = kernel if stride is None else sizes(stride, axes, 1)
    truth(ceil)
    if any(2 * p > k for p, k in zip(pads, kernel)):
        raise ValueError(padding)
    starts = []
    for n, k, s, p, d in zip(x.shape[-axes:], kernel, step, pads, dilated):
        room = n + 2 * p - d * (k - 1) - 1
        number = (-(-room // s) if ceil else room // s) + 1
        if number < 1:
            raise ValueError("too large")
        if ceil and (number - 1) * s >= n + p:  # a last window must begin inside
            number -= 1
        starts.append([i * s - p for i in range(number)])
    yield tuple(map(len, starts)), []
    for place in itertools.product(*map(enumerate, starts)):
        spans = [range(at, at + d * (k - 1) + 1, d) for (_, at), k, d in zip(place, kernel, dilated)]
        yield tuple(i for i, _ in place), spans


def inside(spans: list[range], x: np.ndarray) -> tuple[np.ndarray, ...]:
    return np.ix_(*([i for i in span if 0 <= i < n] for span, n in zip(spans, x.shape[-len(spans) :])))


def np_max_pool(axes: int) -> Callable[..., Any]:
    def reference(x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: Any, indices: Any) -> Any:
        windows = pooled(x, axes, kernel, stride, padding, dilation, ceil)
        shape, _ = next(windows)
        truth(indices)
        flat = x.reshape(-1, *x.shape[-axes:]).astype(np.float64)
        value, where = np.zeros((len(flat), *shape)), np.zeros((len(flat), *shape), np.int64)
        numbers = np.arange(math.prod(x.shape[-axes:])).reshape(x.shape[-axes:])
        for place, spans in windows:
            seen = inside(spans, x)
            if not all(a.size for a in seen):
                raise ValueError("sees padding alone")
            for i, plane in enumerate(flat):
                value[(i, *place)] = plane[seen].max()
                where[(i, *place)] = numbers[seen].reshape(-1)[plane[seen].argmax()]
        value, where = (a.reshape(*x.shape[:-axes], *shape) for a in (value, where))
        return (value, where) if indices else value

    return reference


def np_avg_pool(axes: int) -> Callable[..., Any]:
    def reference(x: Any, kernel: Any, stride: Any, padding: Any, ceil: Any, count_padding: Any) -> Any:
        windows = pooled(x, axes, kernel, stride, padding, 1, ceil)
        shape, _ = next(windows)
        pads = sizes(padding, axes, 0)
        value = np.zeros((*x.shape[:-axes], *shape))
        for place, spans in windows:
            seen = x[(..., *inside(spans, x))].astype(np.float64)
            full = math.prod(
                len([i for i in span if -p <= i < n + p]) for span, n, p in zip(spans, x.shape[-axes:], pads)
            )
            count = full if truth(count_padding) else math.prod(seen.shape[-axes:])
            to: Any = (..., *place)
            value[to] = seen.sum(tuple(range(-axes, 0))) / count
        truth(count_padding)
        return value

    return reference


def np_adaptive(axes: int, largest: bool) -> Callable[..., Any]:
    def reference(x: Any, output: Any) -> Any:
        is_operand(x, axes)
        given = tuple(output) if isinstance(output, list | tuple) else (output,) * axes
        shape = [n if k is None else k for n, k in zip(x.shape[-axes:], given)]
        sizes(tuple(shape), axes, 1)
        if len(given) != axes:
            raise ValueError(output)
        value = np.zeros((*x.shape[:-axes], *shape))
        for place in np.ndindex(*shape):
            part = x[
                (..., *(slice(i * n // k, -(-(i + 1) * n // k)) for i, n, k in zip(place, x.shape[-axes:], shape)))
            ]
            reduce = np.max if largest else np.mean
            value[(..., *place)] = reduce(part.astype(np.float64), tuple(range(-axes, 0)))
        return value

    return reference


def window(axes: int, draw: Draw) -> tuple:
    stride = mostly(draw, st.sampled_from([None, 1, 2]), odd)
    return operand(draw, axes, 2), drawn_size(draw, axes, 2), stride, drawn_size(draw, axes, draw(st.integers(0, 1)))


def yes_or_no(draw: Draw) -> Any:
    return mostly(draw, st.booleans(), st.sampled_from(["no", None, 1]))


def max_pooling(axes: int) -> Callable[[Draw], tuple]:
    return lambda draw: (*window(axes, draw), drawn_size(draw, axes, 1), yes_or_no(draw), yes_or_no(draw))


def avg_pooling(axes: int) -> Callable[[Draw], tuple]:
    return lambda draw: (*window(axes, draw), yes_or_no(draw), yes_or_no(draw))


def adaptive(axes: int) -> Callable[[Draw], tuple]:
    return lambda draw: (operand(draw, axes, 2), mostly(draw, st.sampled_from([1, 3, (2,) * axes, None]), odd))


WINDOWS: dict[str, Entry] = {}
for n in (1, 2, 3):
    WINDOWS |= {
        f"conv{n}d": (getattr(tn, f"conv{n}d"), np_conv(n), convolution(n, False)),
        f"conv_transpose{n}d": (getattr(tn, f"conv_transpose{n}d"), np_conv_transpose(n), convolution(n, True)),
        f"max_pool{n}d": (getattr(tn, f"max_pool{n}d"), np_max_pool(n), max_pooling(n)),
        f"avg_pool{n}d": (getattr(tn, f"avg_pool{n}d"), np_avg_pool(n), avg_pooling(n)),
        f"adaptive_avg_pool{n}d": (getattr(tn, f"adaptive_avg_pool{n}d"), np_adaptive(n, False), adaptive(n)),
        f"adaptive_max_pool{n}d": (getattr(tn, f"adaptive_max_pool{n}d"), np_adaptive(n, True), adaptive(n)),
    }
