"""Resized crops, deformation, blur, noise, blocks, erasing, mosaics of image batches."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes.data import (
    background_noise,
    elastic_deformation,
    gaussian_blur,
    gaussian_noise,
    mosaic,
    pixelate,
    random_erasing,
    random_gaussian_blur,
    random_resized_crop,
    resize,
    salt_and_pepper_noise,
    sharpen,
)
from tinygrad_notes.data.pixels import random_rectangles
from tinygrad_notes.errors import DTypeError, ShapeError

rng = np.random.default_rng(0)
COLOUR = rng.random((16, 3, 8, 10)).astype(np.float32)

RANDOM = {
    "random_resized_crop": functools.partial(random_resized_crop, size=(5, 6)),
    "random_erasing": functools.partial(random_erasing, p=0.9),
    "random_gaussian_blur": random_gaussian_blur,
    "elastic_deformation": functools.partial(elastic_deformation, alpha=5, sigma=2),
    "gaussian_noise": gaussian_noise,
    "salt_and_pepper_noise": functools.partial(salt_and_pepper_noise, p=0.3),
}


@pytest.mark.parametrize("name", RANDOM)
def test_the_generator_decides_and_the_images_stay_as_they_were(name):
    change, before = RANDOM[name], COLOUR.copy()
    first, second = change(COLOUR, generator=1), change(tn.tensor(COLOUR), generator=1)
    assert first.tolist() == second.tolist()
    assert first.tolist() != change(COLOUR, generator=2).tolist()
    assert first.dtype == np.float32
    assert np.array_equal(COLOUR, before)
    tn.manual_seed(5)
    from_package = change(COLOUR)
    tn.manual_seed(5)
    assert change(COLOUR).tolist() == from_package.tolist()
    assert change(COLOUR[:0], generator=1).shape == (0, *first.shape[1:])
    assert len({image.tobytes() for image in change(np.repeat(COLOUR[:1], 40, 0), generator=0).data}) > 1


def test_rectangles_have_the_areas_and_ratios_that_were_asked_for():
    top, left, high, wide = random_rectangles((100, 80), 2000, (0.1, 0.5), (0.5, 2.0), np.random.default_rng(0))
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + high <= 100).all()
    assert (left + wide <= 80).all()
    area, ratio = high * wide / 8000, wide / high
    assert (area.min(), area.max()) == (pytest.approx(0.1, abs=0.01), pytest.approx(0.5, abs=0.01))
    assert (ratio.min(), ratio.max()) == (pytest.approx(0.5, abs=0.03), pytest.approx(2.0, abs=0.1))
    assert np.mean(np.log(ratio)) == pytest.approx(0, abs=0.1)
    assert (top.min(), left.min()) == (0, 0)
    assert ((top + high).max(), (left + wide).max()) == (100, 80)


def test_a_rectangle_that_never_fits_is_the_largest_in_the_middle():
    places = random_rectangles((4, 100), 3, (1.0, 1.0), (0.5, 2.0), np.random.default_rng(0))
    assert [v.tolist() for v in places] == [[0] * 3, [46] * 3, [4] * 3, [8] * 3]


def test_resized_crops_are_resized_parts():
    assert np.allclose(random_resized_crop(np.full((9, 2, 12, 7), 0.3), 5, generator=0).data, 0.3)
    whole = random_resized_crop(COLOUR, (4, 5), (1, 1), (1.25, 1.25), generator=0).data
    assert np.allclose(whole, resize(COLOUR, 4, 5))
    y, x = np.mgrid[:40.0, :40.0]
    plane = np.stack([y, x])[None].repeat(50, 0)
    crops = random_resized_crop(plane, 8, (0.1, 0.3), generator=0).data
    assert np.allclose(np.diff(crops[:, 0, 2:-2], axis=1), np.diff(crops[:, 0, 2:4], axis=1))  # linear stays linear
    assert (crops >= 0).all()
    assert (crops <= 39).all()
    sides = 8 * (crops[:, 0, 4, 0] - crops[:, 0, 3, 0]) * 8 * (crops[:, 1, 0, 4] - crops[:, 1, 0, 3])
    assert (sides.min() / 1600, sides.max() / 1600) == (pytest.approx(0.1, abs=0.02), pytest.approx(0.3, abs=0.02))


def test_erasing_fills_a_rectangle_of_the_area_with_the_probability():
    images = np.ones((1000, 2, 30, 30))
    erased = random_erasing(images, 0.3, (0.1, 0.2), (1, 1), fill=7, generator=0).data == 7
    assert np.array_equal(erased[:, 0], erased[:, 1])
    area = erased[:, 0].mean((1, 2))
    assert np.mean(area > 0) == pytest.approx(0.3, abs=0.05)
    assert (area[area > 0] >= 0.09).all()
    assert (area[area > 0] <= 0.21).all()
    for mask in erased[area > 0, 0]:
        y, x = np.nonzero(mask)
        assert len(y) == (np.ptp(y) + 1) * (np.ptp(x) + 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blur_is_that_of_scipy(dtype):
    ndimage = pytest.importorskip("scipy.ndimage")
    images = COLOUR.astype(dtype)
    for sigma, radius in ((0.4, None), (1.3, None), (2.0, 3), (5.0, 20)):
        reach = int(np.ceil(3 * sigma)) if radius is None else radius
        expected = ndimage.gaussian_filter(images, sigma, axes=(2, 3), mode="mirror", radius=reach)
        assert np.allclose(
            gaussian_blur(images, sigma, radius).data, expected, atol=1e-6 if dtype == np.float32 else 1e-12
        )


def test_blur_is_a_sum_of_weights_that_add_up_to_one_row_times_column():
    spot = np.zeros((1, 1, 9, 9))
    spot[0, 0, 4, 4] = 1
    weights = gaussian_blur(spot, 1.0).data[0, 0]
    assert weights.sum() == pytest.approx(1)
    assert np.allclose(weights, np.outer(weights.sum(1), weights.sum(0)))
    assert np.allclose(weights, weights.T)
    each = gaussian_blur(np.repeat(COLOUR[:1], 3, 0), [0, 0.7, 1.5]).data
    assert np.array_equal(each[0], COLOUR[0])
    assert np.allclose(each[1], gaussian_blur(COLOUR[:1], 0.7).data[0], atol=1e-6)
    some = random_gaussian_blur(np.repeat(COLOUR[:1], 500, 0), (1, 2), 0.3, generator=0).data
    assert np.mean((some != COLOUR[0]).any((1, 2, 3))) == pytest.approx(0.3, abs=0.06)


def test_sharpening_goes_away_from_the_blurred_image():
    expected = COLOUR + 0.7 * (COLOUR - gaussian_blur(COLOUR, 1.2).data)
    assert np.allclose(sharpen(COLOUR, 0.7, 1.2).data, expected, atol=1e-6)
    assert np.array_equal(sharpen(COLOUR, 0).data, COLOUR)


def test_a_deformation_moves_pixels_smoothly_by_about_what_is_said():
    assert np.array_equal(elastic_deformation(COLOUR, 0).data, COLOUR)
    y, x = np.mgrid[:40.0, :40.0]
    plane = np.stack([y, x])[None].repeat(20, 0)
    moved = (elastic_deformation(plane, 30, 4, fill=np.nan, generator=0).data - plane)[..., 10:-10, 10:-10]
    # the deviation of the mean of n numbers with the weights w is their deviation, 1/√3, times √Σw²
    assert np.nanstd(moved) == pytest.approx(30 / np.sqrt(3) / (4 * np.sqrt(4 * np.pi)), rel=0.15)
    assert np.nanmax(np.abs(np.diff(moved, axis=-1))) < 2
    assert np.isnan(elastic_deformation(plane, 300, 4, fill=np.nan, generator=0).data).any()


def test_pixels_become_the_mean_of_their_block():
    got = pixelate(COLOUR, 4).data
    for top in (0, 4):
        for left, right in ((0, 4), (4, 8), (8, 10)):
            block = COLOUR[:, :, top : top + 4, left:right].mean((2, 3), keepdims=True)
            assert np.allclose(got[:, :, top : top + 4, left:right], block)
    assert np.array_equal(pixelate(COLOUR, 1).data, COLOUR)
    assert np.allclose(pixelate(COLOUR, 99).data, COLOUR.mean((2, 3), keepdims=True))


def test_noise_has_the_deviation_or_the_share_that_was_asked_for():
    grey = np.full((50, 3, 40, 40), 0.5)
    noise = gaussian_noise(grey, 0.2, generator=0).data - grey
    assert (noise.mean(), noise.std()) == (pytest.approx(0, abs=0.002), pytest.approx(0.2, rel=0.01))
    noisy = salt_and_pepper_noise(grey, 0.2, salt=0.9, pepper=0.1, generator=0).data
    assert np.array_equal(noisy[:, 0], noisy[:, 2])
    for value, share in ((0.9, 0.1), (0.1, 0.1), (0.5, 0.8)):
        assert np.mean(noisy == value) == pytest.approx(share, abs=0.005)
    assert np.array_equal(salt_and_pepper_noise(COLOUR, 0).data, COLOUR)


@pytest.mark.parametrize("snr", [-3.0, 0.0, 20.0])
def test_background_noise_is_exactly_as_loud_as_said(snr):
    signals, noise = rng.standard_normal((5, 2, 100)), rng.standard_normal(100) * 7
    added = background_noise(signals, noise, snr).data - signals
    power, loud = (np.mean(a * a, -1) for a in (signals, added))
    assert np.allclose(10 * np.log10(power / loud), snr)
    assert np.allclose(added / noise, (added / noise)[..., :1])
    assert background_noise(signals.astype(np.float32), noise, snr).dtype == np.float32


@pytest.mark.parametrize("seed", range(6))
def test_a_mosaic_shows_four_images_that_meet_at_a_point_and_mixes_targets_by_area(seed):
    height, width = 12, 8
    y, x = np.mgrid[:height, :width]
    number = np.arange(1, 17)[:, None, None] * np.ones((16, height, width))
    images = np.stack([number, y + 0 * number, x + 0 * number], 1)  # a pixel tells its image and its place there
    before = images.copy()
    got, targets = (t.data for t in mosaic(images, np.arange(16), 16, generator=seed))
    assert np.array_equal(images, before)
    for i in range(16):
        taken = np.bincount(got[i, 0].astype(int).ravel(), minlength=17)[1:] / (height * width)
        assert np.allclose(taken, targets[i], atol=1e-6)
        assert got[i, 0, 0, 0] == i + 1
    down = int((got[0, 1, :, 0] == 0).argmax())  # where the lower images begin with their first row
    right = int((got[0, 2, 0] == 0).argmax())
    assert 3 <= down <= 9
    assert 2 <= right <= 6
    rows = np.concatenate([np.arange(height - down, height), np.arange(height - down)])
    columns = np.concatenate([np.arange(width - right, width), np.arange(width - right)])
    assert np.array_equal(got[:, 1], np.broadcast_to(rows[:, None], (16, height, width)))
    assert np.array_equal(got[:, 2], np.broadcast_to(columns, (16, height, width)))
    for top, bottom in ((0, down), (down, height)):
        for left, east in ((0, right), (right, width)):
            assert (got[:, 0, top:bottom, left:east] == got[:, 0, top, left][:, None, None]).all()
            assert len(np.unique(got[:, 0, top, left])) == 16


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: random_resized_crop(x[0], 3), ShapeError, "random_resized_crop: images have shape"),
        (lambda x: random_resized_crop(x, 3, (0.5, 1.5)), ShapeError, r"scale is \(0\.5, 1\.5\), .* at most 1"),
        (lambda x: random_resized_crop(x, 3, (0.5, 0.2)), ShapeError, "from the lowest to the highest"),
        (lambda x: random_resized_crop(x, 3, 0.5), ShapeError, r"scale is 0\.5, expected two numbers"),
        (lambda x: random_resized_crop(x, 3, ratio=(0, 1)), ShapeError, "a least ratio above 0"),
        (lambda x: random_resized_crop((x * 9).astype(np.int64), 3), DTypeError, "images are int64"),
        (lambda x: random_resized_crop(x[:, :, :0], 3), ShapeError, "at least one pixel"),
        (lambda x: random_erasing(x, 1.5), ShapeError, r"random_erasing: p is 1\.5"),
        (lambda x: gaussian_blur(x, -1), ShapeError, "gaussian_blur: sigma is -1"),
        (lambda x: gaussian_blur(x, [1, 2]), ShapeError, "gaussian_blur: "),
        (lambda x: gaussian_blur(x, 1, -1), ShapeError, "radius is -1"),
        (lambda x: random_gaussian_blur(x, (2, 1)), ShapeError, "sigma is"),
        (lambda x: sharpen(x, -1), ShapeError, "sharpen: amount is -1"),
        (lambda x: elastic_deformation(x, -1), ShapeError, "alpha is -1"),
        (lambda x: elastic_deformation(x, 1, generator="x"), DTypeError, "elastic_deformation: generator is 'x'"),
        (lambda x: pixelate(x, 0), ShapeError, "block is 0"),
        (lambda x: gaussian_noise(x, -1), ShapeError, "std is -1"),
        (lambda x: salt_and_pepper_noise(x, -0.5), ShapeError, r"p is -0\.5"),
        (lambda x: background_noise(x, np.zeros(10), 3), ShapeError, "noise is silent"),
        (lambda x: background_noise(x, np.ones(7), 3), ShapeError, "noise is 7 long, the signals are 10"),
        (lambda x: background_noise(x, np.arange(10), 3), ShapeError, "noise is int64"),
        (lambda x: mosaic(x, np.arange(16)), ShapeError, "mosaic: targets are class numbers"),
        (lambda x: mosaic(x, np.arange(16), 16, 0.7), ShapeError, r"least is 0\.7, expected at most 0\.5"),
    ],
)
def test_wrong_arguments_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(COLOUR)
