"""Pooling beyond its samples: ties, indices, padding that never wins, dtypes, errors."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn

X = np.random.default_rng(0).standard_normal((2, 3, 6, 5))


def gradient(function, x):
    leaf = tn.tensor(np.asarray(x, np.float64), requires_grad=True)
    function(leaf).sum().backward()
    return leaf.grad.data


def test_first_of_equals_gets_the_gradient():
    g = gradient(lambda x: tn.max_pool2d(x, 2), np.ones((1, 4, 4)))
    np.testing.assert_array_equal(g[0], [[1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]])


def test_overlapping_windows_add_up():
    x = np.zeros((1, 3, 3))
    x[0, 1, 1] = 1.0
    g = gradient(lambda x: tn.max_pool2d(x, 2, stride=1), x)
    assert g[0, 1, 1] == 4
    assert g.sum() == 4


def test_nan_is_the_largest_and_gets_the_gradient():
    x = np.array([[[0.0, np.nan], [5.0, np.nan]]])
    y, indices = tn.max_pool2d(x, 2, return_indices=True)
    assert np.isnan(y.item())
    assert indices.item() == 1
    np.testing.assert_array_equal(gradient(lambda a: tn.max_pool2d(a, 2), x)[0], [[0, 1], [0, 0]])


def test_padding_never_wins():
    x = -1.0 - np.abs(X)
    y = tn.max_pool2d(x, 3, stride=1, padding=1)
    assert y.shape == X.shape
    assert y.data.max() < 0
    everywhere = np.full((1, 2, 2), -np.inf)
    assert (tn.max_pool2d(everywhere, 2, padding=1).data == -np.inf).all()
    assert gradient(lambda a: tn.max_pool2d(a, 2, padding=1), everywhere).sum() == 4


@pytest.mark.parametrize("shape", [(2, 3, 6, 5), (3, 6, 5)])
def test_indices_say_where(shape):
    x = tn.tensor(X.reshape(-1)[: int(np.prod(shape))].reshape(shape), requires_grad=True)
    y, indices = tn.max_pool2d(x, (3, 2), stride=(2, 1), padding=1, return_indices=True)
    assert indices.dtype == tn.int32
    assert indices.shape == y.shape
    assert not indices.requires_grad
    flat = x.detach().reshape(*shape[:-2], -1)
    read = tn.take_along_axis(flat, indices.reshape(*shape[:-2], -1), axis=-1)
    np.testing.assert_array_equal(read.data.reshape(y.shape), y.data)


def test_ceil_mode_drops_a_window_that_starts_in_the_padding():
    assert tn.max_pool2d(tn.ones((1, 5, 5)), 2, stride=3, padding=1, ceil_mode=True).shape == (1, 2, 2)
    assert tn.max_pool2d(tn.ones((1, 5, 5)), 2, stride=3, padding=0, ceil_mode=True).shape == (1, 2, 2)
    assert tn.max_pool2d(tn.ones((1, 6, 5)), 2, stride=3, padding=1, ceil_mode=True).shape == (1, 3, 2)


def test_means_of_ones():
    """Padding counts as zeros, or not at all; what ceil_mode sees beyond it never counts."""
    ones = np.ones((1, 3, 3))
    counted = tn.avg_pool2d(ones, 2, padding=1).data[0]
    np.testing.assert_array_equal(counted, [[0.25, 0.5], [0.5, 1.0]])
    np.testing.assert_array_equal(tn.avg_pool2d(ones, 2, padding=1, count_include_pad=False).data, np.ones((1, 2, 2)))
    np.testing.assert_array_equal(tn.avg_pool2d(ones, 2, ceil_mode=True).data, np.ones((1, 2, 2)))
    np.testing.assert_array_equal(tn.adaptive_avg_pool2d(ones, (2, 5)).data, np.ones((1, 2, 5)))


def test_every_gradient_reaches_some_element():
    """Means pass on all of a gradient, whatever the windows."""
    g = gradient(lambda x: tn.avg_pool2d(x, (3, 2), stride=2, padding=1, ceil_mode=True, count_include_pad=False), X)
    assert g.sum() == pytest.approx(tn.avg_pool2d(X, (3, 2), stride=2, padding=1, ceil_mode=True).size)
    assert gradient(lambda x: tn.adaptive_avg_pool2d(x, (4, 7)), X).sum() == pytest.approx(2 * 3 * 4 * 7)


def test_adaptive_none_keeps_the_size():
    np.testing.assert_array_equal(tn.adaptive_avg_pool2d(X, None).data, X)
    np.testing.assert_allclose(tn.adaptive_avg_pool2d(X, (None, 1)).data, X.mean(axis=3, keepdims=True), rtol=1e-14)


def test_integers_become_float32():
    image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)
    for pooled in (tn.max_pool2d(image, 2), tn.avg_pool2d(image, 2), tn.adaptive_avg_pool2d(image, 2)):
        assert pooled.dtype == tn.float32


@pytest.mark.parametrize("images", [(0, 3), (2, 0)])
def test_nothing_to_pool(images):
    x = tn.ones((*images, 4, 4), requires_grad=True)
    total = tn.max_pool2d(x, 2).sum() + tn.avg_pool2d(x, 2).sum() + tn.adaptive_avg_pool2d(x, 3).sum()
    total.backward()
    assert x.grad.shape == x.shape


ERRORS = {
    "kernel 0": (lambda x: tn.max_pool2d(x, 0), "max_pool2d: kernel_size is 0, expected at least 1"),
    "three sizes": (lambda x: tn.max_pool2d(x, (2, 2, 2)), "expected an integer or two"),
    "stride 0": (lambda x: tn.max_pool2d(x, 2, stride=0), "stride is 0"),
    "negative stride": (lambda x: tn.avg_pool2d(x, 2, stride=-2), "avg_pool2d: stride is -2"),
    "padding": (lambda x: tn.max_pool2d(x, 2, padding=2), "padding is 2, expected at most half of kernel_size, 2"),
    "padding of one axis": (lambda x: tn.avg_pool2d(x, (4, 3), padding=2), "at most half of kernel_size"),
    "negative padding": (lambda x: tn.avg_pool2d(x, 3, padding=-1), "padding is -1"),
    "dilation 0": (lambda x: tn.max_pool2d(x, 2, dilation=0), "dilation is 0"),
    "too large": (lambda x: tn.max_pool2d(x, 7), r"\(7, 7\) is larger than the padded plane \(6, 5\)"),
    "mean too large": (lambda x: tn.avg_pool2d(x, (2, 6)), r"\(2, 6\) is larger than the padded plane \(6, 5\)"),
    "too far apart": (lambda x: tn.max_pool2d(x, 3, dilation=3), r"spans \(7, 7\) with dilation \(3, 3\)"),
    "only padding": (lambda x: tn.max_pool2d(x[:, :, :2], 2, padding=1, dilation=3), "sees nothing but padding"),
    "no rows": (lambda x: tn.max_pool2d(x[:, :, :0], 2), "expected at least one row and one column"),
    "no columns": (lambda x: tn.adaptive_avg_pool2d(x[..., :0], 2), "expected at least one row and one column"),
    "axes": (lambda x: tn.avg_pool2d(x[0, 0], 2), r"x has shape \(6, 5\), expected \(N, C, H, W\) or \(C, H, W\)"),
    "no windows": (lambda x: tn.adaptive_avg_pool2d(x, 0), r"output_size is \(0, 0\), expected at least 1"),
    "three windows": (lambda x: tn.adaptive_avg_pool2d(x, (1, 2, 3)), "output_size is"),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_shape_errors(call, message):
    with pytest.raises(tn.ShapeError, match=message):
        call(tn.tensor(X))


@pytest.mark.parametrize("size", ["2", 2.0, (2, None), True])
def test_sizes_are_integers(size):
    with pytest.raises(tn.DTypeError, match="kernel_size is"):
        tn.max_pool2d(X, size)
