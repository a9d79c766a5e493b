"""Integers, rounded numbers and runs of bytes at an address, beside ``get`` and ``put`` of ``isa/vector.py``."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinygrad_notes.kernels.cpu.isa.vector import INT32, INT64


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
    """Copy ``count`` bytes; the two places do not overlap."""

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
