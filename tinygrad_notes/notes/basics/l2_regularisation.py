"""L2 regularisation: ridge regression and weight decay

What the note says. The penalty λ‖w‖² on the weights is the negative logarithm of a Gaussian prior of mean 0:
minimising the penalised loss finds the most probable weights given the data (最大后验, maximum a posteriori). It works
by shrinking the weights of features, so that the model is simpler.

The formula. With centred features X (n, d) and targets y, ridge regression (Hoerl & Kennard 1970) minimises

    ½ ‖y - X w‖² + ½ λ ‖w‖²,   whose gradient is  Xᵀ(X w - y) + λ w

so w = (XᵀX + λI)⁻¹ Xᵀy. In gradient descent the second term takes lr·λ of every weight in each step, hence weight decay
(权重衰减). The intercept is not penalised: it is the mean of y.

Where the note is silent. Its formulas and that of the prior were pictures, which are lost; they are restored here, with
½ before both squares, so that λ is the inverse of the prior's variance. Decay by the gradient and decay beside the step
are one for SGD: θ - lr (g + λθ) = (1 - lr λ) θ - lr g. For Adam they are not: what is added to the gradient is divided
by √v̂ like all of it, and so hardly decays weights of large gradients. AdamW (Loshchilov & Hutter 2019) takes λθ beside
the step.

What is done here. Diabetes: gradient descent ends at the closed form. Features are scaled as scikit-learn ships them
(each column of length 1), so that λ means what it means there; the coefficient of determination R² on the test part is
reported beside that of least squares.
"""

from __future__ import annotations

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes import optim
from tinygrad_notes.notes.basics._regression import determination, diabetes_problem, small_problem
from tinygrad_notes.notes.note import Bar, Identity, Note, Outcome, Run
from tinygrad_notes.training.pictures import save_curves

STEPS = 3_000
STRENGTHS = (0.01, 0.1, 1.0, 10.0)


def ridge_loss(w: tn.Tensor, x: tn.Tensor, y: tn.Tensor, strength: float) -> tn.Tensor:
    """½ ‖y - X w‖² + ½ λ ‖w‖², for x (n, d), y (n,), w (d,)."""
    return 0.5 * ((y - x @ w) ** 2).sum() + 0.5 * strength * (w * w).sum()


def closed_form(x: np.ndarray, y: np.ndarray, strength: float) -> np.ndarray:
    """(XᵀX + λI)⁻¹ Xᵀy, (d,)."""
    return np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ y)


def by_gradient(x: np.ndarray, y: np.ndarray, strength: float, steps: int = STEPS) -> np.ndarray:
    """The same by gradient descent, with the momentum and the rate that are best for a quadratic (Polyak 1964)."""
    largest, least = np.linalg.eigvalsh(x.T @ x)[[-1, 0]] + strength
    fast, slow = np.sqrt(largest), np.sqrt(least)
    rate, momentum = (2 / (fast + slow)) ** 2, ((fast - slow) / (fast + slow)) ** 2
    w = tn.zeros(x.shape[1], dtype=tn.float64).requires_grad_()
    descent = optim.SGD([w], lr=float(rate), momentum=float(momentum))
    features, target = tn.asarray(x), tn.asarray(y)
    for _ in range(steps):
        descent.zero_grad()
        ridge_loss(w, features, target, strength).backward()
        descent.step()
    return w.data


def demo(run: Run) -> Outcome:
    """Ridge regression of several strengths, by gradient and in closed form."""
    data = diabetes_problem()
    least_squares = closed_form(data.x, data.y, 0.0)
    metrics = {"least_squares_determination": determination(data, least_squares)}
    weights = {}
    worst = 0.0
    for strength in STRENGTHS:
        exact = closed_form(data.x, data.y, strength)
        weights[strength] = by_gradient(data.x, data.y, strength, STEPS if run.epochs is None else run.epochs)
        worst = max(worst, float(np.abs(weights[strength] - exact).max() / np.abs(exact).max()))
        metrics[f"determination_at_{strength:g}"] = determination(data, weights[strength])
    metrics["missed_by"] = worst
    path = np.logspace(-4, 3, 60)
    shrinking = np.array([closed_form(data.x, data.y, strength) for strength in path])
    curves = {name: (path.tolist(), shrinking[:, i].tolist()) for i, name in enumerate(data.features)}
    picture = save_curves(
        run.folder / "shrinking.png", "Ridge regression on diabetes: all weights shrink, none is 0", curves, "λ",
        "weight", logarithmic="x",
    )  # fmt: skip
    return Outcome(metrics, [picture])


def _prior() -> float:
    """Differences of the penalised loss are those of the negative log of likelihood and prior, of variances 1, 1/λ."""
    rng = np.random.default_rng(0)
    x, y, strength = rng.standard_normal((7, 3)), rng.standard_normal(7), 0.3

    def posterior(w: np.ndarray) -> float:
        likelihood = -0.5 * ((y - x @ w) ** 2) - 0.5 * np.log(2 * np.pi)
        prior = -0.5 * strength * w**2 + 0.5 * np.log(strength / (2 * np.pi))
        return -likelihood.sum() - prior.sum()

    a, b = rng.standard_normal((2, 3))
    losses = [ridge_loss(tn.asarray(w), tn.asarray(x), tn.asarray(y), strength).item() for w in (a, b)]
    return abs((losses[0] - losses[1]) - (posterior(a) - posterior(b)))


def _closed_form() -> float:
    """The largest derivative of the penalised loss at the closed form, by the engine."""
    _, x, y = small_problem()
    w = tn.asarray(closed_form(x, y, 0.3)).requires_grad_()
    return float(np.abs(tn.grad(ridge_loss(w, tn.asarray(x), tn.asarray(y), 0.3), w).numpy()).max())


def _steps(optimizer: type[optim.Optimizer], in_gradient: bool) -> np.ndarray:
    """Three steps on one sum of squares, with the decay in the gradient or as the optimiser's own."""
    w = tn.asarray(np.array([1.0, -2.0, 3.0])).requires_grad_()
    scale = tn.asarray(np.array([0.1, 1.0, 10.0]))
    step = optimizer([w], lr=0.01, weight_decay=0.0 if in_gradient else 0.5)  # type: ignore[call-arg]
    for _ in range(3):
        step.zero_grad()
        ((scale * w * w).sum() + (0.25 * (w * w).sum() if in_gradient else 0.0)).backward()
        step.step()
    return w.data


def _apart(optimizer: type[optim.Optimizer]) -> float:
    return float(np.abs(_steps(optimizer, True) - _steps(optimizer, False)).max())


NOTE = Note(
    slug="l2-regularisation",
    family="basics",
    title="L2 regularisation: ridge regression and weight decay",
    sources="note 002; Zhang et al., Dive into Deep Learning, 4.5",
    paper="Hoerl & Kennard 1970, Ridge regression; Loshchilov & Hutter 2019, Decoupled weight decay regularization",
    text=__doc__,
    demo=demo,
    bars=[Bar("missed_by", at_most=1e-6), Bar("determination_at_0.1", at_least="least_squares_determination")],
    identities=[
        Identity("the penalty is the negative log of a Gaussian prior, up to a constant", _prior, 1e-12),
        Identity("the loss has no slope at (XᵀX + λI)⁻¹ Xᵀy", _closed_form, 1e-12),
        Identity("SGD: decay in the gradient is decay beside the step", lambda: _apart(optim.SGD), 1e-15),
        Identity("AdamW is not Adam with decay in the gradient", lambda: float(_apart(optim.AdamW) < 1e-3)),
        Identity("Adam's weight_decay is decay in the gradient", lambda: _apart(optim.Adam), 1e-12),
    ],
    checks=lambda: [(lambda w, x, y: ridge_loss(w, x, y, 0.3), small_problem())],
)
