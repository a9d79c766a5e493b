"""Attention by blocks: the matrix of scores is never whole in memory.

A block of queries meets one block of keys after the other. Their scores, a block that stays in the second cache, become
exponentials less the largest score of the row so far, and are multiplied with the block of values. When a larger score
comes, what was summed before is scaled down to it: the online softmax. The rows are divided by their sums at the end.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu.buffers import LIKE, address, scratch
from tinygrad_notes.kernels.cpu.common_rows import row_add, row_exponential, row_fill, row_maximum, row_scaled
from tinygrad_notes.kernels.cpu.compile import kernel, parallel_kernel
from tinygrad_notes.kernels.cpu.dropout import signed
from tinygrad_notes.kernels.cpu.gemm import parts_now
from tinygrad_notes.kernels.cpu.isa.rows import row
from tinygrad_notes.kernels.cpu.isa.tile import tile_columns
from tinygrad_notes.kernels.cpu.isa.vector import ELEMENTS, Lanes, get, itemsize, lanes, one, put, variable, zero
from tinygrad_notes.kernels.cpu.packed_products import (
    BLOCK,
    COLUMNS,
    END,
    FAR,
    PACKED,
    WORK_BYTES,
    is_finite,
    left_elements,
    pack_operand,
    product,
    right_elements,
    sides,
    up,
)
from tinygrad_notes.kernels.cpu.threads import threads_for

Array = np.ndarray
BLOCK_QUERIES, BLOCK_KEYS = BLOCK, BLOCK
SCORE_COLUMNS = BLOCK_KEYS + 16  # of a row of scores: an odd number of cache lines, so that rows spread over the cache
PER_THREAD = 64**3  # multiplications that repay waking a thread
NO_MASK, BOOL_MASK, FLOAT_MASK = 0, 1, 2


def _multiply(v, x, s):
    return [v.builder.fmul(x[0], x[1])], []


row_multiply = row(2, 1, 0, _multiply)


def _hide(count):
    """Makes a micro-kernel: -inf over the scores whose byte is 0, for ``count`` elements (a function of the lanes)."""

    @intrinsic
    def micro_kernel(context, scores, allowed, like):
        def generate(context, builder, signature, arguments):
            v = Lanes(builder, like)
            n = count(v)
            kind, integers = ir.VectorType(ELEMENTS[like][0], n), ir.VectorType(ir.IntType(8), n)
            place = builder.inttoptr(arguments[0], kind.as_pointer())
            value, may = builder.load(place), builder.load(builder.inttoptr(arguments[1], integers.as_pointer()))
            value.align, may.align = v.itemsize, 1
            shown = builder.icmp_unsigned("!=", may, ir.Constant(integers, [0] * n))
            value = builder.select(shown, value, ir.Constant(kind, [-math.inf] * n))
            builder.store(value, place).align = v.itemsize
            return context.get_dummy_value()

        return types.none(types.int64, types.int64, like), generate

    return micro_kernel


hide_lanes = _hide(lambda v: v.count)
hide_one = _hide(lambda v: 1)


@kernel
def mask_row(scores, mask, step, kind, count, room, like):
    """Put a row of the mask, elements ``step`` bytes apart, over a row of scores. ``room``: for one row."""
    size = itemsize(like)
    if kind == BOOL_MASK:
        whole = count // lanes(like) * lanes(like) if step == 1 else 0
        for j in range(0, whole, lanes(like)):
            hide_lanes(scores + j * size, mask + j, like)
        for j in range(whole, count):
            hide_one(scores + j * size, mask + j * step, like)
    elif kind == FLOAT_MASK:
        if step != size:
            for j in range(count):
                put(room + j * size, get(mask + j * step, like))
            mask = room
        row_add((scores, mask, scores, count), (), like)


@kernel
def dropout_row(target, first, count, seed, threshold, factor):
    """``factor`` where element first + i of the dropout's mask is kept, else 0: the hash of ``kernels/README.md``."""
    size = itemsize(factor)
    z = np.uint64(seed) + np.uint64(first) * np.uint64(0x9E3779B97F4A7C15)
    for i in range(count):
        z += np.uint64(0x9E3779B97F4A7C15)
        x = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = (x ^ (x >> np.uint64(31))) >> np.uint64(40)
        put(target + i * size, factor if x >= np.uint64(threshold) else zero(factor))


@kernel
def from_both_ends(i, count):
    """The order 0, count - 1, 1, count - 2, ...: shares of a triangle's rows, in this order, are about equal."""
    return count - 1 - i // 2 if i % 2 else i // 2


@kernel
def rounded_up(count, multiple):
    return (count + multiple - 1) // multiple * multiple


@parallel_kernel
def attend(
    jobs, q, q_strides, k, k_strides, v, v_strides, mask, mask_strides, mask_kind, out, logsumexp, sizes, causal,
    scale, drops, seed, threshold, factor, parts, work, offsets, thread, threads,
):  # fmt: skip
    """A job is a block of queries, counted over images, key heads, their query heads and their blocks."""
    work += thread * offsets[-1]
    _, heads, key_heads, queries, keys, inner, value_inner = sizes
    size, width = itemsize(scale), tile_columns(scale)
    left, right = sides(parts, scale)
    k_panels, v_panels, q_panels, scores, sums, largest, totals, room, space = (
        work + offsets[0], work + offsets[1], work + offsets[2], work + offsets[3], work + offsets[4],
        work + offsets[5], work + offsets[6], work + offsets[7], work + offsets[8],
    )  # fmt: skip
    score_row, sum_row = SCORE_COLUMNS * size, rounded_up(value_inner, width) * size
    nothing = -one(scale) / zero(scale)
    group, blocks = heads // key_heads, (queries + BLOCK_QUERIES - 1) // BLOCK_QUERIES
    stands_packed, columns, end, start = variable(PACKED), variable(COLUMNS), variable(END), variable(0)
    packed, finite = -1, True
    for unit in range(thread * jobs // threads, (thread + 1) * jobs // threads):
        shared, entry = unit // (group * blocks), unit % (group * blocks)
        image, key_head = shared // key_heads, shared % key_heads
        if shared != packed:  # queries that come next read the same panels
            packed = shared
            from_ = k + image * k_strides[0] + key_head * k_strides[1]
            pack_operand(from_, k_strides[2], k_strides[3], keys, inner, right, k_panels, scale)
            from_ = v + image * v_strides[0] + key_head * v_strides[1]
            pack_operand(from_, v_strides[3], v_strides[2], value_inner, keys, right, v_panels, scale)
            if causal:
                finite = is_finite(v_panels, keys * rounded_up(value_inner, width), scale)
        head, block = key_head * group + entry // blocks, entry % blocks
        if causal:
            block = from_both_ends(block, blocks)
        query = block * BLOCK_QUERIES
        here = min(BLOCK_QUERIES, queries - query)
        from_ = q + image * q_strides[0] + head * q_strides[1] + query * q_strides[2]
        pack_operand(from_, q_strides[2], q_strides[3], here, inner, left, q_panels, scale)
        row_fill((largest, here), (nothing,), scale)
        row_fill((totals, here), (zero(scale),), scale)
        # a value that is not finite makes NaN of a probability of 0, so then no block is left out
        last_key = min(keys, query + here) if causal and finite else keys
        for key in range(0, last_key, BLOCK_KEYS):
            there = min(BLOCK_KEYS, last_key - key)
            reach = key - query if causal else -FAR
            product(
                q_panels, stands_packed, stands_packed, here, k_panels, key, there, start, inner, inner, scores,
                score_row, scale, zero(scale), reach, columns, space,
            )  # fmt: skip
            for i in range(here):
                line, count = scores + i * score_row, max(0, min(there, i + 1 - reach))
                if mask_kind != NO_MASK:
                    at = mask + image * mask_strides[0] + head * mask_strides[1]
                    at += (query + i) * mask_strides[2] + key * mask_strides[3]
                    mask_row(line, at, mask_strides[3], mask_kind, count, room, scale)
                before = get(largest + i * size, scale)
                shift = max(before, row_maximum((line, count), (), scale))
                total = get(totals + i * size, scale)
                if shift > before:
                    put(largest + i * size, shift)
                    if key > 0:
                        less = math.exp(before - shift)
                        total *= less
                        row_scaled((sums + i * sum_row, sums + i * sum_row, value_inner), (less,), scale)
                if shift == nothing:
                    shift = zero(scale)
                put(totals + i * size, total + row_exponential((line, line, count), (shift,), scale))
                if count < there:
                    row_fill((line + count * size, there - count), (zero(scale),), scale)
                if drops:
                    element = ((image * heads + head) * queries + query + i) * keys + key
                    dropout_row(room, element, count, seed, threshold, factor)
                    row_multiply((line, room, line, count), (), scale)
            product(
                scores, score_row, size, here, v_panels, start, value_inner, key, keys, there, sums, sum_row,
                one(scale), one(scale) if key else zero(scale), reach if finite else -FAR, end, space,
            )  # fmt: skip
        first = (image * heads + head) * queries + query
        for i in range(here):
            total = get(totals + i * size, scale)
            put(logsumexp + (first + i) * size, get(largest + i * size, scale) + math.log(total))
            inverse = one(scale) / (total if total != 0 else one(scale))
            to = out + (first + i) * value_inner * size
            row_scaled((sums + i * sum_row, to, value_inner), (inverse,), scale)


@lru_cache(maxsize=256)
def _offsets(sizes: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Where in a thread's scratch each array of ``attend`` begins, and last its size."""
    _, _, _, _, keys, inner, value_inner = sizes
    return begin_at(
        itemsize, right_elements(keys, inner, itemsize), right_elements(value_inner, keys, itemsize),
        left_elements(BLOCK_QUERIES, inner, itemsize), BLOCK_QUERIES * SCORE_COLUMNS, BLOCK_QUERIES * up(value_inner),
        BLOCK_QUERIES, BLOCK_QUERIES, BLOCK_KEYS, WORK_BYTES // itemsize,
    )  # fmt: skip


def begin_at(itemsize: int, *counts: int) -> tuple[int, ...]:
    """The offsets of arrays of so many elements that lie one after another on cache lines, and the end of the last."""
    offsets = [0]
    for count in counts:
        offsets.append(offsets[-1] + -(-count * itemsize // 64) * 64)
    return tuple(offsets)


def fits(q: Array, k: Array, v: Array, mask: Array | None) -> bool:
    """Whether the kernels take these operands: one floating dtype, nothing empty."""
    dtype = q.dtype
    return (
        dtype in LIKE
        and k.dtype == v.dtype == dtype
        and (mask is None or mask.dtype == bool or mask.dtype == dtype)
        and q.size > 0
        and k.size > 0
        and v.size > 0
    )


def describe_mask(mask: Array | None) -> tuple[int, tuple[int, ...], int]:
    """Its address, its strides along (B, H, L, S), 0 where it is broadcast, and its kind."""
    if mask is None:
        return 0, (0, 0, 0, 0), NO_MASK
    strides = tuple(stride if length > 1 else 0 for stride, length in zip(mask.strides, mask.shape))
    return address(mask), (0,) * (4 - mask.ndim) + strides, BOOL_MASK if mask.dtype == bool else FLOAT_MASK


def describe_dropout(dropout_p: float, seed: int, dtype: Any) -> tuple[bool, int, int, Any]:
    """Whether anything is dropped, the seed as a signed word, the least hash that is kept, 1 / (1 - p)."""
    factor = 1 / (1 - dropout_p) if dropout_p < 1 else 0.0
    return dropout_p > 0, signed(seed), math.ceil(dropout_p * 2**24), dtype(factor)


def attention(
    q: Array, k: Array, v: Array, mask: Array | None, causal: bool, scale: float, dropout_p: float, seed: int
) -> tuple[Array, Array]:
    """out = dropout(softmax(scale q kᵀ + mask)) v, (B, H, L, Ev), and the logarithm of each row's sum (B, H, L)."""
    mask = None if mask is None else np.asarray(mask)  # a NumPy scalar has no address
    if not fits(q, k, v, mask):
        return reference.attention(q, k, v, mask, causal, scale, dropout_p, seed)
    sizes = (*q.shape[:2], k.shape[1], q.shape[2], *k.shape[2:], v.shape[3])
    batch, heads, _, queries, keys, inner, value_inner = sizes
    dtype = q.dtype.type
    out, logsumexp = np.empty((batch, heads, queries, value_inner), dtype), np.empty((batch, heads, queries), dtype)
    offsets = _offsets(sizes, q.itemsize)
    threads = threads_for(batch * heads * queries * keys * (inner + value_inner), PER_THREAD)
    arguments = (
        address(q), q.strides, address(k), k.strides, address(v), v.strides, *describe_mask(mask), address(out),
        address(logsumexp), sizes, bool(causal), dtype(scale), *describe_dropout(dropout_p, seed, dtype),
        parts_now(q.itemsize), scratch("attention", threads * offsets[-1]), offsets,
    )  # fmt: skip
    blocks = batch * heads * -(-queries // BLOCK_QUERIES)
    attend(blocks, *arguments, threads)
    return out, logsumexp
