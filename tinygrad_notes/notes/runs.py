"""Running a note: its demo, judged by its bars, with the result kept in a folder for each seed."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run
from tinygrad_notes.training.machine import versions
from tinygrad_notes.training.report import number, table, write_json

KEPT = ("seed", "passed", "wrong", "seconds", "bars", "facts", "identities")  # of a result, for the tables of all
ROUNDING = 1e-9  # 0.96 is not quite 0.97 - 0.01


def folder_of(runs: Path, slug: str, seed: int) -> Path:
    """Where the run of a note with a seed leaves its metrics, picture and checkpoint."""
    return runs / slug / f"seed-{seed}"


def run_note(note: Note, run: Run) -> tuple[dict[str, Any], str]:
    """Check facts and identities, run the demo, and judge all. Returns the result, which is also in ``metrics.json`` of
    the folder, and a report."""
    began = time.perf_counter()
    facts = [(fact, fact.measure()) for fact in note.facts]
    identities = [(identity, float(identity.error())) for identity in note.identities]
    checked = time.perf_counter()
    outcome = Outcome({}) if note.demo is None else note.demo(run)
    ended = time.perf_counter()
    metrics, times = outcome.metrics, outcome.times
    wrong = [fact.name for fact, value in facts if value != fact.expected]
    wrong += [identity.name for identity, error in identities if not error <= identity.at_most]
    wrong += [bar.metric for bar in note.bars if not bar.met(metrics)]
    result = {
        "slug": note.slug,
        "family": note.family,
        "seed": run.seed,
        "device": run.device,
        "passed": not wrong,
        "wrong": wrong,
        "seconds": ended - began,
        "seconds_of_checks": checked - began,
        "metrics": metrics,
        "bars": [_judged(bar, metrics) for bar in note.bars],
        "no_bar": note.no_bar,
        "facts": len(facts),
        "identities": {identity.name: error for identity, error in identities},
        "pictures": list(outcome.pictures),
        "times": None if times is None else times.parts(),
        "history": outcome.history,
        "versions": versions(),
    }
    write_json(run.folder / "metrics.json", result)

    parts = [""]
    if facts:
        parts += [facts_table(facts), ""]
    if identities:
        parts += [identities_table(identities), ""]
    if metrics:
        parts += [table(("metric", "value"), [(_words(name), number(value)) for name, value in metrics.items()]), ""]
    if note.bars:
        verdicts = [
            (_words(bar.metric), number(metrics[bar.metric]), bar.describe(metrics), _verdict(bar.met(metrics)))
            for bar in note.bars
        ]
        parts += [table(("metric", "value", "bar", "met"), verdicts), ""]
    else:
        parts += [f"no bar: {note.no_bar}", ""]
    if times is not None:
        parts += ["where the time of training went:", str(times), ""]
    parts += [f"picture: {path}" for path in outcome.pictures]
    verdict = f"NOT as it must be: {', '.join(map(_words, wrong))}" if wrong else "everything is as it must be"
    parts.append(f"{verdict}, {ended - began:.1f} s\n")
    return result, "\n".join(parts)


def facts_table(facts: Sequence[tuple[Fact, Any]]) -> str:
    """Each fact beside what was measured here."""
    rows = [(f.name, _short(f.expected), _short(v), _verdict(v == f.expected), f.source) for f, v in facts]
    return table(("fact", "expected", "here", "holds", "source"), rows)


def identities_table(identities: Sequence[tuple[Identity, float]]) -> str:
    """Each identity with the error that was measured here."""
    rows = [(i.name, number(error), number(i.at_most), _verdict(error <= i.at_most)) for i, error in identities]
    return table(("identity", "error", "at most", "holds"), rows)


def _verdict(holds: bool) -> str:
    return "yes" if holds else "NO"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join("×".join(map(str, v)) if isinstance(v, tuple) else str(v) for v in value)
    return number(value)


def _judged(bar: Bar, metrics: dict[str, float]) -> dict[str, Any]:
    return {
        "metric": bar.metric,
        "value": metrics[bar.metric],
        "bar": bar.describe(metrics),
        "limit": bar.limit(metrics),
        "higher": bar.at_most is None,
        "met": bar.met(metrics),
    }


def kept_results(runs: Path, slug: str) -> list[dict[str, Any]]:
    """What the runs of a note left below ``runs``, by seed."""
    found = []
    for file in (runs / slug).glob("seed-*/metrics.json"):
        try:
            result = json.loads(file.read_text())
            kept = {name: result[name] for name in KEPT}
            found.append((int(file.parent.name.removeprefix("seed-")), kept))
        except (ValueError, KeyError, TypeError):  # somebody else's file
            continue
    return [result for _, result in sorted(found, key=lambda item: item[0])]


def state_of(runs: Path, slug: str) -> str:
    """How the runs of a note ended that left their metrics below ``runs``: "passed, seed 0 1"."""
    seeds: dict[bool, list[str]] = {True: [], False: []}
    for result in kept_results(runs, slug):
        seeds[bool(result["passed"])].append(str(result["seed"]))
    parts = [
        f"{word}, seed {' '.join(seeds[flag])}" for flag, word in ((True, "passed"), (False, "failed")) if seeds[flag]
    ]
    return "; ".join(parts) or "none"


def over_seeds(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each bar over all seeds: it is held when the mean reaches it and no seed is more than one point below.

    A point is 0.01, or a hundredth of a bar that is above 1. A bar that is a baseline may differ from seed to seed.
    """
    rows = []
    for judged in zip(*(result["bars"] for result in results)):
        signs = [1 if bar["higher"] else -1 for bar in judged]
        values, limits = [bar["value"] for bar in judged], [bar["limit"] for bar in judged]
        whole = all(value is not None and limit is not None for value, limit in zip(values, limits))  # NaN is null
        margins = [sign * (value - limit) for sign, value, limit in zip(signs, values, limits)] if whole else []
        point = 0.01 * max(1.0, *map(abs, limits)) if whole else 0.0
        rows.append(
            {
                "metric": judged[0]["metric"],
                "bar": judged[0]["bar"],
                "values": values,
                "held": whole and sum(margins) >= -ROUNDING and min(margins) >= -point - ROUNDING,
            }
        )
    return rows


def results_table(runs: Path, slugs: Sequence[str]) -> str:
    """A line for each bar of each note that was run: its metric for every seed, and how long the slowest took."""
    rows = []
    for slug in slugs:
        results = kept_results(runs, slug)
        if not results:
            rows.append((slug, "not run", "", "", "", ""))
            continue
        slowest = f"{max(result['seconds'] for result in results):.1f}"
        for row in over_seeds(results):
            values = " ".join("nan" if value is None else number(value) for value in row["values"])
            rows.append((slug, _words(row["metric"]), values, row["bar"], _verdict(row["held"]), slowest))
        if not results[0]["bars"]:
            checked = f"{results[0]['facts']} facts, {len(results[0]['identities'])} identities"
            rows.append((slug, checked, "", "", _verdict(all(r["passed"] for r in results)), slowest))
        wrong = {name for result in results for name in result["wrong"]} - {
            row["metric"] for row in over_seeds(results)
        }
        rows += [(slug, f"NOT: {_words(name)}", "", "", "NO", "") for name in sorted(wrong)]
    return table(("slug", "metric", "seeds", "bar", "held", "seconds"), rows)
