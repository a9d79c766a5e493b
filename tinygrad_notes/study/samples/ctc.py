"""Samples of the CTC loss, against the sum over every alignment, one by one."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from tinygrad_notes.ops.ctc import ctc_loss
from tinygrad_notes.study.samples.sample import Sample, normal, sample


def alignments(labels: list[int], frames: int, classes: int, blank: int) -> list[tuple[int, ...]]:
    """Every path over the frames that reads as ``labels`` once neighbours are merged and blanks dropped."""
    paths = itertools.product(range(classes), repeat=frames)
    return [path for path in paths if [k for k, _ in itertools.groupby(path) if k != blank] == labels]


def by_enumeration(
    log_probs: np.ndarray, targets: Any, input_lengths: Any, target_lengths: Any, blank: int = 0
) -> np.ndarray:
    """-log Σ over alignments Π p, for each example of (T, N, C) with targets (N, S)."""
    losses = []
    for n, (frames, length) in enumerate(zip(input_lengths, target_lengths)):
        paths = alignments(list(map(int, targets[n][:length])), frames, log_probs.shape[2], blank)
        p = sum(np.exp(sum(log_probs[t, n, k] for t, k in enumerate(path))) for path in paths)
        losses.append(-np.log(p) if paths else np.inf)
    return np.array(losses, np.float64)


def _mean(losses: np.ndarray, lengths: Any) -> np.ndarray:
    return np.mean(losses / np.maximum(lengths, 1))


def _log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def _samples() -> list[Sample]:
    log_p, targets = _log_softmax(normal(1, 5, 3, 3)), np.array([[1, 2], [2, 2], [1, 0]])
    frames, lengths = [5, 4, 3], [2, 2, 1]
    row = np.array([1, 2, 2, 2, 1])  # the same targets one after the other

    def cases(label: str, x: Any, t: Any, i: Any, n: Any, padded: Any = None, order: int = 2, **o: Any) -> list[Sample]:
        """With each reduction; ``padded``, the targets for the reference, if those are in one row."""
        b, shown = o.get("blank", 0), t if padded is None else padded

        def losses(x: np.ndarray) -> np.ndarray:
            found = by_enumeration(x, shown, i, n, b)
            return np.where(np.isinf(found), 0, found) if o.get("zero_infinity") else found

        return [
            sample("ctc_loss", x, t, label=f"{label} {r}".strip(), order=order,
                   call=lambda x, t, r=r: ctc_loss(x, t, i, n, reduction=r, **o),
                   reference=lambda x, t, r=r: {"none": lambda: losses(x), "sum": lambda: losses(x).sum(),
                                                "mean": lambda: _mean(losses(x), n)}[r]())
            for r in ("none", "sum", "mean")
        ]  # fmt: skip

    one = log_p[:, :1]
    return [
        *cases("", log_p, targets, frames, lengths),
        *cases("another blank", log_p, np.array([[1, 0], [0, 0], [1, 9]]), frames, lengths, blank=2)[:1],
        *cases("in one row", log_p, row, frames, lengths, targets)[2:],
        *cases("too few frames", log_p, targets, [5, 2, 3], lengths, order=0)[:1],
        *cases("zero_infinity", log_p, targets, [5, 2, 0], lengths, zero_infinity=True)[::2],
        *cases("no labels", log_p, targets, [5, 1, 0], [0, 0, 0])[2:],
        *cases("no frames", log_p[:0], targets, [0, 0, 0], [0, 0, 0], order=1)[:1],
        *cases("strided", log_p[::-1, ::-2, ::-1], targets[::2], [4, 5], [2, 1])[:1],
        *cases("one frame", log_p[:1], targets[:, :1], [1, 1, 1], [1, 1, 1])[:1],
        sample("ctc_loss", log_p[:, 0], targets[0], label="one example",
               call=lambda x, t: ctc_loss(x, t, 5, 2, reduction="none"),
               reference=lambda x, t: by_enumeration(one, targets, [5], [2])[0]),
        sample("ctc_loss", log_p[:, :0], targets[:0], label="empty",
               call=lambda x, t: ctc_loss(x, t, [], [], reduction="none"), reference=lambda x, t: np.zeros(0)),
    ]  # fmt: skip


SAMPLES = _samples()
