"""Averages of weights: closed forms, buffers, statistics, states, wrong arguments."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn, optim


def network():
    tn.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).to(tn.float64)


def models(n):
    """The same network with other weights n times."""
    rng = np.random.default_rng(0)
    for _ in range(n):
        net = network()
        for tensor in [*net.parameters(), *net.buffers()]:
            tensor.data[...] = rng.integers(0, 9, tensor.shape)
        yield net


def test_the_mean_is_the_mean():
    averaged, seen = optim.AveragedModel(network()), list(models(5))
    for net in seen:
        averaged.update_parameters(net)
    for name, tensor in averaged.module.named_parameters():
        assert np.allclose(tensor.data, np.mean([dict(n.named_parameters())[name].data for n in seen], 0), rtol=1e-14)
    for name, buffer in averaged.module.named_buffers():
        assert np.array_equal(buffer.data, dict(seen[-1].named_buffers())[name].data)
    assert averaged.n_averaged.item() == 5


@pytest.mark.parametrize(
    "option", [{"avg_fn": optim.get_ema_avg_fn(0.8)}, {"multi_avg_fn": optim.get_ema_multi_avg_fn(0.8)}]
)
def test_a_moving_average_of_a_constant_forgets_its_start_by_powers(option):
    """After t constant steps, the part 1 - decay^t of the way is done."""
    averaged, (start, end) = optim.AveragedModel(network(), use_buffers=True, **option), models(2)
    averaged.update_parameters(start)
    for t in range(1, 6):
        averaged.update_parameters(end)
        for mean, a, b in zip(averaged.module.parameters(), start.parameters(), end.parameters()):
            assert np.allclose(mean.data, b.data + 0.8**t * (a.data - b.data))
        mean, a, b = (net[1].running_var.data for net in (averaged.module, start, end))
        assert np.allclose(mean, b + 0.8**t * (a - b))
    assert averaged.module[1].num_batches_tracked.item() == end[1].num_batches_tracked.item()  # a count has no mean


def test_a_function_of_your_own_and_the_model_stays_apart():
    averaged = optim.AveragedModel(network(), avg_fn=lambda mean, now, n: tn.maximum(mean, now))
    seen = list(models(3))
    before = copy.deepcopy(seen[0].state_dict())
    for net in seen:
        averaged.update_parameters(net)
    for mean, *all_of_them in zip(averaged.module.parameters(), *(net.parameters() for net in seen)):
        assert np.array_equal(mean.data, np.max([t.data for t in all_of_them], 0))
        assert mean.is_leaf
    assert all(np.array_equal(t.data, before[n].data) for n, t in seen[0].state_dict().items())
    x = tn.ones((4, 3), dtype=tn.float64)
    averaged.eval()
    assert np.array_equal(averaged(x).data, averaged.module(x).data)


def test_a_state_goes_on():
    straight, seen = optim.AveragedModel(network()), list(models(4))
    for net in seen:
        straight.update_parameters(net)
    first, second = optim.AveragedModel(network()), optim.AveragedModel(network())
    for net in seen[:2]:
        first.update_parameters(net)
    second.load_state_dict(first.state_dict())
    for net in seen[2:]:
        second.update_parameters(net)
    for name, value in straight.state_dict().items():
        assert np.array_equal(value.data, second.state_dict()[name].data)


def test_the_tape_sees_the_average_change():
    averaged = optim.AveragedModel(nn.Linear(3, 2))
    x = tn.ones((1, 3), requires_grad=True)
    y = averaged(x).sum()
    averaged.update_parameters(nn.Linear(3, 2))
    with pytest.raises(tn.GradientError, match="changed in place"):
        y.backward()


def test_statistics_anew_are_the_mean_of_the_batches():
    net = network()
    net.eval()
    net[0].train()
    batches = [tn.tensor(np.random.default_rng(i).standard_normal((4, 3))) for i in range(3)]
    net[1].running_mean.data[...] = 99
    optim.update_bn(iter([(b, 0) for b in batches]), net)
    outputs = [net[0](b).data for b in batches]
    assert np.allclose(net[1].running_mean.data, np.mean([o.mean(0) for o in outputs], 0))
    assert np.allclose(net[1].running_var.data, np.mean([o.var(0, ddof=1) for o in outputs], 0))
    assert [m.training for m in net.modules()] == [False, True, False]
    assert net[1].momentum == 0.1
    before = net[1].running_mean.data.copy()
    with pytest.raises(tn.ShapeError, match="update_bn: the loader gave no batch"):
        optim.update_bn([], net)
    assert np.array_equal(net[1].running_mean.data, before)
    with pytest.raises(tn.ShapeError):
        optim.update_bn([tn.ones((2, 7))], net)
    assert (net[1].momentum, net.training) == (0.1, False)
    optim.update_bn(None, nn.Linear(2, 2))  # nothing to do


def test_the_schedule_takes_over_where_the_other_one_left():
    o = optim.SGD([nn.Parameter([1.0])], lr=1.0)
    before, after = optim.ExponentialLR(o, 0.5), optim.SWALR(o, 0.05, 4, "linear")
    before.step()
    before.step()
    assert o.param_groups[0]["lr"] == 0.25
    for expected in (0.2, 0.15, 0.1, 0.05, 0.05):
        after.step()
        assert o.param_groups[0]["lr"] == pytest.approx(expected)
    state = after.state_dict()
    later = optim.SWALR(optim.SGD([nn.Parameter([1.0])], lr=1.0), 0.05, 4, "linear")
    later.load_state_dict({**state, "last_epoch": 1})
    later.step()
    assert later.get_last_lr() == [pytest.approx(0.15)]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda net, o: optim.AveragedModel(3), tn.DTypeError, "AveragedModel: model is int, expected a Module"),
        (lambda net, o: optim.AveragedModel(net, avg_fn=3), tn.DTypeError, "avg_fn is 3, expected a function"),
        (
            lambda net, o: optim.AveragedModel(net, avg_fn=min, multi_avg_fn=min),
            tn.DTypeError,
            "avg_fn and multi_avg_fn are given, expected one",
        ),
        (
            lambda net, o: optim.AveragedModel(net).update_parameters(nn.Linear(3, 2)),
            tn.ShapeError,
            "update_parameters: the model is not the one averaged",
        ),
        (lambda net, o: optim.get_ema_avg_fn(1.5), tn.ShapeError, r"get_ema_avg_fn: decay is 1\.5"),
        (lambda net, o: optim.get_ema_multi_avg_fn(-1), tn.ShapeError, "get_ema_multi_avg_fn: decay is -1"),
        (lambda net, o: optim.update_bn([], 3), tn.DTypeError, "update_bn: model is int"),
        (lambda net, o: optim.SWALR(o, -1.0), tn.ShapeError, r"SWALR: swa_lr is -1\.0"),
        (lambda net, o: optim.SWALR(o, [0.1, 0.2]), tn.ShapeError, "SWALR: swa_lr has 2 numbers for 1 groups"),
        (lambda net, o: optim.SWALR(o, 0.1, -1), tn.ShapeError, "SWALR: anneal_epochs is -1"),
        (lambda net, o: optim.SWALR(o, 0.1, 3, "sine"), tn.ShapeError, "SWALR: anneal_strategy is 'sine'"),
        (lambda net, o: optim.SWALR(3, 0.1), tn.DTypeError, "SWALR: optimizer is int"),
    ],
)
def test_wrong_arguments(call, error, message):
    net = network()
    with pytest.raises(error, match=message):
        call(net, optim.SGD(net.parameters()))
