"""Pooling of images."""

from __future__ import annotations

import tinygrad_notes as tn
from benchmarks.cases.case import OpCase, Operand, Pass, size

X, VALUE = (32, 64, 56, 56), (32, 64, 28, 28)


def cases() -> list[OpCase]:
    operands, moved = {"x": Operand(X, changes=True)}, size(X, VALUE)
    return [
        OpCase(
            "max pool 3×3 stride 2 32×64×56²", "pooling", operands,
            lambda x: tn.max_pool2d(x, 3, 2, 1),
            lambda torch, x: torch.nn.functional.max_pool2d(x, 3, 2, 1),
            (Pass("forward", (), 0.0, moved, {"N": 0.2, "C": 0.6}), Pass("backward", ("x",), 0.0, moved, {"N": 0.6})),
            channels_last=True,
        ),
        OpCase(
            "average pool 3×3 stride 2 32×64×56²", "pooling", operands,
            lambda x: tn.avg_pool2d(x, 3, 2, 1),
            lambda torch, x: torch.nn.functional.avg_pool2d(x, 3, 2, 1),
            (Pass("forward", (), 0.0, moved), Pass("backward", ("x",), 0.0, moved)),
            channels_last=True,
        ),
    ]  # fmt: skip
