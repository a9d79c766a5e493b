"""Matrix products by cuBLAS, through ctypes: CuPy's own binding refuses to run while a stream is being captured.

:func:`gemm` takes views as they lie, transposed or with gaps between their rows, any batch axes, and adds to what
``out`` holds where ``beta`` is not 0. Operands of 16 bits are summed in float32.

cuBLAS knows matrices in column-major order. A row-major (m, n) matrix is its own transpose (n, m) there, so
out = a b becomes outᵀ = bᵀ aᵀ: b comes first. :func:`calls` writes a product down as cuBLAS's arguments and does
nothing else; a GPU gets them as they are, and for NumPy's arrays, of the tests, :func:`_on_numpy` does what cuBLAS
would do.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import threading
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tinygrad_notes import lazy
from tinygrad_notes.errors import DeviceError
from tinygrad_notes.kernels.cuda.launch import contiguous

Array = np.ndarray

WORKSPACE = 32 << 20  # bytes: what NVIDIA advises for Hopper
DATA_TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}  # cudaDataType
FLOAT32, FLOAT64 = 68, 70  # cublasComputeType: operands keep all their digits
SHORTER = {"highest": FLOAT32, "high": 77, "medium": 75}  # of float32 operands: as they are, as TF32, as bfloat16
DEFAULT_ALGORITHM = -1
SUMS_IN_FLOAT32 = 16  # cublasMath: else parts of a sum over k may be added up in the 16 bits of the result
STATUS = {
    1: "its library could not be set up",
    3: "there is no memory left on the GPU",
    7: "an argument is not valid",
    8: "this GPU lacks what the product needs",
    11: "the GPU's memory could not be reached",
    13: "the product failed on the GPU",
    14: "an operation inside it failed",
    15: "it has no such product of these dtypes",
    16: "its licence is missing",
}


class Matrix(NamedTuple):
    """An operand as it lies: ``array`` (..., rows, columns), in elements of its dtype."""

    array: Array
    along_rows: bool  # memory runs along a row: an element's neighbour is in the next column
    leading: int  # from one row to the next or, where memory runs along columns, from one column to the next
    batch_steps: tuple[int, ...]  # from one matrix to the next, along each batch axis


class Batch(NamedTuple):
    """``size`` products, with the elements from one to the next in a, b and out."""

    size: int
    a: int
    b: int
    out: int


class Call(NamedTuple):
    """Arguments of one call of cublasGemmStridedBatchedEx, in its order; places and steps count elements.

    out (rows, columns) = first (rows, depth) second (depth, columns), all of them in column-major order.
    """

    first_transposed: bool
    second_transposed: bool
    rows: int
    columns: int
    depth: int
    first: int  # where the operand begins behind its array's first element
    first_leading: int
    first_step: int
    second: int
    second_leading: int
    second_step: int
    out: int
    out_leading: int
    out_step: int
    batch: int


def gemm(a: Array, b: Array, out: Array, alpha: float = 1.0, beta: float = 0.0, precision: str = "highest") -> Array:
    """out (..., m, n) = alpha a (..., m, k) b (..., k, n) + beta out. With ``beta`` 0 what ``out`` held does not count.

    Batch axes of a and b broadcast to those of ``out``, whose rows must each lie in one piece. With ``precision``
    "high" products of float32 are products of TF32, with "medium" they may be of bfloat16.
    """
    if a.dtype.name not in DATA_TYPES or a.dtype != b.dtype or a.dtype != out.dtype:
        raise DeviceError(f"cuBLAS has no product of {a.dtype} and {b.dtype} in {out.dtype}")
    if out.size == 0:
        return out
    if a.shape[-1] == 0:  # cuBLAS would take it, but not the operands' leading dimension, 0
        out[...] = beta * out if beta else 0
        return out
    of_out = layout(out)
    if of_out is None or not of_out.along_rows:
        raise DeviceError("gemm: the rows of out do not lie in one piece each")
    of_a, of_b = as_matrix(a), as_matrix(b)
    run = _on_numpy if type(a) is np.ndarray else _on_gpu
    for call in calls(of_a, of_b, of_out):
        run(call, of_a.array, of_b.array, out, alpha, beta, precision)
    return out


def layout(array: Array) -> Matrix | None:
    """How the matrices of ``array`` lie, if they can be described by a leading dimension, else None."""
    rows, columns = array.shape[-2:]
    # Of an axis with one element the step may be anything, and does not count.
    steps_in_bytes = [step if size > 1 else 0 for step, size in zip(array.strides, array.shape)]
    if min(steps_in_bytes) < 0 or any(step % array.itemsize for step in steps_in_bytes):
        return None
    *batch_steps, row_step, column_step = (step // array.itemsize for step in steps_in_bytes)
    if (columns == 1 or column_step == 1) and (rows == 1 or row_step >= columns):
        return Matrix(array, True, row_step if rows > 1 else columns, tuple(batch_steps))
    if (rows == 1 or row_step == 1) and (columns == 1 or column_step >= rows):
        return Matrix(array, False, column_step if columns > 1 else rows, tuple(batch_steps))
    return None


def as_matrix(array: Array) -> Matrix:
    """``array`` as a :class:`Matrix`; one that lies in another way is copied."""
    found = layout(array) or layout(contiguous(array))
    assert found is not None
    return found


def batches(a: Matrix, b: Matrix, out: Matrix) -> list[Batch]:
    """The batch axes of a product from the outermost on, with axes that lie behind each other made one."""
    shape = out.array.shape[:-2]
    steps_of_a, steps_of_b = ((0,) * (len(shape) - len(x.batch_steps)) + x.batch_steps for x in (a, b))
    found: list[Batch] = []
    for size, *steps in zip(shape, steps_of_a, steps_of_b, out.batch_steps):
        if size == 1:
            continue
        if found and list(found[-1][1:]) == [size * step for step in steps]:
            found[-1] = Batch(found[-1].size * size, *steps)
        else:
            found.append(Batch(size, *steps))
    return found


def calls(a: Matrix, b: Matrix, out: Matrix) -> list[Call]:
    """The calls that make a product: one, or one for each place along all its batch axes but the longest."""
    m, n = out.array.shape[-2:]
    axes = batches(a, b, out)
    inner = max(axes, key=lambda axis: axis.size, default=Batch(1, 0, 0, 0))
    others = [axis for axis in axes if axis is not inner]
    made = []
    for index in np.ndindex(*(axis.size for axis in others)):
        of_a, of_b, of_out = (sum(i * axis[operand] for i, axis in zip(index, others)) for operand in range(1, 4))
        made.append(
            Call(
                not b.along_rows, not a.along_rows, n, m, a.array.shape[-1],
                of_b, b.leading, inner.b,
                of_a, a.leading, inner.a,
                of_out, out.leading, inner.out,
                inner.size,
            )
        )  # fmt: skip
    return made


# ---------------------------------------------------------------------- on a GPU


class Handle:
    """cuBLAS's handle for one thread and device, with a workspace for each stream, which its products may share."""

    def __init__(self, library: Any):
        self.library = library
        self.pointer = ctypes.c_void_p()
        self.check(library.cublasCreate_v2(ctypes.byref(self.pointer)))
        self.check(library.cublasSetMathMode(self.pointer, ctypes.c_int(SUMS_IN_FLOAT32)))
        self.stream: int | None = None
        self.workspaces: dict[int, Any] = {}

    def use(self, stream: int) -> None:
        """Run on ``stream`` from now on. cuBLAS would allocate a workspace itself, which a capture does not permit."""
        if stream == self.stream:
            return
        if stream not in self.workspaces:
            self.workspaces[stream] = lazy.load("cupy").cuda.alloc(WORKSPACE)
        self.stream = None
        self.check(self.library.cublasSetStream_v2(self.pointer, ctypes.c_void_p(stream)))  # forgets the workspace
        workspace = ctypes.c_void_p(self.workspaces[stream].ptr)
        self.check(self.library.cublasSetWorkspace_v2(self.pointer, workspace, ctypes.c_size_t(WORKSPACE)))
        self.stream = stream

    def forget(self, stream: int) -> None:
        self.workspaces.pop(stream, None)
        if stream == self.stream:
            self.stream = None

    @staticmethod
    def check(status: int) -> None:
        if status:
            raise DeviceError(f"cuBLAS: {STATUS.get(status, 'an unknown error')} (status {status})")


# By device and thread. Workspaces stay until forget(): a captured graph goes on using its stream's.
_handles: dict[tuple[int, int], Handle] = {}


def forget(stream: int) -> None:
    """Let go of the workspaces of a stream that ends: nothing runs there any more, and another may get its address."""
    for handle in list(_handles.values()):
        handle.forget(stream)


@functools.cache
def _library() -> Any:
    """The libcublas that CuPy uses: the one of the wheels, or of the system."""
    try:
        path = lazy.load("cuda.pathfinder").load_nvidia_dynamic_lib("cublas").abs_path
    except (ImportError, RuntimeError) as error:
        path = ctypes.util.find_library("cublas")
        if path is None:
            raise DeviceError("cuBLAS is not installed; pip install 'tinygrad-notes[cuda]' brings it") from error
    return ctypes.CDLL(path)


def _on_gpu(call: Call, a: Array, b: Array, out: Array, alpha: float, beta: float, precision: str) -> None:
    cupy = lazy.load("cupy")
    key = cupy.cuda.runtime.getDevice(), threading.get_ident()
    handle = _handles.get(key)
    if handle is None:
        handle = _handles[key] = Handle(_library())
    handle.use(cupy.cuda.get_current_stream().ptr)
    handle.check(
        handle.library.cublasGemmStridedBatchedEx_64(
            *arguments(handle.pointer, call, a, b, out, alpha, beta, precision)
        )
    )


def arguments(
    handle: Any, call: Call, a: Any, b: Any, out: Any, alpha: float, beta: float, precision: str
) -> tuple[Any, ...]:
    """What cublasGemmStridedBatchedEx_64 is called with, as C takes it."""
    name = a.dtype.name
    kind = ctypes.c_int(DATA_TYPES[name])
    scalar = ctypes.c_double if name == "float64" else ctypes.c_float
    compute = FLOAT64 if name == "float64" else SHORTER[precision] if name == "float32" else FLOAT32
    integer, size = ctypes.c_int64, a.dtype.itemsize

    def matrix(array: Any, place: int, leading: int, step: int) -> tuple[Any, ...]:
        return ctypes.c_void_p(array.data.ptr + place * size), kind, integer(leading), ctypes.c_longlong(step)

    return (
        handle,
        ctypes.c_int(call.first_transposed),
        ctypes.c_int(call.second_transposed),
        integer(call.rows),
        integer(call.columns),
        integer(call.depth),
        ctypes.byref(scalar(alpha)),
        *matrix(b, call.first, call.first_leading, call.first_step),
        *matrix(a, call.second, call.second_leading, call.second_step),
        ctypes.byref(scalar(beta)),
        *matrix(out, call.out, call.out_leading, call.out_step),
        integer(call.batch),
        ctypes.c_int(compute),
        ctypes.c_int(DEFAULT_ALGORITHM),
    )


# ---------------------------------------------------------------------- on NumPy's arrays


def memory(array: Array) -> Array:
    """What an array spans, from its first element to its last: a kernel takes a view of any shape by it."""
    if type(array) is not np.ndarray:
        return array  # of CuPy's arrays a kernel takes the address alone
    last = sum((size - 1) * step for size, step in zip(array.shape, array.strides)) // array.itemsize
    return as_strided(array, (last + 1,), (array.itemsize,))


def _on_numpy(call: Call, a: Array, b: Array, out: Array, alpha: float, beta: float, precision: str) -> None:
    """The same call on the CPU: matrices are found by place, leading dimension and step alone."""

    def matrices(array: Array, place: int, rows: int, columns: int, leading: int, step: int) -> Array:
        behind = place + (call.batch - 1) * step + (columns - 1) * leading + rows
        if leading < rows or behind > memory(array).size:
            raise DeviceError(f"cuBLAS: {STATUS[7]}: {call}")
        item = array.itemsize
        return as_strided(memory(array)[place:], (call.batch, rows, columns), (step * item, item, leading * item))

    def operand(array: Array, transposed: bool, place: int, rows: int, columns: int, leading: int, step: int) -> Array:
        if not transposed:
            return matrices(array, place, rows, columns, leading, step)
        return matrices(array, place, columns, rows, leading, step).swapaxes(1, 2)

    first = operand(b, call.first_transposed, call.first, call.rows, call.depth, call.first_leading, call.first_step)
    second = operand(
        a, call.second_transposed, call.second, call.depth, call.columns, call.second_leading, call.second_step
    )
    result = matrices(out, call.out, call.rows, call.columns, call.out_leading, call.out_step)
    wide = np.float64 if out.dtype == np.float64 else np.float32
    product = np.asarray(alpha, wide) * np.matmul(first.astype(wide), second.astype(wide))
    if beta:
        product += np.asarray(beta, wide) * result.astype(wide)
    result[...] = product.astype(out.dtype)
