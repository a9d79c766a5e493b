"""One or two small calls of each function, for compute-sanitizer: ``compute-sanitizer python -m tests.gpu.small``.

Memory comes from the driver, not from CuPy's pool, in which an access beyond an array would go unseen. The first words
after the name choose functions: ``python -m tests.gpu.small conv softmax``.
"""

from __future__ import annotations

import sys

import numpy as np

from tests.gpu import cases
from tinygrad_notes.kernels import cuda
from tinygrad_notes.tensor import cuda_array_module


def chosen(names: list[str]) -> list[cases.Case]:
    """The first and the last case of each function; the first is small, the last another kernel's."""
    by_name: dict[str, list[cases.Case]] = {}
    for case in cases.table():
        by_name.setdefault(case.function, []).append(case)
    pairs = [(found[0], found[-1]) for name, found in by_name.items() if not names or name in names]
    return [case for first, last in pairs for case in ((first,) if first is last else (first, last))]


def main() -> int:
    cupy = cuda_array_module()
    cupy.cuda.set_allocator(None)
    for case in chosen(sys.argv[1:]):
        given = cases.mapped(cases.rounded(case, np.float32), cupy.asarray)
        got = [x.get() if hasattr(x, "get") else x for x in cases.results(case, cuda, given)]
        cases.compare(case, got, cases.exact(case, np.float32), np.float32)
        print(case, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
