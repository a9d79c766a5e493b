"""Byte-pair encoding: the bytes of a text, and again and again the most frequent pair as one token."""

from __future__ import annotations

import heapq
import itertools
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from tinygrad_notes.data.vocabulary import integers, load_json
from tinygrad_notes.errors import DataError, DTypeError, ShapeError
from tinygrad_notes.ops.arguments import count

BYTES = 256
KIND = "byte-pair encoding"
# A word, a run of signs, each with the space before it, or a run of white space: together they are all of any text.
PIECES = re.compile(r" ?\w+| ?[^\s\w]+|\s+")
CACHE = 100_000  # pieces whose tokens are remembered


class BytePairEncoding:
    """Tokens 0 to 255 are the bytes of UTF-8; token 256 + i is the pair ``merges[i]`` of earlier ones.

    Encoding starts from single bytes and joins the pair that was learned first, as long as there is one, never across
    the pieces (words with the space before them) that the text is split into. So any text can be encoded, there is no
    unknown token, and ``decode(encode(text)) == text`` for every string of Python. The tokens ``specials`` come behind
    the merges; encoding never gives them, and decoding leaves them out.

    Sennrich, Haddow & Birch 2016, "Neural Machine Translation of Rare Words with Subword Units"; on bytes: Radford et
    al. 2019, "Language Models are Unsupervised Multitask Learners".

    >>> encoding = tn.data.BytePairEncoding.train(["low lower lowest"], size=258)
    >>> encoding.merges
    [(108, 111), (256, 119)]
    >>> encoding.encode("low").tolist()
    [257]
    """

    def __init__(self, merges: Iterable[Sequence[int]], specials: Sequence[str] = ()):
        try:
            self.merges = [(int(left), int(right)) for left, right in merges]
        except (TypeError, ValueError) as error:
            raise DTypeError(f"BytePairEncoding: merges must be pairs of integers ({error})") from None
        self._ranks = {pair: BYTES + i for i, pair in enumerate(self.merges)}
        self._bytes = [bytes([i]) for i in range(BYTES)]
        for i, (left, right) in enumerate(self.merges):
            if not (0 <= left < BYTES + i and 0 <= right < BYTES + i):
                raise ShapeError(
                    f"BytePairEncoding: merge {i} is of {(left, right)}, expected tokens below {BYTES + i}"
                )
            self._bytes.append(self._bytes[left] + self._bytes[right])
        if len(self._ranks) < len(self.merges):
            raise ShapeError("BytePairEncoding: merges has a pair twice")
        if isinstance(specials, str) or not all(isinstance(token, str) for token in specials):
            raise DTypeError(f"BytePairEncoding: specials is {specials!r}, expected a list of strings")
        self.specials = tuple(dict.fromkeys(specials))
        self._cache: dict[str, list[int]] = {}

    @classmethod
    def train(cls, texts: Iterable[str], size: int, specials: Sequence[str] = ()) -> Self:
        """Learn merges from ``texts`` until there are ``size`` tokens, ``specials`` among them.

        Of pairs that are equally frequent the one with the lower numbers is taken. Learning ends earlier when no pair
        comes twice.
        """
        if not isinstance(texts, Iterable):
            raise DTypeError(f"BytePairEncoding: texts is {type(texts).__name__}, expected strings")
        least = BYTES + len(set(specials))
        count(size, "BytePairEncoding: size", least)
        texts = [texts] if isinstance(texts, str) else list(texts)
        if not all(isinstance(text, str) for text in texts):
            raise DTypeError("BytePairEncoding: texts must be strings")
        return cls(_learn(Counter(piece for text in texts for piece in PIECES.findall(text)), size - least), specials)

    def __len__(self) -> int:
        return len(self._bytes) + len(self.specials)

    def __getitem__(self, special: str) -> int:
        """The number of a special token."""
        if special not in self.specials:
            raise DataError(f"BytePairEncoding: {special!r} is none of the special tokens {list(self.specials)}")
        return len(self._bytes) + self.specials.index(special)

    def encode(self, text: str) -> np.ndarray:
        """The tokens of a text (int64)."""
        if not isinstance(text, str):
            raise DTypeError(f"BytePairEncoding: text is {type(text).__name__}, expected a string")
        tokens: list[int] = []
        for piece in PIECES.findall(text):
            known = self._cache.get(piece)
            if known is None:
                known = self._encode_piece(piece)
                if len(self._cache) < CACHE:
                    self._cache[piece] = known
            tokens += known
        return np.array(tokens, np.int64)

    def _encode_piece(self, piece: str) -> list[int]:
        tokens = list(_utf8(piece))
        last = len(self._bytes)
        while len(tokens) > 1:
            joined = min((self._ranks.get(pair, last) for pair in itertools.pairwise(tokens)), default=last)
            if joined == last:
                break
            tokens = _join(tokens, self.merges[joined - BYTES], joined)
        return tokens

    def decode_bytes(self, numbers: Any) -> bytes:
        """The bytes of tokens; special ones are left out. IndexError for one that the encoding does not have."""
        row = integers(numbers, "BytePairEncoding")
        wrong = row[(row < 0) | (row >= len(self))]
        if len(wrong):
            raise IndexError(f"BytePairEncoding: {wrong[0]} is out of range for {len(self)} tokens")
        return b"".join(self._bytes[i] for i in row.tolist() if i < len(self._bytes))

    def decode(self, numbers: Any) -> str:
        """The text of tokens. Bytes that are no UTF-8, as a model may put together, become U+FFFD."""
        content = self.decode_bytes(numbers)
        try:
            return content.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return content.decode("utf-8", "replace")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write merges and special tokens as JSON."""
        Path(path).write_text(json.dumps({"kind": KIND, "merges": self.merges, "specials": self.specials}), "ascii")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The encoding that ``save`` wrote. DataError when the file holds something else."""
        content = load_json(path, KIND)
        merges, specials = content.get("merges"), content.get("specials")
        if not isinstance(merges, list) or not all(
            isinstance(pair, list) and len(pair) == 2 and all(type(token) is int for token in pair) for pair in merges
        ):
            raise DataError(f"{os.fspath(path)}: damaged; expected merges as pairs of numbers")
        try:
            return cls(merges, specials if isinstance(specials, list) else str(specials))
        except (ShapeError, DTypeError) as error:
            raise DataError(f"{os.fspath(path)}: damaged; {error}") from None


def _learn(pieces: Counter[str], wanted: int) -> list[tuple[int, int]]:
    """The merges; after each only the pieces that hold the pair are counted anew."""
    words = [list(_utf8(piece)) for piece in pieces]
    frequencies = list(pieces.values())
    counts: Counter[tuple[int, int]] = Counter()
    holders: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
    for i, word in enumerate(words):
        for pair in itertools.pairwise(word):
            counts[pair] += frequencies[i]
            holders[pair].add(i)
    heap = [(-n, pair) for pair, n in counts.items()]
    heapq.heapify(heap)
    merges: list[tuple[int, int]] = []
    while heap and len(merges) < wanted:
        n, best = heapq.heappop(heap)
        if counts[best] != -n:  # the count has changed since, and stands in the heap once more
            continue
        if counts[best] < 2:
            break
        token = BYTES + len(merges)
        merges.append(best)
        changed = set()
        for i in holders.pop(best):
            old, new = words[i], _join(words[i], best, token)
            if len(old) == len(new):  # the piece held the pair once, before other merges
                continue
            words[i] = new
            for pair in itertools.pairwise(old):
                counts[pair] -= frequencies[i]
                changed.add(pair)
            for pair in itertools.pairwise(new):
                counts[pair] += frequencies[i]
                changed.add(pair)
                holders[pair].add(i)
        for pair in changed:
            if counts[pair] > 0:
                heapq.heappush(heap, (-counts[pair], pair))
    return merges


def _join(tokens: list[int], pair: tuple[int, int], token: int) -> list[int]:
    """``tokens`` with every ``pair``, from the left, as the one ``token``."""
    result, i = [], 0
    while i < len(tokens):
        if i + 1 < len(tokens) and (tokens[i], tokens[i + 1]) == pair:
            result.append(token)
            i += 2
        else:
            result.append(tokens[i])
            i += 1
    return result


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # lone surrogates are text of Python too
