"""Attention by blocks of queries and of keys, on tensor cores, without a matrix of scores; ``attention.cu`` explains.

float32 takes three products of tf32 numbers for one (as exact as float32), under ``precision("high")`` one; float16 and
bfloat16 (an array of uint16, which holds its bits) take their own. Heads of up to 128 elements go by tiles; longer
ones and float64 go row by row.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_notes.kernels import PRECISION, reference
from tinygrad_notes.kernels.cuda.launch import Kernels, aligned, blocks, contiguous, numbers

Array = np.ndarray
KINDS = dict.fromkeys(("attention", "attention_grad"), "kernel")

# dtype: its name in C++, and the dtype in which kernels compute on it, which logsumexp and a float mask have
FORMATS: dict[Any, tuple[str, Any]] = {
    np.dtype(np.float32): ("float", np.dtype(np.float32)),
    np.dtype(np.float64): ("double", np.dtype(np.float64)),
    np.dtype(np.float16): ("Half", np.dtype(np.float32)),
    np.dtype(np.uint16): ("BFloat16", np.dtype(np.float32)),
}
PARTS = {"highest": 2, "high": 1, "medium": 1}  # tf32 numbers for a float32
TILE_SIZES = (64, 128)  # elements of a head in a tile; shorter heads are filled up with zeros
THREADS, WARPS, OWN_ROWS = 128, 4, 64
KEYS = {64: 64, 128: 32}  # rows in the tiles that a block meets, in attention.cu
MET = {64: 32, 128: 16}  # in attention_grad.cu
MASK_WARPS = 32  # that share the sum of an element of the mask's gradient, at most
WORD = 2**64

TILED = [
    f"{name}, {parts}, {size}>"
    for name, choices in (("float", (1, 2)), ("Half", (1,)), ("BFloat16", (1,)))
    for parts in choices
    for size in TILE_SIZES
]
NAMES = [name for name, _ in FORMATS.values()]
FORWARD = Kernels(
    "attention.cu",
    [*(f"attention_tiles<{choice}" for choice in TILED), *(f"attention_rows<{name}>" for name in NAMES)],
)
BACKWARD = Kernels(
    "attention_grad.cu",
    [
        *(f"attention_grad_{own}<{choice}" for own in ("queries", "keys") for choice in TILED),
        *(f"attention_grad_{step}<{name}>" for step in ("query_rows", "key_rows", "mask") for name in NAMES),
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
    arguments = (q, k, v, out, logsumexp, *problem.arguments)
    rows = math.prod(q.shape[:3])
    if problem.tile:
        shared = problem.shared(OWN_ROWS, KEYS)
        FORWARD.launch(f"attention_tiles<{problem.choice}", problem.owners(q), (THREADS,), arguments, shared)
    else:
        name = f"attention_rows<{problem.choice}"
        FORWARD.launch(name, blocks(rows, WARPS), (THREADS,), (*arguments, np.int64(rows)))
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
    of_queries = (g, q, k, v, out, logsumexp, delta, inverse, dq, *problem.arguments)
    of_keys = (g, q, k, v, logsumexp, delta, inverse, dk, dv, *problem.arguments)
    if problem.tile:
        shared, choice = problem.shared(2 * OWN_ROWS, MET), problem.choice
        BACKWARD.launch(f"attention_grad_queries<{choice}", problem.owners(q), (THREADS,), of_queries, shared)
        BACKWARD.launch(f"attention_grad_keys<{choice}", problem.owners(k), (THREADS,), of_keys, shared)
    else:
        for step, x, arguments in (("query", q, of_queries), ("key", k, of_keys)):
            rows = math.prod(x.shape[:3])
            name = f"attention_grad_{step}_rows<{problem.choice}"
            BACKWARD.launch(name, blocks(rows, WARPS), (THREADS,), (*arguments, np.int64(rows)))
    if not mask_grad or mask is None:
        return dq, dk, dv, None
    dmask = np.empty(mask.shape, problem.wide, like=q)
    if mask.size:
        shape = problem.mask_shape
        warps = min(MASK_WARPS, math.prod(q.shape[:3]) * k.shape[2] // mask.size)
        arguments = (g, q, k, v, logsumexp, delta, inverse, dmask, *problem.arguments, numbers(shape, 4))
        BACKWARD.launch(f"attention_grad_mask<{problem.name}>", (mask.size,), (32 * warps,), arguments)
    return dq, dk, dv, dmask.astype(mask.dtype, copy=False)


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
        self.name, self.wide = FORMATS[q.dtype]
        self.itemsize = q.dtype.itemsize
        whole = (inner * self.itemsize) % 16 == (value_inner * self.itemsize) % 16 == 0
        in_packs = whole and aligned(16, q, k, v, *others)
        self.tile = next((size for size in TILE_SIZES if max(inner, value_inner) <= size), 0)
        if self.name == "double" or (self.itemsize == 2 and not in_packs):
            self.tile = 0
        parts = PARTS[PRECISION.get()] if self.name == "float" else 1
        self.choice = f"{self.name}, {parts}, {self.tile}>" if self.tile else f"{self.name}>"

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

    def owners(self, x: Array) -> tuple[int]:
        """The grid: a block for every 64 rows of each head of ``x``."""
        return (x.shape[0] * x.shape[1] * -(-x.shape[2] // OWN_ROWS),)

    def shared(self, own: int, met: dict[int, int]) -> int:
        """Bytes of shared memory for ``own`` rows, and for two tiles of each of the two operands that are met."""
        return (own + 4 * met[self.tile]) * (self.tile * self.itemsize + 16)
