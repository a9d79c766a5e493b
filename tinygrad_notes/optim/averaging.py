"""Averages of weights along training: stochastic weight averaging and the exponential moving average."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.modes import no_grad
from tinygrad_notes.nn.module import Module
from tinygrad_notes.nn.normalization import _BatchNorm
from tinygrad_notes.ops.arguments import count, flag, one_of, probability
from tinygrad_notes.optim.cycles import anneal, for_groups
from tinygrad_notes.optim.optimizer import Optimizer
from tinygrad_notes.optim.schedule import Schedule
from tinygrad_notes.tensor import Tensor, to_device, wrap
from tinygrad_notes.writes import mark_written

AverageOne = Callable[[Tensor, Tensor, Tensor], Any]
AverageAll = Callable[[list[Tensor], list[Tensor], Tensor], None]


def get_swa_avg_fn() -> AverageOne:
    """The running mean a + (w - a) / (n + 1) of all models so far, for ``avg_fn`` of :class:`AveragedModel`.

    >>> optim.get_swa_avg_fn()(tn.tensor([1.0]), tn.tensor([4.0]), tn.tensor(2))
    Tensor([2.])
    """
    return lambda averaged, current, n: averaged + (current - averaged) / (int(n) + 1)


def get_ema_avg_fn(decay: float = 0.999) -> AverageOne:
    """The exponential moving average decay · a + (1 - decay) · w, for ``avg_fn`` of :class:`AveragedModel`.

    >>> optim.get_ema_avg_fn(0.75)(tn.tensor([1.0]), tn.tensor([5.0]), tn.tensor(2))
    Tensor([2.])
    """
    decay = probability(decay, "get_ema_avg_fn: decay")
    return lambda averaged, current, n: averaged * decay + current * (1 - decay)


def get_swa_multi_avg_fn() -> AverageAll:
    """:func:`get_swa_avg_fn` over lists of Tensors, in place, for ``multi_avg_fn``.

    >>> averaged = [tn.tensor([1.0])]
    >>> optim.get_swa_multi_avg_fn()(averaged, [tn.tensor([4.0])], tn.tensor(2))
    >>> averaged
    [Tensor([2.])]
    """
    return lambda averaged, current, n: _move(averaged, current, 1 / (int(n) + 1))


def get_ema_multi_avg_fn(decay: float = 0.999) -> AverageAll:
    """:func:`get_ema_avg_fn` over lists of Tensors, in place, for ``multi_avg_fn``.

    >>> averaged = [tn.tensor([1.0])]
    >>> optim.get_ema_multi_avg_fn(0.75)(averaged, [tn.tensor([5.0])], tn.tensor(2))
    >>> averaged
    [Tensor([2.])]
    """
    decay = probability(decay, "get_ema_multi_avg_fn: decay")
    return lambda averaged, current, n: _move(averaged, current, 1 - decay)


def _move(averaged: Sequence[Tensor], current: Sequence[Tensor], part: float) -> None:
    """a ← a + part · (w - a), in place."""
    for mean, now in zip(averaged, current):
        change = np.empty_like(mean.data)
        np.subtract(now.data, mean.data, out=change)
        change *= part
        array = mean.data
        array += change
        mark_written(array)


class AveragedModel(Module):
    """The average of ``model`` over the calls of :meth:`update_parameters`, as a network of its own: ``module``.

    Without ``avg_fn`` and ``multi_avg_fn`` the plain mean (stochastic weight averaging: Izmailov et al. 2018,
    arXiv:1803.05407). ``avg_fn(averaged, current, n)`` gives the new average of one Tensor after n models;
    ``multi_avg_fn`` takes lists of Tensors and writes into the first: see :func:`get_ema_multi_avg_fn`. The first call
    copies the model.

    ``use_buffers`` averages the buffers too; else they are copied at every call. Buffers of integers (counts of
    batches) are copied in any case, for they have no mean (PyTorch cuts theirs off). After averaging, the statistics of
    batch normalisation are those of other weights: see :func:`update_bn`.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> averaged = optim.AveragedModel(model)
    >>> for value in (1.0, 2.0, 6.0):
    ...     _ = nn.init.constant_(model.weight, value)
    ...     averaged.update_parameters(model)
    >>> averaged.module.weight
    Tensor([[3.]], requires_grad=True)
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: str | None = None,
        avg_fn: AverageOne | None = None,
        multi_avg_fn: AverageAll | None = None,
        use_buffers: bool = False,
    ):
        super().__init__()
        if not isinstance(model, Module):
            raise DTypeError(f"AveragedModel: model is {type(model).__name__}, expected a Module")
        if avg_fn is not None and multi_avg_fn is not None:
            raise DTypeError("AveragedModel: avg_fn and multi_avg_fn are given, expected one of them")
        for name, function in (("avg_fn", avg_fn), ("multi_avg_fn", multi_avg_fn)):
            if function is not None and not callable(function):
                raise DTypeError(f"AveragedModel: {name} is {function!r}, expected a function or None")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module.to(device)
        self.register_buffer("n_averaged", wrap(np.zeros((), np.int64)))
        self.avg_fn, self.multi_avg_fn = avg_fn, multi_avg_fn
        self.use_buffers = flag(use_buffers, "AveragedModel: use_buffers")

    def forward(self, *arguments: Any, **options: Any) -> Any:
        return self.module(*arguments, **options)

    @no_grad()
    def update_parameters(self, model: Module) -> None:
        """Take one more ``model`` into the average. ShapeError, and nothing changed, when it is another network."""
        own, other = _tensors(self.module), _tensors(model)
        if [(name, t.shape) for name, t, _ in own] != [(name, t.shape) for name, t, _ in other]:
            raise ShapeError(
                "AveragedModel.update_parameters: the model is not the one averaged; names or shapes of its parameters "
                "or buffers differ"
            )
        averaged, current = [], []
        for (_, mean, buffer), (_, tensor, _) in zip(own, other):
            now = to_device(tensor.data, mean.device)
            if not int(self.n_averaged) or (buffer and not self.use_buffers) or mean.dtype.kind != "f":
                mean.data[...] = now
                mark_written(mean.data)
            else:
                averaged.append(wrap(mean.data))
                current.append(wrap(now))
        if averaged and self.avg_fn is not None:
            for mean, tensor in zip(averaged, current):
                result = self.avg_fn(mean, tensor, self.n_averaged)
                mean.data[...] = result.data if type(result) is Tensor else result
                mark_written(mean.data)
        elif averaged:
            (self.multi_avg_fn or get_swa_multi_avg_fn())(averaged, current, self.n_averaged)
            for mean in averaged:
                mark_written(mean.data)
        self.n_averaged.data[...] += 1
        mark_written(self.n_averaged.data)


def _tensors(model: Module) -> list[tuple[str, Tensor, bool]]:
    """All parameters and buffers with their paths, and whether each is a buffer."""
    parameters = [(name, tensor, False) for name, tensor in model.named_parameters()]
    return parameters + [(name, tensor, True) for name, tensor in model.named_buffers()]


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: str | None = None) -> None:
    """Compute the statistics of the batch normalisation of ``model`` anew: their mean over all batches of ``loader``.

    A batch is the input, or a tuple or list whose first field is. ShapeError when there is no batch.

    >>> model = nn.Sequential(nn.BatchNorm1d(2))
    >>> optim.update_bn([tn.tensor([[1.0, 2.0], [3.0, 6.0]])], model)
    >>> model[0].running_mean
    Tensor([2., 4.])
    """
    if not isinstance(model, Module):
        raise DTypeError(f"update_bn: model is {type(model).__name__}, expected a Module")
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not layers:
        return
    if not isinstance(loader, Iterable):
        raise DTypeError(f"update_bn: loader is {type(loader).__name__}, expected batches")
    momenta = [layer.momentum for layer in layers]
    modes = [(module, module.training) for module in model.modules()]
    seen = False
    try:
        model.train()
        for batch in loader:
            if not seen:
                for layer in layers:
                    layer.reset_running_stats()
                    layer.momentum = None
                seen = True
            given = batch[0] if isinstance(batch, list | tuple) else batch
            model(given if device is None else given.to(device))
    finally:
        for layer, momentum in zip(layers, momenta):
            layer.momentum = momentum
        for module, training in modes:
            module.training = training
    if not seen:
        raise ShapeError("update_bn: the loader gave no batch")


class SWALR(Schedule):
    """From the rate of a group at the first :meth:`step` to ``swa_lr`` in ``anneal_epochs`` steps, where it stays.

    It is made beside the schedule of the time before, which is no longer stepped when this one begins.
    ``anneal_strategy``: along a "cos" or "linear". ``swa_lr``: one number, or a list of one for each group. Izmailov
    et al. 2018, arXiv:1803.05407.

    >>> schedule = optim.SWALR(optim.SGD([tn.ones(3, requires_grad=True)], lr=1.0), swa_lr=0.5, anneal_epochs=4)
    >>> schedule.step()
    >>> np.round(schedule.get_last_lr(), 4)
    array([0.9268])
    """

    by_step = False

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | Sequence[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
    ):
        self.swa_lrs = for_groups(swa_lr, optimizer, "SWALR: swa_lr")
        self.anneal_epochs = count(anneal_epochs, "SWALR: anneal_epochs", 0)
        self.anneal_strategy = one_of(anneal_strategy, "SWALR: anneal_strategy", ("cos", "linear"))
        super().__init__(optimizer)

    def bases(self) -> list[float]:
        return self.get_last_lr()

    def rate(self, base: float, step: int, group: int) -> float:
        done = min(1.0, step / self.anneal_epochs) if self.anneal_epochs else 1.0
        return anneal(base, self.swa_lrs[group], done, self.anneal_strategy)

    def step(self) -> None:
        """Go to the next step."""
        if not self.last_epoch:
            self.base_lrs = self.bases()
        super().step()

    def _set(self, step: int) -> None:
        if step or not self.anneal_epochs:  # until it begins, the rate is another schedule's
            super()._set(step)
