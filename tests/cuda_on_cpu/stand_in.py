"""Runs the project's CUDA kernels on NumPy arrays, with g++ for a compiler; ``kernels/cuda/README.md`` says how.

:func:`run` is what ``launch.RUNNERS`` asks for. It compiles the .cu with ``stand_in.h`` before it, puts every array
between pages that nobody may touch, and launches. Whatever a kernel does wrong is a :class:`KernelFault`.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_notes.kernels.cuda import launch
from tinygrad_notes.kernels.cuda.launch import Kernels, PointerTable

HERE = Path(__file__).resolve().parent
CACHE = Path(tempfile.gettempdir()) / f"tinygrad_notes_stand_in_{os.getuid()}"
COMPILER = shutil.which("g++") if sys.platform == "linux" else None
# Indices and addresses are checked where the compiler can; what the checks call stands in stand_in.cpp.
FLAGS = ("-std=c++17", "-O1", "-fPIC", "-shared", "-fno-exceptions", "-fno-strict-aliasing", "-ffp-contract=off")
# Without the last, a static variable of a template would be one for all files that were loaded.
CHECKS = ("-fsanitize=bounds,alignment", "-nodefaultlibs", "-fno-gnu-unique")
INCLUDE = re.compile(r'^#include "(\w+\.cuh)"$', re.MULTILINE)
ORDERS = ("up", "down", "shuffled")
MOST_THREADS, MOST_BLOCKS_ACROSS, MOST_SHARED = 1024, 65535, 227 * 1024
KIND = {"f": "f", "i": "i", "u": "u", "b": "b"}

settings: dict[str, Any] = {"order": "up", "seed": 1}  # how threads are ordered; what chance begins with
launches: list[str] = []  # the names of the kernels that ran
_texts: dict[str, str] = {}  # files whose text a test has changed


class KernelFault(AssertionError):
    """A kernel waits for ever, reaches memory that is not its own, or is launched with what it does not take."""


def run(
    kernels: Kernels,
    name: str,
    grid: tuple[int, ...],
    block: tuple[int, ...],
    arguments: tuple[Any, ...],
    shared: int,
) -> None:
    """Launch as CuPy does, on arrays of NumPy."""
    if name not in kernels.names:
        raise KernelFault(f"{kernels.file} lists no kernel {name!r}, only {', '.join(kernels.names)}")
    library, function, signature = _kernel(kernels, name)
    _check_sizes(name, grid, block, shared)
    _check_arguments(name, signature, arguments)
    runtime = _runtime()
    at_end = settings["order"] != "up"  # one order has a guard before the first byte, the others behind the last
    try:
        places = _Places(runtime, name, arguments, at_end)
        size = ctypes.c_size_t()
        variables = library.stand_in_variables(ctypes.byref(size))
        sizes = [(ctypes.c_uint * 3)(*(*given, 1, 1)[:3]) for given in (grid, block)]
        order = ORDERS.index(settings["order"])
        said = runtime.stand_in_launch(
            function, places.arguments, *sizes, shared, order, settings["seed"], ctypes.c_void_p(variables), size
        )
        if said:
            raise KernelFault(f"{name} of {kernels.file}: {said.decode()}")
        places.copy_back()
        launches.append(name)
    finally:
        runtime.stand_in_free()


def each_order() -> Iterator[str]:
    """The three orders, each set while the loop's body runs."""
    for order in ORDERS:
        settings["order"] = order
        yield order


def right_in_every_order(check: Callable[[], Any]) -> bool:
    """Whether ``check`` passes in the three orders: it raises no AssertionError, a KernelFault among them, and what it
    returns, if anything, is true."""
    for _ in each_order():
        try:
            said = check()
        except AssertionError:
            return False
        if said is not None and not said:
            return False
    return True


def assert_caught(check: Callable[[], Any], file: str, replace: str, by: str) -> None:
    """``check`` passes in every order, and with ``by`` for ``replace`` in ``file`` no longer in all of them."""
    assert right_in_every_order(check)
    with faulty(file, replace, by):
        assert not right_in_every_order(check), "the fault was not noticed"


@contextmanager
def faulty(file: str, replace: str, by: str) -> Iterator[None]:
    """While it lasts, ``file`` (a .cu or .cuh) is compiled with ``by`` for ``replace``, which must stand there once."""
    known = launch.FILES.get(file)
    text = (known.path if known else launch.FOLDER / file).read_text()
    assert text.count(replace) == 1, f"{replace!r} stands {text.count(replace)} times in {file}"
    _texts[file] = text.replace(replace, by)
    try:
        yield
    finally:
        del _texts[file]


# ---------------------------------------------------------------------- compiling


def _compiled(text: str, files: list[Path], flags: tuple[str, ...], name: str) -> ctypes.PyDLL:
    """The shared object that g++ makes of ``text``, kept by a hash of all that goes into it."""
    assert COMPILER is not None
    parts = [text.encode(), repr(flags).encode(), *(path.read_bytes() for path in files)]
    path = CACHE / f"{hashlib.sha256(bytes(0).join(parts)).hexdigest()[:24]}.so"
    if not path.exists():
        CACHE.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = CACHE / f"{path.stem}.{os.getpid()}.part"
        command = [COMPILER, *flags, f"-I{HERE}", f"-I{launch.FOLDER}", "-x", "c++", "-", "-o", str(made), "-lm", "-lc"]
        result = subprocess.run(command, input=text, text=True, capture_output=True)
        if result.returncode:
            raise KernelFault(launch.compile_error(name, "for the CPU", result.stderr))
        made.rename(path)
    return ctypes.PyDLL(str(path), mode=ctypes.RTLD_GLOBAL if name == "stand_in.cpp" else ctypes.RTLD_LOCAL)


@functools.cache
def _runtime() -> ctypes.PyDLL:
    """stand_in.cpp, whose functions the kernels find by name."""
    source, headers = HERE / "stand_in.cpp", sorted(HERE.glob("*.h"))
    flags = ("-std=c++17", "-O2", "-fPIC", "-shared", "-U_FORTIFY_SOURCE", "-fno-strict-aliasing")
    library = _compiled(source.read_text(), headers, flags, "stand_in.cpp")
    library.stand_in_launch.restype = ctypes.c_char_p
    library.stand_in_launch.argtypes = [
        *(ctypes.c_void_p,) * 4,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_uint64,
        ctypes.c_void_p,
        ctypes.c_size_t,
    ]
    library.stand_in_reserve.restype = ctypes.c_void_p
    library.stand_in_reserve.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
    return library


def _kernel(kernels: Kernels, name: str) -> tuple[ctypes.PyDLL, Any, list[str]]:
    """The library that holds the kernel, the kernel, and its parameters as stand_in.h writes them."""
    return _file(kernels.file, kernels.text, (name,) if _texts else kernels.names, tuple(sorted(_texts.items())))[name]


@functools.cache
def _file(
    file: str, text: str, names: tuple[str, ...], texts: tuple[tuple[str, str], ...]
) -> dict[str, tuple[ctypes.PyDLL, Any, list[str]]]:
    """All kernels of a file; where its text or a header's was changed, only the one that is asked for."""
    _runtime()
    changed = dict(texts)
    text = changed.get(file, text)
    text = _with_headers(text, changed)
    wrapped = [
        '#include "stand_in.h"',
        f'#line 1 "{file}"',
        text,
        "static thread_local char stand_in_anchor[16];",
        'extern "C" void* stand_in_variables(size_t* size) {'
        " return stand_in::thread_variables(stand_in_anchor, size); }",
    ]
    for i, name in enumerate(names):
        wrapped.append(f'extern "C" void run_{i}(void** arguments) {{ stand_in::call(&{name}, arguments); }}')
        wrapped.append(f'extern "C" const char* signature_{i}() {{ return stand_in::signature(&{name}); }}')
    headers = [HERE / "stand_in.h", *sorted(launch.FOLDER.glob("*.cuh"))]
    library = _compiled("\n".join(wrapped), headers, (*FLAGS, *CHECKS), file)
    library.stand_in_variables.restype = ctypes.c_void_p
    kernels = {}
    for i, name in enumerate(names):
        signature = library[f"signature_{i}"]
        signature.restype = ctypes.c_char_p
        kernels[name] = library, library[f"run_{i}"], signature().decode().split()
    return kernels


def _with_headers(text: str, changed: dict[str, str]) -> str:
    """``text`` with changed headers in the place of the lines that include them, and headers that include those."""
    changed = {file: own for file, own in changed.items() if file.endswith(".cuh")}
    others = {path.name: path.read_text() for path in launch.FOLDER.glob("*.cuh")} if changed else {}
    while found := [h for h in others.keys() - changed.keys() if any(f'"{c}"' in others[h] for c in changed)]:
        changed |= {header: others[header] for header in found}
    placed: set[str] = set()

    def place(include: re.Match[str]) -> str:
        header = include[1]
        if header not in changed:
            return include[0]
        if header in placed:
            return ""
        placed.add(header)
        return f'#line 1 "{header}"\n' + INCLUDE.sub(place, changed[header])

    return INCLUDE.sub(place, text)


# ---------------------------------------------------------------------- the launch


def _check_sizes(name: str, grid: tuple[int, ...], block: tuple[int, ...], shared: int) -> None:
    threads = int(np.prod(block))
    if not all(isinstance(size, int) for size in (*grid, *block, shared)):
        raise KernelFault(f"{name}: the sizes {grid}, {block}, {shared} are not all Python's ints")
    if min(grid) < 1 or max((*grid, 1, 1)[1:3]) > MOST_BLOCKS_ACROSS or len(grid) > 3:
        raise KernelFault(f"{name}: a GPU has no grid of {grid} blocks")
    if threads < 1 or threads > MOST_THREADS or len(block) > 3:
        raise KernelFault(f"{name}: a GPU has no block of {block} threads")
    if not 0 <= shared <= MOST_SHARED:
        raise KernelFault(f"{name}: a GPU has no {shared} bytes of shared memory for a block, at most {MOST_SHARED}")


def _check_arguments(name: str, signature: list[str], arguments: tuple[Any, ...]) -> None:
    """The arguments against the C++ signature, of which a GPU sees nothing but bytes."""
    if len(arguments) != len(signature):
        raise KernelFault(f"{name} takes {len(signature)} arguments, {len(arguments)} were given")
    for i, (parameter, argument) in enumerate(zip(signature, arguments)):
        if isinstance(argument, PointerTable):
            given = f"s{8 * argument.capacity}"
            if not all(array.flags.c_contiguous for array in argument):
                raise KernelFault(f"{name}: argument {i} has an array that is not in C order")
        elif isinstance(argument, np.ndarray) and argument.dtype.kind == "V":
            given = f"s{argument.nbytes}"
        elif isinstance(argument, np.ndarray):
            if not argument.flags.c_contiguous:
                raise KernelFault(f"{name}: argument {i} is an array that is not in C order")
            kind, size = argument.dtype.kind, argument.dtype.itemsize
            if parameter[0] in "pc" and (parameter[1] == "v" or (parameter[1] == "s" and int(parameter[2:]) == size)):
                continue  # void*, or a storage type such as Half
            given = f"{parameter[0] if parameter[0] in 'pc' else 'p'}{KIND.get(kind, kind)}{size}"
        elif isinstance(argument, np.generic):
            given = f"{KIND.get(argument.dtype.kind, argument.dtype.kind)}{argument.dtype.itemsize}"
        else:
            raise KernelFault(f"{name}: argument {i} is {type(argument).__name__}, neither an array nor NumPy's scalar")
        if given != parameter:
            raise KernelFault(f"{name}: argument {i} is {given}, the kernel takes {parameter} (stand_in.h: Parameter)")


class _Places:
    """The arrays of a launch in memory with guards, those that share memory in one piece, and what points at them."""

    def __init__(self, runtime: ctypes.PyDLL, name: str, arguments: tuple[Any, ...], at_end: bool):
        arrays = [
            (f"argument {i}", array)
            for i, argument in enumerate(arguments)
            for array in (argument if isinstance(argument, PointerTable) else [argument])
            if isinstance(array, np.ndarray) and array.dtype.kind != "V"
        ]
        pieces: list[list[Any]] = []  # [first address, address behind the last, names, arrays]
        for label, array in sorted(arrays, key=lambda pair: pair[1].ctypes.data):
            first = array.ctypes.data
            if pieces and array.nbytes and first < pieces[-1][1]:
                pieces[-1][1] = max(pieces[-1][1], first + array.nbytes)
                pieces[-1][2].append(label)
                pieces[-1][3].append(array)
            else:
                pieces.append([first, first + array.nbytes, [label], [array]])
        self.back: list[tuple[int, int, int]] = []
        moved: dict[int, int] = {}  # id of an array: where it lies now
        for number, (first, end, labels, members) in enumerate(pieces):
            place = runtime.stand_in_reserve(" and ".join(labels).encode(), end - first, first % 16, at_end)
            if place is None:
                raise MemoryError(f"{name}: no memory for the arguments")
            ctypes.memmove(place, first, end - first)
            if any(member.flags.writeable for member in members):
                self.back.append((first, place, end - first))
            else:
                runtime.stand_in_protect(number)
            for member in members:
                moved[id(member)] = place + member.ctypes.data - first
        self.held = [_by_value(argument, moved) for argument in arguments]
        self.arguments = (ctypes.c_void_p * max(1, len(arguments)))(*(held.ctypes.data for held in self.held))

    def copy_back(self) -> None:
        for first, place, size in self.back:
            ctypes.memmove(first, place, size)


def _by_value(argument: Any, moved: dict[int, int]) -> np.ndarray:
    """What a parameter of the kernel holds, in memory of its own."""
    if isinstance(argument, PointerTable):
        table = np.zeros(argument.capacity, np.uint64)
        table[: len(argument)] = [moved[id(array)] for array in argument]
        return table
    if isinstance(argument, np.ndarray) and argument.dtype.kind != "V":
        return np.array(moved[id(argument)], np.uint64)
    return np.array(argument)
