"""The table between our ops and ONNX's operators, read both ways. Its entries stand in operators_*.py, by family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_notes.registry import REGISTRY

# Opsets of ONNX that are written and read: what changed among them in the operators of the table is handled.
FIRST_WRITTEN, FIRST_READ, LAST = 20, 13, 23


class OnnxError(RuntimeError):
    """A network or a file that the other side has no words for: an op, an operator, a version, a shape."""


# By name of an op: a function of the graph and the call, which adds nodes and returns the name of the value (or names).
WRITERS: dict[str, Callable[..., Any]] = {}
# By name of an operator: a function of the node and its inputs, Tensors or None, which returns its value (or values).
READERS: dict[str, Callable[..., Any]] = {}


def writes(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """How an op is written as ONNX."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        WRITERS.update(dict.fromkeys(names, function))
        return function

    return register


def reads(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """How an operator of ONNX is computed here."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        READERS.update(dict.fromkeys(names, function))
        return function

    return register


def supported_ops() -> list[str]:
    """The ops that can be exported: those with an entry of their own, and those made of small ops that have one.

    >>> {"conv", "lstm_scan", "softmax"} <= set(tn.interop.supported_ops())
    True
    """
    return sorted(name for name, op in REGISTRY.items() if name in WRITERS or op.composite is not None)


def supported_operators() -> list[str]:
    """The operators of ONNX that can be imported.

    >>> {"Conv", "LSTM", "Softmax"} <= set(tn.interop.supported_operators())
    True
    """
    return sorted(READERS)
