"""The namespace of the array API standard: what it has, with which arguments, and that libraries compute with it."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.engine.array_standard import CONSTANTS, DTYPES, METHODS, SIGNATURES
from tinygrad_notes import array_api as xp

# There are no complex numbers here.
MISSING_FUNCTIONS = {"conj", "imag", "real"}
MISSING_DTYPES = {"int8", "int16", "uint16", "uint32", "uint64", "complex64", "complex128"}
MISSING_METHODS = {"__complex__"}


def unlike(function, text: str) -> list[str]:
    """The parameters of the standard's signature that ``function`` does not take in just that way."""
    scope: dict = {}
    exec(f"def standard({text}): pass", scope)
    theirs, ours = (inspect.signature(f).parameters for f in (scope["standard"], function))
    positional = [p for p in ours.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    found, taken = [], 0
    for p in theirs.values():
        if p.kind is p.VAR_POSITIONAL:
            found += [] if any(o.kind is o.VAR_POSITIONAL for o in ours.values()) else [f"*{p.name}"]
        elif p.kind is p.KEYWORD_ONLY:
            found += [] if p.name in ours and ours[p.name].default is not p.empty else [p.name]
        elif taken == len(positional):
            found.append(p.name)
        else:
            same = positional[taken]
            renamed = p.kind is p.POSITIONAL_OR_KEYWORD and same.name != p.name
            if renamed or (p.default is not p.empty and same.default is p.empty):
                found.append(p.name)
            taken += 1
    return found + [f"needs {p.name}" for p in positional[taken:] if p.default is p.empty and p.name not in theirs]


def test_the_namespace_of_a_tensor():
    for version in (None, "2021.12", "2022.12", "2023.12"):
        assert tn.zeros(3).__array_namespace__(api_version=version) is xp
    with pytest.raises(tn.ShapeError, match=r"api_version is '2099\.12', expected one of 2021.12"):
        tn.zeros(3).__array_namespace__(api_version="2099.12")


def test_all_functions_but_those_of_complex_numbers_exist():
    assert {name for name in SIGNATURES if not hasattr(xp, name)} == MISSING_FUNCTIONS
    assert {name for name in DTYPES if not hasattr(xp, name)} == MISSING_DTYPES
    assert {name for name in METHODS if not hasattr(tn.Tensor, name)} == MISSING_METHODS
    assert all(hasattr(xp, name) for name in CONSTANTS)
    text = " ".join(xp.__doc__.split())
    assert all(name in text for name in MISSING_FUNCTIONS | MISSING_DTYPES), "the docstring lists what is missing"


@pytest.mark.parametrize("name", sorted(set(SIGNATURES) - MISSING_FUNCTIONS))
def test_signature(name):
    assert unlike(getattr(xp, name), SIGNATURES[name]) == []


def test_a_signature_that_differs_is_noticed():
    assert unlike(lambda x, axis=None: 0, "x, /, *, axis=None, keepdims=False") == ["keepdims"]
    assert unlike(lambda x, more: 0, "x, /") == ["needs more"]


X = np.array([[3.0, -1.0, 2.0], [0.5, -0.0, 4.0]], np.float32)
N = np.array([[3, 1, 3], [2, 1, 7]])
SAME_AS_NUMPY = {
    "signbit": (X,), "copysign": (X, X[::-1]), "bitwise_left_shift": (N, N), "bitwise_right_shift": (N * 100, 2),
    "vecdot": (X, X[::-1]), "tensordot": (X, X.T), "expand_dims": (X,), "searchsorted": (np.arange(5.0), X),
    "unique_all": (N,), "unique_counts": (N,), "unique_inverse": (N,), "broadcast_arrays": (X, N[0]),
    "full_like": (X, 3.0), "zeros_like": (N,), "ones_like": (N,), "reshape": (X, (3, 2)),
}  # fmt: skip
OPTIONS = {"tensordot": {"axes": 1}, "expand_dims": {"axis": 0}}


@pytest.mark.parametrize("name", SAME_AS_NUMPY)
def test_values_are_numpys(name):
    arguments, options = SAME_AS_NUMPY[name], OPTIONS.get(name, {})
    ours = getattr(xp, name)(*(tn.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments), **options)
    theirs = getattr(np, name)(*arguments, **options)
    pairs = zip(ours, theirs, strict=True) if isinstance(theirs, tuple | list) else [(ours, theirs)]
    for a, b in pairs:
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-6)
        assert a.shape == b.shape


def test_sums_in_another_dtype():
    assert xp.sum(tn.asarray(N), dtype=tn.float64).dtype == tn.float64
    assert xp.prod(tn.asarray(N), axis=0, dtype=tn.float32).tolist() == [6.0, 1.0, 21.0]
    np.testing.assert_allclose(
        xp.cumulative_sum(tn.asarray(N), axis=1, include_initial=True).numpy(),
        np.cumulative_sum(N, axis=1, include_initial=True),
    )
    assert xp.cumulative_sum(tn.zeros((2, 0)), axis=1, include_initial=True).shape == (2, 1)
    with pytest.raises(tn.ShapeError, match="axis is None"):
        xp.cumulative_sum(tn.asarray(N))


def test_dtypes():
    assert xp.result_type(tn.float32, tn.float64) == tn.float64
    assert xp.result_type(tn.zeros(2), 1.5, tn.int64) == tn.float32
    assert xp.result_type(tn.int32, 2.5) == tn.float32
    assert xp.result_type(tn.bool_, tn.uint8) == tn.uint8
    assert xp.result_type(tn.int32, 7) == tn.int32
    for a, b in [(tn.int32, tn.float32), (tn.int64, tn.uint8), (tn.float32, tn.float64), (tn.bool_, tn.int32)]:
        assert xp.result_type(a, b) == (tn.zeros(1, a) + tn.zeros(1, b)).dtype, (a, b)
    assert xp.can_cast(tn.int32, tn.int64)
    assert not xp.can_cast(tn.float64, tn.float32)
    assert xp.isdtype(tn.float32, "real floating")
    assert not xp.isdtype(tn.bool_, "numeric")
    assert xp.finfo(tn.float64).eps == np.finfo(np.float64).eps
    assert xp.iinfo(tn.zeros(1, tn.int32)).max == 2**31 - 1
    info = xp.__array_namespace_info__()
    assert info.dtypes(kind="integral").keys() == {"int32", "int64", "uint8"}
    assert info.default_dtypes()["integral"] == tn.arange(3).dtype == tn.int64
    for wrong in (lambda: xp.isdtype(tn.int64, "whole"), lambda: xp.result_type(1.5), lambda: xp.finfo(tn.int64),
                  lambda: xp.iinfo(tn.float32)):  # fmt: skip
        with pytest.raises((tn.ShapeError, tn.DTypeError)):
            wrong()


def test_devices_and_copies():
    x = tn.zeros(3)
    assert x.to_device("cpu") is x
    assert xp.astype(x, tn.float32, copy=False) is x
    assert xp.reshape(x, (3, 1), copy=False).shape == (3, 1)
    with pytest.raises(tn.ShapeError, match="copy is False"):
        xp.reshape(tn.zeros((2, 3)).T, (6,), copy=False)
    assert not np.shares_memory(xp.from_dlpack(x.numpy(), copy=True).numpy(), x.numpy())
    with pytest.raises(tn.DeviceError, match="device is 'moon'"):
        x.to_device("moon")


def test_gradients_flow_through_the_namespace():
    x = tn.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    (xp.vecdot(x, x) + xp.sum(xp.copysign(x, -x), axis=1, dtype=tn.float32)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.detach().numpy() - 1)
    y = tn.tensor(np.ones((2, 3, 2), np.float32), requires_grad=True)
    xp.tensordot(y, x.detach(), axes=((2,), (0,))).sum().backward()
    np.testing.assert_allclose(y.grad.numpy(), np.broadcast_to([3.0, 7.0], (2, 3, 2)))


SCIPY = """
import numpy as np, tinygrad_notes as tn
from scipy.special import logsumexp
x = tn.tensor(np.array([[1.0, 2.0, 3.0], [0.0, 5.0, 1.0]]))
ours = logsumexp(x, axis=1)
assert type(ours) is tn.Tensor, type(ours)
np.testing.assert_allclose(ours.numpy(), logsumexp(x.numpy(), axis=1), rtol=1e-12)
"""


def test_scipy_computes_with_tensors():
    pytest.importorskip("scipy")
    environment = os.environ | {"SCIPY_ARRAY_API": "1"}
    done = subprocess.run([sys.executable, "-c", SCIPY], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
