"""Tensors from numbers: creation functions of the array standard. No gradient flows into what they make."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from tinygrad_notes.errors import DeviceError, DTypeError, ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.ops.arguments import count, flag, number
from tinygrad_notes.tensor import Tensor, as_dtype, cuda_array_module, float32, on_device, to_array, to_device, wrap

CPU, CUDA = 1, 2  # DLPack's kinds of device


@named
def tensor(data: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A Tensor with a copy of ``data``: a number, nested lists, an array or a Tensor.

    Python floats become float32, integers int64, booleans bool; arrays keep their dtype.

    >>> tn.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    Tensor([[1., 2.],
            [3., 4.]], requires_grad=True)
    >>> tn.tensor([1, 2]).dtype, tn.tensor(np.zeros(3)).dtype
    (dtype('int64'), dtype('float64'))
    """
    return _made(to_array(data, dtype, copy=True), device, requires_grad)


@named
def asarray(data: Any, dtype: Any = None, device: str | None = None, copy: bool | None = None) -> Tensor:
    """A Tensor of ``data`` that shares the memory of an array where it can (``copy=True``: never).

    >>> a = np.zeros(2)
    >>> tn.asarray(a)[0] = 5.0
    >>> a
    array([5., 0.])
    """
    copied = copy is not None and flag(copy, "copy")
    return wrap(to_device(to_array(data, dtype, copy=copied), device))


def _shape(shape: Any, name: str) -> tuple[int, ...]:
    try:
        sizes = (operator.index(shape),) if not isinstance(shape, list | tuple) else tuple(map(operator.index, shape))
    except TypeError:
        raise DTypeError(f"{name}: shape is {shape!r}, expected an integer or a tuple of integers") from None
    if any(n < 0 for n in sizes):
        raise ShapeError(f"{name}: shape {sizes} has a negative size")
    return sizes


def _dtype(dtype: Any) -> np.dtype:
    return float32 if dtype is None else as_dtype(dtype)


def _made(array: np.ndarray, device: str | None, requires_grad: bool) -> Tensor:
    result = wrap(to_device(array, device))
    return result.requires_grad_() if requires_grad else result


def _filled(shape: Any, value: float, dtype: np.dtype, device: str | None, name: str) -> Any:
    """``np.full`` on a device: by ``like=`` NumPy would call CuPy's with an argument that CuPy has not."""
    place, sizes = on_device(device), _shape(shape, name)
    return np.full_like(place["like"], value, dtype, shape=sizes) if place else np.full(sizes, value, dtype)


@named
def zeros(shape: Any, dtype: Any = float32, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Zeros of ``shape``, float32 unless told otherwise.

    >>> tn.zeros((2, 3))
    Tensor([[0., 0., 0.],
            [0., 0., 0.]])
    """
    return _made(np.zeros(_shape(shape, "zeros"), _dtype(dtype), **on_device(device)), device, requires_grad)


@named
def ones(shape: Any, dtype: Any = float32, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Ones of ``shape``, float32 unless told otherwise.

    >>> tn.ones(3, dtype=tn.int64)
    Tensor([1, 1, 1])
    """
    return _made(_filled(shape, 1, _dtype(dtype), device, "ones"), device, requires_grad)


@named
def full(
    shape: Any, fill_value: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """``fill_value`` everywhere, in its own dtype (float32 for a Python float) unless told otherwise.

    >>> tn.full((2, 2), 7)
    Tensor([[7, 7],
            [7, 7]])
    """
    value = to_array(fill_value, dtype)
    if value.size != 1:
        raise ShapeError(f"full: fill_value has shape {value.shape}, expected one number")
    return _made(_filled(shape, value.item(), value.dtype, device, "full"), device, requires_grad)


@named
def arange(
    start: float, stop: float | None = None, step: float = 1, dtype: Any = None, device: str | None = None
) -> Tensor:
    """start, start + step, ... below ``stop``; ``arange(stop)`` starts at 0. Integers give int64, floats float32.

    >>> tn.arange(3), tn.arange(1, 2, 0.25)
    (Tensor([0, 1, 2]), Tensor([1.  , 1.25, 1.5 , 1.75]))
    """
    for name, value in (("start", start), ("stop", 0 if stop is None else stop), ("step", step)):
        if not math.isfinite(number(value, f"arange: {name}")):
            raise ShapeError(f"arange: {name} is {value}, expected a finite number")
    if step == 0:
        raise ShapeError("arange: step is 0, expected another number")
    start, stop = (0, start) if stop is None else (start, stop)
    if dtype is None:
        dtype = float32 if any(isinstance(v, float | np.floating) for v in (start, stop, step)) else np.int64
    return _made(np.arange(start, stop, step, **on_device(device)).astype(as_dtype(dtype)), device, False)


@named
def linspace(
    start: float, stop: float, num: int = 50, dtype: Any = float32, device: str | None = None, endpoint: bool = True
) -> Tensor:
    """``num`` numbers at equal distances from ``start`` to ``stop``, both included (or without ``stop``).

    >>> tn.linspace(0, 1, 5)
    Tensor([0.  , 0.25, 0.5 , 0.75, 1.  ])
    """
    start, stop = number(start, "linspace: start"), number(stop, "linspace: stop")
    points = np.linspace(start, stop, count(num, "linspace: num", 0), endpoint=endpoint)
    return _made(points.astype(_dtype(dtype)), device, False)


@named
def eye(n_rows: int, n_cols: int | None = None, k: int = 0, dtype: Any = float32, device: str | None = None) -> Tensor:
    """Ones on the ``k``-th diagonal of an (n_rows, n_cols) matrix, zeros elsewhere.

    >>> tn.eye(2, 3)
    Tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """
    for value, name in ((n_rows, "n_rows"), (n_cols, "n_cols")):
        if isinstance(value, bool):
            raise DTypeError(f"eye: {name} is {value!r}, expected an integer")
    rows, columns = _shape((n_rows, n_rows if n_cols is None else n_cols), "eye")
    place, k = on_device(device), count(k, "eye: k", -(2**31))
    if not place:
        return _made(np.eye(rows, columns, k, _dtype(dtype)), device, False)
    right = np.arange(columns, **place) - np.arange(rows, **place)[:, None]  # NumPy calls CuPy's eye with device=
    return _made((right == k).astype(_dtype(dtype)), device, False)


def _array(x: Any) -> Any:
    return x.data if type(x) is Tensor else to_array(x)


@named
def zeros_like(x: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros with the shape, dtype and device of ``x``.

    >>> tn.zeros_like(np.ones((2, 1), np.int32))
    Tensor([[0],
            [0]], dtype=int32)
    """
    return _made(np.zeros_like(_array(x), dtype=dtype and as_dtype(dtype)), None, requires_grad)


@named
def ones_like(x: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones with the shape, dtype and device of ``x``.

    >>> tn.ones_like([0.0, 0.0])
    Tensor([1., 1.])
    """
    return _made(np.ones_like(_array(x), dtype=dtype and as_dtype(dtype)), None, requires_grad)


@named
def full_like(x: Any, fill_value: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """``fill_value`` everywhere, with the shape, dtype and device of ``x``.

    >>> tn.full_like([0.0, 0.0], 7)
    Tensor([7., 7.])
    """
    array = _array(x)
    value = to_array(fill_value, array.dtype if dtype is None else dtype)
    if value.size != 1:
        raise ShapeError(f"full_like: fill_value has shape {value.shape}, expected one number")
    return _made(np.full_like(array, value.item(), dtype=value.dtype), None, requires_grad)


@named
def empty(shape: Any, dtype: Any = float32, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Memory of ``shape`` whose values are whatever was there.

    >>> tn.empty((2, 3)).shape
    (2, 3)
    """
    return _made(np.empty(_shape(shape, "empty"), _dtype(dtype), **on_device(device)), device, requires_grad)


@named
def empty_like(x: Any, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Memory with the shape, dtype and device of ``x``, whose values are whatever was there.

    >>> x = tn.empty_like(np.zeros((2, 3)))
    >>> x.shape, x.dtype
    ((2, 3), dtype('float64'))
    """
    return _made(np.empty_like(_array(x), dtype=dtype and as_dtype(dtype)), None, requires_grad)


def from_dlpack(x: Any) -> Tensor:
    """A Tensor on the memory of another library's array, without a copy: anything that speaks DLPack, on its device.

    >>> a = np.arange(3)
    >>> x = tn.from_dlpack(a)
    >>> x[0] = 7
    >>> a
    array([7, 1, 2])
    """
    if not hasattr(x, "__dlpack__"):
        raise DTypeError(f"from_dlpack: x is {type(x).__name__}, which does not speak DLPack")
    kind = int(x.__dlpack_device__()[0])
    if kind not in (CPU, CUDA):
        raise DeviceError(
            f"from_dlpack: x is on a device of DLPack's kind {kind}, expected {CPU} (cpu) or {CUDA} (cuda)"
        )
    try:
        array = np.from_dlpack(x) if kind == CPU else cuda_array_module().from_dlpack(x)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise DTypeError(f"from_dlpack: {error}") from error
    return wrap(to_array(array))
