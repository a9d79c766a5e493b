"""Byte-pair encoding: any text comes back, and the merges are those of the definition."""

import itertools
import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_notes.data import BytePairEncoding
from tinygrad_notes.data.byte_pair import BYTES, PIECES
from tinygrad_notes.errors import DataError, DTypeError, ShapeError

TEXT = "the cat sat on the mat; the other cat sat there, and then the cats sat.  Größe 각각\n" * 3
ENCODING = BytePairEncoding.train([TEXT], 285, specials=["<bos>", "<eos>"])
ANY = st.text(st.characters())  # surrogates are among them
LIKE = st.text(st.sampled_from(sorted(set(TEXT))))


@given(ANY | LIKE)
def test_any_text_comes_back(text):
    assert "".join(PIECES.findall(text)) == text
    assert ENCODING.decode(ENCODING.encode(text)) == text
    assert BytePairEncoding([]).encode(text).tolist() == list(text.encode("utf-8", "surrogatepass"))


@given(st.lists(ANY | LIKE, max_size=3), st.text())
def test_also_with_merges_of_that_text(texts, other):
    encoding = BytePairEncoding.train(texts, 270)
    for text in [*texts, other]:
        assert encoding.decode(encoding.encode(text)) == text


@given(st.lists(st.integers(0, len(ENCODING) - 1)))
def test_any_tokens_can_be_decoded(tokens):
    assert isinstance(ENCODING.decode(tokens), str)


def slow(texts, wanted):
    """The definition: count all pairs, join the most frequent, count anew."""
    pieces = Counter(piece for text in texts for piece in PIECES.findall(text))
    words = {piece: [bytes([b]) for b in piece.encode("utf-8", "surrogatepass")] for piece in pieces}
    names, merges = {bytes([i]): i for i in range(BYTES)}, []
    numbers = {piece: [names[b] for b in word] for piece, word in words.items()}
    while len(merges) < wanted:
        counts = Counter()
        for piece, word in numbers.items():
            for pair in itertools.pairwise(word):
                counts[pair] += pieces[piece]
        if not counts or max(counts.values()) < 2:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        for piece, word in numbers.items():
            i, joined = 0, []
            while i < len(word):
                two = tuple(word[i : i + 2]) == best
                joined.append(BYTES + len(merges) if two else word[i])
                i += 1 + two
            numbers[piece] = joined
        merges.append(best)
    return merges, numbers


@given(st.lists(st.text(st.sampled_from("ab ")), max_size=4))
def test_the_merges_are_those_of_the_definition(texts):
    encoding = BytePairEncoding.train(texts, BYTES + 12)
    merges, numbers = slow(texts, 12)
    assert encoding.merges == merges
    assert all(encoding.encode(piece).tolist() == word for piece, word in numbers.items())


def test_the_merges_of_a_real_text_are_those_of_the_definition():
    assert ENCODING.merges == slow([TEXT], 285 - 2 - BYTES)[0]
    assert len(ENCODING) == 285
    assert len(ENCODING.encode(TEXT)) < 0.6 * len(TEXT)


def test_special_tokens_are_behind_the_merges_and_not_in_any_text():
    assert (ENCODING["<bos>"], ENCODING["<eos>"]) == (283, 284)
    assert ENCODING.encode("<bos>").max() < 283
    assert ENCODING.decode([283, *ENCODING.encode("the cat"), 284]) == "the cat"
    with pytest.raises(DataError, match="'<pad>' is none of the special tokens"):
        ENCODING["<pad>"]


def test_bytes_that_are_no_text_are_replaced():
    assert ENCODING.decode([0x67, 0xF6, 0xC3]) == "g\ufffd\ufffd"
    assert ENCODING.decode_bytes([0x67, 0xF6]) == b"g\xf6"


def test_learning_ends_when_no_pair_comes_twice():
    assert BytePairEncoding.train(["abcdef"], 400).merges == []
    assert len(BytePairEncoding.train([], 400)) == 256


def test_an_encoding_comes_back_from_its_file(tmp_path):
    ENCODING.save(tmp_path / "merges.json")
    loaded = BytePairEncoding.load(tmp_path / "merges.json")
    assert (loaded.merges, loaded.specials) == (ENCODING.merges, ENCODING.specials)
    assert np.array_equal(loaded.encode(TEXT), ENCODING.encode(TEXT))


@pytest.mark.parametrize(
    "change",
    [
        {"merges": [[97, 256]]},
        {"merges": [[97, 98], [97, 98]]},
        {"merges": [[97, -1]]},
        {"merges": [[97]]},
        {"merges": [["a", "b"]]},
        {"merges": None},
        {"specials": [1]},
        {"kind": "word vocabulary"},
    ],
)
def test_damaged_files_are_refused(tmp_path, change):
    path = tmp_path / "merges.json"
    ENCODING.save(path)
    whole = path.read_text()
    path.write_text(json.dumps(json.loads(whole) | change))
    with pytest.raises(DataError, match=r"merges\.json"):
        BytePairEncoding.load(path)
    path.write_text(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="no JSON"):
        BytePairEncoding.load(path)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: BytePairEncoding.train(["a"], 255), ShapeError, "size is 255, expected at least 256"),
        (lambda: BytePairEncoding.train([b"a"], 256), DTypeError, "texts must be strings"),
        (lambda: BytePairEncoding([(97, 300)]), ShapeError, r"merge 0 is of \(97, 300\)"),
        (lambda: BytePairEncoding([], specials="<pad>"), DTypeError, "specials is"),
        (lambda: ENCODING.encode(b"a"), DTypeError, "text is bytes"),
        (lambda: ENCODING.decode([285]), IndexError, "285 is out of range for 285 tokens"),
        (lambda: ENCODING.decode([1.5]), DTypeError, "numbers are float32"),
    ],
)
def test_wrong_arguments_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
