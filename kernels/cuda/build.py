"""Compiles every kernel for every architecture with NVRTC, without a GPU, a driver or CuPy.

``python -m tinygrad_notes.kernels.cuda.build`` writes ``registers.md``: of each kernel the registers, spills and static
shared memory. ``pip install 'tinygrad-notes[nvrtc]'`` brings the compiler.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import multiprocessing
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tinygrad_notes.errors import DeviceError
from tinygrad_notes.kernels import cuda  # with all families, each of which lists its kernels
from tinygrad_notes.kernels.cuda import launch

ARCHITECTURES = ("sm_80", "sm_90", "sm_120")
FLAGS = ("-std=c++17", "-ftz=true", "--device-as-default-execution-space")  # what CuPy adds to every module
TABLE = launch.FOLDER / "registers.md"
# Kernels that may spill, and why: how "file kernel" begins in the table.
_DIVISION = "registers are saved around the division of 64-bit numbers; adaptive windows of uneven sizes only"
_CALLS = "a few registers are saved around the calls of float64's division, exp and log; not a hot kernel"
_MASKS = "what masks and dropout need beside two bands of rows; without them another kernel runs"
SPILLS = {
    "softmax.cu softmax_block<double": _CALLS,
    "softmax.cu softmax_columns<double": _CALLS,
    "softmax.cu softmax_grad_columns<double": _CALLS,
    "loss.cu cross_entropy_grad<double": _CALLS,
    "attention.cu attention_tiles<float, float, 2, 128, 1, 32": "three registers beside 384 products of a tile",
    "attention.cu attention_tiles<BFloat16, float, 1, 128, 2, 32, false": _MASKS,
    "attention.cu attention_tiles<Half, Half, 1, 128, 2, 32, false": _MASKS,
    "attention_grad.cu attention_grad_keys<float, float, 2": "two results, and each number in two parts",
    "attention_grad.cu attention_grad_keys<BFloat16, float, 1, 64, 2, 32, false": _MASKS,
    "attention_grad.cu attention_grad_keys<Half, Half, 1, 64, 2, 32, false": _MASKS,
    "attention_grad.cu attention_grad_key_rows": _CALLS,
    "depthwise.cu depthwise_weight_grad<7, 1>": "sums of 49 taps in float64 and of a run in float32; sm_120 alone",
    "pooling.cu avg_pool_grad<float, true": _DIVISION,
    "pooling.cu avg_pool_grad<double, true": _DIVISION,
    "normalization.cu finish_grad": "a division of 64 bits, which is a call, outside of the large loops",
}

ENTRY = re.compile(
    r"Compiling entry function '([^']+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
    r"(\d+) bytes spill loads.*?Used (\d+) registers([^\n]*)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Usage:
    """What a thread (registers, bytes spilled to memory) and a block (bytes of static shared memory) take."""

    registers: int
    spilled: int
    shared: int


@functools.cache
def library() -> tuple[ctypes.CDLL, Path | None] | None:
    """NVRTC and the folder of CUDA's headers, of the wheels or of the system; None where there is none."""
    for folder in map(Path, sys.path):
        for path in sorted(folder.glob("nvidia/cu1*/lib/libnvrtc.so.1*"), reverse=True):
            if ".alt." not in path.name:
                include = path.parent.parent / "include"
                return ctypes.CDLL(str(path)), include if include.is_dir() else None
    name = ctypes.util.find_library("nvrtc")
    return (ctypes.CDLL(name), None) if name else None


def version() -> str:
    """NVRTC's version, such as 13.0: other versions use other numbers of registers."""
    nvrtc, _ = _required()
    major, minor = ctypes.c_int(), ctypes.c_int()
    nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


def compile_file(kernels: launch.Kernels, architecture: str) -> dict[str, Usage]:
    """What each of the kernels takes on ``architecture``; DeviceError, which names the first that does not compile."""
    try:
        return _compiled(kernels, kernels.names, architecture, "all its kernels")
    except DeviceError:
        for name in kernels.names:  # the compiler says which line is wrong, not for which kernel
            _compiled(kernels, (name,), architecture, name)
        raise


def _compiled(kernels: launch.Kernels, names: tuple[str, ...], architecture: str, what: str) -> dict[str, Usage]:
    nvrtc, include = _required()
    program = ctypes.c_void_p()

    def log() -> str:
        size = ctypes.c_size_t()
        nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetProgramLog(program, text)
        return text.value.decode()

    def check(status: int) -> None:
        if status:
            found = log() or f"NVRTC's status {status}"
            raise DeviceError(launch.compile_error(kernels.file, f"{what} for {architecture}", found))

    text, name = kernels.source.encode(), kernels.file.encode()
    check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, name, 0, None, None))
    try:
        for expression in names:
            check(nvrtc.nvrtcAddNameExpression(program, expression.encode()))
        flags = [f"-arch={architecture}", *FLAGS, "--ptxas-options=-v", f"-I{launch.FOLDER}"]
        flags += [f"-I{include}"] if include else []
        check(nvrtc.nvrtcCompileProgram(program, len(flags), (ctypes.c_char_p * len(flags))(*map(str.encode, flags))))
        found = {
            entry: Usage(int(registers), int(stores) + int(loads), _shared(rest))
            for entry, _, stores, loads, registers, rest in ENTRY.findall(log())
        }
        usage = {}
        for expression in names:
            lowered = ctypes.c_char_p()
            check(nvrtc.nvrtcGetLoweredName(program, expression.encode(), ctypes.byref(lowered)))
            usage[expression] = found[(lowered.value or b"").decode()]
        return usage
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def compile_all() -> dict[tuple[str, str], dict[str, Usage]]:
    """Of every (file, kernel) what it takes on every architecture; by two processes, for NVRTC has one lock."""
    assert cuda.__all__
    jobs = [(file, architecture) for file in sorted(launch.FILES) for architecture in ARCHITECTURES]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        results = pool.map(_compile_job, jobs)
    table: dict[tuple[str, str], dict[str, Usage]] = {}
    for (file, architecture), usage in zip(jobs, results):
        for name, taken in usage.items():
            table.setdefault((file, name), {})[architecture] = taken
    return table


def _compile_job(job: tuple[str, str]) -> dict[str, Usage]:
    file, architecture = job
    return compile_file(launch.FILES[file], architecture)


def text(table: dict[tuple[str, str], dict[str, Usage]]) -> str:
    """The table as it stands in the repository."""
    columns = ", ".join(ARCHITECTURES)
    lines = [
        "# Registers",
        "",
        "Written by `python -m tinygrad_notes.kernels.cuda.build`. A thread may have 255 registers; a multiprocessor",
        "has 65,536 for all its threads: 128 registers let 512 threads run at once. What does not fit is spilled to",
        f"memory. Each cell is for {columns}; static shared memory is in bytes.",
        "",
        f"Compiled by NVRTC {version()}.",
        "",
        "| kernel | registers | bytes spilled | static shared memory |",
        "|---|---|---|---|",
    ]
    for (file, name), of in sorted(table.items()):
        cells = [
            " ".join(str(getattr(of[architecture], field)) for architecture in ARCHITECTURES)
            for field in ("registers", "spilled", "shared")
        ]
        lines.append(f"| {file} `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def kernels_of_the_table() -> set[tuple[str, str]]:
    """The (file, kernel) pairs that the table in the repository names."""
    return set(re.findall(r"^\| (\S+\.cu) `([^`]+)` \|", TABLE.read_text(), re.MULTILINE))


def spilling(table: dict[tuple[str, str], dict[str, Usage]]) -> list[str]:
    """What spills and may not, by SPILLS."""
    return [
        f"{file} {name} for {architecture}: {usage.spilled} bytes"
        for (file, name), of in sorted(table.items())
        for architecture, usage in of.items()
        if usage.spilled and not any(f"{file} {name}".startswith(listed) for listed in SPILLS)
    ]


def _required() -> tuple[ctypes.CDLL, Path | None]:
    found = library()
    if found is None:
        raise DeviceError("NVRTC is not installed; pip install 'tinygrad-notes[nvrtc]' brings it")
    return found


def _shared(rest: str) -> int:
    size = re.search(r"(\d+) bytes smem", rest)
    return int(size[1]) if size else 0


if __name__ == "__main__":
    TABLE.write_text(text(compile_all()))
    print(TABLE)
