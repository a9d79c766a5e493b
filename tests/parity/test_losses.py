"""Losses against PyTorch: values and gradients, every reduction, weights, ignored labels, smoothing."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn

torch = pytest.importorskip("torch")
F = torch.nn.functional

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
REDUCTIONS = pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
SHAPES = [(4,), (5, 4), (1, 1), (3, 4, 2), (2, 3, 2, 4), (80, 90)]


def logits_and_labels(shape, ignored=None):
    rng = np.random.default_rng(sum(shape))
    classes = shape[0] if len(shape) == 1 else shape[1]
    batch = () if len(shape) == 1 else (shape[0], *shape[2:])
    labels = np.asarray(rng.integers(0, classes, batch))
    if ignored is not None and labels.ndim:
        labels[..., 0] = ignored
    return rng.standard_normal(shape) * 3, labels, rng.uniform(0.5, 2, classes)


def check_with_weight(parity, name, weight, options, logits, target, dtype):
    """The loss of both sides with one weight per class, or none."""

    def of(function, make):
        w = None if weight is None else make(weight.astype(dtype))
        return lambda x, t: function(x, t, weight=w, **options)

    parity.check(of(getattr(tn, name), tn.tensor), of(getattr(F, name), torch.tensor), logits, target, dtype=dtype)


@DTYPES
@REDUCTIONS
@pytest.mark.parametrize("name", ["mse_loss", "l1_loss"])
@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 3, 2)])
def test_differences(parity, dtype, reduction, name, shape):
    rng = np.random.default_rng(0)
    arrays = rng.standard_normal(shape), rng.standard_normal(shape)
    options = {"reduction": reduction}
    ours, theirs = getattr(tn, name), getattr(F, name)
    parity.check(lambda a, b: ours(a, b, **options), lambda a, b: theirs(a, b, **options), *arrays, dtype=dtype)


@DTYPES
@REDUCTIONS
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("ignored", [None, -100, 0])
def test_cross_entropy(parity, dtype, reduction, shape, weighted, smoothing, ignored):
    logits, labels, weight = logits_and_labels(shape, ignored)
    options = {
        "reduction": reduction,
        "label_smoothing": smoothing,
        "ignore_index": -100 if ignored is None else ignored,
    }

    check_with_weight(parity, "cross_entropy", weight if weighted else None, options, logits, labels, dtype)


@DTYPES
@REDUCTIONS
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_of_probabilities(parity, dtype, reduction, shape, weighted, smoothing):
    logits, _, weight = logits_and_labels(shape)
    targets = np.exp(logits[::-1] / 3)
    targets /= targets.sum(0 if len(shape) == 1 else 1, keepdims=True)
    options = {"reduction": reduction, "label_smoothing": smoothing}

    check_with_weight(parity, "cross_entropy", weight if weighted else None, options, logits, targets, dtype)


@DTYPES
@REDUCTIONS
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignored", [None, -100, 0])
def test_nll_loss(parity, dtype, reduction, shape, weighted, ignored):
    logits, labels, weight = logits_and_labels(shape, ignored)
    options = {"reduction": reduction, "ignore_index": -100 if ignored is None else ignored}

    check_with_weight(parity, "nll_loss", weight if weighted else None, options, logits, labels, dtype)


@DTYPES
@REDUCTIONS
@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 3, 4)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("positive", [False, True])
def test_binary_cross_entropy_with_logits(parity, dtype, reduction, shape, weighted, positive):
    rng = np.random.default_rng(1)
    x, t = rng.standard_normal(shape) * 5, rng.uniform(size=shape)
    w, p = rng.uniform(0.5, 2, shape[-1:]), rng.uniform(0.5, 2, shape[-1:])

    def with_weights(function, make):
        options = {
            "weight": make(w.astype(dtype)) if weighted else None,
            "pos_weight": make(p.astype(dtype)) if positive else None,
        }
        return lambda x, t: function(x, t, reduction=reduction, **options)

    name = "binary_cross_entropy_with_logits"
    parity.check(
        with_weights(getattr(tn, name), tn.tensor), with_weights(getattr(F, name), torch.tensor), x, t, dtype=dtype
    )


@DTYPES
@REDUCTIONS
@pytest.mark.parametrize("shape", [(), (5,), (3, 4)])
@pytest.mark.parametrize("weighted", [False, True])
def test_binary_cross_entropy(parity, dtype, reduction, shape, weighted):
    rng = np.random.default_rng(1)
    arrays = rng.uniform(0.01, 0.99, shape), rng.uniform(size=shape)
    w = rng.uniform(0.5, 2, shape[-1:]) if weighted else None

    def of(function, make):
        weight = None if w is None else make(w.astype(dtype))
        return lambda x, t: function(x, t, weight, reduction=reduction)

    name = "binary_cross_entropy"
    parity.check(of(getattr(tn, name), tn.tensor), of(getattr(F, name), torch.tensor), *arrays, dtype=dtype)


@DTYPES
def test_binary_cross_entropy_of_certain_predictions(parity, dtype):
    """Gradients of the input only: the target's are infinite in PyTorch, ±100 here. Its 1e-12 is a float32."""
    x, t = np.array([0.0, 0.0, 1.0, 1.0, 1e-30, 0.5]), np.array([0, 1, 0, 1, 1, 0])
    parity.check(
        lambda x: tn.binary_cross_entropy(x, t, reduction="none"),
        lambda x: F.binary_cross_entropy(x, torch.tensor(t.astype(dtype)), reduction="none"),
        x,
        dtype=dtype,
        tolerance=1e-8 if dtype == "float64" else None,
    )


def focal_loss(x, t, alpha, gamma, reduction):
    """The formula of Lin et al. 2017 in PyTorch, which has no such function itself."""
    p = torch.sigmoid(x)
    p = p * t + (1 - p) * (1 - t)
    losses = F.binary_cross_entropy_with_logits(x, t, reduction="none") * (1 - p) ** gamma
    losses = losses * (alpha * t + (1 - alpha) * (1 - t)) if alpha >= 0 else losses
    return losses if reduction == "none" else getattr(losses, reduction)()


@DTYPES
@REDUCTIONS
@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (-1, 1.0), (0.9, 0.5), (0.5, 5)])
def test_focal_loss(parity, dtype, reduction, alpha, gamma):
    rng = np.random.default_rng(2)
    parity.check(
        lambda x, t: tn.sigmoid_focal_loss(x, t, alpha, gamma, reduction),
        lambda x, t: focal_loss(x, t, alpha, gamma, reduction),
        *(rng.standard_normal((3, 4)) * 2, rng.uniform(size=(3, 4))),
        dtype=dtype,
    )


@DTYPES
@REDUCTIONS
@pytest.mark.parametrize("name", ["huber_loss", "smooth_l1_loss"])
@pytest.mark.parametrize("limit", [1.0, 0.3])
@pytest.mark.parametrize("shape", [(), (5,), (3, 4)])
def test_robust_losses(parity, dtype, reduction, name, limit, shape):
    rng = np.random.default_rng(3)
    arrays = rng.standard_normal(shape), rng.standard_normal(shape)
    options = {"reduction": reduction, "delta" if name == "huber_loss" else "beta": limit}
    ours, theirs = getattr(tn, name), getattr(F, name)
    parity.check(lambda a, b: ours(a, b, **options), lambda a, b: theirs(a, b, **options), *arrays, dtype=dtype)


@DTYPES
@pytest.mark.parametrize("name", ["huber_loss", "smooth_l1_loss"])
def test_robust_losses_where_they_bend(parity, dtype, name):
    a = np.array([-2.0, -1.0, -0.5, 0.0, 1.0, 3.0])
    ours, theirs = getattr(tn, name), getattr(F, name)
    parity.check(lambda a: ours(a, a * 0), lambda a: theirs(a, a.detach() * 0), a, dtype=dtype)


@DTYPES
@REDUCTIONS
@pytest.mark.parametrize("log_input", [True, False])
@pytest.mark.parametrize("full", [True, False])
def test_poisson_nll_loss(parity, dtype, reduction, log_input, full):
    rng = np.random.default_rng(4)
    options = {"reduction": reduction, "log_input": log_input, "full": full, "eps": 1e-4}
    parity.check(
        lambda x, t: tn.poisson_nll_loss(x, t, **options),
        lambda x, t: F.poisson_nll_loss(x, t, **options),
        *(rng.uniform(0.5, 2, (3, 4)), rng.uniform(0, 5, (3, 4))),
        dtype=dtype,
    )


@DTYPES
@REDUCTIONS
@pytest.mark.parametrize("variances", [(3, 4), (3,), (3, 1), (1, 4)])
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("eps", [1e-6, 1.0])
def test_gaussian_nll_loss(parity, dtype, reduction, variances, full, eps):
    rng = np.random.default_rng(5)
    parity.check(
        lambda x, t, v: tn.gaussian_nll_loss(x, t, v, full, eps, reduction),
        lambda x, t, v: F.gaussian_nll_loss(x, t, v, full, eps, reduction),
        *(rng.standard_normal((3, 4)), rng.standard_normal((3, 4)), rng.uniform(0.5, 2, variances)),
        dtype=dtype,
    )


@DTYPES
@pytest.mark.parametrize("reduction", ["none", "mean", "sum", "batchmean"])
@pytest.mark.parametrize("log_target", [False, True])
@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4)])
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
def test_kl_div(parity, dtype, reduction, log_target, shape):
    rng = np.random.default_rng(2)
    x, t = np.log(rng.uniform(0.1, 1, shape)), rng.uniform(0.1, 1, shape)
    options = {"reduction": reduction, "log_target": log_target}
    arrays = x, np.log(t) if log_target else t
    parity.check(lambda x, t: tn.kl_div(x, t, **options), lambda x, t: F.kl_div(x, t, **options), *arrays, dtype=dtype)


@DTYPES
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("case", ["empty", "all ignored", "NaN", "impossible"])
def test_edges(parity, dtype, reduction, case):
    logits, labels, _ = logits_and_labels((5, 4))
    if case == "empty":
        logits, labels = logits[:0], labels[:0]
    elif case == "all ignored":
        labels[:] = -100
    elif case == "NaN":
        logits[2, 1] = np.nan
    else:
        logits[1, labels[1]] = -np.inf
    ours = tn.cross_entropy(tn.tensor(logits.astype(dtype)), tn.tensor(labels), reduction=reduction)
    theirs = F.cross_entropy(torch.tensor(logits.astype(dtype)), torch.tensor(labels), reduction=reduction)
    parity.compare(ours, theirs)
