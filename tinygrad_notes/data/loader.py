"""DataLoader: batches of a data set in order, shuffled or by a sampler, that can stop and go on in mid-epoch."""

from __future__ import annotations

import multiprocessing
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from tinygrad_notes.data.dataset import as_batch, as_generator
from tinygrad_notes.data.workers import WorkerPool
from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.ops.arguments import count


class DataLoader:
    """Iterate over ``dataset`` in batches of Tensors; each ``for`` is one epoch.

    ``shuffle`` draws a new order each epoch. ``sampler`` is an iterable of indices and takes its place;
    ``batch_sampler`` an iterable of lists of indices, which also sets the batches. ``drop_last`` leaves out a last
    batch that is not full. ``collate_fn`` makes a batch of a list of items; without one, items are stacked, and data
    sets of arrays are indexed batch by batch. ``generator``: a seed, a NumPy generator, or None for the package's own.

    ``state_dict`` inside an epoch holds what is left of it, so that a loader that loads it goes on with the very next
    batch, whatever the sampler. A sampler that has ``state_dict`` and ``load_state_dict`` itself is restored too, for
    the epochs after.

    ``num_workers`` processes make the batches ahead of time, each at most ``prefetch_factor`` unread ones; batches
    come in the same order as without. They start with an epoch and end with it, or when its iteration is broken off;
    ``persistent_workers`` keeps them from one epoch to the next, until ``close`` or the end of the loader.
    ``multiprocessing_context`` is ``"fork"``, ``"spawn"`` or ``"forkserver"`` (None: Python's default);
    ``worker_init_fn`` is called with its number in each worker. What is random in the data set draws from the
    package's generator, which a worker starts anew for every batch, from a seed of the epoch and the batch's number:
    so the numbers depend neither on how many workers there are nor on where an epoch was resumed. An error in a worker
    is raised here, with the worker's traceback and the item's index as notes.

    >>> dataset = tn.data.TensorDataset(np.arange(5), np.arange(5) % 2)
    >>> for x, y in tn.data.DataLoader(dataset, batch_size=2):
    ...     print(x.tolist(), y.tolist())
    [0, 1] [0, 1]
    [2, 3] [0, 1]
    [4] [0]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        *,
        collate_fn: Callable[[list], Any] | None = None,
        drop_last: bool = False,
        generator: np.random.Generator | int | None = None,
        num_workers: int = 0,
        prefetch_factor: int = 2,
        persistent_workers: bool = False,
        multiprocessing_context: str | None = None,
        worker_init_fn: Callable[[int], None] | None = None,
    ):
        if not isinstance(batch_size, int | np.integer) or isinstance(batch_size, bool):
            raise DTypeError(f"DataLoader: batch_size is {batch_size!r}, expected an integer")
        if batch_size < 1:
            raise ShapeError(f"DataLoader: batch_size is {batch_size}, expected at least 1")
        if sampler is not None and (shuffle or batch_sampler is not None):
            raise DTypeError("DataLoader: sampler sets the order, so it goes with neither shuffle nor batch_sampler")
        if batch_sampler is not None and (batch_size != 1 or shuffle or drop_last):
            raise DTypeError(
                "DataLoader: batch_sampler sets the batches, so it goes with no batch_size, shuffle or drop_last"
            )
        self.dataset, self.batch_size, self.shuffle, self.drop_last = dataset, int(batch_size), shuffle, drop_last
        self.sampler, self.batch_sampler, self.collate_fn = sampler, batch_sampler, collate_fn
        if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
            raise DTypeError(f"DataLoader: dataset is {type(dataset).__name__}, expected a Dataset or a list")
        for name, given in (("sampler", sampler), ("batch_sampler", batch_sampler)):
            if given is not None and not isinstance(given, Iterable):
                raise DTypeError(f"DataLoader: {name} is {type(given).__name__}, expected an iterable of indices")
        if collate_fn is not None and not callable(collate_fn):
            raise DTypeError(f"DataLoader: collate_fn is {collate_fn!r}, expected a function of a list of items")
        self.generator = None if generator is None else as_generator(generator, "DataLoader")
        self.num_workers = count(num_workers, "DataLoader: num_workers", 0)
        self.prefetch_factor = count(prefetch_factor, "DataLoader: prefetch_factor")
        methods = multiprocessing.get_all_start_methods()
        if multiprocessing_context is not None and multiprocessing_context not in methods:
            raise ShapeError(
                f"DataLoader: multiprocessing_context is {multiprocessing_context!r}, expected one of {methods} or None"
            )
        if worker_init_fn is not None and not callable(worker_init_fn):
            raise DTypeError(f"DataLoader: worker_init_fn is {worker_init_fn!r}, expected a function of a number")
        if not self.num_workers and (persistent_workers or worker_init_fn is not None):
            raise DTypeError("DataLoader: persistent_workers and worker_init_fn need num_workers of at least 1")
        self.persistent_workers, self.worker_init_fn = persistent_workers, worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self._pool: WorkerPool | None = None
        self._seed: int | None = None  # of what is random in the workers in this epoch
        self._order: np.ndarray | None = None  # the indices of the epoch under way, batch after batch
        self._ends: list[int] = []  # where in it each batch ends
        self._position = 0  # how many batches of it were given out
        self._go_on = False

    def __len__(self) -> int:
        """How many batches an epoch has."""
        if self.batch_sampler is not None:
            return len(self.batch_sampler)  # type: ignore[arg-type]
        items = len(self.dataset) if self.sampler is None else len(self.sampler)  # type: ignore[arg-type]
        return items // self.batch_size if self.drop_last else -(-items // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        if not self._go_on:
            self._start_epoch()
        self._go_on = False
        return self._batches(self._order)

    def _batches(self, order: np.ndarray | None) -> Iterator[Any]:
        made: Iterator[Any] | None = None
        pool: WorkerPool | None = None
        finished = False
        try:
            while True:
                if self._order is not order or order is None:
                    raise RuntimeError(
                        "DataLoader: another iteration over this loader began; an epoch has one iterator at a time"
                    )
                if self._position == len(self._ends):
                    break
                start = self._ends[self._position - 1] if self._position else 0
                indices = order[start : self._ends[self._position]]
                if self.num_workers and made is None:
                    pool, made = self._workers(order)
                self._position += 1
                yield as_batch(self.dataset, indices, self.collate_fn) if made is None else next(made)
            finished = True
        finally:
            # Workers that were broken off hold batches nobody will read, so they do not serve another epoch.
            if pool is not None and not (finished and self.persistent_workers and pool is self._pool):
                pool.close()
                if pool is self._pool:
                    self._pool = None
        self._order = None

    def _workers(self, order: np.ndarray) -> tuple[WorkerPool, Iterator[Any]]:
        """The processes, and the rest of the epoch's batches from them."""
        if self._pool is not None and not self._pool.idle:  # an iteration that was left standing uses them
            self.close()
        if self._pool is None:
            self._pool = WorkerPool(
                self.num_workers, self.dataset, self.collate_fn, self.multiprocessing_context, self.worker_init_fn
            )
        if self._seed is None:  # a state of a loader without workers was loaded
            self._seed = self._draw_seed()
        batches = self._pool.batches(order, self._ends, self._position, self._seed, self.prefetch_factor)
        return self._pool, batches

    def _draw_seed(self) -> int:
        return int(as_generator(self.generator, "DataLoader").integers(0, 2**63 - 1))

    def close(self) -> None:
        """End the worker processes now; the next epoch starts new ones."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pool": None}  # a copy of the loader starts workers of its own

    def _start_epoch(self) -> None:
        if self.batch_sampler is not None:
            parts = [self._indices(part, "batch_sampler") for part in self.batch_sampler]
            self._order = np.concatenate(parts) if parts else np.zeros(0, np.int64)
            self._ends = np.cumsum([len(part) for part in parts]).tolist()
        else:
            if self.sampler is not None:
                self._order = self._indices(self.sampler, "sampler")
            elif self.shuffle:
                self._order = as_generator(self.generator, "DataLoader").permutation(len(self.dataset))
            else:
                self._order = np.arange(len(self.dataset))
            n = len(self._order)
            self._ends = list(range(self.batch_size, n + 1, self.batch_size))
            if n % self.batch_size and not self.drop_last:
                self._ends.append(n)
        self._position = 0
        self._seed = self._draw_seed() if self.num_workers else None

    def _indices(self, given: Iterable[int], name: str) -> np.ndarray:
        """What a sampler gives, as integers that the data set has."""
        try:
            indices = np.array([operator.index(i) for i in given], np.int64)
        except TypeError as error:
            raise DTypeError(f"DataLoader: {name} gives something else than integers ({error})") from None
        n = len(self.dataset)
        wrong = indices[(indices < -n) | (indices >= n)]
        if len(wrong):
            raise IndexError(f"DataLoader: {name} gives the index {wrong[0]}, the data set has {n} items")
        return indices

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """What a loader over the same data needs to go on here: the rest of the epoch under way, and the generator."""
        state: dict[str, Any] = {"length": len(self.dataset)}
        if self._order is not None:
            state |= {"order": self._order.copy(), "ends": list(self._ends), "position": self._position}
            if self._seed is not None:
                state["seed"] = self._seed
        if self.generator is not None:
            state["generator"] = self.generator.bit_generator.state
        sampler: Any = self.batch_sampler if self.sampler is None else self.sampler
        if hasattr(sampler, "state_dict"):
            state["sampler"] = sampler.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the loader that gave ``state`` was. ShapeError when the data set has another length."""
        if not isinstance(state, dict) or "length" not in state:
            raise ShapeError(f"DataLoader: expected a dict with 'length' as the state, got {state!r:.60}")
        if state["length"] != len(self.dataset):
            raise ShapeError(
                f"DataLoader: the state is of a data set of {state['length']} items, this one has {len(self.dataset)}"
            )
        if ("generator" in state) != (self.generator is not None):
            raise DTypeError(
                "DataLoader: the state and this loader differ in whether they have a generator of their own"
            )
        if self.generator is not None:
            self.generator.bit_generator.state = state["generator"]
        if "sampler" in state:
            sampler: Any = self.batch_sampler if self.sampler is None else self.sampler
            sampler.load_state_dict(state["sampler"])
        self._go_on = "order" in state
        self._order = np.array(state["order"]) if self._go_on else None
        self._ends, self._position = list(state.get("ends", [])), state.get("position", 0)
        self._seed = state.get("seed")
