"""Batch, layer, group and RMS normalisation of the CPU's kernels against the reference in float64."""

from __future__ import annotations

import importlib
import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import tinygrad_notes as tn
from tests.kernels.operands import assert_close, layout, normal
from tinygrad_notes.kernels import cpu, reference
from tinygrad_notes.kernels.cpu import batch_norm_columns, moments, streaming

MODULES = [importlib.import_module(f"tinygrad_notes.kernels.cpu.{name}_norm") for name in ("batch", "layer", "group")]
EPS = 1e-5
KINDS = st.sampled_from(["batch", "layer", "group", "rms"])
lengths = st.sampled_from([0, 1, 2, 3, 8, 17, 33])


def wide(*arrays):
    return [None if x is None else x.astype(np.float64) for x in arrays]


def everything(kernels, kind, x, g, weight, bias, count, statistics=None):
    """All results of a normalisation and its gradient. ``statistics``: what the gradient is given, else its own."""
    if kind == "batch":
        values = kernels.batch_norm(x, weight, bias, EPS)
        return *values, *kernels.batch_norm_grad(g, x, weight, *(statistics or values[1:3]))
    if kind == "layer":
        values = kernels.layer_norm(x, weight, bias, EPS, count)
        return *values, *kernels.layer_norm_grad(g, x, weight, *(statistics or values[1:3]), count)
    if kind == "group":
        values = kernels.group_norm(x, weight, bias, EPS, count)
        return *values, *kernels.group_norm_grad(g, x, weight, *(statistics or values[1:3]), count)
    values = kernels.rms_norm(x, weight, EPS, count)
    return *values, *kernels.rms_norm_grad(g, x, weight, *(statistics or values[1:2]), count)


def check(kind, x, g, weight, bias, count) -> None:
    got = everything(cpu, kind, x, g, weight, bias, count)
    statistics = wide(*got[1:2] if kind == "rms" else got[1:3])
    x64, g64, weight64, bias64 = wide(x, g, weight, bias)
    exact = everything(reference, kind, x64, g64, weight64, bias64, count, statistics)
    for mine, wanted in zip(got, exact, strict=True):
        assert_close(mine, wanted, x, math.sqrt(x.size / max(mine.size, 1)))  # sums of as many numbers may cancel


def affine(shape, dtype, draw):
    return [layout(normal(*shape, dtype=dtype), draw) if draw(st.booleans()) else None for _ in range(2)]


@hypothesis.given(KINDS, st.lists(lengths, min_size=2, max_size=4), st.data())
def test_any_shape_and_stride(kind, shape, data):
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    x, g = (layout(normal(*shape, dtype=dtype), data.draw) for _ in range(2))
    count = data.draw(st.integers(1, len(shape)))
    if kind == "group":
        count = data.draw(st.sampled_from([n for n in range(1, shape[1] + 1) if shape[1] % n == 0] or [1]))
    channels = shape[1:2] if kind in ("batch", "group") else shape[len(shape) - count :]
    check(kind, x, g, *affine(channels, dtype, data.draw), count)


LONG = [
    ("batch", (3, 2, moments.PIECE + 5), 0),
    ("batch", (2 * moments.PIECE_ROWS + 3, batch_norm_columns.WIDEST + 9), 0),
    ("batch", (moments.PIECE_ROWS + 1, 23, 3, 4), 0),
    ("layer", (5, 2 * moments.PIECE + 3), 1),
    ("layer", (40 * moments.PIECE_ROWS, 19), 1),
    ("group", (2, 6, moments.PIECE + 1), 2),
    ("group", (3 * moments.PIECE_ROWS, 8), 4),
    ("rms", (3, 2 * moments.PIECE + 3), 1),
]


@pytest.mark.parametrize(("kind", "shape", "count"), LONG)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_more_than_one_piece_part_or_strip(kind, shape, count, dtype):
    channels = shape[1:2] if kind in ("batch", "group") else shape[len(shape) - count :]
    x, g, weight, bias = (normal(*size, dtype=dtype) for size in (shape, shape, channels, channels))
    check(kind, x, g, weight, bias, count)


@pytest.mark.parametrize(("kind", "shape", "count"), LONG[:-1])
def test_a_large_mean_costs_no_accuracy(kind, shape, count):
    """Mean 1000, deviation 1, and first values that are far from both: the values are as if done in float64."""
    x = normal(*shape) + np.float32(1000)
    x[0, : shape[1] // 2] = 0
    got = everything(cpu, kind, x, x, None, None, count)
    exact = everything(reference, kind, *wide(x, x), None, None, count)
    assert np.max(np.abs(got[0] - exact[0])) <= 5e-7 * np.max(np.abs(exact[0]))
    np.testing.assert_allclose(got[1], exact[1], rtol=1e-7)
    np.testing.assert_allclose(got[2], exact[2], rtol=5e-7)


@pytest.mark.parametrize(("kind", "shape", "count"), [*LONG, ("batch", (9, 4), 0), ("layer", (4, 33), 1)])
def test_values_that_are_not_finite_stay_with_their_own(kind, shape, count):
    x, g = normal(*shape), normal(*shape)
    for index, value in ((0, np.nan), (1, np.inf)):
        x[(index, index, *(0,) * (len(shape) - 2))] = value
    with np.errstate(all="ignore"):
        wanted = everything(reference, kind, x, g, None, None, count)
    for mine, theirs in zip(everything(cpu, kind, x, g, None, None, count), wanted, strict=True):
        np.testing.assert_array_equal(np.isnan(mine), np.isnan(theirs))
        finite = np.isfinite(theirs)
        np.testing.assert_allclose(mine[finite], theirs[finite], rtol=1e-3, atol=1e-3)
        np.testing.assert_array_equal(mine[~finite], theirs[~finite])


@pytest.mark.parametrize(("kind", "shape"), [("batch", (8, 3)), ("batch", (4, 3, 40)), ("layer", (3, 300))])
def test_sums_that_leave_float32(kind, shape):
    """Equal large numbers: their sum is infinite in float32, their mean and variance are not."""
    x = np.full(shape, 2e38, np.float32)
    y, mean, rstd, *_ = everything(cpu, kind, x, x, None, None, 1)
    np.testing.assert_array_equal(mean, np.full(mean.shape, 2e38, np.float32))
    np.testing.assert_array_equal(y, np.zeros(shape, np.float32))
    np.testing.assert_allclose(rstd, EPS**-0.5, rtol=1e-6)
    squares = np.full((3, 300), 1e19, np.float32)
    np.testing.assert_allclose(cpu.rms_norm(squares, None, EPS, 1)[0], 1, rtol=1e-6)


@pytest.mark.parametrize(("kind", "shape", "count"), LONG)
def test_one_thread_and_two_the_same_bits(kind, shape, count, monkeypatch):
    x, g = normal(*shape), normal(*shape)
    found = []
    for threads in (1, 2, 2):
        for module in MODULES:
            monkeypatch.setattr(module, "threads_for", lambda work, least, count=threads: count)
        found.append(everything(cpu, kind, x, g, None, None, count))
    for results in zip(*found, strict=True):
        np.testing.assert_array_equal(results[0], results[1])
        np.testing.assert_array_equal(results[1], results[2])


def test_a_large_result_is_written_past_the_caches(monkeypatch):
    x, weight = normal(9, 128), normal(128)
    before = cpu.layer_norm(x, weight, weight, EPS, 1)[0]
    monkeypatch.setattr(streaming, "LARGE", 0)
    np.testing.assert_array_equal(cpu.layer_norm(x, weight, weight, EPS, 1)[0], before)


@pytest.mark.parametrize("kind", ["batch", "layer", "group", "rms"])
def test_mixed_dtypes_and_integers_are_the_references(kind):
    x, weight = normal(4, 6, 3), normal(6 if kind in ("batch", "group") else 3, dtype=np.float64)
    for mine, theirs in zip(*(everything(kernels, kind, x, x, weight, weight, 1) for kernels in (cpu, reference))):
        np.testing.assert_array_equal(mine, theirs)
        assert mine.dtype == theirs.dtype


def test_through_the_op():
    x, weight = normal(6, 5, dtype=np.float64), normal(5, dtype=np.float64)
    found = []
    for name in ("cpu", "reference"):
        with tn.use_kernels(name):
            t = tn.tensor(x, requires_grad=True)
            y = tn.layer_norm(t, (5,), tn.tensor(weight))
            (y * y).sum().backward()
            found.append((y.data, t.grad.data))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(9, 6), (5, 6, 3), (5, 6, 20)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinite_weights(shape, dtype):
    """An infinite weight makes ±inf of all numbers but the mean, and leaves other channels alone."""
    x, weight, bias = normal(*shape, dtype=dtype), normal(6, dtype=dtype), normal(6, dtype=dtype)
    weight[1], weight[4] = np.inf, -np.inf
    for name, *rest in [("batch_norm", EPS), ("group_norm", EPS, 2)]:
        got = getattr(cpu, name)(x, weight, bias, *rest)[0]
        np.testing.assert_allclose(got, getattr(reference, name)(x, weight, bias, *rest)[0], rtol=1e-4, atol=1e-5)
