"""A learning rate that falls when a metric gets no better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tinygrad_notes.errors import ShapeError
from tinygrad_notes.ops.arguments import at_least, count, number, one_of
from tinygrad_notes.optim.cycles import for_groups
from tinygrad_notes.optim.optimizer import Optimizer
from tinygrad_notes.optim.schedule import Schedule
from tinygrad_notes.tensor import Tensor


class ReduceLROnPlateau(Schedule):
    """Times ``factor`` when the metric given to :meth:`step` was no better for more than ``patience`` steps.

    Better is lower (``mode`` "min") or higher ("max") than the best by more than ``threshold``: a part of the best
    (``threshold_mode`` "rel") or a number ("abs"). After a reduction ``cooldown`` steps do not count. No rate falls
    below ``min_lr`` (one number, or a list of one for each group), nor by less than ``eps``. NaN is never better.

    >>> schedule = optim.ReduceLROnPlateau(optim.SGD([tn.ones(3, requires_grad=True)], lr=1.0), patience=1)
    >>> for loss in (0.5, 0.6, 0.7):
    ...     schedule.step(loss)
    >>> schedule.get_last_lr()
    [0.1]
    """

    by_step = False

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ):
        self.mode = one_of(mode, "ReduceLROnPlateau: mode", ("min", "max"))
        self.factor = at_least(factor, "ReduceLROnPlateau: factor", 0)
        if self.factor >= 1:
            raise ShapeError(f"ReduceLROnPlateau: factor is {factor}, expected below 1")
        self.patience = count(patience, "ReduceLROnPlateau: patience", 0)
        self.threshold = at_least(threshold, "ReduceLROnPlateau: threshold", 0)
        self.threshold_mode = one_of(threshold_mode, "ReduceLROnPlateau: threshold_mode", ("rel", "abs"))
        self.cooldown = count(cooldown, "ReduceLROnPlateau: cooldown", 0)
        self.min_lrs = for_groups(min_lr, optimizer, "ReduceLROnPlateau: min_lr")
        self.eps = at_least(eps, "ReduceLROnPlateau: eps", 0)
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = 0
        super().__init__(optimizer)

    def bases(self) -> list[float]:
        return self.get_last_lr()

    def rate(self, base: float, step: int, group: int) -> float:
        return base

    def step(self, metrics: Any) -> None:  # type: ignore[override]
        """Look at a new value of the metric: a number, or a Tensor of one."""
        value = number(metrics.item() if type(metrics) is Tensor else metrics, "ReduceLROnPlateau.step: metrics")
        if self._better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        self.base_lrs = self.get_last_lr()
        if self.num_bad_epochs > self.patience:
            lower = [max(rate * self.factor, least) for rate, least in zip(self.base_lrs, self.min_lrs)]
            self.base_lrs = [new if old - new > self.eps else old for old, new in zip(self.base_lrs, lower)]
            self.num_bad_epochs, self.cooldown_counter = 0, self.cooldown
        super().step()

    def _better(self, value: float) -> bool:
        margin = self.threshold * self.best if self.threshold_mode == "rel" else self.threshold
        if math.isinf(self.best):
            margin = 0.0
        return value < self.best - margin if self.mode == "min" else value > self.best + margin

    def state_dict(self) -> dict[str, Any]:
        """The current rates, the best value and the two counts. What it was made with is not in it."""
        return super().state_dict() | {
            "base_lrs": self.get_last_lr(),
            "best": self.best,
            "num_bad_epochs": self.num_bad_epochs,
            "cooldown_counter": self.cooldown_counter,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from ``state_dict``, with the rates of its step."""
        name, own = "ReduceLROnPlateau.load_state_dict", {"best", "num_bad_epochs", "cooldown_counter"}
        if not isinstance(state_dict, Mapping) or not own <= set(state_dict):
            raise ShapeError(f"{name}: expected {sorted(own)} in a dict, got {state_dict!r:.60}")
        best = number(state_dict["best"], f"{name}: best")
        bad, cool = (count(state_dict[key], f"{name}: {key}", 0) for key in ("num_bad_epochs", "cooldown_counter"))
        super().load_state_dict(state_dict)
        self.best, self.num_bad_epochs, self.cooldown_counter = best, bad, cool
