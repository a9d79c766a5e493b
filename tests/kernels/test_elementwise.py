import numpy as np
import pytest
from scipy import special

from tinygrad_notes import kernels

x64 = np.concatenate([np.linspace(-9, 9, 2001), np.geomspace(1e-300, 9, 500), -np.geomspace(1e-300, 9, 500)])


def normal(x):
    return 0.5 * (1 + special.erf(x / np.sqrt(2)))


def tanh_gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


FUNCTIONS = {
    "exp": (kernels.exp, np.exp),
    "tanh": (kernels.tanh, np.tanh),
    "sigmoid": (kernels.sigmoid, special.expit),
    "erf": (kernels.erf, special.erf),
    "gelu": (lambda x: kernels.gelu(x, "none"), lambda x: x * normal(x)),
    "gelu tanh": (lambda x: kernels.gelu(x, "tanh"), tanh_gelu),
    "silu": (kernels.silu, lambda x: x * special.expit(x)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_value(name):
    function, expected = FUNCTIONS[name]
    np.testing.assert_allclose(function(x64), expected(x64), rtol=3e-15, atol=1e-15)
    x32 = x64.astype(np.float32)
    assert function(x32).dtype == np.float32
    np.testing.assert_allclose(function(x32), expected(x32.astype(float)), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_layouts_and_empty(name):
    function, expected = FUNCTIONS[name]
    x = np.random.default_rng(0).standard_normal((4, 6))
    for view in (x[::-1, ::2], x.T, x[:, 1:2], x[:0], np.broadcast_to(x[0], (3, 6)), x[0, 0:1].reshape(())):
        before = view.copy()
        np.testing.assert_allclose(function(view), expected(view), rtol=1e-14, atol=1e-15)
        np.testing.assert_array_equal(view, before)


def test_erf_is_within_1e_15():
    x = x64[x64 != 0]
    assert np.max(np.abs(kernels.erf(x) / special.erf(x) - 1)) < 1e-15


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ends_of_the_range(dtype):
    x = np.array([0, 0, np.nan, 0, 0, 0.0, -0.0], dtype)
    nan, largest = np.nan, np.finfo(dtype).max
    x[[0, 1, 3, 4]] = -np.inf, np.inf, -largest, largest
    np.testing.assert_array_equal(kernels.sigmoid(x), np.array([0, 1, nan, 0, 1, 0.5, 0.5], dtype))
    np.testing.assert_array_equal(kernels.erf(x), np.array([-1, 1, nan, -1, 1, 0, 0], dtype))
    for value in (kernels.silu(x), kernels.gelu(x, "none"), kernels.gelu(x, "tanh")):
        np.testing.assert_array_equal(value, np.array([0, np.inf, nan, 0, largest, 0, 0], dtype))
    g = np.full_like(x, 2)
    for slope in (kernels.silu_grad(g, x), kernels.gelu_grad(g, x, "none"), kernels.gelu_grad(g, x, "tanh")):
        np.testing.assert_array_equal(slope, np.array([0, 2, nan, 0, 2, 1, 1], dtype))
    assert np.signbit(kernels.erf(x)[-1])


@pytest.mark.parametrize(
    ("value", "grad"),
    [
        (kernels.silu, kernels.silu_grad),
        (lambda x: kernels.gelu(x, "none"), lambda g, x: kernels.gelu_grad(g, x, "none")),
        (lambda x: kernels.gelu(x, "tanh"), lambda g, x: kernels.gelu_grad(g, x, "tanh")),
    ],
    ids=["silu", "gelu", "gelu tanh"],
)
def test_derivative(value, grad):
    x, h = np.linspace(-8, 8, 333), 1e-5
    g = np.random.default_rng(1).standard_normal(333)
    np.testing.assert_allclose(grad(g, x), g * (value(x + h) - value(x - h)) / (2 * h), rtol=1e-7, atol=1e-9)
    assert grad(g.astype(np.float32), x.astype(np.float32)).dtype == np.float32


@pytest.mark.parity
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_parity_gelu(approximate):
    torch = pytest.importorskip("torch")
    x = torch.linspace(-8, 8, 99, dtype=torch.float64, requires_grad=True)
    y = torch.nn.functional.gelu(x, approximate=approximate)
    y.sum().backward()
    array = x.detach().numpy()
    np.testing.assert_allclose(kernels.gelu(array, approximate), y.detach().numpy(), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(
        kernels.gelu_grad(np.ones(99), array, approximate), x.grad.numpy(), rtol=1e-13, atol=1e-14
    )
