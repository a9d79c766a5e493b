"""A run that was stopped and resumed ends with the same bits as one that was not."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn, optim
from tinygrad_notes.data import DataLoader, TensorDataset, Transformed
from tinygrad_notes.training import CheckpointError, Trainer, load_checkpoint
from tinygrad_notes.training.progress import Progress

EPOCHS = 4

OPTIMIZERS = {
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adam": lambda p: optim.Adam(p, lr=0.01),
    "adamw": lambda p: optim.AdamW(p, lr=0.01),
}
OTHERS = {
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True, eps=1e-3),
    "adagrad": lambda p: optim.Adagrad(p, lr=0.1, lr_decay=0.01, initial_accumulator_value=0.1),
    "adadelta": lambda p: optim.Adadelta(p),
    "adamax": lambda p: optim.Adamax(p, lr=0.01),
    "nadam": lambda p: optim.NAdam(p, lr=0.01),
    "radam": lambda p: optim.RAdam(p, lr=0.01, betas=(0.9, 0.9)),
    "lars": lambda p: optim.LARS(p, trust_coefficient=0.01, weight_decay=1e-3),
    "lamb": lambda p: optim.LAMB(p, lr=0.05),
}
SCHEDULES = {
    "one cycle": lambda o: optim.OneCycleLR(o, 0.1, epochs=EPOCHS, steps_per_epoch=9),
    "triangles": lambda o: optim.CyclicLR(o, 0.01, 0.1, 5, mode="triangular2"),
    "warm restarts": lambda o: optim.CosineAnnealingWarmRestarts(o, 4, 2),
    "transformer": lambda o: optim.NoamLR(o, 64, 9),
    "averaging": lambda o: optim.SWALR(o, 0.001, 20),
    "sequence": lambda o: optim.SequentialLR(o, [optim.ConstantLR(o, 0.1, 5), optim.PolynomialLR(o, 30)], [5]),
    "plateau": lambda o: optim.ReduceLROnPlateau(o, factor=0.5, patience=0, threshold=0.9),
}


def make(path, method="adam", every=2, accumulate=1, own_generator=False, hidden=8, wait=0.0, schedule=None, **options):
    """Everything random at once: shuffling, augmentation, dropout; and running statistics, momenta, a schedule."""
    tn.manual_seed(7)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((52, 3)).astype(np.float32)
    y = (x.sum(1) > 0).astype(np.int64)

    def noisy(a, b):
        time.sleep(wait)
        return a + tn.generator().standard_normal(a.shape).astype(np.float32) * np.float32(0.1), b

    data = Transformed(TensorDataset(x, y), noisy)
    loader = DataLoader(data, 6, shuffle=True, generator=3 if own_generator else None)
    model = nn.Sequential(
        nn.Linear(3, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(0.3), nn.Linear(hidden, 2)
    )
    optimizer = {**OPTIMIZERS, **OTHERS}[method](model.parameters())
    per = "epoch" if schedule == "plateau" else "step"
    made = optim.CosineAnnealingLR(optimizer, 40) if schedule is None else SCHEDULES[schedule](optimizer)
    return Trainer(
        model,
        tn.cross_entropy,
        optimizer,
        loader,
        validation=DataLoader(TensorDataset(x[::3], y[::3]), 8),
        accumulate=accumulate,
        clip_norm=1.0,
        schedule=made,
        schedule_per=per,
        checkpoint=path,
        checkpoint_every=every,
        progress=Progress(style="none"),
        **options,
    )


def fingerprint(trainer):
    """A digest of all that a run leaves: weights, statistics, momenta, best weights, history, random numbers."""
    digest = hashlib.sha256()

    def add(value):
        if isinstance(value, dict):
            for key, item in value.items():
                digest.update(str(key).encode())
                add(item)
        elif isinstance(value, list | tuple):
            for item in value:
                add(item)
        elif hasattr(value, "tobytes") or isinstance(value, tn.Tensor):
            digest.update(np.asarray(value.data if isinstance(value, tn.Tensor) else value).tobytes())
        else:
            digest.update(repr(value).encode())

    add(trainer.state_dict())
    return digest.hexdigest()


class StoppedError(Exception):
    """In the place of a kill."""


def stop_after(trainer, steps):
    """Let the run break off after so many steps of the optimiser."""
    update = trainer._update

    def counted():
        update()
        if trainer.step == steps:
            raise StoppedError

    trainer._update = counted


@pytest.mark.parametrize("own_generator", [True, False])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("method", list(OPTIMIZERS))
def test_a_run_that_broke_off_anywhere_ends_with_the_same_bits(tmp_path, method, accumulate, own_generator):
    options = {"method": method, "accumulate": accumulate, "own_generator": own_generator}
    whole = make(tmp_path / "whole", **options)
    whole.fit(EPOCHS)
    expected, steps = fingerprint(whole), whole.step
    for stop in (3, steps // EPOCHS, steps // EPOCHS + 1, steps - 2):
        path = tmp_path / f"stopped-{stop}"
        broken = make(path, **options)
        stop_after(broken, stop)
        with pytest.raises(StoppedError):
            broken.fit(EPOCHS)
        resumed = make(path, **options)
        resumed.fit(EPOCHS, resume=True)
        assert fingerprint(resumed) == expected
        assert resumed.history == whole.history


@pytest.mark.parametrize(
    ("method", "schedule"), [*((method, None) for method in OTHERS), *(("momentum", name) for name in SCHEDULES)]
)
def test_every_optimiser_and_schedule_is_resumed(tmp_path, method, schedule):
    options = {"method": method, "schedule": schedule}
    whole = make(tmp_path / "whole", **options)
    whole.fit(EPOCHS)
    rates = {row["lr"] for row in whole.history}
    assert len(rates) > 1
    broken = make(tmp_path / "stopped", **options)
    stop_after(broken, 21)  # in the third epoch
    with pytest.raises(StoppedError):
        broken.fit(EPOCHS)
    resumed = make(tmp_path / "stopped", **options)
    resumed.fit(EPOCHS, resume=True)
    assert fingerprint(resumed) == fingerprint(whole)


def test_a_run_can_be_resumed_again_and_again(tmp_path):
    whole = make(tmp_path / "whole", every=1)
    whole.fit(2)
    for stop in range(1, whole.step, 2):
        part = make(tmp_path / "parts", every=1)
        stop_after(part, stop)
        with pytest.raises(StoppedError):
            part.fit(2, resume=True)
    last = make(tmp_path / "parts", every=1)
    last.fit(2, resume=True)
    assert fingerprint(last) == fingerprint(whole)


def test_early_stopping_survives_a_stop(tmp_path):
    whole = make(tmp_path / "whole", patience=2, monitor="validation_accuracy")
    whole.fit(60)
    assert whole.epoch < 60
    broken = make(tmp_path / "stopped", patience=2, monitor="validation_accuracy")
    stop_after(broken, whole.step - 4)
    with pytest.raises(StoppedError):
        broken.fit(60)
    resumed = make(tmp_path / "stopped", patience=2, monitor="validation_accuracy")
    resumed.fit(60, resume=True)
    assert fingerprint(resumed) == fingerprint(whole)
    finished = make(tmp_path / "stopped", patience=2, monitor="validation_accuracy")
    finished.fit(60, resume=True)  # nothing is left to do
    assert finished.step == whole.step
    for name, value in finished.model.state_dict().items():
        assert np.array_equal(value.data, whole.model.state_dict()[name].data)


def test_a_finished_run_goes_on_for_more_epochs(tmp_path):
    whole = make(tmp_path / "whole")
    whole.fit(4)
    make(tmp_path / "parts").fit(2)
    longer = make(tmp_path / "parts")
    longer.fit(4, resume=True)
    assert fingerprint(longer) == fingerprint(whole)


def test_without_a_checkpoint_resuming_starts_from_the_beginning(tmp_path):
    whole = make(tmp_path / "a")
    whole.fit(1)
    fresh = make(tmp_path / "b")
    fresh.fit(1, resume=True)
    assert fingerprint(fresh) == fingerprint(whole)


def killed_while_training(path, method):
    """Start a run in a process of its own and SIGKILL it in mid-epoch, after a checkpoint inside an epoch."""
    call = f"make({str(path)!r}, {method!r}, 1, wait=0.02).fit({EPOCHS})"
    program = f"import runpy; make = runpy.run_path({__file__!r})['make']; {call}"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE) as process:
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and process.poll() is None:
                if path.exists():
                    state = load_checkpoint(path)  # every moment's file is a whole one
                    if state["epoch"] == 1 and state["loader"].get("position", 0) >= 3:
                        break
                time.sleep(0.005)
            assert process.poll() is None, process.stderr.read().decode()
        finally:
            process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
@pytest.mark.parametrize("method", ["momentum", "adamw"])
def test_a_killed_process_resumes_to_the_same_bits(tmp_path, method):
    killed_while_training(tmp_path / "killed", method)
    state = load_checkpoint(tmp_path / "killed")
    assert 0 < state["loader"]["position"] < 9
    assert state["epoch"] < EPOCHS
    resumed = make(tmp_path / "killed", method, 1)
    resumed.fit(EPOCHS, resume=True)
    whole = make(tmp_path / "whole", method, 1)
    whole.fit(EPOCHS)
    assert fingerprint(resumed) == fingerprint(whole)


def test_a_checkpoint_of_another_model_is_refused_and_nothing_changes(tmp_path):
    make(tmp_path / "c").fit(1)
    other = make(tmp_path / "c", hidden=9)
    before = fingerprint(other)
    with pytest.raises(
        CheckpointError, match=r"(?s)of another model.*0\.weight is \(8, 3\) float32 in the checkpoint and \(9, 3\)"
    ):
        other.fit(2, resume=True)
    assert fingerprint(other) == before


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    make(tmp_path / "c").fit(1)
    with pytest.raises(CheckpointError, match="metrics"):
        make(tmp_path / "c", metrics=[]).fit(2, resume=True)
    with pytest.raises(CheckpointError, match="another run"):
        make(tmp_path / "c", method="momentum").fit(2, resume=True)
    with pytest.raises(CheckpointError, match="generator of their own"):
        make(tmp_path / "c", own_generator=True).fit(2, resume=True)
    without = make(tmp_path / "c")
    without.schedule = None
    with pytest.raises(CheckpointError, match="schedule"):
        without.fit(2, resume=True)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    path = tmp_path / "c"
    make(path).fit(1)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        make(path).fit(2, resume=True)


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    from tinygrad_notes.training import save_checkpoint

    save_checkpoint(tmp_path / "c", {"words": ["of", "a", "poem"]})
    with pytest.raises(CheckpointError, match="no entry 'model'"):
        make(tmp_path / "c").fit(1, resume=True)
