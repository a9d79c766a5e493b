"""Reading and writing by index: ``x[...]``, ``x[...] = v``, scatter, gather, embedding, one-hot."""

from __future__ import annotations

import numpy as np

from tinygrad_notes import kernels
from tinygrad_notes.errors import DTypeError, GradientError, ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.kernels import DEVICES
from tinygrad_notes.modes import mode, recording
from tinygrad_notes.ops.arguments import count, extremes
from tinygrad_notes.ops.comparison import where
from tinygrad_notes.ops.shape import broadcast_to, operand, single_axis
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tape import adopt
from tinygrad_notes.tensor import Tensor, as_dtype, beside, float32, int64, to_array, wrap
from tinygrad_notes.writes import VIEWS, check_operand, forgive_write, mark_written, owner_of


def plain_index(index):
    """An index with arrays in place of Tensors and lists."""
    if type(index) is tuple:
        return tuple(map(_plain_part, index))
    return _plain_part(index)


def _plain_part(part):
    if type(part) is Tensor:
        part = part.data
        if part.dtype.kind == "f":
            raise DTypeError(
                f"index: a Tensor of {part.dtype}, expected integers or booleans; indices have no gradient"
            )
        return part
    if type(part) is list:
        return to_array(part) if part else np.zeros(0, int64)
    return part


def _of_device(index, like):
    """``index`` with its arrays on the device of ``like``, and none of them out of range: CuPy takes another element.

    Looking at them waits for the device; what capture records is not looked at.
    """
    parts = index if type(index) is tuple else (index,)
    parts = tuple(beside(part, like) if isinstance(part, np.ndarray) else part for part in parts)
    axis, named = 0, [part for part in parts if part is not None and part is not Ellipsis and type(part) is not bool]
    for part in parts:
        kind = part.dtype.kind if hasattr(part, "dtype") else ""
        if part is Ellipsis:
            axis += like.ndim - sum(p.ndim if hasattr(p, "dtype") and p.dtype.kind == "b" else 1 for p in named)
        elif kind == "b":
            axis += part.ndim
        elif part is not None and type(part) is not bool:
            if kind in ("i", "u") and axis < like.ndim:
                _refuse_outside(part, like.shape[axis], axis)
            axis += 1
    return parts if type(index) is tuple else parts[0]


def _refuse_outside(places, size, axis):
    """IndexError, in NumPy's words, for a place that ``axis`` does not have, counted from either end."""
    if not places.size or recording():
        return
    low, high = extremes(places)
    if low < -size or high >= size:
        raise IndexError(f"index {low if low < -size else high} is out of bounds for axis {axis} with size {size}")


def _is_basic(index):
    parts = index if type(index) is tuple else (index,)
    return all(part is None or part is Ellipsis or isinstance(part, int | slice | np.integer) for part in parts)


@op
def getitem_(a: Array, index):
    """a[index], NumPy's rules: a view for ints, slices, None and ...; a copy for integer and boolean arrays.

    An element that is read more than once collects all gradients.
    """
    shape = a.shape
    return a[index], lambda g: scatter_add(g, index, shape)


def getitem(a, index):
    """``a[index]``; Tensors of integers or booleans may stand in the index, which raises IndexError out of range.

    >>> x = tn.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> tn.getitem(x, (0, 1)), x[:, 0].sum()
    (Tensor(2., op=getitem), Tensor(4., op=sum))
    >>> tn.grad(x[[0, 0, 1]].sum(), x)
    Tensor([[2., 2.],
            [1., 1.]])
    """
    try:
        index = plain_index(index)
        if type(a) is Tensor and type(a.data) is not np.ndarray and not _is_basic(index):
            index = _of_device(index, a.data)
    except (ShapeError, DTypeError, IndexError) as error:
        raise type(error)(f"getitem: {error}") from None
    return getitem_(a, index)


@op
def scatter_add_(values: Array, index, shape):
    """Zeros of ``shape`` with ``values`` added at ``index``; repeated indices add up. The inverse of reading."""
    if not isinstance(shape, list | tuple | int):  # None would be the shape of the values
        raise DTypeError(f"shape is {shape!r}, expected a tuple of integers")
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if _is_basic(index):
        result = np.zeros_like(values, shape=shape)
        result[index] = values
    else:
        result = kernels.scatter_add(values, index, shape)
    return result, lambda g: getitem_(g, index)


@named
def scatter_add(values, index, shape):
    """Zeros of ``shape`` with ``values`` added at ``index`` (as in ``x[index] += values``); repeated indices add up.

    >>> tn.scatter_add([1.0, 2.0, 5.0], [0, 0, 2], 4)
    Tensor([3., 0., 5., 0.])
    """
    index = plain_index(index)
    if type(values) is Tensor and type(values.data) is not np.ndarray and isinstance(shape, list | tuple | int):
        index = _of_device(index, np.broadcast_to(np.zeros_like(values.data, shape=()), shape))
    return scatter_add_(values, index, shape)


@op
def zero_at(a: Array, index):
    """A copy of ``a`` with zeros at ``index``."""
    value = a.copy()
    value[index] = 0
    return value, lambda g: zero_at(g, index)


@op
def setitem_(a: Array, v: Array, index):
    """a[index] = v, in place. What was overwritten loses its gradient, v gets it.

    Where an index is repeated the last value stands, and only it gets the gradient.
    """
    a[index] = v
    return a, lambda g: zero_at(g, index), lambda g: _of_what_stands(g, index)


def _of_what_stands(g, index):
    """g[index], 0 for values that a later one of the same write replaced."""
    read = getitem_(g, index)
    parts = index if type(index) is tuple else (index,)
    if not any(hasattr(part, "dtype") and part.dtype.kind in "iu" and part.size > 1 for part in parts):
        return read
    like = g.data if type(g) is Tensor else g
    order = np.arange(read.size, like=like).reshape(read.shape)
    standing = np.zeros_like(like, dtype=order.dtype)
    standing[index] = order
    return where(standing[index] == order, read, 0.0)


def setitem(self, index, value):
    """``x[index] = value``, in place and differentiable for both sides.

    A value is rounded to x's floating dtype, but floats are not written into integers, nor numbers into booleans.

    >>> x, v = tn.zeros(3), tn.tensor(5.0, requires_grad=True)
    >>> x[1] = 2.0 * v
    >>> x
    Tensor([ 0., 10.,  0.], op=setitem)
    >>> tn.grad(x.sum(), v)
    Tensor(2.)
    """
    refuse_leaf(self, "setitem")
    try:
        index = plain_index(index)
        if type(self.data) is not np.ndarray and not _is_basic(index):
            index = _of_device(index, self.data)
        if type(value) is not Tensor and type(value) not in DEVICES:
            value = np.asarray(_exact(value, self.data.dtype), like=self.data)
        _refuse_lossy(value.dtype, self.data.dtype)
    except (ShapeError, DTypeError, IndexError) as error:
        raise type(error)(f"setitem: {error}") from None
    if type(value) is Tensor and _same_memory(self.data, index, value.data):
        forgive_write(self, value)
    refuse_repeated(self.data, "setitem")
    check_operand(self, "setitem")  # before anything is written
    if type(value) is Tensor:
        check_operand(value, "setitem")
    result = setitem_(self, value, index)
    joined = self.node is None and result.node is not None
    mark_written(self.data, joined)
    if result.node is not None:
        adopt(self, result.node)


def refuse_repeated(array, name):
    """What broadcast_to made shows one element in many places. NumPy's is read-only; CuPy has no such thing."""
    repeated = type(array) is not np.ndarray and array.size
    if repeated and any(step == 0 and n > 1 for step, n in zip(array.strides, array.shape)):
        raise ShapeError(
            f"{name}: assignment destination is read-only; a Tensor made by broadcast_to has no memory of its own, "
            "write to its clone()"
        )


def _exact(value, dtype):
    """A Python number, list or NumPy scalar as what is written into ``dtype``: not rounded to float32 on the way."""
    array = to_array(value)
    _refuse_lossy(array.dtype, dtype)
    return array if isinstance(value, np.generic) else to_array(value, dtype)


def _refuse_lossy(given, dtype):
    """Cutting off fractions, or making booleans of numbers, is for astype to do."""
    if (given.kind == "f" and dtype.kind != "f") or (given.kind != "b" and dtype.kind == "b"):
        raise DTypeError(f"the value is {given}, the Tensor it is written to {dtype}; say .astype first")


def _same_memory(array, index, other):
    if not _is_basic(index) or type(array) is not type(other) or owner_of(array) is not owner_of(other):
        return False
    view = array[index]
    return view.shape == other.shape and view.strides == other.strides and _address(view) == _address(other)


def _address(array):
    return array.__array_interface__["data"][0] if isinstance(array, np.ndarray) else array.data.ptr


def refuse_leaf(tensor, name):
    """A leaf that requires a gradient is not written on the tape: its gradient would be of the value before."""
    node = tensor.node
    if node is None or not mode.get().record:
        return
    while node.op is not None and node.op.name in VIEWS and node.parents:
        node = node.parents[0]
    if node.op is not None:
        return
    leaf = node.extra.owner()
    if leaf is tensor or (leaf is not None and owner_of(leaf.data) is owner_of(tensor.data)):
        what = "a leaf" if leaf is tensor else "a view of a leaf"
        raise GradientError(
            f"{name}: {what} that requires a gradient is not written in place while recording; use no_grad(), or a copy"
        )


@op
def take_along_axis_(a: Array, indices, axis):
    shape = a.shape
    return np.take_along_axis(a, indices, axis), lambda g: _put_along_axis(g, indices, axis, shape)


@op
def _put_along_axis(values: Array, indices, axis, shape):
    """Zeros of ``shape`` with ``values`` added at ``indices`` along ``axis``."""
    axes = []
    for i, n in enumerate(values.shape):
        along = np.arange(n, like=values).reshape([-1 if j == i else 1 for j in range(values.ndim)])
        axes.append(indices if i == axis % values.ndim else along)
    index = tuple(axes)
    return kernels.scatter_add(values, index, shape), lambda g: take_along_axis_(g, indices, axis)


@named
def take_along_axis(a, indices, axis):
    """a[..., indices[..., k], ...] along ``axis``: one element for every entry of the integer array ``indices``.

    ``indices`` has as many axes as ``a`` and its sizes beside ``axis`` broadcast against it. Repeated ones add up in
    the gradient.

    >>> x = tn.tensor([[3, 1, 2], [4, 6, 5]])
    >>> tn.take_along_axis(x, tn.argsort(x), axis=1)
    Tensor([[1, 2, 3],
            [4, 5, 6]])
    """
    a = operand(a)
    indices = integers(indices, "indices", a)
    shape = tuple(a.shape)
    if len(indices.shape) != len(shape):
        raise ShapeError(f"take_along_axis: indices have {len(indices.shape)} axes, a has {len(shape)}")
    axis = single_axis(axis, len(shape), "take_along_axis")
    sizes = [list(s[:axis] + s[axis + 1 :]) for s in (shape, tuple(indices.shape))]
    try:
        common = list(np.broadcast_shapes(*sizes))
    except ValueError:
        raise ShapeError(
            f"take_along_axis: a has shape {shape}, indices {tuple(indices.shape)}; beside axis {axis} they broadcast"
        ) from None
    if type(indices) is not np.ndarray:
        _refuse_outside(indices, shape[axis], axis)
    if sizes[0] != common:
        a = broadcast_to(a, (*common[:axis], shape[axis], *common[axis:]))
    return take_along_axis_(a, np.broadcast_to(indices, (*common[:axis], indices.shape[axis], *common[axis:])), axis)


@named
def one_hot(indices, num_classes=None, dtype=float32):
    """1 at each index and 0 elsewhere, on a new last axis of size ``num_classes`` (None: the largest index + 1).

    >>> tn.one_hot([2, 0], 3)
    Tensor([[0., 0., 1.],
            [1., 0., 0.]])
    """
    indices, dtype = integers(indices, "indices"), as_dtype(dtype)
    if num_classes is None:
        num_classes = max(int(indices.max()) + 1, 0) if indices.size else 0
    num_classes = count(num_classes, "num_classes", 0)
    check_range(indices, num_classes, "one_hot", "num_classes")
    return wrap((indices[..., None] == np.arange(num_classes, like=indices)).astype(dtype))


def integers(indices, name, a=None):
    """An array of integers, where the operand ``a`` is; nothing in a list counts as integers too."""
    array = to_array(indices, int64 if isinstance(indices, list | tuple) and not len(indices) else None)
    if array.dtype.kind not in "iu":
        raise DTypeError(f"{name} are {array.dtype}, expected integers")
    return array if a is None else beside(array, a.data if type(a) is Tensor else a)


def check_range(indices, size, name, what, low=0):
    """IndexError when an index is outside ``low`` .. ``size`` - 1. On a GPU that waits; recorded steps are trusted."""
    if not indices.size or recording():
        return
    lowest, highest = extremes(indices)
    if lowest < low or highest >= size:
        wrong = lowest if lowest < low else highest
        raise IndexError(f"{name}: index {wrong} is out of range for {what} = {size}")


@op
def _embedding(weight: Array, indices):
    rows = weight.shape[0]
    return kernels.embedding(weight, indices), lambda g: _embedding_grad(g, indices, rows)


@op
def _embedding_grad(g_: Array, indices, rows):
    """The gradient of an embedding's weight: the rows of ``g_`` added where they came from."""
    return kernels.embedding_grad(g_, indices, rows), lambda g: _embedding(g, indices)


@named
def embedding(indices, weight, padding_idx=None):
    """Rows of ``weight`` (count, size) at the integer ``indices`` (...): result (..., size).

    The row ``padding_idx`` gets no gradient. A row used more than once collects all gradients, in a fixed order.

    >>> weight = tn.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], requires_grad=True)
    >>> y = tn.embedding([2, 0, 2], weight)
    >>> y.sum().backward()
    >>> weight.grad
    Tensor([[1., 1.],
            [0., 0.],
            [2., 2.]])
    """
    weight = operand(weight)
    indices, shape = integers(indices, "indices", weight), weight.shape
    if len(shape) != 2:
        raise ShapeError(f"embedding: weight has shape {tuple(shape)}, expected (count, size)")
    check_range(indices, shape[0], "embedding", "the number of rows")
    if padding_idx is None:
        return _embedding(weight, indices)
    padding_idx = count(padding_idx, "padding_idx", -(2**63))
    check_range(np.asarray(padding_idx), shape[0], "embedding: padding_idx", "the number of rows", low=-shape[0])
    rows = _embedding(weight, indices)
    return where((indices == padding_idx % shape[0])[..., None], rows.detach(), rows)
