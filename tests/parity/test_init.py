"""Initialisers against PyTorch's: the same distributions, bounds, gains and patterns, and the layers' own defaults."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.nn import init

torch = pytest.importorskip("torch")
stats = pytest.importorskip("scipy.stats")

SHAPES = {"linear": (120, 90), "conv": (40, 24, 3, 3), "conv1d": (60, 30, 5), "conv3d": (16, 12, 2, 3, 2)}


@pytest.fixture(autouse=True)
def seeds():
    tn.manual_seed(5)
    torch.manual_seed(5)


def check_same(ours, theirs, bounded=False):
    """Mean and deviation within five standard errors, the ends of what is bounded, and the whole distribution."""
    a, b = np.asarray(ours, np.float64).ravel(), np.asarray(theirs, np.float64).ravel()
    spread = b.std()
    assert abs(a.mean() - b.mean()) < 5 * spread * np.sqrt(2 / a.size)
    assert abs(a.std() - spread) < 5 * spread / np.sqrt(a.size)
    if bounded:
        for end in (np.min, np.max):
            assert abs(end(a) - end(b)) < 100 * spread / a.size
    assert stats.ks_2samp(a, b).pvalue > 1e-4


FILLS = {
    "uniform_": [{"a": -2.0, "b": 4.0}],
    "normal_": [{"mean": 1.0, "std": 3.0}],
    "trunc_normal_": [{"std": 0.02}, {"mean": 0.5, "std": 1.0, "a": -1.0, "b": 1.0}, {"a": 1.5, "b": 2.5}],
    "xavier_uniform_": [{}, {"gain": 1.7}],
    "xavier_normal_": [{}, {"gain": 0.3}],
    "kaiming_uniform_": [{}, {"a": 5**0.5}, {"mode": "fan_out", "nonlinearity": "relu"}, {"nonlinearity": "tanh"}],
    "kaiming_normal_": [{}, {"a": 0.2}, {"mode": "fan_out", "nonlinearity": "relu"}, {"nonlinearity": "selu"}],
}


@pytest.mark.parametrize("kind", list(SHAPES))
@pytest.mark.parametrize(
    ("name", "options"), [(n, o) for n, many in FILLS.items() for o in many],
    ids=[f"{n}{i}" for n, many in FILLS.items() for i in range(len(many))],
)  # fmt: skip
def test_statistics(name, options, kind):
    ours = getattr(init, name)(tn.zeros(SHAPES[kind]), **options).data
    theirs = getattr(torch.nn.init, name)(torch.zeros(SHAPES[kind]), **options).numpy()
    cut = name == "trunc_normal_" and options.get("std", 1.0) >= 1.0
    check_same(ours, theirs, bounded="uniform" in name or cut)


def test_a_wrong_spread_is_noticed():
    shape = SHAPES["linear"]
    ours = init.xavier_uniform_(tn.zeros(shape), gain=1.1).data
    theirs = torch.nn.init.xavier_uniform_(torch.zeros(shape)).numpy()
    with pytest.raises(AssertionError):
        check_same(ours, theirs)


@pytest.mark.parametrize("gain", [1.0, 2.5])
@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (8, 3, 2, 2), (40, 40)])
def test_orthogonal(parity, shape, gain):
    """Rows or columns of both are orthonormal, and their elements are distributed alike."""
    ours = init.orthogonal_(tn.zeros(shape), gain).data.reshape(shape[0], -1)
    theirs = torch.nn.init.orthogonal_(torch.zeros(shape), gain).numpy().reshape(shape[0], -1)
    for a in (ours, theirs):
        product = a @ a.T if a.shape[0] <= a.shape[1] else a.T @ a
        np.testing.assert_allclose(product, gain**2 * np.eye(len(product)), atol=1e-5 * gain**2)
    parity.compare(np.linalg.svd(ours)[1], np.linalg.svd(theirs)[1])
    assert stats.ks_2samp(ours.ravel(), theirs.ravel()).pvalue > 1e-4


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4), (0, 2)])
def test_eye(parity, shape):
    parity.compare(init.eye_(tn.ones(shape)), torch.nn.init.eye_(torch.ones(shape)))


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("shape", [(6, 2, 3), (6, 4, 3, 5), (12, 2, 2, 4), (6, 3, 1, 2, 3), (6, 8, 3)])
def test_dirac(parity, shape, groups):
    parity.compare(init.dirac_(tn.ones(shape), groups), torch.nn.init.dirac_(torch.ones(shape), groups))


@pytest.mark.parametrize("sparsity", [0.0, 0.15, 0.9])
def test_sparse(sparsity):
    ours = init.sparse_(tn.ones((101, 40)), sparsity, 0.5).data
    theirs = torch.nn.init.sparse_(torch.ones(101, 40), sparsity, 0.5).numpy()
    zeros = [(a == 0).sum(0) for a in (ours, theirs)]
    np.testing.assert_array_equal(*zeros)
    check_same(ours[ours != 0], theirs[theirs != 0])
    rows = (ours == 0).mean(1)  # which rows are hit is left to chance
    assert rows.std() < 5 * np.sqrt(sparsity * (1 - sparsity) / 40) or sparsity == 0


def test_constants(parity):
    for name, options in (("constant_", (0.3,)), ("zeros_", ()), ("ones_", ())):
        ours, theirs = getattr(init, name), getattr(torch.nn.init, name)
        parity.compare(ours(tn.full((2, 3), 7.0), *options), theirs(torch.full((2, 3), 7.0), *options))


@pytest.mark.parametrize(
    ("nonlinearity", "parameter"),
    [(n, None) for n in ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
                         "conv_transpose3d", "sigmoid", "tanh", "relu", "leaky_relu", "selu")]
    + [("leaky_relu", 0.2), ("leaky_relu", 0), ("leaky_relu", 1)],
)  # fmt: skip
def test_gains(parity, nonlinearity, parameter):
    gains = [np.array([f(nonlinearity, parameter)], np.float64) for f in (
        init.calculate_gain, torch.nn.init.calculate_gain)]  # fmt: skip
    parity.compare(*gains)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("Linear", (90, 120)), ("Conv2d", (24, 40, 3)), ("ConvTranspose2d", (24, 40, 3)), ("Embedding", (300, 40)),
     ("RNN", (30, 40)), ("LSTM", (30, 40)), ("GRU", (30, 40))],
)  # fmt: skip
def test_defaults_of_layers(name, arguments):
    ours, theirs = getattr(nn, name)(*arguments), getattr(torch.nn, name)(*arguments)
    found = dict(theirs.named_parameters())
    parameters = dict(ours.named_parameters())
    assert list(found) == list(parameters)
    for key, parameter in parameters.items():
        assert parameter.shape == tuple(found[key].shape)
        if parameter.size >= 1000:
            check_same(parameter.data, found[key].detach().numpy(), bounded=name != "Embedding")
        else:
            assert np.abs(parameter.data).max() <= 1.3 * np.abs(found[key].detach().numpy()).max()
