"""grad, value_and_grad, vjp, jvp, hvp, jacobian, hessian against closed forms; derivatives of derivatives."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.engine.helpers import counting, leaf, numerical
from tinygrad_notes import GradientError, ShapeError

rng = np.random.default_rng(0)
A = rng.standard_normal((3, 3))
X = rng.standard_normal(3)
V = rng.standard_normal(3)


def quadratic(x):
    return (x * (A @ x)).sum() * 0.5


def test_third_derivative_of_sin_of_a_square():
    x = tn.tensor(np.array(0.5), requires_grad=True)
    d1 = tn.grad(tn.sin(x * x), x, create_graph=True)
    d2 = tn.grad(d1, x, create_graph=True)
    d3 = tn.grad(d2, x)
    assert d1.item() == pytest.approx(np.cos(0.25))
    assert d2.item() == pytest.approx(2 * np.cos(0.25) - 4 * 0.25 * np.sin(0.25))
    assert d3.item() == pytest.approx(-12 * 0.5 * np.sin(0.25) - 8 * 0.125 * np.cos(0.25))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_every_derivative_of_exp_is_exp(n):
    x = tn.tensor(np.array(0.3), requires_grad=True)
    y = tn.exp(x)
    for _ in range(n):
        y = tn.grad(y, x, create_graph=True)
    assert y.item() == pytest.approx(np.exp(0.3), rel=1e-14)


def test_backward_with_create_graph_gives_gradients_that_have_gradients():
    x = leaf(2.0)
    (x**3).sum().backward(create_graph=True)
    assert x.grad.item() == 12.0
    x.grad.sum().backward()
    assert x.grad.item() == 24.0  # 12 from the first order and 6x = 12 from the second


def test_accumulating_twice_with_create_graph_keeps_both_histories():
    x = leaf(2.0)
    (x**3).sum().backward(create_graph=True)
    (x**2).sum().backward(create_graph=True)
    assert x.grad.item() == 12.0 + 4.0
    assert tn.grad(x.grad.sum(), x).item() == 12.0 + 2.0


def test_create_graph_inside_no_grad_still_has_history():
    x = leaf(2.0)
    y = (x**3).sum()
    with tn.no_grad():
        y.backward(create_graph=True)
        (g,) = [x.grad]
    assert tn.grad(g.sum(), x).item() == 12.0


def test_first_order_gradients_have_no_history():
    x = leaf(2.0)
    assert not tn.grad((x**3).sum(), x).requires_grad
    (x**3).sum().backward()
    assert not x.grad.requires_grad


def test_gradient_penalty_trains():
    """‖∂f/∂x‖² as part of a loss: its gradient for the weights against finite differences (WGAN-GP's shape)."""
    w, b, x = rng.standard_normal((3, 4)), rng.standard_normal(4), rng.standard_normal((5, 3))

    def penalty(w, b):
        inputs = tn.tensor(x, requires_grad=True)
        critic = tn.tanh(inputs @ w + b).sum()
        g = tn.grad(critic, inputs, create_graph=True)
        return ((tn.norm(g, axis=1) - 1.0) ** 2).mean()

    ws = tn.tensor(w, requires_grad=True), tn.tensor(b, requires_grad=True)
    got = tn.grad(penalty(*ws), ws)
    wanted = numerical(lambda *arrays: penalty(*map(tn.tensor, arrays)).item(), [w, b])
    for g, n in zip(got, wanted):
        np.testing.assert_allclose(g.data, n, rtol=1e-6, atol=1e-8)


def test_value_and_grad():
    value, g = tn.value_and_grad(quadratic)(X)
    assert value.item() == pytest.approx(0.5 * X @ A @ X)
    np.testing.assert_allclose(g.data, 0.5 * (A + A.T) @ X)
    assert not value.requires_grad
    assert not g.requires_grad
    value, (ga, gb) = tn.value_and_grad(lambda a, k, b: (a * b * k).sum(), argnums=(0, -1))(X, 2.0, V)
    np.testing.assert_allclose(ga.data, 2 * V)
    np.testing.assert_allclose(gb.data, 2 * X)
    _, unused = tn.value_and_grad(lambda a, b: a.sum(), argnums=1)(counting(3), V)
    assert unused.tolist() == [0.0] * 3


def test_value_and_grad_of_the_wrong_things():
    with pytest.raises(ShapeError, match="argnums has 2, but there are 1 arguments"):
        tn.value_and_grad(quadratic, argnums=2)(X)
    with pytest.raises(GradientError, match="only a single element can do without"):
        tn.value_and_grad(lambda x: x * 2.0)(X)
    with pytest.raises(tn.DTypeError, match="expected a Tensor, got float"):
        tn.value_and_grad(lambda x: 3.0)(X)


def test_the_callers_tensor_is_left_alone():
    x = tn.tensor(X, requires_grad=True)
    for derivative in (tn.value_and_grad(quadratic)(x)[1], tn.hvp(quadratic, x, V), tn.vjp(quadratic, x)[1](1.0)[0]):
        assert not np.shares_memory(derivative.data, x.data)
    assert x.grad is None
    np.testing.assert_array_equal(x.data, X)


def test_vjp():
    y, pullback = tn.vjp(lambda x: tn.tanh(A @ x), X)
    jacobian = (1 - np.tanh(A @ X) ** 2)[:, None] * A
    np.testing.assert_allclose(y.data, np.tanh(A @ X))
    np.testing.assert_allclose(pullback(V)[0].data, V @ jacobian)
    np.testing.assert_allclose(pullback(2 * V)[0].data, 2 * V @ jacobian)  # it may be used again


def test_pullback_of_a_list_of_numbers():
    """One value, so the list is its gradient, not a list of gradients."""
    _, pullback = tn.vjp(lambda v: v * 2.0, [1.0, 3.0])
    assert pullback([5.0, 7.0])[0].tolist() == [10.0, 14.0]


def test_vjp_of_several_values_and_primals():
    (p, q), pullback = tn.vjp(lambda a, b: (a * b, a.sum()), X, V)
    np.testing.assert_allclose(p.data, X * V)
    ga, gb = pullback((np.ones(3), 10.0))
    np.testing.assert_allclose(ga.data, V + 10.0)
    np.testing.assert_allclose(gb.data, X)
    assert q.item() == pytest.approx(X.sum())
    assert tn.vjp(lambda a: tn.ones(2), X)[1](np.ones(2))[0].tolist() == [0.0] * 3


def test_jvp():
    y, t = tn.jvp(lambda x: tn.tanh(A @ x), [X], [V])
    np.testing.assert_allclose(y.data, np.tanh(A @ X))
    np.testing.assert_allclose(t.data, (1 - np.tanh(A @ X) ** 2) * (A @ V))
    (p, q, r), (tp, tq, tr) = tn.jvp(lambda a, b: (a * b, a, tn.ones(2)), [X, V], [np.ones(3), X])
    np.testing.assert_allclose(tp.data, V + X * X)
    assert tq.tolist() == [1.0] * 3
    assert tr.tolist() == [0.0, 0.0]
    assert p.shape == q.shape
    assert r.shape == (2,)


def test_jvp_of_a_linear_function_and_of_the_identity():
    assert tn.jvp(lambda x: x, [X], [V])[1].tolist() == V.tolist()
    np.testing.assert_allclose(tn.jvp(lambda x: x.reshape(3, 1).T, [X], [V])[1].data, V[None])


def test_jvp_errors():
    with pytest.raises(ShapeError, match="1 primals but 2 tangents"):
        tn.jvp(quadratic, [X], [V, V])
    with pytest.raises(ShapeError, match=r"tangent 0 has shape \(2,\), its primal \(3,\)"):
        tn.jvp(quadratic, [X], [np.ones(2)])


def test_hvp_and_hessian_of_a_quadratic():
    H = 0.5 * (A + A.T)
    np.testing.assert_allclose(tn.hvp(quadratic, X, V).data, H @ V)
    np.testing.assert_allclose(tn.hessian(quadratic, X).data, H)
    with pytest.raises(ShapeError, match=r"hvp: v has shape \(2,\), x \(3,\)"):
        tn.hvp(quadratic, X, np.ones(2))


def test_hvp_and_hessian_of_a_linear_function_are_zero():
    assert tn.hvp(lambda x: (x * 2.0).sum(), X, V).tolist() == [0.0] * 3
    assert not tn.hessian(lambda x: (x * 2.0).sum(), X).data.any()


def test_hessian_of_a_matrix_argument():
    """f(M) = tr(MᵀM)/2: the Hessian is the identity over pairs of indices."""
    H = tn.hessian(lambda m: (m * m).sum() * 0.5, np.arange(6.0).reshape(2, 3))
    assert H.shape == (2, 3, 2, 3)
    np.testing.assert_allclose(H.data.reshape(6, 6), np.eye(6))


def test_hessian_of_a_known_function():
    """log Σ eˣ: diag(p) - ppᵀ."""
    p = np.exp(X) / np.exp(X).sum()
    np.testing.assert_allclose(tn.hessian(lambda x: tn.logsumexp(x), X).data, np.diag(p) - np.outer(p, p), atol=1e-12)


def test_jacobian():
    np.testing.assert_allclose(
        tn.jacobian(lambda x: tn.tanh(A @ x), X).data, (1 - np.tanh(A @ X) ** 2)[:, None] * A, atol=1e-14
    )
    assert tn.jacobian(quadratic, X).shape == (3,)
    assert tn.jacobian(lambda x: x[:0], X).shape == (0, 3)
    assert not tn.jacobian(lambda x: tn.ones(2), X).data.any()


@pytest.mark.parametrize("layout", [lambda x: (x * 2.0).T, lambda x: tn.flip(x), lambda x: x.reshape(3, 2)[:, ::-1]])
def test_jacobian_of_values_of_any_memory_layout(layout):
    """A value that is a transposed or reversed view: the seed of each element must reach that element."""
    x = np.arange(6.0).reshape(2, 3)
    J = tn.jacobian(layout, x)
    wanted = numerical(lambda a: float((layout(tn.tensor(a)).data * np.arange(6.0).reshape(J.shape[:2])).sum()), [x])[0]
    got = np.tensordot(np.arange(6.0).reshape(J.shape[:2]), J.data, 2)
    np.testing.assert_allclose(got, wanted, rtol=1e-8)


def test_jacobian_with_create_graph_is_differentiable():
    x = leaf(1.0, 2.0)
    J = tn.jacobian(lambda t: t**3, x, create_graph=True)
    np.testing.assert_allclose(J.data, np.diag([3.0, 12.0]))
    assert tn.grad(J.sum(), x).tolist() == [6.0, 12.0]


def test_derivatives_work_inside_no_grad():
    with tn.no_grad():
        assert tn.value_and_grad(lambda x: (x * x).sum())(X)[1].tolist() == (2 * X).tolist()
        np.testing.assert_allclose(tn.hessian(quadratic, X).data, 0.5 * (A + A.T))
        assert tn.vjp(lambda x: x * x, X)[1](V)[0].tolist() == pytest.approx((2 * X * V).tolist())
        assert tn.jvp(lambda x: x * x, [X], [V])[1].tolist() == pytest.approx((2 * X * V).tolist())


# ---------------------------------------------------------------------- composites

COMPOSITES = {
    "gelu": (lambda x: tn.gelu(x), [(4,)]),
    "gelu tanh": (lambda x: tn.gelu(x, "tanh"), [(4,)]),
    "silu": (lambda x: tn.silu(x), [(4,)]),
    "layer_norm": (lambda x, w, b: tn.layer_norm(x, (3,), w, b), [(2, 3), (3,), (3,)]),
    "attention": (lambda q, k, v: tn.scaled_dot_product_attention(q, k, v), [(1, 2, 3), (1, 4, 3), (1, 4, 2)]),
    "cross_entropy": (lambda x: tn.cross_entropy(x, np.array([0, 2])), [(2, 3)]),
}


@pytest.mark.parametrize("name", COMPOSITES)
def test_composite_under_create_graph(name):
    """First order equals the fused one; second and third order against differences of the order below."""
    function, shapes = COMPOSITES[name]
    arrays = [np.random.default_rng(k).standard_normal(s) for k, s in enumerate(shapes)]
    directions = [np.random.default_rng(k + 9).standard_normal(s) for k, s in enumerate(shapes)]
    weight = np.random.default_rng(99).standard_normal(np.shape(function(*map(tn.tensor, arrays)).data))

    def value(order, *values):
        xs = [tn.tensor(v, requires_grad=True) for v in values]
        y = (function(*xs) * weight).sum()
        for _ in range(order):
            gs = tn.grad(y, xs, create_graph=True, allow_unused=True)
            y = sum((g * d).sum() for g, d in zip(gs, directions) if g is not None)
        return y, xs

    y, xs = value(0, *arrays)
    fused = tn.grad(y, xs, retain_graph=True)
    replayed = tn.grad(y, xs, create_graph=True)
    for a, b in zip(fused, replayed):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-10, atol=1e-12)
    h = 1e-5
    for order in (1, 2):
        up, down = (value(order, *[a + s * d for a, d in zip(arrays, directions)])[0].item() for s in (h, -h))
        assert value(order + 1, *arrays)[0].item() == pytest.approx((up - down) / (2 * h), rel=1e-5, abs=1e-7)


def test_composite_of_dependent_operands():
    """The operands of the replayed call hang together above it: every path counts once."""
    x0 = rng.standard_normal((1, 3, 2))

    def inner(x):
        y = tn.scaled_dot_product_attention(x, x * 2.0, tn.sin(x)).sum()
        g = tn.grad(y, x, create_graph=True)
        return (g * g).sum()

    x = tn.tensor(x0, requires_grad=True)
    wanted = numerical(lambda a: inner(tn.tensor(a, requires_grad=True)).item(), [x0])[0]
    np.testing.assert_allclose(tn.grad(inner(x), x).data, wanted, rtol=1e-6, atol=1e-8)


def test_composite_under_create_graph_can_be_used_again():
    x = counting(3)
    y = tn.gelu(x).sum()
    first = tn.grad(y, x, create_graph=True)
    second = tn.grad(y, x, create_graph=True)
    np.testing.assert_array_equal(first.data, second.data)
    np.testing.assert_allclose(tn.grad(first.sum(), x).data, tn.grad(second.sum(), x).data)


def test_create_graph_only_where_a_path_leads():
    x, w = leaf(2.0), leaf(3.0)
    g = tn.grad((tn.gelu(x) * w).sum(), w, create_graph=True)
    np.testing.assert_allclose(tn.grad(g.sum(), x).data, tn.grad(tn.gelu(x).sum(), x).data)
