"""What a convolution of two spatial axes reads, copies and writes: all that follows from its shapes.

Along each axis, output row y of a phase reads, for a tap of the kernel, row y·step + e of x, and is written to row
y·spread + r of the output. A convolution has one phase: step is the stride, spread 1, and row i of the kernel is a tap
with e = i·dilation - padding. A transposed one has as many phases r as its stride s, step is 1, spread s, and row i is
a tap of those phases for which e = (r + padding - i·dilation) / s is whole.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np

from tinygrad_notes.kernels.cpu.convolution_table import PHASE_BYTES, PHASE_TABLE, RUNS_BYTES, Layout, Phase
from tinygrad_notes.kernels.cpu.isa.machine import MACHINE
from tinygrad_notes.kernels.cpu.isa.tile import ROWS, VECTORS

if MACHINE.isa == "amx":
    from tinygrad_notes.kernels.cpu.split_windows import PANEL

Size = tuple[int, ...]
FEW_OUTPUTS = 3  # of a group, for which the tile of a product would stay empty
MOST_DEPTH = 512  # taps of a panel of windows, which should stay in the first cache
COPY_BYTES = 256 * 1024  # of the copy that a job makes of its images, half of the second cache
IN_PLACE = 0.6  # empty columns that cost as much as packing a panel, in tiles: for each tile of the weight's rows
JOB_COLUMNS = 512  # a job of small images takes several, to fill its tiles

# With AMX, whose panels of windows and of the weight are EDGE wide, and EDGE deep in each step:
EDGE = 32
SPLIT_DEPTH = 256  # most taps of a panel: three parts of it are 48 KiB, and the first cache has as much
SPLIT_JOBS = 8  # the cut of the work decides what goes by vectors, and so must not depend on the number of threads
# Costs in cycles, from the speeds measured for products, 193 GFLOP/s of a core by vectors and 500 in three parts.
VECTOR_STEP = 12  # of one row of windows, EDGE wide, by ROWS rows of the weight
SPLIT_STEP = 12  # the same, by EDGE rows
INTERLEAVING = 7  # of packing one row of windows from its parts
SPLITTING = 20  # of EDGE numbers
WRITING = 250  # of the sums of EDGE rows and columns, for each block of taps
WEIGHT_SPLITTING = 4  # of one number of the weight, gathered


class AxisPhase(NamedTuple):
    """Along one axis: the first output row, their number, and the taps (row of the kernel, row e of x)."""

    start: int
    length: int
    taps: list[tuple[int, int]]


class Operands(NamedTuple):
    """Sizes that both kinds of convolution have. Strides of the weight are in elements."""

    x: Size
    shape: Size  # of the output
    groups: int
    outputs: int  # of one group
    weight_group: int
    weight_row: int  # from one output to the next
    weight_channel: int
    kernel_width: int
    itemsize: int
    threads: int
    parts: int  # of a float32, where AMX may be used; else 0


class Plan(NamedTuple):
    shape: Size
    table: np.ndarray  # a Layout, its Phases and their taps, which the kernels read
    packed: int  # elements of the packed weight
    scratch: int  # of one thread
    work: int  # multiplications
    direct: bool
    parts: int  # 0: all by vectors


@lru_cache(256)
def plan_conv(
    x: Size, weight: Size, stride: Size, padding: Size, dilation: Size, groups: int, itemsize: int, threads: int,
    parts: int = 0,
) -> Plan:  # fmt: skip
    """Of ``conv``. A convolution of 1 x 1 sees each image as one long row, unless a part of it is to be copied."""
    outputs, channels, high, wide = weight
    counts = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in zip(x[2:], padding, dilation, weight[2:], stride)
    ]
    shape = (x[0], outputs, *counts)
    small = not parts or channels * x[2] * x[3] * itemsize <= COPY_BYTES
    if small and (high, wide, *stride, *padding) == (1, 1, 1, 1, 0, 0):
        x, counts = (x[0], x[1], 1, x[2] * x[3]), [1, counts[0] * counts[1]]
    axes = [
        [AxisPhase(0, count, [(i, i * d - p) for i in range(k)])]
        for count, d, p, k in zip(counts, dilation, padding, weight[2:])
    ]
    area, each = high * wide, outputs // groups
    operands = Operands(
        x, shape, groups, each, each * channels * area, channels * area, area, wide, itemsize, threads, parts
    )
    return _plan(operands, axes, stride, (1, 1), counts)


@lru_cache(256)
def plan_transpose(
    x: Size, weight: Size, stride: Size, padding: Size, dilation: Size, groups: int, output_size: Size, itemsize: int,
    threads: int, parts: int = 0,
) -> Plan:  # fmt: skip
    """Of ``conv_transpose``, one phase for each place of an output pixel between the windows."""
    outputs, high, wide = weight[1:]
    axes = []
    for n, k, s, p, d in zip(output_size, (high, wide), stride, padding, dilation):
        taps = [[(i, (r + p - i * d) // s) for i in range(k) if (r + p - i * d) % s == 0] for r in range(s)]
        axes.append([AxisPhase(r, -(-(n - r) // s), taps[r]) for r in range(min(s, n))])
    area = high * wide
    shape = (x[0], outputs * groups, *output_size)
    per_group = x[1] // groups * outputs * area
    operands = Operands(x, shape, groups, outputs, per_group, area, outputs * area, wide, itemsize, threads, parts)
    return _plan(operands, axes, (1, 1), stride, output_size)


def _plan(
    operands: Operands, axes: list[list[AxisPhase]], step: Size, spread: Size, out_size: list[int] | Size
) -> Plan:
    images, channels, height, width = operands.x[0], operands.x[1] // operands.groups, *operands.x[2:]
    groups, outputs, itemsize = operands.groups, operands.outputs, operands.itemsize
    direct = outputs <= FEW_OUTPUTS
    reads = [[e for phase in axis for _, e in phase.taps] or [0] for axis in axes]
    first, reach = [min(r) for r in reads], [max(r) - min(r) + 1 for r in reads]
    counts = [max((phase.length for phase in axis), default=0) for axis in axes]
    ends = [f + r + (count - 1) * s for f, r, count, s in zip(first, reach, counts, step)]
    depths = [len(row.taps) * len(column.taps) * channels for row, column in product(*axes)]
    parts = operands.parts if not direct and _repays_splitting(operands, axes, step) else 0
    copied = direct or parts > 0 or step[1] > 1 or min(first) < 0 or ends[0] > height or ends[1] > width
    pitch = counts[1] + (reach[1] - 1) // step[1] if copied else width
    line = pitch * step[1] if copied else width
    jobs_for = SPLIT_JOBS if parts else operands.threads
    block_images, block_rows = _job(operands, counts, step[0], reach[0], channels * line * itemsize, direct, jobs_for)
    plane = ((block_rows - 1) * step[0] + reach[0]) * line if copied else height * width

    depth = max(depths, default=0)
    most = min(SPLIT_DEPTH, MOST_DEPTH) if parts else MOST_DEPTH
    depth_block = max(1, depth if direct else -(-depth // max(1, -(-depth // most))))
    if parts:
        depth_block = _round_up(depth_block, EDGE)
    tile_width, row_panels = VECTORS * MACHINE.lanes(itemsize), -(-outputs // ROWS)
    phases, taps, place = [], [tile_width * np.arange(depth_block)], PHASE_TABLE + PHASE_BYTES * len(depths)
    place += 8 * depth_block
    packed = split_packed = 0
    panels = -(-outputs // EDGE)
    channel = np.arange(channels, dtype=np.int64)[:, None]
    for row, column in product(*axes):
        pairs = sorted(product(row.taps, column.taps), key=lambda pair: (pair[0][1], pair[1][1]))
        rows, columns = [e for (_, e), _ in pairs], [e for _, (_, e) in pairs]
        if copied:
            rows, columns = [e - first[0] for e in rows], [e - first[1] for e in columns]
            columns = [e % step[1] * pitch + e // step[1] for e in columns]
        within = np.array([e * line + u for e, u in zip(rows, columns)], np.int64)
        in_kernel = np.array([i * operands.kernel_width + j for (i, _), (j, _) in pairs], np.int64)
        distances = (channel * plane + within).ravel()
        depth = distances.size
        if parts and depth:  # what is multiplied by 0, where steps of EDGE go beyond the last tap, must be a number
            distances = np.concatenate([distances, np.full(-depth % EDGE, distances[-1])])
        taps += [distances, (channel * operands.weight_channel + in_kernel).ravel()]
        phases.append(
            Phase(
                row.start, column.start, row.length, column.length, depth, place, place + 8 * distances.size, packed,
                split_packed,
            )
        )  # fmt: skip
        place += 8 * (distances.size + depth)
        split_packed += _round_up(panels * 16, 64) + panels * _round_up(depth, EDGE) * EDGE * parts * 2
        packed += row_panels * ROWS * (depth + max(1, -(-depth // depth_block)))

    # tiles of one row, with empty columns, or packed panels without
    spare = -counts[1] % tile_width / max(counts[1], 1)
    in_place = spare * row_panels < IN_PLACE and not parts
    scratch = block_images * channels * plane if copied else 0
    if direct:  # a row of the output, the weights of one
        scratch += out_size[1] + tile_width + depth_block
    else:  # runs, a tile, a panel, and room for a row of one too far
        scratch += 2 * RUNS_BYTES // itemsize + (ROWS + depth_block + 4) * tile_width
    scratch = split = _round_up(scratch, 16)
    split_plane = 0
    if parts:
        packed = _round_up(packed, 16)
        split_plane = _round_up(block_images * channels * plane, EDGE) + EDGE  # and zeros behind it
        scratch += _round_up((PANEL + parts * 2 * (depth_block * EDGE + split_plane) + 64) // 4, 16)
    row_blocks = -(-counts[0] // block_rows)
    layout = Layout(
        images=images, groups=groups, channels=channels, outputs=outputs, height=height, width=width,
        first_row=first[0] if copied else 0, first_column=first[1] if copied else 0, row_step=step[0],
        column_step=step[1], copied=copied, reach=reach[0], pitch=pitch, plane=plane, block_images=block_images,
        block_rows=block_rows, row_blocks=row_blocks, jobs=-(-images // block_images) * row_blocks * groups,
        rows=counts[0], out_height=out_size[0], out_width=out_size[1], row_spread=spread[0], column_spread=spread[1],
        packed=packed, weight_group=operands.weight_group, weight_row=operands.weight_row, depth_block=depth_block,
        scratch=scratch, in_place=in_place, phases=len(phases), panel_taps=PHASE_TABLE + PHASE_BYTES * len(phases),
        parts=parts, split=split, split_plane=split_plane, split_packed=split_packed,
    )  # fmt: skip
    work = sum(phase.rows * phase.columns * phase.depth for phase in phases) * images * outputs * groups
    table = np.concatenate([np.array(part, np.int64).ravel() for part in (layout, phases, *taps)])
    packed += split_packed // itemsize
    return Plan(operands.shape, table, groups * packed, scratch, work, direct, parts)


def _repays_splitting(operands: Operands, axes: list[list[AxisPhase]], step: Size) -> bool:
    """Whether AMX is expected to be faster, in three parts.

    It multiplies EDGE rows of the weight in the time in which vectors multiply ROWS, but windows are packed from parts,
    the sums of tiles are written once more, and image and weight are split. So it is left to vectors where outputs
    leave tiles empty (16 of a group), taps do not fill a step (the 25 of a kernel of 5 x 5 on one channel), or the
    weight is met by few pixels.
    """
    images, channels, outputs = operands.x[0], operands.x[1] // operands.groups, operands.outputs
    panels, vectors = -(-outputs // EDGE), -(-outputs // ROWS) * VECTOR_STEP
    gain = 0
    for row, column in product(*axes):
        depth, tiles = len(row.taps) * len(column.taps) * channels, -(-images * row.length * column.length // EDGE)
        padded, blocks = _round_up(depth, EDGE), -(-depth // SPLIT_DEPTH)
        split = padded * (panels * SPLIT_STEP + INTERLEAVING) + panels * blocks * WRITING
        gain += tiles * (depth * vectors - split) - depth * outputs * WEIGHT_SPLITTING
    tiles = max((-(-images * row.length * column.length // EDGE) for row, column in product(*axes)), default=0)
    return gain > tiles * channels * step[0] * step[1] * SPLITTING


def _round_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _job(
    operands: Operands, counts: list[int], step: int, reach: int, line: int, direct: bool, threads: int
) -> tuple[int, int]:
    """Images and output rows of one job, whose copy, of lines of ``line`` bytes, fits a cache; jobs for all threads."""
    images, rows, columns = operands.x[0], counts[0], counts[1]
    image = ((rows - 1) * step + reach) * line
    block_images = 1
    if image > COPY_BYTES:
        fitting = max(1, (COPY_BYTES // line - reach) // step + 1)
        rows = -(-rows // -(-rows // fitting))
    elif not direct:
        while block_images * rows * columns < JOB_COLUMNS and block_images * image * 2 <= COPY_BYTES:
            block_images *= 2
        block_images = min(block_images, max(1, -(-images // threads)))
    while rows > 1 and rows * columns > 64 and images * -(-counts[0] // rows) * operands.groups < threads:
        rows = -(-rows // 2)
    return block_images, max(rows, 1)
