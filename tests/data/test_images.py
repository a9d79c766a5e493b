"""Folders of images: classes, order, sizes, and damaged files."""

import numpy as np
import pytest

from tinygrad_notes.data import DataLoader, ImageFolder, read_image
from tinygrad_notes.errors import DataError, ShapeError

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def root(tmp_path):
    random = np.random.default_rng(0)
    for name, count in (("dog", 2), ("cat", 3)):
        (tmp_path / name).mkdir()
        for i in range(count):
            pixels = random.integers(0, 256, (4 + i, 6, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    (tmp_path / "dog" / "notes.txt").write_text("no image")
    return tmp_path


def test_a_folder_for_each_class(root):
    data = ImageFolder(root)
    assert data.classes == ["cat", "dog"]
    assert data.labels.tolist() == [0, 0, 0, 1, 1]
    assert [path.name for path in data.paths] == ["0.png", "1.png", "2.png", "0.png", "1.png"]
    image, label = data[4]
    with Image.open(root / "dog" / "1.png") as file:
        assert np.allclose(image.data * 255, np.asarray(file).transpose(2, 0, 1))
    assert (image.shape, image.dtype, label.item(), label.dtype) == ((3, 5, 6), np.float32, 1, np.int64)
    assert data[-1][0].shape == (3, 5, 6)
    with pytest.raises(IndexError, match="index 5 is out of range for 5 images"):
        data[5]


def test_batches_of_one_size_also_from_workers(root):
    data = ImageFolder(root, size=(8, 10), mode="L")
    plain, worked = (list(DataLoader(data, 2, num_workers=n)) for n in (0, 1))
    assert [b[0].shape for b in plain] == [(2, 1, 8, 10), (2, 1, 8, 10), (1, 1, 8, 10)]
    assert all(np.array_equal(a[0].data, b[0].data) for a, b in zip(plain, worked))
    with pytest.raises(ShapeError, match="has shapes"):
        list(DataLoader(ImageFolder(root), 2))


def test_a_transform_takes_the_place_of_the_image(root):
    assert ImageFolder(root, transform=lambda image: image[:, ::-1])[0][0].shape == (3, 4, 6)


def test_exif_says_which_way_is_up(tmp_path):
    pixels = np.zeros((4, 6), np.uint8)
    pixels[0, 0] = 255
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    image.save(tmp_path / "turned.png", exif=exif)
    upright = read_image(tmp_path / "turned.png", mode="L")
    assert upright.shape == (1, 6, 4)
    assert upright[0, 0, 3] == 1
    assert upright.sum() == 1


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of tags that are cut off
@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "tiff", "webp", "ppm"])
def test_images_cut_anywhere_are_refused(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)).save(path)
    whole = path.read_bytes()
    assert read_image(path).shape == (3, 16, 16)
    for part in (0, 1, 10, len(whole) // 4, len(whole) // 2):
        path.write_bytes(whole[:part])
        with pytest.raises(DataError, match=f"image.{suffix}"):
            read_image(path)


def test_a_damaged_image_is_named_when_it_is_asked_for(root):
    (root / "cat" / "1.png").write_bytes(b"no image at all")
    data = ImageFolder(root, size=(4, 4))
    assert data[0][0].shape == (3, 4, 4)
    with pytest.raises(DataError, match=r"1\.png: no image") as caught:
        list(DataLoader(data, 2, num_workers=1))
    assert any("at item 1 of ImageFolder" in note for note in caught.value.__notes__)


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((30, 30), np.uint8)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"large\.png"):
        read_image(tmp_path / "large.png")


def test_wrong_folders_and_arguments_are_refused(root, tmp_path_factory):
    with pytest.raises(FileNotFoundError, match="is no folder"):
        ImageFolder(root / "bird")
    with pytest.raises(DataError, match="holds no folders"):
        ImageFolder(root / "dog")
    (root / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no image"):
        ImageFolder(root)
    (root / "empty").rmdir()
    with pytest.raises(ShapeError, match="size is 3"):
        ImageFolder(root, size=3)
    with pytest.raises(ShapeError, match="mode is 'CMYK'"):
        ImageFolder(root, mode="CMYK")
    with pytest.raises(FileNotFoundError):
        read_image(root / "none.png")
