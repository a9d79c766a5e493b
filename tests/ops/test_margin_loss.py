"""Losses of numbers and losses with a margin beyond their samples: kinks, limits, wrong calls."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn

RNG = np.random.default_rng(5)
X = RNG.standard_normal((4, 3))
SIGNS = np.array([1, -1, -1, 1])


def test_huber_is_smooth_and_between_its_limits():
    x = tn.Tensor(np.array([-3.0, -1.0, 0.0, 1.0, 3.0]), requires_grad=True)
    tn.huber_loss(x, np.zeros(5), "sum").backward()
    np.testing.assert_array_equal(x.grad.data, [-1, -1, 0, 1, 1])
    np.testing.assert_allclose(tn.huber_loss(X, X * 0, delta=1e6).data, tn.mse_loss(X, X * 0).data / 2, rtol=1e-12)
    np.testing.assert_allclose(tn.smooth_l1_loss(X, X * 0, beta=1e-12).data, tn.l1_loss(X, X * 0).data, rtol=1e-11)
    assert tn.smooth_l1_loss(X, X * 0, beta=0).item() == tn.l1_loss(X, X * 0).item()


def test_a_variance_below_eps_still_gets_its_gradient():
    var = tn.tensor([0.0, 1.0], requires_grad=True)
    value = tn.gaussian_nll_loss([3.0, 3.0], [0.0, 0.0], var, eps=0.5, reduction="none")
    np.testing.assert_allclose(value.data, [(np.log(0.5) + 18) / 2, 4.5], rtol=1e-6)
    value.sum().backward()
    np.testing.assert_allclose(var.grad.data, [(2 - 36) / 2, (1 - 9) / 2], rtol=1e-6)


def test_gaussian_loss_is_least_at_the_true_variance():
    residuals = RNG.normal(0, 1.7, 1000)
    losses = [tn.gaussian_nll_loss(residuals, residuals * 0, v).item() for v in np.linspace(1, 6, 51)]
    assert abs(np.linspace(1, 6, 51)[np.argmin(losses)] - residuals.var()) < 0.2


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.float32, np.float64])
def test_targets_of_any_dtype(dtype):
    ones = np.ones(4, dtype)
    for name in ("hinge_loss", "soft_margin_loss", "hinge_embedding_loss"):
        np.testing.assert_array_equal(getattr(tn, name)(X[:, 0], ones).data, getattr(tn, name)(X[:, 0], [1.0] * 4).data)
    ranked = tn.margin_ranking_loss(X[:, 0], X[:, 1], ones)
    np.testing.assert_array_equal(ranked.data, tn.margin_ranking_loss(X[:, 0], X[:, 1], np.ones(4)).data)
    if dtype != np.float64:
        assert tn.soft_margin_loss(X[:, 0].astype(np.float32), ones).dtype == tn.float32


def test_hinge_bounds_the_errors_and_vanishes_beyond_the_margin():
    scores = tn.Tensor(X[:, 0] * 3, requires_grad=True)
    losses = tn.hinge_loss(scores, SIGNS, "none")
    assert (losses.data >= (scores.data * SIGNS <= 0)).all()
    losses.sum().backward()
    np.testing.assert_array_equal(scores.grad.data, np.where(scores.data * SIGNS < 1, -SIGNS, 0))


def test_gradients_at_the_margin():
    """There the side that costs gives its gradient, as in PyTorch; hinge_loss and multi_margin_loss give 0."""

    def gradient(function, *arrays):
        x = tn.tensor(arrays[0], requires_grad=True)
        return tn.grad(function(x, *arrays[1:]), x).data.tolist()

    assert gradient(tn.margin_ranking_loss, [2.0], [2.0], [1]) == [-1]
    assert gradient(tn.hinge_embedding_loss, [1.0], [-1]) == [-1]
    assert gradient(tn.hinge_loss, [1.0], [1]) == [0]
    assert gradient(tn.multi_margin_loss, [[1.0, 0.0]], [0]) == [[0, 0]]


def test_cosine_of_a_vector_of_zeros():
    x = tn.zeros((1, 3), dtype=tn.float64, requires_grad=True)
    value = tn.cosine_embedding_loss(x, X[:1], [1])
    value.backward()
    assert value.item() == 1
    assert np.isfinite(x.grad.data).all()


def test_equal_points_have_finite_gradients():
    x = tn.Tensor(X, requires_grad=True)
    tn.triplet_margin_loss(x, X, X, eps=0.0).backward()
    np.testing.assert_array_equal(x.grad.data, 0)


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (tn.ShapeError, lambda: tn.huber_loss(X, X, delta=0), "huber_loss: delta is 0, expected a number above 0"),
        (tn.ShapeError, lambda: tn.smooth_l1_loss(X, X, beta=-1), "smooth_l1_loss: beta is -1"),
        (tn.ShapeError, lambda: tn.smooth_l1_loss(X, X[0]), r"input has shape \(4, 3\), target \(3,\), expected equal"),
        (tn.DTypeError, lambda: tn.huber_loss([1], [2]), "huber_loss: input is int64 and target int64, expected a fl"),
        (tn.ShapeError, lambda: tn.poisson_nll_loss(X, X[0]), "poisson_nll_loss: input has shape"),
        (tn.ShapeError, lambda: tn.gaussian_nll_loss(X, X, -1.0), "var has -1, expected variances of at least 0"),
        (tn.ShapeError, lambda: tn.gaussian_nll_loss(X, X, np.ones(3)), r"var has shape \(3,\), input \(4, 3\)"),
        (tn.ShapeError, lambda: tn.gaussian_nll_loss(X, X, np.ones((4, 2))), r"var has shape \(4, 2\)"),
        (tn.ShapeError, lambda: tn.hinge_loss(X[0], [0, 1, 1]), "hinge_loss: target has 0, expected 1 or -1"),
        (tn.ShapeError, lambda: tn.soft_margin_loss(X, X), "soft_margin_loss: target has .*expected 1 or -1"),
        (tn.ShapeError, lambda: tn.hinge_embedding_loss(X[:, :1], SIGNS), "hinge_embedding_loss: input has shape"),
        (tn.ShapeError, lambda: tn.margin_ranking_loss(X, X, SIGNS), r"input1 has shape \(4, 3\), target \(4,\)"),
        (tn.ShapeError, lambda: tn.margin_ranking_loss(X, X[0], SIGNS), r"input1 has shape \(4, 3\), input2 \(3,\)"),
        (
            tn.ShapeError,
            lambda: tn.cosine_embedding_loss(X, X, SIGNS[:3]),
            r"target \(3,\), expected \(N, D\) and \(N,",
        ),
        (tn.ShapeError, lambda: tn.triplet_margin_loss(X, X, X[0]), r"anchor has shape \(4, 3\), negative \(3,\)"),
        (
            tn.ShapeError,
            lambda: tn.triplet_margin_loss(X, X, X, reduction="max"),
            "reduction is 'max', expected 'none'",
        ),
        (
            tn.ShapeError,
            lambda: tn.multi_margin_loss(X, [0, 1, 2, 0], p=3),
            "multi_margin_loss: p is 3, expected 1 or 2",
        ),
        (tn.ShapeError, lambda: tn.multi_margin_loss(X[None], [0]), r"expected \(C,\) or \(N, C\)"),
        (
            IndexError,
            lambda: tn.multi_margin_loss(X, [0, 1, 2, 3]),
            r"target has label 3, expected 0 to 2 \(3 classes\)",
        ),
        (IndexError, lambda: tn.multi_margin_loss(X, [0, -1, 2, 1]), "target has label -1, expected 0 to 2"),
        (tn.ShapeError, lambda: tn.multilabel_soft_margin_loss(0.5, 1.0), "input has no axes"),
    ],
)
def test_wrong_calls(error, call, message):
    with pytest.raises(error, match=message):
        call()
