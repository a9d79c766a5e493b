"""Translating Hangul into Latin letters: the pairs, a loss that leaves out padding, decoding, and exact match.

The source is the jamo of some syllables, the target their romanised names: 각, decomposed, and gag. The pairs are real,
standardised and exact, so a translation is right or wrong. Syllables are drawn apart before sentences are made of them:
those of the validation part, and the others of the test part, were never in a training sentence.

A source row is jamo, <eos>, <pad> ...; a target row <bos>, letters, <eos>, <pad> .... A batch is (source, its lengths,
decoder input, decoder target): the decoder reads the target without its last token, and is to say the target
without its first (teacher forcing).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.data import CharacterVocabulary, TensorDataset, hangul_pairs, split_syllables, syllables
from tinygrad_notes.notes.classification import Recipe, train_classifier
from tinygrad_notes.notes.note import Run
from tinygrad_notes.training import Trainer

SPECIALS = ("<pad>", "<bos>", "<eos>")
PAD, BOS, EOS = range(3)


@dataclass(frozen=True)
class Pairs:
    """Sentences and their translations, as text and as numbers.

    ``source`` (N, S) and ``target`` (N, T) are int64, filled with <pad>; ``source_lengths`` and ``target_lengths`` (N,)
    count <bos> and <eos> too.
    """

    texts: Sequence[tuple[str, str]]
    source: np.ndarray
    source_lengths: np.ndarray
    target: np.ndarray
    target_lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)

    def first(self, number: int) -> Pairs:
        """The first ``number`` of them."""
        rows = (self.source, self.source_lengths, self.target, self.target_lengths)
        return Pairs(self.texts[:number], *(field[:number] for field in rows))

    @property
    def dataset(self) -> TensorDataset:
        """Items (source, length of the source, decoder input, decoder target)."""
        return TensorDataset(self.source, self.source_lengths, self.target[:, :-1], self.target[:, 1:])


@dataclass(frozen=True)
class HangulData:
    """Pairs in three parts without a common syllable, and the vocabularies of jamo and of letters."""

    source: CharacterVocabulary
    target: CharacterVocabulary
    pairs: dict[str, Pairs]

    @property
    def train(self) -> TensorDataset:
        return self.pairs["train"].dataset

    @property
    def validation(self) -> TensorDataset:
        return self.pairs["validation"].dataset

    @property
    def test(self) -> TensorDataset:
        return self.pairs["test"].dataset

    def letters(self, rows: Any) -> list[str]:
        """The text of each of ``rows`` (N, T) of target numbers, up to its first <eos>."""
        return [self.target.decode(row[: length_of(row)]) for row in np.asarray(rows)]


def length_of(row: np.ndarray) -> int:
    """How many tokens stand before the first <eos>; all of them where there is none."""
    ends = np.flatnonzero(row == EOS)
    return int(ends[0]) if len(ends) else len(row)


@cache
def hangul_data(
    seed: int = 0, length: int = 3, train: int = 10_000, held_out: int = 1000, syllables_seen: int = 2000
) -> HangulData:
    """``train`` pairs for training and ``held_out`` each for validation and test, of ``length`` syllables.

    ``syllables_seen`` of the 11,172 syllables are not those of the test part; a tenth of them make the validation pairs
    and the others the training pairs. Which, and the sentences, is drawn by ``seed``.
    """
    seen, unseen = split_syllables(syllables_seen, seed)
    cut = len(seen) // 10
    source = CharacterVocabulary("".join(s.jamo for s in syllables()), specials=SPECIALS, unknown=None)
    target = CharacterVocabulary("".join(s.letters for s in syllables()), specials=SPECIALS, unknown=None)
    parts = (("train", seen[cut:], train), ("validation", seen[:cut], held_out), ("test", unseen, held_out))
    pairs = {
        name: padded_pairs(hangul_pairs(choice, number, length, seed=seed), source, target)
        for name, choice, number in parts
    }
    return HangulData(source, target, pairs)


def padded_pairs(texts: Sequence[tuple[str, str]], source: CharacterVocabulary, target: CharacterVocabulary) -> Pairs:
    """``texts`` as numbers, <eos> behind each and <bos> before each target, filled with <pad> to the longest."""
    sources = [np.append(source.encode(a), EOS) for a, _ in texts]
    targets = [np.concatenate([[BOS], target.encode(b), [EOS]]) for _, b in texts]
    return Pairs(texts, *padded(sources), *padded(targets))


def padded(rows: Sequence[np.ndarray], value: int = PAD) -> tuple[np.ndarray, np.ndarray]:
    """Rows of numbers as one array (N, longest), with ``value`` behind the shorter ones, and their lengths (N,)."""
    lengths = np.array([len(row) for row in rows])
    filled = np.full((len(rows), lengths.max()), value)
    filled[np.arange(lengths.max()) < lengths[:, None]] = np.concatenate(rows)
    return filled, lengths


def translation_loss(logits: Any, target: Any) -> Any:
    """The mean cross-entropy of logits (N, T, V) for ``target`` (N, T), in which <pad> counts for nothing."""
    return tn.cross_entropy(logits.reshape(-1, logits.shape[-1]), target.reshape(-1), ignore_index=PAD)


def tokens_to_learn(batch: Any) -> float:
    """How many target tokens of a batch are no <pad>: the number of terms of its mean loss."""
    return float((batch[-1].data != PAD).sum())


def train_translator(run: Run, model: nn.Module, data: HangulData, recipe: Recipe, name: str = "checkpoint") -> Trainer:
    """Train ``model(source, lengths, decoder_input)`` with teacher forcing; the best epoch's weights are kept."""
    return train_classifier(
        run, model, data, recipe, name=name, loss=translation_loss, metrics=[], count=tokens_to_learn
    )


def greedy(next_logits: Callable[[np.ndarray], Any], sentences: int, most: int) -> np.ndarray:
    """The likeliest token at each step, (sentences, at most ``most``), without <bos> and with <eos>, then <pad>.

    ``next_logits(prefixes)`` gives logits (sentences, V) for what follows prefixes (sentences, t), which begin with
    <bos>. It ends when every sentence has its <eos>.
    """
    rows = np.full((sentences, 1), BOS)
    ended = np.zeros(sentences, bool)
    for _ in range(most):
        token = tn.asarray(next_logits(rows)).numpy().argmax(axis=-1)
        token[ended] = PAD
        ended |= token == EOS
        rows = np.concatenate([rows, token[:, None]], axis=1)
        if ended.all():
            break
    return rows[:, 1:]


def translate(model: nn.Module, pairs: Pairs, device: str | None = None) -> np.ndarray:
    """Greedy translations of the sources by ``model(source, lengths, decoder_input)``, logits (N, T, V).

    The model is called with the whole prefix at every step, so that it may be any encoder-decoder.
    """
    source, lengths = (tn.tensor(x, device=device) for x in (pairs.source, pairs.source_lengths))
    training = model.training
    model.eval()
    try:
        with tn.no_grad():
            return greedy(
                lambda prefix: model(source, lengths, tn.tensor(prefix, device=device))[:, -1],
                len(pairs),
                pairs.target.shape[1] + 1,
            )
    finally:
        model.train(training)


def exact_match(predicted: Any, target: Any) -> float:
    """The part of the rows that are the same up to and with the first <eos>; ``predicted`` and ``target`` are (N, any).

    A row without <eos> is not finished, and no match: [[5, <eos>, 9], [5, 5, 5]] beside [[5, <eos>], [5, 5]] is 0.5.
    """
    rows = zip(np.asarray(predicted), np.asarray(target), strict=True)
    return float(np.mean([EOS in a and np.array_equal(a[: length_of(a)], b[: length_of(b)]) for a, b in rows]))
