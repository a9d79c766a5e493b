"""The perceptron and what its bias means

What the note says. A perceptron fires when the weighted sum of its inputs exceeds a threshold, Σ_i w_i x_i > T. Let the
threshold be learned like a weight and bring it to the left: Σ_i w_i x_i - T > 0. With b = -T that is

    x·w + b > 0

so the bias (偏置) says how hard the unit is to activate: the more negative, the more the inputs must bring.

The rule (Rosenblatt 1958). Labels are t = ±1. For an example that is on the wrong side, t (x·w + b) ≤ 0,

    w ← w + t x,   b ← b + t

and nothing otherwise. If some unit vector (w*, b*) separates the examples with margin γ, t (x·w* + b*) ≥ γ, and every
(x, 1) is no longer than R, then the rule makes at most (R / γ)² mistakes in all, in any order (Novikoff 1962): each
mistake adds at least γ to the product with (w*, b*), and at most R² to the square of the length.

Where the note leaves something out. The inequality signs were lost in the copy that survives; they are restored above.
The step has no gradient to speak of, 0 nearly everywhere, which is why what came after it is smooth: the last check
below is that of the unit with a sigmoid in the place of the step.

What is done here. Fisher's iris: setosa against the two other species can be separated by a plane, so that the rule
ends without a mistake. Then one input, the length of the petal, is swept while the others stay: the unit flips where
the weighted sum passes -b. Without a bias the plane must go through the origin. It can do so here too, where all
measurements are positive; the demo reports the mistakes of both. It need not: of the numbers 1 and 2 on a line, a unit
that fires for 2 alone has to have a threshold, as any weight that fires for 2 fires for 1 too.
"""

from __future__ import annotations

import numpy as np

from tinygrad_notes import nn
from tinygrad_notes.data import iris
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run
from tinygrad_notes.training.pictures import save_curves

EPOCHS = 100
PETAL_LENGTH = 2  # the feature that is swept
SETOSA = 0


class Perceptron:
    """A unit of step activation for inputs (n, features); ``bias=False`` holds b at 0."""

    def __init__(self, features: int, bias: bool = True):
        self.w, self.b, self.bias = np.zeros(features), 0.0, bias

    def activation(self, x: np.ndarray) -> np.ndarray:
        """x·w + b, (n,)."""
        return x @ self.w + self.b

    def fires(self, x: np.ndarray) -> np.ndarray:
        """Whether the unit fires, (n,)."""
        return self.activation(x) > 0

    def learn(self, x: np.ndarray, t: np.ndarray, epochs: int) -> list[int]:
        """Rosenblatt's rule for labels ``t`` of ±1, until an epoch is without a mistake. The mistakes of each epoch."""
        mistakes: list[int] = []
        while len(mistakes) < epochs and (not mistakes or mistakes[-1]):
            wrong = 0
            for row, label in zip(x, t):
                if label * (row @ self.w + self.b) <= 0:
                    self.w += label * row
                    self.b += label * self.bias
                    wrong += 1
            mistakes.append(wrong)
        return mistakes


def setosa() -> tuple[np.ndarray, np.ndarray]:
    """All 150 flowers in centimetres, (150, 4), and +1 for setosa, -1 for the others."""
    table = iris(standardise=False, dtype="float64")
    parts = [part.tensors for part in (table.train, table.test)]
    x = np.concatenate([features.numpy() for features, _ in parts])
    t = np.concatenate([np.where(labels.numpy() == SETOSA, 1, -1) for _, labels in parts])
    return x, t


def bound(x: np.ndarray, t: np.ndarray, unit: Perceptron) -> float:
    """(R / γ)², with the margin γ of what ``unit`` learned, for inputs with their constant 1."""
    whole = np.append(x, np.ones((len(x), 1)), axis=1)
    separating = np.append(unit.w, unit.b)
    margin = (t * (whole @ separating)).min() / np.linalg.norm(separating)
    return float((np.linalg.norm(whole, axis=1).max() / margin) ** 2)


def flips_at(unit: Perceptron, x: np.ndarray, feature: int, values: np.ndarray) -> float:
    """The weighted sum without the bias where the unit flips in a sweep, halfway between two places."""
    swept = np.repeat(x[None], len(values), axis=0)
    swept[:, feature] = values
    fires = unit.fires(swept)
    (changes,) = np.nonzero(fires[1:] != fires[:-1])
    sums = swept @ unit.w
    return float((sums[changes[0]] + sums[changes[0] + 1]) / 2)


def demo(run: Run) -> Outcome:
    """Learn iris with and without a bias, and find by a sweep where the unit flips."""
    x, t = setosa()
    order = np.random.default_rng(run.seed).permutation(len(x))
    x, t = x[order], t[order]
    epochs = EPOCHS if run.epochs is None else run.epochs
    unit, unbiased = Perceptron(4), Perceptron(4, bias=False)
    mistakes, mistakes_without = unit.learn(x, t, epochs), unbiased.learn(x, t, epochs)
    values = np.linspace(0, 10, 100_001)
    metrics = {
        "errors": float((unit.fires(x) != (t > 0)).sum()),
        "epochs": float(len(mistakes)),
        "mistakes": float(sum(mistakes)),
        "most_mistakes_by_the_theorem": bound(x, t, unit) if not mistakes[-1] else float("inf"),
        "threshold": -unit.b,
        "weighted_sum_where_it_flips": flips_at(unit, x.mean(axis=0), PETAL_LENGTH, values),
        "errors_without_bias": float((unbiased.fires(x) != (t > 0)).sum()),
    }
    metrics["threshold_missed_by"] = abs(metrics["threshold"] - metrics["weighted_sum_where_it_flips"])
    curves = {
        name: (list(range(1, len(found) + 1)), found)
        for name, found in (("with bias", mistakes), ("without", mistakes_without))
    }
    picture = save_curves(
        run.folder / "mistakes.png", "Mistakes of the perceptron, setosa against the rest", curves, "epoch", "mistakes"
    )
    return Outcome(metrics, [picture])


def _threshold_against_bias() -> float:
    rng = np.random.default_rng(0)
    unit, x = Perceptron(5), rng.standard_normal((1000, 5))
    unit.w, threshold = rng.standard_normal(5), 0.7
    unit.b = -threshold
    return float((unit.fires(x) != (x @ unit.w > threshold)).sum())


def _and(x1: float, x2: float) -> float:
    unit = Perceptron(2)
    unit.w, unit.b = np.ones(2), -1.5
    return float(unit.fires(np.array([[x1, x2]]))[0])


def _one_and_two(bias: bool) -> int:
    """Errors on 1 (not to fire) and 2 (to fire) after a hundred epochs of the rule."""
    unit, x, t = Perceptron(1, bias), np.array([[1.0], [2.0]]), np.array([-1, 1])
    unit.learn(x, t, 100)
    return int((unit.fires(x) != (t > 0)).sum())


def _checks() -> list[tuple[nn.Module, tuple[np.ndarray]]]:
    return [(nn.Sequential(nn.Linear(4, 1), nn.Sigmoid()), (np.random.default_rng(0).standard_normal((6, 4)),))]


NOTE = Note(
    slug="perceptron-bias",
    family="basics",
    title="The perceptron and what its bias means",
    sources="note 003",
    paper="Rosenblatt 1958, The perceptron; Novikoff 1962, On convergence proofs for perceptrons",
    text=__doc__,
    build=lambda: nn.Linear(4, 1),
    example=lambda: (1, 4),
    demo=demo,
    bars=[
        Bar("errors", at_most=0),
        Bar("mistakes", at_most="most_mistakes_by_the_theorem"),
        Bar("threshold_missed_by", at_most=1e-3),
    ],
    facts=[
        Fact(
            "errors on 1 (not to fire) and 2 (to fire), with a bias and without",
            (0, 1),
            lambda: (_one_and_two(True), _one_and_two(False)),
            "w > 0 fires for both, w ≤ 0 for none",
        )
    ],
    identities=[
        Identity("a threshold T and a bias of -T fire for the same of 1000 inputs", _threshold_against_bias),
        Identity(
            "weights 1, 1 and bias -1.5 are AND, by its table of truth",
            lambda: sum(abs(_and(a, b) - (a and b)) for a in (0, 1) for b in (0, 1)),
        ),
    ],
    checks=_checks,
)
