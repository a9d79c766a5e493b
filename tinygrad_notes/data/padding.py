"""A batch of items of different lengths: one padded array, and how long each item is."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from tinygrad_notes.data.dataset import collate
from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.ops.arguments import count, number
from tinygrad_notes.tensor import Tensor, to_array, to_numpy, wrap


def pad_collate(
    items: Sequence[Any], value: float = 0, fields: Collection[int] | None = None, length: int | None = None
) -> Any:
    """Items whose arrays differ in their first axis, as one batch; a ``collate_fn`` of DataLoader.

    An array or list (length, ...) becomes two Tensors: (batch, longest, ...), with ``value`` behind the shorter ones,
    and the lengths (batch,) of int64. A tuple is put together field by field, and each padded field is followed by its
    lengths: items (tokens, label) give (tokens, lengths, labels). Padded are the fields with the numbers ``fields``;
    None: all that are arrays or lists of at least one axis. ``length`` pads to it instead of to the longest.

    ShapeError: other axes than the first differ, or an item is longer than ``length``. DTypeError: ``value`` is no
    value of the items' dtype, -1 for uint8, say.

    >>> tn.data.pad_collate([[1, 2, 3], [4]])
    (Tensor([[1, 2, 3],
            [4, 0, 0]]), Tensor([3, 1]))
    """
    _check(value, fields, length, "pad_collate")
    if not isinstance(items, Sequence):
        raise DTypeError(f"pad_collate: items is {type(items).__name__}, expected a list of items")
    if not items:
        raise ShapeError("pad_collate: items are none, expected at least one")
    if not isinstance(items[0], tuple):
        return _padded(items, value, length, "item")
    width = len(items[0])
    if any(not isinstance(item, tuple) or len(item) != width for item in items):
        raise ShapeError(f"pad_collate: the first item is a tuple of {width} fields, expected the same of every item")
    if fields is not None and not all(isinstance(f, int) and 0 <= f < width for f in fields):
        raise ShapeError(f"pad_collate: fields is {fields!r}, expected numbers from 0 to {width - 1}")
    batch: list[Any] = []
    for i in range(width):
        column = [item[i] for item in items]
        if i in fields if fields is not None else _has_length(column[0]):
            batch += _padded(column, value, length, f"field {i}")
        else:
            batch.append(collate(column))
    return tuple(batch)


def padding(value: float = 0, fields: Collection[int] | None = None, length: int | None = None) -> Callable:
    """:func:`pad_collate` with these settings, which worker processes can take.

    >>> loader = tn.data.DataLoader([[1, 2, 3], [4]], 2, collate_fn=tn.data.padding(value=-1))
    >>> next(iter(loader))
    (Tensor([[ 1,  2,  3],
            [ 4, -1, -1]]), Tensor([3, 1]))
    """
    _check(value, fields, length, "padding")
    return functools.partial(pad_collate, value=value, fields=fields, length=length)


def _check(value: Any, fields: Any, length: Any, name: str) -> None:
    number(value, f"{name}: value")
    if length is not None:
        count(length, f"{name}: length", 0)
    if fields is not None and not isinstance(fields, Collection):
        raise DTypeError(f"{name}: fields is {fields!r}, expected the numbers of fields, or None")


def _has_length(value: Any) -> bool:
    return isinstance(value, list) or len(getattr(value, "shape", ())) > 0


def _padded(items: Sequence[Any], value: float, length: int | None, what: str) -> tuple[Tensor, Tensor]:
    try:
        arrays = [to_numpy(to_array(item)) for item in items]
    except (ShapeError, DTypeError) as error:
        raise type(error)(f"pad_collate: {what}: {error}") from None
    if any(a.ndim == 0 or a.shape[1:] != arrays[0].shape[1:] for a in arrays):
        shapes = sorted({a.shape for a in arrays})
        raise ShapeError(f"pad_collate: {what} has shapes {shapes}, expected ones that differ in the first axis alone")
    filled = [a.dtype for a in arrays if len(a)]  # an empty list has no dtype of its own
    dtype = np.result_type(*(filled or [arrays[0].dtype]))
    if dtype.kind in "iub" and not (float(value).is_integer() and _fits(value, dtype)):
        raise DTypeError(f"pad_collate: value is {value!r}, which is no value of {what}, {dtype}")
    lengths = np.array([len(a) for a in arrays], np.int64)
    longest = int(lengths.max()) if length is None else length
    if lengths.max() > longest:
        raise ShapeError(f"pad_collate: {what} is up to {lengths.max()} long, length is {longest}")
    result = np.full((len(arrays), longest, *arrays[0].shape[1:]), value, dtype)
    for row, a in zip(result, arrays):
        row[: len(a)] = a
    return wrap(result), wrap(lengths)


def _fits(value: float, dtype: np.dtype) -> bool:
    if dtype.kind == "b":
        return value in (0, 1)
    return np.iinfo(dtype).min <= value <= np.iinfo(dtype).max
