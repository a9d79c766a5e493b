"""Vectors of as many lanes as a register has, as LLVM instructions: what the micro-kernels are written with."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinygrad_notes.kernels.cpu.isa.machine import MACHINE

INT64, INT32 = ir.IntType(64), ir.IntType(32)
ELEMENTS = {types.float32: (ir.FloatType(), 4, "f32"), types.float64: (ir.DoubleType(), 8, "f64")}


class Lanes:
    """Instructions on vectors of one dtype, put in at ``builder``."""

    def __init__(self, builder: ir.IRBuilder, dtype: Any):
        self.builder = builder
        self.element, self.itemsize, self.suffix = ELEMENTS[dtype]
        self.count = MACHINE.lanes(self.itemsize)
        self.type = ir.VectorType(self.element, self.count)
        self.bytes = self.count * self.itemsize

    def constant(self, value: float) -> Any:
        return ir.Constant(self.type, [value] * self.count)

    def splat(self, scalar: Any) -> Any:
        undefined = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(INT32, 0))
        return self.builder.shuffle_vector(
            first, undefined, ir.Constant(ir.VectorType(INT32, self.count), [0] * self.count)
        )

    def address(self, base: Any, offset: Any, type_: Any) -> Any:
        offset = ir.Constant(INT64, offset) if isinstance(offset, int) else offset
        return self.builder.inttoptr(self.builder.add(base, offset), type_.as_pointer())

    def load(self, base: Any, offset: Any, align: int | None = None) -> Any:
        got = self.builder.load(self.address(base, offset, self.type))
        got.align = align or self.itemsize
        return got

    def load_one(self, base: Any, offset: Any) -> Any:
        return self.builder.load(self.address(base, offset, self.element))

    def store(self, value: Any, base: Any, offset: Any, align: int | None = None) -> None:
        put = self.builder.store(value, self.address(base, offset, self.type))
        put.align = align or self.itemsize

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        kind = ir.FunctionType(self.type, [self.type] * 3)
        name = f"llvm.fmuladd.v{self.count}{self.suffix}"
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), [a, b, c])


# ---------------------------------------------------------------------- for kernels: memory by its address

# ``like`` is any number of the dtype that is meant.


@intrinsic
def itemsize(context, like):
    """Bytes of one element, a constant for the compiler."""
    size = ELEMENTS[like][1]
    return types.int64(like), lambda context, builder, signature, arguments: ir.Constant(INT64, size)


@intrinsic
def zero(context, like):
    """0 in this dtype."""
    return like(like), lambda context, builder, signature, arguments: ir.Constant(ELEMENTS[like][0], 0.0)


@intrinsic
def one(context, like):
    """1 in this dtype."""
    return like(like), lambda context, builder, signature, arguments: ir.Constant(ELEMENTS[like][0], 1.0)


@intrinsic
def get(context, address, like):
    """The element at an address."""
    element = ELEMENTS[like][0]

    def generate(context, builder, signature, arguments):
        return builder.load(builder.inttoptr(arguments[0], element.as_pointer()))

    return like(types.int64, like), generate


@intrinsic
def put(context, address, value):
    """Write an element at an address."""
    element = ELEMENTS[value][0]

    def generate(context, builder, signature, arguments):
        builder.store(arguments[1], builder.inttoptr(arguments[0], element.as_pointer()))
        return context.get_dummy_value()

    return types.none(types.int64, value), generate
