"""Rows of vectors: tails, reductions, and exp, tanh, sigmoid, erf and GELU's slope against float64."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import special

from tinygrad_notes.kernels.cpu.buffers import address
from tinygrad_notes.kernels.cpu.compile import kernel
from tinygrad_notes.kernels.cpu.isa import functions
from tinygrad_notes.kernels.cpu.isa.rows import row

RNG = np.random.default_rng(0)
FUNCTIONS = {"exp": np.exp, "tanh": np.tanh, "sigmoid": special.expit, "erf": special.erf}


def axpy(v, x, scalars):
    """a x + y, with its sum and maximum."""
    value = v.multiply_add(scalars[0], x[0], x[1])
    return [value], [value, value]


row_axpy = row(2, 1, 1, axpy, ("sum", "max"))
row_sum = row(1, 0, 0, lambda v, x, scalars: ([], [x[0]]), ("sum",), unroll=1)
row_exp = row(1, 1, 0, lambda v, x, scalars: ([functions.exp(v, x[0])], []))
row_tanh = row(1, 1, 0, lambda v, x, scalars: ([functions.tanh(v, x[0])], []))
row_sigmoid = row(1, 1, 0, lambda v, x, scalars: ([functions.sigmoid(v, x[0])], []))
row_erf = row(1, 1, 0, lambda v, x, scalars: ([functions.erf(v, x[0])], []))
row_gelu_slope = row(1, 1, 0, lambda v, x, scalars: ([functions.gelu_slope(v, x[0])], []))
stream_axpy = row(2, 1, 1, lambda v, x, scalars: (axpy(v, x, scalars)[0], []), streams=True)


@kernel
def run_axpy(x, y, out, count, a):
    return row_axpy((x, y, out, count), (a,), a)


@kernel
def run_stream_axpy(x, y, out, count, a):
    stream_axpy((x, y, out, count), (a,), a)


@kernel
def run_gelu_slope(x, out, count, like):
    row_gelu_slope((x, out, count), (), like)


@kernel
def run_sum(x, count, like):
    return row_sum((x, count), (), like)


@kernel
def run_function(which, x, out, count, like):
    if which == 0:
        row_exp((x, out, count), (), like)
    elif which == 1:
        row_tanh((x, out, count), (), like)
    elif which == 2:
        row_sigmoid((x, out, count), (), like)
    else:
        row_erf((x, out, count), (), like)


def apply(name: str, x: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    run_function(list(FUNCTIONS).index(name), address(x), address(out), x.size, x.dtype.type(0))
    return out


@hypothesis.given(st.integers(0, 150), st.integers(0, 3), st.sampled_from([np.float32, np.float64]))
def test_a_map_with_reductions_of_any_length_and_alignment(count, skip, dtype):
    x, y = (RNG.standard_normal(count + skip).astype(dtype)[skip:] for _ in range(2))
    out = np.full(count + 2, 7, dtype)
    total, largest = run_axpy(address(x), address(y), address(out) + out.itemsize, count, dtype(2))
    assert out[0] == out[-1] == 7  # nothing beyond the row is written
    np.testing.assert_allclose(out[1:-1], 2 * x + y, rtol=1e-6, atol=1e-6)
    assert largest == np.max(out[1:-1], initial=-np.inf)
    np.testing.assert_allclose(total, out[1:-1].sum(dtype=np.float64), rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(run_sum(address(x), count, dtype(0)), x.sum(dtype=np.float64), rtol=1e-6, atol=1e-5)


@hypothesis.given(st.integers(0, 300), st.integers(1, 33), st.integers(0, 3), st.sampled_from([np.float32, np.float64]))
def test_a_map_past_the_caches_of_any_length_and_alignment(count, ahead, skip, dtype):
    x, y = (RNG.standard_normal(count + skip).astype(dtype)[skip:] for _ in range(2))
    out, wanted = (np.full(ahead + count + 33, 7, dtype) for _ in range(2))
    run_stream_axpy(address(x), address(y), address(out) + ahead * out.itemsize, count, dtype(2))
    run_axpy(address(x), address(y), address(wanted) + ahead * out.itemsize, count, dtype(2))
    np.testing.assert_array_equal(out, wanted)  # the row, and what lies before and behind it


def test_what_is_written_past_the_caches_is_not_summed():
    with pytest.raises(AssertionError, match="summed"):
        row(2, 1, 1, axpy, ("sum", "max"), streams=True)


@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 3.5e-7), (np.float64, 1e-15)])
def test_the_slope_of_gelu_against_float64(dtype, bound):
    x = np.concatenate([np.linspace(-45, 45, 100003), np.linspace(-7, 7, 100001), [1e-40, 3e38, -3e38]]).astype(dtype)
    out, wide = np.empty_like(x), x.astype(np.float64)
    run_gelu_slope(address(x), address(out), x.size, dtype(0))
    wanted = special.ndtr(wide) + wide * np.exp(-(np.minimum(np.abs(wide), 60) ** 2) / 2) / np.sqrt(2 * np.pi)
    assert np.abs(out - wanted).max() <= bound
    ends = np.array([np.inf, -np.inf, np.nan, 0.0], dtype)
    run_gelu_slope(address(ends), address(out), 4, dtype(0))
    np.testing.assert_array_equal(out[:4], [1, 0, np.nan, 0.5])


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 4.5e-7), (np.float64, 1e-15)])
def test_functions_against_float64(name, dtype, bound):
    x = np.concatenate([np.linspace(-86, 88, 100003), np.linspace(-10, 10, 100001)]).astype(dtype)
    wanted = FUNCTIONS[name](x.astype(np.float64))
    normal = np.abs(wanted) > np.finfo(np.float32).tiny
    error = np.abs(apply(name, x) - wanted)[normal] / np.abs(wanted)[normal]
    assert error.max() <= bound


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_of_special_values(name, dtype):
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, 3e38, -3e38, -95, -103, -110, 95], dtype)
    with np.errstate(all="ignore"):
        wanted = FUNCTIONS[name](x.astype(np.float64)).astype(dtype)
    got = apply(name, x)
    np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=2e-45)
    np.testing.assert_array_equal(np.signbit(got[3:]), np.signbit(wanted[3:]))
