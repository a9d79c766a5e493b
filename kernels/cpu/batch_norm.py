"""Batch normalisation: a channel is normalised by one thread, while its values are in the second or third cache.

The channel's runs, one in each image, are read forwards for the sums and backwards for the values, so that those which
were read last, and are surely in the cache, come first.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu.batch_norm_columns import (
    STRIP_WORK,
    normalize_columns,
    normalize_grad_columns,
)
from tinygrad_notes.kernels.cpu.buffers import address, scratch
from tinygrad_notes.kernels.cpu.compile import kernel, parallel_kernel
from tinygrad_notes.kernels.cpu.isa.memory import clear_bytes, rounded
from tinygrad_notes.kernels.cpu.isa.rows import row
from tinygrad_notes.kernels.cpu.isa.vector import get, itemsize, put
from tinygrad_notes.kernels.cpu.layer_norm import PER_THREAD, fits
from tinygrad_notes.kernels.cpu.moments import PIECE, join, one_by_one
from tinygrad_notes.kernels.cpu.threads import threads_for

Array = np.ndarray
RUN_BYTES = 4096  # of an image that are read in one piece: so many channels at once, if a channel has less
NUMBERS = 24  # bytes of what is kept of a channel in between
SHORT = 16  # values of a channel in an image, below which they do not fill vectors: columns do
WORK_BYTES = NUMBERS * RUN_BYTES // (SHORT * 4)


def _scaled(v, x, scalars):
    """(x - c) a + b."""
    return [v.multiply_add(v.builder.fsub(x[0], scalars[0]), scalars[1], scalars[2])], []


def _products(v, x, scalars):
    """g and g (x - c), summed."""
    return [], [x[0], v.builder.fmul(x[0], v.builder.fsub(x[1], scalars[0]))]


def _slope(v, x, scalars):
    """dx = a g - (n b + d), n = (x - c) r."""
    b = v.builder
    normalized = b.fmul(b.fsub(x[1], scalars[0]), scalars[1])
    return [b.fsub(b.fmul(x[0], scalars[2]), v.multiply_add(normalized, scalars[3], scalars[4]))], []


row_scaled = row(1, 1, 3, _scaled)
row_products = row(2, 0, 1, _products, ("sum", "sum"))
row_slope = row(2, 1, 5, _slope)


@kernel
def scale_and_offset(weight, bias, mean, rstd, center, like):
    """a and b of (x - c) a + b, c being the rounded mean; ``weight`` and ``bias`` may be 0, no address."""
    scale = rstd * get(weight, like) if weight else rstd
    offset = (float(center) - mean) * scale if math.isfinite(scale) else 0.0  # 0 times an infinite weight is NaN
    return rounded(scale, like), rounded(offset + get(bias, like) if bias else offset, like)


@kernel
def products(g, x, n, center, like):
    """Σ g and Σ g (x - c)."""
    size, total, total_centered = itemsize(like), 0.0, 0.0
    for start in range(0, n * size, PIECE * size):
        plain, centered = row_products((g + start, x + start, min(PIECE, n - start // size)), (center,), like)
        total += plain
        total_centered += centered
    return total, total_centered


@kernel
def channels_at_once(n, size):
    return max(1, RUN_BYTES // (n * size))


@kernel
def normalize_some(x, weight, bias, y, mean, rstd, variance, images, step, first, last, n, eps, work, like):
    """Channels ``first`` to ``last`` at once, neighbours in each image; images are ``step`` bytes apart."""
    size, count = itemsize(like), images * n
    for image in range(images):
        for c in range(first, last):
            state = work + (c - first) * NUMBERS
            before, squares = (get(state, 0.0), get(state + 8, 0.0)) if image else (0.0, 0.0)
            before, squares = join(x + image * step + c * n * size, n, image * n, before, squares, like)
            put(state, before)
            put(state + 8, squares)
    for c in range(first, last):
        state, at = work + (c - first) * NUMBERS, c * size
        middle, squares = get(state, 0.0), get(state + 8, 0.0)
        if not math.isfinite(squares):
            middle, squares = one_by_one(x + c * n * size, images, step, n, like)
        spread = 0.0 if squares < 0 else squares / count
        inverse, center = 1 / math.sqrt(spread + eps), rounded(middle, like)
        put(mean + at, center)
        put(rstd + at, rounded(inverse, like))
        put(variance + at, rounded(spread, like))
        scale, offset = scale_and_offset(
            weight + at if weight else 0, bias + at if bias else 0, middle, inverse, center, like
        )
        put(state, scale)
        put(state + 8, offset)
    for image in range(images - 1, -1, -1):
        for c in range(first, last):
            state, line = work + (c - first) * NUMBERS, image * step + c * n * size
            row_scaled(
                (x + line, y + line, n), (get(mean + c * size, like), get(state, like), get(state + 8, like)), like
            )


@kernel
def normalize_grad_some(g, x, weight, mean, rstd, dx, dweight, dbias, images, step, first, last, n, work, like):
    """Channels ``first`` to ``last`` at once, as in ``normalize_some``."""
    size, count = itemsize(like), images * n
    clear_bytes(work, (last - first) * NUMBERS)
    for image in range(images):
        for c in range(first, last):
            state, line = work + (c - first) * NUMBERS, image * step + c * n * size
            plain, centered = products(g + line, x + line, n, get(mean + c * size, like), like)
            put(state, get(state, 0.0) + plain)
            put(state + 8, get(state + 8, 0.0) + centered)
    for c in range(first, last):
        state, at = work + (c - first) * NUMBERS, c * size
        inverse = float(get(rstd + at, like))
        total, total_normalized = get(state, 0.0), get(state + 8, 0.0) * inverse
        put(dweight + at, rounded(total_normalized, like))
        put(dbias + at, rounded(total, like))
        scale = inverse * get(weight + at, like) if weight else inverse
        put(state, rounded(scale, like))
        put(state + 8, rounded(scale * total_normalized / count, like))
        put(state + 16, rounded(scale * total / count, like))
    for image in range(images - 1, -1, -1):
        for c in range(first, last):
            state, at, line = work + (c - first) * NUMBERS, c * size, image * step + c * n * size
            scale, bend, shift = get(state, like), get(state + 8, like), get(state + 16, like)
            scalars = get(mean + at, like), get(rstd + at, like), scale, bend, shift
            row_slope((g + line, x + line, dx + line, n), scalars, like)


@parallel_kernel
def normalize_channels(x, weight, bias, y, mean, rstd, variance, images, channels, n, eps, work, like, thread, threads):
    """x (images, channels, n); ``weight`` and ``bias`` may be 0, no address; WORK_BYTES a thread at ``work``."""
    some, step = channels_at_once(n, itemsize(like)), channels * n * itemsize(like)
    end, mine = (thread + 1) * channels // threads, work + thread * WORK_BYTES
    for first in range(thread * channels // threads, end, some):
        last = min(end, first + some)
        normalize_some(x, weight, bias, y, mean, rstd, variance, images, step, first, last, n, eps, mine, like)


@parallel_kernel
def normalize_grad_channels(
    g, x, weight, mean, rstd, dx, dweight, dbias, images, channels, n, work, like, thread, threads
):
    """g, x (images, channels, n); ``weight`` may be 0, no address; WORK_BYTES a thread at ``work``."""
    some, step = channels_at_once(n, itemsize(like)), channels * n * itemsize(like)
    end, mine = (thread + 1) * channels // threads, work + thread * WORK_BYTES
    for first in range(thread * channels // threads, end, some):
        last = min(end, first + some)
        normalize_grad_some(g, x, weight, mean, rstd, dx, dweight, dbias, images, step, first, last, n, mine, like)


def batch_norm(x: Array, weight: Array | None, bias: Array | None, eps: float) -> tuple[Array, Array, Array, Array]:
    """(x - mean) rstd weight + bias over the batch and all axes behind the channels', mean, rstd and variance."""
    if x.ndim < 2 or not fits(x, weight, bias):
        return reference.batch_norm(x, weight, bias, eps)
    images, channels, dtype = *x.shape[:2], x.dtype
    n = x.size // (images * channels)
    x = np.ascontiguousarray(x)
    weight = None if weight is None else np.ascontiguousarray(weight)
    bias = None if bias is None else np.ascontiguousarray(bias)
    y, mean, rstd, variance = np.empty(x.shape, dtype), *(np.empty(channels, dtype) for _ in range(3))
    threads = threads_for(x.size, PER_THREAD)
    arguments = (
        address(x), 0 if weight is None else address(weight), 0 if bias is None else address(bias), address(y),
        address(mean), address(rstd), address(variance), images, channels, n, float(eps),
    )  # fmt: skip
    if n < SHORT:
        normalize_columns(*arguments, scratch("columns", threads * STRIP_WORK), dtype.type(0), threads)
    else:
        normalize_channels(*arguments, scratch("channels", threads * WORK_BYTES), dtype.type(0), threads)
    return y, mean, rstd, variance


def batch_norm_grad(g: Array, x: Array, weight: Array | None, mean: Array, rstd: Array) -> tuple[Array, Array, Array]:
    """Gradients of :func:`batch_norm`: dx, dweight and dbias."""
    if x.ndim < 2 or not fits(x, g, weight, mean, rstd):
        return reference.batch_norm_grad(g, x, weight, mean, rstd)
    images, channels, dtype = *x.shape[:2], x.dtype
    n = x.size // (images * channels)
    g, x, mean, rstd = (np.ascontiguousarray(operand) for operand in (g, x, mean, rstd))
    weight = None if weight is None else np.ascontiguousarray(weight)
    dx, dweight, dbias = np.empty(x.shape, dtype), np.empty(channels, dtype), np.empty(channels, dtype)
    threads = threads_for(x.size, PER_THREAD)
    arguments = (
        address(g), address(x), 0 if weight is None else address(weight), address(mean), address(rstd), address(dx),
        address(dweight), address(dbias), images, channels, n,
    )  # fmt: skip
    if n < SHORT:
        normalize_grad_columns(*arguments, scratch("columns", threads * STRIP_WORK), dtype.type(0), threads)
    else:
        normalize_grad_channels(*arguments, scratch("channels", threads * WORK_BYTES), dtype.type(0), threads)
    return dx, dweight, dbias
