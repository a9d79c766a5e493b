"""Timing on a GPU: both libraries on one stream, as CUDA graphs where they can be recorded, by CUDA's events.

Small kernels end sooner than Python launches the next one. So a graph holds many calls, each on the next of several
sets of operands that together are larger than the cache, and the time of a call is that of the graph over their number.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tinygrad_notes.modes import apart

Call = Callable[[], Any]
ROUNDS, BLOCK = 21, 2000.0  # microseconds that a graph of calls, and a block of its launches, last at least
MOST = 400  # calls in a graph


def tell(**record: Any) -> None:
    """A record for the program that started this part."""
    print(json.dumps(record), flush=True)


@dataclass(frozen=True)
class Side:
    """What is timed: ``launch`` does ``calls`` calls, ``how``: as a graph, or why not."""

    launch: Call
    calls: int
    how: str


class Clock:
    """A stream that CuPy and PyTorch share. Whoever computes here does so inside ``with clock.on():``."""

    where = "cuda"  # PyTorch's device

    def __init__(self, cupy: Any, torch: Any = None):
        self.cupy, self.torch = cupy, torch
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self.theirs: Any = torch.cuda.ExternalStream(self.stream.ptr) if torch is not None else None
        self.start, self.end = cupy.cuda.Event(), cupy.cuda.Event()

    @contextmanager
    def on(self) -> Iterator[None]:
        """What both libraries compute in this block goes to the stream."""
        with self.stream:
            if self.torch is None:
                yield
            else:
                with self.torch.cuda.stream(self.theirs):
                    yield

    def microseconds(self, launch: Call, count: int) -> float:
        """Of one launch, of ``count`` in a row."""
        self.start.record(self.stream)
        for _ in range(count):
            launch()
        self.end.record(self.stream)
        self.end.synchronize()
        return float(self.cupy.cuda.get_elapsed_time(self.start, self.end)) * 1000 / count

    def ours(self, calls: Sequence[Call]) -> Side:
        """The calls in turns as a graph, or one by one where they cannot be recorded."""
        pool = self.cupy.cuda.MemoryPool()
        with self.on(), self.cupy.cuda.using_allocator(pool.malloc):
            turns = self._repeated(calls)
            self.stream.begin_capture()
            recording = apart.set(lambda work, parameters: work())  # values cannot be checked, optimisers are recorded
            kept: Any = None
            try:
                kept = [call() for call in turns]  # with their memory, to which a launch writes
            except Exception as error:
                kept = error
            finally:
                apart.reset(recording)
            try:  # a stream left capturing would take all that follows
                graph = self.stream.end_capture()
            except RuntimeError as error:
                kept = error
        if isinstance(kept, Exception):
            return self._one_by_one(calls, kept)
        owned = graph, pool, kept
        return Side(lambda: owned[0].launch(self.stream), len(turns), "graph")

    def pytorch(self, calls: Sequence[Call], fill: bool = True) -> Side:
        """The same of PyTorch's; without ``fill`` each call stands once in the graph."""
        torch = self.torch
        with self.on():
            turns = self._repeated(calls, fill)
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph, stream=self.theirs):
                    kept = [call() for call in turns]
            except RuntimeError as error:
                torch.cuda.synchronize()
                return self._one_by_one(calls, error)
        owned = graph, kept
        return Side(lambda: owned[0].replay(), len(turns), "graph")

    def _repeated(self, calls: Sequence[Call], fill: bool = True) -> list[Call]:
        """The calls, as often in turns as fills a graph. Two of each are made first: they compile, choose, allocate."""
        for call in (*calls, *calls):
            call()
        self.stream.synchronize()
        taken = self.microseconds(lambda: [call() for call in calls], 1)
        most = max(1, MOST // len(calls)) if fill else 1
        return [*calls] * min(most, math.ceil(BLOCK / max(taken, 1e-3)))

    @staticmethod
    def _one_by_one(calls: Sequence[Call], error: Exception) -> Side:
        return Side(lambda: [call() for call in calls], len(calls), f"eager: {type(error).__name__}: {error}"[:90])


def in_turns(
    sides: dict[str, Side], microseconds: Callable[[Call, int], float], rounds: int = ROUNDS, block: float = BLOCK
) -> dict[str, list[float]]:
    """Microseconds a call, of each side and round: a block of launches of each in turn."""
    counts = {}
    for name, side in sides.items():
        microseconds(side.launch, 3)
        counts[name] = max(1, min(1000, round(block / max(microseconds(side.launch, 3), 1e-3))))
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            times[name].append(microseconds(side.launch, counts[name]) / side.calls)
    return times


def ratio(times: dict[str, list[float]], ours: str, theirs: str) -> dict[str, float]:
    """The median over rounds of ours / theirs in the same round, and the quartiles."""
    ratios = sorted(a / b for a, b in zip(times[ours], times[theirs]))
    return {
        "ratio": statistics.median(ratios), "lowest": ratios[len(ratios) // 4], "highest": ratios[3 * len(ratios) // 4]
    }  # fmt: skip


def medians(times: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(one) for name, one in times.items()}
