"""Hangul: the facts of the standard, and pairs that follow them."""

import unicodedata

import pytest

from tinygrad_notes.data import hangul_pairs, split_syllables, syllables
from tinygrad_notes.data.hangul import tag_of
from tinygrad_notes.errors import ShapeError


def test_the_facts_of_the_standard():
    everything = syllables()
    assert len(everything) == 11_172 == 19 * 21 * 28
    assert len({jamo for s in everything for jamo in s.jamo}) == 67 == 19 + 21 + 27
    assert len({letter for s in everything for letter in s.letters}) == 21
    assert max(len(s.letters) for s in everything) == 7
    assert len({s.letters for s in everything}) == len({s.jamo for s in everything}) == 11_172


def test_one_syllable():
    gag = syllables()[1]
    assert (gag.character, gag.letters, gag.tags) == ("각", "gag", (0, 1, 2))
    assert syllables()[0].tags == (0, 1)
    assert all(unicodedata.normalize("NFC", s.jamo) == s.character for s in syllables()[::97])


def test_tags_are_onset_vowel_and_perhaps_coda():
    assert {s.tags for s in syllables()} == {(0, 1), (0, 1, 2)}
    with pytest.raises(ShapeError, match="'a' is no jamo"):
        tag_of("a")


def test_the_parts_are_disjoint_and_drawn_by_the_seed():
    train, test = split_syllables()
    assert (len(train), len(test)) == (2000, 9172)
    assert set(train) | set(test) == set(syllables())
    assert split_syllables() == (train, test)
    assert split_syllables(seed=1)[0] != train


def test_pairs_are_syllables_one_after_the_other():
    train, _ = split_syllables(50)
    pairs = hangul_pairs(train, 200, length=3, separator=" ")
    by_letters = {s.letters: s for s in train}
    assert len(pairs) == 200
    for jamo, letters in pairs:
        assert jamo == "".join(by_letters[part].jamo for part in letters.split(" "))
        assert [tag_of(c) for c in jamo].count(0) == 3
    assert len({jamo for jamo, _ in pairs}) > 190
    assert hangul_pairs(train, 200, length=3)[0] == (pairs[0][0], pairs[0][1].replace(" ", ""))


def test_wrong_arguments_are_refused():
    with pytest.raises(ShapeError, match="train is 11172"):
        split_syllables(11_172)
    with pytest.raises(ShapeError, match="choice is empty"):
        hangul_pairs([], 1)
    with pytest.raises(ShapeError, match="length is 0"):
        hangul_pairs(syllables(), 1, 0)
