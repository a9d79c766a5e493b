"""GoogLeNet: nine Inception blocks in five stages

What the note says. GoogLeNet (含并行连结的网络) is made of five stages with nine Inception blocks: none in the first
two, then 2, 5 and 2. The first stages raise the number of channels and lower height and width quickly. The network
has few parameters and computes little.

The formula. A stage is convolutions or blocks, then a max pooling of 3×3 and stride 2 that halves height and width; the
last one ends in global average pooling and one affine layer. For a grey image of 96×96:

    1   7×7 convolution of stride 2, pooling           64 × 24 × 24
    2   1×1 convolution, 3×3 convolution, pooling     192 × 12 × 12
    3   two Inception blocks, pooling                 480 × 6 × 6
    4   five Inception blocks, pooling                832 × 3 × 3
    5   two Inception blocks, global average         1024

1.5 billion multiply-adds and 6.6 million parameters, a ninth of AlexNet's 61.1: the large affine layers are
gone, and 1×1 convolutions lower the channels before the large convolutions.

Auxiliary heads. So that gradients reach the lower blocks, two more classifiers look at the outputs of blocks 4a and 4d
in training, each: average pooling to 4×4, a 1×1 convolution to 128 channels, two affine layers with dropout of 0.7.
Their losses count 0.3 each; the heads are thrown away afterwards. They have nearly as many parameters as all the rest.

Where the sources differ. The paper has local response normalisation in its first two stages, which nobody kept.
"Dive into Deep Learning" (7.4) writes the network without it and without heads: 5,977,530 parameters for grey images
and ten classes, 6,998,552 for colours and a thousand. torchvision's has batch normalisation in place of biases, 3×3
convolutions where 5×5 should be (an old mistake that its published weights depend on), poolings that round sizes up
and a last one of 2×2: 6,624,904 parameters, 13,004,888 with heads. `GoogLeNet` below is all of these.

How it is trained here. The same class with all channels divided by eight, with batch normalisation and therefore
without heads, on real digits of 32×32 pixels, shifted by up to two pixels (half of the original's) in training. The
validation part chose the hyper-parameters and chooses the epoch whose weights are kept. What becomes of the same
network without normalisation is measured in `inception-v2-bn`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.nn import init
from tinygrad_notes.notes.classification import Recipe, classify_digits
from tinygrad_notes.notes.cnn.inception_block import Convolution, Inception, conv_relu
from tinygrad_notes.notes.note import (
    Bar,
    Fact,
    Identity,
    Note,
    Outcome,
    Run,
    multiply_adds,
    parameter_count,
    without_memory,
)

RECIPE = Recipe(epochs=10, batch=32, learning_rate=1e-2, weight_decay=1e-2, warm_up=0.1, shift=2)

# Channels of a block's paths: 1×1; before and of the 3×3; before and of the 5×5; behind the pooling.
Budget = tuple[int, tuple[int, int], tuple[int, int], int]
STAGES: tuple[tuple[Budget, ...], ...] = (
    ((64, (96, 128), (16, 32), 32), (128, (128, 192), (32, 96), 64)),  # 3a, 3b
    (
        (192, (96, 208), (16, 48), 64),  # 4a
        (160, (112, 224), (24, 64), 64),
        (128, (128, 256), (24, 64), 64),
        (112, (144, 288), (32, 64), 64),  # 4d
        (256, (160, 320), (32, 128), 128),
    ),
    ((256, (160, 320), (32, 128), 128), (384, (192, 384), (48, 128), 128)),  # 5a, 5b
)


def conv_bn_relu(before: int, after: int, kernel: int | tuple[int, int], **options: Any) -> nn.Module:
    """A convolution without a bias, batch normalisation, and ReLU."""
    layer = nn.Conv2d(before, after, kernel, bias=False, **options)
    init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return nn.Sequential({"conv": layer, "bn": nn.BatchNorm2d(after, eps=1e-3), "relu": nn.ReLU()})


def auxiliary_head(before: int, classes: int, divide: int, convolution: Convolution) -> nn.Module:
    """A classifier for the middle of the network, (batch, before, h, w) → (batch, classes)."""
    channels, hidden = 128 // divide, 1024 // divide
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(4),  # (batch, before, 4, 4)
        convolution(before, channels, 1),  # (batch, 128, 4, 4)
        nn.Flatten(),  # (batch, 2048)
        nn.Linear(16 * channels, hidden),
        nn.ReLU(),
        nn.Dropout(0.7),
        nn.Linear(hidden, classes),
    )


class GoogLeNet(nn.Module):
    """The network for images (batch, in_channels, h, w), as the book has it unless told otherwise.

    ``divide``: a divisor of all numbers of channels. ``convolution`` makes a convolution with what follows it.
    ``heads``: with auxiliary heads, which :meth:`outputs` lets speak; calling the network gives its own answer alone.
    ``torchvision``: with the sizes of torchvision's poolings and its 3×3 for 5×5.
    """

    def __init__(
        self,
        in_channels: int = 3,
        classes: int = 1000,
        divide: int = 1,
        convolution: Convolution = conv_relu,
        heads: bool = False,
        torchvision: bool = False,
        dropout: float = 0.0,
    ):
        super().__init__()
        pool = partial(nn.MaxPool2d, stride=2, padding=0 if torchvision else 1, ceil_mode=torchvision)
        low, high = 64 // divide, 192 // divide
        stages = [
            nn.Sequential(convolution(in_channels, low, 7, stride=2, padding=3), pool(3)),  # (batch, 64, 56, 56)
            nn.Sequential(convolution(low, low, 1), convolution(low, high, 3, padding=1), pool(3)),  # (…, 192, 28, 28)
        ]
        before, seen = high, []
        for budgets in STAGES:
            stage = nn.Sequential()
            for one, three, five, pooled in budgets:
                block = Inception(
                    before,
                    one // divide,
                    (three[0] // divide, three[1] // divide),
                    (five[0] // divide, five[1] // divide),
                    pooled // divide,
                    convolution,
                    five_by=3 if torchvision else 5,
                )
                before = (one + three[1] + five[1] + pooled) // divide
                seen.append(before)
                stage.append(block)
            stages.append(stage)
        stages[2].append(pool(3))  # (batch, 480, 14, 14)
        stages[3].append(nn.MaxPool2d(2, 2) if torchvision else pool(3))  # (batch, 832, 7, 7)
        stages[4].extend([nn.AdaptiveAvgPool2d(1), nn.Flatten()])  # (batch, 1024)
        self.stages = nn.ModuleList(stages)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(before, classes)
        self.heads = (
            nn.ModuleList(auxiliary_head(seen[i], classes, divide, convolution) for i in (2, 5)) if heads else None
        )

    def outputs(self, x: Any) -> list[tn.Tensor]:
        """The logits (batch, classes) of the network and, where there are any, of its heads behind 4a and 4d."""
        for stage in self.stages[:3]:
            x = stage(x)
        middle = self.stages[3]
        first = middle[:1](x)
        second = middle[1:4](first)
        logits = self.fc(self.dropout(self.stages[4](middle[4:](second))))
        return [logits, *(head(y) for head, y in zip(self.heads or (), (first, second)))]

    def forward(self, x: tn.Tensor) -> tn.Tensor:
        for stage in self.stages:
            x = stage(x)
        return self.fc(self.dropout(x))


def torchvision_googlenet(heads: bool = False) -> GoogLeNet:
    """GoogLeNet as torchvision has it."""
    return GoogLeNet(convolution=conv_bn_relu, heads=heads, torchvision=True, dropout=0.2)


def small_googlenet(convolution: Convolution = conv_relu, heads: bool = False, divide: int = 8) -> GoogLeNet:
    """GoogLeNet with fewer channels, for grey images and ten classes."""
    return GoogLeNet(1, 10, divide, convolution, heads)


def stage_shapes(model: GoogLeNet, x: tn.Tensor) -> list[tuple[int, ...]]:
    """The shape of one image behind each stage."""
    found = []
    for stage in model.stages:
        x = stage(x)
        found.append(x.shape[1:])
    return found


def blocks_by_stage(model: GoogLeNet) -> list[int]:
    """How many Inception blocks each stage has."""
    return [sum(isinstance(module, Inception) for module in stage.modules()) for stage in model.stages]


def two_ways_through() -> float:
    """How far the network's own answer is from the first of its outputs, when it has heads."""
    model = small_googlenet(heads=True, divide=16).eval()
    x = np.random.default_rng(0).standard_normal((2, 1, 32, 32)).astype(np.float32)
    return float(np.abs(model(x).data - model.outputs(x)[0].data).max())


def demo(run: Run) -> Outcome:
    """Train the small network on the digits and compare it with three baselines."""
    tn.manual_seed(run.seed)
    return classify_digits(run, small_googlenet(conv_bn_relu), RECIPE, "Small GoogLeNet", size=32)


def _checks() -> list[tuple[nn.Module, tuple[np.ndarray]]]:
    rng = np.random.default_rng(0)
    block = Inception(2, 2, (2, 3), (2, 2), 2, conv_bn_relu, five_by=3)
    head = auxiliary_head(3, 3, 64, conv_bn_relu).eval()
    return [(block, (rng.standard_normal((3, 2, 4, 4)),)), (head, (rng.standard_normal((2, 3, 5, 5)),))]


BOOK_SHAPES = [(64, 24, 24), (192, 12, 12), (480, 6, 6), (832, 3, 3), (1024,)]

NOTE = Note(
    slug="googlenet",
    family="cnn",
    title="GoogLeNet: nine Inception blocks in five stages",
    sources="note 004; Zhang et al., Dive into Deep Learning, 7.4; torchvision",
    paper="Szegedy et al. 2014, Going deeper with convolutions",
    text=__doc__,
    build=GoogLeNet,
    example=lambda: (1, 3, 224, 224),
    demo=demo,
    bars=[Bar("test_accuracy", at_least=0.95)],
    facts=[
        Fact(
            "parameters without normalisation and heads",
            6_998_552,
            lambda: parameter_count(without_memory(GoogLeNet)),
            "Dive into Deep Learning, 7.4, with colours and 1000 classes",
        ),
        Fact(
            "parameters of the book's network",
            5_977_530,
            lambda: parameter_count(without_memory(GoogLeNet, 1, 10)),
            "Dive into Deep Learning, 7.4",
        ),
        Fact(
            "parameters of torchvision's network",
            6_624_904,
            lambda: parameter_count(without_memory(torchvision_googlenet)),
            "torchvision, googlenet",
        ),
        Fact(
            "parameters of torchvision's network with heads",
            13_004_888,
            lambda: parameter_count(without_memory(torchvision_googlenet, heads=True)),
            "torchvision, googlenet",
        ),
        Fact(
            "billions of multiply-adds of torchvision's network, 224×224",
            1.498,
            lambda: multiply_adds(without_memory(torchvision_googlenet), (1, 3, 224, 224)),
            "torchvision, googlenet",
        ),
        Fact(
            "shapes behind its stages, 96×96",
            BOOK_SHAPES,
            lambda: stage_shapes(without_memory(GoogLeNet, 1, 10), tn.zeros((1, 1, 96, 96))),
            "Dive into Deep Learning, 7.4",
        ),
        Fact(
            "Inception blocks in its stages",
            [0, 0, 2, 5, 2],
            lambda: blocks_by_stage(without_memory(GoogLeNet)),
            "Szegedy et al. 2014, table 1",
        ),
    ],
    identities=[Identity("the answer with heads, and without", two_ways_through)],
    checks=_checks,
)
