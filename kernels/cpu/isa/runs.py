"""Runs of memory: copied, cleared, added."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinygrad_notes.kernels.cpu.isa.vector import INT64, Lanes

BYTE = ir.IntType(8)


@intrinsic
def copy_bytes(context, target, source, count):
    """Copy ``count`` bytes; the two runs do not overlap."""

    def generate(context, builder, signature, arguments):
        target, source = (builder.inttoptr(place, BYTE.as_pointer()) for place in arguments[:2])
        cgutils.raw_memcpy(builder, target, source, arguments[2], 1)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64), generate


@intrinsic
def clear_bytes(context, target, count):
    """Write ``count`` bytes of 0."""

    def generate(context, builder, signature, arguments):
        cgutils.memset(builder, builder.inttoptr(arguments[0], BYTE.as_pointer()), arguments[1], 0)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64), generate


@intrinsic
def add_run(context, target, source, count, like):
    """target[i] += source[i] for ``count`` elements."""

    def generate(context, builder, signature, arguments):
        target, source, count, _ = arguments
        v = Lanes(builder, like)
        length = ir.Constant(INT64, v.count)
        vectors = builder.sdiv(count, length)
        with cgutils.for_range(builder, vectors, intp=INT64) as loop:
            offset = builder.mul(loop.index, ir.Constant(INT64, v.bytes))
            v.store(builder.fadd(v.load(target, offset), v.load(source, offset)), target, offset)
        with cgutils.for_range(builder, count, start=builder.mul(vectors, length), intp=INT64) as loop:
            offset = builder.mul(loop.index, ir.Constant(INT64, v.itemsize))
            total = builder.fadd(v.load_one(target, offset), v.load_one(source, offset))
            builder.store(total, v.address(target, offset, v.element))
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64, like), generate
