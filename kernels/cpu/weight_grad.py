"""The gradient of a convolution's weight: a matrix product whose depth is the pixels of all images.

dW (O, C·Πkernel_size) = Σ over images of g (O, pixels) times the windows (pixels, C·Πkernel_size). Two ways, by what is
expected to be cheaper:

- As a product on register tiles. The tile wants a vector of one operand, several outputs at one pixel, so g is
  transposed into panels; and single elements of the other, the image at one channel and offset in the kernel, which
  are read where they stand, in the image or a copy of a part of it with its padding. No windows are written out.
- As dot products, for few outputs and channels in a group (depthwise convolution has one of each): vectors of g along a
  row of pixels times vectors of the image along the same pixels, and the lanes are added at the end.

Work is cut into jobs by the shape alone (``weight_grad_plan.py``); where dW is too small for enough of them, into parts
of the pixels, whose sums are added in order. So any number of threads gives the same bits.
"""

from __future__ import annotations

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu.buffers import address, scratch
from tinygrad_notes.kernels.cpu.compile import kernel, parallel_kernel
from tinygrad_notes.kernels.cpu.gemm import parts_now
from tinygrad_notes.kernels.cpu.isa.memory import add_run, clear_bytes, copy_bytes, get_int64
from tinygrad_notes.kernels.cpu.isa.tile import ROWS, tile_columns
from tinygrad_notes.kernels.cpu.isa.transpose import transpose
from tinygrad_notes.kernels.cpu.isa.vector import get, itemsize, lanes, put, zero
from tinygrad_notes.kernels.cpu.isa.window_sums import DOTS, dot_windows, multiply_windows
from tinygrad_notes.kernels.cpu.threads import threads_for
from tinygrad_notes.kernels.cpu.weight_grad_plan import (
    BEGINS,
    BFLOATS,
    BLOCK_CHANNELS,
    BLOCK_OUTPUTS,
    CHANNELS,
    COPIED,
    COPY_STEP,
    GROUPS,
    HEIGHT,
    IMAGES,
    JOBS,
    OUT_H,
    OUT_W,
    OUTPUTS,
    PAD_H,
    PAD_W,
    PART_H,
    PART_W,
    PARTS,
    PIXELS,
    PLANE_BYTES,
    SPLIT,
    SPLITS,
    STEP_H,
    STEP_IMAGES,
    STEP_W,
    STRIDE_H,
    STRIDE_W,
    TAPS,
    WIDTH,
    WORK_BYTES,
    make_plan,
    round_up,
)  # fmt: skip
from tinygrad_notes.kernels.cpu.windows import copy_part

Array = np.ndarray
Size = tuple[int, ...]
PER_THREAD = 112**3  # multiplications that repay waking a thread
if SPLITS:  # Numba leaves out what is not compiled for this machine
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
    sums = round_up(plan.parts * value.nbytes, 64) if plan.parts > 1 else 0
    work = scratch("weight gradient", sums + threads * plan.work_bytes)
    compute = sum_dots if plan.by_dots else sum_products
    compute(address(x), address(g), work if sums else target, address(plan.table), work + sums, like, threads)
    if sums:
        add_parts(target, work, plan.parts, value.size, like, threads)
    return value
