"""The CTC loss beyond its samples: layouts of targets, infinite losses, training, wrong calls."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn

RNG = np.random.default_rng(7)
LOGITS = RNG.standard_normal((6, 3, 4))
TARGETS, FRAMES, LENGTHS = np.array([[1, 2], [3, 3], [2, 9]]), [6, 5, 4], [2, 2, 1]


def log_probabilities(requires_grad=False):
    return tn.log_softmax(tn.Tensor(LOGITS, requires_grad=requires_grad), 2)


def test_layouts_of_targets_agree():
    log_p = log_probabilities()
    wanted = tn.ctc_loss(log_p, TARGETS, FRAMES, LENGTHS, reduction="none").data
    row = tn.ctc_loss(log_p, [1, 2, 3, 3, 2], tn.tensor(FRAMES), np.array(LENGTHS, np.int32), reduction="none")
    np.testing.assert_array_equal(row.data, wanted)
    for n in range(3):
        one = tn.ctc_loss(log_p[:, n], TARGETS[n], FRAMES[n], LENGTHS[n], reduction="none")
        assert one.shape == ()
        np.testing.assert_array_equal(one.data, wanted[n])


def test_all_labellings_together_have_probability_1():
    """Of two frames and two labels: nothing, each label once, each of the pairs that need no blank."""
    log_p = log_probabilities()[:2, :1, :3]
    log_p = tn.log_softmax(log_p, 2)
    labellings = [[], [1], [2], [1, 2], [2, 1]]
    total = sum(np.exp(-tn.ctc_loss(log_p, [a], [2], [len(a)], reduction="sum").item()) for a in labellings)
    assert total == pytest.approx(1, rel=1e-12)


def test_infinite_losses():
    logits = tn.Tensor(LOGITS, requires_grad=True)
    frames = [6, 2, 4]  # the second target needs a blank between its labels
    losses = tn.ctc_loss(tn.log_softmax(logits, 2), TARGETS, frames, LENGTHS, reduction="none")
    assert np.isinf(losses.data).tolist() == [False, True, False]
    for zero_infinity, create_graph in ((False, False), (True, False), (False, True), (True, True)):
        value = tn.ctc_loss(tn.log_softmax(logits, 2), TARGETS, frames, LENGTHS, 0, "sum", zero_infinity)
        assert np.isinf(value.item()) != zero_infinity
        gradient = tn.grad(value, logits, create_graph=create_graph).data
        assert not gradient[:, 1].any()
        assert gradient[:4, 2].all()
    finite = losses.data[[0, 2]] / [2, 1]
    value = tn.ctc_loss(tn.log_softmax(logits, 2), TARGETS, frames, LENGTHS, zero_infinity=True)
    np.testing.assert_allclose(value.data, finite.sum() / 3, rtol=1e-13)


def test_targets_may_change_before_backward():
    logits, targets, lengths = tn.Tensor(LOGITS, requires_grad=True), TARGETS.copy(), np.array(LENGTHS)
    value = tn.ctc_loss(tn.log_softmax(logits, 2), targets, FRAMES, lengths)
    expected = tn.grad(value, logits, retain_graph=True).data
    targets[:], lengths[:] = 1, 0
    np.testing.assert_array_equal(tn.grad(value, logits, retain_graph=True).data, expected)
    np.testing.assert_allclose(tn.grad(value, logits, create_graph=True).data, expected, rtol=1e-11, atol=1e-14)


def test_descent_learns_the_labels():
    logits = tn.zeros((8, 1, 4), requires_grad=True)
    for _ in range(60):
        loss = tn.ctc_loss(tn.log_softmax(logits, 2), [[3, 1, 1]], [8], [3])
        (gradient,) = tn.grad([loss], [logits])
        logits = (logits - 3.0 * gradient).detach().requires_grad_()
    path = logits.data[:, 0].argmax(1)
    merged = [int(k) for k, before in zip(path, [-1, *path]) if k != before]
    assert [k for k in merged if k] == [3, 1, 1]
    assert loss.item() < 0.1


def call(log_p=LOGITS, targets=TARGETS, frames=FRAMES, lengths=LENGTHS, **options):
    return lambda: tn.ctc_loss(log_p, targets, frames, lengths, **options)


@pytest.mark.parametrize(
    ("error", "wrong", "message"),
    [
        (tn.ShapeError, call(LOGITS[0, 0]), r"ctc_loss: log_probs has shape \(4,\), expected \(T, N, C\) or \(T, C\)"),
        (tn.ShapeError, call(reduction="average"), "ctc_loss: reduction is 'average'"),
        (tn.ShapeError, call(targets=TARGETS[:2]), r"targets has shape \(2, 2\), expected \(3, S\)"),
        (tn.ShapeError, call(targets=[1, 2, 3, 3]), r"targets has shape \(4,\), target_lengths add up to 5"),
        (tn.ShapeError, call(frames=[6, 5]), "input_lengths has 2 lengths, expected 3, one for each input"),
        (tn.ShapeError, call(frames=[7, 5, 4]), "input_lengths has 7, expected 0 to 6"),
        (tn.ShapeError, call(lengths=[3, 2, 1]), "target_lengths has 3, expected 0 to 2"),
        (tn.ShapeError, call(lengths=[-1, 2, 1]), "target_lengths has -1, expected 0 to 2"),
        (tn.DTypeError, call(targets=TARGETS * 1.0), "ctc_loss: targets is float64, expected integers"),
        (tn.DTypeError, call(frames=[6.0, 5.0, 4.0]), "input_lengths is float32, expected integers"),
        (IndexError, call(targets=TARGETS + 1), r"ctc_loss: targets has label 4, expected 0 to 3 \(4 classes\)"),
        (IndexError, call(targets=TARGETS - 1), "targets has label 0, expected 0 to 3 .* but the blank, 0"),
        (IndexError, call(blank=4), "blank is 4, expected a class, 0 to 3"),
        (tn.ShapeError, call(blank=-1), "blank is -1, expected at least 0"),
    ],
)
def test_wrong_calls(error, wrong, message):
    with pytest.raises(error, match=message):
        wrong()
