"""Folders of images: a folder for each class, read one by one when asked for."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_notes.data.dataset import Dataset
from tinygrad_notes.errors import DataError, DTypeError, ShapeError
from tinygrad_notes.lazy import load
from tinygrad_notes.ops.arguments import count, one_of
from tinygrad_notes.tensor import Tensor, wrap

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".pbm", ".tif", ".tiff", ".webp")


def read_image(path: str | os.PathLike[str], size: tuple[int, int] | None = None, mode: str = "RGB") -> np.ndarray:
    r"""An image file as (channels, height, width) of float32 from 0 to 1, upright as its Exif data says.

    ``mode``: ``"RGB"``, ``"RGBA"`` or ``"L"`` (grey, one channel). ``size`` is (height, width) to resize to,
    bilinearly and with smoothing when smaller; None leaves it. DataError when Pillow cannot read the file.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     folder = pathlib.Path(name)
    ...     _ = (folder / "grey.pgm").write_bytes(b"P5 2 1 255\n" + bytes([0, 255]))
    ...     tn.data.read_image(folder / "grey.pgm", mode="L")
    array([[[0., 1.]]], dtype=float32)
    """
    if not isinstance(path, str | os.PathLike):
        raise DTypeError(f"read_image: path is {path!r}, expected the path of a file")
    one_of(mode, "read_image: mode", ("RGB", "RGBA", "L"))
    size = _checked(size, "read_image")
    image_module, operations = load("PIL.Image"), load("PIL.ImageOps")
    try:
        with image_module.open(path) as file:
            image = operations.exif_transpose(file).convert(mode)
            if size is not None:
                image = image.resize((size[1], size[0]), image_module.Resampling.BILINEAR)
            pixels = np.asarray(image, np.float32) / np.float32(255)
    except (FileNotFoundError, PermissionError):
        raise
    except IsADirectoryError as error:
        raise DataError(f"{os.fspath(path)!r} is no file ({error})") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, IndexError, TypeError) as error:
        raise DataError(f"{os.fspath(path)}: no image that Pillow can read, or a damaged one ({error})") from None
    except image_module.DecompressionBombError as error:
        raise DataError(f"{os.fspath(path)}: {error}") from None
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


class ImageFolder(Dataset):
    r"""The images under ``root``, which has a folder for each class; item i is an image and the number of its class.

    Classes are the folders' names in sorted order, ``classes``; of each, images anywhere below are taken, in sorted
    order of their paths, ``paths``. A file is read when its item is asked for, by :func:`read_image` with ``size`` and
    ``mode``, so a damaged one raises DataError only then. Images of different sizes do not make a batch: give ``size``.
    ``transform`` takes an image (channels, height, width) of NumPy and returns what shall be in its place.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     folder = pathlib.Path(name)
    ...     for animal in ("cat", "dog"):
    ...         (folder / animal).mkdir()
    ...         _ = (folder / animal / "1.pgm").write_bytes(b"P5 2 1 255\n" + bytes([0, 255]))
    ...     dataset = tn.data.ImageFolder(folder)
    ...     dataset.classes, dataset[1][0].shape, dataset[1][1]
    (['cat', 'dog'], (3, 1, 2), Tensor(1))
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        size: tuple[int, int] | None = None,
        mode: str = "RGB",
        transform: Callable[[np.ndarray], Any] | None = None,
    ):
        self.root = Path(root)
        if not self.root.is_dir():
            raise FileNotFoundError(f"ImageFolder: {self.root} is no folder")
        one_of(mode, "ImageFolder: mode", ("RGB", "RGBA", "L"))
        size = _checked(size, "ImageFolder")
        self.size, self.mode, self.transform = size, mode, transform
        self.classes = sorted(entry.name for entry in self.root.iterdir() if entry.is_dir())
        if not self.classes:
            raise DataError(f"ImageFolder: {self.root} holds no folders, expected one for each class")
        found = [(path, i) for i, name in enumerate(self.classes) for path in _images(self.root / name)]
        self.paths, self.labels = [path for path, _ in found], np.array([label for _, label in found], np.int64)
        empty = sorted(set(range(len(self.classes))) - set(self.labels.tolist()))
        if empty:
            raise DataError(f"ImageFolder: {self.root / self.classes[empty[0]]} holds no image ({', '.join(SUFFIXES)})")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, Tensor]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"ImageFolder: index {index} is out of range for {len(self)} images")
        image = read_image(self.paths[index], self.size, self.mode)
        return wrap(image) if self.transform is None else self.transform(image), wrap(self.labels[index, ...])


def _checked(size: Any, name: str) -> tuple[int, int] | None:
    if size is None:
        return None
    if not isinstance(size, tuple | list) or len(size) != 2:
        raise ShapeError(f"{name}: size is {size!r}, expected (height, width)")
    return count(size[0], f"{name}: height"), count(size[1], f"{name}: width")


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
