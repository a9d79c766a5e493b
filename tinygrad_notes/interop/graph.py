"""The graph of an ONNX file while it is written: nodes, constants, initializers, and sizes known at run time only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_notes import lazy
from tinygrad_notes.interop.table import OnnxError
from tinygrad_notes.interop.trace import Symbol, Value
from tinygrad_notes.kernels import DEVICES
from tinygrad_notes.tensor import float32, to_numpy

onnx = lazy.module("onnx")


class Graph:
    """Nodes are added by :meth:`node`, which takes Values, names of values, or None, and returns the new name."""

    def __init__(self, opset: int, state: dict[int, str], inputs: Sequence[Value], outputs: Sequence[str]):
        self.opset, self.inputs = opset, inputs
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self._state = state  # by id of an array: its name in the state dict
        self._names = {*(value.name for value in inputs), *state.values(), *outputs}
        self._constants: dict[Any, str] = {}
        self._sizes: dict[str, str] = {}

    # ------------------------------------------------------------------ names

    def fresh(self, hint: str) -> str:
        """A name that nothing has."""
        name, i = hint, 0
        while name in self._names:
            i += 1
            name = f"{hint}_{i}"
        self._names.add(name)
        return name

    def name(self, value: Any) -> str:
        """What ``value`` is called: a name as it is, a Value by its own, which an array that no op made gets here."""
        if value is None:
            return ""
        if isinstance(value, str):
            return value
        if value.name is None:
            value.name = self._state.get(id(value.array))
            if value.name is not None:
                self.initializers.setdefault(value.name, value.array)
            elif any(isinstance(n, Symbol) for n in value.shape):
                fill = self.constant(to_numpy(value.array).reshape(-1)[0])
                value.name = self.node("Expand", fill, self.sizes(value.shape))
            else:
                value.name = self.constant(value.array)
        return value.name

    def is_constant(self, value: Value) -> bool:
        """Whether ``value`` is neither an input nor computed nor part of the module's state."""
        return value.name is None and id(value.array) not in self._state

    # ------------------------------------------------------------------ nodes

    def node(self, operator: str, *inputs: Any, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; the name of its output, or a tuple of names. Attributes of None are left out."""
        names = [self.name(value) for value in inputs]
        while names and not names[-1]:
            names.pop()
        made = [self.fresh(operator.lower()) for _ in range(outputs)]
        attributes = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(onnx.helper.make_node(operator, names, made, name=made[0], **attributes))
        return made[0] if outputs == 1 else tuple(made)

    def constant(self, array: Any, dtype: Any = None) -> str:
        """A Constant node of ``array`` (or a number), shared with equal ones."""
        array = np.asarray(to_numpy(array) if type(array) in DEVICES else array, dtype, order="C")
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = self.fresh("constant")
            tensor = onnx.numpy_helper.from_array(array, name)
            self.nodes.append(onnx.helper.make_node("Constant", [], [name], name=name, value=tensor))
            self._constants[key] = name
        return self._constants[key]

    def scalar(self, number: float, like: Value) -> str:
        """A number in the dtype of ``like``."""
        return self.constant(np.asarray(number, like.dtype))

    def ints(self, numbers: Sequence[int]) -> str:
        return self.constant(np.asarray(list(numbers), np.int64))

    def cast(self, value: Any, dtype: Any) -> str:
        return self.node("Cast", value, to=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    # ------------------------------------------------------------------ sizes that are known at run time

    def size(self, symbol: Symbol) -> str:
        """The size of a dynamic axis, an int64 vector of one element."""
        for value in self.inputs:
            for axis, n in enumerate(value.shape):
                if symbol.name is not None and n == symbol:
                    if symbol.name not in self._sizes:
                        self._sizes[symbol.name] = self.node("Shape", value, start=axis, end=axis + 1)
                    return self._sizes[symbol.name]
        a, b = symbol.sizes
        raise OnnxError(
            f"a size depends on the dynamic axes, but is none of them ({a} in one run, {b} in another), and the file "
            "cannot say how; leave that axis out of dynamic_axes"
        )

    def sizes(self, shape: Sequence[int | Symbol]) -> str:
        """A shape as an int64 vector."""
        if not any(isinstance(n, Symbol) for n in shape):
            return self.ints(shape)  # type: ignore[arg-type]
        parts = [self.size(n) if isinstance(n, Symbol) else self.ints([n]) for n in shape]
        return parts[0] if len(parts) == 1 else self.node("Concat", *parts, axis=0)

    def reshaped(self, value: Any, before: Sequence[int | Symbol], after: Sequence[int | Symbol]) -> str:
        """``value`` of shape ``before`` in the shape ``after``: an axis that stays is 0, one more size may be -1."""
        if 0 in after:
            return self.node("Reshape", value, self.sizes(after), allowzero=1)
        target = [0 if isinstance(n, Symbol) and i < len(before) and before[i] == n else n for i, n in enumerate(after)]
        unknown = [i for i, n in enumerate(target) if isinstance(n, Symbol)]
        if len(unknown) > 1:  # those that are an axis of an input are looked up there
            unknown = [i for i in unknown if target[i].name is None] or unknown[:1]  # type: ignore[union-attr]
        if len(unknown) == 1:
            target[unknown[0]] = -1
        return self.node("Reshape", value, self.sizes(target))

    # ------------------------------------------------------------------ operands

    def floating(self, *values: Any) -> list[Any]:
        """The operands in one floating dtype, as ``tensor.as_floating`` does; None stays None."""
        kinds = {v.dtype for v in values if v is not None and v.dtype.kind == "f"}
        dtype = max(kinds, key=lambda d: d.itemsize) if kinds else float32
        return [None if v is None else v if v.dtype == dtype else self.cast(v, dtype) for v in values]

    def together(self, *operands: Any, dtype: Any = None) -> list[str]:
        """Operands of an elementwise op in one dtype: integers join floats, Python's numbers promote nothing."""
        arrays = [v.dtype for v in operands if isinstance(v, Value)]
        floats = [d for d in arrays if d.kind == "f"]
        if dtype is not None:
            common = np.dtype(dtype)
        elif floats:
            common = max(floats, key=lambda d: d.itemsize)
        elif any(isinstance(v, float) for v in operands):
            common = float32
        else:
            common = np.result_type(*arrays, *(v for v in operands if isinstance(v, int | bool)))
        return [self._in(v, common) for v in operands]

    def _in(self, operand: Any, dtype: Any) -> str:
        if isinstance(operand, Symbol):
            return self.cast(self.node("Squeeze", self.size(operand), self.ints([0])), dtype)
        if not isinstance(operand, Value):
            return self.constant(np.asarray(operand, dtype))
        return self.name(operand) if operand.dtype == dtype else self.cast(operand, dtype)


def axes_of(axis: Any, ndim: int) -> list[int]:
    """The axes of a reduction as numbers from 0; None is all of them."""
    axes = range(ndim) if axis is None else axis if isinstance(axis, list | tuple) else (axis,)
    return sorted(int(a) % ndim for a in axes)
