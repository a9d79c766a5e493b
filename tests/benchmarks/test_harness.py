"""The harness of the benchmarks: turns, judgements, limits, processes, pictures. Nothing here depends on how fast."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from benchmarks import backends, cases, cold, limits, pictures, report
from benchmarks.cases.case import OpCase, StepCase
from benchmarks.timing import case_of, in_turns, machine

LIMITS = {"multiply_add": 1e11, "bandwidth": {2**20: 5e10, 2**24: 8e10, 2**28: 1e10}}


def record(ratio: float = 1.0, **changes: Any) -> dict[str, Any]:
    """One that says: ours took 1000 µs."""
    given = {
        "name": "conv, forward", "case": "conv", "step": "forward", "family": "convolution", "layout": "N",
        "ours": 1000.0, "theirs": 1000.0 / ratio, "ratio": ratio, "lowest": ratio, "highest": ratio, "target": 0.5,
        "rounds": 15, "flops": 5e7, "bytes": 1e6, "error_ours": 1e-7, "error_theirs": 1e-7, "accurate": True,
        "compiling": 0.0,
    }  # fmt: skip
    return given | changes


def run_of(backend: str, *records: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return report.judged(
        {"backend": backend, "native": True, "limits": LIMITS, "records": list(records), "failures": []} | changes
    )  # fmt: skip


def test_turns_are_taken_in_blocks_after_an_unmeasured_call():
    calls: list[str] = []
    times = in_turns((lambda: calls.append("a"), lambda: calls.append("b")), (2, 1), rounds=3)
    assert "".join(calls) == "aaabb" * 3
    assert [len(one) for one in times] == [3, 3]


def test_settling_calls_are_not_measured():
    calls: list[int] = []
    in_turns((lambda: calls.append(1),), (1,), rounds=1, settle=0.01)
    assert len(calls) > 2


def test_the_ratio_is_the_median_of_the_rounds():
    case = case_of("x", [1.0, 2.0, 90.0], [2.0, 1.0, 30.0])
    assert case.ratio == 2.0  # of 0.5, 2, 3; the medians' own ratio would be 1


@pytest.mark.parametrize(
    ("backend", "family", "ratio", "met"),
    [
        ("amx", "convolution", 0.5, True),
        ("amx", "convolution", 0.51, False),
        ("amx", "norm", 0.51, False),
        ("avx512", "convolution", 1.15, True),
        ("avx512", "product", 1.16, False),
        ("avx512", "norm", 1.9, None),
        ("generic", "convolution", 1.9, None),
        ("reference", "convolution", 1.9, None),
    ],
)
def test_targets_bind_where_they_were_set_for(backend, family, ratio, met):
    run = run_of(backend, record(ratio, family=family))
    assert run["records"][0]["met"] is met
    assert len(report.faults(run)) == (met is False)


def test_an_imitated_instruction_set_has_nothing_to_reach():
    assert run_of("avx512", record(1.9), native=False)["records"][0]["met"] is None


def test_a_case_without_target_is_reported():
    assert run_of("amx", record(9.0, target=None))["records"][0]["met"] is None


def test_rates_and_the_share_of_the_limit():
    one = run_of("generic", record())["records"][0]
    assert one["gflops"] == pytest.approx(50)
    assert one["gbytes"] == pytest.approx(1)
    assert one["of_limit"] == pytest.approx(0.5)
    moving = run_of("generic", record(flops=0.0, bytes=2.0**28 * 1.5))["records"][0]
    assert moving["of_limit"] == pytest.approx(2**28 * 1.5 / 1e10 / 1e-3)


def test_more_than_the_limit_is_a_fault():
    assert "the limit is not one" in report.faults(run_of("generic", record(flops=1.1e8)))[0]


def test_a_process_that_failed_and_an_inaccurate_result_are_faults():
    run = run_of("generic", record(accurate=False, error_ours=1e-5), failures=[{"name": "x", "error": "broken"}])
    assert report.faults(run) == ["x: broken", "conv, forward: error 1.0e-05 against float64, theirs 1.0e-07"]


def test_the_bandwidth_of_a_small_op_is_the_best_one():
    assert limits.bandwidth_for(LIMITS, 1.0) == 8e10
    assert limits.bandwidth_for(LIMITS, 2.0**24) == 8e10
    assert limits.bandwidth_for(LIMITS, 1e12) == 1e10
    assert limits.least_time(LIMITS | {"multiply_add": None}, 1.0, 1.0) is None


def test_the_higher_limit_counts():
    other = {"multiply_add": 2e11, "bandwidth": dict.fromkeys(LIMITS["bandwidth"], 3e10)}
    assert limits.higher(LIMITS, other) == {"multiply_add": 2e11, "bandwidth": {2**20: 5e10, 2**24: 8e10, 2**28: 3e10}}


def test_tables_show_layouts_beside_each_other_and_backends_in_columns():
    both = run_of("amx", record(0.4), record(2.0, layout="C", target=None), record(0.7, step="im2col", target=None))
    text = report.table(both)
    assert "0.50 met" in text
    row = next(line for line in text.splitlines() if line.startswith("conv") and " forward " in line)
    assert "0.40" in row
    assert "2.00" in row
    head, row = report.summary([both, run_of("generic", record(3.0))]).splitlines()
    assert head.split()[-4:] == ["amx", "im2col,", "amx", "generic"]
    assert row.split()[-3:] == ["0.40", "0.70", "3.00"]


def test_pictures_are_saved(tmp_path):
    runs = [run_of("generic", record(0.4), record(2.0, layout="C"), record(family="norm", case="n", flops=0.0))]
    saved = pictures.save(runs, tmp_path / "pictures")
    assert [path.name for path in saved] == ["ratios-generic.png", "roofline-generic.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in saved)


def test_a_process_that_dies_leaves_what_it_measured(tmp_path, monkeypatch):
    (tmp_path / "dying.py").write_text(
        "import json, os, sys\n"
        "print(json.dumps(['records', {'name': os.environ['TINYGRAD_NOTES_ISA'], 'got': sys.argv[1:]}]), flush=True)\n"
        "os._exit(3)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = backends.run("dying", backends.Backend("cpu", "generic"), ["--quick"])
    assert found["records"] == [{"name": "generic", "got": ["--alone", "--kernels", "cpu", "--quick"]}]
    assert found["failures"] == [{"name": "the process", "error": "ended with 3 after generic"}]


def test_backends_that_the_options_name():
    def names(**options: Any) -> list[str]:
        return [one.name for one in backends.chosen(argparse.Namespace(**{"kernels": "cpu", "isa": None} | options))]

    assert names() == backends.available()
    assert "generic" in names()
    assert names(kernels="cpu,reference", isa="generic,avx512") == ["generic", "avx512", "reference"]
    assert names(kernels="reference") == ["reference"]


def test_cases_have_names_of_their_own_and_gradients_of_their_operands():
    every = cases.every()
    assert len({case.name for case in every}) == len(every)
    for case in every:
        assert isinstance(case, OpCase | StepCase)
        for one in case.passes:
            assert one.bytes > 0
            if isinstance(case, OpCase):
                assert set(one.gradients) <= set(case.operands)
                assert set(one.targets) <= ({"N", "C"} if case.channels_last else {"N"})


def test_the_work_of_a_case_is_counted_by_hand():
    passes = {f"{case.name}, {one.name}": one for case in cases.every() for one in case.passes}
    assert passes["matmul 1024³, forward"].flops == 2 * 1024**3
    conv = passes["conv 32×3×224² 7×7 stride 2, forward"]
    assert conv.flops == 2 * 32 * 64 * 112 * 112 * 3 * 49
    assert conv.bytes == 4 * (32 * 3 * 224**2 + 64 * 3 * 49 + 32 * 64 * 112**2)
    assert passes["attention 8×8×512×64, forward"].flops == 4 * 64 * 512**2 * 64
    assert passes["Adam, ResNet-50, step"].bytes == 7 * 4 * 25_557_032


def test_the_first_step_after_a_start_is_timed_and_the_same_each_time():
    first, second = cold.first_step("reference"), cold.first_step("reference")
    assert first["imported"] <= first["stepped"] <= second["imported"]
    assert first["loss"] == second["loss"]


def test_machine_says_what_was_measured_on():
    found = machine()
    assert {"processor", "instructions", "cores", "numpy", "numba", "torch", "commit"} <= set(found)


def test_every_benchmark_explains_itself():
    folder = Path(backends.__file__).parent
    text = (folder / "README.md").read_text()
    for file in folder.glob("*.py"):
        if "__main__" in file.read_text():
            assert f"`{file.stem}`" in text
