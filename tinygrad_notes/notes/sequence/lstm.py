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

What is carried how far. One of eight symbols is read, marked as the one to keep, then 10 or 50 more without a mark, and
then the first is to be said: the copying of one symbol over a lag. 32 units have 300 steps to learn it. A plain network
does over 10 and mostly fails over 50, and so does an LSTM as PyTorch begins it, which is worse even over 10: with b_f
near 0 the forget gate is about 1/2, and of a cell, and of its gradient, 2⁻⁵⁰ is left. The gates have to begin open.
With b_f = log u and b_i = -log u, u at random between 1 and the longest lag less 1 (Tallec & Ollivier 2018,
arXiv:1804.11188), F is about 1 - 1/u: a cell forgets after some u steps. So begun, the LSTM carries the symbol over 50;
the bars are 0.95 for it and 0.9 for the plain network (measured: 1.0 from each of five seeds, and 0.10 to 0.24 from
four of them, 0.78 from one). Where what stands between is of another kind than what is to be kept, the plain network
may do it as well, by units that saturate: it can hold a thing, but not choose what.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.data import DataLoader, TensorDataset
from tinygrad_notes.notes.classification import Recipe, train_classifier
from tinygrad_notes.notes.language import RecurrentLanguageModel, language_demo
from tinygrad_notes.notes.note import Bar, Identity, Note, Outcome, Run, apart
from tinygrad_notes.notes.sequence._from_scratch import (
    CLASSES,
    HIDDEN,
    FromScratch,
    difference_from_layer,
    example,
    one_step,
    sizes,
    small_networks,
)
from tinygrad_notes.notes.sequence.gru import CLOSED, OPEN
from tinygrad_notes.tensor import Tensor
from tinygrad_notes.training import predict
from tinygrad_notes.training.pictures import save_curves

SYMBOLS, LAGS = 8, (10, 50)
RECALL = Recipe(epochs=10, batch=64, learning_rate=1e-2, weight_decay=0.0, clip_norm=1.0)
RECALL_ROWS = 30 * RECALL.batch  # for training, 30 steps an epoch


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


class Recall(nn.Module):
    """Rows of one-hot tokens (N, T) to logits (N, SYMBOLS) of which symbol stood first, from the last state."""

    def __init__(self, cell: Any, hidden: int = 32):
        super().__init__()
        self.recurrent = cell(2 * SYMBOLS, hidden, batch_first=True)
        self.output = nn.Linear(hidden, SYMBOLS)

    def forward(self, tokens: Any) -> Tensor:
        h, _ = self.recurrent(tn.one_hot(tokens, 2 * SYMBOLS, dtype=self.output.weight.dtype))
        return self.output(h[:, -1])


def begin_for_lag(layer: Any, lag: int) -> None:
    """Gates that keep a cell for 1 to ``lag`` - 1 steps: b_f = log u, b_i = - b_f."""
    hidden = layer.hidden_size
    kept = np.log(1 + (lag - 2) * tn.rand(hidden).numpy())
    layer.bias_ih_l0.data[:hidden] = -kept  # PyTorch's order: i, f, c, o
    layer.bias_ih_l0.data[hidden : 2 * hidden] = kept


@dataclass(frozen=True)
class RecallData:
    """Rows of a symbol that is marked, ``lag`` without a mark, and the symbol; each part has rows of its own.

    Tokens are 0 to 7 without the mark and 8 to 15 with it.
    """

    train: TensorDataset
    validation: TensorDataset
    test: TensorDataset


def recall_data(lag: int, seed: int = 0, train: int = RECALL_ROWS, held_out: int = 500) -> RecallData:
    random = np.random.default_rng(seed)

    def part(number: int) -> TensorDataset:
        tokens = random.integers(0, SYMBOLS, (number, 1 + lag))
        wanted = tokens[:, 0].copy()
        tokens[:, 0] += SYMBOLS
        return TensorDataset(tokens, wanted)

    return RecallData(part(train), part(held_out), part(held_out))


def recall(run: Run) -> tuple[dict[str, float], dict[str, tuple[list[float], list[float]]]]:
    """The part of the symbols said right after each lag by each network, and validation accuracies by epoch."""
    metrics, curves = {}, {}
    for lag in LAGS:
        data = recall_data(lag, run.seed)
        for name, cell in (("RNN", nn.RNN), ("LSTM_of_PyTorch", nn.LSTM), ("LSTM", nn.LSTM)):
            tn.manual_seed(run.seed)
            model = Recall(cell)
            if name == "LSTM":
                begin_for_lag(model.recurrent, max(LAGS))
            trainer = train_classifier(run, model, data, RECALL, name=f"recall-{name}-{lag}")
            said = predict(model, DataLoader(data.test, 250), run.device).argmax(axis=-1)
            metrics[f"{name}_over_{lag}"] = float((said == data.test.tensors[1].numpy()).mean())
            curves[f"{name.replace('_', ' ')}, lag {lag}"] = (
                [row["epoch"] for row in trainer.history],
                [row["validation_accuracy"] for row in trainer.history],
            )
    return metrics, curves


def demo(run: Run) -> Outcome:
    """128 units on the characters of the manual; then what is carried over a lag."""
    tn.manual_seed(run.seed)
    outcome = language_demo(run, small, "LSTM")
    metrics, curves = recall(run)
    picture = save_curves(
        run.folder / "recall.png", "A symbol to be said after a lag", curves, "epoch of 30 steps", "right, validation"
    )
    return Outcome(outcome.metrics | metrics, [*outcome.pictures, picture], outcome.history, outcome.times)


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
    return apart(_cell_after(model, x, state, 100), state[1])


def _constant_gradient() -> float:
    model = _kept()
    x, (h, c) = one_step(model)
    c.requires_grad = True
    (found,) = tn.grad(_cell_after(model, x, (h, c), 100).sum(), [c])
    return apart(found, np.ones(c.shape))


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
    bars=[
        Bar("test_perplexity", at_most="1.125_times_4-gram"),
        Bar("LSTM_over_50", at_least=0.95),
        Bar("RNN_over_50", at_most=0.9),
    ],
    facts=sizes(ScratchLSTM, nn.LSTM, 299_036, 292_864, BOOK),
    identities=[
        Identity(
            "the formula in small steps is the layer of nn", lambda: difference_from_layer(ScratchLSTM, nn.LSTM), 1e-12
        ),
        Identity("F = 1 and I = 0 keep the cell over 100 steps", _constant_cell),
        Identity("F = 1 and I = 0 keep the cell's gradient over 100 steps", _constant_gradient, 1e-12),
        Identity("O = 0 shows nothing of the cell", _closed_output),
    ],
    checks=lambda: [
        *small_networks(ScratchLSTM, nn.LSTM),
        (Recall(nn.LSTM, 4), (recall_data(3, 0, 2, 1).train.tensors[0].numpy(),)),
    ],
)
