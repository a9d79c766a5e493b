"""What one does with a GPU beside steps: moving, making, printing, saving, loading data, checking gradients."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.capture.fake_cupy import FakeArray
from tests.cuda_on_cpu import device
from tinygrad_notes import nn, optim
from tinygrad_notes.data import DataLoader, TensorDataset
from tinygrad_notes.study.gradcheck import gradcheck


@pytest.fixture
def gpu(monkeypatch):
    return device.install(monkeypatch)


@pytest.mark.parametrize(
    "make",
    [
        lambda **place: tn.zeros((2, 3), **place),
        lambda **place: tn.ones(3, dtype=tn.int64, **place),
        lambda **place: tn.full((2, 2), 7, **place),
        lambda **place: tn.full(3, 0.5, requires_grad=True, **place),
        lambda **place: tn.arange(2, 9, 3, **place),
        lambda **place: tn.arange(0.0, 1.0, 0.25, **place),
        lambda **place: tn.eye(3, 4, k=-1, **place),
        lambda **place: tn.eye(2, dtype="bool", **place),
        lambda **place: tn.zeros_like(tn.ones((2, 2), **place)),
        lambda **place: tn.full_like(tn.ones((2, 2), **place), 3),
    ],
)
def test_numbers_are_made_on_the_device(make, gpu):
    there, here = make(device="cuda"), make()
    assert gpu.waits == []
    assert type(there.data) is FakeArray
    assert (there.dtype, there.requires_grad) == (here.dtype, here.requires_grad)
    np.testing.assert_array_equal(there.detach().to("cpu").numpy(), here.detach().numpy())


def test_empty_and_unknown_devices(gpu):
    assert tn.empty((2, 3), device="cuda").device == "cuda"
    assert gpu.waits == []
    with pytest.raises(tn.DeviceError, match="device 'tpu' does not exist"):
        tn.zeros(3, device="tpu")


def network():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))


def test_a_network_moves_there_and_back_and_is_copied_and_saved(gpu, tmp_path):
    net = network()
    before = {name: t.detach().numpy().copy() for name, t in net.state_dict().items()}
    net.to("cuda")
    assert {t.device for t in net.state_dict().values()} == {"cuda"}
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert {t.device for t in twin.state_dict().values()} == {"cuda"}
    other = network().to("cuda")
    other.load_state_dict(net.state_dict())
    here = network()
    here.load_state_dict(other.state_dict())
    for name, t in here.state_dict().items():
        assert t.device == "cpu"
        np.testing.assert_array_equal(t.detach().numpy(), before[name])
    optimizer = optim.Adam(net.parameters())
    net(tn.ones((2, 1, 8, 8), device="cuda")).sum().backward()
    optimizer.step()
    again = optim.Adam(other.parameters())
    again.load_state_dict(optimizer.state_dict())
    other(tn.ones((2, 1, 8, 8), device="cuda")).sum().backward()
    again.step()
    assert net.to("cpu")[0].weight.device == "cpu"


def test_printing(gpu):
    x = tn.tensor([[1.0, 2.0]], device="cuda", requires_grad=True)
    assert repr(x) == "Tensor([[1., 2.]], device='cuda', requires_grad=True)"
    assert f"{x.sum():.1f}" == "3.0"
    assert x.tolist() == [[1.0, 2.0]]
    assert repr(network().to("cuda"))


def test_batches_of_a_loader(gpu):
    data = TensorDataset(np.arange(12, dtype=np.float32).reshape(6, 2), np.arange(6))
    for x, y in DataLoader(data, 4):
        there = x.to("cuda"), y.to("cuda")
        assert [t.device for t in there] == ["cuda", "cuda"]
        np.testing.assert_array_equal(there[0].to("cpu").numpy(), x.numpy())


def test_gradients_against_finite_differences(gpu):
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.LayerNorm(4), nn.Linear(4, 2)).to("cuda")
    gradcheck(net, tn.randn((5, 3)).to("cuda")).raise_if_failed()
    gradcheck(tn.softmax, tn.randn((5, 3)).to("cuda"), order=2).raise_if_failed()


def test_a_captured_step_makes_arrays_and_aligns_sequences(gpu):
    """Arrays made inside come from no host; labels and lengths are looked at before the step is recorded only."""
    targets = tn.tensor([[1, 2, 2], [2, 1, 0]], device="cuda")
    lengths = tn.tensor([6, 5], device="cuda"), tn.tensor([3, 2], device="cuda")

    @tn.capture(warmup=1)
    def step(x):
        scale = tn.arange(3, device="cuda") + tn.full(3, 0.5, device="cuda") + tn.ones(3, device="cuda")
        return tn.ctc_loss(tn.log_softmax(x * scale, -1), targets, *lengths)

    x = tn.randn((6, 2, 3))
    wanted = tn.ctc_loss(tn.log_softmax(x * (tn.arange(3) + 1.5), -1), [[1, 2, 2], [2, 1, 0]], [6, 5], [3, 2]).item()
    for _ in range(3):
        assert step(x.to("cuda")).item() == pytest.approx(wanted, rel=1e-5)


def test_integers_add_up_where_an_index_repeats(gpu):
    index = tn.tensor([0, 2, 0], device="cuda")
    total = tn.scatter_add(tn.tensor([1, -5, 2**40], device="cuda"), index, 4)
    assert total.tolist() == [2**40 + 1, 0, -5, 0]
    assert gpu.composed == ["scatter_add"]  # kernels add floats
    assert tn.scatter_add(tn.tensor([1.0, 2.0, 4.0], device="cuda"), index, 3).tolist() == [5.0, 0.0, 2.0]
    assert gpu.composed == ["scatter_add"]
