"""The notes on training: their demos run, and what they are made of does what it says."""

from functools import partial

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.notes.short_demos import short_demo
from tinygrad_notes import nn
from tinygrad_notes.data import digits
from tinygrad_notes.notes.basics import (
    automl_autogluon,
    batch_norm,
    catastrophic_forgetting,
    ensembling_tta,
    feature_based_transfer,
    fine_tuning,
    gradient_clipping,
    imbalance_anomaly,
    large_batch_optimisers,
    stop_gradient,
)
from tinygrad_notes.notes.basics._digit_tasks import NEW, OLD, accuracy_on_test, of_classes, with_few_labels
from tinygrad_notes.notes.networks import DigitEncoder, DigitNetwork
from tinygrad_notes.notes.note import Run

SHORT = [
    "softmax-regression", "mlp", "basic-losses", "layer-norm", "stop-gradient", "reverse-mode-autodiff",
    "sgd-optimisers", "dropout", "linear-protocol", "imbalance-anomaly", "automl-autogluon",
]  # fmt: skip


@pytest.fixture(scope="module")
def data():
    pytest.importorskip("sklearn")
    return digits(size=8)


@pytest.mark.parametrize("slug", SHORT)
def test_a_short_demo_runs_to_its_end(slug, tmp_path):
    short_demo(slug, tmp_path)


def test_a_short_demo_of_feature_based_transfer(monkeypatch, tmp_path):
    few = partial(feature_based_transfer.tag_data, train=32, held_out=12)
    monkeypatch.setattr(feature_based_transfer, "tag_data", few)
    monkeypatch.setattr(feature_based_transfer, "TAGGED", 10)
    outcome = short_demo("feature-based-transfer", tmp_path)
    assert outcome.metrics["frozen_changed"] == 0


def test_the_digit_network_takes_images_of_any_size():
    network = DigitNetwork(classes=3, width=4)
    for size in (4, 8, 14):
        assert network(np.zeros((2, 1, size, size), np.float32)).shape == (2, 3)
        assert network.features(np.zeros((2, 1, size, size), np.float32)).shape == (2, 16)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in DigitEncoder(batch_norm=False))


def test_classes_are_split_without_remainder_and_named_from_zero(data):
    old, new = of_classes(data, OLD), of_classes(data, NEW)
    for part in ("train", "validation", "test"):
        assert len(getattr(old, part)) + len(getattr(new, part)) == len(getattr(data, part))
    images, labels = (field.numpy() for field in data.test.tensors)
    assert np.array_equal(new.test.tensors[0].numpy(), images[labels >= 5])
    assert np.array_equal(new.test.tensors[1].numpy(), labels[labels >= 5] - 5)


def test_few_labels_leave_validation_and_test_whole(data):
    few = with_few_labels(data, 30, seed=3)
    assert np.bincount(few.train.tensors[1].numpy()).tolist() == [3] * 10
    assert few.test is data.test
    assert few.validation is data.validation


def test_accuracy_is_of_the_test_part(data):
    class Always(nn.Module):
        def forward(self, x):
            return tn.one_hot(np.full(len(x), 7), 10).astype(tn.float32)

    assert accuracy_on_test(Always(), data) == np.mean(data.test.tensors[1].numpy() == 7)


def test_a_loss_that_is_no_number_ends_the_run_and_counts_as_hopeless(tmp_path, monkeypatch):
    assert gradient_clipping.ended([3.0, 2.0, 1.0]) == 2.0
    assert gradient_clipping.ended([3.0, float("nan")]) == gradient_clipping.HOPELESS
    monkeypatch.setattr(gradient_clipping, "HIDDEN", 8)
    monkeypatch.setattr(gradient_clipping, "BATCH", 2)
    losses, norms = gradient_clipping.train(Run(folder=tmp_path), 1.0, steps=3)
    assert len(losses) == len(norms) == 3


def test_accuracies_are_smoothed_and_their_first_good_step_is_found():
    assert batch_norm.smooth([0.0, 1.0, 1.0]) == [0.0, 0.5, 2 / 3]
    assert batch_norm.steps_to([0.5, 0.95, 0.2], most=9) == 2
    assert batch_norm.steps_to([0.5, 0.94], most=9) == 10


def test_one_eight_in_twenty_is_left_to_learn_from(data):
    rare = imbalance_anomaly.rare_eights(seed=0)
    eights = (data.train.tensors[1].numpy() == 8).sum()
    assert rare.train.tensors[1].numpy().sum() == round(eights / 20)
    assert len(data.train) - len(rare.train) == eights - round(eights / 20)
    assert np.array_equal(rare.test.tensors[1].numpy(), data.test.tensors[1].numpy() == 8)


def test_rehearsal_makes_a_quarter_of_the_images_old(data):
    old, new = (catastrophic_forgetting.one_head(data, classes) for classes in (OLD, NEW))
    both = catastrophic_forgetting.with_rehearsal(new, old, seed=0).train.tensors[1].numpy()
    assert np.mean(both < 5) == pytest.approx(0.25, abs=0.01)
    assert np.array_equal(both[: len(new.train)], new.train.tensors[1].numpy())


def test_an_image_moved_down_has_its_rows_further_down():
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    assert np.array_equal(ensembling_tta.moved(x, 1, 0, -1.0)[0, 0, 1:], x[0, 0, :-1])
    assert np.array_equal(ensembling_tta.moved(x, 0, -1, -1.0)[0, 0, :, :-1], x[0, 0, :, 1:])


def test_settings_are_drawn_within_their_ranges():
    random = np.random.default_rng(0)
    drawn = [automl_autogluon.draw_setting(random) for _ in range(300)]
    for name, low, high in (
        ("width", 4, 256),
        ("learning_rate", 1e-4, 0.1),
        ("weight_decay", 1e-4, 1),
        ("epochs", 5, 60),
    ):
        values = [getattr(setting, name) for setting in drawn]
        assert low <= min(values) < 1.5 * low + 2
        assert high / 1.5 < max(values) <= high


def test_turned_digits_keep_their_labels(data):
    turned = fine_tuning.turned(data)
    for part in ("train", "validation", "test"):
        (x, y), (was, labels) = getattr(turned, part).tensors, getattr(data, part).tensors
        assert np.array_equal(y.numpy(), labels.numpy())
        assert x.shape == was.shape
        ink, before = (np.abs(images.numpy() - data.background).mean() for images in (x, was))
        assert 0.8 < ink / before < 1.02  # corners leave the picture
        assert np.abs(x.numpy() - was.numpy()).mean() > 0.1


def test_lars_scales_the_steps_of_weights_alone():
    weights, others = large_batch_optimisers.by_layer(DigitNetwork(width=2))
    assert {parameter.ndim for parameter in weights["params"]} == {2, 4}
    assert {parameter.ndim for parameter in others["params"]} == {1}
    assert others["adaptive"] is False


def test_a_tower_that_says_one_thing_has_no_spread():
    tower = nn.Linear(4, 3)
    x = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    assert stop_gradient.spread(tower, x) > 0.1
    tower.weight.data[...] = 0
    assert stop_gradient.spread(tower, x) < 1e-6
