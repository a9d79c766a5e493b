"""Losses of numbers: robust ones (smooth_l1_loss, huber_loss) and likelihoods of counts and of normal variables.

By PyTorch's names and rules; ``reduction`` is "mean" over all elements, "sum" or "none". Shapes must be equal, as in
mse_loss. PyTorch's ``weight`` does not exist: multiply the losses of ``reduction="none"``.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes import kernels
from tinygrad_notes.errors import ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.ops.arguments import at_least, flag
from tinygrad_notes.ops.arithmetic import abs, astype, square, subtract
from tinygrad_notes.ops.comparison import clip, where
from tinygrad_notes.ops.exponential import exp, log
from tinygrad_notes.ops.loss_arguments import check_floating, check_reduction, fits, of_one_shape, reduced
from tinygrad_notes.ops.shape import expand_dims, operand
from tinygrad_notes.registry import Array, op


@op(elementwise=True)
def huber_(a: Array, delta):
    """a²/2 up to ``delta``, beyond it the tangent."""

    def value(a):
        size = np.abs(a)
        return np.where(size < delta, 0.5 * a * a, delta * (size - 0.5 * delta))

    return kernels.fused(a, value, ()), lambda g, a: g * clip(a, -delta, delta)


@named
def huber_loss(input, target, reduction="mean", delta=1.0):
    """d²/2 where abs(d) < ``delta``, else delta (abs(d) - delta / 2), for d = input - target (Huber 1964).

    Both get gradients, of at most delta. ``delta`` > 0.

    >>> tn.huber_loss([0.5, 3.0], [0.0, 0.0], reduction="none")
    Tensor([0.125, 2.5  ])
    """
    check_reduction(reduction)
    delta = at_least(delta, "delta", 0)
    if not delta:
        raise ShapeError("delta is 0, expected a number above 0")
    return reduced(huber_(_difference(input, target), delta), reduction)


@named
def smooth_l1_loss(input, target, reduction="mean", beta=1.0):
    """d² / (2 beta) where abs(d) < ``beta``, else abs(d) - beta / 2, for d = input - target (Girshick 2015).

    :func:`huber_loss` over beta: its gradients are at most 1. ``beta`` 0 is the absolute error. arXiv:1504.08083.

    >>> tn.smooth_l1_loss([0.5, 3.0], [0.0, 0.0], reduction="none", beta=2.0)
    Tensor([0.0625, 2.    ])
    """
    check_reduction(reduction)
    difference, beta = _difference(input, target), at_least(beta, "beta", 0)
    return reduced(huber_(difference, beta) / beta if beta else abs(difference), reduction)


def _difference(input, target):
    input, target = of_one_shape(input, target)
    check_floating(input, target)
    return subtract(input, target)


def _floating(a, like):
    return a if a.dtype.kind == "f" else astype(a, like.dtype)


@named
def poisson_nll_loss(input, target, log_input=True, full=False, eps=1e-8, reduction="mean"):
    """eˣ - t x, the negative log-likelihood of counts t under Poisson variables of rate eˣ, without log t!.

    Without ``log_input`` the input is the rate itself, and the loss x - t log(x + ``eps``). ``full`` adds Stirling's
    t log t - t + log(2πt) / 2 in place of log t! where t > 1; elsewhere t gets no gradient of it (in PyTorch NaN at 0).

    >>> tn.poisson_nll_loss([0.0, 0.0], [1.0, 2.0], full=True, reduction="none").round(4)
    Tensor([1.    , 1.6518])
    """
    input, target = of_one_shape(input, target)
    eps = at_least(eps, "eps", 0)
    losses = exp(input) - target * input if flag(log_input, "log_input") else input - target * log(input + eps)
    if flag(full, "full"):
        counted = where(target > 1, _floating(target, losses), 1.0)
        stirling = counted * log(counted) - counted + 0.5 * log(2 * math.pi * counted)
        losses = losses + where(target > 1, stirling, 0.0)
    return reduced(losses, reduction)


@named
def gaussian_nll_loss(input, target, var, full=False, eps=1e-6, reduction="mean"):
    """(log v + (x - t)² / v) / 2, the negative log-likelihood of t under normal variables of mean x and variance v.

    ``var`` v >= 0 is a number, has the shape of ``input``, or that shape without its last axis or with sizes of 1; all
    three get gradients (Nix & Weigend 1994). It is raised to at least ``eps``, of which, as in PyTorch, its gradient
    does not know: it is the one at eps, so that a variance that is too small still grows. ``full`` adds log(2π) / 2.

    >>> tn.gaussian_nll_loss([0.0, 1.0], [0.0, 3.0], [1.0, 4.0], reduction="none").round(4)
    Tensor([0.    , 1.1931])
    """
    input, target = of_one_shape(input, target)
    check_floating(input, target)
    var, eps = _floating(operand(var), input if input.dtype.kind == "f" else target), at_least(eps, "eps", 0)
    if var.shape and var.shape != input.shape and var.shape == input.shape[:-1]:
        var = expand_dims(var, -1)
    if (var.shape and len(var.shape) != len(input.shape)) or not fits(var.shape, input.shape):
        raise ShapeError(
            f"var has shape {var.shape}, input {input.shape}, expected that, that without its last axis, or sizes of 1"
        )
    negative = var.data[var.data < 0]
    if negative.size:
        raise ShapeError(f"var has {float(negative[0]):g}, expected variances of at least 0")
    var = var + np.maximum(eps - var.data, 0)
    losses = 0.5 * (log(var) + square(input - target) / var)
    return reduced(losses + 0.5 * math.log(2 * math.pi) if flag(full, "full") else losses, reduction)
