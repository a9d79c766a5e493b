"""The training that notes on classifiers share."""

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn, optim
from tinygrad_notes.data import digits
from tinygrad_notes.notes.classification import Recipe, _schedule, outputs_on_test, train_classifier
from tinygrad_notes.notes.note import Run
from tinygrad_notes.training.progress import Progress


@pytest.fixture
def run(tmp_path):
    pytest.importorskip("sklearn")
    tn.manual_seed(0)
    return Run(folder=tmp_path, progress=Progress(style="none"))


def affine():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def test_a_classifier_learns_and_leaves_the_test_part_alone(run):
    data = digits(size=8)
    before = [field.numpy().copy() for field in data.test.tensors]
    model = affine()
    trainer = train_classifier(run, model, data, Recipe(epochs=5, learning_rate=1e-2))
    assert len(trainer.history) == 5
    assert trainer.history[-1]["validation_accuracy"] > 0.8
    outputs, labels = outputs_on_test(model, data)
    assert outputs.shape == (450, 10)
    assert (outputs.argmax(axis=1) == labels).mean() > 0.8
    assert all(np.array_equal(x, field.numpy()) for x, field in zip(before, data.test.tensors))
    assert (run.folder / "checkpoint.safetensors").exists()


def test_parameters_that_are_left_out_stay_as_they_are(run):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    frozen = model[1].weight.data.copy()
    head = model[3].weight.data.copy()
    train_classifier(run, model, digits(size=8), Recipe(epochs=1), parameters=list(model[3].parameters()), name="head")
    assert np.array_equal(model[1].weight.data, frozen)
    assert not np.array_equal(model[3].weight.data, head)
    assert (run.folder / "head.safetensors").exists()


def test_shifted_images_differ_from_epoch_to_epoch(run):
    seen = []

    class Watching(nn.Sequential):
        def forward(self, x):
            if self.training:
                seen.append(x.numpy().copy())
            return super().forward(x)

    model = Watching(nn.Flatten(), nn.Linear(64, 10))
    train_classifier(run, model, digits(size=8), Recipe(epochs=1, batch=1144, shift=1))
    plain = digits(size=8).train.tensors[0].numpy()
    sums = {round(float(image.sum()), 3) for image in plain}
    assert len(seen) == 1
    assert sum(round(float(image.sum()), 3) not in sums for image in seen[0]) > 100  # ink was moved out of the picture


def test_the_learning_rate_rises_then_falls_as_half_a_cosine():
    optimizer = optim.SGD(affine().parameters(), lr=1.0)
    schedule = _schedule(optimizer, Recipe(warm_up=0.2), steps=10)
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    cosine = [(1 + np.cos(np.pi * i / 8)) / 2 for i in range(8)]
    assert np.allclose(rates, [1 / 3, 2 / 3, *cosine])
