"""Samples of reading and writing by index, scatter, gather, embedding, one-hot, and of writing in place."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_notes.ops.indexing import embedding, take_along_axis
from tinygrad_notes.study.samples.sample import Sample, normal, positive, sample

# An index, and what is special about it. Shape of the array: (4, 3, 5).
BASIC: dict[str, Any] = {
    "one": 1,
    "one from the end": -2,
    "an element": (3, 0, -1),
    "slice": slice(1, 3),
    "slices": (slice(None), slice(0, 2), slice(1, None, 2)),
    "backwards": (slice(None, None, -1), slice(None), slice(4, 0, -2)),
    "empty slice": slice(2, 2),
    "ellipsis": (..., 2),
    "ellipsis between": (0, ..., slice(1, 3)),
    "ellipsis for nothing": (1, 2, 3, ...),
    "all": ...,
    "nothing": (),
    "new axes": (None, slice(None), None, 1),
    "numpy integer": np.int64(2),
}
ADVANCED: dict[str, Any] = {
    "integers": np.array([2, 0, 3]),
    "repeated": np.array([1, 1, 1, 0]),
    "from the end": np.array([-1, 0, -4, 3]),
    "two axes of integers": np.array([[0, 2], [2, 1]]),
    "one integer": np.array(2),
    "list": [3, 1, 1],
    "pairs": (np.array([0, 3, 0]), np.array([1, 2, 1])),
    "broadcast pairs": (np.array([[0], [3]]), np.array([1, 2, 1])),
    "beside a slice": (slice(1, 3), np.array([2, 2, 0])),
    "apart": (np.array([0, 3, 3]), slice(None), np.array([1, 2, 2])),
    "with an int apart": (1, slice(None), np.array([4, 0, 4])),
    "with a new axis": (np.array([0, 0]), None, slice(0, 2)),
    "after an ellipsis": (..., np.array([4, 4, 0])),
    "no integers": np.array([], np.int64),
    "empty list": [],
    "mask of rows": np.array([True, False, True, True]),
    "mask of all": np.arange(60).reshape(4, 3, 5) % 3 == 0,
    "mask of two axes": np.arange(12).reshape(4, 3) % 5 < 2,
    "mask of nothing": np.zeros(4, bool),
    "mask beside a slice": (slice(None), np.array([True, False, True]), slice(0, 2)),
    "mask and integers": (np.array([True, False, True, False]), slice(None), np.array([0, 4])),
}


def _get(x, label: str, index) -> Sample:
    return sample("getitem", x, label=label, call=lambda a: a[index], reference=lambda a: a[index].copy())


def _reads() -> list[Sample]:
    x = normal(1, 4, 3, 5)
    integers, mask = np.array([[1, 0], [3, 1]]), np.array([True, False, True, True])
    return [
        *(_get(x, label, index) for label, index in (BASIC | ADVANCED).items()),
        _get(normal(2, 1)[0], "no axes", ()),
        _get(normal(2, 1)[0], "no axes, new axis", None),
        _get(normal(3, 0, 3), "empty", (slice(None), 1)),
        _get(normal(4, 5, 3, 4).T[:, ::-1], "strided", (slice(1, 3), np.array([0, 0, 2]))),
        sample("getitem", x, integers, label="Tensor of integers", call=lambda a, i: a[i], reference=lambda a, i: a[i]),
        sample("getitem", x, mask, label="Tensor of booleans", call=lambda a, m: a[m], reference=lambda a, m: a[m]),
        sample("getitem", x, label="twice", call=lambda a: a[1:][0, 1] * a[1, 1], reference=lambda a: a[1, 1] ** 2),
        sample("getitem", x, label="compared", call=lambda a: a[a > 0.2], reference=lambda a: a[a > 0.2]),
        sample("getitem", normal(5, 3, 2), label="iterated", call=lambda a: [row * row for row in a],
               reference=lambda a: [row * row for row in a]),
    ]  # fmt: skip


# ---------------------------------------------------------------------- writing


def _set(label: str, index, v, x=None) -> Sample:
    """x[index] = v, in a copy."""
    x = normal(11, 4, 3, 5) if x is None else x

    def call(a, b):
        y = a * 1.0
        y[index] = b
        return y

    def reference(a, b):
        y = a.copy()
        y[index] = b
        return y

    return sample("setitem", x, v, label=label, call=call, reference=reference)


def _steps(name: str, label: str, *operands, write) -> Sample:
    """``write(y, *others)`` into a copy of the first operand, the same lines for Tensors and arrays."""

    def call(a, *others):
        y = a * 1.0
        result = write(y, *others)
        return y if result is None else result

    return sample(name, *operands, label=label, call=call, reference=call)


def _at(v):
    def write(y, index):
        y[index] = v

    return write


def _at_an_operand(y, index, v):
    y[index] = v


def _overwrite_rows(y):
    y[:, 1] = y[:, 0] * 2
    y[2] = y[1] - y[0]


def _recurrence(y):
    for t in range(1, 5):
        y[t] = 0.5 * y[t - 1] - y[t]
    return y * y


def _into_zeros(y):
    zeros = (y * 0.0).detach() if hasattr(y, "detach") else y * 0.0
    zeros[1:3] = y[1:3] * y[1:3]
    zeros[0] = 2.0
    return zeros * y


def _masked(y):
    y[y > 0.3] = 0.5
    y[y < -0.3] *= 2.0


def _nested(y):
    row = y[1]
    row[0] = 3.0
    y[1] = row


def _arithmetic(y, v):
    y += v
    y *= v
    y -= 2.0 * v
    y /= v + 3.0


def _powers(y, v):
    y **= 3.0
    y += y
    y %= v


def _at_an_index(y, v):
    y[1] += v
    y[:, 0] *= 2.0
    y[[0, 2]] -= y[1]


def _writes() -> list[Sample]:
    chosen = ("one", "an element", "slices", "backwards", "empty slice", "ellipsis", "all", "new axes", "integers",
              "from the end", "list", "apart", "no integers", "mask of rows", "mask of all",
              "mask of two axes")  # fmt: skip
    plain = normal(11, 4, 3, 5)
    indices = {label: (BASIC | ADVANCED)[label] for label in chosen}
    same = [_set(label, i, normal(12, *plain[i].shape)) for label, i in indices.items()]
    spread = [_set(f"{label}, broadcast", i, normal(13, 1)) for label, i in indices.items() if label != "an element"]
    mask, rows = np.array([True, False, True, False]), np.array([3, 0])
    v, x = positive(14, 3), positive(15, 3, 3)
    return [
        *same,
        *spread,
        _set("an element, no axes", (0, 1, 2), normal(16, 1)[0]),
        _set("strided", (slice(None, None, -2), 1), normal(17, 2, 4)[:, ::-2], normal(18, 2, 3, 4).T[::-1].copy()),
        _steps("setitem", "a mask by a number", normal(20, 4, 2), mask, write=_at(2.5)),
        _steps("setitem", "a mask by a list", normal(20, 4, 2), mask, write=_at([2.5, -1.0])),
        _steps("setitem", "an index operand", normal(21, 4, 2), rows, normal(22, 2, 2), write=_at_an_operand),
        _steps("setitem", "of its own rows", normal(23, 3, 3), write=_overwrite_rows),
        _steps("setitem", "recurrence", positive(24, 5, 2), write=_recurrence),
        _steps("setitem", "into zeros", normal(25, 4, 2), write=_into_zeros),
        _steps("setitem", "where compared", normal(26, 3, 4), write=_masked),
        _steps("setitem", "through a row", normal(27, 3, 2), write=_nested),
        _steps("add", "in place", x, v, write=_arithmetic),
        _steps("pow", "in place", x, v, write=_powers),
        _steps("multiply", "in place at an index", x, v, write=_at_an_index),
    ]  # fmt: skip


# ---------------------------------------------------------------------- scatter, gather, embedding, one-hot


def _added(index, shape):
    def reference(values):
        total = np.zeros(shape)
        np.add.at(total, index, values)
        return total

    return reference


def _scatter(label: str, index, shape=(4, 3, 5)) -> Sample:
    values = normal(31, *np.zeros(shape)[index].shape)
    return sample("scatter_add", values, label=label, index=index, shape=shape, reference=_added(index, shape))


def _gathered(axis):
    """One element at a time."""

    def reference(a, indices):
        common = np.broadcast_shapes(*(s[:axis] + (1,) + s[axis + 1 :] for s in (a.shape, indices.shape)))
        a = np.broadcast_to(a, (*common[:axis], a.shape[axis], *common[axis + 1 :]))
        indices = np.broadcast_to(indices, (*common[:axis], indices.shape[axis], *common[axis + 1 :]))
        result = np.zeros(indices.shape)
        for place in np.ndindex(*indices.shape):
            result[place] = a[(*place[:axis], indices[place], *place[axis + 1 :])]
        return result

    return reference


def _lookups() -> list[Sample]:
    a = normal(41, 3, 4)
    weight, words = normal(42, 5, 3), np.array([[0, 4, 4], [2, 0, -1]])
    scatters = ("one", "slices", "backwards", "ellipsis", "new axes", "integers", "repeated", "from the end", "list",
                "broadcast pairs", "apart", "no integers", "mask of rows", "mask of two axes")  # fmt: skip
    return [
        *(_scatter(label, (BASIC | ADVANCED)[label]) for label in scatters),
        sample("scatter_add", normal(43, 6), label="histogram", index=np.array([0, 1, 1, 0, 1, 3]), shape=(5,),
               reference=_added(np.array([0, 1, 1, 0, 1, 3]), 5)),
        sample("take_along_axis", a, np.array([[1, 1], [0, 3], [-1, 2]]), axis=1, reference=_gathered(1)),
        sample("take_along_axis", a, np.array([[2, 0, 0, 1]]), label="rows", axis=0, reference=_gathered(0)),
        sample("take_along_axis", a, np.array([[3, 3]]), label="broadcast indices", axis=-1, reference=_gathered(1)),
        sample("take_along_axis", a[:1], np.array([[3], [0], [3]]), label="broadcast array", axis=1,
               reference=_gathered(1)),
        sample("take_along_axis", a, np.zeros((3, 0), np.int64), label="empty", axis=1, reference=_gathered(1)),
        sample("take_along_axis", a[::-1, ::2], np.array([[1], [0], [1]]), label="strided", axis=1,
               reference=_gathered(1)),
        sample("take_along_axis", normal(44, 2, 3, 2), np.array([[[0, 2]], [[1, 1]]], np.int32), label="middle", axis=1,
               reference=_gathered(1)),
        sample("take_along_axis", a[0, :2], np.array([1, 1]), label="squared",
               call=lambda x, i: take_along_axis(x, i, 0) ** 2, reference=lambda x, i: x[i] ** 2),
        sample("embedding", words[:1, :2], weight, reference=lambda i, w: w[i]),
        sample("embedding", np.abs(words), weight, label="repeated", reference=lambda i, w: w[i]),
        sample("embedding", np.array(3), weight, label="one", reference=lambda i, w: w[3]),
        sample("embedding", np.zeros((0, 2), np.int32), weight, label="empty", reference=lambda i, w: w[i]),
        sample("embedding", np.array([1, 1]), weight[::-1].T[:, ::2], label="strided", reference=lambda i, w: w[i]),
        sample("embedding", np.abs(words), weight, label="squared", call=lambda i, w: embedding(i, w) ** 2,
               reference=lambda i, w: w[i] ** 2),
        sample("one_hot", np.array([[0, 2], [1, 2]]), order=0, reference=lambda i: np.eye(3)[i]),
        sample("one_hot", np.array([1, 0]), label="more classes", num_classes=4, order=0,
               reference=lambda i: np.eye(4)[i]),
        sample("one_hot", np.array(2), label="one", num_classes=3, order=0, reference=lambda i: np.eye(3)[2]),
        sample("one_hot", np.zeros(0, np.int64), label="empty", order=0, reference=lambda i: np.zeros((0, 0))),
    ]  # fmt: skip


SAMPLES = [*_reads(), *_writes(), *_lookups()]
