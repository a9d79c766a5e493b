"""Random changes of images: what each may do, what it must keep, and that the seed decides."""

import functools

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes.data import (
    DataLoader,
    TensorDataset,
    Transformed,
    colour_jitter,
    cutmix,
    cutout,
    mixup,
    normalise,
    random_crop,
    random_horizontal_flip,
    random_rotation,
    random_vertical_flip,
    resize,
    rotate,
)
from tinygrad_notes.errors import DTypeError, ShapeError

COLOUR = np.random.default_rng(0).random((16, 3, 8, 10)).astype(np.float32)
LABELS = np.arange(16) % 4

RANDOM = {
    "random_crop": functools.partial(random_crop, size=(5, 6), padding=1),
    "random_horizontal_flip": random_horizontal_flip,
    "random_vertical_flip": random_vertical_flip,
    "random_rotation": functools.partial(random_rotation, degrees=30),
    "cutout": functools.partial(cutout, size=3),
    "mixup": lambda x, generator=None: mixup(x, LABELS, 1.0, 4, generator)[0],
    "cutmix": lambda x, generator=None: cutmix(x, LABELS, 1.0, 4, generator)[0],
    "colour_jitter": functools.partial(colour_jitter, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1),
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
    assert change(COLOUR[:0] if "mix" not in name else COLOUR, generator=1).shape[1:] == first.shape[1:]


@pytest.mark.parametrize("name", [name for name in RANDOM if "mix" not in name])
def test_each_image_is_changed_in_its_own_way(name):
    same = np.repeat(COLOUR[:1], 40, 0)
    changed = RANDOM[name](same, generator=0).data
    assert len({image.tobytes() for image in changed}) > 1


def parts_of(image, height, width):
    windows = np.lib.stride_tricks.sliding_window_view(image, (height, width), axis=(1, 2))
    return {windows[:, y, x].tobytes() for y in range(windows.shape[1]) for x in range(windows.shape[2])}


def test_crops_are_parts_of_the_padded_image_and_all_come():
    cropped = random_crop(np.repeat(COLOUR[:1], 600, 0), (8, 9), padding=1, fill=7, generator=0).data
    parts = parts_of(np.pad(COLOUR[0], ((0, 0), (1, 1), (1, 1)), constant_values=7), 8, 9)
    assert {image.tobytes() for image in cropped} == parts
    assert random_crop(COLOUR, 4).shape == (16, 3, 4, 4)
    assert random_crop(COLOUR.astype(np.int64), (8, 10)).dtype == np.int64


@pytest.mark.parametrize(("flip", "axis"), [(random_horizontal_flip, 2), (random_vertical_flip, 1)])
def test_flips_mirror_with_their_probability(flip, axis):
    images = np.repeat(COLOUR[:1], 2000, 0)
    flipped = (flip(images, 0.3, generator=0).data == np.flip(images, axis + 1)).all((1, 2, 3))
    kept = (flip(images, 0.3, generator=0).data == images).all((1, 2, 3))
    assert (flipped ^ kept).all()
    assert flipped.mean() == pytest.approx(0.3, abs=0.04)
    assert np.array_equal(flip(flip(COLOUR, 1), 1).data, COLOUR)
    assert np.array_equal(flip(COLOUR, 0).data, COLOUR)


def test_a_quarter_turn_is_that_of_numpy():
    square = COLOUR[..., :8].astype(np.float64)
    for quarters in range(-3, 5):
        turned = rotate(square, 90 * quarters).data
        assert np.allclose(turned, np.rot90(square, quarters, (2, 3)), atol=1e-12)
    assert np.array_equal(rotate(COLOUR, 0).data, COLOUR)


def test_a_turn_interpolates_and_fills():
    y, x = np.mgrid[-10:11, -10:11]
    plane = (2.0 * x + 3.0 * y)[None, None]
    turned = rotate(plane, 30, fill=99).data[0, 0]
    cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
    inside = x**2 + y**2 < 100  # what is linear is interpolated exactly
    assert np.allclose(turned[inside], (2 * (x * cos - y * sin) + 3 * (x * sin + y * cos))[inside])
    assert turned[0, 0] == turned[-1, -1] == 99
    both = rotate(np.concatenate([plane, plane]), [30, 0]).data
    assert np.array_equal(both[1], plane[0])
    assert not np.array_equal(both[0], plane[0])


def test_random_turns_stay_within_the_degrees():
    y, x = np.mgrid[-10:11, -10:11]
    spot = np.zeros((300, 1, 21, 21))
    spot[:, 0, 10, 18] = 1
    turned = random_rotation(spot, 40, generator=0).data[:, 0]
    angle = np.rad2deg(np.arctan2(-(turned * y).sum((1, 2)), (turned * x).sum((1, 2))))
    assert (angle.min(), angle.max()) == (pytest.approx(-40, abs=2), pytest.approx(40, abs=2))
    assert np.array_equal(random_rotation(spot, 0).data, spot)


def test_normalise_gives_each_channel_mean_and_deviation():
    mean, std = COLOUR.mean((0, 2, 3)), COLOUR.std((0, 2, 3))
    standard = normalise(COLOUR, mean, tn.tensor(std)).data
    assert np.allclose(standard.mean((0, 2, 3)), 0, atol=1e-5)
    assert np.allclose(standard.std((0, 2, 3)), 1, atol=1e-5)
    assert np.allclose(normalise(COLOUR, 0.5, 0.5).data, COLOUR * 2 - 1)


def test_cutout_loses_one_rectangle_of_the_size():
    images = np.repeat(COLOUR + 1, 20, 0)
    cut = cutout(images, (3, 4), generator=0).data
    lost = cut == 0
    assert (lost.sum((2, 3)) == 12).all()
    assert np.array_equal(cut[~lost], images[~lost])
    for mask in lost[:, 0]:
        y, x = np.nonzero(mask)
        assert (np.ptp(y), np.ptp(x)) == (2, 3)
    assert (lost == lost[:, :1]).all()
    assert lost.any((0, 1)).all()  # every place, borders too


def test_mixup_mixes_images_and_targets_by_the_same_share():
    images, targets = (t.data for t in mixup(COLOUR, LABELS, 1.0, 4, generator=3))
    share = targets[0].max() if targets[0].max() < 1 else None
    random = np.random.default_rng(3)
    expected, order = random.beta(1.0, 1.0), random.permutation(16)
    assert np.allclose(images, expected * COLOUR + (1 - expected) * COLOUR[order], atol=1e-6)
    rows = np.eye(4)[LABELS]
    assert np.allclose(targets, expected * rows + (1 - expected) * rows[order], atol=1e-6)
    assert np.allclose(targets.sum(1), 1)
    assert share is None or share == pytest.approx(max(expected, 1 - expected))
    again = mixup(COLOUR, rows, 1.0, generator=3)[1]
    assert (again.dtype, np.allclose(again.data, targets)) == (np.float64, True)


def test_the_loss_of_mixed_targets_is_the_mixed_loss():
    logits = np.random.default_rng(1).normal(size=(16, 4))
    rows = np.eye(4)[LABELS]
    mixed = mixup(COLOUR, rows, 1.0, generator=3)[1]
    random = np.random.default_rng(3)
    share, order = random.beta(1.0, 1.0), random.permutation(16)
    first, second = (tn.cross_entropy(tn.tensor(logits), tn.tensor(r)).item() for r in (rows, rows[order]))
    assert tn.cross_entropy(tn.tensor(logits), mixed).item() == pytest.approx(share * first + (1 - share) * second)


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_mixes_targets_by_the_area_that_was_taken(seed):
    images = np.arange(1.0, 17)[:, None, None, None] * np.ones((16, 2, 9, 7))  # the pixel tells the image
    changed, targets = (t.data for t in cutmix(images, np.arange(16), 1.0, 16, generator=seed))
    for i in range(16):
        taken = np.bincount(changed[i, 0].astype(int).ravel(), minlength=17)[1:] / 63
        assert np.allclose(taken, targets[i], atol=1e-6)
        y, x = np.nonzero(changed[i, 0] != i + 1)
        assert len(y) in (0, (np.ptp(y) + 1) * (np.ptp(x) + 1) if len(y) else 0)
    assert np.array_equal(changed[:, 0], changed[:, 1])


def test_colours_without_spread_stay():
    assert np.allclose(colour_jitter(COLOUR).data, COLOUR, atol=1e-6)


def test_each_colour_changes_what_it_says():
    half = COLOUR * 0.1 + 0.4  # nothing is cut off
    grey_of = np.array([0.299, 0.587, 0.114])
    factors = colour_jitter(half, brightness=0.5, generator=0).data / half
    assert np.allclose(factors, factors[:, :1, :1, :1], rtol=1e-5)
    assert 0.5 <= factors.min() < 0.8 < 1.2 < factors.max() <= 1.5

    grey = np.einsum("c,nchw->nhw", grey_of, half)
    by_contrast = colour_jitter(half, contrast=0.5, generator=0).data
    assert np.allclose(np.einsum("c,nchw->n", grey_of, by_contrast), grey.sum((1, 2)), rtol=1e-5)
    assert not np.allclose(by_contrast, half)

    by_saturation = colour_jitter(half, saturation=0.5, generator=0).data
    assert np.allclose(np.einsum("c,nchw->nhw", grey_of, by_saturation), grey, atol=1e-5)
    colours = (by_saturation - grey[:, None]) / (half - grey[:, None])
    assert np.allclose(colours, np.median(colours, axis=(1, 2, 3), keepdims=True), rtol=0.01, atol=0.05)

    by_hue = colour_jitter(half, hue=0.1, generator=0).data
    assert np.allclose(np.einsum("c,nchw->nhw", grey_of, by_hue), grey, atol=1e-5)
    assert not np.allclose(by_hue, half, atol=0.005)


def test_colours_stay_from_0_to_1_and_grey_has_no_hue():
    strong = colour_jitter(COLOUR, 0.9, 0.9, 0.9, 0.5, generator=0).data
    assert (strong.min(), strong.max()) == (0, 1)
    assert colour_jitter(COLOUR[:, :1], 0.5, 0.5, generator=0).shape == (16, 1, 8, 10)
    level = np.full((4, 3, 2, 2), 0.3)
    assert np.allclose(colour_jitter(level, saturation=0.5, hue=0.5, generator=0).data, level, atol=1e-6)


def test_resize_keeps_what_is_linear_and_is_the_identity():
    assert np.array_equal(resize(COLOUR, 8, 10), COLOUR)
    assert np.allclose(resize(np.ones((2, 5, 6)), 13, 3), 1)
    line = resize(np.arange(8.0)[None], 1, 12)[0]
    assert np.allclose(line, np.clip((np.arange(12) + 0.5) * 8 / 12 - 0.5, 0, 7))


def test_a_loader_applies_them_by_batch():
    data = Transformed(TensorDataset(COLOUR, LABELS), lambda x, y: mixup(random_crop(x, 6), y, classes=4))
    images, targets = next(iter(DataLoader(data, 8)))
    assert (images.shape, targets.shape) == ((8, 3, 6, 6), (8, 4))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: random_crop(x[0], 3), ShapeError, "random_crop: images have shape"),
        (lambda x: random_crop(x, 11), ShapeError, r"size is \(11, 11\)"),
        (lambda x: random_crop(x, (3, 3, 3)), ShapeError, "size is"),
        (lambda x: random_horizontal_flip(x, 1.5), ShapeError, r"random_horizontal_flip: p is 1\.5"),
        (lambda x: random_rotation(x, -1), ShapeError, "degrees is -1"),
        (lambda x: random_rotation((x * 255).astype(np.uint8), 9), DTypeError, "images are uint8"),
        (lambda x: rotate(x, [1, 2]), ShapeError, "rotate: "),
        (lambda x: normalise(x, [0, 0], 1), ShapeError, r"mean has shape \(2,\)"),
        (lambda x: normalise(x, 0, 0), ShapeError, "std is 0"),
        (lambda x: resize(x, 0, 3), ShapeError, "resize: height is 0"),
        (lambda x: resize(x[0, 0, 0], 3, 3), ShapeError, "resize: images have shape"),
        (lambda x: resize(LABELS[None], 3, 3), DTypeError, "resize: images are int64"),
        (lambda x: cutout(x, 9), ShapeError, r"size is \(9, 9\)"),
        (lambda x: cutout(x, 0), ShapeError, "height is 0"),
        (lambda x: mixup(x, LABELS), ShapeError, "classes must say"),
        (lambda x: mixup(x, LABELS, classes=3), ShapeError, "targets go from 0 to 3, classes is 3"),
        (lambda x: mixup(x, LABELS[:3], classes=4), ShapeError, "targets are"),
        (lambda x: mixup(x, LABELS, 0, 4), ShapeError, "alpha is 0"),
        (lambda x: cutmix(x, np.ones((16, 2), np.int64)), ShapeError, "cutmix: targets are int64"),
        (lambda x: colour_jitter(x[:, :2]), ShapeError, "2 channels"),
        (lambda x: colour_jitter(x[:, :1], hue=0.1), ShapeError, "1 channels"),
        (lambda x: colour_jitter(x, hue=0.6), ShapeError, r"hue is 0\.6"),
        (lambda x: colour_jitter(x, brightness=-1), ShapeError, "brightness is -1"),
        (lambda x: cutout(x, 3, generator="x"), DTypeError, "cutout: generator is 'x'"),
    ],
)
def test_wrong_arguments_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(COLOUR)
