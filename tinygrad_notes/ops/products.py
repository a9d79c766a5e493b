"""Products over axes and running products, right where factors are zero; running logsumexp.

The usual gradient of a product, product / factor, is 0/0 at a zero. Here every factor gets the product of the others,
from the running products of what stands before and behind it.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_notes.errors import ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.ops.arithmetic import astype, multiply
from tinygrad_notes.ops.exponential import logaddexp
from tinygrad_notes.ops.reduction import kept_axes, sum
from tinygrad_notes.ops.shape import concat, operand, permute_dims, reshape, single_axis
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import float32, int64


def _plan(shape, axis):
    """The order of axes that puts the reduced ones first, their number of elements, and the other sizes."""
    kept = kept_axes(shape, axis)
    reduced = [i for i, m in enumerate(kept) if m == 1]
    others = [i for i, m in enumerate(kept) if m != 1]
    return (*reduced, *others), math.prod(shape[i] for i in reduced), tuple(shape[i] for i in others)


def _prod_in_small_ops(a, axis, keepdims):
    """Halves multiplied with each other until one element is left."""
    axis = tuple(axis) if isinstance(axis, list) else axis
    empty = sum(a, axis, keepdims)
    order, n, rest = _plan(a.shape, axis)
    if n == 0:
        return empty + 1.0
    factors = reshape(permute_dims(a, order), (n, *rest))
    while n > 1:
        half = n // 2
        parts = [multiply(factors[:half], factors[half : 2 * half])]
        factors = concat([*parts, factors[2 * half :]] if n % 2 else parts)
        n -= half
    return reshape(factors, empty.shape)


@op(composite=_prod_in_small_ops)
def prod(a: Array, axis=None, keepdims=False):
    """Π a over ``axis`` (an int, a tuple, or None for all); 1 over nothing. Integers and booleans multiply to int64.

    Every factor gets g times the product of the others, which is right with zeros among them too, to every order.

    >>> tn.prod([[1, 2], [3, 4]], axis=1)
    Tensor([ 2, 12])
    >>> tn.value_and_grad(tn.prod)([2.0, 0.0, 5.0])
    (Tensor(0.), Tensor([ 0., 10.,  0.]))
    """
    axis = tuple(axis) if isinstance(axis, list) else axis
    dtype = None if a.dtype.kind == "f" else int64
    return np.prod(a, axis=axis, dtype=dtype, keepdims=keepdims), lambda g, a: _prod_grad(g, a, axis)


def _prod_grad(g, a, axis):
    """g times the product of the other factors, on bare arrays."""
    order, n, rest = _plan(a.shape, axis)
    factors = a.transpose(order).reshape((n, *rest))
    others = _products_before(factors)
    others[:-1] *= np.flip(np.cumprod(np.flip(factors[1:], 0), axis=0), 0)
    gradient = (others * g.reshape(rest)).reshape([a.shape[i] for i in order])
    back = [0] * len(order)
    for i, axis_ in enumerate(order):
        back[axis_] = i
    return gradient.transpose(back)


def _products_before(factors):
    """For every factor along the first axis the product of those before it."""
    before = np.ones_like(factors)
    before[1:] = np.cumprod(factors[:-1], axis=0)
    return before


def _scan(combine, a, axis):
    """Running results along ``axis``, in log₂ n steps that double the reach (Hillis & Steele 1986)."""
    before, reach = (slice(None),) * axis, 1
    while reach < a.shape[axis]:
        far = combine(a[(*before, slice(reach, None))], a[(*before, slice(None, -reach))])
        a = concat([a[(*before, slice(None, reach))], far], axis)
        reach *= 2
    return a


def _cumprod_in_small_ops(a, axis):
    if axis is None:
        return _scan(multiply, reshape(a, (-1,)), 0)
    return _scan(multiply, a, axis % len(a.shape))


@op(composite=_cumprod_in_small_ops)
def cumprod(a: Array, axis=None):
    """Running products along ``axis`` (None: of the flattened array). Integers multiply to int64.

    d/da[k] is the sum over i >= k of g[i] times the product of all a[j], j <= i, but a[k]: right with zeros too.

    >>> tn.cumprod([1, 2, 3, 4])
    Tensor([ 1,  2,  6, 24])
    >>> tn.value_and_grad(lambda a: tn.cumprod(a).sum())([2.0, 0.0, 5.0])[1]
    Tensor([ 1., 12.,  0.])
    """
    return (
        np.cumprod(a, axis=axis, dtype=None if a.dtype.kind == "f" else int64),
        lambda g, a: _cumprod_grad(g, a, axis),
    )


def _cumprod_grad(g, a, axis):
    """before[k] s[k], where s[k] = g[k] + a[k+1] s[k+1]: a chain of affine maps, joined in log₂ n steps."""
    shape = a.shape
    if axis is None:
        a, axis = a.reshape(-1), 0
    a, total = np.moveaxis(a, axis, 0), np.moveaxis(g, axis, 0).copy()
    factor = np.zeros_like(a)
    factor[:-1] = a[1:]
    reach = 1
    while reach < a.shape[0]:
        total[:-reach] += factor[:-reach] * total[reach:]
        factor[:-reach] = factor[:-reach] * factor[reach:]
        reach *= 2
    return np.moveaxis(_products_before(a) * total, 0, axis).reshape(shape)


@named
def logcumsumexp(a, axis):
    """log Σ eᵃ of the elements up to each one along ``axis``, without overflow. d: the softmax of each beginning.

    Integers become float32. Elements of -inf count as nothing.

    >>> tn.logcumsumexp([1000.0, 1000.0, 1000.0], 0).round(3)
    Tensor([1000.   , 1000.693, 1001.099])
    """
    a = operand(a)
    if len(a.shape) == 0:
        raise ShapeError("a has no axes, expected at least one")
    axis = single_axis(axis, len(a.shape), "logcumsumexp")
    return _scan(logaddexp, a + 0.0 if a.dtype.kind == "f" else astype(a, float32), axis)
