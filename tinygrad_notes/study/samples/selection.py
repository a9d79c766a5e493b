"""Samples of take, index_select, gather, masked_fill, segment_sum, and of distances between vectors."""

from __future__ import annotations

import numpy as np

from tinygrad_notes.ops import cdist, cosine_similarity, gather, index_select, masked_fill, normalize, segment_sum, take
from tinygrad_notes.study.samples.sample import Sample, normal, sample

X = normal(1, 3, 4)
TWICE = np.array([[2, 0], [2, -1]])


def _gathered(axis):
    def reference(a, indices):
        result = np.zeros(indices.shape)
        for place in np.ndindex(*indices.shape):
            source = list(place)
            source[axis] = indices[place]
            result[place] = a[tuple(source)]
        return result

    return reference


def _selections() -> list[Sample]:
    rows, mask = np.array([2, 0, 2]), np.array([[True, False, False, True]])
    return [
        sample("take", X, TWICE, label="rows", call=lambda a, i: take(a, i, 0), reference=lambda a, i: a[i]),
        sample("take", X[:, ::-1], TWICE, label="columns, strided", axis=1, reference=lambda a, i: a[:, i]),
        sample("take", X, TWICE, label="flattened", reference=lambda a, i: a.reshape(-1)[i]),
        sample("take", X, label="one", call=lambda a: take(a, 1, 1), reference=lambda a: a[:, 1]),
        sample("take", X, np.zeros(0, int), label="none", axis=0, reference=lambda a, i: a[:0]),
        sample("index_select", X, rows, call=lambda a, i: index_select(a, 0, i), reference=lambda a, i: a[i]),
        sample(
            "index_select",
            X[::-1],
            rows,
            label="strided",
            call=lambda a, i: index_select(a, -1, i),
            reference=lambda a, i: a[:, i],
        ),
        sample(
            "index_select",
            X,
            np.zeros(0, int),
            label="none",
            call=lambda a, i: index_select(a, 1, i),
            reference=lambda a, i: a[:, :0],
        ),
        *(
            sample(
                "gather", X, i, label=label, call=lambda a, i, axis=axis: gather(a, axis, i), reference=_gathered(axis)
            )
            for label, axis, i in (
                ("rows", 0, np.array([[0, 1, 2, 0], [2, 2, 2, 2]])),
                ("columns", 1, np.array([[3, 3], [0, 1], [2, 2]])),
                ("smaller", 1, np.array([[3, 0, 0]])),
                ("empty", 0, np.zeros((0, 4), int)),
            )
        ),
        sample(
            "gather",
            X.T[::2],
            np.array([[1], [0]]),
            label="strided",
            call=lambda a, i: gather(a, 0, i),
            reference=_gathered(0),
        ),
        sample(
            "masked_fill", X, mask, value=-2.5, reference=lambda a, m: np.array([[-2.5, r[1], r[2], -2.5] for r in a])
        ),
        sample(
            "masked_fill",
            X,
            mask,
            np.array([0.7]),
            label="by an operand",
            call=masked_fill,
            reference=lambda a, m, v: np.array([[0.7, r[1], r[2], 0.7] for r in a]),
        ),
        sample(
            "masked_fill", X[0, ::-1], X > 0, label="broadcast, strided", value=1, reference=lambda a, m: a * ~m + m
        ),
        sample("masked_fill", X[:0], mask, label="empty", value=0.0, reference=lambda a, m: a),
        sample(
            "segment_sum",
            normal(2, 5, 2),
            np.array([0, 2, 0, 3, 2]),
            num_segments=5,
            reference=lambda a, i: np.array([sum(a[i == k], np.zeros(2)) for k in range(5)]),
        ),
        sample(
            "segment_sum",
            normal(3, 8)[::-2],
            np.array([1, 1, 1, 0]),
            label="strided",
            call=lambda v, i: segment_sum(v, i, 2),
            reference=lambda a, i: np.array([a[3], a[0] + a[1] + a[2]]),
        ),
        sample(
            "segment_sum",
            np.zeros((0, 2)),
            np.zeros(0, int),
            label="empty",
            num_segments=3,
            reference=lambda a, i: np.zeros((3, 2)),
        ),
    ]


def _distance(p):
    def reference(a, b):
        gaps = np.abs(a[..., :, None, :] - b[..., None, :, :])
        return gaps.max(-1) if p == np.inf else (gaps**p).sum(-1) ** (1 / p)

    return reference


def _cosine(axis):
    def cosine(a, b):
        a, b = np.broadcast_arrays(a, b)
        return (a * b).sum(axis) / np.sqrt((a * a).sum(axis) * (b * b).sum(axis))

    return cosine


def _distances() -> list[Sample]:
    a, b = normal(4, 3, 2), normal(5, 4, 2)
    return [
        sample("normalize", X, reference=lambda x: x / np.sqrt((x * x).sum(1, keepdims=True))),
        sample("normalize", X[:, ::-2], label="p 1, strided", p=1, axis=0, reference=lambda x: x / np.abs(x).sum(0)),
        sample(
            "normalize",
            X,
            label="p 3, both axes",
            p=3,
            axis=(0, 1),
            reference=lambda x: x / (np.abs(x) ** 3).sum() ** (1 / 3),
        ),
        sample(
            "normalize", X * 1e-3, label="below eps", call=lambda x: normalize(x, eps=0.5), reference=lambda x: x / 0.5
        ),
        sample("normalize", np.zeros((2, 0)), label="empty", reference=lambda x: x),
        sample("normalize", normal(6, 1, 1), label="one element", reference=np.sign),
        sample("cosine_similarity", X, normal(7, 3, 4), reference=_cosine(1)),
        sample("cosine_similarity", X, normal(8, 1, 4)[:, ::-1], label="broadcast", axis=-1, reference=_cosine(1)),
        sample("cosine_similarity", X, normal(8, 4), label="broadcast along the axis", axis=0, reference=_cosine(0)),
        sample("cosine_similarity", X[:, ::2], normal(9, 3, 2), label="columns, strided", axis=0, reference=_cosine(0)),
        sample(
            "cosine_similarity",
            X * 1e-3,
            X[::-1],
            label="below eps",
            call=lambda u, v: cosine_similarity(u, v, eps=0.5),
            reference=lambda u, v: (u * v).sum(1) / 0.5 / np.maximum(np.sqrt((v * v).sum(1)), 0.5),
        ),
        sample(
            "cosine_similarity", np.zeros((0, 3)), np.zeros((0, 3)), label="empty", reference=lambda u, v: np.zeros(0)
        ),
        *(sample("cdist", a, b, label=f"p {p}", p=p, reference=_distance(p)) for p in (2.0, 1, 3.0, np.inf)),
        sample(
            "cdist",
            normal(10, 2, 1, 3, 2),
            normal(11, 2, 2, 2)[..., ::-1],
            label="batches, strided",
            reference=_distance(2),
        ),
        sample(
            "cdist",
            a,
            a[:1],
            label="equal points",
            call=lambda u, v: cdist(u, v)[1:],
            reference=lambda u, v: _distance(2)(u, v)[1:],
        ),
        sample("cdist", a[:0], b, label="empty", reference=lambda u, v: np.zeros((0, 4))),
        sample("cdist", a[:1, :1], b[:1, :1], label="one element", reference=lambda u, v: np.abs(u - v)),
        sample("cdist", a, b, label="differences", p=0, reference=lambda u, v: np.full((3, 4), 2.0), order=0),
    ]


SAMPLES = [*_selections(), *_distances()]
