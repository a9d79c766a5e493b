"""Products of a matrix and a vector by the CPU's kernels: shapes, strides, non-finite values, threads."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu import gemv, linear, matmul, products

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def every_size(monkeypatch):
    """Small products too take the kernels, and any work is worth a thread."""
    monkeypatch.setattr(products, "SMALL", -1)
    monkeypatch.setattr(products, "SMALL_VECTOR", -1)
    monkeypatch.setattr(gemv, "PER_THREAD", 1)


def matrix(m: int, k: int, layout: str, dtype) -> np.ndarray:
    if layout == "columns":
        return RNG.standard_normal((k, m)).astype(dtype).T
    if layout == "every other":
        return RNG.standard_normal((m, 2 * k)).astype(dtype)[:, ::2]
    got = RNG.standard_normal((m, k)).astype(dtype)
    return got[::-1, ::-1] if layout == "reversed" else got


lengths = st.sampled_from(
    [0, 1, 2, 7, 8, 9, 31, 33, gemv.GROUP + 1, gemv.STRETCH + 3, gemv.PART + 5, 2 * gemv.PART + 7]
)
layouts = st.sampled_from(["rows", "columns", "reversed", "every other"])


@hypothesis.given(lengths, st.sampled_from([0, 1, 3, 16, 40, gemv.GROUP + 9]), layouts, st.booleans(), st.booleans())
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_any_shape_and_stride(m, k, layout, swap, double):
    dtype = np.float64 if double else np.float32
    m, k = (k, m) if swap else (m, k)
    a, x = matrix(m, k, layout, dtype), RNG.standard_normal(2 * k).astype(dtype)[::2]
    wanted = a.astype(np.float64) @ x.astype(np.float64)
    scale = np.max(np.abs(a), initial=0.0) * np.sqrt(max(k, 1)) + 1e-30
    products_ = [matmul(a, x), matmul(x, a.T), matmul(a, x[:, None]), matmul(x[None], a.T), linear(x, a, None)]
    for got, shape in zip(products_, [(m,), (m,), (m, 1), (1, m), (m,)]):
        assert got.dtype == dtype
        assert got.shape == shape
        assert np.max(np.abs(got.reshape(-1) - wanted), initial=0.0) <= (1e-6 if dtype == np.float32 else 1e-14) * scale


def test_a_long_sum_is_as_near_as_numpys():
    a = RNG.standard_normal((2, 300_000)).astype(np.float32)
    x = RNG.standard_normal(300_000).astype(np.float32)
    wanted = a.astype(float) @ x.astype(float)
    near = max(2 * np.abs(a @ x - wanted).max(), 5e-7 * np.abs(wanted).max())
    assert np.abs(matmul(a, x) - wanted).max() <= near
    assert np.abs(matmul(np.asfortranarray(a), x) - wanted).max() <= near


def test_two_vectors_batches_and_bias():
    x, a = RNG.standard_normal(70), RNG.standard_normal((3, 20, 70))
    np.testing.assert_allclose(matmul(x, x), x @ x, rtol=1e-13)
    assert np.ndim(matmul(x, x)) == 0
    np.testing.assert_allclose(matmul(a, x), a @ x, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(matmul(x, np.swapaxes(a, 1, 2)), a @ x, rtol=1e-12, atol=1e-12)
    bias = RNG.standard_normal(20)
    np.testing.assert_allclose(linear(x[None, None], a[0], bias), (a[0] @ x + bias)[None, None], rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="mismatch"):
        matmul(a[0], x[1:])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e-42])
@pytest.mark.parametrize("order", "CF")
def test_values_come_out_as_in_numpy(value, order):
    a, x = (
        np.asarray(RNG.standard_normal((60, 70)), np.float32, order=order),
        RNG.standard_normal(70).astype(np.float32),
    )
    a[5, 7], a[9, 69], x[11] = value, value, 0
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(matmul(a, x), reference.matmul(a, x), rtol=1e-5, atol=1e-5)


def test_as_many_threads_as_wanted_the_same_bits(monkeypatch):
    cases = [(3, 100_001), (100_001, 3), (1000, 900)]
    operands = [
        (RNG.standard_normal(s).astype(np.float32), RNG.standard_normal(s[1]).astype(np.float32)) for s in cases
    ]
    operands += [(np.asfortranarray(a), x) for a, x in operands]
    many = [matmul(a, x) for a, x in operands]
    again = [matmul(a, x) for a, x in operands]
    monkeypatch.setattr(gemv, "threads_for", lambda work, least: 1)
    for (a, x), first, second in zip(operands, many, again):
        np.testing.assert_array_equal(matmul(a, x), first)
        np.testing.assert_array_equal(second, first)
