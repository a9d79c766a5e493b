"""Samples of linear algebra. References are cofactors, sums, or another decomposition of NumPy's."""

from __future__ import annotations

import itertools

import numpy as np

from tinygrad_notes.ops import cholesky, eigh, matmul, slogdet, solve, svd
from tinygrad_notes.study.samples.sample import Sample, normal, sample


def _regular(seed: int, *shape: int) -> np.ndarray:
    """Matrices far from singular."""
    n = shape[-1]
    return normal(seed, *shape) + 3 * np.eye(n)


def _singular(seed: int, n: int, rank: int) -> np.ndarray:
    return normal(seed, n, rank) @ normal(seed + 1, rank, n)


def _det(a):
    """Leibniz's sum over permutations."""
    n = a.shape[-1]
    total = np.zeros(a.shape[:-2])
    for permutation in itertools.permutations(range(n)):
        sign = np.linalg.det(np.eye(n)[list(permutation)])
        term = np.ones(a.shape[:-2]) * round(sign)
        for i, j in enumerate(permutation):
            term = term * a[..., i, j]
        total = total + term
    return total


def _inverse(a):
    """Cramer's rule."""
    n = a.shape[-1]
    result = np.zeros(a.shape)
    for i in range(n):
        for j in range(n):
            minor = np.delete(np.delete(a, i, -2), j, -1)
            result[..., j, i] = (-1) ** (i + j) * _det(minor) / _det(a)
    return result


def _solution(a, b):
    return (_inverse(a) @ b[:, None])[..., 0] if b.ndim == 1 else _inverse(a) @ b


def _cholesky(a):
    a = (a + np.swapaxes(a, -1, -2)) / 2
    lower = np.zeros(a.shape)
    for i in range(a.shape[-1]):
        for j in range(i + 1):
            rest = a[..., i, j] - (lower[..., i, :j] * lower[..., j, :j]).sum(-1)
            lower[..., i, j] = np.sqrt(rest) if i == j else rest / lower[..., j, j]
    return lower


def _eigen(a):
    """Eigenvalues, and squares of eigenvectors' components, by the general decomposition."""
    w, v = np.linalg.eig((a + np.swapaxes(a, -1, -2)) / 2)
    order = np.argsort(w, -1)
    return np.take_along_axis(w, order, -1), np.take_along_axis(v, order[..., None, :], -1) ** 2


def _eigh_squares(a):
    w, v = eigh(a)
    return w, v * v


def _eigh_function(a):
    """eᴬ, whose gradient meets values and vectors together."""
    w, v = eigh(a)
    return matmul(v * (w * 0.3).exp()[..., None, :], v.mT)


def _exponential(a):
    a = (a + np.swapaxes(a, -1, -2)) * 0.15
    total = term = np.broadcast_to(np.eye(a.shape[-1]), a.shape)
    for k in range(1, 40):
        term = term @ a / k
        total = total + term
    return total


def _svd_squares(a):
    u, s, vh = svd(a, False)
    return u * u, s, vh * vh


def _svd_reference(a):
    k = min(a.shape[-2:])
    t = np.swapaxes(a, -1, -2)
    left, right = _eigen(a @ t), _eigen(t @ a)
    values = np.sqrt(left[0][..., ::-1][..., :k])
    return left[1][..., ::-1][..., :k], values, np.swapaxes(right[1][..., ::-1][..., :k], -1, -2)


def _polar(a):
    """The nearest orthogonal matrix, U Vᵀ."""
    u, _, vh = svd(a, False)
    return matmul(u, vh)


def _polar_reference(a):
    """A (AᵀA)^(-1/2), the root by the general decomposition."""
    w, v = np.linalg.eig(a.T @ a)
    return a @ (v * w**-0.5) @ np.linalg.inv(v)


def _products() -> list[Sample]:
    return [
        sample("outer", normal(1, 3), normal(2, 2), reference=lambda a, b: a[:, None] * b),
        sample("outer", normal(3, 6)[::-2], normal(4, 1), label="strided", reference=lambda a, b: a[:, None] * b),
        sample("outer", np.zeros(0), normal(5, 2), label="empty", reference=lambda a, b: np.zeros((0, 2))),
        sample(
            "bmm",
            normal(6, 2, 2, 3),
            normal(7, 2, 3, 2),
            reference=lambda a, b: np.array([x @ y for x, y in zip(a, b)]),
        ),
        sample(
            "bmm",
            normal(8, 4, 2, 3)[::-2],
            normal(9, 2, 1, 3).swapaxes(1, 2),
            label="strided",
            reference=lambda a, b: np.array([x @ y for x, y in zip(a, b)]),
        ),
        sample(
            "bmm", np.zeros((0, 2, 3)), np.zeros((0, 3, 1)), label="empty", reference=lambda a, b: np.zeros((0, 2, 1))
        ),
    ]


def _systems() -> list[Sample]:
    shapes = {"": (3, 3), "batch": (2, 2, 2), "one element": (1, 1)}
    samples = []
    for seed, (label, shape) in enumerate(shapes.items()):
        a = _regular(seed, *shape)
        samples += [
            sample("inv", a, label=label, reference=_inverse),
            sample("det", a, label=label, reference=_det),
            sample(
                "slogdet",
                a * np.where(np.arange(shape[-1]) == 0, -1, 1),
                label=label,
                reference=lambda x: (np.sign(_det(x)), np.log(np.abs(_det(x)))),
            ),
            sample("solve", a, normal(seed + 9, shape[-1], 2), label=label, reference=_solution),
            sample("solve", a, normal(seed + 19, shape[-1]), label=f"{label} one vector", reference=_solution),
        ]
    odd = _regular(5, 3, 3)[:, ::-1].T
    return [
        *samples,
        sample("inv", odd, label="strided", reference=_inverse),
        sample("det", odd, label="strided", reference=_det),
        sample(
            "slogdet", odd, label="strided", call=lambda a: slogdet(a)[1], reference=lambda a: np.log(np.abs(_det(a)))
        ),
        sample("solve", odd, normal(6, 4, 3).T[:, ::-2], label="strided", reference=_solution),
        sample(
            "solve", _regular(7, 2, 1, 2, 2), normal(8, 3, 2, 1), label="broadcast", call=solve, reference=_solution
        ),
        sample("det", _singular(9, 3, 2), label="singular", reference=_det, order=1),
        sample("det", np.zeros((2, 2)), label="zeros", reference=_det, order=1),
        sample("inv", np.zeros((0, 2, 2)), label="empty", reference=lambda a: a),
        sample("det", np.zeros((0, 2, 2)), label="empty", reference=lambda a: np.zeros(0)),
        sample(
            "slogdet", np.zeros((0, 2, 2)), label="empty", call=lambda a: slogdet(a)[1], reference=lambda a: np.zeros(0)
        ),
        sample("solve", np.zeros((0, 2, 2)), np.zeros((0, 2, 1)), label="empty", reference=lambda a, b: b),
        sample("det", np.zeros((0, 0)), label="no rows", reference=lambda a: np.ones(()), order=0),
    ]


def _decompositions() -> list[Sample]:
    tall, wide = normal(1, 4, 2), normal(2, 2, 3)
    return [
        sample("cholesky", _regular(3, 3, 3), reference=_cholesky),
        sample("cholesky", _regular(4, 2, 2, 2)[::-1], label="batch, strided", reference=_cholesky),
        sample("cholesky", np.array([[2.0]]), label="one element", reference=np.sqrt),
        sample("cholesky", np.zeros((0, 2, 2)), label="empty", call=cholesky, reference=lambda a: a),
        sample("eigh", normal(5, 3, 3), call=_eigh_squares, reference=_eigen),
        sample("eigh", normal(6, 2, 2, 2)[:, ::-1], label="batch, strided", call=_eigh_squares, reference=_eigen),
        sample("eigh", normal(7, 3, 3), label="exponential", call=_eigh_function, reference=_exponential),
        sample(
            "eigh",
            np.eye(3) * 0.5,
            label="values of equal ones",
            call=lambda a: eigh(a)[0].sum(),
            reference=np.trace,
            order=1,
        ),
        sample("eigh", np.array([[-2.0]]), label="one element", call=_eigh_squares, reference=_eigen),
        sample(
            "eigh", np.zeros((0, 2, 2)), label="empty", call=_eigh_squares, reference=lambda a: (np.zeros((0, 2)), a)
        ),
        sample("svd", normal(8, 3, 3), call=_svd_squares, reference=_svd_reference),
        sample("svd", tall, label="tall", call=_svd_squares, reference=_svd_reference),
        sample("svd", wide[:, ::-1], label="wide, strided", call=_svd_squares, reference=_svd_reference),
        sample("svd", normal(9, 2, 2, 3), label="batch", call=_svd_squares, reference=_svd_reference),
        sample("svd", tall, label="polar", call=_polar, reference=_polar_reference),
        sample(
            "svd", np.eye(3) * 2, label="polar of equal values", call=_polar, reference=lambda a: np.eye(3), order=1
        ),
        sample("svd", tall, label="full", call=lambda a: svd(a)[1], reference=lambda a: _svd_reference(a)[1]),
        sample("svd", np.array([[-2.0]]), label="one element", call=_svd_squares, reference=_svd_reference),
        sample(
            "svd",
            np.zeros((0, 2, 3)),
            label="empty",
            call=_svd_squares,
            reference=lambda a: (np.zeros((0, 2, 2)), np.zeros((0, 2)), np.zeros((0, 2, 3))),
        ),
    ]


SAMPLES = [*_products(), *_systems(), *_decompositions()]
