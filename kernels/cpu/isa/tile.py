"""The register tile: a small block of a matrix product whose sums stay in registers while it runs down the depth.

With 16 registers of 8 lanes a tile has 6 rows and 2 vectors of columns: 12 registers of sums, 2 for a row of b, 1 for
an element of a, spread over its lanes. Each step loads 2 vectors and 6 elements and does 12 multiply-adds, so that the
two units that multiply are busy and the loads hide behind them. With 32 registers 12 rows fit.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinygrad_notes.kernels.cpu.isa.machine import MACHINE
from tinygrad_notes.kernels.cpu.isa.vector import INT64, Lanes

ROWS = 12 if MACHINE.registers == 32 else 6
VECTORS = 2


@intrinsic
def tile_columns(context, like):
    """Columns of a register tile of this dtype, a constant for the compiler."""

    def generate(context, builder, signature, arguments):
        return ir.Constant(INT64, VECTORS * Lanes(builder, like).count)

    return types.int64(like), generate


@intrinsic
def copy_row(context, target, source, like):
    """Copy one row of a tile, ``tile_columns`` elements."""

    def generate(context, builder, signature, arguments):
        v = Lanes(builder, like)
        row = [v.load(arguments[1], j * v.bytes) for j in range(VECTORS)]
        for j, vector in enumerate(row):
            v.store(vector, arguments[0], j * v.bytes)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, like), generate


@intrinsic
def multiply_tile(context, depth, a, b, b_stride, c, c_stride, alpha, beta):
    """c = alpha a b + beta c, for ROWS rows and ``tile_columns`` columns. With beta 0 the old c is not read.

    ``a`` is a packed panel (depth, ROWS); rows of ``b`` and ``c`` are ``b_stride`` and ``c_stride`` bytes apart.
    """
    dtype = alpha
    signature = types.none(*[types.int64] * 6, dtype, dtype)

    def generate(context, builder, signature, arguments):
        depth, a, b, b_stride, c, c_stride, alpha, beta = arguments
        v = Lanes(builder, dtype)
        sums = [[cgutils.alloca_once_value(builder, v.constant(0.0)) for _ in range(VECTORS)] for _ in range(ROWS)]
        with cgutils.for_range(builder, depth, intp=INT64) as loop:
            a_row = builder.add(a, builder.mul(loop.index, ir.Constant(INT64, ROWS * v.itemsize)))
            b_row = builder.add(b, builder.mul(loop.index, b_stride))
            row = [v.load(b_row, j * v.bytes) for j in range(VECTORS)]
            for i in range(ROWS):
                element = v.splat(v.load_one(a_row, i * v.itemsize))
                for place, vector in zip(sums[i], row):
                    builder.store(v.multiply_add(element, vector, builder.load(place)), place)
        scale, keep = v.splat(alpha), v.splat(beta)
        rows = [builder.add(c, builder.mul(c_stride, ir.Constant(INT64, i))) for i in range(ROWS)]
        with builder.if_else(builder.fcmp_unordered("!=", beta, ir.Constant(v.element, 0.0))) as (adding, writing):
            with adding:
                for i, j in ((i, j) for i in range(ROWS) for j in range(VECTORS)):
                    old = builder.fmul(keep, v.load(rows[i], j * v.bytes))
                    v.store(v.multiply_add(scale, builder.load(sums[i][j]), old), rows[i], j * v.bytes)
            with writing:
                for i, j in ((i, j) for i in range(ROWS) for j in range(VECTORS)):
                    v.store(builder.fmul(scale, builder.load(sums[i][j])), rows[i], j * v.bytes)
        return context.get_dummy_value()

    return signature, generate
