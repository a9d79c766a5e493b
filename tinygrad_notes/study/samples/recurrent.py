"""Samples of the recurrent scans and of the layers built of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_notes.ops import recurrent
from tinygrad_notes.study.samples.sample import Sample, normal, sample

GATES = {"rnn": 1, "lstm": 4, "gru": 3}
STATES = {"rnn": 1, "lstm": 2, "gru": 1}


def _sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def _cell(kind: str, x: np.ndarray, state: list, weights: tuple, option: Any) -> list:
    """One step of one sequence, gate by gate. ``option``: the nonlinearity of rnn, ``reset_after`` of gru."""
    w, u, b, c = weights
    size, h = u.shape[1], state[0]
    own, past = w @ x + (0 if b is None else b), u @ h + (0 if c is None else c)
    if kind == "rnn":
        return [np.tanh(own + past) if option == "tanh" else np.maximum(own + past, 0)]
    if kind == "lstm":
        i, f, g, o = (own + past).reshape(4, size)
        cell = _sigmoid(f) * state[1] + _sigmoid(i) * np.tanh(g)
        return [_sigmoid(o) * np.tanh(cell), cell]
    r, z = _sigmoid((own + past)[: 2 * size]).reshape(2, size)
    rest = r * past[2 * size :] if option else u[2 * size :] @ (r * h) + (0 if c is None else c[2 * size :])
    return [(1 - z) * np.tanh(own[2 * size :] + rest) + z * h]


def _scan(kind: str, x: np.ndarray, states: list, weights: tuple, option: Any, lengths: Any, reverse: bool) -> list:
    """One sequence after the other: outputs (T, N, H) and the last states (N, H)."""
    steps, batch = x.shape[:2]
    outputs = np.zeros((steps, batch, weights[1].shape[1]))
    last = [np.array(s, np.float64) for s in states]
    for n in range(batch):
        length = steps if lengths is None else lengths[n]
        state = [s[n] for s in states]
        for t in range(length)[:: -1 if reverse else 1]:
            state = _cell(kind, x[t, n], state, weights, option)
            outputs[t, n] = state[0]
        for kept, s in zip(last, state):
            kept[n] = s
    return [outputs, *last]


def _scans() -> list[Sample]:
    """Every cell with every option; with and without biases, lengths, both ways in time."""
    samples = []
    for kind, options in (("rnn", ("tanh", "relu")), ("lstm", (None,)), ("gru", (True, False))):
        for number, option in enumerate(options):
            for label, arguments in {
                "": {},
                "lengths": {"lengths": np.array([4, 0, 2])},
                "reverse": {"reverse": True},
                "lengths reverse": {"lengths": [1, 4, 3], "reverse": True},
                "no bias": {"bias": False},
                "one step": {"steps": 1},
                "no steps": {"steps": 0},
                "empty batch": {"batch": 0},
                "one unit": {"hidden": 1, "inputs": 1, "batch": 1},
            }.items():
                title = " ".join(filter(None, [str(option) if len(options) > 1 else "", label]))
                samples.append(_scan_sample(kind, option, title, seed=100 * number, **arguments))  # type: ignore[arg-type]
    return samples


def _scan_sample(
    kind: str, option: Any, label: str, seed: int, lengths: Any = None, reverse: bool = False, bias: bool = True,
    steps: int = 4, batch: int = 3, inputs: int = 2, hidden: int = 3,
) -> Sample:  # fmt: skip
    rows, states = GATES[kind] * hidden, STATES[kind]
    operands = [normal(seed + 1, steps, batch, inputs), *(normal(seed + 2 + i, batch, hidden) for i in range(states))]
    operands += [normal(seed + 4, rows, inputs), normal(seed + 5, rows, hidden)]
    operands += [normal(seed + 6, rows), normal(seed + 7, rows)] if bias else []
    static = {"lengths": lengths, "reverse": reverse}
    if kind != "lstm":
        static["nonlinearity" if kind == "rnn" else "reset_after"] = option

    def reference(x: np.ndarray, *arrays: np.ndarray) -> list:
        weights = arrays[states:] if bias else (*arrays[states:], None, None)
        return _scan(kind, x, list(arrays[:states]), weights, option, lengths, reverse)

    return sample(f"{kind}_scan", *operands, label=label, reference=reference, **static)


# ---------------------------------------------------------------------- layers


def _stack(
    kind: str, x: np.ndarray, states: list | None, weights: list, option: Any, directions: int, lengths: Any
) -> list:
    """Layers of :func:`_scan`: output, and the last states of every layer and direction."""
    last = []
    for first in range(0, len(weights), directions):
        outputs = []
        for i in range(first, first + directions):
            zeros = np.zeros((x.shape[1], weights[i][1].shape[1]))
            start = [zeros] * STATES[kind] if states is None else [s[i] for s in states]
            output, *final = _scan(kind, x, start, weights[i], option, lengths, i > first)
            outputs.append(output)
            last.append(final)
        x = np.concatenate(outputs, -1)
    return [x, *(np.stack(one) for one in zip(*last))]


def _layer_sample(
    kind: str, label: str, layers: int = 1, directions: int = 1, option: Any = None, zeros: bool = False,
    batch_first: bool = False, batched: bool = True, lengths: Any = None, bias: bool = True,
) -> Sample:  # fmt: skip
    hidden, inputs, count = 2, 3, layers * directions
    rows, per_cell = GATES[kind] * hidden, 4 if bias else 2
    states = 0 if zeros else STATES[kind]
    shape = (3, 2, inputs) if batched else (3, inputs)
    operands = [normal(1, *shape).swapaxes(0, 1) if batch_first else normal(1, *shape)]
    operands += [normal(2 + i, count, *shape[1:-1], hidden) for i in range(states)]
    for i in range(count):
        size = inputs if i < directions else directions * hidden
        cell = [(rows, size), (rows, hidden), (rows,), (rows,)][:per_cell]
        operands += [normal(10 * i + 4 + j, *one) for j, one in enumerate(cell)]
    static = {"bidirectional": directions == 2, "batch_first": batch_first, "lengths": lengths}
    if option is not None:
        static["nonlinearity" if kind == "rnn" else "reset_after"] = option
    option = {"rnn": "tanh", "lstm": None, "gru": True}[kind] if option is None else option

    def cells(arrays: tuple) -> list:
        rest = arrays[states:]
        return [tuple(rest[i : i + per_cell]) for i in range(0, len(rest), per_cell)]

    def call(x: Any, *arrays: Any) -> Any:
        start = None if zeros else arrays[:2] if kind == "lstm" else arrays[0]
        output, last = getattr(recurrent, kind)(x, start, cells(arrays), **static)
        return output, *(last if kind == "lstm" else (last,))

    def reference(x: np.ndarray, *arrays: np.ndarray) -> list:
        start = None if zeros else list(arrays[:states])
        weights = [cell if bias else (*cell, None, None) for cell in cells(arrays)]
        if batch_first:
            x = x.swapaxes(0, 1)
        if not batched:
            x, start = x[:, None], None if start is None else [s[:, None] for s in start]
        output, *last = _stack(kind, x, start, weights, option, directions, lengths)
        if not batched:
            return [output[:, 0], *(s[:, 0] for s in last)]
        return [output.swapaxes(0, 1) if batch_first else output, *last]

    return sample(kind, *operands, label=label, call=call, reference=reference)


def _layers() -> list[Sample]:
    samples = []
    for kind in GATES:
        samples += [
            _layer_sample(kind, ""),
            _layer_sample(kind, "zero states, no bias", zeros=True, bias=False),
            _layer_sample(kind, "two layers", layers=2),
            _layer_sample(kind, "both directions", directions=2, lengths=[1, 3]),
            _layer_sample(kind, "two layers, both directions, batch first", layers=2, directions=2, batch_first=True),
            _layer_sample(kind, "no batch", layers=2, batched=False),
        ]
    samples += [
        _layer_sample("rnn", "relu", option="relu", lengths=np.array([3, 2])),
        _layer_sample("gru", "reset before", option=False, layers=2),
    ]
    return samples


SAMPLES = [*_scans(), *_layers()]
