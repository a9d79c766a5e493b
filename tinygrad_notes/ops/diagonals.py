"""Diagonals and triangles of matrices."""

from __future__ import annotations

import builtins

import numpy as np

from tinygrad_notes.errors import ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.ops.arguments import count
from tinygrad_notes.ops.reduction import sum
from tinygrad_notes.ops.shape import operand, single_axis
from tinygrad_notes.registry import Array, op

LEAST = -(2**31)  # diagonals below the main one have negative numbers


@op
def tril(a: Array, k=0):
    """The last two axes' lower triangle: what is above the ``k``-th diagonal becomes 0, and gets no gradient.

    >>> tn.tril([[1, 2], [3, 4]])
    Tensor([[1, 0],
            [3, 4]])
    """
    _check_matrices(a)
    k = count(k, "k", LEAST)
    return np.tril(a, k), lambda g: tril(g, k)


@op
def triu(a: Array, k=0):
    """The last two axes' upper triangle: what is below the ``k``-th diagonal becomes 0, and gets no gradient.

    >>> tn.triu([[1, 2], [3, 4]], k=1)
    Tensor([[0, 2],
            [0, 0]])
    """
    _check_matrices(a)
    k = count(k, "k", LEAST)
    return np.triu(a, k), lambda g: triu(g, k)


def _check_matrices(a):
    if a.ndim < 2:
        raise ShapeError(f"a has shape {tuple(a.shape)}, expected (..., n, m)")


@op
def _diagonal(a: Array, offset, axis1, axis2):
    shape = a.shape
    return np.diagonal(a, offset, axis1, axis2).copy(), lambda g: _on_diagonal(g, shape, offset, axis1, axis2)


@op
def _on_diagonal(d: Array, shape, offset, axis1, axis2):
    """Zeros of ``shape`` with the last axis of ``d`` on a diagonal of two axes: the transpose of reading it."""
    others = tuple(n for i, n in enumerate(shape) if i not in (axis1, axis2))
    matrices = np.zeros_like(d, shape=(*others, shape[axis1], shape[axis2]))
    along = np.arange(d.shape[-1], like=d)
    matrices[..., along - builtins.min(offset, 0), along + builtins.max(offset, 0)] = d
    return np.moveaxis(matrices, (-2, -1), (axis1, axis2)), lambda g: _diagonal(g, offset, axis1, axis2)


@named
def diagonal(a, offset=0, axis1=0, axis2=1):
    """The elements a[..., i, i + ``offset``] of two axes, as the last axis of the result; a copy.

    NumPy's and PyTorch's default axes are the first two; ``axis1=-2, axis2=-1`` for the matrices of a batch.

    >>> tn.diagonal([[1, 2], [3, 4]])
    Tensor([1, 4])
    >>> tn.diagonal(np.zeros((8, 3, 5)), axis1=-2, axis2=-1).shape
    (8, 3)
    """
    a, offset = operand(a), count(offset, "offset", LEAST)
    n = len(a.shape)
    if n < 2:
        raise ShapeError(f"a has shape {tuple(a.shape)}, expected at least two axes")
    axis1, axis2 = single_axis(axis1, n, "diagonal"), single_axis(axis2, n, "diagonal")
    if axis1 == axis2:
        raise ShapeError(f"axis1 and axis2 are both {axis1}, expected two different axes")
    return _diagonal(a, offset, axis1, axis2)


@named
def diag(a, k=0):
    """The ``k``-th diagonal of a matrix; of a 1-D ``a`` the square matrix with ``a`` there and zeros elsewhere.

    >>> tn.diag([1, 2])
    Tensor([[1, 0],
            [0, 2]])
    >>> tn.diag([[1, 2], [3, 4]], k=1)
    Tensor([2])
    """
    a, k = operand(a), count(k, "k", LEAST)
    if len(a.shape) == 2:
        return _diagonal(a, k, 0, 1)
    if len(a.shape) != 1:
        raise ShapeError(f"a has shape {tuple(a.shape)}, expected one or two axes; see diagonal")
    n = a.shape[0] + builtins.abs(k)
    return _on_diagonal(a, (n, n), k, 0, 1)


@named
def trace(a, offset=0, axis1=0, axis2=1):
    """Σ a[..., i, i + ``offset``] of two axes: the sum of :func:`diagonal`.

    >>> tn.value_and_grad(tn.trace)([[1.0, 2.0], [3.0, 4.0]])
    (Tensor(5.), Tensor([[1., 0.],
            [0., 1.]]))
    """
    return sum(diagonal(a, offset, axis1, axis2), -1)
