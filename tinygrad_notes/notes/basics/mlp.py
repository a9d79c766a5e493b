"""The multilayer perceptron

What the note says. Affine layers with an activation between them, ReLU or sigmoid:

    h = φ(W₁ x + b₁),   o = W₂ h + b₂

A very wide hidden layer overfits easily (note 004), and fully connected heads converge fast.

The formula that explains the activations. σ'(x) = σ(x)(1 - σ(x)) is at most 1/4, so that each layer of sigmoids takes
at least three quarters of the gradient away from what is below, times the weights; the slope of ReLU is 0 or 1. Without
any activation the whole is one affine map, however many layers it has.

Where the note is too short. "Overfits easily" is right of the training data, which any layer of 32 units or more learns
by heart when it is 100 digits. It need not be paid for: the demo reports the test accuracy of hidden layers of 8 to
1024 units on these 100, and no narrower one does better than the widest. There is no bar on that.

How it is trained here. The digits enlarged to 28×28, moved by up to two pixels at random in training, which is less
than one of the original pixels; the network is the canonical one. On the original 8×8 pixels, moved by a whole one,
some ink leaves the picture and the accuracy was 0.969, that of logistic regression, which is reported beside it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.data import digits
from tinygrad_notes.notes.basics._digit_tasks import accuracy_on_test, with_few_labels
from tinygrad_notes.notes.classification import Recipe, classify_digits, train_classifier
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run, parameter_count
from tinygrad_notes.training.pictures import save_curves

RECIPE = Recipe(epochs=40, batch=64, learning_rate=2e-3, weight_decay=1e-2, shift=2)
FEW = Recipe(epochs=60, batch=25, learning_rate=3e-3, weight_decay=0.0)
WIDTHS = (8, 32, 128, 1024)
FEW_LABELS = 100


class MLP(nn.Sequential):
    """Affine layers of ``sizes``, the first that of the input, with an activation after all but the last."""

    def __init__(self, *sizes: int, activation: Callable[[], nn.Module] = nn.ReLU):
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), activation()]
        super().__init__(*layers[:-1])


def gaps(run: Run) -> tuple[dict[str, float], list[float], list[float]]:
    """Accuracy in training and on the test part by the width of the hidden layer, learned from 100 digits."""
    data = with_few_labels(digits(size=8, seed=run.seed), FEW_LABELS, run.seed)
    metrics, trained, tested = {}, [], []
    for width in WIDTHS:
        model = MLP(64, width, 10)
        train_classifier(run, model, data, FEW, name=f"width-{width}")
        x, y = data.train.tensors
        trained.append(float((model(x.to(run.device)).detach().numpy().argmax(axis=1) == y.numpy()).mean()))
        tested.append(accuracy_on_test(model, data, run.device))
        metrics[f"test_accuracy_at_width_{width}"] = tested[-1]
        metrics[f"gap_at_width_{width}"] = trained[-1] - tested[-1]
    return metrics, trained, tested


def demo(run: Run) -> Outcome:
    """Learn the digits, and measure how a wide layer overfits few of them."""
    tn.manual_seed(run.seed)
    more, trained, tested = gaps(run)
    outcome = classify_digits(run, MLP(784, 256, 10), RECIPE, "A hidden layer of 256 units", size=28, more=more)
    curves = {"training": (list(WIDTHS), trained), "test": (list(WIDTHS), tested)}
    picture = save_curves(
        run.folder / "widths.png", "Learned from 100 digits, by the width of the hidden layer", curves, "hidden units",
        "accuracy", logarithmic="x",
    )  # fmt: skip
    return replace(outcome, pictures=[*outcome.pictures, picture])


def _slope() -> float:
    x = tn.linspace(-20, 20, 4001, dtype=tn.float64).requires_grad_()
    y = tn.sigmoid(x)
    y.sum().backward()
    return float(np.abs(x.grad.numpy() - (y * (1 - y)).detach().numpy()).max())  # type: ignore[union-attr]


def _steepest() -> float:
    x = tn.linspace(-20, 20, 4001, dtype=tn.float64).requires_grad_()
    tn.sigmoid(x).sum().backward()
    return abs(float(x.grad.numpy().max()) - 0.25)  # type: ignore[union-attr]


def _affine() -> float:
    """Three layers without activation against the one product of their matrices."""
    model = MLP(5, 7, 6, 3, activation=nn.Identity).to(tn.float64)
    x = np.random.default_rng(0).standard_normal((4, 5))
    weight, bias = np.eye(5), np.zeros(5)
    for layer in model:
        if isinstance(layer, nn.Linear):
            w, b = layer.weight.detach().numpy(), layer.bias.detach().numpy()  # type: ignore[union-attr]
            weight, bias = w @ weight, w @ bias + b
    return float(np.abs(model(x).detach().numpy() - (x @ weight.T + bias)).max())


def _checks() -> list[tuple[Any, tuple[Any, ...]]]:
    x = np.random.default_rng(0).standard_normal((4, 6))
    return [(MLP(6, 5, 4, 3), (x,)), (MLP(6, 5, 3, activation=nn.Sigmoid), (x,))]


NOTE = Note(
    slug="mlp",
    family="basics",
    title="The multilayer perceptron",
    sources="notes 000, 004; Zhang et al., Dive into Deep Learning, 4.1 to 4.3",
    paper="Rumelhart, Hinton & Williams 1986, Learning representations by back-propagating errors",
    text=__doc__,
    build=lambda: MLP(784, 256, 10),
    example=lambda: (1, 1, 28, 28),
    demo=demo,
    bars=[Bar("test_accuracy", at_least=0.97)],
    facts=[
        Fact(
            "parameters of 784-256-10", 203_530, lambda: parameter_count(MLP(784, 256, 10)),
            "Dive into Deep Learning, 4.2: 785 · 256 + 257 · 10",
        )
    ],
    identities=[
        Identity("the slope of the sigmoid is σ(1 - σ)", _slope, 1e-15),
        Identity("the steepest slope of the sigmoid is 1/4", _steepest, 1e-15),
        Identity("without activations the layers are one affine map", _affine, 1e-14),
    ],
    checks=_checks,
)  # fmt: skip
