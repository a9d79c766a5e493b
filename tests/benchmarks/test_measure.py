"""What ``bench ops`` compares before it times, on small cases. Needs PyTorch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import tinygrad_notes as tn
from benchmarks.cases.case import OpCase, Operand, Pass, StepCase
from benchmarks.measure import Settings, measure

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity

QUICK = Settings(rounds=3, seconds=1.0, settle=0.0, block=1e-4)
FORWARD, BACKWARD = Pass("forward", targets={"N": 0.5}), Pass("backward", ("x", "weight"))


def convolution(ours=lambda x, weight: tn.conv2d(x, weight, None, 1, 1), **more):
    return OpCase(
        "conv",
        "convolution",
        {"x": Operand((2, 3, 6, 6)), "weight": Operand((4, 3, 3, 3), changes=True)},
        ours,
        lambda torch, x, weight: torch.nn.functional.conv2d(x, weight, None, 1, 1),
        (FORWARD, BACKWARD),
        **more,
    )


@pytest.mark.parametrize("one", [FORWARD, BACKWARD], ids=lambda one: one.name)
@pytest.mark.parametrize("recorded", [False, True])
def test_right_results_are_timed_in_every_layout(one, recorded):
    found = measure(convolution(channels_last=True, recorded=recorded), one, torch, QUICK)
    assert [r.layout for r in found] == ["N", "C"]
    assert found[0].target == one.targets.get("N")
    for r in found:
        assert r.rounds == 3
        assert r.accurate
        assert 0 < r.error_theirs < 1e-6
        assert r.ours > 0
        assert r.lowest <= r.ratio <= r.highest


@pytest.mark.parametrize("one", [FORWARD, BACKWARD], ids=lambda one: one.name)
def test_wrong_results_are_not_timed(one):
    wrong = convolution(lambda x, weight: tn.conv2d(x, weight, None, 1, 1) * 1.001)
    with pytest.raises(AssertionError, match="ours differs from theirs by"):
        measure(wrong, one, torch, QUICK)


def test_a_result_of_another_dtype_is_wrong():
    wrong = convolution(lambda x, weight: tn.conv2d(x, weight, None, 1, 1).astype(tn.float64))
    with pytest.raises(AssertionError, match="ours is float64"):
        measure(wrong, FORWARD, torch, QUICK)


def test_less_accurate_than_twice_theirs_is_told():
    (found,) = measure(convolution(lambda x, weight: tn.conv2d(x, weight, None, 1, 1) * 1.00001), FORWARD, torch, QUICK)
    assert not found.accurate


def test_weights_change_between_calls():
    seen = []

    def ours(x, weight):
        seen.append(float(weight.data.ravel()[0]))
        return tn.conv2d(x, weight, None, 1, 1)

    measure(convolution(ours), FORWARD, torch, QUICK)
    assert len(set(seen)) == 2
    assert all(a != b for a, b in itertools.pairwise(seen[1:]))  # the first call is the one that is compared


def test_other_ways_of_ours_stand_beside_without_a_target():
    found = measure(
        convolution(beside={"other": lambda x, weight: tn.conv2d(x, weight, None, 1, 1)}), FORWARD, torch, QUICK
    )
    assert [(r.step, r.target) for r in found] == [("forward", 0.5), ("other", None)]


def test_steps_start_from_the_same_numbers():
    def build(torch, library):
        x = {"tn": np.ones(3, np.float32), "torch": torch.ones(3), "torch64": torch.ones(3, dtype=torch.float64)}
        value = x[library]
        factor = wrong if library == "tn" else 0.5

        def step():
            nonlocal value
            value = value * factor

        return step, lambda: [np.asarray(value)]

    wrong = 0.5
    case = StepCase("halving", "optimiser", build, (Pass("step"),))
    assert measure(case, case.passes[0], torch, QUICK)[0].error_ours == 0
    wrong = 0.6
    with pytest.raises(AssertionError, match="ours differs"):
        measure(case, case.passes[0], torch, QUICK)
