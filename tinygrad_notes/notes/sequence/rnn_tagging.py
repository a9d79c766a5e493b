"""Tagging with a recurrent network: many to many, aligned

What the note says. One output for every input, at the same place: the tags of the words of a sentence, such as their
part of speech or whether they belong to a name (标签生成). The input and the output have one length.

The formula. h[t] = GRU(x[t], h[t-1]), and logits of the tag of x[t] from h[t]. Where the whole sentence is there before
the first tag is asked for, a second network reads it from the end, and the logits are made of both states.

    loss = mean over the tokens that are no padding of - log p(tag[t] | x[1], ..., x[T])

The paper. Graves & Schmidhuber 2005; for words Huang, Xu & Yu 2015, arXiv:1508.01991.

How it is trained here. Three Hangul syllables are written in Latin letters by the names that the Unicode standard gives
them, 각낣 as gagnalm, and each letter is to be tagged as part of a leading consonant (onset), a vowel or a trailing
consonant (coda). The tags are exact, as the standard says how a name is put together. No test syllable is in training.
Where "-" stands between the syllables, gag-nalm, the place of a letter before or behind the vowel decides: this is the
planned bar of 0.98. Without it a row of letters has several readings, gagga may be gag-ga, ga-gga or gagg-a, and nobody
can be always right. How right one can be is computed: of all ways to read the letters as three syllables, which are
equally likely, the best tag of a letter is the most frequent. The network has to come within a point of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.data import CharacterVocabulary, Syllable, TensorDataset, split_syllables, syllables
from tinygrad_notes.notes.classification import Recipe, train_classifier
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run, parameter_count
from tinygrad_notes.notes.translation import padded
from tinygrad_notes.tensor import Tensor
from tinygrad_notes.training.pictures import save_curves

ONSET, VOWEL, CODA = range(3)
NO_TAG = -100  # of padding and of "-"
LENGTH = 3
RECIPE = Recipe(epochs=4, batch=64, learning_rate=1e-2, weight_decay=1e-2, clip_norm=1.0)


class Tagger(nn.Module):
    """(N, T) tokens and their lengths (N,): (N, T, tags) logits. ``directions`` 2 reads from both ends."""

    def __init__(self, vocabulary: int, tags: int, embedding: int, hidden: int, directions: int = 2):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.recurrent = nn.GRU(embedding, hidden, batch_first=True, bidirectional=directions == 2)
        self.output = nn.Linear(directions * hidden, tags)

    def forward(self, tokens: Any, lengths: Any = None) -> Tensor:
        h, _ = self.recurrent(self.embedding(tokens), lengths=lengths)  # (N, T, directions · hidden)
        return self.output(h)


@cache
def tagged_syllables() -> dict[str, tuple[str, tuple[int, ...]]]:
    """The letters and their tags of each of the 11,172 syllables.

    The letters of a part are what is left of the names of syllables with a silent onset, the vowel a, or no coda.
    """
    named = {s.jamo: s.letters for s in syllables()}
    silent, a = "\u110b", "\u1161"

    def tagged(s: Syllable) -> tuple[str, tuple[int, ...]]:
        onset = named[s.jamo[0] + a][:-1]
        vowel = named[silent + s.jamo[1]]
        coda = named[silent + a + s.jamo[2]][1:] if len(s.jamo) == 3 else ""
        return onset + vowel + coda, (ONSET,) * len(onset) + (VOWEL,) * len(vowel) + (CODA,) * len(coda)

    return {s.character: tagged(s) for s in syllables()}


@dataclass(frozen=True)
class TagData:
    """Three parts of (letters, lengths, tags); no syllable of one part is in another. ``texts``: of the test part."""

    vocabulary: CharacterVocabulary
    train: TensorDataset
    validation: TensorDataset
    test: TensorDataset
    texts: Sequence[str]


def tag_data(separator: str, seed: int = 0, train: int = 8000, held_out: int = 1000) -> TagData:
    """Sequences of three syllables drawn from 1,800 for training, 200 for validation, and the others for testing."""
    vocabulary = CharacterVocabulary("-abcdefghijklmnopqrstuvwxyz", unknown="<pad>")
    seen, unseen = split_syllables(2000, seed)
    random = np.random.default_rng(seed)
    parts, texts = [], []
    for choice, number in ((seen[200:], train), (seen[:200], held_out), (unseen, held_out)):
        items = [
            joined([choice[i].character for i in row], separator)
            for row in random.integers(len(choice), size=(number, LENGTH))
        ]
        letters, lengths = padded([vocabulary.encode(text) for text, _ in items])
        tags, _ = padded([np.array(tags) for _, tags in items], NO_TAG)
        parts.append(TensorDataset(letters, lengths, tags))
        texts = [text for text, _ in items]
    return TagData(vocabulary, parts[0], parts[1], parts[2], texts)


def joined(characters: Sequence[str], separator: str) -> tuple[str, list[int]]:
    """The letters of some syllables with ``separator`` between, which has no tag, and the tags."""
    found = [tagged_syllables()[c] for c in characters]
    tags: list[int] = []
    for i, (_, own) in enumerate(found):
        tags += [NO_TAG] * (len(separator) if i else 0) + list(own)
    return separator.join(letters for letters, _ in found), tags


def tag_loss(logits: Any, tags: Any) -> Tensor:
    return tn.cross_entropy(logits.reshape(-1, logits.shape[-1]), tags.reshape(-1), ignore_index=NO_TAG)


def tags_to_learn(batch: Any) -> float:
    return float((batch[-1].data != NO_TAG).sum())


def accuracy(predicted: np.ndarray, tags: np.ndarray) -> float:
    """Of the letters that have a tag."""
    return float((predicted == tags)[tags != NO_TAG].mean())


def commonest_tags(data: TagData) -> np.ndarray:
    """For each test letter the tag that this letter has most often in training."""
    letters, _, tags = (field.numpy() for field in data.train.tensors)
    counts = np.zeros((len(data.vocabulary), 3))
    known = tags != NO_TAG
    np.add.at(counts, (letters[known], tags[known]), 1)
    return counts.argmax(axis=1)[data.test.tensors[0].numpy()]


@cache
def _tags_of_names() -> dict[str, tuple[int, ...]]:
    return dict(tagged_syllables().values())


def readings(text: str, number: int) -> list[list[int]]:
    """The tags of all ways to read letters as ``number`` syllables."""
    if not number:
        return [] if text else [[]]
    known = _tags_of_names()
    return [
        [*known[text[:end]], *rest]
        for end in range(1, min(len(text), 7) + 1)
        if text[:end] in known
        for rest in readings(text[end:], number - 1)
    ]


def best_tags(text: str) -> list[int]:
    """For each letter the tag that it has in most readings: nobody can do better on syllables drawn at random."""
    found = np.array(readings(text, LENGTH))
    return [int(np.bincount(column, minlength=3).argmax()) for column in found.T]


def predicted_tags(model: nn.Module, data: TagData, device: str | None) -> np.ndarray:
    letters, lengths, _ = data.test.tensors
    model.eval()
    with tn.no_grad():
        return model(letters.to(device or "cpu"), lengths.to(device or "cpu")).numpy().argmax(axis=-1)


def demo(run: Run) -> Outcome:
    """With "-" between the syllables, and without."""
    metrics, curves, history = {}, {}, []
    for name, separator in (("marked", "-"), ("unmarked", "")):
        tn.manual_seed(run.seed)
        data = tag_data(separator, run.seed)
        model = Tagger(len(data.vocabulary), 3, embedding=16, hidden=48)
        trainer = train_classifier(run, model, data, RECIPE, name=name, loss=tag_loss, metrics=[], count=tags_to_learn)
        history += trainer.history
        tags = data.test.tensors[2].numpy()
        metrics[f"{name}_accuracy"] = accuracy(predicted_tags(model, data, run.device), tags)
        metrics[f"{name}_commonest_tag_of_the_letter"] = accuracy(commonest_tags(data), tags)
        for part in ("loss", "validation_loss"):
            label = f"{name}, {'validation' if part.startswith('v') else 'training'}"
            curves[label] = ([row["epoch"] for row in trainer.history], [row[part] for row in trainer.history])
    possible = accuracy(padded([np.array(best_tags(text)) for text in data.texts], NO_TAG)[0], tags)
    metrics |= {"unmarked_possible": possible, "unmarked_possible_less_1_point": possible - 0.01}
    picture = save_curves(
        run.folder / "training.png", "tags of letters: cross-entropy", curves, "epoch", "nats for a letter", "y"
    )
    return Outcome(metrics, [picture], history)


def _padding() -> float:
    """What the logits of three sequences have to do with the letters behind their ends."""
    tn.manual_seed(0)
    model = Tagger(9, 3, 4, 5).to(tn.float64)
    random, lengths = np.random.default_rng(0), np.array([7, 4, 2])
    tokens = random.integers(0, 9, (3, 7))
    other = np.where(np.arange(7) < lengths[:, None], tokens, random.integers(0, 9, (3, 7)))
    first, second = (model(t, lengths).data for t in (tokens, other))
    return max(float(np.abs(first[i, :n] - second[i, :n]).max()) for i, n in enumerate(lengths))


def _loss_ignores_padding() -> float:
    logits = np.random.default_rng(0).standard_normal((2, 5, 3))
    tags = np.array([[0, 1, 2, 0, 1], [2, 1, NO_TAG, NO_TAG, NO_TAG]])
    kept = tags != NO_TAG
    mean = tn.cross_entropy(tn.tensor(logits[kept]), tags[kept]).item()
    return abs(tag_loss(tn.tensor(logits), tn.tensor(tags)).item() - mean)


def _checks() -> list[tuple[Any, tuple[np.ndarray, ...]]]:
    tokens = np.random.default_rng(0).integers(0, 9, (2, 6))
    return [(Tagger(9, 3, 4, 5), (tokens, np.array([6, 3])))]


NOTE = Note(
    slug="rnn-tagging",
    family="sequence",
    title="Tagging with a recurrent network: many to many, aligned",
    sources="note 004",
    paper="Huang, Xu & Yu 2015, Bidirectional LSTM-CRF models for sequence tagging, arXiv:1508.01991",
    text=__doc__,
    build=lambda: Tagger(28, 3, embedding=16, hidden=48),
    example=lambda: (np.zeros((64, 21), np.int64), np.full(64, 21)),
    demo=demo,
    bars=[
        Bar("marked_accuracy", at_least=0.98),
        Bar("unmarked_accuracy", at_least="unmarked_possible_less_1_point"),
        Bar("unmarked_accuracy", at_least="unmarked_commonest_tag_of_the_letter"),
    ],
    facts=[
        Fact(
            "parameters of the trained network",
            28 * 16 + 2 * 3 * 48 * (16 + 48 + 2) + 3 * (96 + 1),
            lambda: parameter_count(Tagger(28, 3, embedding=16, hidden=48)),
            "table, two GRUs, output",
        ),
        Fact("an output for every input", (2, 21, 3), lambda: Tagger(28, 3, 4, 5)(np.zeros((2, 21), np.int64)).shape),
        Fact("the tags of gagga read as two syllables", 3, lambda: len(readings("gagga", 2)), "gag-ga, ga-gga, gagg-a"),
        Fact(
            "letters put together again are the names of all syllables",
            True,
            lambda: all(tagged_syllables()[s.character][0] == s.letters for s in syllables()),
            "Unicode, chapter 3.12",
        ),
    ],
    identities=[
        Identity("what stands behind the end of a sequence changes nothing", _padding),
        Identity("the loss is the mean over letters that have a tag", _loss_ignores_padding, 1e-14),
    ],
    checks=_checks,
)
