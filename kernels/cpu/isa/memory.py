"""Integers, rounded numbers and runs of memory at an address, beside ``get`` and ``put`` of ``vector.py``."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinygrad_notes.kernels.cpu.isa.vector import INT32, INT64, Lanes


@intrinsic
def get_int32(context, address):
    """The int32 at an address, as an int64, in which kernels count."""

    def generate(context, builder, signature, arguments):
        found = builder.load(builder.inttoptr(arguments[0], INT32.as_pointer()))
        return builder.sext(found, INT64)

    return types.int64(types.int64), generate


@intrinsic
def put_int32(context, address, value):
    """Write the lower half of an int64 at an address."""

    def generate(context, builder, signature, arguments):
        builder.store(builder.trunc(arguments[1], INT32), builder.inttoptr(arguments[0], INT32.as_pointer()))
        return context.get_dummy_value()

    return types.none(types.int64, types.int64), generate


@intrinsic
def get_int64(context, address):
    """The int64 at an address."""

    def generate(context, builder, signature, arguments):
        return builder.load(builder.inttoptr(arguments[0], INT64.as_pointer()))

    return types.int64(types.int64), generate


@intrinsic
def put_int64(context, address, value):
    """Write an int64 at an address."""

    def generate(context, builder, signature, arguments):
        builder.store(arguments[1], builder.inttoptr(arguments[0], INT64.as_pointer()))
        return context.get_dummy_value()

    return types.none(types.int64, types.int64), generate


@intrinsic
def rounded(context, value, like):
    """``value`` in the dtype of ``like``."""

    def generate(context, builder, signature, arguments):
        return context.cast(builder, arguments[0], value, like)

    return like(value, like), generate


@intrinsic
def copy_bytes(context, target, source, count):
    """Copy ``count`` bytes; the two runs do not overlap."""

    def generate(context, builder, signature, arguments):
        target, source, count = arguments
        byte = ir.IntType(8).as_pointer()
        cgutils.raw_memcpy(builder, builder.inttoptr(target, byte), builder.inttoptr(source, byte), count, 1)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64), generate


@intrinsic
def clear_bytes(context, target, count):
    """Fill ``count`` bytes with 0, which is 0.0 in every dtype."""

    def generate(context, builder, signature, arguments):
        place = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        cgutils.memset(builder, place, arguments[1], 0)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64), generate


@intrinsic
def copy_every(context, target, source, step, count, like):
    """target[i] = source[i step] for ``count`` elements; nothing behind the last of them is read."""

    def generate(context, builder, signature, arguments):
        target, source, step, count, _ = arguments
        v = Lanes(builder, like)
        length = ir.Constant(INT64, v.count)
        two = builder.icmp_signed("==", step, ir.Constant(INT64, 2))
        vectors = builder.select(two, builder.sdiv(count, length), ir.Constant(INT64, 0))
        # of two vectors the even elements; the second begins an element early, so that its last one is wanted
        order = ir.Constant(ir.VectorType(INT32, v.count), [2 * i + (2 * i >= v.count) for i in range(v.count)])
        with cgutils.for_range(builder, vectors, intp=INT64) as loop:
            offset = builder.mul(loop.index, ir.Constant(INT64, v.bytes))
            place = builder.add(source, builder.mul(loop.index, ir.Constant(INT64, 2 * v.bytes)))
            both = v.load(place, 0), v.load(place, v.bytes - v.itemsize)
            v.store(builder.shuffle_vector(*both, order), target, offset)
        size = ir.Constant(INT64, v.itemsize)
        apart = builder.mul(step, size)
        with cgutils.for_range(builder, count, start=builder.mul(vectors, length), intp=INT64) as loop:
            value = v.load_one(source, builder.mul(loop.index, apart))
            builder.store(value, v.address(target, builder.mul(loop.index, size), v.element))
        return context.get_dummy_value()

    return types.none(*[types.int64] * 4, like), generate


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
