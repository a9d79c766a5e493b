"""Convolutions of the CPU's kernels against the reference: shapes, strides, groups, non-finite values, threads."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu import convolution, convolution_plan
from tinygrad_notes.kernels.cpu.convolution import conv, conv_transpose

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def many_jobs_and_blocks(monkeypatch):
    """Small inputs too are cut into blocks of taps, rows and images, for all threads."""
    _cut_small(monkeypatch)
    yield
    _forget()


def _cut_small(monkeypatch):
    monkeypatch.setattr(convolution, "PER_THREAD", 1)
    monkeypatch.setattr(convolution_plan, "MOST_DEPTH", 20)
    monkeypatch.setattr(convolution_plan, "COPY_BYTES", 2048)
    _forget()


def _forget():
    convolution_plan.plan_conv.cache_clear()
    convolution_plan.plan_transpose.cache_clear()


def normal(*shape: int, dtype=np.float32) -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


def laid_out(x: np.ndarray, layout: str) -> np.ndarray:
    """The same values, with other strides."""
    if layout == "reversed":
        return x[:, ::-1, ..., ::-1].copy()[:, ::-1, ..., ::-1]
    if layout == "every other":
        return np.repeat(x, 2, axis=-1)[..., ::2]
    return np.asfortranarray(x) if layout == "columns" else x


def assert_close(got: np.ndarray, wanted: np.ndarray, dtype) -> None:
    assert got.dtype == dtype
    assert got.shape == wanted.shape
    assert got.flags.c_contiguous
    scale = np.max(np.abs(wanted), initial=1e-30)
    assert np.max(np.abs(got - wanted), initial=0.0) <= (2e-6 if dtype == np.float32 else 1e-14) * scale


@st.composite
def problems(draw, axes):
    """Channels and outputs of one group, groups, and the sizes along each axis."""
    groups, channels = draw(st.sampled_from([1, 1, 2, 5])), draw(st.sampled_from([1, 1, 2, 7]))
    outputs = draw(st.sampled_from([1, 2, 4, 6, 13]))
    small = st.integers(1, 3)
    kernel, stride, dilation = (tuple(draw(small) for _ in range(axes)) for _ in range(3))
    padding = tuple(draw(st.integers(0, 3)) for _ in range(axes))
    counts = tuple(draw(st.sampled_from([1, 2, 3, 7, 9, 17, 20])) for _ in range(axes))
    needed = [(n - 1) * s + d * (k - 1) + 1 - 2 * p for n, s, d, k, p in zip(counts, stride, dilation, kernel, padding)]
    hypothesis.assume(min(needed) > 0)
    extra = [draw(st.integers(0, s - 1)) for s in stride]
    size = tuple(n + e for n, e in zip(needed, extra))
    return draw(st.sampled_from([0, 1, 1, 2, 5])), groups, channels, outputs, kernel, stride, padding, dilation, size


layouts = st.sampled_from(["rows", "columns", "reversed", "every other"])


@pytest.mark.parametrize("axes", [2, 1, 3])
@hypothesis.given(st.data())
@hypothesis.settings(max_examples=120, suppress_health_check=list(hypothesis.HealthCheck))
def test_any_shape_and_stride(axes, data):
    images, groups, channels, outputs, kernel, stride, padding, dilation, size = data.draw(problems(axes))
    dtype, biased = data.draw(st.sampled_from([np.float32, np.float64])), data.draw(st.booleans())
    if axes == 3:
        size = tuple(min(n, 12) for n in size)
        hypothesis.assume(all(n + 2 * p > d * (k - 1) for n, p, d, k in zip(size, padding, dilation, kernel)))
    exact = [
        normal(images, groups * channels, *size), normal(groups * outputs, channels, *kernel), normal(groups * outputs),
    ]  # fmt: skip
    x, weight, bias = (laid_out(a.astype(dtype), data.draw(layouts)) if a.ndim > 1 else a.astype(dtype) for a in exact)
    rest = stride, padding, dilation, groups
    wanted = reference.conv(
        *(a.astype(np.float64) for a in exact[:2]), exact[2].astype(float) if biased else None, *rest
    )
    before = x.copy()
    assert_close(conv(x, weight, bias if biased else None, *rest), wanted, dtype)
    np.testing.assert_array_equal(x, before)

    g = normal(*wanted.shape)
    back = normal(groups * channels)
    wanted = reference.conv_transpose(
        g.astype(float), exact[1].astype(float), back.astype(float) if biased else None, *rest, size
    )
    g, b = laid_out(g.astype(dtype), data.draw(layouts)), back.astype(dtype) if biased else None
    assert_close(conv_transpose(g, weight, b, *rest, size), wanted, dtype)


@pytest.mark.parametrize("width", [7, 16])  # packed, and read in place
def test_windows_at_the_end_of_the_memory_are_read_without_looking_beyond(width):
    # an image that ends where its page ends: a vector too far would be an access violation
    mmap = pytest.importorskip("mmap")
    memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    count = 4 * 3 * 5 * width
    x = np.frombuffer(memory, np.float32, count, 2 * mmap.PAGESIZE - 4 * count).reshape(4, 3, 5, width)
    x[...] = normal(4, 3, 5, width)
    for kernel in ((1, 1), (2, 3), (5, 7)):
        for stride in (1, 2):
            weight, rest = normal(8, 3, *kernel), ((stride, stride), (0, 0), (1, 1), 1)
            wanted = reference.conv(x.astype(float), weight.astype(float), None, *rest)
            assert_close(conv(x, weight, None, *rest), wanted, np.float32)


def test_real_blocks(monkeypatch):
    """With the sizes of blocks as they are, on images that need several."""
    monkeypatch.undo()
    _forget()
    cases = [
        ((2, 64, 40, 40), (70, 64, 3, 3), 1, 1, 1), ((2, 3, 61, 67), (20, 3, 7, 7), 2, 3, 1),
        ((9, 96, 7, 7), (50, 96, 1, 1), 1, 0, 1), ((2, 6, 120, 130), (6, 1, 3, 3), 2, 1, 6),
        ((1, 64, 40, 40), (3, 64, 4, 4), 2, 1, 1),
    ]  # fmt: skip
    for shape, weight_shape, stride, padding, groups in cases:
        x, weight, rest = normal(*shape), normal(*weight_shape), ((stride,) * 2, (padding,) * 2, (1, 1), groups)
        wanted = reference.conv(x.astype(float), weight.astype(float), None, *rest)
        assert_close(conv(x, weight, None, *rest), wanted, np.float32)
        g = normal(*wanted.shape)
        wanted = reference.conv_transpose(g.astype(float), weight.astype(float), None, *rest, shape[2:])
        assert_close(conv_transpose(g, weight, None, *rest, shape[2:]), wanted, np.float32)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e-42, 3e38])
@pytest.mark.parametrize("groups", [1, 4])
def test_values_come_out_as_in_numpy(value, groups):
    x, weight = np.ones((2, 4, 9, 9), np.float32), np.ones((8 // groups * groups, 4 // groups, 3, 3), np.float32)
    weight = weight[: 4 if groups == 4 else 8]
    x[1, 2, 4, 5] = x[0, 0, 0, 0] = x[0, 3, 8, 8] = value
    for stride in (1, 2):
        rest = (stride, stride), (1, 1), (1, 1), groups
        with np.errstate(all="ignore"):
            wanted = reference.conv(x, weight, None, *rest)
            np.testing.assert_allclose(conv(x, weight, None, *rest), wanted, rtol=1e-6)
            g = x[..., : wanted.shape[2], : wanted.shape[3]].repeat(weight.shape[0] // 4, axis=1)
            wanted = reference.conv_transpose(g, weight, None, *rest, (9, 9))
            np.testing.assert_allclose(conv_transpose(g, weight, None, *rest, (9, 9)), wanted, rtol=1e-6)


@pytest.mark.parametrize("outputs", [1, 8])
def test_denormals_are_kept(outputs):
    x, weight = np.full((1, 1, 4, 20), 1e-30, np.float32), np.full((outputs, 1, 1, 1), 1e-12, np.float32)
    rest = (1, 1), (0, 0), (1, 1), 1
    assert (conv(x, weight, None, *rest) == np.float32(1e-30) * np.float32(1e-12)).all()


def test_what_no_window_reaches_is_the_bias():
    for outputs in (1, 7):
        x, weight, bias = normal(2, 3, 4, 5), normal(3, outputs, 2, 1), normal(outputs)
        for b in (bias, None):
            rest = (4, 3), (0, 0), (1, 1), 1, (19, 17)
            got = conv_transpose(x, weight, b, *rest)
            np.testing.assert_allclose(got, reference.conv_transpose(x, weight, b, *rest), atol=1e-6)
            level = np.zeros(outputs, np.float32) if b is None else bias
            np.testing.assert_array_equal(got[0, :, 18, 16], level)


def test_as_many_threads_as_wanted_the_same_bits(monkeypatch):
    cases = [
        ((3, 5, 20, 21), (13, 5, 3, 3), 1, 1, 1), ((5, 30, 5, 5), (8, 30, 3, 3), 1, 1, 1),
        ((2, 6, 17, 19), (6, 1, 3, 3), 2, 1, 6), ((1, 8, 30, 31), (12, 4, 5, 5), 2, 2, 2),
    ]  # fmt: skip

    def all_of(threads):
        monkeypatch.setattr(convolution, "threads_for", lambda work, least: threads)
        monkeypatch.setattr(convolution, "get_num_threads", lambda: threads)
        _forget()
        for x, weight, g, rest in arrays:
            yield conv(x, weight, None, *rest)
            yield conv_transpose(g, weight, None, *rest, x.shape[2:])

    arrays = []
    for shape, weight, stride, padding, groups in cases:
        rest = (stride, stride), (padding, padding), (1, 1), groups
        x, w = normal(*shape), normal(*weight)
        arrays.append((x, w, normal(*reference.conv(x, w, None, *rest).shape), rest))
    alone = list(all_of(1))
    for threads in (2, 2):
        for one, many in zip(alone, all_of(threads)):
            np.testing.assert_array_equal(one, many)


def test_mixed_and_integer_dtypes_are_the_references():
    rest = (1, 1), (1, 1), (1, 1), 1
    x, weight = np.arange(50).reshape(1, 2, 5, 5), np.arange(36).reshape(2, 2, 3, 3)
    for a in (x, x.astype(np.float32)):
        np.testing.assert_array_equal(conv(a, weight, None, *rest), reference.conv(a, weight, None, *rest))
        np.testing.assert_array_equal(
            conv_transpose(a, weight, None, *rest, (5, 5)), reference.conv_transpose(a, weight, None, *rest, (5, 5))
        )
