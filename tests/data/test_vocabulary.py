"""Vocabularies: order, unknown tokens, and that decoding undoes encoding."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_notes as tn
from tinygrad_notes.data import CharacterVocabulary, WordVocabulary
from tinygrad_notes.errors import DataError, DTypeError, ShapeError

WORDS = st.lists(st.sampled_from(["a", "rose", "is", "ß", "Größe", "x" * 30]), max_size=12)


@given(st.text())
def test_characters_come_back(text):
    vocabulary = CharacterVocabulary(text, specials=["<pad>"])
    numbers = vocabulary.encode(text)
    assert vocabulary.decode(numbers) == text
    assert len(vocabulary) == len(set(text)) + 2
    assert numbers.dtype == np.int64
    assert len(numbers) == 0 or numbers.min() >= 2


@given(WORDS)
def test_words_come_back(words):
    vocabulary = WordVocabulary([words])
    assert vocabulary.lookup(vocabulary.encode(words)) == words
    assert vocabulary.decode(tn.tensor(vocabulary.encode(" ".join(words)))) == " ".join(words)


def test_the_most_frequent_first_and_equals_by_their_characters():
    vocabulary = WordVocabulary(["b c a c", "c b d"], specials=["<pad>", "<bos>"])
    assert vocabulary.tokens == ["<unk>", "<pad>", "<bos>", "c", "b", "a", "d"]
    assert [vocabulary[t] for t in ("<pad>", "c", "no")] == [1, 3, 0]
    assert "c" in vocabulary
    assert "no" not in vocabulary
    assert CharacterVocabulary("abcabb").tokens == ["<unk>", "b", "a", "c"]


def test_rare_tokens_are_unknown():
    vocabulary = WordVocabulary(["a a b"], min_freq=2)
    assert vocabulary.encode("a b").tolist() == [1, 0]
    assert vocabulary.decode([1, 0]) == "a"
    assert vocabulary.decode([1, 0], keep_specials=True) == "a <unk>"


def test_without_an_unknown_token_others_are_refused():
    vocabulary = CharacterVocabulary("ab", unknown=None)
    assert vocabulary.tokens == ["a", "b"]
    with pytest.raises(DataError, match="'c' is not in the vocabulary"):
        vocabulary.encode("abc")


def test_a_special_token_that_is_a_word_of_the_text_is_there_once():
    vocabulary = WordVocabulary(["<pad> a"], specials=["<pad>", "<pad>", "<unk>"])
    assert vocabulary.tokens == ["<unk>", "<pad>", "a"]


@pytest.mark.parametrize("unknown", ["<unk>", None])
def test_a_vocabulary_comes_back_from_its_file(tmp_path, unknown):
    vocabulary = CharacterVocabulary("größe\n\ud800", specials=["<pad>"], unknown=unknown)
    vocabulary.save(tmp_path / "v.json")
    loaded = CharacterVocabulary.load(tmp_path / "v.json")
    assert (loaded.tokens, loaded.specials, loaded.unknown) == (vocabulary.tokens, vocabulary.specials, unknown)
    assert loaded.encode("größe").tolist() == vocabulary.encode("größe").tolist()
    with pytest.raises(DataError, match="'character vocabulary', expected a word vocabulary"):
        WordVocabulary.load(tmp_path / "v.json")


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": ["a", "a"]},
        {"tokens": [1, 2]},
        {"tokens": None},
        {"specials": 99},
        {"specials": "1"},
        {"unknown": "b"},
        {"kind": "soup"},
    ],
)
def test_damaged_files_are_refused(tmp_path, change):
    path = tmp_path / "v.json"
    CharacterVocabulary("ab").save(path)
    whole = path.read_text()
    path.write_text(json.dumps(json.loads(whole) | change))
    with pytest.raises(DataError, match=r"v\.json"):
        CharacterVocabulary.load(path)
    for content in (whole[:-5], "", "[1]", "[" * 100_000):
        path.write_text(content)
        with pytest.raises(DataError, match=r"v\.json"):
            CharacterVocabulary.load(path)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: CharacterVocabulary("a", min_freq=0), ShapeError, "min_freq is 0"),
        (lambda: CharacterVocabulary("a", specials="<pad>"), DTypeError, "expected a list of tokens"),
        (lambda: WordVocabulary([[1, 2]]), DTypeError, "tokens must be strings"),
        (lambda: WordVocabulary([7]), DTypeError, "text is int"),
        (lambda: CharacterVocabulary("a").encode(["a"]), DTypeError, "text is list"),
        (lambda: CharacterVocabulary("a").decode([2]), IndexError, "2 is out of range for a vocabulary of 2"),
        (lambda: CharacterVocabulary("a").decode([-1]), IndexError, "-1 is out of range"),
        (lambda: CharacterVocabulary("a").decode(3), DTypeError, "numbers are 3"),
        (lambda: CharacterVocabulary("a").decode(["x"]), DTypeError, "CharacterVocabulary: "),
        (lambda: CharacterVocabulary("a").decode([0.5]), DTypeError, "numbers are float32"),
        (lambda: CharacterVocabulary("a").decode([[0]]), ShapeError, r"shape \(1, 1\)"),
    ],
)
def test_wrong_arguments_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
