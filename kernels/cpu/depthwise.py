"""Direct convolution, for groups of few outputs: depthwise layers, gradients of the first layer's input.

A tile of a matrix product has several rows because each loaded pixel should serve several outputs. Where a group has
one output, nothing is shared, and its rows would be empty. Here pixels that lie next to each other fill the vectors
instead, and a tap is one load and one multiply-add for each. The image has room around it, as in ``implicit.py``.
"""

from __future__ import annotations

from tinygrad_notes.kernels.cpu.compile import kernel, parallel_kernel
from tinygrad_notes.kernels.cpu.implicit import (
    COLUMN_PHASE,
    DEPTH,
    PHASE_COLUMNS,
    PHASE_ROWS,
    ROW_PHASE,
    TAPS,
    copy_rows,
)
from tinygrad_notes.kernels.cpu.isa.filter import WIDE, filter_lanes, filter_wide
from tinygrad_notes.kernels.cpu.isa.runs import copy_bytes
from tinygrad_notes.kernels.cpu.isa.tile import lanes
from tinygrad_notes.kernels.cpu.isa.vector import get, itemsize, put, zero


@kernel
def filter_row(depth, source, taps, weights, bias, line, count):
    """``count`` pixels of one row, written to ``line``, which has room for one vector."""
    size, few = itemsize(bias), lanes(bias)
    many = WIDE * few
    if count < few:
        filter_lanes(depth, source, taps, weights, bias, line)
        return
    done = 0
    while done < count:
        if count >= many:
            done = min(done, count - many)  # the last vectors overlap those before
            filter_wide(depth, source + done * size, taps, weights, bias, line + done * size)
            done += many
        else:
            done = min(done, count - few)
            filter_lanes(depth, source + done * size, taps, weights, bias, line + done * size)
            done += few


@kernel
def filter_images(job, x, weight, bias, y, phases, taps, weight_taps, layout, work, like):
    """One job: rows of one image, of one group."""
    size = itemsize(like)
    row_blocks = (layout.rows + layout.block_rows - 1) // layout.block_rows
    group = job % layout.groups
    block = job // layout.groups
    first, image = block % row_blocks * layout.block_rows, block // row_blocks
    channels, area = layout.channels, layout.height * layout.width
    mine = x + (image * layout.groups + group) * channels * area * size
    tall = (min(layout.rows - first, layout.block_rows) - 1) * layout.row_step + layout.reach
    weights = work + (layout.out_width + 16) * size
    copy = weights + layout.depth_block * size
    for c in range(channels):
        copy_rows(
            mine + c * area * size, tall, layout.first_row + first * layout.row_step, layout,
            copy + c * layout.plane * size, like,
        )  # fmt: skip
    spread = layout.column_spread
    for f in range(len(phases)):
        phase = phases[f]
        here, depth, count = phase[TAPS], phase[DEPTH], phase[PHASE_COLUMNS]
        for o in range(layout.outputs):
            kernel_row = weight + (group * layout.weight_group + o * layout.weight_row) * size
            for p in range(depth):
                put(weights + p * size, get(kernel_row + weight_taps[here + p] * size, like))
            channel = group * layout.outputs + o
            start = get(bias + channel * size, like) if bias else zero(like)
            plane = y + (image * layout.groups * layout.outputs + channel) * layout.out_height * layout.out_width * size
            for row in range(first, min(first + layout.block_rows, phase[PHASE_ROWS])):
                source = copy + (row - first) * layout.row_step * layout.column_step * layout.pitch * size
                to = plane + (row * layout.row_spread + phase[ROW_PHASE]) * layout.out_width * size
                to += phase[COLUMN_PHASE] * size
                straight = spread == 1 and count >= lanes(like)
                line = to if straight else work
                filter_row(depth, source, taps.ctypes.data + here * 8, weights, start, line, count)
                if spread > 1:
                    for u in range(count):
                        put(to + u * spread * size, get(work + u * size, like))
                elif not straight:
                    copy_bytes(to, work, count * size)


@parallel_kernel
def filter_all(x, weight, bias, y, phases, taps, weight_taps, layout, work, like, thread, threads):
    """A thread takes a share of the jobs in order."""
    jobs = layout.images * ((layout.rows + layout.block_rows - 1) // layout.block_rows) * layout.groups
    for job in range(thread * jobs // threads, (thread + 1) * jobs // threads):
        filter_images(
            job, x, weight, bias, y, phases, taps, weight_taps, layout,
            work + thread * layout.scratch * itemsize(like), like,
        )  # fmt: skip
