"""Interpolation: sequences, planes and volumes in other sizes.

It is separable and linear: one table of weights for each axis, applied to the axes in turn.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tinygrad_notes.errors import ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.ops.arguments import at_least, count, flag, one_of
from tinygrad_notes.ops.arithmetic import floating_operand
from tinygrad_notes.ops.shape import operand
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import float32

# Number of spatial axes of the modes that have one.
LINEAR = ("linear", "bilinear", "trilinear")
AXES = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}
MODES = ("nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear", "area")


class Taps(NamedTuple):
    """A sparse matrix of ``size`` rows: in each round a row has one entry at most.

    A round is (rows, columns, weights): None for all rows in order, None for weights that are all 1.
    """

    size: int
    rounds: tuple[tuple[np.ndarray | None, np.ndarray, np.ndarray | None], ...]


def _taps(size, rows, columns, weights):
    """The matrix whose entries are listed, several for a row."""
    order = np.argsort(rows, kind="stable")
    rows, columns, weights = rows[order], columns[order], weights[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)  # the how-manieth entry of its row
    rounds = []
    for i in range(int(rank.max(initial=-1)) + 1):
        chosen = rank == i
        to, weight = rows[chosen], weights[chosen]
        rounds.append((None if len(to) == size else to, columns[chosen], None if (weight == 1).all() else weight))
    return Taps(size, tuple(rounds))


@op
def resample_(x: Array, matrices, axis):
    """A sparse matrix applied along one axis: ``matrices`` is a pair of :class:`Taps`, itself and its transpose."""
    return _applied(x, matrices[0], axis), lambda g: resample_(g, matrices[::-1], axis)


def _applied(x, taps, axis):
    before, after = (slice(None),) * axis, (1,) * (x.ndim - axis - 1)
    value = None
    for rows, columns, weights in taps.rounds:
        part = np.take(x, np.asarray(columns, like=x), axis)
        if weights is not None:
            part *= np.asarray(weights, x.dtype, like=x).reshape(-1, *after)
        if rows is None:
            value = part if value is None else value + part
        else:
            if value is None:
                value = np.zeros_like(x, shape=(*x.shape[:axis], taps.size, *x.shape[axis + 1 :]))
            value[(*before, np.asarray(rows, like=x))] += part
    return value


# ---------------------------------------------------------------------- the tables


@lru_cache(maxsize=256)
def _matrices(kind, n, size, factor, align_corners, antialias):
    """The matrix (size, n) of an interpolation along one axis, and its transpose.

    ``factor`` is the scale that was asked for, or None where the sizes alone give it.
    """
    ratio = n / size if factor is None else 1 / factor
    if align_corners:
        ratio = (n - 1) / (size - 1) if size > 1 else 0.0
    if kind == "area":
        columns, weights = _windows(n, size)
    elif kind.startswith("nearest"):
        columns, weights = _nearest(n, size, ratio, kind == "nearest-exact")
    elif antialias:
        columns, weights = _smoothed(n, size, ratio, kind == "bicubic")
    elif kind == "bicubic":
        columns, weights = _cubic(n, size, ratio, align_corners)
    else:
        columns, weights = _linear(n, size, ratio, align_corners)
    rows = np.repeat(np.arange(size), [len(line) for line in columns])
    columns, weights = np.concatenate(columns), np.concatenate(weights)
    return _taps(size, rows, columns, weights), _taps(n, columns, rows, weights)


def _nearest(n, size, ratio, exact):
    # float32, as PyTorch does it: where a position falls on a border, rounding decides, and the elements are the same
    position = (np.arange(size, dtype=float32) + float32.type(0.5 if exact else 0)) * float32.type(ratio)
    return np.minimum(np.floor(position).astype(np.int64), n - 1)[:, None], np.ones((size, 1))


def _linear(n, size, ratio, align_corners):
    i = np.arange(size)
    position = i * ratio if align_corners else np.maximum((i + 0.5) * ratio - 0.5, 0)
    low = np.minimum(np.floor(position).astype(np.int64), n - 1)
    share = np.clip(position - low, 0, 1)
    return np.stack([low, np.minimum(low + 1, n - 1)], 1), np.stack([1 - share, share], 1)


def _cubic(n, size, ratio, align_corners):
    i = np.arange(size)
    position = i * ratio if align_corners else (i + 0.5) * ratio - 0.5
    low = np.floor(position).astype(np.int64)
    taps = low[:, None] + np.arange(-1, 3)
    return np.clip(taps, 0, n - 1), _keys(position[:, None] - taps, -0.75)


def _keys(distance, a):
    """The cubic kernel of Keys 1981 with the slope ``a`` at 1."""
    d = np.abs(distance)
    near, far = ((a + 2) * d - (a + 3)) * d * d + 1, ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _smoothed(n, size, ratio, cubic):
    """The kernel widened to the step where the plane gets smaller, so that every element has its say."""
    wide = max(ratio, 1.0)
    reach = (2 if cubic else 1) * wide
    columns, weights = [], []
    for i in range(size):
        centre = ratio * (i + 0.5)
        taps = np.arange(max(int(centre - reach + 0.5), 0), min(int(centre + reach + 0.5), n))
        distance = (taps + 0.5 - centre) / wide
        weight = _keys(distance, -0.5) if cubic else np.maximum(1 - np.abs(distance), 0)
        columns.append(taps)
        weights.append(weight / weight.sum())
    return columns, weights


def _windows(n, size):
    """Means over the windows of adaptive_avg_pool2d."""
    windows = [np.arange(i * n // size, -(-(i + 1) * n // size)) for i in range(size)]
    return windows, [np.full(len(window), 1 / len(window)) for window in windows]


# ---------------------------------------------------------------------- interpolation


@named
def interpolate(
    x,
    size=None,
    scale_factor=None,
    mode="nearest",
    align_corners=None,
    recompute_scale_factor=None,
    antialias=False,
):
    """x (N, C, one to three spatial axes) with its spatial axes of ``size``, or ``scale_factor`` times as long.

    ``mode``: "nearest" (element ⌊i n/m⌋ of n, for m), "nearest-exact" (⌊(i + ½) n/m⌋), "linear", "bilinear" and
    "trilinear" by the number of spatial axes, "bicubic" (Keys 1981, a = -¾, two axes), "area" (means over the windows
    of adaptive_avg_pool2d). Elements are squares of which i has its centre at i + ½; with ``align_corners`` they are
    points, and the first and last ones stay where they are. ``antialias``: where a plane gets smaller, the kernel of
    "bilinear" or "bicubic" (a = -½) is as much wider. A length is ⌊n · scale_factor⌋; positions go by the factor
    itself, or by the lengths with ``recompute_scale_factor``. "nearest" keeps the dtype of integers.

    >>> tn.interpolate(np.array([[[0.0, 1.0]]]), scale_factor=2, mode="linear").tolist()
    [[[0.0, 0.25, 0.75, 1.0]]]
    """
    x = operand(x)
    kind = one_of(mode, "mode", MODES)
    n = x.ndim - 2
    if not 1 <= n <= 3 or AXES.get(kind, n) != n:
        wanted = "one to three spatial axes" if kind not in AXES else f"{AXES[kind]} spatial axes"
        raise ShapeError(f"x has shape {tuple(x.shape)}, expected (N, C, ...) with {wanted} for mode {kind!r}")
    if align_corners is not None and kind not in AXES:
        raise ShapeError(f"align_corners is {align_corners!r}, but mode {kind!r} does not interpolate, expected None")
    for value, name in ((align_corners, "align_corners"), (recompute_scale_factor, "recompute_scale_factor")):
        if value is not None:
            flag(value, name)
    if flag(antialias, "antialias") and kind not in ("bilinear", "bicubic"):
        raise ShapeError(f"antialias is for the modes 'bilinear' and 'bicubic', not {kind!r}")
    sizes, factors = _lengths(tuple(x.shape[2:]), size, scale_factor)
    if recompute_scale_factor or kind == "area":
        if size is not None and recompute_scale_factor:
            raise ShapeError("recompute_scale_factor is for a scale_factor, not for a size")
        factors = (None,) * n
    if not kind.startswith("nearest"):
        x = floating_operand(x)
    for axis, (before, after, factor) in enumerate(zip(x.shape[2:], sizes, factors), 2):
        if _rounded(kind, n, antialias, before, after):
            factor = None
        x = resample_(x, _matrices(kind, int(before), after, factor, bool(align_corners), bool(antialias)), axis)
    return x


def _rounded(kind, axes, antialias, before, after):
    """Whether a factor that comes to the same length, or to twice the length, is taken for 1 or 2, as PyTorch does."""
    if kind == "nearest":
        return axes == 2 and after in (before, 2 * before)
    return after == before and (kind in LINEAR or antialias)


def _lengths(before, size, scale_factor):
    """The new lengths, and the factors that were asked for."""
    if (size is None) == (scale_factor is None):
        raise ShapeError(f"size is {size!r}, scale_factor {scale_factor!r}, expected one of them")
    name, given = ("size", size) if scale_factor is None else ("scale_factor", scale_factor)
    parts = tuple(given) if isinstance(given, list | tuple) else (given,) * len(before)
    if len(parts) != len(before):
        raise ShapeError(f"{name} is {given!r}, expected a number or {len(before)}, one for a spatial axis")
    if 0 in before:
        raise ShapeError(f"x has spatial axes of {before}, expected at least one element in each")
    if scale_factor is None:
        return tuple(count(part, "size") for part in parts), (None,) * len(before)
    factors = tuple(at_least(part, "scale_factor", 0) for part in parts)
    sizes = tuple(int(n * factor) for n, factor in zip(before, factors))
    if 0 in sizes:
        raise ShapeError(f"scale_factor is {scale_factor!r}, which leaves {sizes} of spatial axes of {before}")
    return sizes, factors
