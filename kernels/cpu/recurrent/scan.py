"""What the recurrent scans share: the product with a packed weight, and which steps are valid.

A thread takes a share of the sequences through all steps. Sequences do not need each other, so no thread waits for
another inside the loop over time. The recurrent weight is packed once; a share's state, packed in every step, is small.

In the kernels all arrays are contiguous, with shapes as in ``kernels/README.md``. Those named ``h``, ``c``, ``g_h`` and
``g_c`` are running states (N, H), changed in place only in the steps in which a sequence is valid, ``t < lengths[i]``;
whatever else such a step would write is 0.
"""

from __future__ import annotations

from tinygrad_notes.kernels.cpu.compile import kernel
from tinygrad_notes.kernels.cpu.isa.memory import copy_bytes, get_int64
from tinygrad_notes.kernels.cpu.isa.tile import tile_columns, tile_rows
from tinygrad_notes.kernels.cpu.isa.vector import itemsize, one
from tinygrad_notes.kernels.cpu.panels import A_BYTES, BLOCK_ROWS, DEPTH, TILE_BYTES, multiply_block, pack

PRODUCT_BYTES = A_BYTES + TILE_BYTES  # scratch of multiply_packed


@kernel
def pack_weight(source, stride, depth_stride, count, depth, target, like):
    """The second operand of a product: ``count`` columns ``stride`` bytes apart, in blocks of DEPTH."""
    width = tile_columns(like)
    padded = (count + width - 1) // width * width
    for p in range(0, depth, DEPTH):
        place = target + p * padded * itemsize(like)
        pack(source + p * depth_stride, stride, depth_stride, count, min(DEPTH, depth - p), width, place, like)


@kernel
def multiply_packed(a, a_row, rows, weight, columns, depth, c, c_row, beta, work):
    """C (rows, columns) = A weight + beta C, where ``weight`` is what :func:`pack_weight` made of it.

    ``work``: A_BYTES and TILE_BYTES of this thread's own.
    """
    size, width = itemsize(beta), tile_columns(beta)
    padded = (columns + width - 1) // width * width
    for p in range(0, depth, DEPTH):
        here = min(DEPTH, depth - p)
        keep = beta if p == 0 else one(beta)
        for i in range(0, rows, BLOCK_ROWS):
            tall = min(BLOCK_ROWS, rows - i)
            pack(a + i * a_row + p * size, a_row, size, tall, here, tile_rows(beta), work, beta)
            multiply_block(
                work, weight + p * padded * size, width * size, width * here * size, c + i * c_row, c_row, tall,
                columns, here, one(beta), keep, work + A_BYTES,
            )  # fmt: skip


@kernel
def valid(lengths, sequence, t):
    """Whether step t belongs to the sequence."""
    return t < get_int64(lengths + sequence * 8)


@kernel
def previous_place(states, initial, lengths, sequence, t, reverse, step_bytes, row_bytes):
    """The address of the state that step t of a sequence started from: a step before, or the initial one."""
    if reverse:
        if t == get_int64(lengths + sequence * 8) - 1:
            return initial + sequence * row_bytes
        return states + (t + 1) * step_bytes + sequence * row_bytes
    if t == 0:
        return initial + sequence * row_bytes
    return states + (t - 1) * step_bytes + sequence * row_bytes


@kernel
def take_valid(source, target, lengths, t, start, end, row_bytes):
    """Rows of ``source``, a share's own, become the states of the sequences that are valid at step t."""
    for i in range(start, end):
        if valid(lengths, i, t):
            copy_bytes(target + i * row_bytes, source + (i - start) * row_bytes, row_bytes)
