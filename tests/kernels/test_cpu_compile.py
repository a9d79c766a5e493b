"""Compiled code: kept between processes, and made anew when any source changes. Threads: after a fork, and how many."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes.kernels.cpu import compile as compiler
from tinygrad_notes.kernels.cpu import products, threads

ROOT = Path(tn.__file__).parent.parent
PROGRAM = """
import numpy as np
from tinygrad_notes.kernels.cpu.buffers import aligned
from tinygrad_notes.kernels.cpu.compile import FOLDER
from tinygrad_notes.kernels.cpu.gemm import pack
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
