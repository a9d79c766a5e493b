"""Network surgery: what is not a chain of children is lost."""

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.cnn import network_surgery as surgery


class Flattened(nn.Module):
    """Flattens in its forward, between its children, as torchvision's ResNet does."""

    def __init__(self):
        super().__init__()
        self.body, self.pool, self.head = nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Linear(2, 3)

    def forward(self, x):
        return self.head(tn.reshape(self.pool(self.body(x)), (len(x), -1)))


def test_any_module_can_be_cut_but_only_its_children_come_along():
    net, x = Flattened(), tn.ones((2, 1, 5, 5))
    body = surgery.without_head(net)
    assert [*body] == [net.body]
    assert np.array_equal(body(x).data, net.body(x).data)
    assert np.allclose(surgery.fully_convolutional(net)(x).data.mean((2, 3)), net(x).data, atol=1e-6)
    with pytest.raises(tn.ShapeError, match="linear"):  # the flattening is gone
        nn.Sequential(*net.children())(x)
