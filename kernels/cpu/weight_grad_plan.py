"""How the work of a convolution's weight gradient is cut: the way, the blocks and the table that its kernels read."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tinygrad_notes.kernels.cpu.convolution_plan import EDGE, SPLIT_STEP, SPLITTING, VECTOR_STEP, WRITING
from tinygrad_notes.kernels.cpu.isa.machine import MACHINE
from tinygrad_notes.kernels.cpu.isa.tile import ROWS, VECTORS
from tinygrad_notes.kernels.cpu.isa.window_sums import DOTS
from tinygrad_notes.kernels.reference.windows import span

Array = np.ndarray
Size = tuple[int, ...]
DEPTH = 224  # pixels of a block, about: a panel of g stays in the first cache
MOST_ROWS, MOST_OUTPUTS = 384, 64  # of dW in one job: its sums stay in the second cache
SPLIT_DEPTH, SPLIT_OUTPUTS = 448, 128  # the same with AMX: whole steps of pixels for common sizes, more uses of a copy
COPYING = 12  # cycles that AMX's way takes to copy EDGE pixels of a row of windows, in three parts
LEAST_JOBS = 16  # if the depth allows it
SPLITS = MACHINE.isa == "amx"
if SPLITS:
    from tinygrad_notes.kernels.cpu.split_pixels import LEFT


class Geometry(NamedTuple):
    """The sizes; a sequence has height 1. ``taps``: offsets in the kernel."""

    images: int
    channels: int
    outputs: int
    groups: int
    height: int
    width: int
    out_h: int
    out_w: int
    taps: int
    stride_h: int
    stride_w: int
    pad_h: int
    pad_w: int


class Cut(NamedTuple):
    """How the work of one shape is cut."""

    copied: int  # or read in place
    copy_step: int  # the columns of a copy are dealt out by their remainder
    parts: int  # of the pixels
    channels: int  # of one job
    outputs: int
    images: int  # of one block of the depth
    rows: int
    columns: int
    part_h: int  # height and width of what the windows of a block see
    part_w: int
    jobs: int
    work_bytes: int  # scratch of one thread
    bfloats: int = 0  # parts of a float32, by AMX; 0: by vectors
    pixels: int = 0  # of a block, at most, up to a multiple of what AMX takes at once
    split: int = 0  # what AMX needs of the scratch begins here, in bytes
    plane_bytes: int = 0  # of one part of the copy


# where these are in the table of a plan, in bytes; behind them begin the rows of the matrix of windows, in bytes too
(
    IMAGES, CHANNELS, OUTPUTS, GROUPS, HEIGHT, WIDTH, OUT_H, OUT_W, TAPS, STRIDE_H, STRIDE_W, PAD_H, PAD_W,
    COPIED, COPY_STEP, PARTS, BLOCK_CHANNELS, BLOCK_OUTPUTS, STEP_IMAGES, STEP_H, STEP_W, PART_H, PART_W, JOBS,
    WORK_BYTES, BFLOATS, PIXELS, SPLIT, PLANE_BYTES, BEGINS,
) = range(0, 8 * (len(Geometry._fields) + len(Cut._fields) + 1), 8)  # fmt: skip


class Plan(NamedTuple):
    by_dots: bool
    parts: int
    jobs: int
    work_bytes: int
    table: Array  # Geometry, Cut and where the rows of the matrix of windows begin


@lru_cache(maxsize=256)
def make_plan(
    shape: Size,
    counts: Size,
    kernel_size: Size,
    stride: Size,
    padding: Size,
    dilation: Size,
    groups: int,
    itemsize: int,
    bfloats: int = 0,
) -> Plan:
    """The plan for x of ``shape`` (N, C, *size) and g of shape ``counts`` (N, O, *counts)."""
    size, out = shape[2:], counts[2:]
    if math.prod(kernel_size) == math.prod(stride) == 1 and not any(padding) and size == out:
        size = out = (math.prod(size),)  # no windows: one run of pixels
        kernel_size, stride, padding, dilation = (1,), (1,), (0,), (1,)
    size, out, kernel_size, stride, dilation = (
        (1,) * (2 - len(lengths)) + lengths for lengths in (size, out, kernel_size, stride, dilation)
    )
    padding = (0,) * (2 - len(padding)) + padding
    lengths = (shape[0], shape[1], counts[1], groups, *size, *out, math.prod(kernel_size), *stride, *padding)
    geometry = Geometry(*map(int, lengths))
    in_group, out_group = geometry.channels // groups, geometry.outputs // groups
    # what both cost for a pixel, counted in multiplications of vectors, and one load where dots reuse nothing
    vectors, chunks = -(-geometry.out_w // MACHINE.lanes(itemsize)), -(-geometry.taps // DOTS)
    dots = in_group * out_group * chunks * (DOTS + 1) * vectors / geometry.out_w
    tiles = round_up(in_group * geometry.taps, ROWS) * -(-out_group // _tile_columns(itemsize)) * VECTORS
    if dots <= tiles:
        return _plan_dots(geometry, kernel_size, dilation, itemsize)
    return _plan_tiles(geometry, kernel_size, dilation, itemsize, bfloats if _repays_splitting(geometry) else 0)


def _plan_dots(shape: Geometry, kernel_size: Size, dilation: Size, itemsize: int) -> Plan:
    parts = min(shape.images, -(-LEAST_JOBS // shape.channels))
    part = _seen(shape, kernel_size, dilation, shape.out_h, shape.out_w)
    copied = shape.stride_w > 1 or _leaves(shape, part)
    run = -(-part[1] // shape.stride_w)  # the columns of a row that windows see at one offset lie side by side
    row = run * shape.stride_w if copied else shape.width
    column = np.arange(kernel_size[1]) * dilation[1]
    begins = np.arange(kernel_size[0])[:, None] * dilation[0] * row
    begins = _filled((begins + column % shape.stride_w * run + column // shape.stride_w).ravel(), DOTS)
    work = shape.outputs // shape.groups * len(begins) * MACHINE.lanes(itemsize) + part[0] * run * shape.stride_w
    cut = Cut(
        copied, shape.stride_w, parts, 1, 1, 1, shape.out_h, shape.out_w, *part, jobs=shape.channels * parts,
        work_bytes=round_up(work * itemsize, 64),
    )  # fmt: skip
    return _planned(True, shape, cut, begins * itemsize)


def _repays_splitting(shape: Geometry) -> bool:
    """Whether AMX is expected to be faster, in three parts: for EDGE pixels, cycles as in ``convolution_plan.py``.

    Copying runs of windows costs what it does for any number of outputs, so these decide: 32 of a group repay it
    hardly, 64 well.
    """
    rows, outputs = shape.channels // shape.groups * shape.taps, shape.outputs // shape.groups
    panels, tiles = -(-outputs // EDGE), -(-rows // EDGE) * -(-outputs // EDGE)
    depth = _pixels(shape, SPLIT_DEPTH)
    filled = round_up(math.prod(depth), EDGE)
    copies = -(-depth[2] // EDGE) * EDGE / depth[2]  # vectors for EDGE pixels of a row
    split = tiles * (EDGE * SPLIT_STEP * filled / math.prod(depth) + WRITING * EDGE / filled)
    split += rows * COPYING * copies * -(-outputs // SPLIT_OUTPUTS)
    split += SPLITTING * (rows / shape.taps * shape.stride_h * shape.stride_w + EDGE * panels)
    return split < -(-rows // ROWS) * panels * VECTOR_STEP * EDGE


def _pixels(shape: Geometry, most: int) -> tuple[int, int, int]:
    """Images, rows and columns of a block of about ``most`` pixels."""
    return (
        _share(shape.images, max(1, most // (shape.out_h * shape.out_w))),
        _share(shape.out_h, max(1, most // shape.out_w)),
        _share(shape.out_w, most),
    )


def _plan_tiles(shape: Geometry, kernel_size: Size, dilation: Size, itemsize: int, bfloats: int) -> Plan:
    in_group, out_group = shape.channels // shape.groups, shape.outputs // shape.groups
    images, rows, columns = _pixels(shape, SPLIT_DEPTH if bfloats else DEPTH)
    blocks = -(-shape.images // images) * -(-shape.out_h // rows) * -(-shape.out_w // columns)
    channels = _share(in_group, max(1, MOST_ROWS // shape.taps))
    outputs = round_up(_share(out_group, SPLIT_OUTPUTS if bfloats else MOST_OUTPUTS), _tile_columns(itemsize))
    jobs = shape.groups * -(-in_group // channels) * -(-out_group // outputs)
    parts = min(blocks, -(-LEAST_JOBS // jobs))
    copied = bool(bfloats) or _leaves(shape, _seen(shape, kernel_size, dilation, shape.out_h, shape.out_w))
    part = _seen(shape, kernel_size, dilation, rows, columns)
    step = shape.stride_w if bfloats else 1
    run = -(-part[1] // step)
    part = part[0], run * step
    row = part[1] if copied else shape.width
    plane = images * part[0] * row if copied else shape.height * row
    column = np.arange(kernel_size[1]) * dilation[1]
    window = np.arange(kernel_size[0])[:, None] * dilation[0] * row + column % step * run + column // step
    tables = [  # of a block of channels, and of the last one, which may have fewer
        _filled((np.arange(count)[:, None] * plane + window.ravel()).ravel(), ROWS)
        for count in (channels, in_group % channels or channels)
    ]
    pixels = round_up(images * rows * columns, EDGE if bfloats else 1)
    copy = channels * images * math.prod(part) * copied
    work = (len(tables[0]) + pixels) * outputs + copy
    split = work_bytes = round_up((work + 2 * EDGE * bool(bfloats)) * itemsize, 64)  # with zeros behind the copy
    plane_bytes = (round_up(copy, EDGE) + EDGE) * 2
    if bfloats:  # sums of a tile and what lies beside them, both operands, planes
        work_bytes += round_up(LEFT + 64 + bfloats * (2 * pixels * (EDGE + outputs) + plane_bytes), 64)
    cut = Cut(
        copied, step, parts, channels, outputs, images, rows, columns, *part, jobs * parts, work_bytes, bfloats, pixels,
        split, plane_bytes,
    )  # fmt: skip
    return _planned(False, shape, cut, np.concatenate(tables) * itemsize)


def _planned(by_dots: bool, shape: Geometry, cut: Cut, begins: Array) -> Plan:
    table = np.concatenate([np.array([*shape, *cut], np.int64), begins])
    return Plan(by_dots, cut.parts, cut.jobs, cut.work_bytes, table)


def _seen(shape: Geometry, kernel_size: Size, dilation: Size, rows: int, columns: int) -> tuple[int, int]:
    """Height and width of what rows x columns of windows see."""
    height = (rows - 1) * shape.stride_h + span(kernel_size[0], dilation[0])
    return height, (columns - 1) * shape.stride_w + span(kernel_size[1], dilation[1])


def _leaves(shape: Geometry, seen: tuple[int, int]) -> bool:
    """Whether windows see more than the image."""
    return bool(shape.pad_h or shape.pad_w or seen[0] > shape.height or seen[1] > shape.width)


def _filled(begins: Array, multiple: int) -> Array:
    """Up to a multiple, with places that may be read too."""
    return np.concatenate([begins, np.full(-len(begins) % multiple, begins[0])])


def _tile_columns(itemsize: int) -> int:
    return VECTORS * MACHINE.lanes(itemsize)


def _share(length: int, most: int) -> int:
    """``length`` in equal shares of at most ``most``."""
    return -(-length // -(-length // most))


def round_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple
