"""Compiled code: kept between processes, and made anew when any source changes. Threads: after a fork, and how many."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes.kernels.cpu import compile as compiler
from tinygrad_notes.kernels.cpu import products, threads
from tinygrad_notes.kernels.cpu.buffers import address, scratch
from tinygrad_notes.kernels.cpu.compile import parallel_kernel
from tinygrad_notes.kernels.cpu.isa.memory import rounded
from tinygrad_notes.kernels.cpu.isa.vector import itemsize, put

ROOT = Path(tn.__file__).parent.parent
PROGRAM = """
import numpy as np
from tinygrad_notes.kernels.cpu.buffers import aligned
from tinygrad_notes.kernels.cpu.compile import FOLDER
from tinygrad_notes.kernels.cpu.panels import pack
source, target = np.arange(6, dtype=np.float32), aligned(4 * 8).view(np.float32)
pack(source.ctypes.data, 4, 0, 6, 1, 8, target.ctypes.data, np.float32(0))
print(target.tolist(), len(list(FOLDER.rglob("*.nbc"))), sum(pack.stats.cache_hits.values()))
"""


def run(root: Path, cache: Path) -> tuple[str, int, int]:
    """What the program prints in a process of its own: the packed numbers, the files kept, the hits."""
    environment = {**os.environ, "PYTHONPATH": str(root), "TINYGRAD_NOTES_CACHE": str(cache)}
    got = subprocess.run([sys.executable, "-c", PROGRAM], cwd=cache, env=environment, capture_output=True, text=True)
    assert got.returncode == 0, got.stderr
    values, files, hits = got.stdout.strip().rsplit(" ", 2)
    return values, int(files), int(hits)


def test_an_edited_micro_kernel_is_compiled_anew(tmp_path):
    """Numba alone would go on with the old code: the edit is in another file than the kernel that is called."""
    root, cache = tmp_path / "copy", tmp_path / "cache"
    cache.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "kernels")
    shutil.copytree(ROOT / "tinygrad_notes", root / "tinygrad_notes", ignore=ignore)
    shutil.copytree(ROOT / "kernels", root / "tinygrad_notes" / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    first = run(root, cache)
    assert first[0] == "[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.0, 0.0]"
    assert run(root, cache) == (first[0], first[1], 1)  # the second process compiles nothing
    vector = root / "tinygrad_notes/kernels/cpu/isa/vector.py"
    text = vector.read_text()
    assert text.count("ir.Constant(ELEMENTS[like][0], 0.0)") == 1
    vector.write_text(text.replace("ir.Constant(ELEMENTS[like][0], 0.0)", "ir.Constant(ELEMENTS[like][0], 9.0)"))
    assert run(root, cache)[0] == "[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 9.0, 9.0]"


def test_other_peoples_functions_keep_their_cache():
    assert str(compiler.FOLDER) != compiler.config.CACHE_DIR


def test_a_forked_child_computes():
    a = np.ones((400, 400), np.float32)
    assert products.matmul(a, a)[0, 0] == 400  # the pool runs
    child = os.fork()
    if child == 0:
        os._exit(0 if products.matmul(a, a)[0, 0] == 400 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_number_of_threads():
    before = tn.get_num_threads()
    try:
        tn.set_num_threads(1)
        assert (tn.get_num_threads(), threads.threads_for(1e12, 1)) == (1, 1)
    finally:
        tn.set_num_threads(before)
    assert threads.threads_for(10, 100) == 1
    for wrong in (0, 1.5, True, 10**6):
        with pytest.raises(tn.DTypeError, match="set_num_threads: count is"):
            tn.set_num_threads(wrong)


def test_without_tbb_a_forked_child_works_alone(monkeypatch):
    monkeypatch.setattr(threads, "SAFE", False)
    monkeypatch.setitem(threads._state, "forked", True)
    assert threads.threads_for(1e12, 1) == 1


# ---------------------------------------------------------------------- kernels of many threads


def fill(target, count, factor, like, thread, threads):
    """target[i] = factor i, in the dtype of ``like``; ``factor``, a float64, stands before it."""
    for i in range(thread * count // threads, (thread + 1) * count // threads):
        put(target + i * itemsize(like), rounded(factor * i, like))


def gather(target, places, pair, thread, threads):
    """target[i] = places[i] pair[0] + pair[1], integers."""
    for i in range(thread * len(places) // threads, (thread + 1) * len(places) // threads):
        target[i] = places[i] * pair[0] + pair[1]


def fail(target, thread, threads):
    """The second of the threads raises."""
    if thread == 1:
        raise ValueError("no")
    target[thread] = 1


def scaled(kernel, dtype, factor=3.0, shares=2):
    x = np.zeros(101, dtype)
    kernel(address(x), len(x), factor, x.dtype.type(0), shares)
    return x


@pytest.fixture(scope="module")
def compiled():
    """Numba's functions, compiled once for all tests; each test puts them in a new kernel, which has had no call."""
    return {function.__name__: parallel_kernel(function).share for function in (fill, gather, fail)}


@pytest.fixture
def fresh(compiled):
    def make(function):
        kernel = parallel_kernel(function)
        kernel.share = compiled[function.__name__]
        return kernel

    return make


@pytest.mark.parametrize("dtypes", [(np.float32, np.float64), (np.float64, np.float32)])
@pytest.mark.parametrize("factor", [3.0, np.float64(3)])
def test_a_scalar_of_another_dtype_does_not_decide(fresh, dtypes, factor):
    """eps is a float64 whatever the dtype of x; it stands first, and must not stand for all."""
    kernel = fresh(fill)
    for dtype in (*dtypes, *dtypes):
        np.testing.assert_array_equal(scaled(kernel, dtype, factor), 3 * np.arange(101.0))


def test_arrays_and_tuples(fresh):
    kernel, places, target = fresh(gather), np.arange(10), np.zeros(10, np.int64)
    for pair in ((2, 1), (np.int32(2), True), (2, np.True_)):
        target.fill(0)
        kernel(target, places, pair, 2)
        np.testing.assert_array_equal(target, 2 * np.arange(10) + 1)
    for wrong in (np.arange(20)[::2], np.arange(10.0), np.arange(10, dtype=np.int32)):
        with pytest.raises(TypeError, match="argument 1 must be an array of int64 in one piece"):
            kernel(target, wrong, (2, 1), 2)
    with pytest.raises(TypeError, match="in one piece"):
        fresh(gather)(target, np.arange(20)[::2], (2, 1), 2)
    with pytest.raises(struct.error):
        kernel(target, places, (2**63, 1), 2)


def test_a_wrong_number_of_arguments(fresh):
    kernel, x = fresh(fill), np.zeros(5)
    zero = np.float64(0)
    for wrong in ((address(x), 5, zero, 1), (address(x), 5, 5, 3.0, zero, 1)):
        with pytest.raises(TypeError, match=f"fill: {len(wrong)} arguments, expected 5"):
            kernel(*wrong)  # the first call
    scaled(kernel, np.float64)
    for wrong in ((address(x), 5, 3.0, zero), (address(x), 5, 3.0, zero, 1, 1)):
        with pytest.raises((TypeError, struct.error)):
            kernel(*wrong)
    np.testing.assert_array_equal(scaled(kernel, np.float32), 3 * np.arange(101.0))  # they left nothing behind
    assert not x.any()


def test_the_first_calls_come_from_several_threads(fresh):
    kernel, barrier, right = fresh(fill), threading.Barrier(4), []

    def work(dtype):
        barrier.wait()
        right.extend(np.array_equal(scaled(kernel, dtype), 3 * np.arange(101.0)) for _ in range(50))

    workers = [threading.Thread(target=work, args=(dtype,)) for dtype in (np.float32, np.float64) * 2]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert right == [True] * 200


@pytest.mark.parametrize("before", [True, False])
def test_a_kernel_in_a_forked_child(fresh, before):
    kernel = fresh(fill)
    if before:
        scaled(kernel, np.float32)
    child = os.fork()
    if child == 0:
        os._exit(0 if scaled(kernel, np.float32)[-1] == 300 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_call_within_a_call(fresh, monkeypatch):
    """A signal's handler, or what the collector of garbage runs, may call a kernel while another is about to start."""
    kernel, usable, inner = fresh(fill), threads.usable, []
    scaled(kernel, np.float64)

    def interrupted():
        monkeypatch.setattr(threads, "usable", usable)
        inner.append(scaled(kernel, np.float64, 5.0))
        return usable()

    monkeypatch.setattr(threads, "usable", interrupted)
    np.testing.assert_array_equal(scaled(kernel, np.float64), 3 * np.arange(101.0))
    np.testing.assert_array_equal(inner[0], 5 * np.arange(101.0))


@pytest.mark.parametrize("shares", [2, 5])
def test_an_exception_in_a_kernel_is_not_lost(fresh, shares):
    kernel, target = fresh(fail), np.zeros(5, np.int64)
    with pytest.raises(RuntimeError, match="fail: an exception was raised inside the kernel"):
        kernel(target, shares)
    kernel(target, 1)  # and is forgotten afterwards
    assert target[0] == 1


def test_scratch_is_kept_and_grows():
    small = scratch("test", 100)
    assert small % 64 == 0
    assert scratch("test", 64) == small
    assert scratch("another test", 64) != small
    large = scratch("test", 10**6)
    assert large % 64 == 0
    assert scratch("test", 100) == large


ALONE = """
import numpy as np
from tinygrad_notes.kernels.cpu import compile as compiler
from tinygrad_notes.kernels.cpu.isa.vector import get
@compiler.kernel
def first(x, like):
    return get(x, like) + 1
x = np.arange(10.0)
print(compiler.KEEPS, first(x.ctypes.data, np.float64(0)))
"""
NO_HOME = "import pathlib\ndef no(*_): raise RuntimeError\npathlib.Path.home = no\n"  # a user without an entry


@pytest.mark.parametrize("case", ["a file", "no home", "no compiler"])
def test_without_a_folder_or_against_the_users_options(tmp_path, case):
    """No compiled code can be kept, or the user debugs functions of his own: kernels still run."""
    changed = {k: v for k, v in os.environ.items() if k not in ("TINYGRAD_NOTES_CACHE", "XDG_CACHE_HOME")}
    if case != "no home":
        changed["TINYGRAD_NOTES_CACHE"] = str(tmp_path / "here")
    if case == "a file":
        (tmp_path / "here").write_text("")
    if case == "no compiler":
        changed["NUMBA_DISABLE_JIT"] = "1"
    (tmp_path / "program.py").write_text((NO_HOME if case == "no home" else "") + ALONE)
    got = subprocess.run([sys.executable, tmp_path / "program.py"], env=changed, capture_output=True, text=True)
    assert got.returncode == 0, got.stderr
    assert got.stdout.split() == [str(case == "no compiler"), "1.0"]


def test_options_of_the_compiler_name_the_folder(monkeypatch):
    before = compiler.sources_hash()
    monkeypatch.setattr(compiler.config, "BOUNDSCHECK", 1)
    assert compiler.sources_hash() != before


INSTANCES = """
import numpy as np
from tinygrad_notes.kernels.cpu import compile as compiler
from tinygrad_notes.kernels.cpu.isa.memory import rounded
from tinygrad_notes.kernels.cpu.isa.vector import put
number = None
def fill(out, like, thread, threads):
    put(out, rounded(number, like))
kernels = [compiler.instance(fill, f"fill_{i}", number=i) for i in (3, 4)]
x = np.zeros(2)
for place, kernel in enumerate(kernels):
    kernel(x.ctypes.data + 8 * place, np.float64(0), 1)
print(*x, *(sum(kernel.share.stats.cache_hits.values()) for kernel in kernels))
"""


def test_kernels_of_one_text_are_kept_apart(tmp_path):
    (tmp_path / "program.py").write_text(INSTANCES)
    environment = {**os.environ, "TINYGRAD_NOTES_CACHE": str(tmp_path / "cache")}
    for hits in ("0 0", "1 1"):
        got = subprocess.run([sys.executable, tmp_path / "program.py"], env=environment, capture_output=True, text=True)
        assert got.returncode == 0, got.stderr
        assert got.stdout.split() == ["3.0", "4.0", *hits.split()]
