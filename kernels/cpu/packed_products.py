"""Products with operands that are packed once and multiplied many times: of attention and of the recurrent scans.

The keys and values of a head meet many blocks of queries, the recurrent weight every step. ``pack_operand`` packs one,
``product`` multiplies blocks of attention by whole tiles, ``multiply_packed`` a state by a weight that ``pack_weight``
packed. By vectors, the only way where there is no AMX, packed is what ``panels.py`` calls so; with AMX, float32 is
split in bfloat16 (``split_operands.py``), under the same names and arguments.
"""

from __future__ import annotations

from tinygrad_notes.kernels.cpu.compile import kernel
from tinygrad_notes.kernels.cpu.isa.machine import MACHINE
from tinygrad_notes.kernels.cpu.isa.memory import get_int64
from tinygrad_notes.kernels.cpu.isa.rows import row
from tinygrad_notes.kernels.cpu.isa.tile import ROWS, VECTORS, multiply_tile_onto, tile_columns
from tinygrad_notes.kernels.cpu.isa.vector import itemsize, one, variable
from tinygrad_notes.kernels.cpu.panels import (
    A_BYTES,
    BLOCK_ROWS,
    COLUMNS,
    DEPTH,
    END,
    PACKED,
    START,
    TILE_BYTES,
    multiply_block,
    pack,
)

FAR = 1 << 40  # beyond any sequence
BLOCK = 192  # of attention, of queries and of keys: a multiple of the rows and of the columns of every tile


def _times_zero(v, x, s):
    return [], [v.builder.fmul(x[0], v.constant(0.0))]


row_times_zero = row(1, 0, 0, _times_zero, ("sum",))  # NaN if an element is not finite


# ---------------------------------------------------------------------- by vectors


def up(count: int) -> int:
    """``count`` columns, filled up to whole tiles of any width."""
    return -(-count // 64) * 64


def left_elements(rows: int, depth: int, itemsize: int) -> int:
    """Room for the first operand of ``product``."""
    if MACHINE.isa == "amx" and itemsize == 4:
        return -(-operand_bytes(rows, depth, BLOCK, left=True) // 4)
    return -(-rows // BLOCK) * BLOCK * depth


def right_elements(columns: int, depth: int, itemsize: int) -> int:
    """Room for the second operand of ``product``."""
    if MACHINE.isa == "amx" and itemsize == 4:
        return -(-operand_bytes(columns, depth, BLOCK) // 4)
    return up(columns) * depth


def weight_bytes(columns: int, depth: int, itemsize: int) -> int:
    """Room for the second operand of ``multiply_packed``."""
    if MACHINE.isa == "amx" and itemsize == 4:
        return operand_bytes(columns, depth, SPLIT_DEPTH)
    width = VECTORS * MACHINE.lanes(itemsize)
    return -(-columns // width) * width * depth * itemsize


@kernel
def sides_vectors(parts, like):
    """How the first and the second operand of ``product`` are packed, for ``pack_operand``: lines of a panel."""
    return variable(ROWS), tile_columns(like)


@kernel
def is_finite_vectors(x, count, like):
    """Whether all of ``count`` packed elements are finite."""
    total = row_times_zero((x, count), (), like)
    return total == total


@kernel
def product_vectors(
    a, a_row, a_column, rows, b, first, columns, start, total, depth, c, c_row, alpha, beta, reach, trim, work
):  # fmt: skip
    """C = alpha A B + beta C by whole tiles: A, B and C have room for them, and what stands there is of no account.

    A (rows, depth) is packed, ``a_row`` PACKED, or a block as it stands, or its transpose, with elements ``a_row`` and
    ``a_column`` bytes apart. B is packed, ``total`` deep, of which this takes ``columns`` columns from ``first`` and
    ``depth`` rows from ``start``, multiples of BLOCK.
    Query i of a block attends to its keys j with j + ``reach`` <= i. A product of such a triangle need not do all:
    COLUMNS (of scores, queries by keys) leaves out tiles that no query sees; END (probabilities by values) ends its
    sums at the last key that a tile's queries see; START (transposed probabilities) begins at the first query.
    """
    size, width = itemsize(alpha), tile_columns(alpha)
    a_panel = ROWS * a_row
    if a_row == PACKED:
        a_panel, a_row, a_column = ROWS * depth * size, size, ROWS * size
    b_row, b_panel = width * size, width * total * size
    b += first * total * size + start * b_row
    for j in range(0, columns, width):
        for i in range(0, rows, ROWS):
            low, high = 0, depth
            if trim == COLUMNS and j + reach > i + ROWS - 1:
                continue
            if trim == END:
                high = min(depth, i + ROWS - reach)
            elif trim == START:
                low = max(0, i + reach)
            if low < high:
                to = c + i * c_row + j * size
                multiply_tile_onto(
                    high - low, a + i // ROWS * a_panel + low * a_column, a_row, a_column,
                    b + j // width * b_panel + low * b_row, b_row, to, c_row, to, c_row, alpha, beta,
                )  # fmt: skip


@kernel
def pack_weight_vectors(source, stride, depth_stride, columns, depth, target, parts, like):
    """The second operand of ``multiply_packed``: ``columns`` lines ``stride`` bytes apart, in blocks of DEPTH."""
    width = tile_columns(like)
    padded = (columns + width - 1) // width * width
    for p in range(0, depth, DEPTH):
        place = target + p * padded * itemsize(like)
        pack(source + p * depth_stride, stride, depth_stride, columns, min(DEPTH, depth - p), width, place, like)


@kernel
def multiply_packed_vectors(a, a_row, rows, weight, columns, depth, c, c_row, beta, work):
    """C (rows, columns) = A weight + beta C, where ``weight`` is what ``pack_weight`` made of it.

    ``work``: PRODUCT_BYTES of this thread's own.
    """
    size, width = itemsize(beta), tile_columns(beta)
    padded = (columns + width - 1) // width * width
    for p in range(0, depth, DEPTH):
        here = min(DEPTH, depth - p)
        keep = beta if p == 0 else one(beta)
        for i in range(0, rows, BLOCK_ROWS):
            tall = min(BLOCK_ROWS, rows - i)
            pack(a + i * a_row + p * size, a_row, size, tall, here, variable(ROWS), work, beta)
            multiply_block(
                work, weight + p * padded * size, width * size, width * here * size, c + i * c_row, c_row, tall,
                columns, here, one(beta), keep, work + A_BYTES,
            )  # fmt: skip


# ---------------------------------------------------------------------- what this machine does

if MACHINE.isa == "amx":
    from tinygrad_notes.kernels.cpu.split_operands import (
        GREATEST_AT,
        SPLIT_WORK_BYTES,
        multiply_operands,
        operand_bytes,
        split_left,
        split_right,
    )
    from tinygrad_notes.kernels.cpu.splitting import SPLIT_DEPTH

    WORK_BYTES = SPLIT_WORK_BYTES  # scratch of a thread for product
    PRODUCT_BYTES = SPLIT_WORK_BYTES  # and for multiply_packed

    @kernel
    def sides(parts, like):
        """As ``sides_vectors``; of float32 the number of parts, negative for the second operand."""
        if itemsize(like) == 4:
            return parts, -parts
        return sides_vectors(parts, like)

    @kernel
    def pack_operand(source, stride, depth_stride, lines, depth, side, target, like):
        """As ``pack`` of ``panels.py``, float32 split."""
        if itemsize(like) != 4:
            pack(source, stride, depth_stride, lines, depth, side, target, like)
        elif side > 0:
            split_left(source, stride, depth_stride, lines, depth, variable(BLOCK), target, side, like)
        else:
            split_right(source, stride, depth_stride, lines, depth, variable(BLOCK), target, -side, like)

    @kernel
    def is_finite(x, count, like):
        """Whether all elements of a packed operand are finite; ``count`` is for vectors."""
        if itemsize(like) == 4:
            return get_int64(x + GREATEST_AT) < 255
        return is_finite_vectors(x, count, like)

    @kernel
    def product(
        a, a_row, a_column, rows, b, first, columns, start, total, depth, c, c_row, alpha, beta, reach, trim, work
    ):  # fmt: skip
        """As ``product_vectors``, float32 by AMX. ``work``: WORK_BYTES of this thread's own."""
        if itemsize(alpha) == 4:
            multiply_operands(
                a, a_row, a_column, rows, b, first, columns, start, total, depth, c, c_row, alpha, beta, reach, trim,
                work,
            )  # fmt: skip
        else:
            product_vectors(
                a, a_row, a_column, rows, b, first, columns, start, total, depth, c, c_row, alpha, beta, reach, trim,
                work,
            )  # fmt: skip

    @kernel
    def pack_weight(source, stride, depth_stride, columns, depth, target, parts, like):
        """As ``pack_weight_vectors``, float32 split."""
        if itemsize(like) == 4:
            split_right(source, stride, depth_stride, columns, depth, variable(SPLIT_DEPTH), target, parts, like)
        else:
            pack_weight_vectors(source, stride, depth_stride, columns, depth, target, parts, like)

    @kernel
    def multiply_packed(a, a_row, rows, weight, columns, depth, c, c_row, beta, work):
        """As ``multiply_packed_vectors``, float32 by AMX."""
        if itemsize(beta) == 4:
            multiply_operands(
                a, a_row, variable(4), rows, weight, variable(0), columns, variable(0), depth, depth, c, c_row,
                one(beta), beta, variable(-FAR), variable(COLUMNS), work,
            )  # fmt: skip
        else:
            multiply_packed_vectors(a, a_row, rows, weight, columns, depth, c, c_row, beta, work)

else:
    WORK_BYTES, PRODUCT_BYTES = 0, A_BYTES + TILE_BYTES
    sides, pack_operand, is_finite, product = sides_vectors, pack, is_finite_vectors, product_vectors
    pack_weight, multiply_packed = pack_weight_vectors, multiply_packed_vectors
