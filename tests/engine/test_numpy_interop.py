"""NumPy arrays and functions meet Tensors, on either side, and no gradient is lost without a word."""

from __future__ import annotations

import operator

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.engine.helpers import counting, leaf, numerical
from tinygrad_notes import DTypeError, GradientError, Tensor

NAMES = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "lt", "le", "gt", "ge", "eq", "ne")
DUNDERS = {name: getattr(operator, name) for name in NAMES}
DIFFERENTIABLE = ["add", "sub", "mul", "truediv", "mod", "pow", "matmul"]


@pytest.mark.parametrize("name", DUNDERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_array_on_the_left_and_on_the_right(name, dtype):
    """The value is NumPy's, the result a Tensor, and the gradient arrives."""
    call, rng = DUNDERS[name], np.random.default_rng(0)
    array, values = (rng.uniform(0.5, 2.0, (2, 2)).astype(dtype) for _ in range(2))
    for left in (True, False):
        x = tn.tensor(values, requires_grad=True)
        y = call(array, x) if left else call(x, array)
        assert type(y) is Tensor
        np.testing.assert_allclose(y.data, call(array, values) if left else call(values, array), rtol=1e-6)
        assert y.requires_grad == (name in DIFFERENTIABLE)
        if y.requires_grad and dtype == np.float64:
            (g,) = [tn.grad(y.sum(), x)]
            function = (lambda v: call(array, v).sum()) if left else (lambda v: call(v, array).sum())
            np.testing.assert_allclose(g.data, numerical(function, [values])[0], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["and_", "or_", "xor"])
def test_array_of_integers_on_the_left(name):
    call, a, b = getattr(operator, name), np.array([1, 2, 3]), np.array([3, 3, 4])
    for y in (call(a, tn.tensor(b)), call(tn.tensor(a), b)):
        assert type(y) is Tensor
        assert y.tolist() == call(a, b).tolist()


@pytest.mark.parametrize(
    "scalar", [np.float64(2), np.float32(2), np.int64(2), np.array(2.0), 2, 2.0], ids=lambda s: type(s).__name__
)
def test_scalars_on_the_left(scalar):
    x = leaf(1.0, 4.0)
    for y in (scalar + x, scalar - x, scalar * x, scalar / x, scalar**x, scalar % x):
        assert type(y) is Tensor
        assert y.requires_grad
    assert tn.grad((scalar / x).sum(), x).tolist() == [-2.0, -0.125]
    assert (scalar > x).tolist() == [True, False]


def test_lists_on_either_side():
    x = leaf(1.0, 2.0)
    for y in ([1.0, 2.0] + x, x + [1.0, 2.0], [3, 4] * x, x @ [1, 2]):
        assert type(y) is Tensor
        assert y.requires_grad


def test_method_of_an_array_cannot_lose_the_gradient():
    """``w.T.dot(x)`` knows no protocol: it would give numbers without a gradient, so it is refused."""
    w, x = np.ones((2, 2)), leaf(1.0, 2.0)
    with pytest.raises(GradientError, match="requires a gradient, which NumPy does not follow"):
        w.T.dot(x)
    with pytest.raises(GradientError, match="requires a gradient"):
        np.asarray(x)
    with pytest.raises(GradientError, match="requires a gradient"):
        np.array([x, x])
    with pytest.raises(GradientError, match="requires a gradient"):
        w[0] = x
    assert w.T.dot(x.detach()).tolist() == [3.0, 3.0]


def test_array_changed_in_place_by_a_tensor():
    array, x = np.ones(2), leaf(1.0, 2.0)
    with pytest.raises(GradientError, match="would lose the gradient"):
        array += x
    assert array.tolist() == [1.0, 1.0]
    array += x.detach()
    assert array.tolist() == [2.0, 3.0]
    with pytest.raises(DTypeError, match="out is a Tensor"):
        np.add(array, array, out=tn.ones(2))


# name: (NumPy's function, arguments behind the operand)
FUNCTIONS = {
    "sum": (np.sum, {}), "sum axis": (np.sum, {"axis": 1, "keepdims": True}), "mean": (np.mean, {"axis": (0, 1)}),
    "max": (np.max, {"axis": 0}), "min": (np.min, {}), "var": (np.var, {"ddof": 1}),
    "std": (np.std, {"axis": 1, "ddof": 1}),
    "cumsum": (np.cumsum, {}), "cumsum axis": (np.cumsum, {"axis": 0}), "reshape": (np.reshape, {"shape": (3, 2)}),
    "transpose": (np.transpose, {}), "transpose axes": (np.transpose, {"axes": (1, 0)}),
    "swapaxes": (np.swapaxes, {"axis1": 0, "axis2": 1}),
    "moveaxis": (np.moveaxis, {"source": 0, "destination": 1}), "squeeze": (np.squeeze, {}),
    "flip": (np.flip, {"axis": 1}),
    "expand_dims": (np.expand_dims, {"axis": 1}), "roll": (np.roll, {"shift": 1, "axis": 1}),
    "broadcast_to": (np.broadcast_to, {"shape": (4, 2, 3)}),
    "clip": (np.clip, {"a_min": 0.2, "a_max": 1.5}), "clip min": (np.clip, {"min": 1.0}),
    "pad": (np.pad, {"pad_width": 1, "mode": "edge"}),
    "exp": (np.exp, {}), "sin": (np.sin, {}), "sqrt": (np.sqrt, {}), "tanh": (np.tanh, {}),
    "absolute": (np.absolute, {}),
    "square": (np.square, {}), "log1p": (np.log1p, {}), "negative": (np.negative, {}), "positive": (np.positive, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numpys_functions_keep_the_gradient(name):
    function, options = FUNCTIONS[name]
    array = np.random.default_rng(0).uniform(0.1, 2.0, (2, 3))
    x = tn.tensor(array, requires_grad=True)
    y = function(x, **options)
    assert type(y) is Tensor
    np.testing.assert_allclose(y.data, function(array, **options), rtol=1e-12)
    weights = np.random.default_rng(1).standard_normal(y.shape)
    wanted = numerical(lambda a: float((function(a, **options) * weights).sum()), [array])[0]
    np.testing.assert_allclose(tn.grad((y * weights).sum(), x).data, wanted, rtol=1e-6, atol=1e-8)


def test_numpys_functions_of_several_operands():
    a, b = counting(2, 2), counting(2, 2)
    array = np.array([[1.0, 0.0], [2.0, 1.0]])
    # the sums of the gradients for a and b
    for y, wanted in (
        (np.concatenate((a, b), axis=1), (4, 4)), (np.concatenate([a, array, b]), (4, 4)),
        (np.concatenate([a, b], axis=None), (4, 4)),
        (np.stack([a, b], axis=-1), (4, 4)), (np.where(array > 0, a, b), (3, 1)), (np.maximum(a * 2.0, b), (8, 0)),
        (np.add(a, b), (4, 4)), (np.multiply(a, array), (4, None)), (np.einsum("ij,ij->", a, array), (4, None)),
        (np.matmul(a, array), (8, None)), (np.power(a, 1.0), (4, None)), (np.split(a, 2)[1], (2, None)),
        (np.true_divide(a, 2.0), (2, None)), (np.mod(a, 100.0), (4, None)), (np.minimum(100.0, b), (None, 4)),
        (np.take_along_axis(b, np.array([[0], [1]]), 1), (None, 2)),
    ):  # fmt: skip
        assert type(y) is Tensor
        got = tn.grad(y.sum(), [a, b], allow_unused=True)
        assert tuple(None if g is None else g.data.sum() for g in got) == wanted


def test_positional_arguments_are_numpys():
    """NumPy's third argument of sum is a dtype, ours keepdims: nothing slips into another place."""
    x = counting(2, 2)
    assert np.sum(x, 0).tolist() == [4.0, 6.0]
    assert np.sum(x, 0, None, None, True).shape == (1, 2)
    assert np.argmax(x, 1).tolist() == [1, 1]
    assert np.var(x, 0, None, None, 1).tolist() == [2.0, 2.0]
    assert np.clip(x, 2.0, 3.0).tolist() == [[2.0, 2.0], [3.0, 3.0]]
    for call, argument in (
        (lambda: np.sum(x, 0, np.float64), "dtype"), (lambda: np.sum(x, dtype=np.float32), "dtype"),
        (lambda: np.mean(x, where=np.ones((2, 2), bool)), "where"), (lambda: np.sum(x, initial=3.0), "initial"),
        (lambda: np.reshape(x, (4,), "F"), "order"), (lambda: np.max(x, None, np.zeros(())), "out"),
    ):  # fmt: skip
        with pytest.raises(DTypeError, match=f"the argument {argument} is not supported for Tensors"):
            call()


def test_functions_of_the_same_name_elsewhere_are_not_ours():
    """numpy.linalg.norm of a matrix with ord=2 is its largest singular value; tn.norm is of all elements."""
    x = counting(2, 2)
    with pytest.raises(GradientError, match=r"numpy\.linalg\.norm would lose the gradient"):
        np.linalg.norm(x, 2)
    assert np.linalg.norm(x.detach(), 2) == pytest.approx(np.linalg.norm(x.data, 2))
    assert np.linalg.norm(x.detach(), 2) != pytest.approx(tn.norm(x).item())


ELSEWHERE = {
    "linalg.inv": np.linalg.inv,
    "linalg.svd": np.linalg.svd,
    "linalg.solve": lambda x: np.linalg.solve(x, np.ones(2)),
    "fft.fft": np.fft.fft,
    "copy": np.copy,
    "interp": lambda x: np.interp(x, np.arange(3.0), np.arange(3.0)),
    "add": lambda x: np.add.reduce(x) * np.add.outer(x, x) * np.add(x, x, dtype=np.float32),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_has_no_gradient_here_is_refused(name):
    x = counting(2, 2) * 1.0
    with pytest.raises(GradientError, match=rf"numpy\.{name}.* would lose the gradient of its operand; use an op of "):
        ELSEWHERE[name](x)
    assert not isinstance(ELSEWHERE[name](x.detach()), Tensor)


SKIPPED = {"save", "savez", "savetxt", "savez_compressed", "info", "test", "show_config", "show_runtime"}


@pytest.mark.filterwarnings("ignore")
def test_every_function_of_numpy_keeps_the_gradient_or_says_that_it_would_not():
    """Whatever takes one array of floats is an op with NumPy's value, is refused, or answers what has no gradient."""
    array = np.random.default_rng(0).uniform(0.1, 0.9, (3, 3))
    lost, different, refused, recorded = [], [], 0, 0
    for name in sorted(set(dir(np)) - SKIPPED):
        function = getattr(np, name)
        if name.startswith("_") or not callable(function) or isinstance(function, type):
            continue
        try:
            result = function(tn.tensor(array, requires_grad=True))
        except GradientError:
            refused += 1
            continue
        except (TypeError, ValueError, AttributeError, LookupError):
            continue
        wanted = function(array)
        results, values = ([v] if not isinstance(v, tuple | list) else v for v in (result, wanted))
        for ours, theirs in zip(results, values):
            if isinstance(ours, Tensor):
                recorded += ours.requires_grad
                if not name.startswith("empty") and not np.allclose(ours.detach(), theirs, 1e-12, equal_nan=True):
                    different.append(name)
            elif isinstance(ours, np.ndarray) and ours.dtype.kind == "f":
                lost.append(name)
    assert lost == []
    assert different == []
    assert refused > 30
    assert recorded > 25


def test_questions_are_answered():
    x = counting(2, 3)
    assert np.shape(x) == (2, 3)
    assert np.ndim(x) == 2
    assert np.size(x) == 6
    assert np.allclose(x, x.data)
    assert np.array_equal(x, x.data)
    assert np.isclose(x, x.data).all()
    assert np.shares_memory(x, x.data)
    assert np.result_type(x, np.float32) == np.float64
    assert len(x) == 2
    np.testing.assert_array_equal(x.detach(), x.data)


def test_out_to_numpy():
    x = tn.ones((2, 2))
    assert np.shares_memory(x.numpy(), x.data)
    assert np.shares_memory(np.asarray(x), x.data)
    assert not np.shares_memory(np.array(x), x.data)
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    with pytest.raises(GradientError, match=r"use t.detach\(\).numpy\(\)"):
        leaf(1.0).numpy()
    with pytest.raises(ValueError, match="copy"):
        np.array(x, dtype=np.float64, copy=False)


def test_like_functions_give_tensors():
    x = leaf(1.0, 2.0)
    for y in (np.zeros_like(x), np.ones_like(x), np.full_like(x, 3.0), np.empty_like(x)):
        assert type(y) is Tensor
        assert (y.dtype, y.shape, y.requires_grad) == (x.dtype, x.shape, False)
    assert np.linspace(tn.tensor(0.0), tn.tensor(1.0), 3).tolist() == [0.0, 0.5, 1.0]


def test_an_array_subclass_is_an_array():
    """A memory map, above all: what numpy.load(..., mmap_mode="r") gives."""

    class Sub(np.ndarray):
        pass

    x, sub = leaf(1.0, 2.0), np.array([3.0, 4.0]).view(Sub)
    for y in (x * sub, sub * x, tn.multiply(sub, x), tn.concat([x * sub, sub])):
        assert type(y) is Tensor
        assert type(y.data) is np.ndarray
        assert tn.grad(y.sum(), x).tolist() == [3.0, 4.0]
    assert type(tn.tensor(sub).data) is np.ndarray
    with pytest.raises(DTypeError, match="multiply: b is float16"):
        x * np.ones(2, np.float16).view(Sub)
