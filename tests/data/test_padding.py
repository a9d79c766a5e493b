"""Batches of different lengths: padded values, lengths, and what cannot be padded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_notes.data import DataLoader, TensorDataset, pad_collate, padding
from tinygrad_notes.errors import DTypeError, ShapeError


def test_arrays_are_padded_behind():
    values, lengths = pad_collate([np.array([1.5, 2]), np.array([3.5]), np.zeros(0)], value=-1)
    assert values.tolist() == [[1.5, 2], [3.5, -1], [-1, -1]]
    assert lengths.tolist() == [2, 1, 0]
    assert lengths.dtype == np.int64


def test_each_padded_field_is_followed_by_its_lengths():
    items = [([1, 2, 3], 0, "ab"), ([4], 1, "c")]
    tokens, lengths, labels, names = pad_collate(items)
    assert tokens.tolist() == [[1, 2, 3], [4, 0, 0]]
    assert (lengths.tolist(), labels.tolist(), names) == ([3, 1], [0, 1], ["ab", "c"])


def test_the_structure_does_not_depend_on_the_batch():
    assert len(pad_collate([(np.ones(2), 1), (np.ones(2), 1)])) == len(pad_collate([(np.ones(2), 1), (np.ones(3), 1)]))


def test_fields_says_which_are_padded_and_length_how_far():
    items = [(np.ones((2, 4)), np.zeros((3, 3))), (np.ones((1, 4)), np.ones((3, 3)))]
    sequences, lengths, images = pad_collate(items, fields=[0], length=5)
    assert (sequences.shape, images.shape) == ((2, 5, 4), (2, 3, 3))
    assert lengths.tolist() == [2, 1]


@given(st.lists(st.lists(st.integers(-5, 5), max_size=6), min_size=1, max_size=6))
def test_the_lengths_bring_the_items_back(items):
    values, lengths = pad_collate([np.array(item, np.int64) for item in items], value=99)
    assert [row[:n].tolist() for row, n in zip(values.data, lengths.data)] == items
    assert (values.data == 99).sum() == values.data.size - sum(map(len, items))


def test_a_loader_takes_it_also_in_workers():
    data = [([1] * n, n) for n in range(1, 5)]
    for workers in (0, 1):
        batches = list(DataLoader(data, 2, collate_fn=padding(value=-1), num_workers=workers))
        assert [b[0].tolist() for b in batches] == [[[1, -1], [1, 1]], [[1, 1, 1, -1], [1, 1, 1, 1]]]
    assert len(TensorDataset(*batches[0])) == 2


@pytest.mark.parametrize(
    ("items", "options", "error", "message"),
    [
        ([], {}, ShapeError, "items are none"),
        ([np.ones((2, 3)), np.ones((2, 4))], {}, ShapeError, "differ in the first axis alone"),
        ([np.ones(2), np.float32(1)], {}, ShapeError, "differ in the first axis alone"),
        ([np.ones(3)], {"length": 2}, ShapeError, "up to 3 long, length is 2"),
        ([np.ones(3, np.uint8)], {"value": -1}, DTypeError, "value is -1, which is no value of item, uint8"),
        ([[1, 2]], {"value": 0.5}, DTypeError, r"value is 0\.5"),
        ([([1], 2), ([1], 2, 3)], {}, ShapeError, "tuple of 2 fields"),
        ([([1], 2)], {"fields": [2]}, ShapeError, "numbers from 0 to 1"),
        ([["a"]], {}, DTypeError, "item"),
    ],
)
def test_what_cannot_be_padded_is_refused(items, options, error, message):
    with pytest.raises(error, match=message):
        pad_collate(items, **options)
