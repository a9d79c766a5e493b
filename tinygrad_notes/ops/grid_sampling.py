"""Planes and volumes read at free positions: affine grids and grid sampling (Jaderberg et al. 2015)."""

from __future__ import annotations

import itertools
import math

import numpy as np

from tinygrad_notes.errors import ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.ops.arguments import count, flag, one_of
from tinygrad_notes.ops.arithmetic import abs, floating_operand
from tinygrad_notes.ops.comparison import clip, isfinite, isnan, where
from tinygrad_notes.ops.indexing import embedding
from tinygrad_notes.ops.linalg import matmul
from tinygrad_notes.ops.reduction import sum
from tinygrad_notes.ops.shape import expand_dims, matrix_transpose, moveaxis, reshape, stack
from tinygrad_notes.tensor import Tensor


@named
def affine_grid(theta, size, align_corners=False):
    """Where the elements of planes of ``size`` lie after affine maps: what :func:`grid_sample` takes.

    ``theta`` (N, 2, 3) and ``size`` (N, C, H, W) give (N, H, W, 2); (N, 3, 4) and (N, C, D, H, W) give
    (N, D, H, W, 3). The last axis is (x, y) or (x, y, z), -1 at the first border of the plane and 1 at the last; with
    ``align_corners`` at the centres of the first and last elements. Jaderberg et al. 2015.

    >>> tn.affine_grid(np.array([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]), (1, 1, 1, 2))[0, 0].tolist()
    [[-0.5, 0.0], [0.5, 0.0]]
    """
    theta = floating_operand(theta)
    flag(align_corners, "align_corners")
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
    ("border"), or x mirrored at its border, again and again ("reflection"). NaN counts as -1, so does infinity for
    "reflection". The gradient of the grid at an element itself is that of the part behind it; where padding stops a
    position it is 0. Jaderberg et al. 2015.

    >>> tn.grid_sample(np.array([[[[1.0, 3.0]]]]), np.array([[[[-0.5, 0.0], [0.0, 0.0]]]])).tolist()
    [[[[1.0, 2.0]]]]
    """
    x, grid = floating_operand(x), floating_operand(grid)
    one_of(mode, "mode", ("bilinear", "nearest"))
    one_of(padding_mode, "padding_mode", ("zeros", "border", "reflection"))
    flag(align_corners, "align_corners")
    sizes = tuple(x.shape[2:])
    n = len(sizes)
    if n not in (2, 3) or 0 in sizes:
        raise ShapeError(f"x has shape {tuple(x.shape)}, expected (N, C, H, W) or (N, C, D, H, W), H, W of at least 1")
    if len(grid.shape) != n + 2 or grid.shape[-1] != n or grid.shape[0] != x.shape[0]:
        raise ShapeError(
            f"grid has shape {tuple(grid.shape)}, expected ({x.shape[0]}, {'h, w' if n == 2 else 'd, h, w'}, {n})"
        )
    if padding_mode == "reflection":
        grid = where(isfinite(grid), grid, -1.0)
    else:  # far outside nothing changes any more, and integers do not reach everywhere
        grid = clip(where(isnan(grid), -1.0, grid), -3.0, 3.0)
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
    if padding_mode == "zeros":
        return place
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
