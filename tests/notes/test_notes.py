"""The registry of notes, and what every note must declare."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import notes
from tinygrad_notes.errors import DTypeError
from tinygrad_notes.nn import Linear, Module
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run, parameter_count
from tinygrad_notes.notes.runs import folder_of, over_seeds, results_table, run_note, state_of
from tinygrad_notes.study.graph import tensors_in
from tinygrad_notes.training import Stopwatch
from tinygrad_notes.training.progress import Progress


def test_notes_are_listed_without_being_imported():
    program = (
        "import sys, tinygrad_notes.notes as n; print(n.slugs(), n.families());"
        "print([m for m in sys.modules if m.startswith('tinygrad_notes.notes.')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert "'cnn-recipe-lenet'" in first
    assert "'cnn'" in first
    assert second == "[]"


def test_a_family_is_a_part_of_all():
    assert set(notes.slugs("cnn")) <= set(notes.slugs())
    with pytest.raises(notes.UnknownNoteError, match="no family 'cnns'; did you mean cnn"):
        notes.slugs("cnns")


@pytest.mark.parametrize("slug", ["lenett", "LeNet"])
def test_an_unknown_slug_suggests_the_nearest(slug):
    with pytest.raises(notes.UnknownNoteError, match="did you mean cnn-recipe-lenet"):
        notes.get(slug)


def test_few_notes_are_all_listed_in_an_error(monkeypatch):
    monkeypatch.setattr(notes, "_files", lambda: dict.fromkeys(["one", "two"]))
    with pytest.raises(notes.UnknownNoteError, match="there is one, two"):
        notes.get("zzzz")


def test_many_notes_are_not_all_listed_in_an_error(monkeypatch):
    many = {f"note-{i}": notes._files()["cnn-recipe-lenet"] for i in range(20)}
    monkeypatch.setattr(notes, "_files", lambda: many)
    with pytest.raises(notes.UnknownNoteError, match="'tinygrad-notes list' shows them all"):
        notes.get("zzzz")


@pytest.mark.parametrize("slug", notes.slugs())
def test_every_note_is_complete(slug):
    note = notes.get(slug)
    assert note.slug == slug
    assert slug in notes.slugs(note.family)
    assert note.text.startswith(note.title)
    assert note.facts or note.identities
    assert note.demo is not None or not note.bars
    assert note.paper
    assert note.sources


@pytest.mark.parametrize("slug", notes.slugs())
def test_the_facts_of_every_note_hold(slug):
    for fact in notes.get(slug).facts:
        assert fact.measure() == fact.expected, fact.name
        assert fact.holds()


@pytest.mark.parametrize("slug", notes.slugs())
def test_the_identities_of_every_note_hold(slug):
    for identity in notes.get(slug).identities:
        assert identity.error() <= identity.at_most, identity.name
        assert identity.holds()


@pytest.mark.parametrize("slug", notes.slugs())
def test_the_networks_of_every_note_have_the_right_gradients(slug):
    from tinygrad_notes.study.gradcheck import gradcheck

    tn.manual_seed(0)
    note = notes.get(slug)
    if note.checks is None:
        assert len(note.no_gradient) > 20
        return
    for module, inputs in note.checks():
        gradcheck(module, *inputs, directions=1).raise_if_failed()


def gradients(slug, dtype, kernels):
    """The gradients of each network of a note, made anew from one seed, for a random direction of its outputs."""
    tn.manual_seed(0)
    checks, found = notes.get(slug).checks, []
    for module, inputs in () if checks is None else checks():
        if not isinstance(module, Module) or next(module.parameters(), None) is None:
            continue
        module.to(dtype)
        inputs = [np.asarray(x) for x in inputs]
        random, loss = np.random.default_rng(0), 0.0
        with tn.use_kernels(kernels):
            outputs = module(*[tn.asarray(x.astype(dtype) if x.dtype.kind == "f" else x) for x in inputs])
            for output in tensors_in(outputs):
                if output.dtype.kind == "f":
                    loss = loss + (output * random.standard_normal(output.shape).astype(dtype)).sum()
            loss.backward()
        found.append({name: p.grad.numpy() for name, p in module.named_parameters() if p.grad is not None})
    return found


@pytest.mark.parametrize("slug", notes.slugs())
def test_the_networks_of_every_note_have_the_same_gradients_in_float32(slug):
    """Those of the default kernels in float32 against those of the reference in float64."""
    for got, wanted in zip(gradients(slug, "float32", "default"), gradients(slug, "float64", "reference"), strict=True):
        assert got.keys() == wanted.keys()
        largest = max((np.abs(gradient).max() for gradient in wanted.values()), default=0.0)
        for name, gradient in wanted.items():
            assert np.abs(got[name] - gradient).max() <= 2e-5 * largest, name


@pytest.mark.demo
@pytest.mark.parametrize("slug", notes.slugs())
def test_the_run_of_every_note_is_as_it_must_be(slug, tmp_path):
    result, report = run_note(notes.get(slug), Run(folder=tmp_path, progress=Progress(style="none")))
    assert result["passed"], report


def test_a_bar_is_a_number_or_another_metric():
    metrics = {"accuracy": 0.97, "baseline": 0.96, "perplexity": 5.0, "broken": float("nan")}
    assert Bar("accuracy", at_least=0.97).met(metrics)
    assert not Bar("accuracy", at_least=0.971).met(metrics)
    assert Bar("accuracy", at_least="baseline").met(metrics)
    assert not Bar("baseline", at_least="accuracy").met(metrics)
    assert Bar("perplexity", at_most=5).met(metrics)
    assert not Bar("perplexity", at_most=4.9).met(metrics)
    assert not Bar("broken", at_least=0.0).met(metrics)
    assert not Bar("broken", at_most=1.0).met(metrics)
    assert Bar("accuracy", at_least="baseline").describe(metrics) == "≥ 0.9600 (baseline)"
    assert Bar("perplexity", at_most=5).describe(metrics) == "≤ 5.0000"
    with pytest.raises(DTypeError, match="either at_least or at_most"):
        Bar("accuracy")


def test_an_identity_that_is_missed_or_nan_does_not_hold():
    assert Identity("same", lambda: 0.0).holds()
    assert not Identity("same", lambda: 1e-300).holds()
    assert Identity("near", lambda: 1e-13, at_most=1e-12).holds()
    assert not Identity("near", lambda: float("nan"), at_most=1e-12).holds()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"bars": []}, "needs either bars or the reason"),
        ({"no_bar": "none"}, "needs either bars or the reason"),
        ({"no_gradient": ""}, "needs either checks or the reason"),
        ({"demo": None}, "bars but no demo"),
        ({"build": None}, "an example but no network"),
    ],
)
def test_a_note_that_lacks_something_is_refused(wrong, message):
    with pytest.raises(DTypeError, match=message):
        replace(example_note(1.0), **wrong)


def test_a_fact_that_is_wrong_does_not_hold():
    assert not Fact("parameters", 7, lambda: parameter_count(Linear(2, 2))).holds()
    assert parameter_count(Linear(2, 2)) == 6


def example_note(accuracy):
    watch = Stopwatch()
    with watch("work"):
        pass
    metrics = {"accuracy": accuracy, "baseline": 0.5}
    return Note(
        slug="example", family="none", title="Example", sources="here", paper="none", text="Example",
        build=lambda: Linear(2, 2), example=lambda: (1, 2),
        demo=lambda run: Outcome(metrics, [run.folder / "p.png"], [{"epoch": 1}], watch),
        bars=[Bar("accuracy", at_least="baseline")], no_gradient="nothing is differentiated here",
    )  # fmt: skip


@pytest.mark.parametrize(("two", "error", "wrong"), [(2, 0.0, []), (3, 0.0, ["two"]), (2, 1.0, ["one"])])
def test_facts_and_identities_are_judged_without_a_demo(tmp_path, two, error, wrong):
    note = replace(
        example_note(1.0), demo=None, bars=(), no_bar="there is nothing to train",
        facts=[Fact("two", 2, lambda: two)], identities=[Identity("one", lambda: error, at_most=1e-12)],
    )  # fmt: skip
    result, report = run_note(note, Run(folder=tmp_path))
    assert result["wrong"] == wrong
    assert result["passed"] == (not wrong)
    assert "no bar: there is nothing to train" in report
    assert ("NOT as it must be: " + ", ".join(wrong) if wrong else "everything is as it must be") in report


def a_result(seed, value, limit, higher=True):
    bar = {"metric": "accuracy", "value": value, "limit": limit, "higher": higher, "bar": f"≥ {limit}"}
    return {"seed": seed, "passed": True, "seconds": 1.0 + seed, "bars": [bar], "wrong": [], "facts": 0,
            "identities": {}}  # fmt: skip


@pytest.mark.parametrize(
    ("values", "limits", "higher", "held"),
    [
        ((0.96, 0.98, 0.97), (0.97, 0.97, 0.97), True, True),  # one a point below, the mean on it
        ((0.959, 0.99, 0.98), (0.97, 0.97, 0.97), True, False),  # one more than a point below
        ((0.965, 0.965, 0.979), (0.97, 0.97, 0.97), True, False),  # the mean below
        ((4.03, 3.9, 4.0), (4.0, 4.0, 4.0), False, True),  # a point is a hundredth of 4
        ((4.05, 3.8, 4.0), (4.0, 4.0, 4.0), False, False),
        ((0.96, 0.96), (0.95, 0.97), True, True),  # baselines of their own
        ((None, 0.99), (0.9, 0.9), True, False),
    ],
)
def test_a_bar_is_held_by_the_mean_over_seeds_and_by_each_within_a_point(values, limits, higher, held):
    results = [a_result(seed, value, limit, higher) for seed, (value, limit) in enumerate(zip(values, limits))]
    (row,) = over_seeds(results)
    assert row["held"] is held
    assert row["values"] == list(values)


def test_the_table_of_results_has_every_bar_of_every_seed(tmp_path):
    for seed, accuracy in ((0, 0.75), (2, 0.85), (1, 0.65)):
        run_note(example_note(accuracy), Run(seed=seed, folder=folder_of(tmp_path, "example", seed)))
    bare = replace(example_note(1.0), slug="bare", demo=None, bars=(), no_bar="none", facts=[Fact("2", 2, lambda: 3)])
    run_note(bare, Run(folder=folder_of(tmp_path, "bare", 0)))
    lines = results_table(tmp_path, ["example", "bare", "other"]).splitlines()
    assert "0.7500 0.6500 0.8500" in lines[2]
    assert lines[2].split()[-2] == "yes"
    assert "1 facts, 0 identities" in lines[3]
    assert lines[3].split()[-2] == "NO"
    assert lines[4].split()[:3] == ["bare", "NOT:", "2"]
    assert lines[5].split() == ["other", "not", "run"]


def test_a_run_is_judged_reported_and_kept(tmp_path):
    for seed, accuracy in ((0, 0.75), (1, 0.75), (2, 0.25)):
        run = Run(seed=seed, folder=folder_of(tmp_path, "example", seed))
        result, report = run_note(example_note(accuracy), run)
        assert result["passed"] == (accuracy > 0.5)
        assert json.loads((run.folder / "metrics.json").read_text())["metrics"]["accuracy"] == accuracy
        assert ("everything is as it must be" if accuracy > 0.5 else "NOT as it must be") in report
        assert "≥ 0.5000 (baseline)" in report
        assert str(run.folder / "p.png") in report
    assert state_of(tmp_path, "example") == "passed, seed 0 1; failed, seed 2"
    (tmp_path / "example" / "seed-1" / "metrics.json").write_text("not ours")
    assert state_of(tmp_path, "example") == "passed, seed 0; failed, seed 2"
    assert state_of(tmp_path, "other") == "none"
