"""Backward through the tape: gradients for leaves (``backward``) or for chosen Tensors (``grad``)."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tinygrad_notes import kernels
from tinygrad_notes.errors import DTypeError, GradientError, ShapeError
from tinygrad_notes.explain import ERRORS, Releasing, check_device, describe_gradient, out_of_memory
from tinygrad_notes.kernels import DEVICES
from tinygrad_notes.modes import RAW, RECORD, SILENT, Mode, check_finite, enable_grad, forward_lines, in_mode, mode
from tinygrad_notes.operation import PART
from tinygrad_notes.registry import REGISTRY
from tinygrad_notes.tape import Extra, Node
from tinygrad_notes.tensor import Tensor, beside, to_array, wrap
from tinygrad_notes.wrapper import tensors_of
from tinygrad_notes.writes import check_saved, check_unwritten, clock, mark_written, writes

# ---------------------------------------------------------------------- the pass

FAILURES: tuple[type[Exception], ...] = (GradientError, *ERRORS)  # what a derivative that fails may raise


def run_backward(
    outputs: Sequence[Node],
    seeds: Sequence[Any],
    targets: Sequence[Node] | None = None,
    create_graph: bool = False,
    retain_graph: bool = False,
) -> list[Any] | None:
    """Carry ``seeds``, the gradients of ``outputs``, back through the tape.

    Without ``targets`` the gradients of leaves are added to their ``grad``; with them, the gradients of exactly these
    nodes are returned (None where no path leads). Gradients are bare arrays, or Tensors with ``create_graph``.
    Nodes are taken newest first: whatever used a value is newer than the value, so its gradient is then complete.
    """
    grads: dict[Node, Any] = {}
    borrowed: set[Node] = set()  # gradients that something else may also hold: never written
    leaves: list[Node] = []
    for node, seed in zip(outputs, seeds):
        grads[node] = grads[node] + seed if node in grads else seed
        borrowed.add(node)
    wanted = None if targets is None else set(targets)
    floor = min((0 if t.op is None else t.stamp for t in targets or ()), default=0)
    seen = set(grads)
    order = _reached(list(grads), seen, floor, leaves)
    needed = None if wanted is None else _leading_to(wanted, order)
    collected: dict[Node, Any] = {}
    unshared: set[Node] = set()  # of these: leaves whose gradient nothing else holds
    release = not (retain_graph or create_graph)
    on_gpu = not create_graph and len(DEVICES) > 1  # perhaps: of NumPy's arrays fused calls the derivative itself
    anomaly = mode.get().anomaly
    token = mode.set((Mode(True, anomaly=anomaly) if anomaly else RECORD) if create_graph else RAW)
    try:
        while order:
            node = order.pop()
            g = grads.pop(node, None)
            if g is None:
                continue
            if node.extra is not None:
                g = _observed(node, g, create_graph)
            if wanted is not None and node in wanted:
                collected[node] = g
            if needed is not None and node not in needed:
                continue
            op = node.op
            if op is PART:
                whole = node.parents[0]
                values = grads.setdefault(whole, [None] * len(whole.shape))  # type: ignore[union-attr, arg-type]
                known = values[node.saved]  # a derivative that kept the values reads them through parts of its own
                values[node.saved] = g if known is None else known + g
                if release:
                    node.derivatives, node.parents = None, ()
                continue
            if type(g) is list:
                g = _gathered(node, g, create_graph)
            if op.composite is not None and (create_graph or op.differentiable is False):  # type: ignore[union-attr]
                fresh = _replayed(node, g, grads, borrowed, seen, floor, leaves)
                if needed is not None:
                    _leading_to(wanted, fresh, needed)  # type: ignore[arg-type]
                in_order = not order or not fresh or order[-1].stamp < fresh[0].stamp
                order += fresh
                if not in_order:
                    order.sort(key=_stamp)
            else:
                if node.stamp < writes.last:
                    check_saved(node)
                joint, saved, parents = op.joint, node.saved, node.parents  # type: ignore[union-attr]
                if needed is not None:
                    parents = tuple(p if p in needed or p in wanted else None for p in parents)  # type: ignore[operator]
                if joint:
                    saved = derivatives = node.derivatives(g, *(_rejoined(node, 0, saved) if create_graph else saved))
                    if type(derivatives) is not tuple or len(derivatives) != len(parents):
                        raise _wrong_count(node, derivatives)
                    own = len({id(d) for d in derivatives}) == len(derivatives) and type(g) is not tuple
                else:
                    derivatives, own = node.derivatives, type(g) is not tuple
                    if create_graph:
                        saved = [_rejoined(node, i, kept) for i, kept in enumerate(saved)]
                for parent, d, kept in zip(parents, derivatives, saved):
                    if parent is None:
                        continue
                    if not joint:
                        d = kernels.fused(g, d, kept) if on_gpu and op.elementwise else d(g, *kept)  # type: ignore[union-attr]
                    if d is None:
                        continue
                    if d.shape != parent.shape or d.dtype is not parent.dtype:
                        d = _fitted(d, parent, node)
                    if anomaly:
                        stack = node.extra.stack if node.extra else None
                        check_finite(d.data if create_graph else d, f"the gradient of {op.name}", stack)  # type: ignore[union-attr]
                    previous = grads.get(parent)
                    if previous is None:
                        grads[parent] = d
                        if not own or d is g or (not create_graph and d.base is not None):
                            borrowed.add(parent)
                    elif create_graph or parent in borrowed:
                        grads[parent] = previous + d
                        borrowed.discard(parent)
                    else:
                        previous += d
                        grads[parent] = previous  # previous may be a NumPy scalar, which += replaces
            if release:
                node.derivatives = node.saved = node.call = None
                node.parents = ()
    except FAILURES as error:
        better = _explained(node, error)
        if better is None:
            raise
        raise better from error
    finally:
        mode.reset(token)
    for leaf in leaves:
        g = grads.pop(leaf, None)
        if g is None:
            continue
        shared = leaf in borrowed
        if leaf.extra.hooks:  # type: ignore[union-attr]
            g, shared = _observed(leaf, g, create_graph), True  # a hook may keep what it saw
        if wanted is None:
            _deposit(leaf, g, shared, create_graph)
        elif leaf in wanted:
            collected[leaf] = g
            if not shared and type(g) in DEVICES:
                unshared.add(leaf)
    if targets is None:
        return None
    results = [collected.get(node) for node in targets]
    if create_graph:
        return _distinct(results, seeds)
    for i, (node, g) in enumerate(zip(targets, results)):
        if node in unshared:
            unshared.discard(node)  # were it asked for twice, the second is a copy
            results[i] = wrap(g)
        elif g is not None:
            results[i] = wrap(_copied(g))
    return results


def _distinct(gradients: list[Any], seeds: Sequence[Any]) -> list[Any]:
    """Gradients on the tape, no two of them one Tensor and none a seed: whoever writes to one changes only that one."""
    taken = {id(seed) for seed in seeds}
    with in_mode(lambda _: RECORD):
        for i, g in enumerate(gradients):
            if id(g) in taken:
                gradients[i] = REGISTRY["clone"].call(g)
            elif g is not None:
                taken.add(id(g))
    return gradients


def _explained(node: Node, error: Exception) -> Exception | None:
    """The error of a derivative that failed; None for what speaks for itself, as what a hook raised does."""
    inner = error.__traceback__.tb_next  # type: ignore[union-attr]
    if inner is not None and inner.tb_frame.f_code in (_observed.__code__, _replayed.__code__):
        return None
    if isinstance(error, MemoryError):
        return out_of_memory(f"{node.name}: its derivative", error)
    if not isinstance(error, GradientError):
        return GradientError(f"{node.name}: its derivative failed: {error}")
    if " in the value of " not in str(error) or node.extra is None:
        return None
    # with create_graph the derivative's own ops are watched, and the line that they show is backward's
    return GradientError(f"{error}That is a part of the gradient of {node.name}; {forward_lines(node.extra.stack)}")


def _wrong_count(node: Node, gradients: Any) -> GradientError:
    count = f"{len(gradients)} gradients" if type(gradients) is tuple else describe_gradient(gradients)
    return GradientError(f"{node.name}: its derivative returned {count}, expected a tuple of {len(node.parents)}")


def _stamp(node: Node) -> float:
    return node.stamp


def _reached(stack: list[Node], seen: set[Node], floor: float, leaves: list[Node]) -> list[Node]:
    """The nodes that gradients can reach, oldest first. Iterative: the depth of a graph is no limit.

    Parents older than ``floor`` cannot lead to a target. The whole way is looked at before any gradient moves, so that
    a freed graph is refused with every ``grad`` still as it was.
    """
    found = []
    while stack:
        node = stack.pop()
        if node.op is None:
            leaves.append(node)
            continue
        if node.derivatives is None:
            raise GradientError(
                f"backward: this graph was already used and freed (at {node.name}); pass retain_graph=True to the "
                "first backward, or compute the value again"
            )
        found.append(node)
        for parent in node.parents:
            if parent is not None and parent not in seen and parent.stamp >= floor:
                seen.add(parent)
                stack.append(parent)
    found.sort(key=_stamp)
    return found


def _leading_to(targets: set[Node], order: list[Node], leading: set[Node] | None = None) -> set[Node]:
    """The nodes of ``order``, oldest first, from which a path leads to one of ``targets``; added to those known."""
    leading = set() if leading is None else leading
    for node in order:
        captures = node.op.composite is not None and not node.op.differentiable  # type: ignore[union-attr]
        if captures or any(p in leading or p in targets for p in node.parents if p is not None):
            leading.add(node)
    return leading


def _fitted(g: Any, parent: Node, node: Node) -> Any:
    """Undo broadcasting and promotion; refuse any other difference of shape or dtype."""
    if g.shape != parent.shape:
        g = _summed_to(g, parent.shape, node)
    if g.dtype != parent.dtype:
        if parent.dtype in (node.dtype if type(node.dtype) is tuple else (node.dtype,)):
            raise GradientError(f"{node.name}: a gradient is {g.dtype}, its operand is {parent.dtype}")
        g = REGISTRY["astype"].call(g, parent.dtype)
    return g


def _summed_to(g: Any, shape: tuple[int, ...], node: Node) -> Any:
    extra = len(g.shape) - len(shape)
    if extra < 0 or any(n not in (1, m) for n, m in zip(shape, g.shape[extra:])):
        raise GradientError(f"{node.name}: a gradient has shape {tuple(g.shape)}, its operand {tuple(shape)}")
    add = REGISTRY["sum"].call if g.size > 4096 else _added  # a long sum takes care of its rounding
    if extra:
        g = add(g, tuple(range(extra)))
    axes = tuple(i for i, (n, m) in enumerate(zip(shape, g.shape)) if n == 1 != m)
    return add(g, axes, True) if axes else g


def _added(g: Any, axis: tuple[int, ...], keepdims: bool = False) -> Any:
    return g.sum(axis=axis, keepdims=keepdims)


def _rejoined(node: Node, i: int, saved: Any) -> list[Any]:
    """What derivative ``i`` kept, as Tensors on the tape again: the value at this node, operands at their own."""
    return [_rejoin(node, value, position) for value, position in zip(saved or (), node.op.positions(i))]  # type: ignore[union-attr]


def _rejoin(node: Node, value: Any, position: int) -> Any:
    if type(value) is tuple:
        return tensors_of(node, value)
    if type(value) not in DEVICES and not isinstance(value, np.generic):
        return value  # a Python number
    if position >= 0:
        return wrap(value, node.parents[position])
    return wrap(np.asarray(value) if isinstance(value, np.generic) else value, node)


def _gathered(node: Node, values: list[Any], create_graph: bool) -> tuple[Any, ...]:
    """The gradients of an op's several values, zeros where one was not used."""
    like = next(g for g in values if g is not None)
    like = like.data if type(like) is Tensor else like
    full = [
        np.zeros_like(like, shape=shape, dtype=dtype) if g is None else g
        for g, shape, dtype in zip(values, node.shape, node.dtype)
    ]
    return tuple(wrap(g) if create_graph and type(g) is not Tensor else g for g in full)


def _replayed(node: Node, g: Any, grads: dict, borrowed: set, seen: set, floor: float, leaves: list) -> list[Node]:
    """Compute a composite (or a checkpoint) again on the tape, and hand ``g`` to its fresh end: the new nodes."""
    op: Any = node.op
    call = node.call
    # When nothing may have been written: since a checkpoint was made, and since those around it were made before that.
    spans = (*(node.saved if not op.differentiable else ()), (node.stamp, next(clock)))
    written = spans[0][0] < writes.last
    if written:
        check_unwritten(node, call)
    with enable_grad():
        if op.differentiable:
            at = dict(zip(op.operands, node.parents))
            call = [
                wrap(v, at[p.name]) if p.name in at and type(v) in DEVICES else v for p, v in zip(op.parameters, call)
            ]
        result = op.composite(*call)
    starts = []
    values, gradients = (v if isinstance(v, tuple | list) else (v,) for v in (result, g))
    for value, gradient in zip(values, gradients):
        end = value.node
        if end is not None and gradient is not None:
            grads[end] = grads[end] + gradient if end in grads else gradient
            borrowed.add(end)
            if end not in seen:
                seen.add(end)
                starts.append(end)
    fresh = _reached(starts, seen, floor, leaves)
    if written and not op.differentiable:  # the function of a checkpoint reads what it captured, as it is now
        for one in fresh:
            if one.op.keeps:  # type: ignore[union-attr]
                for since, before in spans:
                    check_saved(one, since, before)
            elif one.op is not PART and one.stamp > node.stamp:
                one.saved = spans
    return fresh


def _observed(node: Node, g: Any, create_graph: bool) -> Any:
    """Run the hooks of a node on its complete gradient; keep it where asked."""
    extra: Extra = node.extra  # type: ignore[assignment]
    if extra.hooks:
        with in_mode(lambda _: RECORD if create_graph else SILENT):
            for hook in list(extra.hooks.values()):
                replaced = hook(g if create_graph else wrap(_as_array(g)))
                if replaced is None:
                    continue
                if type(replaced) is not Tensor or replaced.shape != node.shape or replaced.dtype != node.dtype:
                    raise GradientError(
                        f"register_hook: a hook on a value of {node.name} returned {describe_gradient(replaced)}, "
                        f"expected None or a Tensor of shape {node.shape} and dtype {node.dtype}"
                    )
                check_device("register_hook: the gradient", replaced.data, g.data if create_graph else _as_array(g))
                g = replaced if create_graph else replaced.data
    if node.op is not None and extra.owner is not None:
        _deposit(node, g, True, create_graph)
    return g


def _as_array(g: Any) -> Any:
    """NumPy gives scalars for sums over all axes; a Tensor holds an array."""
    return np.asarray(g) if isinstance(g, np.generic) else g


def _copied(g: Any) -> Any:
    return np.array(g) if isinstance(g, np.generic) else g.copy()


_depositing = threading.RLock()  # threads that share parameters add to the same grad


def _deposit(node: Node, g: Any, shared: bool, create_graph: bool) -> None:
    """Add a complete gradient to ``grad`` of the Tensor that wants it. Leaves never share memory."""
    tensor = node.extra.owner()  # type: ignore[union-attr, misc]
    if tensor is None:
        return
    moved = "it was moved after it was used; move a network before its forward pass"
    check_device("backward: the gradient", g.data if type(g) is Tensor else g, tensor.data, moved)
    with _depositing:
        before = tensor.grad
        if type(before) is Tensor:
            check_device("backward: grad", before.data, tensor.data, "set it to None")
        fits = type(before) is Tensor and before.shape == node.shape and before.dtype == node.dtype
        if before is not None and not fits:
            raise GradientError(
                f"backward: grad of a {node.dtype} Tensor of shape {node.shape} is {describe_gradient(before)}; "
                "set it to None"
            )
        if create_graph:
            with in_mode(lambda _: RECORD):
                tensor.grad = REGISTRY["clone"].call(g) if before is None else before + g
        elif before is None:
            tensor.grad = wrap(_copied(g) if shared or type(g) not in DEVICES else g)
        elif before.node is not None:  # left there by create_graph: its history must not be written
            tensor.grad = wrap(before.data + g)
        else:
            before.data += g
            mark_written(before.data)


# ---------------------------------------------------------------------- backward and grad


def _seed(output: Tensor, gradient: Any, what: str) -> Any:
    """The gradient that starts at ``output``: 1 for a single element, else the one given."""
    if type(output) is not Tensor:
        raise DTypeError(f"{what}: expected a Tensor, got {type(output).__name__}")
    if output.node is None:
        raise GradientError(
            f"{what}: this Tensor does not depend on anything that requires a gradient "
            "(was it computed under no_grad, detached, or made of integers?)"
        )
    if gradient is None:
        if output.data.size != 1:
            raise GradientError(
                f"{what}: the Tensor has shape {output.shape}; give the gradient of its elements, "
                "which only a single element can do without"
            )
        return np.ones_like(output.data)
    known = type(gradient) is Tensor or type(gradient) in DEVICES
    try:
        data = to_array(gradient, None if known else output.dtype)
    except (ShapeError, DTypeError) as error:
        raise type(error)(f"{what}: gradient: {error}") from None
    data = data if known else beside(data, output.data)
    check_device(f"{what}: the gradient", data, output.data)
    if data.shape != output.shape:
        raise ShapeError(f"{what}: the gradient has shape {tuple(data.shape)}, the Tensor {output.shape}")
    if data.dtype != output.dtype:
        return REGISTRY["astype"].call(gradient if type(gradient) is Tensor else data, output.dtype)
    return gradient if type(gradient) is Tensor else data


def _seeds(outputs: Sequence[Tensor], gradients: Sequence[Any], create_graph: bool, what: str) -> list[Any]:
    seeds = [_seed(o, g, what) for o, g in zip(outputs, gradients)]
    if create_graph:
        return [s if type(s) is Tensor else wrap(s) for s in seeds]
    return [s.data if type(s) is Tensor else s for s in seeds]


def backward(
    output: Tensor, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False
) -> None:
    """Add d ``output`` / d leaf to ``leaf.grad`` of every leaf that requires a gradient.

    ``gradient`` is the gradient of ``output`` itself (1 for a single element). The graph is freed on the way, unless
    ``retain_graph``; with ``create_graph`` the gradients are themselves on the tape, so that they have gradients.
    Raises GradientError when there is no graph, it was already freed, or a kept buffer was changed in place.

    >>> x = tn.tensor([1.0, 2.0], requires_grad=True)
    >>> y = x * x
    >>> y.backward([1.0, 10.0])  # the same as tn.backward(y, [1.0, 10.0])
    >>> x.grad
    Tensor([ 2., 40.])
    >>> y.backward([1.0, 10.0])
    Traceback (most recent call last):
        ...
    tinygrad_notes.errors.GradientError: backward: this graph was already used and freed (at multiply); pa...
    """
    keep = create_graph if retain_graph is None else retain_graph
    seeds = _seeds([output], [gradient], create_graph, "backward")
    with Releasing():  # all gradients, of which the traceback knows
        run_backward([output.node], seeds, None, create_graph, keep)  # type: ignore[list-item]


def _listed(given: Any) -> list[Any]:
    """The Tensors of a list or of any iterable, such as a Module's parameters; one by itself."""
    return list(given) if isinstance(given, Iterable) and type(given) is not Tensor else [given]


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    gradients: Any = None,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
) -> Any:
    """The gradients of ``outputs`` for ``inputs``; no ``.grad`` is touched, but of what was told to ``retain_grad``.

    ``gradients`` are those of the outputs (1 for single elements). A Tensor for one input, a list for a list. An input
    that no path reaches raises GradientError, or gives None with ``allow_unused``.

    >>> x = tn.tensor(3.0, requires_grad=True)
    >>> slope = tn.grad(x**3, x, create_graph=True)
    >>> slope.item(), tn.grad(slope, x)
    (27.0, Tensor(18.))
    """
    tops, leaves, single = _listed(outputs), _listed(inputs), type(inputs) is Tensor
    if gradients is None:
        gradients = [None] * len(tops)
    elif type(outputs) is Tensor:
        gradients = [gradients]
    if not isinstance(gradients, list | tuple):
        raise DTypeError(f"grad: gradients is {describe_gradient(gradients)}, expected a list, one for each output")
    if len(gradients) != len(tops):
        raise ShapeError(f"grad: {len(gradients)} gradients for {len(tops)} outputs")
    for i, x in enumerate(leaves):
        if type(x) is not Tensor or x.node is None:
            raise GradientError(f"grad: input {i} does not require a gradient; call requires_grad_() before it is used")
    keep = create_graph if retain_graph is None else retain_graph
    seeds = _seeds(tops, gradients, create_graph, "grad")
    with Releasing():
        found = run_backward([o.node for o in tops], seeds, [x.node for x in leaves], create_graph, keep)  # type: ignore[misc]
    if not allow_unused:
        for i, g in enumerate(found):  # type: ignore[arg-type]
            if g is None:
                raise GradientError(
                    f"grad: no path leads from the outputs to input {i}; pass allow_unused=True to get None for it"
                )
    return found[0] if single else found  # type: ignore[index]


setattr(Tensor, "backward", backward)  # noqa: B010
