"""A computation on the GPU, recorded once as CUDA graphs and launched again: what tinygrad_notes.capture is built on.

Launching a kernel from Python takes longer than many a kernel does, launching one of a graph a fraction of that:
``bench gpu`` measures both. While a stream is being captured nothing runs: the driver writes down the kernels and their
arguments, addresses and numbers included.
So a replay is right only if the same memory is there, and nothing else uses it: all arrays that the recorded function
makes come from a pool of their own, from which nothing is taken afterwards.

What has other numbers in every step (see ``modes.apart``) runs between two graphs, from the program's usual pool.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tinygrad_notes.errors import DeviceError
from tinygrad_notes.kernels.cuda import blas

RECORDINGS: weakref.WeakSet[Graphs] = weakref.WeakSet()  # all there are: tn.cuda.memory_summary counts their memory


class Graphs:
    """A stream and a pool of memory, and the parts of what was recorded there: graphs, and functions between them."""

    def __init__(self, cupy: Any):
        self.cupy = cupy
        self.stream = cupy.cuda.Stream(non_blocking=True)  # the default stream cannot be captured
        weakref.finalize(self, blas.forget, self.stream.ptr)
        self.pool = cupy.cuda.MemoryPool()
        RECORDINGS.add(self)
        self.before, self.after = (cupy.cuda.Event(disable_timing=True) for _ in range(2))
        self.parts: list[Callable[[], Any]] = []
        self.recording = False
        self.held = 0  # bytes of the pool
        self.usual: Any = None  # the allocator outside

    @contextmanager
    def in_order(self) -> Iterator[None]:
        """Work of this block goes to the own stream: after what the caller's did before, ahead of what it does next."""
        caller = self.cupy.cuda.get_current_stream()
        self.usual = self.cupy.cuda.get_allocator()
        self.before.record(caller)
        self.stream.wait_event(self.before)
        try:
            with self.stream:
                yield
        finally:
            self.after.record(self.stream)
            caller.wait_event(self.after)

    def run(self, function: Callable[[], Any], finish: Callable[[Any], Any]) -> Any:
        """Call ``function`` as it is, in the own pool: it compiles what it needs, and the pool grows to its size."""
        with self.in_order():
            with self.cupy.cuda.using_allocator(self._allocate):
                result = function()
            return finish(result)

    def record(self, function: Callable[[], Any], finish: Callable[[Any], Any]) -> Any:
        """Call ``function`` once, recorded and launched; returns ``finish`` of its result, which is not recorded.

        When it raises, the capture is ended, and what was recorded of it is forgotten.
        """
        gc.collect()  # what dies in the middle would be freed there
        enabled = gc.isenabled()
        gc.disable()
        try:
            with self.in_order():
                self._begin()
                try:
                    with self.cupy.cuda.using_allocator(self._allocate):
                        result = function()
                    self._end()
                except BaseException:
                    self._abandon()
                    raise
                return finish(result)
        finally:
            if enabled:
                gc.enable()

    def apart(self, work: Callable[[], None]) -> None:
        """Run ``work`` between two graphs, now and at every replay."""
        self._end()
        with self.cupy.cuda.using_allocator(self.usual):
            work()
        self.parts.append(work)
        self._begin()

    def replay(self, fill: Callable[[], None], finish: Callable[[], Any]) -> Any:
        """Everything again, in its order, between ``fill`` and ``finish``."""
        with self.in_order():
            fill()
            for part in self.parts:
                part()
            return finish()

    # ------------------------------------------------------------------ recording

    def _begin(self) -> None:
        self.stream.begin_capture()  # in CuPy's relaxed mode, in which the pool may ask for memory
        self.recording = True

    def _end(self) -> None:
        self.recording = False
        graph = self.stream.end_capture()
        self.parts.append(lambda: graph.launch(self.stream))
        graph.launch(self.stream)  # it was only written down: the work that comes next needs its results

    def _abandon(self) -> None:
        self.parts.clear()
        if self.recording:
            self.recording = False
            with suppress(
                Exception
            ):  # a capture that failed ends with an error; one left open would take all that follows
                self.stream.end_capture()

    def _allocate(self, size: int) -> Any:
        memory = self.pool.malloc(size)
        total = self.pool.total_bytes()
        if self.recording and total < self.held:
            raise DeviceError(
                "the memory of this GPU was full, so CuPy gave back what the first part of the step had used; "
                "a graph of it would write there: make the batch smaller"
            )
        self.held = total
        return memory
