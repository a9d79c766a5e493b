"""Products of matrices: matmul, linear, einsum."""

from __future__ import annotations

import builtins
import math

import numpy as np

from tinygrad_notes import kernels
from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.explain import describe, named
from tinygrad_notes.ops.reduction import sum
from tinygrad_notes.ops.shape import expand_dims, moveaxis, permute_dims, reshape, squeeze
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import Tensor, as_floating, to_array, wrap


@op
def matmul(a: Array, b: Array):
    """The matrix product, NumPy's rules: leading axes broadcast; a 1-D operand gains an axis that the result loses.

    (..., n, k) by (..., k, m) to (..., n, m), else ShapeError. Y = AB: dA = dY Bᵀ, dB = Aᵀ dY.

    >>> tn.matmul([[1, 2], [3, 4]], [1, 1])
    Tensor([3, 7])
    >>> a, b = tn.tensor([[1.0, 2.0]], requires_grad=True), tn.tensor([[3.0], [4.0]])
    >>> tn.grad(a @ b, a)
    Tensor([[3., 4.]])
    >>> tn.matmul(np.zeros((5, 2, 3)), np.zeros((3, 4))).shape
    (5, 2, 4)
    """
    if a.dtype is not b.dtype and "f" in (a.dtype.kind, b.dtype.kind):
        a, b = as_floating(a, b)
    try:
        value = kernels.matmul(a, b)
    except ValueError:
        raise ShapeError(f"a is {describe(a)}, b {describe(b)}, expected (..., n, k) and (..., k, m)") from None
    if a.ndim == 2 == b.ndim:
        return value, lambda g, b: _product_of(g, b.T), lambda g, a: _product_of(a.T, g)
    rows, columns = a.ndim > 1, b.ndim > 1
    return (
        value,
        lambda g, b: _product(
            _as_matrix(g, rows, columns), b.swapaxes(-1, -2) if columns else reshape(b, (1, -1)), rows, True
        ),
        lambda g, a: _product(
            a.swapaxes(-1, -2) if rows else reshape(a, (-1, 1)), _as_matrix(g, rows, columns), True, columns
        ),
    )


def _product_of(a, b):
    """matmul in backward: straight to the kernel at first order, since small networks feel every call."""
    return matmul(a, b) if type(a) is Tensor else kernels.matmul(a, b)


def _as_matrix(g, rows, columns):
    """The gradient of a product, with the axes that 1-D operands lost."""
    if rows and columns:
        return g
    return reshape(g, (*g.shape, 1)) if rows else reshape(g, (*g.shape[:-1], 1, g.shape[-1]) if columns else (1, 1))


def _product(a, b, rows, columns):
    """The product of matrices, without the axis that a 1-D operand does not have."""
    y = _product_of(a, b)
    if rows and columns:
        return y
    return reshape(y, (*y.shape[:-2], y.shape[-1] if columns else y.shape[-2]))


@op
def linear(x: Array, weight: Array, bias: Array | None = None):
    """x Wᵀ + b: x (..., in), weight (out, in), bias (out) or None; result (..., out). PyTorch's layout.

    dx = g W, dW = gᵀx summed over the leading axes, db = Σ g.

    >>> tn.linear([[1.0, 2.0]], weight=[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], bias=[0.0, 0.0, 10.0])
    Tensor([[ 1.,  2., 13.]])
    """
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"x has shape {tuple(x.shape)}, weight {tuple(weight.shape)}, expected (..., in) and (out, in)"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(f"bias has shape {tuple(bias.shape)}, expected {tuple(weight.shape[:1])}")
    floats = as_floating(x, weight, bias)
    return (
        kernels.linear(*floats),
        lambda g, weight: _product_of(g, weight),
        lambda g, x: _product_of(_as_rows(g).T, _as_rows(x)),
        lambda g: g,
    )


def _as_rows(x):
    return x if len(x.shape) == 2 else reshape(x, (-1, x.shape[-1]))


@named
def einsum(subscripts, *operands):
    """Σ of products of elements, as the letters say: ``einsum("bij,bjk->bik", a, b)`` is a batched product of matrices.

    NumPy's and PyTorch's rules: letters that the output lacks are summed; without ``->`` it has the letters that stand
    once, in alphabetical order; a letter twice in one term takes the diagonal; ``...`` stands for axes that
    broadcast. Operands are joined from left to right, each pair by one batched product of matrices.

    >>> tn.einsum("ij,jk->ik", [[1, 2], [3, 4]], [[1, 0], [0, 10]])
    Tensor([[ 1, 20],
            [ 3, 40]])
    >>> tn.einsum("ii", [[1, 2], [3, 4]])
    Tensor(5)
    >>> tn.einsum("...ij,...kj->...ik", np.ones((8, 2, 5)), np.ones((8, 3, 5))).shape
    (8, 2, 3)
    """
    if not isinstance(subscripts, str):
        raise DTypeError(f"einsum: subscripts is {describe(subscripts)}, expected a string such as 'ij,jk->ik'")
    operands = tuple(o if type(o) is Tensor else wrap(to_array(o)) for o in operands)
    terms, output = _parse(subscripts, operands)
    sizes = _letter_sizes(terms, operands)
    if len(set(output)) != len(output) or not set(output) <= set(sizes):
        raise ShapeError(f"einsum: the output of {subscripts!r} repeats a letter, or has one that no operand has")
    parts = [_simplified(term, operand, sizes) for term, operand in zip(terms, operands)]
    term, result = parts[0]
    for i, (other_term, other) in enumerate(parts[1:], start=2):
        needed = set(output).union(*(t for t, _ in parts[i:]))
        term, result = _joined(term, result, other_term, other, needed, sizes)
    dropped = tuple(i for i, letter in enumerate(term) if letter not in output)
    if dropped:
        term, result = "".join(letter for letter in term if letter in output), sum(result, dropped)
    if len(term) < len(output):  # an axis of size one that no operand kept
        result = expand_dims(result, tuple(range(len(term), len(output))))
        term += "".join(letter for letter in output if letter not in term)
    return permute_dims(result, tuple(term.index(letter) for letter in output))


def _parse(subscripts, operands):
    """The terms and the output, the axes of an ellipsis written as digits (the last one "0")."""
    text = subscripts.replace(" ", "")
    left, arrow, output = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise ShapeError(f"einsum: {subscripts!r} has {len(terms)} terms for {len(operands)} operands")
    longest = 0
    for i, (term, operand) in enumerate(zip(terms, operands)):
        letters = term.replace("...", "", 1)
        count = len(operand.shape) - len(letters)
        if not all("a" <= c <= "z" or "A" <= c <= "Z" for c in letters):
            raise ShapeError(f"einsum: the term {term!r} of {subscripts!r} is not made of letters")
        if count < 0 or (count and "..." not in term):
            raise ShapeError(
                f"einsum: the term {term!r} has {len(letters)} letters, its operand shape {tuple(operand.shape)}"
            )
        longest = builtins.max(longest, count)
        terms[i] = term.replace("...", "".join(chr(ord("0") + j) for j in reversed(range(count))))
    digits = "".join(chr(ord("0") + j) for j in reversed(range(longest)))
    if not arrow:
        joined = "".join(terms)
        output = digits + "".join(sorted(c for c in set(joined) if c.isalpha() and joined.count(c) == 1))
    return terms, output.replace("...", digits)


def _letter_sizes(terms, operands):
    sizes = {}
    for term, operand in zip(terms, operands):
        for letter, n in zip(term, operand.shape):
            known = sizes.setdefault(letter, n)
            if known == 1:
                sizes[letter] = n
            elif n not in (1, known):
                raise ShapeError(f"einsum: the letter {letter!r} has size {known} and {n}")
    return sizes


def _simplified(term, operand, sizes):
    """One term without repeated letters, and without axes of size one that broadcast."""
    while len(set(term)) < len(term):
        letter = next(c for c in term if term.count(c) > 1)
        first = term.index(letter)
        second = term.index(letter, first + 1)
        operand = moveaxis(moveaxis(operand, second, 0), first + 1, 0)  # the two equal axes come first
        if operand.shape[0] != operand.shape[1]:
            raise ShapeError(
                f"einsum: the letter {letter!r} has size {operand.shape[0]} and {operand.shape[1]} in one term"
            )
        along = np.arange(operand.shape[0])
        operand = operand[along, along]
        term = letter + term[:first] + term[first + 1 : second] + term[second + 1 :]
    narrow = tuple(i for i, c in enumerate(term) if operand.shape[i] == 1 != sizes[c])
    if narrow:
        operand, term = squeeze(operand, narrow), "".join(c for i, c in enumerate(term) if i not in narrow)
    return term, operand


def _joined(a_term, a, b_term, b, needed, sizes):
    """The product of two terms as one batched product of matrices, summed over what nobody needs any more."""
    a_term, a = _summed(a_term, a, needed | set(b_term))
    b_term, b = _summed(b_term, b, needed | set(a_term))
    shared = [c for c in a_term if c in b_term]
    batch, inner = [c for c in shared if c in needed], [c for c in shared if c not in needed]
    rows, columns = [c for c in a_term if c not in shared], [c for c in b_term if c not in shared]

    def as_matrices(term, x, first, second):
        x = permute_dims(x, tuple(term.index(c) for c in [*batch, *first, *second]))
        return reshape(
            x, (*(sizes[c] for c in batch), math.prod(sizes[c] for c in first), math.prod(sizes[c] for c in second))
        )

    product = matmul(as_matrices(a_term, a, rows, inner), as_matrices(b_term, b, inner, columns))
    letters = [*batch, *rows, *columns]
    return "".join(letters), reshape(product, tuple(sizes[c] for c in letters))


def _summed(term, x, needed):
    axes = tuple(i for i, c in enumerate(term) if c not in needed)
    return ("".join(c for c in term if c in needed), sum(x, axes)) if axes else (term, x)
