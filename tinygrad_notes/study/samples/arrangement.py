"""Samples of tile, repeat, meshgrid, rot90, sliding windows, diagonals and triangles."""

from __future__ import annotations

import numpy as np

from tinygrad_notes.ops import meshgrid, repeat, rot90, sliding_window_view, tile
from tinygrad_notes.study.samples.sample import Sample, normal, sample


def _repeats() -> list[Sample]:
    x, odd = normal(1, 2, 3), normal(2, 4, 6)[::2, ::-2]
    return [
        sample("tile", x, label="rows and columns", repetitions=(2, 3), reference=lambda a: np.block([[a] * 3] * 2)),
        sample("tile", x, label="a number", call=lambda a: tile(a, 2), reference=lambda a: np.concatenate([a, a], 1)),
        sample("tile", odd, label="new axis, strided", repetitions=(2, 1, 1), reference=lambda a: np.stack([a, a])),
        sample("tile", np.array(1.5), label="no axes", repetitions=3, reference=lambda a: np.full(3, 1.5)),
        sample("tile", x, label="none", repetitions=(0, 1), reference=lambda a: a[:0]),
        sample("tile", x[:0], label="empty", repetitions=2, reference=lambda a: np.zeros((0, 6))),
        sample("tile", normal(3, 1), label="one element", repetitions=1, reference=lambda a: a),
        sample(
            "repeat", x, label="flattened", repeats=2, reference=lambda a: np.array([v for v in a.flat for _ in "ab"])
        ),
        sample(
            "repeat", x, label="rows", repeats=3, axis=0, reference=lambda a: np.array([r for r in a for _ in "abc"])
        ),
        sample(
            "repeat", odd, label="strided", repeats=2, axis=-1, reference=lambda a: np.stack([a, a], 2).reshape(2, 6)
        ),
        sample(
            "repeat",
            x,
            label="each its own",
            call=lambda a: repeat(a, np.array([2, 0, 1]), 1),
            reference=lambda a: a[:, [0, 0, 2]],
        ),
        sample("repeat", x, np.array([1, 2]), label="by an operand", axis=0, reference=lambda a, n: a[[0, 1, 1]]),
        sample("repeat", normal(4, 1), label="one element, no times", repeats=0, reference=lambda a: a[:0]),
        sample("repeat", x[:0], label="empty", repeats=2, axis=0, reference=lambda a: a),
        *(
            sample(
                "meshgrid",
                normal(5, 2),
                normal(6, 6)[::-2],
                label=indexing,
                indexing=indexing,
                reference=_mesh(indexing),
            )
            for indexing in ("xy", "ij")
        ),
        sample(
            "meshgrid",
            normal(7, 2),
            normal(8, 1),
            np.array(0.5),
            label="three",
            indexing="ij",
            reference=lambda a, b, c: (np.stack([a], 1)[..., None], np.full((2, 1, 1), b[0]), np.full((2, 1, 1), c)),
        ),
        sample("meshgrid", normal(9, 3), label="one", call=lambda a: meshgrid(a), reference=lambda a: (a,)),
        sample("meshgrid", normal(9, 3), np.zeros(0), label="empty", reference=lambda a, b: (np.zeros((0, 3)),) * 2),
        *(
            sample("rot90", normal(10, 2, 3), label=f"{k} times", k=k, reference=_turned(k))
            for k in (0, 1, 2, 3, -1, 5)
        ),
        sample(
            "rot90",
            normal(11, 2, 3, 2)[:, ::-1],
            label="other axes",
            call=lambda a: rot90(a, 1, (2, 1)),
            reference=lambda a: np.stack([_turned(1)(m.T).T for m in a]),
        ),
        sample("rot90", np.zeros((0, 2)), label="empty", reference=lambda a: np.zeros((2, 0))),
    ]


def _mesh(indexing):
    def reference(a, b):
        grid = [np.array([[v for _ in b] for v in a]), np.array([list(b) for _ in a])]
        return tuple(grid if indexing == "ij" else [g.T for g in grid])

    return reference


def _turned(k):
    def reference(a):
        for _ in range(k % 4):
            a = np.array([[row[j] for row in a] for j in reversed(range(a.shape[1]))])
        return a

    return reference


def _windows() -> list[Sample]:
    def moving(a):
        return np.array([a[i : i + 3] for i in range(len(a) - 2)])

    return [
        sample("sliding_window_view", normal(1, 6), label="line", window_shape=3, reference=moving),
        sample(
            "sliding_window_view",
            normal(2, 3, 4),
            label="plane",
            window_shape=(2, 3),
            reference=lambda a: np.array([[a[i : i + 2, j : j + 3] for j in range(2)] for i in range(2)]),
        ),
        sample(
            "sliding_window_view",
            normal(3, 2, 10)[:, ::-2],
            label="last axis, strided",
            call=lambda a: sliding_window_view(a, 3, -1),
            reference=lambda a: np.array([moving(r) for r in a]),
        ),
        sample(
            "sliding_window_view",
            normal(4, 4),
            label="one axis twice",
            call=lambda a: sliding_window_view(a, (2, 2), (0, 0)),
            reference=lambda a: np.array([[[a[i + j + k] for k in range(2)] for j in range(2)] for i in range(2)]),
        ),
        sample(
            "sliding_window_view",
            normal(6, 4),
            label="squared",
            call=lambda a: sliding_window_view(a, 2) ** 2,
            reference=lambda a: np.array([a[i : i + 2] ** 2 for i in range(3)]),
        ),
        sample(
            "sliding_window_view", normal(5, 1), label="one element", window_shape=1, reference=lambda a: a[:, None]
        ),
        sample(
            "sliding_window_view",
            np.zeros((0, 3)),
            label="empty",
            window_shape=2,
            axis=1,
            reference=lambda a: np.zeros((0, 2, 2)),
        ),
    ]


def _triangle(keep):
    def reference(a):
        result = a.copy()
        for i in range(a.shape[-2]):
            for j in range(a.shape[-1]):
                if not keep(i, j):
                    result[..., i, j] = 0
        return result

    return reference


def _line(k):
    def reference(a):
        return np.array([a[i, i + k] for i in range(len(a)) if 0 <= i + k < a.shape[1]])

    return reference


def _square(k):
    def reference(a):
        result = np.zeros((len(a) + abs(k),) * 2)
        for i, v in enumerate(a):
            result[i - min(k, 0), i + max(k, 0)] = v
        return result

    return reference


def _diagonals() -> list[Sample]:
    x, cube = normal(1, 3, 4), normal(2, 3, 2, 4)
    samples = []
    for k in (0, 1, -1, 5, -5):
        samples += [
            sample("tril", x, label=f"k {k}", k=k, reference=_triangle(lambda i, j, k=k: j - i <= k)),
            sample("triu", x, label=f"k {k}", k=k, reference=_triangle(lambda i, j, k=k: j - i >= k)),
            sample("diagonal", x, label=f"offset {k}", offset=k, reference=_line(k)),
            sample("diag", x, label=f"of a matrix {k}", k=k, reference=_line(k)),
            sample("trace", x, label=f"offset {k}", offset=k, reference=lambda a, k=k: np.array(_line(k)(a).sum())),
            sample("diag", normal(3, 3), label=f"of a line {k}", k=k, reference=_square(k)),
        ]
    return [
        *samples,
        sample("tril", cube[::-2], label="batch, strided", reference=_triangle(lambda i, j: j <= i)),
        sample("triu", cube[:, :, ::-1], label="batch, strided", reference=_triangle(lambda i, j: j >= i)),
        sample("tril", np.zeros((0, 3)), label="empty", reference=lambda a: a),
        sample("triu", normal(4, 1, 1), label="one element", reference=lambda a: a),
        sample(
            "diagonal",
            cube,
            label="other axes",
            offset=1,
            axis1=2,
            axis2=0,
            reference=lambda a: np.array([[a[i + 1, j, i] for i in range(2)] for j in range(2)]),
        ),
        sample(
            "diagonal",
            cube[::2, :, ::-1],
            label="batch, strided",
            axis1=-2,
            axis2=-1,
            reference=lambda a: np.array([[m[0, 0], m[1, 1]] for m in a]),
        ),
        sample("diagonal", np.zeros((0, 3)), label="empty", reference=lambda a: np.zeros(0)),
        sample("diag", np.zeros(0), label="empty", reference=lambda a: np.zeros((0, 0))),
        sample(
            "trace", cube, label="batch", axis1=1, axis2=2, reference=lambda a: np.array([m[0, 0] + m[1, 1] for m in a])
        ),
        sample("trace", np.array([[1, 2], [3, 4]]), label="integers", reference=lambda a: np.array(5), order=0),
    ]


SAMPLES = [*_repeats(), *_windows(), *_diagonals()]
