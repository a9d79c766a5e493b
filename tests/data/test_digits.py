"""The digits: parts, sizes, standardisation."""

import subprocess
import sys

import numpy as np
import pytest

from tinygrad_notes.data import digits
from tinygrad_notes.errors import ShapeError

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def data():
    return digits()


def arrays(part):
    return [field.numpy() for field in part.tensors]


def test_the_parts_have_the_sizes_of_the_split(data):
    assert [len(part) for part in (data.train, data.validation, data.test)] == [1144, 203, 450]
    images, labels = arrays(data.train)
    assert images.shape == (1144, 1, 28, 28)
    assert (images.dtype, labels.dtype) == (np.float32, np.int64)


def test_the_parts_are_stratified_and_disjoint(data):
    seen = [image.tobytes() for part in (data.train, data.validation, data.test) for image in arrays(part)[0]]
    assert len(set(seen)) == len(seen) == 1797
    for part in (data.train, data.validation, data.test):
        shares = np.bincount(arrays(part)[1]) / len(part)
        assert shares.min() > 0.08
        assert shares.max() < 0.12


def test_the_seed_moves_validation_but_never_the_test_part(data):
    other = digits(seed=1)
    assert np.array_equal(arrays(other.test)[1], arrays(data.test)[1])
    back = [d.mean + d.std * arrays(d.test)[0].astype(np.float64) for d in (data, other)]
    assert np.allclose(*back, atol=1e-6)
    assert not np.array_equal(arrays(other.validation)[1], arrays(data.validation)[1])


def test_the_training_images_alone_set_mean_and_deviation(data):
    images = arrays(data.train)[0].astype(np.float64)
    assert abs(images.mean()) < 1e-6
    assert abs(images.std() - 1) < 1e-6
    assert abs(arrays(data.test)[0].mean()) > 1e-4  # not standardised by its own
    assert images.min() == pytest.approx(data.background, rel=1e-6)


def test_28_pixels_are_the_8_enlarged_by_3_in_a_border_of_2(data):
    images = data.mean + data.std * arrays(data.test)[0][:, 0].astype(np.float64)
    small = digits(size=8)
    pixels = small.mean + small.std * arrays(small.test)[0][:, 0].astype(np.float64)
    border = np.ones((28, 28), bool)
    border[2:26, 2:26] = False
    assert np.allclose(images[:, border], 0, atol=1e-6)
    # The middle of the three targets of a pixel lies at its centre, where interpolation gives the pixel itself.
    assert np.allclose(images[:, 3:26:3, 3:26:3], pixels, atol=1e-6)
    assert set(np.round(np.unique(pixels) * 16, 4)) == set(range(17))


@pytest.mark.parametrize(("size", "border"), [(16, 0), (20, 2), (32, 0), (46, 3)])
def test_any_even_size_is_enlarged_and_centred(size, border):
    data = digits(size=size)
    images = data.train.tensors[0].numpy()
    assert images.shape[2:] == (size, size)
    inside = slice(border, size - border)
    assert np.abs(images[:, 0, inside, inside] - data.background).max() > 1
    outside = np.ones((size, size), bool)
    outside[inside, inside] = False
    assert np.allclose(images[:, 0, outside], data.background, atol=1e-6)
    assert abs(images.mean()) < 1e-3
    assert abs(images.std() - 1) < 1e-3


def test_without_validation_all_1347_train():
    data = digits(size=8, validation=0)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [1347, 0, 450]


def test_wrong_sizes_and_parts_are_refused():
    with pytest.raises(ShapeError, match="size is 31"):
        digits(size=31)
    with pytest.raises(ShapeError, match="size is 6"):
        digits(size=6)
    with pytest.raises(ShapeError, match="validation is 1"):
        digits(validation=1)


def test_scikit_learn_missing_names_the_extra():
    program = "import sys; sys.modules['sklearn'] = None; import tinygrad_notes.data as d; d.digits()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "pip install 'tinygrad-notes[notes]'" in done.stderr
