"""Self-attention

What the note says. In self-attention (自注意力) queries, keys and values are the same sequence X of n vectors of
length d. At its simplest, without a parameter,

    f(X) = softmax(X Xᵀ / √d) X,

and in practice each of the three roles has a matrix of its own:

    f(X) = softmax((X W_Q)(X W_K)ᵀ / √d) X W_V

Every vector becomes a mean of all vectors, weighted by how well they fit it: a word is moved by its context (note 000
calls what is added to a word its context vector). One layer connects any two positions directly, and all positions
are computed at once.

What it cannot see is order. Permute the rows of X and the rows of the result are permuted alike: f(P X) = P f(X).
Without positions in the input, "dog bites man" and "man bites dog" give the same three vectors. That is why the
Transformer adds position encodings, and why a causal mask, which is not symmetric, tells a layer something about
order by itself.

Where the note is wrong. It writes softmax(X W_Q Xᵀ W_K / √d): there the shapes do not match ((n, d), (d, n), (d, d));
what is transposed is the product X W_K. And where it says that the sequence serves "as the input of self-encoding"
(作为自编码输入) it means self-attention, not an autoencoder.
"""

from __future__ import annotations

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.attention._shared import normal
from tinygrad_notes.notes.attention.scaled_dot_product import attention
from tinygrad_notes.notes.note import Fact, Identity, Note, apart, parameter_count


def plain(x) -> tn.Tensor:
    """softmax(X Xᵀ / √d) X for x (..., n, d)."""
    return attention(x, x, x)[0]


class SelfAttention(nn.Module):
    """softmax((X W_Q)(X W_K)ᵀ / √d) X W_V for x (..., n, size): one head, its width ``size`` unless told otherwise."""

    def __init__(self, size: int, width: int | None = None):
        super().__init__()
        width = size if width is None else width
        self.W_Q, self.W_K, self.W_V = (nn.Linear(size, width, bias=False) for _ in range(3))

    def forward(self, x, mask=None) -> tn.Tensor:
        return attention(self.W_Q(x), self.W_K(x), self.W_V(x), mask)[0]


def _layer(size: int = 6) -> SelfAttention:
    tn.manual_seed(0)
    return SelfAttention(size).to("float64")


ORDER = np.array([3, 0, 4, 1, 2])


def _equivariance() -> float:
    x, layer = normal(5, 6), _layer()
    return max(apart(f(x[ORDER]), f(x)[ORDER]) for f in (plain, layer))


def _identity_matrices() -> float:
    layer = _layer()
    for part in (layer.W_Q, layer.W_K, layer.W_V):
        part.weight.data[...] = np.eye(6)
    return apart(layer(normal(5, 6)), plain(normal(5, 6)))


def _of_numpy() -> float:
    x, layer = normal(5, 6), _layer()
    q, k, v = (x.data @ part.weight.data.T for part in (layer.W_Q, layer.W_K, layer.W_V))
    e = np.exp(q @ k.T / np.sqrt(6))
    return apart(layer(x), e / e.sum(-1, keepdims=True) @ v)


def _summed_over_positions() -> float:
    """A mean over all positions behind the layer is the same for every order of the words."""
    x, layer = normal(5, 6), _layer()
    return apart(layer(x).mean(0), layer(x[ORDER]).mean(0))


def order_seen_with_positions() -> bool:
    """Whether adding a vector to each position makes the order visible."""
    x, positions, layer = normal(5, 6), normal(5, 6, seed=1), _layer()
    return apart(layer(x[ORDER] + positions).mean(0), layer(x + positions).mean(0)) > 1e-3


def order_seen_under_a_causal_mask() -> bool:
    """Whether a layer whose positions see only what came before them tells orders apart."""
    x, layer, causal = normal(5, 6), _layer(), np.tri(5, dtype=bool)
    return apart(layer(x[ORDER], causal).mean(0), layer(x, causal).mean(0)) > 1e-3


NOTE = Note(
    slug="self-attention",
    family="attention",
    title="Self-attention",
    sources="notes 000 and 004; Zhang et al., Dive into Deep Learning, 10.6",
    paper="Lin et al. 2017, A structured self-attentive sentence embedding, arXiv:1703.03130; Vaswani et al. 2017, "
    "Attention is all you need, arXiv:1706.03762",
    text=__doc__,
    build=lambda: SelfAttention(512, 64),
    example=lambda: (1, 10, 512),
    no_bar="it is one layer; the network that is made of it is trained in the note transformer",
    facts=[
        Fact(
            "parameters of one head of the base Transformer",
            3 * 512 * 64,
            lambda: parameter_count(SelfAttention(512, 64)),
            "W_Q, W_K, W_V of 512 × 64",
        ),
        Fact("order is seen once positions are added", True, order_seen_with_positions),
        Fact("order is seen under a causal mask", True, order_seen_under_a_causal_mask),
    ],
    identities=[
        Identity("it is permutation equivariant, f(PX) = P f(X)", _equivariance, 1e-14),
        Identity("a mean over its outputs does not depend on the order", _summed_over_positions, 1e-14),
        Identity("with three identity matrices it is softmax(XXᵀ/√d) X", _identity_matrices, 1e-14),
        Identity("it is the formula written out in NumPy", _of_numpy, 1e-14),
    ],
    checks=lambda: [(plain, (normal(5, 6),)), (_layer(), (normal(2, 5, 6),))],
)
