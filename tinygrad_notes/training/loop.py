"""The one training loop."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.generator import get_rng_state, set_rng_state
from tinygrad_notes.modes import no_grad
from tinygrad_notes.nn import Module
from tinygrad_notes.ops.arguments import at_least, one_of
from tinygrad_notes.ops.arguments import count as whole
from tinygrad_notes.optim import Optimizer, ReduceLROnPlateau, clip_grad_norm_
from tinygrad_notes.tensor import Tensor, to_numpy
from tinygrad_notes.training.checkpoint import CheckpointError, check_model, load_checkpoint, save_checkpoint
from tinygrad_notes.training.metrics import Accuracy, Mean, Metric
from tinygrad_notes.training.progress import Progress
from tinygrad_notes.training.timing import Stopwatch


class DivergenceError(ArithmeticError):
    """The loss or the gradient became NaN or infinite.

    >>> issubclass(tn.training.DivergenceError, ArithmeticError)
    True
    """


class Trainer:
    """Train ``model`` by ``optimizer`` on the batches of ``loader``: ``Trainer(...).fit(epochs)``.

    A batch is a tuple; its last field is the target, the others go into the model: ``loss_function(model(x), target)``,
    a mean over the batch. A subclass that trains otherwise overrides :meth:`compute`.

    - ``validation``: a loader that is evaluated after every epoch. The weights of the epoch with the best ``monitor``
      (a column of the history) come back at the end, and with ``patience`` training stops after so many epochs without
      a better one.
    - ``metrics``: what is measured beside the loss, in training (as the weights change) and in validation.
    - ``accumulate``: batches for one step of the optimiser. The gradient is that of one large batch, for a last group
      with fewer or smaller batches too: each batch counts as ``count(batch)``, the number of terms its mean loss is
      taken over (examples, unless told otherwise). Batch normalisation, though, sees each small batch by itself.
    - ``clip_norm``: the largest global norm of the gradient (Pascanu et al. 2013).
    - ``schedule``: a learning-rate schedule, stepped after every ``schedule_per`` "step" or "epoch"; a
      ReduceLROnPlateau after every epoch, by ``monitor``.
    - ``checkpoint``: a file written after every epoch and every ``checkpoint_every`` steps. ``fit(resume=True)`` goes
      on from it and ends with the same bits as a run that was never stopped.

    A loss that is NaN or infinite raises :class:`DivergenceError` before the weights are touched. ``history`` has a row
    for each epoch, ``times`` says where the time went.

    >>> x = np.linspace(-1, 1, 32, dtype=np.float32)[:, None]
    >>> model = nn.Linear(1, 1)
    >>> loader = tn.data.DataLoader(tn.data.TensorDataset(x, 2 * x), batch_size=8)
    >>> quiet = tn.training.progress.Progress(style="none")
    >>> trainer = tn.training.Trainer(
    ...     model, tn.mse_loss, optim.SGD(model.parameters(), lr=0.5), loader, metrics=[], progress=quiet
    ... )
    >>> trainer.fit(epochs=20)[-1]["loss"] < 1e-4
    True
    """

    def __init__(
        self,
        model: Module,
        loss_function: Callable[..., Tensor],
        optimizer: Optimizer,
        loader: Iterable[Any],
        *,
        validation: Iterable[Any] | None = None,
        metrics: Sequence[Metric] | None = None,
        accumulate: int = 1,
        count: Callable[[Any], float] | None = None,
        clip_norm: float | None = None,
        schedule: Any = None,
        schedule_per: str = "step",
        patience: int | None = None,
        monitor: str = "validation_loss",
        checkpoint: Path | str | None = None,
        checkpoint_every: int | None = None,
        device: str | None = None,
        progress: Progress | None = None,
    ):
        one_of(schedule_per, "Trainer: schedule_per", ("step", "epoch"))
        if isinstance(schedule, ReduceLROnPlateau) and schedule_per == "step":
            raise ShapeError("Trainer: ReduceLROnPlateau looks at each epoch; give schedule_per='epoch'")
        _check_kinds("Trainer", model=(model, Module), optimizer=(optimizer, Optimizer), loader=(loader, Iterable))
        if loss_function is not None and not callable(loss_function):
            raise DTypeError(f"Trainer: loss_function is {loss_function!r}, expected a function of output and target")
        numbers = {"accumulate": accumulate, "patience": patience, "checkpoint_every": checkpoint_every}
        for name, number in numbers.items():
            if number is not None:
                whole(number, f"Trainer: {name}")
        if clip_norm is not None:
            at_least(clip_norm, "Trainer: clip_norm", 0)
        if checkpoint_every is not None and checkpoint is None:
            raise ShapeError("Trainer: checkpoint_every is given but no checkpoint file to write")
        if patience is not None and validation is None:
            raise ShapeError("Trainer: patience is given but no validation loader to look at")
        if checkpoint is not None and not hasattr(loader, "state_dict"):
            raise DTypeError(f"Trainer: a checkpoint needs a loader with state_dict, {type(loader).__name__} has none")
        self.model, self.loss_function, self.optimizer, self.loader = model, loss_function, optimizer, loader
        self.validation = validation
        self.metrics = [Accuracy()] if metrics is None else list(metrics)
        self.accumulate, self.count, self.clip_norm = accumulate, count or _examples, clip_norm
        self.schedule, self.schedule_per = schedule, schedule_per
        self.patience, self.monitor = patience, monitor
        self.checkpoint, self.checkpoint_every = None if checkpoint is None else Path(checkpoint), checkpoint_every
        self.device, self.progress = device, progress or Progress()
        self.times = Stopwatch()
        self.history: list[dict[str, float]] = []
        self.epoch = self.step = 0  # how many are over
        self.best: dict[str, Any] | None = None  # value, epoch and weights of the best epoch by ``monitor``
        self._loss = Mean()
        self._in_epoch = False  # the state of an epoch under way was loaded

    # ------------------------------------------------------------------ what a subclass may change

    def compute(self, batch: Any) -> tuple[Tensor, Any, Any]:
        """The mean loss of a batch, and outputs and targets for the metrics."""
        if not isinstance(batch, tuple | list) or len(batch) < 2:
            raise ShapeError(f"Trainer: a batch is {type(batch).__name__}, expected a tuple of inputs and a target")
        *inputs, target = batch
        output = self.model(*inputs)
        return self.loss_function(output, target), output, target

    # ------------------------------------------------------------------ training

    def fit(self, epochs: int, resume: bool = False) -> list[dict[str, float]]:
        """Train until ``epochs`` are over in all, or validation gets no better, and return the history.

        ``resume`` goes on from the checkpoint where there is one.
        """
        whole(epochs, "Trainer: epochs", 0)
        if resume:
            if self.checkpoint is None:
                raise CheckpointError("Trainer: resume needs a checkpoint file")
            if self.checkpoint.exists():
                self.load(self.checkpoint)
        per_epoch = -(-len(self.loader) // self.accumulate) if isinstance(self.loader, Sized) else None
        self.times.start()
        self.progress.start(self.epoch, epochs, self.step, None if per_epoch is None else per_epoch * epochs)
        try:
            while self.epoch < epochs and not self._out_of_patience():
                self._train_epoch()
                self._end_epoch()
        finally:
            self.progress.stop()
            self.times.stop()
        if self.best is not None:
            self.model.load_state_dict(self.best["weights"])
        return self.history

    def _train_epoch(self) -> None:
        self.model.train()
        if not self._in_epoch:
            self._reset()
        batches = iter(self.loader)
        while True:
            with self.times("data"):
                group = [self._moved(batch) for batch in itertools.islice(batches, self.accumulate)]
            if not group:
                break
            self._step(group)
            if self.checkpoint is not None and self.checkpoint_every and self.step % self.checkpoint_every == 0:
                self.save(self.checkpoint)
        self._in_epoch = False
        if not self._loss.count:
            raise ShapeError("Trainer: the loader gave no batch to learn from")

    def _step(self, group: list[Any]) -> None:
        """One step of the optimiser, by the mean gradient of all examples in ``group``."""
        counts = [self.count(batch) for batch in group]
        total = sum(counts)
        self.optimizer.zero_grad()
        for batch, count in zip(group, counts):
            if not count:  # a mean over nothing, which a large batch would not notice
                continue
            with self.times("forward"):
                loss, output, target = self.compute(batch)
                value = self._checked(loss)
            with self.times("backward"):
                (loss if len(group) == 1 else loss * (count / total)).backward()
            with self.times("metrics"):
                self._loss.add(value, count)
                with no_grad():
                    for metric in self.metrics:
                        metric.update(output, target)
        with self.times("optimiser"):
            self._update()
        self.progress.advance(self._running(), sum(map(_examples, group)))

    def _update(self) -> None:
        if self.clip_norm is not None:
            norm = clip_grad_norm_(self.model.parameters(), self.clip_norm).item()
            if not math.isfinite(norm):
                raise DivergenceError(f"the norm of the gradient is {norm} {self._where()}; {_ADVICE}")
        self.optimizer.step()
        self.step += 1
        if self.schedule is not None and self.schedule_per == "step":
            self.schedule.step()

    def _checked(self, loss: Any) -> float:
        if type(loss) is not Tensor or loss.size != 1:
            got = f"a Tensor of shape {loss.shape}" if type(loss) is Tensor else type(loss).__name__
            raise ShapeError(f"Trainer: the loss is {got}, expected a Tensor of one number (reduction='mean')")
        value = float(loss.item())
        if not math.isfinite(value):
            raise DivergenceError(f"the loss is {value} {self._where()}; {_ADVICE}")
        return value

    def _where(self) -> str:
        return f"in epoch {self.epoch + 1}, at step {self.step + 1} of the run"

    def _end_epoch(self) -> None:
        row: dict[str, float] = {"epoch": self.epoch + 1, "lr": self.optimizer.param_groups[0]["lr"], **self._running()}
        if self.validation is not None:
            row |= {f"validation_{name}": value for name, value in self.evaluate(self.validation).items()}
            self._keep_best(row)
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(self._monitored(row))
        elif self.schedule is not None and self.schedule_per == "epoch":
            self.schedule.step()
        self.history.append(row)
        self.epoch += 1
        self._reset()
        if self.checkpoint is not None:
            self.save(self.checkpoint)
        self.progress.end_epoch(row)

    def _monitored(self, row: dict[str, float]) -> float:
        if self.monitor not in row:
            raise ShapeError(f"Trainer: monitor is {self.monitor!r}, expected one of {', '.join(row)}")
        return row[self.monitor]

    def _keep_best(self, row: dict[str, float]) -> None:
        value = self._monitored(row)
        name = self.monitor.removeprefix("validation_")
        sign = 1 if any(m.name == name and m.higher_is_better for m in self.metrics) else -1
        if self.best is None or sign * value > sign * self.best["value"] or math.isnan(self.best["value"]):
            weights = {name: tensor.data.copy() for name, tensor in self.model.state_dict().items()}
            self.best = {"value": value, "epoch": self.epoch + 1, "weights": weights}

    def _out_of_patience(self) -> bool:
        return self.patience is not None and self.best is not None and self.epoch - self.best["epoch"] >= self.patience

    def _running(self) -> dict[str, float]:
        return {"loss": self._loss.compute()} | {metric.name: metric.compute() for metric in self.metrics}

    def _reset(self) -> None:
        for metric in (self._loss, *self.metrics):
            metric.reset()

    def _moved(self, batch: Any) -> Any:
        return batch if self.device is None else move(batch, self.device)

    # ------------------------------------------------------------------ evaluation

    def evaluate(self, loader: Iterable[Any]) -> dict[str, float]:
        """Mean loss and metrics over ``loader``, in evaluation mode and off the tape. Training is not affected."""
        loss_mean, metrics = Mean(), copy.deepcopy(self.metrics)
        for metric in metrics:
            metric.reset()
        training = self.model.training
        self.model.eval()
        try:
            with self.times("evaluation"), no_grad():
                for batch in map(self._moved, loader):
                    count = self.count(batch)
                    if not count:
                        continue
                    loss, output, target = self.compute(batch)
                    loss_mean.add(float(loss.item()), count)
                    for metric in metrics:
                        metric.update(output, target)
        finally:
            self.model.train(training)
        return {"loss": loss_mean.compute()} | {metric.name: metric.compute() for metric in metrics}

    # ------------------------------------------------------------------ checkpoints

    def state_dict(self) -> dict[str, Any]:
        """All that the rest of the run depends on."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "loader": self.loader.state_dict(),  # type: ignore[attr-defined]
            "generator": get_rng_state(),
            "running": [metric.state_dict() for metric in (self._loss, *self.metrics)],
            "epoch": self.epoch,
            "step": self.step,
            "history": self.history,
            "best": self.best,
        }

    def save(self, path: Path | str) -> None:
        """Write a checkpoint."""
        with self.times("checkpoint"):
            save_checkpoint(path, self.state_dict())

    def load(self, path: Path | str) -> None:
        """Go on from a checkpoint. CheckpointError, and nothing changed in the model, when it does not fit."""
        state = load_checkpoint(path)
        if not hasattr(self.loader, "load_state_dict"):
            raise DTypeError(f"Trainer: a checkpoint needs a loader with state_dict, not {type(self.loader).__name__}")
        if not isinstance(state, dict) or not isinstance(state.get("model", {}), dict):
            raise CheckpointError(f"checkpoint {path}: it holds {type(state).__name__}, so it is not of a Trainer")
        parts = {"optimizer": self.optimizer, "loader": self.loader, "schedule": self.schedule}
        before = {name: part.state_dict() for name, part in parts.items() if part is not None}  # type: ignore[attr-defined]
        try:
            model = {name: tensor.data for name, tensor in self.model.state_dict().items()}
            check_model(path, model, state["model"])
            if len(state["running"]) != 1 + len(self.metrics):
                raise ShapeError(f"it has {len(state['running']) - 1} metrics, this run {len(self.metrics)}")
            if (state["schedule"] is None) != (self.schedule is None):
                raise ShapeError("only one of it and this run has a schedule")
            progress = state["epoch"], state["step"], state["history"], state["best"]
            for name in before:
                parts[name].load_state_dict(state[name])  # type: ignore[attr-defined]
            set_rng_state(state["generator"])
            self.model.load_state_dict(state["model"])
            for metric, values in zip((self._loss, *self.metrics), state["running"]):
                metric.load_state_dict(values)
        except (KeyError, ShapeError, DTypeError) as error:
            for name in before:
                parts[name].load_state_dict(before[name])  # type: ignore[attr-defined]
            what = f"it has no entry {error}, so is not of a Trainer" if isinstance(error, KeyError) else str(error)
            raise CheckpointError(f"checkpoint {path}: of another run; {what}") from None
        self.epoch, self.step, self.history, self.best = progress
        self._in_epoch = "order" in state["loader"]


_ADVICE = "a lower learning rate or clip_norm may help, and tn.detect_anomaly() shows the op that made it first"


def _check_kinds(name: str, **given: tuple[Any, type]) -> None:
    for argument, (value, kind) in given.items():
        if not isinstance(value, kind):
            raise DTypeError(f"{name}: {argument} is {type(value).__name__}, expected {kind.__name__}")


def _examples(batch: Any) -> int:
    """How many examples a batch holds: the length of its first Tensor."""
    while not isinstance(batch, Tensor | np.ndarray):
        if not isinstance(batch, dict | tuple | list) or not batch:
            raise DTypeError(f"Trainer: a batch holds {type(batch).__name__}, expected Tensors, to count examples by")
        batch = next(iter(batch.values())) if isinstance(batch, dict) else batch[0]
    return len(batch)


def move(batch: Any, device: str) -> Any:
    """``batch`` with every Tensor in it on ``device``."""
    if isinstance(batch, Tensor):
        return batch.to(device)  # type: ignore[attr-defined]
    if isinstance(batch, tuple | list):
        return type(batch)(move(field, device) for field in batch)
    if isinstance(batch, dict):
        return {key: move(field, device) for key, field in batch.items()}
    return batch


def predict(model: Module, loader: Iterable[Any], device: str | None = None) -> np.ndarray:
    """The outputs of ``model``, in evaluation mode, for every batch of ``loader`` (whose last field is the target).

    >>> loader = tn.data.DataLoader(tn.data.TensorDataset(np.array([[-1.0], [2.0]]), np.zeros(2)))
    >>> tn.training.predict(nn.ReLU(), loader)
    array([[0.],
           [2.]])
    """
    _check_kinds("predict", model=(model, Module), loader=(loader, Iterable))
    training = model.training
    model.eval()
    try:
        with no_grad():
            batches = (batch if device is None else move(batch, device) for batch in loader)
            outputs = [to_numpy(model(*batch[:-1]).data) for batch in batches]
    finally:
        model.train(training)
    if not outputs:
        raise ShapeError("predict: the loader gave no batch")
    return np.concatenate(outputs)
