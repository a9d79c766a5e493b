"""The register tile: a small block of a matrix product whose sums stay in registers while it runs down the depth.

With 16 registers of 8 lanes a tile has 6 rows and 2 vectors of columns: 12 registers of sums, 2 for a row of b, 1 for
an element of a, spread over its lanes. Each step loads 2 vectors and 6 elements and does 12 multiply-adds, so that the
two units that multiply are busy and the loads hide behind them. With 32 registers 12 rows fit.

Beside it stand the copies of short lines that fill panels; ``transpose.py`` has the transpositions.
"""

from __future__ import annotations

from itertools import chain

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinygrad_notes.kernels.cpu.isa.machine import MACHINE
from tinygrad_notes.kernels.cpu.isa.vector import ELEMENTS, INT64, Lanes

ROWS = 12 if MACHINE.registers == 32 else 6
VECTORS = 2
CHAIN = 128  # products added one after another: 2 % slower than one sum of all, with a third of its error


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
def copy_column(context, target, source, like):
    """Copy one column of a tile that lies in one piece, ROWS elements."""

    def generate(context, builder, signature, arguments):
        element, size, _ = ELEMENTS[like]
        kind = ir.VectorType(element, ROWS).as_pointer()
        column = builder.load(builder.inttoptr(arguments[1], kind))
        column.align = size
        builder.store(column, builder.inttoptr(arguments[0], kind)).align = size
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, like), generate


def sum_chains(builder, v, depth, starts, step):
    """Allocas of starts[i][j] + Σ of what ``step(p, sums)`` adds to the registers sums[i][j], for all p < depth.

    A sum of CHAIN products goes to a total outside of the registers. Each addition rounds, so the error grows with the
    number of those that follow each other.
    """
    sums = [[cgutils.alloca_once(builder, start.type) for start in row] for row in starts]
    totals = [[cgutils.alloca_once_value(builder, start) for start in row] for row in starts]
    with cgutils.for_range_slice(builder, INT64(0), depth, INT64(CHAIN), intp=INT64) as (first, _):
        for place in chain.from_iterable(sums):
            builder.store(v.constant(0.0), place)
        left = builder.sub(depth, first)
        short = builder.icmp_signed("<", left, INT64(CHAIN))
        with cgutils.for_range(builder, builder.select(short, left, INT64(CHAIN)), intp=INT64) as loop:
            step(builder.add(first, loop.index), sums)
        for total, place in zip(chain.from_iterable(totals), chain.from_iterable(sums)):
            builder.store(builder.fadd(builder.load(total), builder.load(place)), total)
    return totals


def _tile(builder, dtype, depth, a, a_row, a_column, b, b_stride, c, c_stride, old, old_stride, alpha, beta):
    v = Lanes(builder, dtype)
    starts = _rows(builder, a, a_row)

    def step(p, sums):
        across = builder.mul(p, a_column)
        b_row = builder.add(b, builder.mul(p, b_stride))
        row = [v.load(b_row, j * v.bytes) for j in range(VECTORS)]
        for i in range(ROWS):
            element = v.splat(v.load_one(starts[i], across))
            for place, vector in zip(sums[i], row):
                builder.store(v.multiply_add(element, vector, builder.load(place)), place)

    sums = sum_chains(builder, v, depth, [[v.constant(0.0)] * VECTORS] * ROWS, step)
    scale, keep = v.splat(alpha), v.splat(beta)
    rows, olds = _rows(builder, c, c_stride), _rows(builder, old, old_stride)
    with builder.if_else(builder.fcmp_unordered("!=", beta, ir.Constant(v.element, 0.0))) as (adding, writing):
        with adding:
            for i, j in ((i, j) for i in range(ROWS) for j in range(VECTORS)):
                before = builder.fmul(keep, v.load(olds[i], j * v.bytes))
                v.store(v.multiply_add(scale, builder.load(sums[i][j]), before), rows[i], j * v.bytes)
        with writing:
            for i, j in ((i, j) for i in range(ROWS) for j in range(VECTORS)):
                v.store(builder.fmul(scale, builder.load(sums[i][j])), rows[i], j * v.bytes)


def _rows(builder, start, stride):
    return [builder.add(start, builder.mul(stride, ir.Constant(INT64, i))) for i in range(ROWS)]


@intrinsic
def multiply_tile_onto(context, depth, a, a_row, a_column, b, b_stride, c, c_stride, old, old_stride, alpha, beta):
    """c = alpha a b + beta old, for ROWS rows and ``tile_columns`` columns. With beta 0 ``old`` is not read.

    Elements of ``a`` lie ``a_row`` and ``a_column`` bytes apart; rows of ``b``, ``c`` and ``old`` as their strides say,
    and ``old`` may be ``c``, or with stride 0 one row for all, a bias.
    """
    dtype = alpha

    def generate(context, builder, signature, arguments):
        _tile(builder, dtype, *arguments)
        return context.get_dummy_value()

    return types.none(*[types.int64] * 10, dtype, dtype), generate
