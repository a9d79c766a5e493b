"""Who runs a kernel: CuPy on a GPU or, for the arrays of NumPy, the stand-in that the tests install.

A family says once what it has, ``KERNELS = Kernels("softmax.cu", ["softmax_warp<float, false, 8>", ...])``, and
launches by name, ``KERNELS.launch(name, grid, block, arguments, shared)``. The arguments are what the kernel's C++
signature says: arrays in C order for its pointers, NumPy's scalars of the very C type for its numbers, what
:func:`numbers` and :func:`pointers` make for its tables. Nothing here imports CuPy before an array of it arrives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_notes import lazy
from tinygrad_notes.errors import DeviceError

Runner = Callable[["Kernels", str, tuple[int, ...], tuple[int, ...], tuple[Any, ...], int], None]

FOLDER = Path(__file__).resolve().parent
TYPES = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}  # dtypes of kernels, as C++ names them
WITHOUT_ASKING = 48 * 1024  # bytes of dynamic shared memory that a kernel may use without an attribute

FILES: dict[str, Kernels] = {}  # every file of kernels that was imported
RUNNERS: dict[type, Runner] = {}  # array type: who runs kernels on its arrays


class Kernels:
    """The kernels of one .cu file (of this folder); each name is compiled when it is first launched.

    ``names`` are all of its kernels with their template arguments: what the compile check and the tests compile.
    ``written`` is the text where there is no file.
    """

    def __init__(self, file: str, names: Iterable[str], folder: Path = FOLDER, written: str | None = None):
        self.file, self.names, self.path, self.written = file, tuple(names), folder / file, written
        self.compiled: dict[Any, Any] = {}  # what a runner keeps of them
        if written is None:
            FILES[file] = self

    @property
    def text(self) -> str:
        """What is compiled."""
        return self.path.read_text() if self.written is None else self.written

    @property
    def source(self) -> str:
        """The text, which names itself in the compiler's messages."""
        return f'#line 1 "{self.file}"\n{self.text}'

    def launch(
        self,
        name: str,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        arguments: tuple[Any, ...],
        shared: int = 0,
        like: Any = None,
    ) -> None:
        """Run the kernel on ``grid`` blocks (none of its sizes 0) with ``shared`` bytes of dynamic shared memory.

        The type of ``like``, or else of the first argument, says who runs it.
        """
        array = arguments[0] if like is None else like
        if type(array) is not np.ndarray:  # CuPy takes arrays of the host too: it would pass their bytes by value
            for argument in arguments:
                if type(argument) is np.ndarray and argument.dtype.kind != "V":
                    raise TypeError("an array of the host beside arrays of the GPU")
        run = RUNNERS.get(type(array)) or _runner_of(array)
        run(self, name, grid, block, arguments, shared)


class PointerTable(list):
    """Arrays of NumPy whose addresses a kernel takes by value; ``capacity`` is the N of its ``Pointers<T, N>``."""

    def __init__(self, arrays: Sequence[Any], capacity: int):
        super().__init__(arrays)
        self.capacity = capacity


def numbers(values: Sequence[Any], capacity: int, dtype: Any = np.int64) -> Any:
    """A table that is passed by value, ``Numbers<T, capacity>`` in C++: shapes, strides. What is not given is 0."""
    table = np.zeros((), [("at", dtype, (capacity,))])
    table["at"][: len(values)] = values
    return table


def divisor(n: int) -> tuple[int, int, int]:
    """What a ``Divisor`` of prims.cuh holds, for a table of uint32: n, a magic number and a shift."""
    shift = (n - 1).bit_length()
    return n, 2**32 * (2**shift - n) // n + 1, shift


def pointers(arrays: Sequence[Any], capacity: int) -> Any:
    """The addresses of ``arrays``, in C order and of one type, by value: ``Pointers<T, capacity>`` in C++."""
    if type(arrays[0]) is np.ndarray:
        return PointerTable(arrays, capacity)
    return numbers([array.data.ptr for array in arrays], capacity, np.uint64)


def contiguous(x: Any) -> Any:
    """``x`` in C order, copied if it is not: NumPy's own function goes to CuPy only by ``like``."""
    return np.ascontiguousarray(x, like=x)


def aligned(size: int, *arrays: Any) -> bool:
    """Whether all arrays begin at multiples of ``size`` bytes, as loads of whole packs need; a view may not."""
    return all((a.ctypes.data if type(a) is np.ndarray else a.data.ptr) % size == 0 for a in arrays)


def blocks(count: int, per_block: int) -> tuple[int]:
    """The grid in which ``count`` pieces of work are done, ``per_block`` by each block."""
    return (-(-count // per_block),)


def headers() -> str:
    """A hash of all headers. CuPy's cache of compiled kernels does not see what a .cu includes: its options must."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(FOLDER.glob("*.cuh")))).hexdigest()[:16]


def _runner_of(array: Any) -> Runner:
    """The runner for a type of array that is not in the table yet."""
    if type(array).__module__.split(".")[0] == "cupy":
        RUNNERS[type(array)] = run = _cupy_runner(lazy.load("cupy"))
        return run
    raise DeviceError(
        f"the CUDA kernels run on CuPy's arrays, not on {type(array).__module__}.{type(array).__qualname__}; "
        "t.to('cuda') moves a Tensor there, where there is a GPU"
    )


def options() -> tuple[str, ...]:
    """What CuPy compiles a .cu file with."""
    return (f"-I{FOLDER}", f"-DHEADERS_{headers()}")


def compiled(cupy: Any, kernels: Kernels, name: str, flags: tuple[str, ...]) -> Any:
    """CuPy's kernel, compiled with ``options()`` or, where it was once, taken from CuPy's cache on the disk."""
    if name not in kernels.names:
        raise DeviceError(f"{kernels.file} lists no kernel {name!r}, only {', '.join(kernels.names)}")
    module = cupy.RawModule(code=kernels.source, options=flags, name_expressions=(name,))
    try:
        return module.get_function(name)
    except cupy.cuda.compiler.CompileException as error:
        raise DeviceError(compile_error(kernels.file, name, str(error))) from error


def _cupy_runner(cupy: Any) -> Runner:
    current_device = cupy.cuda.runtime.getDevice
    flags = options()

    def run(
        kernels: Kernels,
        name: str,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        arguments: tuple[Any, ...],
        shared: int,
    ) -> None:
        key = name, current_device()
        entry = kernels.compiled.get(key)
        if entry is None:  # the function on this device, the shared memory that it may use there, the kernel
            kernel = compiled(cupy, kernels, name, flags)
            entry = kernels.compiled[key] = [kernel.kernel, WITHOUT_ASKING, kernel]
        if shared > entry[1]:
            entry[2].max_dynamic_shared_size_bytes = entry[1] = shared
        entry[0](grid, block, arguments, shared)

    return run


def compile_error(file: str, name: str, log: str) -> str:
    """One sentence: the kernel and the compiler's first error, which names file and line."""
    first = next((line.strip() for line in log.splitlines() if "error" in line), log.strip())
    return f"kernel {name} of {file} does not compile: {first}"
