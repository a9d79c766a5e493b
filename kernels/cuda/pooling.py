"""Pooling over one to three axes: a thread, or a warp where windows are large, for each element of the result."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cuda.launch import TYPES, Kernels, blocks, contiguous, divisor, numbers
from tinygrad_notes.kernels.reference.windows import Size, window_counts

Array = np.ndarray
KINDS = dict.fromkeys(
    (
        "max_pool", "max_pool_grad", "max_pool_gather", "adaptive_max_pool", "avg_pool", "avg_pool_grad",
        "adaptive_avg_pool", "adaptive_avg_pool_grad",
    ),
    "kernel",
)  # fmt: skip

THREADS, LARGE_WINDOW = 256, 32  # of a block; elements from which a warp has a window
CELLS, MULTIPROCESSORS = 6144, 132  # of a plane's gradient in shared memory; so many blocks at least, if there is work

KERNELS = Kernels(
    "pooling.cu",
    [
        f"{kernel}>"
        for name in TYPES.values()
        for kernel in (
            *(
                f"{kernel}<{name}, {adaptive}, {lanes}"
                for kernel in ("max_pool", "avg_pool")
                for adaptive in ("false", "true")
                for lanes in (1, 32)
            ),
            *(f"avg_pool_grad<{name}, {adaptive}" for adaptive in ("false", "true")),
            f"max_pool_grad<{name}",
            f"max_pool_gather<{name}",
        )
    ],
)


def max_pool(
    x: Array, kernel_size: Size, stride: Size, padding: Size, dilation: Size, ceil_mode: bool
) -> tuple[Array, Array]:
    """Largest element of each window of x (N, C, *size), and where it stands: (y, indices), both (N, C, *counts)."""
    if not _fits(x, x.shape[2:]):
        return reference.max_pool(x, kernel_size, stride, padding, dilation, ceil_mode)
    counts = window_counts(x.shape[2:], kernel_size, stride, padding, dilation, ceil_mode)
    windows = kernel_size, stride, padding, dilation, True
    return _max_pool(x, counts, windows)


def adaptive_max_pool(x: Array, output_size: Size) -> tuple[Array, Array]:
    """Largest element of each of output_size windows that cover x (N, C, *size), and where it stands."""
    if not _fits(x, x.shape[2:]):
        return reference.adaptive_max_pool(x, output_size)
    return _max_pool(x, output_size, _even(x.shape[2:], output_size))


def max_pool_grad(g: Array, indices: Array, input_size: Size) -> Array:
    """Gradient of max_pool's x (N, C, *input_size): each g (N, C, *counts) is added where its maximum stood."""
    if not _fits(g, input_size):
        return reference.max_pool_grad(g, indices, input_size)
    dx = np.empty((*g.shape[:2], *input_size), g.dtype, like=g)
    planes, outputs, area = math.prod(g.shape[:2]), math.prod(g.shape[2:]), math.prod(input_size)
    if dx.size:
        bands = -(-area // CELLS)
        whole = max(1, min(CELLS // area, planes // (4 * MULTIPROCESSORS)))
        cells = whole * area if bands == 1 else -(-area // bands)
        sizes = map(np.int32, (outputs, area, whole, bands, cells))
        arguments = contiguous(g), _int32(indices), dx, np.int64(planes), *sizes
        grid = (-(-planes // whole) * bands,)
        KERNELS.launch(f"max_pool_grad<{TYPES[g.dtype]}>", grid, (THREADS,), arguments, cells * (g.itemsize + 4))
    return dx


def max_pool_gather(x: Array, indices: Array) -> Array:
    """The elements of x (N, C, *size) at ``indices`` (N, C, *counts), which count the elements of ``size``."""
    if not _fits(x, x.shape[2:]):
        return reference.max_pool_gather(x, indices)
    counts = indices.shape[2:]
    one = (1,) * len(counts)
    y = np.empty(indices.shape, x.dtype, like=x)
    if y.size:
        geometry = _geometry(counts, counts, one, one, one, one, True, counts)
        arguments = contiguous(x), _int32(indices), y, np.int64(y.size), np.int64(math.prod(x.shape[2:]))
        grid = blocks(y.size, THREADS)
        KERNELS.launch(f"max_pool_gather<{TYPES[x.dtype]}>", grid, (THREADS,), (*arguments, geometry))
    return y


def avg_pool(
    x: Array, kernel_size: Size, stride: Size, padding: Size, ceil_mode: bool, count_include_pad: bool
) -> Array:
    """Mean of each window of x (N, C, *size): (N, C, *counts)."""
    if not _fits(x, x.shape[2:]):
        return reference.avg_pool(x, kernel_size, stride, padding, ceil_mode, count_include_pad)
    one = (1,) * len(kernel_size)
    counts = window_counts(x.shape[2:], kernel_size, stride, padding, one, ceil_mode)
    return _avg_pool(x, counts, (kernel_size, stride, padding, one, count_include_pad))


def adaptive_avg_pool(x: Array, output_size: Size) -> Array:
    """Means of x (N, C, *size) over output_size windows that cover it: (N, C, *output_size)."""
    if not _fits(x, x.shape[2:]):
        return reference.adaptive_avg_pool(x, output_size)
    return _avg_pool(x, output_size, _even(x.shape[2:], output_size))


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
    if not _fits(g, input_size):
        return reference.avg_pool_grad(g, input_size, kernel_size, stride, padding, ceil_mode, count_include_pad)
    return _avg_pool_grad(g, input_size, (kernel_size, stride, padding, (1,) * len(stride), count_include_pad))


def adaptive_avg_pool_grad(g: Array, input_size: Size) -> Array:
    """Gradient of adaptive_avg_pool's x (N, C, *input_size)."""
    if not _fits(g, input_size):
        return reference.adaptive_avg_pool_grad(g, input_size)
    return _avg_pool_grad(g, input_size, _even(input_size, g.shape[2:]))


# ---------------------------------------------------------------------- launches

# Windows are (kernel_size, stride, padding, dilation, count_include_pad), or None: those of adaptive pooling.


def _max_pool(x: Array, counts: Size, windows: Any) -> tuple[Array, Array]:
    y = np.empty((*x.shape[:2], *counts), x.dtype, like=x)
    indices = np.empty(y.shape, np.int32, like=x)
    _pool("max_pool", x, (y, indices), windows)
    return y, indices


def _avg_pool(x: Array, counts: Size, windows: Any) -> Array:
    y = np.empty((*x.shape[:2], *counts), x.dtype, like=x)
    _pool("avg_pool", x, (y,), windows)
    return y


def _pool(kernel: str, x: Array, results: tuple[Array, ...], windows: Any) -> None:
    size, counts = x.shape[2:], results[0].shape[2:]
    count = results[0].size
    if not count:
        return
    seen = math.prod(windows[0] if windows else (-(-n // c) for n, c in zip(size, counts)))
    lanes = 32 if seen >= LARGE_WINDOW else 1
    arguments = contiguous(x), *results, np.int64(count), np.int64(math.prod(size))
    name = f"{kernel}<{TYPES[x.dtype]}, {'false' if windows else 'true'}, {lanes}>"
    geometry = _geometry(size, counts, *_given(windows, size), counts)
    KERNELS.launch(name, blocks(count, THREADS // lanes), (THREADS,), (*arguments, geometry))


def _avg_pool_grad(g: Array, input_size: Size, windows: Any) -> Array:
    dx = np.empty((*g.shape[:2], *input_size), g.dtype, like=g)
    if dx.size:
        counts = g.shape[2:]
        geometry = _geometry(input_size, counts, *_given(windows, input_size), input_size)
        arguments = contiguous(g), dx, np.int64(dx.size), np.int64(math.prod(counts)), geometry
        name = f"avg_pool_grad<{TYPES[g.dtype]}, {'false' if windows else 'true'}>"
        KERNELS.launch(name, blocks(dx.size, THREADS), (THREADS,), arguments)
    return dx


def _fits(x: Array, size: Size) -> bool:
    return x.dtype in TYPES and 1 <= len(size) <= 3 and math.prod(size) < 2**31


def _int32(indices: Array) -> Array:
    return contiguous(indices.astype(np.int32, copy=False))


def _even(size: Size, counts: Size) -> Any:
    """The windows of adaptive pooling as those of plain pooling, where they are; the kernels divide less for these."""
    if 0 in counts or any(n % c for n, c in zip(size, counts)):
        return None
    kernel, zero = tuple(n // c for n, c in zip(size, counts)), (0,) * len(size)
    return kernel, kernel, zero, (1,) * len(size), True


def _given(windows: Any, size: Size) -> Any:
    one = (1,) * len(size)
    return windows or (one, one, one, one, True)


@functools.lru_cache(maxsize=256)
def _geometry(
    size: Size,
    counts: Size,
    kernel_size: Size,
    stride: Size,
    padding: Size,
    dilation: Size,
    include_pad: bool,
    result: Size,
) -> Any:
    """What the kernels call Geometry, by value: three axes, of which those in front may be trivial."""
    values: list[int] = []
    for n, count, k, s, p, d, r in zip(size, counts, kernel_size, stride, padding, dilation, result):
        values += (n, count, k, s, p, d, *divisor(r), *divisor(s))
    trivial = (1, 1, 1, 1, 0, 1, *divisor(1), *divisor(1))
    return numbers([*trivial * (3 - len(size)), *values, include_pad], 3 * len(trivial) + 1, np.uint32)
