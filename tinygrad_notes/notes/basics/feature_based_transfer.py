"""Feature-based transfer

What the notes say. There are two ways to use a network that was pretrained. In the feature-based one, ELMo's, it stays
as it is: its outputs are more inputs of a network that is designed for the task. In the other, that of GPT and BERT, it
becomes the network of the task: a small head is put on it, and all of its weights are trained on (the note
``fine-tuning``). Where the features are a table with one vector for each word, they know nothing of the order and of
the words around, so that all of this is left to the network behind them, which has to be designed by hand.

The formula. With f the pretrained encoder, θ its weights, g the head with the weights w:

    fixed table:     g(E[x_t]; w)            least over w
    feature-based:   g(f(x; θ)_t; w)         least over w
    fine-tuning:     g(f(x; θ)_t; w)         least over w and θ, from the pretrained θ on

Fine-tuning looks for its minimum among more functions, so it can reach what features can. What speaks for features:
they are computed once and kept, as nothing that is trained changes them (an identity below), and one encoder serves
many tasks. ELMo gives a task a weighted sum of all layers, γ Σ_j s_j h_j with trained s and γ, where the outputs of
the last one alone are taken here.

The paper. Devlin et al. 2018, section 2, names the two ways, and section 5.3 compares them on one network: on the named
entities of CoNLL-2003, F1 of the development part is 91.0 with BERT's table alone, 94.9 with its last layer as fixed
features, 96.1 with its last four, and 96.4 with fine-tuning.

How it is trained here. Three Hangul syllables are written in Latin letters without a mark between them (the data of the
note ``rnn-tagging``). The pretraining has 8000 such rows without labels: of 15 of 100 letters, which are hidden, other
letters or left as they are in the proportion 80 : 10 : 10, an encoder of two blocks is to say what they were (the task
of BERT). The task is to tag each letter as part of a leading consonant, a vowel or a trailing consonant, from 100
tagged rows; the epoch is chosen on 200 others. No syllable of the test part is in any of them. Behind the fixed table,
the frozen encoder, the fine-tuned one and one that begins at random stands the same multilayer perceptron. The bars:
fine-tuning is right for at least as many letters as the frozen features, and these for as many as the table and the
network from scratch. What can be had at all is below 1, because a row has several readings; that is computed as well.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn, optim
from tinygrad_notes.data import TensorDataset, Transformed
from tinygrad_notes.notes.attention.transformer import padding_mask, positions_on
from tinygrad_notes.notes.attention.transformer_encoder import Encoder
from tinygrad_notes.notes.classification import Recipe, train_classifier
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run, parameter_count
from tinygrad_notes.notes.sequence.rnn_tagging import (
    NO_TAG,
    TagData,
    accuracy,
    best_tags,
    commonest_tags,
    predicted_tags,
    tag_data,
    tag_loss,
    tags_to_learn,
)
from tinygrad_notes.notes.translation import padded
from tinygrad_notes.training.pictures import save_picture
from tinygrad_notes.training.probes import fingerprint

LETTERS = 28
TAGGED, VALIDATED = 100, 200  # rows with tags to learn from, and to choose the epoch by
PRETRAINING = Recipe(epochs=5, batch=64, learning_rate=3e-3, weight_decay=1e-2, warm_up=0.1, clip_norm=1.0)
TASK = Recipe(epochs=20, batch=10, learning_rate=1e-3, weight_decay=1e-2, warm_up=0.1, clip_norm=1.0)
WAYS = ("table", "frozen", "fine_tuned", "scratch")


class LetterEncoder(nn.Module):
    """Letters (N, T) and how many of each row are no padding (N,) to vectors (N, T, size) that know their context.

    The table has one row more than there are letters: that of a hidden one.
    """

    def __init__(self, letters: int = LETTERS, size: int = 64, heads: int = 4, hidden: int = 128, layers: int = 2):
        super().__init__()
        self.size, self.hidden_letter = size, letters
        self.table = nn.Embedding(letters + 1, size)
        nn.init.normal_(self.table.weight, 0.0, size**-0.5)
        self.blocks = Encoder(size, heads, hidden, layers, dropout=0.0)

    def forward(self, tokens: Any, lengths: Any) -> tn.Tensor:
        tokens = tn.asarray(tokens)
        weight = self.table.weight
        place = positions_on(weight.device, tokens.shape[1], self.size, weight.dtype)
        return self.blocks(self.table(tokens) * math.sqrt(self.size) + place, padding_mask(lengths, tokens.shape[1]))


class Reader(nn.Module):
    """An encoder, and a perceptron that says ``answers`` numbers of each letter: (N, T, answers).

    ``way``: "trained"; "frozen", when the encoder gets no gradient; or "table", when its blocks are left out as well
    and the perceptron sees nothing but the row of the table.
    """

    def __init__(self, encoder: LetterEncoder, answers: int, way: str = "trained"):
        super().__init__()
        self.encoder, self.way = encoder, way
        self.head = nn.Sequential(nn.Linear(encoder.size, 64), nn.ReLU(), nn.Linear(64, answers))

    def features(self, tokens: Any, lengths: Any) -> tn.Tensor:
        """What the perceptron sees, (N, T, size)."""
        if self.way == "trained":
            return self.encoder(tokens, lengths)
        with tn.no_grad():
            return self.encoder(tokens, lengths) if self.way == "frozen" else self.encoder.table(tokens)

    def forward(self, tokens: Any, lengths: Any) -> tn.Tensor:
        return self.head(self.features(tokens, lengths))


def hide(tokens: Any, lengths: Any, hidden_letter: int, part: float = 0.15) -> tuple[np.ndarray, Any, np.ndarray]:
    """Rows of which a ``part`` is to be said, their lengths, and what is: (N, T), (N,), (N, T), NO_TAG elsewhere.

    Of these letters, 0.8 become ``hidden_letter``, 0.1 any letter (not 0, the padding), and 0.1 stay.
    """
    tokens = tn.asarray(tokens).numpy()
    drawn, kind, letter = tn.rand((3, *tokens.shape)).numpy()
    chosen = (drawn < part) & ~padding_mask(lengths, tokens.shape[1]).numpy()
    shown = np.where(chosen & (kind < 0.8), hidden_letter, tokens)
    shown = np.where(chosen & (kind >= 0.9), 1 + (letter * (hidden_letter - 1)).astype(tokens.dtype), shown)
    return shown, lengths, np.where(chosen, tokens, NO_TAG)


def first_rows(dataset: TensorDataset, number: int) -> TensorDataset:
    """The first ``number`` items."""
    return TensorDataset(*(field[:number] for field in dataset.tensors))


def without_tags(data: TagData, hidden_letter: int) -> TagData:
    """The task of the pretraining: other letters are hidden at each call, in the validation part always the same."""

    def hidden(letters: Any, lengths: Any, tags: Any) -> tuple:
        return tuple(tn.asarray(field) for field in hide(letters, lengths, hidden_letter))

    validation = TensorDataset(*hidden(*data.validation.tensors))
    return replace(data, train=Transformed(data.train, hidden), validation=validation)  # type: ignore[arg-type]


def adapt(run: Run, pretrained: LetterEncoder, data: TagData, way: str) -> tuple[Reader, list[dict[str, float]]]:
    """A tagger made in one of ``WAYS``, and its history."""
    tn.manual_seed(run.seed)
    encoder = LetterEncoder() if way == "scratch" else copy.deepcopy(pretrained)
    reader = Reader(encoder, 3, way if way in ("table", "frozen") else "trained")
    parameters = list((reader if reader.way == "trained" else reader.head).parameters())
    trainer = train_classifier(
        run, reader, data, TASK, parameters=parameters, name=way, loss=tag_loss, metrics=[], count=tags_to_learn
    )
    return reader, trainer.history


def demo(run: Run) -> Outcome:
    """Pretrain on letters without tags, then learn to tag from a few rows in four ways."""
    tn.manual_seed(run.seed)
    data = tag_data("", run.seed)
    whole = Reader(LetterEncoder(), LETTERS)
    pretraining = train_classifier(
        run, whole, without_tags(data, LETTERS), PRETRAINING, name="pretraining", loss=tag_loss, metrics=[],
        count=tags_to_learn,
    ).history  # fmt: skip
    before = fingerprint(whole.encoder)

    few = replace(data, train=first_rows(data.train, TAGGED), validation=first_rows(data.validation, VALIDATED))
    tags = data.test.tensors[2].numpy()
    metrics, histories = {"pretraining_validation_loss": min(row["validation_loss"] for row in pretraining)}, {}
    for way in WAYS:
        reader, histories[way] = adapt(run, whole.encoder, few, way)
        metrics[f"test_accuracy_{way}"] = accuracy(predicted_tags(reader, data, run.device), tags)
        if way == "frozen":
            metrics["frozen_changed"] = float(fingerprint(reader.encoder) != before)
    metrics["commonest_tag_of_the_letter"] = accuracy(commonest_tags(data), tags)
    metrics["possible"] = accuracy(padded([np.array(best_tags(text)) for text in data.texts], NO_TAG)[0], tags)

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        for key, name in (("loss", "training"), ("validation_loss", "validation")):
            left.plot([row["epoch"] for row in pretraining], [row[key] for row in pretraining], marker=".", label=name)
        left.set(title="pretraining: what was hidden", xlabel="epoch", ylabel="nats for a hidden letter")
        for way, history in histories.items():
            label = f"{way.replace('_', ' ')}: {metrics[f'test_accuracy_{way}']:.3f} of the test letters"
            right.plot([row["epoch"] for row in history], [row["validation_loss"] for row in history], label=label)
        right.set(title=f"{TAGGED} tagged rows", xlabel="epoch", ylabel="nats for a tag, validation")
        for axes in (left, right):
            axes.grid(alpha=0.3)
            axes.legend(frameon=False)

    title = "Tagging letters with a pretrained encoder: as features, fine-tuned, or not at all"
    return Outcome(metrics, [save_picture(run.folder / "ways.png", title, draw, (12, 5))])


TOKENS, LENGTHS = np.array([[1, 4, 2, 5, 3], [5, 2, 1, 0, 0]]), np.array([5, 3])
TAGS = np.array([[0, 1, 2, 0, 1], [0, 1, 2, NO_TAG, NO_TAG]])


def _small(way: str, dtype: str = "float64") -> Reader:
    tn.manual_seed(0)
    return Reader(LetterEncoder(6, 8, 2, 12, 1), 3, way).to(dtype)


def _changed(way: str) -> tuple[bool, bool]:
    """Whether a step of training changes encoder and head."""
    reader = _small(way)
    before = fingerprint(reader.encoder), fingerprint(reader.head)
    descent = optim.AdamW(reader.parameters(), lr=0.1, weight_decay=0.1)
    tag_loss(reader(TOKENS, LENGTHS), tn.asarray(TAGS)).backward()
    descent.step()
    return fingerprint(reader.encoder) != before[0], fingerprint(reader.head) != before[1]


def _kept_features() -> float:
    """The gradients of the head behind the frozen encoder, and behind its outputs in an array, computed before."""
    reader = _small("frozen")
    kept = reader.features(TOKENS, LENGTHS).numpy()
    weights = list(reader.head.parameters())
    behind = tn.grad(tag_loss(reader(TOKENS, LENGTHS), tn.asarray(TAGS)), weights)
    alone = tn.grad(tag_loss(reader.head(kept), tn.asarray(TAGS)), weights)
    return max(float(np.abs(a.numpy() - b.numpy()).max()) for a, b in zip(behind, alone))


def _order(way: str) -> float:
    """How much what is said of letters changes when they stand the other way round."""
    reader, row = _small(way), TOKENS[:1]
    with tn.no_grad():
        said, turned = (reader(rows, LENGTHS[:1]).numpy() for rows in (row, row[:, ::-1].copy()))
    return float(np.abs(said - turned[:, ::-1]).max())


def _hidden_only() -> float:
    """How often ``hide`` changes or asks for what it must not: letters not asked for, and padding."""
    tn.manual_seed(0)
    shown, _, wanted = hide(np.tile(TOKENS, (200, 1)), np.tile(LENGTHS, 200), 6)
    tokens, asked = np.tile(TOKENS, (200, 1)), wanted != NO_TAG
    padding = np.tile(np.arange(5) >= LENGTHS[:, None], (200, 1))
    wrong = (shown != tokens) & ~asked | asked & padding | asked & (wanted != tokens)
    return float(wrong.sum()) + float(not (shown[asked] != tokens[asked]).any())


NOTE = Note(
    slug="feature-based-transfer",
    family="basics",
    title="Feature-based transfer",
    sources="notes 001, 004",
    paper="Peters et al. 2018, Deep contextualized word representations, arXiv:1802.05365; Devlin et al. 2018, BERT, "
    "2 and 5.3, arXiv:1810.04805",
    text=__doc__,
    build=lambda: Reader(LetterEncoder(), 3, "frozen"),
    example=lambda: (np.ones((1, 15), int), np.array([15])),
    demo=demo,
    bars=[
        Bar("test_accuracy_fine_tuned", at_least="test_accuracy_frozen"),
        Bar("test_accuracy_frozen", at_least="test_accuracy_table"),
        Bar("test_accuracy_frozen", at_least="test_accuracy_scratch"),
        Bar("frozen_changed", at_most=0),
    ],
    facts=[
        Fact(
            "parameters of the encoder and of the head",
            (29 * 64 + 2 * (4 * (64 * 64 + 64) + 2 * 64 * 128 + 128 + 5 * 64), 65 * 64 + 65 * 3),
            lambda: (parameter_count(LetterEncoder()), parameter_count(Reader(LetterEncoder(), 3).head)),
            "a table, 2 blocks of 4(d² + d) + 2dh + h + 5d; two affine layers",
        ),
        Fact("training changes the head alone of the frozen one", (False, True), lambda: _changed("frozen")),
        Fact("training changes all of the other", (True, True), lambda: _changed("trained")),
    ],
    identities=[
        Identity("features may be computed once and kept", _kept_features),
        Identity("a fixed table says the same of a letter wherever it stands", lambda: _order("table"), 1e-15),
        Identity("the encoder does not", lambda: 0.1 - _order("frozen")),
        Identity("what is asked for are hidden letters, and nothing else is touched", _hidden_only),
    ],
    checks=lambda: [(_small("trained"), (TOKENS, LENGTHS))],
)
