"""Samples of pixels moved into channels and back. The references name every element's place."""

from __future__ import annotations

import numpy as np

from tinygrad_notes.study.samples.sample import Sample, normal, sample


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


SAMPLES = _shuffles()
