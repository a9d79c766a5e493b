"""Operands that look like those of the CPU's kernels, but whose memory must not be read as if they were."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tests.kernels.operands import normal
from tinygrad_notes.kernels import cpu, reference
from tinygrad_notes.kernels.cpu import indexing

LENGTHS = np.array([3, 2])
CALLS = {  # a function: arguments that all its kernels accept
    "exp": (normal(900),),
    "gelu_grad": (normal(900), normal(900), "none"),
    "dropout": (normal(3, 50), 0.5, 1),
    "softmax": (normal(5, 9), 1),
    "log_softmax_grad": (normal(5, 9), normal(5, 9), 0),
    "cross_entropy": (normal(4, 6), np.arange(4), abs(normal(6)), -100, 0.1),
    "cross_entropy_grad": (normal(4), normal(4, 6), np.arange(4), None, -100, 0.0, normal(4) + 3),
    "cross_entropy_probabilities": (normal(4, 6), abs(normal(4, 6)), None, 0.0),
    "layer_norm": (normal(4, 6), normal(6), normal(6), 1e-5, 1),
    "rms_norm_grad": (normal(4, 6), normal(4, 6), normal(6), abs(normal(4, 1)), 1),
    "batch_norm": (normal(4, 6), normal(6), None, 1e-5),
    "group_norm": (normal(4, 6, 3), None, normal(6), 1e-5, 2),
    "max_pool": (normal(2, 1, 6, 6), (2, 2), (2, 2), (0, 0), (1, 1), False),
    "max_pool_gather": (normal(1, 2, 9), np.array([[[3], [8]]])),
    "adaptive_max_pool": (normal(2, 1, 6, 5), (2, 2)),
    "avg_pool": (normal(2, 1, 6, 6), (2, 2), (2, 2), (0, 0), False, True),
    "adaptive_avg_pool": (normal(2, 1, 6, 6), (1, 1)),
    "adaptive_avg_pool_grad": (normal(2, 1, 2, 2), (6, 6)),
    "attention": (normal(1, 2, 3, 4), normal(1, 1, 5, 4), normal(1, 1, 5, 2), normal(3, 5), False, 0.5, 0.0, 0),
    "ctc_loss": (normal(4, 2, 3) - 2, np.array([[1, 2], [2, 0]]), np.array([4, 3]), np.array([2, 1]), 0),
    "embedding": (normal(300, 20), np.arange(-250, 250)),
    "embedding_grad": (normal(500, 20), np.arange(500) % 7, 9),
    "scatter_add": (normal(5000), np.arange(5000) % 7, (9,)),
    "global_norm": ([normal(40), normal(3, 4)],),
    "rnn_scan": (normal(3, 2, 5), normal(2, 6), normal(6, 5), normal(6, 6), None, normal(6), "tanh", LENGTHS, True),
}  # fmt: skip


def swapped(argument):
    """The same numbers, in the other byte order."""
    if isinstance(argument, list):
        return [swapped(item) for item in argument]
    if isinstance(argument, np.ndarray):
        return argument.astype(argument.dtype.newbyteorder())
    return argument


def values(result):
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("name", CALLS)
def test_other_byte_order(name):
    """All operands; and each alone, among operands of this machine's order."""
    arguments = CALLS[name]
    wanted = values(getattr(reference, name)(*arguments))
    trials = [tuple(map(swapped, arguments))]
    for place, argument in enumerate(arguments):
        if isinstance(argument, np.ndarray) and argument.dtype.kind == "f":
            trials.append((*arguments[:place], swapped(argument), *arguments[place + 1 :]))
    for trial in trials:
        for got, value in zip(values(getattr(cpu, name)(*trial)), wanted, strict=True):
            np.testing.assert_allclose(got, value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mask", [np.bool_(True), np.bool_(False), np.float32(0.5), np.float32(-np.inf)])
def test_attention_with_a_mask_that_is_a_scalar(mask):
    """NumPy makes scalars of results without axes, and a scalar does not hold its number where an array does."""
    q, k, v = normal(1, 2, 3, 4), normal(1, 2, 5, 4), normal(1, 2, 5, 4)
    rest = mask, False, 0.5, 0.0, 0
    out, logsumexp = reference.attention(q, k, v, *rest)
    for got, wanted in zip(cpu.attention(q, k, v, *rest), (out, logsumexp)):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    g = normal(*out.shape)
    for got, wanted in zip(
        cpu.attention_grad(g, q, k, v, out, logsumexp, *rest, False)[:3],
        reference.attention_grad(g, q, k, v, out, logsumexp, *rest, False),
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_attention_with_a_seed_of_numpy():
    q, k, v = normal(1, 1, 3, 4), normal(1, 1, 5, 4), normal(1, 1, 5, 4)
    got, wanted = (cpu.attention(q, k, v, None, False, 0.5, 0.5, seed)[0] for seed in (np.int64(-3), -3))
    np.testing.assert_array_equal(got, wanted)


def test_embedding_of_objects_holds_them(monkeypatch):
    """Copied as bytes, an object would be freed while the result still points to it."""
    monkeypatch.setattr(indexing, "SMALL", 0)
    thing = object()
    weight = np.array([[thing, None], [None, thing]], dtype=object)
    before = sys.getrefcount(thing)
    value = cpu.embedding(weight, np.array([1, 1, 0]))
    assert value[0, 1] is thing
    assert sys.getrefcount(thing) == before + 3


@pytest.mark.parametrize("dtype", [np.float64, np.complex64])
def test_indices_that_are_no_integers(dtype, monkeypatch):
    monkeypatch.setattr(indexing, "SMALL", 0)
    weight, indices = normal(5, 4), np.ones(3, dtype)
    for backend in (reference, cpu):
        with pytest.raises(TypeError):
            backend.embedding(weight, indices)


@pytest.mark.parametrize("backend", [reference, cpu])
@pytest.mark.parametrize(("index", "shape"), [(np.array(1), (3,)), ((np.array(1), np.array(2)), (3, 4))])
def test_the_index_of_one_element_has_no_axes(backend, index, shape, monkeypatch):
    """Nor may what is added there have one."""
    monkeypatch.setattr(indexing, "SMALL", 0)
    total = backend.scatter_add(np.full((), 2.0), index, shape)
    assert total[index] == 2
    assert total.sum() == 2
    with pytest.raises(ValueError, match=r"broadcast|dimensions"):
        backend.scatter_add(np.ones(1), index, shape)
