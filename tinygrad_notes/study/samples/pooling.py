"""Samples of pooling. The references look at every window in Python's loops."""

from __future__ import annotations

import numpy as np

from tinygrad_notes.ops.pooling import (
    adaptive_avg_pool2d,
    adaptive_max_pool2d,
    avg_pool2d,
    max_pool2d,
    max_pool3d,
    max_pool_gather,
    max_pool_grad,
    max_unpool2d,
)
from tinygrad_notes.study.samples.sample import Sample, distinct, normal, positive, sample
from tinygrad_notes.tensor import to_array


def _starts(n, kernel, stride, padding, dilation, ceil_mode):
    """Where the windows along one axis start; with ``ceil_mode`` the last may reach over the right end."""
    starts, start, span = [], -padding, dilation * (kernel - 1) + 1
    while start + span <= n + padding or (ceil_mode and start < n and (not starts or starts[-1] + span < n + padding)):
        starts.append(start)
        start += stride
    return starts


def _each(value, axes):
    return (value,) * axes if isinstance(value, int) else tuple(value)


def _pooled(x, axes, reduce, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False):
    """``reduce(x, places)`` of every window, its elements given by their places, which may lie outside x."""
    kernel, steps = _each(kernel_size, axes), _each(kernel_size if stride is None else stride, axes)
    pads, gaps = _each(padding, axes), _each(dilation, axes)
    starts = [_starts(*axis, ceil_mode) for axis in zip(x.shape[-axes:], kernel, steps, pads, gaps)]
    y = np.zeros((*x.shape[:-axes], *map(len, starts)))
    for where in np.ndindex(*map(len, starts)):
        corner = [start[i] for start, i in zip(starts, where)]
        places = [tuple(c + i * d for c, i, d in zip(corner, offset, gaps)) for offset in np.ndindex(*kernel)]
        y[(..., *where)] = reduce(x, places)
    return y


def _inside(x, places):
    return [p for p in places if all(0 <= i < n for i, n in zip(p, x.shape[-len(p) :]))]


def _largest(x, places):
    return np.max(np.stack([x[(..., *p)] for p in _inside(x, places)]), axis=0)


def _place_of_largest(x, places):
    seen = _inside(x, places)
    first = np.argmax(np.stack([x[(..., *p)] for p in seen]), axis=0)
    return np.array([np.ravel_multi_index(p, x.shape[-len(p) :]) for p in seen])[first]


def _mean(padding, count_include_pad):
    def mean(x, places):
        axes = len(places[0])
        size, pads = x.shape[-axes:], _each(padding, axes)
        total = sum((x[(..., *p)] for p in _inside(x, places)), start=np.zeros(x.shape[:-axes]))
        counted = [p for p in places if all(i < n + pad for i, n, pad in zip(p, size, pads))]
        return total / len(counted if count_include_pad else _inside(x, places))

    return mean


def _cells(x, axes, reduce, counts):
    """``reduce(x, places)`` of ``counts`` windows that cover x."""
    size = x.shape[-axes:]
    bounds = [[(int(np.floor(i * n / k)), int(np.ceil((i + 1) * n / k))) for i in range(k)]
              for n, k in zip(size, counts)]  # fmt: skip
    y = np.zeros((*x.shape[:-axes], *counts))
    for where in np.ndindex(*counts):
        low, high = zip(*(b[i] for b, i in zip(bounds, where)))
        places = [tuple(a + i for a, i in zip(low, o)) for o in np.ndindex(*(b - a for a, b in zip(low, high)))]
        y[(..., *where)] = reduce(x, places)
    return y


def _max(label: str, x, axes=2, **options) -> Sample:
    return sample(f"max_pool{axes}d", x, label=label, **options,
                  reference=lambda a: _pooled(a, axes, _largest, **options))  # fmt: skip


def _avg(label: str, x, count_include_pad=True, axes=2, **options) -> Sample:
    mean = _mean(options.get("padding", 0), count_include_pad)
    return sample(f"avg_pool{axes}d", x, label=label, count_include_pad=count_include_pad, **options,
                  reference=lambda a: _pooled(a, axes, mean, **options))  # fmt: skip


def _adaptive(label: str, x, output_size, counts, kind="avg") -> Sample:
    axes, reduce = len(counts), _mean(0, True) if kind == "avg" else _largest
    return sample(f"adaptive_{kind}_pool{axes}d", x, label=label, output_size=output_size,
                  reference=lambda a: _cells(a, axes, reduce, counts))  # fmt: skip


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
               reference=lambda a: (_pooled(a, 2, _largest, (3, 3), (2, 2), (1, 1)),
                                    _pooled(a, 2, _place_of_largest, (3, 3), (2, 2), (1, 1)))),
        sample("max_pool2d", x[0], label="one image with indices",
               call=lambda a: max_pool2d(a, 2, return_indices=True)[0] * 2.0,
               reference=lambda a: 2 * _pooled(a, 2, _largest, (2, 2))),
        sample("max_pool2d", x, label="twice", call=lambda a: max_pool2d(max_pool2d(a, 2), 2) ** 2,
               reference=lambda a: _pooled(_pooled(a, 2, _largest, (2, 2)), 2, _largest, (2, 2)) ** 2),
        sample("max_pool_grad", normal(5, 1, 1, 2, 2), indices,
               call=lambda g, i: max_pool_grad(g, to_array(i), (2, 3)),
               reference=lambda g, i: np.bincount(i.ravel(), g.ravel(), 6).reshape(1, 1, 2, 3)),
        sample("max_pool_gather", normal(6, 1, 1, 2, 3), indices,
               call=lambda a, i: max_pool_gather(a, to_array(i), 2), reference=lambda a, i: a.ravel()[i]),
        sample("max_pool_gather", normal(6, 1, 2, 3), indices[0], label="one image",
               call=lambda a, i: max_pool_gather(a, to_array(i), 2), reference=lambda a, i: a.ravel()[i]),
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
               reference=lambda a: _pooled(a, 2, _mean((0, 0), True), (2, 2), (1, 1)) ** 2),
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


def _adaptive_max_samples() -> list[Sample]:
    x, ties = distinct(21, 2, 2, 5, 6), np.array([[[3.0, 1.0, 3.0, 3.0], [3.0, 3.0, 0.0, 3.0], [1.0, 3.0, 3.0, 2.0]]])
    return [
        _adaptive("", x, (2, 3), (2, 3), "max"),
        _adaptive("uneven", x, (3, 4), (3, 4), "max"),
        _adaptive("global", x, 1, (1, 1), "max"),
        _adaptive("rows as they are", x, (None, 2), (5, 2), "max"),
        _adaptive("larger", x[0], (7, 8), (7, 8), "max"),
        _adaptive("empty batch", x[:0], 3, (3, 3), "max"),
        _adaptive("strided", distinct(22, 6, 5, 2, 1).T[:, ::-1, ::2], 2, (2, 2), "max"),
        _adaptive("", distinct(23, 2, 3, 7), 3, (3,), "max"),
        _adaptive("", distinct(24, 1, 2, 3, 4, 3), (2, None, 2), (2, 4, 2), "max"),
        sample("adaptive_max_pool2d", x[0], label="with indices", output_size=(3, 4), return_indices=True,
               reference=lambda a: (_cells(a, 2, _largest, (3, 4)), _cells(a, 2, _place_of_largest, (3, 4)))),
        # integers take no gradient: the first of equals stands in the indices alone
        sample("adaptive_max_pool2d", (ties * 2).astype(np.int64), label="first of equals", order=0,
               call=lambda a: adaptive_max_pool2d(a, 2, return_indices=True)[1],
               reference=lambda a: _cells(a, 2, _place_of_largest, (2, 2))),
    ]  # fmt: skip


def _unpooled(a, indices, size):
    y = np.zeros((*a.shape[:-2], *size))
    for place in np.ndindex(*a.shape):
        y[(*place[:-2], *divmod(indices[place], size[1]))] = a[place]
    return y


def _unpool(label: str, x, indices, size, **options) -> Sample:
    return sample("max_unpool2d", x, indices, label=label,
                  call=lambda a, i: max_unpool2d(a, i, **options),
                  reference=lambda a, i: _unpooled(a, i, size))  # fmt: skip


def _there_and_back(a):
    y, indices = max_pool2d(a + 2.0, 2, return_indices=True)
    return max_pool2d(max_unpool2d(y, indices, 2), 2)


def _unpool_samples() -> list[Sample]:
    x, indices = normal(31, 2, 1, 2, 2), np.array([[[[0, 3], [9, 15]]], [[[5, 6], [13, 10]]]])
    return [
        _unpool("", x, indices, (4, 4), kernel_size=2),
        _unpool("overlapping, the last stands", x, np.array([[[[4, 4], [4, 8]]]] * 2, np.int32), (3, 3), kernel_size=2,
                stride=1),
        _unpool("output size", x[0], indices[0], (5, 4), kernel_size=2, output_size=(5, 4)),
        _unpool("padding", x, indices % 9, (3, 3), kernel_size=3, stride=2, padding=1),
        _unpool("empty batch", x[:0], indices[:0], (4, 4), kernel_size=2),
        _unpool("strided", x[..., ::-1], indices[:, :, ::-1], (4, 4), kernel_size=2),
        sample("max_unpool2d", distinct(32, 1, 4, 4), label="and pooled again",
               call=_there_and_back, reference=lambda a: _pooled(a + 2, 2, _largest, 2)),
    ]  # fmt: skip


def _other_samples() -> list[Sample]:
    """One spatial axis, three, and norms."""
    x, volume = distinct(41, 2, 2, 7), distinct(42, 1, 2, 3, 4, 3)
    y, box, image = normal(43, 2, 2, 7), normal(44, 1, 2, 3, 4, 3), positive(45, 2, 1, 5, 4)

    def lp(p, **options):
        area = options["kernel_size"] ** 2

        def norm(a, places):
            return (_mean(0, True)(a**p, places) * area) ** (1 / p)

        return lambda a: _pooled(a, 2, norm, **options)

    return [
        _max("", x, axes=1, kernel_size=2),
        _max("all at once", x, axes=1, kernel_size=3, stride=2, padding=1, dilation=2, ceil_mode=True),
        _max("one sequence", x[0], axes=1, kernel_size=3, stride=1),
        _max("one element", x[:1, :1, :1], axes=1, kernel_size=1),
        _max("empty batch", x[:0], axes=1, kernel_size=2),
        _max("strided", x[::-1, :, ::-2], axes=1, kernel_size=2),
        _max("", volume, axes=3, kernel_size=2),
        _max("all at once", volume, axes=3, kernel_size=(2, 3, 2), stride=(1, 2, 2), padding=(1, 1, 0), ceil_mode=True),
        _max("one volume", volume[0], axes=3, kernel_size=2, dilation=(1, 2, 1)),
        _max("empty batch", volume[:0], axes=3, kernel_size=2),
        sample("max_pool3d", volume, label="with indices",
               call=lambda a: max_pool3d(a, 2, 1, return_indices=True),
               reference=lambda a: (_pooled(a, 3, _largest, 2, 1), _pooled(a, 3, _place_of_largest, 2, 1))),
        sample("max_pool_gather", normal(46, 1, 4), np.array([[3, 1, 3]], np.int32), label="one sequence",
               call=lambda a, i: max_pool_gather(a, to_array(i), 1), reference=lambda a, i: a[:, i[0]]),
        _avg("", y, axes=1, kernel_size=2),
        _avg("all at once", y, axes=1, kernel_size=3, stride=2, padding=1, ceil_mode=True, count_include_pad=False),
        _avg("one sequence", y[0], axes=1, kernel_size=3, stride=1),
        _avg("empty batch", y[:0], axes=1, kernel_size=2),
        _avg("strided", y[::-1, :, ::-2], axes=1, kernel_size=2),
        _avg("", box, axes=3, kernel_size=2),
        _avg("all at once", box, axes=3, kernel_size=(2, 3, 2), stride=(1, 2, 2), padding=(1, 1, 0), ceil_mode=True),
        _avg("one volume", box[0], axes=3, kernel_size=2, count_include_pad=False, padding=1),
        _adaptive("", y, 3, (3,)),
        _adaptive("one sequence", y[0], None, (7,)),
        _adaptive("", box, (2, None, 1), (2, 4, 1)),
        _adaptive("one volume", box[0], 2, (2, 2, 2)),
        sample("lp_pool2d", image, norm_type=2, kernel_size=2, reference=lp(2, kernel_size=2)),
        sample("lp_pool2d", image, label="cube", norm_type=3.0, kernel_size=2, stride=1,
               reference=lp(3, kernel_size=2, stride=1)),
        sample("lp_pool2d", image[0], label="ceil", norm_type=1.5, kernel_size=2, ceil_mode=True,
               reference=lp(1.5, kernel_size=2, ceil_mode=True)),
        sample("lp_pool2d", -image, label="sum", norm_type=1, kernel_size=2, reference=lp(1, kernel_size=2)),
        sample("lp_pool2d", image[:0], label="empty batch", norm_type=2, kernel_size=2,
               reference=lp(2, kernel_size=2)),
    ]  # fmt: skip


SAMPLES = [
    *_max_samples(),
    *_adaptive_max_samples(),
    *_unpool_samples(),
    *_avg_samples(),
    *_other_samples(),
]
