"""VGG: the same as PyTorch's, how its layers begin, and depths the paper has."""

import numpy as np
import pytest

from tests.notes.cnn.twins import assert_same
from tinygrad_notes import nn
from tinygrad_notes.notes.cnn import vgg


@pytest.mark.parity
def test_pytorch_gives_the_same_outputs_and_gradients():
    torch = pytest.importorskip("torch")

    def block(convolutions, before, channels):
        layers = []
        for _ in range(convolutions):
            layers += [torch.nn.Conv2d(before, channels, 3, padding=1), torch.nn.ReLU()]
            before = channels
        return torch.nn.Sequential(*layers, torch.nn.MaxPool2d(2, 2))

    theirs = torch.nn.Sequential(
        block(1, 1, 4), block(1, 4, 8), block(2, 8, 16), block(2, 16, 32), block(2, 32, 32), torch.nn.Flatten(),
        torch.nn.Linear(32, 256), torch.nn.ReLU(), torch.nn.Dropout(0.5),
        torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(256, 10),
    )  # fmt: skip
    assert_same(vgg.mini(), theirs, (3, 1, 32, 32))


@pytest.mark.parametrize("depth", vgg.CONVOLUTIONS)
def test_a_depth_counts_the_layers_with_parameters(depth):
    layers = [layer for layer in vgg.canonical(depth).modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth


def test_signals_keep_their_size_through_the_convolutions():
    """PyTorch's own initialisation makes them a thousand times smaller."""
    x = np.random.default_rng(0).standard_normal((8, 1, 32, 32)).astype(np.float32)
    blocks = vgg.VGG(16, (32,) * 5, hidden=8, in_channels=1, size=32)[:5]
    assert 0.1 < (blocks(x).data ** 2).mean() < 100
