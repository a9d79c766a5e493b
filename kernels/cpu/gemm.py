"""Products of matrices, C = alpha A B + beta C, on packed panels and register tiles.

A tile reads its rows of A and columns of B in the order in which it needs them, so both are first copied into panels:
A into panels of ROWS rows, (depth, ROWS) each, B into panels of as many columns as a tile has. Blocks are cut so that a
panel of B stays in the first cache, a block of A in the second, and a block of B in the third. A product of few rows
uses each element of B only a few times, so there B is read where it stands.
"""

from __future__ import annotations

from numba import prange

from tinygrad_notes.kernels.cpu.compile import kernel, parallel_kernel
from tinygrad_notes.kernels.cpu.isa.tile import ROWS, copy_row, multiply_tile, tile_columns
from tinygrad_notes.kernels.cpu.isa.vector import get, itemsize, one, put, zero

DEPTH = 256  # of a block
BLOCK_ROWS, BLOCK_COLUMNS = 120, 2048  # multiples of what a tile has
FEW_ROWS = 96  # fewer rows do not repay a copy of B
A_BYTES = BLOCK_ROWS * DEPTH * 8
B_BYTES = (BLOCK_COLUMNS + 64) * DEPTH * 8
TILE_BYTES = 12 * 64 * 8
WORK_BYTES = A_BYTES + B_BYTES + TILE_BYTES  # scratch of one thread


@kernel
def pack(source, stride, depth_stride, count, depth, width, target, like):
    """Panels of ``width`` lines (rows of A or columns of B) of ``depth`` elements, (depth, width) each, missing ones 0.

    Lines are ``stride`` bytes apart, elements of a line ``depth_stride``.
    """
    size = itemsize(like)
    for first in range(0, count, width):
        panel, line = target + first * depth * size, source + first * stride
        there = min(width, count - first)
        if stride == size and there == width and width == tile_columns(like):
            for p in range(depth):
                copy_row(panel + p * width * size, line + p * depth_stride, like)
        else:
            for i in range(there):
                for p in range(depth):
                    put(panel + (p * width + i) * size, get(line + i * stride + p * depth_stride, like))
            for i in range(there, width):
                for p in range(depth):
                    put(panel + (p * width + i) * size, zero(like))


@kernel
def multiply_block(a, b, b_stride, b_panel, c, c_stride, rows, columns, depth, alpha, beta, tile):
    """One packed block of A by one block of B, whose panels are ``b_panel`` bytes apart. ``tile``: room for an edge."""
    size, width = itemsize(alpha), tile_columns(alpha)
    for j in range(0, columns, width):
        panel, wide = b + j // width * b_panel, min(width, columns - j)
        for i in range(0, rows, ROWS):
            from_, to, tall = a + i * depth * size, c + i * c_stride + j * size, min(ROWS, rows - i)
            if tall == ROWS and wide == width:
                multiply_tile(depth, from_, panel, b_stride, to, c_stride, alpha, beta)
                continue
            multiply_tile(depth, from_, panel, b_stride, tile, width * size, alpha, zero(alpha))
            for r in range(tall):
                for s in range(wide):
                    place, value = to + r * c_stride + s * size, get(tile + (r * width + s) * size, alpha)
                    put(place, value + beta * get(place, alpha) if beta != 0 else value)


@kernel
def multiply(a, a_row, a_column, b, b_row, b_column, c, c_row, m, n, k, alpha, beta, work):
    """C (m, n) = alpha A (m, k) B (k, n) + beta C, by one thread with WORK_BYTES of scratch at ``work``.

    ``a_row``, ``a_column`` and so on are strides in bytes; a row of C is contiguous.
    """
    size, width = itemsize(alpha), tile_columns(alpha)
    a_pack, b_pack, tile = work, work + A_BYTES, work + A_BYTES + B_BYTES
    in_place = m <= FEW_ROWS and b_column == size
    if k == 0:  # a sum of nothing
        for i in range(m):
            for j in range(n):
                place = c + i * c_row + j * size
                put(place, beta * get(place, alpha) if beta != 0 else zero(alpha))
    for j in range(0, n, BLOCK_COLUMNS):
        columns = min(BLOCK_COLUMNS, n - j)
        whole = columns // width * width if in_place else 0
        for p in range(0, k, DEPTH):
            depth, keep = min(DEPTH, k - p), beta if p == 0 else one(alpha)
            block = b + p * b_row + j * b_column
            pack(block + whole * b_column, b_column, b_row, columns - whole, depth, width, b_pack, alpha)
            for i in range(0, m, BLOCK_ROWS):
                rows, to = min(BLOCK_ROWS, m - i), c + i * c_row + j * size
                pack(a + i * a_row + p * a_column, a_row, a_column, rows, depth, ROWS, a_pack, alpha)
                if whole:
                    multiply_block(a_pack, block, b_row, width * size, to, c_row, rows, whole, depth, alpha, keep, tile)
                multiply_block(
                    a_pack, b_pack, width * size, width * depth * size, to + whole * size, c_row, rows, columns - whole,
                    depth, alpha, keep, tile,
                )  # fmt: skip


@parallel_kernel
def multiply_all(jobs, a_row, a_column, b_row, b_column, c_row, k, alpha, beta, work, threads):
    """Independent products, one for each row (a, b, c, m, n) of ``jobs``; a thread takes a share of them in order."""
    for thread in prange(threads):
        mine = work + thread * WORK_BYTES
        for job in range(thread * len(jobs) // threads, (thread + 1) * len(jobs) // threads):
            multiply(
                jobs[job, 0], a_row, a_column, jobs[job, 1], b_row, b_column, jobs[job, 2], c_row, jobs[job, 3],
                jobs[job, 4], k, alpha, beta, mine,
            )  # fmt: skip
