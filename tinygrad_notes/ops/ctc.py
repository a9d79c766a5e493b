"""Connectionist temporal classification: the loss of a labelling without its alignment (Graves et al. 2006)."""

from __future__ import annotations

import numpy as np

from tinygrad_notes import kernels
from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.modes import recording
from tinygrad_notes.ops.arguments import count, extremes, flag
from tinygrad_notes.ops.comparison import where
from tinygrad_notes.ops.loss_arguments import check_reduction, reduced
from tinygrad_notes.ops.reduction import logsumexp
from tinygrad_notes.ops.shape import expand_dims, operand, pad, reshape, stack
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import as_floating, beside, int64, to_array

NEVER = -1e30  # the logarithm of no probability: finite, so that no derivative meets inf - inf


def _ctc_in_small_ops(log_probs, targets, input_lengths, target_lengths, blank):
    """The forward algorithm: ``alpha`` is the log-probability of all ways to be in each state after so many frames."""
    (batch, length), ends = targets.shape, 2 * target_lengths
    states = 2 * length + 1
    rows, state = np.arange(batch, like=targets), np.arange(states, like=targets)
    labels = np.zeros_like(targets, shape=(batch, states)) + blank  # blank, l1, blank, l2, ..., blank
    labels[:, 1::2] = np.where(np.arange(length, like=targets) < target_lengths[:, None], targets, blank)
    skips = (labels[:, 2:] != blank) & (labels[:, 2:] != labels[:, :-2])  # over a blank between labels that differ
    emissions = log_probs[:, rows[:, None], labels]  # (T, N, states)
    emissions = where((state > ends[:, None]) | (emissions == -np.inf).data, NEVER, emissions)
    alpha = np.where((state == 0) & (ends >= 0)[:, None], 0.0, NEVER).astype(log_probs.dtype)
    for t in range(len(log_probs)):
        by_one = pad(alpha, [(0, 0), (1, 0)], constant_values=NEVER)[:, :states]
        by_two = pad(where(skips, alpha[:, :-2], NEVER), [(0, 0), (2, 0)], constant_values=NEVER)[:, :states]
        moved = logsumexp(stack([alpha, by_one, by_two]), 0) + emissions[t]
        alpha = where((t < input_lengths)[:, None], moved, alpha)
    last_label = where(ends > 0, alpha[rows, np.maximum(ends - 1, 0)], NEVER)
    total = logsumexp(stack([alpha[rows, ends], last_label]), 0)
    return where((total < NEVER / 2).data, np.inf, -total)


@op(composite=_ctc_in_small_ops)
def ctc_loss_(log_probs: Array, targets, input_lengths, target_lengths, blank):
    """The losses (N,) of log-probabilities (T, N, C) for targets (N, S)."""
    static = targets, input_lengths, target_lengths, blank
    losses, log_alpha = kernels.ctc_loss(as_floating(log_probs), *static)

    def derivative(g, log_probs):
        return kernels.ctc_loss_grad(*as_floating(g, log_probs), *static, log_alpha)

    return losses, derivative


@named
def ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=0, reduction="mean", zero_infinity=False):
    """-log of the probability of the labels, summed over all their alignments with the frames (Graves et al. 2006).

    An alignment gives each frame a label or the ``blank``; merging equal neighbours, then dropping blanks, gives the
    labels. ``log_probs`` (T, N, C), each frame's log-probabilities (of log_softmax); ``targets`` (N, S), padded with
    anything, or all labels one after the other (Σ target_lengths,); integers ``input_lengths`` (N,) up to T and
    ``target_lengths`` (N,) up to S. A single input is (T, C), (S,) and two numbers. The mean divides each loss by its
    number of labels (at least 1), then averages over the batch.

    Where the frames are too few for the labels the loss is inf, or 0 with ``zero_infinity``; its gradient is 0 in both
    cases (in PyTorch NaN, without ``zero_infinity``). The gradient is the one of these log-probabilities; PyTorch's
    already is that of the logits, and right only below a log_softmax. Below one, both agree. A label that is the
    blank or no class raises IndexError.

    >>> tn.ctc_loss(tn.log([[0.5, 0.5], [0.25, 0.75]]), [1], 2, 1).round(4)  # (1, 1), (1, blank), (blank, 1)
    Tensor(0.1335)
    """
    check_reduction(reduction)
    log_probs = operand(log_probs)
    if len(log_probs.shape) not in (2, 3):
        raise ShapeError(f"log_probs has shape {log_probs.shape}, expected (T, N, C) or (T, C)")
    single = len(log_probs.shape) == 2
    if single:
        log_probs = expand_dims(log_probs, 1)
    (frames, batch, classes), like = log_probs.shape, log_probs.data
    if count(blank, "blank", 0) >= classes:
        raise IndexError(f"blank is {blank}, expected a class, 0 to {classes - 1}")
    targets = _integers(targets, "targets", like)
    input_lengths = _lengths(input_lengths, "input_lengths", batch, frames, like)
    if single and targets.ndim == 1:
        targets = targets[None]
    limit = targets.shape[1] if targets.ndim == 2 else targets.size
    target_lengths = _lengths(target_lengths, "target_lengths", batch, limit, like)
    targets = _padded(targets, target_lengths)
    if not recording():
        _check_labels(targets, target_lengths, classes, blank)
    losses = ctc_loss_(log_probs, targets, input_lengths, target_lengths, blank)
    if flag(zero_infinity, "zero_infinity"):
        losses = where((losses == np.inf).data, 0.0, losses)
    if reduction == "mean":
        losses = losses / np.maximum(target_lengths, 1).astype(losses.dtype)
    return reduced(reshape(losses, ()) if single and reduction == "none" else losses, reduction)


def _check_labels(targets, lengths, classes, blank):
    inside = np.arange(targets.shape[1], like=targets) < lengths[:, None]
    wrong = targets[inside & ((targets < 0) | (targets >= classes) | (targets == blank))]
    if wrong.size:
        raise IndexError(
            f"targets has label {int(wrong[0])}, expected 0 to {classes - 1} ({classes} classes) but the blank, {blank}"
        )


def _integers(value, name, like):
    """A copy, of the array type of ``like``: the caller may write to the original before backward."""
    array = to_array(value)
    if array.dtype.kind not in "iu" and array.size:
        raise DTypeError(f"{name} is {array.dtype}, expected integers")
    return beside(array.astype(int64), like)


def _lengths(value, name, batch, limit, like):
    lengths = _integers(value, name, like).reshape(-1)
    if lengths.shape != (batch,):
        raise ShapeError(f"{name} has {lengths.size} lengths, expected {batch}, one for each input")
    if batch and not recording():
        low, high = extremes(lengths)
        if low < 0 or high > limit:
            raise ShapeError(f"{name} has {low if low < 0 else high}, expected 0 to {limit}")
    return lengths


def _padded(targets, lengths):
    """Targets (N, S), S the largest length at least, from those or from all labels one after the other."""
    if targets.ndim == 2:
        if targets.shape[0] != lengths.size:
            raise ShapeError(f"targets has shape {targets.shape}, expected ({lengths.size}, S) or (Σ target_lengths,)")
        return targets
    total, longest = int(lengths.sum()), int(lengths.max()) if lengths.size else 0
    if targets.shape != (total,):
        raise ShapeError(f"targets has shape {targets.shape}, target_lengths add up to {total}")
    steps = np.arange(longest, like=targets)
    index = (np.cumsum(lengths) - lengths)[:, None] + steps
    return targets[np.where(steps < lengths[:, None], index, 0)]
