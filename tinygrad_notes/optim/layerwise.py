"""Optimisers for large batches: the length of each parameter's step is in proportion to its own norm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tinygrad_notes import kernels
from tinygrad_notes.optim.adaptive import OneByOne, add_share, add_square
from tinygrad_notes.optim.optimizer import Group, check_betas, check_least


class LARS(OneByOne):
    """v ← μ v + lr λ (g + weight_decay θ),  θ ← θ - v, with λ = trust_coefficient ‖θ‖ / (‖g‖ + weight_decay ‖θ‖ + eps).

    The norms are those of one whole parameter (You, Gitman and Ginsburg 2017, arXiv:1708.03888, algorithm 1): its
    change is in proportion to its size, whatever the size of its gradient. λ = 1 where ‖θ‖ or ‖g‖ is 0, and in groups
    with ``adaptive=False``, which suits biases and normalisation. ``momentum`` is μ; g is negated to ``maximize``.

    >>> w = tn.tensor([3.0, 4.0], requires_grad=True)
    >>> w.grad = tn.tensor([0.0, 1000.0])
    >>> optim.LARS([w], lr=1.0, trust_coefficient=0.1).step()
    >>> w
    Tensor([3. , 3.5], requires_grad=True)
    """

    slots = ("momentum_buffer",)
    own_decay = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        momentum: float = 0.9,
        weight_decay: float = 0,
        trust_coefficient: float = 1e-3,
        eps: float = 0.0,
        adaptive: bool = True,
        *,
        maximize: bool = False,
    ):
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults | {"trust_coefficient": trust_coefficient, "eps": eps, "adaptive": adaptive})

    def check(self, settings: Mapping[str, Any]) -> None:
        check_least(self, settings, lr=0.0, momentum=0.0, weight_decay=0.0, trust_coefficient=0.0, eps=0.0)

    def move(self, group: Group, kept: dict[str, Any], parameter: Any, direction: Any) -> None:
        buffer, scratch, decay = kept["momentum_buffer"], np.empty_like(parameter), group["weight_decay"]
        np.multiply(parameter, decay, out=scratch)
        scratch += direction
        scratch *= group["lr"]
        if group["adaptive"]:
            size, slope = kernels.global_norm([parameter]), kernels.global_norm([direction])
            scratch *= _ratio(size, slope, group["trust_coefficient"], decay * size + group["eps"])
        buffer *= group["momentum"]
        buffer += scratch
        parameter -= buffer


class LAMB(OneByOne):
    """u = m̂ / (√v̂ + eps) + weight_decay θ,  θ ← θ - lr ‖θ‖ / ‖u‖ · u, with m̂ and v̂ as in Adam.

    The norms are those of one whole parameter (You et al. 2020, arXiv:1904.00962, algorithm 2, with φ(z) = z). The
    ratio is 1 where ‖θ‖ or ‖u‖ is 0, and in groups with ``adaptive=False``, which suits biases and normalisation. g is
    negated to ``maximize``.

    >>> w = tn.tensor([3.0, 4.0], requires_grad=True)
    >>> w.grad = tn.tensor([0.0, 1000.0])
    >>> optim.LAMB([w], lr=0.1, weight_decay=0).step()
    >>> w.detach().numpy().round(4)
    array([3. , 3.5], dtype=float32)
    """

    slots, counters = ("step", "exp_avg", "exp_avg_sq"), ("step",)
    own_decay = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 1e-2,
        adaptive: bool = True,
        *,
        maximize: bool = False,
    ):
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults | {"adaptive": adaptive})

    def check(self, settings: Mapping[str, Any]) -> None:
        check_least(self, settings, lr=0.0, eps=0.0, weight_decay=0.0)
        check_betas(self, settings)

    def move(self, group: Group, kept: dict[str, Any], parameter: Any, direction: Any) -> None:
        (beta1, beta2), scratch, step = group["betas"], np.empty_like(parameter), kept["step"]
        first, second = kept["exp_avg"], kept["exp_avg_sq"]
        add_share(first, direction, scratch, beta1)
        add_square(second, direction, scratch, beta2)
        np.divide(second, 1 - beta2**step, out=scratch)
        np.sqrt(scratch, out=scratch)
        scratch += group["eps"]
        scratch *= 1 - beta1**step
        np.divide(first, scratch, out=scratch)
        if group["weight_decay"]:
            scratch += group["weight_decay"] * parameter
        if group["adaptive"]:
            scratch *= _ratio(kernels.global_norm([parameter]), kernels.global_norm([scratch]))
        scratch *= group["lr"]
        parameter -= scratch


def _ratio(size: Any, slope: Any, scale: float = 1.0, more: Any = 0.0) -> Any:
    """scale · size / (slope + more), or 1 where a norm is 0. No number of it leaves the device."""
    known = (size > 0) & (slope > 0)
    return np.where(known, scale * size, 1) / np.where(known, slope + more, 1)
