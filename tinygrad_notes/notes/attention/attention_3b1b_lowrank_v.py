"""The value matrix as two thin ones

What the note says. Word vectors have about 10,000 numbers, the queries and keys of a head about 100. What a head adds
to a word is of the word's own length, so a value matrix that maps a word to what it contributes would be huge, d × d.
It is factored into two thin matrices, one down to the head's width, one up again (after 3Blue1Brown's lectures),
which cuts its parameters drastically:

    Δx = Σⱼ αⱼ (V↑ V↓) xⱼ,        V↓ ∈ R^(k × d),  V↑ ∈ R^(d × k),  k ≪ d

In the papers V↓ of a head is its W_V, and the V↑ of all heads side by side are the output matrix W_O (the note
``multi-head``): same numbers, same sum, another name. The product V↑V↓ has rank k at most, so each head reads k
directions of a word and writes k directions.

The sizes of GPT-3 (Brown et al. 2020): d = 12,288, k = 128, 96 heads in each of 96 layers.

    W_Q, W_K, V↓, V↑ of a head:   4 · 128 · 12,288 =      6,291,456
    a full V instead:                  12,288² =    150,994,944, 48 times V↓ and V↑ together (3,145,728)
    all heads of all layers:  96 · 96 · 6,291,456 = 57,982,058,496, a third of the 175 billion

Where the note is unclear. "10,000 dimensions" is 12,288, and "the attention matrix has hundreds of dimensions" means
k = 128 and not the n × n matrix of weights. The attention output is added to the word's vector: the skip connection,
which the lecture treats as part of attention.
"""

from __future__ import annotations

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.attention._shared import normal
from tinygrad_notes.notes.attention.scaled_dot_product import attention
from tinygrad_notes.notes.note import Fact, Identity, Note, apart, parameter_count

D, K, HEADS, LAYERS = 12_288, 128, 96, 96


class Head(nn.Module):
    """What one head adds to words x (..., n, d): Σⱼ αⱼ V↑ V↓ xⱼ. Without a mask each word sees all."""

    def __init__(self, d: int, k: int):
        super().__init__()
        self.query, self.key, self.value_down = (nn.Linear(d, k, bias=False) for _ in range(3))
        self.value_up = nn.Linear(k, d, bias=False)

    def forward(self, x, mask=None) -> tn.Tensor:
        return self.value_up(attention(self.query(x), self.key(x), self.value_down(x), mask)[0])

    def value(self) -> tn.Tensor:
        """V↑ V↓, (d, d)."""
        return self.value_up.weight @ self.value_down.weight


class Heads(nn.Module):
    """All heads of a layer, added to the words."""

    def __init__(self, d: int, k: int, heads: int):
        super().__init__()
        self.heads = nn.ModuleList(Head(d, k) for _ in range(heads))

    def forward(self, x, mask=None) -> tn.Tensor:
        total = x
        for head in self.heads:
            total = total + head(x, mask)
        return total


def gpt3_head() -> Head:
    """One of the 9216 heads of GPT-3, as shapes."""
    with tn.shape_only():
        return Head(D, K)


def gpt3_layer() -> Heads:
    """The 96 heads of one layer of GPT-3, as shapes."""
    with tn.shape_only():
        return Heads(D, K, HEADS)


def as_multi_head(model: Heads) -> nn.MultiheadAttention:
    """``nn.MultiheadAttention`` of the same weights: V↓ are the rows of W_V, V↑ the columns of W_O."""
    heads = list(model.heads)
    k, d = heads[0].query.weight.shape
    layer = nn.MultiheadAttention(d, d // k, bias=False, batch_first=True).to("float64")
    stacked = [getattr(head, name).weight for name in ("query", "key", "value_down") for head in heads]
    up = [head.value_up.weight for head in heads]
    layer.load_state_dict({"in_proj_weight": tn.concat(stacked, axis=0), "out_proj.weight": tn.concat(up, axis=1)})
    return layer


def _model() -> Heads:
    tn.manual_seed(0)
    return Heads(12, 4, 3).to("float64")


def _slices_gap() -> float:
    model, x = _model(), normal(2, 5, 12)
    return apart(model(x), x + as_multi_head(model)(x, x, x)[0])


def _full_value_gap() -> float:
    """A head's two thin matrices, beside weights that multiply full values (V↑ V↓) x."""
    head, x = _model().heads[0], normal(5, 12)
    weights = attention(head.query(x), head.key(x), x)[1]
    return apart(head(x), weights @ (x @ head.value().T))


def rank_of_value() -> int:
    """Of V↑ V↓, 12 × 12, with k = 4."""
    return int(np.linalg.matrix_rank(_model().heads[0].value().data))


NOTE = Note(
    slug="attention-3b1b-lowrank-v",
    family="attention",
    title="The value matrix as two thin ones",
    sources="note 000, after 3Blue1Brown, Neural networks, chapters 5 and 6",
    paper="Vaswani et al. 2017, arXiv:1706.03762; sizes: Brown et al. 2020, Language models are few-shot learners, "
    "arXiv:2005.14165",
    text=__doc__,
    build=gpt3_head,
    no_bar="it is another way to write one layer; the numbers are its point",
    facts=[
        Fact("W_Q of a head of GPT-3", 1_572_864, lambda: gpt3_head().query.weight.size, "128 × 12,288"),
        Fact("a full value matrix", 150_994_944, lambda: gpt3_head().value_up.weight.shape[0] ** 2, "12,288²"),
        Fact(
            "the two thin ones",
            3_145_728,
            lambda: gpt3_head().value_down.weight.size + gpt3_head().value_up.weight.size,
            "2 · 128 · 12,288",
        ),
        Fact("parameters of a head", 4 * 1_572_864, lambda: parameter_count(gpt3_head()), "W_Q, W_K, V↓, V↑"),
        Fact(
            "attention parameters of GPT-3",
            57_982_058_496,
            lambda: LAYERS * parameter_count(gpt3_layer()),
            "96 layers of 96 heads",
        ),
        Fact("rank of V↑ V↓ at d = 12, k = 4", 4, rank_of_value, "k"),
    ],
    identities=[
        Identity("V↓ and V↑ are slices of W_V and W_O", _slices_gap, 1e-12),
        Identity("the thin pair is the full value matrix V↑ V↓", _full_value_gap, 1e-12),
    ],
    checks=lambda: [(_model(), (normal(2, 3, 12),))],
)
