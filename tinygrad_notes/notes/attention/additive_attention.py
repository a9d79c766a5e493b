"""Additive attention

What the note says. Query and key may have different lengths; then their inner product does not exist. Additive
attention (加性注意力) maps both to a hidden layer of one length, adds, and reads a score off it:

    a(q, k) = vᵀ tanh(W_q q + W_k k),        W_q ∈ R^(h × |q|),  W_k ∈ R^(h × |k|),  v ∈ R^h

This is the same as putting key and query behind one another into a perceptron with one hidden layer and one output,
without biases: [W_k W_q][k; q] = W_k k + W_q q. In this form W_q q is computed once for each query and W_k k once for
each key, not once for each pair; only the sum, the tanh and the product with v are left for all pairs.

The paper. Bahdanau, Cho & Bengio 2014 use it to translate: the query is the state of the decoder, keys and values are
the states of the encoder. It came before scaled dot-product attention, which is cheaper (one product of matrices,
against h tanh for each pair) and has the same power if W_q and W_k stand before the inner product. Measured in
multiply-adds for n queries, m keys: nmh for v after n|q|h + m|k|h for the projections, and nmh evaluations of tanh.

The worked example of "Dive into Deep Learning": queries of length 20, keys of length 2 that are all equal, so each
query gets the mean of the values it may see.
"""

from __future__ import annotations

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.attention._shared import gradients, normal
from tinygrad_notes.notes.note import Fact, Identity, Note, apart, parameter_count


class AdditiveAttention(nn.Module):
    """softmax over the keys of vᵀ tanh(W_q q + W_k k), times the values.

    queries (..., n, query_size), keys (..., m, key_size), values (..., m, v) give (..., n, v); ``mask``, which
    broadcasts to the weights (..., n, m), is True where a query may look.
    """

    def __init__(self, query_size: int, key_size: int, hidden: int):
        super().__init__()
        self.W_q = nn.Linear(query_size, hidden, bias=False)
        self.W_k = nn.Linear(key_size, hidden, bias=False)
        self.v = nn.Linear(hidden, 1, bias=False)

    def scores(self, queries, keys) -> tn.Tensor:
        """vᵀ tanh(W_q q + W_k k) of every pair, (..., n, m)."""
        q = tn.expand_dims(self.W_q(queries), -2)  # (..., n, 1, hidden)
        k = tn.expand_dims(self.W_k(keys), -3)  # (..., 1, m, hidden)
        return tn.squeeze(self.v(tn.tanh(q + k)), -1)

    def forward(self, queries, keys, values, mask=None) -> tn.Tensor:
        scores = self.scores(queries, keys)
        if mask is not None:
            scores = tn.where(mask, scores, -np.inf)
        return tn.softmax(scores, axis=-1) @ values


def perceptron(layer: AdditiveAttention) -> nn.Sequential:
    """The perceptron with one hidden layer, for [k; q], that has the same weights."""
    hidden, key_size = layer.W_k.weight.shape
    query_size = layer.W_q.weight.shape[1]
    model = nn.Sequential(
        nn.Linear(key_size + query_size, hidden, bias=False), nn.Tanh(), nn.Linear(hidden, 1, bias=False)
    ).to("float64")
    weights = tn.concat([layer.W_k.weight, layer.W_q.weight], axis=1)
    model.load_state_dict({"0.weight": weights, "2.weight": layer.v.weight})
    return model


def _layer() -> AdditiveAttention:
    tn.manual_seed(0)
    return AdditiveAttention(query_size=4, key_size=3, hidden=5).to("float64")


def scores_by_perceptron(layer: AdditiveAttention, queries, keys) -> tn.Tensor:
    """The scores (n, m) by running every pair [k; q] through :func:`perceptron`."""
    n, m = len(queries), len(keys)
    pairs = [tn.concat([keys[j], queries[i]], axis=0) for i in range(n) for j in range(m)]
    return tn.reshape(perceptron(layer)(tn.stack(pairs)), (n, m))


QUERIES, KEYS, VALUES = (6, 4), (7, 3), (7, 2)


def _inputs(*shapes: tuple[int, ...]) -> list[tn.Tensor]:
    return [normal(*shape, seed=i) for i, shape in enumerate(shapes)]


def _score_gap() -> float:
    layer, inputs = _layer(), _inputs(QUERIES, KEYS)
    return apart(layer.scores(*inputs), scores_by_perceptron(layer, *inputs))


def _gradient_gap() -> float:
    layer, inputs = _layer(), _inputs(QUERIES, KEYS)
    ours = gradients(layer.scores, inputs)
    return apart(ours, gradients(lambda q, k: scores_by_perceptron(layer, q, k), inputs))


def example() -> list:
    """Equal keys, of which two in the first example are valid and six in the second."""
    tn.manual_seed(0)
    layer = AdditiveAttention(query_size=20, key_size=2, hidden=8)
    values = tn.asarray(np.arange(40.0, dtype=np.float32).reshape(1, 10, 4).repeat(2, 0))
    valid = np.arange(10) < np.array([2, 6])[:, None, None]
    return layer(tn.randn((2, 1, 20)), tn.ones((2, 10, 2)), values, valid).round(4).numpy().tolist()


def build() -> AdditiveAttention:
    """The layer of the book's example."""
    return AdditiveAttention(query_size=20, key_size=2, hidden=8)


NOTE = Note(
    slug="additive-attention",
    family="attention",
    title="Additive attention",
    sources="note 004; Zhang et al., Dive into Deep Learning, 10.3",
    paper="Bahdanau, Cho & Bengio 2014, Neural machine translation by jointly learning to align and translate, "
    "arXiv:1409.0473",
    text=__doc__,
    build=build,
    example=lambda: ((2, 1, 20), (2, 10, 2), (2, 10, 4)),
    no_bar="it is one layer, trained within a network by the notes on translation; here is what it computes",
    facts=[
        Fact("parameters", 20 * 8 + 2 * 8 + 8, lambda: parameter_count(build()), "h |q| + h |k| + h"),
        Fact(
            "the example of the book",
            [[[2.0, 3.0, 4.0, 5.0]], [[10.0, 11.0, 12.0, 13.0]]],
            example,
            "Dive into Deep Learning, 10.3: the means of the first two and the first six values",
        ),
    ],
    identities=[
        Identity("it is a perceptron on [k; q] with W = [W_k W_q]", _score_gap, 1e-12),
        Identity("so are its gradients", _gradient_gap, 1e-12),
    ],
    checks=lambda: [(_layer(), tuple(_inputs(QUERIES, KEYS, VALUES)))],
)
