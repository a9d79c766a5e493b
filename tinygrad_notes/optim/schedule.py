"""Learning rates that change with the step, each given by its formula.

A schedule sets the learning rate of every group when it is made, for step 0, and at each call of :meth:`Schedule.step`,
made after the optimiser's own. The rate depends on the number of the step alone (where ``by_step`` says so), so a
resumed schedule goes on with the very same numbers. ``base`` is the rate that a group was made with (its entry
``"initial_lr"``).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.ops.arguments import at_least, count, number, probability
from tinygrad_notes.optim.optimizer import Optimizer


class Schedule:
    """What schedules share. A subclass defines ``rate``. ``last_epoch`` is the number of the current step.

    It is no argument, as in PyTorch: to go on, :meth:`load_state_dict`.

    >>> class Halving(optim.Schedule):
    ...     def rate(self, base, step, group):
    ...         return base / 2**step
    >>> schedule = Halving(optim.SGD([tn.ones(3, requires_grad=True)], lr=1.0))
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    by_step = True  # the rate depends on the number of the step alone

    def __init__(self, optimizer: Optimizer):
        if not isinstance(optimizer, Optimizer):
            raise DTypeError(f"{type(self).__name__}: optimizer is {type(optimizer).__name__}, expected an Optimizer")
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = self.bases()
        self.last_epoch = 0
        self._set(0)

    def bases(self) -> list[float]:
        """The rate of every group that its schedule is measured by."""
        return [group["initial_lr"] for group in self.optimizer.param_groups]

    def rate(self, base: float, step: int, group: int) -> float:
        """The learning rate at ``step`` of the group numbered ``group``, whose initial one is ``base``."""
        raise NotImplementedError(f"{type(self).__name__} does not define rate")

    def momentum(self, step: int, group: int) -> float | None:
        """The momentum (β₁ of optimisers with ``betas``) at ``step``; None: it stays as it is."""
        return None

    def step(self) -> None:
        """Go to the next step."""
        self._set(self.last_epoch + 1)
        self.last_epoch += 1

    def _set(self, step: int) -> None:
        name = f"{type(self).__name__}: the learning rate at step {step}"
        rates = [at_least(self.rate(base, step, i), name, 0) for i, base in enumerate(self.base_lrs)]
        momenta = [self.momentum(step, i) for i in range(len(rates))]
        for group, rate, momentum in zip(self.optimizer.param_groups, rates, momenta):
            group["lr"] = rate
            if momentum is not None and "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            elif momentum is not None:
                group["momentum"] = momentum

    def get_last_lr(self) -> list[float]:
        """The current learning rate of every group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """The number of the step and the initial rates. What a schedule was made with is not in it."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from ``state_dict``, and set the learning rates of its step."""
        name = f"{type(self).__name__}.load_state_dict"
        if not isinstance(state_dict, Mapping) or not {"last_epoch", "base_lrs"} <= set(state_dict):
            raise ShapeError(f"{name}: expected 'last_epoch' and 'base_lrs' in a dict, got {state_dict!r:.60}")
        step, rates = count(state_dict["last_epoch"], f"{name}: last_epoch", 0), list(state_dict["base_lrs"])
        if len(rates) != len(self.base_lrs):
            raise ShapeError(f"{name}: the state is of {len(rates)} groups, expected {len(self.base_lrs)}")
        rates = [at_least(rate, f"{name}: base_lrs", 0) for rate in rates]
        self.last_epoch, self.base_lrs = step, rates
        self._set(step)


class LambdaLR(Schedule):
    """base · f(step), with one function for all groups or a list of one for each.

    >>> schedule = optim.LambdaLR(optim.SGD([tn.ones(3, requires_grad=True)], lr=1.0), lambda step: 1 / (1 + step))
    >>> for _ in range(4):
    ...     schedule.step()
    >>> np.round(schedule.get_last_lr(), 6)
    array([0.2])
    """

    def __init__(self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]]):
        groups = len(optimizer.param_groups)
        given = [lr_lambda] * groups if callable(lr_lambda) else lr_lambda
        if not isinstance(given, list | tuple) or not all(map(callable, given)):
            raise DTypeError(f"LambdaLR: lr_lambda is {lr_lambda!r}, expected a function of the step, or several")
        self.lr_lambdas = list(given)
        if len(self.lr_lambdas) != groups:
            raise ShapeError(f"LambdaLR: there are {len(self.lr_lambdas)} functions for {groups} groups")
        super().__init__(optimizer)

    def rate(self, base: float, step: int, group: int) -> float:
        return base * number(self.lr_lambdas[group](step), f"LambdaLR: the factor at step {step}")


class StepLR(Schedule):
    """base · gamma^⌊step / step_size⌋.

    >>> schedule = optim.StepLR(optim.SGD([tn.ones(3, requires_grad=True)], lr=1.0), step_size=2, gamma=0.5)
    >>> for _ in range(4):
    ...     schedule.step()
    >>> np.round(schedule.get_last_lr(), 6)
    array([0.25])
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1):
        self.step_size = count(step_size, "StepLR: step_size")
        self.gamma = at_least(gamma, "StepLR: gamma", 0)
        super().__init__(optimizer)

    def rate(self, base: float, step: int, group: int) -> float:
        return base * self.gamma ** (step // self.step_size)


class MultiStepLR(Schedule):
    """base · gamma^(how many of ``milestones`` are at or before the step).

    >>> schedule = optim.MultiStepLR(optim.SGD([tn.ones(3, requires_grad=True)], lr=1.0), milestones=[1, 3], gamma=0.5)
    >>> for _ in range(4):
    ...     schedule.step()
    >>> np.round(schedule.get_last_lr(), 6)
    array([0.25])
    """

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1):
        if not isinstance(milestones, Iterable):
            raise DTypeError(f"MultiStepLR: milestones is {milestones!r}, expected a list of integers")
        self.milestones = sorted(count(milestone, "MultiStepLR: a milestone", 0) for milestone in milestones)
        self.gamma = at_least(gamma, "MultiStepLR: gamma", 0)
        super().__init__(optimizer)

    def rate(self, base: float, step: int, group: int) -> float:
        return base * self.gamma ** bisect.bisect_right(self.milestones, step)


class ExponentialLR(Schedule):
    """base · gamma^step.

    >>> schedule = optim.ExponentialLR(optim.SGD([tn.ones(3, requires_grad=True)], lr=1.0), gamma=0.5)
    >>> for _ in range(4):
    ...     schedule.step()
    >>> np.round(schedule.get_last_lr(), 6)
    array([0.0625])
    """

    def __init__(self, optimizer: Optimizer, gamma: float):
        self.gamma = at_least(gamma, "ExponentialLR: gamma", 0)
        super().__init__(optimizer)

    def rate(self, base: float, step: int, group: int) -> float:
        return base * self.gamma**step


class LinearLR(Schedule):
    """base · f, f going straight from ``start_factor`` to ``end_factor`` in ``total_iters`` steps: a warm-up.

    >>> schedule = optim.LinearLR(optim.SGD([tn.ones(3, requires_grad=True)], lr=1.0), start_factor=0.2, total_iters=5)
    >>> for _ in range(4):
    ...     schedule.step()
    >>> np.round(schedule.get_last_lr(), 6)
    array([0.84])
    """

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1.0 / 3, end_factor: float = 1.0, total_iters: int = 5
    ):
        self.start_factor = probability(start_factor, "LinearLR: start_factor")
        if self.start_factor == 0:
            raise ShapeError("LinearLR: start_factor is 0, expected a number above 0")
        self.end_factor = probability(end_factor, "LinearLR: end_factor")
        self.total_iters = count(total_iters, "LinearLR: total_iters")
        super().__init__(optimizer)

    def rate(self, base: float, step: int, group: int) -> float:
        done = min(step, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * done)


class CosineAnnealingLR(Schedule):
    """eta_min + (base - eta_min) (1 + cos(π step / T_max)) / 2 (Loshchilov and Hutter 2017, arXiv:1608.03983).

    After ``T_max`` it rises again, as the cosine does.

    >>> schedule = optim.CosineAnnealingLR(optim.SGD([tn.ones(3, requires_grad=True)], lr=1.0), T_max=8)
    >>> for _ in range(4):
    ...     schedule.step()
    >>> np.round(schedule.get_last_lr(), 6)
    array([0.5])
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0):
        self.T_max = at_least(T_max, "CosineAnnealingLR: T_max", 1)
        self.eta_min = at_least(eta_min, "CosineAnnealingLR: eta_min", 0)
        super().__init__(optimizer)

    def rate(self, base: float, step: int, group: int) -> float:
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * step / self.T_max)) / 2


class ConstantLR(Schedule):
    """base · factor for the first ``total_iters`` steps, then base.

    >>> schedule = optim.ConstantLR(optim.SGD([tn.ones(3, requires_grad=True)], lr=1.0), factor=0.5, total_iters=5)
    >>> for _ in range(4):
    ...     schedule.step()
    >>> np.round(schedule.get_last_lr(), 6)
    array([0.5])
    """

    def __init__(self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5):
        self.factor = probability(factor, "ConstantLR: factor")
        self.total_iters = count(total_iters, "ConstantLR: total_iters", 0)
        super().__init__(optimizer)

    def rate(self, base: float, step: int, group: int) -> float:
        return base * self.factor if step < self.total_iters else base


class PolynomialLR(Schedule):
    """base · (1 - step / total_iters)^power, and 0 from step ``total_iters`` on.

    >>> schedule = optim.PolynomialLR(optim.SGD([tn.ones(3, requires_grad=True)], lr=1.0), total_iters=5, power=2.0)
    >>> for _ in range(4):
    ...     schedule.step()
    >>> np.round(schedule.get_last_lr(), 6)
    array([0.04])
    """

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0):
        self.total_iters = count(total_iters, "PolynomialLR: total_iters")
        self.power = at_least(power, "PolynomialLR: power", 0)
        super().__init__(optimizer)

    def rate(self, base: float, step: int, group: int) -> float:
        left = 1 - min(step, self.total_iters) / self.total_iters
        return base * left**self.power


class NoamLR(Schedule):
    """base · model_size^-½ · min(t^-½, t · warmup_steps^-³ᐟ²) with t = step + 1: a linear warm-up, then 1/√t.

    For the Transformer (Vaswani et al. 2017, arXiv:1706.03762, section 5.3), with 1 as the rate of the optimiser.
    The highest rate is base / √(model_size · warmup_steps).

    >>> schedule = optim.NoamLR(optim.SGD([tn.ones(3, requires_grad=True)], lr=1.0), model_size=512, warmup_steps=400)
    >>> for _ in range(4):
    ...     schedule.step()
    >>> np.round(schedule.get_last_lr(), 6)
    array([2.8e-05])
    """

    def __init__(self, optimizer: Optimizer, model_size: int, warmup_steps: int = 4000):
        self.model_size = count(model_size, "NoamLR: model_size")
        self.warmup_steps = count(warmup_steps, "NoamLR: warmup_steps")
        super().__init__(optimizer)

    def rate(self, base: float, step: int, group: int) -> float:
        t = step + 1
        return base * self.model_size**-0.5 * min(t**-0.5, t * self.warmup_steps**-1.5)


class SequentialLR(Schedule):
    """One schedule after the other: the next begins, with its own step 0, at each of ``milestones``.

    ReduceLROnPlateau and SWALR (which PyTorch takes) are refused: their rates depend on more than the step. DTypeError.

    Linear warm-up, then cosine:

    >>> optimizer = optim.SGD([tn.ones(3, requires_grad=True)], lr=1.0)
    >>> parts = [optim.LinearLR(optimizer, 0.01, 1.0, 100), optim.CosineAnnealingLR(optimizer, 900)]
    >>> optim.SequentialLR(optimizer, parts, milestones=[100]).get_last_lr()
    [0.01]
    """

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[Schedule], milestones: Sequence[int]):
        if not all(isinstance(schedule, Schedule) for schedule in schedulers):
            raise DTypeError(f"SequentialLR: schedulers is {schedulers!r:.60}, expected a list of schedules")
        if not schedulers or len(milestones) != len(schedulers) - 1:
            raise ShapeError(
                f"SequentialLR: {len(schedulers)} schedules with {len(milestones)} milestones, expected one fewer"
            )
        if any(later <= earlier for earlier, later in zip([0, *milestones], milestones)):
            raise ShapeError(f"SequentialLR: milestones is {list(milestones)}, expected increasing numbers above 0")
        if any(schedule.optimizer is not optimizer for schedule in schedulers):
            raise ShapeError("SequentialLR: a schedule is of another optimizer")
        for schedule in schedulers:
            if not schedule.by_step:
                raise DTypeError(
                    f"SequentialLR: the rates of {type(schedule).__name__} depend on more than the number of the step"
                )
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        super().__init__(optimizer)

    def rate(self, base: float, step: int, group: int) -> float:
        schedule, own = self._current(step)
        return schedule.rate(base, own, group)

    def momentum(self, step: int, group: int) -> float | None:
        schedule, own = self._current(step)
        return schedule.momentum(own, group)

    def _current(self, step: int) -> tuple[Schedule, int]:
        """The schedule at ``step``, and its own number of it."""
        i = bisect.bisect_right(self.milestones, step)
        return self.schedulers[i], step - [0, *self.milestones][i]
