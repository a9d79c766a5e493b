"""Scenes and clips of real digits: boxes, masks and flow are those of the pixels."""

import numpy as np
import pytest

from tinygrad_notes.data import clips, compose, digit_scenes, digits, moving_digits, place, placed_digits
from tinygrad_notes.data.scenes import digit_images
from tinygrad_notes.errors import DTypeError, ShapeError

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def real():
    return digit_images()


def arrays(part):
    return [field.numpy() for field in part.tensors]


def test_the_pixels_are_those_of_scikit_learn(real):
    (train, labels), (test, _) = real
    assert (len(train), len(test)) == (1347, 450)
    whole = pytest.importorskip("sklearn.datasets").load_digits().images / 16
    assert {image.tobytes() for image in np.concatenate([train, test])[:, 0].astype(np.float64)} == {
        image.tobytes() for image in whole
    }
    assert np.array_equal(labels, arrays(digits(size=8, validation=0).train)[1])


def test_placed_digits_are_whole_and_anywhere(real):
    train, test = placed_digits()
    images, labels = arrays(train)
    assert (images.shape, len(test)) == ((1347, 1, 14, 14), 450)
    assert np.array_equal(images.sum((1, 2, 3)), real[0][0].sum((1, 2, 3)))
    assert np.array_equal(labels, real[0][1])
    windows = np.lib.stride_tricks.sliding_window_view(images[:50, 0], (8, 8), axis=(1, 2))
    assert all(any(np.array_equal(w, d) for row in ws for w in row) for ws, d in zip(windows, real[0][0][:50, 0]))
    assert images.sum((0, 1, 2))[1:].min() > 0  # every column is used, but that no digit touches the left of its own
    assert images.sum((0, 1, 3)).min() > 0
    assert np.array_equal(arrays(placed_digits()[0])[0], images)
    assert not np.array_equal(arrays(placed_digits(seed=1)[0])[0], images)


def test_scenes_have_the_boxes_and_masks_of_their_pixels():
    train, test = digit_scenes(60, 20)
    for part, n in ((train, 60), (test, 20)):
        images, boxes, labels, masks = arrays(part)
        assert (images.shape, boxes.shape, labels.shape, masks.shape) == (
            (n, 1, 32, 32), (n, 3, 4), (n, 3), (n, 32, 32),
        )  # fmt: skip
        assert np.array_equal(masks > 0, images[:, 0] > 0)
        assert np.array_equal((labels == -1), (boxes == -1).all(-1))
        for mask, scene_boxes, scene_labels in zip(masks, boxes.astype(int), labels):
            rest = mask.copy()
            for (left, top, right, bottom), label in zip(scene_boxes, scene_labels):
                if label == -1:
                    continue
                inside = mask[top:bottom, left:right]
                assert set(np.unique(inside)) <= {0, label + 1}
                assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))  # tight
                rest[top:bottom, left:right] = 0
            assert not rest.any()
    numbers = (arrays(train)[2] >= 0).sum(1)
    assert set(numbers) == {1, 2, 3}


def test_the_sides_of_the_digits_are_those_asked_for(real):
    images, labels = real[0]
    filled = np.ones_like(images[:5])
    boxes = arrays(compose(filled, labels[:5], 80, 32, 1, 2, (8, 13), generator=0))[1]
    sides = (boxes[..., 2:] - boxes[..., :2])[boxes[..., 0] >= 0]
    assert np.array_equal(sides[:, 0], sides[:, 1])
    assert (sides.min(), sides.max()) == (8, 13)


@pytest.mark.parametrize(("size", "speed"), [(16, 2), (11, 2), (24, 3)])
def test_the_flow_carries_each_frame_into_the_next(real, size, speed):
    images, labels = real[0]
    film, flow, classes = arrays(clips(images, labels, 40, 8, size, speed, generator=1))
    assert (film.shape, flow.shape) == ((40, 1, 8, size, size), (40, 2, 7, size, size))
    assert set(classes) <= set(range(10))
    bounced = 0
    for clip, motion in zip(film[:, 0], flow.astype(int)):
        for t in range(7):
            y, x = np.nonzero(clip[t])
            right, down = motion[:, t, y, x]
            moved = np.zeros_like(clip[t])
            moved[y + down, x + right] = clip[t, y, x]
            assert np.array_equal(moved, clip[t + 1])
            assert not motion[:, t][:, clip[t] == 0].any()
            assert np.abs(motion[:, t]).max() in range(1, speed + 1)
        bounced += len({tuple(motion[:, t, *np.argwhere(clip[t])[0]]) for t in range(7)}) > 1
    assert bounced > 5


def test_moving_digits_are_of_disjoint_digits():
    train, test = moving_digits(60, 30)
    assert (len(train), len(test)) == (60, 30)
    first = [{clip[0, 0][clip[0, 0] > 0].tobytes() for clip in arrays(part)[0]} for part in (train, test)]
    assert not first[0] & first[1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x, y: place(x, 7), ShapeError, "place: size is 7"),
        (lambda x, y: place(x[0], 9), ShapeError, "place: images have shape"),
        (lambda x, y: compose(x.astype(np.uint8), y, 1), DTypeError, "images are uint8"),
        (lambda x, y: compose(x, y[:1], 1), ShapeError, "expected .* N integers"),
        (lambda x, y: compose(x, y, 1, least=3, most=2), ShapeError, "least <= most"),
        (lambda x, y: compose(x, y, 1, sides=(9, 40)), ShapeError, "sides that grow and fit"),
        (lambda x, y: compose(x, y, 1, size=14, least=3), ShapeError, "3 squares of 8 to 13 pixels do not fit"),
        (lambda x, y: compose(0 * x, y, 1), ShapeError, "is empty"),
        (lambda x, y: clips(x, y, 1, size=10), ShapeError, "size is 10, too small"),
        (lambda x, y: clips(x, y, 1, frames=1), ShapeError, "frames is 1"),
    ],
)
def test_wrong_arguments_are_refused(real, call, error, message):
    with pytest.raises(error, match=message):
        call(real[0][0][:4], real[0][1][:4])
