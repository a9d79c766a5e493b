"""Repeating, turning, windows, diagonals, selection, segments and distances against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn

torch = pytest.importorskip("torch")
F = torch.nn.functional

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
ROWS = np.array([2, 0, 2, 1])
MASK = np.random.default_rng(1).random((3, 4)) < 0.4


def numbers(*shape, seed=3):
    return np.random.default_rng(seed).standard_normal(shape)


MOVES = {
    "tile": (lambda a: tn.tile(a, (2, 1, 3)), lambda a: torch.tile(a, (2, 1, 3))),
    "tile fewer": (lambda a: tn.tile(a, 2), lambda a: torch.tile(a, (2,))),
    "repeat": (lambda a: tn.repeat(a, 3, 1), lambda a: torch.repeat_interleave(a, 3, 1)),
    "repeat flattened": (lambda a: tn.repeat(a, 2), lambda a: torch.repeat_interleave(a, 2)),
    "repeat each": (
        lambda a: tn.repeat(a, [0, 2, 1], 0),
        lambda a: torch.repeat_interleave(a, torch.tensor([0, 2, 1]), 0),
    ),
    "rot90": (lambda a: tn.rot90(a, 1, (0, 1)), lambda a: torch.rot90(a, 1, (0, 1))),
    "rot90 back": (lambda a: tn.rot90(a, 3, (1, 0)), lambda a: torch.rot90(a, 3, (1, 0))),
    "rot90 twice": (lambda a: tn.rot90(a, -2, (1, 0)), lambda a: torch.rot90(a, -2, (1, 0))),
    "windows": (lambda a: tn.sliding_window_view(a, 2, 1), lambda a: a.unfold(1, 2, 1)),
    "tril": (lambda a: tn.tril(a, -1), lambda a: torch.tril(a, -1)),
    "triu": (lambda a: tn.triu(a, 1), lambda a: torch.triu(a, 1)),
    "diagonal": (lambda a: tn.diagonal(a, 1), lambda a: torch.diagonal(a, 1)),
    "diagonal other axes": (lambda a: tn.diagonal(a, -1, 1, 0), lambda a: torch.diagonal(a, -1, 1, 0)),
    "diag": (lambda a: tn.diag(a, -1), lambda a: torch.diag(a, -1)),
    "trace": (tn.trace, torch.trace),
    "take": (lambda a: tn.take(a, ROWS), lambda a: torch.take(a, torch.from_numpy(ROWS))),
    "index_select": (lambda a: tn.index_select(a, 0, ROWS), lambda a: torch.index_select(a, 0, torch.from_numpy(ROWS))),
    "gather": (
        lambda a: tn.gather(a, 0, np.array([[0, 2, 1], [1, 1, 1]])),
        lambda a: torch.gather(a, 0, torch.tensor([[0, 2, 1], [1, 1, 1]])),
    ),
    "masked_fill": (
        lambda a: tn.masked_fill(a, MASK, -np.inf).exp(),
        lambda a: a.masked_fill(torch.from_numpy(MASK), -np.inf).exp(),
    ),
    "normalize": (tn.normalize, F.normalize),
    "normalize 1": (lambda a: tn.normalize(a, 1, 0), lambda a: F.normalize(a, 1, 0)),
    "normalize inf": (lambda a: tn.normalize(a, np.inf), lambda a: F.normalize(a, np.inf)),
}


@DTYPES
@pytest.mark.parametrize("name", MOVES)
def test_of_a_matrix(parity, dtype, name):
    parity.check(*MOVES[name], numbers(3, 4), dtype=dtype)


@pytest.mark.parametrize("k", [0, 2, -1])
def test_diag_of_a_line(parity, k):
    parity.check(lambda a: tn.diag(a, k), lambda a: torch.diag(a, k), numbers(3))


@pytest.mark.parametrize("indexing", ["xy", "ij"])
def test_meshgrid(parity, indexing):
    parity.check(
        lambda *a: tn.meshgrid(*a, indexing=indexing),
        lambda *a: torch.meshgrid(*a, indexing=indexing),
        numbers(2), numbers(3), numbers(4),
    )  # fmt: skip


def test_masked_fill_by_an_operand(parity):
    mask = torch.from_numpy(MASK)
    parity.check(lambda a, v: tn.masked_fill(a, MASK, v), lambda a, v: a.masked_fill(mask, v), numbers(3, 4), numbers())


@DTYPES
def test_segment_sum(parity, dtype):
    ids = np.array([0, 3, 3, 1, 0])
    parity.check(
        lambda v: tn.segment_sum(v, ids, 5),
        lambda v: torch.zeros(5, 2, dtype=v.dtype).index_add(0, torch.from_numpy(ids), v),
        numbers(5, 2),
        dtype=dtype,
    )


@DTYPES
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_cosine_similarity(parity, dtype, axis):
    parity.check(
        lambda a, b: tn.cosine_similarity(a, b, axis),
        lambda a, b: F.cosine_similarity(a, b, axis),
        numbers(3, 4), numbers(3, 4, seed=4), dtype=dtype,
    )  # fmt: skip


@DTYPES
@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, np.inf])
def test_cdist(parity, dtype, p):
    """Some points are equal: the gradient between them is 0."""
    a, b = numbers(2, 3, 4), numbers(2, 5, 4, seed=5)
    b[:, :2] = a[:, :2]
    exact = "donot_use_mm_for_euclid_dist"
    parity.check(
        lambda x, z: tn.cdist(x, z, p), lambda x, z: torch.cdist(x, z, p, compute_mode=exact), a, b, dtype=dtype
    )


@pytest.mark.parametrize("name", ["normalize", "cosine_similarity"])
def test_zeros(parity, name):
    x = numbers(3, 4)
    x[1] = 0
    if name == "normalize":
        parity.check(tn.normalize, F.normalize, x)
    else:
        parity.check(tn.cosine_similarity, F.cosine_similarity, x, numbers(3, 4, seed=6))
