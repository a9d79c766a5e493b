"""Linear algebra against PyTorch: values, first gradients, and gradients of gradients."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn

torch = pytest.importorskip("torch")
L = torch.linalg

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
BATCH = pytest.mark.parametrize("batch", [(), (2,), (2, 1)], ids=str)


def numbers(*shape, seed=3):
    return np.random.default_rng(seed).standard_normal(shape)


def regular(*batch, n=3):
    return numbers(*batch, n, n) + 3 * np.eye(n)


def symmetric(a):
    return (a + a.mT) / 2


OF_SQUARE = {
    "inv": (tn.inv, L.inv),
    "det": (tn.det, L.det),
    "slogdet": (lambda a: tn.slogdet(a)[1], lambda a: L.slogdet(a)[1]),
    "cholesky": (lambda a: tn.cholesky(symmetric(a)), lambda a: L.cholesky(symmetric(a))),
    "eigenvalues": (lambda a: tn.eigh(symmetric(a))[0], lambda a: L.eigh(symmetric(a))[0]),
    "eigenvectors": (lambda a: tn.eigh(symmetric(a))[1] ** 2, lambda a: L.eigh(symmetric(a))[1] ** 2),
    "singular values": (lambda a: tn.svd(a)[1], lambda a: L.svd(a)[1]),
}


@DTYPES
@BATCH
@pytest.mark.parametrize("name", OF_SQUARE)
def test_of_square_matrices(parity, dtype, batch, name):
    parity.check(*OF_SQUARE[name], regular(*batch), dtype=dtype, tolerance=1e-4 if dtype == "float32" else 1e-10)


@pytest.mark.parametrize("name", OF_SQUARE)
def test_gradients_of_gradients(parity, name):
    ours, theirs = OF_SQUARE[name]
    x = regular()
    parity.compare(
        tn.hessian(lambda a: (ours(a) ** 2 * 0.5).sum() + ours(a).sum(), x),
        torch.autograd.functional.hessian(
            lambda a: (theirs(a) ** 2 * 0.5).sum() + theirs(a).sum(), torch.from_numpy(x)
        ),
        tolerance=1e-8,
    )


@DTYPES
@pytest.mark.parametrize(("a", "b"), [((), (3, 2)), ((), (3,)), ((2,), (2, 3, 1)), ((2, 1), (4, 3, 2))], ids=str)
def test_solve(parity, dtype, a, b):
    parity.check(
        tn.solve,
        L.solve,
        regular(*a),
        numbers(*b, seed=4),
        dtype=dtype,
        tolerance=1e-4 if dtype == "float32" else 1e-10,
    )


@DTYPES
def test_products(parity, dtype):
    parity.check(tn.outer, torch.outer, numbers(3), numbers(4, seed=5), dtype=dtype)
    parity.check(tn.bmm, torch.bmm, numbers(2, 3, 4), numbers(2, 4, 2, seed=6), dtype=dtype)


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4), (2, 4, 3)], ids=str)
def test_svd(parity, shape):
    """Squares of the vectors and U Vᵀ, which no choice of signs changes."""

    def function(svd):
        def of(a):
            u, s, vh = svd(a)
            return [u * u, s, vh * vh, u @ vh]

        return of

    parity.check(
        function(lambda a: tn.svd(a, False)), function(lambda a: L.svd(a, False)), numbers(*shape), dtype="float64"
    )


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_det_of_singular_matrices(parity, rank):
    """The gradient is the matrix of cofactors, which is not 0 at rank n - 1."""
    x = numbers(3, 2)[:, :rank] @ numbers(2, 3, seed=7)[:rank]
    parity.check(tn.det, L.det, x, dtype="float64", floor=1e-3)
