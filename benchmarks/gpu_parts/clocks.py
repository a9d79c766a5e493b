"""What nvidia-smi says of the GPU while something is measured: clocks, power, temperature."""

from __future__ import annotations

import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

COMMAND = "nvidia-smi"
FIELDS = {"clocks.sm": "SM MHz", "clocks.mem": "memory MHz", "power.draw": "W", "temperature.gpu": "°C"}
Summary = dict[str, list[float]]


@contextmanager
def watched(every: int = 500) -> Iterator[Callable[[], Summary]]:
    """Inside the block nvidia-smi looks ``every`` milliseconds; afterwards the function says what it saw.

    That is, by quantity, the least, the median and the largest; nothing where there is no nvidia-smi.
    """
    seen: Summary = {}
    path = shutil.which(COMMAND)
    if path is None:
        yield lambda: seen
        return
    query = [f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits", "--id=0", f"--loop-ms={every}"]
    process = subprocess.Popen([path, *query], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield lambda: seen
    finally:
        process.terminate()
        try:
            output, _ = process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
        seen.update(summary(output))


def summary(output: str) -> Summary:
    """Of lines of numbers, a column for each field; what is no number (``[N/A]``) does not count."""
    columns: dict[str, list[float]] = {}
    for line in output.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(FIELDS):
            continue
        for name, cell in zip(FIELDS.values(), cells):
            with suppress(ValueError):
                columns.setdefault(name, []).append(float(cell))
    return {name: [min(one), statistics.median(one), max(one)] for name, one in columns.items() if one}
