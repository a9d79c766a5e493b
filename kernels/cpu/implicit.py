"""Convolution as a product of matrices, weight (O, depth) times windows (depth, pixels), that are never written out.

Row p of the windows belongs to one tap (c, i, j) of the kernel, a column to one pixel of the output. In an image with
room around it, a tap is a constant distance, so that a panel of windows, the few columns of a register tile, is packed
by copying runs of neighbouring pixels, for each tap from another place. The panel stays in the first cache while all
rows of the weight pass by, and is forgotten. Where the weight has few rows, or a row of pixels fills its tiles, the
tile reads the windows where they stand.

Where pixels are ``row_step`` and ``column_step`` apart, the columns of the copy are dealt out by their remainder, so
that neighbouring pixels of the output read neighbouring elements for any stride.

With AMX, float32 is split into parts (``splitting.py``) where that repays; see ``split_windows.py``.
"""

from __future__ import annotations

from tinygrad_notes.kernels.cpu.compile import kernel, parallel_kernel
from tinygrad_notes.kernels.cpu.convolution_table import (
    BLOCK_IMAGES,
    BLOCK_ROWS,
    CHANNELS,
    COLUMN_SPREAD,
    COLUMN_STEP,
    COPIED,
    DEPTH,
    DEPTH_BLOCK,
    FIRST,
    FIRST_COLUMN,
    FIRST_ROW,
    GROUPS,
    HEIGHT,
    IMAGES,
    IN_PLACE,
    JOBS,
    LENGTH,
    OUT_HEIGHT,
    OUT_WIDTH,
    OUTPUT_ROWS,
    OUTPUTS,
    PACKED,
    PANEL_TAPS,
    PARTS,
    PHASE_BYTES,
    PHASE_COLUMN,
    PHASE_COLUMNS,
    PHASE_PACKED,
    PHASE_ROW,
    PHASE_ROWS,
    PHASE_SPLIT,
    PHASE_TABLE,
    PHASES,
    PITCH,
    PLACE,
    PLANE,
    REACH,
    ROW_BLOCKS,
    ROW_SPREAD,
    ROW_STEP,
    RUN_BYTES,
    RUNS_BYTES,
    SCRATCH,
    SPLIT,
    SPLIT_PACKED,
    TAPS,
    WEIGHT_GROUP,
    WEIGHT_ROW,
    WEIGHT_TAPS,
    WIDTH,
)
from tinygrad_notes.kernels.cpu.isa.filter import filter_tile
from tinygrad_notes.kernels.cpu.isa.machine import MACHINE
from tinygrad_notes.kernels.cpu.isa.memory import copy_bytes, get_int64, put_int64
from tinygrad_notes.kernels.cpu.isa.tile import ROWS, copy_row, tile_columns
from tinygrad_notes.kernels.cpu.isa.vector import get, itemsize, put, zero
from tinygrad_notes.kernels.cpu.windows import copy_part

SPLITS = MACHINE.isa == "amx"  # Numba leaves out what is not compiled for this machine
if SPLITS:
    from tinygrad_notes.kernels.cpu.isa.amx import EDGE, PART, configure, release
    from tinygrad_notes.kernels.cpu.split_windows import all_in_range, multiply_split_panel, ranges_bytes, split_copy
    from tinygrad_notes.kernels.cpu.splitting import CONFIG


@parallel_kernel
def pack_weights(weight, bias, table, packed, like, thread, threads):
    """The weights of all groups and phases in panels of ROWS rows, in blocks of taps, packed once for all threads.

    The first taps of a phase have the bias before them, the others 0. Each thread packs its panels.
    """
    size = itemsize(like)
    outputs, row_stride = get_int64(table + OUTPUTS), get_int64(table + WEIGHT_ROW) * size
    block, padded = get_int64(table + DEPTH_BLOCK), (outputs + ROWS - 1) // ROWS * ROWS
    phases_end = table + PHASE_TABLE + get_int64(table + PHASES) * PHASE_BYTES
    for _group in range(get_int64(table + GROUPS)):
        for phase in range(table + PHASE_TABLE, phases_end, PHASE_BYTES):
            taps, depth = table + get_int64(phase + WEIGHT_TAPS), get_int64(phase + DEPTH)
            to = packed + get_int64(phase + PHASE_PACKED) * size
            for start in range(0, max(depth, 1), block):
                long = min(block, depth - start)
                for first in range(thread * ROWS, padded, threads * ROWS):
                    line, tall = to + first * (long + 1) * size, min(ROWS, outputs - first)
                    source, step, there = bias + first * size, size, tall if bias and start == 0 else 0
                    for p in range(start, start + long + 1):
                        for i in range(ROWS):
                            put(line + i * size, get(source + i * step, like) if i < there else zero(like))
                        line += ROWS * size
                        source = weight + first * row_stride + get_int64(taps + 8 * p) * size
                        step, there = row_stride, tall
                to += padded * (long + 1) * size
        weight += get_int64(table + WEIGHT_GROUP) * size
        packed += get_int64(table + PACKED) * size
        if bias:
            bias += outputs * size


@kernel
def find_runs(runs, targets, first, count, image, row, rows, phase, table, line, image_size):
    """Cut ``count`` columns of the windows from ``first`` on into runs in one row of x, and into runs of the output.

    Columns count the images of a job, their rows, their columns. ``line`` is from one row of the copy to the next.
    Rows that follow each other in the output are one run there. The ends of the tables.
    """
    width, spread = get_int64(phase + PHASE_COLUMNS), get_int64(table + COLUMN_SPREAD)
    out_width = get_int64(table + OUT_WIDTH)
    out_image = get_int64(table + GROUPS) * get_int64(table + OUTPUTS) * get_int64(table + OUT_HEIGHT) * out_width
    row = (row * get_int64(table + ROW_SPREAD) + get_int64(phase + PHASE_ROW)) * out_width
    row += get_int64(phase + PHASE_COLUMN)
    done, follows = 0, -1
    y = first // width
    column = first - y * width
    n = y // rows
    y -= n * rows
    while done < count:
        length = min(count - done, width - column)
        put_int64(runs + FIRST, done)
        put_int64(runs + LENGTH, length)
        put_int64(runs + PLACE, n * image_size + y * line + column)
        place = (image + n) * out_image + row + y * get_int64(table + ROW_SPREAD) * out_width + column * spread
        if place == follows:
            put_int64(targets - RUN_BYTES + LENGTH, get_int64(targets - RUN_BYTES + LENGTH) + length)
        else:
            put_int64(targets + FIRST, done)
            put_int64(targets + LENGTH, length)
            put_int64(targets + PLACE, place)
            targets += RUN_BYTES
        follows = place + length if spread == 1 else -1
        done, column, y, runs = done + length, 0, y + 1, runs + RUN_BYTES
        if y == rows:
            n, y = n + 1, 0
    return runs, targets


@kernel
def pack_windows(source, end, runs, runs_end, taps, count, target, like):
    """``count`` rows of a panel of windows. A run is copied in whole vectors: what is too much, the next run
    overwrites. Vectors never reach ``end``."""
    size, width = itemsize(like), tile_columns(like)
    whole = count == 0 or source + get_int64(taps + 8 * (count - 1)) * size <= end
    for p in range(count):
        from_ = source + get_int64(taps + 8 * p) * size
        for run in range(runs, runs_end, RUN_BYTES):
            place, to = from_ + get_int64(run + PLACE) * size, target + get_int64(run + FIRST) * size
            if whole:
                copy_row(to, place, like)
            else:
                copy_bytes(to, place, get_int64(run + LENGTH) * size)
        target += width * size


@kernel
def multiply_panel(a, windows, taps, depth, outputs, y, runs, runs_end, plane, spread, adding, tile, like):
    """All rows of the weight times one panel of windows, written, or added, to the output ``y`` of a group."""
    size, width = itemsize(like), tile_columns(like)
    straight = spread == 1 and get_int64(runs + LENGTH) == width
    for i in range(0, outputs, ROWS):
        tall = min(ROWS, outputs - i)
        if straight and tall == ROWS:
            to, stride, add = y + get_int64(runs + PLACE) * size, plane, adding
        else:
            to, stride, add = tile, width * size, 0
        filter_tile(depth, a, windows, taps, to, stride, add, like)
        if to == tile:
            for k in range(tall):
                for run in range(runs, runs_end, RUN_BYTES):
                    from_ = tile + (k * width + get_int64(run + FIRST)) * size
                    to = y + k * plane + get_int64(run + PLACE) * size
                    if adding or spread > 1:
                        for u in range(get_int64(run + LENGTH)):
                            value = get(from_ + u * size, like)
                            put(to + u * spread * size, get(to + u * spread * size, like) + value if adding else value)
                    else:
                        copy_bytes(to, from_, get_int64(run + LENGTH) * size)
        a += ROWS * (depth + 1) * size
        y += ROWS * plane


@parallel_kernel
def convolve_all(x, packed, y, table, work, like, thread, threads):
    """All jobs, of which a thread takes a share in order. One is: rows of some images, of one group."""
    size, width = itemsize(like), tile_columns(like)
    work += thread * get_int64(table + SCRATCH) * size
    runs, targets, tile = work, work + RUNS_BYTES, work + 2 * RUNS_BYTES
    panel = tile + ROWS * width * size
    copy = panel + (get_int64(table + DEPTH_BLOCK) + 1) * width * size
    groups, channels, outputs = get_int64(table + GROUPS), get_int64(table + CHANNELS), get_int64(table + OUTPUTS)
    height, wide = get_int64(table + HEIGHT), get_int64(table + WIDTH)
    row_step, column_step = get_int64(table + ROW_STEP), get_int64(table + COLUMN_STEP)
    block_rows, row_blocks = get_int64(table + BLOCK_ROWS), get_int64(table + ROW_BLOCKS)
    plane, pitch = get_int64(table + PLANE), get_int64(table + PITCH)
    out_plane = get_int64(table + OUT_HEIGHT) * get_int64(table + OUT_WIDTH)
    padded = (outputs + ROWS - 1) // ROWS * ROWS
    phases_end = table + PHASE_TABLE + get_int64(table + PHASES) * PHASE_BYTES
    in_place, jobs = get_int64(table + IN_PLACE), get_int64(table + JOBS)
    if SPLITS:
        parts, split = get_int64(table + PARTS), work + get_int64(table + SPLIT) * size
        if parts:
            configure(split + CONFIG)
    for job in range(thread * jobs // threads, (thread + 1) * jobs // threads):
        block = job // groups
        group = job - block * groups
        image = block // row_blocks
        first = (block - image * row_blocks) * block_rows
        image *= get_int64(table + BLOCK_IMAGES)
        images = min(get_int64(table + BLOCK_IMAGES), get_int64(table + IMAGES) - image)
        mine = x + (image * groups + group) * channels * height * wide * size
        first_row = get_int64(table + FIRST_ROW) + first * row_step
        if get_int64(table + COPIED):
            line, image_size = column_step * pitch, channels * plane
            tall = (min(get_int64(table + OUTPUT_ROWS) - first, block_rows) - 1) * row_step + get_int64(table + REACH)
            if SPLITS and parts:  # the whole of each plane, also where the last rows of the image need less
                tall = plane // line
            for n in range(images):
                for c in range(channels):
                    copy_part(
                        mine + (n * groups * channels + c) * height * wide * size, height, wide, first_row,
                        get_int64(table + FIRST_COLUMN), tall, 1, pitch, column_step, column_step,
                        copy + (n * channels + c) * plane * size, like,
                    )  # fmt: skip
            source, end = copy, copy + (1 << 60)  # there is room behind the copy
            if SPLITS and parts:
                split_copy(copy, images * image_size, table, split)
        else:
            line, image_size = wide, groups * channels * height * wide
            source = mine + (first_row * wide + get_int64(table + FIRST_COLUMN)) * size
            end = x + get_int64(table + IMAGES) * image_size * size
        out = y + group * outputs * out_plane * size
        for phase in range(table + PHASE_TABLE, phases_end, PHASE_BYTES):
            rows, depth = min(block_rows, get_int64(phase + PHASE_ROWS) - first), get_int64(phase + DEPTH)
            a = packed + (group * get_int64(table + PACKED) + get_int64(phase + PHASE_PACKED)) * size
            columns = images * rows * get_int64(phase + PHASE_COLUMNS)
            # a tile read in place lies in one row of the output; packed columns run on over rows and images
            across = get_int64(phase + PHASE_COLUMNS) if in_place else columns
            tiles = (across + width - 1) // width
            if columns <= 0:
                continue
            by_parts = False
            if SPLITS and parts and depth:
                weights = packed + get_int64(table + GROUPS) * get_int64(table + PACKED) * size
                weights += group * get_int64(table + SPLIT_PACKED) + get_int64(phase + PHASE_SPLIT)
                by_parts = all_in_range(weights, outputs, split)
                weights += ranges_bytes(outputs)
            for start in range(0, max(depth, 1), get_int64(table + DEPTH_BLOCK)):
                taps = table + get_int64(phase + TAPS) + 8 * start
                count = min(get_int64(table + DEPTH_BLOCK), depth - start)
                for t in range(columns // across * tiles):
                    j = t // tiles
                    within = (t - j * tiles) * width
                    length = min(width, across - within)
                    runs_end, targets_end = find_runs(
                        runs, targets, j * across + within, length, image, first, rows, phase, table, row_step * line,
                        image_size,
                    )  # fmt: skip
                    if SPLITS and by_parts:
                        multiply_split_panel(
                            a, weights, taps, count, out, runs, runs_end, targets, targets_end, start, table, split,
                            like,
                        )  # fmt: skip
                        continue
                    # vectors may be read from the last run of x, or the copy, without leaving it
                    last = end - (get_int64(runs_end - RUN_BYTES + PLACE) + width) * size
                    windows, windows_taps = panel, table + get_int64(table + PANEL_TAPS)
                    if in_place and (count == 0 or source + get_int64(taps + 8 * (count - 1)) * size <= last):
                        windows, windows_taps = source + get_int64(runs + PLACE) * size, taps
                    else:
                        pack_windows(source, last, runs, runs_end, taps, count, panel, like)
                    multiply_panel(
                        a, windows, windows_taps, count, outputs, out, targets, targets_end, out_plane * size,
                        get_int64(table + COLUMN_SPREAD), start, tile, like,
                    )  # fmt: skip
                a += padded * (count + 1) * size
                if SPLITS and by_parts:
                    steps = (count + EDGE - 1) // EDGE
                    weights += (outputs + EDGE - 1) // EDGE * steps * parts * PART
    if SPLITS and parts:
        release()
