"""Progress of a run: a live bar on a terminal, a line for each epoch anywhere else."""

from __future__ import annotations

import sys
import time
from typing import Any, TextIO

from tinygrad_notes.lazy import load


class Progress:
    """Shows how far a run is. ``style``: "bar", "lines", "none", or "auto", a bar where ``file`` is a terminal.

    Without the package rich, which draws the bar, there are lines.

    >>> import sys
    >>> progress = tn.training.progress.Progress("digits", style="lines", file=sys.stdout)
    >>> progress.style
    'lines'
    """

    def __init__(self, title: str = "", style: str = "auto", file: TextIO | None = None):
        if style not in ("auto", "bar", "lines", "none"):
            raise ValueError(f"Progress: style is {style!r}, expected 'auto', 'bar', 'lines' or 'none'")
        self.title, self.file = title, file or sys.stderr
        if style == "auto":
            style = "bar" if self.file.isatty() else "lines"
        self.rich = _rich() if style == "bar" else None
        self.style = "lines" if style == "bar" and self.rich is None else style
        self._bar: Any = None
        self._task: Any = None

    def start(self, epoch: int, epochs: int, done: int, total: int | None) -> None:
        """A run of ``epochs``, of which ``epoch`` are over, begins at step ``done`` of ``total``."""
        self.epoch, self.epochs, self.samples, self.begin = epoch, epochs, 0, time.perf_counter()
        self._validation = ""
        if self.rich is not None:
            rich_progress, console = self.rich
            columns = (
                rich_progress.TextColumn("{task.description}"),
                rich_progress.BarColumn(bar_width=12),
                rich_progress.TextColumn("{task.fields[values]}"),
                rich_progress.TimeRemainingColumn(elapsed_when_finished=True),
            )
            self._bar = rich_progress.Progress(*columns, console=console.Console(file=self.file), refresh_per_second=8)
            self._task = self._bar.add_task(self._description(), total=total, completed=done, values="")
            self._bar.start()

    def advance(self, values: dict[str, float], samples: int) -> None:
        """One more step, with the running metrics of the epoch and the number of samples in the step."""
        self.samples += samples
        if self._bar is not None:
            text = f"{_values(values)}  {self._rate()}" + (self._validation and f"\n{self._validation}")
            self._bar.update(self._task, advance=1, description=self._description(), values=text)

    def end_epoch(self, row: dict[str, float]) -> None:
        """An epoch is over: its metrics."""
        self.epoch += 1
        shown = {key: value for key, value in row.items() if key not in ("epoch", "lr")}
        held_out = {key.removeprefix("validation_"): v for key, v in shown.items() if key.startswith("validation_")}
        self._validation = f"validation {_values(held_out)}" if held_out else ""
        if self.style == "lines":
            name = f"{self.title}: " if self.title else ""
            print(
                f"{name}epoch {self.epoch}/{self.epochs}  {_values(shown)}  {self._rate()}", file=self.file, flush=True
            )

    def stop(self) -> None:
        """The run is over, or broke off."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _description(self) -> str:
        return f"{self.title} {min(self.epoch + 1, self.epochs)}/{self.epochs}".strip()

    def _rate(self) -> str:
        return f"{self.samples / max(time.perf_counter() - self.begin, 1e-9):,.0f} samples/s"


def _values(values: dict[str, float]) -> str:
    return "  ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in values.items())


def _rich() -> tuple[Any, Any] | None:
    try:
        return load("rich.progress"), load("rich.console")
    except ImportError:
        return None
