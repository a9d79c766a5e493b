"""Samples of scaled dot-product attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_notes.ops.attention import scaled_dot_product_attention, scaled_dot_product_attention_
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


def reference(
    q: Any, k: Any, v: Any, mask: Any = None, causal: bool = False, scale: Any = None, group: int = 1
) -> np.ndarray:
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


def _operands(
    seed: int, leading: tuple[int, ...], length: int = 3, source: int = 4, size: int = 2, value_size: int = 3
) -> tuple:
    shapes = (length, size), (source, size), (source, value_size)
    return tuple(normal(seed + i, *leading, *shape) for i, shape in enumerate(shapes))


def _one(*operands: Any, label: str, **options: Any) -> Sample:
    """Operands query, key, value, and perhaps a mask; ``options`` by the reference's names."""
    static = {
        "is_causal": options.get("causal", False),
        "scale": options.get("scale"),
        "enable_gqa": "group" in options,
    }
    return sample(
        "scaled_dot_product_attention",
        *operands,
        label=label,
        call=lambda *tensors: scaled_dot_product_attention(*tensors, **static),
        reference=lambda *arrays: reference(*arrays, **options),
    )


def _kept(count: int, p: float) -> np.ndarray:
    """What dropout keeps, from SplitMix64 in Python's own integers."""
    kept = []
    for i in range(count):
        z = (SEED + (i + 1) * 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        kept.append((z ^ z >> 31) >> 40 >= p * 2**24)
    return np.array(kept)


def _dropped(q: np.ndarray, k: np.ndarray, v: np.ndarray, p: float) -> np.ndarray:
    """Attention whose probabilities, (B, H, L, S) in C order, are dropped with probability ``p``."""
    weights = reference(q, k, np.broadcast_to(np.eye(k.shape[2]), (*k.shape[:3], k.shape[2])))
    return (weights * _kept(weights.size, p).reshape(weights.shape) / (1 - p)) @ v


def _with_dropout(p: float) -> Sample:
    """The op itself, with a fixed seed."""
    return sample(
        "scaled_dot_product_attention",
        *_operands(60, (2, 2)),
        label=f"dropout {p}",
        call=lambda q, k, v: scaled_dot_product_attention_(q, k, v, None, False, 1 / math.sqrt(2), p, SEED, False),
        reference=lambda q, k, v: _dropped(q, k, v, p) if p < 1 else np.zeros((2, 2, 3, 3)),
    )


def _samples() -> list[Sample]:
    q, k, v = _operands(0, (2, 2))
    allowed = np.array([[True, False, True, True], [False, True, False, False], [True, True, False, True]])
    dead = allowed & np.array([[True], [False], [True]])
    minus = np.where(dead, 0.3, -np.inf)
    plain = q[0, 0], k[0, 0], v[0, 0]
    batch = _operands(10, (2, 1, 2, 2))
    return [
        _one(q, k, v, label=""),
        _one(*plain, label="no leading axes"),
        _one(q[0], k[0], v[0], label="one leading axis"),
        _one(*batch, label="four leading axes"),
        _one(q, k[:, :1], v[:1], label="leading axes broadcast"),
        _one(q, k, v, label="causal", causal=True),
        _one(*_operands(20, (1,), 4, 2), label="causal, more queries than keys", causal=True),
        _one(q, k, v, label="scale", scale=0.3),
        _one(q, k, v, allowed, label="bool mask"),
        _one(q, k, v, dead, label="fully masked row"),
        _one(*plain, dead, label="fully masked row, no leading axes"),
        _one(q, k, v, normal(30, 3, 4), label="float mask"),
        _one(*_operands(30, (), 2, 2, 1, 1), normal(36, 2, 2), label="smallest with a mask"),
        _one(q, k, v, normal(31, 2, 1, 1, 4), label="broadcast float mask"),
        _one(q, k, v, normal(32, 4), label="mask of the keys"),
        _one(q, k, v, minus.astype(np.float32), label="-inf in the mask"),
        _one(*batch, normal(33, 2, 1, 1, 1, 3, 4), label="mask of some leading axes"),
        _one(*batch, normal(35, 2, 1, 4), label="mask of the last leading axes"),
        _one(*batch, normal(34, 1, 1, 2, 2, 1, 4), label="mask with all axes"),
        _one(*_operands(40, (2, 4))[:1], k, v, label="grouped heads", group=2),
        _one(*_operands(41, (4,))[:1], k[0], v[0], label="grouped heads without batch", group=2),
        _one(*_operands(42, (2, 3, 4))[:1], *_operands(43, (3, 2))[1:], normal(44, 3, 1, 3, 4),
             label="grouped heads that broadcast, mask", group=2),
        _one(q.swapaxes(2, 3)[..., ::-1, :2], k[..., ::2, ::-1], v[..., 1::2, :], label="strided"),
        _one(q[:, :, :1], k[:, :, :1], v[:, :, :1], label="one key"),
        _one(q, k[:, :, :0], v[:, :, :0], label="no keys"),
        _one(q[:, :, :0], k, v, label="no queries"),
        _one(q[:0], k[:0], v[:0], label="empty batch"),
        _with_dropout(0.3),
        _with_dropout(1.0),
    ]  # fmt: skip


SAMPLES = _samples()
