"""DataLoader: batches of a data set in order, shuffled or by a sampler, that can stop and go on in mid-epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from tinygrad_notes.data.dataset import as_generator, take
from tinygrad_notes.errors import DTypeError, ShapeError


class DataLoader:
    """Iterate over ``dataset`` in batches of Tensors; each ``for`` is one epoch.

    ``shuffle`` draws a new order each epoch. ``sampler`` is an iterable of indices and takes its place;
    ``batch_sampler`` an iterable of lists of indices, which also sets the batches. ``drop_last`` leaves out a last
    batch that is not full. ``collate_fn`` makes a batch of a list of items; without one, items are stacked, and data
    sets of arrays are indexed batch by batch. ``generator``: a seed, a NumPy generator, or None for the package's own.

    ``state_dict`` inside an epoch holds what is left of it, so that a loader that loads it goes on with the very next
    batch, whatever the sampler. A sampler that has ``state_dict`` and ``load_state_dict`` itself is restored too, for
    the epochs after.
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
        self.generator = None if generator is None else as_generator(generator)
        self._order: np.ndarray | None = None  # the indices of the epoch under way, batch after batch
        self._ends: list[int] = []  # where in it each batch ends
        self._position = 0  # how many batches of it were given out
        self._go_on = False

    def __len__(self) -> int:
        """How many batches an epoch has."""
        if self.batch_sampler is not None:
            return len(self.batch_sampler)  # type: ignore[arg-type]
        count = len(self.dataset) if self.sampler is None else len(self.sampler)  # type: ignore[arg-type]
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        if not self._go_on:
            self._start_epoch()
        self._go_on = False
        return self._batches(self._order)

    def _batches(self, order: np.ndarray | None) -> Iterator[Any]:
        while self._order is not None and self._position < len(self._ends):
            if self._order is not order:
                raise RuntimeError(
                    "DataLoader: another iteration over this loader began; an epoch has one iterator at a time"
                )
            start = self._ends[self._position - 1] if self._position else 0
            indices = self._order[start : self._ends[self._position]]
            self._position += 1
            yield self._batch(indices)
        if self._order is order:
            self._order = None

    def _batch(self, indices: np.ndarray) -> Any:
        if self.collate_fn is None:
            return take(self.dataset, indices)
        return self.collate_fn([self.dataset[int(i)] for i in indices])

    def _start_epoch(self) -> None:
        if self.batch_sampler is not None:
            parts = [np.asarray(part, np.int64) for part in self.batch_sampler]
            self._order = np.concatenate(parts) if parts else np.zeros(0, np.int64)
            self._ends = np.cumsum([len(part) for part in parts]).tolist()
        else:
            if self.sampler is not None:
                self._order = np.fromiter((int(i) for i in self.sampler), np.int64)
            elif self.shuffle:
                self._order = as_generator(self.generator).permutation(len(self.dataset))
            else:
                self._order = np.arange(len(self.dataset))
            n = len(self._order)
            self._ends = list(range(self.batch_size, n + 1, self.batch_size))
            if n % self.batch_size and not self.drop_last:
                self._ends.append(n)
        self._position = 0

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """What a loader over the same data needs to go on here: the rest of the epoch under way, and the generator."""
        state: dict[str, Any] = {"length": len(self.dataset)}
        if self._order is not None:
            state |= {"order": self._order.copy(), "ends": list(self._ends), "position": self._position}
        if self.generator is not None:
            state["generator"] = self.generator.bit_generator.state
        sampler: Any = self.batch_sampler if self.sampler is None else self.sampler
        if hasattr(sampler, "state_dict"):
            state["sampler"] = sampler.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the loader that gave ``state`` was. ShapeError when the data set has another length."""
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
