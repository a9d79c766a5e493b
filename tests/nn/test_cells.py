"""Cells: the steps of the recurrent layers, one at a time."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn

rng = np.random.default_rng(0)

# (the cell, the layer of which it is a step)
PAIRS = [
    (lambda **o: nn.RNNCell(3, 4, **o), lambda **o: nn.RNN(3, 4, **o)),
    (lambda **o: nn.RNNCell(3, 4, nonlinearity="relu", **o), lambda **o: nn.RNN(3, 4, nonlinearity="relu", **o)),
    (lambda **o: nn.LSTMCell(3, 4, **o), lambda **o: nn.LSTM(3, 4, **o)),
    (lambda **o: nn.GRUCell(3, 4, **o), lambda **o: nn.GRU(3, 4, **o)),
    (lambda **o: nn.GRUCell(3, 4, reset_after=False, **o), lambda **o: nn.GRU(3, 4, reset_after=False, **o)),
]


def last(state):
    return state[0] if isinstance(state, tuple) else state


@pytest.mark.parametrize(("cell", "layer"), PAIRS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [(2,), ()])
def test_steps_of_a_cell_are_the_layer(cell, layer, bias, batch):
    cell, layer = cell(bias=bias), layer(bias=bias)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
    x = tn.tensor(rng.standard_normal((5, *batch, 3)).astype(np.float32), requires_grad=True)
    outputs, state = [], None
    for t in range(5):
        state = cell(x[t], state)
        outputs.append(last(state))
    expected, _ = layer(x)
    stacked = tn.stack(outputs)
    assert np.allclose(stacked.data, expected.data, atol=1e-6)
    weights = rng.standard_normal(stacked.shape).astype(np.float32)
    ours = tn.grad((stacked * weights).sum(), [x, *cell.parameters()])
    theirs = tn.grad((expected * weights).sum(), [x, *layer.parameters()])
    for a, b in zip(ours, theirs):
        assert np.allclose(a.data, b.data, atol=1e-5)


def test_a_cell_is_the_formula():
    cell = nn.RNNCell(2, 3, dtype=tn.float64)
    x, h = rng.standard_normal((4, 2)), rng.standard_normal((4, 3))
    p = {name: value.data for name, value in cell.state_dict().items()}
    expected = np.tanh(x @ p["weight_ih"].T + p["bias_ih"] + h @ p["weight_hh"].T + p["bias_hh"])
    assert np.allclose(cell(x, h).data, expected, atol=1e-14)


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
def test_names_text_and_spread(kind):
    cell = kind(3, 4)
    assert [name for name, _ in cell.named_parameters()] == ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    assert cell.weight_ih.shape == (4 * cell.gates, 3)
    assert repr(cell).startswith(f"{kind.__name__}(3, 4)  #")
    assert max(abs(p.data).max() for p in cell.parameters()) <= 0.5  # 1 / √4
    assert repr(kind(3, 4, bias=False)).startswith(f"{kind.__name__}(3, 4, bias=False)")
    assert [name for name, _ in kind(3, 4, bias=False).named_parameters()] == ["weight_ih", "weight_hh"]
    tn.manual_seed(1)
    before = kind(3, 4)
    tn.manual_seed(1)
    cell.reset_parameters()
    assert np.array_equal(cell.weight_hh.data, before.weight_hh.data)


def test_an_empty_batch_has_an_empty_state():
    h, c = nn.LSTMCell(3, 4)(tn.zeros((0, 3)))
    assert h.shape == c.shape == (0, 4)


WRONG = [
    (lambda: nn.LSTMCell(0, 4), tn.ShapeError, "LSTMCell: input_size is 0"),
    (lambda: nn.GRUCell(3, 2.5), tn.DTypeError, "GRUCell: hidden_size is 2.5"),
    (lambda: nn.RNNCell(3, 4, nonlinearity="gelu"), tn.ShapeError, "RNNCell: nonlinearity is 'gelu'"),
    (lambda: nn.RNNCell(3, 4)(tn.ones((2, 5))), tn.ShapeError, r"RNNCell: x has shape \(2, 5\), expected \(N, 3\)"),
    (lambda: nn.RNNCell(3, 4)(tn.ones((1, 2, 3))), tn.ShapeError, r"RNNCell: x has shape \(1, 2, 3\)"),
    (lambda: nn.GRUCell(3, 4)(tn.ones((2, 3)), tn.ones((3, 4))), tn.ShapeError, r"hx has shape \(3, 4\), expected \(2"),
    (lambda: nn.GRUCell(3, 4)(tn.ones(3), tn.ones((1, 4))), tn.ShapeError, r"hx has shape \(1, 4\), expected \(4,\)"),
    (lambda: nn.LSTMCell(3, 4)(tn.ones((2, 3)), tn.ones((2, 4))), tn.DTypeError, r"LSTMCell: hx is \[2, 4\] float32"),
    (lambda: nn.LSTMCell(3, 4)(tn.ones((2, 3)), (tn.ones((2, 4)), tn.ones(4))), tn.ShapeError, "LSTMCell: c has shape"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[message[:40] for _, _, message in WRONG])
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
