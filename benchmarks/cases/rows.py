"""Ops that read and write every element about once: softmax, losses, norms, activations, dropout, embedding."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_notes as tn
from benchmarks.cases.case import OpCase, Operand, Pass, size

SCORES, TOKENS, IMAGES, MANY = (4096, 1000), (8192, 768), (32, 64, 56, 56), (32, 200, 1000)
SPOKEN = (300, 32, 64)  # steps, sequences, classes
FORWARD, BACKWARD = {"N": 0.8}, {"N": 0.95}


def row_case(
    name: str, family: str, operands: dict[str, Operand], ours: Any, theirs: Any, gradients: tuple[str, ...],
    forward: tuple[float, dict[str, float]], backward: tuple[float, dict[str, float]], **more: Any,
) -> OpCase:  # fmt: skip
    """``forward`` and ``backward``: bytes and targets."""
    passes = (Pass("forward", (), 0.0, *forward), Pass("backward", gradients, 0.0, *backward))
    return OpCase(name, family, operands, ours, theirs, passes, **more)


def softmax_and_loss() -> list[OpCase]:
    x = Operand(SCORES, changes=True, scale=2.0)
    n = size(SCORES)
    return [
        row_case(
            "softmax 4096×1000", "softmax", {"x": x},
            lambda x: tn.softmax(x, axis=-1), lambda torch, x: torch.softmax(x, -1), ("x",),
            (2 * n, FORWARD), (3 * n, BACKWARD),
        ),
        row_case(
            "cross-entropy 4096×1000", "softmax", {"x": x, "target": Operand(SCORES[:1], below=SCORES[1])},
            lambda x, target: tn.cross_entropy(x, target),
            lambda torch, x, target: torch.nn.functional.cross_entropy(x, target), ("x",),
            (n, FORWARD), (2 * n, BACKWARD),
        ),
    ]  # fmt: skip


def norms() -> list[OpCase]:
    tokens, images = {"x": Operand(TOKENS, mean=0.5)}, {"x": Operand(IMAGES, mean=0.5)}
    affine_tokens = {name: Operand((768,), changes=True, scale=0.3, mean=1.0) for name in ("weight", "bias")}
    affine_images = {name: Operand((64,), changes=True, scale=0.3, mean=1.0) for name in ("weight", "bias")}
    n, m, all_three = size(TOKENS), size(IMAGES), ("x", "weight", "bias")
    return [
        row_case(
            "layer norm 8192×768", "norm", tokens | affine_tokens,
            lambda x, weight, bias: tn.layer_norm(x, 768, weight, bias),
            lambda torch, x, weight, bias: torch.nn.functional.layer_norm(x, (768,), weight, bias), all_three,
            (2 * n, FORWARD), (3 * n, BACKWARD),
        ),
        row_case(
            "batch norm 32×64×56²", "norm", images | affine_images,
            lambda x, weight, bias: tn.batch_norm(x, None, None, weight, bias, training=True),
            lambda torch, x, weight, bias: torch.nn.functional.batch_norm(x, None, None, weight, bias, training=True),
            all_three, (2 * m, FORWARD), (3 * m, BACKWARD), channels_last=True,
        ),
        row_case(
            "RMS norm 8192×768", "norm", tokens | {"weight": affine_tokens["weight"]},
            lambda x, weight: tn.rms_norm(x, 768, weight, 1e-5),
            lambda torch, x, weight: torch.nn.functional.rms_norm(x, (768,), weight, 1e-5), ("x", "weight"),
            (2 * n, {}), (3 * n, {}),
        ),
        row_case(
            "group norm 32×64×56², 8 groups", "norm", images | affine_images,
            lambda x, weight, bias: tn.group_norm(x, 8, weight, bias),
            lambda torch, x, weight, bias: torch.nn.functional.group_norm(x, 8, weight, bias), all_three,
            (2 * m, {}), (3 * m, {}),
        ),
    ]  # fmt: skip


def dropped(x: np.ndarray, found: list[np.ndarray], upstream: np.ndarray | None) -> None:
    """Half of the elements are 0 and the others doubled; backward, those of the gradient."""
    source, (value,) = x if upstream is None else upstream, found
    kept = value != 0
    assert abs(kept.mean() - 0.5) < 0.01, f"{kept.mean():.3f} of the elements are kept"
    np.testing.assert_array_equal(value[kept], 2 * source[kept])


def elementwise() -> list[OpCase]:
    x, n = {"x": Operand(MANY, changes=True)}, size(MANY)
    table, taken = (30_000, 512), (32, 512, 512)
    return [
        row_case(
            "GELU 6.4 million", "elementwise", x, lambda x: tn.gelu(x),
            lambda torch, x: torch.nn.functional.gelu(x), ("x",), (2 * n, {"N": 1.0}), (3 * n, {"N": 0.7}),
        ),
        row_case(
            "dropout 6.4 million", "elementwise", x, lambda x: tn.dropout(x, 0.5, seed=5),
            lambda torch, x: torch.nn.functional.dropout(x, 0.5), ("x",), (2 * n, {}), (2 * n, {}), check=dropped,
        ),
        row_case(
            "embedding 32×512 of 30000×512", "elementwise",
            {"weight": Operand(table, changes=True), "indices": Operand(taken[:2], below=table[0])},
            lambda weight, indices: tn.embedding(indices, weight),
            lambda torch, weight, indices: torch.nn.functional.embedding(indices, weight), ("weight",),
            (2 * size(taken), {}), (size(taken, table), {}),
        ),
    ]  # fmt: skip


def expressions() -> list[OpCase]:
    """Ops and derivatives of several steps of NumPy's functions, and a loss that is a recursion; on a GPU only."""
    x, n = {"x": Operand(MANY, changes=True)}, size(MANY)
    steps, batch, classes = SPOKEN
    longest, zeros = steps // 5, Operand((batch,), below=1)
    spoken = {"x": Operand(SPOKEN, changes=True), "labels": Operand((batch, longest), below=classes - 1), "zero": zeros}

    def theirs(torch: Any, x: Any, labels: Any, zero: Any) -> Any:
        return torch.nn.functional.ctc_loss(torch.log_softmax(x, -1), labels + 1, zero + steps, zero + longest)

    return [
        row_case(
            "tanh 6.4 million", "elementwise", x, lambda x: tn.tanh(x), lambda torch, x: torch.tanh(x), ("x",),
            (2 * n, {}), (3 * n, {}),
        ),
        row_case(
            "Mish 6.4 million", "elementwise", x, lambda x: tn.mish(x),
            lambda torch, x: torch.nn.functional.mish(x), ("x",), (2 * n, {}), (3 * n, {}),
        ),
        row_case(
            "binary cross-entropy 6.4 million", "elementwise", x | {"target": Operand(MANY, below=2)},
            lambda x, target: tn.binary_cross_entropy_with_logits(x, target.astype(tn.float32), reduction="none"),
            lambda torch, x, target: torch.nn.functional.binary_cross_entropy_with_logits(
                x, target.float(), reduction="none"
            ),
            ("x",), (3 * n, {}), (3 * n, {}),
        ),
        row_case(
            f"CTC loss, {steps} steps of {batch} in {classes} classes", "elementwise", spoken,
            lambda x, labels, zero: tn.ctc_loss(tn.log_softmax(x, -1), labels + 1, zero + steps, zero + longest),
            theirs, ("x",),
            (size(SPOKEN), {}), (2 * size(SPOKEN), {}),
        ),
    ]  # fmt: skip


def cases() -> list[OpCase]:
    return [*softmax_and_loss(), *norms(), *elementwise()]
