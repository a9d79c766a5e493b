"""The gradient of a convolution's weight by the CPU's kernels, against the reference in float64."""

from __future__ import annotations

import os
import subprocess
import sys

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import tinygrad_notes as tn
from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu import conv_weight_grad, weight_grad, weight_grad_plan
from tinygrad_notes.kernels.cpu.isa.tile import ROWS

RNG = np.random.default_rng(0)

# x (N, C, *size), outputs, kernel, stride, padding, dilation, groups; by dot products (or on tiles)
CASES = {
    "tiles": ((3, 20, 14, 14), 40, (3, 3), (1, 1), (1, 1), (1, 1), 1, False),
    "several blocks of channels and outputs": ((2, 100, 6, 6), 100, (3, 3), (1, 1), (1, 1), (1, 1), 1, False),
    "no padding, read in place": ((2, 19, 9, 8), 33, (3, 2), (2, 1), (0, 0), (1, 2), 1, False),
    "pointwise": ((9, 33, 7, 7), 70, (1, 1), (1, 1), (0, 0), (1, 1), 1, False),
    "strided pointwise": ((4, 33, 9, 7), 40, (1, 1), (2, 3), (0, 0), (1, 1), 1, False),
    "few channels": ((2, 3, 40, 37), 64, (7, 7), (2, 2), (3, 3), (1, 1), 1, False),
    "groups on tiles": ((2, 24, 9, 9), 48, (3, 3), (1, 2), (1, 1), (1, 1), 2, False),
    "wide rows": ((1, 6, 3, 700), 32, (3, 3), (1, 1), (1, 1), (1, 1), 1, False),
    "sequence": ((3, 8, 700), 40, (3,), (1,), (1,), (2,), 1, False),
    "one output pixel": ((9, 40, 3, 3), 40, (3, 3), (1, 1), (0, 0), (1, 1), 1, False),
    "depthwise": ((3, 5, 28, 27), 5, (3, 3), (1, 1), (1, 1), (1, 1), 5, True),
    "depthwise, read in place": ((3, 5, 28, 27), 5, (5, 3), (2, 1), (0, 0), (1, 1), 5, True),
    "depthwise, strides and dilation": ((5, 7, 28, 28), 14, (5, 3), (2, 3), (2, 1), (1, 2), 7, True),
    "depthwise, even strides": ((2, 17, 12, 12), 17, (3, 4), (2, 2), (1, 3), (2, 1), 17, True),
    "few outputs": ((20, 1, 28, 28), 6, (5, 5), (1, 1), (2, 2), (1, 1), 1, True),
    "depthwise sequence": ((2, 4, 100), 4, (3,), (1,), (1,), (1,), 4, True),
}
GEOMETRY = {"kernel": (1, 4), "stride": (1, 3), "padding": (0, 3), "dilation": (1, 2)}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
TOLERANCE = {np.float32: 1e-6, np.float64: 1e-14}


@pytest.fixture
def two_threads(monkeypatch):
    """Any work is worth a thread."""
    monkeypatch.setattr(weight_grad, "PER_THREAD", 1)


def normal(*shape: int, dtype=np.float32) -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


def gradient_like(x, outputs, kernel_size, stride, padding, dilation):
    counts = reference.windows.window_counts(x.shape[2:], kernel_size, stride, padding, dilation)
    return normal(x.shape[0], outputs, *counts, dtype=x.dtype)


def operands(case, dtype=np.float32):
    shape, outputs, kernel_size, stride, padding, dilation, groups, _ = case
    x = normal(*shape, dtype=dtype)
    rest = kernel_size, stride, padding, dilation
    return x, gradient_like(x, outputs, *rest), (*rest, groups)


def assert_same(x, g, rest) -> None:
    got = conv_weight_grad(x, g, *rest)
    wanted = reference.conv_weight_grad(x.astype(np.float64), g.astype(np.float64), *rest)
    assert got.dtype == x.dtype
    assert got.shape == wanted.shape
    scale = np.max(np.abs(wanted), initial=1e-30)
    assert np.max(np.abs(got - wanted), initial=0.0) <= TOLERANCE[x.dtype.type] * scale


@cases
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cases(two_threads, case, dtype):
    x, g, rest = operands(case, dtype)
    before = x.copy(), g.copy()
    assert_same(x, g, rest)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(g, before[1])


@cases
def test_the_way_that_is_expected(case):
    x, g, rest = operands(case)
    if weight_grad_plan.MACHINE.vector_bytes == 32:
        assert weight_grad_plan.make_plan(x.shape, g.shape, *rest, 4).by_dots == case[-1]


@st.composite
def convolutions(draw):
    """Shapes of every kind; sizes up to about three blocks."""
    axes = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    channels = groups * draw(st.sampled_from([1, 2, ROWS, 19]))
    outputs = groups * draw(st.sampled_from([1, 3, 8, 17, 33]))
    rest = tuple(tuple(draw(st.integers(*ends)) for _ in range(axes)) for ends in GEOMETRY.values())
    kernel, _, padding, dilation = rest
    least = [max(1, d * (k - 1) + 1 - 2 * p) for k, p, d in zip(kernel, padding, dilation)]
    size = tuple(n + draw(st.integers(0, 20 if axes < 3 else 4)) for n in least)
    images = draw(st.integers(0, 4))
    return (images, channels, *size), outputs, rest, groups


LAYOUTS = ("plain", "reversed", "every other", "turned", "one element")


def laid_out(x, layout):
    """The shape of x, in another layout."""
    if layout == "reversed":
        return x[::-1, ::-1, ..., ::-1]
    if layout == "every other":
        return np.repeat(x, 2, axis=-1)[..., ::2]
    if layout == "turned":
        return x.T.copy().T
    return np.broadcast_to(x.dtype.type(0.5), x.shape) if layout == "one element" else x


@hypothesis.given(convolutions(), st.sampled_from(LAYOUTS), st.sampled_from(LAYOUTS), st.booleans(), st.booleans())
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], deadline=None)
def test_any_shape_and_stride(two_threads, convolution, layout, g_layout, wide, fewer):
    shape, outputs, rest, groups = convolution
    x = normal(*shape, dtype=np.float64 if wide else np.float32)
    g = gradient_like(x, outputs, *rest)
    if fewer and g.shape[-1] > 1:  # windows than fit
        g = g[..., :-1]
    assert_same(laid_out(x, layout), laid_out(g, g_layout), (*rest, groups))


@cases
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_come_out_as_in_the_reference(case, value):
    """What is not finite reaches what its windows see, and nothing else, by what stands beside a row either."""
    x, g, rest = operands(case)
    x[0, -1, ..., 0], g[-1, 0, ..., -1] = value, value
    with np.errstate(all="ignore"):
        wanted = reference.conv_weight_grad(x, g, *rest)
    got = conv_weight_grad(x, g, *rest)
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-3)
    assert np.isfinite(wanted).any() == np.isfinite(got).any()


@cases
def test_as_many_threads_as_wanted_the_same_bits(case, monkeypatch):
    x, g, rest = operands(case)
    values = []
    for threads in (1, 2, 2):
        monkeypatch.setattr(weight_grad, "threads_for", lambda work, least, threads=threads: threads)
        values.append(conv_weight_grad(x, g, *rest))
    np.testing.assert_array_equal(values[0], values[1])
    np.testing.assert_array_equal(values[1], values[2])


def test_long_sums_are_accurate():
    """Sums over 10⁵ pixels of one sign, whose error would show in the sixth digit if they ran in one chain."""
    for shape, outputs, groups in (((32, 8, 56, 56), 16, 1), ((32, 8, 56, 56), 8, 8)):
        x, g = np.abs(normal(*shape)), np.abs(normal(shape[0], outputs, *shape[2:]))
        rest = (3, 3), (1, 1), (1, 1), (1, 1), groups
        got = conv_weight_grad(x, g, *rest)
        wanted = reference.conv_weight_grad(x.astype(np.float64), g.astype(np.float64), *rest)
        assert np.max(np.abs(got - wanted)) <= 1e-6 * np.max(wanted)


def test_what_the_kernels_do_not_take_is_the_references():
    x, g = normal(2, 4, 5, 5), normal(2, 4, 5, 5)
    rest = (3, 3), (1, 1), (1, 1), (1, 1), 1
    mixed = conv_weight_grad(x, g.astype(np.float64), *rest)
    np.testing.assert_allclose(mixed, reference.conv_weight_grad(x, g.astype(np.float64), *rest))
    whole = np.arange(200).reshape(2, 4, 5, 5)
    np.testing.assert_array_equal(
        conv_weight_grad(whole, whole, *rest), reference.conv_weight_grad(whole, whole, *rest)
    )


def test_through_the_op():
    x, weight = normal(2, 3, 8, 8), normal(4, 3, 3, 3)
    with tn.use_kernels("cpu"):
        w = tn.tensor(weight, requires_grad=True)
        tn.conv2d(x, w, padding=1).sum().backward()
    wanted = reference.conv_weight_grad(x, np.ones((2, 4, 8, 8), np.float32), (3, 3), (1, 1), (1, 1), (1, 1), 1)
    np.testing.assert_allclose(w.grad.data, wanted, rtol=1e-4, atol=1e-4)


ISA = """
import numpy as np
from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu import conv_weight_grad, weight_grad, weight_grad_plan
from tinygrad_notes.kernels.cpu.isa.machine import MACHINE
weight_grad.threads_for = lambda work, least: 1
rng = np.random.default_rng(0)
for outputs, groups in ((48, 1), (12, 12)):
    x, g = (rng.standard_normal((3, channels, 21, 9)).astype(np.float32) for channels in (12, outputs))
    rest = (3, 3), (1, 1), (1, 1), (1, 1), groups
    wanted = reference.conv_weight_grad(x.astype(float), g.astype(float), *rest)
    assert np.abs(conv_weight_grad(x, g, *rest) - wanted).max() <= 1e-6 * np.abs(wanted).max()
    print(weight_grad_plan.make_plan(x.shape, g.shape, *rest, 4).by_dots)
print(MACHINE.isa)
"""


def test_the_other_instruction_set():
    from_outside = {**os.environ, "TINYGRAD_NOTES_ISA": "avx512"}
    got = subprocess.run([sys.executable, "-c", ISA], env=from_outside, capture_output=True, text=True)
    assert got.returncode == 0, got.stderr
    assert got.stdout.split() == ["False", "True", "avx512"]
