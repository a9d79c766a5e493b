import itertools
import tracemalloc

import numpy as np
import pytest

from tinygrad_notes import kernels

rng = np.random.default_rng(0)
SHAPES = [(3, 4), (5,), (), (0,), (2, 1, 3)]

SGD = [
    {"momentum": m, "dampening": d, "nesterov": n, "weight_decay": w, "maximize": x}
    for m, d, n, w, x in itertools.product([0, 0.9], [0, 0.3], [False, True], [0, 0.1], [False, True])
    if not (n and (d or not m)) and not (d and not m)
]
ADAM = [
    {"weight_decay": w, "decoupled": d, "maximize": x}
    for w, d, x in itertools.product([0, 0.1], [False, True], [False, True])
]


def trajectory(dtype=np.float64, steps=4):
    parameters = [np.array(rng.standard_normal(s), dtype) for s in SHAPES]
    gradients = [[np.array(rng.standard_normal(s), dtype) for s in SHAPES] for _ in range(steps)]
    return parameters, gradients


def sgd_by_hand(parameter, gradients, lr, momentum, dampening, nesterov, weight_decay, maximize):
    buffer = None
    for gradient in gradients:
        d = (-gradient if maximize else gradient) + weight_decay * parameter
        if momentum:
            buffer = d if buffer is None else momentum * buffer + (1 - dampening) * d
            d = d + momentum * buffer if nesterov else buffer
        parameter = parameter - lr * d
    return parameter


def adam_by_hand(p, gradients, lr, beta1, beta2, eps, weight_decay, decoupled, maximize):
    m = v = np.zeros_like(p)
    for t, gradient in enumerate(gradients, start=1):
        d = (-gradient if maximize else gradient) + (0 if decoupled else weight_decay * p)
        m, v = beta1 * m + (1 - beta1) * d, beta2 * v + (1 - beta2) * d**2
        p = p * (1 - lr * weight_decay * decoupled)
        p = p - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)
    return p


@pytest.mark.parametrize("options", SGD)
def test_sgd(options):
    parameters, steps = trajectory()
    expected = [sgd_by_hand(p, gs, 0.1, **options) for p, gs in zip(parameters, zip(*steps))]
    before = [[g.copy() for g in gradients] for gradients in steps]
    buffers, places = None, [id(p) for p in parameters]
    for gradients in steps:
        given = buffers
        buffers = kernels.sgd_step(parameters, gradients, buffers, 0.1, *options.values())
        if given:
            assert all(a is b for a, b in zip(given, buffers))
    assert places == [id(p) for p in parameters]
    for parameter, value in zip(parameters, expected):
        np.testing.assert_allclose(parameter, value, rtol=1e-12)
    for gradients, copies in zip(steps, before):
        for gradient, copy in zip(gradients, copies):
            np.testing.assert_array_equal(gradient, copy)
    if options["momentum"]:
        assert not any(np.shares_memory(b, g) for b in buffers for gs in steps for g in gs)
    else:
        assert buffers is None


def test_sgd_takes_buffers_of_some_parameters():
    old = np.ones(2)
    parameters, gradients = [np.zeros(2), np.zeros(2)], [np.full(2, 3.0), np.full(2, 3.0)]
    buffers = kernels.sgd_step(parameters, gradients, [old, None], 1.0, 0.5, 0.5, False, 0.0, False)
    assert buffers[0] is old
    np.testing.assert_array_equal(parameters, [[-2, -2], [-3, -3]])


@pytest.mark.parametrize("options", ADAM)
def test_adam(options):
    parameters, steps = trajectory()
    expected = [adam_by_hand(p, gs, 0.1, 0.8, 0.95, 1e-3, **options) for p, gs in zip(parameters, zip(*steps))]
    first, second = ([np.zeros_like(p) for p in parameters] for _ in range(2))
    for t, gradients in enumerate(steps, start=1):
        copies = [g.copy() for g in gradients]
        arguments = (t, 0.1, 0.8, 0.95, 1e-3, *options.values())
        assert kernels.adam_step(parameters, gradients, first, second, *arguments) is None
        assert all(np.array_equal(g, c) for g, c in zip(gradients, copies))
    for parameter, value in zip(parameters, expected):
        np.testing.assert_allclose(parameter, value, rtol=1e-12)


def test_float32_and_views_are_written_in_place():
    whole = np.zeros((4, 6), np.float32)
    parameter = whole[::-1, ::2]
    gradient = np.ones((3, 4), np.float32).T
    kernels.sgd_step([parameter], [gradient], None, 0.5, 0.0, 0.0, False, 0.0, False)
    np.testing.assert_array_equal(whole[:, ::2], -0.5)
    np.testing.assert_array_equal(whole[:, 1::2], 0)
    moments = [np.zeros_like(parameter)], [np.zeros_like(parameter)]
    kernels.adam_step([parameter], [gradient], *moments, 1, 0.5, 0.9, 0.999, 1e-8, 0.0, False, False)
    np.testing.assert_allclose(whole[:, ::2], -1, rtol=1e-6)
    buffers = kernels.sgd_step([parameter], [gradient], None, 0.5, 0.9, 0.0, True, 0.1, True)
    assert buffers[0].dtype == np.float32


def test_global_norm():
    arrays = [rng.standard_normal(s) for s in SHAPES if s] + [np.array(2.0)]
    expected = np.sqrt(sum((a**2).sum() for a in arrays))
    np.testing.assert_allclose(kernels.global_norm(arrays), expected, rtol=1e-14)
    np.testing.assert_allclose(
        kernels.global_norm([a.T[::-1] for a in arrays[:-1]] + arrays[-1:]), expected, rtol=1e-14
    )
    assert kernels.global_norm([np.zeros((0, 2))]) == 0


def test_global_norm_of_float32_neither_overflows_nor_loses():
    norm = kernels.global_norm([np.full(9, 1e30, np.float32)])
    assert norm.dtype == np.float32
    np.testing.assert_allclose(norm, 3e30, rtol=1e-6)
    np.testing.assert_allclose(kernels.global_norm([np.full(10**6, 1e-30, np.float32)]), 1e-27, rtol=1e-6)
    assert np.isnan(kernels.global_norm([np.array([1, np.nan], np.float32)]))


@pytest.mark.parity
@pytest.mark.parametrize("options", SGD)
def test_parity_sgd(options):
    torch = pytest.importorskip("torch")
    parameters, steps = trajectory()
    theirs = [torch.from_numpy(p.copy()).requires_grad_() for p in parameters]
    optimizer = torch.optim.SGD(theirs, lr=0.1, **options)
    buffers = None
    for gradients in steps:
        for t, g in zip(theirs, gradients):
            t.grad = torch.from_numpy(g)
        optimizer.step()
        buffers = kernels.sgd_step(parameters, gradients, buffers, 0.1, *options.values())
    for parameter, t in zip(parameters, theirs):
        np.testing.assert_allclose(parameter, t.detach().numpy(), rtol=1e-12)


@pytest.mark.parity
@pytest.mark.parametrize("options", ADAM)
def test_parity_adam(options):
    torch = pytest.importorskip("torch")
    parameters, steps = trajectory()
    theirs = [torch.from_numpy(p.copy()).requires_grad_() for p in parameters]
    kind = torch.optim.AdamW if options["decoupled"] else torch.optim.Adam
    kwargs = {k: v for k, v in options.items() if k != "decoupled"}
    optimizer = kind(theirs, lr=0.1, betas=(0.8, 0.95), eps=1e-3, **kwargs)
    first, second = ([np.zeros_like(p) for p in parameters] for _ in range(2))
    for step, gradients in enumerate(steps, start=1):
        for t, g in zip(theirs, gradients):
            t.grad = torch.from_numpy(g)
        optimizer.step()
        kernels.adam_step(parameters, gradients, first, second, step, 0.1, 0.8, 0.95, 1e-3, *options.values())
    for parameter, t in zip(parameters, theirs):
        np.testing.assert_allclose(parameter, t.detach().numpy(), rtol=1e-11)


def test_global_norm_copies_nothing():
    array = np.ones((1000, 1000), np.float32)
    tracemalloc.start()
    assert kernels.global_norm([array]) == 1000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**6  # in float64 the array has 8 MB
