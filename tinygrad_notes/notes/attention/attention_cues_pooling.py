"""Cues and pooling: what attention adds to a mean

What the note says. Psychology knows two cues that guide the eye: involuntary ones, what stands out by itself
(非自主性提示), and voluntary ones, what one is looking for (自主性提示). Convolutions, affine layers and pooling use
only the involuntary cue: what they take from an input depends on the input alone. Attention also has the voluntary
cue, the query. Its inputs are pairs of a key (the involuntary cue) and a value (what was sensed), and attention
pooling (注意力汇聚) chooses among the values by how well their keys fit the query:

    f(q) = Σᵢ α(q, kᵢ) vᵢ,        α(q, kᵢ) = softmaxᵢ(a(q, kᵢ)) ≥ 0,        Σᵢ α(q, kᵢ) = 1

Pooling is the special case whose weights do not depend on the query. The mean, f = (1/n) Σ vᵢ, has all weights 1/n:
that is attention whose scores are all equal, as those of a query 0 are. The maximum is attention by a value's own
size, with scores v/t whose temperature t goes to 0; the query does not matter to that either.

Where the note is silent. "Uses only involuntary cues" is about one layer. A deep network without attention may well
react to a question that is among its inputs; what it lacks is weights of the pooling that depend on it.

What a query is worth on real data is measured in the note ``nadaraya-watson``: the same pooling with weights that
depend on the query explains a fifth of what the plain mean leaves unexplained.
"""

from __future__ import annotations

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes.notes.attention._shared import normal
from tinygrad_notes.notes.attention.scaled_dot_product import attention
from tinygrad_notes.notes.note import Fact, Identity, Note, apart


def attention_pooling(query, keys, values) -> tn.Tensor:
    """Σ α(q, kᵢ) vᵢ for queries (n, d), keys (m, d) and values (m, v): the voluntary cue chooses."""
    return attention(query, keys, values)[0]


def average_pooling(values) -> tn.Tensor:
    """(1/m) Σ vᵢ: no cue but the values themselves."""
    return tn.mean(values, axis=0)


def max_pooling_by_attention(values, temperature: float) -> tn.Tensor:
    """Σ softmax(vᵢ / t) vᵢ for each feature by itself; for t → 0 the largest value."""
    return (tn.softmax(values / temperature, axis=0) * values).sum(0)


def mean_pooling_of_an_image(image) -> tn.Tensor:
    """The mean of each 2×2 window, as attention of a query 0 to the four pixels: (h, w) to (h/2, w/2)."""
    h, w = image.shape
    windows = tn.reshape(tn.swapaxes(tn.reshape(image, (h // 2, 2, w // 2, 2)), 1, 2), (-1, 4, 1))  # (windows, 4, 1)
    return tn.reshape(attention(tn.zeros_like(windows[:, :1]), windows, windows)[0], (h // 2, w // 2))


def _queries_that_cannot_choose() -> float:
    keys, values = normal(6, 4, seed=1), normal(6, 3, seed=2)
    everything = tn.broadcast_to(average_pooling(values), (5, 3))
    of_zero_query = attention_pooling(tn.zeros((5, 4), dtype="float64"), keys, values)
    of_equal_keys = attention_pooling(normal(5, 4), tn.ones((6, 4), dtype="float64"), values)
    return max(apart(of_zero_query, everything), apart(of_equal_keys, everything))


def _window_gap() -> float:
    image = normal(6, 8)
    return apart(mean_pooling_of_an_image(image), tn.avg_pool2d(image[None, None], 2)[0, 0])


def _largest_weight_follows_the_query() -> list[int]:
    """Each of four keys, as a query, chooses its own value: keys of one length fit themselves best."""
    keys = tn.normalize(normal(4, 3), axis=-1)
    return np.argmax(attention(keys, keys, keys)[1].numpy(), -1).tolist()


NOTE = Note(
    slug="attention-cues-pooling",
    family="attention",
    title="Cues and pooling: what attention adds to a mean",
    sources="note 004; Zhang et al., Dive into Deep Learning, 10.1",
    paper="James 1890, The principles of psychology; Zhang et al., Dive into Deep Learning, 10.1",
    text=__doc__,
    no_bar="it is a definition; what a query is worth on real data is measured in nadaraya-watson",
    facts=[
        Fact("a query chooses the key that is most like it", [0, 1, 2, 3], _largest_weight_follows_the_query),
    ],
    identities=[
        Identity("average pooling is attention with equal scores", _queries_that_cannot_choose, 1e-12),
        Identity("mean pooling of windows is attention of a query 0", _window_gap, 1e-12),
        Identity(
            "the maximum is attention by size, at a temperature of 0.001",
            lambda: apart(max_pooling_by_attention(normal(6, 3), 1e-3), normal(6, 3).max(0)),
            1e-12,
        ),
    ],
    checks=lambda: [
        (attention_pooling, (normal(3, 4), normal(5, 4, seed=1), normal(5, 2, seed=2))),
        (lambda values: max_pooling_by_attention(values, 0.5), (normal(5, 2),)),
    ],
)
