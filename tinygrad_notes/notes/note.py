"""What every note declares: its sources, its network, its training on real data, and what must hold of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_notes.errors import DTypeError, ShapeError
from tinygrad_notes.modes import shape_only
from tinygrad_notes.nn import Module
from tinygrad_notes.ops import zeros
from tinygrad_notes.study import summary
from tinygrad_notes.tensor import Tensor
from tinygrad_notes.training.progress import Progress
from tinygrad_notes.training.report import number


@dataclass(frozen=True)
class Fact:
    """A number or shape that can be looked up, and the function that measures it here."""

    name: str
    expected: Any
    measure: Callable[[], Any]
    source: str = ""

    def holds(self) -> bool:
        return bool(self.measure() == self.expected)


@dataclass(frozen=True)
class Identity:
    """Two ways to compute the same: ``error`` measures how far they are apart, which is ``at_most`` that much.

    0 means to the last bit. An inequality is one too, whose error is what it is missed by.
    """

    name: str
    error: Callable[[], float]
    at_most: float = 0.0
    source: str = ""

    def holds(self) -> bool:
        """Whether they agree. A NaN agrees with nothing."""
        return bool(self.error() <= self.at_most)


@dataclass(frozen=True)
class Bar:
    """What a metric must reach: a number, or another metric of the same run (a baseline), at least or at most."""

    metric: str
    at_least: float | str | None = None
    at_most: float | str | None = None

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise DTypeError(f"Bar: {self.metric} needs either at_least or at_most")

    def limit(self, metrics: dict[str, float]) -> float:
        bound = self.at_most if self.at_least is None else self.at_least
        return self._value(metrics, bound) if isinstance(bound, str) else float(bound)  # type: ignore[arg-type]

    def met(self, metrics: dict[str, float]) -> bool:
        """Whether ``metrics`` reach it. A NaN reaches nothing."""
        value, limit = self._value(metrics, self.metric), self.limit(metrics)
        return value <= limit if self.at_least is None else value >= limit

    @staticmethod
    def _value(metrics: dict[str, float], name: str) -> float:
        if name not in metrics:
            raise ShapeError(f"Bar: there is no metric {name!r}, only {', '.join(metrics) or 'none'}")
        return metrics[name]

    def describe(self, metrics: dict[str, float]) -> str:
        bound = self.at_most if self.at_least is None else self.at_least
        sign = "≤" if self.at_least is None else "≥"
        return f"{sign} {number(self.limit(metrics))}" + (
            f" ({bound.replace('_', ' ')})" if isinstance(bound, str) else ""
        )


@dataclass(frozen=True)
class Run:
    """How a demo is to be run. ``folder`` is where its pictures and its checkpoint go."""

    seed: int = 0
    device: str = "cpu"
    folder: Path = Path("runs")
    epochs: int | None = None
    resume: bool = False
    progress: Progress = field(default_factory=Progress)


@dataclass(frozen=True)
class Outcome:
    """What a demo found: metrics with their baselines, the pictures it drew, the epochs and where the time went."""

    metrics: dict[str, float]
    pictures: Sequence[Path] = ()
    history: Sequence[dict[str, float]] = ()
    times: Any = None


@dataclass(frozen=True)
class Note:
    """One rebuilt system, technique or identity, by the name (``slug``) of its row in the list of all.

    ``text``: what the source note says, the formula, where the paper differs (the file's docstring).
    ``build``: the canonical model at full size, None for what has no model; ``example``: the shape of its input, or its
    inputs, from which the table of its layers is made; None for a model so large that it is only counted.
    ``facts``: numbers and shapes that can be looked up. ``identities``: what must agree.
    ``demo``: trains the small configuration on real data. ``bars``: what its metrics must reach; ``no_bar``: the reason
    where there is nothing that they must.
    ``checks``: pairs of a function or module and its inputs, whose gradients are compared with finite differences;
    ``no_gradient``: the reason where there is nothing to differentiate.
    """

    slug: str
    family: str
    title: str
    sources: str
    paper: str
    text: str
    build: Callable[[], Module] | None = None
    example: Callable[[], Any] | None = None
    demo: Callable[[Run], Outcome] | None = None
    bars: Sequence[Bar] = ()
    no_bar: str = ""
    facts: Sequence[Fact] = ()
    identities: Sequence[Identity] = ()
    checks: Callable[[], Sequence[tuple[Callable[..., Any], tuple[Any, ...]]]] | None = None
    no_gradient: str = ""

    def __post_init__(self) -> None:
        for given, other, reason in (("bars", self.bars, self.no_bar), ("checks", self.checks, self.no_gradient)):
            if bool(other) == bool(reason):
                raise DTypeError(f"Note: {self.slug} needs either {given} or the reason why there are none")
        if self.bars and self.demo is None:
            raise DTypeError(f"Note: {self.slug} has bars but no demo that could reach them")
        if self.build is None and self.example is not None:
            raise DTypeError(f"Note: {self.slug} has an example but no network that it is for")


def apart(first: Any, second: Any) -> float:
    """The largest absolute difference of two results of one shape, or of two lists of results: what identities say."""
    if isinstance(first, list | tuple):
        return max(apart(a, b) for a, b in zip(first, second, strict=True))
    a, b = (np.asarray(value.data if isinstance(value, Tensor) else value) for value in (first, second))
    return float(np.abs(a - b).max()) if a.shape == b.shape else float("inf")


def parameter_count(model: Module) -> int:
    """How many numbers are trained."""
    return sum(parameter.size for parameter in model.parameters())


def without_memory(make: Callable[..., Module], *arguments: Any, **options: Any) -> Any:
    """``make(*arguments, **options)``, a network of shapes without memory, in evaluation mode."""
    with shape_only():
        return make(*arguments, **options).eval()


def multiply_adds(model: Module, shape: tuple[int, ...]) -> float:
    """Billions (10⁹) of multiplications, each with its addition, for an input of ``shape``; to three decimals."""
    return round(summary(model, zeros(shape)).multiply_adds / 1e9, 3)
