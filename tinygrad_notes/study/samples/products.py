"""Samples of products, running products and running logsumexp, and of any, all and count_nonzero."""

from __future__ import annotations

import functools
import operator

import numpy as np

from tinygrad_notes.study.samples.sample import Sample, normal, positive, sample


def _with_zeros(count: int) -> np.ndarray:
    a = positive(3, 3, 4)
    a[1, :count] = 0
    return a


def _prod(axis=None, keepdims=False):
    """Factors multiplied one by one."""

    def reference(a):
        axes = range(a.ndim) if axis is None else sorted(i % a.ndim for i in np.atleast_1d(axis))
        moved = np.moveaxis(a, axes, range(len(axes)))
        factors = moved.reshape((-1, *moved.shape[len(axes) :])) if a.size else np.ones((1, *moved.shape[len(axes) :]))
        value = np.asarray(functools.reduce(operator.mul, factors, 1))
        return value.reshape([1 if i in axes else n for i, n in enumerate(a.shape)]) if keepdims else value

    return reference


def _running(combine, axis):
    def reference(a):
        a = a.reshape(-1) if axis is None else a
        result = np.moveaxis(a.copy(), axis or 0, 0)
        for i in range(1, len(result)):
            result[i] = combine(result[i - 1], result[i])
        return np.moveaxis(result, 0, axis or 0)

    return reference


def _products() -> list[Sample]:
    samples = [
        sample("prod", normal(1, 2, 3, 2), label=f"axis {axis}", axis=axis, reference=_prod(axis))
        for axis in (None, 0, -1, (0, 2), (2, 1, 0))
    ]
    for zeros in (1, 2, 3):
        samples.append(sample("prod", _with_zeros(zeros), label=f"{zeros} zeros", axis=1, reference=_prod(1)))
        samples.append(
            sample("cumprod", _with_zeros(zeros), label=f"{zeros} zeros", axis=1, reference=_running(np.multiply, 1))
        )
    return [
        *samples,
        sample("prod", _with_zeros(1), label="a zero, all axes", reference=_prod()),
        sample("prod", normal(2, 2, 3), label="kept", axis=1, keepdims=True, reference=_prod(1, True)),
        sample("prod", normal(3, 3, 5)[::2, ::-2], label="strided", axis=0, reference=_prod(0)),
        sample("prod", normal(4, 3, 1), label="one element", axis=1, reference=_prod(1)),
        sample("prod", np.array(1.5), label="no axes", reference=lambda a: a),
        sample("prod", np.zeros((2, 0)), label="over nothing", axis=1, reference=lambda a: np.ones(2)),
        sample("prod", np.zeros((0, 2)), label="empty", axis=1, reference=lambda a: np.ones(0)),
        sample(
            "prod", np.array([[2, 3], [4, 0]]), label="integers", axis=1, reference=lambda a: np.array([6, 0]), order=0
        ),
        sample("cumprod", normal(5, 2, 3), label="flattened", reference=_running(np.multiply, None)),
        sample("cumprod", normal(6, 6, 2), label="first axis", axis=0, reference=_running(np.multiply, 0)),
        sample("cumprod", normal(7, 4, 7)[::2, ::-1], label="strided", axis=-1, reference=_running(np.multiply, 1)),
        sample("cumprod", normal(8, 1), label="one element", axis=0, reference=lambda a: a),
        sample("cumprod", np.zeros((0, 2)), label="empty", axis=0, reference=lambda a: a),
        sample("logcumsumexp", normal(9, 2, 5), axis=1, reference=_running(np.logaddexp, 1)),
        sample(
            "logcumsumexp", normal(10, 6, 4)[::2, ::-1], label="strided", axis=0, reference=_running(np.logaddexp, 0)
        ),
        sample("logcumsumexp", normal(11, 5) * 300, label="far apart", axis=0, reference=_running(np.logaddexp, 0)),
        sample("logcumsumexp", normal(12, 3, 1), label="one element", axis=1, reference=lambda a: a),
        sample("logcumsumexp", np.zeros((0, 2)), label="empty", axis=0, reference=lambda a: a),
    ]


def _folded(function, dtype, axis):
    return lambda x: function.reduce((x != 0).astype(dtype), axis=axis)


def _questions() -> list[Sample]:
    a = np.array([[0.0, 1.0, np.nan], [0.0, 0.0, 0.0], [2.0, -1.0, 3.0]])
    samples = []
    for name, function, dtype, nothing, two in (
        ("any", np.logical_or, bool, False, True),
        ("all", np.logical_and, bool, True, True),
        ("count_nonzero", np.add, int, 0, 2),
    ):
        samples += [
            sample(name, a, label=f"axis {axis}", axis=axis, order=0, reference=_folded(function, dtype, axis))
            for axis in (None, 0, -1, (0, 1))
        ]
        empty, kept = np.full(2, nothing), np.array([two])
        samples += [
            sample(
                name, np.zeros((2, 0)), label="of nothing", axis=1, order=0, reference=lambda x, wanted=empty: wanted
            ),
            sample(
                name,
                np.array([3, 0, 7])[::2],
                label="integers, kept",
                keepdims=True,
                order=0,
                reference=lambda x, wanted=kept: wanted,
            ),
        ]
    return samples


SAMPLES = [*_products(), *_questions()]
