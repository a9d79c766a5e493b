"""im2col, col2im and convolution by them, in one to three dimensions, against the reference: bit by bit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests.cuda_on_cpu import stand_in
from tests.cuda_on_cpu.stand_in import assert_caught
from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cuda import products
from tinygrad_notes.kernels.cuda.windows import col2im, conv_im2col, im2col
from tinygrad_notes.kernels.reference.windows import window_counts

RNG = np.random.default_rng(0)
# images, channels, size, kernel_size, stride, padding, dilation
CASES = [
    (2, 3, (7,), (3,), (1,), (1,), (1,)),
    (1, 2, (300,), (5,), (3,), (4,), (2,)),
    (2, 3, (5, 6), (3, 3), (1, 1), (1, 1), (1, 1)),
    (3, 2, (9, 7), (2, 3), (2, 3), (0, 2), (3, 1)),
    (2, 5, (6, 5), (1, 1), (1, 1), (0, 0), (1, 1)),
    (1, 1, (1, 1), (1, 1), (1, 1), (0, 0), (1, 1)),
    (1, 2, (4, 4), (2, 2), (3, 3), (0, 0), (1, 1)),  # rows and columns that no window sees
    (2, 1, (2, 2), (5, 5), (1, 1), (2, 2), (1, 1)),
    (2, 2, (4, 5, 6), (3, 2, 1), (2, 1, 3), (2, 0, 0), (1, 2, 1)),
    (1, 3, (20, 21), (3, 3), (1, 1), (1, 1), (1, 1)),
]


def normal(*shape: int, dtype: Any = np.float32) -> Any:
    return RNG.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_windows(order, case, dtype):
    images, channels, size, *geometry = case
    x = normal(images, channels, *size, dtype=dtype)
    columns = im2col(x, *geometry)
    wanted = reference.im2col(x, *geometry)
    assert columns.dtype == dtype
    np.testing.assert_array_equal(columns, wanted)
    g = normal(*wanted.shape, dtype=dtype)
    y = col2im(g, size, *geometry)
    np.testing.assert_array_equal(y, reference.col2im(g, size, *geometry))
    assert y.dtype == dtype
    kind = "float" if dtype == np.float32 else "double"
    assert stand_in.launches == [f"im2col<{kind}>", f"col2im<{kind}>"]


def test_views_and_what_is_not_finite(order):
    geometry = (3, 3), (1, 2), (1, 1), (1, 1)
    x = normal(2, 12, 6, 5)[:, ::-2, ::-1, 1:]
    x[0, 1, 2, 3], x[1, 2, 0, 0], x[1, 1, 1, 1] = np.nan, np.inf, -np.inf
    columns = im2col(x, *geometry)
    np.testing.assert_array_equal(columns, reference.im2col(x, *geometry))
    with np.errstate(invalid="ignore"):
        wanted = reference.col2im(columns[..., ::-1], (6, 4), *geometry)
    np.testing.assert_array_equal(col2im(columns[..., ::-1], (6, 4), *geometry), wanted)


@pytest.mark.parametrize(
    ("shape", "geometry"),
    [
        ((0, 2, 4, 4), ((2, 2), (1, 1), (0, 0), (1, 1))),
        ((2, 0, 4, 4), ((2, 2), (1, 1), (0, 0), (1, 1))),
        ((2, 2, 0, 4), ((2, 2), (1, 1), (1, 0), (1, 1))),
        ((2, 2, 1, 4), ((2, 2), (1, 1), (0, 0), (1, 1))),  # no window fits
        ((2, 1, 2, 2, 2, 2), ((1, 2, 1, 2), (1,) * 4, (0,) * 4, (1,) * 4)),  # four axes
    ],
)
def test_what_the_kernels_do_not_take_is_composed(shape, geometry):
    x = normal(*shape)
    columns = im2col(x, *geometry)
    wanted = reference.im2col(x, *geometry)
    np.testing.assert_array_equal(columns, wanted)
    np.testing.assert_array_equal(col2im(wanted, shape[2:], *geometry), reference.col2im(wanted, shape[2:], *geometry))
    integers = np.arange(48).reshape(1, 3, 4, 4)
    np.testing.assert_array_equal(im2col(integers, *CASES[2][3:]), reference.im2col(integers, *CASES[2][3:]))
    assert not stand_in.launches


@pytest.mark.parametrize("name", ["tensor", "plain", "cuBLAS"])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("case", [CASES[i] for i in (0, 3, 8)], ids=str)
def test_convolution_by_im2col(monkeypatch, name, groups, case):
    for table, value in {"WHO": dict.fromkeys(products.WHO, name), "SMALL": 0, "THIN": 0}.items():
        monkeypatch.setattr(products, table, value)
    images, channels, size, kernel_size, *geometry = case
    x, weight, bias = normal(images, 2 * channels, *size), normal(6, 2 * channels // groups, *kernel_size), normal(6)
    for given in (bias, None):
        y = conv_im2col(x, weight, given, *geometry, groups)
        wanted = reference.conv_im2col(x.astype(float), weight, given, *geometry, groups)
        assert y.dtype == np.float32
        assert y.shape == wanted.shape
        assert np.abs(y - wanted).max() < 1e-6 * np.abs(wanted).max()
    kernels = [launched.split("<")[0] for launched in stand_in.launches]
    assert kernels == 2 * {"tensor": ["im2col", "gemm"], "plain": ["im2col", "gemm_plain"], "cuBLAS": ["im2col"]}[name]


@pytest.mark.parametrize(
    ("replace", "by"),
    [
        ("z_at < g.size[0];", "z_at <= g.size[0];"),
        ("x_at >= 0 && x_at < g.size[2]", "x_at > 0 && x_at < g.size[2]"),
        ("                columns += windows;", "                columns += 1;"),
        ("blockDim.y + threadIdx.y", "blockDim.y"),
        ("window < g.counts[axis] && window * g.stride[axis] == begin", "window < g.counts[axis]"),
        ("(i * g.kernel[1] + j) * g.kernel[2]) * windows", "(j * g.kernel[0] + i) * g.kernel[2]) * windows"),
        ("place >= places) return;", "place >= places) x = nullptr;"),
    ],
)
def test_a_fault_is_caught(replace, by):
    def right() -> bool:
        good = True
        for images, channels, size, *geometry in (CASES[3], CASES[8]):
            x = normal(images, channels, *size)
            columns = normal(images, channels * math.prod(geometry[0]), math.prod(window_counts(size, *geometry)))
            good &= np.array_equal(im2col(x, *geometry), reference.im2col(x, *geometry))
            good &= np.array_equal(col2im(columns, size, *geometry), reference.col2im(columns, size, *geometry))
        return good

    assert_caught(right, "windows.cu", replace, by)
