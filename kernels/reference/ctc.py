"""Connectionist temporal classification (Graves et al. 2006): the probability of a labelling, over all its alignments.

An alignment gives each frame a label or the blank; merging equal neighbours and then dropping blanks gives the
labelling. The states of an alignment are the labels with blanks around each: blank, l1, blank, l2, ..., blank. A step
stays, moves on by one, or skips a blank between two labels that differ.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def _states(targets: Array, target_lengths: Array, blank: int) -> tuple[Array, Array]:
    """The label of each state (N, 2S + 1), blank beyond a target, and where the blank before it may be skipped."""
    n, length = targets.shape
    labels = np.zeros_like(targets, shape=(n, 2 * length + 1)) + blank
    labels[:, 1::2] = np.where(np.arange(length, like=targets) < target_lengths[:, None], targets, blank)
    skips = np.zeros_like(labels, dtype=bool)
    skips[:, 2:] = (labels[:, 2:] != blank) & (labels[:, 2:] != labels[:, :-2])
    return labels, skips


def _emissions(log_probs: Array, labels: Array, target_lengths: Array) -> Array:
    """The log-probability of each state's label in each frame, (T, N, 2S + 1), in float64; -inf beyond a target."""
    rows = np.arange(labels.shape[0], like=log_probs)[:, None]
    inside = np.arange(labels.shape[1], like=log_probs) <= 2 * target_lengths[:, None]
    return np.where(inside, log_probs[:, rows, labels].astype(np.float64), -np.inf)


def _log_sum(*terms: Array) -> Array:
    """log Σ exp(term), -inf where every term is."""
    largest = terms[0]
    for term in terms[1:]:
        largest = np.maximum(largest, term)
    shift = np.where(largest == -np.inf, 0, largest)
    total = np.exp(terms[0] - shift)
    for term in terms[1:]:
        total = total + np.exp(term - shift)
    return shift + np.log(total)


def _moved(states: Array, steps: int) -> Array:
    """``states`` (N, states) moved ``steps`` to the right (left if negative), -inf moving in."""
    moved = np.zeros_like(states) - np.inf
    if steps > 0:
        moved[:, steps:] = states[:, :-steps]
    else:
        moved[:, :steps] = states[:, -steps:]
    return moved


def _last_states(states: Array, target_lengths: Array) -> tuple[Array, Array]:
    """Of ``states`` (N, states), those in which an alignment may end: the last blank, and the last label before it."""
    rows = np.arange(states.shape[0], like=states)
    label = states[rows, np.maximum(2 * target_lengths - 1, 0)]
    return states[rows, 2 * target_lengths], np.where(target_lengths > 0, label, -np.inf)


@np.errstate(all="ignore")
def ctc_loss(
    log_probs: Array, targets: Array, input_lengths: Array, target_lengths: Array, blank: int
) -> tuple[Array, Array]:
    """-log of the summed probability of all alignments of each target with the frames of its input, by a forward pass.

    log_probs (T, N, C), the logarithms of probabilities; targets (N, S) integers, of which the first target_lengths
    (N,) count (0 to S); input_lengths (N,), 0 to T. Where no alignment is possible the loss is inf.
    Returns losses (N,), and for backward log_alpha (T, N, 2S + 1): the log-probability of all ways to be in a state
    after a frame, less the largest one of the frame. Sums over time run in float64.
    """
    target_lengths = target_lengths.astype(np.int64)  # of 0 to S; of 2 S + 1 states a small dtype may lose count
    labels, skips = _states(targets, target_lengths, blank)
    emissions = _emissions(log_probs, labels, target_lengths)
    alpha = np.zeros_like(emissions, shape=labels.shape) - np.inf
    alpha[:, 0] = 0  # before the first frame, so that it may be a blank or the first label
    log_alpha = np.zeros_like(emissions)
    for t in range(len(log_probs)):
        skipped = np.where(skips, _moved(alpha, 2), -np.inf)
        stepped = _log_sum(alpha, _moved(alpha, 1), skipped) + emissions[t]
        alpha = np.where((t < input_lengths)[:, None], stepped, alpha)
        log_alpha[t] = alpha
    largest = np.max(log_alpha, axis=2, keepdims=True)
    log_alpha -= np.where(np.isfinite(largest), largest, 0)
    losses = -_log_sum(*_last_states(alpha, target_lengths))
    return losses.astype(log_probs.dtype), log_alpha.astype(log_probs.dtype)


@np.errstate(all="ignore")
def ctc_loss_grad(
    g: Array,
    log_probs: Array,
    targets: Array,
    input_lengths: Array,
    target_lengths: Array,
    blank: int,
    log_alpha: Array,
) -> Array:
    """Gradient of :func:`ctc_loss` for g (N,), the gradient of the losses, by a backward pass: dlog_probs (T, N, C).

    dlog_probs[t, n, c] = -g[n] P(frame t has label c | target), a distribution in each of an input's frames. Frames
    beyond an input's length, and inputs without an alignment, get 0.
    """
    target_lengths = target_lengths.astype(np.int64)  # of 0 to S; of 2 S + 1 states a small dtype may lose count
    labels, skips = _states(targets, target_lengths, blank)
    emissions = _emissions(log_probs, labels, target_lengths)
    states = np.arange(labels.shape[1], like=log_probs)
    ends = 2 * target_lengths[:, None]
    last = np.where((states == ends) | (states == ends - 1), 0.0, -np.inf)
    classes = np.arange(log_probs.shape[2], like=log_probs)
    one_hot = (labels[:, :, None] == classes).astype(np.float64)  # (N, states, C)
    dlog_probs = np.zeros_like(log_probs)
    beta = last
    for t in range(len(log_probs) - 1, -1, -1):
        inside = (t < input_lengths)[:, None]
        occupancy = _softmax(np.where(inside, log_alpha[t] + beta, -np.inf))
        dlog_probs[t] = -g[:, None] * np.matmul(occupancy[:, None, :], one_hot)[:, 0]
        ahead = beta + emissions[t]
        skipped = _moved(np.where(skips, ahead, -np.inf), -2)
        beta = np.where(inside, _log_sum(ahead, _moved(ahead, -1), skipped), last)
    return dlog_probs


def _softmax(x: Array) -> Array:
    """softmax over the last axis, 0 in a row of -inf only."""
    largest = np.max(x, axis=1, keepdims=True)
    exponentials = np.exp(x - np.where(largest == -np.inf, 0, largest))
    total = np.sum(exponentials, axis=1, keepdims=True)
    return exponentials / np.where(total == 0, 1, total)
