import numpy as np
import pytest

from tinygrad_notes import kernels

rng = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 4), (0,), (2, 0)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_embedding(shape, dtype):
    weight = rng.standard_normal((5, 3)).astype(np.float32)
    indices = np.asarray(rng.integers(0, 5, shape), dtype)
    rows = kernels.embedding(weight, indices)
    assert rows.dtype == np.float32
    assert not np.shares_memory(rows, weight)
    np.testing.assert_array_equal(rows, weight[indices])
    g = rng.standard_normal(rows.shape)
    gradient = kernels.embedding_grad(g, indices, 5)
    expected = np.zeros((5, 3))
    for where in np.ndindex(shape):
        expected[indices[where]] += g[where]
    np.testing.assert_allclose(gradient, expected, rtol=1e-14)
    assert kernels.embedding_grad(g.astype(np.float32), indices, 5).dtype == np.float32


def test_embedding_repeated_negative_and_views():
    weight = rng.standard_normal((6, 4))[::-2, ::-1]
    indices = np.array([0, -1, 2, 2, -1, 0])[::-1]
    np.testing.assert_array_equal(kernels.embedding(weight, indices), weight[indices])
    g = rng.standard_normal((6, 8))[:, ::2]
    expected = np.stack([g[[0, 5]].sum(0), np.zeros(4), g[1:5].sum(0)])
    np.testing.assert_allclose(kernels.embedding_grad(g, indices, 3), expected, rtol=1e-13)


@pytest.mark.parametrize(("rows", "size"), [(0, 3), (4, 0)])
def test_embedding_of_nothing(rows, size):
    none = np.zeros((0,), np.int64)
    assert kernels.embedding(np.zeros((rows, size)), none).shape == (0, size)
    assert kernels.embedding_grad(np.zeros((0, size)), none, rows).shape == (rows, size)


INDICES = {
    "int": 1,
    "ints": (1, -2),
    "slice": slice(3, None, -2),
    "slices": (slice(1, 3), ..., None, slice(None, None, 2)),
    "array": np.array([0, 2, 2, -1, 0]),
    "list": [0, 0, 1],
    "arrays": (np.array([[0, 1], [0, 1]]), np.array([2, 3])),
    "array and slice": (slice(None), np.array([1, 1, 4]), slice(None, 2)),
    "array and new axis": (None, np.array([3, 3]), 0),
    "bool": np.arange(60).reshape(4, 5, 3) % 7 == 0,
    "bool rows": np.array([True, False, True, False]),
    "NumPy int": np.int64(2),
    "empty array": np.zeros(0, int),
    "empty slice": slice(2, 2),
}


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_scatter_add(index):
    x = np.arange(60).reshape(4, 5, 3)
    places = x[index]  # which element each value goes to
    values = rng.standard_normal(places.shape)
    before = values.copy()
    total = kernels.scatter_add(values, index, x.shape)
    expected = np.bincount(places.reshape(-1), values.reshape(-1), minlength=60).reshape(x.shape)
    np.testing.assert_allclose(total, expected, rtol=1e-14)
    np.testing.assert_array_equal(values, before)
    assert kernels.scatter_add(values.astype(np.float32), index, x.shape).dtype == np.float32


def test_scatter_add_of_views_and_one_axis():
    values = rng.standard_normal(8)[::-2]
    np.testing.assert_allclose(kernels.scatter_add(values, np.array([1, 1, 1, 1]), (2,)), [0, values.sum()])
    np.testing.assert_array_equal(kernels.scatter_add(np.array(2.5), 1, (3,)), [0, 2.5, 0])
    np.testing.assert_array_equal(kernels.scatter_add(np.ones((2, 2)), ..., (2, 2)), np.ones((2, 2)))


def test_many_float32_rows_add_up_without_drift():
    rng = np.random.default_rng(0)
    g, indices = rng.random((200_000, 1), dtype=np.float32), rng.integers(0, 2, 200_000)
    exact = np.array([[g[indices == i].astype(np.float64).sum()] for i in range(2)])
    for found in (kernels.embedding_grad(g, indices, 2), kernels.scatter_add(g, indices, (2, 1))):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, exact, rtol=2e-7)
