"""The encoder of the Transformer

What the notes say. A block of the encoder is multi-head self-attention, add and norm, feed-forward network, add and
norm. All blocks have the same shape, so they can be stacked: (n, d) goes in, (n, d) comes out, and each vector knows
more of its context than before.

    x ← norm(x + attend(x, x, x)),        x ← norm(x + W₂ relu(W₁ x))

The numbers. In a block, attention has 4 (d² + d), the feed-forward network 2 d h + h + d, the two norms 4 d
parameters: at d = 512, h = 2048 that is 1,050,624 + 2,099,712 + 2,048 = 3,152,384, and six blocks have 18,914,304. A
block of the decoder has cross-attention and one norm more, 4,204,032, and six have 25,224,192.

The encoder alone is what BERT and the vision transformer are made of. It is trained here as part of the note
``transformer``.
"""

from __future__ import annotations

import math

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.attention._shared import normal
from tinygrad_notes.notes.note import Fact, Identity, Note, apart, parameter_count, without_memory


class Encoder(nn.Module):
    """A stack of blocks for vectors x (N, n, size); ``padding`` (N, n) is True at what is no word."""

    def __init__(self, size: int = 512, heads: int = 8, hidden: int = 2048, layers: int = 6, dropout: float = 0.1):
        super().__init__()
        block = nn.TransformerEncoderLayer(size, heads, hidden, dropout, batch_first=True)
        self.stack = nn.TransformerEncoder(block, layers)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, x, padding=None) -> tn.Tensor:
        return self.stack(x, src_key_padding_mask=padding)


def decoder() -> nn.TransformerDecoder:
    """The six blocks of the base decoder."""
    return nn.TransformerDecoder(nn.TransformerDecoderLayer(512, 8, 2048), 6)


def written_out(block: nn.TransformerEncoderLayer, x: np.ndarray) -> np.ndarray:
    """One block in NumPy, for one sentence x (n, d)."""
    weights = {name: value.data for name, value in block.state_dict().items()}
    heads, (n, d) = block.self_attn.num_heads, x.shape

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    q, k, v = np.split(x @ weights["self_attn.in_proj_weight"].T + weights["self_attn.in_proj_bias"], 3, axis=1)
    found = np.empty((n, d))
    for h in range(heads):
        part = slice(h * d // heads, (h + 1) * d // heads)
        e = np.exp(q[:, part] @ k[:, part].T / math.sqrt(d // heads))
        found[:, part] = e / e.sum(-1, keepdims=True) @ v[:, part]
    attended = found @ weights["self_attn.out_proj.weight"].T + weights["self_attn.out_proj.bias"]
    x = norm(x + attended, "norm1")
    hidden = np.maximum(x @ weights["linear1.weight"].T + weights["linear1.bias"], 0)
    return norm(x + hidden @ weights["linear2.weight"].T + weights["linear2.bias"], "norm2")


def _model() -> Encoder:
    tn.manual_seed(0)
    return Encoder(8, 2, 16, 2, dropout=0.0).to("float64")


def _numpy_gap() -> float:
    model, x = _model(), normal(3, 5, 8)
    expected = x.data
    for block in model.stack.layers:
        expected = np.stack([written_out(block, sentence) for sentence in expected])
    return apart(model(x), expected)


def _padding_gap() -> float:
    """A sentence of three words, by itself and filled up to five."""
    model, x = _model(), normal(1, 5, 8)
    return apart(model(x, np.array([[False] * 3 + [True] * 2]))[:, :3], model(x[:, :3]))


NOTE = Note(
    slug="transformer-encoder",
    family="attention",
    title="The encoder of the Transformer",
    sources="notes 000 and 004; Zhang et al., Dive into Deep Learning, 10.7.4",
    paper="Vaswani et al. 2017, Attention is all you need, 3.1, arXiv:1706.03762",
    text=__doc__,
    build=Encoder,
    example=lambda: (1, 10, 512),
    no_bar="it is trained as a part of the note transformer",
    facts=[
        Fact(
            "parameters of the base encoder",
            18_914_304,
            lambda: parameter_count(without_memory(Encoder)),
            "6 blocks of 3,152,384",
        ),
        Fact(
            "parameters of one block",
            3_152_384,
            lambda: parameter_count(without_memory(Encoder, layers=1)),
            "4(d² + d) + 2dh + h + 5d",
        ),
        Fact(
            "parameters of the base decoder",
            25_224_192,
            lambda: parameter_count(without_memory(decoder)),
            "6 blocks of 4,204,032",
        ),
        Fact(
            "shape of the book's example",
            (2, 100, 24),
            lambda: Encoder(24, 8, 48, 2)(tn.ones((2, 100, 24))).shape,
            "Dive into Deep Learning, 10.7.4",
        ),
    ],
    identities=[
        Identity("two blocks are the formulas written out in NumPy", _numpy_gap, 1e-12),
        Identity("padding has no influence on words", _padding_gap, 1e-12),
    ],
    checks=lambda: [(_model(), (normal(2, 3, 8),))],
)
