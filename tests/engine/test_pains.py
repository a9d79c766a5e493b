"""What users of other engines suffered from: regression tests, named after the rows of the survey of their issues."""

from __future__ import annotations

import weakref

import hypothesis.extra.numpy as arrays_of
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_notes as tn
from tests.engine.helpers import counting, leaf, numerical
from tests.foreign_array import DEVICE, ForeignArray
from tinygrad_notes import GradientError, nn, optim
from tinygrad_notes.kernels import BACKENDS, DEVICES, register_array_type
from tinygrad_notes.study.gradcheck import gradcheck
from tinygrad_notes.study.samples import SAMPLES

# ---------------------------------------------------------------------- 1: broadcasting

BINARY = {
    "add": (np.add, tn.add), "subtract": (np.subtract, tn.subtract), "multiply": (np.multiply, tn.multiply),
    "divide": (np.divide, tn.divide), "pow": (np.power, tn.pow), "maximum": (np.maximum, tn.maximum),
    "minimum": (np.minimum, tn.minimum), "remainder": (np.remainder, tn.remainder),
    "where": (lambda a, b: np.where(a > 1, a, b), lambda a, b: tn.where(a > 1, a, b)),
}  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
@given(
    shapes=arrays_of.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3, min_side=0),
    seed=st.integers(0, 1000),
)
@settings(max_examples=12)
def test_pain_01_gradient_shape_after_broadcasting(name, shapes, seed):
    """The gradient of a broadcast operand had the wrong shape, or the wrong values of the right shape."""
    theirs, ours = BINARY[name]
    rng = np.random.default_rng(seed)
    operands = [rng.uniform(0.6, 1.9, s) for s in shapes.input_shapes]
    weights = rng.standard_normal(shapes.result_shape)
    xs = [tn.tensor(a, requires_grad=True) for a in operands]
    y = ours(*xs)
    assert y.shape == shapes.result_shape
    np.testing.assert_allclose(y.data, theirs(*operands), rtol=1e-14)
    got = tn.grad((y * weights).sum(), xs)
    wanted = numerical(lambda a, b: float((theirs(a, b) * weights).sum()), operands)
    for g, x, w in zip(got, xs, wanted):
        assert g.shape == x.shape
        np.testing.assert_allclose(g.data, w, rtol=1e-5, atol=1e-7)


def test_pain_01_broadcast_to_einsum_and_reading_in_between():
    """Without a derivative of broadcast_to; einsum over an axis of size one; silent zeros after tolist()."""
    x = counting(3, 1)
    assert tn.grad(tn.broadcast_to(x, (2, 3, 4)).sum(), x).tolist() == [[8.0]] * 3
    assert tn.grad(tn.einsum("ij,ij->", x, np.ones((3, 4))), x).tolist() == [[4.0]] * 3
    y = x * x
    y.tolist()
    assert tn.grad(y.sum(), x).tolist() == [[2.0], [4.0], [6.0]]


# ---------------------------------------------------------------------- 2: subgradients and the branch not taken


def test_pain_02_subgradients_at_exact_zero():
    """NaN from norm, std, abs or max where there is no derivative: the documented subgradient, to second order too."""
    zero = lambda *shape: tn.zeros(shape, dtype=tn.float64, requires_grad=True)  # noqa: E731
    for f in (
        tn.norm, tn.std, tn.relu, tn.abs, lambda x: tn.norm(x, axis=0), lambda x: tn.norm(x, 1),
        lambda x: tn.norm(x, 3), lambda x: tn.norm(x, 2.5), lambda x: tn.norm(x, np.inf), lambda x: tn.norm(x) ** 2,
    ):  # fmt: skip
        x = zero(3)
        (g,) = [tn.grad(f(x).sum(), x, create_graph=True)]
        assert g.tolist() == [0.0] * 3
        if g.requires_grad:
            assert np.isfinite(tn.grad(g.sum(), x, allow_unused=True).data).all()
    x = zero(4)
    assert tn.grad(x.max(), x).tolist() == [0.25] * 4
    assert tn.grad(tn.maximum(x, 0.0).sum(), x).tolist() == [0.5] * 4
    assert tn.grad(tn.leaky_relu(x, 0.1).sum(), x).tolist() == [0.1] * 4
    assert tn.grad((x**0).sum(), x).tolist() == [0.0] * 4
    assert tn.grad((x**2).sum(), x).tolist() == [0.0] * 4
    assert tn.grad((x**1.0).sum(), x).tolist() == [1.0] * 4


def test_pain_02_nan_from_the_branch_that_where_did_not_take():
    """0 · inf is NaN: the documented way is to choose a harmless operand first."""
    x = leaf(0.0, 4.0)
    with np.errstate(all="ignore"):
        assert np.isnan(tn.grad(tn.where(x > 0, tn.sqrt(x), 0.0).sum(), x).data[0])
    safe = tn.where(x > 0, x, 1.0)
    assert tn.grad(tn.where(x > 0, tn.sqrt(safe), 0.0).sum(), x).tolist() == [0.0, 0.25]
    assert "where(x > 0, log(where(x > 0, x, 1.0)), 0.0)" in tn.where.__doc__


# ---------------------------------------------------------------------- 3: mutation


def test_pain_03_in_place_writes_are_right_or_refused():
    """Item assignment without a gradient, or with a silently wrong one; cryptic errors about versions."""
    a, v = counting(3, 2), leaf(10.0, 20.0)
    x = a * 1.0
    x[1] = v * v
    x[:, 0] *= 3.0
    ga, gv = tn.grad((x * x).sum(), [a, v])
    wanted = numerical(
        lambda p, q: float((np.stack([p[0] * [3, 1], q * q * [3, 1], p[2] * [3, 1]]) ** 2).sum()), [a.data, v.data]
    )
    np.testing.assert_allclose(ga.data, wanted[0], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(gv.data, wanted[1], rtol=1e-6)
    w = tn.ones((3, 2), dtype=tn.float64)
    loss = (a * w).sum()
    w[0] = 7.0
    with pytest.raises(GradientError, match=r"multiply kept an array .* changed in place at .*test_pains.py:\d+"):
        loss.backward()


# ---------------------------------------------------------------------- 4: an array on the left


@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "pow", "matmul", "floordiv", "mod", "lt", "eq"])
def test_pain_04_array_on_the_left_keeps_the_gradient(name):
    """``array @ tensor`` made an array of objects, or zeros; ``w.T.dot(x)`` lost the gradient without a word."""
    import operator

    array, x = np.full((2, 2), 2.0), counting(2, 2)
    y = getattr(operator, name)(array, x)
    assert type(y) is tn.Tensor
    if name not in ("floordiv", "lt", "eq"):
        assert tn.grad(y.sum(), x).data.any()
    with pytest.raises(GradientError):
        array.T.dot(x)


# ---------------------------------------------------------------------- 5: arrays of another library


def test_pain_05_a_network_runs_on_arrays_that_are_not_numpys():
    """GPU arrays were the longest-open wish: a training step on arrays that refuse to become NumPy's, twice derived."""
    register_array_type(ForeignArray, DEVICE)
    try:

        def run(make):
            rng = np.random.default_rng(0)
            x, w, k = (tn.asarray(make(rng.standard_normal(s))) for s in ((2, 1, 6, 6), (8, 3), (2, 1, 3, 3)))
            w.requires_grad_()
            k.requires_grad_()
            h = tn.max_pool2d(tn.relu(tn.conv2d(x, k, padding=1)), 3)
            loss = tn.cross_entropy(h.reshape(2, 8) @ w, tn.asarray(make(np.array([0, 2]))))
            gs = tn.grad(loss, [w, k], create_graph=True)
            total = sum((g * g).sum() for g in gs)
            seconds = tn.grad(total, [w, k])
            with tn.no_grad():
                w -= gs[0].detach() * 0.1
            return [loss, *gs, *seconds, w]

        for ours, numpys in zip(run(ForeignArray), run(lambda a: a)):
            assert type(ours.data) is ForeignArray
            np.testing.assert_allclose(ours.data.values, numpys.data, rtol=1e-10)
    finally:
        del DEVICES[ForeignArray]
        for table in BACKENDS.values():
            table.pop(ForeignArray, None)


# ---------------------------------------------------------------------- 6: memory


def test_pain_06_memory_does_not_grow(no_collector):
    """Reference cycles, metrics that hold the graph, hooks that close over Tensors."""
    w = leaf(1.0, 2.0)
    nodes = []

    class Watcher:
        def __init__(self, tensor):
            self.seen = 0.0
            tensor.register_hook(self.look)

        def look(self, g):
            self.seen += g.data.sum()

    total = 0.0
    for _ in range(20):
        h = tn.tanh(w * 2.0)
        watcher = Watcher(h)
        loss = (h * h).sum()
        loss.backward()
        total += loss.item()
        nodes += [weakref.ref(h.node), weakref.ref(loss.node), weakref.ref(h.data)]
    assert watcher.seen != 0.0
    del h, loss
    assert [n() for n in nodes if n() is not None] == []


# ---------------------------------------------------------------------- 7: depth


def test_pain_07_deep_graphs():
    """RecursionError at a few thousand nodes, and a wrong order that "just recursing" gives for a diamond."""
    x = leaf(1.0)
    y = x
    for _ in range(50_000):
        y = y + 0.0
    y.sum().backward()
    assert x.grad.item() == 1.0
    a = leaf(3.0)
    b = a + a
    c = b + b
    d = c * b
    d.sum().backward()
    assert a.grad.item() == 16.0 * 3.0  # d = 8a²


# ---------------------------------------------------------------------- 8: where the NaN came from


def test_pain_08_the_first_nan_is_named_with_its_line():
    """NaN at the end of a long computation, and nothing that says where it began; inf was not looked for."""
    x = leaf(0.0, 1.0)

    def network():
        h = tn.tanh(x)
        bad = tn.sqrt(h)  # derivative inf at 0
        return (tn.exp(bad) * 0.5).sum()

    with tn.detect_anomaly(), np.errstate(all="ignore"):
        with pytest.raises(GradientError, match=r"inf in the gradient of sqrt, shape \(2,\)(.|\n)*bad = tn.sqrt"):
            network().backward()
        with pytest.raises(GradientError, match=r"NaN in the value of log(.|\n)*test_pains.py"):
            tn.log(x - 1.0)


# ---------------------------------------------------------------------- 9: double backward

rng = np.random.default_rng(0)
LSTM = [rng.standard_normal(s) * 0.5 for s in ((8, 2), (8, 2), (8,), (8,))]
TWICE = {
    "conv2d": (lambda x, w, b: tn.conv2d(x, w, b, stride=2, padding=1, groups=2), [(2, 2, 4, 4), (4, 1, 3, 3), (4,)]),
    "conv_transpose2d": (lambda x, w: tn.conv_transpose2d(x, w, stride=2, padding=1), [(1, 2, 3, 3), (2, 2, 3, 3)]),
    "max_pool2d": (lambda x: tn.max_pool2d(x * x, 2), [(1, 2, 4, 4)]),
    "avg_pool2d": (lambda x: tn.avg_pool2d(x * x, 2), [(1, 2, 4, 4)]),
    "softmax": (lambda x: tn.softmax(x, axis=-1), [(2, 3)]),
    "log_softmax": (lambda x: tn.log_softmax(x, axis=0), [(2, 3)]),
    "batch_norm": (lambda x, w, b: tn.batch_norm(x, None, None, w, b, training=True), [(4, 2, 2), (2,), (2,)]),
    "layer_norm": (lambda x, w, b: tn.layer_norm(x, (3,), w, b), [(4, 3), (3,), (3,)]),
    "attention": (lambda q, k, v: tn.scaled_dot_product_attention(q, k, v, is_causal=True), [(2, 3, 2)] * 3),
    "lstm": (lambda x, *w: tn.lstm(x, None, [w])[0], [(3, 1, 2), *(w.shape for w in LSTM)]),
    "gru": (lambda x, *w: tn.gru(x, None, [w])[0], [(3, 1, 2), (6, 2), (6, 2), (6,), (6,)]),
    "rnn": (lambda x, *w: tn.rnn(x, None, [w])[0], [(3, 1, 2), (2, 2), (2, 2), (2,), (2,)]),
    "cross_entropy": (lambda x: tn.cross_entropy(x, np.array([0, 2]), label_smoothing=0.1), [(2, 3)]),
    "binary_cross_entropy": (lambda x: tn.binary_cross_entropy_with_logits(x, np.array([0.0, 1.0])), [(2,)]),
    "kl_div": (lambda x: tn.kl_div(tn.log_softmax(x), np.array([[0.3, 0.7]])), [(1, 2)]),
    "gelu": (tn.gelu, [(4,)]),
    "embedding": (lambda w: tn.embedding(np.array([0, 2, 2]), w * w), [(3, 2)]),
    "einsum": (lambda a, b: tn.einsum("bij,bjk->ik", a, b), [(2, 2, 3), (2, 3, 2)]),
    "logsumexp": (lambda x: tn.logsumexp(x, axis=1), [(2, 3)]),
    "norm": (lambda x: tn.norm(x, axis=1), [(2, 3)]),
    "var": (lambda x: tn.var(x, axis=0, correction=1), [(4, 2)]),
}  # fmt: skip


@pytest.mark.parametrize("name", TWICE)
def test_pain_09_double_backward(name):
    """Missing, or silently wrong: the fused derivative counted what it had captured as a constant."""
    function, shapes = TWICE[name]
    inputs = [np.random.default_rng(k).standard_normal(s) for k, s in enumerate(shapes)]
    gradcheck(function, *inputs, order=2).raise_if_failed()


def test_pain_09_gradient_penalty_of_a_convolutional_critic():
    """WGAN-GP: the norm of the critic's gradient for its input is a loss for its weights."""
    image, kernel, weight = (
        rng.standard_normal((2, 1, 4, 4)),
        rng.standard_normal((3, 1, 3, 3)),
        rng.standard_normal((12, 1)),
    )

    def penalty(kernel, weight):
        x = tn.tensor(image, requires_grad=True)
        h = tn.leaky_relu(tn.conv2d(x, kernel), 0.2)
        score = (h.reshape(2, 12) @ weight).sum()
        g = tn.grad(score, x, create_graph=True)
        return ((tn.norm(g.reshape(2, -1), axis=1) - 1.0) ** 2).mean()

    ws = [tn.tensor(a, requires_grad=True) for a in (kernel, weight)]
    got = tn.grad(penalty(*ws), ws)
    wanted = numerical(lambda *a: penalty(*map(tn.tensor, a)).item(), [kernel, weight])
    for g, w in zip(got, wanted):
        np.testing.assert_allclose(g.data, w, rtol=1e-5, atol=1e-8)


# ---------------------------------------------------------------------- 10: indices from differentiable values


def test_pain_10_indices_computed_from_differentiable_values():
    """Top-k routing of a mixture of experts crashed in backward; indices have no gradient, the rows they pick do."""
    x, gate, experts = (np.random.default_rng(k).standard_normal(s) for k, s in enumerate([(4, 3), (3, 2), (2, 3, 3)]))

    def moe(x, gate, experts):
        scores = tn.softmax(x @ gate)
        best = scores.argmax(axis=1)
        assert not best.requires_grad
        weight = tn.take_along_axis(scores, best[:, None], 1)
        out = tn.zeros((4, 3), dtype=tn.float64)
        for e in range(2):
            rows = np.nonzero(best.numpy() == e)[0]
            out[rows] = x[rows] @ experts[e]
        return (weight * out + tn.embedding(best, experts.sum(axis=1))).sum()

    tensors = [tn.tensor(a, requires_grad=True) for a in (x, gate, experts)]
    got = tn.grad(moe(*tensors), tensors)
    wanted = numerical(lambda *a: moe(*map(tn.tensor, a)).item(), [x, gate, experts])
    for g, w in zip(got, wanted):
        np.testing.assert_allclose(g.data, w, rtol=1e-6, atol=1e-8)


def test_pain_10_floats_as_indices_are_refused_with_the_reason():
    x = leaf(1.0, 2.0)
    with pytest.raises(tn.DTypeError, match="indices have no gradient"):
        x[x * 0.0]
    with pytest.raises(GradientError, match="only floating-point Tensors have gradients"):
        x.argmax().requires_grad_()


# ---------------------------------------------------------------------- 11: strides and repeats


@settings(max_examples=60)
@given(data=st.data())
def test_pain_11_any_basic_or_advanced_index(data):
    """One-element strided slices, negative strides and repeated indices had silently wrong gradients."""
    shape = data.draw(arrays_of.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
    if data.draw(st.booleans()):
        index = data.draw(arrays_of.basic_indices(shape, allow_newaxis=True))
    else:
        rows = data.draw(st.lists(st.integers(-shape[0], shape[0] - 1), max_size=5))
        index = (np.array(rows, int), *data.draw(st.sampled_from([(), (Ellipsis,), (Ellipsis, None)])))
        if len(shape) > 1 and data.draw(st.booleans()):
            index = (slice(None, None, -1), index[0] % shape[1], *index[1:])
    array = np.random.default_rng(0).standard_normal(shape)
    x = tn.tensor(array[..., ::-1].copy()[..., ::-1], requires_grad=True)
    y = x[index]
    np.testing.assert_array_equal(y.data, array[index])
    weights = np.random.default_rng(1).standard_normal(y.shape)
    wanted = np.zeros(shape)
    np.add.at(wanted, index, weights)
    (g,) = [tn.grad((y * weights).sum(), x, create_graph=True)]
    np.testing.assert_allclose(g.data, wanted, atol=1e-14)


def test_pain_11_by_name():
    x = counting(6)
    assert tn.grad((x[1:2:2] * 3.0).sum(), x).tolist() == [0, 3, 0, 0, 0, 0]
    assert tn.grad((x[4:0:-3] * tn.tensor([1.0, 2.0])).sum(), x).tolist() == [0, 2, 0, 0, 1, 0]
    assert tn.grad((x[[2, 2, 2]] * tn.tensor([1.0, 2.0, 4.0])).sum(), x).tolist() == [0, 0, 7, 0, 0, 0]
    assert tn.grad(x[[]].sum(), x).tolist() == [0.0] * 6


# ---------------------------------------------------------------------- 18: dtypes drift


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pain_18_no_op_changes_the_dtype(dtype):
    """float32 became float64 (or the other way) in one op of a network, in the value or only in the gradient."""
    drifted = []
    for sample in SAMPLES:
        if not sample.order or sample.name == "astype":
            continue
        operands = [tn.tensor(a.astype(dtype), requires_grad=True) if i in sample.differentiable else a
                    for i, a in enumerate(sample.operands)]  # fmt: skip
        values = sample.call(*operands)
        floats = [v for v in (values if isinstance(values, list | tuple) else (values,)) if v.dtype.kind == "f"]
        leaves = [operands[i] for i in sample.differentiable]
        tops = [v for v in floats if v.requires_grad]
        seeds = [tn.ones_like(v) for v in tops]
        for create_graph in (False, True) if sample.order > 1 else (False,):
            gradients = tn.grad(tops, leaves, seeds, create_graph=create_graph, retain_graph=True, allow_unused=True)
            floats += [g for g in gradients if g is not None]
        if any(v.dtype != dtype for v in floats):
            drifted.append(sample.title)
    assert not drifted


def test_pain_18_a_training_step_stays_float32():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    optimizer = optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(2):
        x = tn.tensor(np.random.default_rng(0).random((2, 1, 4, 4)).astype(np.float32))
        loss = (
            tn.cross_entropy(net(x / 255), np.array([0, 2])) * 0.5 + sum((p * p).sum() for p in net.parameters()) * 1e-4
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert loss.dtype == np.float32
        for p in net.parameters():
            assert (p.dtype, p.grad.dtype) == (np.float32, np.float32)
        for b in net.buffers():
            assert b.dtype in (np.float32, np.int64)


# ---------------------------------------------------------------------- 19: precision


def test_pain_19_variance_of_numbers_with_a_large_mean():
    """E[x²] - E[x]² cancels: with mean 10⁴ and spread 1, float32 has nothing left."""
    x64 = np.random.default_rng(0).standard_normal((64, 8)) + 1e4
    x = tn.tensor(x64.astype(np.float32), requires_grad=True)
    truth = x.data.astype(np.float64)
    np.testing.assert_allclose(tn.var(x, axis=0).data, truth.var(axis=0), rtol=2e-4)
    for normalize, axis in (
        (lambda t: tn.layer_norm(t, (8,)), 1),
        (lambda t: tn.batch_norm(t, None, None, training=True), 0),
    ):
        wanted = (truth - truth.mean(axis, keepdims=True)) / np.sqrt(truth.var(axis, keepdims=True) + 1e-5)
        np.testing.assert_allclose(normalize(x).data, wanted, atol=5e-3)


def test_pain_19_eps_enters_once():
    """Batch normalisation that added eps to the variance twice, seen where the variance is small beside it."""
    x = np.array([[0.0], [2e-3]])
    wanted = (x - 1e-3) / np.sqrt(1e-6 + 1e-5)
    np.testing.assert_allclose(tn.batch_norm(tn.tensor(x), None, None, training=True).data, wanted, rtol=1e-12)
    mean, var = tn.zeros(1, dtype=tn.float64), tn.full(1, 1e-6, dtype=tn.float64)
    np.testing.assert_allclose(tn.batch_norm(tn.tensor(x), mean, var).data, x / np.sqrt(1.1e-5), rtol=1e-12)
    row = np.array([[0.0, 2e-3]])
    np.testing.assert_allclose(tn.layer_norm(tn.tensor(row), (2,)).data, wanted.T, rtol=1e-12)


def test_pain_19_long_sums_and_many_ties():
    """A float32 counter stops at 2²⁴, and a running float32 sum drifts long before."""
    n = 2**24 + 2
    x = tn.ones(n, requires_grad=True)
    assert x.sum().item() == n
    assert abs(tn.full(10**6, 0.1).sum().item() - 1e5) < 0.1
    (g,) = [tn.grad(x.max(), x)]
    assert g.data[0] == np.float32(1.0 / n)


# ---------------------------------------------------------------------- 20: gradient checks


def test_pain_20_gradcheck_has_no_false_alarms():
    """Checks in float32 fail by rounding, and kinks of relu, abs and pooling fail by nature: the report says kink."""
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    assert gradcheck(lambda t: tn.exp(t) * t, tn.tensor(x))
    for f in (tn.relu, tn.abs, lambda t: tn.leaky_relu(t, 0.2), lambda t: tn.clip(t, 0.0, 1.0)):
        for seed in range(5):
            assert gradcheck(f, np.zeros(3), seed=seed), f"seed {seed}"
    assert all(c.kink for c in gradcheck(tn.relu, np.zeros(1)).checks)
    ties = gradcheck(lambda t: tn.max_pool2d(t, 2), np.zeros((1, 1, 2, 2)))
    assert ties.passed
    assert "kink" in str(ties)
    assert gradcheck(lambda t: tn.max(t), np.array([1.0, 1.0, 0.0]))
    for seed in range(5):  # derivatives that are zero: what is left of the differences is rounding
        x = np.random.default_rng(seed).standard_normal((2, 3))
        assert gradcheck(lambda t: tn.softmax(t).sum(axis=1) * 100.0, x, seed=seed)
        assert gradcheck(lambda t: tn.norm(t, axis=1), x, order=2, seed=seed)


def test_pain_20_gradcheck_has_no_false_peace(own_ops):
    """What forgives kinks must not forgive a wrong derivative."""

    @tn.op
    def wrong(a: tn.Array):
        return a * a, lambda g, a: g * (2.002 * a)

    assert not gradcheck(lambda t: wrong(t), np.array([1.0, 2.0]))

    assert not gradcheck(lambda t: tn.relu(wrong(t)), np.array([1.0, 2.0]))


# ---------------------------------------------------------------------- 21: softmax and cross-entropy


@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4, 1e20, -1e20, 1e300])
def test_pain_21_softmax_with_large_offsets(offset):
    """exp overflows: only differences count."""
    logits = np.array([[1.0, 2.0, 4.0]])
    shifted = logits + offset
    exact = shifted - shifted.max()
    p = np.exp(exact) / np.exp(exact).sum()
    x = tn.tensor(shifted, requires_grad=True)
    np.testing.assert_allclose(tn.softmax(x).data, p, rtol=1e-11)
    np.testing.assert_allclose(tn.log_softmax(x).data, np.log(p), rtol=1e-11)
    loss = tn.cross_entropy(x, np.array([1]))
    assert loss.item() == pytest.approx(-np.log(p[0, 1]))
    np.testing.assert_allclose(tn.grad(loss, x).data, p - [[0, 1, 0]], atol=1e-11)


def test_pain_21_far_logits_and_minus_infinity():
    x = tn.tensor([[1e4, -1e4, 0.0], [0.0, -np.inf, 1.0]], dtype=tn.float64, requires_grad=True)
    for y in (tn.softmax(x), tn.cross_entropy(x, np.array([0, 2]))):
        assert np.isfinite(y.data).all()
    g = tn.grad(tn.cross_entropy(x, np.array([2, 0])), x)
    assert np.isfinite(g.data).all()
    assert tn.log_softmax(x).data[1, 1] == -np.inf
    logits = leaf(1e4, -1e4, 800.0)
    loss = tn.binary_cross_entropy_with_logits(logits, np.array([1.0, 0.0, 0.0]), reduction="none")
    np.testing.assert_allclose(loss.data, [0.0, 0.0, 800.0])
    np.testing.assert_allclose(tn.grad(loss.sum(), logits).data, [0.0, 0.0, 1.0], atol=1e-12)
    assert tn.sigmoid(tn.tensor([-1e4, 1e4])).tolist() == [0.0, 1.0]
    assert tn.softplus(tn.tensor([-1e4, 1e4])).tolist() == [0.0, 1e4]


def test_pain_21_fully_masked_rows():
    """A row of which nothing may be attended to: zeros and gradient zeros, not NaN, beside rows that are as always."""
    q, k, v = (tn.tensor(np.random.default_rng(i).standard_normal((1, 2, 3)), requires_grad=True) for i in range(3))
    mask = np.array([[False, False], [True, False]])
    y = tn.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    assert y.data[0, 0].tolist() == [0.0, 0.0, 0.0]
    np.testing.assert_allclose(y.data[0, 1], v.data[0, 0])
    for create_graph in (False, True):
        for g in tn.grad(y.sum(), [q, k, v], create_graph=create_graph, retain_graph=True):
            assert np.isfinite(g.data).all()
    assert tn.grad(y.sum(), q).data[0, 0].tolist() == [0.0, 0.0, 0.0]
    row = tn.tensor([[-np.inf, -np.inf]], dtype=tn.float64, requires_grad=True)
    value = tn.logsumexp(row, axis=1)
    assert value.item() == -np.inf
    assert tn.grad(value.sum(), row).tolist() == [[0.0, 0.0]]


# ---------------------------------------------------------------------- 26: accumulating


def test_pain_26_second_backward_and_accumulation():
    """Gradients that add up unasked, or a second backward that silently gives something else."""
    w = leaf(1.0, 2.0)
    loss = (w * w).sum()
    loss.backward()
    with pytest.raises(GradientError, match=r"already used and freed.*retain_graph=True"):
        loss.backward()
    assert w.grad.tolist() == [2.0, 4.0]
    (w * w).sum().backward()
    assert w.grad.tolist() == [4.0, 8.0]
    optimizer = optim.SGD([w], lr=0.1)
    kept = w.grad
    optimizer.zero_grad(set_to_none=False)
    assert w.grad is kept
    assert kept.tolist() == [0.0, 0.0]
    (w * w).sum().backward()
    assert w.grad.tolist() == [2.0, 4.0]
    optimizer.zero_grad()
    assert w.grad is None
    kept_graph = (w * w).sum()
    kept_graph.backward(retain_graph=True)
    kept_graph.backward()
    assert w.grad.tolist() == [4.0, 8.0]
