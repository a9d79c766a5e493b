"""ResNet-50, 101, 152: bottleneck blocks

What the note says. With residual blocks a network of 152 layers could be built and trained, when networks of twenty
layers were deep.

The formula. A block of two 3×3 convolutions on 256 channels has 2 · 9 · 256² = 1,179,648 weights. The bottleneck (瓶颈)
of He et al. puts a 1×1 convolution on both sides of a single 3×3, so that the latter works on a quarter of the
channels:

    256 → 64 by 1×1,  64 → 64 by 3×3,  64 → 256 by 1×1:    2 · 256 · 64 + 9 · 64² = 69,632 weights

a seventeenth, while the shortcut still carries all 256 channels. Each block has three convolutions, and with the first
convolution and the affine layer the four stages of 3, 8, 36 and 3 blocks make

    3 · (3 + 8 + 36 + 3) + 2 = 152 layers

(the projections on shortcuts are not counted). They cost 11.5 billion multiply-adds an image, fewer than VGG-16's
15.5.

Where the sources differ. The paper gives the stride of 2 to the first 1×1 of a stage, which reads one pixel of four and
never looks at the others; torchvision gives it to the 3×3, as here. The numbers of parameters are equal, those of
multiply-adds are not: ResNet-50 has 3.8 billion in the paper and 4.1 here.

How it is trained here. The same class with four blocks in two stages, 16 and 32 channels before expansion (14 layers),
on real digits of 8×8 pixels. The validation part chose the hyper-parameters and chooses the epoch whose weights are
kept.
"""

from __future__ import annotations

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.classification import Recipe, classify_digits
from tinygrad_notes.notes.cnn.resnet_basic import (
    STAGES,
    BasicBlock,
    Bottleneck,
    Residual,
    ResNet,
    resnet,
    small_resnet,
    zero_last_gamma,
)
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

RECIPE = Recipe(epochs=12, batch=64, learning_rate=1e-2, weight_decay=1e-2, warm_up=0.1, shift=1)


def small_bottleneck_resnet() -> ResNet:
    """Two stages of two blocks, for digits of 8×8 pixels."""
    return small_resnet(2, width=16, stages=2, block=Bottleneck)


def weights_of(block: type[Residual], channels: int) -> int:
    """The weights of the convolutions of a block with an identity shortcut between ``channels`` channels."""
    made = without_memory(block, channels, channels // block.expansion)
    return sum(layer.weight.size for layer in made.modules() if isinstance(layer, nn.Conv2d))


def layers_of(model: ResNet) -> int:
    """Convolutions and affine layers, without those on shortcuts."""
    named = (name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear))
    return sum("downsample" not in name for name in named)


def zero_gamma_block() -> float:
    """How far a bottleneck with γ = 0 is from the identity."""
    block, x = Bottleneck(8, 2), np.random.default_rng(0).random((2, 8, 5, 5)).astype(np.float32)
    zero_last_gamma(block)
    return float(np.abs(block(x).data - x).max())


def demo(run: Run) -> Outcome:
    """Train a small bottleneck network on the digits and compare it with three baselines."""
    tn.manual_seed(run.seed)
    return classify_digits(run, small_bottleneck_resnet(), RECIPE, "ResNet-14 of bottlenecks", size=8)


def _checks() -> list[tuple[nn.Module, tuple[np.ndarray]]]:
    x = np.random.default_rng(0).standard_normal((3, 1, 4, 4))
    return [(small_resnet(1, width=2, stages=2, block=Bottleneck), (x,))]


COUNTS = {50: 25_557_032, 101: 44_549_160, 152: 60_192_808}


def _counted(layers: int, count: int) -> Fact:
    return Fact(
        f"parameters of ResNet-{layers}",
        count,
        lambda: parameter_count(without_memory(resnet, layers)),
        f"torchvision, resnet{layers}",
    )


def _deep(layers: int) -> Fact:
    block, blocks = STAGES[layers]
    return Fact(
        f"layers of ResNet-{layers}",
        layers,
        lambda: layers_of(without_memory(resnet, layers)),
        f"{3 if block is Bottleneck else 2} · {sum(blocks)} + 2",
    )


NOTE = Note(
    slug="resnet-bottleneck-152",
    family="cnn",
    title="ResNet-50, 101, 152: bottleneck blocks",
    sources="note 001; torchvision",
    paper="He, Zhang, Ren & Sun 2015, Deep residual learning for image recognition",
    text=__doc__,
    build=lambda: resnet(152),
    example=lambda: (1, 3, 224, 224),
    demo=demo,
    bars=[Bar("test_accuracy", at_least="logistic_regression")],
    facts=[
        *(_counted(layers, count) for layers, count in COUNTS.items()),
        *map(_deep, STAGES),
        Fact("weights of a basic block, 256 channels", 1_179_648, lambda: weights_of(BasicBlock, 256), "2 · 9 · 256²"),
        Fact(
            "weights of a bottleneck, 256 channels",
            69_632,
            lambda: weights_of(Bottleneck, 256),
            "2 · 256 · 64 + 9 · 64²",
        ),
    ],
    identities=[Identity("a bottleneck with γ = 0 and the identity, where x ≥ 0", zero_gamma_block)],
    checks=_checks,
)
