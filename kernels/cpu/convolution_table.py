"""The table in memory from which the kernels of convolution read sizes and places.

A plan makes it (``convolution_plan.py``): a Layout, its Phases, and for each of these its taps. Passed as arguments,
so many numbers would take seconds to compile.
"""

from __future__ import annotations

from typing import NamedTuple


class Layout(NamedTuple):
    """Sizes, in elements, of one convolution; what it reads, copies and writes. The start of its table, as int64."""

    images: int
    groups: int
    channels: int  # of x, of one group
    outputs: int  # of one group
    height: int  # of x
    width: int
    first_row: int  # of x, that the first output row reads; negative in the padding
    first_column: int
    row_step: int  # of x, from one output row to the next
    column_step: int
    copied: int  # 0 where windows never leave x, which is then read in place
    reach: int  # rows of x that the taps of one output row span
    pitch: int  # of a row of the copy, one remainder of columns
    plane: int  # of one channel of the copy
    block_images: int  # of one job
    block_rows: int
    row_blocks: int  # of one image
    jobs: int
    rows: int  # of the output, of the tallest phase
    out_height: int
    out_width: int
    row_spread: int  # 1, or the rows of the output from one of a phase to the next
    column_spread: int
    packed: int  # of a packed weight, one group
    weight_group: int  # from the weight of one group to the next
    weight_row: int
    depth_block: int
    scratch: int  # of one thread
    in_place: int  # windows are not packed
    phases: int
    panel_taps: int  # where the distances in a packed panel begin in the table, in bytes
    parts: int  # of each number, by AMX; 0 where all goes by vectors
    split: int  # what AMX needs of a thread's scratch begins here
    split_plane: int  # numbers in one part of the copy
    split_packed: int  # bytes of the split weight, one group


class Phase(NamedTuple):
    """What follows in the table, for each phase; then come the taps."""

    row: int  # of the output, the first of this phase
    column: int
    rows: int
    columns: int
    depth: int  # taps
    taps: int  # where they begin in the table, in bytes: for each its distance in x or its copy, in elements
    weight_taps: int  # and here its distance in a row of the weight
    packed: int  # where the packed weight of this phase begins
    split_packed: int  # and the split one, in bytes


# where the fields are, in bytes
(
    IMAGES, GROUPS, CHANNELS, OUTPUTS, HEIGHT, WIDTH, FIRST_ROW, FIRST_COLUMN, ROW_STEP, COLUMN_STEP, COPIED, REACH,
    PITCH, PLANE, BLOCK_IMAGES, BLOCK_ROWS, ROW_BLOCKS, JOBS, OUTPUT_ROWS, OUT_HEIGHT, OUT_WIDTH, ROW_SPREAD,
    COLUMN_SPREAD, PACKED, WEIGHT_GROUP, WEIGHT_ROW, DEPTH_BLOCK, SCRATCH, IN_PLACE, PHASES,
    PANEL_TAPS, PARTS, SPLIT, SPLIT_PLANE, SPLIT_PACKED,
) = range(0, 8 * len(Layout._fields), 8)  # fmt: skip
(
    PHASE_ROW, PHASE_COLUMN, PHASE_ROWS, PHASE_COLUMNS, DEPTH, TAPS, WEIGHT_TAPS, PHASE_PACKED, PHASE_SPLIT,
) = range(0, 8 * len(Phase._fields), 8)  # fmt: skip
PHASE_TABLE, PHASE_BYTES = 8 * len(Layout._fields), 8 * len(Phase._fields)

FIRST, LENGTH, PLACE, RUN_BYTES = 0, 8, 16, 24  # of a run: its first column, columns, its place in x or the output
RUNS_BYTES = 32 * RUN_BYTES  # for as many runs as a panel has columns, at most
