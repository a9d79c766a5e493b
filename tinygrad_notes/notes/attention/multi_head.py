"""Multi-head attention

What the notes say. One attention can follow one kind of relation. So h attentions (heads) run in parallel, each on
its own projections of the same queries, keys and values, and what they find is put together (note 004). It is to
attention what several output channels are to a convolution (note 001). Note 000 says that the context vectors of all
heads are *added* to the word's vector; note 004, with the paper, that they are *concatenated* and multiplied by W_O:

    headᵢ = attention(Q W_Qᵢ, K W_Kᵢ, V W_Vᵢ),        multi-head = [head₁, …, head_h] W_O

Both are the same. Cut W_O into h blocks of rows, one for each head; then the product with the concatenation is a sum:

    [head₁, …, head_h] W_O = Σᵢ headᵢ W_O⁽ⁱ⁾,

and headᵢ W_O⁽ⁱ⁾ is the context vector that head i adds. The values of head i are mapped by W_Vᵢ W_O⁽ⁱ⁾, a d × d
matrix of rank d/h (the note ``attention-3b1b-lowrank-v``).

The heads are as wide as d/h, so h heads cost what one head of width d costs: the projections have 4d² weights
whatever h is, and one product of matrices computes all heads' projections. All heads then are one batch of
attentions, after a reshape from (n, d) to (h, n, d/h).

Where the note is unclear. "The attention matrix has a dimension of hundreds" (000) means the width of a head, 128 in
GPT-3; the matrix of attention weights is n × n.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.attention._shared import gradients, normal
from tinygrad_notes.notes.attention.scaled_dot_product import attention
from tinygrad_notes.notes.note import Fact, Identity, Note, apart, parameter_count, without_memory


class MultiHead(nn.Module):
    """h attentions of width size/h in parallel: queries (N, n, size), keys and values (N, m, size) to (N, n, size).

    ``mask``, which broadcasts to (N, h, n, m), is True where a query may look.
    """

    def __init__(self, size: int, heads: int, bias: bool = False):
        super().__init__()
        self.heads = heads
        self.W_Q, self.W_K, self.W_V, self.W_O = (nn.Linear(size, size, bias) for _ in range(4))

    def split(self, x) -> tn.Tensor:
        """(N, n, size) to (N, heads, n, size/heads)."""
        n, length, size = x.shape
        return tn.swapaxes(tn.reshape(x, (n, length, self.heads, size // self.heads)), 1, 2)

    def each_head(self, queries, keys, values, mask=None) -> tn.Tensor:
        """What every head found, (N, heads, n, size/heads)."""
        q, k, v = self.split(self.W_Q(queries)), self.split(self.W_K(keys)), self.split(self.W_V(values))
        return attention(q, k, v, mask)[0]

    def forward(self, queries, keys, values, mask=None) -> tn.Tensor:
        """[head₁, …, head_h] W_O."""
        found = tn.swapaxes(self.each_head(queries, keys, values, mask), 1, 2)
        return self.W_O(tn.reshape(found, queries.shape))

    def context_vectors(self, queries, keys, values, mask=None) -> tn.Tensor:
        """headᵢ W_O⁽ⁱ⁾, what each head adds to the words, (N, heads, n, size), without the bias of W_O."""
        size = self.W_O.weight.shape[0]
        blocks = tn.swapaxes(tn.reshape(self.W_O.weight, (size, self.heads, -1)), 0, 1)  # (heads, size, size/heads)
        return self.each_head(queries, keys, values, mask) @ tn.swapaxes(blocks, 1, 2)

    def sum_of_heads(self, queries, keys, values, mask=None) -> tn.Tensor:
        """Σᵢ headᵢ W_O⁽ⁱ⁾: the form of note 000."""
        total = self.context_vectors(queries, keys, values, mask).sum(1)
        return total if self.W_O.bias is None else total + self.W_O.bias


def build() -> MultiHead:
    """The example of the book: width 100, 5 heads."""
    return MultiHead(100, 5)


def of_the_engine(model: MultiHead) -> nn.MultiheadAttention:
    """``nn.MultiheadAttention`` with the weights of ``model``."""
    size = model.W_O.weight.shape[0]
    layer = nn.MultiheadAttention(size, model.heads, bias=model.W_O.bias is not None, batch_first=True).to("float64")
    parts = model.W_Q, model.W_K, model.W_V
    state = {"in_proj_weight": tn.concat([part.weight for part in parts], axis=0), "out_proj.weight": model.W_O.weight}
    if model.W_O.bias is not None:
        state |= {"in_proj_bias": tn.concat([part.bias for part in parts], axis=0), "out_proj.bias": model.W_O.bias}
    layer.load_state_dict(state)
    return layer


SIZE, HEADS = 12, 3


def _model() -> MultiHead:
    tn.manual_seed(0)
    return MultiHead(SIZE, HEADS, bias=True).to("float64")


def _inputs() -> tuple[tn.Tensor, tn.Tensor, tn.Tensor]:
    return normal(2, 4, SIZE), normal(2, 6, SIZE, seed=1), normal(2, 6, SIZE, seed=2)


def _sum_gap() -> float:
    model, x = _model(), _inputs()
    values = apart(model(*x), model.sum_of_heads(*x))
    return max(values, apart(gradients(model, x), gradients(model.sum_of_heads, x)))


def _loop_over_heads() -> float:
    """One head after the other, with its own three matrices."""
    model, x, width = _model(), _inputs(), SIZE // HEADS
    parts: list[Any] = [model.W_Q, model.W_K, model.W_V]
    total: Any = model.W_O.bias
    for i in range(HEADS):
        rows = slice(i * width, (i + 1) * width)
        q, k, v = (tn.linear(t, part.weight[rows], part.bias[rows]) for t, part in zip(x, parts))
        total = total + attention(q, k, v)[0] @ model.W_O.weight[:, rows].T
    return apart(model(*x), total)


def _engine_gap() -> float:
    model, x = _model(), _inputs()
    layer = of_the_engine(model)
    seen = np.random.default_rng(0).random((4, 6)) < 0.7
    seen[:, 0] = True
    return max(apart(model(*x, mask), layer(*x, attn_mask=None if mask is None else ~mask)[0]) for mask in (None, seen))


def _one_head_gap() -> float:
    tn.manual_seed(0)
    model, x = MultiHead(SIZE, 1).to("float64"), _inputs()
    q, k, v = (part(t) for part, t in zip((model.W_Q, model.W_K, model.W_V), x))
    return apart(model(*x), model.W_O(attention(q, k, v)[0]))


NOTE = Note(
    slug="multi-head",
    family="attention",
    title="Multi-head attention",
    sources="notes 000, 001 and 004; Zhang et al., Dive into Deep Learning, 10.5",
    paper="Vaswani et al. 2017, Attention is all you need, 3.2.2, arXiv:1706.03762",
    text=__doc__,
    build=build,
    example=lambda: ((2, 4, 100), (2, 6, 100), (2, 6, 100)),
    no_bar="it is one layer; the network that is made of it is trained in the note transformer",
    facts=[
        Fact("parameters of the book's example", 4 * 100 * 100, lambda: parameter_count(build()), "4 d²"),
        Fact(
            "parameters at d = 512 do not depend on the heads",
            [4 * 512**2] * 4,
            lambda: [parameter_count(without_memory(MultiHead, 512, h)) for h in (1, 4, 8, 64)],
        ),
        Fact(
            "shape of the book's example",
            (2, 4, 100),
            lambda: build()(tn.ones((2, 4, 100)), tn.ones((2, 6, 100)), tn.ones((2, 6, 100))).shape,
            "Dive into Deep Learning, 10.5",
        ),
    ],
    identities=[
        Identity("[head₁, …, head_h] W_O = Σ headᵢ W_O⁽ⁱ⁾, with gradients", _sum_gap, 1e-12),
        Identity("all heads at once are the heads one after the other", _loop_over_heads, 1e-12),
        Identity("the engine's layer is the same", _engine_gap, 1e-12),
        Identity("one head is attention between projections", _one_head_gap, 1e-12),
    ],
    checks=lambda: [(_model(), _inputs()), (of_the_engine(_model()), _inputs())],
)
