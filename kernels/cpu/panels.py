"""Products of matrices by vectors: C = alpha A B + beta C, on packed panels and register tiles.

A tile reads its rows of A and columns of B in the order in which it needs them, so both are first copied into panels:
A into panels of ROWS rows, (depth, ROWS) each, B into panels of as many columns as a tile has. Blocks are cut so that a
panel of B stays in the first cache, a block of A in the second, and a block of B in the third. A product of few rows
uses each element of B only a few times, so there B is read where it stands; one of few columns reads A so.
"""

from __future__ import annotations

from tinygrad_notes.kernels.cpu.compile import kernel
from tinygrad_notes.kernels.cpu.isa.tile import ROWS, copy_column, copy_row, multiply_tile_onto, tile_columns
from tinygrad_notes.kernels.cpu.isa.transpose import transpose_columns, transpose_rows
from tinygrad_notes.kernels.cpu.isa.vector import get, itemsize, lanes, one, put, variable, zero

DEPTH = 256  # of a block
BLOCK_ROWS, BLOCK_COLUMNS = 120, 2048  # multiples of what a tile has
FEW_ROWS = 96  # fewer rows do not repay a copy of B
FEW_COLUMNS = 128  # fewer columns do not repay a copy of A
A_BYTES = BLOCK_ROWS * DEPTH * 8
B_BYTES = (BLOCK_COLUMNS + 64) * DEPTH * 8
TILE_BYTES = 12 * 64 * 8
VECTOR_BYTES = A_BYTES + B_BYTES + TILE_BYTES  # scratch of one thread
COLUMNS, END, START = 0, 1, 2  # what a product may leave out: see ``packed_products.py``
PACKED = 0  # in place of a's strides: it is packed already


@kernel
def pack(source, stride, depth_stride, count, depth, width, target, like):
    """Panels of ``width`` lines (rows of A or columns of B) of ``depth`` elements, (depth, width) each, missing ones 0.

    Lines are ``stride`` bytes apart, elements of a line ``depth_stride``. Of the two widths of a tile, either order in
    memory goes by vectors: lines side by side are copied, elements of a line side by side are transposed.
    """
    size, square = itemsize(like), lanes(like)
    for first in range(0, count, width):
        panel, line = target + first * depth * size, source + first * stride
        there = min(width, count - first)
        done = 0
        if there == width and stride == size:
            if width == tile_columns(like):
                for p in range(depth):
                    copy_row(panel + p * width * size, line + p * depth_stride, like)
                done = depth
            elif width == ROWS:
                for p in range(depth):
                    copy_column(panel + p * width * size, line + p * depth_stride, like)
                done = depth
        elif there == width and depth_stride == size:
            if width == tile_columns(like):
                for p in range(0, depth - square + 1, square):
                    transpose_columns(panel + p * width * size, line + p * size, stride, like)
                done = depth // square * square
            elif width == ROWS:
                for p in range(0, depth - square + 1, square):
                    transpose_rows(panel + p * width * size, line + p * size, stride, like)
                done = depth // square * square
        for p in range(done, depth):
            for i in range(there):
                put(panel + (p * width + i) * size, get(line + i * stride + p * depth_stride, like))
            for i in range(there, width):
                put(panel + (p * width + i) * size, zero(like))


@kernel
def multiply_block_onto(
    a, a_row, a_column, a_panel, b, b_stride, b_panel, c, c_stride, old, old_stride, rows, columns, depth, alpha, beta,
    tile,
):  # fmt: skip
    """C = alpha A B + beta old, for one block. Panels of A and B lie ``a_panel`` and ``b_panel`` bytes apart.

    All ROWS rows of every panel of A can be read. ``tile``: room for the tiles at the edges of C.
    """
    size, width = itemsize(alpha), tile_columns(alpha)
    for j in range(0, columns, width):
        panel, wide = b + j // width * b_panel, min(width, columns - j)
        for i in range(0, rows, ROWS):
            to, before, tall = c + i * c_stride + j * size, old + i * old_stride + j * size, min(ROWS, rows - i)
            edge = tall < ROWS or wide < width
            multiply_tile_onto(
                depth, a + i // ROWS * a_panel, a_row, a_column, panel, b_stride, tile if edge else to,
                width * size if edge else c_stride, before, old_stride, alpha, zero(alpha) if edge else beta,
            )  # fmt: skip
            if edge:
                for r in range(tall):
                    for s in range(wide):
                        value = get(tile + (r * width + s) * size, alpha)
                        if beta != 0:
                            value += beta * get(before + r * old_stride + s * size, alpha)
                        put(to + r * c_stride + s * size, value)


@kernel
def multiply_block(a, b, b_stride, b_panel, c, c_stride, rows, columns, depth, alpha, beta, tile):
    """One packed block of A by one block of B, whose panels are ``b_panel`` bytes apart. ``tile``: room for an edge."""
    size = itemsize(alpha)
    multiply_block_onto(
        a, size, ROWS * size, ROWS * depth * size, b, b_stride, b_panel, c, c_stride, c, c_stride, rows, columns, depth,
        alpha, beta, tile,
    )  # fmt: skip


@kernel
def multiply_vectors(
    a, a_row, a_column, b, b_row, b_column, c, c_row, old, old_row, m, n, k, alpha, beta, parts, work
):  # fmt: skip
    """C (m, n) = alpha A (m, k) B (k, n) + beta old, by one thread with VECTOR_BYTES of scratch at ``work``.

    ``a_row``, ``a_column`` and so on are strides in bytes; a row of C is contiguous, and one of ``old``, which may be C
    or, with ``old_row`` 0, a bias. ``parts`` is there because ``multiply_split`` has it; here nothing is split.
    """
    size, width = itemsize(alpha), tile_columns(alpha)
    a_pack, b_pack, tile = work, work + A_BYTES, work + A_BYTES + B_BYTES
    in_place = m <= FEW_ROWS and b_column == size
    a_in_place = n <= FEW_COLUMNS and a_column == size
    if k == 0:  # a sum of nothing
        for i in range(m):
            for j in range(n):
                value = beta * get(old + i * old_row + j * size, alpha) if beta != 0 else zero(alpha)
                put(c + i * c_row + j * size, value)
    for j in range(0, n, BLOCK_COLUMNS):
        columns = min(BLOCK_COLUMNS, n - j)
        whole = columns // width * width if in_place else 0
        for p in range(0, k, DEPTH):
            depth = min(DEPTH, k - p)
            keep, before, before_row = (beta, old, old_row) if p == 0 else (one(alpha), c, c_row)
            block = b + p * b_row + j * b_column
            pack(block + whole * b_column, b_column, b_row, columns - whole, depth, width, b_pack, alpha)
            for i in range(0, m, BLOCK_ROWS):
                rows = min(BLOCK_ROWS, m - i)
                # whole panels of A, where they stand or packed, then the rest, which is always packed
                high = rows // ROWS * ROWS if a_in_place else 0
                from_ = a + i * a_row + p * a_column
                pack(from_ + high * a_row, a_row, a_column, rows - high, depth, variable(ROWS), a_pack, alpha)
                for part in range(4):  # A where it stands, or packed, by B where it stands, or packed
                    if part < 2:
                        first, tall, at, down, across, panel = 0, high, from_, a_row, a_column, ROWS * a_row
                    else:
                        first, tall, at = high, rows - high, a_pack
                        down, across, panel = size, ROWS * size, ROWS * depth * size
                    if part % 2 == 0:
                        left, wide, columns_of, b_down, b_panel = 0, whole, block, b_row, width * size
                    else:
                        left, wide, columns_of = whole, columns - whole, b_pack
                        b_down, b_panel = width * size, width * depth * size
                    corner = j * size + left * size
                    if tall and wide:
                        multiply_block_onto(
                            at, down, across, panel, columns_of, b_down, b_panel, c + (i + first) * c_row + corner,
                            c_row, before + (i + first) * before_row + corner, before_row, tall, wide, depth, alpha,
                            keep, tile,
                        )  # fmt: skip
