"""Products of float32 matrices by AMX: each number split exactly in three bfloat16, six products, sums in float32.

x = hi + mid + lo, each rounded to 8 digits: |mid| is at most 2^-8 of |x|, |lo| 2^-17. Of the nine products of a and b
the three least, mid lo, lo mid and lo lo, are together about 2^-24 |a b| at most and left out: what is left is as near
as float32 can say it. With ``precision("high")`` there are two parts, x ~ hi + mid, and three products: without lo, and
without mid mid, what is left out is 2^-15 |a b| at most.

AMX takes denormals for 0, in what it reads and in what it makes. So the range of exponents of each panel is kept, and
where two panels could lose something by that (numbers near 0 or near overflow, inf, NaN) their tile is multiplied by
vectors. Whether it is does not depend on how the work is cut: panels are the same for every number of threads. Nor is
anything added to C by AMX, where a denormal may stand.
"""

from __future__ import annotations

from tinygrad_notes.kernels.cpu.common_rows import row_scaled
from tinygrad_notes.kernels.cpu.compile import kernel
from tinygrad_notes.kernels.cpu.isa.amx import (
    EDGE,
    PART,
    PARTS,
    clear_range,
    configure,
    exponent,
    multiply_parts,
    release,
    split_pair,
    split_row,
)  # fmt: skip
from tinygrad_notes.kernels.cpu.isa.memory import clear_bytes, get_int64, put_int64
from tinygrad_notes.kernels.cpu.isa.rows import row
from tinygrad_notes.kernels.cpu.isa.transpose import transpose_edge
from tinygrad_notes.kernels.cpu.isa.vector import get, lanes, one, put, zero
from tinygrad_notes.kernels.cpu.panels import VECTOR_BYTES, multiply_vectors

SPLIT_DEPTH, SPLIT_ROWS, SPLIT_COLUMNS = 512, 128, 1024  # of a block; that of A stays in the second cache
PANEL = SPLIT_DEPTH // EDGE * PARTS * PART  # room for a panel, EDGE lines
PANELS = (SPLIT_ROWS + SPLIT_COLUMNS) // EDGE
CONFIG, RANGE, SQUARE = 0, 64, 64 + 128  # where things lie in the scratch of a thread
SUMS = SQUARE + EDGE * EDGE * 4
RANGES = SUMS + EDGE * EDGE * 4  # of each panel, the least and the greatest exponent
A_PANELS = RANGES + -(-PANELS * 16 // 64) * 64
B_PANELS = A_PANELS + SPLIT_ROWS // EDGE * PANEL
SPLIT_BYTES = B_PANELS + SPLIT_COLUMNS // EDGE * PANEL

# Exponents as float32 keeps them, 127 more, of numbers that are not 0. The last digit of x is 2^-23 of its first, so
# parts are normal when x is 23 above the least. A product or sum that is not normal, and so 0, is then below the last
# digit of a b. The greatest numbers, rounded to 8 digits, would be inf. The greatest sum of SPLIT_DEPTH products stays
# finite. Two parts would allow a little more; with one range the same tiles go by vectors.
LEAST, LEAST_SUM, GREATEST, GREATEST_SUM = 1 + 24, 127 + 1 + 24, 253, 2 * 127 + 127 - 12


def _scaled_onto(v, x, s):
    return [v.multiply_add(s[1], x[1], v.builder.fmul(s[0], x[0]))], []


scale_row_onto = row(2, 1, 2, _scaled_onto, unroll=1)


@kernel
def keep_range(range_, to):
    """Write the least and the greatest exponent of what was gathered to ``to``."""
    least, greatest = 255, 0
    for i in range(16):
        least, greatest = min(least, exponent(range_ + i * 4)), max(greatest, exponent(range_ + 64 + i * 4))
    put_int64(to, least)
    put_int64(to + 8, greatest)


@kernel
def split_panels(parts, source, stride, depth_stride, count, depth, by_rows, target, ranges, work, like):
    """Panels of EDGE lines, in ``parts``: rows of A when ``by_rows``, else columns of B, pairs of depth side by side.

    Lines are ``stride`` bytes apart, elements of a line ``depth_stride``. Missing ones are 0.
    """
    square, range_ = work + SQUARE, work + RANGE
    across = stride if by_rows else depth_stride  # between rows of the square that the splitting reads
    along = depth_stride if by_rows else stride
    for first in range(0, count, EDGE):
        panel = first // EDGE
        clear_range(range_)
        for p in range(0, depth, EDGE):
            from_, to = source + first * stride + p * depth_stride, target + panel * PANEL + p // EDGE * parts * PART
            step, there, deep = across, min(EDGE, count - first), min(EDGE, depth - p)
            if there < EDGE or deep < EDGE or along != 4:
                rows, columns = (there, deep) if by_rows else (deep, there)
                if rows == EDGE and columns == EDGE and across == 4:
                    for i in range(0, EDGE, lanes(like)):
                        transpose_edge(square + i * EDGE * 4, from_ + i * across, along, like)
                else:
                    for i in range(EDGE):
                        for j in range(EDGE):
                            inside = i < rows and j < columns
                            value = get(from_ + i * across + j * along, like) if inside else zero(like)
                            put(square + (i * EDGE + j) * 4, value)
                from_, step = square, EDGE * 4
            if by_rows:
                for i in range(EDGE):
                    split_row(parts, from_ + i * step, to + i * 64, PART, range_)
            else:
                for i in range(0, EDGE, 2):
                    split_pair(parts, from_ + i * step, step, to + i // 2 * 64, range_)
        keep_range(range_, ranges + panel * 16)


@kernel
def split_line(parts, source, count, target, part_bytes, range_):
    """``count`` numbers in a line, each part in a line too, ``part_bytes`` apart, and up to 63 zeros behind them.

    The zeros are written behind the numbers as well. What was in the range stays.
    """
    whole = (count + EDGE - 1) // EDGE * EDGE + EDGE
    clear_bytes(source + count * 4, (whole - count) * 4)
    for p in range(0, whole, EDGE):
        split_row(parts, source + p * 4, target + p * 2, part_bytes, range_)


@kernel
def in_range(a_range, b_range):
    """Whether AMX has all that counts of the parts and products of two panels. Of zeros the least is 255."""
    a_least, a_greatest = get_int64(a_range), get_int64(a_range + 8)
    b_least, b_greatest = get_int64(b_range), get_int64(b_range + 8)
    if a_least < LEAST or b_least < LEAST or a_greatest > GREATEST or b_greatest > GREATEST:
        return False
    return a_least + b_least >= LEAST_SUM and a_greatest + b_greatest <= GREATEST_SUM


@kernel
def multiply_split(
    a, a_row, a_column, b, b_row, b_column, c, c_row, old, old_row, m, n, k, alpha, beta, parts, work
):  # fmt: skip
    """The same as ``multiply_vectors``, for float32 and k > 0, in ``parts``, with SPLIT_BYTES more of scratch."""
    mine = work + VECTOR_BYTES
    sums, a_panels, b_panels = mine + SUMS, mine + A_PANELS, mine + B_PANELS
    a_ranges, b_ranges = mine + RANGES, mine + RANGES + SPLIT_ROWS // EDGE * 16
    configure(mine + CONFIG)
    for j in range(0, n, SPLIT_COLUMNS):
        columns = min(SPLIT_COLUMNS, n - j)
        for p in range(0, k, SPLIT_DEPTH):
            depth = min(SPLIT_DEPTH, k - p)
            steps = (depth + EDGE - 1) // EDGE
            keep, before, before_row = (beta, old, old_row) if p == 0 else (one(alpha), c, c_row)
            block = b + p * b_row + j * b_column
            split_panels(parts, block, b_column, b_row, columns, depth, False, b_panels, b_ranges, mine, alpha)
            for i in range(0, m, SPLIT_ROWS):
                rows, from_ = min(SPLIT_ROWS, m - i), a + i * a_row + p * a_column
                split_panels(parts, from_, a_row, a_column, rows, depth, True, a_panels, a_ranges, mine, alpha)
                for v in range(0, columns, EDGE):
                    wide = min(EDGE, columns - v)
                    for u in range(0, rows, EDGE):
                        tall = min(EDGE, rows - u)
                        to = c + (i + u) * c_row + (j + v) * 4
                        was = before + (i + u) * before_row + (j + v) * 4
                        a_panel, b_panel = a_panels + u // EDGE * PANEL, b_panels + v // EDGE * PANEL
                        if not in_range(a_ranges + u // EDGE * 16, b_ranges + v // EDGE * 16):
                            multiply_vectors(
                                from_ + u * a_row, a_row, a_column, block + v * b_column, b_row, b_column, to, c_row,
                                was, before_row, tall, wide, depth, alpha, keep, parts, work,
                            )  # fmt: skip
                            continue
                        if tall == EDGE and wide == EDGE and alpha == 1 and keep == 0:
                            multiply_parts(parts, a_panel, EDGE * 2, PART, parts * PART, b_panel, to, c_row, steps)
                            continue
                        multiply_parts(parts, a_panel, EDGE * 2, PART, parts * PART, b_panel, sums, EDGE * 4, steps)
                        for r in range(tall):
                            line, sum_, old_line = to + r * c_row, sums + r * EDGE * 4, was + r * before_row
                            if keep == 0:
                                row_scaled((sum_, line, wide), (alpha,), alpha)
                            else:
                                scale_row_onto((sum_, old_line, line, wide), (alpha, keep), alpha)
    release()
