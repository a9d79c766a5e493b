"""Names of characters: which are taken, and pairs that are neighbours or are not."""

import unicodedata

import pytest

from tinygrad_notes.data import character_names, name_pairs
from tinygrad_notes.data.names import Name
from tinygrad_notes.errors import ShapeError


@pytest.fixture(scope="module")
def names():
    return character_names()


def test_names_are_those_of_the_standard(names):
    assert len(names) > 20_000
    assert all(3 <= len(name.text.split()) <= 10 for name in names)
    assert [name.code for name in names] == sorted(name.code for name in names)
    assert all(unicodedata.name(chr(name.code)).lower() == name.text for name in names[::50])
    assert Name(0x61, "latin small letter a") in names
    assert not any(name.text.startswith("cjk") or any(c.isdigit() for c in name.text) for name in names)


def test_pairs_are_neighbours_or_never(names):
    train, test = name_pairs(names)
    code = {name.text: name.code for name in names}
    for pair in (*train, *test):
        assert (code[pair.second] == code[pair.first] + 1) == pair.is_next
    shares = [sum(pair.is_next for pair in part) / len(part) for part in (train, test)]
    assert shares == pytest.approx([0.5, 0.5], abs=0.04)
    assert len(test) / (len(train) + len(test)) == pytest.approx(0.1, abs=0.05)


def test_no_name_is_in_both_parts(names):
    train, test = ({text for pair in part for text in (pair.first, pair.second)} for part in name_pairs(names, seed=2))
    assert not train & test


def test_the_seed_decides(names):
    some = names[:3000]
    assert name_pairs(some) == name_pairs(some)
    assert name_pairs(some, seed=1)[1] != name_pairs(some)[1]
    assert all(pair.is_next for pair in name_pairs(some, wrong=0)[0])


def test_runs_end_where_code_points_are_missing():
    names = [Name(code, f"name {code}") for code in (1, 2, 3, 7, 8, 9, 20)]
    pairs = [pair for part in name_pairs(names, wrong=0, test=0.5) for pair in part]
    assert {(p.first, p.second) for p in pairs} == {
        ("name 1", "name 2"), ("name 2", "name 3"), ("name 7", "name 8"), ("name 8", "name 9"),
    }  # fmt: skip


def test_wrong_arguments_are_refused(names):
    with pytest.raises(ShapeError, match="most is 2, expected at least 3"):
        character_names(3, 2)
    with pytest.raises(ShapeError, match="wrong is 2"):
        name_pairs(names, wrong=2)
    with pytest.raises(ShapeError, match="test is 1"):
        name_pairs(names, test=1)
    with pytest.raises(ShapeError, match="1 runs"):
        name_pairs(names[:5])
    with pytest.raises(ShapeError, match="too few for a wrong one"):
        name_pairs([Name(1, "a"), Name(2, "b"), Name(5, "c"), Name(6, "d")])
