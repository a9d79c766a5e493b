"""Convolution, its transpose and windows as columns against PyTorch: values and gradients."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tests.parity.layer_pairs import same
from tinygrad_notes import nn

torch = pytest.importorskip("torch")
F = torch.nn.functional

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


def arrays(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [None if shape is None else rng.standard_normal(shape) for shape in shapes]


@DTYPES
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2, (3, 1)])
@pytest.mark.parametrize("padding", [0, 1, (2, 0)])
@pytest.mark.parametrize("dilation", [1, (2, 1)])
def test_conv2d(parity, dtype, groups, stride, padding, dilation):
    operands = arrays(groups, (2, 4, 7, 6), (8, 4 // groups, 3, 2), (8,))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    parity.check(lambda *o: tn.conv2d(*o, **options), lambda *o: F.conv2d(*o, **options), *operands, dtype=dtype)


@DTYPES
@pytest.mark.parametrize("kernel", [(1, 1), (2, 3), (4, 1), (5, 5)])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("shape", [(2, 3, 9, 10), (3, 9, 9)])
def test_conv2d_named_padding(parity, dtype, kernel, padding, dilation, shape, recwarn):
    """recwarn: torch warns that it copies the input when the padding is uneven, as we do."""
    operands = arrays(1, shape, (2, 3, *kernel), (2,))
    options = {"padding": padding, "dilation": dilation}
    parity.check(lambda *o: tn.conv2d(*o, **options), lambda *o: F.conv2d(*o, **options), *operands, dtype=dtype)


@DTYPES
@pytest.mark.parametrize(
    ("shape", "weight", "bias", "options"),
    [
        ((3, 5, 5), (2, 3, 3, 3), (2,), {}),
        ((1, 1, 1, 1), (1, 1, 1, 1), None, {}),
        ((1, 1, 1, 1), (2, 1, 3, 3), (2,), {"padding": 1}),
        ((0, 2, 4, 4), (3, 2, 2, 2), (3,), {}),
        ((2, 6, 8, 8), (12, 1, 3, 3), (12,), {"groups": 6, "padding": 1, "stride": 2}),
        ((1, 3, 32, 32), (16, 3, 5, 5), (16,), {"padding": 2}),
        ((2, 8, 14, 14), (16, 8, 1, 1), None, {"stride": 2}),
        ((1, 2, 15, 4), (4, 2, 7, 1), (4,), {"dilation": (2, 1), "padding": (6, 3)}),
    ],
)
def test_conv2d_shapes(parity, dtype, shape, weight, bias, options):
    operands = arrays(2, shape, weight, bias)
    parity.check(lambda *o: tn.conv2d(*o, **options), lambda *o: F.conv2d(*o, **options), *operands, dtype=dtype)


@DTYPES
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    ("stride", "output_padding"), [(1, 0), (2, 0), (2, 1), ((3, 2), (2, 0)), ((1, 3), (0, 1))], ids=str
)
@pytest.mark.parametrize("padding", [0, 1, (0, 2)])
@pytest.mark.parametrize("dilation", [1, (1, 2)])
def test_conv_transpose2d(parity, dtype, groups, stride, output_padding, padding, dilation):
    operands = arrays(groups, (2, 4, 4, 5), (4, 3, 3, 2), (3 * groups,))
    arguments = stride, padding, output_padding, groups, dilation
    parity.check(
        lambda *o: tn.conv_transpose2d(*o, *arguments),
        lambda *o: F.conv_transpose2d(*o, *arguments),
        *operands,
        dtype=dtype,
    )


@DTYPES
@pytest.mark.parametrize(
    ("shape", "weight", "bias"),
    [((3, 4, 4), (3, 2, 2, 2), (2,)), ((1, 1, 1, 1), (1, 1, 1, 1), None), ((0, 2, 3, 3), (2, 4, 3, 3), (4,))],
)
def test_conv_transpose2d_shapes(parity, dtype, shape, weight, bias):
    operands = arrays(3, shape, weight, bias)
    parity.check(tn.conv_transpose2d, F.conv_transpose2d, *operands, dtype=dtype)


@DTYPES
@pytest.mark.parametrize("kernel", [2, (3, 1)])
@pytest.mark.parametrize("stride", [1, (2, 3)])
@pytest.mark.parametrize("padding", [0, (1, 2)])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("batch", [(2,), ()])
def test_im2col_and_col2im(parity, dtype, kernel, stride, padding, dilation, batch):
    size = (7, 6)
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    (x,) = arrays(4, (*batch, 2, *size))
    parity.check(lambda a: tn.im2col(a, kernel, **options), lambda a: F.unfold(a, kernel, **options), x, dtype=dtype)
    (columns,) = arrays(5, tn.im2col(x, kernel, **options).shape)
    parity.check(
        lambda a: tn.col2im(a, size, kernel, **options),
        lambda a: F.fold(a, size, kernel, **options),
        columns,
        dtype=dtype,
    )


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "groups": 2}], ids=str)
def test_second_derivatives(parity, options):
    """The gradients of the squared gradients, float64."""
    x, weight, bias = arrays(6, (2, 4, 6, 5), (4, 4 // options.get("groups", 1), 2, 3), (4,))

    def twice(x, weight, bias, conv2d, grad):
        y = (conv2d(x, weight, bias, **options) ** 3).sum()
        return [g * g for g in grad(y, [x, weight, bias], create_graph=True)]

    parity.check(
        lambda *o: twice(*o, tn.conv2d, tn.grad),
        lambda *o: twice(*o, F.conv2d, torch.autograd.grad),
        x,
        weight,
        bias,
        dtype="float64",
    )


# ---------------------------------------------------------------------- one and three spatial axes

SIZES = {1: (9,), 3: (4, 5, 6)}
KERNELS = {1: (3,), 3: (2, 3, 2)}
# stride, padding, dilation
STEPS = {1: [(1, 0, 1), (2, 1, 2), ((3,), (4,), 1)], 3: [(1, 0, 1), (2, 1, 1), ((1, 2, 3), (1, 0, 2), (2, 1, 1))]}
AXES = pytest.mark.parametrize(("axes", "steps"), [(axes, steps) for axes in STEPS for steps in STEPS[axes]], ids=str)


@DTYPES
@AXES
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("batch", [(2,), ()])
def test_conv_of_other_axes(parity, dtype, axes, steps, groups, batch):
    operands = arrays(groups, (*batch, 4, *SIZES[axes]), (6, 4 // groups, *KERNELS[axes]), (6,))
    options = {**dict(zip(("stride", "padding", "dilation"), steps)), "groups": groups}
    ours, theirs = getattr(tn, f"conv{axes}d"), getattr(F, f"conv{axes}d")
    parity.check(lambda *o: ours(*o, **options), lambda *o: theirs(*o, **options), *operands, dtype=dtype)


@DTYPES
@pytest.mark.parametrize("axes", [1, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("dilation", [1, 2])
def test_named_padding_of_other_axes(parity, dtype, axes, padding, dilation, recwarn):
    operands = arrays(1, (2, 3, *SIZES[axes]), (2, 3, *(4, 3, 2)[:axes]), (2,))
    if padding == "valid" and axes == 3:
        operands[0] = operands[0].repeat(2, 2)
    options = {"padding": padding, "dilation": dilation}
    ours, theirs = getattr(tn, f"conv{axes}d"), getattr(F, f"conv{axes}d")
    parity.check(lambda *o: ours(*o, **options), lambda *o: theirs(*o, **options), *operands, dtype=dtype)


@DTYPES
@pytest.mark.parametrize(
    ("axes", "arguments"),
    [
        (1, (1, 0, 0, 1, 1)),
        (1, (3, 1, 2, 2, 2)),
        (1, ((2,), (2,), (1,), 1, (3,))),
        (3, (1, 0, 0, 1, 1)),
        (3, (2, 1, 1, 2, 1)),
        (3, ((1, 2, 3), (1, 0, 1), (0, 1, 2), 1, (1, 2, 1))),
    ],
    ids=str,
)
@pytest.mark.parametrize("batch", [(2,), ()])
def test_conv_transpose_of_other_axes(parity, dtype, axes, arguments, batch):
    """The arguments are stride, padding, output_padding, groups, dilation."""
    operands = arrays(2, (*batch, 4, *(4, 3, 5)[:axes]), (4, 3, *KERNELS[axes]), (3 * arguments[3],))
    ours, theirs = getattr(tn, f"conv_transpose{axes}d"), getattr(F, f"conv_transpose{axes}d")
    parity.check(lambda *o: ours(*o, *arguments), lambda *o: theirs(*o, *arguments), *operands, dtype=dtype)


# ---------------------------------------------------------------------- layers

# name, arguments, named arguments, shape of the input
LAYERS = [
    ("Conv1d", (4, 6, 3), {}, (2, 4, 9)),
    ("Conv1d", (4, 6, 3, 2, 1, 2, 2, False), {}, (4, 9)),
    ("Conv1d", (4, 6, 4), {"padding": "same", "dilation": 2}, (2, 4, 9)),
    *(("Conv1d", (2, 3, 3), {"padding": 2, "padding_mode": mode}, (2, 2, 6)) for mode in nn.convolution.PAD_MODES),
    ("Conv1d", (2, 3, 4), {"padding": "same", "padding_mode": "reflect"}, (2, 6)),
    ("Conv3d", (4, 6, 2), {}, (2, 4, 4, 5, 3)),
    ("Conv3d", (4, 6, (3, 2, 1), (2, 1, 1), (1, 0, 2), (1, 2, 1), 2, False), {}, (4, 4, 5, 3)),
    ("Conv3d", (2, 3, (2, 3, 2)), {"padding": "same"}, (1, 2, 4, 5, 3)),
    ("Conv3d", (2, 3, 2), {"padding": (2, 0, 1), "padding_mode": "replicate"}, (1, 2, 4, 5, 3)),
    ("Conv3d", (2, 3, 2), {"padding": (2, 0, 1), "padding_mode": "circular"}, (1, 2, 4, 5, 3)),
    ("Conv3d", (2, 3, 2), {"padding": (2, 0, 1), "padding_mode": "reflect"}, (1, 2, 4, 5, 3)),
    ("ConvTranspose1d", (4, 6, 3), {}, (2, 4, 5)),
    ("ConvTranspose1d", (4, 6, 3, 3, 1, 2, 2, False, 2), {}, (4, 5)),
    ("ConvTranspose3d", (4, 6, 2), {}, (2, 4, 2, 3, 2)),
    ("ConvTranspose3d", (4, 6, (3, 2, 1), (2, 3, 2), (1, 0, 0), (1, 2, 0), 2, True, (1, 2, 1)), {}, (4, 2, 3, 2)),
]  # fmt: skip


@DTYPES
@pytest.mark.parametrize(
    ("name", "arguments", "options", "shape"), LAYERS, ids=[f"{i}-{layer[0]}" for i, layer in enumerate(LAYERS)]
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_layer(parity, tmp_path, name, arguments, options, shape, dtype):
    torch.manual_seed(1)
    ours, theirs = getattr(nn, name)(*arguments, **options), getattr(torch.nn, name)(*arguments, **options)
    same(parity, ours, theirs, arrays(3, shape), tmp_path, dtype)
    state = {key: torch.from_numpy(value.numpy()) for key, value in ours.state_dict().items()}
    theirs.load_state_dict(state)  # and back


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("leading", [[], [2, 2]])
def test_output_size_of_a_call(parity, axes, leading):
    (x,) = arrays(4, (2, 3, *(3, 4, 2)[:axes]))
    size = [*leading, *(8, 10, 5)[:axes]]
    torch.manual_seed(1)
    theirs = getattr(torch.nn, f"ConvTranspose{axes}d")(3, 2, 3, 3, 1, dtype=torch.float64)
    ours = getattr(nn, f"ConvTranspose{axes}d")(3, 2, 3, 3, 1, dtype=tn.float64)
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    parity.check(lambda a: ours(a, size), lambda a: theirs(a, size), x, dtype="float64")


PADDINGS = {1: [2, (1, 0), (0, 3)], 2: [1, (1, 2, 0, 3)], 3: [1, (1, 0, 2, 1, 0, 2)]}


@pytest.mark.parametrize("kind", ["Zero", "Constant", "Reflection", "Replication", "Circular"])
@pytest.mark.parametrize(("axes", "padding"), [(axes, p) for axes in PADDINGS for p in PADDINGS[axes]], ids=str)
@pytest.mark.parametrize("batch", [(2,), ()])
def test_padding_layers(parity, kind, axes, padding, batch):
    arguments = (padding, -1.5) if kind == "Constant" else (padding,)
    ours, theirs = (getattr(n, f"{kind}Pad{axes}d")(*arguments) for n in (nn, torch.nn))
    (x,) = arrays(5, (*batch, 2, *(4, 5, 6)[:axes]))
    parity.check(ours, theirs, x, dtype="float64")


def test_default_initialisation_has_the_same_spread():
    large = {"Conv1d": (64, 128, 9), "Conv3d": (32, 64, 4)}
    for name, arguments in {**large, "ConvTranspose1d": (128, 64, 9), "ConvTranspose3d": (32, 64, 4)}.items():
        ours, theirs = getattr(nn, name)(*arguments), getattr(torch.nn, name)(*arguments)
        for (label, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            assert abs(a.data.std() - b.std().item()) <= 0.2 * b.std().item(), f"{name}.{label}"
            assert abs(abs(a.data).max() - b.abs().max().item()) <= 0.1 * b.abs().max().item(), f"{name}.{label}"
