"""Schedules against PyTorch: learning rate and momentum of every group over 100 steps."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from tinygrad_notes import nn, optim

torch = pytest.importorskip("torch")
STEPS = 100


def rates_of(module, weights, schedule, steps=STEPS, method="SGD", arguments=lambda step: (), **options):
    """Rate and momentum of both groups at every step."""
    groups = [{"params": [weights[0]]}, {"params": [weights[1]], "lr": 0.003}]
    optimizer = getattr(module, method)(groups, lr=0.02, **options)
    with warnings.catch_warnings():  # torch's SequentialLR calls a signature that torch deprecates
        warnings.simplefilter("ignore")
        made = schedule(module if module is optim else torch.optim.lr_scheduler, optimizer)
        rows = []
        for step in range(steps):
            groups = optimizer.param_groups
            rows.append([[g["lr"], g["betas"][0] if "betas" in g else g["momentum"]] for g in groups])
            assert made.get_last_lr() == [g["lr"] for g in groups]
            for weight in weights:
                weight.grad = None
            optimizer.step()
            if step + 1 < steps:
                made.step(*arguments(step))
    return np.array(rows)


def check(parity, schedule, **options):
    ours = rates_of(optim, [nn.Parameter([1.0]), nn.Parameter([1.0])], schedule, **options)
    theirs = rates_of(torch.optim, [torch.nn.Parameter(torch.ones(1)) for _ in range(2)], schedule, **options)
    # torch multiplies step by step, here each rate is computed from the number of the step
    parity.compare(ours, theirs, 1e-12)
    assert len(np.unique(ours[..., 0])) > 2


SCHEDULES = {
    "StepLR": lambda m, o: m.StepLR(o, 4, 0.3),
    "MultiStepLR": lambda m, o: m.MultiStepLR(o, [3, 9, 15], 0.5),
    "ExponentialLR": lambda m, o: m.ExponentialLR(o, 0.9),
    "LinearLR": lambda m, o: m.LinearLR(o),
    "LinearLR up": lambda m, o: m.LinearLR(o, 0.01, 0.7, 11),
    "ConstantLR": lambda m, o: m.ConstantLR(o),
    "ConstantLR longer": lambda m, o: m.ConstantLR(o, 0.7, 31),
    "PolynomialLR": lambda m, o: m.PolynomialLR(o),
    "PolynomialLR longer": lambda m, o: m.PolynomialLR(o, 120, 0.9),
    "CosineAnnealingLR": lambda m, o: m.CosineAnnealingLR(o, 20, 0.001),
    "CosineAnnealingLR beyond": lambda m, o: m.CosineAnnealingLR(o, 7),
    "CosineAnnealingWarmRestarts": lambda m, o: m.CosineAnnealingWarmRestarts(o, 7),
    "CosineAnnealingWarmRestarts longer": lambda m, o: m.CosineAnnealingWarmRestarts(o, 5, 2, 0.001),
    "CosineAnnealingWarmRestarts thrice": lambda m, o: m.CosineAnnealingWarmRestarts(o, 1, 3),
    "LambdaLR": lambda m, o: m.LambdaLR(o, [lambda t: 0.9**t, lambda t: 1 / (1 + t)]),
    "SequentialLR": lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, 0.1, 1.0, 5), m.CosineAnnealingLR(o, 10), m.StepLR(o, 2, 0.5)], [5, 13]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule(parity, name):
    check(parity, SCHEDULES[name])


CYCLES = {
    "one cycle": lambda m, o: m.OneCycleLR(o, 0.1, 100),
    "one cycle of epochs": lambda m, o: m.OneCycleLR(o, [0.1, 0.2], epochs=7, steps_per_epoch=16, pct_start=0.4),
    "one cycle in three phases": lambda m, o: m.OneCycleLR(o, 0.1, 100, three_phase=True),
    "one cycle, straight": lambda m, o: m.OneCycleLR(
        o, 0.1, 100, pct_start=0.25, anneal_strategy="linear", base_momentum=[0.7, 0.8], max_momentum=0.9,
        div_factor=10.0, final_div_factor=100.0, three_phase=True),
    "one cycle, all down": lambda m, o: m.OneCycleLR(o, 0.1, 100, pct_start=0.0),
    "one cycle, all up": lambda m, o: m.OneCycleLR(o, 0.1, 100, pct_start=1.0),
    "one cycle of the rate alone": lambda m, o: m.OneCycleLR(o, 0.1, 100, cycle_momentum=False),
    "triangles": lambda m, o: m.CyclicLR(o, 0.01, 0.1, 8),
    "uneven triangles": lambda m, o: m.CyclicLR(o, [0.01, 0.02], [0.1, 0.3], 8, 13),
    "triangles that halve": lambda m, o: m.CyclicLR(o, 0.01, 0.1, 8, 3, "triangular2", base_momentum=0.6),
    "triangles that shrink": lambda m, o: m.CyclicLR(o, 0.01, 0.1, 8, 4, "exp_range", 0.99, max_momentum=0.95),
    "triangles by cycle": lambda m, o: m.CyclicLR(o, 0.01, 0.1, 8, scale_fn=lambda n: 1 / n),
    "triangles by step": lambda m, o: m.CyclicLR(
        o, 0.01, 0.1, 8, scale_fn=lambda n: 1 / (1 + n), scale_mode="iterations", cycle_momentum=False),
}  # fmt: skip


@pytest.mark.parametrize("name", CYCLES)
@pytest.mark.parametrize(("method", "options"), [("SGD", {"momentum": 0.5}), ("Adam", {})], ids=str)
def test_cycle(parity, name, method, options):
    check(parity, CYCLES[name], method=method, **options)


METRICS = np.random.default_rng(0).uniform(0.2, 1.0, STEPS) * np.maximum(0.97 ** np.arange(STEPS), 0.4)
PLATEAUS = [
    {}, {"patience": 2}, {"mode": "max", "patience": 3, "factor": 0.5}, {"patience": 0, "cooldown": 4, "factor": 0.7},
    {"patience": 1, "threshold": 0.2}, {"patience": 1, "threshold": 0.2, "mode": "max"},
    {"patience": 1, "threshold": 0.1, "threshold_mode": "abs"},
    {"patience": 1, "threshold": 0.1, "threshold_mode": "abs", "mode": "max"},
    {"patience": 1, "min_lr": 1e-3}, {"patience": 1, "min_lr": [1e-3, 1e-4], "factor": 0.3},
    {"patience": 1, "eps": 1e-3},
]  # fmt: skip


@pytest.mark.parametrize("options", PLATEAUS, ids=str)
@pytest.mark.parametrize("nan", [False, True])
def test_plateau(parity, options, nan):
    metrics = np.where(np.arange(STEPS) % 9 == 4, np.nan, METRICS) if nan else METRICS
    check(parity, lambda m, o: m.ReduceLROnPlateau(o, **options), arguments=lambda step: (float(metrics[step]),))


def test_noam_is_the_lambda_of_its_formula(parity):
    size, warmup = 512, 40
    formula = lambda t: size**-0.5 * min((t + 1) ** -0.5, (t + 1) * warmup**-1.5)  # noqa: E731
    check(
        parity,
        lambda m, o: m.NoamLR(o, size, warmup) if m is optim else m.LambdaLR(o, formula),
    )
