"""Rules of thumb for the batch size

What the note says. Neither too large nor too small. Up to about ten times the number of classes is easy to fit; a large
batch on a small model holds much the same image many times over: waste, and some overfitting (note 004).

What can be said exactly. A batch of B of N examples, drawn without repetition, has a gradient whose mean is that of
all, and whose variance is

    Var = σ²/B · (N - B)/(N - 1),      σ² the variance over single examples

so B times the work buys a √B-th of the noise. That is the waste the note means. Noise is not only harmful: it has been
found that large batches end in sharper minima, which generalise less well (Keskar et al. 2017).

Where the note is to be read with care. "Ten times the number of classes" is a rule of thumb without a source, and "the
same image many times over" is true of data, not of batches: without repetition a batch has none twice. Both are
reported below and neither is asserted.

What is done here. A network with one hidden layer on the digits at batch sizes from 1 to 500, with the same number of
epochs, once at one learning rate for all, and once with a rate in proportion to the root of the batch size, as Adam's
steps have it (Malladi et al. 2022): accuracy, and images per second of forward, backward and update. With ten classes,
the rule's batch is 100.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes.data import digits
from tinygrad_notes.notes.basics._digit_tasks import accuracy_on_test
from tinygrad_notes.notes.basics.mlp import MLP
from tinygrad_notes.notes.classification import Recipe, train_classifier
from tinygrad_notes.notes.note import Identity, Note, Outcome, Run
from tinygrad_notes.training.pictures import save_picture

SIZES = (1, 10, 50, 100, 200, 500)
EPOCHS, RATE, AT = 5, 1e-3, 10  # the rate is that of batches of ten


def demo(run: Run) -> Outcome:
    """Accuracy and speed by batch size, at one rate and at rates that grow."""
    data = digits(size=8, seed=run.seed)
    metrics: dict[str, float] = {}
    accuracies: dict[str, list[float]] = {"one rate": [], "rate by the root of the batch": []}
    speeds = []
    for size, (name, found) in itertools.product(SIZES, accuracies.items()):
        tn.manual_seed(run.seed)
        model = MLP(64, 128, 10)
        rate = RATE if name == "one rate" else RATE * (size / AT) ** 0.5
        trainer = train_classifier(run, model, data, Recipe(EPOCHS, size, rate), name=f"batch-{size}")
        found.append(accuracy_on_test(model, data, run.device))
        if name == "one rate":
            seconds = sum(trainer.times.seconds[part] for part in ("forward", "backward", "optimiser"))
            speeds.append(len(data.train) * len(trainer.history) / seconds)
            metrics[f"images_per_second_at_{size}"] = speeds[-1]
        metrics[f"accuracy_at_{size}_{name.replace(' ', '_')}"] = found[-1]

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        for name, found in accuracies.items():
            left.plot(SIZES, found, marker="o", label=name)
        left.axvline(100, color="0.6", linestyle=":", label="ten times the classes")
        right.plot(SIZES, speeds, marker="o")
        left.set(ylabel=f"test accuracy after {EPOCHS} epochs")
        right.set(ylabel="images per second")
        for axes in (left, right):
            axes.set(xscale="log", xlabel="batch size")
            axes.set_xticks(SIZES, SIZES)
            axes.minorticks_off()
            axes.grid(alpha=0.3)
        left.legend(frameon=False)

    return Outcome(metrics, [save_picture(run.folder / "sizes.png", "Digits by batch size", draw, (11, 5))])


def _all_batches() -> tuple[np.ndarray, np.ndarray]:
    """Gradients of every single example of seven, (7, d), and of every batch of three, (35, d)."""
    rng = np.random.default_rng(0)
    x, y = tn.asarray(rng.standard_normal((7, 4))), tn.asarray(rng.standard_normal(7))
    w = tn.asarray(rng.standard_normal(4)).requires_grad_()

    def gradient(rows: tuple[int, ...]) -> np.ndarray:
        chosen = np.array(rows)
        (found,) = tn.grad(((x[chosen] @ w - y[chosen]) ** 2).mean(), [w])
        return found.numpy()

    return tuple(np.stack([gradient(rows) for rows in itertools.combinations(range(7), n)]) for n in (1, 3))  # type: ignore[return-value]


def _unbiased() -> float:
    singles, batches = _all_batches()
    return float(np.abs(batches.mean(axis=0) - singles.mean(axis=0)).max())


def _variance() -> float:
    singles, batches = _all_batches()
    return float(np.abs(batches.var(axis=0) - singles.var(axis=0) / 3 * (7 - 3) / (7 - 1)).max())


def _checks() -> list[tuple[Any, tuple[Any, ...]]]:
    return [(MLP(6, 5, 3), (np.random.default_rng(0).standard_normal((4, 6)),))]


NOTE = Note(
    slug="batch-size-rules",
    family="basics",
    title="Rules of thumb for the batch size",
    sources="note 004",
    paper="Keskar et al. 2017, On large-batch training for deep learning, arXiv:1609.04836",
    text=__doc__,
    build=lambda: MLP(64, 128, 10),
    example=lambda: (1, 1, 8, 8),
    demo=demo,
    no_bar="rules of thumb of the source note: reported, never asserted",
    identities=[
        Identity("the mean gradient over all batches of 3 of 7 is that of all 7", _unbiased, 1e-14),
        Identity("its variance is σ²/B · (N - B)/(N - 1)", _variance, 1e-13),
    ],
    checks=_checks,
)
