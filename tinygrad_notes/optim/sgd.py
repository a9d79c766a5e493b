"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tinygrad_notes import kernels
from tinygrad_notes.errors import ShapeError
from tinygrad_notes.optim.optimizer import Group, Optimizer, check_least


class SGD(Optimizer):
    """θ ← θ - lr d, with d = g + weight_decay θ (g negated to ``maximize``).

    With ``momentum`` μ: v ← μ v + (1 - dampening) d, at the first step v = d; then v takes the place of d, or with
    ``nesterov`` d + μ v does (Polyak 1964; Sutskever et al. 2013).

    >>> w = tn.tensor([1.0, 2.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> optim.SGD([w], lr=0.25).step()
    >>> w
    Tensor([0.5, 1. ], requires_grad=True)
    """

    slots = ("momentum_buffer",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ):
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def check(self, settings: Mapping[str, Any]) -> None:
        check_least(self, settings, lr=0.0, momentum=0.0, weight_decay=0.0, dampening=float("-inf"))
        if settings["nesterov"] and (settings["momentum"] <= 0 or settings["dampening"] != 0):
            raise ShapeError(
                f"SGD: nesterov needs momentum above 0 and dampening 0, got momentum {settings['momentum']} and "
                f"dampening {settings['dampening']}"
            )

    def update(
        self, group: Group, slots: dict[str, list[Any]], chosen: list[int], parameters: list[Any], gradients: list[Any]
    ) -> None:
        kept = slots["momentum_buffer"]
        momentum = group["momentum"]
        buffers = kernels.sgd_step(
            parameters, gradients, [kept[i] for i in chosen] if momentum else None, group["lr"], momentum,
            group["dampening"], group["nesterov"], group["weight_decay"], group["maximize"],
        )  # fmt: skip
        if momentum:
            for i, buffer in zip(chosen, buffers):  # type: ignore[arg-type]
                kept[i] = buffer
