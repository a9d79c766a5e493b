"""Automatic machine learning: a search over settings

What the note says. With a tool like AutoGluon one fixes the settings and takes a simple model, and puts the effort into
the quality of the data, or into new data (note 004).

What such a tool is. AutoGluon trains a fixed list of models at settings that were found to do well on many tables, and
stacks them; it is a tool and not a network, so that there is nothing of it to rebuild. Its simplest rival, and the
baseline of all that search settings, is random search (Bergstra & Bengio 2012). The chance that the best of n draws is
among the best q of all settings is

    1 - (1 - q)ⁿ

whatever the settings are and however many: 59 draws suffice to be among the best twentieth with 95 %. A grid of as many
points tries each setting at a few values only.

Where the note leaves something out. The best of many trials on a validation part looks better there than it is: it was
chosen for it. The demo reports both numbers.

What is done here. A network with one hidden layer on the wines: the width, the learning rate, the weight decay and the
number of epochs are drawn at random; each draw is judged by a third of the training rows, and the best is trained anew
on all of them. Beside it the defaults. 45 wines are the test part, so that one wine is 2.2 points: no bar.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import optim
from tinygrad_notes.data import wine
from tinygrad_notes.notes.basics.mlp import MLP
from tinygrad_notes.notes.note import Fact, Identity, Note, Outcome, Run
from tinygrad_notes.training.pictures import save_picture

TRIALS = 59
BATCH = 32


class Setting(NamedTuple):
    """What is searched; the defaults are those of a first try."""

    width: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    epochs: int = 20


def draw_setting(random: np.random.Generator) -> Setting:
    """Widths of 4 to 256, rates of 1e-4 to 0.1 and decays of 1e-4 to 1, each by its logarithm; 5 to 60 epochs."""
    return Setting(
        int(2 ** random.uniform(2, 8)),
        float(10 ** random.uniform(-4, -1)),
        float(10 ** random.uniform(-4, 0)),
        int(random.integers(5, 61)),
    )


def learn(setting: Setting, x: np.ndarray, y: np.ndarray, seed: int) -> MLP:
    """A network trained by a setting."""
    tn.manual_seed(seed)
    model = MLP(x.shape[1], setting.width, 3)
    optimizer = optim.AdamW(model.parameters(), lr=setting.learning_rate, weight_decay=setting.weight_decay)
    random = np.random.default_rng(seed)
    for _ in range(setting.epochs):
        for rows in np.array_split(random.permutation(len(x)), -(-len(x) // BATCH)):
            optimizer.zero_grad()
            tn.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model


def judge(model: MLP, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Accuracy and loss."""
    with tn.no_grad():
        logits = model(x)
        loss = tn.cross_entropy(logits, y).item()
    return float((logits.numpy().argmax(axis=1) == y).mean()), loss


def demo(run: Run) -> Outcome:
    """The best of many random settings, and the defaults."""
    table = wine()
    (x, y), (x_test, y_test) = ([field.numpy() for field in part.tensors] for part in (table.train, table.test))
    random = np.random.default_rng(run.seed)
    order = random.permutation(len(x))
    held_out, taught = order[: len(x) // 3], order[len(x) // 3 :]
    settings = [Setting(), *(draw_setting(random) for _ in range(TRIALS if run.epochs is None else run.epochs))]
    judged = [judge(learn(s, x[taught], y[taught], run.seed), x[held_out], y[held_out]) for s in settings]
    losses = [loss for _, loss in judged]
    best = int(np.argmin(losses))
    metrics = {
        "validation_accuracy_of_the_best": judged[best][0],
        "validation_loss_of_the_best": losses[best],
        "validation_loss_of_the_default": losses[0],
        "validation_loss_of_the_median": float(np.median(losses)),
    }
    for name, setting in (("search", settings[best]), ("default", settings[0])):
        metrics[f"test_accuracy_of_the_{name}"], metrics[f"test_loss_of_the_{name}"] = judge(
            learn(setting, x, y, run.seed), x_test, y_test
        )
    metrics |= {f"best_{name}": float(value) for name, value in settings[best]._asdict().items()}

    def draw(figure: Any) -> None:
        for axes, name in zip(figure.subplots(1, 4, sharey=True), Setting._fields):
            values = [getattr(setting, name) for setting in settings]
            axes.scatter(values[1:], losses[1:], s=14, label="a draw")
            axes.scatter(values[:1], losses[:1], s=60, marker="s", color="0.3", label="default")
            axes.scatter(values[best], losses[best], s=130, marker="*", color="#c62828", label="best")
            axes.set(xlabel=name.replace("_", " "), yscale="log")
            if name != "epochs":
                axes.set_xscale("log")
            axes.grid(alpha=0.3)
        figure.axes[0].set_ylabel("validation loss")
        figure.axes[0].legend(frameon=False)

    return Outcome(metrics, [save_picture(run.folder / "search.png", "Random search on the wines", draw, (13, 4))])


def _draws_needed() -> int:
    """The least n with 1 - (1 - 0.05)ⁿ ≥ 0.95, by counting."""
    n = 1
    while 1 - 0.95**n < 0.95:
        n += 1
    return n


def _chance() -> float:
    """How often the best of 59 of a thousand settings is one of the best fifty, in standard errors."""
    random, repeats = np.random.default_rng(0), 4000
    found = np.mean([(random.integers(0, 1000, TRIALS) < 50).any() for _ in range(repeats)])
    expected = 1 - 0.95**TRIALS
    return float(abs(found - expected) / np.sqrt(expected * (1 - expected) / repeats))


def _checks() -> list[tuple[Any, tuple[Any, ...]]]:
    return [(MLP(13, 4, 3), (np.random.default_rng(0).standard_normal((4, 13)),))]


NOTE = Note(
    slug="automl-autogluon",
    family="basics",
    title="Automatic machine learning: a search over settings",
    sources="note 004",
    paper="Erickson et al. 2020, AutoGluon-Tabular, arXiv:2003.06505; Bergstra & Bengio 2012, Random search",
    text=__doc__,
    build=lambda: MLP(13, Setting().width, 3),
    example=lambda: (1, 13),
    demo=demo,
    no_bar="a named tool, not a network; the search is reported beside the defaults on 45 test rows",
    facts=[Fact("draws to be among the best twentieth with 95 %", 59, _draws_needed, "1 - 0.95ⁿ ≥ 0.95")],
    identities=[Identity("the chance of that, drawn, against the formula, in standard errors", _chance, 4.0)],
    checks=_checks,
)
