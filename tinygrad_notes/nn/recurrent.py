"""Recurrent layers: RNN, LSTM, GRU.

Sequences are (T, N, size), with ``batch_first`` (N, T, size), or a single one (T, size).
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_notes import ops
from tinygrad_notes.nn import init
from tinygrad_notes.nn.module import Module
from tinygrad_notes.ops.arguments import count, one_of, probability
from tinygrad_notes.tensor import Tensor


class _Recurrent(Module):
    """Parameters of ``num_layers`` layers in one or two directions, named and laid out as PyTorch's.

    ``weight_ih_l0`` (gates · H, input_size), ``weight_hh_l0`` (gates · H, H), ``bias_ih_l0`` and ``bias_hh_l0``
    (gates · H), then ``..._l0_reverse``, ``..._l1``; all start uniform on ±1/√H. ``lengths`` of a call stand for
    PyTorch's packed sequences; its ``proj_size`` does not exist.
    """

    gates: int

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        device: str | None,
        dtype: Any,
    ):
        super().__init__()
        name = type(self).__name__
        self.input_size, self.hidden_size = (
            count(input_size, f"{name}: input_size"),
            count(hidden_size, f"{name}: hidden_size"),
        )
        self.num_layers, self.bias, self.batch_first = count(num_layers, f"{name}: num_layers"), bias, batch_first
        self.dropout, self.bidirectional = probability(dropout, f"{name}: dropout"), bidirectional
        rows = self.gates * self.hidden_size
        for layer in range(self.num_layers):
            inputs = self.input_size if layer == 0 else self.hidden_size * (2 if bidirectional else 1)
            for names in self._names(layer):
                shapes = ((rows, inputs), (rows, self.hidden_size), (rows,), (rows,))
                for name, shape in zip(names, shapes):
                    setattr(self, name, init.empty_parameter(shape, device, dtype))
        self.reset_parameters()

    def _names(self, layer: int) -> list[tuple[str, ...]]:
        """The names of a layer's parameters, a tuple for each direction."""
        parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if self.bias else ("weight_ih", "weight_hh")
        suffixes = ("", "_reverse") if self.bidirectional else ("",)
        return [tuple(f"{part}_l{layer}{suffix}" for part in parts) for suffix in suffixes]

    def _weights(self) -> list[tuple[Tensor, ...]]:
        """What the ops take: a tuple for each layer and direction."""
        return [
            tuple(getattr(self, n) for n in names) for layer in range(self.num_layers) for names in self._names(layer)
        ]

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        settings = (("num_layers", 1), ("nonlinearity", "tanh"), ("bias", True), ("batch_first", False),
                    ("dropout", 0.0), ("bidirectional", False), ("reset_after", True))  # fmt: skip
        for name, default in settings:
            value = getattr(self, name, default)
            text += "" if value == default else f", {name}={value!r}"
        return text


class RNN(_Recurrent):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh) (Elman 1990), or relu. ``rnn(x, h0)`` gives the outputs and the last h.

    ``h0`` (layers · directions, N, H), zeros when left out. ``dropout`` acts between layers in training. ``lengths``
    (N,): how many steps of each sequence count; outputs beyond are 0, and the last h is
    that of the last step that counts.

    >>> output, h = nn.RNN(3, 4, bidirectional=True)(tn.ones((6, 2, 3)))
    >>> output.shape, h.shape
    ((6, 2, 8), (2, 2, 4))
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: str | None = None,
        dtype: Any = None,
    ):
        self.nonlinearity = one_of(nonlinearity, "RNN: nonlinearity", ("tanh", "relu"))
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype)

    def forward(self, x: Any, h0: Any = None, lengths: Any = None) -> tuple[Tensor, Tensor]:
        return ops.rnn(
            x,
            h0,
            self._weights(),
            self.nonlinearity,
            self.bidirectional,
            self.dropout,
            self.training,
            self.batch_first,
            lengths,
        )


class LSTM(_Recurrent):
    """c' = f c + i g, h' = o tanh(c') (Hochreiter and Schmidhuber 1997); gates in the order i, f, g, o.

    ``lstm(x, (h0, c0))`` gives the outputs and (h, c) of the last step; the rest as :class:`RNN`.

    >>> output, (h, c) = nn.LSTM(3, 4, batch_first=True)(tn.ones((2, 6, 3)))
    >>> output.shape, h.shape, c.shape
    ((2, 6, 4), (1, 2, 4), (1, 2, 4))
    """

    gates = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype)

    def forward(self, x: Any, states: Any = None, lengths: Any = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        return ops.lstm(
            x, states, self._weights(), self.bidirectional, self.dropout, self.training, self.batch_first, lengths
        )


class GRU(_Recurrent):
    """h' = (1 - z) n + z h (Cho et al. 2014, arXiv:1406.1078); gates in the order r, z, n.

    ``reset_after`` (PyTorch's): n = tanh(W_in x + b_in + r (W_hn h + b_hn)); without it, as in the paper,
    n = tanh(W_in x + b_in + W_hn (r h) + b_hn). The rest as :class:`RNN`.

    >>> output, h = nn.GRU(3, 4, num_layers=2)(tn.ones((6, 2, 3)), lengths=[6, 2])
    >>> output.shape, h.shape
    ((6, 2, 4), (2, 2, 4))
    """

    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: str | None = None,
        dtype: Any = None,
        *,
        reset_after: bool = True,
    ):
        self.reset_after = reset_after
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype)

    def forward(self, x: Any, h0: Any = None, lengths: Any = None) -> tuple[Tensor, Tensor]:
        return ops.gru(
            x,
            h0,
            self._weights(),
            self.reset_after,
            self.bidirectional,
            self.dropout,
            self.training,
            self.batch_first,
            lengths,
        )
