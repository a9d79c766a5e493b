"""@op: what it refuses, ops of every form, and derivatives that are wrong."""

from __future__ import annotations

import inspect
import traceback

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.engine.helpers import counting, leaf, numerical
from tinygrad_notes import REGISTRY, Array, Arrays, GradientError, op
from tinygrad_notes.study.gradcheck import gradcheck

pytestmark = pytest.mark.usefixtures("own_ops")

# ---------------------------------------------------------------------- refused when it is defined


def test_captured_operand():
    with pytest.raises(TypeError, match=r"hidden: a derivative names what it keeps .*not \['a'\]"):

        @op
        def hidden(a: Array):
            return a * a, lambda g: 2 * g * a


def test_operand_captured_deeper_inside():
    with pytest.raises(TypeError, match=r"deeper: .*not \['b'\]"):

        @op
        def deeper(a: Array, b: Array):
            return a * b, lambda g: (lambda h: h * b)(g), lambda g, a: g * a


def test_unknown_keep():
    with pytest.raises(TypeError, match=r"odd: a derivative names .*not \['x'\]"):

        @op
        def odd(a: Array):
            return a * a, lambda g, x: g * x


def test_keep_that_is_no_operand():
    with pytest.raises(TypeError, match=r"static: .*not \['n'\]"):

        @op
        def static(a: Array, n):
            return a * n, lambda g, n: g * n


def test_keyword_only_keep():
    with pytest.raises(TypeError, match=r"keyword: .*not \['a'\]"):

        @op
        def keyword(a: Array):
            return a * a, lambda g, *, a: 2 * g * a


def test_wrong_number_of_derivatives():
    with pytest.raises(TypeError, match=r"three: 2 derivatives for operands \['a', 'b', 'c'\]"):

        @op
        def three(a: Array, b: Array, c: Array):
            return a + b + c, lambda g: g, lambda g: g


def test_branches_that_keep_different_things():
    with pytest.raises(TypeError, match="its branches keep different things"):

        @op
        def branched(a: Array, flag):
            if flag:
                return a * a, lambda g, a: 2 * g * a
            return np.exp(a), lambda g, y: g * y


def test_no_operand():
    with pytest.raises(TypeError, match="op nothing: no parameter is annotated Array"):

        @op
        def nothing(n):
            return np.ones(n)


def test_duplicate_name():
    before = REGISTRY["add"]
    with pytest.raises(TypeError, match="op add is defined twice"):

        @op
        def add(a: Array, b: Array):
            return a + b, lambda g: g, lambda g: g

    assert REGISTRY["add"] is before
    with pytest.raises(TypeError, match="op add is defined twice"):

        @op
        def add_(a: Array):
            return a


def test_nothing_is_registered_when_refused():
    names = set(REGISTRY)
    with pytest.raises(TypeError):

        @op
        def wrong(a: Array):
            return a * a, lambda g: g * a

    assert set(REGISTRY) == names


def test_derivative_written_outside():
    """It cannot be read, so the op would count as one without a gradient."""

    def outside(g, a):
        return 2 * g * a

    @op
    def apart(a: Array):
        return a * a, outside

    with pytest.raises(TypeError, match="apart: a derivative is written inside the op, and its first parameter is g"):
        apart(leaf(1.0))


# ---------------------------------------------------------------------- forms


def check(function, *shapes, order=2):
    rng = np.random.default_rng(0)
    gradcheck(function, *[rng.uniform(0.5, 1.5, s) for s in shapes], order=1).raise_if_failed()
    if order == 2:
        gradcheck(function, *[rng.uniform(0.5, 1.5, s) for s in shapes], order=2).raise_if_failed()


def test_one_operand_keeping_itself_or_its_value():
    @op
    def cube(a: Array):
        """a³."""
        return a**3, lambda g, a: g * 3.0 * a**2

    @op
    def grow(a: Array):
        return np.exp(a), lambda g, y: g * y

    check(lambda x: cube(x), (2, 3))
    check(lambda x: grow(x), ())
    assert cube.__doc__ == "a³."
    assert (cube.__name__, cube.__module__) == ("cube", __name__)
    assert cube.op is REGISTRY["cube"]
    assert REGISTRY["cube"].keeps == [("a",)]
    assert REGISTRY["grow"].keeps == [("y",)]
    assert cube(2.0).item() == 8.0  # numbers and lists are operands too
    assert cube([1.0, 2.0]).tolist() == [1.0, 8.0]


def test_two_operands_that_broadcast():
    @op(elementwise=True)
    def hypot2(a: Array, b: Array):
        return a * a + b * b, lambda g, a: g * 2.0 * a, lambda g, b: g * 2.0 * b

    check(lambda x, y: hypot2(x, y), (2, 1), (3,))
    assert hypot2(tn.tensor([3]), 4.0).dtype == tn.float32
    x = tn.ones(2, requires_grad=True)
    assert tn.grad(hypot2(x, np.ones(2)).sum(), x).dtype == tn.float32


def test_derivatives_as_def():
    @op
    def scaled(a: Array, factor=2.0, *, shift=0.0):
        def d_a(g):
            return g * factor

        return a * factor + shift, d_a

    check(lambda x: scaled(x, 3.0, shift=1.0), (2,))
    assert scaled(leaf(1.0)).item() == 2.0
    assert str(inspect.signature(scaled)) == str(inspect.signature(REGISTRY["scaled"].function))


def test_joint_derivative():
    @op
    def product3(a: Array, b: Array, c: Array):
        return a * b * c, lambda g, a, b, c: (g * b * c, g * a * c, g * a * b)

    check(lambda x, y, z: product3(x, y, z), (2, 2), (2, 1), (1,))
    x = leaf(2.0)
    assert tn.grad(product3(x, x, 3.0).sum(), x).item() == 12.0


def test_joint_derivative_with_none():
    @op
    def chosen(a: Array, b: Array):
        return a * 2.0, lambda g: (g * 2.0, None)

    a, b = leaf(1.0), leaf(1.0)
    assert tn.grad(chosen(a, b).sum(), [a, b], allow_unused=True)[1] is None


def test_optional_operand():
    @op
    def affine(x: Array, w: Array, bias: Array | None = None):
        value = x * w if bias is None else x * w + bias
        return value, lambda g, w: g * w, lambda g, x: g * x, lambda g: g

    check(lambda x, w, b: affine(x, w, b), (2,), (2,), (1,))
    check(lambda x, w: affine(x, w), (2,), (2,))
    assert affine(1.0, 2.0, bias=leaf(3.0)).requires_grad
    with pytest.raises(tn.DTypeError, match="affine: w is NoneType"):
        affine(1.0, None)


def test_several_values():
    @op
    def sine_cosine(a: Array):
        return (np.sin(a), np.cos(a)), lambda g, y: g[0] * y[1] - g[1] * y[0]

    check(lambda x: sine_cosine(x), (3,))
    check(lambda x: sine_cosine(x)[1], (3,))
    x = leaf(0.3)
    s, c = sine_cosine(x)
    assert tn.grad((s * s + c * c).sum(), x).item() == pytest.approx(0.0)
    assert repr(s).endswith("op=part)")


def test_several_values_of_several_operands_and_dtypes():
    @op
    def split_max(a: Array, b: Array):
        return (np.maximum(a, b), a * b, np.argmax(a)), lambda g, a, b: (
            g[0] * (a > b) + g[1] * b,
            g[0] * (b >= a) + g[1] * a,
        )

    a, b = leaf(1.0, 5.0), leaf(2.0, 3.0)
    top, product, where = split_max(a, b)
    assert (top.requires_grad, where.requires_grad, where.dtype) == (True, False, np.int64)
    ga, gb = tn.grad((top * product).sum(), [a, b])
    wanted = numerical(lambda p, q: float((np.maximum(p, q) * p * q).sum()), [a.data, b.data])
    np.testing.assert_allclose([ga.data, gb.data], wanted, rtol=1e-6)


def test_any_number_of_operands():
    @op
    def total(arrays: Arrays, scale=1.0):
        shapes = [x.shape for x in arrays]
        return sum(x.sum() for x in arrays) * scale, lambda g: tuple(tn.broadcast_to(g * scale, s) for s in shapes)

    check(lambda x, y: total([x, y], 2.0), (2,), (3, 1))
    assert type(total([tn.ones(2)]).data) is np.ndarray  # also where NumPy makes a scalar
    with pytest.raises(tn.DTypeError, match="total: arrays is Tensor, expected a list or tuple"):
        total(leaf(1.0))


def test_no_derivative():
    @op
    def count(a: Array):
        return np.count_nonzero(a)

    y = count(leaf(1.0, 0.0))
    assert y.item() == 1
    assert not y.requires_grad
    assert not REGISTRY["count"].differentiable


def test_branches_that_keep_the_same():
    @op
    def power(a: Array, n):
        if n == 2:
            return a * a, lambda g, a: 2.0 * g * a
        return a**n, lambda g, a: n * g * a ** (n - 1)

    check(lambda x: power(x, 2) + power(x, 3), (2,))


def test_composite():
    def in_small_ops(a, n=2):
        return a**n * 1.0

    @op(composite=in_small_ops)
    def fused(a: Array, n=2):
        grad = n * a ** (n - 1)  # what the composite allows: it depends on a, and create_graph does not see it
        return a**n, lambda g: g * grad

    check(lambda x: fused(x, 3), (3,))
    assert REGISTRY["fused"].captures == ["grad"]


def test_integers_become_floats_where_asked():
    @op(floating=True)
    def half(a: Array):
        return a * np.float32(0.5), lambda g: g * 0.5

    assert half(tn.tensor([1, 2])).dtype == tn.float32
    assert half(3).item() == 1.5


def test_derivative_may_call_other_ops():
    @op
    def mine(a: Array):
        return np.tanh(a), lambda g, a: g * (1.0 - tn.square(tn.tanh(a)))

    check(lambda x: mine(x), (2, 2))


def test_own_op_with_private_name():
    @op
    def secret_(a: Array):
        return a * 2.0, lambda g: g * 2.0

    assert REGISTRY["secret"].call is secret_


# ---------------------------------------------------------------------- wrong derivatives are caught, and the op named


WRONG = {
    "shape": (lambda g: g[:1, :2], r"bad: a gradient has shape \(1, 2\), its operand \(3, 3\)"),
    "transposed": (lambda g: g.reshape(9), r"bad: a gradient has shape \(9,\), its operand \(3, 3\)"),
    "dtype": (lambda g: g.astype(np.float64), "bad: a gradient is float64, its operand is float32"),
    "integer": (lambda g: g.astype(np.int64), "bad: a gradient is int64, its operand is float32"),
    "number": (lambda g: 2.0, "bad: its derivative failed: 'float' object has no attribute 'shape'"),
    "list": (lambda g: [1.0], "bad: its derivative failed: 'list' object has no attribute 'shape'"),
    "error": (lambda g: g.reshape(7), "bad: its derivative failed: cannot reshape array of size 9 into shape"),
    "index": (lambda g: g[5], "bad: its derivative failed: index 5 is out of bounds"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("create_graph", [False, True])
def test_wrong_gradient(name, create_graph):
    wrong, message = WRONG[name]

    @op
    def bad(a: Array):
        return a * 1, lambda g: wrong(g)

    if create_graph:
        message = message.split(": ")[0]
    x = tn.ones((3, 3), requires_grad=True)
    with pytest.raises(GradientError, match=message):
        bad(x).sum().backward(create_graph=create_graph)
    assert x.grad is None
    assert tn.is_grad_enabled()


@pytest.mark.parametrize(
    ("joint", "message"),
    [
        (lambda g: (g,), "its derivative returned 1 gradients, expected a tuple of 2"),
        (lambda g: (g, g, g), "its derivative returned 3 gradients, expected a tuple of 2"),
        (lambda g: g * 2.0, r"its derivative returned ndarray \(2,\) float64, expected a tuple of 2"),
        (lambda g: None, "its derivative returned None, expected a tuple of 2"),
    ],
)
def test_wrong_number_of_gradients(joint, message):
    """Two operands of two elements: a bare array would pass as a tuple of two numbers."""

    @op
    def bad(a: Array, b: Array):
        return a + b, lambda g: joint(g)

    with pytest.raises(GradientError, match=f"bad: {message}"):
        bad(leaf(1.0, 2.0), leaf(1.0, 2.0)).sum().backward()


def test_two_derivatives_for_one_operand():
    @op
    def twice(a: Array):
        return a * 2.0, lambda g: g, lambda g: g

    with pytest.raises((TypeError, ValueError), match=r"twice: .*unpack"):
        twice(leaf(1.0))


# ---------------------------------------------------------------------- tracebacks


def test_tracebacks_show_the_generated_wrapper():
    @op
    def fails(a: Array, n=1):
        return np.reshape(a, (n,)), lambda g: g

    fails(leaf(1.0))  # the first call compiles it
    with pytest.raises(tn.ShapeError, match=r"fails: cannot reshape array of size 2 into shape \(5,\)") as error:
        fails(leaf(1.0, 2.0), 5)
    text = "".join(traceback.format_exception(error.value))
    assert 'File "<op fails>"' in text
    assert "= function(a, n)" in text


def test_errors_name_operands_and_arguments():
    with pytest.raises(tn.ShapeError, match=r"add: .*a \[3\] float32, b \[4\] float32"):
        tn.ones(3) + tn.ones(4)
    with pytest.raises(tn.ShapeError, match="matmul: "):
        tn.ones((2, 3)) @ tn.ones((2, 3))
    with pytest.raises(TypeError, match=r"unexpected keyword|got an unexpected"):
        tn.exp(counting(2), base=2)
