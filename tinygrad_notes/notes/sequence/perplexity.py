"""Perplexity

What the note says. A language model is not judged by the mean cross-entropy of its tokens but by exp of it, the
perplexity (困惑度): the number of tokens that it hesitates between, as if all were equally likely.

The formula.

    perplexity = exp(- 1/T Σ_t log p(x[t] | x[1], ..., x[t-1]))

the inverse of the geometric mean of the probabilities. A uniform model has the size of the vocabulary V, a model that
is always right and sure has 1, and one that gives probability 0 to something that comes has infinity. In bits or in
nats it is the same number: 2^bits = e^nats. A model may be worse than uniform; V is no upper bound.

Where one must take care. Perplexities can be compared only on the same text in the same tokens: for characters this
manual has about 4, for words about 50. And n-grams are the yardstick: one of the notes calls an n-gram a model in which
a word depends on the n words before it; those are n - 1, so that the unigram depends on none. That note also writes
p(x₁) = n(x₁)/x₁, where it means n(x₁)/n, the count by the number of tokens.

The paper. Jelinek, Mercer, Bahl & Baker 1977; "Dive into Deep Learning" 8.4.4. The n-grams are smoothed as by Witten &
Bell 1991, see ``data.ngram_perplexities``.

What the demo shows. Nothing is trained by gradients: n-grams of characters and of words are counted on the training
paragraphs of Python's manual and read the test paragraphs. Words are what white space separates, punctuation and all;
those that come less than five times in training are one word. Other rules to cut words give other perplexities. A
longer context helps words less and less: most contexts of three words were never seen. The text differs from one Python
to the next, so these numbers are found anew in each run.
"""

from __future__ import annotations

import math

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.data import WordVocabulary, ngram_perplexities
from tinygrad_notes.notes.language import NAMES, RecurrentLanguageModel, character_baselines, corpus, perplexity
from tinygrad_notes.notes.note import Bar, Identity, Note, Outcome, Run
from tinygrad_notes.tensor import Tensor
from tinygrad_notes.training.pictures import save_curves

CHARACTER_ORDERS, WORD_ORDERS = 6, 4


def perplexity_of(logits: Tensor, target: np.ndarray) -> Tensor:
    """exp of the mean cross-entropy of logits (T, V) for tokens (T,)."""
    return tn.exp(tn.cross_entropy(logits, target))


def word_perplexities() -> dict[str, float]:
    """n-grams of words that come five times at least in training; all others are one word, <unk>."""
    text = corpus()
    vocabulary = WordVocabulary(text.train, min_freq=5)
    train, test = (vocabulary.encode(" ".join(part)) for part in (text.train, text.test))
    found = ngram_perplexities(train, test, len(vocabulary), range(1, WORD_ORDERS + 1))
    return {NAMES[n]: value for n, value in found.items()} | {"size": float(len(vocabulary))}


def demo(run: Run) -> Outcome:
    """Count n-grams of characters and of words, and read the test text with them."""
    characters, words = dict(character_baselines(CHARACTER_ORDERS)), word_perplexities()
    size = words.pop("size")
    curves = {
        "characters": (range(1, CHARACTER_ORDERS + 1), list(characters.values())),
        f"words ({size:.0f} of them)": (range(1, WORD_ORDERS + 1), list(words.values())),
    }
    picture = save_curves(
        run.folder / "ngrams.png", "n-grams of the manual: perplexity of the test text", curves, "n", "perplexity", "y"
    )
    metrics = {f"characters_{name}": value for name, value in characters.items()}
    return Outcome(metrics | {f"words_{name}": value for name, value in words.items()}, [picture])


V = 103
RANDOM = np.random.default_rng(0)
LOGITS, TOKENS = RANDOM.standard_normal((40, V)), RANDOM.integers(0, V, 40)


def _uniform() -> float:
    return abs(perplexity_of(tn.tensor(np.zeros((40, V))), TOKENS).item() - V)


def _perfect() -> float:
    return abs(perplexity_of(tn.tensor(1e3 * np.eye(V)[TOKENS]), TOKENS).item() - 1.0)


def _bits() -> float:
    nats = tn.cross_entropy(tn.tensor(LOGITS), TOKENS).item()
    return abs(2.0 ** (nats / math.log(2)) - math.exp(nats))


def _geometric_mean() -> float:
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    chosen = p[np.arange(40), TOKENS]
    return abs(perplexity_of(tn.tensor(LOGITS), TOKENS).item() - float(np.prod(1 / chosen) ** (1 / 40)))


def _in_pieces() -> float:
    """A row of 90 tokens in pieces of 7, the state carried along, beside all at once."""
    tn.manual_seed(0)
    model = RecurrentLanguageModel(9, 5, nn.GRU).to(tn.float64)
    row = np.random.default_rng(0).integers(0, 9, 90)
    whole = perplexity_of(model(row[None, :-1])[0], row[1:]).item()
    return abs(perplexity(model, row, piece=7) - whole)


def _unigram() -> float:
    """Counted on a text and read on it, the unsmoothed unigram has exp(entropy of the counts)."""
    counts = np.bincount(TOKENS, minlength=V)
    p = counts / counts.sum()
    entropy = -float((p[p > 0] * np.log(p[p > 0])).sum())
    with np.errstate(divide="ignore"):
        logits = np.maximum(np.log(p), -1e9)
    return abs(perplexity_of(tn.tensor(np.tile(logits, (40, 1))), TOKENS).item() - math.exp(entropy))


NOTE = Note(
    slug="perplexity",
    family="sequence",
    title="Perplexity",
    sources="note 004; Zhang et al., Dive into Deep Learning, 8.4.4",
    paper="Jelinek, Mercer, Bahl & Baker 1977, Perplexity: a measure of the difficulty of speech recognition tasks",
    text=__doc__,
    demo=demo,
    bars=[
        *(Bar(f"characters_{NAMES[n + 1]}", at_most=f"characters_{NAMES[n]}") for n in range(1, CHARACTER_ORDERS)),
        *(Bar(f"words_{NAMES[n + 1]}", at_most=f"words_{NAMES[n]}") for n in (1, 2)),
    ],
    identities=[
        Identity("a uniform model has V", _uniform, 1e-10),
        Identity("a model that is right and sure has 1", _perfect, 1e-12),
        Identity("2^bits = e^nats", _bits, 1e-9),
        Identity("the inverse of the geometric mean of the probabilities", _geometric_mean, 1e-8),
        Identity("a unigram of the text itself has exp of its entropy", _unigram, 1e-10),
        Identity("a text read in pieces has the perplexity of the whole", _in_pieces, 1e-10),
    ],
    checks=lambda: [(lambda x: perplexity_of(x, TOKENS[:6]), (LOGITS[:6],))],
)
