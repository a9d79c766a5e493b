"""Latent autoregressive models

What the note says (its way B). Instead of looking back at a fixed number of values, the model keeps a summary h of all
that came (隐变量), and has two parts: one that brings the summary up to date, one that foretells the next value from
it.

The formula.

    h[t] = M₁(h[t-1], x[t-1])
    x[t] ~ M₂(h[t])             or M₂(h[t], x[t-1])

A recurrent network is the instance: M₁ is its cell, M₂ its output layer. An autoregressive model of order k is another,
whose summary are the k last values; and a filter for a moving average a third, h[t] = a h[t-1] + (1 - a) x[t-1].

Where one must take care. Here h[t] is made of x[t-1] and foretells x[t]. The same note writes its recurrent network
with h[t] made of x[t], as everybody does who feeds x[t] and asks for x[t+1]. The states are the same, numbered
differently. With M₂(h[t], x[t-1]) the value that was just read is used twice; nothing is gained where h holds it
already.

The paper. Kalman 1960 for linear ones; Elman 1990; "Dive into Deep Learning" 8.1. Those which are trained stand in the
notes ``rnn``, ``gru`` and ``lstm``; what is shown here is that they are this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.language import RecurrentLanguageModel
from tinygrad_notes.notes.note import Identity, Note, apart
from tinygrad_notes.notes.sequence.autoregressive_markov import COEFFICIENTS, autoregression
from tinygrad_notes.tensor import Tensor


class LatentAutoregression(nn.Module):
    """``model(x, h)``: x (N, T, ...), the predictions M₂(h[t]) of x[1] ... x[T] from x[0] ... x[T-1]."""

    def __init__(self, update: Callable[[Any, Any], Any], predict: Callable[[Any], Any]):
        super().__init__()
        self.update, self.predict = update, predict

    def forward(self, x: Any, h: Any) -> Tensor:
        said = []
        for t in range(x.shape[1]):
            h = self.update(h, x[:, t])  # h[t + 1] of x[t]
            said.append(self.predict(h))  # x[t + 1]
        return tn.stack(said, axis=1)


def recurrent(cell: nn.Module, output: nn.Module) -> LatentAutoregression:
    """M₁ a cell of nn, M₂ an affine layer."""
    model = LatentAutoregression(lambda h, x: cell(x, h), output)
    model.cell = cell  # so that its weights are the model's
    return model


def _is_recurrent(kind: str) -> float:
    """The cell and the layer with the same weights, beside the language model."""
    tn.manual_seed(0)
    model = RecurrentLanguageModel(7, 5, getattr(nn, kind), 3).to(tn.float64)
    cell = getattr(nn, f"{kind}Cell")(3, 5).to(tn.float64)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in model.recurrent.state_dict().items()})
    tokens = np.random.default_rng(0).integers(0, 7, (2, 9))
    latent = recurrent(cell, model.output)
    return apart(latent(model.embed(tokens), tn.zeros((2, 5), dtype=tn.float64)), model(tokens))


def _is_markov() -> float:
    """AR(4): the summary are the four last values."""
    x = autoregression(COEFFICIENTS, np.array([1.0, -0.5, 0.3, 0.8]), 30)
    weights = tn.tensor(COEFFICIENTS)
    model = LatentAutoregression(
        lambda h, new: tn.concat([new[:, None], h[:, :-1]], axis=1), lambda h: (h * weights).sum(axis=1)
    )
    said = model(tn.tensor(x[None, :-1]), tn.zeros((1, 4), dtype=tn.float64))
    return apart(said[0, 3:], x[4:])


def _is_average() -> float:
    """An exponential average, beside its closed form (1 - a) Σ a^i x[t-1-i]."""
    a, x = 0.8, np.random.default_rng(0).standard_normal(20)
    model = LatentAutoregression(lambda h, new: a * h + (1 - a) * new, lambda h: h)
    closed = [(1 - a) * sum(a**i * x[t - i] for i in range(t + 1)) for t in range(20)]
    return apart(model(tn.tensor(x[None]), tn.zeros(1, dtype=tn.float64))[0], np.array(closed))


def _sees_all() -> float:
    """1 if the last prediction of a recurrent network has nothing to do with its first input, as AR(k) would."""
    tn.manual_seed(0)
    model = recurrent(nn.GRUCell(3, 5), nn.Linear(5, 3)).to(tn.float64)
    x = tn.tensor(np.random.default_rng(0).standard_normal((1, 12, 3)), requires_grad=True)
    model(x, tn.zeros((1, 5), dtype=tn.float64))[:, -1].sum().backward()
    return float(np.abs(x.grad.numpy()[0, 0]).max() == 0.0)  # type: ignore[union-attr]


def _checks() -> list[tuple[Any, tuple[np.ndarray, ...]]]:
    random = np.random.default_rng(0)
    x, h = random.standard_normal((2, 5, 3)), random.standard_normal((2, 4))
    return [(recurrent(nn.RNNCell(3, 4), nn.Linear(4, 3)), (x, h))]


NOTE = Note(
    slug="latent-autoregressive",
    family="sequence",
    title="Latent autoregressive models",
    sources="note 004; Zhang et al., Dive into Deep Learning, 8.1",
    paper="Elman 1990, Finding structure in time",
    text=__doc__,
    no_bar="its instances are trained in the notes rnn, gru and lstm",
    identities=[
        Identity(
            "with an RNN cell and an affine layer it is the recurrent network", lambda: _is_recurrent("RNN"), 1e-14
        ),
        Identity("with a GRU cell alike", lambda: _is_recurrent("GRU"), 1e-14),
        Identity("with the last k values as summary it is AR(k)", _is_markov, 1e-14),
        Identity("with a linear update it is an exponential average", _is_average, 1e-14),
        Identity("its summary holds more than any fixed number of values", _sees_all),
    ],
    checks=_checks,
)
