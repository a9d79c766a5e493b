import numpy as np
import pytest
from scipy import special

from tinygrad_notes import kernels

rng = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4), (1, 1), (0, 3), (3, 0), (2, 0, 3), (2, 513)])
def test_values(shape):
    x = 20 * rng.standard_normal(shape)
    for axis in range(-1, len(shape)):
        y, log_y = kernels.softmax(x, axis), kernels.log_softmax(x, axis)
        assert y.shape == log_y.shape == shape
        if x.size:
            np.testing.assert_allclose(y, special.softmax(x, axis), rtol=1e-12)
            np.testing.assert_allclose(log_y, special.log_softmax(x, axis), rtol=1e-12, atol=1e-13)
        for result in (
            kernels.softmax(x.astype(np.float32), axis),
            kernels.softmax_grad(*[x.astype(np.float32)] * 2, axis),
            kernels.log_softmax_grad(np.float32(x * 0.1), np.float32(x * 0.1), axis),
            kernels.log_softmax(x.astype(np.float32), axis),
        ):
            assert result.dtype == np.float32
            assert result.shape == shape
            assert not np.shares_memory(result, x)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_gradients(axis):
    (x, g, d), h = rng.standard_normal((3, 3, 4, 5)), 1e-5
    for value, grad in [(kernels.softmax, kernels.softmax_grad), (kernels.log_softmax, kernels.log_softmax_grad)]:
        numeric = (g * (value(x + h * d, axis) - value(x - h * d, axis))).sum() / (2 * h)
        np.testing.assert_allclose((grad(g, value(x, axis), axis) * d).sum(), numeric, rtol=1e-7)


def test_large_small_and_infinite():
    inf, nan = np.inf, np.nan
    x = np.array([[1e308, 0.0], [-1e308, -1e308], [-inf, 3.0], [-inf, -inf], [inf, 0.0], [nan, 0.0]])
    nans = [[nan, nan]] * 3
    np.testing.assert_array_equal(kernels.softmax(x, 1), [[1, 0], [0.5, 0.5], [0, 1], *nans])
    half = -np.log(2.0)
    expected = [[0, -1e308], [half, half], [-inf, 0], *nans]
    np.testing.assert_array_equal(kernels.log_softmax(x, 1), expected)
    g = np.array([[1.0, 2.0]])
    np.testing.assert_array_equal(kernels.log_softmax_grad(g, np.array([[-inf, 0.0]]), 1), [[1, -1]])


def test_views():
    x = rng.standard_normal((4, 6))
    view = x[::-1, ::-2]
    np.testing.assert_array_equal(kernels.softmax(view, 1), kernels.softmax(view.copy(), 1))
    np.testing.assert_allclose(kernels.log_softmax(x.T, 0), kernels.log_softmax(x, 1).T, rtol=1e-14)


@pytest.mark.parity
def test_parity():
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((3, 4, 5))
    x[0, 1] = -np.inf
    x[1, 2, :2] = -np.inf
    tx = torch.from_numpy(x)
    np.testing.assert_allclose(kernels.softmax(x, -1), torch.softmax(tx, -1).numpy(), rtol=1e-13)
    np.testing.assert_allclose(kernels.log_softmax(x, 1), torch.log_softmax(tx, 1).numpy(), rtol=1e-13, atol=1e-14)
