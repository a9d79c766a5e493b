"""Dropout: seeds, shares, its mean, replays, and what it does at rest."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn


def test_manual_seed_repeats_a_run():
    def run():
        tn.manual_seed(7)
        return [tn.dropout(tn.ones(50), 0.5).tolist() for _ in range(3)]

    first = run()
    assert run() == first
    assert first[0] != first[1] != first[2]


def test_generator_state_repeats_the_next_draw():
    state = tn.get_rng_state()
    first = tn.dropout(tn.ones(50), 0.5).tolist()
    tn.set_rng_state(state)
    assert tn.dropout(tn.ones(50), 0.5).tolist() == first


def test_seed_alone_decides():
    """Neither dtype nor layout nor the generator, which is not drawn from."""
    state = tn.get_rng_state()
    x = np.ones((6, 8))
    kept = tn.dropout(x, 0.3, seed=11).data > 0
    for other in (x.astype(np.float32), np.ones((8, 6)).T, np.ones((12, 16))[::-2, ::2]):
        np.testing.assert_array_equal(tn.dropout(other, 0.3, seed=11).data > 0, kept)
    assert (tn.dropout(x, 0.3, seed=12).data > 0).tolist() != kept.tolist()
    assert tn.get_rng_state() == state


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_share_and_mean(p):
    count = 40_000
    y = tn.dropout(tn.ones(count, dtype=tn.float64), p, seed=3).data
    deviation = np.sqrt(p * (1 - p) / count)
    assert abs((y == 0).mean() - p) < 4 * deviation
    assert abs(y.mean() - 1) < 4 * deviation / (1 - p)
    assert set(np.unique(y)) == {0.0, 1 / (1 - p)}


def test_gradient_drops_the_same_elements():
    x = tn.ones(100, requires_grad=True)
    y = tn.dropout(x, 0.4)
    y.backward(np.ones(100))
    np.testing.assert_array_equal(x.grad.data, y.data)


def test_keeps_no_array():
    """The mask is drawn again from the seed."""
    node = tn.dropout(tn.ones(100, requires_grad=True), 0.4).node
    cells = [cell.cell_contents for derivative in node.derivatives for cell in derivative.__closure__]
    assert node.saved == ((),)
    assert not any(hasattr(content, "shape") for content in cells)


def test_checkpoint_drops_the_same_elements():
    x = tn.ones(64, requires_grad=True)

    def block(a):
        return tn.dropout(a * 2.0, 0.5) * a

    tn.manual_seed(5)
    tn.checkpoint(block, x).sum().backward()
    replayed = x.grad.data.copy()
    x.grad = None
    tn.manual_seed(5)
    block(x).sum().backward()
    np.testing.assert_array_equal(replayed, x.grad.data)


def test_at_rest_it_is_the_operand_and_draws_nothing():
    x, state = tn.ones(3, requires_grad=True), tn.get_rng_state()
    assert tn.dropout(x, 0.5, training=False) is x
    assert tn.dropout(x, 0.0) is x
    assert tn.get_rng_state() == state
    assert tn.dropout(np.arange(3), 0.5, training=False).dtype == tn.dropout(np.arange(3), 0.5).dtype == tn.float32


def test_all_dropped():
    x = tn.tensor([1.0, np.inf, np.nan], requires_grad=True)
    y = tn.dropout(x, 1.0)
    assert y.tolist() == [0.0, 0.0, 0.0]
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("p", [-0.1, 1.5, np.nan, np.inf])
@pytest.mark.parametrize("training", [True, False])
def test_p_is_a_probability(p, training):
    with pytest.raises(tn.ShapeError, match=r"dropout: p is .*, expected a number from 0 to 1"):
        tn.dropout(tn.ones(3), p, training)


@pytest.mark.parametrize("options", [{"p": "half"}, {"p": None}, {"p": True}, {"seed": 1.5}])
def test_arguments_of_wrong_types(options):
    with pytest.raises(tn.DTypeError, match=f"dropout: {next(iter(options))} is"):
        tn.dropout(tn.ones(3), **options)
