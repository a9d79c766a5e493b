"""Checkpoints: everything a run needs to go on, in one safetensors file.

Arrays are the file's tensors, under the path they have in the state (``model.0.weight``), so that other tools read
them. All else is JSON in the header, with a reference in the place of each array, and a SHA-256 of both. Nothing in the
file is ever executed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_notes import lazy
from tinygrad_notes.errors import DTypeError
from tinygrad_notes.kernels import DEVICES
from tinygrad_notes.tensor import Tensor, to_numpy
from tinygrad_notes.training.report import write_atomically

safetensors = lazy.module("safetensors")
safetensors_numpy = lazy.module("safetensors.numpy")

FORMAT, VERSION = "tinygrad-notes checkpoint", "1"


class CheckpointError(ValueError):
    """A file that is no checkpoint, is damaged, or belongs to another model.

    >>> try:
    ...     tn.training.load_checkpoint(tn.training.checkpoint.__file__)
    ... except tn.training.CheckpointError as error:
    ...     print(str(error).split("checkpoint.py: ")[1][:22])
    not a safetensors file
    """


def save_checkpoint(path: Path | str, state: dict[str, Any]) -> None:
    """Write ``state`` (nested dicts, lists and tuples of arrays, Tensors, numbers, strings, None) to ``path``.

    A process that dies on the way leaves the old file whole.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     folder = pathlib.Path(name)
    ...     tn.training.save_checkpoint(folder / "run", {"step": 3, "weight": tn.ones(2)})
    ...     tn.training.load_checkpoint(folder / "run")
    {'step': 3, 'weight': array([1., 1.], dtype=float32)}
    """
    if not isinstance(path, str | Path):
        raise DTypeError(f"save_checkpoint: path is {path!r}, expected a string or a Path")
    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(_encode(state, "", arrays))
    metadata = {"format": FORMAT, "version": VERSION, "state": text, "sha256": _digest(arrays, text)}
    write_atomically(path, safetensors_numpy.save(arrays, metadata))


def load_checkpoint(path: Path | str) -> dict[str, Any]:
    """The state that :func:`save_checkpoint` wrote, with NumPy arrays in the place of arrays and Tensors.

    FileNotFoundError when there is no file; CheckpointError when it is something else, truncated or damaged.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     folder = pathlib.Path(name)
    ...     tn.training.save_checkpoint(folder / "run", {"rates": (0.1, 0.2)})
    ...     tn.training.load_checkpoint(folder / "run")
    {'rates': (0.1, 0.2)}
    """
    if not isinstance(path, str | Path):
        raise DTypeError(f"load_checkpoint: path is {path!r}, expected a string or a Path")
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist")
    try:
        with safetensors.safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise CheckpointError(f"checkpoint {path}: not a safetensors file, truncated or damaged ({error})") from None
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"checkpoint {path}: a safetensors file, but not a checkpoint of a training run")
    if metadata.get("version") != VERSION:
        raise CheckpointError(
            f"checkpoint {path}: format version {metadata.get('version')}, this program reads {VERSION}"
        )
    text = metadata.get("state", "")
    if metadata.get("sha256") != _digest(arrays, text):
        raise CheckpointError(f"checkpoint {path}: damaged, its content does not match its SHA-256")
    return _decode(json.loads(text), arrays)


def check_model(path: Path | str, model: dict[str, Any], saved: dict[str, Any]) -> None:
    """Raise CheckpointError with the names and shapes in which the state dicts ``model`` and ``saved`` differ."""
    lines = [f"{name} {_shape(saved[name])} is in the checkpoint only" for name in saved if name not in model]
    lines += [f"{name} {_shape(model[name])} is in the model only" for name in model if name not in saved]
    for name in model:
        if name in saved and _shape(model[name]) != _shape(saved[name]):
            lines.append(f"{name} is {_shape(saved[name])} in the checkpoint and {_shape(model[name])} in the model")
    if lines:
        shown = lines[:20] + ([f"and {len(lines) - 20} more"] if len(lines) > 20 else [])
        raise CheckpointError(f"checkpoint {path}: of another model\n  " + "\n  ".join(shown))


def _shape(array: Any) -> str:
    return f"{tuple(array.shape)} {array.dtype}"


def _digest(arrays: dict[str, np.ndarray], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _encode(value: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """``value`` as JSON knows it; what JSON does not know is an object with one key that begins with ``$``."""
    if type(value) is Tensor:
        value = value.data
    if type(value) in DEVICES:
        while path in arrays:  # keys that hold dots can lead to one path twice
            path += "_"
        arrays[path] = np.array(to_numpy(value), order="C")
        return {"$array": path}
    if isinstance(value, np.generic):
        return _encode(value.item(), path, arrays)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: _encode(item, _join(path, key), arrays) for key, item in value.items()}
        pairs = [[_encode(k, "", arrays), _encode(v, _join(path, str(k)), arrays)] for k, v in value.items()]
        return {"$dict": pairs}
    if isinstance(value, list | tuple):
        items = [_encode(item, _join(path, str(i)), arrays) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    raise DTypeError(
        f"checkpoint: {path or 'the state'} is {type(value).__name__}, expected arrays, numbers, strings, None, "
        "or dicts, lists and tuples of them"
    )


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _decode(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if "$array" in value:
        return arrays[value["$array"]]
    if "$tuple" in value:
        return tuple(_decode(item, arrays) for item in value["$tuple"])
    if "$dict" in value:
        return {_decode(k, arrays): _decode(v, arrays) for k, v in value["$dict"]}
    return {key: _decode(item, arrays) for key, item in value.items()}
