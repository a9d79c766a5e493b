"""The CTC loss of the reference kernels, against the sum over every alignment and central differences."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.differences import assert_gradients
from tinygrad_notes.kernels import cpu, reference
from tinygrad_notes.kernels.reference.ctc import ctc_loss, ctc_loss_grad
from tinygrad_notes.study.samples.ctc import alignments, by_enumeration


def sample(frames=5, batch=4, classes=3, seed=0):
    x = np.random.default_rng(seed).normal(0, 2, (frames, batch, classes))
    return x - np.log(np.exp(x).sum(2, keepdims=True))


# (targets, input lengths, target lengths, blank)
CASES = [
    ([[1, 2], [1, 1], [2, 1], [2, 2]], [5, 5, 4, 3], [2, 2, 2, 2], 0),
    ([[1, 2, 1], [1, 0, 0], [2, 2, 9], [-7, 0, 0]], [5, 1, 5, 2], [3, 1, 2, 0], 0),
    ([[0, 1], [0, 0], [1, 0], [1, 1]], [5, 4, 3, 2], [2, 2, 1, 1], 2),
    ([[], [], [], []], [5, 0, 1, 2], [0, 0, 0, 0], 1),
]


def arrays(case):
    targets, frames, lengths, blank = case
    return np.array(targets, np.int64), np.array(frames), np.array(lengths), blank


def test_the_alignments_of_a_small_target():
    assert alignments([1], 2, 2, 0) == [(0, 1), (1, 0), (1, 1)]
    assert alignments([1, 1], 3, 2, 0) == [(1, 0, 1)]
    assert alignments([1, 1], 2, 2, 0) == []


@pytest.mark.parametrize("case", CASES)
def test_loss_is_the_sum_over_all_alignments(case):
    log_probs, (targets, frames, lengths, blank) = sample(), arrays(case)
    losses, log_alpha = ctc_loss(log_probs, targets, frames, lengths, blank)
    np.testing.assert_allclose(losses, by_enumeration(log_probs, targets, frames, lengths, blank), rtol=1e-12)
    assert log_alpha.shape == (5, 4, 2 * targets.shape[1] + 1)


@pytest.mark.parametrize("case", CASES)
def test_gradient(case):
    log_probs, static = sample(), arrays(case)
    losses, log_alpha = ctc_loss(log_probs, *static)
    g = np.random.default_rng(1).normal(size=4)
    gradient = ctc_loss_grad(g, log_probs, *static, log_alpha)
    possible = np.isfinite(losses)
    assert_gradients(
        lambda: float(np.sum(np.where(possible, g * ctc_loss(log_probs, *static)[0], 0))), [log_probs], [gradient]
    )
    inside = np.arange(5)[:, None] < static[1]
    wanted = np.where(inside & possible, -g, 0)  # in each frame the labels share -g
    np.testing.assert_allclose(gradient.sum(2), wanted, atol=1e-13)


def test_impossible_inputs_have_an_infinite_loss_and_no_gradient():
    log_probs = sample(3)
    targets, frames, lengths = (
        np.array([[1, 1], [1, 2], [1, 2], [1, 0]]),
        np.array([2, 1, 2, 0]),
        np.array([2, 2, 2, 1]),
    )
    losses, log_alpha = ctc_loss(log_probs, targets, frames, lengths, 0)
    assert np.isinf(losses).tolist() == [True, True, False, True]
    gradient = ctc_loss_grad(np.ones(4), log_probs, targets, frames, lengths, 0, log_alpha)
    assert not gradient[:, [0, 1, 3]].any()
    np.testing.assert_allclose(gradient[:2, 2].sum(1), -1)


def test_a_class_of_probability_0():
    log_probs = sample(4, 2)
    log_probs[1, 0, 1] = log_probs[:, 1, 2] = -np.inf  # the first can still take label 1 in another frame
    static = np.array([[1], [2]]), np.array([4, 4]), np.array([1, 1]), 0
    losses, log_alpha = ctc_loss(log_probs, *static)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(losses, by_enumeration(log_probs, *static), rtol=1e-12)
    gradient = ctc_loss_grad(np.ones(2), log_probs, *static, log_alpha)
    assert np.isfinite(gradient).all()
    assert gradient[1, 0, 1] == 0
    assert not gradient[:, 1].any()


def test_nan_stays_in_its_input():
    log_probs, static = sample(), arrays(CASES[0])
    log_probs[0, 2, 0] = np.nan
    losses, log_alpha = ctc_loss(log_probs, *static)
    gradient = ctc_loss_grad(np.ones(4), log_probs, *static, log_alpha)
    assert np.isnan(losses).tolist() == [False, False, True, False]
    assert np.isfinite(np.delete(gradient, 2, 1)).all()


def test_float32_over_many_frames():
    log_probs = sample(400, 3, 12)
    rng = np.random.default_rng(3)
    static = rng.integers(1, 12, (3, 60)), np.array([400, 300, 200]), np.array([60, 20, 45]), 0
    exact, log_alpha = ctc_loss(log_probs, *static)
    exact_gradient = ctc_loss_grad(np.ones(3), log_probs, *static, log_alpha)
    low = log_probs.astype(np.float32)
    losses, log_alpha = ctc_loss(low, *static)
    gradient = ctc_loss_grad(np.ones(3, np.float32), low, *static, log_alpha)
    assert losses.dtype == log_alpha.dtype == gradient.dtype == np.float32
    np.testing.assert_allclose(losses, exact, rtol=1e-6)
    np.testing.assert_allclose(gradient, exact_gradient, atol=1e-5)


def test_strides_emptiness_and_bits():
    log_probs, (targets, frames, lengths, blank) = sample(10, 8), arrays(CASES[0])
    strided = log_probs[::-2, ::2, ::-1]
    before, packed = log_probs.copy(), strided.copy()
    for a, b, c in zip(*(ctc_loss(x, targets, frames, lengths, blank) for x in (strided, packed, strided))):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    np.testing.assert_array_equal(log_probs, before)
    none = np.zeros((0, 2), np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64), 0
    losses, log_alpha = ctc_loss(log_probs[:, :0], *none)
    assert losses.shape == (0,)
    assert ctc_loss_grad(losses, log_probs[:, :0], *none, log_alpha).shape == (10, 0, 3)
    no_frames = targets, frames * 0, lengths, 0
    losses, log_alpha = ctc_loss(log_probs[:0, :4], *no_frames)
    assert np.isinf(losses).all()
    assert ctc_loss_grad(losses, log_probs[:0, :4], *no_frames, log_alpha).shape == (0, 4, 3)


@pytest.mark.parametrize("backend", [reference, cpu])
def test_lengths_of_any_integer_dtype(backend):
    """Twice a length, and one less than none, do not fit into one byte."""
    log_probs, targets = sample(150, 2), np.tile([1, 2], (2, 70))
    frames, lengths = np.array([150, 9]), np.array([140, 0])
    losses, log_alpha = backend.ctc_loss(log_probs, targets, frames, lengths, 0)
    g = np.ones(2)
    gradient = backend.ctc_loss_grad(g, log_probs, targets, frames, lengths, 0, log_alpha)
    small = targets.astype(np.uint8), frames.astype(np.uint8), lengths.astype(np.uint8), 0
    np.testing.assert_array_equal(backend.ctc_loss(log_probs, *small)[0], losses)
    np.testing.assert_array_equal(backend.ctc_loss_grad(g, log_probs, *small, log_alpha), gradient)
