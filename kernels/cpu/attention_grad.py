"""The gradient of attention by blocks: the probabilities are computed again, from the logsumexp that forward kept.

With P = exp(scores - logsumexp), D the dropout's factors, dP = D (g vᵀ) and delta = Σ g out along a row, which is also
Σ P dP: dscores = P (dP - delta), dq = scale dscores k, dk = scale dscoresᵀ q, dv = (D P)ᵀ g. A block of queries passes
over the keys once; its sums for dq stay in the cache, those for dk and dv grow from one block of queries to the next.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu.attention import (
    BLOCK_KEYS,
    BLOCK_QUERIES,
    NO_MASK,
    PER_THREAD,
    SCORE_COLUMNS,
    begin_at,
    describe_dropout,
    describe_mask,
    dropout_row,
    fits,
    from_both_ends,
    mask_row,
    rounded_up,
    row_multiply,
)  # fmt: skip
from tinygrad_notes.kernels.cpu.buffers import address, scratch
from tinygrad_notes.kernels.cpu.common_rows import row_exponential, row_fill, row_product, row_scaled
from tinygrad_notes.kernels.cpu.compile import kernel, parallel_kernel
from tinygrad_notes.kernels.cpu.gemm import parts_now
from tinygrad_notes.kernels.cpu.isa import functions
from tinygrad_notes.kernels.cpu.isa.rows import row
from tinygrad_notes.kernels.cpu.isa.tile import ROWS, tile_columns
from tinygrad_notes.kernels.cpu.isa.vector import get, itemsize, one, put, variable, zero
from tinygrad_notes.kernels.cpu.packed_products import (
    COLUMNS,
    END,
    FAR,
    PACKED,
    START,
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
PARTS = 16  # jobs there should be: key heads, or parts of their queries where there are fewer
LARGE = 32.0  # a logsumexp as large is rounded by more than 1e-6 in float32, and so are the probabilities


def _gradient(v, x, s):
    """P and dscores from scores and dP; scalars: logsumexp, 1 / Σ P, delta."""
    probability = v.builder.fmul(functions.exp(v, v.builder.fsub(x[0], s[0])), s[1])
    return [probability, v.builder.fmul(probability, v.builder.fsub(x[1], s[2]))], []


row_gradient = row(2, 2, 3, _gradient, unroll=2)


@kernel
def dot(x, x_step, y, y_step, count, like):
    """Σ x y, for elements that lie so many bytes apart."""
    size, total = itemsize(like), zero(like)
    if x_step == size and y_step == size:
        return row_product((x, y, count), (), like)
    for i in range(count):
        total += get(x + i * x_step, like) * get(y + i * y_step, like)
    return total


@parallel_kernel
def grad(
    jobs, shares, g, g_strides, q, q_strides, k, k_strides, v, v_strides, out, out_strides, logsumexp,
    logsumexp_strides, mask, mask_strides, mask_kind, dq, dk, dv, sizes, causal, scale, drops, seed, threshold, factor,
    parts, work, offsets, thread, threads,
):  # fmt: skip
    """A job is a key head, or one of ``shares`` of the blocks of queries that read it."""
    work += thread * offsets[-1]
    _, heads, key_heads, queries, keys, inner, value_inner = sizes
    size, width = itemsize(scale), tile_columns(scale)
    left, right = sides(parts, scale)
    score_row, inner_row = SCORE_COLUMNS * size, rounded_up(inner, width) * size
    value_row, tall = rounded_up(value_inner, width) * size, rounded_up(keys, ROWS)
    k_panels, v_panels, k_rows, q_panels, g_panels, q_rows, g_rows = (
        work + offsets[0], work + offsets[1], work + offsets[2], work + offsets[3], work + offsets[4],
        work + offsets[5], work + offsets[6],
    )  # fmt: skip
    scores, g_scores, dq_sums, dk_sums, dv_sums, deltas, shifts, inverses, room, space = (
        work + offsets[7], work + offsets[8], work + offsets[9], work + offsets[10], work + offsets[11],
        work + offsets[12], work + offsets[13], work + offsets[14], work + offsets[15], work + offsets[16],
    )  # fmt: skip
    nothing, unit = -one(scale) / zero(scale), one(scale)
    group, blocks = heads // key_heads, (queries + BLOCK_QUERIES - 1) // BLOCK_QUERIES
    stands_packed, columns, end, from_start = variable(PACKED), variable(COLUMNS), variable(END), variable(START)
    start = variable(0)
    packed, keys_finite = -1, True
    for job in range(thread * jobs // threads, (thread + 1) * jobs // threads):
        shared, share = job // shares, job % shares
        image, key_head = shared // key_heads, shared % key_heads
        if shared != packed:
            packed = shared
            from_ = k + image * k_strides[0] + key_head * k_strides[1]
            pack_operand(from_, k_strides[2], k_strides[3], keys, inner, right, k_panels, scale)
            pack_operand(from_, k_strides[3], k_strides[2], inner, keys, right, k_rows, scale)
            from_ = v + image * v_strides[0] + key_head * v_strides[1]
            pack_operand(from_, v_strides[2], v_strides[3], keys, value_inner, right, v_panels, scale)
            if causal:
                padded = rounded_up(keys, width)
                keys_finite = is_finite(k_panels, padded * inner, scale)
                keys_finite = keys_finite and is_finite(v_panels, padded * value_inner, scale)
        row_fill((dk_sums, tall * inner_row // size), (zero(scale),), scale)
        row_fill((dv_sums, tall * value_row // size), (zero(scale),), scale)
        for entry in range(share * group * blocks // shares, (share + 1) * group * blocks // shares):
            head, block = key_head * group + entry // blocks, entry % blocks
            if causal:
                block = from_both_ends(block, blocks)
            query = block * BLOCK_QUERIES
            here = min(BLOCK_QUERIES, queries - query)
            q_from = q + image * q_strides[0] + head * q_strides[1] + query * q_strides[2]
            g_from = g + image * g_strides[0] + head * g_strides[1] + query * g_strides[2]
            pack_operand(q_from, q_strides[2], q_strides[3], here, inner, left, q_panels, scale)
            pack_operand(q_from, q_strides[3], q_strides[2], inner, here, right, q_rows, scale)
            pack_operand(g_from, g_strides[2], g_strides[3], here, value_inner, left, g_panels, scale)
            pack_operand(g_from, g_strides[3], g_strides[2], value_inner, here, right, g_rows, scale)
            out_from = out + image * out_strides[0] + head * out_strides[1] + query * out_strides[2]
            total_from = logsumexp + image * logsumexp_strides[0] + head * logsumexp_strides[1]
            total_from += query * logsumexp_strides[2]
            rounded, finite = False, keys_finite
            for i in range(here):
                delta = dot(
                    g_from + i * g_strides[2], g_strides[3], out_from + i * out_strides[2], out_strides[3],
                    value_inner, scale,
                )  # fmt: skip
                put(deltas + i * size, delta)
                shift = get(total_from + i * logsumexp_strides[2], scale)
                finite = finite and delta - delta == 0 and (shift - shift == 0 or shift == nothing)
                rounded = rounded or (abs(shift) >= LARGE and shift != nothing)
                put(shifts + i * size, zero(scale) if shift == nothing else shift)
                put(inverses + i * size, unit)
            if causal and finite:
                finite = is_finite(q_panels, rounded_up(here, ROWS) * inner, scale)
                finite = finite and is_finite(g_panels, rounded_up(here, ROWS) * value_inner, scale)
            # what is not finite makes NaN of a probability of 0, so then no block is left out
            skips = causal and finite
            last_key = min(keys, query + BLOCK_QUERIES) if skips else keys  # whole tiles of keys, for their sums
            # where the logsumexp was rounded, one more pass finds what the probabilities add up to
            for turn in range(0 if rounded else 1, 2):
                if turn == 0:
                    row_fill((inverses, here), (zero(scale),), scale)
                for key in range(0, last_key, BLOCK_KEYS):
                    there = min(BLOCK_KEYS, last_key - key)
                    reach = key - query if causal else -FAR
                    seen = reach if skips else -FAR
                    product(
                        q_panels, stands_packed, stands_packed, here, k_panels, key, there, start, inner, inner, scores,
                        score_row, scale, zero(scale), seen, columns, space,
                    )  # fmt: skip
                    if turn == 1:
                        product(
                            g_panels, stands_packed, stands_packed, here, v_panels, key, there, start, value_inner,
                            value_inner, g_scores, score_row, unit, zero(scale), seen, columns, space,
                        )  # fmt: skip
                    for i in range(here):
                        line, g_line = scores + i * score_row, g_scores + i * score_row
                        count = max(0, min(there, i + 1 - reach))
                        if mask_kind != NO_MASK:
                            at = mask + image * mask_strides[0] + head * mask_strides[1]
                            at += (query + i) * mask_strides[2] + key * mask_strides[3]
                            mask_row(line, at, mask_strides[3], mask_kind, count, room, scale)
                        if not skips and count < there:
                            row_fill((line + count * size, there - count), (nothing,), scale)
                            count = there
                        shift = get(shifts + i * size, scale)
                        if turn == 0:
                            total = row_exponential((line, line, count), (shift,), scale)
                            put(inverses + i * size, get(inverses + i * size, scale) + total)
                            continue
                        if drops:
                            element = ((image * heads + head) * queries + query + i) * keys + key
                            dropout_row(room, element, count, seed, threshold, factor)
                            row_multiply((g_line, room, g_line, count), (), scale)
                        numbers = shift, get(inverses + i * size, scale), get(deltas + i * size, scale)
                        row_gradient((line, g_line, line, g_line, count), numbers, scale)
                        if drops:
                            row_multiply((line, room, line, count), (), scale)
                        if count < there:
                            row_fill((line + count * size, there - count), (zero(scale),), scale)
                            row_fill((g_line + count * size, there - count), (zero(scale),), scale)
                    if turn == 0:
                        continue
                    product(
                        scores, size, score_row, there, g_rows, start, value_inner, start, here, here,
                        dv_sums + key * value_row, value_row, unit, unit, seen, from_start, space,
                    )  # fmt: skip
                    product(
                        g_scores, size, score_row, there, q_rows, start, inner, start, here, here,
                        dk_sums + key * inner_row, inner_row, scale, unit, seen, from_start, space,
                    )  # fmt: skip
                    product(
                        g_scores, score_row, size, here, k_rows, start, inner, key, keys, there, dq_sums, inner_row,
                        scale, unit if key else zero(scale), seen, end, space,
                    )  # fmt: skip
                if turn == 0:
                    for i in range(here):
                        total = get(inverses + i * size, scale)
                        put(inverses + i * size, unit / (total if total != 0 else unit))
            to = dq + ((image * heads + head) * queries + query) * inner * size
            for i in range(here):
                row_scaled((dq_sums + i * inner_row, to + i * inner * size, inner), (unit,), scale)
        for j in range(keys):
            to = (job * keys + j) * size
            row_scaled((dk_sums + j * inner_row, dk + to * inner, inner), (unit,), scale)
            row_scaled((dv_sums + j * value_row, dv + to * value_inner, value_inner), (unit,), scale)


@lru_cache(maxsize=256)
def _plan(sizes: tuple[int, ...], itemsize: int) -> tuple[int, tuple[int, ...]]:
    """In how many parts the queries of a key head are taken, by the shape alone; the layout of a thread's scratch."""
    batch, heads, key_heads, queries, keys, inner, value_inner = sizes
    blocks = heads // key_heads * -(-queries // BLOCK_QUERIES)
    parts = min(blocks, -(-PARTS // (batch * key_heads)))
    tall, wide, value_wide = -(-keys // ROWS) * ROWS, up(inner), up(value_inner)
    return parts, begin_at(
        itemsize, right_elements(keys, inner, itemsize), right_elements(keys, value_inner, itemsize),
        right_elements(inner, keys, itemsize), left_elements(BLOCK_QUERIES, inner, itemsize),
        left_elements(BLOCK_QUERIES, value_inner, itemsize), right_elements(inner, BLOCK_QUERIES, itemsize),
        right_elements(value_inner, BLOCK_QUERIES, itemsize), BLOCK_QUERIES * SCORE_COLUMNS,
        BLOCK_QUERIES * SCORE_COLUMNS, BLOCK_QUERIES * wide, tall * wide, tall * value_wide, BLOCK_QUERIES,
        BLOCK_QUERIES, BLOCK_QUERIES, BLOCK_KEYS, WORK_BYTES // itemsize,
    )  # fmt: skip


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
    """Gradients of attention for g, the gradient of out: dq, dk, dv, and dmask or None."""
    mask = None if mask is None else np.asarray(mask)  # a NumPy scalar has no address
    wants_mask = mask_grad and mask is not None
    if wants_mask or not fits(q, k, v, mask) or not g.dtype == out.dtype == logsumexp.dtype == q.dtype:
        return reference.attention_grad(g, q, k, v, out, logsumexp, mask, causal, scale, dropout_p, seed, mask_grad)
    sizes = (*q.shape[:2], k.shape[1], q.shape[2], *k.shape[2:], v.shape[3])
    batch, heads, key_heads, queries, keys, inner, value_inner = sizes
    dtype: Any = q.dtype.type
    parts, offsets = _plan(sizes, q.itemsize)
    dq = np.empty((batch, heads, queries, inner), dtype)
    dk = np.empty((batch, key_heads, parts, keys, inner), dtype)
    dv = np.empty((batch, key_heads, parts, keys, value_inner), dtype)
    threads = min(
        threads_for(batch * heads * queries * keys * (3 * inner + 2 * value_inner), PER_THREAD),
        batch * key_heads * parts,
    )
    arguments = (
        parts, address(g), g.strides, address(q), q.strides, address(k), k.strides, address(v), v.strides,
        address(out), out.strides, address(logsumexp), logsumexp.strides, *describe_mask(mask), address(dq),
        address(dk), address(dv), sizes, bool(causal), dtype(scale), *describe_dropout(dropout_p, seed, dtype),
        parts_now(q.itemsize), scratch("attention", threads * offsets[-1]), offsets,
    )  # fmt: skip
    jobs = batch * key_heads * parts
    grad(jobs, *arguments, threads)
    if parts == 1:
        return dq, dk.reshape(k.shape), dv.reshape(v.shape), None
    return dq, np.add.reduce(dk, axis=2), np.add.reduce(dv, axis=2), None
