"""The tape: nodes, one for each recorded call. ``registry.py`` makes the ops whose calls are recorded."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_notes.errors import DTypeError, GradientError
from tinygrad_notes.modes import Mode, check_finite, forward_stack
from tinygrad_notes.tensor import Tensor, wrap
from tinygrad_notes.writes import clock

if TYPE_CHECKING:
    from tinygrad_notes.operation import Op


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


def adopt(tensor: Tensor, node: Node) -> None:
    """``tensor`` was written in place and is now the value of ``node``; so is the gradient it retains."""
    before = tensor.node
    if before is not None and before.extra is not None and before.extra.owner is not None:
        node.extra = node.extra or Extra()
        node.extra.owner, before.extra.owner = before.extra.owner, None
    tensor.node = node
    node.stamp = next(clock)


def observe(
    op: Op, operands: tuple[Any, ...], value: Any, node: Node | None, now: Mode, static: tuple[Any, ...] = ()
) -> None:
    """Tell the watchers of a call; in anomaly mode check its value and keep the forward stack."""
    for watcher in now.watchers:
        watcher(op, operands, value, static)
    if not now.anomaly:
        return
    stack = forward_stack()
    for array in value if type(value) is tuple else (value,):
        check_finite(array, f"the value of {op.name}", stack)
    if node is not None:
        node.extra = Extra()
        node.extra.stack = stack


# ---------------------------------------------------------------------- methods of Tensor


def _requires_grad_(self: Tensor, flag: bool = True) -> Tensor:
    """Ask for a gradient (or no longer), in place. Only leaves of floating dtype can.

    >>> tn.tensor([1.0, 2.0]).requires_grad_()
    Tensor([1., 2.], requires_grad=True)
    >>> tn.tensor([1, 2]).requires_grad_()
    Traceback (most recent call last):
        ...
    tinygrad_notes.errors.GradientError: requires_grad_: only floating-point Tensors have gradients, this...
    """
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

    >>> x = tn.tensor([1.0, 2.0], requires_grad=True)
    >>> remove = x.register_hook(lambda gradient: gradient * 10.0)
    >>> x.sum().backward()
    >>> x.grad
    Tensor([10., 10.])
    """
    if not callable(hook):
        raise DTypeError(f"register_hook: hook is {hook!r}, expected a function of the gradient")
    hooks = _extra_of(self, "register_hook").hooks
    key = next(clock)
    hooks[key] = hook
    return lambda: hooks.pop(key, None)  # type: ignore[return-value]


def _retain_grad(self: Tensor) -> None:
    """Keep ``grad`` of this Tensor in backward although it is not a leaf.

    >>> x = tn.tensor(3.0, requires_grad=True)
    >>> y = x * x
    >>> y.retain_grad()
    >>> (5.0 * y).backward()
    >>> y.grad, x.grad
    (Tensor(5.), Tensor(30.))
    """
    _extra_of(self, "retain_grad").owner = weakref.ref(self)


def _detach(self: Tensor) -> Tensor:
    """The same memory, off the tape: no gradient flows through.

    >>> x = tn.tensor(3.0, requires_grad=True)
    >>> tn.grad(x * x.detach(), x)
    Tensor(3.)
    """
    return wrap(self.data)


for _name, _method in {
    "requires_grad_": _requires_grad_,
    "register_hook": _register_hook,
    "retain_grad": _retain_grad,
    "detach": _detach,
}.items():
    setattr(Tensor, _name, _method)
