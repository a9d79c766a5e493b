"""Convolutions of images, and transposed ones. Without a bias."""

from __future__ import annotations

import math

import tinygrad_notes as tn
from benchmarks.cases.case import OpCase, Operand, Pass, size
from tinygrad_notes import kernels

Targets = dict[str, float]


def convolution(
    name: str,
    x: tuple[int, int, int, int],
    weight: tuple[int, int, int, int],
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
    *,
    forward: Targets,
    input_grad: Targets | None = None,
    weight_grad: Targets | None = None,
    backward: Targets | None = None,
    channels_last: bool = True,
) -> OpCase:
    """Either the two gradients apart, or ``backward``, both together."""
    counts = [(n + 2 * padding - k) // stride + 1 for n, k in zip(x[2:], weight[2:])]
    value = (x[0], weight[0], *counts)
    flops, moved = 2.0 * math.prod(value) * math.prod(weight[1:]), size(x, weight, value)
    if backward is None:
        gradients = (
            Pass("input grad", ("x",), flops, moved, input_grad or {}),
            Pass("weight grad", ("weight",), flops, moved, weight_grad or {}),
        )
    else:
        both = size(x, x, weight, weight, value)
        gradients = (Pass("backward", ("x", "weight"), 2 * flops, both, backward),)  # type: ignore[assignment]

    def im2col(x, weight):
        pairs = (stride, stride), (padding, padding), (1, 1)
        return kernels.conv_im2col(x.data, weight.data, None, *pairs, groups)

    return OpCase(
        name,
        "convolution",
        {"x": Operand(x), "weight": Operand(weight, changes=True, scale=1 / math.sqrt(math.prod(weight[1:])))},
        lambda x, weight: tn.conv2d(x, weight, None, stride, padding, 1, groups),
        lambda torch, x, weight: torch.nn.functional.conv2d(x, weight, None, stride, padding, 1, groups),
        (Pass("forward", (), flops, moved, forward), *gradients),
        channels_last=channels_last,
        beside={"im2col": im2col},
    )


def transposed(name: str, x: tuple[int, int, int, int], weight: tuple[int, int, int, int]) -> OpCase:
    """Stride 2, padding 1, a kernel of 4: twice the size."""
    value = (x[0], weight[1], 2 * x[2], 2 * x[3])
    flops = 2.0 * math.prod(x) * math.prod(weight[1:])
    return OpCase(
        name,
        "convolution",
        {"x": Operand(x), "weight": Operand(weight, changes=True, scale=1 / math.sqrt(4 * weight[0]))},
        lambda x, weight: tn.conv_transpose2d(x, weight, None, 2, 1),
        lambda torch, x, weight: torch.nn.functional.conv_transpose2d(x, weight, None, 2, 1),
        (
            Pass("forward", (), flops, size(x, weight, value), {"N": 0.7}),
            Pass("backward", ("x", "weight"), 2 * flops, size(x, x, weight, weight, value), {"N": 0.8}),
        ),
    )


def cases() -> list[OpCase]:
    return [
        convolution(
            "conv 32×64×56² 3×3", (32, 64, 56, 56), (64, 64, 3, 3), padding=1,
            forward={"N": 0.45, "C": 0.75}, input_grad={"N": 0.45, "C": 0.75}, weight_grad={"N": 0.6, "C": 0.95},
        ),
        convolution(
            "conv 32×256×14² 3×3", (32, 256, 14, 14), (256, 256, 3, 3), padding=1,
            forward={"N": 0.68, "C": 0.8}, input_grad={"N": 0.68}, weight_grad={"N": 0.95},
        ),
        convolution(
            "conv 32×512×7² 1×1", (32, 512, 7, 7), (512, 512, 1, 1),
            forward={"N": 0.9, "C": 1.0}, input_grad={"N": 0.95}, weight_grad={"N": 1.0},
        ),
        convolution(
            "conv 32×3×224² 7×7 stride 2", (32, 3, 224, 224), (64, 3, 7, 7), stride=2, padding=3,
            forward={"N": 0.5}, backward={"N": 0.9},
        ),
        convolution(
            "conv 256×1×28² 5×5 (LeNet)", (256, 1, 28, 28), (6, 1, 5, 5), padding=2,
            forward={"N": 0.4}, backward={"N": 0.9}, channels_last=False,
        ),
        convolution(
            "conv 32×64×56² 3×3 depthwise", (32, 64, 56, 56), (64, 1, 3, 3), padding=1, groups=64,
            forward={"N": 0.2, "C": 1.0}, backward={"N": 0.9},
        ),
        transposed("conv transposed 16×64×28² 4×4", (16, 64, 28, 28), (64, 64, 4, 4)),
    ]  # fmt: skip
