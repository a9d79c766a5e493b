"""The CUDA kernels of connectionist temporal classification against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.cuda_on_cpu import stand_in
from tests.cuda_on_cpu.stand_in import assert_caught
from tests.kernels import test_ctc
from tests.kernels.test_cpu_ctc import sample
from tinygrad_notes.kernels import cuda, reference
from tinygrad_notes.kernels.cuda import ctc

RNG = np.random.default_rng(0)


def everything(kernels: Any, g: Any, log_probs: Any, static: Any) -> tuple[Any, Any, Any]:
    losses, log_alpha = kernels.ctc_loss(log_probs, *static)
    return losses, log_alpha, kernels.ctc_loss_grad(g, log_probs, *static, log_alpha)


def check(log_probs: Any, static: Any) -> None:
    tolerance = 2e-6 if log_probs.dtype == np.float32 else 1e-12
    g = RNG.standard_normal(log_probs.shape[1]).astype(log_probs.dtype)
    found = []
    for order in stand_in.ORDERS:
        stand_in.settings["order"] = order
        found.append(everything(cuda, g, log_probs, static))
    for results in zip(*found):
        for other in results[1:]:
            np.testing.assert_array_equal(results[0], other)
    losses, log_alpha, gradient = found[0]
    wanted = everything(reference, g, log_probs, static)
    assert {array.dtype for array in found[0]} == {log_probs.dtype}
    np.testing.assert_allclose(losses, wanted[0], rtol=tolerance, atol=tolerance)
    inside = np.arange(len(log_probs))[:, None] < static[1]
    np.testing.assert_allclose(log_alpha[inside], wanted[1][inside], rtol=tolerance, atol=tolerance)
    assert (log_alpha[~inside] == -np.inf).all()
    np.testing.assert_allclose(gradient, wanted[2], rtol=10 * tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("frames", "batch", "classes", "longest"),
    [(1, 1, 2, 0), (9, 3, 3, 1), (12, 4, 5, 6), (7, 2, 28, 20), (30, 2, 3, 6)],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_against_the_reference(frames, batch, classes, longest, dtype):
    log_probs, static = sample(frames, batch, classes, longest, dtype)
    check(log_probs, static)
    assert "ctc_backward" in stand_in.launches[-1]
    check(400 * log_probs[::-1, :, ::-1], static)  # what is unlikely by far is still the only way
    log_probs[RNG.random(log_probs.shape) < 0.2] = -np.inf
    check(log_probs, static)


def test_more_states_than_threads(monkeypatch):
    monkeypatch.setattr(ctc, "MOST_THREADS", 32)
    log_probs, (targets, frames, lengths, blank) = sample(60, 2, 6, 40)
    check(log_probs, (targets, np.maximum(frames, 50), lengths, blank))


def test_targets_that_shared_memory_does_not_hold(monkeypatch):
    monkeypatch.setattr(ctc, "SHARED", 100)
    check_count = len(stand_in.launches)
    log_probs, static = sample(9, 2, 4, 5)
    for mine, wanted in zip(*(everything(kernels, np.ones(2), log_probs, static) for kernels in (cuda, reference))):
        np.testing.assert_array_equal(mine, wanted)
    assert len(stand_in.launches) == check_count


def test_another_blank_and_other_integers():
    log_probs, (targets, frames, lengths, _) = sample(12, 4, 6, 4)
    targets = np.where(targets > 0, targets - 1, 0)
    check(log_probs, (targets.astype(np.int32), frames.astype(np.uint8), lengths.astype(np.int16), 5))


def test_nan_fills_its_frames_and_no_others():
    log_probs, static = sample(9, 3, 5, 4)
    log_probs[:, 0] = np.nan
    static[1][0] = 6
    losses, _, gradient = everything(cuda, np.ones(3), log_probs, static)
    assert np.isnan(losses).tolist() == [True, False, False]
    assert np.isfinite(gradient[:, 1:]).all()
    assert np.isnan(gradient[:6, 0]).all()
    assert not gradient[6:, 0].any()


def test_labels_and_lengths_that_do_not_exist_reach_nothing():
    log_probs, (targets, frames, lengths, blank) = sample(9, 4, 5, 4)
    frames[:], lengths[:] = 9, 4
    targets[:] = [1, 2, 3, 4]
    wanted = everything(reference, np.ones(4), log_probs, (targets, frames, lengths, blank))
    targets[1, 3], targets[2, 0], frames[3], lengths[3] = 5, -(2**40), 10**12, 7
    losses, _, gradient = everything(cuda, np.ones(4), log_probs, (targets, frames, lengths, blank))
    assert np.isnan(losses[1:3]).all()
    assert np.isnan(gradient[:, 1:3]).all()
    np.testing.assert_allclose(losses[[0, 3]], wanted[0][[0, 3]], rtol=1e-6)
    np.testing.assert_allclose(gradient[:, [0, 3]], wanted[2][:, [0, 3]], rtol=1e-5, atol=1e-7)


@pytest.fixture
def chosen(monkeypatch):
    monkeypatch.setattr(test_ctc, "ctc_loss", cuda.ctc_loss)
    monkeypatch.setattr(test_ctc, "ctc_loss_grad", cuda.ctc_loss_grad)


@pytest.mark.usefixtures("chosen")
class TestAsTheReference:
    """The reference's own tests, on these kernels."""


for _name, _test in vars(test_ctc).items():
    if _name.startswith("test_") and "float32_over_many" not in _name and "any_integer" not in _name:  # too long here
        setattr(TestAsTheReference, _name, staticmethod(_test))


FAULTS = [  # (step, file, text, its replacement)
    ("forward", "ctc.cu", "    __syncthreads();\n    const T* emissions", "    const T* emissions"),
    ("forward", "ctc.cu", "block_max(own);  // whose barriers", "after[0];  //"),
    ("forward", "prims.cuh", "    __syncthreads();  // what an earlier call left there has been read\n", ""),
    ("forward", "ctc.cu", "alpha + (t + 1) % 2 * states", "alpha + t % 2 * states"),
    ("forward", "ctc.cu", "&& label[state] != label[state - 2]", "&& label[state] != label[state - 1]"),
    ("forward", "ctc.cu", "t + 1 < length) next", "t + 2 < length) next"),
    ("backward", "ctc.cu", "block_sums(total, of_blank);", "warp_sums(total, of_blank);"),
    ("backward", "ctc.cu", "other != 0; other = again[other]", "other != 0; other = 0"),
    ("backward", "ctc.cu", "skips(label, state + 2, blank)", "skips(label, state, blank)"),
]  # fmt: skip


@pytest.mark.parametrize(("step", "file", "replace", "by"), FAULTS)
def test_a_planted_fault_is_caught(step, file, replace, by):
    log_probs, (targets, _, lengths, blank) = sample(60, 3, 3, 25)
    static = (targets, np.array([60, 58, 60]), np.maximum(lengths, [25, 20, 1]), blank)
    targets[targets < 0] = 1
    g = np.ones(3)
    wanted = everything(reference, g, log_probs, static)
    slopes = (g, log_probs, *static, wanted[1])

    def right() -> bool:
        if step == "forward":
            losses, log_alpha = cuda.ctc_loss(log_probs, *static)
            return np.allclose(losses, wanted[0]) and np.allclose(log_alpha[:58], wanted[1][:58])
        return np.allclose(cuda.ctc_loss_grad(*slopes), wanted[2])

    assert_caught(right, file, replace, by)
