"""im2col and col2im: windows written out as columns, columns gathered to images; and convolution spelled out so."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cuda.launch import TYPES, Kernels, blocks, contiguous, numbers
from tinygrad_notes.kernels.cuda.products import matmul
from tinygrad_notes.kernels.reference.windows import Size, window_counts

Array = np.ndarray
KINDS = {"im2col": "kernel", "col2im": "kernel", "conv_im2col": "kernel"}

THREADS, NUMBERS = 256, 19  # as in windows.cu
KERNELS = Kernels("windows.cu", [f"{step}<{name}>" for step in ("im2col", "col2im") for name in TYPES.values()])


def im2col(x: Array, kernel_size: Size, stride: Size, padding: Size, dilation: Size) -> Array:
    """The windows of x (N, C, *size) as columns: (N, C·Πkernel_size, Πcounts)."""
    size = x.shape[2:]
    counts = window_counts(size, kernel_size, stride, padding, dilation)
    if not _fits(x, size, counts, kernel_size, stride, padding, dilation):
        return reference.im2col(x, kernel_size, stride, padding, dilation)
    columns = np.empty((x.shape[0], x.shape[1] * math.prod(kernel_size), math.prod(counts)), x.dtype, like=x)
    geometry = size, kernel_size, stride, padding, dilation, counts
    _launch("im2col", x, columns, x.shape[0] * x.shape[1], math.prod(counts), geometry)
    return columns


def col2im(columns: Array, output_size: Size, kernel_size: Size, stride: Size, padding: Size, dilation: Size) -> Array:
    """Add columns (N, C·Πkernel_size, Πcounts) up where ``im2col`` read them: (N, C, *output_size)."""
    counts = window_counts(output_size, kernel_size, stride, padding, dilation)
    if not _fits(columns, output_size, counts, kernel_size, stride, padding, dilation):
        return reference.col2im(columns, output_size, kernel_size, stride, padding, dilation)
    images, channels = columns.shape[0], columns.shape[1] // math.prod(kernel_size)
    x = np.empty((images, channels, *output_size), columns.dtype, like=columns)
    geometry = output_size, kernel_size, stride, padding, dilation, counts
    _launch("col2im", columns, x, images * channels, math.prod(output_size), geometry)
    return x


def conv_im2col(
    x: Array, weight: Array, bias: Array | None, stride: Size, padding: Size, dilation: Size, groups: int
) -> Array:
    """``conv`` spelled out: ``im2col``, then one matrix product for each group of channels."""
    kernel_size = weight.shape[2:]
    counts = window_counts(x.shape[2:], kernel_size, stride, padding, dilation)
    images, outputs, rows = x.shape[0], weight.shape[0], math.prod(weight.shape[1:])
    columns = im2col(x, kernel_size, stride, padding, dilation).reshape(images, groups, rows, math.prod(counts))
    y = matmul(weight.reshape(groups, outputs // groups, rows), columns)  # (N, groups, O/groups, Πcounts)
    y = y.reshape(images, outputs, *counts)
    if bias is not None:
        y += bias.reshape(-1, *(1,) * len(counts))
    return y


def _fits(x: Array, size: Size, counts: Size, kernel_size: Size, stride: Size, padding: Size, dilation: Size) -> bool:
    """Whether the kernels take it: one to three axes, planes and windows that int can count, something to write."""
    reach = [
        n + 2 * p + s * count + k * d
        for n, p, s, count, k, d in zip(size, padding, stride, counts, kernel_size, dilation)
    ]
    return (
        x.dtype in TYPES
        and 1 <= len(size) <= 3
        and min(x.size, *size, *counts, *kernel_size) > 0
        and max(math.prod(size), math.prod(counts), math.prod(kernel_size), *reach) < 2**31 - THREADS
    )


def _launch(step: str, source: Array, target: Array, planes: int, places: int, geometry: tuple[Size, ...]) -> None:
    """``places`` threads for each plane, in blocks that have a part of a plane or several planes."""
    across = min(THREADS, 1 << (places - 1).bit_length())
    down = THREADS // across
    in_a_plane = blocks(places, across)[0]
    fillers = 1, 1, 1, 0, 1, 1  # of axes that are not there
    sizes = [n for values, filler in zip(geometry, fillers) for n in ((filler,) * (3 - len(values)) + tuple(values))]
    arguments = (
        contiguous(source),
        target,
        np.int64(planes),
        numbers([*sizes, in_a_plane], NUMBERS, np.int32),
    )
    KERNELS.launch(f"{step}<{TYPES[source.dtype]}>", (blocks(planes, down)[0] * in_a_plane,), (across, down), arguments)
