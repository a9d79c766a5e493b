"""Matrix products of the CPU's kernels against float64: shapes, strides, batches, non-finite values, threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import tinygrad_notes as tn
from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu import linear, matmul, panels, products
from tinygrad_notes.kernels.cpu.isa.tile import ROWS

RNG = np.random.default_rng(0)


@pytest.fixture
def every_size(monkeypatch):
    """Small products too take the packed way, and any work is worth a thread."""
    monkeypatch.setattr(products, "SMALL", -1)
    monkeypatch.setattr(products, "PER_THREAD", 1)


def normal(*shape: int, dtype=np.float32) -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


def assert_product(a, b) -> None:
    got, wanted = matmul(a, b), a.astype(np.float64) @ b.astype(np.float64)
    assert got.dtype == a.dtype
    assert got.shape == wanted.shape
    scale = np.max(np.abs(wanted), initial=1e-30)
    assert np.max(np.abs(got - wanted), initial=0.0) <= (2e-6 if a.dtype == np.float32 else 1e-14) * scale


lengths = st.sampled_from([0, 1, 2, ROWS - 1, ROWS, ROWS + 1, 15, 16, 17, 33, 64])
depths = st.sampled_from([0, 1, 3, panels.DEPTH - 1, panels.DEPTH, panels.DEPTH + 1, 2 * panels.DEPTH + 5])


@hypothesis.given(lengths, depths, lengths, st.sampled_from([(), (1,), (3,), (2, 1), (2, 3)]), st.data())
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_any_shape_and_stride(every_size, m, k, n, lead, data):
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    other = data.draw(st.sampled_from([(), lead, (1,) * len(lead)]))

    def operand(shape):
        layout = data.draw(st.sampled_from(["rows", "columns", "reversed", "every other"]))
        if layout == "columns":
            return np.swapaxes(normal(*shape[:-2], shape[-1], shape[-2], dtype=dtype), -1, -2)
        if layout == "every other":
            return normal(*shape[:-1], 2 * shape[-1], dtype=dtype)[..., ::2]
        return normal(*shape, dtype=dtype)[..., ::-1, ::-1] if layout == "reversed" else normal(*shape, dtype=dtype)

    a, b = operand((*lead, m, k)), operand((*other, k, n))
    assert_product(*((a, b) if data.draw(st.booleans()) else (np.swapaxes(b, -1, -2), np.swapaxes(a, -1, -2))))


@pytest.mark.parametrize("shape", [(300, 700, 130), (7, 600, 2100), (241, 5, 97), (1, 300, 300), (300, 300, 1)])
def test_more_than_one_block(shape):
    m, k, n = shape
    assert_product(normal(m, k), normal(k, n))
    assert_product(normal(m, k, dtype=np.float64), normal(k, n, dtype=np.float64))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e-42, 3e38])
def test_values_come_out_as_in_numpy(every_size, value):
    a, b = normal(13, 40), normal(40, 21)
    a[5, 7], b[9, 20] = value, value
    with np.errstate(all="ignore"):
        wanted = a @ b
    np.testing.assert_allclose(matmul(a, b), wanted, rtol=1e-5, atol=1e-6)


def test_denormals_are_kept(every_size):
    a = np.full((8, 1), 1e-30, np.float32)
    assert (matmul(a, np.full((1, 20), 1e-12, np.float32)) == np.float32(1e-30) * np.float32(1e-12)).all()


def test_vectors_integers_and_mixed_dtypes_are_the_references():
    a, b = normal(40, 40), normal(40)
    np.testing.assert_array_equal(matmul(a, b), reference.matmul(a, b))
    np.testing.assert_array_equal(matmul(b, a), reference.matmul(b, a))
    whole = np.arange(10000).reshape(100, 100)
    np.testing.assert_array_equal(matmul(whole, whole), whole @ whole)
    assert matmul(normal(100, 100), normal(100, 100, dtype=np.float64)).dtype == np.float64


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("lead", [(), (5,), (2, 3), (0,)])
def test_linear(every_size, lead, bias):
    for dtype, tolerance in ((np.float32, 2e-6), (np.float64, 1e-14)):
        x, weight = normal(*lead, 70, dtype=dtype), normal(30, 70, dtype=dtype)
        b = normal(30, dtype=dtype) if bias else None
        got, wanted = linear(x, weight, b), x.astype(float) @ weight.T.astype(float) + (0 if b is None else b)
        assert got.dtype == dtype
        np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance * 30)


def test_byte_order_and_other_dtypes_are_the_references(every_size):
    a, b = normal(20, 30), normal(30, 20)
    for dtype in (">f4", ">f8", np.float16, np.int32, np.complex64):
        x, y = (a * 4).astype(dtype), (b * 4).astype(dtype)
        np.testing.assert_array_equal(matmul(x, y), reference.matmul(x, y))
        np.testing.assert_array_equal(linear(x, y.T, y[0]), reference.linear(x, y.T, y[0]))
    np.testing.assert_allclose(matmul(a.astype(">f4"), b), a @ b, rtol=1e-4, atol=1e-5)


def test_one_number_everywhere(every_size):
    a, b = normal(20, 30), normal(30, 20)
    one, whole = np.broadcast_to(np.float32(1.5), (30, 30)), np.full((30, 30), 1.5, np.float32)
    np.testing.assert_allclose(matmul(a, one), a @ whole, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(matmul(one, b), whole @ b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(linear(a, one, None), a @ whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shapes", [
    ((4, 6), (5, 6)), ((6,), (5, 6)), ((0, 6), (5, 6)), ((4, 6), (5,)), ((), (6, 5)), ((6,), ()), ((5,), (6,)),
    ((2, 4, 6), (3, 6, 5)), ((2, 4, 6), (2, 5, 6)), ((2, 4, 6), (7,)), ((7,), (2, 6, 5)), ((2, 4, 6), (5, 6)),
])  # fmt: skip
def test_shapes_that_do_not_fit_are_errors(every_size, shapes):
    a, b = (normal(*shape) for shape in shapes)
    for function in (reference.matmul, matmul):
        with pytest.raises(ValueError, match=r"not aligned|mismatch|broadcast|dimension"):
            function(a, b)


def test_linear_of_shapes_that_do_not_fit(every_size):
    """Read as if they fitted, they would give numbers, of memory that is not theirs."""
    for x, weight, bias in [
        (normal(4, 6), normal(5, 3), None),
        (normal(4, 3), normal(5, 6), None),
        (normal(2, 3, 6), normal(5, 9), None),
        (normal(4, 6), normal(5, 6), normal(4)),
    ]:
        with pytest.raises(ValueError, match=r"not aligned|broadcast"):
            linear(x, weight, bias)
    x, weight = normal(4, 6), normal(5, 6)
    for bias in (normal(1), normal(5, dtype=np.float64), normal(10)[::-2]):
        got, wanted = linear(x, weight, bias), reference.linear(x, weight, bias)
        assert got.dtype == wanted.dtype
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(linear(x, weight[:1], bias[:1]), x @ weight[:1].T + bias[:1], rtol=1e-5, atol=1e-5)


def test_results_share_no_memory(every_size):
    a, b = normal(8, 8), normal(8, 8)
    for got in (matmul(a, b), matmul(a, b[0]), matmul(a[:1], b), linear(a, b, None), linear(a[:1], b, None)):
        assert not np.shares_memory(got, a)
        assert not np.shares_memory(got, b)
        assert got.flags.writeable


def test_as_many_threads_as_wanted_the_same_bits(every_size, monkeypatch):
    a, b = normal(257, 600), normal(600, 300)
    batch = normal(5, 40, 60), normal(60, 50)
    many = matmul(a, b), matmul(a[:20], b), matmul(*batch)
    monkeypatch.setattr(products, "threads_for", lambda work, least: 1)
    alone = matmul(a, b), matmul(a[:20], b), matmul(*batch)
    for one, other in zip(many, alone):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(matmul(a, b), many[0])


def test_several_python_threads_at_once(every_size):
    a, b = normal(300, 200), normal(200, 150)
    wanted, wrong = matmul(a, b), []

    def work():
        wrong.extend(i for i in range(20) if not np.array_equal(matmul(a, b), wanted))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_through_the_op():
    a, b = normal(100, 80), normal(80, 90)
    with tn.use_kernels("cpu"):
        x = tn.tensor(a, requires_grad=True)
        (x @ b).sum().backward()
        np.testing.assert_allclose(x.grad.data, np.broadcast_to(b.sum(1), (100, 80)), rtol=1e-4, atol=1e-4)
        assert tn.exp(0.0).item() == 1  # a function that has no kernel of its own


ISA = """
import numpy as np
from tinygrad_notes.kernels.cpu import matmul
from tinygrad_notes.kernels.cpu.isa.machine import MACHINE
rng = np.random.default_rng(0)
for dtype, tolerance in ((np.float32, 2e-6), (np.float64, 1e-14)):
    a, b = rng.standard_normal((101, 300)).astype(dtype), rng.standard_normal((300, 77)).astype(dtype)
    wanted = a.astype(float) @ b.astype(float)
    assert np.abs(matmul(a, b) - wanted).max() <= tolerance * np.abs(wanted).max()
print(MACHINE.isa, MACHINE.vector_bytes)
"""


def test_the_other_instruction_set():
    """A process of its own: code that was compiled does not change."""
    from_outside = {**os.environ, "TINYGRAD_NOTES_ISA": "avx512"}
    got = subprocess.run([sys.executable, "-c", ISA], env=from_outside, capture_output=True, text=True)
    assert got.returncode == 0, got.stderr
    assert got.stdout.split() == ["avx512", "64"]
    wrong = {**os.environ, "TINYGRAD_NOTES_ISA": "avx9"}
    got = subprocess.run([sys.executable, "-c", ISA], env=wrong, capture_output=True, text=True)
    assert "TINYGRAD_NOTES_ISA is 'avx9', expected one of generic, avx512, amx" in got.stderr
