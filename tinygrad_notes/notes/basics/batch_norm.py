"""Batch normalisation

What the notes say. Bring the mean and the variance of each mini-batch to 0 and 1, then to a shift β and a scale γ that
are learned; before the activation; along the features after an affine layer, along the channels after a convolution. It
makes training faster and allows larger learning rates; the accuracy it usually leaves as it is (notes 000, 004).

The formula, over the n numbers of a feature in the batch (and of all places, for a channel):

    μ = mean(x),   σ² = mean((x - μ)²),   x̂ = (x - μ) / √(σ² + ε),   y = γ x̂ + β

so x̂ has the mean 0 and the variance σ² / (σ² + ε), 1 but for the small ε that keeps a constant feature from a division
by 0. In use there is no batch; μ and σ² are then running means, each batch counting 0.1 (with the variance over n - 1
instead of n, as it is of a sample). All x of a feature reach all y, so the derivative

    dx = γ / √(σ² + ε) · (dy - mean(dy) - x̂ · mean(dy · x̂))

takes two parts out of the gradient: its mean, and what lies along x̂.

Where the notes are disputed. Why it works has three explanations. The paper's is that the distribution of a layer's
inputs stays put while the layers below change (internal covariate shift, ICS), which note 004 repeats; but γ and β may
move it again, and noise put in after the normalisation does no harm (Santurkar, Tsipras, Ilyas & Madry 2018, who find a
smoother loss instead). The third, also in note 004, is that the mean and the variance of a random batch are a random
shift and a random scale: injected noise, which makes dropout beside it unnecessary.

How it is trained here. One network of three convolutions and one affine layer, with and without (not LeNet: its two
affine layers in the middle would stay as they are), by plain stochastic gradient descent with momentum for a few epochs
of digits, at learning rates from 0.03 to 3, each about three times the last. A rate is survived when, at the end, most
training images are right. The bars: the largest rate survived is at least 5 times that of the network without, and at
the rate that is best for each, 0.95 of the training images are right after fewer steps; a network that never gets so
far counts as one step more than there were.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn, optim
from tinygrad_notes.data import DataLoader, digits
from tinygrad_notes.notes.cnn.cnn_recipe_lenet import LeNet
from tinygrad_notes.notes.networks import DigitNetwork
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run, parameter_count
from tinygrad_notes.training.pictures import save_picture

RATES = (0.03, 0.1, 0.3, 1.0, 3.0)
EPOCHS, BATCH, MOMENTUM = 8, 64, 0.9
WINDOW = 6  # batches over which the training accuracy is a mean
REACHED, SURVIVED = 0.95, 0.5


def train(run: Run, batch_norm: bool, rate: float, epochs: int) -> list[float]:
    """The accuracy in training, by step, over the last few batches; it ends early when the loss is no number."""
    tn.manual_seed(run.seed)
    model = DigitNetwork(batch_norm=batch_norm).to(run.device)
    loader = DataLoader(digits(size=8, seed=run.seed).train, BATCH, shuffle=True, drop_last=True)
    descent = optim.SGD(model.parameters(), lr=rate, momentum=MOMENTUM)
    right: list[float] = []
    for _ in range(epochs):
        for batch in loader:
            x, y = (field.to(run.device) for field in batch)
            descent.zero_grad()
            logits = model(x)
            loss = tn.cross_entropy(logits, y)
            if not math.isfinite(loss.item()):
                return [*smooth(right), 0.0]
            loss.backward()
            descent.step()
            right.append((logits.argmax(axis=1) == y).astype(tn.float32).mean().item())
    return smooth(right)


def smooth(values: list[float]) -> list[float]:
    """The mean of the last few values, at each place."""
    return [float(np.mean(values[max(0, i + 1 - WINDOW) : i + 1])) for i in range(len(values))]


def steps_to(accuracies: list[float], most: int) -> int:
    """The first step at which 0.95 are right, one more than ``most`` when there is none."""
    return next((i + 1 for i, value in enumerate(accuracies) if value >= REACHED), most + 1)


def demo(run: Run) -> Outcome:
    """Both networks at all rates."""
    epochs = EPOCHS if run.epochs is None else run.epochs
    names = {"with": True, "without": False}
    runs = {name: {rate: train(run, flag, rate, epochs) for rate in RATES} for name, flag in names.items()}
    most = max(len(accuracies) for found in runs.values() for accuracies in found.values())
    metrics: dict[str, float] = {}
    for name, found in runs.items():
        survived = [rate for rate, accuracies in found.items() if accuracies[-1] >= SURVIVED]
        metrics[f"largest_rate_{name}"] = max(survived, default=float("nan"))
        metrics[f"steps_{name}"] = float(min(steps_to(accuracies, most) for accuracies in found.values()))
    metrics["rate_survived_over_rate_without"] = metrics["largest_rate_with"] / metrics["largest_rate_without"]

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        for name, found in runs.items():
            left.plot(RATES, [accuracies[-1] for accuracies in found.values()], marker="o", label=name)
            best = min(found.values(), key=lambda accuracies: (steps_to(accuracies, most), -accuracies[-1]))
            right.plot(range(1, len(best) + 1), best, label=f"{name}, at its best rate")
        left.set(xscale="log", xlabel="learning rate", ylabel="training accuracy", title=f"after {epochs} epochs")
        left.axhline(SURVIVED, color="0.6", linestyle=":", label="survived above")
        right.set(xlabel="step", title="by step")
        right.axhline(REACHED, color="0.6", linestyle=":", label=f"{REACHED:g} right")
        for axes in (left, right):
            axes.grid(alpha=0.3)
            axes.legend(frameon=False)

    picture = save_picture(
        run.folder / "rates.png", "With and without batch normalisation, by learning rate", draw, (11, 5)
    )
    return Outcome(metrics, [picture])


def _batch() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((8, 3, 4, 4)) * np.array([1, 2, 5])[:, None, None] + 3


def _statistics() -> float:
    x, eps = _batch(), 1e-5
    y = nn.BatchNorm2d(3, eps=eps, dtype=tn.float64)(x).detach().numpy()
    variance = x.var(axis=(0, 2, 3))
    return float(
        max(np.abs(y.mean(axis=(0, 2, 3))).max(), np.abs(y.var(axis=(0, 2, 3)) - variance / (variance + eps)).max())
    )


def _derivative() -> float:
    rng = np.random.default_rng(0)
    x, g, gamma = _batch(), rng.standard_normal((8, 3, 4, 4)), rng.standard_normal(3)
    layer = nn.BatchNorm2d(3, dtype=tn.float64)
    layer.weight.data[...] = gamma  # type: ignore[union-attr]
    inputs = tn.asarray(x).requires_grad_()
    (layer(inputs) * tn.asarray(g)).sum().backward()

    def mean(values: np.ndarray) -> np.ndarray:
        return values.mean(axis=(0, 2, 3), keepdims=True)

    sigma = np.sqrt(x.var(axis=(0, 2, 3), keepdims=True) + layer.eps)
    standard = (x - mean(x)) / sigma
    formula = gamma[:, None, None] / sigma * (g - mean(g) - standard * mean(g * standard))
    return float(np.abs(inputs.grad.numpy() - formula).max())  # type: ignore[union-attr]


def _running() -> float:
    """After two batches the running mean is 0.9 (0.9 · 0 + 0.1 μ₁) + 0.1 μ₂, of the variance (n - 1) likewise."""
    first, second = _batch(), 2 * _batch() - 1
    layer = nn.BatchNorm2d(3, dtype=tn.float64)
    layer(first)
    layer(second)
    means, variances = (
        [f(x, axis=(0, 2, 3)) for x in (first, second)] for f in (np.mean, lambda x, axis: x.var(axis=axis, ddof=1))
    )
    off_mean = layer.running_mean.numpy() - (0.09 * means[0] + 0.1 * means[1])  # type: ignore[union-attr]
    off_variance = layer.running_var.numpy() - (0.81 + 0.09 * variances[0] + 0.1 * variances[1])  # type: ignore[union-attr]
    return float(max(np.abs(off_mean).max(), np.abs(off_variance).max()))


def _scale_of_weights() -> float:
    """Weights ten times as long, with ε = 0, change nothing: why large rates do less harm."""
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((8, 5)), rng.standard_normal((5, 3))
    layer = nn.BatchNorm1d(3, eps=0.0, dtype=tn.float64)
    return float(np.abs((layer(x @ weight) - layer(x @ (10 * weight))).detach().numpy()).max())


def _checks() -> list[tuple[Any, tuple[Any, ...]]]:
    rng = np.random.default_rng(0)
    small = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Sigmoid())
    return [
        (nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), (rng.standard_normal((6, 4)),)),
        (small, (rng.standard_normal((3, 1, 6, 6)),)),
    ]


NOTE = Note(
    slug="batch-norm",
    family="basics",
    title="Batch normalisation",
    sources="notes 000, 004; Zhang et al., Dive into Deep Learning, 7.5",
    paper="Ioffe & Szegedy 2015, arXiv:1502.03167; Santurkar, Tsipras, Ilyas & Madry 2018, arXiv:1805.11604",
    text=__doc__,
    build=DigitNetwork,
    example=lambda: (1, 1, 8, 8),
    demo=demo,
    bars=[
        Bar("rate_survived_over_rate_without", at_least=5.0),
        Bar("steps_with", at_most="steps_without"),
    ],
    facts=[
        Fact(
            "parameters it adds to LeNet's two convolutions", 2 * (6 + 16),
            lambda: parameter_count(LeNet(batch_norm=True)) - parameter_count(LeNet()), "γ and β of a channel",
        ),
        Fact(
            "share of a batch in the running means, and ε", (0.1, 1e-5),
            lambda: (nn.BatchNorm2d(1).momentum, nn.BatchNorm2d(1).eps), "PyTorch",
        ),
    ],
    identities=[
        Identity("a channel's mean is 0, its variance σ²/(σ² + ε)", _statistics, 1e-14),
        Identity("the derivative by the formula", _derivative, 1e-12),
        Identity("running means after two batches", _running, 1e-14),
        Identity("the length of the weights before it does not matter", _scale_of_weights, 1e-12),
    ],
    checks=_checks,
)  # fmt: skip
