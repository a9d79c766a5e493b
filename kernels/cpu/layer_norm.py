"""Layer and RMS normalisation: each row is read from memory once, and again from the first cache.

The sums over rows, for the gradients of weight and bias, run in parts of the rows that depend on the shape alone, so
that as many threads as one likes give the same bits.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu.buffers import LIKE, address, scratch
from tinygrad_notes.kernels.cpu.compile import kernel, parallel_kernel
from tinygrad_notes.kernels.cpu.isa.memory import clear_bytes, rounded
from tinygrad_notes.kernels.cpu.isa.rows import row
from tinygrad_notes.kernels.cpu.isa.vector import get, itemsize, put
from tinygrad_notes.kernels.cpu.moments import PIECE, PIECE_ROWS, add_piece, mean_of_squares, moments
from tinygrad_notes.kernels.cpu.streaming import streams
from tinygrad_notes.kernels.cpu.threads import threads_for

Array = np.ndarray
PER_THREAD = 1 << 15  # elements that repay waking a thread
PARTS, PART_ROWS = 32, 16  # at most so many parts, of at least so many rows


def _normalized(v, x, scalars):
    """((x - c) r + s) w + b, where c is the mean, r is rstd, and s makes up for the rounding of c."""
    centered = v.builder.fsub(x[0], scalars[0])
    return [v.multiply_add(v.multiply_add(centered, scalars[1], scalars[2]), x[1], x[2])], []


def _means(v, x, scalars):
    """h = g w and h (x - c), summed."""
    h = v.builder.fmul(x[0], x[2])
    return [], [h, v.builder.fmul(h, v.builder.fsub(x[1], scalars[0]))]


def _slope(v, x, scalars):
    """dx = r h - n a - b with h = g w and n = (x - c) r; and the sums of g n and of g, carried on."""
    b = v.builder
    g, normalized = x[0], b.fmul(b.fsub(x[1], scalars[0]), scalars[1])
    rest = v.multiply_add(normalized, scalars[2], scalars[3])
    dx = b.fsub(b.fmul(b.fmul(g, x[2]), scalars[1]), rest)
    return [dx, v.multiply_add(g, normalized, x[3]), b.fadd(g, x[4])], []


row_normalized = row(3, 1, 3, _normalized)
stream_normalized = row(3, 1, 3, _normalized, streams=True)
row_means = row(3, 0, 1, _means, ("sum", "sum"))
row_slope = row(5, 3, 4, _slope, unroll=2)


@parallel_kernel
def normalize_rows(
    x, weight, bias, y, mean, rstd, variance, images, groups, n, eps, centered, streams, like, thread, threads
):
    """Each of ``groups`` rows of n of each image is normalised; weight and bias are of an image, (groups, n).

    Without ``centered`` the mean counts as 0. ``mean`` and ``variance`` are not written where they are 0, no address.
    """
    size, rows = itemsize(like), images * groups
    for i in range(thread * rows // threads, (thread + 1) * rows // threads):
        line, its = i * n * size, i % groups * n * size
        if centered:
            middle, spread = moments(x + line, n, like)
        else:
            middle, spread = 0.0, mean_of_squares(x + line, n, like)
        scale, center = 1 / math.sqrt(spread + eps), rounded(middle, like)
        scalars = center, rounded(scale, like), rounded((float(center) - middle) * scale, like)
        if streams:
            stream_normalized((x + line, weight + its, bias + its, y + line, n), scalars, like)
        else:
            row_normalized((x + line, weight + its, bias + its, y + line, n), scalars, like)
        put(rstd + i * size, rounded(scale, like))
        if mean:
            put(mean + i * size, center)
        if variance:
            put(variance + i * size, rounded(spread, like))


@kernel
def normalize_grad_part(g, x, weight, mean, rstd, dx, first, last, groups, n, centered, slopes, sums, like):
    """Images ``first`` to ``last``; (2, groups, n) sums for weight and bias in float64 go to ``sums``."""
    size = itemsize(like)
    width = groups * n
    clear_bytes(slopes, 2 * width * size)
    clear_bytes(sums, 2 * width * 8)
    for image in range(first, last):
        for group in range(groups):
            i, its = image * groups + group, group * n * size
            line, total, total_normalized = i * n * size, 0.0, 0.0
            scale, center = get(rstd + i * size, like), get(mean + i * size, like) if centered else rounded(0.0, like)
            for start in range(0, n * size, PIECE * size):
                places = g + line + start, x + line + start, weight + its + start, min(PIECE, n - start // size)
                h, h_centered = row_means(places, (center,), like)
                total += h
                total_normalized += h_centered
            if not centered:
                total = 0.0
            bend = float(scale) * float(scale) * total_normalized / n
            scalars = center, scale, rounded(bend, like), rounded(scale * total / n, like)
            at_weight, at_bias = slopes + its, slopes + width * size + its
            row_slope(
                (g + line, x + line, weight + its, at_weight, at_bias, dx + line, at_weight, at_bias, n), scalars, like
            )
        if (image - first + 1) % PIECE_ROWS == 0 or image == last - 1:
            add_piece(slopes, sums, 2 * width, like)


@parallel_kernel
def normalize_grad_rows(
    g, x, weight, mean, rstd, dx, images, groups, n, parts, centered, slopes, sums, like, thread, threads
):
    """(2, groups, n) sums in float64 of each part at ``sums``; (threads, 2, groups, n) of scratch at ``slopes``."""
    width = groups * n
    for part in range(thread * parts // threads, (thread + 1) * parts // threads):
        first, last = part * images // parts, (part + 1) * images // parts
        mine = slopes + thread * 2 * width * itemsize(like)
        at = sums + part * 2 * width * 8
        normalize_grad_part(g, x, weight, mean, rstd, dx, first, last, groups, n, centered, mine, at, like)


def normalize(
    x: Array, weight: Array | None, bias: Array | None, eps: float, mean: Array | None, rstd: Array,
    variance: Array | None, groups: int,
) -> Array:  # fmt: skip
    """y of x (images, ...); fills the statistics given. ``weight`` and ``bias`` have the size of an image."""
    images = rstd.size // groups
    size = x.size // images
    y = np.empty(x.shape, x.dtype)
    x = np.ascontiguousarray(x)
    weight = np.ones(size, x.dtype) if weight is None else np.ascontiguousarray(weight)
    bias = np.zeros(size, x.dtype) if bias is None else np.ascontiguousarray(bias)
    normalize_rows(
        address(x), address(weight), address(bias), address(y), 0 if mean is None else address(mean), address(rstd),
        0 if variance is None else address(variance), images, groups, size // groups, float(eps), mean is not None,
        streams(y, size // groups), x.dtype.type(0), threads_for(x.size, PER_THREAD),
    )  # fmt: skip
    return y


def normalize_grad(
    g: Array, x: Array, weight: Array | None, mean: Array | None, rstd: Array, groups: int
) -> tuple[Array, Array]:
    """dx, and the sums Σ g n and Σ g over images, (2, the size of an image) in float64."""
    dx, like = np.empty(x.shape, x.dtype), x.dtype.type(0)
    images = rstd.size // groups
    size = x.size // images
    g, x, rstd = np.ascontiguousarray(g), np.ascontiguousarray(x), np.ascontiguousarray(rstd)
    mean = None if mean is None else np.ascontiguousarray(mean)
    weight = np.ones(size, x.dtype) if weight is None else np.ascontiguousarray(weight)
    parts = max(1, min(PARTS, images // PART_ROWS))
    sums, threads = np.empty((parts, 2, size)), threads_for(x.size, PER_THREAD)
    normalize_grad_rows(
        address(g), address(x), address(weight), 0 if mean is None else address(mean), address(rstd), address(dx),
        images, groups, size // groups, parts, mean is not None,
        scratch("slopes", threads * 2 * size * x.itemsize), address(sums), like, threads,
    )  # fmt: skip
    return dx, sums[0] if parts == 1 else sums.sum(axis=0)


def fits(x: Array, *others: Array | None) -> bool:
    """Whether the kernels take these operands, of one dtype."""
    dtype = x.dtype
    return dtype in LIKE and x.size > 0 and all(other is None or other.dtype == dtype for other in others)


def layer_norm(
    x: Array, weight: Array | None, bias: Array | None, eps: float, axes_count: int
) -> tuple[Array, Array, Array]:
    """(x - mean) rstd weight + bias over the last ``axes_count`` axes, mean and rstd."""
    if not fits(x, weight, bias):
        return reference.layer_norm(x, weight, bias, eps, axes_count)
    kept = x.shape[: x.ndim - axes_count] + (1,) * axes_count
    mean, rstd = np.empty(kept, x.dtype), np.empty(kept, x.dtype)
    return normalize(x, weight, bias, eps, mean, rstd, None, 1), mean, rstd


def layer_norm_grad(
    g: Array, x: Array, weight: Array | None, mean: Array, rstd: Array, axes_count: int
) -> tuple[Array, Array, Array]:
    """Gradients of :func:`layer_norm`: dx, dweight and dbias."""
    if not fits(x, g, weight, mean, rstd):
        return reference.layer_norm_grad(g, x, weight, mean, rstd, axes_count)
    dx, sums = normalize_grad(g, x, weight, mean, rstd, 1)
    dweight, dbias = sums.astype(x.dtype).reshape(2, *x.shape[x.ndim - axes_count :])
    return dx, dweight, dbias


def rms_norm(x: Array, weight: Array | None, eps: float, axes_count: int) -> tuple[Array, Array]:
    """x rrms weight over the last ``axes_count`` axes, and rrms."""
    if not fits(x, weight):
        return reference.rms_norm(x, weight, eps, axes_count)
    rrms = np.empty(x.shape[: x.ndim - axes_count] + (1,) * axes_count, x.dtype)
    return normalize(x, weight, None, eps, None, rrms, None, 1), rrms


def rms_norm_grad(g: Array, x: Array, weight: Array | None, rrms: Array, axes_count: int) -> tuple[Array, Array]:
    """Gradients of :func:`rms_norm`: dx and dweight."""
    if not fits(x, g, weight, rrms):
        return reference.rms_norm_grad(g, x, weight, rrms, axes_count)
    dx, sums = normalize_grad(g, x, weight, None, rrms, 1)
    return dx, sums[0].astype(x.dtype).reshape(x.shape[x.ndim - axes_count :])
