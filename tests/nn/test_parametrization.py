"""Reparametrised weights: values against their definitions, gradients, states, and how they come and go."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn, optim, study
from tinygrad_notes.nn import parametrization as pn

rng = np.random.default_rng(0)
LAYERS = [
    lambda: nn.Linear(3, 4, dtype=tn.float64),
    lambda: nn.Conv2d(2, 4, 3, dtype=tn.float64),
    lambda: nn.ConvTranspose2d(2, 4, 3, dtype=tn.float64),
]
WAYS = [pn.weight_norm, pn.spectral_norm, pn.weight_standardization]


def length(w, axis):
    return np.sqrt((w**2).sum(tuple(i for i in range(w.ndim) if i != axis), keepdims=True))


# ---------------------------------------------------------------------- values


@pytest.mark.parametrize("build", LAYERS)
@pytest.mark.parametrize("axis", [0, 1, -1, None])
def test_weight_norm_changes_nothing_at_first_and_separates_length_and_direction(build, axis):
    layer = build()
    before = layer.weight.data.copy()
    assert pn.weight_norm(layer, axis=axis) is layer
    assert np.allclose(layer.weight.data, before, atol=1e-14)
    g, v = layer.parametrizations.weight.originals()
    assert g.size == (1 if axis is None else before.shape[axis])
    v.data[...] *= 3  # the length of v does not matter
    assert np.allclose(layer.weight.data, before, atol=1e-14)
    g.data[...] *= 2
    assert np.allclose(layer.weight.data, 2 * before, atol=1e-13)
    whole = np.sqrt((before**2).sum()) if axis is None else length(before, axis % before.ndim)
    assert np.allclose(g.data, 2 * whole, atol=1e-13)


@pytest.mark.parametrize("build", LAYERS)
def test_spectral_norm_divides_by_the_largest_singular_value(build):
    layer = build()
    w = layer.weight.data.copy()
    pn.spectral_norm(layer, n_power_iterations=30)
    axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    matrix = np.moveaxis(w, axis, 0).reshape(w.shape[axis], -1)
    assert np.allclose(layer.weight.data, w / np.linalg.svd(matrix)[1][0], rtol=1e-6)


def test_power_iteration_runs_in_training_only():
    layer = pn.spectral_norm(nn.Linear(6, 5))
    one = layer.parametrizations.weight.chain()[0]
    layer.parametrizations.weight.original.data[...] = rng.standard_normal((5, 6))
    u, v, w = one._u.data.copy(), one._v.data.copy(), layer.parametrizations.weight.original.data
    layer.eval()
    sigma = u @ w @ v
    assert np.allclose(layer.weight.data, w / sigma, rtol=1e-5)
    assert np.array_equal(one._u.data, u)
    layer.train()
    value = layer.weight.data
    u = w @ v / np.linalg.norm(w @ v)
    v = w.T @ u / np.linalg.norm(w.T @ u)
    assert np.allclose(one._u.data, u, atol=1e-6)
    assert np.allclose(one._v.data, v, atol=1e-6)
    assert np.allclose(value, w / (u @ w @ v), rtol=1e-5)


def test_two_passes_before_one_backward():
    """As in adversarial training: the second pass moves u and v, which the first one's tape must not see."""
    layer = pn.spectral_norm(nn.Linear(6, 5))
    (layer(tn.ones((1, 6))) - layer(tn.zeros((1, 6)))).sum().backward()
    assert layer.parametrizations.weight.original.grad is not None


def test_spectral_norm_of_a_vector_is_its_direction():
    layer = pn.spectral_norm(nn.Linear(3, 4), "bias")
    original = layer.parametrizations.bias.original.data
    assert np.allclose(layer.bias.data, original / np.linalg.norm(original), atol=1e-6)


@pytest.mark.parametrize("build", LAYERS)
def test_weight_standardization(build):
    layer = build()
    w = layer.weight.data.copy()
    pn.weight_standardization(layer, eps=1e-5)
    axes = tuple(range(1, w.ndim))
    expected = (w - w.mean(axes, keepdims=True)) / np.sqrt(w.var(axes, keepdims=True) + 1e-5)
    assert np.allclose(layer.weight.data, expected, atol=1e-12)


@pytest.mark.parametrize("build", LAYERS[:2])
@pytest.mark.parametrize("way", WAYS)
def test_gradients_against_finite_differences(build, way):
    layer = way(build()).eval()  # u and v stand still
    x = tn.tensor(rng.standard_normal((2, 3) if isinstance(layer, nn.Linear) else (2, 2, 4, 4)))
    names = [name for name, _ in layer.named_parameters()]
    start = [p.data.copy() for p in layer.parameters()]
    direction = [rng.standard_normal(p.shape) for p in start]

    def loss(step):
        for p, s, d in zip(layer.parameters(), start, direction):
            nn.init.copy_(p, s + step * d)
        return (layer(x).sin() * 2.0).sum()

    gradients = tn.grad(loss(0.0), list(layer.parameters()))
    analytic = sum((g.data * d).sum() for g, d in zip(gradients, direction))
    assert loss(1e-5).item() - loss(-1e-5).item() == pytest.approx(2e-5 * analytic, rel=1e-6)
    assert len(names) == 1 + (2 if way is pn.weight_norm else 1)


# ---------------------------------------------------------------------- as part of a network


@pytest.mark.parametrize("way", WAYS)
def test_state_copies_dtype_and_modes(way):
    net = nn.Sequential(way(nn.Linear(3, 4)), nn.ReLU())
    assert "0.weight" not in net.state_dict()
    assert list(net.state_dict())[:2][-1].startswith("0.parametrizations.weight.original")
    x = rng.standard_normal((2, 3)).astype(np.float32)
    y = net.eval()(x).data
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert np.array_equal(twin(x).data, y)
        for parameter in twin.parameters():
            parameter.data[...] += 1
        assert not np.array_equal(twin(x).data, y)
    assert np.array_equal(net(x).data, y)
    other = nn.Sequential(way(nn.Linear(3, 4)), nn.ReLU()).eval()
    other.load_state_dict(net.state_dict())
    assert np.array_equal(other(x).data, y)
    net.to(tn.float64)
    assert net[0].weight.dtype == np.float64
    net.requires_grad_(False)
    assert not net[0].weight.requires_grad
    assert len(list(net.parameters())) == len(list(other.parameters()))
    assert "parametrizations" in repr(net)


@pytest.mark.parametrize("way", WAYS)
def test_training_lowers_a_loss(way):
    layer = way(nn.Linear(3, 2))
    x, t = rng.standard_normal((20, 3)).astype(np.float32), rng.standard_normal((20, 2)).astype(np.float32)
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = tn.mse_loss(layer(x), t)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_setting_the_weight_sets_the_originals():
    layer = pn.weight_norm(nn.Linear(3, 2))
    value = rng.standard_normal((2, 3)).astype(np.float32)
    layer.weight = tn.tensor(value)
    assert np.allclose(layer.weight.data, value, atol=1e-6)
    assert np.allclose(layer.parametrizations.weight.original0.data, length(value, 0), atol=1e-6)
    with pytest.raises(tn.DTypeError, match="a parametrised weight is set to ndarray"):
        layer.weight = value
    with pytest.raises(tn.ShapeError, match="values have shape"):
        layer.weight = tn.ones((3, 3))


def test_one_behind_the_other():
    layer = pn.spectral_norm(pn.weight_norm(nn.Linear(5, 4)), n_power_iterations=50)
    assert np.linalg.svd(layer.weight.data)[1][0] == pytest.approx(1, abs=1e-4)
    assert list(layer.state_dict()) == [
        "bias", "parametrizations.weight.original0", "parametrizations.weight.original1",
        "parametrizations.weight.1._u", "parametrizations.weight.1._v",
    ]  # fmt: skip
    with pytest.raises(
        tn.ShapeError, match=r"Linear.weight is parametrised already, and WeightNorm\(axis=0\) can only"
    ):
        pn.weight_norm(layer)
    layer.weight.sum().backward()
    assert all(p.grad is not None for p in layer.parametrizations.weight.originals())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("frozen", [False, True])
def test_removal_leaves_a_plain_parameter(way, frozen):
    layer = nn.Linear(3, 4)
    layer.weight.requires_grad_(not frozen)
    way(layer).eval()
    assert all(p.requires_grad is not frozen for p in layer.parametrizations.parameters())
    assert len(list(layer.parameters())) == (3 if way is pn.weight_norm else 2)
    value = layer.weight.data.copy()
    assert pn.remove_parametrization(layer) is layer
    assert np.allclose(layer.weight.data, value, atol=1e-6)
    assert layer.weight.is_leaf
    assert layer.weight.requires_grad is not frozen
    assert sorted(layer.state_dict()) == ["bias", "weight"]
    assert not hasattr(layer, "parametrizations")
    plain = nn.Linear(3, 4)
    plain.load_state_dict(layer.state_dict())


def test_removal_can_bring_the_original_back_and_keeps_the_others():
    layer = nn.Linear(3, 4)
    weight, value = layer.weight, layer.weight.data.copy()
    pn.weight_standardization(layer)
    pn.weight_norm(layer, "bias", None)
    pn.remove_parametrization(layer, leave_parametrized=False)
    assert layer.weight is weight  # the Tensor that an optimiser knows
    assert np.array_equal(weight.data, value)
    assert list(layer.parametrizations.keys()) == ["bias"]
    with pytest.raises(tn.ShapeError, match=r"Linear\.bias has 2 originals"):
        pn.remove_parametrization(layer, "bias", leave_parametrized=False)


def test_starting_anew_writes_no_computed_value():
    layer = pn.weight_norm(nn.Linear(3, 2))
    with pytest.raises(tn.GradientError, match="uniform_: tensor was made by multiply, expected a parameter"):
        layer.reset_parameters()


def test_summary_counts_the_originals():
    table = study.summary(nn.Sequential(pn.weight_norm(nn.Linear(3, 2)), nn.ReLU()), (1, 3))
    assert table.parameters == 2 + 2 + 6
    assert table.multiply_adds == 6
    assert table.rows[-1].output_shape == (1, 2)


def test_of_attention_and_recurrent_layers():
    attention = pn.weight_norm(nn.MultiheadAttention(4, 2), "in_proj_weight")
    x = tn.ones((3, 2, 4))
    assert attention(x, x, x)[0].shape == (3, 2, 4)
    recurrent = pn.weight_norm(nn.LSTM(3, 4), "weight_hh_l0")
    recurrent(tn.ones((5, 2, 3)))[0].sum().backward()
    assert recurrent.parametrizations.weight_hh_l0.original0.grad is not None


WRONG = [
    (lambda: pn.weight_norm(nn.ReLU()), tn.DTypeError, "weight_norm: ReLU has no parameter 'weight' of its own"),
    (lambda: pn.weight_norm(3), tn.DTypeError, "weight_norm: module is int, expected a Module"),
    (lambda: pn.weight_norm(nn.Linear(2, 2), axis=2), tn.ShapeError, r"axis is 2, but the weight has shape \(2, 2\)"),
    (lambda: pn.weight_norm(nn.Linear(2, 2, bias=False), "bias"), tn.DTypeError, "Linear has no parameter 'bias'"),
    (lambda: pn.spectral_norm(nn.Linear(2, 2), n_power_iterations=0), tn.ShapeError, "n_power_iterations is 0"),
    (lambda: pn.spectral_norm(nn.Linear(2, 2), eps=-1.0), tn.ShapeError, "spectral_norm: eps is -1.0"),
    (lambda: pn.weight_standardization(nn.Linear(2, 2), "bias"), tn.ShapeError, "expected at least two axes"),
    (lambda: pn.remove_parametrization(nn.Linear(2, 2)), tn.ShapeError, "Linear.weight has no parametrisation"),
    (lambda: pn.register(nn.Linear(2, 2), "weight", nn.ReLU()), tn.DTypeError, "expected a Parametrization"),
    (lambda: nn.Linear(2, 2).wieght, AttributeError, "'Linear' object has no attribute 'wieght'"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[message[:40] for _, _, message in WRONG])
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
