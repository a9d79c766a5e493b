"""Shifts and enlargement of images."""

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes.data import enlarge, random_shift
from tinygrad_notes.errors import ShapeError


def test_a_shift_moves_each_image_by_itself_and_fills_the_rest():
    images = np.zeros((200, 1, 5, 5), np.float32)
    images[:, 0, 2, 2] = 7
    shifted = random_shift(images, 2, fill=-1.0, generator=0).numpy()
    places = np.argwhere(shifted == 7)
    assert len(places) == 200
    offsets = {(int(i) - 2, int(j) - 2) for _, _, i, j in places}
    assert offsets == {(i, j) for i in range(-2, 3) for j in range(-2, 3)}
    for image, (_, _, i, j) in zip(shifted[:, 0], places):
        down, right = i - 2, j - 2
        expected = np.full((5, 5), -1.0)
        expected[max(down, 0) : 5 + min(down, 0), max(right, 0) : 5 + min(right, 0)] = 0
        expected[i, j] = 7
        assert np.array_equal(image, expected)


def test_a_shift_by_nothing_changes_nothing():
    images = np.random.default_rng(0).standard_normal((3, 2, 4, 6)).astype(np.float32)
    assert np.array_equal(random_shift(images, 0).numpy(), images)


def test_all_channels_of_an_image_move_together():
    images = np.random.default_rng(0).standard_normal((8, 1, 6, 6)).repeat(3, axis=1)
    shifted = random_shift(images, 2, generator=1).numpy()
    assert np.array_equal(shifted[:, 0], shifted[:, 2])


def test_shifts_draw_from_the_package_s_generator():
    images = np.random.default_rng(0).standard_normal((30, 1, 6, 6))
    tn.manual_seed(3)
    first = random_shift(images, 2).numpy()
    tn.manual_seed(3)
    assert np.array_equal(random_shift(images, 2).numpy(), first)
    assert not np.array_equal(random_shift(images, 2).numpy(), first)


def test_shifts_refuse_what_is_no_batch_of_images():
    with pytest.raises(ShapeError, match="batch, channels, height, width"):
        random_shift(np.zeros((3, 5, 5)), 1)
    with pytest.raises(ShapeError, match="pixels is -1"):
        random_shift(np.zeros((3, 1, 5, 5)), -1)


def test_enlargement_by_hand():
    # Centres of the targets lie at -1/3, 0, 1/3, 2/3, 1, 4/3 of a row of two pixels.
    assert np.allclose(enlarge(np.array([[0.0, 3.0]]), 3)[0], [0, 0, 1, 2, 3, 3])


def test_enlargement_keeps_constants_and_means():
    images = np.random.default_rng(0).random((4, 8, 8))
    assert np.allclose(enlarge(np.ones((2, 8, 8)), 3), 1)
    assert np.allclose(enlarge(images, 1), images)
    rows = np.arange(8.0).reshape(1, 8, 1) * np.ones((1, 1, 8))
    assert np.allclose(enlarge(rows, 2)[0, 1:-1, 0], np.arange(0.25, 7, 0.5))
    with pytest.raises(ShapeError, match="factor is 0"):
        enlarge(images, 0)


@pytest.mark.parity
@pytest.mark.parametrize("factor", [1, 2, 3, 5])
def test_enlargement_is_pytorch_s_bilinear_interpolation(factor):
    torch = pytest.importorskip("torch")
    images = np.random.default_rng(0).random((3, 2, 7, 4))
    theirs = torch.nn.functional.interpolate(
        torch.tensor(images), scale_factor=factor, mode="bilinear", align_corners=False
    )
    assert np.allclose(enlarge(images, factor), theirs.numpy(), atol=1e-14)
