"""Backpropagation through time, vanishing and exploding gradients

What the note says. A recurrent network that has read T inputs is a network of T layers with the same weights. Its
backward pass is a chain of as many matrix products, so the gradient dies out or blows up with the length of the chain.
Against the second the gradient is clipped (梯度裁剪).

The formula. For h[t] = φ(W_hx x[t] + W_hh h[t-1] + b)

    ∂h[T] / ∂h[0] = J[T] J[T-1] ... J[1],        J[t] = diag(φ'(a[t])) W_hh

For a linear network that is W_hh^T. Its norm is at most σ_max^T, the largest singular value to the power T, and exactly
that where W_hh is normal, as c times an orthogonal matrix, whose norm is c^T. In general the norm grows as ρ^T in the
long run, ρ the spectral radius, though it may grow at first where ρ < 1. With tanh, φ' ≤ 1 only makes it smaller.

    clipping:  g ← min(1, θ / ‖g‖) g

turns an explosion into a step of length θ in the same direction. It cannot bring back what has vanished; gates can:
along the cell of an LSTM the factor is the forget gate, which may be 1 (the note ``lstm``).

Where one must take care. "Truncated" backpropagation through time detaches the state every k steps: what is older gets
no gradient at all. Training on windows is that; how far back a network can learn ends there whatever its gates do.

The paper. Werbos 1990; Bengio, Simard & Frasconi 1994; Pascanu, Mikolov & Bengio 2013, which proves the bounds and
proposes clipping; "Dive into Deep Learning" 8.7.

What the demo shows. A plain network and an LSTM of 128 units learn the characters of Python's manual for three epochs.
Then the gradient of one prediction is taken at the inputs that stand 0 to 60 characters before it. Ten characters back
both keep about a hundredth of the norm at the last one; thirty back the LSTM keeps a hundred times as much as the
plain network, whose gradient goes on falling by the same factor with each step, as the formula says.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import nn, optim
from tinygrad_notes.notes.language import (
    RECIPE,
    RecurrentLanguageModel,
    character_data,
    next_token_loss,
    train_language_model,
)
from tinygrad_notes.notes.note import Bar, Identity, Note, Outcome, Run
from tinygrad_notes.tensor import Tensor
from tinygrad_notes.training.pictures import save_curves

CELLS = {"RNN": nn.RNN, "LSTM": nn.LSTM}
LAGS = (10, 30)


def gradient_by_lag(model: RecurrentLanguageModel, tokens: np.ndarray) -> np.ndarray:
    """‖∂ loss of the last token / ∂ vector of the token ``lag`` before it‖, (T,), the mean over rows (N, T + 1)."""
    x = model.embed(tn.tensor(tokens[:, :-1])).detach()
    x.requires_grad = True
    outputs, _ = model.recurrent(x)
    next_token_loss(model.output(outputs[:, -1:]), tn.tensor(tokens[:, -1:])).backward()
    return np.linalg.norm(x.grad.numpy(), axis=-1).mean(axis=0)[::-1]  # type: ignore[union-attr]


def demo(run: Run) -> Outcome:
    """Train both networks for a while, then measure how much of the gradient comes how far."""
    data = character_data(run.seed)
    rows = np.lib.stride_tricks.sliding_window_view(data.test, 62)[::70]
    recipe, history = replace(RECIPE, epochs=3, learning_rate=5e-3), []
    metrics: dict[str, float] = {}
    curves: dict[str, np.ndarray] = {}
    for name, cell in CELLS.items():
        tn.manual_seed(run.seed)
        model = RecurrentLanguageModel(len(data.vocabulary), 128, cell, 64)
        curves[f"{name}, at the start"] = gradient_by_lag(model, rows)
        trainer = train_language_model(run, model, data, recipe, name.lower())
        history += trainer.history
        norms = curves[f"{name}, trained"] = gradient_by_lag(model, rows)
        metrics |= {f"{name}_kept_over_{lag}": float(norms[lag] / norms[0]) for lag in LAGS}
    picture = save_curves(
        run.folder / "gradient_by_lag.png",
        "norm of the gradient of one prediction at the inputs before it",
        {name: (range(len(norms)), norms / norms[0]) for name, norms in curves.items()},
        "characters back",
        "part of the norm at the last character",
        "y",
    )
    return Outcome(metrics, [picture], history)


SIZE, STEPS = 6, 12
DRAWN = np.random.default_rng(0)
W, START = DRAWN.standard_normal((SIZE, SIZE)) / 2, DRAWN.standard_normal(SIZE)
INPUTS = DRAWN.standard_normal((STEPS, SIZE))


def unrolled(start: Tensor, weight: Tensor, inputs: np.ndarray, linear: bool = False) -> Tensor:
    """h[T] of h[t] = tanh(x[t] + W h[t-1]), or without tanh, from h[0] = ``start`` (H,)."""
    h = start
    for x in inputs:
        a = weight @ h + x
        h = a if linear else tn.tanh(a)
    return h


def jacobian_of(weight: np.ndarray, inputs: np.ndarray, linear: bool = False) -> np.ndarray:
    """∂h[T] / ∂h[0] by autograd."""
    return tn.jacobian(lambda h: unrolled(h, tn.tensor(weight), inputs, linear), tn.tensor(START)).numpy()


def _product() -> float:
    """The largest relative error of an entry."""
    product, h = np.eye(SIZE), START
    for x in INPUTS:
        h = np.tanh(W @ h + x)
        product = np.diag(1 - h**2) @ W @ product
    return float(np.abs(jacobian_of(W, INPUTS) / product - 1).max())


def _orthogonal(c: float) -> float:
    """For c times an orthogonal matrix: the relative error of ‖∂h[T]/∂h[0]‖ = c^T over 50 steps."""
    q = np.linalg.qr(W)[0]
    norm = np.linalg.norm(jacobian_of(c * q, np.zeros((50, SIZE)), linear=True), 2)
    return abs(float(norm) / c**50 - 1)


def _bound(linear: bool) -> float:
    """By how much ‖∂h[T]/∂h[0]‖ passes σ_max^T."""
    largest = np.linalg.norm(W, 2) ** STEPS
    return max(float(np.linalg.norm(jacobian_of(W, INPUTS, linear), 2) - largest), 0.0)


def _rate() -> float:
    """‖W^T‖^(1/T) beside the spectral radius, at T = 1000, without the over- or underflow of the product."""
    radius = float(np.abs(np.linalg.eigvals(W)).max())
    return abs(float(np.linalg.norm(np.linalg.matrix_power(W / radius, 1000), 2)) ** (1 / 1000) - 1)


def _through_time() -> float:
    """∂(Σ h[T])/∂W by autograd beside Σ_t δ[t] h[t-1]ᵀ, the sum over the times at which W is used."""
    weight = tn.tensor(W, requires_grad=True)
    unrolled(tn.tensor(START), weight, INPUTS).sum().backward()
    states = [START]
    for x in INPUTS:
        states.append(np.tanh(W @ states[-1] + x))
    total, back = np.zeros_like(W), np.ones(SIZE)
    for before, after in zip(states[-2::-1], states[:0:-1]):
        delta = back * (1 - after**2)
        total += np.outer(delta, before)
        back = W.T @ delta
    return float(np.abs(weight.grad.numpy() - total).max())  # type: ignore[union-attr]


def _truncated() -> float:
    """With the state detached half way, what a start has to do with it, which is nothing."""
    start, weight = tn.tensor(START, requires_grad=True), tn.tensor(W, requires_grad=True)
    half = unrolled(start, weight, INPUTS[:6]).detach()
    unrolled(half, weight, INPUTS[6:]).sum().backward()
    return 0.0 if start.grad is None else float(np.abs(start.grad.numpy()).max())


def _clipped() -> float:
    """A gradient of norm 50 clipped to 2, beside 2 g / ‖g‖, and one of norm 1 beside itself; relative."""
    errors = []
    for norm in (50.0, 1.0):
        g = W / np.linalg.norm(W) * norm
        parameter = nn.Parameter(tn.tensor(W))
        (parameter * tn.tensor(g)).sum().backward()
        optim.clip_grad_norm_([parameter], 2.0)
        errors.append(float(np.abs(parameter.grad.numpy() - g * min(1.0, 2.0 / norm)).max()))  # type: ignore[union-attr]
    return max(errors)


NOTE = Note(
    slug="bptt-vanishing",
    family="sequence",
    title="Backpropagation through time, vanishing and exploding gradients",
    sources="notes 000, 004; Zhang et al., Dive into Deep Learning, 8.7",
    paper="Pascanu, Mikolov & Bengio 2013, On the difficulty of training recurrent neural networks, arXiv:1211.5063",
    text=__doc__,
    demo=demo,
    bars=[Bar("LSTM_kept_over_30", at_least="RNN_kept_over_30")],
    identities=[
        Identity("∂h[T]/∂h[0] is the product of diag(φ') W_hh", _product, 1e-10),
        Identity("linear, W = 0.9 Q with Q orthogonal: the norm is 0.9^T", lambda: _orthogonal(0.9), 1e-12),
        Identity("linear, W = 1.1 Q: the norm is 1.1^T", lambda: _orthogonal(1.1), 1e-12),
        Identity("linear: the norm is at most σ_max^T", lambda: _bound(linear=True)),
        Identity("tanh: the norm is at most σ_max^T", lambda: _bound(linear=False)),
        Identity("in the long run the norm grows as the spectral radius", _rate, 1e-2),
        Identity("∂/∂W is the sum over all times at which W is used", _through_time, 1e-13),
        Identity("nothing goes back beyond a state that was detached", _truncated),
        Identity("clipping keeps the direction and cuts the norm", _clipped, 1e-5),
    ],
    checks=lambda: [(lambda h, w: unrolled(h, w, INPUTS), (START, W))],
)
