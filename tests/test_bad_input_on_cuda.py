"""The table of wrong calls where CUDA kernels would run, and calls across devices: errors before any launch."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.bad_input import CASES, Case, message_of, scope
from tests.foreign_array import ForeignArray
from tests.test_bad_input import snapshot, variables
from tests.wrong_calls import devices
from tinygrad_notes.kernels import cuda, reference, register_array_type
from tinygrad_notes.kernels.cuda import blas, launch
from tinygrad_notes.modes import apart
from tinygrad_notes.nn import Module

# Rows that do not go to the GPU: what their source holds, and why.
STAY = {
    r"\.to\('cuda'\)": "asks for a GPU where there is none",
    r"\.fit\(|error_if_nonfinite": "computes first, and is refused for what came out",
    r"@ \d": "a number beside @ becomes an array of the CPU, which is the first thing wrong",
}
# On NumPy's arrays those that compute first launch, too; and only of a GPU's arrays does the op look at the indices.
NOT_ON_NUMPY = r"\.fit\(|error_if_nonfinite|scatter_add\(v, \[0, 1, 5\]"


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the kernels and products that were launched; none of them runs."""
    names: list[str] = []

    def run(kernels: launch.Kernels, name: str, *arguments: Any) -> None:
        names.append(f"{name} of {kernels.file}")

    for array_type in (np.ndarray, ForeignArray):
        monkeypatch.setitem(launch.RUNNERS, array_type, run)

    def product(call: blas.Call, *arrays: Any) -> None:
        if any(type(array) is ForeignArray for array in arrays[:3]):
            assert all(array.data.ptr for array in arrays[:3])  # as cuBLAS gets them
        names.append(f"cuBLAS: {call}")

    for name in ("_on_numpy", "_on_gpu"):
        monkeypatch.setattr(blas, name, product)
    return names


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> type:
    """An array type that ``t.to("cuda")`` gives, on the CUDA kernels while :func:`scope` lasts."""

    def asarray(array: Any) -> Any:
        return array if type(array) is ForeignArray else ForeignArray(np.array(array))

    fake = SimpleNamespace(ndarray=ForeignArray, asarray=asarray, cuda=SimpleNamespace(is_available=lambda: True))
    monkeypatch.setitem(sys.modules, "cupy", fake)
    return ForeignArray


@contextmanager
def scope_with(gpu: type, backend: Any) -> Iterator[dict[str, Any]]:
    with scope() as names:
        register_array_type(gpu, "cuda", backend)
        yield names


def on_cuda(value: Any) -> Any:
    """``value`` with its Tensors moved in place, so that whoever holds them sees them there."""
    if type(value) is tn.Tensor and value.device == "cpu":
        value.data = tn.Tensor(value.data).to("cuda").data
    elif isinstance(value, Module):
        value.to("cuda")
    elif type(value) in (list, tuple):
        for one in value:
            on_cuda(one)
    return value


class Moved(ast.NodeTransformer):
    """What a call returns is moved."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        return ast.Call(ast.Name("on_cuda", ast.Load()), [node], [])


def moved(source: str) -> str:
    return ast.unparse(ast.fix_missing_locations(Moved().visit(ast.parse(source))))


def differences(case: Case, call: Any, names: dict[str, Any], launched: list[str]) -> str:
    """What is not as the row says; empty if nothing is."""
    launched.clear()
    source = f"{case.area}: {'; '.join([*case.given.splitlines(), case.call])}"
    try:
        call()
    except Exception as error:
        said = message_of(error, names)
        if type(error) is not case.error or not _plain(said).startswith(_plain(case.says)):
            return f"{source}\n    {type(error).__name__}: {said}"
        return f"{source}\n    launched {launched} before the error" if launched else ""
    return f"{source}\n    nothing was raised"


def _plain(text: str) -> str:
    """A message without what says where an array lies."""
    return re.sub(r" on (cuda|foreign)|, device='cuda'", "", text)


AREAS = list(dict.fromkeys(case.area for case in CASES))


@pytest.mark.parametrize("area", AREAS, ids=lambda area: area.replace(" ", "-"))
def test_wrong_calls_with_cuda_kernels_on_numpys_arrays(area: str, launched: list[str]):
    wrong = []
    for case in CASES:
        if case.area == area and not re.search(NOT_ON_NUMPY, case.call):
            with scope() as names:
                call = case.prepare(names)
                with tn.use_kernels("cuda"):
                    wrong.append(differences(case, call, names, launched))
    assert not any(wrong), "\n".join(filter(None, wrong))


@pytest.mark.parametrize("area", AREAS, ids=lambda area: area.replace(" ", "-"))
def test_wrong_calls_on_the_gpu(area: str, gpu: type, launched: list[str]):
    wrong = []
    for case in CASES:
        if case.area == area and not any(re.search(stays, case.call) for stays in STAY):
            with scope_with(gpu, cuda) as names:
                names["foreign"], names["on_cuda"] = tn.ones((2, 3)), on_cuda  # the foreign one is where x is not
                for name, value in names.items():
                    if name != "foreign":
                        on_cuda(value)
                call = case._replace(call=moved(case.call), given=moved(case.given)).prepare(names)
                wrong.append(differences(case, call, names, launched))
    assert not any(wrong), "\n".join(filter(None, wrong))


@pytest.mark.parametrize("stays", STAY)
def test_every_rule_about_rows_that_stay_has_a_row(stays: str):
    assert any(re.search(stays, case.call) for case in CASES)


ACROSS = [Case(area, *row) for area, rows in devices.AREAS.items() for row in rows]


@pytest.mark.parametrize("case", ACROSS, ids=lambda case: f"{case.area}: {case.call}".replace(" ", "-"))
def test_wrong_call_across_devices(case: Case, gpu: type, launched: list[str]):
    with scope_with(gpu, reference) as names:
        call = case._replace(given=devices.GIVEN + case.given).prepare(names)
        register_array_type(gpu, "cuda", cuda)
        before = snapshot(variables(names))
        with pytest.raises(case.error) as caught:
            call()
        said = message_of(caught.value, names)
        assert type(caught.value) is case.error, f"{type(caught.value).__name__}: {said}"
        assert said.startswith(case.says), said
        assert snapshot(variables(names)) == before
        assert not launched


@pytest.mark.parametrize("row", devices.DEFINED, ids=lambda row: row[0].replace(" ", "-"))
def test_defined_call_across_devices(row: tuple, gpu: type):
    source, result, given = *row[:2], "".join(row[2:])
    with scope_with(gpu, reference) as names:
        exec(devices.GIVEN + given, names)
        assert repr(eval(source, names)) == result


# ---------------------------------------------------------------------- what CuPy does otherwise


def test_an_index_out_of_range_is_refused_where_the_arrays_would_take_another_element(
    gpu: type, monkeypatch: pytest.MonkeyPatch
):
    def wrapping(self: Any, index: Any) -> Any:  # as CuPy, which cannot raise from a kernel
        parts = index if type(index) is tuple else (index,)
        if len(parts) == 1 and isinstance(parts[0], ForeignArray) and parts[0].dtype.kind == "i":
            index = parts[0] % len(self)
        return plain(self, index)

    plain = ForeignArray.__getitem__
    monkeypatch.setattr(ForeignArray, "__getitem__", wrapping)
    with scope_with(gpu, reference):
        x = tn.tensor([1.0, 2.0]).to("cuda")
        assert x[tn.tensor([-1, 0]).to("cuda")].tolist() == [2.0, 1.0]
        with pytest.raises(IndexError, match="getitem: index 2 is out of bounds for axis 0 with size 2"):
            x[tn.tensor([2]).to("cuda")]


def test_a_recorded_step_is_given_lengths_that_its_kernels_can_count_on(gpu: type):
    with scope_with(gpu, reference) as names:
        steps, weights = names["steps"].to("cuda"), [tuple(t.to("cuda") for t in names["weights"][0])]
        token = apart.set(lambda work, parameters: work())
        try:
            found = tn.rnn(steps, None, weights, lengths=tn.tensor([-3, 9]).to("cuda"))
        finally:
            apart.reset(token)
        wanted = tn.rnn(steps, None, weights, lengths=[0, 5])
        for ours, theirs in zip(found, wanted):
            assert ours.tolist() == theirs.tolist()


# ---------------------------------------------------------------------- no GPU


def cupy_with(known: int, built: int = 13020) -> Any:
    runtime = SimpleNamespace(driverGetVersion=lambda: known, runtimeGetVersion=lambda: built)
    return SimpleNamespace(ndarray=int, cuda=SimpleNamespace(is_available=lambda: False, runtime=runtime))


@pytest.mark.parametrize(
    ("cupy", "says"),
    [
        (None, r"cupy is not installed; pip install 'tinygrad-notes\[cuda\]' brings it"),
        (cupy_with(0), "there is no NVIDIA driver; sudo ubuntu-drivers install .* brings it"),
        (cupy_with(12040), "the NVIDIA driver knows CUDA up to 12.4, CuPy needs 13; sudo ubuntu-drivers install"),
        (cupy_with(13000), "the NVIDIA driver finds no GPU; nvidia-smi -L lists those there are"),
    ],
    ids=["no-cupy", "no-driver", "old-driver", "no-gpu"],
)
def test_what_is_missing_is_said_with_what_brings_it(cupy: Any, says: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    for call in (
        lambda: tn.ones(2).to("cuda"),
        lambda: tn.zeros(2, device="cuda"),
        lambda: tn.nn.Linear(2, 1).to("cuda"),
        lambda: tn.cuda.memory_summary(),
    ):
        with pytest.raises(tn.DeviceError, match=f"device 'cuda': {says}"):
            call()
    assert not tn.cuda.is_available()
