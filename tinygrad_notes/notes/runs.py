"""Running a note: its demo, judged by its bars, with the result kept in a folder for each seed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tinygrad_notes.notes.note import Bar, Note, Run
from tinygrad_notes.training.machine import versions
from tinygrad_notes.training.report import number, table, write_json


def folder_of(runs: Path, slug: str, seed: int) -> Path:
    """Where the run of a note with a seed leaves its metrics, picture and checkpoint."""
    return runs / slug / f"seed-{seed}"


def run_note(note: Note, run: Run) -> tuple[dict[str, Any], str]:
    """Run the demo and judge it. Returns the result, which is also in ``metrics.json`` of the folder, and a report."""
    began = time.perf_counter()
    outcome = note.demo(run)
    seconds = time.perf_counter() - began
    metrics = outcome.metrics
    passed = all(bar.met(metrics) for bar in note.bars)
    times = outcome.times
    result = {
        "slug": note.slug,
        "seed": run.seed,
        "device": run.device,
        "passed": passed,
        "seconds": seconds,
        "metrics": metrics,
        "bars": [_judged(bar, metrics) for bar in note.bars],
        "pictures": list(outcome.pictures),
        "times": None if times is None else times.parts(),
        "history": outcome.history,
        "versions": versions(),
    }
    write_json(run.folder / "metrics.json", result)

    values = [(name.replace("_", " "), number(value)) for name, value in metrics.items()]
    verdicts = [
        (
            bar.metric.replace("_", " "),
            number(metrics[bar.metric]),
            bar.describe(metrics),
            "yes" if bar.met(metrics) else "NO",
        )
        for bar in note.bars
    ]
    parts = ["", table(("metric", "value"), values), "", table(("metric", "value", "bar", "met"), verdicts), ""]
    if times is not None:
        parts += ["where the time of training went:", str(times), ""]
    parts += [f"picture: {path}" for path in outcome.pictures]
    parts.append(f"{'every bar is met' if passed else 'a bar is NOT met'}, {seconds:.1f} s\n")
    return result, "\n".join(parts)


def _judged(bar: Bar, metrics: dict[str, float]) -> dict[str, Any]:
    return {"metric": bar.metric, "value": metrics[bar.metric], "bar": bar.describe(metrics), "met": bar.met(metrics)}


def state_of(runs: Path, slug: str) -> str:
    """How the runs of a note ended that left their metrics below ``runs``: "passed, seed 0 1"."""
    seeds: dict[bool, list[str]] = {True: [], False: []}
    for file in sorted((runs / slug).glob("seed-*/metrics.json")):
        try:
            seeds[bool(json.loads(file.read_text())["passed"])].append(file.parent.name.removeprefix("seed-"))
        except (ValueError, KeyError, TypeError):  # somebody else's file
            continue
    parts = [
        f"{word}, seed {' '.join(seeds[flag])}" for flag, word in ((True, "passed"), (False, "failed")) if seeds[flag]
    ]
    return "; ".join(parts) or "none"
