"""Cross-entropy of logits, with class indices or class probabilities as the target, and the gradients.

Every loss here is -Σ_c t_c log p_c with p = softmax(logits) and t the target distribution, smoothed and weighted by
class. A class of probability 0 that the target does not ask for adds nothing: 0 * -inf = 0.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def _row_sum(x: Array) -> Array:
    return np.sum(x, axis=1, dtype=np.float64).astype(x.dtype)


def _log_softmax(logits: Array) -> tuple[Array, Array]:
    """log softmax (N, C) and logsumexp (N,). The maximum is subtracted first, so an offset of 1e20 cancels exactly."""
    if logits.shape[1] == 0:  # no classes: there is no maximum to take
        return logits.copy(), np.zeros_like(logits, shape=logits.shape[:1]) - np.inf
    largest = np.max(logits, axis=1)
    shifted = logits - largest[:, None]
    log_total = np.log(_row_sum(np.exp(shifted)))
    return shifted - log_total[:, None], largest + log_total


def _probabilities(logits: Array, logsumexp: Array) -> Array:
    """softmax (N, C). Dividing by the sum makes good what the logsumexp of a large row lost in rounding."""
    exponentials = np.exp(logits - logsumexp[:, None])
    return exponentials / _row_sum(exponentials)[:, None]


def _product(factor: Array, x: Array) -> Array:
    """factor * x where 0 * inf = 0."""
    return np.where(factor == 0, 0, factor * x)


def _one_hot(target: Array, logits: Array, ignore_index: int) -> tuple[Array, Array]:
    """The target as rows of zeros with a one (N, C), in the dtype of ``logits``, and which rows count (N, 1)."""
    counts = (target != ignore_index)[:, None]
    classes = np.arange(logits.shape[1], like=logits)
    return ((classes == target[:, None]) & counts).astype(logits.dtype), counts


def _distribution(target: Array, weight: Array | None, label_smoothing: float) -> Array:
    """w_c ((1 - smoothing) t_c + smoothing / C): what each class's -log p is multiplied with."""
    smooth = (1 - label_smoothing) * target + label_smoothing / max(target.shape[1], 1)
    return smooth if weight is None else smooth * weight


@np.errstate(all="ignore")
def cross_entropy(
    logits: Array, target: Array, weight: Array | None, ignore_index: int, label_smoothing: float
) -> tuple[Array, Array, Array]:
    """Cross-entropy with class indices: loss = -(1 - s) w[y] log p[y] - s / C Σ_c w[c] log p[c], s = label_smoothing.

    logits (N, C); target (N,) integers y; weight (C,) or None. A row whose target is ``ignore_index`` has loss 0.
    Returns losses (N,), each row's share of the mean's divisor (N,) = w[y], 0 where ignored, and for backward
    logsumexp (N,).
    """
    one_hot, counts = _one_hot(target, logits, ignore_index)
    log_probabilities, logsumexp = _log_softmax(logits)
    distribution = np.where(counts, _distribution(one_hot, weight, label_smoothing), 0)
    losses = _row_sum(_product(-distribution, log_probabilities))
    normalizer = _row_sum(one_hot if weight is None else one_hot * weight)
    return losses, normalizer, logsumexp


@np.errstate(all="ignore")
def cross_entropy_grad(
    g: Array,
    logits: Array,
    target: Array,
    weight: Array | None,
    ignore_index: int,
    label_smoothing: float,
    logsumexp: Array,
) -> Array:
    """Gradient of :func:`cross_entropy` for g (N,), the gradient of the losses: dlogits = g (p Σ_c t_c - t), (N, C).

    t is the smoothed and weighted target; rows that are ignored get 0.
    """
    one_hot, counts = _one_hot(target, logits, ignore_index)
    distribution = _distribution(one_hot, weight, label_smoothing)
    error = _probabilities(logits, logsumexp) * _row_sum(distribution)[:, None] - distribution
    return np.where(counts, g[:, None] * error, 0)


@np.errstate(all="ignore")
def cross_entropy_probabilities(
    logits: Array, target_probabilities: Array, weight: Array | None, label_smoothing: float
) -> tuple[Array, Array]:
    """Cross-entropy with a distribution per row: loss = -Σ_c w_c ((1 - s) t_c + s / C) log p_c, s = label_smoothing.

    logits, target_probabilities (N, C); weight (C,) or None. Returns losses (N,), and for backward logsumexp (N,).
    """
    log_probabilities, logsumexp = _log_softmax(logits)
    distribution = _distribution(target_probabilities, weight, label_smoothing)
    return _row_sum(_product(-distribution, log_probabilities)), logsumexp


@np.errstate(all="ignore")
def cross_entropy_probabilities_grad(
    g: Array,
    logits: Array,
    target_probabilities: Array,
    weight: Array | None,
    label_smoothing: float,
    logsumexp: Array,
) -> tuple[Array, Array]:
    """Gradients of :func:`cross_entropy_probabilities` for g (N,): dlogits and dtarget_probabilities, both (N, C).

    dlogits = g (p Σ_c t_c - t) with t the smoothed and weighted target; dtarget_c = -g (1 - s) w_c log p_c.
    """
    distribution = _distribution(target_probabilities, weight, label_smoothing)
    error = _probabilities(logits, logsumexp) * _row_sum(distribution)[:, None] - distribution
    log_probabilities, _ = _log_softmax(logits)
    factor = -(1 - label_smoothing) * (g[:, None] if weight is None else g[:, None] * weight)
    return g[:, None] * error, _product(factor, log_probabilities)
