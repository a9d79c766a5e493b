"""Dropout of the CPU's kernels: the same elements as the reference drops, whatever the layout and the threads."""

from __future__ import annotations

import sys

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tinygrad_notes.kernels import cpu, reference

dropout_module = sys.modules["tinygrad_notes.kernels.cpu.dropout"]  # the package's attribute is the function

shapes = st.sampled_from([(), (0,), (1,), (7,), (8,), (9,), (3, 0), (5, 13), (2, 3, 50)])
probabilities = st.sampled_from([0.0, 0.1, 0.5, 1 - 2**-24, 1.0])
seeds = st.one_of(st.integers(-(2**63), 2**64), st.sampled_from([0, 2**63, 2**64 - 1, 2**200, -1]))
dtypes = st.sampled_from([np.float32, np.float64])


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.setattr(dropout_module, "threads_for", lambda work, least: 2)


@hypothesis.given(shapes, probabilities, seeds, dtypes, st.sampled_from(["C", "F", "reversed", "every other"]))
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_the_references_bits(two_threads, shape, p, seed, dtype, layout):
    x = np.random.default_rng(0).standard_normal((*shape[:-1], 2 * shape[-1]) if shape else ()).astype(dtype)
    x = x[..., ::2] if shape and layout == "every other" else x[..., : shape[-1]] if shape else x
    x = np.asfortranarray(x) if layout == "F" else x[..., ::-1] if shape and layout == "reversed" else x
    got, wanted = cpu.dropout(x, p, seed), reference.dropout(x, p, seed)
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
    np.testing.assert_array_equal(got, wanted)
    mask = cpu.dropout_mask(x, p, seed)
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, reference.dropout_mask(x, p, seed))


def test_one_thread_and_many_draw_the_same(monkeypatch):
    x = np.random.default_rng(0).standard_normal(70001).astype(np.float32)
    wanted = reference.dropout(x, 0.3, 5), reference.dropout_mask(x, 0.3, 5)
    for threads in (1, 2, 2):
        monkeypatch.setattr(dropout_module, "threads_for", lambda work, least, threads=threads: threads)
        np.testing.assert_array_equal(cpu.dropout(x, 0.3, 5), wanted[0])
        np.testing.assert_array_equal(cpu.dropout_mask(x, 0.3, 5), wanted[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_dropped_is_0_whatever_it_was(dtype):
    x = np.resize(np.array([np.nan, np.inf, -np.inf, 1e-40, -0.0], dtype), 999)
    before = x.copy()
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(cpu.dropout(x, 0.4, 1), reference.dropout(x, 0.4, 1))
    np.testing.assert_array_equal(x, before)
    assert not np.shares_memory(cpu.dropout(x, 0.0, 1), x)


def test_nothing_beyond_the_mask_is_written():
    whole = np.full(40, 7, np.uint8)
    dropout_module.draw_mask(dropout_module.address(whole[3:]), 13, 0, 0, 1)
    assert (whole[:3] == 7).all()
    assert (whole[3:16] == 1).all()
    assert (whole[16:] == 7).all()
