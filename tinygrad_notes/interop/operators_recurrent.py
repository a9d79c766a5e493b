"""RNN, LSTM and GRU, both ways. Their gates stand in another order in ONNX, which a Gather of the rows exchanges."""

from __future__ import annotations

import numpy as np

from tinygrad_notes import ops
from tinygrad_notes.interop.graph import Graph
from tinygrad_notes.interop.table import OnnxError, reads, writes
from tinygrad_notes.interop.trace import Value
from tinygrad_notes.tensor import to_numpy, wrap

# Which of our blocks of rows stands where in ONNX: LSTM i, f, g, o as i, o, f, g; GRU r, z, n as z, r, n.
ORDERS = {"RNN": (0,), "LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}
ACTIVATIONS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}
WEIGHTS = ("weight_ih", "weight_hh")


def _rows(operator, hidden):
    """The numbers of our rows in ONNX's order."""
    return np.concatenate([np.arange(k * hidden, (k + 1) * hidden) for k in ORDERS[operator]])


@writes("rnn_scan", "lstm_scan", "gru_scan")
def _scan(graph, call):
    operator = call.name.removesuffix("_scan").upper()
    states = ("h0", "c0") if operator == "LSTM" else ("h0",)
    hidden = call["h0"].shape[1]
    rows = _rows(operator, hidden)
    x, *weights = graph.floating(call["x"], *(call[name] for name in (*WEIGHTS, "bias_ih", "bias_hh")))
    w, r = (graph.node("Gather", weight, graph.constant(rows[None]), axis=0) for weight in weights[:2])
    b = None
    if call["bias_ih"] is not None or call["bias_hh"] is not None:
        zeros = np.zeros(len(rows), call.value.dtype)
        biases = graph.node(
            "Concat", *(graph.constant(zeros) if bias is None else bias for bias in weights[2:]), axis=0
        )
        b = graph.node("Gather", biases, graph.constant(np.concatenate([rows, rows + len(rows)])[None]), axis=0)
    lengths = _lengths(graph, call["lengths"])
    initial = [None if _zero(graph, call[name]) else _first_axis(graph, *graph.floating(call[name])) for name in states]
    attributes: dict = {"hidden_size": hidden, "direction": "reverse" if call["reverse"] else "forward"}
    if operator == "GRU":
        attributes["linear_before_reset"] = int(bool(call["reset_after"]))
    if operator == "RNN":
        attributes["activations"] = [call["nonlinearity"].capitalize()]
    made = graph.node(operator, x, w, r, b, lengths, *initial, outputs=1 + len(states), **attributes)
    outputs, *last = made
    return (graph.node("Squeeze", outputs, graph.ints([1])), *(graph.node("Squeeze", s, graph.ints([0])) for s in last))


def _lengths(graph, lengths):
    if lengths is None:
        return None
    if not isinstance(lengths, Value) or graph.is_constant(lengths):
        lengths = np.asarray(to_numpy(lengths.array) if isinstance(lengths, Value) else lengths, np.int32)
        if not lengths.all():
            raise OnnxError("lengths has a 0: such a sequence keeps its state here, but has the state 0 in runtimes")
        return graph.constant(lengths)
    return graph.cast(lengths, np.int32)


def _zero(graph: Graph, state: Value) -> bool:
    """A state that nothing computed and that is 0, which is what ONNX takes where none is given."""
    return graph.is_constant(state) and not np.any(state.array) and not np.any(state.other)


def _first_axis(graph, state):
    return graph.node("Unsqueeze", state, graph.ints([0]))


@reads("RNN", "LSTM", "GRU")
def _read_scan(node, x, w, r, b=None, lengths=None, h0=None, c0=None, peepholes=None):
    operator, count = node.operator, w.shape[0]
    reverse = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[
        node.get("direction", "forward")
    ]
    activations = [a.capitalize() for a in node.get("activations", ["Tanh"] * count if operator == "RNN" else [])]
    usual = ACTIVATIONS.get(operator, [])
    if operator != "RNN" and activations and activations != usual * count:
        raise OnnxError(f"{operator}: activations are {activations}, expected {usual}")
    if node.get("clip") is not None or node.get("input_forget", 0) or peepholes is not None:
        raise OnnxError(f"{operator}: clip, input_forget or peepholes are given, which are not known here")
    hidden, by_batch = r.shape[2], bool(node.get("layout", 0))
    back = np.argsort(_rows(operator, hidden))
    x = ops.swapaxes(x, 0, 1) if by_batch else x
    zeros = wrap(np.zeros((x.shape[1], hidden), x.dtype))
    outputs, last = [], []
    for i in range(count):
        weights = [ops.take(part, back, 0) for part in (w[i], r[i])]
        weights += [None, None] if b is None else [ops.take(part, back, 0) for part in ops.split(b[i], 2)]
        states = [zeros if s is None else (s[:, i] if by_batch else s[i]) for s in (h0, c0)]
        options = {"lengths": None if lengths is None else lengths.data, "reverse": reverse[i]}
        if operator == "LSTM":
            made = ops.lstm_scan(x, *states, *weights, **options)
        elif operator == "GRU":
            reset_after = bool(node.get("linear_before_reset", 0))
            made = ops.gru_scan(x, states[0], *weights, reset_after=reset_after, **options)
        else:
            made = ops.rnn_scan(x, states[0], *weights, nonlinearity=activations[i].lower(), **options)
        outputs.append(made[0])
        last.append(made[1:])
    y = ops.stack(outputs, 1)  # (T, directions, N, H)
    y = ops.permute_dims(y, (2, 0, 1, 3)) if by_batch else y
    return (y, *(ops.stack(list(s), 1 if by_batch else 0) for s in zip(*last)))
