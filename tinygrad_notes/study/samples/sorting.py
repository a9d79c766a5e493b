"""Samples of sorting, and of searching, sets and histograms. References compare element by element."""

from __future__ import annotations

import itertools

import numpy as np

from tinygrad_notes.ops import bincount, histogram, median, nonzero, searchsorted, sort, topk, unique
from tinygrad_notes.study.samples.sample import Sample, distinct, normal, sample


def _along(function, axis):
    """``function`` of Python lists, applied along an axis."""

    def reference(a):
        if axis is None:
            return np.array(function(a.reshape(-1).tolist()))
        return np.apply_along_axis(lambda line: np.array(function(line.tolist())), axis, a)

    return reference


def _order(line, descending=False):
    return sorted(range(len(line)), key=lambda i: (-line[i] if descending else line[i], i))


def _median(line):
    line = sorted(line)
    return (line[(len(line) - 1) // 2] + line[len(line) // 2]) / 2


TIES = np.array([[2.0, 1.0, 2.0, 1.0, 3.0], [0.0, 0.0, 0.0, -1.0, 0.0]])
LINE = np.array([-1.0, 0.5, 0.5, 2.0])


def _sorts() -> list[Sample]:
    samples = []
    for label, a in {
        "": distinct(1, 3, 4),
        "strided": distinct(2, 4, 6)[::2, ::-1],
        "one element": distinct(3, 2, 1),
    }.items():
        for axis in (-1, 0, None):
            samples += [
                sample("sort", a, label=f"{label} axis {axis}", axis=axis, reference=_along(sorted, axis)),
                sample("argsort", a, label=f"{label} axis {axis}", axis=axis, reference=_along(_order, axis), order=0),
            ]
        samples += [
            sample(
                "sort",
                a,
                label=f"{label} down",
                descending=True,
                reference=_along(lambda line: sorted(line, reverse=True), -1),
            ),
            sample(
                "topk",
                a,
                label=label,
                call=lambda x: topk(x, 1),
                reference=lambda x: (x.max(-1, keepdims=True), x.argmax(-1)[:, None]),
            ),
            sample(
                "topk",
                a,
                label=f"{label} smallest",
                call=lambda x: topk(x, 2, axis=0, largest=False)[0],
                reference=_along(lambda line: sorted(line)[:2], 0),
            ),
            sample("median", a, label=f"{label} of rows", call=lambda x: median(x, 1), reference=_along(_median, 1)),
            sample("median", a, label=f"{label} of all", reference=_along(_median, None)),
        ]
    return [
        *samples,
        sample("argsort", TIES, label="ties", reference=_along(_order, 1), order=0),
        sample(
            "argsort", TIES, label="ties down", descending=True, reference=_along(lambda v: _order(v, True), 1), order=0
        ),
        sample(
            "topk",
            TIES,
            label="ties",
            call=lambda x: topk(x, 3)[1],
            reference=_along(lambda v: _order(v, True)[:3], 1),
            order=0,
        ),
        sample(
            "topk",
            distinct(8, 17, 2).T[::-1],
            label="few of many, strided",
            call=lambda x: topk(x, 2)[0],
            reference=_along(lambda line: sorted(line, reverse=True)[:2], 1),
        ),
        sample("sort", np.zeros((0, 3)), label="empty", axis=0, reference=lambda a: a),
        sample("sort", distinct(6, 1), label="squared", call=lambda a: sort(a) ** 2, reference=np.square),
        sample(
            "topk",
            distinct(7, 2),
            label="squared",
            call=lambda a: topk(a, 1)[0] ** 2,
            reference=lambda a: a.max() ** 2 + np.zeros(1),
        ),
        sample("argsort", np.zeros((0, 3)), label="empty", axis=0, reference=lambda a: a.astype(int), order=0),
        sample(
            "topk", normal(4, 2, 3), label="none of them", call=lambda x: topk(x, 0)[0], reference=lambda a: a[:, :0]
        ),
        sample("sort", np.array([3, 1, 2]), label="integers", reference=lambda a: np.array([1, 2, 3]), order=0),
        sample(
            "sort",
            np.array([np.nan, 1.0, np.inf, -np.inf]),
            label="NaN",
            order=0,
            reference=lambda a: np.array([-np.inf, 1, np.inf, np.nan]),
        ),
        sample(
            "sort",
            np.array([1.0, np.nan, np.inf]),
            label="NaN down",
            descending=True,
            order=0,
            reference=lambda a: np.array([np.nan, np.inf, 1]),
        ),
        sample(
            "median",
            distinct(5, 2, 3),
            label="kept",
            axis=0,
            keepdims=True,
            reference=lambda a: _along(_median, 0)(a)[None],
        ),
        sample(
            "median",
            np.array([[1.0, np.nan], [2.0, 3.0]]),
            label="NaN",
            axis=1,
            order=0,
            reference=lambda a: np.array([np.nan, 2.5]),
        ),
    ]


def _row_by_row(side):
    def reference(a, v):
        rows = zip(a.reshape(-1, a.shape[-1]), v.reshape(-1, v.shape[-1]))
        before = (lambda x, w: x < w) if side == "left" else (lambda x, w: x <= w)
        return np.array([[sum(before(x, w) for x in row) for w in words] for row, words in rows], int).reshape(v.shape)

    return reference


def _rows() -> list[Sample]:
    a, v = np.sort(np.round(normal(31, 2, 3, 5)), -1), np.round(normal(32, 2, 3, 4))
    table = np.array([[2, 1], [0, 1], [2, 1], [0, 0]])
    weights = distinct(35, 5)
    return [
        *[sample("searchsorted", a, v, label=f"rows {side}", side=side, order=0, reference=_row_by_row(side))
          for side in ("left", "right")],
        sample("searchsorted", a[..., :0], v, label="rows of nothing", order=0,
               reference=lambda a, v: np.zeros(v.shape, int)),
        sample("searchsorted", a[:, :, :1], v[::-1, :, ::2], label="rows of one", order=0,
               reference=_row_by_row("left")),
        sample("unique", table, label="rows", axis=0, order=0, reference=lambda a: a[[3, 1, 0]]),
        sample("unique", table.T, label="columns, all", order=0, reference=lambda a: (
               a[:, [3, 1, 0]], np.array([3, 1, 0]), np.array([2, 1, 2, 0]), np.array([1, 1, 2])),
               call=lambda a: unique(a, True, True, True, axis=-1)),
        sample("histogram", np.array([3, 0, 1, 2, 9]), weights, label="weights",
               call=lambda a, w: histogram(a, 2, (0, 3), weights=w)[0],
               reference=lambda a, w: np.array([w[1] + w[2], w[0] + w[3]])),
        sample("histogram", np.array([3, 0, 1, 2, 9]), weights + 3.0, label="weights, density",
               call=lambda a, w: histogram(a, 2, (0, 3), True, w)[0],
               reference=lambda a, w: np.array([w[1] + w[2], w[0] + w[3]]) / w[:4].sum() / 1.5),
        sample("histogram", np.zeros((0, 2), int), np.zeros((0, 2)), label="empty weights",
               call=lambda a, w: histogram(a, 2, (0, 3), weights=w)[0], reference=lambda a, w: np.zeros(2)),
    ]  # fmt: skip


def _questions() -> list[Sample]:
    values = np.array([[-3.0, 0.5], [0.7, 9.0]])
    words = np.array([3, 1, 3, 0, 1, 3])
    return [
        sample("searchsorted", LINE, values, order=0, reference=lambda a, v: np.array([[0, 1], [3, 4]])),
        sample(
            "searchsorted",
            LINE,
            values,
            label="right",
            side="right",
            order=0,
            reference=lambda a, v: np.array([[0, 3], [3, 4]]),
        ),
        sample(
            "searchsorted",
            LINE,
            label="of a number",
            call=lambda a: searchsorted(a, 0.5),
            order=0,
            reference=lambda a: np.array(1),
        ),
        sample(
            "searchsorted", LINE, np.zeros((0, 2)), label="empty", order=0, reference=lambda a, v: np.zeros((0, 2), int)
        ),
        *_rows(),
        sample(
            "nonzero",
            np.array([[0.0, 2.0], [np.nan, 0.0]]),
            call=nonzero,
            order=0,
            reference=lambda a: (np.array([0, 1]), np.array([1, 0])),
        ),
        sample("nonzero", np.zeros((0, 3)), label="empty", order=0, reference=lambda a: (np.zeros(0, int),) * 2),
        sample("unique", words, order=0, reference=lambda a: np.array([0, 1, 3])),
        sample(
            "unique",
            words.reshape(2, 3)[:, ::-1],
            label="all",
            order=0,
            call=lambda a: unique(a, return_index=True, return_inverse=True, return_counts=True),
            reference=lambda a: (
                np.array([0, 1, 3]),
                np.array([5, 1, 0]),
                np.array([[2, 1, 2], [2, 1, 0]]),
                np.array([1, 2, 3]),
            ),
        ),
        sample(
            "unique", np.array([np.nan, 1.0, np.nan]), label="NaN", order=0, reference=lambda a: np.array([1.0, np.nan])
        ),
        sample("unique", np.zeros(0), label="empty", order=0, reference=lambda a: a),
        sample("bincount", words, order=0, reference=lambda a: np.array([1, 2, 0, 3])),
        sample("bincount", words, label="more", minlength=6, order=0, reference=lambda a: np.array([1, 2, 0, 3, 0, 0])),
        sample("bincount", np.zeros(0, int), label="empty", minlength=2, order=0, reference=lambda a: np.zeros(2, int)),
        sample(
            "bincount",
            words,
            normal(1, 6),
            label="weights",
            call=lambda a, w: bincount(a, w, 5),
            reference=lambda a, w: np.array([w[a == i].sum() for i in range(5)]),
        ),
        sample(
            "histogram",
            np.array([0.1, 0.2, 0.9, 2.0, 1.3]),
            call=lambda a: histogram(a, 2, (0, 2)),
            order=0,
            reference=lambda a: (np.array([3, 2]), np.array([0.0, 1.0, 2.0])),
        ),
        sample(
            "histogram",
            np.array([0.0, 0.5, 4.0]),
            label="own range",
            call=lambda a: histogram(a, 4),
            order=0,
            reference=lambda a: (np.array([2, 0, 0, 1]), np.arange(5.0)),
        ),
        sample(
            "histogram",
            distinct(2, 3, 4)[::2, ::-1],
            np.array([-1.0, 0.0, 0.25, 1.0]),
            label="edges, density",
            order=0,
            call=lambda a, e: histogram(a, e, density=True),
            reference=lambda a, e: (
                np.array([((a >= lo) & (a < hi)).sum() / a.size / (hi - lo) for lo, hi in itertools.pairwise(e)]),
                e,
            ),
        ),
    ]


SAMPLES = [*_sorts(), *_questions()]
