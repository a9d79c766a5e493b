"""Where the time went: a stopwatch for named parts of a program."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tinygrad_notes.training.report import table


class Stopwatch:
    """Seconds and calls of each named part: ``with watch("forward"): ...``. Parts do not nest.

    The rest of the time between :meth:`start` and :meth:`stop` is ``other``. On a GPU work is queued, so its time shows
    where the program waits for it: where the value of the loss is read.

    >>> watch = tn.training.Stopwatch()
    >>> with watch("forward"):
    ...     _ = tn.ones(3) + 1
    >>> watch.calls
    {'forward': 1}
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self.total = 0.0
        self._started: float | None = None

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - begin
            self.calls[part] = self.calls.get(part, 0) + 1

    def start(self) -> None:
        self._started = time.perf_counter()

    def stop(self) -> None:
        if self._started is not None:
            self.total += time.perf_counter() - self._started
            self._started = None

    def parts(self) -> dict[str, float]:
        """Seconds of each part and, when the whole was measured, of ``other``."""
        known = sum(self.seconds.values())
        return self.seconds | ({"other": max(self.total - known, 0.0)} if self.total else {})

    def __str__(self) -> str:
        parts = self.parts()
        whole = sum(parts.values()) or 1.0
        rows = []
        for part, seconds in parts.items():
            calls = self.calls.get(part)
            each = f"{seconds / calls * 1e3:.2f}" if calls else ""
            rows.append((part, f"{seconds:.2f}", f"{100 * seconds / whole:.1f}", calls or "", each))
        rows.append(("total", f"{sum(parts.values()):.2f}", "100.0", "", ""))
        return table(("part", "seconds", "%", "calls", "ms each"), rows)
