"""AlexNet: where it drops out."""

from tinygrad_notes import nn
from tinygrad_notes.notes.cnn import alexnet


def test_dropout_follows_the_two_hidden_affine_layers():
    kinds = [type(layer).__name__ for layer in alexnet.mini()][13:]
    assert kinds == ["Flatten", "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
    assert [layer.p for layer in alexnet.mini() if isinstance(layer, nn.Dropout)] == [0.5, 0.5]
