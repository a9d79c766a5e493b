"""Vectors of windows, lane by lane the largest element so far and its place: what max pooling is made of."""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinygrad_notes.kernels.cpu.isa.vector import INT32, INT64, Lanes

GROUP = 4  # vectors of windows at a time


class Largest:
    """Lane by lane the largest value so far and where it stood: the first of equals, or the first NaN."""

    def __init__(self, lanes: Lanes, value: Any, place: Any):
        self.lanes, builder = lanes, lanes.builder
        self.value = cgutils.alloca_once_value(builder, value)
        self.place = cgutils.alloca_once_value(builder, place)
        builder.store(value, self.value)
        builder.store(place, self.place)

    def take(self, value: Any, place: Any) -> None:
        builder = self.lanes.builder
        best, known = builder.load(self.value), builder.load(self.place)
        larger = builder.fcmp_unordered(">", value, best)  # or one of the two is NaN
        wins = builder.and_(larger, builder.fcmp_ordered("ord", best, best))  # nothing replaces a NaN
        builder.store(builder.select(wins, value, best), self.value)
        builder.store(builder.select(wins, place, known), self.place)

    def write(self, values: Any, places: Any, window: Any) -> None:
        lanes, builder = self.lanes, self.lanes.builder
        lanes.store(builder.load(self.value), values, scaled(builder, window, lanes.itemsize))
        target = lanes.address(places, scaled(builder, window, 4), places_of(lanes))
        builder.store(builder.load(self.place), target).align = 4


def places_of(lanes: Lanes) -> Any:
    """The type of a vector of places."""
    return ir.VectorType(INT32, lanes.count)


def scaled(builder: Any, number: Any, factor: int) -> Any:
    return builder.mul(number, ir.Constant(INT64, factor))


def spread(lanes: Lanes, place: Any) -> Any:
    """A vector of places, each of them ``place``, an int64."""
    undefined = ir.Constant(places_of(lanes), ir.Undefined)
    builder = lanes.builder
    first = builder.insert_element(undefined, builder.trunc(place, INT32), ir.Constant(INT32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(places_of(lanes), [0] * lanes.count))


def load_places(lanes: Lanes, base: Any, window: Any) -> Any:
    got = lanes.builder.load(lanes.address(base, scaled(lanes.builder, window, 4), places_of(lanes)))
    got.align = 4
    return got


def in_groups(lanes: Lanes, vectors: Any, body: Any) -> None:
    """``body`` of the first windows of GROUP vectors at a time, which do not wait for each other, then of one."""
    builder = lanes.builder
    groups = builder.udiv(vectors, ir.Constant(INT64, GROUP))
    done = scaled(builder, groups, GROUP)
    for size, count, start in ((GROUP, groups, None), (1, builder.sub(vectors, done), done)):
        with cgutils.for_range(builder, count, intp=INT64) as loop:
            vector = scaled(builder, loop.index, GROUP) if start is None else builder.add(start, loop.index)
            window = scaled(builder, vector, lanes.count)
            body([builder.add(window, ir.Constant(INT64, i * lanes.count)) for i in range(size)])


@intrinsic
def lanes_of(context, like):
    """Lanes of a vector of this dtype, a constant for the compiler."""

    def generate(context, builder, signature, arguments):
        return ir.Constant(INT64, Lanes(builder, like).count)

    return types.int64(like), generate


@intrinsic
def split_pairs(context, source, even, odd, pairs, like):
    """Elements 0, 2, 4, ... of a row of whole vectors of pairs to one place, elements 1, 3, 5, ... to another."""

    def generate(context, builder, signature, arguments):
        source, even, odd, pairs, _ = arguments
        v = Lanes(builder, like)
        with cgutils.for_range(builder, builder.udiv(pairs, ir.Constant(INT64, v.count)), intp=INT64) as loop:
            at = scaled(builder, loop.index, v.bytes)
            low, high = (
                v.load(source, builder.add(scaled(builder, at, 2), ir.Constant(INT64, i))) for i in (0, v.bytes)
            )
            for first, target in ((0, even), (1, odd)):
                chosen = ir.Constant(places_of(v), list(range(first, 2 * v.count, 2)))
                v.store(builder.shuffle_vector(low, high, chosen), target, at)
        return context.get_dummy_value()

    return types.none(*[types.int64] * 4, like), generate


@intrinsic
def largest_along_row(
    context, lists, offsets, kernel, first, start, dilation, stride, vectors, values, places, like
):  # fmt: skip
    """For ``vectors`` vectors of windows the largest of one dealt row, and its place.

    ``offsets``: int64, the bytes from ``lists`` to what the first window sees at each of ``kernel`` offsets. Offset o
    of window j is place ``start`` + j stride + o dilation; the window starts from -inf at place ``start`` + j stride +
    first[j], an int32. Until the end only what differs from ``start`` + j stride is kept, the same for all windows.
    """

    def generate(context, builder, signature, arguments):
        lists, offsets, kernel, first, start, dilation, stride, vectors, values, places, _ = arguments
        v = Lanes(builder, like)
        steps = builder.mul(spread(v, stride), ir.Constant(places_of(v), list(range(v.count))))
        nothing = v.constant(-math.inf)

        def body(windows):
            largest = [Largest(v, nothing, load_places(v, first, window)) for window in windows]
            with cgutils.for_range(builder, kernel, intp=INT64) as offset:
                row = builder.add(lists, builder.load(v.address(offsets, scaled(builder, offset.index, 8), INT64)))
                moved = spread(v, builder.mul(offset.index, dilation))
                for one, window in zip(largest, windows):
                    one.take(v.load(row, scaled(builder, window, v.itemsize)), moved)
            for one, window in zip(largest, windows):
                begin = builder.add(spread(v, builder.add(start, builder.mul(window, stride))), steps)
                builder.store(builder.add(builder.load(one.place), begin), one.place)
                one.write(values, places, window)

        in_groups(v, vectors, body)
        return context.get_dummy_value()

    return types.none(*[types.int64] * 10, like), generate


@intrinsic
def largest_of_rows(
    context, values, places, pitch, planes, plane_rows, rows, row_step, vectors, y, y_places, like
):  # fmt: skip
    """For ``vectors`` vectors of windows the largest over ``planes`` times ``rows`` rows, ``pitch`` elements each.

    Rows of a plane are ``row_step`` apart, planes ``plane_rows``, counted in rows.
    """

    def generate(context, builder, signature, arguments):
        values, places, pitch, planes, plane_rows, rows, row_step, vectors, y, y_places, _ = arguments
        v = Lanes(builder, like)

        def body(windows):
            largest = [
                Largest(v, v.load(values, scaled(builder, window, v.itemsize)), load_places(v, places, window))
                for window in windows
            ]
            across, along = (cgutils.for_range(builder, count, intp=INT64) for count in (planes, rows))
            with across as plane, along as row:
                first = builder.mul(plane.index, plane_rows)
                elements = builder.mul(builder.add(first, builder.mul(row.index, row_step)), pitch)
                for one, window in zip(largest, windows):
                    at = builder.add(elements, window)
                    one.take(v.load(values, scaled(builder, at, v.itemsize)), load_places(v, places, at))
            for one, window in zip(largest, windows):
                one.write(y, y_places, window)

        in_groups(v, vectors, body)
        return context.get_dummy_value()

    return types.none(*[types.int64] * 10, like), generate
