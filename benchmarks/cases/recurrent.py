"""One layer of LSTM, GRU and tanh RNN over a sequence, in training mode: what backward needs is kept."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import tinygrad_notes as tn
from benchmarks.cases.case import OpCase, Operand, Pass, size

STEPS, BATCH, INPUTS, HIDDEN = 128, 64, 256, 256


def recurrent(name: str, gates: int, states: tuple[str, ...], ours: Any, theirs: Any, backward: float) -> OpCase:
    rows, scale = gates * HIDDEN, 1 / math.sqrt(HIDDEN)
    x, outputs, state = (STEPS, BATCH, INPUTS), (STEPS, BATCH, HIDDEN), (1, BATCH, HIDDEN)
    weights = {"weight_ih": (rows, INPUTS), "weight_hh": (rows, HIDDEN), "bias_ih": (rows,), "bias_hh": (rows,)}
    operands = {"x": Operand(x)} | {name: Operand(state, scale=0.1) for name in states}
    operands |= {name: Operand(shape, changes=True, scale=scale) for name, shape in weights.items()}
    flops = 2.0 * STEPS * BATCH * rows * (INPUTS + HIDDEN)
    moved = size(x, outputs, *weights.values())
    return OpCase(
        f"{name} {STEPS} steps, batch {BATCH}, {INPUTS}/{HIDDEN}",
        "recurrent",
        operands,
        ours,
        theirs,
        (
            Pass("forward", (), flops, moved, {"N": 0.55}),
            Pass("backward", ("x", *weights), 2 * flops, 2 * moved, {"N": backward}),
        ),
        recorded=True,
    )


def in_one_piece(torch: Any, name: str, weights: list[Any]) -> None:
    """Move the weights behind each other, as PyTorch's layers do: cuDNN would copy them in every call."""
    mode = importlib.import_module("torch.backends.cudnn.rnn").get_cudnn_mode(name.upper())
    with torch.no_grad():
        torch._cudnn_rnn_flatten_weight(weights, 4, INPUTS, mode, HIDDEN, 0, 1, False, False)


def their(name: str) -> Callable[..., Any]:
    """The function that PyTorch's layer calls: one layer, biases, no dropout, training, one direction."""

    def function(torch: Any, x: Any, h0: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, c0=None):
        states = h0 if c0 is None else (h0, c0)
        weights = [weight_ih, weight_hh, bias_ih, bias_hh]
        if x.is_cuda and weight_ih.untyped_storage().data_ptr() != weight_hh.untyped_storage().data_ptr():
            in_one_piece(torch, name, weights)
        return getattr(torch, name)(x, states, weights, True, 1, 0.0, True, False, False)[0]

    return function


def cases() -> list[OpCase]:
    def lstm(x, h0, c0, **weights):
        return tn.lstm(x, (h0, c0), [tuple(weights.values())], training=True)[0]

    def gru(x, h0, **weights):
        return tn.gru(x, h0, [tuple(weights.values())], training=True)[0]

    def rnn(x, h0, **weights):
        return tn.rnn(x, h0, [tuple(weights.values())], training=True)[0]

    return [
        recurrent("LSTM", 4, ("h0", "c0"), lstm, their("lstm"), 0.85),
        recurrent("GRU", 3, ("h0",), gru, their("gru"), 0.8),
        recurrent("RNN", 1, ("h0",), rnn, their("rnn_tanh"), 0.8),
    ]
