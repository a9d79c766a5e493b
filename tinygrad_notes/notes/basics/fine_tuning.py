"""Fine-tuning

What the notes say. Train a network on a large source set, take its weights to the target, and train on. The source must
be much larger than the target and not too different from it. The lowest layers see what all images have, so they may be
fixed; the last layer is new and gets a large learning rate, the rest a small one. After training without labels the
same is the second of two stages.

The recipe of "Dive into Deep Learning" (13.2): all weights but the head's are copied, the head begins at random, and
its learning rate is ten times that of the rest.

Where the notes leave something out. "Fixed" has two halves. Weights that take no gradient stay; running means of batch
normalisation still learn while the network is in training mode, unless it is told otherwise. The demo freezes both.

How it is trained here. The source: all training digits. The target: digits turned by 30 degrees, with labels for two of
each class. From scratch, fine-tuned with one learning rate, fine-tuned with ten times that for the head, and with the
encoder frozen; the epoch is chosen on the validation images, turned likewise. The bar: fine-tuning with the larger rate
for the head gains at least 5 points over training from scratch.

A bar that was not to be had: with the digits 0 to 4 as source and ten images each of 5 to 9 as target, the network from
scratch was right for 0.978 of the test images, and the fine-tuned one for 0.951. Six hundred images of five other
classes are not a large source: they teach what tells these five apart and nothing else. With fewer labels of the target
it won or lost by the seed. The demo reports that as well, as the far target.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Self

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn, optim
from tinygrad_notes.data import Digits, TensorDataset, digits, rotate
from tinygrad_notes.notes.basics._digit_tasks import NEW, OLD, accuracy_on_test, of_classes, with_few_labels
from tinygrad_notes.notes.classification import Recipe, train_classifier
from tinygrad_notes.notes.networks import DigitNetwork
from tinygrad_notes.notes.note import Bar, Identity, Note, Outcome, Run
from tinygrad_notes.training.pictures import save_curves
from tinygrad_notes.training.probes import fingerprint

SOURCE = Recipe(epochs=15, batch=64, learning_rate=3e-3, weight_decay=1e-2, shift=1)
TARGET = Recipe(epochs=40, batch=10, learning_rate=1e-3, weight_decay=1e-2, shift=1)
SCRATCH = Recipe(epochs=40, batch=10, learning_rate=3e-3, weight_decay=1e-2, shift=1)
NEAR, FAR = 20, 50  # labels: two of each of ten classes, ten of each of five
DEGREES, HEAD_RATE = 30.0, 10  # how many times the rate of the rest the head's is


class FrozenNetwork(DigitNetwork):
    """A network whose encoder stays as it is: no gradients, and always in evaluation mode."""

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.encoder.eval()
        return self

    def features(self, x: Any) -> tn.Tensor:
        with tn.no_grad():
            return super().features(x)


def transferred(source: DigitNetwork, classes: int, frozen: bool = False) -> DigitNetwork:
    """A network with a copy of the encoder of ``source`` and a new head."""
    network = (FrozenNetwork if frozen else DigitNetwork)(classes, width=source.head.in_features // 4)
    network.encoder.load_state_dict(copy.deepcopy(source.encoder.state_dict()))
    return network


def groups(network: DigitNetwork, rate: float, times: float = HEAD_RATE) -> list[dict[str, Any]]:
    """The encoder at ``rate`` and the head at ``times`` that."""
    return [
        {"params": list(network.encoder.parameters()), "lr": rate},
        {"params": list(network.head.parameters()), "lr": times * rate},
    ]


def turned(data: Digits) -> Digits:
    """All images of ``data`` turned by 30 degrees."""

    def part(dataset: TensorDataset) -> TensorDataset:
        images, labels = dataset.tensors
        return TensorDataset(rotate(images, DEGREES, fill=data.background), labels)

    return replace(data, train=part(data.train), validation=part(data.validation), test=part(data.test))


def adapt(run: Run, source: DigitNetwork, target: Digits, way: str) -> tuple[DigitNetwork, list[dict[str, float]]]:
    """The network for ``target`` and its history. ``way``: "scratch", "one_rate", "head_rate" or "frozen"."""
    tn.manual_seed(run.seed)
    classes = int(target.train.tensors[1].numpy().max()) + 1
    if way == "scratch":
        network = DigitNetwork(classes)
        return network, train_classifier(run, network, target, SCRATCH, name=way).history
    network = transferred(source, classes, frozen=way == "frozen")
    parameters = groups(network, TARGET.learning_rate, 1 if way == "one_rate" else HEAD_RATE)
    if way == "frozen":
        parameters = parameters[1:]
    return network, train_classifier(run, network, target, TARGET, parameters=parameters, name=way).history


def demo(run: Run) -> Outcome:
    """Four ways to a near target, and two to a far one."""
    tn.manual_seed(run.seed)
    whole = digits(size=8, seed=run.seed)
    source, narrow = DigitNetwork(), DigitNetwork(len(OLD))
    train_classifier(run, source, whole, SOURCE, name="source")
    train_classifier(run, narrow, of_classes(whole, OLD), SOURCE, name="narrow")
    near = with_few_labels(turned(whole), NEAR, run.seed)
    far = with_few_labels(of_classes(whole, NEW), FAR, run.seed)
    metrics, curves = {"source_on_the_near_target": accuracy_on_test(source, near, run.device)}, {}
    before = fingerprint(source.encoder)
    for way in ("scratch", "one_rate", "head_rate", "frozen"):
        network, history = adapt(run, source, near, way)
        metrics[f"test_accuracy_{way}"] = accuracy_on_test(network, near, run.device)
        curves[way.replace("_", " ")] = (
            [row["epoch"] for row in history],
            [row["validation_accuracy"] for row in history],
        )
    metrics["frozen_changed"] = float(fingerprint(network.encoder) != before)
    metrics["gain_over_scratch"] = metrics["test_accuracy_head_rate"] - metrics["test_accuracy_scratch"]
    for way in ("scratch", "head_rate"):
        network, _ = adapt(run, narrow, far, way)
        metrics[f"far_test_accuracy_{way}"] = accuracy_on_test(network, far, run.device)
    picture = save_curves(
        run.folder / "validation.png", "Turned digits from two images of each", curves, "epoch", "validation accuracy"
    )
    return Outcome(metrics, [picture])


def _step(frozen: bool) -> tuple[DigitNetwork, DigitNetwork]:
    """A network that was transferred, before and after a step of training at a rate of 1."""
    tn.manual_seed(0)
    source = DigitNetwork(3, width=2)
    network = transferred(source, 4, frozen)
    before = copy.deepcopy(network)
    x, y = np.random.default_rng(0).standard_normal((5, 1, 8, 8)).astype(np.float32), np.arange(5) % 4
    descent = optim.SGD(groups(network, 1.0), lr=1.0)
    network.train()
    tn.cross_entropy(network(x), y).backward()
    descent.step()
    return before, network


def _frozen() -> float:
    before, after = _step(frozen=True)
    same = fingerprint(before.encoder) == fingerprint(after.encoder)
    return float(not same or fingerprint(before.head) == fingerprint(after.head))


def _head_rate() -> float:
    """A step of the head is ten times its gradient, one of the encoder once."""
    before, after = _step(frozen=False)
    worst = 0.0
    for part, times in (("encoder", 1.0), ("head", float(HEAD_RATE))):
        old, new = (getattr(network, part).parameters() for network in (before, after))
        for was, now in zip(old, new):
            worst = max(worst, float(np.abs(was.data - times * now.grad.numpy() - now.data).max()))
    return worst


def _checks() -> list[tuple[nn.Module, tuple[np.ndarray]]]:
    tn.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((3, 1, 8, 8))
    return [(transferred(DigitNetwork(2, width=2), 3), (x,))]


NOTE = Note(
    slug="fine-tuning",
    family="basics",
    title="Fine-tuning",
    sources="notes 001, 002, 003, 004; Zhang et al., Dive into Deep Learning, 13.2",
    paper="Yosinski, Clune, Bengio & Lipson 2014, How transferable are features in deep neural networks?",
    text=__doc__,
    build=DigitNetwork,
    example=lambda: (1, 1, 8, 8),
    demo=demo,
    bars=[Bar("gain_over_scratch", at_least=0.05), Bar("frozen_changed", at_most=0)],
    identities=[
        Identity("a step changes no bit of a frozen encoder, but its head", _frozen),
        Identity("the head moves by ten times its gradient", _head_rate, 1e-6),
    ],
    checks=_checks,
)
