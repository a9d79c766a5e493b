"""Losses beyond their samples: the fast road and the general one, edges, wrong calls."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes.ops import loss

RNG = np.random.default_rng(2)
X, LABELS = RNG.standard_normal((6, 4)), np.array([3, 0, 1, 1, 2, 0])


def node_of(value):
    return value.node.name


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_both_roads_give_the_same(dtype):
    x = tn.Tensor(X.astype(dtype), requires_grad=True)
    fast = tn.cross_entropy(x, LABELS)
    general = tn.cross_entropy(x, LABELS, weight=np.ones(4))
    assert node_of(fast) == "_mean_cross_entropy" != node_of(general)
    np.testing.assert_allclose(fast.data, general.data, rtol=1e-6 if dtype == np.float32 else 1e-14)
    tolerance = {"rtol": 1e-5, "atol": 1e-8} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-15}
    np.testing.assert_allclose(tn.grad(fast, x).data, tn.grad(general, x).data, **tolerance)


def test_large_logits_take_the_kernel():
    x = tn.Tensor(RNG.standard_normal((loss.SMALL // 8 + 1, 8)), requires_grad=True)
    labels = RNG.integers(0, 8, x.shape[0])
    value = tn.cross_entropy(x, labels)
    assert node_of(value) != "_mean_cross_entropy"
    parts = [
        tn.cross_entropy(half, some, reduction="sum")
        for half, some in zip((x[:200], x[200:]), (labels[:200], labels[200:]))
    ]
    np.testing.assert_allclose(value.data, (parts[0] + parts[1]).data / x.shape[0], rtol=1e-12)


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}])
def test_labels_may_change_before_backward(options):
    x, labels = tn.Tensor(X, requires_grad=True), LABELS.copy()
    value = tn.cross_entropy(x, labels, **options)
    expected = tn.grad(value, x, retain_graph=True).data
    labels[:] = 3
    np.testing.assert_array_equal(tn.grad(value, x, retain_graph=True).data, expected)
    np.testing.assert_allclose(tn.grad(value, x, create_graph=True).data, expected, rtol=1e-12)


@pytest.mark.parametrize("function", [tn.cross_entropy, tn.nll_loss])
def test_nothing_to_average_is_nan_without_a_warning(function):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = tn.Tensor(X, requires_grad=True)
        value = function(x, np.full(6, -100))
        value.backward()
        assert np.isnan(value.item())
        assert not x.grad.data.any()
        assert np.isnan(function(X[:0], LABELS[:0]).item())
        assert function(X[:0], LABELS[:0], reduction="sum").item() == 0
        assert function(X[:0], LABELS[:0], reduction="none").shape == (0,)
    assert np.isnan(tn.mse_loss(X[:0], X[:0]).item())


@pytest.mark.parametrize("function", [tn.cross_entropy, tn.nll_loss])
def test_no_classes(function):
    np.testing.assert_array_equal(function(X[:, :0], np.full(6, -100), reduction="none").data, np.zeros(6))
    with pytest.raises(IndexError, match="target has label 3, expected 0 to -1"):
        function(X[:, :0], LABELS)


def test_nan_and_impossible_logits():
    x = X.copy()
    x[1, 2] = np.nan
    assert np.isnan(tn.cross_entropy(x, LABELS).item())
    x[1, 2] = -np.inf
    assert np.isfinite(tn.cross_entropy(x, LABELS).item())
    x[1, 0] = -np.inf
    assert tn.cross_entropy(x, LABELS).item() == np.inf


def test_large_logits_lose_nothing():
    x = np.array([[1e4, 0.0], [-1e30, 1e30]], np.float32)
    np.testing.assert_array_equal(tn.cross_entropy(x, [0, 1], reduction="none").data, 0)
    np.testing.assert_array_equal(tn.cross_entropy(x[:1], [1], reduction="none").data, 1e4)


def test_ignored_rows_get_no_gradient():
    x = tn.Tensor(X, requires_grad=True)
    labels = LABELS.copy()
    labels[2] = 7
    value = tn.cross_entropy(x, labels, ignore_index=7)
    np.testing.assert_allclose(value.data, tn.cross_entropy(np.delete(X, 2, 0), np.delete(LABELS, 2)).data, rtol=1e-13)
    value.backward()
    assert not x.grad.data[2].any()
    assert x.grad.data[[0, 1, 3, 4, 5]].all()


def test_binary_cross_entropy_never_overflows():
    x = np.array([1000.0, -1000.0, 1000.0, -1000.0], np.float32)
    t = np.array([1.0, 0.0, 0.0, 1.0], np.float32)
    leaf = tn.Tensor(x, requires_grad=True)
    value = tn.binary_cross_entropy_with_logits(leaf, t, reduction="none")
    np.testing.assert_array_equal(value.data, [0, 0, 1000, 1000])
    value.sum().backward()
    np.testing.assert_array_equal(leaf.grad.data, [0, 0, 1, -1])


def test_certain_predictions_have_finite_losses_and_gradients():
    x = tn.tensor([0.0, 1.0, 0.0, 1.0], requires_grad=True)
    t = tn.tensor([1.0, 0.0, 0.0, 1.0], requires_grad=True)
    value = tn.binary_cross_entropy(x, t, reduction="none")
    np.testing.assert_array_equal(value.data, [100, 100, 0, 0])
    value.sum().backward()
    np.testing.assert_allclose(x.grad.data, [-1e12, 1e12, 0, 0])
    np.testing.assert_array_equal(t.grad.data, [100, -100, 100, -100])


def test_focal_loss_of_far_logits_has_finite_gradients():
    for gamma in (0.0, 0.5, 1.0, 2.0):
        x = tn.tensor([200.0, -200.0, 200.0, -200.0], requires_grad=True)
        value = tn.sigmoid_focal_loss(x, [1, 1, 0, 0], gamma=gamma)
        np.testing.assert_allclose(value.data, [0, 50, 150, 0], atol=1e-6)
        value.sum().backward()
        np.testing.assert_allclose(x.grad.data, [0, -0.25, 0.75, 0], atol=1e-6)


def test_focal_loss_without_focus_is_weighted_cross_entropy():
    t = (X > 0.3).astype(np.float64)
    plain = tn.binary_cross_entropy_with_logits(X, t, reduction="none").data
    np.testing.assert_allclose(tn.sigmoid_focal_loss(X, t, -1, 0).data, plain, rtol=1e-14)
    np.testing.assert_allclose(tn.sigmoid_focal_loss(X, t, 0.5, 0).data, plain / 2, rtol=1e-14)


def test_kl_div_at_zero():
    x, t = tn.Tensor([[-1.0, -2.0]], requires_grad=True), tn.Tensor([[1.0, 0.0]], requires_grad=True)
    value = tn.kl_div(x, t, reduction="sum")
    value.backward()
    assert value.item() == 1
    np.testing.assert_array_equal(x.grad.data, [[-1, 0]])
    np.testing.assert_array_equal(t.grad.data, [[2, 2]])


def test_integer_logits_are_floats():
    assert tn.cross_entropy([[1, 2], [3, 4]], [0, 1]).dtype == tn.float32
    assert tn.binary_cross_entropy_with_logits([1, -1], [1, 0]).dtype == tn.float32


LABEL = r"target has label {}, expected 0 to 3 \(4 classes\) or ignore_index = -100"
WRONG = [
    (IndexError, lambda f: f(X, LABELS + 1), LABEL.format(4)),
    (IndexError, lambda f: f(X, LABELS - 1), LABEL.format(-1)),
    (IndexError, lambda f: f(X, np.full(6, 255, np.uint8)), LABEL.format(255)),
    (
        IndexError,
        lambda f: f(X, LABELS, ignore_index=0, weight=np.ones(4)) and f(X, LABELS + 1, ignore_index=0),
        "label 4",
    ),
    (tn.DTypeError, lambda f: f(X, LABELS.astype(np.float32)), "target is float32, expected integer labels"),
    (tn.DTypeError, lambda f: f(X, LABELS > 1), "target is bool, expected integer labels"),
    (
        tn.ShapeError,
        lambda f: f(X, LABELS[:5]),
        r"input has shape \(6, 4\), target \(5,\), expected labels of shape \(6,\)",
    ),
    (tn.ShapeError, lambda f: f(X, LABELS[:, None]), r"target \(6, 1\), expected labels of shape \(6,\)"),
    (tn.ShapeError, lambda f: f(X[0], LABELS[:1]), r"target \(1,\), expected labels of shape \(\)"),
    (tn.ShapeError, lambda f: f(X[:, :, None], LABELS), r"expected labels of shape \(6, 1\)"),
    (tn.ShapeError, lambda f: f(np.float64(1), 0), "input has no axes"),
    (tn.ShapeError, lambda f: f(X, LABELS, weight=np.ones(6)), r"weight has shape \(6,\), expected \(4,\)"),
    (
        tn.ShapeError,
        lambda f: f(X, LABELS, reduction="average"),
        "reduction is 'average', expected 'none', 'mean' or 'sum'",
    ),
    (tn.GradientError, lambda f: f(X, LABELS, weight=tn.ones(4, requires_grad=True)), "weight requires a gradient"),
]


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
@pytest.mark.parametrize(("error", "call", "message"), WRONG, ids=[message for _, _, message in WRONG])
def test_wrong_labels(name, error, call, message):
    with pytest.raises(error, match=f"{name}: .*{message}"):
        call(getattr(tn, name))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tn.cross_entropy(X, LABELS, label_smoothing=1.5), "cross_entropy: label_smoothing is 1.5"),
        (lambda: tn.cross_entropy(X, X[:, :3]), r"cross_entropy: input has shape \(6, 4\), target \(6, 3\)"),
        (lambda: tn.cross_entropy(X, X, ignore_index=2), "ignore_index is 2, but target is probabilities"),
        (
            lambda: tn.mse_loss(X[:, :1], X[:, 0]),
            r"mse_loss: input has shape \(6, 1\), target \(6,\), expected equal shapes",
        ),
        (lambda: tn.l1_loss(X, 0.5), "l1_loss: input has shape"),
        (lambda: tn.mse_loss(X, X, reduction=None), "mse_loss: reduction is None"),
        (lambda: tn.kl_div(X, X[0]), "kl_div: input has shape"),
        (
            lambda: tn.kl_div(X, X, reduction="max"),
            "kl_div: reduction is 'max', expected 'none', 'mean', 'batchmean' or 'sum'",
        ),
        (
            lambda: tn.kl_div(X[0, 0], X[0, 0], "batchmean", True),
            "kl_div: reduction is 'batchmean', but input has no axes",
        ),
        (
            lambda: tn.binary_cross_entropy([1.5], [1.0]),
            "binary_cross_entropy: input has 1.5, expected a number from 0",
        ),
        (lambda: tn.binary_cross_entropy([np.nan], [1.0]), "input has nan, expected a number from 0 to 1"),
        (lambda: tn.binary_cross_entropy([0.5], [2.0]), "target has 2, expected a number from 0 to 1"),
        (lambda: tn.binary_cross_entropy([0.5], [1.0], np.ones(3)), r"weight has shape \(3,\), which does not"),
        (lambda: tn.sigmoid_focal_loss(X, X[0]), "sigmoid_focal_loss: input has shape"),
        (lambda: tn.sigmoid_focal_loss([0.5], [1.0], gamma=-1), "gamma is -1, expected a finite number of at least 0"),
        (lambda: tn.binary_cross_entropy_with_logits(X, X[0]), "binary_cross_entropy_with_logits: input has shape"),
        (
            lambda: tn.binary_cross_entropy_with_logits(X, X, weight=np.ones(3)),
            r"weight has shape \(3,\), which does not",
        ),
        (lambda: tn.binary_cross_entropy_with_logits(X, X, pos_weight=np.ones((2, 6, 4))), "pos_weight has shape"),
    ],
)
def test_wrong_calls(call, message):
    with pytest.raises(tn.ShapeError, match=message):
        call()


def test_integers_have_no_distance():
    with pytest.raises(tn.DTypeError, match="mse_loss: input is uint8 and target uint8, expected a floating dtype"):
        tn.mse_loss(np.ones(2, np.uint8), np.zeros(2, np.uint8))
