"""Training a classifier and measuring it: what the notes on networks of images share.

The data are the digits (or any data with the parts ``train``, ``validation`` and ``test``). The validation part chooses
the epoch whose weights are kept; the test part is read once, at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn, optim
from tinygrad_notes.data import DataLoader, Digits, Transformed, digits, random_shift
from tinygrad_notes.notes.note import Outcome, Run
from tinygrad_notes.training import Metric, Trainer, predict
from tinygrad_notes.training.baselines import logistic_regression, majority, nearest_neighbour
from tinygrad_notes.training.pictures import save_training_picture

EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained: AdamW, its learning rate falling as half a cosine, after a linear ``warm_up`` over
    that part of all steps. ``shift``: pixels by which training images are moved at random."""

    epochs: int = 30
    batch: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    warm_up: float = 0.0
    shift: int = 0
    clip_norm: float | None = None
    optimizer: Callable[..., optim.Optimizer] = optim.AdamW


def train_classifier(
    run: Run,
    model: nn.Module,
    data: Any,
    recipe: Recipe,
    *,
    parameters: Sequence[Any] | None = None,
    name: str = "checkpoint",
    loss: Callable[..., Any] = tn.cross_entropy,
    metrics: Sequence[Metric] | None = None,
    count: Callable[[Any], float] | None = None,
) -> Trainer:
    """Train ``model`` on ``data.train`` and keep the weights of the epoch with the least loss on ``data.validation``.

    ``parameters``: those that are trained, or groups of them (None: all). ``name``: of the checkpoint in the run's
    folder, when a demo trains several. ``metrics`` (None: the accuracy) and ``count``, the number of terms of a batch's
    mean loss (None: its examples), are those of :class:`Trainer`.
    """
    train = data.train
    if recipe.shift:
        fill = data.background
        train = Transformed(train, lambda x, y: (random_shift(x, recipe.shift, fill=fill), y))
    loader = DataLoader(train, recipe.batch, shuffle=True)
    epochs = recipe.epochs if run.epochs is None else run.epochs
    model.to(run.device)
    optimizer = recipe.optimizer(
        model.parameters() if parameters is None else parameters,
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
    )
    trainer = Trainer(
        model,
        loss,
        optimizer,
        loader,
        validation=DataLoader(data.validation, EVALUATION_BATCH),
        metrics=metrics,
        count=count,
        schedule=_schedule(optimizer, recipe, epochs * len(loader)),
        clip_norm=recipe.clip_norm,
        checkpoint=run.folder / f"{name}.safetensors",
        device=run.device,
        progress=run.progress,
    )
    trainer.fit(epochs, resume=run.resume)
    return trainer


def _schedule(optimizer: optim.Optimizer, recipe: Recipe, steps: int) -> Any:
    warm = int(recipe.warm_up * steps)
    cosine = optim.CosineAnnealingLR(optimizer, T_max=max(steps - warm, 1))
    if not warm:
        return cosine
    linear = optim.LinearLR(optimizer, start_factor=1 / (warm + 1), total_iters=warm)
    return optim.SequentialLR(optimizer, [linear, cosine], milestones=[warm])


def classify_digits(
    run: Run, model: nn.Module, recipe: Recipe, title: str, size: int = 28, more: dict[str, float] | None = None
) -> Outcome:
    """Train ``model`` on digits of ``size`` pixels; the test accuracy beside three baselines, and a picture.

    ``more``: metrics to add. The metric ``validation_accuracy`` is of the epoch whose weights were kept.
    """
    data = digits(size, seed=run.seed)
    trainer = train_classifier(run, model, data, recipe)
    history, best = trainer.history, int(trainer.best["epoch"])  # type: ignore[index]
    logits, labels = outputs_on_test(model, data, run.device)
    metrics = {
        "test_accuracy": float((logits.argmax(axis=1) == labels).mean()),
        "test_loss": float(tn.cross_entropy(tn.asarray(logits), labels).item()),
        "best_epoch": best,
        "validation_accuracy": history[best - 1]["validation_accuracy"],
        **digit_baselines(),
        **(more or {}),
    }
    picture = save_training_picture(
        run.folder / "training.png",
        f"{title} on {len(labels)} test digits: accuracy {metrics['test_accuracy']:.4f}, "
        f"logistic regression {metrics['logistic_regression']:.4f}",
        history,
        data.test.tensors[0].numpy()[:, 0],
        labels,
        tn.softmax(tn.asarray(logits), axis=-1).numpy(),
        best_epoch=best,
    )
    return Outcome(metrics, [picture], history, trainer.times)


def outputs_on_test(model: nn.Module, data: Digits, device: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """What ``model`` says of the test part, (N, classes), and the labels (N,)."""
    return predict(model, DataLoader(data.test, EVALUATION_BATCH), device), data.test.tensors[1].numpy()


@cache
def digit_baselines() -> dict[str, float]:
    """Accuracies on the same test digits from the raw 8×8 pixels, 0 to 1, with all 1347 others to learn from."""
    raw = digits(size=8, validation=0)
    (x, y), (x_test, y_test) = ([field.numpy() for field in part.tensors] for part in (raw.train, raw.test))
    x, x_test = x * raw.std + raw.mean, x_test * raw.std + raw.mean
    return {
        "logistic_regression": logistic_regression(x, y, x_test, y_test),
        "nearest_neighbour": nearest_neighbour(x, y, x_test, y_test),
        "majority_class": majority(y, y_test),
    }
