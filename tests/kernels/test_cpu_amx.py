"""Products of float32 by AMX: the emulated instructions on every machine, the real ones where they can be compiled."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import llvmlite.binding as llvm
import pytest
from llvmlite import ir

import tinygrad_notes as tn
from tinygrad_notes.kernels import PRECISION
from tinygrad_notes.kernels.cpu import gemm
from tinygrad_notes.kernels.cpu.isa import amx

PROGRAM = """
import threading
import numpy as np
import tinygrad_notes as tn
from tinygrad_notes.kernels.cpu import linear, matmul, products
from tinygrad_notes.kernels.cpu.isa import amx
from tinygrad_notes.kernels.cpu.isa.machine import MACHINE
assert MACHINE.isa == "amx"
products.SMALL, products.PER_THREAD = -1, 1
rng = np.random.default_rng(0)

def normal(*shape):
    return rng.standard_normal(shape).astype(np.float32)

def error(got, wanted):
    return np.abs(got - wanted).max() / np.abs(wanted).max()

# any shape, any order in memory, more than one block in each direction
for m, k, n in ((2, 1, 2), (31, 33, 65), (32, 512, 64), (131, 1100, 70), (40, 70, 1060), (100, 64, 33)):
    for turned in range(4):
        a = normal(k, m).T if turned & 1 else normal(m, k)
        b = normal(n, k).T if turned & 2 else normal(k, n)
        wanted = a.astype(float) @ b.astype(float)
        assert error(matmul(a, b), wanted) <= max(2 * error(a @ b, wanted), 5e-7), (m, k, n, turned)
    reversed_ = matmul(normal(m, k)[::-1, ::-1], normal(k, 2 * n)[:, ::2])
    assert reversed_.shape == (m, n) and np.isfinite(reversed_).all()
a, b, bias = normal(50, 600), normal(40, 600), normal(40)
assert error(linear(a, b, bias), a.astype(float) @ b.T.astype(float) + bias) < 1e-6
assert (matmul(normal(3, 0), normal(0, 4)) == 0).all()
assert (linear(normal(3, 0), normal(40, 0), bias) == bias).all()

# all bits of the factors count, wherever they are 0 or 1
bits = rng.integers(0, 1 << 23, (200, 40), dtype=np.uint32) & (rng.integers(0, 1 << 23, (200, 40), dtype=np.uint32) | 1)
bits[:100] ^= (1 << 23) - 1
bits[0, :6] = 0, 1, (1 << 23) - 1, 1 << 15, (1 << 7) + (1 << 15), (1 << 16) - 1
a = (bits | np.uint32(127 << 23)).view(np.float32) * rng.choice(np.float32([-1, 1]), (200, 40))
identity = np.eye(40, dtype=np.float32)
assert (matmul(a, identity) == a).all() and (matmul(identity, a.T) == a.T).all()

# what is left out does not show where it is greatest, and adds up
for x in (1 + 2.0**-7 - 2.0**-23, 1 + 2.0**-8 + 2.0**-17 - 2.0**-23, 2 - 2.0**-23):
    a, b = np.full((40, 3), x, np.float32), np.full((3, 40), x, np.float32)
    assert error(matmul(a, b), a.astype(float) @ b.astype(float)) < 1.5e-7, x

# what the parts cannot hold
tiny, small = 1e-40, 3e-36
for value in (np.nan, np.inf, -np.inf, tiny, small, 3.4e38):
    for one in (1, 1e-3):
        a, b = normal(70, 100) * np.float32(one), normal(100, 70)
        a[40, 7], b[9, 50] = value, value
        with np.errstate(all="ignore"):
            wanted, got = a @ b, matmul(a, b)
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5 * one)
        with np.errstate(all="ignore"), tn.precision("high"):
            got = matmul(a, b)
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-3 * one)
for x, y in ((3e-36, 1.0), (1e-20, 1e-18), (1e-30, 1e8), (1e20, 1e-20), (1e25, 1e13), (2e38, 0.1), (2.6175e38, 1e-9)):
    a, b = np.full((33, 5), x, np.float32) * (1 + np.float32(0.3)), np.full((5, 40), y, np.float32)
    with np.errstate(all="ignore"):
        wanted = a.astype(float) @ b.astype(float)
        got = matmul(a, b)
    close = np.abs(got - wanted) <= 1e-6 * np.abs(wanted) + 1e-44
    assert np.where(np.abs(wanted) < 3.4e38, close, np.isinf(got)).all(), (x, y)
assert (matmul(np.zeros((32, 40), np.float32), normal(40, 64)) == 0).all()

# denormals in what is added to
a, b = normal(64, 1100), normal(1100, 64)
a[5], a[5, 3], b[3] = 0, 1e-40, 1
np.testing.assert_array_equal(matmul(a, b)[5], a[5, 3])
bias = np.full(64, 1e-40, np.float32)
np.testing.assert_array_equal(linear(np.zeros((64, 1100), np.float32), b.T, bias), np.broadcast_to(bias, (64, 64)))

# one thread and many cut the same tiles, and take the same way for each
a, b = normal(257, 600), normal(600, 300)
a[100, 5], a[33, 4], b[7, 222] = np.inf, 1e-38, 3e38
with np.errstate(all="ignore"):
    many = matmul(a, b), matmul(a[:60], b)
    products.threads_for = lambda work, least: 1
    alone = matmul(a, b), matmul(a[:60], b)
for x, y in zip(many, alone):
    np.testing.assert_array_equal(x, y)

# float64 goes by vectors, whatever the precision
a, b = rng.standard_normal((50, 60)), rng.standard_normal((60, 70))
with tn.precision("high"):
    assert error(matmul(a, b), a @ b) < 1e-14

# precision("high"): the first two parts. Less precise, in this thread and in this block only
def less_precise(got, wanted):
    return 1e-7 < error(got, wanted) / 5 < 6e-6

for shape in ((33, 20, 40), (131, 1100, 70), (64, 512, 64)):
    a, b = normal(*shape[:2]), normal(*shape[1:])
    wanted, exact = a.astype(float) @ b.astype(float), matmul(a, b)
    with tn.precision("high"):
        first = matmul(a, b)
        assert less_precise(first, wanted) and less_precise(linear(a, b.T.copy(), None), wanted)
        with tn.precision("highest"):
            assert (matmul(a, b) == exact).all()
        assert (matmul(a, b) == first).all()
        thread = threading.Thread(target=lambda: other.append(matmul(a, b)))
        other = []
        thread.start()
        thread.join()
        assert (other[0] == exact).all()
    assert (matmul(a, b) == exact).all() and error(exact, wanted) < 5e-7
with tn.precision("high"):  # 16 digits are kept, of more the nearest 8 of what the first part leaves, a half to even
    sixteen = (a[:40, :40].view(np.uint32) & 0xFFFFFF00).view(np.float32)
    assert (matmul(sixteen, identity) == sixteen).all()
    unit = np.float32(2.0**-17)
    given, kept = np.float32([[257, 259], [-257, -259]]), np.float32([[256, 260], [-256, -260]])
    given, kept = (np.sign(units) + units * unit for units in (given, kept))
    np.testing.assert_array_equal(matmul(given, np.eye(2, 40, dtype=np.float32))[:, :2], kept)

# of a backward pass the precision counts that is in force when it runs
with tn.use_kernels("cpu"):
    x, w = tn.tensor(normal(40, 50), requires_grad=True), tn.tensor(normal(50, 60))
    wanted, g = {}, normal(40, 60)
    for forward, backward in (("high", "highest"), ("highest", "high")):
        with tn.precision(forward):
            y = x @ w
        with tn.precision(backward):
            y.backward(tn.tensor(g))
        exact = g.astype(float) @ w.data.T.astype(float)
        assert less_precise(x.grad.data, exact) == (backward == "high"), backward
        x.grad = None

print("ok", amx.HAS_AMX)
"""


def test_products_in_a_process_of_their_own():
    forced = {**os.environ, "TINYGRAD_NOTES_ISA": "amx"}
    got = subprocess.run([sys.executable, "-c", PROGRAM], env=forced, capture_output=True, text=True)
    assert got.returncode == 0, got.stderr
    assert got.stdout.startswith("ok")


@pytest.mark.parametrize(("parts", "multiplications", "loads"), [(2, 12, 8), (3, 24, 14)])
def test_the_real_instructions_compile(parts, multiplications, loads):
    """To assembly, for a machine that has them, on any machine whose LLVM knows them."""
    try:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        target = llvm.Target.from_triple("x86_64-unknown-linux-gnu")
    except RuntimeError:
        pytest.skip("this LLVM has no x86_64")
    module = ir.Module()
    module.triple = "x86_64-unknown-linux-gnu"
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * 9), "multiply")
    builder = ir.IRBuilder(function.append_basic_block())
    tiles = amx.Tiles(builder)
    tiles.configure(function.args[0])
    amx.write_multiply(builder, tiles, parts, *function.args[1:])
    tiles.release()
    builder.ret_void()
    machine = target.create_target_machine(features="+amx-tile,+amx-bf16", opt=2)
    lines = machine.emit_assembly(llvm.parse_assembly(str(module))).splitlines()
    counts = {
        name: sum(name in line for line in lines) for name in ("tdpbf16ps", "tileloadd", "tilestored", "ldtilecfg")
    }
    # of each product of parts 4 multiplications, and 2 loads, of a or of b; 2 more at first
    assert counts == {"tdpbf16ps": multiplications, "tileloadd": loads, "tilestored": 4, "ldtilecfg": 1}


def test_a_chosen_precision_ends_with_its_block():
    other = []
    assert PRECISION.get() == "highest"
    with tn.precision("high"):
        thread = threading.Thread(target=lambda: other.append(PRECISION.get()))
        thread.start()
        thread.join()
        with tn.precision("highest"):
            assert PRECISION.get() == "highest"
        assert PRECISION.get() == "high"
        with pytest.raises(tn.DTypeError, match="choice is 'low', expected 'highest', 'high' or 'medium'"):
            tn.precision("low").__enter__()
        with pytest.raises(tn.DTypeError, match="choice is None"):
            tn.precision(None).__enter__()
        assert PRECISION.get() == "high"
    with pytest.raises(KeyError), tn.precision("high"):
        raise KeyError
    assert PRECISION.get() == "highest"
    assert other == ["highest"]
    assert tn.precision("high")(PRECISION.get)() == "high"  # as a decorator
    assert tuple(gemm.PARTS) == tn.kernels.PRECISIONS
