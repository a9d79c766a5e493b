"""The position-wise feed-forward network

What the notes say. After attention every position goes through the same perceptron by itself: affine, ReLU, affine
(基于位置的前馈网络). In practice (b, n, d) is reshaped to (bn, d), and back:

    FFN(x) = W₂ relu(W₁ x + b₁) + b₂,        W₁ ∈ R^(4d × d),  W₂ ∈ R^(d × 4d)

Attention mixes positions and is linear in the values; here positions do not meet, and it is here that values change
other than by a mean. It holds two thirds of a block's weights: 8d², against 4d² of the attention.

It is two convolutions with windows of 1. A window of 1 sees one position and all its channels, which is an affine map
of each position; the paper itself describes it so.

Where the note is brief. It writes f(x W₁ᵀ) W₂, without biases, and with W₂ already transposed; the paper has biases.
"""

from __future__ import annotations

from typing import Any

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.attention._shared import gradients, normal
from tinygrad_notes.notes.note import Fact, Identity, Note, apart, parameter_count


class PositionWiseFFN(nn.Module):
    """W₂ relu(W₁ x + b₁) + b₂ at every position: (..., size) to (..., outputs), ``size`` unless told otherwise."""

    def __init__(self, size: int, hidden: int, outputs: int | None = None):
        super().__init__()
        self.W_1, self.W_2 = nn.Linear(size, hidden), nn.Linear(hidden, size if outputs is None else outputs)

    def forward(self, x) -> tn.Tensor:
        return self.W_2(tn.relu(self.W_1(x)))


def as_convolutions(model: PositionWiseFFN) -> nn.Sequential:
    """Two convolutions with windows of 1 that have the same weights, for (N, channels, positions)."""
    layers = [nn.Conv1d(part.weight.shape[1], part.weight.shape[0], 1) for part in (model.W_1, model.W_2)]
    stack = nn.Sequential(layers[0], nn.ReLU(), layers[1]).to("float64")
    for layer, part in zip(layers, (model.W_1, model.W_2)):
        layer.load_state_dict({"weight": part.weight[:, :, None], "bias": part.bias})
    return stack


def base() -> PositionWiseFFN:
    """That of a block of the base Transformer."""
    return PositionWiseFFN(512, 2048)


def _model() -> PositionWiseFFN:
    tn.manual_seed(0)
    return PositionWiseFFN(4, 16).to("float64")


X = (2, 5, 4)


def _convolution_gap() -> float:
    model, x = _model(), normal(*X)
    stack = as_convolutions(model)

    def convolved(x) -> tn.Tensor:
        return tn.swapaxes(stack(tn.swapaxes(x, 1, 2)), 1, 2)

    return max(apart(model(x), convolved(x)), apart(gradients(model, [x]), gradients(convolved, [x])))


def _reshape_gap() -> float:
    model, x = _model(), normal(*X)
    return apart(model(x), model(x.reshape(10, 4)).reshape(2, 5, 4))


def _alone_gap() -> float:
    """Each position by itself."""
    model, x = _model(), normal(*X)
    return max(apart(model(x)[:, i], model(x[:, i])) for i in range(5))


def _engine_gap() -> float:
    """The second half of an encoder block without its norm and skip: the block's own layers, by their names."""
    model, x = _model(), normal(*X)
    block: Any = nn.TransformerEncoderLayer(4, 2, 16, 0.0).to("float64")
    model.W_1.load_state_dict(block.linear1.state_dict())
    model.W_2.load_state_dict(block.linear2.state_dict())
    for name in ("in_proj_weight", "in_proj_bias"):  # attention that adds nothing
        getattr(block.self_attn, name).data[...] = 0
    y = block.norm1(x)
    return apart(block(x), block.norm2(y + model(y)))


NOTE = Note(
    slug="positionwise-ffn",
    family="attention",
    title="The position-wise feed-forward network",
    sources="notes 000 and 004; Zhang et al., Dive into Deep Learning, 10.7.2",
    paper="Vaswani et al. 2017, Attention is all you need, 3.3, arXiv:1706.03762",
    text=__doc__,
    build=base,
    example=lambda: (1, 10, 512),
    no_bar="it is one part of the network that the note transformer trains",
    facts=[
        Fact("parameters at 512 and 2048", 2_099_712, lambda: parameter_count(base()), "2 · 512 · 2048 + 2048 + 512"),
        Fact(
            "shape of the book's example",
            (2, 3, 8),
            lambda: PositionWiseFFN(4, 4, 8)(tn.ones((2, 3, 4))).shape,
            "Dive into Deep Learning, 10.7.2",
        ),
    ],
    identities=[
        Identity("it is two convolutions with windows of 1, with gradients", _convolution_gap, 1e-12),
        Identity("reshaped to (bn, d) and back it is the same", _reshape_gap, 1e-12),
        Identity("no position sees another", _alone_gap, 1e-12),
        Identity("it is what a block does after its attention", _engine_gap, 1e-12),
    ],
    checks=lambda: [(_model(), (normal(*X),))],
)
