"""The networks of the notes beside PyTorch: the same weights give the same outputs and gradients."""

import numpy as np
import pytest

import tinygrad_notes as tn
from benchmarks import notes as eleven
from benchmarks.twins import Lesson, relative_error, results, twin, worst_errors
from tinygrad_notes import nn
from tinygrad_notes.notes.attention.multi_head import MultiHead
from tinygrad_notes.notes.cnn import googlenet, nin
from tinygrad_notes.notes.cnn.cnn_recipe_lenet import LeNet, recipe
from tinygrad_notes.notes.cnn.inception_block import conv_relu
from tinygrad_notes.notes.cnn.resnet_basic import OPTIONS, Bottleneck, ResNet, small_resnet
from tinygrad_notes.notes.cnn.resnet_bottleneck_152 import small_bottleneck_resnet
from tinygrad_notes.notes.language import RecurrentLanguageModel

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity


def google(convolution, torchvision):
    return lambda: eleven.images(lambda: googlenet.GoogLeNet(1, 10, 8, convolution, torchvision=torchvision), 8, 64)


def language_model(kind, embedding, layers):
    def make(size):
        return RecurrentLanguageModel(size, 8, getattr(nn, kind), embedding, layers)

    return lambda: eleven.text(make, 11, 3, 20)


def unmasked_heads():
    whole = eleven.heads(MultiHead(12, 3), 2, 4, np.array([6, 6]), 12)
    return Lesson(whole.model, whole.inputs[:3], whole.target, whole.loss)


OTHERS = {
    "LeNet, canonical": lambda: eleven.images(LeNet, 4, 28),
    "NiN, canonical windows": lambda: eleven.images(lambda: nin.NiN((6, 16, 24)), 2, 224),
    "GoogLeNet, without normalisation": google(conv_relu, False),
    "GoogLeNet, torchvision": google(googlenet.conv_bn_relu, True),
    "ResNet, option C": lambda: eleven.images(lambda: small_resnet(1, width=4, shortcut=OPTIONS["C"]), 4, 16),
    "ResNet, bottlenecks": lambda: eleven.images(small_bottleneck_resnet, 4, 16),
    "ResNet, large images": lambda: eleven.images(
        lambda: ResNet(Bottleneck, (1, 2), (4, 8), in_channels=1, classes=5), 4, 16, classes=5
    ),
    **{
        f"{kind}, embedding {embedding}, layers {layers}": language_model(kind, embedding, layers)
        for kind in ("RNN", "GRU", "LSTM")
        for embedding, layers in ((None, 1), (None, 2), (6, 1))
    },
    "multi-head attention, no mask, no bias": unmasked_heads,
    "Transformer, tied": lambda: eleven.small_transformer(tied=True),
    "Transformer, norms first": lambda: eleven.small_transformer(norm_first=True),
}
LESSONS = {network.name: network.small for network in eleven.networks()} | OTHERS


@pytest.mark.parametrize("name", LESSONS)
def test_pytorch_gives_the_same_outputs_and_gradients(name):
    for dtype, worst in worst_errors(torch, LESSONS[name]).items():
        worst.check(dtype)


def test_pytorch_carries_the_same_state():
    model = RecurrentLanguageModel(7, 5, nn.LSTM)
    theirs, state, their_state = twin(torch, model), None, None
    tokens = np.random.default_rng(0).integers(0, 7, (2, 12))
    for start in (0, 5):
        part = tokens[:, start : start + 5]
        _, state = model.advance(part, state)
        _, their_state = theirs.advance(torch.tensor(part), their_state)
    for a, b in zip(state, their_state):
        assert relative_error(a.detach().numpy(), b.detach().numpy()) < 1e-5


@pytest.mark.parametrize("wrong", ["output", "gradient"])
def test_a_network_that_computes_something_else_is_found(wrong):
    class Wrong(LeNet):
        def forward(self, x):
            y = super().forward(x)
            return y * 1.001 if wrong == "output" else y + 0.001 * (y - y.detach())

    for dtype, worst in worst_errors(torch, lambda: eleven.images(Wrong, 4, 28)).items():
        assert worst.gradients > 5e-4
        assert (worst.outputs > 5e-4) == (wrong == "output")
        with pytest.raises(AssertionError, match=f"ours differs from theirs by .* in {dtype}"):
            worst.check(dtype)


def test_a_gradient_that_is_only_rounding_is_measured_by_the_largest_one():
    """Of a bias in front of batch normalisation."""
    lesson = eleven.images(recipe, 4, 28).to(tn.float64)
    (_, ours), (_, theirs) = (results(torch, lesson, library) for library in ("tn", "torch"))
    assert 0 < np.abs(theirs["0.bias"]).max() < 1e-13
    assert relative_error(ours["0.bias"], theirs["0.bias"]) > 1e-4
    assert worst_errors(torch, lambda: eleven.images(recipe, 4, 28))["float64"].gradients < 1e-10


def test_nothing_is_dropped():
    lesson = eleven.networks()[1].small()
    assert lesson.model.training
    x = tn.tensor(lesson.inputs[0])
    assert np.array_equal(lesson.model(x).data, lesson.model(x).data)
