"""Convolution of float32 by AMX, on emulated tiles: forward, transposed, and the gradient of the weight."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
from types import SimpleNamespace
import numpy as np
import tinygrad_notes as tn
from tinygrad_notes.kernels import reference
from tinygrad_notes.kernels.cpu import conv, conv_transpose, conv_weight_grad
from tinygrad_notes.kernels.cpu import convolution, convolution_plan, weight_grad, weight_grad_plan
from tinygrad_notes.kernels.cpu.buffers import address, aligned
from tinygrad_notes.kernels.cpu.isa.machine import MACHINE
assert MACHINE.isa == "amx"
rng = np.random.default_rng(0)
modules = convolution, weight_grad
ours = SimpleNamespace(conv=conv, conv_transpose=conv_transpose, conv_weight_grad=conv_weight_grad)

def normal(*shape):
    return rng.standard_normal(shape).astype(np.float32)

def error(got, wanted):
    return np.abs(got - wanted).max() / np.abs(wanted).max()

# who takes AMX: where tiles and steps are full and there are pixels enough to repay the splitting
def takes(images, channels, outputs, size, kernel, padding, groups=1):
    x, weight = (images, channels, size, size), (outputs, channels // groups, kernel, kernel)
    rest = (1, 1), (padding, padding), (1, 1), groups
    g = (images, outputs, *[size + 2 * padding - kernel + 1] * 2)
    forward = convolution_plan.plan_conv(x, weight, *rest, 4, 2, 3)
    return bool(forward.parts), bool(bfloats(weight_grad_plan.make_plan(x, g, weight[2:], *rest, 4, 3)))

def bfloats(plan):
    return plan.table[len(weight_grad_plan.Geometry._fields) + weight_grad_plan.Cut._fields.index("bfloats")]

assert takes(32, 64, 64, 56, 3, 1) == takes(32, 256, 256, 14, 3, 1) == takes(32, 512, 512, 7, 1, 0) == (True, True)
assert takes(32, 3, 64, 224, 7, 3) == (True, True) and takes(32, 128, 128, 28, 3, 1, 2) == (True, True)
assert takes(256, 1, 6, 28, 5, 2) == takes(32, 64, 64, 56, 3, 1, 64) == takes(32, 16, 16, 32, 3, 1) == (False, False)
assert takes(1, 512, 512, 4, 1, 0)[0] is False

# from here on all shapes do, cut small, for two threads, on scratch memory full of NaN that nothing writes beyond
lent = []

def scratch(name, size):
    memory = aligned(size + 8192)
    memory[:] = 255
    lent.append((name, memory, size))
    return address(memory) + 4096

def whole(value):
    for name, memory, size in lent:
        assert (memory[:4096] == 255).all() and (memory[4096 + size :] == 255).all(), name
    lent.clear()
    return value

def cut(copy_bytes, depth, pixels):
    convolution_plan.COPY_BYTES, convolution_plan.SPLIT_DEPTH, weight_grad_plan.SPLIT_DEPTH = copy_bytes, depth, pixels
    weight_grad_plan.SPLIT_OUTPUTS, weight_grad_plan.MOST_ROWS = 64, 100
    forget()

def forget():
    for cached in (convolution_plan.plan_conv, convolution_plan.plan_transpose, weight_grad_plan.make_plan):
        cached.cache_clear()

for module in modules:
    module.PER_THREAD, module.scratch = 1, scratch
convolution_plan._repays_splitting = weight_grad_plan._repays_splitting = lambda *arguments: True

def all_of(x, weight, bias, g, back, rest):
    yield "conv", lambda f, x, weight, bias, g, back: f.conv(x, weight, bias, *rest)
    size, kernel = x.shape[2:], weight.shape[2:]
    yield "transpose", lambda f, x, weight, bias, g, back: f.conv_transpose(g, weight, back, *rest, size)
    if not weight_grad_plan.make_plan(x.shape, g.shape, kernel, *rest, 4, 3).by_dots:
        yield "weight", lambda f, x, weight, bias, g, back: f.conv_weight_grad(x, g, kernel, *rest)

def operands(shape, outputs, kernel, stride, padding, dilation, groups):
    x, weight = normal(*shape), normal(outputs, shape[1] // groups, *kernel)
    rest = stride, padding, dilation, groups
    g = normal(*reference.conv(x, weight, None, *rest).shape)
    return (x, weight, normal(outputs), g, normal(shape[1])), rest

CASES = [
    ((2, 40, 9, 9), 70, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((5, 33, 7, 7), 31, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((3, 5, 21, 40), 33, (5, 4), (2, 2), (2, 1), (1, 1), 1),
    ((2, 24, 13, 37), 20, (3, 2), (1, 3), (2, 0), (2, 1), 2),
    ((1, 8, 3, 70), 64, (1, 1), (2, 2), (0, 0), (1, 1), 1),
    ((1, 34, 1, 1), 40, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    ((4, 6, 2, 3), 8, (2, 3), (1, 1), (1, 1), (1, 1), 1),
    ((3, 16, 100), 40, (3,), (1,), (2,), (1,), 1),
]
for sizes in ((1 << 18, 256, 448), (4096, 64, 100)):
    cut(*sizes)
    for case in CASES:
        given, rest = operands(*case)
        exact = [value.astype(float) for value in given]
        for name, function in all_of(*given, rest):
            wanted = function(reference, *exact)
            got = whole(function(ours, *given))
            assert got.dtype == np.float32 and error(got, wanted) <= 5e-7, (name, case, error(got, wanted))
            with tn.precision("high"):
                less = whole(function(ours, *given))
            if case[1] > 3 and case[0][1] // case[-1] > 3:  # of a group; fewer go directly
                assert 5e-7 < error(less, wanted) < 4e-5, (name, case, error(less, wanted))
            np.testing.assert_array_equal(whole(function(ours, *given)), got)
            assert error(whole(function(ours, *exact)), wanted) < 1e-13, (name, case)

# what the parts cannot hold goes by vectors: it reaches what its windows see, and nothing else
cut(4096, 64, 100)
case = (3, 20, 12, 11), 40, (3, 3), (1, 1), (1, 1), (1, 1), 1
for value in (np.nan, np.inf, -np.inf, 1e-40, 3e-36, 3.4e38):
    for place in range(5):
        given, rest = operands(*case)
        given[place].flat[given[place].size // 3] = value
        for name, function in all_of(*given, rest):
            if name == "transpose" and place == 1 and not np.isfinite(value):
                continue  # the reference does not multiply the weight by the zeros around g, all others do
            with np.errstate(all="ignore"):
                wanted = function(reference, *given)
            got = whole(function(ours, *given))
            np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4, err_msg=f"{name} {value} {place}")
for x_scale, w_scale in ((3e-36, 1.0), (1e-20, 1e-18), (1e-30, 1e8), (1e20, 1e-20), (1e25, 1e13), (1e36, 0.1)):
    given, rest = operands(*case)
    given = [np.abs(value) for value in given]
    given[0], given[3], given[1] = given[0] * np.float32(x_scale), given[3] * np.float32(x_scale), given[1] + 1
    given[1] *= np.float32(w_scale)
    for name, function in all_of(*given, rest):
        none = np.zeros(40, np.float32), np.zeros(20, np.float32)
        g = given[3] if name != "weight" else (np.abs(normal(*given[3].shape)) + 1) * np.float32(w_scale)
        with np.errstate(all="ignore"):
            wanted = function(reference, *[v.astype(float) for v in (given[0], given[1], none[0], g, none[1])])
            got = whole(function(ours, given[0], given[1], none[0], g, none[1]))
        close = np.abs(got - wanted) <= 2e-6 * np.abs(wanted) + 1e-43
        assert np.where(wanted < 3.4e38, close, np.isinf(got)).all(), (name, x_scale, w_scale)

# one thread and many cut the same jobs, and take the same way for each
cut(1 << 18, 256, 448)
for special in (1.0, np.inf, 1e-38):
    for case in CASES[:4] + [((8, 33, 7, 7), 40, (3, 3), (1, 1), (1, 1), (1, 1), 1)]:
        given, rest = operands(*case)
        given[0].flat[given[0].size // 3], given[3].flat[5] = special, special
        many = []
        for threads in (2, 1):
            for module in modules:
                module.threads_for = lambda work, least: threads
            convolution.get_num_threads = lambda: threads
            forget()
            with np.errstate(all="ignore"):
                many.append([function(ours, *given) for _, function in all_of(*given, rest)])
        for two, one in zip(*many):
            np.testing.assert_array_equal(two, one)

# of a backward pass the precision counts that is in force when it runs
with tn.use_kernels("cpu"):
    data, kernel = normal(2, 16, 10, 10), normal(32, 16, 3, 3)
    x, w = tn.tensor(data, requires_grad=True), tn.tensor(kernel, requires_grad=True)
    for forward, backward in (("high", "highest"), ("highest", "high")):
        with tn.precision(forward):
            y = tn.conv2d(x, w, padding=1)
        g = normal(*y.shape)
        with tn.precision(backward):
            y.backward(tn.tensor(g))
        rest = (1, 1), (1, 1), (1, 1), 1
        wanted = reference.conv(data.astype(float), kernel.astype(float), None, *rest)
        assert (error(y.data, wanted) > 1e-6) == (forward == "high")
        wanted = reference.conv_transpose(g.astype(float), kernel.astype(float), None, *rest, (10, 10))
        assert (error(x.grad.data, wanted) > 1e-6) == (backward == "high")
        wanted = reference.conv_weight_grad(data.astype(float), g.astype(float), (3, 3), *rest)
        assert (error(w.grad.data, wanted) > 1e-6) == (backward == "high")
        x.grad = w.grad = None

print("ok")
"""


def test_convolutions_in_a_process_of_their_own():
    forced = {**os.environ, "TINYGRAD_NOTES_ISA": "amx"}
    got = subprocess.run([sys.executable, "-c", PROGRAM], env=forced, capture_output=True, text=True)
    assert got.returncode == 0, got.stderr
    assert got.stdout.startswith("ok")
