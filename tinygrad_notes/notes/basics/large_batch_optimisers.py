"""Large batches: the learning rate grows with them

What the note says. With larger batches the optimiser has to adapt (batch 变大如何适配): on several GPUs, raise the
batch size and the learning rate together (note 004, 高效优化算法).

The formulas. k steps at rate η on batches of size B, with g_i(θ) the mean gradient of batch i at the weights θ, lead to

    θ_k - θ_0 = -η Σ_i g_i(θ_{i-1}) ≈ -(kη) · mean_i g_i(θ_0)

On the right stands one step at rate kη on the k batches as one, of size kB: the mean of their gradients is its
gradient. The two are near as long as the gradients hardly change on the way, which is the linear scaling rule (Goyal et
al. 2017). At the beginning they do change, so the rate is warmed up, from a small one. LARS (You, Gitman & Ginsburg
2017) gives each layer its own rate, in proportion to how long its weights w are against their gradient g; λ is the
weight decay, and c, the trust coefficient, says what part of its length a layer may move by at η = 1:

    Δw = -η · c ‖w‖ / (‖g‖ + λ ‖w‖) · (g + λ w)

LAMB (You et al. 2020) does the same with Adam's direction, m̂ and ŝ its averages of g and g²:

    Δw = -η · ‖w‖ / ‖u‖ · u,      u = m̂ / (√ŝ + ε) + λ w

Where the note leaves something out. The rule has an end: for very large batches the loss is no longer flat over the
step, and no rate brings the accuracy back at the same number of epochs.

How it is trained here. A network with one hidden layer on the digits, by stochastic gradient descent with momentum, the
same number of epochs each time: batch 16 at rate 0.01; batch 256 at the same rate, at sixteen times that, and at
sixteen times that after a warm-up over a fifth of the steps; and LARS, its biases by plain steps. The bars: with
scaling and warm-up the large batch is within one point of the small one, and the rate unscaled is worse.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn, optim
from tinygrad_notes.data import digits
from tinygrad_notes.notes.basics._digit_tasks import accuracy_on_test
from tinygrad_notes.notes.basics.mlp import MLP
from tinygrad_notes.notes.classification import Recipe, train_classifier
from tinygrad_notes.notes.note import Bar, Identity, Note, Outcome, Run
from tinygrad_notes.training.pictures import save_curves

EPOCHS, SMALL, LARGE, RATE = 40, 16, 256, 0.01
TIMES = LARGE // SMALL
MOMENTUM = partial(optim.SGD, momentum=0.9)


def _recipe(batch: int, rate: float, warm_up: float, optimizer: Callable[..., optim.Optimizer] = MOMENTUM) -> Recipe:
    return Recipe(
        epochs=EPOCHS, batch=batch, learning_rate=rate, weight_decay=1e-4, warm_up=warm_up, optimizer=optimizer
    )


RECIPES = {
    "small": _recipe(SMALL, RATE, 0.0),
    "unscaled": _recipe(LARGE, RATE, 0.0),
    "scaled": _recipe(LARGE, TIMES * RATE, 0.0),
    "warmed_up": _recipe(LARGE, TIMES * RATE, 0.2),
    "lars": _recipe(LARGE, TIMES * RATE, 0.2, partial(optim.LARS, trust_coefficient=0.05)),
}


def by_layer(model: nn.Module) -> list[dict[str, Any]]:
    """Groups for LARS: weights by their length, while biases take steps as in SGD."""
    weights, others = ([p for p in model.parameters() if (p.ndim > 1) == flag] for flag in (True, False))
    return [{"params": weights}, {"params": others, "adaptive": False, "weight_decay": 0.0}]


def demo(run: Run) -> Outcome:
    """Five ways to the same number of epochs."""
    data = digits(size=8, seed=run.seed)
    metrics, curves = {}, {}
    for name, recipe in RECIPES.items():
        tn.manual_seed(run.seed)
        model = MLP(64, 128, 10)
        parameters = by_layer(model) if name == "lars" else None
        history = train_classifier(run, model, data, recipe, name=name, parameters=parameters).history
        metrics[f"test_accuracy_{name}"] = accuracy_on_test(model, data, run.device)
        warmed = ", warmed up" if recipe.warm_up else ""
        label = f"{'LARS, ' if name == 'lars' else ''}batch {recipe.batch}, rate {recipe.learning_rate:g}{warmed}"
        curves[label] = ([row["epoch"] for row in history], [row["validation_loss"] for row in history])
    metrics["small_less_warmed_up"] = metrics["test_accuracy_small"] - metrics["test_accuracy_warmed_up"]
    picture = save_curves(
        run.folder / "batches.png", f"Digits by batches of {SMALL} and of {LARGE}, as many epochs", curves, "epoch",
        "validation loss",
        logarithmic="y",
    )  # fmt: skip
    return Outcome(metrics, [picture])


def _equal_gradients() -> float:
    """k steps at η against one at kη where the gradient is the same everywhere."""
    slope = tn.asarray(np.random.default_rng(0).standard_normal(6))
    ends = []
    for steps, rate in ((TIMES, 0.01), (1, TIMES * 0.01)):
        w = tn.zeros(6, dtype=tn.float64).requires_grad_()
        descent = optim.SGD([w], lr=rate)
        for _ in range(steps):
            descent.zero_grad()
            (slope * w).sum().backward()
            descent.step()
        ends.append(w.detach().numpy())
    return float(np.abs(ends[0] - ends[1]).max())


def _second_order() -> float:
    """On a quadratic the two differ by O(η²): halving η divides the difference by 4."""
    gaps = []
    for rate in (1e-4, 5e-5):
        ends = [(1 - rate) ** TIMES, 1 - TIMES * rate]
        gaps.append(abs(ends[0] - ends[1]))
    return abs(gaps[0] / gaps[1] - 4)


def _trust(scale: float) -> float:
    """LARS's first step against its formula; the length of the gradient does not matter without decay."""
    rng = np.random.default_rng(0)
    start, gradient, decay = rng.standard_normal((4, 3)), scale * rng.standard_normal((4, 3)), 0.1
    w = tn.asarray(start.copy()).requires_grad_()
    w.grad = tn.asarray(gradient)
    optim.LARS([w], lr=0.5, weight_decay=decay, trust_coefficient=0.01).step()
    size, slope = np.linalg.norm(start), np.linalg.norm(gradient)
    step = 0.5 * 0.01 * size / (slope + decay * size) * (gradient + decay * start)
    return float(np.abs(w.detach().numpy() - (start - step)).max())


def _length(optimizer: Callable[..., optim.Optimizer], expected: float) -> float:
    """How long a first step is, of the weights' length, whatever the gradient's."""
    rng = np.random.default_rng(0)
    worst = 0.0
    for scale in (1e-3, 1.0, 1e3):
        start = rng.standard_normal((4, 3))
        w = tn.asarray(start.copy()).requires_grad_()
        w.grad = tn.asarray(scale * rng.standard_normal((4, 3)))
        optimizer([w]).step()
        moved = np.linalg.norm(w.detach().numpy() - start) / np.linalg.norm(start)
        worst = max(worst, abs(float(moved / expected) - 1))
    return worst


def _mean_gradient() -> float:
    """The gradient of a large batch is the mean of those of its parts, where the batch is not normalised."""
    tn.manual_seed(0)
    rng = np.random.default_rng(0)
    model = MLP(6, 5, 3).to(tn.float64)
    x, y = rng.standard_normal((12, 6)), rng.integers(0, 3, 12)
    parameters = list(model.parameters())

    def gradient(rows: slice) -> np.ndarray:
        found = tn.grad(tn.cross_entropy(model(x[rows]), y[rows]), parameters)
        return np.concatenate([one.numpy().ravel() for one in found])

    parts = [gradient(slice(i, i + 4)) for i in (0, 4, 8)]
    return float(np.abs(gradient(slice(0, 12)) - np.mean(parts, axis=0)).max())


def _checks() -> list[tuple[Any, tuple[Any, ...]]]:
    return [(MLP(6, 5, 3), (np.random.default_rng(0).standard_normal((4, 6)),))]


NOTE = Note(
    slug="large-batch-optimisers",
    family="basics",
    title="Large batches: the learning rate grows with them",
    sources="note 004",
    paper="Goyal et al. 2017, arXiv:1706.02677; You, Gitman & Ginsburg 2017, arXiv:1708.03888; You et al. 2020, "
    "arXiv:1904.00962",
    text=__doc__,
    build=lambda: MLP(64, 128, 10),
    example=lambda: (1, 1, 8, 8),
    demo=demo,
    bars=[
        Bar("small_less_warmed_up", at_most=0.01),
        Bar("test_accuracy_warmed_up", at_least="test_accuracy_unscaled"),
    ],
    identities=[
        Identity("the gradient of a batch is the mean of its parts'", _mean_gradient, 1e-14),
        Identity("for equal gradients, k steps at η are one at kη", _equal_gradients, 1e-15),
        Identity("on a quadratic they differ by O(η²)", _second_order, 1e-2),
        Identity("LARS by its formula", lambda: _trust(1.0), 1e-15),
        Identity("a step of LARS without decay is as long as η c times the weights", lambda: _length(
            partial(optim.LARS, lr=0.5, trust_coefficient=0.01), 0.005), 1e-12),
        Identity("the first step of LAMB without decay is as long as η times the weights", lambda: _length(
            partial(optim.LAMB, lr=0.02, weight_decay=0), 0.02), 1e-12),
    ],
    checks=_checks,
)  # fmt: skip
