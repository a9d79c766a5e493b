"""The command ``tinygrad-notes``: list, show, run, gradcheck, bench, info."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import subprocess
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tinygrad_notes as tn
from tinygrad_notes import notes
from tinygrad_notes.errors import DeviceError, DTypeError, GradientError, ShapeError
from tinygrad_notes.notes.note import Bar, Note, Run, parameter_count
from tinygrad_notes.notes.runs import (
    facts_table,
    folder_of,
    identities_table,
    kept_results,
    over_seeds,
    results_table,
    run_note,
    state_of,
)  # fmt: skip
from tinygrad_notes.study.gradcheck import gradcheck
from tinygrad_notes.study.summary import summary
from tinygrad_notes.training import machine
from tinygrad_notes.training.checkpoint import CheckpointError
from tinygrad_notes.training.loop import DivergenceError
from tinygrad_notes.training.progress import Progress
from tinygrad_notes.training.report import table, to_json, write_json

# What went wrong outside this program, and is told in one line. Anything else is a fault of ours, with its traceback.
EXPECTED = (ShapeError, DTypeError, DeviceError, GradientError, CheckpointError, DivergenceError, ImportError, OSError)

PASSED, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

DESCRIPTION = "Neural networks from five study notes, rebuilt on a small autograd engine and trained on real data."
EXAMPLES = """examples:
  tinygrad-notes list                          what there is, and how its last runs ended
  tinygrad-notes show cnn-recipe-lenet         the note, what it is checked by, the layers with their shapes
  tinygrad-notes run cnn-recipe-lenet          train it on real digits and compare with the bars; pictures go to runs/
  tinygrad-notes run cnn-recipe-lenet --seed 1 --json result.json
  tinygrad-notes run --family cnn              a whole family, one after the other
  tinygrad-notes gradcheck cnn-recipe-lenet    every gradient of the network against finite differences
  tinygrad-notes bench tape                    a benchmark (in a clone of the repository)
  tinygrad-notes info                          versions, devices, kernels: what to put into a bug report

exit code: 0 when everything asked for holds (every bar met, every gradient right), 1 when not, 2 for a wrong command.
"""


class Screen:
    """Where text goes: standard output, or standard error when that is kept for JSON."""

    def __init__(self, json_file: str | None):
        self.json_file = json_file
        self.file = sys.stderr if json_file == "-" else sys.stdout

    def say(self, text: str = "") -> None:
        print(text, file=self.file, flush=True)

    def result(self, value: dict[str, Any]) -> None:
        """Write the result as JSON where it was asked for."""
        if self.json_file == "-":
            print(to_json(value))
        elif self.json_file is not None:
            write_json(self.json_file, value)


# ---------------------------------------------------------------------- commands


def list_notes(options: argparse.Namespace, screen: Screen) -> int:
    if options.results:
        chosen = notes.slugs(options.family)
        screen.say(results_table(options.runs, chosen))
        kept = {slug: kept_results(options.runs, slug) for slug in chosen}
        screen.result({"results": {slug: over_seeds(results) for slug, results in kept.items() if results}})
        return PASSED
    rows, found = [], []
    for slug in notes.slugs(options.family):
        note = notes.get(slug)
        state = state_of(options.runs, slug)
        rows.append((note.slug, note.family, state, note.title))
        found.append({"slug": note.slug, "family": note.family, "title": note.title, "state": state})
    screen.say(table(("slug", "family", "runs here", "title"), rows))
    screen.result({"notes": found})
    return PASSED


def show(options: argparse.Namespace, screen: Screen) -> int:
    tn.manual_seed(options.seed)
    note = notes.get(options.slug)
    screen.say(f"{note.text.strip()}\n\npaper    {note.paper}\nsources  {note.sources}\n")
    parameters, layers = None, []
    if note.build is not None:
        with tn.shape_only():
            model = note.build()
        parameters = parameter_count(model)
        text = f"{parameters:,} parameters"
        if note.example is not None:
            example = note.example()
            one = not isinstance(example, tuple) or all(isinstance(n, int) for n in example)
            shape_table = summary(model, *((example,) if one else example))
            text, layers = str(shape_table), [asdict(row) for row in shape_table.rows]
        screen.say(f"The canonical network:\n\n{text}\n")
    facts = [(fact, fact.measure()) for fact in note.facts]
    identities = [(identity, float(identity.error())) for identity in note.identities]
    for text in (facts_table(facts) if facts else "", identities_table(identities) if identities else ""):
        if text:
            screen.say(f"{text}\n")
    screen.say("Bars: " + ("; ".join(map(_bar_text, note.bars)) or f"none. {note.no_bar}"))
    screen.say(f"Run it: tinygrad-notes run {note.slug}")
    holds = all(v == f.expected for f, v in facts) and all(error <= i.at_most for i, error in identities)
    known = [
        {"fact": f.name, "expected": f.expected, "here": v, "holds": v == f.expected, "source": f.source}
        for f, v in facts
    ]
    screen.result(
        {"slug": note.slug, "family": note.family, "title": note.title, "paper": note.paper, "sources": note.sources,
         "text": note.text, "parameters": parameters, "layers": layers, "facts": known,
         "identities": [{"identity": i.name, "error": e, "at_most": i.at_most} for i, e in identities],
         "bars": [asdict(bar) for bar in note.bars], "no_bar": note.no_bar}
    )  # fmt: skip
    return PASSED if holds else FAILED


def _bar_text(bar: Bar) -> str:
    low = bar.at_least is not None
    bound = bar.at_least if low else bar.at_most
    return f"{bar.metric.replace('_', ' ')} {'≥' if low else '≤'} {str(bound).replace('_', ' ')}"


def run(options: argparse.Namespace, screen: Screen) -> int:
    chosen = list(options.slug)
    if options.family or options.all:
        chosen += notes.slugs(options.family)
    if not chosen:
        raise UsageError("run: name a note, or --family FAMILY, or --all; 'tinygrad-notes list' shows them")
    if options.epochs is not None and options.epochs < 1:
        raise UsageError(f"run: --epochs is {options.epochs}, expected at least 1")
    results = []
    for note in [notes.get(slug) for slug in dict.fromkeys(chosen)]:
        try:
            screen.say(f"{note.title}  (seed {options.seed}, {options.device})\n")
            result, report = run_note(
                note,
                Run(
                    seed=options.seed,
                    device=options.device,
                    folder=folder_of(options.runs, note.slug, options.seed),
                    epochs=options.epochs,
                    resume=options.resume,
                    progress=Progress(note.slug, file=screen.file),
                ),
            )
            screen.say(report)
            results.append(result)
        except Exception as error:
            if len(chosen) == 1:
                raise
            if options.traceback or not isinstance(error, EXPECTED):
                traceback.print_exception(error)
            text = f"{type(error).__name__}: {error}"
            screen.say(f"{note.slug}: {text}\n")
            results.append({"slug": note.slug, "seed": options.seed, "passed": False, "seconds": 0.0, "error": text})
    if len(results) > 1:
        rows = [(r["slug"], f"{r['seconds']:.1f}", "yes" if r["passed"] else "NO", _wrong(r)) for r in results]
        screen.say(table(("slug", "seconds", "as it must be", "what is not"), rows))
    screen.result({"results": results})
    return PASSED if all(result["passed"] for result in results) else FAILED


def _wrong(result: dict[str, Any]) -> str:
    return result.get("error") or ", ".join(result["wrong"])


def check_gradients(options: argparse.Namespace, screen: Screen) -> int:
    note = notes.get(options.slug)
    if note.checks is None:
        screen.say(f"{note.slug} has nothing to check: {note.no_gradient}")
        screen.result({"slug": note.slug, "seed": options.seed, "passed": True, "checks": [], "why": note.no_gradient})
        return PASSED
    found = []
    for i, (module, inputs) in enumerate(_seeded(note, options.seed)):
        report = gradcheck(module, *inputs, order=options.order, seed=options.seed)
        screen.say(f"{report}\n")
        found.append(
            {
                "network": i,
                "title": report.title,
                "order": report.order,
                "passed": report.passed,
                "max_error": report.max_error,
                "tolerance": report.tolerance,
                "directions": len(report.checks),
            }
        )
    passed = all(item["passed"] for item in found)
    screen.result({"slug": note.slug, "seed": options.seed, "passed": passed, "checks": found})
    return PASSED if passed else FAILED


def _seeded(note: Note, seed: int) -> Sequence[tuple[Any, tuple[Any, ...]]]:
    tn.manual_seed(seed)
    return note.checks()  # type: ignore[misc]


def bench(options: argparse.Namespace, screen: Screen) -> int:
    checkout = Path(__file__).resolve().parent.parent
    folder = checkout / "benchmarks"
    if not (folder / "__init__.py").is_file():
        raise UsageError(
            "bench: benchmarks need a clone of the repository with 'pip install -e .'; this is an installed package"
        )
    known = [file.stem for file in sorted(folder.glob("*.py")) if "__main__" in file.read_text()]
    if options.name is None:
        screen.say("benchmarks: " + ", ".join(known))
        screen.result({"benchmarks": known})
        return PASSED
    if options.name not in known:
        raise UsageError(f"bench: there is no benchmark {options.name!r}; there is {', '.join(known)}")
    more = (
        ["--json", options.json if options.json == "-" else str(Path(options.json).resolve())] if options.json else []
    )
    command = [sys.executable, "-m", f"benchmarks.{options.name}", *more, *options.arguments]
    return subprocess.run(command, cwd=checkout, check=False).returncode


def info(options: argparse.Namespace, screen: Screen) -> int:
    versions, devices, limits = machine.versions(), machine.devices(), machine.thread_limits()
    backends = sorted(tn.kernels.BACKENDS)
    rows = [("system", platform.platform())]
    rows += [(name, version or "not installed") for name, version in versions.items()]
    rows += [(f"device {name}", text) for name, text in devices.items()]
    rows += [("kernels", ", ".join(backends)), ("BLAS", machine.blas())]
    rows += [("ops", str(len(tn.REGISTRY))), ("notes", str(len(notes.slugs())))]
    rows += list(limits.items()) or [("threads", "not limited by the environment")]
    screen.say(table(("what", "here"), rows))
    screen.result(
        {
            "versions": versions,
            "system": platform.platform(),
            "devices": devices,
            "kernels": backends,
            "blas": machine.blas(),
            "threads": limits,
            "ops": len(tn.REGISTRY),
            "notes": len(notes.slugs()),
        }
    )
    return PASSED


# ---------------------------------------------------------------------- the command line


class UsageError(ValueError):
    """A command that cannot be understood or carried out as it stands."""


def _parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "tinygrad-notes", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=formatter
    )
    parser.add_argument("--version", action="version", version=f"tinygrad-notes {tn.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--json", metavar="FILE", help="write the result as JSON; '-' is standard output, where then nothing else goes"
    )
    common.add_argument(
        "--traceback", action="store_true", help="show where an error came from (or TINYGRAD_NOTES_TRACEBACK=1)"
    )
    seeded = argparse.ArgumentParser(add_help=False)
    seeded.add_argument("--seed", type=_seed, default=0, metavar="N", help="seed of all random numbers (default 0)")
    placed = argparse.ArgumentParser(add_help=False)
    placed.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to compute (default cpu)")
    stored = argparse.ArgumentParser(add_help=False)
    stored.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="folder of the runs (default runs)"
    )

    def command(
        name: str, function: Any, text: str, *parents: argparse.ArgumentParser, more: str = ""
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=more,
            parents=[*parents, common],
            formatter_class=formatter,
        )
        sub.set_defaults(function=function)
        return sub

    sub = command("list", list_notes, "list all notes, with the state of their runs", stored)
    sub.add_argument("--family", metavar="F", help="only this family")
    sub.add_argument("--results", action="store_true", help="every bar with the metrics of all seeds that were run")

    sub = command("show", show, "show a note, its facts, and its network layer by layer", seeded)
    sub.add_argument("slug", metavar="SLUG", help="the note's short name, as 'list' shows it")

    sub = command(
        "run", run, "train notes on real data and compare them with their bars", seeded, placed, stored,
        more="A run leaves metrics.json, its pictures and its checkpoints in runs/SLUG/seed-N.\n"
             "A run that was killed goes on with --resume and ends with the same bits.\n\n"
             "examples:\n  tinygrad-notes run cnn-recipe-lenet --seed 2 --json -\n"
             "  tinygrad-notes run cnn-recipe-lenet --resume\n  tinygrad-notes run --all",
    )  # fmt: skip
    sub.add_argument("slug", metavar="SLUG", nargs="*", help="notes to run")
    sub.add_argument("--family", metavar="F", help="all notes of a family")
    sub.add_argument("--all", action="store_true", help="all notes")
    sub.add_argument("--epochs", type=int, metavar="N", help="train so many epochs instead of the note's own number")
    sub.add_argument("--resume", action="store_true", help="go on from the checkpoint of a run that was stopped")

    sub = command(
        "gradcheck", check_gradients, "compare a network's gradients with finite differences, in float64", seeded
    )
    sub.add_argument("slug", metavar="SLUG", help="the note whose network is checked")
    sub.add_argument("--order", type=int, choices=(1, 2), default=1, help="2 checks the gradients of the gradients")

    more = "What follows the name goes to the benchmark: tinygrad-notes bench tape --rounds 50"
    sub = command("bench", bench, "run a benchmark of the repository; without a name, list them", more=more)
    sub.add_argument("name", metavar="NAME", nargs="?", help="the benchmark")

    command("info", info, "show versions, devices, kernels and threads")
    return parser


def _seed(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no seed, expected an integer from 0")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.command != "bench":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.arguments = rest
    options.traceback = options.traceback or os.environ.get("TINYGRAD_NOTES_TRACEBACK") == "1"
    screen = Screen(options.json)
    try:
        return options.function(options, screen)
    except (UsageError, notes.UnknownNoteError) as error:
        return _told(error, USAGE, options, screen)
    except BrokenPipeError:  # the reader of a pipe has gone: `tinygrad-notes list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PASSED
    except EXPECTED as error:
        return _told(error, FAILED, options, screen)
    except KeyboardInterrupt:
        more = "; --resume goes on with it" if options.command == "run" else ""
        print(f"tinygrad-notes: interrupted{more}", file=sys.stderr)
        return INTERRUPTED


def _told(error: Exception, code: int, options: argparse.Namespace, screen: Screen) -> int:
    if options.traceback:
        traceback.print_exception(error)
    print(f"tinygrad-notes: {error}", file=sys.stderr)
    with contextlib.suppress(OSError):  # the file for JSON itself may be what cannot be written
        screen.result({"error": str(error)})
    return code


if __name__ == "__main__":
    sys.exit(main())
