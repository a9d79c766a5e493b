"""Convolution beyond its samples: what stands on the tape, what is computed, dtypes, sizes, errors."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import kernels
from tinygrad_notes.study.gradcheck import gradcheck

rng = np.random.default_rng(0)
X, WEIGHT, BIAS = (rng.standard_normal(shape) for shape in ((2, 4, 5, 6), (6, 2, 3, 3), (6,)))


def leaf(array, dtype=np.float64):
    return tn.tensor(array.astype(dtype), requires_grad=True)


def test_gradients_are_the_other_two_ops():
    x, weight, bias = leaf(X), leaf(WEIGHT), leaf(BIAS)
    y = tn.conv2d(x, weight, bias, stride=2, padding=1, groups=2)
    dx, dw, db = tn.grad(y, [x, weight, bias], tn.ones_like(y).requires_grad_(), create_graph=True)
    assert (dx.node.name, dw.node.name, db.node.name) == ("conv_transpose", "conv_weight_grad", "sum")


@pytest.mark.parametrize("op", [tn.conv2d, lambda *o, **k: tn.conv_transpose2d(*o, **k)], ids=["conv", "transpose"])
def test_node_keeps_the_operands_alone(op):
    x, weight, bias = leaf(X[:, :2]), leaf(WEIGHT[:2]), leaf(BIAS[:2])
    node = op(x, weight, bias, stride=2).node
    kept = [array for saved in node.saved for array in saved]
    assert len(kept) == 2
    assert kept[0] is weight.data
    assert kept[1] is x.data


def test_only_wanted_gradients_are_computed(monkeypatch):
    """The first layer's input needs no gradient, which is a third of a convolution's work."""

    def refuse(*arguments):
        raise AssertionError("the gradient of x was computed")

    monkeypatch.setattr(kernels, "conv_transpose", refuse)
    weight, bias = leaf(WEIGHT), leaf(BIAS)
    tn.conv2d(tn.tensor(X), weight, bias, groups=2).sum().backward()
    assert weight.grad.shape == weight.shape
    assert bias.grad.shape == bias.shape


def test_third_derivative():
    """The ops close under differentiation, so no order is the last."""

    def gradient(a):
        return tn.grad((tn.conv2d(a, a, padding=1) ** 2).sum(), a, create_graph=True)

    gradcheck(gradient, rng.standard_normal((2, 2, 3, 2)), order=2).raise_if_failed()


def test_one_image_equals_a_batch_of_one():
    weight, bias = tn.tensor(WEIGHT), tn.tensor(BIAS)
    one, batch = leaf(X[0]), leaf(X[:1])
    a = tn.conv2d(one, weight, bias, padding="same", groups=2)
    b = tn.conv2d(batch, weight, bias, padding="same", groups=2)
    np.testing.assert_array_equal(a.data, b.data[0])
    (a * a).sum().backward()
    (b * b).sum().backward()
    np.testing.assert_array_equal(one.grad.data, batch.grad.data[0])


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_same_keeps_the_size(kernel, dilation):
    x, weight = tn.tensor(X[:, :1]), tn.ones((1, 1, kernel, 1))
    assert tn.conv2d(x, weight, padding="same", dilation=dilation).shape == x.shape


@pytest.mark.parametrize("size", [4, 5, 6, 7, 8, 9])
@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), [(3, 2, 1, 1), (2, 3, 0, 2), (4, 4, 1, 1)])
def test_output_padding_inverts_every_size(size, kernel, stride, padding, dilation):
    """conv_transpose2d leads back from what conv2d made, to each of the sizes that lead there."""
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    weight = tn.ones((1, 1, kernel, kernel))
    y = tn.conv2d(tn.ones((1, 1, size, size)), weight, **options)
    span = dilation * (kernel - 1) + 1
    extra = size - ((y.shape[2] - 1) * stride - 2 * padding + span)
    assert tn.conv_transpose2d(y, weight, output_padding=extra, **options).shape == (1, 1, size, size)


def test_im2col_times_weight_is_convolution():
    x, weight = tn.tensor(X), tn.tensor(rng.standard_normal((3, 4, 2, 3)))
    columns = tn.im2col(x, (2, 3), stride=2, padding=1)
    y = (weight.reshape(3, -1) @ columns).reshape(2, 3, 3, 3)
    np.testing.assert_allclose(y.data, tn.conv2d(x, weight, stride=2, padding=1).data, rtol=1e-12)


def test_col2im_counts_how_often_each_element_was_read():
    seen = tn.col2im(tn.im2col(tn.ones((1, 1, 4, 4)), 2), (4, 4), 2)
    np.testing.assert_array_equal(seen.data[0, 0], np.outer([1, 2, 2, 1], [1, 2, 2, 1]))


def test_dtypes():
    """Integers become float32; mixed floats compute in float64, and each gradient has its operand's dtype."""
    image = np.arange(24, dtype=np.uint8).reshape(1, 2, 3, 4)
    assert tn.conv2d(image, tn.ones((1, 2, 2, 2))).dtype == tn.float32
    x, weight, bias = leaf(X, np.float32), leaf(WEIGHT), leaf(BIAS, np.float32)
    y = tn.conv2d(x, weight, bias, groups=2)
    assert y.dtype == tn.float64
    y.sum().backward()
    assert [t.grad.dtype for t in (x, weight, bias)] == [tn.float32, tn.float64, tn.float32]


def test_no_images():
    x, weight, bias = leaf(X[:0]), leaf(WEIGHT), leaf(BIAS)
    y = tn.conv2d(x, weight, bias, groups=2)
    assert y.shape == (0, 6, 3, 4)
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert not weight.grad.data.any()
    assert not bias.grad.data.any()


def test_nan_and_inf_reach_only_their_windows():
    x = np.zeros((1, 1, 4, 4))
    x[0, 0, 0, 0], x[0, 0, 3, 3] = np.nan, np.inf
    y = tn.conv2d(x, np.ones((1, 1, 2, 2))).data[0, 0]
    assert np.isnan(y[0, 0])
    assert y[2, 2] == np.inf
    assert np.isfinite(y).sum() == 7


# ---------------------------------------------------------------------- one and three spatial axes


@pytest.mark.parametrize("axes", [1, 3])
def test_axes_of_size_one_are_another_dimension(axes):
    """A sequence is an image of one row, an image a volume of one slice; gradients too."""
    weight, options = WEIGHT[:, :, 0] if axes == 1 else WEIGHT, {"stride": 2, "groups": 2}
    x = X[:, :, 0] if axes == 1 else X
    at = 2
    flat, deep = (leaf(x), leaf(weight)), (leaf(np.expand_dims(x, at)), leaf(np.expand_dims(weight, at)))
    functions = (tn.conv1d, tn.conv2d) if axes == 1 else (tn.conv2d, tn.conv3d)
    a, b = (function(*operands, **options) for function, operands in zip(functions, (flat, deep)))
    np.testing.assert_allclose(a.data, b.data.squeeze(at), rtol=1e-13)
    (a * a).sum().backward()
    (b * b).sum().backward()
    for one, other in zip(flat, deep):
        np.testing.assert_allclose(one.grad.data, other.grad.data.squeeze(at), rtol=1e-13)


def test_third_derivative_of_three_axes():
    def gradient(a):
        return tn.grad((tn.conv3d(a, a, padding=(1, 0, 1)) ** 2).sum(), a, create_graph=True)

    gradcheck(gradient, rng.standard_normal((1, 1, 2, 2, 1)), order=2).raise_if_failed()


@pytest.mark.parametrize("axes", [1, 3])
def test_one_of_a_batch(axes):
    size = (6, 5, 4)[:axes]
    x, weight = rng.standard_normal((2, 3, *size)), rng.standard_normal((4, 3, *(2,) * axes))
    conv, back = getattr(tn, f"conv{axes}d"), getattr(tn, f"conv_transpose{axes}d")
    batch = conv(x, weight, padding="same")
    np.testing.assert_allclose(conv(x[1], weight, padding="same").data, batch.data[1], rtol=1e-13)
    assert batch.shape == (2, 4, *size)
    np.testing.assert_allclose(back(batch[1], weight).data, back(batch, weight).data[1], rtol=1e-13)
    assert back(batch, weight, stride=2).shape == (2, 3, *(2 * n for n in size))


T = tn.ones((4, 2, 3, 3))
S, V = tn.ones((1, 2, 5)), tn.ones((1, 2, 4, 5, 5))
W1, W3 = tn.ones((3, 2, 2)), tn.ones((3, 2, 2, 2, 2))
ERRORS = {
    "channels": (lambda x, w, b: tn.conv2d(x, w), r"conv2d: x has 4 channels .* expected 2 for weight \(6, 2, 3, 3\)"),
    "groups of x": (lambda x, w, b: tn.conv2d(x, w, groups=3), "expected 6 for weight .* and groups 3"),
    "groups of weight": (lambda x, w, b: tn.conv2d(x, w[:5], groups=2), "groups is 2, expected a divisor of the 5"),
    "no groups": (lambda x, w, b: tn.conv2d(x, w, groups=0), "groups is 0, expected at least 1"),
    "bias": (lambda x, w, b: tn.conv2d(x, w, b[:5], groups=2), r"bias has shape \(5,\), expected \(6,\)"),
    "stride 0": (lambda x, w, b: tn.conv2d(x, w, stride=0, groups=2), "stride is 0, expected at least 1"),
    "negative stride": (lambda x, w, b: tn.conv2d(x, w, stride=(1, -1), groups=2), r"stride is \(1, -1\)"),
    "negative padding": (lambda x, w, b: tn.conv2d(x, w, padding=-1, groups=2), "padding is -1, expected at least 0"),
    "three paddings": (lambda x, w, b: tn.conv2d(x, w, padding=(1, 1, 1), groups=2), "expected an integer or two"),
    "dilation 0": (lambda x, w, b: tn.conv2d(x, w, dilation=0, groups=2), "dilation is 0"),
    "too large": (lambda x, w, b: tn.conv2d(x[:, :, :2], w, groups=2), r"larger than the padded plane \(2, 6\)"),
    "too far apart": (lambda x, w, b: tn.conv2d(x, w, dilation=3, groups=2), r"spans \(7, 7\) with dilation \(3, 3\)"),
    "axes of x": (lambda x, w, b: tn.conv2d(x[0, 0], w), r"x has shape \(5, 6\), expected \(N, C, H, W\)"),
    "axes of weight": (lambda x, w, b: tn.conv2d(x, w[0], padding="same"), r"weight has shape \(2, 3, 3\)"),
    "empty kernel": (lambda x, w, b: tn.conv2d(x, w[:, :, :0], groups=2), "a kernel of at least 1 × 1"),
    "padding word": (lambda x, w, b: tn.conv2d(x, w, padding="full"), "padding is 'full', expected integers, 'same'"),
    "same with stride": (lambda x, w, b: tn.conv2d(x, w, padding="same", stride=2), "'same' needs stride 1, got 2"),
    "transposed channels": (lambda x, w, b: tn.conv_transpose2d(x, w), r"x has 4 channels .* expected 6"),
    "transposed groups": (lambda x, w, b: tn.conv_transpose2d(x, T, groups=3), "a divisor of the 4 channels of x"),
    "transposed bias": (lambda x, w, b: tn.conv_transpose2d(x, T, b), r"bias has shape \(6,\), expected \(2,\)"),
    "output padding": (lambda x, w, b: tn.conv_transpose2d(x, T, stride=2, output_padding=2), "not less than stride"),
    "negative output padding": (lambda x, w, b: tn.conv_transpose2d(x, T, output_padding=-1), "output_padding is -1"),
    "nothing left": (lambda x, w, b: tn.conv_transpose2d(x, T, padding=5), r"the value would have size \(-3, -2\)"),
    "no rows": (lambda x, w, b: tn.conv_transpose2d(x[:, :, :0], T), "expected at least one row"),
    "transposed weight": (lambda x, w, b: tn.conv_transpose2d(x, T[0]), r"weight has shape \(2, 3, 3\)"),
    "im2col kernel": (lambda x, w, b: tn.im2col(x, 7), r"im2col: a kernel of size \(7, 7\) is larger"),
    "im2col axes": (lambda x, w, b: tn.im2col(x[0, 0], 2), "im2col: x has shape"),
    "col2im rows": (lambda x, w, b: tn.col2im(tn.ones((1, 5, 4)), 3, 2), r"col2im: columns has shape \(1, 5, 4\)"),
    "col2im windows": (lambda x, w, b: tn.col2im(tn.ones((1, 4, 5)), 3, 2), "stands at 2 × 2 places"),
    "image as sequence": (lambda x, w, b: tn.conv1d(x, W1), r"conv1d: x has shape .* expected \(N, C, L\) or \(C, L\)"),
    "image as volume": (lambda x, w, b: tn.conv3d(x[:, 0], W3), r"conv3d: x has .* expected \(N, C, D, H, W\) or \(C"),
    "weight of a sequence": (lambda x, w, b: tn.conv1d(S, w), "conv1d: weight has .* expected 3 axes"),
    "weight of a volume": (lambda x, w, b: tn.conv3d(V, w), "conv3d: weight has .* expected 5 axes .* 1 × 1 × 1"),
    "channels of a volume": (lambda x, w, b: tn.conv3d(V, tn.ones((3, 4, 2, 2, 2))), "groups, kd, kh, kw"),
    "sequence too short": (lambda x, w, b: tn.conv1d(S, tn.ones((3, 2, 9))), r"the padded sequence \(5,\)"),
    "two strides": (lambda x, w, b: tn.conv1d(S, W1, stride=(1, 1)), r"stride is \(1, 1\), expected an integer$"),
    "strides of a volume": (lambda x, w, b: tn.conv3d(V, W3, stride=(1, 1)), "expected an integer or three, for d"),
    "word of a sequence": (lambda x, w, b: tn.conv1d(S, W1, padding="full"), "conv1d: padding is 'full'"),
    "stride of a sequence": (lambda x, w, b: tn.conv1d(S, W1, stride=2, padding="same"), "conv1d: padding 'same'"),
    "transposed sequence": (lambda x, w, b: tn.conv_transpose1d(S, W1), "conv_transpose1d: x has 2 channels"),
    "transposed image": (lambda x, w, b: tn.conv_transpose1d(x, W1), "conv_transpose1d: x has shape"),
    "no slices": (lambda x, w, b: tn.conv_transpose3d(V[:, :, :0], W3), "conv_transpose3d: .* at least one plane"),
    "col2im kernel": (lambda x, w, b: tn.col2im(tn.ones((1, 4, 4)), (1, 3), 2), "is larger than the padded plane"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_shape_errors(call, message):
    with pytest.raises(tn.ShapeError, match=message):
        call(tn.tensor(X), tn.tensor(WEIGHT), tn.tensor(BIAS))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 1.5}, "stride is 1.5, expected an integer"),
        ({"stride": True}, "stride is True"),
        ({"dilation": (1, None)}, "dilation is"),
        ({"groups": 2.0}, "groups is 2.0, expected an integer"),
        ({"weight": "w"}, "weight is str, expected a Tensor"),
    ],
)
def test_dtype_errors(options, message):
    with pytest.raises(tn.DTypeError, match=message):
        tn.conv2d(tn.tensor(X), **({"weight": tn.tensor(WEIGHT), "groups": 2} | options))
