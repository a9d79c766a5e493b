"""What losses share: the reduction of their elements, and the checks of shapes, targets and weights of classes."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes.errors import DTypeError, GradientError, ShapeError
from tinygrad_notes.modes import recording
from tinygrad_notes.ops.arguments import count, extremes
from tinygrad_notes.ops.reduction import mean, sum
from tinygrad_notes.ops.shape import moveaxis, operand, reshape
from tinygrad_notes.tensor import Tensor, as_floating, beside, int64, to_array

REDUCTIONS = ("none", "mean", "sum")


def reduced(losses, reduction):
    """The mean or the sum of the losses, or with "none" themselves."""
    if reduction == "mean":
        return mean(losses)
    if reduction == "sum":
        return sum(losses)
    check_reduction(reduction)
    return losses


def check_reduction(reduction, known=REDUCTIONS):
    """One of the reductions that are ``known``."""
    if reduction not in known:
        raise ShapeError(f"reduction is {reduction!r}, expected {', '.join(map(repr, known[:-1]))} or {known[-1]!r}")


def of_one_shape(input, target, names=("input", "target")):
    """Both operands, which must not broadcast: (N, 1) against (N,) would become (N, N)."""
    input, target = operand(input), operand(target)
    if input.shape != target.shape:
        raise ShapeError(f"{names[0]} has shape {input.shape}, {names[1]} {target.shape}, expected equal shapes")
    return input, target


def check_floating(input, target):
    """Differences of integers are not losses."""
    if input.dtype.kind != "f" and target.dtype.kind != "f":
        raise DTypeError(f"input is {input.dtype} and target {target.dtype}, expected a floating dtype")


def check_probabilities(target, expected, most=math.inf):
    """Targets are probabilities, give or take some rounding. One that gets a gradient may be moved anywhere."""
    slack = 1e-3
    if target.size and target.node is None and not recording():
        low, high = extremes(target.data)
        if not (-slack <= low and high <= most + slack):
            wrong = high if high > most + slack else low
            raise ShapeError(f"target has {wrong:g}, expected {expected}")


def fits(shape, full):
    """Whether ``shape`` broadcasts to ``full``."""
    try:
        return np.broadcast_shapes(shape, full) == full
    except ValueError:
        return False


def batch_shape(shape):
    """The shape of the labels that go with logits of ``shape``."""
    return shape[:1] + shape[2:] if len(shape) > 1 else ()


def check_signs(target):
    """Targets are 1 or -1; 0, as of a probability, is a mistake. One that gets a gradient may be moved anywhere."""
    if target.node is None and not recording():
        wrong = target.data[(target.data != 1) & (target.data != -1)]
        if wrong.size:
            raise ShapeError(f"target has {float(wrong[0]):g}, expected 1 or -1")


def as_rows(x):
    """(C,), (N, C) or (N, C, d1, ...) with the classes last: (rows, C)."""
    if not x.shape:
        raise ShapeError("input has no axes, expected (C,), (N, C) or (N, C, d1, ...)")
    if x.ndim == 2:
        return x
    return reshape(moveaxis(x, min(1, x.ndim - 1), -1), (math.prod(batch_shape(x.shape)), x.shape[min(1, x.ndim - 1)]))


def rows_and_labels(input, target, ignore_index):
    """The input as rows (N, C), the checked labels (N,) of the same array type, and the shape that they had.

    ``ignore_index`` None: every label counts.
    """
    input = operand(input)
    rows = as_rows(input)
    labels, shape = to_array(target), batch_shape(input.shape)
    if labels.shape != shape:
        raise ShapeError(
            f"input has shape {input.shape}, target {tuple(labels.shape)}, expected labels of shape {shape}"
        )
    if labels.dtype.kind not in "iu":
        raise DTypeError(f"target is {labels.dtype}, expected integer labels (probabilities have input's shape)")
    labels, classes = labels.astype(int64).reshape(-1), rows.shape[1]
    ignored = None if ignore_index is None else count(ignore_index, "ignore_index", -(2**63))
    if not recording():
        _check_labels(labels, classes, ignored)
    return rows, beside(labels, rows.data), shape


def _check_labels(labels, classes, ignored):
    wrong = (labels < 0) | (labels >= classes)
    expected = f"0 to {classes - 1} ({classes} classes)"
    if ignored is not None:
        wrong &= labels != ignored
        expected += f" or ignore_index = {ignored}"
    if wrong.any():
        raise IndexError(f"target has label {int(labels[wrong][0])}, expected {expected}")


def class_weight(weight, rows):
    """The weights of the classes as an array (C,) in the floating dtype of ``rows``."""
    if weight is None:
        return None
    if type(weight) is Tensor and weight.node is not None:
        raise GradientError("weight requires a gradient, which this loss does not have; pass weight.detach()")
    array = to_array(weight)
    if array.shape != rows.shape[1:]:
        raise ShapeError(f"weight has shape {tuple(array.shape)}, expected {rows.shape[1:]}, one for each class")
    return beside(array.astype(as_floating(rows.data).dtype), rows.data)
