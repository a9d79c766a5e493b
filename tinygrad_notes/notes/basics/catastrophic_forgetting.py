"""Catastrophic forgetting

What the note says. A large model that is fine-tuned on little data forgets what it knew (灾难性遗忘); freezing the
large model avoids that. InstructGPT keeps the objective of pre-training in its loss for the same reason (note 001).

What happens. Weights that solved the first task are moved to wherever the second is solved, and nothing in the second
loss says what the first still needs (McCloskey & Cohen 1989). Three remedies:

    freezing      the encoder stays, each task has a head: the first is untouched, to the bit
    rehearsal     a part of each batch is of the first task (the "ptx" of InstructGPT)
    penalty       Σ_i F_i (θ_i - θ*_i)², with the Fisher information F (Kirkpatrick et al. 2017); mentioned only

Where the note leaves something out. How much is forgotten depends on what is asked. If both tasks have heads of their
own, the encoder must forget for the first head to fail; with one head for all classes, the second task, whose targets
are never a class of the first, unlearns those classes at once. Both are measured.

How it is trained here. First the digits 0 to 4, then 5 to 9, whose images alone are then seen. The bars: with one head,
training everything on loses at least 30 points of accuracy on the first digits; a frozen encoder with a head for each
task loses exactly 0. Rehearsal and separate heads are reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.data import Digits, TensorDataset, digits
from tinygrad_notes.notes.basics._digit_tasks import NEW, OLD, accuracy_on_test, of_classes
from tinygrad_notes.notes.classification import Recipe, train_classifier
from tinygrad_notes.notes.networks import DigitEncoder
from tinygrad_notes.notes.note import Bar, Identity, Note, Outcome, Run
from tinygrad_notes.training.pictures import save_picture
from tinygrad_notes.training.probes import few_labels, fingerprint

FIRST = Recipe(epochs=12, batch=64, learning_rate=3e-3, weight_decay=1e-2, shift=1)
SECOND = Recipe(epochs=12, batch=64, learning_rate=3e-3, weight_decay=1e-2, shift=1)
REHEARSED = 50  # images of the first task, ten of each digit


class TaskNetwork(nn.Module):
    """An encoder with a head for each of the tasks' numbers of ``classes``; ``task`` says which one speaks.

    ``frozen``: the encoder takes no gradients and stays in evaluation mode.
    """

    def __init__(self, classes: Sequence[int], width: int = 16):
        super().__init__()
        self.encoder = DigitEncoder(width)
        self.heads = nn.ModuleList([nn.Linear(4 * width, number) for number in classes])
        self.task, self.frozen = 0, False

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def forward(self, x: Any) -> tn.Tensor:
        features = self.encoder(x)
        return self.heads[self.task](features.detach() if self.frozen else features)


def with_rehearsal(new: Digits, old: Digits, seed: int) -> Digits:
    """The training part of ``new``, and some images of ``old`` as often again as make a quarter of all."""
    images, labels = (field.numpy() for field in old.train.tensors)
    chosen = np.resize(few_labels(labels, REHEARSED, seed), len(new.train) // 3)
    parts = [np.concatenate([n.numpy(), o[chosen]]) for n, o in zip(new.train.tensors, (images, labels))]
    return replace(new, train=TensorDataset(*parts))


def one_head(data: Digits, classes: Sequence[int]) -> Digits:
    """Digits of some classes with the labels of all ten."""
    part = of_classes(data, classes)

    def named(dataset: TensorDataset) -> TensorDataset:
        images, labels = (field.numpy() for field in dataset.tensors)
        return TensorDataset(images, np.asarray(classes)[labels])

    return replace(part, train=named(part.train), validation=named(part.validation), test=named(part.test))


def learn_both(run: Run, data: Digits, way: str) -> tuple[float, float, float]:
    """Accuracy on the first task, on the same after the second, and on the second.

    ``way``: "one_head" for all ten classes, "rehearsal" with it, or two heads, with the encoder "trained" or "frozen".
    """
    tn.manual_seed(run.seed)
    single = way in ("one_head", "rehearsal")
    old, new = (one_head(data, c) if single else of_classes(data, c) for c in (OLD, NEW))
    model = TaskNetwork((10,) if single else (len(OLD), len(NEW)))
    train_classifier(run, model, old, FIRST, name=f"{way}-first", parameters=_trained(model))
    before = accuracy_on_test(model, old, run.device)
    model.frozen = way == "frozen"
    model.task = 0 if single else 1
    taught = with_rehearsal(new, old, run.seed) if way == "rehearsal" else new
    train_classifier(run, model, taught, SECOND, name=f"{way}-second", parameters=_trained(model))
    second = accuracy_on_test(model, new, run.device)
    model.task = 0
    return before, accuracy_on_test(model, old, run.device), second


def _trained(model: TaskNetwork) -> list[Any]:
    """What the present task trains: its head, and the encoder unless that is frozen."""
    return [*([] if model.frozen else model.encoder.parameters()), *model.heads[model.task].parameters()]


def demo(run: Run) -> Outcome:
    """Four ways to learn a second task."""
    data = digits(size=8, seed=run.seed)
    ways = {way: learn_both(run, data, way) for way in ("one_head", "rehearsal", "trained", "frozen")}
    metrics = {}
    for way, (before, after, second) in ways.items():
        metrics[f"lost_{way}"] = before - after
        metrics[f"second_{way}"] = second

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        places = np.arange(len(ways))
        columns = ("first task, before", "first task, after the second", "second task")
        for i, name in enumerate(columns):
            axes.bar(places + 0.27 * (i - 1), [values[i] for values in ways.values()], 0.25, label=name)
        axes.set_xticks(places, ["one head", "one head, rehearsal", "two heads", "two heads, encoder frozen"])
        axes.set(ylabel="test accuracy", ylim=(0, 1.2))
        axes.legend(frameon=False, ncols=3, loc="upper center")

    picture = save_picture(run.folder / "forgetting.png", "Digits 0 to 4, then 5 to 9", draw)
    return Outcome(metrics, [picture])


def _frozen() -> float:
    """Whether training the second head changes a bit of what the first says."""
    tn.manual_seed(0)
    model = TaskNetwork((3, 2), width=2)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 1, 8, 8)).astype(np.float32)
    model(x)
    first = model.eval()(x).detach().numpy().copy()
    before = fingerprint(model.encoder)
    model.frozen, model.task = True, 1
    model.train()
    tn.cross_entropy(model(x), rng.integers(0, 2, 6)).backward()
    untouched = all(parameter.grad is None for parameter in model.encoder.parameters())
    for parameter in model.heads[1].parameters():
        parameter.data[...] -= parameter.grad.data
    model.task = 0
    same = np.array_equal(model.eval()(x).detach().numpy(), first) and fingerprint(model.encoder) == before
    return float(not (same and untouched))


def _checks() -> list[tuple[nn.Module, tuple[np.ndarray]]]:
    return [(TaskNetwork((3,), width=2), (np.random.default_rng(0).standard_normal((3, 1, 8, 8)),))]


NOTE = Note(
    slug="catastrophic-forgetting",
    family="basics",
    title="Catastrophic forgetting",
    sources="note 001",
    paper="McCloskey & Cohen 1989, Catastrophic interference in connectionist networks; Kirkpatrick et al. 2017",
    text=__doc__,
    build=lambda: TaskNetwork((len(OLD), len(NEW))),
    example=lambda: (1, 1, 8, 8),
    demo=demo,
    bars=[Bar("lost_one_head", at_least=0.3), Bar("lost_frozen", at_most=0.0)],
    identities=[Identity("with a frozen encoder the first head says the same bits as before", _frozen)],
    checks=_checks,
)
