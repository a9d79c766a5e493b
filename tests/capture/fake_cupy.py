"""CuPy without a GPU: its arrays, streams, graphs and pools, as far as a captured step uses them.

As in CUDA, what is called while a stream is captured does not run: results hold NaN until the graph is launched, and
then the same operations run on the same memory. What would wait for the GPU raises. ``log`` tells the order of calls.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.cupy_rules import PRODUCTS
from tests.foreign_array import ForeignArray, arrays_in, unwrapped, wrapped


class CUDARuntimeError(RuntimeError):
    pass


class OutOfMemoryError(MemoryError):
    pass


OutOfMemoryError.__module__ = "cupy.cuda.memory"


class State:
    """What one fake GPU knows."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.waits: list[str] = []  # what made the host wait, or copied from it
        self.composed: list[str] = []  # functions of the contract that the reference computed, not a kernel
        self.own_products = False  # whether matrices are multiplied by kernels, and CuPy's products are a mistake
        self.stream: Stream = Stream(name="default", state=self)
        self.allocator: Callable[[int], Any] = Pool(self, "usual").malloc
        self.limit: int | None = None  # bytes that an array may have


STATE: list[State] = []


def now() -> State:
    return STATE[-1]


class Stream:
    def __init__(self, non_blocking: bool = False, name: str = "own", state: State | None = None):
        self.name, self.ptr = name, id(self)
        self.captured: list[Callable[[], None]] | None = None
        self.non_blocking, self.outer = non_blocking, []  # type: ignore[var-annotated]
        self.state = state

    def __enter__(self) -> Stream:
        self.outer.append(now().stream)
        now().stream = self
        return self

    def __exit__(self, *error: object) -> None:
        now().stream = self.outer.pop()

    def wait_event(self, event: Event) -> None:
        now().log.append(f"{self.name} waits for {event.stream.name}")

    def begin_capture(self) -> None:
        if not self.non_blocking:
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported")
        assert self.captured is None, "captured twice"
        now().log.append("begin")
        self.captured = []

    def end_capture(self) -> Graph:
        now().log.append("end")
        operations, self.captured = self.captured, None
        if operations is None:
            raise RuntimeError("the stream is not capturing")
        return Graph(operations)


class Event:
    def __init__(self, disable_timing: bool = False):
        self.stream: Any = None

    def record(self, stream: Stream) -> None:
        self.stream = stream


class Graph:
    def __init__(self, operations: list[Callable[[], None]]):
        self.operations = operations

    def launch(self, stream: Stream) -> None:
        now().log.append("launch")
        with np.errstate(all="ignore"):  # a GPU warns of nothing
            for operation in self.operations:
                operation()


class Pool:
    """``used`` counts what was asked for. Memory is NumPy's."""

    def __init__(self, state: State | None = None, name: str = "private"):
        self.name, self.used, self.shrinks = name, 0, False

    def malloc(self, size: int) -> None:
        self.used += size

    def total_bytes(self) -> int:
        return self.used - (10**9 if self.shrinks else 0)

    def used_bytes(self) -> int:
        return self.used


class FakeArray(ForeignArray):
    """An array of this fake GPU."""

    __slots__ = ("pool",)

    def __init__(self, values: np.ndarray, base: Any = None):
        super().__init__(values, base)
        state = now()
        if base is None:
            if state.limit is not None and values.nbytes > state.limit:
                raise OutOfMemoryError(f"Out of memory allocating {values.nbytes:,} bytes (allocated so far: 0 bytes).")
            state.allocator(values.nbytes)
        self.pool = getattr(getattr(state.allocator, "__self__", None), "name", "recording")

    def operate(self, function: Any, inputs: Any, options: Any, strict: bool = True) -> Any:
        """Run an operation; while the stream is captured write it down, and leave NaN where its results will be."""
        plain, more = unwrapped(inputs, strict), unwrapped(options, strict)
        arrays = [self, *arrays_in((inputs, options))]
        captured = now().stream.captured
        if captured is None:
            return wrapped(function(*plain, **more), arrays, FakeArray)
        given = [x.values for x in arrays]
        before = [x.copy() for x in given]
        result = function(*plain, **more)
        for x, old in zip(given, before):
            if not np.array_equal(x, old, equal_nan=x.dtype.kind == "f"):
                x[...] = old
        result = wrapped(result, arrays, FakeArray)
        fresh = [x.values for x in arrays_in(result) if not any(np.may_share_memory(x.values, y) for y in given)]
        plain, more = copied(plain), copied(more)

        def again() -> None:
            new = wrapped_values(function(*plain, **more))
            made = [x for x in new if not any(np.may_share_memory(x, y) for y in given)]
            for x, y in zip(fresh, made, strict=True):
                x[...] = y

        for x in fresh:
            if x.ndim and x.flags.c_contiguous:
                x.view(np.uint8).fill(255)
            else:
                x.fill(np.nan if x.dtype.kind == "f" else 1)
        captured.append(again)
        return result

    def waits(self, what: str | None) -> None:
        if what is not None:
            waits(what)

    def computes(self, name: str) -> None:
        state = now()
        if state.own_products and state.stream.captured is not None and (name in PRODUCTS or name.startswith("linalg")):
            raise NotImplementedError(f"{name}: calling cuBLAS API during stream capture is currently unsupported")


def waits(what: str) -> None:
    """The host waits for the GPU, or copies to it, which cannot be captured; ``State.waits`` says where it did."""
    if now().stream.captured is not None:
        raise RuntimeError(f"{what}: the current stream is capturing, so synchronous API calls are disallowed")
    frame = sys._getframe(1)
    while frame.f_back is not None and ("/tests/" in frame.f_code.co_filename or frame.f_code.co_name == "to_numpy"):
        frame = frame.f_back
    now().waits.append(f"{what} in {Path(frame.f_code.co_filename).name}, {frame.f_code.co_name}")


def copied(value: Any) -> Any:
    """Lists and dicts copied, arrays not: the caller may change the former."""
    if isinstance(value, dict):
        return {key: copied(v) for key, v in value.items()}
    return type(value)(map(copied, value)) if type(value) in (list, tuple) else value


def wrapped_values(value: Any) -> list[np.ndarray]:
    if isinstance(value, np.generic):
        return [np.asarray(value)]
    if isinstance(value, np.ndarray):
        return [value]
    return [x for v in value for x in wrapped_values(v)] if isinstance(value, list | tuple) else []


@contextmanager
def using_allocator(allocator: Callable[[int], Any]) -> Iterator[None]:
    state = now()
    before, state.allocator = state.allocator, allocator
    try:
        yield
    finally:
        state.allocator = before


def cupy(state: State) -> Any:
    """The module."""

    def asarray(array: Any) -> FakeArray:
        if isinstance(array, FakeArray):
            return array
        waits("asarray")
        return FakeArray(np.array(array))

    usual = state.allocator.__self__  # type: ignore[attr-defined]
    usual.free_all_blocks = lambda: state.log.append("free")
    runtime = SimpleNamespace(
        memGetInfo=lambda: (60 * 2**20, 100 * 2**20), getDeviceProperties=lambda _: {"name": b"Fake GPU"}
    )
    device = SimpleNamespace(id=0, synchronize=lambda: state.log.append("synchronize"))
    return SimpleNamespace(
        ndarray=FakeArray,
        asarray=asarray,
        empty=lambda shape, dtype: FakeArray(np.zeros(shape, dtype)),
        get_default_memory_pool=lambda: usual,
        get_default_pinned_memory_pool=lambda: usual,
        cuda=SimpleNamespace(
            is_available=lambda: True,
            Stream=Stream,
            Event=Event,
            MemoryPool=Pool,
            using_allocator=using_allocator,
            get_allocator=lambda: state.allocator,
            get_current_stream=lambda: state.stream,
            runtime=runtime,
            Device=lambda: device,
        ),
    )
