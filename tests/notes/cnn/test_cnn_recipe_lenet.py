"""LeNet: shapes, counts, the recipe, and its training on real digits."""

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.cnn import cnn_recipe_lenet as lenet
from tinygrad_notes.notes.note import Run, parameter_count
from tinygrad_notes.training.progress import Progress


def test_the_notes_own_line_prints_every_layer(capsys):
    net, X = lenet.LeNet(), tn.zeros((1, 1, 28, 28))
    for layer in net:
        X = layer(X)
        print(layer.__class__.__name__, "output shape:\t", X.shape)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Conv2d output shape:\t (1, 6, 28, 28)"
    assert lines[-1] == "Linear output shape:\t (1, 10)"
    assert len(lines) == 12


def test_the_recipe_is_the_same_class_with_other_layers():
    model = lenet.recipe()
    kinds = [type(layer).__name__ for layer in model]
    assert kinds[:4] == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"] == kinds[4:8]
    assert kinds[8:] == ["Flatten", "Linear", "ReLU", "Linear", "ReLU", "Linear"]
    assert parameter_count(model) == 61_706 + 2 * (6 + 16)


@pytest.mark.parametrize("make", [lenet.LeNet, lenet.recipe])
def test_one_seed_gives_one_network(make):
    tn.manual_seed(5)
    first = make().state_dict()
    tn.manual_seed(5)
    assert all(np.array_equal(first[name].data, value.data) for name, value in make().state_dict().items())


def test_the_canonical_network_is_written_out_in_numpy():
    """Convolution, sigmoid, mean pooling and affine layers by their formulas."""
    tn.manual_seed(0)
    model = lenet.LeNet().to(tn.float64)
    weights = {name: value.data for name, value in model.state_dict().items()}
    x = np.random.default_rng(0).standard_normal((2, 1, 28, 28))

    def convolve(x, w, b):
        windows = np.lib.stride_tricks.sliding_window_view(x, (5, 5), axis=(2, 3))
        return np.einsum("ncijuv,ocuv->noij", windows, w) + b[:, None, None]

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def pool(x):
        n, c, h, w = x.shape
        return x.reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))

    y = pool(sigmoid(convolve(np.pad(x, ((0, 0), (0, 0), (2, 2), (2, 2))), weights["0.weight"], weights["0.bias"])))
    y = pool(sigmoid(convolve(y, weights["3.weight"], weights["3.bias"]))).reshape(2, 400)
    for layer in ("7", "9"):
        y = sigmoid(y @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"])
    y = y @ weights["11.weight"].T + weights["11.bias"]
    assert np.abs(model(x).data - y).max() < 1e-12


def test_float32_gradients_are_those_of_float64():
    tn.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((4, 1, 28, 28)).astype(np.float32)
    single, double = lenet.LeNet(nn.ReLU), lenet.LeNet(nn.ReLU).to(tn.float64)
    double.load_state_dict(single.state_dict())
    for model in (single, double):
        tn.cross_entropy(model(tn.tensor(x, dtype=next(model.parameters()).dtype)), np.arange(4)).backward()
    for (name, a), (_, b) in zip(single.named_parameters(), double.named_parameters()):
        error = np.linalg.norm(a.grad.data - b.grad.data) / np.linalg.norm(b.grad.data)
        assert error < 1e-4, name


@pytest.fixture(scope="module")
def one_epoch(tmp_path_factory):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("lenet")
    return folder, lenet.demo(Run(folder=folder, epochs=1, progress=Progress(style="none")))


def test_a_short_demo_leaves_its_metrics_and_its_picture(one_epoch):
    folder, outcome = one_epoch
    assert outcome.pictures == [folder / "training.png"]
    assert outcome.pictures[0].read_bytes().startswith(b"\x89PNG")
    assert len(outcome.history) == 1
    assert outcome.metrics["test_accuracy"] > 0.5
    assert outcome.metrics["logistic_regression"] > 0.96
    assert outcome.metrics["majority_class"] < 0.12


def test_a_demo_that_is_resumed_gives_the_same_numbers(one_epoch):
    folder, outcome = one_epoch
    again = lenet.demo(Run(folder=folder, epochs=1, resume=True, progress=Progress(style="none")))
    assert again.metrics == outcome.metrics
    assert again.history == outcome.history
    assert "forward" not in again.times.seconds  # nothing was trained again
