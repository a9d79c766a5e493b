"""CuPy without a GPU: its arrays, streams, graphs and pools, as far as a captured step uses them.

As in CUDA, what is called while a stream is captured does not run: results hold NaN until the graph is launched, and
then the same operations run on the same memory. What would wait for the GPU raises. ``log`` tells the order of calls.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.foreign_array import MAKERS, ForeignArray, unwrapped


class CUDARuntimeError(RuntimeError):
    pass


class OutOfMemoryError(MemoryError):
    pass


OutOfMemoryError.__module__ = "cupy.cuda.memory"


class State:
    """What one fake GPU knows."""

    def __init__(self) -> None:
        self.log: list[str] = []
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

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        result = operate(lambda *i, **o: getattr(ufunc, method)(*i, **o), inputs, options, method != "at")
        return options["out"][0] if "out" in options else result

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        options.pop("like", None)
        return operate(function, arguments, options, function not in MAKERS)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if not callable(getattr(self.values, name)):
            return operate(lambda x: getattr(x, name), (self,), {}, True)
        if name in ("item", "tolist"):
            waits(name)
            return getattr(self.values, name)
        return lambda *arguments, **options: operate(
            lambda x, *i, **o: getattr(x, name)(*i, **o), (self, *arguments), options, True
        )

    def __getitem__(self, index: Any) -> Any:
        return operate(lambda x, i: x[i], (self, index), {}, False)

    def __setitem__(self, index: Any, value: Any) -> None:
        operate(lambda x, i, v: x.__setitem__(i, v), (self, index, value), {}, not isinstance(value, FakeArray))

    def set(self, values: np.ndarray) -> None:
        waits("set")
        self.values[...] = values

    def get(self) -> np.ndarray:
        waits("get")
        return self.values.copy()

    def __bool__(self) -> bool:
        waits("bool")
        return bool(self.values)

    def __float__(self) -> float:
        waits("float")
        return float(self.values)

    def __int__(self) -> int:
        waits("int")
        return int(self.values)


def waits(what: str) -> None:
    if now().stream.captured is not None:
        raise RuntimeError(f"{what}: the current stream is capturing, so synchronous API calls are disallowed")


def arrays_in(value: Any) -> Iterator[np.ndarray]:
    if isinstance(value, ForeignArray):
        yield value.values
    elif isinstance(value, list | tuple):
        for one in value:
            yield from arrays_in(one)
    elif isinstance(value, dict):
        yield from arrays_in(list(value.values()))


def operate(function: Any, inputs: Any, options: Any, strict: bool) -> Any:
    """Run an operation; while the stream is captured write it down, and leave NaN where its results will be."""
    plain, more = unwrapped(inputs, strict), unwrapped(options, strict)
    given = [*arrays_in(inputs), *arrays_in(options)]
    captured = now().stream.captured
    if captured is None:
        return wrapped(function(*plain, **more), given)
    before = [x.copy() for x in given]
    result = function(*plain, **more)
    for x, old in zip(given, before):
        if not np.array_equal(x, old, equal_nan=x.dtype.kind == "f"):
            x[...] = old
    result = wrapped(result, given)
    fresh = [x for x in arrays_in(result) if not any(np.may_share_memory(x, y) for y in given)]
    plain, more = copied(plain), copied(more)

    def again() -> None:
        new = wrapped_values(function(*plain, **more))
        made = [x for x in new if not any(np.may_share_memory(x, y) for y in given)]
        for x, y in zip(fresh, made, strict=True):
            x[...] = y

    for x in fresh:
        x.view(np.uint8).fill(255) if x.ndim and x.flags.c_contiguous else x.fill(np.nan if x.dtype.kind == "f" else 1)
    captured.append(again)
    return result


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


def wrapped(value: Any, given: list[np.ndarray]) -> Any:
    if isinstance(value, np.generic):
        return FakeArray(np.array(value))
    if isinstance(value, np.ndarray):
        shared = next((x for x in given if np.may_share_memory(value, x)), None)
        return FakeArray(value, None if shared is None else copy.copy(shared))
    if isinstance(value, list | tuple):
        return type(value)(wrapped(v, given) for v in value)
    return value


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
        waits("asarray")
        return array if isinstance(array, FakeArray) else FakeArray(np.array(array))

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
