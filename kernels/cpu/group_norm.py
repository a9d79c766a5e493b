"""Group normalisation: a group of an image lies in one piece, a row; its channels have weights of their own.

Where a channel has few values the weights are written out, one for each value, and it is a layer normalisation.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu.batch_norm import SHORT, products, row_scaled, row_slope, scale_and_offset
from tinygrad_notes.kernels.cpu.buffers import address
from tinygrad_notes.kernels.cpu.compile import parallel_kernel
from tinygrad_notes.kernels.cpu.isa.memory import rounded
from tinygrad_notes.kernels.cpu.isa.vector import get, itemsize, put
from tinygrad_notes.kernels.cpu.layer_norm import PER_THREAD, fits, normalize, normalize_grad
from tinygrad_notes.kernels.cpu.moments import moments
from tinygrad_notes.kernels.cpu.threads import threads_for

Array = np.ndarray


@parallel_kernel
def normalize_groups(x, weight, bias, y, mean, rstd, variance, rows, groups, channels, n, eps, like, thread, threads):
    """x (rows, channels, n), where every ``groups`` rows are an image; weight and bias may be 0, no address."""
    size = itemsize(like)
    for i in range(thread * rows // threads, (thread + 1) * rows // threads):
        at, line, its = i * size, i * channels * n * size, i % groups * channels * size
        middle, spread = moments(x + line, channels * n, like)
        inverse, center = 1 / math.sqrt(spread + eps), rounded(middle, like)
        put(mean + at, center)
        put(rstd + at, rounded(inverse, like))
        put(variance + at, rounded(spread, like))
        for c in range(channels):
            scale, offset = scale_and_offset(
                weight + its + c * size if weight else 0, bias + its + c * size if bias else 0, middle, inverse,
                center, like,
            )  # fmt: skip
            place = line + c * n * size
            row_scaled((x + place, y + place, n), (center, scale, offset), like)


@parallel_kernel
def normalize_grad_groups(g, x, weight, mean, rstd, dx, sums, rows, groups, channels, n, like, thread, threads):
    """g, x (rows, channels, n); ``sums`` (rows, channels, 2) in float64 becomes the sums of g and g (x - mean) rstd."""
    size = itemsize(like)
    for i in range(thread * rows // threads, (thread + 1) * rows // threads):
        line, its, found = i * channels * n * size, i % groups * channels * size, sums + i * channels * 16
        center, inverse = get(mean + i * size, like), get(rstd + i * size, like)
        total, total_normalized = 0.0, 0.0
        for c in range(channels):
            place = line + c * n * size
            plain, centered = products(g + place, x + place, n, center, like)
            put(found + 16 * c, plain)
            put(found + 16 * c + 8, centered * inverse)
            w = float(get(weight + its + c * size, like)) if weight else 1.0
            total += w * plain
            total_normalized += w * centered * inverse
        bend, shift = inverse * total_normalized / (channels * n), inverse * total / (channels * n)
        for c in range(channels):
            w = float(get(weight + its + c * size, like)) if weight else 1.0
            place = line + c * n * size
            scalars = center, inverse, rounded(w * inverse, like), rounded(bend, like), rounded(shift, like)
            row_slope((g + place, x + place, dx + place, n), scalars, like)


def group_norm(
    x: Array, weight: Array | None, bias: Array | None, eps: float, num_groups: int
) -> tuple[Array, Array, Array, Array]:
    """(x - mean) rstd weight + bias over each group of an image, and mean, rstd and variance (N, num_groups)."""
    if not fits(x, weight, bias):
        return reference.group_norm(x, weight, bias, eps, num_groups)
    images, channels, dtype = *x.shape[:2], x.dtype
    n = x.size // (images * channels)
    mean, rstd, variance = (np.empty((images, num_groups), dtype) for _ in range(3))
    if n < SHORT:
        weight, bias = (None if a is None else np.repeat(a, n) for a in (weight, bias))
        return normalize(x, weight, bias, eps, mean, rstd, variance, num_groups), mean, rstd, variance
    x, y = np.ascontiguousarray(x), np.empty(x.shape, dtype)
    weight = None if weight is None else np.ascontiguousarray(weight)
    bias = None if bias is None else np.ascontiguousarray(bias)
    normalize_groups(
        address(x), 0 if weight is None else address(weight), 0 if bias is None else address(bias), address(y),
        address(mean), address(rstd), address(variance), images * num_groups, num_groups, channels // num_groups, n,
        float(eps), dtype.type(0), threads_for(x.size, PER_THREAD),
    )  # fmt: skip
    return y, mean, rstd, variance


def group_norm_grad(
    g: Array, x: Array, weight: Array | None, mean: Array, rstd: Array, num_groups: int
) -> tuple[Array, Array, Array]:
    """Gradients of :func:`group_norm`: dx, dweight and dbias."""
    if not fits(x, g, weight, mean, rstd):
        return reference.group_norm_grad(g, x, weight, mean, rstd, num_groups)
    images, channels, dtype = *x.shape[:2], x.dtype
    n = x.size // (images * channels)
    if n < SHORT:
        dx, sums = normalize_grad(g, x, None if weight is None else np.repeat(weight, n), mean, rstd, num_groups)
        dweight, dbias = sums.reshape(2, channels, n).sum(axis=2).astype(dtype)
        return dx, dweight, dbias
    g, x, mean, rstd = (np.ascontiguousarray(operand) for operand in (g, x, mean, rstd))
    weight = None if weight is None else np.ascontiguousarray(weight)
    dx, sums = np.empty(x.shape, dtype), np.empty((images, channels, 2))
    normalize_grad_groups(
        address(g), address(x), 0 if weight is None else address(weight), address(mean), address(rstd), address(dx),
        address(sums), images * num_groups, num_groups, channels // num_groups, n, dtype.type(0),
        threads_for(x.size, PER_THREAD),
    )  # fmt: skip
    dbias, dweight = sums.sum(axis=0).T.astype(dtype, order="C")
    return dx, dweight, dbias
