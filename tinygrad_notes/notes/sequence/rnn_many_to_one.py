"""Classifying a text with a recurrent network: many to one

What the note says. The network reads the whole text, gives no output on the way, and the state after the last word is
what it knows of the text; an affine layer reads the class off it (文本分类).

The formula. h[t] = GRU(x[t], h[t-1]), logits = W h[T] + b, with T the last real token: what stands behind it to fill
the batch must count for nothing. "Dive into Deep Learning" 15.2 reads from both ends with two layers of LSTM of 100
units, on word vectors of 100 that are given; that is the full size here. (The book takes the outputs at the first and
at the last place, four states; here it is the last state of either direction, two, which have read everything.)

The paper. Sutskever, Martens & Hinton 2011 for characters; Dai & Le 2015, arXiv:1511.01432, for whole documents.

How it is trained here. A character's name in the Unicode standard begins with its script: "greek small letter alpha
with tonos". That first word is taken away and is to be told from the rest, read letter by letter: "small letter alpha
with tonos" is Greek, "syllable nzup" is Yi. Ten scripts; what is left of a name and stands in two scripts ("small
letter a") is left out, as nobody can tell; what is in the test part is in no other. The bar is 0.9, beside the
commonest script. Logistic regression on counts of letters and of pairs of letters, which knows no order beyond a pair,
is measured too: it does as well (0.967 beside 0.967 to 0.972), for pairs of letters are nearly all that tells these
scripts apart.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.data import CharacterVocabulary, TensorDataset, character_names
from tinygrad_notes.notes.classification import EVALUATION_BATCH, Recipe, train_classifier
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run, parameter_count, without_memory
from tinygrad_notes.notes.translation import padded
from tinygrad_notes.tensor import Tensor
from tinygrad_notes.training import predict
from tinygrad_notes.training.baselines import logistic_regression, majority
from tinygrad_notes.training.pictures import save_picture

SCRIPTS = ("arabic", "yi", "latin", "canadian", "cuneiform", "bamum", "ethiopic", "hangul", "greek", "cyrillic")
LONGEST = 40
RECIPE = Recipe(epochs=7, batch=64, learning_rate=5e-3, weight_decay=1e-2, clip_norm=1.0)


class TextClassifier(nn.Module):
    """(N, T) tokens and their lengths (N,): (N, classes) logits."""

    def __init__(
        self,
        vocabulary: int,
        classes: int,
        embedding: int,
        hidden: int,
        layers: int = 1,
        cell: type[nn.Module] = nn.GRU,
    ):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.recurrent = cell(embedding, hidden, num_layers=layers, batch_first=True, bidirectional=True)
        self.output = nn.Linear(2 * hidden, classes)

    def forward(self, tokens: Any, lengths: Any = None) -> Tensor:
        _, last = self.recurrent(self.embedding(tokens), lengths=lengths)
        h = last[0] if isinstance(last, tuple) else last  # (layers · 2, N, hidden)
        return self.output(tn.concat([h[-2], h[-1]], axis=-1))  # both directions of the last layer


def canonical() -> TextClassifier:
    """The book's sizes: 49,346 words of film reviews, good or bad."""
    return TextClassifier(49_346, 2, 100, 100, layers=2, cell=nn.LSTM)


@dataclass(frozen=True)
class ScriptData:
    """Parts of (letters, lengths, number of the script)."""

    vocabulary: CharacterVocabulary
    train: TensorDataset
    validation: TensorDataset
    test: TensorDataset


def script_data(seed: int = 0) -> ScriptData:
    """A fifth of the names is for testing, the same for every seed; of the others a tenth, by ``seed``, validates."""
    scripts = defaultdict(set)
    for name in character_names(least=2):
        first, _, rest = name.text.partition(" ")
        if first in SCRIPTS:
            scripts[rest[:LONGEST]].add(first)
    names = [(rest, SCRIPTS.index(next(iter(found)))) for rest, found in scripts.items() if len(found) == 1]
    vocabulary = CharacterVocabulary("".join(rest for rest, _ in names), unknown="<pad>")
    letters, lengths = padded([vocabulary.encode(rest) for rest, _ in names])
    labels = np.array([label for _, label in names])
    order = np.random.default_rng(0).permutation(len(names))
    test, others = np.split(order, [len(order) // 5])
    validation, train = np.split(np.random.default_rng(seed).permutation(others), [len(others) // 10])
    parts = [TensorDataset(letters[part], lengths[part], labels[part]) for part in (train, validation, test)]
    return ScriptData(vocabulary, *parts)


def counts_of(data: ScriptData, part: TensorDataset) -> np.ndarray:
    """How often each letter and each pair of neighbours comes, (N, V + V²)."""
    letters = part.tensors[0].numpy()
    size = len(data.vocabulary)
    counts = np.zeros((len(letters), size + size * size), np.float32)
    rows = np.arange(len(letters))[:, None]
    np.add.at(counts, (rows, letters), 1)
    both = (letters[:, :-1] > 0) & (letters[:, 1:] > 0)
    np.add.at(counts, (rows, size + np.where(both, letters[:, :-1] * size + letters[:, 1:], 0)), 1)
    counts[:, [0, size]] = 0  # padding
    return counts


def demo(run: Run) -> Outcome:
    """Train on names without their first word; accuracy, two baselines, and which scripts are taken for which."""
    tn.manual_seed(run.seed)
    data = script_data(run.seed)
    model = TextClassifier(len(data.vocabulary), len(SCRIPTS), 32, 64)
    trainer = train_classifier(run, model, data, RECIPE)
    labels, train_labels = (part.tensors[-1].numpy() for part in (data.test, data.train))
    predicted = predict(model, tn.data.DataLoader(data.test, EVALUATION_BATCH), run.device).argmax(axis=1)
    metrics = {
        "test_accuracy": float((predicted == labels).mean()),
        "majority_class": majority(train_labels, labels),
        "logistic_regression_on_pairs": logistic_regression(
            counts_of(data, data.train), train_labels, counts_of(data, data.test), labels
        ),
        "best_epoch": trainer.best["epoch"],  # type: ignore[index]
    }
    confusion = np.zeros((len(SCRIPTS),) * 2)
    np.add.at(confusion, (labels, predicted), 1)
    picture = _save(run, metrics["test_accuracy"], confusion / confusion.sum(axis=1, keepdims=True))
    return Outcome(metrics, [picture], trainer.history, trainer.times)


def _save(run: Run, accuracy: float, confusion: np.ndarray) -> Any:
    """The part of the names of each script (rows) that were taken for each (columns), those above 0 in figures."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.imshow(confusion, cmap="Blues", vmin=0, vmax=1)
        axes.set(xlabel="said", ylabel="true")
        axes.set_xticks(range(len(SCRIPTS)), SCRIPTS, rotation=45, ha="right")
        axes.set_yticks(range(len(SCRIPTS)), SCRIPTS)
        for i, j in np.argwhere(confusion > 0):
            colour = "white" if confusion[i, j] > 0.5 else "black"
            axes.text(j, i, f"{confusion[i, j]:.2f}", ha="center", va="center", fontsize=8, color=colour)

    title = f"scripts by what follows them in the names of their characters: accuracy {accuracy:.3f}"
    return save_picture(run.folder / "confusion.png", title, draw, (8, 7))


def _small(cell: type[nn.Module] = nn.GRU) -> TextClassifier:
    tn.manual_seed(0)
    return TextClassifier(9, 3, 4, 5, cell=cell).to(tn.float64)


def _padding() -> float:
    """The logits of a text alone beside those of the same text in a batch with a longer one."""
    model, random = _small(), np.random.default_rng(0)
    tokens = random.integers(0, 9, (2, 8))
    alone = model(tokens[1:, :5])
    return float(np.abs(model(tokens, np.array([8, 5])).data[1] - alone.data[0]).max())


def _order() -> float:
    """1 if the same letters in another order give the same logits, which a bag of letters would."""
    model, tokens = _small(), np.array([[1, 2, 3, 4]])
    return float(np.abs(model(tokens).data - model(tokens[:, ::-1].copy()).data).max() < 1e-6)


def _checks() -> list[tuple[Any, tuple[np.ndarray, ...]]]:
    tokens, lengths = np.random.default_rng(0).integers(0, 9, (2, 6)), np.array([6, 3])
    return [(_small(cell), (tokens, lengths)) for cell in (nn.GRU, nn.LSTM)]


NOTE = Note(
    slug="rnn-many-to-one",
    family="sequence",
    title="Classifying a text with a recurrent network: many to one",
    sources="note 004; Zhang et al., Dive into Deep Learning, 15.2",
    paper="Dai & Le 2015, Semi-supervised sequence learning, arXiv:1511.01432",
    text=__doc__,
    build=canonical,
    demo=demo,
    bars=[
        Bar("test_accuracy", at_least=0.9),
        Bar("test_accuracy", at_least="majority_class"),
    ],
    facts=[
        Fact(
            "parameters of the book's two layers of LSTM",
            2 * 400 * (100 + 100 + 2) + 2 * 400 * (200 + 100 + 2),
            lambda: parameter_count(without_memory(canonical).recurrent),
            "4 gates, two directions, two biases",
        ),
        Fact(
            "parameters at full size",
            4_934_600 + 403_200 + 402,
            lambda: parameter_count(without_memory(canonical)),
            "word vectors, LSTM, output",
        ),
    ],
    identities=[
        Identity("what fills the batch behind a text changes nothing", _padding, 1e-14),
        Identity("the order of the letters matters", _order),
    ],
    checks=_checks,
)
