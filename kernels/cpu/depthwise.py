"""Direct convolution, for groups of few outputs: depthwise layers, gradients of the first layer's input.

A tile of a matrix product has several rows because each loaded pixel should serve several outputs. Where a group has
one output, nothing is shared, and its rows would be empty. Here pixels that lie next to each other fill the vectors
instead, and a tap is one load and one multiply-add for each. The image has room around it, as in ``implicit.py``.
"""

from __future__ import annotations

from tinygrad_notes.kernels.cpu.compile import kernel, parallel_kernel
from tinygrad_notes.kernels.cpu.convolution_table import (
    BLOCK_ROWS,
    CHANNELS,
    COLUMN_SPREAD,
    COLUMN_STEP,
    DEPTH,
    DEPTH_BLOCK,
    FIRST_COLUMN,
    FIRST_ROW,
    GROUPS,
    HEIGHT,
    JOBS,
    OUT_HEIGHT,
    OUT_WIDTH,
    OUTPUT_ROWS,
    OUTPUTS,
    PHASE_BYTES,
    PHASE_COLUMN,
    PHASE_COLUMNS,
    PHASE_ROW,
    PHASE_ROWS,
    PHASE_TABLE,
    PHASES,
    PITCH,
    PLANE,
    REACH,
    ROW_BLOCKS,
    ROW_SPREAD,
    ROW_STEP,
    SCRATCH,
    TAPS,
    WEIGHT_GROUP,
    WEIGHT_ROW,
    WEIGHT_TAPS,
    WIDTH,
)
from tinygrad_notes.kernels.cpu.isa.filter import WIDE, filter_lanes, filter_wide
from tinygrad_notes.kernels.cpu.isa.memory import copy_bytes, get_int64
from tinygrad_notes.kernels.cpu.isa.tile import tile_columns
from tinygrad_notes.kernels.cpu.isa.vector import get, itemsize, lanes, put, zero
from tinygrad_notes.kernels.cpu.windows import copy_part


@kernel
def filter_row(depth, source, taps, weights, bias, line, count):
    """``count`` pixels of one row, written to ``line``, which has room for one vector."""
    size, few = itemsize(bias), lanes(bias)
    done = 0
    if count >= WIDE * few:
        while done < count:
            done = min(done, count - WIDE * few)  # the last vectors overlap those before
            filter_wide(depth, source + done * size, taps, weights, bias, line + done * size)
            done += WIDE * few
    while done < count:
        done = min(done, max(count - few, 0))
        filter_lanes(depth, source + done * size, taps, weights, bias, line + done * size)
        done += few


@parallel_kernel
def filter_all(x, weight, bias, y, table, work, like, thread, threads):
    """A thread takes a share of the jobs in order. One is: rows of one image, of one group."""
    size = itemsize(like)
    out_width, height, width = get_int64(table + OUT_WIDTH), get_int64(table + HEIGHT), get_int64(table + WIDTH)
    line = work + thread * get_int64(table + SCRATCH) * size
    weights = line + (out_width + tile_columns(like)) * size
    copy = weights + get_int64(table + DEPTH_BLOCK) * size
    groups, channels, outputs = get_int64(table + GROUPS), get_int64(table + CHANNELS), get_int64(table + OUTPUTS)
    block_rows, row_blocks = get_int64(table + BLOCK_ROWS), get_int64(table + ROW_BLOCKS)
    row_step, step, pitch = get_int64(table + ROW_STEP), get_int64(table + COLUMN_STEP), get_int64(table + PITCH)
    spread, out_plane = get_int64(table + COLUMN_SPREAD), get_int64(table + OUT_HEIGHT) * out_width
    phases_end = table + PHASE_TABLE + get_int64(table + PHASES) * PHASE_BYTES
    jobs = get_int64(table + JOBS)
    for job in range(thread * jobs // threads, (thread + 1) * jobs // threads):
        block = job // groups
        group = job - block * groups
        image = block // row_blocks
        first = (block - image * row_blocks) * block_rows
        tall = (min(get_int64(table + OUTPUT_ROWS) - first, block_rows) - 1) * row_step + get_int64(table + REACH)
        for c in range(channels):
            copy_part(
                x + ((image * groups + group) * channels + c) * height * width * size, height, width,
                get_int64(table + FIRST_ROW) + first * row_step, get_int64(table + FIRST_COLUMN), tall, 1, pitch, step,
                step, copy + c * get_int64(table + PLANE) * size, like,
            )  # fmt: skip
        for phase in range(table + PHASE_TABLE, phases_end, PHASE_BYTES):
            depth, count = get_int64(phase + DEPTH), get_int64(phase + PHASE_COLUMNS)
            taps, weight_taps = table + get_int64(phase + TAPS), table + get_int64(phase + WEIGHT_TAPS)
            straight = spread == 1 and count >= lanes(like)
            for o in range(outputs):
                row_weights = (
                    weight + (group * get_int64(table + WEIGHT_GROUP) + o * get_int64(table + WEIGHT_ROW)) * size
                )
                for p in range(depth):
                    put(weights + p * size, get(row_weights + get_int64(weight_taps + 8 * p) * size, like))
                channel = group * outputs + o
                start = get(bias + channel * size, like) if bias else zero(like)
                plane = y + (image * groups * outputs + channel) * out_plane * size
                plane += get_int64(phase + PHASE_COLUMN) * size
                for row in range(first, min(first + block_rows, get_int64(phase + PHASE_ROWS))):
                    source = copy + (row - first) * row_step * step * pitch * size
                    to = plane + (row * get_int64(table + ROW_SPREAD) + get_int64(phase + PHASE_ROW)) * out_width * size
                    filter_row(depth, source, taps, weights, start, to if straight else line, count)
                    if spread > 1:
                        for u in range(count):
                            put(to + u * spread * size, get(line + u * size, like))
                    elif not straight:
                        copy_bytes(to, line, count * size)
