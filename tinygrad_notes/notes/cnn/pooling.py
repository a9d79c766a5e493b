"""Pooling: the largest, the mean, and the mean of everything

What the note says. Max pooling (最大池化) and average pooling (平均池化) make images smaller; global average pooling
(全局平均池化) makes one number of each channel. In the language of attention they use involuntary cues only
(非自主性提示): what stands out is taken, or everything alike. Nothing asks for anything, there is no query.

The formula. For windows of k×k with stride s (k unless said otherwise), for each channel by itself:

    max:     y[i, j] = max over u, v < k of x[i·s + u, j·s + v]
    mean:    y[i, j] = (1/k²) Σ_u Σ_v x[i·s + u, j·s + v]
    global:  y = (1/HW) Σ_i Σ_j x[i, j]

The gradient of a mean is shared by its window, 1/k² each. That of a maximum goes whole to where it stood. Where
several pixels are largest it goes to the first in reading order, by convention: any would do, as there is a kink.

Seen as other things. Average pooling is a convolution of each channel by itself (depthwise) whose weights are all 1/k²
and are not trained. It is also attention with equal weights; and attention whose logits are t times the values
themselves, y = Σ x softmax(t x), is the mean for t = 0 and the maximum for t → ∞. No query enters any of them.

Where the papers are. LeNet's pooling is a mean with a trained scale; the maximum is of Riesenhuber & Poggio (1999) and
won with AlexNet; global pooling is of Lin, Chen & Yan (2013). Scherer, Müller & Behnke (2010) compare them.

How it is shown here. The picture shows what each leaves of a real digit. The metrics say what pooling is for: how far
digits move, relative to their size, when they are shifted by one pixel, as they are and pooled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.data import digits
from tinygrad_notes.notes.note import Fact, Identity, Note, Outcome, Run
from tinygrad_notes.training.pictures import save_maps


def _x() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, 3, 8, 6))


def _windows(x: np.ndarray, k: int) -> np.ndarray:
    """(N, C, H, W) as windows side by side, (N, C, H/k, W/k, k²)."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // k, k, w // k, k).swapaxes(3, 4).reshape(n, c, h // k, w // k, k * k)


def attention_pool(x: np.ndarray, k: int, temperature: float) -> np.ndarray:
    """Σ x softmax(t x) over every window, the values being their own keys: 0 is the mean, ∞ the maximum."""
    values = _windows(x, k)
    return (tn.softmax(temperature * values, axis=-1) * values).sum(axis=-1).numpy()


def _depthwise_error() -> float:
    """Average pooling against a convolution of each channel with 1/k²: values and gradients, overlapping too."""
    g, worst = np.random.default_rng(1), 0.0
    for k, stride, padding in ((2, 2, 0), (3, 2, 1), (3, 1, 1)):
        weight = np.full((3, 1, k, k), 1 / k**2)
        pooled, pull = tn.vjp(lambda x: tn.avg_pool2d(x, k, stride, padding), tn.asarray(_x()))  # noqa: B023
        convolved, pull_too = tn.vjp(
            lambda x: tn.conv2d(x, weight, None, stride, padding, groups=3),  # noqa: B023
            tn.asarray(_x()),
        )
        cotangent = tn.asarray(g.standard_normal(pooled.shape))
        pairs = (pooled, convolved), (_single(pull(cotangent)), _single(pull_too(cotangent)))
        worst = max(worst, *(float(np.abs(a.data - b.data).max()) for a, b in pairs))
    return worst


def _single(gradients: Any) -> tn.Tensor:
    return gradients[0] if isinstance(gradients, tuple) else gradients


def _uniform_attention_error() -> float:
    return float(np.abs(attention_pool(_x(), 2, 0.0) - tn.avg_pool2d(_x(), 2).data).max())


def _sharp_attention_error() -> float:
    return float(np.abs(attention_pool(_x(), 2, 1e5) - tn.max_pool2d(_x(), 2).data).max())


def _global_error() -> float:
    """Global average pooling, the mean over both axes, and average pooling with one window."""
    x = _x()
    ways = nn.AdaptiveAvgPool2d(1)(x).data[..., 0, 0], tn.avg_pool2d(x, (8, 6)).data[..., 0, 0]
    return max(float(np.abs(way - x.mean((2, 3))).max()) for way in ways)


def _routing_error() -> float:
    """The gradient of max pooling against one written down with argmax, which also takes the first of equals."""
    x = np.random.default_rng(0).integers(0, 3, (2, 3, 8, 6)).astype(float)  # many ties
    values = _windows(x, 2)
    g = np.random.default_rng(1).standard_normal(values.shape[:-1])
    routed = np.zeros_like(values)
    np.put_along_axis(routed, values.argmax(-1)[..., None], g[..., None], axis=-1)
    _, pull = tn.vjp(lambda x: tn.max_pool2d(x, 2), tn.asarray(x))
    return float(np.abs(_windows(_single(pull(tn.asarray(g))).numpy(), 2) - routed).max())


def _book_example(pool: Callable[..., tn.Tensor]) -> list[list[float]]:
    return pool(np.arange(9.0).reshape(1, 1, 3, 3), 2, stride=1).numpy()[0, 0].tolist()


def _tie() -> list[list[float]]:
    x = tn.ones((1, 1, 2, 2), dtype=tn.float64).requires_grad_()
    return tn.grad(tn.max_pool2d(x, 2).sum(), x).numpy()[0, 0].tolist()


def demo(run: Run) -> Outcome:
    """What each pooling leaves of a digit, and how far a shift by one pixel moves what is left."""
    data = digits(size=28, validation=0, seed=run.seed)
    images = data.train.tensors[0].numpy() - np.float32(data.background)  # an empty pixel is 0
    shifted = np.roll(images, 1, axis=3)  # the border of 2 pixels is empty
    ways: dict[str, Callable[[np.ndarray], tn.Tensor]] = {
        "no pooling": lambda x: tn.asarray(x),
        "average pooling 2×2": lambda x: tn.avg_pool2d(x, 2),
        "average pooling 4×4": lambda x: tn.avg_pool2d(x, 4),
        "global average pooling": lambda x: tn.avg_pool2d(x, 28),
        "max pooling 2×2": lambda x: tn.max_pool2d(x, 2),
        "max pooling 4×4": lambda x: tn.max_pool2d(x, 4),
    }
    metrics, maps = {}, {}
    for name, way in ways.items():
        here, there = way(images).numpy(), way(shifted).numpy()
        change = np.linalg.norm((there - here).reshape(len(here), -1), axis=1)
        size = np.linalg.norm(here.reshape(len(here), -1), axis=1)
        metrics[f"moved_by_a_shift_{name.replace('×', 'x').replace(' ', '_')}"] = float((change / size).mean())
        maps[name] = here[0, 0]
    picture = save_maps(run.folder / "pooled.png", "What pooling leaves of a digit", maps, columns=3, colours="gray_r")
    return Outcome(metrics, [picture])


def _checks() -> list[tuple[Callable[..., Any], tuple[Any, ...]]]:
    x = _x()
    return [
        (lambda x: tn.max_pool2d(x, 3, 2, 1), (x,)),
        (lambda x: tn.avg_pool2d(x, 3, 2, 1), (x,)),
        (nn.AdaptiveAvgPool2d(1), (x,)),
    ]


NOTE = Note(
    slug="pooling",
    family="cnn",
    title="Pooling: the largest, the mean, and the mean of everything",
    sources="notes 000, 004; Zhang et al., Dive into Deep Learning, 6.5 and 10.1",
    paper="Scherer, Müller & Behnke 2010, Evaluation of pooling operations in convolutional architectures",
    text=__doc__,
    demo=demo,
    no_bar="there is nothing to train; how far a shift moves what is left is reported",
    facts=[
        Fact(
            "2×2 maxima of 0 to 8",
            [[4.0, 5.0], [7.0, 8.0]],
            lambda: _book_example(tn.max_pool2d),
            "Dive into Deep Learning, 6.5",
        ),
        Fact(
            "2×2 means of 0 to 8",
            [[2.0, 3.0], [5.0, 6.0]],
            lambda: _book_example(tn.avg_pool2d),
            "Dive into Deep Learning, 6.5",
        ),
        Fact("of four equal pixels the first gets the gradient", [[1.0, 0.0], [0.0, 0.0]], _tie, "convention"),
    ],
    identities=[
        Identity("average pooling is a depthwise convolution with 1/k²", _depthwise_error, at_most=1e-12),
        Identity("average pooling is attention with equal weights", _uniform_attention_error, at_most=1e-12),
        Identity("max pooling is its limit, with the values as logits", _sharp_attention_error, at_most=1e-12),
        Identity("global average pooling is the mean of each channel", _global_error, at_most=1e-12),
        Identity("the gradient of max pooling goes to the first maximum", _routing_error),
    ],
    checks=_checks,
)
