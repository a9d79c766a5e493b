"""Transpose a square of as many rows and columns as a register has lanes, in registers."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tinygrad_notes.kernels.cpu.isa.vector import INT32, INT64, Lanes


@intrinsic
def lanes(context, like):
    """How many elements of this dtype a register holds, a constant for the compiler."""
    return types.int64(like), lambda context, builder, signature, arguments: ir.Constant(
        INT64, Lanes(builder, like).count
    )


@intrinsic
def transpose(context, source, source_stride, target, target_stride, like):
    """target[j][i] = source[i][j], for i and j below ``lanes``; rows are the strides apart, in bytes.

    For s = 1, 2, 4, ...: row i and row i + s exchange elements so that bit s of the row's number and bit s of the
    column's change places.
    """

    def generate(context, builder, signature, arguments):
        source, source_stride, target, target_stride, _ = arguments
        v = Lanes(builder, like)
        count = v.count
        mask_type = ir.VectorType(INT32, count)
        rows = [v.load(source, builder.mul(source_stride, ir.Constant(INT64, i))) for i in range(count)]
        s = 1
        while s < count:
            upper = ir.Constant(mask_type, [k - s + count if k & s else k for k in range(count)])
            lower = ir.Constant(mask_type, [k + count if k & s else k + s for k in range(count)])
            for i in range(count):
                if not i & s:
                    a, b = rows[i], rows[i + s]
                    rows[i] = builder.shuffle_vector(a, b, upper)
                    rows[i + s] = builder.shuffle_vector(a, b, lower)
            s *= 2
        for i, row in enumerate(rows):
            v.store(row, target, builder.mul(target_stride, ir.Constant(INT64, i)))
        return context.get_dummy_value()

    return types.none(*[types.int64] * 4, like), generate
