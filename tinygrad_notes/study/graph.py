"""Walking what a call returned and the tape below it: for summaries, checks and views of the graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tinygrad_notes.tape import Node
from tinygrad_notes.tensor import Tensor


def tensors_in(values: Any) -> list[Tensor]:
    """The Tensors in nested tuples, lists and dicts, in order; whatever else stands there is left out.

    >>> from tinygrad_notes.study.graph import tensors_in
    >>> tensors_in({"a": tn.ones(1), "rest": [tn.zeros(1), "text"]})
    [Tensor([1.]), Tensor([0.])]
    """
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, list | tuple):
        return [t for value in values for t in tensors_in(value)]
    return [values] if isinstance(values, Tensor) else []


def floating_in(values: Any) -> list[Tensor]:
    """Those of :func:`tensors_in` that can carry a gradient.

    >>> from tinygrad_notes.study.graph import floating_in
    >>> floating_in((tn.ones(1), tn.arange(2)))
    [Tensor([1.])]
    """
    return [t for t in tensors_in(values) if t.dtype.kind == "f"]


def nodes_below(values: Any) -> Iterator[Node]:
    """Every node of the tape from which the Tensors in ``values`` were computed, leaves included, each once.

    >>> from tinygrad_notes.study.graph import nodes_below
    >>> x = tn.tensor(2.0, requires_grad=True)
    >>> sorted(node.name for node in nodes_below(tn.exp(x) * x))
    ['exp', 'leaf', 'multiply']
    """
    stack = list(dict.fromkeys(t.node for t in tensors_in(values) if t.node is not None))
    seen = set(stack)
    while stack:
        node = stack.pop()
        yield node
        for parent in node.parents:
            if parent is not None and parent not in seen:
                seen.add(parent)
                stack.append(parent)
