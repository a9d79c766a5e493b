"""Out of memory: an error that names the op and the bytes, and that keeps nothing alive."""

from __future__ import annotations

import sys
import weakref

import numpy as np
import pytest

import tinygrad_notes as tn

HUGE = 2**50


def test_the_error_names_op_and_bytes(gpu):
    x = tn.ones((4, 1)).to("cuda")
    gpu.limit = 100
    with pytest.raises(tn.OutOfMemoryError) as caught:
        x * tn.ones(25).to("cuda")
    gpu.limit = None
    assert str(caught.value) == (
        "multiply: Out of memory allocating 400 bytes (allocated so far: 0 bytes); tn.cuda.memory_summary() says who "
        "holds it (a [4, 1] float32 on cuda, b [25] float32 on cuda)"
    )
    assert isinstance(caught.value, tn.DeviceError)
    assert isinstance(caught.value, MemoryError)


def test_the_error_of_numpy_is_told_alike():
    with pytest.raises(tn.OutOfMemoryError, match=r"zeros: Unable to allocate .*PiB"):
        tn.zeros((HUGE,))
    x = tn.ones((2**12, 1))
    wide = tn.broadcast_to(tn.ones(1), (2**40,))
    with pytest.raises(tn.OutOfMemoryError, match=r"multiply: Unable to allocate .* \(a \[4096, 1\] float32, b "):
        x * wide


def test_what_an_op_had_made_is_freed():
    kept = []

    @tn.op
    def greedy(a: tn.Array):
        """a, after having made what nobody needs."""
        waste = np.ones(1000)
        kept.append(weakref.ref(waste))
        raise MemoryError("Unable to allocate 8 EiB")

    with pytest.raises(tn.OutOfMemoryError, match="greedy: Unable to allocate 8 EiB") as caught:
        greedy(tn.ones(3))
    assert kept[0]() is None
    del caught, tn.REGISTRY["greedy"]


def test_what_backward_had_made_is_freed():
    kept = []

    def slope(g):
        waste = g * 2
        kept.append(weakref.ref(waste))
        raise MemoryError

    @tn.op
    def selfish(a: tn.Array):
        """a, with a derivative that finds no memory."""
        return a * 1, lambda g: slope(g)

    x = tn.ones(3, requires_grad=True)
    for attempt in (lambda y: y.backward(), lambda y: tn.grad(y, x)):
        y = (selfish(x) * 3.0).sum()
        with pytest.raises(tn.OutOfMemoryError, match="selfish: its derivative: there is no memory left") as caught:
            attempt(y)
        assert [ref() for ref in kept] == [None] * len(kept)
        assert not any("grads" in entry.frame.f_locals for entry in caught.traceback)
    del tn.REGISTRY["selfish"]


def test_memory_summary(gpu):
    x = tn.ones(2**20).to("cuda")
    lines = tn.cuda.memory_summary().splitlines()
    assert lines[0] == "Fake GPU, device 0"
    rows = {line[:15].strip(): float(line[15:].split()[0]) for line in lines[1:]}
    assert list(rows) == ["arrays", "kept", "captured steps", "other", "free", "all"]
    assert rows["arrays"] >= x.nbytes / 2**20
    assert (rows["free"], rows["all"]) == (60, 100)
    assert rows["arrays"] + rows["kept"] + rows["captured steps"] + rows["other"] + rows["free"] == pytest.approx(
        100, 0.1
    )
    tn.cuda.empty_cache()
    tn.cuda.synchronize()
    assert gpu.log[-3:] == ["free", "free", "synchronize"]
    assert tn.cuda.is_available()


def test_without_a_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert not tn.cuda.is_available()
    with pytest.raises(tn.DeviceError, match="device 'cuda'"):
        tn.cuda.memory_summary()
