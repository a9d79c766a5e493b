"""``@op`` and the registry: a function of arrays becomes an op of Tensors whose calls are recorded on the tape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_notes.operation import Array, Arrays, Op
from tinygrad_notes.wrapper import sequence_wrapper, wrapper

__all__ = ["REGISTRY", "Array", "Arrays", "Op", "op"]

REGISTRY: dict[str, Op] = {}


def op(
    function: Callable[..., Any] | None = None,
    *,
    composite: Callable[..., Any] | None = None,
    elementwise: bool = False,
    floating: bool = False,
) -> Any:
    """Make a differentiable op of a function of arrays.

    The function returns its value and, beside it, one derivative per operand (parameters annotated ``Array``), or one
    function that returns the tuple of all of them. A derivative receives ``g``, the gradient of the value, and by name
    what it keeps: operands, or ``y`` for the value. See CONTRIBUTING.md, "An op".

    >>> @tn.op(elementwise=True)
    ... def cube(a: tn.Array):
    ...     return a**3, lambda g, a: g * (3.0 * a**2)
    >>> tn.value_and_grad(cube)(2.0)
    (Tensor(8.), Tensor(12.))
    >>> cube.op.keeps
    [('a',)]
    """
    if function is None:
        return lambda f: op(f, composite=composite, elementwise=elementwise, floating=floating)
    record = Op(function, composite, elementwise, floating)
    if record.name in REGISTRY:
        raise TypeError(f"op {record.name} is defined twice")
    call = sequence_wrapper(record) if record.sequence is not None else wrapper(record)
    call.__doc__, call.__module__, call.__qualname__ = function.__doc__, function.__module__, function.__qualname__
    call.__name__, call.__signature__ = function.__name__, record.signature  # type: ignore[attr-defined]
    call.op = record  # type: ignore[attr-defined]
    REGISTRY[record.name], record.call = record, call
    return call
