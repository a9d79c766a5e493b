"""Ensembles and test-time augmentation

What the note says. Industry rarely fuses models (模型融合) or augments at test time (测试增强): the computing costs too
much (note 004).

The formula. Let M networks say p_1 … p_M, and take their mean. The logarithm is concave, so for the true class y

    -log (1/M Σ_m p_m[y])   ≤   1/M Σ_m -log p_m[y]                                              (Jensen)

for every single image: the mean is never worse than its members are on average, in log-loss, and better the more they
disagree. Of the best member, or of the accuracy, nothing of the kind holds. Test-time augmentation is the same with one
network and M views of the image; a video's frames, or crops, are such views.

Where the note leaves something out. The cost is M passes; the training of an ensemble costs M times too, while
test-time augmentation is trained once. Distillation pays at training time instead.

How it is trained here. Five networks of the shared kind on the digits, which differ in their initial weights and in the
order of their batches; nine views of each image, moved by up to a pixel. The bars are Jensen's inequality, measured;
accuracy and cost are reported.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.data import Digits, TensorDataset, digits
from tinygrad_notes.notes.classification import EVALUATION_BATCH, Recipe, train_classifier
from tinygrad_notes.notes.networks import DigitNetwork
from tinygrad_notes.notes.note import Bar, Identity, Note, Outcome, Run
from tinygrad_notes.training import predict
from tinygrad_notes.training.pictures import save_picture

RECIPE = Recipe(epochs=12, batch=64, learning_rate=3e-3, weight_decay=1e-2, shift=1)
MEMBERS = 5
MOVES = [(down, right) for down in (0, -1, 1) for right in (0, -1, 1)]  # the image as it is comes first


def moved(images: np.ndarray, down: int, right: int, fill: float) -> np.ndarray:
    """Images (N, 1, height, width) moved by whole pixels; what comes in is ``fill``."""
    _, _, height, width = images.shape
    wide = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=fill)
    return wide[:, :, 1 - down : 1 - down + height, 1 - right : 1 - right + width]


def probabilities(model: nn.Module, data: Digits, views: int, device: str) -> np.ndarray:
    """What a network says of so many views of each test image, (views, N, classes)."""
    images, labels = (field.numpy() for field in data.test.tensors)
    said = []
    for down, right in MOVES[:views]:
        view = TensorDataset(np.ascontiguousarray(moved(images, down, right, data.background)), labels)
        logits = predict(model, tn.data.DataLoader(view, EVALUATION_BATCH), device)
        said.append(tn.softmax(tn.asarray(logits), axis=1).numpy())
    return np.stack(said)


def log_loss(said: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """-log p[y] of each image, for p (..., N, classes)."""
    return -np.log(np.maximum(said[..., np.arange(len(labels)), labels], 1e-30).astype(np.float64))


def accuracy(said: np.ndarray, labels: np.ndarray) -> float:
    return float((said.argmax(axis=-1) == labels).mean())


def demo(run: Run) -> Outcome:
    """Five networks, nine views."""
    data = digits(size=8, seed=run.seed)
    labels = data.test.tensors[1].numpy()
    said, history = [], []
    for member in range(MEMBERS):
        tn.manual_seed(MEMBERS * run.seed + member)
        model = DigitNetwork()
        history = train_classifier(run, model, data, RECIPE, name=f"member-{member}").history
        said.append(probabilities(model, data, 1, run.device)[0])
    members = np.stack(said)
    seconds = []
    for count in (1, len(MOVES)):
        begin = time.perf_counter()
        views = probabilities(model, data, count, run.device)
        seconds.append(time.perf_counter() - begin)
    metrics = {
        "accuracy_of_members": float(np.mean([accuracy(one, labels) for one in members])),
        "accuracy_of_ensemble": accuracy(members.mean(axis=0), labels),
        "loss_of_members": float(log_loss(members, labels).mean()),
        "loss_of_ensemble": float(log_loss(members.mean(axis=0), labels).mean()),
        "accuracy_of_views": float(np.mean([accuracy(one, labels) for one in views])),
        "accuracy_of_their_mean": accuracy(views.mean(axis=0), labels),
        "accuracy_of_the_image_alone": accuracy(views[0], labels),
        "loss_of_views": float(log_loss(views, labels).mean()),
        "loss_of_their_mean": float(log_loss(views.mean(axis=0), labels).mean()),
        "times_the_cost_of_nine_views": seconds[1] / seconds[0],
    }
    counts = list(range(1, MEMBERS + 1))
    growing = [float(log_loss(members[:count].mean(axis=0), labels).mean()) for count in counts]
    alone = [float(log_loss(one, labels).mean()) for one in members]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.bar(counts, alone, color="0.8", label="each alone")
        axes.axhline(float(np.mean(alone)), color="0.5", linestyle=":", label="mean of those alone")
        axes.plot(counts, growing, marker="o", label="the first so many, averaged")
        axes.set(xticks=counts, xlabel="member", ylabel="log-loss", ylim=(0, 1.2 * max(alone)))
        axes.legend(frameon=False, ncols=3, loc="upper center")

    picture = save_picture(run.folder / "ensemble.png", "Log-loss on the test digits", draw)
    return Outcome(metrics, [picture], history)


def _jensen() -> float:
    """By how much an average of random distributions is worse than its members, at the worst image: below 0."""
    said = tn.softmax(3 * np.random.default_rng(0).standard_normal((5, 200, 10)), axis=-1).numpy()
    labels = np.arange(200) % 10
    return float((log_loss(said.mean(axis=0), labels) - log_loss(said, labels).mean(axis=0)).max())


def _disagreement() -> float:
    """The gain is the mean divergence of the truth's code lengths: 0 where all members say the same."""
    said = np.repeat(tn.softmax(np.random.default_rng(0).standard_normal((1, 50, 4)), axis=-1).numpy(), 3, axis=0)
    labels = np.arange(50) % 4
    return float(np.abs(log_loss(said.mean(axis=0), labels) - log_loss(said, labels).mean(axis=0)).max())


def _moves() -> float:
    """A move and its opposite leave the inside of an image as it was."""
    x = np.random.default_rng(0).random((2, 1, 8, 8))
    worst = [
        np.abs(moved(moved(x, down, right, 0.0), -down, -right, 0.0) - x)[:, :, 1:-1, 1:-1].max()
        for down, right in MOVES
    ]
    return float(max(worst) + np.abs(moved(x, 1, 0, 7.0)[:, :, 0] - 7).max())


def _checks() -> list[tuple[Any, tuple[Any, ...]]]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 4)

    def loss(logits: tn.Tensor) -> tn.Tensor:
        mean = tn.softmax(logits, axis=-1).mean(axis=0)
        return -tn.log(mean[np.arange(4), labels]).mean()

    return [(loss, (rng.standard_normal((3, 4, 3)),))]


NOTE = Note(
    slug="ensembling-tta",
    family="basics",
    title="Ensembles and test-time augmentation",
    sources="note 004; Zhang et al., Dive into Deep Learning, 13",
    paper="Hansen & Salamon 1990, Neural network ensembles; Krogh & Vedelsby 1995",
    text=__doc__,
    build=DigitNetwork,
    example=lambda: (1, 1, 8, 8),
    demo=demo,
    bars=[Bar("loss_of_ensemble", at_most="loss_of_members"), Bar("loss_of_their_mean", at_most="loss_of_views")],
    identities=[
        Identity("no image has a mean that is worse than its members on average", _jensen),
        Identity("members that agree gain nothing", _disagreement, 1e-14),
        Identity("a move and its opposite leave the inside of an image", _moves),
    ],
    checks=_checks,
)
