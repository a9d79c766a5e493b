"""Optimisers and clipping against PyTorch: 20 steps of the same network on the same batches."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn, optim

torch = pytest.importorskip("torch")

STEPS = 20
rng = np.random.default_rng(0)
BATCHES = rng.standard_normal((STEPS, 8, 5))


def pair(dtype="float64"):
    """The same small network twice."""
    torch.manual_seed(0)
    theirs = torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3)).to(
        getattr(torch, dtype)
    )
    ours = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).to(dtype)
    ours.load_state_dict({name: tensor.numpy() for name, tensor in theirs.state_dict().items()})
    return ours, theirs


def train(
    parity,
    ours,
    theirs,
    ours_optimizer,
    torch_optimizer,
    batches=BATCHES,
    tolerance=None,
    after=lambda: None,
    skip=None,
):
    """Both networks step by step; the parameters are compared after every step."""
    dtype = ours[0].weight.dtype
    for step, batch in enumerate(batches.astype(dtype)):
        ours_optimizer.zero_grad()
        torch_optimizer.zero_grad()
        ours(tn.tensor(batch)).square().mean().backward()
        theirs(torch.from_numpy(batch)).square().mean().backward()
        if skip is not None and step % 3 == skip:  # now and then a parameter has no gradient
            ours[0].weight.grad = theirs[0].weight.grad = None
        ours_optimizer.step()
        torch_optimizer.step()
        after()
        parity.compare(list(ours.parameters()), list(theirs.parameters()), tolerance)


SGD = [
    {"lr": 0.01, "momentum": mu, "dampening": tau, "weight_decay": decay, "nesterov": nesterov, "maximize": maximize}
    for mu, tau, decay, nesterov, maximize in itertools.product((0, 0.9), (0, 0.3), (0, 0.1), *((False, True),) * 2)
    if not (nesterov and (mu == 0 or tau)) and not (tau and not mu)
]  # fmt: skip
ADAM = [
    {"lr": 0.02, "betas": betas, "eps": eps, "weight_decay": decay, "maximize": maximize}
    for betas, eps, decay, maximize in itertools.product(
        ((0.9, 0.999), (0.5, 0.8)), (1e-8, 1e-2), (0, 0.1), (False, True)
    )
]


@pytest.mark.parametrize("options", SGD, ids=str)
def test_sgd(parity, options):
    ours, theirs = pair()
    train(
        parity, ours, theirs, optim.SGD(ours.parameters(), **options), torch.optim.SGD(theirs.parameters(), **options)
    )


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
@pytest.mark.parametrize("options", ADAM, ids=str)
def test_adam(parity, name, options):
    ours, theirs = pair()
    makers = getattr(optim, name), getattr(torch.optim, name)
    train(parity, ours, theirs, makers[0](ours.parameters(), **options), makers[1](theirs.parameters(), **options))


def product(**choices):
    """All combinations, as dicts."""
    return [dict(zip(choices, values)) for values in itertools.product(*choices.values())]


SHARED = {"weight_decay": (0, 0.1), "maximize": (False, True)}
ADAPTIVE = [
    *(("RMSprop", o) for o in product(
        alpha=(0.99, 0.5), momentum=(0, 0.9), centered=(False, True), eps=(1e-4,), **SHARED)),
    *(("Adagrad", o) for o in product(lr=(0.05,), lr_decay=(0, 0.1), initial_accumulator_value=(0, 0.5), **SHARED)),
    *(("Adadelta", o) for o in product(lr=(1.0, 0.3), rho=(0.9, 0.5), eps=(1e-6, 1e-2), **SHARED)),
    *(("Adamax", o) for o in product(lr=(0.02,), betas=((0.9, 0.999), (0.5, 0.8)), **SHARED)),
    *(("NAdam", o) for o in product(
        betas=((0.9, 0.999), (0.5, 0.8)), momentum_decay=(4e-3, 0.1), decoupled_weight_decay=(False, True), **SHARED)),
    *(("RAdam", o) for o in product(
        lr=(0.02,), betas=((0.9, 0.999), (0.5, 0.8)), decoupled_weight_decay=(False, True), **SHARED)),
]  # fmt: skip


@pytest.fixture
def torch_float64():
    """PyTorch keeps the product of NAdam in its default dtype; in float32 that alone is an error of 1e-8."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("name", "options"), ADAPTIVE, ids=str)
def test_adaptive(parity, torch_float64, name, options):
    ours, theirs = pair()
    makers = getattr(optim, name), getattr(torch.optim, name)
    train(parity, ours, theirs, makers[0](ours.parameters(), **options), makers[1](theirs.parameters(), **options))


DEFAULTS = [
    ("SGD", {}), ("SGD", {"lr": 0.01, "momentum": 0.9}), ("Adam", {}), ("AdamW", {}), ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.9, "centered": True, "eps": 1e-2}), ("Adagrad", {}), ("Adadelta", {}), ("Adamax", {}),
    ("NAdam", {}), ("RAdam", {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), DEFAULTS, ids=str)
def test_defaults_and_float32(parity, name, options):
    ours, theirs = pair("float32")
    makers = getattr(optim, name), getattr(torch.optim, name)
    train(
        parity,
        ours,
        theirs,
        makers[0](ours.parameters(), **options),
        makers[1](theirs.parameters(), **options),
        tolerance=5e-5,
    )


@pytest.mark.parametrize(("name", "options"), DEFAULTS, ids=str)
def test_groups_and_parameters_without_a_gradient(parity, torch_float64, name, options):
    ours, theirs = pair()
    made = []
    for module, net in ((optim, ours), (torch.optim, theirs)):
        weights, biases = [net[0].weight, net[2].weight], [net[0].bias, net[2].bias]
        groups = [{"params": weights, "weight_decay": 0.1}, {"params": biases, "lr": 0.05}]
        made.append(getattr(module, name)(groups, **options))
    train(parity, ours, theirs, *made, skip=1)


@pytest.mark.parametrize(("name", "options"), DEFAULTS, ids=str)
def test_a_state_dict_of_torch_goes_on_here(parity, torch_float64, name, options):
    ours, theirs = pair()
    makers = getattr(optim, name), getattr(torch.optim, name)
    made = makers[0](ours.parameters(), **options), makers[1](theirs.parameters(), **options)
    train(parity, ours, theirs, *made, batches=BATCHES[:7])
    later = makers[0](ours.parameters(), lr=77.0)
    later.load_state_dict(made[1].state_dict())
    train(parity, ours, theirs, later, made[1], batches=BATCHES[7:])
    state, torch_state = later.state_dict(), made[1].state_dict()
    assert set(state) == set(torch_state)
    for number, kept in torch_state["state"].items():
        assert set(state["state"].get(number, {})) == {key for key, value in kept.items() if value is not None}


@pytest.mark.parametrize(("name", "options"), DEFAULTS, ids=str)
def test_a_state_dict_from_here_goes_on_in_torch(parity, torch_float64, name, options):
    ours, theirs = pair()
    makers = getattr(optim, name), getattr(torch.optim, name)
    made = makers[0](ours.parameters(), **options), makers[1](theirs.parameters(), **options)
    train(parity, ours, theirs, *made, batches=BATCHES[:7])
    state = made[0].state_dict()
    for kept in state["state"].values():
        for key, value in kept.items():
            kept[key] = torch.tensor(value if isinstance(value, int | float) else value.numpy())
    later = makers[1](theirs.parameters(), lr=77.0)
    later.load_state_dict(state)
    train(parity, ours, theirs, made[0], later, batches=BATCHES[7:])


# ---------------------------------------------------------------------- clipping


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", [2.0, 1.0, 3.5, math.inf])
@pytest.mark.parametrize("max_norm", [0.1, 1e6])
def test_clip_by_norm(parity, dtype, order, max_norm):
    ours, theirs = pair(dtype)
    batch = BATCHES[0].astype(dtype)
    ours(tn.tensor(batch)).square().sum().backward()
    theirs(torch.from_numpy(batch)).square().sum().backward()
    norm = optim.clip_grad_norm_(ours.parameters(), max_norm, order)
    torch_norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), max_norm, order)
    grads = [p.grad for p in ours.parameters()], [p.grad for p in theirs.parameters()]
    parity.compare([norm, *grads[0]], [torch_norm, *grads[1]])


def test_clip_by_value(parity):
    ours, theirs = pair()
    ours(tn.tensor(BATCHES[0])).square().sum().backward()
    theirs(torch.from_numpy(BATCHES[0])).square().sum().backward()
    optim.clip_grad_value_(ours.parameters(), 0.5)
    torch.nn.utils.clip_grad_value_(theirs.parameters(), 0.5)
    parity.compare([p.grad for p in ours.parameters()], [p.grad for p in theirs.parameters()])
