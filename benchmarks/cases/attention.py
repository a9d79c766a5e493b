"""Scaled dot-product attention, plain and causal."""

from __future__ import annotations

import tinygrad_notes as tn
from benchmarks.cases.case import OpCase, Operand, Pass, size


def attention(shape: tuple[int, int, int, int], causal: bool) -> OpCase:
    """``shape`` (batch, heads, length, features) of query, key and value."""
    batch, heads, length, features = shape
    pairs = batch * heads * length * ((length + 1) / 2 if causal else length)
    product = 2.0 * pairs * features  # of one product of two matrices of which there are two forward, five backward
    name = f"attention {'×'.join(map(str, shape))}{' causal' if causal else ''}"
    return OpCase(
        name,
        "attention",
        {"q": Operand(shape), "k": Operand(shape, changes=True), "v": Operand(shape)},
        lambda q, k, v: tn.scaled_dot_product_attention(q, k, v, is_causal=causal),
        lambda torch, q, k, v: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal),
        (
            Pass("forward", (), 2 * product, size(*[shape] * 4), {"N": 0.75}),
            Pass("backward", ("q", "k", "v"), 5 * product, size(*[shape] * 8), {"N": 0.8}),
        ),
    )


def cases() -> list[OpCase]:
    return [attention(shape, causal) for shape in ((8, 8, 512, 64), (2, 8, 2048, 64)) for causal in (False, True)]
