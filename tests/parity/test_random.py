"""Random tensors and dropout against PyTorch: the same distributions (two samples, Kolmogorov and Smirnov)."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn

torch = pytest.importorskip("torch")
stats = pytest.importorskip("scipy.stats")
F = torch.nn.functional
COUNT = 20_000


@pytest.fixture(autouse=True)
def seeds():
    tn.manual_seed(3)
    torch.manual_seed(3)


def check_same(ours, theirs):
    """Shape and dtype agree, and the numbers could be drawn from one distribution; ties are counted as such."""
    assert ours.shape == tuple(theirs.shape)
    assert ours.dtype == theirs.numpy().dtype
    a, b = ours.data.ravel().astype(np.float64), theirs.numpy().ravel().astype(np.float64)
    values = np.unique(np.concatenate([a, b]))
    if len(values) < 50:
        table = np.stack([[(x == v).sum() for v in values] for x in (a, b)])
        p = stats.chi2_contingency(table).pvalue if len(values) > 1 else 1.0
    else:
        p = stats.ks_2samp(a, b).pvalue
    assert p > 1e-4, f"p = {p:.1e}: two distributions"


WEIGHTS = np.array([1.0, 0.0, 2.0, 5.0], np.float32)
PAIRS = {
    "rand": (lambda: tn.rand((COUNT,)), lambda: torch.rand(COUNT)),
    "rand float64": (lambda: tn.rand((COUNT,), tn.float64), lambda: torch.rand(COUNT, dtype=torch.float64)),
    "randn": (lambda: tn.randn((COUNT // 2, 2)), lambda: torch.randn(COUNT // 2, 2)),
    "randint": (lambda: tn.randint(-2, 5, (COUNT,)), lambda: torch.randint(-2, 5, (COUNT,))),
    "uniform": (lambda: tn.uniform(-2.0, 5.0, COUNT), lambda: torch.empty(COUNT).uniform_(-2, 5)),
    "normal": (lambda: tn.normal(1.0, 3.0, (COUNT,)), lambda: torch.normal(1.0, 3.0, (COUNT,))),
    "normal of arrays": (
        lambda: tn.normal(np.zeros(COUNT, np.float32), np.full(COUNT, 2, np.float32)),
        lambda: torch.normal(torch.zeros(COUNT), torch.full((COUNT,), 2.0)),
    ),
    "bernoulli": (
        lambda: tn.bernoulli(np.full(COUNT, 0.3, np.float32)), lambda: torch.bernoulli(torch.full((COUNT,), 0.3)),
    ),
    "multinomial": (
        lambda: tn.multinomial(np.tile(WEIGHTS, (COUNT, 1)), 3),
        lambda: torch.multinomial(torch.tensor(WEIGHTS).tile(COUNT, 1), 3),
    ),
    "multinomial, second": (
        lambda: tn.multinomial(np.tile(WEIGHTS, (COUNT, 1)), 2)[:, 1],
        lambda: torch.multinomial(torch.tensor(WEIGHTS).tile(COUNT, 1), 2)[:, 1],
    ),
    "multinomial with replacement": (
        lambda: tn.multinomial(WEIGHTS, COUNT, True), lambda: torch.multinomial(torch.tensor(WEIGHTS), COUNT, True),
    ),
    "permutation": (lambda: tn.permutation(COUNT)[:9000], lambda: torch.randperm(COUNT)[:9000]),
    "rand_like": (lambda: tn.rand_like(np.zeros((COUNT, 1))), lambda: torch.rand_like(torch.zeros(COUNT, 1).double())),
    "randn_like": (lambda: tn.randn_like(tn.zeros(COUNT)), lambda: torch.randn_like(torch.zeros(COUNT))),
    "randint_like": (
        lambda: tn.randint_like(tn.zeros(COUNT), 1, 4), lambda: torch.randint_like(torch.zeros(COUNT), 1, 4),
    ),
    "gumbel_softmax": (
        lambda: tn.gumbel_softmax(np.tile(WEIGHTS, (COUNT, 1)), 0.7)[:, 2],
        lambda: F.gumbel_softmax(torch.tensor(WEIGHTS).tile(COUNT, 1), 0.7)[:, 2],
    ),
    "gumbel_softmax, hard": (
        lambda: tn.gumbel_softmax(np.tile(WEIGHTS, (COUNT, 1)), 2.0, True),
        lambda: F.gumbel_softmax(torch.tensor(WEIGHTS).tile(COUNT, 1), 2.0, True).round(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(PAIRS))
def test_distribution(name):
    ours, theirs = PAIRS[name]
    check_same(ours(), theirs())


@pytest.mark.parametrize("p", [0.2, 0.5, 1.0])
@pytest.mark.parametrize(
    ("name", "shape"),
    [("Dropout", (100, 200)), ("Dropout1d", (100, 80, 3)), ("Dropout2d", (100, 80, 1, 2)),
     ("Dropout3d", (100, 80, 1, 2, 1)), ("AlphaDropout", (100, 200))],
)  # fmt: skip
def test_layers(name, shape, p):
    """The same values with the same shares; in evaluation the operand itself."""
    x = np.ones(shape, np.float32)
    ours, theirs = getattr(nn, name)(p), getattr(torch.nn, name)(p)
    y, z = ours(x), theirs(torch.tensor(x))
    ours_values, theirs_values = np.unique(y.data), np.unique(z.numpy())
    np.testing.assert_allclose(ours_values, theirs_values, rtol=1e-5, atol=1e-6)
    if p < 1:
        axes = len(shape) - 2 if name[-1] == "d" else 0
        first = (..., *(0,) * axes)  # one element of a channel says what the channel is
        check_same(tn.Tensor((y.data[first] > 0.9).astype(np.float32)), (z[first] > 0.9).float())
    np.testing.assert_array_equal(ours.eval()(x).data, theirs.eval()(torch.tensor(x)).numpy())


def test_gradient_of_alpha_dropout(parity):
    """Where the same elements stay, value and gradient are the same."""
    x = np.random.default_rng(0).standard_normal((40, 30)).astype(np.float32)
    theirs = torch.tensor(x, requires_grad=True)
    z = F.alpha_dropout(theirs, 0.4, training=True)
    z.sum().backward()
    kept = theirs.grad.numpy() != 0
    ours = tn.Tensor(x, requires_grad=True)
    y = tn.alpha_dropout(ours, 0.4)
    y.sum().backward()
    mine = ours.grad.data != 0
    together = kept & mine
    parity.compare(y.data[together], z.detach().numpy()[together])
    parity.compare(ours.grad.data[together], theirs.grad.numpy()[together])
    parity.compare(np.unique(y.data[~mine]), np.unique(z.detach().numpy()[~kept]))


def test_three_axes_are_an_image():
    """The deliberate difference of dropout2d: PyTorch warns, and takes (C, H, W) for (N, C, L)."""
    x = np.ones((100, 50, 4), np.float32)
    assert (np.ptp(tn.dropout2d(x, 0.5).data, axis=(1, 2)) == 0).all()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        theirs = F.dropout2d(torch.tensor(x), 0.5).numpy()
    assert caught
    assert (np.ptp(theirs, axis=2) == 0).all()
    assert not (np.ptp(theirs, axis=(1, 2)) == 0).all()
