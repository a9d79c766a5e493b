"""Losses with a margin as layers. ``reduction``: "mean", "sum" or "none". Two classes are the targets 1 and -1."""

from __future__ import annotations

from typing import Any

from tinygrad_notes import ops
from tinygrad_notes.errors import ShapeError
from tinygrad_notes.nn.loss import Loss
from tinygrad_notes.ops.arguments import at_least, flag, number
from tinygrad_notes.tensor import Tensor


class HingeLoss(Loss):
    """max(0, 1 - target · input): the loss of support vector machines. PyTorch has no such layer.

    >>> nn.HingeLoss("none")([2.0, 0.5, -1.0], [1, 1, 1])
    Tensor([0. , 0.5, 2. ])
    """

    def forward(self, input: Any, target: Any) -> Tensor:
        return ops.hinge_loss(input, target, self.reduction)


class SoftMarginLoss(Loss):
    """log(1 + exp(-target · input)).

    >>> nn.SoftMarginLoss()([0.0, 0.0], [1, -1]).round(4)
    Tensor(0.6931)
    """

    def forward(self, input: Any, target: Any) -> Tensor:
        return ops.soft_margin_loss(input, target, self.reduction)


class MultiLabelSoftMarginLoss(Loss):
    """The mean over the classes of the cross-entropy of σ(input) against 0 and 1; ``weight`` (C,), a buffer.

    >>> nn.MultiLabelSoftMarginLoss()([[0.0, 0.0]], [[1, 0]]).round(4)
    Tensor(0.6931)
    """

    weight: Tensor | None

    def __init__(self, weight: Any = None, reduction: str = "mean"):
        super().__init__(reduction)
        self._buffer("weight", weight)

    def forward(self, input: Any, target: Any) -> Tensor:
        return ops.multilabel_soft_margin_loss(input, target, self.weight, self.reduction)


class MultiMarginLoss(Loss):
    """Σ max(0, ``margin`` - input[y] + input[c])^``p`` / C over the classes c other than the label y.

    >>> nn.MultiMarginLoss(reduction="sum")([[1.0, 2.0, 0.0], [9.0, 0.0, 0.0]], [1, 0])
    Tensor(0.)
    """

    weight: Tensor | None

    def __init__(self, p: int = 1, margin: float = 1.0, weight: Any = None, reduction: str = "mean"):
        super().__init__(reduction)
        if p not in (1, 2):
            raise ShapeError(f"MultiMarginLoss: p is {p!r}, expected 1 or 2")
        self.p, self.margin = p, number(margin, "MultiMarginLoss: margin")
        self._buffer("weight", weight)

    def forward(self, input: Any, target: Any) -> Tensor:
        return ops.multi_margin_loss(input, target, self.p, self.margin, self.weight, self.reduction)


class _MarginLoss(Loss):
    """A loss of which the margin is the only number."""

    def __init__(self, margin: float = 0.0, reduction: str = "mean"):
        super().__init__(reduction)
        self.margin = number(margin, f"{type(self).__name__}: margin")


class HingeEmbeddingLoss(_MarginLoss):
    """input where the target is 1, max(0, ``margin`` - input) where it is -1.

    >>> nn.HingeEmbeddingLoss()([0.25, 0.25], [1, -1])
    Tensor(0.5)
    """

    def __init__(self, margin: float = 1.0, reduction: str = "mean"):
        super().__init__(margin, reduction)

    def forward(self, input: Any, target: Any) -> Tensor:
        return ops.hinge_embedding_loss(input, target, self.margin, self.reduction)


class MarginRankingLoss(_MarginLoss):
    """max(0, -target (input1 - input2) + ``margin``).

    >>> nn.MarginRankingLoss(0.5)([3.0, 3.0], [1.0, 1.0], [1, -1])
    Tensor(1.25)
    """

    def forward(self, input1: Any, input2: Any, target: Any) -> Tensor:
        return ops.margin_ranking_loss(input1, input2, target, self.margin, self.reduction)


class CosineEmbeddingLoss(_MarginLoss):
    """1 - cos of the angle of input1 and input2 where the target is 1, max(0, cos - ``margin``) where it is -1.

    >>> nn.CosineEmbeddingLoss()([[1.0, 0.0], [1.0, 0.0]], [[0.0, 2.0], [2.0, 0.0]], [1, -1])
    Tensor(1.)
    """

    def forward(self, input1: Any, input2: Any, target: Any) -> Tensor:
        return ops.cosine_embedding_loss(input1, input2, target, self.margin, self.reduction)


class TripletMarginLoss(Loss):
    """max(0, d(anchor, positive) - d(anchor, negative) + ``margin``), d the ``p``-norm of the difference.

    >>> nn.TripletMarginLoss()([[0.0, 0.0]], [[3.0, 4.0]], [[0.0, 3.0]]).round(4)
    Tensor(3.)
    """

    def __init__(
        self, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False, reduction: str = "mean"
    ):
        super().__init__(reduction)
        self.margin, self.p = at_least(margin, "TripletMarginLoss: margin", 0), number(p, "TripletMarginLoss: p")
        self.eps, self.swap = number(eps, "TripletMarginLoss: eps"), flag(swap, "TripletMarginLoss: swap")

    def forward(self, anchor: Any, positive: Any, negative: Any) -> Tensor:
        return ops.triplet_margin_loss(
            anchor, positive, negative, self.margin, self.p, self.eps, self.swap, self.reduction
        )
