"""detect_anomaly: the first NaN or inf, forward or backward, with op, shape and the forward line."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.engine.helpers import leaf
from tinygrad_notes import Array, GradientError

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def lines_of(error) -> list[str]:
    """The source lines that the message shows, innermost last."""
    text = str(error.value).split("\n")
    return [line.strip() for line in text if line.startswith("    ")]


@pytest.mark.parametrize(
    ("compute", "kind", "op", "shape"),
    [
        (lambda: tn.log(tn.tensor([1.0, 0.0])), "inf", "log", r"\(2,\)"),
        (lambda: tn.log(tn.tensor([[-1.0]])), "NaN", "log", r"\(1, 1\)"),
        (lambda: tn.tensor([0.0]) / tn.tensor([0.0]), "NaN", "divide", r"\(1,\)"),
        (lambda: tn.exp(tn.tensor(1000.0)), "inf", "exp", r"\(\)"),
        (lambda: tn.concat([tn.tensor([np.inf]), tn.ones(2)]), "inf", "concat", r"\(3,\)"),
        (lambda: tn.ones((0, 2)).mean(), "NaN", "mean", r"\(\)"),
    ],
)
@pytest.mark.parametrize("recording", [True, False])
def test_forward(compute, kind, op, shape, recording):
    message = rf"{kind} in the value of {op}, shape {shape}; forward call:"
    with (
        tn.detect_anomaly(),
        (tn.enable_grad if recording else tn.no_grad)(),
        pytest.raises(GradientError, match=message) as error,
    ):
        compute()
    assert lines_of(error)[-1].startswith("(lambda: ")


def test_forward_line_is_the_callers():
    with tn.detect_anomaly(), pytest.raises(GradientError) as error:
        tn.log(tn.tensor([0.0]))  # this very line
    assert lines_of(error)[-1] == "tn.log(tn.tensor([0.0]))  # this very line"
    assert "tinygrad_notes/" not in str(error.value).split("forward call")[1].replace("/tests/", "")


def test_nan_goes_before_inf():
    with tn.detect_anomaly(), pytest.raises(GradientError, match="NaN in the value of log"):
        tn.log(tn.tensor([0.0, -1.0]))


def test_the_first_one_is_named():
    x = leaf(0.0)
    with tn.detect_anomaly(), pytest.raises(GradientError, match="inf in the value of divide"):
        tn.exp(tn.sin(1.0 / x)) * 0.0


@pytest.mark.parametrize("create_graph", [False, True])
def test_backward_shows_the_forward_line(create_graph):
    x = leaf(0.0, 1.0)
    with tn.detect_anomaly():
        y = tn.sqrt(x)  # whose derivative at 0 is inf
        loss = (y * 2.0).sum()
        with pytest.raises(GradientError, match=r"gradient of sqrt") as error:
            loss.backward(create_graph=create_graph)
    assert lines_of(error)[-1] == "y = tn.sqrt(x)  # whose derivative at 0 is inf"
    assert x.grad is None


def test_nan_in_backward_of_the_branch_that_where_did_not_take():
    x = leaf(0.0)
    with tn.detect_anomaly():
        y = tn.where(x > 0, tn.sqrt(x), 0.0)
        with pytest.raises(GradientError, match=r"NaN in the gradient of sqrt"):
            y.sum().backward()


def test_backward_of_a_joint_derivative():
    x, w = leaf(1.0, 2.0), leaf(1.0, 1.0)
    with tn.detect_anomaly():
        y = tn.layer_norm(x.reshape(1, 2), (2,), w, leaf(0.0, 0.0))  # here
        with pytest.raises(GradientError, match="gradient of layer_norm") as error:
            y.backward(np.array([[np.inf, 1.0]]))
    assert lines_of(error)[-1].endswith("# here")


def test_backward_of_what_was_computed_before():
    """The value was not watched, so its line is not known, which is said."""
    x = leaf(0.0)
    y = tn.sqrt(x).sum()
    with tn.detect_anomaly(), pytest.raises(GradientError, match=r"inf in the gradient of sqrt.*not made under"):
        y.backward()


def test_leaf_gradients_and_seeds_may_be_what_they_are():
    """Only what ops compute is looked at: masks of -inf are data."""
    x = leaf(1.0, 2.0)
    mask = tn.tensor([0.0, -np.inf])
    with tn.detect_anomaly():
        assert tn.isinf(mask).tolist() == [False, True]
        assert (x > mask).tolist() == [True, True]
        (x * 2.0).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_finite_computation_is_not_changed():
    def run():
        x = leaf(0.5, 1.5)
        y = tn.checkpoint(lambda z: tn.gelu(z) * z, x)
        weights = [tn.ones(s, dtype=tn.float64) for s in ((4, 1), (4, 1), (4,), (4,))]
        output, _ = tn.lstm(y.reshape(2, 1, 1), None, [weights])
        g = tn.grad(output.sum(), x, create_graph=True)
        return tn.grad((g * g).sum(), x).tolist()

    plain = run()
    with tn.detect_anomaly():
        assert run() == plain


def test_inside_a_checkpoint():
    x = leaf(0.0)
    with tn.detect_anomaly():
        y = tn.checkpoint(lambda z: tn.sqrt(z), x)
        with pytest.raises(GradientError, match="inf in the gradient of sqrt"):
            y.sum().backward()


def test_users_op_shows_the_users_line(own_ops):
    @tn.op
    def explode(a: Array):
        return a * np.inf, lambda g: g

    x = leaf(1.0)
    with tn.detect_anomaly(), pytest.raises(GradientError, match="inf in the value of explode") as error:
        explode(x)  # here
    assert lines_of(error)[-1] == "explode(x)  # here"


def test_off_again_afterwards():
    x = leaf(0.0)
    with tn.detect_anomaly():
        pass
    y = tn.sqrt(x)
    y.sum().backward()
    assert np.isinf(x.grad.item())


def test_as_decorator():
    @tn.detect_anomaly()
    def watched(x):
        return tn.log(x)

    with pytest.raises(GradientError, match="inf in the value of log"):
        watched(tn.tensor([0.0]))
