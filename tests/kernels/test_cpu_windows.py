"""im2col, col2im and convolution by them, on the CPU's kernels, against the reference."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu import col2im, conv_im2col, im2col, windows

RNG = np.random.default_rng(0)
GEOMETRY = {"kernel": (1, 4), "stride": (1, 3), "padding": (0, 5), "dilation": (1, 3)}


@pytest.fixture
def two_threads(monkeypatch):
    """Any work is worth a thread."""
    monkeypatch.setattr(windows, "PER_THREAD", 1)


def normal(*shape: int, dtype=np.float32) -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


@st.composite
def geometries(draw):
    """(N, C), size, and kernel, stride, padding, dilation."""
    axes = draw(st.integers(1, 3))
    rest = tuple(tuple(draw(st.integers(*ends)) for _ in range(axes)) for ends in GEOMETRY.values())
    kernel, _, padding, dilation = rest
    least = [max(1, d * (k - 1) + 1 - 2 * p) for k, p, d in zip(kernel, padding, dilation)]
    size = tuple(n + draw(st.integers(0, 12 if axes < 3 else 4)) for n in least)
    return (draw(st.integers(0, 3)), draw(st.integers(1, 4))), size, rest


def laid_out(x, layout):
    """The shape of x, in another layout."""
    if layout == "reversed":
        return x[::-1, ::-1, ..., ::-1]
    return x.T.copy().T if layout == "turned" else x


layouts = st.sampled_from(["plain", "reversed", "turned"])
dtypes = st.sampled_from([np.float32, np.float64, np.int64])
settings = hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], deadline=None)


@hypothesis.given(geometries(), layouts, dtypes)
@settings
def test_the_same_bits_as_the_reference(two_threads, geometry, layout, dtype):
    lead, size, rest = geometry
    x = laid_out((8 * normal(*lead, *size, dtype=np.float64)).astype(dtype), layout)
    columns, wanted = im2col(x, *rest), reference.im2col(x, *rest)
    assert columns.dtype == dtype
    np.testing.assert_array_equal(columns, wanted)
    columns = laid_out((8 * normal(*wanted.shape, dtype=np.float64)).astype(dtype), layout)
    back, wanted = col2im(columns, size, *rest), reference.col2im(columns, size, *rest)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, wanted)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e-42])
def test_values_are_copied(value):
    x = normal(2, 3, 9, 8)
    x[0, 1, 3], x[1, 2, :, 0] = value, value
    rest = (3, 3), (1, 2), (2, 1), (1, 1)
    columns = im2col(x, *rest)
    np.testing.assert_array_equal(columns, reference.im2col(x, *rest))
    np.testing.assert_array_equal(col2im(columns, (9, 8), *rest), reference.col2im(columns, (9, 8), *rest))


def test_as_many_threads_as_wanted_the_same_bits(monkeypatch):
    columns, rest = normal(3, 5 * 9, 11 * 12), ((3, 3), (1, 1), (1, 1), (1, 1))
    values = []
    for threads in (1, 2):
        monkeypatch.setattr(windows, "threads_for", lambda work, least, threads=threads: threads)
        values.append(col2im(columns, (11, 12), *rest))
    np.testing.assert_array_equal(*values)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("images", [0, 1, 3])
@pytest.mark.parametrize(
    ("size", "kernel", "rest", "groups"),
    [
        ((20, 19), (3, 3), ((1, 1), (1, 1), (1, 1)), 1),
        ((20, 19), (3, 2), ((2, 1), (0, 2), (1, 2)), 2),
        ((33,), (5,), ((2,), (2,), (1,)), 4),
        ((5, 6, 7), (2, 3, 3), ((1, 1, 2), (1, 0, 1), (1, 1, 1)), 2),
    ],
)
def test_convolution(dtype, bias, images, size, kernel, rest, groups):
    x, weight = normal(images, 8, *size, dtype=dtype), normal(12, 8 // groups, *kernel, dtype=dtype)
    b = normal(12, dtype=dtype) if bias else None
    got, wanted = (f(x, weight, b, *rest, groups) for f in (conv_im2col, reference.conv_im2col))
    assert got.dtype == dtype
    assert got.flags.c_contiguous
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance * np.max(np.abs(wanted), initial=1))
