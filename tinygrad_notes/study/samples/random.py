"""Samples of ops that draw random numbers, with the seed given."""

from __future__ import annotations

import numpy as np

from tinygrad_notes.ops.random import alpha_dropout, dropout, dropout2d, gumbel_softmax
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


def _channels_sample(axes: int, x: np.ndarray, p: float, seed: int, label: str):
    def reference(a):
        kept = _kept(int(np.prod(a.shape[:-axes])), p, seed).reshape(a.shape[:-axes] + (1,) * axes)
        return np.where(kept, a / (1 - p) if p < 1 else 0 * a, 0)

    return sample(f"dropout{axes}d", x, label=label, p=p, seed=seed, reference=reference)


def _alpha(p: float, seed: int):
    floor = -1.0507009873554804934193349852946 * 1.6732632423543772848170429916717

    def reference(x):
        if p == 1:
            return np.zeros_like(x)
        y = np.where(_kept(x.size, p, seed).reshape(x.shape), x, floor)
        # mean and variance of y where x has mean 0 and variance 1
        mean, variance = p * floor, (1 - p) + p * floor**2 - (p * floor) ** 2
        return (y - mean) / np.sqrt(variance)

    return reference


def _alpha_sample(x: np.ndarray, p: float, seed: int, label: str):
    return sample("alpha_dropout", x, label=label, p=p, seed=seed, reference=_alpha(p, seed))


def _gumbel_sample(x: np.ndarray, tau: float, axis: int, label: str):
    def reference(a):
        drawn = np.random.default_rng(5).standard_exponential(a.shape)
        grown = np.exp((a - np.log(drawn)) / tau)
        return grown / grown.sum(axis, keepdims=True)

    return sample("gumbel_softmax", x, label=label, reference=reference,
                  call=lambda a: gumbel_softmax(a, tau, axis=axis, generator=np.random.default_rng(5)))  # fmt: skip


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
    _channels_sample(1, normal(11, 3, 4, 2), 0.5, 3, ""),
    _channels_sample(1, normal(11, 6, 2), 0.3, 4, "without a batch"),
    _channels_sample(2, normal(12, 2, 4, 2, 3), 0.5, 3, ""),
    _channels_sample(2, normal(12, 5, 2, 1), 0.6, 4, "one image"),
    _channels_sample(2, normal(12, 0, 2, 2, 2), 0.6, 4, "empty"),
    _channels_sample(2, normal(12, 4, 2, 4, 2).T[::-1, :, ::2], 0.4, 5, "strided"),
    _channels_sample(3, normal(13, 1, 4, 2, 1, 2), 0.5, 3, ""),
    _channels_sample(3, normal(13, 4, 1, 2, 1), 1.0, 4, "all"),
    sample("dropout2d", normal(14, 2, 2, 2), label="squared", call=lambda x: dropout2d(x, 0.5, seed=1) ** 2,
           reference=lambda x: np.where(_kept(2, 0.5, 1)[:, None, None], 4 * x * x, 0)),
    _alpha_sample(normal(15, 4, 5), 0.5, 7, ""),
    _alpha_sample(normal(16, 30), 0.1, 8, "few"),
    _alpha_sample(normal(17, 5), 1.0, 9, "all"),
    _alpha_sample(normal(18, 0, 3), 0.5, 9, "empty"),
    _alpha_sample(normal(19, 6, 6)[::-2, ::3].T, 0.4, 6, "strided"),
    sample("alpha_dropout", normal(20, 4), label="squared", call=lambda x: alpha_dropout(x, 0.4, seed=2) ** 2,
           reference=lambda x: _alpha(0.4, 2)(x) ** 2),
    _gumbel_sample(normal(21, 3, 4), 1.0, -1, ""),
    _gumbel_sample(normal(22, 4, 3)[::-1].T, 0.5, 0, "sharper, other axis"),
    _gumbel_sample(normal(23, 2, 1), 2.0, 1, "one class"),
    _gumbel_sample(normal(24, 0, 3), 1.0, -1, "empty"),
]  # fmt: skip
