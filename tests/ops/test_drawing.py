"""Tensors of random numbers: their distributions, seeds, dtypes, bounds, and what wrong arguments say."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn

stats = pytest.importorskip("scipy.stats")
COUNT = 20_000


def seeded(seed=0):
    return np.random.default_rng(seed)


# What is drawn, and the distribution function it must have.
CONTINUOUS = [
    (lambda g: tn.rand(COUNT, generator=g), stats.uniform()),
    (lambda g: tn.rand(COUNT, tn.float64, generator=g), stats.uniform()),
    (lambda g: tn.randn(COUNT, generator=g), stats.norm()),
    (lambda g: tn.randn((COUNT // 2, 2), tn.float64, generator=g), stats.norm()),
    (lambda g: tn.uniform(-3.0, 5.0, COUNT, generator=g), stats.uniform(-3, 8)),
    (lambda g: tn.normal(2.0, 0.5, COUNT, generator=g), stats.norm(2, 0.5)),
    (lambda g: tn.rand_like(np.zeros((100, COUNT // 100)), generator=g), stats.uniform()),
    (lambda g: tn.randn_like(np.zeros((100, COUNT // 100)), generator=g), stats.norm()),
]  # fmt: skip


@pytest.mark.parametrize(("draw", "expected"), CONTINUOUS, ids=[str(i) for i in range(len(CONTINUOUS))])
def test_distribution(draw, expected):
    values = draw(seeded(1)).data.ravel()
    assert stats.kstest(values, expected.cdf).pvalue > 1e-3
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 5 / np.sqrt(COUNT)


def test_a_wrong_distribution_is_noticed():
    assert stats.kstest(tn.normal(0.0, 1.05, COUNT, generator=seeded(1)).data, stats.norm().cdf).pvalue < 1e-3


def test_integers_are_equally_likely():
    values = tn.randint(-3, 4, COUNT, generator=seeded()).data
    assert values.dtype == np.int64
    assert (values.min(), values.max()) == (-3, 3)
    assert stats.chisquare(np.bincount(values + 3)).pvalue > 1e-3
    assert set(tn.randint(2, shape=(50,), generator=seeded()).tolist()) == {0, 1}
    assert tn.randint(0, 256, 50, np.uint8).dtype == np.uint8
    assert tn.randint_like(np.zeros((2, 3), np.float32), 5).dtype == np.float32
    assert set(tn.randint_like(np.zeros(50, bool), 2, generator=seeded()).tolist()) == {False, True}


def test_parameters_broadcast():
    means, spreads = np.array([[0.0], [100.0]]), np.array([1e-3, 1e-2, 0.0])
    drawn = tn.normal(means, spreads)
    assert drawn.shape == (2, 3)
    assert drawn.dtype == np.float64
    assert (drawn.data[:, 2] == means[:, 0]).all()
    many = tn.normal(means[..., None], 1.0, (2, 1, COUNT), tn.float32)
    assert many.dtype == np.float32
    assert (np.abs(many.data.mean((1, 2)) - means[:, 0]) < 5 / np.sqrt(COUNT)).all()
    low = np.array([0.0, 10.0])
    drawn = tn.uniform(low, low + 1, (COUNT, 2)).data
    assert ((drawn >= low) & (drawn < low + 1)).all()


def test_uniform_never_reaches_its_end():
    """Rounding to float32 would: of numbers near 2**24 only whole ones exist."""
    values = tn.uniform(2.0**24, 2.0**24 + 4, COUNT, generator=seeded()).data
    assert values.dtype == np.float32
    assert values.max() < 2.0**24 + 4
    assert tn.uniform(1.0, 1.0, 3).tolist() == [1.0] * 3


def test_bernoulli():
    p = np.array([0.0, 0.3, 1.0])
    drawn = tn.bernoulli(np.broadcast_to(p, (COUNT, 3)), generator=seeded())
    assert drawn.dtype == np.float64
    assert set(np.unique(drawn.data)) == {0.0, 1.0}
    share = drawn.data.mean(0)
    assert share[0] == 0
    assert share[2] == 1
    assert abs(share[1] - 0.3) < 5 * np.sqrt(0.21 / COUNT)
    assert tn.bernoulli(0.5, (3, 0)).shape == (3, 0)
    assert tn.bernoulli(0.5, 4).dtype == np.float32
    assert tn.bernoulli(0.5, 4, bool).dtype == np.bool_
    assert tn.bernoulli(1).item() == 1


@pytest.mark.parametrize("replacement", [False, True])
def test_multinomial_by_its_weights(replacement):
    weights = np.array([1.0, 0.0, 2.0, 5.0])
    drawn = tn.multinomial(np.broadcast_to(weights, (COUNT, 4)), 2, replacement, seeded()).data
    first = np.bincount(drawn[:, 0], minlength=4)
    assert first[1] == 0
    assert stats.chisquare(first[[0, 2, 3]], COUNT * weights[[0, 2, 3]] / 8).pvalue > 1e-3
    second = np.bincount(drawn[drawn[:, 0] == 3][:, 1], minlength=4)
    if replacement:
        assert stats.chisquare(second[[0, 2, 3]], second.sum() * weights[[0, 2, 3]] / 8).pvalue > 1e-3
    else:
        assert second[3] == 0
        assert stats.chisquare(second[[0, 2]], second.sum() * weights[[0, 2]] / 3).pvalue > 1e-3


def test_multinomial_of_the_largest_and_least_weights():
    """Their sum is beyond the floats, or a quotient by them: still what weighs 0 is never drawn."""
    drawn = tn.multinomial(np.broadcast_to([1.7e308, 0.0, 1.7e308], (COUNT, 3)), 1, True, seeded()).data
    counts = np.bincount(drawn[:, 0], minlength=3)
    assert counts[1] == 0
    assert stats.binomtest(int(counts[0]), COUNT).pvalue > 1e-3
    for weights in ([1.0, 0.0, 5e-324], [5e-324, 0.0, 5e-324]):
        assert sorted(tn.multinomial(np.array(weights), 2, generator=seeded()).tolist()) == [0, 2]


def test_multinomial_of_all():
    assert sorted(tn.multinomial([1.0, 2.0, 3.0], 3).tolist()) == [0, 1, 2]
    assert tn.multinomial(np.ones((0, 3)), 2).shape == (0, 2)
    assert tn.multinomial(np.ones(3), 0).shape == (0,)
    assert tn.multinomial([1, 0, 0], 5, True).tolist() == [0] * 5


def test_permutations_are_equally_likely():
    random = seeded()
    orders = [tuple(tn.permutation(3, generator=random).tolist()) for _ in range(3000)]
    found = {order: orders.count(order) for order in set(orders)}
    assert len(found) == 6
    assert stats.chisquare(list(found.values())).pvalue > 1e-3


def test_rows_in_a_random_order():
    x = tn.Tensor(np.arange(12.0).reshape(4, 3), requires_grad=True)
    y = tn.permutation(x, generator=seeded(3))
    assert y.data[:, 0].tolist() != x.data[:, 0].tolist()
    assert sorted(y.data[:, 0]) == x.data[:, 0].tolist()
    (y * np.arange(4.0)[:, None]).sum().backward()
    np.testing.assert_array_equal(x.grad.data[:, 0][(y.data[:, 0] / 3).astype(int)], np.arange(4.0))
    assert tn.permutation(0).shape == (0,)


DRAWS = [
    lambda g: tn.rand(5, generator=g),
    lambda g: tn.randn(5, generator=g),
    lambda g: tn.randint(100, shape=5, generator=g),
    lambda g: tn.uniform(0, 9, 5, generator=g),
    lambda g: tn.normal(0, 9, 5, generator=g),
    lambda g: tn.bernoulli(0.5, 60, generator=g),
    lambda g: tn.multinomial(np.ones(50), 9, generator=g),
    lambda g: tn.multinomial(np.ones(50), 9, True, generator=g),
    lambda g: tn.permutation(20, generator=g),
    lambda g: tn.rand_like(np.ones(5), generator=g),
    lambda g: tn.randn_like(np.ones(5), generator=g),
    lambda g: tn.randint_like(np.ones(5), 100, generator=g),
]  # fmt: skip


@pytest.mark.parametrize("draw", DRAWS, ids=[str(i) for i in range(len(DRAWS))])
def test_a_seed_repeats_and_a_generator_is_advanced(draw):
    tn.manual_seed(11)
    first, second = draw(None).tolist(), draw(None).tolist()
    assert first != second
    tn.manual_seed(11)
    assert draw(None).tolist() == first
    state = tn.get_rng_state()
    assert draw(seeded(11)).tolist() == first  # the package's generator is one of NumPy's
    assert tn.get_rng_state() == state
    assert not draw(None).requires_grad


@pytest.mark.parametrize("draw", [tn.rand, tn.randn])
def test_shapes_and_dtypes(draw):
    assert draw().shape == ()
    assert draw(3).dtype == np.float32
    assert draw((2, 0), tn.float64).shape == (2, 0)
    assert draw((2,), requires_grad=True).requires_grad
    assert draw((2,), requires_grad=True).is_leaf
    assert draw(2, device="cpu").device == "cpu"


def test_like():
    x = np.zeros((2, 3), np.float32)
    for like in (tn.rand_like, tn.randn_like):
        assert like(x).dtype == np.float32
        assert like(x, tn.float64, True).dtype == np.float64
        assert like(x, requires_grad=True).requires_grad
        assert like(tn.Tensor(x)).shape == (2, 3)
    with pytest.raises(tn.DTypeError, match="rand_like: dtype is int64, expected a floating dtype"):
        tn.rand_like(np.zeros(3, np.int64))


WRONG = [
    (lambda: tn.rand(-1), tn.ShapeError, r"rand: shape \(-1,\) has a negative size"),
    (lambda: tn.rand(2, np.int64), tn.DTypeError, "rand: dtype is int64, expected a floating dtype"),
    (lambda: tn.randn(2.5), tn.DTypeError, "randn: shape is 2.5, expected an integer"),
    (lambda: tn.randn(2, generator=7), tn.DTypeError, "randn: generator is 7, expected a numpy.random.Generator"),
    (lambda: tn.randint(3, 3), tn.ShapeError, "randint: low is 3, high 3, expected low < high"),
    (lambda: tn.randint(0, 257, 2, np.uint8), tn.DTypeError, "randint: low is 0, high 257, but uint8 has 0 to 255"),
    (lambda: tn.randint(0.5), tn.DTypeError, "randint: high is 0.5, expected an integer"),
    (lambda: tn.uniform(1.0, 0.0), tn.ShapeError, "uniform: low is 1.0, high 0.0, expected finite numbers"),
    (lambda: tn.uniform(0.0, np.inf), tn.ShapeError, "uniform: low is 0.0, high inf, expected finite numbers"),
    (lambda: tn.uniform(np.zeros(3), 1.0, 2), tn.ShapeError, "uniform: "),
    (lambda: tn.normal(np.zeros((2, 3)), 1.0, 3), tn.ShapeError, r"normal: shape is \(3,\), which mean"),
    (lambda: tn.normal(0.0, -1.0), tn.ShapeError, "normal: std is -1.0, expected at least 0"),
    (lambda: tn.bernoulli(1.5), tn.ShapeError, "bernoulli: p is 1.5, expected numbers from 0 to 1"),
    (lambda: tn.bernoulli(np.array([0.5, np.nan])), tn.ShapeError, r"bernoulli: p is \[2\] float64, expected numbers"),
    (lambda: tn.multinomial([1.0, 0.0], 2), tn.ShapeError, "num_samples is 2, but a row of p has 1 weights above 0"),
    (lambda: tn.multinomial([0.0, 0.0], 1, True), tn.ShapeError, "but a row of p has 0 weights above 0"),
    (lambda: tn.multinomial([-1.0, 2.0], 1), tn.ShapeError, "multinomial: p has weights that are not finite numbers"),
    (lambda: tn.multinomial(np.ones((1, 1, 1)), 1), tn.ShapeError, r"multinomial: p has shape \(1, 1, 1\), expected"),
    (lambda: tn.multinomial(np.ones(3), 1.5), tn.DTypeError, "multinomial: num_samples is 1.5, expected an integer"),
    (lambda: tn.permutation(-1), tn.ShapeError, "permutation: x is -1, expected at least 0"),
    (lambda: tn.permutation(np.array(1.0)), tn.ShapeError, "permutation: x has no axes"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert type(caught.value) is error
