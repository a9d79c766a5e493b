"""Cross-entropy of the reference kernels."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.differences import assert_gradients
from tinygrad_notes.kernels.reference.loss import (
    cross_entropy,
    cross_entropy_grad,
    cross_entropy_probabilities,
    cross_entropy_probabilities_grad,
)

IGNORE = -100


def sample(rows=6, classes=5, seed=0):
    """logits, targets of which one is ignored, class weights of which one is 0, target probabilities, g."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, classes, rows)
    target[rows // 2] = IGNORE
    weight = rng.uniform(0.5, 2, classes)
    weight[0] = 0
    probabilities = rng.dirichlet(np.ones(classes), rows)
    return rng.normal(0, 3, (rows, classes)), target, weight, probabilities, rng.normal(size=rows)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [True, False])
def test_cross_entropy_is_the_formula(smoothing, weighted):
    logits, target, weight, _, _ = sample()
    losses, normalizer, logsumexp = cross_entropy(logits, target, weight if weighted else None, IGNORE, smoothing)
    w = weight if weighted else np.ones(5)
    for n, y in enumerate(target):
        exponentials = np.exp(logits[n])
        log_p = np.log(exponentials / exponentials.sum())
        expected = -(1 - smoothing) * w[y] * log_p[y] - smoothing / 5 * (w * log_p).sum() if y != IGNORE else 0
        np.testing.assert_allclose(losses[n], expected, rtol=1e-12, atol=1e-14)
        assert normalizer[n] == (w[y] if y != IGNORE else 0)
        np.testing.assert_allclose(logsumexp[n], np.log(exponentials.sum()), rtol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [True, False])
def test_gradients(smoothing, weighted):
    logits, target, weights, probabilities, g = sample()
    weight = weights if weighted else None
    _, _, logsumexp = cross_entropy(logits, target, weight, IGNORE, smoothing)
    dlogits = cross_entropy_grad(g, logits, target, weight, IGNORE, smoothing, logsumexp)
    assert_gradients(
        lambda: float(g @ cross_entropy(logits, target, weight, IGNORE, smoothing)[0]), [logits], [dlogits]
    )
    assert not dlogits[target == IGNORE].any()
    gradients = cross_entropy_probabilities_grad(g, logits, probabilities, weight, smoothing, logsumexp)
    assert_gradients(
        lambda: float(g @ cross_entropy_probabilities(logits, probabilities, weight, smoothing)[0]),
        [logits, probabilities],
        gradients,
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4, 1e20, -1e20])
def test_a_common_offset_changes_nothing(offset, dtype):
    logits = np.arange(-4, 4, dtype=dtype).reshape(2, 4)
    moved = logits + dtype(offset)  # at 1e20 all logits become equal
    target = np.array([1, 3])
    losses, _, logsumexp = cross_entropy(moved, target, None, IGNORE, 0.0)
    exponentials = np.exp((moved - moved.max(1, keepdims=True)).astype(np.float64))
    p = exponentials / exponentials.sum(1, keepdims=True)
    np.testing.assert_allclose(losses, -np.log(p[[0, 1], target]), rtol=1e-6)
    dlogits = cross_entropy_grad(np.ones(2, dtype), moved, target, None, IGNORE, 0.0, logsumexp)
    np.testing.assert_allclose(dlogits, p - np.eye(4)[target], rtol=1e-6)
    assert losses.dtype == logsumexp.dtype == dlogits.dtype == dtype


def test_an_impossible_class_adds_nothing_where_it_has_no_weight():
    logits = np.array([[0.0, -np.inf, 1.0], [0.0, -np.inf, 1.0]])
    target = np.array([0, 1])
    losses, _, logsumexp = cross_entropy(logits, target, None, IGNORE, 0.0)
    np.testing.assert_allclose(losses, [np.log(1 + np.e), np.inf])
    dlogits = cross_entropy_grad(np.ones(2), logits, target, None, IGNORE, 0.0, logsumexp)
    p = np.array([1, 0, np.e]) / (1 + np.e)
    np.testing.assert_allclose(dlogits, p - np.eye(3)[target])
    weight = np.array([1.0, 0.0, 2.0])
    smoothed, _, _ = cross_entropy(logits, target, weight, IGNORE, 0.1)
    assert np.isfinite(smoothed).all()
    assert np.isinf(cross_entropy(logits, target, None, IGNORE, 0.1)[0]).all()
    one_hot = np.eye(3)[target]
    losses, logsumexp = cross_entropy_probabilities(logits, one_hot, weight, 0.0)
    np.testing.assert_allclose(losses, [np.log(1 + np.e), 0])
    dlogits, dtarget = cross_entropy_probabilities_grad(np.ones(2), logits, one_hot, weight, 0.0, logsumexp)
    assert np.isfinite(dlogits).all()
    assert np.isfinite(dtarget).all()


def test_other_non_finite_rows_are_nan_and_stay_alone():
    logits = np.array([[-np.inf, -np.inf], [np.inf, 0], [np.nan, 0], [1.0, 2.0]])
    target = np.array([0, 0, 0, 1])
    losses, _, logsumexp = cross_entropy(logits, target, None, IGNORE, 0.0)
    assert np.isnan(losses).tolist() == [True, True, True, False]
    dlogits = cross_entropy_grad(np.ones(4), logits, target, None, IGNORE, 0.0, logsumexp)
    assert np.isnan(dlogits).any(axis=1).tolist() == [True, True, True, False]
    ignored = np.full(4, IGNORE)
    losses, normalizer, _ = cross_entropy(logits, ignored, None, IGNORE, 0.1)
    assert not losses.any()
    assert not normalizer.any()
    assert not cross_entropy_grad(np.ones(4), logits, ignored, None, IGNORE, 0.1, logsumexp).any()


def test_any_class_may_be_the_ignored_one_and_any_integer_dtype_the_target():
    logits = sample()[0]
    for dtype in (np.uint8, np.int32, np.int64):
        target = np.array([0, 1, 2, 3, 4, 1], dtype)
        losses, normalizer, _ = cross_entropy(logits, target, None, 1, 0.1)
        assert (losses == 0).tolist() == (target == 1).tolist()
        assert normalizer.tolist() == [1, 0, 1, 1, 1, 0]
        assert (cross_entropy(logits, target, None, IGNORE, 0.1)[1] == 1).all()


def test_empty_one_element_strides_and_bits():
    empty = np.zeros((0, 3), np.float32)
    losses, normalizer, logsumexp = cross_entropy(empty, np.zeros(0, np.int64), None, IGNORE, 0.1)
    assert losses.shape == normalizer.shape == logsumexp.shape == (0,)
    assert cross_entropy_grad(losses, empty, np.zeros(0, np.int64), None, IGNORE, 0.1, logsumexp).shape == (0, 3)
    no_class = np.zeros((2, 0))
    losses, _, logsumexp = cross_entropy(no_class, np.full(2, IGNORE), None, IGNORE, 0.1)
    assert losses.tolist() == [0, 0]
    assert cross_entropy_grad(losses, no_class, np.full(2, IGNORE), None, IGNORE, 0.1, logsumexp).shape == (2, 0)
    assert cross_entropy(np.ones((1, 1)), np.zeros(1, np.int64), None, IGNORE, 0.0)[0].tolist() == [0]

    logits, target, weight, probabilities, g = sample(12, 10)
    strided = logits[::-2, ::-1]
    before = logits.copy()
    packed = strided.copy()
    arguments = (target[::-2] // 2, weight[::-1], -50, 0.1)
    for a, b, c in zip(*(cross_entropy(x, *arguments) for x in (strided, packed, strided)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)
        np.testing.assert_array_equal(a, c)
    arguments = (probabilities[::-2, ::-1], weight[::-1], 0.1)
    logsumexp = cross_entropy_probabilities(strided, *arguments)[1]
    results = [cross_entropy_probabilities_grad(g[::-2], x, *arguments, logsumexp) for x in (strided, packed)]
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(logits, before)


@pytest.mark.parity
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [True, False])
def test_as_in_torch(smoothing, weighted):
    torch = pytest.importorskip("torch")
    logits, target, weights, probabilities, g = sample(9, 7)
    weight = weights if weighted else None
    tx, tp = torch.tensor(logits, requires_grad=True), torch.tensor(probabilities, requires_grad=True)
    options = {"weight": torch.tensor(weights) if weighted else None, "label_smoothing": smoothing}
    loss = torch.nn.functional.cross_entropy(tx, torch.tensor(target), reduction="none", **options)
    losses, normalizer, logsumexp = cross_entropy(logits, target, weight, IGNORE, smoothing)
    np.testing.assert_allclose(losses, loss.detach().numpy(), atol=1e-13)
    mean = torch.nn.functional.cross_entropy(tx, torch.tensor(target), **options)
    np.testing.assert_allclose(losses.sum() / normalizer.sum(), mean.item(), rtol=1e-12)
    (expected,) = torch.autograd.grad(loss, tx, torch.tensor(g))
    dlogits = cross_entropy_grad(g, logits, target, weight, IGNORE, smoothing, logsumexp)
    np.testing.assert_allclose(dlogits, expected.numpy(), atol=1e-13)

    loss = torch.nn.functional.cross_entropy(tx, tp, reduction="none", **options)
    losses, logsumexp = cross_entropy_probabilities(logits, probabilities, weight, smoothing)
    np.testing.assert_allclose(losses, loss.detach().numpy(), atol=1e-13)
    gradients = cross_entropy_probabilities_grad(g, logits, probabilities, weight, smoothing, logsumexp)
    for mine, theirs in zip(gradients, torch.autograd.grad(loss, (tx, tp), torch.tensor(g)), strict=True):
        np.testing.assert_allclose(mine, theirs.numpy(), atol=1e-13)
