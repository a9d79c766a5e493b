"""A stack of convolutions with a shortcut in the place of one

What the note says. Put [convolution - ReLU - convolution - ReLU - convolution] with a shortcut (短路) where one
convolution stands, and the network can become deep.

The formula. With F the three convolutions and the ReLUs between them,

    y = x + F(x),        dL/dx = dL/dy + (∂F/∂x)ᵀ dL/dy

The gradient reaches x undiminished along the shortcut, whatever F does to it. Through n such blocks a plain stack
multiplies n Jacobians, and its gradient shrinks or grows geometrically; here the product of (I + ∂F/∂x) contains I. A
block whose last convolution is 0 is the identity, so that a deeper network can always begin as the shallower one.
Where channels or stride change, a 1×1 convolution of that stride fits x to F(x).

Where the paper differs. He, Zhang, Ren & Sun (2015) put two convolutions into a block (or 1×1, 3×3, 1×1), normalise
the batch after each, and apply a ReLU after the addition. The block here is the note's; the ReLU after the addition
stands in the network, outside the block. Zero at the last layer of a block is of later papers (Goyal et al. 2017;
Zhang, Dauphin & Ma 2019, who train without normalisation by it).

How it is shown here. Networks of 4 and of 31 convolutions, that is one block and ten, learn the 8×8 digits for ten
epochs, plain and with shortcuts, from PyTorch's own initialisation of convolutions, which makes signals and gradients
smaller at every layer: the picture shows the gradients of all convolutions before the first step. Deep, the plain
network stays at guessing and the one with shortcuts learns; with 16 convolutions the plain one already stalls. He's
initialisation moves the limit, not the rule: with it 16 plain convolutions learned in both of two runs, and 31 in one
of two.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.data import digits
from tinygrad_notes.notes.classification import Recipe, digit_baselines, outputs_on_test, train_classifier
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run, parameter_count
from tinygrad_notes.study.receptive_field import receptive_field, windows_of
from tinygrad_notes.training.pictures import save_picture

RECIPE = Recipe(epochs=10, batch=64, learning_rate=3e-3, weight_decay=1e-2, warm_up=0.1)
BLOCKS = (1, 10)  # 4 and 31 convolutions


class ConvStack(nn.Module):
    """x + F(x), with F several 3×3 convolutions and a ReLU between each two; (batch, before, h, w) in.

    Without ``shortcut`` it is F alone. Where channels or stride change, the shortcut is a 1×1 convolution.
    """

    def __init__(self, before: int, channels: int, convolutions: int = 3, stride: int = 1, shortcut: bool = True):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(before, channels, 3, stride, padding=1)]
        for _ in range(convolutions - 1):
            layers += [nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)]
        self.stack = nn.Sequential(*layers)
        self.shortcut: nn.Module | None = None
        if shortcut:
            same = before == channels and stride == 1
            self.shortcut = nn.Identity() if same else nn.Conv2d(before, channels, 1, stride)

    def forward(self, x: tn.Tensor) -> tn.Tensor:
        y = self.stack(x)
        return y if self.shortcut is None else self.shortcut(x) + y


class StackNet(nn.Sequential):
    """A convolution, ``blocks`` of three, the mean over all places, and an affine layer: (batch, 1, h, w) in."""

    def __init__(self, blocks: int, channels: int = 16, shortcut: bool = True):
        layers: list[nn.Module] = [nn.Conv2d(1, channels, 3, padding=1), nn.ReLU()]
        for _ in range(blocks):
            layers += [ConvStack(channels, channels, shortcut=shortcut), nn.ReLU()]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def demo(run: Run) -> Outcome:
    """Train plain networks and those with shortcuts, shallow and deep, and look at their first gradients."""
    data = digits(size=8, seed=run.seed)
    metrics, losses, gradients = dict(digit_baselines()), {}, {}
    for shortcut, kind in ((False, "plain"), (True, "shortcut")):
        for blocks in BLOCKS:
            tn.manual_seed(run.seed)
            name = f"{kind}_{1 + 3 * blocks}"
            model = StackNet(blocks, shortcut=shortcut)
            gradients[name] = gradient_norms(model, *data.train.take(np.arange(64)))
            trainer = train_classifier(run, model, data, RECIPE, name=name)
            logits, labels = outputs_on_test(model, data, run.device)
            metrics[f"test_accuracy_{name}"] = float((logits.argmax(1) == labels).mean())
            metrics[f"training_loss_{name}"] = trainer.history[-1]["loss"]
            losses[name] = [row["loss"] for row in trainer.history]

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        for name in losses:
            colour, line = ("C0" if "plain" in name else "C1"), ("-" if name.endswith("31") else ":")
            label = name.replace("_", ", ") + " convolutions"
            left.plot(range(1, len(losses[name]) + 1), losses[name], line, color=colour, marker=".", label=label)
            right.plot(range(1, len(gradients[name]) + 1), gradients[name], line, color=colour, marker=".", label=label)
        left.set(xlabel="epoch", ylabel="training loss")
        right.set(xlabel="convolution, from the image", ylabel="norm of its weight's gradient at the start")
        right.set_yscale("log")
        for axes in (left, right):
            axes.grid(alpha=0.3)
            axes.legend(frameon=False)

    title = "Convolutions in threes, plain and with a shortcut around each three"
    return Outcome(metrics, [save_picture(run.folder / "depth.png", title, draw, (13, 5.5))])


def begin_as_identity(model: nn.Module) -> None:
    """Make the last convolution 0 of every block that has a shortcut."""
    for block in model.modules():
        if isinstance(block, ConvStack) and block.shortcut is not None:
            nn.init.zeros_(block.stack[-1].weight)
            nn.init.zeros_(block.stack[-1].bias)


def gradient_norms(model: nn.Module, x: tn.Tensor, labels: Any) -> list[float]:
    """The norm of the loss's gradient in the weights of every convolution, from the image on."""
    weights = [layer.weight for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    return [float(np.linalg.norm(g.data)) for g in tn.grad(tn.cross_entropy(model(x), labels), weights)]


def _block(**options: Any) -> ConvStack:
    tn.manual_seed(0)
    return ConvStack(3, 3, **options).to(tn.float64)


def _x() -> tn.Tensor:
    return tn.tensor(np.random.default_rng(0).standard_normal((2, 3, 5, 6)), requires_grad=True)


def _identity_error() -> float:
    """A block whose last convolution is 0: its value, and the gradient of its input."""
    block, x = _block(), _x()
    begin_as_identity(block)
    y, g = block(x), np.random.default_rng(1).standard_normal(x.shape)
    dx = tn.grad(y, x, tn.asarray(g))
    return float(max(np.abs(y.data - x.data).max(), np.abs(dx.data - g).max()))


def _gradient_error() -> float:
    """dx of the block against dy plus dx of the same weights without the shortcut."""
    with_it, without = _block(), _block(shortcut=False)
    g = np.random.default_rng(1).standard_normal((2, 3, 5, 6))
    gradients = []
    for block in (with_it, without):
        x = _x()
        gradients.append(tn.grad(block(x), x, tn.asarray(g)).data)
    return float(np.abs(gradients[0] - (g + gradients[1])).max())


def _checks() -> list[tuple[nn.Module, tuple[np.ndarray]]]:
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 5))
    return [(ConvStack(3, 3), (x,)), (ConvStack(3, 4, stride=2), (x,)), (StackNet(2, 3), (x[:, :1],))]


def _same_count() -> bool:
    plain, other = (parameter_count(StackNet(5, shortcut=shortcut)) for shortcut in (False, True))
    return plain == other == 160 + 15 * (16 * 16 * 9 + 16) + 170


def _shapes() -> list[tuple[int, ...]]:
    x = tn.zeros((1, 16, 8, 8))
    return [ConvStack(16, 16)(x).shape, ConvStack(16, 32, stride=2)(x).shape]


def _field() -> int:
    return receptive_field(windows_of(ConvStack(2, 2), (1, 2, 15, 15)))


NOTE = Note(
    slug="conv-stack-shortcut",
    family="cnn",
    title="A stack of convolutions with a shortcut in the place of one",
    sources="note 000; Zhang et al., Dive into Deep Learning, 7.6",
    paper="He, Zhang, Ren & Sun 2015, Deep residual learning for image recognition",
    text=__doc__,
    demo=demo,
    bars=[
        Bar("test_accuracy_shortcut_31", at_least=0.8),
        Bar("test_accuracy_plain_31", at_most=0.2),
        Bar("training_loss_shortcut_31", at_most="training_loss_plain_31"),
    ],
    facts=[
        Fact("16 convolutions have the same parameters with shortcuts and without", True, _same_count, "identity"),
        Fact("of the same shape, or halved by a stride", [(1, 16, 8, 8), (1, 32, 4, 4)], _shapes, "3×3, padding 1"),
        Fact("pixels that a block sees along an axis", 7, _field, "1 + 3·2"),
    ],
    identities=[
        Identity("a block whose last convolution is 0 is the identity, and so is its gradient", _identity_error),
        Identity("dx = dy + the gradient of the stack alone", _gradient_error, at_most=1e-12),
    ],
    checks=_checks,
)
