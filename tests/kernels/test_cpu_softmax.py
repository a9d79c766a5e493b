"""Softmax of the CPU's kernels against the reference in float64."""

from __future__ import annotations

import importlib

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import tinygrad_notes as tn
from tests.kernels.operands import assert_close, layout, normal
from tinygrad_notes.kernels import cpu, reference
from tinygrad_notes.kernels.cpu import moments, streaming
from tinygrad_notes.kernels.cpu.softmax import FEW_COLUMNS
from tinygrad_notes.kernels.cpu.softmax_columns import NARROWEST, WIDEST

FORWARD, BACKWARD = ("softmax", "log_softmax"), ("softmax_grad", "log_softmax_grad")
MODULE = importlib.import_module("tinygrad_notes.kernels.cpu.softmax")  # the name is the function's
lengths = st.sampled_from([0, 1, 2, 3, 7, 8, 9, 31, 33, 64])


def check(x, g, axis) -> None:
    """A gradient is a difference, which may leave nothing, of numbers up to the sum of |g|: that is its scale."""
    scale = float(np.max(np.sum(np.abs(g), axis), initial=1.0))
    for forward, backward in zip(FORWARD, BACKWARD):
        y = getattr(cpu, forward)(x, axis)
        wanted = getattr(reference, forward)(x.astype(float), axis)
        assert_close(y, wanted, x)
        assert_close(
            getattr(cpu, backward)(g, y, axis), getattr(reference, backward)(g.astype(float), wanted, axis), x, scale
        )


@hypothesis.given(st.lists(lengths, min_size=1, max_size=3), st.data())
def test_any_shape_axis_and_stride(shape, data):
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    x, g = (layout(normal(*shape, dtype=dtype), data.draw) for _ in range(2))
    check(3 * x, g, data.draw(st.integers(-len(shape), len(shape) - 1)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_more_than_one_piece_or_strip(dtype):
    for shape, axis in [
        ((3, 2 * moments.PIECE + 5), 1),
        ((2 * moments.PIECE_ROWS + 1, WIDEST + NARROWEST + 3), 0),
        ((2, 5000, NARROWEST + 1), 1),
        ((2, 30, FEW_COLUMNS - 1), 1),
    ]:
        check(normal(*shape, dtype=dtype), normal(*shape, dtype=dtype), axis)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_that_are_not_finite_stay_in_their_row(axis, dtype):
    x = normal(40, 21, dtype=dtype)
    x[1, 3], x[2, 5], x[3, 7], x[4], x[5, :20], x[6, 2] = np.nan, np.inf, -np.inf, -np.inf, -np.inf, 3e38
    x[7, ::2], x[8] = -1e38, 88 + x[8]
    x = x if axis == 1 else np.ascontiguousarray(x.T)
    for forward, backward in zip(FORWARD, BACKWARD):
        with np.errstate(all="ignore"):
            wanted = getattr(reference, forward)(x, axis)
            slopes = getattr(reference, backward)(x, wanted, axis)
        y = getattr(cpu, forward)(x, axis)
        np.testing.assert_allclose(y, wanted, rtol=2e-6, atol=1e-7)
        finite = np.isfinite(slopes)
        got = getattr(cpu, backward)(x, y, axis)
        np.testing.assert_array_equal(np.isfinite(got), finite)
        np.testing.assert_allclose(got[finite], slopes[finite], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("shape", "axis"), [((67, 130), 1), ((7, 90, 70), 1)])
def test_one_thread_and_two_the_same_bits(shape, axis, monkeypatch):
    x, g = normal(*shape), normal(*shape)

    def everything():
        values = [getattr(cpu, name)(x, axis) for name in FORWARD]
        return values + [getattr(cpu, name)(g, y, axis) for name, y in zip(BACKWARD, values)]

    found = []
    for threads in (1, 2, 2):
        monkeypatch.setattr(MODULE, "threads_for", lambda work, least, count=threads: count)
        found.append(everything())
    for results in zip(*found):
        np.testing.assert_array_equal(results[0], results[1])
        np.testing.assert_array_equal(results[1], results[2])


@pytest.mark.parametrize("n", [1, 127, 128, 131])
def test_a_large_result_is_written_past_the_caches(n, monkeypatch):
    x, g = normal(9, n), normal(9, n)
    y = cpu.log_softmax(x, 1)
    before = y, cpu.softmax_grad(g, x, 1), cpu.log_softmax_grad(g, y, 1)
    assert not streaming.streams(y, n)
    monkeypatch.setattr(streaming, "LARGE", 0)
    monkeypatch.setattr(streaming, "SHORT", 0)
    assert streaming.streams(y, n)
    again = cpu.log_softmax(x, 1), cpu.softmax_grad(g, x, 1), cpu.log_softmax_grad(g, y, 1)
    for one, other in zip(before, again):
        np.testing.assert_array_equal(one, other)
        assert other.base is None  # no view: autograd may hand it over without a copy


def test_other_dtypes_and_axes_are_the_references():
    whole = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(cpu.softmax(whole, 1), reference.softmax(whole, 1))
    with pytest.raises(ValueError, match="axis"):
        cpu.softmax(normal(2, 3), 2)
    mixed = cpu.softmax_grad(normal(2, 3, dtype=np.float64), normal(2, 3), 1)
    assert mixed.dtype == np.float64


def test_through_the_op():
    x = normal(5, 6)
    with tn.use_kernels("cpu"):
        t = tn.tensor(x, requires_grad=True)
        tn.softmax(t, axis=1)[0, 0].backward()
        p = reference.softmax(x, 1)
        expected = np.zeros_like(x)
        expected[0] = -p[0, 0] * p[0]
        expected[0, 0] += p[0, 0]
        np.testing.assert_allclose(t.grad.data, expected, rtol=1e-5, atol=1e-7)
