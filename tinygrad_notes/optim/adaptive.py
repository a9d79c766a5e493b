"""Optimisers that divide the gradient by a running size of its own: RMSprop, Adagrad, Adadelta and Adam's family."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tinygrad_notes.ops.arguments import probability
from tinygrad_notes.optim.optimizer import Group, Optimizer, check_betas, check_least


class OneByOne(Optimizer):
    """An optimiser whose step is array code for one parameter. A subclass defines ``move``.

    ``move`` gets the direction d = g + weight_decay θ (g negated to ``maximize``), and a dict of what is kept for the
    parameter, in which ``step`` counts from 1 and arrays start as zeros. It changes the parameter and the arrays in
    place and never the direction. With ``decoupled_weight_decay`` d = ±g, and θ ← θ - lr weight_decay θ came before.
    With ``own_decay`` d = ±g, and ``move`` sees to the weight decay.
    """

    own_decay = False

    def update(
        self, group: Group, slots: dict[str, list[Any]], chosen: list[int], parameters: list[Any], gradients: list[Any]
    ) -> None:
        decay = 0.0 if self.own_decay else group["weight_decay"]
        decoupled = group.get("decoupled_weight_decay", False)
        for i, parameter, gradient in zip(chosen, parameters, gradients):
            kept = {slot: values[i] for slot, values in slots.items()}
            for slot in self.needed(group):
                if kept[slot] is None:
                    kept[slot] = self.first(slot, group, parameter)
            if "step" in kept:
                kept["step"] += 1
            direction = -gradient if group["maximize"] else gradient
            if decay and decoupled:
                parameter *= 1 - group["lr"] * decay
            elif decay:
                direction = direction + decay * parameter
            self.move(group, kept, parameter, direction)
            for slot, values in slots.items():
                values[i] = kept[slot]

    def needed(self, group: Group) -> Iterable[str]:
        """The slots that these settings use."""
        return self.slots

    def first(self, slot: str, group: Group, parameter: Any) -> Any:
        """What a slot holds before the first step."""
        return 0 if slot in self.counters else np.zeros_like(parameter)

    def move(self, group: Group, kept: dict[str, Any], parameter: Any, direction: Any) -> None:
        """One step in place."""
        raise NotImplementedError(f"{type(self).__name__} does not define move")


def add_square(average: Any, direction: Any, scratch: Any, rate: float) -> None:
    """average ← rate average + (1 - rate) direction², in place."""
    np.multiply(direction, direction, out=scratch)
    scratch *= 1 - rate
    average *= rate
    average += scratch


def add_share(average: Any, direction: Any, scratch: Any, rate: float) -> None:
    """average ← rate average + (1 - rate) direction, in place."""
    np.multiply(direction, 1 - rate, out=scratch)
    average *= rate
    average += scratch


class RMSprop(OneByOne):
    """v ← α v + (1 - α) d²,  θ ← θ - lr d / (√v + eps), with d = g + weight_decay θ (g negated to ``maximize``).

    ``centered``: the mean m ← α m + (1 - α) d is taken off, √(v - m²) (Graves 2013, arXiv:1308.0850). ``momentum`` μ:
    b ← μ b + d / (√v + eps), θ ← θ - lr b; it may be switched on later, from b = 0 (in PyTorch a KeyError). Tieleman
    and Hinton 2012.

    >>> w = tn.tensor([1.0, -1.0], requires_grad=True)
    >>> w.grad = tn.tensor([3.0, -0.1])
    >>> optim.RMSprop([w], lr=0.25, alpha=0.75).step()
    >>> w.detach().numpy().round(4)
    array([ 0.5, -0.5], dtype=float32)
    """

    slots, counters = ("step", "square_avg", "momentum_buffer", "grad_avg"), ("step",)
    optional = ("momentum_buffer", "grad_avg")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ):
        defaults = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__(params, defaults | {"centered": centered, "maximize": maximize})

    def check(self, settings: Mapping[str, Any]) -> None:
        check_least(self, settings, lr=0.0, eps=0.0, weight_decay=0.0, momentum=0.0)
        probability(settings["alpha"], "RMSprop: alpha")

    def needed(self, group: Group) -> Iterable[str]:
        used = {"momentum_buffer": group["momentum"] > 0, "grad_avg": group["centered"]}
        return (slot for slot in self.slots if used.get(slot, True))

    def move(self, group: Group, kept: dict[str, Any], parameter: Any, direction: Any) -> None:
        square, scratch = kept["square_avg"], np.empty_like(parameter)
        add_square(square, direction, scratch, group["alpha"])
        if group["centered"]:
            mean = kept["grad_avg"]
            add_share(mean, direction, scratch, group["alpha"])
            np.multiply(mean, mean, out=scratch)
            np.subtract(square, scratch, out=scratch)
            np.sqrt(scratch, out=scratch)
        else:
            np.sqrt(square, out=scratch)
        scratch += group["eps"]
        np.divide(direction, scratch, out=scratch)
        if group["momentum"] > 0:
            buffer = kept["momentum_buffer"]
            buffer *= group["momentum"]
            buffer += scratch
            np.multiply(buffer, group["lr"], out=scratch)
        else:
            scratch *= group["lr"]
        parameter -= scratch


class Adagrad(OneByOne):
    """s ← s + d²,  θ ← θ - lr / (1 + (t - 1) lr_decay) · d / (√s + eps), with d = g + weight_decay θ.

    g is negated to ``maximize``; s starts at ``initial_accumulator_value``. Duchi, Hazan and Singer 2011.

    >>> w = tn.tensor([1.0, -1.0], requires_grad=True)
    >>> w.grad = tn.tensor([4.0, -0.5])
    >>> optim.Adagrad([w], lr=0.5).step()
    >>> w
    Tensor([ 0.5, -0.5], requires_grad=True)
    """

    slots, counters = ("step", "sum"), ("step",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ):
        defaults = {"lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults | {"initial_accumulator_value": initial_accumulator_value})

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        super().add_param_group(group)  # as in PyTorch, the sums are there from the beginning
        added, slots = self.param_groups[-1], self._slots[-1]
        slots["step"] = [0] * len(added["params"])
        slots["sum"] = [self.first("sum", added, parameter.data) for parameter in added["params"]]

    def check(self, settings: Mapping[str, Any]) -> None:
        check_least(self, settings, lr=0.0, lr_decay=0.0, eps=0.0, weight_decay=0.0, initial_accumulator_value=0.0)

    def first(self, slot: str, group: Group, parameter: Any) -> Any:
        return 0 if slot == "step" else np.full_like(parameter, group["initial_accumulator_value"])

    def move(self, group: Group, kept: dict[str, Any], parameter: Any, direction: Any) -> None:
        total, scratch = kept["sum"], np.empty_like(parameter)
        np.multiply(direction, direction, out=scratch)
        total += scratch
        np.sqrt(total, out=scratch)
        scratch += group["eps"]
        np.divide(direction, scratch, out=scratch)
        scratch *= group["lr"] / (1 + (kept["step"] - 1) * group["lr_decay"])
        parameter -= scratch


class Adadelta(OneByOne):
    """v ← ρ v + (1 - ρ) d²,  Δ = d √(u + eps) / √(v + eps),  u ← ρ u + (1 - ρ) Δ²,  θ ← θ - lr Δ.

    d = g + weight_decay θ (g negated to ``maximize``). Zeiler 2012, arXiv:1212.5701.

    >>> w = tn.tensor([1.0, -1.0], requires_grad=True)
    >>> w.grad = tn.tensor([4.0, -0.5])
    >>> optim.Adadelta([w], rho=0.75, eps=0.01).step()
    >>> w.detach().numpy().round(4)
    array([ 0.8002, -0.8143], dtype=float32)
    """

    slots, counters = ("step", "square_avg", "acc_delta"), ("step",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ):
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize})

    def check(self, settings: Mapping[str, Any]) -> None:
        check_least(self, settings, lr=0.0, eps=0.0, weight_decay=0.0)
        probability(settings["rho"], "Adadelta: rho")

    def move(self, group: Group, kept: dict[str, Any], parameter: Any, direction: Any) -> None:
        rho, eps = group["rho"], group["eps"]
        square, changes = kept["square_avg"], kept["acc_delta"]
        scratch, change = np.empty_like(parameter), np.empty_like(parameter)
        add_square(square, direction, scratch, rho)
        np.add(changes, eps, out=change)
        np.sqrt(change, out=change)
        np.add(square, eps, out=scratch)
        np.sqrt(scratch, out=scratch)
        change /= scratch
        change *= direction
        add_square(changes, change, scratch, rho)
        change *= group["lr"]
        parameter -= change


class Adamax(OneByOne):
    """m ← β₁ m + (1 - β₁) d,  u ← max(β₂ u, |d| + eps),  θ ← θ - lr / (1 - β₁ᵗ) · m / u, with d = g + weight_decay θ.

    g is negated to ``maximize``. Adam with the maximum norm: Kingma and Ba 2015, arXiv:1412.6980, section 7.

    >>> w = tn.tensor([1.0, -1.0], requires_grad=True)
    >>> w.grad = tn.tensor([4.0, -0.5])
    >>> optim.Adamax([w], lr=0.25).step()
    >>> w.detach().numpy().round(4)
    array([ 0.75, -0.75], dtype=float32)
    """

    slots, counters = ("step", "exp_avg", "exp_inf"), ("step",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ):
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults)

    def check(self, settings: Mapping[str, Any]) -> None:
        check_least(self, settings, lr=0.0, eps=0.0, weight_decay=0.0)
        check_betas(self, settings)

    def move(self, group: Group, kept: dict[str, Any], parameter: Any, direction: Any) -> None:
        (beta1, beta2), scratch = group["betas"], np.empty_like(parameter)
        first, largest = kept["exp_avg"], kept["exp_inf"]
        add_share(first, direction, scratch, beta1)
        np.abs(direction, out=scratch)
        scratch += group["eps"]
        largest *= beta2
        np.maximum(largest, scratch, out=largest)
        np.divide(first, largest, out=scratch)
        scratch *= group["lr"] / (1 - beta1 ** kept["step"])
        parameter -= scratch


class NAdam(OneByOne):
    """Adam with Nesterov momentum: θ ← θ - lr ((1 - μₜ) d / (1 - Πμ) + μₜ₊₁ m / (1 - μₜ₊₁ Πμ)) / (√v̂ + eps).

    m, v and v̂ = v / (1 - β₂ᵗ) as in Adam, μₜ = β₁ (1 - 0.96^(t · ``momentum_decay``) / 2), Πμ = μ₁ … μₜ. d = g +
    weight_decay θ (g negated to ``maximize``), or with ``decoupled_weight_decay`` d = g and θ ← θ - lr weight_decay θ
    before the step. Dozat 2016.

    >>> w = tn.tensor([1.0, -1.0], requires_grad=True)
    >>> w.grad = tn.tensor([4.0, -0.5])
    >>> optim.NAdam([w], lr=0.25).step()
    >>> w.detach().numpy().round(3)
    array([ 0.736, -0.736], dtype=float32)
    """

    slots, counters, scalars = ("step", "mu_product", "exp_avg", "exp_avg_sq"), ("step",), ("mu_product",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ):
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        own = {"momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay}
        super().__init__(params, defaults | own)

    def check(self, settings: Mapping[str, Any]) -> None:
        check_least(self, settings, lr=0.0, eps=0.0, weight_decay=0.0, momentum_decay=0.0)
        check_betas(self, settings)

    def first(self, slot: str, group: Group, parameter: Any) -> Any:
        return 1.0 if slot == "mu_product" else super().first(slot, group, parameter)

    def move(self, group: Group, kept: dict[str, Any], parameter: Any, direction: Any) -> None:
        (beta1, beta2), scratch, step = group["betas"], np.empty_like(parameter), kept["step"]
        now, later = (beta1 * (1 - 0.5 * 0.96 ** (t * group["momentum_decay"])) for t in (step, step + 1))
        kept["mu_product"] *= now
        first, second = kept["exp_avg"], kept["exp_avg_sq"]
        add_share(first, direction, scratch, beta1)
        add_square(second, direction, scratch, beta2)
        np.divide(second, 1 - beta2**step, out=scratch)
        np.sqrt(scratch, out=scratch)
        scratch += group["eps"]
        change = direction * (group["lr"] * (1 - now) / (1 - kept["mu_product"]))
        change = change + first * (group["lr"] * later / (1 - kept["mu_product"] * later))
        np.divide(change, scratch, out=scratch)
        parameter -= scratch


class RAdam(OneByOne):
    """Adam whose step is scaled by how well v is known: θ ← θ - lr r m̂ √(1 - β₂ᵗ) / (√v + eps), or θ ← θ - lr m̂.

    m, v and m̂ as in Adam; ρ∞ = 2 / (1 - β₂) - 1, ρ = ρ∞ - 2 t β₂ᵗ / (1 - β₂ᵗ), and for ρ > 5
    r² = (ρ - 4)(ρ - 2) ρ∞ / ((ρ∞ - 4)(ρ∞ - 2) ρ); else the second form. Weight decay as in :class:`NAdam`, and g is
    negated to ``maximize``. Liu et al. 2020, arXiv:1908.03265.

    >>> w = tn.tensor([1.0, -1.0], requires_grad=True)
    >>> w.grad = tn.tensor([4.0, -0.5])
    >>> optim.RAdam([w], lr=0.25).step()
    >>> w.detach().numpy().round(4)
    array([ 0.   , -0.875], dtype=float32)
    """

    slots, counters = ("step", "exp_avg", "exp_avg_sq"), ("step",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ):
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults | {"decoupled_weight_decay": decoupled_weight_decay})

    def check(self, settings: Mapping[str, Any]) -> None:
        check_least(self, settings, lr=0.0, eps=0.0, weight_decay=0.0)
        check_betas(self, settings)

    def move(self, group: Group, kept: dict[str, Any], parameter: Any, direction: Any) -> None:
        (beta1, beta2), scratch, step = group["betas"], np.empty_like(parameter), kept["step"]
        first, second = kept["exp_avg"], kept["exp_avg_sq"]
        add_share(first, direction, scratch, beta1)
        add_square(second, direction, scratch, beta2)
        size, known = group["lr"] / (1 - beta1**step), 1 - beta2**step
        longest = 2 / (1 - beta2) - 1
        length = longest - 2 * step * beta2**step / known
        if length > 5:
            size *= math.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length) * known)
            np.sqrt(second, out=scratch)
            scratch += group["eps"]
            np.divide(first, scratch, out=scratch)
            scratch *= size
        else:
            np.multiply(first, size, out=scratch)
        parameter -= scratch
