"""Stopping a gradient: targets are constants

What the notes say. `y.detach()` gives the value of y without its history, so that what is computed from it treats it as
a constant (note 004). In style transfer the features of the content and the style image are detached; in learning from
two views without negatives (note 003: 梯度停止) the branch of the teacher, or of the target, is not back-propagated.

The formula. sg(y) has the value of y and the derivative 0. "Dive into Deep Learning" (2.5.3) has y = x², u = sg(y), and

    z = u x   has   dz/dx = u = x²,     while   z = y x = x³   has   dz/dx = 3x²

Why two towers need it. A student s is to say what a teacher t says, loss ½ (s - t)². With a stopped gradient only the
student moves, s → t. Without, both move, each halfway: after k steps at rate η

    with:     s_k - t = (1 - η)^k (s_0 - t),   t as it was
    without:  s_k - t_k = (1 - 2η)^k (s_0 - t_0),   s_k + t_k as it was

The target comes to the student as fast as the student to the target, which is the start of collapse (坍缩): two towers
that see the same image agree most cheaply when both say the same of every image.

What the demo shows, on digits: one affine tower of 8 features, the student, sees an image, another, the teacher, the
same image shifted by up to a pixel; nothing is asked but that they agree. How much the teacher says is its spread, the
standard deviation of a feature over all images. The bars: with a stopped gradient it keeps its spread, to the bit;
without, it loses a tenth of it or more.

Where the note leaves something out. Stopping alone does not keep networks of one set of weights from collapse: BYOL has
a moving average as its teacher and a predictor, SimSiam the predictor. Their own notes remove the parts in turn.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn, optim
from tinygrad_notes.data import digits, random_shift
from tinygrad_notes.notes.note import Bar, Identity, Note, Outcome, Run
from tinygrad_notes.training.pictures import save_curves

STEPS, BATCH, RATE = 400, 128, 0.05


class TwoTowers(nn.Module):
    """The loss of a student tower against a teacher tower, for two views (batch, 64) of the same images.

    ``stop``: the teacher's outputs are constants.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, stop: bool = True):
        super().__init__()
        self.student, self.teacher, self.stop = student, teacher, stop

    def forward(self, view: Any, other: Any) -> tn.Tensor:
        target = self.teacher(other)
        if self.stop:
            target = target.detach()
        return ((self.student(view) - target) ** 2).mean()


def towers(stop: bool) -> TwoTowers:
    """Two affine towers from 64 pixels to 8 features."""
    return TwoTowers(nn.Linear(64, 8), nn.Linear(64, 8), stop)


def spread(tower: nn.Module, images: Any) -> float:
    """Mean standard deviation of a tower's features over images: 0 when it says the same of all."""
    return float(tower(images).detach().numpy().std(axis=0).mean())


def agree(run: Run, stop: bool, steps: int) -> tuple[TwoTowers, list[float]]:
    """Train two towers to agree; the spread of the teacher before the first step and after each."""
    tn.manual_seed(run.seed)
    data = digits(size=8, seed=run.seed)
    images = data.train.tensors[0].numpy()
    model = towers(stop)
    descent = optim.SGD(model.parameters(), lr=RATE)
    rng = np.random.default_rng(run.seed)
    spreads = [spread(model.teacher, images.reshape(len(images), -1))]
    for _ in range(steps):
        batch = images[rng.integers(0, len(images), BATCH)]
        moved = random_shift(tn.asarray(batch), 1, fill=data.background)
        descent.zero_grad()
        model(batch.reshape(BATCH, -1), moved.reshape(BATCH, -1)).backward()
        descent.step()
        spreads.append(spread(model.teacher, images.reshape(len(images), -1)))
    return model, spreads


def demo(run: Run) -> Outcome:
    """How much the teacher still says, with and without a stopped gradient."""
    steps = STEPS if run.epochs is None else run.epochs
    (_, kept), (_, free) = agree(run, True, steps), agree(run, False, steps)
    metrics = {
        "teacher_keeps_of_its_spread": kept[-1] / kept[0],
        "teacher_keeps_without_stopping": free[-1] / free[0],
    }
    along = list(range(steps + 1))
    picture = save_curves(
        run.folder / "spread.png", "What the teacher says of different digits, while a student learns from it",
        {"gradient stopped": (along, kept), "not stopped": (along, free)}, "step", "standard deviation of features",
    )  # fmt: skip
    return Outcome(metrics, [picture])


def _through_detach() -> float:
    """The largest gradient of the teacher, which is to be 0; infinite if the student has none either."""
    model = towers(stop=True)
    views = np.random.default_rng(0).standard_normal((2, 3, 64)).astype(np.float32)
    model(*views).backward()
    if any(p.grad is None or not p.grad.numpy().any() for p in model.student.parameters()):
        return float("inf")
    return max(0.0 if p.grad is None else float(np.abs(p.grad.numpy()).max()) for p in model.teacher.parameters())


def _book(detached: bool) -> float:
    x = tn.arange(4, dtype=tn.float64).requires_grad_()
    y = x * x
    ((y.detach() if detached else y) * x).sum().backward()
    expected = x.detach() ** 2 if detached else 3 * x.detach() ** 2
    return float(np.abs((x.grad - expected).numpy()).max())


def _scalars(stop: bool, steps: int = 10, rate: float = 0.1) -> float:
    """Student and teacher of one number each against their closed forms."""
    student, teacher = (tn.asarray(np.array(value)).requires_grad_() for value in (3.0, 1.0))
    descent = optim.SGD([student, teacher], lr=rate)
    for _ in range(steps):
        descent.zero_grad()
        (0.5 * (student - (teacher.detach() if stop else teacher)) ** 2).backward()
        descent.step()
    s, t = student.item(), teacher.item()
    if stop:
        return abs(s - t - (1 - rate) ** steps * 2) + abs(t - 1)
    return abs(s - t - (1 - 2 * rate) ** steps * 2) + abs(s + t - 4)


def _checks() -> list[tuple[Any, tuple[Any, ...]]]:
    rng = np.random.default_rng(0)
    views, target = rng.standard_normal((2, 3, 5)), rng.standard_normal((3, 2))
    student = TwoTowers(nn.Linear(5, 2), nn.Identity(), stop=False)
    return [
        (TwoTowers(nn.Linear(5, 2), nn.Linear(5, 2), stop=False), tuple(views)),
        (student, (views[0], target)),
    ]


NOTE = Note(
    slug="stop-gradient",
    family="basics",
    title="Stopping a gradient: targets are constants",
    sources="notes 003, 004; Zhang et al., Dive into Deep Learning, 2.5.3",
    paper="Chen & He 2021, Exploring simple Siamese representation learning, arXiv:2011.10566",
    text=__doc__,
    build=lambda: towers(stop=True),
    demo=demo,
    bars=[
        Bar("teacher_keeps_of_its_spread", at_least=1.0),
        Bar("teacher_keeps_without_stopping", at_most=0.9),
    ],
    identities=[
        Identity("nothing reaches the teacher through detach", _through_detach),
        Identity("x² held constant: the derivative of u x is x²", lambda: _book(True)),
        Identity("and without: the derivative of x³ is 3x²", lambda: _book(False)),
        Identity("two numbers, stopped: the student comes to the teacher", lambda: _scalars(True), 1e-15),
        Identity("two numbers, not stopped: both come to the middle", lambda: _scalars(False), 1e-15),
    ],
    checks=_checks,
)
