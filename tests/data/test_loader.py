"""DataLoader: order, batches, samplers, and going on in mid-epoch."""

import itertools

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes.data import DataLoader, Dataset, TensorDataset
from tinygrad_notes.errors import DTypeError, ShapeError


def data(n=10):
    return TensorDataset(np.arange(n))


def read(loader):
    return [batch[0].tolist() for batch in loader]


def test_batches_in_order_with_a_last_one_that_is_not_full():
    loader = DataLoader(data(), 4)
    assert read(loader) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(loader) == 3


def test_drop_last_leaves_out_the_batch_that_is_not_full():
    loader = DataLoader(data(), 4, drop_last=True)
    assert read(loader) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert len(loader) == 2
    assert read(DataLoader(data(8), 4, drop_last=True)) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_every_epoch_is_shuffled_anew_and_the_seed_decides_how():
    loader, twin = DataLoader(data(), 3, shuffle=True, generator=5), DataLoader(data(), 3, shuffle=True, generator=5)
    first, second = read(loader), read(loader)
    assert sorted(np.concatenate(first)) == sorted(np.concatenate(second)) == list(range(10))
    assert first != second
    assert [read(twin), read(twin)] == [first, second]


def test_without_a_generator_of_its_own_the_package_s_decides():
    tn.manual_seed(4)
    first = read(DataLoader(data(), 5, shuffle=True))
    tn.manual_seed(4)
    assert read(DataLoader(data(), 5, shuffle=True)) == first


def test_samplers_set_the_order_or_the_batches():
    assert read(DataLoader(data(), 2, sampler=[9, 0, 9])) == [[9, 0], [9]]
    loader = DataLoader(data(), batch_sampler=[[1, 2, 3], [0]])
    assert read(loader) == [[1, 2, 3], [0]]
    assert len(loader) == 2
    assert len(DataLoader(data(), 2, sampler=[9, 0, 9])) == 2


def test_arrays_are_indexed_by_batch_and_a_collate_fn_sees_items():
    calls = []

    class Watched(TensorDataset):
        def take(self, indices):
            calls.append(len(indices))
            return super().take(indices)

    read(DataLoader(Watched(np.arange(10)), 4))
    assert calls == [4, 4, 2]
    loader = DataLoader(Watched(np.arange(3)), 2, collate_fn=lambda items: [item[0].item() for item in items])
    assert list(loader) == [[0, 1], [2]]
    assert calls == [4, 4, 2]


def test_any_sequence_is_a_data_set():
    batches = list(DataLoader([(1.5, 0), (2.5, 1), (3.5, 0)], 2))
    assert batches[0][0].tolist() == [1.5, 2.5]
    assert batches[1][1].tolist() == [0]


def test_an_empty_data_set_has_no_batches():
    assert read(DataLoader(data(0), 4)) == []
    assert len(DataLoader(data(0), 4)) == 0


@pytest.mark.parametrize("given", range(5))
@pytest.mark.parametrize("own", [True, False])
def test_a_loader_goes_on_with_the_very_next_batch(given, own):
    def make():
        return DataLoader(data(23), 5, shuffle=True, generator=8 if own else None)

    tn.manual_seed(1)
    loader = make()
    read(loader)  # a whole epoch before
    batches = iter(loader)
    for _ in range(given):
        next(batches)
    state, random_state = loader.state_dict(), tn.get_rng_state()
    rest = [batch[0].tolist() for batch in batches] + read(loader)

    tn.manual_seed(99)
    resumed = make()
    read(resumed)
    tn.set_rng_state(random_state)
    resumed.load_state_dict(state)
    assert read(resumed) + read(resumed) == rest


def test_a_sampler_without_a_state_is_resumed_too():
    order = np.random.default_rng(0)

    class Random:
        def __iter__(self):
            return iter(order.permutation(10))

        def __len__(self):
            return 10

    loader = DataLoader(data(), 3, sampler=Random())
    batches = iter(loader)
    next(batches)
    state = loader.state_dict()
    rest = [batch[0].tolist() for batch in batches]
    resumed = DataLoader(data(), 3, sampler=Random())
    resumed.load_state_dict(state)
    assert read(resumed) == rest


def test_a_sampler_with_a_state_is_asked_for_it():
    class Counter:
        start = 0

        def __iter__(self):
            self.start += 1
            return iter([self.start, self.start + 1])

        def __len__(self):
            return 2

        def state_dict(self):
            return {"start": self.start}

        def load_state_dict(self, state):
            self.start = state["start"]

    loader = DataLoader(data(), 2, sampler=Counter())
    read(loader)
    resumed = DataLoader(data(), 2, sampler=Counter())
    resumed.load_state_dict(loader.state_dict())
    assert read(resumed) == [[2, 3]] == read(loader)


def test_a_state_of_other_data_is_refused():
    state = DataLoader(data(10), 2).state_dict()
    with pytest.raises(ShapeError, match="10 items, this one has 11"):
        DataLoader(data(11), 2).load_state_dict(state)
    with pytest.raises(DTypeError, match="generator of their own"):
        DataLoader(data(10), 2, generator=1).load_state_dict(state)


def test_an_epoch_that_broke_off_is_not_resumed_by_itself():
    loader = DataLoader(data(), 4)
    assert [b[0].tolist() for b in itertools.islice(loader, 1)] == [[0, 1, 2, 3]]
    assert read(loader)[0] == [0, 1, 2, 3]


def test_two_iterations_at_once_are_refused():
    loader = DataLoader(data(), 4)
    with pytest.raises(RuntimeError, match="one iterator at a time"):
        list(zip(loader, loader))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ShapeError, "batch_size is 0"),
        ({"batch_size": 2.0}, DTypeError, "batch_size is 2.0"),
        ({"sampler": [0], "shuffle": True}, DTypeError, "sampler sets the order"),
        ({"batch_sampler": [[0]], "batch_size": 4}, DTypeError, "batch_sampler sets the batches"),
        ({"generator": -1}, DTypeError, "generator is -1"),
    ],
)
def test_options_that_contradict_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        DataLoader(data(), **options)


def test_a_data_set_that_defines_nothing_says_so():
    with pytest.raises(NotImplementedError, match="__len__"):
        len(DataLoader(Dataset(), 2))
    with pytest.raises(NotImplementedError, match="__getitem__"):
        Dataset()[0]
