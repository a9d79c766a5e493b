"""Products of float32 by AMX with operands that are split once and multiplied many times.

``splitting.py`` splits both operands of one product. The keys and values of a head meet many blocks of queries, and a
recurrent weight meets every step, so here an operand is split once and kept: a header that says where it came from, and
panels of EDGE lines in blocks of depth. The left operand is such panels too (queries), or a block as it stands (scores,
a state), of which a panel at a time is split when it is needed.

**Range.** AMX takes denormals for 0. Probabilities exp(s - max) reach from 1 down to the least denormal, so a rule by
panels, as in ``splitting.py``, would send all sharp rows to the vectors. Two things keep that rare, and nothing is
flushed:

* Each row of the left operand has a range of its own, and is lifted where it has small numbers: multiplied by a power
  of two that brings its greatest to 2^72, and the sums by its inverse, both exact. Then even 2^-149 beside 1 is normal,
  and times an element of B of 2^-25 or more its product is far enough from the least.
* What still does not fit (inf, NaN, elements of B near 0, greater ranges) is multiplied by vectors, only the rows that
  do not fit. A row's way depends on that row and the panel of B alone, so how threads share the rows changes no bit.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tinygrad_notes.kernels.cpu.common_rows import row_fill, row_scaled
from tinygrad_notes.kernels.cpu.compile import kernel
from tinygrad_notes.kernels.cpu.isa.amx import (
    EDGE,
    PART,
    PARTS,
    configure,
    exponent,
    multiply_parts,
    release,
    split_row,
)
from tinygrad_notes.kernels.cpu.isa.memory import clear_bytes, get_int64, put_int32, put_int64
from tinygrad_notes.kernels.cpu.isa.rows import row
from tinygrad_notes.kernels.cpu.isa.transpose import transpose_edge
from tinygrad_notes.kernels.cpu.isa.vector import INT64, Lanes, get, lanes, one, put, zero
from tinygrad_notes.kernels.cpu.panels import COLUMNS, END, PACKED, START, VECTOR_BYTES, multiply_vectors
from tinygrad_notes.kernels.cpu.splitting import (
    CONFIG,
    RANGE,
    SPLIT_DEPTH,
    SQUARE,
    SUMS,
    in_range,
    scale_row_onto,
    split_panels,
)

# An operand: in place of CONFIG a header, then scratch to split it with, laid out as below, then the panels, those of
# the second operand at PANELS_AT, those of the first at LEFT_PANEL.
SOURCE, STRIDE, DEPTH_STRIDE, PARTS_AT, BLOCK_AT, GREATEST_AT = 0, 8, 16, 24, 32, 40
PANELS_AT = -(-SUMS // 64) * 64
# Before the data of a block of a panel: the least and the greatest exponent of all; of a left one also how many rows
# were lifted, and for each row its two exponents and the inverse of its factor.
RIGHT_HEAD, LIFTED, ROW_HEADS, ROW_HEAD, INVERSE = 64, 16, 64, 32, 16
LEFT_HEAD = ROW_HEADS + EDGE * ROW_HEAD

# The scratch of a thread: CONFIG, RANGE and SQUARE as in splitting.py, at PANELS_AT the sums of a tile, then these.
LARGEST = PANELS_AT + EDGE * EDGE * 4  # of each row its largest size, its least that is not 0, negative, its factor
LEAST_SIZES, FACTORS, LINES = LARGEST + EDGE * 4, LARGEST + 2 * EDGE * 4, LARGEST + 4 * EDGE * 4
LEFT_PANEL = LINES + EDGE * SPLIT_DEPTH * 4
WORK = LEFT_PANEL + LEFT_HEAD + SPLIT_DEPTH // EDGE * PARTS * PART
SPLIT_WORK_BYTES = WORK + VECTOR_BYTES

# Exponents as float32 keeps them. A row with numbers below LIFT is lifted until its greatest has HIGH: 2^72, which
# leaves room for elements of B up to 2^44 (see GREATEST_SUM in splitting.py).
LIFT, HIGH, MOST = 64, 127 + 72, 120


def operand_bytes(lines: int, depth: int, block: int, left: bool = False) -> int:
    """Room for an operand with any number of parts."""
    panel = -(-depth // block) * (LEFT_HEAD if left else RIGHT_HEAD) + -(-depth // EDGE) * PARTS * PART
    return (LEFT_PANEL if left else PANELS_AT) + -(-lines // EDGE) * panel


def _sizes(v, x):
    """|x|, inf for NaN, and -|x|, -inf for 0: the maxima of both are the range."""
    b, size = v.builder, v.call("llvm.fabs", x)
    infinite = v.constant(float("inf"))
    size = b.select(b.fcmp_ordered("==", x, x), size, infinite)
    return size, b.fneg(b.select(b.fcmp_ordered("==", x, v.constant(0.0)), infinite, size))


def _range(v, x, s):
    return [], [*_sizes(v, x[0])]


def _range_down(v, x, s):
    largest, least = _sizes(v, x[0])
    return [v.at_least(x[1], largest), v.at_least(x[2], least)], []


row_range = row(1, 0, 0, _range, ("max", "max"), unroll=2)
row_range_down = row(3, 2, 0, _range_down, unroll=1)  # the same of many rows, one of whose elements lie side by side


@intrinsic
def put_tile(context, sums, c, c_row, alpha, beta):
    """c = alpha sums + beta c, for a whole tile of EDGE x EDGE; with beta 0 c is not read."""
    dtype = alpha

    def generate(context, builder, signature, arguments):
        sums, c, c_row, alpha, beta = arguments
        v = Lanes(builder, dtype)
        scale, keep = v.splat(alpha), v.splat(beta)
        adds = builder.fcmp_unordered("!=", beta, ir.Constant(v.element, 0.0))
        with builder.if_else(adds) as (adding, writing):
            for onto, block in ((True, adding), (False, writing)):
                with block, cgutils.for_range(builder, INT64(EDGE), intp=INT64) as loop:
                    from_ = builder.add(sums, builder.mul(loop.index, INT64(EDGE * v.itemsize)))
                    to = builder.add(c, builder.mul(loop.index, c_row))
                    for offset in range(0, EDGE * v.itemsize, v.bytes):
                        value = v.load(from_, offset)
                        if onto:
                            value = v.multiply_add(scale, value, builder.fmul(keep, v.load(to, offset)))
                        else:
                            value = builder.fmul(scale, value)
                        v.store(value, to, offset)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64, dtype, dtype), generate


@kernel
def put_header(target, source, stride, depth_stride, block, parts):
    put_int64(target + SOURCE, source)
    put_int64(target + STRIDE, stride)
    put_int64(target + DEPTH_STRIDE, depth_stride)
    put_int64(target + PARTS_AT, parts)
    put_int64(target + BLOCK_AT, block)


@kernel
def panel_bytes(depth, block, parts, head):
    """From one panel of an operand to the next."""
    return (depth + block - 1) // block * head + (depth + EDGE - 1) // EDGE * parts * PART


@kernel
def split_right(source, stride, depth_stride, columns, depth, block, target, parts, like):
    """The second operand: ``columns`` lines ``stride`` bytes apart; ``block``, of depth, is a multiple of EDGE."""
    put_header(target, source, stride, depth_stride, block, parts)
    place, greatest = target + PANELS_AT, 0
    for j in range(0, columns, EDGE):
        for p in range(0, depth, block):
            here = min(block, depth - p)
            from_ = source + j * stride + p * depth_stride
            split_panels(
                parts, from_, stride, depth_stride, min(EDGE, columns - j), here, False, place + RIGHT_HEAD, place,
                target, like,
            )  # fmt: skip
            greatest = max(greatest, get_int64(place + 8))
            place += RIGHT_HEAD + (here + EDGE - 1) // EDGE * parts * PART
    put_int64(target + GREATEST_AT, greatest)


@kernel
def split_left(source, stride, depth_stride, rows, depth, block, target, parts, like):
    """The first operand, the same with rows."""
    put_header(target, source, stride, depth_stride, block, parts)
    place, greatest = target + LEFT_PANEL, 0
    for i in range(0, rows, EDGE):
        for p in range(0, depth, block):
            here = min(block, depth - p)
            from_ = source + i * stride + p * depth_stride
            split_left_panel(parts, from_, stride, depth_stride, min(EDGE, rows - i), here, place, target, like)
            greatest = max(greatest, get_int64(place + 8))
            place += LEFT_HEAD + (here + EDGE - 1) // EDGE * parts * PART
    put_int64(target + GREATEST_AT, greatest)


@kernel
def split_left_panel(parts, source, stride, depth_stride, rows, depth, place, work, like):
    """One block of a panel: at most EDGE rows, and of depth at most SPLIT_DEPTH, with the range of each row."""
    square, lines = work + SQUARE, work + LINES
    if stride != 4 and depth_stride != 4:  # neither rows nor columns lie in one piece
        for i in range(rows):
            for p in range(depth):
                put(lines + (i * SPLIT_DEPTH + p) * 4, get(source + i * stride + p * depth_stride, like))
        source, stride, depth_stride = lines, SPLIT_DEPTH * 4, 4
    row_fill((work + LARGEST, EDGE), (zero(like),), like)
    row_fill((work + LEAST_SIZES, EDGE), (-one(like) / zero(like),), like)
    if depth_stride == 4:
        for i in range(rows):
            largest, least = row_range((source + i * stride, depth), (), like)
            put(work + LARGEST + i * 4, largest)
            put(work + LEAST_SIZES + i * 4, least)
    else:
        largest, least = work + LARGEST, work + LEAST_SIZES
        for p in range(depth):
            row_range_down((source + p * depth_stride, largest, least, largest, least, rows), (), like)
    lifted, all_least, all_greatest = 0, 255, 0
    for i in range(EDGE):
        size_at, least_at, factor_at = work + LARGEST + i * 4, work + LEAST_SIZES + i * 4, work + FACTORS + i * 4
        head = place + ROW_HEADS + i * ROW_HEAD
        put(least_at, -get(least_at, like))  # of nothing but 0 it is inf
        least, greatest = exponent(least_at), exponent(size_at)
        raised = min(HIGH - greatest, MOST) if least < LIFT and greatest < 255 else 0
        if raised > 0:
            lifted += 1
            put_int32(factor_at, (127 + raised) << 23)
            put_int32(head + INVERSE, (127 - raised) << 23)
            factor = get(factor_at, like)
            put(least_at, get(least_at, like) * factor)
            put(size_at, get(size_at, like) * factor)
            least, greatest = exponent(least_at), exponent(size_at)
        else:
            put(factor_at, one(like))
            put(head + INVERSE, one(like))
        put_int64(head, least)
        put_int64(head + 8, greatest)
        all_least, all_greatest = min(all_least, least), max(all_greatest, greatest)
    put_int64(place, all_least)
    put_int64(place + 8, all_greatest)
    put_int64(place + LIFTED, lifted)
    for p in range(0, depth, EDGE):
        from_, to = source + p * depth_stride, place + LEFT_HEAD + p // EDGE * parts * PART
        step, deep = stride, min(EDGE, depth - p)
        whole = rows == EDGE and deep == EDGE
        if not whole or lifted or depth_stride != 4:
            if not whole:
                clear_bytes(square, EDGE * EDGE * 4)
            if depth_stride == 4:
                for i in range(rows):
                    factor = get(work + FACTORS + i * 4, like)
                    row_scaled((from_ + i * stride, square + i * EDGE * 4, deep), (factor,), like)
            else:
                if whole:
                    for i in range(0, EDGE, lanes(like)):
                        transpose_edge(square + i * EDGE * 4, from_ + i * 4, depth_stride, like)
                else:
                    for q in range(deep):
                        for i in range(rows):
                            put(square + (i * EDGE + q) * 4, get(from_ + i * 4 + q * depth_stride, like))
                if lifted:
                    for i in range(rows):
                        line = square + i * EDGE * 4
                        row_scaled((line, line, EDGE), (get(work + FACTORS + i * 4, like),), like)
            from_, step = square, EDGE * 4
        for i in range(EDGE):
            split_row(parts, from_ + i * step, to + i * 64, PART, work + RANGE)


@kernel
def multiply_panels(
    parts, a_panel, a_first, a, a_row, a_column, tall, b_panel, b, b_column, b_row, wide, first, depth, c, c_row,
    alpha, beta, work,
):  # fmt: skip
    """One tile, C (tall, wide) = alpha A B + beta C, over ``depth`` from ``first``, a multiple of EDGE.

    ``a`` and ``b`` are where the panels' numbers came from, for what goes by vectors. A's panel begins at ``a_first``.
    """
    sums = work + PANELS_AT
    a_data = a_panel + LEFT_HEAD + (first - a_first) // EDGE * parts * PART
    b_data = b_panel + RIGHT_HEAD + first // EDGE * parts * PART
    steps = (depth + EDGE - 1) // EDGE
    fits = in_range(a_panel, b_panel)
    if fits and get_int64(a_panel + LIFTED) == 0 and tall == EDGE and wide == EDGE:
        if alpha == 1 and beta == 0:
            multiply_parts(parts, a_data, EDGE * 2, PART, parts * PART, b_data, c, c_row, steps)
        else:
            multiply_parts(parts, a_data, EDGE * 2, PART, parts * PART, b_data, sums, EDGE * 4, steps)
            put_tile(sums, c, c_row, alpha, beta)
        return
    multiplied, i = False, 0
    while i < tall:
        head = a_panel + ROW_HEADS + i * ROW_HEAD
        if fits or in_range(head, b_panel):
            if not multiplied:
                multiply_parts(parts, a_data, EDGE * 2, PART, parts * PART, b_data, sums, EDGE * 4, steps)
                multiplied = True
            line, to, inverse = sums + i * EDGE * 4, c + i * c_row, get(head + INVERSE, alpha)
            if inverse != 1:
                row_scaled((line, line, wide), (inverse,), alpha)
            if beta == 0:
                row_scaled((line, to, wide), (alpha,), alpha)
            else:
                scale_row_onto((line, to, to, wide), (alpha, beta), alpha)
            i += 1
            continue
        last = i + 1
        while last < tall and not in_range(a_panel + ROW_HEADS + last * ROW_HEAD, b_panel):
            last += 1
        to = c + i * c_row
        multiply_vectors(
            a + i * a_row + first * a_column, a_row, a_column, b + first * b_row, b_row, b_column, to, c_row, to, c_row,
            last - i, wide, depth, alpha, beta, parts, work + WORK,
        )  # fmt: skip
        i = last


@kernel
def multiply_operands(
    a, a_row, a_column, rows, b, first, columns, start, total, depth, c, c_row, alpha, beta, reach, trim, work
):  # fmt: skip
    """The same as ``product`` of ``packed_products.py``, for float32, with SPLIT_WORK_BYTES of scratch."""
    parts, block = get_int64(b + PARTS_AT), get_int64(b + BLOCK_AT)
    b_from, b_column, b_row = get_int64(b + SOURCE), get_int64(b + STRIDE), get_int64(b + DEPTH_STRIDE)
    b_wide, b_deep = panel_bytes(total, block, parts, RIGHT_HEAD), RIGHT_HEAD + block // EDGE * parts * PART
    packed = a_row == PACKED
    a_from = a
    if packed:
        a_from, a_row, a_column = get_int64(a + SOURCE), get_int64(a + STRIDE), get_int64(a + DEPTH_STRIDE)
    a_tall, a_deep = panel_bytes(depth, block, parts, LEFT_HEAD), LEFT_HEAD + block // EDGE * parts * PART
    configure(work + CONFIG)
    for i in range(0, rows, EDGE):
        tall = min(EDGE, rows - i)
        for p in range(0, depth, block):
            low, high = 0, min(block, depth - p)
            if trim == END:
                high = min(high, i + EDGE - reach)
            elif trim == START:
                low = max(0, (i + reach) // EDGE * EDGE)
            if low >= high:
                continue
            a_block = a_from + i * a_row + p * a_column
            a_panel, a_first = a + LEFT_PANEL + i // EDGE * a_tall + p // block * a_deep, 0
            if not packed:  # only what counts is split
                a_panel, a_first = work + LEFT_PANEL, low
                split_left_panel(
                    parts, a_block + low * a_column, a_row, a_column, tall, high - low, a_panel, work, alpha
                )
            for j in range(0, columns, EDGE):
                if trim == COLUMNS and j + reach > i + EDGE - 1:
                    continue
                b_panel = b + PANELS_AT + (first + j) // EDGE * b_wide + (start + p) // block * b_deep
                multiply_panels(
                    parts, a_panel, a_first, a_block, a_row, a_column, tall, b_panel,
                    b_from + (first + j) * b_column + (start + p) * b_row, b_column, b_row, min(EDGE, columns - j), low,
                    high - low, c + i * c_row + j * 4, c_row, alpha, beta if p == 0 else one(alpha), work,
                )  # fmt: skip
    release()
