"""Layers and networks against PyTorch: a state dict saved by torch loads key by key and gives the same numbers."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from safetensors.numpy import save_file

import tinygrad_notes as tn
from tests.parity.layer_pairs import loaded, same
from tinygrad_notes import nn

torch = pytest.importorskip("torch")

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
rng = np.random.default_rng(0)


def images(*shape):
    return rng.standard_normal(shape)


# (name, arguments, named arguments, shapes of the inputs)
LAYERS = [
    ("Linear", (5, 3), {}, [(4, 5)]),
    ("Linear", (5, 3), {"bias": False}, [(2, 3, 5)]),
    ("Conv2d", (4, 6, 3), {}, [(2, 4, 7, 8)]),
    ("Conv2d", (4, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2, False), {}, [(2, 4, 7, 8)]),
    ("Conv2d", (4, 6, 4), {"padding": "same", "dilation": (1, 2)}, [(2, 4, 7, 8)]),
    ("Conv2d", (4, 4, 3), {"padding": "valid", "groups": 4}, [(4, 7, 8)]),
    ("Conv2d", (2, 3, 3), {"padding": (2, 1), "padding_mode": "reflect"}, [(2, 2, 5, 6)]),
    ("Conv2d", (2, 3, 3), {"padding": (2, 1), "padding_mode": "replicate"}, [(2, 2, 5, 6)]),
    ("Conv2d", (2, 3, 3), {"padding": (2, 1), "padding_mode": "circular"}, [(2, 2, 5, 6)]),
    ("Conv2d", (2, 3, 4), {"padding": "same", "padding_mode": "circular"}, [(2, 2, 5, 6)]),
    ("ConvTranspose2d", (4, 6, 3), {}, [(2, 4, 5, 4)]),
    ("ConvTranspose2d", (4, 6, (3, 4), (2, 3), (1, 2), (1, 2), 2, True, (2, 1)), {}, [(2, 4, 5, 4)]),
    ("MaxPool2d", (3, 2, 1), {}, [(2, 3, 7, 8)]),
    ("MaxPool2d", (2,), {"ceil_mode": True, "dilation": 2, "stride": 3}, [(2, 3, 7, 8)]),
    ("AvgPool2d", (3, 2, 1), {"ceil_mode": True}, [(2, 3, 7, 8)]),
    ("AvgPool2d", ((2, 3),), {"padding": 1, "count_include_pad": False}, [(3, 7, 8)]),
    ("AdaptiveAvgPool2d", ((3, None),), {}, [(2, 3, 7, 8)]),
    ("Unfold", (3,), {}, [(2, 3, 5, 6)]),
    ("Unfold", ((2, 3), 2, (1, 0), (1, 2)), {}, [(2, 3, 5, 6)]),
    ("Fold", ((5, 6), 3), {"padding": 1}, [(2, 18, 30)]),
    ("Fold", ((5, 6), (2, 3), 2, (1, 0), (1, 2)), {}, [(2, 6, 5)]),
    ("CosineSimilarity", (), {}, [(4, 5), (4, 5)]),
    ("CosineSimilarity", (2, 1e-3), {}, [(4, 5, 3), (4, 5, 3)]),
    ("BatchNorm1d", (4,), {}, [(6, 4)]),
    ("BatchNorm1d", (4, 1e-3, None), {}, [(6, 4, 3)]),
    ("BatchNorm2d", (4,), {"momentum": 0.3}, [(3, 4, 5, 2)]),
    ("BatchNorm2d", (4,), {"affine": False}, [(3, 4, 5, 2)]),
    ("BatchNorm2d", (4,), {"track_running_stats": False}, [(3, 4, 5, 2)]),
    ("LayerNorm", (6,), {}, [(3, 4, 6)]),
    ("LayerNorm", ((4, 6), 1e-3), {"bias": False}, [(3, 4, 6)]),
    ("LayerNorm", ((4, 6),), {"elementwise_affine": False}, [(3, 4, 6)]),
    ("Dropout", (0.0,), {}, [(3, 4)]),
    ("ReLU", (), {}, [(3, 4)]),
    ("LeakyReLU", (0.2,), {}, [(3, 4)]),
    ("GELU", (), {}, [(3, 4)]),
    ("GELU", ("tanh",), {}, [(3, 4)]),
    ("SiLU", (), {}, [(3, 4)]),
    ("Softplus", (2.0, 1.0), {}, [(3, 4)]),
    ("Sigmoid", (), {}, [(3, 4)]),
    ("Tanh", (), {}, [(3, 4)]),
    ("Softmax", (1,), {}, [(3, 4)]),
    ("LogSoftmax", (0,), {}, [(3, 4)]),
    ("ELU", (0.5,), {}, [(3, 4)]),
    ("SELU", (), {}, [(3, 4)]),
    ("CELU", (2.0,), {}, [(3, 4)]),
    ("Hardtanh", (-0.5, 0.8), {}, [(3, 4)]),
    ("ReLU6", (), {}, [(3, 4)]),
    ("Hardsigmoid", (), {}, [(3, 4)]),
    ("Hardswish", (), {}, [(3, 4)]),
    ("Mish", (), {}, [(3, 4)]),
    ("Softsign", (), {}, [(3, 4)]),
    ("LogSigmoid", (), {}, [(3, 4)]),
    ("Softmin", (1,), {}, [(3, 4)]),
    ("GLU", (1,), {}, [(3, 4)]),
    ("PReLU", (), {}, [(3, 4)]),
    ("PReLU", (4, 0.1), {}, [(3, 4, 2)]),
    ("Unflatten", (1, (2, 3)), {}, [(2, 6, 2)]),
    ("RNNCell", (3, 4), {}, [(2, 3)]),
    ("RNNCell", (3, 4, False, "relu"), {}, [(2, 3), (2, 4)]),
    ("GRUCell", (3, 4), {}, [(2, 3), (2, 4)]),
    ("GRUCell", (3, 4), {"bias": False}, [(3,), (4,)]),
    ("LSTMCell", (3, 4), {}, [(2, 3)]),
    ("LSTMCell", (3, 4, False), {}, [(3,)]),
    ("Identity", (), {}, [(3, 4)]),
    ("Flatten", (), {}, [(3, 4, 2)]),
    ("RNN", (3, 4), {}, [(6, 2, 3)]),
    ("RNN", (3, 4, 2, "relu"), {"bidirectional": True}, [(6, 2, 3), (4, 2, 4)]),
    ("LSTM", (3, 4, 2), {"bidirectional": True, "batch_first": True}, [(2, 6, 3)]),
    ("LSTM", (3, 4), {"bias": False}, [(6, 3)]),
    ("GRU", (3, 4, 3), {}, [(6, 2, 3), (3, 2, 4)]),
    ("GRU", (3, 4), {"bidirectional": True}, [(6, 2, 3)]),
    ("MultiheadAttention", (8, 2), {}, [(5, 3, 8), (6, 3, 8), (6, 3, 8)]),
    ("MultiheadAttention", (8, 4, 0, False), {"batch_first": True, "kdim": 3, "vdim": 5},
     [(3, 5, 8), (3, 6, 3), (3, 6, 5)]),
    ("MSELoss", (), {}, [(3, 4), (3, 4)]),
    ("L1Loss", (), {"reduction": "sum"}, [(3, 4), (3, 4)]),
]  # fmt: skip


CASES = [(*layer, train) for layer in LAYERS for train in ((True, False) if "BatchNorm" in layer[0] else (True,))]


@DTYPES
@pytest.mark.parametrize(
    ("name", "arguments", "options", "shapes", "train"),
    CASES,
    ids=[f"{i}-{case[0]}-{'train' if case[-1] else 'eval'}" for i, case in enumerate(CASES)],
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_layer(parity, tmp_path, name, arguments, options, shapes, train, dtype):
    torch.manual_seed(1)
    ours, theirs = getattr(nn, name)(*arguments, **options), getattr(torch.nn, name)(*arguments, **options)
    if train is False and getattr(theirs, "running_mean", None) is not None:
        theirs.running_mean.normal_()
        theirs.running_var.uniform_(0.5, 2.0)
    tolerance = 1e-7 if name == "Hardsigmoid" and dtype == "float64" else None  # torch's slope is 1/6 in float32
    same(parity, ours, theirs, [images(*shape) for shape in shapes], tmp_path, dtype, train, tolerance)


@DTYPES
def test_embedding(parity, tmp_path, dtype):
    indices = np.array([[0, 3, 3], [2, 0, 4]])
    same(parity, nn.Embedding(5, 3, 2), torch.nn.Embedding(5, 3, 2), [indices], tmp_path, dtype)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_attention_masks(parity, tmp_path, need_weights, causal, padded):
    torch.manual_seed(1)
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64)
    ours = loaded(nn.MultiheadAttention(8, 2, batch_first=True), theirs, tmp_path)
    x = images(3, 5, 8)
    mask = np.triu(np.ones((5, 5), bool), 1) if causal else None
    padding = np.arange(5) >= np.array([[5], [2], [3]]) if padded else None
    y, weights = ours(x, x, x, key_padding_mask=padding, attn_mask=mask, need_weights=need_weights)
    arrays = [None if a is None else torch.from_numpy(a) for a in (mask, padding)]
    t = torch.from_numpy(x)
    torch_y, torch_weights = theirs(t, t, t, key_padding_mask=arrays[1], attn_mask=arrays[0], need_weights=need_weights)
    parity.compare(y, torch_y)
    assert (weights is None) == (torch_weights is None)
    if weights is not None:
        parity.compare(weights, torch_weights)


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("CrossEntropyLoss", {}, "labels"),
        ("CrossEntropyLoss", {"weight": [1.0, 2.0, 0.5], "ignore_index": 1, "label_smoothing": 0.1}, "labels"),
        ("CrossEntropyLoss", {"reduction": "sum"}, "probabilities"),
        ("NLLLoss", {"weight": [1.0, 2.0, 0.5]}, "labels"),
        ("BCEWithLogitsLoss", {"pos_weight": [1.0, 2.0, 0.5]}, "probabilities"),
        ("BCEWithLogitsLoss", {"weight": [1.0, 2.0, 0.5], "reduction": "none"}, "probabilities"),
        ("KLDivLoss", {"reduction": "batchmean"}, "probabilities"),
        ("KLDivLoss", {"reduction": "sum", "log_target": True}, "logarithms"),
    ],
)
def test_losses(parity, tmp_path, name, options, kind):
    torch_options = {k: torch.tensor(v, dtype=torch.float64) if isinstance(v, list) else v for k, v in options.items()}
    options = {k: np.array(v) if isinstance(v, list) else v for k, v in options.items()}
    p = np.exp(images(4, 3))
    p /= p.sum(1, keepdims=True)
    target = {"labels": np.array([0, 2, 1, 2]), "probabilities": p, "logarithms": np.log(p)}[kind]
    same(
        parity,
        getattr(nn, name)(**options),
        getattr(torch.nn, name)(**torch_options),
        [images(4, 3), target],
        tmp_path,
        "float64",
    )


# ---------------------------------------------------------------------- whole networks


def lenet(n):
    return n.Sequential(
        n.Conv2d(1, 6, kernel_size=5, padding=2), n.Sigmoid(), n.AvgPool2d(kernel_size=2, stride=2),
        n.Conv2d(6, 16, kernel_size=5), n.Sigmoid(), n.AvgPool2d(kernel_size=2, stride=2), n.Flatten(),
        n.Linear(16 * 5 * 5, 120), n.Sigmoid(), n.Linear(120, 84), n.Sigmoid(), n.Linear(84, 10),
    )  # fmt: skip


def residual(n):
    class Block(n.Module):
        def __init__(self, channels):
            super().__init__()
            self.conv1 = n.Conv2d(channels, channels, 3, padding=1, bias=False)
            self.bn1 = n.BatchNorm2d(channels)
            self.conv2 = n.Conv2d(channels, channels, 3, padding=1, bias=False)
            self.bn2 = n.BatchNorm2d(channels)
            self.relu = n.ReLU()

        def forward(self, x):
            return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + x)

    class Net(n.Module):
        def __init__(self):
            super().__init__()
            self.stem = n.Sequential(
                n.Conv2d(1, 4, 3, stride=2, padding=1, bias=False), n.BatchNorm2d(4), n.ReLU(), n.MaxPool2d(2)
            )
            self.blocks = n.ModuleList([Block(4) for _ in range(2)])
            self.heads = n.ModuleDict({"digit": n.Linear(4, 10)})
            self.pool = n.AdaptiveAvgPool2d(1)

        def forward(self, x):
            x = self.stem(x)
            for block in self.blocks:
                x = block(x)
            return self.heads["digit"](self.pool(x).reshape(x.shape[0], -1))

    return Net()


@DTYPES
@pytest.mark.parametrize("build", [lenet, residual])
def test_network(parity, tmp_path, build, dtype):
    torch.manual_seed(1)
    same(
        parity,
        build(nn),
        build(torch.nn),
        [images(4, 1, 28, 28)],
        tmp_path,
        dtype,
        tolerance=2e-4 if dtype == "float32" else 1e-9,
    )


@pytest.mark.parametrize("build", [lenet, residual])
def test_our_state_dict_loads_in_torch(parity, tmp_path, build):
    from safetensors.torch import load_file as load

    ours, theirs = build(nn), build(torch.nn)
    save_file({name: tensor.numpy() for name, tensor in ours.state_dict().items()}, tmp_path / "ours.safetensors")
    theirs.load_state_dict(load(tmp_path / "ours.safetensors"))
    x = images(2, 1, 28, 28).astype(np.float32)
    parity.compare(ours.eval()(x), theirs.eval()(torch.from_numpy(x)))


def test_default_initialisation_has_the_same_spread():
    """The distributions are equal, the numbers are not: spread and bounds of each parameter of large layers."""
    large = {"Linear": (300, 400), "Conv2d": (32, 64, 5), "ConvTranspose2d": (64, 32, 5), "Embedding": (300, 200)}
    for name, arguments in {**large, "LSTM": (100, 200), "GRUCell": (100, 200), "MultiheadAttention": (256, 4)}.items():
        ours, theirs = getattr(nn, name)(*arguments), getattr(torch.nn, name)(*arguments)
        for (label, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            spread = b.std().item()
            assert abs(a.data.std() - spread) <= 0.2 * spread, f"{name}.{label}"
            if name != "Embedding":
                bound = b.abs().max().item()
                assert abs(abs(a.data).max() - bound) <= 0.1 * bound, f"{name}.{label}"


@pytest.mark.parametrize(
    "name", ["xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_", "trunc_normal_", "orthogonal_"]
)
def test_initialisers_have_the_same_spread(name):
    ours, theirs = (
        getattr(nn.init, name)(tn.zeros((60, 50, 3, 3))),
        getattr(torch.nn.init, name)(torch.zeros(60, 50, 3, 3)),
    )
    assert ours.data.std() == pytest.approx(theirs.std().item(), rel=0.03)


def test_deepcopied_network_is_the_same(parity):
    net = lenet(nn)
    x = images(1, 1, 28, 28).astype(np.float32)
    assert np.array_equal(copy.deepcopy(net)(x).data, net(x).data)
