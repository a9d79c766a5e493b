"""What samples cannot show of the broader ops: wrong arguments, ties, singular matrices and equal eigenvalues."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn

A = np.arange(12.0).reshape(3, 4)
SQUARE = np.array([[2.0, 1.0], [0.0, 3.0]])
SINGULAR = np.array([[1.0, 2.0], [2.0, 4.0]])

# What is called, the error, and what its message says: the op, the argument, what came, what was expected.
WRONG = [
    (lambda: tn.atan2(np.ones(2), np.ones(3)), tn.ShapeError, r"atan2: .*a \[2\] float64, b \[3\]"),
    (lambda: tn.tan("x"), tn.DTypeError, "tan: a is str, expected"),
    (lambda: tn.round(A, 1.5), tn.DTypeError, "round: decimals is 1.5, expected an integer"),
    (lambda: tn.elu(A, "x"), tn.DTypeError, "elu: alpha is 'x', expected a number"),
    (lambda: tn.elu(A, np.inf), tn.ShapeError, "elu: alpha is inf, expected a finite number"),
    (lambda: tn.celu(A, 0.0), tn.ShapeError, "celu: alpha is 0.0, expected a number above 0"),
    (lambda: tn.hardtanh(A, 1.0, -1.0), tn.ShapeError, "hardtanh: min_val is 1.0 and max_val -1.0"),
    (lambda: tn.prelu(A, np.ones(3)), tn.ShapeError, r"prelu: weight has shape \(3,\), a \(3, 4\)"),
    (lambda: tn.prelu(A, np.ones((2, 2))), tn.ShapeError, r"prelu: weight has shape \(2, 2\), expected"),
    (lambda: tn.glu(A, 0), tn.ShapeError, "glu: axis 0 has size 3, expected an even one"),
    (lambda: tn.softmin(A, 2), tn.ShapeError, "axis 2 is out of bounds for 2 axes"),
    (lambda: tn.prod(A, 2), tn.ShapeError, "prod: axis 2 is out of bounds"),
    (lambda: tn.prod(A, "x"), tn.DTypeError, "prod: "),
    (lambda: tn.cumprod(A, 5), tn.ShapeError, "cumprod: axis 5 is out of bounds"),
    (lambda: tn.logcumsumexp(1.0, 0), tn.ShapeError, "logcumsumexp: a has no axes"),
    (lambda: tn.any(A, 2), tn.ShapeError, "any: axis 2 is out of bounds"),
    (lambda: tn.count_nonzero(A, 2), tn.ShapeError, "count_nonzero: axis 2 is out of bounds"),
    (lambda: tn.sort(A, 2), tn.ShapeError, "sort: axis 2 is out of bounds for 2 axes"),
    (lambda: tn.sort(A, descending=1), tn.DTypeError, "descending is 1, expected True or False"),
    (lambda: tn.argsort(1.0), tn.ShapeError, "argsort: axis -1 is out of bounds for 0 axes"),
    (lambda: tn.topk(A, 5), tn.ShapeError, "topk: k is 5, but axis 1 has size 4"),
    (lambda: tn.topk(A, -1), tn.ShapeError, "topk: k is -1, expected at least 0"),
    (lambda: tn.median(np.zeros((2, 0)), 1), tn.ShapeError, "median: no elements, so no middle"),
    (lambda: tn.median(A, (0, 1)), tn.ShapeError, r"axis \(0, 1\) is out of bounds"),
    (lambda: tn.searchsorted(A, 1.0), tn.ShapeError, r"searchsorted: a has shape \(3, 4\), expected \(n,\)"),
    (lambda: tn.searchsorted(A[0], 1.0, "middle"), tn.ShapeError, "searchsorted: side is 'middle', expected 'left' or"),
    (lambda: tn.nonzero(1.0), tn.ShapeError, "nonzero: a has no axes"),
    (lambda: tn.unique(A, "yes"), tn.DTypeError, "unique: return_index is 'yes'"),
    (lambda: tn.bincount(A[0]), tn.DTypeError, "bincount: a is float64, expected integers"),
    (lambda: tn.bincount(np.array([1, -1])), IndexError, "bincount: a has -1"),
    (lambda: tn.bincount(np.array([1, 1]), np.ones(3)), tn.ShapeError, r"bincount: weights have shape \(3,\), a "),
    (lambda: tn.histogram(A, 0), tn.ShapeError, "histogram: bins is 0, expected at least 1"),
    (lambda: tn.histogram(A, 3, (2, 1)), tn.ShapeError, "histogram: "),
    (lambda: tn.histogram(A, 3, 1.0), tn.ShapeError, "histogram: range is 1.0, expected two numbers"),
    (lambda: tn.histogram(np.array([np.nan])), tn.ShapeError, "histogram: a has elements that are not finite"),
    (lambda: tn.histogram(A, [3.0, 1.0]), tn.ShapeError, "histogram: "),
    (lambda: tn.tile(A, (1, -1)), tn.ShapeError, "tile: repetitions is -1, expected at least 0"),
    (lambda: tn.tile(A, 1.5), tn.DTypeError, "tile: repetitions is 1.5, expected an integer"),
    (lambda: tn.repeat(A, [1, 2], 1), tn.ShapeError, r"repeat: repeats has shape \(2,\), expected \(\) or \(4,\)"),
    (lambda: tn.repeat(A, [1.0] * 4, 1), tn.DTypeError, "repeat: repeats is float32, expected integers"),
    (lambda: tn.repeat(A, -1), tn.ShapeError, "repeat: repeats is -1"),
    (lambda: tn.meshgrid(A), tn.ShapeError, r"meshgrid: array 0 has shape \(3, 4\), expected one axis"),
    (lambda: tn.meshgrid(A[0], indexing="yx"), tn.ShapeError, "meshgrid: indexing is 'yx', expected 'xy' or 'ij'"),
    (lambda: tn.rot90(A, 1, (0, 0)), tn.ShapeError, r"rot90: axes is \(0, 0\), expected two different ones"),
    (lambda: tn.rot90(A[0]), tn.ShapeError, "rot90: axis 1 is out of bounds for 1 axes"),
    (lambda: tn.sliding_window_view(A, 5, 1), tn.ShapeError, "window spans 5 elements of axis 1, which has size 4"),
    (lambda: tn.sliding_window_view(A, 2), tn.ShapeError, "window_shape is 2, expected 2 sizes"),
    (lambda: tn.tril(A[0]), tn.ShapeError, r"tril: a has shape \(4,\), expected \(..., n, m\)"),
    (lambda: tn.triu(A, 0.5), tn.DTypeError, "triu: k is 0.5, expected an integer"),
    (lambda: tn.diagonal(A, 0, 1, 1), tn.ShapeError, "diagonal: axis1 and axis2 are both 1"),
    (lambda: tn.diag(np.ones((2, 2, 2))), tn.ShapeError, r"diag: a has shape \(2, 2, 2\), expected one or two axes"),
    (lambda: tn.trace(A[0]), tn.ShapeError, r"a has shape \(4,\), expected at least two axes"),
    (lambda: tn.take(A, [3], 0), IndexError, "take: index 3 is out of range for the size of axis 0 = 3"),
    (lambda: tn.take(A, [0.5], 0), tn.DTypeError, "take: indices are float32, expected integers"),
    (lambda: tn.index_select(A, 0, [[0]]), tn.ShapeError, r"index_select: indices have shape \(1, 1\)"),
    (lambda: tn.gather(A, 0, [[-1]]), IndexError, "gather: index -1 is out of range"),
    (lambda: tn.gather(A, 0, [0]), tn.ShapeError, "gather: indices have 1 axes, a has 2"),
    (lambda: tn.gather(A, 0, np.zeros((1, 5), int)), tn.ShapeError, "gather: .* beside axis 0 they must not be larger"),
    (lambda: tn.masked_fill(A, A, 0.0), tn.DTypeError, "masked_fill: mask is float64, expected bool"),
    (lambda: tn.masked_fill(A, A > 1, A), tn.ShapeError, r"masked_fill: value has shape \(3, 4\), expected one number"),
    (lambda: tn.masked_fill([1, 2], [True, False], 0.5), tn.DTypeError, "masked_fill: value is 0.5, which a of int64"),
    (lambda: tn.segment_sum(A, [0, 1], 2), tn.ShapeError, r"segment_sum: values have shape \(3, 4\), segment"),
    (lambda: tn.segment_sum(A, [0, 1, 2], 2), IndexError, "segment_sum: index 2 is out of range for num_segments = 2"),
    (lambda: tn.segment_sum(A, [0, -1, 0], 2), IndexError, "segment_sum: index -1 is out of range"),
    (lambda: tn.normalize(A, eps=-1), tn.ShapeError, "normalize: eps is -1"),
    (lambda: tn.normalize(A, p="x"), tn.DTypeError, "normalize: p is 'x', expected a number"),
    (lambda: tn.cosine_similarity(A, np.ones((2, 4))), tn.ShapeError, r"\[3, 4\] float64, b \[2, 4\]"),
    (lambda: tn.cdist(A, np.ones((2, 3))), tn.ShapeError, r"cdist: a has shape \(3, 4\), b \(2, 3\), expected"),
    (lambda: tn.cdist(A, A, -1), tn.ShapeError, "cdist: p is -1.0, expected at least 0"),
    (lambda: tn.outer(A, A[0]), tn.ShapeError, r"outer: a has shape \(3, 4\), b \(4,\), expected \(n,\) and \(m,\)"),
    (lambda: tn.bmm(A, A), tn.ShapeError, r"bmm: a has shape \(3, 4\)"),
    (lambda: tn.solve(A, A), tn.ShapeError, r"solve: a has shape \(3, 4\), expected square matrices"),
    (lambda: tn.solve(SQUARE, np.ones(3)), tn.ShapeError, r"solve: a has shape \(2, 2\), b \(3, 1\), expected"),
    (lambda: tn.solve(SINGULAR, np.ones(2)), tn.ShapeError, "solve: a is singular"),
    (lambda: tn.inv(SINGULAR), tn.ShapeError, "inv: a is singular, so it has no inverse"),
    (lambda: tn.det(A), tn.ShapeError, r"det: a has shape \(3, 4\), expected square matrices"),
    (lambda: tn.slogdet(A[0]), tn.ShapeError, r"slogdet: a has shape \(4,\), expected square matrices"),
    (lambda: tn.cholesky(-SQUARE), tn.ShapeError, "cholesky: a is not positive definite"),
    (lambda: tn.eigh(A), tn.ShapeError, r"eigh: a has shape \(3, 4\), expected square matrices"),
    (lambda: tn.svd(A[0]), tn.ShapeError, r"svd: a has shape \(4,\), expected \(..., n, m\)"),
    (lambda: tn.svd(A * np.nan), tn.ShapeError, "svd: the singular values of a do not converge"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_wrong_arguments(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert type(caught.value) is error  # not NumPy's LinAlgError or AxisError, which are ValueErrors too


def leaf(values):
    return tn.Tensor(np.asarray(values, np.float64), requires_grad=True)


# ---------------------------------------------------------------------- ties


def test_ties_keep_their_own_gradients():
    a = leaf([2.0, 1.0, 2.0, 1.0])
    values, indices = tn.topk(a, 3)
    assert indices.tolist() == [0, 2, 1]
    (values * np.array([1.0, 2.0, 3.0])).sum().backward()
    assert a.grad.tolist() == [1.0, 3.0, 2.0, 0.0]
    assert not indices.requires_grad


def test_repeated_indices_add_up():
    a = leaf([1.0, 2.0])
    tn.take(a, [0, 0, 1, 0]).sum().backward()
    assert a.grad.tolist() == [3.0, 1.0]


def test_what_depends_on_data_carries_no_gradient():
    a = leaf([3.0, 0.0, 1.0])
    results = [
        *tn.nonzero(a),
        tn.unique(a),
        *tn.histogram(a),
        tn.argsort(a),
        tn.searchsorted(a, 1.0),
        tn.count_nonzero(a),
    ]
    assert not any(r.requires_grad for r in results)


# ---------------------------------------------------------------------- products and questions of integers


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.bool_])
def test_products_of_integers_are_int64(dtype):
    a = np.array([[2, 3], [1, 200]]).astype(dtype)
    for result in (tn.prod(a, 1), tn.cumprod(a, 1)):
        assert result.dtype == np.int64
    assert tn.prod(a).item() == int(np.prod(a.astype(np.int64)))


@pytest.mark.parametrize("name", ["atan2", "hypot", "logaddexp"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.bool_])
def test_integers_meet_floats_as_floats(name, dtype):
    integers, function = np.ones(3, dtype), getattr(tn, name)
    assert function(integers, integers).dtype == np.float32
    assert function(integers[0], True).dtype == np.float32
    for floating in (np.float32, np.float64):
        b = tn.Tensor(np.full(3, 2.0, floating), requires_grad=True)
        value = function(integers, b)
        value.sum().backward()
        assert value.dtype == b.grad.dtype == floating


# ---------------------------------------------------------------------- matrices


def test_det_of_a_singular_matrix():
    """Its gradient is the matrix of cofactors; the second derivative says that it is not computed."""
    a = leaf(SINGULAR)
    tn.det(a).backward()
    np.testing.assert_allclose(a.grad.numpy(), [[4.0, -2.0], [-2.0, 1.0]], atol=1e-12)
    g = tn.grad(tn.det(a), a, create_graph=True)
    with pytest.raises(tn.GradientError, match="a is singular, where the second derivative is not computed"):
        tn.grad((g * g).sum(), a)


def test_slogdet_of_a_singular_matrix():
    a = leaf(np.zeros((2, 2)))
    sign, size = tn.slogdet(a)
    assert (sign.item(), size.item()) == (0.0, -np.inf)
    with pytest.raises(tn.GradientError, match=r"singular, where log\|det a\| is -inf"):
        size.backward()


def test_eigenvectors_of_equal_eigenvalues_have_no_gradient():
    a = leaf(np.diag([1.0, 1.0, 3.0]))
    _, vectors = tn.eigh(a)
    with pytest.raises(tn.GradientError, match="two eigenvalues are equal"):
        (vectors[:, 0] * np.array([1.0, 2.0, 3.0])).sum().backward()
    with pytest.raises(tn.GradientError, match="two eigenvalues are equal"):
        tn.eigh(a)[0][0].backward()


def test_what_treats_equal_eigenvalues_alike_has_a_gradient():
    a = leaf(np.diag([1.0, 1.0, 3.0]))
    values, vectors = tn.eigh(a)
    plane = vectors[:, :2] @ vectors[:, :2].mT  # the projection to both
    (g,) = tn.grad([(plane * np.arange(9.0).reshape(3, 3)).sum() + values[2]], [a])
    weights = np.array(
        [[0.0, 0.0, 4.0], [0.0, 0.0, 6.0], [4.0, 6.0, 0.0]]
    )  # the symmetric part, between the two spaces
    np.testing.assert_allclose(g.numpy(), weights / (1.0 - 3.0) + np.diag([0.0, 0.0, 1.0]), atol=1e-12)


def test_singular_vectors_of_equal_values_have_no_gradient():
    a = leaf(np.eye(3) * 2)
    with pytest.raises(tn.GradientError, match="two singular values are equal"):
        (tn.svd(a)[0][:, 0] * np.array([1.0, 2.0, 3.0])).sum().backward()
    with pytest.raises(tn.GradientError, match="two singular values are equal"):
        tn.svd(a)[1][0].backward()
    tn.svd(a)[1].sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), np.eye(3), atol=1e-12)


def test_singular_vectors_of_zero():
    a = leaf([[1.0, 2.0], [2.0, 4.0], [0.0, 0.0]])
    with pytest.raises(tn.GradientError, match="a singular value is 0"):
        (tn.svd(a, False)[0] * np.arange(6.0).reshape(3, 2)).sum().backward()
    a.grad = None
    tn.svd(a)[1].sum().backward()  # the nuclear norm: the least of its subgradients
    np.testing.assert_allclose(a.grad.numpy(), a.detach().numpy() / 5, atol=1e-12)


def test_columns_of_full_matrices_have_no_gradient():
    a = leaf(np.arange(6.0).reshape(3, 2) ** 2)
    with pytest.raises(tn.GradientError, match="only full_matrices=True has"):
        (tn.svd(a)[0] * np.arange(9.0).reshape(3, 3)).sum().backward()
    (tn.svd(a)[0][:, :2] ** 2 * np.arange(6.0).reshape(3, 2)).sum().backward()
    full, a.grad = a.grad, None
    (tn.svd(a, False)[0] ** 2 * np.arange(6.0).reshape(3, 2)).sum().backward()
    np.testing.assert_allclose(full.numpy(), a.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize("name", ["inv", "det", "cholesky", "eigh", "svd", "slogdet"])
def test_matrices_of_float32_and_integers(name):
    for dtype in (np.float32, np.int64):
        values = getattr(tn, name)(np.array([[2, 1], [1, 3]], dtype))
        assert {v.dtype for v in (values if isinstance(values, tuple) else (values,))} == {np.dtype(np.float32)}


def test_every_part_of_a_value_that_is_read_twice_counts():
    """In second derivatives a derivative reads the op's own values beside what reads them in the program."""
    a = np.array([[2.0, 0.3], [0.3, 1.0]])
    hessian = tn.hessian(lambda x: (tn.eigh(x)[0] ** 2).sum(), a).numpy()  # Σ w² = tr A², whose Hessian is 2 on A
    symmetric = (np.einsum("ik,jl->ijkl", np.eye(2), np.eye(2)) + np.einsum("il,jk->ijkl", np.eye(2), np.eye(2))) / 2
    np.testing.assert_allclose(hessian, 2 * symmetric, atol=1e-12)
