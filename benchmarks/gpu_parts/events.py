"""Timing on a GPU: both libraries on one stream, as CUDA graphs where they can be recorded, by CUDA's events."""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Callable, Sequence
from typing import Any

Call = Callable[[], Any]
ROUNDS, BLOCK = 15, 2000.0  # microseconds that a block of calls lasts at least


def tell(**record: Any) -> None:
    """A record for the program that started this part."""
    print(json.dumps(record), flush=True)


class Clock:
    """A stream that CuPy and PyTorch share. Whoever computes here is inside ``with clock.on():``."""

    def __init__(self, cupy: Any, torch: Any = None):
        self.cupy, self.torch = cupy, torch
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self.theirs: Any = torch.cuda.ExternalStream(self.stream.ptr) if torch is not None else None
        self.start, self.end = cupy.cuda.Event(), cupy.cuda.Event()

    def microseconds(self, call: Call, count: int) -> float:
        """Of one call, of ``count`` in a row."""
        self.start.record(self.stream)
        for _ in range(count):
            call()
        self.end.record(self.stream)
        self.end.synchronize()
        return float(self.cupy.cuda.get_elapsed_time(self.start, self.end)) * 1000 / count

    def graph_of_ours(self, call: Call) -> tuple[Call, str]:
        """``call`` as a graph, or itself where it cannot be recorded; and which of them."""
        pool = self.cupy.cuda.MemoryPool()
        with self.stream, self.cupy.cuda.using_allocator(pool.malloc):
            call(), call()
            self.stream.synchronize()
            self.stream.begin_capture()
            try:
                kept: Any = call()
            except (RuntimeError, NotImplementedError) as error:
                kept = error
            try:
                graph = self.stream.end_capture()
            except RuntimeError as error:
                kept = error
        if isinstance(kept, Exception):
            return call, f"eager: {type(kept).__name__}"
        owned = graph, pool, kept  # memory that a launch writes to
        return lambda: owned[0].launch(self.stream), "graph"

    def graph_of_theirs(self, call: Call) -> tuple[Call, str]:
        """The same of PyTorch's."""
        torch = self.torch
        with torch.cuda.stream(self.theirs):
            call(), call()
            self.theirs.synchronize()
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.cuda.graph(graph, stream=self.theirs):
                    kept = call()
            except RuntimeError as error:
                torch.cuda.synchronize()
                return call, f"eager: {str(error)[:60]}"
        owned = graph, kept

        def replay() -> None:
            with torch.cuda.stream(self.theirs):
                owned[0].replay()

        return replay, "graph"


def in_turns(
    sides: dict[str, Call], microseconds: Callable[[Call, int], float], rounds: int = ROUNDS
) -> dict[str, list[float]]:
    """Microseconds a call, of each side and round: a block of each in turn."""
    counts = {}
    for name, call in sides.items():
        microseconds(call, 3)
        counts[name] = max(1, min(1000, round(BLOCK / max(microseconds(call, 3), 1e-3))))
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, call in sides.items():
            times[name].append(microseconds(call, counts[name]))
    return times


def summary(times: dict[str, list[float]], ours: str, theirs: Sequence[str]) -> dict[str, Any]:
    """Medians, and the median over rounds of ours / the fastest of theirs in the same round."""
    found: dict[str, Any] = {"times": {name: statistics.median(one) for name, one in times.items()}}
    present = [name for name in theirs if name in times]
    if present:
        best = min(present, key=lambda name: found["times"][name])
        ratios = sorted(a / b for a, b in zip(times[ours], times[best]))
        found |= {"ratio": statistics.median(ratios), "lowest": ratios[len(ratios) // 4],
                  "highest": ratios[3 * len(ratios) // 4], "beside": best}  # fmt: skip
    return found


def taking_turns(calls: Sequence[Call]) -> Call:
    """Each call is the next one's: of other memory, so that the cache does not hold it."""
    turns = itertools.cycle(calls)
    return lambda: next(turns)()
