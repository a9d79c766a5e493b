"""The small network of digits that notes of many families share: they differ in how it is trained."""

from __future__ import annotations

from typing import Any

import tinygrad_notes as tn
from tinygrad_notes import nn


class DigitEncoder(nn.Sequential):
    """Three blocks of 3×3 convolution, batch normalisation and ReLU, and the mean over all places.

    Images (batch, 1, 8, 8), or of any other size from 4×4 on, to features (batch, 4 ``width``).
    """

    def __init__(self, width: int = 16, batch_norm: bool = True):
        def block(before: int, channels: int) -> list[nn.Module]:
            normalised = [nn.BatchNorm2d(channels)] if batch_norm else []
            return [nn.Conv2d(before, channels, 3, padding=1, bias=not batch_norm), *normalised, nn.ReLU()]

        super().__init__(
            *block(1, width),  # (batch, 16, 8, 8)
            *block(width, 2 * width),  # (batch, 32, 8, 8)
            nn.MaxPool2d(2),  # (batch, 32, 4, 4)
            *block(2 * width, 4 * width),  # (batch, 64, 4, 4)
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),  # (batch, 64)
        )


class DigitNetwork(nn.Module):
    """An encoder and an affine head: ``features`` (batch, 64) and the logits of ``classes`` read off them."""

    def __init__(self, classes: int = 10, width: int = 16, batch_norm: bool = True):
        super().__init__()
        self.encoder = DigitEncoder(width, batch_norm)
        self.head = nn.Linear(4 * width, classes)

    def features(self, x: Any) -> tn.Tensor:
        """What the head sees, (batch, 4 width)."""
        return self.encoder(x)

    def forward(self, x: Any) -> tn.Tensor:
        return self.head(self.features(x))
