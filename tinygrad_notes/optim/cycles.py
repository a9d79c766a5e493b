"""Schedules in cycles: one cycle of rate and momentum, triangles, cosines that start anew."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.ops.arguments import at_least, count, number, one_of, probability
from tinygrad_notes.optim.optimizer import Optimizer
from tinygrad_notes.optim.schedule import Schedule


def anneal(start: float, end: float, done: float, strategy: str) -> float:
    """From ``start`` to ``end``, of which the part ``done`` is over: along a half wave of the cosine, or straight."""
    if strategy == "cos":
        return end + (start - end) * (1 + math.cos(math.pi * done)) / 2
    return start + (end - start) * done


def for_groups(value: Any, optimizer: Any, name: str) -> list[float]:
    """A number for every group: the given one, or a list of one for each."""
    if not isinstance(optimizer, Optimizer):
        raise DTypeError(f"{name.split(':')[0]}: optimizer is {type(optimizer).__name__}, expected an Optimizer")
    groups = len(optimizer.param_groups)
    values = list(value) if isinstance(value, list | tuple) else [value] * groups
    if len(values) != groups:
        raise ShapeError(f"{name} has {len(values)} numbers for {groups} groups")
    return [at_least(v, name, 0) for v in values]


def _momenta(base: Any, maximum: Any, optimizer: Optimizer, name: str) -> tuple[list[float], list[float]]:
    """The lowest and the highest momentum of every group."""
    if not {"momentum", "betas"} & set(optimizer.defaults):
        raise ShapeError(
            f"{name}: {type(optimizer).__name__} has neither momentum nor betas to cycle; give cycle_momentum=False"
        )
    low, high = (
        [probability(value, f"{name}: {key}") for value in for_groups(given, optimizer, f"{name}: {key}")]
        for key, given in (("base_momentum", base), ("max_momentum", maximum))
    )
    return low, high


class OneCycleLR(Schedule):
    """From max_lr / div_factor up to ``max_lr`` in the part ``pct_start`` of all steps, and down to almost nothing.

    The end is max_lr / (div_factor · final_div_factor), at the last of ``total_steps`` (or ``epochs`` ·
    ``steps_per_epoch``). ``three_phase``: down to the first rate as it went up, and then to the end.
    ``anneal_strategy``: along a "cos" or "linear". ``cycle_momentum``: the momentum (β₁ of Adam) goes the other way,
    from ``max_momentum`` to ``base_momentum`` and back. One number, or a list of one for each group.
    Smith and Topin 2018, arXiv:1708.07120.

    One step beyond the last keeps its rate (PyTorch goes on along the curve, up again or below 0), for loops that step
    after every batch; more raise ShapeError. The rate a group was made with is not looked at, and stays its
    ``"initial_lr"`` (PyTorch overwrites it).

    >>> optimizer = optim.SGD([tn.ones(3, requires_grad=True)], lr=1.0, momentum=0.9)
    >>> schedule = optim.OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    >>> for _ in range(4):
    ...     schedule.step()
    >>> np.round(schedule.get_last_lr(), 6)
    array([0.811746])
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.85,
        max_momentum: float | Sequence[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ):
        self.max_lrs = for_groups(max_lr, optimizer, "OneCycleLR: max_lr")
        if total_steps is not None:
            self.total_steps = count(total_steps, "OneCycleLR: total_steps")
        elif epochs is not None and steps_per_epoch is not None:
            self.total_steps = count(epochs, "OneCycleLR: epochs")
            self.total_steps *= count(steps_per_epoch, "OneCycleLR: steps_per_epoch")
        else:
            raise ShapeError("OneCycleLR: expected total_steps, or epochs and steps_per_epoch, got neither")
        self.pct_start = probability(pct_start, "OneCycleLR: pct_start")
        self.anneal_strategy = one_of(anneal_strategy, "OneCycleLR: anneal_strategy", ("cos", "linear"))
        self.cycle_momentum, self.three_phase = cycle_momentum, three_phase
        if cycle_momentum:
            self.base_momenta, self.max_momenta = _momenta(base_momentum, max_momentum, optimizer, "OneCycleLR")
        for name, factor in (("div_factor", div_factor), ("final_div_factor", final_div_factor)):
            if at_least(factor, f"OneCycleLR: {name}", 0) == 0:
                raise ShapeError(f"OneCycleLR: {name} is 0, expected above 0")
        self.div_factor, self.final_div_factor = div_factor, final_div_factor
        turn = self.pct_start * self.total_steps
        self.ends = [turn - 1, 2 * turn - 2] if three_phase else [turn - 1]
        self.ends.append(self.total_steps - 1)
        super().__init__(optimizer)

    def bases(self) -> list[float]:
        return [highest / self.div_factor for highest in self.max_lrs]

    def _along(self, step: int, points: Sequence[float]) -> float:
        """Where a line through ``points``, one at 0 and one at the end of each phase, is at ``step``."""
        if step > self.total_steps:
            raise ShapeError(f"OneCycleLR: step {step} is beyond total_steps, {self.total_steps}")
        phase = next((i for i, end in enumerate(self.ends) if step <= end), len(self.ends) - 1)
        start, end = (self.ends[phase - 1] if phase else 0.0), self.ends[phase]
        done = (min(step, end) - start) / (end - start) if end != start else 1.0
        return anneal(points[phase], points[phase + 1], done, self.anneal_strategy)

    def rate(self, base: float, step: int, group: int) -> float:
        base = self.max_lrs[group] / self.div_factor
        last = base / self.final_div_factor
        return self._along(step, [base, self.max_lrs[group], *([base] if self.three_phase else []), last])

    def momentum(self, step: int, group: int) -> float | None:
        if not self.cycle_momentum:
            return None
        low, high = self.base_momenta[group], self.max_momenta[group]
        return self._along(step, [high, low, high, high])


class CyclicLR(Schedule):
    """From ``base_lr`` to ``max_lr`` in ``step_size_up`` steps, back in ``step_size_down``, and so on: triangles.

    Their height is the same ("triangular"), halved from each to the next ("triangular2"), or times ``gamma``^step
    ("exp_range"); or times ``scale_fn`` of the number of the "cycle" (from 1) or of the "iterations", as
    ``scale_mode`` says. ``cycle_momentum``: the momentum (β₁ of Adam) goes the other way, from ``max_momentum`` to
    ``base_momentum``. One number, or a list of one for each group. Smith 2017, arXiv:1506.01186.

    A group's ``"initial_lr"`` stays what it was (PyTorch sets the rate, and with it this, to ``base_lr``).

    >>> optimizer = optim.SGD([tn.ones(3, requires_grad=True)], lr=1.0, momentum=0.9)
    >>> schedule = optim.CyclicLR(optimizer, base_lr=0.1, max_lr=0.5, step_size_up=8)
    >>> for _ in range(4):
    ...     schedule.step()
    >>> np.round(schedule.get_last_lr(), 6)
    array([0.3])
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | Sequence[float],
        max_lr: float | Sequence[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | Sequence[float] = 0.8,
        max_momentum: float | Sequence[float] = 0.9,
    ):
        self.low_lrs = for_groups(base_lr, optimizer, "CyclicLR: base_lr")
        self.max_lrs = for_groups(max_lr, optimizer, "CyclicLR: max_lr")
        self.up = count(step_size_up, "CyclicLR: step_size_up")
        self.down = self.up if step_size_down is None else count(step_size_down, "CyclicLR: step_size_down")
        self.mode = one_of(mode, "CyclicLR: mode", ("triangular", "triangular2", "exp_range"))
        self.gamma = at_least(gamma, "CyclicLR: gamma", 0)
        if scale_fn is not None and not callable(scale_fn):
            raise DTypeError(f"CyclicLR: scale_fn is {scale_fn!r}, expected a function or None")
        self.scale_fn = scale_fn
        self.scale_mode = one_of(scale_mode, "CyclicLR: scale_mode", ("cycle", "iterations"))
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.base_momenta, self.max_momenta = _momenta(base_momentum, max_momentum, optimizer, "CyclicLR")
        super().__init__(optimizer)

    def bases(self) -> list[float]:
        return list(self.low_lrs)

    def _height(self, step: int) -> float:
        """How much of the way to the maximum is done at ``step``."""
        cycle, place = divmod(step, self.up + self.down)
        part = place / self.up if place <= self.up else (self.up + self.down - place) / self.down
        if self.scale_fn is not None:
            given = self.scale_fn(cycle + 1 if self.scale_mode == "cycle" else step)
            return part * number(given, f"CyclicLR: what scale_fn gives at step {step}")
        return part * {"triangular": 1.0, "triangular2": 0.5**cycle, "exp_range": self.gamma**step}[self.mode]

    def rate(self, base: float, step: int, group: int) -> float:
        low, high = self.low_lrs[group], self.max_lrs[group]
        return low + (high - low) * self._height(step)

    def momentum(self, step: int, group: int) -> float | None:
        if not self.cycle_momentum:
            return None
        low, high = self.base_momenta[group], self.max_momenta[group]
        return high - (high - low) * self._height(step)


class CosineAnnealingWarmRestarts(Schedule):
    """eta_min + (base - eta_min) (1 + cos(π t / T)) / 2, t steps after the last restart, in a period of T.

    The first period is ``T_0`` steps, each later one ``T_mult`` times as long as the one before. Steps are whole:
    PyTorch's ``step(epoch)`` does not exist. Loshchilov and Hutter 2017, arXiv:1608.03983.

    >>> optimizer = optim.SGD([tn.ones(3, requires_grad=True)], lr=1.0, momentum=0.9)
    >>> schedule = optim.CosineAnnealingWarmRestarts(optimizer, T_0=6)
    >>> for _ in range(4):
    ...     schedule.step()
    >>> np.round(schedule.get_last_lr(), 6)
    array([0.25])
    """

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0):
        self.T_0 = count(T_0, "CosineAnnealingWarmRestarts: T_0")
        self.T_mult = count(T_mult, "CosineAnnealingWarmRestarts: T_mult")
        self.eta_min = at_least(eta_min, "CosineAnnealingWarmRestarts: eta_min", 0)
        super().__init__(optimizer)

    def rate(self, base: float, step: int, group: int) -> float:
        period = self.T_0
        if self.T_mult == 1:
            step %= period
        while step >= period:
            step -= period
            period *= self.T_mult
        return anneal(base, self.eta_min, step / period, "cos")
