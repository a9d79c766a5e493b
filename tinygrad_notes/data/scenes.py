"""Real digits on a larger canvas: at a random place, several in a scene with boxes and masks, moving with exact flow.

Training scenes are made of the digits for training alone, and test scenes of the digits for testing. The pixels are
real handwriting; places, boxes, masks and motion are made here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_notes.data.dataset import TensorDataset, array_of, as_generator
from tinygrad_notes.data.digits import digits
from tinygrad_notes.data.transforms import resize
from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.ops.arguments import count
from tinygrad_notes.tensor import to_numpy

NONE = -1  # in boxes and labels, where a scene has fewer digits than another
TRIES = 100
Generator = np.random.Generator | int | None


def digit_images() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The 8×8 digits for training and for testing, as images (N, 1, 8, 8) from 0 to 1 and labels."""
    data = digits(size=8, validation=0)
    parts = []
    for part in (data.train, data.test):
        standard, labels = (t.numpy() for t in part.tensors)
        sixteenths = np.round((standard.astype(np.float64) * data.std + data.mean) * 16)  # as scikit-learn has them
        parts.append(((sixteenths / 16).astype(np.float32), labels))
    return parts[0], parts[1]


def placed_digits(size: int = 14, seed: int = 0) -> tuple[TensorDataset, TensorDataset]:
    """All 1347 and 450 digits, each at a random place of an empty canvas: images (1, size, size) and labels.

    The place says nothing of the class, so what reads raw pixels fails, and what does not mind places is seen to help.

    >>> train, test = tn.data.placed_digits(size=14)
    >>> len(train), len(test), train[0][0].shape
    (1347, 450, (1, 14, 14))
    """
    random = as_generator(count(seed, "placed_digits: seed", 0), "placed_digits")
    train, test = (TensorDataset(place(images, size, random), labels) for images, labels in digit_images())
    return train, test


def place(images: Any, size: int, generator: Generator = None) -> np.ndarray:
    """Each image (channels, height, width) of a batch at a random place of a canvas of ``size`` × ``size`` zeros.

    >>> tn.data.place(np.ones((1, 1, 2, 2)), size=4).sum()
    np.float64(4.0)
    """
    array, size = _batch(images, "place"), count(size, "place: size")
    n, channels, height, width = array.shape
    if size < max(height, width):
        raise ShapeError(f"place: size is {size}, the images are {(height, width)}")
    random = as_generator(generator, "place")
    canvas = np.zeros((n, channels, size, size), array.dtype)
    top, left = random.integers(0, size - height + 1, n), random.integers(0, size - width + 1, n)
    for target, image, y, x in zip(canvas, array, top, left):
        target[:, y : y + height, x : x + width] = image
    return canvas


def digit_scenes(
    train: int = 3000, test: int = 200, size: int = 32, least: int = 1, most: int = 3,
    sides: tuple[int, int] = (8, 13), seed: int = 0,
) -> tuple[TensorDataset, TensorDataset]:  # fmt: skip
    """``train`` and ``test`` scenes of disjoint digits, by :func:`compose`, for detection and segmentation.

    >>> train, test = tn.data.digit_scenes(train=3, test=2)
    >>> len(train), len(test)
    (3, 2)
    """
    random = as_generator(count(seed, "digit_scenes: seed", 0), "digit_scenes")
    numbers = count(train, "digit_scenes: train"), count(test, "digit_scenes: test")
    first, second = (
        compose(images, labels, n, size, least, most, sides, random)
        for (images, labels), n in zip(digit_images(), numbers)
    )
    return first, second


def compose(
    images: Any, labels: Any, number: int, size: int = 32, least: int = 1, most: int = 3,
    sides: tuple[int, int] = (8, 13), generator: Generator = None,
) -> TensorDataset:  # fmt: skip
    """``number`` scenes of ``least`` to ``most`` images (1, height, width) at random, which do not overlap.

    Each is resized to a square of a side between the two of ``sides``. An item is (image, boxes, labels, mask):

    - the image (1, size, size) of the images' dtype;
    - boxes (most, 4) of float32: left, top, right, bottom in pixels, right and bottom not included, tight around the
      pixels that are not empty; rows of -1 where the scene has fewer;
    - their labels (most,) of int64; -1 likewise;
    - the mask (size, size) of int64: 0 where the pixel is empty, else label + 1.

    ShapeError when ``least`` images do not fit in ``TRIES`` attempts.

    >>> scenes = tn.data.compose(np.ones((1, 1, 8, 8)), [5], number=2, size=32, most=2)
    >>> [t.shape for t in scenes.tensors]
    [(2, 1, 32, 32), (2, 2, 4), (2, 2), (2, 32, 32)]
    """
    array, classes = _batch(images, "compose"), to_numpy(array_of(labels, "compose: labels"))
    number, size = count(number, "compose: number"), count(size, "compose: size")
    least, most = count(least, "compose: least"), count(most, "compose: most")
    smallest, largest = (count(side, "compose: a side") for side in sides)
    if array.shape[1] != 1 or classes.shape != (len(array),) or classes.dtype.kind not in "iu" or not len(array):
        raise ShapeError(
            f"compose: images have shape {array.shape} and labels {classes.shape} {classes.dtype}, expected "
            "(N, 1, height, width) and N integers"
        )
    if least > most or smallest > largest or largest > size:
        raise ShapeError(
            f"compose: least {least}, most {most}, sides {tuple(sides)} and size {size}, expected least <= most and "
            "sides that grow and fit"
        )
    random = as_generator(generator, "compose")
    scenes = np.zeros((number, 1, size, size), array.dtype)
    boxes, found = np.full((number, most, 4), NONE, np.float32), np.full((number, most), NONE, np.int64)
    masks = np.zeros((number, size, size), np.int64)
    for i in range(number):
        for k, (top, left, side) in enumerate(_layout(random, size, least, most, smallest, largest)):
            chosen = int(random.integers(len(array)))
            image = resize(array[chosen, 0], side, side)
            scenes[i, 0, top : top + side, left : left + side] = image
            y, x = np.nonzero(image)
            if not len(y):
                raise ShapeError(f"compose: image {chosen} is empty, so it has no box")
            boxes[i, k] = left + x.min(), top + y.min(), left + x.max() + 1, top + y.max() + 1
            found[i, k] = classes[chosen]
            masks[i, top + y, left + x] = classes[chosen] + 1
    return TensorDataset(scenes, boxes, found, masks)


def _layout(
    random: np.random.Generator, size: int, least: int, most: int, smallest: int, largest: int
) -> list[tuple[int, int, int]]:
    """(top, left, side) of squares that do not overlap. A wanted one that finds no room is left out, down to least."""
    for _ in range(TRIES):
        squares: list[tuple[int, int, int]] = []
        for _ in range(int(random.integers(least, most + 1))):
            for _ in range(TRIES):
                side = int(random.integers(smallest, largest + 1))
                top, left = random.integers(0, size - side + 1, 2).tolist()
                if all(top + side <= t or t + s <= top or left + side <= x or x + s <= left for t, x, s in squares):
                    squares.append((top, left, side))
                    break
        if len(squares) >= least:
            return squares
    raise ShapeError(f"compose: {least} squares of {smallest} to {largest} pixels do not fit into {size} by {size}")


def moving_digits(
    train: int = 1000, test: int = 200, frames: int = 8, size: int = 16, speed: int = 2, seed: int = 0
) -> tuple[TensorDataset, TensorDataset]:
    """``train`` and ``test`` clips of disjoint digits, by :func:`clips`.

    >>> train, test = tn.data.moving_digits(train=3, test=2)
    >>> train[0][0].shape
    (1, 8, 16, 16)
    """
    random = as_generator(count(seed, "moving_digits: seed", 0), "moving_digits")
    numbers = count(train, "moving_digits: train"), count(test, "moving_digits: test")
    first, second = (
        clips(images, labels, n, frames, size, speed, random) for (images, labels), n in zip(digit_images(), numbers)
    )
    return first, second


def clips(
    images: Any, labels: Any, number: int, frames: int = 8, size: int = 16, speed: int = 2, generator: Generator = None
) -> TensorDataset:
    """``number`` clips, each of one image that moves and bounces off the borders; the flow is known exactly.

    The velocity is whole pixels a frame, from -``speed`` to ``speed`` in both directions and never zero in both. An
    item is (clip, flow, label):

    - the clip (channels, frames, size, size);
    - the flow (2, frames - 1, size, size) of float32: by how many pixels to the right and down what is at this place in
      a frame will have moved in the next; 0 where the pixel is empty;
    - the label.

    >>> clips = tn.data.clips(np.ones((1, 1, 8, 8)), [5], number=2, frames=4)
    >>> [t.shape for t in clips.tensors]
    [(2, 1, 4, 16, 16), (2, 2, 3, 16, 16), (2,)]
    """
    array, classes = _batch(images, "clips"), to_numpy(array_of(labels, "clips: labels"))
    number, frames, size = count(number, "clips: number"), count(frames, "clips: frames", 2), count(size, "clips: size")
    speed = count(speed, "clips: speed")
    n, channels, height, width = array.shape
    if classes.shape != (n,) or not n:
        raise ShapeError(f"clips: images have shape {array.shape} and labels {classes.shape}, expected N of both")
    room = size - height, size - width
    if min(room) < 2 * speed - 1:  # or it could bounce off one border into the other
        raise ShapeError(f"clips: size is {size}, too small for images {(height, width)} that move by {speed}")
    random = as_generator(generator, "clips")
    chosen = random.integers(0, n, number)
    velocities = [(v, u) for v in range(-speed, speed + 1) for u in range(-speed, speed + 1) if (v, u) != (0, 0)]
    film = np.zeros((number, channels, frames, size, size), array.dtype)
    flow = np.zeros((number, 2, frames - 1, size, size), np.float32)
    for i, source in enumerate(chosen):
        down, right = velocities[random.integers(len(velocities))]
        rows = _path(int(random.integers(0, room[0] + 1)), down, room[0], frames)
        columns = _path(int(random.integers(0, room[1] + 1)), right, room[1], frames)
        ink = (array[source] != 0).any(0)
        for t, (y, x) in enumerate(zip(rows, columns)):
            film[i, :, t, y : y + height, x : x + width] = array[source]
            if t + 1 < frames:
                flow[i, 0, t, y : y + height, x : x + width][ink] = columns[t + 1] - x
                flow[i, 1, t, y : y + height, x : x + width][ink] = rows[t + 1] - y
    return TensorDataset(film, flow, classes[chosen])


def _path(start: int, step: int, room: int, frames: int) -> list[int]:
    places = [start]
    while len(places) < frames:
        if not 0 <= places[-1] + step <= room:
            step = -step
        places.append(places[-1] + step)
    return places


def _batch(images: Any, name: str) -> np.ndarray:
    array = to_numpy(array_of(images, f"{name}: images"))
    if array.ndim != 4:
        raise ShapeError(f"{name}: images have shape {array.shape}, expected (batch, channels, height, width)")
    if array.dtype.kind != "f":
        raise DTypeError(f"{name}: images are {array.dtype}, expected a floating dtype")
    return array
