import tracemalloc

import numpy as np
import pytest

from tinygrad_notes import kernels

rng = np.random.default_rng(0)
SHAPES = [
    ((3,), (3,)),
    ((2, 3), (3, 4)),
    ((3,), (3, 4)),
    ((2, 3), (3,)),
    ((5, 2, 3), (3, 4)),
    ((5, 1, 2, 3), (7, 3, 4)),
    ((0, 3), (3, 4)),
    ((2, 0), (0, 4)),
    ((0, 2, 3), (0, 3, 4)),
    ((1, 1), (1, 1)),
]


@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_matmul(a, b):
    a, b = rng.standard_normal(a), rng.standard_normal(b)
    np.testing.assert_allclose(kernels.matmul(a, b), np.matmul(a, b), rtol=1e-13, atol=1e-14)
    result = kernels.matmul(a.astype(np.float32), b.astype(np.float32))
    assert result.dtype == np.float32


def test_matmul_by_one_number_everywhere_needs_no_memory_for_it():
    a = rng.standard_normal((3, 4))
    repeated = np.broadcast_to(a.dtype.type(0.5), (4, 5))
    np.testing.assert_allclose(kernels.matmul(a, repeated), a @ repeated.copy(), rtol=1e-12)
    assert kernels.matmul(a[:, :0], repeated[:0]).tolist() == np.zeros((3, 5)).tolist()
    x = np.ones((1, 2, 1_000_000), np.float32)
    weight = np.broadcast_to(np.float32(2), (1000, 1_000_000))  # 4 GB if it were copied
    tracemalloc.start()
    y = kernels.linear(x, weight, None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (y == 2_000_000).all()
    assert peak < 50_000_000


def test_matmul_of_views():
    a, b = rng.standard_normal((6, 8)), rng.standard_normal((9, 8))
    for left, right in [(a, b.T), (a[::-1, ::2], b.T[::2]), (a[:, ::-1], b.T), (np.broadcast_to(a[0], (4, 8)), b.T)]:
        expected = sum(left[:, k, None] * right[None, k] for k in range(right.shape[0]))
        np.testing.assert_allclose(kernels.matmul(left, right), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("leading", [(), (1,), (5,), (2, 3), (0,), (2, 0, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(leading, bias):
    x, weight = rng.standard_normal((*leading, 4)), rng.standard_normal((3, 4))
    b = rng.standard_normal(3) if bias else None
    expected = np.einsum("...i,oi->...o", x, weight) + (b if bias else 0)
    y = kernels.linear(x, weight, b)
    assert y.shape == (*leading, 3)
    np.testing.assert_allclose(y, expected, rtol=1e-13, atol=1e-14)


def test_linear_of_no_features_is_the_bias():
    y = kernels.linear(np.zeros((2, 5, 0), np.float32), np.zeros((3, 0), np.float32), np.arange(3, dtype=np.float32))
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, np.broadcast_to([0, 1, 2], (2, 5, 3)))


def test_linear_of_views():
    x, weight = rng.standard_normal((4, 3, 5)), rng.standard_normal((5, 2))
    y = kernels.linear(x.transpose(1, 0, 2)[::-1], weight.T, None)
    np.testing.assert_allclose(y, x.transpose(1, 0, 2)[::-1] @ weight, rtol=1e-13)
