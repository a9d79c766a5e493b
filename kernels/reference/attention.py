"""Scaled dot-product attention and its gradient: out = softmax(scale * q kᵀ + mask) v.

Query heads may share key and value heads (grouped heads): query head h reads key head h // (H / Hkv). The queries of
the heads that share a key head are stacked as rows, so every product below is one plain batched matrix product.
"""

from __future__ import annotations

import numpy as np

from .dropout import dropout_mask

Array = np.ndarray


def _row_sum(x: Array) -> Array:
    return np.sum(x, axis=-1, keepdims=True, dtype=np.float64).astype(x.dtype)


def _stack_heads(x: Array, key_heads: int) -> Array:
    """(B, H, L, E) to (B, Hkv, H / Hkv * L, E): query heads that share a key head become rows of one matrix."""
    batch, heads, length, size = x.shape
    return x.reshape(batch, key_heads, heads // max(key_heads, 1) * length, size)


def _scores(q: Array, k: Array, mask: Array | None, causal: bool, scale: float) -> Array:
    """scale * q kᵀ + mask, (B, H, L, S); -inf where a query may not attend."""
    batch, heads, length, _ = q.shape
    source = k.shape[2]
    scores = scale * (_stack_heads(q, k.shape[1]) @ np.swapaxes(k, 2, 3)).reshape(batch, heads, length, source)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask.astype(q.dtype)
    if causal:
        queries, keys = np.arange(length, like=q), np.arange(source, like=q)
        scores = np.where(keys <= queries[:, None], scores, -np.inf)
    return scores


def _softmax(scores: Array, shift: Array) -> tuple[Array, Array]:
    """exp(scores - shift) with rows that sum to 1, and the logarithm of their sum before; a row of -inf gives 0, -inf.

    ``shift`` (B, H, L, 1) is the row's maximum or its logsumexp. Dividing by the sum is exact also where the
    logsumexp was rounded by more than the spread of the row, as with a mask of -1e9 in float32.
    """
    exponentials = np.exp(scores - np.where(shift == -np.inf, 0, shift))
    total = _row_sum(exponentials)
    return exponentials / np.where(total == 0, 1, total), np.log(total)


def _keep_factor(scores: Array, dropout_p: float, seed: int) -> Array:
    """1 / (1 - p) where dropout keeps a probability, 0 where it drops it."""
    factor = 1 / (1 - dropout_p) if dropout_p < 1 else 0.0
    return dropout_mask(scores, dropout_p, seed) * np.full_like(scores, factor)


@np.errstate(all="ignore")
def attention(
    q: Array, k: Array, v: Array, mask: Array | None, causal: bool, scale: float, dropout_p: float, seed: int
) -> tuple[Array, Array]:
    """Scaled dot-product attention: out = dropout(softmax(scale * q kᵀ + mask)) v.

    q (B, H, L, E), k (B, Hkv, S, E), v (B, Hkv, S, Ev) with H a multiple of Hkv. mask: None, bool (True: may attend)
    or float (added), broadcastable to (B, H, L, S). causal: query i attends to keys j <= i. A query that may attend
    to nothing gives 0. dropout_p > 0 drops the probabilities by ``dropout_mask`` of shape (B, H, L, S) from the seed.
    Returns out (B, H, L, Ev), and for backward logsumexp (B, H, L), the logarithm of each row's sum of exponentials.
    """
    scores = _scores(q, k, mask, causal, scale)  # (B, H, L, S)
    if scores.shape[3] == 0:  # no keys: there is no maximum to take
        empty = np.zeros_like(q, shape=q.shape[:3])
        return np.zeros_like(q, shape=(*q.shape[:3], v.shape[3])), empty - np.inf
    shift = np.max(scores, axis=-1, keepdims=True)
    probabilities, log_total = _softmax(scores, shift)
    if dropout_p:
        probabilities = probabilities * _keep_factor(scores, dropout_p, seed)
    out = (_stack_heads(probabilities, v.shape[1]) @ v).reshape(*q.shape[:3], v.shape[3])
    return out, np.squeeze(np.where(shift == -np.inf, shift, shift + log_total), axis=-1)


@np.errstate(all="ignore")
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
    """Gradients of :func:`attention` for g, the gradient of out: dq, dk, dv, and dmask or None.

    The probabilities P are computed again from logsumexp. With D the dropout's factor and dP = D * (g vᵀ):
    dscores = P * (dP - Σ g out), because Σ P dP over a row is Σ g out; dq = scale dscores k, dk = scale dscoresᵀ q,
    dv = (D P)ᵀ g. dmask is dscores summed to the mask's shape; it is given where ``mask_grad`` asks for it (a float
    mask), else None.
    """
    key_heads = k.shape[1]
    scores = _scores(q, k, mask, causal, scale)  # (B, H, L, S)
    probabilities, _ = _softmax(scores, logsumexp[..., None])
    g_rows = _stack_heads(g, key_heads)
    g_probabilities = (g_rows @ np.swapaxes(v, 2, 3)).reshape(scores.shape)
    kept = probabilities
    if dropout_p:
        factor = _keep_factor(scores, dropout_p, seed)
        kept, g_probabilities = probabilities * factor, g_probabilities * factor
    dv = np.swapaxes(_stack_heads(kept, key_heads), 2, 3) @ g_rows

    dscores = probabilities * (g_probabilities - _row_sum(g * out))
    dscores_rows = _stack_heads(dscores, key_heads)
    dq = scale * (dscores_rows @ k).reshape(q.shape)
    dk = scale * (np.swapaxes(dscores_rows, 2, 3) @ _stack_heads(q, key_heads))
    dmask = _sum_to(dscores, mask.shape).astype(mask.dtype) if mask_grad and mask is not None else None
    return dq, dk, dv, dmask


def _sum_to(x: Array, shape: tuple[int, ...]) -> Array:
    """The sum of ``x`` over the axes along which an array of ``shape`` was broadcast."""
    missing = x.ndim - len(shape)
    axes = (*range(missing), *(missing + i for i, size in enumerate(shape) if size == 1))
    return np.sum(x, axis=axes, dtype=np.float64).reshape(shape)
