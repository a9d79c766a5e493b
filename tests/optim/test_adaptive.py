"""Optimisers with array code of their own: published formulas in plain loops, array types, settings that change."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.foreign_array import ForeignArray
from tests.optim.test_optimizers import BUILDERS
from tinygrad_notes import nn, optim
from tinygrad_notes.kernels import BACKENDS, DEVICES, register_array_type
from tinygrad_notes.tensor import wrap

SHAPES = [(3, 4), (5,), (), (0, 2)]
STEPS = 6


def arrays(seed):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in SHAPES]


def lars(weights, steps, lr, momentum, decay, trust, eps, sign):
    """You et al. 2017, algorithm 1, number by number."""
    weights = [w.ravel().tolist() for w in weights]
    speeds = [[0.0] * len(w) for w in weights]
    for gradients in steps:
        for w, v, g in zip(weights, speeds, gradients):
            g = [sign * x for x in g.ravel().tolist()]
            size, slope = math.sqrt(sum(x * x for x in w)), math.sqrt(sum(x * x for x in g))
            local = trust * size / (slope + decay * size + eps) if size and slope else 1.0
            for i in range(len(w)):
                v[i] = momentum * v[i] + lr * local * (g[i] + decay * w[i])
                w[i] -= v[i]
    return weights


def lamb(weights, steps, lr, betas, eps, decay, sign):
    """You et al. 2020, algorithm 2, number by number."""
    weights = [w.ravel().tolist() for w in weights]
    first, second = ([[0.0] * len(w) for w in weights] for _ in range(2))
    for t, gradients in enumerate(steps, 1):
        for w, m, v, g in zip(weights, first, second, gradients):
            change = []
            for i, x in enumerate(g.ravel().tolist()):
                m[i] = betas[0] * m[i] + (1 - betas[0]) * sign * x
                v[i] = betas[1] * v[i] + (1 - betas[1]) * x * x
                mean, square = m[i] / (1 - betas[0] ** t), v[i] / (1 - betas[1] ** t)
                change.append(mean / (math.sqrt(square) + eps) + decay * w[i])
            size, length = math.sqrt(sum(x * x for x in w)), math.sqrt(sum(x * x for x in change))
            ratio = size / length if size and length else 1.0
            for i in range(len(w)):
                w[i] -= lr * ratio * change[i]
    return weights


def run(optimizer, parameters, steps):
    for gradients in steps:
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = tn.tensor(gradient)
        optimizer.step()
    return [p.data.ravel().tolist() for p in parameters]


@pytest.mark.parametrize("decay", [0, 0.1])
@pytest.mark.parametrize("maximize", [False, True])
def test_lars_and_lamb_are_their_formulas(decay, maximize):
    start, steps, sign = arrays(0), [arrays(i) for i in range(1, STEPS + 1)], -1 if maximize else 1
    start[1][:] = 0  # a bias at its start: the ratio is 1
    steps[2][0][:] = 0
    made = [nn.Parameter(w.copy()) for w in start]
    got = run(optim.LARS(made, 0.5, 0.9, decay, 0.02, 1e-3, maximize=maximize), made, steps)
    for ours, expected in zip(got, lars(start, steps, 0.5, 0.9, decay, 0.02, 1e-3, sign)):
        np.testing.assert_allclose(ours, expected, rtol=1e-10)
    made = [nn.Parameter(w.copy()) for w in start]
    got = run(optim.LAMB(made, 0.05, (0.8, 0.95), 1e-6, decay, maximize=maximize), made, steps)
    for ours, expected in zip(got, lamb(start, steps, 0.05, (0.8, 0.95), 1e-6, decay, sign)):
        np.testing.assert_allclose(ours, expected, rtol=1e-10)


def test_the_step_of_lars_is_as_long_as_the_trust_coefficient_says_whatever_the_gradient():
    for scale in (1e-6, 1.0, 1e6):
        w = nn.Parameter(np.array([3.0, 4.0]))
        w.grad = tn.tensor(np.array([scale, 2 * scale]))
        optim.LARS([w], lr=1.0, trust_coefficient=0.01).step()
        assert np.linalg.norm(w.data - [3, 4]) == pytest.approx(0.05)


def test_without_adaptive_lars_is_sgd_and_lamb_is_adamw():
    steps = [arrays(i) for i in range(1, STEPS + 1)]
    for ours, theirs in (
        (lambda p: optim.LARS(p, 0.1, weight_decay=0.1, adaptive=False), lambda p: optim.SGD(p, 0.1, 0.9, 0, 0.1)),
        (lambda p: optim.LAMB(p, 0.1, eps=1e-8, adaptive=False), lambda p: optim.AdamW(p, 0.1)),
    ):
        made = [[nn.Parameter(w) for w in arrays(0)] for _ in range(2)]
        for a, b in zip(run(ours(made[0]), made[0], steps), run(theirs(made[1]), made[1], steps)):
            np.testing.assert_allclose(a, b, rtol=1e-10)


@pytest.mark.parametrize("name", list(BUILDERS))
def test_maximize_goes_the_other_way(name):
    """Up the gradient is down the negated one."""
    made = [[nn.Parameter(w) for w in arrays(0)] for _ in range(2)]
    steps = [arrays(i) for i in range(1, STEPS + 1)]
    up, down = (BUILDERS[name](parameters) for parameters in made)
    up.param_groups[0]["maximize"] = True
    got = run(up, made[0], steps)
    assert got == run(down, made[1], [[-g for g in gradients] for gradients in steps])


@pytest.fixture
def foreign():
    register_array_type(ForeignArray, "foreign")
    yield
    del DEVICES[ForeignArray]
    for table in BACKENDS.values():
        del table[ForeignArray]


@pytest.mark.parametrize("name", list(BUILDERS))
@tn.use_kernels("reference")  # the foreign type has no others, and here bits are compared
def test_any_array_type(name, foreign):
    def trained(make):
        parameters = [wrap(make(w.astype(np.float32))).requires_grad_() for w in arrays(0)]
        optimizer = BUILDERS[name](parameters)
        for i in range(1, STEPS + 1):
            for k, (parameter, gradient) in enumerate(zip(parameters, arrays(i))):
                parameter.grad = wrap(make(gradient.astype(np.float32))) if (i + k) % 4 else None
            optimizer.step()
        kept = optimizer.state_dict()["state"]
        return parameters, [v for entry in kept.values() for v in entry.values() if isinstance(v, tn.Tensor)]

    (ours, state), (numpy, numpy_state) = trained(ForeignArray), trained(lambda array: array)
    assert len(state) == len(numpy_state)
    for a, b in zip([*ours, *state], [*numpy, *numpy_state]):
        assert type(a.data) is ForeignArray
        assert a.dtype == b.dtype == np.float32
        np.testing.assert_array_equal(a.data.values, b.data)


def test_rmsprop_takes_up_what_a_changed_setting_needs():
    x = nn.Parameter(np.array([1.0]))
    optimizer = optim.RMSprop([x], lr=0.1, alpha=0.5)
    x.grad = tn.tensor(np.array([2.0]))
    optimizer.step()
    assert sorted(optimizer.state_dict()["state"][0]) == ["square_avg", "step"]
    optimizer.param_groups[0]["momentum"] = 0.9
    optimizer.step()
    assert sorted(optimizer.state_dict()["state"][0]) == ["momentum_buffer", "square_avg", "step"]
    later = optim.RMSprop([x], lr=0.1, alpha=0.5)
    later.load_state_dict(optimizer.state_dict())
    assert later.state_dict()["state"][0]["momentum_buffer"].data == optimizer.state_dict()["state"][0][
        "momentum_buffer"].data  # fmt: skip


def test_adagrad_has_its_sums_from_the_beginning():
    optimizer = optim.Adagrad([nn.Parameter([1.0, 2.0])], initial_accumulator_value=0.5)
    kept = optimizer.state_dict()["state"][0]
    assert (kept["step"], kept["sum"].tolist()) == (0, [0.5, 0.5])


def test_a_number_in_a_state_that_is_none_is_refused():
    x = nn.Parameter([1.0])
    x.grad = tn.ones(1)
    optimizer = optim.NAdam([x])
    optimizer.step()
    state = optimizer.state_dict()
    for wrong in (-1.0, float("nan"), np.ones(2)):
        bad = {**state, "state": {0: {**state["state"][0], "mu_product": wrong}}}
        with pytest.raises(tn.ShapeError, match=r"mu_product of parameter 0 is .*, expected one number of at least 0"):
            optimizer.load_state_dict(bad)
    later = optim.NAdam([x])
    later.load_state_dict(state)
    assert later.state_dict()["state"][0]["mu_product"] == state["state"][0]["mu_product"]  # not rounded to float32
    without = {key: value for key, value in state["state"][0].items() if key != "exp_avg"}
    with pytest.raises(tn.ShapeError, match=r"has \['exp_avg_sq', 'mu_product', 'step'\], expected \['exp_avg'"):
        optimizer.load_state_dict({**state, "state": {0: without}})
