"""dtype rules: what promotes and what does not, what is refused, and arrays of no axes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.engine.helpers import leaf
from tinygrad_notes import DTypeError

F32, F64, I64, I32, U8, BOOL = tn.float32, tn.float64, tn.int64, tn.int32, tn.uint8, tn.bool_
ALL = [F32, F64, I64, I32, U8, BOOL]
BINARY = {
    "add": lambda a, b: a + b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "maximum": tn.maximum,
    "where": lambda a, b: tn.where(tn.tensor([True, False]), a, b),
    "matmul": lambda a, b: a @ b,
    "concat": lambda a, b: tn.concat([a, b]),
    "stack": lambda a, b: tn.stack([a, b]),
    "einsum": lambda a, b: tn.einsum("i,j->ij", a, b),
}


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize(("first", "second"), list(itertools.product(ALL, ALL)), ids=str)
def test_two_dtypes_meet(name, first, second):
    """A float meets an integer as that float; two floats as the larger one; integers as NumPy has them."""
    a, b = tn.ones(2, dtype=first), tn.ones(2, dtype=second)
    floats = [d for d in (first, second) if d.kind == "f"]
    if floats:
        wanted = F64 if F64 in floats else F32
    elif name == "divide":
        wanted = F32
    else:
        wanted = np.result_type(first, second)
    got = BINARY[name](a, b)
    assert got.dtype == wanted
    assert type(got.data) is np.ndarray


SCALARS = [
    2,
    2.5,
    True,
    np.float64(2.5),
    np.float32(2.5),
    np.int64(2),
    np.int8(2),
    np.bool_(True),
    np.float16(2.5),
    np.uint64(2),
]


@pytest.mark.parametrize("scalar", SCALARS, ids=lambda s: f"{type(s).__name__}")
@pytest.mark.parametrize("dtype", [F32, F64])
@pytest.mark.parametrize("name", ["add", "multiply", "divide", "maximum", "where", "pow", "remainder", "less"])
def test_scalars_never_promote_a_float(name, dtype, scalar):
    x = tn.ones(2, dtype=dtype)
    call = BINARY | {"pow": lambda a, b: a**b, "remainder": lambda a, b: a % b, "less": lambda a, b: a < b}
    wanted = BOOL if name == "less" else dtype
    for a, b in ((x, scalar), (scalar, x)):
        got = call[name](a, b)
        assert type(got) is tn.Tensor
        assert got.dtype == wanted


@pytest.mark.parametrize("dtype", [I64, I32, U8, BOOL])
def test_integers_become_float32_where_a_float_is_needed(dtype):
    x = tn.ones(2, dtype=dtype)
    calls = [
        lambda: x * 1.5, lambda: 1.5 * x, lambda: x / 2, lambda: x + np.float64(0.5), lambda: x**0.5, lambda: tn.exp(x),
        lambda: tn.log(x), lambda: tn.sqrt(x), lambda: tn.sin(x), lambda: tn.tanh(x), lambda: tn.sigmoid(x),
        lambda: tn.gelu(x),
        lambda: tn.softplus(x), lambda: x.mean(), lambda: x.var(), lambda: x.std(), lambda: tn.norm(x),
        lambda: tn.norm(x, 3),
        lambda: tn.logsumexp(x), lambda: tn.softmax(x, axis=0), lambda: tn.erf(x), lambda: tn.expm1(x),
        lambda: tn.log1p(x),
        lambda: tn.where(x > 0, 1.0, 0.0), lambda: tn.linear(x, tn.ones((3, 2))), lambda: x @ tn.ones(2),
        lambda: tn.clip(x, 0.5, 2.5), lambda: tn.maximum(x, 0.5),
    ]  # fmt: skip
    for i, call in enumerate(calls):
        assert call().dtype == F32, f"call {i}"


def test_integers_stay_integers():
    x, b = tn.tensor([1, 2]), tn.tensor([True, False])
    for got, dtype in (
        (x + 1, I64), (x * x, I64), (x**2, I64), (-x, I64), (tn.abs(x), I64), (x // 2, I64), (x % 2, I64),
        (x.sum(), I64),
        (b.sum(), I64), (x.max(), I64), (x.argmax(), I64), (tn.relu(x), I64), (tn.square(x), I64),
        (tn.clip(x, 0, 1), I64),
        (x & 1, I64), (~b, BOOL), (b | b, BOOL), (tn.cumsum(b), I64), (tn.tensor([1], dtype=U8) + 1, U8),
        (tn.tensor([1], dtype=I32).sum(), I64), (x == 1, BOOL), (tn.where(b, x, 0), I64), (x.reshape(2, 1), I64),
    ):  # fmt: skip
        assert got.dtype == dtype


def test_gradients_have_the_dtype_of_their_operand():
    a, b = tn.ones(2, dtype=F32, requires_grad=True), tn.ones(2, dtype=F64, requires_grad=True)
    counts = np.array([1, 2])
    for y in (a * b, a @ b, tn.concat([a, b]), tn.where(counts > 1, a, b), a * counts + b, tn.maximum(a * 2, b)):
        assert y.dtype == F64
        assert [g.dtype for g in tn.grad(y.sum(), [a, b])] == [F32, F64]
    assert tn.grad((a * counts).sum(), a).dtype == F32
    assert tn.grad((a * np.float64(2)).sum(), a).dtype == F32
    assert tn.grad(a.astype(F64).sum(), a).dtype == F32
    g = tn.grad((a * b).sum(), [a, b], create_graph=True)
    assert [t.dtype for t in g] == [F32, F64]


@pytest.mark.parametrize(
    ("dtype", "reason"),
    [
        ("float16", "float16 is no dtype of Tensors, use float32"),
        ("bfloat16", "bfloat16 is no dtype of Tensors, use float32"),
        ("complex64", "dtype complex64 is not supported, expected one of float32, float64"),
        ("complex128", "dtype complex128 is not supported"),
        ("int16", "dtype int16 is not supported"),
        ("uint64", "dtype uint64 is not supported"),
        ("longdouble", r"dtype (float128|longdouble) is not supported"),
        ("object", "dtype object is not supported"),
        ("datetime64[s]", "is not supported"),
        ("U3", "is not supported"),
        ("nonsense", "nonsense"),
    ],
)
def test_unsupported_dtypes_are_refused_with_the_reason(dtype, reason):
    makers = (lambda: tn.zeros(2, dtype=dtype), lambda: tn.ones(2).astype(dtype), lambda: tn.tensor([1], dtype=dtype))
    for make in makers:
        with pytest.raises(DTypeError, match=reason):
            make()


@pytest.mark.parametrize("dtype", ["float16", "complex64", "int16", "uint32", "object", "U3"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_arrays_of_unsupported_dtypes_are_refused_and_the_operand_named(dtype, side):
    array = np.zeros(2, dtype)
    operand, operands = ("a", (array, tn.ones(2))) if side == "left" else ("b", (tn.ones(2), array))
    with pytest.raises(DTypeError, match=rf"add: {operand} is .*(no dtype of Tensors|not supported)"):
        tn.add(*operands)
    with pytest.raises(DTypeError, match=r"no dtype of Tensors|not supported"):
        tn.tensor(array)


def test_unsupported_numbers():
    x = leaf(1.0)
    for wrong in (1j, "a", None, object(), np.complex64(1), {}, b"x"):
        with pytest.raises(DTypeError, match=r"add: b is .*, expected a Tensor, an array or a number"):
            tn.add(x, wrong)
    with pytest.raises(DTypeError, match="too large"):
        x + 10**400
    with pytest.raises(DTypeError, match=r"add: .*300"):
        tn.ones(1, dtype=U8) + 300


def test_creation():
    assert tn.tensor(1.5).dtype == F32
    assert tn.tensor([1.5, 2]).dtype == F32
    assert tn.tensor(1).dtype == I64
    assert tn.tensor([True]).dtype == BOOL
    assert tn.tensor([]).dtype == F32
    assert tn.tensor(range(3)).tolist() == [0, 1, 2]
    assert tn.tensor(np.ones(2)).dtype == F64
    assert tn.tensor(np.float64(1)).dtype == F64
    assert tn.tensor(np.ones(2, ">f4")).dtype == F32
    assert tn.tensor(np.array(1, np.longlong)).dtype == I64
    assert tn.tensor(tn.ones(2, dtype=F64)).dtype == F64
    assert tn.tensor(0.1, dtype=F64).item() == 0.1
    assert tn.tensor([1, 2], dtype=float).dtype == F32
    assert tn.tensor([1, 2], dtype=int).dtype == I64
    assert tn.tensor(1, dtype="float64").dtype == F64
    for wrong in ("abc", None, object(), {1: 2}, [1, "a"], 10**30, [leaf(1.0)], (i for i in range(3))):
        with pytest.raises(DTypeError):
            tn.tensor(wrong)
    with pytest.raises(tn.ShapeError, match="rectangular"):
        tn.tensor([[1, 2], [3]])


def test_tensor_copies_and_asarray_shares():
    array = np.ones(2)
    assert not np.shares_memory(tn.tensor(array).data, array)
    assert np.shares_memory(tn.asarray(array).data, array)
    assert not np.shares_memory(tn.asarray(array, copy=True).data, array)
    x = tn.tensor(array)
    assert not np.shares_memory(tn.tensor(x).data, x.data)


def test_arrays_of_no_axes_stay_arrays():
    x = tn.tensor(np.array(2.0), requires_grad=True)
    v = leaf(1.0, 2.0)
    for y in (
        x, x * 2, -x, x + x, tn.exp(x), x**2, x.sum(), tn.relu(x), x[()], x[None].sum(), x.max(),
        tn.where(x > 0, x, 0.0), v[0], v @ v, v.argmax(), v.mean(), tn.norm(v), x > 0, x.astype(F32), x.detach(),
        x.clone(), tn.stack([x])[0],
    ):  # fmt: skip
        assert type(y.data) is np.ndarray
        assert y.shape == ()
    (g,) = [tn.grad((x * x).sum(), x)]
    assert type(g.data) is np.ndarray
    (x * x).backward()
    assert type(x.grad.data) is np.ndarray
    x.grad += 1.0
    assert x.grad.item() == 5.0


def test_dtypes_of_unpickled_arrays_are_the_same_dtypes():
    """NumPy makes a new dtype object of each pickle; comparing by identity alone would promote or copy."""
    import pickle

    array = pickle.loads(pickle.dumps(np.ones(2, np.float32)))
    assert array.dtype is not F32
    x = tn.asarray(array).requires_grad_()
    assert np.shares_memory(x.data, array)
    swapped = np.ones(2, ">f4")
    made = [
        x,
        pickle.loads(pickle.dumps(tn.ones(2))),
        tn.tensor(array),
        tn.tensor([1.0]),
        tn.tensor(swapped),
        tn.ones(2),
    ]
    made += [
        tn.arange(2, dtype="float32"),
        tn.tensor([1]).astype("f4"),
        tn.zeros_like(tn.tensor([1]), dtype=np.float32),
    ]
    for t in made:
        assert t.data.dtype is F32
        assert (t * 2).data.dtype is F32
    assert (x * np.float64(2)).dtype == F32
    assert (x * tn.tensor([1, 2])).dtype == F32
    assert tn.grad(tn.exp(x).sum(), x).dtype == F32
    assert (x @ tn.ones(2)).dtype == F32


def test_byte_order():
    swapped = np.array([1.0, 2.0], ">f8")
    x = leaf(3.0, 4.0)
    y = x * swapped
    assert y.dtype == F64
    assert tn.grad(y.sum(), x).tolist() == [1.0, 2.0]
    assert tn.asarray(swapped).data.dtype.isnative
