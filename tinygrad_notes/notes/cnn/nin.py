"""Network in network: affine layers at every pixel, and no affine layer at the end

What the note says. A convolution and two 1×1 convolutions after it are a NiN block (NiN块): the 1×1 convolutions work
as affine layers on the channels of each pixel. Blocks alternate with max pooling of stride 2, height and width become
smaller and channels more. At the end stands global average pooling over as many channels as there are classes, and no
affine layer at all. That overfits less and generalises better, and converges more slowly. The note prints every
layer's output shape by the loop

    for layer in net:
        X = layer(X)
        print(layer.__class__.__name__, 'output shape:\\t', X.shape)

The formula. A block of C channels, at every place (i, j), with W the k×k window of the first convolution:

    a = relu(W * x)[i, j],   b = relu(U a + u),   y = relu(V b + v)       U, V of C×C

which is a small network (multi-layer perceptron) slid over the image, hence the name. The last block has one channel
for each class, and the logit of a class is the mean of its channel over all places: ŷ_c = (1/HW) Σ_ij y[c, i, j].

Where the note is imprecise. Pooling windows are 3×3 with stride 2, so they overlap. Channels grow 96, 256, 384 and
then shrink to the number of classes in the last block. "Dive into Deep Learning" (7.3) takes windows and channels from
AlexNet, and that is the canonical network here: 1,992,166 parameters for grey images and ten classes, a twenty-third
of its AlexNet's. Its last block ends in ReLU, so that no logit is negative, as in the book. Lin, Chen & Yan (2013)
trained on small images: three blocks with dropout between them.

How it is trained here. The same class with an eighth of the channels, for digits of 28×28 pixels and, as they are
small, 3×3 windows with stride 1 in the first block. Convergence is slow indeed, and worse: as the last layer is a
ReLU, a class whose channel falls below zero everywhere gets no gradient any more. With a sixteenth of the channels and
He's initialisation (the book takes Xavier's), one of three runs never again said "1" and stayed at 0.85. So what is
trained has batch normalisation after every convolution (the recipe that LeNet's note gives), which keeps every channel
open for about half of what it sees. Dropout is 0.2, as 48 channels have less to spare than 384. Training digits are
shifted by up to 2 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.classification import Recipe, classify_digits
from tinygrad_notes.notes.cnn._layers import he_normal
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run, parameter_count, without_memory
from tinygrad_notes.study import layer_shapes

RECIPE = Recipe(epochs=15, batch=64, learning_rate=3e-3, weight_decay=1e-2, warm_up=0.1, shift=2)


class NiNBlock(nn.Sequential):
    """A convolution, then an affine layer at every pixel, twice."""

    def __init__(
        self, before: int, channels: int, kernel_size: int, stride: int = 1, padding: int = 0, batch_norm: bool = False
    ):
        convolutions = (
            nn.Conv2d(before, channels, kernel_size, stride, padding),
            nn.Conv2d(channels, channels, 1),
            nn.Conv2d(channels, channels, 1),
        )
        layers: list[nn.Module] = []
        for convolution in convolutions:
            layers += [convolution, nn.BatchNorm2d(channels), nn.ReLU()] if batch_norm else [convolution, nn.ReLU()]
        super().__init__(*layers)


class NiN(nn.Sequential):
    """Four blocks with pooling between them, for (batch, in_channels, height, width) of any size that leaves a pixel.

    ``channels``: of the first three blocks; ``kernel_size``, ``stride`` and ``padding``: of the first convolution.
    """

    def __init__(
        self,
        channels: Sequence[int] = (96, 256, 384),
        kernel_size: int = 11,
        stride: int = 4,
        padding: int = 0,
        in_channels: int = 1,
        classes: int = 10,
        dropout: float = 0.5,
        batch_norm: bool = False,
    ):
        block = partial(NiNBlock, batch_norm=batch_norm)
        first, second, third = channels
        super().__init__(
            block(in_channels, first, kernel_size, stride, padding),  # (batch, 96, 54, 54)
            nn.MaxPool2d(3, stride=2),  # (batch, 96, 26, 26)
            block(first, second, 5, padding=2),  # (batch, 256, 26, 26)
            nn.MaxPool2d(3, stride=2),  # (batch, 256, 12, 12)
            block(second, third, 3, padding=1),  # (batch, 384, 12, 12)
            nn.MaxPool2d(3, stride=2),  # (batch, 384, 5, 5)
            nn.Dropout(dropout),
            block(third, classes, 3, padding=1),  # (batch, 10, 5, 5)
            nn.AdaptiveAvgPool2d(1),  # (batch, 10, 1, 1): the mean over all places
            nn.Flatten(),  # (batch, 10)
        )
        he_normal(self)


def mini() -> NiN:
    """An eighth of the channels, normalised, and a small first window, for digits: what the demo trains."""
    return NiN((12, 32, 48), kernel_size=3, stride=1, padding=1, dropout=0.2, batch_norm=True)


def demo(run: Run) -> Outcome:
    """Train the small network on the digits and compare it with three baselines."""
    tn.manual_seed(run.seed)
    return classify_digits(run, mini(), RECIPE, "NiN with an eighth of its channels", size=28)


def canonical(**constants: Any) -> NiN:
    return without_memory(NiN, **constants)


def _perceptron_error() -> float:
    """A block against its own weights used as affine layers on the channels of each pixel."""
    block = NiNBlock(3, 5, 3, padding=1).to(tn.float64)
    x = tn.asarray(np.random.default_rng(0).standard_normal((2, 3, 6, 7)))
    a = tn.permute_dims(tn.relu(block[0](x)), (0, 2, 3, 1))  # (batch, height, width, channels)
    for layer in (block[2], block[4]):
        a = tn.relu(tn.linear(a, tn.reshape(layer.weight, (5, 5)), layer.bias))
    return float(np.abs(block(x).data - tn.permute_dims(a, (0, 3, 1, 2)).data).max())


def _any_size() -> list[tuple[int, ...]]:
    model = mini().eval()
    return [model(tn.zeros((1, 1, *size))).shape for size in ((16, 16), (32, 32), (24, 40))]


def _checks() -> list[tuple[nn.Module, tuple[np.ndarray]]]:
    x = np.random.default_rng(0).standard_normal((2, 1, 16, 16))
    return [
        (NiN((3, 4, 5), kernel_size=3, stride=1, padding=1, classes=4, batch_norm=batch_norm), (x,))
        for batch_norm in (False, True)
    ]


EXAMPLE = (1, 1, 224, 224)
SHAPED = (NiNBlock, nn.MaxPool2d, nn.Flatten)
SHAPES = [
    (96, 54, 54), (96, 26, 26), (256, 26, 26), (256, 12, 12), (384, 12, 12), (384, 5, 5), (10, 5, 5), (10,)
]  # fmt: skip

NOTE = Note(
    slug="nin",
    family="cnn",
    title="Network in network: affine layers at every pixel, and no affine layer at the end",
    sources="note 004; Zhang et al., Dive into Deep Learning, 7.3",
    paper="Lin, Chen & Yan 2013, Network in network",
    text=__doc__,
    build=canonical,
    example=lambda: EXAMPLE,
    demo=demo,
    bars=[Bar("test_accuracy", at_least=0.95)],
    facts=[
        Fact(
            "parameters of the canonical network",
            1_992_166,
            lambda: parameter_count(canonical()),
            "Dive into Deep Learning, 7.3",
        ),
        Fact(
            "parameters for colour images and 1000 classes",
            7_439_608,
            lambda: parameter_count(canonical(in_channels=3, classes=1000)),
            "the same layers",
        ),
        Fact(
            "shapes of its layers",
            SHAPES,
            lambda: layer_shapes(canonical(), tn.zeros(EXAMPLE), *SHAPED),
            "Dive into Deep Learning, 7.3",
        ),
        Fact("one network takes images of any size", [(1, 10)] * 3, _any_size, "global average pooling"),
    ],
    identities=[
        Identity("a block is a perceptron at every pixel", _perceptron_error, at_most=1e-12),
    ],
    checks=_checks,
)
