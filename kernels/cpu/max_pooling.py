"""Max pooling: the largest element of each window, and where it stands.

The largest of a window is the largest of the largest of its rows. So each row of x is reduced along its own axis first,
once for all windows that share it, and the results are then reduced over rows (and depth). Both passes keep, in vectors
of windows, the largest value so far and its place. Windows ``stride`` elements apart do not lie in one vector, so a row
is first dealt out: padded element i goes to place i // stride of list i % stride. Then what neighbouring windows see at
one offset are neighbours in one list. The lists begin and end with -inf, which never wins: the place that a
window starts from is its first element of x, and only a larger one, or the first NaN, takes over.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu.buffers import LIKE, address, scratch
from tinygrad_notes.kernels.cpu.compile import kernel, parallel_kernel
from tinygrad_notes.kernels.cpu.isa.machine import MACHINE
from tinygrad_notes.kernels.cpu.isa.memory import clear_bytes, copy_bytes, get_int32, put_int32, put_int64, rounded
from tinygrad_notes.kernels.cpu.isa.vector import get, itemsize, put
from tinygrad_notes.kernels.cpu.largest import lanes_of, largest_along_row, largest_of_rows, split_pairs
from tinygrad_notes.kernels.cpu.pooling_windows import Size, cover, covering_boxes, sliding_boxes, three, window_count
from tinygrad_notes.kernels.cpu.streaming import stream_copy, streams
from tinygrad_notes.kernels.cpu.threads import threads_for

Array = np.ndarray
PER_THREAD = 16384  # elements that repay waking a thread
MOST_LISTS = 8  # with larger strides dealing out a row does not pay
PLANE_BYTES = 1 << 17  # of a plane that stays in the second cache
ROWS = 8  # dealt out at a time: a load of what was just stored in other pieces has to wait for it


# ---------------------------------------------------------------------- planes

# ``geometry`` (int64) of a call: size, kernel_size, stride, padding, dilation, counts, of three axes each; then the
# pitch of a list, the windows of a row rounded up to whole vectors, and where in the scratch memory things begin.
SIZE, KERNEL, STRIDE, PADDING, DILATION, COUNTS, PITCH, WINDOWS = 0, 3, 6, 9, 12, 15, 18, 19
OFFSETS, FIRST, LISTS, VALUES, PLACES, EDGE, EDGE_PLACES, WORK_BYTES = 20, 21, 22, 23, 24, 25, 26, 27


@kernel
def prepare(geometry, work, like):
    """The tables and the -inf around the lists, the same for all planes."""
    size = itemsize(like)
    stride, padding, dilation = geometry[STRIDE + 2], geometry[PADDING + 2], geometry[DILATION + 2]
    for offset in range(geometry[KERNEL + 2]):
        at = offset * dilation
        put_int64(work + geometry[OFFSETS] + offset * 8, (at % stride * geometry[PITCH] + at // stride) * size)
    for window in range(geometry[WINDOWS]):
        start = window * stride - padding
        skipped = 0 if start >= 0 else (dilation - 1 - start) // dilation
        put_int32(work + geometry[FIRST] + window * 4, skipped * dilation)
    nothing = rounded(-math.inf, like)
    for i in range(ROWS * stride * geometry[PITCH]):
        put(work + geometry[LISTS] + i * size, nothing)


@kernel
def deal(row, columns, padding, stride, lists, pitch, like):
    """Element i of a row to place (i + padding) // stride of list (i + padding) % stride."""
    size = itemsize(like)
    if stride == 1:
        copy_bytes(lists + padding * size, row, columns * size)
    elif stride == 2:
        even = lists + (padding % 2 * pitch + padding // 2) * size
        odd = lists + ((padding + 1) % 2 * pitch + (padding + 1) // 2) * size
        split_pairs(row, even, odd, columns // 2, like)
        for i in range(columns // 2 // lanes_of(like) * lanes_of(like), (columns + 1) // 2):
            put(even + i * size, get(row + 2 * i * size, like))
            if 2 * i + 1 < columns:
                put(odd + i * size, get(row + (2 * i + 1) * size, like))
    else:
        for first in range(min(stride, columns)):
            to = lists + ((padding + first) % stride * pitch + (padding + first) // stride) * size
            for i in range((columns - first - 1) // stride + 1):
                put(to + i * size, get(row + (first + i * stride) * size, like))


@kernel
def max_pool_plane(x, y, places, geometry, work, like):
    """All windows of one plane or volume."""
    size, width = itemsize(like), lanes_of(like)
    depth, height, columns = geometry[SIZE], geometry[SIZE + 1], geometry[SIZE + 2]
    stride, padding, dilation = geometry[STRIDE + 2], geometry[PADDING + 2], geometry[DILATION + 2]
    pitch, lists, room = geometry[WINDOWS], work + geometry[LISTS], stride * geometry[PITCH] * size
    values, found, edge, edge_places = (
        work + geometry[VALUES], work + geometry[PLACES], work + geometry[EDGE], work + geometry[EDGE_PLACES],
    )  # fmt: skip
    for first in range(0, depth * height, ROWS):
        last = min(first + ROWS, depth * height)
        for row in range(first, last):
            to = lists + (row - first) * room
            deal(x + row * columns * size, columns, padding, stride, to, geometry[PITCH], like)
        for row in range(first, last):
            largest_along_row(
                lists + (row - first) * room, work + geometry[OFFSETS], geometry[KERNEL + 2], work + geometry[FIRST],
                row * columns - padding, dilation, stride, pitch // width, values + row * pitch * size,
                found + row * pitch * 4, like,
            )  # fmt: skip
    count = geometry[COUNTS + 2]
    left = geometry[COUNTS] * geometry[COUNTS + 1] * count  # windows from here to the end of y
    for i in range(geometry[COUNTS]):
        front, planes = cover(i, geometry[STRIDE], geometry[PADDING], geometry[KERNEL], geometry[DILATION], depth)
        for j in range(geometry[COUNTS + 1]):
            top, rows = cover(
                j, geometry[STRIDE + 1], geometry[PADDING + 1], geometry[KERNEL + 1], geometry[DILATION + 1], height
            )
            row = (front * height + top) * pitch
            inside = left >= pitch  # what vectors write beyond this row, the next row writes again
            largest_of_rows(
                values + row * size, found + row * 4, pitch, planes, geometry[DILATION] * height, rows,
                geometry[DILATION + 1], pitch // width, y if inside else edge, places if inside else edge_places, like,
            )  # fmt: skip
            if not inside:
                copy_bytes(y, edge, count * size)
                copy_bytes(places, edge_places, count * 4)
            y, places, left = y + count * size, places + count * 4, left - count


@parallel_kernel
def max_pool_planes(x, y, places, planes, geometry, work, like, thread, threads):
    """A thread takes a share of the planes."""
    size = itemsize(like)
    area = geometry[SIZE] * geometry[SIZE + 1] * geometry[SIZE + 2]
    windows = geometry[COUNTS] * geometry[COUNTS + 1] * geometry[COUNTS + 2]
    mine = work + thread * geometry[WORK_BYTES]
    prepare(geometry, mine, like)
    for plane in range(thread * planes // threads, (thread + 1) * planes // threads):
        to = plane * windows
        max_pool_plane(x + plane * area * size, y + to * size, places + to * 4, geometry, mine, like)


@parallel_kernel
def largest_in_boxes(x, y, places, planes, boxes, like, thread, threads):
    """Max pooling one window after the other; ``boxes`` as ``windows.boxes`` makes it."""
    size = itemsize(like)
    height, columns = boxes[1], boxes[2]
    area, windows = boxes[0] * height * columns, boxes[3] * boxes[4] * boxes[5]
    second, third = 6 + 4 * boxes[3], 6 + 4 * (boxes[3] + boxes[4])
    for plane in range(thread * planes // threads, (thread + 1) * planes // threads):
        source, to = x + plane * area * size, plane * windows
        for i in range(6, second, 4):
            for j in range(second, third, 4):
                for k in range(third, third + 4 * boxes[5], 4):
                    place = (boxes[i] * height + boxes[j]) * columns + boxes[k]
                    largest = get(source + place * size, like)
                    for d in range(boxes[i], boxes[i + 1], boxes[i + 3]):
                        for h in range(boxes[j], boxes[j + 1], boxes[j + 3]):
                            row = (d * height + h) * columns
                            for w in range(boxes[k], boxes[k + 1], boxes[k + 3]):
                                value = get(source + (row + w) * size, like)
                                if not value <= largest and largest == largest:
                                    largest, place = value, row + w
                    put(y + to * size, largest)
                    put_int32(places + to * 4, place)
                    to += 1


@parallel_kernel
def add_at_places(g, places, gradient, planes, windows, area, work, like, thread, threads):
    """Each plane of ``gradient`` is 0, plus each g at its place, in the order of g.

    With a plane of scratch memory for each thread at ``work``, planes are made there, and written past the caches.
    """
    size = itemsize(like)
    for plane in range(thread * planes // threads, (thread + 1) * planes // threads):
        from_, place, to = g + plane * windows * size, places + plane * windows * 4, gradient + plane * area * size
        sums = work + thread * area * size if work else to
        clear_bytes(sums, area * size)
        for i in range(windows):
            at = sums + get_int32(place + i * 4) * size
            put(at, get(at, like) + get(from_ + i * size, like))
        if work:
            stream_copy((sums, to, area), (), like)


@parallel_kernel
def read_at_places(x, places, y, planes, windows, area, like, thread, threads):
    """For each plane the elements of x at ``places``."""
    size = itemsize(like)
    for i in range(thread * planes // threads * windows, (thread + 1) * planes // threads * windows):
        at = i // windows * area + get_int32(places + i * 4)
        put(y + i * size, get(x + at * size, like))


# ---------------------------------------------------------------------- functions of the contract


def max_pool(
    x: Array, kernel_size: Size, stride: Size, padding: Size, dilation: Size, ceil_mode: bool
) -> tuple[Array, Array]:
    """Largest element of each window of x (N, C, *size), and where it stands in ``size``: both (N, C, *counts)."""
    if x.dtype not in LIKE:
        return reference.max_pool(x, kernel_size, stride, padding, dilation, ceil_mode)
    if stride[-1] > MOST_LISTS:
        return _largest_in_boxes(
            x, *sliding_boxes(x.shape[2:], kernel_size, stride, padding, dilation, bool(ceil_mode), False)
        )
    geometry, counts, work_bytes = _geometry(
        x.shape[2:], kernel_size, stride, padding, dilation, bool(ceil_mode), x.itemsize
    )
    x = np.ascontiguousarray(x)
    y = np.empty(x.shape[:2] + counts, x.dtype)
    places = np.empty(y.shape, np.int32)
    if y.size:
        threads = threads_for(x.size, PER_THREAD)
        work = scratch("max_pool", threads * work_bytes)
        planes, like = x.shape[0] * x.shape[1], x.dtype.type(0)
        max_pool_planes(address(x), address(y), address(places), planes, geometry, work, like, threads)
    return y, places


def adaptive_max_pool(x: Array, output_size: Size) -> tuple[Array, Array]:
    """Largest element of each of output_size windows that cover x (N, C, *size), and where it stands in ``size``."""
    if x.dtype not in LIKE or not x.size:
        return reference.adaptive_max_pool(x, output_size)
    if not any(n % count for n, count in zip(x.shape[2:], output_size)) and x.shape[-1] <= MOST_LISTS * output_size[-1]:
        steps = tuple(n // count for n, count in zip(x.shape[2:], output_size))  # windows that slide by their size
        axes = len(steps)
        return max_pool(x, steps, steps, (0,) * axes, (1,) * axes, False)
    return _largest_in_boxes(x, covering_boxes(x.shape[2:], output_size), tuple(output_size))


def max_pool_grad(g: Array, indices: Array, input_size: Size) -> Array:
    """Gradient of max_pool's x (N, C, *input_size): each g (N, C, *counts) is added where its maximum stood."""
    if g.dtype not in LIKE:
        return reference.max_pool_grad(g, indices, input_size)
    g, indices = np.ascontiguousarray(g), np.ascontiguousarray(indices, np.int32)
    gradient = np.empty((*g.shape[:2], *input_size), g.dtype)
    planes, area, windows = g.shape[0] * g.shape[1], math.prod(input_size), math.prod(g.shape[2:])
    if gradient.size:
        threads, like = threads_for(gradient.size + 4 * g.size, 2 * PER_THREAD), g.dtype.type(0)
        plane = area * g.itemsize
        work = scratch("max_pool", threads * plane) if plane <= PLANE_BYTES and streams(gradient, area) else 0
        add_at_places(address(g), address(indices), address(gradient), planes, windows, area, work, like, threads)
    return gradient


def max_pool_gather(x: Array, indices: Array) -> Array:
    """The elements of x (N, C, *size) at ``indices`` (N, C, *counts), which count the elements of ``size``."""
    if x.dtype not in LIKE:
        return reference.max_pool_gather(x, indices)
    x, indices = np.ascontiguousarray(x), np.ascontiguousarray(indices, np.int32)
    y = np.empty(indices.shape, x.dtype)
    planes, area, windows = x.shape[0] * x.shape[1], math.prod(x.shape[2:]), math.prod(indices.shape[2:])
    if y.size:
        threads, like = threads_for(y.size, PER_THREAD), x.dtype.type(0)
        read_at_places(address(x), address(indices), address(y), planes, windows, area, like, threads)
    return y


def _largest_in_boxes(x: Array, boxes: Array, counts: Size) -> tuple[Array, Array]:
    x = np.ascontiguousarray(x)
    y = np.empty(x.shape[:2] + counts, x.dtype)
    places = np.empty(y.shape, np.int32)
    if y.size:
        threads, like = threads_for(x.size, PER_THREAD), x.dtype.type(0)
        largest_in_boxes(address(x), address(y), address(places), x.shape[0] * x.shape[1], boxes, like, threads)
    return y, places


@functools.lru_cache(maxsize=256)
def _geometry(
    size: Size, kernel_size: Size, stride: Size, padding: Size, dilation: Size, ceil_mode: bool, itemsize: int
) -> tuple[Array, Size, int]:
    """What ``max_pool_planes`` calls geometry, the windows along each axis, the scratch memory of a thread."""
    counts = tuple(
        window_count(n, k, s, p, d, ceil_mode) for n, k, s, p, d in zip(size, kernel_size, stride, padding, dilation)
    )
    width = MACHINE.lanes(itemsize)
    columns, windows = size[-1], -(-counts[-1] // width) * width
    seen = windows + dilation[-1] * (kernel_size[-1] - 1) // stride[-1]
    pitch = max(seen, -(-(columns + padding[-1]) // stride[-1]))
    rows = math.prod(size[:-1])
    begins, at = [], 0
    for room in (
        kernel_size[-1] * 8,  # OFFSETS
        windows * 4,  # FIRST
        ROWS * stride[-1] * pitch * itemsize,  # LISTS
        rows * windows * itemsize,  # VALUES
        rows * windows * 4,  # PLACES
        windows * itemsize,  # EDGE
        windows * 4,  # EDGE_PLACES
    ):
        begins.append(at)
        at += -(-room // 64) * 64
    numbers = [
        *three(size), *three(kernel_size), *three(stride), *three(padding, 0), *three(dilation), *three(counts),
        pitch, windows, *begins, at,
    ]  # fmt: skip
    return np.array(numbers, np.int64), counts, at
