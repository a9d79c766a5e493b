"""Bidirectional recurrent networks

What the note says. One hidden layer reads the sequence from its beginning, another from its end, and their states are
put together (双向循环神经网络). That suits the features of a whole sentence and filling in a blank. It cannot foretell
the future: the layer from the end has read it in training, and does not have it in use.

The formula.

    H→[t] = φ(X[t], H→[t-1]),     H←[t] = φ(X[t], H←[t+1]),     H[t] = [H→[t]; H←[t]]

To fill in X[t] itself it must not have been read, so the states beside it are taken,

    logits of X[t] = W [H→[t-1]; H←[t+1]] + b

and all places of a text are filled in at once. Taking H[t] to foretell X[t+1] is the wrong use: H←[t] has read X[t+1].

The paper. Schuster & Paliwal 1997; "Dive into Deep Learning" 9.4, whose two layers of LSTM (28 characters, 256 units)
in both directions have 2,162,688 parameters.

How it is trained here. The characters of Python's manual. Filling in a character: two GRUs of 64 units, one from each
side, beside one GRU of 128 from the left, which can only foretell it. The first has to be right five points more often.
The wrong use: the same two GRUs as a language model. With the next character in what it reads its perplexity is nearly
1; at the end of what has come so far, where a language model is used, it is worse than the bigram.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.data import DataLoader, TensorDataset, windows
from tinygrad_notes.notes.classification import EVALUATION_BATCH, Recipe, train_classifier
from tinygrad_notes.notes.language import (
    RECIPE,
    LanguageData,
    character_baselines,
    character_data,
    next_token_loss,
    train_language_model,
)
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run, apart, parameter_count, without_memory
from tinygrad_notes.notes.sequence._from_scratch import CLASSES, HIDDEN
from tinygrad_notes.tensor import Tensor
from tinygrad_notes.training import predict
from tinygrad_notes.training.pictures import save_curves


class BothWays(nn.Module):
    """Embedding and recurrent layers from both ends, or with ``directions`` 1 from the left: (N, T, directions · H)."""

    def __init__(self, vocabulary: int, hidden: int, embedding: int = 64, directions: int = 2):
        super().__init__()
        self.hidden, self.directions = hidden, directions
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.recurrent = nn.GRU(embedding, hidden, batch_first=True, bidirectional=directions == 2)
        self.output = nn.Linear(directions * hidden, vocabulary)

    def states(self, tokens: Any) -> Tensor:
        return self.recurrent(self.embedding(tokens))[0]


class FillIn(BothWays):
    """(N, T) tokens: (N, T - 2, vocabulary) logits of each token but the first and the last, by those around it."""

    def forward(self, tokens: Any) -> Tensor:
        h = self.states(tokens)
        left = h[:, :-2, : self.hidden]  # has read up to the token before
        if self.directions == 1:
            return self.output(left)
        return self.output(tn.concat([left, h[:, 2:, self.hidden :]], axis=-1))


class WrongUse(BothWays):
    """(N, T) tokens: (N, T, vocabulary) logits of the token after each, from states that have read it."""

    def forward(self, tokens: Any) -> Tensor:
        return self.output(self.states(tokens))


def blank_loss(logits: Any, after: Any) -> Tensor:
    """Of the blanks: ``after`` (N, T) are the tokens one place further on, so the first T - 2 of them."""
    return next_token_loss(logits, after[:, : logits.shape[1]])


def fill_in_accuracy(model: nn.Module, data: LanguageData, device: str | None) -> float:
    inputs, after = windows(data.test, 64)
    said = predict(model, DataLoader(TensorDataset(inputs, after), EVALUATION_BATCH), device).argmax(axis=-1)
    return float((said == inputs[:, 1:-1]).mean())


def wrong_perplexities(model: nn.Module, data: LanguageData, device: str | None) -> tuple[float, float]:
    """With the rest of the window there to be read, and at the end of what has come."""
    inputs, after = windows(data.test, 64)
    losses = []
    for tokens, target, places in ((inputs, after, slice(0, 63)), (inputs[:, :32], after[:, :32], slice(31, 32))):
        logits = predict(model, DataLoader(TensorDataset(tokens, target), EVALUATION_BATCH), device)
        losses.append(next_token_loss(tn.tensor(logits[:, places]), tn.tensor(target[:, places])).item())
    return math.exp(losses[0]), math.exp(losses[1])


def demo(run: Run) -> Outcome:
    """Fill in blanks from both sides and from the left; then the wrong use."""
    data = character_data(run.seed)
    size, recipe = len(data.vocabulary), replace(RECIPE, epochs=2)
    metrics, curves, rows = {}, {}, []
    for name, hidden, directions in (("both_sides", 64, 2), ("left_side", 128, 1)):
        tn.manual_seed(run.seed)
        model = FillIn(size, hidden, directions=directions)
        trainer = _train(run, model, data, recipe, name)
        metrics[f"fill_in_accuracy_{name}"] = fill_in_accuracy(model, data, run.device)
        curves[name.replace("_", " ")] = _curve(trainer.history)
        rows += trainer.history
    tn.manual_seed(run.seed)
    wrong = WrongUse(size, 64)
    trainer = train_language_model(run, wrong, data, replace(recipe, epochs=1), "wrong-use")
    with_future, without = wrong_perplexities(wrong, data, run.device)
    metrics |= {
        "left_side_and_5_points": metrics["fill_in_accuracy_left_side"] + 0.05,
        "wrong_use_perplexity_with_the_future": with_future,
        "wrong_use_perplexity_without": without,
        "bigram": character_baselines()["bigram"],
    }
    picture = save_curves(
        run.folder / "training.png",
        "filling in a character: right from both sides "
        f"{metrics['fill_in_accuracy_both_sides']:.3f}, from the left {metrics['fill_in_accuracy_left_side']:.3f}",
        curves,
        "epoch",
        "validation cross-entropy, nats",
    )
    return Outcome(metrics, [picture], rows + trainer.history)


def _train(run: Run, model: nn.Module, data: LanguageData, recipe: Recipe, name: str) -> Any:
    return train_classifier(run, model, data, recipe, name=name, loss=blank_loss, metrics=[])


def _curve(history: Any) -> tuple[list[float], list[float]]:
    return [row["epoch"] for row in history], [row["validation_loss"] for row in history]


def _layer() -> tuple[nn.GRU, np.ndarray]:
    tn.manual_seed(0)
    return nn.GRU(3, 4, bidirectional=True).to(tn.float64), np.random.default_rng(0).standard_normal((7, 2, 3))


def _reversed_input() -> float:
    """From the end, the weights of the directions changed over: outputs from the end, their halves changed over."""
    layer, x = _layer()
    other = nn.GRU(3, 4, bidirectional=True).to(tn.float64)
    weights = {name: value.data for name, value in layer.state_dict().items()}
    other.load_state_dict(
        {
            name: weights[name.removesuffix("_reverse") if name.endswith("_reverse") else f"{name}_reverse"]
            for name in weights
        }
    )
    outputs = layer(x)[0].data[::-1]
    return apart(other(x[::-1].copy())[0], np.concatenate([outputs[..., 4:], outputs[..., :4]], axis=-1))


def _two_layers() -> float:
    """The halves of the outputs beside two layers of one direction, the second on the reversed sequence."""
    layer, x = _layer()
    weights = {name: value.data for name, value in layer.state_dict().items()}
    halves = []
    for suffix, step in (("", 1), ("_reverse", -1)):
        one = nn.GRU(3, 4).to(tn.float64)
        one.load_state_dict({name: weights[name + suffix] for name in one.state_dict()})
        halves.append(one(x[::step].copy())[0].data[::step])
    return apart(layer(x)[0], np.concatenate(halves, axis=-1))


def _small(kind: type[BothWays], directions: int = 2) -> BothWays:
    tn.manual_seed(0)
    return kind(7, 4, 3, directions).to(tn.float64)


def _blank_is_unread() -> float:
    """What the logits of a blank have to do with the token that stands there."""
    model, tokens = _small(FillIn), np.random.default_rng(0).integers(0, 7, (1, 9))
    other = tokens.copy()
    other[0, 4] = (other[0, 4] + 1) % 7
    return float(np.abs(model(tokens).data[0, 3] - model(other).data[0, 3]).max())


def _future_is_read() -> float:
    """1 if the logits of the wrong use have nothing to do with the token that they are to foretell."""
    model, tokens = _small(WrongUse), np.random.default_rng(0).integers(0, 7, (1, 9))
    other = tokens.copy()
    other[0, 5] = (other[0, 5] + 1) % 7
    return float(np.abs(model(tokens).data[0, 4] - model(other).data[0, 4]).max() == 0)


def _checks() -> list[tuple[Any, tuple[np.ndarray]]]:
    tokens = np.random.default_rng(0).integers(0, 7, (2, 6))
    return [(_small(FillIn), (tokens,)), (_small(FillIn, 1), (tokens,)), (_small(WrongUse), (tokens,))]


def canonical() -> nn.LSTM:
    """The book's two layers."""
    return nn.LSTM(CLASSES, HIDDEN, num_layers=2, bidirectional=True)


NOTE = Note(
    slug="bidirectional-rnn",
    family="sequence",
    title="Bidirectional recurrent networks",
    sources="note 004; Zhang et al., Dive into Deep Learning, 9.4",
    paper="Schuster & Paliwal 1997, Bidirectional recurrent neural networks",
    text=__doc__,
    build=canonical,
    example=lambda: (35, 32, CLASSES),
    demo=demo,
    bars=[
        Bar("fill_in_accuracy_both_sides", at_least="left_side_and_5_points"),
        Bar("wrong_use_perplexity_with_the_future", at_most=1.5),
        Bar("wrong_use_perplexity_without", at_least="bigram"),
    ],
    facts=[
        Fact(
            "parameters of the book's layers",
            2_162_688,
            lambda: parameter_count(without_memory(canonical)),
            "Dive into Deep Learning, 9.4",
        ),
    ],
    identities=[
        Identity("the sequence from its end: the halves of the outputs change over", _reversed_input),
        Identity("it is two layers, one of them on the reversed sequence", _two_layers, 1e-15),
        Identity("filling in does not read the blank", _blank_is_unread),
        Identity("as a language model it reads what it is to foretell", _future_is_read),
    ],
    checks=_checks,
)
