"""Samples of the losses with a margin, each against a formula for one example."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_notes.ops.loss_arguments import REDUCTIONS
from tinygrad_notes.ops.margin_loss import multi_margin_loss
from tinygrad_notes.study.samples.regression_loss import reduce
from tinygrad_notes.study.samples.sample import Sample, distinct, normal, positive, sample

SIGNS = np.array([[1, -1, 1, 1], [-1, -1, 1, -1], [1, 1, -1, -1]])


def _each(formula: Callable[..., float], *arrays: np.ndarray, reduction: str = "mean") -> np.ndarray:
    """The formula for each element."""
    losses = np.zeros(arrays[0].shape)
    for i in np.ndindex(losses.shape):
        losses[i] = formula(*(a[i] for a in arrays))
    return reduce(losses, reduction)


FORMULAS: dict[str, tuple[Callable[..., float], dict[str, float]]] = {
    "hinge_loss": (lambda s, y: max(0.0, 1 - y * s), {}),
    "soft_margin_loss": (lambda s, y: math.log(1 + math.exp(-y * s)), {}),
    "hinge_embedding_loss": (lambda x, y: x if y == 1 else max(0.0, 0.83 - x), {"margin": 0.83}),
}


def _two_classes() -> list[Sample]:
    samples = []
    for seed, (name, (formula, options)) in enumerate(FORMULAS.items()):
        x = distinct(seed, 3, 4) * 5
        samples += [
            sample(name, x, SIGNS, label=r, reduction=r, **options,
                   reference=lambda x, y, f=formula, r=r: _each(f, x, y, reduction=r)) for r in REDUCTIONS
        ]  # fmt: skip
        samples += [
            sample(name, x[::-2, ::-1], SIGNS[::2].astype(np.float32), label="strided, floating target", **options,
                   reference=lambda x, y, f=formula: _each(f, x, y)),
            sample(name, x[0, 0], SIGNS[0, 0], label="no axes", **options,
                   reference=lambda x, y, f=formula: _each(f, x, y)),
            sample(name, x[:0], SIGNS[:0], label="empty", reference=lambda x, y: np.array(np.nan)),
        ]  # fmt: skip
    far = np.array([-800.0, 800.0, 0.0])
    return [*samples, sample("soft_margin_loss", far, np.array([1, 1, -1]), label="far out", reduction="none",
                             reference=lambda x, y: np.array([800.0, 0.0, math.log(2)]))]  # fmt: skip


def _labels(x: np.ndarray, t: np.ndarray, weight: Any = None, reduction: str = "mean") -> np.ndarray:
    weight = np.ones(x.shape[-1]) if weight is None else weight
    rows = [
        sum(w * (t * math.log1p(math.exp(-x)) + (1 - t) * math.log1p(math.exp(x))) for x, t, w in zip(xs, ts, weight))
        / x.shape[-1]
        for xs, ts in zip(x.reshape(-1, x.shape[-1]), t.reshape(-1, x.shape[-1]))
    ]
    return reduce(np.reshape(rows, x.shape[:-1]), reduction)


def _several(
    x: np.ndarray, labels: np.ndarray, p: int = 1, margin: float = 1.0, weight: Any = None, reduction: str = "mean"
) -> np.ndarray:
    losses = np.zeros(labels.shape)
    for i in np.ndindex(labels.shape):
        y = labels[i]
        for c in range(x.shape[-1]):
            if c != y:
                losses[i] += max(0.0, margin - x[(*i, y)] + x[(*i, c)]) ** p
        losses[i] *= (1 if weight is None else weight[y]) / x.shape[-1]
    return reduce(losses, reduction)


def _several_classes() -> list[Sample]:
    x, labels = distinct(10, 4, 3) * 3, np.array([2, 0, 1, 2])
    options: list[dict[str, Any]] = [{"reduction": r} for r in REDUCTIONS]
    options += [{"p": 2}, {"p": 2, "margin": 0.53, "weight": np.array([0.5, 2.0, 1.5])}]
    name, scores = "multilabel_soft_margin_loss", normal(11, 4, 3)
    applies = (normal(12, 4, 3) > 0).astype(np.int64)
    return [
        *(sample("multi_margin_loss", x, labels, label=" ".join(map(str, o.values())),
                 call=lambda x, y, o=o: multi_margin_loss(x, y, **o), reference=lambda x, y, o=o: _several(x, y, **o))
          for o in options),
        sample("multi_margin_loss", x[0], np.array(1, np.uint8), label="one example", reference=_several),
        sample("multi_margin_loss", x[::-2, ::-1], labels[::2], label="strided", reference=_several),
        sample("multi_margin_loss", x[:, :1], labels * 0, label="one class", reference=_several),
        sample("multi_margin_loss", x[:0], labels[:0], label="empty", reference=lambda x, y: np.array(np.nan)),
        *(sample(name, scores, applies, label=r, reduction=r, reference=lambda x, t, r=r: _labels(x, t, reduction=r))
          for r in REDUCTIONS),
        sample(name, scores[::-1], applies, positive(13, 3), label="weight", reference=_labels),
        sample(name, scores[0], applies[0], label="one example", reference=_labels),
    ]  # fmt: skip


def _cosine(a: np.ndarray, b: np.ndarray, y: np.ndarray, margin: float = 0.0, reduction: str = "mean") -> np.ndarray:
    losses = np.zeros(y.shape)
    for i in np.ndindex(y.shape):
        cosine = float(a[i] @ b[i] / np.sqrt((a[i] @ a[i] + 1e-12) * (b[i] @ b[i] + 1e-12)))
        losses[i] = 1 - cosine if y[i] == 1 else max(0.0, cosine - margin)
    return reduce(losses, reduction)


def _triplet(
    a: np.ndarray, p: np.ndarray, n: np.ndarray, margin: float = 1.0, ord: float = 2.0, eps: float = 1e-6,
    swap: bool = False, reduction: str = "mean",
) -> np.ndarray:  # fmt: skip
    losses = np.zeros(a.shape[:-1])
    for i in np.ndindex(losses.shape):
        near, far, other = (float(np.linalg.norm(d + eps, ord)) for d in (a[i] - p[i], a[i] - n[i], p[i] - n[i]))
        losses[i] = max(0.0, near - (min(far, other) if swap else far) + margin)
    return reduce(losses, reduction)


def _pairs() -> list[Sample]:
    x1, x2 = distinct(20, 3, 4), distinct(21, 3, 4) * 3
    a, b, c, signs = normal(22, 5, 3), normal(23, 5, 3), normal(24, 5, 3), np.array([1, -1, -1, 1, -1])
    options: list[dict[str, Any]] = [{"reduction": r} for r in REDUCTIONS]
    options += [{"swap": True, "margin": 2.0}, {"p": 1.0, "eps": 0.1}, {"p": 3.0, "swap": True, "reduction": "none"}]
    return [
        *(sample("margin_ranking_loss", x1, x2, SIGNS, label=r, reduction=r, margin=0.31,
                 reference=lambda a, b, y, r=r: _each(lambda a, b, y: max(0.0, -y * (a - b) + 0.31), a, b, y,
                                                      reduction=r)) for r in REDUCTIONS),
        sample("margin_ranking_loss", x1[::-2], x2[::2, ::-1], SIGNS[::2], label="strided",
               reference=lambda a, b, y: _each(lambda a, b, y: max(0.0, -y * (a - b)), a, b, y)),
        *(sample("cosine_embedding_loss", a, b, signs, label=r, reduction=r, margin=0.1,
                 reference=lambda a, b, y, r=r: _cosine(a, b, y, 0.1, r)) for r in REDUCTIONS),
        sample("cosine_embedding_loss", a[0, ::-1], b[0], signs[0], label="one pair, strided", reference=_cosine),
        sample("cosine_embedding_loss", a[:0], b[:0], signs[:0], label="empty",
               reference=lambda a, b, y: np.array(np.nan)),
        *(sample("triplet_margin_loss", a, b, c, label=" ".join(map(str, o.values())), **o,
                 reference=lambda a, p, n, o=o: _triplet(a, p, n, **{"ord" if k == "p" else k: v
                                                                    for k, v in o.items()})) for o in options),
        sample("triplet_margin_loss", a[0, ::-1], b[0], c[0], label="one triple, strided", reference=_triplet),
        sample("triplet_margin_loss", a[:0], b[:0], c[:0], label="empty",
               reference=lambda a, p, n: np.array(np.nan)),
    ]  # fmt: skip


SAMPLES = [*_two_classes(), *_several_classes(), *_pairs()]
