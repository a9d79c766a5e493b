"""Names of Unicode characters: short real phrases, whose order in the standard says which belong together."""

from __future__ import annotations

import itertools
import re
import sys
import unicodedata
from dataclasses import dataclass

import numpy as np

from tinygrad_notes.data.dataset import as_generator
from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.ops.arguments import count, probability

# Names that hold no more than a number or a transcription: CJK UNIFIED IDEOGRAPH-4E00, HANGUL SYLLABLE GAG, ...
NUMBERED = re.compile(r"^(CJK|HANGUL SYLLABLE|TANGUT|KHITAN|NUSHU)\b|[0-9]")


@dataclass(frozen=True)
class Name:
    """A character's code point, and its name in lower case.

    >>> tn.data.Name(65, "latin capital letter a")
    Name(code=65, text='latin capital letter a')
    """

    code: int
    text: str


@dataclass(frozen=True)
class NamePair:
    """Two names, and whether the second is that of the very next character.

    >>> tn.data.NamePair("greek small letter alpha", "greek small letter beta", True).is_next
    True
    """

    first: str
    second: str
    is_next: bool


def character_names(least: int = 3, most: int = 10) -> list[Name]:
    """The names of ``least`` to ``most`` words in the order of their code points, as this Python knows Unicode.

    Left out are names that only number their character, by digits in the name, and the large blocks of ideographs and
    syllables. How many are left depends on the version of Unicode, ``unicodedata.unidata_version``.

    >>> tn.data.character_names(least=4, most=4)[0]
    Name(code=65, text='latin capital letter a')
    """
    count(least, "character_names: least")
    if count(most, "character_names: most") < least:
        raise ShapeError(f"character_names: most is {most}, expected at least {least}")
    named = ((code, unicodedata.name(chr(code), "")) for code in range(sys.maxunicode + 1))
    return [
        Name(code, name.lower())
        for code, name in named
        if name and not NUMBERED.search(name) and least <= len(name.split()) <= most
    ]


def name_pairs(
    names: list[Name] | None = None, wrong: float = 0.5, test: float = 0.1, seed: int = 0
) -> tuple[list[NamePair], list[NamePair]]:
    """Pairs of consecutive names for next-sentence prediction (Devlin et al. 2018), for training and testing.

    A pair are the names of two characters with consecutive code points; in the part ``wrong`` of them the second is
    another name at random instead, and never the right one. Names that are neighbours are alike, so a split at random
    would put half of a run into each part: the split is by runs of consecutive code points, and random names are drawn
    from the names of the same part. ``test``: about that part of the pairs.

    >>> names = [tn.data.Name(code, f"name {code}") for code in (1, 2, 3, 7, 8, 9)]
    >>> train, test = tn.data.name_pairs(names, wrong=0.0, test=0.5)
    >>> len(train), len(test), train[0].is_next
    (2, 2, True)
    """
    probability(wrong, "name_pairs: wrong")
    if not 0 < probability(test, "name_pairs: test") < 1:
        raise ShapeError(f"name_pairs: test is {test!r}, expected a part between 0 and 1")
    if names is not None and not (isinstance(names, list | tuple) and all(isinstance(n, Name) for n in names)):
        raise DTypeError(f"name_pairs: names is {type(names).__name__}, expected a list of Names")
    random = as_generator(count(seed, "name_pairs: seed", 0), "name_pairs")
    runs: list[list[str]] = []
    last = -1
    for name in character_names() if names is None else names:
        if name.code != last + 1 or not runs:
            runs.append([])
        runs[-1].append(name.text)
        last = name.code
    runs = [run for run in runs if len(run) > 1]
    if len(runs) < 2:
        raise ShapeError(f"name_pairs: names hold {len(runs)} runs of consecutive characters, expected at least 2")
    wanted = test * sum(len(run) - 1 for run in runs)
    parts: tuple[list[list[str]], list[list[str]]] = ([], [])
    held_out = 0
    for place, i in enumerate(random.permutation(len(runs)).tolist()):
        is_test = place == 0 or (held_out < wanted and place < len(runs) - 1)
        parts[is_test].append(runs[i])
        held_out += is_test * (len(runs[i]) - 1)
    return _pairs(parts[0], wrong, random), _pairs(parts[1], wrong, random)


def _pairs(runs: list[list[str]], wrong: float, random: np.random.Generator) -> list[NamePair]:
    texts = [text for run in runs for text in run]
    if wrong > 0 and len(set(texts)) < 3:
        raise ShapeError(f"name_pairs: a part has the names {sorted(set(texts))} alone, too few for a wrong one")
    pairs = []
    for run in runs:
        for first, second in itertools.pairwise(run):
            is_next = random.random() >= wrong
            while not is_next and (other := texts[random.integers(len(texts))]) in (first, second):
                pass
            pairs.append(NamePair(first, second if is_next else other, is_next))
    return pairs
