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
from tinygrad_notes.kernels.cpu.isa.machine import MACHINE
from tinygrad_notes.kernels.cpu.isa.runs import add_run, clear_bytes, copy_bytes
from tinygrad_notes.kernels.cpu.isa.tile import ROWS, VECTORS, tile_columns
from tinygrad_notes.kernels.cpu.isa.transpose import lanes, transpose
from tinygrad_notes.kernels.cpu.isa.vector import get, itemsize, put, zero
from tinygrad_notes.kernels.cpu.isa.window_sums import DOTS, dot_windows, multiply_windows
from tinygrad_notes.kernels.cpu.threads import threads_for
from tinygrad_notes.kernels.cpu.windows import copy_part
from tinygrad_notes.kernels.reference.windows import span

Array = np.ndarray
Size = tuple[int, ...]
DEPTH = 224  # pixels of a block, about: a panel of g stays in the first cache
BLOCK_ROWS, BLOCK_OUTPUTS = 384, 64  # of dW in one job: its sums stay in the second cache
JOBS = 16  # at least, if the depth allows it
PER_THREAD = 48**3  # multiplications that repay waking a thread


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


@kernel
def product_job(job, x, g, target, begins, geometry, cut, work, like):
    """A block of dW (channels by outputs of a group) over a part of the pixels, on register tiles."""
    size, wide = itemsize(like), tile_columns(like)
    images, channels, outputs, groups, height, width, out_h, out_w, taps, stride_h, stride_w, pad_h, pad_w = geometry
    copied, parts, block_channels, block_outputs, step_images, step_h, step_w, part_h, part_w = cut
    in_group, out_group = channels // groups, outputs // groups
    part, job = job % parts, job // parts
    blocks = -(-out_group // block_outputs)
    first_output, job = job % blocks * block_outputs, job // blocks
    blocks = -(-in_group // block_channels)
    first_channel, group = job % blocks * block_channels, job // blocks
    output, channel = group * out_group + first_output, group * in_group + first_channel
    there = min(block_channels, in_group - first_channel)
    columns = min(block_outputs, out_group - first_output)
    all_rows = -(-block_channels * taps // ROWS) * ROWS
    rows = -(-there * taps // ROWS) * ROWS
    if there < block_channels:  # the second table
        begins += 8 * all_rows

    pixels = step_images * step_h * step_w
    panels, most_panels = -(-columns // wide), -(-block_outputs // wide)
    gradients = work + most_panels * all_rows * wide * size
    copy = gradients + most_panels * pixels * wide * size
    clear_bytes(work, panels * rows * wide * size)
    blocks_h, blocks_w = -(-out_h // step_h), -(-out_w // step_w)
    blocks = -(-images // step_images) * blocks_h * blocks_w
    for block in range(part * blocks // parts, (part + 1) * blocks // parts):
        n, y = block // (blocks_h * blocks_w) * step_images, block // blocks_w % blocks_h * step_h
        z = block % blocks_w * step_w
        count, tall, long = min(step_images, images - n), min(step_h, out_h - y), min(step_w, out_w - z)
        run = tall * long  # of g lies in one piece: there are several rows only where they are whole
        for panel in range(panels):
            lines, to = min(wide, columns - panel * wide), gradients + panel * pixels * wide * size
            if lines < wide:
                clear_bytes(to, count * run * wide * size)
            for i in range(count):
                source = g + ((((n + i) * outputs + output + panel * wide) * out_h + y) * out_w + z) * size
                transpose_run(source, out_h * out_w * size, lines, run, to, wide * size, like)
                to += run * wide * size
        first = x + (n * channels + channel) * height * width * size
        if copied:
            base, image_stride, row_stride = copy, part_h * part_w * size, part_w * size
            top, left = y * stride_h - pad_h, z * stride_w - pad_w
            for c in range(there):
                for i in range(count):
                    plane = first + (i * channels + c) * height * width * size
                    to = copy + (c * step_images + i) * image_stride
                    copy_part(plane, height, width, top, left, part_h, part_w, 1, to, like)
        else:
            base = first + (y * stride_h * width + z * stride_w) * size
            image_stride, row_stride = channels * height * width * size, width * size
        for panel in range(panels):
            for row in range(0, rows, ROWS):
                multiply_windows(
                    begins + 8 * row, base, count, tall, long, image_stride, stride_h * row_stride, stride_w * size,
                    gradients + panel * pixels * wide * size, work + (panel * rows + row) * wide * size, like,
                )  # fmt: skip
    line = in_group * taps * size
    for panel in range(panels):
        to = target + (part * outputs + output + panel * wide) * line + first_channel * taps * size
        source, lines = work + panel * rows * wide * size, min(wide, columns - panel * wide)
        transpose_run(source, wide * size, there * taps, lines, to, line, like)


@kernel
def dots_job(job, x, g, target, begins, geometry, cut, work, like):
    """One channel of the image with all outputs of its group, over a part of the images, by dot products."""
    size, side = itemsize(like), lanes(like)
    images, channels, outputs, groups, height, width, out_h, out_w, taps, stride_h, stride_w, pad_h, pad_w = geometry
    copied, parts, _, _, _, _, _, part_h, part_w = cut
    in_group, out_group = channels // groups, outputs // groups
    part, channel = job % parts, job // parts
    group, chunks = channel // in_group, -(-taps // DOTS)
    copy = work + out_group * chunks * DOTS * side * size
    clear_bytes(work, copy - work)
    row_stride = -(-part_w // stride_w) * stride_w * size if copied else width * size
    if copied and stride_w == 1:  # zeros around the plane stay while the planes change
        clear_bytes(copy, part_h * part_w * size)
    for n in range(part * images // parts, (part + 1) * images // parts):
        plane = x + (n * channels + channel) * height * width * size
        if copied and stride_w == 1:
            for y in range(pad_h, min(pad_h + height, part_h)):
                line = plane + (y - pad_h) * width * size
                copy_bytes(copy + y * row_stride + pad_w * size, line, max(0, min(width, part_w - pad_w)) * size)
        elif copied:
            copy_part(plane, height, width, -pad_h, -pad_w, part_h, part_w, stride_w, copy, like)
        if copied:
            plane = copy
        for output in range(out_group):
            gradient = g + (n * outputs + group * out_group + output) * out_h * out_w * size
            for chunk in range(chunks):
                dot_windows(
                    begins + 8 * chunk * DOTS, plane, stride_h * row_stride, gradient, out_w * size, out_h, out_w,
                    work + (output * chunks + chunk) * DOTS * side * size, like,
                )  # fmt: skip
    for output in range(out_group):
        to = ((part * outputs + group * out_group + output) * in_group + channel % in_group) * taps
        for tap in range(taps):
            total, source = zero(like), work + (output * chunks * DOTS + tap) * side * size
            for lane in range(side):
                total += get(source + lane * size, like)
            put(target + (to + tap) * size, total)


@parallel_kernel
def sum_products(
    by_dots, x, g, partial, begins, geometry, cut, jobs, work, work_bytes, like, thread, threads
):  # fmt: skip
    """All jobs. The sums of each part of the pixels, (parts, *dW's shape), are at ``partial``."""
    for job in range(thread * jobs // threads, (thread + 1) * jobs // threads):
        if by_dots:
            dots_job(job, x, g, partial, begins, geometry, cut, work + thread * work_bytes, like)
        else:
            product_job(job, x, g, partial, begins, geometry, cut, work + thread * work_bytes, like)


@parallel_kernel
def add_parts(target, partial, parts, count, like, thread, threads):
    """``target`` (count,), the sum over the first axis of ``partial`` (parts, count), in order."""
    size, first, end = itemsize(like), thread * count // threads, (thread + 1) * count // threads
    copy_bytes(target + first * size, partial + first * size, (end - first) * size)
    for part in range(1, parts):
        add_run(target + first * size, partial + (part * count + first) * size, end - first, like)


class Geometry(NamedTuple):
    """The sizes that the kernels read; a sequence has height 1. ``taps``: offsets in the kernel."""

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


class Plan(NamedTuple):
    """How the work of one shape is cut."""

    by_dots: bool
    geometry: tuple[int, ...]
    # copied or read in place, parts of the pixels; channels and outputs of a job; images, rows and columns of pixels in
    # a block of the depth; height and width of what their windows see
    cut: tuple[int, ...]
    begins: Array  # where the rows of the matrix of windows begin, in bytes
    jobs: int
    work_bytes: int  # scratch of one thread


def conv_weight_grad(
    x: Array, g: Array, kernel_size: Size, stride: Size, padding: Size, dilation: Size, groups: int
) -> Array:
    """Gradient of ``conv``'s weight, (O, C/groups, *kernel_size), from x (N, C, *size) and g (N, O, *counts)."""
    if x.ndim > 4 or x.dtype != g.dtype or x.dtype.char not in "fd" or not x.size or not g.size:
        return reference.conv_weight_grad(x, g, kernel_size, stride, padding, dilation, groups)
    plan = make_plan(x.shape, g.shape, kernel_size, stride, padding, dilation, groups, x.itemsize)
    x, g = np.ascontiguousarray(x), np.ascontiguousarray(g)
    value = np.empty((g.shape[1], x.shape[1] // groups, *kernel_size), x.dtype)
    threads = min(threads_for(g.size * (value.size // g.shape[1]), PER_THREAD), plan.jobs)
    parts, target = plan.cut[1], address(value)
    sums = _round_up(parts * value.nbytes, 64) if parts > 1 else 0
    work = scratch("weight gradient", sums + threads * plan.work_bytes)
    like = x.dtype.type(0)
    sum_products(
        plan.by_dots, address(x), address(g), work if sums else target, address(plan.begins), plan.geometry, plan.cut,
        plan.jobs, work + sums, plan.work_bytes, like, threads,
    )  # fmt: skip
    if sums:
        add_parts(target, work, parts, value.size, like, threads)
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
    plan = _plan_dots if dots <= tiles else _plan_tiles
    return plan(geometry, kernel_size, dilation, itemsize)


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
    cut = (int(copied), parts, 1, 1, 1, shape.out_h, shape.out_w, *part)
    return Plan(True, tuple(shape), cut, begins * itemsize, shape.channels * parts, _round_up(work * itemsize, 64))


def _plan_tiles(shape: Geometry, kernel_size: Size, dilation: Size, itemsize: int) -> Plan:
    in_group, out_group = shape.channels // shape.groups, shape.outputs // shape.groups
    columns = _share(shape.out_w, DEPTH)
    rows = _share(shape.out_h, max(1, DEPTH // shape.out_w))
    images = _share(shape.images, max(1, DEPTH // (shape.out_h * shape.out_w)))
    blocks = -(-shape.images // images) * -(-shape.out_h // rows) * -(-shape.out_w // columns)
    channels = _share(in_group, max(1, BLOCK_ROWS // shape.taps))
    outputs = _round_up(_share(out_group, BLOCK_OUTPUTS), _tile_columns(itemsize))
    jobs = shape.groups * -(-in_group // channels) * -(-out_group // outputs)
    parts = min(blocks, -(-JOBS // jobs))
    copied = _leaves(shape, _seen(shape, kernel_size, dilation, shape.out_h, shape.out_w))
    part = _seen(shape, kernel_size, dilation, rows, columns)
    row = part[1] if copied else shape.width
    plane = images * part[0] * row if copied else shape.height * row
    window = np.arange(kernel_size[0])[:, None] * dilation[0] * row + np.arange(kernel_size[1]) * dilation[1]
    tables = [  # of a block of channels, and of the last one, which may have fewer
        _filled((np.arange(count)[:, None] * plane + window.ravel()).ravel(), ROWS)
        for count in (channels, in_group % channels or channels)
    ]
    work = (len(tables[0]) + images * rows * columns) * outputs + channels * images * math.prod(part) * copied
    cut = (int(copied), parts, channels, outputs, images, rows, columns, *part)
    begins = np.concatenate(tables) * itemsize
    return Plan(False, tuple(shape), cut, begins, jobs * parts, _round_up(work * itemsize, 64))


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
