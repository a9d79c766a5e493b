"""Optimisers: closed forms, groups, state dicts, other arrays, wrong arguments."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn, optim


def parameter(*values, dtype=np.float64):
    return nn.Parameter(np.array(values, dtype))


def with_grad(p, *values):
    p.grad = tn.tensor(np.array(values, p.dtype))
    return p


BUILDERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: optim.Adam(p, lr=0.1, betas=(0.8, 0.9)),
    "adamw": lambda p: optim.AdamW(p, lr=0.1),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.01),
    "rmsprop, centred": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True, eps=1e-2),
    "adagrad": lambda p: optim.Adagrad(p, lr=0.1, lr_decay=0.1, initial_accumulator_value=0.1, weight_decay=0.01),
    "adadelta": lambda p: optim.Adadelta(p),
    "adamax": lambda p: optim.Adamax(p, lr=0.1),
    "nadam": lambda p: optim.NAdam(p, lr=0.01, weight_decay=0.1, decoupled_weight_decay=True),
    "radam": lambda p: optim.RAdam(p, lr=0.01, betas=(0.9, 0.8)),
    "lars": lambda p: optim.LARS(p, trust_coefficient=0.01, weight_decay=0.1),
    "lamb": lambda p: optim.LAMB(p, lr=0.1),
}


# ---------------------------------------------------------------------- closed forms


def test_sgd_on_a_quadratic_shrinks_by_a_constant_factor():
    x = parameter(2.0, -3.0)
    optimizer = optim.SGD([x], lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        (x * x).sum().backward()
        optimizer.step()
    assert np.allclose(x.data, np.array([2.0, -3.0]) * 0.8**20, rtol=1e-12)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_on_a_quadratic_follows_its_linear_recurrence(nesterov):
    """For f = a x²/2, each step multiplies (x, v) by a fixed matrix; from v = 0 the first gives v = d."""
    a, lr, mu = 3.0, 0.05, 0.9
    x = parameter(1.0)
    optimizer = optim.SGD([x], lr=lr, momentum=mu, nesterov=nesterov)
    look = (1 + mu, mu * mu) if nesterov else (1.0, mu)  # d + μ v', or v', as g and v parts
    step = np.array([[1 - lr * look[0] * a, -lr * look[1]], [a, mu]])
    for _ in range(30):
        x.grad = None
        (x * x * (a / 2)).sum().backward()
        optimizer.step()
    assert np.allclose(x.data, (np.linalg.matrix_power(step, 30) @ [1.0, 0.0])[0], rtol=1e-10)


def test_dampening_weight_decay_and_maximize():
    x = with_grad(parameter(1.0), 2.0)
    optimizer = optim.SGD([x], lr=0.1, momentum=0.5, dampening=0.25, weight_decay=0.1)
    optimizer.step()
    assert np.allclose(x.data, 1 - 0.1 * 2.1)
    second = 0.5 * 2.1 + 0.75 * (2 + 0.1 * x.item())
    before = x.item()
    optimizer.step()
    assert np.allclose(x.data, before - 0.1 * second)
    up = with_grad(parameter(1.0), 2.0)
    optim.SGD([up], lr=0.1, maximize=True).step()
    assert np.allclose(up.data, 1.2)


def test_adams_first_step_is_lr_times_the_sign():
    x = with_grad(parameter(1.0, 1.0, 1.0, 1.0), 3.0, -1e-3, 50.0, 0.0)
    optim.Adam([x], lr=0.01, eps=0.0001e-8).step()
    assert np.allclose(x.data, 1 - 0.01 * np.array([1, -1, 1, 0]), rtol=1e-9)


def test_adam_with_a_constant_gradient_goes_straight():
    x = parameter(1.0)
    optimizer = optim.Adam([x], lr=0.01, eps=0.0)
    for _ in range(10):
        with_grad(x, 5.0)
        optimizer.step()
    assert np.allclose(x.data, 0.9)


def test_adamw_decays_apart_from_the_gradient():
    x = with_grad(parameter(2.0), 0.0)
    optim.AdamW([x], lr=0.1, weight_decay=0.5).step()
    assert np.allclose(x.data, 2.0 * (1 - 0.1 * 0.5))
    y = with_grad(parameter(2.0), 0.0)
    optim.Adam([y], lr=0.1, weight_decay=0.5, eps=0.0).step()
    assert np.allclose(y.data, 1.9)


def test_parameters_without_a_gradient_are_skipped_and_count_their_own_steps():
    x, y = parameter(1.0), parameter(1.0)
    optimizer = optim.Adam([x, y], lr=0.01, eps=0.0)
    with_grad(x, 1.0)
    optimizer.step()
    assert y.item() == 1.0
    assert list(optimizer.state_dict()["state"]) == [0]
    with_grad(y, -7.0)
    optimizer.step()
    assert np.allclose(x.data, 0.98)
    assert np.allclose(y.data, 1.01)  # its first step, not its second
    assert [kept["step"] for kept in optimizer.state_dict()["state"].values()] == [2, 1]
    x.grad = y.grad = None
    optimizer.step()
    assert np.allclose(x.data, 0.98)


@pytest.mark.parametrize("name", list(BUILDERS))
def test_gradients_are_never_written_and_share_nothing(name):
    build = BUILDERS[name]
    x = with_grad(parameter(1.0, 2.0), 3.0, 4.0)
    optimizer = build([x])
    for _ in range(3):
        optimizer.step()
    assert x.grad.tolist() == [3, 4]
    for kept in optimizer.state_dict()["state"].values():
        assert not any(np.shares_memory(v.data, x.grad.data) for v in kept.values() if isinstance(v, tn.Tensor))


def test_a_step_is_seen_by_the_tape():
    layer = nn.Linear(2, 1)
    x = tn.ones((1, 2), requires_grad=True)
    y = layer(x).sum()
    y.backward(retain_graph=True)
    optim.SGD(layer.parameters(), lr=0.1).step()
    with pytest.raises(tn.GradientError, match="changed in place"):
        y.backward()


def test_closure_and_zero_grad():
    x = parameter(1.0)
    optimizer = optim.SGD([x], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (x * x).sum()
        loss.backward()
        return loss

    with tn.no_grad():
        assert optimizer.step(closure).item() == 1.0
    assert x.item() == 0.0
    kept = x.grad
    optimizer.zero_grad(set_to_none=False)
    assert x.grad is kept
    assert not kept.data.any()
    optimizer.zero_grad()
    assert x.grad is None


# ---------------------------------------------------------------------- groups and state


def test_groups_have_their_own_settings():
    x, y, z = (with_grad(parameter(1.0), 1.0) for _ in range(3))
    optimizer = optim.SGD([{"params": x, "lr": 0.5}, {"params": iter([y])}], lr=0.1)
    optimizer.add_param_group({"params": [z], "weight_decay": 1.0})
    optimizer.step()
    assert [p.item() for p in (x, y)] == [0.5, 0.9]
    assert np.allclose(z.data, 1 - 0.1 * 2)
    assert "group 2: lr=0.1" in repr(optimizer)
    assert "# 1 Tensors, 1 parameters" in repr(optimizer)


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("copied", ["load", "pickle"])
def test_a_resumed_optimizer_goes_on_bit_for_bit(name, copied):
    def run(steps, net, optimizer):
        for i in steps:
            optimizer.zero_grad()
            net(tn.full((2, 3), float(i % 5) - 2)).square().mean().backward()
            optimizer.step()

    tn.manual_seed(0)
    straight = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    broken = copy.deepcopy(straight)
    run(range(20), straight, BUILDERS[name](straight.parameters()))
    first = BUILDERS[name](broken.parameters())
    run(range(10), broken, first)
    state = first.state_dict()
    if copied == "pickle":
        state = pickle.loads(pickle.dumps(state))
    later = copy.deepcopy(broken)
    second = BUILDERS[name](later.parameters())
    second.load_state_dict(state)
    run(range(10, 20), broken, first)  # must not reach the copy's state
    run(range(10, 20), later, second)
    for a, b in zip(straight.parameters(), later.parameters()):
        assert np.array_equal(a.data, b.data)


def test_state_dict_has_pytorch_names_and_takes_plain_arrays():
    x = with_grad(parameter(1.0), 1.0)
    optimizer = optim.Adam([x], lr=0.1)
    optimizer.step()
    state = optimizer.state_dict()
    assert sorted(state["state"][0]) == ["exp_avg", "exp_avg_sq", "step"]
    assert state["param_groups"][0]["params"] == [0]
    plain = {
        "state": {"0": {"step": np.float32(4), "exp_avg": np.array([0.5], np.float32), "exp_avg_sq": [0.25]}},
        "param_groups": [{**state["param_groups"][0], "lr": 0.7, "betas": [0.5, 0.5], "amsgrad": False}],
    }
    optimizer.load_state_dict(plain)
    now = optimizer.state_dict()
    assert now["state"][0]["step"] == 4
    assert now["state"][0]["exp_avg"].dtype == np.float64
    assert optimizer.param_groups[0]["lr"] == 0.7
    assert optimizer.param_groups[0]["betas"] == (0.5, 0.5)
    assert optimizer.param_groups[0]["params"][0] is x
    assert "amsgrad" not in optimizer.param_groups[0]


def test_a_state_that_does_not_fit_changes_nothing():
    x = with_grad(parameter(1.0, 2.0), 1.0, 1.0)
    optimizer = optim.Adam([x], lr=0.1)
    optimizer.step()
    good = optimizer.state_dict()
    group, kept = good["param_groups"][0], good["state"][0]
    wrong = [
        ({"state": {}}, "expected a dict with 'state' and 'param_groups'"),
        ({**good, "param_groups": []}, r"groups of \[\] parameters, expected \[1\]"),
        ({**good, "param_groups": [{**group, "params": [0, 1]}]}, r"groups of \[2\]"),
        ({**good, "param_groups": [{k: v for k, v in group.items() if k != "eps"}]}, r"lacks \['eps'\]"),
        ({**good, "param_groups": [{**group, "lr": -1.0}]}, "lr is -1.0"),
        ({**good, "state": {3: kept}}, r"state for parameters \[3\], expected 0 to 0"),
        ({**good, "state": {0: {"momentum_buffer": kept["exp_avg"]}}}, r"has \['momentum_buffer'\], expected"),
        (
            {**good, "state": {0: {**kept, "exp_avg": np.zeros(3)}}},
            r"exp_avg of parameter 0 has shape \(3,\), expected \(2,\)",
        ),
    ]
    for state, message in wrong:
        with pytest.raises(tn.ShapeError, match=message):
            optimizer.load_state_dict({**state} if len(state) > 1 else state)
        assert optimizer.param_groups[0]["lr"] == 0.1
        assert optimizer.state_dict()["state"][0]["exp_avg"].data is kept["exp_avg"].data


# ---------------------------------------------------------------------- wrong arguments


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda x: optim.SGD([]), tn.ShapeError, "SGD: there are no parameters"),
        (lambda x: optim.SGD(nn.ReLU().parameters()), tn.ShapeError, "there are no parameters"),
        (lambda x: optim.SGD(x), tn.DTypeError, "params is a Tensor, expected a list"),
        (lambda x: optim.SGD({"params": [x]}), tn.DTypeError, "params is a dict"),
        (lambda x: optim.SGD([x, 3]), tn.DTypeError, "parameter 1 is int"),
        (lambda x: optim.SGD([{"params": [x]}, x]), tn.DTypeError, "mixes groups"),
        (lambda x: optim.SGD([{"params": []}]), tn.ShapeError, "a group has no parameters"),
        (lambda x: optim.SGD([{"parameters": [x]}]), tn.ShapeError, "no entry 'params'"),
        (lambda x: optim.SGD([{"params": [x], "betas": 1}]), tn.ShapeError, r"a group sets \['betas'\]"),
        (lambda x: optim.SGD([x, x]), tn.ShapeError, "parameter 1, of shape .* is given twice"),
        (lambda x: optim.SGD([{"params": [x]}, {"params": [x]}]), tn.ShapeError, "is given twice"),
        (lambda x: optim.SGD([tn.ones(2)]), tn.GradientError, "requires no gradient"),
        (lambda x: optim.SGD([x * 2]), tn.GradientError, "was made by multiply"),
        (lambda x: optim.SGD([x], lr=-0.1), tn.ShapeError, "SGD: lr is -0.1"),
        (lambda x: optim.SGD([x], lr=float("nan")), tn.ShapeError, "lr is nan"),
        (lambda x: optim.SGD([x], lr="fast"), tn.DTypeError, "lr is 'fast', expected a number"),
        (lambda x: optim.SGD([x], momentum=-1), tn.ShapeError, "momentum is -1"),
        (lambda x: optim.SGD([x], nesterov=True), tn.ShapeError, "nesterov needs momentum"),
        (lambda x: optim.SGD([x], momentum=0.9, dampening=0.1, nesterov=True), tn.ShapeError, "dampening 0"),
        (lambda x: optim.Adam([x], betas=(0.9, 1.0)), tn.ShapeError, "betas is"),
        (lambda x: optim.Adam([x], betas=0.9), tn.DTypeError, "betas is 0.9, expected two numbers"),
        (lambda x: optim.Adam([x], eps=-1e-8), tn.ShapeError, "eps is -1e-08"),
        (lambda x: optim.AdamW([x], weight_decay=-1), tn.ShapeError, "AdamW: weight_decay is -1"),
        (lambda x: optim.RMSprop([x], alpha=-0.1), tn.ShapeError, "RMSprop: alpha is -0.1"),
        (lambda x: optim.RMSprop([x], momentum=-0.1), tn.ShapeError, "RMSprop: momentum is -0.1"),
        (lambda x: optim.Adagrad([x], initial_accumulator_value=-1), tn.ShapeError, "initial_accumulator_value is -1"),
        (lambda x: optim.Adagrad([x], lr_decay="a"), tn.DTypeError, "Adagrad: lr_decay is 'a', expected a number"),
        (
            lambda x: optim.Adadelta([x], rho=1.5),
            tn.ShapeError,
            r"Adadelta: rho is 1\.5, expected a number from 0 to 1",
        ),
        (lambda x: optim.Adamax([x], betas=(0.9, 1.0)), tn.ShapeError, "Adamax: betas is"),
        (lambda x: optim.NAdam([x], momentum_decay=-1), tn.ShapeError, "NAdam: momentum_decay is -1"),
        (lambda x: optim.NAdam([x], betas=0.9), tn.DTypeError, "NAdam: betas is 0.9, expected two numbers"),
        (lambda x: optim.RAdam([x], eps=-1), tn.ShapeError, "RAdam: eps is -1"),
        (lambda x: optim.LARS([x], trust_coefficient=-1), tn.ShapeError, "LARS: trust_coefficient is -1"),
        (lambda x: optim.LAMB([x], betas=(2, 0.9)), tn.ShapeError, "LAMB: betas is"),
        (lambda x: optim.LAMB([x], lr=float("inf")), tn.ShapeError, "LAMB: lr is inf"),
    ],
)
def test_wrong_arguments(build, error, message):
    with pytest.raises(error, match=message):
        build(parameter(1.0))


def test_a_gradient_of_another_dtype_is_refused():
    net = nn.Linear(2, 1)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    net.weight.grad = tn.ones((1, 2), dtype=tn.float64)
    with pytest.raises(
        tn.GradientError, match=r"SGD\.step: the gradient of parameter 0 is .*float64, expected .*float32"
    ):
        optimizer.step()


@pytest.mark.parametrize("name", list(BUILDERS))
def test_what_is_kept_follows_the_parameters_to_another_dtype(name):
    net = nn.Linear(2, 1)
    optimizer = BUILDERS[name](net.parameters())
    for dtype in (tn.float32, tn.float64):
        net.to(dtype)
        optimizer.zero_grad()
        net(tn.ones((3, 2), dtype=dtype)).sum().backward()
        optimizer.step()
    kept = [t for entry in optimizer.state_dict()["state"].values() for t in entry.values() if isinstance(t, tn.Tensor)]
    assert {t.dtype for t in kept if t.ndim} == ({np.dtype("float64")} if name != "sgd" else set())
