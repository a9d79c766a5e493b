"""The Inception block: take all paths

What the note says. Whether 1×1, 3×3, 5×5 or pooling is best need not be decided: an Inception block (含并行连结) has
all four as paths beside each other, which leave height and width alone, and puts their outputs together along the
channels. Each path has its own budget of channels. A 1×1 convolution before the large ones lowers the number of
channels, which controls the complexity.

The formula. For x of (C, h, w), with [ ; ] along the channels and a ReLU behind each convolution,

    y = [ W₁ₓ₁ * x ;  W₃ₓ₃ * (V * x) ;  W₅ₓ₅ * (U * x) ;  P * maxpool₃ₓ₃(x) ]

The first block of GoogLeNet, 3a, takes 192 channels to 64 + 128 + 32 + 32 = 256 with 163,696 parameters. Without the
1×1 before it, its 5×5 path alone would have 5² · 192 · 32 = 153,600 weights; through 16 channels it has
192 · 16 + 5² · 16 · 32 = 15,872.

Where the note differs. It writes "output = o1 + o2 + o3 + o4", though it says later that outputs are concatenated, as
they are. (The two are near: a 1×1 convolution after the concatenation is the *sum* of one 1×1 convolution of each
path, which is measured below. What the block leaves open is the weights of that sum.) It writes the third path as 1×1,
3×3, 5×5: it is 1×1, then 5×5, of padding 2. And its fourth path lacks the 1×1 after the pooling, without which the
pooled path would hand on all C channels, and each block would have more channels than the last.

The demo trains one small block between two convolutions and an affine layer, on real digits of 8×8 pixels, and shows
what each path makes of a digit. How well nine blocks classify is `googlenet`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.data import digits
from tinygrad_notes.nn import init
from tinygrad_notes.notes.classification import Recipe, digit_baselines, outputs_on_test, train_classifier
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run, parameter_count, without_memory
from tinygrad_notes.training.pictures import save_maps

RECIPE = Recipe(epochs=10, batch=64, learning_rate=1e-2, weight_decay=1e-2, warm_up=0.1, shift=1)

Convolution = Callable[..., nn.Module]  # of what nn.Conv2d takes


def conv_relu(before: int, after: int, kernel: int | tuple[int, int], **options: Any) -> nn.Module:
    """A convolution with a bias, and ReLU."""
    layer = nn.Conv2d(before, after, kernel, **options)
    init.kaiming_normal_(layer.weight, nonlinearity="relu")
    init.zeros_(layer.bias)  # type: ignore[arg-type]
    return nn.Sequential({"conv": layer, "relu": nn.ReLU()})


class Paths(nn.Module):
    """Several networks beside each other on one input; their outputs one behind the other along the channels."""

    def __init__(self, **paths: nn.Module):
        super().__init__()
        self.paths = nn.ModuleDict(paths)

    def outputs(self, x: tn.Tensor) -> list[tn.Tensor]:
        """What each path says, (batch, its channels, h, w)."""
        return [path(x) for path in self.paths.values()]

    def forward(self, x: tn.Tensor) -> tn.Tensor:
        return tn.concat(self.outputs(x), axis=1)  # (batch, sum of channels, h, w)


class Inception(Paths):
    """Four paths, (batch, before, h, w) → (batch, one + three + five + pooled, h, w).

    ``three`` and ``five``: the channels of the 1×1 in front, and of the convolution itself. ``convolution`` makes a
    convolution with what follows it. ``five_by``: 5, or 3 as in torchvision's network.
    """

    def __init__(
        self,
        before: int,
        one: int,
        three: tuple[int, int],
        five: tuple[int, int],
        pooled: int,
        convolution: Convolution = conv_relu,
        five_by: int = 5,
    ):
        super().__init__(
            branch1=convolution(before, one, 1),
            branch2=nn.Sequential(convolution(before, three[0], 1), convolution(three[0], three[1], 3, padding=1)),
            branch3=nn.Sequential(
                convolution(before, five[0], 1), convolution(five[0], five[1], five_by, padding=five_by // 2)
            ),
            branch4=nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), convolution(before, pooled, 1)),
        )


def block_3a(convolution: Convolution = conv_relu) -> Inception:
    """The first block of GoogLeNet."""
    return Inception(192, 64, (96, 128), (16, 32), 32, convolution)


def small_block(before: int = 3) -> Inception:
    """A block with budgets of 4, 6, 3 and 2 channels."""
    return Inception(before, 4, (3, 6), (2, 3), 2)


def network() -> nn.Sequential:
    """One small block with what it needs to classify images of (batch, 1, 8, 8)."""
    return nn.Sequential(
        conv_relu(1, 16, 3, padding=1),  # (batch, 16, 8, 8)
        Inception(16, 8, (8, 16), (4, 8), 8),  # (batch, 40, 8, 8)
        nn.MaxPool2d(2),  # (batch, 40, 4, 4)
        conv_relu(40, 32, 3),  # (batch, 32, 2, 2)
        nn.Flatten(),
        nn.Linear(128, 10),  # (batch, 10)
    )


def weights(*layers: nn.Module) -> int:
    """How many weights ``layers`` have, without their biases."""
    return sum(p.size for layer in layers for p in layer.parameters() if p.ndim > 1)


def _input(channels: int = 3) -> tn.Tensor:
    return tn.asarray(np.random.default_rng(0).standard_normal((2, channels, 7, 6)))


def order_of_channels() -> float:
    """How far the slices of the output are from what the four paths give one by one, written out."""
    block, x = small_block().to(tn.float64), _input()
    one, three, five, pooled = block.paths.values()
    y, begin, error = block(x), 0, 0.0
    for path in (one(x), three[1](three[0](x)), five[1](five[0](x)), pooled[1](tn.max_pool2d(x, 3, 1, 1))):
        error = max(error, float(np.abs(y[:, begin : begin + path.shape[1]].data - path.data).max()))
        begin += path.shape[1]
    return error + abs(begin - y.shape[1])


def mixed_concatenation_is_a_sum() -> float:
    """How far a 1×1 convolution of the concatenation is from the sum of 1×1 convolutions of the paths."""
    block, x = small_block().to(tn.float64), _input()
    mix = np.random.default_rng(1).standard_normal((5, 15, 1, 1))
    parts = np.split(mix, np.cumsum([path.shape[1] for path in block.outputs(x)])[:-1], axis=1)
    summed = sum(tn.conv2d(path, part).data for path, part in zip(block.outputs(x), parts))
    return float(np.abs(tn.conv2d(block(x), mix).data - summed).max())


def demo(run: Run) -> Outcome:
    """Train one block, and show the channels of each path for one test digit."""
    tn.manual_seed(run.seed)
    model, data = network(), digits(8, seed=run.seed)
    trainer = train_classifier(run, model, data, RECIPE)
    logits, labels = outputs_on_test(model, data, run.device)
    accuracy = float((logits.argmax(axis=1) == labels).mean())
    image = data.test.tensors[0][:1].to(run.device)
    with tn.no_grad():
        paths = model[1].outputs(model[0](image))
    digit = image.numpy()[0, 0]
    maps = {}
    for name, path in zip(("1×1", "3×3", "5×5", "pooling"), paths):
        maps[f"the image (a {labels[0]}), by {name}:"] = (digit - digit.min()) / (digit.max() - digit.min())
        strongest = np.argsort(-path.numpy()[0].max(axis=(1, 2)), kind="stable")[:3]
        for channel in strongest:
            y = path.numpy()[0, channel]
            maps[f"{name}, channel {channel}"] = y / max(float(y.max()), 1e-6)
    picture = save_maps(
        run.folder / "paths.png",
        f"What the four paths make of a digit (three channels each, scaled to 1); test accuracy {accuracy:.4f}",
        maps,
    )
    return Outcome({"test_accuracy": accuracy, **digit_baselines()}, [picture], trainer.history, trainer.times)


def _checks() -> list[tuple[nn.Module, tuple[np.ndarray]]]:
    return [(small_block(), (np.random.default_rng(0).standard_normal((2, 3, 5, 4)),))]


def _path_of_five(reduced: bool) -> int:
    path = without_memory(block_3a).paths["branch3"]
    return weights(path) if reduced else weights(without_memory(conv_relu, 192, 32, 5))


NOTE = Note(
    slug="inception-block",
    family="cnn",
    title="The Inception block: take all paths",
    sources="note 004; Zhang et al., Dive into Deep Learning, 7.4",
    paper="Szegedy et al. 2014, Going deeper with convolutions",
    text=__doc__,
    build=block_3a,
    example=lambda: (1, 192, 28, 28),
    demo=demo,
    bars=[Bar("test_accuracy", at_least="logistic_regression")],
    facts=[
        Fact(
            "parameters of block 3a",
            163_696,
            lambda: parameter_count(without_memory(block_3a)),
            "Szegedy et al. 2014, table 1; with biases",
        ),
        Fact(
            "shape of its output",
            (64 + 128 + 32 + 32, 28, 28),
            lambda: without_memory(block_3a)(tn.zeros((1, 192, 28, 28))).shape[1:],
            "Szegedy et al. 2014, table 1",
        ),
        Fact("weights of its 5×5 path without the 1×1", 153_600, lambda: _path_of_five(reduced=False), "5² · 192 · 32"),
        Fact("weights of its 5×5 path", 15_872, lambda: _path_of_five(reduced=True), "192 · 16 + 5² · 16 · 32"),
    ],
    identities=[
        Identity("the slices of the output and the four paths one by one", order_of_channels),
        Identity(
            "a 1×1 convolution of the concatenation, and a sum over the paths", mixed_concatenation_is_a_sum, 1e-12
        ),
    ],
    checks=_checks,
)
