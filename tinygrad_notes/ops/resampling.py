"""Planes in other sizes: interpolation, sampling at free positions, and pixels moved into channels and back.

Interpolation is separable and linear: one table of weights for each axis, applied to the axes in turn.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tinygrad_notes.errors import ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.ops.arguments import at_least, count, one_of
from tinygrad_notes.ops.arithmetic import abs, astype
from tinygrad_notes.ops.comparison import isfinite, isnan, where
from tinygrad_notes.ops.indexing import embedding
from tinygrad_notes.ops.linalg import matmul
from tinygrad_notes.ops.reduction import sum
from tinygrad_notes.ops.shape import expand_dims, matrix_transpose, moveaxis, operand, permute_dims, reshape, stack
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import Tensor, float32

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
    if antialias and kind not in ("bilinear", "bicubic"):
        raise ShapeError(f"antialias is for the modes 'bilinear' and 'bicubic', not {kind!r}")
    sizes, factors = _lengths(tuple(x.shape[2:]), size, scale_factor)
    if recompute_scale_factor or kind == "area":
        if size is not None and recompute_scale_factor:
            raise ShapeError("recompute_scale_factor is for a scale_factor, not for a size")
        factors = (None,) * n
    if x.dtype.kind != "f" and not kind.startswith("nearest"):
        x = astype(x, float32)
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


# ---------------------------------------------------------------------- sampling at free positions


@named
def affine_grid(theta, size, align_corners=False):
    """Where the elements of planes of ``size`` lie after affine maps: what :func:`grid_sample` takes.

    ``theta`` (N, 2, 3) and ``size`` (N, C, H, W) give (N, H, W, 2); (N, 3, 4) and (N, C, D, H, W) give
    (N, D, H, W, 3). The last axis is (x, y) or (x, y, z), -1 at the first border of the plane and 1 at the last; with
    ``align_corners`` at the centres of the first and last elements. Jaderberg et al. 2015.

    >>> tn.affine_grid(np.array([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]), (1, 1, 1, 2))[0, 0].tolist()
    [[-0.5, 0.0], [0.5, 0.0]]
    """
    theta = _floating(operand(theta))
    sizes = tuple(count(n, "size", 0) for n in size) if isinstance(size, list | tuple) else ()
    n = len(sizes) - 2
    if n not in (2, 3):
        raise ShapeError(f"size is {size!r}, expected (N, C, H, W) or (N, C, D, H, W)")
    if tuple(theta.shape) != (sizes[0], n, n + 1):
        raise ShapeError(f"theta has shape {tuple(theta.shape)}, expected {(sizes[0], n, n + 1)} for size {sizes}")
    lines = [_line(length, align_corners) for length in sizes[2:]]
    planes = [*np.meshgrid(*lines, indexing="ij")[::-1], np.ones(sizes[2:])]
    places = np.asarray(np.stack(planes, -1).reshape(-1, n + 1), theta.dtype, like=_array(theta))
    return reshape(matmul(places, matrix_transpose(theta)), (sizes[0], *sizes[2:], n))


def _line(length, align_corners):
    if length == 1:
        return np.zeros(1)
    return np.linspace(-1, 1, length) * (1 if align_corners or not length else (length - 1) / length)


@named
def grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False):
    """x (N, C, H, W) read at the positions ``grid`` (N, h, w, 2), (x, y): (N, C, h, w). Three spatial axes likewise.

    -1 and 1 are the outer borders of the first and last elements, or with ``align_corners`` their centres. "bilinear"
    weighs the 2 or 3 neighbours along each axis by their distances (trilinear for three axes); "nearest" takes one,
    the even one of two, and has no gradient for the grid. Outside there are zeros ("zeros"), the nearest element
    ("border"), or x mirrored at its border, again and again ("reflection"). NaN counts as -1. The gradient of the grid
    at an element itself is that of the part behind it; where padding stops a position it is 0. Jaderberg et al. 2015.

    >>> tn.grid_sample(np.array([[[[1.0, 3.0]]]]), np.array([[[[-0.5, 0.0], [0.0, 0.0]]]])).tolist()
    [[[[1.0, 2.0]]]]
    """
    x, grid = _floating(operand(x)), _floating(operand(grid))
    one_of(mode, "mode", ("bilinear", "nearest"))
    one_of(padding_mode, "padding_mode", ("zeros", "border", "reflection"))
    sizes = tuple(x.shape[2:])
    n = len(sizes)
    if n not in (2, 3) or 0 in sizes:
        raise ShapeError(f"x has shape {tuple(x.shape)}, expected (N, C, H, W) or (N, C, D, H, W), H, W of at least 1")
    if len(grid.shape) != n + 2 or grid.shape[-1] != n or grid.shape[0] != x.shape[0]:
        raise ShapeError(
            f"grid has shape {tuple(grid.shape)}, expected ({x.shape[0]}, {'h, w' if n == 2 else 'd, h, w'}, {n})"
        )
    grid = where(isfinite(grid) if padding_mode == "reflection" else ~isnan(grid), grid, -1.0)
    positions = []
    for axis, length in enumerate(sizes):
        place = grid[..., n - 1 - axis]
        place = (place + 1) * ((length - 1) / 2) if align_corners else ((place + 1) * length - 1) / 2
        positions.append(_padded(place, length, padding_mode, align_corners))
    if mode == "nearest":
        corners, weights = [tuple(np.rint(_array(p)) for p in positions)], None
    else:
        corners, weights = _neighbours(positions)
    index, inside = _places(corners, sizes)
    rows = reshape(moveaxis(x, 1, -1), (x.shape[0] * math.prod(sizes), x.shape[1]))
    picked = embedding(index, rows)
    if not bool(inside.all()):
        picked = where(inside[..., None], picked, 0.0)
    value = picked[0] if weights is None else sum(picked * expand_dims(weights, -1), 0)
    return moveaxis(value, -1, 1)


def _padded(place, length, padding_mode, align_corners):
    """The positions moved to where the padding says, in elements: 0 is the centre of the first."""
    if padding_mode == "zeros":  # far outside nothing is read; integers do not reach everywhere
        return where((place > -1) & (place < length), place, -1.0)
    if padding_mode == "reflection":
        low, span = (0.0, length - 1) if align_corners else (-0.5, length)
        if span == 0:
            return place * 0.0
        away = abs(place - low)
        turns = np.floor(_array(away) / span)
        rest = away - turns * span
        place = where(turns % 2 == 0, rest + low, (span + low) - rest)
    return where(place <= 0, 0.0, where(place >= length - 1, float(length - 1), place))


def _neighbours(positions):
    """The corners of the cell around each position, and their weights, the corner as the first axis."""
    low = [np.floor(_array(place)) for place in positions]
    shares = [place - floor for place, floor in zip(positions, low)]
    corners, weights = [], []
    for ends in itertools.product((0, 1), repeat=len(positions)):
        corners.append(tuple(floor + end for floor, end in zip(low, ends)))
        parts = [share if end else 1 - share for share, end in zip(shares, ends)]
        weights.append(math.prod(parts[1:], start=parts[0]))
    return corners, stack(weights)


def _places(corners, sizes):
    """The rows of (image, element) that are read, and which of them lie inside."""
    places, insides = [], []
    for corner in corners:
        first = corner[0]
        place = np.arange(first.shape[0], like=first).reshape(-1, *(1,) * (first.ndim - 1))
        inside = np.ones_like(first, dtype=bool)
        for coordinate, length in zip(corner, sizes):
            whole = coordinate.astype(np.int64)
            inside &= (whole >= 0) & (whole < length)
            place = place * length + np.clip(whole, 0, length - 1)
        places.append(place)
        insides.append(inside)
    return np.stack(places), np.stack(insides)


def _array(a):
    return a.data if type(a) is Tensor else a


def _floating(a):
    return a if a.dtype.kind == "f" else astype(a, float32)


# ---------------------------------------------------------------------- pixels and channels


@named
def pixel_shuffle(x, upscale_factor):
    """x (..., C r², H, W) as (..., C, H r, W r): r² channels become the pixels of r × r squares (Shi et al. 2016).

    >>> tn.pixel_shuffle(np.arange(4.0).reshape(4, 1, 1), 2).tolist()
    [[[0.0, 1.0], [2.0, 3.0]]]
    """
    x, r = operand(x), count(upscale_factor, "upscale_factor")
    *first, channels, height, width = _plane(x)
    if channels % (r * r):
        raise ShapeError(f"x has {channels} channels, expected a multiple of upscale_factor², {r * r}")
    n = len(first)
    x = reshape(x, (*first, channels // (r * r), r, r, height, width))
    x = permute_dims(x, (*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return reshape(x, (*first, channels // (r * r), height * r, width * r))


@named
def pixel_unshuffle(x, downscale_factor):
    """x (..., C, H r, W r) as (..., C r², H, W): the inverse of :func:`pixel_shuffle`.

    >>> tn.pixel_unshuffle(np.arange(4.0).reshape(1, 2, 2), 2).shape
    (4, 1, 1)
    """
    x, r = operand(x), count(downscale_factor, "downscale_factor")
    *first, channels, height, width = _plane(x)
    if height % r or width % r:
        raise ShapeError(f"x has planes of {(height, width)}, expected multiples of downscale_factor, {r}")
    n = len(first)
    x = reshape(x, (*first, channels, height // r, r, width // r, r))
    x = permute_dims(x, (*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return reshape(x, (*first, channels * r * r, height // r, width // r))


def _plane(x):
    if len(x.shape) < 3:
        raise ShapeError(f"x has shape {tuple(x.shape)}, expected (..., C, H, W)")
    return x.shape


@named
def channel_shuffle(x, groups):
    """The channels of x (N, C, ...) dealt out in turn: channel i of group j becomes channel j of group i.

    What a grouped convolution reads next then comes from every group (Zhang et al. 2018, ShuffleNet).

    >>> tn.channel_shuffle(np.arange(4.0).reshape(1, 4, 1), 2).tolist()
    [[[0.0], [2.0], [1.0], [3.0]]]
    """
    x, groups = operand(x), count(groups, "groups")
    shape = tuple(x.shape)
    if len(shape) < 3:
        raise ShapeError(f"x has shape {shape}, expected (N, C, ...) with at least three axes")
    if shape[1] % groups:
        raise ShapeError(f"x has {shape[1]} channels, expected a multiple of groups, {groups}")
    parts = reshape(x, (shape[0], groups, shape[1] // groups, *shape[2:]))
    return reshape(permute_dims(parts, (0, 2, 1, *range(3, len(shape) + 1))), shape)
