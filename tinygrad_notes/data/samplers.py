"""Samplers: in which order, how often and in which batches the items of a data set come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_notes.data.dataset import array_of, as_generator
from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.ops.arguments import count, flag
from tinygrad_notes.tensor import to_numpy


class Sampler:
    """A length and, at each ``iter``, an epoch of indices (or of lists of them). A subclass defines ``order``.

    ``generator``: a seed, a NumPy generator, or None for the package's own. An epoch is drawn whole when its iteration
    begins, so ``state_dict`` holds the generator alone, and what a sampler gives after ``load_state_dict`` is the next
    epoch; the rest of an epoch under way is in the state of the DataLoader.

    >>> class Backwards(tn.data.Sampler):
    ...     def order(self):
    ...         return [3, 2, 1, 0]
    ...
    ...     def __len__(self):
    ...         return 4
    >>> list(Backwards())
    [3, 2, 1, 0]
    """

    def __init__(self, generator: np.random.Generator | int | None = None):
        self.generator = None if generator is None else as_generator(generator, type(self).__name__)

    def order(self) -> Any:
        """The indices of one epoch."""
        raise NotImplementedError(f"{type(self).__name__} does not define order")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} does not define __len__")

    def __iter__(self) -> Iterator[Any]:
        order = self.order()
        return iter(order.tolist() if isinstance(order, np.ndarray) else order)

    def _random(self) -> np.random.Generator:
        return as_generator(self.generator, type(self).__name__)

    def state_dict(self) -> dict[str, Any]:
        """The state of the sampler's own generator; empty where it draws from the package's."""
        return {} if self.generator is None else {"generator": self.generator.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the epoch after that of the sampler that gave ``state``."""
        name = type(self).__name__
        if not isinstance(state, dict) or ("generator" in state) != (self.generator is not None):
            raise DTypeError(f"{name}: the state and this sampler differ in whether they have a generator of their own")
        if self.generator is not None:
            try:
                self.generator.bit_generator.state = state["generator"]
            except (TypeError, ValueError, KeyError) as error:
                raise DTypeError(f"{name}: the state holds no state of a generator ({error})") from None


class SequentialSampler(Sampler):
    """All items of ``data_source`` in order.

    >>> list(tn.data.SequentialSampler("abc"))
    [0, 1, 2]
    """

    def __init__(self, data_source: Any):
        super().__init__()
        self.data_source = _sized(data_source, "SequentialSampler: data_source")

    def __len__(self) -> int:
        return len(self.data_source)

    def order(self) -> np.ndarray:
        return np.arange(len(self.data_source))


class RandomSampler(Sampler):
    """``num_samples`` items of ``data_source`` at random (None: as many as it has).

    Without ``replacement`` none comes twice before each has come once; with it every draw is independent.

    >>> sorted(tn.data.RandomSampler("abc", generator=0))
    [0, 1, 2]
    """

    def __init__(
        self,
        data_source: Any,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: np.random.Generator | int | None = None,
    ):
        super().__init__(generator)
        self.data_source = _sized(data_source, "RandomSampler: data_source")
        self.replacement = flag(replacement, "RandomSampler: replacement")
        self.num_samples = None if num_samples is None else count(num_samples, "RandomSampler: num_samples", 0)
        if self.num_samples and not len(data_source):
            raise ShapeError(f"RandomSampler: num_samples is {num_samples}, but the data set is empty")

    def __len__(self) -> int:
        return len(self.data_source) if self.num_samples is None else self.num_samples

    def order(self) -> np.ndarray:
        n, wanted, random = len(self.data_source), len(self), self._random()
        if self.replacement and n:
            return random.integers(0, n, wanted)
        return _rounds(np.arange(n), wanted, random)


class WeightedRandomSampler(Sampler):
    """``num_samples`` indices, index i with probability ``weights[i]`` / Σ ``weights``.

    Without ``replacement`` they are drawn one after the other from what is left, so none comes twice; then at least
    ``num_samples`` weights must be positive. ShapeError for negative or infinite weights and for a sum of zero.

    >>> list(tn.data.WeightedRandomSampler([0.0, 1.0, 0.0], num_samples=4))
    [1, 1, 1, 1]
    """

    def __init__(
        self,
        weights: Any,
        num_samples: int,
        replacement: bool = True,
        generator: np.random.Generator | int | None = None,
    ):
        super().__init__(generator)
        self.num_samples = count(num_samples, "WeightedRandomSampler: num_samples", 0)
        self.weights = np.asarray(to_numpy(array_of(weights, "WeightedRandomSampler: weights")), np.float64)
        self.replacement = replacement
        if self.weights.ndim != 1 or not np.isfinite(self.weights).all() or (self.weights < 0).any():
            raise ShapeError("WeightedRandomSampler: weights must be one row of finite numbers of at least 0")
        positive = np.count_nonzero(self.weights)
        if not positive:
            raise ShapeError("WeightedRandomSampler: weights add up to 0")
        if not replacement and positive < self.num_samples:
            raise ShapeError(
                f"WeightedRandomSampler: num_samples is {num_samples} without replacement, but only {positive} weights "
                "are positive"
            )

    def __len__(self) -> int:
        return self.num_samples

    def order(self) -> np.ndarray:
        scaled = self.weights / self.weights.max()  # the sum of very large or very small weights is exact enough so
        return self._random().choice(len(scaled), self.num_samples, self.replacement, scaled / scaled.sum())


class BalancedSampler(Sampler):
    """Every class equally often: ``num_samples`` indices (None: as many as ``labels``), shuffled.

    A class with too few items gives them again, but none twice before each once; of a class with too many, each epoch
    takes another part. Where the number of classes does not divide ``num_samples``, random classes give one item more.
    For imbalanced data (He & Garcia 2009, "Learning from Imbalanced Data"): in expectation this is the loss with
    weights that are inverse to the frequency of a class.

    >>> labels = np.array([0, 0, 0, 0, 0, 1])
    >>> labels[list(tn.data.BalancedSampler(labels))].mean()
    np.float64(0.5)
    """

    def __init__(self, labels: Any, num_samples: int | None = None, generator: np.random.Generator | int | None = None):
        super().__init__(generator)
        array = np.asarray(to_numpy(array_of(labels, "BalancedSampler: labels")))
        if array.ndim != 1 or array.dtype.kind not in "iub" or not len(array):
            raise ShapeError(
                f"BalancedSampler: labels are {array.dtype} of shape {array.shape}, expected integers in one row"
            )
        self.num_samples = len(array) if num_samples is None else count(num_samples, "BalancedSampler: num_samples", 0)
        self.members = [np.flatnonzero(array == label) for label in np.unique(array)]

    def __len__(self) -> int:
        return self.num_samples

    def order(self) -> np.ndarray:
        random = self._random()
        each, more = divmod(self.num_samples, len(self.members))
        extra = np.isin(np.arange(len(self.members)), random.permutation(len(self.members))[:more])
        parts = [_rounds(items, each + int(one), random) for items, one in zip(self.members, extra)]
        return random.permutation(np.concatenate(parts))


class BatchSampler(Sampler):
    """Lists of ``batch_size`` indices of ``sampler``; ``drop_last`` leaves out a last one that is not full.

    >>> list(tn.data.BatchSampler(tn.data.SequentialSampler("abcde"), batch_size=2))
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool = False):
        super().__init__()
        if not isinstance(sampler, Iterable):
            raise DTypeError(f"BatchSampler: sampler is {type(sampler).__name__}, expected an iterable of indices")
        self.sampler, self.drop_last = sampler, flag(drop_last, "BatchSampler: drop_last")
        self.batch_size = count(batch_size, "BatchSampler: batch_size")

    def __len__(self) -> int:
        n = len(self.sampler)  # type: ignore[arg-type]
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def order(self) -> list[list[int]]:
        return _batches(list(self.sampler), self.batch_size, self.drop_last)

    def state_dict(self) -> dict[str, Any]:
        return {"sampler": self.sampler.state_dict()} if hasattr(self.sampler, "state_dict") else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if hasattr(self.sampler, "load_state_dict"):
            if not isinstance(state, dict) or "sampler" not in state:
                raise DTypeError("BatchSampler: the state holds none of a sampler")
            self.sampler.load_state_dict(state["sampler"])


class BucketBatchSampler(Sampler):
    """Batches of items of about equal length, so that little is padded.

    The items are shuffled, cut into windows of ``window`` batches, sorted by ``lengths`` in each window, cut into
    batches, and the batches shuffled: the larger the window, the less padding and the less random the batches.
    ``shuffle=False`` sorts all items once and gives the shortest batch first.

    >>> list(tn.data.BucketBatchSampler([9, 1, 8, 2], batch_size=2, shuffle=False))
    [[1, 3], [2, 0]]
    """

    def __init__(
        self,
        lengths: Any,
        batch_size: int,
        drop_last: bool = False,
        shuffle: bool = True,
        window: int = 100,
        generator: np.random.Generator | int | None = None,
    ):
        super().__init__(generator)
        self.lengths = np.asarray(to_numpy(array_of(lengths, "BucketBatchSampler: lengths")))
        if self.lengths.ndim != 1 or self.lengths.dtype.kind not in "iub":
            raise ShapeError(
                f"BucketBatchSampler: lengths are {self.lengths.dtype} of shape {self.lengths.shape}, expected "
                "integers in one row"
            )
        self.batch_size = count(batch_size, "BucketBatchSampler: batch_size")
        self.window = count(window, "BucketBatchSampler: window")
        self.drop_last, self.shuffle = drop_last, shuffle

    def __len__(self) -> int:
        n = len(self.lengths)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def order(self) -> list[list[int]]:
        if not self.shuffle:
            return _batches(np.argsort(self.lengths, kind="stable").tolist(), self.batch_size, self.drop_last)
        random = self._random()
        items, size = random.permutation(len(self.lengths)), self.window * self.batch_size
        batches: list[list[int]] = []
        for start in range(0, len(items), size):
            part = items[start : start + size]
            ordered = part[np.argsort(self.lengths[part], kind="stable")].tolist()
            batches += _batches(ordered, self.batch_size, self.drop_last)
        return [batches[i] for i in random.permutation(len(batches))]


def _rounds(items: np.ndarray, wanted: int, random: np.random.Generator) -> np.ndarray:
    """``wanted`` of ``items``, in one random order of all after the other."""
    if not len(items):
        return items
    rounds = [random.permutation(items) for _ in range(-(-wanted // len(items)))]
    return np.concatenate([items[:0], *rounds])[:wanted]


def _batches(items: Sequence[int], size: int, drop_last: bool) -> list[list[int]]:
    full = len(items) - len(items) % size if drop_last else len(items)
    return [list(items[start : start + size]) for start in range(0, full, size)]


def _sized(value: Any, name: str) -> Any:
    if not hasattr(value, "__len__"):
        raise DTypeError(f"{name} is {type(value).__name__}, expected a data set or a list")
    return value
