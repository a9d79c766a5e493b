"""Add and norm

What the notes say. Every part of a block, attention or feed-forward network, is followed by "add and norm": its
result is added to its input (a residual connection), and the sum is normalised.

    behind the sum, as in the paper:   x ← norm(x + part(x))
    in front of the part:              x ← x + part(norm(x))

The second came later (Xiong et al. 2020, arXiv:2002.04745): there the plain sum leads from the first layer to the
last without a norm in between, the gradient passes unchanged, and training needs no warm-up.

Where the note is wrong. Note 000 says that the normalisation is batch normalisation. In the paper and in "Dive into
Deep Learning" it is layer normalisation, over the features of one position:

    LN(x) = γ (x - mean(x)) / √(var(x) + ε) + β

The difference matters. Layer normalisation does not see the other sentences of the batch: the same sentence gives the
same result in any company, in training as in use, with a batch of one, and a padded position does nobody harm. Batch
normalisation takes each feature's mean over batch and positions, of which some are padding and the number changes
from batch to batch; in use it needs running means instead. It is offered here as ``norm="batch"``, to see what the
note means.

The book's example: the rows [1, 2] and [2, 3]. Layer normalisation makes [-1, 1] of both, for it looks along the row;
batch normalisation looks down the column and gives [-1, -1] and [1, 1].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.attention._shared import gradients, normal
from tinygrad_notes.notes.note import Fact, Identity, Note, apart, parameter_count


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation of each feature, over batch and positions: (N, n, size)."""

    def forward(self, x) -> tn.Tensor:
        return tn.reshape(super().forward(tn.reshape(x, (-1, x.shape[-1]))), x.shape)


class AddNorm(nn.Module):
    """norm(x + part(x)), or with ``norm_first`` x + part(norm(x)), for x (N, n, size)."""

    def __init__(self, size: int, norm: str = "layer", norm_first: bool = False, dropout: float = 0.0):
        super().__init__()
        self.norm = {"layer": nn.LayerNorm, "batch": BatchNorm}[norm](size)
        self.dropout = nn.Dropout(dropout)
        self.norm_first = norm_first

    def forward(self, x, part: Callable[[tn.Tensor], tn.Tensor]) -> tn.Tensor:
        if self.norm_first:
            return x + self.dropout(part(self.norm(x)))
        return self.norm(x + self.dropout(part(x)))


class EncoderBlock(nn.Module):
    """Attention and a feed-forward network, each within :class:`AddNorm`: a block of ``transformer-encoder``."""

    def __init__(self, size: int, heads: int, hidden: int, norm: str = "layer", norm_first: bool = False):
        super().__init__()
        self.attention = nn.MultiheadAttention(size, heads, batch_first=True)
        self.feed_forward = nn.Sequential(nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, size))
        self.first, self.second = (AddNorm(size, norm, norm_first) for _ in range(2))

    def forward(self, x) -> tn.Tensor:
        x = self.first(x, lambda x: self.attention(x, x, x, need_weights=False)[0])
        return self.second(x, self.feed_forward)


SIZE, HEADS, HIDDEN = 8, 2, 16
FORMS = [(norm, first) for norm in ("layer", "batch") for first in (False, True)]


def _block(norm: str = "layer", norm_first: bool = False) -> EncoderBlock:
    tn.manual_seed(0)
    return EncoderBlock(SIZE, HEADS, HIDDEN, norm, norm_first).to("float64")


def of_the_engine(block: EncoderBlock, norm: str = "layer", norm_first: bool = False) -> nn.TransformerEncoderLayer:
    """``nn.TransformerEncoderLayer`` with the weights of ``block``."""
    layer = nn.TransformerEncoderLayer(
        SIZE, HEADS, HIDDEN, 0.0, batch_first=True, norm_first=norm_first, norm=norm
    ).to("float64")  # fmt: skip
    layer.self_attn.load_state_dict(block.attention.state_dict())
    for theirs, ours in ((layer.linear1, block.feed_forward[0]), (layer.linear2, block.feed_forward[2])):
        theirs.load_state_dict(ours.state_dict())
    return layer


def _engine_gap() -> float:
    x = normal(3, 5, SIZE)
    blocks = [(_block(*form), form) for form in FORMS]
    return max(apart(block(x), of_the_engine(block, *form)(x)) for block, form in blocks)


def depends_on_company(norm: str) -> float:
    """How much the result for one sentence changes with the other sentences of its batch, in training."""
    block, x = _block(norm), normal(3, 5, SIZE)
    other = tn.concat([x[:1], 3 * normal(2, 5, SIZE, seed=1)], axis=0)
    return apart(block(x)[0], block(other)[0])


def _formula_gap() -> float:
    x = normal(3, 5, SIZE)
    layer = AddNorm(SIZE).to("float64")
    total = x.data + np.sin(x.data)
    expected = (total - total.mean(-1, keepdims=True)) / np.sqrt(total.var(-1, keepdims=True) + 1e-5)
    return apart(layer(x, tn.sin), expected)


def _nothing(x) -> tn.Tensor:
    return x * 0.0


def _identity_path() -> float:
    """Parts that add nothing, norms in front: the stack is the identity, and so is its gradient."""
    layer, x = AddNorm(SIZE, norm_first=True).to("float64"), normal(3, 5, SIZE)

    def stack(x) -> tn.Tensor:
        for _ in range(6):
            x = layer(x, _nothing)
        return x

    return max(apart(stack(x), x), apart(gradients(stack, [x])[0], normal(*x.shape, seed=1)))


def book_example(norm: str) -> list[list[float]]:
    """The rows [1, 2] and [2, 3] after a norm, rounded."""
    x = tn.tensor([[[1.0, 2.0]], [[2.0, 3.0]]])
    return AddNorm(2, norm)(x, _nothing).round(3).numpy()[:, 0].tolist()


NOTE = Note(
    slug="add-norm",
    family="attention",
    title="Add and norm",
    sources="notes 000 and 004; Zhang et al., Dive into Deep Learning, 10.7.3",
    paper="Ba, Kiros & Hinton 2016, Layer normalization, arXiv:1607.06450; He et al. 2015, Deep residual learning, "
    "arXiv:1512.03385; Vaswani et al. 2017, arXiv:1706.03762",
    text=__doc__,
    build=lambda: EncoderBlock(512, 8, 2048),
    example=lambda: (1, 10, 512),
    no_bar="it is one part of the network that the note transformer trains",
    facts=[
        Fact("layer normalisation of the book's example", [[-1.0, 1.0]] * 2, lambda: book_example("layer"), "10.7.3"),
        Fact(
            "batch normalisation of the book's example",
            [[-1.0, -1.0], [1.0, 1.0]],
            lambda: book_example("batch"),
            "10.7.3",
        ),
        Fact("parameters of a norm at d = 512", 1024, lambda: parameter_count(nn.LayerNorm(512)), "γ and β"),
        Fact(
            "with batch normalisation a sentence depends on its batch", True, lambda: depends_on_company("batch") > 0.1
        ),
    ],
    identities=[
        Identity("it is LN(x + part(x)) by the formula", _formula_gap, 1e-12),
        Identity(
            "with layer normalisation a sentence does not depend on its batch",
            lambda: depends_on_company("layer"),
            1e-12,
        ),
        Identity("norms in front leave a path that changes nothing", _identity_path, 1e-12),
        Identity("the engine's layer has the same four forms", _engine_gap, 1e-12),
    ],
    checks=lambda: [(_block(*form), (normal(2, 3, SIZE),)) for form in FORMS],
)
