import itertools
import math

import numpy as np
import pytest

from tinygrad_notes import kernels

rng = np.random.default_rng(0)

# size, kernel, stride, padding, dilation, ceil_mode
CASES = {
    "plain": ((6, 8), (2, 2), (2, 2), (0, 0), (1, 1), False),
    "overlapping": ((7, 9), (3, 3), (2, 2), (0, 0), (1, 1), False),
    "padded": ((7, 6), (3, 2), (2, 3), (1, 1), (1, 1), False),
    "ceil": ((8, 7), (3, 2), (2, 2), (0, 0), (1, 1), True),
    "ceil and padded": ((7, 10), (3, 4), (3, 3), (1, 2), (1, 1), True),
    "ceil drops a window": ((5, 5), (2, 2), (3, 4), (1, 1), (1, 1), True),
    "dilated": ((9, 8), (2, 3), (1, 2), (1, 1), (3, 2), False),
    "dilated, ceil": ((9, 8), (3, 2), (2, 3), (1, 1), (2, 2), True),
    "one window": ((4, 5), (4, 5), (1, 1), (0, 0), (1, 1), False),
    "one element": ((1, 1), (1, 1), (1, 1), (0, 0), (1, 1), False),
    "gaps": ((7, 7), (1, 2), (3, 4), (0, 0), (1, 1), False),
    "sequence": ((9,), (3,), (2,), (1,), (1,), False),
    "ceil, larger than the plane": ((3, 1), (2, 3), (2, 3), (0, 0), (1, 1), True),
    "sequence, ceil": ((8,), (3,), (3,), (1,), (1,), True),
    "sequence, dilated": ((9,), (2,), (3,), (1,), (3,), False),
    "volume": ((4, 5, 6), (2, 3, 2), (2, 1, 3), (1, 1, 0), (1, 1, 1), False),
    "volume, dilated, ceil": ((4, 5, 6), (2, 2, 3), (3, 2, 2), (0, 1, 1), (1, 2, 1), True),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
undilated = pytest.mark.parametrize("case", [c for c in CASES.values() if set(c[4]) == {1}])


def windows(size, kernel, stride, padding, dilation, ceil_mode):
    """Per axis: the (start, positions inside the plane) of each window."""
    axes = []
    for n, k, s, p, d in zip(size, kernel, stride, padding, dilation):
        count = (math.ceil if ceil_mode else math.floor)((n + 2 * p - d * (k - 1) - 1) / s) + 1
        starts = [i * s - p for i in range(count) if not ceil_mode or i * s - p < n]
        axes.append([(a, [a + d * j for j in range(k) if 0 <= a + d * j < n]) for a in starts])
    return axes


def max_pool_loops(x, *geometry):
    axes = windows(x.shape[2:], *geometry)
    y = np.zeros((*x.shape[:2], *map(len, axes)), x.dtype)
    indices = np.zeros(y.shape, np.int32)
    for n, c, *where in np.ndindex(y.shape):
        best = None
        for place in itertools.product(*(axis[i][1] for axis, i in zip(axes, where))):
            value = x[(n, c, *place)]
            if best is None or value > best or (value != value and best == best):
                best, indices[(n, c, *where)] = value, np.ravel_multi_index(place, x.shape[2:])
        y[(n, c, *where)] = best
    return y, indices


def avg_pool_loops(x, kernel, stride, padding, ceil_mode, count_include_pad):
    size = x.shape[2:]
    axes = windows(size, kernel, stride, padding, (1,) * len(size), ceil_mode)
    y = np.zeros((*x.shape[:2], *map(len, axes)), x.dtype)
    for where in np.ndindex(*y.shape[2:]):
        chosen = [axis[i] for axis, i in zip(axes, where)]
        lengths = [len(inside) for _, inside in chosen]
        if count_include_pad:
            lengths = [min(start + k, n + p) - start for (start, _), k, n, p in zip(chosen, kernel, size, padding)]
        window = x[np.ix_(range(x.shape[0]), range(x.shape[1]), *(inside for _, inside in chosen))]
        y[(..., *where)] = window.reshape(*x.shape[:2], -1).sum(axis=2) / math.prod(lengths)
    return y


@cases
@pytest.mark.parametrize("kind", ["plain", "ties", "-inf", "nan"])
def test_max_pool(case, kind):
    size, *geometry = case
    x = rng.standard_normal((2, 3, *size))
    if kind == "ties":
        x = np.round(x)
    if kind == "-inf":
        x[:] = -np.inf
    if kind == "nan":
        x[rng.random(x.shape) < 0.2] = np.nan
    y, indices = kernels.max_pool(x, *geometry)
    expected, expected_indices = max_pool_loops(x, *geometry)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(indices, expected_indices)
    assert indices.dtype == np.int32
    np.testing.assert_array_equal(kernels.max_pool_gather(x, indices), y)


@cases
def test_max_pool_grad(case):
    size, *geometry = case
    x = rng.standard_normal((2, 3, *size))
    y, indices = kernels.max_pool(x, *geometry)
    g = rng.standard_normal(y.shape)
    gradient = kernels.max_pool_grad(g, indices, size)
    expected = np.zeros_like(x)
    for place in np.ndindex(y.shape):
        expected[place[:2]].reshape(-1)[indices[place]] += g[place]
    np.testing.assert_allclose(gradient, expected, rtol=1e-14)
    other = rng.standard_normal(x.shape)
    np.testing.assert_allclose((gradient * other).sum(), (g * kernels.max_pool_gather(other, indices)).sum())


@undilated
@pytest.mark.parametrize("count_include_pad", [True, False])
def test_avg_pool(case, count_include_pad):
    size, kernel, stride, padding, _, ceil_mode = case
    arguments = (kernel, stride, padding, ceil_mode, count_include_pad)
    x = rng.standard_normal((2, 3, *size))
    y = kernels.avg_pool(x, *arguments)
    np.testing.assert_allclose(y, avg_pool_loops(x, *arguments), rtol=1e-13, atol=1e-14)
    g = rng.standard_normal(y.shape)
    gradient = kernels.avg_pool_grad(g, size, *arguments)
    assert gradient.shape == x.shape
    np.testing.assert_allclose((gradient * x).sum(), (y * g).sum(), rtol=1e-11)
    assert gradient.flags.c_contiguous


adaptive = pytest.mark.parametrize(
    ("size", "output"),
    [
        ((6, 8), (3, 4)),
        ((7, 5), (3, 2)),
        ((5, 4), (1, 1)),
        ((2, 3), (5, 3)),
        ((7,), (3,)),
        ((3,), (5,)),
        ((3, 5, 4), (2, 3, 4)),
    ],
)


def adaptive_windows(size, output):
    for where in np.ndindex(*output):
        seen = (slice(k * n // o, math.ceil((k + 1) * n / o)) for k, n, o in zip(where, size, output))
        yield (..., *where), (..., *seen)


@adaptive
def test_adaptive_max_pool(size, output):
    x = rng.integers(0, 4, (2, 3, *size)).astype(float)  # ties
    x[rng.random(x.shape) < 0.1] = np.nan
    y, indices = kernels.adaptive_max_pool(x, output)
    assert y.shape == indices.shape == (2, 3, *output)
    assert indices.dtype == np.int32
    places = np.arange(math.prod(size)).reshape(size)
    for where, seen in adaptive_windows(size, output):
        window, place = x[seen].reshape(2, 3, -1), places[seen].reshape(-1)
        np.testing.assert_array_equal(y[where], window.max(-1))
        np.testing.assert_array_equal(indices[where], place[window.argmax(-1)])


@adaptive
def test_adaptive_avg_pool(size, output):
    x = rng.standard_normal((2, 3, *size))
    y = kernels.adaptive_avg_pool(x, output)
    assert y.shape == (2, 3, *output)
    for where, seen in adaptive_windows(size, output):
        mean = x[seen].mean(axis=tuple(range(2, x.ndim)))
        np.testing.assert_allclose(y[where], mean, rtol=1e-12, atol=1e-14)
    g = rng.standard_normal(y.shape)
    gradient = kernels.adaptive_avg_pool_grad(g, size)
    assert gradient.shape == x.shape
    np.testing.assert_allclose((gradient * x).sum(), (y * g).sum(), rtol=1e-11)


@pytest.mark.parametrize("images", [0, 2])
def test_dtype_layout_and_no_images(images):
    wide = rng.standard_normal((images, 6, 3, 12)).astype(np.float32)
    x = wide[::-1, :, :, ::-2].swapaxes(1, 2)  # (N, 3, 6, 6)
    before = x.copy()
    y, indices = kernels.max_pool(x, (2, 2), (2, 2), (1, 1), (1, 1), False)
    gradient = kernels.max_pool_grad(y[:, :, ::-1], indices[:, :, ::-1], (6, 6))
    mean = kernels.avg_pool(x, (3, 2), (1, 2), (1, 0), False, False)
    mean_gradient = kernels.avg_pool_grad(mean, (6, 6), (3, 2), (1, 2), (1, 0), False, False)
    adaptive_mean = kernels.adaptive_avg_pool(x, (4, 3))
    adaptive_gradient = kernels.adaptive_avg_pool_grad(adaptive_mean, (6, 6))
    largest, _ = kernels.adaptive_max_pool(x, (4, 3))
    assert y.shape == (images, 3, 4, 4)
    for result in (y, gradient, mean, mean_gradient, adaptive_mean, adaptive_gradient, largest):
        assert result.dtype == np.float32
        assert result.shape[0] == images
        assert not np.shares_memory(result, wide)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(y, kernels.max_pool(before, (2, 2), (2, 2), (1, 1), (1, 1), False)[0])


def test_a_window_of_one_element_copies():
    x = rng.standard_normal((1, 1, 2, 2))
    results = (
        kernels.max_pool(x, (1, 1), (1, 1), (0, 0), (1, 1), False)[0],
        kernels.avg_pool(x, (1, 1), (1, 1), (0, 0), False, True),
        kernels.avg_pool_grad(x, (2, 2), (1, 1), (1, 1), (0, 0), False, True),
        kernels.adaptive_avg_pool(x, (2, 2)),
        kernels.adaptive_max_pool(x, (2, 2))[0],
        kernels.adaptive_avg_pool_grad(x, (2, 2)),
    )
    for result in results:
        np.testing.assert_array_equal(result, x)
        assert not np.shares_memory(result, x)


@pytest.mark.parity
@cases
def test_parity_max(case):
    torch = pytest.importorskip("torch")
    size, kernel, stride, padding, dilation, ceil_mode = case
    x = rng.standard_normal((2, 3, *size))
    tx = torch.from_numpy(x).requires_grad_()
    function = getattr(torch.nn.functional, f"max_pool{len(size)}d")
    ty, places = function(tx, kernel, stride, padding, dilation, ceil_mode, return_indices=True)
    y, indices = kernels.max_pool(x, kernel, stride, padding, dilation, ceil_mode)
    np.testing.assert_array_equal(y, ty.detach().numpy())
    np.testing.assert_array_equal(indices, places.numpy())
    g = rng.standard_normal(y.shape)
    ty.backward(torch.from_numpy(g))
    np.testing.assert_allclose(kernels.max_pool_grad(g, indices, size), tx.grad.numpy(), rtol=1e-13)


@pytest.mark.parity
@undilated
@pytest.mark.parametrize("count_include_pad", [True, False])
def test_parity_avg(case, count_include_pad):
    torch = pytest.importorskip("torch")
    size, kernel, stride, padding, _, ceil_mode = case
    x = rng.standard_normal((2, 3, *size))
    arguments = (kernel, stride, padding, ceil_mode, count_include_pad)
    tx = torch.from_numpy(x).requires_grad_()
    ty = getattr(torch.nn.functional, f"avg_pool{len(size)}d")(tx, *arguments)
    y = kernels.avg_pool(x, *arguments)
    np.testing.assert_allclose(y, ty.detach().numpy(), rtol=1e-13, atol=1e-14)
    g = rng.standard_normal(y.shape)
    ty.backward(torch.from_numpy(g))
    np.testing.assert_allclose(kernels.avg_pool_grad(g, size, *arguments), tx.grad.numpy(), rtol=1e-13, atol=1e-14)


@pytest.mark.parity
def test_parity_adaptive():
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((2, 3, 7, 10))
    tx = torch.from_numpy(x).requires_grad_()
    ty = torch.nn.functional.adaptive_avg_pool2d(tx, (3, 4))
    np.testing.assert_allclose(kernels.adaptive_avg_pool(x, (3, 4)), ty.detach().numpy(), rtol=1e-12, atol=1e-14)
    g = rng.standard_normal(ty.shape)
    ty.backward(torch.from_numpy(g))
    np.testing.assert_allclose(kernels.adaptive_avg_pool_grad(g, (7, 10)), tx.grad.numpy(), rtol=1e-12, atol=1e-14)
