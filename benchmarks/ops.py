"""Every hot op beside PyTorch: each instruction set in a process of its own, ratios, accuracy, shares of the limit.

``README.md`` here says what a ratio is. The exit code is 0 when every result is right, accurate and below the
machine's limit, and every target that binds the instruction set is met.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks import backends, limits, report
from benchmarks.timing import machine, require_torch


def main() -> int:
    parser = argparse.ArgumentParser(prog="tinygrad-notes bench ops", description=__doc__)
    backends.add_options(parser)
    parser.add_argument("--seconds", type=float, default=40.0, help="a pass slower than this gets fewer rounds")
    parser.add_argument("--pictures", metavar="FOLDER", help="save pictures of the ratios and of the roofline there")
    parser.add_argument("--read", metavar="FILE", help="measure nothing: tables and pictures of a JSON file")
    options = parser.parse_args()
    if options.alone:
        alone(options)
        return 0
    screen = sys.stderr if options.json == "-" else sys.stdout
    if options.read:
        given = json.loads(Path(options.read).read_text())
        runs, where = given["runs"], given["machine"]
    else:
        require_torch()
        passed_on = ["--only", options.only, "--rounds", str(options.rounds), "--seconds", str(options.seconds)]
        passed_on += ["--quick"] if options.quick else []
        runs = [
            report.judged(backends.run("benchmarks.ops", backend, passed_on)) for backend in backends.chosen(options)
        ]
        where = machine()
    for run in runs:
        print(report.table(run), end="\n\n", file=screen)
    if len(runs) > 1:
        print(report.summary(runs), end="\n\n", file=screen)
    faults = [f"{run['backend']}: {fault}" for run in runs for fault in report.faults(run)]
    print("\n".join(faults) or "nothing is wrong, and every target that binds is met", file=screen)
    if options.json:
        text = json.dumps({"machine": where, "runs": runs}, indent=1)
        print(text) if options.json == "-" else Path(options.json).write_text(text + "\n")
    if options.pictures:
        from benchmarks import pictures

        for path in pictures.save(runs, Path(options.pictures)):
            print(f"picture: {path}", file=screen)
    return 1 if faults else 0


def alone(options: argparse.Namespace) -> None:
    """One backend, in its own process: a line of JSON for each result, and for people a line on standard error."""
    from benchmarks import cases
    from benchmarks.measure import Settings, measure

    settings = Settings(options.rounds, options.seconds)
    if options.quick:
        settings = Settings(3, 3.0, settle=0.005, block=0.005)
    with backends.within(options.kernels) as torch:
        before = limits.measure(backends.THREADS, options.quick)
        backends.measure_all(cases.every(), options.only, lambda case, one: measure(case, one, torch, settings))
        backends.tell("limits", limits.higher(before, limits.measure(backends.THREADS, options.quick)))


if __name__ == "__main__":
    raise SystemExit(main())
