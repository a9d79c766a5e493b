"""README.md, the reference and every other backend say the same."""

import importlib
import inspect
import pkgutil
import re
import threading
from pathlib import Path

import numpy as np
import pytest

from tinygrad_notes import kernels
from tinygrad_notes.errors import DeviceError
from tinygrad_notes.kernels import reference

README = Path(kernels.__file__).parent / "README.md"
TABLE = dict(re.findall(r"^\| `(\w+)(\(.*?\))` \|", README.read_text(), re.MULTILINE))
BACKENDS = [m.name for m in pkgutil.iter_modules(kernels.__path__) if m.ispkg and m.name in ("cpu", "cuda")]


def signature(function):
    parameters = inspect.signature(function).parameters.values()
    assert all(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
    return "(" + ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters) + ")"


def test_the_table_names_every_function():
    assert sorted(TABLE) == sorted(reference.__all__)
    assert len(set(reference.__all__)) == len(reference.__all__)


@pytest.mark.parametrize("name", reference.__all__)
def test_the_reference_has_the_signature_of_the_table(name):
    function = getattr(reference, name)
    assert signature(function) == TABLE.get(name)
    assert function.__doc__


def test_other_backends_have_the_signatures_of_the_reference():
    for backend in BACKENDS:
        module = importlib.import_module(f"{kernels.__name__}.{backend}")
        for name in reference.__all__:
            assert signature(getattr(module, name)) == signature(getattr(reference, name)), (backend, name)


def test_every_function_is_dispatched():
    assert tuple(reference.__all__) == kernels.FUNCTIONS
    for name in kernels.FUNCTIONS:
        assert getattr(kernels, name).__doc__ == getattr(reference, name).__doc__
    assert kernels.exp(np.zeros(3)).tolist() == [1, 1, 1]
    assert kernels.global_norm([np.full(4, 2.0)]) == 4


def test_an_array_of_no_backend_is_refused():
    with pytest.raises(DeviceError, match=r"no kernels for builtins\.float"):
        kernels.exp(1.0)


def test_use_kernels_chooses_in_this_thread_only():
    here, there = [], []
    with kernels.use_kernels("reference"):
        here.append(kernels._table.get() is kernels.BACKENDS["reference"])
        thread = threading.Thread(target=lambda: there.append(kernels._table.get() is kernels.BACKENDS["default"]))
        thread.start()
        thread.join()
        with kernels.use_kernels("default"):
            here.append(kernels._table.get() is kernels.BACKENDS["default"])
        here.append(kernels.backend_of(np.zeros(1)) is reference)
    assert here == [True, True, True]
    assert there == [True]
    assert kernels._table.get() is kernels.BACKENDS["default"]


def test_use_kernels_refuses_a_wrong_name():
    with pytest.raises(DeviceError, match="'fast'"), kernels.use_kernels("fast"):
        pass


def test_kernels_has_one_import_name():
    with pytest.raises(ImportError, match=r"import tinygrad_notes\.kernels"):
        importlib.import_module("kernels")
