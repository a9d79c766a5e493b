"""Pooling against PyTorch: values, indices and gradients."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn

torch = pytest.importorskip("torch")
F = torch.nn.functional

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
SHAPES = pytest.mark.parametrize("shape", [(2, 3, 9, 8), (2, 7, 10)])


def image(shape):
    return np.random.default_rng(len(shape)).standard_normal(shape)


@DTYPES
@SHAPES
@pytest.mark.parametrize("kernel", [2, (3, 2)])
@pytest.mark.parametrize("stride", [None, 1, (2, 3)])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("dilation", [1, (2, 1)])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_max_pool2d(parity, dtype, shape, kernel, stride, padding, dilation, ceil_mode):
    arguments = kernel, stride, padding, dilation, ceil_mode
    parity.check(
        lambda x: tn.max_pool2d(x, *arguments), lambda x: F.max_pool2d(x, *arguments), image(shape), dtype=dtype
    )


@DTYPES
@SHAPES
@pytest.mark.parametrize("ties", [False, True])
def test_max_pool2d_indices(parity, dtype, shape, ties):
    """The same elements win, ties included. Ours are int32, torch's int64."""
    x = np.round(image(shape)) if ties else image(shape)
    parity.check(
        lambda x: [
            v if v.requires_grad else v.astype(tn.int64) for v in tn.max_pool2d(x, 3, 2, 1, return_indices=True)
        ],
        lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True),
        x,
        dtype=dtype,
    )


@pytest.mark.parametrize("value", [np.nan, -np.inf, np.inf])
def test_max_pool2d_not_finite(parity, value):
    """One NaN a plane: of several, ours takes the first in a window, torch the last."""
    x = image((2, 3, 8, 8))
    x[x > 0.5 if value == value else (..., 4, 3)] = value
    parity.check(lambda x: tn.max_pool2d(x, 3, 2, 1), lambda x: F.max_pool2d(x, 3, 2, 1), x)


@DTYPES
@SHAPES
@pytest.mark.parametrize("kernel", [2, (3, 2)])
@pytest.mark.parametrize("stride", [None, 1, (2, 5)])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("count_include_pad", [True, False])
def test_avg_pool2d(parity, dtype, shape, kernel, stride, padding, ceil_mode, count_include_pad):
    arguments = kernel, stride, padding, ceil_mode, count_include_pad
    parity.check(
        lambda x: tn.avg_pool2d(x, *arguments), lambda x: F.avg_pool2d(x, *arguments), image(shape), dtype=dtype
    )


@DTYPES
@SHAPES
@pytest.mark.parametrize("size", [1, 3, (2, 5), (None, 1), (4, None), 12])
def test_adaptive_avg_pool2d(parity, dtype, shape, size):
    parity.check(
        lambda x: tn.adaptive_avg_pool2d(x, size), lambda x: F.adaptive_avg_pool2d(x, size), image(shape), dtype=dtype
    )


@DTYPES
def test_no_images(parity, dtype):
    empty = np.zeros((0, 3, 6, 6))
    parity.check(lambda x: tn.max_pool2d(x, 2), lambda x: F.max_pool2d(x, 2), empty, dtype=dtype)
    parity.check(lambda x: tn.avg_pool2d(x, 2), lambda x: F.avg_pool2d(x, 2), empty, dtype=dtype)
    parity.check(lambda x: tn.adaptive_avg_pool2d(x, 2), lambda x: F.adaptive_avg_pool2d(x, 2), empty, dtype=dtype)
