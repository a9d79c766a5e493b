"""RNN, GRU and LSTM as language models: parity with PyTorch, and short demos of what they share."""

import numpy as np
import pytest

import tinygrad_notes as tn
from tinygrad_notes import nn, notes
from tinygrad_notes.notes.language import RecurrentLanguageModel, next_token_loss
from tinygrad_notes.notes.note import Run
from tinygrad_notes.training.progress import Progress


@pytest.mark.parity
@pytest.mark.parametrize("embedding", [None, 6])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_pytorch_gives_the_same_outputs_and_gradients(kind, layers, embedding):
    torch = pytest.importorskip("torch")
    tn.manual_seed(0)
    model = RecurrentLanguageModel(11, 8, getattr(nn, kind), embedding, layers)
    random = np.random.default_rng(0)
    tokens, after = random.integers(0, 11, (2, 3, 20))

    theirs = {"recurrent": getattr(torch.nn, kind)(embedding or 11, 8, layers, batch_first=True)}
    theirs["output"] = torch.nn.Linear(8, 11)
    if embedding:
        theirs["embedding"] = torch.nn.Embedding(11, embedding)
    for part, module in theirs.items():
        own = getattr(model, part).state_dict()
        module.load_state_dict({name: torch.tensor(value.data.copy()) for name, value in own.items()})
    x = torch.tensor(tokens)
    x = theirs["embedding"](x) if embedding else torch.nn.functional.one_hot(x, 11).float()
    logits = theirs["output"](theirs["recurrent"](x)[0])
    loss = torch.nn.functional.cross_entropy(logits.reshape(-1, 11), torch.tensor(after).reshape(-1))
    loss.backward()

    ours = model(tokens)
    our_loss = next_token_loss(ours, tn.tensor(after))
    our_loss.backward()
    assert np.abs(ours.data - logits.detach().numpy()).max() < 1e-5
    assert our_loss.item() == pytest.approx(loss.item(), rel=1e-5)
    compared = 0
    for part, module in theirs.items():
        own = dict(getattr(model, part).named_parameters())
        for name, parameter in module.named_parameters():
            expected = parameter.grad.numpy()
            error = np.abs(own[name].grad.data - expected).max() / np.abs(expected).max()
            assert error < 1e-4, (part, name)
            compared += 1
    assert compared == len(list(model.parameters()))


@pytest.mark.parity
def test_pytorch_carries_the_same_state():
    torch = pytest.importorskip("torch")
    model = RecurrentLanguageModel(7, 5, nn.LSTM)
    theirs = torch.nn.LSTM(7, 5, batch_first=True)
    own = model.recurrent.state_dict()
    theirs.load_state_dict({name: torch.tensor(value.data.copy()) for name, value in own.items()})
    tokens, state, their_state = np.random.default_rng(0).integers(0, 7, (2, 12)), None, None
    for start in (0, 5):
        part = tokens[:, start : start + 5]
        _, state = model.advance(part, state)
        _, their_state = theirs(torch.nn.functional.one_hot(torch.tensor(part), 7).float(), their_state)
    for a, b in zip(state, their_state):
        assert np.abs(a.data - b.detach().numpy()).max() < 1e-5


TRAINED = [slug for slug in notes.slugs("sequence") if notes.get(slug).demo is not None]


@pytest.mark.demo
@pytest.mark.parametrize("slug", TRAINED)
def test_the_demo_meets_its_bars(slug, tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    outcome = notes.get(slug).demo(Run(folder=tmp_path, progress=Progress(style="none")))
    for bar in notes.get(slug).bars:
        assert bar.met(outcome.metrics), (bar, outcome.metrics)
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in outcome.pictures)
