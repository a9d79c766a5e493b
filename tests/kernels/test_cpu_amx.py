"""Products of float32 by AMX: the emulated instructions on every machine, the real ones where they can be compiled."""

from __future__ import annotations

import os
import subprocess
import sys

import llvmlite.binding as llvm
import pytest
from llvmlite import ir

from tinygrad_notes.kernels.cpu.isa import amx

PROGRAM = """
import numpy as np
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

# all bits of the factors count
a = np.full((40, 2), 1, np.float32) + np.float32(2.0**-23)
exact = a.astype(float) @ np.eye(2, 33)
assert (matmul(a, np.eye(2, 33, dtype=np.float32)) == exact).all()

# what the parts cannot hold
tiny, small = 1e-40, 3e-36
for value in (np.nan, np.inf, -np.inf, tiny, small, 3.4e38):
    for one in (1, 1e-3):
        a, b = normal(70, 100) * np.float32(one), normal(100, 70)
        a[40, 7], b[9, 50] = value, value
        with np.errstate(all="ignore"):
            wanted, got = a @ b, matmul(a, b)
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5 * one)
for x, y in ((3e-36, 1.0), (1e-20, 1e-18), (1e-30, 1e8), (1e20, 1e-20), (1e25, 1e13), (2e38, 0.1)):
    a, b = np.full((33, 5), x, np.float32) * (1 + np.float32(0.3)), np.full((5, 40), y, np.float32)
    with np.errstate(all="ignore"):
        wanted = a.astype(float) @ b.astype(float)
        got = matmul(a, b)
    close = np.abs(got - wanted) <= 1e-6 * np.abs(wanted) + 1e-44
    assert np.where(np.abs(wanted) < 3.4e38, close, np.isinf(got)).all(), (x, y)
assert (matmul(np.zeros((32, 40), np.float32), normal(40, 64)) == 0).all()

# one thread and many cut the same tiles, and take the same way for each
a, b = normal(257, 600), normal(600, 300)
a[100, 5], a[33, 4], b[7, 222] = np.inf, 1e-38, 3e38
with np.errstate(all="ignore"):
    many = matmul(a, b), matmul(a[:60], b)
    products.threads_for = lambda work, least: 1
    alone = matmul(a, b), matmul(a[:60], b)
for x, y in zip(many, alone):
    np.testing.assert_array_equal(x, y)

# float64 goes by vectors
a, b = rng.standard_normal((50, 60)), rng.standard_normal((60, 70))
assert error(matmul(a, b), a @ b) < 1e-14

print("ok", amx.HAS_AMX)
"""


def test_products_in_a_process_of_their_own():
    forced = {**os.environ, "TINYGRAD_NOTES_ISA": "amx"}
    got = subprocess.run([sys.executable, "-c", PROGRAM], env=forced, capture_output=True, text=True)
    assert got.returncode == 0, got.stderr
    assert got.stdout.startswith("ok")


def test_the_real_instructions_compile():
    """To assembly, for a machine that has them, on any machine whose LLVM knows them."""
    try:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
        target = llvm.Target.from_triple("x86_64-unknown-linux-gnu")
    except RuntimeError:
        pytest.skip("this LLVM has no x86_64")
    module = ir.Module()
    module.triple = "x86_64-unknown-linux-gnu"
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * 6), "multiply")
    builder = ir.IRBuilder(function.append_basic_block())
    tiles = amx.Tiles(builder)
    tiles.configure(function.args[0])
    amx.write_multiply(builder, tiles, *function.args)
    tiles.release()
    builder.ret_void()
    machine = target.create_target_machine(features="+amx-tile,+amx-bf16", opt=2)
    lines = machine.emit_assembly(llvm.parse_assembly(str(module))).splitlines()
    counts = {
        name: sum(name in line for line in lines) for name in ("tdpbf16ps", "tileloadd", "tilestored", "ldtilecfg")
    }
    # of each step 24 multiplications; 6 loads of a, 10 of b; 4 loads of c before, and 4 stores after
    assert counts == {"tdpbf16ps": 24, "tileloadd": 20, "tilestored": 4, "ldtilecfg": 1}
