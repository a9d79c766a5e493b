"""Inception v4 and Inception-ResNet: with and without residual connections

What the note says. The fourth version of Inception adds residual connections (残差连接).

Where the note differs from the paper. The paper has both, and its Inception v4 is the one *without*: a regular, larger
Inception with 42,679,816 parameters. The networks with residual connections are Inception-ResNet v1 and v2; the second
has 55,843,464 parameters and is about as good, but trains faster. Both are built here.

The formula. A block of Inception-ResNet concatenates its paths, takes them by a 1×1 convolution (with a bias, without
ReLU) to as many channels as x has, and adds a small part of that:

    y = relu(x + s · W * [path₁(x); path₂(x); …])        s = 0.17, 0.10 and 0.20 in the three stages

Scaling: with more than a thousand filters such networks "died" early in training, only zeros came out. Neither a lower
learning rate nor more normalisation prevented that, but factors s between 0.1 and 0.3 on what is added did. With s = 0
the block is the identity of an x that is not negative, as every input is that comes out of a ReLU.

The networks. Both have three stages of blocks, at 35×35, 17×17 and 8×8 pixels for images of 299×299, with reductions
between them, as Inception v3 has: 4, 7 and 3 blocks in v4, where paths and pooling are concatenated already in the
stem; 10, 20 and 10 in Inception-ResNet v2, whose last block has neither scale nor ReLU. (The paper draws 5, 10 and 5;
the networks that were published, and are counted here, have twice as many.)

How it is trained here. Inception-ResNet v2 of the same class with a sixteenth of the channels and one block in each
stage, behind a stem without strides, on real digits of 8×8 pixels with an empty border of two, shifted by up to one
pixel in training; with the paper's scales, and for three epochs each with 0.1, 0.3 and 1 in all blocks. A network this
small does not die at any of them, which the picture shows. The validation part chose the hyper-parameters and chooses
the epoch whose weights are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.data import digits
from tinygrad_notes.nn import init
from tinygrad_notes.notes.classification import Recipe, classify_digits, train_classifier
from tinygrad_notes.notes.cnn.inception_block import Paths
from tinygrad_notes.notes.cnn.inception_v3 import Fork, averaged, chain
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run, parameter_count, without_memory
from tinygrad_notes.training.pictures import save_curves

RECIPE = Recipe(epochs=8, batch=64, learning_rate=1e-2, weight_decay=1e-2, warm_up=0.1, shift=1)
SHORT = replace(RECIPE, epochs=3)
SCALES, OTHER_SCALES = (0.17, 0.10, 0.20), (0.1, 0.3, 1.0)
WIDE, TALL = (1, 7), (7, 1)


def pooled() -> nn.Module:
    """The largest of each 3×3 window, with stride 2 and without padding, as all reductions have."""
    return nn.MaxPool2d(3, stride=2)


# ---------------------------------------------------------------------- Inception v4


def stem_v4(in_channels: int, d: int) -> nn.Sequential:
    """(in_channels, 299, 299) → (384, 35, 35), the channels divided by ``d``."""
    c32, c64, c96, c192 = 32 // d, 64 // d, 96 // d, 192 // d
    return nn.Sequential(
        *chain(in_channels, (c32, 3, 2), (c32, 3, 1)),  # (32, 147, 147)
        *chain(c32, (c64, 3)),
        Paths(pool=pooled(), three=chain(c64, (c96, 3, 2))),  # (160, 73, 73)
        Paths(
            three=chain(c64 + c96, (c64, 1), (c96, 3, 1)),
            seven=chain(c64 + c96, (c64, 1), (c64, WIDE), (c64, TALL), (c96, 3, 1)),
        ),  # (192, 71, 71)
        Paths(three=chain(2 * c96, (c192, 3, 2)), pool=pooled()),  # (384, 35, 35)
    )


def block_a(d: int) -> Paths:
    """(384, h, w) → (384, h, w), divided by ``d``."""
    before, c = 4 * (96 // d), 96 // d
    return Paths(
        one=chain(before, (c, 1)),
        three=chain(before, (64 // d, 1), (c, 3)),
        three_three=chain(before, (64 // d, 1), (c, 3), (c, 3)),
        pool=averaged(before, c),
    )


def reduction_a(before: int, channels: Sequence[int], d: int) -> Paths:
    """(before, h, w) → (before + 384 + the last of ``channels``, (h - 1) / 2, (w - 1) / 2)."""
    first, second, third = (c // d for c in channels)
    return Paths(
        three=chain(before, (384 // d, 3, 2)),
        three_three=chain(before, (first, 1), (second, 3), (third, 3, 2)),
        pool=pooled(),
    )


def block_b(before: int, d: int) -> Paths:
    """(1024, h, w) → (1024, h, w), divided by ``d``."""
    c192, c224, c256 = 192 // d, 224 // d, 256 // d
    return Paths(
        one=chain(before, (384 // d, 1)),
        seven=chain(before, (c192, 1), (c224, WIDE), (c256, TALL)),
        seven_seven=chain(before, (c192, 1), (c192, TALL), (c224, WIDE), (c224, TALL), (c256, WIDE)),
        pool=averaged(before, 128 // d),
    )


def reduction_b(before: int, d: int) -> Paths:
    """(1024, h, w) → (1536, (h - 1) / 2, (w - 1) / 2), divided by ``d``."""
    return Paths(
        three=chain(before, (192 // d, 1), (192 // d, 3, 2)),
        seven_three=chain(before, (256 // d, 1), (256 // d, WIDE), (320 // d, TALL), (320 // d, 3, 2)),
        pool=pooled(),
    )


def block_c(before: int, d: int) -> Paths:
    """(1536, h, w) → (1536, h, w), divided by ``d``."""
    return Paths(
        one=chain(before, (256 // d, 1)),
        fork=Fork(before, [(384 // d, 1)], 256 // d),
        three_fork=Fork(before, [(384 // d, 1), (448 // d, (3, 1)), (512 // d, (1, 3))], 256 // d),
        pool=averaged(before, 256 // d),
    )


class InceptionV4(nn.Sequential):
    """Inception v4, for images (batch, in_channels, 299, 299). ``divide``: a divisor of all numbers of channels."""

    def __init__(
        self,
        in_channels: int = 3,
        classes: int = 1000,
        divide: int = 1,
        blocks: tuple[int, int, int] = (4, 7, 3),
        dropout: float = 0.2,
    ):
        d = divide
        second = 4 * (96 // d) + 384 // d + 256 // d
        third = second + 192 // d + 320 // d
        super().__init__(
            stem_v4(in_channels, d),  # (batch, 384, 35, 35)
            *(block_a(d) for _ in range(blocks[0])),
            reduction_a(4 * (96 // d), (192, 224, 256), d),  # (batch, 1024, 17, 17)
            *(block_b(second, d) for _ in range(blocks[1])),
            reduction_b(second, d),  # (batch, 1536, 8, 8)
            *(block_c(third, d) for _ in range(blocks[2])),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(third, classes),
        )


# ---------------------------------------------------------------------- Inception-ResNet v2


class ResidualInception(nn.Module):
    """relu(x + scale · W * [paths of x]), (batch, channels, h, w) → the same. ``last``: x + W * […] without ReLU."""

    def __init__(self, channels: int, paths: Paths, scale: float, last: bool = False):
        super().__init__()
        self.paths, self.scale, self.last = paths, scale, last
        self.up = nn.Conv2d(sum(_channels(path) for path in paths.paths.values()), channels, 1)

    def forward(self, x: tn.Tensor) -> tn.Tensor:
        added = self.up(self.paths(x))
        return x + added if self.last else tn.relu(x + self.scale * added)


def _channels(path: nn.Module) -> int:
    """How many channels a path ends with."""
    return [layer.out_channels for layer in path.modules() if isinstance(layer, nn.Conv2d)][-1]


def residual_a(before: int, d: int) -> Paths:
    """The paths at 35×35: 1×1, 3×3 and two of 3×3."""
    c32 = 32 // d
    return Paths(
        one=chain(before, (c32, 1)),
        three=chain(before, (c32, 1), (c32, 3)),
        three_three=chain(before, (c32, 1), (48 // d, 3), (64 // d, 3)),
    )


def residual_b(before: int, d: int) -> Paths:
    """The paths at 17×17: 1×1, and 1×7 with 7×1."""
    return Paths(
        one=chain(before, (192 // d, 1)), seven=chain(before, (128 // d, 1), (160 // d, WIDE), (192 // d, TALL))
    )


def residual_c(before: int, d: int) -> Paths:
    """The paths at 8×8: 1×1, and 1×3 with 3×1."""
    c192 = 192 // d
    return Paths(one=chain(before, (c192, 1)), three=chain(before, (c192, 1), (224 // d, (1, 3)), (256 // d, (3, 1))))


def last_reduction(before: int, d: int) -> Paths:
    """(1088, h, w) → (2080, (h - 1) / 2, (w - 1) / 2), divided by ``d``."""
    c256, c288 = 256 // d, 288 // d
    return Paths(
        three=chain(before, (c256, 1), (384 // d, 3, 2)),
        other_three=chain(before, (c256, 1), (c288, 3, 2)),
        three_three=chain(before, (c256, 1), (c288, 3), (320 // d, 3, 2)),
        pool=pooled(),
    )


class InceptionResNetV2(nn.Sequential):
    """Inception-ResNet v2, for images (batch, in_channels, h, w).

    ``divide``: a divisor of all numbers of channels. ``scales``: what the blocks of each stage multiply
    what they add by. ``small_images``: a stem of two padded convolutions without strides.
    """

    def __init__(
        self,
        in_channels: int = 3,
        classes: int = 1000,
        divide: int = 1,
        blocks: tuple[int, int, int] = (10, 20, 10),
        scales: Sequence[float] = SCALES,
        small_images: bool = False,
        dropout: float = 0.2,
    ):
        d = divide
        c32, c64, c80, c96, c192 = 32 // d, 64 // d, 80 // d, 96 // d, 192 // d
        if small_images:
            stem = [*chain(in_channels, (c64, 3), (c192, 3))]
        else:
            stem = [
                *chain(in_channels, (c32, 3, 2), (c32, 3, 1)),  # (batch, 32, 147, 147)
                *chain(c32, (c64, 3)),
                pooled(),  # (batch, 64, 73, 73)
                *chain(c64, (c80, 1), (c192, 3, 1)),
                pooled(),  # (batch, 192, 35, 35)
            ]
        mixed = Paths(
            one=chain(c192, (c96, 1)),
            five=chain(c192, (48 // d, 1), (c64, 5)),
            three_three=chain(c192, (c64, 1), (c96, 3), (c96, 3)),
            pool=averaged(c192, c64),
        )
        first = 2 * c96 + 2 * c64
        second = first + 2 * (384 // d)
        third = second + 384 // d + 288 // d + 320 // d

        super().__init__(
            *stem,
            mixed,  # (batch, 320, 35, 35)
            *(ResidualInception(first, residual_a(first, d), scales[0]) for _ in range(blocks[0])),
            reduction_a(first, (256, 256, 384), d),  # (batch, 1088, 17, 17)
            *(ResidualInception(second, residual_b(second, d), scales[1]) for _ in range(blocks[1])),
            last_reduction(second, d),  # (batch, 2080, 8, 8)
            *(
                ResidualInception(third, residual_c(third, d), scales[2], last=i == blocks[2] - 1)
                for i in range(blocks[2])
            ),
            *chain(third, (1536 // d, 1)),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(1536 // d, classes),
        )


def small_inception_resnet(scales: Sequence[float] = SCALES) -> InceptionResNetV2:
    """One block in each stage and the last one, a sixteenth of the channels; for grey images and ten classes."""
    return InceptionResNetV2(1, 10, 16, (1, 1, 2), scales, small_images=True)


# ---------------------------------------------------------------------- what must hold


def scale_of_zero() -> float:
    """How far a block with scale 0 is from the identity."""
    block, x = ResidualInception(4, residual_b(4, 64), 0.0), np.random.default_rng(0).random((2, 4, 5, 5))
    return float(np.abs(block.to(tn.float64)(x).data - x).max())


def scale_in_the_weights() -> float:
    """How far a block with scale s is from one with scale 1 and a last convolution s times as large."""
    one, other = (ResidualInception(4, residual_b(4, 64), scale).to(tn.float64) for scale in (0.17, 1.0))
    other.load_state_dict(one.state_dict())
    for parameter in other.up.parameters():
        init.copy_(parameter, 0.17 * parameter.data)
    x = np.random.default_rng(0).standard_normal((2, 4, 5, 5))
    return float(np.abs(one(x).data - other(x).data).max())


def demo(run: Run) -> Outcome:
    """Train the small network with the paper's scales, and report others."""
    tn.manual_seed(run.seed)
    outcome = classify_digits(run, small_inception_resnet(), RECIPE, "Small Inception-ResNet v2", size=12)
    histories, more = {}, {}
    data = digits(12, seed=run.seed)
    for scale in OTHER_SCALES:
        tn.manual_seed(run.seed)
        model = small_inception_resnet((scale,) * 3)
        trainer = train_classifier(run, model, data, SHORT, name=f"scale-{scale}")
        histories[scale] = trainer.history
        more[f"validation_accuracy_scale_{scale}"] = max(row["validation_accuracy"] for row in trainer.history)
    curves = {
        f"scale {scale}": ([row["epoch"] for row in history], [row["loss"] for row in history])
        for scale, history in histories.items()
    }
    picture = save_curves(
        run.folder / "scales.png",
        "Small Inception-ResNet v2 with other scales of what a block adds",
        curves,
        "epoch",
        "training loss (log scale)",
        "y",
    )
    return Outcome(outcome.metrics | more, [*outcome.pictures, picture], outcome.history, outcome.times)


def _checks() -> list[tuple[nn.Module, tuple[np.ndarray]]]:
    x = np.random.default_rng(0).standard_normal((3, 4, 5, 5))
    return [
        (ResidualInception(4, residual_a(4, 16), 0.17), (x,)),
        (ResidualInception(4, residual_c(4, 64), 0.2, last=True), (x,)),
        (last_reduction(4, 96), (x,)),
    ]


NOTE = Note(
    slug="inception-v4-resnet",
    family="cnn",
    title="Inception v4 and Inception-ResNet: with and without residual connections",
    sources="note 004; timm",
    paper="Szegedy, Ioffe, Vanhoucke & Alemi 2016, Inception-v4, Inception-ResNet and the impact of residual "
    "connections on learning",
    text=__doc__,
    build=InceptionResNetV2,
    example=lambda: (1, 3, 299, 299),
    demo=demo,
    bars=[Bar("test_accuracy", at_least=0.95)],
    facts=[
        Fact(
            "parameters of Inception v4",
            42_679_816,
            lambda: parameter_count(without_memory(InceptionV4)),
            "timm, inception_v4",
        ),
        Fact(
            "parameters of Inception-ResNet v2",
            55_843_464,
            lambda: parameter_count(without_memory(InceptionResNetV2)),
            "timm, inception_resnet_v2",
        ),
        Fact(
            "blocks with a residual connection in Inception v4",
            0,
            lambda: sum(isinstance(m, ResidualInception) for m in without_memory(InceptionV4).modules()),
            "Szegedy et al. 2016",
        ),
    ],
    identities=[
        Identity("a block with scale 0 and the identity, where x ≥ 0", scale_of_zero),
        Identity("a scale, and the same factor in the last convolution", scale_in_the_weights, 1e-12),
    ],
    checks=_checks,
)
