"""Hangul syllables and their romanised names: real, exact pairs for translation that every Python has."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from tinygrad_notes.data.dataset import as_generator
from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.ops.arguments import count

FIRST, LAST = 0xAC00, 0xD7A3
NAME = "HANGUL SYLLABLE "
# Where the parts of a syllable begin among the jamo: leading consonant, vowel, trailing consonant.
PARTS = ("onset", "vowel", "coda")
PART_STARTS = (0x1100, 0x1161, 0x11A8)


@dataclass(frozen=True)
class Syllable:
    """A syllable, the two or three jamo it is composed of, and its romanised name: 각, its jamo, gag.

    >>> tn.data.syllables()[1].letters, tn.data.syllables()[1].tags
    ('gag', (0, 1, 2))
    """

    character: str
    jamo: str
    letters: str

    @property
    def tags(self) -> tuple[int, ...]:
        """What each jamo is: 0 an onset, 1 a vowel, 2 a coda (``PARTS``)."""
        return tuple(tag_of(jamo) for jamo in self.jamo)


def syllables() -> tuple[Syllable, ...]:
    """All 11,172 modern syllables in the order of Unicode, the same in every version.

    Jamo are the canonical decomposition, and the letters those of the character's name, in lower case; both are rules
    of the standard (Unicode, chapter 3.12), so the pairs are exact and have no noise.

    >>> len(tn.data.syllables())
    11172
    """
    characters = map(chr, range(FIRST, LAST + 1))
    return tuple(
        Syllable(c, unicodedata.normalize("NFD", c), unicodedata.name(c).removeprefix(NAME).lower()) for c in characters
    )


def tag_of(jamo: str) -> int:
    """0 for an onset, 1 for a vowel, 2 for a coda. ShapeError for another character."""
    code = ord(jamo) if len(jamo) == 1 else 0
    if not 0x1100 <= code < 0x1200:
        raise ShapeError(f"tag_of: {jamo!r} is no jamo")
    return sum(code >= start for start in PART_STARTS) - 1


def split_syllables(train: int = 2000, seed: int = 0) -> tuple[tuple[Syllable, ...], tuple[Syllable, ...]]:
    """``train`` syllables at random and all others: what is read right of the second was never seen in training.

    >>> seen, unseen = tn.data.split_syllables(train=2000)
    >>> len(seen), len(unseen)
    (2000, 9172)
    """
    everything = syllables()
    if count(train, "split_syllables: train") >= len(everything):
        raise ShapeError(f"split_syllables: train is {train}, expected below {len(everything)}")
    order = as_generator(count(seed, "split_syllables: seed", 0), "split_syllables").permutation(len(everything))
    return tuple(everything[i] for i in order[:train]), tuple(everything[i] for i in order[train:])


def hangul_pairs(
    choice: Sequence[Syllable], number: int, length: int = 3, separator: str = "", seed: int = 0
) -> list[tuple[str, str]]:
    """``number`` pairs (jamo, letters), each of ``length`` syllables of ``choice`` at random.

    ``separator`` stands between the syllables of the letters, not of the jamo, whose onsets show where one begins.

    >>> choice = tn.data.syllables()[:1]
    >>> tn.data.hangul_pairs(choice, number=1, length=2, separator="-")[0][1]
    'ga-ga'
    """
    if not isinstance(choice, Sequence):
        raise DTypeError(f"hangul_pairs: choice is {type(choice).__name__}, expected a list of Syllables")
    if not choice:
        raise ShapeError("hangul_pairs: choice is empty")
    size = count(number, "hangul_pairs: number", 0), count(length, "hangul_pairs: length")
    drawn = as_generator(count(seed, "hangul_pairs: seed", 0), "hangul_pairs").integers(0, len(choice), size)
    return [
        ("".join(choice[i].jamo for i in row), separator.join(choice[i].letters for i in row)) for row in drawn.tolist()
    ]
