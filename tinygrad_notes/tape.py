"""The tape: grad modes, anomalies, in-place writes and nodes. ``registry.py`` records calls of ops on it."""

from __future__ import annotations

import functools
import inspect
import itertools
import math
import os
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_notes.errors import DTypeError, GradientError
from tinygrad_notes.kernels import DEVICES
from tinygrad_notes.tensor import Tensor, wrap

if TYPE_CHECKING:
    from tinygrad_notes.registry import Op

# ---------------------------------------------------------------------- modes


class Mode:
    """What an op does besides computing. One object, so that an op reads one context variable.

    ``record``: put nodes on the tape. ``raw``: operands and results are bare arrays (inside backward).
    ``anomaly``: look for NaN and inf. ``watchers``: functions that are told of every call (see :func:`watch`).
    """

    __slots__ = ("anomaly", "observed", "raw", "record", "watchers")

    def __init__(self, record: bool, raw: bool = False, anomaly: bool = False, watchers: tuple[Watcher, ...] = ()):
        self.record, self.raw, self.anomaly, self.watchers = record, raw, anomaly, watchers
        self.observed = anomaly or bool(watchers)


# A watcher receives the op, its operands (arrays and numbers) and its value, after each call.
Watcher = Callable[["Op", tuple[Any, ...], Any], None]
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
    """Compute without recording: ``with no_grad(): ...`` or ``@no_grad()``."""
    return in_mode(lambda now: _recording(now, False))


def enable_grad() -> in_mode:
    """Record again inside ``no_grad``."""
    return in_mode(lambda now: _recording(now, True))


def _recording(now: Mode, record: bool) -> Mode:
    if not now.observed:
        return RECORD if record else SILENT
    return Mode(record, anomaly=now.anomaly, watchers=now.watchers)


def detect_anomaly() -> in_mode:
    """Find the first NaN or inf, in a value or in a gradient, and show the forward line that made it."""
    return in_mode(lambda now: Mode(now.record, now.raw, True, now.watchers))


def watch(watcher: Watcher) -> in_mode:
    """Tell ``watcher`` of every op called in this block: what counts, times or draws is built on it."""
    return in_mode(lambda now: Mode(now.record, now.raw, now.anomaly, (*now.watchers, watcher)))


def is_grad_enabled() -> bool:
    """True when ops are recorded in this thread."""
    return mode.get().record


# ---------------------------------------------------------------------- anomalies

_PARTS = ("tensor", "explain", "tape", "registry", "autograd", "functional", "ops", "optim")
_ENGINE = tuple(f"tinygrad_notes.{part}" for part in _PARTS)


_REGISTRY = os.path.join(os.path.dirname(__file__), "registry.py")


def _in_engine(frame: Any) -> bool:
    name = frame.f_globals.get("__name__", "")
    file = frame.f_code.co_filename  # the wrapper of a user's own op has the name of the user's module
    return name.startswith(_ENGINE) or file.startswith("<op ") or file == _REGISTRY


def _caller() -> tuple[str, int]:
    """File and line of the nearest frame outside the engine."""
    frame = sys._getframe(2)
    while frame.f_back and _in_engine(frame):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def _stack() -> list[tuple[str, int, str]]:
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
    if stack is None:
        return "the forward call was not made under detect_anomaly, so its line is not known\n"
    return "forward call:\n" + "".join(traceback.StackSummary.from_list([(*line, None) for line in stack]).format())


# ---------------------------------------------------------------------- writes

# One clock orders everything: a node is stamped when made, a buffer when written. A kept buffer is stale when it was
# written after its node was made. A buffer nobody ever wrote costs nothing.
clock = itertools.count(1)


class _Writes:
    """Which buffers were written in place, and when.

    ``last``: the newest write of all, so that an older stamp is the only thing an op has to look at.
    ``joined``: how many buffers got a gradient by a write (``x[i] = v`` with a plain x), whose older views do not know.
    """

    __slots__ = ("by_buffer", "joined", "last")

    def __init__(self) -> None:
        self.last = self.joined = 0
        self.by_buffer: dict[int, _Write] = {}


class _Write:
    """The newest write to one buffer. ``joined``: if a write gave it a gradient, the arrays that look at it since."""

    __slots__ = ("buffer", "joined", "line", "tick")

    def __init__(self, buffer: weakref.ref, tick: int, line: tuple[str, int], joined: list[weakref.ref] | None):
        self.buffer, self.tick, self.line, self.joined = buffer, tick, line, joined

    def where(self) -> str:
        return f"{self.line[0]}:{self.line[1]}"


writes = _Writes()
_writing = threading.RLock()  # again by the same thread: a buffer may die, and be forgotten, in the middle


def owner_of(array: Any) -> Any:
    """The array that owns the memory ``array`` looks at."""
    base = getattr(array, "base", None)
    while base is not None and type(base) is type(array):
        array, base = base, base.base
    return array


def mark_written(array: Any, joined: bool = False) -> int:
    """Say that ``array`` was written in place: tapes that kept it will refuse to use it. Returns the time.

    ``joined``: the write gave a gradient to a Tensor that had none.
    """
    owner = owner_of(array)
    key, line = id(owner), _caller()
    with _writing:
        tick = next(clock)
        before = writes.by_buffer.get(key)
        if before is None:
            buffer, known = weakref.ref(owner, lambda _: _forget(key)), None
        else:
            buffer, known = before.buffer, before.joined
        if joined and known is None:
            known = [weakref.ref(array)]
            writes.joined += 1
        writes.by_buffer[key] = _Write(buffer, tick, line, known)
        writes.last = tick
    return tick


def _forget(key: int) -> None:
    with _writing:
        write = writes.by_buffer.pop(key, None)
        if write is not None and write.joined is not None:
            writes.joined -= 1


# Ops whose value may look at their operand's memory.
VIEWS = {"getitem", "reshape", "permute_dims", "swapaxes", "squeeze", "expand_dims", "broadcast_to", "flip"}


def forgive_write(tensor: Tensor, view: Tensor) -> None:
    """Take the newest write to ``tensor`` as known if ``view`` made it: ``x[i] += v`` wrote x[i], which now comes home.

    A view of another view that was written does not count: what else was written there would be lost.
    """
    write = writes.by_buffer.get(id(owner_of(view.data)))
    if write is None or view.node is None or write.tick > view.node.stamp:
        return
    if tensor.node is None:
        known = write.joined is not None and write.joined[0]() is view.data
    else:
        node: Node | None = view.node
        for looking in (False, True):  # above the writes of the view itself, below them views of the tensor
            while node is not None and node is not tensor.node and (node.name in VIEWS) is looking:
                node = node.parents[0] if node.parents else None
        known = node is tensor.node
    if known:
        with _writing:
            write.tick = 0
            if tensor.node is None:  # it was the view that joined the tape; the tensor does now
                write.joined = None
                writes.joined -= 1


def written_since(array: Any, stamp: float, before: float = math.inf) -> str | None:
    """Where the buffer of ``array`` was last written, if that was after ``stamp`` (and ``before`` a later time)."""
    write = writes.by_buffer.get(id(owner_of(array)))
    return write.where() if write is not None and stamp < write.tick < before else None


def check_history(node: Node, array: Any, op_name: str) -> None:
    """An operand whose buffer changed after its own node was made has a false history."""
    where = written_since(array, node.stamp)
    if where:
        raise GradientError(
            f"{op_name}: an operand made by {node.name} was changed in place at {where}, through another view or under "
            "no_grad, so its history is false; change the Tensor itself, or work on a copy"
        )


def check_joined(
    operands: Sequence[tuple[Any, Node | None]], op_name: str, value: Any = None, record: bool = True
) -> None:
    """A view taken before its buffer got a gradient does not know of it; ``value``, a view of one that does, does."""
    for array, node in operands:
        write = writes.by_buffer.get(id(owner_of(array))) if type(array) in DEVICES else None
        if write is None or write.joined is None:
            continue
        if node is not None or any(known() is array for known in write.joined):
            if owner_of(value) is write.buffer():  # a view of what was detached, or taken under no_grad
                write.joined = [k for k in write.joined if k() is not None and k() is not value] + [weakref.ref(value)]
        elif record:
            raise GradientError(
                f"{op_name}: an operand views memory that was given a gradient in place at {write.where()}, which this "
                "view does not know; take the view after the write, or of a copy"
            )


def check_operand(tensor: Tensor, op_name: str) -> None:
    """What an op checks of an operand on the tape, for a write that hands the op a copy of it."""
    if mode.get().record:
        if tensor.node is None:
            check_joined(((tensor.data, None),), op_name)
        elif tensor.node.stamp < writes.last:
            check_history(tensor.node, tensor.data, op_name)


def adopt(tensor: Tensor, node: Node) -> None:
    """``tensor`` was written in place and is now the value of ``node``; so is the gradient it retains."""
    before = tensor.node
    if before is not None and before.extra is not None and before.extra.owner is not None:
        node.extra = node.extra or Extra()
        node.extra.owner, before.extra.owner = before.extra.owner, None
    tensor.node = node
    node.stamp = next(clock)


def check_saved(node: Node, since: float | None = None, before: float = math.inf) -> None:
    """Refuse what was changed in place after this node kept it: operands, values, captured indices.

    ``since`` and ``before``: other times between which nothing may have been changed, for a node of a replay.
    """
    joint = node.op.joint  # type: ignore[union-attr]
    for saved in (node.saved,) if joint else node.saved:
        check_unwritten(node, saved or (), since, before)
    for derivative in (node.derivatives,) if joint else node.derivatives:
        for cell in derivative.__closure__ or ():
            with suppress(ValueError):  # the cell of a variable that this call did not set is empty
                check_unwritten(node, (cell.cell_contents,), since, before)


def check_unwritten(node: Node, arrays: Iterable[Any], since: float | None = None, before: float = math.inf) -> None:
    since = node.stamp if since is None else since
    for value in arrays:
        for array in value if type(value) is tuple else (value,):
            where = written_since(array, since, before)
            if where:
                raise GradientError(
                    f"{node.name} kept an array for its gradient that was changed in place at {where}; "
                    "the gradient would be wrong, so change a copy instead"
                )


# ---------------------------------------------------------------------- nodes


class Node:
    """One recorded call. Nodes point at nodes, never at Tensors: a value nobody keeps is freed.

    ``parents``: the nodes of the operands (None where no gradient flows). ``derivatives``: one function per operand, or
    a single one for all. ``saved``: what each of them keeps. ``stamp``: when it was made. ``call``: all arguments, for
    ops that can be replayed. ``extra``: hooks and the like, which few nodes have.
    """

    __slots__ = ("__weakref__", "call", "derivatives", "dtype", "extra", "op", "parents", "saved", "shape", "stamp")

    op: Op | None
    parents: tuple[Node | None, ...]
    derivatives: Any
    saved: Any
    call: Any
    shape: Any
    dtype: Any
    stamp: float
    extra: Extra | None

    @property
    def name(self) -> str:
        return "leaf" if self.op is None else self.op.name

    def __repr__(self) -> str:
        return f"<Node {self.name} {self.shape}>"


class Extra:
    """What few nodes need: hooks, the Tensor that wants the gradient, the forward stack."""

    __slots__ = ("hooks", "owner", "stack")

    def __init__(self) -> None:
        self.hooks: dict[int, Callable[[Tensor], Tensor | None]] = {}
        self.owner: weakref.ref[Tensor] | None = None
        self.stack: list[tuple[str, int, str]] | None = None


def make_node(
    op: Op | None, parents: Sequence[Node | None], derivatives: Any, saved: Any, value: Any, call: Any = None
) -> Node:
    """A node for ``value`` (a tuple for an op of several values)."""
    node = Node()
    node.op, node.parents, node.derivatives, node.saved, node.call = op, tuple(parents), derivatives, saved, call
    if type(value) is tuple:
        node.shape, node.dtype = tuple(v.shape for v in value), tuple(v.dtype for v in value)
    else:
        node.shape, node.dtype = value.shape, value.dtype
    node.stamp, node.extra = next(clock), None
    return node


def make_leaf(tensor: Tensor) -> Node:
    """The node of a Tensor that requires a gradient and that no op made."""
    node = make_node(None, (), None, None, tensor.data)
    node.stamp = math.inf  # a leaf has no history to go stale
    node.extra = Extra()
    node.extra.owner = weakref.ref(tensor)
    return node


def observe(op: Op, operands: tuple[Any, ...], value: Any, node: Node | None, now: Mode) -> None:
    """Tell the watchers of a call; in anomaly mode check its value and keep the forward stack."""
    for watcher in now.watchers:
        watcher(op, operands, value)
    if not now.anomaly:
        return
    stack = _stack()
    for array in value if type(value) is tuple else (value,):
        check_finite(array, f"the value of {op.name}", stack)
    if node is not None:
        node.extra = Extra()
        node.extra.stack = stack


# ---------------------------------------------------------------------- methods of Tensor


def _requires_grad_(self: Tensor, flag: bool = True) -> Tensor:
    """Ask for a gradient (or no longer), in place. Only leaves of floating dtype can."""
    if flag and self.dtype.kind != "f":
        raise GradientError(
            f"requires_grad_: only floating-point Tensors have gradients, this one is {self.dtype}; "
            "use astype(tn.float32)"
        )
    if not self.is_leaf:
        if flag:
            return self
        raise GradientError(
            f"requires_grad_: this Tensor was made by {self.node.name}; "  # type: ignore[union-attr]
            "only leaves change requires_grad, use detach()"
        )
    if flag != (self.node is not None):
        self.node = make_leaf(self) if flag else None
    return self


def _extra_of(tensor: Tensor, what: str) -> Extra:
    if tensor.node is None:
        raise GradientError(f"{what}: this Tensor does not require a gradient")
    if tensor.node.extra is None:
        tensor.node.extra = Extra()
    return tensor.node.extra


def _register_hook(self: Tensor, hook: Callable[[Tensor], Tensor | None]) -> Callable[[], None]:
    """Call ``hook(gradient)`` when the gradient of this Tensor is complete; what it returns (if not None) replaces it.

    Returns a function that removes the hook.
    """
    if not callable(hook):
        raise DTypeError(f"register_hook: hook is {hook!r}, expected a function of the gradient")
    hooks = _extra_of(self, "register_hook").hooks
    key = next(clock)
    hooks[key] = hook
    return lambda: hooks.pop(key, None)  # type: ignore[return-value]


def _retain_grad(self: Tensor) -> None:
    """Keep ``grad`` of this Tensor in backward although it is not a leaf."""
    _extra_of(self, "retain_grad").owner = weakref.ref(self)


def _detach(self: Tensor) -> Tensor:
    """The same memory, off the tape: no gradient flows through."""
    return wrap(self.data)


for _name, _method in {
    "requires_grad_": _requires_grad_,
    "register_hook": _register_hook,
    "retain_grad": _retain_grad,
    "detach": _detach,
}.items():
    setattr(Tensor, _name, _method)
