"""The causal mask

What the note says. In training a decoder sees the whole target at once, but position i must not look at what comes
after it. So when xᵢ is computed, one pretends that the sequence has length i (假装当前序列长度为 i): scores of later
positions become -∞ before the softmax, and their weights are 0 after it.

    scoreᵢⱼ = qᵢ · kⱼ / √d  for j ≤ i,  -∞ for j > i

With it one pass over a target of T tokens trains T predictions, each from the tokens before it (teacher forcing). The
Jacobian of the outputs by the inputs is block lower triangular: every block above the diagonal is exactly 0, not
nearly.

Two things that the note does not say. The layers around attention have to work position by position, as the
feed-forward network and layer normalisation do; batch normalisation over time, which note 000 names, mixes positions
in training, and the triangle is lost. And a mask that adds -1e9 gives the same weights as -∞ only while scores stay
far below that; this engine takes -∞ and booleans, and a query that may see nothing gets 0, not NaN.
"""

from __future__ import annotations

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.attention._shared import normal
from tinygrad_notes.notes.attention.scaled_dot_product import attention
from tinygrad_notes.notes.note import Fact, Identity, Note, apart

LENGTH, SIZE = 5, 4


def causal_mask(length: int) -> np.ndarray:
    """True where position i (row) may look at position j (column): j ≤ i."""
    return np.tri(length, dtype=bool)


def causal_attention(x) -> tn.Tensor:
    """Attention of x (n, d) to itself and to what came before."""
    return attention(x, x, x, causal_mask(x.shape[-2]))[0]


def _layer(norm: str = "layer") -> nn.TransformerEncoderLayer:
    tn.manual_seed(0)
    return nn.TransformerEncoderLayer(SIZE, 2, 8, 0.0, "gelu", batch_first=True, norm=norm).to("float64")


def _causal_layer(x, norm: str = "layer") -> tn.Tensor:
    return _layer(norm)(x, is_causal=True)


def jacobian_blocks(function) -> np.ndarray:
    """The largest |∂outputᵢ/∂inputⱼ| for each pair of positions, (n, n)."""
    x = normal(LENGTH, SIZE)
    blocks = np.abs(tn.jacobian(function, x).numpy()).reshape(LENGTH, SIZE, LENGTH, SIZE)
    return blocks.max((1, 3))


def above_diagonal(function) -> float:
    """The largest derivative of an output by a later input."""
    return float(np.triu(jacobian_blocks(function), 1).max())


def _as_if_it_ended_here() -> float:
    """The output at i, beside the last output of the sequence that ends with i."""
    x = normal(LENGTH, SIZE)
    layer = _layer()
    whole = layer(x, is_causal=True)
    return max(apart(whole[i], layer(x[: i + 1])[i]) for i in range(LENGTH))


def _mask_forms() -> float:
    """Booleans, -∞ that is added, and the kernel's own flag."""
    x = normal(1, 2, LENGTH, SIZE)
    added = tn.asarray(np.where(causal_mask(LENGTH), 0.0, -np.inf))
    expected = attention(x, x, x, causal_mask(LENGTH))[0]
    forms = ({"is_causal": True}, {"attn_mask": causal_mask(LENGTH)}, {"attn_mask": added})
    return max(apart(tn.scaled_dot_product_attention(x, x, x, **form), expected) for form in forms)


NOTE = Note(
    slug="causal-mask",
    family="attention",
    title="The causal mask",
    sources="notes 000 and 004; Zhang et al., Dive into Deep Learning, 10.7.5",
    paper="Vaswani et al. 2017, Attention is all you need, 3.2.3, arXiv:1706.03762",
    text=__doc__,
    no_bar="it is a rule of what may be seen, and holds exactly or not at all",
    facts=[
        Fact(
            "every earlier position is seen",
            causal_mask(LENGTH).tolist(),
            lambda: (jacobian_blocks(causal_attention) > 0).tolist(),
            "the Jacobian's blocks on and below the diagonal",
        ),
        Fact(
            "batch normalisation in training lets a position see later ones",
            True,
            lambda: above_diagonal(lambda x: _causal_layer(x[None], "batch")[0]) > 1e-3,
        ),
    ],
    identities=[
        Identity("no output depends on a later input: attention", lambda: above_diagonal(causal_attention)),
        Identity("no output depends on a later input: a whole block", lambda: above_diagonal(_causal_layer)),
        Identity("the output at i is as if the sequence ended with i", _as_if_it_ended_here, 1e-12),
        Identity("booleans, -∞ that is added, and is_causal are the same", _mask_forms, 1e-12),
    ],
    checks=lambda: [(causal_attention, (normal(LENGTH, SIZE),)), (_causal_layer, (normal(LENGTH, SIZE),))],
)
