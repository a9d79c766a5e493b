"""Random calls of every kind: each gives what an independent reference gives, or one of our errors where that has none.

``TINYGRAD_NOTES_FUZZ=10000`` makes at least so many calls, new ones each time, and prints how they ended.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import tinygrad_notes as tn
from tests.fuzz.arrays import TABLE
from tests.fuzz.elementwise import ELEMENTWISE
from tests.fuzz.functions import FUNCTIONS
from tests.fuzz.networks import NETWORKS
from tests.fuzz.resampling import RESAMPLING
from tests.fuzz.windows import WINDOWS
from tinygrad_notes import Tensor

OURS = (tn.ShapeError, tn.DTypeError, tn.GradientError, tn.DeviceError, IndexError)
THEIRS = (ValueError, TypeError, IndexError, AttributeError, ZeroDivisionError, OverflowError, np.linalg.LinAlgError)

CALLS = {**TABLE, **ELEMENTWISE, **FUNCTIONS, **WINDOWS, **NETWORKS, **RESAMPLING}
WANTED = int(os.environ.get("TINYGRAD_NOTES_FUZZ", "0"))  # how many calls, 0: a few of each
FEW = 12
ENDED: Counter[str] = Counter()
budget = hypothesis.settings(
    max_examples=math.ceil(1.1 * WANTED / len(CALLS)) if WANTED else FEW,
    derandomize=not WANTED,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.filter_too_much],
)


def outcome(call: Callable, arguments: tuple, errors: tuple[type[Exception], ...]) -> Any:
    """The result, or the error where it is one of ``errors``."""
    try:
        return call(*arguments)
    except errors as error:
        return error


def compare(got: Any, wanted: Any, rough: bool) -> None:
    """``rough``: an operand was float32 or of integers, which become float32."""
    if isinstance(got, list | tuple):
        assert isinstance(wanted, list | tuple)
        assert len(got) == len(wanted)
        for g, w in zip(got, wanted):
            compare(g, w, rough)
        return
    assert type(got) is Tensor, f"{type(got).__name__} instead of a Tensor"
    wanted = np.asarray(wanted)
    assert got.shape == wanted.shape
    assert got.dtype.kind == wanted.dtype.kind or got.dtype == tn.float32
    if got.dtype == tn.float32:
        with np.errstate(over="ignore"):
            wanted = wanted.astype(np.float32)
    scale = np.max(np.abs(wanted), initial=0.0, where=np.isfinite(wanted)) if wanted.dtype.kind == "f" else 0.0
    tolerance, least = (2e-5, 1e-7) if rough or got.dtype == tn.float32 else (1e-9, 0.0)
    np.testing.assert_allclose(got.numpy(), wanted, rtol=tolerance, atol=max(tolerance * min(float(scale), 1.0), least))


def as_tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return tn.asarray(value)
    if isinstance(value, list) and any(isinstance(v, np.ndarray) for v in value):
        return [as_tensors(v) for v in value]
    return value


def ended(name: str, given: tuple, call: Callable, reference: Callable) -> tuple[Any, Any]:
    """What both gave, where both did; refusals are compared here. The arguments stay as they were."""
    before = repr(given)
    with np.errstate(all="ignore"):  # the logarithm of a negative number warns, as in NumPy
        wanted = outcome(reference, given, THEIRS)
        got = outcome(call, tuple(map(as_tensors, given)), OURS)
    assert repr(given) == before, f"{name}{given} changed its arguments, which were {before}"
    if isinstance(got, Exception):
        assert isinstance(wanted, Exception), f"{name}{given} is refused ({got}), expected {wanted!r}"
        assert str(got).startswith(f"{name}: "), str(got)
        ENDED["refused with an error of ours"] += 1
    else:
        assert not isinstance(wanted, Exception), (
            f"{name}{given} gives {got!r}, which the reference refuses ({wanted!r})"
        )
    return got, wanted


@pytest.mark.parametrize("name", CALLS)
@budget
@hypothesis.given(data=st.data())
def test_right_value_or_refused(name: str, data: st.DataObject):
    ours, theirs, arguments = CALLS[name]
    given = arguments(data.draw)
    got, wanted = ended(name, given, ours, theirs)
    if not isinstance(got, Exception):
        compare(got, wanted, any(isinstance(a, np.ndarray) and a.dtype != np.float64 for a in given))
        ENDED["right value"] += 1


def test_how_the_calls_ended(capsys: pytest.CaptureFixture):
    """Both kinds of ends came about, so the calls drawn are neither all right nor all wrong."""
    calls = sum(ENDED.values())
    if not calls:
        pytest.skip("no random call was made in this process")
    assert ENDED["right value"] > calls / 5
    assert ENDED["refused with an error of ours"] > calls / 20
    if WANTED:
        with capsys.disabled():
            print(f"\n{calls} random calls: " + ", ".join(f"{n} {end}" for end, n in ENDED.most_common()))
        assert calls >= WANTED
