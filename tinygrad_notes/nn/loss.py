"""Losses as layers. ``reduction``: "mean", "sum" or "none". The formulas stand at the ops of the same names."""

from __future__ import annotations

from typing import Any

from tinygrad_notes import ops
from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.nn.module import Module
from tinygrad_notes.ops.arguments import count, one_of, probability
from tinygrad_notes.tensor import Tensor, to_array, wrap


class _Loss(Module):
    """A loss and the reduction over its elements."""

    reductions: tuple[str, ...] = ("none", "mean", "sum")

    def __init__(self, reduction: str = "mean"):
        super().__init__()
        self.reduction = one_of(reduction, f"{type(self).__name__}: reduction", self.reductions)

    def _buffer(self, name: str, value: Any) -> None:
        try:
            self.register_buffer(name, None if value is None else wrap(to_array(value)))
        except (ShapeError, DTypeError) as error:
            raise type(error)(f"{type(self).__name__}: {name}: {error}") from None

    def extra_repr(self) -> str:
        return f"reduction={self.reduction!r}"


class MSELoss(_Loss):
    """(input - target)²."""

    def forward(self, input: Any, target: Any) -> Tensor:
        return ops.mse_loss(input, target, self.reduction)


class L1Loss(_Loss):
    """|input - target|."""

    def forward(self, input: Any, target: Any) -> Tensor:
        return ops.l1_loss(input, target, self.reduction)


class CrossEntropyLoss(_Loss):
    """-log softmax(input) at the target: logits (N, C, ...) against labels (N, ...) or probabilities (N, C, ...).

    ``weight`` (C,), a buffer, weighs the classes; labels ``ignore_index`` do not count.
    """

    weight: Tensor | None

    def __init__(
        self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean", label_smoothing: float = 0.0
    ):
        super().__init__(reduction)
        self._buffer("weight", weight)
        self.ignore_index = count(ignore_index, "CrossEntropyLoss: ignore_index", -(2**63))
        self.label_smoothing = probability(label_smoothing, "CrossEntropyLoss: label_smoothing")

    def forward(self, input: Any, target: Any) -> Tensor:
        return ops.cross_entropy(input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)


class NLLLoss(_Loss):
    """-input at the target: log-probabilities (N, C, ...) against labels (N, ...)."""

    weight: Tensor | None

    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"):
        super().__init__(reduction)
        self._buffer("weight", weight)
        self.ignore_index = count(ignore_index, "NLLLoss: ignore_index", -(2**63))

    def forward(self, input: Any, target: Any) -> Tensor:
        return ops.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class BCEWithLogitsLoss(_Loss):
    """Cross-entropy of σ(input) against target, elementwise; ``pos_weight`` weighs its positive part."""

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None):
        super().__init__(reduction)
        self._buffer("weight", weight)
        self._buffer("pos_weight", pos_weight)

    def forward(self, input: Any, target: Any) -> Tensor:
        return ops.binary_cross_entropy_with_logits(input, target, self.weight, self.pos_weight, self.reduction)


class KLDivLoss(_Loss):
    """target (log target - input), input a log-probability; "batchmean" divides the sum by the size of the batch."""

    reductions = ("none", "mean", "batchmean", "sum")

    def __init__(self, reduction: str = "mean", log_target: bool = False):
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, input: Any, target: Any) -> Tensor:
        return ops.kl_div(input, target, self.reduction, self.log_target)
