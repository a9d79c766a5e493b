"""Matrix products."""

from __future__ import annotations

import math

import tinygrad_notes as tn
from benchmarks.cases.case import OpCase, Operand, Pass, size


def product(name: str, a: tuple[int, ...], b: tuple[int, ...], target: float) -> OpCase:
    value = (*a[:-1], b[-1])
    return OpCase(
        name,
        "product",
        {"a": Operand(a), "b": Operand(b, changes=True)},
        lambda a, b: tn.matmul(a, b),
        lambda torch, a, b: torch.matmul(a, b),
        (Pass("forward", (), 2.0 * math.prod(value) * a[-1], size(a, b, value), {"N": target}),),
    )


def cases() -> list[OpCase]:
    return [
        product("matmul 1024³", (1024, 1024), (1024, 1024), 0.75),
        product("matmul 2048³", (2048, 2048), (2048, 2048), 0.75),
        product("matmul 64 of (128×64)(64×128)", (64, 128, 64), (64, 64, 128), 0.85),
        product("matmul (32×4096)(4096×1000)", (32, 4096), (4096, 1000), 1.0),
    ]
