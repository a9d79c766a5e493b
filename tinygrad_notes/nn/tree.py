"""The text of a module: a tree with a line for each submodule and its number of parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinygrad_notes.nn.module import Module


def tree(module: Module) -> str:
    """A line for each module, indented below the one that holds it, and its parameters with those below it.

    Neighbours in a list that look alike share a line: ``(0-11): 12 x Block(``.

    >>> print(nn.tree.tree(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.ReLU())))
    Sequential(
      (0): Linear(in_features=2, out_features=3, bias=True)  # 9
      (1-2): 2 x ReLU()
    )  # 9 parameters in total
    """
    count = _count(module)
    lines = _lines(module)
    if len(lines) > 1:
        lines[-1] += f"  # {count:,} parameters in total"
    elif count:
        lines[0] += f"  # {count:,} parameters"
    return "\n".join(lines)


def _count(module: Module) -> int:
    return sum(parameter.size for parameter in module.parameters())


def _lines(module: Module) -> list[str]:
    name, extra = type(module).__name__, module.extra_repr()
    children = [(label, _child_lines(child)) for label, child in module._submodules()]
    if not children:
        return [f"{name}({extra})"]
    lines = [f"{name}({extra}"]
    for label, below in _joined(children):
        lines += [f"  ({label}): {below[0]}", *(f"  {line}" for line in below[1:])]
    return [*lines, ")"]


def _child_lines(child: Module) -> list[str]:
    lines, count = _lines(child), _count(child)
    if count:
        lines[0] += f"  # {count:,}"
    return lines


def _joined(children: list[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    """Runs of children with numbers for names and the same lines, as one."""
    runs: list[tuple[list[str], list[str]]] = []
    for label, lines in children:
        if runs and label.isdigit() and runs[-1][0][-1].isdigit() and runs[-1][1] == lines:
            runs[-1][0].append(label)
        else:
            runs.append(([label], lines))
    return [
        (labels[0], lines)
        if len(labels) == 1
        else (f"{labels[0]}-{labels[-1]}", [f"{len(labels)} x {lines[0]}", *lines[1:]])
        for labels, lines in runs
    ]
