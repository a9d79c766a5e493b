"""Regions of images: their features in a fixed size (RoI pooling and RoI align), overlaps, and non-maximum suppression.

A box is (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2; x runs along a row. No gradient flows to the boxes of a pooling.
"""

from __future__ import annotations

import numpy as np

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.ops.arguments import at_least, count, flag
from tinygrad_notes.ops.arithmetic import floating_operand
from tinygrad_notes.ops.comparison import maximum, minimum, where
from tinygrad_notes.ops.indexing import check_range, getitem_
from tinygrad_notes.ops.linalg import matmul
from tinygrad_notes.ops.reduction import sum
from tinygrad_notes.ops.shape import broadcast_to, concat, matrix_transpose, permute_dims, reshape
from tinygrad_notes.ops.windows import per_axis
from tinygrad_notes.tensor import Tensor, float64, to_array, to_numpy, wrap

# How far from the image a corner of a box may lie: bins have as many points as elements.
FARTHEST = 2**20


@named
def roi_pool(x, boxes, output_size, spatial_scale=1.0):
    """The largest elements of x (N, C, H, W) in each of h × w bins of every box: (K, C, h, w).

    ``boxes`` (K, 5): the number of the image, then the box in coordinates of which ``spatial_scale`` makes elements of
    x; or a list of (L, 4), one for an image. Corners are rounded (halves away from 0) and belong to the box, which has
    at least one element; bin i of n over a length L runs from ⌊iL/n⌋ to ⌈(i + 1)L/n⌉ and is cut off at the border. A
    bin with nothing in it gives 0. The first of equals, or first NaN, gets the gradient. Girshick 2015, Fast R-CNN.

    >>> tn.roi_pool(np.arange(16.0).reshape(1, 1, 4, 4), [[0, 0, 0, 20, 20]], 2, 0.1).tolist()
    [[[[5.0, 6.0], [9.0, 10.0]]]]
    """
    x, (height, width) = _images(x), per_axis(output_size, 2, "output_size", 1)
    images, corners = _boxes(boxes, x.shape[0])
    corners = _scaled(corners, spatial_scale)
    corners = (np.sign(corners) * np.floor(np.abs(corners) + 0.5)).astype(np.int64)
    planes, size = getattr(x, "data", x), tuple(x.shape[2:])
    places = np.zeros((len(images), x.shape[1], height, width), np.int64)
    places = np.asarray(places, like=planes)
    filled = np.zeros((len(images), 1, height, width), bool)
    for i, (image, (left, top, right, bottom)) in enumerate(zip(images.tolist(), corners.tolist())):
        rows, seen_rows = _bins(top, bottom, height, size[0])
        columns, seen_columns = _bins(left, right, width, size[1])
        filled[i, 0] = seen_rows[:, :1] & seen_columns[:, 0]
        places[i] = _largest(planes[image], rows, seen_rows, columns, seen_columns)
    channels = np.arange(x.shape[1], like=planes)[:, None, None]
    first = np.asarray(images, like=planes)[:, None, None, None]
    value = getitem_(reshape(x, (*x.shape[:2], size[0] * size[1])), (first, channels, places))
    return value if filled.all() else where(np.asarray(filled, like=planes), value, 0.0)


def _bins(start, end, n, size):
    """The elements of each of ``n`` bins, padded to a common number, and which of them are real: (n, longest) both."""
    length = max(end - start + 1, 1)
    i = np.arange(n)
    low = np.clip(i * length // n + start, 0, size)
    high = np.clip(-(-(i + 1) * length // n) + start, 0, size)
    index = low[:, None] + np.arange(max(int((high - low).max()), 1))
    seen = index < high[:, None]
    return np.where(seen, index, np.minimum(low, size - 1)[:, None]), seen


def _largest(plane, rows, seen_rows, columns, seen_columns):
    """Where the largest element of each bin stands in ``plane`` (C, H, W), counted along its rows: (C, h, w)."""
    width = plane.shape[2]
    index = rows[:, None, :, None] * width + columns[None, :, None, :]
    seen = seen_rows[:, None, :, None] & seen_columns[None, :, None, :]
    index, seen = (np.asarray(a.reshape(*a.shape[:2], -1), like=plane) for a in (index, seen))
    values = np.take(plane.reshape(plane.shape[0], plane.shape[1] * width), index, 1)
    # the first element of a bin is a real one, so among equals of -inf it wins
    chosen = np.argmax(np.where(seen, values, -np.inf), -1)
    return np.take_along_axis(np.broadcast_to(index, values.shape), chosen[..., None], -1)[..., 0]


@named
def roi_align(x, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1, aligned=False):
    """Means of x (N, C, H, W) over points in each of h × w bins of every box, read bilinearly: (K, C, h, w).

    ``boxes`` and ``spatial_scale`` as for :func:`roi_pool`, but nothing is rounded. A bin has ``sampling_ratio`` points
    along each axis, at the centres of equal parts; with -1 as many as elements (rounded up). Elements are points at
    whole numbers; ``aligned`` takes them for the centres of squares and moves boxes by half an element. Without it a
    box is at least 1 long. A point more than 1 outside reads 0, one less far the border. He et al. 2017, Mask R-CNN.

    The mean is a matrix product along each axis: an element that is not finite spoils the boxes of its image.

    >>> tn.roi_align(np.arange(16.0).reshape(1, 1, 4, 4), [[0, 0, 0, 2, 2]], 1, aligned=True).tolist()
    [[[[2.5]]]]
    """
    x, (height, width) = _images(x), per_axis(output_size, 2, "output_size", 1)
    images, corners = _boxes(boxes, x.shape[0])
    ratio = count(sampling_ratio, "sampling_ratio", -1)
    corners = _scaled(corners, spatial_scale) - (0.5 if flag(aligned, "aligned") else 0.0)
    planes, channels, size = getattr(x, "data", x), x.shape[1], tuple(x.shape[2:])
    down = _weights(corners[:, 1], corners[:, 3], height, size[0], ratio, aligned)
    across = _weights(corners[:, 0], corners[:, 2], width, size[1], ratio, aligned)
    down, across = (np.asarray(a, planes.dtype, like=planes) for a in (down, across))
    parts, order = [], np.argsort(images, kind="stable")
    for image in np.unique(images).tolist():
        chosen = np.flatnonzero(images == image)
        n, these = len(chosen), np.asarray(chosen, like=planes)
        lines = matmul(
            down[these].reshape(n * height, size[0]),
            permute_dims(x[image], (1, 0, 2)).reshape(size[0], channels * size[1]),
        )
        value = matmul(reshape(lines, (n, height * channels, size[1])), matrix_transpose(across[these]))
        parts.append(permute_dims(reshape(value, (n, height, channels, width)), (0, 2, 1, 3)))
    if not parts:
        return broadcast_to(sum(x[:0], (2, 3), keepdims=True), (0, channels, height, width))
    value = parts[0] if len(parts) == 1 else concat(parts)
    if (order[1:] < order[:-1]).any():
        value = getitem_(value, np.asarray(np.argsort(order, kind="stable"), like=planes))
    return value


def _weights(start, end, n, size, ratio, aligned):
    """How much each of ``size`` elements of an axis weighs in each of ``n`` bins of the boxes: (K, n, size)."""
    length = end - start if aligned else np.maximum(end - start, 1.0)
    weights = np.zeros((len(start), n, size))
    for box, (first, whole) in enumerate(zip(start, length)):
        points = ratio if ratio > 0 else max(int(np.ceil(whole / n)), 0)
        if not points:
            continue
        step = whole / n
        place = first + np.arange(n)[:, None] * step + (np.arange(points) + 0.5) * (step / points)
        share = np.where((place < -1) | (place > size), 0.0, 1 / points)
        place = np.clip(place, 0, size - 1)
        low = np.floor(place).astype(np.int64)
        after, bins = place - low, np.broadcast_to(np.arange(n)[:, None], low.shape)
        np.add.at(weights[box], (bins, low), share * (1 - after))
        np.add.at(weights[box], (bins, np.minimum(low + 1, size - 1)), share * after)
    return weights


# ---------------------------------------------------------------------- overlaps


@named
def box_iou(boxes1, boxes2):
    """Intersection over union of each of (n, 4) with each of (m, 4) boxes: (n, m). 0 for two boxes without area.

    Differentiable in both, so that 1 - IoU is a loss.

    >>> tn.box_iou([[0.0, 0.0, 2.0, 2.0]], [[1.0, 1.0, 3.0, 3.0], [0.0, 0.0, 2.0, 1.0]]).tolist()
    [[0.1428571492433548, 0.5]]
    """
    first, second = _corners(boxes1, "boxes1"), _corners(boxes2, "boxes2")
    areas = [(b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (first, second)]
    a, b = first[:, None, :], second[None, :, :]
    sides = maximum(minimum(a[..., 2:], b[..., 2:]) - maximum(a[..., :2], b[..., :2]), 0.0)
    common = sides[..., 0] * sides[..., 1]
    union = areas[0][:, None] + areas[1][None, :] - common
    return common / where(union > 0, union, 1.0)


@named
def nms(boxes, scores, iou_threshold):
    """Which boxes (n, 4) stay, int64, in order of falling ``scores`` (n,): non-maximum suppression.

    The best box that is left stays, and all whose IoU with it is above ``iou_threshold`` go; of equal scores the
    earlier one is the better. No gradient flows.

    >>> tn.nms([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.9], [5.0, 5.0, 6.0, 6.0]], [0.5, 0.9, 0.1], 0.5).tolist()
    [1, 2]
    """
    given, ranks = _corners(boxes, "boxes"), to_array(scores)
    limit = at_least(iou_threshold, "iou_threshold", 0)
    if tuple(ranks.shape) != (given.shape[0],):
        raise ShapeError(f"scores have shape {tuple(ranks.shape)}, expected ({given.shape[0]},), one for a box")
    corners = to_numpy(given.data).astype(np.float64)
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    left = np.argsort(-to_numpy(ranks).astype(np.float64), kind="stable")
    kept = []
    while left.size:
        best, left = left[0], left[1:]
        kept.append(best)
        low, high = np.maximum(corners[best, :2], corners[left, :2]), np.minimum(corners[best, 2:], corners[left, 2:])
        common = np.prod(np.maximum(high - low, 0), axis=1)
        left = left[common <= limit * (areas[best] + areas[left] - common)]
    return wrap(np.asarray(np.array(kept, np.int64), like=given.data))


# ---------------------------------------------------------------------- arguments


def _images(x):
    x = floating_operand(x)
    if len(x.shape) != 4 or 0 in x.shape[2:]:
        raise ShapeError(f"x has shape {tuple(x.shape)}, expected (N, C, H, W), H and W at least 1")
    return x


def _corners(boxes, name):
    boxes = floating_operand(boxes)
    if len(boxes.shape) != 2 or boxes.shape[1] != 4:
        raise ShapeError(f"{name} have shape {tuple(boxes.shape)}, expected (n, 4)")
    return boxes


def _scaled(corners, spatial_scale):
    """Corners in elements, of which bins are made: no more of them than an image may have."""
    corners = corners * at_least(spatial_scale, "spatial_scale", 0)
    if bool((np.abs(corners) > FARTHEST).any()):
        raise ShapeError(
            f"boxes have a corner at {float(np.abs(corners).max()):g} elements, expected at most {FARTHEST}"
        )
    return corners


def _boxes(boxes, n):
    """The image's number and the corners of every box, on the host."""
    if isinstance(boxes, list | tuple) and len(boxes) and all(type(b) is Tensor or hasattr(b, "ndim") for b in boxes):
        if len(boxes) != n:
            raise ShapeError(f"boxes are a list of {len(boxes)}, expected {n}, one for an image")
        parts = [to_numpy(to_array(b, float64)) for b in boxes]
        wrong = next((p.shape for p in parts if p.ndim != 2 or p.shape[1] != 4), None)
        if wrong is not None:
            raise ShapeError(f"boxes are a list with an array of shape {wrong}, expected (L, 4)")
        images = np.repeat(np.arange(n), [len(p) for p in parts])
        corners = np.concatenate(parts)
    else:
        given = to_numpy(to_array(boxes, float64))
        if given.ndim != 2 or given.shape[1] != 5:
            raise ShapeError(f"boxes have shape {given.shape}, expected (K, 5): the image's number and the box")
        images, corners = given[:, 0], given[:, 1:]
        if not bool((images == np.floor(images)).all()):
            raise DTypeError("boxes have a fraction in column 0, expected the numbers of images")
        images = images.astype(np.int64)
        check_range(images, n, "boxes", "the number of images")
    if not bool(np.isfinite(corners).all()):
        raise ShapeError("boxes have corners that are not finite numbers")
    return images, corners
