"""The command line: what it prints, its JSON, its exit codes, its errors."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tinygrad_notes import cli, notes
from tinygrad_notes.errors import ShapeError
from tinygrad_notes.nn import Linear, Module
from tinygrad_notes.notes.note import Fact, Outcome
from tinygrad_notes.training import DivergenceError

COMMAND = [sys.executable, "-m", "tinygrad_notes.cli"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}


@pytest.fixture
def fast(monkeypatch, tmp_path):
    """Notes with a demo that takes no time, LeNet's bars, and runs in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TINYGRAD_NOTES_TRACEBACK", raising=False)
    real = notes.get
    metrics = {"test_accuracy": 0.99, "logistic_regression": 0.97}
    runs = []

    def demo(run):
        runs.append(run)
        return Outcome(dict(metrics), [run.folder / "lenet.png"])

    bars = real("cnn-recipe-lenet").bars
    monkeypatch.setattr(notes, "get", lambda slug: replace(real(slug), demo=demo, bars=bars, no_bar=""))
    return metrics, runs


def call(*arguments):
    """The exit code, also where argparse leaves."""
    try:
        return cli.main(arguments)
    except SystemExit as leaving:
        return leaving.code


def test_the_command_imports_nothing_heavy():
    program = "import sys, tinygrad_notes.cli; print(sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    loaded = set(json.loads(done.stdout.replace("'", '"')))
    assert not loaded & {"matplotlib", "sklearn", "scipy", "numba", "cupy", "rich", "torch"}


def test_list_shows_every_note_with_the_state_of_its_runs(fast, capsys):
    assert call("list") == 0
    first = capsys.readouterr().out
    assert all(slug in first for slug in notes.slugs())
    assert "none" in first
    call("run", "cnn-recipe-lenet", "--seed", "3")
    capsys.readouterr()
    assert call("list", "--family", "cnn", "--json", "-") == 0
    out, err = capsys.readouterr()
    listed = {note["slug"]: note for note in json.loads(out)["notes"]}
    assert listed["cnn-recipe-lenet"]["state"] == "passed, seed 3"
    assert "LeNet: the recipe" in err


def test_list_shows_the_results_of_all_seeds(fast, capsys):
    for seed in ("0", "1"):
        call("run", "cnn-recipe-lenet", "--seed", seed)
    capsys.readouterr()
    assert call("list", "--results", "--json", "r.json") == 0
    assert "0.9900 0.9900" in capsys.readouterr().out
    rows = json.loads(Path("r.json").read_text())["results"]["cnn-recipe-lenet"]
    assert [row["held"] for row in rows] == [True, True]


def test_show_prints_the_note_the_shapes_and_the_facts(capsys, tmp_path):
    assert call("show", "cnn-recipe-lenet", "--json", str(tmp_path / "show.json")) == 0
    out = capsys.readouterr().out
    for text in ("What the note says", "(1, 16, 10, 10)", "61,706", "LeCun", "test accuracy ≥ 0.97"):
        assert text in out
    shown = json.loads((tmp_path / "show.json").read_text())
    assert shown["parameters"] == 61_706
    assert all(fact["holds"] for fact in shown["facts"])


def test_show_fails_when_a_fact_does_not_hold(fast, monkeypatch, capsys):
    real = notes.get
    wrong = Fact("parameters", 7, lambda: 8)
    monkeypatch.setattr(notes, "get", lambda slug: replace(real(slug), facts=[wrong]))
    assert call("show", "cnn-recipe-lenet") == 1
    assert "NO" in capsys.readouterr().out


def test_run_passes_when_every_bar_is_met(fast, capsys):
    metrics, runs = fast
    assert call("run", "cnn-recipe-lenet", "--seed", "2", "--epochs", "5", "--resume") == 0
    out = capsys.readouterr().out
    assert "everything is as it must be" in out
    assert "runs/cnn-recipe-lenet/seed-2/lenet.png" in out
    assert (runs[0].seed, runs[0].epochs, runs[0].resume, runs[0].device) == (2, 5, True, "cpu")
    kept = json.loads(Path("runs/cnn-recipe-lenet/seed-2/metrics.json").read_text())
    assert kept["passed"]
    assert kept["metrics"] == metrics


@pytest.mark.parametrize("accuracy", [0.9699, 0.9702, float("nan")])
def test_run_fails_when_a_bar_is_not_met(fast, capsys, accuracy):
    metrics, _ = fast
    metrics |= {"test_accuracy": accuracy, "logistic_regression": 0.971}
    assert call("run", "cnn-recipe-lenet") == 1
    assert "NOT as it must be" in capsys.readouterr().out


def test_json_on_standard_output_is_alone_there(fast, capsys):
    assert call("run", "cnn-recipe-lenet", "--json", "-") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["results"][0]["passed"] is True
    assert "everything is as it must be" in err


def test_families_and_all_run_each_note_once(fast, monkeypatch, capsys):
    _, runs = fast
    quick = notes.get
    monkeypatch.setattr(notes, "get", lambda slug: replace(quick(slug), facts=(), identities=()))
    assert call("run", "cnn-recipe-lenet", "--family", "cnn") == 0
    assert len(runs) == len(notes.slugs("cnn"))
    assert call("run", "--all") == 0
    assert len(runs) == len(notes.slugs("cnn")) + len(notes.slugs())


def test_one_failure_does_not_stop_the_others(fast, monkeypatch, capsys, tmp_path):
    good = notes.get("cnn-recipe-lenet")

    def diverge(run):
        raise DivergenceError("the loss is nan")

    monkeypatch.setattr(notes, "slugs", lambda family=None: ["bad", "cnn-recipe-lenet"])
    monkeypatch.setattr(
        notes, "get", lambda slug: replace(good, slug=slug, demo=diverge if slug == "bad" else good.demo)
    )
    assert call("run", "--all", "--json", "r.json") == 1
    assert "bad: DivergenceError: the loss is nan" in capsys.readouterr().out
    results = json.loads(Path("r.json").read_text())["results"]
    assert [r["passed"] for r in results] == [False, True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "lenett"], "there is no note 'lenett'; did you mean cnn-recipe-lenet"),
        (["show", "lenetic"], "did you mean cnn-recipe-lenet"),
        (["gradcheck", "nolet"], "there is no note 'nolet'"),
        (["list", "--family", "cn"], "there is no family 'cn'; did you mean cnn?"),
        (["run"], "name a note, or --family FAMILY, or --all"),
        (["run", "cnn-recipe-lenet", "--epochs", "0"], "--epochs is 0"),
        (["run", "cnn-recipe-lenet", "--seed", "-1"], "'-1' is no seed"),
        (["run", "cnn-recipe-lenet", "--seed", "x"], "'x' is no seed"),
        (["run", "cnn-recipe-lenet", "--device", "tpu"], "invalid choice: 'tpu'"),
        (["run", "cnn-recipe-lenet", "--rounds", "3"], "unrecognized arguments: --rounds 3"),
        (["bench", "nothing"], "there is no benchmark 'nothing'"),
        (["train"], "invalid choice: 'train'"),
        ([], "the following arguments are required: command"),
    ],
)
def test_a_wrong_command_exits_with_2_and_one_clear_line(fast, capsys, arguments, message):
    assert call(*arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err


def test_our_errors_are_one_line_unless_the_traceback_is_asked_for(fast, monkeypatch, capsys):
    def demo(run):
        raise ShapeError("conv2d: weight has shape (1,)")

    real = notes.get
    bars = real("cnn-recipe-lenet").bars
    monkeypatch.setattr(notes, "get", lambda slug: replace(real(slug), demo=demo, bars=bars, no_bar=""))
    assert call("run", "cnn-recipe-lenet", "--json", "e.json") == 1
    assert capsys.readouterr().err == "tinygrad-notes: conv2d: weight has shape (1,)\n"
    assert json.loads(Path("e.json").read_text()) == {"error": "conv2d: weight has shape (1,)"}
    assert call("run", "cnn-recipe-lenet", "--traceback") == 1
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("TINYGRAD_NOTES_TRACEBACK", "1")
    assert call("run", "cnn-recipe-lenet") == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_fault_of_the_program_is_not_hidden(fast, monkeypatch):
    def demo(run):
        return {}["missing"]

    real = notes.get
    bars = real("cnn-recipe-lenet").bars
    monkeypatch.setattr(notes, "get", lambda slug: replace(real(slug), demo=demo, bars=bars, no_bar=""))
    with pytest.raises(KeyError):
        call("run", "cnn-recipe-lenet")


def test_a_file_that_cannot_be_written_is_told(fast, capsys):
    Path("file").write_text("")
    assert call("list", "--json", "file/deep.json") == 1
    assert "file" in capsys.readouterr().err


def test_an_interrupt_says_how_to_go_on(fast, monkeypatch, capsys):
    def demo(run):
        raise KeyboardInterrupt

    real = notes.get
    bars = real("cnn-recipe-lenet").bars
    monkeypatch.setattr(notes, "get", lambda slug: replace(real(slug), demo=demo, bars=bars, no_bar=""))
    assert call("run", "cnn-recipe-lenet") == 130
    assert "--resume goes on" in capsys.readouterr().err


class Doubled(Module):
    """Multiplies by 2, and has the derivative of multiplying by 3."""

    def __init__(self):
        super().__init__()
        self.layer = Linear(2, 2)

    def forward(self, x):
        y = self.layer(x)
        return y * 3 - y.detach()


@pytest.mark.parametrize(("network", "code"), [(lambda: Linear(2, 2), 0), (Doubled, 1)])
@pytest.mark.parametrize("order", ["1", "2"])
def test_gradcheck_passes_right_gradients_alone(fast, monkeypatch, capsys, network, code, order):
    real = notes.get
    monkeypatch.setattr(notes, "get", lambda slug: replace(real(slug), checks=lambda: [(network(), ([[0.5, 2.0]],))]))
    if order == "2" and code == 1:
        return  # of second order both sides are 0: the fault is one of first order
    assert call("gradcheck", "cnn-recipe-lenet", "--order", order, "--json", "-") == code
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["passed"] is (code == 0)
    assert found["checks"][0]["order"] == int(order)
    assert ("passed" if code == 0 else "FAILED") in err


def test_gradcheck_says_why_there_is_nothing_to_check(fast, monkeypatch, capsys):
    real = notes.get
    reason = "it sorts, and nothing else"
    monkeypatch.setattr(notes, "get", lambda slug: replace(real(slug), checks=None, no_gradient=reason))
    assert call("gradcheck", "cnn-recipe-lenet") == 0
    assert reason in capsys.readouterr().out


def test_show_counts_a_model_without_an_example(fast, monkeypatch, capsys):
    real = notes.get
    monkeypatch.setattr(notes, "get", lambda slug: replace(real(slug), build=lambda: Linear(99_999, 10), example=None))
    assert call("show", "cnn-recipe-lenet") == 0
    assert "1,000,000 parameters" in capsys.readouterr().out
    monkeypatch.setattr(notes, "get", lambda slug: replace(real(slug), build=None, example=None))
    assert call("show", "cnn-recipe-lenet") == 0
    assert "The canonical network:" not in capsys.readouterr().out


def test_bench_lists_and_starts_what_the_clone_has(monkeypatch, capsys, tmp_path):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").write_text("")
    (tmp_path / "benchmarks" / "helper.py").write_text("")
    script = (
        "import sys\nif __name__ == '__main__':\n    open('ran', 'w').write(' '.join(sys.argv[1:]))\n    sys.exit(3)\n"
    )
    (tmp_path / "benchmarks" / "quick.py").write_text(script)
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "tinygrad_notes" / "cli.py"))
    assert call("bench") == 0
    assert capsys.readouterr().out == "benchmarks: quick\n"
    assert call("bench", "quick", "--rounds", "5", "--json", "-") == 3
    assert (tmp_path / "ran").read_text() == "--json - --rounds 5"
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "elsewhere" / "deep" / "cli.py"))
    assert call("bench", "quick") == 2
    assert "need a clone" in capsys.readouterr().err


def test_info_says_what_results_depend_on(capsys):
    assert call("info", "--json", "-") == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["versions"]["tinygrad-notes"]
    assert "cpu" in found["devices"]
    assert "reference" in found["kernels"]
    assert "BLAS" in err


def test_help_teaches_with_examples(capsys):
    assert call("--help") == 0
    text = capsys.readouterr().out
    for command in (
        "list",
        "show cnn-recipe-lenet",
        "run cnn-recipe-lenet",
        "run --family cnn",
        "gradcheck cnn-recipe-lenet",
        "bench tape",
        "info",
        "exit code",
    ):
        assert command in text
    for command in ("list", "show", "run", "gradcheck", "bench", "info"):
        assert call(command, "--help") == 0
        assert "--json FILE" in capsys.readouterr().out
    assert call("--version") == 0


def test_a_reader_that_leaves_early_is_no_error():
    program = f"{' '.join(COMMAND)} info | head -1"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    assert done.stdout.startswith("what")
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_a_run_of_the_command_that_was_killed_goes_on(tmp_path):
    """The whole way: train lenet, SIGKILL, resume, and compare with a run that was left alone."""
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    arguments = ["run", "cnn-recipe-lenet", "--epochs", "2"]
    environment = ENVIRONMENT | {"OPENBLAS_NUM_THREADS": "1"}
    first = tmp_path / "killed"
    checkpoint = first / "cnn-recipe-lenet" / "seed-0" / "checkpoint.safetensors"
    with subprocess.Popen(
        [*COMMAND, *arguments, "--runs", str(first)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        deadline = time.monotonic() + 120
        while not checkpoint.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    found = []
    for folder, more in ((first, ["--resume"]), (tmp_path / "whole", [])):
        done = subprocess.run(
            [*COMMAND, *arguments, *more, "--runs", str(folder), "--json", "-"],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        result = json.loads(done.stdout)["results"][0]
        found.append((result["metrics"], result["history"]))
    assert found[0] == found[1]
    assert len(found[0][1]) == 2
