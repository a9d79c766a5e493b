"""Reductions, running sums and norms against PyTorch: values and gradients."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn

torch = pytest.importorskip("torch")

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
AXES = pytest.mark.parametrize("axis", [None, 0, -1, (0, 2), (2, 1, 0)], ids=str)
KEPT = pytest.mark.parametrize("keepdims", [False, True])


def numbers(shape=(3, 4, 5)):
    return np.random.default_rng(11).standard_normal(shape)


def torch_norm(order):
    return lambda x, dim, keepdim: torch.linalg.vector_norm(x, order, dim=dim, keepdim=keepdim)


REDUCTIONS = {
    "sum": (tn.sum, torch.sum),
    "mean": (tn.mean, torch.mean),
    "var": (tn.var, lambda x, dim, keepdim: torch.var(x, dim, correction=0, keepdim=keepdim)),
    "var unbiased": (
        lambda x, **k: tn.var(x, correction=1, **k),
        lambda x, dim, keepdim: torch.var(x, dim, keepdim=keepdim),
    ),
    "std": (tn.std, lambda x, dim, keepdim: torch.std(x, dim, correction=0, keepdim=keepdim)),
    "std unbiased": (
        lambda x, **k: tn.std(x, correction=1, **k),
        lambda x, dim, keepdim: torch.std(x, dim, keepdim=keepdim),
    ),
    "max": (tn.max, torch.amax),
    "min": (tn.min, torch.amin),
    "logsumexp": (tn.logsumexp, torch.logsumexp),
    "norm": (tn.norm, torch_norm(2)),
    "norm 1": (lambda x, **k: tn.norm(x, 1, **k), torch_norm(1)),
    "norm 3": (lambda x, **k: tn.norm(x, 3, **k), torch_norm(3)),
    "norm 0.5": (lambda x, **k: tn.norm(x, 0.5, **k), torch_norm(0.5)),
    "norm inf": (lambda x, **k: tn.norm(x, np.inf, **k), torch_norm(np.inf)),
    "norm -inf": (lambda x, **k: tn.norm(x, -np.inf, **k), torch_norm(-np.inf)),
}


@DTYPES
@AXES
@KEPT
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction(parity, dtype, axis, keepdims, name):
    ours, theirs = REDUCTIONS[name]
    axes = (0, 1, 2) if axis is None else axis
    parity.check(
        lambda x: ours(x, axis=axis, keepdims=keepdims),
        lambda x: theirs(x, dim=axes, keepdim=keepdims),
        numbers(),
        dtype=dtype,
    )


@pytest.mark.parametrize("name", ["max", "min"])
@pytest.mark.parametrize("axis", [0, (0, 1)])
def test_ties_share_equally(parity, name, axis):
    ours, theirs = REDUCTIONS[name]
    parity.check(lambda x: ours(x, axis), lambda x: theirs(x, axis), np.round(numbers((6, 5))))


@DTYPES
@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "logsumexp", "norm"])
def test_one_element(parity, dtype, name):
    ours, theirs = REDUCTIONS[name]
    x = numbers((1, 1))
    parity.check(lambda a: ours(a, axis=0), lambda a: theirs(a, dim=0, keepdim=False), x, dtype=dtype)


@pytest.mark.parametrize("name", ["sum", "norm", "logsumexp"])
def test_of_nothing(parity, name):
    ours, theirs = REDUCTIONS[name]
    parity.check(lambda a: ours(a, axis=1), lambda a: theirs(a, dim=1, keepdim=False), np.zeros((3, 0)))


@pytest.mark.parametrize("name", ["norm", "norm 1", "norm 3", "norm inf"])
def test_norm_of_zeros_has_gradient_zero(parity, name):
    ours, theirs = REDUCTIONS[name]
    x = np.zeros((2, 3))
    x[0] = 1.0, -2.0, 3.0
    parity.check(lambda a: ours(a, axis=1), lambda a: theirs(a, dim=1, keepdim=False), x)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "logsumexp"])
def test_not_finite(parity, name, value):
    ours, theirs = REDUCTIONS[name]
    x = numbers((3, 4))
    x[0, 1], x[2] = value, -np.inf
    with np.errstate(invalid="ignore"):
        parity.compare(ours(x, axis=1), theirs(torch.from_numpy(x), dim=1, keepdim=False))


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("axis", [None, 0])
def test_sums_of_integers(parity, dtype, axis):
    x = np.array([[1, 0, 200], [3, 1, 100]]).astype(dtype)
    parity.compare(tn.sum(x, axis), torch.from_numpy(x).sum(axis))


@pytest.mark.parametrize("axis", [None, 0, -1])
@pytest.mark.parametrize("keepdims", [False, True])
def test_argmax_argmin(parity, axis, keepdims):
    """The first of equals. (torch.argmin of the negative is the first too.)"""
    x = np.round(numbers((4, 6)))
    theirs = torch.from_numpy(x)
    parity.compare(
        [tn.argmax(x, axis, keepdims), tn.argmin(x, axis, keepdims)],
        [torch.argmax(theirs, axis, keepdim=keepdims), torch.argmin(theirs, axis, keepdim=keepdims)],
    )


@DTYPES
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_cumsum(parity, dtype, axis):
    parity.check(lambda x: tn.cumsum(x, axis), lambda x: torch.cumsum(x, axis), numbers(), dtype=dtype)


@DTYPES
@pytest.mark.parametrize(
    ("a", "b"),
    [((3, 4), (4, 2)), ((4,), (4, 2)), ((3, 4), (4,)), ((4,), (4,)), ((2, 3, 4), (2, 4, 2)), ((5, 1, 3, 4), (2, 4, 2)),
     ((4,), (2, 4, 3)), ((2, 3, 4), (4,)), ((0, 4), (4, 2)), ((3, 0), (0, 2)), ((64, 48), (48, 32))],
    ids=str,
)  # fmt: skip
def test_matmul(parity, dtype, a, b):
    rng = np.random.default_rng(12)
    parity.check(tn.matmul, torch.matmul, rng.standard_normal(a), rng.standard_normal(b), dtype=dtype)


@DTYPES
@pytest.mark.parametrize("shape", [(3, 4), (4,), (2, 5, 4), (0, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(parity, dtype, shape, bias):
    rng = np.random.default_rng(13)
    operands = rng.standard_normal(shape), rng.standard_normal((2, 4)), rng.standard_normal(2) if bias else None
    parity.check(tn.linear, torch.nn.functional.linear, *operands, dtype=dtype)


@DTYPES
@pytest.mark.parametrize(
    ("subscripts", "shapes"),
    [
        ("ij,jk->ik", ((2, 3), (3, 4))), ("ij,jk", ((2, 3), (3, 4))), ("bij,bjk->bik", ((2, 3, 4), (2, 4, 2))),
        ("ii->i", ((3, 3),)), ("ii", ((3, 3),)), ("ijk->kij", ((2, 3, 4),)), ("i,j->ij", ((3,), (2,))),
        ("ij,ij->", ((2, 3), (2, 3))), ("ij,jk,kl->il", ((2, 3), (3, 2), (2, 4))), ("i,i,i->i", ((3,), (3,), (3,))),
        ("...ij,...jk->...ik", ((2, 2, 3), (2, 3, 2))), ("...ij,...jk", ((2, 1, 2, 3), (2, 3, 2))),
        ("...i,i->...", ((2, 2, 3), (3,))), ("...->", ((2, 3),)), ("bhqd,bhkd->bhqk", ((2, 1, 3, 2), (2, 1, 4, 2))),
        ("ij,ij->ij", ((2, 1), (1, 3))), ("iij->j", ((3, 3, 2),)), ("ba", ((2, 3),)),
    ],
)  # fmt: skip
def test_einsum(parity, dtype, subscripts, shapes):
    rng = np.random.default_rng(14)
    operands = [rng.standard_normal(shape) for shape in shapes]
    parity.check(lambda *o: tn.einsum(subscripts, *o), lambda *o: torch.einsum(subscripts, *o), *operands, dtype=dtype)
