"""Softmax's CUDA kernels against the reference in float64, and faults in them that these comparisons see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.cuda_on_cpu import stand_in
from tests.cuda_on_cpu.stand_in import assert_caught
from tests.kernels.operands import assert_close, normal
from tinygrad_notes.kernels import cuda, reference

FORWARD, BACKWARD = ("softmax", "log_softmax"), ("softmax_grad", "log_softmax_grad")
# By shape and axis: warps (a row of one element, up to 256, more), blocks (packs of 1 and more), columns, a moved axis.
SHAPES = [((5, 1), 1), ((9, 33), 1), ((2, 3, 300), -1), ((2, 1025), 1), ((2, 1028), 1), ((2, 5, 67), 1), ((7, 3), 0)]


def check(x: Any, g: Any, axis: int) -> None:
    scale = float(np.max(np.sum(np.abs(g), axis), initial=1.0))
    for forward, backward in zip(FORWARD, BACKWARD):
        y = getattr(cuda, forward)(x, axis)
        wanted = getattr(reference, forward)(x.astype(float), axis)
        assert_close(y, wanted, x)
        slopes = getattr(reference, backward)(g.astype(float), wanted, axis)
        got = getattr(cuda, backward)(g, y, axis)
        assert_close(got, slopes, x, scale)
        np.testing.assert_array_equal(got, getattr(cuda, backward)(g, y, axis))  # twice the same bits


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_kernel(order, shape, axis, dtype):
    check(3 * normal(*shape, dtype=dtype), normal(*shape, dtype=dtype), axis)
    assert stand_in.launches


def test_strides_and_views(order):
    wide = normal(4, 2060)
    for x in (wide[:, ::-2], wide.T[:40], np.broadcast_to(wide[:1], (3, 2060)), wide.reshape(-1)[1 : 1 + 2 * 1028]):
        check(x, x[::-1], -1)


@pytest.mark.parametrize("shape", [(0,), (0, 4), (4, 0), (3, 0, 2)])
def test_empty(shape):
    x = np.empty(shape, np.float32)
    for forward, backward in zip(FORWARD, BACKWARD):
        assert getattr(cuda, forward)(x, -1).shape == getattr(cuda, backward)(x, x, -1).shape == shape


@pytest.mark.parametrize(("n", "axis"), [(21, 1), (1030, 1), (21, 0)])
def test_values_that_are_not_finite_stay_in_their_row(order, n, axis):
    x = normal(40, n)
    x[1, 3], x[2, 5], x[3, 7], x[4], x[5, : n - 1], x[6, 2] = np.nan, np.inf, -np.inf, -np.inf, -np.inf, 3e38
    x[7, ::2], x[8], x[9, :9], x[10, -1] = -1e38, 88 + x[8], -np.inf, np.nan
    x = x if axis == 1 else np.ascontiguousarray(x.T)
    for forward, backward in zip(FORWARD, BACKWARD):
        with np.errstate(all="ignore"):
            wanted = getattr(reference, forward)(x, axis)
            slopes = getattr(reference, backward)(x, wanted, axis)
        y = getattr(cuda, forward)(x, axis)
        np.testing.assert_allclose(y, wanted, rtol=2e-6, atol=1e-7)
        got, finite = getattr(cuda, backward)(x, y, axis), np.isfinite(slopes)
        np.testing.assert_array_equal(np.isfinite(got), finite)
        np.testing.assert_allclose(got[finite], slopes[finite], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("file", "replace", "by", "shape"),
    [
        ("prims.cuh", "= value;\n    __syncthreads();\n    value = of", "= value;\n    value = of", (1, 1100)),
        ("prims.cuh", "for (int warp = 1;", "for (int warp = 2;", (1, 1100)),
        ("prims.cuh", "distance > 0; distance /= 2", "distance > 1; distance /= 2", (3, 20)),
        ("softmax.cu", "if (lane + 32 * i < n) sum += e;", "sum += e + (lane + 32 * i < n ? 0 : 1);", (3, 20)),
        ("softmax.cu", "i < end; i += inner) own.add", "i <= end; i += inner) own.add", (20, 40)),
        ("softmax.cu", "sum = sum * static_cast<double>(exp(largest - x))", "sum = sum", (1, 1100)),
    ],
)
def test_a_fault_is_caught(file, replace, by, shape):
    axis = 0 if shape == (20, 40) else 1
    x = np.sort(normal(*shape), axis=axis)

    def compare() -> None:
        check(x, x, axis)

    assert_caught(compare, file, replace, by)
