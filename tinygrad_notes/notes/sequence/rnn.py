"""Recurrent neural network

What the note says. A recurrent network keeps a hidden state (隐状态) that sums up what it has read. The state is made
of the one before and of the input, and the same weights are used at every time, so that their number does not grow
with the length of the text. Without the term of the old state it is a multilayer perceptron, applied to each input
alone.

The formula.

    h[t] = φ(W_hx x[t] + W_hh h[t-1] + b_h)        φ = tanh
    o[t] = W_hq h[t] + b_q                         logits of the next token, x[t+1]

Where the note is wrong. It puts φ on the output too: o = φ(W_ho h + b_o). Logits have no activation before the softmax,
which needs to see any number; with tanh no token could be more than e² times as probable as another. The default here
has none, and ``ScratchRNN(…, activation=tn.tanh)`` is the note's.
It also writes x[t-1] in one place and x[t] in another: in the state-space picture (the note ``latent-autoregressive``)
h[t] is made before x[t] is known, and foretells it; a network reads x[t] and foretells x[t+1]. That is one model with
its times numbered differently.

The paper. Elman 1990, "Finding structure in time"; "Dive into Deep Learning" 8.4 to 8.6, whose network from scratch
(28 characters, 256 units) has 80,156 parameters. PyTorch's layer and ours have two biases, of which one would do.

How it is trained here. 128 tanh units read characters of Python's manual, in vectors of 64, in windows of 64 from
random places; the norm of the gradient is cut at 1. On the test text it has to beat the trigram. See
notes/language.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.language import RECIPE, RecurrentLanguageModel, language_demo
from tinygrad_notes.notes.note import Bar, Identity, Note, Outcome, Run, apart
from tinygrad_notes.notes.sequence._from_scratch import (
    CLASSES,
    HIDDEN,
    FromScratch,
    difference_from_layer,
    example,
    sizes,
    small_networks,
)
from tinygrad_notes.tensor import Tensor


class ScratchRNN(FromScratch):
    """The formula, one step at a time. ``activation``: of the output, as the note has it; None for logits."""

    gates = ("h",)

    def __init__(self, vocabulary: int, hidden: int, activation: Callable[[Any], Tensor] | None = None):
        super().__init__(vocabulary, hidden)
        self.activation = activation

    def advance(self, tokens: Any, state: Any = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        logits, state = super().advance(tokens, state)
        return logits if self.activation is None else self.activation(logits), state

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (tn.tanh(self.affine("h", x, state[0])),)


def canonical() -> RecurrentLanguageModel:
    """The book's network: one-hot characters, 256 units, affine output."""
    return RecurrentLanguageModel(CLASSES, HIDDEN, nn.RNN)


def small(vocabulary: int) -> RecurrentLanguageModel:
    """128 units behind an embedding: what the demo trains."""
    return RecurrentLanguageModel(vocabulary, 128, nn.RNN, 64)


def demo(run: Run) -> Outcome:
    """128 units on the characters of the manual."""
    tn.manual_seed(run.seed)
    recipe = replace(RECIPE, epochs=8, learning_rate=3e-3)
    return language_demo(run, small, "RNN", recipe)


def _without_memory() -> float:
    """W_hh = 0 beside the multilayer perceptron that is applied to each token."""
    tn.manual_seed(0)
    model = RecurrentLanguageModel(7, 5, nn.RNN, embedding=3).to(tn.float64)
    layer = model.recurrent
    layer.weight_hh_l0.data[:] = 0
    tokens = np.random.default_rng(0).integers(0, 7, (3, 12))
    x = model.embed(tokens)
    hidden = tn.tanh(x @ layer.weight_ih_l0.T + (layer.bias_ih_l0 + layer.bias_hh_l0))
    return apart(model(tokens), model.output(hidden))


def _state_carried() -> float:
    """Twelve tokens at once beside seven and five with the state handed on."""
    tn.manual_seed(0)
    model = RecurrentLanguageModel(7, 5, nn.RNN).to(tn.float64)
    tokens = np.random.default_rng(0).integers(0, 7, (3, 12))
    first, state = model.advance(tokens[:, :7])
    second, _ = model.advance(tokens[:, 7:], state)
    return apart(model(tokens), np.concatenate([first.data, second.data], axis=1))


def _bounded_outputs() -> float:
    """With tanh on the output, the largest ratio of two probabilities, less the e² that it cannot pass."""
    tn.manual_seed(0)
    model = ScratchRNN(28, 5, activation=tn.tanh).to(tn.float64)
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0.0, 10.0)
    p = tn.softmax(model(np.random.default_rng(0).integers(0, 28, (20, 50))), axis=-1).data
    return max(float((p.max(axis=-1) / p.min(axis=-1)).max()) - np.exp(2.0), 0.0)


BOOK = "Dive into Deep Learning, 8.5 and 8.6"

NOTE = Note(
    slug="rnn",
    family="sequence",
    title="Recurrent neural network",
    sources="notes 000, 004; Zhang et al., Dive into Deep Learning, 8.4 to 8.6",
    paper="Elman 1990, Finding structure in time",
    text=__doc__,
    build=canonical,
    example=example,
    demo=demo,
    bars=[Bar("test_perplexity", at_most="trigram")],
    facts=sizes(ScratchRNN, nn.RNN, 80_156, 73_216, BOOK),
    identities=[
        Identity(
            "the formula in small steps is the layer of nn", lambda: difference_from_layer(ScratchRNN, nn.RNN), 1e-12
        ),
        Identity("without W_hh h[t-1] it is a perceptron of each token", _without_memory, 1e-12),
        Identity("a text in two pieces, the state handed on, is the text in one", _state_carried, 1e-12),
        Identity("with tanh on the output no token is more than e² times as likely as another", _bounded_outputs, 1e-9),
    ],
    checks=lambda: small_networks(ScratchRNN, nn.RNN),
)
