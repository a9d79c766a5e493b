"""AlexNet: the same as PyTorch's, and where it drops out."""

import pytest

from tests.notes.cnn.twins import assert_same
from tinygrad_notes import nn
from tinygrad_notes.notes.cnn import alexnet


@pytest.mark.parity
def test_pytorch_gives_the_same_outputs_and_gradients():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, 1, 1), torch.nn.ReLU(), torch.nn.MaxPool2d(3, 2),
        torch.nn.Conv2d(4, 12, 5, padding=2), torch.nn.ReLU(), torch.nn.MaxPool2d(3, 2),
        torch.nn.Conv2d(12, 24, 3, padding=1), torch.nn.ReLU(),
        torch.nn.Conv2d(24, 16, 3, padding=1), torch.nn.ReLU(),
        torch.nn.Conv2d(16, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(3, 2),
        torch.nn.Flatten(), torch.nn.Linear(16, 256), torch.nn.ReLU(), torch.nn.Dropout(0.5),
        torch.nn.Linear(256, 256), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(256, 10),
    )  # fmt: skip
    assert_same(alexnet.mini(), theirs, (4, 1, 16, 16))


def test_dropout_follows_the_two_hidden_affine_layers():
    kinds = [type(layer).__name__ for layer in alexnet.mini()][13:]
    assert kinds == ["Flatten", "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear"]
    assert [layer.p for layer in alexnet.mini() if isinstance(layer, nn.Dropout)] == [0.5, 0.5]
