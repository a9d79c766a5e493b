"""shape_only: networks of any size without memory, what works on them and what says that it cannot."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
import time
import tracemalloc

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn, optim, study
from tinygrad_notes.tensor import has_memory

MIB = 2**20


class GPT(nn.Module):
    """GPT-3's shape (Brown et al. 2020): 96 layers of width 12,288."""

    def __init__(self, layers=96, width=12288, heads=96):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(50257, width), nn.Embedding(2048, width)
        block = nn.TransformerEncoderLayer(width, heads, 4 * width, activation="gelu", norm_first=True)
        self.blocks = nn.TransformerEncoder(block, layers, nn.LayerNorm(width))

    def forward(self, indices):
        return self.blocks(self.tokens(indices) + self.positions(np.arange(indices.shape[0]))[:, None], is_causal=True)


def vgg16():
    layers, channels = [], 3
    for size, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(channels, size, 3, padding=1), nn.ReLU()]
            channels = size
        layers.append(nn.MaxPool2d(2))
    head = [nn.Linear(25088, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout()]
    return nn.Sequential(*layers, nn.Flatten(), *head, nn.Linear(4096, 1000))


def traced(function):
    """The value of ``function()``, seconds, and the most memory that was held, in MiB."""
    tracemalloc.start()
    try:
        start = time.perf_counter()
        value = function()
        return value, time.perf_counter() - start, tracemalloc.get_traced_memory()[1] / MIB
    finally:
        tracemalloc.stop()


def test_175_billion_parameters_in_no_time_and_no_memory():
    def build():
        with tn.shape_only():
            model = GPT()
        return model, sum(p.size for p in model.parameters()), repr(model)

    (model, count, text), seconds, memory = traced(build)
    assert count == 174_604_259_328
    assert text.endswith("# 174,604,259,328 parameters in total")
    assert seconds < 10  # about 0.1 s; tracing and a busy machine take their share
    assert memory < 20
    assert sum(p.nbytes for p in model.parameters()) == 4 * count
    assert len(model.state_dict()) == 3 + 96 * 12 + 1
    assert sum(p.size for p in copy.deepcopy(model).parameters()) == count
    model.to(tn.float64)
    assert sum(p.nbytes for p in model.parameters()) == 8 * count


def test_a_convolutional_network_runs_one_image_for_its_table():
    with tn.shape_only():
        net = vgg16()
    table, _, memory = traced(lambda: study.summary(net, (1, 3, 224, 224)))
    assert table.parameters == 138_357_544
    assert table.multiply_adds == 15_470_264_320
    assert table.rows[-1].output_shape == (1, 1000)
    assert memory < 250  # activations and unfolded images: the parameters alone would be 528 MiB
    assert str(table).splitlines()[-1].startswith("memory         527.8 MiB of parameters and buffers")


def test_a_large_product_takes_no_memory():
    with tn.shape_only():
        layer = nn.Linear(25088, 4096)
    y, _, memory = traced(lambda: layer(tn.ones((1, 25088))))
    assert y.shape == (1, 4096)
    assert memory < 2  # 392 MiB of weights


BUILDERS = [
    (lambda: nn.Linear(3, 4), (2, 3)),
    (lambda: nn.Conv2d(3, 4, 3), (2, 3, 5, 5)),
    (lambda: nn.ConvTranspose2d(3, 4, 3), (2, 3, 5, 5)),
    (lambda: nn.BatchNorm2d(3), (2, 3, 5, 5)),
    (lambda: nn.LayerNorm(3), (2, 3)),
    (lambda: nn.PReLU(3), (2, 3)),
    (lambda: nn.RNN(3, 4), (5, 2, 3)),
    (lambda: nn.LSTM(3, 4, 2, bidirectional=True), (5, 2, 3)),
    (lambda: nn.GRU(3, 4), (5, 2, 3)),
    (lambda: nn.LSTMCell(3, 4), (2, 3)),
    (lambda: nn.TransformerEncoderLayer(4, 2, 8), (5, 2, 4)),
    (lambda: nn.TransformerEncoderLayer(4, 2, 8, norm="batch"), (5, 2, 4)),
    (lambda: nn.parametrization.weight_norm(nn.Linear(3, 4)), (2, 3)),
    (lambda: nn.parametrization.weight_norm(nn.Linear(3, 4), axis=None), (2, 3)),
    (lambda: nn.parametrization.spectral_norm(nn.Conv2d(3, 4, 3)), (2, 3, 5, 5)),
    (lambda: nn.parametrization.weight_standardization(nn.Conv2d(3, 4, 3)), (2, 3, 5, 5)),
]


def shapes(value):
    return [shapes(v) for v in value] if isinstance(value, list | tuple) else value.shape


@pytest.mark.parametrize(("build", "shape"), BUILDERS, ids=[str(i) for i in range(len(BUILDERS))])
def test_every_layer_has_the_same_names_and_shapes_and_runs(build, shape):
    real, x = build().eval(), tn.ones(shape)
    with tn.shape_only():
        layer = build().eval()
    assert not any(has_memory(p.data) for p in layer.parameters())
    assert all(p.requires_grad for p in layer.parameters())
    ours, theirs = layer.state_dict(), real.state_dict()
    assert [(n, t.shape, t.dtype) for n, t in ours.items()] == [(n, t.shape, t.dtype) for n, t in theirs.items()]
    assert repr(layer) == repr(real)
    assert shapes(layer(x)) == shapes(real(x))
    for module in layer.modules():
        if hasattr(module, "reset_parameters") and not module._computed:
            module.reset_parameters()  # initialisers leave what has no memory alone


def test_embedding_and_attention_and_parameters_of_ones_own():
    with tn.shape_only():
        embedding, attention = nn.Embedding(10**9, 8, padding_idx=0), nn.MultiheadAttention(8, 2, kdim=3, vdim=5)
        own = nn.Parameter(np.ones((2, 3)))
        labels = nn.Parameter([1, 2], requires_grad=False)
        held = nn.ParameterList([np.ones(3)])
    assert embedding([[1, 10**9 - 1]]).shape == (1, 2, 8)
    y, weights = attention(tn.ones((4, 2, 8)), tn.ones((6, 2, 3)), tn.ones((6, 2, 5)))
    assert (y.shape, weights.shape) == ((4, 2, 8), (2, 4, 6))
    assert (own.shape, own.dtype, has_memory(own.data)) == ((2, 3), np.float64, False)
    assert not has_memory(held[0].data)
    assert labels.tolist() == [1, 2]


@pytest.mark.parametrize(
    "fill",
    [
        nn.init.zeros_, nn.init.ones_, nn.init.uniform_, nn.init.normal_, nn.init.trunc_normal_, nn.init.orthogonal_,
        nn.init.xavier_uniform_, nn.init.xavier_normal_, nn.init.kaiming_uniform_, nn.init.kaiming_normal_,
        lambda t: nn.init.constant_(t, 3.0),
    ],
)  # fmt: skip
def test_initialisers_do_nothing(fill):
    with tn.shape_only():
        weight = nn.Linear(10**6, 10**6).weight
    filled, _, memory = traced(lambda: fill(weight))
    assert filled is weight
    assert not has_memory(weight.data)
    assert memory < 1


def test_what_needs_memory_says_so():
    with tn.shape_only():
        layer, norm = nn.Linear(3, 2), nn.BatchNorm1d(3)
    real = nn.Linear(3, 2)
    with pytest.raises(tn.DeviceError, match="load_state_dict: weight was made under shape_only, so it has no memory"):
        layer.load_state_dict(real.state_dict())
    for optimizer in (optim.SGD, optim.Adam):
        with pytest.raises(tn.DeviceError, match=r"parameter 0, of shape \(2, 3\), was made under shape_only"):
            optimizer(layer.parameters(), lr=0.1)
    with pytest.raises(tn.DeviceError, match="copy_: the Tensor was made under shape_only"):
        nn.init.copy_(layer.weight, real.weight)
    with pytest.raises(tn.DeviceError, match="pickle: this Tensor was made under shape_only"):
        pickle.dumps(layer)
    with pytest.raises(ValueError, match="read-only"):
        layer.weight.data[0] = 1
    with tn.no_grad(), pytest.raises(tn.DeviceError, match=r"setitem: .*shape_only"):
        layer.weight[0] = 1
    with tn.no_grad(), pytest.raises(tn.DeviceError, match=r"iadd: .*shape_only"):
        layer.weight += 1
    with pytest.raises(tn.DeviceError, match=r"batch_norm: .*shape_only"):
        norm(tn.ones((4, 3)))
    assert not has_memory(layer.weight.data)


def test_a_real_state_goes_elsewhere_untouched():
    """A read-only array that is no shape_only parameter keeps its own errors, and a broadcast one counts as memory."""
    assert has_memory(np.broadcast_to(np.float32(1), (3, 3)))
    assert has_memory(np.zeros(3))
    with tn.shape_only():
        weight = nn.Linear(3, 2).weight
    assert not has_memory(weight.data[:, 1:].T)
    assert has_memory(weight.data.copy())
    assert has_memory(nn.Linear(3, 2).weight.data)


def test_it_ends_with_the_block_and_is_of_one_thread_and_task():
    found = {}

    def elsewhere():
        found["thread"] = has_memory(nn.Linear(2, 2).weight.data)

    with tn.shape_only():
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        with tn.shape_only():
            pass
        assert not has_memory(nn.Linear(2, 2).weight.data)
    assert found == {"thread": True}
    with pytest.raises(KeyError), tn.shape_only():
        raise KeyError
    assert has_memory(nn.Linear(2, 2).weight.data)

    async def build(inside):
        if inside:
            with tn.shape_only():
                await asyncio.sleep(0)
                return has_memory(nn.Linear(2, 2).weight.data)
        await asyncio.sleep(0)
        return has_memory(nn.Linear(2, 2).weight.data)

    async def both():
        return await asyncio.gather(build(True), build(False))

    assert asyncio.run(both()) == [False, True]

    @tn.shape_only()
    def decorated():
        return nn.Linear(2, 2)

    assert not has_memory(decorated().weight.data)


def test_summary_of_a_layer_of_gpt_3():
    with tn.shape_only():
        layer = nn.TransformerEncoderLayer(12288, 96, 4 * 12288, batch_first=True, norm_first=True)
    found, _, memory = traced(lambda: study.summary(layer, (1, 4, 12288)))
    assert found.parameters == 1_812_099_072
    assert found.rows[0].output_shape == (1, 4, 12288)
    assert memory < 100  # its weights would take 7 GB
