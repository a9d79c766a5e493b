"""AlexNet: the network that is mostly parameters

What the note says. AlexNet stands in it twice: as the work that changed a field, with which CLIP's influence is
compared (堪比alexnet), and as the worst case of training on several devices. There each device computes the gradient
of its part of the batch, and then all parameters' gradients travel. What helps is a network that computes much and
sends little (计算通信比), and the order is Inception > ResNet > AlexNet.

The formula. One image costs a layer

    convolution:  multiply-adds = parameters · height · width of its output
    affine layer: multiply-adds = parameters

(biases apart), so a network's ratio of multiply-adds to parameters is a mean over its layers of how often each weight
is used. AlexNet computes 0.714·10⁹ with 61.1·10⁶ parameters: 11.7 per parameter, because 96 % of these stand in three
affine layers and are used once. ResNet-18 computes 1.814·10⁹ with 11.7·10⁶ (155 per parameter), Inception v3 5.713·10⁹
with 23.8·10⁶, its auxiliary head not counted in either (240).

    input 3×224×224
    convolution 11×11 / 4 - ReLU - max pooling 3×3 / 2        large windows first: pixels are many
    convolution 5×5 - ReLU - max pooling 3×3 / 2
    convolution 3×3 - ReLU, three times - max pooling 3×3 / 2
    affine 4096 - ReLU - dropout, twice; affine 1000

Where the paper differs. Krizhevsky, Sutskever & Hinton (2012) split most convolutions into two groups, one for each of
their two GPUs, and normalise responses across neighbouring channels. The channels 64, 192, 384, 256, 256 are those of
Krizhevsky's one-device version of 2014, which torchvision has; it is the canonical network here. "Dive into Deep
Learning" (7.1) has 96, 256, 384, 384, 256 channels, a grey image and ten classes. Pooling windows overlap (3×3, stride
2) in all of them. torchvision drops out before an affine layer, the paper and the book after one, as here; the count
is the same.

How it is trained here. The same class with a sixteenth of the channels, for digits of 16×16 pixels. Windows of 11×11
in steps of 4 would leave nothing of these, so the first convolution is 3×3 with stride 1; everything else stays.
Training digits are shifted by up to 1 pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.classification import Recipe, classify_digits
from tinygrad_notes.notes.cnn._layers import windows
from tinygrad_notes.notes.note import Bar, Fact, Note, Outcome, Run, parameter_count, without_memory
from tinygrad_notes.study import Summary, layer_shapes, summary

RECIPE = Recipe(epochs=40, batch=64, learning_rate=3e-3, weight_decay=1e-2, warm_up=0.1, shift=1)
BOOK = {"channels": (96, 256, 384, 384, 256), "padding": 1, "in_channels": 1, "classes": 10}


class AlexNet(nn.Sequential):
    """Five convolutions and three affine layers, for (batch, in_channels, size, size).

    ``channels``: of the five convolutions; ``hidden``: of the affine layers between; ``kernel_size``, ``stride`` and
    ``padding``: of the first convolution. Shapes in the margin are those of the canonical network.
    """

    def __init__(
        self,
        channels: Sequence[int] = (64, 192, 384, 256, 256),
        hidden: int = 4096,
        kernel_size: int = 11,
        stride: int = 4,
        padding: int = 2,
        in_channels: int = 3,
        classes: int = 1000,
        size: int = 224,
        dropout: float = 0.5,
    ):
        first, second, third, fourth, fifth = channels
        side = windows(size, kernel_size, stride, padding)
        for _ in range(3):  # the other convolutions leave height and width as they are
            side = windows(side, 3, 2)
        super().__init__(
            nn.Conv2d(in_channels, first, kernel_size, stride, padding),  # (batch, 64, 55, 55)
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),  # (batch, 64, 27, 27)
            nn.Conv2d(first, second, 5, padding=2),  # (batch, 192, 27, 27)
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),  # (batch, 192, 13, 13)
            nn.Conv2d(second, third, 3, padding=1),  # (batch, 384, 13, 13)
            nn.ReLU(),
            nn.Conv2d(third, fourth, 3, padding=1),  # (batch, 256, 13, 13)
            nn.ReLU(),
            nn.Conv2d(fourth, fifth, 3, padding=1),  # (batch, 256, 13, 13)
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),  # (batch, 256, 6, 6)
            nn.Flatten(),  # (batch, 9216)
            nn.Linear(fifth * side * side, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),  # (batch, 1000)
        )


def mini() -> AlexNet:
    """A sixteenth of the channels, for digits of 16×16: what the demo trains."""
    return AlexNet((4, 12, 24, 16, 16), 256, kernel_size=3, stride=1, padding=1, in_channels=1, classes=10, size=16)


def demo(run: Run) -> Outcome:
    """Train the small network on the digits and compare it with three baselines."""
    tn.manual_seed(run.seed)
    return classify_digits(run, mini(), RECIPE, "AlexNet with a sixteenth of its channels", size=16)


def canonical(**constants: Any) -> AlexNet:
    return without_memory(AlexNet, **constants)


@cache
def _summary() -> Summary:
    return summary(canonical(), EXAMPLE)


def _affine_share() -> float:
    affine = sum(parameter_count(layer) for layer in canonical() if isinstance(layer, nn.Linear))
    return round(affine / parameter_count(canonical()), 2)


def _checks() -> list[tuple[nn.Module, tuple[np.ndarray]]]:
    small = AlexNet((2, 3, 3, 3, 4), 6, kernel_size=3, stride=1, padding=1, in_channels=1, classes=3, size=16)
    return [(small, (np.random.default_rng(0).standard_normal((2, 1, 16, 16)),))]


EXAMPLE = (1, 3, 224, 224)
SHAPED = (nn.Conv2d, nn.MaxPool2d, nn.Linear)
BOOK_SHAPES = [
    (96, 54, 54), (96, 26, 26), (256, 26, 26), (256, 12, 12), (384, 12, 12), (384, 12, 12), (256, 12, 12), (256, 5, 5),
    (4096,), (4096,), (10,),
]  # fmt: skip

NOTE = Note(
    slug="alexnet",
    family="cnn",
    title="AlexNet: the network that is mostly parameters",
    sources="notes 001, 004; Zhang et al., Dive into Deep Learning, 7.1",
    paper="Krizhevsky, Sutskever & Hinton 2012, ImageNet classification with deep convolutional neural networks",
    text=__doc__,
    build=canonical,
    example=lambda: EXAMPLE,
    demo=demo,
    bars=[Bar("test_accuracy", at_least=0.95)],
    facts=[
        Fact("parameters of the canonical network", 61_100_840, lambda: parameter_count(canonical()), "torchvision"),
        Fact(
            "its multiply-adds for an image, in 10⁹",
            0.714,
            lambda: round(_summary().multiply_adds / 1e9, 3),
            "torchvision",
        ),
        Fact(
            "multiply-adds for each parameter",
            11.7,
            lambda: round(_summary().multiply_adds / _summary().parameters, 1),
            "0.714·10⁹ / 61,100,840",
        ),
        Fact("part of its parameters in affine layers", 0.96, _affine_share, "58,631,144 / 61,100,840"),
        Fact(
            "parameters of the book's network",
            46_764_746,
            lambda: parameter_count(canonical(**BOOK)),
            "Dive into Deep Learning, 7.1",
        ),
        Fact(
            "shapes of the book's layers",
            BOOK_SHAPES,
            lambda: layer_shapes(canonical(**BOOK), tn.zeros((1, 1, 224, 224)), *SHAPED),
            "Dive into Deep Learning, 7.1",
        ),
    ],
    checks=_checks,
)
