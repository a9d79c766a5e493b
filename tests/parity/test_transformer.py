"""The Transformer against PyTorch's: values and all gradients, masks, layouts, state dicts both ways."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn

torch = pytest.importorskip("torch")
rng = np.random.default_rng(0)

SMALL = {"dim_feedforward": 12, "dropout": 0.0}
FUTURE = np.triu(np.ones((5, 5), bool), 1)
PADDING = np.arange(5) >= np.array([[5], [3], [4]])


def same(parity, ours, theirs, inputs, dtype, **options):
    """Outputs and gradients of inputs and parameters, after ours took torch's state, and torch took it back."""
    theirs = theirs.to(getattr(torch, dtype))
    ours.to(dtype)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({key: value.numpy().copy() for key, value in theirs.state_dict().items()})
    theirs.load_state_dict({key: torch.tensor(value.numpy()) for key, value in ours.state_dict().items()})
    mine = [tn.tensor(x.astype(dtype), requires_grad=True) for x in inputs]
    other = [torch.tensor(x.astype(dtype), requires_grad=True) for x in inputs]
    y = ours(*mine, **options)
    torch_y = theirs(*other, **{k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()})
    weights = rng.standard_normal(y.shape).astype(dtype)
    (y * weights).sum().backward()
    (torch_y * torch.tensor(weights)).sum().backward()
    pairs = list(zip([*mine, *ours.parameters()], [*other, *theirs.parameters()], strict=True))
    # a gradient that is 0 but for rounding (of the keys' bias) is compared with the others' size
    parity.compare([y, *[a.grad for a, _ in pairs]], [torch_y, *[b.grad for _, b in pairs]], floor=0.1)


def sequences(*shapes):
    return [rng.standard_normal(shape) for shape in shapes]


DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
OPTIONS = [
    {},
    {"batch_first": True},
    {"norm_first": True, "activation": "gelu"},
    {"bias": False, "layer_norm_eps": 1e-2},
]


@DTYPES
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("masks", [{}, {"src_mask": FUTURE}, {"src_key_padding_mask": PADDING}])
def test_encoder_layer(parity, options, masks, dtype):
    torch.manual_seed(1)
    shape = (3, 5, 6) if options.get("batch_first") else (5, 3, 6)
    ours, theirs = (n.TransformerEncoderLayer(6, 2, **SMALL, **options) for n in (nn, torch.nn))
    same(parity, ours, theirs, sequences(shape), dtype, **masks)


@DTYPES
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(
    "masks", [{}, {"tgt_mask": FUTURE[:4, :4]}, {"memory_mask": FUTURE[:4], "memory_key_padding_mask": PADDING}]
)
def test_decoder_layer(parity, options, masks, dtype):
    torch.manual_seed(1)
    shapes = [(3, 4, 6), (3, 5, 6)] if options.get("batch_first") else [(4, 3, 6), (5, 3, 6)]
    ours, theirs = (n.TransformerDecoderLayer(6, 2, **SMALL, **options) for n in (nn, torch.nn))
    same(parity, ours, theirs, sequences(*shapes), dtype, **masks)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@DTYPES
@pytest.mark.parametrize("norm", [True, False])
def test_stacks(parity, norm, dtype):
    torch.manual_seed(1)
    encoders = [
        n.TransformerEncoder(n.TransformerEncoderLayer(6, 2, **SMALL), 2, n.LayerNorm(6) if norm else None)
        for n in (nn, torch.nn)
    ]
    mask = FUTURE.copy()
    same(parity, *encoders, sequences((5, 3, 6)), dtype, mask=mask, src_key_padding_mask=PADDING, is_causal=True)
    decoders = [
        n.TransformerDecoder(n.TransformerDecoderLayer(6, 2, **SMALL), 2, n.LayerNorm(6) if norm else None)
        for n in (nn, torch.nn)
    ]
    same(parity, *decoders, sequences((5, 3, 6), (4, 3, 6)), dtype, tgt_mask=mask, tgt_is_causal=True)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@DTYPES
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("single", [False, True])
def test_transformer(parity, options, single, dtype):
    torch.manual_seed(1)
    batch_first = options.get("batch_first")
    shapes = [(5, 6), (4, 6)] if single else [(3, 5, 6), (3, 4, 6)] if batch_first else [(5, 3, 6), (4, 3, 6)]
    ours, theirs = (n.Transformer(6, 2, 2, 1, **SMALL, **options) for n in (nn, torch.nn))
    padding = PADDING[1] if single else PADDING
    masks = {"src_key_padding_mask": padding, "memory_key_padding_mask": padding, "tgt_mask": FUTURE[:4, :4]}
    same(parity, ours, theirs, sequences(*shapes), dtype, **masks)


def test_square_mask(parity):
    for size in (0, 1, 4):
        parity.compare(
            nn.Transformer.generate_square_subsequent_mask(size),
            torch.nn.Transformer.generate_square_subsequent_mask(size),
        )


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
def test_start_has_the_same_spread():
    ours, theirs = nn.Transformer(64, 4, 1, 1, 256), torch.nn.Transformer(64, 4, 1, 1, 256)
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert abs(a.data.std() - b.std().item()) <= 0.2 * b.std().item() + 1e-9, name
        assert abs(a.data.mean() - b.mean().item()) <= 0.05, name
