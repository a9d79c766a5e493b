"""Pooling of the CPU's kernels against the reference: geometry, strides, values that are not finite, threads."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tests.kernels import test_pooling
from tinygrad_notes import kernels
from tinygrad_notes.kernels import cpu, reference
from tinygrad_notes.kernels.cpu import average_pooling, max_pooling, streaming

RNG = np.random.default_rng(0)
TOLERANCE = {np.float32: 1e-6, np.float64: 1e-14}
any_fixture = hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])


@pytest.fixture
def every_size(monkeypatch):
    """Any work is worth a thread."""
    monkeypatch.setattr(max_pooling, "PER_THREAD", 1)
    monkeypatch.setattr(average_pooling, "PER_THREAD", 1)


@st.composite
def axes_of_windows(draw, dilated=True):
    """(size, kernel, stride, padding, dilation), where each window sees an element."""
    axes, count = [], draw(st.sampled_from([1, 2, 2, 3]))
    for _ in range(count):
        kernel, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 3)) if dilated else 1
        padding = draw(st.integers(0, kernel // 2)) if dilation == 1 else 0
        least = max(dilation * (kernel - 1) + 1 - 2 * padding, 1)
        size = least + draw(st.integers(0, 6 if count == 3 else 40))
        axes.append((size, kernel, draw(st.sampled_from([1, 2, 2, 3, 5, 9])), padding, dilation))
    return tuple(zip(*axes))


@st.composite
def operands(draw, size):
    """x (N, C, *size) of any layout, often with ties, NaN or infinite elements."""
    images, channels = draw(st.sampled_from([(1, 1), (2, 3), (0, 2), (1, 5)]))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    shape, layout = (images, channels, *size), draw(st.sampled_from(["rows", "reversed", "every other", "transposed"]))
    if layout == "every other":
        x = RNG.standard_normal((*shape[:-1], 2 * shape[-1]))[..., ::2]
    elif layout == "transposed":
        x = RNG.standard_normal(shape[::-1]).T
    else:
        x = RNG.standard_normal(shape)[..., :: -1 if layout == "reversed" else 1]
    x = x.astype(dtype, order="K")
    kind = draw(st.sampled_from(["plain", "ties", "not finite", "-inf"]))
    if kind == "ties":
        x = np.round(x)
    elif kind == "not finite":
        x[RNG.random(x.shape) < 0.2] = np.nan
        x[RNG.random(x.shape) < 0.2] = np.inf
    elif kind == "-inf":
        x[...] = -np.inf
    return x


def assert_same(got, wanted):
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def assert_near(got, wanted):
    assert got.dtype == wanted.dtype
    tolerance = TOLERANCE[wanted.dtype.type]
    np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=4 * tolerance)


@hypothesis.given(axes_of_windows(), st.booleans(), st.data())
@any_fixture
def test_max_pool(every_size, axes, ceil_mode, data):
    size, *geometry = axes
    if ceil_mode and max(geometry[3]) > 1:
        ceil_mode = False  # a last window could see nothing
    x = data.draw(operands(size))
    before = x.copy()
    y, indices = cpu.max_pool(x, *geometry, ceil_mode)
    assert_same((y, indices), reference.max_pool(x, *geometry, ceil_mode))
    g = RNG.standard_normal(y.shape).astype(x.dtype)[:, :, ::-1]
    assert_same(
        [cpu.max_pool_grad(g, indices[:, :, ::-1], size)], [reference.max_pool_grad(g, indices[:, :, ::-1], size)]
    )
    assert_same([cpu.max_pool_gather(x, indices), x], [y, before])


@hypothesis.given(axes_of_windows(dilated=False), st.booleans(), st.booleans(), st.data())
@any_fixture
def test_avg_pool(every_size, axes, ceil_mode, include_pad, data):
    size, kernel, stride, padding, _ = axes
    x = data.draw(operands(size))
    arguments = kernel, stride, padding, ceil_mode, include_pad
    with np.errstate(all="ignore"):
        y = reference.avg_pool(x, *arguments)
    assert_near(cpu.avg_pool(x, *arguments), y)
    g = RNG.standard_normal(y.shape).astype(x.dtype)[:, :, ::-1]
    assert_near(cpu.avg_pool_grad(g, size, *arguments), reference.avg_pool_grad(g, size, *arguments))


@hypothesis.given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 9)), min_size=1, max_size=3), st.data())
@any_fixture
def test_adaptive(every_size, axes, data):
    size, output = zip(*axes)
    x = data.draw(operands(size))
    with np.errstate(all="ignore"):
        y = reference.adaptive_avg_pool(x, output)
    assert_near(cpu.adaptive_avg_pool(x, output), y)
    g = RNG.standard_normal(y.shape).astype(x.dtype)
    assert_near(cpu.adaptive_avg_pool_grad(g, size), reference.adaptive_avg_pool_grad(g, size))
    assert_same(cpu.adaptive_max_pool(x, output), reference.adaptive_max_pool(x, output))


@pytest.mark.parametrize("size", [(56, 57), (3, 33, 40), (300,)])
def test_threads_give_the_same_bits_and_larger_planes(every_size, monkeypatch, size):
    axes = len(size)
    x = np.round(4 * RNG.standard_normal((5, 3, *size))).astype(np.float32)
    three, two, one = (3,) * axes, (2,) * axes, (1,) * axes

    def results():
        y, indices = cpu.max_pool(x, three, two, one, one, False)
        mean, smaller = cpu.avg_pool(x, three, two, one, True, False), cpu.adaptive_avg_pool(x, (5,) * axes)
        return (
            y, indices, cpu.max_pool_grad(y, indices, size), cpu.max_pool_gather(x, indices), mean, smaller,
            cpu.avg_pool_grad(mean, size, three, two, one, True, False), cpu.adaptive_avg_pool_grad(smaller, size),
            *cpu.adaptive_max_pool(x, (5,) * axes),
        )  # fmt: skip

    many = results()
    assert_same(many, results())
    assert_same(many[:2], reference.max_pool(x, three, two, one, one, False))
    for module in (max_pooling, average_pooling):
        monkeypatch.setattr(module, "threads_for", lambda work, least: 1)
    assert_same(many, results())


@pytest.mark.parametrize("size", [(9,), (13, 11), (16, 16), (3, 5, 7)])
def test_a_large_gradient_is_written_past_the_caches(every_size, monkeypatch, size):
    axes = len(size)
    x = RNG.standard_normal((3, 5, *size)).astype(np.float32)
    g, indices = cpu.max_pool(x, (3,) * axes, (2,) * axes, (1,) * axes, (1,) * axes, False)
    before = cpu.max_pool_grad(g, indices, size)
    monkeypatch.setattr(streaming, "LARGE", 0)
    monkeypatch.setattr(streaming, "SHORT", 0)
    assert_same(cpu.max_pool_grad(g, indices, size), before)
    monkeypatch.setattr(max_pooling, "PLANE_BYTES", 0)  # a plane that does not fit the cache is made in place
    assert_same(cpu.max_pool_grad(g, indices, size), before)


def test_the_mean_of_a_large_plane():
    x = RNG.random((2, 3, 200, 300), dtype=np.float32) + 100
    exact = x.astype(np.float64).mean(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(cpu.adaptive_avg_pool(x, (1, 1)), exact, rtol=1e-7)


@pytest.mark.parametrize("dtype", [np.int64, np.float16])
def test_other_dtypes_are_the_references(dtype):
    x = RNG.integers(-9, 9, (2, 3, 6, 8)).astype(dtype)
    assert_same([cpu.adaptive_avg_pool(x, (2, 2))], [reference.adaptive_avg_pool(x, (2, 2))])
    assert_same(cpu.adaptive_max_pool(x, (2, 2)), reference.adaptive_max_pool(x, (2, 2)))
    g = np.ones((2, 3, 2, 2), dtype)
    places = np.zeros(g.shape, np.int32)
    assert_same([cpu.max_pool_grad(g, places, (6, 8))], [reference.max_pool_grad(g, places, (6, 8))])


@pytest.fixture
def chosen():
    with kernels.use_kernels("cpu"):
        yield


@pytest.mark.usefixtures("chosen", "every_size")
class TestAsTheReference:
    """The reference's own tests, on these kernels."""


for _name, _test in vars(test_pooling).items():
    if _name.startswith("test_"):
        setattr(TestAsTheReference, _name, staticmethod(_test))
