"""What attention, recurrence and convolution cost

What the note says. Three layers that map n vectors of length d to n vectors of length d:

                       work        in parallel   longest path
    convolution, k     O(k n d²)   n             n / k
    recurrence         O(n d²)     1             n
    self-attention     O(n² d)     n             1

Parallel is how many positions can be computed at once; "Dive into Deep Learning" has the inverse, the operations that
must follow one another: O(1), O(n), O(1). The longest path is how many layers or steps lie between two words that are
far from each other: along it the gradient has to come back. Self-attention connects all words in one step, so it
suits long texts; but its work grows with n².

The exact numbers, in multiply-adds, counted here while the layers run:

    convolution     k n d²
    recurrence      2 n d², one product with the input and one with the state
    self-attention  2 n² d, scores and means of values; with the four projections 4 n d² more

So attention without projections is cheaper than a recurrence exactly when n < d.

Where the note is rough. n/k is an order of magnitude: with causal windows of k at every position, a layer reaches k -
1 words back, so the first word reaches the last after ⌈(n - 1)/(k - 1)⌉ layers. Dilated by 1, k, k², …, as in WaveNet
(van den Oord et al. 2016), windows reach n words in log_k n layers. And no column says that attention has to keep n²
weights in memory: a kernel that computes them block by block does not (Dao et al. 2022).

The demo measures seconds for n from 256 to 4096 and fits the slope on logarithmic axes: for attention it tends to 2,
for the others to 1. It is a report; time depends on the machine, and only the counts are asserted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.notes.attention._shared import normal
from tinygrad_notes.notes.note import Fact, Identity, Note, Outcome, Run, apart
from tinygrad_notes.study.summary import WORK
from tinygrad_notes.training.pictures import save_curves


class Convolution(nn.Module):
    """Windows of k at every position of x (n, d), padded so that n stays."""

    def __init__(self, d: int, k: int = 3):
        super().__init__()
        self.layer = nn.Conv1d(d, d, k, padding=k // 2, bias=False)

    def forward(self, x) -> tn.Tensor:
        return self.layer(x.T[None])[0].T


class Recurrence(nn.Module):
    """h ← tanh(W x + U h) along x (n, d)."""

    def __init__(self, d: int):
        super().__init__()
        self.layer = nn.RNN(d, d, bias=False)

    def forward(self, x) -> tn.Tensor:
        return self.layer(x)[0]


class Attention(nn.Module):
    """softmax(X Xᵀ / √d) X, or with ``projections`` those of queries, keys, values and output, for x (n, d)."""

    def __init__(self, d: int, projections: bool = False):
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(d, d, bias=False) for _ in range(4 * projections))

    def forward(self, x) -> tn.Tensor:
        if not len(self.projections):
            return tn.scaled_dot_product_attention(x, x, x)
        *inputs, output = self.projections
        return output(tn.scaled_dot_product_attention(*(part(x) for part in inputs)))


def multiply_adds(function: Callable[[], object], only: str | None = None) -> int:
    """Of all products while ``function()`` runs, or of those of one op."""
    total = 0

    def count(op, operands, value) -> None:
        nonlocal total
        name = op.name.rstrip("_")
        work = WORK.get(name) if only in (None, name) else None
        total += 0 if work is None else int(work(operands, value))

    with tn.watch(count), tn.no_grad():
        function()
    return total


def work(make: Callable[[int], nn.Module], n: int, d: int) -> int:
    """The multiply-adds of one layer for n vectors of length d."""
    layer, x = make(d), tn.ones((n, d))
    return multiply_adds(lambda: layer(x))


def reach(layers: int, k: int, dilated: bool = False) -> int:
    """How many positions back the last output of causal convolutions sees, by its gradient."""
    n = 64
    x = tn.tensor(np.ones((1, 1, n)), requires_grad=True)
    y, window = x, tn.ones((1, 1, k), dtype="float64")
    for layer in range(layers):
        step = k**layer if dilated else 1
        y = tn.conv1d(tn.pad(y, ((0, 0), (0, 0), ((k - 1) * step, 0))), window, dilation=step)
    (gradient,) = tn.grad(y[0, 0, -1], [x])
    return int(n - 1 - np.flatnonzero(gradient.data[0, 0])[0])


def layers_to_connect(n: int, k: int, dilated: bool = False) -> int:
    """The fewest causal convolutions through which the first of n words reaches the last."""
    layers = 1
    while reach(layers, k, dilated) < n - 1:
        layers += 1
    return layers


def _path_of_a_recurrence() -> float:
    """∂h_n/∂x_1 of a linear recurrence, beside the product of n - 1 matrices along the path."""
    n, d = 9, 4
    random = np.random.default_rng(0)
    layer = nn.RNN(d, d, bias=False, nonlinearity="relu").to("float64")  # on positive numbers relu does nothing
    inner, outer = random.random((d, d)), random.random((d, d))
    layer.load_state_dict({"weight_ih_l0": tn.asarray(inner), "weight_hh_l0": tn.asarray(outer)})
    found = tn.jacobian(lambda x: layer(x)[0][-1], tn.asarray(random.random((n, d)))).numpy().reshape(d, n, d)
    expected = np.linalg.matrix_power(outer, n - 1) @ inner
    return apart(found[:, 0] / expected, np.ones((d, d)))


def _one_step_of_attention() -> float:
    """How often the last of n words does not see the first one: never."""
    x = normal(9, 4)
    gradient = tn.jacobian(lambda x: Attention(4)(x)[-1], x).numpy().reshape(4, 9, 4)
    return float((np.abs(gradient[:, 0]).max() == 0).mean())


LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "convolution, k = 3": Convolution,
    "recurrence": Recurrence,
    "self-attention": Attention,
}


def seconds(function: Callable[..., object], *inputs: tn.Tensor) -> float:
    """The shortest of five runs, after one to warm up."""
    taken = []
    with tn.no_grad():
        for _ in range(6):
            began = time.perf_counter()
            function(*inputs)
            taken.append(time.perf_counter() - began)
    return min(taken[1:])


def slope(lengths: Sequence[float], taken: Sequence[float]) -> float:
    """The power of the length by which time grows, over the upper half of the lengths."""
    upper = min(len(lengths) // 2, len(lengths) - 2)
    return float(np.polyfit(np.log(lengths[upper:]), np.log(taken[upper:]), 1)[0])


def demo(run: Run) -> Outcome:
    """Measure the three layers for longer and longer sequences; the slope is that of the upper half."""
    tn.manual_seed(run.seed)
    d, lengths = 64, [256, 512, 1024, 2048, 4096] if run.epochs is None else [64, 128]
    times = {name: [seconds(make(d), tn.randn((n, d))) for n in lengths] for name, make in LAYERS.items()}
    slopes = {name: slope(lengths, taken) for name, taken in times.items()}
    picture = save_curves(
        run.folder / "seconds.png",
        "Seconds for n vectors of length 64; slopes " + ", ".join(f"{slope:.2f}" for slope in slopes.values()),
        {name: (lengths, taken) for name, taken in times.items()},
        "length n of the sequence", "seconds", "xy",
    )  # fmt: skip
    return Outcome({f"slope of {name}": slope for name, slope in slopes.items()}, [picture])


N, D, K = 48, 16, 3

NOTE = Note(
    slug="attention-complexity",
    family="attention",
    title="What attention, recurrence and convolution cost",
    sources="note 004; Zhang et al., Dive into Deep Learning, 10.6.2",
    paper="Vaswani et al. 2017, Attention is all you need, table 1, arXiv:1706.03762",
    text=__doc__,
    demo=demo,
    no_bar="seconds depend on the machine; the multiply-adds are counted exactly instead",
    facts=[
        Fact("convolution: k n d²", K * N * D**2, lambda: work(Convolution, N, D)),
        Fact("recurrence: 2 n d²", 2 * N * D**2, lambda: work(Recurrence, N, D)),
        Fact("self-attention: 2 n² d", 2 * N**2 * D, lambda: work(Attention, N, D)),
        Fact(
            "with projections: 2 n² d + 4 n d²",
            2 * N**2 * D + 4 * N * D**2,
            lambda: work(lambda d: Attention(d, True), N, D),
        ),
        Fact(
            "twice the length costs convolution and recurrence twice, attention four times",
            [2.0, 2.0, 4.0],
            lambda: [work(make, 2 * N, D) / work(make, N, D) for make in LAYERS.values()],
        ),
        Fact(
            "at n = d attention costs what a recurrence does",
            True,
            lambda: work(Attention, D, D) == work(Recurrence, D, D),
        ),
        Fact("causal layers from the first of 27 words to the last", 13, lambda: layers_to_connect(27, 3), "⌈26/2⌉"),
        Fact("dilated by 1, 3, 9", 3, lambda: layers_to_connect(27, 3, dilated=True), "log₃ 27"),
    ],
    identities=[
        Identity(
            "in a recurrence n - 1 products lie between the first word and the last", _path_of_a_recurrence, 1e-12
        ),
        Identity("in attention the last word sees the first one directly", _one_step_of_attention),
    ],
    checks=lambda: [(make(4), (normal(5, 4),)) for make in LAYERS.values()],
)
