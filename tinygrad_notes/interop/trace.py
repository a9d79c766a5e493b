"""What a module computes, as a list of calls: it is run twice, and what differs is what depends on the inputs.

The second run has other values in its inputs, and other sizes of their dynamic axes. An array that no op made must be
the same in both runs (a constant) or a copy of an input; a size that differs is a symbol. So nothing that depends on
the example can be written into the file as if it were fixed, unseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_notes.interop.table import WRITERS, OnnxError
from tinygrad_notes.kernels import DEVICES
from tinygrad_notes.modes import no_grad, watch
from tinygrad_notes.nn import Module
from tinygrad_notes.nn.normalization import _BatchNorm
from tinygrad_notes.operation import Op
from tinygrad_notes.tensor import Tensor, to_numpy, wrap
from tinygrad_notes.writes import clock, written_since

GROWTH = (1, 3, 5, 7, 11, 13, 17, 19)  # by how much each symbol is larger in the second run


@dataclass(frozen=True)
class Symbol:
    """A size that differs between the runs. ``name``: of the dynamic axis it is, None where it is something else."""

    name: str | None
    sizes: tuple[int, int]

    def __repr__(self) -> str:
        return self.name or "?"


@dataclass(eq=False)
class Value:
    """An array of the run. ``name``: what it is called in the graph, once it is there."""

    array: Any
    other: Any
    shape: tuple[int | Symbol, ...]
    name: str | None = None

    @property
    def dtype(self) -> Any:
        return self.array.dtype

    @property
    def ndim(self) -> int:
        return self.array.ndim


@dataclass(eq=False)
class Call:
    """One call of an op: ``arguments`` by parameter name (or the operands of concat and stack), and ``values``."""

    name: str
    operands: tuple[Any, ...]
    arguments: dict[str, Any]
    values: tuple[Any, ...]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def value(self) -> Any:
        return self.values[0]


def _call(op: Op, operands: tuple[Any, ...], value: Any, static: tuple[Any, ...]) -> Call:
    arguments = dict(zip(op.static, static))
    if op.sequence is None:
        arguments |= dict(zip(op.operands, operands))
    return Call(op.name, operands, arguments, value if type(value) is tuple else (value,))


@dataclass
class _Run:
    """The calls of one run, told by a watcher; batch normalisation layers as one call each, told by hooks."""

    calls: list[Call] = field(default_factory=list)
    alive: list[Any] = field(default_factory=list)  # so that no two arrays have one id
    made: dict[int, float] = field(default_factory=dict)  # by id: when
    start: float = field(default_factory=lambda: next(clock))
    opened: list[int] = field(default_factory=list)

    def watch(self, op: Op, operands: tuple[Any, ...], value: Any, static: tuple[Any, ...]) -> None:
        call = _call(op, operands, value, static)
        for array in _arrays((operands, static)):
            self.check(array, op.name)
        now = next(clock)
        for array in call.values:
            self.made[id(array)] = now
        self.alive.append((operands, value, static))
        if op.name not in WRITERS and op.composite is not None:
            self._in_small_ops(op, call)
        else:
            self.calls.append(call)

    def check(self, array: Any, name: str) -> None:
        where = written_since(array, self.made.get(id(array), self.start))
        if where:
            raise OnnxError(
                f"{name}: an operand was written in place at {where}; an ONNX graph has no memory to write to, so "
                "compute a new Tensor instead"
            )

    def _in_small_ops(self, op: Op, call: Call) -> None:
        """The composite in place of an op that has no entry: its own calls are told to this watcher too."""
        composite: Any = op.composite
        given = {name: call.arguments[name] for name in op.signature.parameters}
        made = composite(*(wrap(a) if name in op.operands and type(a) in DEVICES else a for name, a in given.items()))
        made = made if type(made) is tuple else (made,)
        for part, array in zip(made, call.values):
            self.alive.append(part.data)
            self.calls.append(Call("clone", (part.data,), {"a": part.data}, (array,)))

    def enter(self, module: Module, arguments: tuple[Any, ...]) -> None:
        self.opened.append(len(self.calls))

    def leave(self, module: Any, arguments: tuple[Any, ...], output: Tensor) -> None:
        first, x = self.opened.pop(), arguments[0] if arguments else None
        if module.running_mean is None or type(x) is not Tensor or x.dtype != output.dtype:
            return
        vectors = {
            name: None if tensor is None else tensor.data
            for name, tensor in (
                ("weight", module.weight), ("bias", module.bias), ("mean", module.running_mean),
                ("variance", module.running_var),
            )
        }  # fmt: skip
        del self.calls[first:]
        arguments_ = {"x": x.data, **vectors, "eps": module.eps}
        self.calls.append(Call("batch_norm_by_running_statistics", (), arguments_, (output.data,)))


def _arrays(value: Any) -> list[Any]:
    if type(value) in DEVICES:
        return [value]
    return [a for one in value for a in _arrays(one)] if isinstance(value, list | tuple) else []


def outputs_of(result: Any) -> list[Tensor]:
    """The Tensors in what a module returned, in order; None is left out."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, list | tuple):
        return [t for one in result for t in outputs_of(one)]
    if result is None:
        return []
    raise OnnxError(f"the module returned {type(result).__name__}, expected Tensors, or tuples or lists of them")


def _run(module: Module, inputs: Sequence[Any]) -> tuple[_Run, list[Any]]:
    run = _Run()
    layers = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    removers = [m.register_forward_pre_hook(run.enter) for m in layers]
    removers += [m.register_forward_hook(run.leave) for m in layers]
    modes = {m: m.training for m in module.modules()}
    module.eval()
    try:
        with no_grad(), watch(run.watch, static=True):
            outputs = outputs_of(module(*map(wrap, inputs)))
    finally:
        for remove in removers:
            remove()
        for m, training in modes.items():
            m.training = training
    for tensor in outputs:
        run.check(tensor.data, "the output")
    return run, [t.data for t in outputs]


def _other_example(array: Any, growth: dict[int, int]) -> Any:
    """Other values of the same kind, with ``growth`` more of them along the dynamic axes."""
    for axis, more in growth.items():
        if not array.shape[axis]:
            raise OnnxError(f"an example input of shape {array.shape} has nothing along the dynamic axis {axis}")
        array = array.take(np.arange(array.shape[axis] + more, like=array), axis, mode="wrap")
    other = np.flip(array).copy()
    if array.dtype.kind == "f":
        return np.asarray(other * 0.5 + 0.25, array.dtype, like=array)
    if array.dtype.kind == "b":
        return np.logical_not(other)
    return np.zeros_like(other) if np.array_equal(array, other) else other


@dataclass
class Trace:
    """The two runs as one: inputs, calls and outputs, whose arrays are Values."""

    inputs: list[Value]
    calls: list[Call]
    outputs: list[Value]


class _Merger:
    """Makes one Value of the two arrays that stand in the same place."""

    def __init__(self, symbols: dict[tuple[int, int], str], fixed: set[int]):
        self.symbols, self.fixed = symbols, fixed
        self.known: dict[int, Value] = {}  # by id of the first run's array
        self.inputs: list[Value] = []

    def new(self, a: Any, b: Any, what: str) -> Value:
        if a.ndim != b.ndim or a.dtype != b.dtype:
            raise OnnxError(f"{what}: {list(a.shape)} {a.dtype} in one run, {list(b.shape)} {b.dtype} in another")
        value = self.known[id(a)] = Value(a, b, tuple(self.size(n, m) for n, m in zip(a.shape, b.shape)))
        return value

    def size(self, n: int, m: int) -> int | Symbol:
        return n if n == m else Symbol(self.symbols.get((n, m)), (n, m))

    def array(self, a: Any, b: Any, what: str) -> Value:
        known = self.known.get(id(a))
        if known is not None:
            if known.other is not b:
                raise OnnxError(f"{what}: an operand is another one when the inputs have other values or sizes")
            return known
        value = self.new(a, b, what)
        if id(a) in self.fixed or _same(a, b):
            return value
        for given in self.inputs:
            if given.dtype.kind in "iub" and _same(given.array, a) and _same(given.other, b):  # labels, lengths, masks
                self.known[id(a)] = copy = Value(a, b, value.shape)
                copy.name = given.name
                raise _CopyOfInput(given, copy)
        if a.shape != b.shape and _uniform(a, b):
            return value  # zeros for a batch, say: the same number everywhere, in a shape that has symbols
        raise OnnxError(
            f"{what}: an array {list(a.shape)} {a.dtype} depends on the inputs (their values, or the sizes of their "
            "dynamic axes), but no op made it; compute it with ops, or make it an input"
        )

    def argument(self, a: Any, b: Any, what: str) -> Any:
        if type(a) in DEVICES and type(b) in DEVICES:
            return self.array(a, b, what)
        if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
            return tuple(self.argument(x, y, what) for x, y in zip(a, b))
        if isinstance(a, slice) and isinstance(b, slice):
            return slice(*(self.argument(getattr(a, n), getattr(b, n), what) for n in ("start", "stop", "step")))
        if a is b or a == b or callable(a):
            return a
        numbers = isinstance(a, int | float | np.integer) and isinstance(b, int | float | np.integer)
        if numbers and np.isfinite([a, b]).all() and int(a) == a and int(b) == b:
            return self.size(int(a), int(b))
        raise OnnxError(f"{what}: an argument is {a!r}, and {b!r} when the inputs have other values or sizes")


class _CopyOfInput(Exception):
    """An array that no op made, with an input's elements in both runs."""

    def __init__(self, given: Value, copy: Value):
        super().__init__()
        self.given, self.copy = given, copy


def _uniform(a: Any, b: Any) -> bool:
    """Whether both hold one number, the same everywhere."""
    numbers = np.concatenate([to_numpy(a).reshape(-1), to_numpy(b).reshape(-1)])
    return bool(numbers.size and (numbers == numbers[0]).all())


def _same(a: Any, b: Any) -> bool:
    """Equal elements, however they are laid out."""
    if a.size != b.size:
        return False
    x, y = to_numpy(a).reshape(-1), to_numpy(b).reshape(-1)
    return bool(np.array_equal(x, y, equal_nan=x.dtype.kind == "f" and y.dtype.kind == "f"))


def trace(module: Module, examples: Sequence[Any], dynamic: Sequence[dict[int, str]]) -> Trace:
    """The calls of ``module`` on ``examples`` (arrays), of which ``dynamic`` names the axes whose sizes may change."""
    names = list(dict.fromkeys(name for axes in dynamic for name in axes.values()))
    if len(names) > len(GROWTH):
        raise OnnxError(f"{len(names)} dynamic axes of different names, expected at most {len(GROWTH)}")
    more = dict(zip(names, GROWTH))
    symbols: dict[tuple[int, int], str] = {}
    for array, axes in zip(examples, dynamic):
        for axis, name in axes.items():
            size = array.shape[axis]
            if symbols.setdefault((size, size + more[name]), name) != name or name in {
                n for key, n in symbols.items() if key[0] != size
            }:
                raise OnnxError(f"the dynamic axis {name!r} has different sizes in the example inputs")
    run, results = _run(module, examples)
    others = [_other_example(a, {i: more[n] for i, n in axes.items()}) for a, axes in zip(examples, dynamic)]
    try:
        with np.errstate(all="ignore"):
            second, other_results = _run(module, others)
    except OnnxError:
        raise
    except Exception as error:
        sizes = ", ".join(str(list(a.shape)) for a in others)
        raise OnnxError(f"the module does not take inputs of other values or shapes ({sizes}): {error}") from error
    if [c.name for c in run.calls] != [c.name for c in second.calls] or len(results) != len(other_results):
        raise OnnxError(
            "the module calls other ops when its inputs have other values or sizes, and a graph has one way only; "
            "leave out dynamic_axes if it is the sizes, choose with where if it is the values"
        )
    state = [t.data for t in [*module.parameters(), *module.buffers()]]
    merger = _Merger(symbols, set(map(id, state)))
    merger.inputs = [merger.new(a, b, "an input") for a, b in zip(examples, others)]
    calls: list[Call] = []
    for a, b in zip(run.calls, second.calls):
        calls += _merged(merger, a, b)
    outputs = [merger.array(a, b, "the output") for a, b in zip(results, other_results)]
    return Trace(merger.inputs, calls, outputs)


def _merged(merger: _Merger, a: Call, b: Call) -> list[Call]:
    """One call of the two, after the copies of inputs that it takes."""
    before = []
    while True:
        try:
            arguments = {n: merger.argument(a.arguments[n], b.arguments[n], a.name) for n in a.arguments}
            operands = merger.argument(a.operands, b.operands, a.name)
            break
        except _CopyOfInput as found:
            before.append(Call("copy_of_input", (found.given,), {"a": found.given}, (found.copy,)))
    values = tuple(merger.new(x, y, a.name) for x, y in zip(a.values, b.values))
    return [*before, Call(a.name, operands, arguments, values)]
