"""Samples of the losses of numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_notes.ops.loss_arguments import REDUCTIONS
from tinygrad_notes.study.samples.sample import Sample, distinct, normal, positive, sample


def reduce(losses: Any, reduction: str) -> np.ndarray:
    """The mean or sum of losses, or themselves."""
    losses = np.asarray(losses, np.float64)
    if reduction == "none":
        return losses
    total = np.asarray(losses.sum())
    return total if reduction == "sum" else total / losses.size


def _huber(a: np.ndarray, b: np.ndarray, reduction: str = "mean", delta: float = 1.0) -> np.ndarray:
    losses = np.zeros(a.shape)
    for i in np.ndindex(a.shape):
        d = abs(a[i] - b[i])
        losses[i] = d * d / 2 if d < delta else delta * d - delta * delta / 2
    return reduce(losses, reduction)


def _smooth(a: np.ndarray, b: np.ndarray, reduction: str = "mean", beta: float = 1.0) -> np.ndarray:
    return _huber(a, b, reduction, beta) / beta


def _robust() -> list[Sample]:
    a, b = distinct(1, 3, 4) * 3, distinct(2, 3, 4)
    samples = []
    for r in REDUCTIONS:
        samples += [
            sample("huber_loss", a, b, label=r, reduction=r, delta=0.71,
                   reference=lambda a, b, r=r: _huber(a, b, r, 0.71)),
            sample("smooth_l1_loss", a, b, label=r, reduction=r, beta=0.37,
                   reference=lambda a, b, r=r: _smooth(a, b, r, 0.37)),
        ]  # fmt: skip
    return [
        *samples,
        sample("huber_loss", a[::-2, ::-1], b[::2], label="strided", reference=_huber),
        sample("smooth_l1_loss", a[::-2, ::-1], b[::2], label="strided", reference=_smooth),
        sample("smooth_l1_loss", a, b, label="beta 0", beta=0, reference=lambda a, b: np.mean(np.abs(a - b))),
        sample("huber_loss", a[0, 0], b[0, 0], label="no axes", reference=_huber),
        sample("smooth_l1_loss", a, np.arange(12).reshape(3, 4), label="integer target", reference=_smooth),
        sample("huber_loss", a[:0], b[:0], label="empty", reference=lambda a, b: np.array(np.nan)),
        sample("smooth_l1_loss", a[:0], b[:0], label="empty", reduction="none", reference=lambda a, b: a),
    ]


def _poisson(
    x: np.ndarray, t: np.ndarray, log_input: bool = True, full: bool = False, eps: float = 1e-8, reduction: str = "mean"
) -> np.ndarray:
    losses = np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        losses[i] = math.exp(x[i]) - t[i] * x[i] if log_input else x[i] - t[i] * math.log(x[i] + eps)
        if full and t[i] > 1:
            losses[i] += t[i] * math.log(t[i]) - t[i] + math.log(2 * math.pi * t[i]) / 2
    return reduce(losses, reduction)


def _gaussian(
    x: np.ndarray, t: np.ndarray, v: Any, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> np.ndarray:
    v = np.maximum(v[..., None] if np.ndim(v) == x.ndim - 1 else v, eps)
    losses = (np.log(v) + (x - t) ** 2 / v) / 2
    return reduce(losses + (math.log(2 * math.pi) / 2 if full else 0), reduction)


def _likelihoods() -> list[Sample]:
    x, t, counts = normal(3, 3, 4), positive(4, 3, 4), np.random.default_rng(5).integers(0, 6, (3, 4))
    rate, v = positive(6, 3, 4), positive(7, 3, 4)
    options: list[dict[str, Any]] = [{"reduction": r} for r in REDUCTIONS]
    options += [{"full": True}, {"log_input": False, "full": True}, {"log_input": False, "eps": 0.5}]
    samples = [
        sample("poisson_nll_loss", rate, counts if o.get("log_input", True) else t, label=str(o), **o,
               reference=lambda x, t, o=o: _poisson(x, t, **o))
        for o in options
    ]  # fmt: skip
    samples += [
        sample("gaussian_nll_loss", x, t, v, label=str(o), **o, reference=lambda x, t, v, o=o: _gaussian(x, t, v, **o))
        for o in [*options[:3], {"full": True}]
    ]
    return [
        *samples,
        sample("poisson_nll_loss", x[::-2, ::-1], counts[::2], label="strided", reference=_poisson),
        sample("poisson_nll_loss", x[:0], t[:0], label="empty", reference=lambda x, t: np.array(np.nan)),
        sample("gaussian_nll_loss", x, t, v[:, 0], label="a variance for each row", reference=_gaussian),
        sample("gaussian_nll_loss", x, t, v[:1], label="a variance for each column", reference=_gaussian),
        sample("gaussian_nll_loss", x, t, np.float64(0.7), label="one variance", reference=_gaussian),
        sample("gaussian_nll_loss", x[::-2, ::-1], t[::2], v[::-2], label="strided", reference=_gaussian),
        sample("gaussian_nll_loss", x[0], t[0], v[0] * [1, 0, 1, 0], label="no variance", order=0, eps=0.1,
               reference=lambda x, t, v: _gaussian(x, t, v, eps=0.1)),
        sample("gaussian_nll_loss", x[:0], t[:0], v[:0], label="empty", reference=lambda x, t, v: np.array(np.nan)),
    ]  # fmt: skip


SAMPLES = [*_robust(), *_likelihoods()]
