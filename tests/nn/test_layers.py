"""Layers: values where a closed form exists, what training changes, and what wrong arguments say."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn

rng = np.random.default_rng(0)


def images(*shape):
    return rng.standard_normal(shape).astype(np.float32)


# Every layer with one parameter-free way to run it: (layer, input shape, output shape).
SHAPES = [
    (lambda: nn.Linear(3, 5), (2, 4, 3), (2, 4, 5)),
    (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (2, 4, 7, 8), (2, 6, 4, 4)),
    (lambda: nn.Conv2d(4, 6, (3, 4), padding="same", dilation=2), (2, 4, 7, 8), (2, 6, 7, 8)),
    (lambda: nn.Conv2d(4, 6, 3, padding="valid", bias=False), (4, 7, 8), (6, 5, 6)),
    (lambda: nn.Conv2d(4, 6, 3, padding=2, padding_mode="reflect"), (2, 4, 7, 8), (2, 6, 9, 10)),
    (lambda: nn.Conv2d(4, 6, (3, 4), padding="same", padding_mode="circular"), (4, 7, 8), (6, 7, 8)),
    (lambda: nn.Conv2d(4, 6, 3, padding="valid", padding_mode="replicate"), (2, 4, 7, 8), (2, 6, 5, 6)),
    (
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        (2, 4, 5, 6),
        (2, 6, 10, 12),
    ),
    (lambda: nn.MaxPool2d(2), (2, 3, 5, 6), (2, 3, 2, 3)),
    (lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True), (2, 3, 6, 6), (2, 3, 4, 4)),
    (lambda: nn.AvgPool2d((2, 3)), (2, 3, 5, 6), (2, 3, 2, 2)),
    (lambda: nn.AdaptiveAvgPool2d((None, 2)), (2, 3, 5, 6), (2, 3, 5, 2)),
    (lambda: nn.AdaptiveAvgPool2d(1), (3, 5, 6), (3, 1, 1)),
    (lambda: nn.BatchNorm1d(3), (6, 3), (6, 3)),
    (lambda: nn.BatchNorm1d(3), (6, 3, 2), (6, 3, 2)),
    (lambda: nn.BatchNorm2d(3, affine=False), (2, 3, 4, 4), (2, 3, 4, 4)),
    (lambda: nn.LayerNorm((2, 3)), (4, 2, 3), (4, 2, 3)),
    (lambda: nn.LayerNorm(3, bias=False), (4, 2, 3), (4, 2, 3)),
    (lambda: nn.Dropout(0.3), (4, 5), (4, 5)),
    (lambda: nn.Flatten(), (2, 3, 4), (2, 12)),
    (lambda: nn.Flatten(0, 1), (2, 3, 4), (6, 4)),
    (lambda: nn.Identity(3, some="thing"), (2, 3), (2, 3)),
    (lambda: nn.ReLU(), (2, 3), (2, 3)),
    (lambda: nn.LeakyReLU(0.2), (2, 3), (2, 3)),
    (lambda: nn.GELU("tanh"), (2, 3), (2, 3)),
    (lambda: nn.SiLU(), (2, 3), (2, 3)),
    (lambda: nn.Softplus(2.0), (2, 3), (2, 3)),
    (lambda: nn.Sigmoid(), (2, 3), (2, 3)),
    (lambda: nn.Tanh(), (2, 3), (2, 3)),
    (lambda: nn.Softmax(0), (2, 3), (2, 3)),
    (lambda: nn.LogSoftmax(), (2, 3), (2, 3)),
    (lambda: nn.ELU(0.5), (2, 3), (2, 3)),
    (lambda: nn.SELU(), (2, 3), (2, 3)),
    (lambda: nn.CELU(alpha=2), (2, 3), (2, 3)),
    (lambda: nn.Hardtanh(-0.5, 2.0), (2, 3), (2, 3)),
    (lambda: nn.ReLU6(), (2, 3), (2, 3)),
    (lambda: nn.Hardsigmoid(), (2, 3), (2, 3)),
    (lambda: nn.Hardswish(), (2, 3), (2, 3)),
    (lambda: nn.Mish(), (2, 3), (2, 3)),
    (lambda: nn.Softsign(), (2, 3), (2, 3)),
    (lambda: nn.LogSigmoid(), (2, 3), (2, 3)),
    (lambda: nn.PReLU(), (2, 3), (2, 3)),
    (lambda: nn.PReLU(3), (2, 3, 4), (2, 3, 4)),
    (lambda: nn.Softmin(0), (2, 3), (2, 3)),
    (lambda: nn.GLU(0), (2, 3), (1, 3)),
    (lambda: nn.Unflatten(1, (3, -1)), (2, 12), (2, 3, 4)),
    (lambda: nn.Unflatten(-2, [2, 1]), (2, 5), (2, 1, 5)),
]


@pytest.mark.parametrize(("build", "shape", "expected"), SHAPES, ids=[str(i) for i in range(len(SHAPES))])
def test_shapes_gradients_text_and_copies(build, shape, expected):
    layer = build()
    x = tn.tensor(images(*shape), requires_grad=True)
    y = layer(x)
    assert y.shape == expected
    y.sum().backward()
    assert x.grad.shape == shape
    assert all(p.grad is not None and p.grad.shape == p.shape for p in layer.parameters())
    assert repr(layer).startswith(f"{type(layer).__name__}(")
    tn.manual_seed(3)
    value = layer.eval()(x)
    assert np.array_equal(copy.deepcopy(layer)(x).data, value.data)


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.Linear(3, 2),
        lambda: nn.Conv2d(2, 2, 3),
        lambda: nn.Embedding(4, 2, 1),
        lambda: nn.GRU(2, 3),
        lambda: nn.MultiheadAttention(4, 2, kdim=3),
        lambda: nn.BatchNorm1d(3),
        lambda: nn.LayerNorm(3),
        lambda: nn.PReLU(3, 0.5),
    ],
)
def test_reset_parameters_starts_anew(build):
    tn.manual_seed(5)
    layer = build()
    fresh = {name: tensor.numpy().copy() for name, tensor in layer.state_dict().items()}
    for tensor in layer.state_dict().values():
        tensor.data[...] = 9
    tn.manual_seed(5)
    layer.reset_parameters()
    assert all(np.array_equal(tensor.data, fresh[name]) for name, tensor in layer.state_dict().items())


def test_text_says_what_is_not_the_default():
    assert repr(nn.Embedding(4, 2, 1)).startswith("Embedding(4, 2, padding_idx=1)")
    assert repr(nn.MultiheadAttention(4, 2, kdim=3)).startswith("MultiheadAttention(4, 2, kdim=3\n")
    assert repr(nn.Conv2d(2, 4, 3, groups=2, bias=False)).startswith(
        "Conv2d(2, 4, kernel_size=(3, 3), stride=(1, 1), groups=2, bias=False)"
    )


def test_an_activation_declares_its_arguments():
    layer = nn.Hardtanh(max_val=2)
    assert (layer.min_val, layer.max_val) == (-1.0, 2.0)
    assert repr(layer) == "Hardtanh(min_val=-1.0, max_val=2.0)"
    assert str(inspect.signature(nn.Softplus)) == "(beta=1.0, threshold=20.0)"
    assert repr(nn.LogSoftmax(1)) == "LogSoftmax(axis=1)"
    assert repr(nn.Mish()) == "Mish()"
    assert nn.ELU().alpha == 1.0  # the class keeps its default
    x = images(2, 3)
    for one, value in (
        (nn.ELU(0.5), tn.elu(x, 0.5)),
        (nn.CELU(2.0), tn.celu(x, 2.0)),
        (layer, tn.hardtanh(x, -1.0, 2.0)),
        (nn.Softplus(2.0, 0.5), tn.softplus(x, 2.0, 0.5)),
        (nn.Softmin(0), tn.softmin(x, 0)),
        (nn.PReLU(3, 0.1), tn.prelu(x, np.full(3, 0.1, np.float32))),
    ):
        assert np.array_equal(pickle.loads(pickle.dumps(one))(x).data, value.data)


def test_linear_is_an_affine_map():
    layer = nn.Linear(3, 2)
    x = images(4, 3)
    assert np.allclose(layer(x).data, x @ layer.weight.data.T + layer.bias.data, atol=1e-6)


@pytest.mark.parametrize(("mode", "name"), [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")])
def test_padding_modes(mode, name):
    layer = nn.Conv2d(2, 3, 3, padding=(1, 2), padding_mode=mode)
    plain = nn.Conv2d(2, 3, 3)
    plain.load_state_dict(layer.state_dict())
    x = images(2, 2, 5, 5)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (2, 2)), mode=name)
    assert np.array_equal(layer(x).data, plain(padded).data)


# ---------------------------------------------------------------------- what training changes


def test_batch_norm_normalises_by_the_batch_and_tracks_it():
    layer, x = nn.BatchNorm1d(3), images(8, 3) * 4 + 2
    y = layer(x).data
    assert np.allclose(y.mean(0), 0, atol=1e-5)
    assert np.allclose(y.std(0), 1, atol=1e-3)
    assert np.allclose(layer.running_mean.data, 0.1 * x.mean(0), atol=1e-5)
    assert np.allclose(layer.running_var.data, 0.9 + 0.1 * x.var(0, ddof=1), atol=1e-4)
    assert layer.num_batches_tracked.item() == 1
    layer.eval()
    expected = (x - layer.running_mean.data) / np.sqrt(layer.running_var.data + 1e-5)
    assert np.allclose(layer(x).data, expected, atol=1e-5)
    assert layer.num_batches_tracked.item() == 1
    layer.reset_running_stats()
    assert layer.num_batches_tracked.item() == 0
    assert not layer.running_mean.data.any()


def test_batch_norm_without_momentum_averages_all_batches():
    layer, batches = nn.BatchNorm1d(2, momentum=None), images(5, 6, 2)
    for batch in batches:
        layer(batch)
    assert np.allclose(layer.running_mean.data, batches.mean((0, 1)), atol=1e-5)


def test_batch_norm_without_statistics_always_uses_the_batch():
    layer, x = nn.BatchNorm1d(2, track_running_stats=False, affine=False), images(6, 2)
    assert not layer.state_dict()
    assert np.array_equal(layer(x).data, layer.eval()(x).data)


def test_batch_norm_tracks_a_batch_once_although_second_derivatives_replay_it():
    layer, x = nn.BatchNorm1d(2), tn.tensor(images(6, 2), requires_grad=True)
    y = layer(x)
    before = layer.running_mean.data.copy()
    tn.grad(y.square().sum(), x, create_graph=True)
    assert np.array_equal(layer.running_mean.data, before)


def test_layer_norm_normalises_each_row():
    layer, x = nn.LayerNorm(5), images(3, 5) * 3 + 1
    y = layer(x).data
    assert np.allclose(y.mean(1), 0, atol=1e-5)
    assert np.allclose(y.std(1), 1, atol=1e-3)


def test_dropout_only_in_training():
    layer, x = nn.Dropout(0.25), np.ones((100, 100), np.float32)
    y = layer(x).data
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    assert abs((y == 0).mean() - 0.25) < 0.02
    assert np.array_equal(layer.eval()(x).data, x)
    assert not nn.Dropout(1.0)(x).data.any()


def test_embedding_padding_row_is_zero_and_gets_no_gradient():
    layer = nn.Embedding(5, 3, padding_idx=-1)
    assert layer.padding_idx == 4
    y = layer(np.array([[0, 4], [4, 0]]))
    assert y.shape == (2, 2, 3)
    assert not y.data[0, 1].any()
    y.sum().backward()
    assert np.array_equal(layer.weight.grad.data[:, 0], [2, 0, 0, 0, 0])


# ---------------------------------------------------------------------- recurrent and attention


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU, lambda *a, **o: nn.GRU(*a, **o, reset_after=False)])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrent_layers(kind, bidirectional):
    layer = kind(3, 4, num_layers=2, bidirectional=bidirectional, batch_first=True)
    directions = 2 if bidirectional else 1
    x = tn.tensor(images(5, 7, 3), requires_grad=True)
    lengths = np.array([7, 1, 3, 7, 2])
    y, state = layer(x, lengths=lengths)
    last = state[0] if isinstance(state, tuple) else state
    assert y.shape == (5, 7, 4 * directions)
    assert last.shape == (2 * directions, 5, 4)
    assert not y.data[1, 1:].any()
    assert np.allclose(y.data[range(5), lengths - 1, :4], last.data[-directions], atol=1e-6)
    alone, _ = layer(x[2:3, :3])  # a padded sequence gives what it gives alone
    assert np.allclose(alone.data[0], y.data[2, :3], atol=1e-6)
    y.sum().backward()
    assert not x.grad.data[1, 1:].any()
    assert all(p.grad is not None for p in layer.parameters())
    names = [name for name, _ in layer.named_parameters()]
    assert names[:4] == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    assert ("weight_ih_l1_reverse" in names) == bidirectional
    assert max(abs(p.data).max() for p in layer.parameters()) <= 0.5  # 1 / √4


def test_recurrent_state_goes_on():
    layer = nn.LSTM(3, 4)
    x = images(6, 2, 3)
    whole, (h, c) = layer(x)
    first, state = layer(x[:4])
    second, (h2, c2) = layer(x[4:], state)
    assert np.allclose(np.concatenate([first.data, second.data]), whole.data, atol=1e-6)
    assert np.allclose(h2.data, h.data, atol=1e-6)
    assert np.allclose(c2.data, c.data, atol=1e-6)
    assert repr(nn.GRU(3, 4, 2, bias=False, reset_after=False)).startswith(
        "GRU(3, 4, num_layers=2, bias=False, reset_after=False)"
    )


def test_attention_weights_and_masks():
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    x = tn.tensor(images(3, 5, 8), requires_grad=True)
    y, weights = layer(x, x, x)
    assert y.shape == (3, 5, 8)
    assert np.allclose(weights.data.sum(-1), 1, atol=1e-6)
    quick, none = layer(x, x, x, need_weights=False)
    assert none is None
    assert np.allclose(quick.data, y.data, atol=1e-5)
    future = np.triu(np.ones((5, 5), bool), 1)  # True: not allowed
    padding = np.zeros((3, 5), bool)
    padding[1, 2:] = True
    for options in (
        {"attn_mask": future},
        {"is_causal": True},
        {"attn_mask": np.where(future, -np.inf, 0).astype(np.float32)},
    ):
        y, weights = layer(x, x, x, key_padding_mask=padding, **options)
        assert not weights.data[:, future].any()
        assert not weights.data[1, :, 2:].any()
        quick, _ = layer(x, x, x, key_padding_mask=padding, need_weights=False, **options)
        assert np.allclose(quick.data, y.data, atol=1e-5)
    y.sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    padding[:] = True
    y, weights = layer(x, x, x, key_padding_mask=padding)  # nothing to attend to: 0, not NaN
    assert not weights.data.any()
    assert np.allclose(y.data, layer.out_proj.bias.data)


def test_attention_layouts_agree():
    layer = nn.MultiheadAttention(8, 2, kdim=3, vdim=5)
    query, key, value = images(4, 2, 8), images(6, 2, 3), images(6, 2, 5)
    y, weights = layer(query, key, value, average_attn_weights=False)
    assert weights.shape == (2, 2, 4, 6)
    single, _ = layer(query[:, 0], key[:, 0], value[:, 0])
    assert np.allclose(single.data, y.data[:, 0], atol=1e-6)
    assert list(layer.state_dict())[:3] == ["q_proj_weight", "k_proj_weight", "v_proj_weight"]


# ---------------------------------------------------------------------- losses


def test_losses_are_the_functions():
    x, t = tn.tensor(images(4, 3)), tn.tensor(images(4, 3))
    labels, ones = np.array([0, 2, 1, 2]), np.ones(3, np.float32)
    log_p, p = tn.log_softmax(x, 1), tn.sigmoid(t)
    smooth = {"label_smoothing": 0.1}
    pairs = [
        (nn.MSELoss()(x, t), tn.mse_loss(x, t)),
        (nn.L1Loss("sum")(x, t), tn.l1_loss(x, t, "sum")),
        (nn.CrossEntropyLoss(ones * 2, **smooth)(x, labels), tn.cross_entropy(x, labels, ones * 2, **smooth)),
        (nn.CrossEntropyLoss(ignore_index=2)(x, labels), tn.cross_entropy(x, labels, ignore_index=2)),
        (nn.NLLLoss(reduction="none")(log_p, labels), tn.nll_loss(log_p, labels, reduction="none")),
        (nn.BCEWithLogitsLoss(None, "sum", ones)(x, p), tn.binary_cross_entropy_with_logits(x, p, None, ones, "sum")),
        (nn.KLDivLoss("batchmean", log_target=True)(log_p, log_p * 2), tn.kl_div(log_p, log_p * 2, "batchmean", True)),
    ]  # fmt: skip
    for layer, function in pairs:
        assert np.array_equal(layer.data, function.data)
    assert list(nn.CrossEntropyLoss(weight=ones).state_dict()) == ["weight"]
    assert nn.MSELoss("sum").extra_repr() == "reduction='sum'"


# ---------------------------------------------------------------------- wrong arguments


def masked(**masks):
    return nn.MultiheadAttention(4, 2)(*[tn.ones((3, 4))] * 3, **masks)


WRONG = [
    (lambda: nn.Linear(-1, 2), tn.ShapeError, "Linear: in_features is -1, expected at least 0"),
    (lambda: nn.Linear(2.5, 2), tn.DTypeError, "Linear: in_features is 2.5, expected an integer"),
    (lambda: nn.Linear(3, 2)(tn.ones((1, 4))), tn.ShapeError, "linear: x has shape"),
    (lambda: nn.Conv2d(0, 2, 3), tn.ShapeError, "Conv2d: in_channels is 0"),
    (lambda: nn.Conv2d(3, 4, 3, groups=2), tn.ShapeError, "in_channels is 3, expected a multiple of groups, 2"),
    (lambda: nn.Conv2d(4, 3, 3, groups=2), tn.ShapeError, "out_channels is 3, expected a multiple of groups"),
    (lambda: nn.Conv2d(1, 1, (3, 3, 3)), tn.ShapeError, "Conv2d: kernel_size is"),
    (lambda: nn.Conv2d(1, 1, 3, stride=0), tn.ShapeError, "Conv2d: stride is 0"),
    (lambda: nn.Conv2d(1, 1, 3, padding=-1), tn.ShapeError, "Conv2d: padding is -1"),
    (lambda: nn.Conv2d(1, 1, 3, padding="full"), tn.ShapeError, "padding is 'full', expected 'same' or 'valid'"),
    (lambda: nn.Conv2d(1, 1, 3, stride=2, padding="same"), tn.ShapeError, "needs stride 1"),
    (lambda: nn.Conv2d(1, 1, 3, padding_mode="mirror"), tn.ShapeError, "padding_mode is 'mirror'"),
    (lambda: nn.Conv2d(1, 1, 3, padding_mode="reflect")(tn.ones((3, 3))), tn.ShapeError, "x has 2 axes"),
    (lambda: nn.ConvTranspose2d(1, 1, 3, output_padding=1), tn.ShapeError, "output_padding is 1, expected less"),
    (lambda: nn.ConvTranspose2d(1, 1, 3, padding_mode="reflect"), tn.ShapeError, "only 'zeros' exists"),
    (lambda: nn.MaxPool2d(2, padding=2), tn.ShapeError, "at most half of kernel_size"),
    (lambda: nn.AvgPool2d("2"), tn.DTypeError, "AvgPool2d: kernel_size is '2'"),
    (lambda: nn.AdaptiveAvgPool2d((1, 2, 3)), tn.ShapeError, "AdaptiveAvgPool2d: output_size"),
    (lambda: nn.BatchNorm1d(0), tn.ShapeError, "BatchNorm1d: num_features is 0"),
    (lambda: nn.BatchNorm2d(3, eps=-1.0), tn.ShapeError, "BatchNorm2d: eps is -1.0"),
    (lambda: nn.BatchNorm2d(3)(tn.ones((2, 3))), tn.ShapeError, r"expected \(N, C, H, W\) with C = 3"),
    (lambda: nn.BatchNorm1d(3)(tn.ones((2, 4))), tn.ShapeError, r"x has shape \(2, 4\)"),
    (lambda: nn.BatchNorm1d(3)(tn.ones((1, 3))), tn.ShapeError, "more than one value for each channel"),
    (lambda: nn.LayerNorm(()), tn.ShapeError, "normalized_shape is empty"),
    (lambda: nn.LayerNorm((3, 0)), tn.ShapeError, "normalized_shape is 0"),
    (lambda: nn.Dropout(1.5), tn.ShapeError, "Dropout: p is 1.5, expected a number from 0 to 1"),
    (lambda: nn.Dropout("half"), tn.DTypeError, "Dropout: p is 'half'"),
    (lambda: nn.Embedding(5, 3, padding_idx=5), tn.ShapeError, "padding_idx is 5"),
    (lambda: nn.Embedding(5, 3, padding_idx=-6), tn.ShapeError, "padding_idx is -6"),
    (lambda: nn.Embedding(5, 3)(np.array([5])), IndexError, "index 5 is out of range"),
    (lambda: nn.GELU("fast"), tn.ShapeError, "approximate is 'fast', expected 'none' or 'tanh'"),
    (lambda: nn.Softmax("last"), tn.DTypeError, "Softmax: axis is 'last'"),
    (lambda: nn.ELU("steep"), tn.DTypeError, "ELU: alpha is 'steep', expected a number"),
    (lambda: nn.CELU(0), tn.ShapeError, "CELU: alpha is 0.0, expected a number above 0"),
    (lambda: nn.Softplus(-1.0), tn.ShapeError, "Softplus: beta is -1.0, expected a number above 0"),
    (lambda: nn.Hardtanh(2.0, 1.0), tn.ShapeError, "Hardtanh: min_val is 2.0 and max_val 1.0"),
    (lambda: nn.GLU(0.5), tn.DTypeError, "GLU: axis is 0.5, expected an integer"),
    (lambda: nn.GLU()(tn.ones((2, 3))), tn.ShapeError, "glu: axis 1 has size 3"),
    (lambda: nn.ReLU(True), TypeError, r"ReLU: too many positional arguments; its arguments are \(\)"),
    (lambda: nn.ELU(beta=1.0), TypeError, r"ELU: got an unexpected keyword argument 'beta'; its"),  # type: ignore[call-arg]
    (lambda: nn.PReLU(0), tn.ShapeError, "PReLU: num_parameters is 0"),
    (lambda: nn.PReLU(3)(tn.ones((2, 4))), tn.ShapeError, "prelu: weight has shape"),
    (lambda: nn.Unflatten(1, 6), tn.DTypeError, "Unflatten: unflattened_size is 6, expected a tuple of sizes"),
    (lambda: nn.Unflatten(1, (-1, -1)), tn.ShapeError, "expected at most one -1"),
    (lambda: nn.Unflatten(1, (2, 3))(tn.ones((2, 5))), tn.ShapeError, r"axis 1 of x \(2, 5\) has size 5"),
    (lambda: nn.Unflatten(1, (2, -1))(tn.ones((2, 5))), tn.ShapeError, r"is not split into \(2, -1\)"),
    (lambda: nn.Unflatten(2, (2, -1))(tn.ones((2, 5))), tn.ShapeError, "Unflatten: axis is 2, but x has shape"),
    (lambda: nn.RNN(3, 4, nonlinearity="gelu"), tn.ShapeError, "nonlinearity is 'gelu'"),
    (lambda: nn.LSTM(3, 0), tn.ShapeError, "LSTM: hidden_size is 0"),
    (lambda: nn.GRU(3, 4, num_layers=0), tn.ShapeError, "GRU: num_layers is 0"),
    (lambda: nn.GRU(3, 4, dropout=2), tn.ShapeError, "GRU: dropout is 2"),
    (lambda: nn.GRU(3, 4)(tn.ones((2, 2, 5))), tn.ShapeError, "gru_scan: weight_ih"),
    (lambda: nn.MultiheadAttention(8, 3), tn.ShapeError, "embed_dim is 8, expected a multiple of num_heads, 3"),
    (lambda: nn.MultiheadAttention(4, 2)(*[tn.ones(4)] * 3), tn.ShapeError, r"expected \(L, N, 4\)"),
    (lambda: masked(attn_mask=tn.ones((2, 2))), tn.ShapeError, "attn_mask has shape"),
    (lambda: masked(key_padding_mask=np.ones((1, 2), bool)), tn.ShapeError, "key_padding_mask has shape"),
    (lambda: masked(key_padding_mask=np.ones(3, int)), tn.DTypeError, "key_padding_mask is int64"),
    (lambda: nn.MSELoss("average"), tn.ShapeError, "MSELoss: reduction is 'average'"),
    (lambda: nn.CrossEntropyLoss(label_smoothing=2.0), tn.ShapeError, "label_smoothing is 2.0"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[message[:40] for _, _, message in WRONG])
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_device_and_dtype_arguments():
    for layer in (
        nn.Linear(2, 2, dtype=tn.float64),
        nn.Conv2d(1, 1, 1, dtype=tn.float64),
        nn.BatchNorm2d(2, dtype=tn.float64),
        nn.LayerNorm(2, dtype=tn.float64),
        nn.Embedding(2, 2, dtype=tn.float64),
        nn.LSTM(2, 2, dtype=tn.float64),
        nn.MultiheadAttention(2, 1, dtype=tn.float64, device="cpu"),
    ):
        assert {p.dtype for p in layer.parameters()} == {np.dtype(np.float64)}
    with pytest.raises(tn.DeviceError, match="'tpu' does not exist"):
        nn.Linear(1, 1, device="tpu")
