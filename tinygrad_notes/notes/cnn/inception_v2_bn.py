"""Inception v2: GoogLeNet with batch normalisation

What the note says. The second version of Inception adds batch normalisation (批量归一化).

The formula. Behind each convolution and before its ReLU every channel c is normalised over the batch and all places,

    y[n, c, i, j] = γ[c] (x[n, c, i, j] - μ[c]) / √(σ²[c] + ε) + β[c]

with the mean and variance of the batch in training, with running averages of them afterwards. Each layer then sees
inputs of one scale whatever the layers before it have learned, so larger learning rates work and fewer steps are
needed.

Counting. Normalisation adds γ and β, 2C parameters for C channels. It also takes away any bias of the convolution,
since (x + b) - mean(x + b) = x - mean(x): the C biases are left out. Each convolution gains C parameters in all. After
training the normalisation is affine, and can be folded into the convolution: W' = W γ/√(σ² + ε), b' = β - μ γ/√(σ² +
ε). Both are measured below.

Where the sources differ. The paper's network differs from GoogLeNet in more than the note says: 5×5 convolutions
become two of 3×3, block 3c is new, some blocks pool by the mean, and some have stride 2 instead of a pooling behind
them. So that only one thing changes, the network here is GoogLeNet with nothing but batch normalisation put in.

The demo trains the small GoogLeNet (all channels divided by eight) on real digits of 32×32 pixels with and without
batch normalisation, from the same seed and with the same order of the data, and counts the steps until nine of ten
training digits of the last 36 batches (one epoch) were right. The network without normalisation is given a third of
the learning rate, with which it learns better than with the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn, optim
from tinygrad_notes.data import DataLoader, digits
from tinygrad_notes.notes.cnn.googlenet import GoogLeNet, conv_bn_relu, small_googlenet
from tinygrad_notes.notes.cnn.inception_block import block_3a, conv_relu
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run, parameter_count, without_memory
from tinygrad_notes.training import Accuracy, Trainer
from tinygrad_notes.training.pictures import save_curves

EPOCHS, BATCH = 5, 32
RATE, RATE_WITHOUT = 1e-2, 3e-3
GOAL, WINDOW = 0.9, 36


class StepAccuracy(Accuracy):
    """The accuracy on the last batches before every step."""

    def __init__(self) -> None:
        super().__init__()
        self.hits: list[float] = []

    def update(self, output: tn.Tensor, target: Any) -> None:
        before = self.total, self.count
        super().update(output, target)
        self.hits.append((self.total - before[0]) / (self.count - before[1]))

    def recent(self) -> list[float]:
        """The mean over the last batches, from the first step with so many before it."""
        return np.convolve(self.hits, np.ones(WINDOW) / WINDOW, mode="valid").tolist()

    def steps_to(self, goal: float) -> int:
        """The first step by which the recent accuracy is ``goal``; all steps and one where it never is."""
        reached = [i for i, value in enumerate(self.recent()) if value >= goal]
        return reached[0] + WINDOW if reached else len(self.hits) + 1


def with_bn(in_channels: int = 3, classes: int = 1000) -> GoogLeNet:
    """GoogLeNet with batch normalisation behind every convolution."""
    return GoogLeNet(in_channels, classes, convolution=conv_bn_relu)


def convolved_channels(model: nn.Module) -> int:
    """The sum of the output channels of all convolutions."""
    return sum(layer.out_channels for layer in model.modules() if isinstance(layer, nn.Conv2d))


def added() -> tuple[int, int]:
    """How many parameters more the network has with batch normalisation, and the channels of all convolutions."""
    normalised, plain = without_memory(with_bn), without_memory(GoogLeNet)
    return parameter_count(normalised) - parameter_count(plain), convolved_channels(plain)


def bias_is_taken_away() -> float:
    """How far a bias of the convolution changes what comes out behind batch normalisation, in training."""
    rng = np.random.default_rng(0)
    x, w, bias = rng.standard_normal((4, 3, 5, 5)), rng.standard_normal((6, 3, 3, 3)), rng.standard_normal(6)
    norm = nn.BatchNorm2d(6, dtype=tn.float64)
    return float(np.abs(norm(tn.conv2d(x, w)).data - norm(tn.conv2d(x, w, bias)).data).max())


def folded() -> float:
    """How far a convolution with a normalisation is, after training, from a convolution with other weights."""
    tn.manual_seed(0)
    rng = np.random.default_rng(0)
    conv, norm = conv_bn_relu(3, 6, 3).to(tn.float64)[:2]  # type: ignore[index]
    nn.init.copy_(norm.weight, rng.standard_normal(6))
    nn.init.copy_(norm.bias, rng.standard_normal(6))
    norm(conv(rng.standard_normal((8, 3, 7, 7)) + 1))  # moves the running averages
    norm.eval()
    scale = norm.weight.data / np.sqrt(norm.running_var.data + norm.eps)
    weight = conv.weight.data * scale[:, None, None, None]
    bias = norm.bias.data - norm.running_mean.data * scale
    x = rng.standard_normal((2, 3, 7, 7))
    return float(np.abs(norm(conv(x)).data - tn.conv2d(x, weight, bias).data).max())


def train(run: Run, convolution: Callable[..., nn.Module], learning_rate: float) -> tuple[StepAccuracy, Trainer]:
    """Train the small network with ``convolution`` and record its accuracy at every step."""
    tn.manual_seed(run.seed)
    data, model = digits(32, seed=run.seed), small_googlenet(convolution).to(run.device)
    accuracy, loader = StepAccuracy(), DataLoader(data.train, BATCH, shuffle=True)
    epochs = EPOCHS if run.epochs is None else run.epochs
    optimizer = optim.AdamW(model.parameters(), lr=learning_rate)
    trainer = Trainer(
        model,
        tn.cross_entropy,
        optimizer,
        loader,
        schedule=optim.CosineAnnealingLR(optimizer, T_max=epochs * len(loader)),
        metrics=[accuracy],
        device=run.device,
        progress=run.progress,
    )
    trainer.fit(epochs)
    return accuracy, trainer


def demo(run: Run) -> Outcome:
    """Count the steps that the network needs with and without batch normalisation."""
    normalised, trainer = train(run, conv_bn_relu, RATE)
    plain, _ = train(run, conv_relu, RATE_WITHOUT)
    metrics = {
        "steps": len(normalised.hits),
        "steps_to_goal_with_batch_norm": normalised.steps_to(GOAL),
        "steps_to_goal_without": plain.steps_to(GOAL),
        "final_accuracy_with_batch_norm": normalised.recent()[-1],
        "final_accuracy_without": plain.recent()[-1],
    }
    named = {f"with batch normalisation, rate {RATE}": normalised, f"without, rate {RATE_WITHOUT}": plain}
    curves = {name: (range(WINDOW, len(a.hits) + 1), a.recent()) for name, a in named.items()}
    picture = save_curves(
        run.folder / "steps.png",
        f"Small GoogLeNet: {metrics['steps_to_goal_with_batch_norm']} steps to 90 % with batch normalisation",
        curves,
        "step",
        f"training accuracy over the last {WINDOW} batches",
    )
    return Outcome(metrics, [picture], trainer.history, trainer.times)


def _checks() -> list[tuple[nn.Module, tuple[np.ndarray]]]:
    return [(conv_bn_relu(2, 3, 3), (np.random.default_rng(0).standard_normal((3, 2, 5, 4)),))]


NOTE = Note(
    slug="inception-v2-bn",
    family="cnn",
    title="Inception v2: GoogLeNet with batch normalisation",
    sources="note 004",
    paper="Ioffe & Szegedy 2015, Batch normalization: accelerating deep network training by reducing internal "
    "covariate shift",
    text=__doc__,
    build=with_bn,
    example=lambda: (1, 3, 224, 224),
    demo=demo,
    bars=[
        Bar("steps_to_goal_with_batch_norm", at_most="steps"),
        Bar("steps_to_goal_with_batch_norm", at_most="steps_to_goal_without"),
    ],
    facts=[
        Fact(
            "parameters that batch normalisation adds, and the channels of all convolutions",
            (7_280, 7_280),
            added,
            "2C - C for each convolution",
        ),
        Fact(
            "parameters of block 3a with batch normalisation",
            163_696 + 64 + 96 + 128 + 16 + 32 + 32,
            lambda: parameter_count(without_memory(block_3a, conv_bn_relu)),
            "2C - C for each convolution",
        ),
    ],
    identities=[
        Identity("behind batch normalisation a bias makes no difference", bias_is_taken_away, 1e-12),
        Identity("a normalisation folded into its convolution", folded, 1e-12),
    ],
    checks=_checks,
)
