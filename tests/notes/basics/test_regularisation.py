"""Ridge regression and the LASSO against their closed forms and scikit-learn."""

import numpy as np
import pytest

from tinygrad_notes.notes.basics import l1_regularisation, l2_regularisation
from tinygrad_notes.notes.basics._regression import diabetes_problem
from tinygrad_notes.notes.note import Run


@pytest.fixture(scope="module")
def data():
    pytest.importorskip("sklearn")
    return diabetes_problem()


def test_ridge_regression_is_that_of_scikit_learn(data):
    from sklearn.linear_model import Ridge

    theirs = Ridge(alpha=0.1).fit(data.x, data.y).coef_
    assert np.abs(l2_regularisation.closed_form(data.x, data.y, 0.1) - theirs).max() < 1e-8
    assert np.abs(l2_regularisation.by_gradient(data.x, data.y, 0.1, steps=300) - theirs).max() < 1e-5


def test_stronger_penalties_make_shorter_weights(data):
    lengths = [np.linalg.norm(l2_regularisation.closed_form(data.x, data.y, s)) for s in (0.01, 0.1, 1.0)]
    assert lengths == sorted(lengths, reverse=True)


def test_proximal_steps_come_to_exact_zeros_and_subgradients_do_not(data):
    proximal, subgradient = (l1_regularisation.descend(data.x, data.y, 1.0, way, steps=60) for way in (True, False))
    assert np.count_nonzero(proximal) < 10
    assert np.count_nonzero(subgradient) == 10


@pytest.mark.parametrize("note", [l1_regularisation, l2_regularisation])
def test_a_short_demo_leaves_metrics_and_a_picture(note, data, tmp_path):
    pytest.importorskip("matplotlib")
    outcome = note.demo(Run(folder=tmp_path, epochs=3))
    assert outcome.metrics["missed_by"] > 1e-3  # three steps are not enough
    assert outcome.pictures[0].read_bytes().startswith(b"\x89PNG")
