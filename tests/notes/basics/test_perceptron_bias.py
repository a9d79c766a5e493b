"""The perceptron: its rule, and its theorem."""

import numpy as np

from tinygrad_notes.notes.basics import perceptron_bias
from tinygrad_notes.notes.note import Run


def test_a_mistake_moves_weights_and_bias_and_a_right_answer_nothing():
    unit = perceptron_bias.Perceptron(2)
    assert unit.learn(np.array([[1.0, 2.0]]), np.array([-1]), epochs=1) == [1]
    assert (unit.w.tolist(), unit.b) == ([-1.0, -2.0], -1.0)
    assert unit.learn(np.array([[1.0, 2.0]]), np.array([-1]), epochs=5) == [0]


def test_no_plane_through_the_origin_separates_numbers_of_one_sign():
    x, t = np.array([[1.0], [2.0]]), np.array([1, -1])
    assert perceptron_bias.Perceptron(1, bias=False).learn(x, t, epochs=20)[-1] > 0
    assert perceptron_bias.Perceptron(1).learn(x, t, epochs=20)[-1] == 0


def test_the_demo_stops_when_it_makes_no_mistake(tmp_path):
    outcome = perceptron_bias.demo(Run(seed=1, folder=tmp_path))
    assert outcome.metrics["errors"] == 0
    assert outcome.metrics["threshold_missed_by"] < 1e-3
    assert outcome.pictures[0].exists()
