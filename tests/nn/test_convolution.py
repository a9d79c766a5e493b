"""Layers of convolution, pooling and padding in one, two and three dimensions."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn
from tinygrad_notes.study import summary

AXES = pytest.mark.parametrize("axes", [1, 2, 3])
SIZE = (7, 6, 5)


def numbers(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def layer(name, axes, *arguments, **options):
    return getattr(nn, f"{name}{axes}d")(*arguments, **options)


@AXES
def test_convolution_is_the_function_of_its_parameters(axes):
    x = numbers(2, 4, *SIZE[:axes])
    conv = layer("Conv", axes, 4, 6, 3, stride=2, padding=1, dilation=2, groups=2)
    assert conv.weight.shape == (6, 2, *(3,) * axes)
    assert [name for name, _ in conv.named_parameters()] == ["weight", "bias"]
    y = getattr(tn, f"conv{axes}d")(x, conv.weight, conv.bias, 2, 1, 2, 2)
    np.testing.assert_array_equal(conv(x).data, y.data)
    np.testing.assert_allclose(conv(x[1]).data, y.data[1], rtol=1e-5, atol=1e-6)

    back = layer("ConvTranspose", axes, 4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, bias=False)
    assert back.weight.shape == (4, 3, *(3,) * axes)
    assert list(back.state_dict()) == ["weight"]
    assert back(x).shape == (2, 6, *(2 * n for n in SIZE[:axes]))
    bound = 1 / np.sqrt(3 * 3**axes)  # PyTorch counts the second axis of the weight as inputs
    assert 0.7 * bound < np.abs(back.weight.data).max() <= bound


@AXES
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [2, "same", "valid"])
def test_padding_modes_are_padding_layers(axes, mode, padding):
    names = {"zeros": "ZeroPad", "reflect": "ReflectionPad", "replicate": "ReplicationPad", "circular": "CircularPad"}
    x, conv = numbers(2, 3, *SIZE[:axes]), layer("Conv", axes, 3, 2, 4, padding=padding, padding_mode=mode)
    widths = {2: 2, "same": (1, 2) * axes, "valid": 0}[padding]
    padded = layer(names[mode], axes, widths)(x)
    wanted = getattr(tn, f"conv{axes}d")(padded, conv.weight, conv.bias)
    np.testing.assert_allclose(conv(x).data, wanted.data, rtol=1e-5, atol=1e-6)
    if padding == "same":
        assert conv(x).shape == (2, 2, *SIZE[:axes])


def test_padding_starts_with_the_last_axis():
    x = np.arange(6.0).reshape(1, 2, 3)
    np.testing.assert_array_equal(nn.ConstantPad2d((1, 0, 0, 1), 9)(x).data[0], [[9, 0, 1, 2], [9, 3, 4, 5], [9] * 4])
    np.testing.assert_array_equal(nn.ZeroPad3d((0, 0, 0, 0, 1, 0))(x[None]).data[0], [np.zeros((2, 3)), x[0]])
    np.testing.assert_array_equal(nn.ReflectionPad1d((0, 2))(x[0]).data, [[0, 1, 2, 1, 0], [3, 4, 5, 4, 3]])
    image = np.arange(4, dtype=np.uint8).reshape(1, 2, 2)
    assert nn.ZeroPad2d(1)(image).dtype == tn.uint8


def test_padding_collects_the_gradients_of_copies():
    x = tn.tensor(np.arange(3.0), requires_grad=True)
    nn.ReplicationPad1d((2, 1))(x).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [3, 1, 2])
    assert nn.CircularPad1d(1)(x).tolist() == [2, 0, 1, 2, 0]


@AXES
def test_pooling_layers_are_the_functions(axes):
    x = numbers(2, 3, *SIZE[:axes])
    f = {
        name: getattr(tn, f"{name}{axes}d")
        for name in ("max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool")
    }
    window = {"kernel_size": 3, "stride": 2, "padding": 1}
    pairs = [
        (layer("MaxPool", axes, **window, dilation=2), f["max_pool"](x, **window, dilation=2)),
        (layer("MaxPool", axes, 2, ceil_mode=True), f["max_pool"](x, 2, ceil_mode=True)),
        (
            layer("AvgPool", axes, **window, count_include_pad=False),
            f["avg_pool"](x, **window, count_include_pad=False),
        ),
        (layer("AdaptiveAvgPool", axes, 2), f["adaptive_avg_pool"](x, 2)),
        (layer("AdaptiveMaxPool", axes, 2), f["adaptive_max_pool"](x, 2)),
    ]
    for module, y in pairs:
        np.testing.assert_array_equal(module(x).data, y.data)
        assert not module.state_dict()
    for name, arguments in (("MaxPool", (2,)), ("AdaptiveMaxPool", (3,))):
        y, indices = layer(name, axes, *arguments, return_indices=True)(x)
        flat = x.reshape(2, 3, -1)
        np.testing.assert_array_equal(
            np.take_along_axis(flat, indices.data.reshape(2, 3, -1), 2), y.data.reshape(2, 3, -1)
        )


def test_encoder_and_decoder_with_indices():
    """The unpooling of SegNet: each element returns to where it was."""
    pool, unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
    x = tn.tensor(numbers(2, 3, 6, 7), requires_grad=True)
    y, indices = pool(x)
    back = unpool(y, indices, output_size=x.shape)
    assert back.shape == x.shape
    kept = back.data != 0
    np.testing.assert_array_equal(back.data[kept], x.data[kept])
    back.sum().backward()
    np.testing.assert_array_equal(x.grad.data, kept)


def test_norm_layer():
    x = np.abs(numbers(2, 3, 6, 7))
    np.testing.assert_array_equal(nn.LPPool2d(3, 2, 1)(x).data, tn.lp_pool2d(x, 3, 2, 1).data)


@AXES
def test_output_size_of_a_transposed_convolution(axes):
    """Each size that the convolution takes to that of x can be reached."""
    back, conv = layer("ConvTranspose", axes, 2, 2, 3, 3, padding=1), layer("Conv", axes, 2, 2, 3, 3, padding=1)
    x = numbers(1, 2, *(4,) * axes)
    for n in (10, 11, 12):
        assert back(x, output_size=n).shape == (1, 2, *(n,) * axes)
        assert conv(back(x, output_size=(n,) * axes)).shape == x.shape
    for n in (9, 13):
        with pytest.raises(tn.ShapeError, match="output_size is"):
            back(x, output_size=n)


def test_summary_shows_layers_of_every_dimension():
    net = nn.Sequential(nn.Conv1d(3, 8, 5, padding=2), nn.MaxPool1d(2), nn.ConvTranspose1d(8, 4, 2, stride=2))
    found = summary(net, (2, 3, 10))
    assert [row.kind for row in found.rows] == ["Sequential", "Conv1d", "MaxPool1d", "ConvTranspose1d"]
    assert [row.output_shape for row in found.rows[1:]] == [(2, 8, 10), (2, 8, 5), (2, 4, 10)]
    assert [row.multiply_adds for row in found.rows[1:]] == [2 * 8 * 10 * 3 * 5, 0, 2 * 8 * 5 * 4 * 2]
    clip = summary(nn.Sequential(nn.ReplicationPad3d(1), nn.Conv3d(3, 8, 3, stride=(1, 2, 2))), (1, 3, 4, 8, 8))
    assert clip.rows[-1].output_shape == (1, 8, 4, 4, 4)
    assert clip.multiply_adds == 8 * 4 * 4 * 4 * 3 * 27
    assert clip.parameters == 8 * (3 * 27 + 1)
    image = summary(nn.Conv2d(4, 6, 3, groups=2, padding=1, padding_mode="reflect"), (1, 4, 5, 5))
    assert image.multiply_adds == 6 * 25 * 2 * 9


def test_repr():
    assert nn.Conv1d(2, 4, 3, padding=1, padding_mode="circular", bias=False).extra_repr() == (
        "2, 4, kernel_size=(3,), stride=(1,), padding=(1,), padding_mode='circular', bias=False"
    )
    assert nn.ConvTranspose3d(2, 4, 2, 2, output_padding=1).extra_repr() == (
        "2, 4, kernel_size=(2, 2, 2), stride=(2, 2, 2), output_padding=(1, 1, 1)"
    )
    assert nn.Conv3d(2, 4, 2, padding="same").extra_repr().endswith("stride=(1, 1, 1), padding='same'")
    assert nn.AvgPool1d(2, ceil_mode=True).extra_repr() == "kernel_size=(2,), stride=(2,), padding=(0,), ceil_mode=True"
    assert nn.LPPool2d(2, 3).extra_repr().startswith("norm_type=2.0, kernel_size=(3, 3)")
    assert nn.AdaptiveMaxPool3d((None, 1, 1)).extra_repr() == "output_size=(None, 1, 1)"
    assert nn.ConstantPad1d(1, 0.5).extra_repr() == "padding=(1, 1), value=0.5"
    assert nn.ReflectionPad2d((1, 2, 3, 4)).extra_repr() == "(1, 2, 3, 4)"


X = tn.ones((1, 2, 5))
WRONG = [
    (lambda: nn.Conv1d(2, 3, (2, 2)), tn.ShapeError, "Conv1d: kernel_size is .*, expected an integer$"),
    (lambda: nn.Conv3d(2, 3, (2, 2)), tn.ShapeError, "Conv3d: kernel_size is .*, expected an integer or three"),
    (lambda: nn.Conv3d(2, 3, 2, padding="full"), tn.ShapeError, "Conv3d: padding is 'full'"),
    (lambda: nn.Conv1d(2, 3, 2, stride=2, padding="same"), tn.ShapeError, "Conv1d: padding 'same' needs stride 1"),
    (lambda: nn.Conv1d(2, 3, 2, padding_mode="mirror"), tn.ShapeError, "Conv1d: padding_mode is 'mirror'"),
    (lambda: nn.Conv1d(2, 3, 2)(tn.ones((1, 2, 5, 5))), tn.ShapeError, r"conv1d: x has shape .* \(N, C, L\) or"),
    (lambda: nn.Conv3d(2, 3, 2, padding_mode="reflect")(X), tn.ShapeError, r"Conv3d: x has 3 axes, .* \(C, D, H, W\)"),
    (lambda: nn.ConvTranspose1d(2, 3, 2, padding_mode="circular"), tn.ShapeError, "only 'zeros' exists"),
    (lambda: nn.ConvTranspose3d(2, 3, 2, output_padding=1), tn.ShapeError, "ConvTranspose3d: output_padding is 1"),
    (lambda: nn.ConvTranspose1d(2, 3, 2)(X, (3, 3, 9)), tn.ShapeError, "ConvTranspose1d: output_size is"),
    (lambda: nn.ConvTranspose2d(2, 3, 2)(X[0], 4), tn.ShapeError, "ConvTranspose2d: x has shape"),
    (lambda: nn.MaxPool1d(2, padding=2), tn.ShapeError, "MaxPool1d: padding is 2, expected at most half"),
    (lambda: nn.AvgPool3d((2, 2)), tn.ShapeError, "AvgPool3d: kernel_size is"),
    (lambda: nn.AdaptiveMaxPool1d((1, 2)), tn.ShapeError, "AdaptiveMaxPool1d: output_size is"),
    (lambda: nn.LPPool2d("2", 2), tn.DTypeError, "LPPool2d: norm_type is '2'"),
    (lambda: nn.ZeroPad2d((1, 2)), tn.ShapeError, "ZeroPad2d: padding is .*, expected an integer or 4"),
    (lambda: nn.ZeroPad1d(-1), tn.ShapeError, "ZeroPad1d: padding is -1, expected at least 0"),
    (lambda: nn.ReflectionPad2d(1.5), tn.DTypeError, "ReflectionPad2d: padding is 1.5"),
    (lambda: nn.ConstantPad1d(1, "a"), tn.DTypeError, "ConstantPad1d: value is 'a'"),
    (lambda: nn.ReplicationPad2d(1)(tn.ones(3)), tn.ShapeError, "ReplicationPad2d: x has shape .* at least 2 axes"),
    (lambda: nn.CircularPad1d(1)(X[..., :0]), tn.ShapeError, "axis 2 is empty"),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[message[:40] for _, _, message in WRONG])
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_sequence_network_learns():
    """Which of two bumps a noisy sequence holds: convolution, pooling and global pooling, trained by hand."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 128)
    x = 0.3 * rng.standard_normal((128, 1, 24))
    bumps = np.array([[1, 2, 3, 0, 0], [0, 0, 3, 2, 1.0]])
    for row, label, start in zip(x, labels, rng.integers(0, 20, 128)):
        row[0, start : start + 5] += bumps[label]
    tn.manual_seed(1)
    net = nn.Sequential(
        nn.Conv1d(1, 8, 5, padding="same"), nn.ReLU(), nn.MaxPool1d(2),
        nn.Conv1d(8, 8, 3, padding=1, padding_mode="reflect"),
        nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(8, 2),
    )  # fmt: skip
    x = tn.tensor(x.astype(np.float32))
    for _ in range(60):
        loss = tn.cross_entropy(net(x), labels)
        loss.backward()
        with tn.no_grad():
            for p in net.parameters():
                p -= 0.3 * p.grad
                p.grad = None
    assert (net(x).data.argmax(1) == labels).mean() > 0.95
