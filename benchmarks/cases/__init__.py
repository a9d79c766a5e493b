"""The cases of ``bench ops``, a file for each family. ``every()`` lists them in the order of the table."""

from __future__ import annotations

from benchmarks.cases import attention, convolution, optimiser, pooling, products, recurrent, rows
from benchmarks.cases.case import OpCase, StepCase


def every() -> list[OpCase | StepCase]:
    """All cases."""
    families = (products, convolution, attention, recurrent, rows, pooling, optimiser)
    return [case for family in families for case in family.cases()]
