"""The handwritten digits of scikit-learn: 1797 real images of 8×8 pixels, for every image note."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinygrad_notes.data.dataset import TensorDataset
from tinygrad_notes.data.transforms import enlarge
from tinygrad_notes.errors import ShapeError
from tinygrad_notes.lazy import load
from tinygrad_notes.ops.arguments import count, number

EDGE = 8  # pixels of an original image


@dataclass(frozen=True)
class Digits:
    """Three parts of the digits; each item is an image (1, size, size) of float32 and a label of int64.

    ``mean`` and ``std`` are those of the training images, of the pixels from 0 to 1, and standardise all three parts;
    ``background`` is what an empty pixel becomes by it.

    >>> round(tn.data.digits(size=8).mean, 2)
    0.31
    """

    train: TensorDataset
    validation: TensorDataset
    test: TensorDataset
    mean: float
    std: float

    @property
    def background(self) -> float:
        return (0.0 - self.mean) / self.std


def digits(size: int = 28, validation: float = 0.15, seed: int = 0) -> Digits:
    """The digits (Alpaydin & Kaynak 1998) as scikit-learn bundles them, split for training, validation and test.

    The test part is the stratified quarter of ``random_state=0``: 450 images, the same in every run. Of the other 1347
    the part ``validation`` (0: none) is set aside, stratified, by ``seed``.

    Images are 8×8. An even ``size`` enlarges them bilinearly by the largest factor that fits and adds a border of empty
    pixels: 28 is 24×24 with a border of 2, so that networks for 28×28 images (LeCun et al. 1998, with their digits also
    centred in a border) take them as they are; 16 and 32 have none.

    >>> data = tn.data.digits(size=28)
    >>> len(data.train), len(data.validation), len(data.test), data.train[0][0].shape
    (1144, 203, 450, (1, 28, 28))
    """
    if count(size, "digits: size", EDGE) % 2:
        raise ShapeError(f"digits: size is {size!r}, expected an even number")
    if not 0 <= number(validation, "digits: validation") < 1:
        raise ShapeError(f"digits: validation is {validation!r}, expected a part from 0 to below 1")
    count(seed, "digits: seed", 0)
    load_digits = load("sklearn.datasets").load_digits
    split = load("sklearn.model_selection").train_test_split
    pixels, labels = load_digits(return_X_y=True)
    images = (pixels.reshape(-1, 1, EDGE, EDGE) / 16).astype(np.float32)
    labels = labels.astype(np.int64)
    factor = size // EDGE
    if factor > 1:
        images = enlarge(images, factor)
    if border := (size - factor * EDGE) // 2:
        images = np.pad(images, ((0, 0), (0, 0), (border, border), (border, border)))
    train, test = split(np.arange(len(labels)), test_size=0.25, stratify=labels, random_state=0)
    held_out = train[:0]
    if validation:
        train, held_out = split(train, test_size=validation, stratify=labels[train], random_state=seed)
    mean, std = float(images[train].mean(dtype=np.float64)), float(images[train].std(dtype=np.float64))
    standard = ((images - np.float32(mean)) / np.float32(std)).astype(np.float32, copy=False)
    parts = [TensorDataset(standard[part], labels[part]) for part in (train, held_out, test)]
    return Digits(parts[0], parts[1], parts[2], mean, std)
