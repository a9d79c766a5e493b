"""Products, running products, questions, sorting and its kin against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn

torch = pytest.importorskip("torch")

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
AXIS = pytest.mark.parametrize("axis", [0, 1, -1])


def numbers(*shape, seed=11):
    return np.random.default_rng(seed).standard_normal(shape)


def with_zeros(zeros):
    x = numbers(3, 5, 2)
    x[1, :zeros] = 0
    return x


@DTYPES
@AXIS
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_prod(parity, dtype, axis, keepdims, zeros):
    parity.check(
        lambda a: tn.prod(a, axis, keepdims),
        lambda a: torch.prod(a, axis, keepdim=keepdims),
        with_zeros(zeros),
        dtype=dtype,
    )


@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_prod_of_all(parity, zeros):
    parity.check(tn.prod, torch.prod, with_zeros(zeros), dtype="float64")


@DTYPES
@AXIS
@pytest.mark.parametrize("zeros", [0, 1, 2, 4])
def test_cumprod(parity, dtype, axis, zeros):
    parity.check(lambda a: tn.cumprod(a, axis), lambda a: torch.cumprod(a, axis), with_zeros(zeros), dtype=dtype)


@pytest.mark.parametrize("name", ["prod", "cumprod"])
@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
def test_hessian_of_products(parity, name, zeros):
    """Second derivatives with zeros among the factors."""
    x = numbers(4)
    x[:zeros] = 0
    ours = tn.hessian(lambda a: (getattr(tn, name)(a, 0) * (tn.arange(4) + 1.0)).sum(), x)
    theirs = torch.autograd.functional.hessian(
        lambda a: (getattr(torch, name)(a, 0) * (torch.arange(4) + 1.0)).sum(), torch.from_numpy(x)
    )
    parity.compare(ours, theirs)


@DTYPES
@AXIS
def test_logcumsumexp(parity, dtype, axis):
    parity.check(
        lambda a: tn.logcumsumexp(a, axis), lambda a: torch.logcumsumexp(a, axis), numbers(3, 6) * 20, dtype=dtype
    )


@pytest.mark.parametrize("dtype", ["float64", "int64", "bool", "uint8"])
@pytest.mark.parametrize("axis", [None, 0, 1, (0, 1)])
def test_questions(parity, dtype, axis):
    x = np.array([[0, 1, 0], [0, 0, 0], [2, 1, 3]]).astype(dtype)
    y = torch.from_numpy(x).bool()
    parity.compare(
        [tn.any(x, axis), tn.all(x, axis), tn.count_nonzero(x, axis)],
        [torch.any(y, axis), torch.all(y, axis), torch.count_nonzero(y, axis)],
    )


@DTYPES
@AXIS
@pytest.mark.parametrize("descending", [False, True])
def test_sort(parity, dtype, axis, descending):
    """Stable on both sides, so ties agree too."""
    x = np.round(numbers(6, 7) * 2)
    parity.check(
        lambda a: (tn.sort(a, axis, descending), tn.argsort(a, axis, descending)),
        lambda a: tuple(torch.sort(a, stable=True, dim=axis, descending=descending)),
        x,
        dtype=dtype,
    )


@pytest.mark.parametrize("descending", [False, True])
def test_sort_not_finite(parity, descending):
    x = np.array([1.0, np.nan, -np.inf, np.inf, np.nan, 0.0])
    theirs = torch.sort(torch.from_numpy(x), stable=True, descending=descending)
    parity.compare([tn.sort(x, descending=descending), tn.argsort(x, descending=descending)], tuple(theirs))


@DTYPES
@AXIS
@pytest.mark.parametrize("k", [0, 1, 4])
@pytest.mark.parametrize("largest", [False, True])
def test_topk(parity, dtype, axis, k, largest):
    parity.check(
        lambda a: tn.topk(a, k, axis, largest),
        lambda a: tuple(torch.topk(a, k, axis, largest)),
        numbers(5, 6),
        dtype=dtype,
    )


@pytest.mark.parametrize("axis", [0, 1])
def test_median_of_odd_numbers(parity, axis):
    parity.check(lambda a: tn.median(a, axis), lambda a: torch.median(a, axis).values, numbers(5, 7), dtype="float64")


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_searchsorted(parity, side, dtype):
    a, v = np.sort((numbers(9) * 5).astype(dtype)), (numbers(3, 4, seed=2) * 5).astype(dtype)
    parity.compare(tn.searchsorted(a, v, side), torch.searchsorted(torch.from_numpy(a), torch.from_numpy(v), side=side))


@pytest.mark.parametrize("dtype", ["float64", "int64", "uint8", "bool"])
def test_sets_and_places(parity, dtype):
    x = np.round(np.abs(numbers(4, 5)) * 2).astype(dtype)
    theirs = torch.from_numpy(x)
    parity.compare(
        tn.unique(x, return_inverse=True, return_counts=True),
        torch.unique(theirs, return_inverse=True, return_counts=True),
    )
    parity.compare(tn.nonzero(x), torch.nonzero(theirs, as_tuple=True))


def test_bincount(parity):
    x = np.array([3, 1, 3, 0, 1, 3])
    parity.compare(tn.bincount(x, minlength=6), torch.bincount(torch.from_numpy(x), minlength=6))
    w = numbers(6)
    parity.compare(tn.bincount(x, w), torch.bincount(torch.from_numpy(x), torch.from_numpy(w)))


@pytest.mark.parametrize("density", [False, True])
def test_histogram(parity, density):
    x = numbers(100)
    ours = tn.histogram(x, 7, (-2, 2), density=density)
    theirs = torch.histogram(torch.from_numpy(x), 7, range=(-2.0, 2.0), density=density)
    parity.compare([ours[0].astype("float64"), ours[1]], tuple(theirs))
