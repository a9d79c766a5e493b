"""Wrong calls and what they say: runs the table in wrong_calls/. test_bad_input.py holds every row of it.

``python -m tests.bad_input`` prints it in Markdown. :func:`scope` says what x, w, v and the other names are.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import itertools
import math
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

if not __package__:  # run as a script: the packages beside this folder are found too
    sys.path.insert(0, str(Path(__file__).parent.parent))

import tinygrad_notes as tn
from tests.foreign_array import ForeignArray
from tests.wrong_calls import AREAS, DEFINED
from tests.wrong_calls.errors import CommandError
from tinygrad_notes import cli, data, lazy, nn, notes, optim, training
from tinygrad_notes.kernels import BACKENDS, DEVICES, register_array_type
from tinygrad_notes.tensor import wrap
from tinygrad_notes.training.checkpoint import CheckpointError
from tinygrad_notes.training.loop import DivergenceError

# What a wrong call may raise: our errors, and Python's own where they fit.
ERRORS = (
    *(tn.ShapeError, tn.DTypeError, tn.DeviceError, tn.GradientError, tn.DataError),
    *(CheckpointError, DivergenceError, CommandError),
    *(notes.UnknownNoteError, IndexError, KeyError, ImportError, FileNotFoundError, NotImplementedError),
)


class Case(NamedTuple):
    """One wrong call."""

    area: str
    call: str
    error: type[Exception]
    says: str
    given: str = ""

    def prepare(self, names: dict[str, Any]) -> Callable[[], Any]:
        """The call as a function, once what it needs is in ``names``."""
        exec(self.given, names)
        try:
            code = compile(self.call, "<call>", "eval")
        except SyntaxError:  # a statement
            code = compile(self.call, "<call>", "exec")
        return lambda: eval(code, names)


# What says something else where the package is there.
ABSENT = {"x.to('cuda')": "cupy", "lazy.load('onnx')": "onnx"}

CASES = [
    Case(area, *row)
    for area, rows in AREAS.items()
    for row in rows
    if row[0] not in ABSENT or importlib.util.find_spec(ABSENT[row[0]]) is None
]


# ---------------------------------------------------------------------- running them


def command(*arguments: str) -> None:
    """``tinygrad-notes`` in this process."""
    printed = io.StringIO()
    with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = cli.main(arguments)
        except SystemExit as error:  # argparse's
            code = error.code  # type: ignore[assignment]
    if code:
        told = [line for line in printed.getvalue().splitlines() if not line.startswith(("usage:", " "))]
        raise CommandError(f"exit code {code}: {' '.join(told)}")


@contextlib.contextmanager
def scope() -> Iterator[dict[str, Any]]:
    """The names that the calls use, made anew, and an array type of another device while they are used."""
    x, w, v, labels = tn.ones((2, 3)), tn.ones((2, 3), requires_grad=True), tn.ones(3), tn.tensor([0, 1])
    linear = nn.Linear(3, 2)
    loader = data.DataLoader(data.TensorDataset(x, labels), 2)

    def trainer(model: Any, optimizer: Any = None, loader: Any = loader, **options: Any) -> training.Trainer:
        optimizer = optim.SGD(model.parameters(), 0.1) if optimizer is None else optimizer
        return training.Trainer(model, tn.cross_entropy, optimizer, loader, **options)

    register_array_type(ForeignArray, "foreign")
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield {
                "np": np, "tn": tn, "nn": nn, "optim": optim, "data": data, "training": training, "notes": notes,
                "lazy": lazy, "copy": copy, "pickle": pickle, "nan": math.nan, "inf": math.inf,
                "x": x, "w": w, "v": v, "labels": labels, "flags": tn.tensor([True, False]), "empty": tn.zeros((0, 3)),
                "signal": tn.ones((1, 2, 5)), "images": tn.ones((1, 2, 5, 5)), "volume": tn.ones((1, 2, 3, 3, 3)),
                "kernels": tn.ones((3, 2, 3, 3)),
                "foreign": wrap(ForeignArray(np.ones((2, 3), np.float32))),
                "q": tn.ones((1, 2, 3, 4)), "blind": tn.tensor([[False] * 3, [True] * 3, [True] * 3]),
                "steps": tn.ones((5, 2, 3)), "weights": [(tn.ones((4, 3)), tn.ones((4, 4)))],
                "linear": linear, "loader": loader, "sgd": optim.SGD([w], 0.1), "adam": optim.Adam([w]),
                "trainer": trainer, "command": command, "attend": tn.scaled_dot_product_attention,
                "file": Path(folder) / "checkpoint.safetensors", "folder": Path(folder),
            }  # fmt: skip
    finally:
        del DEVICES[ForeignArray]
        for table in BACKENDS.values():
            del table[ForeignArray]


def message_of(error: BaseException, names: dict[str, Any]) -> str:
    """What an error says, without the folder of this run."""
    text = str(error.args[0]) if isinstance(error, KeyError) else str(error)
    return text.replace(str(names["file"]), "FILE").replace(str(names["folder"]), "FOLDER")


def markdown() -> str:
    """Every call with its message, and every defined one with its result."""
    lines = [f"# {len(CASES)} wrong calls", ""]
    for area, rows in itertools.groupby(CASES, key=lambda case: case.area):
        lines += [f"## {area}", "", "| call | error | message |", "|---|---|---|"]
        for case in rows:
            with scope() as names:
                call = case.prepare(names)
                try:
                    call()
                    kind, said = "none", "NOTHING WAS RAISED"
                except ERRORS as error:
                    kind, said = type(error).__name__, message_of(error, names)
            source = "; ".join([*case.given.splitlines(), case.call])
            lines.append(f"| `{_cell(source)}` | {kind} | {_cell(said)} |")
        lines.append("")
    lines += [f"# {len(DEFINED)} calls that look wrong and are defined", "", "| call | result | why |", "|---|---|---|"]
    for source, _, why in DEFINED:
        with scope() as names:
            lines.append(f"| `{_cell(source)}` | `{_cell(repr(eval(source, names)))}` | {why} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|")


if __name__ == "__main__":
    print(markdown())
