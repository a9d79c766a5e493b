"""Nadaraya-Watson regression with a learnt width

What the note says. Give the kernel of ``nadaraya-watson`` one parameter w that is learnt (带参数的注意力汇聚):

    f(x) = Σᵢ softmaxᵢ(-((x - xᵢ) w)² / 2) yᵢ

w = 1 is the version without parameters, and 1/|w| is the bandwidth. In training every xᵢ is foretold from all others:
were its own yᵢ among the values, w → ∞ would give a perfect and useless fit. The learnt curve is less smooth than the
one without parameters: where w grows, few neighbours share the weight, and the curve follows their noise.

Larger |w| always means narrower weights. The scores are w² times those of w = 1, and a softmax of scores t·s has an
entropy that falls as t grows: its derivative by t is -t times the variance of s under the weights. The sign of w does
not matter, as it is squared.

How it is measured here. "Dive into Deep Learning" draws 50 points of 2 sin x + x^0.8 with noise; here are real data,
the body mass index and the progress of the disease of the 331 training patients of the diabetes table. w is learnt by
150 steps of Adam on the leave-one-out error, the mean of (yᵢ - f(xᵢ))² with xᵢ foretold from all others. The bars are
the note's two claims: this error is below that of w = 1, and the total variation of the curve, the sum of its ups and
downs, is above it. Whether it foretells the test part better is reported beside that (R² is the part of the variance
that is explained) and is not a claim of the note: with w from 2.6 to 3.1 it does so on one split of three.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn, optim
from tinygrad_notes.notes.attention._shared import normal
from tinygrad_notes.notes.attention.nadaraya_watson import (
    baselines,
    body_mass,
    leave_one_out,
    nadaraya_watson,
    of_the_largest,
    r_squared,
)
from tinygrad_notes.notes.note import Bar, Fact, Identity, Note, Outcome, Run, apart, parameter_count
from tinygrad_notes.training.pictures import save_curves, save_maps

EPOCHS, LEARNING_RATE = 150, 0.05


class KernelRegression(nn.Module):
    """Σᵢ softmaxᵢ(-((x - xᵢ) w)² / 2) yᵢ for queries (n,), keys (m,) and values (m,).

    Without queries, the value at every key from all other keys.
    """

    def __init__(self, w: float = 1.0):
        super().__init__()
        self.w = nn.Parameter(tn.tensor([w], dtype="float64"))

    def weights(self, queries, keys, own=None) -> tn.Tensor:
        """(n, m); ``own`` (n, m) is True where the weight has to be 0."""
        scores = -0.5 * ((tn.expand_dims(queries, 1) - keys) * self.w) ** 2
        return tn.softmax(scores if own is None else tn.where(own, -np.inf, scores), axis=-1)

    def forward(self, keys, values, queries=None) -> tn.Tensor:
        if queries is not None:
            return self.weights(queries, keys) @ values
        return self.weights(keys, keys, tn.eye(len(keys), dtype="bool", device=self.w.device)) @ values


def total_variation(curve: Sequence[float]) -> float:
    """Σ |f(xᵢ₊₁) - f(xᵢ)|."""
    return float(np.abs(np.diff(curve)).sum())


def demo(run: Run) -> Outcome:
    """Learn w on the training patients; compare its error and its curve with those of w = 1."""
    tn.manual_seed(run.seed)
    train, test = body_mass(run.seed)
    (x, y), (x_test, y_test) = train, test
    scale = y.std()
    model = KernelRegression()
    optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE)
    history = []
    for epoch in range(1, (EPOCHS if run.epochs is None else run.epochs) + 1):
        optimizer.zero_grad()
        loss = tn.mse_loss(model(x, y / scale), y / scale)
        history.append({"epoch": epoch, "loss": loss.item(), "w": model.w.item()})
        loss.backward()
        optimizer.step()
    with tn.no_grad():
        grid = np.linspace(x.min(), x.max(), 400)
        fits = {"w = 1": KernelRegression(), f"w = {abs(model.w.item()):.2f}, learnt": model}
        losses = [float(((m(x, y).numpy() - y) ** 2).mean()) for m in fits.values()]
        curves = {name: (grid.tolist(), m(x, y, grid).numpy().tolist()) for name, m in fits.items()}
        test_r2 = [r_squared(m(x, y, x_test).numpy(), y_test) for m in fits.values()]
        order, test_order = np.argsort(x), np.argsort(x_test)
        maps = {name: of_the_largest(m.weights(x_test[test_order], x[order])) for name, m in fits.items()}
    variations = [total_variation(curve) for _, curve in curves.values()]
    metrics = {
        "w": abs(model.w.item()),
        "training_error": losses[1],
        "training_error_of_w_1": losses[0],
        "total_variation": variations[1],
        "total_variation_of_w_1": variations[0],
        "test_r2": test_r2[1],
        "test_r2_of_w_1": test_r2[0],
        **baselines(train, test),
    }
    pictures = [
        save_curves(
            run.folder / "curves.png",
            f"What is learnt is less smooth: total variation {variations[1]:.0f}, of w = 1 {variations[0]:.0f}",
            {**curves, "average pooling": (grid.tolist(), [y.mean()] * len(grid))},
            "body mass index (standardised)", "progress of the disease in a year",
        ),
        save_curves(
            run.folder / "training.png", "Leave-one-out error and w in training",
            {key: ([r["epoch"] for r in history], [r[key] for r in history]) for key in ("loss", "w")},
            "epoch", "mean squared error in units of the variance, and w",
        ),
        save_maps(
            run.folder / "weights.png", "Weights for test patients (down), as parts of each one's largest",
            maps, "training patients, by body mass", "test patients", columns=2,
        ),
    ]  # fmt: skip
    return Outcome(metrics, pictures, history)


def entropies(ws: tuple[float, ...]) -> np.ndarray:
    """The entropy of each of 7 queries' weights, (len(ws), 7)."""
    rows = []
    for w in ws:
        p = KernelRegression(w).weights(normal(7), normal(9, seed=1)).detach().numpy()
        rows.append(-(p * np.log(np.maximum(p, 1e-300))).sum(-1))
    return np.array(rows)


def _data() -> tuple[tn.Tensor, tn.Tensor]:
    return normal(9, seed=1), normal(9, seed=2)


NOTE = Note(
    slug="nadaraya-watson-parametric",
    family="attention",
    title="Nadaraya-Watson regression with a learnt width",
    sources="note 004; Zhang et al., Dive into Deep Learning, 10.2",
    paper="Zhang et al., Dive into Deep Learning, 10.2.4, after Nadaraya 1964 and Watson 1964",
    text=__doc__,
    build=KernelRegression,
    example=lambda: ((9,), (9,)),
    demo=demo,
    bars=[
        Bar("training_error", at_most="training_error_of_w_1"),
        Bar("total_variation", at_least="total_variation_of_w_1"),
    ],
    facts=[Fact("parameters", 1, lambda: parameter_count(KernelRegression()), "w")],
    identities=[
        Identity(
            "w = 1 is the version without parameters",
            lambda: apart(KernelRegression()(*_data(), normal(7)), nadaraya_watson(normal(7), *_data())),
            1e-12,
        ),
        Identity(
            "so it is in training, where each is foretold from all others",
            lambda: apart(KernelRegression()(*_data()), leave_one_out(*_data())),
            1e-12,
        ),
        Identity(
            "1/w is the bandwidth",
            lambda: apart(KernelRegression(2.5)(*_data(), normal(7)), nadaraya_watson(normal(7), *_data(), 1 / 2.5)),
            1e-12,
        ),
        Identity(
            "larger |w|, narrower weights: no entropy grows",
            lambda: float(max(np.diff(entropies((0.0, 0.5, 1.0, 2.0, 4.0, 8.0)), axis=0).max(), 0.0)),
        ),
        Identity("the sign of w does not matter", lambda: apart(entropies((-2.0,)), entropies((2.0,)))),
    ],
    checks=lambda: [(KernelRegression(1.3), _data()), (KernelRegression(1.3), (*_data(), normal(7)))],
)
