"""Elementwise functions of the CPU's kernels against the reference in float64: layouts, ends of the range, threads."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu import elementwise

RNG = np.random.default_rng(0)
UNARY = {
    "exp": lambda k, x: k.exp(x),
    "tanh": lambda k, x: k.tanh(x),
    "sigmoid": lambda k, x: k.sigmoid(x),
    "erf": lambda k, x: k.erf(x),
    "gelu": lambda k, x: k.gelu(x, "none"),
    "gelu tanh": lambda k, x: k.gelu(x, "tanh"),
    "silu": lambda k, x: k.silu(x),
}
GRADS = {
    "gelu_grad": lambda k, g, x: k.gelu_grad(g, x, "none"),
    "gelu_grad tanh": lambda k, g, x: k.gelu_grad(g, x, "tanh"),
    "silu_grad": lambda k, g, x: k.silu_grad(g, x),
}
LAYOUTS = {
    "rows": lambda x: x,
    "columns": lambda x: np.asfortranarray(x),
    "turned": lambda x: np.ascontiguousarray(x.swapaxes(0, -1)).swapaxes(0, -1) if x.ndim else x,
    "reversed": lambda x: x[..., ::-1] if x.ndim else x,
    "every other": lambda x: np.repeat(x, 2, axis=-1)[..., ::2] if x.ndim else x,
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape) if x.ndim else x,
}
shapes = st.sampled_from([(), (0,), (1,), (7,), (8,), (33,), (5, 13), (3, 0), (2, 3, 11), (300,)])
dtypes = st.sampled_from([np.float32, np.float64])
layouts = st.sampled_from(list(LAYOUTS))


@pytest.fixture(autouse=True)
def every_size(monkeypatch):
    """Small arrays too take the kernels, on two threads."""
    monkeypatch.setattr(elementwise, "SMALL", {"f": -1, "d": -1})
    monkeypatch.setattr(elementwise, "threads_for", lambda work, least: 2)


def assert_close(got, wanted, dtype, scale=1e-30) -> None:
    assert got.dtype == dtype
    assert got.shape == wanted.shape
    scale = np.max(np.abs(wanted), initial=scale)
    assert np.max(np.abs(got - wanted), initial=0.0) <= (5e-7 if dtype == np.float32 else 1e-14) * scale


@hypothesis.given(st.sampled_from(list(UNARY)), shapes, dtypes, layouts)
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], max_examples=100)
def test_any_shape_and_stride(name, shape, dtype, layout):
    x = LAYOUTS[layout](np.array(3 * RNG.standard_normal(shape), dtype))
    before = x.copy()
    got = UNARY[name](elementwise, x)
    assert_close(got, np.asarray(UNARY[name](reference, x.astype(np.float64))), dtype)
    assert not np.shares_memory(got, x)
    np.testing.assert_array_equal(x, before)
    if x.ndim and layout != "broadcast":
        assert got.strides == np.negative(x).strides


@hypothesis.given(st.sampled_from(list(GRADS)), shapes, dtypes, layouts, layouts)
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], max_examples=100)
def test_gradients_of_any_shape_and_stride(name, shape, dtype, layout, other):
    x, g = (LAYOUTS[way](np.array(3 * RNG.standard_normal(shape), dtype)) for way in (layout, other))
    got = GRADS[name](elementwise, g, x)
    wanted = GRADS[name](reference, g.astype(np.float64), x.astype(np.float64))
    assert_close(got, wanted, dtype, np.max(np.abs(g), initial=1e-30))  # slopes pass through 0
    assert not np.shares_memory(got, x)
    assert not np.shares_memory(got, g)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ends_of_the_range(dtype):
    largest = np.finfo(dtype).max
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, largest, -largest, 50, -50, 95, -95], dtype)
    g = np.full_like(x, 2)
    with np.errstate(all="ignore"):
        for function in UNARY.values():
            np.testing.assert_allclose(function(elementwise, x), function(reference, x), rtol=1e-6, atol=1e-37)
        for function in GRADS.values():
            np.testing.assert_allclose(function(elementwise, g, x), function(reference, g, x), rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_as_many_threads_as_wanted_the_same_bits(monkeypatch, dtype):
    x, g = (RNG.standard_normal(1237).astype(dtype) for _ in range(2))

    def values():
        made = [function(elementwise, x) for function in UNARY.values()]
        return made + [function(elementwise, g, x) for function in GRADS.values()]

    many = values()
    for one, other in zip(many, values()):
        np.testing.assert_array_equal(one, other)
    monkeypatch.setattr(elementwise, "threads_for", lambda work, least: 1)
    for one, other in zip(many, values()):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scalars_of_numpy_pass_for_arrays(dtype):
    for function in UNARY.values():
        np.testing.assert_allclose(function(elementwise, dtype(0.5)), function(reference, dtype(0.5)), rtol=1e-6)
    for function in GRADS.values():
        got, wanted = (function(k, dtype(2), dtype(0.5)) for k in (elementwise, reference))
        np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_other_dtypes_are_the_references():
    whole = np.arange(500)
    np.testing.assert_array_equal(elementwise.exp(whole), np.exp(whole.astype(float)))
    half = np.linspace(-3, 3, 50).astype(np.float16)
    with np.errstate(all="ignore"):
        for function in UNARY.values():
            np.testing.assert_array_equal(function(elementwise, half), function(reference, half))
    swapped = np.linspace(-3, 3, 50).astype(">f4")
    np.testing.assert_allclose(elementwise.gelu(swapped, "none"), reference.gelu(swapped, "none"), rtol=1e-6)
    g = np.ones(50)
    with np.errstate(all="ignore"):
        for function in GRADS.values():
            np.testing.assert_array_equal(function(elementwise, g, half), function(reference, g, half))
