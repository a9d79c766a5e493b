"""The calls of cuBLAS: their arguments, done in NumPy from places and leading dimensions alone, and how they are made.

For what a GPU does there is a library of the same entry points, which takes C's arguments, finds the matrices by their
addresses, and notes what it was asked.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from tinygrad_notes.errors import DeviceError
from tinygrad_notes.kernels.cuda import blas
from tinygrad_notes.kernels.cuda.blas import as_matrix, batches, calls, gemm, layout

RNG = np.random.default_rng(0)
TYPES = {0: np.float32, 1: np.float64, 2: np.float16}


def normal(*shape: int, dtype: Any = np.float32) -> Any:
    return RNG.standard_normal(shape).astype(dtype)


def placed(kind: str, *shape: int, dtype: Any = np.float32) -> Any:
    """A matrix, or a batch of them, that lies in one of the ways that cuBLAS takes, or in none ("scattered")."""
    *batch, rows, columns = shape
    if kind == "columns":
        return normal(*batch, columns, rows, dtype=dtype).swapaxes(-1, -2)
    if kind == "rows with gaps":
        return normal(*batch, rows, columns + 3, dtype=dtype)[..., 2:-1]
    if kind == "columns with gaps":
        return normal(*batch, columns, rows + 2, dtype=dtype)[..., 1:-1].swapaxes(-1, -2)
    if kind == "scattered":
        return normal(*batch, rows, 2 * columns, dtype=dtype)[..., ::-2]
    return normal(*shape, dtype=dtype)


KINDS = ["rows", "columns", "rows with gaps", "columns with gaps", "scattered"]


@pytest.mark.parametrize(("of_a", "of_b"), list(itertools.product(KINDS, repeat=2)))
@pytest.mark.parametrize("size", [(3, 4, 5), (1, 4, 5), (3, 1, 5), (3, 4, 1), (1, 1, 1)])
def test_products_of_views(of_a, of_b, size):
    m, n, k = size
    a, b, out = placed(of_a, m, k), placed(of_b, k, n), normal(m, n + 2)[:, 1:-1]
    before = out.copy()
    gemm(a, b, out, 0.5, 2.0)
    np.testing.assert_allclose(out, 0.5 * (a @ b) + 2 * before, rtol=1e-5, atol=1e-5)
    out[...] = np.nan
    gemm(a, b, out)
    np.testing.assert_allclose(out, a @ b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("a", "b", "made"),
    [
        ((7, 3, 4), (7, 4, 5), 1),
        ((3, 4), (7, 4, 5), 1),
        ((7, 3, 4), (4, 5), 1),
        ((2, 3, 3, 4), (2, 3, 4, 5), 1),
        ((2, 1, 3, 4), (1, 7, 4, 5), 2),
        ((1, 2, 3, 4), (7, 1, 4, 5), 2),
        ((2, 1, 2, 3, 4), (1, 7, 1, 4, 5), 4),
        ((1, 1, 3, 4), (4, 5), 1),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["rows", "columns", "rows with gaps"])
def test_batches(a, b, made, kind):
    a, b = placed(kind, *a), placed("rows", *b)
    wanted = np.matmul(a, b)
    out = np.empty(wanted.shape, np.float32)
    np.testing.assert_allclose(gemm(a, b, out), wanted, rtol=1e-5, atol=1e-5)
    assert len(calls(as_matrix(a), as_matrix(b), as_matrix(out))) == made


def test_axes_behind_each_other_are_one():
    a, b, out = (as_matrix(normal(2, 3, 4, 4)) for _ in range(3))
    assert batches(a, b, out) == [(6, 16, 16, 16)]
    assert batches(as_matrix(normal(4, 4)), b, out) == [(6, 0, 16, 16)]
    assert batches(as_matrix(normal(3, 4, 4)), b, out) == [(2, 0, 48, 48), (3, 16, 16, 16)]


def test_how_a_matrix_lies():
    x = normal(6, 8)
    assert layout(x[:, :5])[1:3] == (True, 8)
    assert layout(x.T)[1:3] == (False, 8)
    assert layout(x[:, :1])[1:3] == (True, 8)
    assert layout(x[:1].T)[1:3] == (True, 1)
    for other in (x[::-1], x[:, ::-1], x[::2, ::2], np.broadcast_to(x[:1], (6, 8)), np.broadcast_to(x[:, :1], (6, 8))):
        assert layout(other) is None
    crooked = np.zeros(3, [("byte", np.uint8), ("value", np.float32)])["value"]
    assert layout(crooked[:, None]) is None


@pytest.mark.parametrize(
    ("name", "bound"), [("float32", 1e-6), ("float64", 1e-15), ("float16", 1e-3), ("bfloat16", 8e-3)]
)
def test_dtypes(name, bound):
    dtype = np.dtype(pytest.importorskip("ml_dtypes").bfloat16 if name == "bfloat16" else name)
    a, b = normal(9, 300).astype(dtype), normal(300, 7).astype(dtype)
    out = np.zeros((9, 7), dtype)
    wanted = a.astype(float) @ b.astype(float)
    gemm(a, b, out)
    assert np.abs(out.astype(float) - wanted).max() < bound * np.abs(wanted).max()


def test_nothing_to_add_up():
    out = np.full((2, 3), np.nan, np.float32)
    np.testing.assert_array_equal(gemm(normal(2, 0), normal(0, 3), out), np.zeros((2, 3)))
    out[...] = 3
    np.testing.assert_array_equal(gemm(normal(2, 0), normal(0, 3), out, 1.0, 2.0), np.full((2, 3), 6))
    assert gemm(normal(0, 4), normal(4, 3), np.empty((0, 3), np.float32)).shape == (0, 3)


def test_what_cublas_does_not_take_is_an_error():
    a = normal(3, 3)
    with pytest.raises(DeviceError, match="no product of int64 and int64 in int64"):
        gemm(*(np.ones((3, 3), np.int64),) * 3)
    with pytest.raises(DeviceError, match="no product of float32 and float64 in float32"):
        gemm(a, a.astype(float), a)
    with pytest.raises(DeviceError, match="the rows of out do not lie in one piece each"):
        gemm(a, a, normal(3, 3).T)


@pytest.mark.parametrize("field", ["first_leading", "second_leading", "first", "out", "out_step", "batch"])
def test_a_wrong_argument_is_seen(monkeypatch, field):
    """The emulation would not be worth much if it forgave one."""
    a, b, wrong = placed("columns with gaps", 2, 3, 4), normal(2, 4, 5), np.empty((2, 3, 5), np.float32)
    wanted = np.matmul(a, b)
    right = calls(as_matrix(a), as_matrix(b), as_matrix(wrong))
    monkeypatch.setattr(
        blas, "calls", lambda *_: [call._replace(**{field: getattr(call, field) + 1}) for call in right]
    )
    try:
        gemm(a, b, wrong)
    except DeviceError:
        return
    assert not np.allclose(wrong, wanted)


# ---------------------------------------------------------------------- as on a GPU


class OnGpu(np.ndarray):
    """An array whose address is where CuPy's arrays have it."""

    @property
    def data(self) -> Any:  # type: ignore[override]
        return SimpleNamespace(ptr=self.ctypes.data)


class Library:
    """cuBLAS's entry points: each notes what it was asked, and the product is computed, from addresses."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.status = 0

    def cublasCreate_v2(self, handle: Any) -> int:
        handle._obj.value = 1000 + len(self.asked)
        self.asked.append(("create", handle._obj.value))
        return self.status

    def cublasSetMathMode(self, handle: Any, mode: Any) -> int:
        self.asked.append(("mode", handle.value, mode.value))
        return self.status

    def cublasSetStream_v2(self, handle: Any, stream: Any) -> int:
        self.asked.append(("stream", handle.value, stream.value))
        return self.status

    def cublasSetWorkspace_v2(self, handle: Any, workspace: Any, size: Any) -> int:
        self.asked.append(("workspace", handle.value, workspace.value, size.value))
        return self.status

    def cublasGemmStridedBatchedEx_64(
        self,
        handle: Any, transa: Any, transb: Any, m: Any, n: Any, k: Any, alpha: Any,
        a: Any, of_a: Any, lda: Any, step_a: Any, b: Any, of_b: Any, ldb: Any, step_b: Any, beta: Any,
        c: Any, of_c: Any, ldc: Any, step_c: Any, count: Any, compute: Any, algorithm: Any,
    ) -> int:  # fmt: skip
        def matrices(address: Any, of: Any, rows: int, columns: int, leading: Any, step: Any) -> Any:
            dtype = np.dtype(TYPES[of.value])
            size = (count.value - 1) * step.value + (columns - 1) * leading.value + rows
            memory = (ctypes.c_char * (size * dtype.itemsize)).from_address(address.value)
            steps = dtype.itemsize * np.array([step.value, 1, leading.value])
            return as_strided(np.frombuffer(memory, dtype), (count.value, rows, columns), steps)

        m, n, k = m.value, n.value, k.value
        first = matrices(a, of_a, *((k, m) if transa.value else (m, k)), lda, step_a)
        second = matrices(b, of_b, *((n, k) if transb.value else (k, n)), ldb, step_b)
        first = first.swapaxes(1, 2) if transa.value else first
        second = second.swapaxes(1, 2) if transb.value else second
        out = matrices(c, of_c, m, n, ldc, step_c)
        out[...] = alpha._obj.value * (first @ second) + (beta._obj.value * out if beta._obj.value else 0)
        self.asked.append(("gemm", handle.value, type(alpha._obj), compute.value, algorithm.value))
        return self.status


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A device and a stream, which a test may change, and the library."""
    allocated: list[Any] = []

    def alloc(size: int) -> Any:
        allocated.append(SimpleNamespace(ptr=5000 + len(allocated), size=size))
        return allocated[-1]

    state = SimpleNamespace(device=0, stream=70, library=Library(), allocated=allocated)
    cuda = SimpleNamespace(
        alloc=alloc,
        get_current_stream=lambda: SimpleNamespace(ptr=state.stream),
        runtime=SimpleNamespace(getDevice=lambda: state.device),
    )
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(blas, "_library", lambda: state.library)
    monkeypatch.setattr(blas, "_handles", {})
    return state


def on_gpu(*arrays: Any) -> list[Any]:
    return [array.view(OnGpu) for array in arrays]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("kind", ["rows", "columns", "rows with gaps"])
def test_the_arguments_in_c(gpu, dtype, kind):
    a, b, out = placed(kind, 2, 3, 4, 5, dtype=dtype), placed("columns", 3, 5, 6, dtype=dtype), normal(2, 3, 4, 6)
    out = out.astype(dtype)
    wanted = 0.5 * np.matmul(a, b) + 2 * out
    gemm(*on_gpu(a, b, out), alpha=0.5, beta=2.0)
    bound = 1e-2 if dtype == np.float16 else 1e-5
    np.testing.assert_allclose(out, wanted, rtol=bound, atol=bound)


def test_which_arithmetic(gpu):
    def asked(dtype: Any, precision: str) -> tuple[Any, ...]:
        x = normal(2, 2).astype(dtype).view(OnGpu)
        gemm(x, x, x.copy(), precision=precision)
        return gpu.library.asked[-1][2:]

    assert asked(np.float32, "highest") == (ctypes.c_float, 68, -1)
    assert asked(np.float32, "high") == (ctypes.c_float, 77, -1)
    assert asked(np.float32, "medium") == (ctypes.c_float, 75, -1)
    assert asked(np.float64, "high") == (ctypes.c_double, 70, -1)
    assert asked(np.float16, "high") == (ctypes.c_float, 68, -1)
    assert [step[2:] for step in gpu.library.asked if step[0] == "mode"] == [(16,)]  # sums of 16 bits are float32's


def test_a_stream_is_given_before_its_workspace(gpu):
    x = on_gpu(normal(2, 2), normal(2, 2), normal(2, 2))

    def steps() -> list[str]:
        begin = len(gpu.library.asked)
        gemm(*x)
        return [step[0] for step in gpu.library.asked[begin:]]

    assert steps() == ["create", "mode", "stream", "workspace", "gemm"]
    assert steps() == ["gemm"]
    gpu.stream = 71
    assert steps() == ["stream", "workspace", "gemm"]
    gpu.stream = 70
    assert steps() == ["stream", "workspace", "gemm"]  # to set a stream makes cuBLAS forget the workspace
    assert [allocated.size for allocated in gpu.allocated] == [32 << 20] * 2
    workspaces = [step[2:] for step in gpu.library.asked if step[0] == "workspace"]
    assert workspaces == [(5000, 32 << 20), (5001, 32 << 20), (5000, 32 << 20)]
    gpu.device = 1
    assert steps() == ["create", "mode", "stream", "workspace", "gemm"]
    gpu.device = 0
    thread = threading.Thread(target=lambda: there.extend(steps()))
    there: list[str] = []
    thread.start()
    thread.join()
    assert there == ["create", "mode", "stream", "workspace", "gemm"]
    handles = {step[1] for step in gpu.library.asked if step[0] == "gemm"}
    assert len(handles) == 3


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(3, r"cuBLAS: there is no memory left on the GPU \(status 3\)"), (99, r"cuBLAS: an unknown error \(status 99\)")],
)
def test_a_status_is_a_sentence(gpu, status, sentence):
    x = on_gpu(normal(2, 2), normal(2, 2), normal(2, 2))
    gpu.library.status = status
    with pytest.raises(DeviceError, match=sentence):
        gemm(*x)
    gpu.library.status = 0
    gemm(*x)
    assert [step[0] for step in gpu.library.asked] == ["create", "create", "mode", "stream", "workspace", "gemm"]


def test_a_workspace_lives_as_long_as_its_stream(gpu):
    x = on_gpu(normal(2, 2), normal(2, 2), normal(2, 2))
    gemm(*x)
    (handle,) = blas._handles.values()
    blas.forget(71)
    assert list(handle.workspaces) == [70]
    blas.forget(70)
    assert not handle.workspaces
    gemm(*x)  # on a new stream of the same address
    assert [step[0] for step in gpu.library.asked][-3:] == ["stream", "workspace", "gemm"]


def test_without_cublas(monkeypatch):
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(blas.lazy, "load", missing)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    with pytest.raises(DeviceError, match=r"cuBLAS is not installed; pip install 'tinygrad-notes\[cuda\]'"):
        blas._library()
