"""ResNet: a block adds to what it is given

What the note says. A block of a residual network (残差) does not compute a new y from x but what is to be *added* to x;
x itself goes around the convolutions on a shortcut. Where both ends have equal dimensions the shortcut is the identity,
otherwise an affine map, a 1×1 convolution. Every deep network needs the residual idea.

The formula. With F two convolutions, each followed by batch normalisation (BN), and a ReLU between them,

    y = relu(F(x) + S(x)),    F(x) = BN(W₂ * relu(BN(W₁ * x))),    S(x) = x, or a projection of x

Without the ReLU at the end, the derivative of y is that of F plus that of x, which is 1: however many blocks there are,
the gradient has one way back on which nothing is multiplied. And where the last BN multiplies by γ = 0, F is 0 and the
block *is* the identity (of an x that is not negative, such as another block's output). A deeper network can therefore
start as the shallower one and cannot represent less; the identities below measure this to the last bit.

The network. A convolution of 7×7 and a max pooling, each of stride 2, then four stages of blocks. The first block of a
stage halves height and width (all but the first stage do) and doubles the channels. Global average pooling and one
affine layer end it. Two convolutions in each of 8 blocks, the first convolution and the affine layer are 18 layers.

Where the sources differ. The note says that shortcuts add no parameters. This is so for the identity and for padding
with zeros (option A), not for a projection (option B, which torchvision and "Dive into Deep Learning" take): see
`shortcut-options`. The book (7.6) keeps biases in all its convolutions, though batch normalisation takes them away
again, and does not normalise its projections: 11,178,378 parameters for grey images and ten classes. He et al.
(section 4.2) have, for images of 32×32 pixels, a first convolution of 3×3 without pooling and three stages of 16, 32
and 64 channels: 6n + 2 layers. That is the small network here, of the same class.

How it is trained here. This ResNet-14 (n = 2), on real handwritten digits of 8×8 pixels, shifted by up to one pixel in
training. The validation part chose the hyper-parameters and chooses the epoch whose weights are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.nn import init
from tinygrad_notes.notes.classification import Recipe, classify_digits
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

RECIPE = Recipe(epochs=16, batch=64, learning_rate=1e-2, weight_decay=1e-2, warm_up=0.1, shift=1)

# ---------------------------------------------------------------------- shortcuts

Shortcut = Callable[[int, int, int], nn.Module]  # of the channels before and after, and the stride


class ZeroPadded(nn.Module):
    """Every ``stride``-th pixel of x, with ``added`` channels of zeros behind its own. It has no parameters."""

    def __init__(self, added: int, stride: int):
        super().__init__()
        self.added, self.stride = added, stride

    def forward(self, x: tn.Tensor) -> tn.Tensor:
        return tn.pad(x[:, :, :: self.stride, :: self.stride], [(0, 0), (0, self.added), (0, 0), (0, 0)])


def projection(before: int, after: int, stride: int) -> nn.Module:
    """A 1×1 convolution with batch normalisation, always: option C."""
    return nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))


def affine(before: int, after: int, stride: int) -> nn.Module:
    """A 1×1 convolution with a bias and no batch normalisation: the book's shortcut, always."""
    return nn.Conv2d(before, after, 1, stride)


def zero_padded(before: int, after: int, stride: int) -> nn.Module:
    """Fewer pixels and more channels without parameters, always."""
    return ZeroPadded(after - before, stride)


def identity_or(otherwise: Shortcut) -> Shortcut:
    """The identity where both ends have equal dimensions; ``otherwise`` where they do not."""

    def shortcut(before: int, after: int, stride: int) -> nn.Module:
        return nn.Identity() if (before, stride) == (after, 1) else otherwise(before, after, stride)

    return shortcut


OPTIONS: dict[str, Shortcut] = {"A": identity_or(zero_padded), "B": identity_or(projection), "C": projection}

# ---------------------------------------------------------------------- blocks


class Residual(nn.Module):
    """relu(F(x) + S(x)), of (batch, before, h, w) → (batch, expansion · channels, h / stride, w / stride).

    ``shortcut`` makes S; without one (None) the block is plain: relu(F(x)). Parameters have torchvision's names, so
    that its published weights fit, among them ``downsample`` for the shortcut.
    """

    expansion = 1

    def __init__(self, before: int, channels: int, stride: int, shortcut: Shortcut | None):
        super().__init__()
        self.downsample = shortcut and shortcut(before, self.expansion * channels, stride)

    def last_norm(self) -> nn.BatchNorm2d:
        """The batch normalisation that F ends with."""
        return [layer for name, layer in self.named_children() if name.startswith("bn")][-1]  # type: ignore[return-value]

    def residual(self, x: tn.Tensor) -> tn.Tensor:
        """F(x)."""
        raise NotImplementedError

    def forward(self, x: tn.Tensor) -> tn.Tensor:
        y = self.residual(x)
        return tn.relu(y if self.downsample is None else y + self.downsample(x))


class BasicBlock(Residual):
    """Two 3×3 convolutions."""

    def __init__(
        self, before: int, channels: int, stride: int = 1, shortcut: Shortcut | None = OPTIONS["B"], bias: bool = False
    ):
        super().__init__(before, channels, stride, shortcut)
        self.conv1 = nn.Conv2d(before, channels, 3, stride, padding=1, bias=bias)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.bn2 = nn.BatchNorm2d(channels)

    def residual(self, x: tn.Tensor) -> tn.Tensor:
        x = tn.relu(self.bn1(self.conv1(x)))  # (batch, channels, h / stride, w / stride)
        return self.bn2(self.conv2(x))


class Bottleneck(Residual):
    """1×1 to few channels, 3×3 among these, 1×1 to four times as many.

    He et al. put the stride into the first 1×1, which leaves three pixels of four unread; torchvision puts it into the
    3×3, as here. The numbers of parameters are the same.
    """

    expansion = 4

    def __init__(
        self, before: int, channels: int, stride: int = 1, shortcut: Shortcut | None = OPTIONS["B"], bias: bool = False
    ):
        super().__init__(before, channels, stride, shortcut)
        after = self.expansion * channels
        self.conv1 = nn.Conv2d(before, channels, 1, bias=bias)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=bias)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, after, 1, bias=bias)
        self.bn3 = nn.BatchNorm2d(after)

    def residual(self, x: tn.Tensor) -> tn.Tensor:
        x = tn.relu(self.bn1(self.conv1(x)))  # (batch, channels, h, w)
        x = tn.relu(self.bn2(self.conv2(x)))  # (batch, channels, h / stride, w / stride)
        return self.bn3(self.conv3(x))  # (batch, 4 channels, h / stride, w / stride)


# ---------------------------------------------------------------------- networks

STAGES: dict[int, tuple[type[Residual], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}


class ResNet(nn.Sequential):
    """Stages of ``blocks`` blocks each, for images (batch, in_channels, h, w).

    ``widths``: the channels of the stages, before a block's expansion. ``small_images``: the first convolution is 3×3
    with stride 1, and nothing is pooled before the stages. ``shortcut``: see Residual; None makes a plain network.
    """

    def __init__(
        self,
        block: type[Residual],
        blocks: Sequence[int],
        widths: Sequence[int] = (64, 128, 256, 512),
        in_channels: int = 3,
        classes: int = 1000,
        shortcut: Shortcut | None = OPTIONS["B"],
        small_images: bool = False,
        bias: bool = False,
    ):
        before = widths[0]
        layers: dict[str, nn.Module]
        if small_images:
            layers = {"conv1": nn.Conv2d(in_channels, before, 3, padding=1, bias=bias)}
        else:
            layers = {"conv1": nn.Conv2d(in_channels, before, 7, stride=2, padding=3, bias=bias)}  # (batch, 64, 112²)
        layers |= {"bn1": nn.BatchNorm2d(before), "relu": nn.ReLU()}
        if not small_images:
            layers["maxpool"] = nn.MaxPool2d(3, stride=2, padding=1)  # (batch, 64, 56, 56)
        for i, (count, channels) in enumerate(zip(blocks, widths)):
            stage = nn.Sequential()
            for j in range(count):
                stride = 2 if i > 0 and j == 0 else 1
                stage.append(block(before, channels, stride, shortcut, bias))  # type: ignore[call-arg]
                before = block.expansion * channels
            layers[f"layer{i + 1}"] = stage  # (batch, 64 · 2ⁱ · expansion, 56 / 2ⁱ, 56 / 2ⁱ)
        layers |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(before, classes)}
        super().__init__(layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def resnet(layers: int, **options: Any) -> ResNet:
    """The network of that many layers: 18, 34, 50, 101 or 152."""
    block, blocks = STAGES[layers]
    return ResNet(block, blocks, **options)


def small_resnet(
    blocks: int, width: int = 16, stages: int = 3, shortcut: Shortcut | None = OPTIONS["B"], block: Any = BasicBlock
) -> ResNet:
    """The network for small grey images and ten classes: ``blocks`` blocks in each of ``stages`` stages."""
    widths = [width * 2**i for i in range(stages)]
    return ResNet(block, [blocks] * stages, widths, 1, 10, shortcut, small_images=True)


def book_resnet() -> ResNet:
    """ResNet-18 as "Dive into Deep Learning" writes it."""
    return resnet(18, in_channels=1, classes=10, shortcut=identity_or(affine), bias=True)


def zero_last_gamma(model: nn.Module) -> None:
    """Set the weight of the last batch normalisation of every block to 0."""
    for module in model.modules():
        if isinstance(module, Residual):
            init.zeros_(module.last_norm().weight)  # type: ignore[arg-type]


def stage_shapes(model: ResNet, size: int) -> list[tuple[int, ...]]:
    """The shape of one square image when it reaches the stages, and after each of them."""
    x = tn.zeros((1, model.conv1.in_channels, size, size))
    found = []
    with tn.no_grad():
        for name, layer in model.named_children():
            if name == "layer1":
                found.append(x.shape[1:])
            elif name == "avgpool":
                break
            x = layer(x)
            if name.startswith("layer"):
                found.append(x.shape[1:])
    return found


# ---------------------------------------------------------------------- what must hold


def _positive(channels: int) -> np.ndarray:
    return np.random.default_rng(0).random((2, channels, 6, 6)).astype(np.float32)


def zero_gamma_block() -> float:
    """How far a block with γ = 0 is from the identity."""
    block, x = BasicBlock(4, 4), _positive(4)
    zero_last_gamma(block)
    return float(np.abs(block(x).data - x).max())


def deeper_network() -> float:
    """How far a network is from the same one with three more blocks, of γ = 0, behind those of every stage."""
    deep, shallow = small_resnet(4, width=4), small_resnet(1, width=4)
    zero_last_gamma(deep)
    for (_, a), (_, b) in zip(deep.named_children(), shallow.named_children()):
        if isinstance(a, nn.Sequential):
            a[0].load_state_dict(next(iter(b.children())).state_dict())
        else:
            a.load_state_dict(b.state_dict())
    x = np.random.default_rng(0).standard_normal((2, 1, 8, 8)).astype(np.float32)
    return float(np.abs(deep(x).data - shallow(x).data).max())


def gradient_through_blocks() -> float:
    """How far the gradient at the input of thirty blocks with γ = 0 is from that at their output."""
    blocks = nn.Sequential(*(BasicBlock(4, 4) for _ in range(30)))
    zero_last_gamma(blocks)
    x = tn.tensor(_positive(4), requires_grad=True)
    upstream = np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)
    blocks(x).backward(upstream)
    return float(np.abs(x.grad.data - upstream).max())  # type: ignore[union-attr]


def demo(run: Run) -> Outcome:
    """Train ResNet-14 on the digits and compare it with three baselines."""
    tn.manual_seed(run.seed)
    return classify_digits(run, small_resnet(2), RECIPE, "ResNet-14", size=8)


def _checks() -> list[tuple[nn.Module, tuple[np.ndarray]]]:
    x = np.random.default_rng(0).standard_normal((3, 1, 6, 6))
    return [(small_resnet(1, width=2), (x,))]


BOOK_SHAPES = [(64, 56, 56), (64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)]

NOTE = Note(
    slug="resnet-basic",
    family="cnn",
    title="ResNet: a block adds to what it is given",
    sources="notes 000, 001, 004; Zhang et al., Dive into Deep Learning, 7.6; torchvision",
    paper="He, Zhang, Ren & Sun 2015, Deep residual learning for image recognition",
    text=__doc__,
    build=lambda: resnet(18),
    example=lambda: (1, 3, 224, 224),
    demo=demo,
    bars=[Bar("test_accuracy", at_least=0.98), Bar("test_accuracy", at_least="logistic_regression")],
    facts=[
        Fact(
            "parameters of ResNet-18",
            11_689_512,
            lambda: parameter_count(without_memory(resnet, 18)),
            "torchvision, resnet18",
        ),
        Fact(
            "parameters of ResNet-34",
            21_797_672,
            lambda: parameter_count(without_memory(resnet, 34)),
            "torchvision, resnet34",
        ),
        Fact(
            "billions of multiply-adds of ResNet-18, 224×224",
            1.814,
            lambda: multiply_adds(without_memory(resnet, 18), (1, 3, 224, 224)),
            "torchvision, resnet18",
        ),
        Fact(
            "parameters of the book's ResNet-18",
            11_178_378,
            lambda: parameter_count(without_memory(book_resnet)),
            "Dive into Deep Learning, 7.6",
        ),
        Fact(
            "shapes before and after its stages",
            BOOK_SHAPES,
            lambda: stage_shapes(without_memory(book_resnet), 224),
            "Dive into Deep Learning, 7.6",
        ),
        Fact(
            "parameters of an identity shortcut",
            0,
            lambda: parameter_count(BasicBlock(8, 8)) - parameter_count(BasicBlock(8, 8, shortcut=None)),
            "it has none",
        ),
    ],
    identities=[
        Identity("a block with γ = 0 and the identity, where x ≥ 0", zero_gamma_block),
        Identity("a network with three more blocks of γ = 0 in every stage, and without them", deeper_network),
        Identity("the gradient before and after thirty blocks with γ = 0, where x > 0", gradient_through_blocks),
    ],
    checks=_checks,
)
