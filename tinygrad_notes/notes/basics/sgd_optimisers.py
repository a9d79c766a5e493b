"""Stochastic gradient descent, momentum, Adam

What the note says. Learn by mini-batches; choose the batch size by the memory there is, and then tune the learning rate
(学习率) and the number of epochs.

The formulas, for the gradient g at the weights θ:

    SGD        θ ← θ - η g
    momentum   v ← μ v + g,   θ ← θ - η v                                                   Polyak 1964
    Adam       m ← β₁ m + (1-β₁) g,   s ← β₂ s + (1-β₂) g²,   θ ← θ - η m̂ / (√ŝ + ε)           Kingma & Ba 2015
    AdamW      the same, and θ ← θ - η λ θ beside it                               Loshchilov & Hutter 2019

with m̂ = m / (1 - β₁ᵗ), ŝ = s / (1 - β₂ᵗ), which undo that both averages begin at 0. So Adam's first step is η in every
weight, by the sign of its gradient alone.

On a quadratic, ½ λ θ², all is known. SGD multiplies θ by 1 - ηλ at each step and diverges above η = 2/λ. With momentum
(θ, v) is multiplied by a matrix, whose powers are the trace below; it converges to the last where η < 2(1 + μ)/λ.

Where the note leaves something out. "Momentum" is two rules: here, as in PyTorch, the rate stands outside of the
average, in other texts v ← μ v - η g; they agree while the rate is constant.

What is done here. Every trace against its closed form. The demo lets each walk the valley of Rosenbrock's function,
(1 - x)² + 100 (y - x²)², whose least is at (1, 1), and draws where they went. Nothing is learned from data there, so no
bar: which of them wins depends on the rates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import optim
from tinygrad_notes.notes.note import Identity, Note, Outcome, Run
from tinygrad_notes.training.pictures import save_picture

STEPS, START = 2000, (-1.5, 1.5)
WALKERS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "SGD": lambda w: optim.SGD(w, lr=1e-3),
    "momentum": lambda w: optim.SGD(w, lr=5e-4, momentum=0.9),
    "Adam": lambda w: optim.Adam(w, lr=3e-2),
    "AdamW": lambda w: optim.AdamW(w, lr=3e-2, weight_decay=1e-2),
}


def rosenbrock(w: Any) -> tn.Tensor:
    """(1 - x)² + 100 (y - x²)² of w = (x, y)."""
    return (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2


def walk(
    loss: Callable[[Any], tn.Tensor], start: Any, make: Callable[[Any], optim.Optimizer], steps: int
) -> np.ndarray:
    """Where an optimiser goes, (steps + 1, ...)."""
    w = tn.asarray(np.array(start, dtype=np.float64)).requires_grad_()
    optimizer = make([w])
    places = [w.detach().numpy().copy()]
    for _ in range(steps):
        optimizer.zero_grad()
        loss(w).backward()
        optimizer.step()
        places.append(w.detach().numpy().copy())
    return np.stack(places)


def demo(run: Run) -> Outcome:
    """Four walks down a curved valley."""
    steps = STEPS if run.epochs is None else run.epochs
    paths = {name: walk(rosenbrock, START, make, steps) for name, make in WALKERS.items()}
    x, y = np.meshgrid(np.linspace(-2, 2, 201), np.linspace(-1, 3, 201))
    height = (1 - x) ** 2 + 100 * (y - x**2) ** 2

    def draw(figure: Any) -> None:
        grid = figure.subplots(2, 2, sharex=True, sharey=True)
        for axes, (name, path) in zip(grid.ravel(), paths.items()):
            axes.contour(x, y, height, levels=np.logspace(-1, 3.3, 12), colors="0.75", linewidths=0.7)
            axes.plot(path[:, 0], path[:, 1], linewidth=1.2)
            axes.plot(*START, "o", markersize=5, color="0.3")
            axes.plot(1, 1, "*", markersize=11, color="#c62828")
            axes.plot(*path[-1], "x", markersize=8, color="black")
            axes.set(title=f"{name}, ends at ({path[-1][0]:.3f}, {path[-1][1]:.3f})", xlim=(-2, 2), ylim=(-1, 3))

    picture = save_picture(
        run.folder / "rosenbrock.png", f"{steps} steps from the dot towards the star, to the cross", draw, (10, 8)
    )
    ends = {
        f"distance_of_{name}": float(np.linalg.norm(path[-1] - 1)) for name, path in paths.items() if name != "AdamW"
    }
    return Outcome(ends, [picture])


CURVATURES = np.array([0.5, 1.0, 4.0])
WALKERS_ON_QUADRATIC: dict[str, Callable[[Any], optim.Optimizer]] = {
    "SGD": lambda w: optim.SGD(w, lr=0.1),
    "momentum": lambda w: optim.SGD(w, lr=0.1, momentum=0.8),
}


def _quadratic(w: Any) -> tn.Tensor:
    return 0.5 * (tn.asarray(CURVATURES) * w * w).sum()


def _descent() -> float:
    places = walk(_quadratic, [1.0, -2.0, 3.0], WALKERS_ON_QUADRATIC["SGD"], 20)
    powers = (1 - 0.1 * CURVATURES) ** np.arange(21)[:, None]
    return float(np.abs(places - powers * [1.0, -2.0, 3.0]).max())


def _momentum() -> float:
    """(θ, v) ← M (θ, v) with v' = μ v + λθ and θ' = θ - η v'."""
    places = walk(_quadratic, [1.0, -2.0, 3.0], WALKERS_ON_QUADRATIC["momentum"], 20)
    worst = 0.0
    for i, (start, curvature) in enumerate(zip((1.0, -2.0, 3.0), CURVATURES)):
        step = np.array([[1 - 0.1 * curvature, -0.1 * 0.8], [curvature, 0.8]])
        trace = [(np.linalg.matrix_power(step, t) @ [start, 0.0])[0] for t in range(21)]
        worst = max(worst, float(np.abs(places[:, i] - trace).max()))
    return worst


def _limit() -> float:
    """At η = 2/λ a step of SGD only turns the sign; momentum bears (1 + μ) times as much."""
    sgd = walk(lambda w: 2.0 * w * w, 1.0, lambda w: optim.SGD(w, lr=0.5), 7)
    momentum = walk(lambda w: 2.0 * w * w, 1.0, lambda w: optim.SGD(w, lr=0.5, momentum=0.8), 400)
    return float(np.abs(np.abs(sgd) - 1).max() + abs(momentum[-1]))


def _first_step() -> float:
    start = np.array([1e-3, -2.0, 300.0])
    places = walk(_quadratic, start, lambda w: optim.Adam(w, lr=0.1, eps=0.0), 1)
    return float(np.abs(places[1] - (start - 0.1 * np.sign(start))).max())


def _adam(decay: float) -> float:
    """Ten steps against the rule written out; ``decay`` by AdamW's rule."""
    start = np.array([1.0, -2.0, 3.0])
    make = (lambda w: optim.AdamW(w, lr=0.1, weight_decay=decay)) if decay else (lambda w: optim.Adam(w, lr=0.1))
    places = walk(_quadratic, start, make, 10)
    w, m, s = start.copy(), np.zeros(3), np.zeros(3)
    worst = 0.0
    for t in range(1, 11):
        g = CURVATURES * w
        m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g * g
        w = w * (1 - 0.1 * decay) - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(s / (1 - 0.999**t)) + 1e-8)
        worst = max(worst, float(np.abs(places[t] - w).max()))
    return worst


def _scale() -> float:
    """Adam with ε = 0 walks the same where the loss is a thousand times as large."""

    def larger(w: Any) -> tn.Tensor:
        return 1000.0 * _quadratic(w)

    walks = [walk(f, [1.0, -2.0, 3.0], lambda w: optim.Adam(w, lr=0.1, eps=0.0), 10) for f in (_quadratic, larger)]
    return float(np.abs(walks[0] - walks[1]).max())


def _checks() -> list[tuple[Any, tuple[Any, ...]]]:
    return [(rosenbrock, (np.array([-1.5, 1.5]),)), (_quadratic, (np.array([1.0, -2.0, 3.0]),))]


NOTE = Note(
    slug="sgd-optimisers",
    family="basics",
    title="Stochastic gradient descent, momentum, Adam",
    sources="note 004; Zhang et al., Dive into Deep Learning, 11",
    paper="Polyak 1964; Kingma & Ba 2015, arXiv:1412.6980; Loshchilov & Hutter 2019, arXiv:1711.05101",
    text=__doc__,
    demo=demo,
    no_bar="traces against closed forms; which optimiser wins on Rosenbrock's function depends on the rates",
    identities=[
        Identity("SGD on a quadratic: powers of 1 - ηλ", _descent, 1e-14),
        Identity("momentum on a quadratic: powers of its matrix", _momentum, 1e-13),
        Identity("SGD turns the sign at η = 2/λ, where momentum converges", _limit, 1e-12),
        Identity("Adam's first step is η by the sign of the gradient", _first_step, 1e-12),
        Identity("Adam by its rule", lambda: _adam(0.0), 1e-14),
        Identity("AdamW by its rule", lambda: _adam(0.05), 1e-14),
        Identity("Adam does not see the scale of the loss", _scale, 1e-12),
    ],
    checks=_checks,
)
