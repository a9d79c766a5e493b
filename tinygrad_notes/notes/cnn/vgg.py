"""VGG: blocks of small windows, and where its parameters are

What the note says. VGG is good, and large: it needs much memory (占内存), and being deep it is slow. Its convolutions
have few parameters; the trouble is the affine layers after them, whose many parameters overfit and make it wait for
memory instead of computing (memory bound).

The formula. One block, repeated: n times (3×3 convolution, padding 1, ReLU), then 2×2 max pooling with stride 2. Two
3×3 convolutions see 5×5 pixels and three see 7×7, with fewer weights and more ReLUs than one large window: 3·(9C²) =
27C² against 49C². Every block halves height and width, and most double the channels:

    input 3×224×224 → 64×112×112 → 128×56×56 → 256×28×28 → 512×14×14 → 512×7×7 → 25088 → 4096 → 4096 → 1000

A convolution from C to D channels has 9CD + D parameters, an affine layer from P to Q has PQ + Q. For VGG-16 that
makes 14,714,688 in thirteen convolutions and 123,642,856 (89.4 %) in three affine layers; the first of these alone,
25088·4096 + 4096, has 102,764,544. The convolutions do 99 % of the 15.470·10⁹ multiply-adds: each of their weights is
used about a thousand times for an image, a weight of the affine layers once, so that fetching these 495 MB from memory
is what takes the time. Networks since (NiN, GoogLeNet, ResNet) average each channel over all places instead.

Where the paper differs. Simonyan & Zisserman (2014) compare nets of 11 to 19 layers (A to E); A is VGG-11, D is VGG-16
and E is VGG-19. They start the deeper ones from the trained weights of the shallow one, because those would not train
from a plain normal distribution; He's initialisation, of the year after, makes that unnecessary and is used here.
"Dive into Deep Learning" (7.2) builds VGG-11 for grey images and ten classes, and trains it with a quarter of the
channels.

How it is trained here. VGG-11 with a sixteenth of the channels, 4 to 32, and 256 hidden units, on digits enlarged to
32×32 pixels, the smallest that five halvings allow. Training digits are shifted by up to 2 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.classification import Recipe, classify_digits
from tinygrad_notes.notes.cnn._layers import he_normal
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run, parameter_count, without_memory
from tinygrad_notes.study import layer_shapes, summary

RECIPE = Recipe(epochs=30, batch=64, learning_rate=2e-3, weight_decay=1e-2, warm_up=0.1, shift=2)

CHANNELS = (64, 128, 256, 512, 512)
CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


class VGGBlock(nn.Sequential):
    """(batch, before, h, w) → (batch, channels, h/2, w/2): 3×3 convolutions with ReLU, then pooling."""

    def __init__(self, convolutions: int, before: int, channels: int):
        layers: list[nn.Module] = []
        for i in range(convolutions):
            layers += [nn.Conv2d(channels if i else before, channels, 3, padding=1), nn.ReLU()]
        super().__init__(*layers, nn.MaxPool2d(2))


class VGG(nn.Sequential):
    """VGG of ``depth`` layers with parameters, for (batch, in_channels, size, size).

    ``channels``: of each block; ``hidden``: of the two affine layers between.
    """

    def __init__(
        self,
        depth: int = 16,
        channels: Sequence[int] = CHANNELS,
        hidden: int = 4096,
        in_channels: int = 3,
        classes: int = 1000,
        size: int = 224,
        dropout: float = 0.5,
    ):
        before = [in_channels, *channels[:-1]]
        side = size // 2 ** len(channels)
        super().__init__(
            *map(VGGBlock, CONVOLUTIONS[depth], before, channels),  # 64×112², 128×56², 256×28², 512×14², 512×7²
            nn.Flatten(),  # (batch, 25088)
            nn.Linear(channels[-1] * side * side, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),  # (batch, 1000)
        )
        he_normal(self)


def mini() -> VGG:
    """VGG-11 with a sixteenth of the channels, for digits of 32×32: what the demo trains."""
    return VGG(11, [n // 16 for n in CHANNELS], hidden=256, in_channels=1, classes=10, size=32)


def demo(run: Run) -> Outcome:
    """Train the small network on the digits and compare it with three baselines."""
    tn.manual_seed(run.seed)
    return classify_digits(run, mini(), RECIPE, "VGG-11 with a sixteenth of its channels", size=32)


def canonical(depth: int = 16, **constants: Any) -> VGG:
    return without_memory(VGG, depth, **constants)


def parameters_of(model: VGG, kind: type[nn.Module]) -> int:
    """How many parameters stand in layers of one kind."""
    return sum(parameter_count(layer) for layer in model.modules() if isinstance(layer, kind))


def multiply_adds(model: VGG, size: int) -> int:
    """For one image: each weight of a convolution is used at every pixel of its block's input, all others once."""
    total = 0
    for layer in model:
        if isinstance(layer, VGGBlock):
            total += sum(size**2 * conv.weight.size for conv in layer if isinstance(conv, nn.Conv2d))
            size //= 2
        elif isinstance(layer, nn.Linear):
            total += layer.weight.size
    return total


def _first_affine() -> int:
    return next(parameter_count(layer) for layer in canonical() if isinstance(layer, nn.Linear))


def _by_depth() -> list[int]:
    return [parameter_count(canonical(depth)) for depth in (11, 16, 19)]


def _shapes() -> list[tuple[int, ...]]:
    return layer_shapes(canonical(11, **BOOK), tn.zeros((1, 1, 224, 224)), VGGBlock)


def _work_error() -> float:
    return abs(multiply_adds(mini(), 32) - summary(mini(), (1, 1, 32, 32)).multiply_adds)


def _checks() -> list[tuple[nn.Module, tuple[np.ndarray]]]:
    small = VGG(11, (2, 2, 3, 3, 3), hidden=6, in_channels=1, classes=3, size=32)
    return [(small, (np.random.default_rng(0).standard_normal((2, 1, 32, 32)),))]


BOOK: dict[str, Any] = {"in_channels": 1, "classes": 10}
QUARTER = [n // 4 for n in CHANNELS]
BOOK_SHAPES = [(64, 112, 112), (128, 56, 56), (256, 28, 28), (512, 14, 14), (512, 7, 7)]

NOTE = Note(
    slug="vgg",
    family="cnn",
    title="VGG: blocks of small windows, and where its parameters are",
    sources="note 004; Zhang et al., Dive into Deep Learning, 7.2",
    paper="Simonyan & Zisserman 2014, Very deep convolutional networks for large-scale image recognition",
    text=__doc__,
    build=canonical,
    example=lambda: (1, 3, 224, 224),
    demo=demo,
    bars=[Bar("test_accuracy", at_least=0.95)],
    facts=[
        Fact("parameters of VGG-11, 16 and 19", [132_863_336, 138_357_544, 143_667_240], _by_depth, "torchvision"),
        Fact(
            "those of VGG-16 in convolutions", 14_714_688, lambda: parameters_of(canonical(), nn.Conv2d), "torchvision"
        ),
        Fact(
            "those of VGG-16 in affine layers",
            123_642_856,
            lambda: parameters_of(canonical(), nn.Linear),
            "torchvision",
        ),
        Fact(
            "part of VGG-16 in affine layers",
            0.894,
            lambda: round(parameters_of(canonical(), nn.Linear) / parameter_count(canonical()), 3),
            "123,642,856 / 138,357,544",
        ),
        Fact("parameters of its first affine layer", 102_764_544, _first_affine, "25088·4096 + 4096"),
        Fact(
            "multiply-adds of VGG-11 and VGG-16, in 10⁹",
            [7.609, 15.470],
            lambda: [round(multiply_adds(canonical(depth), 224) / 1e9, 3) for depth in (11, 16)],
            "torchvision",
        ),
        Fact(
            "parameters of the book's VGG-11",
            128_806_154,
            lambda: parameter_count(canonical(11, **BOOK)),
            "Dive into Deep Learning, 7.2",
        ),
        Fact(
            "the same with a quarter of the channels",
            43_093_322,
            lambda: parameter_count(canonical(11, channels=QUARTER, **BOOK)),
            "Dive into Deep Learning, 7.2",
        ),
        Fact("shapes after its blocks", BOOK_SHAPES, _shapes, "Dive into Deep Learning, 7.2"),
    ],
    identities=[
        Identity("counted multiply-adds are those of the formula, in the small network", _work_error),
    ],
    checks=_checks,
)
