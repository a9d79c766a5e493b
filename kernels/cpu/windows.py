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
from tinygrad_notes.kernels.cpu.isa.memory import add_run, clear_bytes, copy_bytes, copy_every
from tinygrad_notes.kernels.cpu.isa.vector import get, itemsize, put
from tinygrad_notes.kernels.cpu.products import matmul
from tinygrad_notes.kernels.cpu.threads import threads_for
from tinygrad_notes.kernels.reference.windows import window_counts

Array = np.ndarray
Size = tuple[int, ...]
PER_THREAD = 1 << 16  # elements that repay waking a thread


@kernel
def copy_part(plane, height, width, top, left, rows, row_step, count, step, phases, target, like):
    """Places of a plane with its padding: ``rows`` rows, top, top + row_step, ..., which may lie outside.

    A row of the copy is ``phases`` runs of ``count`` columns, left, left + step, ..., the next run from left + 1 on:
    with as many runs as the windows' stride, windows in a row see neighbours.
    """
    size = itemsize(like)
    for phase in range(phases):
        first = min(max((step - 1 - left) // step, 0), count)
        end = max(min((width - left + step - 1) // step, count), first)
        to = target + phase * count * size
        for y in range(top, top + rows * row_step, row_step):
            if y < 0 or y >= height:
                clear_bytes(to, count * size)
            else:
                source = plane + (y * width + left + first * step) * size
                clear_bytes(to, first * size)
                if step == 1:
                    copy_bytes(to + first * size, source, (end - first) * size)
                else:
                    copy_every(to + first * size, source, step, end - first, like)
                clear_bytes(to + end * size, (count - end) * size)
            to += phases * count * size
        left += 1


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
                if slab < 0 or slab >= depth:
                    clear_bytes(to, out_h * out_w * size)
                else:
                    line = image + slab * height * width * size
                    copy_part(line, height, width, j * dh - ph, k * dw - pw, out_h, sh, out_w, sw, 1, to, like)
                to += out_h * out_w * size


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
            first = min(max((sw - 1 - left) // sw, 0), out_w)  # to ``end``: what lies inside the row
            end = max(min((width - left + sw - 1) // sw, out_w), first)
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
