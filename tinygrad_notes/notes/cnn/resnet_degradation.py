"""Degradation: deeper plain networks have higher training errors

What the note says. Stacking more layers on a plain network makes its *training* error higher (退化), though the deeper
network could do all that the shallower one does: its additional layers need only be the identity. So this is not
overfitting, it is an optimisation that fails. Shortcuts repair it without additional parameters.

The formula. A block of two convolutions computes relu(F(x)) in a plain network and relu(F(x) + x) in a residual one.
To be the identity, the plain block has to learn F(x) = x through convolutions and ReLU, the residual block F(x) = 0.
Where a stage halves the image, the shortcut is padding with zeros (option A), so that both networks have the same
parameters: N of plain-n = N of residual-n exactly, for every n.

Networks of 4n + 2 layers: one convolution, two stages of n blocks with two convolutions each, one affine layer. n = 2
is 10 layers, n = 7 is 30. All have batch normalisation, so that neither signals nor gradients vanish at the start; He
et al. (figure 1 and section 4.2) make the same point of their networks of 20 and 56 layers.

Where the note is imprecise. "Without additional parameters" is true of option A and the identity, not of projections
(`shortcut-options`).

How it is measured here. Four networks (plain and residual, 10 and 30 layers, 8 and 16 channels) are trained on real
digits of 8×8 pixels by one recipe from the seed of the run: compared is the loss on all training images after the
last epoch. Nothing is tested, so nothing is chosen by the test part. Both halves of the claim show from each of the
three seeds, not only in their mean, which the table of all runs is judged by: the plain network of 30 layers stays far
above that of 10, the residual one falls below both of 10.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn, optim
from tinygrad_notes.data import DataLoader, digits
from tinygrad_notes.notes.cnn.resnet_basic import (
    OPTIONS,
    BasicBlock,
    ResNet,
    Shortcut,
    resnet,
    small_resnet,
    zero_last_gamma,
)
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run, parameter_count, without_memory
from tinygrad_notes.training import Trainer
from tinygrad_notes.training.pictures import save_picture

EPOCHS, BATCH, LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 5, 128, 0.1, 0.9, 1e-4
DEPTHS = (10, 30)
KINDS: dict[str, Shortcut | None] = {"plain": None, "residual": OPTIONS["A"]}


def network(kind: str, layers: int, width: int = 8) -> ResNet:
    """The plain or residual network of 4n + 2 layers."""
    return small_resnet((layers - 2) // 4, width, stages=2, shortcut=KINDS[kind])


def parameters_differ(layers: int) -> float:
    """How many parameters more or fewer the residual network has than the plain one."""
    plain, residual = (parameter_count(without_memory(network, kind, layers)) for kind in KINDS)
    return abs(plain - residual)


def deep_holds_the_shallow() -> float:
    """How far a residual network of 30 layers is from the one of 10 whose weights it has, with γ = 0 in the others."""
    tn.manual_seed(0)
    deep, shallow = (network("residual", layers, 4).eval() for layers in (30, 10))
    zero_last_gamma(deep)
    deep.load_state_dict(deep.state_dict() | shallow.state_dict())
    x = np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32)
    return float(np.abs(deep(x).data - shallow(x).data).max())


def train(run: Run, kind: str, layers: int) -> tuple[list[float], dict[str, float]]:
    """The training losses by epoch, as the weights change, and loss and accuracy on all training images afterwards."""
    tn.manual_seed(run.seed)
    data, model = digits(8, validation=0), network(kind, layers).to(run.device)
    loader = DataLoader(data.train, BATCH, shuffle=True)
    epochs = EPOCHS if run.epochs is None else run.epochs
    optimizer = optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    trainer = Trainer(
        model,
        tn.cross_entropy,
        optimizer,
        loader,
        schedule=optim.CosineAnnealingLR(optimizer, T_max=epochs * len(loader)),
        device=run.device,
        progress=run.progress,
    )
    history = trainer.fit(epochs)
    return [row["loss"] for row in history], trainer.evaluate(DataLoader(data.train, 512))


def demo(run: Run) -> Outcome:
    """Train all four networks from one seed, and compare their training losses."""
    metrics, curves = {}, {}
    for kind in KINDS:
        for layers in DEPTHS:
            curves[kind, layers], after = train(run, kind, layers)
            for name in ("loss", "accuracy"):
                metrics[f"training_{name}_{kind}_{layers}"] = after[name]

    def draw(figure: Any) -> None:
        for axes, kind in zip(figure.subplots(1, 2, sharey=True), KINDS):
            for layers, colour in zip(DEPTHS, ("C0", "C3")):
                losses = curves[kind, layers]
                axes.plot(range(1, len(losses) + 1), losses, color=colour, marker=".", label=f"{layers} layers")
            axes.set(title=kind, xlabel="epoch", yscale="log")
            axes.grid(alpha=0.3)
            axes.legend(frameon=False)
        figure.axes[0].set_ylabel("training loss (log scale)")

    picture = save_picture(run.folder / "degradation.png", "Training losses, plain and residual", draw, (11, 5))
    history = [
        {"epoch": epoch} | {f"loss_{kind}_{layers}": value for (kind, layers), value in zip(curves, values)}
        for epoch, values in enumerate(zip(*curves.values()), 1)
    ]
    return Outcome(metrics, [picture], history)


def _checks() -> list[tuple[nn.Module, tuple[np.ndarray]]]:
    x = np.random.default_rng(0).standard_normal((3, 1, 4, 4))
    return [(network(kind, 6, 2), (x,)) for kind in KINDS]


NOTE = Note(
    slug="resnet-degradation",
    family="cnn",
    title="Degradation: deeper plain networks have higher training errors",
    sources="note 001",
    paper="He, Zhang, Ren & Sun 2015, Deep residual learning for image recognition, figure 1",
    text=__doc__,
    build=lambda: resnet(34, shortcut=None),
    example=lambda: (1, 3, 224, 224),
    demo=demo,
    bars=[
        Bar("training_loss_plain_30", at_least="training_loss_plain_10"),
        Bar("training_loss_residual_30", at_most="training_loss_plain_10"),
        Bar("training_loss_residual_30", at_most="training_loss_residual_10"),
    ],
    facts=[
        Fact(
            "layers of the two networks",
            list(DEPTHS),
            lambda: [sum(p.ndim > 1 for p in without_memory(network, "plain", n).parameters()) for n in DEPTHS],
            "4n + 2",
        ),
        Fact(
            "parameters of a shortcut between stages",
            0,
            lambda: parameter_count(BasicBlock(8, 16, 2, OPTIONS["A"])) - parameter_count(BasicBlock(8, 16, 2, None)),
            "He et al. 2015, option A",
        ),
    ],
    identities=[
        Identity("parameters of the plain and the residual network of 10 layers", lambda: parameters_differ(10)),
        Identity("parameters of the plain and the residual network of 30 layers", lambda: parameters_differ(30)),
        Identity("a residual network of 30 layers can be the one of 10", deep_holds_the_shallow),
    ],
    checks=_checks,
)
