"""Wrong calls raise our errors, say what came and what was expected, and change nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.bad_input import CASES, DEFINED, ERRORS, Case, message_of, scope
from tests.foreign_array import ForeignArray
from tinygrad_notes import Tensor
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
