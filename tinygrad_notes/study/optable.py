"""All ops in a table: what each takes, keeps and calls, how it is checked (``python -m tinygrad_notes.study.optable``).

Nothing in it is written by hand: names and what derivatives keep are read from the registry, kernels from the op's own
text, and the rest is measured by running the samples, on the values and on their gradients.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from tinygrad_notes import ops
from tinygrad_notes.autograd import grad
from tinygrad_notes.errors import DataError, DeviceError, DTypeError, GradientError, ShapeError
from tinygrad_notes.kernels import DEVICES
from tinygrad_notes.kernels import FUNCTIONS as KERNELS
from tinygrad_notes.modes import no_grad, watch
from tinygrad_notes.operation import Op
from tinygrad_notes.registry import REGISTRY
from tinygrad_notes.study.graph import floating_in, nodes_below
from tinygrad_notes.study.samples import SAMPLES, Sample
from tinygrad_notes.tape import Node
from tinygrad_notes.tensor import DTYPES, float32, float64, wrap

REFUSED = (ShapeError, DTypeError, DeviceError, GradientError, DataError, IndexError, ValueError, np.linalg.LinAlgError)
REPLAYED = 4  # calls of an op that are repeated with every dtype


@dataclass
class Row:
    """What is known of one op. The counts are of samples that reach it, in their value or in a gradient of it."""

    name: str
    file: str
    operands: list[str]
    static: list[str]
    keeps: list[str]
    composite: bool
    kernels: list[str]
    differentiable: bool
    samples: int = 0
    references: int = 0
    first: int = 0
    second: int = 0
    dtypes: list[str] = field(default_factory=list)

    @property
    def second_derivative(self) -> str:
        """Where second derivatives, and so jvp, come from."""
        if not self.differentiable:
            return "no gradient flows"
        if not self.second:
            return "none"
        return "composite" if self.composite else "derivatives are ops"

    @property
    def unchecked(self) -> list[str]:
        """Which of the checks of the table of samples do not run on this op."""
        missing = [] if self.samples else ["samples"]
        missing += [] if self.references or not self.samples else ["value"]
        missing += ["first derivative"] if self.differentiable and not self.first else []
        return missing + ([] if self.dtypes else ["dtypes"])


def names() -> list[str]:
    """The ops of the package; those that a user defined have no samples."""
    return sorted(name for name, op in REGISTRY.items() if op.function.__module__.startswith(ops.__name__))


def table() -> list[Row]:
    """A row for every op of the registry, by name."""
    rows = {name: _row(REGISTRY[name]) for name in names()}
    calls: dict[str, list[tuple[Any, ...]]] = {name: [] for name in rows}
    dtypes: dict[str, set[str]] = {name: set() for name in rows}
    for sample in SAMPLES:
        reached = _in_value(sample, calls)
        if sample.order >= 1:
            for dtype in (float32, float64):
                for node in _in_gradients(sample, dtype):
                    reached.add(node.name)
                    dtypes.get(node.name, set()).add(str(node.dtype))
        for name in reached & rows.keys():
            row = rows[name]
            row.samples += 1
            row.references += sample.reference is not None
            row.first += sample.order >= 1
            row.second += sample.order >= 2
    for name, row in rows.items():  # an op that stands in gradients only is not called again: its nodes tell
        taken = {str(dtype) for dtype in DTYPES if any(_takes(REGISTRY[name], call, dtype) for call in calls[name])}
        row.dtypes = [str(dtype) for dtype in DTYPES if str(dtype) in (taken or dtypes[name])]
    return list(rows.values())


def _row(op: Op) -> Row:
    file = Path(inspect.getsourcefile(op.function) or "").name
    keeps = [", ".join(keep) or "nothing" for keep in op.keeps]
    if not op.joint:
        keeps = [f"d{operand}: {kept}" for operand, kept in zip(op.operands, keeps)]
    kernels = sorted(set(_kernels(op.function, set())))
    return Row(
        op.name, file, op.operands, op.static, keeps, op.composite is not None, kernels, op.differentiable,
    )  # fmt: skip


def _kernels(function: FunctionType | Any, seen: set[Any]) -> Iterator[str]:
    """The kernels that a function names, in its own text or in that of the plain functions of ops that it calls."""
    if function in seen:
        return
    seen.add(function)
    for code in _codes(function.__code__):
        for name in code.co_names:
            if name in KERNELS and "kernels" in code.co_names:
                yield name
            called = function.__globals__.get(name)
            ours = isinstance(called, FunctionType) and called.__module__.startswith(ops.__name__)
            if ours and not hasattr(called, "op") and not hasattr(called, "__wrapped__"):
                yield from _kernels(called, seen)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A function's code and that of the functions written in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _in_value(sample: Sample, calls: dict[str, list[tuple[Any, ...]]]) -> set[str]:
    """The ops that run in a sample's value; some of their calls are kept in ``calls``."""
    found: set[str] = set()

    def see(op: Op, operands: tuple[Any, ...], value: Any, static: tuple[Any, ...]) -> None:
        found.add(op.name)
        kept = calls.get(op.name)
        if kept is not None and len(kept) < REPLAYED and all(a.size for a in operands if type(a) in DEVICES):
            kept.append((tuple(a.copy() if type(a) in DEVICES else a for a in operands), static))

    with np.errstate(all="ignore"), watch(see, static=True):
        sample.call(*_operands(sample, float64))
    return found


def _in_gradients(sample: Sample, dtype: np.dtype) -> list[Node]:
    """The nodes of a sample's gradients, which first order has none of."""
    operands = _operands(sample, dtype)
    with np.errstate(all="ignore"):
        values = [v for v in floating_in(sample.call(*operands)) if v.requires_grad]
        if sample.order < 2 or not values:
            return []
        seeds = [wrap(np.ones(v.shape, v.dtype)).requires_grad_() for v in values]
        leaves = [operands[i] for i in sample.differentiable]
        found = grad(values, leaves, seeds, create_graph=True, allow_unused=True)
    return [node for node in nodes_below([g for g in found if g is not None]) if node.op is not None]


def _operands(sample: Sample, dtype: np.dtype) -> list[Any]:
    return [
        wrap(a.astype(dtype)).requires_grad_() if i in sample.differentiable else a.copy()
        for i, a in enumerate(sample.operands)
    ]


def _takes(op: Op, call: tuple[Any, ...], dtype: np.dtype) -> bool:
    """Whether a call of the op can be repeated with operands of ``dtype``."""
    operands, static = call
    others = {name: None if callable(value) else value for name, value in zip(op.static, static)}
    try:
        with np.errstate(all="ignore"), no_grad():
            cast = [a.astype(dtype) if type(a) in DEVICES else a for a in operands]
            arguments = {op.operands[0]: cast} if op.sequence is not None else dict(zip(op.operands, cast))
            op.call(**arguments, **others)
    except REFUSED:
        return False
    return True


HEADINGS = (
    "op", "file", "operands", "static arguments", "derivatives keep", "second derivative and jvp", "dtypes", "kernels",
    "samples", "with reference",
)  # fmt: skip


def cells(row: Row) -> tuple[str, ...]:
    """A row as text, under :data:`HEADINGS`."""
    return (
        row.name, row.file, ", ".join(row.operands), ", ".join(row.static), "; ".join(row.keeps), row.second_derivative,
        ", ".join(row.dtypes), ", ".join(row.kernels), str(row.samples), str(row.references),
    )  # fmt: skip


def markdown(rows: Sequence[Row]) -> str:
    """The table for a document."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    return "\n".join([*lines, *("| " + " | ".join(cells(row)) + " |" for row in rows)]) + "\n"


def text(rows: Sequence[Row]) -> str:
    """The table for a terminal: a paragraph for each op."""
    paragraphs = []
    for row in rows:
        name, *values = cells(row)
        lines = [f"  {heading:<26} {value}" for heading, value in zip(HEADINGS[1:], values) if value]
        paragraphs.append("\n".join([name, *lines]))
    unchecked = [f"{row.name}: {', '.join(row.unchecked)}" for row in rows if row.unchecked]
    paragraphs.append(f"{len(rows)} ops; not checked: {'; '.join(unchecked) or 'none'}")
    return "\n\n".join(paragraphs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, or write it as Markdown; 1 when an op is not checked."""
    parser = argparse.ArgumentParser("python -m tinygrad_notes.study.optable", description="The table of all ops.")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write it as Markdown to this file")
    options = parser.parse_args(arguments)
    rows = table()
    if options.markdown is None:
        print(text(rows))
    else:
        options.markdown.write_text(markdown(rows))
        print(f"{len(rows)} ops written to {options.markdown}")
    return 1 if any(row.unchecked for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())
