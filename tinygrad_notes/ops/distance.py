"""Lengths and angles between vectors: normalize, cosine_similarity, cdist."""

from __future__ import annotations

from tinygrad_notes.errors import ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.ops.arguments import at_least, number
from tinygrad_notes.ops.comparison import maximum
from tinygrad_notes.ops.reduction import norm, sum
from tinygrad_notes.ops.shape import broadcast_to, expand_dims, operand


@named
def normalize(a, p=2.0, axis=1, eps=1e-12):
    """a / max(‖a‖_p, ``eps``) over ``axis`` (an int or a tuple): vectors of length 1. PyTorch's defaults.

    A vector of zeros stays one, with the gradient g / eps.

    >>> tn.normalize([[3.0, 4.0], [0.0, 0.0]])
    Tensor([[0.6, 0.8],
            [0. , 0. ]])
    """
    a = operand(a)
    return a / maximum(norm(a, number(p, "p"), axis, True), at_least(eps, "eps", 0))


@named
def cosine_similarity(a, b, axis=1, eps=1e-8):
    """a·b / (max(‖a‖, ``eps``) max(‖b‖, ``eps``)) over ``axis``: the cosine of the angle. PyTorch's defaults.

    The operands broadcast first, also along ``axis``. Beside a vector of zeros it is 0.

    >>> tn.cosine_similarity([[1.0, 0.0], [1.0, 1.0]], [[0.0, 2.0], [3.0, 3.0]]).round(4)
    Tensor([0., 1.])
    """
    a, b, eps = operand(a), operand(b), at_least(eps, "eps", 0)
    products = a * b
    if a.shape != b.shape:  # a length along an axis that broadcasts counts the repeated elements
        a, b = broadcast_to(a, products.shape), broadcast_to(b, products.shape)
    lengths = maximum(norm(a, 2, axis), eps) * maximum(norm(b, 2, axis), eps)
    return sum(products, axis) / lengths


@named
def cdist(a, b, p=2.0):
    """All distances ‖a[i] - b[j]‖_p: a (..., n, d), b (..., m, d), result (..., n, m). p > 0, inf, or 0 (differences).

    Computed from the differences, exact where the points are close, in memory n m d. The gradient between equal points
    is 0. Leading axes broadcast.

    >>> tn.cdist([[0.0, 0.0], [3.0, 0.0]], [[0.0, 4.0]])
    Tensor([[4.],
            [5.]])
    >>> tn.cdist([[0.0, 0.0], [3.0, 0.0]], [[0.0, 4.0]], p=1)
    Tensor([[4.],
            [7.]])
    """
    a, b = operand(a), operand(b)
    if len(a.shape) < 2 or len(b.shape) < 2 or a.shape[-1] != b.shape[-1]:
        raise ShapeError(f"a has shape {tuple(a.shape)}, b {tuple(b.shape)}, expected (..., n, d) and (..., m, d)")
    p = number(p, "p")
    if not p >= 0:
        raise ShapeError(f"p is {p}, expected at least 0")
    return norm(expand_dims(a, -2) - expand_dims(b, -3), p, -1)
