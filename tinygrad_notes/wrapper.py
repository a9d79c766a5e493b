"""The wrapper of an op, which takes arrays out of Tensors, calls it, and records the call: written out for each op."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import numpy as np

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.explain import ERRORS, explain
from tinygrad_notes.kernels import DEVICES
from tinygrad_notes.modes import RAW, SILENT, Mode, mode
from tinygrad_notes.operation import PART, Op
from tinygrad_notes.tape import Node, make_node, observe
from tinygrad_notes.tensor import DTYPE_CHARS, Tensor, as_dtype, as_floating, float32, float64, new, to_array, wrap
from tinygrad_notes.writes import check_history, check_joined, clock, writes

NUMBERS = frozenset({float, int, bool})  # operands that an elementwise op takes as they are

# ---------------------------------------------------------------------- what a wrapper calls when the road is not plain


def accept(value: Any, op: Op, operand: str) -> Any:
    """An operand that is no Tensor and no plain NumPy array of a supported dtype."""
    raw = mode.get().raw
    if type(value) in DEVICES:
        try:
            return value if raw else value.astype(as_dtype(value.dtype), copy=False)
        except DTypeError as error:
            raise DTypeError(f"{op.name.strip('_')}: {operand} is {value.dtype}: {error}") from None
    if isinstance(value, np.ndarray):  # a subclass, such as a memory map
        return accept(value.view(np.ndarray), op, operand)
    if isinstance(value, np.generic):
        # NumPy returns scalars where arrays have no axes: in backward they are values; from a user they promote nothing
        return np.asarray(value) if raw else accept(value.item(), op, operand)
    if value is None and _allows_none(op, operand):
        return value
    if isinstance(value, int | float) and op.elementwise:
        return value
    name = op.name.strip("_")
    if isinstance(value, int | float | list | tuple):
        try:
            return to_array(value)
        except (ShapeError, DTypeError) as error:
            raise type(error)(f"{name}: {operand}: {error}") from None
    raise DTypeError(f"{name}: {operand} is {type(value).__name__}, expected a Tensor, an array or a number")


def _allows_none(op: Op, operand: str) -> bool:
    return any(p.name == operand and ("None" in str(p.annotation) or p.default is None) for p in op.parameters)


def settle(op: Op, operands: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Operands of an elementwise op that came out as float64, if integers or Python numbers were the only reason.

    NumPy makes float64 of int64 and float32; here an integer never promotes a float, and alone it becomes float32.
    """
    dtypes = [a.dtype for a in operands if type(a) in DEVICES]
    if any(dtype is float64 or dtype == float64 for dtype in dtypes):
        return None
    like = next((a for a in operands if type(a) in DEVICES), None)
    return tuple(a.astype(float32) if type(a) in DEVICES else None if a is None else
                 np.asarray(a, float32, like=like) for a in operands)  # fmt: skip


def explain_call(op: Op, error: Exception, operands: tuple[Any, ...], static: tuple[Any, ...] = ()) -> Exception:
    """The error to raise for a call of ``op``: it names its operands, and the arguments that are not defaults."""
    arguments = {
        name: value for name, value in zip(op.operands, operands) if value is not None or not _allows_none(op, name)
    }
    defaults = {p.name: p.default for p in op.parameters}
    arguments |= {name: value for name, value in zip(op.static, static) if value is not defaults[name]}
    return explain(op.name.strip("_"), error, arguments)


def many(
    op: Op,
    operands: tuple[Any, ...],
    values: tuple[Any, ...],
    derivatives: Any,
    parents: Sequence[Node | None],
    saved: Any,
    call: Any,
    now: Mode,
    static: tuple[Any, ...] = (),
    always: bool = False,
) -> tuple[Tensor, ...]:
    """The Tensors of an op with several values. Each has a part node below the op's own, which gathers their
    gradients; the op's derivatives receive them as a tuple."""
    if any(map(callable, values)):
        raise TypeError(f"op {op.name}: a derivative is written inside the op, and its first parameter is g")
    values = tuple(v if type(v) in DEVICES else np.asarray(v) for v in values)
    node = None
    if now.record and (always or (op.differentiable and any(parent is not None for parent in parents))):
        node = make_node(op, parents, derivatives, saved, values, call)
    if now.observed:
        observe(op, operands, values, node, now, static)
    return tuple(wrap(v) for v in values) if node is None else tensors_of(node, values)


def tensors_of(node: Node, values: tuple[Any, ...]) -> tuple[Tensor, ...]:
    """One Tensor per value of an op of several values; integer values carry no gradient."""
    return tuple(
        wrap(v, make_node(PART, (node,), (), i, v) if v.dtype.kind == "f" else None) for i, v in enumerate(values)
    )


# ---------------------------------------------------------------------- wrappers

_TEMPLATE = """
def {name}({signature}):
{unwrap}
    now = get_mode()
    if now is RAW:
        return function({arguments}){first}
{accept}
    try:
        {results} = function({arguments})
{settle}    except ERRORS as error:
        raise explain_call(OP, error, ({operands},), ({static})) from error
    if type(value) is not ndarray:
        if type(value) is tuple:
{check_many}
            return many(OP, ({operands},), value, {derivatives}, ({nodes},), {saved_many}, {call}, now, ({static}))
        if type(value) not in DEVICES:
            value = asarray(value)
    result = new(Tensor)
    result.data = value
    result.grad = None
{record}
    return result
"""

_UNWRAP = """    if type({p}) is Tensor:
        {p}_node = {p}.node
        {p} = {p}.data
    else:
        {p}_node = None"""

_ACCEPT = """    if {p}_node is None and (
        type({p}) is not ndarray{numbers} or type({p}) is ndarray and {p}.dtype.char not in CHARS
    ):
        {p} = accept({p}, OP, "{p}")"""

_FLOATING = """    if type({p}) is not ndarray or {p}.dtype.kind != "f":
        {p} = as_floating({p})"""

_SETTLE = """        if value.dtype is FLOAT64:
            settled = settle(OP, ({operands},))
            if settled is not None:
                {operands}, = settled
                {results} = function({arguments})
"""

_UNRECORDED = """    result.node = None
    if now.observed:
        OBSERVE(OP, ({operands},), value, None, now, ({static}))"""

_RECORD = """    if now is SILENT or ({no_nodes}):
        result.node = None
        if writes.joined:
            check_joined(({pairs},), "{op_name}", value, now.record)
        if now.observed:
            OBSERVE(OP, ({operands},), value, None, now, ({static}))
        return result
    if not now.record:
        result.node = None
        OBSERVE(OP, ({operands},), value, None, now, ({static}))
        return result
{checks}
    node = new(Node)
    node.op = OP
    node.parents = ({nodes},)
    node.derivatives = {derivatives}
    node.saved = {saved}
    node.call = {call}
    node.shape = value.shape
    node.dtype = value.dtype
    node.stamp = next(clock)
    node.extra = None
    result.node = node
    if now.observed:
        OBSERVE(OP, ({operands},), value, node, now, ({static}))"""


def _source(op: Op) -> str:
    """The wrapper of one op, written out for its own operands: no *args and no loops."""
    names = op.operands
    arguments = ", ".join(f"{p.name}={p.name}" if p.kind is p.KEYWORD_ONLY else p.name for p in op.parameters)
    numbers = " and type({p}) not in NUMBERS" if op.elementwise else ""
    accept = [_ACCEPT.format(p=p, numbers=numbers.format(p=p)) for p in names]
    if op.floating:
        accept += [_FLOATING.format(p=p) for p in names]
    static = "".join(f"{name}, " for name in op.static)
    fields: dict[str, str] = {
        "name": op.function.__name__, "op_name": op.name, "signature": _signature(op), "arguments": arguments,
        "static": static,
        "unwrap": "\n".join(_UNWRAP.format(p=p) for p in names), "operands": ", ".join(names),
        "accept": "\n".join(accept), "first": "[0]" if op.keeps else "",
        "nodes": ", ".join(f"{p}_node" for p in names), "pairs": ", ".join(f"({p}, {p}_node)" for p in names),
        "call": f"({', '.join(p.name for p in op.parameters)},)" if op.composite else "None",
    }  # fmt: skip
    fields |= _derivative_fields(op)
    checks = [
        f"    if {p}_node is not None and {p}_node.stamp < writes.last:\n"
        f"        check_history({p}_node, {p}, {op.name!r})"
        for p in names
    ]
    joined = f'    if writes.joined:\n        check_joined(({fields["pairs"]},), "{op.name}")'
    fields["checks"] = "\n".join([*checks, joined])
    fields["check_many"] = (
        "\n".join(f"        {line}" for line in "\n".join([*checks, joined]).split("\n"))
        if op.keeps
        else "            pass"
    )
    fields["no_nodes"] = " and ".join(f"{p}_node is None" for p in names)
    fields["record"] = (_RECORD if op.keeps else _UNRECORDED).format(**fields)
    fields["settle"] = _SETTLE.format(**fields) if op.elementwise else ""
    return _TEMPLATE.format(**fields)


def _signature(op: Op) -> str:
    texts = []
    for p in op.parameters:
        if p.kind is p.KEYWORD_ONLY and "*" not in texts:
            texts.append("*")
        texts.append(p.name if p.default is p.empty else f"{p.name}=DEFAULTS[{p.name!r}]")
    return ", ".join(texts)


def _derivative_fields(op: Op) -> dict[str, str]:
    """The parts of the template that name derivatives and what they keep."""
    if not op.keeps:
        return {"results": "value", "derivatives": "None", "saved": "None", "saved_many": "None"}
    kept = ["".join(f"{'value' if name == 'y' else name}, " for name in keep) for keep in op.keeps]
    if op.joint:
        return {
            "results": "value, derivative",
            "derivatives": "derivative",
            "saved": f"({kept[0]})",
            "saved_many": f"({kept[0]})",
        }
    functions = "".join(f"d_{p}, " for p in op.operands)
    single = len(op.operands) == 1
    parts = [
        f"({k})" if single or not k else f"({k}) if {p}_node is not None else None" for p, k in zip(op.operands, kept)
    ]
    saved = f"({', '.join(parts)},)"
    return {"results": f"value, {functions}", "derivatives": f"({functions})", "saved": saved, "saved_many": saved}


def wrapper(record: Op) -> Callable[..., Any]:
    scope = {
        "function": record.function, "OP": record, "Tensor": Tensor, "Node": Node, "new": new, "RAW": RAW,
        "SILENT": SILENT,
        "NUMBERS": NUMBERS, "CHARS": DTYPE_CHARS, "DEVICES": DEVICES, "FLOAT64": float64, "ndarray": np.ndarray,
        "asarray": np.asarray, "get_mode": mode.get, "writes": writes, "clock": clock, "OBSERVE": observe,
        "accept": accept,
        "settle": settle, "check_history": check_history, "check_joined": check_joined, "explain_call": explain_call,
        "ERRORS": ERRORS, "many": many, "as_floating": as_floating,
        "DEFAULTS": {p.name: p.default for p in record.parameters},
        "__name__": record.function.__module__,
    }  # fmt: skip
    scope["write"] = lambda: _write_wrapper(record, scope)
    return FunctionType(_unwritten.__code__, scope, record.function.__name__)


def _unwritten(*arguments: Any, **options: Any) -> Any:
    """What every wrapper is until its first call: compiling all of them would take longer than importing NumPy."""
    return write()(*arguments, **options)  # type: ignore[name-defined]  # noqa: F821


def _write_wrapper(record: Op, scope: dict[str, Any]) -> Callable[..., Any]:
    """Compile the wrapper, and make the function that everybody holds already run it."""
    source, file = _source(record), f"<op {record.name}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)  # tracebacks show it
    exec(compile(source, file, "exec"), scope)
    written, call = scope[record.function.__name__], record.call
    # the code last: another thread may call it meanwhile, and the code of now takes no defaults
    call.__defaults__, call.__kwdefaults__ = written.__defaults__, written.__kwdefaults__
    call.__code__ = written.__code__
    return call


def sequence_wrapper(record: Op) -> Callable[..., Any]:
    """The wrapper of an op over any number of arrays (``arrays: Arrays``, its only operand), such as concat."""

    def given(static: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
        bound = record.signature.bind((), *static, **options)
        bound.apply_defaults()
        return tuple(bound.arguments[name] for name in record.static)

    def call(arrays: Sequence[Any], *static: Any, **options: Any) -> Any:
        if isinstance(arrays, Tensor) or type(arrays) in DEVICES or not isinstance(arrays, list | tuple):
            raise DTypeError(
                f"{record.name}: {record.operands[0]} is {type(arrays).__name__}, expected a list or tuple of Tensors"
            )
        nodes = [a.node if type(a) is Tensor else None for a in arrays]
        plain = [a.data if type(a) is Tensor else accept(a, record, record.operands[0]) for a in arrays]
        now = mode.get()
        try:
            value, derivative = record.function(plain, *static, **options)
        except ERRORS as error:
            arguments = record.signature.bind_partial(plain, *static, **options).arguments
            raise explain(record.name, error, arguments) from error
        if now is RAW:
            return value
        pairs = list(zip(plain, nodes))
        if now.record:
            if writes.joined:
                check_joined(pairs, record.name)
            for array, parent in pairs:
                if parent is not None and parent.stamp < writes.last:
                    check_history(parent, array, record.name)
        if type(value) is tuple:
            return many(record, tuple(plain), value, derivative, nodes, (), None, now, given(static, options))
        if type(value) not in DEVICES:  # NumPy gives scalars for sums over all axes
            value = np.asarray(value)
        node = (
            make_node(record, nodes, derivative, (), value)
            if now.record and any(n is not None for n in nodes)
            else None
        )
        if now.observed:
            observe(record, tuple(plain), value, node, now, given(static, options))
        return wrap(value, node)

    return call
