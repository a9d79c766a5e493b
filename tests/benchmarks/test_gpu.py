"""``bench gpu`` without a GPU: what a part that ends well, hangs or crashes leaves behind, and what is missing here."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import gpu, networks, training
from benchmarks.cases import every
from benchmarks.gpu_parts import ceilings, clocks, events, kernels, lines, report, steps, targets
from benchmarks.gpu_parts import compile as compiling
from tests.benchmarks import fake_gpu
from tests.gpu import small
from tinygrad_notes.errors import DeviceError
from tinygrad_notes.kernels import use_kernels
from tinygrad_notes.kernels.cuda import launch
from tinygrad_notes.modes import recording

OVER = kernels.OVER


def ratios(value: float) -> dict[str, float]:
    return {"ratio": value, "lowest": value, "highest": value}


RECORD = {
    "name": "softmax", "precision": "highest", "times": {"ours": 2.0, "torch N": 4.0},
    "how": {"ours": "graph", "torch N": "graph"}, "ratios": {report.AGAIN: ratios(1.0), OVER: ratios(0.5)},
    "targets": {OVER: targets.MOVING}, "flops": 0.0, "bytes": 4e6,
}  # fmt: skip


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
    found = gpu.run_all([(CRASH,), (part("hang", code, 2), FAILS), (ABSENT,), (WELL,)], 60, path)
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
    assert gpu.run_all([(WELL,), (look,)], 60, path)[1]["tail"] == "1"


def test_the_budget_ends(tmp_path):
    found = gpu.run_all([(WELL,), (WELL,)], 4, None)
    assert [one["ended"] for one in found] == ["no time left"] * 2


def test_parts_of_a_group_run_at_the_same_time():
    start = time.monotonic()
    found = gpu.run_all([tuple(part(f"{i}", "import time; time.sleep(1)") for i in range(4))], 60, None)
    assert [one["ended"] for one in found] == ["well"] * 4
    assert time.monotonic() - start < 3


def test_tables_and_pictures(tmp_path, capsys):
    step = {
        "name": "LeNet", "times": {"ours eager": 900.0, "ours captured": 300.0, "torch graph": 200.0}, "how": {},
        "ratios": {targets.OVER_EAGER: ratios(0.333), targets.OVER_GRAPH: ratios(1.5)},
        "targets": {name: name for name in (targets.OVER_EAGER, targets.OVER_GRAPH)},
    }  # fmt: skip
    product = RECORD | {
        "name": "matmul", "flops": 80e6, "bytes": 1e6, "targets": {OVER: targets.PRODUCT},
        "how": {"ours": "eager: no", "torch N": "graph"},
    }  # fmt: skip
    found = [
        gpu.run(WELL, 20),
        gpu.run(FAILS, 20) | {"records": [{"name": "exp", "error": "boom"}, step, product]},
        gpu.not_run(WELL, "well") | {"part": "ceilings", "clocks": {"SM MHz": [345.0, 1900.0, 1980.0]}},
    ]
    rates = {targets.COPY: (4000.0, "GB/s"), targets.FLOAT32: (50.0, "TFLOP/s"), targets.THREE_TF32: (100.0, "TFLOP/s")}
    found[2]["records"] = [{"name": name, "value": value, "unit": unit} for name, (value, unit) in rates.items()]
    path = tmp_path / "gpu.json"
    gpu.save(found, path)
    assert gpu.main(["--read", str(path), "--pictures", str(tmp_path / "new")]) == 1
    said = capsys.readouterr().out
    for wanted in (
        "0.50 0.50-0.50 1.000-1.000  1.10 met     2000 of 4000 GB/s (50% of copy, read and written)",
        "0.70 met     40 of 100 TFLOP/s (40% of mma.sync, 3xTF32) ours eager: no",
        "4000.0 GB/s", "exp: boom", "ValueError: no", "SM 345 to 1980 MHz",
        "LeNet: ours eager 900 µs  ours captured 300 µs  torch graph 200 µs", "0.50 met", "1.20 MISSED",
        "target 1.20, captured step / torch's graph: MISSED, 0 of 1 lines reach it, worst 1.50 (LeNet)",
        "target 0.70, float32 product: met, 1 of 1 lines reach it, worst 0.50 (matmul)",
        "target 1.50, TF32 convolution: not measured",
    ):  # fmt: skip
        assert wanted in said, wanted
    assert (tmp_path / "new" / "gpu.png").stat().st_size > 1000
    gpu.save(found[:1], path)
    assert gpu.main(["--read", str(path)]) == 0
    found[0]["records"][0]["ratios"][OVER] = ratios(1.2)
    gpu.save(found[:1], path)
    assert gpu.main(["--read", str(path)]) == 1  # a target is missed
    assert report.draw([], tmp_path) is None


def test_without_a_gpu_one_sentence(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert gpu.main(["--json", "-"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("bench gpu needs a GPU: ")
    assert said.err.count("\n") == 1


def test_the_parts_are_there():
    chosen = [one for group in gpu.groups() for one in group]
    assert len({one.name for one in chosen}) == len(chosen)
    for one in chosen:
        module = one.command[one.command.index("-m") + 1]
        file = Path(gpu.__file__).parent.parent / (module.replace(".", "/") + ".py")
        assert module == "pytest" or file.is_file()
    for name in gpu.NETWORKS:
        assert [case for case in training.cases() if case.name.startswith(name)]


def test_every_case_of_bench_ops_is_measured_and_every_target_named():
    found = [line for make in lines.LINES.values() for line in make()]
    assert {case.name for case in every()} <= {line.case.name for line in found}
    assert len({(line.name, line.precision) for line in found}) == len(found)
    passes = {(line.case.name, one.name) for line in found for one in line.case.passes}
    assert {name for line in found for name in line.targets} <= {name for _, name in passes}
    named = {target for line in found for target in line.targets.values()} | set(steps.RATIOS)
    assert set(targets.TARGETS) <= named


def test_the_sanitizer_gets_two_cases_of_each_function():
    chosen = small.chosen([])
    assert len(chosen) > len({case.function for case in chosen}) > 50
    assert {case.function for case in small.chosen(["conv", "exp"])} == {"conv", "exp"}


# ---------------------------------------------------------------------- timing


def test_turns_and_ratios():
    calls: list[str] = []

    def microseconds(call: Any, count: int) -> float:
        call()
        return {"a": 100.0, "b": 400.0}[calls[-1]]

    sides = {name: events.Side(lambda x=name: calls.append(x), n, "graph") for name, n in (("a", 1), ("b", 2))}
    times = events.in_turns(sides, microseconds, rounds=4)
    assert "".join(calls).endswith("ab" * 4)
    assert events.medians(times) == {"a": 100.0, "b": 200.0}
    assert events.ratio(times, "a", "b") == ratios(0.5)


def test_a_graph_holds_as_many_calls_as_fill_it_and_what_cannot_be_recorded_is_called(fake, monkeypatch):
    cupy = sys.modules["cupy"]
    fake_gpu.install(monkeypatch, cupy)
    cupy.cuda.get_elapsed_time = lambda start, end: 0.5
    clock, made = events.Clock(cupy), []
    side = clock.ours([lambda: made.append("a"), lambda: made.append("b")])
    assert (side.calls, side.how) == (8, "graph")
    assert "".join(made) == "abab" + "ab" + "abab" * 2
    side.launch()
    assert fake.log.count("launch") == 1

    def refuses() -> None:
        assert recording() is (clock.stream.captured is not None)
        if recording():
            raise NotImplementedError("not now")

    side = clock.ours([refuses])
    side.launch()
    assert (side.calls, side.how, clock.stream.captured) == (1, "eager: NotImplementedError: not now", None)


def test_clocks():
    seen = clocks.summary("345, 3201, 80.1, 30\n1980, 3201, [N/A], 41\nfailed\n1900, 3201, 600, 50\n")
    assert seen == {
        "SM MHz": [345, 1900, 1980], "memory MHz": [3201] * 3, "W": [80.1, 340.05, 600], "°C": [30, 41, 50]
    }  # fmt: skip
    with clocks.watched() as summary:
        pass
    assert isinstance(summary(), dict)


# ---------------------------------------------------------------------- the parts, on a fake GPU


def told(capsys: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]


@pytest.fixture(params=[False, True], ids=["alone", "beside torch"])
def beside(request, fake, monkeypatch) -> Iterator[bool]:
    """Whether PyTorch is there, on its CPU; the cases are small."""
    torch = pytest.importorskip("torch") if request.param else None
    if torch is not None:
        settings = torch.backends.cudnn, torch.backends.cuda.matmul
        before = [one.allow_tf32 for one in settings]
        fake_gpu.install_torch(monkeypatch, torch)
    for part in (ceilings, kernels, steps):
        monkeypatch.setattr(part, "torch_if_installed", lambda: torch)
    fake_gpu.install(monkeypatch, sys.modules["cupy"])
    fake_gpu.shrink(monkeypatch)
    yield bool(request.param)
    if torch is not None:
        torch.backends.cudnn.benchmark = False
        for one, value in zip(settings, before):
            one.allow_tf32 = value


@pytest.mark.parametrize("chosen", lines.LINES)
def test_the_lines(beside, monkeypatch, capsys, chosen):
    monkeypatch.setattr(sys, "argv", ["kernels", chosen])
    code, found = kernels.main(), told(capsys)
    assert [r for r in found if "error" in r] == []
    assert code == 0
    assert len(found) == sum(len(line.case.passes) for line in lines.LINES[chosen]())
    for r in found:
        assert r["how"]["ours"] == "graph", r["name"]
        assert (OVER in r["ratios"]) is beside
        assert report.row(r, {targets.COPY: 1.0, targets.FLOAT32: 1.0})
    assert any(r["times"].keys() & {"torch C"} for r in found) is (beside and chosen in IMAGES)


IMAGES = ("convolution, float32", "convolution, TF32", "rows", "the rest")  # have cases in two layouts


def test_a_line_that_fails_leaves_the_others(beside, monkeypatch, capsys):
    def boom(**operands: Any) -> Any:
        raise ValueError("no")

    wrong = lines.of_rows()[0]
    object.__setattr__(wrong.case, "ours", boom)
    monkeypatch.setitem(lines.LINES, "rows", lambda: [wrong, lines.of_rows()[1]])
    monkeypatch.setattr(sys, "argv", ["kernels", "rows"])
    assert kernels.main() == 1
    assert ["error" in r for r in told(capsys)] == [True, True, False, False]


def test_the_ceilings(beside, capsys):
    assert ceilings.main() == 0
    found = told(capsys)
    names = {r["name"] for r in found}
    assert {targets.COPY, *(name for names in targets.RATES.values() for name in names)} <= names
    assert all(r["value"] > 0 for r in found)


def test_the_steps(beside, monkeypatch, capsys):
    lenet = training.of_layers(networks.lenet)
    small = [training.training_case("LeNet", lenet, (4, 1, 28, 28), 10, "SGD", 0.1)]
    monkeypatch.setattr(training, "cases", lambda: small)
    monkeypatch.setattr(steps, "BLOCK", 1.0)
    monkeypatch.setattr(sys, "argv", ["steps", "LeNet"])
    with use_kernels("reference"):
        code, (record, on_cpu) = steps.main(), told(capsys)
    assert code == 0
    assert (on_cpu["name"], on_cpu["unit"]) == (f"{small[0].name}, on the CPU", "ms")
    assert record["how"][steps.CAPTURED] == "graph"
    assert set(record["ratios"]) == (set(steps.RATIOS) if beside else {targets.OVER_EAGER})
    assert record["targets"] == {name: name for name in (targets.OVER_EAGER, targets.OVER_GRAPH)}
    assert len(report.step_rows(record)) == 1 + len(record["ratios"])


def test_what_does_not_compile_is_said(monkeypatch, capsys):
    class Here:
        def __init__(self, *given: Any, **more: Any): ...
        def __enter__(self) -> Any:
            return self

        def __exit__(self, *error: object) -> None: ...
        def map(self, function: Any, todo: Any) -> Any:
            return map(function, todo)

    def compiled(cupy: Any, kernels: Any, name: str, flags: Any) -> None:
        if kernels.file == "ctc.cu":
            raise DeviceError(f"kernel {name} does not compile")

    monkeypatch.setattr(compiling, "ProcessPoolExecutor", Here)
    monkeypatch.setattr(compiling, "cuda_array_module", lambda: None)
    monkeypatch.setattr(launch, "compiled", compiled)
    assert compiling.main() == 1
    found = told(capsys)
    assert [r["error"].split()[0] for r in found[:-1]] == ["kernel"] * len(launch.FILES["ctc.cu"].names)
    assert {file for file, _ in compiling.jobs()} == set(launch.FILES)


def test_a_kernel_is_compiled_once(monkeypatch):
    compiled: list[str] = []
    kernel = SimpleNamespace(kernel=lambda *launched: launches.append(launched), max_dynamic_shared_size_bytes=0)
    launches: list[Any] = []

    def module(code: str, options: tuple[str, ...], name_expressions: tuple[str, ...]) -> Any:
        assert options == launch.options()
        compiled.extend(name_expressions)
        return SimpleNamespace(get_function=lambda name: kernel)

    cupy = SimpleNamespace(RawModule=module, cuda=SimpleNamespace(runtime=SimpleNamespace(getDevice=lambda: 0)))
    before = launch.FILES["dropout.cu"]
    monkeypatch.setitem(launch.FILES, "dropout.cu", before)  # put back
    kernels = launch.Kernels("dropout.cu", before.names)
    run = launch._cupy_runner(cupy)
    for shared in (0, 100_000, 0):
        run(kernels, kernels.names[0], (1,), (32,), (), shared)
    assert compiled == [kernels.names[0]]
    assert [one[3] for one in launches] == [0, 100_000, 0]
    assert kernel.max_dynamic_shared_size_bytes == 100_000
    with pytest.raises(DeviceError, match="lists no kernel 'other'"):
        run(kernels, "other", (1,), (1,), (), 0)
