"""Choosing elements and filling in: take, index_select, gather, masked_fill; sums by segment."""

from __future__ import annotations

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.explain import describe, named
from tinygrad_notes.ops.arguments import count
from tinygrad_notes.ops.comparison import where
from tinygrad_notes.ops.indexing import check_range, getitem_, integers, scatter_add, take_along_axis_
from tinygrad_notes.ops.shape import operand, reshape, single_axis
from tinygrad_notes.tensor import to_array


@named
def take(a, indices, axis=None):
    """The slices of ``a`` at integer ``indices`` along ``axis`` (None: of the flattened a), NumPy's take.

    Shape: that of ``a`` with ``axis`` replaced by the axes of ``indices``. Negative ones count from the end; one out of
    range raises IndexError. Repeated ones add up in the gradient.

    >>> tn.take([[1, 2, 3], [4, 5, 6]], [2, 0, -1], axis=1)
    Tensor([[3, 1, 3],
            [6, 4, 6]])
    """
    a = operand(a)
    indices = integers(indices, "indices", a)
    if axis is None:
        a, axis = reshape(a, (-1,)), 0
    axis = single_axis(axis, len(a.shape), "take")
    size = a.shape[axis]
    check_range(indices, size, "take", f"the size of axis {axis}", low=-size)
    return getitem_(a, (*(slice(None),) * axis, indices))


@named
def index_select(a, axis, indices):
    """The slices of ``a`` at the 1-D integer ``indices`` along ``axis``: PyTorch's name and order for :func:`take`.

    >>> tn.index_select([[1, 2], [3, 4]], 0, [1, 1])
    Tensor([[3, 4],
            [3, 4]])
    """
    indices = integers(indices, "indices")
    if indices.ndim > 1:
        raise ShapeError(f"indices have shape {tuple(indices.shape)}, expected (n,)")
    return take(a, indices.reshape(-1), _given(axis))


def _given(axis):
    if axis is None:
        raise DTypeError("axis is None, expected an integer")
    return axis


@named
def gather(a, axis, indices):
    """result[..., k, ...] = a[..., indices[..., k, ...], ...] along ``axis``, PyTorch's gather.

    ``indices`` has as many axes as ``a`` and the result's shape; beside ``axis`` it may be smaller than ``a`` (the rest
    of ``a`` is left out), not larger, and nothing broadcasts; :func:`take_along_axis` does. Negative indices raise
    IndexError. Repeated ones add up in the gradient.

    >>> tn.gather([[1, 2], [3, 4]], 1, [[1], [0]])
    Tensor([[2],
            [3]])
    >>> tn.gather([[1, 2], [3, 4]], 1, [[2], [0]])
    Traceback (most recent call last):
        ...
    IndexError: gather: index 2 is out of range for the size of axis 1 = 2 (a [[1, 2], [3, 4]], axis 1, in...
    """
    a = operand(a)
    indices = integers(indices, "indices", a)
    shape, sizes = tuple(a.shape), tuple(indices.shape)
    if len(shape) != len(sizes):
        raise ShapeError(f"indices have {len(sizes)} axes, a has {len(shape)}")
    axis = single_axis(_given(axis), len(shape), "gather")
    if any(m > n for i, (n, m) in enumerate(zip(shape, sizes)) if i != axis):
        raise ShapeError(f"indices have shape {sizes}, a {shape}; beside axis {axis} they must not be larger")
    check_range(indices, shape[axis], "gather", f"the size of axis {axis}")
    part = tuple(slice(None) if i == axis else slice(0, m) for i, m in enumerate(sizes))
    return take_along_axis_(getitem_(a, part), indices, axis)


@named
def masked_fill(a, mask, value):
    """``value``, one number, where the boolean ``mask`` is true, else a; they broadcast.

    No gradient flows to a where it is filled. ``value`` may be a Tensor of one element, which gets the gradients of the
    places it fills.

    >>> x = tn.tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> y = tn.masked_fill(x, [False, True, False], -np.inf)
    >>> y.detach(), tn.grad(y, x, [1.0, 1.0, 1.0])
    (Tensor([  1., -inf,   3.]), Tensor([1., 0., 1.]))
    """
    a, mask = operand(a), to_array(mask)
    if mask.dtype.kind != "b":
        raise DTypeError(f"mask is {mask.dtype}, expected bool")
    if not isinstance(value, int | float):
        value = operand(value)
        if value.size != 1:
            raise ShapeError(f"value has shape {tuple(value.shape)}, expected one number")
        value = reshape(value, ())
    floating = isinstance(value, float) or (not isinstance(value, int) and value.dtype.kind == "f")
    if floating and a.dtype.kind != "f":
        raise DTypeError(f"value is {describe(value)}, which a of {a.dtype} cannot hold; say .astype first")
    if type(value) is int and a.dtype.kind == "b":
        raise DTypeError(f"value is {value}, which a of bool cannot hold; say .astype first")
    return where(mask, value, a)


@named
def segment_sum(values, segment_ids, num_segments):
    """result[k] = Σ values[i] over the i with segment_ids[i] = k: sums of rows by the segment they belong to.

    ``values`` (n, ...), integer ``segment_ids`` (n,), in any order; result (num_segments, ...), 0 for a segment of
    nothing. Every row gets the gradient of its segment. An id outside 0 ... num_segments - 1 raises IndexError.

    >>> tn.segment_sum([1.0, 2.0, 3.0, 4.0], [0, 2, 0, 2], 3)
    Tensor([4., 0., 6.])
    """
    values = operand(values)
    ids = integers(segment_ids, "segment_ids", values)
    size = count(num_segments, "num_segments", 0)
    if ids.ndim != 1 or len(values.shape) < 1 or values.shape[0] != ids.shape[0]:
        raise ShapeError(
            f"values have shape {tuple(values.shape)}, segment_ids {tuple(ids.shape)}, expected (n, ...) and (n,)"
        )
    check_range(ids, size, "segment_sum", "num_segments")
    return scatter_add(values, (ids,), (size, *values.shape[1:]))
