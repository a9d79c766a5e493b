"""What CuPy refuses where NumPy does not, and where it waits for the GPU: the rules of foreign_array.py.

``cupy_names.json`` has the names and parameters of one version of CuPy; what stands here follows CuPy's sources
(``_core/core.pyx``, ``_core/_kernel.pyx``, ``_core/_routines_indexing.pyx``).
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

NAMES = json.loads(Path(__file__).with_name("cupy_names.json").read_text())

# What may take arrays of the host: making one on the GPU.
MAKERS = {np.asarray, np.array, np.ascontiguousarray}
# Functions and methods whose shapes depend on values, or that return them: CuPy waits for the GPU.
WAITING = {
    *("nonzero", "flatnonzero", "argwhere", "unique", "bincount", "histogram", "delete", "compress", "extract"),
    *("array2string", "item", "tolist", "get", "tobytes", "tofile", "dump", "dumps", "isin", "linalg.matrix_rank"),
}
SCALARS = (bool, int, float, complex, np.bool_, np.integer, np.floating)
ADDED = {"int32", "uint32", "uint64", "float16", "float32", "float64"}  # dtypes that atomicAdd has
# What CuPy computes by its binding of cuBLAS, which refuses to run while a stream is captured.
PRODUCTS = {"matmul", "dot", "tensordot", "einsum", "inner", "vdot", "vecdot"}


def check_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], options: dict[str, Any], array: type) -> None:
    """TypeError or NotImplementedError where CuPy would raise one."""
    name = ufunc.__name__
    known = NAMES["ufuncs"].get(name)
    if known is None:
        raise TypeError(f"CuPy has no ufunc {name} (tests/cupy_names.json)")
    for given in (*(inputs[::2] if method == "at" else inputs), *options.get("out", ()), options.get("where")):
        if isinstance(given, np.ndarray):
            raise TypeError(f"{name}: Unsupported type {type(given)}")
        if given is not None and not isinstance(given, (array, *SCALARS)) and method in ("__call__", "outer"):
            raise TypeError(f"{name}: Unsupported type {type(given)}")
    if method == "__call__":
        allowed = {"out", "where", "dtype", "casting"}
    else:
        allowed = {"out", "dtype", "axis", "keepdims"}
        has = {"reduce": name in ("add", "multiply"), "accumulate": name in ("add", "multiply"), "outer": True}
        if not {**has, "reduceat": name == "add", "at": known["at"]}[method]:
            raise NotImplementedError(f"CuPy has no {name}.{method}")
        if method == "at" and not isinstance(inputs[1], (array, np.ndarray, *SCALARS)):
            raise TypeError(f"{name}.at: CuPy is not asked with indices that are a {type(inputs[1]).__name__}")
        if method == "at" and inputs[0].dtype.name not in ADDED:
            raise TypeError(f"{name}.at: CuPy has none for {inputs[0].dtype}")
    if not options.keys() <= allowed and not (known["types"] == [] and options.keys() <= {*allowed, "axes"}):
        raise TypeError(f"CuPy's {name} takes no {sorted(options.keys() - allowed)}")


def dtypes_of(ufunc: np.ufunc, inputs: tuple[Any, ...]) -> list[np.dtype] | None:
    """The dtypes of CuPy's results: of the first of its loops to which all operands can be cast. None: as NumPy's."""
    types = NAMES["ufuncs"][ufunc.__name__]["types"]
    if not types:
        return None
    strong = [x.dtype for x in inputs if hasattr(x, "dtype")]
    if not strong:
        return None
    rank = max("biufc".replace("u", "").find(d.kind if d.kind != "u" else "i") for d in strong)

    def casts(x: Any, code: str) -> bool:
        if hasattr(x, "dtype"):
            return bool(np.can_cast(x.dtype, code, "safe"))
        own = 0 if isinstance(x, bool) else 1 if isinstance(x, int) else 2 if isinstance(x, float) else 3
        if own > rank or own == 0:
            return bool(np.can_cast((np.bool_, np.int64, np.float64, np.complex128)[own], code, "safe"))
        return np.dtype(code).kind in ("iufc", "fc", "c")[own - 1]

    for line in types:
        operands, results = line.split("->")
        if all(casts(x, code) for x, code in zip(inputs, operands)):
            return [np.dtype(code) for code in results]
    raise TypeError(f"Wrong type ({', '.join(map(str, strong))}) of arguments for cupy_{ufunc.__name__}")


def check_function(function: Any, arguments: tuple[Any, ...], options: dict[str, Any], array: type) -> str:
    """CuPy's name of the function; TypeError where CuPy has none, or none with these arguments."""
    module = function.__module__.split(".", 1)
    name = ".".join([*module[1:], function.__name__])
    name = {"amax": "max", "amin": "min"}.get(name, name)
    if name not in NAMES["functions"]:
        why = "CuPy lacks it" if name in NAMES["lacks"] else "run python -m tests.write_cupy_names"
        raise TypeError(f"no implementation found for 'numpy.{name}' on CuPy's arrays: {why}")
    _bind(name, NAMES["functions"][name], arguments, options)
    _check_sorting(name, options)
    if function not in MAKERS:
        refuse_host_arrays(name, (arguments, options))
        first = arguments[0] if arguments else None
        if (
            isinstance(first, list | tuple)
            and name not in SHAPES
            and not any(isinstance(x, array) for x in _flat(first))
        ):
            raise TypeError(f"CuPy's {name} takes no {type(first).__name__}")
    if name in ("stack", "concatenate") and not all(isinstance(x, array) for x in arguments[0]):
        raise TypeError("Only cupy arrays can be concatenated")
    return name


SHAPES = {"empty", "zeros", "ones", "full", "broadcast_shapes"}


def check_method(name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    if name not in NAMES["methods"]:
        raise AttributeError(f"CuPy's arrays have no {name}")
    _bind(name, NAMES["methods"][name], arguments, options)
    _check_sorting(name, options)
    if name != "set":
        refuse_host_arrays(name, (arguments, options))


def _check_sorting(name: str, options: dict[str, Any]) -> None:
    if name in ("sort", "argsort") and options.get("kind") not in (None, "stable"):
        raise ValueError("kind can only be None or 'stable'")


def refuse_host_arrays(name: str, given: Any) -> None:
    for value in _flat(given):
        if isinstance(value, np.ndarray):
            raise TypeError(f"{name}: Unsupported type {type(value)}")


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for one in value:
            yield from _flat(one)
    elif isinstance(value, dict):
        yield from _flat(list(value.values()))
    else:
        yield value


def why_function_waits(name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> str | None:
    if name in WAITING or (name == "where" and len(arguments) == 1):
        return f"{name}, whose result has a shape or values that the host must know,"
    if name in ("asarray", "array", "ascontiguousarray", "full") and arguments:
        data = options.get("fill_value", arguments[1]) if name == "full" else arguments[0]
        if np.ndim([] if hasattr(data, "get") else data) and not hasattr(data, "get"):
            return f"{name} of the host's numbers"
        if isinstance(data, list | tuple):
            return f"{name} of the host's numbers"
    if name == "take" and len(arguments) > 1 and isinstance(arguments[1], list | tuple):
        return "take with the host's indices"
    return None


def why_index_waits(index: Any) -> str | None:
    """The reason for which x[index] waits, or copies from the host; None where it does not."""
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, np.ndarray | list | tuple):
            return f"an index that is the host's {type(part).__name__}"
        if isinstance(part, bool | np.bool_):
            return "an index that is a bool of the host"
        if getattr(getattr(part, "dtype", None), "kind", "") == "b":
            return "an index that is a mask, whose elements are counted,"
    return None


@functools.cache
def _signature(parameters: str) -> inspect.Signature:
    scope: dict[str, Any] = {}
    parameters = parameters.replace("<class 'float'>", "float").replace("<no value>", "None")
    exec(f"def function({parameters}): pass", scope)
    return inspect.signature(scope["function"])


def _bind(name: str, parameters: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    try:
        _signature(parameters).bind(*arguments, **options)
    except TypeError as error:
        raise TypeError(f"CuPy's {name}({parameters}): {error}") from None
