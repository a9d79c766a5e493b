"""Residual networks against PyTorch, and what their facts do not say."""

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.cnn import resnet_bottleneck_152 as bottleneck
from tinygrad_notes.notes.cnn.resnet_basic import (
    OPTIONS,
    BasicBlock,
    Bottleneck,
    ResNet,
    book_resnet,
    resnet,
    small_resnet,
    zero_last_gamma,
)
from tinygrad_notes.notes.cnn.shortcut_options import smallest_gain
from tinygrad_notes.notes.note import without_memory


def test_published_weights_fit_by_their_names():
    names = set(without_memory(resnet, 50).state_dict())
    assert {"conv1.weight", "bn1.running_var", "layer1.0.downsample.0.weight", "layer1.0.downsample.1.bias"} <= names
    assert {"layer3.5.conv3.weight", "layer4.2.bn3.weight", "fc.weight", "fc.bias"} <= names
    assert len(names) == 53 * 6 + 2  # each convolution with five tensors of its normalisation


def test_the_book_has_biases_and_no_normalised_projection():
    names = set(without_memory(book_resnet).state_dict())
    assert {"conv1.bias", "layer2.0.downsample.weight", "layer2.0.downsample.bias"} <= names


def test_a_plain_block_has_no_way_around():
    tn.manual_seed(0)
    plain = BasicBlock(4, 4, shortcut=None)
    zero_last_gamma(plain)
    assert not plain(tn.ones((2, 4, 5, 5))).data.any()


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_changes_what_a_block_says(option):
    tn.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((2, 4, 6, 6)).astype(np.float32)
    block = BasicBlock(4, 8, 2, OPTIONS[option])
    with_shortcut = block(x).data
    assert with_shortcut.shape == (2, 8, 3, 3)
    block.downsample = None
    assert np.abs(block(x).data - with_shortcut).max() > 0.1


def test_option_a_reads_every_second_pixel():
    x = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4)
    y = OPTIONS["A"](2, 3, 2)(tn.tensor(x)).data
    assert y[0].tolist() == [[[0, 2], [8, 10]], [[16, 18], [24, 26]], [[0, 0], [0, 0]]]


def test_matrices_shrink_some_gradient_and_the_more_the_deeper():
    tn.manual_seed(0)
    assert 1 > smallest_gain(2, identity=False) > 100 * smallest_gain(8, identity=False) > 0


def torch_network(torch, model):
    """The network written with PyTorch's modules, under the same names."""

    class Block(torch.nn.Module):
        def __init__(self, ours):
            super().__init__()
            for name, layer in ours.named_children():
                setattr(self, name, torch_layer(torch, layer, Block))
            self.convolutions = 3 if isinstance(ours, Bottleneck) else 2

        def forward(self, x):
            y = x
            for i in range(1, self.convolutions + 1):
                y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
                y = torch.relu(y) if i < self.convolutions else y
            return torch.relu(y + self.downsample(x))

    return torch_layer(torch, model, Block)


def torch_layer(torch, layer, block):
    if isinstance(layer, nn.Conv2d):
        return torch.nn.Conv2d(
            layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding,
            bias=layer.bias is not None,
        )  # fmt: skip
    if isinstance(layer, nn.BatchNorm2d):
        return torch.nn.BatchNorm2d(layer.num_features)
    if isinstance(layer, nn.Linear):
        return torch.nn.Linear(*layer.weight.shape[::-1])
    if isinstance(layer, nn.MaxPool2d):
        return torch.nn.MaxPool2d(layer.kernel_size, layer.stride, layer.padding)
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        return torch.nn.AdaptiveAvgPool2d(1)
    if isinstance(layer, nn.Sequential):
        children = {name: torch_layer(torch, child, block) for name, child in layer.named_children()}
        made = torch.nn.Sequential()
        for name, child in children.items():
            made.add_module(name, child)
        return made
    if isinstance(layer, BasicBlock | Bottleneck):
        return block(layer)
    return getattr(torch.nn, type(layer).__name__)()


@pytest.mark.parity
@pytest.mark.parametrize(
    "make",
    [
        lambda: small_resnet(2, width=4),
        lambda: small_resnet(1, width=4, shortcut=OPTIONS["C"]),
        bottleneck.small_bottleneck_resnet,
        lambda: ResNet(Bottleneck, (1, 2), (4, 8), in_channels=1, classes=5),
    ],
    ids=["basic", "option C", "bottleneck", "large images"],
)
def test_pytorch_gives_the_same_outputs_and_gradients(make):
    torch = pytest.importorskip("torch")
    tn.manual_seed(0)
    ours = make().to(tn.float64)
    theirs = torch_network(torch, ours).double()
    theirs.load_state_dict({name: torch.tensor(value.numpy()) for name, value in ours.state_dict().items()})
    x, labels = np.random.default_rng(0).standard_normal((4, 1, 16, 16)), np.arange(4)
    outputs = ours(tn.tensor(x)), theirs(torch.tensor(x))
    assert np.abs(outputs[0].data - outputs[1].detach().numpy()).max() < 1e-10
    tn.cross_entropy(outputs[0], labels).backward()
    torch.nn.functional.cross_entropy(outputs[1], torch.tensor(labels)).backward()
    gradients = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        assert np.abs(parameter.grad.data - gradients[name].grad.numpy()).max() < 1e-9, name
    for name, value in theirs.state_dict().items():  # the running averages moved alike
        assert np.allclose(ours.state_dict()[name].data, value.numpy(), rtol=0, atol=1e-12), name
