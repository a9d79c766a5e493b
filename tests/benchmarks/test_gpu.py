"""``bench gpu`` without a GPU: what a part that ends well, hangs or crashes leaves behind, and what is missing here."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import gpu, training
from benchmarks.cases import every
from benchmarks.gpu_parts import events
from tests.gpu import small

RECORD = {"name": "softmax", "times": {"ours": 2.0, "torch N": 4.0}, "how": {"ours": "graph", "torch N": "graph"},
          "ratio": 0.5}  # fmt: skip


def part(name: str, code: str, seconds: float = 20, needs: tuple[str, ...] = ()) -> gpu.Part:
    return gpu.Part(name, seconds, (sys.executable, "-c", code), needs)


WELL = part("well", f"print('hello'); print('''{json.dumps(RECORD)}''')")
CRASH = part(
    "crash", f"print('''{json.dumps(RECORD)}''', flush=True); print('last words', flush=True); import os; os.abort()"
)
FAILS = part("fails", "raise ValueError('no')")
ABSENT = part("absent", "", needs=("no-such-command",))


def gone(number: int) -> bool:
    """Whether there is no such process, soon; one that nobody has waited for is dead too."""
    for _ in range(50):
        try:
            if Path(f"/proc/{number}/stat").read_text().split()[2] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.1)
    return False


def test_no_part_takes_others_along(tmp_path, capfd):
    path = tmp_path / "gpu.json"
    child = tmp_path / "child"
    sleeps = f"import os, time; open({str(child)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    code = "import subprocess, sys; print('{\"value\": 1}', flush=True); "
    code += f"subprocess.run([sys.executable, '-c', {sleeps!r}])"
    start = time.monotonic()
    found = gpu.run_all([CRASH, part("hang", code, 2), FAILS, ABSENT, WELL], 60, path)
    assert time.monotonic() - start < 30
    ended = {one["part"]: one["ended"] for one in found}
    assert ended == {
        "crash": "with -6", "hang": "hung", "fails": "with 1", "absent": "no-such-command is missing", "well": "well"
    }  # fmt: skip
    by_name = {one["part"]: one for one in found}
    assert by_name["crash"]["records"] == [RECORD]
    assert by_name["crash"]["tail"] == "last words"
    assert by_name["hang"]["records"] == [{"value": 1}]
    assert "ValueError: no" in by_name["fails"]["tail"]
    assert json.loads(path.read_text())["parts"] == found
    assert not list(tmp_path.glob("*.half"))
    assert "fails" in capfd.readouterr().err
    assert gone(int(child.read_text()))  # what the part had started


def test_the_file_is_written_after_every_part(tmp_path):
    path = tmp_path / "gpu.json"
    look = part("look", f"print(open({str(path)!r}).read().count('\"part\"'))")
    assert gpu.run_all([WELL, look], 60, path)[1]["tail"] == "1"


def test_the_budget_ends(tmp_path):
    found = gpu.run_all([WELL, WELL], 4, None)
    assert [one["ended"] for one in found] == ["no time left"] * 2


def test_tables_and_pictures(tmp_path, capsys):
    found = [gpu.run(WELL, 20), {**gpu.run(FAILS, 20), "records": [{"name": "exp", "error": "boom"}]}]
    found[0]["records"].append({"name": "copy", "value": 4300.0, "unit": "GB/s"})
    path = tmp_path / "gpu.json"
    gpu.save(found, path)
    assert gpu.main(["--read", str(path), "--pictures", str(tmp_path / "new")]) == 1
    said = capsys.readouterr().out
    for wanted in ("ratio 0.50", "ours 2.0 (graph)", "4300.0 GB/s", "exp", "failed: boom", "ValueError: no"):
        assert wanted in said
    assert (tmp_path / "new" / "gpu.png").stat().st_size > 1000
    gpu.save(found[:1], path)
    assert gpu.main(["--read", str(path)]) == 0
    assert gpu.draw([], tmp_path) is None


def test_without_a_gpu_one_sentence(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert gpu.main(["--json", "-"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("bench gpu needs a GPU: ")
    assert said.err.count("\n") == 1


def test_the_parts_are_there_and_take_less_than_ten_minutes():
    chosen = gpu.parts()
    assert len({one.name for one in chosen}) == len(chosen)
    for one in chosen:
        module = one.command[one.command.index("-m") + 1]
        file = Path(gpu.__file__).parent.parent / (module.replace(".", "/") + ".py")
        assert module == "pytest" or file.is_file()
    assert {case.family for case in every()} - set(gpu.FAMILIES) == {"optimiser"}
    for name in gpu.NETWORKS:
        assert [case for case in training.cases() if case.name.startswith(name)]


def test_the_sanitizer_gets_two_cases_of_each_function():
    chosen = small.chosen([])
    assert len(chosen) > len({case.function for case in chosen}) > 50
    assert {case.function for case in small.chosen(["conv", "exp"])} == {"conv", "exp"}


# ---------------------------------------------------------------------- timing


def test_turns_and_ratios():
    calls: list[str] = []

    def microseconds(call: Any, count: int) -> float:
        call()
        return {"a": 100.0, "b": 400.0, "c": 200.0}[calls[-1]]

    sides = {"ours": lambda: calls.append("a"), "N": lambda: calls.append("b"), "C": lambda: calls.append("c")}
    times = events.in_turns(sides, microseconds, rounds=4)
    assert "".join(calls).endswith("abc" * 4)
    found = events.summary(times, "ours", ["N", "C"])
    assert (found["ratio"], found["beside"]) == (0.5, "C")
    assert "ratio" not in events.summary(times, "ours", [])


def test_what_cannot_be_recorded_is_called():
    class Stream:
        ptr = 0

        def __enter__(self) -> None: ...
        def __exit__(self, *error: object) -> None: ...
        def synchronize(self) -> None: ...
        def begin_capture(self) -> None:
            state["capturing"] = True

        def end_capture(self) -> Any:
            state["capturing"] = False
            return type("Graph", (), {"launch": lambda self, stream: state["launched"].append(1)})()

    class Pool:
        malloc = None

    state: dict[str, Any] = {"capturing": False, "launched": []}
    cuda = type("cuda", (), {"Stream": lambda non_blocking: Stream(), "Event": object, "MemoryPool": Pool,
                             "using_allocator": lambda malloc: Stream()})  # fmt: skip
    clock = events.Clock(type("cupy", (), {"cuda": cuda}))
    call, how = clock.graph_of_ours(lambda: 1)
    call()
    assert (how, state["launched"], state["capturing"]) == ("graph", [1], False)

    def refuses() -> None:
        if state["capturing"]:
            raise NotImplementedError

    call, how = clock.graph_of_ours(refuses)
    assert (call, how, state["capturing"]) == (refuses, "eager: NotImplementedError", False)
