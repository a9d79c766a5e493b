"""Inception v3: large windows made of small ones

What the note says. The third version replaces a 5×5 convolution by 3×3 ones, and uses kernels that are long in one
direction only: 1×7 and 7×1.

The formula. Two 3×3 convolutions, one behind the other, see 5×5 pixels, and a 1×n and an n×1 see n×n. For C channels
in and out, weights (and multiply-adds for each place) are, with C = 64,

    5×5   25 C² = 102,400        two of 3×3       18 C² =  73,728
    7×7   49 C² = 200,704        1×7 and 7×1      14 C² =  57,344

For one channel, and with nothing between, the pair 1×7 and 7×1 is the 7×7 kernel u vᵀ: the kernels of rank one. With
the ReLU between two convolutions more can be expressed. Both are measured below: what pixels an output depends on, and
the product.

The network. A stem of convolutions takes images of 299×299 to 192 channels of 35×35. Then come three blocks of kind A
(the 5×5 path and one of two 3×3), a reduction B to 17×17, four blocks of kind C (1×7 and 7×1), a reduction D to 8×8
and two blocks of kind E (1×3 and 3×1 beside each other, to make features many without making the network deep). An
auxiliary head looks at the 17×17 in training.

Where the sources differ. The note writes "5×5 → 1×7 + 7×1". It is two things: 5×5 → 3×3, 3×3, and n×n → 1×n, n×1, with
n = 7, used in the middle of the network. torchvision's network still has a 5×5 in its three blocks A (as the authors'
own code has), where the paper draws 3×3; it has 23,834,568 parameters, 27,161,264 with its head.

How it is trained here. The same class with all channels divided by sixteen and one block of each kind, behind a stem
without strides, on real digits of 8×8 pixels with an empty border of two, shifted by up to one pixel in training. The
validation part chose the hyper-parameters and chooses the epoch whose weights are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.classification import Recipe, classify_digits
from tinygrad_notes.notes.cnn.googlenet import conv_bn_relu
from tinygrad_notes.notes.cnn.inception_block import Paths
from tinygrad_notes.notes.note import (
    Bar,
    Fact,
    Identity,
    Note,
    Outcome,
    Run,
    parameter_count,
    without_memory,
)

RECIPE = Recipe(epochs=10, batch=64, learning_rate=1e-2, weight_decay=1e-2, warm_up=0.1, shift=1)

Step = tuple[int, int | tuple[int, int]] | tuple[int, int | tuple[int, int], int]


def chain(before: int, *steps: Step) -> nn.Sequential:
    """Convolutions with BN and ReLU one behind the other.

    A step is (channels, kernel), padded so that height and width stay, or (channels, kernel, stride), not padded.
    """
    made = nn.Sequential()
    for after, kernel, *stride in steps:
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (0, 0) if stride else (height // 2, width // 2)
        made.append(conv_bn_relu(before, after, (height, width), stride=(stride or [1])[0], padding=padding))
        before = after
    return made


def averaged(before: int, after: int) -> nn.Sequential:
    """The mean of each 3×3 window, and a 1×1 convolution."""
    return nn.Sequential(nn.AvgPool2d(3, stride=1, padding=1), *chain(before, (after, 1)))


class Fork(nn.Module):
    """A chain, then two convolutions beside each other, of 1×3 and of 3×1."""

    def __init__(self, before: int, steps: Sequence[Step], after: int):
        super().__init__()
        self.trunk, last = chain(before, *steps), steps[-1][0]
        self.ends = Paths(wide=chain(last, (after, (1, 3))), tall=chain(last, (after, (3, 1))))

    def forward(self, x: tn.Tensor) -> tn.Tensor:
        return self.ends(self.trunk(x))


def block_a(before: int, pooled: int, d: int = 1) -> Paths:
    """(before, h, w) → (224 + pooled, h, w), divided by ``d``."""
    return Paths(
        one=chain(before, (64 // d, 1)),
        five=chain(before, (48 // d, 1), (64 // d, 5)),
        three_three=chain(before, (64 // d, 1), (96 // d, 3), (96 // d, 3)),
        pool=averaged(before, pooled // d),
    )


def reduction_b(before: int, d: int = 1) -> Paths:
    """(before, h, w) → (480 / d + before, (h - 1) / 2, (w - 1) / 2)."""
    return Paths(
        three=chain(before, (384 // d, 3, 2)),
        three_three=chain(before, (64 // d, 1), (96 // d, 3), (96 // d, 3, 2)),
        pool=nn.MaxPool2d(3, stride=2),
    )


def block_c(before: int, channels: int, d: int = 1) -> Paths:
    """(before, h, w) → (768 / d, h, w), through ``channels`` / d."""
    c, wide, tall = channels // d, (1, 7), (7, 1)
    return Paths(
        one=chain(before, (192 // d, 1)),
        seven=chain(before, (c, 1), (c, wide), (192 // d, tall)),
        seven_seven=chain(before, (c, 1), (c, tall), (c, wide), (c, tall), (192 // d, wide)),
        pool=averaged(before, 192 // d),
    )


def reduction_d(before: int, d: int = 1) -> Paths:
    """(before, h, w) → (512 / d + before, (h - 1) / 2, (w - 1) / 2)."""
    c = 192 // d
    return Paths(
        three=chain(before, (c, 1), (320 // d, 3, 2)),
        seven_three=chain(before, (c, 1), (c, (1, 7)), (c, (7, 1)), (c, 3, 2)),
        pool=nn.MaxPool2d(3, stride=2),
    )


def block_e(before: int, d: int = 1) -> Paths:
    """(before, h, w) → (2048 / d, h, w)."""
    return Paths(
        one=chain(before, (320 // d, 1)),
        fork=Fork(before, [(384 // d, 1)], 384 // d),
        three_fork=Fork(before, [(448 // d, 1), (384 // d, 3)], 384 // d),
        pool=averaged(before, 192 // d),
    )


class InceptionV3(nn.Module):
    """The network for images (batch, in_channels, h, w).

    ``divide``: a divisor of all numbers of channels. ``pooled``: of the blocks A, the channels behind their pooling;
    ``through``: of the blocks C, the channels within; ``last``: how many blocks E. ``small_images``: a stem
    of two padded convolutions without strides. ``head``: with an auxiliary head (its output is :meth:`head_output`).
    """

    def __init__(
        self,
        in_channels: int = 3,
        classes: int = 1000,
        divide: int = 1,
        pooled: Sequence[int] = (32, 64, 64),
        through: Sequence[int] = (128, 160, 160, 192),
        last: int = 2,
        small_images: bool = False,
        head: bool = False,
        dropout: float = 0.5,
    ):
        super().__init__()
        d, before = divide, 192 // divide
        if small_images:
            self.stem = chain(in_channels, (64 // d, 3), (before, 3))
        else:
            self.stem = nn.Sequential(
                *chain(in_channels, (32 // d, 3, 2), (32 // d, 3, 1)),  # (batch, 32, 147, 147)
                *chain(32 // d, (64 // d, 3)),
                nn.MaxPool2d(3, stride=2),  # (batch, 64, 73, 73)
                *chain(64 // d, (80 // d, 1), (before, 3, 1)),
                nn.MaxPool2d(3, stride=2),  # (batch, 192, 35, 35)
            )
        self.blocks = nn.Sequential()
        for channels in pooled:
            self.blocks.append(block_a(before, channels, d))
            before = 224 // d + channels // d
        self.blocks.append(reduction_b(before, d))  # (batch, 768, 17, 17)
        before += 480 // d
        for channels in through:
            self.blocks.append(block_c(before, channels, d))
            before = 4 * (192 // d)
        self.middle = len(self.blocks)
        self.head = (
            nn.Sequential(
                nn.AvgPool2d(5, stride=3),  # (batch, 768, 5, 5)
                *chain(before, (128 // d, 1), (768 // d, 5, 1)),  # (batch, 768, 1, 1)
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(768 // d, classes),
            )
            if head
            else None
        )
        self.blocks.append(reduction_d(before, d))  # (batch, 1280, 8, 8)
        before += 320 // d + 192 // d
        for _ in range(last):
            self.blocks.append(block_e(before, d))
            before = 320 // d + 4 * (384 // d) + 192 // d
        self.pool, self.dropout = nn.AdaptiveAvgPool2d(1), nn.Dropout(dropout)
        self.fc = nn.Linear(before, classes)  # of 2048

    def forward(self, x: tn.Tensor) -> tn.Tensor:
        x = self.blocks(self.stem(x))
        return self.fc(tn.flatten(self.dropout(self.pool(x)), 1))

    def head_output(self, x: tn.Tensor) -> tn.Tensor:
        """The logits (batch, classes) of the auxiliary head."""
        return self.head(self.blocks[: self.middle](self.stem(x)))  # type: ignore[misc]


def small_inception_v3() -> InceptionV3:
    """One block of each kind with a sixteenth of the channels, for grey images and ten classes."""
    return InceptionV3(1, 10, 16, pooled=(32,), through=(128,), last=1, small_images=True, dropout=0.2)


# ---------------------------------------------------------------------- what must hold


def weights(*kernels: tuple[int, int], channels: int = 64) -> int:
    """How many weights convolutions with these kernels have, ``channels`` in and out."""
    made = (without_memory(nn.Conv2d, channels, channels, kernel, bias=False) for kernel in kernels)
    return sum(map(parameter_count, made))


def seen(*kernels: tuple[int, int]) -> np.ndarray:
    """Which of 11×11 pixels the middle output of convolutions depends on: where its gradient is not 0."""
    x = tn.ones((1, 1, 11, 11), requires_grad=True)
    y = x
    for height, width in kernels:
        y = tn.conv2d(y, np.ones((1, 1, height, width), np.float32), padding=(height // 2, width // 2))
    y[0, 0, 5, 5].backward()
    return x.grad.data[0, 0] != 0  # type: ignore[union-attr]


def differently_seen(one: Sequence[tuple[int, int]], other: Sequence[tuple[int, int]]) -> float:
    """How many pixels only one of two stacks of convolutions depends on."""
    return float((seen(*one) ^ seen(*other)).sum())


def product_of_two() -> float:
    """How far a 7×7 convolution by u vᵀ is from one by v (1×7), then one by u (7×1)."""
    rng = np.random.default_rng(0)
    x, u, v = rng.standard_normal((2, 1, 12, 12)), rng.standard_normal(7), rng.standard_normal(7)
    whole = tn.conv2d(x, np.outer(u, v).reshape(1, 1, 7, 7))
    pair = tn.conv2d(tn.conv2d(x, v.reshape(1, 1, 1, 7)), u.reshape(1, 1, 7, 1))
    return float(np.abs(whole.data - pair.data).max())


def demo(run: Run) -> Outcome:
    """Train the small network on the digits and compare it with three baselines."""
    tn.manual_seed(run.seed)
    return classify_digits(run, small_inception_v3(), RECIPE, "Small Inception v3", size=12)


def _checks() -> list[tuple[nn.Module, tuple[np.ndarray]]]:
    x = np.random.default_rng(0).standard_normal((3, 2, 5, 5))
    blocks = [reduction_b(2, 48), chain(2, (3, (1, 7)), (2, (7, 1))), averaged(2, 3), Fork(2, [(3, 1)], 2)]
    return [(block, (x,)) for block in blocks]


NOTE = Note(
    slug="inception-v3",
    family="cnn",
    title="Inception v3: large windows made of small ones",
    sources="note 004; torchvision",
    paper="Szegedy, Vanhoucke, Ioffe, Shlens & Wojna 2015, Rethinking the Inception architecture for computer vision",
    text=__doc__,
    build=InceptionV3,
    example=lambda: (1, 3, 299, 299),
    demo=demo,
    bars=[Bar("test_accuracy", at_least="logistic_regression")],
    facts=[
        Fact(
            "parameters without the auxiliary head",
            23_834_568,
            lambda: parameter_count(without_memory(InceptionV3)),
            "torchvision and timm, inception_v3",
        ),
        Fact(
            "parameters with the auxiliary head",
            27_161_264,
            lambda: parameter_count(without_memory(InceptionV3, head=True)),
            "torchvision, inception_v3",
        ),
        Fact("weights of 5×5, 64 channels", 102_400, lambda: weights((5, 5)), "25 · 64²"),
        Fact("weights of two 3×3, 64 channels", 73_728, lambda: weights((3, 3), (3, 3)), "18 · 64²"),
        Fact("weights of 7×7, 64 channels", 200_704, lambda: weights((7, 7)), "49 · 64²"),
        Fact("weights of 1×7 and 7×1, 64 channels", 57_344, lambda: weights((1, 7), (7, 1)), "14 · 64²"),
        Fact("pixels that an output of 5×5 depends on", 25, lambda: int(seen((5, 5)).sum()), "5²"),
        Fact("pixels that an output of 7×7 depends on", 49, lambda: int(seen((7, 7)).sum()), "7²"),
    ],
    identities=[
        Identity("pixels seen by 5×5 or by two 3×3, but not both", lambda: differently_seen([(5, 5)], [(3, 3)] * 2)),
        Identity(
            "pixels seen by 7×7 or by 1×7 and 7×1, not both", lambda: differently_seen([(7, 7)], [(1, 7), (7, 1)])
        ),
        Identity("a 7×7 kernel of rank one, and a 1×7 and a 7×1", product_of_two, 1e-12),
    ],
    checks=_checks,
)
