"""Losses, by PyTorch's names and rules. ``reduction``: "mean" over all elements, "sum", or "none".

Where a mean has nothing to average (an empty batch, every label ignored) it is NaN, as in PyTorch.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes import kernels
from tinygrad_notes.errors import ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.modes import recording
from tinygrad_notes.ops.activation import softplus
from tinygrad_notes.ops.arguments import at_least, count, flag, number, probability
from tinygrad_notes.ops.arithmetic import abs, square, subtract
from tinygrad_notes.ops.comparison import clip, logical_and, maximum, where
from tinygrad_notes.ops.exponential import exp, log, log1p, sigmoid
from tinygrad_notes.ops.indexing import take_along_axis
from tinygrad_notes.ops.loss_arguments import (
    as_rows,
    batch_shape,
    check_floating,
    check_probabilities,
    check_reduction,
    class_weight,
    fits,
    of_one_shape,
    reduced,
    rows_and_labels,
)
from tinygrad_notes.ops.reduction import mean, sum
from tinygrad_notes.ops.shape import as_shape, operand, reshape
from tinygrad_notes.ops.softmax import log_softmax
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import Tensor, as_floating

SMALL = 4096  # elements up to which a few NumPy calls cost less than the general cross-entropy

# ---------------------------------------------------------------------- differences


@named
def mse_loss(input, target, reduction="mean"):
    """(input - target)², the squared error. Both get gradients.

    The shapes must be equal: (N, 1) against (N,) would broadcast to (N, N), of which PyTorch only warns. ShapeError.

    >>> tn.mse_loss([1.0, 2.0], [1.0, 4.0])
    Tensor(2.)
    """
    return reduced(square(_difference(input, target)), reduction)


@named
def l1_loss(input, target, reduction="mean"):
    """abs(input - target), the absolute error; its derivative at 0 is 0. Shapes as in :func:`mse_loss`.

    >>> tn.l1_loss([1.0, 2.0], [1.0, 4.0], reduction="none")
    Tensor([0., 2.])
    """
    return reduced(abs(_difference(input, target)), reduction)


def _difference(input, target):
    input, target = of_one_shape(input, target)
    check_floating(input, target)
    return subtract(input, target)


# ---------------------------------------------------------------------- distributions


@op(elementwise=True)
def binary_cross_entropy_with_logits_(input: Array, target: Array, pos_weight: Array):
    """(1 - t) x + (1 + (w - 1) t) log(1 + e⁻ˣ)."""
    return (
        kernels.fused(input, _of_logits, (target, pos_weight)),
        lambda g, input, target, pos_weight: g * (1.0 - target - (1.0 + (pos_weight - 1.0) * target) * sigmoid(-input)),
        lambda g, input, pos_weight: g * ((pos_weight - 1.0) * softplus(-input, 1.0, math.inf) - input),
        lambda g, input, target: g * target * softplus(-input, 1.0, math.inf),
    )


def _of_logits(x, target, pos_weight):
    softplus_of_minus_x = np.maximum(-x, 0) + np.log1p(np.exp(-np.abs(x)))
    return (1 - target) * x + (1 + (pos_weight - 1) * target) * softplus_of_minus_x


@named
def binary_cross_entropy_with_logits(input, target, weight=None, pos_weight=None, reduction="mean"):
    """-w (p t log σ(x) + (1 - t) log(1 - σ(x))), without overflow: x a logit, t a probability.

    ``target`` has the shape of ``input``; ``weight`` w and ``pos_weight`` p (None: 1) broadcast against it, the latter
    weighs the positive part, usually one number for each class. All of them get gradients. A target that is NaN or not
    from 0 to 1 (a class label, say) raises ShapeError.

    >>> tn.binary_cross_entropy_with_logits([0.0, 100.0], [1.0, 0.0], reduction="none").round(4)
    Tensor([  0.6931, 100.    ])
    """
    input, target = of_one_shape(input, target)
    for label, factor in (("weight", weight), ("pos_weight", pos_weight)):
        if factor is not None and not fits(as_shape(factor), input.shape):
            raise ShapeError(f"{label} has shape {tuple(as_shape(factor))}, which does not broadcast to {input.shape}")
    check_probabilities(target, "a number from 0 to 1", 1)
    check_reduction(reduction)
    losses = binary_cross_entropy_with_logits_(input, target, 1.0 if pos_weight is None else pos_weight)
    return reduced(losses if weight is None else losses * weight, reduction)


@op(elementwise=True)
def binary_cross_entropy_(input: Array, target: Array):
    """-(t max(log x, -100) + (1 - t) max(log(1 - x), -100))."""
    return (
        kernels.fused(input, _of_probabilities, (target,)),
        lambda g, input, target: g * (input - target) / maximum(input * (1.0 - input), 1e-12),
        lambda g, input: g * (_log_of_rest(input) - _log_at_least(input)),
    )


def _of_probabilities(x, target):
    with np.errstate(divide="ignore"):
        return -((1 - target) * np.maximum(np.log1p(-x), -100) + target * np.maximum(np.log(x), -100))


def _log_at_least(x):
    return where(x == 0, -100.0, clip(log(where(x == 0, 1.0, x)), -100.0))


def _log_of_rest(x):
    """log(1 - x), -100 at 1; no number below 1 comes near that."""
    return where(x == 1, -100.0, log1p(-where(x == 1, 0.0, x)))


@named
def binary_cross_entropy(input, target, weight=None, reduction="mean"):
    """-w (t log x + (1 - t) log(1 - x)), of probabilities x and t; for logits :func:`binary_cross_entropy_with_logits`.

    As in PyTorch no logarithm is below -100, and the derivative (x - t) / (x (1 - x)) has a divisor of at least 1e-12:
    finite for certain predictions too, and not 0 for wrong ones. The gradient of t, log(1 - x) - log x, ends at ±100
    with the logarithms (in PyTorch ±inf). ``target`` has the shape of ``input``; ``weight`` w broadcasts against it.
    All get gradients. An input or a target that is NaN or not from 0 to 1 raises ShapeError.

    >>> tn.binary_cross_entropy([0.5, 0.0], [1.0, 1.0], reduction="none").round(4)
    Tensor([  0.6931, 100.    ])
    """
    input, target = of_one_shape(input, target)
    check_floating(input, target)
    if weight is not None and not fits(as_shape(weight), input.shape):
        raise ShapeError(f"weight has shape {tuple(as_shape(weight))}, which does not broadcast to {input.shape}")
    if not recording():
        outside = input.data[~((input.data >= 0) & (input.data <= 1))]
        if outside.size:
            raise ShapeError(f"input has {float(outside[0]):g}, expected a number from 0 to 1")
    check_probabilities(target, "a number from 0 to 1", 1)
    check_reduction(reduction)
    losses = binary_cross_entropy_(input, target)
    return reduced(losses if weight is None else losses * weight, reduction)


@named
def sigmoid_focal_loss(input, target, alpha=0.25, gamma=2.0, reduction="none"):
    """Cross-entropy of σ(x) against t, times (1 - p)^gamma with p = σ(x) t + (1 - σ(x)) (1 - t): the focal loss.

    What is predicted well counts little, so that many easy examples do not drown the few hard ones (Lin et al. 2017,
    arXiv:1708.02002). ``alpha`` weighs t = 1, and 1 - alpha t = 0; -1: no weights. ``target``, probabilities, has the
    shape of ``input``. torchvision's function, of the same defaults: here the default ``reduction`` is "none".

    >>> tn.sigmoid_focal_loss([0.0, 5.0], [1.0, 1.0], alpha=-1).round(4)
    Tensor([0.1733, 0.    ])
    """
    input, target = of_one_shape(input, target)
    check_probabilities(target, "a number from 0 to 1", 1)
    alpha, gamma = number(alpha, "alpha"), at_least(gamma, "gamma", 0)
    if alpha != -1:
        probability(alpha, "alpha")
    missed = sigmoid(-input) * target + sigmoid(input) * (1 - target)  # 1 - p without its cancellation
    if 0 < gamma < 1:  # the derivative of a power at 0 would be infinite
        missed = clip(missed, float(np.finfo(missed.dtype).tiny))
    losses = binary_cross_entropy_with_logits_(input, target, 1.0) * missed**gamma
    return reduced(losses if alpha < 0 else losses * (alpha * target + (1 - alpha) * (1 - target)), reduction)


@named
def kl_div(input, target, reduction="mean", log_target=False):
    """t (log t - x), the Kullback-Leibler divergence of the distribution t from eˣ: ``input`` x is a log-probability.

    With ``log_target``, ``target`` is log t. t = 0 adds 0 and gets the gradient -x, without the infinite log t.
    "batchmean" is the sum over the size of the first axis: the divergence of a batch, which "mean", over all elements,
    is not. Shapes must be equal.

    >>> tn.kl_div(tn.log([0.5, 0.5]), [1.0, 0.0], reduction="sum").round(4)
    Tensor(0.6931)
    """
    check_reduction(reduction, ("none", "mean", "batchmean", "sum"))
    input, target = of_one_shape(input, target)
    if not flag(log_target, "log_target"):
        check_probabilities(target, "probabilities of at least 0")
    if log_target:
        losses = exp(target) * (target - input)
    else:
        losses = target * log(where(target == 0, 1.0, target)) - target * input
    if reduction == "batchmean":
        if not input.shape:
            raise ShapeError("reduction is 'batchmean', but input has no axes")
        return sum(losses) * (1 / input.shape[0] if input.shape[0] else math.nan)
    return reduced(losses, reduction)


# ---------------------------------------------------------------------- classes


@named
def nll_loss(input, target, weight=None, ignore_index=-100, reduction="mean"):
    """-w[y] x[y], the negative log-likelihood of the labels y under log-probabilities x.

    input (C,), (N, C) or (N, C, d1, ...) and integer target (), (N,) or (N, d1, ...). ``weight`` (C,), without a
    gradient. A label ``ignore_index`` counts for nothing. The mean divides by the sum of the labels' weights.

    >>> tn.nll_loss(tn.log([[0.5, 0.5], [0.25, 0.75]]), [0, 0], reduction="none").round(4)
    Tensor([0.6931, 1.3863])
    """
    check_reduction(reduction)
    rows, labels, shape = rows_and_labels(input, target, ignore_index)
    share = _shares(labels, class_weight(weight, rows), ignore_index, rows)
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

    >>> tn.cross_entropy([[0.0, 0.0], [100.0, 0.0]], [0, 1], reduction="none").round(4)
    Tensor([  0.6931, 100.    ])
    """
    logits = operand(input)
    labels = target.data if type(target) is Tensor else target
    plain = weight is None and reduction == "mean" and not label_smoothing
    plain = plain and type(labels) is type(logits.data) is np.ndarray  # looking at labels on a GPU would wait for it
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
    check_reduction(reduction)
    label_smoothing = probability(label_smoothing, "label_smoothing")
    target, ignore_index = operand(target), count(ignore_index, "ignore_index", -(2**63))
    if target.dtype.kind != "f" or target.shape != logits.shape:
        rows, labels, shape = rows_and_labels(logits, target, ignore_index)
        weight = class_weight(weight, rows)
        losses = cross_entropy_(rows, labels, weight, ignore_index, label_smoothing)
        return _reduced_by_share(losses, _shares(labels, weight, ignore_index, rows), reduction, shape)
    if ignore_index >= 0:
        raise ShapeError(f"ignore_index is {ignore_index}, but target is probabilities, which have no label to ignore")
    check_probabilities(target, "probabilities of at least 0")
    rows = as_rows(logits)
    weight = class_weight(weight, rows)
    losses = cross_entropy_probabilities(rows, as_rows(target), weight, label_smoothing)
    return reduced(reshape(losses, batch_shape(logits.shape)), reduction)


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
    if type(share) is not np.ndarray:  # a GPU divides without telling us by what: where all is ignored, 0 / 0
        with np.errstate(invalid="ignore"):
            return total / share.sum()
    divisor = float(share.sum())
    return total / divisor if divisor else total * math.nan
