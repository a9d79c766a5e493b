"""Recurrent layers against PyTorch: values and gradients of every weight, packed sequences, unbatched input."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn

torch = pytest.importorskip("torch")

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
HIDDEN, INPUTS = 4, 3
KINDS = {"tanh": ("RNN", tn.rnn), "relu": ("RNN", tn.rnn), "lstm": ("LSTM", tn.lstm), "gru": ("GRU", tn.gru)}


def compare(
    parity,
    kind,
    dtype,
    layers=1,
    bidirectional=False,
    batch_first=False,
    bias=True,
    batched=True,
    lengths=None,
    zeros=False,
):
    """The layer of PyTorch, and ours with its weights."""
    torch.manual_seed(layers)
    name, function = KINDS[kind]
    options = {"nonlinearity": kind} if name == "RNN" else {}
    module = getattr(torch.nn, name)(
        INPUTS, HIDDEN, layers, bias=bias, batch_first=batch_first, bidirectional=bidirectional,
        dtype=getattr(torch, dtype), **options,
    )  # fmt: skip
    cells, per_cell = layers * (1 + bidirectional), 4 if bias else 2
    rng = np.random.default_rng(layers)
    batch = (3,) if batched else ()
    x = rng.standard_normal((*batch, 6, INPUTS) if batch_first else (6, *batch, INPUTS))
    states = [] if zeros else [rng.standard_normal((cells, *batch, HIDDEN)) for _ in range(1 + (name == "LSTM"))]
    weights = [p.detach().numpy() for p in module.parameters()]

    def state_of(arrays):
        return None if zeros else tuple(arrays) if name == "LSTM" else arrays[0]

    def ours(x, *arrays):
        rest = arrays[len(states) :]
        tuples = [rest[i : i + per_cell] for i in range(0, len(rest), per_cell)]
        return function(
            x,
            state_of(arrays[: len(states)]),
            tuples,
            bidirectional=bidirectional,
            batch_first=batch_first,
            lengths=lengths,
            **options,
        )

    def theirs(x, *arrays):
        names = [n for n, _ in module.named_parameters()]
        parameters = dict(zip(names, arrays[len(states) :], strict=True))
        if lengths is not None:
            x = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), batch_first, enforce_sorted=False)
        output, last = torch.func.functional_call(module, parameters, (x, state_of(arrays[: len(states)])))
        if lengths is not None:
            output, _ = torch.nn.utils.rnn.pad_packed_sequence(output, batch_first, total_length=6)
        return output, last

    parity.check(ours, theirs, x, *states, *weights, dtype=dtype)


@DTYPES
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [None, [6, 4, 1], [2, 6, 3]], ids=["all", "sorted", "unsorted"])
def test_layers(parity, kind, dtype, layers, bidirectional, lengths):
    compare(parity, kind, dtype, layers, bidirectional, lengths=lengths)


@DTYPES
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    "options",
    [{"batch_first": True}, {"bias": False}, {"batched": False}, {"zeros": True}, {"zeros": True, "batched": False},
     {"batch_first": True, "lengths": [1, 5, 6]}],
    ids=["batch first", "no bias", "no batch", "zero states", "zero states, no batch", "batch first, lengths"],
)  # fmt: skip
def test_options(parity, kind, dtype, bidirectional, options):
    compare(parity, kind, dtype, 2, bidirectional, **options)
