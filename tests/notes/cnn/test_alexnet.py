"""AlexNet: where it drops out."""

import pytest

from tinygrad_notes import nn
from tinygrad_notes.notes.cnn import alexnet
from tinygrad_notes.notes.cnn.inception_v3 import InceptionV3
from tinygrad_notes.notes.cnn.resnet_basic import resnet
from tinygrad_notes.notes.note import multiply_adds, parameter_count, without_memory


def test_dropout_follows_the_two_hidden_affine_layers():
    kinds = [type(layer).__name__ for layer in alexnet.mini()][13:]
    assert kinds == ["Flatten", "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
    assert [layer.p for layer in alexnet.mini() if isinstance(layer, nn.Dropout)] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("make", "size", "billions", "each"), [(lambda: resnet(18), 224, 1.814, 155), (InceptionV3, 299, 5.713, 240)]
)
def test_the_networks_it_is_compared_with_use_each_parameter_that_often(make, size, billions, each):
    model = without_memory(make)
    assert multiply_adds(model, (1, 3, size, size)) == billions
    assert round(1e9 * billions / parameter_count(model)) == each
