"""Softmax and its logarithm. Their gradients are ops with fast kernels, differentiable in their turn."""

from __future__ import annotations

from tinygrad_notes import kernels
from tinygrad_notes.ops.exponential import exp
from tinygrad_notes.ops.reduction import sum
from tinygrad_notes.ops.shape import single_axis
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import as_floating


@op
def softmax(x: Array, axis=-1):
    """eˣ / Σ eˣ along ``axis``, without overflow (Bridle 1990). dx = y (g - Σ g y).

    A row of -inf only is NaN; one -inf among numbers is 0.

    >>> tn.softmax([1000.0, 1000.0]), tn.softmax([0.0, -np.inf])
    (Tensor([0.5, 0.5]), Tensor([1., 0.]))
    >>> tn.jacobian(tn.softmax, [0.0, 0.0])
    Tensor([[ 0.25, -0.25],
            [-0.25,  0.25]])
    """
    axis = single_axis(axis, x.ndim, "softmax")
    return kernels.softmax(as_floating(x), axis), lambda g, y: softmax_grad(g, y, axis)


@op
def softmax_grad(g_: Array, p: Array, axis):
    """p (g - Σ g p), the gradient of softmax where its value is p. Linear and self-adjoint in g."""
    return (
        kernels.softmax_grad(*as_floating(g_, p), axis),
        lambda g, p: softmax_grad(g, p, axis),
        lambda g, g_, p: g * (g_ - sum(g_ * p, axis, True)) - g_ * sum(g * p, axis, True),
    )


@op
def log_softmax(x: Array, axis=-1):
    """x - log Σ eˣ along ``axis``: the logarithm of softmax, exact where softmax is too small for a float.

    dx = g - eʸ Σ g. A row of -inf only is NaN; one -inf among numbers stays -inf.

    >>> tn.log_softmax([0.0, 1000.0])
    Tensor([-1000.,     0.])
    >>> tn.value_and_grad(lambda x: -tn.log_softmax(x)[0])([0.0, 0.0])[1]
    Tensor([-0.5,  0.5])
    """
    axis = single_axis(axis, x.ndim, "log_softmax")
    return kernels.log_softmax(as_floating(x), axis), lambda g, y: log_softmax_grad(g, y, axis)


@op
def log_softmax_grad(g_: Array, log_p: Array, axis):
    """g - eˡ Σ g, the gradient of log_softmax where its value is l. Linear in g."""
    return (
        kernels.log_softmax_grad(*as_floating(g_, log_p), axis),
        lambda g, log_p: g - sum(g * exp(log_p), axis, True),
        lambda g, g_, log_p: -g * exp(log_p) * sum(g_, axis, True),
    )
