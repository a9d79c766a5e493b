"""Recurrent layers beyond their samples: padding, lengths of every kind, dropout, wrong calls."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn

GATES = {"rnn": 1, "lstm": 4, "gru": 3}
KINDS = pytest.mark.parametrize("kind", GATES)


def layer(kind, layers=1, directions=1, steps=5, batch=3, inputs=2, hidden=3, dtype=np.float64):
    """A function of that kind, an input, and weights that all require gradients."""
    rng = np.random.default_rng(4)
    rows = GATES[kind] * hidden

    def leaf(*shape):
        return tn.Tensor(rng.standard_normal(shape).astype(dtype), requires_grad=True)

    weights = []
    for i in range(layers * directions):
        size = inputs if i < directions else directions * hidden
        weights.append((leaf(rows, size), leaf(rows, hidden), leaf(rows), leaf(rows)))
    return getattr(tn, kind), leaf(steps, batch, inputs), weights


def last_of(kind, result):
    return result[1][0] if kind == "lstm" else result[1]


@KINDS
@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_may_hold_anything(kind, create_graph, bidirectional):
    function, x, weights = layer(kind, 2, 2 if bidirectional else 1)
    lengths = [5, 2, 0]
    for n, length in enumerate(lengths):
        x.data[length:, n] = np.nan
    output, _ = function(x, None, weights, bidirectional=bidirectional, lengths=lengths)
    leaves = [x, *(w for cell in weights for w in cell)]
    gradients = tn.grad(output.square().sum(), leaves, create_graph=create_graph)
    assert all(np.isfinite(g.data).all() for g in gradients)
    for n, length in enumerate(lengths):
        assert not output.data[length:, n].any()
        assert not gradients[0].data[length:, n].any()


@KINDS
def test_a_short_sequence_is_as_if_alone(kind):
    function, x, weights = layer(kind, 2, 2)
    output, last = function(x, None, weights, bidirectional=True, lengths=[5, 2, 4])
    alone, alone_last = function(x[:2, 1:2], None, weights, bidirectional=True)
    np.testing.assert_allclose(output.data[:2, 1], alone.data[:, 0], rtol=1e-13)
    h, alone_h = last_of(kind, (output, last)), last_of(kind, (alone, alone_last))
    np.testing.assert_allclose(h.data[:, 1], alone_h.data[:, 0], rtol=1e-13)


@KINDS
def test_lengths_of_every_kind(kind):
    function, x, weights = layer(kind)
    expected, _ = function(x, None, weights, lengths=[1, 5, 3])
    for lengths in (np.array([1, 5, 3]), np.array([1, 5, 3], np.int32), tn.Tensor([1, 5, 3]), (1, 5, 3)):
        output, _ = function(x, None, weights, lengths=lengths)
        np.testing.assert_array_equal(output.data, expected.data)


def test_lengths_are_copied():
    function, x, weights = layer("gru")
    lengths = np.array([1, 5, 3])
    output, _ = function(x, None, weights, lengths=lengths)
    expected = tn.grad(output.sum(), x, retain_graph=True).data
    lengths[:] = 0
    np.testing.assert_array_equal(tn.grad(output.sum(), x, retain_graph=True).data, expected)
    np.testing.assert_allclose(tn.grad(output.sum(), x, create_graph=True).data, expected, rtol=1e-12)


@KINDS
def test_no_states_are_zeros_in_the_dtype_of_x(kind):
    function, x, weights = layer(kind, dtype=np.float32)
    output, last = function(x, None, weights)
    zeros = np.zeros((1, 3, 3), np.float32)
    same, _ = function(x, (zeros, zeros) if kind == "lstm" else zeros, weights)
    np.testing.assert_array_equal(output.data, same.data)
    assert output.dtype == last_of(kind, (output, last)).dtype == tn.float32


@KINDS
def test_dropout_acts_between_layers_while_training(kind):
    function, x, weights = layer(kind, 2)
    plain, _ = function(x, None, weights)
    quiet, _ = function(x, None, weights, dropout=0.5)
    np.testing.assert_array_equal(quiet.data, plain.data)
    tn.manual_seed(1)
    first, _ = function(x, None, weights, dropout=0.5, training=True)
    second, _ = function(x, None, weights, dropout=0.5, training=True)
    tn.manual_seed(1)
    again, _ = function(x, None, weights, dropout=0.5, training=True)
    np.testing.assert_array_equal(first.data, again.data)
    assert (first.data != second.data).any()
    assert first.data.all()  # the last layer's own outputs are not dropped
    alone, _ = function(x, None, weights[:1], dropout=0.5, training=True)
    np.testing.assert_array_equal(alone.data, function(x, None, weights[:1])[0].data)


def test_all_dropped_feeds_zeros():
    function, x, weights = layer("rnn", 2)
    output, _ = function(x, None, weights, dropout=1.0, training=True)
    expected, _ = function(tn.zeros((5, 3, 3), dtype=tn.float64), None, weights[1:])
    np.testing.assert_allclose(output.data, expected.data, rtol=1e-13)


def test_the_conventions_of_gru_differ_and_agree_without_reset():
    function, x, weights = layer("gru")
    after, _ = function(x, None, weights)
    before, _ = function(x, None, weights, reset_after=False)
    assert np.abs(after.data - before.data).max() > 0.01
    w_ih, w_hh, b_ih, b_hh = (w.detach().numpy().copy() for w in weights[0])
    w_ih[:3], w_hh[:3], b_ih[:3], b_hh[:3] = 0, 0, 40, 0  # r = 1: the same formula
    open_gate = [(w_ih, w_hh, b_ih, b_hh)]
    np.testing.assert_allclose(
        function(x, None, open_gate)[0].data, function(x, None, open_gate, reset_after=False)[0].data
    )


W = [(np.ones((3, 2)), np.ones((3, 3)))]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: tn.rnn(x[0, 0], None, W), r"rnn: x has shape \(2,\), expected \(T, N, I\)"),
        (lambda x: tn.rnn(x, None, []), "rnn: 0 tuples of weights"),
        (
            lambda x: tn.rnn(x, None, W, bidirectional=True),
            r"rnn: 1 tuples of weights, expected one for each layer and direc",
        ),
        (lambda x: tn.rnn(x, None, [W[0][0]]), "an entry of weights is not"),
        (lambda x: tn.rnn(x, np.ones((1, 4, 3)), W), r"h0 has shape \(1, 4, 3\), expected \(1, 5, 3\)"),
        (lambda x: tn.rnn(x[:, 0], np.ones((1, 1, 3)), W), r"h0 has shape \(1, 1, 3\), expected \(1, 3\)"),
        (lambda x: tn.rnn(x, None, W, nonlinearity="sigmoid"), "nonlinearity is 'sigmoid', expected 'tanh' or 'relu'"),
        (lambda x: tn.rnn(x, None, W, lengths=[1, 2]), r"rnn: lengths has shape \(2,\), expected \(5,\)"),
        (lambda x: tn.rnn(x, None, W, lengths=[1, 2, 3, 4, 5]), "rnn: lengths are from 1 to 5, expected 0 to 4"),
        (lambda x: tn.rnn(x, None, W, lengths=[1, 2, 3, -4, 4]), "rnn: lengths are from -4 to 4"),
        (lambda x: tn.rnn(x[:, 0], None, W, lengths=[4]), "lengths are given, but x has shape"),
        (
            lambda x: tn.rnn(x, None, [(np.ones((3, 4)), np.ones((3, 3)))]),
            r"weight_ih has shape \(3, 4\), expected \(3, 2\)",
        ),
        (lambda x: tn.rnn(x, None, [(*W[0], np.ones(3), np.ones(4))]), r"bias_hh has shape \(4,\), expected \(3,\)"),
        (lambda x: tn.lstm(x, None, W), r"lstm_scan: weight_hh has shape \(3, 3\), expected \(4·H, H\)"),
        (lambda x: tn.gru(x, None, W), r"gru_scan: weight_hh has shape \(3, 3\), expected \(3·H, H\)"),
        (lambda x: tn.lstm(x, np.ones((1, 5, 3)), W), r"lstm: states is not a pair, expected \(h0, c0\) or None"),
        (lambda x: tn.rnn(x, None, [*W, (np.ones((4, 3)), np.ones((4, 4)))]), r"hidden sizes \[3, 4\]"),
        (lambda x: tn.rnn_scan(x, np.ones((4, 3)), *W[0]), r"rnn_scan: h0 has shape \(4, 3\), expected \(5, 3\)"),
        (lambda x: tn.rnn_scan(x[0], np.ones((5, 3)), *W[0]), r"rnn_scan: x has shape \(5, 2\), expected \(T, N, I\)"),
        (lambda x: tn.rnn_scan(x, np.ones((5, 3)), *W[0], lengths=[9] * 5), "rnn_scan: lengths are from 9 to 9"),
    ],
)
def test_wrong_calls(call, message):
    with pytest.raises(tn.ShapeError, match=message):
        call(np.ones((4, 5, 2)))


def test_lengths_that_are_no_integers():
    function, x, weights = layer("lstm")
    with pytest.raises(tn.DTypeError, match="lstm: lengths are float32, expected integers"):
        function(x, None, weights, lengths=[1.0, 2.0, 3.0])


@KINDS
def test_mixed_floats_promote_and_gradients_come_back_in_their_own_dtype(kind):
    function, x, weights = layer(kind)
    wanted = tn.grad(function(x, None, weights)[0].sum(), weights[0])
    short = [tuple(w.detach().astype(tn.float32).requires_grad_() for w in weights[0])]
    output = function(x, None, short)[0]
    assert output.dtype == np.float64
    for ours, theirs in zip(tn.grad(output.sum(), short[0]), wanted):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-5)
