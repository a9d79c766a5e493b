"""Parity with PyTorch: the same call on both sides, values and gradients compared, the worst errors printed at the end.

A module of this folder starts with ``torch = pytest.importorskip("torch")``; ``TINYGRAD_NOTES_REQUIRE=torch`` turns a
missing torch into a failure (tests/conftest.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_notes as tn

HERE = Path(__file__).parent
TOLERANCES = {"float32": 2e-5, "float64": 1e-10}

# By group and dtype: how many comparisons, and the worst relative error among them.
RECORD: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0, 0.0])


def relative_error(ours: np.ndarray, theirs: np.ndarray, floor: float) -> float:
    """max |ours - theirs| / max(max |theirs|, floor), over the finite elements; NaN and inf must stand in both."""
    assert ours.shape == theirs.shape, f"shape {ours.shape}, torch {theirs.shape}"
    finite = np.isfinite(theirs)
    np.testing.assert_array_equal(ours[~finite], theirs[~finite])
    difference = np.abs(ours[finite].astype(np.float64) - theirs[finite])
    return float(np.max(difference, initial=0.0) / max(np.max(np.abs(theirs[finite]), initial=0.0), floor))


def flat(values: Any) -> list[Any]:
    """The Tensors in nested lists and tuples."""
    return [t for value in values for t in flat(value)] if isinstance(values, list | tuple) else [values]


class Parity:
    """Compares ours with torch's and records it under a group, the name of the test module."""

    def __init__(self, group: str):
        self.group = group

    def compare(self, ours: Any, theirs: Any, tolerance: float | None = None, floor: float = 1e-6) -> None:
        """One case: Tensors, arrays or nested lists of them; None (no gradient) stands beside None or zeros.

        Fails when a relative error (see :func:`relative_error`) is above ``tolerance``, by default that of the dtype.
        """
        pairs = list(zip(flat(ours), flat(theirs), strict=True))
        worst, dtype = 0.0, "float64"
        for i, (a, b) in enumerate(pairs):
            a, b = (x.detach().numpy() if hasattr(x, "detach") else x for x in (a, b))
            if a is None or b is None:
                assert not np.any(0.0 if a is None else a), f"value {i}: torch has no gradient"
                assert not np.any(0.0 if b is None else b), f"value {i}: no gradient"
                continue
            a, b = np.asarray(a), np.asarray(b)
            assert a.dtype == b.dtype, f"value {i}: {a.dtype}, torch {b.dtype}"
            dtype = "float32" if b.dtype == np.float32 else dtype
            error = relative_error(a, b, floor)
            worst = max(worst, error)
            limit = TOLERANCES["float32" if b.dtype == np.float32 else "float64"] if tolerance is None else tolerance
            assert error <= limit, f"value {i}: relative error {error:.1e}, expected at most {limit:.0e}"
        entry = RECORD[self.group, dtype]
        entry[0] += 1
        entry[1] = max(entry[1], worst)

    def check(
        self,
        ours: Callable[..., Any],
        theirs: Callable[..., Any],
        *arrays: Any,
        dtype: str = "float32",
        tolerance: float | None = None,
        floor: float = 1e-6,
    ) -> None:
        """Call both on the same arrays; compare the values, and the gradients of their randomly weighted sum.

        Floating arrays are converted to ``dtype`` and get gradients; integers, booleans and None are passed on.
        """
        import torch

        leaves: list[Any] = []
        torch_leaves: list[Any] = []
        arguments: list[Any] = []
        torch_arguments: list[Any] = []
        for array in arrays:
            if array is None:
                arguments.append(None)
                torch_arguments.append(None)
                continue
            floating = np.asarray(array).dtype.kind == "f"
            array = np.array(array, dtype=dtype if floating else None, order="C")
            ours_one, theirs_one = tn.Tensor(array), torch.from_numpy(array.copy())
            if floating:
                leaves.append(ours_one.requires_grad_())
                torch_leaves.append(theirs_one.requires_grad_())
            arguments.append(ours_one)
            torch_arguments.append(theirs_one)
        values, torch_values = flat(ours(*arguments)), flat(theirs(*torch_arguments))
        rng = np.random.default_rng([17, len(leaves)])  # not the numbers of the arrays themselves
        seeds = [rng.standard_normal(v.shape).astype(dtype) for v in values]
        found, torch_found = list(values), list(torch_values)
        live = [i for i, v in enumerate(values) if v.requires_grad]
        assert live == [i for i, v in enumerate(torch_values) if v.requires_grad]
        if live:
            found += tn.grad([values[i] for i in live], leaves, [seeds[i] for i in live], allow_unused=True)
            torch_seeds = [torch.tensor(seeds[i]) for i in live]
            torch_found += torch.autograd.grad(
                [torch_values[i] for i in live], torch_leaves, torch_seeds, allow_unused=True
            )
        self.compare(found, torch_found, tolerance, floor)


@pytest.fixture
def parity(request: pytest.FixtureRequest) -> Parity:
    """The recorder of the test's module."""
    return Parity(request.path.stem.removeprefix("test_"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.parity)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not RECORD:
        return
    terminalreporter.section("parity with PyTorch")
    for (group, dtype), (cases, worst) in sorted(RECORD.items()):
        terminalreporter.write_line(f"{group:<16} {dtype}  {cases:>5.0f} cases  worst relative error {worst:.1e}")
    worst = max(entry[1] for entry in RECORD.values())
    cases = sum(entry[0] for entry in RECORD.values())
    terminalreporter.write_line(f"{'all':<16} {'':<7}  {cases:>5.0f} cases  worst relative error {worst:.1e}")
