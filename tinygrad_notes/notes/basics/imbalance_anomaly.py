"""Skewed data: weights, resampling, augmentation

What the note says. Detecting anomalies (异常检测) means learning from skewed data (偏斜数据): resample it, or augment
what is rare (note 004).

The formulas. Give an example of class c the weight w_c, or draw it w_c times as often: in expectation this is one loss,

    Σ_n w_{y_n} loss_n / Σ_n w_{y_n}   =   mean loss over a data set in which class c stands w_c times

so weights and resampling differ in their noise alone. With w_c inverse to the frequency of c, a classifier no longer
profits from saying the commonest class. What is bought is recall, the part of the rare class that is found; what is
paid is precision, the part of the alarms that are right.

Where the note leaves something out. Accuracy is the wrong measure: who never says "eight" below is right for 9 of 10
test images. And resampling shows the same few images again and again; only augmentation makes them differ.

How it is trained here. Is the digit an 8? Of the training images of 8, one in twenty is kept, six or so; the test part
is as it was. A network with one hidden layer, by the same recipe each time: as the data are, with a weighted loss, with
balanced resampling, with both resampling and images moved by up to a pixel. The bar: resampling finds at least 10
points more of the eights than learning from the data as they are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn, optim
from tinygrad_notes.data import BalancedSampler, DataLoader, Digits, TensorDataset, Transformed, digits, random_shift
from tinygrad_notes.notes.basics.mlp import MLP
from tinygrad_notes.notes.classification import outputs_on_test
from tinygrad_notes.notes.note import Bar, Identity, Note, Outcome, Run
from tinygrad_notes.training import Trainer
from tinygrad_notes.training.pictures import save_picture

RARE, KEPT = 8, 0.05
EPOCHS, BATCH, RATE = 30, 64, 3e-3
WAYS = ("as_they_are", "weighted", "resampled", "resampled_and_moved")


def rare_eights(seed: int) -> Digits:
    """Digits with the label 1 for an 8 and 0 for all others; of the training eights one in twenty is left."""
    data = digits(size=8, seed=seed)

    def binary(dataset: TensorDataset) -> TensorDataset:
        images, labels = (field.numpy() for field in dataset.tensors)
        return TensorDataset(images, (labels == RARE).astype(np.int64))

    images, labels = (field.numpy() for field in binary(data.train).tensors)
    eights = np.flatnonzero(labels)
    dropped = np.random.default_rng(seed).permutation(eights)[round(KEPT * len(eights)) :]
    train = TensorDataset(np.delete(images, dropped, axis=0), np.delete(labels, dropped))
    return replace(data, train=train, validation=binary(data.validation), test=binary(data.test))


def balanced_weights(labels: np.ndarray) -> np.ndarray:
    """Weights inverse to the frequency of each class, with a mean of 1 over the examples."""
    sizes = np.bincount(labels)
    return len(labels) / (len(sizes) * sizes)


def train(run: Run, data: Digits, way: str, epochs: int) -> nn.Module:
    """The same network and recipe; the ways differ in the loss or in the loader."""
    tn.manual_seed(run.seed)
    labels = data.train.tensors[1].numpy()
    model = MLP(64, 64, 2).to(run.device)
    weight = tn.asarray(balanced_weights(labels).astype(np.float32)).to(run.device) if way == "weighted" else None
    images: Any = data.train
    if way == "resampled_and_moved":
        images = Transformed(images, lambda x, y: (random_shift(x, 1, fill=data.background), y))
    sampler = BalancedSampler(labels) if way.startswith("resampled") else None
    Trainer(
        model,
        lambda logits, target: tn.cross_entropy(logits, target, weight=weight),
        optim.AdamW(model.parameters(), lr=RATE),
        DataLoader(images, BATCH, shuffle=sampler is None, sampler=sampler),
        device=run.device,
        progress=run.progress,
    ).fit(epochs)
    return model


def demo(run: Run) -> Outcome:
    """Recall, precision and accuracy of four ways."""
    data = rare_eights(run.seed)
    epochs = EPOCHS if run.epochs is None else run.epochs
    metrics = {}
    for way in WAYS:
        logits, truth = outputs_on_test(train(run, data, way, epochs), data, run.device)
        said = logits.argmax(axis=1)
        metrics[f"recall_{way}"] = float(said[truth == 1].mean())
        metrics[f"precision_{way}"] = float(truth[said == 1].mean()) if said.any() else 0.0
        metrics[f"accuracy_{way}"] = float((said == truth).mean())
    metrics["accuracy_of_never_saying_eight"] = float((truth == 0).mean())
    metrics["gain_in_recall"] = metrics["recall_resampled"] - metrics["recall_as_they_are"]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for i, measure in enumerate(("recall", "precision", "accuracy")):
            heights = [metrics[f"{measure}_{way}"] for way in WAYS]
            axes.bar(np.arange(len(WAYS)) + 0.27 * (i - 1), heights, 0.25, label=measure)
        axes.set_xticks(range(len(WAYS)), [way.replace("_", " ") for way in WAYS])
        axes.set(ylim=(0, 1.15))
        axes.legend(frameon=False, ncols=3, loc="upper center")

    few = int(data.train.tensors[1].numpy().sum())
    picture = save_picture(run.folder / "recall.png", f"Is it an 8? Learned from {few} eights", draw)
    return Outcome(metrics, [picture])


def _weighted() -> float:
    """The weighted loss and its gradient against those of a data set with repeated examples."""
    rng = np.random.default_rng(0)
    x, labels, times = rng.standard_normal((7, 3)), np.array([0, 1, 2, 0, 1, 0, 2]), np.array([1, 4, 2])
    repeated = np.repeat(np.arange(7), times[labels])
    one, other = (tn.asarray(x).requires_grad_() for _ in range(2))
    weighted = tn.cross_entropy(one, labels, weight=times.astype(np.float64))
    resampled = tn.cross_entropy(other[repeated], labels[repeated])
    weighted.backward()
    resampled.backward()
    return float(max(abs(weighted.item() - resampled.item()), np.abs(one.grad.numpy() - other.grad.numpy()).max()))  # type: ignore[union-attr]


def _balanced() -> float:
    """Balanced weights give each class the same share of the loss; so does the sampler of its draws."""
    labels = np.repeat([0, 1, 2], [30, 6, 4])
    shares = balanced_weights(labels) * np.bincount(labels) / len(labels)
    drawn = np.bincount(labels[list(BalancedSampler(labels, 300, generator=0))]) / 300
    return float(max(np.abs(shares - 1 / 3).max(), np.abs(drawn - 1 / 3).max()))


def _checks() -> list[tuple[Any, tuple[Any, ...]]]:
    labels, weight = np.array([0, 1, 1]), np.array([0.5, 3.0])
    model = MLP(4, 3, 2).to(tn.float64)
    return [
        (
            lambda x: tn.cross_entropy(model(x), labels, weight=weight),
            (np.random.default_rng(0).standard_normal((3, 4)),),
        )
    ]


NOTE = Note(
    slug="imbalance-anomaly",
    family="basics",
    title="Skewed data: weights, resampling, augmentation",
    sources="note 004",
    paper="He & Garcia 2009, Learning from imbalanced data",
    text=__doc__,
    build=lambda: MLP(64, 64, 2),
    example=lambda: (1, 1, 8, 8),
    demo=demo,
    bars=[Bar("gain_in_recall", at_least=0.1)],
    identities=[
        Identity("a weighted loss is that of repeated examples, and so is its gradient", _weighted, 1e-15),
        Identity("balanced weights and balanced draws give each class one share", _balanced, 1e-15),
    ],
    checks=_checks,
)
