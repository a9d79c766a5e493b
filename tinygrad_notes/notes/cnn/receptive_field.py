"""Receptive field: how much of the image one output sees

What the note says. The receptive field (感受野) of an output is the part of the image that it depends on. It is
computed from the top down (formula 1 of the note, recovered: its picture was lost):

    RF = 1 at the output;        RF_(n-1) = (N_RF_n - 1) · stride_n + ksize_n

layer by layer until the image is reached. N_RF_n counts only the outputs of layer n - 1 that layer n's part sees, so
it means nothing for the image before the end.

The formula. Written out for windows k₁ to k_L with strides s₁ to s_L, every layer adds its reach in steps as long as
the strides below it make them (Araujo, Norris & Sim 2019):

    r = 1 + Σ_l (k_l - 1) · s₁ s₂ ⋯ s_(l-1)

So a stride early on makes all later windows large, and two 3×3 windows see as much as one of 5×5.

Where the note is incomplete. A window with dilation d reaches over d(k - 1) + 1 pixels, which takes the place of k.
The formula says nothing about padding: near an edge a part of the field lies in the border, and deep in a network it
is larger than the image (ResNet-18's is 435 for images of 224). Where paths meet, as in a residual block, the one that
sees most counts. And it is a bound: within the field the pixels in the middle count most, because far more paths lead
from there, so that the effective field (Luo, Li, Urtasun & Zemel 2016) is much smaller.

How it is shown here. The formula from the top down, the closed form, and experiment: all weights 1, pooling by the
mean, one output's derivative with respect to the image, and the extent of what is not 0. Three ways, the same number,
for the real depths of LeNet, AlexNet, VGG-16 and ResNet-18 with one channel in every layer. The picture shows how much
each pixel counts; the metrics, which part of the field holds 95 % of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from tinygrad_notes import nn
from tinygrad_notes.notes.cnn.alexnet import AlexNet
from tinygrad_notes.notes.cnn.cnn_recipe_lenet import LeNet
from tinygrad_notes.notes.cnn.conv_stack_shortcut import ConvStack
from tinygrad_notes.notes.cnn.vgg import VGG
from tinygrad_notes.notes.note import Fact, Identity, Note, Outcome, Run
from tinygrad_notes.study.receptive_field import (
    Window,
    empirical_receptive_field,
    influence,
    receptive_field,
    receptive_field_in_closed_form,
    windows_of,
)
from tinygrad_notes.training.pictures import save_picture

# ---------------------------------------------------------------------- networks, with one channel in every layer


def alexnet(layers: int) -> nn.Sequential:
    """The first layers of AlexNet: 4 end at its second convolution, 11 at its fifth, 13 at its last pooling."""
    return AlexNet((1,) * 5, hidden=1, in_channels=1, classes=1)[:layers]


def vgg16(last_pooling: bool = True) -> nn.Sequential:
    """The blocks of VGG-16, with or without the last pooling."""
    blocks = VGG(16, (1,) * 5, hidden=1, in_channels=1, classes=1)[:5]
    return blocks if last_pooling else nn.Sequential(*blocks[:4], blocks[4][:-1])


def resnet18() -> nn.Sequential:
    """The windows and shortcuts of ResNet-18: the first layers, and eight blocks of two convolutions."""
    strides = (1, 1, 2, 1, 2, 1, 2, 1)
    blocks = [ConvStack(1, 1, convolutions=2, stride=stride) for stride in strides]
    return nn.Sequential(nn.Conv2d(1, 1, 7, 2, padding=3), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1), *blocks)


def dilated() -> nn.Sequential:
    """Three 3×3 windows with dilations 1, 2, 4 (Yu & Koltun 2015)."""
    return nn.Sequential(*(nn.Conv2d(1, 1, 3, dilation=d, padding=d) for d in (1, 2, 4)))


def factorised() -> nn.Sequential:
    """1×7 and 7×1 in the place of 7×7, and two 3×3 in the place of 5×5."""
    return nn.Sequential(
        nn.Conv2d(1, 1, (1, 7), padding=(0, 3)),
        nn.Conv2d(1, 1, (7, 1), padding=(3, 0)),
        nn.Conv2d(1, 1, 3, padding=1),
        nn.Conv2d(1, 1, 3, padding=1),
    )


# name: the network up to that layer, its receptive field, and an image large enough to hold it
NETWORKS: dict[str, tuple[Callable[[], nn.Sequential], int, int]] = {
    "LeNet, second pooling": (lambda: LeNet()[:6], 16, 28),
    "AlexNet, second convolution": (lambda: alexnet(4), 51, 63),
    "AlexNet, fifth convolution": (lambda: alexnet(11), 163, 191),
    "AlexNet, last pooling": (lambda: alexnet(13), 195, 255),
    "VGG-16, last convolution": (lambda: vgg16(last_pooling=False), 196, 208),
    "VGG-16, last pooling": (vgg16, 212, 224),
    "ResNet-18, last block": (resnet18, 435, 448),
}

# ---------------------------------------------------------------------- three ways to the same number


@cache
def _windows(name: str) -> tuple[Window, ...]:
    make, _, size = NETWORKS[name]
    return windows_of(make(), (1, 1, size, size))


def _found_error(name: str) -> float:
    """Height and width found by experiment against the number of the table."""
    make, expected, size = NETWORKS[name]
    return max(abs(extent - expected) for extent in empirical_receptive_field(make(), (1, 1, size, size)))


def _forms_error() -> float:
    """Both formulas on a hundred random stacks."""
    random = np.random.default_rng(0)
    stacks = [
        [Window(int(k), int(s), int(d)) for k, s, d in random.integers(1, (8, 4, 4), (int(random.integers(1, 12)), 3))]
        for _ in range(100)
    ]
    return max(abs(receptive_field(stack) - receptive_field_in_closed_form(stack)) for stack in stacks)


def _closed_form_error() -> float:
    """The closed form on the networks themselves."""
    return max(abs(receptive_field_in_closed_form(_windows(name)) - row[1]) for name, row in NETWORKS.items())


def _small(make: Callable[[], nn.Sequential]) -> tuple[int, int]:
    """Height and width of a small stack, by formula, if experiment agrees."""
    net, shape = make(), (1, 1, 41, 41)
    by_formula = receptive_field(windows_of(net, shape, axis=0)), receptive_field(windows_of(net, shape, axis=1))
    return by_formula if by_formula == empirical_receptive_field(net, shape) else (0, 0)


# ---------------------------------------------------------------------- where in its field an output looks


def middle_part(weights: np.ndarray, share: float = 0.95) -> int:
    """The side of the smallest square around the middle of ``weights`` (h, w) that holds ``share`` of their sum."""
    total, rows = weights.sum(), np.flatnonzero(weights.any(1))
    columns = np.flatnonzero(weights.any(0))
    field = weights[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = len(field)
    for cut in range((side + 1) // 2):
        if field[cut : side - cut, cut : side - cut].sum() < share * total:
            return side - 2 * (cut - 1)
    return side % 2 or 2


def demo(run: Run) -> Outcome:
    """How much every pixel of the field counts, for each network."""
    metrics, maps = {}, {}
    for name, (make, _, size) in NETWORKS.items():
        weights = influence(make(), (1, 1, size, size))
        seen = np.flatnonzero(weights.any(0))
        word = name.replace(",", "").replace("-", "_").replace(" ", "_")
        metrics[f"field_of_{word}"] = float(seen[-1] - seen[0] + 1)
        metrics[f"middle_of_{word}"] = float(middle_part(weights))
        maps[name] = weights

    def draw(figure: object) -> None:
        grid = figure.subplots(2, 4).ravel()  # type: ignore[attr-defined]
        for axes, (name, weights) in zip(grid, maps.items()):
            axes.imshow(np.sqrt(weights), cmap="magma", interpolation="nearest")
            for line, seen in ((axes.axhline, weights.any(1)), (axes.axvline, weights.any(0))):
                for edge in np.flatnonzero(seen)[[0, -1]] + (-0.5, 0.5):
                    line(edge, color="white", linestyle=":", linewidth=1)
            axes.set_title(f"{name}\n{NETWORKS[name][1]} of {len(weights)} pixels", fontsize=9)
            axes.set(xticks=[], yticks=[])
        grid[-1].set_axis_off()

    title = "How much each pixel counts for the output at the centre (square root, all weights 1); dotted: the field"
    return Outcome(metrics, [save_picture(run.folder / "fields.png", title, draw, (13, 7))])


NOTE = Note(
    slug="receptive-field",
    family="cnn",
    title="Receptive field: how much of the image one output sees",
    sources="note 003",
    paper="Araujo, Norris & Sim 2019, Computing receptive fields of convolutional neural networks",
    text=__doc__,
    demo=demo,
    no_bar="the receptive field is computed, not learned: formula, closed form and experiment must agree exactly",
    facts=[
        *(
            Fact(f"receptive field of {name}", expected, lambda name=name: receptive_field(_windows(name)), "formula 1")  # type: ignore[misc]
            for name, (_, expected, _) in NETWORKS.items()
        ),
        Fact("of 3×3 windows with dilations 1, 2, 4", (15, 15), lambda: _small(dilated), "1 + 2 + 4 + 8"),
        Fact("of 1×7, 7×1 and two 3×3 windows", (11, 11), lambda: _small(factorised), "as 7×7 and 5×5: 1 + 6 + 4"),
    ],
    identities=[
        Identity("from the top down is the closed form, on random stacks", _forms_error),
        Identity("and on the networks", _closed_form_error),
        *(
            Identity(f"experiment agrees for {name}", lambda name=name: _found_error(name))  # type: ignore[misc]
            for name in NETWORKS
        ),
    ],
    no_gradient="the networks are those of other notes, which check them; here only windows are counted",
)
