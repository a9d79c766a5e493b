"""The tables of results in the benchmarks' page are what the JSON files say."""

import json

from benchmarks import results


def test_the_page_says_what_the_files_say():
    text = (results.FOLDER / "README.md").read_text()
    assert results.page(results.FOLDER / "results") in text


def test_every_file_of_results_is_on_the_page():
    assert {file.name for file in (results.FOLDER / "results").glob("*.json")} <= set(results.WRITERS)


def test_what_is_beyond_its_error_or_target_is_marked(tmp_path):
    machine = {"processor": "P", "cores": 2, "instructions": ["avx2"], "python": "3.11", "commit": "abc", "date": "d"}
    record = {
        "case": "conv | 3x3", "step": "forward", "layout": "N", "ratio": 1.25, "lowest": 1.2, "highest": 1.3,
        "target": 0.5, "binding_target": 0.5, "met": False, "gflops": 12.0, "gbytes": 0.0, "of_limit": 0.5,
        "error_ours": 9e-7, "error_theirs": 1e-7, "accurate": False,
    }  # fmt: skip
    last = record | {"layout": "C", "ratio": 1.5, "binding_target": None, "met": None}
    limits = {"multiply_add": 1e11, "bandwidth": {"1048576": 5e10}}
    runs = [{"backend": "amx", "limits": limits, "records": [record, last]}]
    (tmp_path / "ops.json").write_text(json.dumps({"machine": machine, "runs": runs}))
    lines = results.page(tmp_path).splitlines()
    assert "P, 2 cores (avx2), python 3.11; commit abc, d." in lines
    assert "Instruction set `amx`. Limits: 100 GFLOP/s; memory 50 GB/s on 1 MiB" in lines
    row = (
        "| conv \\| 3x3 | forward | 1.25 | 1.20–1.30 | 0.50 MISSED | 1.50 | (0.50) | 12 |  | 50% | "
        "9.0e-07, 1.0e-07 beyond |"
    )
    assert row in lines
