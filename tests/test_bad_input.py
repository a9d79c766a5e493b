"""Wrong calls raise our errors, say what came and what was expected, and change nothing."""

from __future__ import annotations

import ast
import functools
import inspect
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.bad_input import CASES, DEFINED, ERRORS, Case, message_of, scope
from tests.foreign_array import ForeignArray
from tinygrad_notes import Tensor, data, nn, optim
from tinygrad_notes.kernels import DEVICES
from tinygrad_notes.modes import mode
from tinygrad_notes.nn import Module
from tinygrad_notes.registry import REGISTRY


def snapshot(value: Any) -> Any:
    """What must be the same after a call that failed: values, gradients, places on the tape, states, modes."""
    if type(value) is Tensor:
        return id(value.data), id(value.node), snapshot(value.data), snapshot(value.grad)
    if isinstance(value, ForeignArray):
        return snapshot(value.values)
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype, value.tobytes()
    if isinstance(value, Module):
        modes = [(name, module.training, sorted(vars(module))) for name, module in value.named_modules()]
        return modes, snapshot(value.state_dict())
    if isinstance(value, Mapping):
        return {key: snapshot(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [snapshot(item) for item in value]
    if hasattr(value, "state_dict"):
        return snapshot(value.state_dict())
    return id(value) if callable(value) else repr(value)


def around() -> Any:
    """The state beside the operands."""
    return list(REGISTRY), mode.get(), dict(DEVICES), np.geterr()


def variables(names: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in names.items() if name != "__builtins__"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.area}: {case.call}".replace(" ", "-"))
def test_wrong_call(case: Case):
    with scope() as names:
        call = case.prepare(names)
        before, outside = snapshot(variables(names)), around()
        with pytest.raises(case.error) as caught:
            call()
        said = message_of(caught.value, names)
        assert type(caught.value) is case.error, f"{type(caught.value).__name__}: {said}"
        assert type(caught.value) in ERRORS
        assert said.startswith(case.says), said
        assert snapshot(variables(names)) == before
        assert around() == outside


@pytest.mark.parametrize(("call", "result", "why"), DEFINED, ids=[why.replace(" ", "-") for _, _, why in DEFINED])
def test_defined_call(call: str, result: str, why: str):
    with scope() as names:
        assert repr(eval(call, names)) == result


def test_the_table_is_long_and_has_no_row_twice():
    assert len(CASES) >= 100
    assert len({(case.call, case.given) for case in CASES}) == len(CASES)
    assert min(len(case.says) for case in CASES) >= 20, "a message says more than a name"


@functools.cache
def covered() -> set[str]:
    """The public names that a row calls, as ``nn.Linear``, or whose message it holds, as ``tn.add`` of ``x + 'a'``."""
    names = set()
    for case in CASES:
        names.add(f"tn.{case.says.split(':')[0]}")
        for node in ast.walk(ast.parse(case.call)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                names.add(f"{node.value.id}.{node.attr}")
    return names


def offered() -> dict[str, Any]:
    """Every public function and class, but errors and what takes no argument."""
    found = {}
    for prefix, package in (("tn", tn), ("nn", nn), ("optim", optim), ("data", data)):
        for name in package.__all__:
            value = getattr(package, name)
            if isinstance(value, type) and issubclass(value, Exception):
                continue
            if inspect.isroutine(value) and not inspect.signature(value).parameters:
                continue
            if inspect.isroutine(value) or isinstance(value, type):
                found[f"{prefix}.{name}"] = value
    return found


# What has no row of its own, and why.
EXEMPT = {
    "tn.Array": "an annotation of operands, never called",
    "tn.Arrays": "an annotation of operands, never called",
    "tn.op": "a decorator of definitions; tests/engine/test_op_decorator.py has its errors",
    "nn.IncompatibleKeys": "a record that load_state_dict returns",
    "nn.Identity": "gives back whatever it gets",
    "data.Corpus": "a record that topics returns",
    "data.Digits": "a record that digits returns",
    "data.Name": "a record that character_names returns",
    "data.NamePair": "a record that name_pairs returns",
    "data.Syllable": "a record that syllables returns",
    "data.Table": "a record that iris and its like return",
}
# Ops that are no public functions, and the public function whose rows reach them.
REACHED = {
    "_pad": "pad", "_root": "norm", "softmax_grad": "softmax", "log_softmax_grad": "log_softmax", "_prelu": "prelu",
    "zero_at": "take_along_axis", "setitem": "setitem", "_put_along_axis": "take_along_axis",
    "_embedding": "embedding", "_embedding_grad": "embedding", "_windows": "sliding_window_view",
    "_overlap": "sliding_window_view", "conv": "conv2d", "conv_transpose": "conv_transpose2d",
    "conv_weight_grad": "conv2d", "_diagonal": "diagonal", "_on_diagonal": "diag",
    "_mean_cross_entropy": "cross_entropy", "cross_entropy_probabilities": "cross_entropy", "cofactors": "det",
    "max_pool": "max_pool2d", "max_pool_grad": "max_pool2d", "max_pool_gather": "max_pool2d",
    "adaptive_max_pool": "adaptive_max_pool2d", "avg_pool": "avg_pool2d", "avg_pool_grad": "avg_pool2d",
    "adaptive_avg_pool": "adaptive_avg_pool2d", "adaptive_avg_pool_grad": "adaptive_avg_pool2d",
    "huber": "huber_loss", "resample": "interpolate", "transfer": "to",
}  # fmt: skip


def test_every_public_function_and_class_has_a_wrong_call():
    missing = sorted(set(offered()) - covered() - set(EXEMPT))
    assert not missing, f"no wrong call in tests/wrong_calls/ of {missing}"
    assert not set(EXEMPT) - set(offered()), "an exemption of what does not exist"
    assert not set(EXEMPT) & covered(), "an exemption of what has a row"


def test_every_op_has_a_wrong_call():
    inner = {name for name in REGISTRY if f"tn.{name}" not in offered()}
    assert inner == set(REACHED)
    assert not {f"tn.{name}" for name in REACHED.values()} - covered()


def test_a_query_that_may_attend_to_nothing_gets_no_gradient():
    with scope() as names:
        names["q"].requires_grad_()
        eval("attend(q, q[:, :, 1:], q[:, :, 1:], blind[:, 1:]).sum()", names).backward()
        grad = names["q"].grad.numpy()
        assert np.isfinite(grad).all()
        assert not grad[:, :, 0].any()


def test_the_table_is_printed():
    result = subprocess.run([sys.executable, "-m", "tests.bad_input"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "NOTHING WAS RAISED" not in result.stdout
    assert sum(line.startswith("| `") for line in result.stdout.splitlines()) == len(CASES) + len(DEFINED)
