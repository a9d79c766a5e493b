"""Average pooling: means over boxes, whether they slide or cover x.

A row of windows is added up column by column first, whole rows of x at a time, then along the row. Sums run in float64,
which is as fast as memory, and makes the mean of a whole plane as accurate as that of two elements.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu.buffers import LIKE, address, scratch
from tinygrad_notes.kernels.cpu.compile import kernel, parallel_kernel
from tinygrad_notes.kernels.cpu.isa.memory import clear_bytes, rounded
from tinygrad_notes.kernels.cpu.isa.vector import get, itemsize, put
from tinygrad_notes.kernels.cpu.pooling_windows import Size, covering_boxes, sliding_boxes
from tinygrad_notes.kernels.cpu.threads import threads_for

Array = np.ndarray
PER_THREAD = 16384  # elements that repay waking a thread
CHUNK = 32  # elements of a plane added to as many sums, a few vectors that do not wait for each other


@kernel
def add_row(sums, row, columns, first, like):
    """sums += row, or sums = row where it is the ``first``; sums are float64."""
    size = itemsize(like)
    if first:
        for k in range(columns):
            put(sums + k * 8, get(row + k * size, like) + 0.0)
    else:
        for k in range(columns):
            put(sums + k * 8, get(sums + k * 8, 0.0) + get(row + k * size, like))


@parallel_kernel
def means_of_boxes(x, y, planes, boxes, work, like, thread, threads):
    """A thread takes a share of the planes, with a row of float64 at ``work``; ``boxes`` of ``pooling_windows``."""
    size = itemsize(like)
    height, columns = boxes[1], boxes[2]
    area, windows = boxes[0] * height * columns, boxes[3] * boxes[4] * boxes[5]
    second, third = 6 + 4 * boxes[3], 6 + 4 * (boxes[3] + boxes[4])
    sums = work + thread * columns * 8
    for plane in range(thread * planes // threads, (thread + 1) * planes // threads):
        source, to = x + plane * area * size, y + plane * windows * size
        for i in range(6, second, 4):
            for j in range(second, third, 4):
                first = True
                for d in range(boxes[i], boxes[i + 1]):
                    for h in range(boxes[j], boxes[j + 1]):
                        add_row(sums, source + (d * height + h) * columns * size, columns, first, like)
                        first = False
                divisor = boxes[i + 2] * boxes[j + 2]
                for k in range(third, third + 4 * boxes[5], 4):
                    total = 0.0
                    for column in range(boxes[k], boxes[k + 1]):
                        total += get(sums + column * 8, 0.0)
                    mean = 0.0 if first else total / (divisor * boxes[k + 2])  # a box of padding alone
                    put(to, rounded(mean, like))
                    to += size


@parallel_kernel
def means_of_planes(x, y, planes, area, work, like, thread, threads):
    """Means of whole planes, as rows of CHUNK elements; ``work`` has CHUNK float64 for each thread."""
    size = itemsize(like)
    sums = work + thread * CHUNK * 8
    for plane in range(thread * planes // threads, (thread + 1) * planes // threads):
        source, total = x + plane * area * size, 0.0
        clear_bytes(sums, CHUNK * 8)
        whole = area // CHUNK * CHUNK
        for i in range(0, whole, CHUNK):
            for k in range(CHUNK):
                put(sums + k * 8, get(sums + k * 8, 0.0) + get(source + (i + k) * size, like))
        for i in range(whole, area):
            at = sums + (i - whole) * 8
            put(at, get(at, 0.0) + get(source + i * size, like))
        for k in range(CHUNK):
            total += get(sums + k * 8, 0.0)
        put(y + plane * size, rounded(total / area, like))


@parallel_kernel
def spread_over_boxes(g, gradient, planes, boxes, work, like, thread, threads):
    """The adjoint: each g, divided by the size of its box, is added to all elements of the box."""
    size = itemsize(like)
    height, columns = boxes[1], boxes[2]
    area, windows = boxes[0] * height * columns, boxes[3] * boxes[4] * boxes[5]
    second, third = 6 + 4 * boxes[3], 6 + 4 * (boxes[3] + boxes[4])
    row = work + thread * columns * 8
    for plane in range(thread * planes // threads, (thread + 1) * planes // threads):
        source, target = g + plane * windows * size, gradient + plane * area * size
        clear_bytes(target, area * size)
        for i in range(6, second, 4):
            for j in range(second, third, 4):
                clear_bytes(row, columns * size)
                divisor = boxes[i + 2] * boxes[j + 2]
                for k in range(third, third + 4 * boxes[5], 4):
                    share = rounded(get(source, like) / (1.0 * divisor * boxes[k + 2]), like)
                    for column in range(boxes[k], boxes[k + 1]):
                        put(row + column * size, get(row + column * size, like) + share)
                    source += size
                for d in range(boxes[i], boxes[i + 1]):
                    for h in range(boxes[j], boxes[j + 1]):
                        to = target + (d * height + h) * columns * size
                        for column in range(columns):
                            there = get(to + column * size, like) + get(row + column * size, like)
                            put(to + column * size, there)


# ---------------------------------------------------------------------- functions of the contract


def avg_pool(
    x: Array, kernel_size: Size, stride: Size, padding: Size, ceil_mode: bool, count_include_pad: bool
) -> Array:
    """Mean of each window of x (N, C, *size): (N, C, *counts)."""
    if x.dtype not in LIKE:
        return reference.avg_pool(x, kernel_size, stride, padding, ceil_mode, count_include_pad)
    undilated = (1,) * len(kernel_size)
    boxes, counts = sliding_boxes(
        x.shape[2:], kernel_size, stride, padding, undilated, bool(ceil_mode), bool(count_include_pad)
    )
    return _means(x, boxes, counts)


def avg_pool_grad(
    g: Array,
    input_size: Size,
    kernel_size: Size,
    stride: Size,
    padding: Size,
    ceil_mode: bool,
    count_include_pad: bool,
) -> Array:
    """Gradient of avg_pool's x, (N, C, *input_size), from g (N, C, *counts)."""
    if g.dtype not in LIKE:
        return reference.avg_pool_grad(g, input_size, kernel_size, stride, padding, ceil_mode, count_include_pad)
    undilated = (1,) * len(kernel_size)
    boxes, _ = sliding_boxes(
        tuple(input_size), kernel_size, stride, padding, undilated, bool(ceil_mode), bool(count_include_pad)
    )
    return _spread(g, boxes, input_size)


def adaptive_avg_pool(x: Array, output_size: Size) -> Array:
    """Means of x (N, C, *size) over output_size windows that cover it: (N, C, *output_size)."""
    if x.dtype not in LIKE or not x.size:
        return reference.adaptive_avg_pool(x, output_size)
    if math.prod(output_size) > 1:
        return _means(x, covering_boxes(x.shape[2:], output_size), output_size)
    x = np.ascontiguousarray(x)
    y = np.empty((*x.shape[:2], *output_size), x.dtype)
    threads = threads_for(x.size, PER_THREAD)
    work = scratch("avg_pool", threads * CHUNK * 8)
    means_of_planes(address(x), address(y), y.size, x.size // y.size, work, x.dtype.type(0), threads)
    return y


def adaptive_avg_pool_grad(g: Array, input_size: Size) -> Array:
    """Gradient of adaptive_avg_pool's x (N, C, *input_size)."""
    if g.dtype not in LIKE or not g.size:
        return reference.adaptive_avg_pool_grad(g, input_size)
    if g.size == g.shape[0] * g.shape[1]:  # whole planes, each as one row
        row = (math.prod(input_size),)
        return _spread(g, covering_boxes(row, (1,)), row).reshape(*g.shape[:2], *input_size)
    return _spread(g, covering_boxes(tuple(input_size), g.shape[2:]), input_size)


def _means(x: Array, boxes: Array, counts: Size) -> Array:
    x = np.ascontiguousarray(x)
    y = np.empty((*x.shape[:2], *counts), x.dtype)
    if y.size:
        threads = threads_for(x.size, PER_THREAD)
        work = scratch("avg_pool", threads * x.shape[-1] * 8)
        means_of_boxes(
            address(x), address(y), x.shape[0] * x.shape[1], boxes, work, x.dtype.type(0), threads
        )  # fmt: skip
    return y


def _spread(g: Array, boxes: Array, size: Size) -> Array:
    g = np.ascontiguousarray(g)
    gradient = np.empty((*g.shape[:2], *size), g.dtype)
    if gradient.size:
        threads = threads_for(gradient.size, PER_THREAD)
        work = scratch("avg_pool", threads * size[-1] * 8)
        planes = math.prod(g.shape[:2])
        spread_over_boxes(address(g), address(gradient), planes, boxes, work, g.dtype.type(0), threads)
    return gradient
