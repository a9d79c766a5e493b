"""Softmax regression: the linear classifier at the end of every network

What the note says. A network is two blocks, the extraction of features (特征提取) and a linear classifier (线性分类).
This is the second block by itself, on raw features: as many affine scores as there are classes, made a distribution.

    o = W x + b,   p_k = exp(o_k) / Σ_j exp(o_j),   loss = -log p_y

The derivative of the loss by the scores is what the whole of classification learns by,

    ∂loss / ∂o = p - e_y

the distribution that was said less the one that was wanted. A number added to all scores changes nothing, so that one
class's weights could be held at 0; with two classes it is then logistic regression.

Where the note leaves something out. Nothing is wrong here. What is not said: without a penalty on W, classes that can
be separated have no best weights, only ever longer ones. AdamW's weight decay stands for the penalty.

How it is trained here. On scikit-learn's digits, 8×8 raw pixels, against its own solver and the nearest neighbour; and
on its wines, 13 chemical measures of 178 bottles of three growers, of which 133 teach and 45 test. The digits' settings
were chosen on their validation part and serve the wines unchanged, for as many steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn, optim
from tinygrad_notes.data import digits, wine
from tinygrad_notes.notes.classification import Recipe, digit_baselines, outputs_on_test, train_classifier
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run, parameter_count
from tinygrad_notes.training.pictures import save_curves, save_maps

RECIPE = Recipe(epochs=40, batch=64, learning_rate=1e-2, weight_decay=1e-2)


class SoftmaxRegression(nn.Sequential):
    """Logits (batch, classes) of anything (batch, ...) with ``features`` numbers in each example."""

    def __init__(self, features: int, classes: int):
        super().__init__(nn.Flatten(), nn.Linear(features, classes))


def learn_wine(steps: int) -> float:
    """Test accuracy on the wines after so many steps on all training rows."""
    table = wine()
    (x, y), (x_test, y_test) = table.train.tensors, table.test.tensors
    model = SoftmaxRegression(x.shape[1], len(table.classes))
    optimizer = optim.AdamW(model.parameters(), lr=RECIPE.learning_rate, weight_decay=RECIPE.weight_decay)
    for _ in range(steps):
        optimizer.zero_grad()
        tn.cross_entropy(model(x), y).backward()
        optimizer.step()
    return float((model(x_test).detach().numpy().argmax(axis=1) == y_test.numpy()).mean())


def demo(run: Run) -> Outcome:
    """Learn the digits and the wines."""
    tn.manual_seed(run.seed)
    data = digits(size=8, seed=run.seed)
    model = SoftmaxRegression(64, 10)
    trainer = train_classifier(run, model, data, RECIPE)
    logits, labels = outputs_on_test(model, data, run.device)
    metrics = {"test_accuracy": float((logits.argmax(axis=1) == labels).mean()), **digit_baselines()}
    metrics["wine_test_accuracy"] = learn_wine(steps=20 * (RECIPE.epochs if run.epochs is None else run.epochs))
    weights = model[1].weight.detach().numpy().reshape(10, 8, 8)
    epochs = [row["epoch"] for row in trainer.history]
    curves = {
        name: (epochs, [row[key] for row in trainer.history])
        for name, key in (("training", "loss"), ("validation", "validation_loss"))
    }
    pictures = [
        save_maps(
            run.folder / "weights.png", "What speaks for each digit (bright) and against it (dark)",
            {str(digit): weights[digit] for digit in range(10)}, columns=5,
        ),
        save_curves(
            run.folder / "training.png", f"Softmax regression on digits: test accuracy {metrics['test_accuracy']:.4f}",
            curves, "epoch", "cross-entropy",
        ),
    ]  # fmt: skip
    return Outcome(metrics, pictures, trainer.history, trainer.times)


def _case() -> tuple[tn.Tensor, np.ndarray]:
    rng = np.random.default_rng(0)
    return tn.asarray(3 * rng.standard_normal((6, 5))).requires_grad_(), rng.integers(0, 5, 6)


def _gradient() -> float:
    logits, labels = _case()
    tn.cross_entropy(logits, labels, reduction="sum").backward()
    said_less_wanted = tn.softmax(logits.detach(), axis=1).numpy() - np.eye(5)[labels]
    return float(np.abs(logits.grad.numpy() - said_less_wanted).max())  # type: ignore[union-attr]


def _shift() -> float:
    logits, labels = _case()
    moved = logits + tn.asarray(np.linspace(-900, 900, 6)[:, None])
    return float(np.abs((tn.cross_entropy(logits, labels) - tn.cross_entropy(moved, labels)).item()))


def _two_classes() -> float:
    logits = tn.asarray(np.random.default_rng(0).standard_normal((9, 2)))
    difference = logits[:, 1] - logits[:, 0]
    return float(np.abs(tn.softmax(logits, axis=1)[:, 1].numpy() - tn.sigmoid(difference).numpy()).max())


def _checks() -> list[tuple[Any, tuple[Any, ...]]]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 4)
    return [
        (SoftmaxRegression(6, 3), (rng.standard_normal((4, 2, 3)),)),
        (lambda logits: tn.cross_entropy(logits, labels), (rng.standard_normal((4, 3)),)),
    ]


NOTE = Note(
    slug="softmax-regression",
    family="basics",
    title="Softmax regression: the linear classifier at the end of every network",
    sources="notes 000, 004; Zhang et al., Dive into Deep Learning, 3.4 to 3.7",
    paper="Bridle 1990, Probabilistic interpretation of feedforward classification network outputs",
    text=__doc__,
    build=lambda: SoftmaxRegression(784, 10),
    example=lambda: (1, 1, 28, 28),
    demo=demo,
    bars=[Bar("test_accuracy", at_least=0.95), Bar("wine_test_accuracy", at_least=0.97)],
    facts=[
        Fact(
            "parameters for 28×28 images and 10 classes", 7_850, lambda: parameter_count(SoftmaxRegression(784, 10)),
            "784 · 10 + 10",
        )
    ],
    identities=[
        Identity("the gradient by the logits is softmax less the label", _gradient, 1e-14),
        Identity("adding a number to all logits of an example leaves the loss", _shift, 1e-12),
        Identity("of two classes it is the sigmoid of the difference", _two_classes, 1e-15),
    ],
    checks=_checks,
)  # fmt: skip
