"""What samples cannot show of resampling: transposes, tables, positions that are not finite, wrong arguments."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes.study.gradcheck import gradcheck

rng = np.random.default_rng(0)
PLANE = rng.standard_normal((2, 3, 4, 5))
IMAGE = np.arange(1.0, 5.0).reshape(1, 1, 2, 2)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic", "area"])
@pytest.mark.parametrize("size", [(2, 9), (7, 3)])
def test_gradient_is_the_transpose(mode, size):
    """⟨interpolate(x), g⟩ = ⟨x, transpose(g)⟩, and every weight of the elements that came in arrives."""
    x = tn.Tensor(PLANE, requires_grad=True)
    y = tn.interpolate(x, size, mode=mode)
    g = rng.standard_normal(y.shape)
    y.backward(g)
    assert (y.data * g).sum() == pytest.approx((x.data * x.grad.data).sum(), rel=1e-12)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic", "area", "smooth bilinear",
                                  "smooth bicubic"])  # fmt: skip
def test_a_constant_stays_constant(mode):
    mode, antialias = mode.split()[-1], mode.startswith("smooth")
    for size in (1, 3, 7, 20):
        y = tn.interpolate(np.full((1, 1, 6, 7), 3.0), size, mode=mode, antialias=antialias)
        np.testing.assert_allclose(y.data, 3.0, rtol=1e-14)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_a_ramp_stays_a_ramp_when_aligned(mode):
    line = np.linspace(-1, 2, 5)
    y = tn.interpolate(np.broadcast_to(line, (1, 1, 5, 5)), (5, 9), mode=mode, align_corners=True).data[0, 0, 2]
    inner = slice(None) if mode == "bilinear" else slice(2, 7)  # the border's copies bend the cubic
    np.testing.assert_allclose(y[inner], np.linspace(-1, 2, 9)[inner], atol=1e-14)


def test_nearest_keeps_labels():
    labels = np.arange(6, dtype=np.uint8).reshape(1, 1, 2, 3)
    assert tn.interpolate(labels, scale_factor=2).dtype == np.uint8
    assert tn.interpolate(labels, scale_factor=2, mode="bilinear").dtype == np.float32


def test_what_is_not_finite_stays_where_it_is_read():
    x = np.ones((1, 1, 6))
    x[0, 0, 5] = np.nan
    assert np.isfinite(tn.interpolate(x, 12, mode="linear").data[0, 0, :9]).all()


def test_interpolation_by_checkpoint_and_twice():
    """The table is shared by calls and is not written."""
    first = tn.interpolate(PLANE, 7, mode="bicubic").data
    np.testing.assert_array_equal(tn.interpolate(PLANE, 7, mode="bicubic").data, first)


# ---------------------------------------------------------------------- free positions


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 5)])
def test_the_identity_grid_reads_the_image(align_corners, padding_mode, size):
    x = rng.standard_normal((2, 3, *size))
    theta = np.broadcast_to([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], (2, 2, 3))
    grid = tn.affine_grid(theta, x.shape, align_corners)
    np.testing.assert_allclose(tn.grid_sample(x, grid, "bilinear", padding_mode, align_corners).data, x, atol=1e-14)


def test_sampling_is_interpolation():
    """An upsampled image is the image read at the elements of the larger plane."""
    grid = tn.affine_grid(np.broadcast_to(np.eye(2, 3), (2, 2, 3)), (2, 3, 9, 7))
    ours = tn.grid_sample(PLANE, grid, padding_mode="border").data
    np.testing.assert_allclose(ours, tn.interpolate(PLANE, (9, 7), mode="bilinear").data, atol=1e-13)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_positions_that_are_not_finite(mode):
    grid = np.array([[[[np.nan, 0.0], [np.inf, 0.0], [0.0, -np.inf], [1e300, 0.0]]]])
    x = np.array([[[[1.0, 2.0], [1.0, 2.0]]]])
    for align_corners, first in ((True, 1.0), (False, 0.5 if mode == "bilinear" else 1.0)):
        y = tn.grid_sample(x, grid, mode, "zeros", align_corners).tolist()[0][0][0]
        assert y == [first, 0.0, 0.0, 0.0]
    y = tn.grid_sample(x, grid, mode, "border").data[0, 0, 0]
    assert (y[[0, 1, 3]] == [1.0, 2.0, 2.0]).all()
    assert np.isfinite(tn.grid_sample(x, grid, mode, "reflection").data).all()


@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
def test_infinite_positions_along_an_axis_of_one_element(padding_mode):
    """With ``align_corners`` all of such an axis is its one element: inf times a length of 0 is no NaN."""
    y = tn.grid_sample([[[[5.0]]]], [[[[np.inf, 0.0], [0.0, -np.inf]]]], "bilinear", padding_mode, True)
    assert y.tolist() == [[[[5.0, 5.0]]]]


def test_an_element_that_is_not_read_does_no_harm():
    x = IMAGE.copy()
    x[0, 0, 1, 1] = np.nan
    assert tn.grid_sample(x, np.array([[[[-1.0, -1.0]]]]), align_corners=False).item() == 0.25


def test_both_gradients_through_a_transformer():
    """An image turned by a learned angle: gradients of first and second order through affine_grid and grid_sample."""

    def turned(angle, x):
        c, s, zero = tn.cos(angle), tn.sin(angle), angle * 0.0
        theta = tn.reshape(tn.stack([c, -s, zero, s, c, zero]), (1, 2, 3))
        return tn.grid_sample(x, tn.affine_grid(theta, (1, 1, 4, 4)))

    x = rng.standard_normal((1, 1, 4, 4))
    for order in (1, 2):
        gradcheck(turned, np.array(0.3), x, order=order).raise_if_failed()


def test_shuffles_are_inverse():
    x = rng.standard_normal((2, 12, 3, 4))
    np.testing.assert_array_equal(tn.pixel_unshuffle(tn.pixel_shuffle(x, 2), 2).data, x)
    np.testing.assert_array_equal(tn.channel_shuffle(tn.channel_shuffle(x, 3), 4).data, x)


WRONG = [
    (lambda: tn.interpolate(PLANE), tn.ShapeError, "interpolate: size is None, scale_factor None, expected one of"),
    (lambda: tn.interpolate(PLANE, 2, 2.0), tn.ShapeError, "interpolate: size is 2, scale_factor 2.0, expected one"),
    (lambda: tn.interpolate(PLANE, (2, 2, 2)), tn.ShapeError, r"size is \(2, 2, 2\), expected a number or 2"),
    (lambda: tn.interpolate(PLANE, 0), tn.ShapeError, "interpolate: size is 0, expected at least 1"),
    (lambda: tn.interpolate(PLANE, 1.5), tn.DTypeError, "interpolate: size is 1.5, expected an integer"),
    (lambda: tn.interpolate(PLANE, scale_factor=0.1), tn.ShapeError, r"scale_factor is 0.1, which leaves \(0, 0\)"),
    (lambda: tn.interpolate(PLANE, scale_factor=-1), tn.ShapeError, "scale_factor is -1, expected a finite number of"),
    (lambda: tn.interpolate(PLANE, 2, mode="linear"), tn.ShapeError, "expected .* 1 spatial axes for mode 'linear'"),
    (lambda: tn.interpolate(PLANE, 2, mode="cubic"), tn.ShapeError, "mode is 'cubic', expected 'nearest',"),
    (lambda: tn.interpolate(PLANE, 2, align_corners=True), tn.ShapeError, "align_corners is True, but mode 'nearest'"),
    (lambda: tn.interpolate(PLANE, 2, mode="area", antialias=True), tn.ShapeError, "antialias is for the modes"),
    (lambda: tn.interpolate(PLANE, 2, recompute_scale_factor=True), tn.ShapeError, "recompute_scale_factor is for a"),
    (lambda: tn.interpolate(PLANE[:, :, :0], 2), tn.ShapeError, "interpolate: x has spatial axes"),
    (lambda: tn.interpolate(PLANE[0, 0], 2), tn.ShapeError, r"x has shape \(4, 5\), expected \(N, C, ...\)"),
    (lambda: tn.affine_grid(np.ones((1, 2, 3)), (2, 1, 2, 2)), tn.ShapeError, r"theta has shape \(1, 2, 3\), expected"),
    (lambda: tn.affine_grid(np.ones((1, 2, 3)), (1, 2)), tn.ShapeError, r"affine_grid: size is \(1, 2\), expected"),
    (lambda: tn.grid_sample(PLANE, np.ones((2, 1, 1, 3))), tn.ShapeError, r"grid has shape \(2, 1, 1, 3\), expected"),
    (lambda: tn.grid_sample(PLANE, np.ones((1, 1, 1, 2))), tn.ShapeError, r"grid has shape \(1, 1, 1, 2\), expected"),
    (lambda: tn.grid_sample(PLANE[0], np.ones((2, 1, 2))), tn.ShapeError, r"grid_sample: x has shape \(3, 4, 5\)"),
    (lambda: tn.grid_sample(PLANE, np.ones((2, 1, 1, 2)), "cubic"), tn.ShapeError, "grid_sample: mode is 'cubic'"),
    (lambda: tn.pixel_shuffle(PLANE, 2), tn.ShapeError, "pixel_shuffle: x has 3 channels, expected a multiple of"),
    (lambda: tn.pixel_shuffle(PLANE[0, 0], 2), tn.ShapeError, r"pixel_shuffle: x has shape \(4, 5\), expected"),
    (lambda: tn.pixel_unshuffle(PLANE, 2), tn.ShapeError, r"pixel_unshuffle: x has planes of \(4, 5\), expected"),
    (lambda: tn.pixel_unshuffle(PLANE, 0), tn.ShapeError, "downscale_factor is 0, expected at least 1"),
    (lambda: tn.channel_shuffle(PLANE, 2), tn.ShapeError, "channel_shuffle: x has 3 channels, expected a multiple"),
    (lambda: tn.channel_shuffle(PLANE[0, 0], 2), tn.ShapeError, r"channel_shuffle: x has shape \(4, 5\), expected"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert type(caught.value) is error
