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
    "constant": (lambda o: optim.ConstantLR(o, 0.2, 4), lambda t: BASE * (0.2 if t < 4 else 1)),
    "polynomial": (lambda o: optim.PolynomialLR(o, 8, 2.0), lambda t: BASE * (1 - min(t, 8) / 8) ** 2),
    "noam": (lambda o: optim.NoamLR(o, 16, 5), lambda t: BASE / 4 * min((t + 1) ** -0.5, (t + 1) * 5**-1.5)),
    "warm restarts": (
        lambda o: optim.CosineAnnealingWarmRestarts(o, 3, 2, 0.1),
        lambda t: (
            0.1 + 0.4 * (1 + math.cos(math.pi * (t / 3 if t < 3 else (t - 3) / 6 if t < 9 else (t - 9) / 12))) / 2
        ),
    ),
    "one cycle, straight": (
        lambda o: optim.OneCycleLR(
            o, 1.0, 16, pct_start=0.5, anneal_strategy="linear", div_factor=8, final_div_factor=2
        ),
        lambda t: 1 / 8 + 7 / 8 * t / 7 if t <= 7 else 1 - 15 / 16 * (t - 7) / 8,
    ),
    "triangles": (
        lambda o: optim.CyclicLR(o, 0.2, 1.0, 4, 2, "triangular2"),
        lambda t: 0.2 + 0.8 * 0.5 ** (t // 6) * (t % 6 / 4 if t % 6 <= 4 else (6 - t % 6) / 2),
    ),
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


CYCLES = {
    "one cycle": lambda o: optim.OneCycleLR(o, 1.0, 13, three_phase=True),
    "triangles": lambda o: optim.CyclicLR(o, 0.1, 1.0, 3),
    "one cycle after a warm-up": lambda o: optim.SequentialLR(
        o, [optim.LinearLR(o), optim.OneCycleLR(o, 1.0, 9)], [4]),
}  # fmt: skip


@pytest.mark.parametrize("name", CYCLES)
@pytest.mark.parametrize("method", ["SGD", "AdamW"])
def test_momentum_is_resumed_too(name, method):
    def settings(o):
        return [{k: v for k, v in group.items() if k in ("lr", "momentum", "betas")} for group in o.param_groups]

    straight, first, later = (getattr(optim, method)([nn.Parameter([1.0])], lr=0.5) for _ in range(3))
    whole, part = CYCLES[name](straight), CYCLES[name](first)
    rows = []
    for t in range(12):
        whole.step()
        rows.append(settings(straight))
        if t < 6:
            part.step()
    later.load_state_dict(first.state_dict())
    resumed = CYCLES[name](later)
    resumed.load_state_dict(part.state_dict())
    for expected in rows[5:]:
        assert settings(later) == expected
        resumed.step()
    momenta = [row[0].get("momentum", row[0].get("betas")) for row in rows]
    assert len(set(momenta)) > 3
    if method == "AdamW":
        assert {betas[1] for betas in momenta} == {0.999}


@pytest.mark.parametrize("name", ["one cycle", "triangles"])
def test_a_cycle_in_a_sequence_is_the_cycle_alone(name):
    one, both = optimizer(), optimizer()
    alone = CYCLES[name](one)
    sequence = optim.SequentialLR(both, [optim.ConstantLR(both, 0.1, 99), CYCLES[name](both)], [3])
    for _ in range(3):
        assert sequence.get_last_lr() == [BASE * 0.1]
        sequence.step()
    for _ in range(9):
        assert sequence.get_last_lr() == alone.get_last_lr()
        assert both.param_groups[0]["momentum"] == one.param_groups[0]["momentum"]
        sequence.step()
        alone.step()


def test_one_cycle_keeps_its_last_rate_for_one_step_and_ends():
    schedule = optim.OneCycleLR(optimizer(), 1.0, 4, anneal_strategy="linear")
    for _ in range(3):
        schedule.step()
    last = schedule.get_last_lr()
    assert last == [pytest.approx(1 / 25 / 1e4)]
    schedule.step()
    assert schedule.get_last_lr() == last
    with pytest.raises(tn.ShapeError, match="OneCycleLR: step 5 is beyond total_steps, 4"):
        schedule.step()
    assert (schedule.last_epoch, schedule.get_last_lr()) == (4, last)


def test_a_plateau_lowers_the_rate_after_patience_and_rests():
    schedule = optim.ReduceLROnPlateau(optimizer(1.0, 0.2), factor=0.5, patience=1, cooldown=2, min_lr=[0.3, 0.15])
    rates = []
    for loss in [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.9, 0.9, 0.9, tn.tensor(0.9), 0.9, 0.9, 0.9]:
        schedule.step(loss)
        rates.append(tuple(schedule.get_last_lr()))
    assert rates == [(1.0, 0.2)] * 2 + [(0.5, 0.15)] * 4 + [(0.3, 0.15)] * 8
    with pytest.raises(tn.DTypeError, match=r"ReduceLROnPlateau\.step: metrics is 'low', expected a number"):
        schedule.step("low")


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_plateau_goes_on_from_its_state(mode):
    values = [0.5, 0.4, 0.6, 0.6, 0.3, 0.3, 0.35, 0.7, 0.8, 0.8, 0.1, 0.2, 0.2, 0.3]

    def build(o):
        return optim.ReduceLROnPlateau(o, mode, 0.5, patience=1, cooldown=1)

    straight, first, later = optimizer(), optimizer(), optimizer()
    whole, part = build(straight), build(first)
    rates = []
    for value in values:
        whole.step(value)
        rates.append(whole.get_last_lr())
    for stop in range(len(values)):
        resumed = build(later)
        resumed.load_state_dict(part.state_dict())
        for value, rate in zip(values[stop:], rates[stop:]):
            resumed.step(value)
            assert resumed.get_last_lr() == rate
        part.step(values[stop])
    assert len(set(map(tuple, rates))) > 2


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
        (
            lambda o: optim.SequentialLR(o, [optim.ReduceLROnPlateau(o)], []),
            tn.DTypeError,
            "the rates of ReduceLROnPlateau depend on more than the number of the step",
        ),
        (lambda o: optim.ConstantLR(o, 2.0), tn.ShapeError, "ConstantLR: factor is 2.0"),
        (lambda o: optim.PolynomialLR(o, 0), tn.ShapeError, "PolynomialLR: total_iters is 0"),
        (lambda o: optim.PolynomialLR(o, 5, -1.0), tn.ShapeError, "PolynomialLR: power is -1.0"),
        (lambda o: optim.NoamLR(o, 0), tn.ShapeError, "NoamLR: model_size is 0"),
        (lambda o: optim.NoamLR(o, 8, 0), tn.ShapeError, "NoamLR: warmup_steps is 0"),
        (lambda o: optim.CosineAnnealingWarmRestarts(o, 0), tn.ShapeError, "T_0 is 0"),
        (lambda o: optim.CosineAnnealingWarmRestarts(o, 3, 1.5), tn.DTypeError, "T_mult is 1.5, expected an integer"),
        (lambda o: optim.OneCycleLR(o, 1.0), tn.ShapeError, "expected total_steps, or epochs and steps_per_epoch"),
        (lambda o: optim.OneCycleLR(o, [1.0, 2.0], 5), tn.ShapeError, "max_lr has 2 numbers for 1 groups"),
        (lambda o: optim.OneCycleLR(o, 1.0, 5, div_factor=0), tn.ShapeError, "div_factor is 0, expected above 0"),
        (lambda o: optim.OneCycleLR(o, 1.0, 5, pct_start=2.0), tn.ShapeError, "pct_start is 2.0"),
        (lambda o: optim.OneCycleLR(o, 1.0, 5, anneal_strategy="sine"), tn.ShapeError, "anneal_strategy is 'sine'"),
        (lambda o: optim.OneCycleLR(o, 1.0, 5, max_momentum=1.5), tn.ShapeError, "max_momentum is 1.5"),
        (lambda o: optim.OneCycleLR("sgd", 1.0, 5), tn.DTypeError, "OneCycleLR: optimizer is str"),
        (
            lambda o: optim.OneCycleLR(optim.Adagrad([nn.Parameter([1.0])]), 1.0, 5),
            tn.ShapeError,
            "OneCycleLR: Adagrad has neither momentum nor betas",
        ),
        (lambda o: optim.CyclicLR(o, 0.1, 1.0, 0), tn.ShapeError, "CyclicLR: step_size_up is 0"),
        (lambda o: optim.CyclicLR(o, 0.1, 1.0, mode="square"), tn.ShapeError, "CyclicLR: mode is 'square'"),
        (lambda o: optim.CyclicLR(o, 0.1, 1.0, scale_fn=3), tn.DTypeError, "CyclicLR: scale_fn is 3"),
        (lambda o: optim.CyclicLR(o, 0.1, 1.0, scale_fn=lambda n: "x"), tn.DTypeError, "what scale_fn gives at step 0"),  # type: ignore[return-value,arg-type]
        (lambda o: optim.ReduceLROnPlateau(o, "low"), tn.ShapeError, "mode is 'low', expected 'min' or 'max'"),
        (lambda o: optim.ReduceLROnPlateau(o, factor=1.0), tn.ShapeError, "factor is 1.0, expected below 1"),
        (lambda o: optim.ReduceLROnPlateau(o, patience=-1), tn.ShapeError, "patience is -1"),
        (lambda o: optim.ReduceLROnPlateau(o, min_lr=[1, 2]), tn.ShapeError, "min_lr has 2 numbers for 1 groups"),
        (lambda o: optim.ReduceLROnPlateau(3), tn.DTypeError, "ReduceLROnPlateau: optimizer is int"),
        (lambda o: optim.ReduceLROnPlateau(o).load_state_dict({}), tn.ShapeError, "expected .*'best'"),
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
