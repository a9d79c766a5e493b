"""Planes in other sizes, samples of planes, regions, and what is drawn at random."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import tinygrad_notes as tn
from tests.fuzz.draw import Draw, Entry, array, like, mostly, nonsense, shapes, some
from tests.fuzz.windows import sizes, truth


def whole(value: Any, least: int = 1) -> int:
    if type(value) is not int:
        raise TypeError(value)
    if value < least:
        raise ValueError(value)
    return value


def planes(draw: Draw) -> np.ndarray:
    shape = draw(st.sampled_from([(1, 2, 3, 4), (2, 1, 4, 2), (1, 4, 2, 2), (0, 4, 2, 2), (1, 1, 1, 1), (1, 9, 3, 3)]))
    return array(draw, mostly(draw, shape, st.just(like(draw, shape))))


def flat_or_plane(draw: Draw) -> np.ndarray:
    x = planes(draw)
    return x if x.ndim == 4 else x.reshape(-1)


# ---------------------------------------------------------------------- pixels and channels


def np_pixel_shuffle(x: Any, r: Any) -> Any:
    whole(r)
    if x.ndim < 3 or x.shape[-3] % (r * r):
        raise ValueError(x.shape)
    *leading, c, h, w = x.shape
    value = np.zeros((*leading, c // (r * r), h * r, w * r), x.dtype)
    for i, j in itertools.product(range(r), range(r)):
        value[..., i::r, j::r] = x[..., i * r + j :: r * r, :, :]
    return value


def np_pixel_unshuffle(x: Any, r: Any) -> Any:
    whole(r)
    if x.ndim < 3 or x.shape[-2] % r or x.shape[-1] % r:
        raise ValueError(x.shape)
    *leading, c, h, w = x.shape
    value = np.zeros((*leading, c * r * r, h // r, w // r), x.dtype)
    for i, j in itertools.product(range(r), range(r)):
        value[..., i * r + j :: r * r, :, :] = x[..., i::r, j::r]
    return value


def np_channel_shuffle(x: Any, groups: Any) -> Any:
    whole(groups)
    if x.ndim < 3 or x.shape[1] % groups:
        raise ValueError(x.shape)
    order = [c for i in range(x.shape[1] // groups) for c in range(i, x.shape[1], x.shape[1] // groups)]
    return x[:, order]


# ---------------------------------------------------------------------- interpolation


def triangle(distance: float) -> float:
    return max(0.0, 1 - abs(distance))


def np_interpolate(x: Any, size: Any, mode: Any, corners: Any) -> Any:
    if mode not in ("nearest", "bilinear", "area") or x.ndim != 4 or 0 in x.shape[2:]:
        raise ValueError(mode)
    height, width = sizes(size, 2, 1)
    if corners is not None and (truth(corners) or True) and mode != "bilinear":
        raise ValueError(corners)
    tables = []
    for n, m in zip(x.shape[2:], (height, width)):
        table = np.zeros((m, n))
        for i in range(m):
            if mode == "nearest":
                table[i, i * n // m] = 1
            elif mode == "area":
                low, high = i * n // m, -(-(i + 1) * n // m)
                table[i, low:high] = 1 / (high - low)
            else:
                place = i * (n - 1) / max(m - 1, 1) if corners else (i + 0.5) * n / m - 0.5
                place = min(max(place, 0), n - 1)
                table[i] = [triangle(place - j) for j in range(n)]
        tables.append(table)
    value = np.einsum("ih,jw,nchw->ncij", *tables, x.astype(np.float64))
    return value.astype(x.dtype) if mode == "nearest" else value


def np_grid_sample(x: Any, grid: Any, mode: Any, outside: Any, corners: Any) -> Any:
    if mode not in ("bilinear", "nearest") or outside not in ("zeros", "border"):
        raise ValueError(mode)
    truth(corners)
    if x.ndim != 4 or 0 in x.shape[2:] or grid.ndim != 4 or grid.shape[3] != 2 or grid.shape[0] != x.shape[0]:
        raise ValueError(grid.shape)
    value = np.zeros((*x.shape[:2], *grid.shape[1:3]))
    for n, i, j in np.ndindex(*grid.shape[:3]):
        place = []
        for coordinate, length in zip(grid[n, i, j, ::-1], x.shape[2:]):
            where = (coordinate + 1) / 2 * (length - 1) if corners else ((coordinate + 1) * length - 1) / 2
            place.append(float(np.clip(where, 0, length - 1)) if outside == "border" else float(where))
        for h, w in np.ndindex(*x.shape[2:]):
            if mode == "nearest":
                share = float((round(place[0]), round(place[1])) == (h, w))
            else:
                share = triangle(place[0] - h) * triangle(place[1] - w)
            value[n, :, i, j] += share * x[n, :, h, w]
    return value


def sampled(draw: Draw) -> tuple:
    x = planes(draw)
    shape = (x.shape[0] if x.ndim else 1, 2, 2, 2)
    grid = array(draw, mostly(draw, shape, st.just(like(draw, shape)))) * 0.61 - 1.1
    modes = mostly(draw, st.sampled_from(["bilinear", "nearest"]), nonsense)
    return x, grid, modes, mostly(draw, st.sampled_from(["zeros", "border"]), nonsense), mostly(
        draw, st.booleans(), nonsense)  # fmt: skip


# ---------------------------------------------------------------------- boxes


def boxes(draw: Draw, n: int) -> np.ndarray:
    """(n, 4), most of them with corners in order."""
    drawn = draw(st.lists(st.integers(0, 8), min_size=4 * n, max_size=4 * n))
    corners = np.array(drawn, np.float64).reshape(n, 4) / 2
    corners[:, 2:] = corners[:, :2] + corners[:, 2:]
    return mostly(draw, st.just(corners), st.just(corners[:, :3]))


def np_box_iou(a: Any, b: Any) -> Any:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != 4 or b.shape[1] != 4:
        raise ValueError(a.shape)
    value = np.zeros((len(a), len(b)))
    for (i, p), (j, q) in itertools.product(enumerate(a), enumerate(b)):
        both = max(min(p[2], q[2]) - max(p[0], q[0]), 0) * max(min(p[3], q[3]) - max(p[1], q[1]), 0)
        area = (p[2] - p[0]) * (p[3] - p[1]) + (q[2] - q[0]) * (q[3] - q[1]) - both
        value[i, j] = both / area if area else 0.0
    return value


def np_nms(given: Any, scores: Any, threshold: Any) -> Any:
    if isinstance(threshold, bool) or not isinstance(threshold, int | float):
        raise TypeError(threshold)
    if scores.shape != given.shape[:1]:
        raise ValueError(scores.shape)
    overlap, kept = np_box_iou(given, given), []
    for i in np.argsort(-scores, kind="stable").tolist():
        if not any(overlap[i, j] > threshold for j in kept):
            kept.append(i)
    return np.array(kept, np.int64)


def suppressed(draw: Draw) -> tuple:
    n = draw(st.integers(0, 4))
    return (
        boxes(draw, n),
        array(draw, mostly(draw, (n,), shapes)),
        draw(st.sampled_from([0.5, 0.0, 0.25, 1, "a", True])),
    )


# ---------------------------------------------------------------------- made and drawn at random


def np_full(shape: Any, value: Any) -> Any:
    shape = shape if isinstance(shape, tuple | list) else (shape,)
    for n in shape:
        whole(n, 0)
    if isinstance(value, str | tuple | list | dict | type) or value is None:
        raise TypeError(value)
    return np.full(shape, value, np.float32 if isinstance(value, float) else None)


def np_eye(n: Any, m: Any, k: Any) -> Any:
    return np.eye(whole(n, 0), m if m is None else whole(m, 0), k if type(k) is int else whole("a"), np.float32)


def np_arange(start: Any, stop: Any, step: Any) -> Any:
    for value in (start, stop, step):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(value)
        if not math.isfinite(value):
            raise ValueError(value)
    value = np.arange(start, stop, step)
    return value.astype(np.float32) if value.dtype.kind == "f" else value


def sized(shape: Any) -> tuple[int, ...]:
    return tuple(whole(n, 0) for n in (shape if isinstance(shape, tuple | list) else (shape,)))


def within(t: Any, low: Any, high: Any) -> Any:
    """1.0 where an element lies in [low, high], so that the reference is all ones of the right shape."""
    return tn.astype(tn.logical_and(t >= low, t <= high), tn.float32)


def ones_if(valid: Callable[..., bool]) -> Callable[..., Any]:
    def reference(*arguments: Any) -> Any:
        *options, shape = arguments
        shape = sized(shape)
        if not valid(*options):
            raise ValueError(options)
        return np.ones(shape, np.float32)

    return reference


def finite_pair(low: Any, high: Any) -> bool:
    for value in (low, high):
        if not isinstance(value, int | float):
            raise TypeError(value)
    return math.isfinite(low) and math.isfinite(high) and low <= high


def np_permutation(n: Any) -> Any:
    return np.arange(whole(n, 0))


def np_multinomial(p: Any, number: Any) -> Any:
    """Without replacement, all drawn at once: every index with a weight, in some order."""
    if p.ndim != 1 or p.dtype.kind not in "fi" or whole(number, 0) > (p > 0).sum():
        raise ValueError(p.shape)
    return np.ones(number, np.float32)


def drawn_apart(p: Any, number: Any) -> Any:
    """1 for each index drawn that has a weight and came once."""
    got = tn.multinomial(p, number)
    chosen = got.numpy()
    right = (p.numpy()[chosen] > 0) & (np.unique(chosen).size == chosen.size)
    return tn.tensor(right.astype(np.float32))


shape_like = st.one_of(shapes, st.integers(-2, 4), st.sampled_from(["a", 1.5, (2, -1), (1.5,), None, [2, 3]]))
bounds = st.sampled_from([0, 1, 2.5, -1, -3, math.inf, math.nan, "a", None, True])

RESAMPLING: dict[str, Entry] = {
    "pixel_shuffle": (tn.pixel_shuffle, np_pixel_shuffle, lambda draw: (planes(draw), draw(some))),
    "pixel_unshuffle": (tn.pixel_unshuffle, np_pixel_unshuffle, lambda draw: (planes(draw), draw(some))),
    "channel_shuffle": (tn.channel_shuffle, np_channel_shuffle, lambda draw: (planes(draw), draw(some))),
    "interpolate": (
        lambda x, size, mode, corners: tn.interpolate(x, size, mode=mode, align_corners=corners),
        np_interpolate,
        lambda draw: (flat_or_plane(draw),
                      mostly(draw, st.integers(1, 6), st.sampled_from([0, 1.5, "a", (2, 3), (1, 2, 3)])),
                      mostly(draw, st.sampled_from(["nearest", "bilinear", "area"]), nonsense),
                      draw(st.sampled_from([None, None, True, False, "no"])))),
    "grid_sample": (tn.grid_sample, np_grid_sample, sampled),
    "box_iou": (tn.box_iou, np_box_iou, lambda draw: (boxes(draw, draw(st.integers(0, 3))), boxes(draw, 2))),
    "nms": (tn.nms, np_nms, suppressed),
    "full": (tn.full, np_full, lambda draw: (draw(shape_like), draw(st.sampled_from([1, 2.5, -1, "a", None, (1, 2)])))),
    "eye": (tn.eye, np_eye, lambda draw: (draw(some), draw(st.one_of(st.none(), some)), draw(some))),
    "arange": (tn.arange, np_arange, lambda draw: (draw(bounds.filter(lambda v: v is not None)),
                                                   draw(bounds.filter(lambda v: v is not None)), draw(bounds))),
    "uniform": (lambda low, high, shape: within(tn.uniform(low, high, shape), low, high), ones_if(finite_pair),
                lambda draw: (draw(bounds), draw(bounds), draw(shape_like.filter(lambda v: v is not None)))),
    "randint": (lambda low, high, shape: within(tn.randint(low, high, shape), low, high - 1),
                ones_if(lambda low, high: whole(low, -10) < whole(high, -10)),
                lambda draw: (*(mostly(draw, st.integers(-3, 3), nonsense.filter(lambda v: v is not None))
                                for _ in range(2)), draw(shape_like))),
    "rand": (lambda shape: within(tn.rand(shape), 0, 1), ones_if(lambda: True), lambda draw: (draw(shape_like),)),
    "randn": (lambda shape: within(tn.randn(shape), -10, 10), ones_if(lambda: True), lambda draw: (draw(shape_like),)),
    "permutation": (lambda n: tn.sort(tn.permutation(n)), np_permutation,
                    lambda draw: (mostly(draw, st.integers(-2, 6), st.sampled_from(["a", 1.5, None, True])),)),
    "multinomial": (drawn_apart, np_multinomial, lambda draw: (array(draw, (draw(st.integers(0, 4)),)), draw(some))),
}  # fmt: skip
