"""Cells against PyTorch's: several steps, with states passed on, from a state dict that torch saved."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn

torch = pytest.importorskip("torch")
rng = np.random.default_rng(0)


def flat(values):
    return [v for value in values for v in flat(value)] if isinstance(values, list | tuple) else [values]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("batch", [(3,), ()])
@pytest.mark.parametrize(
    ("name", "options"),
    [("RNNCell", {}), ("RNNCell", {"nonlinearity": "relu", "bias": False}), ("LSTMCell", {}), ("GRUCell", {})],
)
def test_steps(parity, name, options, batch, given, dtype):
    torch.manual_seed(1)
    theirs = getattr(torch.nn, name)(3, 4, dtype=getattr(torch, dtype), **options)
    ours = getattr(nn, name)(3, 4, dtype=dtype, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({key: value.numpy().copy() for key, value in theirs.state_dict().items()})
    arrays = [rng.standard_normal((4, *batch, 3)).astype(dtype)]
    if given:
        arrays += [rng.standard_normal((*batch, 4)).astype(dtype) for _ in range(2 if name == "LSTMCell" else 1)]
    found = []
    for cell, make in ((ours, tn.tensor), (theirs, torch.tensor)):
        x, *state = leaves = [make(array, requires_grad=True) for array in arrays]
        state = None if not state else tuple(state) if name == "LSTMCell" else state[0]
        total, states = 0.0, []
        for t in range(4):
            state = cell(x[t], state)
            states += flat(state)
        for i, one in enumerate(states):
            total = total + (one * (i + 1)).sum()
        total.backward()
        parameters = list(cell.parameters())
        found.append([*states, *[leaf.grad for leaf in leaves], *[p.grad for p in parameters]])
    parity.compare(*found)
    theirs.load_state_dict({key: torch.tensor(value.numpy()) for key, value in ours.state_dict().items()})
