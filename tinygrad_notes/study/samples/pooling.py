"""Samples of pooling. The references look at every window in Python's loops."""

from __future__ import annotations

import numpy as np

from tinygrad_notes.ops.pooling import adaptive_avg_pool2d, avg_pool2d, max_pool2d, max_pool2d_gather, max_pool2d_grad
from tinygrad_notes.study.samples.sample import Sample, distinct, normal, sample
from tinygrad_notes.tensor import to_array


def _starts(n, kernel, stride, padding, dilation, ceil_mode):
    """Where the windows along one axis start; with ``ceil_mode`` the last may reach over the right end."""
    starts, start, span = [], -padding, dilation * (kernel - 1) + 1
    while start + span <= n + padding or (ceil_mode and start < n and (not starts or starts[-1] + span < n + padding)):
        starts.append(start)
        start += stride
    return starts


def _pooled(x, reduce, kernel_size, stride=None, padding=(0, 0), dilation=(1, 1), ceil_mode=False):
    """``reduce(places)`` of every window, its elements given as (row, column, inside the plane)."""
    stride = stride or kernel_size
    rows, columns = (_starts(*axis, ceil_mode) for axis in zip(x.shape[-2:], kernel_size, stride, padding, dilation))
    y = np.zeros((*x.shape[:-2], len(rows), len(columns)))
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            places = [(top + a * dilation[0], left + b * dilation[1]) for a, b in np.ndindex(*kernel_size)]
            y[..., i, j] = reduce(x, places)
    return y


def _inside(x, places):
    return [(r, c) for r, c in places if 0 <= r < x.shape[-2] and 0 <= c < x.shape[-1]]


def _largest(x, places):
    return np.max(np.stack([x[..., r, c] for r, c in _inside(x, places)]), axis=0)


def _place_of_largest(x, places):
    seen = _inside(x, places)
    first = np.argmax(np.stack([x[..., r, c] for r, c in seen]), axis=0)
    return np.array([r * x.shape[-1] + c for r, c in seen])[first]


def _mean(padding, count_include_pad):
    def mean(x, places):
        height, width = x.shape[-2:]
        total = sum((x[..., r, c] for r, c in _inside(x, places)), start=np.zeros(x.shape[:-2]))
        counted = [p for p in places if p[0] < height + padding[0] and p[1] < width + padding[1]]
        return total / len(counted if count_include_pad else _inside(x, places))

    return mean


def _pairs(options):
    return {k: (v, v) if isinstance(v, int) and not isinstance(v, bool) else v for k, v in options.items()}


def _max(label: str, x, **options) -> Sample:
    return sample("max_pool2d", x, label=label, **options, reference=lambda a: _pooled(a, _largest, **_pairs(options)))


def _avg(label: str, x, count_include_pad=True, **options) -> Sample:
    pairs = _pairs(options)
    mean = _mean(pairs.get("padding", (0, 0)), count_include_pad)
    return sample("avg_pool2d", x, label=label, count_include_pad=count_include_pad, **options,
                  reference=lambda a: _pooled(a, mean, **pairs))  # fmt: skip


def _adaptive(label: str, x, output_size, size) -> Sample:
    def reference(a):
        height, width = a.shape[-2:]
        y = np.zeros((*a.shape[:-2], *size))
        for i, j in np.ndindex(*size):
            rows = slice(int(np.floor(i * height / size[0])), int(np.ceil((i + 1) * height / size[0])))
            columns = slice(int(np.floor(j * width / size[1])), int(np.ceil((j + 1) * width / size[1])))
            y[..., i, j] = a[..., rows, columns].mean(axis=(-2, -1))
        return y

    return sample("adaptive_avg_pool2d", x, label=label, output_size=output_size, reference=reference)


def _max_samples() -> list[Sample]:
    x = distinct(1, 2, 2, 5, 6)
    indices = np.array([[[[0, 5], [3, 3]]]], np.int32)  # a repeated one collects both gradients
    return [
        _max("", x, kernel_size=2),
        _max("overlapping", x, kernel_size=3, stride=1),
        _max("stride", x, kernel_size=2, stride=3),
        _max("padding", x, kernel_size=3, stride=2, padding=1),
        _max("rectangular", x, kernel_size=(3, 2), stride=(1, 2), padding=(1, 0)),
        _max("dilation", x, kernel_size=2, stride=1, dilation=(2, 3)),
        _max("dilation and padding", x, kernel_size=(3, 2), stride=1, padding=1, dilation=2),
        _max("ceil", x, kernel_size=2, ceil_mode=True),
        _max("ceil and padding", x, kernel_size=(3, 2), stride=(2, 5), padding=1, ceil_mode=True),
        _max("negative numbers", x - 9.0, kernel_size=2, stride=2, padding=1),
        _max("one image", x[1], kernel_size=3),
        _max("one element", distinct(2, 1, 1, 1, 1), kernel_size=1),
        _max("whole plane", x, kernel_size=(5, 6)),
        _max("empty batch", distinct(3, 0, 2, 4, 4), kernel_size=2),
        _max("no channels", distinct(3, 2, 0, 4, 4), kernel_size=2),
        _max("strided", distinct(4, 6, 5, 2, 1).T[:, ::-1, ::2], kernel_size=2, stride=1),
        sample("max_pool2d", x, label="with indices", kernel_size=3, stride=2, padding=1, return_indices=True,
               reference=lambda a: (_pooled(a, _largest, (3, 3), (2, 2), (1, 1)),
                                    _pooled(a, _place_of_largest, (3, 3), (2, 2), (1, 1)))),
        sample("max_pool2d", x[0], label="one image with indices",
               call=lambda a: max_pool2d(a, 2, return_indices=True)[0] * 2.0,
               reference=lambda a: 2 * _pooled(a, _largest, (2, 2))),
        sample("max_pool2d", x, label="twice", call=lambda a: max_pool2d(max_pool2d(a, 2), 2) ** 2,
               reference=lambda a: _pooled(_pooled(a, _largest, (2, 2)), _largest, (2, 2)) ** 2),
        sample("max_pool2d_grad", normal(5, 1, 1, 2, 2), indices,
               call=lambda g, i: max_pool2d_grad(g, to_array(i), (2, 3)),
               reference=lambda g, i: np.bincount(i.ravel(), g.ravel(), 6).reshape(1, 1, 2, 3)),
        sample("max_pool2d_gather", normal(6, 1, 1, 2, 3), indices,
               call=lambda a, i: max_pool2d_gather(a, to_array(i)), reference=lambda a, i: a.ravel()[i]),
        sample("max_pool2d_gather", normal(6, 1, 2, 3), indices[0], label="one image",
               call=lambda a, i: max_pool2d_gather(a, to_array(i)), reference=lambda a, i: a.ravel()[i]),
    ]  # fmt: skip


def _avg_samples() -> list[Sample]:
    x = normal(11, 2, 2, 5, 6)
    return [
        _avg("", x, kernel_size=2),
        _avg("overlapping", x, kernel_size=3, stride=1),
        _avg("gaps", x, kernel_size=2, stride=(3, 4)),
        _avg("padding", x, kernel_size=3, stride=2, padding=1),
        _avg("padding not counted", x, kernel_size=(3, 2), stride=2, padding=1, count_include_pad=False),
        _avg("ceil", x, kernel_size=2, ceil_mode=True),
        _avg("ceil and padding", x, kernel_size=(3, 2), stride=(3, 5), padding=1, ceil_mode=True),
        _avg("ceil, padding not counted", x, kernel_size=(3, 2), stride=(3, 5), padding=1, ceil_mode=True,
             count_include_pad=False),
        _avg("one image", x[0], kernel_size=(1, 3)),
        _avg("one element", normal(12, 1, 1, 1, 1), kernel_size=1),
        _avg("empty batch", normal(13, 0, 2, 4, 4), kernel_size=2),
        _avg("strided", normal(14, 6, 5, 2, 1).T[:, ::-1, ::2], kernel_size=2, stride=1),
        sample("avg_pool2d", x[0, :1, :3, :3], label="squared", call=lambda a: avg_pool2d(a, 2, stride=1) ** 2,
               reference=lambda a: _pooled(a, _mean((0, 0), True), (2, 2), (1, 1)) ** 2),
        sample("adaptive_avg_pool2d", x[0, :1, :2, :2], label="squared", call=lambda a: adaptive_avg_pool2d(a, 1) ** 2,
               reference=lambda a: a.mean(axis=(1, 2), keepdims=True) ** 2),
        _adaptive("", x, (2, 3), (2, 3)),
        _adaptive("uneven", x, (3, 4), (3, 4)),
        _adaptive("global", x, 1, (1, 1)),
        _adaptive("rows as they are", x, (None, 2), (5, 2)),
        _adaptive("all as it is", x, None, (5, 6)),
        _adaptive("larger", x, (7, 8), (7, 8)),
        _adaptive("one image", x[1], 2, (2, 2)),
        _adaptive("empty batch", normal(15, 0, 2, 4, 4), 3, (3, 3)),
        _adaptive("strided", normal(16, 6, 5, 2, 1).T[:, ::-1, ::2], 2, (2, 2)),
    ]  # fmt: skip


SAMPLES = [*_max_samples(), *_avg_samples()]
