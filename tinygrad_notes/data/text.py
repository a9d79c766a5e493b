"""A text corpus that every Python has: the manual's topics, each paragraph once, and what n-grams reach on it."""

from __future__ import annotations

import ast
import re
import sysconfig
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_notes.data.dataset import as_generator
from tinygrad_notes.data.vocabulary import CharacterVocabulary, Vocabulary, integers
from tinygrad_notes.errors import DataError, ShapeError
from tinygrad_notes.lazy import load
from tinygrad_notes.ops.arguments import count, number

BLANK_LINES = re.compile(r"\n\s*\n")
# Long-lived modules with long docstrings, for a Python without pydoc_data.
MODULES = (
    "_pydecimal", "argparse", "ast", "calendar", "configparser", "contextlib", "difflib", "doctest", "fractions",
    "heapq", "imaplib", "inspect", "ipaddress", "optparse", "os", "pathlib", "pdb", "pickle", "pickletools", "random",
    "shutil", "socket", "statistics", "string", "subprocess", "tempfile", "textwrap", "threading", "turtle", "typing",
)  # fmt: skip


@dataclass(frozen=True)
class Corpus:
    r"""Paragraphs for training and testing, none of them in both, and where they come from.

    The text differs from one version of Python to the next, so what n-grams reach on it is computed, by
    :meth:`baselines`, and never quoted.

    >>> corpus = tn.data.Corpus(("to be or", "not to be"), ("or not",), "Hamlet")
    >>> corpus.train_text
    'to be or\nnot to be'
    """

    train: tuple[str, ...]
    test: tuple[str, ...]
    source: str

    @property
    def train_text(self) -> str:
        """The paragraphs for training, a line each."""
        return "\n".join(self.train)

    @property
    def test_text(self) -> str:
        """The paragraphs for testing, a line each."""
        return "\n".join(self.test)

    def baselines(
        self,
        encode: Callable[[str], np.ndarray] | None = None,
        size: int | None = None,
        orders: Iterable[int] = (1, 2, 3),
    ) -> dict[int, float]:
        """Perplexity of the test text under n-grams of the training text, by ``n``; see :func:`ngram_perplexities`.

        ``encode`` turns text into numbers below ``size``; None: a number for each character, and one for all
        characters that the training text does not have.
        """
        if encode is None:
            vocabulary = CharacterVocabulary(self.train_text)
            encode, size = vocabulary.encode, len(vocabulary)
        elif size is None:
            owner = getattr(encode, "__self__", None)
            if not isinstance(owner, Vocabulary):
                raise ShapeError("Corpus.baselines: size is None, expected the size of the vocabulary of encode")
            size = len(owner)
        return ngram_perplexities(encode(self.train_text), encode(self.test_text), size, orders)


def topics(test: float = 0.1, seed: int = 0, source: str | None = None) -> Corpus:
    """The manual of this Python, about 350,000 characters of English, split by paragraphs at random.

    ``source="pydoc_data"`` are the topics of ``help()``; where an installation is stripped of them,
    ``source="docstrings"``, the docstrings of standard modules. None takes the first that is there. A fifth of the
    topics' paragraphs come several times, in different topics: left in, they would be in both parts, and what was
    learned by heart would count as learned. So each is kept once, at its first place. White space within a paragraph
    becomes single spaces, or indentation would be counted as text that is easy to foretell.

    ``test``: the part of the paragraphs that is for testing, drawn by ``seed``.

    >>> corpus = tn.data.topics(test=0.1)
    >>> len(set(corpus.train) & set(corpus.test))
    0
    """
    if not 0 < number(test, "topics: test") < 1:
        raise ShapeError(f"topics: test is {test!r}, expected a part between 0 and 1")
    found, kept = _texts(source)
    unique = paragraphs(kept)
    order = as_generator(count(seed, "topics: seed", 0), "topics").permutation(len(unique))
    cut = int((1 - test) * len(unique))
    return Corpus(tuple(unique[i] for i in order[:cut]), tuple(unique[i] for i in order[cut:]), found)


def paragraphs(texts: Iterable[str]) -> list[str]:
    """What blank lines separate, with white space made single spaces, each once, in the order of first places."""
    split = (" ".join(part.split()) for text in texts for part in BLANK_LINES.split(text))
    return list(dict.fromkeys(part for part in split if part))


def _texts(source: str | None) -> tuple[str, list[str]]:
    if source not in (None, "pydoc_data", "docstrings"):
        raise ShapeError(f"topics: source is {source!r}, expected 'pydoc_data', 'docstrings' or None")
    if source != "docstrings":
        try:
            return "pydoc_data", list(load("pydoc_data.topics").topics.values())
        except ModuleNotFoundError:
            if source is not None:
                raise DataError("topics: this Python was installed without pydoc_data") from None
    return "docstrings", _docstrings()


def _docstrings() -> list[str]:
    texts = []
    for name in MODULES:
        path = Path(sysconfig.get_path("stdlib")) / f"{name}.py"
        try:
            content = path.read_text("utf-8")
        except OSError:  # not in this version
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd literals in the source
            tree = ast.parse(content)
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        texts += [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, documented)]
    if not texts:
        raise DataError("topics: this Python was installed without pydoc_data and without the source of its modules")
    return texts


def ngram_perplexities(train: Any, test: Any, size: int, orders: Iterable[int] = (1, 2, 3)) -> dict[int, float]:
    """Perplexity of ``test`` under interpolated n-gram models of ``train``, for each n of ``orders``.

    Both are rows of numbers below ``size``. Witten-Bell: of a context h that was seen c(h) times, before t(h) different
    tokens,

        p(w | h) = (c(h, w) + t(h) p(w | h')) / (c(h) + t(h)),

    where h' is h without its first token, and below the unigrams every token has 1 / ``size``; so no token has
    probability zero. The first n - 1 tokens of ``test`` are given their shorter contexts. Perplexity is
    exp(- mean log p). Witten & Bell 1991, "The zero-frequency problem"; Chen & Goodman 1999.

    >>> found = tn.data.ngram_perplexities([0, 1] * 50, [0, 1] * 5, size=2, orders=[1, 2])
    >>> {order: round(perplexity, 2) for order, perplexity in found.items()}
    {1: 2.0, 2: 1.08}
    """
    size, orders = count(size, "ngram_perplexities: size"), set(orders)
    seen, asked = integers(train, "ngram_perplexities"), integers(test, "ngram_perplexities")
    for name, row in (("train", seen), ("test", asked)):
        if not len(row):
            raise ShapeError(f"ngram_perplexities: {name} is empty")
        if row.min() < 0 or row.max() >= size:
            raise ShapeError(f"ngram_perplexities: {name} has numbers from {row.min()} to {row.max()}, size is {size}")
    for n in orders:
        count(n, "ngram_perplexities: an order")
    result, probability = {}, np.full(len(asked), 1 / size)
    row = np.concatenate([seen, asked])
    contexts = np.zeros(len(row), np.int64)
    for n in range(1, max(orders, default=0) + 1):
        probability = _witten_bell(contexts, row, len(seen), n, size, probability)
        if n in orders:
            result[n] = float(np.exp(-np.mean(np.log(probability))))
        # One token more in front; contexts are numbered anew, so that the products stay small.
        longer = np.full(len(row), -1)
        longer[n:] = contexts[n:] * size + row[:-n]
        contexts = np.unique(longer, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return result


def _witten_bell(
    contexts: np.ndarray, row: np.ndarray, split: int, n: int, size: int, shorter: np.ndarray
) -> np.ndarray:
    """p(w | h) of the tokens from ``split`` on, counted on those before it; ``shorter`` are p(w | h')."""
    pairs = contexts * size + row
    inside = slice(n - 1, split)  # the first tokens have no whole context
    seen_pairs, pair_counts = np.unique(pairs[inside], return_counts=True)
    seen_contexts, context_counts = np.unique(contexts[inside], return_counts=True)
    followers = np.bincount(np.searchsorted(seen_contexts, seen_pairs // size), minlength=len(seen_contexts))
    c_pair = _counted(seen_pairs, pair_counts, pairs[split:])
    c, t = (_counted(seen_contexts, counts, contexts[split:]) for counts in (context_counts, followers))
    whole = np.arange(len(row) - split) >= n - 1  # the test text begins anew
    known = whole & (c > 0)
    return np.where(known, (c_pair + t * shorter) / np.maximum(c + t, 1), shorter)


def _counted(keys: np.ndarray, counts: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    if not len(keys):
        return np.zeros(len(wanted), np.int64)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, counts[place], 0)


def windows(tokens: Any, length: int, stride: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Stretches of ``length`` tokens and the tokens one further on: what a language model reads, and foretells.

    ``stride`` is how far apart they begin (None: ``length``, so that every token is foretold once). Tokens at the end
    that do not fill a stretch are left out. The arrays (N, length) are made for a TensorDataset.

    >>> inputs, targets = tn.data.windows([1, 2, 3, 4, 5, 6, 7], length=3)
    >>> inputs.tolist(), targets.tolist()
    ([[1, 2, 3], [4, 5, 6]], [[2, 3, 4], [5, 6, 7]])
    """
    length = count(length, "windows: length")
    stride = length if stride is None else count(stride, "windows: stride")
    row = integers(tokens, "windows")
    if len(row) <= length:
        raise ShapeError(f"windows: {len(row)} tokens are too few for one stretch of {length} and the next token")
    both = np.lib.stride_tricks.sliding_window_view(row, length + 1)[::stride]
    return both[:, :-1].copy(), both[:, 1:].copy()
