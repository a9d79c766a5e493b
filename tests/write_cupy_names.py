"""Writes cupy_names.json: what CuPy has of the names that the project uses. Needs CuPy (``import cupy``), but no GPU.

``python -m tests.write_cupy_names``, after code used a NumPy function that cupy_rules.py says the table does not know.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("tinygrad_notes", "kernels/reference", "kernels/cuda", "benchmarks", "tests/gpu", "tests/ops")
NAME = re.compile(r"\bnp\.((?:linalg\.|lib\.stride_tricks\.|fft\.)?[a-z]\w*)")
SPECIAL = re.compile(r"\bspecial\.([a-z]\w*)")


def written(function: Any) -> str:
    """Its parameters: of a compiled function the first line of the docstring shows them."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        line = (function.__doc__ or "").split("\n", 1)[0]
        found = re.search(r"\((.*)\)", line)
        return (
            re.sub(r"^self,?\s*|\bint (?=axis)|Py_ssize_t |bint |_ndarray_base ", "", found[1])
            if found
            else "*arguments, **options"
        )
    plain = [p.replace(annotation=p.empty) for p in parameters if p.name != "self"]
    return str(inspect.Signature(plain))[1:-1]


def ufunc(module: Any, name: str) -> dict[str, Any]:
    """Its loops, but for those of complex numbers, float16 and bfloat16, and whether it has ``at``."""
    theirs = getattr(module, name)
    return {
        "types": [line for line in getattr(theirs, "types", []) if not set("EFDe") & set(line)],
        "at": getattr(theirs, "_scatter_op", None) is not None,
    }


def main() -> None:
    import cupy
    import cupyx.scipy.special

    texts = [path.read_text() for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    used = sorted({name for text in texts for name in NAME.findall(text)})
    special = sorted({name for text in texts for name in SPECIAL.findall(text)})
    functions, ufuncs, lacks = {}, {}, []
    for name in used:
        ours, theirs = _reach(np, name), _reach(cupy, name)
        if not callable(ours) or isinstance(ours, type):
            continue
        if theirs is None:
            lacks.append(name)
        elif isinstance(ours, np.ufunc):
            ufuncs[ours.__name__] = ufunc(cupy, ours.__name__)
        else:
            functions[name] = written(theirs)
    for operator in (u for u in vars(np).values() if isinstance(u, np.ufunc) and hasattr(cupy, u.__name__)):
        ufuncs[operator.__name__] = ufunc(cupy, operator.__name__)
    for name in special:
        if hasattr(cupyx.scipy.special, name):
            ufuncs.setdefault(name, ufunc(cupyx.scipy.special, name))
    methods, attributes = {}, []
    for name in dir(cupy.ndarray):
        member = getattr(cupy.ndarray, name)
        if name.startswith("_"):
            continue
        if callable(member):
            methods[name] = written(member)
        else:
            attributes.append(name)
    table = {
        "cupy": cupy.__version__,
        "numpy": np.__version__,
        "functions": functions,
        "lacks": lacks,
        "ufuncs": dict(sorted(ufuncs.items())),
        "methods": methods,
        "attributes": attributes,
    }
    path = Path(__file__).with_name("cupy_names.json")
    lines = []
    for key, value in table.items():
        if isinstance(value, dict):
            inner = ",\n".join(f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
            lines.append(f"  {json.dumps(key)}: {{\n{inner}\n  }}")
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(value)}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _reach(module: Any, name: str) -> Any:
    for part in name.split("."):
        module = getattr(module, part, None)
    return module


if __name__ == "__main__":
    main()
