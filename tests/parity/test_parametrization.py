"""Reparametrised weights against torch.nn.utils.parametrizations: values, gradients, buffers, state dicts both ways."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.nn import parametrization as pn

torch = pytest.importorskip("torch")
from torch.nn.utils import parametrizations as tp  # noqa: E402
from torch.nn.utils import parametrize as tpz  # noqa: E402

rng = np.random.default_rng(0)
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
LAYERS = pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [("Linear", (3, 4), (2, 3)), ("Conv2d", (2, 4, 3), (2, 2, 5, 5)), ("ConvTranspose2d", (2, 4, 3), (2, 2, 5, 5))],
)


def same(parity, ours, theirs, shape, dtype, passes=3):
    """Some passes of torch's state, in training and then in evaluation: outputs, gradients and buffers."""
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({key: value.numpy().copy() for key, value in theirs.state_dict().items()})
    for i in range(passes):
        training = i < passes - 1
        ours.train(training), theirs.train(training)
        x = rng.standard_normal(shape).astype(dtype)
        mine, other = tn.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        y, torch_y = ours(mine), theirs(other)
        weights = rng.standard_normal(y.shape).astype(dtype)
        ours.zero_grad(), theirs.zero_grad()
        (y * weights).sum().backward()
        (torch_y * torch.tensor(weights)).sum().backward()
        pairs = list(zip([mine, *ours.parameters()], [other, *theirs.parameters()], strict=True))
        parity.compare([y, *[a.grad for a, _ in pairs]], [torch_y, *[b.grad for _, b in pairs]])
        parity.compare(list(ours.buffers()), list(theirs.buffers()))
    theirs.load_state_dict({key: torch.tensor(value.numpy()) for key, value in ours.state_dict().items()})


def layers(name, arguments, dtype):
    torch.manual_seed(1)
    theirs = getattr(torch.nn, name)(*arguments, dtype=getattr(torch, dtype))
    return getattr(nn, name)(*arguments, dtype=dtype), theirs


@DTYPES
@LAYERS
@pytest.mark.parametrize("axis", [0, 1, None])
def test_weight_norm(parity, name, arguments, shape, axis, dtype):
    ours, theirs = layers(name, arguments, dtype)
    same(parity, pn.weight_norm(ours, axis=axis), tp.weight_norm(theirs, dim=axis), shape, dtype)


@DTYPES
@LAYERS
@pytest.mark.parametrize("axis", [0, 1, None])
def test_spectral_norm(parity, name, arguments, shape, axis, dtype):
    ours, theirs = layers(name, arguments, dtype)
    ours = pn.spectral_norm(ours, n_power_iterations=2, axis=axis)
    same(parity, ours, tp.spectral_norm(theirs, n_power_iterations=2, dim=axis), shape, dtype)


@DTYPES
def test_spectral_norm_of_a_vector(parity, dtype):
    ours, theirs = layers("Linear", (3, 4), dtype)
    same(parity, pn.spectral_norm(ours, "bias"), tp.spectral_norm(theirs, "bias"), (2, 3), dtype)


@DTYPES
def test_one_behind_the_other(parity, dtype):
    ours, theirs = layers("Linear", (3, 4), dtype)
    same(parity, pn.spectral_norm(pn.weight_norm(ours)), tp.spectral_norm(tp.weight_norm(theirs)), (2, 3), dtype)


@DTYPES
@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm"])
def test_removal(parity, kind, dtype):
    ours, theirs = layers("Linear", (3, 4), dtype)
    ours, theirs = getattr(pn, kind)(ours).eval(), getattr(tp, kind)(theirs).eval()
    ours.load_state_dict({key: value.numpy().copy() for key, value in theirs.state_dict().items()})
    pn.remove_parametrization(ours)
    tpz.remove_parametrizations(theirs, "weight")
    assert list(ours.state_dict()) == list(theirs.state_dict())
    parity.compare(list(ours.state_dict().values()), list(theirs.state_dict().values()))


class Standardized(torch.nn.Module):  # type: ignore[name-defined]
    """The formula of Qiao et al. 2019, which PyTorch itself does not have."""

    def forward(self, w):
        centred = w - w.mean((1, 2, 3), keepdim=True)
        return centred / (centred.square().mean((1, 2, 3), keepdim=True) + 1e-5).sqrt()


@DTYPES
def test_weight_standardization(parity, dtype):
    ours, theirs = layers("Conv2d", (2, 4, 3), dtype)
    tpz.register_parametrization(theirs, "weight", Standardized())
    same(parity, pn.weight_standardization(ours), theirs, (2, 2, 5, 5), dtype)
