"""Steps and the norm of the CPU's kernels against the reference: lists of odd shapes and layouts, any threads."""

from __future__ import annotations

import itertools

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu import optimizer

SHAPES = [(3, 4), (5,), (), (0,), (2, 1, 3), (67,), (1,), (30, 41)]
SGD = [
    {"momentum": m, "dampening": d, "nesterov": n, "weight_decay": w, "maximize": x}
    for m, d, n, w, x in itertools.product([0, 0.9], [0, 0.3], [False, True], [0, 0.1], [False, True])
    if not (n and (d or not m)) and not (d and not m)
]
ADAM = [
    {"weight_decay": w, "decoupled": d, "maximize": x}
    for w, d, x in itertools.product([0, 0.1], [False, True], [False, True])
]


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch):
    """Kernels also where NumPy would be as fast."""
    monkeypatch.setattr(optimizer, "SMALL", -1)
    monkeypatch.setattr(optimizer, "SMALL_MOMENTUM", -1)


@pytest.fixture
def only_kernels(monkeypatch):
    """Two threads, and no way round the kernels."""
    monkeypatch.setattr(optimizer, "threads_for", lambda work, least: 2)
    monkeypatch.setattr(optimizer, "reference", None)


def arrays(dtype, layout="C", seed=0):
    rng = np.random.default_rng(seed)
    return [np.array(rng.standard_normal(shape), dtype, order=layout) for shape in SHAPES]


def copies(lists):
    return [[a.copy("K") for a in some] for some in lists]


def assert_same(got, wanted, dtype):
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5 if dtype == np.float32 else 1e-12, atol=1e-6)


@pytest.mark.parametrize("options", SGD)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", ["C", "F"])
def test_sgd(only_kernels, options, dtype, layout):
    ours, theirs = copies([arrays(dtype, layout)] * 2)
    buffers = expected = None
    for step in range(3):
        gradients = arrays(dtype, seed=step + 1)
        before = [g.copy() for g in gradients]
        given = buffers
        buffers = optimizer.sgd_step(ours, gradients, buffers, 0.1, *options.values())
        expected = reference.sgd_step(theirs, gradients, expected, 0.1, *options.values())
        assert given is None or all(a is b for a, b in zip(given, buffers))
        assert all(np.array_equal(g, b) for g, b in zip(gradients, before))
        assert_same(ours, theirs, dtype)
    assert (buffers is None) == (not options["momentum"])
    if options["momentum"]:
        assert_same(buffers, expected, dtype)


@pytest.mark.parametrize("options", ADAM)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", ["C", "F"])
def test_adam(only_kernels, options, dtype, layout):
    ours, theirs = copies([arrays(dtype, layout)] * 2)
    moments, expected = ([[np.zeros_like(p) for p in ours] for _ in range(2)] for _ in range(2))
    for step in range(1, 4):
        gradients = arrays(dtype, seed=step)
        numbers = (step, 0.1, 0.8, 0.95, 1e-3)
        assert optimizer.adam_step(ours, gradients, *moments, *numbers, *options.values()) is None
        reference.adam_step(theirs, gradients, *expected, *numbers, *options.values())
    assert_same(ours, theirs, dtype)
    assert_same(moments[0] + moments[1], expected[0] + expected[1], dtype)


def test_buffers_of_some_parameters(only_kernels):
    old = np.ones(2)
    parameters, gradients = [np.zeros(2), np.zeros(2)], [np.full(2, 3.0), np.full(2, 3.0)]
    buffers = optimizer.sgd_step(parameters, gradients, [old, None], 1.0, 0.5, 0.5, False, 0.0, False)
    assert buffers[0] is old
    np.testing.assert_array_equal(parameters, [[-2, -2], [-3, -3]])


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_values_that_are_not_finite(only_kernels, decay):
    values = np.array([np.nan, np.inf, -np.inf, 1e-40, 3e38, 0.0], np.float32)
    gradients = [np.repeat(values, values.size)]
    ours, theirs = copies([[np.tile(values, values.size)]] * 2)
    buffers, expected = ([np.ones_like(p) for p in ours] for _ in range(2))
    with np.errstate(all="ignore"):
        for momentum, nesterov in ((0.0, False), (0.9, False), (0.9, True)):
            optimizer.sgd_step(ours, gradients, buffers, 0.1, momentum, 0.0, nesterov, decay, False)
            reference.sgd_step(theirs, gradients, expected, 0.1, momentum, 0.0, nesterov, decay, False)
            np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("kind", ["read-only", "strided", "twice", "mixed dtypes", "broadcast gradient"])
def test_arrays_that_the_kernels_do_not_take(kind):
    def make():
        parameters, gradients = [np.ones((4, 6)), np.ones(5)], [np.full((4, 6), 2.0), np.full(5, 3.0)]
        if kind == "strided":
            parameters[0] = np.ones((8, 6))[::-2]
        elif kind == "twice":
            parameters[1], gradients[1] = parameters[0], np.full((4, 6), 3.0)
        elif kind == "mixed dtypes":
            parameters[1] = np.ones(5, np.float32)
        elif kind == "broadcast gradient":
            gradients[0] = np.broadcast_to(2.0, (4, 6))
        return parameters, gradients

    (ours, gradients), (theirs, _) = make(), make()
    if kind == "read-only":
        ours[1].flags.writeable = False
        with pytest.raises(ValueError, match="read-only"):
            optimizer.sgd_step(ours, gradients, None, 0.1, 0.9, 0.0, False, 0.0, False)
        return
    moments, expected = ([[np.zeros_like(p) for p in ours] for _ in range(2)] for _ in range(2))
    if kind == "twice":
        for lists in (moments, expected):
            for one in lists:
                one[1] = one[0]
    for step in (1, 2):
        optimizer.adam_step(ours, gradients, *moments, step, 0.1, 0.9, 0.99, 1e-8, 0.1, True, False)
        reference.adam_step(theirs, gradients, *expected, step, 0.1, 0.9, 0.99, 1e-8, 0.1, True, False)
    assert_same(ours, theirs, np.float64)


counts = st.sampled_from([0, 1, 7, 31, 32, 33, 100, optimizer.PIECE, optimizer.PIECE + 1, 50000])


@hypothesis.given(
    st.lists(counts, min_size=1, max_size=6), st.sampled_from([np.float32, np.float64]), st.sampled_from([1, -1, 2])
)
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_norm(only_kernels, counts, dtype, stride):
    rng = np.random.default_rng(0)
    lists = [rng.standard_normal(n * abs(stride)).astype(dtype)[::stride] for n in counts]
    norm = optimizer.global_norm(lists)
    assert norm.dtype == dtype
    np.testing.assert_allclose(norm, reference.global_norm(lists), rtol=2e-7 if dtype == np.float32 else 1e-14)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_view_is_written_and_nothing_else(momentum):
    whole = np.zeros((6, 10), np.float32)
    parameter, gradient = whole[1:5][::-1, ::2], np.ones((5, 4), np.float32).T
    optimizer.sgd_step([parameter], [gradient], None, 0.5, momentum, 0.0, False, 0.0, False)
    np.testing.assert_array_equal(whole[1:5, ::2], -0.5)
    assert np.count_nonzero(whole) == 20


def test_norm_neither_overflows_nor_loses(only_kernels):
    np.testing.assert_allclose(optimizer.global_norm([np.full(9, 1e30, np.float32)]), 3e30, rtol=1e-6)
    np.testing.assert_allclose(optimizer.global_norm([np.full(10**6, 1e-30, np.float32)]), 1e-27, rtol=1e-6)
    assert np.isnan(optimizer.global_norm([np.array([1, np.nan], np.float32)]))
    assert optimizer.global_norm([np.array([1, -np.inf], np.float32)]) == np.inf


def test_one_thread_and_many_give_the_same_bits(monkeypatch):
    results = []
    for threads in (1, 2, 2):
        monkeypatch.setattr(optimizer, "threads_for", lambda work, least, threads=threads: threads)
        parameters, gradients = arrays(np.float32), arrays(np.float32, seed=1)
        moments = [[np.zeros_like(p) for p in parameters] for _ in range(2)]
        optimizer.adam_step(parameters, gradients, *moments, 1, 0.1, 0.9, 0.99, 1e-8, 0.1, False, False)
        buffers = optimizer.sgd_step(parameters, gradients, None, 0.1, 0.9, 0.0, True, 0.1, True)
        big = np.random.default_rng(0).standard_normal(5 * optimizer.PIECE + 3).astype(np.float32)
        results.append([*parameters, *moments[0], *moments[1], *buffers, optimizer.global_norm([*parameters, big])])
    for other in results[1:]:
        for one, two in zip(results[0], other):
            np.testing.assert_array_equal(one, two)
