"""Layer and RMS normalisation, a warp or a block for each row; batch and group normalisation, by sums of planes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cuda.launch import TYPES, Kernels, aligned, blocks, contiguous, divisor, numbers

Array = np.ndarray
KINDS = {f"{family}_norm{step}": "kernel" for family in ("layer", "rms", "batch", "group") for step in ("", "_grad")}

PACKS = {"float": 4, "double": 1}  # elements that are read at once: float64 is there to be right
PER_LANE = {"float": (8, 32), "double": (8,)}  # elements of a row that a lane holds: rows of up to 256, of up to 1024
WEIGHT, BIAS = 1, 2  # the bits of a kernel's `affine`
WARP_THREADS, BLOCK_THREADS, SUM_THREADS = 128, 256, 512
PARTS = {8: 1056, 32: 396, 0: 528}  # by what a lane holds of a row: blocks of a gradient that a GPU runs at once
MOST_ROWS = 32  # rows that a thread may add up in the dtype of x
SHARED = 64 * 1024  # bytes of shared memory that the sums of a block may take
PIECES = {256: 1056, 32: 8448, 1: 67584}  # threads that sum a piece: pieces that fill a GPU
PIECE_PACKS = 8  # reads of 16 bytes that each thread has of a plane that is cut into pieces
MOST_ACROSS = 65535  # blocks along the grid's second axis


def _names() -> list[str]:
    names = []
    for name, pack in PACKS.items():
        packs = sorted({1, pack})
        for centered in ("false", "true"):
            rows = [f"warp<{name}, {centered}, {held}, {p}>" for held in PER_LANE[name] for p in packs]
            rows += [f"block<{name}, {centered}, {p}>" for p in packs]
            names += [f"row_norm{step}_{kernel}" for step in ("", "_grad") for kernel in rows]
        for p in packs:
            names += [f"plane_sums{step}<{name}, {p}, {threads}>" for step in ("", "_grad") for threads in PIECES]
            names += [f"normalize_planes{step}<{name}, {p}>" for step in ("", "_grad")]
        names += [f"{kernel}<{name}>" for kernel in ("column_sums", "finish_statistics", "finish_grad")]
    return names


KERNELS = Kernels("normalization.cu", _names())


# ---------------------------------------------------------------------- rows


def layer_norm(
    x: Array, weight: Array | None, bias: Array | None, eps: float, axes_count: int
) -> tuple[Array, Array, Array]:
    """(x - mean) · rstd · weight + bias over the last axes; mean and rstd."""
    if not _fits(x, weight, bias):
        return reference.layer_norm(x, weight, bias, eps, axes_count)
    return _rows(x, weight, bias, eps, axes_count, "true")


def rms_norm(x: Array, weight: Array | None, eps: float, axes_count: int) -> tuple[Array, Array]:
    """x / √(mean of squares + eps) · weight over the last axes; what x was multiplied with."""
    if not _fits(x, weight):
        return reference.rms_norm(x, weight, eps, axes_count)
    y, _, rrms = _rows(x, weight, None, eps, axes_count, "false")
    return y, rrms


def layer_norm_grad(
    g: Array, x: Array, weight: Array | None, mean: Array, rstd: Array, axes_count: int
) -> tuple[Array, Array, Array]:
    """Gradients of layer_norm's x, weight and bias."""
    if not _fits(x, g, weight, mean, rstd):
        return reference.layer_norm_grad(g, x, weight, mean, rstd, axes_count)
    dx, dweight, dbias = _rows_grad(g, x, weight, mean, rstd, axes_count, "true")
    return dx, dweight, dbias


def rms_norm_grad(g: Array, x: Array, weight: Array | None, rrms: Array, axes_count: int) -> tuple[Array, Array]:
    """Gradients of rms_norm's x and weight."""
    if not _fits(x, g, weight, rrms):
        return reference.rms_norm_grad(g, x, weight, rrms, axes_count)
    dx, dweight = _rows_grad(g, x, weight, rrms, rrms, axes_count, "false")
    return dx, dweight


def _rows(
    x: Array, weight: Array | None, bias: Array | None, eps: float, axes_count: int, centered: str
) -> tuple[Array, Array, Array]:
    n = math.prod(x.shape[x.ndim - axes_count :])
    rows, name = x.size // n, TYPES[x.dtype]
    x = contiguous(x)
    affine, (weight, bias) = _affine(x, weight, bias)
    y = np.empty(x.shape, x.dtype, like=x)
    rstd = np.empty((*x.shape[: x.ndim - axes_count], *(1,) * axes_count), x.dtype, like=x)
    mean = np.empty(rstd.shape, x.dtype, like=x) if centered == "true" else rstd
    pack = _pack(name, n, x, weight, bias, y)
    held = _held(name, n)
    arrays, rest = (x, weight, bias, y, mean, rstd), (x.dtype.type(eps), np.int32(affine))
    if held:
        kernel, grid = f"row_norm_warp<{name}, {centered}, {held}, {pack}>", blocks(rows, WARP_THREADS // 32)
        KERNELS.launch(kernel, grid, (WARP_THREADS,), (*arrays, np.int64(rows), np.int32(n), *rest))
    else:
        kernel = f"row_norm_block<{name}, {centered}, {pack}>"
        KERNELS.launch(kernel, (rows,), (BLOCK_THREADS,), (*arrays, np.int64(n), *rest))
    return y, mean, rstd


def _rows_grad(
    g: Array, x: Array, weight: Array | None, mean: Array, rstd: Array, axes_count: int, centered: str
) -> tuple[Array, ...]:
    """dx, dweight and, where ``centered``, dbias."""
    shape = x.shape[x.ndim - axes_count :]
    n = math.prod(shape)
    rows, name = x.size // n, TYPES[x.dtype]
    g, x, mean, rstd = (contiguous(array) for array in (g, x, mean, rstd))
    affine, (weight, _) = _affine(x, weight, None)
    dx = np.empty(x.shape, x.dtype, like=x)
    held = _held(name, n)
    together = WARP_THREADS // 32 if held else 1  # rows that a block does at once
    parts = -(-rows // (together * min(-(-rows // (together * PARTS[held])), MOST_ROWS)))
    sums = 1 + (centered == "true")
    partial = [np.empty((parts, n), x.dtype, like=x) for _ in range(sums)]
    arrays = (g, x, weight, mean, rstd, dx, partial[0], partial[-1], np.int64(rows))
    pack = _pack(name, n, g, x, weight, dx, *partial)
    shared = sums * n * x.dtype.itemsize
    if held:
        kernel = f"row_norm_grad_warp<{name}, {centered}, {held}, {pack}>"
        KERNELS.launch(kernel, (parts,), (WARP_THREADS,), (*arrays, np.int32(n), np.int32(affine)), shared)
    else:
        shared *= shared <= SHARED
        kernel = f"row_norm_grad_block<{name}, {centered}, {pack}>"
        sizes = np.int64(n), np.int32(affine), np.int32(shared > 0)
        KERNELS.launch(kernel, (parts,), (BLOCK_THREADS,), (*arrays, *sizes), shared)
    results = [np.empty(shape, x.dtype, like=x) for _ in range(sums)]
    arguments = (partial[0], partial[-1], results[0], results[-1], np.int64(parts), np.int64(n))
    KERNELS.launch(f"column_sums<{name}>", (*blocks(n, 32), sums), (SUM_THREADS,), arguments)
    return dx, *results


def _held(name: str, n: int) -> int:
    """How many elements of a row of n each lane of a warp holds; 0 where a row belongs to a block."""
    return next((held for held in PER_LANE[name] if n <= 32 * held), 0)


# ---------------------------------------------------------------------- channels and groups


def batch_norm(x: Array, weight: Array | None, bias: Array | None, eps: float) -> tuple[Array, Array, Array, Array]:
    """(x - mean) · rstd · weight + bias over the batch and all trailing axes; mean, rstd and variance."""
    if not _fits(x, weight, bias):
        return reference.batch_norm(x, weight, bias, eps)
    inner = math.prod(x.shape[2:])
    return _planes(x, weight, bias, eps, (x.shape[0], x.shape[1], inner), (x.shape[1],), 1)


def group_norm(
    x: Array, weight: Array | None, bias: Array | None, eps: float, num_groups: int
) -> tuple[Array, Array, Array, Array]:
    """(x - mean) · rstd · weight + bias over groups of adjacent channels; mean, rstd and variance."""
    if not _fits(x, weight, bias):
        return reference.group_norm(x, weight, bias, eps, num_groups)
    groups = x.shape[0] * num_groups
    shape = 1, groups, x.size // groups
    return _planes(x, weight, bias, eps, shape, (x.shape[0], num_groups), x.shape[1] // num_groups)


def batch_norm_grad(g: Array, x: Array, weight: Array | None, mean: Array, rstd: Array) -> tuple[Array, Array, Array]:
    """Gradients of batch_norm's x, weight and bias."""
    if not _fits(x, g, weight, mean, rstd):
        return reference.batch_norm_grad(g, x, weight, mean, rstd)
    return _planes_grad(g, x, weight, mean, rstd, x.shape[0], 1)


def group_norm_grad(
    g: Array, x: Array, weight: Array | None, mean: Array, rstd: Array, num_groups: int
) -> tuple[Array, Array, Array]:
    """Gradients of group_norm's x, weight and bias."""
    if not _fits(x, g, weight, mean, rstd):
        return reference.group_norm_grad(g, x, weight, mean, rstd, num_groups)
    return _planes_grad(g, x, weight, mean, rstd, 1, x.shape[1] // num_groups)


def _planes(
    x: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    summed: tuple[int, int, int],
    kept: tuple[int, ...],
    per_statistic: int,
) -> tuple[Array, Array, Array, Array]:
    """x normalised by statistics of shape ``kept``, those of the channels of x as (images, channels, inner) ``summed``.

    Float32 is summed once, with the first value of a channel taken out; float64 once more, with the mean taken out.
    """
    channels, inner = x.shape[1], math.prod(x.shape[2:])
    name, statistics = TYPES[x.dtype], summed[1]
    x = contiguous(x)
    affine, (weight, bias) = _affine(x, weight, bias)
    y = np.empty(x.shape, x.dtype, like=x)
    mean, rest, rstd, variance = (np.empty(kept, x.dtype, like=x) for _ in range(4))
    pack, (threads, pieces, splits, cut) = _cut(name, summed, x)
    first, second = (np.empty((splits, statistics), np.float64, like=x) for _ in range(2))
    count, eps_of = np.float64(summed[0] * summed[2]), x.dtype.type(eps)
    for shift, step in ((x, summed[2]), (mean, 1))[: 1 + (x.dtype == np.float64)]:
        arguments = x, shift, np.int64(step), first, second, *map(np.int64, summed), *cut
        _launch_pieces(f"plane_sums<{name}, {pack}, {threads}>", threads, pieces, arguments)
        sizes = np.int64(statistics), np.int64(splits), count, eps_of
        arguments = first, second, shift, np.int64(step), mean, rest, rstd, variance, *sizes
        _launch_warps(f"finish_statistics<{name}>", statistics, arguments)
    pack = _pack(name, inner, x, y)
    arguments = (x, weight, bias, mean, rest, rstd, y)
    _launch_planes(f"normalize_planes<{name}, {pack}>", arguments, pack, channels, statistics, per_statistic, affine)
    return y, mean, rstd, variance


def _planes_grad(
    g: Array, x: Array, weight: Array | None, mean: Array, rstd: Array, images: int, per_statistic: int
) -> tuple[Array, Array, Array]:
    """dx, dweight and dbias. Sums are of x as (images, planes, inner), where adjacent planes have one statistic."""
    channels, inner = x.shape[1], math.prod(x.shape[2:])
    planes = x.shape[0] * channels // images
    name, statistics = TYPES[x.dtype], planes // per_statistic
    g, x, mean, rstd = (contiguous(array) for array in (g, x, mean, rstd))
    affine, (weight, _) = _affine(x, weight, None)
    dx = np.empty(x.shape, x.dtype, like=x)
    dweight, dbias = (np.empty(channels, x.dtype, like=x) for _ in range(2))
    mean_g, mean_product = (np.empty(statistics, x.dtype, like=x) for _ in range(2))
    pack, (threads, pieces, splits, cut) = _cut(name, (images, planes, inner), g, x)
    first, second = (np.empty((splits, planes), np.float64, like=x) for _ in range(2))
    sizes: tuple[Any, ...] = np.int64(images), np.int64(planes), np.int64(inner), *cut, np.int64(per_statistic)
    arguments: tuple[Any, ...] = (g, x, mean, rstd, first, second, *sizes)
    _launch_pieces(f"plane_sums_grad<{name}, {pack}, {threads}>", threads, pieces, arguments)
    sizes = tuple(map(np.int64, (statistics, per_statistic, channels, planes, splits)))
    count = np.float64(images * per_statistic * inner)
    arguments = (first, second, weight, mean_g, mean_product, dweight, dbias, *sizes, count, np.int32(affine))
    _launch_warps(f"finish_grad<{name}>", statistics + channels, arguments)
    pack = _pack(name, inner, g, x, dx)
    arguments = (g, x, weight, mean, rstd, mean_g, mean_product, dx)
    kernel = f"normalize_planes_grad<{name}, {pack}>"
    _launch_planes(kernel, arguments, pack, channels, statistics, per_statistic, affine)
    return dx, dweight, dbias


def _cut(
    name: str, shape: tuple[int, int, int], *arrays: Array
) -> tuple[int, tuple[int, int, int, tuple[Any, Any, Any]]]:
    """How (images, channels, inner) is cut into pieces that are summed at once, by its shape alone but for PACK.

    Returns the elements that are read at once; the threads of a piece, the pieces, those of a channel, and what the
    kernels take: in how many parts the images are cut, the length of a piece, and the pieces.
    """
    images, channels, inner = shape
    pack = _pack(name, inner, *arrays)
    threads = 256 if inner >= 1024 else 32 if inner >= 32 else 1
    wanted = max(PIECES[threads] // channels, 1)
    image_splits = min(images, wanted)
    least = PIECE_PACKS * threads * PACKS[name]  # elements of a piece
    inner_splits = max(min(wanted // image_splits, inner // least), 1)
    chunk = -(-inner // (inner_splits * PACKS[name])) * PACKS[name]
    splits = image_splits * -(-inner // chunk)
    pieces = splits * channels
    return pack, (threads, pieces, splits, (np.int32(image_splits), np.int64(chunk), np.int64(pieces)))


def _launch_pieces(kernel: str, threads: int, pieces: int, arguments: tuple[Any, ...]) -> None:
    block = BLOCK_THREADS if threads == 256 else WARP_THREADS
    KERNELS.launch(kernel, blocks(pieces * threads, block), (block,), arguments)


def _launch_warps(kernel: str, warps: int, arguments: tuple[Any, ...]) -> None:
    KERNELS.launch(kernel, blocks(warps, WARP_THREADS // 32), (WARP_THREADS,), arguments)


def _launch_planes(
    kernel: str,
    arrays: tuple[Array, ...],
    pack: int,
    channels: int,
    statistics: int,
    per_statistic: int,
    affine: int,
) -> None:
    """Run ``kernel`` on all elements of the last array, (N, C, ...)."""
    y = arrays[-1]
    planes, inner = y.shape[0] * channels, math.prod(y.shape[2:])
    packs = inner // pack
    log_columns = min((packs - 1).bit_length(), 8)
    across = min(max(packs >> log_columns + 2, 1), MOST_ACROSS)  # each thread has about four packs of a long plane
    layout = numbers([*divisor(per_statistic), *divisor(statistics), *divisor(channels)], 9, np.uint32)
    arguments = (*arrays, np.int64(planes), np.int64(inner), layout, np.int32(log_columns), np.int32(affine))
    KERNELS.launch(kernel, (*blocks(planes, BLOCK_THREADS >> log_columns), across), (BLOCK_THREADS,), arguments)


# ---------------------------------------------------------------------- both


def _fits(x: Array, *others: Array | None) -> bool:
    return x.dtype in TYPES and x.size > 0 and all(other is None or other.dtype == x.dtype for other in others)


def _affine(x: Array, weight: Array | None, bias: Array | None) -> tuple[int, tuple[Array, Array]]:
    """The kernel's ``affine``, and weight and bias in C order, or x where there is none: a kernel takes arrays."""
    bits = WEIGHT * (weight is not None) + BIAS * (bias is not None)
    of_weight, of_bias = (x if array is None else contiguous(array) for array in (weight, bias))
    return bits, (of_weight, of_bias)


def _pack(name: str, n: int, *arrays: Array) -> int:
    """The elements that are read at once from rows of n."""
    return PACKS[name] if n % PACKS[name] == 0 and aligned(16, *arrays) else 1
