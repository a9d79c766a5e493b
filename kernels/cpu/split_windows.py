"""Convolution of float32 by AMX: the image is split once, and panels of windows are packed from its parts.

A pixel is in as many windows as the kernel has taps, and splitting a number costs several times what copying one does.
So the copy of the image that a job makes is split, into one plane of bfloat16 for each part. A tap is the same distance
in these planes, and a panel of windows, two taps side by side, is put together from runs of them. The weight is split
once for all threads. The sums of a tile are then written, or added, to the runs of the output by vectors.

What AMX cannot take (``splitting.py``) is asked of a job: the range of its copy against that of each panel of the
weight. If two do not go together, all outputs of this job and phase go by vectors, so that the panel of windows is
needed in one form only. What a job is depends on the shapes alone, and with it the way that each number goes.
"""

from __future__ import annotations

from tinygrad_notes.kernels.cpu.common_rows import row_add
from tinygrad_notes.kernels.cpu.compile import kernel, parallel_kernel
from tinygrad_notes.kernels.cpu.convolution_table import (
    COLUMN_SPREAD,
    DEPTH,
    DEPTH_BLOCK,
    FIRST,
    GROUPS,
    LENGTH,
    OUT_HEIGHT,
    OUT_WIDTH,
    OUTPUTS,
    PACKED,
    PARTS,
    PHASE_BYTES,
    PHASE_SPLIT,
    PHASE_TABLE,
    PHASES,
    PLACE,
    RUN_BYTES,
    SCRATCH,
    SPLIT,
    SPLIT_PACKED,
    SPLIT_PLANE,
    WEIGHT_GROUP,
    WEIGHT_ROW,
    WEIGHT_TAPS,
)
from tinygrad_notes.kernels.cpu.isa.amx import EDGE, PART, clear_range, interleave_run, multiply_parts, split_row
from tinygrad_notes.kernels.cpu.isa.memory import get_int64
from tinygrad_notes.kernels.cpu.isa.rows import row
from tinygrad_notes.kernels.cpu.isa.tile import ROWS
from tinygrad_notes.kernels.cpu.isa.vector import get, itemsize, put, zero
from tinygrad_notes.kernels.cpu.splitting import RANGE, SQUARE, SUMS, in_range, keep_range, split_line

# where things lie in the part of a thread's scratch that is for AMX, CONFIG, RANGE and SQUARE as in ``splitting.py``
COPY_RANGE = SUMS + EDGE * EDGE * 4
PANEL = COPY_RANGE + 64  # of windows; then come the planes


def _shifted(v, x, s):
    return [v.builder.fadd(x[0], s[0])], []


shift_row = row(1, 1, 1, _shifted, unroll=1)


@kernel
def ranges_bytes(outputs):
    """Room for the ranges of a phase's weight, which lie before it."""
    return ((outputs + EDGE - 1) // EDGE * 16 + 63) // 64 * 64


@parallel_kernel
def split_weights(weight, table, packed, work, like, thread, threads):
    """The weights of all groups and phases in parts, behind those of ``pack_weights``: panels of EDGE rows.

    Each thread splits its panels, with the scratch that it will have in ``convolve_all``.
    """
    size, parts = itemsize(like), get_int64(table + PARTS)
    mine = work + (thread * get_int64(table + SCRATCH) + get_int64(table + SPLIT)) * size
    outputs, block = get_int64(table + OUTPUTS), get_int64(table + DEPTH_BLOCK)
    row_stride, panels = get_int64(table + WEIGHT_ROW) * size, (outputs + EDGE - 1) // EDGE
    phases_end = table + PHASE_TABLE + get_int64(table + PHASES) * PHASE_BYTES
    target = packed + get_int64(table + GROUPS) * get_int64(table + PACKED) * size
    for _group in range(get_int64(table + GROUPS)):
        for phase in range(table + PHASE_TABLE, phases_end, PHASE_BYTES):
            taps, depth = table + get_int64(phase + WEIGHT_TAPS), get_int64(phase + DEPTH)
            ranges = target + get_int64(phase + PHASE_SPLIT)
            for panel in range(thread, panels, threads):
                clear_range(mine + RANGE)
                to = ranges + ranges_bytes(outputs)
                for start in range(0, depth, block):
                    steps = (min(block, depth - start) + EDGE - 1) // EDGE
                    for step in range(steps):
                        place, first = to + (panel * steps + step) * parts * PART, start + step * EDGE
                        for i in range(EDGE):
                            source = weight + (panel * EDGE + i) * row_stride
                            there = min(EDGE, depth - first) if panel * EDGE + i < outputs else 0
                            for j in range(there):
                                value = get(source + get_int64(taps + 8 * (first + j)) * size, like)
                                put(mine + SQUARE + j * size, value)
                            for j in range(there, EDGE):
                                put(mine + SQUARE + j * size, zero(like))
                            split_row(parts, mine + SQUARE, place + i * 64, PART, mine + RANGE)
                    to += panels * steps * parts * PART
                keep_range(mine + RANGE, ranges + panel * 16)
        weight += get_int64(table + WEIGHT_GROUP) * size
        target += get_int64(table + SPLIT_PACKED)


@kernel
def planes_of(table, mine):
    """Where the planes of the copy begin."""
    return mine + PANEL + get_int64(table + DEPTH_BLOCK) // EDGE * get_int64(table + PARTS) * PART


@kernel
def split_copy(copy, count, table, mine):
    """The first ``count`` numbers of a job's copy, as planes, and their range."""
    planes, part_bytes = planes_of(table, mine), get_int64(table + SPLIT_PLANE) * 2
    clear_range(mine + RANGE)
    split_line(get_int64(table + PARTS), copy, count, planes, part_bytes, mine + RANGE)
    keep_range(mine + RANGE, mine + COPY_RANGE)


@kernel
def all_in_range(weights, outputs, mine):
    """Whether AMX can take the copy of a job with every panel of a phase's weight."""
    fits = True
    for panel in range((outputs + EDGE - 1) // EDGE):
        fits = fits and in_range(weights + panel * 16, mine + COPY_RANGE)
    return fits


@kernel
def multiply_split_panel(a, weights, taps, count, y, runs, runs_end, targets, targets_end, adding, table, mine, like):
    """Pack one panel of windows; all rows of the weight times it, written, or added, to the output ``y`` of a group.

    ``weights``: the split weight of this block. ``a``: the packed one, which has the bias.
    """
    size, parts, outputs = itemsize(like), get_int64(table + PARTS), get_int64(table + OUTPUTS)
    plane = get_int64(table + OUT_HEIGHT) * get_int64(table + OUT_WIDTH) * size
    spread, part_bytes = get_int64(table + COLUMN_SPREAD), get_int64(table + SPLIT_PLANE) * 2
    planes, panel, sums, steps = planes_of(table, mine), mine + PANEL, mine + SUMS, (count + EDGE - 1) // EDGE
    for run in range(runs, runs_end, RUN_BYTES):
        first = get_int64(run + FIRST)
        source = planes + (get_int64(run + PLACE) - first) * 2  # a column of the panel is a lane, wherever a run begins
        interleave_run(parts, source, part_bytes, taps, steps, first, get_int64(run + LENGTH), panel)
    for i in range(0, outputs, EDGE):
        multiply_parts(parts, weights, EDGE * 2, PART, parts * PART, panel, sums, EDGE * 4, steps)
        weights += steps * parts * PART
        for k in range(min(EDGE, outputs - i)):
            bias = get(a + ((i + k) // ROWS * ROWS * (count + 1) + (i + k) % ROWS) * size, like)
            for run in range(targets, targets_end, RUN_BYTES):
                from_, length = sums + (k * EDGE + get_int64(run + FIRST)) * size, get_int64(run + LENGTH)
                to = y + (i + k) * plane + get_int64(run + PLACE) * size
                if spread > 1:
                    for u in range(length):
                        value = get(from_ + u * size, like) + bias
                        put(to + u * spread * size, get(to + u * spread * size, like) + value if adding else value)
                elif adding:
                    row_add((from_, to, to, length), (), like)
                else:
                    shift_row((from_, to, length), (bias,), like)
