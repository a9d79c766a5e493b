"""Attention by blocks of queries and of keys, on tensor cores, without a matrix of scores; ``attention.cu`` explains.

float32 takes three products of tf32 numbers for one (as exact as float32), under ``precision("high")`` one. Under
``"medium"`` a kernel rounds q, k, v and g to bfloat16 first, arrays of half the size that the tiles then read many
times; results, statistics and the mask's gradient are float32 nevertheless. float16 takes its own products. Heads of up
to 128 elements go by tiles; longer ones and float64 go row by row.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_notes.kernels import PRECISION, reference
from tinygrad_notes.kernels.cuda.launch import Kernels, aligned, blocks, contiguous, numbers, pointers

Array = np.ndarray
KINDS = dict.fromkeys(("attention", "attention_grad"), "kernel")

# dtype: its name in C++, and the dtype in which kernels compute on it, which logsumexp and a float mask have
FORMATS: dict[Any, tuple[str, Any]] = {
    np.dtype(np.float32): ("float", np.dtype(np.float32)),
    np.dtype(np.float64): ("double", np.dtype(np.float64)),
    np.dtype(np.float16): ("Half", np.dtype(np.float32)),
}
PARTS = {"highest": 2, "high": 1, "medium": 1}  # tf32 numbers for a float32
THREADS, WARPS, BAND = 128, 4, 16  # BAND: rows that a warp's tensor cores take at once
MASK_WARPS = 32  # that share the sum of an element of the mask's gradient, at most
WORD = 2**64

# Of each kernel of tiles, by bytes of an element and elements of a head (shorter heads are filled up with zeros): the
# bands that a warp owns, and the rows in a tile that it meets. Two blocks of these fit a multiprocessor's registers;
# one fits 99 KiB of shared memory, what every GPU since sm_80 has.
SHAPES = {
    "attention_tiles": {(4, 64): (1, 64), (4, 128): (1, 32), (2, 64): (2, 64), (2, 128): (2, 32)},
    "attention_grad_queries": {(4, 64): (1, 32), (4, 128): (1, 16), (2, 64): (2, 32), (2, 128): (2, 16)},
    "attention_grad_keys": {(4, 64): (1, 32), (4, 128): (1, 16), (2, 64): (2, 32), (2, 128): (1, 32)},
}
# operands of which a block owns rows
OWNED = {"attention_tiles": 1, "attention_grad_queries": 2, "attention_grad_keys": 2}
TILE_SIZES = (64, 128)


def _tiled(name: str, operand: str, result: str, parts: int, size: int, plain: bool) -> str:
    bands, met = SHAPES[name][4 if operand == "float" else 2, size]
    return f"{name}<{operand}, {result}, {parts}, {size}, {bands}, {met}, {'true' if plain else 'false'}>"


def _all_tiled(name: str) -> list[str]:
    kinds = (("float", "float", 1), ("float", "float", 2), ("Half", "Half", 1), ("BFloat16", "float", 1))
    return [_tiled(name, *kind, size, plain) for kind in kinds for size in TILE_SIZES for plain in (True, False)]


NAMES = [name for name, _ in FORMATS.values()]
PREPARE = {name: f"attention_prepare<{of}, {name}>" for of, name in (("float", "float"), ("Half", "Half"))}
PREPARE["BFloat16"] = "attention_prepare<float, BFloat16>"
FORWARD = Kernels(
    "attention.cu",
    [*_all_tiled("attention_tiles"), *(f"attention_rows<{name}>" for name in NAMES), *PREPARE.values()],
)
BACKWARD = Kernels(
    "attention_grad.cu",
    [
        *_all_tiled("attention_grad_queries"),
        *_all_tiled("attention_grad_keys"),
        *(f"attention_grad_{step}_rows<{name}>" for step in ("query", "key") for name in NAMES),
        *(f"attention_grad_mask<{name}>" for name in (*NAMES, "BFloat16")),
    ],
)


def attention(
    q: Array, k: Array, v: Array, mask: Array | None, causal: bool, scale: float, dropout_p: float, seed: int
) -> tuple[Array, Array]:
    """out = dropout(softmax(scale * q kᵀ + mask)) v, and the logsumexp of each row's scores."""
    if not _fits(q, k, v):
        return reference.attention(q, k, v, mask, causal, scale, dropout_p, seed)
    q, k, v = (contiguous(x) for x in (q, k, v))
    problem = _Problem(q, k, v, mask, causal, scale, dropout_p, seed)
    out = np.empty((*q.shape[:3], v.shape[3]), q.dtype, like=q)
    logsumexp = np.empty(q.shape[:3], problem.wide, like=q)
    if problem.tile:
        (q, k, v), of_v = problem.prepared((q, k, v), 2)
        problem.launch(FORWARD, "attention_tiles", q, (q, k, v, of_v, out, logsumexp))
    else:
        problem.launch_rows(FORWARD, "attention_rows", q, (q, k, v, out, logsumexp))
    return out, logsumexp


def attention_grad(
    g: Array,
    q: Array,
    k: Array,
    v: Array,
    out: Array,
    logsumexp: Array,
    mask: Array | None,
    causal: bool,
    scale: float,
    dropout_p: float,
    seed: int,
    mask_grad: bool,
) -> tuple[Array, Array, Array, Array | None]:
    """Gradients of :func:`attention` for g, the gradient of out: dq, dk, dv, and dmask or None."""
    if not _fits(q, k, v, g, out):
        rest = mask, causal, scale, dropout_p, seed, mask_grad
        return reference.attention_grad(g, q, k, v, out, logsumexp, *rest)
    g, q, k, v, out, logsumexp = (contiguous(x) for x in (g, q, k, v, out, logsumexp))
    problem = _Problem(q, k, v, mask, causal, scale, dropout_p, seed, g)
    delta, inverse = (np.empty(q.shape[:3], problem.wide, like=q) for _ in range(2))
    dq, dk, dv = (np.empty(x.shape, x.dtype, like=x) for x in (q, k, v))
    if problem.tile:
        (g, q, k, v), of_k = problem.prepared((g, q, k, v), 2)
        of_q = _flags(q)
        of_queries = (g, q, k, v, out, logsumexp, of_k, of_q, delta, inverse, dq)
        problem.launch(BACKWARD, "attention_grad_queries", q, of_queries)
        problem.launch(BACKWARD, "attention_grad_keys", k, (g, q, k, v, logsumexp, of_q, delta, inverse, dk, dv))
    else:
        of_query_rows = (g, q, k, v, out, logsumexp, delta, inverse, dq)
        problem.launch_rows(BACKWARD, "attention_grad_query_rows", q, of_query_rows)
        problem.launch_rows(BACKWARD, "attention_grad_key_rows", k, (g, q, k, v, logsumexp, delta, inverse, dk, dv))
    if not mask_grad or mask is None:
        return dq, dk, dv, None
    dmask = np.empty(mask.shape, problem.wide, like=q)
    if mask.size:
        shape = problem.mask_shape
        warps = min(MASK_WARPS, math.prod(q.shape[:3]) * k.shape[2] // mask.size)
        arguments = (g, q, k, v, logsumexp, delta, inverse, dmask, *problem.arguments, numbers(shape, 4))
        BACKWARD.launch(f"attention_grad_mask<{problem.operand}>", (mask.size,), (32 * warps,), arguments)
    return dq, dk, dv, dmask.astype(mask.dtype, copy=False)


def _flags(x: Array) -> Array:
    """A byte for each band of rows of each head of ``x``, in which kernels note whether it is finite."""
    return np.empty((x.shape[0] * x.shape[1], -(-x.shape[2] // BAND)), np.uint8, like=x)


def _fits(*operands: Array) -> bool:
    """Whether the kernels take the operands: of one dtype, none of them empty."""
    dtype = operands[0].dtype
    return dtype in FORMATS and all(x.dtype == dtype and x.size > 0 for x in operands)


class _Problem:
    """What the kernels are told beside the operands, and which of them are right for it."""

    def __init__(
        self,
        q: Array,
        k: Array,
        v: Array,
        mask: Array | None,
        causal: bool,
        scale: float,
        dropout_p: float,
        seed: int,
        *others: Array,
    ):
        (batch, heads, queries, inner), (_, key_heads, keys, value_inner) = q.shape, v.shape
        self.result, self.wide = FORMATS[q.dtype]
        self.causal = causal
        self.plain = mask is None and dropout_p == 0 and scale > 1e-30
        itemsize, longest = q.dtype.itemsize, max(inner, value_inner)
        whole = (inner * itemsize) % 16 == (value_inner * itemsize) % 16 == 0
        in_packs = whole and aligned(16, q, k, v, *others)
        self.tile = next((size for size in TILE_SIZES if longest <= size), 0)
        if self.result == "double" or (self.result == "Half" and not in_packs):
            self.tile = 0
        self.parts = PARTS[PRECISION.get()] if self.result == "float" else 1
        rounds = PRECISION.get() == "medium" and self.result == "float" and inner % 8 == value_inner % 8 == 0
        self.operand = "BFloat16" if rounds and self.tile else self.result
        self.packs_before = in_packs  # of the operands as they are given
        in_packs = in_packs or self.operand == "BFloat16"  # arrays of our own begin at multiples of 16 bytes

        kind, self.mask_shape, strides = 0, (1, 1, 1, 1), [0, 0, 0, 0]
        given: Any = q  # the kernels do not read it where there is no mask
        if mask is not None:
            kind = 1 if mask.dtype == bool else 2
            given = contiguous(mask if kind == 1 else mask.astype(self.wide, copy=False))
            self.mask_shape = (*(1,) * (4 - mask.ndim), *mask.shape)
            step = 1
            for axis in (3, 2, 1, 0):
                strides[axis] = step if self.mask_shape[axis] != 1 else 0
                step *= self.mask_shape[axis]
        threshold = math.ceil(dropout_p * 2**24)
        signed = (seed + WORD // 2) % WORD - WORD // 2  # the same 64 bits
        sizes = [heads, key_heads, queries, keys, inner, value_inner, *strides, kind, causal]
        table = numbers([*sizes, threshold, signed, in_packs, batch], 16)
        factor = 1 / (1 - dropout_p) if dropout_p < 1 else 0.0
        self.arguments = (given, table, self.wide.type(scale), self.wide.type(factor))

    def prepared(self, operands: tuple[Array, ...], asked: int) -> tuple[tuple[Array, ...], Array]:
        """The operands as the tiles take them, and which bands of the one that is ``asked`` for are finite, which is
        noted where causal leaves out tiles of it."""
        rounds = self.operand == "BFloat16"
        flags = [_flags(x) for x in operands]
        if rounds or self.causal:
            given = operands if rounds else operands[asked : asked + 1]
            made = tuple(np.empty(x.shape, np.uint16, like=x) for x in given) if rounds else given
            noted = flags if rounds else flags[asked : asked + 1]
            shapes = [size for x in given for size in (x.shape[0] * x.shape[1], x.shape[2], x.shape[3])]
            tables = pointers(given, 4), pointers(made, 4), pointers(noted, 4), numbers(shapes, 12)
            grid = (*blocks(max(x.size for x in noted), WARPS), len(given))
            packs = np.int32(self.packs_before)
            FORWARD.launch(PREPARE[self.operand], grid, (THREADS,), (*tables, packs), like=operands[0])
            operands = made if rounds else operands
        return operands, flags[asked]

    def launch(self, kernels: Kernels, name: str, owned: Array, arguments: tuple[Any, ...]) -> None:
        """A kernel of tiles, with a block for some of the rows of each head of ``owned``."""
        itemsize = 4 if self.operand == "float" else 2
        bands, met = SHAPES[name][itemsize, self.tile]
        own = BAND * bands * WARPS
        grid = (owned.shape[0] * owned.shape[1] * -(-owned.shape[2] // own),)
        shared = (OWNED[name] * own + 4 * met) * (self.tile * itemsize + 16)  # two tiles of two operands are met
        name = _tiled(name, self.operand, self.result, self.parts, self.tile, self.plain)
        kernels.launch(name, grid, (THREADS,), (*arguments, *self.arguments), shared)

    def launch_rows(self, kernels: Kernels, name: str, owned: Array, arguments: tuple[Any, ...]) -> None:
        """A kernel with a warp for each row of ``owned``."""
        rows = math.prod(owned.shape[:3])
        arguments = (*arguments, *self.arguments, np.int64(rows))
        kernels.launch(f"{name}<{self.result}>", blocks(rows, WARPS), (THREADS,), arguments)
