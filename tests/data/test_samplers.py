"""Samplers: how often each item comes, in which order, and that a state goes on with the next epoch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_notes as tn
from tinygrad_notes.data import (
    BalancedSampler,
    BatchSampler,
    BucketBatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    WeightedRandomSampler,
)
from tinygrad_notes.errors import DTypeError, ShapeError

LABELS = np.array([0] * 90 + [3] * 9 + [7])


def test_sequential():
    assert list(SequentialSampler("abcd")) == [0, 1, 2, 3]
    assert len(SequentialSampler("abcd")) == 4


def test_random_without_replacement_gives_each_once_and_every_epoch_another_order():
    sampler = RandomSampler(range(50), generator=1)
    first, second = list(sampler), list(sampler)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert list(RandomSampler(range(50), generator=1)) == first
    assert all(type(i) is int for i in first)


@pytest.mark.parametrize("wanted", [0, 3, 10, 25])
def test_num_samples_without_replacement_goes_round(wanted):
    drawn = list(RandomSampler(range(10), num_samples=wanted, generator=0))
    assert len(drawn) == len(RandomSampler(range(10), num_samples=wanted)) == wanted
    counts = np.bincount(drawn, minlength=10)
    assert counts.max() - counts.min() <= 1


def test_random_with_replacement_draws_independently():
    counts = np.bincount(list(RandomSampler(range(10), replacement=True, num_samples=20_000, generator=0)))
    expected, deviation = 2000, np.sqrt(20_000 * 0.1 * 0.9)
    assert np.abs(counts - expected).max() < 4 * deviation
    assert counts.std() > 5  # in rounds it would be 0


def test_weights_are_the_shares():
    weights = [1.0, 0, 3, 6]
    counts = np.bincount(list(WeightedRandomSampler(weights, 20_000, generator=0)), minlength=4) / 20_000
    assert np.allclose(counts, [0.1, 0, 0.3, 0.6], atol=0.015)
    assert sorted(WeightedRandomSampler(weights, 3, replacement=False, generator=0)) == [0, 2, 3]
    huge = WeightedRandomSampler(np.array([1e308, 1e308, 0]), 10, generator=0)
    assert set(huge) == {0, 1}


def test_balanced_gives_every_class_equally_often():
    sampler = BalancedSampler(LABELS, generator=0)
    first, second = np.array(list(sampler)), np.array(list(sampler))
    assert len(first) == len(sampler) == 100
    assert sorted(np.unique(LABELS[first], return_counts=True)[1]) == [33, 33, 34]
    rare = np.unique(first[LABELS[first] == 3], return_counts=True)[1]
    assert len(rare) == 9  # every item of the class, none twice more often than another
    assert rare.max() - rare.min() <= 1
    assert set(first[LABELS[first] == 0]) != set(second[LABELS[second] == 0])
    assert len(set(first[LABELS[first] == 0])) == np.count_nonzero(LABELS[first] == 0)
    assert list(first) != sorted(first)


def test_batches_of_a_sampler():
    assert list(BatchSampler(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(BatchSampler(range(5), 2, drop_last=True)) == [[0, 1], [2, 3]]
    assert [len(BatchSampler(range(5), 2, drop_last=drop)) for drop in (False, True)] == [3, 2]


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 7), st.integers(1, 4), st.booleans(), st.booleans())
def test_buckets_hold_each_item_once(lengths, size, window, drop, shuffle):
    sampler = BucketBatchSampler(np.array(lengths, np.int64), size, drop, shuffle, window, generator=0)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    drawn = [i for batch in batches for i in batch]
    assert len(set(drawn)) == len(drawn)
    if drop:
        assert all(len(batch) == size for batch in batches)
    else:
        assert sorted(drawn) == list(range(len(lengths)))


def test_buckets_pad_less_and_come_in_random_order():
    lengths = np.random.default_rng(0).integers(1, 100, 1000)

    def padded(batches):
        return sum(max(lengths[b]) * len(b) for b in batches) / lengths.sum()

    plain = list(BatchSampler(RandomSampler(lengths, generator=0), 10))
    sampler = BucketBatchSampler(lengths, 10, window=20, generator=0)
    first, second = list(sampler), list(sampler)
    assert padded(plain) > 1.6
    assert padded(first) < 1.1
    assert first != second
    longest = [max(lengths[b]) for b in first]
    assert longest != sorted(longest)
    in_order = [max(lengths[b]) for b in BucketBatchSampler(lengths, 10, shuffle=False)]
    assert in_order == sorted(in_order)


def samplers(seed):
    return [
        RandomSampler(range(30), generator=seed),
        RandomSampler(range(30), replacement=True, generator=seed),
        WeightedRandomSampler(np.ones(30), 30, generator=seed),
        BalancedSampler(np.arange(30) % 4, generator=seed),
        BatchSampler(RandomSampler(range(30), generator=seed), 4),
        BucketBatchSampler(np.arange(30), 3, window=2, generator=seed),
    ]


@pytest.mark.parametrize("which", range(6))
def test_a_state_goes_on_with_the_next_epoch(which):
    sampler, other = samplers(5)[which], samplers(6)[which]
    list(sampler)
    other.load_state_dict(sampler.state_dict())
    assert list(other) == list(sampler)


@pytest.mark.parametrize("which", range(6))
def test_without_a_generator_the_package_s_decides(which):
    drawn = []
    for _ in range(2):
        tn.manual_seed(3)
        drawn.append(list(samplers(None)[which]))
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("batched", [False, True])
def test_a_loader_resumes_in_mid_epoch_with_a_sampler_that_has_a_state(batched):
    def make(seed):
        if batched:
            return DataLoader(data, batch_sampler=BucketBatchSampler(np.arange(20), 4, window=2, generator=seed))
        return DataLoader(data, 4, sampler=RandomSampler(data, generator=seed))

    data = TensorDataset(np.arange(20))
    loader, resumed = make(0), make(1)
    batches = iter(loader)
    next(batches)
    resumed.load_state_dict(loader.state_dict())
    rest = [b[0].tolist() for b in batches] + [b[0].tolist() for b in loader]
    assert [b[0].tolist() for b in resumed] + [b[0].tolist() for b in resumed] == rest


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SequentialSampler(3), DTypeError, "data_source is int"),
        (lambda: RandomSampler([], num_samples=2), ShapeError, "data set is empty"),
        (lambda: RandomSampler([1], num_samples=-1), ShapeError, "num_samples is -1"),
        (lambda: RandomSampler([1], generator="x"), DTypeError, "RandomSampler: generator is 'x'"),
        (lambda: WeightedRandomSampler([1.0, -1], 1), ShapeError, "weights must be"),
        (lambda: WeightedRandomSampler([0.0, 0], 1), ShapeError, "add up to 0"),
        (lambda: WeightedRandomSampler([1.0, 0], 2, replacement=False), ShapeError, "only 1 weights"),
        (lambda: BalancedSampler([0.5, 1.0]), ShapeError, "labels are float32"),
        (lambda: WeightedRandomSampler(["a"], 1), DTypeError, "WeightedRandomSampler: weights: "),
        (lambda: BatchSampler(5, 2), DTypeError, "sampler is int"),
        (lambda: BatchSampler([5], 0), ShapeError, "batch_size is 0"),
        (lambda: BucketBatchSampler([[1]], 2), ShapeError, "lengths are int64"),
        (lambda: RandomSampler([1]).load_state_dict({"generator": {}}), DTypeError, "generator of their own"),
        (lambda: RandomSampler([1], generator=0).load_state_dict({"generator": {}}), DTypeError, "no state"),
        (lambda: BatchSampler(RandomSampler([1]), 1).load_state_dict({}), DTypeError, "holds none"),
    ],
)
def test_wrong_arguments_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
