"""Vocabularies of characters and of words: text to numbers and back."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from tinygrad_notes.data.dataset import array_of
from tinygrad_notes.errors import DataError, DTypeError, ShapeError
from tinygrad_notes.ops.arguments import count
from tinygrad_notes.tensor import to_numpy


class Vocabulary:
    """Tokens and their numbers: ``specials`` first, then what was counted, the most frequent first.

    Tokens of equal frequency are in the order of their characters, so the numbers depend on the counts alone. Those
    that come less than ``min_freq`` times are left out. ``unknown`` is the special token for all that is not in the
    vocabulary, number 0; with None such a token raises DataError.

    >>> vocabulary = tn.data.Vocabulary(["b", "a", "b"], specials=["<pad>"])
    >>> vocabulary.tokens
    ['<unk>', '<pad>', 'b', 'a']
    >>> vocabulary.numbers(["a", "z"]).tolist()
    [3, 0]
    """

    kind = "vocabulary"

    def __init__(
        self, tokens: Iterable[str], min_freq: int = 1, specials: Sequence[str] = (), unknown: str | None = "<unk>"
    ):
        name = type(self).__name__
        count(min_freq, f"{name}: min_freq")
        if isinstance(specials, str):
            raise DTypeError(f"{name}: specials is {specials!r}, expected a list of tokens")
        if not isinstance(tokens, Iterable):
            raise DTypeError(f"{name}: tokens is {type(tokens).__name__}, expected strings")
        counts = Counter(tokens)
        if not all(isinstance(token, str) for token in (*counts, *specials)):
            raise DTypeError(f"{name}: tokens must be strings")
        first = list(dict.fromkeys(([] if unknown is None else [unknown]) + list(specials)))
        frequent = [token for token, n in counts.items() if n >= min_freq and token not in first]
        self._set(first + sorted(frequent, key=lambda token: (-counts[token], token)), len(first), unknown)

    def _set(self, tokens: list[str], specials: int, unknown: str | None) -> None:
        self.tokens, self.specials, self.unknown = tokens, tuple(tokens[:specials]), unknown
        self._numbers = {token: i for i, token in enumerate(tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._numbers

    def __getitem__(self, token: str) -> int:
        """The number of a token; that of ``unknown`` for one that is not in the vocabulary."""
        number = self._numbers.get(token)
        if number is not None:
            return number
        if self.unknown is None:
            raise DataError(f"{type(self).__name__}: {token!r} is not in the vocabulary, which has no unknown token")
        return self._numbers[self.unknown]

    def numbers(self, tokens: Iterable[str]) -> np.ndarray:
        """The numbers of ``tokens`` (int64)."""
        return np.array([self[token] for token in tokens], np.int64)

    def lookup(self, numbers: Any, keep_specials: bool = True) -> list[str]:
        """The tokens of ``numbers``. IndexError for one that the vocabulary does not have."""
        name = type(self).__name__
        row = integers(numbers, name)
        wrong = row[(row < 0) | (row >= len(self.tokens))]
        if len(wrong):
            raise IndexError(f"{name}: {wrong[0]} is out of range for a vocabulary of {len(self)} tokens")
        least = 0 if keep_specials else len(self.specials)
        return [self.tokens[i] for i in row.tolist() if i >= least]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the vocabulary as JSON."""
        content = {"kind": self.kind, "tokens": self.tokens, "specials": len(self.specials), "unknown": self.unknown}
        Path(path).write_text(json.dumps(content), "ascii")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The vocabulary that ``save`` wrote. DataError when the file holds something else."""
        content = load_json(path, cls.kind)
        tokens, specials, unknown = (content.get(key) for key in ("tokens", "specials", "unknown"))
        if (
            not isinstance(tokens, list)
            or not all(isinstance(token, str) for token in tokens)
            or len(set(tokens)) < len(tokens)
            or type(specials) is not int
            or not 0 <= specials <= len(tokens)
            or (unknown is not None and unknown not in tokens[:specials])
        ):
            raise DataError(f"{os.fspath(path)}: damaged; expected different tokens, a number of specials and unknown")
        made = cls.__new__(cls)
        made._set(tokens, specials, unknown)
        return made


class CharacterVocabulary(Vocabulary):
    """The characters of a text. ``encode`` and ``decode`` are inverse for text of characters that it has.

    >>> vocabulary = tn.data.CharacterVocabulary("hello")
    >>> vocabulary.tokens
    ['<unk>', 'l', 'e', 'h', 'o']
    >>> vocabulary.encode("hole").tolist()
    [3, 4, 1, 2]
    >>> vocabulary.decode([3, 4, 1, 2])
    'hole'
    """

    kind = "character vocabulary"

    def encode(self, text: str) -> np.ndarray:
        """One number for each character (int64)."""
        return self.numbers(_text(text, "CharacterVocabulary"))

    def decode(self, numbers: Any, keep_specials: bool = False) -> str:
        """The text of ``numbers``; special tokens are left out unless ``keep_specials``."""
        return "".join(self.lookup(numbers, keep_specials))


class WordVocabulary(Vocabulary):
    """The words of ``texts``: strings, which are split at white space, or lists of words.

    >>> vocabulary = tn.data.WordVocabulary(["a rose is a rose", ["is", "it"]], min_freq=2, specials=["<pad>"])
    >>> vocabulary.tokens
    ['<unk>', '<pad>', 'a', 'is', 'rose']
    >>> vocabulary.encode("a daisy is").tolist()
    [2, 0, 3]
    """

    kind = "word vocabulary"

    def __init__(
        self,
        texts: Iterable[str | Sequence[str]],
        min_freq: int = 1,
        specials: Sequence[str] = (),
        unknown: str | None = "<unk>",
    ):
        if not isinstance(texts, Iterable):
            raise DTypeError(f"WordVocabulary: texts is {type(texts).__name__}, expected strings or lists of words")
        texts = [texts] if isinstance(texts, str) else texts
        super().__init__((word for text in texts for word in _words(text)), min_freq, specials, unknown)

    def encode(self, text: str | Sequence[str]) -> np.ndarray:
        """One number for each word (int64)."""
        return self.numbers(_words(text))

    def decode(self, numbers: Any, keep_specials: bool = False) -> str:
        """The words of ``numbers`` with a space between; special tokens are left out unless ``keep_specials``."""
        return " ".join(self.lookup(numbers, keep_specials))


def integers(numbers: Any, name: str) -> np.ndarray:
    """Token numbers from an array, a Tensor or a list, in one row."""
    if not hasattr(numbers, "__len__"):
        raise DTypeError(f"{name}: numbers are {numbers!r:.60}, expected a row of integers")
    array = to_numpy(array_of(numbers, name)) if len(numbers) else np.zeros(0, np.int64)
    if array.ndim != 1:
        raise ShapeError(f"{name}: numbers have shape {array.shape}, expected one row")
    if array.dtype.kind not in "iu":
        raise DTypeError(f"{name}: numbers are {array.dtype}, expected integers")
    return array


def load_json(path: str | os.PathLike[str], kind: str) -> dict[str, Any]:
    """The object in a JSON file that says it is a ``kind``."""
    try:
        content = json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{os.fspath(path)}: no JSON ({error})") from None
    if not isinstance(content, dict) or content.get("kind") != kind:
        found = content.get("kind") if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{os.fspath(path)}: holds {found!r}, expected a {kind}")
    return content


def _text(text: Any, name: str) -> str:
    if not isinstance(text, str):
        raise DTypeError(f"{name}: text is {type(text).__name__}, expected a string")
    return text


def _words(text: str | Sequence[str]) -> Sequence[str]:
    if isinstance(text, str):
        return text.split()
    if isinstance(text, Sequence):
        return text
    raise DTypeError(f"WordVocabulary: text is {type(text).__name__}, expected a string or a list of words")
