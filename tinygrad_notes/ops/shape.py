"""Ops that move elements without computing: shapes, axes, joining, splitting, padding."""

from __future__ import annotations

import math
import operator

import numpy as np

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.modes import mode
from tinygrad_notes.registry import Array, Arrays, op
from tinygrad_notes.tensor import Tensor, as_floating, to_array, wrap


def operand(a):
    """What a function that is no op itself works on: a Tensor, or inside a derivative whatever stands there."""
    return a if type(a) is Tensor or mode.get().raw else wrap(to_array(a))


def single_axis(axis, n, name):
    """The number of one axis out of ``n``, counted from the front."""
    if not isinstance(axis, int | np.integer) or isinstance(axis, bool) or not -n <= axis < n:
        raise ShapeError(f"{name}: axis {axis!r} is out of bounds for {n} axes")
    return int(axis) % n


@op
def reshape(a: Array, shape):
    """The same elements in another shape (-1: what is left). A view where the memory allows it.

    A shape of another number of elements raises ShapeError.

    >>> tn.reshape([1, 2, 3, 4], (2, -1))
    Tensor([[1, 2],
            [3, 4]])
    """
    before, value = a.shape, a.reshape(shape)
    if type(shape) is not tuple or value.shape != shape:  # a -1 is in it, which NumPy takes any negative number for
        sizes = shape if isinstance(shape, list | tuple) else np.atleast_1d(shape).tolist()
        if any(n is None or n < -1 for n in sizes):
            raise ShapeError(f"shape is {shape!r}, expected sizes of at least 0, one of which may be -1")
    return value, lambda g: reshape(g, before)


@named
def flatten(a, start_axis=0, end_axis=-1):
    """The axes from ``start_axis`` to ``end_axis`` joined into one.

    >>> tn.flatten(np.zeros((2, 3, 4)), start_axis=1).shape
    (2, 12)
    """
    a = operand(a)
    n = len(a.shape)
    if n == 0:  # counts as one axis of a single element
        a, n = reshape(a, (1,)), 1
    first, last = single_axis(start_axis, n, "flatten"), single_axis(end_axis, n, "flatten")
    if first > last:
        raise ShapeError(f"flatten: start_axis {start_axis} comes after end_axis {end_axis}")
    return reshape(a, (*a.shape[:first], math.prod(a.shape[first : last + 1]), *a.shape[last + 1 :]))


@op
def permute_dims(a: Array, axes):
    """The axes in the order ``axes``.

    >>> tn.permute_dims(np.zeros((2, 3, 4)), (2, 0, 1)).shape
    (4, 2, 3)
    """
    n = a.ndim
    places = [0] * n
    try:
        for i, axis in enumerate(axes):
            places[axis] = i
        value = a.transpose(axes)
    except (ValueError, IndexError, TypeError):
        raise ShapeError(f"axes is {axes!r}, expected each of the {n} axes once, for shape {tuple(a.shape)}") from None
    inverse = tuple(places)
    return value, lambda g: permute_dims(g, inverse)


@named
def transpose(a, axes=None):
    """The axes in the order ``axes``, or all reversed (NumPy's transpose; see swapaxes for two of them).

    >>> tn.transpose([[1, 2, 3], [4, 5, 6]])
    Tensor([[1, 4],
            [2, 5],
            [3, 6]])
    """
    a = operand(a)
    return permute_dims(a, tuple(range(len(a.shape)))[::-1] if axes is None else tuple(axes))


@op
def swapaxes(a: Array, axis1, axis2):
    """Two axes exchanged.

    >>> tn.swapaxes(np.zeros((2, 3, 4)), 0, -1).shape
    (4, 3, 2)
    """
    return a.swapaxes(axis1, axis2), lambda g: swapaxes(g, axis1, axis2)


@named
def matrix_transpose(a):
    """The last two axes exchanged.

    >>> tn.matrix_transpose(np.zeros((5, 2, 3))).shape
    (5, 3, 2)
    """
    return swapaxes(a, -1, -2)


@named
def moveaxis(a, source, destination):
    """The axis ``source`` moved to ``destination``; the others keep their order.

    >>> tn.moveaxis(np.zeros((8, 3, 32, 32)), 1, -1).shape
    (8, 32, 32, 3)
    """
    a = operand(a)
    n = len(a.shape)
    source, destination = single_axis(source, n, "moveaxis"), single_axis(destination, n, "moveaxis")
    axes = [i for i in range(n) if i != source]
    axes.insert(destination, source)
    return permute_dims(a, tuple(axes))


@op
def squeeze(a: Array, axis=None):
    """Axes of size one removed: ``axis`` (an int or a tuple), or all of them.

    >>> x = tn.zeros((1, 3, 1))
    >>> tn.squeeze(x).shape, tn.squeeze(x, 0).shape
    ((3,), (3, 1))
    """
    before = a.shape
    return a.squeeze(tuple(axis) if isinstance(axis, list) else axis), lambda g: reshape(g, before)


@op
def expand_dims(a: Array, axis):
    """A new axis of size one at ``axis`` (an int or a tuple) of the result.

    >>> tn.expand_dims([1, 2], 1)
    Tensor([[1],
            [2]])
    """
    before = a.shape
    return np.expand_dims(a, axis), lambda g: reshape(g, before)


@op
def broadcast_to(a: Array, shape):
    """``a`` repeated along new axes and axes of size one; the gradient is summed over them.

    >>> tn.broadcast_to([1, 2], (2, 2))
    Tensor([[1, 2],
            [1, 2]])
    >>> tn.value_and_grad(lambda a: tn.broadcast_to(a, (5, 2)).sum())([1.0, 2.0])[1]
    Tensor([5., 5.])
    """
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    return _repeated(a, shape), lambda g: g


def _repeated(a, shape):
    """A view when it is large; filled when it is small, since np.broadcast_to costs ten small calls."""
    try:
        if type(a) is np.ndarray and a.ndim <= len(shape) and math.prod(shape) <= 4096:
            value = np.empty(shape, a.dtype)
            value[...] = a
            return value
        return np.broadcast_to(a, shape)
    except ValueError:
        raise ShapeError(f"a has shape {tuple(a.shape)}, which does not broadcast to {shape}") from None


@op
def flip(a: Array, axis=None):
    """The elements in reverse order along ``axis`` (an int, a tuple, or None for all).

    >>> tn.flip([[1, 2], [3, 4]], axis=1)
    Tensor([[2, 1],
            [4, 3]])
    """
    return np.flip(a, axis), lambda g: flip(g, axis)


@op
def roll(a: Array, shift, axis=None):
    """The elements moved by ``shift`` along ``axis``; what leaves at one end enters at the other.

    >>> tn.roll([1, 2, 3, 4], 1)
    Tensor([4, 1, 2, 3])
    """
    shift = tuple(map(operator.index, shift)) if isinstance(shift, tuple | list) else operator.index(shift)
    back = tuple(-s for s in shift) if isinstance(shift, tuple) else -shift
    return np.roll(a, shift, axis), lambda g: roll(g, back, axis)


def _of_one_dtype(arrays):
    """Integers join the floats they stand beside; NumPy would make float64 of both."""
    mixed = any(x.dtype != arrays[0].dtype for x in arrays) and any(x.dtype.kind == "f" for x in arrays)
    return as_floating(*arrays) if mixed else arrays


@op
def concat(arrays: Arrays, axis=0):
    """The arrays joined along ``axis`` (None: flattened first): (..., n, ...) and (..., m, ...) to (..., n + m, ...).

    Beside ``axis`` their sizes are equal (else ShapeError). Each gets its own part of the gradient.

    >>> a, b = tn.tensor([1.0, 2.0], requires_grad=True), tn.tensor([3.0], requires_grad=True)
    >>> y = tn.concat([a, b])
    >>> y.backward([10.0, 20.0, 30.0])
    >>> a.grad, b.grad
    (Tensor([10., 20.]), Tensor([30.]))
    """
    if not arrays:
        raise ShapeError("no arrays to join")
    arrays = _of_one_dtype(arrays)
    if axis is None:
        shapes = [x.shape for x in arrays]
        ends = np.cumsum([x.size for x in arrays]).tolist()
        return np.concatenate(arrays, None), lambda g: tuple(
            reshape(g[end - math.prod(shape) : end], shape) for shape, end in zip(shapes, ends)
        )
    if any(x.ndim == 0 for x in arrays):
        raise ShapeError("an array has no axes to join along; use stack, or axis=None")
    axis = single_axis(axis, arrays[0].ndim, "concat")
    if any(x.ndim != arrays[0].ndim for x in arrays):
        raise ShapeError(f"arrays have {sorted({x.ndim for x in arrays})} axes, expected the same number in each")
    before = (slice(None),) * axis
    ends = np.cumsum([x.shape[axis] for x in arrays]).tolist()
    starts = [0, *ends[:-1]]
    return np.concatenate(arrays, axis), lambda g: tuple(
        g[(*before, slice(start, end))] for start, end in zip(starts, ends)
    )


@op
def stack(arrays: Arrays, axis=0):
    """Arrays of one shape (else ShapeError) joined along a new axis: k of shape (n, m) to (k, n, m) for ``axis=0``.

    >>> tn.stack([[1, 2], [3, 4], [5, 6]], axis=1)
    Tensor([[1, 3, 5],
            [2, 4, 6]])
    """
    if not arrays:
        raise ShapeError("no arrays to stack")
    arrays = _of_one_dtype(arrays)
    count = len(arrays)
    axis = single_axis(axis, arrays[0].ndim + 1, "stack")
    before = (slice(None),) * axis
    return np.stack(arrays, axis), lambda g: tuple(g[(*before, i)] for i in range(count))


@named
def split(a, indices_or_sections, axis=0):
    """A list of parts along ``axis``: that many equal ones for an int, or cut at the given indices (NumPy's rule).

    >>> tn.split([1, 2, 3, 4], 2), tn.split([1, 2, 3, 4], [1])
    ([Tensor([1, 2]), Tensor([3, 4])], [Tensor([1]), Tensor([2, 3, 4])])
    """
    a = operand(a)
    axis = single_axis(axis, len(a.shape), "split")
    size = a.shape[axis]
    if isinstance(indices_or_sections, int | np.integer) and not isinstance(indices_or_sections, bool):
        sections = int(indices_or_sections)
        if sections < 1 or size % sections:
            raise ShapeError(f"split: axis {axis} of size {size} cannot be split into {sections} equal parts")
        cuts = list(range(size // sections, size, size // sections)) if size else [0] * (sections - 1)
    elif not isinstance(indices_or_sections, list | tuple | np.ndarray):
        raise DTypeError(f"split: indices_or_sections is {indices_or_sections!r}, expected a number or indices")
    else:
        cuts = [operator.index(cut) for cut in indices_or_sections]
    before = (slice(None),) * axis
    return [a[(*before, slice(start, end))] for start, end in zip([0, *cuts], [*cuts, size])]


@named
def unstack(a, axis=0):
    """The slices along ``axis``, as a tuple.

    >>> tn.unstack([[1, 2], [3, 4]])
    (Tensor([1, 2]), Tensor([3, 4]))
    """
    a = operand(a)
    axis = single_axis(axis, len(a.shape), "unstack")
    return tuple(a[(*(slice(None),) * axis, i)] for i in range(a.shape[axis]))


@op
def _pad(a: Array, widths, fill):
    inside = tuple(slice(low, low + n) for (low, _), n in zip(widths, a.shape))
    return np.pad(a, widths, constant_values=fill), lambda g: g[inside]


@named
def pad(a, pad_width, mode="constant", constant_values=0):
    """``a`` with elements added before and after each axis (``pad_width``: n, (before, after), or a pair per axis).

    ``mode``: "constant", "edge", "reflect", "symmetric" or "wrap". Elements collect the gradients of their copies.

    >>> tn.pad([1, 2, 3], (1, 2))
    Tensor([0, 1, 2, 3, 0, 0])
    >>> tn.pad([1, 2, 3], 2, mode="reflect")
    Tensor([3, 2, 1, 2, 3, 2, 1])
    >>> tn.value_and_grad(lambda a: tn.pad(a, 1, mode="edge").sum())([1.0, 2.0, 3.0])[1]
    Tensor([2., 1., 2.])
    """
    a = operand(a)
    n = len(a.shape)
    try:
        given = np.asarray(pad_width)
        widths = tuple(map(tuple, np.broadcast_to(given, (n, 2)).tolist()))
    except ValueError:
        raise ShapeError(f"pad: pad_width {pad_width!r} does not give a pair for each of {n} axes") from None
    if given.dtype.kind not in "iu":
        raise DTypeError(f"pad: pad_width {pad_width!r} is not made of integers")
    if given.size and given.min() < 0:
        raise ShapeError(f"pad: pad_width {pad_width!r} is negative; slice to make an array smaller")
    if mode == "constant":
        kind = np.asarray(constant_values).dtype.kind
        if kind not in "iufb" or (kind == "f" and a.dtype.kind != "f"):
            raise DTypeError(f"pad: constant_values is {constant_values!r}, expected numbers of dtype {a.dtype}")
        if a.dtype.kind in "iu" and np.any(np.asarray(constant_values) != np.asarray(constant_values).astype(a.dtype)):
            raise DTypeError(f"pad: constant_values is {constant_values!r}, expected numbers of dtype {a.dtype}")
        return _pad(a, widths, constant_values) if n else a
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise ShapeError(f"pad: mode is {mode!r}, expected 'constant', 'edge', 'reflect', 'symmetric' or 'wrap'")
    for axis, (size, pair) in enumerate(zip(a.shape, widths)):
        if pair != (0, 0):
            if size == 0:
                raise ShapeError(f"pad: axis {axis} is empty, so mode {mode!r} has nothing to copy")
            a = a[(*(slice(None),) * axis, np.pad(np.arange(size), pair, mode=mode))]  # type: ignore[call-overload]
    return a


def as_shape(a):
    """The shape of a Tensor, an array, a number or nested lists."""
    return a.shape if hasattr(a, "shape") else to_array(a).shape
