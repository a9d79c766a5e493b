"""One line per use of an op: operands, the call, and what its value must be. All checks walk this table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_notes.ops.operators import FUNCTIONS
from tinygrad_notes.registry import REGISTRY


@dataclass(frozen=True)
class Sample:
    """One use of an op.

    ``name``: the op or public function; ``label``: what is special about this use. ``operands``: arrays; those of
    float64 are differentiated, all others (indices, masks) are passed as they are. ``call(*operands)`` takes Tensors.
    ``reference(*operands)`` is the expected value from NumPy or SciPy, sharing no code with the op; None where the
    value has no such formula and another check stands for it. ``order``: how often the op can be differentiated.

    >>> from tinygrad_notes.study.samples import samples_of
    >>> one = samples_of("tanh")[0]
    >>> one.title, one.operands[0].shape, np.allclose(one.call(*one.operands), one.reference(*one.operands))
    ('tanh', (2, 3), True)
    """

    name: str
    label: str
    operands: tuple[np.ndarray, ...]
    call: Callable[..., Any]
    reference: Callable[..., Any] | None
    order: int = 2

    @property
    def title(self) -> str:
        return f"{self.name} {self.label}".strip()

    @property
    def differentiable(self) -> tuple[int, ...]:
        """Positions of the operands that get gradients."""
        return tuple(i for i, a in enumerate(self.operands) if a.dtype == np.float64)


def sample(
    name: str,
    *operands: Any,
    label: str = "",
    call: Callable[..., Any] | None = None,
    reference: Callable[..., Any] | None = None,
    order: int = 2,
    **static: Any,
) -> Sample:
    """A :class:`Sample`. Without ``call`` it is the op or public function ``name`` with the arguments ``static``.

    >>> from tinygrad_notes.study.samples import sample
    >>> one = sample("sum", np.ones((2, 3)), label="of rows", axis=1, reference=lambda a: a.sum(1))
    >>> one.title, one.call(*one.operands).tolist()
    ('sum of rows', [3.0, 3.0])
    """
    function = FUNCTIONS.get(name) or REGISTRY[name].call
    used = call if call is not None else lambda *tensors: function(*tensors, **static)
    return Sample(name, label, tuple(np.asarray(a) for a in operands), used, reference, order)


def normal(seed: int, *shape: int) -> np.ndarray:
    """Standard normal float64 numbers of ``shape``, the same for the same seed.

    >>> from tinygrad_notes.study.samples.sample import normal
    >>> normal(0, 2, 3).shape, bool((normal(0, 2, 3) == normal(0, 2, 3)).all())
    ((2, 3), True)
    """
    return np.random.default_rng(seed).standard_normal(shape)


def positive(seed: int, *shape: int) -> np.ndarray:
    """Numbers between 0.5 and 2.5, away from the edges of log, sqrt and division.

    >>> from tinygrad_notes.study.samples.sample import positive
    >>> bool((positive(0, 100) > 0.5).all())
    True
    """
    return np.random.default_rng(seed).uniform(0.5, 2.5, shape)


def distinct(seed: int, *shape: int) -> np.ndarray:
    """Numbers at least 0.1 apart and never within 0.04 of 0, so that no kink or tie lies within a difference's step.

    >>> from tinygrad_notes.study.samples.sample import distinct
    >>> len(np.unique(distinct(0, 4, 5)))
    20
    """
    count = int(np.prod(shape))
    values = (np.arange(count) - count / 2 + 0.5) * 0.1 + 0.004
    return np.random.default_rng(seed).permutation(values).reshape(shape)


def of_one(
    name: str, reference: Callable[..., Any], seed: int, make: Callable[..., np.ndarray] = distinct
) -> list[Sample]:
    """Samples of an elementwise function of one operand, which ``make(seed, *shape)`` gives: usual and odd shapes.

    >>> from tinygrad_notes.study.samples.sample import of_one
    >>> [one.title for one in of_one("tanh", np.tanh, 0)]
    ['tanh', 'tanh empty', 'tanh no axes', 'tanh strided']
    """
    return [
        sample(name, make(seed, 2, 3), reference=reference),
        sample(name, make(seed, 0, 2), label="empty", reference=reference),
        sample(name, make(seed, 1).reshape(()), label="no axes", reference=reference),
        sample(name, make(seed, 3, 4)[::2, ::-1].T, label="strided", reference=reference),
    ]


SHAPES = {
    "": ((2, 3), (2, 3)),
    "broadcast": ((3, 1), (1, 2)),
    "scalar": ((), (2, 2)),
    "new axis": ((2,), (3, 2)),
    "one element": ((1,), (1,)),
    "empty": ((0, 2), (1, 2)),
}


def of_two(name: str, reference: Callable[..., Any], seed: int) -> list[Sample]:
    """Samples of an elementwise function of two operands, both above 0, in every way to broadcast.

    >>> from tinygrad_notes.study.samples.sample import of_two
    >>> [one.label for one in of_two("add", np.add, 0)]
    ['', 'broadcast', 'scalar', 'new axis', 'one element', 'empty']
    """
    return [
        sample(name, positive(seed, *first), positive(seed + 50, *second), label=label, reference=reference)
        for label, (first, second) in SHAPES.items()
    ]
