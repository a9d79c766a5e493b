"""Weighted sums of neighbours: the step of a direct convolution, for pixels that lie next to each other.

A tap of the kernel is a distance, in elements, from the place of a pixel; the distances are in a table of int64.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinygrad_notes.kernels.cpu.isa.tile import ROWS, VECTORS, sum_chains
from tinygrad_notes.kernels.cpu.isa.vector import INT64, Lanes

WIDE = 4  # vectors of one call of filter_wide


def _filter(vectors):
    """The code for ``vectors`` vectors of pixels, whose sums stay in registers."""

    def generate(context, builder, signature, arguments):
        depth, source, taps, weights, bias, target = arguments
        v = Lanes(builder, signature.args[4])
        start = v.splat(bias)
        sums = [cgutils.alloca_once_value(builder, start) for _ in range(vectors)]
        with cgutils.for_range(builder, depth, intp=INT64) as loop:
            eight = builder.mul(loop.index, ir.Constant(INT64, 8))
            tap = builder.load(builder.inttoptr(builder.add(taps, eight), INT64.as_pointer()))
            place = builder.add(source, builder.mul(tap, ir.Constant(INT64, v.itemsize)))
            weight = v.splat(v.load_one(weights, builder.mul(loop.index, ir.Constant(INT64, v.itemsize))))
            for j, total in enumerate(sums):
                builder.store(v.multiply_add(weight, v.load(place, j * v.bytes), builder.load(total)), total)
        for j, total in enumerate(sums):
            v.store(builder.load(total), target, j * v.bytes)
        return context.get_dummy_value()

    return generate


@intrinsic
def filter_wide(context, depth, source, taps, weights, bias, target):
    """target[i] = bias + Σ_p weights[p] source[taps[p] + i], for i of WIDE vectors. ``taps`` are int64, in elements."""
    return _signature(bias), _filter(WIDE)


@intrinsic
def filter_lanes(context, depth, source, taps, weights, bias, target):
    """The same for one vector."""
    return _signature(bias), _filter(1)


def _signature(dtype):
    return types.none(*[types.int64] * 4, dtype, types.int64)


@intrinsic
def filter_tile(context, depth, a, source, taps, target, stride, adding, like):
    """target[i] = a[0, i] + Σ_p a[1 + p, i] source[taps[p] + j], for ROWS rows i and ``tile_columns`` pixels j.

    With ``adding`` the old target is added. ``a`` is (1 + depth, ROWS); rows of ``target`` are ``stride`` bytes apart.
    """

    def generate(context, builder, signature, arguments):
        depth, a, source, taps, target, stride, adding, _ = arguments
        v = Lanes(builder, like)

        def step(p, sums):
            tap = v.address(taps, builder.mul(p, ir.Constant(INT64, 8)), INT64)
            place = builder.add(source, builder.mul(builder.load(tap), ir.Constant(INT64, v.itemsize)))
            row = [v.load(place, j * v.bytes) for j in range(VECTORS)]
            line = builder.add(a, builder.mul(p, ir.Constant(INT64, ROWS * v.itemsize)))
            for i in range(ROWS):
                element = v.splat(v.load_one(line, (ROWS + i) * v.itemsize))
                for total, vector in zip(sums[i], row):
                    builder.store(v.multiply_add(element, vector, builder.load(total)), total)

        starts = [[v.splat(v.load_one(a, i * v.itemsize))] * VECTORS for i in range(ROWS)]
        sums = sum_chains(builder, v, depth, starts, step)
        rows = [builder.add(target, builder.mul(stride, ir.Constant(INT64, i))) for i in range(ROWS)]
        tiles = [(rows[i], sums[i][j], j * v.bytes) for i in range(ROWS) for j in range(VECTORS)]
        with builder.if_then(builder.icmp_signed("!=", adding, ir.Constant(INT64, 0))):
            for line, total, offset in tiles:
                builder.store(builder.fadd(builder.load(total), v.load(line, offset)), total)
        for line, total, offset in tiles:
            v.store(builder.load(total), line, offset)
        return context.get_dummy_value()

    return types.none(*[types.int64] * 7, like), generate
