"""A captured step computes what the function computes, in the right order, and refuses what it would not repeat."""

from __future__ import annotations

import gc
import sys
import weakref
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import kernels, nn, optim

RNG = np.random.default_rng(5)
BATCHES = [(RNG.standard_normal((6, 4), np.float32), RNG.integers(0, 3, 6)) for _ in range(7)]


def network() -> Any:
    tn.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))


class Training:
    """A step of a small network with batch normalisation, clipping and an optimiser."""

    def __init__(self, device: str, optimizer: str, **settings: Any):
        self.net = network().to(device)
        self.optimizer = getattr(optim, optimizer)(self.net.parameters(), **settings)
        self.zero_first = True
        self.hook: Any = lambda loss: None

    def step(self, x: Any, y: Any) -> Any:
        if self.zero_first:
            self.optimizer.zero_grad()
        scores = self.net(x)
        loss = tn.cross_entropy(scores, y)
        loss.backward()
        optim.clip_grad_norm_(self.net.parameters(), 0.5)
        self.optimizer.step()
        hits = (tn.argmax(scores, 1) == y).sum()  # what the graph behind the optimiser still reads
        self.hook(loss)
        return {"loss": loss, "hits": hits}

    def weights(self) -> list[np.ndarray]:
        return [np.array(t.detach().to("cpu").numpy()) for t in self.net.state_dict().values()]


def run(training: Training, step: Any, device: str, schedule: Any = None) -> list[float]:
    losses = []
    for x, y in BATCHES:
        losses.append(step(tn.tensor(x).to(device), tn.tensor(y).to(device))["loss"])
        if schedule is not None:
            schedule.step()
    return [one.item() for one in losses]


@pytest.mark.parametrize(("name", "settings"), [("SGD", {"momentum": 0.9}), ("AdamW", {"lr": 0.05}), ("RMSprop", {})])
def test_every_call_is_a_step(gpu, name, settings):
    plain, captured = Training("cuda", name, **settings), Training("cuda", name, **settings)
    step = tn.capture(captured.step)
    schedules = [optim.StepLR(t.optimizer, 2, 0.5) for t in (plain, captured)]
    wanted = run(plain, plain.step, "cuda", schedules[0])
    assert run(captured, step, "cuda", schedules[1]) == wanted
    assert len(set(wanted)) == len(BATCHES)
    for a, b in zip(captured.weights(), plain.weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert "recorded" in repr(step)
    assert gpu.log.count("begin") == gpu.log.count("end") == 2


@pytest.mark.parametrize("layer", [nn.Dropout(0.4), nn.Dropout(1.0), nn.Dropout1d(0.4), nn.AlphaDropout(0.3)])
def test_dropout_drops_others_in_every_step(gpu, layer):
    losses, states = [], []
    for captured in (False, True):
        training = Training("cuda", "SGD")
        training.net.insert(3, layer)
        step = tn.capture(training.step) if captured else training.step
        tn.manual_seed(7)
        losses.append(run(training, step, "cuda"))
        states.append(tn.get_rng_state())
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-6)
    assert states[0] == states[1]
    assert gpu.log.count("begin") == 3  # before the mask, before the optimiser, behind it


SCALES = SimpleNamespace(weight=None)


def test_what_a_module_holds_is_seen(gpu, monkeypatch):
    settings = ModuleType("settings")
    settings.weight = tn.ones(2).to("cuda")
    monkeypatch.setitem(globals(), "SCALES", settings)

    @tn.capture
    def step(x):
        return x * SCALES.weight

    for _ in range(3):
        step(tn.ones(2).to("cuda"))
    settings.weight.data = settings.weight.data * 2
    with pytest.raises(tn.DeviceError, match="was given other memory"):
        step(tn.ones(2).to("cuda"))


def test_the_order_of_calls(gpu):
    training = Training("cuda", "Adam")
    step = tn.capture(training.step)
    x, y = (tn.tensor(one).to("cuda") for one in BATCHES[0])
    around = ["own waits for default", "default waits for own"]
    logs = []
    for _ in range(4):
        gpu.log.clear()
        step(x, y)
        logs.append(list(gpu.log))
    assert logs[0] == logs[1] == around
    assert logs[2] == [around[0], "begin", "end", "launch", "begin", "end", "launch", around[1]]
    assert logs[3] == [around[0], "launch", "launch", around[1]]


def test_an_object_may_hold_its_captured_method(gpu):
    plain, captured = Training("cuda", "SGD"), Training("cuda", "SGD")
    captured.captured = tn.capture(captured.step)
    assert run(captured, captured.captured, "cuda") == run(plain, plain.step, "cuda")
    assert "recorded" in repr(captured.captured)


def test_memory_of_the_graph_is_its_own_and_of_results_is_not(gpu):
    training = Training("cuda", "Adam")
    step = tn.capture(training.step)
    x, y = (tn.tensor(one).to("cuda") for one in BATCHES[0])
    results = [step(x, y)["loss"] for _ in range(5)]
    assert {one.data.pool for one in results} == {"usual"}
    assert {p.grad.data.pool for p in training.net.parameters()} == {"recording"}
    held = step.graphs.pool.total_bytes()
    assert held > 0
    step(x, y)
    assert step.graphs.pool.total_bytes() == held
    assert "captured steps" in tn.cuda.memory_summary()
    assert len({one.item() for one in results}) == 5


def test_arguments_of_the_host_and_in_containers(gpu):
    weight = tn.ones(4).to("cuda")

    @tn.capture(warmup=1)
    def scaled(batch, factor, *, more):
        return [(batch["x"] @ weight) * factor, more[0]]

    for i in range(4):
        x, more = np.full((2, 4), float(i), np.float32), tn.tensor([float(i)])
        value, same = scaled({"x": tn.tensor(x)}, 3.0, more=(more,))
        assert (value.device, value.tolist(), same.tolist()) == ("cuda", [12.0 * i] * 2, [float(i)])
    with pytest.raises(
        tn.DTypeError, match=r"argument 1 of scaled is 4.0, in the recorded step 3.0; give what changes"
    ):
        scaled({"x": tn.tensor(x)}, 4.0, more=(more,))
    with pytest.raises(tn.ShapeError, match="other arguments than at first"):
        scaled({"x": tn.tensor(x)}, 3.0, more=(more, more))
    with pytest.raises(tn.GradientError, match="requires a gradient"):
        tn.capture(lambda x: x * 2)(tn.ones(2).to("cuda").requires_grad_())


def test_gradients_may_add_up_outside(gpu):
    plain, captured = Training("cuda", "SGD"), Training("cuda", "SGD")
    plain.zero_first = captured.zero_first = False
    step = tn.capture(captured.step)
    wanted = run(plain, plain.step, "cuda")
    assert run(captured, step, "cuda") == wanted
    captured.optimizer.zero_grad()
    with pytest.raises(tn.DeviceError, match=r"the gradient of a Tensor that step uses .* is another one"):
        step(*(tn.tensor(one).to("cuda") for one in BATCHES[0]))


def test_gradients_that_are_none_before_every_step(gpu):
    weight = tn.ones(3).to("cuda").requires_grad_()

    @tn.capture
    def step(x):
        (weight * x).sum().backward()

    for i in range(5):
        weight.grad = None
        step(tn.full((3,), float(i)).to("cuda"))
        assert weight.grad.tolist() == [i] * 3
    with pytest.raises(tn.DeviceError, match="is not None"):
        step(tn.ones(3).to("cuda"))


# ---------------------------------------------------------------------- what is refused


@pytest.fixture
def ready(gpu) -> Any:
    training = Training("cuda", "SGD")
    step = tn.capture(training.step)
    x, y = (tn.tensor(one).to("cuda") for one in BATCHES[0])
    for _ in range(3):
        step(x, y)
    return training, step, x, y


def test_another_shape_or_dtype(ready):
    _, step, x, y = ready
    with pytest.raises(tn.ShapeError, match=r"argument 0 of step has shape \(3, 4\), in the recorded step \(6, 4\)"):
        step(x[:3], y)
    with pytest.raises(tn.DTypeError, match=r"argument 0 of step is float64, in the recorded step float32"):
        step(x.astype(tn.float64), y)
    with pytest.raises(tn.DTypeError, match=r"argument 1 of step is None, expected \[6\] int64 on cuda"):
        step(x, None)
    step(x, y)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: setattr(t.net[0].weight, "data", t.net[0].weight.data.copy()), "was given other memory"),
        (lambda t: t.net.eval(), "was recorded with training True and has False"),
        (lambda t: t.net[0].bias.requires_grad_(False), "requires_grad of a Tensor that step uses has changed"),
    ],
)
def test_what_a_replay_would_not_see(ready, change, message):
    training, step, x, y = ready
    change(training)
    with pytest.raises(tn.DeviceError, match=message):
        step(x, y)
    step.reset()
    step(x, y)


def test_other_modes(ready):
    _, step, x, y = ready
    with kernels.use_kernels("reference"), pytest.raises(tn.DeviceError, match="other kernels, precision or no_grad"):
        step(x, y)


def fails(training: Training, hook: Any, error: type, message: str, gpu: Any) -> None:
    """The recording fails so, is ended, and the GPU works afterwards."""
    step = tn.capture(training.step)
    x, y = (tn.tensor(one).to("cuda") for one in BATCHES[0])
    for _ in range(2):
        step(x, y)
    grads, state = [p.grad for p in training.net.parameters()], tn.get_rng_state()
    training.hook = hook
    with pytest.raises(error, match=message):
        step(x, y)
    assert gpu.stream.captured is None
    assert gpu.log.count("begin") == gpu.log.count("end")
    assert [p.grad for p in training.net.parameters()] == grads
    assert tn.get_rng_state() == state
    assert gc.isenabled()
    training.hook = lambda loss: None
    assert np.isfinite(step(x, y)["loss"].item())


def test_a_value_is_asked_for(gpu):
    message = "step failed while it was recorded .*capturing.*the recording was ended.*no .item"
    fails(Training("cuda", "SGD"), lambda loss: loss.item(), tn.DeviceError, message, gpu)


def test_the_function_raises(gpu):
    def hook(loss: Any) -> None:
        raise KeyError("mine")

    fails(Training("cuda", "SGD"), hook, KeyError, "mine", gpu)


def test_random_numbers_are_drawn(gpu):
    fails(Training("cuda", "SGD"), lambda loss: tn.rand(3), tn.DeviceError, "draws random numbers", gpu)

    def after_dropout(loss: Any) -> None:
        tn.dropout(loss, 0.5), tn.rand(3), tn.dropout(loss, 0.5)

    fails(Training("cuda", "SGD"), after_dropout, tn.DeviceError, "draws random numbers", gpu)


def test_python_keeps_count(gpu):
    training = Training("cuda", "SGD")
    training.count, training.losses = 0, []

    def counts(loss: Any) -> None:
        training.count += 1

    fails(training, counts, tn.DeviceError, r"step changes Training\.count; a graph repeats", gpu)
    fails(training, training.losses.append, tn.DeviceError, "step changes .*the length of a list", gpu)

    def lowers(loss: Any) -> None:
        training.optimizer.param_groups[0]["lr"] *= 0.5

    fails(training, lowers, tn.DeviceError, "step changes 'lr' of a dict", gpu)

    def replaces(loss: Any) -> None:
        training.net[1].running_mean.data = training.net[1].running_mean.data * 1

    fails(training, replaces, tn.DeviceError, "changes the memory of a Tensor of shape", gpu)


def test_the_pool_gave_memory_back(gpu):
    training = Training("cuda", "SGD")

    def shrink(loss: Any) -> None:
        step.graphs.pool.shrinks = True
        loss + 1

    step = tn.capture(training.step)
    x, y = (tn.tensor(one).to("cuda") for one in BATCHES[0])
    step(x, y), step(x, y)
    training.hook = shrink
    with pytest.raises(tn.DeviceError, match="the memory of this GPU was full"):
        step(x, y)


def test_out_of_memory_while_it_is_recorded(gpu):
    training = Training("cuda", "SGD")
    step = tn.capture(training.step)
    x, y = (tn.tensor(one).to("cuda") for one in BATCHES[0])
    step(x, y), step(x, y)
    graphs, made = weakref.ref(step.graphs), []

    def fill(loss: Any) -> None:
        made.append(weakref.ref((loss + 1).data))
        gpu.limit = 0
        loss + 1

    training.hook = fill
    with pytest.raises(tn.OutOfMemoryError, match="add: Out of memory allocating 4 bytes") as caught:
        step(x, y)
    gpu.limit = None
    gc.collect()
    assert (graphs(), made[0]()) == (None, None)
    assert any("failed while it was recorded" in note for note in caught.value.__notes__)
    training.hook = lambda loss: None
    assert np.isfinite(step(x, y)["loss"].item())


def test_reset_frees_the_memory(ready):
    _, step, x, y = ready
    graphs = weakref.ref(step.graphs)
    step.reset()
    gc.collect()
    assert graphs() is None
    assert step(x, y)["loss"].size == 1


# ---------------------------------------------------------------------- the README


def example() -> str:
    """The program that stands under "On a GPU"."""
    text = (Path(__file__).parents[2] / "README.md").read_text()
    return text.split("## On a GPU")[1].split("```python\n")[1].split("```")[0]


def test_the_example_of_the_readme(gpu, capsys):
    program = compile(example(), "README.md", "exec")
    names: dict[str, Any] = {}
    exec(program, names)
    assert (names["device"], names["net"][0].weight.device) == ("cuda", "cuda")
    assert "recorded" in repr(names["step"])
    assert len(capsys.readouterr().out.splitlines()) == 5


def test_the_example_of_the_readme_without_a_gpu(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    exec(compile(example(), "README.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 5


# ---------------------------------------------------------------------- without a GPU


def test_on_the_cpu_the_function_runs_as_it_is():
    plain, captured = Training("cpu", "Adam"), Training("cpu", "Adam")
    step = tn.capture(captured.step)
    assert run(captured, step, "cpu") == run(plain, plain.step, "cpu")
    assert step.__name__ == "step"
    assert "not on a GPU" in repr(step)
    result = tn.capture(lambda x: x)(captured)
    assert result is captured
    with pytest.raises(KeyError):
        tn.capture(lambda: {}["nothing"])()


def test_wrong_arguments_of_capture():
    with pytest.raises(tn.DTypeError, match="capture: function is 3"):
        tn.capture(3)
    with pytest.raises(tn.ShapeError, match="capture: warmup is 0"):
        tn.capture(warmup=0)(lambda: 0)
