"""Scaled dot-product attention."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes import kernels
from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.generator import draw_seed
from tinygrad_notes.ops.arguments import number, probability
from tinygrad_notes.ops.comparison import where
from tinygrad_notes.ops.exponential import exp
from tinygrad_notes.ops.linalg import matmul
from tinygrad_notes.ops.reduction import logsumexp, sum
from tinygrad_notes.ops.shape import broadcast_to, operand, reshape, swapaxes
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import Tensor, as_floating


def _attention_in_small_ops(q, k, v, mask, causal, scale, dropout_p, seed, mask_grad):
    batch, heads, length, _ = q.shape
    key_heads, source = k.shape[1:3]
    group = heads // key_heads if key_heads else 0
    rows = reshape(q, (batch, key_heads, group * length, q.shape[3]))  # queries that share a key head
    scores = reshape(matmul(rows, swapaxes(k, 2, 3)) * scale, (batch, heads, length, source))
    if mask is not None:
        scores = where(mask, scores, -np.inf) if mask.dtype.kind == "b" else scores + mask
    if causal:
        queries, keys = np.arange(length, like=q.data), np.arange(source, like=q.data)
        scores = where(keys <= queries[:, None], scores, -np.inf)
    total = logsumexp(scores, -1, True)
    exponentials = exp(scores - where(total == -np.inf, 0.0, total))  # a row that attends to nothing is 0
    rounding = sum(exponentials, -1, True)  # 1, but for the rounding of a large total, as under a mask of -1e9
    probabilities = exponentials / where(rounding == 0, 1.0, rounding)
    if dropout_p:
        kept = kernels.dropout_mask(probabilities.data, dropout_p, seed)
        probabilities = where(kept, probabilities * (1 / (1 - dropout_p) if dropout_p < 1 else 0.0), 0.0)
    rows = reshape(probabilities, (batch, key_heads, group * length, source))
    return reshape(matmul(rows, v), (batch, heads, length, v.shape[3]))


@op(composite=_attention_in_small_ops)
def scaled_dot_product_attention_(
    q: Array, k: Array, v: Array, mask: Array | None, causal, scale, dropout_p, seed, mask_grad
):
    """Attention of four axes: q (B, H, L, E), k (B, Hkv, S, E), v (B, Hkv, S, Ev), H a multiple of Hkv."""
    static = causal, scale, dropout_p, seed
    arguments = (*_floating(q, k, v, mask), *static)
    out, log_total = kernels.attention(*arguments)

    def derivative(g, q, k, v, mask, y):
        q, k, v, mask = _floating(q, k, v, mask)
        return kernels.attention_grad(g, q, k, v, y, log_total, mask, *static, mask_grad)

    return out, derivative


def _floating(q, k, v, mask):
    """The operands in one floating dtype; a boolean mask stays one."""
    if mask is not None and mask.dtype.kind == "b":
        return (*as_floating(q, k, v), mask)
    return as_floating(q, k, v, mask)


@named
def scaled_dot_product_attention(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False
):
    """softmax(scale · Q Kᵀ + mask) V (Vaswani et al. 2017, arXiv:1706.03762).

    query (..., L, E), key (..., S, E), value (..., S, Ev); result (..., L, Ev). Leading axes broadcast; with
    ``enable_gqa`` axis -3 counts heads, and each key head serves as many query heads in a row (Ainslie et al. 2023,
    arXiv:2305.13245). ``attn_mask``, broadcastable to (..., L, S): boolean, True where a query may attend, or floating,
    added to the scores. ``is_causal``: query i attends to keys 0 to i; not together with a mask. ``scale``: None for
    1/√E. ``dropout_p`` drops probabilities, at every call (there is no training flag). A query that may attend to
    nothing gets 0, and so do its gradients.

    >>> q, k, v = tn.ones((2, 4)), tn.ones((3, 4)), tn.tensor([[0.0], [3.0], [6.0]])
    >>> tn.scaled_dot_product_attention(q, k, v).round(4)
    Tensor([[3.],
            [3.]])
    >>> tn.scaled_dot_product_attention(q, k, v, is_causal=True).round(4)
    Tensor([[0. ],
            [1.5]])
    """
    query, key, value = map(operand, (query, key, value))
    heads, key_heads = _leading_axes(query, key, value, enable_gqa)
    length, source = query.shape[-2], key.shape[-2]
    if attn_mask is not None:
        if is_causal:
            raise ShapeError(
                "scaled_dot_product_attention: attn_mask and is_causal are both given, expected one of them"
            )
        attn_mask = _folded_mask(attn_mask, (*heads, length, source))
    dropout_p = probability(dropout_p, "dropout_p")
    scale = 1 / math.sqrt(query.shape[-1] or 1) if scale is None else number(scale, "scale")
    mask_grad = type(attn_mask) is Tensor and attn_mask.node is not None
    result = scaled_dot_product_attention_(
        _folded(query, heads), _folded(key, key_heads), _folded(value, key_heads), attn_mask, bool(is_causal),
        scale, dropout_p, draw_seed() if dropout_p else 0, mask_grad,
    )  # fmt: skip
    return result if len(heads) == 2 else reshape(result, (*heads, length, value.shape[-1]))


def _leading_axes(query, key, value, enable_gqa):
    """What stands before the last two axes: of the query and the result, and of key and value."""
    shapes = query.shape, key.shape, value.shape
    text = f"scaled_dot_product_attention: query has shape {shapes[0]}, key {shapes[1]}, value {shapes[2]}"
    least = 3 if enable_gqa else 2
    if min(map(len, shapes)) < least:
        raise ShapeError(f"{text}, expected at least {least} axes")
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise ShapeError(f"{text}, expected (..., L, E), (..., S, E) and (..., S, Ev)")
    try:
        if not enable_gqa:
            leading = np.broadcast_shapes(*(shape[:-2] for shape in shapes))
            return leading, leading
        leading = np.broadcast_shapes(*(shape[:-3] for shape in shapes))
    except ValueError:
        raise ShapeError(f"{text}, whose leading axes do not broadcast") from None
    count, key_count = query.shape[-3], key.shape[-3]
    if value.shape[-3] != key_count or (count % key_count if key_count else count):
        raise ShapeError(
            f"{text}: with enable_gqa the heads of the query (axis -3) must be a multiple of those of key and value"
        )
    return (*leading, count), (*leading, key_count)


def _folded(x, leading):
    """x with all leading axes as two, (B, H)."""
    if x.shape[:-2] != leading:
        x = broadcast_to(x, (*leading, *x.shape[-2:]))
    if len(leading) == 2:
        return x
    return reshape(x, (math.prod(leading[:-1]), leading[-1] if leading else 1, *x.shape[-2:]))


def _folded_mask(mask, full):
    """A mask that broadcasts to (B, H, L, S), from one that broadcasts to ``full``."""
    mask = operand(mask)
    if mask.dtype.kind not in "bf":
        raise DTypeError(
            f"scaled_dot_product_attention: attn_mask is {mask.dtype}, expected booleans (True: attend) or floats"
        )
    try:
        fits = np.broadcast_shapes(mask.shape, full) == full
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(
            f"scaled_dot_product_attention: attn_mask has shape {mask.shape}, expected one that broadcasts to {full}"
        )
    extra = mask.ndim - 3
    if len(full) <= 4 or extra <= 0:
        return mask
    if math.prod(mask.shape[:extra]) > 1:  # several batch axes become one, so all of them must be there
        mask = broadcast_to(mask, (*full[:-3], *mask.shape[-3:]))
    return reshape(mask, (math.prod(mask.shape[:-3]), *mask.shape[-3:]))
