"""Module: parameters, buffers and submodules by attribute, state dicts, hooks, copies, text."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn


class Block(nn.Module):
    """A linear layer, a parameter of its own and a buffer."""

    def __init__(self, size=3):
        super().__init__()
        self.linear = nn.Linear(size, size)
        self.scale = nn.Parameter(np.ones(size, np.float32))
        self.register_buffer("offset", tn.full(size, 2.0))
        self.register_buffer("cache", tn.zeros(1), persistent=False)

    def forward(self, x):
        return self.linear(x) * self.scale + self.offset


def names(pairs):
    return [name for name, _ in pairs]


# ---------------------------------------------------------------------- what it is made of


def test_parameters_and_buffers_are_found_by_attribute_in_pytorch_order():
    net = nn.Sequential(Block(), nn.ReLU(), Block())
    assert names(net.named_parameters()) == [
        f"{i}.{n}" for i in (0, 2) for n in ("scale", "linear.weight", "linear.bias")
    ]
    assert names(net.named_buffers()) == ["0.offset", "0.cache", "2.offset", "2.cache"]
    assert list(net.state_dict()) == [
        f"{i}.{n}" for i in (0, 2) for n in ("scale", "offset", "linear.weight", "linear.bias")
    ]
    assert names(net.named_modules()) == ["", "0", "0.linear", "1", "2", "2.linear"]
    assert names(net.named_children()) == ["0", "1", "2"]
    assert names(net.named_parameters(prefix="net", recurse=True))[0] == "net.0.scale"
    assert list(net.parameters(recurse=False)) == []
    assert [len(list(m.parameters())) for m in net.children()] == [3, 0, 3]


def test_a_plain_tensor_is_neither_parameter_nor_buffer():
    module = nn.Module()
    module.constant = tn.ones(3)
    assert not list(module.parameters())
    assert not module.state_dict()


def test_a_tensor_that_requires_a_gradient_later_is_a_parameter_and_stays_one_when_frozen():
    module = nn.Module()
    module.weight = tn.ones(3)
    module.weight.requires_grad_()
    assert names(module.named_parameters()) == ["weight"]
    module.requires_grad_(False)
    assert names(module.named_parameters()) == ["weight"]
    assert not module.weight.requires_grad
    assert list(module.state_dict()) == ["weight"]
    module.requires_grad_()
    assert module.weight.requires_grad


def test_a_value_that_an_op_made_is_no_parameter():
    module = nn.Linear(2, 2)
    module.last = module(tn.ones((1, 2)))
    assert names(module.named_parameters()) == ["weight", "bias"]
    with pytest.raises(tn.GradientError, match=r"'weight' is replaced by a Tensor that was made by multiply"):
        module.weight = module.weight * 2
    with pytest.raises(tn.GradientError, match="requires no gradient"):
        module.weight = tn.ones((2, 2))
    with pytest.raises(tn.DTypeError, match="parameter 'weight' is ndarray"):
        module.weight = np.ones((2, 2))


def test_reassigned_attributes_leave_no_trace():
    layer = nn.Linear(2, 2)
    layer.bias = None
    assert names(layer.named_parameters()) == ["weight"]
    assert layer(tn.ones((1, 2))).shape == (1, 2)
    layer.bias = nn.Parameter(np.zeros(2, np.float32))
    assert names(layer.named_parameters()) == ["weight", "bias"]
    layer.weight = nn.Linear(1, 1)
    assert sorted(layer.state_dict()) == ["bias", "weight.bias", "weight.weight"]
    del layer.weight
    assert list(layer.state_dict()) == ["bias"]
    layer.weight = 3  # the name is free again
    with pytest.raises(AttributeError):
        del layer.nothing
    block = Block()
    block.offset = None
    assert "offset" not in block.state_dict()
    block.offset = tn.zeros(3)
    assert "offset" in block.state_dict()
    block.offset = nn.Parameter(np.zeros(3, np.float32))
    assert "offset" in dict(block.named_parameters())
    assert "offset" not in dict(block.named_buffers())


def test_shared_modules_and_parameters_count_once_but_are_saved_under_every_name():
    layer = nn.Linear(2, 2)
    net = nn.Sequential(layer, layer)
    assert names(net.named_parameters()) == ["0.weight", "0.bias"]
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert len(list(net.modules())) == 2
    assert len(list(net.children())) == 1
    tied = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
    tied[1].weight = tied[0].weight
    assert names(tied.named_parameters()) == ["0.weight"]
    again = copy.deepcopy(tied)
    assert again[0].weight is again[1].weight


def test_attributes_may_be_set_before_super_init():
    class Early(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 3)
            super().__init__()

    class Without(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 3)

    for net in (Early(), Without()):
        assert names(net.named_parameters()) == ["layer.weight", "layer.bias"]
        assert net.training


def test_modules_hidden_in_a_plain_list_or_dict_are_refused():
    module = nn.Module()
    with pytest.raises(tn.DTypeError, match=r"layers is a list .* nn\.ModuleList"):
        module.layers = [nn.Linear(1, 1)]
    with pytest.raises(tn.DTypeError, match=r"use nn\.ModuleDict"):
        module.heads = {"a": nn.Linear(1, 1)}
    with pytest.raises(tn.DTypeError, match="parameters"):
        module.weights = (nn.Parameter([1.0]),)
    module.sizes = [1, 2]


def test_wrong_use_says_what_is_wrong():
    module = nn.Module()
    with pytest.raises(NotImplementedError, match="Module does not define forward"):
        module(1)
    with pytest.raises(AttributeError, match="'Linear' object has no attribute 'wieght'"):
        nn.Linear(1, 1).wieght  # noqa: B018
    with pytest.raises(tn.DTypeError, match="register_buffer: a is int"):
        module.register_buffer("a", 3)
    with pytest.raises(tn.GradientError, match="would be a parameter"):
        module.register_buffer("a", nn.Parameter([1.0]))
    with pytest.raises(tn.DTypeError, match="has an attribute 'forward' already"):
        module.register_buffer("forward", tn.ones(1))


# ---------------------------------------------------------------------- state


def test_state_dict_shares_memory_and_is_off_the_tape():
    block = Block()
    state = block.state_dict()
    assert all(not tensor.requires_grad for tensor in state.values())
    assert state["scale"].data is block.scale.data


def test_load_state_dict_copies_tensors_and_arrays_of_any_float_dtype():
    block, other = Block(), Block()
    state = {name: tensor.numpy().astype(np.float64) for name, tensor in other.state_dict().items()}
    assert block.load_state_dict(state) == ([], [])
    for name, tensor in block.state_dict().items():
        assert tensor.dtype == np.float32
        assert np.array_equal(tensor.data, other.state_dict()[name].data)
        assert not np.shares_memory(tensor.data, other.state_dict()[name].data)


def test_load_state_dict_lists_everything_that_is_wrong_and_changes_nothing():
    block = Block()
    before = {name: tensor.numpy().copy() for name, tensor in block.state_dict().items()}
    state = {"scale": np.zeros(3), "linear.weight": np.zeros((3, 4)), "linear.bias": np.zeros(2), "more": np.zeros(1)}
    with pytest.raises(tn.ShapeError) as error:
        block.load_state_dict(state)
    for text in ("missing: offset", "unexpected: more", "linear.weight has shape (3, 4), expected (3, 3)",
                 "linear.bias has shape (2,), expected (3,)"):  # fmt: skip
        assert text in str(error.value)
    with pytest.raises(tn.ShapeError, match=r"linear.bias has shape"):
        block.load_state_dict(state, strict=False)
    assert all(np.array_equal(tensor.data, before[name]) for name, tensor in block.state_dict().items())
    found = block.load_state_dict({"scale": np.zeros(3), "more": np.zeros(1)}, strict=False)
    assert found.missing_keys == ["offset", "linear.weight", "linear.bias"]
    assert found.unexpected_keys == ["more"]
    assert not block.scale.data.any()
    with pytest.raises(tn.DTypeError, match="state is str, expected a dict"):
        block.load_state_dict("model.safetensors")
    norm = nn.BatchNorm1d(2)
    with pytest.raises(tn.ShapeError, match="num_batches_tracked is float32, expected int64"):
        norm.load_state_dict({**norm.state_dict(), "num_batches_tracked": np.float32(1.5)})


def test_loading_after_forward_is_seen_by_the_tape():
    layer = nn.Linear(2, 2)
    x = tn.ones((1, 2), requires_grad=True)
    y = layer(x).sum()
    layer.load_state_dict(nn.Linear(2, 2).state_dict())
    with pytest.raises(tn.GradientError, match="changed in place"):
        y.backward()


# ---------------------------------------------------------------------- changes to all


def test_train_and_eval_reach_every_module():
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(2)))
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    net.train()
    assert all(module.training for module in net.modules())


def test_apply_visits_children_first():
    seen = []
    net = nn.Sequential(nn.Sequential(nn.ReLU()), nn.Tanh())
    assert net.apply(lambda m: seen.append(type(m).__name__)) is net
    assert seen == ["ReLU", "Sequential", "Tanh", "Sequential"]


def test_to_converts_values_and_gradients_in_place_but_not_integers():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    weight = net[0].weight
    net(tn.ones((3, 2)) * tn.arange(3)[:, None]).sum().backward()
    assert net.to(tn.float64) is net
    assert net[0].weight is weight
    assert weight.dtype == weight.grad.dtype == net[1].running_mean.dtype == np.float64
    assert net[1].num_batches_tracked.dtype == np.int64
    net(tn.arange(6, dtype=tn.float64).reshape(3, 2)).sum().backward()
    assert weight.grad.dtype == np.float64
    assert net.to("cpu")[0].weight is weight
    with pytest.raises(tn.DTypeError, match="floating-point numbers, not int64"):
        net.to(tn.int64)


def test_zero_grad():
    layer = nn.Linear(2, 1)
    layer(tn.ones((1, 2))).sum().backward()
    kept = layer.weight.grad
    layer.zero_grad(set_to_none=False)
    assert layer.weight.grad is kept
    assert not kept.data.any()
    layer.zero_grad()
    assert layer.weight.grad is None
    assert layer.bias.grad is None


def test_frozen_parameters_get_no_gradient():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    net[0].requires_grad_(False)
    net(tn.ones((1, 2))).sum().backward()
    assert net[0].weight.grad is None
    assert net[1].weight.grad is not None


# ---------------------------------------------------------------------- hooks


def test_hooks_see_and_replace_arguments_and_output_until_removed():
    layer, calls = nn.Identity(), []
    layer.register_forward_pre_hook(lambda module, arguments: calls.append((module, arguments)))
    remove_double = layer.register_forward_pre_hook(lambda module, arguments: arguments[0] * 2)
    remove_tuple = layer.register_forward_pre_hook(lambda module, arguments: (arguments[0] + 1,))
    remove_negate = layer.register_forward_hook(lambda module, arguments, output: -output)
    seen = []
    remove_look = layer.register_forward_hook(lambda module, arguments, output: seen.append((arguments[0], output)))
    assert layer(3) == -7
    assert calls == [(layer, (3,))]
    assert seen == [(7, -7)]
    remove_negate()
    remove_negate()
    assert layer(3) == 7
    remove_double()
    remove_tuple()
    remove_look()
    assert layer(3) == 3
    assert len(calls) == 3
    assert nn.Identity()(3) == 3  # hooks are of one instance


def test_hooks_pass_keyword_arguments_on():
    class Scaled(nn.Module):
        def forward(self, x, factor=1):
            return x * factor

    layer = Scaled()
    remove = layer.register_forward_hook(lambda module, arguments, output: output + 1)
    assert layer(2, factor=3) == 7
    remove()
    assert layer(2, factor=3) == 6


# ---------------------------------------------------------------------- copies and text


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["deepcopy", "pickle"]
)
def test_copies_are_equal_and_apart(copied):
    net = nn.Sequential({"block": Block(), "norm": nn.BatchNorm1d(3), "rnn": nn.Identity()})
    net.eval()
    net.block.scale.requires_grad_(False)
    again = copied(net)
    assert list(again.state_dict()) == list(net.state_dict())
    assert not again.block.scale.requires_grad
    assert names(again.named_parameters()) == names(net.named_parameters())
    assert not again.norm.training
    x = tn.ones((2, 3))
    assert np.array_equal(again(x).data, net(x).data)
    for ours, theirs in zip(again.parameters(), net.parameters()):
        assert not np.shares_memory(ours.data, theirs.data)
    again.extra = nn.ReLU()
    assert len(net) == 3


def test_repr_is_a_tree_with_parameter_counts():
    net = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    assert repr(net) == (
        "Sequential(\n"
        "  (0): Linear(in_features=784, out_features=128, bias=True)  # 100,480\n"
        "  (1): ReLU()\n"
        "  (2): Linear(in_features=128, out_features=10, bias=True)  # 1,290\n"
        ")  # 101,770 parameters in total"
    )
    assert repr(nn.ReLU()) == "ReLU()"
    assert repr(nn.Linear(2, 1, bias=False)) == "Linear(in_features=2, out_features=1, bias=False)  # 2 parameters"


def test_repr_joins_equal_neighbours_and_counts_shared_parameters_once():
    layer = nn.Linear(2, 2)
    net = nn.Module()
    net.layers = nn.ModuleList([nn.Linear(1, 1) for _ in range(12)])
    net.first, net.second = layer, layer
    text = repr(net)
    assert "(0-11): 12 x Linear(in_features=1, out_features=1, bias=True)  # 2" in text
    assert text.endswith(")  # 30 parameters in total")
