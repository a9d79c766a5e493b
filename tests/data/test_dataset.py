"""Data sets: items, batches, parts."""

import subprocess
import sys

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes.data import Dataset, Subset, TensorDataset, Transformed, collate, random_split
from tinygrad_notes.data.dataset import take
from tinygrad_notes.errors import DTypeError, ShapeError


class Squares(Dataset):
    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return np.float32(index * index), {"name": f"item {index}", "index": index}


def pairs(n=10):
    return TensorDataset(np.arange(2 * n, dtype=np.float32).reshape(n, 2), np.arange(n))


def test_a_tensor_dataset_shows_what_it_holds():
    assert repr(pairs(3)) == "TensorDataset(float32[3, 2], int64[3])"


def test_a_tensor_dataset_gives_rows_and_whole_batches():
    data = pairs()
    x, y = data[-1]
    assert x.tolist() == [18.0, 19.0]
    assert y.item() == 9
    batch = data.take(np.array([3, 0]))
    assert batch[0].tolist() == [[6.0, 7.0], [0.0, 1.0]]
    assert batch[1].tolist() == [3, 0]


def test_a_tensor_dataset_takes_tensors_too():
    assert TensorDataset(tn.ones((3, 2)), [1, 2, 3])[0][0].tolist() == [1.0, 1.0]


def test_a_subclass_that_changes_items_is_not_bypassed_by_the_fast_path():
    class Negated(TensorDataset):
        def __getitem__(self, index):
            x, y = super().__getitem__(index)
            return -x, y

    x, _ = Negated(np.ones((4, 2), np.float32), np.arange(4)).take(np.array([1, 2]))
    assert x.tolist() == [[-1.0, -1.0], [-1.0, -1.0]]


@pytest.mark.parametrize("index", [10, -11])
def test_an_index_outside_is_refused(index):
    with pytest.raises(IndexError, match="data set of 10 items"):
        pairs()[index]


def test_arrays_of_different_length_are_refused():
    with pytest.raises(ShapeError, match=r"\(3,\), \(4,\)"):
        TensorDataset(np.zeros(3), np.zeros(4))
    with pytest.raises(ShapeError, match="common length"):
        TensorDataset(np.zeros(()))
    with pytest.raises(ShapeError, match="no array"):
        TensorDataset()


def test_a_subset_reads_through_its_indices():
    part = Subset(pairs(), [7, 2, 5])
    assert len(part) == 3
    assert part[1][1].item() == 2
    assert part.take(np.array([2, 0]))[1].tolist() == [5, 7]
    assert take(Subset(part, [0]), np.array([0]))[1].tolist() == [7]


def test_a_subset_refuses_indices_that_are_none():
    with pytest.raises(IndexError, match="the data set has 10 items"):
        Subset(pairs(), [0, 10])
    with pytest.raises(DTypeError, match="integers"):
        Subset(pairs(), [0.5])


def test_collate_stacks_field_by_field():
    numbers, info = Squares(5).take(np.array([1, 3]))
    assert numbers.dtype == np.float32
    assert numbers.tolist() == [1.0, 9.0]
    assert info["name"] == ["item 1", "item 3"]
    assert info["index"].tolist() == [1, 3]


def test_collate_names_what_does_not_stack():
    with pytest.raises(ShapeError, match=r"item\[0\] has shapes \(2,\) and \(3,\)"):
        collate([(np.zeros(2), 0), (np.zeros(3), 1)])
    with pytest.raises(ShapeError, match="fields"):
        collate([(1, 2), (1,)])
    with pytest.raises(DTypeError, match="item is object"):
        collate([object()])


def test_a_transform_sees_the_whole_batch():
    doubled = Transformed(pairs(), lambda x, y: (x * 2, y))
    assert doubled.take(np.array([1, 2]))[0].tolist() == [[4.0, 6.0], [8.0, 10.0]]
    assert doubled[1][0].tolist() == [4.0, 6.0]
    assert len(doubled) == 10


@pytest.mark.parametrize(
    ("lengths", "sizes"), [((6, 4), [6, 4]), ((0.7, 0.3), [7, 3]), ((0.33, 0.33, 0.34), [4, 3, 3])]
)
def test_random_split_covers_everything_once(lengths, sizes):
    parts = random_split(pairs(), lengths, generator=3)
    assert [len(part) for part in parts] == sizes
    assert sorted(int(i) for part in parts for i in part.indices) == list(range(10))


def test_random_split_depends_on_the_seed_alone():
    first, again, other = (random_split(pairs(50), (25, 25), generator=seed)[0].indices for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_random_split_refuses_lengths_that_do_not_add_up():
    with pytest.raises(ShapeError, match="neither 10 items nor 1"):
        random_split(pairs(), (5, 4))
    with pytest.raises(ShapeError, match="negative"):
        random_split(pairs(), (11, -1))
    with pytest.raises(DTypeError, match="generator"):
        random_split(pairs(), (5, 5), generator="seed")


def test_the_package_loads_nothing_heavy():
    heavy = ["sklearn", "PIL", "scipy", "pydoc_data", "torch"]
    program = f"import sys, tinygrad_notes.data; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
