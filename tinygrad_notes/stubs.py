"""Writes ``tensor.pyi``, which tells editors and mypy of what is bound to Tensor at run time.

``python -m tinygrad_notes.stubs`` writes the file anew; a test holds it to what it would write.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_notes.ops  # noqa: F401  binds the methods
from tinygrad_notes.tensor import Tensor

tensor = importlib.import_module("tinygrad_notes.tensor")  # tinygrad_notes.tensor as an attribute is the function
PATH = Path(str(tensor.__file__)).with_suffix(".pyi")
HEADER = '''"""Types of tensor.py and of what ops binds to Tensor. Written by ``python -m tinygrad_notes.stubs``."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinygrad_notes.tape import Node

class Tensor:
    data: Any
    grad: Tensor | None
    node: Node | None
'''
# Attributes whose type the run-time object does not tell.
PROPERTIES = {"T": "Tensor", "mT": "Tensor"}
RETURNS = {"__iter__": "Iterator[Tensor]", "__setitem__": "None", "backward": "None", "retain_grad": "None",
           "split": "list[Tensor]",
           "__init__": "None", "unstack": "tuple[Tensor, ...]", "register_hook": "Callable[[], None]"}  # fmt: skip
SKIPPED = {"__slots__", "__weakref__", "__doc__", "__module__", "__dict__", "data", "grad", "node", "__annotations__",
           "__init_subclass__", "__firstlineno__", "__static_attributes__"}  # fmt: skip


def text() -> str:
    """The whole stub file."""
    lines = [HEADER.rstrip("\n")]
    for name, value in sorted(vars(Tensor).items(), key=lambda item: (item[0].startswith("__"), item[0])):
        if name not in SKIPPED:
            lines += _member(name, value)
    lines.append("")
    for name, value in vars(tensor).items():
        lines += _global(name, value)
    return "\n".join(lines) + "\n"


def _member(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, property) and value.fget is not None:
        kind = PROPERTIES.get(name) or _annotation(inspect.signature(value.fget).return_annotation)
        yield "    @property"
        yield f"    def {name}(self) -> {kind}: ..."
        if value.fset is not None:
            yield f"    @{name}.setter"
            yield f"    def {name}(self, value: {kind}) -> None: ..."
    elif callable(value):
        comment = "  # type: ignore[override]" if name in ("__eq__", "__ne__") else ""
        yield f"    def {name}{_signature(value, RETURNS.get(name), 'self')}: ...{comment}"


def _global(name: str, value: Any) -> Iterator[str]:
    if inspect.isfunction(value) and value.__module__ == tensor.__name__:
        yield f"def {name}{_signature(value, None, None)}: ..."
    elif isinstance(value, np.dtype):
        yield f"{name}: np.dtype"
    elif isinstance(value, tuple | frozenset) and name.isupper():
        yield f"{name}: {type(value).__name__}"
    elif name == "new":
        yield "def new(cls: type[Tensor]) -> Tensor: ..."


def _signature(function: Any, returns: str | None, first: str | None) -> str:
    signature = inspect.signature(function)
    parts, starred = [], False
    for i, p in enumerate(signature.parameters.values()):
        if p.kind is p.KEYWORD_ONLY and not starred:
            parts.append("*")
            starred = True
        prefix = "*" if p.kind is p.VAR_POSITIONAL else "**" if p.kind is p.VAR_KEYWORD else ""
        starred = starred or p.kind is p.VAR_POSITIONAL
        if i == 0 and first:
            parts.append(first)
        else:
            default = "" if p.default is p.empty else " = ..."
            parts.append(f"{prefix}{p.name}: {_annotation(p.annotation)}{default}")
    kind = returns or (
        "Tensor" if signature.return_annotation is signature.empty else _annotation(signature.return_annotation)
    )
    return f"({', '.join(parts)}) -> {kind}"


def _annotation(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return "Any"
    kind = annotation if isinstance(annotation, str) else annotation.__name__
    return "Any" if kind.split(" ")[0] in ("Array", "Arrays") else kind


if __name__ == "__main__":
    PATH.write_text(text())
