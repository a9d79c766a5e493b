"""Recurrent scans of the CPU's kernels against the reference: kinds of cells, shapes, lengths, directions, threads."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import tinygrad_notes as tn
from tinygrad_notes.kernels import cpu, reference
from tinygrad_notes.kernels.cpu import recurrent

GATES = {"tanh": 1, "relu": 1, "lstm": 4, "gru": 3, "gru_reset_before": 3}
TOLERANCE = {np.float32: 3e-5, np.float64: 1e-12}


@pytest.fixture
def every_size(monkeypatch):
    """Any work is worth a thread."""
    monkeypatch.setattr(recurrent, "PER_THREAD", 1)


def operands(kind, steps, batch, inputs, hidden, bias, dtype, layout="rows"):
    """x, initial states, weights and biases, then the gradients of outputs and last states."""
    rng = np.random.default_rng(steps + 10 * batch + hidden)

    def normal(*shape):
        if layout == "columns":
            return np.swapaxes(rng.standard_normal((*shape[:-2], shape[-1], shape[-2])).astype(dtype), -1, -2)
        if layout == "reversed":
            return rng.standard_normal(shape).astype(dtype)[..., ::-1]
        return rng.standard_normal(shape).astype(dtype)

    states = 2 if kind == "lstm" else 1
    gates = GATES[kind] * hidden
    forward = [normal(steps, batch, inputs), *(normal(batch, hidden) for _ in range(states))]
    forward += [normal(gates, inputs) * dtype(0.5), normal(gates, hidden) * dtype(0.3)]
    forward += [rng.standard_normal(gates).astype(dtype) for _ in range(2)] if bias else [None, None]
    return forward, [normal(steps, batch, hidden), *(normal(batch, hidden) for _ in range(states))]


def run(backend, kind, forward, upper, lengths, reverse):
    """All results of the scan and of its gradient."""
    if kind == "lstm":
        results = backend.lstm_scan(*forward, lengths, reverse)
        kept = (results[0], results[3], results[4])
        return results, backend.lstm_scan_grad(*upper, *forward[:-2], *kept, lengths, reverse)
    if kind.startswith("gru"):
        results = backend.gru_scan(*forward, kind == "gru", lengths, reverse)
        kept = (results[0], results[2], kind == "gru")
        return results, backend.gru_scan_grad(*upper, *forward[:-2], *kept, lengths, reverse)
    results = backend.rnn_scan(*forward, kind, lengths, reverse)
    return results, backend.rnn_scan_grad(*upper, *forward[:-2], results[0], kind, lengths, reverse)


def assert_equal(got, wanted, tolerance):
    for mine, theirs in zip([*got[0], *got[1]], [*wanted[0], *wanted[1]], strict=True):
        assert mine.dtype == theirs.dtype
        assert mine.shape == theirs.shape
        scale = max(1.0, np.max(np.abs(theirs), initial=0.0))
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=tolerance * scale)


@hypothesis.given(
    st.sampled_from(list(GATES)), st.integers(0, 4), st.integers(0, 7), st.integers(0, 9), st.integers(0, 19),
    st.booleans(), st.booleans(), st.sampled_from(["rows", "columns", "reversed"]), st.data(),
)  # fmt: skip
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], max_examples=60)
def test_against_the_reference(every_size, kind, steps, batch, inputs, hidden, bias, reverse, layout, data):
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    forward, upper = operands(kind, steps, batch, inputs, hidden, bias, dtype, layout)
    lengths = data.draw(st.none() | st.lists(st.integers(0, steps), min_size=batch, max_size=batch))
    lengths = None if lengths is None else np.array(lengths, data.draw(st.sampled_from([np.int32, np.int64])))
    got = run(cpu, kind, forward, upper, lengths, reverse)
    assert_equal(got, run(reference, kind, forward, upper, lengths, reverse), TOLERANCE[dtype])


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_more_than_one_block(kind, dtype):
    """More sequences than a block of rows has, more units than a block is deep; threads change no bit."""
    forward, upper = operands(kind, 3, 250, 20, 270, True, dtype)
    forward = [x * dtype(0.1) for x in forward]
    before = tn.get_num_threads()
    try:
        tn.set_num_threads(1)
        alone = run(cpu, kind, forward, upper, None, False)
        tn.set_num_threads(min(2, before))
        several = run(cpu, kind, forward, upper, None, False)
    finally:
        tn.set_num_threads(before)
    assert_equal(several, run(reference, kind, forward, upper, None, False), TOLERANCE[dtype])
    for mine, again in zip([*alone[0], *alone[1]], [*several[0], *several[1]], strict=True):
        np.testing.assert_array_equal(mine, again)


@pytest.mark.parametrize("kind", GATES)
def test_padding_is_not_used_and_other_values_are_as_in_the_reference(kind):
    forward, upper = operands(kind, 3, 4, 5, 6, True, np.float32)
    lengths = np.array([3, 0, 1, 2])
    forward[0][1:, 2] = np.nan
    upper[0][1:, 2] = np.inf
    got = run(cpu, kind, forward, upper, lengths, True)
    assert_equal(got, run(reference, kind, forward, upper, lengths, True), 1e-5)
    assert all(np.isfinite(x).all() for x in [*got[0], *got[1]])
    forward[0][0, 0, 0], forward[0][0, 3, 1] = np.nan, np.inf
    with np.errstate(all="ignore"):
        for mine, theirs in zip(
            run(cpu, kind, forward, upper, lengths, False)[0],
            run(reference, kind, forward, upper, lengths, False)[0],
            strict=True,
        ):
            np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_operands_are_not_changed():
    for kind in GATES:
        forward, upper = operands(kind, 3, 2, 3, 4, True, np.float32)
        copies = [x.copy() for x in [*forward, *upper]]
        results, gradients = run(cpu, kind, forward, upper, None, False)
        for x, copy in zip([*forward, *upper], copies, strict=True):
            np.testing.assert_array_equal(x, copy)
        for result in [*results, *gradients]:
            assert not any(np.shares_memory(result, x) for x in [*forward, *upper])
