"""im2col, col2im, and convolution by them: the windows of an image written out as the columns of a matrix.

All three spatial axes are always there; an image has depth 1, a sequence height 1 too. Everything is runs along the
last axis: what all windows of one row of windows see at one offset in the kernel is a run of the image, with the
padding as zeros at its ends.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu.buffers import address
from tinygrad_notes.kernels.cpu.compile import kernel, parallel_kernel
from tinygrad_notes.kernels.cpu.isa.runs import add_run, clear_bytes, copy_bytes
from tinygrad_notes.kernels.cpu.isa.vector import get, itemsize, put
from tinygrad_notes.kernels.cpu.products import matmul
from tinygrad_notes.kernels.cpu.threads import threads_for
from tinygrad_notes.kernels.reference.windows import window_counts

Array = np.ndarray
Size = tuple[int, ...]
PER_THREAD = 1 << 15  # elements that repay waking a thread


@kernel
def inside(width, left, step, count):
    """Of ``count`` places left, left + step, ...: the first and the end of those from 0 to ``width``."""
    if step == 1:
        first, end = -left, width - left
    else:
        first, end = -(left // step), -((left - width) // step)
    first = min(max(first, 0), count)
    return first, max(min(end, count), first)


@kernel
def copy_run(row, width, left, step, count, target, like):
    """target[k] = row[left + k step] for ``count`` elements, 0 where that is outside the row of ``width`` elements."""
    size = itemsize(like)
    first, end = inside(width, left, step, count)
    clear_bytes(target, first * size)
    if step == 1:
        copy_bytes(target + first * size, row + (left + first) * size, (end - first) * size)
    else:
        for k in range(first, end):
            put(target + k * size, get(row + (left + k * step) * size, like))
    clear_bytes(target + end * size, (count - end) * size)


@kernel
def copy_part(plane, height, width, top, left, rows, columns, phases, target, like):
    """A part of a plane with its padding, ``rows`` by ``columns`` from (top, left), which may lie outside.

    A row of the copy is ``phases`` runs of ⌈columns / phases⌉ elements: with a stride of ``phases`` windows in a row
    then see neighbours.
    """
    size = itemsize(like)
    run = (columns + phases - 1) // phases
    for r in range(rows):
        y, to = top + r, target + r * phases * run * size
        if y < 0 or y >= height:
            clear_bytes(to, phases * run * size)
        else:
            for phase in range(phases):
                copy_run(plane + y * width * size, width, left + phase, phases, run, to + phase * run * size, like)


@parallel_kernel
def read_columns(x, columns, planes, geometry, like, thread, threads):
    """``im2col`` of ``planes`` planes (image and channel); ``geometry``: six triples, as `_geometry` orders them."""
    size = itemsize(like)
    depth, height, width, out_d, out_h, out_w, kd, kh, kw, sd, sh, sw, pd, ph, pw, dd, dh, dw = geometry
    for plane in range(thread * planes // threads, (thread + 1) * planes // threads):
        image = x + plane * depth * height * width * size
        to = columns + plane * kd * kh * kw * out_d * out_h * out_w * size
        for offset in range(kd * kh * kw):
            i, j, k = offset // (kh * kw), offset // kw % kh, offset % kw
            for z in range(out_d):
                slab = z * sd + i * dd - pd
                for y in range(out_h):
                    row = y * sh + j * dh - ph
                    if slab < 0 or slab >= depth or row < 0 or row >= height:
                        clear_bytes(to, out_w * size)
                    else:
                        line = image + (slab * height + row) * width * size
                        copy_run(line, width, k * dw - pw, sw, out_w, to, like)
                    to += out_w * size


@parallel_kernel
def add_columns(columns, x, planes, geometry, like, thread, threads):
    """``col2im`` of ``planes`` planes. Each is one thread's, which adds offset after offset."""
    size = itemsize(like)
    depth, height, width, out_d, out_h, out_w, kd, kh, kw, sd, sh, sw, pd, ph, pw, dd, dh, dw = geometry
    for plane in range(thread * planes // threads, (thread + 1) * planes // threads):
        image = x + plane * depth * height * width * size
        source = columns + plane * kd * kh * kw * out_d * out_h * out_w * size
        clear_bytes(image, depth * height * width * size)
        for offset in range(kd * kh * kw):
            i, j, k = offset // (kh * kw), offset // kw % kh, offset % kw
            left = k * dw - pw
            first, end = inside(width, left, sw, out_w)
            for z in range(out_d):
                slab = z * sd + i * dd - pd
                for y in range(out_h):
                    row = y * sh + j * dh - ph
                    if 0 <= slab < depth and 0 <= row < height:
                        line = image + ((slab * height + row) * width + left) * size
                        if sw == 1:
                            add_run(line + first * size, source + first * size, end - first, like)
                        else:
                            for c in range(first, end):
                                place = line + c * sw * size
                                put(place, get(place, like) + get(source + c * size, like))
                    source += out_w * size


def im2col(x: Array, kernel_size: Size, stride: Size, padding: Size, dilation: Size) -> Array:
    """The windows of x (N, C, *size) as columns: (N, C·Πkernel_size, Πcounts)."""
    if x.dtype.char not in "fd" or not x.size:
        return reference.im2col(x, kernel_size, stride, padding, dilation)
    images, channels = x.shape[:2]
    geometry, counts = _geometry(x.shape[2:], kernel_size, stride, padding, dilation)
    x = np.ascontiguousarray(x)
    columns = np.empty((images, channels * math.prod(kernel_size), counts), x.dtype)
    planes = images * channels
    threads = min(threads_for(columns.size, PER_THREAD), planes)
    read_columns(address(x), address(columns), planes, geometry, x.dtype.type(0), threads)
    return columns


def col2im(columns: Array, output_size: Size, kernel_size: Size, stride: Size, padding: Size, dilation: Size) -> Array:
    """Add columns (N, C·Πkernel_size, Πcounts) up where ``im2col`` read them: (N, C, *output_size)."""
    if columns.dtype.char not in "fd" or not columns.size:
        return reference.col2im(columns, output_size, kernel_size, stride, padding, dilation)
    geometry, _ = _geometry(output_size, kernel_size, stride, padding, dilation)
    columns = np.ascontiguousarray(columns)
    images, channels = columns.shape[0], columns.shape[1] // math.prod(kernel_size)
    x = np.empty((images, channels, *output_size), columns.dtype)
    planes = images * channels
    threads = min(threads_for(columns.size, PER_THREAD), planes)
    add_columns(address(columns), address(x), planes, geometry, x.dtype.type(0), threads)
    return x


def conv_im2col(
    x: Array, weight: Array, bias: Array | None, stride: Size, padding: Size, dilation: Size, groups: int
) -> Array:
    """``conv`` spelled out: ``im2col``, then one matrix product for each image and group of channels."""
    images, outputs, rows = x.shape[0], weight.shape[0], math.prod(weight.shape[1:])
    kernel_size = weight.shape[2:]
    columns = im2col(x, kernel_size, stride, padding, dilation).reshape(images, groups, rows, -1 if x.size else 0)
    y = matmul(weight.reshape(groups, outputs // groups, rows), columns)  # (N, groups, O/groups, Πcounts)
    if bias is not None:
        y += bias.reshape(groups, outputs // groups, 1)
    return y.reshape(images, outputs, *window_counts(x.shape[2:], kernel_size, stride, padding, dilation))


@lru_cache(maxsize=256)
def _geometry(size: Size, kernel_size: Size, stride: Size, padding: Size, dilation: Size) -> tuple[Size, int]:
    """What the kernels know of the windows, each with three axes: (sizes, counts, kernel, ..., dilations); Πcounts."""
    counts = window_counts(size, kernel_size, stride, padding, dilation)
    missing = 3 - len(size)
    triples = [(1,) * missing + tuple(lengths) for lengths in (size, counts, kernel_size, stride)]
    triples += [(0,) * missing + tuple(padding), (1,) * missing + tuple(dilation)]
    return tuple(int(length) for triple in triples for length in triple), math.prod(counts)
