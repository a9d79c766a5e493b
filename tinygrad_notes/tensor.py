"""Tensor: an array, its gradient, and its place on the tape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_notes.errors import DeviceError, DTypeError, GradientError, ShapeError
from tinygrad_notes.kernels import DEVICES, register_array_type
from tinygrad_notes.lazy import load

if TYPE_CHECKING:
    from tinygrad_notes.tape import Node

float32, float64 = np.dtype("float32"), np.dtype("float64")
int32, int64, uint8, bool_ = np.dtype("int32"), np.dtype("int64"), np.dtype("uint8"), np.dtype("bool")

DTYPES = (float32, float64, int32, int64, uint8, bool_)
DTYPE_CHARS = frozenset(dtype.char for dtype in DTYPES) | {np.dtype("longlong").char}  # two names of one int64
HALF = ("float16", "bfloat16")


class Tensor:
    """An array that remembers how it was computed.

    ``data`` is the array (always an array, of no axes too), ``grad`` the accumulated gradient (a Tensor or None),
    ``node`` the place on the tape (None: no gradient flows here). The operators and methods are the ops themselves,
    bound by ``tinygrad_notes.ops``, so ``a + b`` costs no call beyond ``add(a, b)``.

    ``Tensor(data, dtype=None, device=None, requires_grad=False)`` copies ``data``: a number, nested lists, an array or
    a Tensor. Python floats become float32, integers int64; arrays keep their dtype.

    >>> x = tn.Tensor([1.0, 2.0], requires_grad=True)
    >>> y = (3.0 * x).sum()
    >>> y
    Tensor(9., op=sum)
    >>> y.backward()
    >>> x.grad
    Tensor([3., 3.])
    """

    __slots__ = ("__weakref__", "data", "grad", "node")
    __array_priority__ = 1000  # CuPy's arrays on the left give way to it

    data: Any
    grad: Tensor | None
    node: Node | None

    def __init__(self, data: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False):
        try:
            self.data, self.grad, self.node = to_device(to_array(data, dtype, copy=True), device), None, None
            if requires_grad:
                self.requires_grad_()
        except (ShapeError, DTypeError, DeviceError, GradientError) as error:
            raise type(error)(f"Tensor: {error}") from None

    def __init_subclass__(cls) -> None:
        raise TypeError("Tensor is final: ops recognise it by its exact type; hold one in an attribute instead")

    # ------------------------------------------------------------------ what it is

    @property
    def requires_grad(self) -> bool:
        """True when gradients flow here: a leaf that asks for one, or a value computed from such a leaf.

        >>> x = tn.tensor(1.0, requires_grad=True)
        >>> x.requires_grad, (x + 1).requires_grad, x.detach().requires_grad
        (True, True, False)
        """
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, flag: bool) -> None:
        self.requires_grad_(flag)

    @property
    def is_leaf(self) -> bool:
        """True when no op made it, as far as the tape knows.

        >>> x = tn.tensor(1.0, requires_grad=True)
        >>> x.is_leaf, (x + 1).is_leaf
        (True, False)
        """
        return self.node is None or self.node.op is None

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes.

        >>> tn.zeros((2, 3)).shape
        (2, 3)
        """
        return self.data.shape

    @property
    def dtype(self) -> np.dtype:
        """The type of the elements, one of NumPy's dtypes.

        >>> tn.tensor([1.0]).dtype, tn.tensor([1]).dtype
        (dtype('float32'), dtype('int64'))
        """
        return self.data.dtype

    @property
    def ndim(self) -> int:
        """The number of axes.

        >>> tn.zeros((2, 3)).ndim, tn.tensor(1.0).ndim
        (2, 0)
        """
        return self.data.ndim

    @property
    def size(self) -> int:
        """Number of elements.

        >>> tn.zeros((2, 3)).size
        6
        """
        return self.data.size

    @property
    def nbytes(self) -> int:
        """The memory of the elements, in bytes.

        >>> tn.zeros((2, 3)).nbytes
        24
        """
        return self.data.nbytes

    @property
    def device(self) -> str:
        """``"cpu"`` or ``"cuda"``.

        >>> tn.zeros(3).device
        'cpu'
        """
        return DEVICES[type(self.data)]

    # ------------------------------------------------------------------ out to NumPy and Python

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array: the Tensor's own memory on the CPU, a copy from any other device.

        A Tensor that requires a gradient refuses, because what is computed from the array is not recorded:
        say ``t.detach().numpy()``.

        >>> x = tn.tensor([1.0, 2.0])
        >>> x.numpy()
        array([1., 2.], dtype=float32)
        >>> x.requires_grad_().detach().numpy()
        array([1., 2.], dtype=float32)
        """
        if self.node is not None:
            raise GradientError(
                "numpy: this Tensor requires a gradient, which NumPy does not follow; use t.detach().numpy()"
            )
        return to_numpy(self.data)

    def item(self) -> float | int | bool:
        """The value of a Tensor with one element, as a Python number.

        >>> tn.tensor([2.5]).item()
        2.5
        """
        if self.data.size != 1:
            raise ShapeError(f"item: the Tensor has shape {self.shape}, expected one element")
        return self.data.item()

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers.

        >>> tn.tensor([[1, 2], [3, 4]]).tolist()
        [[1, 2], [3, 4]]
        """
        return self.data.tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        return np.array(array, dtype=dtype, copy=copy)

    def __dlpack__(self, **options: Any) -> Any:
        """The memory for another library, without a copy; refuses as :meth:`numpy` does."""
        if self.node is not None:
            raise GradientError("dlpack: this Tensor requires a gradient, which others do not follow; use t.detach()")
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.data.__dlpack_device__()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.data.dtype.kind not in "iu":
            raise DTypeError(f"index: the Tensor is {self.dtype}, expected integers")
        return int(self.item())

    def __bool__(self) -> bool:
        if self.data.size != 1:
            raise ShapeError(
                f"bool: the truth of a Tensor of shape {self.shape} is ambiguous; use .all() or .any() of its array"
            )
        return bool(self.data.item())

    def __len__(self) -> int:
        if self.data.ndim == 0:
            raise DTypeError("len: the Tensor has no axes, expected at least one")
        return self.data.shape[0]

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        text = np.array2string(to_numpy(self.data), separator=", ", prefix="Tensor(", threshold=200, edgeitems=3)
        parts = [f"Tensor({text}"]
        if self.data.size == 0 or self.data.size > 200:
            parts.append(f"shape={self.shape}")
        if self.data.dtype not in (float32, int64, bool_):
            parts.append(f"dtype={self.dtype}")
        if self.device != "cpu":
            parts.append(f"device={self.device!r}")
        if self.node is not None:
            parts.append("requires_grad=True" if self.node.op is None else f"op={self.node.name}")
        return ", ".join(parts) + ")"

    def __format__(self, specification: str) -> str:
        return format(self.item(), specification) if specification else repr(self)

    # ------------------------------------------------------------------ copies

    def __reduce__(self) -> tuple:
        self._refuse_history("pickle")
        if not has_memory(self.data):
            raise DeviceError("pickle: this Tensor was made under shape_only, so it has no values to keep")
        grad = None if self.grad is None else wrap(self.grad.data)
        return _rebuild, (to_numpy(self.data), self.device, self.node is not None, grad)

    def __deepcopy__(self, memo: dict) -> Tensor:
        self._refuse_history("deepcopy")
        grad = None if self.grad is None else wrap(self.grad.data.copy())
        data = self.data.copy() if has_memory(self.data) else self.data
        return _rebuild(data, None, self.node is not None, grad)

    def _refuse_history(self, what: str) -> None:
        if not self.is_leaf:
            raise GradientError(f"{what}: this Tensor was made by {self.node.name}, and its history cannot be copied; "
                                "copy t.detach() instead")  # fmt: skip

    if TYPE_CHECKING:  # tensor.pyi, generated from the registry, gives the ops to editors and mypy

        def requires_grad_(self, flag: bool = True) -> Tensor: ...


new = object.__new__  # skips the Python-level __init__: half the cost of Tensor(...)


def wrap(array: Any, node: Node | None = None) -> Tensor:
    """A Tensor around ``array`` without copying or converting it."""
    result = new(Tensor)
    result.data, result.grad, result.node = array, None, node
    return result


def _rebuild(array: Any, device: str | None, requires_grad: bool, grad: Tensor | None) -> Tensor:
    result = wrap(to_device(to_array(array), device))
    if requires_grad:
        result.requires_grad_()
    result.grad = grad
    return result


# ---------------------------------------------------------------------- arrays


def as_dtype(dtype: Any) -> np.dtype:
    """A dtype this package computes with, from any of NumPy's spellings; DTypeError for the others."""
    name = getattr(dtype, "name", dtype)
    if isinstance(name, str) and name in HALF:
        _refuse_half(name)
    if dtype is float:
        return float32
    expected = f"expected one of {', '.join(map(str, DTYPES))}"
    try:
        result = np.dtype(dtype).newbyteorder("=") if dtype is not None else None
    except TypeError:
        result = None
    if result is None:
        raise DTypeError(f"dtype is {dtype!r}, {expected}")
    if result.char not in DTYPE_CHARS:
        if result.name in HALF:
            _refuse_half(result.name)
        raise DTypeError(f"dtype {result} is not supported, {expected}")
    return next(d for d in DTYPES if d == result)  # the one object of that dtype: the engine compares by identity first


def _refuse_half(name: str) -> None:
    raise DTypeError(
        f"{name} is no dtype of Tensors, use float32; on a GPU tn.precision('medium') computes products in bfloat16"
    )


def to_array(data: Any, dtype: Any = None, copy: bool = False) -> Any:
    """The array of a number, nested lists, an array or a Tensor, of a supported dtype.

    Whoever calls this puts its own name in front of the errors, as ops do.
    """
    if isinstance(data, Tensor):
        data = data.data
    wanted = None if dtype is None else as_dtype(dtype)
    if type(data) in DEVICES:
        wanted = wanted if wanted is not None and data.dtype.kind in "fiub" else as_dtype(data.dtype)
        if copy or data.dtype != wanted:
            return data.astype(wanted, copy=copy)
        return data if data.dtype is wanted else data.view(wanted)  # unpickled, its dtype is another object
    if isinstance(data, list | tuple) and _holds_tensor(data):
        raise DTypeError("a list of Tensors; use stack or concat, which keep the gradient")
    try:
        array = np.asarray(data)  # np.array asks for a copy, which PyTorch's __array__ does not understand
    except ValueError:
        raise ShapeError(f"the rows of {data!r:.60} differ in length, expected a rectangular list") from None
    except (TypeError, OverflowError) as error:
        raise DTypeError(f"expected numbers, got {error}") from None
    if hasattr(data, "__array__"):  # a NumPy scalar, or an array of another library
        wanted = wanted if wanted is not None and array.dtype.kind in "fiub" else as_dtype(array.dtype)
        return array.astype(wanted, copy=copy)
    if array.dtype.kind not in "fiub":
        raise DTypeError(f"expected real numbers, got {type(data).__name__} {data!r:.60}")
    if wanted is None:
        known = array.dtype.char in DTYPE_CHARS
        wanted = float32 if array.dtype.kind == "f" else array.dtype if known else int64
    if wanted.kind in "iu":
        _check_range(array, wanted)
    return array.astype(wanted, copy=False)


def _check_range(array: np.ndarray, dtype: np.dtype) -> None:
    """Refuse numbers that an integer dtype does not have: NumPy makes others of them. Fractions are cut off."""
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    outside = ~((array >= low) & (array <= high))
    if outside.any():
        raise DTypeError(f"{array[outside][0]} is not a number of {dtype}, which has {low} to {high}")


def _holds_tensor(data: list | tuple) -> bool:
    return any(isinstance(v, Tensor) or (isinstance(v, list | tuple) and _holds_tensor(v)) for v in data)


def to_numpy(array: Any) -> np.ndarray:
    """``array`` in host memory."""
    return array if isinstance(array, np.ndarray) else array.get()


def to_device(array: Any, device: str | None) -> Any:
    """``array`` on ``device`` (None: where it is)."""
    if device is None or device == DEVICES[type(array)]:
        return array
    if device == "cpu":
        return to_numpy(array)
    _check_device_name(device)
    return cuda_array_module().asarray(array)


def _check_device_name(device: Any) -> None:
    if device != "cuda":
        others = "; of several GPUs CUDA_VISIBLE_DEVICES chooses one" if str(device).startswith("cuda:") else ""
        raise DeviceError(f"device {device!r} does not exist, expected 'cpu' or 'cuda'{others}")


def beside(array: Any, like: Any) -> Any:
    """``array`` where ``like`` is: what is no operand, such as labels and indices, may come from the host to a device.

    The other way would wait for the device unseen, so it is an error.
    """
    return array if type(array) is type(like) else np.asarray(array, like=like)


def on_device(device: str | None) -> dict[str, Any]:
    """Options with which NumPy's creation functions make an array on ``device`` itself, not in host memory first."""
    if device is None or device == "cpu":
        return {}
    _check_device_name(device)
    return {"like": cuda_array_module().empty(0, float32)}


def cuda_array_module() -> Any:
    """CuPy, with its arrays registered as operands; DeviceError where there is no CuPy, no driver or no GPU."""
    try:
        cupy = load("cupy")
    except ImportError as error:
        raise DeviceError(f"device 'cuda': {error}") from None
    if not cupy.cuda.is_available():
        raise DeviceError(f"device 'cuda': {_without_gpu(cupy)}")
    if cupy.ndarray not in DEVICES:
        register_array_type(cupy.ndarray, "cuda", load("tinygrad_notes.kernels.cuda"))
    return cupy


def _without_gpu(cupy: Any) -> str:
    """What is missing where CuPy is installed and finds no GPU, and what brings it."""
    known, built = cupy.cuda.runtime.driverGetVersion(), cupy.cuda.runtime.runtimeGetVersion()  # 12040 is CUDA 12.4
    if known == 0:
        return "there is no NVIDIA driver; sudo ubuntu-drivers install (elsewhere https://nvidia.com/drivers) brings it"
    if known // 1000 < built // 1000:  # a driver runs every CUDA of its own major version
        return (
            f"the NVIDIA driver knows CUDA up to {known // 1000}.{known % 1000 // 10}, CuPy needs {built // 1000}; "
            "sudo ubuntu-drivers install (elsewhere https://nvidia.com/drivers) brings a newer one"
        )
    return "the NVIDIA driver finds no GPU; nvidia-smi -L lists those there are, CUDA_VISIBLE_DEVICES may hide them"


def as_floating(*arrays: Any) -> Any:
    """The arrays in one floating dtype, as hot kernels take them: integers join the floats, alone they become float32.

    One array for one, a list for several; None stays None.
    """
    first = arrays[0]
    if type(first) in DEVICES and first.dtype.kind == "f":
        dtype = first.dtype
        if all(a is None or (type(a) in DEVICES and a.dtype is dtype) for a in arrays):
            return first if len(arrays) == 1 else arrays
    # In backward NumPy's scalars stand where arrays have no axes; their dtype counts like an array's.
    floats = [a.dtype for a in arrays if (type(a) in DEVICES or isinstance(a, np.generic)) and a.dtype.kind == "f"]
    dtype = float64 if float64 in floats else float32
    result = [None if a is None else a.astype(dtype) if type(a) in DEVICES else np.asarray(a, dtype) for a in arrays]
    return result[0] if len(arrays) == 1 else result


# ---------------------------------------------------------------------- shapes without memory (modes.shape_only)

# The one number that all such arrays of a dtype show, whatever their shape.
_NOTHING = {dtype: np.zeros((), dtype) for dtype in (float32, float64)}
for _array in _NOTHING.values():
    _array.setflags(write=False)


def without_memory(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A read-only array of this shape that takes no memory."""
    return np.broadcast_to(_NOTHING[dtype], shape)


def has_memory(array: Any) -> bool:
    """False for what :func:`without_memory` made, and for views of it."""
    if type(array) is not np.ndarray or array.flags.writeable:
        return True
    base = array.base
    while type(base) is np.ndarray and base.base is not None:
        base = base.base
    return not any(base is nothing for nothing in _NOTHING.values())
