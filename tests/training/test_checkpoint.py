"""Checkpoints: what goes in comes out, and what is damaged stays out."""

import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import tinygrad_notes as tn
from tinygrad_notes.training import CheckpointError, load_checkpoint, report, save_checkpoint
from tinygrad_notes.training.checkpoint import check_model

STATE = {
    "model": {"0.weight": tn.tensor([[1.5, -2.0]]), "0.bias": np.float64(np.pi) * np.ones(())},
    "optimizer": {"state": {0: {"step": 3, "m": np.arange(3, dtype=np.float32)}}, "betas": (0.9, 0.999)},
    "generator": tn.get_rng_state(),
    "values": [1, 2.5, float("inf"), None, True, "text", 2**100, []],
    "$odd": {"a.b": np.zeros((0, 2), np.int64), "a": {"b": np.array([True, False])}},
    "number": np.int32(7),
}


def same(a, b):
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if hasattr(a, "shape") and not isinstance(a, np.generic):
        a = a.data if isinstance(a, tn.Tensor) else a
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b and (isinstance(a, np.generic) or isinstance(b, type(a)))


def test_a_state_comes_back_to_the_last_bit(tmp_path):
    path = tmp_path / "deep" / "run.safetensors"
    save_checkpoint(path, STATE)
    assert same(STATE, load_checkpoint(path))
    assert os.listdir(path.parent) == ["run.safetensors"]


def test_arrays_that_are_not_contiguous_come_back(tmp_path):
    array = np.arange(24.0).reshape(4, 6)[::-2, 1::2]
    save_checkpoint(tmp_path / "c", {"x": array, "y": array.T})
    state = load_checkpoint(tmp_path / "c")
    assert np.array_equal(state["x"], array)
    assert np.array_equal(state["y"], array.T)


def test_other_tools_read_the_weights(tmp_path):
    save_checkpoint(tmp_path / "c", STATE)
    assert load_file(tmp_path / "c")["model.0.weight"].tolist() == [[1.5, -2.0]]


def test_what_cannot_be_stored_is_named(tmp_path):
    with pytest.raises(TypeError, match=r"optimizer\.hook is function"):
        save_checkpoint(tmp_path / "c", {"optimizer": {"hook": lambda: None}})
    assert list(tmp_path.iterdir()) == []


def test_every_truncation_is_refused(tmp_path):
    path = tmp_path / "c"
    save_checkpoint(path, {"x": np.arange(4.0)})
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="truncated or damaged"):
            load_checkpoint(path)


def test_every_changed_byte_is_refused(tmp_path):
    path = tmp_path / "c"
    save_checkpoint(path, {"x": np.arange(4.0), "text": "name", "numbers": [1.25, -3]})
    whole = path.read_bytes()
    padding = {i for i, byte in enumerate(whole[:-32]) if byte == ord(" ")}  # blanks that fill the header up
    for i in range(len(whole)):
        changed = bytearray(whole)
        changed[i] ^= 1
        path.write_bytes(changed)
        if i not in padding:
            with pytest.raises(CheckpointError):
                load_checkpoint(path)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    path = tmp_path / "c"
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_checkpoint(path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_checkpoint(tmp_path)
    path.write_text("hello, this is a text and certainly no checkpoint")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        load_checkpoint(path)
    save_file({"x": np.ones(2)}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of a training run"):
        load_checkpoint(path)
    save_file({"x": np.ones(2)}, path, {"format": "tinygrad-notes checkpoint", "version": "99"})
    with pytest.raises(CheckpointError, match="version 99, this program reads 1"):
        load_checkpoint(path)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, step):
    path = tmp_path / "c"
    save_checkpoint(path, {"x": 1})

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(report.os, step, fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, {"x": 2})
    monkeypatch.undo()
    assert load_checkpoint(path) == {"x": 1}
    assert os.listdir(tmp_path) == ["c"]


def test_the_model_s_differences_are_listed():
    model = {"a": np.zeros((2, 3), np.float32), "b": np.zeros(1, np.float32), "c": np.zeros(2, np.float32)}
    saved = {"a": np.zeros((3, 2), np.float32), "c": np.zeros(2, np.float64), "d": np.zeros(4, np.float32)}
    with pytest.raises(CheckpointError) as caught:
        check_model("file", model, saved)
    text = str(caught.value)
    assert "a is (3, 2) float32 in the checkpoint and (2, 3) float32 in the model" in text
    assert "b (1,) float32 is in the model only" in text
    assert "c is (2,) float64 in the checkpoint and (2,) float32 in the model" in text
    assert "d (4,) float32 is in the checkpoint only" in text
    many = {str(i): np.zeros(1) for i in range(50)}
    with pytest.raises(CheckpointError, match="and 30 more"):
        check_model("file", {}, many)
    check_model("file", model, dict(model))
