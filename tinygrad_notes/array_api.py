"""The namespace of the Python array API standard 2023.12, which ``tensor.__array_namespace__()`` gives.

It is the package's ops, and here, with the standard's arguments, what they do not have in just that form. Libraries
that are written for the standard compute with Tensors through it, and gradients flow as everywhere.

Missing, since there are no complex numbers: conj, imag, real, complex64, complex128; and the dtypes int8, int16,
uint16, uint32, uint64; and the extensions linalg and fft. Beyond the standard, Python's floats make float32.

>>> xp = tn.tensor([3.0, 4.0]).__array_namespace__()
>>> xp.sqrt(xp.vecdot(xp.asarray([3.0, 4.0]), xp.asarray([3.0, 4.0])))
Tensor(5.)
"""

from __future__ import annotations

import builtins
import sys
from collections import namedtuple
from typing import Any

import numpy as np

from tinygrad_notes import ops
from tinygrad_notes.errors import DeviceError, DTypeError, ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.kernels import DEVICES
from tinygrad_notes.ops.shape import operand
from tinygrad_notes.tensor import (
    DTYPES,
    Tensor,
    as_dtype,
    bool_,
    float32,
    float64,
    int32,
    int64,
    to_array,
    to_device,
    uint8,
    wrap,
)

globals().update({name: getattr(ops, name) for name in ops.__all__})

VERSIONS = ("2021.12", "2022.12", "2023.12")
__array_api_version__ = VERSIONS[-1]
e, pi, inf, nan, newaxis = np.e, np.pi, np.inf, np.nan, None

KINDS = {
    "bool": (bool_,), "signed integer": (int32, int64), "unsigned integer": (uint8,), "integral": (int32, int64, uint8),
    "real floating": (float32, float64), "complex floating": (), "numeric": (int32, int64, uint8, float32, float64),
}  # fmt: skip

# ---------------------------------------------------------------------- dtypes and the namespace itself


def _dtype_of(value: Any) -> np.dtype:
    return value.dtype if type(value) is Tensor or type(value) in DEVICES else as_dtype(value)


@named
def result_type(*arrays_and_dtypes: Any) -> np.dtype:
    """The dtype that operands of these dtypes are computed in: integers join floats, mixed floats the wider.

    Python's numbers promote nothing.

    >>> tn.array_api.result_type(tn.int64, tn.zeros(3)), tn.array_api.result_type(tn.uint8, tn.int32)
    (dtype('float32'), dtype('int32'))
    """
    numbers = [v for v in arrays_and_dtypes if isinstance(v, int | float)]
    dtypes = [_dtype_of(v) for v in arrays_and_dtypes if not isinstance(v, int | float)]
    if not dtypes:
        raise DTypeError("no array and no dtype is given")
    floats = [d for d in dtypes if d.kind == "f"]
    if floats:
        return as_dtype(builtins.max(floats, key=lambda d: d.itemsize))
    if builtins.any(isinstance(n, float) for n in numbers):
        return float32
    return as_dtype(
        np.result_type(*dtypes, *(int64 for n in numbers if not isinstance(n, builtins.bool) and dtypes == [bool_]))
    )


@named
def can_cast(from_: Any, to: Any, /) -> bool:
    """Whether ``from_`` (a dtype or an array) becomes ``to`` when it meets it, and nothing wider.

    >>> tn.array_api.can_cast(tn.int32, tn.float32), tn.array_api.can_cast(tn.float32, tn.int64)
    (True, False)
    """
    return result_type(_dtype_of(from_), to) == as_dtype(to)


@named
def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether ``dtype`` is of ``kind``: a dtype, a word of the standard ("real floating", ...), or a tuple of them.

    >>> tn.array_api.isdtype(tn.int64, "integral"), tn.array_api.isdtype(tn.int64, ("bool", tn.float32))
    (True, False)
    """
    if isinstance(kind, tuple):
        return builtins.any(isdtype(dtype, one) for one in kind)
    if isinstance(kind, str):
        if kind not in KINDS:
            raise ShapeError(f"kind is {kind!r}, expected {', '.join(map(repr, KINDS))}, or a dtype")
        return as_dtype(dtype) in KINDS[kind]
    return as_dtype(dtype) == as_dtype(kind)


@named
def finfo(type: Any, /) -> Any:
    """``bits``, ``eps``, ``max``, ``min``, ``smallest_normal`` and ``dtype`` of a floating dtype (or of an array).

    >>> tn.array_api.finfo(tn.float32).bits
    32
    """
    dtype = _dtype_of(type)
    if dtype.kind != "f":
        raise DTypeError(f"type is {dtype}, expected a floating dtype")
    return np.finfo(dtype)


@named
def iinfo(type: Any, /) -> Any:
    """``bits``, ``max``, ``min`` and ``dtype`` of an integer dtype (or of an array).

    >>> tn.array_api.iinfo(tn.uint8).max
    255
    """
    dtype = _dtype_of(type)
    if dtype.kind not in "iu":
        raise DTypeError(f"type is {dtype}, expected a dtype of integers")
    return np.iinfo(dtype)


class _Info:
    """What the namespace offers (``__array_namespace_info__()``)."""

    def capabilities(self) -> dict[str, Any]:
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> str:
        return "cpu"

    def devices(self) -> list[str]:
        return ["cpu", "cuda"]

    def default_dtypes(self, *, device: Any = None) -> dict[str, np.dtype]:
        return {"real floating": float32, "integral": int64, "indexing": int64}

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, np.dtype]:
        return {d.name: d for d in DTYPES if kind is None or isdtype(d, kind)}


def __array_namespace_info__() -> _Info:
    """Devices, dtypes and abilities of this namespace.

    >>> tn.array_api.__array_namespace_info__().default_dtypes()["real floating"]
    dtype('float32')
    """
    return _Info()


def _array_namespace(self: Tensor, /, *, api_version: str | None = None) -> Any:
    """The namespace of the array API standard for Tensors, :mod:`tinygrad_notes.array_api`."""
    if api_version is not None and api_version not in VERSIONS:
        raise ShapeError(f"__array_namespace__: api_version is {api_version!r}, expected one of {', '.join(VERSIONS)}")
    return sys.modules[__name__]


def _to_device(self: Tensor, device: str, /, *, stream: Any = None) -> Tensor:
    """This Tensor on another device (the standard's name for ``to``).

    >>> tn.ones(2).to_device("cpu")
    Tensor([1., 1.])
    """
    if stream is not None:
        raise DeviceError(f"to_device: stream is {stream!r}, expected None")
    if device not in ("cpu", "cuda"):
        raise DeviceError(f"to_device: device is {device!r}, expected 'cpu' or 'cuda'")
    return self.to(device)  # type: ignore[attr-defined]


# ---------------------------------------------------------------------- functions in the standard's form


@named
def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Tensor:
    """``x`` in another dtype; without ``copy`` the same Tensor where nothing changes."""
    x = operand(x)
    if not copy and x.dtype == as_dtype(dtype):
        return _placed(x, device)
    return _placed(ops.astype(x, dtype), device)


def _placed(x: Tensor, device: Any) -> Tensor:
    return x if device is None else _to_device(x, device)


def _like(name: str) -> Any:
    function = getattr(ops, name)

    def call(x: Any, /, *, dtype: Any = None, device: Any = None) -> Tensor:
        return _placed(function(x, dtype), device)

    call.__name__, call.__doc__ = name, function.__doc__
    return call


empty_like, ones_like, zeros_like = map(_like, ("empty_like", "ones_like", "zeros_like"))


@named
def full_like(x: Any, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """``fill_value`` everywhere, with the shape, dtype and device of ``x``."""
    return _placed(ops.full_like(x, fill_value, dtype), device)


@named
def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A Tensor of another library's array, on its memory unless ``copy`` or another ``device`` is asked for."""
    result = ops.from_dlpack(x)
    return wrap(to_device(result.data.copy() if copy else result.data, device))


@named
def sum(x: Any, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """Σ x over ``axis``, in ``dtype`` (None: integers in int64)."""
    return ops.sum(x if dtype is None else ops.astype(x, dtype), axis, keepdims)


@named
def prod(x: Any, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """Π x over ``axis``, in ``dtype`` (None: integers in int64)."""
    return ops.prod(x if dtype is None else ops.astype(x, dtype), axis, keepdims)


@named
def cumulative_sum(x: Any, /, *, axis: Any = None, dtype: Any = None, include_initial: bool = False) -> Tensor:
    """Running sums along ``axis``, which may be left out for one axis; with ``include_initial`` from 0 on.

    >>> tn.array_api.cumulative_sum([1, 2, 3], include_initial=True)
    Tensor([0, 1, 3, 6])
    """
    x = operand(x)
    if axis is None and x.ndim != 1:
        raise ShapeError(f"axis is None, x has shape {x.shape}, expected one axis")
    axis = 0 if axis is None else axis
    total = ops.cumsum(x if dtype is None else ops.astype(x, dtype), axis)
    if not include_initial:
        return total
    start = ops.zeros_like(ops.take(total, [0] if total.shape[axis] else [], axis))
    if not total.shape[axis]:
        start = ops.zeros(tuple(1 if i == axis % x.ndim else n for i, n in enumerate(x.shape)), total.dtype)
    return ops.concat([start, total], axis)


@named
def expand_dims(x: Any, /, *, axis: Any = 0) -> Tensor:
    """A new axis of size one at ``axis`` of the result."""
    return ops.expand_dims(x, axis)


@named
def reshape(x: Any, /, shape: Any, *, copy: bool | None = None) -> Tensor:
    """The same elements in another shape; a view where the memory allows it, unless ``copy``."""
    result = ops.reshape(ops.clone(x) if copy else x, shape)
    if copy is False and not np.shares_memory(result.data, operand(x).data):
        raise ShapeError(f"copy is False, but shape {shape} needs one")
    return result


@named
def searchsorted(x1: Any, x2: Any, /, *, side: str = "left", sorter: Any = None) -> Tensor:
    """Where the elements of ``x2`` belong in ``x1``, ascending (or made so by the indices ``sorter``)."""
    return ops.searchsorted(x1 if sorter is None else ops.take(x1, sorter, 0), x2, side)


@named
def broadcast_arrays(*arrays: Any) -> list[Tensor]:
    """The arrays in the one shape that they broadcast to.

    >>> [a.shape for a in tn.array_api.broadcast_arrays(tn.zeros((2, 1)), tn.zeros(3))]
    [(2, 3), (2, 3)]
    """
    tensors = [operand(a) for a in arrays]
    shape = np.broadcast_shapes(*(t.shape for t in tensors))
    return [ops.broadcast_to(t, shape) for t in tensors]


@named
def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Tensor:
    """Σ x1 x2 along ``axis``; the other axes broadcast.

    >>> tn.array_api.vecdot([1.0, 2.0], [3.0, 4.0])
    Tensor(11.)
    """
    x1, x2 = operand(x1), operand(x2)
    if not x1.shape or not x2.shape or x1.shape[axis] != x2.shape[axis]:
        raise ShapeError(f"x1 has shape {x1.shape}, x2 {x2.shape}, expected equal sizes along axis {axis}")
    x1, x2 = (ops.moveaxis(x, axis, -1) for x in (x1, x2))
    return ops.astype(ops.sum(x1 * x2, -1), result_type(x1, x2)) if x1.dtype.kind != "f" else ops.sum(x1 * x2, -1)


@named
def tensordot(x1: Any, x2: Any, /, *, axes: Any = 2) -> Tensor:
    """Σ of products over the last ``axes`` of x1 and the first of x2, or over two sequences of axes.

    >>> tn.array_api.tensordot(tn.ones((2, 3)), tn.ones((3, 4)), axes=1).shape
    (2, 4)
    """
    x1, x2 = operand(x1), operand(x2)
    if isinstance(axes, int):
        axes = range(x1.ndim - axes, x1.ndim), range(axes)
    first, second = ([int(a) % n for a in group] for group, n in zip(axes, (x1.ndim, x2.ndim)))
    if [x1.shape[a] for a in first] != [x2.shape[a] for a in second]:
        raise ShapeError(f"x1 has shape {x1.shape}, x2 {x2.shape}, whose axes {first} and {second} differ in size")
    rows = [i for i in range(x1.ndim) if i not in first]
    columns = [i for i in range(x2.ndim) if i not in second]
    inner = int(np.prod([x1.shape[a] for a in first], dtype=int))
    a = ops.permute_dims(x1, (*rows, *first)).reshape(-1 if inner else int(np.prod([x1.shape[i] for i in rows])), inner)
    b = ops.permute_dims(x2, (*second, *columns)).reshape(
        inner, int(np.prod([x2.shape[i] for i in columns], dtype=int))
    )
    return ops.matmul(a, b).reshape(*(x1.shape[i] for i in rows), *(x2.shape[i] for i in columns))


# ---------------------------------------------------------------------- signs and shifts: no gradient but through x1


@named
def signbit(x: Any, /) -> Tensor:
    """Whether the sign of a floating number is set, that of -0 too."""
    return wrap(np.signbit(to_array(x)))


@named
def copysign(x1: Any, x2: Any, /) -> Tensor:
    """abs(x1) with the sign of x2.

    >>> tn.array_api.copysign([1.0, -2.0], [-0.0, 3.0])
    Tensor([-1.,  2.])
    """
    size = ops.abs(x1)
    return ops.where(signbit(x2), -size, size)


def _whole(x: Any) -> Any:
    array = to_array(x)
    if array.dtype.kind not in "iu":
        raise DTypeError(f"an operand is {array.dtype}, expected integers")
    return array


@named
def bitwise_left_shift(x1: Any, x2: Any, /) -> Tensor:
    """x1 · 2^x2 of integers.

    >>> tn.tensor([1, 3]) << 2
    Tensor([ 4, 12])
    """
    return wrap(np.left_shift(_whole(x1), x2 if isinstance(x2, int) else _whole(x2)))


@named
def bitwise_right_shift(x1: Any, x2: Any, /) -> Tensor:
    """⌊x1 / 2^x2⌋ of integers."""
    return wrap(np.right_shift(_whole(x1), x2 if isinstance(x2, int) else _whole(x2)))


# ---------------------------------------------------------------------- sets

UniqueAll = namedtuple("UniqueAll", "values indices inverse_indices counts")
UniqueCounts = namedtuple("UniqueCounts", "values counts")
UniqueInverse = namedtuple("UniqueInverse", "values inverse_indices")


def _unique(x: Any) -> list[Tensor]:
    """Values, first places, inverse and counts, by which each NaN is an element of its own."""
    found = np.unique(to_array(x), return_index=True, return_inverse=True, return_counts=True, equal_nan=False)
    return [wrap(np.asarray(part)) for part in found]


@named
def unique_all(x: Any, /) -> UniqueAll:
    """The different elements, where each first stands, which one each element is, and how often it occurs."""
    return UniqueAll(*_unique(x))


@named
def unique_counts(x: Any, /) -> UniqueCounts:
    """The different elements, and how often each occurs."""
    return UniqueCounts(*_unique(x)[::3])


@named
def unique_inverse(x: Any, /) -> UniqueInverse:
    """The different elements, and which of them each element is."""
    return UniqueInverse(*_unique(x)[::2])


@named
def unique_values(x: Any, /) -> Tensor:
    """The different elements, ascending.

    >>> tn.array_api.unique_values([2, 1, 2])
    Tensor([1, 2])
    """
    return _unique(x)[0]


for _name, _method in {
    "__array_namespace__": _array_namespace,
    "to_device": _to_device,
    "__lshift__": bitwise_left_shift,
    "__rshift__": bitwise_right_shift,
}.items():
    setattr(Tensor, _name, _method)

globals()["bool"] = bool_  # the standard's name for it; in this module's own text it would hide Python's
