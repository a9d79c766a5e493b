"""Matrix products: by a kernel on tensor cores, by a plain kernel, or by cuBLAS, as :data:`WHO` says."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from tinygrad_notes.kernels import PRECISION, reference
from tinygrad_notes.kernels.cuda import blas
from tinygrad_notes.kernels.cuda.blas import Batch, Matrix, as_matrix, batches, memory
from tinygrad_notes.kernels.cuda.launch import TYPES, Kernels, aligned, blocks, contiguous, numbers

Array = np.ndarray
KINDS = dict.fromkeys(("matmul", "linear"), "kernel or cuBLAS")


class Shape(NamedTuple):
    """Template arguments of gemm: the tile of a block and of each of its warps, and the stages of k in flight."""

    block_m: int
    block_n: int
    warp_m: int
    warp_n: int
    stages: int

    @property
    def threads(self) -> int:
        return self.block_m // self.warp_m * (self.block_n // self.warp_n) * 32

    @property
    def together(self) -> int:
        """Blocks on one multiprocessor: its registers are enough for 256 of such threads."""
        return 256 // self.threads

    @property
    def shared(self) -> int:
        return self.stages * (self.block_m + self.block_n) * DEPTH * 4


DEPTH, PLAIN_TILE, PLAIN_THREADS, SUM_THREADS, SIZES = 32, 64, 256, 256, 13  # as in gemm.cu

# What measurement decides.
# Who computes, by dtype and precision: "tensor", "plain" or "cuBLAS"; below SMALL products of elements it is cuBLAS.
WHO = {
    ("float32", "highest"): "tensor",
    ("float32", "high"): "cuBLAS",
    ("float32", "medium"): "cuBLAS",
    ("float64", "highest"): "cuBLAS",
    ("float64", "high"): "cuBLAS",
    ("float64", "medium"): "cuBLAS",
}
SMALL = 64**3  # m n k of a product
THIN = 16  # with fewer rows or columns a tile is mostly empty: cuBLAS
LARGE, LITTLE = Shape(128, 128, 64, 32, 3), Shape(64, 64, 32, 32, 3)
SHAPES = {3: (LARGE, LITTLE), 1: (Shape(128, 128, 64, 64, 3),)}  # by how many products of tf32 make one
FULL = 132  # multiprocessors of a GPU: blocks of a wave
LITTLE_COST = 4 / 3  # time of a little tile, beside its share of a large one's
PART = 512  # elements of k that repay a part of their own
MOST_PARTS = 32

LAYOUTS = [f"{a}, {b}" for a in ("true", "false") for b in ("true", "false")]  # whether memory of a, b runs along k
KERNELS = Kernels(
    "gemm.cu",
    [
        *(
            f"gemm<{', '.join(map(str, shape))}, {products}, {along}, {pack}>"
            for products, shapes in SHAPES.items()
            for shape in shapes
            for along in LAYOUTS
            for pack in ((4, 1) if shape is LITTLE else (4,))
        ),
        *(f"gemm_plain<{name}, {along}>" for name in TYPES.values() for along in LAYOUTS),
        "gemm_sum<float>",
    ],
)


def matmul(a: Array, b: Array) -> Array:
    """Matrix product (..., n, k) @ (..., k, m) -> (..., n, m), as NumPy's: 1-D operands and broadcasting included."""
    if not _fits(a, b) or a.ndim == 0 or b.ndim == 0 or a.shape[-1] != b.shape[max(0, b.ndim - 2)]:
        return reference.matmul(a, b)
    rows, columns = a if a.ndim > 1 else a[None], b if b.ndim > 1 else b[:, None]
    if b.ndim <= 2 and a.ndim > 2 and a.flags.c_contiguous:  # one product over all leading axes, not one for each
        y = _product(a.reshape(math.prod(a.shape[:-1]), a.shape[-1]), columns, None)
        y = y.reshape(*a.shape[:-1], columns.shape[1])
    else:
        y = _product(rows, columns, None)
    if a.ndim == 1:
        y = y[..., 0, :]
    return y if b.ndim > 1 else y[..., 0]


def linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """x Wᵀ + b: (..., in), (out, in), (out,) or None -> (..., out)."""
    if not _fits(x, weight) or (bias is not None and bias.dtype != x.dtype):
        return reference.linear(x, weight, bias)
    y = _product(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]), weight.T, bias)
    return y.reshape(*x.shape[:-1], weight.shape[0])


def _fits(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and (a.dtype in TYPES or (a.dtype.name in blas.DATA_TYPES and a.dtype.itemsize == 2))


def _product(a: Array, b: Array, bias: Array | None) -> Array:
    """a b + bias for a (..., m, k) and b (..., k, n), of one dtype, whose leading axes broadcast; bias is (n,)."""
    m, k, n = *a.shape[-2:], b.shape[-1]
    shape = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    y = np.empty((*shape, m, n), a.dtype, like=a)
    if y.size == 0 or k == 0:
        y[...] = 0 if bias is None else bias
        return y
    precision = PRECISION.get()
    who = WHO.get((a.dtype.name, precision), "cuBLAS")
    if m * n * k < SMALL or min(m, n) < THIN or max(m, n, k) >= 2**31 - DEPTH:
        who = "cuBLAS"
    if who == "cuBLAS":
        if bias is not None:
            y[...] = bias
        return blas.gemm(a, b, y, 1.0, 0.0 if bias is None else 1.0, precision)
    of_a, of_b, bias = as_matrix(a), as_matrix(b), None if bias is None else contiguous(bias)
    if who == "plain":
        _launch_plain(of_a, of_b, bias, y)
    else:
        _launch_tensor(of_a, of_b, bias, y, 3 if precision == "highest" else 1)
    return y


def plan(m: int, n: int, k: int, batch: int, products: int) -> tuple[Shape, int]:
    """The tiles for a product, and how deep each part of k is: k itself, or less where tiles alone fill no GPU."""

    def time(shape: Shape) -> float:  # of all waves: the last may be nearly empty
        waves = -(-_tiles(m, n, shape.block_m, shape.block_n) * batch // FULL)
        return waves * shape.block_m * shape.block_n * (LITTLE_COST if shape is LITTLE else 1)

    shape = min(SHAPES[products], key=time)
    count = _tiles(m, n, shape.block_m, shape.block_n) * batch
    parts = max(1, min(FULL * shape.together // count, k // PART, MOST_PARTS))
    return shape, k if parts == 1 else -(-k // (parts * DEPTH)) * DEPTH


def _launch_plain(a: Matrix, b: Matrix, bias: Array | None, y: Array) -> None:
    m, n, k = *y.shape[-2:], a.array.shape[-1]
    a, b, axes = _in_two_axes(a, b, y)
    grid = (_tiles(m, n, PLAIN_TILE, PLAIN_TILE) * axes[0].size * axes[1].size,)
    operands = memory(a.array), memory(b.array), y if bias is None else bias, y
    sizes = _sizes(a, b, bias, y, axes, k, k)
    KERNELS.launch(f"gemm_plain<{TYPES[y.dtype]}, {_along_k(a, b)}>", grid, (PLAIN_THREADS,), (*operands, sizes))


def _launch_tensor(a: Matrix, b: Matrix, bias: Array | None, y: Array, products: int) -> None:
    m, n, k = *y.shape[-2:], a.array.shape[-1]
    batch = y.size // (m * n)
    shape, part = plan(m, n, k, batch, products)
    a, b, axes = _in_two_axes(a, b, y)
    pack = 4
    if not (_in_packs(a) and _in_packs(b)):
        if shape is LITTLE:
            pack = 1
        else:  # a copy costs less than single elements do
            a, b, axes = _in_two_axes(_padded(a), _padded(b), y)
    parts = -(-k // part)
    target = y if parts == 1 else np.empty((batch, parts, m, n), y.dtype, like=y)
    here = bias if parts == 1 else None  # else the sum of the parts adds it
    name = f"gemm<{', '.join(map(str, shape))}, {products}, {_along_k(a, b)}, {pack}>"
    grid = (_tiles(m, n, shape.block_m, shape.block_n) * batch * parts,)
    operands = memory(a.array), memory(b.array), target if here is None else here, target
    KERNELS.launch(name, grid, (shape.threads,), (*operands, _sizes(a, b, here, y, axes, k, part)), shape.shared)
    if parts > 1:
        grid = (blocks(m * n, SUM_THREADS)[0] * batch,)
        arguments = target, y if bias is None else bias, y, np.int64(m * n), _sizes(a, b, bias, y, axes, k, part)
        KERNELS.launch("gemm_sum<float>", grid, (SUM_THREADS,), arguments)


def _in_two_axes(a: Matrix, b: Matrix, y: Array) -> tuple[Matrix, Matrix, list[Batch]]:
    """The operands and their batch axes, of which kernels take two; where there are more, the operands are copied."""
    of_y = as_matrix(y)
    axes = batches(a, b, of_y)
    if len(axes) > 2:
        whole = (np.broadcast_to(x.array, (*y.shape[:-2], *x.array.shape[-2:])) for x in (a, b))
        a, b = (_padded(Matrix(array, x.along_rows, 0, ())) for array, x in zip(whole, (a, b)))
        axes = batches(a, b, of_y)
    return a, b, [Batch(1, 0, 0, 0)] * (2 - len(axes)) + axes


def _in_packs(x: Matrix) -> bool:
    """Whether memory can be read four elements at a time, none of them beyond its row or column."""
    in_line = x.array.shape[-1] if x.along_rows else x.array.shape[-2]
    return all(step % 4 == 0 for step in (in_line, x.leading, *x.batch_steps)) and aligned(16, x.array)


def _padded(x: Matrix) -> Matrix:
    """A copy whose rows, or columns where memory runs along them, are longer: filled up with 0s to whole packs."""
    array = x.array if x.along_rows else x.array.swapaxes(-1, -2)
    length = array.shape[-1]
    lines = np.zeros((*array.shape[:-1], -(-length // 4) * 4), array.dtype, like=array)
    lines[..., :length] = array
    steps = tuple(step // lines.itemsize if size > 1 else 0 for step, size in zip(lines.strides, lines.shape[:-2]))
    return Matrix(lines if x.along_rows else lines.swapaxes(-1, -2), x.along_rows, lines.shape[-1], steps)


def _tiles(m: int, n: int, block_m: int, block_n: int) -> int:
    return -(-m // block_m) * -(-n // block_n)


def _along_k(a: Matrix, b: Matrix) -> str:
    """Template arguments: whether memory of a, and of b, runs along k."""
    return f"{str(a.along_rows).lower()}, {str(not b.along_rows).lower()}"


def _sizes(a: Matrix, b: Matrix, bias: Array | None, y: Array, axes: list[Batch], k: int, part: int) -> Array:
    """``Sizes`` of gemm.cu."""
    outer, inner = axes
    return numbers(
        [
            *(*y.shape[-2:], k, a.leading, b.leading),
            *(inner.size, outer.a, inner.a, outer.b, inner.b),
            *(part, -(-k // part), bias is not None),
        ],
        SIZES,
    )
