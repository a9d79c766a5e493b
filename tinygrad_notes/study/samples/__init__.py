"""The table of samples of every op, by family. Gradient checks, tests and benchmarks walk it."""

from __future__ import annotations

import importlib
import pkgutil

from tinygrad_notes.study.samples.sample import Sample, sample

__all__ = ["SAMPLES", "Sample", "sample", "samples_of"]

# Every other module of this folder is a family's table.
SAMPLES: list[Sample] = [
    one
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name != "sample")
    for one in importlib.import_module(f"{__name__}.{module}").SAMPLES
]


def samples_of(name: str) -> list[Sample]:
    """The samples of one op or public function.

    >>> from tinygrad_notes.study.samples import samples_of
    >>> [one.title for one in samples_of("positive")]
    ['positive', 'positive empty', 'positive no axes', 'positive strided']
    """
    return [one for one in SAMPLES if one.name == name]
