"""``x += v`` and its kin: the op's value written into the buffer of ``x``, on the tape for both sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_notes.errors import WITHOUT_MEMORY, DeviceError, DTypeError, ShapeError
from tinygrad_notes.ops.arithmetic import add, divide, floor_divide, multiply, pow, remainder, subtract
from tinygrad_notes.ops.comparison import bitwise_and, bitwise_or, bitwise_xor
from tinygrad_notes.ops.indexing import refuse_leaf, refuse_repeated
from tinygrad_notes.tape import adopt
from tinygrad_notes.tensor import Tensor, has_memory, wrap
from tinygrad_notes.writes import check_operand, mark_written, owner_of


def _writing(op: Any, name: str) -> Callable[[Tensor, Any], Tensor]:
    # The buffer is about to change, so an op that keeps an operand which lies in it gets a copy.
    first, second = (any(operand in keep for keep in op.op.keeps) for operand in op.op.operands)

    def apart(tensor: Tensor) -> Tensor:
        check_operand(tensor, name)
        return wrap(tensor.data.copy(), tensor.node)

    def write(self: Tensor, other: Any) -> Tensor:
        refuse_leaf(self, name)
        if second:
            array = other.data if type(other) is Tensor else other
            if owner_of(array) is owner_of(self.data):
                other = apart(other if type(other) is Tensor else wrap(array))
        result = op(apart(self) if first else self, other)
        if result.shape != self.shape:
            raise ShapeError(f"{name}: the result has shape {result.shape}, the Tensor it is written to {self.shape}")
        if result.dtype != self.dtype:
            raise DTypeError(f"{name}: the result is {result.dtype}, the Tensor it is written to {self.dtype}")
        refuse_repeated(self.data, name)
        try:
            self.data[...] = result.data
        except ValueError as error:
            if not has_memory(self.data):
                raise DeviceError(f"{name}: this Tensor {WITHOUT_MEMORY}") from error
            raise ShapeError(
                f"{name}: {error}; a Tensor made by broadcast_to has no memory of its own, write to its clone()"
            ) from error
        mark_written(self.data, joined=self.node is None and result.node is not None)
        if result.node is not None:
            adopt(self, result.node)
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
