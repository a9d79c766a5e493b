"""Recurrent networks: scans of one layer in one direction, and the layers built of them.

Shapes: T steps, N sequences, I inputs, H hidden units; weight_ih (G·H, I), weight_hh (G·H, H), bias_ih and bias_hh
(G·H,) or None, with G blocks of rows for the gates. The scans have kernels; the same steps in small ops, where
backpropagation through time can be read, are what higher derivatives come from.
"""

from __future__ import annotations

import numpy as np

from tinygrad_notes import kernels
from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.explain import describe, named
from tinygrad_notes.modes import recording
from tinygrad_notes.ops.activation import relu
from tinygrad_notes.ops.arguments import extremes, probability
from tinygrad_notes.ops.comparison import where
from tinygrad_notes.ops.exponential import sigmoid, tanh
from tinygrad_notes.ops.linalg import linear
from tinygrad_notes.ops.random import dropout as drop_out
from tinygrad_notes.ops.shape import as_shape, concat, expand_dims, flip, operand, reshape, squeeze, stack, swapaxes
from tinygrad_notes.registry import Array, op
from tinygrad_notes.tensor import as_floating, beside, int64, to_array

# ---------------------------------------------------------------------- scans


def _rnn_in_small_ops(x, h0, weight_ih, weight_hh, bias_ih, bias_hh, nonlinearity, lengths, reverse):
    activation = tanh if nonlinearity == "tanh" else relu

    def step(inputs, h):
        return (activation(inputs + linear(h, weight_hh, bias_hh)),)

    return _scan(step, x, (h0,), weight_ih, bias_ih, lengths, reverse)


@op(composite=_rnn_in_small_ops)
def rnn_scan(
    x: Array, h0: Array, weight_ih: Array, weight_hh: Array, bias_ih: Array | None = None, bias_hh: Array | None = None,
    nonlinearity="tanh", lengths=None, reverse=False,
):  # fmt: skip
    """h' = act(W_ih x + b_ih + W_hh h + b_hh), act tanh or relu (Elman 1990). One layer in one direction.

    x (T, N, I), h0 (N, H); returns outputs (T, N, H) and h_n (N, H). ``lengths`` (N,), None for T: beyond its length a
    sequence has outputs 0 and keeps its state. ``reverse`` runs from the last valid step to the first.

    >>> x, h0 = tn.ones((3, 1, 2)), tn.zeros((1, 1))
    >>> outputs, h_n = tn.rnn_scan(x, h0, [[1.0, 1.0]], [[1.0]], nonlinearity="relu")
    >>> outputs.flatten(), h_n
    (Tensor([2., 4., 6.]), Tensor([[6.]]))
    """
    if nonlinearity not in ("tanh", "relu"):
        raise ShapeError(f"nonlinearity is {nonlinearity!r}, expected 'tanh' or 'relu'")
    _check_scan(1, x, (h0,), weight_ih, weight_hh, bias_ih, bias_hh)
    lengths = _lengths_of(lengths, x)
    static = nonlinearity, lengths, bool(reverse)
    arguments = (*as_floating(x, h0, weight_ih, weight_hh, bias_ih, bias_hh), *static)
    values = kernels.rnn_scan(*arguments)

    def derivative(g, x, h0, weight_ih, weight_hh, y):
        return kernels.rnn_scan_grad(*g, *as_floating(x, h0, weight_ih, weight_hh, y[0]), *static)

    return values, derivative


def _lstm_in_small_ops(x, h0, c0, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse):
    size = h0.shape[1]

    def step(inputs, h, c):
        gates = inputs + linear(h, weight_hh, bias_hh)
        i, f, g, o = (gates[:, k * size : (k + 1) * size] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(c), c

    return _scan(step, x, (h0, c0), weight_ih, bias_ih, lengths, reverse)


@op(composite=_lstm_in_small_ops)
def lstm_scan(
    x: Array, h0: Array, c0: Array, weight_ih: Array, weight_hh: Array,
    bias_ih: Array | None = None, bias_hh: Array | None = None, lengths=None, reverse=False,
):  # fmt: skip
    """i, f, g, o = σ, σ, tanh, σ of W_ih x + b_ih + W_hh h + b_hh; c' = f c + i g; h' = o tanh(c').

    Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000. As :func:`rnn_scan`, with the cell c0
    (N, H) beside h0; returns outputs, h_n and c_n.

    >>> x, h0, c0 = tn.ones((3, 1, 2)), tn.zeros((1, 5)), tn.zeros((1, 5))
    >>> outputs, h_n, c_n = tn.lstm_scan(x, h0, c0, tn.zeros((20, 2)), tn.zeros((20, 5)))
    >>> outputs.shape, h_n.shape, c_n.shape
    ((3, 1, 5), (1, 5), (1, 5))
    """
    _check_scan(4, x, (h0, c0), weight_ih, weight_hh, bias_ih, bias_hh)
    lengths = _lengths_of(lengths, x)
    static = lengths, bool(reverse)
    arguments = (*as_floating(x, h0, c0, weight_ih, weight_hh, bias_ih, bias_hh), *static)
    outputs, h_n, c_n, gates, cells = kernels.lstm_scan(*arguments)

    def derivative(g, x, h0, c0, weight_ih, weight_hh, y):
        return kernels.lstm_scan_grad(*g, *as_floating(x, h0, c0, weight_ih, weight_hh, y[0]), gates, cells, *static)

    return (outputs, h_n, c_n), derivative


def _gru_in_small_ops(x, h0, weight_ih, weight_hh, bias_ih, bias_hh, reset_after, lengths, reverse):
    size = h0.shape[1]
    weight_n, bias_n = weight_hh[2 * size :], None if bias_hh is None else bias_hh[2 * size :]
    weight_rz, bias_rz = weight_hh[: 2 * size], None if bias_hh is None else bias_hh[: 2 * size]

    def step(inputs, h):
        rz = sigmoid(inputs[:, : 2 * size] + linear(h, weight_rz, bias_rz))
        r, z = rz[:, :size], rz[:, size:]
        past = r * linear(h, weight_n, bias_n) if reset_after else linear(r * h, weight_n, bias_n)
        n = tanh(inputs[:, 2 * size :] + past)
        return ((1.0 - z) * n + z * h,)

    return _scan(step, x, (h0,), weight_ih, bias_ih, lengths, reverse)


@op(composite=_gru_in_small_ops)
def gru_scan(
    x: Array, h0: Array, weight_ih: Array, weight_hh: Array, bias_ih: Array | None = None, bias_hh: Array | None = None,
    reset_after=True, lengths=None, reverse=False,
):  # fmt: skip
    """r, z = σ(W_i x + b_i + W_h h + b_h); h' = (1 - z) n + z h. The gates' order is r, z, n.

    ``reset_after`` (PyTorch and cuDNN): n = tanh(W_in x + b_in + r (W_hn h + b_hn)). Without it (Cho et al. 2014,
    arXiv:1406.1078): n = tanh(W_in x + b_in + W_hn (r h) + b_hn). Shapes as :func:`rnn_scan`.

    >>> x, h0 = tn.ones((3, 1, 2)), tn.ones((1, 5))
    >>> outputs, h_n = tn.gru_scan(x, h0, tn.zeros((15, 2)), tn.zeros((15, 5)))
    >>> outputs.shape, h_n
    ((3, 1, 5), Tensor([[0.125, 0.125, 0.125, 0.125, 0.125]]))
    """
    _check_scan(3, x, (h0,), weight_ih, weight_hh, bias_ih, bias_hh)
    lengths = _lengths_of(lengths, x)
    static = bool(reset_after), lengths, bool(reverse)
    arguments = (*as_floating(x, h0, weight_ih, weight_hh, bias_ih, bias_hh), *static)
    outputs, h_n, gates = kernels.gru_scan(*arguments)

    def derivative(g, x, h0, weight_ih, weight_hh, y):
        return kernels.gru_scan_grad(*g, *as_floating(x, h0, weight_ih, weight_hh, y[0]), gates, *static)

    return (outputs, h_n), derivative


def _scan(step, x, states, weight_ih, bias_ih, lengths, reverse):
    """Run ``step(inputs, *states) -> states`` over time, in small ops: outputs, and the last states."""
    lengths = _lengths_of(lengths, x.data)
    count, hidden = x.shape[0], states[0].shape[1]
    valid = None
    if lengths is not None:
        valid = np.arange(count, like=x.data)[:, None, None] < lengths[:, None]
        x = where(valid, x, 0.0)  # padding may hold anything, NaN too
    inputs = linear(x, weight_ih, bias_ih)
    outputs = []
    for t in reversed(range(count)) if reverse else range(count):
        new = step(inputs[t], *states)
        outputs.append(new[0] if valid is None else where(valid[t], new[0], 0.0))
        states = new if valid is None else tuple(where(valid[t], n, s) for n, s in zip(new, states))
    if not outputs:
        return inputs[:, :, :hidden], *states
    stacked = stack(outputs)
    return flip(stacked, 0) if reverse else stacked, *states


def _check_scan(gates, x, states, weight_ih, weight_hh, bias_ih, bias_hh):
    if x.ndim != 3:
        raise ShapeError(f"x has shape {tuple(x.shape)}, expected (T, N, I)")
    if weight_hh.ndim != 2 or weight_hh.shape[0] != gates * weight_hh.shape[1]:
        raise ShapeError(f"weight_hh has shape {tuple(weight_hh.shape)}, expected ({gates}·H, H)")
    rows, hidden = weight_hh.shape
    expected = {
        "weight_ih": (weight_ih, (rows, x.shape[2])),
        "bias_ih": (bias_ih, (rows,)),
        "bias_hh": (bias_hh, (rows,)),
    }
    expected |= {name: (state, (x.shape[1], hidden)) for name, state in zip(("h0", "c0"), states)}
    for name, (array, shape) in expected.items():
        if array is not None and tuple(array.shape) != shape:
            raise ShapeError(
                f"{name} has shape {tuple(array.shape)}, expected {shape} for x {tuple(x.shape)} and H = {hidden}"
            )


def _lengths_of(lengths, x, name=""):
    """A copy of the lengths, of the array type of ``x``; ShapeError unless each of the N is from 0 to T."""
    if lengths is None:
        return None
    lengths = to_array(lengths, copy=True)
    if lengths.dtype.kind not in "iu":
        raise DTypeError(f"{name}lengths are {lengths.dtype}, expected integers")
    if lengths.shape != (x.shape[1],):
        raise ShapeError(
            f"{name}lengths has shape {tuple(lengths.shape)}, expected ({x.shape[1]},), one for each sequence"
        )
    if lengths.size and not recording():
        low, high = extremes(lengths)
        if low < 0 or high > x.shape[0]:
            raise ShapeError(f"{name}lengths are from {low} to {high}, expected 0 to {x.shape[0]}, the number of steps")
    lengths = beside(lengths, x)
    if recording():  # a replay knows no error, and kernels write as many steps as a length says
        lengths = np.clip(lengths.astype(int64), 0, x.shape[0])
    return lengths


# ---------------------------------------------------------------------- layers


@named
def rnn(
    x,
    h0,
    weights,
    nonlinearity="tanh",
    bidirectional=False,
    dropout=0.0,
    training=False,
    batch_first=False,
    lengths=None,
):
    """Layers of :func:`rnn_scan`, each fed by the outputs of the one before: (output, h_n), shapes as PyTorch's RNN.

    x (T, N, I), with ``batch_first`` (N, T, I), or without a batch (T, I). ``weights``: for every layer, and in it
    forward and then backward direction, a tuple (weight_ih, weight_hh) or (weight_ih, weight_hh, bias_ih, bias_hh);
    D = 2 with ``bidirectional``, else 1. ``h0`` (D·layers, N, H), None for zeros. Output (T, N, D·H), laid out as x;
    h_n as h0. ``dropout`` acts between layers while ``training``. ``lengths`` (N,), in any order: the output beyond a
    sequence's length is 0 and its h_n is that of its own last step.

    >>> weights = [(tn.zeros((5, 2)), tn.zeros((5, 5))), (tn.zeros((5, 5)), tn.zeros((5, 5)))]  # two layers
    >>> output, h_n = tn.rnn(tn.ones((3, 4, 2)), None, weights)
    >>> output.shape, h_n.shape
    ((3, 4, 5), (2, 4, 5))
    """

    def scan(x, states, weights, lengths, reverse):
        return rnn_scan(x, *states, *weights, nonlinearity, lengths, reverse)

    output, (h_n,) = _layers(
        "rnn", scan, x, {"h0": h0}, weights, bidirectional, dropout, training, batch_first, lengths
    )
    return output, h_n


@named
def lstm(x, states, weights, bidirectional=False, dropout=0.0, training=False, batch_first=False, lengths=None):
    """Layers of :func:`lstm_scan`: (output, (h_n, c_n)). ``states`` is (h0, c0) or None; the rest as in :func:`rnn`.

    >>> weights = [(tn.zeros((20, 2)), tn.zeros((20, 5)))] * 2  # one layer, two directions
    >>> output, (h_n, c_n) = tn.lstm(tn.ones((3, 4, 2)), None, weights, bidirectional=True)
    >>> output.shape, h_n.shape, c_n.shape
    ((3, 4, 10), (2, 4, 5), (2, 4, 5))
    """

    def scan(x, states, weights, lengths, reverse):
        return lstm_scan(x, *states, *weights, lengths, reverse)

    if states is not None and (not isinstance(states, list | tuple) or len(states) != 2):
        raise ShapeError("lstm: states is not a pair, expected (h0, c0) or None")
    named = dict(zip(("h0", "c0"), states or (None, None)))
    return _layers("lstm", scan, x, named, weights, bidirectional, dropout, training, batch_first, lengths)


@named
def gru(
    x, h0, weights, reset_after=True, bidirectional=False, dropout=0.0, training=False, batch_first=False, lengths=None
):
    """Layers of :func:`gru_scan`, by either convention of the reset gate: (output, h_n). The rest as in :func:`rnn`.

    >>> weights = [(tn.ones((15, 2)), tn.zeros((15, 5)))]
    >>> output, h_n = tn.gru(tn.ones((4, 3, 2)), None, weights, batch_first=True, lengths=[3, 1, 2, 0])
    >>> output.shape, (output[..., 0] != 0).sum(1)
    ((4, 3, 5), Tensor([3, 1, 2, 0]))
    """

    def scan(x, states, weights, lengths, reverse):
        return gru_scan(x, *states, *weights, reset_after, lengths, reverse)

    output, (h_n,) = _layers(
        "gru", scan, x, {"h0": h0}, weights, bidirectional, dropout, training, batch_first, lengths
    )
    return output, h_n


def _layers(name, scan, x, states, weights, bidirectional, dropout, training, batch_first, lengths):
    """The outputs of the last layer, and the last states of all, as a tuple in the order of ``states``."""
    x = operand(x)
    directions, dropout = 2 if bidirectional else 1, probability(dropout, f"{name}: dropout")
    if not isinstance(weights, list | tuple):
        raise DTypeError(f"{name}: weights is {describe(weights)}, expected a list of tuples")
    weights = [_weights_of(one, name) for one in weights]
    if not weights or len(weights) % directions:
        raise ShapeError(
            f"{name}: {len(weights)} tuples of weights, expected one for each layer and direction ({directions})"
        )
    if x.ndim not in (2, 3):
        raise ShapeError(f"{name}: x has shape {x.shape}, expected (T, N, I), (N, T, I) with batch_first, or (T, I)")
    batched = x.ndim == 3
    if not batched and lengths is not None:
        raise ShapeError(f"{name}: lengths are given, but x has shape {x.shape}, which has no batch")
    x = expand_dims(x, 1) if not batched else swapaxes(x, 0, 1) if batch_first else x
    batch = (x.shape[1],) if batched else ()
    lengths = _lengths_of(lengths, x.data, f"{name}: ")
    cells = [_states_of(one, label, len(weights), batch, weights, x, name) for label, one in states.items()]
    last = []
    for first in range(0, len(weights), directions):
        if first and training and dropout:
            x = drop_out(x, dropout)
        outputs = []
        for direction in range(directions):
            i = first + direction
            output, *final = scan(x, [cell[i] for cell in cells], weights[i], lengths, direction == 1)
            outputs.append(output)
            last.append(final)
        x = outputs[0] if directions == 1 else concat(outputs, -1)
    finals = tuple(stack(list(one)) if len(one) > 1 else expand_dims(one[0], 0) for one in zip(*last))
    if not batched:
        return squeeze(x, 1), tuple(squeeze(one, 1) for one in finals)
    return (swapaxes(x, 0, 1) if batch_first else x), finals


def _weights_of(one, name):
    """The four weights of one layer and direction."""
    if not isinstance(one, list | tuple) or len(one) not in (2, 4):
        raise ShapeError(
            f"{name}: an entry of weights is not (weight_ih, weight_hh) or (weight_ih, weight_hh, bias_ih, bias_hh)"
        )
    return (*one, None, None) if len(one) == 2 else tuple(one)


def _states_of(state, label, count, batch, weights, x, name):
    """The initial states (N, H) of every layer and direction."""
    if any(len(as_shape(one[1])) != 2 for one in weights):
        raise ShapeError(f"{name}: weight_hh has shapes {[tuple(as_shape(w[1])) for w in weights]}, expected two axes")
    sizes = {as_shape(one[1])[-1] for one in weights}
    if len(sizes) > 1:
        raise ShapeError(f"{name}: weights have hidden sizes {sorted(sizes)}, expected one")
    hidden = sizes.pop()
    if state is None:
        return [np.zeros_like(as_floating(x.data), shape=(x.shape[1], hidden))] * count
    shape = tuple(as_shape(state))
    if shape != (count, *batch, hidden):
        raise ShapeError(f"{name}: {label} has shape {shape}, expected {(count, *batch, hidden)}")
    state = operand(state)
    state = state if batch else expand_dims(state, 1)
    return [reshape(state, state.shape[1:])] if count == 1 else [state[i] for i in range(count)]
