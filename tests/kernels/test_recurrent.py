"""Recurrent scans of the reference kernels: simple RNN, LSTM, GRU."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.differences import assert_gradients
from tinygrad_notes.kernels.reference.recurrent import (
    gru_scan,
    gru_scan_grad,
    lstm_scan,
    lstm_scan_grad,
    rnn_scan,
    rnn_scan_grad,
)

KINDS = ["tanh", "relu", "lstm", "gru", "gru_reset_before"]
GATES = {"tanh": 1, "relu": 1, "lstm": 4, "gru": 3, "gru_reset_before": 3}


class Scan:
    """One kind of cell with its operands; every kind is run, differentiated and stepped in the same way."""

    def __init__(self, kind, steps=4, batch=3, inputs=2, hidden=3, bias=True, dtype=np.float64, seed=0):
        rng = np.random.default_rng(seed)
        gates = GATES[kind]
        self.kind = kind
        self.x = rng.normal(size=(steps, batch, inputs)).astype(dtype)
        states = 2 if kind == "lstm" else 1
        self.states = [rng.normal(size=(batch, hidden)).astype(dtype) for _ in range(states)]
        self.weights = [rng.normal(size=(gates * hidden, n)).astype(dtype) for n in (inputs, hidden)]
        biases = [rng.normal(size=gates * hidden).astype(dtype) for _ in range(2)]
        self.biases = biases if bias else [None, None]
        self.upper = [rng.normal(size=(steps, batch, hidden)).astype(dtype)]  # gradients of outputs, h_n, c_n
        self.upper += [rng.normal(size=(batch, hidden)).astype(dtype) for _ in range(states)]

    @property
    def operands(self):
        return [self.x, *self.states, *self.weights, *self.biases]

    def forward(self, lengths=None, reverse=False, x=None):
        operands = (self.x if x is None else x, *self.states, *self.weights, *self.biases)
        if self.kind == "lstm":
            return lstm_scan(*operands, lengths, reverse)
        if self.kind.startswith("gru"):
            return gru_scan(*operands, self.kind == "gru", lengths, reverse)
        return rnn_scan(*operands, self.kind, lengths, reverse)

    def backward(self, results, lengths=None, reverse=False, upper=None, x=None):
        operands = (*(upper or self.upper), self.x if x is None else x, *self.states, *self.weights)
        if self.kind == "lstm":
            outputs, _, _, gates, cells = results
            return lstm_scan_grad(*operands, outputs, gates, cells, lengths, reverse)
        if self.kind.startswith("gru"):
            outputs, _, gates = results
            return gru_scan_grad(*operands, outputs, gates, self.kind == "gru", lengths, reverse)
        return rnn_scan_grad(*operands, results[0], self.kind, lengths, reverse)

    def values(self, results):
        """The results without what is kept for backward: outputs, h_n, and c_n of an LSTM."""
        return results[: len(self.upper)]

    def step(self, x, state):
        """The cell's formulas for one step of one sequence."""
        h = state[0]
        (w_ih, w_hh), (b_ih, b_hh) = self.weights, self.biases
        a, b = w_ih @ x + b_ih, w_hh @ h + b_hh
        size = h.size

        def sigmoid(x):
            return 1 / (1 + np.exp(-x))

        if self.kind == "lstm":
            i, f, g, o = (a + b).reshape(4, size)
            c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
            return [sigmoid(o) * np.tanh(c), c]
        if self.kind.startswith("gru"):
            r, z = sigmoid((a + b)[: 2 * size]).reshape(2, size)
            hidden = w_hh[2 * size :] @ (r * h) + b_hh[2 * size :] if self.kind != "gru" else r * b[2 * size :]
            return [(1 - z) * np.tanh(a[2 * size :] + hidden) + z * h]
        return [np.tanh(a + b) if self.kind == "tanh" else np.maximum(a + b, 0)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [4, 0, 2]])
def test_scan_is_the_formula(kind, reverse, lengths):
    scan = Scan(kind)
    results = scan.forward(None if lengths is None else np.array(lengths), reverse)
    outputs, *last = scan.values(results)
    for n in range(3):
        length = 4 if lengths is None else lengths[n]
        state = [s[n] for s in scan.states]
        expected = np.zeros((4, 3))
        for t in range(length)[:: -1 if reverse else 1]:
            state = scan.step(scan.x[t, n], state)
            expected[t] = state[0]
        np.testing.assert_allclose(outputs[:, n], expected, atol=1e-13)
        for mine, theirs in zip(last, state, strict=True):
            np.testing.assert_allclose(mine[n], theirs, atol=1e-13)
        for saved in results[len(scan.upper) :]:
            assert not saved[length:, n].any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [4, 0, 2]])
def test_gradients(kind, reverse, lengths):
    scan = Scan(kind)
    valid = None if lengths is None else np.array(lengths)

    def value():
        results = scan.values(scan.forward(valid, reverse))
        return sum(float((g * result).sum()) for g, result in zip(scan.upper, results, strict=True))

    assert_gradients(value, scan.operands, scan.backward(scan.forward(valid, reverse), valid, reverse))


@pytest.mark.parametrize("kind", KINDS)
def test_without_bias(kind):
    scan, zero = Scan(kind, bias=False), Scan(kind)
    zero.biases = [np.zeros_like(b) for b in zero.biases]
    zero.upper = scan.upper
    results, expected = scan.forward(), zero.forward()
    for a, b in zip((*results, *scan.backward(results)), (*expected, *zero.backward(expected)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reverse", [False, True])
def test_padding_is_never_read(kind, reverse):
    scan = Scan(kind)
    lengths = np.array([2, 4, 1])
    beyond = np.arange(4)[:, None] >= lengths
    x = np.where(beyond[..., None], np.nan, scan.x)
    upper = [np.where(beyond[..., None], np.nan, scan.upper[0]), *scan.upper[1:]]
    results, padded = scan.forward(lengths, reverse), scan.forward(lengths, reverse, x=x)
    gradients = scan.backward(results, lengths, reverse)
    padded_gradients = scan.backward(padded, lengths, reverse, upper, x)
    for a, b in zip((*results, *gradients), (*padded, *padded_gradients), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not padded_gradients[0][beyond].any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "sizes",
    [{"steps": 0}, {"batch": 0}, {"inputs": 0}, {"hidden": 0}, {"steps": 1, "batch": 1, "inputs": 1, "hidden": 1}],
)
@pytest.mark.parametrize("with_lengths", [False, True])
def test_empty_one_element_and_dtype(kind, sizes, with_lengths):
    scan = Scan(kind, dtype=np.float32, **sizes)
    lengths = np.full(scan.x.shape[1], scan.x.shape[0]) if with_lengths else None
    for reverse in (False, True):
        results = scan.forward(lengths, reverse)
        gradients = scan.backward(results, lengths, reverse)
        assert [a.shape for a in scan.values(results)] == [a.shape for a in scan.upper]
        assert [a.shape for a in gradients] == [a.shape for a in scan.operands]
        assert {a.dtype for a in (*results, *gradients)} == {np.dtype(np.float32)}
        if scan.x.shape[0] == 0:
            for state, last, g, gradient in zip(scan.states, results[1:], scan.upper[1:], gradients[1:], strict=False):
                np.testing.assert_array_equal(last, state)
                np.testing.assert_array_equal(gradient, g)


@pytest.mark.parametrize("kind", KINDS)
def test_strides_memory_and_bits(kind):
    scan = Scan(kind, steps=5)
    results = scan.forward()
    gradients = scan.backward(results)
    arrays = [*results, *gradients]
    for i, a in enumerate(arrays):
        assert not any(np.shares_memory(a, b) for b in (*arrays[:i], *scan.operands, *scan.upper))
    again = scan.forward()
    for a, b in zip(arrays, (*again, *scan.backward(again)), strict=True):
        np.testing.assert_array_equal(a, b)

    scan.x = np.repeat(scan.x[::-1], 2, axis=0)[::-2]
    scan.weights = [np.asfortranarray(w[::-1])[::-1] for w in scan.weights]
    scan.upper = [np.repeat(g, 2, axis=1)[:, ::2] for g in scan.upper]
    strided = scan.forward()
    for a, b in zip(arrays, (*strided, *scan.backward(strided)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_saturated_gates_do_not_overflow(kind):
    scan = Scan(kind, dtype=np.float32)
    scan.x = scan.x * np.float32(1e4)
    results = scan.forward()
    assert all(np.isfinite(a).all() for a in (*results, *scan.backward(results)))


@pytest.mark.parity
@pytest.mark.parametrize("kind", ["tanh", "relu", "lstm", "gru"])
@pytest.mark.parametrize("lengths", [None, [5, 1, 3]])
def test_as_in_torch(kind, lengths):
    torch = pytest.importorskip("torch")
    directions = [Scan(kind, steps=5, inputs=4, seed=seed) for seed in (1, 2)]
    directions[1].x = directions[0].x
    maker = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(kind, torch.nn.RNN)
    options = {"nonlinearity": kind} if kind in ("tanh", "relu") else {}
    layer = maker(4, 3, bidirectional=True, dtype=torch.float64, **options)
    parameters = [
        p
        for suffix in ("", "_reverse")
        for p in (getattr(layer, name + "_l0" + suffix) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    ]
    with torch.no_grad():
        for parameter, value in zip(parameters, [a for s in directions for a in s.weights + s.biases], strict=True):
            parameter.copy_(torch.tensor(value))
    x = torch.tensor(directions[0].x, requires_grad=True)
    pairs = zip(*(s.states for s in directions), strict=True)
    states = [torch.tensor(np.stack(pair), requires_grad=True) for pair in pairs]
    initial = tuple(states) if kind == "lstm" else states[0]
    if lengths is None:
        outputs, last = layer(x, initial)
    else:
        rnn = torch.nn.utils.rnn
        outputs, last = layer(rnn.pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False), initial)
        outputs, _ = rnn.pad_packed_sequence(outputs)
    lasts = list(last) if kind == "lstm" else [last]
    upper = [torch.tensor(np.concatenate([s.upper[0] for s in directions], axis=-1))]
    upper += [torch.tensor(np.stack(pair)) for pair in zip(*(s.upper[1:] for s in directions), strict=True)]
    expected = torch.autograd.grad([outputs, *lasts], [x, *states, *parameters], upper)

    valid = None if lengths is None else np.array(lengths)
    dx = 0
    for place, scan in enumerate(directions):
        reverse = place == 1
        results = scan.forward(valid, reverse)
        mine, *mine_last = scan.values(results)
        np.testing.assert_allclose(mine, outputs[..., 3 * place : 3 * place + 3].detach().numpy(), atol=1e-12)
        for a, b in zip(mine_last, lasts, strict=True):
            np.testing.assert_allclose(a, b[place].detach().numpy(), atol=1e-12)
        gradients = scan.backward(results, valid, reverse)
        dx = dx + gradients[0]
        count = len(states)
        for a, b in zip(gradients[1 : 1 + count], expected[1 : 1 + count], strict=True):
            np.testing.assert_allclose(a, b[place].numpy(), atol=1e-11)
        of_parameters = expected[1 + count + 4 * place : 5 + count + 4 * place]
        for a, b in zip(gradients[1 + count :], of_parameters, strict=True):
            np.testing.assert_allclose(a, b.numpy(), atol=1e-11)
    np.testing.assert_allclose(dx, expected[0].numpy(), atol=1e-11)
