"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tinygrad_notes import kernels
from tinygrad_notes.optim.optimizer import Group, Optimizer, check_betas, check_least


class Adam(Optimizer):
    """m ← β₁ m + (1 - β₁) g,  v ← β₂ v + (1 - β₂) g²,  θ ← θ - lr m̂ / (√v̂ + eps), m̂ = m / (1 - β₁ᵗ), v̂ = v / (1 - β₂ᵗ).

    Kingma and Ba 2015, arXiv:1412.6980. ``weight_decay`` adds weight_decay θ to g (g is negated to ``maximize``).
    PyTorch's ``amsgrad`` does not exist.

    >>> w = tn.tensor([1.0, -1.0], requires_grad=True)
    >>> (3 * w).sum().backward()
    >>> optim.Adam([w], lr=0.25).step()
    >>> w.detach().numpy().round(4)
    array([ 0.75, -1.25], dtype=float32)
    """

    slots, counters = ("step", "exp_avg", "exp_avg_sq"), ("step",)
    decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ):
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        )

    def check(self, settings: Mapping[str, Any]) -> None:
        check_least(self, settings, lr=0.0, eps=0.0, weight_decay=0.0)
        check_betas(self, settings)

    def update(
        self, group: Group, slots: dict[str, list[Any]], chosen: list[int], parameters: list[Any], gradients: list[Any]
    ) -> None:
        steps, first, second = slots["step"], slots["exp_avg"], slots["exp_avg_sq"]
        by_step: dict[int, list[int]] = {}  # parameters that sat out a step count their own
        for position, i in enumerate(chosen):
            if steps[i] is None:
                steps[i] = 0
                first[i], second[i] = np.zeros_like(parameters[position]), np.zeros_like(parameters[position])
            steps[i] += 1
            by_step.setdefault(steps[i], []).append(position)
        beta1, beta2 = group["betas"]
        for step, positions in by_step.items():
            kernels.adam_step(
                [parameters[p] for p in positions], [gradients[p] for p in positions],
                [first[chosen[p]] for p in positions], [second[chosen[p]] for p in positions],
                step, group["lr"], beta1, beta2, group["eps"], group["weight_decay"], self.decoupled,
                group["maximize"],
            )  # fmt: skip


class AdamW(Adam):
    """Adam with decoupled weight decay: θ ← θ - lr weight_decay θ before the step.

    Loshchilov and Hutter 2019, arXiv:1711.05101.

    >>> w = tn.tensor([1.0, -1.0], requires_grad=True)
    >>> w.grad = tn.zeros(2)
    >>> optim.AdamW([w], lr=0.5, weight_decay=0.5).step()
    >>> w
    Tensor([ 0.75, -0.75], requires_grad=True)
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        maximize: bool = False,
    ):
        super().__init__(params, lr, betas, eps, weight_decay, maximize=maximize)
