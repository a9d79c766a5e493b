"""Losses with a margin: what is right by more than the margin costs nothing.

By PyTorch's names and rules; ``reduction`` is "mean", "sum" or "none". Targets of two classes are 1 and -1; anything
else raises ShapeError. Operands of one call have equal shapes. At the margin itself the gradients are PyTorch's: those
of the side that costs, except in hinge_loss and multi_margin_loss, where they are 0.
"""

from __future__ import annotations

import numpy as np

from tinygrad_notes.errors import ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.ops.activation import relu, softplus
from tinygrad_notes.ops.arguments import at_least, flag, number
from tinygrad_notes.ops.arithmetic import sqrt, square
from tinygrad_notes.ops.comparison import clip, minimum, where
from tinygrad_notes.ops.indexing import take_along_axis
from tinygrad_notes.ops.loss import binary_cross_entropy_with_logits
from tinygrad_notes.ops.loss_arguments import (
    check_floating,
    check_reduction,
    check_signs,
    class_weight,
    of_one_shape,
    reduced,
    rows_and_labels,
)
from tinygrad_notes.ops.reduction import mean, norm, sum
from tinygrad_notes.ops.shape import operand, reshape

# ---------------------------------------------------------------------- two classes


@named
def hinge_loss(input, target, reduction="mean"):
    """max(0, 1 - y s) for scores s and targets y: the loss of support vector machines (Cortes & Vapnik 1995).

    >>> tn.hinge_loss([2.0, 0.5, -1.0], [1, 1, 1], reduction="none")
    Tensor([0. , 0.5, 2. ])
    """
    input, target = _scores(input, target)
    return reduced(relu(1.0 - target * input), reduction)


@named
def soft_margin_loss(input, target, reduction="mean"):
    """log(1 + exp(-y s)) for scores s and targets y, without overflow: the logistic loss.

    >>> tn.soft_margin_loss([0.0, -100.0], [1, 1], reduction="none").round(4)
    Tensor([  0.6931, 100.    ])
    """
    check_reduction(reduction)
    input, target = _scores(input, target)
    return reduced(softplus(-(target * input), 1.0, np.inf), reduction)


@named
def hinge_embedding_loss(input, target, margin=1.0, reduction="mean"):
    """x where the target is 1, max(0, ``margin`` - x) where it is -1: x is a distance of what is alike, or not.

    >>> tn.hinge_embedding_loss([0.25, 0.25, 3.0], [1, -1, -1], reduction="none")
    Tensor([0.25, 0.75, 0.  ])
    """
    input, target = _scores(input, target)
    return reduced(where(target == 1, input, clip(number(margin, "margin") - input, 0.0)), reduction)


@named
def multilabel_soft_margin_loss(input, target, weight=None, reduction="mean"):
    """The mean over the classes, the last axis, of the cross-entropy of σ(x) against t: any number of labels apply.

    ``target`` t has the shape of ``input``, 1 where a label applies, else 0. ``weight`` (C,) weighs the classes.

    >>> tn.multilabel_soft_margin_loss([[0.0, 0.0], [100.0, 100.0]], [[1, 0], [1, 0]], reduction="none").round(4)
    Tensor([ 0.6931, 50.    ])
    """
    if not operand(input).shape:
        raise ShapeError("input has no axes, expected (C,) or (N, C)")
    return reduced(mean(binary_cross_entropy_with_logits(input, target, weight, None, "none"), -1), reduction)


def _scores(input, target):
    input, target = of_one_shape(input, target)
    check_floating(input, target)
    check_signs(target)
    return input, target


# ---------------------------------------------------------------------- several classes


@named
def multi_margin_loss(input, target, p=1, margin=1.0, weight=None, reduction="mean"):
    """Σ max(0, ``margin`` - x[y] + x[c])^p / C over the classes c other than y (Crammer & Singer 2001).

    Scores x, ``input`` (C,) or (N, C), and labels y, ``target`` () or (N,). ``p`` 1 or 2. ``weight`` (C,), without a
    gradient, multiplies the loss of its label; the mean divides by N all the same.

    >>> tn.multi_margin_loss([[1.0, 2.0, 0.0]], [0]).round(4)
    Tensor(0.6667)
    """
    if p not in (1, 2):
        raise ShapeError(f"p is {p!r}, expected 1 or 2")
    if len(operand(input).shape) not in (1, 2):
        raise ShapeError(f"input has shape {operand(input).shape}, expected (C,) or (N, C)")
    rows, labels, shape = rows_and_labels(input, target, None)
    weight = class_weight(weight, rows)
    own = labels[:, None] == np.arange(rows.shape[1], like=labels)
    picked = take_along_axis(rows, labels[:, None], 1)
    losses = where(own, 0.0, relu(number(margin, "margin") - picked + rows))
    losses = sum(losses if p == 1 else square(losses), 1) / max(rows.shape[1], 1)
    return reduced(reshape(losses if weight is None else losses * weight[labels], shape), reduction)


# ---------------------------------------------------------------------- pairs and triples


@named
def margin_ranking_loss(input1, input2, target, margin=0.0, reduction="mean"):
    """max(0, -y (a - b) + ``margin``): a, ``input1``, shall be above b, ``input2``, where y is 1, below where it is -1.

    >>> tn.margin_ranking_loss([3.0, 3.0], [1.0, 1.0], [1, -1], reduction="none")
    Tensor([0., 2.])
    """
    a, b = of_one_shape(input1, input2, ("input1", "input2"))
    check_floating(a, b)
    a, target = of_one_shape(a, target, ("input1", "target"))
    check_signs(target)
    return reduced(clip(-(target * (a - b)) + number(margin, "margin"), 0.0), reduction)


@named
def cosine_embedding_loss(input1, input2, target, margin=0.0, reduction="mean"):
    """1 - cos where the target is 1, max(0, cos - ``margin``) where it is -1, of the angle between two vectors.

    Vectors ``input1``, ``input2`` (N, D) or (D,), ``target`` (N,) or (). As in PyTorch 1e-12 is added to the squared
    lengths, so the cosine beside a vector of zeros is 0.

    >>> tn.cosine_embedding_loss([[1.0, 0.0], [1.0, 0.0]], [[0.0, 2.0], [2.0, 0.0]], [1, -1], reduction="none")
    Tensor([1., 1.])
    """
    a, b = of_one_shape(input1, input2, ("input1", "input2"))
    check_floating(a, b)
    target = operand(target)
    if len(a.shape) not in (1, 2) or target.shape != a.shape[:-1]:
        raise ShapeError(f"input1 has shape {a.shape}, target {target.shape}, expected (N, D) and (N,), or (D,) and ()")
    check_signs(target)
    cosine = sum(a * b, -1) / sqrt((sum(square(a), -1) + 1e-12) * (sum(square(b), -1) + 1e-12))
    return reduced(where(target == 1, 1.0 - cosine, clip(cosine - number(margin, "margin"), 0.0)), reduction)


@named
def triplet_margin_loss(anchor, positive, negative, margin=1.0, p=2.0, eps=1e-6, swap=False, reduction="mean"):
    """max(0, d(a, p) - d(a, n) + ``margin``): the anchor shall be nearer to the positive than to the negative.

    d(x, y) = ‖x - y + ``eps``‖_p over the last axis. With ``swap`` d(p, n) replaces d(a, n) where it is smaller
    (Balntas et al. 2016). Equal shapes (..., D), the losses (...).

    >>> tn.triplet_margin_loss([[0.0, 0.0]], [[3.0, 4.0]], [[0.0, 3.0]]).round(4)
    Tensor(3.)
    """
    anchor, positive = of_one_shape(anchor, positive, ("anchor", "positive"))
    anchor, negative = of_one_shape(anchor, negative, ("anchor", "negative"))
    if not anchor.shape:
        raise ShapeError("anchor has no axes, expected (..., D)")
    eps, margin = number(eps, "eps"), at_least(margin, "margin", 0)
    near, far = norm(anchor - positive + eps, p, -1), norm(anchor - negative + eps, p, -1)
    if flag(swap, "swap"):
        far = minimum(far, norm(positive - negative + eps, p, -1))
    return reduced(clip(near - far + margin, 0.0), reduction)
