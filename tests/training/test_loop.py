"""The training loop: steps, accumulation, clipping, schedules, early stopping, errors."""

import copy
import io

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn, optim
from tinygrad_notes.data import DataLoader, TensorDataset
from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.training import Accuracy, CheckpointError, DivergenceError, Mean, Trainer, predict
from tinygrad_notes.training.progress import Progress

QUIET = Progress(style="none")


def points(n=64, seed=0, dtype=np.float32):
    """Two classes of points on either side of a curve."""
    x = np.random.default_rng(seed).standard_normal((n, 2)).astype(dtype)
    return TensorDataset(x, (x[:, 0] ** 2 + x[:, 1] > 0.5).astype(np.int64))


def network(dtype=tn.float32, seed=0):
    tn.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)).to(dtype)


def trainer(model=None, loader=None, lr=0.1, **options):
    model = network() if model is None else model
    optimizer = options.pop("optimizer", None) or optim.SGD(model.parameters(), lr=lr)
    loader = DataLoader(points(), 16) if loader is None else loader
    return Trainer(model, options.pop("loss", tn.cross_entropy), optimizer, loader, progress=QUIET, **options)


def weights(model):
    return {name: value.data.copy() for name, value in model.state_dict().items()}


def test_training_learns_and_the_history_says_how():
    work = trainer(lr=0.5, loader=DataLoader(points(), 16, shuffle=True), validation=DataLoader(points(40, seed=1), 16))
    history = work.fit(30)
    assert [row["epoch"] for row in history] == list(range(1, 31))
    assert list(history[0]) == ["epoch", "lr", "loss", "accuracy", "validation_loss", "validation_accuracy"]
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert history[-1]["accuracy"] > 0.9


def test_one_epoch_is_the_loop_written_out():
    model, twin = network(), network()
    data = points(50)
    row = trainer(model, DataLoader(data, 16)).fit(1)[0]
    optimizer = optim.SGD(twin.parameters(), lr=0.1)
    losses, hits = 0.0, 0
    for x, y in DataLoader(data, 16):
        optimizer.zero_grad()
        output = twin(x)
        loss = tn.cross_entropy(output, y)
        loss.backward()
        optimizer.step()
        losses += loss.item() * len(y)
        hits += int((output.data.argmax(1) == y.data).sum())
    assert all(np.array_equal(a, b) for a, b in zip(weights(model).values(), weights(twin).values()))
    assert row["loss"] == pytest.approx(losses / 50, rel=1e-12)
    assert row["accuracy"] == hits / 50


@pytest.mark.parametrize(("n", "small", "times"), [(48, 8, 2), (50, 8, 2), (50, 4, 4), (41, 10, 4), (7, 3, 8)])
def test_accumulated_steps_are_steps_on_the_large_batch(n, small, times):
    """Also for a ragged last batch, and a last group with fewer batches."""
    models = [network(tn.float64), network(tn.float64)]
    for model, size, accumulate in zip(models, (small, small * times), (times, 1)):
        loader = DataLoader(points(n, dtype=np.float64), size)
        optimizer = optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
        rows = trainer(model, loader, optimizer=optimizer, accumulate=accumulate, clip_norm=0.1).fit(3)
    large = weights(models[1])
    for name, value in weights(models[0]).items():
        assert np.abs(value - large[name]).max() < 1e-13
    assert len(rows) == 3


def test_a_batch_can_count_otherwise_than_by_examples():
    """A loss that ignores some targets is a mean over the others alone; one that ignores all adds nothing."""
    x = np.random.default_rng(0).standard_normal((24, 2))
    y = np.where(np.arange(24) < 14, np.arange(24) % 2, -100)  # the last batch has no target at all
    data = TensorDataset(x, y)
    models = [network(tn.float64), network(tn.float64)]
    for model, size, accumulate in zip(models, (6, 24), (4, 1)):
        count = lambda batch: int((batch[1].data != -100).sum())  # noqa: E731
        trainer(model, DataLoader(data, size), accumulate=accumulate, count=count, metrics=[]).fit(2)
    large = weights(models[1])
    for name, value in weights(models[0]).items():
        assert np.abs(value - large[name]).max() < 1e-14


def test_clipping_bounds_the_norm_of_every_step():
    model = network()
    before = weights(model)
    trainer(model, DataLoader(points(), 64), lr=1.0, clip_norm=0.01).fit(1)
    moved = np.sqrt(sum(float(((value - before[name]) ** 2).sum()) for name, value in weights(model).items()))
    assert moved == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(
    ("per", "rates"), [("epoch", [0.1, 0.05, 0.025]), ("step", [0.00625, 0.1 / 2**8, 0.1 / 2**12])]
)
def test_a_schedule_is_stepped_per_epoch_or_per_step(per, rates):
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    schedule = optim.StepLR(optimizer, 1, 0.5)
    history = trainer(model, optimizer=optimizer, schedule=schedule, schedule_per=per).fit(3)
    assert [row["lr"] for row in history] == pytest.approx(rates)


@pytest.mark.parametrize(("monitor", "mode"), [("validation_loss", "min"), ("validation_accuracy", "max")])
def test_a_plateau_of_the_monitor_lowers_the_rate(monitor, mode):
    losses = [0.5, 0.4, 0.45, 0.4, 0.3, 0.3, 0.3]
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.8)
    schedule = optim.ReduceLROnPlateau(optimizer, mode, 0.5, patience=0)
    work = Scripted(
        model, tn.cross_entropy, optimizer, DataLoader(points(), 16), validation=losses, schedule=schedule,
        schedule_per="epoch", monitor=monitor, progress=QUIET,
    )  # fmt: skip
    assert [row["lr"] for row in work.fit(7)] == [0.8, 0.8, 0.8, 0.4, 0.2, 0.2, 0.1]
    with pytest.raises(ShapeError, match="ReduceLROnPlateau looks at each epoch; give schedule_per='epoch'"):
        trainer(model, optimizer=optimizer, schedule=schedule)
    with pytest.raises(ShapeError, match="monitor is 'validation_loss', expected one of epoch, lr, loss, accuracy"):
        trainer(model, optimizer=optimizer, schedule=schedule, schedule_per="epoch").fit(1)
    by_training = trainer(model, optimizer=optimizer, schedule=schedule, schedule_per="epoch", monitor="loss")
    assert len(by_training.fit(2)) == 2


class Scripted(Trainer):
    """A trainer whose validation gives numbers that are known beforehand."""

    def evaluate(self, loader):
        return {"loss": loader[self.epoch], "accuracy": 1 - loader[self.epoch]}


@pytest.mark.parametrize("monitor", ["validation_loss", "validation_accuracy"])
def test_early_stopping_gives_the_best_weights_back(monitor):
    losses = [0.5, 0.3, 0.4, 0.3, 0.35, 0.1, 0.0]  # a tie is no improvement
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    loader = DataLoader(points(), 16)
    work = Scripted(
        model, tn.cross_entropy, optimizer, loader, validation=losses, patience=3, monitor=monitor, progress=QUIET
    )
    assert len(work.fit(7)) == 5
    assert work.best is not None
    assert work.best["epoch"] == 2
    twin = network()
    trainer(twin, DataLoader(points(), 16)).fit(2)
    assert all(np.array_equal(a, b) for a, b in zip(weights(model).values(), weights(twin).values()))


def test_a_first_validation_of_nan_is_not_the_best():
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    losses = [float("nan"), 0.5, 0.6, float("nan")]
    work = Scripted(model, tn.cross_entropy, optimizer, DataLoader(points(), 16), validation=losses, progress=QUIET)
    work.fit(4)
    assert work.best is not None
    assert work.best["epoch"] == 2


def test_an_unknown_monitor_is_named():
    with pytest.raises(ShapeError, match="monitor is 'accuracies', expected one of epoch, lr, loss"):
        trainer(validation=DataLoader(points(), 16), monitor="accuracies").fit(1)


def test_a_loss_that_is_nan_stops_before_the_weights_are_touched():
    x, y = (field.numpy().copy() for field in points(64).tensors)
    x[40, 0] = np.nan
    model = network()
    work = trainer(model, DataLoader(TensorDataset(x, y), 16))
    twin = network()
    trainer(twin, DataLoader(points(32), 16)).fit(1)
    with pytest.raises(DivergenceError, match="the loss is nan in epoch 1, at step 3 of the run"):
        work.fit(2)
    assert all(np.isfinite(value).all() for value in weights(model).values())
    assert work.step == 2


def test_a_loss_that_runs_away_stops():
    x = points(64).tensors[0].numpy()
    loader = DataLoader(TensorDataset(x * 1e18, x.sum(1) * 1e18), 16)
    squared = lambda output, target: ((output[:, 0] - target) ** 2).mean()  # noqa: E731
    with np.errstate(all="ignore"), pytest.raises(DivergenceError, match=r"inf|nan"):
        trainer(nn.Linear(2, 1), loader, loss=squared, metrics=[], lr=1e3).fit(3)


def test_a_gradient_that_is_nan_stops_too():
    model = nn.Linear(2, 2)
    root = lambda output, target: ((output * 0).sum() * np.float32(np.inf)) * 0 + output.sum()  # noqa: E731
    infinite = lambda output, target: (output - output.detach()).sum() * np.float32(3e38) * 10  # noqa: E731
    with np.errstate(all="ignore"):
        with pytest.raises(DivergenceError, match="the loss is nan"):
            trainer(model, loss=root, metrics=[]).fit(1)
        with pytest.raises(DivergenceError, match="the norm of the gradient is"):
            trainer(model, loss=infinite, metrics=[], clip_norm=1.0).fit(1)


def test_a_loss_of_many_numbers_is_refused():
    with pytest.raises(ShapeError, match=r"a Tensor of shape \(16, 2\), expected a Tensor of one number"):
        trainer(loss=lambda output, target: output).fit(1)
    with pytest.raises(ShapeError, match="the loss is float"):
        trainer(loss=lambda output, target: 1.0).fit(1)


def test_a_loader_without_batches_is_refused():
    with pytest.raises(ShapeError, match="no batch"):
        trainer(loader=DataLoader(points(8), 16, drop_last=True)).fit(1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"schedule_per": "batch"}, ShapeError, "'step' or 'epoch'"),
        ({"accumulate": 0}, ShapeError, "accumulate is 0"),
        ({"patience": 0, "validation": []}, ShapeError, "patience is 0"),
        ({"patience": 3}, ShapeError, "no validation loader"),
        ({"loader": [()], "checkpoint": "file"}, DTypeError, "list has none"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        trainer(**options)


def test_resuming_needs_a_file():
    with pytest.raises(CheckpointError, match="resume needs a checkpoint file"):
        trainer().fit(1, resume=True)


def test_evaluation_is_in_evaluation_mode_and_changes_nothing():
    model = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))
    work = trainer(model)
    before, state = weights(model), tn.get_rng_state()
    values = work.evaluate(DataLoader(points(50), 16))
    assert values == work.evaluate(DataLoader(points(50), 16))
    assert model.training
    assert tn.get_rng_state() == state
    assert all(np.array_equal(a, b) for a, b in zip(before.values(), weights(model).values()))
    model.eval()
    x, y = points(50).tensors
    assert values["loss"] == pytest.approx(tn.cross_entropy(model(x), y).item(), rel=1e-6)
    assert values["accuracy"] == float((model(x).data.argmax(1) == y.data).mean())


def test_predictions_come_in_order_and_leave_the_mode_alone():
    model = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5))
    outputs = predict(model, DataLoader(points(20), 6))
    assert outputs.shape == (20, 3)
    assert model.training
    assert np.allclose(outputs, model[0](points(20).tensors[0]).detach().numpy(), atol=1e-6)
    assert np.array_equal(predict(model, DataLoader(points(20), 6), device="cpu"), outputs)
    with pytest.raises(ShapeError, match="no batch"):
        predict(model, [])


def test_a_subclass_trains_otherwise_and_any_iterable_is_a_loader():
    class Reconstruct(Trainer):
        def compute(self, batch):
            x = batch["image"]
            output = self.model(x)
            return ((output - x) ** 2).mean(), output, x

    class Spread(Mean):
        name = "spread"

        def update(self, output, target):
            self.add(float(np.abs(output.data - target.data).max()))

    model = nn.Linear(2, 2)
    batches = [{"image": points(16).tensors[0]}, {"image": points(16, 1).tensors[0]}]
    optimizer = optim.Adam(model.parameters(), lr=0.05)
    work = Reconstruct(model, None, optimizer, batches, metrics=[Spread()], device="cpu", progress=QUIET)
    history = work.fit(100)
    assert history[-1]["loss"] < 0.02 * history[0]["loss"]
    assert history[-1]["spread"] < history[0]["spread"]


def test_the_times_add_up_to_the_whole():
    work = trainer(validation=DataLoader(points(), 64))
    work.fit(3)
    assert work.times.calls["forward"] == work.times.calls["backward"] == work.times.calls["optimiser"] == 12
    assert work.times.calls["evaluation"] == 3
    assert sum(work.times.parts().values()) == pytest.approx(work.times.total)
    assert "optimiser" in str(work.times)


def test_progress_hears_of_every_step():
    screen = io.StringIO()
    model = network()
    data = DataLoader(points(), 16)
    bar = Progress("points", file=screen)
    Trainer(model, tn.cross_entropy, optim.SGD(model.parameters(), lr=0.1), data, progress=bar, validation=data).fit(2)
    lines = screen.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("points: epoch 2/2  loss ")
    assert "validation accuracy" in lines[1]
    assert lines[1].endswith("samples/s")


def test_metrics_of_a_later_fit_start_anew():
    work = trainer(metrics=[Accuracy()])
    twin = copy.deepcopy(work.model)
    work.fit(2)
    again = trainer(twin)
    again.fit(1)
    again.fit(2)
    assert again.history == work.history
