"""Gated recurrent unit (GRU)

What the note says. Not every word matters alike. A gate is a number between 0 and 1 for each hidden unit, computed from
the input and the state, that says how much passes. Two of them decide what a step does: the reset gate (重置门) how
much of the old state the candidate sees, the update gate (更新门) how much of the old state stays. Hidden sizes are 128
or 256, for long sequences 1024; beyond 100 to 1000 steps attention does better; and in practice nobody takes the plain
network where this one or LSTM will do.

The formula.

    R[t] = σ(X[t] W_xr + H[t-1] W_hr + b_r)
    Z[t] = σ(X[t] W_xz + H[t-1] W_hz + b_z)
    H̃[t] = tanh(X[t] W_xh + (R[t] ⊙ H[t-1]) W_hh + b_h)
    H[t] = Z[t] ⊙ H[t-1] + (1 - Z[t]) ⊙ H̃[t]

With Z = 1 the state stays as it is, bit by bit, over any number of steps. With R = 1 and Z = 0 it is the plain network.

Where the note is wrong. One of the two notes calls the reset gate a forget gate; that is LSTM's. Two conventions
differ:

- Chung et al. 2014 and many texts let Z be the part that is new, H = (1 - Z) ⊙ H[t-1] + Z ⊙ H̃. As σ(-a) = 1 - σ(a),
  that is the same network with the signs of W_xz, W_hz and b_z turned; ``chung=True`` here.
- The paper applies R to the state before W_hh, as above. cuDNN, PyTorch and the default of ``nn.GRU`` apply it to
  H W_hh + b, after the product (``reset_after=True``), which is one large product for all gates. Where W_hh is diagonal
  the two agree, otherwise not; they learn equally well.

The paper. Cho et al. 2014, arXiv:1406.1078; "Dive into Deep Learning" 9.1, whose network from scratch (28 characters,
256 units) has 226,076 parameters.

How it is trained here. 128 units read characters of Python's manual, in vectors of 64, in windows of 64. The bar that
was planned is 1.125 times the perplexity of the 4-gram; measured were 3.6 to 3.7 beside its 4.00, so the bar here is
the 4-gram itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.language import RecurrentLanguageModel, language_demo
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run, apart
from tinygrad_notes.notes.sequence._from_scratch import (
    CLASSES,
    HIDDEN,
    FromScratch,
    difference_from_layer,
    example,
    one_step,
    sizes,
    small_networks,
)
from tinygrad_notes.notes.sequence.rnn import ScratchRNN
from tinygrad_notes.tensor import Tensor


class ScratchGRU(FromScratch):
    """The formula; in ``chung``'s convention Z is the part that is new."""

    gates = ("r", "z", "h")
    b_r: Tensor
    b_z: Tensor

    def __init__(self, vocabulary: int, hidden: int, chung: bool = False):
        self.chung = chung
        super().__init__(vocabulary, hidden)

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (h,) = state
        r, z = tn.sigmoid(self.affine("r", x, h)), tn.sigmoid(self.affine("z", x, h))
        candidate = tn.tanh(self.affine("h", x, r * h))
        if self.chung:
            return ((1 - z) * h + z * candidate,)
        return (z * h + (1 - z) * candidate,)


def paper_cell(*sizes: int, **settings: object) -> nn.GRU:
    """The layer with R before the product, as in the paper."""
    return nn.GRU(*sizes, **settings, reset_after=False)  # type: ignore[arg-type]


def canonical() -> RecurrentLanguageModel:
    """The book's network: one-hot characters, 256 units, affine output."""
    return RecurrentLanguageModel(CLASSES, HIDDEN, nn.GRU)


def small(vocabulary: int) -> RecurrentLanguageModel:
    """128 units behind an embedding: what the demo trains."""
    return RecurrentLanguageModel(vocabulary, 128, nn.GRU, 64)


def demo(run: Run) -> Outcome:
    """128 units on the characters of the manual."""
    tn.manual_seed(run.seed)
    return language_demo(run, small, "GRU")


OPEN, CLOSED = 1e3, -1e3  # biases at which a sigmoid is 1 and 0 to the last bit


def _small(**settings: bool) -> ScratchGRU:
    tn.manual_seed(0)
    model = ScratchGRU(7, 5, **settings).to(tn.float64)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model


def _update_gate_open() -> float:
    model = _small()
    model.b_z.data[:] = OPEN
    x, state = one_step(model)
    after = state
    for _ in range(100):
        after = model.step(x, after)
    return apart(after[0], state[0])


def _plain() -> float:
    model, plain = _small(), ScratchRNN(7, 5).to(tn.float64)
    model.b_r.data[:], model.b_z.data[:] = OPEN, CLOSED
    own = model.state_dict()
    plain.load_state_dict({name: own[name].data for name in plain.state_dict()})
    x, state = one_step(model)
    return apart(model.step(x, state)[0], plain.step(x, state)[0])


def _conventions() -> float:
    model, other = _small(), _small(chung=True)
    for name in ("W_xz", "W_hz", "b_z"):
        getattr(other, name).data[:] *= -1
    x, state = one_step(model)
    return apart(model.step(x, state)[0], other.step(x, state)[0])


def _reset(diagonal: bool) -> float:
    """How far the reset before and after the product lead apart, the candidate's b_hn being 0."""
    tn.manual_seed(0)
    before: Any = nn.GRU(3, 4, reset_after=False).to(tn.float64)
    after = nn.GRU(3, 4).to(tn.float64)
    rows = slice(8, 12)  # of the candidate
    before.bias_hh_l0.data[rows] = 0
    if diagonal:
        before.weight_hh_l0.data[rows] = np.diag(np.arange(1.0, 5.0))
    after.load_state_dict(before.state_dict())
    x = np.random.default_rng(0).standard_normal((9, 2, 3))
    return apart(before(x)[0], after(x)[0])


BOOK = "Dive into Deep Learning, 9.1"

NOTE = Note(
    slug="gru",
    family="sequence",
    title="Gated recurrent unit (GRU)",
    sources="notes 000, 004; Zhang et al., Dive into Deep Learning, 9.1",
    paper="Cho et al. 2014, Learning phrase representations using RNN encoder-decoder, arXiv:1406.1078",
    text=__doc__,
    build=canonical,
    example=example,
    demo=demo,
    bars=[Bar("test_perplexity", at_most="4-gram")],
    facts=[
        *sizes(ScratchGRU, nn.GRU, 226_076, 219_648, BOOK),
        Fact("the reset after the product is another function", True, lambda: _reset(diagonal=False) > 1e-3, "cuDNN"),
    ],
    identities=[
        Identity(
            "the formula in small steps is the layer of nn with the reset before the product",
            lambda: difference_from_layer(ScratchGRU, paper_cell),
            1e-12,
        ),
        Identity("Z = 1 leaves the state as it is over 100 steps", _update_gate_open),
        Identity("R = 1 and Z = 0 are the plain network", _plain),
        Identity("Chung's convention with the signs of Z's weights turned", _conventions, 1e-14),
        Identity("with a diagonal W_hh the reset may come before or after it", lambda: _reset(diagonal=True), 1e-14),
    ],
    checks=lambda: small_networks(ScratchGRU, nn.GRU),
)
