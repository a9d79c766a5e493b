"""The CTC loss against PyTorch, below a log_softmax: there PyTorch's gradient is the derivative of the loss."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn

torch = pytest.importorskip("torch")
F = torch.nn.functional

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
REDUCTIONS = pytest.mark.parametrize("reduction", ["none", "mean", "sum"])


def problem(frames, batch, classes, longest, blank, seed=0):
    """Logits, targets without the blank, lengths of inputs and of targets; every target fits."""
    rng = np.random.default_rng(seed)
    labels = np.array([c for c in range(classes) if c != blank])
    lengths = rng.integers(0, longest + 1, batch)
    input_lengths = np.minimum(frames, 2 * lengths + rng.integers(0, frames, batch))
    return (
        rng.standard_normal((frames, batch, classes)) * 2,
        rng.choice(labels, (batch, longest)),
        input_lengths,
        lengths,
    )


@DTYPES
@REDUCTIONS
@pytest.mark.parametrize("sizes", [(7, 3, 4, 3), (12, 1, 2, 4), (40, 5, 20, 12), (5, 4, 3, 0)])
@pytest.mark.parametrize("blank", [0, 1])
@pytest.mark.parametrize("in_one_row", [False, True])
def test_ctc_loss(parity, dtype, reduction, sizes, blank, in_one_row):
    logits, targets, frames, lengths = problem(*sizes, blank)
    if in_one_row:
        targets = np.concatenate([row[:n] for row, n in zip(targets, lengths)])
    static = targets, frames, lengths
    parity.check(
        lambda x: tn.ctc_loss(tn.log_softmax(x, 2), *static, blank, reduction),
        lambda x: F.ctc_loss(torch.log_softmax(x, 2), *map(torch.tensor, static), blank, reduction),
        logits,
        dtype=dtype,
        tolerance=1e-4 if dtype == "float32" else None,
    )


@DTYPES
@REDUCTIONS
def test_zero_infinity(parity, dtype, reduction):
    logits, targets, _, _ = problem(6, 4, 4, 3, 0)
    frames, lengths = np.array([6, 2, 5, 1]), np.array([3, 3, 1, 2])
    static = targets, frames, lengths
    parity.check(
        lambda x: tn.ctc_loss(tn.log_softmax(x, 2), *static, 0, reduction, True),
        lambda x: F.ctc_loss(torch.log_softmax(x, 2), *map(torch.tensor, static), 0, reduction, True),
        logits,
        dtype=dtype,
    )
    ours = tn.ctc_loss(tn.log_softmax(logits, 2), *static, reduction=reduction)
    theirs = F.ctc_loss(torch.log_softmax(torch.tensor(logits), 2), *map(torch.tensor, static), reduction=reduction)
    parity.compare(ours, theirs)


@REDUCTIONS
def test_one_input(parity, reduction):
    logits, targets, _, _ = problem(6, 1, 4, 3, 0)
    parity.check(
        lambda x: tn.ctc_loss(tn.log_softmax(x, 1), targets[0], 6, 3, reduction=reduction),
        lambda x: F.ctc_loss(
            torch.log_softmax(x, 1), torch.tensor(targets[0]), torch.tensor(6), torch.tensor(3), reduction=reduction
        ),
        logits[:, 0],
        dtype="float64",
    )


def test_layer(parity):
    logits, targets, frames, lengths = problem(7, 3, 4, 3, 2)
    options = {"blank": 2, "reduction": "sum", "zero_infinity": True}
    ours, theirs = nn.CTCLoss(**options), torch.nn.CTCLoss(**options)
    parity.check(
        lambda x: ours(tn.log_softmax(x, 2), targets, frames, lengths),
        lambda x: theirs(torch.log_softmax(x, 2), *map(torch.tensor, (targets, frames, lengths))),
        logits,
        dtype="float64",
    )
