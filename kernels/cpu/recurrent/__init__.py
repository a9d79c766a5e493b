"""Recurrent scans: the contract's functions on the kernels of ``simple.py``, ``lstm.py`` and ``gru.py``.

What does not depend on the state is one matrix product over all steps: the input's part of the pre-activations before
the scan, and the gradients of x and of the weights after it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu.buffers import LIKE, address, aligned, scratch
from tinygrad_notes.kernels.cpu.gemm import parts_now
from tinygrad_notes.kernels.cpu.packed_products import PRODUCT_BYTES, pack_weight, weight_bytes
from tinygrad_notes.kernels.cpu.products import linear, matmul
from tinygrad_notes.kernels.cpu.recurrent import gru, lstm, simple
from tinygrad_notes.kernels.cpu.sums import column_sums
from tinygrad_notes.kernels.cpu.threads import threads_for

Array = np.ndarray
PER_THREAD = 32**3  # multiplications in all steps that repay waking a thread


def _fits(*arrays: Array | None) -> bool:
    """Whether the kernels take these arrays: of one dtype, float32 or float64, and none of them empty."""
    first = arrays[0]
    assert first is not None
    return first.dtype in LIKE and all(x is None or (x.dtype == first.dtype and x.size) for x in arrays)


def _rows(x: Array) -> Array:
    """(T, N, F) to (T * N, F)."""
    return x.reshape(-1, x.shape[-1])


def _lengths(x: Array, lengths: Array | None) -> Array:
    if lengths is None:
        return np.full(x.shape[1], x.shape[0], np.int64)
    return np.ascontiguousarray(lengths, np.int64)


def _add(a: Array | None, b: Array | None) -> Array | None:
    return b if a is None else a if b is None else a + b


def _previous(states: Array, initial: Array, lengths: Array) -> Array:
    """The state that each valid step of a reversed scan started from, (T, N, H)."""
    later = np.concatenate([states[1:], initial[None]])
    last = np.arange(len(states))[:, None] == lengths - 1  # (T, N)
    return np.where(last[..., None], initial, later)


def _project(x: Array, weight_ih: Array, bias: Array | None) -> Array:
    """The input's part of every pre-activation, (T, N, G*H)."""
    return linear(_rows(x), weight_ih, bias).reshape(*x.shape[:2], -1)


def _packed(weight: Array) -> Array:
    """A weight, or a view of it, as the second operand of products; it must live as long as what is returned."""
    depth, columns = weight.shape
    packed = aligned(weight_bytes(columns, depth, weight.itemsize))
    pack_weight(
        address(weight), weight.strides[1], weight.strides[0], columns, depth, address(packed),
        parts_now(weight.itemsize), weight.dtype.type(0),
    )  # fmt: skip
    return packed


def _work(x: Array, hidden: int, outputs: int, buffers: int) -> tuple[int, int, int]:
    """Scratch, its bytes for one thread, and the number of threads, for a scan with ``outputs`` products a unit."""
    steps, batch = x.shape[:2]
    threads = min(batch, threads_for(steps * batch * hidden * outputs, PER_THREAD))
    share = -(-batch // threads) * hidden * x.itemsize
    size = PRODUCT_BYTES + -(-buffers * share // 64) * 64
    return scratch("scan", threads * size), size, threads


def _input_grads(g_projected: Array, x: Array, weight_ih: Array, lengths: Array | None) -> tuple[Array, Array]:
    """Gradients of x and weight_ih, from that of the input's projection (T, N, G*H)."""
    if lengths is not None:  # padding may hold anything, NaN too
        x = np.where(np.arange(x.shape[0])[:, None, None] < lengths[:, None], x, x.dtype.type(0))
    return matmul(_rows(g_projected), weight_ih).reshape(x.shape), matmul(_rows(g_projected).T, _rows(x))


def _state_weight_grad(g: Array, states: Array, initial: Array, lengths: Array | None, reverse: bool) -> Array:
    """Gradient of a weight (F, H), from those of its results (T, N, F) and the states (T, N, H) that it led to."""
    if lengths is not None and reverse:  # the first step of a sequence is not the first of the loop
        return matmul(_rows(g).T, _rows(_previous(states, initial, lengths)))
    first, later, before = (g[-1], g[:-1], states[1:]) if reverse else (g[0], g[1:], states[:-1])
    value = matmul(first.T, initial)
    if len(later):
        value += matmul(_rows(later).T, _rows(before))
    return value


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
    """h' = act(W_ih x + b_ih + W_hh h + b_hh): outputs (T, N, H) and h_n (N, H)."""
    if not _fits(x, h0, weight_ih, weight_hh, bias_ih, bias_hh):
        return reference.rnn_scan(x, h0, weight_ih, weight_hh, bias_ih, bias_hh, nonlinearity, lengths, reverse)
    (steps, batch), hidden = x.shape[:2], h0.shape[1]
    outputs = _project(x, weight_ih, _add(bias_ih, bias_hh))
    h, weight, valid = h0.copy(order="C"), _packed(weight_hh.T), _lengths(x, lengths)
    work, size, threads = _work(x, hidden, hidden, 0)
    simple.rnn_forward(
        address(outputs), address(h), address(weight), address(valid), steps, batch, hidden, nonlinearity == "relu",
        bool(reverse), x.dtype.type(0), work, size, threads,
    )  # fmt: skip
    return outputs, h


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
    """Gradients of :func:`rnn_scan`: dx, dh0, dweight_ih, dweight_hh, dbias_ih, dbias_hh."""
    if not _fits(x, g_outputs, g_h_n, h0, weight_ih, weight_hh, outputs):
        return reference.rnn_scan_grad(
            g_outputs, g_h_n, x, h0, weight_ih, weight_hh, outputs, nonlinearity, lengths, reverse
        )
    (steps, batch), hidden = x.shape[:2], h0.shape[1]
    g_outputs, outputs = np.ascontiguousarray(g_outputs), np.ascontiguousarray(outputs)
    g_projected, g_h = np.empty_like(outputs), g_h_n.copy(order="C")
    weight, valid = _packed(weight_hh), _lengths(x, lengths)
    work, size, threads = _work(x, hidden, hidden, 1)
    simple.rnn_backward(
        address(g_projected), address(g_h), address(g_outputs), address(outputs), address(weight), address(valid),
        steps, batch, hidden, nonlinearity == "relu", bool(reverse), x.dtype.type(0), work, size, threads,
    )  # fmt: skip
    dx, dweight_ih = _input_grads(g_projected, x, weight_ih, lengths)
    dweight_hh = _state_weight_grad(g_projected, outputs, h0, lengths, reverse)
    dbias = column_sums(_rows(g_projected))
    return dx, g_h, dweight_ih, dweight_hh, dbias, dbias.copy()


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
    """i, f, g, o = σ, σ, tanh, σ; c' = f c + i g; h' = o tanh(c'): outputs, h_n, c_n, gates, cells."""
    if not _fits(x, h0, c0, weight_ih, weight_hh, bias_ih, bias_hh):
        return reference.lstm_scan(x, h0, c0, weight_ih, weight_hh, bias_ih, bias_hh, lengths, reverse)
    (steps, batch), hidden = x.shape[:2], h0.shape[1]
    gates = _project(x, weight_ih, _add(bias_ih, bias_hh))
    outputs, cells = np.empty((2, steps, batch, hidden), x.dtype)
    h, c, weight, valid = h0.copy(order="C"), c0.copy(order="C"), _packed(weight_hh.T), _lengths(x, lengths)
    work, size, threads = _work(x, hidden, 4 * hidden, 0)
    lstm.lstm_forward(
        address(gates), address(h), address(c), address(outputs), address(cells), address(weight), address(valid),
        steps, batch, hidden, bool(reverse), x.dtype.type(0), work, size, threads,
    )  # fmt: skip
    return outputs, h, c, gates, cells


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
    """Gradients of :func:`lstm_scan`: dx, dh0, dc0, dweight_ih, dweight_hh, dbias_ih, dbias_hh."""
    if not _fits(x, g_outputs, g_h_n, g_c_n, h0, c0, weight_ih, weight_hh, outputs, gates, cells):
        return reference.lstm_scan_grad(
            g_outputs, g_h_n, g_c_n, x, h0, c0, weight_ih, weight_hh, outputs, gates, cells, lengths, reverse
        )
    (steps, batch), hidden = x.shape[:2], h0.shape[1]
    g_outputs, gates, cells, c0 = map(np.ascontiguousarray, (g_outputs, gates, cells, c0))
    g_projected, g_h, g_c = np.empty_like(gates), g_h_n.copy(order="C"), g_c_n.copy(order="C")
    weight, valid = _packed(weight_hh), _lengths(x, lengths)
    work, size, threads = _work(x, hidden, 4 * hidden, 1)
    lstm.lstm_backward(
        address(g_projected), address(g_h), address(g_c), address(g_outputs), address(gates), address(cells),
        address(c0), address(weight), address(valid), steps, batch, hidden, bool(reverse), x.dtype.type(0), work, size,
        threads,
    )  # fmt: skip
    dx, dweight_ih = _input_grads(g_projected, x, weight_ih, lengths)
    dweight_hh = _state_weight_grad(g_projected, outputs, h0, lengths, reverse)
    dbias = column_sums(_rows(g_projected))
    return dx, g_h, g_c, dweight_ih, dweight_hh, dbias, dbias.copy()


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
    """r, z = σ; n = tanh, with r behind W_hn h or before it; h' = (1 - z) n + z h: outputs, h_n, gates."""
    if not _fits(x, h0, weight_ih, weight_hh, bias_ih, bias_hh):
        return reference.gru_scan(x, h0, weight_ih, weight_hh, bias_ih, bias_hh, reset_after, lengths, reverse)
    (steps, batch), hidden = x.shape[:2], h0.shape[1]
    two = 2 * hidden
    bias_n = np.zeros(hidden, x.dtype)
    if reset_after and bias_hh is not None:
        bias_n, bias_hh = bias_hh[two:].copy(), np.concatenate([bias_hh[:two], bias_n])
    projected = _project(x, weight_ih, _add(bias_ih, bias_hh))
    outputs = np.empty((steps, batch, hidden), x.dtype)
    gates = np.empty((steps, batch, 4 * hidden), x.dtype)
    h, valid = h0.copy(order="C"), _lengths(x, lengths)
    weight_rz, weight_n = _packed(weight_hh[:two].T), _packed(weight_hh[two:].T)
    work, size, threads = _work(x, hidden, 3 * hidden, 0)
    gru.gru_forward(
        address(projected), address(gates), address(h), address(outputs), address(weight_rz), address(weight_n),
        address(bias_n), address(valid), steps, batch, hidden, bool(reset_after),
        bool(reverse), x.dtype.type(0), work, size, threads,
    )  # fmt: skip
    return outputs, h, gates


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
    """Gradients of :func:`gru_scan`: dx, dh0, dweight_ih, dweight_hh, dbias_ih, dbias_hh."""
    if not _fits(x, g_outputs, g_h_n, h0, weight_ih, weight_hh, outputs, gates):
        return reference.gru_scan_grad(
            g_outputs, g_h_n, x, h0, weight_ih, weight_hh, outputs, gates, reset_after, lengths, reverse
        )
    (steps, batch), hidden = x.shape[:2], h0.shape[1]
    two = 2 * hidden
    g_outputs, gates, outputs, h0 = map(np.ascontiguousarray, (g_outputs, gates, outputs, h0))
    g_projected, g_h = np.empty((steps, batch, 3 * hidden), x.dtype), g_h_n.copy(order="C")
    g_hidden = np.empty_like(g_projected) if reset_after else g_projected
    weight = _packed(weight_hh if reset_after else weight_hh[:two])
    weight_n = weight if reset_after else _packed(weight_hh[two:])
    valid = _lengths(x, lengths)
    work, size, threads = _work(x, hidden, 3 * hidden, 2)
    gru.gru_backward(
        address(g_projected), address(g_hidden), address(g_h), address(g_outputs), address(gates), address(outputs),
        address(h0), address(weight), address(weight_n), address(valid), steps, batch, hidden, bool(reset_after),
        bool(reverse), x.dtype.type(0), work, size, threads,
    )  # fmt: skip
    dx, dweight_ih = _input_grads(g_projected, x, weight_ih, lengths)
    if reset_after:
        dweight_hh = _state_weight_grad(g_hidden, outputs, h0, lengths, reverse)
    else:
        dweight_rz = _state_weight_grad(g_hidden[..., :two], outputs, h0, lengths, reverse)
        dweight_n = matmul(_rows(g_hidden[..., two:]).T, _rows(gates[..., 3 * hidden :]))
        dweight_hh = np.concatenate([dweight_rz, dweight_n])
    dbias_ih = column_sums(_rows(g_projected))
    dbias_hh = column_sums(_rows(g_hidden)) if reset_after else dbias_ih.copy()
    return dx, g_h, dweight_ih, dweight_hh, dbias_ih, dbias_hh
