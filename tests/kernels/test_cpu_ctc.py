"""Connectionist temporal classification of the CPU's kernels against the reference."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tests.kernels import test_ctc
from tinygrad_notes.kernels import cpu, reference
from tinygrad_notes.kernels.cpu import ctc

RNG = np.random.default_rng(0)


@pytest.fixture
def every_size(monkeypatch):
    """Any work is worth a thread."""
    monkeypatch.setattr(ctc, "PER_THREAD", 1)


def sample(frames, batch, classes, longest, dtype=np.float64):
    scores = 3 * RNG.standard_normal((frames, batch, classes))
    log_probs = (scores - np.log(np.exp(scores).sum(2, keepdims=True))).astype(dtype)
    lengths = RNG.integers(0, longest + 1, batch)
    targets = RNG.integers(1, max(classes, 2), (batch, longest))
    targets[np.arange(longest) >= lengths[:, None]] = -1  # never used
    return log_probs, (targets, RNG.integers(0, frames + 1, batch), lengths, 0)


def assert_as_the_reference(log_probs, static):
    tolerance = 2e-6 if log_probs.dtype == np.float32 else 1e-12
    losses, log_alpha = cpu.ctc_loss(log_probs, *static)
    wanted, wanted_alpha = reference.ctc_loss(log_probs, *static)
    assert losses.dtype == log_alpha.dtype == log_probs.dtype
    np.testing.assert_allclose(losses, wanted, rtol=tolerance, atol=tolerance)
    inside = np.arange(len(log_probs))[:, None] < static[1]
    np.testing.assert_allclose(log_alpha[inside], wanted_alpha[inside], rtol=tolerance, atol=tolerance)
    g = RNG.standard_normal(len(losses)).astype(log_probs.dtype)
    gradient = cpu.ctc_loss_grad(g, log_probs, *static, wanted_alpha)
    assert gradient.dtype == log_probs.dtype
    expected = reference.ctc_loss_grad(g, log_probs, *static, wanted_alpha)
    np.testing.assert_allclose(gradient, expected, rtol=10 * tolerance, atol=tolerance)


@hypothesis.given(
    st.sampled_from([0, 1, 2, 9, 30]),
    st.sampled_from([0, 1, 2, 5]),
    st.sampled_from([2, 3, 28]),
    st.sampled_from([0, 1, 2, 6]),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from(["plain", "reversed", "nan", "-inf", "far"]),
)
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], max_examples=60)
def test_against_the_reference(every_size, frames, batch, classes, longest, dtype, kind):
    log_probs, static = sample(frames, batch, classes, longest, dtype)
    if kind == "reversed":
        log_probs = log_probs[::-1, :, ::-1]
    elif kind == "-inf":
        log_probs[RNG.random(log_probs.shape) < 0.2] = -np.inf
    elif kind == "far":  # what is unlikely by far is still the only way
        log_probs *= 400
    elif kind == "nan" and log_probs.size:
        log_probs[:, 0] = np.nan
        losses, log_alpha = cpu.ctc_loss(log_probs, *static)
        gradient = cpu.ctc_loss_grad(np.ones_like(losses), log_probs, *static, log_alpha)
        np.testing.assert_array_equal(np.isnan(losses), np.isnan(reference.ctc_loss(log_probs, *static)[0]))
        assert np.isfinite(gradient[:, 1:]).all()
        assert np.isnan(gradient[: static[1][0], 0]).all()
        return
    assert_as_the_reference(log_probs, static)


def test_threads_give_the_same_bits(every_size, monkeypatch):
    log_probs, static = sample(40, 7, 12, 9, np.float32)

    def results():
        losses, log_alpha = cpu.ctc_loss(log_probs, *static)
        return losses, log_alpha, cpu.ctc_loss_grad(np.ones_like(losses), log_probs, *static, log_alpha)

    many = results()
    for threads in (2, 1, 3):
        monkeypatch.setattr(ctc, "threads_for", lambda work, least, threads=threads: threads)
        for one, other in zip(many, results(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_another_blank_and_other_integers(every_size):
    log_probs, (targets, frames, lengths, _) = sample(12, 4, 6, 4)
    targets = np.where(targets > 0, targets - 1, 0)
    assert_as_the_reference(log_probs, (targets.astype(np.int32), frames.astype(np.uint8), lengths.astype(np.int16), 5))


def test_inputs_stay_as_they_were():
    log_probs, static = sample(9, 3, 5, 3)
    before, targets = log_probs.copy(), static[0].copy()
    losses, log_alpha = cpu.ctc_loss(log_probs, *static)
    kept = log_alpha.copy()
    cpu.ctc_loss_grad(np.ones_like(losses), log_probs, *static, log_alpha)
    np.testing.assert_array_equal(log_probs, before)
    np.testing.assert_array_equal(static[0], targets)
    np.testing.assert_array_equal(log_alpha, kept)


@pytest.fixture
def chosen(monkeypatch):
    monkeypatch.setattr(test_ctc, "ctc_loss", cpu.ctc_loss)
    monkeypatch.setattr(test_ctc, "ctc_loss_grad", cpu.ctc_loss_grad)


@pytest.mark.usefixtures("chosen", "every_size")
class TestAsTheReference:
    """The reference's own tests, on these kernels."""


for _name, _test in vars(test_ctc).items():
    if _name.startswith("test_"):
        setattr(TestAsTheReference, _name, staticmethod(_test))
