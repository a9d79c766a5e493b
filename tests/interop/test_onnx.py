"""ONNX: what is exported runs in onnxruntime with the same result, and comes back as a module that trains."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.interop.helpers import Of, arrays_of, assert_close, normal, run
from tinygrad_notes import nn, optim
from tinygrad_notes.errors import DataError, DTypeError, ShapeError
from tinygrad_notes.interop import OnnxError, OnnxModule, export_onnx, import_onnx, supported_operators, supported_ops
from tinygrad_notes.interop.table import WRITERS
from tinygrad_notes.interop.trace import outputs_of
from tinygrad_notes.notes.cnn import cnn_recipe_lenet as lenet
from tinygrad_notes.registry import REGISTRY

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


class Block(nn.Module):
    """The residual block of two 3×3 convolutions (He et al. 2015)."""

    def __init__(self, before, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or before != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x):
        y = self.bn2(self.conv2(tn.relu(self.bn1(self.conv1(x)))))
        return tn.relu(y + (x if self.downsample is None else self.downsample(x)))


def resnet18(width=64):
    layers = [nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    before = width
    for i, channels in enumerate((width, 2 * width, 4 * width, 8 * width)):
        layers += [Block(before, channels, 1 if i == 0 else 2), Block(channels, channels, 1)]
        before = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 1000))


def lived_in(module):
    """Batch normalisation with statistics and scales that are not 0 and 1."""
    rng = np.random.default_rng(1)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if name.endswith(("running_mean", "bias")):
            tensor.data[...] = rng.normal(0, 0.3, tensor.shape)
        elif name.endswith("running_var"):
            tensor.data[...] = rng.uniform(0.5, 1.5, tensor.shape)
    return module


def encoder():
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    return nn.TransformerEncoder(layer, 2)


class LanguageModel(nn.Module):
    """Learned positions, of which a slice is used, and an embedding that is the output's weight too."""

    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(11, 8), nn.Embedding(16, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)

    def forward(self, indices):
        x = self.tokens(indices) + self.positions.weight[: indices.shape[1]]
        return self.layer(x) @ self.tokens.weight.mT


def signals():
    return nn.Sequential(nn.Conv1d(2, 4, 3, padding="same"), nn.ReLU(), nn.ConvTranspose1d(4, 3, 4, 2, 1))


def normalisations():
    layers = (
        nn.GroupNorm(2, 4),
        nn.InstanceNorm1d(4, track_running_stats=True),
        nn.BatchNorm1d(4, track_running_stats=False),
    )
    return lived_in(nn.Sequential(*layers))


NETWORKS = {
    "other normalisations": (normalisations, (3, 4, 5)),
    "signals": (signals, (2, 2, 9)),
    "windows that overlap": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d((4, 3))), (2, 2, 9, 11)),
    "LeNet": (lenet.LeNet, (1, 1, 28, 28)),
    "LeNet by the recipe": (lambda: lived_in(lenet.recipe()), (1, 1, 28, 28)),
    "ResNet-18": (lambda: lived_in(resnet18()), (1, 3, 32, 32)),
    "LSTM": (lambda: nn.LSTM(5, 7, 2), (4, 3, 5)),
    "LSTM both ways": (lambda: nn.LSTM(5, 7, 2, bidirectional=True, batch_first=True), (3, 4, 5)),
    "GRU": (lambda: nn.GRU(5, 7, 2, bidirectional=True), (4, 3, 5)),
    "GRU, reset before": (lambda: nn.GRU(5, 7, reset_after=False), (4, 3, 5)),
    "RNN": (lambda: nn.RNN(5, 7, 2, nonlinearity="relu"), (4, 3, 5)),
    "LSTM without biases": (lambda: nn.LSTM(5, 7, bias=False), (4, 3, 5)),
    "Transformer encoder": (encoder, (2, 6, 16)),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_there_and_back(name, tmp_path):
    build, shape = NETWORKS[name]
    module, x, path = build(), normal(*shape), tmp_path / "net.onnx"
    export_onnx(module, x, path)
    onnx.checker.check_model(onnx.load(str(path)), full_check=True)
    assert module.training, "the export left the module in another mode"

    module.eval()
    wanted = module(x)
    assert_close(run(path, x), arrays_of(wanted), 1e-5)
    back = import_onnx(path)
    assert_close(arrays_of(back(x)), arrays_of(wanted), 1e-6)

    names = dict(module.named_parameters())
    assert dict(back.named_parameters()).keys() == names.keys()
    for network in (module, back):
        y = outputs_of(network(x))[0]
        (y * normal(*y.shape)).sum().backward()
    scale = max(float(np.abs(p.grad.data).max()) for p in names.values())  # those that cancel are rounding alone
    for key, parameter in back.named_parameters():
        np.testing.assert_allclose(parameter.grad.data, names[key].grad.data, rtol=1e-3, atol=1e-5 * scale)


def test_the_resnet_is_the_published_one():
    assert sum(p.size for p in resnet18().parameters()) == 11_689_512


DYNAMIC = {
    "LeNet": (lenet.LeNet, (1, 1, 28, 28), {0: "batch"}, [(5, 1, 28, 28)]),
    "LeNet by the recipe": (lenet.recipe, (2, 1, 28, 28), [0], [(1, 1, 28, 28), (5, 1, 28, 28)]),
    "ResNet-18, other images": (
        lambda: resnet18(8), (1, 3, 32, 32), {0: "batch", 2: "height", 3: "width"}, [(2, 3, 64, 32)],
    ),
    "LSTM": (
        lambda: nn.LSTM(5, 7, 2, bidirectional=True), (4, 3, 5), {0: "steps", 1: "batch"}, [(9, 1, 5), (1, 4, 5)],
    ),
    "signals": (signals, (1, 2, 9), {0: "batch", 2: "steps"}, [(3, 2, 14)]),
    "Transformer encoder": (encoder, (2, 6, 16), {0: "batch", 1: "length"}, [(5, 3, 16), (1, 9, 16)]),
}  # fmt: skip


@pytest.mark.parametrize("name", DYNAMIC)
def test_dynamic_axes(name, tmp_path):
    build, shape, axes, others = DYNAMIC[name]
    module, path = build().eval(), tmp_path / "net.onnx"
    export_onnx(module, normal(*shape), path, ["x"], dynamic_axes={"x": axes})
    back = import_onnx(path)
    for other in (shape, *others):
        x = normal(*other)
        wanted = arrays_of(module(x))
        assert_close(run(path, x), wanted, 1e-5)
        assert_close(arrays_of(back(x)), wanted, 2e-6)


def test_a_language_model_of_any_length(tmp_path):
    module, path = LanguageModel().eval(), tmp_path / "net.onnx"
    export_onnx(
        module, np.array([[1, 2, 3, 4]]), path, ["indices"], dynamic_axes={"indices": {0: "batch", 1: "length"}}
    )
    back = import_onnx(path)
    assert dict(back.named_parameters()).keys() == dict(module.named_parameters()).keys()
    for indices in (np.array([[7, 0, 10, 3, 3, 9]]), np.array([[1, 2], [3, 4], [5, 6]])):
        wanted = arrays_of(module(indices))
        assert_close(run(path, indices), wanted, 1e-5)
        assert_close(arrays_of(back(indices)), wanted, 2e-6)


def test_names_of_inputs_outputs_and_axes(tmp_path):
    path = tmp_path / "net.onnx"
    export_onnx(nn.LSTM(2, 3), normal(4, 1, 2), path, ["x"], ["y", "h", "c"], {"x": {1: "batch"}})
    graph = onnx.load(str(path)).graph
    assert [v.name for v in graph.input] == ["x"]
    assert [v.name for v in graph.output] == ["y", "h", "c"]
    dims = [d.dim_param or d.dim_value for d in graph.output[0].type.tensor_type.shape.dim]
    assert dims == [4, "batch", 3]
    assert sorted(i.name for i in graph.initializer) == sorted(nn.LSTM(2, 3).state_dict())


@pytest.mark.parametrize("opset", [20, 21, 22, 23])
def test_every_opset_that_is_offered(opset, tmp_path):
    module, x, path = (
        nn.Sequential(lenet.recipe(), nn.GELU(), nn.LayerNorm(10)).eval(),
        normal(2, 1, 28, 28),
        tmp_path / "n",
    )
    export_onnx(module, x, path, opset=opset)
    assert_close(run(path, x), arrays_of(module(x)), 1e-5)
    assert_close(arrays_of(import_onnx(path)(x)), arrays_of(module(x)), 1e-6)


def test_an_imported_network_trains(tmp_path):
    path, rng = tmp_path / "net.onnx", np.random.default_rng(0)
    export_onnx(
        nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2)), normal(1, 4), path, dynamic_axes={"input": [0]}
    )
    net = import_onnx(path)
    x = rng.standard_normal((64, 4)).astype(np.float32)
    labels = (x[:, 0] * x[:, 1] > 0).astype(np.int64)
    optimizer = optim.Adam(net.parameters(), lr=0.03)
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        loss = tn.cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 < 0.5 < losses[0]
    net.load_state_dict(net.state_dict())


def test_buffers_and_frozen_parameters_come_back_as_such(tmp_path):
    module, path = lenet.recipe(), tmp_path / "net.onnx"
    module[0].weight.requires_grad_(False)
    export_onnx(module, normal(1, 1, 28, 28), path)
    back = import_onnx(path)
    buffers = {name for name, _ in back.named_buffers()}
    assert buffers == {"0.weight", "1.running_mean", "1.running_var", "5.running_mean", "5.running_var"}
    assert "0.bias" in dict(back.named_parameters())


# ---------------------------------------------------------------------- outputs and names of every kind


class Returns(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(tn.tensor([1.0, 2.0]))

    def forward(self, x):
        y = tn.relu(x)
        return y, [x, (y, None)], self.weight, tn.exp(y) * tn.asarray(np.array([3.0, 4.0], np.float32)), tn.asarray(X)


X = np.array([5.0, 6.0], np.float32)


@pytest.mark.parametrize("names", [None, ["exp", "relu", "mul", "weight", "constant", "y"]])
def test_outputs_that_are_inputs_parameters_constants_or_twice(names, tmp_path):
    """And names that nodes of the graph would have had."""
    module, path, x = Returns(), tmp_path / "net.onnx", tn.tensor([-1.0, 2.0])
    export_onnx(module, x, path, None if names is None else ["relu_1"], names)
    assert names is None or [v.name for v in onnx.load(str(path)).graph.output] == names
    wanted = arrays_of(module(x))
    assert len(wanted) == 6
    assert_close(run(path, x), wanted, 1e-6)
    assert_close(arrays_of(import_onnx(path)(x)), wanted, 1e-6)


# ---------------------------------------------------------------------- what depends on the inputs


def test_labels_are_an_input_although_the_loss_copies_them(tmp_path):
    path, labels = tmp_path / "loss.onnx", np.array([2, 0, 1, 1])
    module = Of(lambda x, y: tn.cross_entropy(x, y))
    export_onnx(module, (normal(4, 3), labels), path, ["x", "y"], dynamic_axes={"x": {0: "n"}, "y": {0: "n"}})
    x, other = normal(6, 3), np.array([0, 1, 2, 2, 1, 0])
    wanted = arrays_of(module(x, other))
    assert_close(run(path, x, other), wanted, 1e-6)
    assert_close(arrays_of(import_onnx(path)(x, other)), wanted, 1e-6)


def test_lengths_are_an_input(tmp_path):
    path, layer = tmp_path / "net.onnx", nn.LSTM(3, 4, bidirectional=True)
    module = Of(lambda x, lengths: layer(x, None, lengths)[0])
    export_onnx(module, (normal(5, 2, 3), np.array([5, 3])), path)
    x, lengths = normal(5, 2, 3), np.array([1, 4])
    wanted = arrays_of(module(x, lengths))
    assert_close(run(path, x, lengths), wanted, 1e-6)
    assert_close(arrays_of(import_onnx(path)(x, lengths)), wanted, 1e-6)


def test_masks_of_attention(tmp_path):
    """A row that may attend to nothing gives 0 in the file too."""
    path = tmp_path / "net.onnx"
    module = Of(lambda q, k, mask: tn.scaled_dot_product_attention(q, k, k, mask, enable_gqa=True))
    mask = np.array([[True, False, True], [False, False, False]])
    export_onnx(module, (normal(2, 4, 2, 8), normal(2, 2, 3, 8), np.ones((2, 3), bool)), path)
    wanted = arrays_of(module(normal(2, 4, 2, 8), normal(2, 2, 3, 8), mask))
    assert not wanted[0][:, :, 1].any()
    assert_close(run(path, normal(2, 4, 2, 8), normal(2, 2, 3, 8), mask), wanted, 1e-5)
    assert_close(arrays_of(import_onnx(path)(normal(2, 4, 2, 8), normal(2, 2, 3, 8), mask)), wanted, 1e-5)


def test_causal_attention_of_any_length(tmp_path):
    path = tmp_path / "net.onnx"
    module = Of(lambda q: tn.scaled_dot_product_attention(q, q, q, is_causal=True))
    export_onnx(module, normal(1, 2, 4, 8), path, ["q"], dynamic_axes={"q": {0: "batch", 2: "length"}})
    x = normal(3, 2, 7, 8)
    assert_close(run(path, x), arrays_of(module(x)), 1e-5)


def branching(x):
    return tn.exp(x) if x.data[0, 0] < x.data[1, 2] else tn.sin(x)


def written(x):
    y = x * 2.0
    y += 1.0
    return y


def written_through_a_view(x):
    y = x * 2.0
    y[0] = 0.0
    return y + x


REFUSED = {
    "an op without counterpart": (lambda x: tn.svd(x)[1], "svd: the op has no counterpart .* there are .*abs"),
    "a choice by values": (branching, "calls other ops when its inputs have other values"),
    "values that no op made": (
        lambda x: x * tn.asarray(x.numpy() ** 2), r"multiply: an array \[2, 3\] float32 depends on the inputs",
    ),
    "an operator in place": (written, r"was written in place at .*test_onnx.py:\d+"),
    "an element in place": (written_through_a_view, r"was written in place at .*test_onnx.py:\d+"),
    "no Tensor": (lambda x: {"y": x}, "returned dict, expected Tensors"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exported_says_why(name, tmp_path):
    function, message = REFUSED[name]
    module = Of(function).train()
    with pytest.raises(OnnxError, match=message):
        export_onnx(module, np.abs(normal(2, 3).data), tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()
    assert module.training


def positions(x):
    return x + np.arange(x.shape[1], dtype=np.float32)[None, :, None]


def by_size(x):
    return tn.exp(x) if x.shape[1] > 6 else tn.sin(x)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (positions, r"add: an array \[1, 6, 1\] float32 depends on the inputs"),
        (by_size, "calls other ops when its inputs have other values or sizes"),
        (lambda x: tn.reshape(x, (x.shape[0] * 2, x.shape[1] * 2, 1)), "a size depends on the dynamic axes"),
        (lambda x: x * float(x.shape[1] ** 2), "a size depends on the dynamic axes"),
    ],
)
def test_dynamic_sizes_that_a_file_cannot_say(function, message, tmp_path):
    x = normal(2, 6, 4)
    with pytest.raises(OnnxError, match=message):
        export_onnx(Of(function), x, tmp_path / "net.onnx", ["x"], dynamic_axes={"x": [0, 1]})
    if function is not by_size:  # with fixed sizes there is nothing to say
        export_onnx(Of(function), x, tmp_path / "net.onnx")
        assert_close(run(tmp_path / "net.onnx", x), arrays_of(function(x)), 1e-6)


def test_dynamic_sizes_that_a_file_can_say(tmp_path):
    """Two unknown axes in a reshape, a size as a number, an end of a slice, zeros of a batch."""

    def function(x):
        n, length, size = x.shape
        y = tn.reshape(x, (size, n, length)) / length
        return tn.concat([y, tn.zeros((size, n, 1))], -1)[:, :, : length - 0] + tn.broadcast_to(x[0, 0, 0], (n, length))

    path = tmp_path / "net.onnx"
    export_onnx(Of(function), normal(2, 5, 3), path, ["x"], dynamic_axes={"x": {0: "n", 1: "length"}})
    x = normal(4, 2, 3)
    assert_close(run(path, x), arrays_of(function(x)), 1e-6)


def test_wrong_arguments(tmp_path):
    net, x, path = nn.Linear(3, 2), normal(1, 3), tmp_path / "net.onnx"
    with pytest.raises(DTypeError, match="module is int, expected a Module"):
        export_onnx(3, x, path)
    with pytest.raises(OnnxError, match="opset is 19, expected 20 to 23"):
        export_onnx(net, x, path, opset=19)
    with pytest.raises(ShapeError, match=r"input_names is .* expected 1 different names"):
        export_onnx(net, x, path, ["a", "b"])
    with pytest.raises(ShapeError, match=r"dynamic_axes has .*'z'.*expected names of inputs"):
        export_onnx(net, x, path, dynamic_axes={"z": [0]})
    with pytest.raises(ShapeError, match="dynamic_axes of input are"):
        export_onnx(net, x, path, dynamic_axes={"input": [2]})
    export_onnx(net, x, path)
    with pytest.raises(ShapeError, match="2 inputs are given, expected input"):
        import_onnx(path)(x, x)
    with pytest.raises(ShapeError, match=r"^Gemm"):
        import_onnx(path)(normal(1, 4))


# ---------------------------------------------------------------------- files of others


def model_of(nodes, inputs, outputs, initializers, opset=17, **more):
    helper = onnx.helper
    graph = helper.make_graph(
        nodes, "other", [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in inputs],
        [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in outputs],
        [onnx.numpy_helper.from_array(a.astype(np.float32) if a.dtype.kind == "f" else a, n)
         for n, a in initializers.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, **more)


def test_a_convolutional_file_of_another_program(tmp_path):
    node, rng, path = onnx.helper.make_node, np.random.default_rng(0), tmp_path / "other.onnx"
    state = {
        "conv.w": rng.standard_normal((4, 3, 3, 3)), "conv.b": rng.standard_normal(4), "scale": np.full(4, 0.5),
        "shift": rng.standard_normal(4), "mean": rng.standard_normal(4), "var": np.full(4, 2.0),
        "onnx::Gemm_7": rng.standard_normal((64, 5)), "fc.b": rng.standard_normal((1, 5)),
        "low": np.asarray(0.0), "shape": np.array([0, -1]), "axes": np.array([-1]),
    }  # fmt: skip
    nodes = [
        node("Conv", ["x", "conv.w", "conv.b"], ["a"], auto_pad="SAME_UPPER", strides=[2, 2]),
        node("BatchNormalization", ["a", "scale", "shift", "mean", "var"], ["b"], epsilon=1e-3),
        node("Clip", ["b", "low"], ["c"]),
        node("AveragePool", ["c"], ["d"], kernel_shape=[2, 2], pads=[0, 0, 1, 1]),
        node("Pad", ["d", "pads"], ["e"], mode="reflect"),
        node("MaxPool", ["e"], ["f"], kernel_shape=[2, 2], strides=[1, 1], pads=[1, 0, 0, 0]),
        node("Slice", ["f", "starts", "ends"], ["g"]),
        node("Reshape", ["g", "shape"], ["h"]),
        node("Gemm", ["h", "onnx::Gemm_7", "fc.b"], ["i"], alpha=0.5, beta=2.0),
        node("Split", ["i"], ["j", "k"], axis=1),
        node("ReduceMax", ["k"], ["l"], axes=[1], keepdims=1),
        node("Mul", ["j", "l"], ["m"]),
        node("Softmax", ["m"], ["y"], axis=1),
    ]
    state |= {
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "starts": np.zeros(4, np.int64),
        "ends": np.array([9, 9, 4, 4]),
    }
    nodes[9] = node("Split", ["i", "sizes"], ["j", "k"], axis=1)
    state["sizes"] = np.array([3, 2])
    model = model_of(nodes, [("x", ["n", 3, 8, 8])], [("y", ["n", 3])], state)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    net, x = import_onnx(path), normal(2, 3, 8, 8)
    assert_close(arrays_of(net(x)), run(path, x), 1e-5)
    assert {"conv.w", "conv.b", "scale", "fc.b"} <= set(dict(net.named_parameters()))
    assert {"mean", "var"} <= {name for name, _ in net.named_buffers()}
    (net(x) * normal(2, 3)).sum().backward()
    assert all(p.grad is not None and p.grad.data.any() for n, p in net.named_parameters() if n in ("conv.w", "fc.b"))


@pytest.mark.parametrize(
    ("operator", "gates", "more"),
    [("LSTM", 4, {}), ("GRU", 3, {"linear_before_reset": 1}), ("GRU", 3, {}), ("RNN", 1, {})],
)
def test_recurrent_files_of_another_program(operator, gates, more, tmp_path):
    """Both directions in one node, with states and lengths."""
    rng, path, hidden = np.random.default_rng(0), tmp_path / "other.onnx", 4
    state = {
        "W": rng.standard_normal((2, gates * hidden, 3)), "R": rng.standard_normal((2, gates * hidden, hidden)),
        "B": rng.standard_normal((2, 2 * gates * hidden)), "lengths": np.array([5, 2], np.int32),
        "h": rng.standard_normal((2, 2, hidden)), "c": rng.standard_normal((2, 2, hidden)),
    }  # fmt: skip
    states = ["h", "c"] if operator == "LSTM" else ["h"]
    state = {name: a for name, a in state.items() if name != "c" or "c" in states}
    outputs = ["y", *(f"last_{s}" for s in states)]
    recurrent = onnx.helper.make_node(
        operator,
        ["x", "W", "R", "B", "lengths", *states],
        outputs,
        hidden_size=hidden,
        direction="bidirectional",
        **more,
    )
    shapes = [("y", [5, 2, 2, hidden]), *((name, [2, 2, hidden]) for name in outputs[1:])]
    onnx.save(model_of([recurrent], [("x", [5, 2, 3])], shapes, state), str(path))
    x = normal(5, 2, 3)
    net = import_onnx(path)
    assert_close(arrays_of(net(x)), run(path, x), 1e-5)
    net(x)[0].sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_what_cannot_be_imported_says_why(tmp_path):
    node, path = onnx.helper.make_node, tmp_path / "other.onnx"

    def save(*nodes, opset=17):
        onnx.save(model_of(nodes, [("x", [2])], [("y", [2])], {}, opset), str(path))

    save(node("NonMaxSuppression", ["x"], ["a"]), node("Hardmax", ["a"], ["y"]))
    with pytest.raises(
        OnnxError, match="operators Hardmax, NonMaxSuppression, which are not known here; there are Abs"
    ):
        import_onnx(path)
    save(node("Fused", ["x"], ["y"], domain="com.example"))
    with pytest.raises(OnnxError, match=r"com\.example\.Fused"):
        import_onnx(path)
    save(node("Abs", ["x"], ["y"]), opset=9)
    with pytest.raises(OnnxError, match="opset 9, expected 13 to 23"):
        import_onnx(path)
    with pytest.raises(FileNotFoundError):
        import_onnx(tmp_path / "nothing.onnx")


def test_damaged_files(tmp_path):
    path = tmp_path / "net.onnx"
    export_onnx(nn.Linear(3, 2), normal(1, 3), path)
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"not a protobuf", whole.replace(b"Gemm", b"Gem")):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="is damaged"):
            import_onnx(path)
    model = onnx.load_from_string(whole)
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(DataError, match="is damaged"):
        import_onnx(path)
    model = onnx.load_from_string(whole)
    del model.graph.initializer[:]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(DataError, match="is damaged"):
        import_onnx(path)


# ---------------------------------------------------------------------- the table


def test_the_table_names_ops_and_operators_that_exist():
    assert set(WRITERS) - {"batch_norm_by_running_statistics", "copy_of_input"} <= set(REGISTRY)
    assert set(supported_operators()) <= {schema.name for schema in onnx.defs.get_all_schemas()}
    assert {"lstm_scan", "conv", "scaled_dot_product_attention", "batch_norm"} <= set(supported_ops())


def test_the_module_shows_itself(tmp_path):
    export_onnx(nn.Linear(3, 2), normal(1, 3), tmp_path / "net.onnx")
    net = import_onnx(tmp_path / "net.onnx")
    assert isinstance(net, OnnxModule)
    assert "input -> output, 1 nodes" in repr(net)
