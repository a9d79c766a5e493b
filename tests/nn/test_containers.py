"""Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict."""

from __future__ import annotations

import copy
from collections import OrderedDict

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn


def net_of(n=4):
    return nn.Sequential(*(nn.Linear(i + 1, i + 2) for i in range(n)))


def test_the_line_of_the_notes_works_word_for_word(capsys):
    net = nn.Sequential(nn.Conv2d(1, 6, kernel_size=5, padding=2), nn.Sigmoid(), nn.Flatten(), nn.Linear(96, 10))
    X = tn.zeros((2, 1, 4, 4))
    for layer in net: X = layer(X); print(layer.__class__.__name__, 'output shape:\t', X.shape)  # noqa: E701, E702 # fmt: skip
    assert capsys.readouterr().out == (
        "Conv2d output shape:\t (2, 6, 4, 4)\nSigmoid output shape:\t (2, 6, 4, 4)\n"
        "Flatten output shape:\t (2, 96)\nLinear output shape:\t (2, 10)\n"
    )


def test_sequential_applies_in_order_and_is_identity_when_empty():
    net = net_of(2)
    x = tn.ones((5, 1))
    assert np.array_equal(net(x).data, net[1](net[0](x)).data)
    assert nn.Sequential()(x) is x


def test_slices_share_layers_and_keep_names():
    net = net_of()
    part = net[1:3]
    assert type(part) is nn.Sequential
    assert list(part) == [net[1], net[2]]
    assert list(part.state_dict()) == ["1.weight", "1.bias", "2.weight", "2.bias"]
    assert list(net[::-1]) == list(reversed(net))
    assert net[-1] is net[3]
    part.append(nn.ReLU()).append(nn.Tanh())
    assert [type(layer).__name__ for layer in part] == ["Linear", "Linear", "ReLU", "Tanh"]


def test_named_layers_are_attributes():
    net = nn.Sequential(OrderedDict(first=nn.Linear(2, 3), second=nn.ReLU()))
    assert net.first is net[0]
    assert list(net.state_dict()) == ["first.weight", "first.bias"]
    assert "second" in dir(net)
    net.second = nn.Tanh()
    assert type(net[1]) is nn.Tanh
    net.third = nn.Linear(3, 1)  # an attribute of a Sequential is its next layer, as in PyTorch
    assert net(tn.ones((1, 2))).shape == (1, 1)
    del net.third
    assert len(net) == 2
    with pytest.raises(tn.DTypeError, match="first is NoneType, expected a Module"):
        net.first = None


def test_sequential_edits():
    net = net_of()
    layers = list(net)
    net[1] = relu = nn.ReLU()
    assert net[1] is relu
    assert relu in net
    del net[0]
    assert list(net) == [relu, layers[2], layers[3]]
    assert [name for name, _ in net.named_children()] == ["0", "1", "2"]
    net.insert(1, layers[0])
    assert list(net) == [relu, layers[0], layers[2], layers[3]]
    assert net.pop() is layers[3]
    net.extend([nn.Tanh(), nn.Sigmoid()])
    assert len(net) == 5
    del net[1:]
    assert list(net) == [relu]


def test_subclass_of_sequential():
    class Net(nn.Sequential):
        def __init__(self):
            super().__init__(nn.Linear(2, 3), nn.ReLU())
            self.size = 3
            self.gain = nn.Parameter([1.0])

        def forward(self, x):
            return super().forward(x) * self.gain

    net = Net()
    assert net.size == 3
    del net.size
    assert not hasattr(net, "size")
    assert list(net.state_dict()) == ["gain", "0.weight", "0.bias"]
    assert net(tn.ones((1, 2))).shape == (1, 3)


def test_module_list():
    layers = nn.ModuleList(nn.Linear(1, 1) for _ in range(3))
    layers += [nn.ReLU()]
    net = nn.Module()
    net.layers = layers
    assert list(net.state_dict())[:2] == ["layers.0.weight", "layers.0.bias"]
    assert type(layers[1:]) is nn.ModuleList
    assert [name for name, _ in layers[1:].named_children()] == ["0", "1", "2"]
    with pytest.raises(NotImplementedError, match="ModuleList does not define forward"):
        layers(1)


def test_module_dict_takes_any_name_without_a_dot():
    heads = nn.ModuleDict({"keys": nn.Linear(1, 2), "forward": nn.ReLU()})
    assert list(heads.state_dict()) == ["keys.weight", "keys.bias"]
    assert list(heads.keys()) == list(heads) == ["keys", "forward"]
    assert "keys" in heads
    heads["x"] = nn.Tanh()
    assert type(heads.pop("x")) is nn.Tanh
    heads.update([("y", nn.ReLU())])
    assert len(heads) == 3
    assert [type(m).__name__ for m in heads.values()] == ["Linear", "ReLU", "ReLU"]
    del heads["y"]
    assert dict(heads.items()).keys() == {"keys", "forward"}
    with pytest.raises(KeyError, match="no module is named 'z', only 'keys', 'forward'"):
        heads["z"]
    with pytest.raises(KeyError, match="no module is named 'z'"):
        del heads["z"]


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: nn.Sequential(nn.ReLU(), len), tn.DTypeError, "layer 1 is len, expected a Module"),
        (lambda: nn.Sequential(nn.ReLU), tn.DTypeError, r"layer 0 is ReLU \(the class itself; call it\)"),
        (lambda: nn.Sequential({"a.b": nn.ReLU()}), ValueError, "expected a name without a dot"),
        (lambda: nn.Sequential({"forward": nn.ReLU()}), ValueError, "which is a method of it"),
        (lambda: nn.Sequential({3: nn.ReLU()}), tn.DTypeError, "name is int"),
        (lambda: nn.ModuleList([3]), tn.DTypeError, "layer 0 is int"),
        (lambda: nn.ModuleDict({"a": None}), tn.DTypeError, "layer 'a' is NoneType"),
        (lambda: net_of(2)[2], IndexError, "index 2 is out of range for 2 layers"),
        (lambda: net_of(2)["0"], tn.DTypeError, "the index is str"),
        (lambda: net_of(2).nothing, AttributeError, "'Sequential' object has no attribute 'nothing'"),
    ],
)
def test_wrong_use_says_what_is_wrong(build, error, message):
    with pytest.raises(error, match=message):
        build()


# ---------------------------------------------------------------------- parameters


def test_a_list_of_parameters_is_part_of_the_module_that_holds_it():
    net = nn.Module()
    own, array, plain = nn.Parameter([1.0]), np.ones((2, 2), np.float32), tn.zeros(3)
    net.scales = nn.ParameterList([own, array])
    net.scales += [plain]
    assert [(name, p.shape) for name, p in net.named_parameters()] == [
        ("scales.0", (1,)), ("scales.1", (2, 2)), ("scales.2", (3,)),
    ]  # fmt: skip
    assert net.scales[0] is own
    assert not np.shares_memory(net.scales[1].data, array)
    assert not plain.requires_grad
    assert all(p.requires_grad for p in net.scales)
    assert net.scales[-1] is net.scales[2]
    assert len(net.scales) == 3
    assert own in net.scales
    assert plain not in net.scales
    assert [p.shape for p in net.scales[1:]] == [(2, 2), (3,)]
    net.scales[1] = [5.0]
    assert net.state_dict()["scales.1"].tolist() == [5.0]
    net.requires_grad_(False)
    assert len(list(net.parameters())) == 3
    assert repr(net.scales).startswith("ParameterList(0: (1,), 1: (1,), 2: (3,))")
    sum(p.sum() for p in net.requires_grad_().scales).backward()
    assert [p.grad.shape for p in net.to(tn.float64).scales] == [(1,), (1,), (3,)]
    twin = copy.deepcopy(net)
    twin.load_state_dict({name: value.data + 1 for name, value in net.state_dict().items()})
    assert twin.scales[1].tolist() == [6.0]
    assert net.scales[1].tolist() == [5.0]


def test_a_dict_of_parameters():
    held = nn.ParameterDict({"keys": [1.0], "training": [2.0, 3.0]})  # names of methods and settings will do
    assert held.training is True
    assert list(held) == list(held.keys()) == ["keys", "training"]
    assert list(held.state_dict()) == ["keys", "training"]
    held.update([("c", np.zeros(2))])
    held["keys"] = nn.Parameter([4.0])
    assert [p.tolist() for p in held.values()] == [[4.0], [2.0, 3.0], [0.0, 0.0]]
    assert "c" in held
    assert held.pop("c").shape == (2,)
    del held["keys"]
    assert [(name, p.size) for name, p in held.items()] == [("training", 2)]
    assert len(nn.ParameterDict(held)) == 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.ParameterList(5), tn.DTypeError, "ParameterList: values is int"),
        (lambda: nn.ParameterList(tn.ones(3)), tn.DTypeError, "ParameterList: values is Tensor"),
        (lambda: nn.ParameterList(["a"]), tn.DTypeError, "ParameterList: entry 0: Parameter: expected real numbers"),
        (lambda: nn.ParameterList([[1, 2]]), tn.GradientError, "entry 0: Parameter: requires_grad_: only floating"),
        (lambda: nn.ParameterList([nn.Parameter([1.0]) * 2]), tn.GradientError, "entry 0 was made by multiply"),
        (lambda: nn.ParameterList([[1.0]])[1], IndexError, "index 1 is out of range for 1 parameters"),
        (lambda: nn.ParameterList([[1.0]])["0"], tn.DTypeError, "the index is '0', expected an"),  # type: ignore[index]
        (lambda: nn.ParameterDict(3), tn.DTypeError, "ParameterDict: parameters is int"),
        (lambda: nn.ParameterDict({"a.b": [1.0]}), tn.ShapeError, "'a.b', expected a name without a dot"),
        (lambda: nn.ParameterDict({"a": [1.0]})["b"], KeyError, "no parameter is named 'b', only 'a'"),
        (lambda: nn.ParameterDict({"a": [1.0]}).pop("b"), KeyError, "no parameter is named 'b'"),
    ],
)
def test_wrong_parameters(call, error, message):
    with pytest.raises(error, match=message):
        call()
