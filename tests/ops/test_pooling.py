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


def test_ceil_mode_takes_a_kernel_that_reaches_beyond():
    """A window that starts inside counts, though no whole one fits; by a stride or more it is refused."""
    line = np.array([[1.0, 3.0]])
    assert tn.max_pool1d(line, 3, 2, ceil_mode=True).tolist() == [[3.0]]
    assert tn.avg_pool1d(line, 3, 2, ceil_mode=True).tolist() == [[2.0]]
    assert tn.lp_pool2d(line[None], 1, (1, 3), 2, ceil_mode=True).tolist() == [[[6.0]]]
    for call in (tn.max_pool1d, tn.avg_pool1d):
        with pytest.raises(tn.ShapeError, match="a kernel of size"):
            call(line, 3, 1, ceil_mode=True)


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


# ---------------------------------------------------------------------- other axes, adaptive, unpooling, norms


@pytest.mark.parametrize("name", ["max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool"])
def test_axes_of_size_one_are_another_dimension(name):
    """A sequence is an image of one row, an image a volume of one slice."""
    sequence, size = X[:, :, 0], 3 if name.startswith("adaptive") else 2
    one, two, three = (getattr(tn, f"{name}{axes}d") for axes in (1, 2, 3))
    np.testing.assert_allclose(one(sequence, size).data, two(sequence[:, :, None], (1, size)).data[:, :, 0], rtol=1e-14)
    np.testing.assert_allclose(two(X, size).data, three(X[:, :, None], (1, size, size)).data[:, :, 0], rtol=1e-14)
    for x, function in ((sequence, one), (X, two)):
        np.testing.assert_array_equal(function(x[1], size).data, function(x, size).data[1])


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_adaptive_maximum_of_equal_windows_is_max_pool(axes):
    """Indices and ties as well."""
    x = np.round(np.random.default_rng(1).standard_normal((2, 3, *(4, 6, 4)[:axes])))
    size, count = (2, 3, 2)[:axes], (2, 2, 2)[:axes]
    ours = getattr(tn, f"adaptive_max_pool{axes}d")
    for a, b in zip(ours(x, count, return_indices=True), getattr(tn, f"max_pool{axes}d")(x, size, return_indices=True)):
        np.testing.assert_array_equal(a.data, b.data)
        assert a.dtype == b.dtype


def test_adaptive_first_of_equals_gets_the_gradient():
    g = gradient(lambda x: tn.adaptive_max_pool2d(x, 1), np.array([[[0.0, 2.0, 1.0], [2.0, 2.0, 0.0]]]))
    np.testing.assert_array_equal(g[0], [[0, 1, 0], [0, 0, 0]])
    g = gradient(lambda x: tn.adaptive_max_pool1d(x, 1), np.array([[1.0, np.nan, 9.0, np.nan]]))
    np.testing.assert_array_equal(g[0], [0, 1, 0, 0])


def test_unpooling_leads_back():
    x = tn.tensor(X, requires_grad=True)
    y, indices = tn.max_pool2d(x, 2, return_indices=True)
    back = tn.max_unpool2d(y, indices, 2, output_size=X.shape)
    assert back.shape == X.shape
    assert (back.data != 0).sum() == y.size
    np.testing.assert_array_equal(back.data[back.data != 0], X[back.data != 0])
    (back * 3.0).sum().backward()
    np.testing.assert_array_equal(x.grad.data, 3.0 * (back.data != 0))


def test_unpooling_a_place_that_is_named_twice():
    """The last element stands there, and it alone gets the gradient."""
    x, indices = tn.tensor([[[1.0, 2.0, 3.0]]], requires_grad=True), np.array([[[4, 1, 4]]])
    y = tn.max_unpool2d(x, indices, (2, 1), stride=1)
    np.testing.assert_array_equal(y.data[0], [[0, 2, 0], [0, 3, 0]])
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, [[[0, 1, 1]]])


def test_norms():
    x = np.array([[[3.0, 4.0, 0.0, 0.0]]])
    np.testing.assert_allclose(tn.lp_pool2d(x, 2, (1, 2)).data, [[[5.0, 0.0]]])
    np.testing.assert_allclose(gradient(lambda a: tn.lp_pool2d(a, 2, (1, 2)), x)[0], [[0.6, 0.8, 0, 0]])
    np.testing.assert_allclose(tn.lp_pool2d(-x, 1, (1, 2)).data, [[[-7.0, 0.0]]])
    assert tn.lp_pool2d(np.ones((1, 2, 2), np.int64), 2, 2).dtype == tn.float32
    large = tn.lp_pool2d(np.abs(X), 80, 2).data
    np.testing.assert_allclose(large, tn.max_pool2d(np.abs(X), 2).data, rtol=0.02)


S = tn.ones((1, 2, 5))
V = tn.ones((1, 2, 4, 5, 5))
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
    "image as sequence": (lambda x: tn.max_pool1d(x, 2), r"max_pool1d: x has .* expected \(N, C, L\) or \(C, L\)"),
    "image as volume": (
        lambda x: tn.avg_pool3d(x[:, 0], 2),
        r"avg_pool3d: x has .* \(N, C, D, H, W\) or \(C, D, H, W\)",
    ),
    "sequence too short": (lambda x: tn.max_pool1d(S, 6), r"max_pool1d: .* padded sequence \(5,\)"),
    "volume too small": (lambda x: tn.max_pool3d(V, 5), r"max_pool3d: .* padded volume \(4, 5, 5\)"),
    "empty sequence": (lambda x: tn.avg_pool1d(S[..., :0], 2), "avg_pool1d: .* expected at least one element"),
    "empty volume": (lambda x: tn.max_pool3d(V[:, :, :0], 2), "at least one plane, row and column"),
    "sizes of a sequence": (
        lambda x: tn.adaptive_max_pool1d(S, (1, 2)),
        r"output_size is \(1, 2\), expected an integer$",
    ),
    "padding of a sequence": (
        lambda x: tn.max_pool1d(S, 2, padding=2),
        "max_pool1d: padding is 2, expected at most half",
    ),
    "axes of adaptive": (lambda x: tn.adaptive_max_pool2d(x[0, 0], 2), "adaptive_max_pool2d: x has shape"),
    "norm 0": (lambda x: tn.lp_pool2d(x, 0, 2), "lp_pool2d: norm_type is 0, expected a finite number above 0"),
    "norm inf": (lambda x: tn.lp_pool2d(x, np.inf, 2), "norm_type is inf"),
    "norm too large": (lambda x: tn.lp_pool2d(x, 2, 7), "lp_pool2d: a kernel of size"),
    "norm axes": (lambda x: tn.lp_pool2d(x[0, 0], 2, 2), "lp_pool2d: x has shape"),
    "unpool shapes": (lambda x: tn.max_unpool2d(x, np.zeros((2, 2), int), 2), "max_unpool2d: indices has shape"),
    "unpool size": (lambda x: tn.max_unpool2d(x, np.zeros(X.shape, int), 2, output_size=(14, 10)), "less than stride"),
    "unpool nothing": (
        lambda x: tn.max_unpool2d(x[..., :1], np.zeros((2, 3, 6, 1), int), 2, 1, 1),
        "cuts everything off",
    ),
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


def test_unpooling_refuses_indices_of_other_kinds():
    x = tn.ones((1, 1, 2, 2))
    with pytest.raises(tn.DTypeError, match="indices has dtype float32, expected integers"):
        tn.max_unpool2d(x, x, 2)
    for wrong in (16, -1):
        with pytest.raises(IndexError, match=f"index {wrong} is out of range for a plane of size"):
            tn.max_unpool2d(x, np.full((1, 1, 2, 2), wrong), 2)
