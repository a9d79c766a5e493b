"""Samples of ops that draw random numbers, with the seed given."""

from __future__ import annotations

import numpy as np

from tinygrad_notes.ops.random import dropout
from tinygrad_notes.study.samples.sample import normal, sample


def _kept(count: int, p: float, seed: int) -> np.ndarray:
    """SplitMix64 in Python's integers: which of ``count`` elements stay."""
    kept = []
    for i in range(1, count + 1):
        z = (seed + i * 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        z ^= z >> 31
        kept.append((z >> 40) / 2**24 >= p)
    return np.array(kept, bool)


def _dropout(p: float, seed: int):
    return lambda x: np.where(_kept(x.size, p, seed).reshape(x.shape), x / (1 - p) if p < 1 else 0, 0)


def _dropout_sample(x: np.ndarray, p: float, seed: int, label: str):
    return sample("dropout", x, label=label, p=p, seed=seed, reference=_dropout(p, seed))


SAMPLES = [
    _dropout_sample(normal(1, 4, 5), 0.5, 7, ""),
    _dropout_sample(normal(2, 3, 2, 4), 0.1, 2**63 - 2, "large seed"),
    _dropout_sample(normal(3, 30), 0.9, 0, "most"),
    _dropout_sample(normal(4, 5), 1.0, 3, "all"),
    _dropout_sample(normal(4, 5), 1, 3, "all, by an integer"),
    _dropout_sample(normal(5, 1).reshape(()), 0.5, 4, "no axes"),
    _dropout_sample(normal(6, 0, 3), 0.5, 5, "empty"),
    _dropout_sample(normal(7, 6, 6)[::-2, ::3].T, 0.4, 6, "strided"),
    sample("dropout", normal(8, 4), label="none", call=lambda x: dropout(x, 0.0) * x, reference=np.square),
    sample("dropout", normal(9, 4), label="at rest", call=lambda x: dropout(x, 0.7, training=False) * x,
           reference=np.square),
]  # fmt: skip
