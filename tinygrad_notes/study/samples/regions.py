"""Samples of regions. The references read one element or point after the other."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes.ops.regions import roi_align, roi_pool
from tinygrad_notes.study.samples.sample import Sample, distinct, normal, sample


def _round(v):
    return int(math.copysign(math.floor(abs(v) + 0.5), v))


def _pooled(x, boxes, size, scale):
    y = np.zeros((len(boxes), x.shape[1], *size))
    for k, (image, *box) in enumerate(boxes.tolist()):
        left, top, right, bottom = (_round(v * scale) for v in box)
        height, width = max(bottom - top + 1, 1), max(right - left + 1, 1)
        for c, i, j in np.ndindex(*y.shape[1:]):
            seen = [
                x[int(image), c, r, s]
                for r in range(top + i * height // size[0], top + -(-(i + 1) * height // size[0]))
                for s in range(left + j * width // size[1], left + -(-(j + 1) * width // size[1]))
                if 0 <= r < x.shape[2] and 0 <= s < x.shape[3]
            ]
            y[k, c, i, j] = max(seen, default=0.0)
    return y


def _point(plane, y, x):
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    total = 0.0
    for r in range(height):
        for s in range(width):
            total += max(1 - abs(y - r), 0.0) * max(1 - abs(x - s), 0.0) * plane[r, s]
    return total


def _aligned(x, boxes, size, scale, ratio, aligned):
    y = np.zeros((len(boxes), x.shape[1], *size))
    for k, (image, *box) in enumerate(boxes.tolist()):
        left, top, right, bottom = (v * scale - (0.5 if aligned else 0) for v in box)
        height, width = bottom - top, right - left
        if not aligned:
            height, width = max(height, 1.0), max(width, 1.0)
        step = height / size[0], width / size[1]
        points = [ratio if ratio > 0 else math.ceil(s) for s in step]
        for c, i, j in np.ndindex(*y.shape[1:]):
            total = 0.0
            for a in range(points[0]):
                for b in range(points[1]):
                    row = top + (i + (a + 0.5) / points[0]) * step[0]
                    total += _point(x[int(image), c], row, left + (j + (b + 0.5) / points[1]) * step[1])
            y[k, c, i, j] = total / max(points[0] * points[1], 1)
    return y


# Held by the samples' calls: boxes have no gradient, and a check must not move them.
BOXES = np.array([[1, 0, 0, 3, 2], [0, 1.2, 0.3, 2.6, 3.1], [1, -2, -3, 1, 1.5], [0, 2, 2, 2, 2], [0, 3.4, 1, 9, 8]])
OUTSIDE = np.array([[0, 20, 20, 30, 30]])
PARTS = [BOXES[1:2, 1:], BOXES[:1, 1:]]


def _pool(label, x, boxes, size, scale=1.0) -> Sample:
    sizes = size if isinstance(size, tuple) else (size, size)
    return sample("roi_pool", x, label=label, call=lambda a: roi_pool(a, boxes, size, scale),
                  reference=lambda a: _pooled(a, boxes, sizes, scale))  # fmt: skip


def _align(label, x, boxes, size, scale=1.0, ratio=-1, aligned=False) -> Sample:
    sizes = size if isinstance(size, tuple) else (size, size)
    return sample("roi_align", x, label=label, call=lambda a: roi_align(a, boxes, size, scale, ratio, aligned),
                  reference=lambda a: _aligned(a, boxes, sizes, scale, ratio, aligned))  # fmt: skip


def _iou(first, second):
    y = np.zeros((len(first), len(second)))
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            common = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
            union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
            y[i, j] = common / union if union > 0 else 0.0
    return y


def _suppressed(boxes, scores, limit):
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if all(_iou(boxes[[i]], boxes[[j]])[0, 0] <= limit for j in kept):
            kept.append(i)
    return np.array(kept, int)


def _random_boxes(seed, n, dtype=np.float64):
    corners = distinct(seed, n, 4) * (3 / n)
    return np.concatenate([corners[:, :2], corners[:, :2] + 0.3 + np.abs(corners[:, 2:])], 1).astype(dtype)


X = distinct(1, 2, 2, 4, 5)
CROWD = _random_boxes(9, 12, np.float32)
SCORES = np.random.default_rng(10).permutation(12).astype(np.float32)

SAMPLES = [
    _pool("", X, BOXES, 2),
    _pool("rectangular", X, BOXES, (3, 1)),
    _pool("scaled", X, BOXES * np.array([1, 10, 10, 10, 10]), 2, 0.1),
    _pool("larger", X, BOXES[:2], 5),
    _pool("negative numbers", X - 9.0, BOXES, 2),
    _pool("outside", X, OUTSIDE, 2),
    _pool("no boxes", X, BOXES[:0], 2),
    _pool("one element", distinct(2, 1, 1, 1, 1), np.zeros((1, 5)), 1),
    _pool("no channels", distinct(3, 2, 0, 4, 5), BOXES, 2),
    _pool("strided", distinct(4, 5, 8, 2, 2).T[::-1, :, ::-2], BOXES, 2),
    sample("roi_pool", X, label="a list", call=lambda x: roi_pool(x, PARTS, 2) ** 2,
           reference=lambda x: _pooled(x, BOXES[[1, 0]], (2, 2), 1.0) ** 2),
    _align("", X, BOXES, 2),
    _align("aligned", X, BOXES, 2, aligned=True),
    _align("two points", X, BOXES, (1, 3), ratio=2),
    _align("two points, aligned", X, BOXES, (3, 2), ratio=2, aligned=True),
    _align("scaled", X, BOXES * np.array([1, 4, 4, 4, 4]), 2, 0.25),
    _align("outside", X, OUTSIDE, 2),
    _align("no boxes", X, BOXES[:0], 2),
    _align("one element", normal(5, 1, 1, 1, 1), np.zeros((1, 5)), 1),
    _align("no channels", normal(3, 2, 0, 4, 5), BOXES, 2),
    _align("strided", normal(6, 5, 8, 2, 2).T[::-1, :, ::-2], BOXES, 2),
    sample("roi_align", X, label="a list", call=lambda x: roi_align(x, PARTS, 2) ** 2,
           reference=lambda x: _aligned(x, BOXES[[1, 0]], (2, 2), 1.0, -1, False) ** 2),
    sample("box_iou", _random_boxes(7, 4), _random_boxes(8, 3), reference=_iou),
    sample("box_iou", _random_boxes(7, 3)[::-1], np.zeros((0, 4)), label="empty", reference=_iou),
    sample("nms", CROWD, SCORES, iou_threshold=0.3, order=0, reference=lambda b, s: _suppressed(b, s, 0.3)),
    sample("nms", CROWD[::-2], SCORES[::-2], label="strict", iou_threshold=0.0, order=0,
           reference=lambda b, s: _suppressed(b, s, 0.0)),
    sample("nms", CROWD, SCORES // 4, label="ties", iou_threshold=0.5, order=0,
           reference=lambda b, s: _suppressed(b, s, 0.5)),
    sample("nms", CROWD[:0], SCORES[:0], label="empty", iou_threshold=0.5, order=0,
           reference=lambda b, s: np.zeros(0, int)),
]  # fmt: skip
