"""Cross-entropy of the CPU's kernels against the reference in float64."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import tinygrad_notes as tn
from tests.kernels.operands import assert_close, layout, normal
from tinygrad_notes.kernels import cpu, reference
from tinygrad_notes.kernels.cpu import loss, moments

IGNORE = -100
RNG = np.random.default_rng(1)
sizes = st.sampled_from([0, 1, 2, 5, 8, 10, 33])


def wide(x):
    return None if x is None else x.astype(np.float64)


def operands(rows, classes, dtype, weighted, draw=None):
    """logits, targets of which some are ignored, class weights of which some are 0, target probabilities, g."""
    target = RNG.integers(0, max(classes, 1), rows)
    target[::4] = IGNORE
    weight = RNG.uniform(0.5, 2, classes).astype(dtype)
    weight[1::3] = 0
    arrays = [3 * normal(rows, classes, dtype=dtype), RNG.dirichlet(np.ones(max(classes, 1)), rows)[:, :classes]]
    logits, probabilities = (layout(x.astype(dtype), draw) if draw else x.astype(dtype) for x in arrays)
    g = normal(rows, dtype=dtype)
    return logits, target, (weight[::-1] if weighted else None), probabilities, g


def everything(kernels, logits, target, weight, probabilities, g, smoothing):
    """All results of the four functions."""
    losses, normalizer, logsumexp = kernels.cross_entropy(logits, target, weight, IGNORE, smoothing)
    dlogits = kernels.cross_entropy_grad(g, logits, target, weight, IGNORE, smoothing, logsumexp)
    soft, logsumexp_again = kernels.cross_entropy_probabilities(logits, probabilities, weight, smoothing)
    both = kernels.cross_entropy_probabilities_grad(g, logits, probabilities, weight, smoothing, logsumexp)
    return losses, normalizer, logsumexp, dlogits, soft, logsumexp_again, *both


@hypothesis.given(sizes, sizes, st.sampled_from([0.0, 0.1, 1.0, 0]), st.booleans(), st.data())
def test_any_shape_stride_weight_and_smoothing(rows, classes, smoothing, weighted, data):
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    logits, target, weight, probabilities, g = operands(rows, classes, dtype, weighted, data.draw)
    target = target.astype(data.draw(st.sampled_from([np.int64, np.int32, np.int8])))
    got = everything(cpu, logits, target, weight, probabilities, g, smoothing)
    exact = everything(reference, wide(logits), target, wide(weight), wide(probabilities), wide(g), smoothing)
    for mine, wanted in zip(got, exact, strict=True):
        if classes:
            assert_close(mine, wanted, logits, 1.0)
        else:
            np.testing.assert_array_equal(mine, wanted)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_more_than_one_piece(dtype):
    logits, target, weight, probabilities, g = operands(3, 2 * moments.PIECE + 7, dtype, True)
    got = everything(cpu, logits, target, weight, probabilities, g, 0.1)
    exact = everything(reference, wide(logits), target, wide(weight), wide(probabilities), wide(g), 0.1)
    for mine, wanted in zip(got, exact, strict=True):
        assert_close(mine, wanted, logits, 1.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [True, False])
def test_values_that_are_not_finite_come_out_as_in_the_reference(dtype, smoothing, weighted):
    logits, target, weight, probabilities, g = operands(12, 9, dtype, weighted)
    target[:] = 4
    logits[1, 3], logits[2, 5], logits[3, 4], logits[4] = np.nan, np.inf, -np.inf, -np.inf
    logits[5, :5], logits[6, 2], logits[7, ::2] = -np.inf, 3e38, -1e38
    logits[9] += dtype(1e20)
    target[10], target[11] = IGNORE, 8
    logits[10], probabilities[3, 4] = np.nan, 0
    g[0], g[11] = np.inf, 0
    with np.errstate(all="ignore"):
        wanted = everything(reference, logits, target, weight, probabilities, g, smoothing)
    for mine, theirs in zip(everything(cpu, logits, target, weight, probabilities, g, smoothing), wanted, strict=True):
        np.testing.assert_array_equal(np.isnan(mine), np.isnan(theirs))
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)


def test_a_class_that_does_not_exist_is_nobodys():
    logits = normal(3, 4)
    target = np.array([-1, 4, 10**12])
    got, wanted = (kernels.cross_entropy(logits, target, None, IGNORE, 0.1) for kernels in (cpu, reference))
    for mine, theirs in zip(got, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5)
    got, wanted = (
        kernels.cross_entropy_grad(logits[:, 0], logits, target, None, IGNORE, 0.1, wanted[2])
        for kernels in (cpu, reference)
    )
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_one_thread_and_two_the_same_bits(monkeypatch):
    arguments = operands(101, 50, np.float32, True)
    found = []
    for threads in (1, 2, 2):
        monkeypatch.setattr(loss, "threads_for", lambda work, least, count=threads: count)
        found.append(everything(cpu, *arguments, 0.1))
    for results in zip(*found, strict=True):
        np.testing.assert_array_equal(results[0], results[1])
        np.testing.assert_array_equal(results[1], results[2])


def test_through_the_op():
    logits, target, _, _, _ = operands(6, 5, np.float32, False)
    losses, normalizer, _ = reference.cross_entropy(logits, target, None, IGNORE, 0.0)
    with tn.use_kernels("cpu"):
        value = tn.cross_entropy(tn.tensor(logits), tn.tensor(target))
    np.testing.assert_allclose(value.data, losses.sum() / normalizer.sum(), rtol=1e-6)
