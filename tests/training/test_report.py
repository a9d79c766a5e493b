"""Tables, JSON, times, progress, the machine."""

import io
import json
import math
import sys
import time

import numpy as np
import pytest

from tinygrad_notes import lazy
from tinygrad_notes.training import Stopwatch, machine
from tinygrad_notes.training.progress import Progress
from tinygrad_notes.training.report import number, table, to_json, write_json


def test_numbers_stand_to_the_right_and_words_to_the_left():
    text = table(("name", "value", "unit"), [("a", "1", "ms"), ("longer", "1,000.5", "s")])
    assert text.splitlines() == [
        "name      value  unit",
        "------  -------  ----",
        "a             1  ms",
        "longer  1,000.5  s",
    ]
    assert table(("a", "b"), []) == "a  b\n-  -"


@pytest.mark.parametrize(
    ("value", "text"),
    [(61706, "61,706"), (0.12345, "0.1235"), (1e-7, "1e-07"), (0.0, "0.0000"), (math.inf, "inf"), (True, "True")],
)
def test_numbers_as_a_person_reads_them(value, text):
    assert number(value) == text


def test_json_holds_what_json_can_hold(tmp_path):
    write_json(
        tmp_path / "r.json", {"a": np.float32(0.5), "b": [math.nan, math.inf, (1, None)], "c": tmp_path, 3: True}
    )
    read = json.loads((tmp_path / "r.json").read_text())
    assert read == {"a": 0.5, "b": [None, None, [1, None]], "c": str(tmp_path), "3": True}
    assert json.loads(to_json([])) == []


def test_a_stopwatch_tells_parts_and_the_rest():
    watch = Stopwatch()
    watch.start()
    for _ in range(2):
        with watch("work"):
            time.sleep(0.01)
    time.sleep(0.01)
    watch.stop()
    parts = watch.parts()
    assert list(parts) == ["work", "other"]
    assert parts["work"] >= 0.02
    assert parts["other"] >= 0.01
    assert watch.calls == {"work": 2}
    rows = str(watch).splitlines()
    assert rows[2].split()[0] == "work"
    assert rows[-1].split() == ["total", f"{watch.total:.2f}", "100.0"]


def test_a_part_that_fails_is_timed_too():
    watch = Stopwatch()
    with pytest.raises(KeyError), watch("work"):
        raise KeyError
    assert watch.calls == {"work": 1}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def steps(progress):
    progress.start(0, 2, 0, 6)
    for _ in range(2):
        for _ in range(3):
            progress.advance({"loss": 0.5, "accuracy": 0.75}, 16)
        progress.end_epoch({"epoch": 1, "lr": 0.1, "loss": 0.5, "accuracy": 0.75, "validation_loss": 0.25})
    progress.stop()


def test_a_terminal_gets_a_bar():
    pytest.importorskip("rich")
    screen = Terminal()
    progress = Progress("digits", file=screen)
    assert progress.style == "bar"
    steps(progress)
    text = screen.getvalue()
    assert "digits 2/2" in text
    assert "loss 0.5000  accuracy 0.7500" in text
    assert "samples/s" in text
    assert "validation loss 0.2500" in text


def test_anything_else_gets_a_line_for_each_epoch():
    screen = io.StringIO()
    steps(Progress(file=screen))
    lines = screen.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/2  loss 0.5000  accuracy 0.7500  validation loss 0.2500  ")


def test_without_rich_a_terminal_gets_lines(monkeypatch):
    for name in list(sys.modules):
        if name.split(".")[0] == "rich":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(ImportError, match=r"tinygrad-notes\[notes\]"):
        lazy.load("rich.progress")
    screen = Terminal()
    steps(Progress(file=screen))
    assert len(screen.getvalue().splitlines()) == 2


def test_silence_is_silent():
    screen = io.StringIO()
    steps(Progress(style="none", file=screen))
    assert screen.getvalue() == ""
    with pytest.raises(ValueError, match="style is 'loud'"):
        Progress(style="loud")


def test_the_machine_is_described(monkeypatch):
    versions = machine.versions()
    assert versions["numpy"] == np.__version__
    assert machine.devices()["cpu"].endswith(machine.platform.machine())
    assert machine.blas()
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert machine.thread_limits()["OMP_NUM_THREADS"] == "3"
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda name: None)
    assert machine.devices()["cuda"].startswith("no (CuPy is not installed")
