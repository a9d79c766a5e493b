"""AMX: eight tiles of 16 rows by 64 bytes, and an instruction that multiplies two of bfloat16 into one of float32.

A bfloat16 is the upper half of a float32: the same exponents, 8 bits of digits. Three of them hold the 24 bits of a
float32 exactly: the number rounded to 8, what is left of it rounded to 8, the rest. So a product of float32 is nine
products of bfloat16, of which the three smallest lie below the last digit and are left out. Two parts hold 16 bits, and
three products do: half the work.

The number of parts is known when a kernel runs, what it means when it is compiled: :func:`choose` writes both texts.

:class:`Tiles` writes the instructions; :class:`EmulatedTiles` writes what they do, with vectors, for machines that have
no AMX and are told to take this way (``TINYGRAD_NOTES_ISA=amx``), so that all that is built on them is tested there.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinygrad_notes.kernels.cpu.isa.machine import MACHINE
from tinygrad_notes.kernels.cpu.isa.vector import INT32, INT64

INT8, INT16, FLOAT, VOID = ir.IntType(8), ir.IntType(16), ir.FloatType(), ir.VoidType()
BYTES = INT8.as_pointer()
INTS, HALVES, FLOATS = (ir.VectorType(kind, 16) for kind in (INT32, INT16, FLOAT))
EDGE = 32  # rows, columns and depth of what :func:`multiply_parts` takes at once: two tiles each way
PART = EDGE * EDGE * 2  # bytes of one of the parts of EDGE lines of EDGE elements
PARTS = 3  # of which the first two may do
# For each number of parts, the products (part of a, part of b), in an order in which each loads one part anew.
TERMS = {2: [(1, 0), (0, 0), (0, 1)], 3: [(2, 0), (1, 0), (1, 1), (0, 1), (0, 2), (0, 0)]}


class Tiles:
    """The instructions on tiles 0 to 7, put in at ``builder``."""

    def __init__(self, builder: ir.IRBuilder):
        self.builder = builder

    def _call(self, name: str, *arguments: Any) -> None:
        kind = ir.FunctionType(VOID, [argument.type for argument in arguments])
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.x86.{name}")
        self.builder.call(function, arguments)

    def configure(self, address: Any) -> None:
        """Shapes of the tiles, from 64 bytes; each thread has its own."""
        self._call("ldtilecfg", self.builder.inttoptr(address, BYTES))

    def release(self) -> None:
        self._call("tilerelease")

    def zero(self, tile: int) -> None:
        self._call("tilezero", INT8(tile))

    def load(self, tile: int, address: Any, stride: Any) -> None:
        self._call("tileloadd64", INT8(tile), self.builder.inttoptr(address, BYTES), stride)

    def store(self, tile: int, address: Any, stride: Any) -> None:
        self._call("tilestored64", INT8(tile), self.builder.inttoptr(address, BYTES), stride)

    def multiply(self, c: int, a: int, b: int) -> None:
        """Tile c (16 x 16 float32) += tile a (16 x 32 bfloat16) by tile b (16 pairs of rows x 16 columns)."""
        self._call("tdpbf16ps", INT8(c), INT8(a), INT8(b))


class EmulatedTiles(Tiles):
    """The same on memory, denormals as 0 as there."""

    def __init__(self, builder: ir.IRBuilder):
        super().__init__(builder)
        self.registers = builder.ptrtoint(cgutils.alloca_once(builder, ir.ArrayType(INTS, 8 * 16)), INT64)

    def _at(self, base: Any, offset: Any, kind: Any = INTS) -> Any:
        offset = INT64(offset) if isinstance(offset, int) else offset
        return self.builder.inttoptr(self.builder.add(base, offset), kind.as_pointer())

    def _load(self, base: Any, offset: Any, kind: Any = INTS) -> Any:
        got = self.builder.load(self._at(base, offset, kind))
        got.align = 4
        return got

    def _store(self, value: Any, base: Any, offset: Any) -> None:
        self.builder.store(value, self._at(base, offset, value.type)).align = 4

    def configure(self, address: Any) -> None:
        pass

    def release(self) -> None:
        pass

    def zero(self, tile: int) -> None:
        for row in range(16):
            self._store(INTS([0] * 16), self.registers, tile * 1024 + row * 64)

    def load(self, tile: int, address: Any, stride: Any) -> None:
        for row in range(16):
            value = self._load(address, self.builder.mul(stride, INT64(row)))
            self._store(value, self.registers, tile * 1024 + row * 64)

    def store(self, tile: int, address: Any, stride: Any) -> None:
        for row in range(16):
            value = self._load(self.registers, tile * 1024 + row * 64)
            self._store(value, address, self.builder.mul(stride, INT64(row)))

    def multiply(self, c: int, a: int, b: int) -> None:
        """A call: written out at each of its many places, the loops would take minutes to compile."""
        kind = ir.FunctionType(VOID, [INT64] * 3)
        function = cgutils.get_or_insert_function(self.builder.module, kind, "emulated_tile_product")
        if function.is_declaration:
            function.linkage = "internal"
            function.attributes.add("noinline")
            inside = copy.copy(self)
            inside.builder = ir.IRBuilder(function.append_basic_block())
            inside._product(*function.args)
            inside.builder.ret_void()
        self.builder.call(function, [self.builder.add(self.registers, INT64(tile * 1024)) for tile in (c, a, b)])

    def _product(self, c: Any, a: Any, b: Any) -> None:
        """What the instruction does with the tiles at three addresses."""
        build = self.builder
        sums = [cgutils.alloca_once(build, FLOATS) for _ in range(2)]  # of even and of odd depths, as the machine's
        with cgutils.for_range(build, INT64(16), intp=INT64) as rows:
            row = build.mul(rows.index, INT64(64))
            for place in sums:
                build.store(FLOATS([0.0] * 16), place)
            with cgutils.for_range(build, INT64(16), intp=INT64) as pairs:
                at = build.add(row, build.mul(pairs.index, INT64(4)))
                two = self._load(a, at, INT32)
                first = build.insert_element(ir.Constant(INTS, ir.Undefined), two, INT32(0))
                spread = build.shuffle_vector(first, first, INTS([0] * 16))
                there = self._load(b, build.mul(pairs.index, INT64(64)))
                for half, place in zip((self._lower, self._upper), sums):
                    product = self._flushed(build.fmul(self._flushed(half(spread)), self._flushed(half(there))))
                    build.store(self._flushed(build.fadd(build.load(place), product)), place)
            both = self._flushed(build.fadd(*[build.load(place) for place in sums]))
            self._store(self._flushed(build.fadd(self._load(c, row, FLOATS), both)), c, row)

    def _lower(self, pairs: Any) -> Any:
        return self.builder.bitcast(self.builder.shl(pairs, INTS([16] * 16)), FLOATS)

    def _upper(self, pairs: Any) -> Any:
        return self.builder.bitcast(self.builder.and_(pairs, INTS([0xFFFF0000] * 16)), FLOATS)

    def _flushed(self, x: Any) -> Any:
        size = self.builder.and_(self.builder.bitcast(x, INTS), INTS([0x7FFFFFFF] * 16))
        small = self.builder.icmp_unsigned("<", size, INTS([0x00800000] * 16))
        return self.builder.select(small, FLOATS([0.0] * 16), x)


HAS_AMX = {"amx-tile", "amx-bf16"} <= MACHINE.features


def tiles(builder: ir.IRBuilder) -> Tiles:
    """Those of this machine."""
    return Tiles(builder) if HAS_AMX else EmulatedTiles(builder)


def choose(builder: ir.IRBuilder, parts: Any, write: Callable[[int], None]) -> None:
    """``write(2)`` and ``write(3)``, of which the one runs that ``parts``, 2 or 3, says."""
    with builder.if_else(builder.icmp_signed("==", parts, INT64(2))) as (two, three):
        with two:
            write(2)
        with three:
            write(3)


def write_multiply(
    builder: ir.IRBuilder, t: Tiles, parts: int, a: Any, a_row: Any, a_part: Any, a_step: Any, b: Any, c: Any,
    stride: Any, steps: Any,
) -> None:  # fmt: skip
    """The text of :func:`multiply_parts`. Tiles 0 to 3 hold c, 4 and 5 rows of a, 6 and 7 columns of b."""
    below = builder.add(c, builder.mul(stride, INT64(16)))
    a_below = builder.mul(a_row, INT64(16))
    for tile in range(4):
        t.zero(tile)
    with cgutils.for_range(builder, steps, intp=INT64) as loop:
        a_here = builder.add(a, builder.mul(loop.index, a_step))
        b_here = builder.add(b, builder.mul(loop.index, INT64(parts * PART)))
        loaded: list[int | None] = [None, None]
        for of_a, of_b in TERMS[parts]:
            if of_a != loaded[0]:
                place = builder.add(a_here, builder.mul(a_part, INT64(of_a)))
                t.load(4, place, a_row)
                t.load(5, builder.add(place, a_below), a_row)
            if of_b != loaded[1]:
                for half in range(2):
                    t.load(6 + half, builder.add(b_here, INT64(of_b * PART + half * PART // 2)), INT64(64))
            loaded = [of_a, of_b]
            for tile in range(4):
                t.multiply(tile, 4 + tile // 2, 6 + tile % 2)
    for tile, corner in enumerate([c, builder.add(c, INT64(64)), below, builder.add(below, INT64(64))]):
        t.store(tile, corner, stride)


@intrinsic
def multiply_parts(context, parts, a, a_row, a_part, a_step, b, c, c_stride, steps):
    """c (EDGE x EDGE) = a b, over ``steps`` times EDGE of depth.

    Of b a step is ``parts`` times PART bytes, two halves of the columns, as :func:`split_pair` writes them. In a it is
    ``a_step`` bytes from one to the next, between rows ``a_row`` and between parts ``a_part``.
    """

    def generate(context, builder, signature, arguments):
        t = tiles(builder)
        choose(builder, arguments[0], lambda parts: write_multiply(builder, t, parts, *arguments[1:]))
        return context.get_dummy_value()

    return types.none(*[types.int64] * 9), generate


@intrinsic
def configure(context, address):
    """Before the first tile of a thread: 64 bytes at ``address`` are written and read."""

    def generate(context, builder, signature, arguments):
        shapes = [1] + [0] * 15 + [64, 0] * 8 + [0] * 16 + [16] * 8 + [0] * 8  # palette; bytes of a row; rows
        kind = ir.ArrayType(INT8, 64)
        builder.store(kind(shapes), builder.inttoptr(arguments[0], kind.as_pointer()))
        tiles(builder).configure(arguments[0])
        return context.get_dummy_value()

    return types.none(types.int64), generate


@intrinsic
def release(context):
    """After the last tile of a thread."""

    def generate(context, builder, signature, arguments):
        tiles(builder).release()
        return context.get_dummy_value()

    return types.none(), generate


# ---------------------------------------------------------------------- splitting

# The range of what was split is gathered on the way, in two vectors of integers at an address: the least of
# (bits - 1), which 0 does not lower, and the greatest of bits, both without the sign. NaN and inf are the greatest.


def _gather(builder, vectors, range_):
    sizes = [builder.and_(builder.bitcast(vector, INTS), INTS([0x7FFFFFFF] * 16)) for vector in vectors]
    for offset, sign, less in ((0, "<", 1), (64, ">", 0)):
        place = builder.inttoptr(builder.add(range_, INT64(offset)), INTS.as_pointer())
        best = builder.load(place)
        best.align = 4
        for size in sizes:
            value = builder.sub(size, INTS([less] * 16))
            best = builder.select(builder.icmp_unsigned(sign, value, best), value, best)
        builder.store(best, place).align = 4


def _floats(builder, address):
    got = builder.load(builder.inttoptr(address, FLOATS.as_pointer()))
    got.align = 4
    return got


def _split(builder, rest, parts):
    """The parts of 16 numbers, as the bits of float32 whose lower halves are 0.

    Each is what is left, rounded to 8 digits. Of 24 at most 16 and a sign are left, then 7: a third part is exact.
    A half goes to even in the last of two parts, where it counts, else away from 0, which is less work.
    """
    split = []
    for part in range(parts):
        bits = builder.bitcast(rest, INTS)
        if part < 2:
            half = INTS([0x8000] * 16)
            if part == parts - 1:
                odd = builder.and_(builder.lshr(bits, INTS([16] * 16)), INTS([1] * 16))
                half = builder.add(odd, INTS([0x7FFF] * 16))
            bits = builder.and_(builder.add(bits, half), INTS([0xFFFF0000] * 16))
            rest = builder.fsub(rest, builder.bitcast(bits, FLOATS))
        split.append(bits)
    return split


@intrinsic
def split_row(context, parts, source, target, part_bytes, range_):
    """One row of a: EDGE numbers in a line, as EDGE bfloat16 in each part, which are ``part_bytes`` apart."""

    def generate(context, builder, signature, arguments):
        parts, source, target, part_bytes, range_ = arguments
        rests = [_floats(builder, builder.add(source, INT64(half * 64))) for half in range(2)]
        _gather(builder, rests, range_)

        def write(parts):
            for half, rest in enumerate(rests):
                for part, bits in enumerate(_split(builder, rest, parts)):
                    short = builder.trunc(builder.lshr(bits, INTS([16] * 16)), HALVES)
                    place = builder.add(target, builder.mul(part_bytes, INT64(part)))
                    place = builder.add(place, INT64(half * 32))
                    builder.store(short, builder.inttoptr(place, HALVES.as_pointer())).align = 2

        choose(builder, parts, write)
        return context.get_dummy_value()

    return types.none(*[types.int64] * 5), generate


@intrinsic
def split_pair(context, parts, source, stride, target, range_):
    """Two rows of b, ``stride`` bytes apart: EDGE pairs of bfloat16, the two of a column side by side, in each part."""

    def generate(context, builder, signature, arguments):
        parts, source, stride, target, range_ = arguments
        rows = (source, builder.add(source, stride))
        rests = [[_floats(builder, builder.add(row, INT64(half * 64))) for row in rows] for half in range(2)]
        _gather(builder, [*rests[0], *rests[1]], range_)

        def write(parts):
            for half, (first, second) in enumerate(rests):
                both = zip(_split(builder, first, parts), _split(builder, second, parts))
                for part, (lower, upper) in enumerate(both):
                    pairs = builder.or_(builder.lshr(lower, INTS([16] * 16)), upper)
                    place = builder.add(target, INT64(part * PART + half * PART // 2))
                    builder.store(pairs, builder.inttoptr(place, INTS.as_pointer())).align = 4

        choose(builder, parts, write)
        return context.get_dummy_value()

    return types.none(*[types.int64] * 5), generate


@intrinsic
def interleave_run(context, parts, source, part_bytes, taps, steps, first, length, target):
    """Columns ``first`` and on, ``length`` of them, of a panel of windows, as :func:`split_pair` would write it.

    ``source``: planes of bfloat16, one for each part, ``part_bytes`` apart. ``taps``: for each row of the panel, steps
    times EDGE, the distance of its column 0 from there, in elements. What is read beside the run is left away.
    """

    def generate(context, builder, signature, arguments):
        parts, source, part_bytes, taps, steps, first, length, target = arguments
        lanes = [INTS(list(range(half * 16, half * 16 + 16))) for half in range(2)]
        masks = [_between(builder, half, first, builder.add(first, length)) for half in lanes]
        kind = ir.FunctionType(VOID, [INTS, INTS.as_pointer(), INT32, masks[0].type])
        put = cgutils.get_or_insert_function(builder.module, kind, "llvm.masked.store.v16i32.p0")

        def write(parts):
            with (
                cgutils.for_range(builder, steps, intp=INT64) as step,
                cgutils.for_range(builder, INT64(EDGE // 2), intp=INT64) as pair,
            ):
                number = builder.add(builder.mul(step.index, INT64(EDGE // 2)), pair.index)
                tap = builder.inttoptr(builder.add(taps, builder.mul(number, INT64(16))), INT64.as_pointer())
                rows = []
                for i in range(2):
                    distance = builder.load(builder.gep(tap, [INT64(i)]))
                    rows.append(builder.add(source, builder.mul(distance, INT64(2))))
                to = builder.add(target, builder.mul(step.index, INT64(parts * PART)))
                to = builder.add(to, builder.mul(pair.index, INT64(64)))
                for part in range(parts):
                    for half in range(2):
                        two = []
                        for line in rows:
                            place = builder.add(line, builder.mul(part_bytes, INT64(part)))
                            place = builder.add(place, INT64(half * 32))
                            short = builder.load(builder.inttoptr(place, HALVES.as_pointer()))
                            short.align = 2
                            two.append(builder.zext(short, INTS))
                        both = builder.or_(two[0], builder.shl(two[1], INTS([16] * 16)))
                        place = builder.add(to, INT64(part * PART + half * PART // 2))
                        builder.call(put, [both, builder.inttoptr(place, INTS.as_pointer()), INT32(4), masks[half]])

        choose(builder, parts, write)
        return context.get_dummy_value()

    return types.none(*[types.int64] * 8), generate


def _between(builder, lanes, first, end):
    """The mask of those of ``lanes`` that are at least ``first`` and below ``end``."""
    ends = []
    for number in (first, end):
        one = builder.insert_element(ir.Constant(INTS, ir.Undefined), builder.trunc(number, INT32), INT32(0))
        ends.append(builder.shuffle_vector(one, one, INTS([0] * 16)))
    return builder.and_(builder.icmp_signed(">=", lanes, ends[0]), builder.icmp_signed("<", lanes, ends[1]))


@intrinsic
def clear_range(context, range_):
    """The range of nothing."""

    def generate(context, builder, signature, arguments):
        for offset, value in ((0, 0xFFFFFFFF), (64, 0)):
            place = builder.inttoptr(builder.add(arguments[0], INT64(offset)), INTS.as_pointer())
            builder.store(INTS([value] * 16), place).align = 4
        return context.get_dummy_value()

    return types.none(types.int64), generate


@intrinsic
def exponent(context, address):
    """The exponent field, 0 to 255, of a number without its sign."""

    def generate(context, builder, signature, arguments):
        bits = builder.load(builder.inttoptr(arguments[0], INT32.as_pointer()))
        return builder.zext(builder.lshr(bits, INT32(23)), INT64)

    return types.int64(types.int64), generate
