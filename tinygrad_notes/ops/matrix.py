"""Linear algebra: outer, bmm, solve, inv, det, slogdet, cholesky, eigh, svd. Matrices are the last two axes.

Gradients: Giles 2008, "Collected matrix derivative results for forward and reverse mode algorithmic differentiation"
(solve, inv, det); Murray 2016, arXiv:1602.07527 (cholesky); Townsend 2016, "Differentiating the singular value
decomposition" (svd). They are written in ops, so every order exists. What LAPACK cannot decompose raises ShapeError; a
gradient that does not exist raises GradientError.
"""

from __future__ import annotations

import numpy as np

from tinygrad_notes.errors import GradientError, ShapeError
from tinygrad_notes.explain import named
from tinygrad_notes.ops.arguments import flag
from tinygrad_notes.ops.comparison import where
from tinygrad_notes.ops.diagonals import tril
from tinygrad_notes.ops.linalg import matmul
from tinygrad_notes.ops.reduction import sum
from tinygrad_notes.ops.shape import expand_dims, operand, squeeze, swapaxes
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import Tensor, as_floating


@named
def outer(a, b):
    """a[i] b[j] of two vectors: shape (n, m).

    >>> tn.outer([1, 2], [10, 20, 30])
    Tensor([[10, 20, 30],
            [20, 40, 60]])
    """
    a, b = operand(a), operand(b)
    if len(a.shape) != 1 or len(b.shape) != 1:
        raise ShapeError(f"a has shape {tuple(a.shape)}, b {tuple(b.shape)}, expected (n,) and (m,)")
    return expand_dims(a, 1) * b


@named
def bmm(a, b):
    """The products of two batches of matrices, (batch, n, k) and (batch, k, m); nothing broadcasts (see matmul).

    >>> tn.bmm(np.ones((8, 2, 5)), np.ones((8, 5, 3))).shape
    (8, 2, 3)
    """
    a, b = operand(a), operand(b)
    if len(a.shape) != 3 or len(b.shape) != 3 or a.shape[0] != b.shape[0] or a.shape[2] != b.shape[1]:
        raise ShapeError(f"a has shape {tuple(a.shape)}, b {tuple(b.shape)}, expected (batch, n, k) and (batch, k, m)")
    return matmul(a, b)


def _check_square(a):
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ShapeError(f"a has shape {tuple(a.shape)}, expected square matrices (..., n, n)")


def _lapack(function, *arrays, why, **options):
    """``function`` of NumPy; where it gives up, ShapeError says ``why``."""
    try:
        return function(*arrays, **options)
    except np.linalg.LinAlgError:
        raise ShapeError(why) from None


def _t(a):
    return swapaxes(a, -1, -2)


def _column(a):
    """A number per matrix, beside the matrix."""
    return expand_dims(expand_dims(a, -1), -1)


def _bare(a):
    return a.data if type(a) is Tensor else a


# ---------------------------------------------------------------------- solving


@op
def solve_(a: Array, b: Array):
    _check_square(a)
    if b.ndim < 2 or b.shape[-2] != a.shape[-1]:
        raise ShapeError(f"a has shape {tuple(a.shape)}, b {tuple(b.shape)}, expected (..., n, n) and (..., n, k)")
    value = _lapack(np.linalg.solve, *as_floating(a, b), why="a is singular, so AX = B has no single solution")
    return value, lambda g, a, y: _solve_grads(g, a, y)


def _solve_grads(g, a, y):
    d_b = solve_(_t(a), g)
    return -matmul(d_b, _t(y)), d_b


@named
def solve(a, b):
    """The X with AX = B: a (..., n, n), b (..., n, k), or (n,) for one vector. Leading axes broadcast.

    dB = A⁻ᵀ dX, dA = -dB Xᵀ. A singular A raises ShapeError.

    >>> a = [[2.0, 0.0], [1.0, 1.0]]
    >>> x = tn.solve(a, [4.0, 5.0])
    >>> x.round(4), tn.matmul(a, x).round(4)
    (Tensor([2., 3.]), Tensor([4., 5.]))
    """
    b = operand(b)
    if len(b.shape) == 1:
        return squeeze(solve_(a, expand_dims(b, -1)), -1)
    return solve_(a, b)


@op
def inv(a: Array):
    """A⁻¹, a (..., n, n). dA = -A⁻ᵀ dY A⁻ᵀ. A singular A raises ShapeError; solve is faster and more exact than inv.

    >>> tn.inv([[2.0, 1.0], [1.0, 1.0]]).round(4)
    Tensor([[ 1., -1.],
            [-1.,  2.]])
    >>> tn.inv([[1.0, 1.0], [1.0, 1.0]])
    Traceback (most recent call last):
        ...
    tinygrad_notes.errors.ShapeError: inv: a is singular, so it has no inverse
    """
    _check_square(a)
    return (
        _lapack(np.linalg.inv, as_floating(a), why="a is singular, so it has no inverse"),
        lambda g, y: -matmul(_t(y), matmul(g, _t(y))),
    )


def _inverse_transposed(a, why):
    try:
        return _t(inv(a))
    except ShapeError:
        raise GradientError(why) from None


# ---------------------------------------------------------------------- determinants


@op
def det(a: Array):
    """The determinant, a (..., n, n).

    Its derivative is the matrix of cofactors, det(A) A⁻ᵀ, which exists for a singular A too; the second derivative is
    computed through A⁻¹ and raises GradientError there.

    >>> tn.det([[2.0, 1.0], [0.0, 4.0]]).round(4)
    Tensor(8.)
    >>> tn.value_and_grad(tn.det)([[1.0, 2.0], [2.0, 4.0]])[1].round(4)
    Tensor([[ 4., -2.],
            [-2.,  1.]])
    """
    _check_square(a)
    return np.linalg.det(as_floating(a)), lambda g, a: _column(g) * cofactors(a)


@op
def cofactors(a: Array):
    """det(A) A⁻ᵀ without the inverse: with A = USVᵀ it is det(U) det(V) U C Vᵀ, C the products of the other s."""
    u, s, vh = _lapack(np.linalg.svd, as_floating(a), why="the singular values of a do not converge")
    others = np.ones_like(s)
    others[..., 1:] = np.cumprod(s[..., :-1], axis=-1)
    others[..., :-1] *= np.flip(np.cumprod(np.flip(s[..., 1:], -1), axis=-1), -1)
    sign = np.sign(np.linalg.det(u) * np.linalg.det(vh))
    return sign[..., None, None] * np.matmul(u * others[..., None, :], vh), lambda g, a, y: _cofactors_grad(g, a, y)


def _cofactors_grad(g, a, y):
    x = _inverse_transposed(a, "det: a is singular, where the second derivative is not computed")
    return _column(sum(sum(g * y, -1), -1)) * x - matmul(y, matmul(_t(g), x))


@op
def slogdet(a: Array):
    """The sign of the determinant and the logarithm of its size, (sign, log|det A|), which cannot overflow.

    d log|det A| = A⁻ᵀ; the sign has no gradient. A singular A gives (0, -inf), and GradientError in backward.

    >>> sign, size = tn.slogdet(np.eye(100) * 1e10)
    >>> sign, size.round(2)
    (Tensor(1., dtype=float64), Tensor(2302.59, dtype=float64))
    """
    _check_square(a)
    sign, size = np.linalg.slogdet(as_floating(a))
    return (
        (sign, size),
        lambda g, a: (
            _column(g[1])
            * _inverse_transposed(a, "slogdet: a is singular, where log|det a| is -inf and has no gradient")
        ),
    )


# ---------------------------------------------------------------------- decompositions


def _symmetric_part(a):
    _check_square(a)
    x = as_floating(a)
    return (x + np.swapaxes(x, -1, -2)) * 0.5


@op
def cholesky(a: Array):
    """The lower triangular L with LLᵀ = A, a (..., n, n) symmetric and positive definite (else ShapeError).

    Of an A that is not symmetric the symmetric part, (A + Aᵀ)/2, counts. dA = L⁻ᵀ Φ(Lᵀ dL) L⁻¹ made symmetric, Φ the
    lower triangle with half the diagonal (Murray 2016, arXiv:1602.07527).

    >>> tn.cholesky([[4.0, 2.0], [2.0, 5.0]])
    Tensor([[2., 0.],
            [1., 2.]])
    """
    value = _lapack(np.linalg.cholesky, _symmetric_part(a), why="a is not positive definite")
    return value, lambda g, y: _cholesky_grad(g, y)


def _cholesky_grad(g, y):
    n, upper = y.shape[-1], _t(y)
    along = np.arange(n, like=_bare(y))
    halved = where(along[:, None] == along, 0.5, np.ones_like(_bare(y), shape=(n, n)))
    inside = tril(matmul(upper, tril(g))) * halved
    d = solve_(upper, _t(solve_(upper, inside)))
    return (d + _t(d)) * 0.5


@op
def eigh(a: Array):
    """Eigenvalues (..., n), ascending, and eigenvectors, the columns of (..., n, n), of symmetric matrices: A = V W Vᵀ.

    Of an A that is not symmetric the symmetric part, (A + Aᵀ)/2, counts. The sign of an eigenvector is LAPACK's choice,
    on which no result should depend. dA = V (dW + F∘(Vᵀ dV)) Vᵀ made symmetric, F[i,j] = 1 / (w[j] - w[i]), 0 on the
    diagonal (Giles 2008). Where eigenvalues are equal their vectors may be turned in their plane: a result that is not
    the same for all of them has no gradient, and raises GradientError, as every second derivative that passes there.

    >>> a = tn.tensor([[2.0, 1.0], [1.0, 2.0]])
    >>> values, vectors = tn.eigh(a)
    >>> values.round(4), np.allclose(vectors * values @ vectors.T, a, atol=1e-5)
    (Tensor([1., 3.]), True)
    """
    values, vectors = _lapack(np.linalg.eigh, _symmetric_part(a), why="the eigenvalues of a do not converge")
    return (values, vectors), lambda g, y: _eigh_grad(g, y)


def _eigh_grad(g, y):
    (d_w, d_v), (w, v) = g, y
    along = np.arange(w.shape[-1], like=_bare(w))
    diagonal = along[:, None] == along
    alike = _alike(_bare(w))
    inner = matmul(_t(v), d_v)
    turned = inner - _t(inner)
    pairs = np.logical_and(alike, np.logical_not(diagonal))
    if bool(pairs.any()):
        apart = _bare(d_w)[..., None, :] - _bare(d_w)[..., :, None]
        if _counts(turned, pairs, inner, d_v) or _counts(apart, pairs, d_w, d_w):
            raise GradientError(
                "eigh: two eigenvalues are equal, so their vectors may be turned in their plane, and what depends on "
                "one of them has no gradient"
            )
    middle = turned * _over(_gaps(w, -1.0), alike) * 0.5 + where(diagonal, expand_dims(d_w, -2), 0.0)
    return matmul(v, matmul(middle, _t(v)))


def _gaps(s, sign):
    """s[j] + sign s[i], at [i, j]."""
    return expand_dims(s, -2) + expand_dims(s, -1) * sign


def _over(gaps, mask):
    """1 / gaps, 0 where ``mask``."""
    return where(mask, 0.0, 1.0 / where(mask, 1.0, gaps))


def _rounding(s):
    """What counts as zero beside the values ``s``: their error, n ε max|s|, with an axis for each of a pair."""
    if not s.shape[-1]:
        return np.zeros_like(s, shape=(*s.shape[:-1], 1, 1))
    return np.max(np.abs(s), axis=-1)[..., None, None] * (np.finfo(s.dtype).eps * s.shape[-1])


def _alike(s):
    """Whether s[i] and s[j] are equal up to rounding."""
    return np.abs(s[..., None, :] - s[..., :, None]) <= _rounding(s)


def _counts(part, where_, whole, given):
    """Whether the gradient ``given`` has a ``part`` that is not zero at ``where_``, beside the size of ``whole``.

    On the tape every part counts, since its derivative would.
    """
    if type(given) is Tensor and given.node is not None:
        return True
    part, whole = np.abs(_bare(part)), np.abs(_bare(whole))
    if not whole.size:
        return False
    limit = np.max(whole) * (float(np.finfo(part.dtype).eps) * 100 * max(part.shape[-1], 1))
    return bool(np.any(np.logical_and(part > limit, where_)))


@op
def svd_(a: Array, full_matrices):
    if a.ndim < 2:
        raise ShapeError(f"a has shape {tuple(a.shape)}, expected (..., n, m)")
    u, s, vh = _lapack(
        np.linalg.svd, as_floating(a), full_matrices=full_matrices, why="the singular values of a do not converge"
    )
    return (u, s, vh), lambda g, y: _svd_grad(g, y)


@named
def svd(a, full_matrices=True):
    """A = U diag(s) Vᵀ: (U, s, Vᵀ) of a (..., n, m).

    U (..., n, n), s (..., k) descending, Vᵀ (..., m, m), k = min(n, m). ``full_matrices=False``: U (..., n, k),
    Vᵀ (..., k, m). Signs of singular vectors are LAPACK's choice, on which no result should depend. Gradient: Townsend
    2016, with

        (X s[j] + s[i] Y) / (s[j]² - s[i]²)  as  ((X + Y) / (s[j] - s[i]) + (X - Y) / (s[j] + s[i])) / 2.

    GradientError where it does not exist: for vectors of equal singular values, of zero ones where their plane is not
    fixed, and for the columns of U and V that only ``full_matrices`` has. A singular value of 0 itself has the
    subgradient 0. Second derivatives raise it wherever singular values are equal, if the gradient varies there.

    >>> a = tn.tensor([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]])
    >>> u, s, vh = tn.svd(a, full_matrices=False)
    >>> s.round(4), u.shape, vh.shape, np.allclose(u * s @ vh, a, atol=1e-5)
    (Tensor([4., 3.]), (3, 2), (2, 2), True)
    >>> nuclear_grad = tn.value_and_grad(lambda a: tn.svd(a)[1].sum())(a)[1]
    >>> np.allclose(nuclear_grad, u @ vh, atol=1e-5)
    True
    """
    return svd_(a, flag(full_matrices, "full_matrices"))


def _svd_grad(g, y):
    (d_u, d_s, d_vh), (u, s, vh) = g, y
    n, m, k = u.shape[-2], vh.shape[-1], s.shape[-1]
    beyond = False
    if u.shape[-1] > k:
        beyond = _counts(d_u[..., k:], True, d_u, d_u)
        u, d_u = u[..., :k], d_u[..., :k]
    if vh.shape[-2] > k:
        beyond = beyond or _counts(d_vh[..., k:, :], True, d_vh, d_vh)
        vh, d_vh = vh[..., :k, :], d_vh[..., :k, :]
    if beyond:
        raise GradientError("svd: the columns that only full_matrices=True has are not unique and have no gradient; "
                            "use full_matrices=False")  # fmt: skip
    size = _bare(s)
    along = np.arange(k, like=size)
    diagonal = along[:, None] == along
    alike, zero = _alike(size), size <= _rounding(size)[..., 0]
    both_zero = np.logical_and(zero[..., None, :], zero[..., :, None])
    inner_u, inner_v = matmul(_t(u), d_u), matmul(vh, _t(d_vh))
    x, y_ = inner_u - _t(inner_u), inner_v - _t(inner_v)
    apart = np.logical_not(diagonal)
    equal, both_zero = np.logical_and(alike, apart), np.logical_and(both_zero, apart)
    if bool(equal.any()):
        _refuse_equal(x, y_, (inner_u, inner_v), g, equal, both_zero)
    middle = ((x + y_) * _over(_gaps(s, -1.0), np.logical_or(alike, diagonal))
              + (x - y_) * _over(_gaps(s, 1.0), np.logical_or(both_zero, diagonal))) * 0.5  # fmt: skip
    middle = middle + where(diagonal, expand_dims(where(zero, 0.0, d_s), -2), 0.0)
    total = matmul(u, matmul(middle, vh))
    inverse = _over(s, zero)
    if n > k:
        outside = d_u - matmul(u, inner_u)
        _refuse_zero(outside, zero[..., None, :], d_u)
        total = total + matmul(outside * expand_dims(inverse, -2), vh)
    if m > k:
        outside = d_vh - matmul(_t(inner_v), vh)
        _refuse_zero(outside, zero[..., :, None], d_vh)
        total = total + matmul(u * expand_dims(inverse, -2), outside)
    return total


def _refuse_equal(x, y_, inner, g, equal, both_zero):
    """GradientError where a result depends on which vectors stand for equal singular values."""
    d_u, d_s, d_vh = g
    whole = np.abs(_bare(inner[0])) + np.abs(_bare(inner[1]))
    apart = _bare(d_s)[..., None, :] - _bare(d_s)[..., :, None]
    if (
        any(_counts(x + y_, equal, whole, d) or _counts(x - y_, both_zero, whole, d) for d in (d_u, d_vh))
        or _counts(apart, np.logical_and(equal, np.logical_not(both_zero)), d_s, d_s)
    ):  # fmt: skip
        raise GradientError(
            "svd: two singular values are equal, so their vectors may be turned in their plane, and what depends on "
            "one of them has no gradient"
        )


def _refuse_zero(outside, zero, given):
    """GradientError where a result depends on the vectors of a singular value of 0, which no value of A fixes."""
    if bool(zero.any()) and _counts(outside, zero, given, given):
        raise GradientError("svd: a singular value is 0, so its vectors are not unique and have no gradient")
