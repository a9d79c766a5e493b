import numpy as np
import pytest

from tinygrad_notes import kernels

MASK = 2**64 - 1


def kept(i, p, seed):
    """The rule of the contract, in Python's integers."""
    z = (seed + (i + 1) * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return ((z ^ (z >> 31)) >> 40) / 2**24 >= p


def test_generator_is_splitmix64():
    # The first outputs of SplitMix64 seeded with 1234567, widely published.
    outputs = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    for i, output in enumerate(outputs):
        fraction = (output >> 40) / 2**24
        x = np.zeros(i + 1)
        assert kernels.dropout_mask(x, fraction, 1234567)[i]
        assert not kernels.dropout_mask(x, fraction + 2**-24, 1234567)[i]


@pytest.mark.parametrize("shape", [(), (1,), (0,), (7,), (3, 5, 2), (2, 0)])
@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1, 2**63, -5])
@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_mask(shape, seed, p):
    x = np.ones(shape, np.float32)
    mask = kernels.dropout_mask(x, p, seed)
    assert (mask.shape, mask.dtype) == (shape, bool)
    assert mask.reshape(-1).tolist() == [kept(i, p, seed) for i in range(x.size)]


def test_share_of_kept_and_independence_of_layout():
    x = np.random.default_rng(0).standard_normal((300, 500)).astype(np.float32)
    mask = kernels.dropout_mask(x, 0.3, 42)
    assert abs(mask.mean() - 0.7) < 0.005
    assert abs((mask[:, 1:] & mask[:, :-1]).mean() - 0.49) < 0.005
    np.testing.assert_array_equal(kernels.dropout_mask(x[::-1, ::-1], 0.3, 42), mask)
    np.testing.assert_array_equal(kernels.dropout_mask(np.asfortranarray(x), 0.3, 42), mask)


@pytest.mark.parametrize("p", [0.0, 0.25, 1.0])
def test_dropout(p):
    x = np.array([[1.5, np.inf, -2.0], [np.nan, 0.0, 7.0]], np.float32)
    for seed in range(8):
        y = kernels.dropout(x, p, seed)
        mask = kernels.dropout_mask(x, p, seed)
        assert y.dtype == np.float32
        assert not np.shares_memory(y, x)
        np.testing.assert_array_equal(y[~mask], 0)
        if p < 1:
            np.testing.assert_array_equal(y[mask], x[mask] / np.float32(1 - p))
