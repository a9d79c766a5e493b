"""Attention and recurrent scans by AMX, on emulated tiles where there are none, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

COMMON = """
import numpy as np
import tinygrad_notes as tn
from tinygrad_notes.kernels import cpu, reference
from tinygrad_notes.kernels.cpu.isa.machine import MACHINE
assert MACHINE.isa == "amx"
rng = np.random.default_rng(0)

def normal(*shape):
    return rng.standard_normal(shape).astype(np.float32)

def wide(values):
    return [x.astype(np.float64) if isinstance(x, np.ndarray) and x.dtype == np.float32 else x for x in values]

def error(got, wanted):
    return np.abs(got - wanted).max() / np.abs(wanted).max()

def assert_precise(got, plain, exact):
    for x, y, z in zip(got, plain, exact):
        bound = max(2 * np.abs(y - z).max(), 5e-7 * max(0.1, np.abs(z).max()))  # gradients may cancel to 0
        assert x.dtype == np.float32 and np.abs(x - z).max() <= bound, (np.abs(x - z).max(), bound)

def assert_same(got, wanted):
    for x, y in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(x, y)
"""

ATTENTION = (
    COMMON
    + """
import importlib
from tinygrad_notes.kernels.cpu import split_operands
from tinygrad_notes.kernels.cpu.buffers import address, aligned
from tinygrad_notes.kernels.cpu.splitting import in_range, split_panels
modules = [importlib.import_module(f"tinygrad_notes.kernels.cpu.{name}") for name in ("attention", "attention_grad")]

def use_threads(count):
    for module in modules:
        module.threads_for = lambda work, least: count

def sample(batch, heads, key_heads, queries, keys, inner, value_inner):
    return (
        normal(batch, heads, queries, inner), normal(batch, key_heads, keys, inner),
        normal(batch, key_heads, keys, value_inner), normal(batch, heads, queries, value_inner),
    )

def run(backend, operands, mask=None, causal=False, scale=0.2, dropout=0.0):
    q, k, v, g = operands
    rest = mask, causal, scale, dropout, 5
    out, logsumexp = backend.attention(q, k, v, *rest)
    return out, logsumexp, *backend.attention_grad(g, q, k, v, out, logsumexp, *rest, False)[:3]

def check(operands, *rest):
    use_threads(1)
    alone = run(cpu, operands, *rest)
    use_threads(2)
    assert_same(run(cpu, operands, *rest), alone)
    assert_precise(alone, run(reference, operands, *rest), run(reference, wide(operands), *wide(rest)))

# any shape, more than one block, groups of heads, masks, dropout
for shape in ((1, 1, 1, 1, 1, 1, 1), (2, 4, 2, 7, 33, 5, 6), (1, 2, 1, 40, 31, 200, 20), (1, 2, 1, 225, 250, 32, 40)):
    mask = rng.random(shape[3:5]) < 0.8
    mask[:, 0] = True
    for causal in (False, True):
        check(sample(*shape), None, causal)
        check(sample(*shape), mask, causal, 0.3, 0.2)
check(sample(1, 1, 1, 40, 50, 8, 8), np.where(rng.random((40, 50)) < 0.3, -np.inf, normal(40, 50)), False)
for turn in (lambda x: np.ascontiguousarray(x.swapaxes(2, 3)).swapaxes(2, 3), lambda x: x[:, :, ::-1, ::-1]):
    check([turn(x) for x in sample(1, 1, 1, 40, 50, 33, 20)], None, True)
check([x if i < 3 else np.broadcast_to(np.float32(2), x.shape) for i, x in enumerate(sample(1, 1, 1, 40, 50, 33, 20))])

# nothing of a probability is flushed: with the identity as values the results are the probabilities, down to denormals
count = 100
q, k, v = np.ones((1, 1, 40, 1), np.float32), -normal(1, 1, count, 1), np.eye(count, dtype=np.float32)[None, None]
k[0, 0, :, 0] = -np.linspace(0, 103, count)
out = cpu.attention(q, k, v, None, False, 1.0, 0.0, 0)[0]
exact = reference.attention(*wide((q, k, v)), None, False, 1.0, 0.0, 0)[0]
assert (np.abs(out - exact) <= 1e-5 * exact + 3e-45).all() and (out[..., -2] > 0).all()

# and such rows go by AMX: they are lifted into its range, while a row as it stands would not be
rows = np.exp(-np.linspace(0, 100, 32 * 96)).astype(np.float32).reshape(96, 32).T  # in each the whole range
columns = normal(96, 32)
columns[np.abs(columns) < 1e-4] = 0
room, work, left = (aligned(1 << 20) for _ in range(3))
like = np.float32(0)
split_panels(3, address(columns), 4, 128, 32, 96, False, address(room) + 64, address(room), address(work), like)
split_panels(3, address(rows), *rows.strides, 32, 96, True, address(left) + 64, address(left), address(work), like)
assert not in_range(address(left), address(room))
for laid in (rows, np.ascontiguousarray(rows), np.repeat(rows, 2, 1)[:, ::2]):
    split_operands.split_left_panel(3, address(laid), *laid.strides, 32, 96, address(left), address(work), like)
    assert in_range(address(left), address(room))
check([x * np.float32(12) for x in sample(1, 1, 1, 70, 100, 20, 20)], None, False, 0.05)  # sharp rows

# what the parts cannot hold: non-finite values, denormals, the greatest, in each operand
def agrees(operands, count, *rest):
    with np.errstate(all="ignore"):
        exact, got = run(reference, wide(operands), *rest), run(cpu, operands, *rest)
        plain = run(reference, operands, *rest)
    for x, y, z in zip(got[:count], plain, exact):
        finite = np.isfinite(z) & np.isfinite(y)
        np.testing.assert_array_equal(np.isnan(x), np.isnan(y))
        bound = np.max(np.abs(z[finite]), initial=0) * 1e-5
        np.testing.assert_allclose(x[finite], z[finite], rtol=1e-4, atol=bound)

for value in (np.nan, np.inf, 1e-40, 1e-36, 1e30):
    for operand in range(4):
        for causal in (False, True):
            operands = sample(1, 1, 1, 36, 40, 8, 8)
            operands[operand][0, 0, 20, 3] = value
            use_threads(1)
            # a score of 1e30 makes the gradients of scores what rounding left of 0, and that times 1e30
            agrees(operands, 2 if operand < 2 and value == 1e30 else 5, None, causal)
small = [x * np.float32(1e-38) if i in (2, 3) else x for i, x in enumerate(sample(1, 1, 1, 36, 40, 8, 8))]
out = cpu.attention(*small[:3], None, False, 0.2, 0.0, 0)[0]
exact = reference.attention(*wide(small[:3]), None, False, 0.2, 0.0, 0)[0]
assert np.abs(out - exact).max() <= 1e-43 and np.abs(out).max() > 0  # all denormal
for nothing in (np.zeros((36, 40), bool), np.full((36, 40), -np.inf, np.float32)):
    assert not any(x.any() for i, x in enumerate(run(cpu, sample(1, 1, 1, 36, 40, 8, 8), nothing)) if i != 1)

# the same bits where some rows of a panel go by vectors
operands = sample(3, 2, 1, 50, 40, 8, 8)
operands[0][0, 0, 5, 2], operands[1][1, 0, 4, 4], operands[3][2, 0, 7, 7] = np.inf, 1e-39, 3e37
with np.errstate(all="ignore"):
    use_threads(1)
    alone = run(cpu, operands)
    use_threads(2)
    assert_same(run(cpu, operands), alone)

# precision("high"), in float32 only
operands = sample(1, 2, 1, 70, 80, 32, 40)
exact, highest = run(reference, wide(operands)), run(cpu, operands)
with tn.precision("high"):
    high = run(cpu, operands)
    assert_precise(run(cpu, operands), high, exact)
    for x, y, z in zip(high, highest, exact):
        assert 2 * error(y, z) < error(x, z) < 1e-4, (error(x, z), error(y, z))
    for x, z in zip(run(cpu, wide(operands)), exact):
        assert error(x, z) < 1e-13
assert_same(run(cpu, operands), highest)
print("ok")
"""
)

SCANS = (
    COMMON
    + """
from tinygrad_notes.kernels.cpu import recurrent
recurrent.PER_THREAD = 1
GATES = {"tanh": 1, "relu": 1, "lstm": 4, "gru": 3, "gru_reset_before": 3}

def operands(kind, steps, batch, inputs, hidden):
    states = [normal(batch, hidden) for _ in range(2 if kind == "lstm" else 1)]
    gates, bound = GATES[kind] * hidden, np.float32(hidden**-0.5)
    forward = [normal(steps, batch, inputs), *states, normal(gates, inputs) * np.float32(0.3)]
    forward += [normal(gates, hidden) * bound, normal(gates), normal(gates)]
    return forward, [normal(steps, batch, hidden), *(normal(batch, hidden) for _ in states)]

def run(backend, kind, forward, upper, lengths=None, reverse=False):
    if kind == "lstm":
        results = backend.lstm_scan(*forward, lengths, reverse)
        kept = results[0], results[3], results[4]
        return *results, *backend.lstm_scan_grad(*upper, *forward[:-2], *kept, lengths, reverse)
    if kind.startswith("gru"):
        results = backend.gru_scan(*forward, kind == "gru", lengths, reverse)
        kept = results[0], results[2], kind == "gru"
        return *results, *backend.gru_scan_grad(*upper, *forward[:-2], *kept, lengths, reverse)
    results = backend.rnn_scan(*forward, kind, lengths, reverse)
    return *results, *backend.rnn_scan_grad(*upper, *forward[:-2], results[0], kind, lengths, reverse)

def both(*arguments):
    results = []
    for count in (1, 2):
        recurrent.threads_for = lambda work, least: count
        results.append(run(cpu, *arguments))
    assert_same(*results)  # the shares of two threads are other panels
    return results[0]

for kind in GATES:
    for steps, batch, hidden, reverse in ((1, 1, 1, False), (3, 50, 33, True), (3, 5, 40, False)):
        forward, upper = operands(kind, steps, batch, 7, hidden)
        lengths = rng.integers(0, steps + 1, batch) if hidden == 33 else None
        for ahead in {reverse, False}:
            rest = lengths, ahead
            plain = run(reference, kind, forward, upper, *rest)
            exact = run(reference, kind, wide(forward), wide(upper), *rest)
            got = both(kind, forward, upper, *rest)
            for x, y, z in zip(got, plain, exact):
                bound = max(2 * np.abs(y - z).max(), 5e-7 * max(1, np.abs(z).max()))
                assert x.dtype == np.float32 and np.abs(x - z).max() <= bound, (np.abs(x - z).max(), bound)
    # sums over more than one block of depth
    forward, upper = operands(kind, 2, 3, 4, 530 // GATES[kind])
    for x, z in zip(both(kind, forward, upper), run(reference, kind, wide(forward), wide(upper))):
        assert np.abs(x - z).max() <= 2e-6 * max(1, np.abs(z).max())
    # what the parts cannot hold: in a state of one sequence of several, in a weight, in a gradient
    for value in (np.nan, np.inf, 1e-40, 1e-36, 1e30):
        for place in range(3):
            forward, upper = operands(kind, 2, 40, 4, 20)
            [forward[1][7], forward[-3][3], upper[0][1, 9]][place][4] = value
            with np.errstate(all="ignore"):
                got, wanted = both(kind, forward, upper), run(reference, kind, forward, upper)
                exact = run(reference, kind, wide(forward), wide(upper))
            for x, y, z in zip(got, wanted, exact):
                np.testing.assert_array_equal(np.isnan(x), np.isnan(y))
                finite = np.isfinite(y) & np.isfinite(z)
                scale = np.max(np.abs(z[finite]), initial=0)
                np.testing.assert_allclose(x[finite], z[finite], rtol=1e-4, atol=1e-5 * scale)
    # precision("high")
    forward, upper = operands(kind, 2, 33, 20, 40)
    exact, highest = run(reference, kind, wide(forward), wide(upper)), run(cpu, kind, forward, upper)
    with tn.precision("high"):
        high = run(cpu, kind, forward, upper)
        if kind == "tanh":  # all pack and multiply float64 alike
            for x, z in zip(run(cpu, kind, wide(forward), wide(upper)), exact):
                assert np.abs(x - z).max() < 1e-12 * max(1, np.abs(z).max())
    assert 2 * error(highest[0], exact[0]) < error(high[0], exact[0])
    assert all(error(x, z) < 1e-4 for x, z in zip(high, exact))
    assert_same(run(cpu, kind, forward, upper), highest)

# a state of denormals alone is not lost: h' = relu(h0)
h0, eye = np.full((3, 40), 1e-40, np.float32), np.eye(40, dtype=np.float32)
x = np.zeros((1, 3, 1), np.float32)
outputs, _ = cpu.rnn_scan(x, h0, np.zeros((40, 1), np.float32), eye, None, None, "relu", None, False)
assert (outputs[0] == h0).all()
print("ok")
"""
)


@pytest.mark.parametrize("program", [ATTENTION, SCANS], ids=["attention", "scans"])
def test_in_a_process_of_its_own(program):
    forced = {**os.environ, "TINYGRAD_NOTES_ISA": "amx"}
    got = subprocess.run([sys.executable, "-c", program], env=forced, capture_output=True, text=True)
    assert got.returncode == 0, got.stderr
    assert got.stdout.split() == ["ok"]
