"""1×1 convolution: an affine layer on channels

What the note says. A 1×1 convolution without padding and with stride 1 looks at one pixel: it mixes that pixel's
channels and knows nothing of its neighbours. Two of them after a convolution work as affine layers on the channels
(相当于全连接层). Where it does not lower the number of channels, it merges them (通道融合); where it does, it makes
what follows cheaper.

The formula. With x of (N, C, H, W), w of (D, C, 1, 1) and a bias b of (D):

    y[n, d, i, j] = b[d] + Σ_c w[d, c] x[n, c, i, j]

Take the N·H·W pixels as rows and the channels as columns, and that is the matrix product Y = X Wᵀ + b, of (N·H·W) × C
with C × D. So

- two of them with nothing between are one, whose matrix is the product of both; with a ReLU between they are a small
  network at every pixel;
- moving the pixels about, before or after, makes no difference;
- lowering C to D before a k×k convolution to E channels costs CD + k²DE weights instead of k²CE.

Where the paper differs. Lin, Chen & Yan (2013) reached 1×1 windows by sliding a perceptron over the image; GoogLeNet
used them to lower the number of channels, and ResNet to fit a shortcut to what it is added to. "Dive into Deep
Learning" (6.4.3) writes one as a product of matrices and compares.

How it is shown here. Two networks of the same depth learn the digits, one with 3×3 windows and one with 1×1 windows
only, each with the mean over all places at the end. The second one sees how many pixels are how dark, not where they
are: it must give the same answer for a digit whose pixels were shuffled, and it can learn little. How little is
reported.
"""

from __future__ import annotations

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.data import digits
from tinygrad_notes.notes.classification import Recipe, digit_baselines, outputs_on_test, train_classifier
from tinygrad_notes.notes.cnn._layers import he_normal
from tinygrad_notes.notes.note import Fact, Identity, Note, Outcome, Run, parameter_count, without_memory
from tinygrad_notes.training.pictures import save_curves

RECIPE = Recipe(epochs=15, batch=64, learning_rate=1e-2, warm_up=0.1)


class Windows(nn.Sequential):
    """Two convolutions with windows of one size, then the mean over all places: (batch, 1, h, w) → (batch, 10)."""

    def __init__(self, kernel_size: int, channels: int = 32):
        super().__init__(
            nn.Conv2d(1, channels, kernel_size, padding=kernel_size // 2),
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),  # (batch, channels, 1, 1)
            nn.Conv2d(channels, 10, 1),
            nn.Flatten(),
        )
        he_normal(self)


def demo(run: Run) -> Outcome:
    """Train both networks on the 8×8 digits, then give both shuffled pixels."""
    data = digits(size=8, seed=run.seed)
    x = data.test.tensors[0]
    shuffled = tn.asarray(_shuffled(x.numpy()))
    metrics, curves = dict(digit_baselines()), {}
    for kernel_size in (1, 3):
        tn.manual_seed(run.seed)
        name = f"{kernel_size}x{kernel_size}"
        trainer = train_classifier(run, Windows(kernel_size), data, RECIPE, name=name)
        logits, labels = outputs_on_test(trainer.model, data, run.device)
        metrics[f"test_accuracy_{name}"] = float((logits.argmax(1) == labels).mean())
        with tn.no_grad():
            answers = trainer.model(shuffled.to(run.device)).argmax(axis=1).numpy()
        metrics[f"same_answer_when_shuffled_{name}"] = float((answers == logits.argmax(1)).mean())
        history = trainer.history
        curves[name.replace("x", "×") + " windows"] = (
            [row["epoch"] for row in history],
            [row["validation_accuracy"] for row in history],
        )
    picture = save_curves(
        run.folder / "windows.png", "Two layers of windows, then the mean: what 1×1 windows cannot see", curves,
        "epoch", "validation accuracy",
    )  # fmt: skip
    return Outcome(metrics, [picture])


def _shuffled(images: np.ndarray) -> np.ndarray:
    """The same images with their pixels in another order, one order for all."""
    order = np.random.default_rng(0).permutation(images[0, 0].size)
    return images.reshape(*images.shape[:2], -1)[..., order].reshape(images.shape)


def _layer(channels: int, outputs: int, bias: bool = True) -> nn.Conv2d:
    tn.manual_seed(outputs)
    return nn.Conv2d(channels, outputs, 1, bias=bias).to(tn.float64)


def _x() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, 6, 5, 4))


def _rows(x: tn.Tensor) -> tn.Tensor:
    """(N, C, H, W) as (N·H·W, C)."""
    return tn.reshape(tn.permute_dims(x, (0, 2, 3, 1)), (-1, x.shape[1]))


def _product_error() -> float:
    layer, x = _layer(6, 7), tn.asarray(_x())
    product = _rows(x) @ tn.reshape(layer.weight, (7, 6)).mT + layer.bias
    return float(np.abs(_rows(layer(x)).data - product.data).max())


def _gradient_error() -> float:
    """dX = G W and dW = Gᵀ X for matrices, against the layer's."""
    layer, x = _layer(6, 7), tn.tensor(_x(), requires_grad=True)
    g = np.random.default_rng(1).standard_normal((2, 7, 5, 4))
    dx, dw, db = tn.grad(layer(x), [x, *layer.parameters()], tn.asarray(g))
    rows = _rows(tn.asarray(g)).data
    errors = (
        _rows(dx).data - rows @ layer.weight.data.reshape(7, 6),
        dw.data.reshape(7, 6) - rows.T @ _rows(x).data,
        db.data - rows.sum(0),
    )
    return max(float(np.abs(error).max()) for error in errors)


def _two_are_one() -> float:
    first, second, x = _layer(6, 8, bias=False), _layer(8, 3, bias=False), tn.asarray(_x())
    weight = second.weight.data.reshape(3, 8) @ first.weight.data.reshape(8, 6)
    return float(np.abs(second(first(x)).data - tn.conv2d(x, weight.reshape(3, 6, 1, 1)).data).max())


def _shuffling_error() -> float:
    """Pixels shuffled before or after two layers with a ReLU between."""
    layers = nn.Sequential(_layer(6, 8), nn.ReLU(), _layer(8, 6))
    return float(np.abs(layers(tn.asarray(_shuffled(_x()))).data - _shuffled(layers(tn.asarray(_x())).data)).max())


def _with_and_without() -> list[int]:
    """Weights from 192 to 32 channels by 5×5 windows, directly and through 16 channels."""
    direct, narrow, wide = (
        parameter_count(without_memory(nn.Conv2d, *sizes, bias=False))
        for sizes in ((192, 32, 5), (192, 16, 1), (16, 32, 5))
    )
    return [direct, narrow + wide]


def _checks() -> list[tuple[nn.Module, tuple[np.ndarray]]]:
    return [(Windows(1, channels=4), (np.random.default_rng(0).standard_normal((2, 1, 5, 4)),))]


NOTE = Note(
    slug="conv-1x1",
    family="cnn",
    title="1×1 convolution: an affine layer on channels",
    sources="note 004; Zhang et al., Dive into Deep Learning, 6.4.3",
    paper="Lin, Chen & Yan 2013, Network in network",
    text=__doc__,
    demo=demo,
    no_bar="what must hold is exact; how little the histogram of a digit tells is reported, not demanded",
    facts=[
        Fact("weights to 32 channels by 5×5, and through 16", [153_600, 15_872], _with_and_without, "CD + k²DE"),
    ],
    identities=[
        Identity("a 1×1 convolution is a product of matrices", _product_error, at_most=1e-12),
        Identity("and its gradients are those of the product", _gradient_error, at_most=1e-12),
        Identity("two of them with nothing between are one", _two_are_one, at_most=1e-12),
        Identity("the order of the pixels makes no difference", _shuffling_error, at_most=1e-12),
    ],
    checks=_checks,
)
