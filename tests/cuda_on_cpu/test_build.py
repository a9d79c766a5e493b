"""Every kernel compiles for every architecture, spills nothing that is not listed, and stands in registers.md."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.conftest import required
from tests.cuda_on_cpu import stand_in
from tests.cuda_on_cpu.test_fusion import calls_of_ops, in_one_file
from tests.cuda_on_cpu.test_stand_in import FILE, NAMES
from tinygrad_notes import kernels
from tinygrad_notes.errors import DeviceError
from tinygrad_notes.kernels import cuda, reference
from tinygrad_notes.kernels.cuda import build, launch
from tinygrad_notes.modes import RAW, in_mode


@pytest.fixture(scope="module")
def table():
    if build.library() is None:
        reason = "NVRTC is not installed; pip install 'tinygrad-notes[nvrtc]' brings it"
        assert "nvrtc" not in required(), reason
        pytest.skip(reason)
    return build.compile_all()


def test_every_kernel_compiles_and_what_spills_is_listed(table):
    assert not build.spilling(table)
    for listed in build.SPILLS:
        assert any(f"{file} {name}".startswith(listed) for file, name in table), f"{listed}: no such kernel"


def test_the_table_of_registers_is_what_the_compiler_says(table):
    written = build.TABLE.read_text()
    if f"Compiled by NVRTC {build.version()}.\n" in written:
        assert written == build.text(table), "run python -m tinygrad_notes.kernels.cuda.build"


def test_the_table_of_registers_names_every_kernel():
    listed = {(file, name) for file, of in launch.FILES.items() for name in of.names}
    assert build.kernels_of_the_table() == listed, "run python -m tinygrad_notes.kernels.cuda.build"


@pytest.mark.parametrize("architecture", build.ARCHITECTURES)
def test_every_primitive_compiles(table, architecture):
    primitives = launch.Kernels(FILE, NAMES, stand_in.HERE)
    try:
        assert set(build.compile_file(primitives, architecture)) == set(NAMES)
        first = primitives.names[0]
        primitives.names = (first, "no_such_kernel<float>")
        with pytest.raises(DeviceError, match=rf"no_such_kernel<float> for {architecture} of {FILE} does not compile"):
            build.compile_file(primitives, architecture)
    finally:
        del launch.FILES[FILE]


@pytest.mark.parametrize("architecture", build.ARCHITECTURES)
def test_every_fused_expression_compiles(table, architecture):
    with np.errstate(all="ignore"):
        calls = [call for _, call in calls_of_ops(np.float32)]
    with in_mode(lambda _: RAW):
        usage = build.compile_file(in_one_file(calls), architecture)
    assert len(usage) > 70
    assert not any(one.spilled for one in usage.values())


@pytest.fixture
def broken(tmp_path):
    """A kernel that is right for int, and not for float."""
    (tmp_path / "broken.cu").write_text("template <class T>\n__global__ void odd(T* x) {\n    x[0] = x[0] % 2;\n}\n")
    yield launch.Kernels("broken.cu", ["odd<int>", "odd<float>"], tmp_path)
    del launch.FILES["broken.cu"]


def test_a_compile_error_names_kernel_type_and_line(table, broken):
    sentence = r"^kernel odd<float> for sm_90 of broken\.cu does not compile: broken\.cu\(3\): error"
    with pytest.raises(DeviceError, match=sentence):
        build.compile_file(broken, "sm_90")


class Cupy:
    """What of CuPy a launch needs; ``asked`` is what the compiler and the kernels were asked."""

    def __init__(self):
        self.asked, self.device = [], 0
        self.cuda = self.runtime = self.compiler = self
        self.CompileException = type("CompileException", (Exception,), {})

    def getDevice(self):
        return self.device

    def RawModule(self, code, options, name_expressions):
        self.asked.append(("compile", *name_expressions, code.splitlines()[0], options))
        return self

    def get_function(self, name):
        if "float" in name:
            raise self.CompileException("broken.cu(3): error: expression must have integral type\n\n1 error detected")
        self.max_dynamic_shared_size_bytes = 0
        return self

    def kernel(self, grid, block, arguments, shared):
        self.asked.append((grid, block, arguments, shared, self.max_dynamic_shared_size_bytes))


def test_what_a_launch_asks_of_cupy(broken, monkeypatch):
    cupy = Cupy()
    monkeypatch.setitem(launch.RUNNERS, Cupy, launch._cupy_runner(cupy))
    for shared in (100, 60_000, 50_000):
        broken.launch("odd<int>", (2,), (32,), (cupy,), shared)
    hashed = f"-DHEADERS_{launch.headers()}"
    assert cupy.asked == [
        ("compile", "odd<int>", '#line 1 "broken.cu"', (f"-I{launch.FOLDER}", hashed)),
        ((2,), (32,), (cupy,), 100, 0),
        ((2,), (32,), (cupy,), 60_000, 60_000),
        ((2,), (32,), (cupy,), 50_000, 60_000),
    ]
    cupy.device = 1
    broken.launch("odd<int>", (2,), (32,), (cupy,))
    assert [asked[0] for asked in cupy.asked[4:]] == ["compile", (2,)]
    sentence = r"^kernel odd<float> of broken\.cu does not compile: broken\.cu\(3\): error: expression must have"
    with pytest.raises(DeviceError, match=sentence):
        broken.launch("odd<float>", (1,), (32,), (cupy,))
    with pytest.raises(DeviceError, match=r"broken\.cu lists no kernel 'odd<char>', only odd<int>, odd<float>"):
        broken.launch("odd<char>", (1,), (32,), (cupy,))


def test_every_file_of_kernels_is_launched_by_a_family():
    assert {path.name for path in launch.FOLDER.glob("*.cu")} == set(launch.FILES)


def test_every_function_says_what_computes_it():
    kinds = cuda.kinds()
    assert list(kinds) == list(reference.__all__)
    assert set(kinds.values()) <= {"kernel", "cuBLAS", "kernel or cuBLAS", "CuPy", "composed"}
    for name, kind in kinds.items():
        if getattr(cuda, name) is getattr(reference, name):
            assert kind == "composed"
    rows = re.findall(r"^\| `(\w+)` \| ([\w ]+) \|$", (launch.FOLDER / "README.md").read_text(), re.MULTILINE)
    assert dict(rows) == kinds


def test_the_backend_can_be_chosen():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    with kernels.use_kernels("cuda"):
        y = kernels.softmax(x, -1)
    assert stand_in.launches == ["softmax_warp<float, false, 8>"]
    np.testing.assert_allclose(y, reference.softmax(x, -1), rtol=1e-6)
