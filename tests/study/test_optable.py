"""The table of ops: every op of the registry is in it, and none of them is unchecked."""

from __future__ import annotations

import pytest

import tinygrad_notes as tn
from tinygrad_notes.registry import REGISTRY
from tinygrad_notes.study import optable


@pytest.fixture(scope="module")
def rows():
    return {row.name: row for row in optable.table()}


def test_every_op_is_in_it_and_none_is_unchecked(rows):
    assert set(rows) == set(REGISTRY)
    assert {name: row.unchecked for name, row in rows.items() if row.unchecked} == {}


def test_second_derivatives(rows):
    """Every op through which a gradient flows has second derivatives: by its derivatives, or by its composite."""
    assert {row.second_derivative for row in rows.values()} <= {"derivatives are ops", "composite", "no gradient flows"}
    assert {n for n, row in rows.items() if row.second_derivative == "no gradient flows"} == {
        name for name, op in REGISTRY.items() if not op.differentiable
    }


def test_what_is_read_and_measured(rows):
    multiply = rows["multiply"]
    assert (multiply.operands, multiply.static, multiply.keeps) == (["a", "b"], [], ["da: b", "db: a"])
    assert multiply.dtypes == ["float32", "float64", "int32", "int64", "uint8", "bool"]
    assert rows["bitwise_and"].dtypes == ["int32", "int64", "uint8", "bool"]
    assert rows["subtract"].dtypes == ["float32", "float64", "int32", "int64", "uint8"]
    assert rows["lstm_scan"].kernels == ["lstm_scan", "lstm_scan_grad"]
    assert rows["lstm_scan"].second_derivative == "composite"
    assert rows["softmax"].kernels == ["softmax"]
    assert rows["matmul"].kernels == ["matmul"]
    assert rows["sin"].kernels == []
    assert rows["argmax"].second_derivative == "no gradient flows"
    assert rows["conv"].static == ["stride", "padding", "dilation", "groups"]
    assert rows["conv"].file == "convolution.py"


def test_an_op_without_samples_is_noticed():
    row = optable.Row("f", "f.py", ["a"], [], ["da: a"], False, [], True)
    assert row.unchecked == ["samples", "first derivative", "dtypes"]
    row.samples, row.first, row.dtypes = 2, 2, ["float32"]
    assert row.unchecked == ["value"]


def test_text_and_markdown(rows, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(optable, "table", lambda: list(rows.values()))
    assert optable.main([]) == 0
    printed = capsys.readouterr().out
    assert f"{len(REGISTRY)} ops; not checked: none" in printed
    file = tmp_path / "ops.md"
    assert optable.main(["--markdown", str(file)]) == 0
    lines = file.read_text().splitlines()
    assert len(lines) == 2 + len(REGISTRY)
    assert {line.count("|") for line in lines} == {len(optable.HEADINGS) + 1}


def test_ops_of_a_user_are_not_in_it():
    @tn.op
    def twice_for_the_table(a: tn.Array):
        return a * 2, lambda g: g * 2

    try:
        assert "twice_for_the_table" not in optable.names()
    finally:
        del REGISTRY["twice_for_the_table"]
