"""VGG: how its layers begin, and depths the paper has."""

import numpy as np
import pytest

from tinygrad_notes import nn
from tinygrad_notes.notes.cnn import vgg


@pytest.mark.parametrize("depth", vgg.CONVOLUTIONS)
def test_a_depth_counts_the_layers_with_parameters(depth):
    layers = [layer for layer in vgg.canonical(depth).modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth


def test_signals_keep_their_size_through_the_convolutions():
    """PyTorch's own initialisation makes them a thousand times smaller."""
    x = np.random.default_rng(0).standard_normal((8, 1, 32, 32)).astype(np.float32)
    blocks = vgg.VGG(16, (32,) * 5, hidden=8, in_channels=1, size=32)[:5]
    assert 0.1 < (blocks(x).data ** 2).mean() < 100
