"""The linear protocol: what do frozen features know?

What the notes say. Freeze the trained backbone and train only the last fully connected layer, on each data set (notes
000, 003). That is how networks that learned without labels are compared.

The formula. For an encoder f with fixed weights, in evaluation mode,

    least over W, b of   mean cross-entropy(W f(x) + b, y) + λ/2 ‖W‖²

which is convex: what is measured is the features, not the skill of the one who trains.

Where the notes leave something out. Two things must stand still: weights and the running means of batch normalisation.
And a random network is the baseline, not chance: on the 8×8 digits a linear probe of random convolutions from all
labels is right for about 95 of 100 images, so that there is hardly room above. From 100 labels there is; both are
reported.

How it is trained here. One encoder learns the digits from all their labels, another 0 to 4 alone. Frozen, each is
probed on all ten classes, from 100 labels, ten of each class, and from all of them; beside them stands the same network
before it learned anything. The bar: from 100 labels, the encoder of all classes is at least 10 points better than the
random one. That is what features of these networks can be worth, with labels; what learns without has these two for its
bounds. The encoder of five classes shows that a probe may also be worse than that of random features: from all labels
it is, because it has unlearned what it did not need. The protocol itself is `tinygrad_notes.training.probes`, which all
notes on learning without labels use.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.data import TensorDataset, digits
from tinygrad_notes.notes.basics._digit_tasks import OLD, of_classes
from tinygrad_notes.notes.classification import Recipe, train_classifier
from tinygrad_notes.notes.networks import DigitEncoder, DigitNetwork
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run, parameter_count
from tinygrad_notes.training.pictures import save_picture
from tinygrad_notes.training.probes import FEW_LABELS, fingerprint, frozen_features, probe

RECIPE = Recipe(epochs=15, batch=64, learning_rate=3e-3, weight_decay=1e-2, shift=1)


def demo(run: Run) -> Outcome:
    """Probe an encoder before it learned, after half of the classes, and after all."""
    data = digits(size=8, seed=run.seed)
    tasks = {"random": None, "half": of_classes(data, OLD), "trained": data}
    metrics, shown, changed = {}, {}, False
    for name, task in tasks.items():
        tn.manual_seed(run.seed)
        network = DigitNetwork(len(OLD) if name == "half" else 10).to(run.device)
        if task is not None:
            train_classifier(run, network, task, RECIPE, name=name)
        before = fingerprint(network)
        metrics[f"{name}_from_100"] = probe(network.encoder, data.train, data.test, FEW_LABELS, run.seed, run.device)
        metrics[f"{name}_from_all"] = probe(network.encoder, data.train, data.test, device=run.device)
        changed |= fingerprint(network) != before
        shown[name] = frozen_features(network.encoder, data.test, run.device)
    metrics["gain_from_100"] = metrics["trained_from_100"] - metrics["random_from_100"]
    metrics["changed"] = float(changed)

    titles = {"random": "random", "half": "learned 0 to 4", "trained": "learned all"}

    def draw(figure: Any) -> None:
        for axes, (name, (features, labels)) in zip(figure.subplots(1, 3), shown.items()):
            centred = features - features.mean(axis=0)
            axes_of_most, _, _ = np.linalg.svd(centred.T @ centred)
            places = centred @ axes_of_most[:, :2]
            for digit in range(10):
                axes.scatter(*places[labels == digit].T, s=9, color=f"C{digit}", label=str(digit))
            axes.set(title=f"{titles[name]}: {metrics[f'{name}_from_100']:.3f}", xticks=[], yticks=[])
            axes.set(xlabel="first direction", ylabel="second")
        axes.legend(title="digit", frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))

    picture = save_picture(
        run.folder / "features.png",
        "Test digits by the two main directions of their features; probe from 100 labels",
        draw,
        (15, 5),
    )
    return Outcome(metrics, [picture])


def _unchanged() -> float:
    """Whether a probe changes a bit of the network, or whether looking at data in training would not have."""
    tn.manual_seed(0)
    encoder = DigitEncoder(width=4)
    images = np.random.default_rng(0).standard_normal((40, 1, 8, 8)).astype(np.float32)
    dataset = TensorDataset(images, np.arange(40) % 10)
    before = fingerprint(encoder)
    probe(encoder, dataset, dataset, labels=20)
    kept = fingerprint(encoder) == before
    encoder(images)
    return float(not kept or fingerprint(encoder) == before)


def _off_the_tape() -> float:
    """The gradient of a head on frozen features reaches the head alone."""
    network = DigitNetwork(width=4)
    with tn.no_grad():
        features = network.features(np.ones((2, 1, 8, 8), np.float32))
    network.head(features).sum().backward()
    return float(sum(parameter.grad is not None for parameter in network.encoder.parameters()))


def _checks() -> list[tuple[nn.Module, tuple[np.ndarray]]]:
    return [(DigitNetwork(3, width=2), (np.random.default_rng(0).standard_normal((3, 1, 8, 8)),))]


NOTE = Note(
    slug="linear-protocol",
    family="basics",
    title="The linear protocol: what do frozen features know?",
    sources="notes 000, 003",
    paper="He, Fan, Wu, Xie & Girshick 2020, Momentum contrast, arXiv:1911.05722; Chen et al. 2020, arXiv:2002.05709",
    text=__doc__,
    build=DigitNetwork,
    example=lambda: (1, 1, 8, 8),
    demo=demo,
    bars=[Bar("gain_from_100", at_least=0.1), Bar("changed", at_most=0)],
    facts=[
        Fact(
            "parameters of the encoder and of its head", (23_184 + 2 * 112, 650),
            lambda: (parameter_count(DigitEncoder()), parameter_count(DigitNetwork().head)),
            "9 (16 + 16 · 32 + 32 · 64), γ and β of 16 + 32 + 64 channels; 65 · 10",
        )
    ],
    identities=[
        Identity("a probe changes no bit of the network, one look in training does", _unchanged),
        Identity("nothing reaches a frozen encoder", _off_the_tape),
    ],
    checks=_checks,
)  # fmt: skip
