"""Cross-attention

What the notes say. The outputs y₁ … yₙ of the encoder are keys and values of the multi-head attention in *each* block
of the decoder; the query is the decoder's own vector. So every position of the target looks up the source anew, in
every block:

    z = attention(Q = z W_Q, K = y W_K, V = y W_V)

What follows from it. The encoder runs once for a sentence, and y W_K and y W_V of each block once, too; a decoder
that writes token by token computes only new queries (the note ``transformer-inference-kv``). Nothing tells the
decoder in which order the y came except what the encoder wrote into them: shuffle y with its mask, and the result is
the same. A position of the source that is masked as padding has no influence at all, so sentences of different
lengths can share a batch. And all blocks send their gradients back into the same y: the encoder learns from the sum.

Source and target may have different lengths and, with matrices of the fitting shape, vectors of different lengths
(``kdim``, ``vdim``).
"""

from __future__ import annotations

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.attention._shared import gradients, normal
from tinygrad_notes.notes.attention.multi_head import MultiHead, of_the_engine
from tinygrad_notes.notes.attention.scaled_dot_product import attention
from tinygrad_notes.notes.note import Fact, Identity, Note, apart, parameter_count


class CrossAttention(MultiHead):
    """Multi-head attention whose keys and values come from the encoder's outputs ``memory`` (N, S, size), once."""

    def remember(self, memory) -> tuple[tn.Tensor, tn.Tensor]:
        """Keys and values of all heads, (N, heads, S, size/heads)."""
        return self.split(self.W_K(memory)), self.split(self.W_V(memory))

    def look_up(self, z, remembered, mask=None) -> tn.Tensor:
        """What positions z (N, T, size) find in ``remembered``; the mask broadcasts to (N, heads, T, S)."""
        keys, values = remembered
        found = attention(self.split(self.W_Q(z)), keys, values, mask)[0]
        return self.W_O(tn.reshape(tn.swapaxes(found, 1, 2), z.shape))

    def forward(self, z, memory, mask=None) -> tn.Tensor:  # type: ignore[override]
        return self.look_up(z, self.remember(memory), mask)


SIZE, HEADS, SOURCE, TARGET = 8, 2, 5, 3
ORDER = np.array([4, 1, 0, 3, 2])
SEEN = np.array([[True] * 5, [True] * 3 + [False] * 2])  # the second sentence has two words fewer


def base() -> CrossAttention:
    """That of a block of the base Transformer."""
    return CrossAttention(512, 8, bias=True)


def _layer() -> CrossAttention:
    tn.manual_seed(0)
    return CrossAttention(SIZE, HEADS, bias=True).to("float64")


def _inputs() -> tuple[tn.Tensor, tn.Tensor]:
    return normal(2, TARGET, SIZE), normal(2, SOURCE, SIZE, seed=1)


def _mask(seen: np.ndarray = SEEN) -> np.ndarray:
    return seen[:, None, None, :]


def _one_position_at_a_time() -> float:
    layer, (z, memory) = _layer(), _inputs()
    remembered = layer.remember(memory)
    steps = [layer.look_up(z[:, t : t + 1], remembered, _mask()) for t in range(TARGET)]
    return apart(layer(z, memory, _mask()), tn.concat(steps, axis=1))


def _shuffled() -> float:
    layer, (z, memory) = _layer(), _inputs()
    return apart(layer(z, memory, _mask()), layer(z, memory[:, ORDER], _mask(SEEN[:, ORDER])))


def _padding_changes() -> float:
    layer, (z, memory) = _layer(), _inputs()
    other = tn.where(SEEN[:, :, None], memory, 1e3)
    return apart(layer(z, memory, _mask()), layer(z, other, _mask()))


def _decoder_block() -> nn.TransformerDecoderLayer:
    tn.manual_seed(0)
    return nn.TransformerDecoderLayer(SIZE, HEADS, 16, 0.0, batch_first=True).to("float64")


def _gradient_of_two_blocks() -> float:
    """The gradient by the encoder's outputs, beside the sum of what each block sends back."""
    first, second = _decoder_block(), _decoder_block()
    second.multihead_attn.out_proj.weight.data[...] *= 2
    z, memory = _inputs()
    shared = gradients(lambda m: second(first(z, m), m), [memory])[0]
    parts = gradients(lambda a, b: second(first(z, a), b), [memory, memory])
    return apart(shared, parts[0] + parts[1])


def _engine_gap() -> float:
    layer, (z, memory) = _layer(), _inputs()
    return apart(layer(z, memory, _mask()), of_the_engine(layer)(z, memory, memory, key_padding_mask=~SEEN)[0])


NOTE = Note(
    slug="cross-attention",
    family="attention",
    title="Cross-attention",
    sources="notes 000 and 004; Zhang et al., Dive into Deep Learning, 10.7",
    paper="Vaswani et al. 2017, Attention is all you need, 3.2.3, arXiv:1706.03762",
    text=__doc__,
    build=base,
    example=lambda: ((1, 4, 512), (1, 6, 512)),
    no_bar="it is one part of the network that the note transformer trains; its maps are drawn there",
    facts=[
        Fact("parameters of one at d = 512", 4 * (512**2 + 512), lambda: parameter_count(base()), "4 (d² + d)"),
    ],
    identities=[
        Identity("keys and values are computed once for all positions", _one_position_at_a_time, 1e-12),
        Identity("the order of the encoder's outputs does not matter", _shuffled, 1e-12),
        Identity("padding of the source has no influence", _padding_changes),
        Identity("the encoder's gradient is the sum over the blocks", _gradient_of_two_blocks, 1e-12),
        Identity("the engine's layer is the same", _engine_gap, 1e-12),
    ],
    checks=lambda: [(lambda z, memory: _layer()(z, memory, _mask()), _inputs()), (_decoder_block(), _inputs())],
)
