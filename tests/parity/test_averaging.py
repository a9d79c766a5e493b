"""Averages of weights against torch.optim.swa_utils: means, moving averages, buffers, statistics, the schedule."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn, optim

torch = pytest.importorskip("torch")
swa = pytest.importorskip("torch.optim.swa_utils")
rng = np.random.default_rng(0)
BATCHES = rng.standard_normal((6, 8, 5))


@pytest.fixture(autouse=True)
def torch_float64():
    """PyTorch divides 1 by the number of models in its default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def pair():
    """The same network with batch normalisation twice, in float64."""
    torch.manual_seed(0)
    theirs = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2)).double()
    ours = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).to("float64")
    ours.load_state_dict({name: tensor.numpy() for name, tensor in theirs.state_dict().items()})
    return ours, theirs


AVERAGES = {
    "mean": ({}, {}),
    "mean, one by one": ({"avg_fn": optim.get_swa_avg_fn()}, {"avg_fn": swa.get_swa_avg_fn()}),
    "mean, together": ({"multi_avg_fn": optim.get_swa_multi_avg_fn()}, {"multi_avg_fn": swa.get_swa_multi_avg_fn()}),
    "moving": ({"multi_avg_fn": optim.get_ema_multi_avg_fn(0.8)}, {"multi_avg_fn": swa.get_ema_multi_avg_fn(0.8)}),
    "moving, one by one": ({"avg_fn": optim.get_ema_avg_fn()}, {"avg_fn": swa.get_ema_avg_fn()}),
}


@pytest.mark.parametrize("name", AVERAGES)
@pytest.mark.parametrize("use_buffers", [False, True])
def test_average(parity, name, use_buffers):
    ours, theirs = pair()
    mine, other = AVERAGES[name]
    if use_buffers and name == "mean, together":
        other = {}  # torch's own cannot average the integers among the buffers
    averaged = optim.AveragedModel(ours, use_buffers=use_buffers, **mine)
    torch_averaged = swa.AveragedModel(theirs, use_buffers=use_buffers, **other)
    optimizers = optim.SGD(ours.parameters(), lr=0.1), torch.optim.SGD(theirs.parameters(), lr=0.1)
    for batch in BATCHES:
        for optimizer in optimizers:
            optimizer.zero_grad()
        ours(tn.tensor(batch)).square().mean().backward()
        theirs(torch.from_numpy(batch)).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()
        averaged.update_parameters(ours)
        torch_averaged.update_parameters(theirs)
        state, torch_state = averaged.state_dict(), torch_averaged.state_dict()
        assert list(state) == list(torch_state)
        # the count of batches, an integer, has no mean: here it is the model's own
        names = [n for n in state if not (use_buffers and n.endswith("num_batches_tracked"))]
        parity.compare([state[n] for n in names], [torch_state[n] for n in names])
    parity.compare(averaged(tn.tensor(BATCHES[0])), torch_averaged(torch.from_numpy(BATCHES[0])))
    # and the state dict of torch goes on here
    again = optim.AveragedModel(ours, use_buffers=use_buffers, **mine)
    again.load_state_dict({n: t.numpy() for n, t in torch_averaged.state_dict().items()})
    again.update_parameters(ours)
    torch_averaged.update_parameters(theirs)
    parity.compare([again.state_dict()[n] for n in names], [torch_averaged.state_dict()[n] for n in names])


@pytest.mark.parametrize("as_tuple", [False, True])
def test_statistics_anew(parity, as_tuple):
    ours, theirs = pair()
    ours.eval()
    theirs.eval()
    ours(tn.tensor(BATCHES[0]))
    optim.update_bn([(tn.tensor(b), 1) if as_tuple else tn.tensor(b) for b in BATCHES], ours)
    swa.update_bn([(torch.from_numpy(b), 1) if as_tuple else torch.from_numpy(b) for b in BATCHES], theirs)
    assert not ours.training
    assert not ours[1].training
    assert ours[1].momentum == 0.1
    parity.compare(list(ours.state_dict().values()), list(theirs.state_dict().values()))


@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("epochs", [0, 1, 10])
def test_schedule(parity, strategy, epochs):
    """Beside another schedule, from which it takes over at step 30; without epochs it does so when it is made."""
    begin = 30 if epochs else 0
    rates = []
    for module, weights in ((optim, [nn.Parameter([1.0]) for _ in range(2)]),
                            (torch.optim, [torch.nn.Parameter(torch.ones(1)) for _ in range(2)])):  # fmt: skip
        optimizer = module.SGD([{"params": [weights[0]]}, {"params": [weights[1]], "lr": 0.3}], lr=1.0)
        schedules = module.lr_scheduler if module is torch.optim else module
        before = schedules.ExponentialLR(optimizer, 0.95)
        after = (swa if module is torch.optim else optim).SWALR(optimizer, [0.05, 0.2], epochs, strategy)
        rows = []
        for step in range(100):
            optimizer.step()
            (before if step < begin else after).step()
            rows.append([group["lr"] for group in optimizer.param_groups])
        rates.append(np.array(rows))
    parity.compare(rates[0], rates[1], 1e-11)
