"""Recurrent scans: one layer in one direction of a simple RNN, an LSTM and a GRU, and backpropagation through time.

Shapes: T steps, N sequences, I inputs, H hidden units, G gates. x (T, N, I); h0 (N, H); weight_ih (G*H, I);
weight_hh (G*H, H); bias_ih and bias_hh (G*H,) or None. The blocks of H rows belong to the gates in the order that each
function names.

``lengths``, None or integers (N,), says how many steps of each sequence are valid. Beyond them outputs, and what is
saved, are 0, the state stays as it was, and x is never used. ``reverse`` runs from the last valid step to the first:
the loop runs from T - 1 down, and each sequence keeps its h0 until its own last step comes.

What does not depend on the state is one matrix product over all steps: x weight_ihᵀ before the loop, and after the
backward loop the gradients of x and of the weights, from the gradients of the pre-activations that the loop gathered.
"""

from __future__ import annotations

import numpy as np

from .elementwise import sigmoid

Array = np.ndarray


def _steps(x: Array, reverse: bool) -> range:
    return range(x.shape[0] - 1, -1, -1) if reverse else range(x.shape[0])


def _valid(x: Array, lengths: Array | None) -> Array | None:
    """Which steps of which sequence are valid, (T, N, 1), or None where all are."""
    return None if lengths is None else np.arange(x.shape[0], like=x)[:, None, None] < lengths[:, None]


def _choose(valid: Array | None, t: int, new: Array, otherwise: Array | int) -> Array:
    """``new`` for the sequences that are still valid at step t, ``otherwise`` for those that ended."""
    return new if valid is None else np.where(valid[t], new, otherwise)


def _linear(x: Array, weight: Array, bias: Array | None) -> Array:
    product = x @ weight.T
    return product if bias is None else product + bias


def _rows(x: Array) -> Array:
    """(T, N, F) to (T * N, F)."""
    return x.reshape(x.shape[0] * x.shape[1], x.shape[2])


def _project(x: Array, weight_ih: Array, bias_ih: Array | None) -> Array:
    """The input's part of every pre-activation, (T, N, G*H), in one matrix product."""
    return _linear(_rows(x), weight_ih, bias_ih).reshape(x.shape[0], x.shape[1], weight_ih.shape[0])


def _previous(states: Array, initial: Array, lengths: Array | None, reverse: bool) -> Array:
    """The state that each valid step started from, (T, N, H)."""
    steps = states.shape[0]
    if not reverse:
        return np.concatenate([initial[None], states])[:steps]
    previous = np.concatenate([states[1:], initial[None]])[:steps]
    if lengths is None:
        return previous
    last = np.arange(steps, like=states)[:, None] == lengths - 1  # (T, N)
    return np.where(last[..., None], initial, previous)


def _weight_grad(g: Array, inputs: Array) -> Array:
    """Gradient of a weight (F, I), from those of its results (T, N, F) and its inputs (T, N, I)."""
    return _rows(g).T @ _rows(inputs)


def _bias_grad(g: Array) -> Array:
    return np.sum(g, axis=(0, 1), dtype=np.float64).astype(g.dtype)


def _input_grads(g_projected: Array, x: Array, weight_ih: Array, valid: Array | None) -> tuple[Array, Array]:
    """Gradients of x and weight_ih, from that of the input's projection (T, N, G*H)."""
    if valid is not None:
        x = np.where(valid, x, 0)  # padding may hold anything, NaN too
    return (_rows(g_projected) @ weight_ih).reshape(x.shape), _weight_grad(g_projected, x)


@np.errstate(all="ignore")
def rnn_scan(
    x: Array,
    h0: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None,
    bias_hh: Array | None,
    nonlinearity: str,
    lengths: Array | None,
    reverse: bool,
) -> tuple[Array, Array]:
    """Simple (Elman) RNN: h' = act(W_ih x + b_ih + W_hh h + b_hh), act tanh or relu, by ``nonlinearity``.

    Returns outputs (T, N, H) and h_n (N, H). Backward needs nothing more: both derivatives follow from the outputs.
    """
    valid = _valid(x, lengths)
    projected = _project(x, weight_ih, bias_ih)
    outputs = np.zeros_like(projected)
    h = h0.copy()
    for t in _steps(x, reverse):
        pre_activation = projected[t] + _linear(h, weight_hh, bias_hh)
        new = np.tanh(pre_activation) if nonlinearity == "tanh" else np.maximum(pre_activation, 0)
        outputs[t] = _choose(valid, t, new, 0)
        h = _choose(valid, t, new, h)
    return outputs, h


@np.errstate(all="ignore")
def rnn_scan_grad(
    g_outputs: Array,
    g_h_n: Array,
    x: Array,
    h0: Array,
    weight_ih: Array,
    weight_hh: Array,
    outputs: Array,
    nonlinearity: str,
    lengths: Array | None,
    reverse: bool,
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Gradients of :func:`rnn_scan` for those of outputs and h_n: dx, dh0, dweight_ih, dweight_hh, dbias_ih, dbias_hh.

    With a = act'(…) (dh' + doutput), which is (1 - h'²) or (h' > 0) times the bracket: dh = a W_hh. The gradients of
    the biases are computed also where there are none.
    """
    valid = _valid(x, lengths)
    g_projected = np.zeros_like(outputs)
    g_h = g_h_n.copy()
    for t in reversed(_steps(x, reverse)):
        derivative = 1 - outputs[t] ** 2 if nonlinearity == "tanh" else outputs[t] > 0
        g_pre = (g_outputs[t] + g_h) * derivative
        g_projected[t] = _choose(valid, t, g_pre, 0)
        g_h = _choose(valid, t, g_pre @ weight_hh, g_h)
    dx, dweight_ih = _input_grads(g_projected, x, weight_ih, valid)
    dweight_hh = _weight_grad(g_projected, _previous(outputs, h0, lengths, reverse))
    return dx, g_h, dweight_ih, dweight_hh, _bias_grad(g_projected), _bias_grad(g_projected)


@np.errstate(all="ignore")
def lstm_scan(
    x: Array,
    h0: Array,
    c0: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None,
    bias_hh: Array | None,
    lengths: Array | None,
    reverse: bool,
) -> tuple[Array, Array, Array, Array, Array]:
    """LSTM: i, f, g, o = σ, σ, tanh, σ of W_ih x + b_ih + W_hh h + b_hh; c' = f c + i g; h' = o tanh(c').

    Returns outputs (T, N, H), h_n and c_n (N, H), and for backward the gates i, f, g, o (T, N, 4H) after their
    activations and the cells c' (T, N, H).
    """
    valid = _valid(x, lengths)
    projected = _project(x, weight_ih, bias_ih)
    gates = np.zeros_like(projected)
    cells = np.zeros_like(projected, shape=(*x.shape[:2], h0.shape[1]))
    outputs = np.zeros_like(cells)
    h, c = h0.copy(), c0.copy()
    for t in _steps(x, reverse):
        pre_i, pre_f, pre_g, pre_o = np.split(projected[t] + _linear(h, weight_hh, bias_hh), 4, axis=-1)
        i, f, g, o = sigmoid(pre_i), sigmoid(pre_f), np.tanh(pre_g), sigmoid(pre_o)
        new_c = f * c + i * g
        new_h = o * np.tanh(new_c)
        gates[t] = _choose(valid, t, np.concatenate([i, f, g, o], axis=-1), 0)
        cells[t], outputs[t] = _choose(valid, t, new_c, 0), _choose(valid, t, new_h, 0)
        c, h = _choose(valid, t, new_c, c), _choose(valid, t, new_h, h)
    return outputs, h, c, gates, cells


@np.errstate(all="ignore")
def lstm_scan_grad(
    g_outputs: Array,
    g_h_n: Array,
    g_c_n: Array,
    x: Array,
    h0: Array,
    c0: Array,
    weight_ih: Array,
    weight_hh: Array,
    outputs: Array,
    gates: Array,
    cells: Array,
    lengths: Array | None,
    reverse: bool,
) -> tuple[Array, Array, Array, Array, Array, Array, Array]:
    """Gradients of :func:`lstm_scan` for those of outputs, h_n and c_n.

    Returns dx, dh0, dc0, dweight_ih, dweight_hh, dbias_ih, dbias_hh. With dh = doutput + dh' and
    dc = dc' + dh o (1 - tanh² c'): each gate's gradient times σ' = σ (1 - σ) or tanh' = 1 - tanh², and dc f goes on to
    the step before.
    """
    valid = _valid(x, lengths)
    previous_cells = _previous(cells, c0, lengths, reverse)
    g_projected = np.zeros_like(gates)
    g_h, g_c = g_h_n.copy(), g_c_n.copy()
    for t in reversed(_steps(x, reverse)):
        i, f, g, o = np.split(gates[t], 4, axis=-1)
        tanh_c = np.tanh(cells[t])
        dh = g_outputs[t] + g_h
        dc = g_c + dh * o * (1 - tanh_c**2)
        g_i = dc * g * i * (1 - i)
        g_f = dc * previous_cells[t] * f * (1 - f)
        g_g = dc * i * (1 - g**2)
        g_o = dh * tanh_c * o * (1 - o)
        g_pre = np.concatenate([g_i, g_f, g_g, g_o], axis=-1)
        g_projected[t] = _choose(valid, t, g_pre, 0)
        g_h, g_c = _choose(valid, t, g_pre @ weight_hh, g_h), _choose(valid, t, dc * f, g_c)
    dx, dweight_ih = _input_grads(g_projected, x, weight_ih, valid)
    dweight_hh = _weight_grad(g_projected, _previous(outputs, h0, lengths, reverse))
    return dx, g_h, g_c, dweight_ih, dweight_hh, _bias_grad(g_projected), _bias_grad(g_projected)


@np.errstate(all="ignore")
def gru_scan(
    x: Array,
    h0: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None,
    bias_hh: Array | None,
    reset_after: bool,
    lengths: Array | None,
    reverse: bool,
) -> tuple[Array, Array, Array]:
    """GRU: r, z = σ(W_i x + b_i + W_h h + b_h) and h' = (1 - z) n + z h; the gates' order is r, z, n. The candidate is

    n = tanh(W_in x + b_in + r (W_hn h + b_hn)) with ``reset_after`` (cuDNN and PyTorch: one product with h per step),
    n = tanh(W_in x + b_in + W_hn (r h) + b_hn) without (Cho et al., 2014).

    Returns outputs (T, N, H), h_n (N, H), and for backward gates (T, N, 4H): r, z, n after their activations and
    fourth W_hn h + b_hn with ``reset_after``, r h without.
    """
    valid = _valid(x, lengths)
    hidden = h0.shape[1]
    weight_rz, weight_n = weight_hh[: 2 * hidden], weight_hh[2 * hidden :]
    bias_rz, bias_n = (None, None) if bias_hh is None else (bias_hh[: 2 * hidden], bias_hh[2 * hidden :])
    projected = _project(x, weight_ih, bias_ih)
    gates = np.zeros_like(projected, shape=(*x.shape[:2], 4 * hidden))
    outputs = np.zeros_like(projected, shape=(*x.shape[:2], hidden))
    h = h0.copy()
    for t in _steps(x, reverse):
        input_rz, input_n = projected[t, :, : 2 * hidden], projected[t, :, 2 * hidden :]
        r, z = np.split(sigmoid(input_rz + _linear(h, weight_rz, bias_rz)), 2, axis=-1)
        if reset_after:
            kept = _linear(h, weight_n, bias_n)
            n = np.tanh(input_n + r * kept)
        else:
            kept = r * h
            n = np.tanh(input_n + _linear(kept, weight_n, bias_n))
        new = (1 - z) * n + z * h
        gates[t] = _choose(valid, t, np.concatenate([r, z, n, kept], axis=-1), 0)
        outputs[t] = _choose(valid, t, new, 0)
        h = _choose(valid, t, new, h)
    return outputs, h, gates


@np.errstate(all="ignore")
def gru_scan_grad(
    g_outputs: Array,
    g_h_n: Array,
    x: Array,
    h0: Array,
    weight_ih: Array,
    weight_hh: Array,
    outputs: Array,
    gates: Array,
    reset_after: bool,
    lengths: Array | None,
    reverse: bool,
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Gradients of :func:`gru_scan` for those of outputs and h_n: dx, dh0, dweight_ih, dweight_hh, dbias_ih, dbias_hh.

    With dh = doutput + dh': dn = dh (1 - z), dz = dh (h - n), each times the derivative of its activation, and dh z
    goes on to the step before. r stands behind n, either at its hidden part or at h (see ``gru_scan``).
    """
    valid = _valid(x, lengths)
    hidden = h0.shape[1]
    weight_rz, weight_n = weight_hh[: 2 * hidden], weight_hh[2 * hidden :]
    previous = _previous(outputs, h0, lengths, reverse)
    g_projected = np.zeros_like(gates, shape=(*x.shape[:2], 3 * hidden))
    g_hidden = np.zeros_like(g_projected)  # of W_h h + b_h: differs from the input's part in n, with reset_after
    g_h = g_h_n.copy()
    for t in reversed(_steps(x, reverse)):
        r, z, n, kept = np.split(gates[t], 4, axis=-1)
        dh = g_outputs[t] + g_h
        g_n = dh * (1 - z) * (1 - n**2)
        g_z = dh * (previous[t] - n) * z * (1 - z)
        if reset_after:
            g_r = g_n * kept * r * (1 - r)
            g_hidden_n = g_n * r
            dh_before = dh * z + g_hidden_n @ weight_n
        else:
            g_reset_state = g_n @ weight_n
            g_r = g_reset_state * previous[t] * r * (1 - r)
            g_hidden_n = g_n
            dh_before = dh * z + g_reset_state * r
        dh_before = dh_before + np.concatenate([g_r, g_z], axis=-1) @ weight_rz
        g_projected[t] = _choose(valid, t, np.concatenate([g_r, g_z, g_n], axis=-1), 0)
        g_hidden[t] = _choose(valid, t, np.concatenate([g_r, g_z, g_hidden_n], axis=-1), 0)
        g_h = _choose(valid, t, dh_before, g_h)
    dx, dweight_ih = _input_grads(g_projected, x, weight_ih, valid)
    into_n = previous if reset_after else gates[..., 3 * hidden :]  # what W_hn is multiplied with
    dweight_rz = _weight_grad(g_hidden[..., : 2 * hidden], previous)
    dweight_n = _weight_grad(g_hidden[..., 2 * hidden :], into_n)
    dweight_hh = np.concatenate([dweight_rz, dweight_n])
    return dx, g_h, dweight_ih, dweight_hh, _bias_grad(g_projected), _bias_grad(g_hidden)
