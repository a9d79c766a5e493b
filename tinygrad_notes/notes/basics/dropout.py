"""Dropout

What the note says. Dropout (丢弃) goes with the wide fully connected layers of VGG and NiN. Batch normalisation acts
like injected noise too, so it is not necessary to combine the two (note 004).

The formula. In training each number x becomes y, which is 0 with probability p, and x / (1 - p) otherwise; in use
nothing is changed. Then

    E[y] = x,      Var[y] = x² p / (1 - p)

Where the paper differs. Srivastava et al. (2014) leave the numbers as they are in training and multiply the weights by
1 - p in use. What is here is "inverted" dropout, which every library has: the expectation is right in both modes, and a
network in use needs to know nothing of it. An average over masks is an ensemble of networks that share weights. For one
affine layer and a softmax, the geometric mean of what all of them say, divided by its sum, is what one network says
whose weights are multiplied by 1 - p: the logits are linear in the mask, and the mean of all masks is 1 - p.

How it is trained here. A network with two hidden layers of 512 on 200 of the digits, which it learns by heart, with
and without dropout of one half, and the same with batch normalisation; of each the epoch with the least loss on the
validation part is kept. The bar is on dropout alone: test accuracy not below that of the network without. What happens
with batch normalisation is reported, of either sign.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.data import digits
from tinygrad_notes.notes.basics._digit_tasks import accuracy_on_test, with_few_labels
from tinygrad_notes.notes.classification import Recipe, train_classifier
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run, parameter_count, without_memory
from tinygrad_notes.training.pictures import save_curves

RECIPE = Recipe(epochs=50, batch=50, learning_rate=1e-3, weight_decay=0.0)
LABELS, WIDTH = 200, 512


class WideNetwork(nn.Sequential):
    """Two hidden layers of ``width``, each with dropout of ``p`` and batch normalisation if wanted."""

    def __init__(self, features: int = 64, width: int = WIDTH, classes: int = 10, p: float = 0.5, norm: bool = False):
        def layer(before: int) -> list[nn.Module]:
            normalised = [nn.BatchNorm1d(width)] if norm else []
            return [nn.Linear(before, width), *normalised, nn.ReLU(), nn.Dropout(p)]

        super().__init__(nn.Flatten(), *layer(features), *layer(width), nn.Linear(width, classes))


def demo(run: Run) -> Outcome:
    """Dropout and batch normalisation, each alone and both together, learned from 200 digits."""
    data = with_few_labels(digits(size=8, seed=run.seed), LABELS, run.seed)
    variants = {"plain": (0.0, False), "dropout": (0.5, False), "batch_norm": (0.0, True), "both": (0.5, True)}
    metrics, curves = {}, {}
    for name, (p, norm) in variants.items():
        tn.manual_seed(run.seed)
        model = WideNetwork(p=p, norm=norm)
        history = train_classifier(run, model, data, RECIPE, name=name).history
        metrics[f"test_accuracy_{name}"] = accuracy_on_test(model, data, run.device)
        curves[name.replace("_", " ")] = (
            [row["epoch"] for row in history],
            [row["validation_loss"] for row in history],
        )
    picture = save_curves(
        run.folder / "validation.png", "A wide network on 200 digits: loss on held-out digits", curves, "epoch",
        "validation loss", logarithmic="y",
    )  # fmt: skip
    return Outcome(metrics, [picture])


def _moments(p: float = 0.3, draws: int = 200_000) -> float:
    """Mean and variance of one number dropped many times, in standard errors of the mean and of the variance."""
    tn.manual_seed(0)
    y = tn.dropout(2.0 * tn.ones(draws, dtype=tn.float64), p).numpy()
    mean, variance = 2.0, 4.0 * p / (1 - p)
    fourth = p * 2.0**4 + (1 - p) * (2.0 / (1 - p) - 2.0) ** 4
    off_mean = abs(y.mean() - mean) / np.sqrt(variance / draws)
    off_variance = abs(y.var() - variance) / np.sqrt((fourth - variance**2) / draws)
    return float(max(off_mean, off_variance))


def _values() -> float:
    """Every number is 0 or x/(1 - p), and its gradient the same mask."""
    tn.manual_seed(0)
    x = tn.asarray(np.random.default_rng(0).random(1000) + 1).requires_grad_()
    y = tn.dropout(x, 0.25)
    y.sum().backward()
    values, inputs = y.detach().numpy(), x.detach().numpy()
    mask = values != 0
    return float(np.abs(values - mask * inputs / 0.75).max() + np.abs(x.grad.numpy() - mask / 0.75).max())  # type: ignore[union-attr]


def _in_use() -> float:
    layer = nn.Dropout(0.5).eval()
    x = np.random.default_rng(0).standard_normal(100)
    return float(np.abs(layer(x).numpy() - x).max())


def _ensemble() -> float:
    """The geometric mean over all 2⁵ masks of a softmax regression, made a distribution, against scaled weights."""
    rng = np.random.default_rng(0)
    x, weight, bias = rng.standard_normal(5), rng.standard_normal((5, 3)), rng.standard_normal(3)
    logs = [
        tn.log_softmax(((np.array(mask) * x) @ weight + bias)[None], axis=1).numpy()[0]
        for mask in itertools.product((0, 1), repeat=5)
    ]
    geometric = np.exp(np.mean(logs, axis=0))
    scaled = tn.softmax((x @ (0.5 * weight) + bias)[None], axis=1).numpy()[0]
    return float(np.abs(geometric / geometric.sum() - scaled).max())


def _checks() -> list[tuple[Any, tuple[Any, ...]]]:
    x = np.random.default_rng(0).standard_normal((5, 4))
    return [(WideNetwork(4, 6, 3), (x,)), (WideNetwork(4, 6, 3, norm=True), (x,))]


def build() -> WideNetwork:
    """The classifier of VGG, on its 25,088 features, as wide as it is in the paper."""
    return WideNetwork(25_088, 4096, 1000)


NOTE = Note(
    slug="dropout",
    family="basics",
    title="Dropout",
    sources="note 004; Zhang et al., Dive into Deep Learning, 4.6",
    paper="Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov 2014, Dropout",
    text=__doc__,
    build=build,
    demo=demo,
    bars=[Bar("test_accuracy_dropout", at_least="test_accuracy_plain")],
    facts=[
        Fact(
            "parameters of VGG's classifier with dropout",
            123_642_856,
            lambda: parameter_count(without_memory(build)),
            "25,089 · 4096 + 4097 · 4096 + 4097 · 1000",
        )
    ],
    identities=[
        Identity("mean x and variance x² p/(1 - p), in standard errors", _moments, 4.0),
        Identity("values are 0 or x/(1 - p), and the gradient has the same mask", _values, 1e-14),
        Identity("in use nothing is changed", _in_use),
        Identity("the geometric mean of all masks is the network with scaled weights", _ensemble, 1e-14),
    ],
    checks=_checks,
)
