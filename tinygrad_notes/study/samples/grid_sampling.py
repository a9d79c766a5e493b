"""Samples of affine grids and grid sampling. The reference asks of every element how much of it is read."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes.ops.grid_sampling import grid_sample
from tinygrad_notes.study.samples.sample import Sample, normal, sample


def _padded(place, n, padding, align_corners):
    if padding == "reflection":
        low, high = (0.0, n - 1.0) if align_corners else (-0.5, n - 0.5)
        while high > low and not low <= place <= high:
            place = 2 * low - place if place < low else 2 * high - place
        place = place if high > low else 0.0
    return place if padding == "zeros" else min(max(place, 0.0), n - 1.0)


def _read(x, grid, mode, padding, align_corners):
    y = np.zeros((*x.shape[:2], *grid.shape[1:-1]))
    for at in np.ndindex(*grid.shape[:-1]):
        places = []
        for u, n in zip(grid[at][::-1], x.shape[2:]):
            place = (u + 1) / 2 * (n - 1) if align_corners else ((u + 1) * n - 1) / 2
            places.append(_padded(place, n, padding, align_corners))
        for corner in np.ndindex(*(n for n in x.shape[2:])):
            if mode == "nearest":
                weight = float(all(round(p) == c for p, c in zip(places, corner)))
            else:
                weight = math.prod(max(1 - abs(p - c), 0.0) for p, c in zip(places, corner))
            y[(at[0], slice(None), *at[1:])] += weight * x[(at[0], slice(None), *corner)]
    return y


def _sampled(label, x, grid, mode="bilinear", padding_mode="zeros", align_corners=False) -> Sample:
    return sample("grid_sample", x, grid, label=label, mode=mode, padding_mode=padding_mode,
                  align_corners=align_corners,
                  reference=lambda a, g: _read(a, g, mode, padding_mode, align_corners))  # fmt: skip


def _positions(seed, *shape, reach=1.9):
    return np.random.default_rng(seed).uniform(-reach, reach, shape)


def _affine(theta, size, align_corners):
    def along(i, n):
        return 0.0 if n == 1 else (2 * i / (n - 1) - 1 if align_corners else (2 * i + 1) / n - 1)

    y = np.zeros((len(theta), *size[2:], len(size) - 2))
    for at in np.ndindex(*y.shape[:-1]):
        point = [along(i, n) for i, n in zip(at[1:], size[2:])][::-1]
        y[at] = theta[at[0]] @ np.array([*point, 1.0])
    return y


def _samplings() -> list[Sample]:
    x, grid = normal(11, 2, 2, 3, 4), _positions(12, 2, 2, 3, 2)
    volume, places = normal(13, 1, 2, 2, 3, 2), _positions(14, 1, 2, 1, 2, 3)
    return [
        *[_sampled(f"{mode} {padding} {aligned}", x, grid, mode, padding, aligned)
          for mode in ("bilinear", "nearest") for padding in ("zeros", "border", "reflection")
          for aligned in (False, True)],
        _sampled("volume", volume, places),
        _sampled("volume reflection", volume, places, "bilinear", "reflection", True),
        _sampled("volume nearest", volume, places, "nearest", "border"),
        _sampled("far", x, 8 * grid, "bilinear", "reflection"),
        _sampled("one element", normal(15, 1, 1, 1, 1), _positions(16, 1, 1, 2, 2, reach=0.9)),
        _sampled("one element, aligned", normal(15, 1, 1, 1, 1), _positions(16, 1, 1, 2, 2), "bilinear", "reflection",
                 True),
        _sampled("empty batch", normal(17, 0, 2, 3, 3), _positions(18, 0, 2, 2, 2)),
        _sampled("no positions", normal(17, 1, 2, 3, 3), _positions(18, 1, 0, 2, 2)),
        _sampled("strided", normal(19, 4, 6, 2, 1).T[:, ::-1, ::2], _positions(20, 2, 2, 2, 1).T),
        sample("grid_sample", x[:1], grid[:1], label="squared", call=lambda a, g: grid_sample(a, g) ** 2,
               reference=lambda a, g: _read(a, g, "bilinear", "zeros", False) ** 2),
        *[sample("affine_grid", normal(21, 2, n, n + 1), label=f"{size} {aligned}", size=size, align_corners=aligned,
                 reference=lambda t, size=size, aligned=aligned: _affine(t, size, aligned))
          for n, size in ((2, (2, 1, 2, 3)), (2, (2, 5, 1, 2)), (3, (2, 1, 2, 1, 3))) for aligned in (False, True)],
        sample("affine_grid", normal(22, 3, 2, 2)[::-1].T, label="strided", size=(2, 1, 1, 2),
               reference=lambda t: _affine(t, (2, 1, 1, 2), False)),
        sample("affine_grid", normal(23, 0, 2, 3), label="empty", size=(0, 1, 2, 2),
               reference=lambda t: np.zeros((0, 2, 2, 2))),
    ]  # fmt: skip


SAMPLES = _samplings()
