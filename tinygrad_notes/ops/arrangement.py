"""Ops that repeat, turn and line up elements: tile, repeat, meshgrid, rot90, sliding windows."""

from __future__ import annotations

import itertools

import numpy as np

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.ops.arguments import count, one_of
from tinygrad_notes.ops.arithmetic import clone
from tinygrad_notes.ops.indexing import getitem_
from tinygrad_notes.ops.shape import broadcast_to, expand_dims, flip, operand, reshape, single_axis, swapaxes
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import to_array


@named
def tile(a, repetitions):
    """``a`` as a whole laid out ``repetitions`` times along each axis (an int, or a tuple); NumPy's tile.

    The shorter of ``repetitions`` and the shape is filled up with ones in front. An element gets the gradients of its
    copies.

    >>> tn.tile([1, 2], 2), tn.tile([1, 2], (2, 1))
    (Tensor([1, 2, 1, 2]), Tensor([[1, 2],
            [1, 2]]))
    """
    a = operand(a)
    counts = tuple(repetitions) if isinstance(repetitions, list | tuple) else (repetitions,)
    counts = tuple(count(n, "repetitions", 0) for n in counts)
    shape = tuple(a.shape)
    n = max(len(shape), len(counts))
    shape, counts = (1,) * (n - len(shape)) + shape, (1,) * (n - len(counts)) + counts
    split = tuple(size for size in shape for size in (1, size))
    wide = tuple(size for pair in zip(counts, shape) for size in pair)
    result = tuple(c * size for c, size in zip(counts, shape))
    return reshape(broadcast_to(reshape(a, split), wide), result)


@named
def repeat(a, repeats, axis=None):
    """Every element of ``a`` ``repeats`` times in a row along ``axis`` (None: flattened), as NumPy's repeat.

    (PyTorch calls this repeat_interleave, and its Tensor.repeat is tile.) ``repeats``: an int, or one for each index
    of ``axis``. An element gets the gradients of its copies.

    >>> tn.repeat([1, 2], 2), tn.repeat([1, 2], [3, 1])
    (Tensor([1, 1, 2, 2]), Tensor([1, 1, 1, 2]))
    >>> tn.value_and_grad(lambda a: tn.repeat(a, 3).sum())([1.0, 2.0])[1]
    Tensor([3., 3.])
    """
    a = operand(a)
    if axis is None:
        a, axis = reshape(a, (-1,)), 0
    axis = single_axis(axis, len(a.shape), "repeat")
    shape = tuple(a.shape)
    if isinstance(repeats, int | np.integer):
        n = count(repeats, "repeats", 0)
        wide = broadcast_to(expand_dims(a, axis + 1), (*shape[: axis + 1], n, *shape[axis + 1 :]))
        return reshape(wide, (*shape[:axis], shape[axis] * n, *shape[axis + 1 :]))
    counts = to_array(repeats)
    if counts.dtype.kind not in "iu":
        raise DTypeError(f"repeats is {counts.dtype}, expected integers")
    if counts.ndim > 1 or (counts.size != 1 and counts.shape != (shape[axis],)):
        raise ShapeError(
            f"repeats has shape {tuple(counts.shape)}, expected () or ({shape[axis]},), the size of axis {axis}"
        )
    if counts.size and int(counts.min()) < 0:
        raise ShapeError(f"repeats has {int(counts.min())}, expected no negative numbers")
    index = np.repeat(np.arange(shape[axis], like=counts), counts)
    return getitem_(a, (*(slice(None),) * axis, index))


@named
def meshgrid(*arrays, indexing="xy"):
    """The coordinates of a grid from those of its axes: a tuple of one array per axis, all of the grid's shape.

    ``indexing="ij"``: shape (n₁, n₂, ...); ``"xy"``, as NumPy's: the first two exchanged, (n₂, n₁, ...). The arrays
    have one axis, or none.

    >>> x, y = tn.meshgrid([1, 2, 3], [10, 20])
    >>> x + y
    Tensor([[11, 12, 13],
            [21, 22, 23]])
    """
    one_of(indexing, "indexing", ("xy", "ij"))
    lines = [operand(a) for a in arrays]
    for i, line in enumerate(lines):
        if len(line.shape) > 1:
            raise ShapeError(f"array {i} has shape {tuple(line.shape)}, expected one axis")
    n = len(lines)
    lines = [reshape(line, (-1,)) for line in lines]
    places = list(range(n))
    if indexing == "xy" and n > 1:
        places[:2] = [1, 0]
    grid = [0] * n
    for place, line in zip(places, lines):
        grid[place] = line.shape[0]
    along = [tuple(-1 if i == place else 1 for i in range(n)) for place in places]
    return tuple(broadcast_to(reshape(line, shape), tuple(grid)) for line, shape in zip(lines, along))


@named
def rot90(a, k=1, axes=(0, 1)):
    """``a`` turned ``k`` times by 90° in the plane of two ``axes``, from the first towards the second.

    >>> tn.rot90([[1, 2], [3, 4]])
    Tensor([[2, 4],
            [1, 3]])
    """
    a = operand(a)
    n = len(a.shape)
    try:
        first, second = axes
    except (TypeError, ValueError):
        raise ShapeError(f"axes is {axes!r}, expected two of them") from None
    first, second = single_axis(first, n, "rot90"), single_axis(second, n, "rot90")
    if first == second:
        raise ShapeError(f"axes is {axes!r}, expected two different ones")
    turns = count(k, "k", -(2**63)) % 4
    if turns == 0:
        return clone(a)
    if turns == 2:
        return flip(a, (first, second))
    if turns == 1:
        return swapaxes(flip(a, second), first, second)
    return flip(swapaxes(a, first, second), second)


# ---------------------------------------------------------------------- windows


@op
def _windows(a: Array, sizes, axes):
    shape = a.shape
    value = np.lib.stride_tricks.sliding_window_view(a, sizes, axes)
    return value.copy(), lambda g: _overlap(g, shape, sizes, axes)


@op
def _overlap(g_: Array, shape, sizes, axes):
    """The sum of windows where they overlap, in an array of ``shape``: the transpose of taking windows."""
    total = np.zeros_like(g_, shape=shape)
    for offset in itertools.product(*map(range, sizes)):
        start = [0] * len(shape)
        for axis, step in zip(axes, offset):
            start[axis] += step
        total[tuple(slice(low, low + n) for low, n in zip(start, g_.shape))] += g_[(..., *offset)]
    return total, lambda g: _windows(g, sizes, axes)


@named
def sliding_window_view(a, window_shape, axis=None):
    """All windows of ``window_shape`` over ``axis``: the shape of ``a``, less window - 1 there, then the window's axes.

    NumPy's function of that name, but the values are a copy, window times the memory, and gradients flow: an element
    gets the sum over the windows it lies in. ``axis=None``: a size for every axis. A window larger than its axis raises
    ShapeError.

    >>> tn.sliding_window_view([1, 2, 3, 4], 3)
    Tensor([[1, 2, 3],
            [2, 3, 4]])
    >>> tn.value_and_grad(lambda a: tn.sliding_window_view(a, 3).sum())([1.0, 2.0, 3.0, 4.0])[1]
    Tensor([1., 2., 2., 1.])
    """
    a = operand(a)
    n = len(a.shape)
    sizes = tuple(window_shape) if isinstance(window_shape, list | tuple) else (window_shape,)
    sizes = tuple(count(size, "window_shape") for size in sizes)
    axes = tuple(range(n)) if axis is None else tuple(axis) if isinstance(axis, list | tuple) else (axis,)
    axes = tuple(single_axis(i, n, "sliding_window_view") for i in axes)
    if len(sizes) != len(axes):
        raise ShapeError(f"window_shape is {window_shape!r}, expected {len(axes)} sizes, one for each axis")
    for i in set(axes):
        needed = sum(size - 1 for size, other in zip(sizes, axes) if other == i) + 1
        if needed > a.shape[i]:
            raise ShapeError(f"the window spans {needed} elements of axis {i}, which has size {a.shape[i]}")
    return _windows(a, sizes, axes)
