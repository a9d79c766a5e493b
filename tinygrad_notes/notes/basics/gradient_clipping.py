"""Clipping of gradients

What the note says. To keep gradients from exploding (梯度爆炸), rescale them when their length exceeds a threshold θ:

    g ← g · min(1, θ / ‖g‖)

where ‖g‖ is the length of the gradients of all parameters together. The direction stays.

Why recurrent networks need it. The gradient over T steps holds the T-th power of the recurrent weights, so it grows or
dies exponentially. Where it explodes the loss has cliffs, and a plain step from the foot of one lands far away
(Pascanu, Mikolov & Bengio 2013).

Where implementations differ. PyTorch, and this engine with it, divide by ‖g‖ + 10⁻⁶, so that the length afterwards is θ
to within that. Holding every element between -θ and θ is another rule, which turns the direction; it is shown too.

How it is trained here. A recurrent network of 128 units foretells the next character of the manual of Python, by plain
stochastic gradient descent. It bears a learning rate of 0.4. At ten times that the loss ends far above where it began;
clipped, it falls below that of characters foretold by their frequency. No clipped step is longer than the rate times θ.
That product is 1 in "Dive into Deep Learning" (8.5), of a rate of 1 and a θ of 1, and it is 1 here, of 4 and 1/4. At
the book's own rate two of three seeds went wrong without clipping and one did not: a bar there would measure luck. And
at a rate of 10 with θ = 1, steps ten times as long, the loss ended at 34 with clipping too.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn, optim
from tinygrad_notes.data import CharacterVocabulary, topics, windows
from tinygrad_notes.notes.note import Bar, Identity, Note, Outcome, Run
from tinygrad_notes.training.pictures import save_curves

BORNE, RATE, THRESHOLD = 0.4, 4.0, 0.25
STEPS, BATCH, LENGTH, HIDDEN = 200, 32, 35, 128
LAST = 20  # steps over which a loss is averaged
HOPELESS = 1e4  # what is reported of a loss that is no number


class CharacterModel(nn.Module):
    """A recurrent network over one-hot characters: tokens (batch, time) to logits (batch, time, V)."""

    def __init__(self, size: int, hidden: int = HIDDEN):
        super().__init__()
        self.size = size
        self.rnn = nn.RNN(size, hidden, batch_first=True)
        self.output = nn.Linear(hidden, size)

    def forward(self, tokens: Any) -> tn.Tensor:
        h, _ = self.rnn(tn.one_hot(tokens, self.size).astype(self.output.weight.dtype))  # (batch, time, hidden)
        return self.output(h)


def train(run: Run, threshold: float | None, steps: int, rate: float = RATE) -> tuple[list[float], list[float]]:
    """Losses and gradient norms by step; they end early when the loss is no number."""
    tn.manual_seed(run.seed)
    text = topics(seed=run.seed).train_text
    vocabulary = CharacterVocabulary(text)
    inputs, targets = windows(vocabulary.encode(text), LENGTH)
    model = CharacterModel(len(vocabulary)).to(run.device)
    descent = optim.SGD(model.parameters(), lr=rate)
    rng = np.random.default_rng(run.seed)
    losses: list[float] = []
    norms: list[float] = []
    for _ in range(steps):
        rows = rng.integers(0, len(inputs), BATCH)
        x, y = (tn.asarray(part[rows]).to(run.device) for part in (inputs, targets))
        descent.zero_grad()
        loss = tn.cross_entropy(model(x).reshape(-1, len(vocabulary)), y.reshape(-1))
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            break
        loss.backward()
        norms.append(optim.clip_grad_norm_(model.parameters(), math.inf if threshold is None else threshold).item())
        descent.step()
    return losses, norms


def ended(losses: list[float]) -> float:
    """The mean of the last losses, or a large number when they are not finite."""
    mean = float(np.mean(losses[-LAST:]))
    return mean if math.isfinite(mean) else HOPELESS


def unigram(seed: int) -> float:
    """The loss of foretelling characters by their frequency, on the training text."""
    text = topics(seed=seed).train_text
    _, counts = np.unique(list(text), return_counts=True)
    share = counts / counts.sum()
    return float(-(share * np.log(share)).sum())


def demo(run: Run) -> Outcome:
    """A rate that is ten times too large, with and without clipping, and the one that is not."""
    steps = STEPS if run.epochs is None else run.epochs
    clipped, norms = train(run, THRESHOLD, steps)
    plain, _ = train(run, None, steps)
    borne, _ = train(run, None, steps, BORNE)
    metrics = {
        "loss_before": clipped[0],
        "loss_of_frequencies": unigram(run.seed),
        "loss_with_clipping": ended(clipped),
        "loss_without": ended(plain),
        "loss_without_at_a_tenth": ended(borne),
    }
    pictures = [
        save_curves(
            run.folder / "losses.png", "A character model by plain gradient descent",
            {
                name: (list(range(1, len(losses) + 1)), losses)
                for name, losses in (
                    (f"rate {RATE:g}, clipped to length {THRESHOLD:g}", clipped),
                    (f"rate {RATE:g}, not clipped", plain),
                    (f"rate {BORNE:g}, not clipped", borne),
                )
            },
            "step", "cross-entropy", logarithmic="y",
        ),
        save_curves(
            run.folder / "norms.png", "Length of the gradient before it is clipped",
            {"‖g‖": (list(range(1, len(norms) + 1)), norms), "θ": ([1, len(norms)], [THRESHOLD] * 2)},
            "step", "length", logarithmic="y",
        ),
    ]  # fmt: skip
    return Outcome(metrics, pictures)


def _gradients(scale: float) -> list[tn.Tensor]:
    rng = np.random.default_rng(0)
    parameters = [tn.zeros(shape, dtype=tn.float64).requires_grad_() for shape in ((3, 4), (5,))]
    for parameter in parameters:
        parameter.grad = tn.asarray(scale * rng.standard_normal(parameter.shape))
    return parameters


def _flat(parameters: list[tn.Tensor]) -> np.ndarray:
    return np.concatenate([parameter.grad.numpy().ravel() for parameter in parameters])  # type: ignore[union-attr]


def _length(scale: float) -> float:
    """The length afterwards against min(‖g‖, θ) with PyTorch's 10⁻⁶, relative."""
    parameters = _gradients(scale)
    before = float(np.linalg.norm(_flat(parameters)))
    optim.clip_grad_norm_(parameters, THRESHOLD)
    expected = before * min(1.0, THRESHOLD / (before + 1e-6))
    return abs(float(np.linalg.norm(_flat(parameters)) / expected - 1))


def _direction() -> float:
    parameters = _gradients(10.0)
    before = _flat(parameters).copy()
    optim.clip_grad_norm_(parameters, THRESHOLD)
    after = _flat(parameters)
    return abs(float(before @ after / np.linalg.norm(before) / np.linalg.norm(after) - 1))


def _returned() -> float:
    parameters = _gradients(10.0)
    before = float(np.linalg.norm(_flat(parameters)))
    return abs(optim.clip_grad_norm_(parameters, THRESHOLD).item() / before - 1)


def _turned_by_values() -> float:
    """0 when holding each element by itself turns the direction, as it must."""
    parameters = _gradients(1.0)
    before = _flat(parameters).copy()
    optim.clip_grad_value_(parameters, 0.1)
    after = _flat(parameters)
    return float(before @ after / np.linalg.norm(before) / np.linalg.norm(after) > 0.99)


def _unchanged() -> float:
    parameters = _gradients(1e-2)
    before = _flat(parameters).copy()
    optim.clip_grad_norm_(parameters, THRESHOLD)
    return float(np.abs(_flat(parameters) - before).max())


def _checks() -> list[tuple[Any, tuple[Any, ...]]]:
    tokens = np.random.default_rng(0).integers(0, 5, (2, 6))
    return [(CharacterModel(5, hidden=4), (tokens,))]


NOTE = Note(
    slug="gradient-clipping",
    family="basics",
    title="Clipping of gradients",
    sources="notes 000, 004; Zhang et al., Dive into Deep Learning, 8.5.5",
    paper="Pascanu, Mikolov & Bengio 2013, On the difficulty of training recurrent neural networks, arXiv:1211.5063",
    text=__doc__,
    build=lambda: CharacterModel(28, hidden=512),
    demo=demo,
    bars=[
        Bar("loss_with_clipping", at_most="loss_of_frequencies"),
        Bar("loss_without", at_least="loss_before"),
    ],
    identities=[
        Identity("a long gradient gets the length θ, of PyTorch's formula", lambda: _length(10.0), 1e-14),
        Identity("a short gradient stays, to the last bit", _unchanged),
        Identity("the direction stays", _direction, 1e-14),
        Identity("the length before is what comes back", _returned, 1e-14),
        Identity("clipping each element turns the direction", _turned_by_values),
    ],
    checks=_checks,
)
