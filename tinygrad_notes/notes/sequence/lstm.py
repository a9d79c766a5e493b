"""Long short-term memory (LSTM)

What the note says. Beside the hidden state there is a memory cell (记忆元). The forget gate (遗忘门) shrinks what is in
it towards 0, the input gate (输入门) says whether the new candidate is put in, and the output gate (输出门) whether the
hidden state shows what the cell holds. All gates lie between 0 and 1; the candidate between -1 and 1.

The formula.

    I[t] = σ(X[t] W_xi + H[t-1] W_hi + b_i)        F and O alike
    C̃[t] = tanh(X[t] W_xc + H[t-1] W_hc + b_c)
    C[t] = F[t] ⊙ C[t-1] + I[t] ⊙ C̃[t]
    H[t] = O[t] ⊙ tanh(C[t])

With F = 1 and I = 0 the cell stays as it is, and so does a gradient that goes back through it: along the cell it is
multiplied by F alone, by no matrix. That is why it does not vanish; the note ``bptt-vanishing`` measures it.

Where the paper differs. Hochreiter & Schmidhuber 1997 had no forget gate: the cell could only add up. Gers, Schmidhuber
& Cummins 2000 put it in, and this is the network that everybody means since. One of the notes lost its formulas with
its pictures; they are restored here from the papers and from "Dive into Deep Learning" 9.2, whose network from scratch
(28 characters, 256 units) has 299,036 parameters.

How it is trained here. 128 units read characters of Python's manual, in vectors of 64, in windows of 64. The
bar is 1.125 times the perplexity of the 4-gram: in as many steps as GRU it comes less far.
"""

from __future__ import annotations

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.language import RecurrentLanguageModel, language_demo
from tinygrad_notes.notes.note import Bar, Identity, Note, Outcome, Run
from tinygrad_notes.notes.sequence._from_scratch import (
    CLASSES,
    HIDDEN,
    FromScratch,
    difference_from_layer,
    example,
    farthest,
    one_step,
    sizes,
    small_networks,
)
from tinygrad_notes.notes.sequence.gru import CLOSED, OPEN
from tinygrad_notes.tensor import Tensor


class ScratchLSTM(FromScratch):
    """The formula; the state is (H, C)."""

    gates = ("i", "f", "c", "o")
    states = 2
    b_i: Tensor
    b_f: Tensor
    b_o: Tensor

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, c = state
        i, f, o = (tn.sigmoid(self.affine(gate, x, h)) for gate in ("i", "f", "o"))
        c = f * c + i * tn.tanh(self.affine("c", x, h))
        return o * tn.tanh(c), c


def canonical() -> RecurrentLanguageModel:
    """The book's network: one-hot characters, 256 units, affine output."""
    return RecurrentLanguageModel(CLASSES, HIDDEN, nn.LSTM)


def small(vocabulary: int) -> RecurrentLanguageModel:
    """128 units behind an embedding: what the demo trains."""
    return RecurrentLanguageModel(vocabulary, 128, nn.LSTM, 64)


def demo(run: Run) -> Outcome:
    """128 units on the characters of the manual."""
    tn.manual_seed(run.seed)
    return language_demo(run, small, "LSTM")


def _kept() -> ScratchLSTM:
    tn.manual_seed(0)
    model = ScratchLSTM(7, 5).to(tn.float64)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    model.b_f.data[:], model.b_i.data[:] = OPEN, CLOSED
    return model


def _cell_after(model: ScratchLSTM, x: Tensor, state: tuple[Tensor, ...], steps: int) -> Tensor:
    for _ in range(steps):
        state = model.step(x, state)
    return state[1]


def _constant_cell() -> float:
    model = _kept()
    x, state = one_step(model)
    return farthest(_cell_after(model, x, state, 100), state[1])


def _constant_gradient() -> float:
    model = _kept()
    x, (h, c) = one_step(model)
    c.requires_grad = True
    (found,) = tn.grad(_cell_after(model, x, (h, c), 100).sum(), [c])
    return farthest(found, np.ones(c.shape))


def _closed_output() -> float:
    """With O = 0 the cell shows nothing."""
    model = _kept()
    model.b_o.data[:] = CLOSED
    return float(np.abs(model.step(*one_step(model))[0].data).max())


BOOK = "Dive into Deep Learning, 9.2"

NOTE = Note(
    slug="lstm",
    family="sequence",
    title="Long short-term memory (LSTM)",
    sources="notes 000, 004; Zhang et al., Dive into Deep Learning, 9.2",
    paper="Hochreiter & Schmidhuber 1997, Long short-term memory; Gers, Schmidhuber & Cummins 2000, Learning to forget",
    text=__doc__,
    build=canonical,
    example=example,
    demo=demo,
    bars=[Bar("test_perplexity", at_most="1.125_times_4-gram")],
    facts=sizes(ScratchLSTM, nn.LSTM, 299_036, 292_864, BOOK),
    identities=[
        Identity(
            "the formula in small steps is the layer of nn", lambda: difference_from_layer(ScratchLSTM, nn.LSTM), 1e-12
        ),
        Identity("F = 1 and I = 0 keep the cell over 100 steps", _constant_cell),
        Identity("F = 1 and I = 0 keep the cell's gradient over 100 steps", _constant_gradient, 1e-12),
        Identity("O = 0 shows nothing of the cell", _closed_output),
    ],
    checks=lambda: small_networks(ScratchLSTM, nn.LSTM),
)
