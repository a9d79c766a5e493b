"""conv and conv_transpose, for one, two and three spatial axes.

Two axes are the kernels' case. One axis is two with a height of 1; three are several convolutions of two.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu.buffers import address, scratch
from tinygrad_notes.kernels.cpu.convolution_plan import Plan, Size, plan_conv, plan_transpose
from tinygrad_notes.kernels.cpu.depthwise import filter_all
from tinygrad_notes.kernels.cpu.gemm import parts_now
from tinygrad_notes.kernels.cpu.implicit import SPLITS, convolve_all, pack_weights
from tinygrad_notes.kernels.cpu.threads import get_num_threads, threads_for

if SPLITS:
    from tinygrad_notes.kernels.cpu.split_windows import split_weights

Array = np.ndarray
PER_THREAD = 96**3  # multiplications that repay waking a thread


def conv(
    x: Array, weight: Array, bias: Array | None, stride: Size, padding: Size, dilation: Size, groups: int
) -> Array:
    """Cross-correlation of x (N, C, *size) with weight (O, C/groups, *kernel_size), plus bias (O,) or None.

    In two dimensions y[n, o, y, x] = b[o] + Σ_{c,i,j} w[o, c, i, j] · padded x[n, group(o)·C/groups + c, y·s + i·d,
    x·s + j·d], of shape (N, O, *counts); the others likewise.
    """
    if not _fits(x, weight, bias):
        return reference.conv(x, weight, bias, stride, padding, dilation, groups)
    if x.ndim == 3:
        y = conv(x[:, :, None], weight[:, :, None], bias, (1, *stride), (0, *padding), (1, *dilation), groups)
        return y[:, :, 0]
    if x.ndim == 5:
        return _conv_volumes(x, weight, bias, stride, padding, dilation, groups)
    plan = plan_conv(x.shape, weight.shape, stride, padding, dilation, groups, *_means(x.itemsize))
    return _run(plan, x, weight, bias)


def conv_transpose(
    x: Array, weight: Array, bias: Array | None, stride: Size, padding: Size, dilation: Size, groups: int,
    output_size: Size,
) -> Array:  # fmt: skip
    """Transposed convolution of x (N, C, *counts) with weight (C, O/groups, *kernel_size): (N, O, *output_size).

    x at place y times w at offset i is added at y·s + i·d - p along each axis: the gradient of ``conv``'s input.
    """
    if not _fits(x, weight, bias):
        return reference.conv_transpose(x, weight, bias, stride, padding, dilation, groups, output_size)
    if x.ndim == 3:
        y = conv_transpose(
            x[:, :, None], weight[:, :, None], bias, (1, *stride), (0, *padding), (1, *dilation), groups,
            (1, *output_size),
        )  # fmt: skip
        return y[:, :, 0]
    if x.ndim == 5:
        return _transpose_volumes(x, weight, bias, stride, padding, dilation, groups, output_size)
    plan = plan_transpose(x.shape, weight.shape, stride, padding, dilation, groups, output_size, *_means(x.itemsize))
    return _run(plan, x, weight, bias)


def _fits(x: Array, weight: Array, bias: Array | None) -> bool:
    """Whether the kernels take these operands: of one dtype, float32 or float64."""
    dtype = x.dtype
    return dtype.char in "fd" and dtype.isnative and weight.dtype == dtype and (bias is None or bias.dtype == dtype)


def _means(itemsize: int) -> tuple[int, int, int]:
    """What a plan knows beside shapes: the size of a number, threads, the parts of a number."""
    return itemsize, get_num_threads(), parts_now(itemsize)


def _run(plan: Plan, x: Array, weight: Array, bias: Array | None) -> Array:
    y = np.empty(plan.shape, x.dtype)
    if not y.size:
        return y
    x, weight = np.ascontiguousarray(x), np.ascontiguousarray(weight)
    bias = None if bias is None else np.ascontiguousarray(bias)
    size, like, table = x.itemsize, x.dtype.type(0), address(plan.table)
    threads = threads_for(plan.work, PER_THREAD)
    work = scratch("convolution", threads * plan.scratch * size)
    weights = address(weight), 0 if bias is None else address(bias)
    if plan.direct:
        filter_all(address(x), *weights, address(y), table, work, like, threads)
    else:
        packed = scratch("convolution weight", plan.packed * size)
        pack_weights(*weights, table, packed, like, threads)
        if plan.parts:
            split_weights(weights[0], table, packed, work, like, threads)
        convolve_all(address(x), packed, address(y), table, work, like, threads)
    return y


# ---------------------------------------------------------------------- three axes


def _conv_volumes(
    x: Array, weight: Array, bias: Array | None, stride: Size, padding: Size, dilation: Size, groups: int
) -> Array:
    """The slices that a window sees along the first axis are channels of one image, one for each output slice."""
    images, channels, depth = x.shape[:3]
    slices, (step, pad, spacing) = weight.shape[2], (stride[0], padding[0], dilation[0])
    count = (depth + 2 * pad - spacing * (slices - 1) - 1) // step + 1
    seen = np.zeros((images, count, channels, slices, *x.shape[3:]), x.dtype)
    for out in range(count):
        for i in range(slices):
            z = out * step + i * spacing - pad
            if 0 <= z < depth:
                seen[:, out, :, i] = x[:, :, z]
    y = conv(
        seen.reshape(images * count, channels * slices, *x.shape[3:]),
        weight.reshape(weight.shape[0], -1, *weight.shape[3:]), bias, stride[1:], padding[1:], dilation[1:], groups,
    )  # fmt: skip
    return np.ascontiguousarray(y.reshape(images, count, *y.shape[1:]).swapaxes(1, 2))


def _transpose_volumes(
    x: Array, weight: Array, bias: Array | None, stride: Size, padding: Size, dilation: Size, groups: int,
    output_size: Size,
) -> Array:  # fmt: skip
    """Each slice of x, spread by one slice of the weight, is added to one slice of the output."""
    images, channels, depth = x.shape[:3]
    y: Any = np.zeros((images, weight.shape[1] * groups, *output_size), x.dtype)
    planes = np.ascontiguousarray(x.swapaxes(1, 2)).reshape(images * depth, channels, *x.shape[3:])
    for i in range(weight.shape[2]):
        parts = conv_transpose(
            planes, weight[:, :, i], None, stride[1:], padding[1:], dilation[1:], groups, output_size[1:]
        )
        parts = parts.reshape(images, depth, *parts.shape[1:])
        for z in range(depth):
            to = z * stride[0] + i * dilation[0] - padding[0]
            if 0 <= to < output_size[0]:
                y[:, :, to] += parts[:, z]
    return y if bias is None else y + bias.reshape(-1, 1, 1, 1)
