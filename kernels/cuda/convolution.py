"""Convolution, its weight's gradient and transposed convolution: on tensor cores, or by a thread for each result.

``convolution.cu`` and ``weight_grad.cu`` say how; which kernel, tile and split a shape gets is chosen here, from its
sizes and a few constants.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from tinygrad_notes.kernels import PRECISION, reference
from tinygrad_notes.kernels.cuda.launch import TYPES, Kernels, aligned, blocks, contiguous
from tinygrad_notes.kernels.reference.windows import window_counts

Array = np.ndarray
Size = tuple[int, ...]
KINDS = dict.fromkeys(("conv", "conv_weight_grad", "conv_transpose"), "kernel")

PRODUCTS = {"highest": 3, "high": 1, "medium": 1}  # of tf32, for one of float32
DEPTH, MOST_BITS, MOST_TAPS = 32, 30, 256  # as in convolution.cuh
MOST_ELEMENTS, MOST_ACROSS = 2**30, 65535  # offsets are 32-bit integers; sizes of a grid
PACK_THREADS, DIRECT_THREADS, REDUCE_THREADS = 256, 128, 256

# To be set by measurement, for an H200.
MULTIPROCESSORS = 132
LEAST_PRODUCTS = 64  # of a pixel, in a group: with fewer a thread for each result is as fast
MOST_DEPTHWISE = 16  # outputs that see one channel: with more of them tiles are full enough
DIRECT_BLOCKS = 16  # of a weight's gradient, on a multiprocessor
LEAST_STAGES, MOST_STAGES = 8, 512  # of DEPTH pixels, in a share of the weight's gradient: for speed, for precision
BEGINNING = 4  # how many stages a block's beginning and end take as long as
SHARE_COST = 1 / 32  # of a number written for a share and added, where a number's products in a stage cost 1


@dataclass(frozen=True)
class Tile:
    """What a block and a warp compute of a product, and how fast: the largest tile is 1."""

    rows: int
    columns: int
    warp_rows: int
    warp_columns: int
    stages: int
    speed: float

    @property
    def threads(self) -> int:
        return 32 * (self.rows // self.warp_rows) * (self.columns // self.warp_columns)

    @property
    def arguments(self) -> str:
        return f"{self.rows}, {self.columns}, {self.warp_rows}, {self.warp_columns}, {self.stages}"

    def count(self, rows: int, columns: int) -> tuple[int, int]:
        """Tiles across and down."""
        return -(-columns // self.columns), -(-rows // self.rows)

    def time(self, tiles: int) -> float:
        """In units of its own: waves of tiles over the multiprocessors, each as long as a tile is large and slow."""
        return -(-tiles // MULTIPROCESSORS) * self.rows * self.columns / self.speed


# By how many products of tf32 make one. A larger tile of a warp needs fewer other instructions for a product. With one
# product it may be 64 by 64, for no sums are kept beside the tensor cores'; and other instructions count for more.
TILES = {
    3: (
        Tile(128, 128, 64, 32, 2, 1.0),
        Tile(64, 128, 32, 64, 3, 0.9),
        Tile(64, 64, 32, 32, 3, 0.8),
        Tile(32, 128, 32, 32, 3, 0.7),
        Tile(64, 32, 32, 16, 3, 0.55),
    ),
    1: (
        Tile(128, 128, 64, 64, 3, 1.0),
        Tile(64, 128, 32, 64, 3, 0.85),
        Tile(64, 64, 32, 32, 3, 0.7),
        Tile(32, 128, 32, 32, 3, 0.55),
        Tile(64, 32, 32, 16, 3, 0.45),
    ),
}
GRAD_TILES = {products: tiles[:3] for products, tiles in TILES.items()}

FORWARD = Kernels(
    "convolution.cu",
    [
        "conv_pack",
        *(f"conv_tile<{t.arguments}, {p}, {copy}>" for p, tiles in TILES.items() for t in tiles for copy in (1, 4)),
    ],
)
WEIGHT_GRAD = Kernels(
    "weight_grad.cu",
    [
        *(f"weight_grad_reduce<{name}>" for name in TYPES.values()),
        *(
            f"weight_grad_tile<{t.arguments}, {p}, {copies}>"
            for p, tiles in GRAD_TILES.items()
            for t in tiles
            for copies in ("1, 1", "4, 1", "4, 4")
        ),
    ],
)
DIRECT = Kernels(
    "direct.cu", [f"{kernel}_direct<{name}>" for kernel in ("conv", "weight_grad") for name in TYPES.values()]
)

STRIP, TILE_ROWS, TILE_STRIPS = 4, 16, 8  # STRIP and DIRECT_THREADS as in depthwise.cu
DEPTHWISE = Kernels(
    "depthwise.cu",
    [
        f"{name}<{kernel}, {stride}>"
        for name in ("depthwise_tile", "depthwise_weight_grad")
        for kernel in (3, 5, 7)
        for stride in (1, 2)
    ],
)

_AXES = ("x_size", "y_size", "kernel", "stride", "padding", "dilation", "phases")
GEOMETRY = np.dtype(
    [
        *((name, np.int32) for name in ("images", "groups", "channels", "outputs")),
        *((name, np.int32, (3,)) for name in _AXES),
        *((name, np.int32) for name in ("transposed", "biased")),
    ]
)


# ---------------------------------------------------------------------- the functions


def conv(
    x: Array, weight: Array, bias: Array | None, stride: Size, padding: Size, dilation: Size, groups: int
) -> Array:
    """Cross-correlation of x (N, C, *size) with weight (O, C/groups, *kernel_size), plus bias: (N, O, *counts)."""
    if not _fits(x, weight, bias):
        return reference.conv(x, weight, bias, stride, padding, dilation, groups)
    kernel_size = weight.shape[2:]
    y_shape = x.shape[0], weight.shape[0], *window_counts(x.shape[2:], kernel_size, stride, padding, dilation)
    problem = Problem.of(x.shape, y_shape, kernel_size, stride, padding, dilation, groups, False, bias is not None)
    return _forward(problem, x, weight, bias, np.empty(y_shape, x.dtype, like=x))


def conv_transpose(
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Size,
    padding: Size,
    dilation: Size,
    groups: int,
    output_size: Size,
) -> Array:
    """Transposed convolution of x (N, C, *counts) with weight (C, O/groups, *kernel_size): (N, O, *output_size)."""
    if not _fits(x, weight, bias):
        return reference.conv_transpose(x, weight, bias, stride, padding, dilation, groups, output_size)
    y_shape = x.shape[0], weight.shape[1] * groups, *output_size
    problem = Problem.of(x.shape, y_shape, weight.shape[2:], stride, padding, dilation, groups, True, bias is not None)
    return _forward(problem, x, weight, bias, np.empty(y_shape, x.dtype, like=x))


def conv_weight_grad(
    x: Array, g: Array, kernel_size: Size, stride: Size, padding: Size, dilation: Size, groups: int
) -> Array:
    """Gradient of ``conv``'s weight, (O, C/groups, *kernel_size), from x (N, C, *size) and g (N, O, *counts)."""
    if not _fits(x, g):
        return reference.conv_weight_grad(x, g, kernel_size, stride, padding, dilation, groups)
    gradient = np.empty((g.shape[1], x.shape[1] // groups, *kernel_size), x.dtype, like=x)
    if gradient.size == 0:
        return gradient
    if x.size == 0 or g.size == 0:
        gradient[...] = 0
        return gradient
    x, g = contiguous(x), contiguous(g)
    problem = Problem.of(x.shape, g.shape, kernel_size, stride, padding, dilation, groups, False, False)
    if problem.divisible:
        half = x.shape[0] // 2
        rest = kernel_size, stride, padding, dilation, groups
        return conv_weight_grad(x[:half], g[:half], *rest) + conv_weight_grad(x[half:], g[half:], *rest)
    products = PRODUCTS[PRECISION.get()]
    step, shares = _weight_grad_plan(problem, TYPES[x.dtype], products, aligned(16, g), aligned(16, x))
    if shares == 1:
        step.run(x, g, gradient)
        return gradient
    sums = np.empty((shares, *gradient.shape), x.dtype, like=x)
    step.run(x, g, sums)
    arguments = (sums, gradient, np.int32(shares), np.int64(gradient.size))
    kernel = f"weight_grad_reduce<{TYPES[x.dtype]}>"
    WEIGHT_GRAD.launch(kernel, blocks(gradient.size, REDUCE_THREADS), (REDUCE_THREADS,), arguments)
    return gradient


def _fits(x: Array, *others: Array | None) -> bool:
    return x.dtype in TYPES and x.ndim in (3, 4, 5) and all(a is None or a.dtype == x.dtype for a in others)


def _forward(problem: Problem, x: Array, weight: Array, bias: Array | None, y: Array) -> Array:
    """conv or conv_transpose, written to y."""
    if y.size == 0:
        return y
    x, weight = contiguous(x), contiguous(weight)
    if problem.divisible:
        half = x.shape[0] // 2
        for part in (slice(half), slice(half, None)):
            of_part = problem._replace(x=x[part].shape, y=y[part].shape)
            _forward(of_part, x[part], weight, bias, y[part])
        return y
    bias = weight if bias is None else contiguous(bias)
    products = PRODUCTS[PRECISION.get()]
    pack, row, step = _forward_plan(problem, TYPES[x.dtype], products, aligned(16, x), aligned(16, weight))
    if pack is not None:
        packed = np.empty((math.prod(problem.phases) * problem.y[1], row), x.dtype, like=x)
        pack.run(weight, packed)
        weight = packed
    step.run(x, weight, bias, y)
    return y


# ---------------------------------------------------------------------- plans, which depend on sizes only


class Problem(NamedTuple):
    """Shapes of x and of y (of the weight's gradient: of g), and the windows along three axes."""

    x: Size
    y: Size
    x_size: Size
    y_size: Size
    kernel: Size
    stride: Size
    padding: Size
    dilation: Size
    groups: int
    transposed: bool
    biased: bool

    @classmethod
    def of(
        cls,
        x: Size,
        y: Size,
        kernel: Size,
        stride: Size,
        padding: Size,
        dilation: Size,
        groups: int,
        transposed: bool,
        biased: bool,
    ) -> Problem:
        """With leading axes of size 1 where there are fewer than three."""
        ones, zeros = (1,) * (5 - len(x)), (0,) * (5 - len(x))
        sizes = ones + tuple(x[2:]), ones + tuple(y[2:]), ones + tuple(kernel), ones + tuple(stride)
        return cls(x, y, *sizes, zeros + tuple(padding), ones + tuple(dilation), groups, transposed, biased)

    @property
    def channels(self) -> int:
        return self.x[1] // self.groups

    @property
    def outputs(self) -> int:
        return self.y[1] // self.groups

    @property
    def phases(self) -> Size:
        return tuple(min(s, max(n, 1)) for s, n in zip(self.stride, self.y_size)) if self.transposed else (1, 1, 1)

    @property
    def pointwise(self) -> bool:
        """Whether the windows are x itself."""
        plain = set(self.kernel) == set(self.stride) == {1} and set(self.padding) == {0}
        return plain and self.x_size == self.y_size

    @property
    def divisible(self) -> bool:
        """Whether it is too large for offsets of 32 bits, and half of the images might not be."""
        return self.x[0] > 1 and max(math.prod(self.x), math.prod(self.y)) >= MOST_ELEMENTS

    @property
    def small(self) -> bool:
        """Whether offsets are 32-bit integers."""
        weight = self.y[1] * self.channels * math.prod(self.kernel)
        return max(math.prod(self.x), math.prod(self.y), weight) < MOST_ELEMENTS

    @property
    def for_tiles(self) -> bool:
        """Whether the kernels on tensor cores take it, and are worth while."""
        taps = math.prod(self.kernel)
        takes = self.small and sum(self.kernel) <= MOST_BITS and taps <= MOST_TAPS
        takes = takes and self.groups * math.prod(self.phases) <= MOST_ACROSS
        return takes and self.outputs * self.channels * taps >= LEAST_PRODUCTS

    @property
    def depthwise(self) -> str:
        """Template arguments of the kernels that compute it as a depthwise convolution of images, or ""."""
        (slices, rows, columns), (_, down, across) = self.kernel, self.stride
        images = self.x_size[0] == self.y_size[0] == slices == 1 and self.padding[0] == 0
        fits = images and rows == columns and down == across and self.dilation[1:] == (1, 1) and self.small
        fits = fits and self.channels == 1 and self.outputs <= MOST_DEPTHWISE and down <= 2 - self.transposed
        arguments = f"<{rows}, {down}>"
        return arguments if fits and f"depthwise_tile{arguments}" in DEPTHWISE.names else ""

    @property
    def geometry(self) -> Array:
        """``Geometry`` of convolution.cuh, which is passed by value."""
        sizes = self.x_size, self.y_size, self.kernel, self.stride, self.padding, self.dilation, self.phases
        counts = self.x[0], self.groups, self.channels, self.outputs
        return np.array((*counts, *sizes, self.transposed, self.biased), GEOMETRY)


class Step(NamedTuple):
    """A launch, but for its arrays."""

    kernels: Kernels
    name: str
    grid: tuple[int, ...]
    threads: int
    numbers: tuple[Any, ...]
    shared: int = 0

    def run(self, *arrays: Array) -> None:
        self.kernels.launch(self.name, self.grid, (self.threads,), (*arrays, *self.numbers), self.shared)


@lru_cache(maxsize=1024)
def _forward_plan(
    problem: Problem, type_name: str, products: int, aligned_x: bool, aligned_weight: bool
) -> tuple[Step | None, int, Step]:
    """What packs the weight, if that must be, the length of its rows then, and what computes y."""
    if type_name == "float" and problem.depthwise:
        return None, 0, _depthwise_step(problem)
    if type_name != "float" or not problem.for_tiles:
        return None, 0, _direct_step(problem, type_name)
    geometry, outputs, phases = problem.geometry, problem.outputs, math.prod(problem.phases)
    # Of the kernel's taps, a phase of a transposed convolution has every (stride / gcd(stride, dilation))-th.
    every = [s // math.gcd(s, d) if problem.transposed else 1 for s, d in zip(problem.stride, problem.dilation)]
    row = problem.channels * math.prod(-(-k // e) for k, e in zip(problem.kernel, every))
    pack = None
    if problem.transposed or row % 4 or not aligned_weight:
        row = -(-row // 4) * 4
        pack_grid = (*blocks(problem.y[1] * row, PACK_THREADS), phases)
        pack = Step(FORWARD, "conv_pack", pack_grid, PACK_THREADS, (geometry, np.int32(row)))
    largest = [-(-n // p) for n, p in zip(problem.y_size, problem.phases)]  # phase, along each axis
    pixels = problem.y[0] * math.prod(largest)
    others = problem.groups * phases
    tile = min(TILES[products], key=lambda tile: tile.time(math.prod(tile.count(outputs, pixels)) * others))
    copy = 4 if problem.pointwise and math.prod(problem.y_size) % 4 == 0 and aligned_x else 1
    kernel = f"conv_tile<{tile.arguments}, {products}, {copy}>"
    grid = (math.prod(tile.count(outputs, pixels)), 1, others)
    shared = tile.stages * 4 * DEPTH * (tile.rows + tile.columns + 8)
    return pack, row, Step(FORWARD, kernel, grid, tile.threads, (geometry, np.int32(row)), shared)


def _direct_step(problem: Problem, type_name: str) -> Step:
    count = math.prod(problem.y)
    numbers = problem.geometry, np.int64(count)
    return Step(DIRECT, f"conv_direct<{type_name}>", blocks(count, DIRECT_THREADS), DIRECT_THREADS, numbers)


def _depthwise_step(problem: Problem) -> Step:
    (_, rows, columns), stride, size = problem.y_size, problem.stride[2], problem.kernel[2]
    strips = min(TILE_STRIPS, -(-columns // STRIP))
    tile_rows = min(TILE_ROWS, rows, DIRECT_THREADS // strips)
    planes = DIRECT_THREADS // (strips * tile_rows)
    seen = math.prod((n - 1) * stride + size for n in (tile_rows, strips * STRIP))
    tiles = -(-rows // tile_rows) * -(-columns // (strips * STRIP))
    grid = (blocks(problem.y[0] * problem.y[1], planes)[0] * tiles,)
    numbers = problem.geometry, np.int32(planes), np.int32(tile_rows), np.int32(strips)
    name = f"depthwise_tile{problem.depthwise}"
    return Step(DEPTHWISE, name, grid, DIRECT_THREADS, numbers, 4 * planes * seen)


@lru_cache(maxsize=1024)
def _weight_grad_plan(
    problem: Problem, type_name: str, products: int, aligned_g: bool, aligned_x: bool
) -> tuple[Step, int]:
    """What sums shares of the images or pixels, and how many shares there are."""
    images, plane, outputs = problem.x[0], math.prod(problem.y_size), problem.outputs
    rows = problem.channels * math.prod(problem.kernel)
    depthwise = type_name == "float" and problem.depthwise
    if depthwise or type_name != "float" or not problem.for_tiles:
        across = problem.y[1] * (1 if depthwise else rows)
        share = -(-images // max(1, min(images, MULTIPROCESSORS * DIRECT_BLOCKS // across)))
        shares = max(1, -(-images // max(share, 1)))
        kernels, name = DIRECT, f"weight_grad_direct<{type_name}>"
        if depthwise:
            kernels, name = DEPTHWISE, f"depthwise_weight_grad{depthwise}"
        return Step(kernels, name, (across, shares), DIRECT_THREADS, (problem.geometry, np.int32(share))), shares
    pixels = images * plane
    stages = -(-pixels // DEPTH)
    tile = min(GRAD_TILES[products], key=lambda t: math.prod(t.count(outputs, rows)) * t.rows * t.columns / t.speed)
    across, down = tile.count(outputs, rows)
    count = across * down * problem.groups
    most = max(1, min(-(-stages // LEAST_STAGES), MOST_ACROSS // problem.groups))
    least = min(most, max(1, 2 * MULTIPROCESSORS // count, -(-stages // MOST_STAGES)))

    def time(shares: int) -> float:
        products = tile.time(count * shares) * (-(-stages // shares) + BEGINNING)
        return products + SHARE_COST * shares * problem.y[1] * rows

    shares = min(range(least, min(most, 4 * least + 8) + 1), key=time)  # so that the last wave of blocks is full
    share = -(-stages // shares) * DEPTH
    shares = max(1, -(-pixels // max(share, 1)))
    copy_g = 4 if plane % 4 == 0 and aligned_g else 1
    copy_x = 4 if copy_g == 4 and problem.pointwise and aligned_x else 1
    kernel = f"weight_grad_tile<{tile.arguments}, {products}, {copy_g}, {copy_x}>"
    shared = tile.stages * 4 * DEPTH * (tile.rows + tile.columns)
    grid = (across, down, problem.groups * shares)
    return Step(WEIGHT_GRAD, kernel, grid, tile.threads, (problem.geometry, np.int32(share)), shared), shares
