"""Transpositions in registers: of a square of vectors, and of the lines that become rows of a panel."""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tinygrad_notes.kernels.cpu.isa.tile import ROWS, VECTORS
from tinygrad_notes.kernels.cpu.isa.vector import INT32, INT64, Lanes


def _transpose(v: Lanes, lines: list) -> list:
    """The columns of a square of vectors, as vectors. Squares of half the side change places, in each of them again."""
    lines = lines + [ir.Constant(v.type, ir.Undefined)] * (v.count - len(lines))
    half = v.count // 2
    while half:
        for i in (i for i in range(v.count) if not i & half):
            low, high = lines[i], lines[i + half]
            first = [j if not j & half else v.count + j - half for j in range(v.count)]
            for line, order in ((i, first), (i + half, [j + half for j in first])):
                mask = ir.Constant(ir.VectorType(INT32, v.count), order)
                lines[line] = v.builder.shuffle_vector(low, high, mask)
        half //= 2
    return lines


def _transpose_lines(builder, dtype, width, target, source, stride):
    """``width`` lines of as many elements as a vector has, to as many rows of ``width`` elements, one after another."""
    v = Lanes(builder, dtype)
    for first in range(0, width, v.count):
        there = min(v.count, width - first)
        lines = [
            v.load(builder.add(source, builder.mul(stride, ir.Constant(INT64, first + i))), 0) for i in range(there)
        ]
        kind = ir.VectorType(v.element, there)
        for p, column in enumerate(_transpose(v, lines)):
            if there < v.count:
                order = ir.Constant(ir.VectorType(INT32, there), list(range(there)))
                column = builder.shuffle_vector(column, column, order)
            place = v.address(target, (p * width + first) * v.itemsize, kind)
            builder.store(column, place).align = v.itemsize


@intrinsic
def transpose(context, source, source_stride, target, target_stride, like):
    """target[j][i] = source[i][j], for i and j below ``lanes``; rows are the strides apart, in bytes."""

    def generate(context, builder, signature, arguments):
        source, source_stride, target, target_stride, _ = arguments
        v = Lanes(builder, like)
        rows = [v.load(source, builder.mul(source_stride, ir.Constant(INT64, i))) for i in range(v.count)]
        for i, column in enumerate(_transpose(v, rows)):
            v.store(column, target, builder.mul(target_stride, ir.Constant(INT64, i)))
        return context.get_dummy_value()

    return types.none(*[types.int64] * 4, like), generate


@intrinsic
def transpose_columns(context, target, source, stride, like):
    """``lanes`` rows of ``tile_columns`` elements at ``target``, from as many lines, each ``stride`` bytes on."""

    def generate(context, builder, signature, arguments):
        _transpose_lines(builder, like, VECTORS * Lanes(builder, like).count, *arguments[:3])
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64, like), generate


@intrinsic
def transpose_rows(context, target, source, stride, like):
    """The same with ROWS lines."""

    def generate(context, builder, signature, arguments):
        _transpose_lines(builder, like, ROWS, *arguments[:3])
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64, like), generate


@intrinsic
def transpose_edge(context, target, source, stride, like):
    """The same with 32 lines."""

    def generate(context, builder, signature, arguments):
        _transpose_lines(builder, like, 32, *arguments[:3])
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64, like), generate
