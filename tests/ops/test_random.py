"""Dropout and Gumbel-softmax: seeds, shares, means, replays, and what they do at rest."""

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


# ---------------------------------------------------------------------- whole channels, SELU

CHANNELS = [(tn.dropout1d, (50, 40, 3)), (tn.dropout2d, (50, 40, 2, 3)), (tn.dropout3d, (50, 40, 2, 1, 3))]


@pytest.mark.parametrize(("drop", "shape"), CHANNELS)
def test_whole_channels_are_dropped(drop, shape):
    x = tn.Tensor(np.random.default_rng(0).uniform(1, 2, shape), requires_grad=True)
    y = drop(x, 0.25)
    flat = y.data.reshape(shape[0] * shape[1], -1)
    kept = (flat != 0).all(1)
    assert (kept | (flat == 0).all(1)).all()
    assert abs(kept.mean() - 0.75) < 5 * np.sqrt(0.25 * 0.75 / kept.size)
    np.testing.assert_allclose(flat[kept], x.data.reshape(flat.shape)[kept] / 0.75)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.data, (y.data != 0) / 0.75)
    assert drop(x, 0.0) is x
    assert drop(x, 0.25, training=False) is x
    assert drop(x.data[0], 0.25, seed=1).shape == shape[1:]
    hidden = np.full(shape, np.nan)
    assert (drop(hidden, 1.0).data == 0).all()


def test_a_channel_of_an_image_is_not_an_image():
    """(C, H, W) is one image: its C channels are dropped, not C times H rows."""
    y = tn.dropout2d(np.ones((200, 2, 3)), 0.5, seed=4).data
    assert set(y.reshape(200, -1).sum(1)) == {0.0, 12.0}


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_alpha_dropout_keeps_mean_and_variance(p):
    x = np.random.default_rng(1).standard_normal(200_000)
    y = tn.alpha_dropout(x, p, seed=2).data
    assert abs(y.mean()) < 5 / np.sqrt(y.size)
    assert abs(y.var() - 1) < 5 * np.sqrt(((y - y.mean()) ** 4).mean() - 1) / np.sqrt(y.size)
    values, counts = np.unique(y, return_counts=True)
    dropped = y == values[counts.argmax()]
    assert abs(dropped.mean() - p) < 5 * np.sqrt(p * (1 - p) / y.size)


def test_alpha_dropout_at_rest():
    x = tn.ones(3, requires_grad=True)
    assert tn.alpha_dropout(x, 0.5, training=False) is x
    assert tn.alpha_dropout(x, 0.0) is x
    assert tn.alpha_dropout([np.inf, np.nan], 1.0).tolist() == [0.0, 0.0]


# ---------------------------------------------------------------------- Gumbel-softmax


@pytest.mark.parametrize("hard", [False, True])
def test_the_largest_is_distributed_as_the_softmax(hard):
    logits = np.log(np.array([0.1, 0.2, 0.7]))
    count = 20_000
    y = tn.gumbel_softmax(np.broadcast_to(logits, (count, 3)), 0.7, hard, generator=np.random.default_rng(3)).data
    share = np.bincount(y.argmax(-1), minlength=3) / count
    expected = np.array([0.1, 0.2, 0.7])
    assert (np.abs(share - expected) < 5 * np.sqrt(expected * (1 - expected) / count)).all()
    np.testing.assert_allclose(y.sum(-1), 1)
    if hard:
        assert set(np.unique(y)) == {0.0, 1.0}


def test_hard_has_the_gradient_of_the_smooth_draw():
    weights = np.random.default_rng(4).standard_normal((5, 3))
    found = []
    for hard in (False, True):
        logits = tn.Tensor(np.random.default_rng(5).standard_normal((5, 3)), requires_grad=True)
        y = tn.gumbel_softmax(logits, 0.5, hard, axis=0, generator=np.random.default_rng(6))
        (y * weights).sum().backward()
        found.append(logits.grad.data)
        assert not hard or (y.data.sum(0) == 1).all()
    np.testing.assert_array_equal(*found)
    assert np.abs(found[0]).max() > 0.01


def test_a_seed_repeats_the_draw():
    def draw():
        tn.manual_seed(8)
        return tn.gumbel_softmax(np.zeros((3, 4))).tolist()

    assert draw() == draw()


def test_checkpoint_repeats_the_draw():
    x = tn.Tensor(np.random.default_rng(7).standard_normal((4, 3)), requires_grad=True)

    def block(a):
        return tn.gumbel_softmax(tn.dropout2d(a[:, :, None], 0.5)[..., 0] * a)

    tn.manual_seed(9)
    (tn.checkpoint(block, x) ** 2).sum().backward()
    replayed, x.grad = x.grad.data.copy(), None
    tn.manual_seed(9)
    (block(x) ** 2).sum().backward()
    np.testing.assert_array_equal(replayed, x.grad.data)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: tn.dropout1d(np.ones((2, 2)), 1.5), tn.ShapeError, "dropout1d: p is 1.5, expected a number from 0"),
        (lambda: tn.dropout2d(np.ones((2, 2))), tn.ShapeError, r"dropout2d: x has shape \(2, 2\), expected \(N, C, H"),
        (lambda: tn.dropout3d(np.ones((2, 2)), 0.1), tn.ShapeError, r"\(N, C, D, H, W\) or \(C, D, H, W\)"),
        (lambda: tn.dropout2d(np.ones((1, 2, 2)), seed=0.5), tn.DTypeError, "dropout2d: seed is 0.5"),
        (lambda: tn.alpha_dropout(np.ones(2), -0.1), tn.ShapeError, "alpha_dropout: p is -0.1"),
        (lambda: tn.gumbel_softmax(np.ones(2), 0.0), tn.ShapeError, "gumbel_softmax: tau is 0"),
        (lambda: tn.gumbel_softmax(np.ones(2), axis=1), tn.ShapeError, "gumbel_softmax: axis 1 is out of bounds"),
        (lambda: tn.gumbel_softmax(np.ones(2), generator=3), tn.DTypeError, "gumbel_softmax: generator is 3"),
    ],
)
def test_wrong_arguments_of_the_others(call, error, message):
    with pytest.raises(error, match=message):
        call()
