"""ONNX files as modules."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_notes import lazy
from tinygrad_notes.errors import DataError, DTypeError, ShapeError
from tinygrad_notes.interop.export import FROZEN
from tinygrad_notes.interop.graph import onnx
from tinygrad_notes.interop.table import FIRST_READ, LAST, READERS, OnnxError, supported_operators
from tinygrad_notes.nn import Module
from tinygrad_notes.tensor import Tensor, to_array, wrap

protobuf = lazy.module("google.protobuf.message")

# By operator, the inputs that are statistics and never trained.
STATISTICS = {"BatchNormalization": (3, 4)}


class Operation:
    """One node of a file: its operator, the names of its inputs and outputs, its attributes."""

    def __init__(self, node: Any):
        self.operator, self.name = node.op_type, node.name
        self.inputs, self.names = list(node.input), list(node.output)
        self.outputs = max((i + 1 for i, name in enumerate(self.names) if name), default=0)
        self._attributes = {a.name: _attribute(a) for a in node.attribute}
        self.constant = _constant(self) if self.operator == "Constant" else None

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or ``default`` where the file has none."""
        return self._attributes.get(name, default)

    def __getitem__(self, name: str) -> Any:
        if name not in self._attributes:
            raise DataError(f"{self.operator}: the attribute {name} is missing")
        return self._attributes[name]

    def axes(self, given: Tensor | None) -> list[int] | None:
        """Axes, which are an input, or an attribute in older versions."""
        return self.get("axes") if given is None else given.data.reshape(-1).tolist()


def _attribute(attribute: Any) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return to_array(onnx.numpy_helper.to_array(value))
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, onnx.GraphProto):
        raise OnnxError(
            f"the attribute {attribute.name} is a graph of its own (If, Loop, Scan), which is not read here"
        )
    return [v.decode() if isinstance(v, bytes) else v for v in value]


class OnnxModule(Module):
    """A network read from an ONNX file: its initializers are parameters, its forward computes the file's nodes.

    Gradients flow to parameters and inputs. A name with dots is a path of modules, so that ``state_dict`` has the
    file's names. Batch normalisation and dropout do what the file says, whatever the mode; initializers that are not
    floating, or were frozen or buffers in a module exported here, or statistics of batch normalisation, are buffers.

    >>> tn.interop.export_onnx(nn.Sequential(nn.Linear(3, 2)), tn.zeros((1, 3)), "net.onnx")
    >>> net = tn.interop.import_onnx("net.onnx")
    >>> [name for name, _ in net.named_parameters()]
    ['0.weight', '0.bias']
    """

    def __init__(self, graph: Any, frozen: Sequence[str] = ()):
        super().__init__()
        arrays = {tensor.name: _array(tensor) for tensor in graph.initializer}
        self.input_names = [value.name for value in graph.input if value.name not in arrays]
        self.output_names = [value.name for value in graph.output]
        self._nodes = [Operation(node) for node in graph.node]
        self._freed = _last_uses(self._nodes, self.output_names)
        still = {*frozen, *(n.inputs[i] for n in self._nodes for i in STATISTICS.get(n.operator, ()))}
        self._paths: dict[str, tuple[str, ...]] = {}
        for name, array in arrays.items():
            self._paths[name] = self._keep(name, wrap(array), array.dtype.kind == "f" and name not in still)

    def _keep(self, name: str, tensor: Tensor, trained: bool) -> tuple[str, ...]:
        """Hold ``tensor`` as the attribute that its name says, and return the path there."""
        owner: Module = self
        *path, last = name.split(".")
        for i, part in enumerate(path):
            child = owner.__dict__.get(part)
            if not isinstance(child, Module):
                if not part or hasattr(owner, part):  # no path: the whole rest is one attribute
                    path, last = path[:i], "_".join([*path[i:], last])
                    break
                child = Module()
                setattr(owner, part, child)
            owner = child
        while not last or hasattr(owner, last):
            last += "_"
        if trained:
            setattr(owner, last, tensor.requires_grad_())
        else:
            owner.register_buffer(last, tensor)
        return (*path, last)

    def forward(self, *inputs: Any) -> Any:
        """The outputs for ``inputs``, in the file's order: one Tensor, or a tuple of several."""
        if len(inputs) != len(self.input_names):
            raise ShapeError(f"OnnxModule: {len(inputs)} inputs are given, expected {', '.join(self.input_names)}")
        known: dict[str, Any] = {name: reduce(getattr, path, self) for name, path in self._paths.items()}
        known |= {name: x if type(x) is Tensor else wrap(to_array(x)) for name, x in zip(self.input_names, inputs)}
        for node, freed in zip(self._nodes, self._freed):
            made = node.constant if node.constant is not None else self._compute(node, known)
            for name, value in zip(node.names, made if isinstance(made, tuple) else (made,)):
                if name:
                    known[name] = value
            for name in freed:
                del known[name]
        results = tuple(known[name] for name in self.output_names)
        return results[0] if len(results) == 1 else results

    def _compute(self, node: Operation, known: dict[str, Any]) -> Any:
        operands = [known[name] if name else None for name in node.inputs]
        try:
            return READERS[node.operator](node, *operands)
        except (ShapeError, DTypeError, IndexError) as error:
            raise type(error)(f"{node.operator} {node.name!r}: {error}") from error

    def extra_repr(self) -> str:
        return f"{', '.join(self.input_names)} -> {', '.join(self.output_names)}, {len(self._nodes)} nodes"


def _last_uses(nodes: Sequence[Operation], outputs: Sequence[str]) -> list[list[str]]:
    """For each node the values that no later one needs, so that they can be freed."""
    last: dict[str, int] = {}
    for i, node in enumerate(nodes):
        last |= {name: i for name in node.names if name} | {name: i for name in node.inputs if name in last}
    found: list[list[str]] = [[] for _ in nodes]
    for name, i in last.items():
        if name not in outputs:
            found[i].append(name)
    return found


def _constant(node: Operation) -> Tensor:
    """The value of a Constant node."""
    for name, dtype in (("value", None), ("value_float", np.float32), ("value_floats", np.float32),
                        ("value_int", np.int64), ("value_ints", np.int64)):  # fmt: skip
        value = node.get(name)
        if value is not None:
            return wrap(value if dtype is None else np.asarray(value, dtype))
    raise OnnxError("Constant: its value is sparse or a string, which is not read here")


def _array(tensor: Any) -> Any:
    try:
        return to_array(onnx.numpy_helper.to_array(tensor), copy=True)
    except DTypeError as error:
        raise DTypeError(f"import_onnx: initializer {tensor.name}: {error}") from None
    except (ValueError, TypeError, OSError) as error:
        raise DataError(f"import_onnx: initializer {tensor.name} is damaged: {error}") from error


def import_onnx(path: str | Path) -> OnnxModule:
    """The network in an ONNX file as a module that computes it with our ops and can be trained further.

    Files of opset 13 to 23, from any program, with the operators of ``interop.supported_operators()``: others raise
    OnnxError, which lists them all. DataError when the file is damaged or no ONNX file.

    >>> tn.interop.export_onnx(nn.Linear(3, 2), tn.zeros((1, 3)), "linear.onnx")
    >>> net = tn.interop.import_onnx("linear.onnx")
    >>> net.weight.shape, net(tn.zeros((1, 3))).shape
    ((2, 3), (1, 2))
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"import_onnx: {path} does not exist")
    checker = onnx.checker
    try:
        model = onnx.load(str(path))
    except (protobuf.DecodeError, checker.ValidationError, ValueError, OSError) as error:
        raise DataError(f"import_onnx: {path} is damaged or no ONNX file: {error}") from error
    if not model.ir_version or not model.HasField("graph") or not model.graph.output:
        raise DataError(f"import_onnx: {path} is damaged or no ONNX file: it has no graph")
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    _check_known(model)
    try:
        checker.check_model(model)
    except checker.ValidationError as error:
        raise DataError(f"import_onnx: {path} is damaged: {error}") from error
    properties = {entry.key: entry.value for entry in model.metadata_props}
    return OnnxModule(model.graph, properties.get(FROZEN, "").split("\n"))


def _check_known(model: Any) -> None:
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    used = {node.domain or "ai.onnx" for node in model.graph.node}
    foreign = sorted(f"{node.domain}.{node.op_type}" for node in model.graph.node if node.domain not in ("", "ai.onnx"))
    unknown = foreign or sorted({n.op_type for n in model.graph.node} - set(READERS) - {"Constant"})
    if unknown:
        raise OnnxError(
            f"import_onnx: the file has the operators {', '.join(dict.fromkeys(unknown))}, which are not known here; "
            f"there are {', '.join(supported_operators())}"
        )
    version = opsets.get("ai.onnx")
    if "ai.onnx" in used and (version is None or not FIRST_READ <= version <= LAST):
        raise OnnxError(f"import_onnx: the file is of opset {version}, expected {FIRST_READ} to {LAST}")
