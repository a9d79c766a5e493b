"""Embeddings and scattered sums of the CUDA kernels against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.cuda_on_cpu import stand_in
from tests.cuda_on_cpu.stand_in import assert_caught
from tests.kernels.test_cpu_indexing import assert_near, normal
from tests.kernels.test_indexing import INDICES
from tinygrad_notes.kernels import cuda, reference

RNG = np.random.default_rng(0)


def check(rows: int, columns: int, indices: Any, dtype: Any, layout: str = "rows") -> None:
    weight = normal((rows, columns), dtype, layout)
    got = cuda.embedding(weight, indices)
    np.testing.assert_array_equal(got, weight[indices])
    assert got.dtype == dtype
    assert not np.shares_memory(got, weight)
    g = normal((*indices.shape, columns), dtype, layout if indices.ndim else "rows")
    before = g.copy()
    slopes = cuda.embedding_grad(g, indices, rows)
    assert_near(slopes, reference.embedding_grad(g.astype(float), indices, rows), dtype)
    np.testing.assert_array_equal(slopes, cuda.embedding_grad(g, indices, rows))  # twice the same bits
    np.testing.assert_array_equal(g, before)


@pytest.mark.parametrize(
    ("rows", "columns", "shape", "integer", "layout"),
    [
        (1, 1, (), np.int64, "rows"),
        (7, 3, (0,), np.int32, "rows"),
        (5, 0, (3,), np.int32, "rows"),
        (7, 3, (5, 7), np.int16, "reversed"),
        (100, 8, (40,), np.uint64, "every other"),
        (2, 33, (300,), np.int32, "rows"),
        (3, 4, (2, 150), np.int64, "reversed"),
        (2, 1, (700,), np.uint8, "rows"),
        (40, 300, (6,), np.int64, "rows"),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_embedding(order, rows, columns, shape, integer, layout, dtype):
    indices = RNG.integers(-rows if np.dtype(integer).kind == "i" else 0, rows, shape).astype(integer)
    check(rows, columns, indices[::-1] if indices.ndim else indices, dtype, layout)


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
@pytest.mark.parametrize("columns", [1, 12])
def test_scatter_add(order, index, columns):
    dtype = np.float32 if columns == 1 else np.float64
    shape = (4, 5, 3, columns)
    if isinstance(index, np.ndarray) and index.dtype.kind == "b" and index.ndim == 3:
        shape = (4, 5, 3)
    values = normal(np.empty(shape)[index].shape, dtype)
    got = cuda.scatter_add(values, index, shape)
    assert_near(got, reference.scatter_add(values.astype(float), index, shape), dtype)
    np.testing.assert_array_equal(got, cuda.scatter_add(values, index, shape))


def test_scatter_add_broadcasts_values(order):
    for index in (
        np.array([[0, 1], [1, -1]]),
        (np.array([0, 2]), [1, 1]),
        (np.array([2, 0, -1]), 1),
        (np.array([0, 0]), slice(None), np.int64(1)),
    ):
        places = np.zeros((3, 4, 20))[index]
        values = normal(places.shape[-1:], np.float64)
        wanted = reference.scatter_add(values, index, (3, 4, 20))
        assert_near(cuda.scatter_add(values, index, (3, 4, 20)), wanted, np.float64)


def test_many_numbers_add_up_without_drift(order):
    g, indices = RNG.random((20_000, 1), dtype=np.float32), RNG.integers(0, 2, 20_000)
    exact = np.array([[g[indices == i].astype(np.float64).sum()] for i in range(2)])
    for found in (cuda.embedding_grad(g, indices, 2), cuda.scatter_add(g, indices, (2, 1))):
        np.testing.assert_allclose(found, exact, rtol=2e-7)


@pytest.mark.parametrize("columns", [1, 40])
def test_values_that_are_not_finite_stay_in_their_row(order, columns):
    g, indices = normal((600, columns), np.float32), RNG.integers(0, 5, 600)
    g[3], g[4], indices[3], indices[4] = np.inf, np.nan, 1, 2
    found = cuda.embedding_grad(g, indices, 6)
    assert np.isinf(found[1]).all()
    assert np.isnan(found[2]).all()
    assert np.isfinite(found[[0, 3, 4]]).all()
    assert not found[5].any()


def test_wrong_indices_reach_nothing(order):
    weight, wrong = normal((5, 8), np.float32), np.array([0, 5, -6, 1])
    rows = cuda.embedding(weight, wrong)
    np.testing.assert_array_equal(rows[[0, 3]], weight[:2])
    assert np.isnan(rows[1:3]).all()
    g, wanted = normal((4, 8), np.float32), np.zeros((5, 8), np.float32)
    wanted[:2] = g[[0, 3]]
    np.testing.assert_array_equal(cuda.embedding_grad(g, wrong, 5), wanted)
    many = cuda.embedding_grad(np.repeat(g, 100, axis=0), np.repeat(wrong, 100), 5)
    np.testing.assert_allclose(many, 100 * wanted, rtol=1e-5)


def test_whole_numbers_are_the_references():
    g, indices = np.arange(12).reshape(3, 4), np.array([1, 1, 0])
    for got in (cuda.embedding_grad(g, indices, 2), cuda.scatter_add(g, indices, (2, 4))):
        np.testing.assert_array_equal(got, [g[2], g[0] + g[1]])
    np.testing.assert_array_equal(cuda.embedding(g, indices), g[indices])
    assert not stand_in.launches


@pytest.mark.parametrize(
    ("replace", "by"),
    [
        ("__syncthreads();  // all parts are there", ""),
        ("if (begin + FEW >= count || sorted", "if (begin + FEW + 1 >= count || sorted"),
        ("at < FEW ? 0 : at - FEW", "at < FEW ? 0 : at - FEW + 2"),
        ("(begin > 0 && sorted[begin - 1] == row)", "false"),
        ("sorted[middle] < number", "sorted[middle] < number - 1"),
        ("for (int other = 1; other < parts", "for (int other = 2; other < parts"),
        ("of_parts[part * blockDim.x + threadIdx.x] = sum", "of_parts[part + threadIdx.x] = sum"),
        ("readers_of_row * (part + 1) / parts", "readers_of_row * (part + 1) / parts - 1"),
        ("begin + FEW < count && sorted[begin + FEW] == row", "sorted[begin + FEW - 1] == row"),
        ("if (row < 0) row += height;", ""),
    ],
)
def test_a_fault_is_caught(replace, by):
    indices = np.repeat(np.array([-4, 1, 2, 3], np.int32), [64, 65, 70, 65])

    def compare() -> None:
        check(4, 5, indices, np.float32)

    assert_caught(compare, "indexing.cu", replace, by)
