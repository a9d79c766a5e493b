"""``x += v`` and its kin: the op's value written into the buffer of ``x``, on the tape for both sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.ops.elementwise import (
    add,
    bitwise_and,
    bitwise_or,
    bitwise_xor,
    divide,
    floor_divide,
    multiply,
    pow,
    remainder,
    subtract,
)
from tinygrad_notes.ops.indexing import refuse_leaf
from tinygrad_notes.tape import clock, mark_written
from tinygrad_notes.tensor import Tensor, wrap


def _writing(op: Any, name: str) -> Callable[[Tensor, Any], Tensor]:
    # The buffer is about to change, so if the op keeps its first operand, it gets a copy.
    keeps_first = any(op.op.operands[0] in keep for keep in op.op.keeps)

    def write(self: Tensor, other: Any) -> Tensor:
        refuse_leaf(self, name)
        result = op(wrap(self.data.copy(), self.node) if keeps_first else self, other)
        if result.shape != self.shape:
            raise ShapeError(f"{name}: the result has shape {result.shape}, the Tensor it is written to {self.shape}")
        if result.dtype != self.dtype:
            raise DTypeError(f"{name}: the result is {result.dtype}, the Tensor it is written to {self.dtype}")
        self.data[...] = result.data
        mark_written(self.data, joined=self.node is None and result.node is not None)
        if result.node is not None:
            self.node = result.node
            self.node.stamp = next(clock)
        return self

    write.__name__ = name
    write.__doc__ = f"The same as {op.op.name}, written into this Tensor's memory."
    return write


OPERATORS = {
    "iadd": add,
    "isub": subtract,
    "imul": multiply,
    "itruediv": divide,
    "ifloordiv": floor_divide,
    "imod": remainder,
    "ipow": pow,
    "iand": bitwise_and,
    "ior": bitwise_or,
    "ixor": bitwise_xor,
}

for _name, _op in OPERATORS.items():
    setattr(Tensor, f"__{_name}__", _writing(_op, _name))
