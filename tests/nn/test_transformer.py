"""The Transformer: what its blocks compute, masks, norms, counts."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn

rng = np.random.default_rng(0)
SMALL = {"dim_feedforward": 12, "dropout": 0.0, "batch_first": True, "dtype": tn.float64}


def sequences(*shape):
    return tn.tensor(rng.standard_normal(shape))


def test_published_counts():
    with tn.shape_only():
        model = nn.Transformer()
    assert sum(p.size for p in model.parameters()) == 44_140_544
    # without the last norms, of 2 · 512 parameters each
    assert sum(p.size for p in model.encoder.layers.parameters()) == 18_914_304
    assert sum(p.size for p in model.decoder.layers.parameters()) == 25_224_192


@pytest.mark.parametrize("norm_first", [False, True])
def test_layers_are_the_formula(norm_first):
    layer = nn.TransformerDecoderLayer(6, 2, norm_first=norm_first, activation="gelu", **SMALL)
    x, memory = sequences(2, 3, 6), sequences(2, 4, 6)
    blocks = [
        lambda x: layer.self_attn(x, x, x)[0],
        lambda x: layer.multihead_attn(x, memory, memory)[0],
        lambda x: layer.linear2(tn.gelu(layer.linear1(x))),
    ]
    expected = x
    for block, norm in zip(blocks, (layer.norm1, layer.norm2, layer.norm3)):
        expected = expected + block(norm(expected)) if norm_first else norm(expected + block(expected))
    assert np.allclose(layer(x, memory).data, expected.data, atol=1e-12)
    assert repr(layer).startswith(
        "TransformerDecoderLayer(norm_first=True" if norm_first else "TransformerDecoderLayer("
    )


def test_a_position_does_not_depend_on_later_ones():
    model = nn.Transformer(4, 2, 1, 1, **SMALL)
    source, target = sequences(1, 3, 4), sequences(1, 4, 4)
    jacobian = tn.jacobian(lambda t: model(source, t, tgt_is_causal=True), target).data.reshape(4, 4, 4, 4)
    for i in range(4):
        assert not jacobian[i, :, i + 1 :].any()
        assert all(jacobian[i, :, j].any() for j in range(i + 1))


def test_causal_flag_mask_and_boolean_mask_agree():
    layer, x = nn.TransformerEncoderLayer(6, 2, **SMALL), sequences(2, 5, 6)
    mask = nn.Transformer.generate_square_subsequent_mask(5, dtype=tn.float64)
    assert mask.dtype == np.float64
    assert np.array_equal(mask.data == 0, np.tril(np.ones((5, 5), bool)))
    plain = layer(x).data
    causal = layer(x, is_causal=True).data
    assert not np.allclose(plain, causal)
    for options in ({"src_mask": mask}, {"src_mask": mask.data < 0}, {"src_mask": mask, "is_causal": True}):
        assert np.allclose(layer(x, **options).data, causal, atol=1e-12)
    stack = nn.TransformerEncoder(layer, 1)
    assert np.allclose(stack(x, is_causal=True).data, causal, atol=1e-12)


def test_padding_does_not_reach_what_counts():
    model = nn.Transformer(4, 2, 2, 2, **SMALL)
    source, target = sequences(2, 5, 4), sequences(2, 3, 4)
    padding = np.arange(5) >= np.array([[5], [3]])
    masks = {"src_key_padding_mask": padding, "memory_key_padding_mask": padding}
    y = model(source, target, **masks)
    alone = model(source[1:, :3], target[1:])
    assert np.allclose(y.data[1], alone.data[0], atol=1e-12)


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_layouts_agree(norm):
    first = nn.Transformer(4, 2, 1, 1, norm=norm, **SMALL)
    second = nn.Transformer(4, 2, 1, 1, norm=norm, **{**SMALL, "batch_first": False})
    second.load_state_dict(first.state_dict())
    source, target = sequences(3, 5, 4), sequences(3, 2, 4)
    y = first(source, target)
    assert y.shape == (3, 2, 4)
    assert np.allclose(second(source.swapaxes(0, 1), target.swapaxes(0, 1)).data.swapaxes(0, 1), y.data, atol=1e-12)
    first.eval(), second.eval()
    single = second(source[0], target[0])
    assert np.allclose(single.data, first(source[:1], target[:1]).data[0], atol=1e-12)


def test_batch_norm_is_over_batch_and_time_for_each_feature():
    layer = nn.TransformerEncoderLayer(6, 2, norm="batch", **SMALL)
    x = sequences(3, 5, 6)
    y = layer(x)
    assert np.allclose(y.data.mean((0, 1)), 0, atol=1e-12)
    assert np.allclose(y.data.std((0, 1)), 1, atol=1e-3)
    assert layer.norm1.num_batches_tracked.item() == 1
    assert "norm1.running_mean" in layer.state_dict()
    inner = (x + layer.self_attn(x, x, x)[0]).data
    assert np.allclose(layer.norm1.running_mean.data, 0.1 * inner.mean((0, 1)), atol=1e-12)
    y.sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    before = layer.norm1.running_mean.data.copy()
    assert not np.allclose(layer.eval()(x).data, y.data)
    assert np.array_equal(layer.norm1.running_mean.data, before)
    assert "norm='batch'" in repr(layer)


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_without_bias_there_is_none(norm):
    model = nn.Transformer(4, 2, 1, 1, bias=False, norm=norm, **SMALL)
    assert not [name for name, _ in model.named_parameters() if "bias" in name]
    assert model(sequences(2, 3, 4), sequences(2, 3, 4)).shape == (2, 3, 4)


def test_activations():
    x = sequences(2, 3, 4)
    layers = [nn.TransformerEncoderLayer(4, 2, activation=a, **SMALL) for a in ("gelu", tn.gelu, nn.GELU(), "relu")]
    for layer in layers[1:]:
        layer.load_state_dict(layers[0].state_dict())
    values = [layer(x).data for layer in layers]
    assert np.array_equal(values[0], values[1])
    assert np.array_equal(values[0], values[2])
    assert not np.allclose(values[0], values[3])


def test_dropout_only_in_training():
    layer = nn.TransformerEncoderLayer(4, 2, 12, dropout=0.5)
    x = tn.ones((3, 2, 4))
    assert not np.array_equal(layer(x).data, layer(x).data)
    layer.eval()
    assert np.array_equal(layer(x).data, layer(x).data)


def test_a_stack_has_copies_of_its_own_and_survives_copying():
    layer = nn.TransformerEncoderLayer(4, 2, **SMALL)
    stack = nn.TransformerEncoder(layer, 3, nn.LayerNorm(4, dtype=tn.float64))
    weights = [one.linear1.weight for one in stack.layers]
    assert len({id(w) for w in weights}) == 3
    assert all(w is not layer.linear1.weight for w in weights)
    assert all(np.array_equal(w.data, layer.linear1.weight.data) for w in weights)
    assert not np.shares_memory(weights[0].data, weights[1].data)
    x = sequences(2, 3, 4)
    expected = x
    for one in stack.layers:
        expected = one(expected)
    assert np.array_equal(stack(x).data, stack.norm(expected).data)
    assert np.array_equal(copy.deepcopy(stack)(x).data, stack(x).data)
    assert np.array_equal(pickle.loads(pickle.dumps(stack))(x).data, stack(x).data)


def test_custom_stacks_and_start():
    encoder, decoder = nn.Identity(), nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, **SMALL), 1)
    encoder.forward = lambda src, *masks: src
    model = nn.Transformer(4, 2, custom_encoder=encoder, custom_decoder=decoder, batch_first=True)
    assert model.encoder is encoder
    assert model.decoder is decoder
    assert model(sequences(1, 3, 4), sequences(1, 2, 4)).shape == (1, 2, 4)
    bound = (6 / (4 + 12)) ** 0.5
    assert abs(decoder.layers[0].linear1.weight.data).max() <= bound
    before = decoder.layers[0].linear1.weight.data.copy()
    model.reset_parameters()
    assert not np.array_equal(decoder.layers[0].linear1.weight.data, before)


def call(**options):
    model = nn.Transformer(4, 2, 1, 1, **SMALL)
    return model(tn.ones((2, 3, 4)), tn.ones((2, 3, 4)), **options)


WRONG = [
    (lambda: nn.TransformerEncoderLayer(6, 4), tn.ShapeError, "d_model is 6, expected a multiple of nhead, 4"),
    (lambda: nn.TransformerEncoderLayer(6, 2, 0), tn.ShapeError, "TransformerEncoderLayer: dim_feedforward is 0"),
    (lambda: nn.TransformerDecoderLayer(6, 2, norm="group"), tn.ShapeError, "DecoderLayer: norm is 'group'"),
    (lambda: nn.TransformerEncoderLayer(6, 2, activation="tanh"), tn.ShapeError, "activation is 'tanh', expected"),
    (lambda: nn.TransformerEncoderLayer(6, 2, activation=3), tn.DTypeError, "activation is 3"),
    (lambda: nn.TransformerEncoderLayer(6, 2, dropout=2.0), tn.ShapeError, "dropout is 2.0"),
    (lambda: nn.TransformerEncoder(nn.Linear, 2), tn.DTypeError, "TransformerEncoder: layer is <class"),
    (lambda: nn.TransformerEncoder(nn.Linear(1, 1), 0), tn.ShapeError, "TransformerEncoder: num_layers is 0"),
    (lambda: nn.TransformerEncoder(nn.Linear(1, 1), 1, "layer"), tn.DTypeError, "norm is 'layer', expected a Module"),
    (lambda: nn.Transformer(4, 2, 1, 1)(tn.ones((3, 2, 5)), tn.ones((3, 2, 4))), tn.ShapeError,
     r"Transformer: src has shape \(3, 2, 5\), tgt \(3, 2, 4\), expected \(S, N, 4\) and \(T, N, 4\)"),
    (lambda: nn.Transformer(4, 2, 1, 1)(tn.ones((3, 2, 4)), tn.ones((3, 1, 4))), tn.ShapeError, "Transformer: src has"),
    (lambda: call(src_mask=np.ones((2, 2), bool)), tn.ShapeError, "attn_mask has shape"),
    (lambda: nn.Transformer.generate_square_subsequent_mask(-1), tn.ShapeError, "sz is -1"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[message[:40] for _, _, message in WRONG])
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
