"""Hot ops on bare arrays. The array's type chooses the backend; ``kernels/README.md`` is the contract.

``kernels.conv(x, ...)`` is ``backend_of(x).conv(x, ...)``. A backend is a module that defines the functions of
``kernels.reference`` with the same signatures. Nothing here knows a Tensor or the tape.
"""

from __future__ import annotations

if __name__ != "tinygrad_notes.kernels":  # `import kernels` from the checkout would load every module twice
    raise ImportError("import tinygrad_notes.kernels, not kernels")

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_notes import lazy
from tinygrad_notes.errors import DeviceError, DTypeError
from tinygrad_notes.kernels import reference

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...  # the functions of the contract, put here below


FUNCTIONS: tuple[str, ...] = tuple(reference.__all__)

DEVICES: dict[type, str] = {}  # array type: the device its arrays live on
BACKENDS: dict[str, dict[type, ModuleType]] = {  # choice: array type: backend
    "default": {},
    "reference": {},
    "cpu": {},
    "cuda": {},
}
_COMPILED = "tinygrad_notes.kernels.cpu"  # for NumPy's arrays; it brings Numba, so the first op that needs it loads it
_CUDA = "tinygrad_notes.kernels.cuda"  # for CuPy's arrays; those of NumPy it refuses, but for the stand-in of the tests

PRECISIONS = ("highest", "high", "medium")

_table: ContextVar[dict[type, ModuleType]] = ContextVar("kernels", default=BACKENDS["default"])
PRECISION: ContextVar[str] = ContextVar("precision", default="highest")


def register_array_type(array_type: type, device: str, backend: ModuleType = reference) -> None:
    """Let arrays of ``array_type`` be operands: they live on ``device`` and run on ``backend`` by default."""
    DEVICES[array_type] = device
    for choice, table in BACKENDS.items():
        table[array_type] = reference if choice == "reference" else backend


def backend_of(array: Any) -> ModuleType:
    """The backend that runs ops on ``array``, or on a list of arrays, in this thread.

    >>> from tinygrad_notes.kernels import backend_of
    >>> backend_of(np.zeros(3)).__name__.startswith("tinygrad_notes.kernels.")
    True
    """
    if isinstance(array, list | tuple) and array:
        array = array[0]
    if isinstance(array, np.generic):  # what NumPy makes of an array of no axes
        return reference
    table = _table.get()
    if type(array) is np.ndarray and np.ndarray not in table:
        if table is BACKENDS["cuda"]:
            table[np.ndarray] = lazy.load(_CUDA)
            return table[np.ndarray]
        BACKENDS["default"][np.ndarray] = BACKENDS["cpu"][np.ndarray] = lazy.load(_COMPILED)
    try:
        return table[type(array)]
    except KeyError:
        known = ", ".join(sorted(f"{t.__module__}.{t.__qualname__}" for t in DEVICES))
        raise DeviceError(
            f"no kernels for {type(array).__module__}.{type(array).__qualname__}, only for {known}"
        ) from None


@contextmanager
def use_kernels(choice: str) -> Iterator[None]:
    """Run hot ops on the chosen backend, in this thread or task: ``"default"``, ``"reference"``, ``"cpu"`` or
    ``"cuda"``.

    By default NumPy's arrays run on ``cpu`` and CuPy's on ``cuda``. ``"reference"`` is plain array code for both; the
    other two are for their own arrays.

    Use it as a context manager, ``with use_kernels("reference"): ...``, or as a decorator.

    >>> with tn.use_kernels("reference"):
    ...     y = tn.softmax([0.0, 0.0])
    >>> y
    Tensor([0.5, 0.5])
    >>> with tn.use_kernels("abacus"):  # doctest: +ELLIPSIS
    ...     pass
    Traceback (most recent call last):
        ...
    tinygrad_notes.errors.DeviceError: use_kernels: there is no backend 'abacus', only 'default', ...
    """
    if choice not in BACKENDS:
        raise DeviceError(f"use_kernels: there is no backend {choice!r}, only {', '.join(map(repr, BACKENDS))}")
    token = _table.set(BACKENDS[choice])
    try:
        yield
    finally:
        _table.reset(token)


@contextmanager
def precision(choice: str) -> Iterator[None]:
    """How exact products of float32 matrices are, in this thread or task: ``"highest"``, ``"high"`` or ``"medium"``.

    What multiplies matrices fast multiplies short numbers. ``"highest"``, the default, splits a float32 (24 binary
    digits) into several of them and is as exact as float32; the others permit less, as those of PyTorch's
    ``set_float32_matmul_precision`` do:

    - A GPU multiplies TF32 (11 digits). ``"highest"`` takes two for each float32, ``"high"`` one, with an error of some
      1e-3 of the largest value; ``"medium"`` may take bfloat16 (8 digits) for it, with one of some 1e-2.
    - AMX multiplies bfloat16. ``"highest"`` takes three for each float32 and six products for one; ``"high"`` and
      ``"medium"`` two and three, with an error of some 1e-5.

    It is for ``matmul``, ``linear``, convolutions, attention, recurrent scans and what is built on them; of a backward
    pass the precision counts that is in force when it runs. Other ops, float64, and processors without AMX compute the
    same with all.

    Use it as a context manager, ``with precision("high"): ...``, or as a decorator.

    >>> with tn.precision("high"):
    ...     y = tn.tensor([[1.0, 2.0]]) @ tn.tensor([[3.0], [4.0]])
    >>> y
    Tensor([[11.]])
    >>> with tn.precision("low"):
    ...     pass
    Traceback (most recent call last):
        ...
    tinygrad_notes.errors.DTypeError: precision: choice is 'low', expected 'highest', 'high' or 'medium'
    """
    if choice not in PRECISIONS:
        raise DTypeError(f"precision: choice is {choice!r}, expected 'highest', 'high' or 'medium'")
    token = PRECISION.set(choice)
    try:
        yield
    finally:
        PRECISION.reset(token)


_DISPATCHER = """
def {name}({arguments}):
    try:
        backend = of_table()[type({first})]
    except KeyError:
        backend = backend_of({first})
    return backend.{name}({arguments})
"""


def _dispatchers() -> dict[str, Callable[..., Any]]:
    """Functions with the reference's own signatures, written out: a generic one costs as much as a small op."""
    texts = []
    for name in FUNCTIONS:
        parameters = list(inspect.signature(getattr(reference, name)).parameters)
        texts.append(_DISPATCHER.format(name=name, first=parameters[0], arguments=", ".join(parameters)))
    scope: dict[str, Any] = {"of_table": _table.get, "backend_of": backend_of, "__name__": __name__}
    exec("".join(texts), scope)
    for name in FUNCTIONS:
        scope[name].__doc__ = getattr(reference, name).__doc__
    return {name: scope[name] for name in FUNCTIONS}


globals().update(_dispatchers())

DEVICES[np.ndarray], BACKENDS["reference"][np.ndarray] = "cpu", reference


def set_num_threads(count: int) -> None:
    """How many threads a kernel of the CPU may use, in this process: from 1 to the number of processors.

    >>> before = tn.get_num_threads()
    >>> tn.set_num_threads(1)
    >>> tn.get_num_threads()
    1
    >>> tn.set_num_threads(before)
    """
    lazy.load("tinygrad_notes.kernels.cpu.threads").set_num_threads(count)


def get_num_threads() -> int:
    """How many threads a kernel of the CPU may use: one for each processor, unless :func:`set_num_threads` said less.

    >>> tn.get_num_threads() >= 1
    True
    """
    return int(lazy.load("tinygrad_notes.kernels.cpu.threads").get_num_threads())
