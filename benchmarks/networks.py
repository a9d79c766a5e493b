"""Networks whose training steps are measured, written once for both libraries: layers have the same names in both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def lenet(nn: Any) -> Any:
    """LeNet-5 (LeCun et al. 1998) as of the notes: sigmoid, average pooling. (batch, 1, 28, 28) → 10 scores."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Sigmoid(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(), nn.Linear(84, 10),
    )  # fmt: skip


def residual_blocks(nn: Any, relu: Any, stages: Sequence[tuple[int, int, int]]) -> list[Any]:
    """A block for each (channels, width, stride): conv-BN-ReLU-conv-BN and a shortcut, with a 1x1 convolution if needed
    (He et al. 2015)."""

    class Block(nn.Module):
        def __init__(self, channels: int, width: int, stride: int):
            super().__init__()
            self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            same = stride == 1 and channels == width
            self.shortcut = nn.Sequential() if same else nn.Sequential(
                nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )  # fmt: skip

        def forward(self, x: Any) -> Any:
            y = relu(self.bn1(self.conv1(x)))
            return relu(self.bn2(self.conv2(y)) + self.shortcut(x))

    return [Block(*stage) for stage in stages]


def resnet18(nn: Any, relu: Any) -> Any:
    """ResNet-18 (He et al. 2015). (batch, 3, height, width) → 1000 scores."""
    stages = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
    blocks = residual_blocks(nn, relu, [s for a, w, stride in stages for s in ((a, w, stride), (w, w, 1))])
    stem = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


def small_resnet(nn: Any, relu: Any) -> Any:
    """Three residual blocks of 32, 64 and 128 channels. (batch, 3, height, width) → 10 scores."""
    blocks = residual_blocks(nn, relu, [(3, 32, 1), (32, 64, 2), (64, 128, 2)])
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


def language_model(nn: Any, words: int = 2000, size: int = 256) -> Any:
    """Two layers of LSTM over embedded words. (steps, batch) integers → (steps · batch, words) scores."""

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(words, size)
            self.lstm = nn.LSTM(size, size, 2)
            self.output = nn.Linear(size, words)

        def forward(self, x: Any) -> Any:
            return self.output(self.lstm(self.embedding(x))[0]).reshape((-1, words))

    return Model()


def encoder(nn: Any, nested: dict[str, bool], words: int = 1000, size: int = 256) -> Any:
    """Four layers of the Transformer's encoder, 8 heads. (batch, length) integers → (batch · length, words) scores.

    ``nested``: PyTorch's argument against a layout that only masked inference uses.
    """

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(words, size)
            layer = nn.TransformerEncoderLayer(size, 8, 4 * size, dropout=0.0, activation="gelu", batch_first=True)
            self.layers = nn.TransformerEncoder(layer, 4, **nested)
            self.output = nn.Linear(size, words)

        def forward(self, x: Any) -> Any:
            return self.output(self.layers(self.embedding(x))).reshape((-1, words))

    return Model()
