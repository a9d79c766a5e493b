"""L1 regularisation: the LASSO

What the note says. The penalty λ‖w‖₁ is the negative logarithm of a Laplace prior of mean 0, so that the LASSO
(Tibshirani 1996) finds the most probable weights given the data. It works by shrinking the weights of features, and
makes many of them exactly 0: it chooses features.

The formula. With centred features X (n, d), scikit-learn's scaling, and λ the strength,

    minimise  1/(2n) ‖y - X w‖² + λ ‖w‖₁

The penalty has no gradient at 0, where the solution likes to be. A proximal step (近端) does what descent cannot: a
gradient step on the smooth part, then the soft threshold, which is the minimiser of ½ (v - w)² + t |v|:

    w ← S(w - lr ∇, lr λ),   S(w, t) = sign(w) max(|w| - t, 0)

For features with XᵀX = n I the LASSO is the soft threshold of least squares, S(w_ls, λ), in one step.

Where the note is silent. Its formulas and those of the priors were pictures, which are lost; they are restored here,
with the negative logarithm of the Laplace density (λ/2) exp(-λ|w|) for each weight. The subgradient of |w| at 0 is any
number from -1 to 1; the engine takes 0. Descent on it never gets to exact zeros, but flutters around them, which the
demo shows beside the proximal steps.

What is done here. Diabetes as scikit-learn ships it: its Lasso(alpha=1.0) keeps 2 of the 10 weights on the training
part and 3 on all rows, and proximal gradient descent on the engine's gradients must find the same ones.
"""

from __future__ import annotations

import numpy as np

import tinygrad_notes as tn
from tinygrad_notes.lazy import load
from tinygrad_notes.notes.basics._regression import Problem, determination, diabetes_problem, small_problem
from tinygrad_notes.notes.note import Bar, Identity, Note, Outcome, Run
from tinygrad_notes.training.pictures import save_curves

STEPS = 5_000
STRENGTH = 1.0


def smooth_loss(w: tn.Tensor, x: tn.Tensor, y: tn.Tensor) -> tn.Tensor:
    """1/(2n) ‖y - X w‖², for x (n, d), y (n,), w (d,)."""
    return 0.5 * ((y - x @ w) ** 2).mean()


def lasso_loss(w: tn.Tensor, x: tn.Tensor, y: tn.Tensor, strength: float) -> tn.Tensor:
    """The smooth part and λ ‖w‖₁."""
    return smooth_loss(w, x, y) + strength * tn.abs(w).sum()


def soft_threshold(w: np.ndarray, threshold: float) -> np.ndarray:
    """S(w, t) = sign(w) max(|w| - t, 0)."""
    return np.sign(w) * np.maximum(np.abs(w) - threshold, 0)


def descend(x: np.ndarray, y: np.ndarray, strength: float, proximal: bool, steps: int = STEPS) -> np.ndarray:
    """The weights (d,) after ``steps`` steps of 1 / (the largest eigenvalue of XᵀX / n), from 0.

    ``proximal``: on the smooth part, each with its soft threshold; else on the whole loss and its subgradient.
    """
    rate = len(x) / float(np.linalg.eigvalsh(x.T @ x)[-1])
    features, target = tn.asarray(x), tn.asarray(y)
    w = np.zeros(x.shape[1])
    for _ in range(steps):
        at = tn.asarray(w).requires_grad_()
        loss = smooth_loss(at, features, target) if proximal else lasso_loss(at, features, target, strength)
        w = w - rate * tn.grad(loss, at).data
        if proximal:
            w = soft_threshold(w, rate * strength)
    return w


def demo(run: Run) -> Outcome:
    """The LASSO on diabetes by proximal steps, beside scikit-learn's, subgradient steps and least squares."""
    data = diabetes_problem()
    steps = STEPS if run.epochs is None else run.epochs
    proximal, subgradient = (descend(data.x, data.y, STRENGTH, way, steps) for way in (True, False))
    lasso = load("sklearn.linear_model").Lasso(alpha=STRENGTH, tol=1e-10, max_iter=100_000).fit(data.x, data.y)
    least_squares = np.linalg.lstsq(data.x, data.y, rcond=None)[0]
    metrics = {
        "weights_not_0": float(np.count_nonzero(proximal)),
        "weights_not_0_by_subgradients": float(np.count_nonzero(subgradient)),
        "weights_not_0_on_all_rows": float(np.count_nonzero(descend(*_all_rows(data), STRENGTH, True, steps))),
        "missed_by": float(np.abs(proximal - lasso.coef_).max()),
        "determination": determination(data, proximal),
        "least_squares_determination": determination(data, least_squares),
    }
    strengths = np.logspace(-2, 0.7, 40)
    found = np.array([load("sklearn.linear_model").Lasso(alpha=a).fit(data.x, data.y).coef_ for a in strengths])
    curves = {name: (strengths.tolist(), found[:, i].tolist()) for i, name in enumerate(data.features)}
    picture = save_curves(
        run.folder / "choosing.png", "LASSO on diabetes: with λ more and more weights are exactly 0", curves, "λ",
        "weight", logarithmic="x",
    )  # fmt: skip
    return Outcome(metrics, [picture])


def _all_rows(data: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Features and targets of training and test part together, centred anew."""
    x, y = np.concatenate([data.x, data.x_test]), np.concatenate([data.y, data.y_test])
    return x - x.mean(axis=0), y - y.mean()


def _prior() -> float:
    """Differences of the penalty are those of the negative log of a Laplace prior of scale 1/λ."""
    a, b = np.random.default_rng(0).standard_normal((2, 4))
    x, y, strength = tn.zeros((1, 4), dtype=tn.float64), tn.zeros(1, dtype=tn.float64), 0.7

    def log_prior(w: np.ndarray) -> float:
        return float((np.log(strength / 2) - strength * np.abs(w)).sum())

    losses = [lasso_loss(tn.asarray(w), x, y, strength).item() for w in (a, b)]
    return abs((losses[0] - losses[1]) + log_prior(a) - log_prior(b))


def _orthonormal() -> float:
    """For XᵀX = n I: the soft threshold of least squares, against proximal steps."""
    rng = np.random.default_rng(0)
    x = np.linalg.qr(rng.standard_normal((20, 5)))[0] * np.sqrt(20)
    y = rng.standard_normal(20) * 3
    return float(np.abs(descend(x, y, 0.3, True, 3) - soft_threshold(x.T @ y / 20, 0.3)).max())


def _minimiser() -> float:
    """The soft threshold against the best of a fine grid for ½ (v - w)² + t |v|."""
    grid = np.linspace(-3, 3, 600_001)
    found = [grid[np.argmin(0.5 * (grid - w) ** 2 + 0.5 * np.abs(grid))] for w in (-2.0, -0.4, 0.1, 1.3)]
    return float(np.abs(soft_threshold(np.array([-2.0, -0.4, 0.1, 1.3]), 0.5) - found).max())


NOTE = Note(
    slug="l1-regularisation",
    family="basics",
    title="L1 regularisation: the LASSO",
    sources="note 002",
    paper="Tibshirani 1996, Regression shrinkage and selection via the lasso",
    text=__doc__,
    demo=demo,
    bars=[
        Bar("missed_by", at_most=1e-4),
        Bar("weights_not_0", at_most=2),
        Bar("weights_not_0", at_least=2),
        Bar("weights_not_0_on_all_rows", at_most=3),
        Bar("weights_not_0_on_all_rows", at_least=3),
    ],
    identities=[
        Identity("the penalty is the negative log of a Laplace prior, up to a constant", _prior, 1e-12),
        Identity("for orthonormal features the LASSO is the soft threshold of least squares", _orthonormal, 1e-12),
        Identity("the soft threshold minimises ½ (v - w)² + t |v|", _minimiser, 1e-5),
    ],
    checks=lambda: [(lambda w, x, y: lasso_loss(w, x, y, 0.3), small_problem())],
)
