"""Results as text and as files: aligned tables, numbers, JSON."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Aligned columns: the first to the left, the others to the right when all that stands in them are numbers.

    >>> print(tn.training.report.table(["layer", "size"], [("conv", 9), ("linear", 128)]))
    layer   size
    ------  ----
    conv       9
    linear   128
    """
    cells = [[str(value) for value in row] for row in rows]
    columns = list(zip(headers, *cells)) if cells else [(h,) for h in headers]
    widths = [max(map(len, column)) for column in columns]
    right = [i > 0 and bool(column[1:]) and all(map(_is_number, column[1:])) for i, column in enumerate(columns)]
    lines = []
    for row in [list(headers), ["-" * width for width in widths], *cells]:
        aligned = (v.rjust(w) if r else v.ljust(w) for v, w, r in zip(row, widths, right))
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "") or 0)
    except ValueError:
        return False
    return True


def number(value: Any) -> str:
    """A number as a person reads it: four decimals, thousands in groups.

    >>> tn.training.report.number(12345), tn.training.report.number(0.5), tn.training.report.number(1e-5)
    ('12,345', '0.5000', '1e-05')
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.3g}"


def write_json(path: Path | str, value: Any) -> None:
    """``value`` as JSON in ``path``, all of it or nothing.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     folder = pathlib.Path(name)
    ...     tn.training.report.write_json(folder / "a.json", [1, 2])
    ...     (folder / "a.json").read_text().split()
    ['[', '1,', '2', ']']
    """
    write_atomically(path, (to_json(value) + "\n").encode())


def to_json(value: Any) -> str:
    """JSON with NaN and inf, which JSON does not have, as null, and paths as text.

    >>> print(tn.training.report.to_json({"loss": float("nan"), "steps": 3}))
    {
      "loss": null,
      "steps": 3
    }
    """
    return json.dumps(_plain(value), indent=2)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str | int | float | bool | None):
        return value
    return value.item() if hasattr(value, "item") else str(value)


def write_atomically(path: Path | str, data: bytes) -> None:
    """Write ``data`` so that at every moment ``path`` is either the old file or the whole new one.

    The data goes into a file beside it, to the disk, and then under its name.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     folder = pathlib.Path(name)
    ...     tn.training.report.write_atomically(folder / "a", b"new")
    ...     (folder / "a").read_bytes()
    b'new'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the new name is on the disk when the folder is
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
