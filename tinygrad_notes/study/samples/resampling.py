"""Samples of resampling. The references go from element to element in Python's loops."""

from __future__ import annotations

import itertools
import math

import numpy as np

from tinygrad_notes.ops.resampling import grid_sample, interpolate
from tinygrad_notes.study.samples.sample import Sample, normal, sample


def _shares(mode, n, size, ratio, align_corners, antialias):
    """For every new element along an axis the (old element, weight) that it is made of."""
    lines = []
    for i in range(size):
        if align_corners:
            place = i * (n - 1) / (size - 1) if size > 1 else 0.0
        else:
            place = (i + 0.5) * ratio - 0.5
        if mode == "nearest":
            shares = [(min(math.floor(i * ratio), n - 1), 1.0)]
        elif mode == "nearest-exact":
            shares = [(min(math.floor((i + 0.5) * ratio), n - 1), 1.0)]
        elif mode == "area":
            first, last = math.floor(i * n / size), math.ceil((i + 1) * n / size)
            shares = [(j, 1 / (last - first)) for j in range(first, last)]
        elif antialias:
            step, reach = max(ratio, 1.0), 2 if mode == "bicubic" else 1
            kernel = _catmull_rom if mode == "bicubic" else _hat
            near = [j for j in range(n) if abs(j - place) < reach * step]
            total = sum(kernel((j - place) / step) for j in near)
            shares = [(j, kernel((j - place) / step) / total) for j in near]
        elif mode == "bicubic":
            low = math.floor(place)
            shares = [(min(max(j, 0), n - 1), _cubic(place - j, -0.75)) for j in range(low - 1, low + 3)]
        else:
            place = min(max(place, 0), n - 1)
            low = math.floor(place)
            shares = [(low, 1 - (place - low)), (min(low + 1, n - 1), place - low)]
        lines.append(shares)
    return lines


def _cubic(distance, a):
    d = abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def _catmull_rom(distance):
    return _cubic(distance, -0.5)


def _hat(distance):
    return max(1 - abs(distance), 0)


def _resized(x, sizes, ratios, mode, align_corners, antialias):
    lines = [
        _shares(mode, n, size, ratio, align_corners, antialias) for n, size, ratio in zip(x.shape[2:], sizes, ratios)
    ]
    y = np.zeros((*x.shape[:2], *sizes))
    for place in itertools.product(*map(range, sizes)):
        for taps in itertools.product(*(line[i] for line, i in zip(lines, place))):
            old, weight = tuple(j for j, _ in taps), math.prod(w for _, w in taps)
            y[(slice(None), slice(None), *place)] += weight * x[(slice(None), slice(None), *old)]
    return y


def _resize(label, x, size, mode, align_corners=None, antialias=False) -> Sample:
    sizes = size if isinstance(size, tuple) else (size,) * (x.ndim - 2)
    ratios = [n / m for n, m in zip(x.shape[2:], sizes)]
    return sample(
        "interpolate", x, label=f"{mode} {label}", size=size, mode=mode, align_corners=align_corners,
        antialias=antialias, reference=lambda a: _resized(a, sizes, ratios, mode, align_corners, antialias),
    )  # fmt: skip


def _scale(label, x, factor, sizes, mode, align_corners=None) -> Sample:
    ratios = [1 / factor] * len(sizes)
    return sample(
        "interpolate", x, label=f"{mode} {label}", scale_factor=factor, mode=mode, align_corners=align_corners,
        reference=lambda a: _resized(a, sizes, ratios, mode, align_corners, False),
    )  # fmt: skip


def _interpolations() -> list[Sample]:
    line, plane, volume = normal(1, 2, 2, 4), normal(2, 1, 2, 3, 4), normal(3, 1, 1, 2, 3, 2)
    return [
        _resize("", plane, (5, 3), "nearest"),
        _resize("line", line, 7, "nearest"),
        _resize("volume", volume, (3, 2, 4), "nearest"),
        _resize("", plane, (5, 2), "nearest-exact"),
        _resize("", line, 7, "linear"),
        _resize("smaller", line, 3, "linear"),
        _resize("aligned", line, 6, "linear", True),
        _resize("aligned to one", line, 1, "linear", True),
        _resize("", plane, (5, 3), "bilinear"),
        _resize("aligned", plane, (2, 6), "bilinear", True),
        _resize("antialias", plane, (2, 2), "bilinear", False, True),
        _resize("antialias larger", plane, (4, 3), "bilinear", False, True),
        _resize("", plane, (4, 3), "bicubic"),
        _resize("aligned", plane, (2, 5), "bicubic", True),
        _resize("antialias", plane, (2, 3), "bicubic", False, True),
        _resize("", volume, (3, 2, 3), "trilinear"),
        _resize("aligned", volume, (3, 2, 3), "trilinear", True),
        _resize("", plane, (2, 3), "area"),
        _resize("larger", line, 6, "area"),
        _resize("same", plane, (3, 4), "bilinear"),
        _resize("one element", normal(4, 1, 1, 1, 1), 3, "bicubic"),
        _resize("empty batch", normal(4, 0, 2, 3, 3), 2, "bilinear"),
        _resize("no channels", normal(4, 2, 0, 3), 5, "linear"),
        _resize("strided", normal(5, 5, 6, 1, 2).T[:, :, ::-2, ::2], (4, 2), "bilinear"),
        _scale("by a factor", line, 1.7, (6,), "linear"),
        _scale("by a factor", line, 0.6, (2,), "nearest"),
        _scale("by a factor, aligned", plane, 1.6, (4, 6), "bicubic", True),
        sample("interpolate", line, label="by a factor of lengths",
               call=lambda x: interpolate(x, scale_factor=1.7, mode="linear", recompute_scale_factor=True),
               reference=lambda x: _resized(x, (6,), (4 / 6,), "linear", None, False)),
        sample("interpolate", line, label="squared", call=lambda x: interpolate(x, 5, mode="linear") ** 2,
               reference=lambda x: _resized(x, (5,), (4 / 5,), "linear", None, False) ** 2),
        sample("interpolate", np.arange(4, dtype=np.int32).reshape(1, 1, 4), label="integers", size=8, order=0,
               reference=lambda x: np.repeat(x, 2, 2)),
    ]  # fmt: skip


# ---------------------------------------------------------------------- free positions


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


# ---------------------------------------------------------------------- pixels and channels


def _shuffled(x, r):
    *first, channels, height, width = x.shape
    y = np.zeros((*first, channels // r**2, height * r, width * r))
    for c, i, j in np.ndindex(*y.shape[-3:]):
        y[..., c, i, j] = x[..., c * r * r + (i % r) * r + j % r, i // r, j // r]
    return y


def _unshuffled(x, r):
    *first, channels, height, width = x.shape
    y = np.zeros((*first, channels * r**2, height // r, width // r))
    for c, i, j in np.ndindex(*y.shape[-3:]):
        y[..., c, i, j] = x[..., c // r**2, i * r + c % r**2 // r, j * r + c % r]
    return y


def _dealt(x, groups):
    n = x.shape[1] // groups
    return x[:, [j * n + i for i in range(n) for j in range(groups)]]


def _shuffles() -> list[Sample]:
    return [
        *[sample("pixel_shuffle", a, label=label, upscale_factor=r, reference=lambda x, r=r: _shuffled(x, r))
          for label, a, r in (("", normal(31, 2, 8, 2, 3), 2), ("one image", normal(32, 9, 1, 2), 3),
                              ("more axes", normal(32, 2, 1, 4, 1, 2), 2), ("of one", normal(33, 1, 2, 2), 1),
                              ("empty", normal(33, 0, 4, 2, 2), 2), ("strided", normal(34, 3, 4, 8).T[::-1, ::2], 2))],
        *[sample("pixel_unshuffle", a, label=label, downscale_factor=r, reference=lambda x, r=r: _unshuffled(x, r))
          for label, a, r in (("", normal(35, 2, 2, 4, 6), 2), ("one image", normal(36, 1, 3, 6), 3),
                              ("more axes", normal(36, 2, 1, 1, 2, 2), 2), ("of one", normal(33, 1, 2, 2), 1),
                              ("empty", normal(33, 2, 0, 2, 2), 2), ("strided", normal(37, 4, 8, 2).T[::-1, ::2], 2))],
        *[sample("channel_shuffle", a, label=label, groups=groups, reference=lambda x, n=groups: _dealt(x, n))
          for label, a, groups in (("", normal(38, 2, 6, 2, 2), 3), ("line", normal(39, 1, 4, 3), 2),
                                   ("one group", normal(39, 1, 4, 3), 1), ("empty", normal(39, 0, 4, 3), 2),
                                   ("strided", normal(40, 3, 4, 4).T[::-1, ::-1], 2))],
    ]  # fmt: skip


SAMPLES = [*_interpolations(), *_samplings(), *_shuffles()]
