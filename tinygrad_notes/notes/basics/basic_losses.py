"""The basic losses: squared and absolute error, cross-entropy, perplexity

What the note says. Three kinds of loss (note 000): the conventional one measures the output against the truth; the
contrastive one measures distances between embeddings; the adversarial one measures how far two distributions are apart.
Of the conventional ones: the mean squared error (MSE, also the content loss of style transfer and the loss of MAE), the
cross-entropy of a class, and the mean cross-entropy of a text, whose exponential is the perplexity (困惑度).

The formulas, and what ties them together: they are negative logs of likelihoods.

    MSE            mean (x - t)²               a Gaussian of fixed variance
    L1             mean |x - t|                a Laplace distribution
    cross-entropy  -Σ_k t_k log p_k            = KL(t ‖ p) + H(t), the code length of t in the code of p
    binary         -t log σ(x) - (1-t) log(1-σ(x)) = max(x, 0) - x t + log(1 + exp(-|x|))
    perplexity     exp(mean cross-entropy)     the number of equally likely tokens that would be as hard to foretell
    contrastive    ½ [s d² + (1-s) max(m - d, 0)²], of a pair with distance d, s = 1 where they are alike
    adversarial    log D + log(1 - D), at the best D = p/(p + q), is 2 JS(p, q) - 2 log 2

The right side of the binary one never takes the exponential of a large number, nor the log of a small one.

Where the note leaves something out. Note 000 speaks of the perplexity as a loss; it is the exponential of one, which is
another number but puts models in the same order. The contrastive loss is stated in its first form (Hadsell, Chopra &
LeCun 2006); InfoNCE is another note's. The adversarial one holds for the best discriminator alone (Goodfellow et al.
2014).

What is done here. There is nothing to train. Every line of the table is computed in two ways, and the picture shows why
one chooses one loss or another: what an error costs, and how hard it pulls.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes.notes.note import Fact, Identity, Note, Outcome, Run
from tinygrad_notes.training.pictures import save_picture

REGRESSION = {"squared error": tn.mse_loss, "absolute error": tn.l1_loss, "Huber": tn.huber_loss}


def perplexity(logits: Any, targets: Any) -> tn.Tensor:
    """exp of the mean cross-entropy, of logits (N, V) and tokens (N,)."""
    return tn.exp(tn.cross_entropy(logits, targets))


def contrastive_loss(a: Any, b: Any, alike: Any, margin: float = 1.0) -> tn.Tensor:
    """½ [s d² + (1 - s) max(m - d, 0)²] of pairs (N, d), averaged, for labels s (N,) of 1 where they are alike."""
    squared = ((a - b) ** 2).sum(axis=1)
    distance = tn.sqrt(squared)
    return 0.5 * (alike * squared + (1 - alike) * tn.relu(margin - distance) ** 2).mean()


def adversarial_value(discriminator: Any, real: Any, made: Any) -> tn.Tensor:
    """Σ p log D + Σ q log(1 - D), of distributions p and q over the same places, all (N,)."""
    return (real * tn.log(discriminator)).sum() + (made * tn.log(1 - discriminator)).sum()


def demo(run: Run) -> Outcome:
    """Draw what an error costs and how hard it pulls."""
    x = tn.linspace(-4, 4, 401)
    zero, one = tn.zeros(401), tn.ones(401)
    costs = {name: (lambda v, f=f: f(v, zero, reduction="none")) for name, f in REGRESSION.items()}
    classes = {
        "cross-entropy": lambda v: tn.binary_cross_entropy_with_logits(v, one, reduction="none"),
        "squared error of the sigmoid": lambda v: (tn.sigmoid(v) - 1) ** 2,
        "hinge": lambda v: tn.relu(1 - v),
    }

    def draw(figure: Any) -> None:
        grid = figure.subplots(2, 2, sharex="col")
        for column, (losses, across) in enumerate(((costs, "error"), (classes, "logit of the true class"))):
            for name, loss in losses.items():  # type: ignore[attr-defined]
                value, back = tn.vjp(loss, x)
                (slope,) = back(tn.ones_like(value))
                grid[0, column].plot(x.numpy(), value.numpy(), label=name)
                grid[1, column].plot(x.numpy(), slope.numpy(), label=name)
            grid[0, column].set(ylabel="loss", ylim=(-0.2, 6))
            grid[1, column].set(ylabel="gradient", xlabel=across)
            grid[0, column].legend(frameon=False)
        for axes in grid.ravel():
            axes.grid(alpha=0.3)

    picture = save_picture(run.folder / "losses.png", "What an error costs, and how hard it pulls", draw, (10, 7))
    wrong = tn.asarray(-8.0).requires_grad_()
    tn.binary_cross_entropy_with_logits(wrong, tn.ones(())).backward()
    flat = tn.asarray(-8.0).requires_grad_()
    ((tn.sigmoid(flat) - 1) ** 2).backward()
    return Outcome(
        {
            "pull_of_cross_entropy_at_logit_-8": abs(wrong.grad.item()),  # type: ignore[union-attr]
            "pull_of_squared_error_at_logit_-8": abs(flat.grad.item()),  # type: ignore[union-attr]
        },
        [picture],
    )


def _distributions() -> tuple[np.ndarray, np.ndarray]:
    p, q = np.random.default_rng(0).random((2, 6))
    return p / p.sum(), q / q.sum()


def _divergence(p: np.ndarray, q: np.ndarray) -> float:
    return float((p * np.log(p / q)).sum())


def _parts() -> float:
    truth, said = _distributions()
    entropy = -(truth * np.log(truth)).sum()
    return abs(tn.cross_entropy(np.log(said)[None], truth[None]).item() - _divergence(truth, said) - entropy)


def _gaussian() -> float:
    x, t = np.random.default_rng(0).standard_normal((2, 9))
    likelihood = -np.log(np.exp(-0.5 * (x - t) ** 2) / np.sqrt(2 * np.pi)).mean()
    return abs(0.5 * tn.mse_loss(x, t).item() + 0.5 * np.log(2 * np.pi) - likelihood)


def _laplace() -> float:
    x, t = np.random.default_rng(0).standard_normal((2, 9))
    return abs(tn.l1_loss(x, t).item() + np.log(2) + np.log(0.5 * np.exp(-np.abs(x - t))).mean())


def _binary() -> float:
    x, t = np.linspace(-20, 20, 41), np.random.default_rng(0).random(41)
    stable = np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))
    probability = 1 / (1 + np.exp(-x))
    plain = -t * np.log(probability) - (1 - t) * np.log(1 / (1 + np.exp(x)))
    ours = tn.binary_cross_entropy_with_logits(x, t, reduction="none").numpy()
    return float(max(np.abs(ours - stable).max(), np.abs(ours - plain).max()))


def _large() -> float:
    """At logits of ±1000, where the plain form is infinite, the loss is 1000 or 0."""
    x, t = np.array([1000.0, 1000.0, -1000.0, -1000.0]), np.array([0.0, 1.0, 0.0, 1.0])
    ours = tn.binary_cross_entropy_with_logits(x, t, reduction="none").numpy()
    return float(np.abs(ours - np.array([1000.0, 0.0, 0.0, 1000.0])).max())


def _uniform() -> float:
    return abs(perplexity(np.zeros((5, 37)), np.arange(5)).item() - 37)


def _adversarial(at_best: bool) -> float:
    """How much the value is above 2 JS(p, q) - 2 log 2, at the best discriminator or at others."""
    p, q = _distributions()
    middle = (p + q) / 2
    best = 2 * (_divergence(p, middle) + _divergence(q, middle)) / 2 - 2 * np.log(2)
    if at_best:
        return abs(adversarial_value(p / (p + q), p, q).item() - best)
    others = np.random.default_rng(1).uniform(0.01, 0.99, (100, 6))
    return max(adversarial_value(other, p, q).item() for other in others) - best


def _contrastive() -> tuple[float, ...]:
    """Pairs at distance 5 that are alike, at 5 that are not, and at 0.6 that are not, each by itself."""
    origin = np.zeros((1, 2))
    far, near = np.array([[3.0, 4.0]]), np.array([[0.6, 0.0]])
    pairs = ((far, 1.0), (far, 0.0), (near, 0.0))
    return tuple(round(contrastive_loss(tn.asarray(a), origin, np.array([s])).item(), 12) for a, s in pairs)


def _checks() -> list[tuple[Any, tuple[Any, ...]]]:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 4, 3))
    labels, alike = rng.integers(0, 3, 4), np.array([1.0, 0.0, 1.0, 0.0])
    probabilities = rng.random((3, 5)) * 0.8 + 0.1
    return [
        (tn.mse_loss, (x, y)),
        (tn.l1_loss, (x, y)),
        (lambda x: perplexity(x, labels), (x,)),
        (lambda x, t: tn.binary_cross_entropy_with_logits(x, t), (x, rng.random((4, 3)))),
        (lambda x, y: contrastive_loss(x, y, alike, margin=4.0), (x, y)),
        (adversarial_value, tuple(probabilities)),
    ]


NOTE = Note(
    slug="basic-losses",
    family="basics",
    title="The basic losses: squared and absolute error, cross-entropy, perplexity",
    sources="notes 000, 001, 004; Zhang et al., Dive into Deep Learning, 3.1, 3.4, 8.4",
    paper="Bishop 1995, Neural networks for pattern recognition, chapter 6; Hadsell, Chopra & LeCun 2006; "
    "Goodfellow et al. 2014",
    text=__doc__,
    demo=demo,
    no_bar="closed forms; the demo only draws them",
    facts=[
        Fact(
            "contrastive loss of pairs 5, 5 and 0.6 apart: alike, unlike, unlike", (12.5, 0.0, 0.08), _contrastive,
            "½ · 5², 0, ½ · 0.4²",
        )
    ],
    identities=[
        Identity("cross-entropy is divergence and entropy", _parts, 1e-14),
        Identity("half the squared error is a Gaussian's negative log likelihood, up to a constant", _gaussian, 1e-14),
        Identity("the absolute error is a Laplace distribution's, up to a constant", _laplace, 1e-14),
        Identity("binary cross-entropy of logits: the stable form and the plain one", _binary, 1e-12),
        Identity("binary cross-entropy at logits of ±1000 is exact", _large),
        Identity("a uniform guess among 37 has perplexity 37", _uniform, 1e-12),
        Identity("the adversarial value at p/(p + q) is 2 JS - 2 log 2", lambda: _adversarial(True), 1e-14),
        Identity("no discriminator has a larger value", lambda: _adversarial(False)),
    ],
    checks=_checks,
)  # fmt: skip
