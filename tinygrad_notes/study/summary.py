"""What a network is made of: layers, output shapes, parameters, multiply-adds and memory, from one forward pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_notes.errors import DTypeError
from tinygrad_notes.kernels import DEVICES
from tinygrad_notes.modes import enable_grad, no_grad, watch
from tinygrad_notes.nn import Module
from tinygrad_notes.registry import Op
from tinygrad_notes.study.graph import nodes_below
from tinygrad_notes.tensor import Tensor, wrap
from tinygrad_notes.writes import owner_of

# Multiply-adds of one call, from its operands and its value. Ops that are not named cost additions at most.
WORK: dict[str, Callable[[tuple[Any, ...], Any], int]] = {
    "matmul": lambda operands, value: value.size * operands[0].shape[-1],
    "linear": lambda operands, value: value.size * operands[1].shape[1],
    "conv": lambda operands, value: value.size * math.prod(operands[1].shape[1:]),
    "conv_transpose": lambda operands, value: operands[0].size * math.prod(operands[1].shape[1:]),
    "scaled_dot_product_attention": lambda operands, value: (
        (operands[0].size + _first(value).size) * operands[1].shape[-2]
    ),
    "rnn_scan": lambda operands, value: _of_scan(operands, 2),
    "gru_scan": lambda operands, value: _of_scan(operands, 2),
    "lstm_scan": lambda operands, value: _of_scan(operands, 3),
}


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) else value


def _of_scan(operands: tuple[Any, ...], first_weight: int) -> int:
    """Both products of every step: with the input and with the state before."""
    steps = math.prod(operands[0].shape[:2])
    return steps * (operands[first_weight].size + operands[first_weight + 1].size)


@dataclass
class Row:
    """One call of one module.

    >>> row = tn.study.summary(nn.Linear(3, 2), (5, 3)).rows[0]
    >>> row.kind, row.output_shape, row.parameters
    ('Linear', (5, 2), 8)
    """

    path: str
    kind: str
    depth: int
    parameters: int
    output_shape: Any = ()
    multiply_adds: int = 0
    again: bool = False
    has_children: bool = False


@dataclass
class Summary:
    """The rows in the order of the calls, and the totals.

    >>> result = tn.study.summary(nn.Linear(3, 2), (5, 3))
    >>> result.parameters, result.trainable, result.multiply_adds
    (8, 8, 30)
    """

    rows: list[Row] = field(default_factory=list)
    parameters: int = 0
    trainable: int = 0
    multiply_adds: int = 0
    parameter_bytes: int = 0
    kept_bytes: int = 0
    input_shapes: tuple[Any, ...] = ()

    def __str__(self) -> str:
        texts = [("layer", "output shape", "parameters", "multiply-adds")]
        for row in self.rows:
            name = "  " * row.depth + row.kind + (f" ({row.path})" if row.path else "")
            count = "again" if row.again else f"{row.parameters:,}" if row.parameters or not row.has_children else ""
            work = f"{row.multiply_adds:,}" if row.multiply_adds else ""
            texts.append((name, str(row.output_shape), count, work))
        widths = [max(map(len, column)) for column in zip(*texts)]
        lines = [
            f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d:>{widths[3]}}".rstrip() for a, b, c, d in texts
        ]
        lines.insert(1, "-" * max(map(len, lines)))
        lines.append(lines[1])
        frozen = self.parameters - self.trainable
        lines += [
            f"parameters     {self.parameters:,}"
            + (f" ({self.trainable:,} trained, {frozen:,} frozen)" if frozen else ""),
            f"multiply-adds  {self.multiply_adds:,} for input {', '.join(map(str, self.input_shapes))}",
            f"memory         {_bytes(self.parameter_bytes)} of parameters and buffers, "
            f"{_bytes(self.kept_bytes)} kept for the backward pass",
        ]
        return "\n".join(lines)


def _bytes(count: int) -> str:
    size, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        units.pop(0)
    return f"{size:.1f} {units[0]}" if units[0] != "B" else f"{count} B"


def summary(model: Module, *inputs: Any) -> Summary:
    """Run ``model`` once, in evaluation mode, and say what it is made of: ``print(summary(net, (1, 1, 28, 28)))``.

    ``inputs``: Tensors, arrays, or shapes (tuples of integers, which become zeros of float32). A row for every call of
    a module, with the multiply-adds of its own ops; the total counts all ops. "Kept for the backward pass" is the
    memory that the tape holds after such a pass, parameters apart.

    >>> print(tn.study.summary(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), (1, 3)))
    layer         output shape  parameters  multiply-adds
    -----------------------------------------------------
    Sequential    (1, 4)
      Linear (0)  (1, 4)                16             12
      ReLU (1)    (1, 4)                 0
    -----------------------------------------------------
    parameters     16
    multiply-adds  12 for input (1, 3)
    memory         64 B of parameters and buffers, ... kept for the backward pass
    """
    if not isinstance(model, Module):
        raise DTypeError(f"summary: model is {type(model).__name__}, expected a Module")
    tensors = [_input(i, value) for i, value in enumerate(inputs)]
    modes = {module: module.training for module in model.modules()}
    collector = _Collector(model)
    model.eval()
    try:
        try:
            with no_grad(), watch(collector.watch):
                model(*tensors)
        finally:
            collector.remove()
        with enable_grad():
            kept = _kept_bytes(model, model(*tensors))
    finally:
        for module, training in modes.items():
            module.training = training
    parameters, buffers = list(model.parameters()), list(model.buffers())
    return Summary(
        collector.rows,
        sum(p.size for p in parameters),
        sum(p.size for p in parameters if p.requires_grad),
        collector.total,
        sum(t.nbytes for t in [*parameters, *buffers]),
        kept,
        tuple(t.shape for t in tensors),
    )


def _input(i: int, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, tuple) and all(isinstance(n, int) for n in value):
        return wrap(np.zeros(value, np.float32))
    if type(value) in DEVICES:
        return wrap(value)
    raise DTypeError(f"summary: input {i} is {type(value).__name__}, expected a Tensor, an array or a shape")


class _Collector:
    """Follows the calls of modules by hooks, and of ops by a watcher."""

    def __init__(self, model: Module):
        self.rows: list[Row] = []
        self.total = 0
        self.open: list[Row] = []
        self.seen: set[int] = set()
        self.paths = {id(module): path for path, module in model.named_modules()}
        self.removers = []
        for module in model.modules():
            self.removers += [module.register_forward_pre_hook(self.enter), module.register_forward_hook(self.leave)]

    def enter(self, module: Module, arguments: tuple[Any, ...]) -> None:
        own = sum(p.size for p in module.parameters(recurse=False))
        again = id(module) in self.seen
        self.seen.add(id(module))
        path, children = self.paths[id(module)], next(iter(module.children()), None) is not None
        row = Row(path, type(module).__name__, len(self.open), own, again=again, has_children=children)
        self.rows.append(row)
        self.open.append(row)

    def leave(self, module: Module, arguments: tuple[Any, ...], output: Any) -> None:
        self.open.pop().output_shape = _shapes(output)

    def watch(self, op: Op, operands: tuple[Any, ...], value: Any) -> None:
        if op.name in WORK:
            work = int(WORK[op.name](operands, value))
            self.total += work
            if self.open:
                self.open[-1].multiply_adds += work

    def remove(self) -> None:
        for remove in self.removers:
            remove()


def _shapes(output: Any) -> Any:
    if isinstance(output, list | tuple):
        return tuple(_shapes(o) for o in output)
    return getattr(output, "shape", type(output).__name__)


def _kept_bytes(model: Module, output: Any) -> int:
    """The memory that the tape below ``output`` holds, each buffer once, without those of the model."""
    own = {id(owner_of(t.data)) for t in [*model.parameters(), *model.buffers()]}
    buffers: dict[int, int] = {}
    for node in nodes_below(output):
        for array in _arrays((node.saved, node.call, node.derivatives)):
            owner = id(owner_of(array))
            if owner not in own:
                buffers[owner] = max(buffers.get(owner, 0), array.nbytes)
    return sum(buffers.values())


def _arrays(value: Any) -> Iterator[Any]:
    """The arrays in nested tuples and in the locals that functions captured."""
    if type(value) in DEVICES:
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _arrays(one)
    elif callable(value):
        for cell in getattr(value, "__closure__", None) or ():
            yield from _arrays(cell.cell_contents)
