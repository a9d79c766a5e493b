"""Data sets: a length, an item by index, and a batch by many indices at once."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.generator import generator as package_generator
from tinygrad_notes.tensor import Tensor, to_array, wrap


class Dataset:
    """A map from index to item. A subclass defines ``__len__`` and ``__getitem__``.

    ``take`` gives a whole batch. A data set that lies in arrays overrides it, and is then indexed once for a batch
    instead of once for an item.

    >>> class Squares(tn.data.Dataset):
    ...     def __len__(self):
    ...         return 5
    ...
    ...     def __getitem__(self, index):
    ...         return index**2
    >>> Squares().take(np.array([1, 3]))
    Tensor([1, 9])
    """

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} does not define __len__")

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not define __getitem__")

    def take(self, indices: np.ndarray) -> Any:
        """The items at ``indices`` as one batch of Tensors."""
        return collate(items_at(self, indices))


class TensorDataset(Dataset):
    """Arrays or Tensors of one length; item i is the tuple of their i-th rows.

    The arrays are used as they are, not copied. ShapeError when their lengths differ.

    >>> dataset = tn.data.TensorDataset([[1.0], [2.0], [3.0]], [0, 1, 0])
    >>> dataset.take(np.array([0, 2]))
    (Tensor([[1.],
            [3.]]), Tensor([0, 0]))
    """

    def __init__(self, *tensors: Any):
        if not tensors:
            raise ShapeError("TensorDataset: no array was given")
        self.tensors = tuple(wrap(array_of(t, f"TensorDataset: array {i}")) for i, t in enumerate(tensors))
        lengths = [t.shape[0] if t.ndim else None for t in self.tensors]
        if None in lengths or len(set(lengths)) > 1:
            raise ShapeError(
                f"TensorDataset: the arrays have shapes {[t.shape for t in self.tensors]}, expected one common length"
            )

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        i = _checked(index, self)
        return tuple(wrap(t.data[i, ...]) for t in self.tensors)

    def take(self, indices: np.ndarray) -> tuple[Tensor, ...]:
        if type(self).__getitem__ is not TensorDataset.__getitem__:  # a subclass that changes its items one by one
            return super().take(indices)
        return tuple(wrap(t.data[indices]) for t in self.tensors)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{t.dtype}{list(t.shape)}' for t in self.tensors)})"


class Subset(Dataset):
    """The items of ``dataset`` at ``indices``, in that order.

    >>> list(tn.data.Subset(["a", "b", "c"], [2, 0]))
    ['c', 'a']
    """

    def __init__(self, dataset: Any, indices: Sequence[int] | np.ndarray):
        self.dataset = dataset
        if not isinstance(indices, Sequence | np.ndarray):
            raise DTypeError(f"Subset: indices is {type(indices).__name__}, expected a list or an array of integers")
        self.indices = np.asarray(indices if len(indices) else np.zeros(0, np.int64))
        if self.indices.ndim != 1 or self.indices.dtype.kind not in "iu":
            raise DTypeError(
                f"Subset: indices are {self.indices.dtype} of shape {self.indices.shape}, expected integers in one row"
            )
        n = len(dataset)
        if len(self.indices) and not (-n <= self.indices.min() and self.indices.max() < n):
            raise IndexError(
                f"Subset: indices go from {self.indices.min()} to {self.indices.max()}, the data set has {n} items"
            )

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[_checked(index, self)])]

    def take(self, indices: np.ndarray) -> Any:
        return take(self.dataset, self.indices[indices])


class Transformed(Dataset):
    """``dataset`` with ``transform`` applied to every batch: ``transform(*fields)`` returns the new fields.

    The fields are Tensors with a leading batch axis, so that one call works on the whole batch. What is random in it
    draws from the package's generator, whose state a training checkpoint holds.

    >>> dataset = tn.data.TensorDataset([[1.0], [2.0]], [0, 1])
    >>> tn.data.Transformed(dataset, lambda x, y: (x * 10, y))[1]
    (Tensor([20.]), Tensor(1))
    """

    def __init__(self, dataset: Any, transform: Callable[..., tuple]):
        if not callable(transform):
            raise DTypeError(f"Transformed: transform is {transform!r}, expected a function of the fields of a batch")
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise DTypeError(f"Transformed: dataset is {type(dataset).__name__}, expected a Dataset or a list")
        self.dataset, self.transform = dataset, transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple:
        batch = self.take(np.array([_checked(index, self)]))
        return tuple(wrap(field.data[0, ...]) for field in batch)

    def take(self, indices: np.ndarray) -> tuple:
        fields = self.transform(*take(self.dataset, indices))
        if not isinstance(fields, tuple | list):
            raise DTypeError(f"Transformed: transform returned {type(fields).__name__}, expected a tuple of fields")
        return tuple(fields)


def take(dataset: Any, indices: np.ndarray) -> Any:
    """A batch of any data set; one that has only items (a list, say) is read item by item."""
    if isinstance(dataset, Dataset):
        return dataset.take(indices)
    return collate(items_at(dataset, indices))


def items_at(dataset: Any, indices: np.ndarray) -> list[Any]:
    """The items at ``indices`` one by one; an error in one of them carries a note that says in which."""
    items = []
    for i in indices:
        try:
            items.append(dataset[int(i)])
        except Exception as error:
            error.add_note(f"at item {int(i)} of {type(dataset).__name__}")
            raise
    return items


def as_batch(dataset: Any, indices: np.ndarray, collate_fn: Callable[[list], Any] | None) -> Any:
    """The items at ``indices`` as ``collate_fn`` puts them together; None: as the data set does itself."""
    return take(dataset, indices) if collate_fn is None else collate_fn(items_at(dataset, indices))


def array_of(value: Any, what: str) -> Any:
    try:
        return to_array(value)
    except (ShapeError, DTypeError) as error:
        raise type(error)(f"{what}: {error}") from None


def _checked(index: int, dataset: Dataset) -> int:
    name, length = type(dataset).__name__, len(dataset)
    if isinstance(index, bool) or not hasattr(index, "__index__"):
        raise DTypeError(f"{name}: the index is {index!r}, expected an integer")
    if not -length <= index < length:
        raise IndexError(f"{name}: index {index} is out of range for a data set of {length} items")
    return int(index) % length


def collate(items: Sequence[Any]) -> Any:
    """Stack items into one batch: arrays, Tensors and numbers into Tensors, tuples and dicts field by field.

    Strings stay a list. ShapeError when the items' arrays differ in shape; a ``collate_fn`` of your own can pad them.

    >>> tn.data.collate([([1.0, 2.0], 0), ([3.0, 4.0], 1)])
    ((Tensor([1., 3.]), Tensor([2., 4.])), Tensor([0, 1]))
    """
    if not isinstance(items, Sequence):
        raise DTypeError(f"collate: items is {type(items).__name__}, expected a list")
    if not items:
        raise ShapeError("collate: there are no items, expected at least one")
    return _collated(items, "item")


def _collated(items: Sequence[Any], where: str) -> Any:
    first = items[0]
    for kind in (str | bytes, dict, tuple | list):
        if isinstance(first, kind) and not all(isinstance(item, kind) for item in items):
            kinds = sorted({type(item).__name__ for item in items})
            raise DTypeError(f"collate: {where} is of types {', '.join(kinds)}, expected one")
    if isinstance(first, str | bytes):
        return list(items)
    if isinstance(first, dict):
        if any(item.keys() != first.keys() for item in items):
            keys = sorted({str(list(item)) for item in items})
            raise ShapeError(f"collate: {where} has keys {' and '.join(keys)}, expected the same in each")
        return {key: _collated([item[key] for item in items], f"{where}[{key!r}]") for key in first}
    if isinstance(first, tuple | list):
        if any(len(item) != len(first) for item in items):
            raise ShapeError(
                f"collate: {where} has {sorted({len(item) for item in items})} fields, expected the same number in each"
            )
        return tuple(_collated([item[i] for item in items], f"{where}[{i}]") for i in range(len(first)))
    if not isinstance(first, Tensor | np.ndarray | np.generic | numbers.Number):
        raise DTypeError(
            f"collate: {where} is {type(first).__name__}, expected arrays, numbers, strings, tuples or dicts; "
            "pass a collate_fn"
        )
    arrays = [array_of(item, f"collate: {where}") for item in items]
    shapes = sorted({tuple(a.shape) for a in arrays})
    if len(shapes) > 1:
        raise ShapeError(f"collate: {where} has shapes {shapes[0]} and {shapes[1]}; pass a collate_fn that pads them")
    return wrap(np.stack(arrays))


def random_split(
    dataset: Any, lengths: Sequence[int | float], generator: np.random.Generator | int | None = None
) -> list[Subset]:
    """Random parts of ``dataset`` without overlap, as Subsets.

    ``lengths``: sizes that add up to ``len(dataset)``, or fractions that add up to 1 (what rounding leaves goes to the
    first parts, one each). ``generator``: a seed, a NumPy generator, or None for the package's own.

    >>> [len(part) for part in tn.data.random_split(range(10), [0.8, 0.2], generator=0)]
    [8, 2]
    """
    if not hasattr(dataset, "__len__"):
        raise DTypeError(f"random_split: dataset is {type(dataset).__name__}, expected a Dataset or a list")
    n = len(dataset)
    numeric = isinstance(lengths, Sequence | np.ndarray) and not isinstance(lengths, str)
    if not numeric or not all(isinstance(v, int | float | np.integer | np.floating) for v in lengths):
        raise DTypeError(f"random_split: lengths is {lengths!r}, expected a list of sizes or of fractions")
    if all(isinstance(v, int | np.integer) for v in lengths) and sum(lengths) == n:
        sizes = [int(v) for v in lengths]
    elif math.isclose(sum(lengths), 1.0, abs_tol=1e-9):
        sizes = [math.floor(n * v + 1e-9) for v in lengths]
        for i in range(n - sum(sizes)):
            sizes[i % len(sizes)] += 1
    else:
        raise ShapeError(f"random_split: lengths {list(lengths)} add up to neither {n} items nor 1")
    if any(size < 0 for size in sizes):
        raise ShapeError(f"random_split: lengths {list(lengths)} has a negative one")
    order = as_generator(generator, "random_split").permutation(n)
    ends = np.cumsum(sizes)
    return [Subset(dataset, order[end - size : end]) for size, end in zip(sizes, ends)]


def as_generator(generator: np.random.Generator | int | None, name: str) -> np.random.Generator:
    """A NumPy generator from a seed, a generator, or None (the package's own). ``name`` says who asks for it."""
    if generator is None:
        return package_generator()
    if isinstance(generator, np.random.Generator):
        return generator
    if isinstance(generator, int | np.integer) and not isinstance(generator, bool) and generator >= 0:
        return np.random.default_rng(generator)
    raise DTypeError(
        f"{name}: generator is {generator!r}, expected a seed (an integer from 0), a numpy.random.Generator or None"
    )
