"""Modules as ONNX files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.interop import operators_elementwise, operators_layers, operators_recurrent, operators_shape
from tinygrad_notes.interop.graph import Graph, onnx
from tinygrad_notes.interop.table import FIRST_WRITTEN, LAST, WRITERS, OnnxError, supported_ops
from tinygrad_notes.interop.trace import Call, Symbol, Value, trace
from tinygrad_notes.nn import Module
from tinygrad_notes.tensor import to_array, to_numpy

FAMILIES = operators_elementwise, operators_layers, operators_recurrent, operators_shape  # importing fills the table
IR_VERSION = 10  # of ONNX 1.17, so that older runtimes read the file too
LARGEST = 2**31  # bytes of one protobuf message
FROZEN = "tinygrad_notes.frozen"  # metadata: the initializers that are buffers or were not trained


def export_onnx(
    module: Module,
    example_inputs: Any,
    path: str | Path,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: Mapping[str, Any] | None = None,
    opset: int = FIRST_WRITTEN,
) -> None:
    """Write what ``module`` computes, in evaluation mode, to an ONNX file, for onnxruntime and the like.

    ``example_inputs``: a Tensor or an array, or a tuple of them. The module is run on it, and once more on other values
    (and sizes), so that nothing that depends on the inputs is frozen unseen. Parameters and buffers become initializers
    under their names in ``state_dict``; outputs are the Tensors it returns, in order.

    ``dynamic_axes``: by name of an input the axes whose size may change, ``{"x": {0: "batch"}}`` or ``{"x": [0]}``; one
    name is one size. ``opset``: 20 to 23. What has no counterpart (an op without an entry in the table, a write in
    place, a shape or a choice of ops that the dynamic sizes change in a way the file cannot say) raises OnnxError. A
    Python branch on values that both runs take alike cannot be seen, and is written as it was taken. onnxruntime has no
    convolution in float64.

    >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    >>> tn.interop.export_onnx(net, tn.zeros((1, 3)), "net.onnx", ["x"], ["y"], {"x": [0]})
    >>> tn.interop.import_onnx("net.onnx")(tn.zeros((5, 3))).shape
    (5, 4)
    """
    if not isinstance(module, Module):
        raise DTypeError(f"export_onnx: module is {type(module).__name__}, expected a Module")
    if isinstance(opset, bool) or not isinstance(opset, int) or not FIRST_WRITTEN <= opset <= LAST:
        raise OnnxError(f"export_onnx: opset is {opset!r}, expected {FIRST_WRITTEN} to {LAST}")
    examples = [
        to_array(x) for x in (example_inputs if isinstance(example_inputs, list | tuple) else (example_inputs,))
    ]
    inputs = _names(input_names, "input", len(examples))
    dynamic = _dynamic(dynamic_axes or {}, inputs, examples)
    traced = trace(module, examples, dynamic)
    outputs = _names(output_names, "output", len(traced.outputs))
    if set(inputs) & set(outputs):
        raise ShapeError(f"export_onnx: {sorted(set(inputs) & set(outputs))} are names of inputs and of outputs")
    for value, name in zip(traced.inputs, inputs):
        value.name = name
    state = _state(module, {*inputs, *outputs})
    graph = Graph(opset, state, traced.inputs, outputs)
    for call in traced.calls:
        _write(graph, call)
    _name_outputs(graph, traced.outputs, outputs)
    used = {name for node in graph.nodes for name in node.input}
    graph.nodes = [node for node in graph.nodes if node.op_type != "Constant" or node.output[0] in used]
    onnx.save(_model(graph, module, traced.inputs, traced.outputs, outputs, opset), str(path))


def _names(names: Sequence[str] | None, kind: str, count: int) -> list[str]:
    if names is None:
        return [kind] if count == 1 else [f"{kind}_{i}" for i in range(count)]
    if isinstance(names, str) or len(set(names)) != len(names) or len(names) != count:
        raise ShapeError(f"export_onnx: {kind}_names is {names!r}, expected {count} different names")
    return list(names)


def _dynamic(given: Mapping[str, Any], inputs: list[str], examples: list[Any]) -> list[dict[int, str]]:
    """For each input its dynamic axes, counted from 0, with their names."""
    unknown = sorted(set(given) - set(inputs))
    if unknown:
        raise ShapeError(f"export_onnx: dynamic_axes has {unknown}, expected names of inputs, {inputs}")
    found = []
    for name, array in zip(inputs, examples):
        axes = given.get(name, {})
        axes = dict(axes) if isinstance(axes, Mapping) else {axis: f"{name}_axis_{axis}" for axis in axes}
        if any(not isinstance(axis, int) or not -array.ndim <= axis < array.ndim for axis in axes):
            raise ShapeError(f"export_onnx: dynamic_axes of {name} are {list(axes)}, its shape is {array.shape}")
        found.append({axis % array.ndim: text for axis, text in axes.items()})
    return found


def _state(module: Module, taken: set[str]) -> dict[int, str]:
    """By id of the array, the name of every parameter and buffer; a shared one has its first name."""
    names: dict[int, str] = {}
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        names.setdefault(id(tensor.data), f"{name}.state" if name in taken else name)
    return names


def _write(graph: Graph, call: Call) -> None:
    if call.name not in WRITERS:
        raise OnnxError(
            f"{call.name}: the op has no counterpart in ONNX's operators here; there are {', '.join(supported_ops())}"
        )
    made = WRITERS[call.name](graph, call)
    for value, name in zip(call.values, made if isinstance(made, tuple) else (made,)):
        value.name = name


def _name_outputs(graph: Graph, values: Sequence[Value], names: Sequence[str]) -> None:
    """Rename what nodes made; an input, a parameter, a constant, or an output of another name goes through Identity."""
    made = {output for node in graph.nodes if node.op_type != "Constant" for output in node.output}
    renamed: dict[str, str] = {}
    copies = []
    for value, name in zip(values, names):
        before = graph.name(value)
        if before in made and before not in renamed:
            renamed[before] = name
        else:
            copies.append((before, name))
    graph.nodes += [onnx.helper.make_node("Identity", [before], [name], name=name) for before, name in copies]
    for node in graph.nodes:
        node.input[:] = [renamed.get(n, n) for n in node.input]
        node.output[:] = [renamed.get(n, n) for n in node.output]


def _model(
    graph: Graph, module: Module, inputs: Sequence[Value], outputs: Sequence[Value], names: Sequence[str], opset: int
) -> Any:
    helper = onnx.helper
    size = sum(array.nbytes for array in graph.initializers.values())
    if size >= LARGEST:
        raise OnnxError(f"export_onnx: the parameters take {size:,} bytes, a file holds less than {LARGEST:,}")
    arrays = {name: to_numpy(array) for name, array in graph.initializers.items()}
    proto = helper.make_graph(
        graph.nodes,
        type(module).__name__,
        [_info(str(value.name), value) for value in inputs],
        [_info(name, value) for name, value in zip(names, outputs)],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION, producer_name="tinygrad-notes"
    )
    trained = {id(t.data) for t in module.parameters() if t.requires_grad}
    frozen = [name for name, array in graph.initializers.items() if id(array) not in trained]
    helper.set_model_props(model, {FROZEN: "\n".join(frozen)})
    onnx.checker.check_model(model, full_check=True)
    return model


def _info(name: str, value: Value) -> Any:
    shape = [n.name if isinstance(n, Symbol) else n for n in value.shape]
    kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
    return onnx.helper.make_tensor_value_info(name, kind, shape)
