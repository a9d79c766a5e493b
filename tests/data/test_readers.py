"""Readers: what was written comes back, and every damage is told with the file's name."""

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_notes.data import cifar10, cifar100, idx_images, read_idx, read_pairs, read_text
from tinygrad_notes.errors import DataError, DTypeError, ShapeError

CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}


def idx(array):
    header = bytes([0, 0, CODES[array.dtype.name], array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def put(folder, content, name="file"):
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("readers")


@given(array=st.sampled_from(sorted(CODES)).flatmap(lambda name: hnp.arrays(name, hnp.array_shapes(max_side=5))))
def test_idx_comes_back_as_written(folder, array):
    read = read_idx(put(folder, idx(array)))
    assert read.dtype == array.dtype
    assert read.dtype.isnative
    assert np.array_equal(read, array, equal_nan=array.dtype.kind == "f")
    assert np.array_equal(read_idx(put(folder, gzip.compress(idx(array)), "file.gz")), read, equal_nan=True)


def test_the_bytes_of_an_idx_file_by_hand(tmp_path):
    content = bytes.fromhex("00000b02 00000002 00000001 0102 fffe")
    assert read_idx(put(tmp_path, content)).tolist() == [[258], [-2]]


@given(cut=st.integers(0, 29))
def test_a_cut_idx_file_is_refused_wherever_it_is_cut(folder, cut):
    content = idx(np.arange(18, dtype=np.uint8).reshape(3, 6))
    assert len(content) == 30
    with pytest.raises(DataError, match="file"):
        read_idx(put(folder, content[:cut]))
    with pytest.raises(DataError, match="gzip file is damaged"):
        read_idx(put(folder, gzip.compress(content)[: 10 + cut]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with nothing"),
        (b"\x89PNG\r\n", "begins with 89 50 4e 47"),
        (b"\x00\x00\x07\x01\x00\x00\x00\x01a", "begins with 00 00 07 01"),
        (b"\x00\x00\x08\x03\x00\x00\x00\x01", "cut off within the lengths of its 3 axes"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x01ab", r"holds 2 bytes of numbers, expected 1 for shape \(1,\) of uint8"),
        (b"\x00\x00\x0e\x02\xff\xff\xff\xff\xff\xff\xff\xffab", "expected 147573952520956936200"),
    ],
)
def test_other_files_are_no_idx(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as caught:
        read_idx(put(tmp_path, content, "odd.idx"))
    assert "odd.idx" in str(caught.value)


def test_a_flipped_bit_in_a_gzip_file_is_found(tmp_path):
    content = bytearray(gzip.compress(idx(np.arange(200, dtype=np.uint8))))
    content[len(content) // 2] ^= 1
    with pytest.raises(DataError, match="gzip file is damaged"):
        read_idx(put(tmp_path, bytes(content)))


def test_images_and_labels_make_a_data_set(tmp_path):
    pixels = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    images, labels = put(tmp_path, idx(pixels), "images"), put(tmp_path, idx(np.array([7, 0, 9], np.uint8)), "labels")
    data = idx_images(images, str(labels))
    image, label = data[2]
    assert (image.shape, image.dtype, label.dtype) == ((1, 4, 5), np.float32, np.int64)
    assert np.allclose(image.data[0] * 255, pixels[2])
    assert label.item() == 9
    with pytest.raises(DataError, match=r"labels: holds uint8 of shape \(3, 4, 5\)"):
        idx_images(images, put(tmp_path, idx(pixels), "labels"))
    with pytest.raises(DataError, match=r"images: holds uint8 of shape \(3,\)"):
        idx_images(put(tmp_path, idx(np.zeros(3, np.uint8)), "images"), labels)
    images = put(tmp_path, idx(pixels), "images")
    with pytest.raises(DataError, match=r"holds 2 labels, but .*images has 3 images"):
        idx_images(images, put(tmp_path, idx(np.zeros(2, np.uint8)), "labels"))


def records(random, n, *classes):
    columns = [random.integers(0, c, (n, 1)) for c in classes]
    return np.concatenate([*columns, random.integers(0, 256, (n, 3072))], 1).astype(np.uint8)


def test_cifar_10(tmp_path):
    written = records(np.random.default_rng(0), 5, 10)
    paths = [put(tmp_path, written[:2].tobytes(), "a.bin"), put(tmp_path, written[2:].tobytes(), "b.bin")]
    images, labels = (t.numpy() for t in cifar10(paths).tensors)
    assert labels.tolist() == written[:, 0].tolist()
    assert np.allclose(images.reshape(5, -1) * 255, written[:, 1:])
    assert images.shape == (5, 3, 32, 32)
    assert images[1, 2, 3, 4] == np.float32(written[1, 1 + 2 * 1024 + 3 * 32 + 4]) / np.float32(255)
    assert len(cifar10(paths[0])) == 2


def test_cifar_100(tmp_path):
    written = records(np.random.default_rng(0), 3, 20, 100)
    images, fine, coarse = (t.numpy() for t in cifar100(put(tmp_path, written.tobytes())).tensors)
    assert (coarse.tolist(), fine.tolist()) == (written[:, 0].tolist(), written[:, 1].tolist())
    assert np.allclose(images.reshape(3, -1) * 255, written[:, 2:])


def test_damaged_cifar_files_are_refused(tmp_path):
    written = records(np.random.default_rng(0), 3, 10)
    for content in (b"", written.tobytes()[:-1], b"<!DOCTYPE html>"):
        with pytest.raises(DataError, match="expected a multiple of 3073"):
            cifar10(put(tmp_path, content))
    written[1, 0] = 10
    with pytest.raises(DataError, match="record 1 has the label 10, expected below 10"):
        cifar10(put(tmp_path, written.tobytes()))
    with pytest.raises(DataError, match="CIFAR-100, or a truncated one"):
        cifar100(put(tmp_path, written.tobytes()))
    with pytest.raises(ShapeError, match="paths are none"):
        cifar10([])


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\r\ufeff")))
def test_text_comes_back_as_written(folder, text):
    assert read_text(put(folder, text.encode())) == text
    assert read_text(put(folder, ("\ufeff" + text.replace("\n", "\r\n")).encode())) == text
    assert read_text(put(folder, gzip.compress(text.encode("utf-16"))), "utf-16") == text


def test_what_is_no_text_is_refused(tmp_path):
    with pytest.raises(DataError, match="byte 0xff at 8, in line 2"):
        read_text(put(tmp_path, b"one\ntwo \xff"))
    with pytest.raises(DataError, match="no text in utf-8"):
        read_text(put(tmp_path, "größe".encode("latin-1")))
    with pytest.raises(DataError, match="encoding is 'utf-9'"):
        read_text(put(tmp_path, b"a"), "utf-9")
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "none")


def test_pairs(tmp_path):
    path = put(tmp_path, "Go.\tVa !\n\nI \u2028 see.\t Je vois.\r\n".encode())
    assert read_pairs(path) == [("Go.", "Va !"), ("I \u2028 see.", "Je vois.")]
    three = put(tmp_path, b"a\tb\tc\nd\te\tf")
    assert read_pairs(three, 3) == [("a", "b", "c"), ("d", "e", "f")]
    assert read_pairs(three, extra="ignore") == [("a", "b"), ("d", "e")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\tb\n\nc", "line 3 has 1 tab-separated fields, expected 2: 'c'"),
        (b"a\tb\tc", "line 1 has 3 tab-separated fields"),
        (b"a\t \n", "line 1 has an empty field"),
    ],
)
def test_damaged_pairs_are_refused_with_their_line(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_pairs(put(tmp_path, content))


def test_wrong_arguments_are_refused(tmp_path):
    path = put(tmp_path, b"a\tb")
    with pytest.raises(ShapeError, match="columns is 0"):
        read_pairs(path, 0)
    with pytest.raises(DTypeError, match="columns is 'x'"):
        read_pairs(path, "x")
    with pytest.raises(ShapeError, match="extra is 'skip'"):
        read_pairs(path, extra="skip")
