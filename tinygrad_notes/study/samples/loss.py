"""Samples of the losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_notes import lazy
from tinygrad_notes.ops import loss
from tinygrad_notes.ops.loss_arguments import REDUCTIONS
from tinygrad_notes.study.samples.sample import Sample, distinct, normal, positive, sample

special = lazy.module("scipy.special")
WEIGHT = np.array([0.5, 2.0, 1.5, 0.0])
LABELS = np.array([0, 2, -100, 3, 1, 2])


def _reduce(losses: np.ndarray, reduction: str, divisor: float | None = None) -> np.ndarray:
    if reduction == "none":
        return losses
    total = np.sum(losses)
    return np.asarray(total if reduction == "sum" else total / (losses.size if divisor is None else divisor))


def _differences() -> list[Sample]:
    samples = []
    for reduction in REDUCTIONS:
        samples += [
            sample("mse_loss", normal(1, 2, 3), normal(2, 2, 3), label=reduction, reduction=reduction,
                   reference=lambda a, b, r=reduction: _reduce((a - b) ** 2, r)),
            sample("l1_loss", distinct(3, 2, 3), distinct(4, 2, 3) * 7.03, label=reduction, reduction=reduction,
                   reference=lambda a, b, r=reduction: _reduce(np.abs(a - b), r)),
        ]  # fmt: skip
    return [
        *samples,
        sample(
            "mse_loss",
            normal(5, 1).reshape(()),
            normal(6, 1).reshape(()),
            label="no axes",
            reference=lambda a, b: (a - b) ** 2,
        ),
        sample(
            "mse_loss",
            normal(7, 3),
            np.array([1, 0, 2]),
            label="integer target",
            reference=lambda a, b: np.mean((a - b) ** 2),
        ),
        sample("mse_loss", normal(8, 0, 2), normal(8, 0, 2), label="empty", reference=lambda a, b: np.array(np.nan)),
        sample(
            "l1_loss",
            normal(8, 0, 2),
            normal(8, 0, 2),
            label="empty sum",
            reduction="sum",
            reference=lambda a, b: np.array(0.0),
        ),
    ]


def _binary(
    x: np.ndarray, t: np.ndarray, weight: Any = 1.0, pos_weight: Any = 1.0, reduction: str = "mean"
) -> np.ndarray:
    return _reduce(-weight * (pos_weight * t * special.log_expit(x) + (1 - t) * special.log_expit(-x)), reduction)


def _logarithms(p: np.ndarray, t: np.ndarray, weight: Any = 1.0, reduction: str = "mean") -> np.ndarray:
    losses, t = np.zeros_like(p), t.astype(np.float64)
    for i in np.ndindex(p.shape):
        losses[i] = -t[i] * max(np.log(p[i]), -100) - (1 - t[i]) * max(np.log1p(-p[i]), -100)
    return _reduce(weight * losses, reduction)


def _focal(
    x: np.ndarray, t: np.ndarray, alpha: float = 0.25, gamma: float = 2.0, reduction: str = "none"
) -> np.ndarray:
    p = special.expit(x)
    missed = 1 - (p * t + (1 - p) * (1 - t))
    weight = 1.0 if alpha < 0 else alpha * t + (1 - alpha) * (1 - t)
    return _reduce(weight * missed**gamma * _binary(x, t, reduction="none"), reduction)


def _of_probability() -> list[Sample]:
    p, t, x = positive(15, 3, 4) / 3, positive(16, 3, 4) / 3, normal(17, 3, 4)
    name = "binary_cross_entropy"
    return [
        *(sample(name, p, t, label=r, reduction=r, reference=lambda p, t, r=r: _logarithms(p, t, reduction=r))
          for r in REDUCTIONS),
        sample(name, p[::-2, ::-1], t[::2], positive(18, 4), label="weight, strided", reference=_logarithms),
        sample(name, p, (t > 0.5).astype(np.uint8), label="integer target", reference=_logarithms),
        sample(name, np.array([0.0, 1.0, 0.0, 1.0, 1e-60]), np.array([0, 1, 1, 0, 1]), label="certain", order=0,
               reduction="none", reference=lambda p, t: _logarithms(p, t, reduction="none")),
        sample(name, p[:0], t[:0], label="empty", reference=lambda p, t: np.array(np.nan)),
        *(sample("sigmoid_focal_loss", x, t, label=r, reduction=r,
                 reference=lambda x, t, r=r: _focal(x, t, reduction=r)) for r in REDUCTIONS),
        sample("sigmoid_focal_loss", x, (t > 0.5).astype(np.int64), label="labels, no alpha", alpha=-1, gamma=0.5,
               reference=lambda x, t: _focal(x, t, -1, 0.5)),
        sample("sigmoid_focal_loss", x[::-1, 0], t[:, 0], label="gamma 0", alpha=0.75, gamma=0,
               reference=lambda x, t: _focal(x, t, 0.75, 0)),
        sample("sigmoid_focal_loss", x[:0], t[:0], label="empty", reference=lambda x, t: x),
    ]  # fmt: skip


def _divergence(x: np.ndarray, t: np.ndarray, reduction: str = "mean", log_target: bool = False) -> np.ndarray:
    losses = special.rel_entr(np.exp(t) if log_target else t, np.exp(x))
    return _reduce(losses, "sum") / len(x) if reduction == "batchmean" else _reduce(losses, reduction)


def _distributions() -> list[Sample]:
    x, t = normal(10, 3, 4), positive(11, 3, 4) / 3
    far = np.array([-800.0, -30.0, 30.0, 800.0, 0.0])
    name = "binary_cross_entropy_with_logits"
    samples = [
        sample(name, x, t, label=r, reduction=r, reference=lambda x, t, r=r: _binary(x, t, reduction=r))
        for r in REDUCTIONS
    ]
    samples += [
        sample(name, x, t, positive(12, 3, 1), positive(13, 4), label="weights", reference=_binary),
        sample(name, x, t, positive(13, 4), label="pos_weight",
               call=lambda x, t, p: loss.binary_cross_entropy_with_logits(x, t, pos_weight=p),
               reference=lambda x, t, p: _binary(x, t, 1.0, p)),
        sample(name, x, (t > 0.5).astype(np.int64), label="integer target", reference=_binary),
        sample(name, far, np.array([0.0, 1.0, 0.0, 1.0, 0.5]), label="far out", reduction="none",
               reference=lambda x, t: _binary(x, t, reduction="none")),
        sample(name, x[:0], t[:0], label="empty", reference=lambda x, t: np.array(np.nan)),
    ]  # fmt: skip
    samples += _of_probability()
    log_p = np.log(positive(14, 3, 4) / 5)
    for reduction in (*REDUCTIONS, "batchmean"):
        samples += [
            sample("kl_div", log_p, t, label=reduction, reduction=reduction,
                   reference=lambda x, t, r=reduction: _divergence(x, t, r)),
            sample("kl_div", log_p, np.log(t), label=f"{reduction} log", reduction=reduction, log_target=True,
                   reference=lambda x, t, r=reduction: _divergence(x, t, r, True)),
        ]  # fmt: skip
    certain = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    return [*samples, sample("kl_div", log_p[:2, :2], certain, label="certain target", order=0, reference=_divergence)]


# ---------------------------------------------------------------------- classes


def _labels(
    log_p: np.ndarray,
    labels: np.ndarray,
    weight: Any = None,
    ignore: int = -100,
    reduction: str = "mean",
    smoothing: float = 0.0,
) -> np.ndarray:
    """Label by label: -(1 - s) w[y] log p[y] - s / C Σ w[c] log p[c]."""
    classes = log_p.shape[0 if log_p.ndim == 1 else 1]
    weight = np.ones(classes) if weight is None else weight
    losses, divisor = np.zeros(labels.shape), 0.0
    for index in np.ndindex(labels.shape):
        y = labels[index]
        if y != ignore:
            p = log_p[(*index[:1], slice(None), *index[1:])]
            losses[index] = -(1 - smoothing) * weight[y] * p[y] - (
                smoothing / classes * sum(weight * p) if smoothing else 0
            )
            divisor += weight[y]
    with np.errstate(all="ignore"):
        return _reduce(losses, reduction, np.float64(divisor))


def _log_softmax(x: np.ndarray) -> np.ndarray:
    return special.log_softmax(x, axis=0 if x.ndim == 1 else 1)


def _entropy(x: np.ndarray, labels: np.ndarray, **options: Any) -> np.ndarray:
    return _labels(_log_softmax(x), labels, **options)


def _of_probabilities(
    x: np.ndarray, t: np.ndarray, weight: Any = 1.0, reduction: str = "mean", smoothing: float = 0.0
) -> np.ndarray:
    axis = 0 if x.ndim == 1 else 1
    log_p, t = np.moveaxis(_log_softmax(x), axis, -1), np.moveaxis(t, axis, -1)
    return _reduce(-np.sum(weight * ((1 - smoothing) * t + smoothing / t.shape[-1]) * log_p, -1), reduction)


def _case(
    x: np.ndarray, labels: Any, label: str, log_probabilities: bool = True, order: int = 2, **options: Any
) -> list[Sample]:
    """A sample of cross_entropy, and one of nll_loss where there is no smoothing. Options by the reference's names."""
    names = {"ignore": "ignore_index", "smoothing": "label_smoothing"}
    static = {names.get(key, key): value for key, value in options.items()}

    def entropy(x: Any, t: Any) -> Any:
        return loss.cross_entropy(x, t, **static)

    def likelihood(x: Any, t: Any) -> Any:
        return loss.nll_loss(x, t, **static)

    cases = [sample("cross_entropy", x, labels, label=label, call=entropy, order=order,
                    reference=lambda x, t: _entropy(x, t, **options))]  # fmt: skip
    if log_probabilities and "smoothing" not in options:
        cases.append(sample("nll_loss", x, labels, label=label, call=likelihood, order=order,
                            reference=lambda x, t: _labels(x, t, **options)))  # fmt: skip
    return cases


def _of_classes() -> list[Sample]:
    x, plain = normal(20, 6, 4), np.array([3, 0, 1, 1, 2, 0])
    pixels, pixel_labels = normal(21, 2, 4, 2, 3), np.random.default_rng(22).integers(0, 4, (2, 2, 3))
    pixel_labels[0, 1, 2] = -100
    samples = []
    for reduction in REDUCTIONS:
        samples += _case(x, LABELS, f"{reduction} ignored", reduction=reduction)
        samples += _case(x, LABELS, f"{reduction} weights", reduction=reduction, weight=WEIGHT)
        samples += _case(x, LABELS, f"{reduction} smoothing", reduction=reduction, weight=WEIGHT, smoothing=0.3)
        samples += _case(pixels, pixel_labels, f"{reduction} pixels", reduction=reduction, weight=WEIGHT)
    samples += [
        *_case(x, plain, ""),
        *_case(x, plain.astype(np.uint8), "uint8 labels"),
        *_case(x, plain.astype(np.int32), "int32 labels", smoothing=0.1),
        *_case(x, plain, "one label ignored", ignore=1),
        *_case(x[0], np.array(2), "one example"),
        *_case(x[0], np.array(2), "one example, none", reduction="none"),
        *_case(x[:, :1], plain * 0, "one class"),
        *_case(normal(23, 70, 80), np.arange(70), "many classes"),
        *_case(x[::-2, ::-1], plain[::-2], "strided"),
        *_case(np.round(8 * x) / 8 + 1e6, plain, "large offset", log_probabilities=False),
        *_case(
            np.where(normal(24, 6, 4) > 1, -np.inf, x) * 1.0, np.argmax(x, 1) * 0, "impossible classes", False, order=0
        ),
        *_case(np.where(x == x[1, 2], np.nan, x), plain, "NaN", order=0),
        *_case(x[:0], plain[:0], "empty", order=0),
        *_case(x[:0], plain[:0], "empty sum", reduction="sum"),
        *_case(x, np.full(6, -100), "all ignored", order=0),
    ]
    return samples


def _probability_targets() -> list[Sample]:
    x, t = normal(30, 3, 4), _softmax(normal(31, 3, 4))
    pixels, targets = normal(32, 2, 4, 2), _softmax(normal(33, 2, 4, 2))
    name = "cross_entropy"
    return [
        *(sample(name, x, t, label=f"probabilities {r}", reduction=r,
                 reference=lambda x, t, r=r: _of_probabilities(x, t, reduction=r)) for r in REDUCTIONS),
        sample(name, x, t, label="probabilities, weights, smoothing", weight=WEIGHT, label_smoothing=0.2,
               reference=lambda x, t: _of_probabilities(x, t, WEIGHT, smoothing=0.2)),
        sample(name, pixels, targets, label="probabilities of pixels", weight=WEIGHT, reduction="none",
               reference=lambda x, t: _of_probabilities(x, t, WEIGHT, "none")),
        sample(name, x[0], t[0], label="probabilities of one example", reference=_of_probabilities),
        sample(name, x, np.eye(4)[:3].astype(np.float32), label="certain probabilities", reference=_of_probabilities),
        sample(name, x[:0], t[:0], label="no probabilities", reference=lambda x, t: np.array(np.nan)),
    ]  # fmt: skip


def _softmax(x: np.ndarray) -> np.ndarray:
    """Probabilities along axis 1."""
    e = np.exp(x)
    return e / e.sum(axis=1, keepdims=True)


SAMPLES = [*_differences(), *_distributions(), *_of_classes(), *_probability_targets()]
