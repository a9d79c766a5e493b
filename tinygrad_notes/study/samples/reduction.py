"""Samples of reductions: sums, means, extremes, norms, running sums."""

from __future__ import annotations

import numpy as np

from tinygrad_notes.study.samples.sample import Sample, distinct, normal, positive, sample

# name: (reference, whether it has a gradient, whether it is defined over no elements)
REDUCTIONS = {
    "sum": (np.sum, True, True),
    "mean": (np.mean, True, False),
    "var": (np.var, True, False),
    "std": (np.std, True, False),
    "max": (np.max, True, False),
    "min": (np.min, True, False),
    "norm": (lambda a, **k: np.sqrt(np.sum(a * a, **k)), True, True),
    "logsumexp": (lambda a, **k: np.log(np.sum(np.exp(a), **k)), True, False),
    "argmax": (np.argmax, False, False),
    "argmin": (np.argmin, False, False),
}
ONE_AXIS = {
    "one axis": {"axis": 1},
    "first axis": {"axis": 0},
    "from the end": {"axis": -1},
    "kept": {"axis": -2, "keepdims": True},
    "all kept": {"keepdims": True},
}
SEVERAL_AXES = {
    "two axes": {"axis": (0, 2)},
    "two axes kept": {"axis": (-1, 0), "keepdims": True},
    "all axes named": {"axis": (2, 0, 1)},
}


def _table() -> list[Sample]:
    samples = []
    for number, (name, (reference, smooth, empty)) in enumerate(REDUCTIONS.items()):
        order = 2 if smooth else 0
        x, column, one = distinct(number, 2, 3, 4), distinct(number, 3, 1), distinct(number, 1)
        strided = distinct(number, 4, 6)[::2, ::-3].T
        uses = ONE_AXIS | (SEVERAL_AXES if smooth else {})
        kink = 0 if name == "std" else order  # where there is no spread, its derivative jumps
        samples += [
            _over(name, x, "", reference, order),
            _over(name, strided, "strided", reference, order, axis=0),
            _over(name, one.reshape(()), "no axes", reference, kink),
            _over(name, column, "rows of one", reference, kink, axis=1),
            _over(name, normal(1, 0, 3), "no rows", reference, order, axis=1),
        ]
        samples += [_over(name, x, label, reference, order, **options) for label, options in uses.items()]
        if smooth:
            samples.append(_over(name, x, "no axis", reference, kink, axis=()))
            samples.append(sample(name, x, label="list of axes", axis=[0, 1], reference=_with(reference, axis=(0, 1))))
        if empty:
            samples.append(_over(name, normal(1, 2, 0), "of nothing", reference, order, axis=1))
    return samples


def _over(name: str, x, label: str, reference, order: int, **options) -> Sample:
    return sample(name, x, label=label, order=order, **options, reference=_with(reference, **options))


def _with(reference, **options):
    return lambda a: reference(a, **options)


def _others() -> list[Sample]:
    x, small = distinct(21, 3, 4), positive(22, 2, 3)
    infinite = np.array([[-np.inf, 0.5, 1.0], [2.0, -np.inf, -np.inf]])
    far = np.array([[1000.0, 999.0], [-1000.0, -1001.0]])
    return [
        sample("sum", np.array([[True, False], [True, True]]), label="of booleans", axis=0, order=0,
               reference=lambda a: a.sum(axis=0)),
        sample("sum", np.array([200, 100], np.uint8), label="of small integers", order=0,
               reference=lambda a: a.sum(dtype=np.int64)),
        sample("mean", np.array([1, 2, 6]), label="of integers", order=0, reference=lambda a: a.mean()),
        sample("mean", normal(1, 0, 2), label="of nothing", axis=0, order=0, reference=lambda a: np.full(2, np.nan)),
        sample("var", x, label="unbiased", axis=1, correction=1, reference=lambda a: a.var(axis=1, ddof=1)),
        sample("var", x, label="unbiased, all", correction=1, keepdims=True,
               reference=lambda a: a.var(ddof=1, keepdims=True)),
        sample("var", x[:1], label="of too few", axis=0, correction=1, order=0, reference=lambda a: np.full(4, np.nan)),
        sample("std", x, label="unbiased", axis=0, correction=1, reference=lambda a: a.std(axis=0, ddof=1)),
        sample("max", -np.abs(x), label="negative", axis=0, reference=lambda a: a.max(axis=0)),
        sample("argmax", np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 0.0]]), label="ties", axis=1, order=0,
               reference=lambda a: a.argmax(axis=1)),
        sample("argmin", np.array([[1, 3, 1], [2, 0, 0]]), label="integers", axis=1, order=0,
               reference=lambda a: a.argmin(axis=1)),
        sample("logsumexp", far, label="far out", axis=1, reference=lambda a: np.logaddexp(a[:, 0], a[:, 1])),
        sample("logsumexp", infinite, label="minus inf", axis=1, order=0,
               reference=lambda a: np.log(np.exp(a).sum(axis=1))),
        sample("logsumexp", infinite[:, 1:], label="only minus inf", axis=1, order=0,
               reference=lambda a: np.array([np.logaddexp(0.5, 1.0), -np.inf])),
        sample("logsumexp", normal(1, 2, 0), label="of nothing", axis=1, order=0,
               reference=lambda a: np.full(2, -np.inf)),
        sample("cumsum", x, label="flattened", reference=np.cumsum),
        sample("cumsum", x, axis=-1, reference=lambda a: np.cumsum(a, axis=-1)),
        sample("cumsum", x, label="rows", axis=0, reference=lambda a: np.cumsum(a, axis=0)),
        sample("cumsum", distinct(23, 2, 3, 4), label="middle", axis=-2, reference=lambda a: np.cumsum(a, axis=1)),
        sample("cumsum", x[::-1, ::2], label="strided", axis=1, reference=lambda a: np.cumsum(a, axis=1)),
        sample("cumsum", normal(1, 3, 0), label="empty", axis=0, reference=np.copy),
        sample("cumsum", normal(1, 1), label="one element", reference=np.copy),
        sample("cumsum", np.array([True, True, False]), label="of booleans", order=0, reference=np.cumsum),
        sample("norm", x, label="sum", ord=1, axis=1, reference=lambda a: np.abs(a).sum(axis=1)),
        sample("norm", x, label="largest", ord=np.inf, axis=0, reference=lambda a: np.abs(a).max(axis=0)),
        sample("norm", distinct(24, 3, 3) + 2.0, label="smallest", ord=-np.inf, keepdims=True,
               reference=lambda a: np.abs(a).min(keepdims=True)),
        sample("norm", np.array([0.0, 1.0, -2.0]), label="count", ord=0, order=0, reference=np.count_nonzero),
        sample("norm", x, label="cubes", ord=3, axis=(0, 1), reference=lambda a: (np.abs(a) ** 3).sum() ** (1 / 3)),
        sample("norm", small, label="roots", ord=0.5, axis=1, keepdims=True,
               reference=lambda a: np.sqrt(a).sum(axis=1, keepdims=True) ** 2),
    ]  # fmt: skip


SAMPLES = [*_table(), *_others()]
