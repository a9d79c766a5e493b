"""Weighted sums of neighbours: the step of a direct convolution, for pixels that lie next to each other."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

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
