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

    def stream(self, value: Any, base: Any, offset: Any) -> None:
        """Store past the caches, at a multiple of the width of a register: memory need not be read before."""
        put = self.builder.store(value, self.address(base, offset, self.type))
        put.align = self.bytes
        put.set_metadata("nontemporal", self.builder.module.add_metadata([ir.Constant(INT32, 1)]))

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """a b + c, by one instruction where there is one."""
        return self.call("llvm.fmuladd", a, b, c)

    def call(self, name: str, *values: Any) -> Any:
        """One of LLVM's functions on whole vectors: ``llvm.fabs``, ``llvm.sqrt``, ``llvm.copysign``."""
        kind = ir.FunctionType(self.type, [self.type] * len(values))
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"{name}.v{self.count}{self.suffix}")
        return self.builder.call(function, values)

    def each(self, name: str, values: Any) -> Any:
        """A function of the C library, called for one lane after the other."""
        name = name if self.itemsize == 8 else name + "f"
        kind = ir.FunctionType(self.element, [self.element])
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        for lane in range(self.count):
            place = ir.Constant(INT32, lane)
            value = self.builder.call(function, [self.builder.extract_element(values, place)])
            values = self.builder.insert_element(values, value, place)
        return values

    def at_least(self, low: Any, value: Any) -> Any:
        """The larger of the two; NaN where ``value`` is NaN."""
        return self.builder.select(self.builder.fcmp_ordered(">", low, value), low, value)

    def at_most(self, high: Any, value: Any) -> Any:
        """The smaller of the two; NaN where ``value`` is NaN."""
        return self.builder.select(self.builder.fcmp_ordered("<", high, value), high, value)

    # A mask is a vector of bits. Lanes that it leaves out are neither read nor written.

    def first(self, count: Any) -> Any:
        """The mask of the first ``count`` lanes."""
        integers = ir.VectorType(INT64, self.count)
        spread = self.builder.insert_element(ir.Constant(integers, ir.Undefined), count, ir.Constant(INT32, 0))
        spread = self.builder.shuffle_vector(
            spread, ir.Constant(integers, ir.Undefined), ir.Constant(ir.VectorType(INT32, self.count), [0] * self.count)
        )
        return self.builder.icmp_signed("<", ir.Constant(integers, list(range(self.count))), spread)

    def load_masked(self, base: Any, offset: Any, mask: Any, rest: float = 0.0) -> Any:
        pointer, bits = self.type.as_pointer(), ir.VectorType(ir.IntType(1), self.count)
        kind = ir.FunctionType(self.type, [pointer, INT32, bits, self.type])
        name = f"llvm.masked.load.v{self.count}{self.suffix}.p0"
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        align = ir.Constant(INT32, self.itemsize)
        return self.builder.call(function, [self.address(base, offset, self.type), align, mask, self.constant(rest)])

    def store_masked(self, value: Any, base: Any, offset: Any, mask: Any) -> None:
        pointer, bits = self.type.as_pointer(), ir.VectorType(ir.IntType(1), self.count)
        kind = ir.FunctionType(ir.VoidType(), [self.type, pointer, INT32, bits])
        name = f"llvm.masked.store.v{self.count}{self.suffix}.p0"
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        align = ir.Constant(INT32, self.itemsize)
        self.builder.call(function, [value, self.address(base, offset, self.type), align, mask])


# ---------------------------------------------------------------------- for kernels: memory by its address

# ``like`` is any number of the dtype that is meant.


@intrinsic
def variable(context, number):
    """An int64 that Numba takes for any other: it would compile what is called with a literal number once more."""

    def generate(context, builder, signature, arguments):
        return arguments[0]

    return types.int64(types.int64), generate


@intrinsic
def itemsize(context, like):
    """Bytes of one element, a constant for the compiler."""
    size = ELEMENTS[like][1]
    return types.int64(like), lambda context, builder, signature, arguments: ir.Constant(INT64, size)


@intrinsic
def lanes(context, like):
    """Elements of one vector of this dtype, a constant for the compiler."""
    count = MACHINE.lanes(ELEMENTS[like][1])
    return types.int64(like), lambda context, builder, signature, arguments: ir.Constant(INT64, count)


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
