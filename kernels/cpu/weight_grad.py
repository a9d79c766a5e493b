"""The gradient of a convolution's weight: a matrix product whose depth is the pixels of all images.

dW (O, C·Πkernel_size) = Σ over images of g (O, pixels) times the windows (pixels, C·Πkernel_size). Two ways, by what is
expected to be cheaper:

- As a product on register tiles. The tile wants a vector of one operand, several outputs at one pixel, so g is
  transposed into panels; and single elements of the other, the image at one channel and offset in the kernel, which
  are read where they stand, in the image or a copy of a part of it with its padding. No windows are written out.
- As dot products, for few outputs and channels in a group (depthwise convolution has one of each): vectors of g along a
  row of pixels times vectors of the image along the same pixels, and the lanes are added at the end.

Work is cut into jobs by the shape alone; where dW is too small for enough of them, into parts of the pixels, whose sums
are added in order. So any number of threads gives the same bits.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu.buffers import address, scratch
from tinygrad_notes.kernels.cpu.compile import kernel, parallel_kernel
from tinygrad_notes.kernels.cpu.convolution_plan import EDGE, SPLIT_STEP, SPLITTING, VECTOR_STEP, WRITING
from tinygrad_notes.kernels.cpu.gemm import parts_now
from tinygrad_notes.kernels.cpu.isa.machine import MACHINE
from tinygrad_notes.kernels.cpu.isa.memory import add_run, clear_bytes, copy_bytes, get_int64
from tinygrad_notes.kernels.cpu.isa.tile import ROWS, VECTORS, tile_columns
from tinygrad_notes.kernels.cpu.isa.transpose import transpose
from tinygrad_notes.kernels.cpu.isa.vector import get, itemsize, lanes, put, zero
from tinygrad_notes.kernels.cpu.isa.window_sums import DOTS, dot_windows, multiply_windows
from tinygrad_notes.kernels.cpu.threads import threads_for
from tinygrad_notes.kernels.cpu.windows import copy_part
from tinygrad_notes.kernels.reference.windows import span

Array = np.ndarray
Size = tuple[int, ...]
DEPTH = 224  # pixels of a block, about: a panel of g stays in the first cache
BLOCK_ROWS, BLOCK_OUTPUTS = 384, 64  # of dW in one job: its sums stay in the second cache
SPLIT_DEPTH, SPLIT_OUTPUTS = 448, 128  # the same with AMX: whole steps of pixels for common sizes, more uses of a copy
COPYING = 12  # cycles that AMX's way takes to copy EDGE pixels of a row of windows, in three parts
JOBS = 16  # at least, if the depth allows it
PER_THREAD = 112**3  # multiplications that repay waking a thread
SPLITS = MACHINE.isa == "amx"  # Numba leaves out what is not compiled for this machine
if SPLITS:
    from tinygrad_notes.kernels.cpu.isa.amx import configure, release
    from tinygrad_notes.kernels.cpu.split_pixels import LEFT, left_bytes, multiply_pixels, split_gradient, split_part
    from tinygrad_notes.kernels.cpu.splitting import CONFIG


@kernel
def transpose_run(source, stride, lines, length, target, target_stride, like):
    """target[p][i] = source[i][p] for ``lines`` lines of ``length`` elements; strides in bytes."""
    size, side = itemsize(like), lanes(like)
    whole_lines, whole = lines // side * side, length // side * side
    for i in range(0, whole_lines, side):
        for p in range(0, whole, side):
            transpose(
                source + i * stride + p * size, stride, target + p * target_stride + i * size, target_stride, like
            )
    for i in range(lines):
        for p in range(whole if i < whole_lines else 0, length):
            put(target + p * target_stride + i * size, get(source + i * stride + p * size, like))


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


@parallel_kernel
def sum_products(x, g, target, table, work, like, thread, threads):
    """All jobs on register tiles: a block of dW, channels by outputs of a group, over a part of the pixels.

    The sums of each part, (parts, *dW's shape), are at ``target``.
    """
    size, wide = itemsize(like), tile_columns(like)
    work += thread * get_int64(table + WORK_BYTES)
    channels, outputs, groups = get_int64(table + CHANNELS), get_int64(table + OUTPUTS), get_int64(table + GROUPS)
    in_group, out_group, taps = channels // groups, outputs // groups, get_int64(table + TAPS)
    height, width, out_h, out_w = (
        get_int64(table + HEIGHT), get_int64(table + WIDTH), get_int64(table + OUT_H), get_int64(table + OUT_W),
    )  # fmt: skip
    stride_h, stride_w = get_int64(table + STRIDE_H), get_int64(table + STRIDE_W)
    block_channels, block_outputs = get_int64(table + BLOCK_CHANNELS), get_int64(table + BLOCK_OUTPUTS)
    images, step_images = get_int64(table + IMAGES), get_int64(table + STEP_IMAGES)
    step_h, step_w, part_h, part_w = (
        get_int64(table + STEP_H), get_int64(table + STEP_W), get_int64(table + PART_H), get_int64(table + PART_W),
    )  # fmt: skip
    copied, parts, jobs = get_int64(table + COPIED), get_int64(table + PARTS), get_int64(table + JOBS)
    output_blocks = (out_group + block_outputs - 1) // block_outputs
    channel_blocks = (in_group + block_channels - 1) // block_channels
    blocks_h, blocks_w = (out_h + step_h - 1) // step_h, (out_w + step_w - 1) // step_w
    blocks = (images + step_images - 1) // step_images * blocks_h * blocks_w
    all_rows = (block_channels * taps + ROWS - 1) // ROWS * ROWS
    panel_bytes = step_images * step_h * step_w * wide * size
    gradients = work + block_outputs * all_rows * size
    run_w, step = part_w, stride_w
    if SPLITS:
        bfloats, pixels, split = get_int64(table + BFLOATS), get_int64(table + PIXELS), work + get_int64(table + SPLIT)
        if bfloats:  # columns are dealt out, and the last step of a panel is filled up
            run_w, step, panel_bytes = part_w // stride_w, 1, pixels * wide * size
            split_panel = pixels * wide * bfloats * 2
            split_panels = split + LEFT + left_bytes(pixels, bfloats)
            planes = split_panels + block_outputs // wide * split_panel
            clear_bytes(split + LEFT, left_bytes(pixels, bfloats))  # numbers, also where nothing is written
            configure(split + CONFIG)
    copy = gradients + block_outputs // wide * panel_bytes
    for job in range(thread * jobs // threads, (thread + 1) * jobs // threads):
        first_output = job // parts
        part = job - first_output * parts
        first_channel = first_output // output_blocks
        first_output = (first_output - first_channel * output_blocks) * block_outputs
        group = first_channel // channel_blocks
        first_channel = (first_channel - group * channel_blocks) * block_channels
        there = min(block_channels, in_group - first_channel)
        columns = min(block_outputs, out_group - first_output)
        first_row = (group * out_group + first_output) * in_group + first_channel  # of dW
        begins = table + BEGINS if there == block_channels else table + BEGINS + 8 * all_rows  # the second table
        sums_bytes = (there * taps + ROWS - 1) // ROWS * ROWS * wide * size  # of one panel
        panels = (columns + wide - 1) // wide
        clear_bytes(work, panels * sums_bytes)
        for block in range(part * blocks // parts, (part + 1) * blocks // parts):
            y = block // blocks_w
            z = (block - y * blocks_w) * step_w
            n = y // blocks_h
            y, n = (y - n * blocks_h) * step_h, n * step_images
            count, tall, long = min(step_images, images - n), min(step_h, out_h - y), min(step_w, out_w - z)
            run = tall * long  # of g lies in one piece: there are several rows only where they are whole
            image = x + (n * channels + group * in_group + first_channel) * height * width * size
            if copied:
                base, image_stride, row_stride = copy, part_h * part_w * size, part_w * size
                top, left = y * stride_h - get_int64(table + PAD_H), z * stride_w - get_int64(table + PAD_W)
                for c in range(there):
                    for i in range(count):
                        copy_part(
                            image + (i * channels + c) * height * width * size, height, width, top, left, part_h, 1,
                            run_w, get_int64(table + COPY_STEP), get_int64(table + COPY_STEP),
                            copy + (c * step_images + i) * image_stride, like,
                        )  # fmt: skip
            else:
                base = image + (y * stride_h * width + z * stride_w) * size
                image_stride, row_stride = channels * height * width * size, width * size
            if SPLITS and bfloats:
                fits = bfloats
                split_part(
                    copy, there, step_images, count, part_h * part_w, bfloats, planes, get_int64(table + PLANE_BYTES),
                    split,
                )  # fmt: skip
            for panel in range(panels):
                output, gradient = first_output + panel * wide, gradients + panel * panel_bytes
                lines, to = min(wide, out_group - output), gradient
                if lines < wide:
                    clear_bytes(to, count * run * wide * size)
                for i in range(count):
                    source = g + ((((n + i) * outputs + group * out_group + output) * out_h + y) * out_w + z) * size
                    transpose_run(source, out_h * out_w * size, lines, run, to, wide * size, like)
                    to += run * wide * size
                if SPLITS and bfloats:
                    if not split_gradient(gradient, count * run, bfloats, split_panels + panel * split_panel, split):
                        fits = 0
                    continue
                begin = begins
                for sums in range(work + panel * sums_bytes, work + (panel + 1) * sums_bytes, ROWS * wide * size):
                    multiply_windows(
                        begin, base, count, tall, long, image_stride, stride_h * row_stride, step * size, gradient,
                        sums, like,
                    )  # fmt: skip
                    begin += 8 * ROWS
            if SPLITS and bfloats:
                multiply_pixels(
                    begins, there * taps, base, count, tall, long, image_stride, stride_h * row_stride, gradients,
                    panel_bytes, panels, work, sums_bytes, fits, planes, get_int64(table + PLANE_BYTES), split_panels,
                    bfloats, pixels, split, like,
                )  # fmt: skip
        line = in_group * taps * size
        to = target + (part * outputs * in_group + first_row) * taps * size
        for panel in range(panels):
            lines = min(wide, columns - panel * wide)
            transpose_run(work + panel * sums_bytes, wide * size, there * taps, lines, to, line, like)
            to += wide * line
    if SPLITS and bfloats:
        release()


@parallel_kernel
def sum_dots(x, g, target, table, work, like, thread, threads):
    """All jobs by dot products: one channel of the image with all outputs of its group, over a part of the images."""
    size, side = itemsize(like), lanes(like)
    work += thread * get_int64(table + WORK_BYTES)
    channels, outputs, groups = get_int64(table + CHANNELS), get_int64(table + OUTPUTS), get_int64(table + GROUPS)
    in_group, out_group, taps = channels // groups, outputs // groups, get_int64(table + TAPS)
    height, width, out_h, out_w = (
        get_int64(table + HEIGHT), get_int64(table + WIDTH), get_int64(table + OUT_H), get_int64(table + OUT_W),
    )  # fmt: skip
    step, part_h = get_int64(table + COPY_STEP), get_int64(table + PART_H)
    run = (get_int64(table + PART_W) + step - 1) // step  # columns that the windows of a row see at one offset
    images, copied, parts = get_int64(table + IMAGES), get_int64(table + COPIED), get_int64(table + PARTS)
    chunk_bytes = DOTS * side * size  # of sums
    chunks = (taps + DOTS - 1) // DOTS
    copy = work + out_group * chunks * chunk_bytes
    row_stride = (step * run if copied else width) * get_int64(table + STRIDE_H) * size
    jobs = get_int64(table + JOBS)
    for job in range(thread * jobs // threads, (thread + 1) * jobs // threads):
        channel = job // parts
        part = job - channel * parts
        group = channel // in_group
        clear_bytes(work, copy - work)
        for n in range(part * images // parts, (part + 1) * images // parts):
            plane = x + (n * channels + channel) * height * width * size
            if copied:
                copy_part(
                    plane, height, width, -get_int64(table + PAD_H), -get_int64(table + PAD_W), part_h, 1, run, step,
                    step, copy, like,
                )  # fmt: skip
                plane = copy
            gradient = g + (n * outputs + group * out_group) * out_h * out_w * size
            sums = work
            for _output in range(out_group):
                for begins in range(table + BEGINS, table + BEGINS + 8 * chunks * DOTS, 8 * DOTS):
                    dot_windows(begins, plane, row_stride, gradient, out_w * size, out_h, out_w, sums, like)
                    sums += chunk_bytes
                gradient += out_h * out_w * size
        for output in range(out_group):
            to = ((part * outputs + group * out_group + output) * in_group + channel - group * in_group) * taps
            source = work + output * chunks * chunk_bytes
            for tap in range(taps):
                total = zero(like)
                for lane in range(side):
                    total += get(source + (tap * side + lane) * size, like)
                put(target + (to + tap) * size, total)


@parallel_kernel
def add_parts(target, partial, parts, count, like, thread, threads):
    """``target`` (count,), the sum over the first axis of ``partial`` (parts, count), in order."""
    size, first, end = itemsize(like), thread * count // threads, (thread + 1) * count // threads
    copy_bytes(target + first * size, partial + first * size, (end - first) * size)
    for part in range(1, parts):
        add_run(target + first * size, partial + (part * count + first) * size, end - first, like)


class Plan(NamedTuple):
    by_dots: bool
    parts: int
    jobs: int
    work_bytes: int
    table: Array  # Geometry, Cut and where the rows of the matrix of windows begin


def conv_weight_grad(
    x: Array, g: Array, kernel_size: Size, stride: Size, padding: Size, dilation: Size, groups: int
) -> Array:
    """Gradient of ``conv``'s weight, (O, C/groups, *kernel_size), from x (N, C, *size) and g (N, O, *counts)."""
    if x.ndim > 4 or x.dtype != g.dtype or x.dtype.char not in "fd" or not x.size or not g.size:
        return reference.conv_weight_grad(x, g, kernel_size, stride, padding, dilation, groups)
    means = x.itemsize, parts_now(x.itemsize)
    plan = make_plan(x.shape, g.shape, kernel_size, stride, padding, dilation, groups, *means)
    x, g = np.ascontiguousarray(x), np.ascontiguousarray(g)
    value = np.empty((g.shape[1], x.shape[1] // groups, *kernel_size), x.dtype)
    threads = min(threads_for(g.size * (value.size // g.shape[1]), PER_THREAD), plan.jobs)
    target, like = address(value), x.dtype.type(0)
    sums = _round_up(plan.parts * value.nbytes, 64) if plan.parts > 1 else 0
    work = scratch("weight gradient", sums + threads * plan.work_bytes)
    compute = sum_dots if plan.by_dots else sum_products
    compute(address(x), address(g), work if sums else target, address(plan.table), work + sums, like, threads)
    if sums:
        add_parts(target, work, plan.parts, value.size, like, threads)
    return value


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
    tiles = _round_up(in_group * geometry.taps, ROWS) * -(-out_group // _tile_columns(itemsize)) * VECTORS
    if dots <= tiles:
        return _plan_dots(geometry, kernel_size, dilation, itemsize)
    return _plan_tiles(geometry, kernel_size, dilation, itemsize, bfloats if _repays_splitting(geometry) else 0)


def _plan_dots(shape: Geometry, kernel_size: Size, dilation: Size, itemsize: int) -> Plan:
    parts = min(shape.images, -(-JOBS // shape.channels))
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
        work_bytes=_round_up(work * itemsize, 64),
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
    filled = _round_up(math.prod(depth), EDGE)
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
    channels = _share(in_group, max(1, BLOCK_ROWS // shape.taps))
    outputs = _round_up(_share(out_group, SPLIT_OUTPUTS if bfloats else BLOCK_OUTPUTS), _tile_columns(itemsize))
    jobs = shape.groups * -(-in_group // channels) * -(-out_group // outputs)
    parts = min(blocks, -(-JOBS // jobs))
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
    pixels = _round_up(images * rows * columns, EDGE if bfloats else 1)
    copy = channels * images * math.prod(part) * copied
    work = (len(tables[0]) + pixels) * outputs + copy
    split = work_bytes = _round_up((work + 2 * EDGE * bool(bfloats)) * itemsize, 64)  # with zeros behind the copy
    plane_bytes = (_round_up(copy, EDGE) + EDGE) * 2
    if bfloats:  # sums of a tile and what lies beside them, both operands, planes
        work_bytes += _round_up(LEFT + 64 + bfloats * (2 * pixels * (EDGE + outputs) + plane_bytes), 64)
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


def _round_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple
