"""Linear probes of frozen networks."""

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.data import TensorDataset
from tinygrad_notes.errors import ShapeError
from tinygrad_notes.training.probes import few_labels, fingerprint, frozen_features, linear_probe, probe


def blobs(n, seed, classes=4):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % classes)
    return (2.5 * np.eye(classes, 6)[labels] + rng.standard_normal((n, 6))).astype(np.float32), labels


@pytest.mark.parametrize("number", [4, 20])
def test_few_labels_are_of_all_classes_and_differ_by_seed(number):
    _, labels = blobs(80, 0)
    chosen = few_labels(labels, number, seed=1)
    assert np.bincount(labels[chosen]).tolist() == [number // 4] * 4
    assert len(set(chosen)) == number
    assert np.array_equal(chosen, few_labels(labels, number, seed=1))
    assert not np.array_equal(chosen, few_labels(labels, number, seed=2))


@pytest.mark.parametrize("number", [6, 84])
def test_labels_that_cannot_be_drawn_are_refused(number):
    with pytest.raises(ShapeError, match="expected a multiple of 4"):
        few_labels(blobs(80, 0)[1], number)


def test_the_probe_is_the_logistic_regression_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    (x, y), (x_test, y_test) = blobs(200, 0), blobs(400, 1)
    x, x_test = 5 * x + 3, 5 * x_test + 3
    standard, standard_test = ((part - x.mean(0)) / x.std(0) for part in (x, x_test))
    theirs = linear_model.LogisticRegression(C=1 / (1e-2 * len(x)), max_iter=10_000).fit(standard, y)
    assert linear_probe(x, y, x_test, y_test) == pytest.approx(theirs.score(standard_test, y_test), abs=2 / 400)


def test_a_feature_that_says_nothing_does_no_harm():
    (x, y), (x_test, y_test) = blobs(200, 0), blobs(400, 1)
    more, more_test = (np.append(part, np.full((len(part), 1), 0.1, np.float32), axis=1) for part in (x, x_test))
    assert linear_probe(more, y, more_test, y_test) == linear_probe(x, y, x_test, y_test) > 0.8


def test_probing_freezes_and_changes_nothing():
    tn.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Dropout(0.5))
    train, test = (TensorDataset(*blobs(600, seed)) for seed in (0, 1))
    before = fingerprint(encoder)
    features, labels = frozen_features(encoder, train)
    assert features.shape == (600, 5)
    assert np.array_equal(labels, train.tensors[1].numpy())
    accuracy = probe(encoder, train, test, labels=40)
    assert accuracy == probe(encoder, train, test, labels=40)  # no dropout, no statistics of the batch
    assert 0.4 < accuracy <= probe(encoder, train, test)
    assert fingerprint(encoder) == before
    assert encoder.training
    encoder(train.tensors[0])
    assert fingerprint(encoder) != before  # batch normalisation learns by looking
