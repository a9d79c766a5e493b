"""The Transformer: beside PyTorch's, its maps of attention, and its spelling."""

import math
from dataclasses import replace

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes.data import syllables
from tinygrad_notes.notes.attention import transformer
from tinygrad_notes.notes.note import Run
from tinygrad_notes.notes.translation import (
    EOS,
    exact_match,
    hangul_data,
    padded_pairs,
    train_translator,
    translation_loss,
)
from tinygrad_notes.training.progress import Progress

SOURCE, LENGTHS = np.array([[3, 4, 5, 2], [5, 3, 2, 0]]), np.array([4, 3])
TARGET = np.array([[1, 3, 4, 5, 2], [1, 5, 2, 0, 0]])


@pytest.mark.parity
@pytest.mark.parametrize(("tied", "norm_first"), [(False, False), (True, False), (False, True)])
def test_pytorch_gives_the_same_outputs_and_gradients_with_the_same_weights(tied, norm_first):
    torch = pytest.importorskip("torch")
    tn.manual_seed(0)
    ours = transformer.Transformer(6, 6, 8, 2, 2, 12, 0.0, tied, norm_first).to("float64")
    weights = {name: torch.tensor(p.data, requires_grad=True) for name, p in ours.named_parameters()}
    options = {"batch_first": True, "norm_first": norm_first, "dtype": torch.float64}
    stacks = {}
    for stack, whole, layer in (
        ("encoder", torch.nn.TransformerEncoder, torch.nn.TransformerEncoderLayer),
        ("decoder", torch.nn.TransformerDecoder, torch.nn.TransformerDecoderLayer),
    ):
        last = torch.nn.LayerNorm(8, dtype=torch.float64) if norm_first else None
        extra = {"enable_nested_tensor": False} if stack == "encoder" else {}
        stacks[stack] = whole(layer(8, 2, 12, 0.0, **options), 2, last, **extra)

    def through(stack, *inputs, **options):
        own = {name.removeprefix(f"{stack}."): w for name, w in weights.items() if name.startswith(stack)}
        return torch.func.functional_call(stacks[stack], own, inputs, options)

    def embed(name, tokens):
        place = torch.tensor(transformer.positions(tokens.shape[1], 8)).double()
        return weights[name][torch.tensor(tokens)] * math.sqrt(8) + place

    table = "source_embedding.weight" if tied else "target_embedding.weight"
    padding = torch.arange(4) >= torch.tensor(LENGTHS)[:, None]
    memory = through("encoder", embed("source_embedding.weight", SOURCE), src_key_padding_mask=padding)
    later = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1)
    y = through("decoder", embed(table, TARGET), memory, tgt_mask=later, memory_key_padding_mask=padding)
    expected = y @ weights[table].T if tied else y @ weights["output.weight"].T + weights["output.bias"]

    found = ours(SOURCE, LENGTHS, TARGET)
    assert np.abs(found.data - expected.detach().numpy()).max() < 1e-12
    translation_loss(found, tn.asarray(TARGET)).backward()
    torch.nn.functional.cross_entropy(
        expected.reshape(-1, 6), torch.tensor(TARGET).reshape(-1), ignore_index=0
    ).backward()
    for name, parameter in ours.named_parameters():
        assert np.abs(parameter.grad.data - weights[name].grad.numpy()).max() < 1e-12, name


def test_one_matrix_serves_three_times_when_tied():
    tied, apart = (transformer.Transformer(6, 6, 8, 2, 1, 12, tied=tied) for tied in (True, False))
    assert sum(p.size for p in apart.parameters()) - sum(p.size for p in tied.parameters()) == 6 * 8 + 6 * 8 + 6


def test_every_head_of_every_block_of_the_decoder_has_a_map_without_weight_on_padding():
    tn.manual_seed(0)
    model = transformer.Transformer(6, 6, 8, 2, 2, 12, 0.0)
    maps = transformer.attention_maps(model, SOURCE[1:], LENGTHS[1:], TARGET[1:])
    assert list(maps) == ["block 1, head 1", "block 1, head 2", "block 2, head 1", "block 2, head 2"]
    for weights in maps.values():
        assert weights.shape == (5, 4)
        assert np.abs(weights.sum(-1) - 1).max() < 1e-6
        assert not weights[:, 3].any()


def test_it_learns_to_spell_three_syllables_by_heart(tmp_path):
    """Training, decoding and the count of what is right fit together."""
    data = hangul_data(0)
    three = [(syllable.jamo, syllable.letters) for syllable in syllables()[1:3000:1400]]
    few = padded_pairs(three, data.source, data.target)
    tn.manual_seed(0)
    model = transformer.Transformer(len(data.source), len(data.target), 16, 2, 1, 32, 0.0)
    before = exact_match(transformer.spell(model, few), few.target[:, 1:])
    part = type(data)(data.source, data.target, dict.fromkeys(("train", "validation", "test"), few))
    recipe = replace(transformer.RECIPE, epochs=40, learning_rate=1e-2)
    train_translator(Run(folder=tmp_path, progress=Progress(style="none")), model, part, recipe)
    rows = transformer.spell(model, few)
    assert before == 0
    assert exact_match(rows, few.target[:, 1:]) == 1
    assert data.letters(rows) == [letters for _, letters in three]
    assert (rows == EOS).any(axis=1).all()
