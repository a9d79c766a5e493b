"""Scaled dot-product attention

What the note says. When query and key have the same length d, the cheapest score of how well they fit is their inner
product, divided by the root of d (缩放点积注意力). For n queries and m keys at once this is one product of matrices,
and attention is another one, with the values:

    a(q, k) = ⟨q, k⟩ / √d,        attention(Q, K, V) = softmax(Q Kᵀ / √d) V

The softmax is taken over the keys, so each query gets a weighted mean of the values, its weights positive and summing
to 1. A mask takes keys out: their scores become -∞ before the softmax, their weights 0 after it.

Why the root. If the entries of q and k are independent with mean 0 and variance 1, then ⟨q, k⟩ has mean 0 and
variance d. Undivided, scores grow with √d: the softmax ends close to one-hot, where its derivative is close to 0.
Divided by √d, the variance is 1 for every d, and training can move the weights.

Where the note is wrong. Its running text lost the radical sign and reads "⟨q, k⟩/d" and "QKᵀ/d"; the formulas beside
it have √d. Division by d is not a matter of taste: the variance becomes 1/d, so for large d all scores are nearly 0,
all weights nearly 1/m, and attention is no better than the plain mean of the values. The picture of the demo shows
the three choices side by side: no division, the root, and d itself.

The fused kernel behind ``tn.scaled_dot_product_attention`` never writes the whole matrix of weights (n × m) to
memory. What it must agree with, in value and gradients, is ``attention`` below, which is the formula and nothing
else.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes.notes.attention._shared import gradients, normal
from tinygrad_notes.notes.note import Fact, Identity, Note, Outcome, Run, apart
from tinygrad_notes.training.pictures import save_curves

SCALES = {"not divided": lambda d: 1.0, "divided by √d": lambda d: 1 / math.sqrt(d), "divided by d": lambda d: 1 / d}


def attention(query, key, value, mask=None, scale: float | None = None) -> tuple[tn.Tensor, tn.Tensor]:
    """softmax(scale · Q Kᵀ) V by the formula, and the weights.

    query (..., n, d), key (..., m, d), value (..., m, v); the results are (..., n, v) and (..., n, m). ``mask``, which
    broadcasts to the weights, is True where a query may look. ``scale``: None for 1/√d.
    """
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query @ tn.swapaxes(key, -2, -1)) * scale  # (..., n, m)
    if mask is not None:
        scores = tn.where(mask, scores, -np.inf)
    weights = tn.softmax(scores, axis=-1)
    return weights @ value, weights


def _operands(dtype: str = "float64", width: int = 8) -> tuple[tn.Tensor, tn.Tensor, tn.Tensor]:
    """Queries (2, 3, 7, width), keys (2, 3, 9, width) and values (2, 3, 9, 5)."""
    query, key, value = normal(2, 3, 7, width), normal(2, 3, 9, width, seed=1), normal(2, 3, 9, 5, seed=2)
    return query.astype(dtype), key.astype(dtype), value.astype(dtype)


def _mask() -> np.ndarray:
    mask = np.random.default_rng(3).random((7, 9)) < 0.6
    mask[:, 0] = True  # every query sees something
    return mask


def _value_gap(dtype: str, width: int = 8) -> float:
    operands = _operands(dtype, width)
    return max(
        apart(attention(*operands, mask)[0], tn.scaled_dot_product_attention(*operands, mask))
        for mask in (None, _mask())
    )


def _gradient_gap() -> float:
    ours = gradients(lambda q, k, v: attention(q, k, v, _mask())[0], _operands())
    return apart(ours, gradients(lambda q, k, v: tn.scaled_dot_product_attention(q, k, v, _mask()), _operands()))


def variance(d: int, scale: float) -> float:
    """Of ``scale`` · ⟨q, k⟩ over all q and k with entries 1 and -1, whose entries have mean 0 and variance 1."""
    vectors = np.array(list(itertools.product((-1.0, 1.0), repeat=d)))
    return float((vectors @ vectors.T * scale).var())


def example() -> np.ndarray:
    """Equal keys, of which two in the first example are valid and six in the second."""
    keys, values = tn.ones((2, 10, 2)), tn.asarray(np.arange(40.0).reshape(1, 10, 4).repeat(2, 0))
    valid = np.arange(10) < np.array([2, 6])[:, None, None]
    return attention(normal(2, 1, 2), keys, values, valid)[0].round(6).numpy()


def _convexity() -> float:
    """How far an output leaves the range of the values it is a mean of."""
    query, key, value = _operands()
    out = attention(query, key, value)[0].data
    low, high = value.data.min(-2, keepdims=True), value.data.max(-2, keepdims=True)
    return float(max((low - out).max(), (out - high).max(), 0.0))


def demo(run: Run) -> Outcome:
    """How peaked the weights are, and how much gradient gets through them, as the queries become longer."""
    tn.manual_seed(run.seed)
    widths = [2**i for i in range(1, 11)]
    largest: dict[str, list[float]] = {name: [] for name in SCALES}
    slopes: dict[str, list[float]] = {name: [] for name in SCALES}
    for d in widths:
        query, key, value = tn.randn((200, d)), tn.randn((32, d)), tn.randn((32, 1))
        for name, scale in SCALES.items():
            weights = attention(query, key, value, scale=scale(d))[1].numpy()
            largest[name].append(float(weights.max(-1).mean()))
            # The derivative of a weight by its own score is p (1 - p).
            slopes[name].append(float((weights * (1 - weights)).sum(-1).mean()))
    pictures = [
        save_curves(
            run.folder / f"{file}.png",
            title,
            {n: (widths, y) for n, y in curves.items()},
            "length d of a query",
            up,
            "x",
        )
        for file, title, up, curves in (
            ("largest", "32 keys: the largest weight of a query", "largest weight (mean of 200 queries)", largest),
            ("slopes", "32 keys: how much a change of the scores changes the weights", "Σ p (1 - p)", slopes),
        )
    ]
    metrics = {f"largest weight at d=1024, {name}": values[-1] for name, values in largest.items()}
    metrics |= {f"slope at d=1024, {name}": values[-1] for name, values in slopes.items()}
    return Outcome(metrics, pictures)


NOTE = Note(
    slug="scaled-dot-product",
    family="attention",
    title="Scaled dot-product attention",
    sources="note 004; Zhang et al., Dive into Deep Learning, 10.3",
    paper="Vaswani et al. 2017, Attention is all you need, 3.2.1, arXiv:1706.03762",
    text=__doc__,
    demo=demo,
    no_bar="it has no parameters: the demo shows what the divisor does, and the identities say what must hold",
    facts=[
        Fact(
            "the example of the book",
            [[[2.0, 3.0, 4.0, 5.0]], [[10.0, 11.0, 12.0, 13.0]]],
            lambda: example().tolist(),
            "Dive into Deep Learning, 10.3: the means of the first two and the first six values",
        ),
        Fact("variance of ⟨q, k⟩ for d = 8", 8.0, lambda: variance(8, 1.0), "d"),
        Fact("variance of ⟨q, k⟩ / d for d = 8", 1 / 8, lambda: variance(8, 1 / 8), "1/d, the note's misprint"),
    ],
    identities=[
        Identity("the fused kernel is the formula (float32)", lambda: _value_gap("float32", 64), 1e-5),
        Identity("the fused kernel is the formula (float64)", lambda: _value_gap("float64"), 1e-12),
        Identity("so are its gradients by query, key and value", _gradient_gap, 1e-12),
        Identity(
            "⟨q, k⟩ / √d has variance 1, for d from 1 to 8",
            lambda: max(abs(variance(d, 1 / math.sqrt(d)) - 1) for d in range(1, 9)),
            1e-12,
        ),
        Identity(
            "the weights of a query sum to 1",
            lambda: apart(attention(*_operands(), _mask())[1].sum(-1), np.ones((2, 3, 7))),
            1e-12,
        ),
        Identity(
            "a masked key has no weight", lambda: float(attention(*_operands(), _mask())[1].data[..., ~_mask()].max())
        ),
        Identity("the result lies between the values", _convexity, 1e-12),
    ],
    checks=lambda: [(lambda q, k, v: attention(q, k, v, _mask())[0], _operands(width=3))],
)
