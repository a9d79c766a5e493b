"""Deep recurrent networks

What the note says. Several hidden layers, one above the other, make the network less linear: the outputs of one layer,
a vector at every time, are the inputs of the next (深度循环神经网络). Each keeps a state of its own.

The formula. With H⁽⁰⁾[t] = X[t]

    H⁽ˡ⁾[t] = φ(W_xh⁽ˡ⁾ H⁽ˡ⁻¹⁾[t] + W_hh⁽ˡ⁾ H⁽ˡ⁾[t-1] + b⁽ˡ⁾),        logits = W_hq H⁽ᴸ⁾[t] + b_q

Where one must take care. Depth costs time in proportion, and a deep network on little text learns by heart sooner. On
this text, after as many steps, two layers of a width are sometimes better than one and sometimes a little worse; no
more is asked of them than to be at most a twentieth above its perplexity. With more steps, or more text, depth pays.

The paper. Schmidhuber 1992; El Hihi & Bengio 1995; Graves, Mohamed & Hinton 2013, arXiv:1303.5778; "Dive into Deep
Learning" 9.3, which stacks two layers of LSTM of 256 units on 28 characters.

How it is trained here. GRUs of 96 units with one and with two layers read the characters of Python's manual for as many
steps, with the same seeds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.language import RECIPE, RecurrentLanguageModel, compare_demo
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run, apart, parameter_count
from tinygrad_notes.notes.sequence._from_scratch import CLASSES, HIDDEN, example


def canonical() -> RecurrentLanguageModel:
    """The book's network: one-hot characters, two layers of LSTM of 256 units, affine output."""
    return RecurrentLanguageModel(CLASSES, HIDDEN, nn.LSTM, layers=2)


def demo(run: Run) -> Outcome:
    """One layer and two, for as many steps."""

    def with_layers(layers: int) -> dict:
        name = {1: "one layer", 2: "two layers"}[layers]
        return {name: lambda size: RecurrentLanguageModel(size, 96, nn.GRU, 64, layers=layers)}

    recipe = replace(RECIPE, epochs=3, learning_rate=5e-3)
    outcome = compare_demo(run, with_layers(1) | with_layers(2), "GRU of 96 units", recipe)
    outcome.metrics["1.05_times_one_layer"] = 1.05 * outcome.metrics["test_perplexity_one_layer"]
    return outcome


def _stacked(kind: type[nn.Module]) -> float:
    """Two layers at once beside one upon the output of the other, with the same weights."""
    tn.manual_seed(0)
    both = kind(3, 4, num_layers=2).to(tn.float64)
    lower, upper = kind(3, 4).to(tn.float64), kind(4, 4).to(tn.float64)
    weights = {name: value.data for name, value in both.state_dict().items()}
    for layer, number in ((lower, 0), (upper, 1)):
        own = {name: array for name, array in weights.items() if name.endswith(f"_l{number}")}
        layer.load_state_dict({name.replace(f"_l{number}", "_l0"): array for name, array in own.items()})
    x = np.random.default_rng(0).standard_normal((7, 2, 3))
    (outputs, _), (below, _) = both(x), lower(x)
    return apart(outputs, upper(below)[0])


def _states() -> float:
    """The last states of both layers: the upper one is the last output."""
    tn.manual_seed(0)
    outputs, h = nn.GRU(3, 4, num_layers=2).to(tn.float64)(np.random.default_rng(0).standard_normal((7, 2, 3)))
    return apart(outputs[-1], h[1])


BOOK = "Dive into Deep Learning, 9.3"

NOTE = Note(
    slug="deep-rnn",
    family="sequence",
    title="Deep recurrent networks",
    sources="note 004; Zhang et al., Dive into Deep Learning, 9.3",
    paper="Graves, Mohamed & Hinton 2013, Speech recognition with deep recurrent neural networks, arXiv:1303.5778",
    text=__doc__,
    build=canonical,
    example=example,
    demo=demo,
    bars=[
        Bar("test_perplexity_two_layers", at_most="1.05_times_one_layer"),
        Bar("test_perplexity_two_layers", at_most="trigram"),
    ],
    facts=[
        Fact(
            "parameters of two layers",
            292_864 + 4 * 256 * (256 + 256 + 2),
            lambda: parameter_count(canonical().recurrent),
            "the second layer reads 256 units",
        ),
        Fact("shape of the logits", (32, 35, 28), lambda: canonical()(*example()).shape, BOOK),
    ],
    identities=[
        Identity("the second layer reads the outputs of the first: RNN", lambda: _stacked(nn.RNN), 1e-14),
        Identity("the second layer reads the outputs of the first: GRU", lambda: _stacked(nn.GRU), 1e-14),
        Identity("the second layer reads the outputs of the first: LSTM", lambda: _stacked(nn.LSTM), 1e-14),
        Identity("the state of the upper layer is the last output", _states),
    ],
    checks=lambda: [
        (RecurrentLanguageModel(6, 4, nn.GRU, 3, layers=2), (np.random.default_rng(0).integers(0, 6, (2, 5)),))
    ],
)
