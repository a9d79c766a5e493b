"""Samples of scaled dot-product attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_notes.ops.attention import scaled_dot_product_attention
from tinygrad_notes.study.samples.sample import Sample, normal, sample

SEED = 5


def _attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: Any, causal: bool, scale: float | None) -> np.ndarray:
    """One query after the other: q (L, E), k (S, E), v (S, Ev), mask (L, S) or None."""
    out = np.zeros((q.shape[0], v.shape[1]))
    for i, query in enumerate(q):
        scores = (1 / math.sqrt(q.shape[1]) if scale is None else scale) * np.array([query @ key for key in k])
        allowed = np.full(k.shape[0], True)
        if mask is not None and mask.dtype == bool:
            allowed &= mask[i]
        elif mask is not None:
            scores = scores + mask[i]
            allowed &= mask[i] > -np.inf
        if causal:
            allowed[i + 1 :] = False
        if allowed.any():
            weights = np.where(allowed, np.exp(np.where(allowed, scores - scores[allowed].max(), 0)), 0)
            out[i] = sum(w * value for w, value in zip(weights / weights.sum(), v))
    return out


def reference(q: Any, k: Any, v: Any, mask: Any = None, causal: bool = False, scale: Any = None, group: int = 1) -> np.ndarray:
    """Every head by itself. ``group`` query heads in a row share a key head."""
    if group > 1:
        k, v = np.repeat(k, group, axis=-3), np.repeat(v, group, axis=-3)
    leading = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    q, k, v = (np.broadcast_to(x, (*leading, *x.shape[-2:])) for x in (q, k, v))
    full = (*leading, q.shape[-2], k.shape[-2])
    masks = None if mask is None else np.broadcast_to(mask, full)
    out = np.zeros((*full[:-1], v.shape[-1]))
    for index in np.ndindex(leading):
        out[index] = _attend(q[index], k[index], v[index], None if masks is None else masks[index], causal, scale)
    return out


def _operands(seed: int, leading: tuple[int, ...], length: int = 3, source: int = 4, size: int = 2, value_size: int = 3) -> tuple:
    shapes = (length, size), (source, size), (source, value_size)
    return tuple(normal(seed + i, *leading, *shape) for i, shape in enumerate(shapes))


def _one(*operands: Any, label: str, **options: Any) -> Sample:
    """Operands query, key, value, and perhaps a mask; ``options`` by the reference's names."""
    static = {"is_causal": options.get("causal", False), "scale": options.get("scale"), "enable_gqa": "group" in options}
    return sample(
        "scaled_dot_product_attention",
        *operands,
        label=label,
        call=lambda *tensors: scaled_dot_product_attention(*tensors, **static),
        reference=lambda *arrays: reference(*arrays, **options),
    )


def _dropped(q: Any, k: Any, v: Any, p: float) -> Any:
    """With a seed drawn from a generator that always starts alike: gradients need the same numbers every time."""
    from tinygrad_notes.generator import get_rng_state, manual_seed, set_rng_state

    state = get_rng_state()
    try:
        manual_seed(SEED)
        return scaled_dot_product_attention(q, k, v, dropout_p=p)
    finally:
        set_rng_state(state)
