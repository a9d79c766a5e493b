"""Readers of data in files: IDX (MNIST), CIFAR binaries, plain text and tab-separated pairs.

A damaged, truncated or wrong file raises DataError, with the path and what was found; a missing one Python's own
FileNotFoundError. Nothing is downloaded.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tinygrad_notes.data.dataset import TensorDataset
from tinygrad_notes.errors import DataError, DTypeError, ShapeError
from tinygrad_notes.ops.arguments import count, one_of

PathLike = str | os.PathLike[str]

# The third byte of an IDX file, and the type of its numbers, big-endian.
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP_MAGIC = b"\x1f\x8b"
CIFAR_PIXELS = 3 * 32 * 32


def read_bytes(path: PathLike) -> bytes:
    """The content of a file, decompressed when it begins like a gzip file. DataError when that is damaged."""
    if not isinstance(path, str | os.PathLike):
        raise DTypeError(f"path is {path!r}, expected the path of a file")
    try:
        content = Path(path).read_bytes()
    except (IsADirectoryError, ValueError) as error:  # ValueError: a zero byte in the name
        raise DataError(f"{os.fspath(path)!r} is no file ({error})") from None
    if not content.startswith(GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{os.fspath(path)}: the gzip file is damaged ({error})") from None


def read_idx(path: PathLike) -> np.ndarray:
    """The array in an IDX file (the format of MNIST, LeCun et al. 1998), compressed by gzip or not.

    Two zero bytes, one for the type, one for the number of axes, the axes' lengths as big-endian 32-bit integers, then
    the numbers, row by row. The array has the type of the file, in the machine's byte order.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     folder = pathlib.Path(name)
    ...     _ = (folder / "labels").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     tn.data.read_idx(folder / "labels")
    array([7, 2, 1], dtype=uint8)
    """
    content, name = read_bytes(path), os.fspath(path)
    if len(content) < 4 or content[:2] != b"\x00\x00" or content[2] not in IDX_TYPES:
        raise DataError(
            f"{name}: no IDX file; it begins with {content[:4].hex(' ') or 'nothing'}, expected 00 00, a type "
            f"({', '.join(f'{code:02x}' for code in IDX_TYPES)}) and the number of axes"
        )
    dtype, axes = np.dtype(IDX_TYPES[content[2]]), content[3]
    start = 4 + 4 * axes
    if len(content) < start:
        raise DataError(f"{name}: cut off within the lengths of its {axes} axes")
    shape = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4))
    expected = math.prod(shape) * dtype.itemsize
    if len(content) - start != expected:
        raise DataError(
            f"{name}: holds {len(content) - start} bytes of numbers, expected {expected} for shape {shape} of "
            f"{dtype.newbyteorder('=')}"
        )
    try:
        return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
    except ValueError as error:  # more axes than NumPy has, or no elements with lengths beyond its largest
        raise DataError(f"{name}: its {axes} axes make no array ({error})") from None


def idx_images(images: PathLike, labels: PathLike) -> TensorDataset:
    """A pair of IDX files as MNIST and its successors have them: images (N, 1, height, width) from 0 to 1, and labels.

    Images are float32, labels int64. DataError unless the files hold bytes, of three axes and of one, equally many.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     folder = pathlib.Path(name)
    ...     _ = (folder / "images").write_bytes(bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 255]))
    ...     _ = (folder / "labels").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 1, 7]))
    ...     tn.data.idx_images(folder / "images", folder / "labels")[0]
    (Tensor([[[0., 1.]]]), Tensor(7))
    """
    pixels, classes = read_idx(images), read_idx(labels)
    if pixels.ndim != 3 or pixels.dtype != np.uint8:
        raise DataError(
            f"{os.fspath(images)}: holds {pixels.dtype} of shape {pixels.shape}, expected uint8 (N, height, width)"
        )
    if classes.ndim != 1 or classes.dtype != np.uint8:
        raise DataError(f"{os.fspath(labels)}: holds {classes.dtype} of shape {classes.shape}, expected uint8 (N,)")
    if len(pixels) != len(classes):
        raise DataError(
            f"{os.fspath(labels)}: holds {len(classes)} labels, but {os.fspath(images)} has {len(pixels)} images"
        )
    return TensorDataset(_scaled(pixels[:, None]), classes.astype(np.int64))


def cifar10(paths: PathLike | Sequence[PathLike]) -> TensorDataset:
    """Files of the binary version of CIFAR-10 (Krizhevsky 2009), one after the other: images and labels from 0 to 9.

    Images are (N, 3, 32, 32) of float32 from 0 to 1. A record is one byte for the label and 3·32·32 for the pixels.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     folder = pathlib.Path(name)
    ...     _ = (folder / "batch.bin").write_bytes(bytes([7]) + bytes(3 * 32 * 32))
    ...     image, label = tn.data.cifar10(folder / "batch.bin")[0]
    ...     image.shape, label.item()
    ((3, 32, 32), 7)
    """
    labels, images = _cifar(paths, (10,))
    return TensorDataset(images, labels[:, 0])


def cifar100(paths: PathLike | Sequence[PathLike]) -> TensorDataset:
    """Files of the binary version of CIFAR-100: images, labels from 0 to 99, and those of the 20 superclasses.

    As :func:`cifar10`, with two bytes for the labels in a record, the superclass first.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     folder = pathlib.Path(name)
    ...     _ = (folder / "train.bin").write_bytes(bytes([2, 77]) + bytes(3 * 32 * 32))
    ...     image, label, superclass = tn.data.cifar100(folder / "train.bin")[0]
    ...     label.item(), superclass.item()
    (77, 2)
    """
    labels, images = _cifar(paths, (20, 100))
    return TensorDataset(images, labels[:, 1], labels[:, 0])


def _cifar(paths: PathLike | Sequence[PathLike], classes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    size = len(classes) + CIFAR_PIXELS
    parts = []
    if not isinstance(paths, str | os.PathLike | Sequence):
        raise DTypeError(f"cifar{classes[-1]}: paths is {paths!r}, expected the path of a file, or several")
    for path in [paths] if isinstance(paths, str | os.PathLike) else paths:
        content = np.frombuffer(read_bytes(path), np.uint8)
        name = f"{os.fspath(path)}: no binary file of CIFAR-{classes[-1]}"
        if not len(content) or len(content) % size:
            raise DataError(f"{name}, or a truncated one: {len(content)} bytes, expected a multiple of {size}")
        records = content.reshape(-1, size)
        for column, number in enumerate(classes):
            wrong = np.flatnonzero(records[:, column] >= number)
            if len(wrong):
                raise DataError(
                    f"{name}: record {wrong[0]} has the label {records[wrong[0], column]}, expected below {number}"
                )
        parts.append(records)
    if not parts:
        raise ShapeError(f"cifar{classes[-1]}: paths are none, expected at least one file")
    records = np.concatenate(parts)
    return records[:, : len(classes)].astype(np.int64), _scaled(records[:, len(classes) :].reshape(-1, 3, 32, 32))


def _scaled(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) / np.float32(255)


def read_text(path: PathLike, encoding: str = "utf-8") -> str:
    r"""A text file, compressed by gzip or not; every end of a line becomes ``\n``, a byte order mark is left out.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     folder = pathlib.Path(name)
    ...     _ = (folder / "a.txt").write_bytes(b"one\r\ntwo")
    ...     tn.data.read_text(folder / "a.txt")
    'one\ntwo'
    """
    if not isinstance(encoding, str):
        raise DTypeError(f"read_text: encoding is {encoding!r}, expected its name")
    content = read_bytes(path)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{os.fspath(path)}: no text in {encoding}; byte {content[error.start]:#04x} at {error.start}, in line "
            f"{line} ({error.reason})"
        ) from None
    except (LookupError, ValueError):
        raise DataError(f"{os.fspath(path)}: encoding is {encoding!r}, which Python does not know") from None
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def read_pairs(
    path: PathLike, columns: int = 2, extra: str = "error", encoding: str = "utf-8"
) -> list[tuple[str, ...]]:
    r"""The lines of a tab-separated file as tuples of ``columns`` fields, a sentence and its translation, say.

    Empty lines are left out, white space around a field too. A line with fewer fields raises DataError with its
    number, and so does one with more, unless ``extra="ignore"`` (some collections name the author in a third field).

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     folder = pathlib.Path(name)
    ...     _ = (folder / "pairs.tsv").write_text("go\tva\nrun\tcours\n")
    ...     tn.data.read_pairs(folder / "pairs.tsv")
    [('go', 'va'), ('run', 'cours')]
    """
    count(columns, "read_pairs: columns")
    one_of(extra, "read_pairs: extra", ("error", "ignore"))
    pairs = []
    for number, line in enumerate(read_text(path, encoding).split("\n"), 1):
        if not line.strip():
            continue
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) < columns or (len(fields) > columns and extra == "error"):
            raise DataError(
                f"{os.fspath(path)}: line {number} has {len(fields)} tab-separated fields, expected {columns}: "
                f"{line[:60]!r}"
            )
        if not all(fields[:columns]):
            raise DataError(f"{os.fspath(path)}: line {number} has an empty field: {line[:60]!r}")
        pairs.append(tuple(fields[:columns]))
    return pairs
