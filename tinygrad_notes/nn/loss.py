"""Losses as layers. ``reduction``: "mean", "sum" or "none". The formulas stand at the ops of the same names.

PyTorch's deprecated ``size_average`` and ``reduce`` do not exist.
"""

from __future__ import annotations

from typing import Any

from tinygrad_notes import ops
from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.nn.module import Module
from tinygrad_notes.ops.arguments import at_least, count, flag, one_of, probability
from tinygrad_notes.tensor import Tensor, to_array, wrap


class Loss(Module):
    """What every loss layer is: a loss and the ``reduction`` over its elements."""

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


class MSELoss(Loss):
    """(input - target)².

    >>> nn.MSELoss()([1.0, 2.0], [1.0, 4.0])
    Tensor(2.)
    """

    def forward(self, input: Any, target: Any) -> Tensor:
        return ops.mse_loss(input, target, self.reduction)


class L1Loss(Loss):
    """|input - target|.

    >>> nn.L1Loss("sum")([1.0, 2.0], [1.0, 4.0])
    Tensor(2.)
    """

    def forward(self, input: Any, target: Any) -> Tensor:
        return ops.l1_loss(input, target, self.reduction)


class SmoothL1Loss(Loss):
    """d² / (2 ``beta``) where abs(d) < beta, else abs(d) - beta / 2, for d = input - target.

    >>> nn.SmoothL1Loss()([0.5, 3.0], [0.0, 0.0])
    Tensor(1.3125)
    """

    def __init__(self, reduction: str = "mean", beta: float = 1.0):
        super().__init__(reduction)
        self.beta = at_least(beta, "SmoothL1Loss: beta", 0)

    def forward(self, input: Any, target: Any) -> Tensor:
        return ops.smooth_l1_loss(input, target, self.reduction, self.beta)


class HuberLoss(Loss):
    """d²/2 where abs(d) < ``delta``, else delta (abs(d) - delta / 2), for d = input - target.

    >>> nn.HuberLoss("sum", delta=2.0)([1.0, 3.0], [0.0, 0.0])
    Tensor(4.5)
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0):
        super().__init__(reduction)
        self.delta = at_least(delta, "HuberLoss: delta", 0)
        if self.delta == 0:
            raise ShapeError(f"HuberLoss: delta is {delta!r}, expected a number above 0")

    def forward(self, input: Any, target: Any) -> Tensor:
        return ops.huber_loss(input, target, self.reduction, self.delta)


class PoissonNLLLoss(Loss):
    """e^input - target · input: the negative log-likelihood of counts, ``input`` the logarithm of their rate.

    Not ``log_input``: the rate itself. ``full``: with Stirling's approximation of the factorial.

    >>> nn.PoissonNLLLoss()([0.0, 0.0], [1.0, 2.0])
    Tensor(1.)
    """

    def __init__(self, log_input: bool = True, full: bool = False, eps: float = 1e-8, reduction: str = "mean"):
        super().__init__(reduction)
        self.log_input, self.full = flag(log_input, "PoissonNLLLoss: log_input"), flag(full, "PoissonNLLLoss: full")
        self.eps = at_least(eps, "PoissonNLLLoss: eps", 0)

    def forward(self, input: Any, target: Any) -> Tensor:
        return ops.poisson_nll_loss(input, target, self.log_input, self.full, self.eps, self.reduction)


class GaussianNLLLoss(Loss):
    """(log var + (input - target)² / var) / 2: the negative log-likelihood of normal variables.

    >>> nn.GaussianNLLLoss()([0.0, 1.0], [0.0, 3.0], [1.0, 1.0])
    Tensor(1.)
    """

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean"):
        super().__init__(reduction)
        self.full, self.eps = flag(full, "GaussianNLLLoss: full"), at_least(eps, "GaussianNLLLoss: eps", 0)

    def forward(self, input: Any, target: Any, var: Any) -> Tensor:
        return ops.gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)


class CrossEntropyLoss(Loss):
    """-log softmax(input) at the target: logits (N, C, ...) against labels (N, ...) or probabilities (N, C, ...).

    ``weight`` (C,), a buffer, weighs the classes; labels ``ignore_index`` do not count.

    >>> nn.CrossEntropyLoss()([[0.0, 0.0], [9.0, 9.0]], [0, 1]).round(4)
    Tensor(0.6931)
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


class NLLLoss(Loss):
    """-input at the target: log-probabilities (N, C, ...) against labels (N, ...).

    >>> nn.NLLLoss()([[-0.5, -2.0], [-1.0, -0.25]], [0, 1])
    Tensor(0.375)
    """

    weight: Tensor | None

    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"):
        super().__init__(reduction)
        self._buffer("weight", weight)
        self.ignore_index = count(ignore_index, "NLLLoss: ignore_index", -(2**63))

    def forward(self, input: Any, target: Any) -> Tensor:
        return ops.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class BCEWithLogitsLoss(Loss):
    """Cross-entropy of σ(input) against target, elementwise; ``pos_weight`` weighs its positive part.

    >>> nn.BCEWithLogitsLoss()([0.0, 0.0], [1.0, 0.0]).round(4)
    Tensor(0.6931)
    """

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None):
        super().__init__(reduction)
        self._buffer("weight", weight)
        self._buffer("pos_weight", pos_weight)

    def forward(self, input: Any, target: Any) -> Tensor:
        return ops.binary_cross_entropy_with_logits(input, target, self.weight, self.pos_weight, self.reduction)


class BCELoss(Loss):
    """Cross-entropy of probabilities against target, elementwise; no logarithm is below -100.

    >>> nn.BCELoss()([0.5, 0.5], [1.0, 0.0]).round(4)
    Tensor(0.6931)
    """

    weight: Tensor | None

    def __init__(self, weight: Any = None, reduction: str = "mean"):
        super().__init__(reduction)
        self._buffer("weight", weight)

    def forward(self, input: Any, target: Any) -> Tensor:
        return ops.binary_cross_entropy(input, target, self.weight, self.reduction)


class FocalLoss(Loss):
    """Cross-entropy of σ(input) against target, times (1 - p)^``gamma``: what is predicted well counts little.

    PyTorch has no such layer; the function, whose default ``reduction`` is "none", is
    :func:`tinygrad_notes.sigmoid_focal_loss`. ``alpha`` -1: no weights.

    >>> nn.FocalLoss(alpha=-1)([0.0, 9.0], [1.0, 1.0]).round(4)
    Tensor(0.0866)
    """

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0, reduction: str = "mean"):
        super().__init__(reduction)
        self.alpha = -1.0 if alpha == -1 else probability(alpha, "FocalLoss: alpha")
        self.gamma = at_least(gamma, "FocalLoss: gamma", 0)

    def forward(self, input: Any, target: Any) -> Tensor:
        return ops.sigmoid_focal_loss(input, target, self.alpha, self.gamma, self.reduction)


class KLDivLoss(Loss):
    """target (log target - input), input a log-probability; "batchmean" divides the sum by the size of the batch.

    >>> nn.KLDivLoss("batchmean")(tn.log([[0.5, 0.5]]), [[1.0, 0.0]]).round(4)
    Tensor(0.6931)
    """

    reductions = ("none", "mean", "batchmean", "sum")

    def __init__(self, reduction: str = "mean", log_target: bool = False):
        super().__init__(reduction)
        self.log_target = flag(log_target, "KLDivLoss: log_target")

    def forward(self, input: Any, target: Any) -> Tensor:
        return ops.kl_div(input, target, self.reduction, self.log_target)


class CTCLoss(Loss):
    """-log of the probability of labels, summed over all their alignments with the frames (Graves et al. 2006).

    >>> nn.CTCLoss()(tn.log([[0.5, 0.5], [0.25, 0.75]]), [1], 2, 1).round(4)
    Tensor(0.1335)
    """

    def __init__(self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False):
        super().__init__(reduction)
        self.blank = count(blank, "CTCLoss: blank", 0)
        self.zero_infinity = flag(zero_infinity, "CTCLoss: zero_infinity")

    def forward(self, log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any) -> Tensor:
        return ops.ctc_loss(
            log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction, self.zero_infinity
        )
