"""What is known of an op: its operands, its derivatives and what they keep, read from its function."""

from __future__ import annotations

import inspect
import opcode
from collections.abc import Callable, Sequence
from types import CodeType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Array = Any
    Arrays = Sequence[Any]
else:

    class Array:
        """Annotation of an operand: the op receives an array (or, if elementwise, perhaps a number)."""

    class Arrays:
        """Annotation of any number of operands: the op receives a list of arrays."""


# Names that the wrappers use, which no parameter may have.
RESERVED = frozenset(
    {
        *("value", "result", "node", "now", "derivative", "function", "settled", "error", "y"),
        *("accept", "as_floating", "asarray", "check_history", "check_joined", "clock", "explain_call", "get_mode"),
        *("many", "ndarray", "new", "settle", "writes"),
    }
)


class Op:
    """What the registry knows of an op.

    ``function`` computes value and derivatives from arrays; ``call`` is the public wrapper. ``operands``: the names of
    the differentiable parameters, ``static`` those of the others. ``keeps``: per derivative, the operands (or ``y``,
    the value) that it keeps.
    ``captures``: further local variables that live as long as the node. ``joint``: one function gives all derivatives.
    ``composite``: the same function in small ops, which create_graph differentiates. ``elementwise``: operands
    broadcast, and integers meet floats as floats. ``floating``: an operand of integers becomes float32 first.

    >>> multiply = tn.REGISTRY["multiply"]
    >>> multiply.operands, multiply.keeps, multiply.elementwise
    (['a', 'b'], [('b',), ('a',)], True)
    """

    call: Callable[..., Any]

    def __init__(
        self,
        function: Callable[..., Any],
        composite: Callable[..., Any] | None = None,
        elementwise: bool = False,
        floating: bool = False,
    ):
        self.function, self.composite, self.elementwise, self.floating = function, composite, elementwise, floating
        self.name = function.__name__.rstrip("_")
        self.signature = inspect.signature(function)
        self.parameters = list(self.signature.parameters.values())
        annotations = {p.name: _annotation(p) for p in self.parameters}
        self.operands = [name for name, text in annotations.items() if text in ("Array", "Arrays")]
        if not self.operands:
            raise TypeError(f"op {self.name}: no parameter is annotated Array, so it has no operand")
        self.static = [p.name for p in self.parameters if p.name not in self.operands]
        self.sequence = next((i for i, name in enumerate(self.operands) if annotations[name] == "Arrays"), None)
        reserved = sorted(RESERVED.intersection(self.signature.parameters))
        if reserved:
            raise TypeError(
                f"op {self.name}: its wrapper needs the name {reserved[0]!r} of a parameter; choose another"
            )
        codes = _derivative_codes(function.__code__)
        if len(codes) > len(self.operands) and self.operands and len(codes) % len(self.operands) == 0:
            codes = self._merge_branches(codes)
        self.joint = len(codes) == 1 and (self.sequence is not None or len(self.operands) > 1)
        self.keeps = [code.co_varnames[1 : code.co_argcount] for code in codes]
        self.captures = sorted({name for code in codes for name in code.co_freevars})
        if codes and not self.joint and len(codes) != len(self.operands):
            raise TypeError(f"{self.name}: {len(codes)} derivatives for operands {self.operands}")
        known = {"y", *self.operands}
        wrong = [n for code, keep in zip(codes, self.keeps) for n in (*code.co_freevars, *keep)
                 if (n in code.co_freevars and n in self.operands) or (n in keep and n not in known)]  # fmt: skip
        wrong += [code.co_varnames[code.co_argcount] for code in codes if code.co_kwonlyargcount]
        if wrong:
            raise TypeError(
                f"{self.name}: a derivative names what it keeps as parameters, y or an operand, not {wrong}"
            )

    def _merge_branches(self, codes: list[CodeType]) -> list[CodeType]:
        """An op with branches writes its derivatives once per branch; all must keep the same."""
        n = len(self.operands)
        keeps = [code.co_varnames[1 : code.co_argcount] for code in codes]
        if any(keep != keeps[i % n] for i, keep in enumerate(keeps)):
            raise TypeError(f"{self.name}: its branches keep different things: {keeps}")
        return codes[:n]

    @property
    def differentiable(self) -> bool:
        return bool(self.keeps)

    def positions(self, i: int) -> tuple[int, ...]:
        """Where derivative ``i`` finds what it keeps: the position of an operand, -1 for the value."""
        return tuple(-1 if name == "y" else self.operands.index(name) for name in self.keeps[i])

    def __repr__(self) -> str:
        return f"<op {self.name}>"


def _annotation(parameter: inspect.Parameter) -> str:
    """``Array`` for ``Array``, ``tn.Array`` and ``Array | None``, as text or as a type."""
    annotation = parameter.annotation
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    return text.split(" ")[0].split(".")[-1]


_LOAD_CONST, _EXTENDED_ARG = opcode.opmap["LOAD_CONST"], opcode.EXTENDED_ARG


def _derivative_codes(code: CodeType) -> list[CodeType]:
    """The functions whose first parameter is ``g``, in the order in which ``code`` loads them.

    Equal lambdas share one constant, so loads are counted, not constants.
    """
    found, extended = [], 0
    for position in range(0, len(code.co_code), 2):
        operation, argument = code.co_code[position], code.co_code[position + 1] | extended
        extended = argument << 8 if operation == _EXTENDED_ARG else 0
        if operation == _LOAD_CONST:
            constant = code.co_consts[argument]
            if isinstance(constant, CodeType) and constant.co_varnames[:1] == ("g",):
                found.append(constant)
    return found


def private_op(name: str, composite: Callable[..., Any] | None = None) -> Op:
    """An op that is not called by name: the part of a value, a checkpoint."""
    record = Op.__new__(Op)
    record.name, record.composite, record.keeps, record.joint = name, composite, [], True
    record.operands, record.static, record.parameters, record.captures = [], [], [], []
    record.sequence = None
    record.elementwise = record.floating = False
    return record


PART = private_op("part")
