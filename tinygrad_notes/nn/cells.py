"""One step of a recurrent network: RNNCell, LSTMCell, GRUCell."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.explain import describe
from tinygrad_notes.nn import init
from tinygrad_notes.nn.module import Module
from tinygrad_notes.ops import expand_dims, squeeze
from tinygrad_notes.ops.arguments import count, one_of
from tinygrad_notes.ops.recurrent import gru_scan, lstm_scan, rnn_scan
from tinygrad_notes.ops.shape import operand
from tinygrad_notes.tensor import Tensor, as_floating


class _Cell(Module):
    """``weight_ih`` (gates · H, input_size), ``weight_hh`` (gates · H, H), ``bias_ih`` and ``bias_hh`` (gates · H).

    All start uniform on ±1/√H. The input of a call is ``x`` (PyTorch's ``input``). A step is a scan of one step, so
    cells and layers share one definition and its kernels.
    """

    gates: int
    bias_ih: Tensor | None
    bias_hh: Tensor | None

    def __init__(self, input_size: int, hidden_size: int, bias: bool, device: str | None, dtype: Any):
        super().__init__()
        name = type(self).__name__
        self.input_size = count(input_size, f"{name}: input_size")
        self.hidden_size = count(hidden_size, f"{name}: hidden_size")
        self.bias = bias
        rows = self.gates * self.hidden_size
        self.weight_ih = init.empty_parameter((rows, self.input_size), device, dtype)
        self.weight_hh = init.empty_parameter((rows, self.hidden_size), device, dtype)
        self.bias_ih = init.empty_parameter((rows,), device, dtype) if bias else None
        self.bias_hh = init.empty_parameter((rows,), device, dtype) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def _step(self, scan: Any, x: Any, states: dict[str, Any], *static: Any) -> list[Tensor]:
        """The states after one step of ``scan``; a state that is None starts as zeros."""
        name, x = type(self).__name__, operand(x)
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ShapeError(f"{name}: x has shape {x.shape}, expected (N, {self.input_size}) or ({self.input_size},)")
        expected, single = (*x.shape[:-1], self.hidden_size), x.ndim == 1
        rows = expand_dims(x, 0) if single else x
        given = []
        for label, state in states.items():
            if state is None:
                state = np.zeros_like(as_floating(rows.data), shape=(rows.shape[0], self.hidden_size))
            else:
                state = operand(state)
                if state.shape != expected:
                    raise ShapeError(f"{name}: {label} has shape {state.shape}, expected {expected} for x {x.shape}")
                state = expand_dims(state, 0) if single else state
            given.append(state)
        weights = self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh
        _, *after = scan(expand_dims(rows, 0), *given, *weights, *static)
        return [squeeze(state, 0) for state in after] if single else after

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        for name, default in (("bias", True), ("nonlinearity", "tanh"), ("reset_after", True)):
            value = getattr(self, name, default)
            text += "" if value == default else f", {name}={value!r}"
        return text


class RNNCell(_Cell):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh) (Elman 1990), or relu: one step of :class:`RNN`.

    ``cell(x, hx)``: x (N, input_size), hx (N, H), zeros when left out, or both without N; returns h'.

    >>> nn.RNNCell(3, 4)(tn.ones((2, 3))).shape
    (2, 4)
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: str | None = None,
        dtype: Any = None,
    ):
        self.nonlinearity = one_of(nonlinearity, "RNNCell: nonlinearity", ("tanh", "relu"))
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def forward(self, x: Any, hx: Any = None) -> Tensor:
        return self._step(rnn_scan, x, {"hx": hx}, self.nonlinearity)[0]


class LSTMCell(_Cell):
    """c' = f c + i g, h' = o tanh(c') (Hochreiter and Schmidhuber 1997): one step of :class:`LSTM`.

    ``cell(x, (h, c))`` returns (h', c'); shapes as :class:`RNNCell`, gates in the order i, f, g, o.

    >>> h, c = nn.LSTMCell(3, 4)(tn.ones((2, 3)))
    >>> h.shape, c.shape
    ((2, 4), (2, 4))
    """

    gates = 4

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: str | None = None, dtype: Any = None
    ):
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def forward(self, x: Any, hx: Any = None) -> tuple[Tensor, Tensor]:
        if hx is None:
            hx = None, None
        if not isinstance(hx, list | tuple) or len(hx) != 2:
            raise DTypeError(f"LSTMCell: hx is {describe(hx)}, expected a pair (h, c) or None")
        h, c = self._step(lstm_scan, x, dict(zip(("h", "c"), hx)))
        return h, c


class GRUCell(_Cell):
    """h' = (1 - z) n + z h (Cho et al. 2014, arXiv:1406.1078): one step of :class:`GRU`, ``reset_after`` as there.

    ``cell(x, hx)`` returns h'; shapes as :class:`RNNCell`, gates in the order r, z, n.

    >>> nn.GRUCell(3, 4)(tn.ones(3)).shape
    (4,)
    """

    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
        *,
        reset_after: bool = True,
    ):
        self.reset_after = reset_after
        super().__init__(input_size, hidden_size, bias, device, dtype)

    def forward(self, x: Any, hx: Any = None) -> Tensor:
        return self._step(gru_scan, x, {"hx": hx}, self.reset_after)[0]
