"""Samples of interpolation. The references go from element to element in Python's loops."""

from __future__ import annotations

import itertools
import math

import numpy as np

from tinygrad_notes.ops.interpolation import interpolate
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


SAMPLES = _interpolations()
