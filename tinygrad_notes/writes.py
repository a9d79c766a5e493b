"""Writes in place: which buffers were written, when and where, and what on the tape no longer holds because of it."""

from __future__ import annotations

import itertools
import math
import threading
import weakref
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tinygrad_notes.errors import GradientError
from tinygrad_notes.kernels import DEVICES
from tinygrad_notes.modes import caller, mode

if TYPE_CHECKING:
    from tinygrad_notes.tape import Node
    from tinygrad_notes.tensor import Tensor

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
    key, line = id(owner), caller()
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
