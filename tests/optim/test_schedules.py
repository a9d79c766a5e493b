"""Schedules follow their formulas, and go on from a state dict with the same numbers."""

from __future__ import annotations

import math

import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn, optim

BASE = 0.5


def optimizer(*rates):
    return optim.SGD([{"params": [nn.Parameter([1.0])], "lr": lr} for lr in rates or (BASE,)])


def warmup_cosine(o):
    return optim.SequentialLR(o, [optim.LinearLR(o, 0.1, 1.0, 5), optim.CosineAnnealingLR(o, 10, 0.01)], [5])


SCHEDULES = {
    "step": (lambda o: optim.StepLR(o, 3, 0.5), lambda t: BASE * 0.5 ** (t // 3)),
    "multistep": (
        lambda o: optim.MultiStepLR(o, [7, 3], 0.1),
        lambda t: BASE * (1 if t < 3 else 0.1 if t < 7 else 0.01),
    ),
    "exponential": (lambda o: optim.ExponentialLR(o, 0.9), lambda t: BASE * 0.9**t),
    "linear": (lambda o: optim.LinearLR(o, 0.2, 1.0, 4), lambda t: BASE * (0.2 + 0.8 * min(t, 4) / 4)),
    "cosine": (lambda o: optim.CosineAnnealingLR(o, 8, 0.1), lambda t: 0.1 + 0.4 * (1 + math.cos(math.pi * t / 8)) / 2),
    "lambda": (lambda o: optim.LambdaLR(o, lambda t: 1 / (1 + t)), lambda t: BASE / (1 + t)),
    "warm-up, then cosine": (
        warmup_cosine,
        lambda t: BASE * (0.1 + 0.9 * t / 5) if t < 5 else 0.01 + 0.49 * (1 + math.cos(math.pi * (t - 5) / 10)) / 2,
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_formula(name):
    build, formula = SCHEDULES[name]
    o = optimizer()
    schedule = build(o)
    for t in range(15):
        assert schedule.last_epoch == t
        assert schedule.get_last_lr() == [o.param_groups[0]["lr"]] == [pytest.approx(formula(t), rel=1e-12)]
        schedule.step()


@pytest.mark.parametrize("name", SCHEDULES)
def test_resumed(name):
    build, _ = SCHEDULES[name]
    straight, first = optimizer(), optimizer()
    whole, part = build(straight), build(first)
    rates = []
    for t in range(12):
        whole.step()
        rates.append(whole.get_last_lr())
        if t < 6:
            part.step()
    later = optimizer()
    later.load_state_dict(first.state_dict())  # the rate of the sixth step; "initial_lr" is the one that counts
    resumed = build(later)
    resumed.load_state_dict(part.state_dict())
    assert resumed.get_last_lr() == rates[5]
    for expected in rates[6:]:
        resumed.step()
        assert resumed.get_last_lr() == expected


def test_every_group_keeps_its_own_base():
    o = optimizer(1.0, 0.1)
    schedule = optim.StepLR(o, 1, 0.5)
    schedule.step()
    assert schedule.get_last_lr() == [0.5, 0.05]
    functions = optim.LambdaLR(optimizer(1.0, 0.1), [lambda t: 2.0, lambda t: 3.0])
    assert functions.get_last_lr() == [2.0, pytest.approx(0.3)]


def test_the_optimizer_uses_the_rate():
    o = optimizer()
    parameter = o.param_groups[0]["params"][0]
    schedule = optim.ExponentialLR(o, 0.1)
    for expected in (0.5, 0.45, 0.445):
        parameter.grad = tn.ones(1)
        o.step()
        schedule.step()
        assert parameter.item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda o: optim.StepLR("sgd", 1), tn.DTypeError, "StepLR: optimizer is str"),
        (lambda o: optim.StepLR(o, 0), tn.ShapeError, "step_size is 0"),
        (lambda o: optim.CosineAnnealingLR(o, 0), tn.ShapeError, "T_max is 0"),
        (lambda o: optim.LinearLR(o, 2.0), tn.ShapeError, "start_factor is 2.0"),
        (lambda o: optim.LinearLR(o, total_iters=0), tn.ShapeError, "total_iters is 0"),
        (lambda o: optim.LambdaLR(o, []), tn.ShapeError, "0 functions for 1 groups"),
        (lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1)], [3]), tn.ShapeError, "1 schedules with 1 milestones"),
        (lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1)] * 3, [3, 3]), tn.ShapeError, "increasing"),
        (lambda o: optim.SequentialLR(o, [optim.StepLR(optimizer(), 1)], []), tn.ShapeError, "another optimizer"),
        (lambda o: optim.StepLR(o, 1).load_state_dict({}), tn.ShapeError, "expected 'last_epoch'"),
        (
            lambda o: optim.StepLR(o, 1).load_state_dict({"last_epoch": 1, "base_lrs": [1, 2]}),
            tn.ShapeError,
            "2 groups",
        ),
    ],
)
def test_wrong_arguments(build, error, message):
    with pytest.raises(error, match=message):
        build(optimizer())
