"""LeNet: the recipe of a convolutional network

What the note says. A convolutional network is a stack of blocks

    convolution - (batch normalisation) - ReLU - max pooling

that makes images smaller and channels more, and after it a few affine layers that read the class off the features.

The formula. A convolution slides one small window of weights over the image, the same at every place:

    y[o, i, j] = b[o] + Σ_c Σ_u Σ_v  w[o, c, u, v] · x[c, i + u, j + v]

so it has few weights, and a pattern is found wherever it stands. Pooling keeps one number of each 2×2 window: which
pattern is there stays, where exactly does not.

Where the paper differs. LeNet-5 (LeCun, Bottou, Bengio & Haffner 1998) is older than most of the recipe: its activation
is a sigmoid (a scaled tanh), it pools by the mean (with a trained scale and bias), its second convolution sees only
some of the first one's maps, and it ends in radial basis functions. "Dive into Deep Learning" (6.6) keeps the shapes
and simplifies the rest: sigmoid, mean pooling, full second convolution, affine output; 61,706 parameters. That is the
canonical network here. What is trained here is the same class with the note's recipe put in: ReLU (Nair & Hinton 2010),
max pooling and batch normalisation (Ioffe & Szegedy 2015).

How it is trained here. The data are scikit-learn's 1797 real handwritten digits of 8×8 pixels. To become 28×28 they are
enlarged bilinearly by 3, to 24×24, and get an empty border of 2 on every side. A quarter, 450 digits, is the test part,
looked at once, at the end. Of the other 1347, 15 % are held out for validation, which alone chose the hyper-parameters
and picks the epoch whose weights are kept. Training digits are shifted at random by up to 2 pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.classification import Recipe, classify_digits
from tinygrad_notes.notes.note import Bar, Fact, Note, Outcome, Run, parameter_count
from tinygrad_notes.study import layer_shapes

RECIPE = Recipe(epochs=30, batch=64, learning_rate=3e-3, weight_decay=1e-2, shift=2)


class LeNet(nn.Sequential):
    """Two blocks of convolution, activation and pooling, then three affine layers, for (batch, 1, 28, 28)."""

    def __init__(
        self,
        activation: Callable[[], nn.Module] = nn.Sigmoid,
        pool: Callable[[int], nn.Module] = nn.AvgPool2d,
        batch_norm: bool = False,
    ):
        def block(before: int, channels: int, padding: int) -> list[nn.Module]:
            normalised = [nn.BatchNorm2d(channels)] if batch_norm else []
            return [nn.Conv2d(before, channels, 5, padding=padding), *normalised, activation(), pool(2)]

        super().__init__(
            *block(1, 6, padding=2),  # (batch, 6, 28, 28), pooled (batch, 6, 14, 14)
            *block(6, 16, padding=0),  # (batch, 16, 10, 10), pooled (batch, 16, 5, 5)
            nn.Flatten(),  # (batch, 400)
            nn.Linear(400, 120),
            activation(),
            nn.Linear(120, 84),
            activation(),
            nn.Linear(84, 10),  # (batch, 10)
        )


def recipe() -> LeNet:
    """LeNet by the note's recipe, which is what the demo trains."""
    return LeNet(nn.ReLU, nn.MaxPool2d, batch_norm=True)


def demo(run: Run) -> Outcome:
    """Train the recipe on the digits and compare it with three baselines."""
    tn.manual_seed(run.seed)
    return classify_digits(
        run, recipe(), RECIPE, "LeNet (convolution, batch normalisation, ReLU, max pooling)", size=28
    )


def _checks() -> list[tuple[nn.Module, tuple[np.ndarray]]]:
    x = np.random.default_rng(0).standard_normal((3, 1, 28, 28))
    return [(LeNet(), (x,)), (recipe(), (x,))]


EXAMPLE = (1, 1, 28, 28)
SHAPED = (nn.Conv2d, nn.AvgPool2d, nn.Linear)
SHAPES = [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120,), (84,), (10,)]

NOTE = Note(
    slug="cnn-recipe-lenet",
    family="cnn",
    title="LeNet: the recipe of a convolutional network",
    sources="note 000; Zhang et al., Dive into Deep Learning, 6.6",
    paper="LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to document recognition",
    text=__doc__,
    build=LeNet,
    example=lambda: EXAMPLE,
    demo=demo,
    bars=[Bar("test_accuracy", at_least=0.97), Bar("test_accuracy", at_least="logistic_regression")],
    facts=[
        Fact(
            "parameters of the canonical network",
            61_706,
            lambda: parameter_count(LeNet()),
            "Dive into Deep Learning, 6.6",
        ),
        Fact(
            "shapes of its layers",
            SHAPES,
            lambda: layer_shapes(LeNet(), tn.zeros(EXAMPLE), *SHAPED),
            "Dive into Deep Learning, 6.6",
        ),
        Fact(
            "parameters with batch normalisation",
            61_706 + 2 * (6 + 16),
            lambda: parameter_count(recipe()),
            "2 per channel",
        ),
    ],
    checks=_checks,
)
