"""Network in network: the same as PyTorch's, and the loop of the note."""

import pytest

import tinygrad_notes as tn
from tests.notes.cnn.twins import assert_same
from tinygrad_notes.notes.cnn import nin


def in_pytorch(channels, kernel_size, stride, padding, normalise):
    torch = pytest.importorskip("torch")

    def block(before, channels, *window):
        layers = []
        for convolution in (
            torch.nn.Conv2d(before, channels, *window),
            torch.nn.Conv2d(channels, channels, kernel_size=1),
            torch.nn.Conv2d(channels, channels, kernel_size=1),
        ):
            layers += [convolution, *([torch.nn.BatchNorm2d(channels)] if normalise else []), torch.nn.ReLU()]
        return torch.nn.Sequential(*layers)

    first, second, third = channels
    return torch.nn.Sequential(
        block(1, first, kernel_size, stride, padding), torch.nn.MaxPool2d(3, 2),
        block(first, second, 5, 1, 2), torch.nn.MaxPool2d(3, 2),
        block(second, third, 3, 1, 1), torch.nn.MaxPool2d(3, 2), torch.nn.Dropout(0.5),
        block(third, 10, 3, 1, 1), torch.nn.AdaptiveAvgPool2d((1, 1)), torch.nn.Flatten(),
    )  # fmt: skip


@pytest.mark.parity
def test_pytorch_gives_the_same_outputs_and_gradients():
    assert_same(nin.mini(), in_pytorch((12, 32, 48), 3, 1, 1, normalise=True), (3, 1, 28, 28))
    assert_same(nin.NiN((6, 16, 24)), in_pytorch((6, 16, 24), 11, 4, 0, normalise=False), (2, 1, 224, 224))


def test_the_notes_own_loop_prints_every_layer(capsys):
    net, X = nin.NiN((6, 16, 24)), tn.zeros((1, 1, 224, 224))
    for layer in net:
        X = layer(X)
        print(layer.__class__.__name__, "output shape:\t", X.shape)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "NiNBlock output shape:\t (1, 6, 54, 54)"
    assert lines[-1] == "Flatten output shape:\t (1, 10)"
    assert len(lines) == 10
