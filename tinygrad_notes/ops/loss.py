"""Losses, by PyTorch's names and rules. ``reduction``: "mean" over all elements, "sum", or "none".

Where a mean has nothing to average (an empty batch, every label ignored) it is NaN, as in PyTorch.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes import kernels
from tinygrad_notes.errors import DTypeError, GradientError, ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.ops.arguments import count, probability
from tinygrad_notes.ops.elementwise import abs, exp, log, logical_and, sigmoid, softplus, square, subtract, where
from tinygrad_notes.ops.indexing import take_along_axis
from tinygrad_notes.ops.reduction import mean, sum
from tinygrad_notes.ops.shape import as_shape, moveaxis, operand, reshape
from tinygrad_notes.ops.softmax import log_softmax
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import Tensor, as_floating, int64, to_array

REDUCTIONS = ("none", "mean", "sum")
SMALL = 4096  # elements up to which a few NumPy calls cost less than the general cross-entropy

# ---------------------------------------------------------------------- differences


@named
def mse_loss(input, target, reduction="mean"):
    """(input - target)², the squared error. Both get gradients.

    The shapes must be equal: (N, 1) against (N,) would broadcast to (N, N), of which PyTorch only warns. ShapeError.
    """
    return _reduced(square(_difference(input, target, "mse_loss")), reduction, "mse_loss")


@named
def l1_loss(input, target, reduction="mean"):
    """abs(input - target), the absolute error; its derivative at 0 is 0. Shapes as in :func:`mse_loss`."""
    return _reduced(abs(_difference(input, target, "l1_loss")), reduction, "l1_loss")


def _difference(input, target, name):
    input, target = _of_one_shape(input, target, name)
    if input.dtype.kind != "f" and target.dtype.kind != "f":
        raise DTypeError(f"{name}: input is {input.dtype} and target {target.dtype}, expected a floating dtype")
    return subtract(input, target)


def _of_one_shape(input, target, name):
    input, target = operand(input), operand(target)
    if input.shape != target.shape:
        raise ShapeError(f"{name}: input has shape {input.shape}, target {target.shape}, expected equal shapes")
    return input, target


def _reduced(losses, reduction, name):
    if reduction == "mean":
        return mean(losses)
    if reduction == "sum":
        return sum(losses)
    _check_reduction(reduction, name)
    return losses


def _check_reduction(reduction, name, known=REDUCTIONS):
    if reduction not in known:
        raise ShapeError(
            f"{name}: reduction is {reduction!r}, expected {', '.join(map(repr, known[:-1]))} or {known[-1]!r}"
        )


# ---------------------------------------------------------------------- distributions


@op(elementwise=True)
def binary_cross_entropy_with_logits_(input: Array, target: Array, pos_weight: Array):
    """(1 - t) x + (1 + (w - 1) t) log(1 + e⁻ˣ)."""
    value = (1 - target) * input + (1 + (pos_weight - 1) * target) * _softplus(-input)
    return (
        value,
        lambda g, input, target, pos_weight: g * (1.0 - target - (1.0 + (pos_weight - 1.0) * target) * sigmoid(-input)),
        lambda g, input, pos_weight: g * ((pos_weight - 1.0) * softplus(-input, 1.0, math.inf) - input),
        lambda g, input, target: g * target * softplus(-input, 1.0, math.inf),
    )


def _softplus(a):
    return np.maximum(a, 0) + np.log1p(np.exp(-np.abs(a)))


@named
def binary_cross_entropy_with_logits(input, target, weight=None, pos_weight=None, reduction="mean"):
    """-w (p t log σ(x) + (1 - t) log(1 - σ(x))), without overflow: x a logit, t a probability.

    ``target`` has the shape of ``input``; ``weight`` w and ``pos_weight`` p (None: 1) broadcast against it, the latter
    weighs the positive part, usually one number for each class. All of them get gradients. A target that is NaN or not
    from 0 to 1 (a class label, say) raises ShapeError.
    """
    name = "binary_cross_entropy_with_logits"
    input, target = _of_one_shape(input, target, name)
    for label, factor in (("weight", weight), ("pos_weight", pos_weight)):
        if factor is not None and not _fits(as_shape(factor), input.shape):
            raise ShapeError(
                f"{name}: {label} has shape {tuple(as_shape(factor))}, which does not broadcast to {input.shape}"
            )
    _check_probabilities(target, name, "a number from 0 to 1", 1)
    losses = binary_cross_entropy_with_logits_(input, target, 1.0 if pos_weight is None else pos_weight)
    return _reduced(losses if weight is None else losses * weight, reduction, name)


def _check_probabilities(target, name, expected, most=math.inf):
    """Targets are probabilities, give or take some rounding. One that gets a gradient may be moved anywhere."""
    slack = 1e-3
    if target.size and target.node is None:
        low, high = float(target.data.min()), float(target.data.max())
        if not (-slack <= low and high <= most + slack):
            wrong = high if high > most + slack else low
            raise ShapeError(f"{name}: target has {wrong:g}, expected {expected}")


def _fits(shape, full):
    try:
        return np.broadcast_shapes(shape, full) == full
    except ValueError:
        return False


@named
def kl_div(input, target, reduction="mean", log_target=False):
    """t (log t - x), the Kullback-Leibler divergence of the distribution t from eˣ: ``input`` x is a log-probability.

    With ``log_target``, ``target`` is log t. t = 0 adds 0 and gets the gradient -x, without the infinite log t.
    "batchmean" is the sum over the size of the first axis: the divergence of a batch, which "mean", over all elements,
    is not. Shapes must be equal.
    """
    _check_reduction(reduction, "kl_div", ("none", "mean", "batchmean", "sum"))
    input, target = _of_one_shape(input, target, "kl_div")
    if not log_target:
        _check_probabilities(target, "kl_div", "probabilities of at least 0")
    if log_target:
        losses = exp(target) * (target - input)
    else:
        losses = target * log(where(target == 0, 1.0, target)) - target * input
    if reduction == "batchmean":
        if not input.shape:
            raise ShapeError("kl_div: reduction is 'batchmean', but input has no axes")
        return sum(losses) * (1 / input.shape[0] if input.shape[0] else math.nan)
    return _reduced(losses, reduction, "kl_div")


# ---------------------------------------------------------------------- classes


@named
def nll_loss(input, target, weight=None, ignore_index=-100, reduction="mean"):
    """-w[y] x[y], the negative log-likelihood of the labels y under log-probabilities x.

    input (C,), (N, C) or (N, C, d1, ...) and integer target (), (N,) or (N, d1, ...). ``weight`` (C,), without a
    gradient. A label ``ignore_index`` counts for nothing. The mean divides by the sum of the labels' weights.
    """
    _check_reduction(reduction, "nll_loss")
    rows, labels, shape = _rows_and_labels(input, target, ignore_index, "nll_loss")
    share = _shares(labels, _class_weight(weight, rows, "nll_loss"), ignore_index, rows)
    if not rows.shape[1]:  # no classes: every label is ignored
        return _reduced_by_share(sum(rows, 1), share, reduction, shape)
    picked = take_along_axis(rows, np.where(labels == ignore_index, 0, labels)[:, None], 1)
    losses = where(labels == ignore_index, 0.0, -reshape(picked, labels.shape) * share)
    return _reduced_by_share(losses, share, reduction, shape)


@named
def cross_entropy(input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """-Σ w[c] t[c] log softmax(x)[c], of logits x and a target t: labels, or probabilities.

    input (C,), (N, C) or (N, C, d1, ...). Labels are integers (), (N,) or (N, d1, ...): t is 1 at the label.
    Probabilities have the shape of input and a floating dtype, and get gradients. ``weight`` (C,), without a gradient.
    ``label_smoothing`` s: (1 - s) t + s / C in place of t (Szegedy et al. 2016, arXiv:1512.00567). A label
    ``ignore_index`` counts for nothing. The mean divides by the sum of the labels' weights; for probabilities, by the
    number of distributions.

    A label out of range raises IndexError, labels of a floating dtype DTypeError. NaN among the logits gives NaN.
    """
    logits = operand(input)
    labels = target.data if type(target) is Tensor else target
    plain = weight is None and reduction == "mean" and not label_smoothing and type(labels) is type(logits.data)
    plain = plain and type(ignore_index) is int and ignore_index < 0
    if plain and 0 < logits.data.size <= SMALL and labels.dtype.kind in "iu":
        shape = logits.data.shape
        if len(shape) == 2 and labels.shape == shape[:1] and labels.min() >= 0 and labels.max() < shape[1]:
            return _mean_cross_entropy(logits, labels.copy())  # a loader may reuse its buffer before backward
    return _general_cross_entropy(logits, target, weight, ignore_index, reduction, label_smoothing)


def _mean_cross_entropy_in_small_ops(logits, labels):
    return -mean(take_along_axis(log_softmax(logits, 1), labels[:, None], 1))


@op(composite=_mean_cross_entropy_in_small_ops)
def _mean_cross_entropy(logits: Array, labels):
    """The common case, in as few calls as possible: small logits (N, C), labels in range, the mean."""
    log_p = kernels.log_softmax(as_floating(logits), 1)
    count = labels.shape[0]
    rows = np.arange(count, like=labels)

    def derivative(g):
        error = np.exp(log_p)
        error[rows, labels] -= 1
        error *= g / count
        return error

    return log_p[rows, labels].sum() / -count, derivative


def _expected_loss(logits, target, weight, label_smoothing):
    target = (1 - label_smoothing) * target + label_smoothing / max(logits.shape[1], 1)
    target = target if weight is None else target * weight
    log_p = log_softmax(logits, 1)
    impossible = logical_and(log_p == -np.inf, target == 0)  # 0 · -inf is 0 here
    return -sum(where(impossible, 0.0, log_p) * target, 1)


def _cross_entropy_in_small_ops(logits, labels, weight, ignore_index, label_smoothing):
    classes = np.arange(logits.shape[1], like=logits.data)
    target = (labels[:, None] == classes).astype(as_floating(logits.data).dtype)
    return where(labels == ignore_index, 0.0, _expected_loss(logits, target, weight, label_smoothing))


@op(composite=_cross_entropy_in_small_ops)
def cross_entropy_(logits: Array, labels, weight, ignore_index, label_smoothing):
    """The losses (N,) of logits (N, C) for labels (N,)."""
    static = labels, weight, ignore_index, label_smoothing
    losses, _, log_total = kernels.cross_entropy(as_floating(logits), *static)

    def derivative(g, logits):
        return kernels.cross_entropy_grad(*as_floating(g, logits), *static, log_total)

    return losses, derivative


@op(composite=_expected_loss)
def cross_entropy_probabilities(logits: Array, target: Array, weight, label_smoothing):
    """The losses (N,) of logits (N, C) for probabilities (N, C)."""
    x, t = as_floating(logits, target)
    static = None if weight is None else weight.astype(x.dtype, copy=False), label_smoothing
    losses, log_total = kernels.cross_entropy_probabilities(x, t, *static)

    def derivative(g, logits, target):
        return kernels.cross_entropy_probabilities_grad(*as_floating(g, logits, target), *static, log_total)

    return losses, derivative


def _general_cross_entropy(logits, target, weight, ignore_index, reduction, label_smoothing):
    _check_reduction(reduction, "cross_entropy")
    label_smoothing = probability(label_smoothing, "label_smoothing")
    target, ignore_index = operand(target), count(ignore_index, "ignore_index", -(2**63))
    if target.dtype.kind != "f" or target.shape != logits.shape:
        rows, labels, shape = _rows_and_labels(logits, target, ignore_index, "cross_entropy")
        weight = _class_weight(weight, rows, "cross_entropy")
        losses = cross_entropy_(rows, labels, weight, ignore_index, label_smoothing)
        return _reduced_by_share(losses, _shares(labels, weight, ignore_index, rows), reduction, shape)
    if ignore_index >= 0:
        raise ShapeError(
            f"cross_entropy: ignore_index is {ignore_index}, but target is probabilities, which have no label to ignore"
        )
    _check_probabilities(target, "cross_entropy", "probabilities of at least 0")
    rows = _rows(logits, "cross_entropy")
    weight = _class_weight(weight, rows, "cross_entropy")
    losses = cross_entropy_probabilities(rows, _rows(target, "cross_entropy"), weight, label_smoothing)
    return _reduced(reshape(losses, _batch(logits.shape)), reduction, "cross_entropy")


def _batch(shape):
    """The shape of the labels that go with logits of ``shape``."""
    return shape[:1] + shape[2:] if len(shape) > 1 else ()


def _rows(x, name):
    """(C,), (N, C) or (N, C, d1, ...) with the classes last: (rows, C)."""
    if not x.shape:
        raise ShapeError(f"{name}: input has no axes, expected (C,), (N, C) or (N, C, d1, ...)")
    if x.ndim == 2:
        return x
    return reshape(moveaxis(x, min(1, x.ndim - 1), -1), (math.prod(_batch(x.shape)), x.shape[min(1, x.ndim - 1)]))


def _rows_and_labels(input, target, ignore_index, name):
    """The input as rows (N, C), the checked labels (N,) of the same array type, and the shape that they had."""
    input = operand(input)
    rows, ignore_index = _rows(input, name), count(ignore_index, f"{name}: ignore_index", -(2**63))
    labels, shape = to_array(target), _batch(input.shape)
    if labels.shape != shape:
        raise ShapeError(
            f"{name}: input has shape {input.shape}, target {tuple(labels.shape)}, expected labels of shape {shape}"
        )
    if labels.dtype.kind not in "iu":
        raise DTypeError(
            f"{name}: target is {labels.dtype}, expected integer labels (probabilities have input's shape)"
        )
    labels, classes = labels.astype(int64).reshape(-1), rows.shape[1]
    wrong = labels[((labels < 0) | (labels >= classes)) & (labels != ignore_index)]
    if wrong.size:
        expected = f"0 to {classes - 1} ({classes} classes) or ignore_index = {ignore_index}"
        raise IndexError(f"{name}: target has label {int(wrong[0])}, expected {expected}")
    return rows, labels if type(labels) is type(rows.data) else np.asarray(labels, like=rows.data), shape


def _class_weight(weight, rows, name):
    """The weights of the classes as an array (C,) in the floating dtype of ``rows``."""
    if weight is None:
        return None
    if type(weight) is Tensor and weight.node is not None:
        raise GradientError(f"{name}: weight requires a gradient, which this loss does not have; pass weight.detach()")
    array = to_array(weight)
    if array.shape != rows.shape[1:]:
        raise ShapeError(
            f"{name}: weight has shape {tuple(array.shape)}, expected {rows.shape[1:]}, one for each class"
        )
    array = array.astype(as_floating(rows.data).dtype)
    return array if type(array) is type(rows.data) else np.asarray(array, like=rows.data)


def _shares(labels, weight, ignore_index, rows):
    """What each label counts in the mean: its weight, 0 where ignored."""
    if weight is None or not weight.size:
        return (labels != ignore_index).astype(as_floating(rows.data).dtype)
    return np.where(labels == ignore_index, 0, weight[labels * (labels != ignore_index)])


def _reduced_by_share(losses, share, reduction, shape):
    if reduction == "none":
        return reshape(losses, shape)
    total = sum(losses)
    if reduction == "sum":
        return total
    divisor = float(share.sum())
    return total / divisor if divisor else total * math.nan
