"""Sums of products over windows, the depth being the pixels: two register tiles of the gradient of a kernel.

A window is known by the place of its first element; one step to the next pixel moves all windows by the same number of
bytes. So the rows of the matrix of windows, one for each channel and offset in the kernel, are read where the image
stands, from a table of the places where they begin.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinygrad_notes.kernels.cpu.isa.tile import ROWS, VECTORS
from tinygrad_notes.kernels.cpu.isa.vector import INT64, Lanes

DOTS = 9  # sums of ``dot_windows``: a kernel of 3 x 3, and enough to keep two units busy that answer after 4 cycles


@contextmanager
def _steps(builder: ir.IRBuilder, start: Any, end: Any, step: Any) -> Iterator[Any]:
    """A loop over start, start + step, ... up to ``end``, which is not reached; at least one."""
    before, body = builder.block, builder.append_basic_block("step")
    builder.branch(body)
    builder.position_at_end(body)
    place = builder.phi(INT64)
    place.add_incoming(start, before)
    yield place
    after = builder.append_basic_block("done")
    following = builder.add(place, step)
    place.add_incoming(following, builder.block)
    builder.cbranch(builder.icmp_unsigned("!=", following, end), body, after)
    builder.position_at_end(after)


@intrinsic
def multiply_windows(context, begins, base, images, rows, columns, image_stride, row_stride, step, panel, target, like):
    """target (ROWS, tile_columns) += windows (ROWS, depth) times panel (depth, tile_columns).

    The depth is images x rows x columns of pixels. Row i of the windows begins ``begins[i]`` bytes after ``base``; its
    next pixel is ``step`` bytes on, the next row and image the strides. A pixel is VECTORS vectors and ROWS elements.
    """

    def generate(context, builder, signature, arguments):
        begins, base, images, rows, columns, image_stride, row_stride, step, panel, target, _ = arguments
        v = Lanes(builder, like)
        sums = [[cgutils.alloca_once_value(builder, v.constant(0.0)) for _ in range(VECTORS)] for _ in range(ROWS)]
        along = cgutils.alloca_once_value(builder, panel)
        begin = [builder.load(v.address(begins, 8 * i, INT64)) for i in range(ROWS)]
        wide = builder.mul(columns, step)
        with cgutils.for_range(builder, images, intp=INT64) as image, cgutils.for_range(builder, rows, intp=INT64) as y:
            moved = builder.add(builder.mul(image.index, image_stride), builder.mul(y.index, row_stride))
            first = builder.add(base, moved)
            # One place that moves and ROWS that stay: the loop ends by comparing that place, so that LLVM cannot count
            # its steps, does not unroll it, and needs no register for each row of each step.
            with _steps(builder, first, builder.add(first, wide), step) as place:
                line = builder.load(along)
                row = [v.load(line, j * v.bytes) for j in range(VECTORS)]
                builder.store(builder.add(line, ir.Constant(INT64, VECTORS * v.bytes)), along)
                for i in range(ROWS):
                    element = v.splat(v.load_one(begin[i], place))
                    for total, vector in zip(sums[i], row):
                        builder.store(v.multiply_add(element, vector, builder.load(total)), total)
        for i in range(ROWS):
            for j in range(VECTORS):
                offset = (i * VECTORS + j) * v.bytes
                v.store(builder.fadd(v.load(target, offset), builder.load(sums[i][j])), target, offset)
        return context.get_dummy_value()

    return types.none(*[types.int64] * 10, like), generate


@intrinsic
def dot_windows(context, begins, base, row_stride, gradient, gradient_stride, rows, columns, target, like):
    """target[i] += Σ gradient · window i over rows x columns of pixels, for DOTS windows; a sum for each lane.

    Window i begins ``begins[i]`` bytes after ``base``; its columns are contiguous, as the gradient's are, its rows
    ``row_stride`` apart. Each vector of the gradient meets DOTS vectors of the image.
    """

    def generate(context, builder, signature, arguments):
        begins, base, row_stride, gradient, gradient_stride, rows, columns, target, _ = arguments
        v = Lanes(builder, like)
        sums = [cgutils.alloca_once_value(builder, v.constant(0.0)) for _ in range(DOTS)]
        begin = [builder.load(v.address(begins, 8 * i, INT64)) for i in range(DOTS)]
        length = ir.Constant(INT64, v.count)
        whole = builder.mul(builder.sdiv(columns, length), ir.Constant(INT64, v.bytes))
        left = builder.srem(columns, length)
        mask = v.first(left)
        none = ir.Constant(INT64, 0)
        with cgutils.for_range(builder, rows, intp=INT64) as y:
            first = builder.add(base, builder.mul(y.index, row_stride))
            end = builder.add(first, whole)
            apart = builder.sub(builder.add(gradient, builder.mul(y.index, gradient_stride)), first)

            def add(place, load):
                weight = load(apart, place)
                for start, total in zip(begin, sums):
                    builder.store(v.multiply_add(load(start, place), weight, builder.load(total)), total)

            with (
                builder.if_then(builder.icmp_signed(">", whole, none)),
                _steps(builder, first, end, ir.Constant(INT64, v.bytes)) as place,
            ):
                add(place, v.load)
            with builder.if_then(builder.icmp_signed(">", left, none)):
                add(end, lambda start, place: v.load_masked(start, place, mask))
        for i, total in enumerate(sums):
            v.store(builder.fadd(v.load(target, i * v.bytes), builder.load(total)), target, i * v.bytes)
        return context.get_dummy_value()

    return types.none(*[types.int64] * 8, like), generate
