"""Network surgery: a trained network without its head

What the note says. For segmentation a network trained to classify is taken, and its last two children, the global
average pooling and the affine layer, are dropped (去掉最后两层):

    net = nn.Sequential(*list(pretrained_cnn.children()))[:-2]

What is left makes a map of features from an image of any size; a new head follows.

The formula. Let h[c, i, j] be the map before the head, and W, b the affine layer. The head reads off the mean, and as
both are linear, they can change places:

    W · mean_ij h[:, i, j] + b  =  mean_ij (W h[:, i, j] + b)

On the right stands a 1×1 convolution with the same weights. Put it in the place of both children, and a classifier of
images says of every place what it sees there, without being trained again: a fully convolutional network.

Where the note differs. "Dive into Deep Learning" (13.11) has the brackets elsewhere, ``list(net.children())[:-2]``.
Both are right: the one slices a Sequential, which gives a Sequential, the other a list. Both give the same layers, not
copies: what trains the new network changes the old one. And both see only the children. What a network does elsewhere
in its ``forward``, like the flattening in torchvision's ResNet or a shortcut around a child, is lost; the book's line
works because that flattening stands behind the last child that it keeps.

How it is shown here. A small network learns to tell the digits of 16×16 pixels apart. Then its head is dropped, the
1×1 convolution put there, and it is shown strips of eight test digits side by side, which no affine layer behind a
flattened map could take. The picture shows the map of the most likely class, the darker the surer; the
metrics, how many digits it reads right, where each one's own part of the map is averaged.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn, optim
from tinygrad_notes.data import digits
from tinygrad_notes.notes.classification import Recipe, digit_baselines, outputs_on_test, train_classifier
from tinygrad_notes.notes.note import Fact, Identity, Note, Outcome, Run
from tinygrad_notes.training.pictures import save_picture

RECIPE = Recipe(epochs=10, batch=64, learning_rate=5e-3, warm_up=0.1, shift=1)
STRIP = 8  # digits side by side


class Classifier(nn.Sequential):
    """Three blocks that halve the image twice, and a head of two children, for (batch, 1, h, w)."""

    def __init__(self, channels: int = 16, classes: int = 10):
        def block(before: int, after: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU())

        super().__init__(
            block(1, channels),
            nn.MaxPool2d(2),
            block(channels, 2 * channels),
            nn.MaxPool2d(2),
            block(2 * channels, 2 * channels),  # (batch, 2·channels, h/4, w/4)
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),  # (batch, 2·channels)
            nn.Linear(2 * channels, classes),
        )


def without_head(net: nn.Module) -> nn.Sequential:
    """The note's spelling: slice the Sequential."""
    return nn.Sequential(*list(net.children()))[:-2]


def without_head_as_in_the_book(net: nn.Module) -> nn.Sequential:
    """The book's: slice the list."""
    return nn.Sequential(*list(net.children())[:-2])


def fully_convolutional(net: nn.Module) -> nn.Sequential:
    """The body of ``net``, and its affine layer as a 1×1 convolution: (batch, classes, h/4, w/4)."""
    weight, bias = list(net.children())[-1].parameters()
    outputs, inputs = weight.shape
    convolution = nn.Conv2d(inputs, outputs, 1).to(weight.dtype)
    convolution.load_state_dict({"weight": weight.data.reshape(outputs, inputs, 1, 1), "bias": bias.data})
    return without_head(net).append(convolution)


def demo(run: Run) -> Outcome:
    """Train the classifier, replace its head, and read strips of digits."""
    tn.manual_seed(run.seed)
    data = digits(size=16, seed=run.seed)
    trainer = train_classifier(run, Classifier(), data, RECIPE)
    logits, labels = outputs_on_test(trainer.model, data, run.device)
    reader = fully_convolutional(trainer.model.to("cpu")).eval()
    count = len(labels) // STRIP * STRIP
    images = data.test.tensors[0].numpy()[:count]
    strips = images.reshape(-1, STRIP, 16, 16).swapaxes(1, 2).reshape(-1, 1, 16, STRIP * 16)
    with tn.no_grad():
        maps = reader(tn.asarray(strips))  # (strips, 10, 4, 8·4)
    parts = tn.reshape(maps, (-1, 10, 4, STRIP, 4)).mean(axis=(2, 4)).numpy()  # (strips, 10, 8)
    metrics = {
        "test_accuracy": float((logits.argmax(1) == labels).mean()),
        "accuracy_in_strips": float((parts.argmax(1).ravel() == labels[:count]).mean()),
        **digit_baselines(),
    }
    picture = save_picture(
        run.folder / "strips.png",
        "A classifier of digits, its head now a 1×1 convolution, reads strips",
        lambda figure: _draw(figure, strips[:4, 0], tn.softmax(maps[:4], axis=1).numpy()),
        (13, 8),
    )
    return Outcome(metrics, [picture], trainer.history, trainer.times)


def _draw(figure: Any, strips: np.ndarray, probabilities: np.ndarray) -> None:
    grid = figure.subplots(2 * len(strips), 1).ravel()
    for axes, strip in zip(grid[::2], strips):
        axes.imshow(strip, cmap="gray_r", interpolation="nearest", aspect="auto")
    for axes, sure in zip(grid[1::2], probabilities):
        axes.imshow(sure.max(0), cmap="Greens", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        for (i, j), likely in np.ndenumerate(sure.argmax(0)):
            if sure[likely, i, j] > 0.3:
                colour = "white" if sure[likely, i, j] > 0.6 else "black"
                axes.text(j, i, str(likely), ha="center", va="center", fontsize=9, color=colour)
    for axes in grid:
        axes.set(xticks=[], yticks=[])


# ---------------------------------------------------------------------- what must agree


def _net() -> Classifier:
    tn.manual_seed(0)
    return Classifier(channels=3).to(tn.float64).eval()


def _x() -> tn.Tensor:
    return tn.asarray(np.random.default_rng(0).standard_normal((2, 1, 12, 8)))


def _same_layers() -> list[bool]:
    net = _net()
    one, other = without_head(net), without_head_as_in_the_book(net)
    return [len(one) == len(other) == 5, *(a is b is c for a, b, c in zip(one, other, net))]


def _features_error() -> float:
    """The body against what reaches the head inside the whole network."""
    net, seen = _net(), []
    net[-2].register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].data))
    net(_x())
    return float(np.abs(without_head(net)(_x()).data - seen[0]).max())


def _exchange_error() -> float:
    """The mean of the map of a 1×1 convolution against the classifier's logits."""
    return float(np.abs(fully_convolutional(_net())(_x()).data.mean((2, 3)) - _net()(_x()).data).max())


def _training_error() -> float:
    """One step on the body alone is a step of the whole network's layers: they are the same."""
    net = _net()
    body = without_head(net)
    weight = next(net.parameters())
    expected = weight.data - 0.1 * tn.grad(body(_x()).sum(), weight).data
    body(_x()).sum().backward()
    optim.SGD(body.parameters(), lr=0.1).step()
    return float(np.abs(weight.data - expected).max())


def _checks() -> list[tuple[nn.Module, tuple[np.ndarray]]]:
    return [(fully_convolutional(_net()), (_x().numpy(),))]


NOTE = Note(
    slug="network-surgery",
    family="cnn",
    title="Network surgery: a trained network without its head",
    sources="note 004; Zhang et al., Dive into Deep Learning, 13.11",
    paper="Long, Shelhamer & Darrell 2015, Fully convolutional networks for semantic segmentation",
    text=__doc__,
    demo=demo,
    no_bar="what must hold is exact: both spellings give the same layers, and both heads the same logits",
    facts=[
        Fact("both spellings give the very same five layers", [True] * 6, _same_layers, "a slice copies nothing"),
        Fact(
            "names of the parameters that are left",
            [f"{block}.{layer}.{name}" for block in (0, 2, 4) for layer in (0, 1) for name in ("weight", "bias")],
            lambda: [name for name, _ in without_head(_net()).named_parameters()],
            "those of the whole network",
        ),
        Fact(
            "what the body makes of an image of 12×8",
            (2, 6, 3, 2),
            lambda: without_head(_net())(_x()).shape,
            "halved twice",
        ),
    ],
    identities=[
        Identity("the body computes what reaches the head", _features_error),
        Identity(
            "the mean of the 1×1 convolution's map is the affine layer of the mean", _exchange_error, at_most=1e-12
        ),
        Identity("training the body trains the whole network", _training_error),
    ],
    checks=_checks,
)
