"""Softmax and its logarithm: a warp, a block or a thread for each row, by how long it is and how it lies."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cuda.launch import TYPES, Kernels, aligned, blocks, contiguous

Array = np.ndarray
KINDS = dict.fromkeys(("softmax", "softmax_grad", "log_softmax", "log_softmax_grad"), "kernel")

WARP_THREADS, BLOCK_THREADS, COLUMN_THREADS = 128, 256, 128
PER_LANE = (8, 32)  # elements that a lane holds: rows of up to 256, and of up to 1024
FEW_COLUMNS = 32  # fewer do not fill a warp: the axis is moved to the end instead
PACKS = {"float": 4, "double": 2}  # elements in 16 bytes

KERNELS = Kernels(
    "softmax.cu",
    [
        f"softmax{step}_{kernel}>"
        for step in ("", "_grad")
        for type_name, pack in PACKS.items()
        for logarithm in ("false", "true")
        for kernel in (
            *(f"warp<{type_name}, {logarithm}, {per_lane}" for per_lane in PER_LANE),
            *(f"block<{type_name}, {logarithm}, {size}" for size in (1, pack)),
            f"columns<{type_name}, {logarithm}",
        )
    ],
)


def softmax(x: Array, axis: int) -> Array:
    """exp(x) / Σ exp(x) along ``axis``."""
    return _run("softmax", (x,), axis, "false") if _fits(x, x) else reference.softmax(x, axis)


def log_softmax(x: Array, axis: int) -> Array:
    """x - log Σ exp(x) along ``axis``."""
    return _run("softmax", (x,), axis, "true") if _fits(x, x) else reference.log_softmax(x, axis)


def softmax_grad(g: Array, y: Array, axis: int) -> Array:
    """Gradient of softmax's x from its value y: y (g - Σ g y)."""
    return _run("softmax_grad", (g, y), axis, "false") if _fits(g, y) else reference.softmax_grad(g, y, axis)


def log_softmax_grad(g: Array, y: Array, axis: int) -> Array:
    """Gradient of log_softmax's x from its value y: g - exp(y) Σ g."""
    return _run("softmax_grad", (g, y), axis, "true") if _fits(g, y) else reference.log_softmax_grad(g, y, axis)


def _fits(g: Array, y: Array) -> bool:
    return y.dtype in TYPES and g.dtype == y.dtype and g.shape == y.shape and y.size > 0 and y.ndim > 0


def _run(step: str, operands: tuple[Array, ...], axis: int, logarithm: str) -> Array:
    """The kernel of this shape on one operand, x, or on two, g and y."""
    x = operands[0]
    axis = axis % x.ndim
    n, inner = x.shape[axis], math.prod(x.shape[axis + 1 :])
    rows = x.size // n
    if 1 < inner < FEW_COLUMNS:
        moved = tuple(np.moveaxis(operand, axis, -1) for operand in operands)
        return contiguous(np.moveaxis(_run(step, moved, -1, logarithm), -1, axis))
    operands = tuple(contiguous(operand) for operand in operands)
    y = np.empty(x.shape, x.dtype, like=x)
    name = TYPES[x.dtype]
    if inner > 1:
        sizes = np.int64(rows // inner), np.int64(n), np.int64(inner)
        kernel, grid, threads = f"columns<{name}, {logarithm}>", blocks(rows, COLUMN_THREADS), COLUMN_THREADS
        KERNELS.launch(f"{step}_{kernel}", grid, (threads,), (*operands, y, *sizes))
    elif n <= 32 * PER_LANE[-1]:
        per_lane = PER_LANE[0] if n <= 32 * PER_LANE[0] else PER_LANE[1]
        grid, arguments = blocks(rows, WARP_THREADS // 32), (*operands, y, np.int64(rows), np.int32(n))
        KERNELS.launch(f"{step}_warp<{name}, {logarithm}, {per_lane}>", grid, (WARP_THREADS,), arguments)
    else:
        pack = PACKS[name] if n % PACKS[name] == 0 and aligned(16, *operands, y) else 1
        arguments = (*operands, y, np.int64(n))
        KERNELS.launch(f"{step}_block<{name}, {logarithm}, {pack}>", (rows,), (BLOCK_THREADS,), arguments)
    return y
