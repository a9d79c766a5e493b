"""Shortcut options: what carries x around a residual block whose ends differ

What the note says. The shortcut is the identity where both ends of a block have equal dimensions; otherwise it is an
affine map (Affine), which is not always good when the network is very deep.

The formula. In y = relu(F(x) + S(x)) the sum needs F(x) and S(x) of one shape. Where a block halves height and width
and takes its C channels to C' = 2C, the identity does not fit. He et al. (section 4.1) compare three ways:

    A   S(x)[c, i, j] = x[c, 2i, 2j] for c < C, otherwise 0       no parameters, the identity everywhere else
    B   S(x) = BN(W * x), W of 1×1 and stride 2                   C·C' weights (and 2C' of BN), the identity elsewhere
    C   S(x) = BN(W * x) in every block                           C·C' weights (and 2C' of BN) everywhere

A pixel of stride 2 is one of four, so all three read the same quarter of x. A keeps it as it is, B mixes its channels.
A is B with a W that copies: the first C rows of W are those of a unit matrix, the others zero (an identity below).

Where the sources differ. "Shortcuts add no parameters" is true of A, and of the identity in B; the projection of B from
256 to 512 channels has 131,072 weights. The paper finds C better than B better than A, by little, and
concludes that projections are not what solves degradation; C is not used because it costs the most. Why a projection
in *every* block is "not always good" was shown a year later (He et al. 2016, Identity mappings): the signal is
multiplied by one matrix after another, ∏ W, which is what the identity avoids. The picture of the demo shows it.

The demo trains ResNet-8 with each option on real digits of 8×8 pixels. Each must beat logistic regression; that the
options differ by little is what the paper says, so there is no bar between them. Its picture also shows what chains of
shortcuts alone, without F, do to a gradient that goes back through them: the identity nothing, a matrix in every block
(its initial weights, which keep the mean square) shrinks some directions by a factor that grows with the number of
blocks. The shown number is the smallest singular value of the chain's Jacobian, the median over 15 chains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.data import digits
from tinygrad_notes.nn import init
from tinygrad_notes.notes.classification import Recipe, digit_baselines, outputs_on_test, train_classifier
from tinygrad_notes.notes.cnn.resnet_basic import OPTIONS, BasicBlock, resnet, small_resnet, zero_padded
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run, parameter_count, without_memory
from tinygrad_notes.training.pictures import save_picture

RECIPE = Recipe(epochs=6, batch=64, learning_rate=1e-2, weight_decay=1e-2, warm_up=0.1, shift=1)
CHAINS = 15
DEPTHS = (1, 2, 3, 4, 6, 8)  # of a longer chain the smallest factor is below the rounding of float64


def added(option: str, before: int, after: int, stride: int) -> tuple[int, int]:
    """How many parameters the shortcut of a block has: of the convolution, and of its normalisation."""
    shortcut = without_memory(OPTIONS[option], before, after, stride)
    total = parameter_count(shortcut)
    convolution = sum(parameter_count(layer) for layer in shortcut.modules() if isinstance(layer, nn.Conv2d))
    return convolution, total - convolution


def padding_is_a_projection() -> float:
    """How far option A is from a projection whose first rows are those of a unit matrix, the others zero."""
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 7)).astype(np.float32)
    convolution = nn.Conv2d(3, 8, 1, stride=2, bias=False)
    init.copy_(convolution.weight, np.eye(8, 3, dtype=np.float32)[:, :, None, None])
    return float(np.abs(zero_padded(3, 8, 2)(x).data - convolution(x).data).max())


def smallest_gain(depth: int, identity: bool, channels: int = 16) -> float:
    """The smallest singular value of the Jacobian of ``depth`` shortcuts one after the other."""
    chain = nn.Sequential()
    for _ in range(depth):
        layer = OPTIONS["B" if identity else "C"](channels, channels, 1)
        chain.append(layer if identity else layer[0])  # type: ignore[index]  # the convolution, without BN
        if not identity:
            init.kaiming_normal_(layer[0].weight, nonlinearity="linear")  # type: ignore[index]
    chain.to(tn.float64)

    def through(x: tn.Tensor) -> tn.Tensor:
        return chain(x.reshape((1, channels, 1, 1))).reshape(-1)

    return float(np.linalg.svd(tn.jacobian(through, np.ones(channels)).numpy(), compute_uv=False)[-1])


def demo(run: Run) -> Outcome:
    """Train ResNet-8 with each option, and draw it beside what chains of shortcuts do to a gradient."""
    tn.manual_seed(run.seed)
    data = digits(8, seed=run.seed)
    metrics: dict[str, float] = {}
    histories: dict[str, Sequence[dict[str, float]]] = {}
    for option, shortcut in OPTIONS.items():
        model = small_resnet(1, width=16, shortcut=shortcut)
        trainer = train_classifier(run, model, data, RECIPE, name=f"option-{option}")
        logits, labels = outputs_on_test(model, data, run.device)
        metrics[f"test_accuracy_{option}"] = float((logits.argmax(axis=1) == labels).mean())
        metrics[f"parameters_{option}"] = parameter_count(model)
        histories[option] = trainer.history
    gains = {
        name: [float(np.median([smallest_gain(depth, name == "identity") for _ in range(CHAINS)])) for depth in DEPTHS]
        for name in ("identity", "W")
    }
    metrics |= {"smallest_gain_of_8_identities": gains["identity"][-1], "smallest_gain_of_8_matrices": gains["W"][-1]}

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        for option, history in histories.items():
            losses = [row["validation_loss"] for row in history]
            accuracy = metrics[f"test_accuracy_{option}"]
            left.plot(range(1, len(losses) + 1), losses, marker=".", label=f"option {option}: test {accuracy:.4f}")
        left.set(xlabel="epoch", ylabel="validation loss (log scale)", yscale="log")
        for name, values in gains.items():
            right.plot(DEPTHS, values, marker=".", label=f"shortcut: {name}")
        right.set(
            xlabel="shortcuts in a chain", ylabel="smallest factor on a gradient (median, log scale)", yscale="log"
        )
        right.set_xticks(DEPTHS, DEPTHS)
        for axes in (left, right):
            axes.grid(alpha=0.3)
            axes.legend(frameon=False)

    picture = save_picture(
        run.folder / "options.png", "ResNet-8 with each option, and shortcuts by themselves", draw, (12, 5)
    )
    return Outcome(metrics | digit_baselines(), [picture], histories["B"])


def _checks() -> list[tuple[nn.Module, tuple[np.ndarray]]]:
    x = np.random.default_rng(0).standard_normal((3, 2, 4, 4))
    return [(BasicBlock(2, 4, 2, shortcut), (x,)) for shortcut in OPTIONS.values()]


NOTE = Note(
    slug="shortcut-options",
    family="cnn",
    title="Shortcut options: what carries x around a residual block whose ends differ",
    sources="notes 000, 001",
    paper="He, Zhang, Ren & Sun 2015, Deep residual learning for image recognition, 4.1; "
    "He, Zhang, Ren & Sun 2016, Identity mappings in deep residual networks",
    text=__doc__,
    build=lambda: resnet(34, shortcut=OPTIONS["A"]),
    example=lambda: (1, 3, 224, 224),
    demo=demo,
    bars=[Bar(f"test_accuracy_{option}", at_least="logistic_regression") for option in OPTIONS],
    facts=[
        Fact("parameters added by option A, 256 → 512", (0, 0), lambda: added("A", 256, 512, 2), "He et al. 2015, 4.1"),
        Fact(
            "parameters added by option B, 256 → 512: convolution, normalisation",
            (131_072, 1_024),
            lambda: added("B", 256, 512, 2),
            "256 · 512, and 2 per channel",
        ),
        Fact("parameters added by option B, 256 → 256", (0, 0), lambda: added("B", 256, 256, 1), "the identity"),
        Fact(
            "parameters added by option C, 256 → 256: convolution, normalisation",
            (65_536, 512),
            lambda: added("C", 256, 256, 1),
            "256², and 2 per channel",
        ),
        Fact(
            "parameters of ResNet-34 with option A",
            parameters_of_plain := 21_797_672 - (64 * 128 + 128 * 256 + 256 * 512 + 2 * (128 + 256 + 512)),
            lambda: parameter_count(without_memory(resnet, 34, shortcut=OPTIONS["A"])),
            "torchvision's resnet34 without its three projections",
        ),
        Fact(
            "parameters of the plain network of 34 layers",
            parameters_of_plain,
            lambda: parameter_count(without_memory(resnet, 34, shortcut=None)),
            "as many as with option A",
        ),
    ],
    identities=[
        Identity("option A and a projection that copies", padding_is_a_projection),
        Identity("32 identity shortcuts keep a gradient as it is", lambda: abs(smallest_gain(32, True) - 1)),
    ],
    checks=_checks,
)
