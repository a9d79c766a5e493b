"""What several of the convolutional networks share: how they are initialised, and the size that windows leave."""

from __future__ import annotations

from tinygrad_notes import nn


def he_normal(model: nn.Module) -> None:
    """Weights of convolutions and affine layers from N(0, 2 / fan in), biases 0 (He et al. 2015, for ReLU).

    A stack without normalisation keeps the size of its signals by it; PyTorch's default divides their variance by 6 at
    every layer, and a dozen of such layers say nothing.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def windows(size: int, kernel: int, stride: int = 1, padding: int = 0) -> int:
    """How many windows fit along an axis: ⌊(size + 2 padding - kernel) / stride⌋ + 1."""
    return (size + 2 * padding - kernel) // stride + 1
