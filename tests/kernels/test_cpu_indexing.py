"""Embeddings and scattered sums of the CPU's kernels against the reference, and in the same order on any threads."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tests.kernels import test_indexing
from tinygrad_notes import kernels
from tinygrad_notes.kernels import cpu, reference
from tinygrad_notes.kernels.cpu import indexing

RNG = np.random.default_rng(0)
any_fixture = hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])


@pytest.fixture
def every_size(monkeypatch):
    """Small inputs too take the kernels, and any work is worth a thread."""
    monkeypatch.setattr(indexing, "SMALL", 0)
    monkeypatch.setattr(indexing, "PER_THREAD", 1)


def normal(shape, dtype, layout="rows"):
    if layout == "every other":
        return RNG.standard_normal((*shape[:-1], 2 * shape[-1])).astype(dtype)[..., ::2]
    x = RNG.standard_normal(shape).astype(dtype)
    return x[::-1] if layout == "reversed" else x


def assert_near(got, wanted, dtype):
    """``wanted`` in float64."""
    assert got.dtype == dtype
    assert got.shape == wanted.shape
    tolerance = 5e-7 if dtype == np.float32 else 1e-14
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance * np.max(np.abs(wanted), initial=1e-30))


layouts = st.sampled_from(["rows", "reversed", "every other"])


@hypothesis.given(
    st.sampled_from([1, 2, 7, 100, 2000]),
    st.sampled_from([0, 1, 3, 8, 9, 31, 64, 200, 1100]),
    st.sampled_from([(), (0,), (1,), (5, 7), (300,)]),
    st.sampled_from([np.int64, np.int32, np.int16, np.uint16, np.uint64]),
    st.sampled_from([np.float32, np.float64]),
    layouts,
)
@any_fixture
def test_embedding(every_size, rows, columns, shape, integer, dtype, layout):
    weight = normal((rows, columns), dtype, layout)
    indices = RNG.integers(-rows if np.dtype(integer).kind == "i" else 0, rows, shape).astype(integer)
    indices = indices[::-1] if indices.ndim else indices
    got = cpu.embedding(weight, indices)
    np.testing.assert_array_equal(got, weight[indices])
    assert got.dtype == dtype
    assert not np.shares_memory(got, weight)
    g = normal((*shape, columns), dtype, layout if shape else "rows")
    before = g.copy()
    assert_near(cpu.embedding_grad(g, indices, rows), reference.embedding_grad(g.astype(float), indices, rows), dtype)
    np.testing.assert_array_equal(g, before)


@hypothesis.given(st.sampled_from(list(test_indexing.INDICES.values())), st.booleans(), st.sampled_from([1, 12]))
@any_fixture
def test_scatter_add(every_size, index, wide, columns):
    dtype = np.float32 if wide else np.float64
    shape = (4, 5, 3, columns)
    if isinstance(index, np.ndarray) and index.dtype.kind == "b" and index.ndim == 3:
        shape = (4, 5, 3)
    values = normal(np.empty(shape)[index].shape, dtype)
    assert_near(cpu.scatter_add(values, index, shape), reference.scatter_add(values.astype(float), index, shape), dtype)


def test_scatter_add_broadcasts_values_and_takes_lists(every_size):
    for index in (
        np.array([[0, 1], [1, -1]]),
        (np.array([0, 2]), [1, 1]),
        (np.array([0, 0]), slice(None), np.int64(1)),
    ):
        places = np.zeros((3, 4, 20))[index]
        values = normal(places.shape[-1:], np.float64)
        assert_near(
            cpu.scatter_add(values, index, (3, 4, 20)), reference.scatter_add(values, index, (3, 4, 20)), np.float64
        )


def test_wrong_indices_are_index_errors(every_size):
    weight, g = normal((5, 30), np.float32), normal((3, 30), np.float32)
    for wrong in (np.array([0, 5, 1]), np.array([0, 1, -6])):
        with pytest.raises(IndexError):
            cpu.embedding(weight, wrong)
        for values, index, shape in (
            (g, wrong, (5, 30)),
            (g, (wrong, np.array([1, 1, 1])), (5, 4, 30)),
            (g[:, 0], wrong, (5,)),
        ):
            with pytest.raises(IndexError):
                cpu.scatter_add(values, index, shape)


@pytest.mark.parametrize("columns", [1, 40, 700])
def test_values_that_are_not_finite_stay_in_their_row(every_size, columns):
    g, indices = normal((60, columns), np.float32), RNG.integers(0, 5, 60)
    g[3], g[4], indices[3], indices[4] = np.inf, np.nan, 1, 2
    found = cpu.embedding_grad(g, indices, 6)
    assert np.isinf(found[1]).all()
    assert np.isnan(found[2]).all()
    assert np.isfinite(found[[0, 3, 4]]).all()
    assert not found[5].any()


@pytest.mark.parametrize(
    ("rows", "columns", "count"), [(3, 300, 500), (1000, 40, 300), (100000, 16, 50), (50, 9, 1000)]
)
def test_threads_give_the_same_bits(every_size, monkeypatch, rows, columns, count):
    weight, g = normal((rows, columns), np.float32), normal((count, columns), np.float32)
    indices = np.minimum(RNG.integers(0, rows, count), RNG.integers(0, rows, count))

    def results():
        return (
            cpu.embedding(weight, indices),
            cpu.embedding_grad(g, indices, rows),
            cpu.scatter_add(g, indices, (rows, columns)),
        )

    many = results()
    for threads in (2, 1, 3, 7):  # more shares than threads are still shares
        monkeypatch.setattr(indexing, "threads_for", lambda work, least, threads=threads: threads)
        for one, other in zip(many, results(), strict=True):
            np.testing.assert_array_equal(one, other)
    assert_near(many[1], reference.embedding_grad(g.astype(float), indices, rows), np.float32)


def test_whole_numbers_are_the_references(every_size):
    g, indices = np.arange(12).reshape(3, 4), np.array([1, 1, 0])
    for got in (cpu.embedding_grad(g, indices, 2), cpu.scatter_add(g, indices, (2, 4))):
        np.testing.assert_array_equal(got, [g[2], g[0] + g[1]])
        assert got.dtype == g.dtype


@pytest.fixture
def chosen():
    with kernels.use_kernels("cpu"):
        yield


@pytest.mark.usefixtures("chosen", "every_size")
class TestAsTheReference:
    """The reference's own tests, on these kernels."""


for _name, _test in vars(test_indexing).items():
    if _name.startswith("test_"):
        setattr(TestAsTheReference, _name, staticmethod(_test))
