"""Word vectors

What the note says. Each word gets a vector, learned so that words which are used alike lie near each other: distance is
similarity (词向量). But a word has several senses and one vector; which sense is meant only its context tells, which is
what recurrent networks and transformers make of these vectors.

The formula. An embedding is a table E with a row for each word. Looking a row up is a product with a one-hot vector,

    E[i] = onehot(i) E,        ∂L/∂E[i] = Σ of the gradients at all places where i stands

so the gradient is added up row by row (scatter-add), and rows that were not looked up get none. "CBOW" learns the table
by foretelling a word from the mean of the vectors around it,

    logits of x[t] = W · mean(E x[t-2], E x[t-1], E x[t+1], E x[t+2]) + b

and similarity is the cosine, cos(u, v) = u·v / (‖u‖ ‖v‖), which does not know lengths.

Where the paper differs. Mikolov et al. 2013 had billions of words and a vocabulary of millions, for which the softmax
is too slow; they take it hierarchically or sample a few wrong words. Here the vocabulary has about a thousand words
and the softmax is whole. Analogies (king - man + woman) need such amounts of text; they are not asked of 45,000 words.

The paper. Mikolov, Chen, Corrado & Dean 2013, arXiv:1301.3781.

How it is trained here. The words of Python's manual that come five times or more, each told from two words before it
and two behind. A word then has two vectors, a row of E as one of those around and a row of W as the one to be told;
the rows of W, which are a little better here, are compared. No vector is told what is alike; yet a word and its
plural, which the model cannot know to be spelled alike, should come near each other. Of all words, what part is nearer
to a word than its plural is? Half of them by chance; measured was less than a quarter, and the bar is 0.3. The picture
shows the nearest words of some: "is" has "was" and "are", "true" has "false", "class" has "function"; but "int", which
comes 34 times, has no other type of numbers near it, as was hoped: 45,000 words are few.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.data import TensorDataset, WordVocabulary, ngram_perplexities
from tinygrad_notes.notes.classification import Recipe, train_classifier
from tinygrad_notes.notes.language import corpus
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run, parameter_count
from tinygrad_notes.tensor import Tensor
from tinygrad_notes.training.pictures import save_picture

WORD = re.compile(r"[A-Za-z_]+")
AROUND = 2
START = 0.05
SHOWN = ("int", "list", "class", "function", "try", "is", "first", "true")
RECIPE = Recipe(epochs=4, batch=128, learning_rate=1e-2, weight_decay=1e-2)


class ContinuousBagOfWords(nn.Module):
    """(N, places) numbers of the words around a blank: (N, vocabulary) logits of the word that stands there."""

    def __init__(self, vocabulary: int, size: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, size)
        nn.init.normal_(self.embedding.weight, std=START)  # small, so that what was learned outweighs it
        self.output = nn.Linear(size, vocabulary)

    def forward(self, around: Any) -> Tensor:
        return self.output(self.embedding(around).mean(axis=1))


@dataclass(frozen=True)
class WordData:
    """Parts of (the words around, the word), with the rows of word numbers that they were cut from."""

    vocabulary: WordVocabulary
    train: TensorDataset
    validation: TensorDataset
    test: TensorDataset
    rows: dict[str, np.ndarray]


def word_data(seed: int = 0, validation: float = 0.05) -> WordData:
    """Contexts of known words; a part of the training text, by ``seed`` where it begins, is held out."""
    train, test = ([word.lower() for word in WORD.findall(t)] for t in (corpus().train_text, corpus().test_text))
    vocabulary = WordVocabulary([train], min_freq=5)
    row = np.roll(vocabulary.encode(train), -int(np.random.default_rng(seed).integers(len(train))))
    held_out, row = np.split(row, [int(validation * len(row))])
    rows = {"train": row, "validation": held_out, "test": vocabulary.encode(test)}
    parts = {name: contexts(numbers) for name, numbers in rows.items()}
    return WordData(vocabulary, parts["train"], parts["validation"], parts["test"], rows)


def contexts(row: np.ndarray) -> TensorDataset:
    """Each known word with the words before and behind."""
    stretch = np.lib.stride_tricks.sliding_window_view(row, 2 * AROUND + 1)
    stretch = stretch[stretch[:, AROUND] != 0]  # <unk> is no word to be told
    return TensorDataset(np.delete(stretch, AROUND, axis=1), stretch[:, AROUND].copy())


def similarities(table: np.ndarray) -> np.ndarray:
    """The cosine of every two rows; -inf for a row and itself, and for <unk>."""
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    cosine[:, 0] = -np.inf
    return cosine


def plurals(vocabulary: WordVocabulary) -> list[tuple[int, int]]:
    """Numbers of each word of three letters or more and the word with an s behind, where both are there."""
    return [(vocabulary[w], vocabulary[w + "s"]) for w in vocabulary.tokens[1:] if len(w) > 2 and w + "s" in vocabulary]


def nearer_than_plural(table: np.ndarray, vocabulary: WordVocabulary) -> float:
    """The part of all words that are nearer to a word than its plural is, the mean over all such pairs."""
    cosine = similarities(table)
    return float(np.mean([(cosine[a] > cosine[a, b]).mean() for a, b in plurals(vocabulary)]))


def demo(run: Run) -> Outcome:
    """Learn the vectors, measure how near plurals are, and show some neighbours."""
    tn.manual_seed(run.seed)
    data = word_data(run.seed)
    model = ContinuousBagOfWords(len(data.vocabulary), 64)
    before = nearer_than_plural(model.output.weight.data.copy(), data.vocabulary)
    trainer = train_classifier(run, model, data, RECIPE)
    table = model.output.weight.detach().numpy()
    around, word = data.test.tensors
    model.eval()
    with tn.no_grad():
        logits = model(around.to(run.device))
    ngrams = ngram_perplexities(data.rows["train"], data.rows["test"], len(data.vocabulary), (1,))
    metrics = {
        "nearer_than_plural": nearer_than_plural(table, data.vocabulary),
        "nearer_than_plural_untrained": before,
        "pairs": len(plurals(data.vocabulary)),
        "perplexity_of_a_blank": float(np.exp(tn.cross_entropy(logits, word.to(run.device)).item())),
        "unigram": ngrams[1],
        "best_epoch": trainer.best["epoch"],  # type: ignore[index]
    }
    return Outcome(metrics, [_save(run, trainer.history, table, data.vocabulary)], trainer.history, trainer.times)


def neighbours(word: str, table: np.ndarray, vocabulary: WordVocabulary, number: int = 8) -> list[str]:
    return vocabulary.lookup(np.argsort(-similarities(table)[vocabulary[word]])[:number])


def _save(run: Run, history: Any, table: np.ndarray, vocabulary: WordVocabulary) -> Any:
    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.4))
        for key, name in (("loss", "training"), ("validation_loss", "validation")):
            left.plot([row["epoch"] for row in history], [row[key] for row in history], marker=".", label=name)
        left.set(xlabel="epoch", ylabel="cross-entropy of the word in the blank, nats")
        left.grid(alpha=0.3)
        left.legend(frameon=False)
        right.set_axis_off()
        shown = [word for word in SHOWN if word in vocabulary]
        lines = [f"{word:<9} {', '.join(neighbours(word, table, vocabulary, 6))}" for word in shown]
        right.text(0, 1, "nearest words\n\n" + "\n\n".join(lines), va="top", family="monospace", fontsize=8.5)

    return save_picture(run.folder / "neighbours.png", "word vectors of Python's manual", draw, (12, 5))


RANDOM = np.random.default_rng(0)
TABLE, PLACES, WEIGHTS = RANDOM.standard_normal((6, 4)), np.array([3, 0, 3, 5, 3]), RANDOM.standard_normal((5, 4))


def _one_hot() -> float:
    """A looked-up row beside the product with a one-hot vector."""
    product = tn.one_hot(PLACES, 6, dtype=tn.float64) @ tn.tensor(TABLE)
    return float(np.abs(tn.embedding(PLACES, tn.tensor(TABLE)).data - product.data).max())


def _scatter_add() -> float:
    """The gradient of the table beside what NumPy adds up place by place; row 3 was looked up three times."""
    table = tn.tensor(TABLE, requires_grad=True)
    (tn.embedding(PLACES, table) * tn.tensor(WEIGHTS)).sum().backward()
    expected = np.zeros_like(TABLE)
    np.add.at(expected, PLACES, WEIGHTS)
    return float(np.abs(table.grad.data - expected).max())  # type: ignore[union-attr]


def _cosine() -> float:
    """The cosine of scaled vectors beside that of the vectors, and beside half of what ‖û - v̂‖² lacks of 2."""
    u, v = tn.tensor(TABLE[:1]), tn.tensor(TABLE[1:2])
    cosine = nn.CosineSimilarity(axis=1)
    plain = cosine(u, v).item()
    apart = u.data / np.linalg.norm(u.data) - v.data / np.linalg.norm(v.data)
    return max(abs(cosine(3 * u, 0.2 * v).item() - plain), abs(1 - float((apart**2).sum()) / 2 - plain))


def _bag() -> float:
    """The words around in another order: the same logits."""
    model = ContinuousBagOfWords(6, 4).to(tn.float64)
    around = np.random.default_rng(0).integers(0, 6, (3, 10))
    return float(np.abs(model(around).data - model(around[:, ::-1].copy()).data).max())


NOTE = Note(
    slug="sequence-embedding",
    family="sequence",
    title="Word vectors",
    sources="notes 000, 004; Zhang et al., Dive into Deep Learning, 14.1",
    paper="Mikolov, Chen, Corrado & Dean 2013, Efficient estimation of word representations, arXiv:1301.3781",
    text=__doc__,
    build=lambda: ContinuousBagOfWords(1000, 64),
    example=lambda: (np.zeros((128, 2 * AROUND), np.int64),),
    demo=demo,
    bars=[
        Bar("nearer_than_plural", at_most=0.3),
        Bar("nearer_than_plural", at_most="nearer_than_plural_untrained"),
        Bar("perplexity_of_a_blank", at_most="unigram"),
    ],
    facts=[
        Fact(
            "parameters of a table of 1,000 words and its output",
            1000 * 64 + 65 * 1000,
            lambda: parameter_count(ContinuousBagOfWords(1000, 64)),
            "V d + (d + 1) V",
        ),
    ],
    identities=[
        Identity("a row is the product of a one-hot vector with the table", _one_hot),
        Identity("its gradient is added up over all places where the word stands", _scatter_add, 1e-15),
        Identity("the cosine knows no lengths, and is 1 - ‖û - v̂‖² / 2", _cosine, 1e-12),
        Identity("the order of the words around does not matter", _bag, 1e-14),
    ],
    checks=lambda: [(ContinuousBagOfWords(7, 4), (np.random.default_rng(0).integers(0, 7, (3, 5)),))],
)
