"""Products of float32 matrices by AMX: each number split exactly in three bfloat16, six products, sums in float32.

x = hi + mid + lo, each the next 8 of its 24 digits, cut off. Of the nine products of a and b the three least, mid lo,
lo mid and lo lo, are below 2^-24 |a b| and left out: what is left is as near as float32 can say it.

Parts and products must be normal numbers, which AMX needs: it takes denormals for 0. So the range of exponents of each
panel is kept, and where two panels could leave it (numbers near 0 or near overflow, inf, NaN) their tile is multiplied
by vectors. Whether it is does not depend on how the work is cut: panels are the same for every number of threads.
"""

from __future__ import annotations

from tinygrad_notes.kernels.cpu.compile import kernel
from tinygrad_notes.kernels.cpu.isa.amx import (
    EDGE,
    PART,
    PARTS,
    clear_range,
    configure,
    exponent,
    get_integer,
    multiply_parts,
    put_integer,
    release,
    split_pair,
    split_row,
)  # fmt: skip
from tinygrad_notes.kernels.cpu.isa.tile import lanes, transpose_edge
from tinygrad_notes.kernels.cpu.isa.vector import get, one, put, zero
from tinygrad_notes.kernels.cpu.panels import VECTOR_BYTES, multiply_vectors

SPLIT_DEPTH, SPLIT_ROWS, SPLIT_COLUMNS = 512, 128, 1024  # of a block, whose parts stay in the second cache
PANEL = SPLIT_DEPTH // EDGE * PARTS * PART  # bytes of a panel, EDGE lines
PANELS = (SPLIT_ROWS + SPLIT_COLUMNS) // EDGE
CONFIG, RANGE, SQUARE = 0, 64, 64 + 128  # where things lie in the scratch of a thread
SUMS = SQUARE + EDGE * EDGE * 4
RANGES = SUMS + EDGE * EDGE * 4  # of each panel, the least and the greatest exponent
A_PANELS = RANGES + -(-PANELS * 16 // 64) * 64
B_PANELS = A_PANELS + SPLIT_ROWS // EDGE * PANEL
SPLIT_BYTES = B_PANELS + SPLIT_COLUMNS // EDGE * PANEL

# Exponents as float32 keeps them, 127 more. The last digit of x is 2^-23 of its first; parts and products of parts stay
# normal when the first stay 23 above the least. The greatest sum of SPLIT_DEPTH products stays finite.
LEAST, LEAST_SUM, GREATEST_SUM = 1 + 24, 127 + 1 + 24, 2 * 127 + 127 - 12


@kernel
def split_panels(source, stride, depth_stride, count, depth, by_rows, target, ranges, work, like):
    """Panels of EDGE lines, split: rows of A when ``by_rows``, else columns of B, pairs of depth side by side.

    Lines are ``stride`` bytes apart, elements of a line ``depth_stride``. Missing ones are 0.
    """
    square, range_ = work + SQUARE, work + RANGE
    across = stride if by_rows else depth_stride  # between rows of the square that the splitting reads
    along = depth_stride if by_rows else stride
    for first in range(0, count, EDGE):
        panel = first // EDGE
        clear_range(range_)
        for p in range(0, depth, EDGE):
            from_, to = source + first * stride + p * depth_stride, target + panel * PANEL + p // EDGE * PARTS * PART
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
                    split_row(from_ + i * step, to + i * 64, range_)
            else:
                for i in range(0, EDGE, 2):
                    split_pair(from_ + i * step, step, to + i // 2 * 64, range_)
        least, greatest = 255, 0
        for i in range(16):
            least, greatest = min(least, exponent(range_ + i * 4)), max(greatest, exponent(range_ + 64 + i * 4))
        put_integer(ranges + panel * 16, least)
        put_integer(ranges + panel * 16 + 8, greatest)


@kernel
def in_range(a_range, b_range):
    """Whether all parts and products of two panels are numbers that AMX has. A panel of zeros fits all but inf."""
    a_least, a_greatest = get_integer(a_range), get_integer(a_range + 8)
    b_least, b_greatest = get_integer(b_range), get_integer(b_range + 8)
    if a_least < LEAST or b_least < LEAST or a_greatest == 255 or b_greatest == 255:
        return False
    return a_least + b_least >= LEAST_SUM and a_greatest + b_greatest <= GREATEST_SUM


@kernel
def multiply_split(
    a, a_row, a_column, b, b_row, b_column, c, c_row, old, old_row, m, n, k, alpha, beta, work
):  # fmt: skip
    """The same as ``multiply_vectors``, for float32 and k > 0, with SPLIT_BYTES more of scratch."""
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
            split_panels(block, b_column, b_row, columns, depth, False, b_panels, b_ranges, mine, alpha)
            for i in range(0, m, SPLIT_ROWS):
                rows, from_ = min(SPLIT_ROWS, m - i), a + i * a_row + p * a_column
                split_panels(from_, a_row, a_column, rows, depth, True, a_panels, a_ranges, mine, alpha)
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
                                was, before_row, tall, wide, depth, alpha, keep, work,
                            )  # fmt: skip
                            continue
                        again = was == to and before_row == c_row and keep == 1
                        if tall == EDGE and wide == EDGE and alpha == 1 and (again or keep == 0):
                            multiply_parts(a_panel, b_panel, to, c_row, steps, 1 if again else 0)
                            continue
                        multiply_parts(a_panel, b_panel, sums, EDGE * 4, steps, 0)
                        for r in range(tall):
                            for s in range(wide):
                                value = alpha * get(sums + (r * EDGE + s) * 4, alpha)
                                if keep != 0:
                                    value += keep * get(was + r * before_row + s * 4, alpha)
                                put(to + r * c_row + s * 4, value)
    release()
