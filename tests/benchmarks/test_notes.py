"""What ``bench notes`` compares and times; tests/notes/test_parity.py compares the eleven networks themselves."""

import json
from dataclasses import replace

import numpy as np
import pytest

import tinygrad_notes as tn
from benchmarks import notes, report, results
from benchmarks.measure import Settings
from tinygrad_notes import nn

QUICK = Settings(rounds=3, seconds=1.0, settle=0.0, block=1e-4)


class Affine(nn.Sequential):
    """Small, with something to drop."""

    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.9), nn.Linear(8, 10))


class Slanted(Affine):
    """What PyTorch's layers of the same names do not compute."""

    def forward(self, x):
        return super().forward(x) * 1.5


def network(small=Affine, trained=Affine):
    some = notes.networks()[0]
    return replace(some, small=lambda: notes.images(small, 3, 4), trained=lambda: notes.images(trained, 5, 4))


def measured(network):
    torch = pytest.importorskip("torch")
    case = network.case()
    return notes.measured(network, case, case.passes[0], torch, QUICK)


@pytest.mark.parity
def test_a_network_is_compared_and_its_step_timed():
    (found,) = measured(network())
    assert (found.small, found.shape, found.rounds) == ("3×1×4×4", "5×1×4×4", 3)
    assert max(found.errors["float64"]) < 1e-11
    assert 0 < max(found.errors["float32"]) < 1e-4
    assert found.accurate
    assert 0 < found.lowest <= found.ratio <= found.highest


@pytest.mark.parity
@pytest.mark.parametrize("part", ["small", "trained"])
def test_a_network_that_computes_something_else_is_not_timed(part):
    with pytest.raises(AssertionError, match="ours differs from theirs by"):
        measured(network(**{part: Slanted}))


@pytest.mark.parity
def test_both_libraries_take_the_same_steps():
    """Five of them, so that an optimiser with other settings would show."""
    torch = pytest.importorskip("torch")
    for recipe in (notes.transformer.RECIPE, notes.cnn_recipe_lenet.RECIPE):
        losses = []
        for library in ("tn", "torch", "torch64"):
            step, _ = replace(network(), recipe=recipe).case().build(torch, library)
            losses.append([step().item() for _ in range(5)])
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)
        assert losses[1] == pytest.approx(losses[2], rel=1e-5)


def test_what_is_timed_is_what_the_demos_train():
    pytest.importorskip("sklearn")
    every = {one.name: one for one in notes.networks()}
    assert len(every) == 11
    tn.manual_seed(0)
    lessons = {name: one.trained() for name, one in every.items()}
    assert {name: lesson.shapes for name, lesson in lessons.items()} == {
        "LeNet": "64×1×28×28", "AlexNet": "64×1×16×16", "VGG": "64×1×32×32", "NiN": "64×1×28×28",
        "GoogLeNet": "32×1×32×32", "ResNet": "64×1×8×8", "RNN": "32×64", "GRU": "32×64", "LSTM": "32×64",
        "multi-head attention": "16×21×64, 16×10×64, 16×10×64", "Transformer": "16×10, 16×21",
    }  # fmt: skip
    for lesson in lessons.values():
        output = lesson.model(*map(tn.tensor, lesson.inputs))
        assert np.isfinite(lesson.loss(tn, output, tn.tensor(lesson.target)).item())


RECORD = {
    "name": "LeNet, step", "case": "LeNet", "step": "step", "family": "notes", "layout": "N", "target": None,
    "ours": 1500.0, "theirs": 2000.0, "ratio": 0.75, "lowest": 0.7, "highest": 0.8, "rounds": 15, "flops": 0.0,
    "bytes": 0.0, "error_ours": 1e-7, "error_theirs": 1e-7, "accurate": True, "shape": "64×1×28×28",
    "small": "4×1×28×28", "errors": {"float64": [1e-15, 2e-15, 0.0], "float32": [3e-7, 4e-6, 5e-6]},
}  # fmt: skip


def test_the_table_and_the_page_say_errors_and_ratio(tmp_path):
    run = {"backend": "generic", "native": True, "limits": None, "records": [RECORD], "failures": []}
    run = report.judged(run)
    line = "LeNet 1.0e-15 2.0e-15 3.0e-07 4.0e-06 (5.0e-06) 64×1×28×28 1.50 2.00 0.75 0.70 - 0.80"
    assert notes.table(run).splitlines()[-1].split() == line.split()
    assert report.faults(run) == []
    machine = {"processor": "P", "cores": 2, "commit": "abc"}
    (tmp_path / "notes.json").write_text(json.dumps({"machine": machine, "runs": [run]}))
    row = "| LeNet | 1.0e-15 | 2.0e-15 | 3.0e-07 | 4.0e-06 | 5.0e-06 | 64×1×28×28 | 1.50 | 2.00 | 0.75 | 0.70–0.80 |"
    assert row in results.page(tmp_path).splitlines()
