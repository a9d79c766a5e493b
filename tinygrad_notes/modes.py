"""What an op does besides computing: the modes of a thread or task (no_grad, anomalies, watchers)."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_notes.errors import DTypeError, GradientError

if TYPE_CHECKING:
    from tinygrad_notes.operation import Op


class Mode:
    """What an op does besides computing. One object, so that an op reads one context variable.

    ``record``: put nodes on the tape. ``raw``: operands and results are bare arrays (inside backward).
    ``anomaly``: look for NaN and inf. ``watchers``: functions that are told of every call (see :func:`watch`).
    """

    __slots__ = ("anomaly", "observed", "raw", "record", "watchers")

    def __init__(self, record: bool, raw: bool = False, anomaly: bool = False, watchers: tuple[Watcher, ...] = ()):
        self.record, self.raw, self.anomaly, self.watchers = record, raw, anomaly, watchers
        self.observed = anomaly or bool(watchers)


# A watcher receives the op, its operands (arrays and numbers), its value and its other arguments, after each call.
Watcher = Callable[["Op", tuple[Any, ...], Any, tuple[Any, ...]], None]
RECORD, SILENT, RAW = Mode(True), Mode(False), Mode(False, raw=True)
mode: ContextVar[Mode] = ContextVar("mode", default=RECORD)


# The modes to go back to, newest first: of this thread or task, so that several may share one no_grad().
_outer: ContextVar[Any] = ContextVar("outer", default=None)


class in_mode:
    """Context manager and decorator that sets the mode of this thread or task."""

    __slots__ = ("change",)

    def __init__(self, change: Callable[[Mode], Mode]):
        self.change = change

    def __enter__(self) -> None:
        now = mode.get()
        _outer.set((now, _outer.get()))
        mode.set(self.change(now))

    def __exit__(self, *error: object) -> None:
        before, outer = _outer.get()
        mode.set(before)
        _outer.set(outer)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"{function.__name__} is a generator, which runs between other code; write the with block inside"
            )

        @functools.wraps(function)
        def wrapper(*arguments: Any, **options: Any) -> Any:
            with self:
                return function(*arguments, **options)

        @functools.wraps(function)
        async def coroutine(*arguments: Any, **options: Any) -> Any:
            with self:
                return await function(*arguments, **options)

        return coroutine if inspect.iscoroutinefunction(function) else wrapper


def no_grad() -> in_mode:
    """Compute without recording: ``with no_grad(): ...`` or ``@no_grad()``.

    >>> x = tn.tensor(2.0, requires_grad=True)
    >>> with tn.no_grad():
    ...     y = x * x
    >>> y.requires_grad
    False
    """
    return in_mode(lambda now: _recording(now, False))


def enable_grad() -> in_mode:
    """Record again inside ``no_grad``.

    >>> x = tn.tensor(2.0, requires_grad=True)
    >>> with tn.no_grad(), tn.enable_grad():
    ...     y = x * x
    >>> y.requires_grad
    True
    """
    return in_mode(lambda now: _recording(now, True))


def _recording(now: Mode, record: bool) -> Mode:
    if not now.observed:
        return RECORD if record else SILENT
    return Mode(record, anomaly=now.anomaly, watchers=now.watchers)


def detect_anomaly() -> in_mode:
    """Find the first NaN or inf, in a value or in a gradient, and show the forward line that made it.

    >>> with tn.detect_anomaly(), np.errstate(invalid="ignore"):
    ...     tn.sqrt(tn.tensor(-1.0, requires_grad=True))
    Traceback (most recent call last):
        ...
    tinygrad_notes.errors.GradientError: NaN in the value of sqrt, shape (); forward call:...
    """
    return in_mode(lambda now: Mode(now.record, now.raw, True, now.watchers))


def watch(watcher: Callable[..., None], static: bool = False) -> in_mode:
    """Call ``watcher(op, operands, value)`` after every op in this block: what counts, times or draws is built on it.

    With ``static`` it gets a fourth argument, the values of the op's other parameters (``op.static`` has their names).

    >>> calls = []
    >>> with tn.watch(lambda op, operands, value: calls.append(op.name)):
    ...     y = tn.relu(tn.tensor([1.0, -1.0]) * 2.0).sum()
    >>> calls
    ['multiply', 'relu', 'sum']
    """

    if not callable(watcher):
        raise DTypeError(f"watch: watcher is {watcher!r}, expected a function of the op, its operands and its value")

    def told(op: Op, operands: tuple[Any, ...], value: Any, others: tuple[Any, ...]) -> None:
        watcher(op, operands, value)

    chosen = watcher if static else told
    return in_mode(lambda now: Mode(now.record, now.raw, now.anomaly, (*now.watchers, chosen)))


def is_grad_enabled() -> bool:
    """True when ops are recorded in this thread.

    >>> with tn.no_grad():
    ...     inside = tn.is_grad_enabled()
    >>> inside, tn.is_grad_enabled()
    (False, True)
    """
    return mode.get().record


# ---------------------------------------------------------------------- shapes without memory

_shape_only: ContextVar[bool] = ContextVar("shape_only", default=False)


@contextmanager
def shape_only() -> Iterator[None]:
    """Parameters made in this block have a shape and no memory, so that a network of any size can be counted.

    They are read-only arrays of stride 0, on the CPU whatever the device asked for; initialisers leave them alone, and
    writing, loading a state or training raises DeviceError. A forward pass gives results of the right shapes and
    meaningless values. Buffers of layers are made so too: run such a network in evaluation mode. Per thread and task.

    >>> with tn.shape_only():
    ...     layer = nn.Linear(1_000_000, 175_000)
    >>> f"{sum(p.size for p in layer.parameters()):,}"
    '175,000,175,000'
    """
    token = _shape_only.set(True)
    try:
        yield
    finally:
        _shape_only.reset(token)


def is_shape_only() -> bool:
    """True inside :func:`shape_only`, in this thread or task.

    >>> from tinygrad_notes.modes import is_shape_only
    >>> with tn.shape_only():
    ...     is_shape_only()
    True
    """
    return _shape_only.get()


# ---------------------------------------------------------------------- captured steps

# Work that a CUDA graph must not record, because its numbers change from step to step, as an optimiser's do: while
# capture records, apart(work, parameters) runs it between two graphs, again at every replay. None: nothing is recorded.
Apart = Callable[[Callable[[], None], "list[Any]"], None]
apart: ContextVar[Apart | None] = ContextVar("apart", default=None)


def recording() -> bool:
    """True while capture records a step, whose values are not known yet: what checks values has to trust them.

    >>> from tinygrad_notes.modes import recording
    >>> recording()
    False
    """
    return apart.get() is not None


# ---------------------------------------------------------------------- anomalies

_PARTS = (
    "tensor", "explain", "modes", "writes", "tape", "operation", "wrapper", "registry", "autograd", "functional", "ops",
    "optim",
)  # fmt: skip
_ENGINE = tuple(f"tinygrad_notes.{part}" for part in _PARTS)
_WRAPPER = os.path.join(os.path.dirname(__file__), "wrapper.py")


def _in_engine(frame: Any) -> bool:
    name = frame.f_globals.get("__name__", "")
    file = frame.f_code.co_filename  # the wrapper of a user's own op has the name of the user's module
    return name.startswith(_ENGINE) or file.startswith("<op ") or file == _WRAPPER


def caller() -> tuple[str, int]:
    """File and line of the nearest frame outside the engine."""
    frame = sys._getframe(2)
    while frame.f_back and _in_engine(frame):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def forward_stack() -> list[tuple[str, int, str]]:
    """The eight innermost lines outside the engine, outermost first."""
    frame: Any = sys._getframe(2)
    stack: list[tuple[str, int, str]] = []
    while frame is not None and len(stack) < 8:
        if stack or not _in_engine(frame):
            stack.append((frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        frame = frame.f_back
    return stack[::-1]


def check_finite(array: Any, what: str, stack: list[tuple[str, int, str]] | None) -> None:
    """Raise GradientError when ``array`` holds NaN or inf."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        kind = "NaN" if np.isnan(array).any() else "inf"
        raise GradientError(f"{kind} in {what}, shape {tuple(array.shape)}; {forward_lines(stack)}")


def forward_lines(stack: list[tuple[str, int, str]] | None) -> str:
    """The lines of :func:`forward_stack` as an error message shows them."""
    if stack is None:
        return "the forward call was not made under detect_anomaly, so its line is not known\n"
    return "forward call:\n" + "".join(traceback.StackSummary.from_list([(*line, None) for line in stack]).format())
